"""The RTSP address from which MediaMTX pulls cameras.

MediaMTX has no way to leave a camera's sound out, and what it is given as a source its API shows to whoever may ask it.
So it is given neither the camera's address nor its credentials, but `rtsp://<door>/<path>/<secret>`: the door finds the
camera by the path's name, judges and pins its address, asks it for one video track and hands the frames on in whole
blocks. It opens only while a view of that camera stands open at this gateway: whoever learns the address gains nothing.
When this service is gone, so is the footage.

Every process keeps the door, on one port (SO_REUSEPORT); the kernel deals the pulls out. The price is that the bytes
of each watched camera, once, whatever the number of viewers, pass through a process of ours; and that a process which
ends takes the pictures of its pulls with it, until their players come back.
"""

import asyncio
import contextlib
import hmac
import logging
import re
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast
from uuid import UUID

from app.database import LOST, Database
from app.errors import CameraOffline, Refusal
from app.keys import Keys
from app.registry import sources
from app.registry.addresses import Networks, resolve, safe_source
from app.streams.embedded.rtsp import BadRtsp, Inbound, Message
from app.streams.embedded.rtsp_proxy import Camera
from app.streams.mediamtx.config import Config
from app.streams.mediamtx.paths import read_name

log = logging.getLogger("gwanje.mediamtx")

OPEN_SECONDS = 7.0  # MediaMTX waits 8 s for a source
STUCK_SECONDS = 15.0
_MOST_UNREAD = 1 << 20
_SPARE_CONNECTIONS = 32
_WHERE = re.compile(r"[A-Z_]{3,20} rtsp://[^/ ]{1,255}/([a-z0-9]{1,64})/([0-9a-f]{1,64})(?:/(?:video)?)? RTSP/1\.[0-9]")
_OK, _UNAUTHORIZED, _MISSING = "200 OK", "401 Unauthorized", "404 Not Found"
_WRONG = "455 Method Not Valid In This State"

_STANDS_OPEN = """
SELECT EXISTS (SELECT FROM views
    WHERE gateway = $1 AND camera_id = $2 AND profile = $3 AND closed_at IS NULL AND preempted_by IS NULL)
"""

Find = Callable[[UUID, str], Awaitable[str]]


def _secret(keys: Keys, gateway: str) -> str:
    return keys.mac("mediamtx-door", gateway.encode(), 24).hex()


async def watched_source(database: Database, keys: Keys, gateway: str, camera_id: UUID, profile: str) -> str:
    """The address of a camera that a view of this gateway stands open for; CameraOffline without one."""
    async with database.bare.acquire(timeout=1) as connection:
        if not await connection.fetchval(_STANDS_OPEN, gateway, camera_id, profile, timeout=2):
            raise CameraOffline("no view of this camera stands open at this gateway")
    return await sources.address(database, keys, camera_id, profile)


class Door:
    """One process's share of the door."""

    def __init__(self, config: Config, keys: Keys, find: Find, allowed: Networks, ca_file: Path | None = None) -> None:
        self.config, self.keys, self.find, self.allowed, self.ca_file = config, keys, find, allowed, ca_file
        self.pulls: set[_Pull] = set()
        self._port = 0
        self._server: asyncio.Server | None = None

    def url(self, name: str) -> str:
        """Where MediaMTX finds a path's picture; `name` may be `$G1`, which it replaces by the path's name."""
        assert self.config.door is not None
        host, port = self.config.door
        shown = f"[{host}]" if ":" in host else host
        return f"rtsp://{shown}:{port or self._port}/{name}/{_secret(self.keys, self.config.name)}"

    async def open(self) -> None:
        """Listen. OSError where the address is not this machine's, or another program's."""
        address = self.config.door_listen or self.config.door
        assert address is not None
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            listening.bind(address)
        except OSError:
            listening.close()
            raise
        self._server = await asyncio.get_running_loop().create_server(lambda: _Pull(self), sock=listening)
        self._port = listening.getsockname()[1]

    def close(self) -> None:
        """Shut it and end every pull through it."""
        if self._server is not None:
            self._server.close()
        for pull in list(self.pulls):
            pull.end()

    @property
    def is_full(self) -> bool:
        return len(self.pulls) > self.config.cameras + _SPARE_CONNECTIONS

    def path_of(self, request: Message) -> tuple[UUID, str] | None:
        """The camera and profile that a request names; None for who does not know the secret."""
        found = _WHERE.fullmatch(request.start)
        if found is None or not hmac.compare_digest(found[2], _secret(self.keys, self.config.name)):
            return None
        return read_name(self.keys, self.config.name, found[1])


