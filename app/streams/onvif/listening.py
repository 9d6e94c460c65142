"""Who listens to which camera: leases in the database, one task a camera, so many a process; begun again when lost."""

import asyncio
import logging
import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from uuid import UUID

import asyncpg

from app.database import LOST, Database
from app.errors import Refusal
from app.events import record
from app.events.report import Report
from app.keys import Keys
from app.registry import controls
from app.registry.addresses import Networks, safe_source
from app.streams.onvif.device import Device
from app.streams.onvif.pullpoint import Ear, listen
from app.streams.writer import Writer

log = logging.getLogger("gwanje.onvif")

MOST_LISTENED = 500  # cameras that one process listens to
MOST_TAKEN = 50  # at a time, so that several processes share
LEASE_SECONDS, RENEW_SECONDS = 15.0, 4.0
AGAIN_SECONDS, MOST_AGAIN_SECONDS = 2.0, 120.0
_RENEW = """
UPDATE camera_controls SET leased_until = now() + make_interval(secs => $2)
WHERE leased_by = $1 AND leased_until > now() AND listens RETURNING camera_id, bell_id, changed_at
"""
_TAKE = """
UPDATE camera_controls SET leased_by = $1, leased_until = now() + make_interval(secs => $2)
WHERE camera_id IN (
    SELECT k.camera_id FROM camera_controls k JOIN camera_positions p ON p.id = k.camera_id AND p.retired_at IS NULL
    WHERE k.listens AND (k.leased_until IS NULL OR k.leased_until < now())
    ORDER BY k.camera_id LIMIT $3 FOR UPDATE OF k SKIP LOCKED
) RETURNING camera_id, bell_id, changed_at
"""


class Listening:
    """Listens to the cameras that are configured for it, for as long as `run` runs."""

    def __init__(
        self, database: Database, keys: Keys, writer: Writer, node: str, allowed: Networks, ca_file: Path | None
    ) -> None:
        self._database, self._keys, self._writer, self._node = database, keys, writer, node
        self._allowed, self._ca_file = allowed, ca_file
        self._tasks: dict[tuple[UUID, object], asyncio.Task[None]] = {}

    async def run(self) -> None:
        try:
            while True:
                try:
                    await self._share()
                except (Refusal, *LOST):
                    log.warning("leases of listening could not be renewed; who else is there takes over")
                    self._stop(set(self._tasks))
                await asyncio.sleep(RENEW_SECONDS)
        finally:
            self._stop(set(self._tasks))

    async def _share(self) -> None:
        room = min(MOST_TAKEN, MOST_LISTENED - len(self._tasks))

        async def work(connection: asyncpg.Connection) -> list[asyncpg.Record]:
            kept = await connection.fetch(_RENEW, self._node, LEASE_SECONDS)
            fresh = await connection.fetch(_TAKE, self._node, LEASE_SECONDS, max(0, room))
            return [*kept, *fresh]

        rows: list[asyncpg.Record] = await self._writer.transact(work)
        wanted = {(row["camera_id"], row["changed_at"]): row["bell_id"] for row in rows}
        self._stop(set(self._tasks) - set(wanted))
        for key, bell_id in wanted.items():
            if key not in self._tasks:
                self._tasks[key] = asyncio.create_task(self._keep(key[0], bell_id))

    def _stop(self, keys: set[tuple[UUID, object]]) -> None:
        for key in keys:
            self._tasks.pop(key).cancel()

    async def _keep(self, camera_id: UUID, bell_id: UUID | None) -> None:
        """Listen to one camera, again and again; the pauses grow while it does not answer."""
        ear, pause = Ear(camera_id, bell_id), AGAIN_SECONDS
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                control = await controls.of(self._database, self._keys, camera_id)
                device = await Device.open(safe_source(control.address, self._allowed), self._allowed, self._ca_file)
                await device.begin(control.services)
                await listen(device, ear, self._tell)
            except (Refusal, *LOST) as error:
                said = error.detail if isinstance(error, Refusal) else type(error).__name__
                log.info("a camera is not listened to for now: %s", said)
            except Exception:
                log.exception("listening to a camera ended by an error")
            pause = AGAIN_SECONDS if loop.time() - began > MOST_AGAIN_SECONDS else min(pause * 2, MOST_AGAIN_SECONDS)
            await asyncio.sleep(pause * random.uniform(0.7, 1.3))  # noqa: S311 - only spreads them

    async def _tell(self, reports: Sequence[Report]) -> None:
        await self._writer.transact(partial(_record, reports=reports))


async def _record(connection: asyncpg.Connection, reports: Sequence[Report]) -> None:
    await record.record_many(connection, None, reports)
