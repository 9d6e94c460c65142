"""Ordinary life, for an hour: clients come and go, events flow. Memory, files and tasks stay where they were."""

import asyncio
import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from app.database import Database
from app.settings import Settings
from tests.drills import town
from tests.drills.conftest import Tell
from tests.drills.sockets import Socket
from tests.processes import service

pytestmark = pytest.mark.slow
SETTLED = 0.25  # part of the time after which caches are full


@dataclass(frozen=True)
class Soak:
    """How long it takes, how often is looked, when the next client is cut, and by what part anything may grow."""

    seconds: float
    look_seconds: float
    cut_seconds: float
    most_growth: float


SHORT = Soak(seconds=12, look_seconds=0.3, cut_seconds=0.1, most_growth=0.2)
LONG = Soak(seconds=3600, look_seconds=10, cut_seconds=1, most_growth=0.03)


def pss_kib(pid: int) -> int:
    """What a process really holds of memory, shared pages in proportion."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise AssertionError("no Pss")


def files_of(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


async def tasks_of(base_url: str, workers: Sequence[int]) -> int:
    """The asyncio tasks of all workers, each asked over a connection of its own until all have answered."""
    found: dict[int, int] = {}
    async with asyncio.timeout(30):
        while set(found) < set(workers):
            async with httpx.AsyncClient(base_url=base_url, timeout=15) as client:
                text = (await client.get("/metrics")).text
            pid = re.search(r'^gwanje_process_info.*"(\d+)"', text, re.MULTILINE)
            tasks = re.search(r"^gwanje_tasks (\S+)", text, re.MULTILINE)
            assert pid is not None
            assert tasks is not None
            found[int(pid[1])] = int(float(tasks[1]))
    return sum(found.values())


def growth(values: Sequence[float]) -> float:
    """By which part of their middle the values grow over the time, along their line of best fit."""
    slope, _ = statistics.linear_regression(range(len(values)), values)
    return slope * len(values) / statistics.mean(values)


async def churn(lines: Sequence[Socket], over: asyncio.Event, every_seconds: float) -> None:
    """One after the other is cut, and comes back."""
    number = 0
    while not over.is_set():
        lines[number % len(lines)].drop()
        number += 1
        await asyncio.sleep(every_seconds)


@pytest.mark.parametrize(
    "soak",
    [
        pytest.param(SHORT, id="short", marks=pytest.mark.timeout(150)),
        pytest.param(LONG, id="hour", marks=[pytest.mark.drill, pytest.mark.timeout(5400)]),
    ],
)
async def test_life_leaves_no_trace(
    database: Database, database_url: str, kept: Path, settings: Settings, tell: Tell, soak: Soak
) -> None:
    place = await town.found(database, places=50)
    samples: dict[str, list[float]] = {"pss": [], "files": [], "tasks": []}
    async with (
        service(kept, workers=2, GWANJE_DATABASE_URL=database_url, GWANJE_LOG_LEVEL="warning") as running,
    ):
        reporting = await town.reporters(running.base_url, place, 2)
        listeners = await town.clients(running.base_url, place, 100)
        async with town.listening(running.base_url, listeners, bare=True) as lines:
            over = asyncio.Event()
            works = [asyncio.create_task(one.run(0, over, pace=0.1)) for one in reporting]
            works.append(asyncio.create_task(churn(lines, over, soak.cut_seconds)))
            workers, until = running.workers(), time.monotonic() + soak.seconds
            while time.monotonic() < until:
                await asyncio.sleep(soak.look_seconds)
                samples["pss"].append(sum(map(pss_kib, workers)))
                samples["files"].append(sum(map(files_of, workers)))
                samples["tasks"].append(await tasks_of(running.base_url, workers))
            assert running.workers() == workers, "a worker was replaced"
            over.set()
            await asyncio.gather(*works)
            await town.all_live(listeners, 30)
            await town.heard_all(place, listeners, 60)
    found = await town.verdict(place, settings.secret_key, reporting, listeners)
    grown = {name: growth(values[int(len(values) * SETTLED) :]) for name, values in samples.items() if values}
    tell(
        "soak",
        minutes=soak.seconds / 60,
        **{"pss MiB": samples["pss"][-1] / 1024, **{f"{name} growth": part for name, part in grown.items()}},
        **town.measures(found, reporting, listeners),
    )
    town.assert_sound(found, reporting, listeners)
    assert {name for name, part in grown.items() if part > soak.most_growth} == set()


def test_a_leak_is_found() -> None:
    values = [100 + (number * 7919) % 5 for number in range(360)]  # as memory wavers
    assert abs(growth(values)) < LONG.most_growth / 3
    assert growth([value * (1 + 0.05 * number / 360) for number, value in enumerate(values)]) > LONG.most_growth
