"""One client of the simulator: RTSP/1.0 (RFC 2326), media interleaved in the same TCP connection and nowhere else."""

import asyncio
import base64
import re
import secrets
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from app import clock
from app.demo.simulator import authentication, rtp
from app.demo.simulator.camera import SimulatedCamera
from app.demo.simulator.encoder import AccessUnit, Encoder, ParameterSets

REQUEST_BYTES = 16_384  # of a request's head; also of its body
BACKLOG_BYTES = 4_000_000  # a client that lets more pile up is cut off: the others must not pay for it
IDLE_SECONDS = 30.0  # for a client that plays nothing
REPORT_SECONDS = 5.0
VIDEO, AUDIO = "trackID=0", "trackID=1"
METHODS = "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, GET_PARAMETER, SET_PARAMETER, TEARDOWN"
_REASONS = {
    200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 405: "Method Not Allowed",
    413: "Request Entity Too Large", 454: "Session Not Found", 455: "Method Not Valid in This State",
    461: "Unsupported Transport", 505: "RTSP Version not supported",
}  # fmt: skip
_INTERLEAVED = re.compile(r"interleaved=(\d{1,3})", re.ASCII)


@dataclass
class Mount:
    """One camera behind the server."""

    camera: SimulatedCamera
    encoder: Encoder
    sets: ParameterSets
    offline: bool = False
    silent: bool = False  # offline, and not even a closed connection tells


class House(Protocol):
    """What a connection asks of the server it belongs to."""

    def mount(self, path: str) -> Mount | None: ...


@dataclass(frozen=True)
class Request:
    """One RTSP request; header names in lower case."""

    method: str
    url: str
    headers: dict[str, str]


class _RefusedError(Exception):
    def __init__(self, status: int, headers: list[str] | None = None) -> None:
        super().__init__(status)
        self.status, self.headers = status, headers or []


