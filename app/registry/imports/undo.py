"""An import is taken back, whole: what it brought goes, what it changed is as it was before.

What has been changed since, by hand or by a later import, or what something refers to by now (a stream source, a view,
a device), depends on the import: then nothing is undone, and the refusal says what depends.
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.actor import Actor
from app.audit import entries
from app.errors import Conflict, NotFound

STATEMENT_SECONDS: Final = 600
RELATIONS: Final = ("assets", "camera_positions", "sites")

# What the import brought: sites and assets carry its id; cameras came with their site, or beside others of it.
_TABLES: Final = """
CREATE TEMP TABLE brought_by ON COMMIT DROP AS
SELECT 'sites' AS relation, id FROM sites WHERE import_id = $1
UNION ALL SELECT 'assets', id FROM assets WHERE import_id = $1
UNION ALL
SELECT 'camera_positions', p.id FROM sites s JOIN camera_positions p ON p.site_id = s.id WHERE s.import_id = $1
UNION ALL SELECT c.relation, c.row_id FROM import_changes c WHERE c.import_id = $1 AND c.before IS NULL
    AND NOT EXISTS (SELECT FROM camera_positions p JOIN sites s ON s.id = p.site_id
        WHERE p.id = c.row_id AND s.import_id = $1)
"""
_LATER: Final = """
SELECT '{relation}' AS what, count(*) AS number FROM {relation} r
WHERE r.changed_at > $2 AND (
    r.id IN (SELECT id FROM brought_by WHERE relation = '{relation}')
    OR r.id IN (SELECT row_id FROM import_changes WHERE import_id = $1 AND relation = '{relation}'))
"""
_REFERRING: Final = {
    "stream sources": "stream_sources x ON x.position_id = b.id",
    "views": "views x ON x.camera_id = b.id",
    "showings": "showings x ON x.camera_id = b.id",
    "grants": "(SELECT g.id, unnest(g.camera_ids) AS camera_id FROM grants g"
    " WHERE g.at >= (SELECT applied_at FROM imports WHERE id = $1)) x ON x.camera_id = b.id",
    "events": "(SELECT e.id, e.subject_id FROM events e"
    " WHERE e.at >= (SELECT applied_at FROM imports WHERE id = $1)) x ON x.subject_id = b.id",
    "linked bells": "(SELECT a.id, unnest(a.camera_ids) AS camera_id FROM assets a WHERE a.camera_ids <> '{}') x"
    " ON x.camera_id = b.id",
    "devices": "devices x ON x.position_id = b.id",
    "replacements": "camera_positions x ON x.replaces_id = b.id",
    "steps of a life": "life_changes x ON x.subject_id = b.id",
    "outages": "outages x ON x.subject_id = b.id",
    "children": "assets x ON x.parent_id = b.id AND x.import_id IS DISTINCT FROM $1",
    "cameras on a pole": "camera_positions x ON x.pole_id = b.id",
    "assets of the site": "assets x ON x.site_id = b.id AND x.import_id IS DISTINCT FROM $1",
}
_LATER_IMPORTS: Final = """
SELECT DISTINCT i.file_name, i.applied_at FROM import_changes c JOIN imports i ON i.id = c.import_id
WHERE i.applied_at > $2 AND i.undone_at IS NULL AND (
    c.row_id IN (SELECT id FROM brought_by)
    OR c.row_id IN (SELECT row_id FROM import_changes WHERE import_id = $1))
