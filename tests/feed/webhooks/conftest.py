"""A house of its own for webhooks: a fresh database, its announcements, a sequencer, and as many processes as wanted."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text

from app import database as db
from app import ledger
from app.actor import Actor
from app.announcements import Announcements
from app.database import Database
from app.events import record
from app.events.report import Report
from app.feed.webhooks import addresses, registry, rounds
from app.feed.webhooks.registry import Made
from app.feed.webhooks.rounds import Webhooks
from app.keys import Keys
from app.ledger import Sequencer
from app.models import DeadLetter, Webhook
from app.settings import Settings
from tests import actors, factories
from tests.feed.webhooks.receiver import Receiver


async def once(holds: Callable[[], bool], seconds: float = 45) -> None:
    """Wait until something holds that nothing announces."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - it is not for the code under test to tell
            await asyncio.sleep(0.05)


@dataclass
class House:
    """Everything that webhooks need, and what tests do with it."""

    database: Database
    settings: Settings
    keys: Keys
    news: Announcements
    sequencer: Sequencer
    agency: UUID
    actor: Actor

    @asynccontextmanager
    async def process(self) -> AsyncIterator["Process"]:
        """Webhooks as one process runs them; several may run at once."""
        news = Announcements(self.database.url)
        one = Webhooks(self.database, self.keys, self.settings, news, f"node/{uuid4().hex[:8]}")
        process = Process(one, [asyncio.create_task(news.run()), asyncio.create_task(one.run())])
        try:
            yield process
        finally:
            await process.stop()

    async def make(self, receiver: Receiver, actor: Actor | None = None, **wish: Any) -> Made:
        allowed = addresses.allowed_by(self.settings)
        wish = {"name": factories.name("hook"), "url": receiver.url} | wish
        async with self.database.begin() as session:
            return await registry.make(session, actor or self.actor, self.keys, allowed, **wish)

    async def report(self, *keys: str, actor: Actor | None = None, kind: str = "bell.tested", **fields: Any) -> None:
        """One event for each key, numbered in this order."""
        reports = [Report(kind=kind, source=key, source_key=uuid4().hex, **fields) for key in keys]
        async with self.database.begin() as session:
            await record.record_many(session, actor or self.actor, reports)
        await self.sequencer.catch_up()

    async def row(self, made: Made) -> Webhook:
        async with self.database.begin() as session:
            return (await session.scalars(select(Webhook).where(Webhook.id == made.id))).one()

    async def change(self, made: Made, sql: str, **values: Any) -> None:
        async with self.database.begin() as session:
            await session.execute(text(f"UPDATE webhooks SET {sql} WHERE id = :id"), {"id": made.id, **values})

    async def letters(self, made: Made) -> Sequence[DeadLetter]:
        async with self.database.begin() as session:
            query = select(DeadLetter).where(DeadLetter.webhook_id == made.id).order_by(DeadLetter.position)
            return (await session.scalars(query)).all()

    async def until(self, made: Made, **expected: Any) -> Webhook:
        """Wait until the row says this."""
        async with asyncio.timeout(45):
            while True:
                row = await self.row(made)
                if all(getattr(row, name) == value for name, value in expected.items()):
                    return row
                await asyncio.sleep(0.05)

    async def settled(self, made: Made) -> Webhook:
        """Wait until the webhook has told everything and is idle."""
        async with asyncio.timeout(45):
            while True:
                async with self.database.begin() as session:
                    head = await ledger.head(session, ledger.EVENTS)
                row = await self.row(made)
                if row.next_at.year == 9999 and row.position >= head.position:
                    return row
                await asyncio.sleep(0.05)

    async def entries(self, act: str) -> list[dict[str, Any]]:
        async with self.database.begin() as session:
            rows = await session.execute(
                text(
                    "SELECT payload, agency_id, subject_id, outcome FROM audit_entries WHERE act = :act ORDER BY at, id"
                ),
                {"act": act},
            )
            return [dict(row) for row in rows.mappings()]


@dataclass
class Process:
    webhooks: Webhooks
    tasks: list[asyncio.Task]

    async def stop(self) -> None:
        """As a process that is told to stop."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def kill(self) -> None:
        """As kill -9: nothing is given back."""

        async def nothing() -> None: ...

        for courier, _ in self.webhooks._couriers.values():
            courier._leave = nothing
        couriers = [task for _, task in self.webhooks._couriers.values()]
        self.webhooks._stop = nothing
        for task in [*self.tasks, *couriers]:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*self.tasks, *couriers, return_exceptions=True)


@pytest.fixture
async def house(
    empty_database_url: str, settings: Settings, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[House]:
    monkeypatch.setattr(rounds, "TICK_SECONDS", 0.3)
    mine = settings.model_copy(update={"database_url": empty_database_url, "allow_webhook_networks": "127.0.0.0/8"})
    async with db.connect(empty_database_url) as base:
        news = Announcements(empty_database_url)
        sequencer = Sequencer(base, ledger.EVENTS)
        news.wake(ledger.EVENTS.waits, sequencer.wanted)
        running = [asyncio.create_task(news.run()), asyncio.create_task(sequencer.run())]
        agency = await factories.agency(base)
        actor = await actors.actor(base, agency, "integration")
        yield House(base, mine, keys, news, sequencer, agency, actor)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
