"""Events written and numbered, beside bare durable inserts of rows of the same shape into the same table.

`record_many` is what a reporting system's batch goes through; numbering what was appended is the sequencer's part. The
floor is bare asyncpg: one INSERT, one transaction and so one durable commit for each row, by one connection and by
sixteen. POST is one event in each request, sixteen at once, over HTTP, from token to commit.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import asyncpg
import orjson

from app import ledger
from app.database import APP_ROLE, plain_url
from app.events import record
from app.ids import new_id
from app.ledger import Sequencer
from bench.feed import INSERT
from bench.feed_house import Parties, parties, port_of, report
from bench.scene import Clock, Scene, conclude, scene, table, turns
from tests.processes import Service, service

AT_ONCE, ROUNDS = 16, 5
BARE, BARE_16, BY_100, BY_1000, NUMBER, BOTH, POST = (
    "bare INSERT, one at a time", f"bare INSERT, {AT_ONCE} at once", "record_many, 100 each", "record_many, 1,000 each",
    "numbering", "record_many of 1,000, and numbering", f"POST of one, {AT_ONCE} at once",
)  # fmt: skip
COUNTS = {BARE: 400, BARE_16: 2000, BY_100: 2000, BY_1000: 4000, POST: 400}
CONTENDERS = (BARE, BARE_16, BY_100, BY_1000, POST)


@dataclass(frozen=True)
class Cost:
    """What one event took: seconds of wall and of processor time, of the application and of PostgreSQL."""

    wall: float
    app: float
    postgres: float

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.wall + other.wall, self.app + other.app, self.postgres + other.postgres)


def _cost(clock: Clock, events: int) -> Cost:
    return Cost(clock.seconds / events, clock.app_cpu / events, clock.postgres_cpu / events)


@dataclass(frozen=True)
class Line:
    """A kept-alive connection to the service; a whole HTTP client would take more processor time than the service."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    token: str

    async def post(self) -> None:
        sent = report("camera.moved")
        event = {
            "specversion": "1.0", "id": sent.source_key, "source": sent.source, "type": f"kr.gwanje.{sent.kind}",
            "data": dict(sent.data),
        }  # fmt: skip
        body = orjson.dumps(event)
        head = f"POST /v1/events HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {self.token}\r\n"
        about = f"Content-Type: application/cloudevents+json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.writer.write((head + about).encode() + body)
        answer = await self.reader.readuntil(b"\r\n\r\n")
        size = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        said = await self.reader.readexactly(int(size.partition(b":")[2]))
        assert answer.startswith(b"HTTP/1.1 202 "), said