ORDER BY i.applied_at DESC LIMIT 3
"""
_RESTORE: Final = """
UPDATE {relation} r SET ({columns}) = (SELECT {olds} FROM jsonb_populate_record(r, c.before) o)
FROM import_changes c
WHERE c.import_id = $1 AND c.relation = '{relation}' AND c.before IS NOT NULL AND r.id = c.row_id
"""
_COLUMNS: Final = """
SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute
WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' AND attname <> 'id'
"""
# What was changed in a camera's or an asset's life is told anew, for what happened stays told.
_LIVES: Final = """
INSERT INTO life_changes (id, subject_kind, subject_id, from_status, to_status, on_date, import_id, note)
SELECT gen_random_uuid(), '{kind}', r.id, r.status, c.before ->> 'status', current_date, $1, 'import undone'
FROM import_changes c JOIN {relation} r ON r.id = c.row_id
WHERE c.import_id = $1 AND c.relation = '{relation}' AND c.before IS NOT NULL AND r.status <> c.before ->> 'status'
"""


@dataclass(frozen=True, slots=True)
class Undone:
    """How many rows of the register are gone, and how many are as they were before."""

    removed: int
    restored: int


async def undo(session: AsyncSession, actor: Actor | None, import_id: UUID) -> Undone:
    """Take an import back, in the caller's transaction. Conflict when something depends on it: `reasons` says what."""
    connection, applied_at = await _begin(session, import_id)
    if reasons := await _depends(connection, import_id, applied_at):
        raise _refusal(reasons)
    restored = removed = 0
    for kind, relation in (("cameras", "camera_positions"), ("assets", "assets")):
        await connection.execute(_LIVES.format(kind=kind, relation=relation), import_id, timeout=STATEMENT_SECONDS)
    for relation in RELATIONS:
        columns = await connection.fetchval(_COLUMNS, relation)
        olds = ", ".join(f"o.{column}" for column in columns.split(", "))
        statement = _RESTORE.format(relation=relation, columns=columns, olds=olds)
        restored += _count(await connection.execute(statement, import_id, timeout=STATEMENT_SECONDS))
        gone = f"DELETE FROM {relation} r USING brought_by b WHERE b.relation = '{relation}' AND r.id = b.id"  # noqa: S608
        removed += _count(await connection.execute(gone, timeout=STATEMENT_SECONDS))
    done = Undone(removed, restored)
    await connection.execute(
        "UPDATE imports SET state = 'undone', undone_at = now(), problem = '{}' WHERE id = $1", import_id
    )
    await connection.execute("DELETE FROM import_changes WHERE import_id = $1", import_id, timeout=STATEMENT_SECONDS)
    await entries.append(
        session,
        entries.entry(actor, "import.undone", subject=("import", import_id), removed=removed, restored=restored),
    )
    return done


async def dependents(session: AsyncSession, import_id: UUID) -> None:
    """Return if the import can be undone now; Conflict that says what depends on it."""
    connection, applied_at = await _begin(session, import_id)
    reasons = await _depends(connection, import_id, applied_at)
    await connection.execute("DROP TABLE brought_by")
    if reasons:
        raise _refusal(reasons)


async def _begin(session: AsyncSession, import_id: UUID) -> tuple[asyncpg.Connection, object]:
    raw = await (await session.connection()).get_raw_connection()
    connection: asyncpg.Connection = raw.driver_connection
    await session.execute(text("SET LOCAL statement_timeout = '600s'"))
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext('gwanje.imports'))", timeout=STATEMENT_SECONDS)
    row = await connection.fetchrow("SELECT applied_at, undone_at FROM imports WHERE id = $1 FOR UPDATE", import_id)
    if row is None:
        raise NotFound("there is no such import, or you may not know of it")
    if row["applied_at"] is None or row["undone_at"] is not None:
        raise Conflict("only an import that was applied, and was not undone yet, can be undone")
    await connection.execute(_TABLES.replace("$1", f"'{import_id}'::uuid"), timeout=STATEMENT_SECONDS)
    await connection.execute("ANALYZE brought_by")
    return connection, row["applied_at"]


async def _depends(connection: asyncpg.Connection, import_id: UUID, applied_at: object) -> list[str]:
    since = await connection.fetch(_LATER_IMPORTS, import_id, applied_at, timeout=STATEMENT_SECONDS)
    found = [
        f"the import of {row['file_name']} ({row['applied_at']:%Y-%m-%d %H:%M} UTC) came after it" for row in since
    ]
    for relation in RELATIONS:
        later = await connection.fetchrow(
            _LATER.format(relation=relation), import_id, applied_at, timeout=STATEMENT_SECONDS
        )
        if later["number"]:
            found.append(f"{later['number']:,} of its {relation.replace('_', ' ')} were changed since")
    for what, join in _REFERRING.items():
        extra = "" if "$1" in join else " AND $1::uuid IS NOT NULL"
        number = await connection.fetchval(
            f"SELECT count(*) FROM brought_by b JOIN {join}{extra}"  # noqa: S608 - our own SQL
            " WHERE NOT EXISTS (SELECT FROM brought_by y WHERE y.id = x.id)",
            import_id, timeout=STATEMENT_SECONDS,
        )  # fmt: skip
        if number:
            found.append(f"{number:,} {what} hang on what it brought")
    return found


def _refusal(reasons: list[str]) -> Conflict:
    return Conflict("it cannot be undone any more: " + "; ".join(reasons), reasons=reasons)


def _count(status: str) -> int:
    return int(status.rpartition(" ")[2])
