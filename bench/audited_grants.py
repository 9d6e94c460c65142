"""Audited grants, 16 askers at once, each waiting for its durable answer: through the batch writer, and otherwise.

- *writer*: `grants.give` with the sequencer beside it, as in a service; over when the last entry is a leaf of the tree.
- *chain*: a hash chain as it is usually written: in each grant's transaction, first an advisory lock, then grant and
  entry, then a link that hashes the one before.
- *chain, locked late*: the same with the lock as late as can be: grant and entry are written before it.
- *bare insert*: one row of the entry table and nothing else, a durable commit each.
- *bare grant*: the writer's own statement for one grant with its entry, a durable commit each; nothing grows a tree.

All but the writer are bare asyncpg on sixteen connections that are never given back, their arguments made before the
clock starts; their rights are checked by the same statement.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any
from uuid import UUID

import asyncpg

from app import ledger
from app.actor import Actor
from app.audit import entries
from app.database import APP_ROLE, Database, connect, plain_url
from app.ledger import Sequencer
from app.main import GATHER_SECONDS
from app.streams import grants
from app.streams.writer import _GIVE, Given, Writer, _columns
from bench.grants import Paper
from bench.scene import Clock, Scene, conclude, name_of, scene, table, turns
from tests import factories
from tests.actors import actor_of

GRANTS, AT_ONCE, ROUNDS, CAMERAS = 2000, 16, 5, 64
PURPOSE, BASIS, SECONDS = "emergency_response", "KR-PIPA-18-2-3", 600
WRITER, CHAIN, LATE, INSERT, GRANT = "writer", "chain", "chain, locked late", "bare insert", "bare grant"
CONTENDERS = (WRITER, CHAIN, LATE, INSERT, GRANT)
COUNTS = {WRITER: GRANTS, CHAIN: GRANTS // 4, LATE: GRANTS // 4, INSERT: GRANTS, GRANT: GRANTS // 2}

_LOCK = "SELECT pg_advisory_xact_lock(1)"
_LINK = """
INSERT INTO bench_chain (n, entry_id, hash)
SELECT n + 1, $1, sha256(hash || $2) FROM bench_chain ORDER BY n DESC LIMIT 1
"""


@dataclass(frozen=True)
class Contest:
    """A police room, cameras that it may see, and ways to write down that it does."""

    place: Scene
    database: Database
    actor: Actor
    cameras: Sequence[UUID]
    writer: Writer
    sequencer: Sequencer
    bare: Sequence[asyncpg.Connection]

    async def give(self, writer: Any, camera_id: UUID) -> None:
        request = grants.Request(camera_ids=[camera_id], purpose=PURPOSE, basis=BASIS)
        given = await grants.give(self.database, writer, self.actor, request, seconds=SECONDS)
        assert all(isinstance(grant, Given) for grant in given), given

    async def run(self, contender: str) -> tuple[int, Clock]:
        """How many grants were written down, and what that took."""
        count = COUNTS[contender]
        cameras = [self.cameras[number % CAMERAS] for number in range(count)]
        paper = Paper()
        for camera_id in cameras if contender != WRITER else ():
            await self.give(paper, camera_id)
        wishes, arguments = paper.wishes, [_columns([wish]) for wish in paper.wishes]

        async def through_writer(_: int, number: int) -> None:
            await self.give(self.writer, cameras[number])

        async def in_chain(worker: int, number: int) -> None:
            connection, entry = self.bare[worker], wishes[number].entry
            async with connection.transaction():
                if contender == CHAIN:
                    await connection.execute(_LOCK)
                assert await connection.fetch(_GIVE, *arguments[number])
                if contender == LATE:
                    await connection.execute(_LOCK)
                await connection.execute(_LINK, entry.id, entry.digest)

        async def insert(worker: int, number: int) -> None:
            await entries.store(self.bare[worker], [wishes[number].entry])

        async def grant(worker: int, number: int) -> None:
            assert await self.bare[worker].fetch(_GIVE, *arguments[number])

        one = dict(zip(CONTENDERS, (through_writer, in_chain, in_chain, insert, grant), strict=True))[contender]
        with Clock(self.place) as clock:
            await _at_once(count, one)
            if contender == WRITER:
                await self.sequencer.catch_up()
        assert contender != WRITER or not await self._pending()
        await self.bare[0].execute("SELECT 1")
        await self.sequencer.catch_up()  # what the others left is not for the writer's next round
        return count, clock

    async def _pending(self) -> int:
        return int(await self.bare[0].fetchval("SELECT count(*) FROM audit_pending"))


async def _at_once(count: int, one: Callable[[int, int], Awaitable[None]]) -> None:
    """`one(worker, number)` for every number below `count`, by sixteen workers."""
    numbers = iter(range(count))

    async def work(worker: int) -> None:
        for number in numbers:
            await one(worker, number)

    await asyncio.gather(*(work(worker) for worker in range(AT_ONCE)))


@asynccontextmanager
async def _contest(place: Scene) -> AsyncIterator[Contest]:
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(place.database())
        database = await stack.enter_async_context(connect(url))
        owner, police = await factories.agency(database), await factories.agency(database, "police")
        cameras = [await factories.camera(database, owner) for _ in range(CAMERAS)]
        await factories.agreement(database, owner, police, use_purposes=(PURPOSE,))
        actor = await actor_of(database, await factories.person(database, police, "room"))
        superuser = await place.databases.superuser(name_of(url))
        await superuser.execute("CREATE TABLE bench_chain (n bigint PRIMARY KEY, entry_id uuid, hash bytea)")
        await superuser.execute("INSERT INTO bench_chain VALUES (0, NULL, '')")
        await superuser.execute(f"GRANT SELECT, INSERT ON bench_chain TO {APP_ROLE}")
        await superuser.close()
        sequencer = Sequencer(database, ledger.AUDIT, entries.grow_tree, gather_seconds=GATHER_SECONDS)
        writer = Writer(database, sequencer.poke)
        for work in (sequencer.run(), writer.run()):
            stack.callback(asyncio.create_task(work).cancel)
        settings = {"role": APP_ROLE, "timezone": "UTC", "jit": "off"}
        bare = [await asyncpg.connect(plain_url(url), server_settings=settings) for _ in range(AT_ONCE)]
        for connection in bare:
            stack.push_async_callback(connection.close)
        yield Contest(place, database, actor, cameras, writer, sequencer, bare)


def _report(took: dict[str, list[tuple[int, Clock]]]) -> None:
    def of(name: str, what: Callable[[int, Clock], float]) -> float:
        return median(what(count, clock) for count, clock in took[name])

    rate = {name: of(name, lambda count, clock: count / clock.seconds) for name in CONTENDERS}
    rows: list[list[Any]] = [
        [name, rate[name], rate[WRITER] / rate[name], of(name, lambda count, clock: clock.app_cpu / count * 1e6),
         of(name, lambda count, clock: clock.postgres_cpu / count * 1e6)]
        for name in CONTENDERS
    ]  # fmt: skip
    head = ("contender", "per second", "writer ×", "app µs", "PostgreSQL µs")
    table(f"audited grants, {AT_ONCE} at once, medians of {ROUNDS} rounds", head, rows)
    ratios = {
        "writer_to_chain": rate[WRITER] / rate[CHAIN],
        "writer_to_chain_locked_late": rate[WRITER] / rate[LATE],
        "writer_to_bare_insert": rate[WRITER] / rate[INSERT],
        "writer_to_bare_grant": rate[WRITER] / rate[GRANT],
    }
    conclude("audited_grants", ratios, GRANTS)


async def main() -> None:
    took: dict[str, list[tuple[int, Clock]]] = {name: [] for name in CONTENDERS}
    with scene() as place:
        async with _contest(place) as contest:
            for name in CONTENDERS:  # caches and statements are warm, for everybody
                await contest.run(name)
            for order in turns(ROUNDS, CONTENDERS):
                for name in order:
                    took[name].append(await contest.run(name))
    _report(took)


if __name__ == "__main__":
    asyncio.run(main())
