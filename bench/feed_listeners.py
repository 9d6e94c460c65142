"""Listeners on the feed as a load: a process of its own, which throws away what it is given, but for a few.

It reads one line of JSON, connects, and writes `open 0 …` when all have subscribed; then `mark watcher moment` for each
marked event that a watcher was given. It ends with its standard input. Pings are answered, whatever they lie between.
"""

import asyncio
import json
import re
import sys
from time import perf_counter
from typing import Any

import uvloop

_AT_ONCE = 8
_MARK = re.compile(rb"mark-[0-9]+-end")
_LONGEST = 40  # bytes of a mark that may lie on both sides of a cut
_UPGRADE = (
    "GET /v1/feed HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def _client_frame(opcode: int, payload: bytes) -> bytes:
    """A client's frame under a mask of zeros (RFC 6455 §5.2)."""
    size = len(payload)
    head = bytes([0x80 | opcode, 0x80 | size]) if size < 126 else bytes([0x80 | opcode, 0xFE]) + size.to_bytes(2, "big")
    return head + bytes(4) + payload


class _Client(asyncio.Protocol):
    """One listener. Frames are only skipped over; a ping is answered."""

    def __init__(self, place: int, hello: bytes, *, watches: bool) -> None:
        self.open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._place, self._hello, self._watches = place, hello, watches
        self._kept = self._tail = b""
        self._skip = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(_UPGRADE.encode())

    def data_received(self, data: bytes) -> None:
        if not self.open.done():
            self._begin(data)
            return
        now = perf_counter()
        if self._watches:
            self._look(data, now)
        self._skip_frames(data)

    def _begin(self, data: bytes) -> None:
        self._kept += data
        head, ends, rest = self._kept.partition(b"\r\n\r\n")
        if ends and self._hello:
            assert head.startswith(b"HTTP/1.1 101 "), head
            self._transport.write(_client_frame(1, self._hello))
            self._hello = b""
        if rest.endswith(b'"subscribed","id":"all"}'):
            self._kept = b""
            self.open.set_result(None)

    def _look(self, data: bytes, now: float) -> None:
        end, data = 0, self._tail + data
        for found in _MARK.finditer(data):
            print(found.group().decode(), self._place, now, flush=True)
            end = found.end()
        self._tail = data[max(end, len(data) - _LONGEST) :]

    def _skip_frames(self, data: bytes) -> None:
        at, data = self._skip, self._kept + data
        size = len(data)
        while at + 2 <= size:
            short = data[at + 1]
            head = 4 if short == 126 else 10 if short == 127 else 2
            if at + head > size:
                break
            length = short if head == 2 else int.from_bytes(data[at + 2 : at + head], "big")
            if data[at] == 0x89:
                if at + head + length > size:
                    break
                self._transport.write(_client_frame(10, data[at + head : at + head + length]))
            at += head + length
        self._kept, self._skip = (data[at:], 0) if at < size else (b"", at - size)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.open.done():
            self.open.set_exception(error or EOFError("the service closed the connection"))


async def main() -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    asked = json.loads(await lines.readline())
    hello = json.dumps({"type": "hello", "token": asked["token"], "subscribe": [{"id": "all"}]}).encode()
    watching, places = set(asked["watch"]), iter(range(asked["listeners"]))

    async def connect() -> None:
        for place in places:
            _, client = await loop.create_connection(
                lambda place=place: _Client(place, hello, watches=place in watching), "127.0.0.1", asked["port"]
            )
            await client.open

    await asyncio.gather(*(connect() for _ in range(_AT_ONCE)))
    print("open", 0, perf_counter(), flush=True)
    await lines.read()


if __name__ == "__main__":
    uvloop.run(main())
