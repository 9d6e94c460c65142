"""Events are reported and heard while workers, the database, its connections or the way to it fail. None is lost."""

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest
from sqlalchemy import make_url

from app import database as db
from app import postgres
from app.database import Database
from app.settings import Settings
from tests.conftest import Databases
from tests.drills import town
from tests.drills.conftest import Crew, Tell
from tests.drills.proxy import Proxy, proxy, to_socket
from tests.drills.town import Town
from tests.processes import Service, service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

Size = tuple[int, int, int, int]  # events, places, subscribers, workers
SHORT: Size = (1000, 10, 30, 2)
LONG: Size = (10_000, 50, 200, 4)
REPORTERS = 4
PATIENCE = 4.0  # seconds: a no within three, and what a busy machine adds
DRILL = [pytest.mark.drill, pytest.mark.timeout(3600)]
NO_FAULT: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(0)  # noqa: E731


async def run(
    name: str,
    running: Service,
    place: Town,
    secret_key: bytes,
    size: Size,
    tell: Tell,
    *,
    faults: Callable[[], Awaitable[None]] = NO_FAULT,
    settle: float = 60,
    beats: bool = False,
    **told: object,
) -> None:
    """Report and listen while the faults run, come to rest, judge, tell."""
    events, _, subscribers, _ = size
    began = time.monotonic()
    reporting = await town.reporters(running.base_url, place, REPORTERS)
    listeners = await town.clients(running.base_url, place, subscribers)
    async with town.listening(running.base_url, listeners):
        over = asyncio.Event()
        works = [asyncio.create_task(one.run(events // REPORTERS, over)) for one in reporting]
        try:
            await faults()
        finally:
            over.set()
            await asyncio.gather(*works)
        await town.heard_all(place, listeners, settle, beats=beats)
    found = await town.verdict(place, secret_key, reporting, listeners)
    slowest = max(one.slowest for one in reporting)
    tell(
        name,
        seconds=time.monotonic() - began,
        **town.measures(found, reporting, listeners),
        **{"slowest answer": slowest},
        **told,
    )
    if not found.clean:
        sys.stderr.write(running.log.read_text()[-20_000:])
    town.assert_sound(found, reporting, listeners)
    if faults is not NO_FAULT and "cuts" in told:
        assert found.resumed > 0, "nobody was ever cut: the faults did not bite"


@pytest.mark.parametrize("size", [SHORT, pytest.param(LONG, marks=DRILL)])
async def test_nothing_is_lost_repeated_or_out_of_order(
    database: Database, crew: Crew, settings: Settings, size: Size, tell: Tell
) -> None:
    place, running = await town.found(database, places=size[1]), await crew(size[3])
    await run("R1 no fault", running, place, settings.secret_key, size, tell, beats=True)


@pytest.mark.parametrize(("size", "kills"), [(SHORT, 6), pytest.param(LONG, 50, marks=DRILL)])
async def test_nothing_is_lost_when_workers_are_killed(
    database: Database, crew: Crew, settings: Settings, size: Size, kills: int, tell: Tell
) -> None:
    place, running = await town.found(database, places=size[1]), await crew(size[3])

    async def kill() -> None:
        for _ in range(kills):
            await asyncio.sleep(random.uniform(0.3, 0.8))
            if workers := running.workers():
                with suppress(ProcessLookupError):
                    os.kill(random.choice(workers), signal.SIGKILL)

    await run("R2 workers killed", running, place, settings.secret_key, size, tell, faults=kill, cuts=kills)


def postmaster(home: Path) -> int:
    record = json.loads((home / "postgres.json").read_text())
    return int((home / record["base"] / "data" / "postmaster.pid").read_text().split()[0])


@pytest.mark.parametrize(("size", "kills"), [((400, 10, 20, 2), 2), pytest.param(LONG, 20, marks=DRILL)])
async def test_nothing_is_lost_when_postgresql_is_killed(home: Path, size: Size, kills: int, tell: Tell) -> None:
    away: list[float] = []
    async with service(home, workers=size[3], GWANJE_LOG_LEVEL="warning") as running:
        with postgres.start(Settings(home=home)) as use:
            async with db.connect(use.server.app_url) as base:
                place = await town.found(base, places=size[1])

        async def kill() -> None:
            for _ in range(kills):
                await asyncio.sleep(random.uniform(0.5, 2))
                os.kill(postmaster(home), signal.SIGKILL)
                began = time.monotonic()
                await asyncio.sleep(0.2)
                await running.ready()
                away.append(time.monotonic() - began)

        secret_key = Settings(home=home).secret_key
        await run("R3 PostgreSQL killed", running, place, secret_key, size, tell, faults=kill, back=away)
    assert max(away) < 20, "PostgreSQL took long to come back"


@pytest.mark.parametrize(("size", "cuts"), [(SHORT, 6), pytest.param(LONG, 50, marks=DRILL)])
async def test_nothing_is_lost_when_the_news_is_cut_off(
    databases: Databases, database: Database, database_url: str, crew: Crew, settings: Settings, size: Size, cuts: int,
    tell: Tell,
) -> None:  # fmt: skip
    place, running = await town.found(database, places=size[1]), await crew(size[3])
    superuser = await databases.superuser(make_url(database_url).database or "")
    ended: list[int] = []

    async def cut() -> None:
        while sum(ended) < cuts:  # who connects again just then cannot be cut
            await asyncio.sleep(random.uniform(0.2, 0.8))
            ended.append(
                await superuser.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                    " WHERE application_name = 'gwanje-listen' AND datname = current_database()"
                )
            )

    try:
        await run(
            "R5 LISTEN cut", running, place, settings.secret_key, size, tell, faults=cut, settle=20, cut_times=cuts
        )
    finally:
        await superuser.close()
    assert sum(ended) >= cuts, "there was nothing to cut"


def through(link: Proxy, url: str) -> str:
    """The database's address through the proxy."""
    parts = urlsplit(url)
    return f"postgresql://{parts.username}:{quote(parts.password or '')}@127.0.0.1:{link.port}{parts.path}"


@pytest.mark.parametrize(
    ("size", "seconds"), [((600, 10, 20, 2), (6.0,)), pytest.param(LONG, (30.0, 5.0, 30.0), marks=DRILL)]
)
async def test_nothing_is_lost_when_the_database_is_cut_off(
    database: Database, database_url: str, kept: Path, settings: Settings, size: Size, seconds: tuple[float, ...],
    tell: Tell,
) -> None:  # fmt: skip
    place = await town.found(database, places=size[1])
    folder = parse_qs(urlsplit(database_url).query)["host"][0]
    answers: list[float] = []
    statuses: set[int | str] = set()

    async def ask(client: httpx.AsyncClient) -> None:
        began = time.monotonic()
        try:
            statuses.add((await client.get("/v1/agencies")).status_code)
        except httpx.HTTPError as error:
            statuses.add(type(error).__name__)
        answers.append(time.monotonic() - began)

    async with proxy(to_socket(f"{folder}/.s.PGSQL.5432")) as link:
        async with service(
            kept, workers=size[3], GWANJE_DATABASE_URL=through(link, database_url), GWANJE_LOG_LEVEL="error"
        ) as running:

            async def part() -> None:
                headers = {"Authorization": f"Bearer {await town.token_of(running.base_url, place.operators[0])}"}
                async with httpx.AsyncClient(base_url=running.base_url, timeout=12, headers=headers) as client:
                    for length in seconds:
                        await asyncio.sleep(1)
                        link.freeze()
                        asking = []
                        for _ in range(int((length - PATIENCE) * 2)):
                            asking.append(asyncio.create_task(ask(client)))
                            await asyncio.sleep(0.5)
                        await asyncio.sleep(PATIENCE)
                        link.thaw()
                        await asyncio.gather(*asking)

            await run("R8 partition", running, place, settings.secret_key, size, tell, faults=part, partitions=seconds)
    tell("R8 answers meanwhile", count=len(answers), longest=max(answers), statuses=sorted(map(str, statuses)))
    assert statuses == {503}
    assert max(answers) <= PATIENCE, "who asks while the database is cut off waits for long"
