"""What goes on while the database is away: how views end, and that owners watch on; spooled then, imported later.

Of what begins, only an owner's duty view is spooled, that played here before: a player that lost its line comes back
under the permission that was last confirmed. Everything else waits for the database.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from app import clock, metrics
from app.announcements import Announcements
from app.audit import entries, spool
from app.audit.spool import Record, Spool, Spooled, Tampered
from app.database import lost
from app.errors import AuditUnavailable, GrantEnded
from app.events import record as record_event
from app.events.report import Report
from app.ids import new_id
from app.keys import Keys
from app.streams import views
from app.streams.limits import Limits
from app.streams.urls import Pass
from app.streams.views import Asking, Carrier, Ending, Opened, Permit
from app.streams.writer import Writer

log = logging.getLogger("gwanje.late")

EACH_SECONDS, PAUSE_SECONDS = 1.0, 4.0
AWAY_SECONDS = 2.0  # so long without a word, the database is away
MOST_KNOWN = 4000
AT_ONCE = 50  # records that one transaction takes
_UNSAID = ("sources", "device_key_digest")  # of a permission: what no file needs to know
_CLAIM = "INSERT INTO late_records (id, spool_id) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING true"
_LIVED = "UPDATE nodes SET seen_at = greatest(seen_at, $2) WHERE name = $1"
_CARRIED = "UPDATE views SET bytes = greatest(bytes, $2) WHERE id = $1 AND closed_at IS NULL"
_OWNERS = """
SELECT a.body_id, count(*) AS views FROM (SELECT owner_agency_id FROM views WHERE id = ANY($1::uuid[])
    UNION ALL SELECT owner_agency_id FROM showings WHERE id = ANY($1::uuid[])) v
JOIN agencies a ON a.id = v.owner_agency_id GROUP BY a.body_id ORDER BY a.body_id
"""
_WHOSE = """
SELECT v.owner_agency_id, v.camera_id, c.body_id, g.restriction FROM views v JOIN agencies c ON c.id = v.agency_id
JOIN grants g ON g.id = v.grant_id AND g.at = v.grant_at WHERE v.id = $1
"""


class Late:
    """What a process may do without the database, and what it writes down of it."""

    def __init__(self, kept: Spool, carrier: Carrier) -> None:
        self.spool, self._carrier = kept, carrier
        self._known: OrderedDict[tuple[UUID, UUID], tuple[Permit, float, str]] = OrderedDict()
        self._told: set[UUID] = set()

    def confirmed(self, view: Opened) -> None:
        """An owner's duty view was opened: for as long as its permission lasts it may come back."""
        if view.permit.facts["kind"] == "duty" and not view.manifested:
            key = (view.permit.ticket.grant_id, view.permit.ticket.camera_id)
            self._known[key] = (view.permit, clock.monotonic() + view.permit.seconds_left, view.peer)
            self._known.move_to_end(key)
            if len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)

    def over(self, condition: Any) -> None:
        """Forget the permissions that `condition` is true of: they were revoked."""
        for key in [key for key, (permit, _, _) in self._known.items() if condition(permit)]:
            del self._known[key]

    def permit(self, ticket: Pass, asking: Asking) -> Permit | None:
        """The permission of a player that comes back, as last confirmed; None if there is none.

        Raises GrantEnded or BoundElsewhere as the database would.
        """
        found = self._known.get((ticket.grant_id, ticket.camera_id))
        if found is None:
            return None
        known, deadline, peer = found
        if deadline <= clock.monotonic():
            raise GrantEnded("this permission is over; ask for a new grant")
        views.check(known.facts, ticket, asking, bound_to=peer)
        return Permit(ticket, {**known.facts, "seconds_left": deadline - clock.monotonic()}, remembered=True)

    async def opened(self, allowed: Permit, asking: Asking) -> Opened:
        """An owner's duty view that is on the disk; AuditUnavailable when it cannot be."""
        view_id, ticket = new_id(), allowed.ticket
        facts = {name: value for name, value in allowed.facts.items() if name not in _UNSAID}
        said = {
            "view_id": view_id, "grant_id": ticket.grant_id, "grant_at": ticket.grant_at, "camera_id": ticket.camera_id,
            "profile": ticket.profile, "protocol": asking.protocol, "peer": asking.peer, "facts": facts,
            "gateway": self._carrier.gateway, "node": self._carrier.node,
        }  # fmt: skip
        record = Record("view.opened", said)
        await self.spool.write([record])
        return Opened(view_id, record.at, allowed, asking.protocol, asking.peer, spooled=True)

    async def closed(self, view: Opened, ending: Ending) -> None:
        """How a view ended, on the disk."""
        said = {
            "view_id": view.id, "view_at": None if view.spooled else view.at, "cause": ending.cause,
            "bytes": ending.bytes, "seconds": ending.seconds, "first_byte_at": ending.first_byte_at,
        }  # fmt: skip
        await self.spool.write([Record("showing.ended" if view.manifested else "view.closed", said)], is_end=True)

    async def going_on(self, running: Iterable[tuple[Opened, int]]) -> None:
        """That these views (with the bytes that they have carried) go on though nobody can vouch for them."""
        views_bytes = {str(view.id): count for view, count in running}
        new = [view_id for view_id in views_bytes if UUID(view_id) not in self._told]
        self._told |= {UUID(view_id) for view_id in new}
        said = {"node": self._carrier.node, "bytes": views_bytes, "new": new}
        await self.spool.write([Record("view.continued", said)])

    def back(self) -> None:
        """The database is back: the next outage is told anew."""
        self._told.clear()


