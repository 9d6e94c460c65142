"""Grants: permission to watch, written and audited before it is given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from uuid import UUID

import asyncpg
import orjson
from sqlalchemy import Text, cast, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.access import rights
from app.access.codes import BASES, OWN_USE
from app.access.sessions import REVOKED
from app.actor import Actor
from app.announcements import announce
from app.audit import entries
from app.database import Database
from app.errors import Conflict, Malformed, NotFound, NotPermitted, Refusal
from app.ids import new_id
from app.models import CameraPosition, Grant, IdempotencyKey
from app.streams.writer import Given, Idempotency, Wish, Writer

MOST_CAMERAS = 64  # a wall
PROTOCOLS = ("fmp4", "hls", "snapshot")
RENEWED = "renewed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for. Without purpose and basis it is about one's own cameras, under the duty."""

    camera_ids: Sequence[UUID]
    purpose: str | None = None
    basis: str | None = None
    references: Sequence[Mapping[str, str]] = ()
    incident_id: UUID | None = None
    protocols: Sequence[str] = ("fmp4", "hls", "snapshot")
    quality: str = "main"
    exercise: bool = False
    idempotency_key: str | None = None
    body: bytes = field(default=b"", repr=False)


def check(request: Request) -> None:
    """Refuse a request that cannot be understood, before anything is asked of the database."""
    if not 1 <= len(request.camera_ids) <= MOST_CAMERAS or len(set(request.camera_ids)) != len(request.camera_ids):
        raise Malformed(f"camera_ids: 1 to {MOST_CAMERAS} different cameras", field="camera_ids")
    wrong = [protocol for protocol in request.protocols if protocol not in PROTOCOLS]
    if wrong or not request.protocols:
        raise Malformed(f"protocols: any of {', '.join(PROTOCOLS)}", field="protocols", expected=list(PROTOCOLS))
    if request.quality not in ("main", "sub"):
        raise Malformed("quality is main or sub", field="quality", expected=["main", "sub"])
    texts = [text for reference in request.references for text in reference.values()]
    if not all(text.isprintable() for text in [*texts, request.idempotency_key or ""]):
        raise Malformed("references and the Idempotency-Key hold printable characters only", field="references")
    if request.purpose is not None or request.basis is not None:
        rights.check_reason(request.purpose or "", request.basis or "", request.references)


async def give(
    database: Database, writer: Writer, actor: Actor, request: Request, *, seconds: int
) -> list[Given | Refusal]:
    """A grant or a refusal for each camera asked for, in their order.

    Everything that is given is committed with its audit entry before this returns; refusals are audited too, in a
    transaction of their own. A repeated Idempotency-Key gives the same grants again.
    """
    check(request)
    if not actor.may("view"):
        wished: Sequence[UUID] = ()
        given: list[Given] = []
    elif request.purpose is None:
        wished = request.camera_ids
        given = await _on_duty(database, writer, actor, request.camera_ids)
    else:
        wished = request.camera_ids
        given = await _by_reason(database, writer, actor, request, seconds)
    found = {grant.camera_id: grant for grant in given}
    missing = [camera_id for camera_id in request.camera_ids if camera_id not in found]
    refused = await _refuse(database, actor, request, missing) if missing or not wished else {}
    return [found.get(camera_id) or refused[camera_id] for camera_id in request.camera_ids]


def kind_of(request: Request) -> str:
    """What kind of grant a reason makes."""
    if request.basis is not None and BASES[request.basis].emergency:
        return "emergency"
    return "incident" if request.incident_id is not None else "approved"


async def _by_reason(database: Database, writer: Writer, actor: Actor, request: Request, seconds: int) -> list[Given]:
    purpose, basis = request.purpose or "", request.basis or ""
    kind = kind_of(request)
    references = [dict(reference) for reference in request.references]
    wishes = []
    for camera_id in request.camera_ids:
        grant_id = new_id()
        entry = entries.entry(
            actor, "grant.given", camera_id=camera_id, subject=("grant", grant_id),
            kind=kind, purpose=purpose, basis=basis, references=references, incident_id=request.incident_id,
            exercise=request.exercise,
        )  # fmt: skip
        wishes.append(
            Wish(
                grant_id, entry, camera_id, actor.session_id, kind, purpose, basis, orjson.dumps(references).decode(),
                request.incident_id, request.exercise, list(request.protocols), request.quality, seconds,
            )
        )  # fmt: skip
    if request.idempotency_key is None:
        return await writer.give(wishes)
    key = Idempotency(actor.user_id, request.idempotency_key, sha256(request.body).digest())
    try:
        return await writer.give(wishes, key)
    except Conflict:
        return await _replayed(database, actor, request.idempotency_key)


