"""Viewers as a load: a process of its own that plays streams, counts what comes and looks for what is missing.

It reads commands and writes answers, one line of JSON each, on its standard streams; `Readers` is the other side. A
viewer plays progressive MP4 over HTTP or, for a URL that ends in `/mse`, over a WebSocket. Of every fragment the
sequence number (`mfhd`), the decode time and the moment of arrival are looked at; one that stalls reads no more after
its first bytes, and keeps its connection.
"""

import asyncio
import contextlib
import json
import os
import select
import socket
import sys
from array import array
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import quantiles
from time import monotonic
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from app.streams.embedded.boxes import Fragment, Init, Splitter

_AT_ONCE, _OPEN_SECONDS, _TRIES = 12, 30.0, 3  # openings under way; how long one may take; who is put off asks again
_PIECE_BYTES, _LITTLE_BYTES = 1 << 16, 4096
_SEQUENCE_NUMBER = slice(20, 24)  # of a `moof`, whose first child is `mfhd` (ISO/IEC 14496-12, 8.8.5)
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10  # RFC 6455 §5.2


@dataclass(frozen=True)
class Viewing:
    """What one viewer is to do; what it receives goes to the file `keep` too, if one is named."""

    name: str
    group: str
    url: str
    stalled: bool = False
    keep: str = ""


@dataclass(frozen=True)
class Told:
    """How the viewers of a group fared since the last `mark`: fragments and bytes of video of each."""

    fragments: list[int]
    bytes: list[int]
    lost: int
    """Fragments missing in the sequence of any viewer, or at another time than the one before promised; ever."""
    ended: int
    """Viewers whose connection is over, ever."""
    gap_p50: float
    gap_p99: float
    gap_most: float
    """Seconds between two fragments of a viewer."""