# Importing


async def keep_imported(writer: Writer, kept: Spool, keys: Keys, news: Announcements, most_bytes: int) -> None:
    """Import what was spooled, by this process or one that died, as soon as the database is back; for ever."""
    while True:
        await clock.beat(EACH_SECONDS)
        if news.silent_seconds() > EACH_SECONDS * 2:
            continue
        try:
            await bring_in(writer, kept, keys, most_bytes)
            if kept.since is not None:
                await kept.seal()
                await bring_in(writer, kept, keys, most_bytes)
        except (AuditUnavailable, OSError) as error:
            log.warning("a local spool could not be imported yet: %s", type(error).__name__)
            await asyncio.sleep(PAUSE_SECONDS)


async def bring_in(writer: Writer, kept: Spool, keys: Keys, most_bytes: int) -> int:
    """Import every spool whose writer has ended it or died, each record once; returns how many files were settled.

    A file that was tampered with is imported by no record: it is kept aside under another name, and that is told.
    """
    settled = 0
    for path in spool.left(kept.folder):
        with spool.taken(path) as is_ours:
            if not is_ours:
                continue
            try:
                found = spool.read(path, keys, most_bytes)
            except Tampered as wrong:
                await _refuse(writer, path, str(wrong))
            else:
                await _import(writer, path, found)
                path.unlink()
            settled += 1
    return settled


async def _refuse(writer: Writer, path: Path, why: str) -> None:
    log.critical("THE SPOOL %s WAS TAMPERED WITH and is kept aside: %s", path.name, why)
    refused = path.with_suffix(spool.REFUSED)
    entry = entries.entry(None, "spool.refused", "refused", file=refused.name, why=why)
    await writer.transact(lambda connection: entries.store(connection, [entry]))
    path.rename(refused)
    metrics.SPOOLS.labels("refused").inc()


async def _import(writer: Writer, path: Path, found: Spooled) -> None:
    unusable: list[UUID] = []
    for start in range(0, len(found.records), AT_ONCE):
        unusable += await _bring(writer, found.id, found.records[start : start + AT_ONCE])

    async def conclude(connection: asyncpg.Connection) -> None:
        if not await connection.fetchval(_CLAIM, found.id, found.id):
            return
        last = found.records[-1].at if found.records else found.began_at
        entry = entries.entry(
            None, "spool.imported", subject=("spool", found.id), file=path.name, node=found.node,
            records=len(found.records), last_at=last.isoformat(), torn=found.torn, unusable_record_ids=unusable,
        )  # fmt: skip
        await entries.store(connection, [entries.late(entry, found.began_at)])
        await _tell(connection, found, last)

    await writer.transact(conclude)
    log.warning("a local spool was imported", extra={"file": path.name, "records": len(found.records)})
    metrics.SPOOLS.labels("imported").inc()


