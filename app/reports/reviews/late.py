"""Reviews of what came late (사후 반영): acts that were spooled while the log could not be written, and entered later.

One review of an institution gathers them, and stays open until it is signed; what comes after that opens the next.
"""

from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256
from itertools import groupby
from uuid import UUID

from sqlalchemy import RowMapping, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.ids import new_id
from app.models import LateEntry, Review, ReviewFinding
from app.reports.patterns import Finding, sentences
from app.reports.reviews import officers
from app.reports.reviews.opening import announce, keep, note

AT_ONCE = 5_000
MOST_NAMED = 200  # entries of one finding that stand in it; its numbers hold a digest of all
OLDEST_DAYS = 400

_UNSEEN = text(
    "SELECT e.id, e.at, e.act, e.late_from, a.body_id, e.payload ->> 'user_id' AS user_id"
    " FROM audit_entries e JOIN agencies a ON a.id = coalesce(e.agency_id, e.owner_agency_id)"
    " WHERE e.late_from IS NOT NULL AND e.at > now() - make_interval(days => :days)"
    " AND NOT EXISTS (SELECT FROM review_late_entries l WHERE l.entry_id = e.id)"
    " ORDER BY e.at, e.id LIMIT :most"
)
_ALONE = text("SELECT pg_advisory_xact_lock(hashtextextended('reviews of late entries', 7))")


async def gather(session: AsyncSession, *, days: int) -> int:
    """Put late entries that no review has yet into one of their institution; how many entries. Any process may."""
    await session.execute(_ALONE)
    rows = (await session.execute(_UNSEEN, {"days": OLDEST_DAYS, "most": AT_ONCE})).mappings().all()
    in_order = sorted(rows, key=lambda row: str(row["body_id"]))
    for agency_id, of_agency in groupby(in_order, key=lambda row: row["body_id"]):
        await _add(session, agency_id, list(of_agency), days)
    return len(rows)


async def _add(session: AsyncSession, agency_id: UUID, rows: Sequence[RowMapping], days: int) -> None:
    found = _findings(rows)
    review = await session.scalar(
        select(Review)
        .where(Review.agency_id == agency_id, Review.kind == "late", Review.signed_at.is_(None))
        .with_for_update()
    )
    first, is_new = 1, review is None
    # `late_from` is a gateway's clock: a review's period is never turned round by it.
    since = min(row["late_from"] for row in rows)
    until = max(since, *(row["at"] for row in rows)) + timedelta(microseconds=1)
    if review is None:
        review_id, now = new_id(), clock.now()
        officer_id = await officers.choose(session, agency_id, (one.user_id for one in found))
        await session.execute(
            insert(Review).values(
                id=review_id, agency_id=agency_id, kind="late", since=since, until=until, population=len(rows),
                due_at=now + timedelta(days=days), officer_id=officer_id, assigned_at=now if officer_id else None,
            )
        )  # fmt: skip
    else:
        review_id, officer_id = review.id, review.officer_id
        last = await session.scalar(
            select(func.max(ReviewFinding.number)).where(ReviewFinding.review_id == review_id)
        )  # fmt: skip
        first = (last or 0) + 1
        await session.execute(
            update(Review)
            .where(Review.id == review_id)
            .values(until=func.greatest(Review.until, until), population=Review.population + len(rows))
        )
    await keep(session, review_id, found, first=first)
    await session.execute(insert(LateEntry), [{"entry_id": row["id"], "review_id": review_id} for row in rows])
    act = "review.opened" if is_new else "review.grown"
    await note(
        session, act, agency_id, review_id, None, kind="late", entries=len(rows), findings=len(found),
        officer_user_id=officer_id,
    )  # fmt: skip
    if is_new:
        report = {"review_id": str(review_id), "kind": "late", "findings": len(found)}
        await announce(session, "review.opened", agency_id, f"{review_id}/opened", report)


def _findings(rows: Sequence[RowMapping]) -> list[Finding]:
    """One finding for each person and act."""

    def key(row: RowMapping) -> tuple[str, str]:
        return row["user_id"] or "", row["act"]

    found = []
    for (user_id, act), of_person in groupby(sorted(rows, key=key), key=key):
        late = sorted(of_person, key=lambda row: (row["late_from"], row["id"]))
        ids = sorted(str(row["id"]) for row in late)
        numbers = {
            "act": act, "entries": len(late), "first_from": late[0]["late_from"].isoformat(),
            "last_from": late[-1]["late_from"].isoformat(), "ids_sha256": sha256("\n".join(ids).encode()).hexdigest(),
        }  # fmt: skip
        korean, english = sentences.of("late", numbers)
        found.append(
            Finding(
                kind="late", user_id=UUID(user_id) if user_id else None, numbers=numbers, korean=korean,
                english=english, entries=[(row["id"], row["at"]) for row in late[:MOST_NAMED]],
            )
        )  # fmt: skip
    return found
