"""Audit entries: who did what, to what, why, from where; appended in the transaction of the act itself.

The columns of an entry hold no person. The payload does; it enters the tree only as SHA-256(salt || payload), so it
can be erased after its retention while every proof still holds.
"""

import base64
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Any, cast
from uuid import UUID

import asyncpg
import orjson
from sqlalchemy import ColumnElement, RowMapping, Uuid, false, func, literal_column, or_, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from app import ledger
from app.actor import Actor
from app.audit import restricted, tree
from app.audit.verify import LEAF_PREFIX, leaf_hash
from app.errors import NotFound, NotPermitted
from app.ids import new_id
from app.ledger import Grown
from app.models import Agency, AuditEntry, AuditLeaf

_NODES = "INSERT INTO audit_nodes (level, index, hash) SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bytea[])"
# PostgreSQL reads no JSON text with a NUL: whatever was said, the entry must be stored. (`\\\\u0000` is no NUL.)
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry before it is stored; `at` is the database's and comes with the insert."""

    id: UUID
    act: str
    outcome: str
    agency_id: UUID | None
    owner_agency_id: UUID | None
    camera_id: UUID | None
    area_id: UUID | None
    subject_kind: str
    subject_id: UUID | None
    restriction: str
    payload: str
    salt: bytes
    digest: bytes
    late_from: datetime | None = None
    """When it happened, of what could not be written down then."""


def entry(
    actor: Actor | None,
    act: str,
    outcome: str = "done",
    *,
    camera_id: UUID | None = None,
    area_id: UUID | None = None,
    owner_agency_id: UUID | None = None,
    subject: tuple[str, UUID] | None = None,
    restriction: str = "",
    **details: Any,
) -> Entry:
    """An entry of `actor` (None: the system itself, or somebody unknown); `details` go into the payload.

    `act` is `noun.verb` in the past, such as `grant.given` or `view.closed`; `outcome` is done, refused or failed.
    """
    who: dict[str, Any] = {}
    if actor is not None:
        who = {
            "user_id": actor.user_id,
            "login": actor.login,
            "role": actor.role,
            "appointment_id": actor.appointment_id,
            "agency_id": actor.agency_id,
            "session_id": actor.session_id,
            "terminal_id": actor.terminal_id,
            "duty_id": actor.duty_id,
            "address": actor.address,
        }
    said = {key: value for key, value in (who | details).items() if value not in (None, "", [], {})}
    payload = orjson.dumps(said, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    if b"u0000" in payload:  # hardly ever, and looking for it exactly costs more than all the rest
        payload = _NUL.sub(rb"\1\\ufffd", payload)
    salt = secrets.token_bytes(32)
    return Entry(
        id=new_id(),
        act=act,
        outcome=outcome,
        agency_id=actor.body_id if actor else None,
        owner_agency_id=owner_agency_id,
        camera_id=camera_id,
        area_id=area_id,
        subject_kind=subject[0] if subject else "",
        subject_id=subject[1] if subject else None,
        restriction=restriction,
        payload=payload.decode(),
        salt=salt,
        digest=sha256(salt + payload).digest(),
    )


def late(item: Entry, happened_at: datetime) -> Entry:
    """The same entry, of something that happened before: its own time is that of its being written down."""
    return replace(item, late_from=happened_at)


def of_body(item: Entry, body_id: UUID) -> Entry:
    """The same entry, as an act of a member of this institution: for acts that are not done by a signed-in request."""
    return replace(item, agency_id=body_id)


# One statement and one round trip. The payload goes in as text cast to `json`, which keeps the very bytes that were
# hashed; serialising it again could change them.
_APPEND = text(
    "WITH stored AS ("
    "INSERT INTO audit_entries (id, act, outcome, agency_id, owner_agency_id, camera_id, area_id, subject_kind,"
    " subject_id, restriction, digest, payload, salt, late_from)"
    " VALUES (:id, :act, :outcome, :agency_id, :owner_agency_id, :camera_id, :area_id, :subject_kind, :subject_id,"
    " :restriction, :digest, CAST(:payload AS json), :salt, :late_from))"
    " INSERT INTO audit_pending (id) VALUES (:id)"
)


async def append(session: AsyncSession, item: Entry) -> UUID:
    """Store an entry in the caller's transaction; it becomes a leaf after the commit."""
    await session.execute(_APPEND, {name: getattr(item, name) for name in Entry.__slots__})
    ledger.mark(session, ledger.AUDIT)
    return item.id


_STORE = """
WITH stored AS (
    INSERT INTO audit_entries (id, act, outcome, agency_id, owner_agency_id, camera_id, area_id, subject_kind,
        subject_id, restriction, digest, payload, salt, late_from)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::json, $13, $14)
)
INSERT INTO audit_pending (id) VALUES ($1)
"""


async def store(connection: asyncpg.Connection, items: Sequence[Entry]) -> None:
    """As `append`, on a bare connection inside its owner's transaction: for the batch writer."""
    for item in items:
        await connection.execute(
            _STORE, item.id, item.act, item.outcome, item.agency_id, item.owner_agency_id, item.camera_id, item.area_id,
            item.subject_kind, item.subject_id, item.restriction, item.digest, item.payload, item.salt,
            item.late_from,
        )  # fmt: skip


def leaf_data(row: Mapping[str, Any]) -> bytes:
    """The canonical bytes of an entry's header: sorted JSON of what is stored beside the payload, without a person.

    Times are UTC with microseconds; hashes are base64; missing fields are left out.
    """
    late_from: datetime | None = row["late_from"]
    header = {
        "id": str(row["id"]),
        "at": row["at"].isoformat(timespec="microseconds"),
        "act": row["act"],
        "outcome": row["outcome"],
        "agency": str(row["agency_id"]) if row["agency_id"] else None,
        "owner": str(row["owner_agency_id"]) if row["owner_agency_id"] else None,
        "camera": str(row["camera_id"]) if row["camera_id"] else None,
        "area": str(row["area_id"]) if row["area_id"] else None,
        "subject": f"{row['subject_kind']}:{row['subject_id']}" if row["subject_id"] else None,
        "restriction": row["restriction"] or None,
        "late_from": late_from.isoformat(timespec="microseconds") if late_from else None,
        "digest": base64.b64encode(row["digest"]).decode(),
    }
    kept = {key: value for key, value in header.items() if value is not None}
    return LEAF_PREFIX + orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)