async def _replayed(database: Database, actor: Actor, key: str) -> list[Given]:
    """The grants that stand under a key; those that ended since are gone from it."""
    async with database.begin() as session:
        rows = await session.execute(
            select(Grant.id, Grant.at, Grant.camera_ids, Grant.expires_at, Grant.entry_id)
            .join(
                IdempotencyKey,
                (IdempotencyKey.principal_id == actor.user_id)
                & (IdempotencyKey.key == key)
                & IdempotencyKey.result.op("?")(cast(Grant.id, Text)),
            )
            .where(Grant.user_id == actor.user_id, Grant.revoked_at.is_(None), Grant.expires_at > func.now())
        )
        return [Given(row.id, row.at, row.camera_ids[0], row.expires_at, row.entry_id) for row in rows]


_DUTY_GRANT = """
SELECT id, at, expires_at, entry_id FROM grants
WHERE session_id = $1 AND kind = 'duty' AND revoked_at IS NULL AND expires_at > now() LIMIT 1
"""
_BEGIN_DUTY = """
INSERT INTO duties (id, appointment_id, agency_id, terminal_id, ends_at)
SELECT $2, s.appointment_id, o.agency_id, s.terminal_id, s.expires_at
FROM sessions s JOIN appointments o ON o.id = s.appointment_id WHERE s.id = $1 AND s.ended_at IS NULL
RETURNING id
"""
_GIVE_DUTY = """
INSERT INTO grants (id, entry_id, kind, user_id, appointment_id, agency_id, session_id, terminal_id, duty_id,
    owner_agency_id, selector, basis, expires_at, latest_expires_at)
SELECT $2, $3, 'duty', s.user_id, s.appointment_id, o.agency_id, s.id, s.terminal_id, s.duty_id, $4,
    jsonb_build_object('owner_agency_ids', to_jsonb($5::uuid[])), $6, s.expires_at, s.expires_at
FROM sessions s JOIN appointments o ON o.id = s.appointment_id WHERE s.id = $1
RETURNING id, at, expires_at, entry_id
"""
_OWN = """
SELECT id FROM camera_positions
WHERE id = ANY($1::uuid[]) AND owner_agency_id = ANY($2::uuid[]) AND has_stream AND retired_at IS NULL
"""


async def _on_duty(database: Database, writer: Writer, actor: Actor, camera_ids: Sequence[UUID]) -> list[Given]:
    """The actor's own cameras under the duty grant: one a shift and console, made when first needed."""
    async with database.bare.acquire(timeout=1) as connection:
        own = {row["id"] for row in await connection.fetch(_OWN, list(camera_ids), list(actor.acts_for_ids))}
        if not own:
            return []
        row = await connection.fetchrow(_DUTY_GRANT, actor.session_id)
    if row is None:
        row = await writer.transact(lambda connection: _begin_duty(connection, actor))
    return [
        Given(row["id"], row["at"], camera_id, row["expires_at"], row["entry_id"])
        for camera_id in camera_ids
        if camera_id in own
    ]  # fmt: skip


async def _begin_duty(connection: asyncpg.Connection, actor: Actor) -> asyncpg.Record:
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", str(actor.session_id))
    if (standing := await connection.fetchrow(_DUTY_GRANT, actor.session_id)) is not None:
        return standing
    duty_id = await connection.fetchval(_BEGIN_DUTY, actor.session_id, new_id())
    await connection.execute("UPDATE sessions SET duty_id = $2 WHERE id = $1", actor.session_id, duty_id)
    grant_id = new_id()
    entry = entries.entry(
        actor, "grant.given", owner_agency_id=actor.body_id, subject=("grant", grant_id),
        kind="duty", basis=OWN_USE, began_duty_id=duty_id,
    )  # fmt: skip
    await entries.store(connection, [entry])
    return await connection.fetchrow(
        _GIVE_DUTY, actor.session_id, grant_id, entry.id, actor.body_id, list(actor.acts_for_ids), OWN_USE
    )  # fmt: skip


