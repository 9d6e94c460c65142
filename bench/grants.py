"""1,000 grants, 16 at once: through `grants.give` and the batch writer, over HTTP, and their statements alone.

The floor is bare asyncpg: the writer's own statement with arrays of one, its arguments made before the clock starts,
sixteen connections that are never given back, one transaction (and so one durable commit) for each grant.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median
from time import perf_counter
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import orjson

from app.actor import Actor
from app.database import APP_ROLE, Database, connect, plain_url
from app.streams import grants
from app.streams.writer import _GIVE, Given, Wish, Writer, _columns
from bench.scene import Clock, Scene, conclude, scene, table, turns
from tests import factories
from tests.actors import actor_of
from tests.processes import Service, service

GRANTS, OVER_HTTP, AT_ONCE, ROUNDS, WALL, WALLS = 1000, 400, 16, 5, 16, 20
PURPOSE, BASIS, SECONDS = "emergency_response", "KR-PIPA-18-2-3", 600
CONTENDERS = ("writer", "bare", "bare in BEGIN…COMMIT", "http")


async def _at_once(count: int, one: Callable[[int, int], Awaitable[None]]) -> None:
    """`one(worker, number)` for every number below `count`, by sixteen workers."""
    numbers = iter(range(count))

    async def work(worker: int) -> None:
        for number in numbers:
            await one(worker, number)

    await asyncio.gather(*(work(worker) for worker in range(AT_ONCE)))


@dataclass(frozen=True)
class Paper:
    """A writer that writes nothing: it keeps what `grants.give` would have it write."""

    wishes: list[Wish] = field(default_factory=list)

    async def give(self, wishes: Sequence[Wish], _: object = None) -> list[Given]:
        self.wishes.extend(wishes)
        now = datetime.now(UTC)
        return [Given(wish.grant_id, now, wish.camera_id, now, wish.entry.id) for wish in wishes]


@dataclass(frozen=True)
class Parties:
    """A police room and the cameras that it may see, in one database."""

    database: Database
    officer: factories.Person
    actor: Actor
    cameras: Sequence[UUID]


@dataclass(frozen=True)
class Line:
    """A kept-alive connection to the service; a whole HTTP client would take more processor time than the service."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    authorization: str

    async def ask(self, camera_id: UUID) -> None:
        body = orjson.dumps({"camera_ids": [camera_id], "purpose": PURPOSE, "basis": BASIS})
        head = f"POST /v1/grants HTTP/1.1\r\nHost: bench\r\nAuthorization: {self.authorization}\r\n"
        about = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.writer.write((head + about).encode() + body)
        answer = await self.reader.readuntil(b"\r\n\r\n")
        size = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        said = await self.reader.readexactly(int(size.partition(b":")[2]))
        assert answer.startswith(b"HTTP/1.1 201 "), said


@dataclass(frozen=True)
class Contest:
    """The contenders: three of them on a database where nobody sequences, a whole service on another."""

    inside: Parties
    writer: Writer
    bare: Sequence[asyncpg.Connection]
    outside: Parties
    running: Service
    token: str

    async def give(self, camera_ids: Sequence[UUID]) -> None:
        request = grants.Request(camera_ids=camera_ids, purpose=PURPOSE, basis=BASIS)
        inside = self.inside
        given = await grants.give(inside.database, self.writer, inside.actor, request, seconds=SECONDS)
        assert all(isinstance(grant, Given) for grant in given), given

    async def run(self, place: Scene, contender: str) -> tuple[int, Clock]:
        """How many grants were given, and what they took."""
        count = OVER_HTTP if contender == "http" else GRANTS
        parties = self.outside if contender == "http" else self.inside
        cameras = [parties.cameras[number % len(parties.cameras)] for number in range(count)]
        paper = Paper()
        for camera_id in cameras:
            request = grants.Request(camera_ids=[camera_id], purpose=PURPOSE, basis=BASIS)
            await grants.give(parties.database, paper, parties.actor, request, seconds=SECONDS)
        arguments = [_columns([wish]) for wish in paper.wishes]

        async def through_writer(_: int, number: int) -> None:
            await self.give([cameras[number]])

        async def bare(worker: int, number: int) -> None:
            assert await self.bare[worker].fetch(_GIVE, *arguments[number])

        async def in_transaction(worker: int, number: int) -> None:
            async with self.bare[worker].transaction():
                assert await self.bare[worker].fetch(_GIVE, *arguments[number])

        async def over_http(worker: int, number: int) -> None:
            await lines[worker].ask(cameras[number])

        one = dict(zip(CONTENDERS, (through_writer, bare, in_transaction, over_http), strict=True))[contender]
        async with self.lines() as lines:
            with Clock(place, self.running.process.pid if contender == "http" else None) as clock:
                await _at_once(count, one)
        return count, clock

    @asynccontextmanager
    async def lines(self) -> AsyncIterator[list[Line]]:
        """Fresh connections: the service ends those that were idle while others ran."""
        port = int(self.running.base_url.rpartition(":")[2])
        lines = [Line(*await asyncio.open_connection("127.0.0.1", port), self.token) for _ in range(AT_ONCE)]
        try:
            yield lines
        finally:
            for line in lines:
                line.writer.close()

    async def walls(self) -> tuple[float, float]:
        """Median seconds of a grant for one camera and of one for a wall, one after the other."""
        single, wall = [], []
        for _ in range(WALLS):
            for camera_ids, times in ((self.inside.cameras[:1], single), (self.inside.cameras[:WALL], wall)):
                began = perf_counter()
                await self.give(camera_ids)
                times.append(perf_counter() - began)
        return median(single), median(wall)


