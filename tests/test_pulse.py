"""What nobody tells is asked for: a service finds what a process left that died before it could say so."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import httpx
from sqlalchemy import func, select, text

from app.database import Database
from app.events import record
from app.events.record import Report
from app.models import Event, EventPosition
from tests import factories
from tests.registry.import_tables import csv_text, line


@asynccontextmanager
async def soon(seconds: float = 15) -> AsyncIterator[Callable[[], object]]:
    """A pause to make between two looks, for so long."""
    async with asyncio.timeout(seconds):
        yield lambda: asyncio.sleep(0.05)


async def left(database: Database, kind: str) -> UUID:
    """An event that was written and committed by somebody who then told nobody."""
    agency = await factories.agency(database)
    report = Report(kind=kind, source="bells", source_key=str(agency), owner_agency_id=agency)
    async with database.begin() as session:
        return (await record.record(session, None, report)).id


async def test_an_event_that_nobody_numbered_gets_its_position(client: httpx.AsyncClient, database: Database) -> None:
    event_id = await left(database, "bell.pressed")
    async with soon() as pause:
        while not await _scalar(database, select(EventPosition.position).where(EventPosition.id == event_id)):
            await pause()


async def test_an_alarm_that_has_waited_is_told_again(client: httpx.AsyncClient, database: Database) -> None:
    event_id = await left(database, "bell.pressed")
    async with database.begin() as session:
        due = text("UPDATE alarms SET due_at = now() - interval '1 second' WHERE event_id = :id RETURNING kind")
        assert await session.scalar(due, {"id": event_id}) == "bell.pressed"
    again = select(func.count()).where(Event.regards_id == event_id, Event.kind == "alarm.repeated")
    async with soon() as pause:
        while await _scalar(database, again) != 1:
            await pause()


async def test_an_import_that_was_being_undone_is_undone(client: httpx.AsyncClient, database: Database) -> None:
    agency = await factories.agency(database)
    headers = await factories.sign_in(client, await factories.person(database, agency, "admin"))
    sent = await client.post("/v1/imports", content=csv_text([line(관리번호="1")]).encode(), headers=headers)
    path = f"/v1/imports/{sent.json()['id']}"

    async def until(state: str) -> None:
        async with soon() as pause:
            while (await client.get(path, headers=headers)).json()["state"] != state:
                await pause()

    await until("ready")
    assert (await client.post(f"{path}/apply", headers=headers)).status_code == 202
    await until("applied")
    async with database.begin() as session:
        interrupted = text(
            "UPDATE imports SET state = 'undoing', leased_by = 'dead/1', leased_until = now() - interval '1 second'"
            " WHERE id = :id"
        )
        await session.execute(interrupted, {"id": UUID(sent.json()["id"])})
    await until("undone")


async def _scalar(database: Database, query: object) -> object:
    async with database.begin() as session:
        return await session.scalar(query)  # type: ignore[call-overload]
