"""Sessions: signing in, being recognised, signing out. Tokens are opaque, hashed at rest, and end everywhere."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

from sqlalchemy import DateTime, Row, delete, func, insert, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.access import pace
from app.access.roles import ROLES
from app.actor import Actor
from app.announcements import announce
from app.audit import entries
from app.errors import NotSignedIn, SessionEnded, WrongCredentials
from app.ids import new_id
from app.models import Agency, Appointment, Credential, Session, Terminal, Ticket, User

TOKEN_PREFIX = "gwj_"  # noqa: S105 - marks a token as ours, so that it can be found where it should not be
TICKET_SECONDS = 30
REVOKED = "revoked"  # the topic on which ended sessions and grants are announced


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What a successful login gives: the only time the token is seen."""

    access_token: str
    expires_at: datetime
    actor: Actor


def digest(token: str) -> bytes:
    return sha256(token.encode()).digest()


def _appointed_now() -> list[object]:
    return [
        Appointment.valid_from <= func.now(),
        or_(Appointment.valid_to.is_(None), Appointment.valid_to > func.now()),
    ]


@dataclass(frozen=True, slots=True)
class Attempt:
    """A login as it came in; `terminal_key` is the device key of an enrolled terminal."""

    login: str
    password: str
    address: str
    agency_id: UUID | None = None
    terminal_key: str = ""


async def secret_of(session: AsyncSession, attempt: Attempt) -> str | None:
    """The hash that the attempt's password must fit; None if there is no such account. Refuses (429) too many failures.

    Comparing takes tens of milliseconds: the door does it between two transactions, holding no connection.
    """
    login = attempt.login.strip().lower()
    user_id = await session.scalar(select(User.id).where(User.login == login))
    await pace.check(session, login, user_id, attempt.address)
    return await _secret(session, login)


async def _secret(session: AsyncSession, login: str) -> str | None:
    return await session.scalar(
        select(Credential.secret_hash)
        .join(User, User.id == Credential.user_id)
        .where(User.login == login, Credential.kind == "password")
    )


async def refuse(session: AsyncSession, attempt: Attempt) -> WrongCredentials:
    """Count a failed attempt and write it down; the refusal is returned, not raised, so that this is committed."""
    login = attempt.login.strip().lower()
    user_id = await session.scalar(select(User.id).where(User.login == login))
    await pace.failed(session, login, user_id, attempt.address)
    await entries.append(
        session,
        entries.entry(
            None, "session.refused", "refused", address=attempt.address, login_tried=login, tried_user_id=user_id
        ),
    )  # fmt: skip
    return WrongCredentials("login or password is wrong / 아이디 또는 비밀번호가 올바르지 않습니다")


async def sign_in(
    session: AsyncSession, attempt: Attempt, *, proof: str | None, hours: float
) -> SignedIn | WrongCredentials:
    """Open a session for an attempt whose password fits the hash `proof` (None: it fits nothing).

    A failure is returned, not raised, so that its audit entry is committed. With several current appointments the
    newest counts, or that at `agency_id`.
    """
    login = attempt.login.strip().lower()
    user = await session.scalar(select(User).where(User.login == login))
    fits = proof is not None and proof == await _secret(session, login)  # not changed meanwhile
    enabled = user is not None and user.disabled_at is None
    found = await _appointment(session, user, attempt.agency_id) if user and fits and enabled else None
    terminal = await _terminal(session, attempt.terminal_key, found.Agency) if found else None
    strange = bool(attempt.terminal_key) and terminal is None
    if user is None or found is None or strange:
        refusal = await refuse(session, attempt)
        if found and strange:
            return WrongCredentials(
                "this device key is not enrolled at your agency; ask your administrator to enrol it"
            )
        return refusal
    await pace.succeeded(session, user.id, attempt.address)
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    session_id = new_id()
    until = func.least(
        func.now() + timedelta(hours=hours), literal(found.Appointment.valid_to, DateTime(timezone=True))
    )
    expires_at = (
        await session.execute(
            insert(Session)
            .values(
                id=session_id,
                token_digest=digest(token),
                user_id=user.id,
                appointment_id=found.Appointment.id,
                terminal_id=terminal.id if terminal else None,
                address=attempt.address,
                expires_at=until,
            )
            .returning(Session.expires_at)
        )
    ).scalar_one()
    actor = _actor(user, found.Appointment, found.Agency, session_id, expires_at, terminal, None, attempt.address)
    await entries.append(session, entries.entry(actor, "session.opened", subject=("session", session_id)))
    return SignedIn(token, expires_at, actor)


async def _appointment(session: AsyncSession, user: User, agency_id: UUID | None) -> Row[Appointment, Agency] | None:
    query = (
        select(Appointment, Agency)
        .join(Agency, Agency.id == Appointment.agency_id)
        .where(Appointment.user_id == user.id, *_appointed_now())  # type: ignore[arg-type]
        .order_by(Appointment.valid_from.desc())
        .limit(1)
    )
    if agency_id is not None:
        query = query.where(Appointment.agency_id == agency_id)
    return (await session.execute(query)).first()