class Connection:
    """Serves one client until it leaves. As a viewer it forwards what the encoder gives, from the next key frame on."""

    def __init__(self, house: House, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._house, self._reader, self._writer = house, reader, writer
        self._nonce, self._session = secrets.token_hex(16), ""
        self._tracks: dict[str, rtp.RtpStream] = {}
        self._reported: dict[str, float] = {}
        self._awaits_key = True
        self.mount: Mount | None = None  # which the client named
        self.playing = False

    async def serve(self) -> None:
        """Answer until the client leaves, misbehaves or falls silent before it plays."""
        try:
            while True:
                async with asyncio.timeout(None if self.playing else IDLE_SECONDS):
                    request = await self._read()
                if request and not await self._answer(request):
                    break
        except _RefusedError as refused:
            self._respond(refused.status, "0", refused.headers)
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            pass  # it left, or will not get further
        finally:
            self._pause()
            self._writer.close()

    def cut(self) -> None:
        """Drop the client at once, with whatever is still unsent."""
        self._pause()
        self._writer.transport.abort()

    def show(self, unit: AccessUnit) -> None:
        """Send one access unit (Viewer)."""
        stream, mount = self._tracks.get(VIDEO), self.mount
        if stream is None or mount is None:
            return
        if mount.silent or (self._awaits_key and not unit.key):
            self._awaits_key = True
            return
        self._awaits_key = False
        nals = (mount.sets.sequence, mount.sets.picture, *unit.nals) if unit.key else unit.nals
        parts = [self._report(VIDEO, stream, unit.filmed_at)]
        for number, nal in enumerate(nals, start=1):
            *pieces, final = rtp.payloads(nal)
            parts += [stream.packet(piece, unit.filmed_at, last=False) for piece in pieces]
            parts.append(stream.packet(final, unit.filmed_at, last=number == len(nals)))
        self._send(b"".join(parts))

    def sound(self, block: bytes, at: float) -> None:
        """Send one block of sound (Viewer); it begins with the picture."""
        stream, mount = self._tracks.get(AUDIO), self.mount
        if stream is None or mount is None or mount.silent or (self._awaits_key and VIDEO in self._tracks):
            return
        self._send(self._report(AUDIO, stream, at) + stream.packet(block, at, last=False))

    def _report(self, track: str, stream: rtp.RtpStream, at: float) -> bytes:
        if at - self._reported.get(track, 0) < REPORT_SECONDS:
            return b""
        self._reported[track] = at
        return stream.report(at)

    def _send(self, data: bytes) -> None:
        if self._writer.transport.get_write_buffer_size() > BACKLOG_BYTES:
            self.cut()
        else:
            self._writer.write(data)

    async def _read(self) -> Request | None:
        """The next request; None for an interleaved packet (a receiver report), which is passed over."""
        first = await self._reader.readexactly(1)
        if first == b"$":
            _, high, low = await self._reader.readexactly(3)
            await self._reader.readexactly(high << 8 | low)
            return None
        if first in b"\r\n":  # some clients send an empty line to keep the connection
            return None
        head = (first + await self._reader.readuntil(b"\r\n\r\n")).decode("utf-8", "replace")
        start, *lines = head[:-4].split("\r\n")
        method, _, rest = start.partition(" ")
        url, _, version = rest.rpartition(" ")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = headers.get("content-length", "0")
        if not url or not version.startswith("RTSP/") or not (length.isascii() and length.isdigit()):
            raise _RefusedError(400)
        if len(length) > len(str(REQUEST_BYTES)) or int(length) > REQUEST_BYTES:
            raise _RefusedError(413)
        await self._reader.readexactly(int(length))
        return Request(method, url, headers)

    async def _answer(self, request: Request) -> bool:
        """Whether the conversation goes on."""
        sequence = request.headers.get("cseq", "")
        if not sequence.isascii() or not sequence.isdigit():
            raise _RefusedError(400)
        mount, track = self._find(request.url)
        self.mount = self.mount or mount
        if mount and mount.offline:
            if not mount.silent:
                self.cut()
            return mount.silent
        ended = False
        try:
            headers, body = self._perform(request, mount, track)
            self._respond(200, sequence, headers, body)
            ended = request.method == "TEARDOWN"
        except _RefusedError as refused:
            self._respond(refused.status, sequence, refused.headers)
        if request.method == "PLAY" and self.playing and mount:  # behind its answer
            mount.encoder.join(self)
        await self._writer.drain()
        return not ended

    def _find(self, url: str) -> tuple[Mount | None, str]:
        try:
            path = urlsplit(url).path.strip("/")
        except ValueError:
            raise _RefusedError(400) from None
        base, _, track = path.rpartition("/")
        return (self._house.mount(base), track) if track in {VIDEO, AUDIO} else (self._house.mount(path), "")

    def _perform(self, request: Request, mount: Mount | None, track: str) -> tuple[list[str], str]:
        """Headers and body of a 200."""
        if request.method == "OPTIONS":
            return [f"Public: {METHODS}"], ""
        if request.method not in METHODS.split(", "):
            raise _RefusedError(405, [f"Allow: {METHODS}"])
        if mount is None or mount is not self.mount:  # one connection, one camera
            raise _RefusedError(404)
        if not authentication.admits(
            mount.camera, request.headers.get("authorization", ""), request.method, self._nonce
        ):
            raise _RefusedError(401, [f"WWW-Authenticate: {value}" for value in authentication.challenges(self._nonce)])
        if request.method == "DESCRIBE":
            base = request.url.partition("?")[0].rstrip("/") + "/"
            return [f"Content-Base: {base}", "Content-Type: application/sdp"], description(mount)
        if request.method == "SETUP":
            return self._setup(request, mount, track), ""
        if request.headers.get("session", "").partition(";")[0].strip() != self._session or not self._session:
            raise _RefusedError(454)
        headers = [f"Session: {self._session}"]
        if request.method == "PLAY":
            self.playing = True
            base = f"rtsp://{urlsplit(request.url).netloc.rpartition('@')[2]}/{mount.camera.path}"
            info = ",".join(f"url={base}/{name};seq={stream.sequence}" for name, stream in self._tracks.items())
            headers += ["Range: npt=now-", f"RTP-Info: {info}"]
        elif request.method in {"PAUSE", "TEARDOWN"}:
            self._pause()
        return headers, ""

    def _setup(self, request: Request, mount: Mount, track: str) -> list[str]:
        if self.playing:
            raise _RefusedError(455)
        if not track or (track == AUDIO and not mount.camera.audio):
            raise _RefusedError(404)
        offers = request.headers.get("transport", "").split(",")
        offer = next((offer for offer in offers if offer.strip().upper().startswith("RTP/AVP/TCP")), None)
        if offer is None:
            raise _RefusedError(461)
        wanted = _INTERLEAVED.search(offer)
        channel = int(wanted[1]) if wanted else 2 * len(self._tracks)
        if channel > 254:  # noqa: PLR2004 - the report needs the next one, and a channel is one byte
            raise _RefusedError(461)
        kind = (rtp.AUDIO_TYPE, rtp.AUDIO_CLOCK) if track == AUDIO else (rtp.VIDEO_TYPE, rtp.VIDEO_CLOCK)
        stream = self._tracks[track] = rtp.RtpStream(*kind, channel)
        self._session = self._session or secrets.token_hex(8)
        transport = f"RTP/AVP/TCP;unicast;interleaved={channel}-{channel + 1};ssrc={stream.ssrc:08X}"
        return [f"Transport: {transport}", f"Session: {self._session};timeout=60"]

    def _pause(self) -> None:
        self.playing, self._awaits_key = False, True
        self._reported.clear()
        if self.mount:
            self.mount.encoder.leave(self)

    def _respond(self, status: int, sequence: str, headers: list[str], body: str = "") -> None:
        date = f"{clock.now():%a, %d %b %Y %H:%M:%S GMT}"
        head = [f"RTSP/1.0 {status} {_REASONS[status]}", f"CSeq: {sequence}", f"Date: {date}", *headers]
        if body:
            head.append(f"Content-Length: {len(body)}")
        self._writer.write("\r\n".join([*head, "", body]).encode())


def description(mount: Mount) -> str:
    """The SDP (RFC 4566, RFC 6184 section 8.2.1) of a camera."""
    camera, sets = mount.camera, mount.sets
    sprop = ",".join(base64.b64encode(nal).decode() for nal in (sets.sequence, sets.picture))
    profile = sets.sequence[1:4].hex().upper()
    lines = [
        *("v=0", "o=- 1 1 IN IP4 127.0.0.1", f"s={camera.name}", "c=IN IP4 0.0.0.0", "t=0 0"),
        *("a=control:*", "a=range:npt=now-", f"m=video 0 RTP/AVP {rtp.VIDEO_TYPE}"),
        f"a=rtpmap:{rtp.VIDEO_TYPE} H264/{rtp.VIDEO_CLOCK}",
        f"a=fmtp:{rtp.VIDEO_TYPE} packetization-mode=1;profile-level-id={profile};sprop-parameter-sets={sprop}",
        *(f"a=framerate:{camera.frames_per_second}", f"a=control:{VIDEO}"),
    ]
    if camera.audio:
        lines += [f"m=audio 0 RTP/AVP {rtp.AUDIO_TYPE}", f"a=rtpmap:{rtp.AUDIO_TYPE} PCMU/{rtp.AUDIO_CLOCK}"]
        lines.append(f"a=control:{AUDIO}")
    return "\r\n".join([*lines, ""])
