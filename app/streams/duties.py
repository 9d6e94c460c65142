"""Duty (근무): an owner's operator watches the own cameras under one grant a shift and console, without any dialog.

At the change of shifts the next person signs in over the running wall: what runs there goes on under the new duty.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import Row, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.access import sessions
from app.access.codes import OWN_USE
from app.access.ending import end_grants
from app.access.roles import ROLES
from app.access.sessions import Attempt, Known
from app.actor import Actor
from app.announcements import announce
from app.audit import entries
from app.database import Database
from app.errors import NotPermitted, SessionEnded, WrongCredentials
from app.ids import new_id
from app.models import Grant, Session, Terminal
from app.streams.urls import Pass
from app.streams.writer import OFFERS, Given, Writer, given_of

SIGNED_OVER = (
    "signed_over"  # topic "<old grant id> <new grant id> <its at, isoformat>", and the cause of what ended by it
)
CONTINUES = "continues"  # kind of the reference by which a grant names the one that it carries on
MOST_SIGN_OVERS = 8  # that an old URL is followed through: more than a token lives to see

_DUTY_GRANT = """
SELECT id AS grant_id, at, expires_at, entry_id FROM grants
WHERE session_id = $1 AND kind = 'duty' AND NOT manifested AND revoked_at IS NULL AND expires_at > now() LIMIT 1
"""
_BEGIN_DUTY = """
INSERT INTO duties (id, appointment_id, agency_id, terminal_id, ends_at, taken_over_from)
SELECT $2, s.appointment_id, o.agency_id, s.terminal_id, s.expires_at, $3
FROM sessions s JOIN appointments o ON o.id = s.appointment_id
WHERE s.id = $1 AND s.ended_at IS NULL AND s.expires_at > now()
RETURNING id
"""
_DUTY = """
SELECT d.id FROM sessions s JOIN duties d ON d.id = s.duty_id AND d.ended_at IS NULL
WHERE s.id = $1 AND s.ended_at IS NULL AND s.expires_at > now()
"""
_ALONE = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"
_GIVE_DUTY = """
INSERT INTO grants (id, entry_id, kind, user_id, appointment_id, agency_id, session_id, terminal_id, duty_id,
    owner_agency_id, selector, basis, urgency, expires_at, latest_expires_at)
SELECT $2, $3, 'duty', s.user_id, s.appointment_id, o.agency_id, s.id, s.terminal_id, s.duty_id, $4,
    jsonb_build_object('owner_agency_ids', to_jsonb($5::uuid[])), $6, 4, s.expires_at, s.expires_at
FROM sessions s JOIN appointments o ON o.id = s.appointment_id WHERE s.id = $1
RETURNING id AS grant_id, at, expires_at, entry_id
"""
_OWN = f"""
SELECT id AS camera_id, {OFFERS.format(camera="camera_positions.id")} AS offers FROM camera_positions
WHERE id = ANY($1::uuid[]) AND owner_agency_id = ANY($2::uuid[]) AND has_stream AND retired_at IS NULL
"""  # noqa: S608 - our own SQL


async def give(database: Database, writer: Writer, actor: Actor, camera_ids: Sequence[UUID]) -> list[Given]:
    """The actor's own cameras among `camera_ids`, under the duty grant: made when first needed, in the order asked."""
    async with database.bare.acquire(timeout=1) as connection:
        own = {
            row["camera_id"]: row for row in await connection.fetch(_OWN, list(camera_ids), list(actor.acts_for_ids))
        }
        if not own:
            return []
        standing = await connection.fetchrow(_DUTY_GRANT, actor.session_id)
    if standing is None:
        standing = await writer.transact(lambda connection: begin(connection, actor))
    return [given_of({**dict(standing), **dict(own[camera_id])}) for camera_id in camera_ids if camera_id in own]


async def begin(connection: asyncpg.Connection, actor: Actor, *, taken_over_from: UUID | None = None) -> asyncpg.Record:
    """The duty grant of the actor's session, in the caller's transaction; with it the duty begins.

    From here on whatever changes the session's duty comes one after the other. SessionEnded when it is over.
    """
    await connection.execute(_ALONE, str(actor.session_id))
    if (standing := await connection.fetchrow(_DUTY_GRANT, actor.session_id)) is not None:
        return standing
    begun: dict[str, Any] = {}
    if await connection.fetchval(_DUTY, actor.session_id) is None:  # its grant may have been revoked, the duty lasts
        duty_id = await connection.fetchval(_BEGIN_DUTY, actor.session_id, new_id(), taken_over_from)
        if duty_id is None:
            raise SessionEnded("this session is over; sign in again / 세션이 종료되었습니다. 다시 로그인하십시오")
        await connection.execute("UPDATE sessions SET duty_id = $2 WHERE id = $1", actor.session_id, duty_id)
        begun = {"began_duty_id": duty_id, "taken_over_from_duty_id": taken_over_from}
    grant_id = new_id()
    entry = entries.entry(
        actor, "grant.given", owner_agency_id=actor.body_id, subject=("grant", grant_id), kind="duty", basis=OWN_USE,
        **begun,
    )  # fmt: skip
    await entries.store(connection, [entry])
    return await connection.fetchrow(
        _GIVE_DUTY, actor.session_id, grant_id, entry.id, actor.body_id, list(actor.acts_for_ids), OWN_USE
    )  # fmt: skip


