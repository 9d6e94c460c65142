"""Connections are cut at any byte, in the middle of a frame, both ways; who resumes has missed nothing."""

import asyncio
import random
import time
from pathlib import Path

import pytest

from app.database import Database
from app.settings import Settings
from tests.drills import town
from tests.drills.conftest import Tell
from tests.drills.proxy import proxy, to_port
from tests.processes import service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize(
    ("cuts", "subscribers"),
    [(30, 6), pytest.param(1000, 20, marks=[pytest.mark.drill, pytest.mark.timeout(1800)])],
)
async def test_resuming_at_any_byte_gives_every_event_once(
    database: Database, database_url: str, kept: Path, settings: Settings, cuts: int, subscribers: int, tell: Tell
) -> None:
    place = await town.found(database, places=10)
    draw = random.Random(cuts)
    began = time.monotonic()
    async with (
        service(kept, workers=2, GWANJE_DATABASE_URL=database_url, GWANJE_LOG_LEVEL="warning") as running,
        proxy(to_port(int(running.base_url.rpartition(":")[2]))) as link,
    ):
        reporting = await town.reporters(running.base_url, place, 2)
        listeners = await town.clients(running.base_url, place, subscribers)
        async with town.listening(f"http://127.0.0.1:{link.port}", listeners):
            enough = asyncio.Event()
            works = [asyncio.create_task(one.run(200, enough, pace=0.01)) for one in reporting]
            # Sometimes within the answer to the upgrade, sometimes within the welcome, mostly among events.
            link.limit = lambda: int(draw.choice((200, 600, 4_000, 30_000)) * draw.random()) + 1
            link.cut_all()
            try:
                await town.until(lambda: link.cut >= cuts, 1200)
            finally:
                enough.set()
                await asyncio.gather(*works)
            link.limit = lambda: None
            link.cut_all()
            await town.heard_all(place, listeners, 60)
    found = await town.verdict(place, settings.secret_key, reporting, listeners)
    tell(
        "cuts at any byte",
        cuts=link.cut,
        seconds=time.monotonic() - began,
        **town.measures(found, reporting, listeners),
    )
    town.assert_sound(found, reporting, listeners)
