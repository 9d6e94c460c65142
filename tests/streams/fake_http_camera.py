"""A camera that speaks HTTP: MPEG-TS, MP4 or MJPEG as it films, Digest or Basic, and what hostile ones send."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal, Self
from urllib.parse import quote

from tests.streams.fake_camera import FakeCamera
from tests.streams.film import file, jpegs

Shows = Literal["mpegts", "mp4", "mjpeg"]


@dataclass
class FakeHttpCamera:
    """`async with FakeHttpCamera() as camera: camera.url`. `answer`: bytes that are sent instead of all this."""

    shows: Shows = "mpegts"
    codec: Literal["h264", "h265"] = "h264"
    size: str = "320x180"
    user: str = "viewer"
    password: str = "s3cret-Pa55"
    auth: Literal["", "basic", "digest", "digest-sha256", "digest-plain"] = "digest"
    host: str = "127.0.0.1"
    port: int = 0
    tls: ssl.SSLContext | None = None
    path: str = "/video.cgi?channel=1"
    answer: bytes = b""
    torrent: bytes = b""
    """Sent again and again after the answer."""
    pause_seconds: float = 0
    """Between the pieces of the torrent."""
    content_type: str = ""
    chunked: bool = False
    lengths: bool = True
    """Whether the parts of MJPEG say how long they are."""
    begin_seconds: float = 0.5
    """Where in its film it is when somebody comes: in the middle of a group of pictures."""
    films: tuple[bytes, ...] = ()
    """What it sends instead to who comes first, second, …; the last of them to all who follow."""
    plays: int = 0
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task] = field(default_factory=set)

    @property
    def url(self) -> str:
        scheme = "https" if self.tls else "http"
        credentials = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        return f"{scheme}://{credentials}@{self.host}:{self.port}{self.path}"

    async def __aenter__(self) -> Self:
        self._knows = FakeCamera(self.user, self.password, self.auth)
        self._knows.nonce = "5eed"
        self._server = await asyncio.start_server(self._serve, self.host, self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        while tasks := [task for task in self._tasks if not task.done()]:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    @property
    def connections(self) -> int:
        return len(self._writers)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self._tasks.add(task := asyncio.current_task())
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            start, *lines = head.split("\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}
            self.requests.append((start, headers))
            await self._respond(writer, start, headers)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.close()

    async def _respond(self, writer: asyncio.StreamWriter, start: str, headers: dict[str, str]) -> None:
        method, target, _ = start.split(" ")
        if self.answer or self.torrent:
            writer.write(self.answer)
            while self.torrent:
                writer.write(self.torrent)
                await writer.drain()
                await asyncio.sleep(self.pause_seconds)
            await writer.drain()
            return
        if self.auth and not self._knows._knows(method, target, headers.get("authorization", "")):
            challenge = self._knows._challenge()
            writer.write(
                f"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {challenge}\r\nContent-Length: 4\r\n\r\nnope".encode()
            )
            await writer.drain()
            return
        self.plays += 1
        types = {"mpegts": "video/MP2T", "mp4": "video/mp4", "mjpeg": "multipart/x-mixed-replace; boundary=--frame"}
        more = "Transfer-Encoding: chunked\r\n" if self.chunked else ""
        writer.write(
            f"HTTP/1.1 200 OK\r\nContent-Type: {self.content_type or types[self.shows]}\r\n{more}\r\n".encode()
        )
        async for piece in self._film():
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if self.chunked else piece)
            await writer.drain()

    async def _film(self) -> AsyncIterator[bytes]:
        """A twentieth of a second at a time, again and again from the beginning."""
        loop = asyncio.get_running_loop()
        if self.shows == "mjpeg":
            while True:
                for picture in jpegs(self.size):
                    length = f"Content-Length: {len(picture)}\r\n" if self.lengths else ""
                    yield f"--frame\r\nContent-Type: image/jpeg\r\n{length}\r\n".encode() + picture + b"\r\n"
                    await asyncio.sleep(1 / 15)
        data = self.films[min(self.plays, len(self.films)) - 1] if self.films else file(self.shows, self.codec)
        began = loop.time()
        rate, at = len(data) / 8, 0 if self.shows == "mp4" else int(len(data) / 8 * self.begin_seconds)
        first = at
        while at < len(data):
            upto = first + int(rate * (loop.time() - began + 0.05))
            yield data[at:upto]
            at = upto
            await asyncio.sleep(0.05)
