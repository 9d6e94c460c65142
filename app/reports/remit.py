"""Whose registers a person may read and keep, for which days, and what stays restricted in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.hours import KOREA
from app.actor import Actor
from app.audit import restricted
from app.clock import now
from app.errors import Malformed, NotFound, NotPermitted
from app.models import Agency

MOST_DAYS = 366
FIRST, LAST = date(2000, 1, 1), date(2200, 1, 1)
READ, KEEP = "read_registers", restricted.KEEP


@dataclass(frozen=True, slots=True)
class Period:
    """Whole days in Korean time, the first and the last included."""

    first: date
    last: date

    @property
    def since(self) -> datetime:
        return datetime.combine(self.first, time(), KOREA).astimezone(UTC)

    @property
    def until(self) -> datetime:
        """The first moment that does not belong to it."""
        return datetime.combine(self.last + timedelta(days=1), time(), KOREA).astimezone(UTC)


def period(first: date, last: date) -> Period:
    """The days from the first to the last; Malformed when they are no period of at most a year."""
    if not FIRST <= first <= last <= LAST:
        raise Malformed("from is a day, and to the same day or a later one", field="to")
    if (last - first).days >= MOST_DAYS:
        raise Malformed(f"a register covers at most {MOST_DAYS} days; take one year after the other", field="to")
    return Period(first, last)


def today() -> date:
    """The day it is in Korea."""
    return now().astimezone(KOREA).date()


async def agency_of(session: AsyncSession, actor: Actor | None, agency_id: UUID | None, capability: str) -> Agency:
    """The institution whose registers are meant: the own one unless named.

    Its own people with the capability, and auditors above it, who only read. None is whoever runs the servers. Raises
    NotPermitted, NotFound.
    """
    if actor is not None:
        actor.must(capability)
    wanted = agency_id or (actor.body_id if actor is not None else None)
    named = await session.get(Agency, wanted) if wanted is not None else None
    if named is None:
        raise NotFound("there is no such agency", field="agency_id")
    agency = named if named.body_id == named.id else await session.get_one(Agency, named.body_id)
    if actor is None or agency.id == actor.body_id:
        return agency
    if capability == READ and actor.may("read_audit") and actor.body_id in agency.ancestor_ids:
        return agency
    raise NotPermitted(f"the registers of {agency.name} are for its own officials and the auditors above it")


@dataclass(frozen=True, slots=True)
class Reader:
    """What a reader of registers may know of restricted rows: all, or those of the own institution's acts."""

    keeps: bool
    body_id: UUID | None

    def knows(self, restriction: str, acted_for: Sequence[UUID] | None) -> bool:
        """Whether all of a row may be told; `acted_for`: the institutions in whose name it was done."""
        return self.keeps or not restriction or self.body_id in (acted_for or ())


def reader_of(actor: Actor | None, agency: Agency) -> Reader:
    """The reader of an agency's registers; None is whoever runs the servers, who knows of nothing restricted."""
    if actor is None:
        return Reader(keeps=False, body_id=None)
    return Reader(keeps=actor.may(KEEP) and agency.id == actor.body_id, body_id=actor.body_id)
