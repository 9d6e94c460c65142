"""A client of the feed as `asyncapi.yaml` describes one, which knows nothing of the server's code.

`Resuming` is the client without I/O: it says hello where it left off, keeps the position by the rules of the document,
and writes down what it heard. `listen` gives it connections of the `websockets` library, one after the other.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus

from tests.drills.checker import Beat, Hearing, Record

SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 4.0
SILENCE_SECONDS = 25  # two heartbeats and a half without a frame: whoever is there has gone
BROKEN = (OSError, ConnectionClosed, InvalidHandshake, InvalidMessage, TimeoutError, EOFError)

Wish = Mapping[str, Any]


class Resuming:
    """One client over all its connections. `wishes` are `subscribe` messages without their type."""

    def __init__(
        self,
        name: str,
        token: str,
        wishes: Sequence[Wish],
        places: Sequence[frozenset[str] | None] = (None,),
        *,
        seed: int = 0,
        with_hello: bool = True,
    ) -> None:
        self.record = Record(name, tuple(places))
        self.token, self.wishes, self.with_hello = token, wishes, with_hello
        self.position: str | None = None
        self.live = asyncio.Event()  # all wishes are answered by `subscribed`
        self.sent_away: int | None = None  # the code that said not to come back
        self.resyncs: list[str] = []
        self.refusals: list[Mapping[str, Any]] = []
        self.codes: Counter[int | None] = Counter()
        self.said_behind = 0
        self.absences: list[float] = []  # seconds from each loss until all wishes were live again
        self._lost_at: float | None = None
        self._draw = random.Random(f"{name} {seed}")
        self._pending: set[str] = set()
        self._failures = 0
        self._counted = 0

    def opening(self) -> list[bytes]:
        """What to say on a new connection."""
        self.record.afters.append(self.position)
        self._counted = 0
        self.live.clear()
        self._pending = {wish["id"] for wish in self.wishes}
        hello: dict[str, Any] = {"type": "hello", "token": self.token}
        if self.position is not None:
            hello["after"] = self.position
        if self.with_hello:
            return [orjson.dumps(hello | {"subscribe": list(self.wishes)})]
        return [orjson.dumps(hello), *(orjson.dumps({"type": "subscribe", **wish}) for wish in self.wishes)]

    def receive(self, text: str | bytes) -> None:
        """One message of the server."""
        message = orjson.loads(text)
        match message["type"]:
            case "event":
                self._hear(message)
            case "heartbeat":
                number = len(self.record.afters) - 1
                self.record.beats.append(
                    Beat(number, message["position"], message["delivered"], self._counted, len(self.record.hearings))
                )
                self.position = message["position"]
            case "welcome":
                self._failures = 0
                if self.position is None:  # nothing is known yet: its first subscription begins here, at the earliest
                    self.position = self.record.begun = message["position"]
            case "subscribed":
                self._pending.discard(message["id"])
                if not self._pending:
                    self._is_live()
            case "behind":
                self.said_behind += 1
                if self._pending or self.with_hello:  # half of the clients go on after their own newest event
                    self.position = message["resume_after"]
            case "resync":
                self.resyncs.append(message["reason"])
                self.position = None
            case "refused":
                self.refusals.append(message["problem"])

    def _hear(self, message: Mapping[str, Any]) -> None:
        event = message["event"]
        self._counted += 1
        self.record.hearings.append(
            Hearing(
                len(self.record.afters) - 1,
                message["position"],
                event["id"],
                event["data"].get("bell_number", ""),
                time.monotonic(),
            )
        )
        if not self._pending:
            self.position = message["position"]

    def _is_live(self) -> None:
        if self._lost_at is not None:
            self.absences.append(time.monotonic() - self._lost_at)
            self._lost_at = None
        self.live.set()

    def closed(self, code: int | None) -> float | None:
        """The connection is gone, with this code or none: seconds to wait before the next; None: do not come back."""
        self.codes[code] += 1
        self.live.clear()
        self._lost_at = self._lost_at or time.monotonic()
        if code is not None and 4400 <= code < 4500:
            self.sent_away = code
            return None
        longest = min(LONGEST_PAUSE, SHORTEST_PAUSE * 2**self._failures)
        self._failures += 1
        return self._draw.uniform(longest / 4, longest)


async def listen(base_url: str, client: Resuming) -> None:
    """Hear until it is told not to come back, or is cancelled."""
    while True:
        code: int | None = None
        try:
            async with connect(
                base_url.replace("http", "ws") + "/v1/feed",
                open_timeout=10,
                close_timeout=2,
                ping_interval=None,
                compression=None,
                max_size=1 << 20,
            ) as socket:
                for text in client.opening():
                    await socket.send(text.decode())
                while True:
                    async with asyncio.timeout(SILENCE_SECONDS):
                        frame = await socket.recv()
                    client.receive(frame)
        except InvalidStatus as error:
            code = error.response.status_code  # told apart from close codes by being below 1000
        except ConnectionClosed as error:
            code = error.rcvd.code if error.rcvd else None
        except BROKEN:
            pass
        pause = client.closed(code)
        if pause is None:
            return
        await asyncio.sleep(pause)
