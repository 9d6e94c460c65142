"""A receiver of webhooks on the loopback: obedient, or as bad as a test wants it."""

import asyncio
import base64
import hashlib
import hmac
import json
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

OK = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"


def status(code: int, *headers: str, body: bytes = b"") -> bytes:
    head = "".join(f"{header}\r\n" for header in (*headers, f"Content-Length: {len(body)}"))
    return f"HTTP/1.1 {code} X\r\n{head}\r\n".encode() + body


def verified(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """Whether one of the signatures is right, by the words of the specification and nobody's code."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = headers["webhook-id"].encode() + b"." + headers["webhook-timestamp"].encode() + b"." + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return f"v1,{expected}" in headers["webhook-signature"].split(" ")


@dataclass
class Message:
    """One POST as it came."""

    start: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def key(self) -> str:
        return self.event["source"]


Answers = Callable[[Message, asyncio.StreamWriter], Awaitable[None]]


async def obey(_message: Message, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)


def saying(answer: bytes) -> Answers:
    async def say(_message: Message, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    return say


@dataclass
class Receiver:
    """`async with Receiver() as receiver: receiver.url`. `answers` may be changed while it runs."""

    answers: Answers = obey
    tls: ssl.SSLContext | None = None
    port: int = 0
    path: str = "/hook?token=s3cret-in-the-path"
    messages: list[Message] = field(default_factory=list)
    most_at_once: int = 0
    _now: int = 0
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)
    _tasks: set[asyncio.Task] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}{self.path}"

    @property
    def keys(self) -> list[str]:
        return [message.key for message in self.messages]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(task := asyncio.current_task())
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            start, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}
            body = await reader.readexactly(int(headers["content-length"]))
            message = Message(start, headers, body)
            self.messages.append(message)
            async with self._arrived:
                self._arrived.notify_all()
            await self.answers(message, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._now -= 1
            self._tasks.discard(task)
            writer.close()

    async def until(self, holds: Callable[[Self], bool], seconds: float = 45) -> None:
        """Wait until something holds of what has arrived."""
        async with asyncio.timeout(seconds), self._arrived:
            await self._arrived.wait_for(lambda: holds(self))

    async def got(self, count: int, seconds: float = 45) -> None:
        """Wait for so many different messages."""
        await self.until(lambda me: len({message.headers["webhook-id"] for message in me.messages}) >= count, seconds)
