"""Who is pinged: on a feed everybody; of viewers the kernel knows who is there. And an orderly end."""

import asyncio
import ctypes
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from websockets.frames import Opcode

from app import transports

_HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: gwanje\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
EACH_SECONDS = 0.1
PICTURES = 12
_SO_ATTACH_FILTER = 26  # <asm-generic/socket.h>


async def _sending(scope: Any, receive: Any, send: Any) -> None:
    """Sends a picture each tenth of a second."""
    if scope["type"] != "websocket":
        return
    await receive()
    if scope["path"] == "/late":
        await receive()  # until it is gone
        return
    await send({"type": "websocket.accept"})
    for _ in range(PICTURES):
        await asyncio.sleep(EACH_SECONDS)
        await send({"type": "websocket.send", "bytes": b"picture"})
    await send({"type": "websocket.close"})


@asynccontextmanager
async def _serving() -> AsyncIterator[int]:
    config = uvicorn.Config(
        _sending, port=0, lifespan="off", log_config=None, ws="app.transports:WebSocketProtocol",
        ws_ping_interval=2 * EACH_SECONDS, ws_ping_timeout=20, ws_per_message_deflate=False,
    )  # fmt: skip
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.force_exit = True
        await server.shutdown()


async def _frames(path: str) -> list[Opcode]:
    """What a client who answers nothing is sent."""
    async with _serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(_HANDSHAKE.format(path=path).encode())
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        kinds: list[Opcode] = []
        async with asyncio.timeout(10):
            while Opcode.CLOSE not in kinds:
                first, length = await reader.readexactly(2)
                await reader.readexactly(length)
                kinds.append(Opcode(first & 0x0F))
        writer.close()
        return kinds


async def test_who_comes_while_the_server_stops_is_told_to_come_again() -> None:
    async with _serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(_HANDSHAKE.format(path="/late").encode())
        await asyncio.sleep(0.1)
    async with asyncio.timeout(5):
        answer = (await reader.read()).split(b"\r\n")
    writer.close()
    assert answer[0] == b"HTTP/1.1 503 Service Unavailable"
    assert b"Retry-After: 1" in answer
    assert [line for line in answer if line.startswith(b"HTTP/")] == [answer[0]], "one answer"


@pytest.mark.parametrize(("path", "pinged"), [("/v/secret/mse", False), ("/v1/feed", True)])
async def test_viewers_are_not_pinged(path: str, pinged: bool) -> None:
    kinds = await _frames(path)
    assert (Opcode.PING in kinds) is pinged
    assert kinds.count(Opcode.BINARY) == PICTURES


async def test_a_viewer_whose_line_is_dead_is_found_by_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transports, "_UNHEARD_MS", 500)
    lost = asyncio.get_running_loop().create_future()

    class Footage(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            transports.cap_send_buffer(transport)
            self.film = asyncio.create_task(film(transport))

        def connection_lost(self, exc: Exception | None) -> None:
            self.film.cancel()
            lost.set_result(exc)

    async def film(transport: Any) -> None:
        while True:
            transport.write(b"picture")
            await asyncio.sleep(EACH_SECONDS)

    server = await asyncio.get_running_loop().create_server(Footage, "127.0.0.1", 0)
    with socket.create_connection(server.sockets[0].getsockname()) as viewer:
        await asyncio.sleep(3 * EACH_SECONDS)
        assert not lost.done()
        nothing = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF: accept 0 bytes of any packet
        viewer.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(nothing)))
        async with asyncio.timeout(5):
            assert isinstance(await lost, TimeoutError)
    server.close()
