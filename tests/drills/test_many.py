"""Many sockets at once: through rolling restarts, and when all of them come back in the same moment."""

import asyncio
import os
import signal
import time

import httpx
import pytest

from app.database import Database
from app.settings import Settings
from tests.drills import town
from tests.drills.conftest import Crew, Tell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

RESTARTING = {4312, 1012}


@pytest.mark.parametrize(
    ("sockets", "restarts", "workers"),
    [(120, 2, 2), pytest.param(1000, 20, 4, marks=[pytest.mark.drill, pytest.mark.timeout(3600)])],
)
async def test_rolling_restarts_lose_nothing(
    database: Database, crew: Crew, settings: Settings, sockets: int, restarts: int, workers: int, tell: Tell
) -> None:  # fmt: skip
    place = await town.found(database, places=20)
    back: list[float] = []
    running = await crew(workers)
    reporting = await town.reporters(running.base_url, place, 2)
    listeners = await town.clients(running.base_url, place, sockets)
    statuses: set[int] = set()
    up = await place.processes()
    over = asyncio.Event()

    async def ask() -> None:
        """A client of the API, which tries again when a connection breaks."""
        headers = {"Authorization": f"Bearer {listeners[0].token}"}
        while not over.is_set():
            try:
                async with httpx.AsyncClient(base_url=running.base_url, timeout=10, headers=headers) as client:
                    statuses.add((await client.get("/v1/events", params={"wait": 0.5})).status_code)
            except httpx.TransportError:
                await asyncio.sleep(0.05)

    async with town.listening(running.base_url, listeners, bare=True):
        works = [asyncio.create_task(one.run(restarts * 20, over, pace=0.05)) for one in reporting]
        works.append(asyncio.create_task(ask()))
        try:
            for number in range(restarts):
                before = running.workers()
                ended = before[number % len(before)]
                os.kill(ended, signal.SIGTERM)
                began = time.monotonic()
                await town.until(lambda ended=ended: ended not in running.workers(), 30)
                await town.all_live(listeners, 60)
                back.append(time.monotonic() - began)
                async with asyncio.timeout(30):  # the next one is stopped when this one is replaced
                    while await place.processes() < up:  # noqa: ASYNC110 - no event tells
                        await asyncio.sleep(0.1)
        finally:
            over.set()
            await asyncio.gather(*works)
        await town.heard_all(place, listeners, 60)
    found = await town.verdict(place, settings.secret_key, reporting, listeners)
    codes = {code: sum(one.codes[code] for one in listeners) for code in {c for one in listeners for c in one.codes}}
    tell(
        "R4 rolling restarts",
        restarts=restarts,
        codes=codes,
        statuses=sorted(statuses),
        **{"all back max": max(back)},
        **town.measures(found, reporting, listeners),
    )
    town.assert_sound(found, reporting, listeners)
    assert statuses <= {200, 503}
    assert RESTARTING & set(codes), "nobody was sent away by a restart"
    assert max(second for one in listeners for second in one.absences) <= 30


@pytest.mark.parametrize(
    ("sockets", "workers"),
    [(300, 2), pytest.param(5000, 4, marks=[pytest.mark.drill, pytest.mark.timeout(1800)])],
)
async def test_all_come_back_at_once(
    database: Database, crew: Crew, settings: Settings, sockets: int, workers: int, tell: Tell
) -> None:
    place = await town.found(database, places=50)
    running = await crew(workers)
    reporting = await town.reporters(running.base_url, place, 1)
    listeners = await town.clients(running.base_url, place, sockets)
    async with town.listening(running.base_url, listeners, bare=True) as lines:
        over = asyncio.Event()
        work = asyncio.create_task(reporting[0].run(100, over, pace=0.1))
        await asyncio.sleep(1)
        began = time.monotonic()
        for line in lines:
            line.drop()
        await town.until(lambda: all(sum(one.codes.values()) for one in listeners), 30)
        await town.all_live(listeners, 120)
        back = time.monotonic() - began
        over.set()
        await work
        await town.heard_all(place, listeners, 60)
    found = await town.verdict(place, settings.secret_key, reporting, listeners)
    tell("R13 all at once", **{"all back": back}, **town.measures(found, reporting, listeners))
    town.assert_sound(found, reporting, listeners)
    assert found.resumed >= sockets
    assert max(second for one in listeners for second in one.absences) <= 60
