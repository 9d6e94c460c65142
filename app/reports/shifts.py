"""When a person was on duty, by the roster where there is one, else by the duties themselves."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

GRACE = timedelta(minutes=30)  # for handing over, before and after a planned shift
LONGEST = timedelta(days=2)  # of a duty: what began earlier does not reach into the period
KEPT_FOR = timedelta(days=92)  # whoever had a duty within it belongs to those who work in shifts

_DUTIES = text(
    "SELECT o.user_id, d.began_at, coalesce(d.ended_at, d.ends_at) AS ended_at, d.planned"
    " FROM duties d JOIN appointments o ON o.id = d.appointment_id"
    " WHERE d.agency_id = ANY(:agency_ids) AND d.began_at >= :since AND d.began_at < :until ORDER BY d.began_at"
).bindparams(
    bindparam("agency_ids", type_=ARRAY(Uuid())),
    bindparam("since", type_=DateTime(timezone=True)),
    bindparam("until", type_=DateTime(timezone=True)),
)


@dataclass(frozen=True, slots=True)
class Shifts:
    """Who works in shifts, and when each of them was on duty: [began, ended)."""

    people: frozenset[UUID]
    windows: Sequence[tuple[UUID, datetime, datetime]]
    rostered: frozenset[UUID]
    """Of whom a roster says when: a duty that it does not name is none."""


async def of(session: AsyncSession, agency_ids: Sequence[UUID], since: datetime, until: datetime) -> Shifts:
    """The shifts that touch [since, until), of everybody who had a duty at these agencies within three months."""
    rows = await session.execute(
        _DUTIES, {"agency_ids": list(agency_ids), "since": since - KEPT_FOR, "until": until}
    )  # fmt: skip
    return read([dict(row) for row in rows.mappings()], since)


def read(duties: Iterable[Mapping[str, Any]], since: datetime) -> Shifts:
    """As `of`, from rows of duties (user_id, began_at, ended_at, planned)."""
    rows = list(duties)
    planned = [(row["user_id"], window) for row in rows if (window := _planned(row["planned"])) is not None]
    rostered = frozenset(user_id for user_id, window in planned if window[1] > since)
    windows = {(user_id, *window) for user_id, window in planned if user_id in rostered and window[1] > since}
    for row in rows:
        if row["user_id"] not in rostered and row["ended_at"] > since and row["began_at"] > since - LONGEST:
            windows.add((row["user_id"], row["began_at"], row["ended_at"]))
    return Shifts(frozenset(row["user_id"] for row in rows), sorted(windows, key=lambda one: one[1]), rostered)


def _planned(said: Any) -> tuple[datetime, datetime] | None:
    """The planned shift with its grace; None where a duty has none, or one that nobody can read."""
    try:
        began, ended = (datetime.fromisoformat(said[name]) for name in ("from", "to"))
        if began.tzinfo is None or ended.tzinfo is None or not began < ended:
            return None
        return began - GRACE, ended + GRACE
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