# Signing over

_CARRY_ON = """
INSERT INTO grants (id, entry_id, kind, user_id, appointment_id, agency_id, session_id, terminal_id, duty_id,
    owner_agency_id, camera_ids, selector, use_purpose, basis, conditions, refs, urgency, tour_id, manifested, exercise,
    restriction, protocols, quality, bound_address, expires_at, latest_expires_at)
SELECT $3, $4, g.kind, s.user_id, s.appointment_id, o.agency_id, s.id, s.terminal_id, s.duty_id,
    g.owner_agency_id, g.camera_ids, g.selector, g.use_purpose, g.basis, g.conditions,
    jsonb_build_array(jsonb_build_object('kind', $6::text, 'number', g.id)), g.urgency, g.tour_id, g.manifested,
    g.exercise, g.restriction, g.protocols, g.quality, g.bound_address, s.expires_at, s.expires_at
FROM grants g, sessions s JOIN appointments o ON o.id = s.appointment_id
WHERE g.id = $1 AND g.at = $2 AND s.id = $5
RETURNING id, at
"""
_CARRY_ON_DUTY = """
UPDATE grants n SET bound_address = o.bound_address,
    refs = jsonb_build_array(jsonb_build_object('kind', $5::text, 'number', o.id))
FROM grants o WHERE o.id = $1 AND o.at = $2 AND n.id = $3 AND n.at = $4
"""
# All of it was one transaction: the grant that carries another on is of that very moment.
_SUCCESSOR = """
SELECT n.id, n.at FROM grants o JOIN grants n ON n.user_id = o.revoked_by AND n.at = o.revoked_at
    AND n.refs @> jsonb_build_array(jsonb_build_object('kind', $3::text, 'number', o.id))
WHERE o.id = $1 AND o.at = $2 AND o.revoked_cause = $4
"""


@dataclass(frozen=True, slots=True)
class Moved:
    """A grant of the console, under which it ran and under which it runs on."""

    old_grant_id: UUID
    grant_id: UUID
    at: datetime


@dataclass(frozen=True, slots=True)
class SignedOver:
    """The next person's session and duty, and what runs on under it; the only time the token is seen."""

    access_token: str
    expires_at: datetime
    actor: Actor
    duty_id: UUID
    grants: tuple[Moved, ...]


async def sign_over(
    session: AsyncSession, running: Actor, attempt: Attempt, *, proof: str | None, hours: float
) -> SignedOver | WrongCredentials | NotPermitted:
    """The next person signs in over a console's running session, which ends; its duty and walls move, uncut.

    One transaction: new session and duty at the same terminal, a new grant for each wall, the old ones revoked, each
    pair announced (`signed_over`) for who carries them. What else the person before was given ends and is cut.
    A refusal of the person is returned, not raised, so that its entry is committed; then the running session goes on
    untouched. Raises SessionEnded when that is over, as for the second of two who sign over at once.
    """
    console = await _console(session)
    await console.execute(_ALONE, str(running.session_id))
    before = await _running(session, running)
    known = await sessions.recognise(session, attempt, proof=proof)
    if isinstance(known, WrongCredentials):
        return known
    if (refusal := await _refused(session, running, known)) is not None:
        return refusal
    signed_in = await sessions.begin(
        session, replace(known, terminal_id=running.terminal_id), attempt.address, hours=hours
    )  # fmt: skip
    actor = signed_in.actor
    await sessions.end(session, actor, [running.session_id], cause=SIGNED_OVER, cuts=False)
    duty = await begin(console, actor, taken_over_from=before.duty_id)
    moved = await _move(session, console, running, actor, duty)
    duty_id = await session.scalar(select(Session.duty_id).where(Session.id == actor.session_id))
    assert duty_id is not None
    await entries.append(
        session,
        entries.entry(
            actor, "session.signed_over", owner_agency_id=actor.body_id, subject=("session", running.session_id),
            from_user_id=running.user_id, from_login=running.login, from_session_id=running.session_id,
            from_duty_id=before.duty_id, began_duty_id=duty_id, moved_grants=len(moved),
        ),
    )  # fmt: skip
    for one in moved:
        await announce(session, SIGNED_OVER, f"{one.old_grant_id} {one.grant_id} {one.at.isoformat()}")
    return SignedOver(signed_in.access_token, signed_in.expires_at, actor, duty_id, tuple(moved))


async def _console(session: AsyncSession) -> asyncpg.Connection:
    """The session's own asyncpg connection, inside its transaction: for what this room says in bare SQL."""
    await session.execute(text("SELECT 1"))  # the transaction begins with the first statement
    return (await (await session.connection()).get_raw_connection()).driver_connection


