"""Asking for footage while things fail: one bare request, and writers who keep what they were promised."""

import asyncio
import base64
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

from tests.drills.promises import Promise

REASON = {"purpose": "emergency_response", "basis": "KR-PIPA-18-2-3"}


async def post(port: int, path: str, headers: dict[str, str], body: dict[str, Any] | None) -> tuple[int, str]:
    """Status and text of one answer. A whole HTTP client would keep sixty requests waiting for itself."""
    sent = b"" if body is None else orjson.dumps(body)
    fields = {"Host": "drill", "Content-Type": "application/json", "Content-Length": str(len(sent)), **headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "Connection: close"]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + sent)
        head, _, text = (await reader.read(-1)).partition(b"\r\n\r\n")
    finally:
        writer.close()
    return int(head.split()[1]), text.decode()


@dataclass
class Asker:
    """Asks for one grant after the other; keeps the receipt of each whose URL it got."""

    port: int
    headers: dict[str, str]
    cameras: list[UUID]
    promises: list[Promise] = field(default_factory=list)
    answers: Counter[int | str] = field(default_factory=Counter)

    async def run(self, over: asyncio.Event) -> None:
        while not over.is_set():
            body = {"camera_ids": [random.choice(self.cameras)], **REASON}
            try:
                async with asyncio.timeout(10):
                    status, text = await post(self.port, "/v1/grants", self.headers, body)
            except (OSError, TimeoutError, IndexError) as error:  # nobody there, or gone in the middle of an answer
                self.answers[type(error).__name__] += 1
                await asyncio.sleep(0.05)
                continue
            self.answers[status] += 1
            if status == 201:
                with suppress(orjson.JSONDecodeError):  # cut off: no URL was read
                    self.promises += [promise_of(grant["receipt"]) for grant in orjson.loads(text)["grants"]]
            else:
                await asyncio.sleep(0.05)


def promise_of(receipt: dict[str, Any]) -> Promise:
    """What its lines say; that it is signed as it should be is another test's business."""
    _, _, entry_id, leaf, *_ = receipt["note"].split("\n")
    return Promise(entry_id, base64.b64decode(leaf))
