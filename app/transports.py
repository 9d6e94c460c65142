"""Below ASGI: uvicorn's protocols, with their transport put into the scope.

That is what lets `fanout` write one framed message straight to thousands of connections. It is used only after the
answer has begun, and never while uvicorn itself is writing.
"""

import socket
import struct
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

EXTENSION = "gwanje.transport"
_SEND_BUFFER = 256 * 1024  # bytes in the kernel that a cut cannot take back
_LINGER_NOT = struct.pack("ii", 1, 0)


class HttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 whose scope carries the transport."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        extensions: dict[str, Any] = {EXTENSION: self.transport}
        self.scope["extensions"] = extensions


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """WebSocket whose scope carries the transport; permessage-deflate must be off."""

    async def run_asgi(self) -> None:
        extensions: dict[str, Any] = {**(self.scope.get("extensions") or {}), EXTENSION: self.transport}
        self.scope["extensions"] = extensions
        await super().run_asgi()


def transport_of(scope: Any) -> Any:
    """The transport below a request, or None behind a server that does not show it."""
    return (scope.get("extensions") or {}).get(EXTENSION)


def cap_send_buffer(transport: Any) -> None:
    """Let the kernel hold little of a stream, so that a cut leaves little to be seen."""
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)


def cut(transport: Any) -> None:
    """End a connection with a reset: what waits in the kernel is thrown away, not delivered."""
    get_info = getattr(transport, "get_extra_info", None)
    connection = get_info("socket") if get_info else None
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    transport.abort()
