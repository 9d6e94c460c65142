"""What happens to requests by themselves: overdue ones are told of, and who had asked is forgotten in time."""

from datetime import timedelta

from sqlalchemy import func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.events import record
from app.events.record import Report
from app.models import SubjectRequest
from app.reports.subject_requests.deciding import forget
from app.reports.subject_requests.receiving import note

SOURCE = "gwanje/subject-requests"
AGAIN = timedelta(days=3)
AT_ONCE = 50


async def remind(session: AsyncSession) -> int:
    """Tell of requests that are not decided in time, and every three days again; of how many."""
    overdue = (
        await session.scalars(
            select(SubjectRequest)
            .where(
                SubjectRequest.closed_at.is_(None), SubjectRequest.decided_at.is_(None),
                SubjectRequest.due_at <= func.now(),
                or_(SubjectRequest.reminded_at.is_(None), SubjectRequest.reminded_at <= func.now() - AGAIN),
            )
            .order_by(SubjectRequest.due_at)
            .limit(AT_ONCE)
            .with_for_update(skip_locked=True)
        )
    ).all()  # fmt: skip
    for one in overdue:
        times, days = one.reminders + 1, max(0, (clock.now() - one.due_at).days)
        await session.execute(
            update(SubjectRequest)
            .where(SubjectRequest.id == one.id)
            .values(reminders=times, reminded_at=func.now())
        )  # fmt: skip
        await note(session, None, "request.overdue", one.agency_id, one.id, days=days, times=times)
        data = {
            "request_id": str(one.id), "number": f"{one.year}-{one.number:04}", "due": one.due_at.isoformat(),
            "days": days, "times": times,
        }  # fmt: skip
        report = Report(
            kind="request.overdue", source=SOURCE, source_key=f"{one.id}/{times}", owner_agency_id=one.agency_id,
            restriction="internal", data=data,
        )  # fmt: skip
        await record.record(session, None, report)
    return len(overdue)


async def forget_old(session: AsyncSession, *, days: int) -> int:
    """Forget who had asked, of requests that were closed so many days ago; of how many."""
    old = (
        await session.scalars(
            select(SubjectRequest)
            .where(
                SubjectRequest.erased_at.is_(None), SubjectRequest.closed_at <= func.now() - timedelta(days=days)
            )
            .order_by(SubjectRequest.closed_at)
            .limit(AT_ONCE)
            .with_for_update(skip_locked=True)
        )
    ).all()  # fmt: skip
    for one in old:
        await forget(session, None, one.agency_id, one.id)
    return len(old)
