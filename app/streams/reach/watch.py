"""Reachability as one process keeps it: its shards, its rounds, and telling what has changed."""

import asyncio
import logging
from functools import partial
from hashlib import sha256
from pathlib import Path
from uuid import UUID

from app import clock
from app.announcements import Announcements
from app.database import LOST, Database
from app.errors import Refusal
from app.keys import Keys
from app.registry import sources
from app.registry.addresses import Networks, safe_source
from app.streams.reach import shards, telling
from app.streams.reach.knock import Door, knock
from app.streams.reach.rounds import Known, Rounds
from app.streams.writer import Writer

log = logging.getLogger("gwanje.reach")

LOAD_SECONDS = 60.0  # how often the register is read again
TELL_SECONDS = 1.0
_PAGE, _PIECE, _BREATH = 1000, 250, 50
_FIRST = UUID(int=0)


class Reach:
    """Knocks at cameras' doors for as long as `run` runs."""

    def __init__(
        self, database: Database, keys: Keys, writer: Writer, node: str, allowed: Networks, ca_file: Path | None,
        news: Announcements, *, period: float,
    ) -> None:  # fmt: skip
        self._database, self._keys, self._writer, self._node, self._allowed = database, keys, writer, node, allowed
        self.rounds = Rounds(partial(_knock, allowed=allowed, ca_file=ca_file), self._note, period=period)
        self._changes: list[tuple[UUID, bool, str]] = []
        self._doors: dict[UUID, tuple[bytes, Door | None]] = {}
        self._shards: set[int] = set()
        self._untold = asyncio.Event()
        news.wake(telling.ANY_UNTOLD, self._untold)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.rounds.run())
            group.create_task(self._keep_shards())
            group.create_task(self._keep_telling())

    def _note(self, door: Door, known: Known) -> None:
        self._changes += [(camera_id, known.lost, known.address or door.host) for camera_id in known.cameras]

    async def _keep_shards(self) -> None:
        left = 0.0
        try:
            while True:
                try:
                    held: set[int] = await self._writer.transact(partial(shards.hold, node=self._node))
                    if held != self._shards or left <= 0:
                        await self._load(held)
                        self._shards, left = held, LOAD_SECONDS
                except (Refusal, *LOST):
                    log.warning("the register could not be read; the cameras known before are looked after")
                await asyncio.sleep(shards.RENEW_SECONDS)
                left -= shards.RENEW_SECONDS
        finally:
            try:
                await asyncio.shield(self._writer.transact(partial(shards.give_up, node=self._node)))
            except (Refusal, *LOST):
                log.info("the leases run out by themselves")

    async def _load(self, held: set[int]) -> None:
        found: list[tuple[UUID, Door, bool]] = []
        doors: dict[UUID, tuple[bytes, Door | None]] = {}
        after = _FIRST
        while held:
            async with self._database.bare.acquire(timeout=1) as connection:
                page = await shards.cameras(connection, held, after, _PAGE)
            for number, (camera_id, sealed, lost) in enumerate(page):
                digest = sha256(sealed).digest()[:8]
                known = self._doors.get(camera_id)
                door = known[1] if known is not None and known[0] == digest else self._door(camera_id, sealed)
                doors[camera_id] = digest, door
                if door is not None:
                    found.append((camera_id, door, lost))
                if number % _BREATH == 0:
                    await asyncio.sleep(0)  # who is served meanwhile does not wait
            if len(page) < _PAGE:
                break
            after = page[-1][0]
        self._doors = doors
        self.rounds.look_after(found)

    def _door(self, camera_id: UUID, sealed: bytes) -> Door | None:
        try:
            source = safe_source(sources.unseal(self._keys, camera_id, "live", "main", sealed), self._allowed)
        except (Refusal, ValueError):
            return None  # it may not be spoken with any more
        return Door(source.scheme, source.host, source.port)

    async def _keep_telling(self) -> None:
        waiting = 0
        while True:
            if not self._changes and not self._untold.is_set():
                await clock.beat(TELL_SECONDS)
                continue
            self._untold.clear()
            try:
                while self._changes:
                    piece = self._changes[:_PIECE]
                    await self._writer.transact(partial(shards.write, changes=piece))
                    del self._changes[: len(piece)]
                before, waiting = waiting, await self._writer.transact(telling.tell)
                if before > waiting > 0:
                    continue  # a piece was told, and there are more
            except Refusal:
                log.warning("what has changed could not be told yet")
            await clock.beat(TELL_SECONDS)


async def _knock(door: Door, allowed: Networks, ca_file: Path | None) -> tuple[bool, str]:
    return await knock(door, allowed, ca_file)
