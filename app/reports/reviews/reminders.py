"""Reviews that nobody signed in time are told of, again and again, until somebody does."""

from datetime import timedelta

from sqlalchemy import func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.models import Review, ReviewFinding
from app.reports.calendar import month_of
from app.reports.reviews.opening import announce, note

AGAIN = timedelta(days=7)
AT_ONCE = 50


async def remind(session: AsyncSession) -> int:
    """Tell of unsigned reviews whose time is over, once and then each week; of how many. Any process may."""
    overdue = (
        await session.scalars(
            select(Review)
            .where(
                Review.signed_at.is_(None), Review.due_at <= func.now(),
                or_(Review.reminded_at.is_(None), Review.reminded_at <= func.now() - AGAIN),
            )
            .order_by(Review.due_at)
            .limit(AT_ONCE)
            .with_for_update(skip_locked=True)
        )
    ).all()  # fmt: skip
    for review in overdue:
        times = review.reminders + 1
        unanswered = await session.scalar(
            select(func.count()).where(
                ReviewFinding.review_id == review.id, ReviewFinding.answer.not_in(("in_order", "misuse"))
            )
        )
        await session.execute(
            update(Review).where(Review.id == review.id).values(reminders=times, reminded_at=func.now())
        )  # fmt: skip
        days = max(0, (clock.now() - review.due_at).days)
        data = {
            "review_id": str(review.id), "kind": review.kind, "days": days, "times": times,
            "unanswered": unanswered or 0, "assigned": review.officer_id is not None,
        }  # fmt: skip
        if review.kind == "monthly":
            data["month"] = str(month_of(review.since))
        await note(session, "review.overdue", review.agency_id, review.id, None, days=days, times=times)
        await announce(session, "review.overdue", review.agency_id, f"{review.id}/overdue/{times}", data)
    return len(overdue)
