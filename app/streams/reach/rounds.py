"""The rounds: every door is knocked at once a period, spread over it; a door in doubt sooner; so many at a time.

A process looks after the parts of the cameras (shards) for which it has a lease. What it knows of a door is in its
memory; only changes of a camera are written, after several knocks that agree: who tells them is for `telling`.
"""

import asyncio
import heapq
import logging
import random
import resource
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

from app import clock
from app.streams.reach.knock import Door

log = logging.getLogger("gwanje.reach")

PERIOD_SECONDS = 30.0
MOST_AT_ONCE = 512
KNOCKS_TO_LOSE, KNOCKS_TO_RESTORE = 3, 2
DOUBT_SECONDS = 1.5  # between two knocks at a door in doubt, more or less
NEIGHBOURS_IN_DOUBT = 3  # so many in one network, and all of it is looked at now

Knock = Callable[[Door], Awaitable[tuple[bool, str]]]
Changed = Callable[[Door, "Known"], None]


@dataclass(slots=True)
class Known:
    """What is known of a door: the cameras behind it, whether it is lost, and how often it now said otherwise."""

    cameras: set[UUID] = field(default_factory=set)
    lost: bool = False
    against: int = 0
    address: str = ""
    due: float = 0.0
    knocking: bool = False


def most_at_once() -> int:
    """How many knocks at a time: a quarter of the files that this process may open, at most 512."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_AT_ONCE if soft == resource.RLIM_INFINITY else max(16, min(MOST_AT_ONCE, soft // 4))


class Rounds:
    """Knocks for as long as `run` runs. `changed` is told of a door that is lost or back."""

    def __init__(self, knock: Knock, changed: Changed, *, period: float = PERIOD_SECONDS, at_once: int = 0) -> None:
        self.known: dict[Door, Known] = {}
        self.knocks = 0
        self._knock, self._changed, self._period = knock, changed, period
        self._at_once = at_once or most_at_once()
        self._queue: list[tuple[float, int, Door]] = []
        self._count = 0
        self._sooner = asyncio.Event()
        self._doubts: Counter[str] = Counter()
        self._running: set[asyncio.Task[None]] = set()

    def look_after(self, cameras: Iterable[tuple[UUID, Door, bool]]) -> None:
        """From now on look after exactly these: camera, its door, and whether it was lost when last heard of."""
        wanted: dict[Door, Known] = {}
        for camera_id, door, lost in cameras:
            entry = wanted.setdefault(door, Known(lost=lost))
            entry.cameras.add(camera_id)
            entry.lost = entry.lost and lost
        for door, entry in wanted.items():
            if (old := self.known.get(door)) is not None:
                old.cameras = entry.cameras
                wanted[door] = old
        fresh = wanted.keys() - self.known.keys()
        for door in self.known.keys() - wanted.keys():
            self._settle_doubt(self.known[door], door)
        self.known = wanted
        now = clock.monotonic()
        for door in fresh:
            self._plan(door, now + random.random() * self._period)  # noqa: S311 - only spreads them

    async def run(self) -> None:
        try:
            while True:
                now = clock.monotonic()
                while self._queue and self._queue[0][0] <= now and len(self._running) < self._at_once:
                    due, _, door = heapq.heappop(self._queue)
                    entry = self.known.get(door)
                    if entry is not None and entry.due == due and not entry.knocking:
                        entry.knocking = True
                        task = asyncio.create_task(self._visit(door, entry))
                        self._running.add(task)
                        task.add_done_callback(self._running.discard)
                await self._wait(now)
        finally:
            for task in self._running:
                task.cancel()

    async def _wait(self, now: float) -> None:
        if len(self._running) >= self._at_once:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            return
        self._sooner.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(self._queue[0][0] - now, 0.005) if self._queue else None):
                await self._sooner.wait()

    def _plan(self, door: Door, due: float) -> None:
        self.known[door].due = due
        self._count += 1
        if not self._queue or due < self._queue[0][0]:
            self._sooner.set()
        heapq.heappush(self._queue, (due, self._count, door))

    async def _visit(self, door: Door, entry: Known) -> None:
        self.knocks += 1
        try:
            answered, address = await self._knock(door)
        except Exception:
            log.exception("a knock failed by an error")
            answered, address = not entry.lost, entry.address  # an error of ours says nothing of the camera
        entry.knocking = False
        if self.known.get(door) is not entry:
            return
        entry.address = address or entry.address
        in_doubt = entry.against > 0
        entry.against = entry.against + 1 if answered == entry.lost else 0
        if entry.against and not in_doubt:
            self._doubt(door, entry)
        elif in_doubt and not entry.against:
            self._settle_doubt(entry, door, counted=True)
        if entry.against >= (KNOCKS_TO_RESTORE if entry.lost else KNOCKS_TO_LOSE):
            self._settle_doubt(entry, door)
            entry.lost = not entry.lost
            entry.against = 0
            self._changed(door, entry)
        jitter = random.uniform(0.8, 1.2)  # noqa: S311 - only spreads them
        self._plan(door, clock.monotonic() + (DOUBT_SECONDS if entry.against else self._period) * jitter)

    def _doubt(self, door: Door, entry: Known) -> None:
        """One more door of a network is in doubt: of several, the whole network is looked at now."""
        network = network_of(entry.address or door.host)
        self._doubts[network] += 1
        if self._doubts[network] != NEIGHBOURS_IN_DOUBT:
            return
        now = clock.monotonic()
        for other, known in self.known.items():
            if network_of(known.address or other.host) == network and not known.knocking and known.due > now + 1:
                self._plan(other, now + random.random())  # noqa: S311 - only spreads them

    def _settle_doubt(self, entry: Known, door: Door, *, counted: bool = False) -> None:
        if entry.against or counted:
            network = network_of(entry.address or door.host)
            self._doubts[network] -= 1
            if self._doubts[network] <= 0:
                del self._doubts[network]


def network_of(address: str) -> str:
    """The network of an IPv4 address that usually shares a cable (its first 16 bits); a name stands for itself."""
    parts = address.split(".")
    return ".".join(parts[:2]) if len(parts) == 4 and parts[3].isdigit() else address  # noqa: PLR2004
