"""Requests as no client library would send them."""

import asyncio
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    status: int
    """0: the connection was closed without a word."""
    head: str
    body: bytes


async def ask(host: str, target: str | bytes, *, method: str = "GET", more: str = "", body: bytes = b"") -> Answer:
    """One request whose target goes out as it stands; of the answer as much as comes at once."""
    line = target.encode() if isinstance(target, str) else target
    reader, writer = await asyncio.open_connection(*host.split(":"))
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    writer.write(
        b"%s %s HTTP/1.1\r\nHost: %s\r\n%sConnection: close\r\n\r\n%s"
        % (method.encode(), line, host.encode(), (length + more).encode(), body)
    )
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        said = await asyncio.wait_for(reader.read(65536), 5)
    except (asyncio.IncompleteReadError, ConnectionError):
        return Answer(0, "", b"")
    finally:
        writer.transport.abort()
    return Answer(int(head.split(b" ", 2)[1]), head.decode("latin-1"), said)
