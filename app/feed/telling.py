"""The owner of a camera is told when others are permitted to view it, and when they do: out of the audit log.

So nothing is written twice on the way to footage. What is told follows the log's order, once, whichever process tells
it, and only the owner's people hear it: whom else the police watch is nobody's business.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app import ledger
from app.announcements import Announcements
from app.database import LOST, Database, fetch
from app.errors import Refusal
from app.events import record
from app.events.catalogue import KINDS
from app.events.report import OWNERS_ONLY, Report
from app.models import Telling

log = logging.getLogger("gwanje.telling")

TOPIC = "footage"
ACTS = ("grant.given", "grant.revoked", "view.opened", "view.closed")
AT_ONCE = 1000
EACH_SECONDS = 0.2
_ANY_UNTOLD = f"""
SELECT EXISTS (SELECT FROM tellings t, ledger_heads h
    WHERE t.topic = '{TOPIC}' AND h.ledger = 'audit' AND t.position < h.position)
"""  # noqa: S608 - our own name
_ENTRIES = """
SELECT l.position, e.id, e.at, e.act, e.camera_id, e.agency_id, e.subject_kind, e.subject_id, e.restriction,
    e.payload::text
FROM audit_leaves l JOIN audit_entries e ON e.id = l.id AND e.at = l.at
JOIN agencies owner ON owner.id = e.owner_agency_id AND owner.body_id <> e.agency_id
WHERE l.position > $1 AND l.position <= $2 AND e.act = ANY($3::text[]) AND e.camera_id IS NOT NULL
ORDER BY l.position
"""


class Footage:
    """Tells for as long as `run` runs. `wrote` is called after each commit."""

    def __init__(self, database: Database, news: Announcements, wrote: Callable[[], None]) -> None:
        self._database, self._wrote = database, wrote
        self._wanted = asyncio.Event()
        news.on("ledger", self._hear)
        news.wake(_ANY_UNTOLD, self._wanted)

    def _hear(self, message: str) -> None:
        if message.partition(" ")[0] in ("", ledger.AUDIT.name):
            self._wanted.set()

    async def run(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                while await self.tell() == AT_ONCE:
                    pass
            except LOST as error:
                log.warning("what was done with footage is told later: %s", type(error).__name__)
            await asyncio.sleep(EACH_SECONDS)

    async def tell(self) -> int:
        """Tell of the next entries; returns how many were looked at, 0 while another process is at it."""
        async with self._database.begin() as session:
            looked, told = await _tell(session)
        if told:
            self._wrote()
        return looked


async def _tell(session: AsyncSession) -> tuple[int, int]:
    telling = await session.scalar(select(Telling).where(Telling.topic == TOPIC).with_for_update(skip_locked=True))
    if telling is None:
        return 0, 0
    end = await session.scalar(text("SELECT position FROM ledger_heads WHERE ledger = 'audit'"))
    until = min(telling.position + AT_ONCE, end or 0)
    if until <= telling.position:
        return 0, 0
    reports = [_report(row) for row in await fetch(session, _ENTRIES, telling.position, until, list(ACTS))]
    told, _ = await record.record_all(session, [(None, [report]) for report in reports]) if reports else ((), ())
    for outcome in told:
        if isinstance(outcome, Refusal):
            log.warning("what was done with footage could not be told: %s", outcome.detail)
    looked, telling.position = until - telling.position, until
    return looked, len(reports)


def _report(row: Any) -> Report:
    _, entry_id, at, act, camera_id, agency_id, subject_kind, subject_id, restriction, payload = row
    said: Mapping[str, Any] = orjson.loads(payload) if payload else {}  # it may have been erased
    known = {"grant_id": said.get("grant_id"), "agency_id": str(agency_id)}
    known |= {name: said.get(name) for name in ("cause", "seconds")}
    if not restriction:  # who and why is then for few, as in every other place: see audit.restricted
        known |= {"by": said.get("login"), "purpose": said.get("purpose")}
    known |= {f"{subject_kind}_id": str(subject_id)} if subject_kind in ("grant", "view") else {}
    names = {field.name for field in KINDS[act].fields}
    return Report(
        kind=act, source="gwanje/audit", source_key=str(entry_id), occurred_at=at, subject_kind="cameras",
        subject_id=camera_id, restriction=restriction or OWNERS_ONLY,
        data={name: value for name, value in known.items() if name in names and value not in (None, "")},
    )  # fmt: skip