async def _terminal(session: AsyncSession, key: str, agency: Agency) -> Terminal | None:
    """The enrolled terminal of the device key, if it stands at the same institution and is not retired."""
    if not key:
        return None
    return await session.scalar(
        select(Terminal)
        .join(Agency, Agency.id == Terminal.agency_id)
        .where(
            Terminal.device_key_digest == digest(key),
            Terminal.retired_at.is_(None),
            Agency.body_id == agency.body_id,
        )
    )


def _actor(
    user: User,
    appointment: Appointment,
    agency: Agency,
    session_id: UUID,
    expires_at: datetime,
    terminal: Terminal | None,
    duty_id: UUID | None,
    address: str,
) -> Actor:
    return Actor(
        user_id=user.id,
        login=user.login,
        role=appointment.role,
        appointment_id=appointment.id,
        agency_id=agency.id,
        agency_name=agency.name,
        body_id=agency.body_id,
        acts_for_ids=tuple(agency.acts_for_ids),
        session_id=session_id,
        expires_at=min(expires_at, appointment.valid_to) if appointment.valid_to else expires_at,
        terminal_id=terminal.id if terminal else None,
        duty_id=duty_id,
        address=address,
        zone=terminal.zone if terminal else "default",
        capabilities=ROLES.get(appointment.role, frozenset()),
    )


async def authenticate(session: AsyncSession, token: str, address: str) -> Actor:
    """The actor of a bearer token, by one query; refuses it when unknown, ended, or when its person lost the office."""
    if not token:
        raise NotSignedIn("send `Authorization: Bearer <access_token>`; POST /v1/sessions gives one")
    return await _actor_of(session, Session.token_digest == digest(token), address)


async def of_session(session: AsyncSession, session_id: UUID, address: str) -> Actor:
    """The actor of a session, as it stands now: for connections that outlive a request."""
    return await _actor_of(session, Session.id == session_id, address)


async def _actor_of(session: AsyncSession, condition: object, address: str) -> Actor:
    row = (
        await session.execute(
            select(Session, User, Appointment, Agency, Terminal)
            .join(User, User.id == Session.user_id)
            .join(Appointment, Appointment.id == Session.appointment_id)
            .join(Agency, Agency.id == Appointment.agency_id)
            .outerjoin(Terminal, Terminal.id == Session.terminal_id)
            .where(
                condition,  # type: ignore[arg-type]
                Session.ended_at.is_(None),
                Session.expires_at > func.now(),
                User.disabled_at.is_(None),
                *_appointed_now(),  # type: ignore[arg-type]
            )
        )
    ).first()
    if row is None:
        raise SessionEnded("this session is over; sign in again / 세션이 종료되었습니다. 다시 로그인하십시오")
    signed_in, user, appointment, agency, terminal = row
    return _actor(
        user, appointment, agency, signed_in.id, signed_in.expires_at, terminal, signed_in.duty_id, address
    )  # fmt: skip


async def sign_out(session: AsyncSession, actor: Actor) -> None:
    """End the actor's own session, on every worker at once."""
    await end(session, actor, [actor.session_id], cause="signed_out")


async def end(session: AsyncSession, actor: Actor | None, session_ids: list[UUID], *, cause: str) -> int:
    """End sessions; their feeds close and their views are cut, everywhere, when this commits."""
    ended = (
        await session.execute(
            update(Session)
            .where(Session.id.in_(session_ids), Session.ended_at.is_(None))
            .values(ended_at=func.now(), ended_cause=cause)
            .returning(Session.id)
        )
    ).scalars().all()  # fmt: skip
    for session_id in ended:
        await entries.append(
            session, entries.entry(actor, "session.closed", subject=("session", session_id), cause=cause)
        )  # fmt: skip
        await announce(session, REVOKED, f"session {session_id}")
    return len(ended)


async def ticket(session: AsyncSession, actor: Actor) -> str:
    """A single-use stand-in for the token, good for 30 s: for browsers, which cannot set headers on a WebSocket."""
    code = secrets.token_urlsafe(24)
    await session.execute(delete(Ticket).where(Ticket.expires_at < func.now()))
    await session.execute(
        insert(Ticket).values(
            digest=digest(code), session_id=actor.session_id, expires_at=func.now() + timedelta(seconds=TICKET_SECONDS)
        )
    )
    return code


async def redeem(session: AsyncSession, code: str, address: str) -> Actor:
    """The actor of a ticket, which is used up by this."""
    session_id = await session.scalar(
        delete(Ticket).where(Ticket.digest == digest(code), Ticket.expires_at > func.now()).returning(Ticket.session_id)
    )
    if session_id is None:
        raise NotSignedIn("this ticket was used or is older than 30 s; POST /v1/feed/tickets gives a new one")
    return await of_session(session, session_id, address)
