"""Restricted acts (제한): who may know more of one than that it was done, when, to what and by which institution.

Who did it, and the institution in whose name it was done; and who keeps the registers of the institution whose camera
it was, since the law has them write down to whom it was shown and why. Nobody else: neither the owner's auditors, nor
those above, nor whoever runs the servers. That it is in the log can be proved to all of them: no person stands in what
is proved. An incident that turns out to be restricted later makes what was written about it before restricted as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, exists, false, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.actor import Actor
from app.models import Agency, RestrictedIncident

KEEP = "keep_registers"


def incident_is_restricted(incident_id: str) -> str:
    """SQL: whether an incident is restricted by now."""
    return f"EXISTS (SELECT FROM restricted_incidents i WHERE i.incident_id = {incident_id})"


def grant_is_restricted(grant: str) -> str:
    """SQL: whether a row of `grants` (its alias) is restricted, by itself or by its incident."""
    return f"({grant}.restriction <> '' OR {incident_is_restricted(f'{grant}.incident_id')})"


def in_the_name_of(actor: Actor) -> Select[UUID]:
    """The agencies that act in the name of the actor's institution: itself, its units, stations of its police."""
    return select(Agency.id).where(Agency.acts_for_ids.contains([actor.body_id]))


def kept_by(actor: Actor) -> Select[UUID]:
    """The agencies whose registers the actor keeps: those of the own institution, or none."""
    return select(Agency.id).where(Agency.body_id == actor.body_id if actor.may(KEEP) else false())


def known_to(
    actor: Actor, *, restriction: Any, incident_id: Any, user_id: Any, agency_id: Any, owner_agency_id: Any
) -> ColumnElement[bool]:
    """Whether the actor may know all of a row with these columns; `user_id` is a condition where it is no column."""
    free = and_(restriction == "", ~exists().where(RestrictedIncident.incident_id == incident_id))
    return or_(free, user_id, agency_id.in_(in_the_name_of(actor)), owner_agency_id.in_(kept_by(actor)))


@dataclass(frozen=True, slots=True)
class Circle:
    """The same as ids, for what is asked of many rows."""

    own: frozenset[UUID]
    kept: frozenset[UUID]
    incidents: frozenset[UUID]

    def knows(self, row: Mapping[str, Any]) -> bool:
        """Whether all may be told of a row with `restriction`, `incident_id`, `agency_id` and `owner_agency_id`."""
        is_restricted = row["restriction"] or row["incident_id"] in self.incidents
        return not is_restricted or row["agency_id"] in self.own or row["owner_agency_id"] in self.kept


async def circle_of(session: AsyncSession, actor: Actor) -> Circle:
    """Whose restricted acts the actor may know."""
    own, kept = await session.scalars(in_the_name_of(actor)), await session.scalars(kept_by(actor))
    incidents = await session.scalars(select(RestrictedIncident.incident_id))
    return Circle(frozenset(own), frozenset(kept), frozenset(incidents))