@dataclass(frozen=True)
class Contest:
    """A database where nobody else sequences, and a whole service on another one."""

    place: Scene
    inside: Parties
    bare: list[asyncpg.Connection]
    outside: Parties
    running: Service

    async def run(self, contender: str) -> dict[str, Cost]:
        """What an event took; what was recorded is numbered afterwards, under a clock of its own."""
        events = COUNTS[contender]
        if contender == POST:
            return {POST: await self._post(events)}
        if contender in (BARE, BARE_16):
            return {contender: await self._bare(events, 1 if contender == BARE else AT_ONCE)}
        each = 100 if contender == BY_100 else 1000
        batches = [[report("camera.moved") for _ in range(each)] for _ in range(events // each)]
        with Clock(self.place) as clock:
            for reports in batches:
                async with self.inside.database.begin() as session:
                    await record.record_many(session, self.inside.actor, reports)
        recorded = _cost(clock, events)
        with Clock(self.place) as clock:
            numbered = await Sequencer(self.inside.database, ledger.EVENTS).catch_up()
        assert numbered == events, numbered
        took = {contender: recorded}
        if contender == BY_1000:
            took[NUMBER] = _cost(clock, events)
            took[BOTH] = recorded + took[NUMBER]
        return took

    async def _bare(self, events: int, at_once: int) -> Cost:
        data = orjson.dumps(dict(report("camera.moved").data)).decode()
        owner, ids = self.inside.actor.body_id, [new_id() for _ in range(events)]
        left = iter(ids)

        async def insert(connection: asyncpg.Connection) -> None:
            for event_id in left:
                await connection.execute(INSERT, event_id, owner, data)

        with Clock(self.place) as clock:
            await asyncio.gather(*(insert(connection) for connection in self.bare[:at_once]))
        return _cost(clock, events)

    async def _post(self, events: int) -> Cost:
        numbers = iter(range(events))
        lines = [
            Line(*await asyncio.open_connection("127.0.0.1", port_of(self.running)), self.outside.token)
            for _ in range(AT_ONCE)
        ]

        async def post(line: Line) -> None:
            for _ in numbers:
                await line.post()

        with Clock(self.place, self.running.process.pid) as clock:
            await asyncio.gather(*(post(line) for line in lines))
        for line in lines:
            line.writer.close()
        return _cost(clock, events)


@asynccontextmanager
async def _contest(place: Scene) -> AsyncIterator[Contest]:
    async with AsyncExitStack() as stack:
        inside = await stack.enter_async_context(parties(place))
        outside = await stack.enter_async_context(parties(place))
        settings = {"role": APP_ROLE, "timezone": "UTC", "jit": "off"}
        bare = [await asyncpg.connect(plain_url(inside.url), server_settings=settings) for _ in range(AT_ONCE)]
        for connection in bare:
            stack.push_async_callback(connection.close)
        (place.folder / "service").mkdir()
        running = await stack.enter_async_context(service(place.folder / "service", GWANJE_DATABASE_URL=outside.url))
        yield Contest(place, inside, bare, outside, running)


def _report(took: dict[str, list[Cost]]) -> None:
    def of(name: str, what: Callable[[Cost], float]) -> float:
        return median(what(cost) for cost in took[name])

    rate = {name: 1 / of(name, lambda cost: cost.wall) for name in took}
    app = {name: of(name, lambda cost: cost.app) * 1e6 for name in took}
    beneath = {name: of(name, lambda cost: cost.postgres) * 1e6 for name in took}
    both = {name: app[name] + beneath[name] for name in took}
    rows: list[list[Any]] = [
        [name, rate[name], rate[name] / rate[BARE], rate[name] / rate[BARE_16], app[name], beneath[name],
         both[name] / both[BARE]]
        for name in took
    ]  # fmt: skip
    head = ("contender", "events/s", "× bare", f"× bare, {AT_ONCE}", "app µs", "PostgreSQL µs", "CPU × bare")
    table(f"events, medians of {ROUNDS} rounds", head, rows)
    ratios = {
        "append_and_number_to_bare": rate[BOTH] / rate[BARE],
        "append_and_number_to_bare_16": rate[BOTH] / rate[BARE_16],
        "numbering_to_bare": rate[NUMBER] / rate[BARE],
        "record_100_to_bare": rate[BY_100] / rate[BARE],
        "record_1000_to_bare": rate[BY_1000] / rate[BARE],
        "post_to_bare_16": rate[POST] / rate[BARE_16],
        "record_100_cpu_to_bare": both[BY_100] / both[BARE],
        "record_1000_cpu_to_bare": both[BY_1000] / both[BARE],
        "post_cpu_to_bare": both[POST] / both[BARE],
    }
    conclude("sequencer", ratios, COUNTS[BY_1000])


async def main() -> None:
    took: dict[str, list[Cost]] = {}
    with scene() as place:
        async with _contest(place) as contest:
            for name in CONTENDERS:  # caches and statements are warm, for everybody
                await contest.run(name)
            for order in turns(ROUNDS, CONTENDERS):
                for name in order:
                    for what, cost in (await contest.run(name)).items():
                        took.setdefault(what, []).append(cost)
    _report(took)


if __name__ == "__main__":
    asyncio.run(main())
