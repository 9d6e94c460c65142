"""Frame once, write to many: one engine for the event feed and the video edge.

A message is validated, encoded and framed once; the same bytes object is then written straight to the transports of
all its listeners. Every listener is bounded by bytes. There is no task per listener and no await in a broadcast: one
that falls behind is told so, and goes, and the others never wait for it.

Below uvicorn the transport is reached by the protocol classes of `app/transports.py`; behind any other ASGI server
`Pump` gives the same interface through `await send(...)`.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

FEED_LIMIT = 1 << 20
VIDEO_LIMIT = 2 << 20


class Transport(Protocol):
    """What is needed of a connection; asyncio's and uvloop's transports have it."""

    def write(self, data: bytes) -> None: ...
    def get_write_buffer_size(self) -> int: ...
    def is_closing(self) -> bool: ...
    def abort(self) -> None: ...


class Listener:
    """One connection that takes frames. `on_behind` is called once, when more than `limit` bytes wait to be taken."""

    __slots__ = ("_behind", "bytes", "frames", "limit", "on_behind", "transport")

    def __init__(self, transport: Transport, limit: int, on_behind: Callable[[], None]) -> None:
        self.transport = transport
        self.limit = limit
        self.on_behind = on_behind
        self.bytes = 0
        self.frames = 0
        self._behind = False

    def write(self, frame: bytes) -> bool:
        """Hand one frame to the transport; False when the listener is gone or has fallen behind."""
        transport = self.transport
        if self._behind or transport.is_closing():
            return False
        if transport.get_write_buffer_size() + len(frame) > self.limit:
            self._behind = True
            self.on_behind()
            return False
        transport.write(frame)
        self.bytes += len(frame)
        self.frames += 1
        return True


def broadcast(listeners: Iterable[Listener], frame: bytes) -> int:
    """Write one frame to each listener; returns to how many. Never waits."""
    return sum(listener.write(frame) for listener in listeners)


class Pump:
    """A transport over an ASGI `send`: frames wait here, and one task hands them on. The plain fallback."""

    def __init__(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        self._send = send
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._wake = asyncio.Event()
        self._closing = False

    def write(self, data: bytes) -> None:
        self._waiting.append(data)
        self._size += len(data)
        self._wake.set()

    def get_write_buffer_size(self) -> int:
        return self._size

    def is_closing(self) -> bool:
        return self._closing

    def abort(self) -> None:
        """Drop what waits and end `run`."""
        self._closing = True
        self._waiting.clear()
        self._wake.set()

    async def run(self) -> None:
        """Hand frames on until `abort`."""
        while not self._closing:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting and not self._closing:
                data = self._waiting.popleft()
                await self._send(data)
                self._size -= len(data)


def text_frame(payload: bytes) -> bytes:
    """One unmasked, final WebSocket text frame (RFC 6455 §5.2) around UTF-8 bytes."""
    size = len(payload)
    if size < 126:  # noqa: PLR2004 - the RFC's own limits
        return b"\x81" + bytes((size,)) + payload
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def chunk(payload: bytes) -> bytes:
    """One chunk of HTTP/1.1 chunked transfer coding (RFC 9112 §7.1)."""
    return b"%x\r\n%b\r\n" % (len(payload), payload)
