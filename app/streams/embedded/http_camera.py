"""HTTP cameras: one GET, and what comes is video until it ends.

Read by ourselves, from the one address that was checked: no redirect is followed, no proxy asked, no name resolved
again, nothing unpacked, and credentials are told to nobody who has not asked for them. ffmpeg reads what is left over
on its standard input and is told no address.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import cast

import h11

from app.errors import CameraOffline, CameraRefuses
from app.registry.addresses import Source
from app.streams.embedded.connection import Rate, connect
from app.streams.embedded.containers import Container, container_of
from app.streams.embedded.not_video import FormatChanged, NotVideo
from app.streams.embedded.rtsp import MAX_HEADER_BYTES, authorization

_OK, _REDIRECTS, _UNAUTHORIZED = 200, range(300, 400), 401
_MOST_HELD_BYTES = 2 * 1024 * 1024  # what may come before it is clear what it is
_MOST_PIECES_PER_SECOND = 5000
_MOST_INTERIM_ANSWERS = 4
_PORTS = {"http": 80, "https": 443}


class HttpCamera:
    """Gives a camera's video to one ffmpeg.

    `on_lost` gets the reason why it ended, `on_changed` is called when it ends because another picture follows.
    """

    def __init__(self, source: Source, ca_file: Path | None = None) -> None:
        self.on_lost: Callable[[str], None] = _ignore
        self.on_changed: Callable[[], None] = _do_nothing
        self.container: Container | None = None
        self._source, self._ca_file = source, ca_file
        self._answer: _Answer | None = None
        self._stdin: asyncio.WriteTransport | None = None
        self._held = bytearray()
        self._content_type = ""
        self._is_full = False
        self._known: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self, address: str) -> Container:
        """Ask the camera at the pinned `address` and learn what it sends. Raises CameraOffline."""
        challenges: list[str] = []
        for _ in range(2):
            answer = self._answer = _Answer(self._request(challenges))
            await connect(answer, self._source, address, self._ca_file)
            response = await answer.began
            if response.status_code != _UNAUTHORIZED:
                break
            answer.leave()
            challenges = [value.decode("latin-1") for name, value in response.headers if name == b"www-authenticate"]
        self._check(response)
        self._content_type = _header(response, b"content-type")
        answer.read_on(self._take, self._lose)
        await self._known
        assert self.container is not None
        return self.container

    def give_to(self, stdin: asyncio.WriteTransport) -> None:
        """From now on everything goes to this ffmpeg, what has come already first."""
        self._stdin = stdin
        held, self._held = bytes(self._held), bytearray()
        self.pace(go=True)
        self._give(held)

    def pace(self, *, go: bool) -> None:
        """Read from the camera only as fast as ffmpeg reads; pictures that it has no time for are dropped."""
        self._is_full = not go
        if self._answer and self.container and self.container.codec != "JPEG":
            (self._answer.resume if go else self._answer.pause)()

    def leave(self) -> None:
        """Close; what still comes is dropped."""
        self.on_lost, self.on_changed, self._stdin = _ignore, _do_nothing, None
        if self._answer:
            self._answer.leave()
        if not self._known.done():
            self._known.set_exception(CameraOffline("the camera is not opened after all"))
            self._known.exception()  # who opens may have given up already

    def _request(self, challenges: list[str]) -> h11.Request:
        source, target = self._source, self._source.path
        if not target.startswith("/"):
            target = "/" + target
        host = f"[{source.host}]" if ":" in source.host else source.host
        headers = [
            ("Host", host if source.port == _PORTS[source.scheme] else f"{host}:{source.port}"),
            ("User-Agent", "Gwanje"),
            ("Accept", "*/*"),
            ("Accept-Encoding", "identity"),
            ("Connection", "close"),
        ]
        if challenges and (source.user or source.password):
            answer = authorization(challenges, "GET", target, source.user, source.password, 1)
            headers += [("Authorization", answer)] if answer else []
        try:
            return h11.Request(method="GET", target=target, headers=[(k.encode(), v.encode()) for k, v in headers])
        except h11.LocalProtocolError as error:
            raise CameraOffline("the camera's challenge for credentials cannot be answered") from error

    def _check(self, response: h11.Response | h11.InformationalResponse) -> None:
        status = response.status_code
        if status == _UNAUTHORIZED:
            raise CameraRefuses("the camera does not accept the credentials that are registered for it")
        if status in _REDIRECTS:
            raise CameraRefuses(
                f"the camera answered {status} and leads elsewhere; register the address that it leads to"
            )
        if status != _OK:
            raise CameraOffline(f"the camera answered {status}")
        if _header(response, b"content-encoding").lower() not in {"", "identity"}:
            raise CameraRefuses("the camera cannot be shown: what it sends is compressed")

    def _take(self, data: bytes) -> None:
        try:
            if self.container is None:
                self._held += data
                self.container = container_of(self._content_type, bytes(self._held[:_MOST_HELD_BYTES]))
                if self.container is None:
                    return
                data, self._held = bytes(self._held), bytearray()
            out = self.container.feed(data)
        except NotVideo as error:
            self._refuse(f"the camera cannot be shown: {error}")
            return
        except FormatChanged:
            self.on_changed()
            return
        if self.container.codec and not self._known.done():
            self._known.set_result(None)
        if self._stdin:
            self._give(out)
            return
        if not self._is_full:
            self._held += out
        if len(self._held) > _MOST_HELD_BYTES:
            self.pace(go=False)

    def _give(self, data: bytes) -> None:
        is_dropped = self._is_full and self.container and self.container.codec == "JPEG"
        if data and not is_dropped and self._stdin and not self._stdin.is_closing():
            self._stdin.write(data)

    def _refuse(self, reason: str) -> None:
        if self._answer:
            self._answer.leave()
        if not self._known.done():
            self._known.set_exception(CameraRefuses(reason))
        self._lose(reason)

    def _lose(self, reason: str) -> None:
        if not self._known.done():
            self._known.set_exception(CameraOffline(reason))
        told, self.on_lost = self.on_lost, _ignore
        told(reason)


class _Answer(asyncio.Protocol):
    """The answer to one request; its body is not read before `read_on()`."""

    def __init__(self, request: h11.Request) -> None:
        self.began: asyncio.Future[h11.Response] = asyncio.get_running_loop().create_future()
        self._on_data: Callable[[bytes], None] = _ignore
        self._on_lost: Callable[[str], None] = _ignore
        self._ended = ""
        self._request = request
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEADER_BYTES)
        self._rate = Rate()
        self._interim = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write((self._http.send(self._request) or b"") + (self._http.send(h11.EndOfMessage()) or b""))

    def read_on(self, on_data: Callable[[bytes], None], on_lost: Callable[[str], None]) -> None:
        """Give the body to `on_data` as it comes, and the reason to `on_lost` when it ends."""
        if self._ended:
            on_lost(self._ended)
            return
        self._on_data, self._on_lost = on_data, on_lost
        self.resume()
        self._read()

    def data_received(self, data: bytes) -> None:
        if excess := self._rate.excess(len(data), 0, _MOST_PIECES_PER_SECOND):
            self._fail(excess)
            return
        self._http.receive_data(data)
        self._read()

    def _read(self) -> None:
        """Everything that is whole; after the header only once somebody listens."""
        try:
            while not (self._ended or (self.began.done() and self._on_data is _ignore)):
                event = self._http.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    break
                if excess := self._rate.excess(0, 1, _MOST_PIECES_PER_SECOND):
                    self._fail(excess)
                elif isinstance(event, h11.Data):
                    self._on_data(bytes(event.data))
                elif isinstance(event, h11.Response):
                    self.pause()
                    self.began.set_result(event)
                elif isinstance(event, h11.InformationalResponse):
                    self._interim += 1
                    if self._interim > _MOST_INTERIM_ANSWERS:
                        self._fail("the camera cannot be understood: it never comes to its answer")
                else:
                    self._fail("the camera ended its video")
        except h11.RemoteProtocolError:
            self._fail("the camera cannot be understood: it does not speak HTTP, or sends endless headers")

    def eof_received(self) -> None:
        if self.began.done():
            self._http.receive_data(b"")
            self._read()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._fail("the camera closed the connection")

    def resume(self) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.resume_reading()

    def pause(self) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.pause_reading()

    def leave(self) -> None:
        self._on_data, self._on_lost = _ignore, _ignore
        self._ended = self._ended or "the camera was left"
        if self._transport:
            self._transport.abort()

    def _fail(self, reason: str) -> None:
        self._ended, told = self._ended or reason, self._on_lost
        self.leave()
        if not self.began.done():
            self.began.set_exception(CameraOffline(reason))
            self.began.exception()  # who asked may have given up already
        told(reason)


def _header(response: h11.Response | h11.InformationalResponse, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in response.headers if key == name), "")


def _ignore(_: object) -> None:
    """Nobody listens."""


def _do_nothing() -> None:
    """As `_ignore`."""
