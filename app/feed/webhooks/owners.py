"""In whose name a webhook is told: the appointment that made it, as it stands now.

What decides about a delivery is at most a second old. For finding who may want an event (`known`) older knowledge will
do: whatever it lets through is judged again before anything is sent.
"""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.access import rights
from app.access.roles import ROLES
from app.actor import Actor
from app.database import Database
from app.feed.members import Viewer
from app.feed.webhooks.leases import among
from app.models import Agency, Appointment, User

FRESH_SECONDS = 1.0
LONG_AGO = float("-inf")
FOR_EVER = datetime.max.replace(tzinfo=UTC)

_OWNERS = (
    select(
        User.id.label("user_id"), User.login, User.disabled_at,
        Appointment.id.label("appointment_id"), Appointment.role, Appointment.valid_to,
        and_(
            Appointment.valid_from <= func.now(),
            or_(Appointment.valid_to.is_(None), Appointment.valid_to > func.now()),
        ).label("in_office"),
        Agency.id.label("agency_id"), Agency.name.label("agency_name"), Agency.body_id, Agency.acts_for_ids,
    )
    .join(User, User.id == Appointment.user_id)
    .join(Agency, Agency.id == Appointment.agency_id)
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Lost:
    """Nothing may be told in this appointment's name any more."""

    because: str  # account_disabled | office_ended | role_changed


def may_keep(capabilities: Collection[str]) -> bool:
    """Whether a role may have webhooks: it hears the feed, and administers or reports."""
    return "feed" in capabilities and ("administer" in capabilities or "ingest" in capabilities)


async def read(session: AsyncSession, appointment_ids: Collection[UUID]) -> dict[UUID, Viewer | Lost]:
    """Who may see what in the name of these appointments, now, by two queries for all."""
    rows = (await session.execute(_OWNERS.where(among(Appointment.id, appointment_ids)))).all()
    found: dict[UUID, Viewer | Lost] = {}
    actors: list[Actor] = []
    for row in rows:
        capabilities = ROLES.get(row.role, frozenset())
        if row.disabled_at is not None:
            found[row.appointment_id] = Lost("account_disabled")
        elif not row.in_office:
            found[row.appointment_id] = Lost("office_ended")
        elif not may_keep(capabilities):
            found[row.appointment_id] = Lost("role_changed")
        else:
            actors.append(
                Actor(
                    user_id=row.user_id, login=row.login, role=row.role, appointment_id=row.appointment_id,
                    agency_id=row.agency_id, agency_name=row.agency_name, body_id=row.body_id,
                    acts_for_ids=tuple(row.acts_for_ids),
                    session_id=row.appointment_id,  # nobody is signed in; this is what it is known by
                    expires_at=row.valid_to or FOR_EVER, capabilities=capabilities,
                )
            )  # fmt: skip
    scopes = await rights.scopes_of(session, actors, "locate") if actors else {}
    return found | {actor.appointment_id: Viewer(actor, scopes[actor.session_id]) for actor in actors}


class Owners:
    """What was last read of each appointment, and when."""

    def __init__(self, database: Database, reading: asyncio.Semaphore) -> None:
        self._database, self._reading = database, reading
        self._known: dict[UUID, tuple[Viewer | Lost, float]] = {}

    def known(self, appointment_id: UUID) -> Viewer | Lost | None:
        """As last read, however long ago; None if it never was."""
        found = self._known.get(appointment_id)
        return found[0] if found else None

    def doubt(self) -> None:
        """Rights have changed somewhere: what decides is read again."""
        self._known = {name: (found, LONG_AGO) for name, (found, _) in self._known.items()}

    async def refresh(self, appointment_ids: Collection[UUID]) -> None:
        """Read these again, and forget all others."""
        asked_at = clock.monotonic()
        async with self._database.begin() as session:
            found = await read(session, appointment_ids)
        self._known = {name: (owner, asked_at) for name, owner in found.items()}

    async def now(self, appointment_id: UUID) -> Viewer | Lost:
        """As it stands now, or stood at most a second ago."""
        found, at = self._known.get(appointment_id, (None, LONG_AGO))
        if found is None or clock.monotonic() - at > FRESH_SECONDS:
            async with self._reading, self._database.begin() as session:
                at = clock.monotonic()
                found = (await read(session, [appointment_id]))[appointment_id]
            later = self._known.get(appointment_id)
            if later is not None and later[1] > at:  # somebody who asked after us was answered before
                return later[0]
            self._known[appointment_id] = (found, at)
        return found
