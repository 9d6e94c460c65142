"""An hour of ordinary life: clients come and go, events flow. Memory, files and tasks stay where they were."""

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
from tests.drills.conftest import Tell
from tests.drills.sockets import Socket
from tests.processes import service

pytestmark = [pytest.mark.slow, pytest.mark.drill, pytest.mark.timeout(5400)]

SECONDS = 3600.0
SAMPLE_SECONDS = 10.0
WARM = 0.25  # of the time, in which caches fill


def pss_kib(pid: int) -> int:
    """What a process really holds of memory, shared pages in proportion."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise AssertionError("no Pss")


def files_of(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


async def tasks_of(client: httpx.AsyncClient) -> int | None:
    """The asyncio tasks of the worker that answers, where it tells them."""
    for line in (await client.get("/metrics")).text.splitlines():
        if line.startswith("gwanje_tasks "):
            return int(float(line.split()[1]))
    return None


def growth(values: Sequence[float]) -> float:
    """By which part of their middle the values grow over the time, along their line of best fit."""
    slope, _ = statistics.linear_regression(range(len(values)), values)
    return slope * len(values) / statistics.mean(values)


async def churn(lines: Sequence[Socket], over: asyncio.Event) -> None:
    """Every second one of them is cut, and comes back."""
    number = 0
    while not over.is_set():
        lines[number % len(lines)].drop()
        number += 1
        await asyncio.sleep(1)


async def test_an_hour_leaves_no_trace(
    database: Database, database_url: str, kept: Path, settings: Settings, tell: Tell
) -> None:
    place = await town.found(database, places=50)
    samples: dict[str, list[float]] = {"pss": [], "files": [], "tasks": []}
    async with (
        service(kept, workers=2, GWANJE_DATABASE_URL=database_url, GWANJE_LOG_LEVEL="warning") as running,
        httpx.AsyncClient(base_url=running.base_url, timeout=15) as client,
    ):
        reporting = await town.reporters(running.base_url, place, 2)
        listeners = await town.clients(running.base_url, place, 100)
        async with town.listening(running.base_url, listeners, bare=True) as lines:
            over = asyncio.Event()
            works = [asyncio.create_task(one.run(0, over, pace=0.1)) for one in reporting]
            works.append(asyncio.create_task(churn(lines, over)))
            workers, until = running.workers(), time.monotonic() + SECONDS
            while time.monotonic() < until:
                await asyncio.sleep(SAMPLE_SECONDS)
                samples["pss"].append(sum(map(pss_kib, workers)))
                samples["files"].append(sum(map(files_of, workers)))
                if (tasks := await tasks_of(client)) is not None:
                    samples["tasks"].append(tasks)
            assert running.workers() == workers, "a worker was replaced"
            over.set()
            await asyncio.gather(*works)
            await town.all_live(listeners, 30)
            await town.heard_all(place, listeners, 60)
    found = await town.verdict(place, settings.secret_key, reporting, listeners)
    grown = {name: growth(values[int(len(values) * WARM) :]) for name, values in samples.items() if values}
    tell(
        "soak",
        minutes=SECONDS / 60,
        **{"pss MiB": samples["pss"][-1] / 1024, **{f"{name} growth": part for name, part in grown.items()}},
        **town.measures(found, reporting, listeners),
    )
    town.assert_sound(found, reporting, listeners)
    assert grown["pss"] < 0.03, "memory grows"
    assert grown["files"] < 0.05, "files are left open"
    assert grown.get("tasks", 0.0) < 0.05, "tasks are left behind"
