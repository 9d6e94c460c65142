"""Sessions: signing in, being recognised, signing out. Tokens are opaque, hashed at rest, and end everywhere."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    DateTime,
    LargeBinary,
    Row,
    RowMapping,
    Select,
    Uuid,
    bindparam,
    delete,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.ext.asyncio import AsyncSession

from app.access import pace
from app.access.roles import ROLES
from app.actor import Actor
from app.announcements import announce
from app.audit import entries
from app.database import On, fetch
from app.errors import NotSignedIn, Refusal, SessionEnded, WrongCredentials
from app.ids import new_id
from app.models import Agency, Appointment, Credential, Duty, Session, Terminal, Ticket, User

TOKEN_PREFIX = "gwj_"  # noqa: S105 - marks a token as ours, so that it can be found where it should not be
TICKET_SECONDS = 30
REVOKED = "revoked"  # the topic on which ended sessions and grants are announced
SIGNED_OFF = "signed_off"  # "<session id>": over, and so are its feeds; what runs on its screen is dealt with elsewhere


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What a successful login gives: the only time the token is seen."""

    access_token: str
    expires_at: datetime
    actor: Actor


def digest(token: str) -> bytes:
    return sha256(token.encode()).digest()


def _appointed_now() -> list[ColumnElement[bool]]:
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


@dataclass(frozen=True, slots=True)
class Known:
    """Who an attempt proved to be, in which office, at which enrolled terminal."""

    user: User
    appointment: Appointment
    agency: Agency
    terminal_id: UUID | None


async def sign_in(
    session: AsyncSession, attempt: Attempt, *, proof: str | None, hours: float
) -> SignedIn | WrongCredentials:
    """Open a session for an attempt whose password fits the hash `proof` (None: it fits nothing).

    A failure is returned, not raised, so that its audit entry is committed. With several current appointments the
    newest counts, or that at `agency_id`.
    """
    known = await recognise(session, attempt, proof=proof)
    if isinstance(known, WrongCredentials):
        return known
    return await begin(session, known, attempt.address, hours=hours)


async def recognise(session: AsyncSession, attempt: Attempt, *, proof: str | None) -> Known | WrongCredentials:
    """Who signs in, without opening a session yet; a failure is counted, written down and returned."""
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
    return Known(user, found.Appointment, found.Agency, terminal.id if terminal else None)


async def begin(session: AsyncSession, known: Known, address: str, *, hours: float) -> SignedIn:
    """A new session of who was recognised; it ends with the office at the latest."""
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    session_id = new_id()
    until = func.least(
        func.now() + timedelta(hours=hours), literal(known.appointment.valid_to, DateTime(timezone=True))
    )
    await session.execute(
        insert(Session).values(
            id=session_id,
            token_digest=digest(token),
            user_id=known.user.id,
            appointment_id=known.appointment.id,
            terminal_id=known.terminal_id,
            address=address,
            expires_at=until,
        )
    )
    actor = await of_session(session, session_id, address)
    await entries.append(session, entries.entry(actor, "session.opened", subject=("session", session_id)))
    return SignedIn(token, actor.expires_at, actor)


async def _appointment(session: AsyncSession, user: User, agency_id: UUID | None) -> Row[Appointment, Agency] | None:
    query = (
        select(Appointment, Agency)
        .join(Agency, Agency.id == Appointment.agency_id)
        .where(Appointment.user_id == user.id, *_appointed_now())
        .order_by(Appointment.valid_from.desc())
        .limit(1)
    )
    if agency_id is not None:
        query = query.where(Appointment.agency_id == agency_id)
    return (await session.execute(query)).first()


async def _terminal(session: AsyncSession, key: str, agency: Agency) -> Terminal | None:
    """The enrolled terminal of the device key, if it stands at the same institution and is not retired.

    It is locked: who retires it at this moment waits, and then ends the session that is being opened.
    """
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
        .with_for_update(read=True, of=Terminal)
    )


# By columns, and built once: every request of every door runs it.
_ACTOR: Select[*tuple[Any, ...]] = (
    select(
        Session.id.label("session_id"), Session.expires_at, Session.duty_id,
        User.id.label("user_id"), User.login, literal_column("users.kind = 'system'").label("is_system"),
        Appointment.id.label("appointment_id"), Appointment.role, Appointment.valid_to,
        Agency.id.label("agency_id"), Agency.name.label("agency_name"), Agency.body_id, Agency.acts_for_ids,
        Terminal.id.label("terminal_id"), Terminal.zone,
    )
    .join(User, User.id == Session.user_id)
    .join(Appointment, Appointment.id == Session.appointment_id)
    .join(Agency, Agency.id == Appointment.agency_id)
    .outerjoin(Terminal, Terminal.id == Session.terminal_id)
    .where(
        Session.ended_at.is_(None),
        Session.expires_at > func.now(),
        User.disabled_at.is_(None),
        *_appointed_now(),
    )
)  # fmt: skip
OF_TOKENS = str(
    _ACTOR.add_columns(Session.token_digest)
    .where(Session.token_digest == func.any(bindparam("sought", type_=ARRAY(LargeBinary()))))
    .compile(dialect=asyncpg.dialect())  # type: ignore[no-untyped-call]
)
_BY_ID = _ACTOR.where(Session.id == bindparam("sought"))
_BY_IDS = _ACTOR.where(Session.id == func.any(bindparam("sought", type_=ARRAY(Uuid()))))