class _Viewer:
    def __init__(self, what: Viewing) -> None:
        self.what = what
        self.ended = ""
        self.started = False
        self.asked_at = monotonic()
        self.fragments = self.bytes = self.lost = 0
        self.gaps = array("d")
        self._head: bytearray | None = bytearray()
        self._framed = bytearray()
        self._unframe = self._chunks if not what.url.endswith("/mse") else self._frames
        self._splitter = Splitter()
        self._previous: tuple[int, int] | None = None  # sequence number, decode time of the one that must follow
        self._arrived_at = 0.0
        self._kept: BinaryIO | None = Path(what.keep).open("wb") if what.keep else None  # noqa: SIM115 - `end` closes it
        self.socket = socket.socket()
        if what.stalled:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _LITTLE_BYTES)
        self.socket.setblocking(False)
        parts = urlsplit(what.url)
        with contextlib.suppress(BlockingIOError):
            self.socket.connect((parts.hostname, parts.port))

    def ask(self) -> None:
        """Send the request; the connection stands."""
        parts = urlsplit(self.what.url)
        upgrade = (
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        )
        more = upgrade if self.what.url.endswith("/mse") else ""
        query = f"?{parts.query}" if parts.query else ""
        self.socket.send(f"GET {parts.path}{query} HTTP/1.1\r\nHost: {parts.netloc}\r\n{more}\r\n".encode())

    def read(self) -> None:
        try:
            data = self.socket.recv(_PIECE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self.end(type(error).__name__)
            return
        if not data:
            self.end("end of stream")
            return
        try:
            self._take(data)
        except ValueError as error:
            self.end(str(error))

    def _take(self, data: bytes) -> None:
        if self._head is not None:
            self._head += data
            head, separator, data = bytes(self._head).partition(b"\r\n\r\n")
            if not separator:
                return
            self._head = None
            if head.split()[1] not in (b"200", b"101"):
                raise ValueError(f"{head.splitlines()[0].decode()} {data[:300].decode('utf-8', 'replace')}")
        self._framed += data
        now = monotonic()
        for payload in self._unframe():
            self.bytes += len(payload)
            if self._kept:
                self._kept.write(payload)
            for item in self._splitter.feed(payload):
                if not isinstance(item, Init):
                    self._note(item, now)

    def _note(self, fragment: Fragment, now: float) -> None:
        number = int.from_bytes(fragment.data[_SEQUENCE_NUMBER])
        if self._previous:
            self.lost += max(number - self._previous[0] - 1, fragment.decode_time != self._previous[1])
            self.gaps.append(now - self._arrived_at)
        self._previous = (number, fragment.decode_time + fragment.duration)
        self._arrived_at = now
        self.fragments += 1
        self.started = True

    def _chunks(self) -> Iterator[bytes]:
        """The complete chunks (RFC 9112 §7.1)."""
        framed = self._framed
        while (line := framed.find(b"\r\n")) >= 0:
            size = int(framed[:line], 16)
            if len(framed) < line + 2 + size + 2:
                return
            payload = bytes(framed[line + 2 : line + 2 + size])
            del framed[: line + 2 + size + 2]
            if not size:
                raise ValueError("end of stream")
            yield payload

    def _frames(self) -> Iterator[bytes]:
        """The payloads of the complete binary messages' frames; a ping is answered."""
        framed = self._framed
        while len(framed) >= 2:
            kind, size, start = framed[0] & 0x0F, framed[1] & 0x7F, 2
            if size >= 126:
                start = 4 if size == 126 else 10
                if len(framed) < start:
                    return
                size = int.from_bytes(framed[2:start])
            if len(framed) < start + size:
                return
            payload = bytes(framed[start : start + size])
            del framed[: start + size]
            if kind == _PING:
                self.socket.send(bytes([0x80 | _PONG, 0x80 | size, 0, 0, 0, 0]) + payload)
            elif kind == _CLOSE:
                raise ValueError(f"closed {int.from_bytes(payload[:2])}")
            elif kind != _TEXT:
                yield payload

    def mark(self) -> None:
        self.fragments = self.bytes = 0
        self.gaps = array("d")

    def end(self, why: str) -> None:
        self.ended = self.ended or why
        self.socket.close()
        if self._kept:
            self._kept.close()
            self._kept = None


class _Load:
    """The loop of the process."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._viewers: dict[int, _Viewer] = {}
        self._all: list[_Viewer] = []
        self._commands = bytearray()

    def run(self) -> None:
        os.set_blocking(0, False)
        self._poll.register(0, select.EPOLLIN)
        while self._turn():
            while (line := self._commands.find(b"\n")) >= 0:
                said = json.loads(self._commands[:line])
                del self._commands[: line + 1]
                print(json.dumps(getattr(self, f"_do_{said.pop('do')}")(**said)), flush=True)

    def _turn(self, seconds: float = -1) -> bool:
        """Whether there may be more commands."""
        for number, events in self._poll.poll(seconds):
            if number == 0:
                data = os.read(0, _PIECE_BYTES)
                if not data:
                    return False
                self._commands += data
                continue
            viewer = self._viewers[number]
            if events & select.EPOLLOUT and not events & (select.EPOLLERR | select.EPOLLHUP):
                viewer.ask()
                self._poll.modify(number, select.EPOLLIN)
            else:
                viewer.read()
            if viewer.ended:
                del self._viewers[number]  # a closed socket is out of the poll by itself
            elif viewer.started and viewer.what.stalled:
                self._poll.modify(number, 0)  # a reset is told all the same
        return True

    def _do_open(self, viewers: list[dict[str, Any]]) -> dict[str, list[str]]:
        """Those that failed, and why each time; a few are opened at once, each until its first fragment is here."""
        waiting, opening = deque(Viewing(**one) for one in viewers), list[_Viewer]()
        failed: dict[str, list[str]] = {}
        while waiting or opening:
            while waiting and len(opening) < _AT_ONCE:
                viewer = _Viewer(waiting.popleft())
                self._viewers[viewer.socket.fileno()] = viewer
                self._all.append(viewer)
                self._poll.register(viewer.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)
                opening.append(viewer)
            self._turn(1)
            for viewer in [one for one in opening if not one.started]:
                if viewer.ended or monotonic() - viewer.asked_at > _OPEN_SECONDS:
                    tries = failed.setdefault(viewer.what.name, [])
                    tries.append(viewer.ended or "nothing came in time")
                    self._drop(viewer)
                    if len(tries) < _TRIES:
                        waiting.append(viewer.what)
            opening = [one for one in opening if not one.started and one in self._all]
        return failed

    def _do_mark(self) -> None:
        for viewer in self._all:
            viewer.mark()

    def _do_tell(self, group: str) -> dict[str, Any]:
        members = [viewer for viewer in self._all if viewer.what.group == group]
        gaps = sorted(gap for viewer in members for gap in viewer.gaps) or [0.0, 0.0]
        hundredths = quantiles(gaps, n=100)
        told = Told(
            [viewer.fragments for viewer in members], [viewer.bytes for viewer in members],
            sum(viewer.lost for viewer in members), sum(bool(viewer.ended) for viewer in members),
            hundredths[49], hundredths[98], gaps[-1],
        )  # fmt: skip
        return asdict(told)

    def _do_close(self, group: str) -> None:
        for viewer in [one for one in self._all if one.what.group == group]:
            self._drop(viewer)

    def _drop(self, viewer: _Viewer) -> None:
        self._viewers = {number: one for number, one in self._viewers.items() if one is not viewer}
        self._all.remove(viewer)
        viewer.end("closed by the viewer")


@dataclass(frozen=True)
class Readers:
    """The load, as the bench commands it."""

    process: asyncio.subprocess.Process

    async def _ask(self, do: str, **more: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": do, **more}).encode() + b"\n")
        return json.loads(await self.process.stdout.readline())

    async def open(self, viewings: Sequence[Viewing]) -> None:
        """Return when every viewer has its first fragment; RuntimeError if one has not after some tries."""
        tried = await self._ask("open", viewers=[asdict(one) for one in viewings])
        for name, why in tried.items():
            if len(why) == _TRIES:
                raise RuntimeError(f"viewer {name} of {len(viewings)}: {why}")
        if tried:
            print(f"{len(tried)} of {len(viewings)} viewers had to ask again: {next(iter(tried.values()))}")

    async def mark(self) -> None:
        """Count from here."""
        await self._ask("mark")

    async def tell(self, group: str) -> Told:
        """What came since the mark."""
        return Told(**await self._ask("tell", group=group))

    async def close(self, group: str) -> None:
        """The viewers of a group go away."""
        await self._ask("close", group=group)


@asynccontextmanager
async def readers() -> AsyncIterator[Readers]:
    """A load for as long as the block lasts."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.readers",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 24,
    )  # fmt: skip
    assert process.stdin is not None
    try:
        yield Readers(process)
    finally:
        process.stdin.close()
        await process.wait()


if __name__ == "__main__":
    _Load().run()
