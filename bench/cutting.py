"""How long after a revocation the last byte arrives: 100 cuts of running views per protocol, two worker processes.

The clock starts when the answer of `DELETE /v1/grants/{id}` is in hand: by then it is committed. It stops with the last
byte of footage that the viewer receives, often before the answer; so it is shown from the request on, too. A player of
HLS asks every few milliseconds, playlist and segments in turn; what it is given counts, and when it is first refused is
shown as the end. Nothing may come later than a second after the answer, and no URL may open again.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol
from urllib.parse import urlsplit
from uuid import UUID

from bench.cameras import Filming
from bench.room import Granted, Room, room
from bench.scene import Scene, conclude, scene, table, turns

CAMERAS, CUTS_EACH_ROUND, ROUNDS, WORKERS = 4, 20, 5, 2
FILMING = Filming(CAMERAS, encoders=1, rate=25)
PROTOCOLS = ("fmp4", "hls", "mse")
LATE_SECONDS, PATIENCE_SECONDS, BETWEEN_SECONDS, HLS_SECONDS = 1.0, 3.0, 0.03, 0.01
_UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
_TEXT_FRAME, _CLOSE_FRAME = b"\x81", b"\x88"  # RFC 6455 §5.2


@dataclass(frozen=True, slots=True)
class Cut:
    """One revocation; seconds."""

    asked: float
    """From the request to its answer."""
    last_byte: float
    """From the answer; less than 0 when nothing came after it."""
    over: float
    """From the answer until the connection was ended, or the first request refused."""
    bytes_after: int
    bytes_late: int
    opened_again: bool


class Viewer(Protocol):
    """Somebody who watches one URL."""

    arrived: list[tuple[float, int]]
    """When how many bytes came."""
    started: "asyncio.Future[None]"
    over: "asyncio.Future[float]"


def _request(url: str, more: str = "") -> bytes:
    parts = urlsplit(url)
    return f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{more}\r\n".encode()


class _Stream(asyncio.Protocol):
    """Reads a stream until it ends, over HTTP or a WebSocket."""

    def __init__(self, url: str) -> None:
        loop = asyncio.get_running_loop()
        self.arrived: list[tuple[float, int]] = []
        self.started: asyncio.Future[None] = loop.create_future()
        self.over: asyncio.Future[float] = loop.create_future()
        self._request = _request(url, _UPGRADE if url.endswith("/mse") else "")
        self._has_frames = url.endswith("/mse")
        self._pieces = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._pieces += 1
        if self._pieces == 1 and not data.startswith((b"HTTP/1.1 200", b"HTTP/1.1 101")):
            self.started.set_exception(RuntimeError(data.decode("utf-8", "replace")))
        if self._has_frames and self.started.done() and data.startswith((_TEXT_FRAME, _CLOSE_FRAME)):
            self._transport.close()  # a farewell, no footage
            return
        self.arrived.append((monotonic(), len(data)))
        if self._pieces > 5 and not self.started.done():
            self.started.set_result(None)

    def connection_lost(self, _: Exception | None) -> None:
        self.over.set_result(monotonic())
        if not self.started.done():
            self.started.set_exception(RuntimeError("it ended before it began"))


class _Playlist:
    """Asks for the playlist and its newest segment in turns, on one connection, until it is refused."""

    def __init__(self, url: str) -> None:
        loop = asyncio.get_running_loop()
        self.arrived: list[tuple[float, int]] = []
        self.started: asyncio.Future[None] = loop.create_future()
        self.over: asyncio.Future[float] = loop.create_future()
        self._url = url

    async def play(self) -> None:
        parts = urlsplit(self._url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            while True:
                status, listed = await self._get(reader, writer, self._url)
                if status == 200:
                    newest = listed.decode().split()[-1]
                    status, _ = await self._get(reader, writer, f"{self._url.rpartition('/')[0]}/{newest}")
                if status not in (200, 404):
                    break
                if not self.started.done():
                    self.started.set_result(None)
                await asyncio.sleep(HLS_SECONDS)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.over.set_result(monotonic())
            writer.close()
            if not self.started.done():
                self.started.set_exception(RuntimeError("it was refused before it began"))

    async def _get(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, url: str) -> tuple[int, bytes]:
        writer.write(_request(url))
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        size = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
        left, body = int(size.partition(b":")[2]), b""
        status = int(head.split()[1])
        while left and (piece := await reader.read(left)):
            left, body = left - len(piece), body + piece
            if status == 200:
                self.arrived.append((monotonic(), len(piece)))
        return status, body


@dataclass
class Drill:
    """Who cuts, and who watches."""

    house: Room
    playing: set[asyncio.Task[None]] = field(default_factory=set)

    async def watch(self, granted: Granted, protocol: str) -> Viewer:
        """A viewer to whom footage already comes."""
        viewer: _Stream | _Playlist
        parts = urlsplit(granted.url)
        if protocol == "hls":
            viewer = _Playlist(granted.url)
            task = asyncio.create_task(viewer.play())
            self.playing.add(task)
            task.add_done_callback(self.playing.discard)
        else:
            loop = asyncio.get_running_loop()
            _, viewer = await loop.create_connection(lambda: _Stream(granted.url), parts.hostname, parts.port)
        async with asyncio.timeout(20):
            await viewer.started
        return viewer

    async def round(self, protocol: str) -> list[Cut]:
        """All begin to watch; then one after the other is cut."""
        urls: list[Granted] = []
        while len(urls) < CUTS_EACH_ROUND:
            urls += await self.house.grants(protocol)
        viewers = await asyncio.gather(*(self.watch(granted, protocol) for granted in urls))
        answered = []
        async with _line(self.house) as line:
            for granted in urls:
                answered.append(await line.revoke(granted.grant_id))
                await asyncio.sleep(BETWEEN_SECONDS)
        await asyncio.sleep(LATE_SECONDS)
        return [await self._cut(*one) for one in zip(viewers, answered, urls, strict=True)]

    async def _cut(self, viewer: Viewer, moments: tuple[float, float], granted: Granted) -> Cut:
        asked, answered = moments
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(viewer.over), PATIENCE_SECONDS)
        over = viewer.over.result() - answered if viewer.over.done() else float("inf")
        after = [(at - answered, size) for at, size in viewer.arrived if at > answered]
        again = await self.house.client.get(granted.url)
        return Cut(
            answered - asked, viewer.arrived[-1][0] - answered, over, sum(size for _, size in after),
            sum(size for later, size in after if later > LATE_SECONDS), again.status_code == 200,
        )  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A connection on which grants are ended: the moment of an answer is noted when its bytes are here."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    authorization: str

    async def revoke(self, grant_id: UUID) -> tuple[float, float]:
        """When it was asked for, and when the answer came."""
        about = f"Host: bench\r\nAuthorization: {self.authorization}\r\n"
        asked = monotonic()
        self.writer.write(f"DELETE /v1/grants/{grant_id} HTTP/1.1\r\n{about}\r\n".encode())
        answer = await self.reader.readuntil(b"\r\n\r\n")
        answered = monotonic()
        assert answer.startswith(b"HTTP/1.1 204 "), answer
        return asked, answered


@asynccontextmanager
async def _line(house: Room) -> AsyncIterator[Line]:
    base = urlsplit(house.running.base_url)
    reader, writer = await asyncio.open_connection(base.hostname, base.port)
    yield Line(reader, writer, house.client.headers["Authorization"])
    writer.close()


async def _contest(place: Scene) -> None:
    async with room(place, FILMING, workers=WORKERS) as house:
        drill = Drill(house)
        protocols = [protocol for protocol in PROTOCOLS if await house.offers(protocol)]
        cuts: dict[str, list[Cut]] = {protocol: [] for protocol in protocols}
        for order in turns(ROUNDS, protocols):
            for protocol in order:
                cuts[protocol] += await drill.round(protocol)
    _report(cuts)


def _of(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, 99th percentile and the most."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100 - 1], ordered[-1]


def _report(cuts: dict[str, list[Cut]]) -> None:
    rows: list[list[Any]] = []
    ratios: dict[str, float] = {}
    for protocol, of_protocol in cuts.items():
        p50, p99, most = _of([max(cut.last_byte, 0.0) for cut in of_protocol])
        asked50, asked99, _ = _of([cut.asked + cut.last_byte for cut in of_protocol])
        _, over99, over = _of([cut.over for cut in of_protocol])
        after, late = (sum(getattr(cut, name) for cut in of_protocol) for name in ("bytes_after", "bytes_late"))
        again = sum(cut.opened_again for cut in of_protocol)
        times = [seconds * 1e3 for seconds in (p50, p99, most, asked50, asked99, over99, over)]
        rows.append([protocol, len(of_protocol), *times, after, late, again])
        ratios |= {f"{protocol}_p50_to_1s": p50, f"{protocol}_p99_to_1s": p99}
        ratios |= {f"{protocol}_p99_from_request_to_1s": asked99, f"{protocol}_ended_p99_to_1s": over99}
        ratios |= {f"{protocol}_bytes_after_1s": float(late), f"{protocol}_opened_again": float(again)}
    head = (
        "ms", "cuts", "last byte p50", "p99", "most", "from the request p50", "p99", "ended p99", "most",
        "bytes after the answer", "after 1 s", "opened again",
    )  # fmt: skip
    table(f"from the answer to a revocation to the last byte, {WORKERS} workers", head, rows)
    conclude("cutting", ratios, sum(map(len, cuts.values())))


async def main() -> None:
    with scene() as place:
        await _contest(place)


if __name__ == "__main__":
    asyncio.run(main())
