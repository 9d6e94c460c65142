"""What becomes of a request: proof, extension, decision, masked copy, closing. Each once, each by a named person."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.actor import Actor
from app.errors import Conflict, Malformed, NotFound
from app.models import SubjectRequest, SubjectRequestPerson
from app.reports.subject_requests.codes import DECISIONS, GROUNDS
from app.reports.subject_requests.receiving import check_handles, check_text, note

MOST_WORDS = 1000


async def _open_request(session: AsyncSession, actor: Actor, request_id: UUID) -> SubjectRequest:
    """A request to the actor's institution, locked and not closed."""
    check_handles(actor)
    found = await session.scalar(
        select(SubjectRequest)
        .where(SubjectRequest.id == request_id, SubjectRequest.agency_id == actor.body_id)
        .with_for_update()
    )
    if found is None:
        raise NotFound("there is no such request to your institution")
    if found.closed_at is not None:
        raise Conflict("this request is closed")
    return found


async def _change(session: AsyncSession, request_id: UUID, **values: object) -> None:
    await session.execute(update(SubjectRequest).where(SubjectRequest.id == request_id).values(**values))


async def prove(session: AsyncSession, actor: Actor, request_id: UUID, how: str) -> None:
    """Note how it was shown that the asker is the one in the picture, or speaks for that person."""
    how = check_text(how, "how", MOST_WORDS)
    found = await _open_request(session, actor, request_id)
    await _change(session, request_id, proof=how, proof_by=actor.user_id, proof_at=func.now())
    await note(session, actor, "request.proved", found.agency_id, request_id)


async def extend(
    session: AsyncSession, actor: Actor, request_id: UUID, *, days: int, reason: str, most_days: int
) -> None:
    """Put the answer off by some calendar days, once, before it is due: the asker is told the reason."""
    if not 1 <= days <= most_days:
        raise Malformed(f"days: 1 to {most_days}", field="days")
    reason = check_text(reason, "reason", MOST_WORDS)
    found = await _open_request(session, actor, request_id)
    if found.extended_at is not None or found.decided_at is not None:
        raise Conflict("this request was put off or decided before")
    if found.due_at <= clock.now():
        raise Conflict("the time to answer is over; it can no longer be put off, only decided")
    # Korea has no summer time: whole days after the end of a day is the end of a day.
    due_at = found.due_at + timedelta(days=days)
    await _change(
        session, request_id, due_at=due_at, extended_at=func.now(), extended_by=actor.user_id, extension_reason=reason
    )
    await note(session, actor, "request.extended", found.agency_id, request_id, days=days, due=due_at.isoformat())


async def decide(
    session: AsyncSession, actor: Actor, request_id: UUID, decision: str, *, ground: str = "", reason: str = ""
) -> None:
    """Grant a request, in part, or refuse it on one of the four grounds, once.

    What is granted needs the proof first; what is not granted, or not wholly, needs a ground and its reason in words.
    """
    if decision not in DECISIONS:
        raise Malformed(f"decision is one of {', '.join(DECISIONS)}", field="decision", expected=list(DECISIONS))
    if (decision == "grant") != (ground == "") or (ground and ground not in GROUNDS):
        raise Malformed(
            f"ground is one of {', '.join(GROUNDS)} for what is refused, and none for what is granted",
            field="ground", expected=list(GROUNDS),
        )  # fmt: skip
    reason = check_text(reason, "reason", MOST_WORDS, least=0 if decision == "grant" else 1)
    found = await _open_request(session, actor, request_id)
    if found.decided_at is not None:
        raise Conflict("this request was decided before")
    if decision != "refuse" and found.proof_at is None:
        raise Conflict("first note how it was shown to be the asker's own footage (PUT …/proof)")
    await _change(
        session, request_id, decision=decision, refusal_ground=ground, decision_reason=reason, decided_at=func.now(),
        decided_by=actor.user_id,
    )  # fmt: skip
    in_time = found.due_at > clock.now()
    await note(
        session, actor, "request.decided", found.agency_id, request_id, decision=decision, ground=ground,
        in_time=in_time,
    )  # fmt: skip


async def masked(session: AsyncSession, actor: Actor, request_id: UUID, *, by: str, how: str) -> None:
    """Note that a copy was made in which others cannot be recognised: by whom and how."""
    by, how = check_text(by, "by", MOST_WORDS), check_text(how, "how", MOST_WORDS)
    found = await _open_request(session, actor, request_id)
    if found.decision not in ("grant", "partial"):
        raise Conflict("only of what is granted a copy is made")
    await _change(session, request_id, masked_at=func.now(), masked_by=by, masked_how=how)
    await note(session, actor, "request.masked", found.agency_id, request_id)


async def close(session: AsyncSession, actor: Actor, request_id: UUID, outcome: str) -> None:
    """Close a decided request: how the asker was told, and in which form it was shown or given.

    Where others are shown, footage leaves only as a masked copy that was noted.
    """
    outcome = check_text(outcome, "outcome", MOST_WORDS)
    found = await _open_request(session, actor, request_id)
    if found.decided_at is None:
        raise Conflict("this request is not decided yet")
    if found.kind == "access" and found.decision != "refuse" and found.others_shown and found.masked_at is None:
        raise Conflict("others are shown: note the masked copy first (PUT …/masked-copy)")
    await _change(session, request_id, closed_at=func.now(), closed_by=actor.user_id, outcome=outcome)
    await note(session, actor, "request.closed", found.agency_id, request_id, decision=found.decision)


async def erase(session: AsyncSession, actor: Actor, request_id: UUID) -> None:
    """Forget who had asked, with every free word, of a closed request; its codes, times and officers stay."""
    check_handles(actor)
    found = await session.scalar(
        select(SubjectRequest)
        .where(SubjectRequest.id == request_id, SubjectRequest.agency_id == actor.body_id)
        .with_for_update()
    )
    if found is None:
        raise NotFound("there is no such request to your institution")
    if found.closed_at is None:
        raise Conflict("a request is closed before it is forgotten who asked")
    if found.erased_at is None:
        await forget(session, actor, found.agency_id, request_id)


async def forget(session: AsyncSession, actor: Actor | None, agency_id: UUID, request_id: UUID) -> None:
    """As `erase`, whoever decided it; `actor` None: its retention is over."""
    await session.execute(delete(SubjectRequestPerson).where(SubjectRequestPerson.request_id == request_id))
    await _change(
        session, request_id, erased_at=func.now(), place="", proof="", extension_reason="", decision_reason="",
        masked_by="", masked_how="", outcome="",
    )  # fmt: skip
    await note(session, actor, "request.erased", agency_id, request_id)
