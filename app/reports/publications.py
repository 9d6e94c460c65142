"""The publication of out-of-purpose use and provision by public bodies (PIPA 18(4); its Enforcement Rule art. 2).

Within thirty days, on the home page for at least ten: when, on which legal ground, for what, which items of personal
data; no person, no camera. What stands on consent (18(2)1) or serves the prosecution of crimes (18(2)7) is
exempt. Equal lines of a day are one, with their number.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, RowMapping, Text, bindparam, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.codes import USE_PURPOSES
from app.actor import Actor
from app.audit import entries
from app.errors import Conflict, Malformed, NotFound
from app.ids import new_id
from app.models import Agency, Publication
from app.reports import remit
from app.reports.current import CURRENT, PUBLISHED_BASES
from app.reports.provisions import read
from app.reports.registers import basis_words
from app.reports.remit import Period

# Exercises show real footage: they are told like the others.
_DUE = f"""
{CURRENT}, due AS MATERIALIZED (
    SELECT x.id, (x.provided_at AT TIME ZONE 'Asia/Seoul')::date AS day, x.kind, x.basis, x.law, x.purpose, x.items,
        x.restriction <> '' AS restricted
    FROM current x
    WHERE x.basis = ANY(:bases) AND x.kind IN ('use', 'provide')
        AND NOT EXISTS (SELECT FROM published_provisions p WHERE p.provision_id = x.id)
)"""  # noqa: S608 - our own SQL
_LISTED = f"""
{_DUE} SELECT day, kind, basis, law, purpose, items, restricted, count(*) AS count FROM due
GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, 2, 3, 4, 5, 6, 7
"""  # noqa: S608 - our own SQL
_TAKE = f"""
{_DUE}, taken AS (
    INSERT INTO published_provisions (provision_id, publication_id)
    SELECT id, :publication_id FROM due WHERE :with_restricted OR NOT restricted
)
SELECT day, kind, basis, law, purpose, items, count(*) AS count FROM due WHERE :with_restricted OR NOT restricted
GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6
"""  # noqa: S608 - our own SQL


def _binds(agency: Agency, period: Period) -> dict[str, Any]:
    return {
        "agency_id": agency.id, "since": period.since, "until": period.until, "bases": list(PUBLISHED_BASES),
    }  # fmt: skip


def _said(sql: str) -> Any:
    return text(sql).bindparams(bindparam("bases", type_=ARRAY(Text())))


async def due(
    session: AsyncSession, actor: Actor, *, within_days: int, agency_id: UUID | None = None
) -> list[dict[str, Any]]:
    """What is not published yet of the past year, by day: until when it is due, and whether that is over.

    Restricted provisions are counted apart (`restricted`); their contents are for who keeps the owner's registers. The
    reading is itself an entry.
    """
    agency = await remit.agency_of(session, actor, agency_id, remit.READ)
    today = remit.today()
    period = Period(today - timedelta(days=remit.MOST_DAYS - 1), today)
    rows = (await session.execute(_said(_LISTED), _binds(agency, period))).mappings().all()
    full = remit.reader_of(actor, agency).keeps
    found = []
    for row in rows:
        due_on = row["day"] + timedelta(days=within_days)
        known = {"day": row["day"], "count": row["count"], "due_on": due_on, "overdue": due_on < today}
        told = _line(row) if full or not row["restricted"] else {}
        found.append(told | known | {"restricted": row["restricted"]})
    await read(session, actor, agency.id, "publications due", found=len(found))
    return found


def _line(row: RowMapping) -> dict[str, Any]:
    return {
        "day": row["day"], "kind": row["kind"], "basis": row["basis"], "ground": basis_words(row["basis"], row["law"]),
        "purpose": USE_PURPOSES.get(row["purpose"], row["purpose"]), "items": row["items"], "count": row["count"],
    }  # fmt: skip


async def publish(
    session: AsyncSession,
    actor: Actor,
    period: Period,
    *,
    place: str,
    shown_days: int,
    with_restricted: bool = False,
    agency_id: UUID | None = None,
) -> UUID:
    """Make public what is due of whole, past days; `place` says where it is posted. It stands as it is from then on.

    Restricted provisions stay back and due, unless who publishes says that they may be told. Raises Malformed,
    NotPermitted, and Conflict where nothing is due.
    """
    agency = await remit.agency_of(session, actor, agency_id, remit.KEEP)
    today = remit.today()
    if period.last >= today:
        raise Malformed("only days that are over are published: take yesterday as the last one", field="to")
    # One publication of an agency after the other, so that each provision is told once.
    await session.execute(select(Agency.id).where(Agency.id == agency.id).with_for_update(key_share=True))
    publication_id = new_id()
    rows = await session.execute(
        _said(_TAKE),
        _binds(agency, period) | {"publication_id": publication_id, "with_restricted": with_restricted},
    )
    lines = [{name: _plain(value) for name, value in _line(row).items()} for row in rows.mappings()]
    if not lines:
        raise Conflict("nothing of these days is to be published, or it has been")
    count = sum(line["count"] for line in lines)
    entry = entries.entry(
        actor, "publication.made", owner_agency_id=agency.id, subject=("publication", publication_id),
        since=period.first, until=period.last, place=place, provisions=count, with_restricted=with_restricted,
    )  # fmt: skip
    await session.execute(
        insert(Publication).values(
            id=publication_id, agency_id=agency.id, user_id=actor.user_id, entry_id=entry.id, since=period.first,
            until=period.last, shown_until=today + timedelta(days=shown_days), place=place, lines=lines,
        )
    )  # fmt: skip
    await entries.append(session, entry)
    return publication_id


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


async def listed(session: AsyncSession, *, agency_id: UUID | None, limit: int) -> Sequence[RowMapping]:
    """Publications, newest first. They are public: whoever is signed in may see them."""
    query = (
        select(
            Publication.id, Publication.agency_id, Agency.name.label("agency"), Publication.at, Publication.since,
            Publication.until, Publication.shown_until, Publication.place,
        )
        .join(Agency, Agency.id == Publication.agency_id)
        .order_by(Publication.at.desc(), Publication.id.desc())
        .limit(limit)
    )  # fmt: skip
    if agency_id is not None:
        query = query.where(Publication.agency_id == agency_id)
    return (await session.execute(query)).mappings().all()


async def get(session: AsyncSession, publication_id: UUID) -> RowMapping:
    """A publication with its lines; NotFound."""
    found = await session.execute(
        select(
            Publication.id, Publication.agency_id, Agency.name.label("agency"), Publication.at, Publication.since,
            Publication.until, Publication.shown_until, Publication.place, Publication.lines,
        )
        .join(Agency, Agency.id == Publication.agency_id)
        .where(Publication.id == publication_id)
    )  # fmt: skip
    row = found.mappings().first()
    if row is None:
        raise NotFound("there is no such publication")
    return row
