"""Opening a month's review: the sample is drawn so that anybody can draw it again, and the patterns are looked for."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.actor import Actor
from app.audit import entries
from app.errors import Malformed, NotFound, NotPermitted
from app.events import record
from app.events.record import Report
from app.ids import new_id
from app.models import Agency, Review, ReviewFinding
from app.reports import patterns
from app.reports.calendar import Month, month_of
from app.reports.patterns import Finding, sentences
from app.reports.patterns.search import ACCESS, typed
from app.reports.reviews import officers

SOURCE = "gwanje/reviews"
SETTLE = timedelta(minutes=10)  # after the month's end: longer than any transaction that may still write into it
LOOK_BACK = 3  # months whose reviews are opened late, after the service stood still
MOST_SAMPLE = 500

# Single views and snapshots, and whole hours of walls, which stand in one entry each.
POPULATION = f"""
SELECT a.entry_id, a.at, a.user_id, a.camera_id FROM ({ACCESS}) a
UNION ALL
SELECT m.entry_id, m.sealed_at, o.user_id, NULL FROM manifests m
JOIN duties d ON d.id = m.duty_id JOIN appointments o ON o.id = d.appointment_id
WHERE m.hour >= :since AND m.hour < :until AND d.agency_id = ANY(:agency_ids)
"""  # noqa: S608 - our own SQL
_DRAW = f"""
WITH p AS MATERIALIZED ({POPULATION})
SELECT p.*, (SELECT count(*) FROM p) AS population FROM p
ORDER BY sha256(CAST(:seed AS bytea) || uuid_send(p.entry_id)), p.entry_id LIMIT CAST(:most AS int)
"""  # noqa: S608 - our own SQL
_CHECKPOINT = text(
    "SELECT origin, size, root FROM audit_checkpoints WHERE at >= :moment ORDER BY at, size, origin LIMIT 1"
)
_ALONE = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 7))")
# Institutions that work here: with accesses in that month, or with cameras and somebody to review.
_DUE = text(
    "SELECT a.id FROM agencies a WHERE a.id = a.body_id AND a.ended_at IS NULL AND a.created_at < :until"
    " AND NOT EXISTS (SELECT FROM reviews r WHERE r.kind = 'monthly' AND r.agency_id = a.id AND r.since = :since)"
    " AND (EXISTS (SELECT FROM agencies u JOIN LATERAL (SELECT FROM views v WHERE v.agency_id = u.id"
    "   AND v.at >= :since AND v.at < :until LIMIT 1) v ON true WHERE u.body_id = a.id)"
    " OR EXISTS (SELECT FROM views v WHERE v.owner_agency_id = a.id AND v.at >= :since AND v.at < :until)"
    " OR (EXISTS (SELECT FROM camera_positions p WHERE p.owner_agency_id = a.id)"
    "   AND EXISTS (SELECT FROM appointments o JOIN agencies u ON u.id = o.agency_id WHERE u.body_id = a.id"
    "     AND o.role = ANY(:roles) AND o.valid_from < :until)))"
    " ORDER BY a.id LIMIT 1000"
)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A sample, and how many accesses it was drawn from."""

    findings: Sequence[Finding]
    population: int


async def due(session: AsyncSession) -> list[tuple[UUID, Month]]:
    """The reviews that are to be opened: (institution, month), the oldest first."""
    this = month_of(clock.now() - SETTLE)
    found = []
    for month in (this.after(-back) for back in range(LOOK_BACK, 0, -1)):
        binds = {"since": month.since, "until": month.until, "roles": list(officers.OFFICERS)}
        found += [(agency_id, month) for agency_id in (await session.scalars(_DUE, binds)).all()]
    return found


async def ask_for(session: AsyncSession, actor: Actor, month: Month, *, sample: int, days: int) -> UUID:
    """Open a month's review by hand, or find the one that stands; for a reviewing officer of the own institution."""
    if not officers.may_review(actor, actor.body_id):
        raise NotPermitted(f"the role {actor.role} reviews nothing; it takes an auditor or who supervises")
    if month.until > clock.now() - SETTLE:
        raise Malformed("month: a review is of a month that is over", field="month")
    return await open_month(session, actor.body_id, month, sample=sample, days=days, actor=actor)


