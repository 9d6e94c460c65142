"""A camera as ONVIF describes it: who it is, what it can, how it is turned. Nothing that it says is trusted.

Where a camera names an address (of a service, a stream), only what lies on the camera's own host is taken.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

from app import clock
from app.errors import CameraOffline, CameraRefuses, Refusal
from app.registry.addresses import Networks, Source, resolve, safe_source
from app.streams.onvif import soap
from app.streams.onvif.xml import Element, element, text

DEVICE_PATH = "/onvif/device_service"
MOST_PROFILES, MOST_PRESETS = 16, 128
_TOKEN = re.compile(r"[ -~\u00a0-\uffff]{1,64}")
_MOST_WORDS = 100
_SERVICES = {"media": "ver10/media", "ptz": "ver20/ptz", "events": "ver10/events"}


@dataclass(frozen=True, slots=True)
class Profile:
    """One of a camera's streams."""

    token: str
    name: str
    codec: str
    width: int
    height: int
    turns: bool
    """Whether it belongs to a head that can be turned."""


@dataclass(frozen=True, slots=True)
class Preset:
    """A view that the camera remembers."""

    token: str
    name: str


@dataclass(frozen=True, slots=True)
class Move:
    """How a head is to be turned. Positions and speeds are ONVIF's generic ones: -1 to 1, zoom from 0 (or -1) to 1."""

    kind: str
    """preset | absolute | continuous | stop"""
    preset: str = ""
    pan: float = 0.0
    tilt: float = 0.0
    zoom: float = 0.0
    seconds: float = 0.0
    """Of a continuous move: after so long the head stops by itself."""


