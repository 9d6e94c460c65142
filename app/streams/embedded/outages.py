"""Cameras that are lost and come back, told to the event ledger: once a transition, not once a viewer."""

import asyncio
import logging
from uuid import UUID

from app import clock
from app.database import LOST, Database
from app.errors import Refusal
from app.events import record
from app.events.record import Report

log = logging.getLogger("gwanje.edge")
SOURCE = "gwanje/edge"


class Outages:
    """Tells of cameras by the names that `Pulls` gives them: "<camera id>/<profile>"."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._telling: set[asyncio.Task[None]] = set()

    def lost(self, name: str, detail: str) -> None:
        self._tell("camera.lost", name, {"detail": detail})

    def restored(self, name: str) -> None:
        self._tell("camera.restored", name, {})

    def _tell(self, kind: str, name: str, data: dict[str, str]) -> None:
        camera, _, profile = name.partition("/")
        report = Report(
            kind=kind, source=SOURCE, source_key=f"{name}/{kind}/{clock.now().isoformat()}", occurred_at=clock.now(),
            subject_kind="cameras", subject_id=UUID(camera), data={**data, "profile": profile},
        )  # fmt: skip
        task = asyncio.create_task(self._record(report))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _record(self, report: Report) -> None:
        """Numbered within the second, by whichever sequencer looks next."""
        try:
            async with self._database.begin() as session:
                await record.record(session, None, report)
        except (*LOST, Refusal) as error:
            log.warning("%s could not be told: %s", report.kind, type(error).__name__)
