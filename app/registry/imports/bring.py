"""A file into the register, or a preview of what it would change there: all of it in one transaction, or none of it.

The file is read in a thread, a chunk at a time, while the database works on the chunk before. The same file again
changes nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import asyncpg
from sqlalchemy import bindparam, insert, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from app.actor import Actor
from app.audit import entries
from app.ids import new_id
from app.models import Import
from app.registry import areas
from app.registry.imports.findings import Finding, Summary
from app.registry.imports.merge import Changes, Merge
from app.registry.imports.merge_assets import AssetMerge
from app.registry.imports.merge_cameras import CameraMerge
from app.registry.imports.owners import Owners
from app.registry.imports.places import Places
from app.registry.imports.reading import Opened, refuse_empty

MOST_FINDINGS_KEPT: Final = 100_000
Progress = Callable[[str, int, int], None]


@dataclass(slots=True)
class Brought:
    """What a file changed, or would change, and what was odd in it."""

    import_id: UUID
    changes: Changes
    summary: Summary
    owners: set[UUID] = field(default_factory=set)
    unknown_institutions: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        told = self.changes.as_dict()
        return told | {"unknown_institutions": self.unknown_institutions[:100]} if self.unknown_institutions else told


async def take_in(
    session: AsyncSession,
    actor: Actor | None,
    opened: Opened,
    owners: Owners,
    *,
    retire_vanished: bool = False,
    progress: Progress = lambda *_: None,
) -> Brought:
    """Import a file at once, in the caller's transaction: the record of it, its rows, its findings and its entry.

    UnusableFile if no row can stand or if institutions are unknown, and whatever reading the file raises.
    """
    import_id = new_id()
    await session.execute(
        insert(Import).values(
            id=import_id, agency_id=owners.owner, user_id=actor.user_id if actor else None, kind=opened.kind.name,
            file_name=opened.name, file_digest=opened.digest, file_bytes=opened.size, layout=opened.layout,
            state="applying",
        )
    )  # fmt: skip
    brought = await bring(
        session, actor, opened, owners, import_id, writes=True, retire_vanished=retire_vanished, progress=progress
    )
    await session.execute(
        text(
            "UPDATE imports SET state = 'applied', applied_at = now(), read_at = now(), summary = :summary,"
            " result = :result, agency_id = coalesce(agency_id, :owner) WHERE id = :id"
        ).bindparams(bindparam("summary", type_=JSONB()), bindparam("result", type_=JSONB())),
        {
            "id": import_id, "summary": brought.summary.as_dict(), "result": brought.as_dict(),
            "owner": next(iter(brought.owners)) if len(brought.owners) == 1 else None,
        },
    )  # fmt: skip
    return brought


async def bring(
    session: AsyncSession,
    actor: Actor | None,
    opened: Opened,
    owners: Owners,
    import_id: UUID,
    *,
    writes: bool,
    keeps_findings: bool = True,
    retire_vanished: bool = False,
    progress: Progress = lambda *_: None,
) -> Brought:
    """Read a file and merge it into the register (`writes`), or only say what that would change.

    Findings are kept for the import, at most 100,000. In the caller's transaction, whose time limits are lifted.
    """
    connection = await _bare(session)
    if writes:
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('gwanje.imports'))", timeout=600)
    merge: Merge = (AssetMerge if opened.kind.stands_for else CameraMerge)(
        connection, import_id, opened.table.layout
    )  # fmt: skip
    await merge.begin()
    await owners.begin(session, actor, makes=writes)
    places = Places(await areas.locator(session))
    keeper = _Keeper(connection, import_id, keeps=keeps_findings)
    estimate = opened.table.row_count_estimate
    async for chunk in opened.chunks():
        progress("read", chunk.rows_read, max(estimate, chunk.rows_read))
        await keeper.keep(chunk.findings)
        whose = await owners.of(chunk.rows)
        rows = [(row, owner) for row, owner in zip(chunk.rows, whose, strict=True) if owner is not None or not writes]
        if rows and not (writes and owners.missing()):
            held = places.locate([row for row, _ in rows])
            await merge.bring([row for row, _ in rows], [owner for _, owner in rows], held)
            if writes:
                await merge.write()
        progress("write", chunk.rows_read, max(estimate, chunk.rows_read))
    progress("write", opened.summary.rows, opened.summary.rows)
    if writes:
        refuse_empty(opened)
        owners.refuse_missing()
    odd = places.findings()
    opened.summary.add(odd)
    await keeper.keep(odd)
    await merge.finish(owners.ids, writes=writes, retire_vanished=retire_vanished)
    brought = Brought(import_id, merge.changes, opened.summary, owners.ids, owners.missing())
    if writes:
        await entries.append(session, _entry(actor, opened, brought))
    return brought


def _entry(actor: Actor | None, opened: Opened, brought: Brought) -> entries.Entry:
    changes = brought.changes
    return entries.entry(
        actor, "import.applied", subject=("import", brought.import_id), kind=opened.kind.name, file=opened.name,
        file_sha256=opened.digest.hex(), rows=brought.summary.rows, new=changes.new, changed=changes.changed,
        new_cameras=changes.new_cameras, retired_cameras=changes.retired_cameras,
        owner_agency_id=next(iter(brought.owners)) if len(brought.owners) == 1 else None,
    )  # fmt: skip


class _Keeper:
    """Keeps findings, numbered, as many as are kept."""

    def __init__(self, connection: asyncpg.Connection, import_id: UUID, *, keeps: bool) -> None:
        self._connection, self._import_id = connection, import_id
        self._number, self._most = 0, MOST_FINDINGS_KEPT if keeps else 0

    async def keep(self, findings: list[Finding]) -> None:
        kept = findings[: max(0, self._most - self._number)]
        if not kept:
            return
        start, self._number = self._number + 1, self._number + len(kept)
        await self._connection.copy_records_to_table(
            "import_findings",
            columns=["import_id", "number", "row_number", "severity", "code", "field", "value", "message"],
            records=(
                (self._import_id, number, one.row_number, one.severity, one.code, one.field, one.value, one.message_ko)
                for number, one in enumerate(kept, start)
            ),
        )


async def _bare(session: AsyncSession) -> asyncpg.Connection:
    """The driver's connection inside the session's transaction, for COPY; it may take its time."""
    raw = await (await session.connection()).get_raw_connection()
    await session.execute(text("SET LOCAL statement_timeout = '600s'"))
    await session.execute(text("SET LOCAL idle_in_transaction_session_timeout = '300s'"))
    return raw.driver_connection
