"""Persons, their passwords and appointments; what the administrator of an agency does."""

import re
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, insert, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from app.access import passwords, sessions
from app.access.roles import ROLES
from app.actor import Actor
from app.announcements import announce
from app.audit import entries
from app.errors import Conflict, Malformed, NotFound, NotPermitted
from app.ids import new_id
from app.models import Agency, Appointment, Credential, Session, User

LOGIN = re.compile(r"[a-z0-9][a-z0-9._@-]{1,63}")


async def add(
    session: AsyncSession, actor: Actor | None, *, login: str, name: str, secret_hash: str, kind: str
) -> UUID:
    """A new person (or system); `actor` None is the operator at the command line. Refuses a login that is taken."""
    _check_administers(actor)
    login = login.strip().lower()
    if not LOGIN.fullmatch(login):
        raise Malformed("a login has 2 to 64 of a-z, 0-9 and . _ @ -, and begins with a letter or digit", field="login")
    if await session.scalar(select(User.id).where(User.login == login)):
        raise Conflict(f"the login {login} is taken", field="login")
    user_id = new_id()
    await session.execute(insert(User).values(id=user_id, login=login, name=name, kind=kind))
    await session.execute(
        insert(Credential).values(id=new_id(), user_id=user_id, kind="password", secret_hash=secret_hash)
    )
    await entries.append(session, entries.entry(actor, "user.added", subject=("user", user_id), added_login=login))
    return user_id


async def appoint(
    session: AsyncSession,
    actor: Actor | None,
    *,
    user_id: UUID,
    agency_id: UUID,
    role: str,
    rank: str = "",
    valid_to: datetime | None = None,
) -> UUID:
    """Give a person an office at an agency. An administrator appoints within the own institution only."""
    _check_administers(actor)
    if role not in ROLES:
        raise Malformed(f"role is one of: {', '.join(ROLES)}", field="role", expected=list(ROLES))
    agency = await session.get(Agency, agency_id)
    if agency is None or (actor is not None and agency.body_id != actor.body_id):
        raise NotFound("there is no such agency within your institution", field="agency_id")
    appointment_id = new_id()
    await session.execute(
        insert(Appointment).values(
            id=appointment_id, user_id=user_id, agency_id=agency_id, role=role, rank=rank, valid_to=valid_to
        )
    )
    await entries.append(
        session,
        entries.entry(
            actor, "appointment.made", owner_agency_id=agency.body_id, subject=("appointment", appointment_id),
            appointed_user_id=user_id, appointed_role=role,
        ),
    )  # fmt: skip
    return appointment_id


def _check_administers(actor: Actor | None) -> None:
    if actor is not None and not actor.may("administer"):
        raise NotPermitted("only an administrator may change people")


async def _administered(session: AsyncSession, actor: Actor | None, user_id: UUID) -> None:
    """Refuse unless every office that the person holds or will hold, one at least, is at the actor's own institution.

    Whoever has left is no longer the administrator's, and whoever serves elsewhere too is not the administrator's
    alone: a password set here would open the office there.
    """
    _check_administers(actor)
    if actor is None:
        return
    bodies = await session.scalars(
        select(Agency.body_id)
        .join(Appointment, Appointment.agency_id == Agency.id)
        .where(Appointment.user_id == user_id, or_(Appointment.valid_to.is_(None), Appointment.valid_to > func.now()))
        .distinct()
    )
    held_at = set(bodies)
    if actor.body_id not in held_at:
        raise NotFound("there is no such person at your institution")
    if held_at != {actor.body_id}:
        raise NotPermitted("this person serves at another institution too; end the appointment at yours instead")


async def change_password(session: AsyncSession, actor: Actor | None, user_id: UUID, password: str) -> None:
    """Set a password; all the person's sessions end."""
    if actor is None or actor.user_id != user_id:
        await _administered(session, actor, user_id)
    statement = upsert(Credential).values(
        id=new_id(), user_id=user_id, kind="password", secret_hash=await passwords.hashed(password)
    )
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=[Credential.user_id, Credential.kind, Credential.label],
            set_={"secret_hash": statement.excluded.secret_hash, "changed_at": func.now()},
        )
    )
    await _end_sessions(session, actor, user_id, "password_changed")
    await entries.append(session, entries.entry(actor, "credential.changed", subject=("user", user_id)))


async def disable(session: AsyncSession, actor: Actor | None, user_id: UUID, reason: str) -> None:
    """Disable an account: sessions end and views are cut at once, everywhere."""
    await _administered(session, actor, user_id)
    changed = await session.scalar(
        update(User)
        .where(User.id == user_id, User.disabled_at.is_(None))
        .values(disabled_at=func.now(), disabled_reason=reason)
        .returning(User.id)
    )
    if changed is None:
        raise NotFound("there is no such active account")
    await _end_sessions(session, actor, user_id, "account_disabled")
    await entries.append(session, entries.entry(actor, "user.disabled", subject=("user", user_id), reason=reason))


async def end_appointment(session: AsyncSession, actor: Actor | None, appointment_id: UUID) -> None:
    """End an office now; sessions in it end at once. An administrator ends those at the own institution only."""
    _check_administers(actor)
    appointment = await session.get(Appointment, appointment_id)
    agency = await session.get(Agency, appointment.agency_id) if appointment else None
    if agency is None or (actor is not None and agency.body_id != actor.body_id):
        raise NotFound("there is no such appointment at your institution")
    # An office that has not begun ends as it begins: an appointment lasts at least a moment.
    end = func.greatest(func.now(), Appointment.valid_from + text("interval '1 microsecond'"))
    await session.execute(
        update(Appointment)
        .where(Appointment.id == appointment_id, or_(Appointment.valid_to.is_(None), Appointment.valid_to > func.now()))
        .values(valid_to=end)
    )
    ids = (await session.scalars(select(Session.id).where(Session.appointment_id == appointment_id))).all()
    await sessions.end(session, actor, list(ids), cause="appointment_ended")
    await entries.append(
        session, entries.entry(actor, "appointment.ended", subject=("appointment", appointment_id))
    )  # fmt: skip


async def _end_sessions(session: AsyncSession, actor: Actor | None, user_id: UUID, cause: str) -> None:
    open_ids = (
        await session.scalars(select(Session.id).where(Session.user_id == user_id, Session.ended_at.is_(None)))
    ).all()
    await sessions.end(session, actor, list(open_ids), cause=cause)
    await announce(session, sessions.REVOKED, f"user {user_id}")


async def by_login(session: AsyncSession, login: str) -> User:
    """The account with a login."""
    user = await session.scalar(select(User).where(User.login == login.strip().lower()))
    if user is None:
        raise NotFound(f"there is no account {login}")
    return user