class _Pull(asyncio.Protocol):
    """One connection: MediaMTX in front, a camera behind."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._inbound = Inbound()  # its receiver reports are frames of no named channel: dropped
        self._transport: asyncio.Transport | None = None
        self._camera: Camera | None = None
        self._what: tuple[UUID, str] | None = None
        self._working: asyncio.Task[None] | None = None
        self._plays = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        if self._door.is_full or not self._door.config.may_call(peer[0] if peer else ""):
            log.warning("somebody came to the door of a gateway", extra={"gateway": self._door.config.name})
            self._transport.abort()
            return
        self._door.pulls.add(self)
        self._transport.set_write_buffer_limits(high=_MOST_UNREAD)
        self._end_in(OPEN_SECONDS + 3)

    def data_received(self, data: bytes) -> None:
        try:
            for request in self._inbound.feed(data):
                if isinstance(request, Message):
                    self._take(request)
        except BadRtsp:
            self.end()

    def _take(self, request: Message) -> None:
        named = self._door.path_of(request)
        if named is None or named != (self._what or named):
            self._answer(request, _UNAUTHORIZED)
            self.end()
            return
        self._what = named
        method = request.start.partition(" ")[0]
        if method in ("OPTIONS", "GET_PARAMETER", "SET_PARAMETER"):
            self._answer(request, _OK, "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER")
        elif method == "DESCRIBE" and self._working is None:
            self._working = asyncio.create_task(self._describe(request, named))
        elif method == "SETUP" and self._described and "TCP" in request.header("transport").upper():
            self._answer(request, _OK, "Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
        elif method == "PLAY" and self._described and not self._plays:
            self._answer(request, _OK)
            self._plays = True
            self._working = asyncio.create_task(self._play())
        elif method == "TEARDOWN":
            self._answer(request, _OK)
            self.end()
        else:
            self._answer(request, _WRONG)

    async def _describe(self, request: Message, named: tuple[UUID, str]) -> None:
        """Reach the camera, so that the answer is about what it really sends."""
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                source = safe_source(await self._door.find(*named), self._door.allowed)
                camera = self._camera = Camera(source, self._door.ca_file)
                track = await camera.open(await resolve(source, self._door.allowed))
        except (*LOST, Refusal, ValueError) as error:
            why = error.detail if isinstance(error, Refusal) else type(error).__name__
            log.info("a camera cannot be given to a gateway: %s", why, extra={"camera_id": str(named[0])})
            self._answer(request, _MISSING)
            self.end()
            return
        if self._transport is None or self._transport.is_closing():
            camera.leave()
            return
        camera.on_lost = lambda _: self.end()
        head = ("Content-Type: application/sdp", f"Content-Length: {len(track.sdp)}")
        self._answer(request, _OK, *head, body=track.sdp)

    @property
    def _described(self) -> bool:
        return self._camera is not None and self._camera.track is not None

    async def _play(self) -> None:
        assert self._transport is not None
        assert self._camera is not None
        self._keep()
        self._camera.on_media = self._transport.write
        try:
            await self._camera.play()
        except CameraOffline:
            self.end()

    def _answer(self, request: Message, status: str, *headers: str, body: bytes = b"") -> None:
        number = request.header("cseq")
        lines = [f"RTSP/1.0 {status}", f"CSeq: {number if re.fullmatch('[0-9]{1,9}', number) else 0}", "Session: 1"]
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write("\r\n".join([*lines, *headers, "", ""]).encode() + body)

    def pause_writing(self) -> None:
        """Read from the camera only as fast as MediaMTX reads; one that does not read at all is left."""
        self._pace("pause_reading")
        self._end_in(STUCK_SECONDS)

    def resume_writing(self) -> None:
        self._keep()
        self._pace("resume_reading")

    def _pace(self, what: str) -> None:
        transport = self._camera.transport if self._camera is not None else None
        if transport is not None and not transport.is_closing():
            getattr(transport, what)()

    def _end_in(self, seconds: float) -> None:
        self._keep()
        self._deadline = asyncio.get_running_loop().call_later(seconds, self.end)

    def _keep(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def end(self) -> None:
        """Say goodbye to the camera, and let MediaMTX read the end."""
        self._keep()
        if self._camera is not None:
            self._camera.leave()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()
            with contextlib.suppress(RuntimeError):  # no loop any more
                self._deadline = asyncio.get_running_loop().call_later(1, self._transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._keep()
        self._door.pulls.discard(self)
        if self._working is not None:
            self._working.cancel()
        if self._camera is not None:
            self._camera.leave()