class Device:
    """One camera, at the address that was judged and pinned when this was opened."""

    def __init__(self, source: Source, address: str, ca_file: Path | None = None) -> None:
        self.source, self.address = source, address
        self._ca_file = ca_file
        self._ahead = timedelta()
        self._services: dict[str, Source] = {}

    @classmethod
    async def open(cls, source: Source, allowed: Networks, ca_file: Path | None = None) -> "Device":
        """Resolve and pin. Nothing is asked yet. Raises UnsafeSource, CameraOffline."""
        if not source.path:
            source = replace(source, path=DEVICE_PATH)
        return cls(source, await resolve(source, allowed), ca_file)

    async def begin(self, known: Mapping[str, str] | None = None) -> None:
        """Learn the camera's clock and where its services are; `known` are their paths as learnt before."""
        try:
            self._ahead = _ahead(await self._call(self.source, element("tds:GetSystemDateAndTime"), signed=False))
        except CameraOffline:
            self._ahead = timedelta()  # it keeps its time to itself, against the standard: ours is as good as any
        if known:
            self._services = {name: replace(self.source, path=path) for name, path in known.items()}
            return
        answer = await self._call(
            self.source, element("tds:GetServices", element("tds:IncludeCapability", "false")),
            action="http://www.onvif.org/ver10/device/wsdl/GetServices",
        )  # fmt: skip
        for service in answer.all("Service"):
            for name, mark in _SERVICES.items():
                if mark in service.said("Namespace"):
                    self._services.setdefault(name, self._own(service.said("XAddr")))

    @property
    def services(self) -> dict[str, str]:
        """The paths of what the camera offers, for `begin`."""
        return {name: service.path for name, service in self._services.items()}

    def _own(self, address: str) -> Source:
        """A service on the camera's own host: of what the camera says, the path alone counts."""
        parts = urlsplit(address)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        if not re.fullmatch(r"/[!-~]{0,500}", path):
            raise CameraOffline("the camera cannot be understood: it names no path of its service")
        return replace(self.source, path=path)

    async def _call(
        self, service: Source, body: str, *, action: str = "", signed: bool = True, seconds: float = soap.CALL_SECONDS
    ) -> Element:
        return await soap.call(
            service, self.address, body, action=action, ahead=self._ahead if signed else None, seconds=seconds,
            ca_file=self._ca_file,
        )  # fmt: skip

    def service(self, name: str) -> Source:
        """Where a service is. Raises CameraRefuses when the camera has none of this name."""
        try:
            return self._services[name]
        except KeyError:
            raise CameraRefuses(f"the camera offers no {name} service") from None

    async def at(self, address: str, body: str, action: str, seconds: float = soap.CALL_SECONDS) -> Element:
        """A call to an address that the camera named for itself, such as a subscription's."""
        return await self._call(self._own(address), body, action=action, seconds=seconds)

    async def ask(self, service: str, body: str, action: str = "", seconds: float = soap.CALL_SECONDS) -> Element:
        return await self._call(self.service(service), body, action=action, seconds=seconds)

    async def information(self) -> dict[str, str]:
        """Maker, model, firmware and serial number."""
        answer = await self._call(self.source, element("tds:GetDeviceInformation"))
        names = {
            "maker": "Manufacturer", "model": "Model", "firmware": "FirmwareVersion", "serial": "SerialNumber",
            "hardware": "HardwareId",
        }  # fmt: skip
        return {name: _words(answer.said(theirs)) for name, theirs in names.items()}

    async def profiles(self) -> list[Profile]:
        answer = await self.ask("media", element("trt:GetProfiles"))
        found = []
        for profile in list(answer.all("Profiles"))[:MOST_PROFILES]:
            token = profile.attributes.get("token", "")
            encoder = profile.find("VideoEncoderConfiguration") or Element("")
            size = encoder.said("Resolution", "Width"), encoder.said("Resolution", "Height")
            if _TOKEN.fullmatch(token):
                found.append(
                    Profile(
                        token, _words(profile.said("Name")), _words(encoder.said("Encoding")).upper(),
                        _count(size[0]), _count(size[1]), profile.find("PTZConfiguration") is not None,
                    )
                )  # fmt: skip
        return found

    async def stream_address(self, profile: str) -> Source:
        """Where a profile's pictures come from, credentials added; refused unless it is on the camera's own host."""
        setup = element(
            "trt:StreamSetup",
            element("tt:Stream", "RTP-Unicast"),
            element("tt:Transport", element("tt:Protocol", "RTSP")),
        )
        body = element("trt:GetStreamUri", setup, element("trt:ProfileToken", text(profile)))
        return self._theirs(await self.ask("media", body))

    async def snapshot_address(self, profile: str) -> Source:
        body = element("trt:GetSnapshotUri", element("trt:ProfileToken", text(profile)))
        return self._theirs(await self.ask("media", body))

    def _theirs(self, answer: Element) -> Source:
        said = answer.said("MediaUri", "Uri")
        try:
            host = urlsplit(said).hostname or ""
            found = safe_source(said, _only(self.address))
        except (ValueError, Refusal) as error:
            raise CameraOffline("the camera names no usable address, or one that is not on its own host") from error
        if host not in {self.source.host, self.address}:
            raise CameraRefuses("the address that the camera names is not on its own host; register it by hand")
        return replace(found, host=self.source.host, user=self.source.user, password=self.source.password)

    async def presets(self, profile: str) -> list[Preset]:
        body = element("tptz:GetPresets", element("tptz:ProfileToken", text(profile)))
        found = []
        for preset in list((await self.ask("ptz", body)).all("Preset"))[:MOST_PRESETS]:
            token = preset.attributes.get("token", "")
            if _TOKEN.fullmatch(token):
                found.append(Preset(token, _words(preset.said("Name"))))
        return found

    async def move(self, profile: str, move: Move, seconds: float = 2.0) -> None:
        """Turn the head. Raises CameraOffline; then the camera may have begun all the same."""
        who = element("tptz:ProfileToken", text(profile))
        zoom = f'<tt:Zoom x="{move.zoom:g}"/>'
        pan_tilt = f'<tt:PanTilt x="{move.pan:g}" y="{move.tilt:g}"/>'
        body = {
            "preset": lambda: element("tptz:GotoPreset", who, element("tptz:PresetToken", text(move.preset))),
            "absolute": lambda: element("tptz:AbsoluteMove", who, element("tptz:Position", pan_tilt, zoom)),
            "continuous": lambda: element(
                "tptz:ContinuousMove", who, element("tptz:Velocity", pan_tilt, zoom),
                element("tptz:Timeout", f"PT{move.seconds:g}S"),
            ),
            "stop": lambda: element(
                "tptz:Stop", who, element("tptz:PanTilt", "true"), element("tptz:Zoom", "true")
            ),
        }[move.kind]()  # fmt: skip
        await self.ask("ptz", body, seconds=seconds)


def _only(address: str) -> Networks:
    """The camera's own address, which was judged when it was pinned."""
    return (ip_network(address),)


def _ahead(answer: Element) -> timedelta:
    utc = answer.find("UTCDateTime")
    if utc is None:
        return timedelta()
    try:
        numbers = [int(utc.said(name)) for name in ("Year", "Month", "Day", "Hour", "Minute", "Second")]
        return datetime(*numbers[:6], tzinfo=UTC) - clock.now()  # type: ignore[misc,arg-type]
    except (ValueError, OverflowError):
        return timedelta()


def _words(said: str) -> str:
    return "".join(letter for letter in said[:_MOST_WORDS] if letter.isprintable())


def _count(said: str) -> int:
    return int(said) if said.isascii() and said.isdigit() and len(said) <= 5 else 0  # noqa: PLR2004 - 16 384 at most
