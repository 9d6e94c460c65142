"""The same client over bare sockets: thousands of them in one process, which read, or do not, as they are told."""

import asyncio
import base64
import os
import socket
import struct
from urllib.parse import urlsplit

from tests.drills.client import Resuming

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


def masked(opcode: int, payload: bytes) -> bytes:
    """A client's frame (RFC 6455 §5.2). The mask is zero, which leaves the payload as it is."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size)
    return head + b"\0\0\0\0" + payload


class Line(asyncio.Protocol):
    """One connection of a client, from the upgrade to its end; `over` holds the close code, or None."""

    def __init__(self, client: Resuming, host: str) -> None:
        self.client, self.host = client, host
        self.over: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._buffer = bytearray()
        self._upgraded = False
        self._code: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        request = (
            f"GET /v1/feed HTTP/1.1\r\nHost: {self.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        transport.write(request.encode())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._upgraded and not self._upgrade():
            return
        at = 0
        while (found := self._frame(at)) is not None:
            opcode, start, at = found
            self._take(opcode, bytes(self._buffer[start:at]))
        del self._buffer[:at]

    def _upgrade(self) -> bool:
        head, separator, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        if not separator:
            return False
        status = int(head.split(b" ", 2)[1])
        if status != 101:
            self._code = status
            self.transport.abort()
            return False
        self._upgraded, self._buffer = True, bytearray(rest)
        for text in self.client.opening():
            self.transport.write(masked(TEXT, text))
        return True

    def _frame(self, at: int) -> tuple[int, int, int] | None:
        """(opcode, where its payload begins, where it ends) of the frame at a place, once it is whole."""
        buffer = self._buffer
        if len(buffer) < at + 2:
            return None
        size, start = buffer[at + 1], at + 2
        if longer := {126: 2, 127: 8}.get(size, 0):
            if len(buffer) < start + longer:
                return None
            size, start = int.from_bytes(buffer[start : start + longer], "big"), start + longer
        return (buffer[at] & 15, start, start + size) if len(buffer) >= start + size else None

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT:
            self.client.receive(payload)
        elif opcode == PING:
            self.transport.write(masked(PONG, payload))
        elif opcode == CLOSE:
            self._code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
            self.transport.write(masked(CLOSE, payload[:2]))
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            self.over.set_result(self._code)


class Socket:
    """A client that keeps itself connected over bare sockets, and can be told to stop reading."""

    def __init__(self, base_url: str, client: Resuming, *, small: bool = False) -> None:
        parts = urlsplit(base_url)
        assert parts.hostname
        self._address, self._small = (parts.hostname, parts.port or 80), small
        self.client = client
        self.line: Line | None = None

    async def run(self) -> None:
        """Stay connected until it is told not to come back, or is cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                code: int | None = None
                bare = socket.socket()
                bare.setblocking(False)
                if self._small:
                    bare.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                try:
                    async with asyncio.timeout(30):
                        await loop.sock_connect(bare, self._address)
                    _, line = await loop.create_connection(lambda: Line(self.client, self._address[0]), sock=bare)
                except (OSError, TimeoutError):
                    bare.close()
                else:
                    self.line = line
                    code = await line.over
                pause = self.client.closed(code)
                if pause is None:
                    return
                await asyncio.sleep(pause)
        finally:
            self.drop()

    def drop(self) -> None:
        """Cut the connection, as a network does."""
        if self.line is not None:
            self.line.transport.abort()

    def stall(self) -> None:
        """Read nothing any more."""
        assert self.line is not None
        self.line.transport.pause_reading()

    def go_on(self) -> None:
        """Read again."""
        if self.line is not None and not self.line.over.done():
            self.line.transport.resume_reading()