async def _running(session: AsyncSession, running: Actor) -> Row[UUID | None]:
    """The session that is signed over, locked with its terminal; SessionEnded when it is over."""
    if running.terminal_id is not None:  # in the order in which a terminal is retired
        await session.execute(select(Terminal.id).where(Terminal.id == running.terminal_id).with_for_update(read=True))
    row = (
        await session.execute(
            select(Session.duty_id)
            .where(Session.id == running.session_id, Session.ended_at.is_(None), Session.expires_at > func.now())
            .with_for_update(key_share=True)
        )
    ).first()
    if row is None:
        raise SessionEnded("this session is over; sign in as usual / 세션이 종료되었습니다. 새로 로그인하십시오")
    return row


async def _refused(session: AsyncSession, running: Actor, known: Known) -> NotPermitted | None:
    """Why this person cannot take the console over, written down; None if nothing speaks against it."""
    if known.agency.body_id != running.body_id:
        missing, why = "institution", "only who serves at the same institution takes a console over; sign in as usual"
    elif "view" not in ROLES.get(known.appointment.role, frozenset()):
        missing, why = "view", f"the role {known.appointment.role} sees no footage and cannot take a console over"
    else:
        return None
    await entries.append(
        session,
        entries.entry(
            running, "session.signed_over", "refused", owner_agency_id=running.body_id,
            subject=("session", running.session_id), missing=missing, tried_user_id=known.user.id,
            tried_login=known.user.login,
        ),
    )  # fmt: skip
    return NotPermitted(why, missing=missing)


async def _move(
    session: AsyncSession, console: asyncpg.Connection, running: Actor, actor: Actor, duty: asyncpg.Record
) -> list[Moved]:
    """Give the old session's duty and walls again to the new one, and end everything else it was given."""
    standing = (
        await session.execute(
            select(Grant)
            .where(Grant.session_id == running.session_id, Grant.revoked_at.is_(None), Grant.expires_at > func.now())
            .order_by(Grant.id)
            .with_for_update(key_share=True)
        )
    ).scalars().all()  # fmt: skip
    moved = []
    for grant in standing:
        if grant.kind == "duty" and not grant.manifested:
            await console.execute(_CARRY_ON_DUTY, grant.id, grant.at, duty["grant_id"], duty["at"], CONTINUES)
            moved.append(Moved(grant.id, duty["grant_id"], duty["at"]))
        elif grant.manifested and grant.agreement_id is None and grant.owner_agency_id in actor.acts_for_ids:
            moved.append(await _carry_on(console, actor, grant))
    ids = [one.old_grant_id for one in moved]
    await session.execute(
        update(Grant)
        .where(Grant.id.in_(ids), Grant.session_id == running.session_id)
        .values(revoked_at=func.now(), revoked_by=actor.user_id, revoked_cause=SIGNED_OVER)
    )
    for grant in standing:
        if grant.id in ids:
            await entries.append(session, _ending(actor, grant, running))
    await end_grants(
        session, actor, Grant.session_id == running.session_id, cause=SIGNED_OVER, from_login=running.login
    )  # fmt: skip
    return moved


def _ending(actor: Actor, grant: Grant, running: Actor) -> entries.Entry:
    act = "wall.stopped" if grant.manifested else "grant.revoked"
    details: dict[str, Any] = {"cause": SIGNED_OVER, "holder_user_id": running.user_id, "from_duty_id": grant.duty_id}
    return entries.entry(
        actor, act, owner_agency_id=grant.owner_agency_id, subject=("grant", grant.id), tour_id=grant.tour_id, **details
    )  # fmt: skip


async def _carry_on(console: asyncpg.Connection, actor: Actor, grant: Grant) -> Moved:
    grant_id = new_id()
    entry = entries.entry(
        actor, "wall.started", owner_agency_id=grant.owner_agency_id, subject=("grant", grant_id), kind=grant.kind,
        basis=grant.basis, cameras=len(grant.camera_ids), tour_id=grant.tour_id, cause=SIGNED_OVER,
        continues_grant_id=grant.id,
    )  # fmt: skip
    await entries.store(console, [entry])
    row = await console.fetchrow(_CARRY_ON, grant.id, grant.at, grant_id, entry.id, actor.session_id, CONTINUES)
    return Moved(grant.id, row["id"], row["at"])


async def successor(connection: asyncpg.Connection, grant_id: UUID, at: datetime) -> tuple[UUID, datetime] | None:
    """The grant (id, at) that carries on one that was signed over, through later sign-overs too; None if there is none.

    For a console that comes back with a URL of the shift before. Whether it may play is for `views.permit` to say.
    """
    found = None
    for _ in range(MOST_SIGN_OVERS):
        row = await connection.fetchrow(_SUCCESSOR, grant_id, at, CONTINUES, SIGNED_OVER)
        if row is None:
            break
        found = grant_id, at = row["id"], row["at"]
    return found


async def following(connection: asyncpg.Connection, ticket: Pass) -> Pass | None:
    """The pass that carries on one whose duty was signed over; None where none does."""
    found = await successor(connection, ticket.grant_id, ticket.grant_at)
    return replace(ticket, grant_id=found[0], grant_at=found[1]) if found else None
