"""What officers do with a review: say who does it, answer its findings, sign it."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.actor import Actor
from app.errors import Conflict, Malformed, NotFound, NotPermitted
from app.models import Review, ReviewFinding
from app.reports.reviews import officers
from app.reports.reviews.opening import note

ANSWERS = ("in_order", "misuse", "to_be_clarified")
ANSWER_LABELS = {"in_order": "이상 없음", "misuse": "오·남용", "to_be_clarified": "확인 중"}
FORMAT = "gwanje review v1"
MOST_WORDS = 2000


async def _open_review(session: AsyncSession, actor: Actor, review_id: UUID) -> Review:
    """A review that the actor may know of, locked and not yet signed."""
    review = await session.scalar(
        select(Review).where(Review.id == review_id, officers.may_know(actor)).with_for_update()
    ) or await _of_administered(session, actor, review_id)
    if review is None:
        raise NotFound("there is no such review in your remit")
    if review.signed_at is not None:
        raise Conflict("this review is signed; nothing of it changes any more")
    return review


async def _of_administered(session: AsyncSession, actor: Actor, review_id: UUID) -> Review | None:
    if not actor.may("administer"):
        return None
    query = select(Review).where(Review.id == review_id, Review.agency_id == actor.body_id).with_for_update()
    return (await session.execute(query)).scalar()


async def assign(session: AsyncSession, actor: Actor, review_id: UUID, user_id: UUID) -> None:
    """Say which officer of the institution does a review."""
    review = await _open_review(session, actor, review_id)
    if not officers.may_assign(actor, review.agency_id):
        raise NotPermitted("only an officer or the administrator of that institution says who reviews")
    if user_id not in {known for known, _ in await officers.of(session, review.agency_id)}:
        roles = ", ".join(officers.OFFICERS)
        raise Malformed(f"user_id: a person of the institution in one of these roles: {roles}", field="user_id")
    await session.execute(
        update(Review)
        .where(Review.id == review_id)
        .values(officer_id=user_id, assigned_by=actor.user_id, assigned_at=func.now())
    )
    await note(
        session, "review.assigned", review.agency_id, review_id, actor, officer_user_id=user_id,
        before_user_id=review.officer_id,
    )  # fmt: skip


async def answer(session: AsyncSession, actor: Actor, review_id: UUID, number: int, verdict: str, words: str) -> None:
    """Answer a finding: in order, misuse or to be clarified, with words. Not one about oneself.

    An answer may be changed until the review is signed; the log keeps each.
    """
    if verdict not in ANSWERS:
        raise Malformed(f"answer is one of {', '.join(ANSWERS)}", field="answer", expected=list(ANSWERS))
    words = words.strip()
    if len(words) > MOST_WORDS or "\0" in words:
        raise Malformed(f"words: at most {MOST_WORDS} characters and no NUL", field="words")
    review = await _open_review(session, actor, review_id)
    if not officers.may_review(actor, review.agency_id):
        raise NotPermitted("only a reviewing officer of that institution answers")
    finding = await session.get(ReviewFinding, (review_id, number))
    if finding is None:
        raise NotFound("there is no such finding in this review")
    if finding.user_id == actor.user_id:
        raise NotPermitted("this finding is about yourself; another officer has to answer it")
    if not words and not (verdict == "in_order" and finding.kind == "sample"):
        raise Malformed("words: say what was found out", field="words")
    await session.execute(
        update(ReviewFinding)
        .where(ReviewFinding.review_id == review_id, ReviewFinding.number == number)
        .values(answer=verdict, words=words, answered_by=actor.user_id, answered_at=func.now())
    )
    await note(
        session, "review.answered", review.agency_id, review_id, actor, finding=number, answer=verdict, words=words
    )  # fmt: skip


async def sign(session: AsyncSession, actor: Actor, review_id: UUID, statement: str) -> UUID:
    """Sign a review off, as its officer, when every finding is answered; the id of the entry that binds the digest.

    The digest is SHA-256 of `document`. Raises Conflict (unanswered, or still to be clarified), NotPermitted.
    """
    statement = statement.strip()
    if not statement or len(statement) > MOST_WORDS or "\0" in statement:
        raise Malformed(f"statement: 1 to {MOST_WORDS} characters", field="statement")
    review = await _open_review(session, actor, review_id)
    if review.officer_id != actor.user_id or not officers.may_review(actor, review.agency_id):
        raise NotPermitted("only the officer to whom the review is assigned signs it; have it assigned to you")
    findings = await findings_of(session, review_id)
    unanswered = [one.number for one in findings if one.answer not in ("in_order", "misuse")]
    if unanswered:
        first = ", ".join(str(number) for number in unanswered[:10])
        raise Conflict(
            f"{len(unanswered)} findings are unanswered or still to be clarified, such as {first}", findings=unanswered
        )
    if any(one.answered_by == one.user_id for one in findings):
        raise Conflict("a finding was answered by the person it is about; another officer has to answer it again")
    digest = sha256(document(review, findings)).digest()
    misuse = sum(one.answer == "misuse" for one in findings)
    entry_id = await note(
        session, "review.signed", review.agency_id, review_id, actor, kind=review.kind, findings=len(findings),
        misuse=misuse, statement=statement, format=FORMAT, algorithm="sha-256", review_digest=digest.hex(),
    )  # fmt: skip
    await session.execute(
        update(Review)
        .where(Review.id == review_id)
        .values(
            signed_at=func.now(), signed_by=actor.user_id, signed_digest=digest, signed_entry_id=entry_id,
            statement=statement,
        )
    )  # fmt: skip
    return entry_id


async def findings_of(session: AsyncSession, review_id: UUID) -> Sequence[ReviewFinding]:
    """All findings of a review, as they stand in the database now."""
    query = select(ReviewFinding).where(ReviewFinding.review_id == review_id).order_by(ReviewFinding.number)
    return (await session.scalars(query.execution_options(populate_existing=True))).all()


def document(review: Review, findings: Sequence[ReviewFinding]) -> bytes:
    """What a signature stands for: UTF-8 JSON without spaces, keys sorted, times in UTC.

    The review (without officer and signature, which the entry names), its findings and their answers.
    """

    def plain(one: ReviewFinding) -> dict[str, Any]:
        return {
            "number": one.number, "kind": one.kind, "user": one.user_id, "camera": one.camera_id,
            "numbers": one.numbers, "entries": one.entries, "korean": one.korean, "english": one.english,
            "answer": one.answer, "words": one.words, "answered_by": one.answered_by, "answered_at": one.answered_at,
        }  # fmt: skip

    content = {
        "format": FORMAT, "review": review.id, "agency": review.agency_id, "kind": review.kind, "since": review.since,
        "until": review.until, "seed": review.seed.hex() if review.seed else None, "seed_source": review.seed_source,
        "population": review.population, "findings": [plain(one) for one in findings],
    }  # fmt: skip
    return orjson.dumps(content, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z)