async def _parties(database: Database) -> Parties:
    owner, police = await factories.agency(database), await factories.agency(database, "police")
    cameras = [await factories.camera(database, owner) for _ in range(64)]
    await factories.agreement(database, owner, police, use_purposes=(PURPOSE,))
    officer = await factories.person(database, police, "room")
    return Parties(database, officer, await actor_of(database, officer), cameras)


@asynccontextmanager
async def _contest(place: Scene) -> AsyncIterator[Contest]:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        url, served_url = await enter(place.database()), await enter(place.database())
        inside, outside = [await _parties(await enter(connect(one))) for one in (url, served_url)]
        writer = Writer(inside.database, lambda: None)
        writing = asyncio.create_task(writer.run())
        stack.callback(writing.cancel)
        settings = {"role": APP_ROLE, "timezone": "UTC", "jit": "off"}
        bare = [await asyncpg.connect(plain_url(url), server_settings=settings) for _ in range(AT_ONCE)]
        for connection in bare:
            stack.push_async_callback(connection.close)
        (place.folder / "service").mkdir()
        running = await enter(service(place.folder / "service", GWANJE_DATABASE_URL=served_url))
        async with httpx.AsyncClient(base_url=running.base_url, timeout=15) as client:
            token = (await factories.sign_in(client, outside.officer))["Authorization"]
        yield Contest(inside, writer, bare, outside, running, token)


def _report(took: dict[str, list[tuple[int, Clock]]], walls: list[tuple[float, float]]) -> None:
    def of(name: str, what: Callable[[int, Clock], float]) -> float:
        return median(what(count, clock) for count, clock in took[name])

    rate = {name: of(name, lambda count, clock: count / clock.seconds) for name in CONTENDERS}
    app = {name: of(name, lambda count, clock: clock.app_cpu / count * 1e6) for name in CONTENDERS}
    beneath = {name: of(name, lambda count, clock: clock.postgres_cpu / count * 1e6) for name in CONTENDERS}
    rows: list[list[Any]] = [
        [name, rate[name], rate[name] / rate["bare"], app[name], app[name] / app["bare"], beneath[name],
         beneath[name] / beneath["bare"]]
        for name in CONTENDERS
    ]  # fmt: skip
    head = ("contender", "grants/s", "× bare", "app µs/grant", "× bare", "PostgreSQL µs/grant", "× bare")
    table(f"grants, {AT_ONCE} at once, medians of {ROUNDS} rounds", head, rows)
    one, wall = median(pair[0] for pair in walls), median(pair[1] for pair in walls)
    rows = [["1 camera", one * 1e3, 1.0], [f"wall of {WALL}", wall * 1e3, wall / one]]
    table("one request at a time", ("asked for", "ms", "× one camera"), rows)
    ratios = {
        "throughput_writer_to_bare": rate["writer"] / rate["bare"],
        "throughput_writer_to_bare_in_transaction": rate["writer"] / rate["bare in BEGIN…COMMIT"],
        "app_cpu_writer_to_bare": app["writer"] / app["bare"],
        "postgres_cpu_writer_to_bare": beneath["writer"] / beneath["bare"],
        "throughput_http_to_bare": rate["http"] / rate["bare"],
        "app_cpu_http_to_bare": app["http"] / app["bare"],
        "wall_of_16_to_one": wall / one,
    }
    conclude("grants", ratios, GRANTS)


async def main() -> None:
    took: dict[str, list[tuple[int, Clock]]] = {name: [] for name in CONTENDERS}
    walls = []
    with scene() as place:
        async with _contest(place) as contest:
            for name in CONTENDERS:  # caches and statements are warm, for everybody
                await contest.run(place, name)
            for order in turns(ROUNDS, CONTENDERS):
                for name in order:
                    took[name].append(await contest.run(place, name))
                walls.append(await contest.walls())
    _report(took, walls)


if __name__ == "__main__":
    asyncio.run(main())