async def open_month(
    session: AsyncSession, agency_id: UUID, month: Month, *, sample: int, days: int, actor: Actor | None = None
) -> UUID:
    """Open the review of an institution's month, once, whoever asks; `days` until it is overdue. Its id."""
    await session.execute(_ALONE, {"name": f"review/{agency_id}/{month}"})
    standing = await session.scalar(
        select(Review.id).where(Review.agency_id == agency_id, Review.kind == "monthly", Review.since == month.since)
    )
    if standing is not None:
        return standing
    agency_ids = list((await session.scalars(select(Agency.id).where(Agency.body_id == agency_id))).all())
    if not agency_ids:
        raise NotFound("there is no such institution", field="agency_id")
    seed, source = await seed_of(session, agency_id, month)
    drawn = await draw(session, agency_ids, month, seed, sample)
    found = [*drawn.findings, *await patterns.found(session, agency_ids, month)]
    officer_id = await officers.choose(session, agency_id, (one.user_id for one in found if one.kind != "sample"))
    review_id, now = new_id(), clock.now()
    await session.execute(
        insert(Review).values(
            id=review_id, agency_id=agency_id, kind="monthly", since=month.since, until=month.until, seed=seed,
            seed_source=source, population=drawn.population, due_at=now + timedelta(days=days),
            officer_id=officer_id, assigned_at=now if officer_id else None,
        )
    )  # fmt: skip
    await keep(session, review_id, found)
    await note(
        session, "review.opened", agency_id, review_id, actor, kind="monthly", month=str(month),
        officer_user_id=officer_id, population=drawn.population, findings=len(found), seed=seed.hex(),
        seed_source=source,
    )  # fmt: skip
    report = {"review_id": str(review_id), "kind": "monthly", "month": str(month), "findings": len(found)}
    await announce(session, "review.opened", agency_id, f"{review_id}/opened", report)
    return review_id


async def seed_of(session: AsyncSession, agency_id: UUID, month: Month) -> tuple[bytes, str]:
    """The seed of a month's sample and where it comes from.

    SHA-256 of "gwanje review v1", institution, month and the root of the first checkpoint that was signed after the
    month, one a line: whoever acted within the month could not know it. Without such a checkpoint it is random.
    """
    row = (await session.execute(_CHECKPOINT, {"moment": month.until})).first()
    if row is None:
        return secrets.token_bytes(32), "random"
    text_ = f"gwanje review v1\n{agency_id}\n{month}\n{row.root.hex()}\n"
    return sha256(text_.encode()).digest(), f"checkpoint {row.origin} {row.size}"


async def draw(session: AsyncSession, agency_ids: Sequence[UUID], month: Month, seed: bytes, most: int) -> Drawn:
    """The accesses whose SHA-256(seed || entry id) are the smallest: the same ones however often it is drawn."""
    binds = {
        "agency_ids": list(agency_ids), "since": month.since, "until": month.until, "seed": seed,
        "most": min(most, MOST_SAMPLE),
    }  # fmt: skip
    rows = (await session.execute(typed(_DRAW), binds)).mappings().all()
    findings = []
    for number, row in enumerate(rows, 1):
        numbers = {"population": row["population"], "of": len(rows), "number": number}
        korean, english = sentences.of("sample", numbers)
        findings.append(
            Finding(
                kind="sample", user_id=row["user_id"], camera_id=row["camera_id"], numbers=numbers, korean=korean,
                english=english, entries=[(row["entry_id"], row["at"])],
            )
        )  # fmt: skip
    return Drawn(findings, rows[0]["population"] if rows else 0)


async def keep(session: AsyncSession, review_id: UUID, found: Sequence[Finding], *, first: int = 1) -> None:
    """Write findings down, numbered from `first`."""
    if found:
        rows = [
            {
                "review_id": review_id, "number": number, "kind": one.kind, "user_id": one.user_id,
                "camera_id": one.camera_id, "numbers": dict(one.numbers), "korean": one.korean, "english": one.english,
                "entries": [{"id": str(entry_id), "at": at.isoformat()} for entry_id, at in one.entries],
            }
            for number, one in enumerate(found, first)
        ]  # fmt: skip
        await session.execute(insert(ReviewFinding), rows)


async def note(
    session: AsyncSession, act: str, agency_id: UUID, review_id: UUID, actor: Actor | None, **details: Any
) -> UUID:
    """An entry about a review, as an act of its institution; its id."""
    item = entries.entry(actor, act, owner_agency_id=agency_id, subject=("review", review_id), **details)
    return await entries.append(session, entries.of_body(item, agency_id))


async def announce(session: AsyncSession, kind: str, agency_id: UUID, key: str, data: dict[str, object]) -> None:
    """An event that the house tells to the institution's own people only, whatever agreements others have with it."""
    report = Report(
        kind=kind, source=SOURCE, source_key=key, owner_agency_id=agency_id, restriction="internal", data=data
    )  # fmt: skip
    await record.record(session, None, report)
