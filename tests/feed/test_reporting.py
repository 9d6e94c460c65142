"""Reports that are written together: in turn, each whole or refused, none failing with another."""

import asyncio
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from app.actor import Actor
from app.database import Database
from app.errors import Overloaded, SessionEnded
from app.events import record
from app.events.report import Report
from app.feed import reporting
from app.feed.reporting import Reporting
from tests import actors, factories


@dataclass(frozen=True)
class System:
    """A reporting account, signed in, and a camera of its agency."""

    actor: Actor
    token: str
    camera_id: UUID


@pytest.fixture(scope="module")
async def system(client: httpx.AsyncClient, database: Database) -> System:
    agency = await factories.agency(database)
    who = await factories.person(database, agency, "integration")
    headers = await factories.sign_in(client, who)
    token = headers["Authorization"].removeprefix("Bearer ")
    return System(await actors.actor_of(database, who), token, await factories.camera(database, agency))


async def test_a_turn_is_waited_for_and_not_for_ever_and_an_emergency_has_its_own(
    database: Database, system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "TURN_SECONDS", 0.2)

    def one(key: str) -> Report:
        return Report(
            kind="camera.moved", source="va/1", source_key=key, subject_kind="cameras", subject_id=system.camera_id
        )

    wrote: list[Any] = []
    telling = Reporting(database, wrote.append)
    async with database.bare.acquire() as other, other.transaction():
        held = [uuid4().hex for _ in range(2)]
        for key in held:  # another transaction has these keys: whoever brings them again waits for it
            await record.record_many(other, system.actor, [one(key)])
        stuck = []
        for key in held:
            stuck.append(asyncio.create_task(telling.report(system.token, "", [one(key)])))
            await asyncio.sleep(0.05)
        with pytest.raises(Overloaded):
            await telling.report(system.token, "", [one(late := uuid4().hex)])
        assert await telling.report(system.token, "", [one(uuid4().hex)], urgent=True)
        assert not any(task.done() for task in stuck), "they are being written: nobody may say that they were not"
    assert [not item.new for answer in await asyncio.gather(*stuck) for item in answer] == [True, True]
    (again,) = await telling.report(system.token, "", [one(late)])
    assert again.new, "who was told to come again had written nothing"


async def test_what_cannot_be_written_fails_alone(
    database: Database, system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = Report(
        kind="camera.moved", source="va/1", source_key="", subject_kind="cameras", subject_id=system.camera_id
    )
    reports = [replace(report, source_key=uuid4().hex) for _ in range(3)]
    real = record.record_all

    async def failing(on: Any, requests: Any, found: Any) -> Any:
        if any(reports[1] in asked for _, asked in requests):
            raise ZeroDivisionError
        return await real(on, requests, found)

    monkeypatch.setattr(record, "record_all", failing)
    telling = Reporting(database, lambda _: None)
    monkeypatch.setattr(reporting, "TURNS", {False: 0, True: 1})
    asked = [asyncio.create_task(telling.report(system.token, "", [one])) for one in reports]
    asked.append(asyncio.create_task(telling.report("gwj_nobody", "", [replace(report, source_key="x")])))
    await asyncio.sleep(0)
    monkeypatch.setattr(reporting, "TURNS", {False: 1, True: 1})
    last = await telling.report(system.token, "", [replace(report, source_key=uuid4().hex)])
    assert last[0].new
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [list, ZeroDivisionError, list, SessionEnded]


async def test_nobody_is_left_waiting_by_a_turn_that_has_just_ended(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report may come when the last of a turn has been written and the turn is not over."""
    monkeypatch.setattr(reporting, "TURN_SECONDS", 2)
    telling, following = Reporting(database, lambda _: None), list[asyncio.Task[Any]]()

    async def write(batch: list[Any]) -> None:
        await asyncio.sleep(0)
        for waiter in batch:
            waiter.answer.set_result([])
        if len(following) < 10:  # it begins when this task has ended, and before anybody is told so
            following.append(asyncio.create_task(telling.report("", "", [], urgent=True)))

    monkeypatch.setattr(telling, "_write", write)
    await telling.report("", "", [], urgent=True)
    for _ in range(10):
        await following[-1]
    assert len(following) == 10
    assert not telling.is_writing
