"""Below ASGI: uvicorn's protocols, with their transport put into the scope.

That is what lets `fanout` write one framed message straight to thousands of connections. It is used only after the
answer has begun, and never while uvicorn itself is writing.
"""

import asyncio
import fcntl
import logging
import socket
import struct
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

EXTENSION = "gwanje.transport"
MOST_HEAD_BYTES = 64 * 1024  # of a request line with its fields (RFC 6585 §5)
HEAD_SECONDS = 10.0
_HEAD_TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_SEND_BUFFER = 256 * 1024  # bytes in the kernel that a cut cannot take back
_UNSENT = 64 * 1024  # of which this many, at most, are not yet on the line: who is slow is seen to be so early
_LINGER_NOT = struct.pack("ii", 1, 0)
_UNHEARD_MS = 15_000  # bytes that nobody acknowledges for so long have nobody to come to
_FOOTAGE = "/v/"
_SIOCOUTQNSD = 0x894B  # <linux/sockios.h>: bytes of the send queue that are not yet sent

# uvicorn tells every accepted WebSocket with its path and query, at `info`: those of streams are secrets.
_discreet = logging.getLogger("gwanje.websocket")
_discreet.setLevel(logging.WARNING)


class HttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 whose scope carries the transport, and whose heads are bounded in size and time."""

    _head_bytes = 0
    _in_head = True
    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes:
            if self._head_bytes > MOST_HEAD_BYTES:
                self._refuse_head(_HEAD_TOO_LARGE)
            elif self._waiting is None:
                self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        self._waiting = self.loop.call_later(HEAD_SECONDS, self._refuse_head, _HEAD_TOO_LATE)

    def _head_came(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _refuse_head(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        extensions: dict[str, Any] = {EXTENSION: self.transport}
        self.scope["extensions"] = extensions

    def on_headers_complete(self) -> None:
        self._in_head, self._head_bytes = False, 0
        self._head_came()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = True  # of the next request
        super().on_message_complete()


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """WebSocket whose scope carries the transport; permessage-deflate must be off.

    Viewers are not pinged: who takes no pictures falls behind and is sent away, and whose line is dead is found by the
    kernel (`cap_send_buffer`). On a feed nothing may happen for long, so there who is gone is found by pings alone.
    """

    _is_stopping = False

    def shutdown(self) -> None:
        self._is_stopping = True
        super().shutdown()

    def send_500_response(self) -> None:
        """Who comes while the server stops is told to come again, and not that there was an accident."""
        if not self._is_stopping:
            super().send_500_response()
        elif not self.initial_response and not self.handshake_complete:
            response = self.conn.reject(HTTPStatus.SERVICE_UNAVAILABLE, "this process stops; come again\n")
            response.headers["Retry-After"] = "1"
            self.conn.send_response(response)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.initial_response = (response.status_code, [], b"")  # nobody answers a second time

    async def run_asgi(self) -> None:
        self.logger = _discreet
        extensions: dict[str, Any] = {**(self.scope.get("extensions") or {}), EXTENSION: self.transport}
        self.scope["extensions"] = extensions
        await super().run_asgi()

    def start_keepalive(self) -> None:
        if not self.scope["path"].startswith(_FOOTAGE):
            super().start_keepalive()


def transport_of(scope: Any) -> Any:
    """The transport below a request, or None behind a server that does not show it."""
    return (scope.get("extensions") or {}).get(EXTENSION)


def _socket_of(transport: Any) -> Any:
    """The TCP socket below a transport, if there is one."""
    get_info = getattr(transport, "get_extra_info", None)
    connection = get_info("socket") if get_info else None
    return connection if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6) else None


def cap_send_buffer(transport: Any) -> None:
    """Let the kernel hold little of a stream, so that a cut leaves little to be seen, and not long for who is gone."""
    if (connection := _socket_of(transport)) is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNHEARD_MS)


def unsent_bytes(transport: Any) -> int:
    """Bytes that were written but are not yet on the line: they wait in the transport, or in the kernel (Linux)."""
    waiting: int = transport.get_write_buffer_size()
    if (connection := _socket_of(transport)) is not None:
        answer = fcntl.ioctl(connection.fileno(), _SIOCOUTQNSD, bytes(4))
        waiting += struct.unpack("i", answer)[0]
    return waiting


def cut(transport: Any) -> None:
    """End a connection with a reset: what waits in the kernel is thrown away, not delivered."""
    if (connection := _socket_of(transport)) is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    transport.abort()
