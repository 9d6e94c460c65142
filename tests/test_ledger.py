"""Append, then sequence: gapless, complete, in order of urgency within a batch, whoever sequences."""

import asyncio
import random
from uuid import UUID

import pytest
from sqlalchemy import insert

from app import clock, ledger
from app import database as db
from app.audit import entries, verify
from app.database import Database
from app.ids import new_id
from app.ledger import Sequencer
from app.models import Event
from tests import factories


async def append(
    database: Database, agency: UUID, key: str, *, urgency: int = 0, hold: float = 0.0, undo: bool = False
) -> None:
    """One event in a transaction of its own, held open for a while, perhaps rolled back."""
    async with database.sessions() as session:
        event_id = new_id()
        await session.execute(
            insert(Event).values(
                id=event_id, occurred_at=clock.now(),
                kind="bell.pressed", source="test", severity=urgency, owner_agency_id=agency, data={"key": key},
            )
        )  # fmt: skip
        await ledger.append(session, ledger.EVENTS, event_id, urgency=urgency)
        await asyncio.sleep(hold)
        await (session.rollback() if undo else session.commit())


async def positions(database: Database, agency: UUID) -> list[tuple[int, str]]:
    async with database.bare.acquire() as connection:
        rows = await connection.fetch(
            "SELECT p.position, e.data ->> 'key' AS key FROM event_positions p JOIN events e USING (id, at)"
            " WHERE e.owner_agency_id = $1 ORDER BY p.position",
            agency,
        )
    return [(row["position"], row["key"]) for row in rows]


async def test_out_of_order_commits_lose_nothing(empty_database_url: str) -> None:
    """Transactions that begin early and commit late are the ones that a cursor over ids never sees."""
    async with db.connect(empty_database_url) as base:
        agency = await factories.agency(base)
        sequencers = [Sequencer(base, ledger.EVENTS) for _ in range(3)]  # as three processes would compete
        running = [asyncio.create_task(one.run()) for one in sequencers]
        heard: list[int] = []

        async def follow() -> None:
            """A reader that never goes back, as a feed does."""
            while True:
                async with base.bare.acquire() as connection:
                    rows = await ledger.read(connection, ledger.EVENTS, heard[-1] if heard else 0)
                heard.extend(row["position"] for row in rows)
                await asyncio.sleep(0.002)

        following = asyncio.create_task(follow())

        async def write(number: int) -> None:
            await append(
                base, agency, str(number), hold=random.random() * 0.02 * (number % 5 == 0), undo=number % 11 == 0
            )
            random.choice(sequencers).poke()

        for start in range(0, 400, 8):
            await asyncio.gather(*(write(number) for number in range(start, start + 8)))
        await asyncio.sleep(1.3)  # a tick picks up what no poke announced
        for task in (*running, following):
            task.cancel()
        found = await positions(base, agency)
        expected = {str(number) for number in range(400) if number % 11}
        assert {key for _, key in found} == expected
        assert [position for position, _ in found] == list(range(1, len(expected) + 1)), "gapless from one"
        assert heard == list(range(1, len(expected) + 1)), "a reader that goes forward sees every position once"


async def test_within_a_batch_the_urgent_are_first(database: Database) -> None:
    agency = await factories.agency(database)
    await Sequencer(database, ledger.EVENTS).catch_up()
    async with database.bare.acquire() as held, held.transaction():
        await held.fetchrow("SELECT head FROM ledger_lock('events')")  # nobody numbers meanwhile
        for key, urgency in (("info", 0), ("late info", 0), ("emergency", 4), ("alarm", 3)):
            await append(database, agency, key, urgency=urgency)
    await Sequencer(database, ledger.EVENTS).catch_up()
    assert [key for _, key in await positions(database, agency)] == ["emergency", "alarm", "info", "late info"]


async def test_a_batch_is_announced_once_and_only_after_its_commit(database: Database) -> None:
    agency = await factories.agency(database)
    await Sequencer(database, ledger.EVENTS).catch_up()
    heard: list[str] = []
    async with database.bare.acquire() as listening:

        def hear(*news: object) -> None:
            heard.append(str(news[-1]))

        await listening.add_listener("gwanje", hear)
        async with database.bare.acquire() as held, held.transaction():
            await held.fetchrow("SELECT head FROM ledger_lock('events')")
            for number in range(5):
                await append(database, agency, str(number))
            assert not [news for news in heard if news.startswith("ledger events")]
        await Sequencer(database, ledger.EVENTS).catch_up()
        for _ in range(50):
            if any(news.startswith("ledger events") for news in heard):
                break
            await asyncio.sleep(0.02)
        assert len([news for news in heard if news.startswith("ledger events")]) == 1
        await listening.remove_listener("gwanje", hear)


async def test_the_audit_tree_grows_with_the_log(empty_database_url: str) -> None:
    """Recomputing every leaf from the rows gives the head's root, however the batches fell."""
    async with db.connect(empty_database_url) as base:
        sequencer = Sequencer(base, ledger.AUDIT, entries.grow_tree)
        for size in (1, 2, 5, 1, 9):
            async with base.begin() as session:
                for number in range(size):
                    await entries.append(session, entries.entry(None, "test.done", number=number))
            await sequencer.catch_up()
        async with base.bare.acquire() as connection:
            rows = await ledger.read(connection, ledger.AUDIT, 0)
            head = await connection.fetchrow("SELECT position, frontier FROM ledger_heads WHERE ledger = 'audit'")
            stored = [
                row["leaf_hash"]
                for row in await connection.fetch("SELECT leaf_hash FROM audit_leaves ORDER BY position")
            ]
        leaves = [verify.leaf_hash(entries.leaf_data(row)) for row in rows]
        assert len(leaves) == head["position"] == 18
        assert leaves == stored
        grown = verify.Tree()
        grown.extend(leaves)
        assert grown.frontier == head["frontier"]


async def test_numbering_what_is_not_pending_is_refused(database: Database) -> None:
    async with database.bare.acquire() as connection:
        with pytest.raises(Exception, match="were pending"):
            await connection.execute("SELECT ledger_number('events', $1, '{}', '{}')", [new_id()])
