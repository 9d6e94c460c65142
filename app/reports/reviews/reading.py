"""Reading reviews: for officers of the institution and for auditors of their remit."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from sqlalchemy import RowMapping, case, func, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from app.actor import Actor
from app.audit import entries
from app.errors import Conflict, NotFound
from app.models import Agency, Review, ReviewFinding, User
from app.reports.reviews import deciding, officers

STATE = case(
    (Review.signed_at.is_not(None), "signed"), (Review.due_at <= func.now(), "overdue"), else_="open"
)  # fmt: skip
# Who did it and at which camera, by their names of today.
_FINDINGS = text(
    "SELECT f.number, f.kind, f.numbers, f.entries, f.korean, f.english, f.answer, f.words, f.answered_at,"
    " f.user_id, u.login, u.name, f.camera_id, p.name AS camera, b.login AS answered_by"
    " FROM review_findings f LEFT JOIN users u ON u.id = f.user_id LEFT JOIN camera_positions p ON p.id = f.camera_id"
    " LEFT JOIN users b ON b.id = f.answered_by"
    " WHERE f.review_id = :review_id AND f.number > :after ORDER BY f.number LIMIT :limit"
)


async def listed(
    session: AsyncSession,
    actor: Actor,
    *,
    review_id: UUID | None = None,
    state: str | None = None,
    kind: str | None = None,
    before: tuple[datetime, UUID] | None = None,
    limit: int = 100,
) -> Sequence[RowMapping]:
    """Reviews that the actor may know of, newest first, with their state and how many findings are unanswered."""
    officer, signer = User.__table__.alias("officer"), User.__table__.alias("signer")
    answered = ReviewFinding.answer.in_(("in_order", "misuse"))
    counts = (
        select(
            func.count().label("findings"), func.count().filter(~answered).label("unanswered"),
            func.count().filter(ReviewFinding.answer == "misuse").label("misuse"),
        )
        .where(ReviewFinding.review_id == Review.id)
        .lateral("counts")
    )  # fmt: skip
    query = (
        select(
            Review.id, Review.agency_id, Agency.name.label("agency"), Review.kind, Review.since, Review.until,
            Review.seed, Review.seed_source, Review.population, Review.opened_at, Review.due_at, STATE.label("state"),
            Review.officer_id, officer.c.login.label("officer_login"), officer.c.name.label("officer"),
            Review.assigned_at, Review.reminders, Review.signed_at, signer.c.login.label("signed_by"),
            Review.signed_digest, Review.signed_entry_id, Review.statement, counts.c.findings, counts.c.unanswered,
            counts.c.misuse,
        )
        .join(Agency, Agency.id == Review.agency_id)
        .outerjoin(officer, officer.c.id == Review.officer_id)
        .outerjoin(signer, signer.c.id == Review.signed_by)
        .join(counts, text("true"))
        .where(officers.may_know(actor))
        .order_by(Review.opened_at.desc(), Review.id.desc())
        .limit(limit)
    )  # fmt: skip
    if review_id is not None:
        query = query.where(Review.id == review_id)
    if state is not None:
        query = query.where(STATE.in_([state]))
    if kind is not None:
        query = query.where(Review.kind == kind)
    if before is not None:
        query = query.where(tuple_(Review.opened_at, Review.id) < tuple_(*before))
    return (await session.execute(query)).mappings().all()


async def get(session: AsyncSession, actor: Actor, review_id: UUID) -> RowMapping:
    """One review of the actor's remit; NotFound for others."""
    found = await listed(session, actor, review_id=review_id)
    if not found:
        raise NotFound("there is no such review in your remit")
    return found[0]


async def findings(
    session: AsyncSession, actor: Actor, review_id: UUID, *, after: int = 0, limit: int = 100
) -> Sequence[RowMapping]:
    """Findings of a review by their numbers. They tell what persons did, so the reading is an entry."""
    review = await get(session, actor, review_id)
    rows = await session.execute(_FINDINGS, {"review_id": review_id, "after": after, "limit": limit})
    found = rows.mappings().all()
    read = entries.entry(
        actor, "audit.read", owner_agency_id=review["agency_id"], subject=("review", review_id), what="review",
        found=len(found), after=after,
    )  # fmt: skip
    await entries.append(session, read)
    return found


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed review's document, made anew from what is stored, and the digest with which it was signed."""

    document: bytes
    digest: bytes
    entry_id: UUID

    @property
    def intact(self) -> bool:
        return sha256(self.document).digest() == self.digest


async def signed(session: AsyncSession, actor: Actor, review_id: UUID) -> Signed:
    """What was signed: for whoever checks it against the entry. Conflict while it is not signed."""
    review = await session.scalar(select(Review).where(Review.id == review_id, officers.may_know(actor)))
    if review is None:
        raise NotFound("there is no such review in your remit")
    if review.signed_digest is None or review.signed_entry_id is None:
        raise Conflict("this review is not signed yet")
    document = deciding.document(review, await deciding.findings_of(session, review_id))
    made = Signed(document, review.signed_digest, review.signed_entry_id)
    read = entries.entry(
        actor, "audit.read", owner_agency_id=review.agency_id, subject=("review", review_id), what="signed review",
        intact=made.intact,
    )  # fmt: skip
    await entries.append(session, read)
    return made
