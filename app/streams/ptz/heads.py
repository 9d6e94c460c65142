"""The heads as one process turns them: cameras it has spoken with, and looking after heads that are left."""

import asyncio
import logging
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from app.access.sessions import REVOKED
from app.announcements import Announcements
from app.database import Database
from app.errors import CameraOffline, Refusal
from app.keys import Keys
from app.registry import controls
from app.registry.addresses import Networks, safe_source
from app.streams.onvif.device import Device, Move, Preset
from app.streams.ptz import leases, moves
from app.streams.writer import Writer

log = logging.getLogger("gwanje.ptz")

MOST_KNOWN = 256  # cameras that a process remembers how to speak with
OFTEN_SECONDS = 0.5  # how often leases are looked at while there are any
MOST_SETTLED = 32  # heads that are stopped or brought home at once


class Heads:
    """Turns cameras for as long as `run` runs, and ends leases whose reason is gone within a second."""

    def __init__(
        self, database: Database, keys: Keys, writer: Writer, news: Announcements, allowed: Networks,
        ca_file: Path | None,
    ) -> None:  # fmt: skip
        self._database, self._keys, self._writer, self._allowed, self._ca_file = (
            database, keys, writer, allowed, ca_file,
        )  # fmt: skip
        self._known: OrderedDict[UUID, tuple[Any, Device, str]] = OrderedDict()
        self._wanted = asyncio.Event()
        news.on(leases.PTZ, lambda _: self._wanted.set())
        news.on(REVOKED, lambda _: self._wanted.set())
        news.wake(moves.ANYTHING, self._wanted)

    async def drive(self, camera_id: UUID, move: Move, seconds: float) -> None:
        """Send one command to a camera that `prepare` has learnt to know. Raises CameraOffline."""
        if camera_id not in self._known:
            raise CameraOffline("the camera has to be spoken with first; try again")
        _, device, profile = self._known[camera_id]
        await device.move(profile, move, seconds)

    async def prepare(self, camera_id: UUID) -> None:
        """Learn how to speak with a camera, unless that is known: before a turn is taken, since it takes its time."""
        control = await controls.of(self._database, self._keys, camera_id)
        known = self._known.get(camera_id)
        if known is not None and known[0] == control.changed_at:
            self._known.move_to_end(camera_id)
            return
        device = await Device.open(safe_source(control.address, self._allowed), self._allowed, self._ca_file)
        await device.begin(control.services)
        profile = control.profile
        if not profile:
            offered = await device.profiles()
            profile = next((one.token for one in offered if one.turns), offered[0].token if offered else "")
            if not profile:
                raise CameraOffline("the camera cannot be turned: it names no profile")
            await controls.learnt(self._database, camera_id, device.services, profile, control.changed_at)
        self._known[camera_id] = control.changed_at, device, profile
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)

    async def presets(self, camera_id: UUID) -> list[Preset]:
        await self.prepare(camera_id)
        _, device, profile = self._known[camera_id]
        return await device.presets(profile)

    async def run(self) -> None:
        """End what is over, stop what has run out, bring home what nobody drives."""
        while True:
            self._wanted.clear()
            standing = await self.look()
            with suppress(TimeoutError):
                async with asyncio.timeout(OFTEN_SECONDS if standing else None):
                    await self._wanted.wait()

    async def look(self) -> int:
        """One round; returns how many leases stand and heads wait."""
        try:
            standing: int = await self._writer.transact(moves.end_those_over)
            needy: list[UUID] = await self._writer.transact(moves.heads_in_need)
        except Refusal:
            return 1
        for start in range(0, len(needy), MOST_SETTLED):
            await asyncio.gather(*(self._settle(camera_id) for camera_id in needy[start : start + MOST_SETTLED]))
        return standing + len(needy)

    async def _settle(self, camera_id: UUID) -> None:
        try:
            await self.prepare(camera_id)
        except Refusal as refusal:
            log.warning("a head is left where it is: %s", refusal.detail)
        try:
            await moves.settle(self._writer, self.drive, camera_id)
        except Refusal as refusal:
            log.warning("a head is left where it is for now: %s", refusal.detail)
