"""Clients that do not read and clients that are gone without a word: the others do not notice, the server does."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from app.database import Database
from app.settings import Settings
from tests.drills import town
from tests.drills.client import Resuming
from tests.drills.conftest import Tell
from tests.drills.proxy import proxy, to_port
from tests.drills.reporters import Reporter
from tests.drills.sockets import Socket
from tests.drills.town import Town
from tests.processes import service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PADDING = "가" * 1300  # three texts of it make an event of 12 KB

TOGETHER = 10


async def members(client: httpx.AsyncClient) -> int:
    """How many clients the (only) worker counts on its feed."""
    for line in (await client.get("/metrics")).text.splitlines():
        if line.startswith("gwanje_feed_members "):
            return int(float(line.split()[1]))
    raise AssertionError("the metric is gone")


async def until_members(client: httpx.AsyncClient, most: int, seconds: float) -> float:
    """Wait until no more than so many are counted; returns how long that took."""
    began = time.monotonic()
    while await members(client) > most:
        assert time.monotonic() - began < seconds, f"{await members(client)} members after {seconds} s"
        await asyncio.sleep(0.1)
    return time.monotonic() - began


class Phase:
    """A stretch of time in which probes go to everybody and a flood to those who asked for it."""

    def __init__(self, reporter: Reporter, probed: Sequence[Resuming], client: httpx.AsyncClient) -> None:
        self.reporter, self.probed, self.client = reporter, probed, client

    async def latencies(self, probes: int, flood: int) -> list[float]:
        """Seconds from reporting each probe until each client heard it, while a flood of large events goes by."""
        marks = [len(one.record.hearings) for one in self.probed]
        flooding = asyncio.create_task(self._flood(flood))
        keys = set()
        for _ in range(probes):
            keys.add((await self.reporter.send(self.client, place="place 0")).key)
            await asyncio.sleep(0.02)
        await flooding
        async with asyncio.timeout(30):
            while True:
                found = [
                    hearing.at - self.reporter.sent_at[hearing.key]
                    for one, mark in zip(self.probed, marks, strict=True)
                    for hearing in one.record.hearings[mark:]
                    if hearing.key in keys
                ]
                if len(found) >= probes * len(self.probed):
                    return found
                await asyncio.sleep(0.05)

    async def _flood(self, events: int) -> None:
        for _ in range(events // TOGETHER):
            await self.reporter.send(self.client, place="place 1", padding=PADDING, together=TOGETHER)


def percentile(values: Sequence[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def wanting(place: Town, name: str, token: str, wanted: str | None) -> Resuming:
    if wanted is None:
        return Resuming(name, token, [{"id": "all"}])
    return Resuming(name, token, [{"id": "one", "areas": [str(place.areas[wanted])]}], [frozenset({wanted})])


@pytest.mark.parametrize(
    ("sockets", "slow", "probes", "flood", "rounds"),
    [
        (40, 2, 40, 600, 1),
        pytest.param(500, 25, 100, 700, 5, marks=[pytest.mark.drill, pytest.mark.timeout(3600)]),
    ],
)
async def test_who_never_reads_holds_nobody_and_recovers(
    database: Database, database_url: str, kept: Path, settings: Settings, sockets: int, slow: int, probes: int,
    flood: int, rounds: int, tell: Tell,
) -> None:  # fmt: skip
    """The slow want the flood of large events, the others small probes; rounds with and without them take turns."""
    place = await town.found(database, places=2)
    async with (
        service(kept, GWANJE_DATABASE_URL=database_url, GWANJE_LOG_LEVEL="warning") as running,
        httpx.AsyncClient(base_url=running.base_url, timeout=15) as client,
    ):
        reporter = (await town.reporters(running.base_url, place, 1))[0]
        token = await town.token_of(running.base_url, place.operators[0])
        quick = [wanting(place, f"q{number}", token, "place 0") for number in range(sockets - slow)]
        slower = [wanting(place, f"slow{number}", token, None) for number in range(slow)]
        phase = Phase(reporter, quick, client)
        without: list[list[float]] = []
        beside: list[list[float]] = []
        gone: list[float] = []
        async with town.listening(running.base_url, quick, bare=True):
            await phase.latencies(10, 10)  # warm
            for _ in range(rounds):
                without.append(await phase.latencies(probes, flood))
                lines = [Socket(running.base_url, one, small=True) for one in slower]
                for one in slower:
                    one.live.clear()  # who was cancelled was not told that its line is gone
                tasks = [asyncio.create_task(line.run()) for line in lines]
                try:
                    await town.all_live(slower, 30)
                    for line in lines:
                        line.stall()
                    beside.append(await phase.latencies(probes, flood))
                    gone.append(await until_members(client, len(quick), 20))
                    for line in lines:
                        line.go_on()
                    await town.heard_all(place, slower, 60)
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
            await town.heard_all(place, quick, 30)
        found = await town.verdict(place, settings.secret_key, [reporter], [*quick, *slower])
    p50, p99 = (
        statistics.median(percentile(one, part) for one in beside)
        / statistics.median(percentile(one, part) for one in without)
        for part in (0.5, 0.99)
    )
    tell(
        "R6 who never reads",
        **{
            "p50 without": statistics.median(percentile(one, 0.5) for one in without),
            "p99 without": statistics.median(percentile(one, 0.99) for one in without),
            "p50 ratio": p50,
            "p99 ratio": p99,
            "said behind": sum(one.said_behind for one in slower),
            "closed 4310": sum(one.codes[4310] for one in slower),
            "cut": sum(one.codes[None] for one in slower),
            "gone after": max(gone),
        },
        **town.measures(found, [reporter], [*quick, *slower]),
    )
    town.assert_sound(found, [reporter], [*quick, *slower])
    assert all(one.codes[4310] + one.codes[None] >= rounds for one in slower), "one that did not read was kept"
    assert sum(one.said_behind for one in slower) == sum(one.codes[4310] for one in slower)
    assert not any(sum(one.codes.values()) for one in quick), "one that reads was sent away"
    if rounds > 1:
        assert p99 <= 1.2, "those who read waited for those who do not"


@pytest.mark.parametrize(
    ("sockets", "silent"), [(20, 5), pytest.param(500, 100, marks=[pytest.mark.drill, pytest.mark.timeout(600)])]
)
async def test_who_is_gone_without_a_word_is_noticed(
    database: Database, database_url: str, kept: Path, settings: Settings, sockets: int, silent: int, tell: Tell
) -> None:
    place = await town.found(database, places=2)
    async with (
        service(kept, GWANJE_DATABASE_URL=database_url, GWANJE_LOG_LEVEL="warning") as running,
        httpx.AsyncClient(base_url=running.base_url, timeout=15) as client,
        proxy(to_port(int(running.base_url.rpartition(":")[2]))) as link,
    ):
        reporting = await town.reporters(running.base_url, place, 1)
        listeners = await town.clients(running.base_url, place, sockets)
        there, away = listeners[silent:], listeners[:silent]
        over = asyncio.Event()
        async with (
            town.listening(running.base_url, there, bare=True),
            town.listening(f"http://127.0.0.1:{link.port}", away, bare=True),
        ):
            work = asyncio.create_task(reporting[0].run(20, over, pace=0.1))
            assert await members(client) == sockets
            link.freeze()
            noticed = await until_members(client, len(there), 40)
            link.thaw()
            over.set()
            await work
            await town.all_live(away, 30)
            await town.heard_all(place, listeners, 30)
    found = await town.verdict(place, settings.secret_key, reporting, listeners)
    tell("R7 half open", silent=silent, **{"noticed after": noticed}, **town.measures(found, reporting, listeners))
    town.assert_sound(found, reporting, listeners)
    assert not any(sum(one.codes.values()) for one in there), "one that is there was sent away"
    assert noticed <= 15.3, "half-open sockets are noticed within 15 s (and what it takes to ask)"
