"""From the append of an event to its delivery on the feed, at rest and for an emergency in a storm.

At rest a single event is recorded, committed, numbered, announced, read and written to a socket, all by the service.
The floor is one durable insert of a row of the same shape with a NOTIFY in the same statement, heard by a bare asyncpg
listener; the same as BEGIN, INSERT, NOTIFY, COMMIT stands beside it.

In the storm a second process (this one, with a sequencer of its own) appends bursts that 1,000 listeners all want,
while emergencies are recorded in the service. How much longer they wait than at rest is told in what a burst takes: to
be numbered and read (one batch), and to be written to all listeners (one pass); each is the median of the same run.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import asyncpg
import uvloop
import websockets

from app import ledger
from app.database import APP_ROLE, plain_url
from app.events import record
from app.ids import new_id
from app.ledger import Sequencer
from bench.feed_house import Listeners, Parties, door, listeners, parties, report, serving
from bench.scene import conclude, scene, table, turns
from tests.processes import Service

ROUNDS, EACH, PAUSE_SECONDS = 10, 20, 0.01  # the pause is longer than the window in which a storm is gathered
LISTENERS, BURST, BURST_SECONDS = 1000, 50, 0.1
EMERGENCIES, BETWEEN_SECONDS = 15, (0.12, 0.3)
BARE, IN_TRANSACTION, OURS = "bare", "bare in BEGIN…COMMIT", "gwanje"
# A row of the same shape as those of the feed, in the same table.
INSERT = """INSERT INTO events (id, occurred_at, kind, source, severity, owner_agency_id, area_ids, data)
VALUES ($1, now(), 'camera.moved', 'bench', 1, $2, '{}', $3::jsonb)"""
_marks = (f"mark-{number}-end" for number in count(1))


class Reporter:
    """The door of the service that records one event."""

    def __init__(self, socket: websockets.ClientConnection, load: Listeners, watchers: int) -> None:
        self._socket, self._load, self._watchers = socket, load, watchers

    async def wait(self, kind: str) -> float:
        """Seconds from the report of an event of that kind until it was seen; of several watchers the median."""
        mark = next(_marks)
        await self._socket.send(json.dumps({"kind": kind, "mark": mark}))
        said = json.loads(await self._socket.recv())
        seen = median((await self._load.seen(mark, self._watchers)).values())
        return float(seen - said["began"])


@asynccontextmanager
async def _reporter(running: Service, house: Parties, number: int, watch: Sequence[int]) -> AsyncIterator[Reporter]:
    async with (
        listeners(running, house.token, number, watch) as load,
        websockets.connect(running.base_url.replace("http", "ws") + "/append", proxy=None) as socket,
    ):
        await socket.send(house.token)
        await socket.recv()
        yield Reporter(socket, load, len(watch))


@asynccontextmanager
async def _bare(house: Parties) -> AsyncIterator[dict[str, Callable[[], Awaitable[float]]]]:
    """The floors: a connection that inserts, and another one that listens."""
    settings = {"role": APP_ROLE, "timezone": "UTC", "jit": "off"}
    connect = [asyncpg.connect(plain_url(house.url), server_settings=settings) for _ in range(2)]
    writing, hearing = await asyncio.gather(*connect)
    heard: asyncio.Queue[float] = asyncio.Queue()
    await hearing.add_listener("bench", lambda *_: heard.put_nowait(perf_counter()))
    data = json.dumps(dict(report("camera.moved").data))
    once = f"WITH written AS ({INSERT} RETURNING id) SELECT pg_notify('bench', id::text) FROM written"

    async def at_once() -> float:
        began = perf_counter()
        await writing.execute(once, new_id(), house.actor.body_id, data)
        return await heard.get() - began

    async def in_transaction() -> float:
        began = perf_counter()
        async with writing.transaction():
            await writing.execute(INSERT, new_id(), house.actor.body_id, data)
            await writing.execute("SELECT pg_notify('bench', '')")
        return await heard.get() - began

    try:
        yield {BARE: at_once, IN_TRANSACTION: in_transaction}
    finally:
        await writing.close()
        await hearing.close()


async def _at_rest(running: Service, house: Parties) -> dict[str, list[float]]:
    """Single events, the contenders in turns."""
    async with _reporter(running, house, 1, [0]) as reporter, _bare(house) as floors:
        ways = {**floors, OURS: lambda: reporter.wait("camera.moved")}
        took: dict[str, list[float]] = {name: [] for name in ways}
        for number, order in enumerate(turns(ROUNDS + 1, list(ways))):
            for name in order:
                for _ in range(EACH):
                    wait = await ways[name]()
                    if number:  # the first round only warms up
                        took[name].append(wait)
                    await asyncio.sleep(PAUSE_SECONDS)
    return took


async def _storm(house: Parties, sequencer: Sequencer) -> None:
    """Bursts, one transaction each, until it is cancelled."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        async with house.database.begin() as session:
            await record.record_many(session, house.actor, [report("camera.moved") for _ in range(BURST)])
        sequencer.poke()
        due = max(due + BURST_SECONDS, loop.time())
        await asyncio.sleep(due - loop.time())


