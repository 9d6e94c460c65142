"""Overload: 429 with Retry-After and nothing written; an emergency comes in all the same; a burst is all in the log."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import func, select, text

from app import database as db
from app.database import Database
from app.errors import Overloaded
from app.events import intake
from app.events.intake import Intake
from app.models import Event, EventKey, EventPosition
from app.routers import events as door
from app.settings import Settings
from tests import factories
from tests.conftest import serving


def cloud(kind: str = "analytic.loitering", **attributes: Any) -> dict[str, Any]:
    event = {"specversion": "1.0", "id": factories.name("id"), "source": "va/1", "type": f"kr.gwanje.{kind}"}
    return event | attributes


@pytest.fixture(scope="module")
async def system(client: httpx.AsyncClient, database: Database) -> dict[str, str]:
    who = await factories.person(database, await factories.agency(database), "integration")
    return await factories.sign_in(client, who)


async def written(database: Database, *events: dict[str, Any]) -> int:
    async with database.begin() as session:
        count = select(func.count()).where(EventKey.source_key.in_([event["id"] for event in events]))
        return await session.scalar(count) or 0


def check_refused(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["code"]) == (429, "overloaded"), answer.text
    assert 1 <= int(answer.headers["retry-after"]) <= 60


# The bounds


def test_events_and_bytes_are_held_until_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MOST_EVENTS", 10)
    monkeypatch.setattr(intake, "MOST_BYTES", 100)
    monkeypatch.setattr(intake, "RESERVED_EVENTS", 2)
    monkeypatch.setattr(intake, "RESERVED_BYTES", 20)
    taking = Intake()
    for events, size in ((11, 0), (0, 101)):
        with pytest.raises(Overloaded), taking.holding(events, size):
            pass
    with taking.holding(10, 60):
        for events, size in ((1, 0), (0, 41)):
            with pytest.raises(Overloaded), taking.holding(events, size):
                pass
        with ExitStack() as held:
            held.enter_context(taking.holding(1, 60, urgent=True))
            held.enter_context(taking.holding(1, 0, urgent=True))
            with pytest.raises(Overloaded):
                held.enter_context(taking.holding(1, 0, urgent=True))
    assert (taking.events, taking.bytes) == (0, 0)
    with pytest.raises(ZeroDivisionError), taking.holding(10, 100):
        _ = 1 / 0
    assert (taking.events, taking.bytes) == (0, 0)


# At the door


async def test_beyond_the_bound_nothing_is_written(
    client: httpx.AsyncClient, database: Database, system: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "MOST_EVENTS", 5)
    monkeypatch.setattr(intake, "RESERVED_EVENTS", 1)
    batch = [cloud() for _ in range(6)]
    check_refused(await client.post("/v1/events", json=batch, headers=system))
    assert await written(database, *batch) == 0
    assert (await client.post("/v1/events", json=batch[:5], headers=system)).status_code == 202
    monkeypatch.setattr(intake, "MOST_EVENTS", 0)
    single, pressed = cloud(), cloud("bell.pressed")
    check_refused(await client.post("/v1/events", json=single, headers=system))
    check_refused(await client.post("/v1/events", json=[pressed], headers=system))
    check_refused(await client.post("/v1/events", json=single | {"severity": "emergency"}, headers=system))
    assert await written(database, single, pressed) == 0
    assert (await client.post("/v1/events", json=pressed, headers=system)).status_code == 202
    monkeypatch.setattr(intake, "RESERVED_EVENTS", 0)
    check_refused(await client.post("/v1/events", json=cloud("bell.pressed"), headers=system))


async def test_large_bodies_together_are_bounded(
    client: httpx.AsyncClient, database: Database, system: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "MOST_BYTES", 200_000)
    batch = [cloud(data={"text": "가 나" * 500}) for _ in range(100)]
    check_refused(await client.post("/v1/events", json=batch, headers=system))
    assert await written(database, *batch) == 0
    assert (await client.post("/v1/events", json=batch[:20], headers=system)).status_code == 202


async def test_while_too_many_wait_for_a_position_nothing_is_written(
    client: httpx.AsyncClient, database: Database, system: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "MOST_WAITING", 600)  # others' alarms are told again meanwhile, at most 100 at once
    monkeypatch.setattr(intake, "LOOK_SECONDS", 0.5)
    await asyncio.sleep(0.6)  # what was seen before is forgotten
    async with database.begin() as session:
        await session.execute(text("SELECT head FROM ledger_lock('events')"))  # nothing is numbered while this lasts
        assert (await client.post("/v1/events", json=[cloud() for _ in range(601)], headers=system)).status_code == 202
        await asyncio.sleep(0.6)
        one, pressed = cloud(), cloud("bell.pressed")
        for _ in range(2):  # seen, and remembered
            check_refused(await client.post("/v1/events", json=one, headers=system))
        assert await written(database, one) == 0
        assert (await client.post("/v1/events", json=pressed, headers=system)).status_code == 202
    async with asyncio.timeout(10):
        while (answer := await client.post("/v1/events", json=one, headers=system)).status_code == 429:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert answer.status_code == 202


async def test_a_body_that_does_not_come_is_not_waited_for(
    client: httpx.AsyncClient, system: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "BODY_SECONDS", 0.2)

    async def slowly() -> AsyncIterator[bytes]:
        yield b'{"specversion": '
        await asyncio.sleep(1)
        yield b'"1.0"}'

    refused = await client.post("/v1/events", content=slowly(), headers=system)
    assert refused.status_code == 422
    assert "0 seconds" in refused.json()["detail"]


async def test_of_nobody_known_a_large_body_is_not_read(base_url: str) -> None:
    host, port = base_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 3000000\r\n\r\n"
        + b"[" * (door.SMALL_BYTES + 2)
    )
    try:
        status = await asyncio.wait_for(reader.readline(), 5)
    finally:
        writer.close()
    assert b" 401 " in status


async def test_a_burst_is_all_in_the_log_without_a_gap(settings: Settings, empty_database_url: str) -> None:
    own = settings.model_copy(update={"database_url": empty_database_url})
    async with db.connect(empty_database_url) as database, serving(own) as url:
        limits = httpx.Limits(max_connections=10)
        async with httpx.AsyncClient(base_url=url, timeout=30, limits=limits) as client:
            agency = await factories.agency(database)
            headers = await factories.sign_in(client, await factories.person(database, agency, "integration"))
            kinds = ("analytic.loitering", "camera.lost", "camera.restored", "bell.pressed")
            events = [cloud(kinds[n % 4], source=f"va/{n % 7}", data={"n": n}) for n in range(5000)]
            batches = [events[start : start + 100] for start in range(0, 5000, 100)]

            async def send(batch: list[dict[str, Any]]) -> list[str]:
                for _ in range(60):
                    answer = await client.post("/v1/events", json=batch, headers=headers)
                    if answer.status_code == 202:
                        return [item["id"] for item in answer.json()["events"]]
                    check_refused(answer)
                    await asyncio.sleep(1)
                pytest.fail("refused for a minute")

            ids = [one for batch in await asyncio.gather(*map(send, batches)) for one in batch]
        assert len(set(ids)) == 5000
        async with asyncio.timeout(15):
            while True:
                async with database.begin() as session:
                    query = select(EventPosition.position, Event.id, Event.data["n"].as_integer().label("n"))
                    rows = (
                        await session.execute(query.join(Event, Event.id == EventPosition.id).order_by("position"))
                    ).all()
                if len(rows) >= 5000:
                    break
                await asyncio.sleep(0.1)
    assert [row.position for row in rows] == list(range(1, 5001)), "gapless"
    assert {row.id: row.n for row in rows} == {UUID(one): n for n, one in enumerate(ids)}, "each once, and no other"