async def _tell(connection: asyncpg.Connection, found: Spooled, last: datetime) -> None:
    """The owners whose cameras were watched then hear it, once a spool: nobody could be told while it was so."""
    views_of = {UUID(one) for record in found.records for one in _views_in(record.said)}
    began_at = min([found.began_at, *(record.at for record in found.records)])
    said = {
        "node": found.node, "began_at": began_at.isoformat(), "ended_at": last.isoformat(),
        "records": len(found.records),
    }  # fmt: skip
    for owner in await connection.fetch(_OWNERS, list(views_of)):
        report = Report(
            kind="audit.spooling", source="gwanje/audit", source_key=f"{found.id}/{owner['body_id']}",
            owner_agency_id=owner["body_id"], restriction="internal", data=said | {"views": owner["views"]},
        )  # fmt: skip
        await record_event.record(connection, None, report)


def _views_in(said: Any) -> list[str]:
    """The views that a record speaks of; one that makes no sense speaks of none."""
    found = [said["view_id"]] if "view_id" in said else list(said.get("bytes", ()))
    return [one for one in found if _is_id(one)]


def _is_id(text: Any) -> bool:
    try:
        return bool(UUID(text))
    except (ValueError, TypeError, AttributeError):
        return False


async def _bring(writer: Writer, spool_id: UUID, records: Sequence[Record]) -> list[UUID]:
    """Import records, if need be one by one; returns those that nothing makes sense of, which hold up no others."""
    try:
        await writer.transact(partial(_apply, spool_id=spool_id, records=records))
    except AuditUnavailable as refusal:
        cause = refusal.__cause__
        if cause is None or (lost(cause) and not isinstance(cause, ValueError)):
            raise  # the database is away again: all of this once more, later
    except (KeyError, TypeError, ValueError) as error:
        log.warning("a record of a spool makes no sense: %s", type(error).__name__)
    else:
        return []
    if len(records) == 1:
        return [records[0].id]
    return [unusable for record in records for unusable in await _bring(writer, spool_id, [record])]


async def _apply(connection: asyncpg.Connection, *, spool_id: UUID, records: Sequence[Record]) -> None:
    for record in records:
        if await connection.fetchval(_CLAIM, record.id, spool_id):
            await _ACTS[record.act](connection, record.said, record.at)


async def _opened(connection: asyncpg.Connection, said: Any, at: datetime) -> None:
    ticket = Pass(
        UUID(said["grant_id"]), datetime.fromisoformat(said["grant_at"]), UUID(said["camera_id"]), at, said["profile"]
    )
    asking = Asking(said["protocol"], said["peer"])
    carrier = Carrier(said["gateway"], said["node"], Limits(0, 0, 0, 0))  # it is past: nothing is counted any more
    await views.record(
        connection, Permit(ticket, said["facts"]), UUID(said["view_id"]), asking, carrier, late_from=at
    )  # fmt: skip


def _ending(said: Any) -> Ending:
    first = said["first_byte_at"]
    return Ending(said["cause"], said["bytes"], said["seconds"], datetime.fromisoformat(first) if first else None)


async def _closed(connection: asyncpg.Connection, said: Any, at: datetime) -> None:
    view_at = datetime.fromisoformat(said["view_at"]) if said["view_at"] else None
    await views.write_close(connection, UUID(said["view_id"]), view_at, _ending(said), late_from=at)


async def _showing_ended(connection: asyncpg.Connection, said: Any, _: datetime) -> None:
    began_at = datetime.fromisoformat(said["view_at"])
    await connection.execute(
        views.END_SHOWING, UUID(said["view_id"]), said["cause"], said["bytes"], began_at, said["seconds"]
    )  # fmt: skip


async def _continued(connection: asyncpg.Connection, said: Any, at: datetime) -> None:
    """The process lived then, and carried so much: what counts if nobody ever told how these views ended."""
    await connection.execute(_LIVED, said["node"], at)
    await connection.executemany(_CARRIED, [(UUID(view_id), count) for view_id, count in said["bytes"].items()])
    for view_id in map(UUID, said["new"]):
        whose = await connection.fetchrow(_WHOSE, view_id)
        if whose is not None:  # a wall's showing stands in its manifest
            entry = entries.entry(
                None, "view.continued", camera_id=whose["camera_id"], owner_agency_id=whose["owner_agency_id"],
                subject=("view", view_id), restriction=whose["restriction"],
            )  # fmt: skip
            await entries.store(connection, [entries.late(entries.of_body(entry, whose["body_id"]), at)])


_ACTS = {
    "view.opened": _opened,
    "view.closed": _closed,
    "view.continued": _continued,
    "showing.ended": _showing_ended,
}