@asynccontextmanager
async def _raging(house: Parties) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        sequencer = Sequencer(house.database, ledger.EVENTS)
        for work in (sequencer.run(), _storm(house, sequencer)):
            stack.callback(asyncio.create_task(work).cancel)
        await asyncio.sleep(1)
        yield


@dataclass(frozen=True)
class Emergencies:
    """How long they took at rest and in the storm; what a burst takes to be numbered and read, and to be written."""

    rest: Sequence[float]
    storm: Sequence[float]
    batch: float
    one_pass: float


async def _emergencies(running: Service, house: Parties) -> Emergencies:
    chance = random.Random(4)
    rest: list[float] = []
    storm: list[float] = []
    numbered: list[float] = []
    times: dict[str, list[Any]] = {"passes": [], "reads": [], "numberings": []}
    number = ledger.sequence

    async def timed(*asked: Any) -> int:
        began = perf_counter()
        rows = await number(*asked)
        if rows >= BURST:
            numbered.append(perf_counter() - began)
        return rows

    async def some(reporter: Reporter) -> list[float]:
        waits = []
        for _ in range(EMERGENCIES):
            await asyncio.sleep(chance.uniform(*BETWEEN_SECONDS))
            waits.append(await reporter.wait("bell.pressed"))
        return waits

    watch = [LISTENERS * part // 10 for part in range(10)]
    ledger.sequence = timed
    async with _reporter(running, house, LISTENERS, watch) as reporter:
        await some(reporter)
        for _ in range(ROUNDS // 2):
            rest += await some(reporter)
            await door(running, "/times")
            async with _raging(house):
                storm += await some(reporter)
            for name, some_times in (await door(running, "/times")).items():
                times[name] += some_times
    ledger.sequence = number
    numbered += [seconds for rows, seconds in times["numberings"] if rows >= BURST]
    reads = [seconds for rows, seconds in times["reads"] if rows >= BURST]
    passes = [seconds for to, size, seconds in times["passes"] if to >= LISTENERS and size >= BURST * 400]
    return Emergencies(rest, storm, median(numbered) + median(reads), median(passes))


def _p99(seconds: Sequence[float]) -> float:
    return quantiles(seconds, n=100)[98]


def _report(took: dict[str, list[float]], emergencies: Emergencies) -> None:
    half = {name: median(waits) for name, waits in took.items()}
    most = {name: _p99(waits) for name, waits in took.items()}
    rows = [
        [name, half[name] * 1e3, half[name] / half[BARE], most[name] * 1e3, most[name] / most[BARE]] for name in took
    ]
    head = ("contender", "p50 ms", "× bare", "p99 ms", "× bare")
    table(f"append to delivered, single events at rest, {ROUNDS} rounds of {EACH}", head, rows)
    unit = emergencies.batch + emergencies.one_pass
    rest = median(emergencies.rest)
    extra = [wait - rest for wait in emergencies.storm]
    p50, p90 = median(extra), quantiles(extra, n=10)[8]
    head = ("at rest, ms", "storm: more by, p50 ms", "in units", "p90 ms", "in units")
    title = (
        f"an emergency among bursts of {BURST} every {BURST_SECONDS * 1e3:.0f} ms, {LISTENERS} listeners;"
        f" unit: a batch ({emergencies.batch * 1e3:.1f} ms) and a pass ({emergencies.one_pass * 1e3:.1f} ms)"
    )
    table(title, head, [[rest * 1e3, p50 * 1e3, p50 / unit, p90 * 1e3, p90 / unit]])
    ratios = {
        "p50_to_bare": half[OURS] / half[BARE],
        "p99_to_bare": most[OURS] / most[BARE],
        "p50_to_bare_in_transaction": half[OURS] / half[IN_TRANSACTION],
        "emergency_extra_p50_in_units": p50 / unit,
        "emergency_extra_p90_in_units": p90 / unit,
    }
    conclude("feed", ratios, ROUNDS * EACH)


async def main() -> None:
    with scene() as place:
        async with parties(place) as house, serving(place, "timed", house.url) as running:
            took = await _at_rest(running, house)
            emergencies = await _emergencies(running, house)
    _report(took, emergencies)


if __name__ == "__main__":
    uvloop.run(main())