def grow_tree(size: int, frontier: list[bytes], rows: Sequence[Mapping[str, Any]]) -> Grown:
    """The batch callback of the audit ledger: the rows' leaf hashes, the tree's new frontier, the nodes to store."""
    leaves = [leaf_hash(leaf_data(row)) for row in rows]
    frontier, nodes = tree.grow(size, frontier, leaves)
    columns = [[node.level for node in nodes], [node.index for node in nodes], [node.hash for node in nodes]]
    return Grown(leaves, frontier, (_NODES, columns) if nodes else None)


def _own(actor: Actor) -> ColumnElement[bool]:
    said = text("audit_entries.payload ->> 'user_id' = :own_user_id").bindparams(own_user_id=str(actor.user_id))
    return cast("ColumnElement[bool]", said)


def in_remit_of(actor: Actor) -> ColumnElement[bool]:
    """The entries an actor may find: an auditor all of the own body and those below it, anybody one's own acts.

    What a restricted one says of persons and reasons is for fewer: see `restricted`.
    """
    if not actor.may("read_audit"):
        return _own(actor)
    bodies = select(Agency.id).where(or_(Agency.id == actor.body_id, Agency.ancestor_ids.contains([actor.body_id])))
    return or_(AuditEntry.agency_id.in_(bodies), AuditEntry.owner_agency_id.in_(bodies), _own(actor))


def _known_to(actor: Actor) -> ColumnElement[bool]:
    return restricted.known_to(
        actor, restriction=AuditEntry.restriction, user_id=_own(actor), agency_id=AuditEntry.agency_id,
        owner_agency_id=AuditEntry.owner_agency_id,
        incident_id=literal_column("CAST(audit_entries.payload ->> 'incident_id' AS uuid)", Uuid()),
    )  # fmt: skip


def _told(row: RowMapping) -> dict[str, Any]:
    """An entry as its reader may have it: `withheld` says that the contents are there, and for others."""
    known = {str(name): value for name, value in row.items() if name != "known"}
    withheld = not row["known"] and row["payload"] is not None
    return known | {"withheld": withheld} | ({"payload": None, "salt": None} if withheld else {})


async def get(session: AsyncSession, actor: Actor, entry_id: UUID) -> dict[str, Any]:
    """One entry of the actor's remit; NotFound for others. Reading it is itself an entry.

    Of a restricted one who may not know it gets what is hashed into the tree, and no contents.
    """
    found = await session.execute(
        select(*AuditEntry.__table__.columns, func.coalesce(_known_to(actor), false()).label("known")).where(
            AuditEntry.id == entry_id, in_remit_of(actor)
        )
    )
    row = found.mappings().first()
    if row is None:
        raise NotFound("there is no such entry in your remit")
    await append(session, entry(actor, "audit.read", found=1, by_entry_id=entry_id))
    return _told(row)


async def search(
    session: AsyncSession,
    actor: Actor,
    *,
    act: str | None = None,
    camera_id: UUID | None = None,
    subject_id: UUID | None = None,
    user_id: UUID | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    before: tuple[datetime, UUID] | None = None,
    limit: int = 100,
) -> list[dict[str, Any]]:
    """Entries in the actor's remit, newest first, each with its `position` in the log (None while it waits for one).

    Restricted ones have no contents for who may not know them (`withheld`), and are not found by person. Reading the
    log is itself an entry, in this very transaction.
    """
    if user_id is not None and user_id != actor.user_id and not actor.may("read_audit"):
        raise NotPermitted("only an auditor may search the log by person; leave user_id out to see your own acts")
    query = (
        select(
            *AuditEntry.__table__.columns, AuditLeaf.position, func.coalesce(_known_to(actor), false()).label("known")
        )
        .outerjoin(AuditLeaf, AuditLeaf.id == AuditEntry.id)
        .where(in_remit_of(actor))
        .order_by(AuditEntry.at.desc(), AuditEntry.id.desc())
        .limit(limit)
    )
    if act:
        query = query.where(AuditEntry.act == act)
    if camera_id:
        query = query.where(AuditEntry.camera_id == camera_id)
    if subject_id:
        query = query.where(AuditEntry.subject_id == subject_id)
    if user_id:
        person = text("audit_entries.payload ->> 'user_id' = :user_id").bindparams(user_id=str(user_id))
        query = query.where(person, _known_to(actor))
    if since:
        query = query.where(AuditEntry.at >= since)
    if until:
        query = query.where(AuditEntry.at < until)
    if before:
        query = query.where(tuple_(AuditEntry.at, AuditEntry.id) < tuple_(*before))
    rows = (await session.execute(query)).mappings().all()
    read = entry(
        actor, "audit.read", found=len(rows), by_act=act, by_camera_id=camera_id, by_subject_id=subject_id,
        by_user_id=user_id,
    )  # fmt: skip
    await append(session, read)
    return [_told(row) for row in rows]