async def authenticate(on: On, token: str, address: str) -> Actor:
    """The actor of a bearer token, by one query; refuses it when unknown, ended, or when its person lost the office."""
    rows = await fetch(on, OF_TOKENS, digests([token])) if token else []
    actor = of_tokens([token], rows)[token]
    if isinstance(actor, Refusal):
        raise actor
    return replace(actor, address=address)


def digests(tokens: Iterable[str]) -> list[bytes]:
    """The argument of `OF_TOKENS`."""
    return [digest(token) for token in tokens]


def of_tokens(tokens: Iterable[str], rows: Iterable[Any]) -> dict[str, Actor | Refusal]:
    """As `authenticate`, for many tokens by the rows of `OF_TOKENS`: the actors, without an address, or refusals."""
    named = (getattr(row, "_mapping", row) for row in rows)  # of a session's rows
    known = {row["token_digest"]: _actor_of(row, "") for row in named}
    return {token: known.get(digest(token)) or (_over() if token else _unsigned()) for token in tokens}


async def of_session(session: AsyncSession, session_id: UUID, address: str) -> Actor:
    """The actor of a session, as it stands now: for connections that outlive a request."""
    return await _actor(session, _BY_ID, session_id, address)


async def as_they_stand(session: AsyncSession, actors: Iterable[Actor]) -> dict[UUID, Actor]:
    """Of many actors those whose sessions still stand, as they are now, by session id; one query for all."""
    addresses = {actor.session_id: actor.address for actor in actors}
    rows = (await session.execute(_BY_IDS, {"sought": list(addresses)})).mappings()
    return {row["session_id"]: _actor_of(row, addresses[row["session_id"]]) for row in rows}


async def _actor(session: AsyncSession, query: Select[*tuple[Any, ...]], sought: bytes | UUID, address: str) -> Actor:
    row = (await session.execute(query, {"sought": sought})).mappings().first()
    if row is None:
        raise _over()
    return _actor_of(row, address)


def _unsigned() -> Refusal:
    return NotSignedIn("send `Authorization: Bearer <access_token>`; POST /v1/sessions gives one")


def _over() -> Refusal:
    return SessionEnded("this session is over; sign in again / 세션이 종료되었습니다. 다시 로그인하십시오")


def _actor_of(row: RowMapping, address: str) -> Actor:
    return Actor(
        user_id=row["user_id"],
        login=row["login"],
        role=row["role"],
        appointment_id=row["appointment_id"],
        agency_id=row["agency_id"],
        agency_name=row["agency_name"],
        body_id=row["body_id"],
        acts_for_ids=tuple(row["acts_for_ids"]),
        session_id=row["session_id"],
        expires_at=min(row["expires_at"], row["valid_to"]) if row["valid_to"] else row["expires_at"],
        terminal_id=row["terminal_id"],
        duty_id=row["duty_id"],
        address=address,
        zone=row["zone"] or "default",
        is_system=row["is_system"],
        capabilities=ROLES.get(row["role"], frozenset()),
    )


async def sign_out(session: AsyncSession, actor: Actor) -> None:
    """End the actor's own session, on every worker at once."""
    await end(session, actor, [actor.session_id], cause="signed_out")


async def end(
    session: AsyncSession, actor: Actor | None, session_ids: list[UUID], *, cause: str, cuts: bool = True
) -> int:
    """End sessions and their duties; their feeds close and their views are cut, everywhere, when this commits.

    `cuts` False: only the feeds close, since what runs on the screen goes on under another session.
    """
    ended = (
        await session.execute(
            update(Session)
            .where(Session.id.in_(session_ids), Session.ended_at.is_(None))
            .values(ended_at=func.now(), ended_cause=cause)
            .returning(Session.id, Session.duty_id)
        )
    ).all()  # fmt: skip
    duty_ids = [row.duty_id for row in ended if row.duty_id is not None]
    if duty_ids:
        await session.execute(
            update(Duty).where(Duty.id.in_(duty_ids), Duty.ended_at.is_(None)).values(ended_at=func.now())
        )
    for row in ended:
        await entries.append(
            session, entries.entry(actor, "session.closed", subject=("session", row.id), cause=cause)
        )  # fmt: skip
        if cuts:
            await announce(session, REVOKED, f"session {row.id}")
        else:
            await announce(session, SIGNED_OFF, str(row.id))
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
