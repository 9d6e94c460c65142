"""Stands between the camera and ffmpeg: the camera sees us, ffmpeg sees `rtsp://127.0.0.1:port/token`.

So a camera's address and password are in no command line and no environment; the address is the one that was checked,
whatever the camera answers (no redirects); only one video track is ever asked for, so sound cannot pass; and what the
camera sends is bounded before ffmpeg reads it. Frames are handed on in whole blocks, one write per read.
"""

import asyncio
import contextlib
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import cast

from app.errors import CameraOffline, CameraRefuses
from app.registry.addresses import Source
from app.streams.embedded.connection import Rate, connect
from app.streams.embedded.rtsp import BadRtsp, Inbound, Message, Track, authorization, video_track

_MOST_PIECES_PER_SECOND = 20_000
_LEAVE_SECONDS = 1
_UNAUTHORIZED, _OK, _REDIRECTS = 401, 200, range(300, 400)
_AGENT = "User-Agent: Gwanje"


class Camera(asyncio.Protocol):
    """One RTSP conversation with a camera. `on_media` gets blocks of interleaved frames, `on_lost` why it ended."""

    def __init__(self, source: Source, ca_file: Path | None = None) -> None:
        self.on_media: Callable[[bytes], None] = _ignore
        self.on_lost: Callable[[str], None] = _ignore
        self.track: Track | None = None
        self.transport: asyncio.Transport | None = None
        self._source, self._ca_file = source, ca_file
        self._inbound = Inbound()
        self._rate = Rate()
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._sent = 0
        self._challenges: list[str] = []
        self._nonce_uses = 0
        self._session = ""
        self._keepalive: asyncio.Task[None] | None = None

    async def open(self, address: str) -> Track:
        """Connect to the pinned `address` and set up the video track; nothing plays yet. Raises CameraOffline."""
        await connect(self, self._source, address, self._ca_file)
        url = self._source.url
        described = await self._request("DESCRIBE", url, "Accept: application/sdp")
        base = described.header("content-base") or described.header("content-location")
        try:
            self.track = video_track(described.body, base if re.fullmatch(r"rtsps?://[!-~]{1,1024}", base) else url)
        except BadRtsp as error:
            raise CameraRefuses(f"the camera cannot be shown: {error}") from error
        answer = await self._request("SETUP", self.track.control_url, "Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
        channels = re.search(r"interleaved=(\d{1,3})-(\d{1,3})", answer.header("transport"))
        self._inbound.channels = {int(channels[1]): 0, int(channels[2]): 1} if channels else {0: 0, 1: 1}
        session, _, parameters = answer.header("session").partition(";")
        self._session = session if re.fullmatch(r"[!-~]{1,256}", session) else ""
        lifetime = re.search(r"timeout=(\d{1,5})", parameters)
        self._keepalive = asyncio.create_task(self._keep_alive(max(2, int(lifetime[1]) if lifetime else 60) / 2))
        return self.track

    async def play(self) -> None:
        """Let the frames come. Raises CameraOffline."""
        assert self.track is not None
        await self._request("PLAY", self.track.aggregate_url, "Range: npt=0.000-")

    def leave(self) -> None:
        """Say goodbye, so that the camera frees its session, and close; what still comes is dropped."""
        self.on_media, self.on_lost = _ignore, _ignore
        if self._keepalive:
            self._keepalive.cancel()
        if self.transport is None or self.transport.is_closing():
            return
        self.transport.resume_reading()
        if self._session and self.track:
            self._send("TEARDOWN", self.track.aggregate_url)
            asyncio.get_running_loop().call_later(_LEAVE_SECONDS, self.transport.abort)
        else:
            self.transport.abort()

    async def _keep_alive(self, every_seconds: float) -> None:
        assert self.track is not None
        with contextlib.suppress(CameraOffline):  # a camera that does not know it keeps playing; a dead one is noticed
            while True:
                await asyncio.sleep(every_seconds)
                await self._request("GET_PARAMETER", self.track.aggregate_url)

    async def _request(self, method: str, url: str, *headers: str) -> Message:
        for _ in range(2):
            answered = asyncio.get_running_loop().create_future()
            self._waiting[self._send(method, url, *headers)] = answered
            message: Message = await answered
            if message.status != _UNAUTHORIZED:
                break
            # Asked anew for every fresh nonce: a session outlives it. The second refusal means wrong credentials.
            self._challenges, self._nonce_uses = message.headers.get("www-authenticate", []), 0
        if message.status == _UNAUTHORIZED:
            raise CameraRefuses("the camera does not accept the credentials that are registered for it")
        if message.status in _REDIRECTS:
            raise CameraRefuses(
                f"the camera answered {message.status} and leads elsewhere; register the address that it leads to"
            )
        if message.status != _OK:
            raise CameraOffline(f"the camera answered {message.status} to {method}")
        return message

    def _send(self, method: str, url: str, *headers: str) -> int:
        if self.transport is None or self.transport.is_closing():
            raise CameraOffline("the camera closed the connection")
        self._sent += 1
        lines = [f"{method} {url} RTSP/1.0", f"CSeq: {self._sent}", _AGENT, *headers]
        if self._session:
            lines.append(f"Session: {self._session}")
        if self._challenges and (self._source.user or self._source.password):
            self._nonce_uses += 1
            user, password = self._source.user, self._source.password
            if answer := authorization(self._challenges, method, url, user, password, self._nonce_uses):
                lines.append(f"Authorization: {answer}")
        self.transport.write("\r\n".join([*lines, "", ""]).encode())
        return self._sent

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            for item in self._inbound.feed(data):
                if isinstance(item, bytes):
                    self.on_media(item)
                elif item.status:
                    self._answered(item)
        except BadRtsp as error:
            self._fail(f"the camera cannot be understood: {error}")
        pieces, self._inbound.pieces = self._inbound.pieces, 0
        if excess := self._rate.excess(len(data), pieces, _MOST_PIECES_PER_SECOND):
            self._fail(excess)

    def _answered(self, response: Message) -> None:
        waiting = self._waiting.pop(_number(response.header("cseq")), None)
        if waiting and not waiting.done():
            waiting.set_result(response)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._fail("the camera closed the connection")

    def _fail(self, reason: str) -> None:
        if self._keepalive:
            self._keepalive.cancel()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(CameraOffline(reason))
        self._waiting.clear()
        if self.transport:
            self.transport.abort()
        told, self.on_lost, self.on_media = self.on_lost, _ignore, _ignore
        told(reason)


class Door(asyncio.Protocol):
    """The loopback address for one ffmpeg: the first that knows the token is let in, then the door is shut."""

    def __init__(self, camera: Camera, track: Track) -> None:
        self.token = secrets.token_urlsafe(24)
        self.url = ""
        self._camera, self._track = camera, track
        self._server: asyncio.Server | None = None
        self._guest: asyncio.Transport | None = None
        self._playing: asyncio.Task[None] | None = None

    async def open(self) -> str:
        """The URL for ffmpeg."""
        self._server = await asyncio.get_running_loop().create_server(lambda: _Visit(self), "127.0.0.1", 0)
        self.url = f"rtsp://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/{self.token}"
        return self.url

    def close(self) -> None:
        """Whoever reads here reads the end. The camera is left alone."""
        if self._server:
            self._server.close()
        if self._playing:
            self._playing.cancel()
        if self._guest:
            self._guest.abort()

    def enter(self, guest: asyncio.Transport) -> None:
        """The guest is here: nobody else may come, and it sets the pace of the camera."""
        if self._guest is None:
            self._guest = guest
            if self._server:
                self._server.close()
            guest.set_write_buffer_limits(high=1024 * 1024)
        elif self._guest is not guest:
            guest.abort()

    def answer(self, request: Message) -> bytes:
        """It asks what the camera was asked already; only PLAY goes through, without waiting for its answer."""
        method = request.start.partition(" ")[0]
        head = f"RTSP/1.0 200 OK\r\nCSeq: {_number(request.header('cseq'))}\r\nSession: 1\r\n"
        if method == "DESCRIBE":
            sdp = self._track.sdp
            return f"{head}Content-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n\r\n".encode() + sdp
        if method == "SETUP":
            return f"{head}Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n".encode()
        if method == "PLAY" and self._guest and self._playing is None:
            self._camera.on_media = self._guest.write
            self._playing = asyncio.create_task(self._play())
        return f"{head}Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n\r\n".encode()

    async def _play(self) -> None:
        try:
            await self._camera.play()
        except CameraOffline as error:
            self._camera.on_lost(error.detail)

    def pace(self, *, go: bool) -> None:
        """Read from the camera only as fast as ffmpeg reads."""
        if (transport := self._camera.transport) and not transport.is_closing():
            (transport.resume_reading if go else transport.pause_reading)()


class _Visit(asyncio.Protocol):
    """One connection at the door."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._inbound = Inbound()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        try:
            for request in self._inbound.feed(data):  # its receiver reports are frames of no named channel: dropped
                if isinstance(request, bytes):
                    continue
                if self._door.token not in request.start:
                    self._transport.abort()
                    return
                self._door.enter(self._transport)
                self._transport.write(self._door.answer(request))
        except BadRtsp:
            self._transport.abort()

    def pause_writing(self) -> None:
        self._door.pace(go=False)

    def resume_writing(self) -> None:
        self._door.pace(go=True)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0  # noqa: PLR2004 - a CSeq has 9 digits


def _ignore(_: object) -> None:
    """Nobody listens."""
