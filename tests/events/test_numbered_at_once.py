"""Events that are numbered by the statement that writes them: the same rows, the same order, and nobody waits."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import uuid4

import asyncpg
import pytest

from app import database as db
from app import ledger
from app.actor import Actor
from app.announcements import Announcements
from app.database import Database
from app.events import record
from app.events.report import Report
from app.feed.live import Feed
from app.keys import Keys
from app.ledger import Rows, Sequencer
from tests import actors, factories


@dataclass(frozen=True)
class Place:
    database: Database
    actor: Actor

    async def write(self, count: int = 1, **fields: object) -> Rows:
        """Some events, written at once; what was numbered with them."""
        reports = [
            Report(
                kind="camera.moved", source="va/1", source_key=uuid4().hex, data={"detail": "b", "at": 1e3}, **fields
            )
            for _ in range(count)
        ]
        async with self.database.bare.acquire() as connection:
            (recorded,), numbered = await record.record_all(connection, [(self.actor, reports)])
        assert isinstance(recorded, list)
        assert all(one.new for one in recorded)
        return numbered

    async def all(self, after: int = 0) -> Rows:
        async with self.database.bare.acquire() as connection:
            return await ledger.read(connection, ledger.EVENTS, after)


@pytest.fixture
async def place(empty_database_url: str) -> AsyncIterator[Place]:
    async with db.connect(empty_database_url) as base:
        agency = await factories.agency(base)
        yield Place(base, await actors.actor(base, agency, "integration"))


async def test_they_are_given_as_they_are_read(place: Place) -> None:
    numbered = [*await place.write(3, exercise=True), *await place.write(latitude=37.5, longitude=127.0)]
    told = [{name: value for name, value in row.items() if name != "taken"} for row in numbered]
    assert told == [dict(row) for row in await place.all()]
    assert [row["position"] for row in told] == [1, 2, 3, 4]


async def test_what_others_left_is_numbered_too_and_only_the_own_is_given(place: Place) -> None:
    async with place.database.begin() as session:
        await record.record_many(session, place.actor, [Report(kind="camera.moved", source="va/2", source_key="left")])
    assert [row["position"] for row in await place.write()] == [2]
    assert [row["source"] for row in await place.all()] == ["va/2", "va/1"]


async def test_a_storm_is_left_to_those_who_number_it_together(place: Place) -> None:
    assert list(await place.write(ledger.AT_ONCE + 1)) == []
    assert list(await place.write()) == [], "as long as there are as many"
    assert await Sequencer(place.database, ledger.EVENTS).catch_up() == ledger.AT_ONCE + 2
    assert len(await place.write(ledger.AT_ONCE)) == ledger.AT_ONCE


async def test_nobody_waits_for_who_numbers_just_then(place: Place) -> None:
    async with place.database.bare.acquire() as other, other.transaction():
        await other.fetchrow("SELECT head FROM ledger_lock('events')")
        async with asyncio.timeout(2):
            assert list(await place.write()) == []
    assert await Sequencer(place.database, ledger.EVENTS).catch_up() == 1


async def test_in_a_transaction_that_goes_on_nothing_is_numbered(place: Place) -> None:
    """Else nobody could number anything until it ends."""
    async with place.database.bare.acquire() as other, other.transaction():
        report = Report(kind="bell.tested", source="va/1", source_key="held")
        _, numbered = await record.record_all(other, [(place.actor, [report])])
        assert list(numbered) == []
        async with asyncio.timeout(2):
            assert [row["position"] for row in await place.write()] == [1]


async def test_order_holds_whoever_numbers(place: Place) -> None:
    """A reader that never goes back misses nothing, while some number at once and others in turns."""
    sequencers = [Sequencer(place.database, ledger.EVENTS) for _ in range(2)]
    running = [asyncio.create_task(one.run()) for one in sequencers]
    heard: list[int] = []
    given: list[int] = []

    async def follow() -> None:
        while True:
            heard.extend(row["position"] for row in await place.all(heard[-1] if heard else 0))
            await asyncio.sleep(0.002)

    async def write(number: int) -> None:
        for turn in range(25):
            given.extend(row["position"] for row in await place.write(1 + (number + turn) % 3))
            sequencers[number % 2].poke()

    following = asyncio.create_task(follow())
    await asyncio.gather(*(write(number) for number in range(4)))
    total = sum(1 + (number + turn) % 3 for number in range(4) for turn in range(25))
    async with asyncio.timeout(5):
        while len(heard) < total:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.01)
    for task in (*running, following):
        task.cancel()
    assert heard == list(range(1, total + 1))
    assert len(set(given)) == len(given) > 0


async def test_what_was_numbered_here_is_not_read_again(
    place: Place, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    real = ledger.read

    async def read(connection: asyncpg.Connection, of: ledger.Ledger, after: int, limit: int = ledger.BATCH) -> Rows:
        reads.append(after)
        return await real(connection, of, after, limit)

    live = Feed(place.database, Announcements(place.database.url), keys)
    await live.start()
    running = asyncio.create_task(live.run())
    monkeypatch.setattr(ledger, "read", read)
    live.take(await place.write(2))
    await live.more_than(1, 2)
    assert (live.position, reads) == (2, [])
    await place.write()  # told by nobody: what is taken next does not follow
    live.take(await place.write())
    await live.more_than(3, 2)
    assert (live.position, reads) == (4, [2])
    live.take(await place.write())
    await live.more_than(4, 2)
    assert (live.position, reads) == (5, [2])
    running.cancel()
