"""One knock at a camera's door: whether somebody is there. Nothing is signed in to, nothing is watched."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from app.errors import Refusal
from app.registry.addresses import Networks, Source, resolve
from app.streams.embedded.connection import connect

KNOCK_SECONDS = 2.0
MOST_SAID_BYTES = 8192


@dataclass(frozen=True, slots=True)
class Door:
    """A host and port that cameras stand behind; a recorder has one for all of its channels."""

    scheme: str
    host: str
    port: int


async def knock(door: Door, allowed: Networks, ca_file: Path | None = None) -> tuple[bool, str]:
    """Whether the door answers in time, and at which address it was tried (empty where the name has none).

    RTSP must answer OPTIONS with a status line, whatever the status; others must take the connection.
    """
    address = ""
    try:
        async with asyncio.timeout(KNOCK_SECONDS):
            source = Source(door.scheme, door.host, door.port, "")
            address = await resolve(source, allowed)
            asked = _Asked(b"" if door.scheme != "rtsp" else _options(source))
            try:
                await connect(asked, source, address, ca_file)
                await asked.answered
            finally:
                asked.leave()
    except (Refusal, TimeoutError):
        return False, address
    return True, address


def _options(source: Source) -> bytes:
    return f"OPTIONS {source.url} RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: Gwanje\r\n\r\n".encode()


class _Asked(asyncio.Protocol):
    def __init__(self, question: bytes) -> None:
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._question, self._heard = question, b""
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        if self._question:
            transport.write(self._question)  # type: ignore[attr-defined]
        else:
            self.answered.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._heard += data
        if self.answered.done():
            return
        if self._heard.startswith(b"RTSP/"):
            self.answered.set_result(None)
        elif len(self._heard) > MOST_SAID_BYTES or not b"RTSP/".startswith(self._heard[:5]):
            self.answered.set_exception(TimeoutError("no RTSP"))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if not self.answered.done():
            self.answered.set_exception(TimeoutError("closed"))

    def leave(self) -> None:
        if self._transport is not None:
            self._transport.abort()  # type: ignore[attr-defined]
        if not self.answered.cancel() and not self.answered.cancelled():
            self.answered.exception()  # who knocked has given up already