async def _refuse(
    database: Database, actor: Actor, request: Request, camera_ids: Sequence[UUID]
) -> dict[UUID, Refusal]:
    """Why each camera was not given, each written down."""
    refusals: dict[UUID, Refusal] = {}
    async with database.begin() as session:
        for camera_id in camera_ids:
            refusal = await rights.explain_refusal(
                session, actor, camera_id, purpose=request.purpose or "", basis=request.basis or ""
            )
            if request.purpose is None and refusal.extra.get("missing") not in (None, "stream"):
                refusal = Malformed(
                    "purpose and basis are required for another agency's camera", field="purpose",
                    camera_id=str(camera_id),
                )  # fmt: skip
            refusals[camera_id] = refusal
            await entries.append(
                session,
                entries.entry(
                    actor, "grant.refused", "refused", camera_id=camera_id, reason=refusal.code,
                    missing=refusal.extra.get("missing"), purpose=request.purpose, basis=request.basis,
                    references=[dict(reference) for reference in request.references], incident_id=request.incident_id,
                ),
            )  # fmt: skip
    return refusals


async def _own_or_supervised(session: AsyncSession, actor: Actor, grant_id: UUID) -> Grant:
    """A grant that the actor holds, or may end: its own person, the shift lead of that agency, the camera's owner."""
    grant = await session.scalar(select(Grant).where(Grant.id == grant_id).with_for_update())
    if grant is not None and (
        grant.user_id == actor.user_id
        or (actor.may("supervise") and {grant.agency_id, grant.owner_agency_id} & set(actor.acts_for_ids))
    ):
        return grant
    raise NotFound("there is no such grant of yours")


async def revoke(session: AsyncSession, actor: Actor, grant_id: UUID, *, cause: str = "") -> None:
    """End a grant now: its URLs are dead when this commits, its views are cut within a second, on every node."""
    grant = await _own_or_supervised(session, actor, grant_id)
    if grant.revoked_at is not None:
        return
    said = cause or ("ended_by_user" if grant.user_id == actor.user_id else "revoked")
    await session.execute(
        update(Grant)
        .where(Grant.id == grant_id, Grant.at == grant.at)
        .values(revoked_at=func.now(), revoked_by=actor.user_id, revoked_cause=said)
    )
    await entries.append(
        session,
        entries.entry(
            actor, "grant.revoked", owner_agency_id=grant.owner_agency_id,
            camera_id=grant.camera_ids[0] if grant.camera_ids else None, subject=("grant", grant_id), cause=said,
        ),
    )  # fmt: skip
    await announce(session, REVOKED, f"grant {grant_id}")


async def renew(session: AsyncSession, actor: Actor, grant_id: UUID, *, seconds: int) -> Given:
    """Prolong a grant that is still alive, if its reason still holds: rights and agreement are asked again."""
    grant = await session.scalar(
        select(Grant).where(Grant.id == grant_id, Grant.user_id == actor.user_id).with_for_update()
    )
    if grant is None:
        raise NotFound("there is no such grant of yours")
    if grant.revoked_at is not None or not grant.camera_ids:
        raise NotPermitted("this grant is over or lasts as long as the duty; ask for a new one")
    alive = await session.scalar(
        select(CameraPosition.id).where(CameraPosition.id == grant.camera_ids[0], rights.permitted(actor, "view"))
    )
    if alive is None:
        raise NotPermitted("the agreement that this grant stood on no longer covers it")
    row = (
        await session.execute(
            text(
                "UPDATE grants SET renewals = renewals + 1, expires_at ="
                " least(latest_expires_at, now() + make_interval(secs => least(:seconds,"
                " (SELECT grant_seconds FROM agreements WHERE id = grants.agreement_id))))"
                " WHERE id = :id AND at = :at AND expires_at > now() RETURNING expires_at"
            ),
            {"id": grant.id, "at": grant.at, "seconds": seconds},
        )
    ).first()
    if row is None:
        raise NotPermitted("this grant is over; ask for a new one")
    await entries.append(
        session,
        entries.entry(
            actor, "grant.renewed", owner_agency_id=grant.owner_agency_id, camera_id=grant.camera_ids[0],
            subject=("grant", grant_id),
        ),
    )  # fmt: skip
    await announce(session, RENEWED, str(grant_id))
    return Given(grant.id, grant.at, grant.camera_ids[0], row.expires_at, grant.entry_id)
