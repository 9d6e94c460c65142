"""Terminals (단말): consoles, tablets and systems that an administrator has enrolled, each with a device key.

The key is made here, shown once and kept as its SHA-256. A sign-in that shows it belongs to the terminal and its
network zone; the stream URLs of a tablet are of no use without a proof by it (see `app.streams.views.proof_of`).
"""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.access import sessions
from app.actor import Actor
from app.audit import entries
from app.errors import Conflict, Malformed, NotFound, NotPermitted
from app.ids import new_id
from app.models import Agency, Session, Terminal

KINDS = ("console", "tablet", "system")
ZONE = r"^[a-z0-9][a-z0-9_-]{0,39}$"
KEY_PREFIX = "gwd_"  # marks a device key as ours, so that it can be found where it should not be


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A new terminal and its key: the only time the key is seen."""

    terminal_id: UUID
    device_key: str


async def enrol(
    session: AsyncSession,
    actor: Actor | None,
    *,
    name: str,
    kind: str,
    zone: str = "default",
    agency_id: UUID | None = None,
) -> Enrolled:
    """Enrol a terminal of the own institution (`agency_id` None: the administrator's own agency).

    Raises Malformed, NotPermitted, NotFound (agency), Conflict (the name is taken there, also by a retired one).
    """
    _check_administers(actor)
    name = name.strip()
    if not name or not name.isprintable():
        raise Malformed("a terminal has a name, such as 관제석 3", field="name")
    if kind not in KINDS:
        raise Malformed(f"kind is one of: {', '.join(KINDS)}", field="kind", expected=list(KINDS))
    if not re.fullmatch(ZONE, zone, re.ASCII):
        raise Malformed("zone is a network zone's name: 1 to 40 of a-z, 0-9, _ and -", field="zone")
    at = agency_id or (actor.agency_id if actor else None)
    agency = await session.get(Agency, at) if at else None
    if agency is None or (actor is not None and agency.body_id != actor.body_id):
        raise NotFound("there is no such agency within your institution", field="agency_id")
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    made = await session.scalar(
        insert(Terminal)
        .values(
            id=new_id(), agency_id=agency.id, name=name, kind=kind, zone=zone, device_key_digest=sessions.digest(key)
        )
        .on_conflict_do_nothing(index_elements=[Terminal.agency_id, Terminal.name])
        .returning(Terminal.id)
    )  # fmt: skip
    if made is None:
        raise Conflict(f"a terminal {name} was enrolled there before; give this one another name", field="name")
    await entries.append(
        session,
        entries.entry(
            actor, "terminal.enrolled", owner_agency_id=agency.body_id, subject=("terminal", made), name=name,
            kind=kind, zone=zone, at_agency_id=agency.id,
        ),
    )  # fmt: skip
    return Enrolled(made, key)


async def listed(
    session: AsyncSession, actor: Actor | None, *, after: UUID | None = None, limit: int = 100
) -> Sequence[Terminal]:
    """The terminals of the own institution, retired ones included, in the order of their ids."""
    _check_administers(actor)
    query = select(Terminal).order_by(Terminal.id).limit(limit)
    if actor is not None:
        query = query.where(Terminal.agency_id.in_(select(Agency.id).where(Agency.body_id == actor.body_id)))
    if after is not None:
        query = query.where(Terminal.id > after)
    return (await session.scalars(query)).all()


async def retire(session: AsyncSession, actor: Actor | None, terminal_id: UUID, reason: str = "") -> None:
    """A terminal is lost or goes: its key opens nothing, its sessions end and their views are cut, everywhere."""
    _check_administers(actor)
    query = select(Terminal).where(Terminal.id == terminal_id, Terminal.retired_at.is_(None))
    if actor is not None:
        query = query.where(Terminal.agency_id.in_(select(Agency.id).where(Agency.body_id == actor.body_id)))
    terminal = await session.scalar(query.with_for_update(key_share=True))  # a sign-in here comes before or after
    if terminal is None:
        raise NotFound("there is no such terminal of your institution in use")
    await session.execute(update(Terminal).where(Terminal.id == terminal_id).values(retired_at=func.now()))
    open_ids = await session.scalars(
        select(Session.id).where(Session.terminal_id == terminal_id, Session.ended_at.is_(None))
    )
    ended = await sessions.end(session, actor, list(open_ids), cause="terminal_retired")
    await entries.append(
        session,
        entries.entry(
            actor, "terminal.retired", subject=("terminal", terminal_id), name=terminal.name, reason=reason,
            ended_sessions=ended, at_agency_id=terminal.agency_id,
        ),
    )  # fmt: skip


def _check_administers(actor: Actor | None) -> None:
    if actor is not None and not actor.may("administer"):
        raise NotPermitted("only an administrator keeps the terminals", missing="administer")
