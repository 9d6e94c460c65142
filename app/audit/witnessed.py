"""What a service has cosigned as a witness, remembered in its database: insert-only, one row a checkpoint."""

from collections.abc import Sequence

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.audit import witness
from app.audit.verify import Checkpoint, Key
from app.audit.witness import Answer, Refused, Submission, Witness
from app.errors import NotFound
from app.models import WitnessCheckpoint, WitnessRefusal

# Read after the lock, in a statement of its own: whatever was cosigned before is seen.
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('gwanje.witness ' || :origin, 0))")


async def add_checkpoint(session: AsyncSession, who: Witness, logs: Sequence[Key], body: bytes) -> Answer:
    """Cosign a log's checkpoint if it goes on from the last one. The answer may leave only after the commit.

    A refusal commits, too: what the log signed and what contradicts is kept as evidence.
    """
    try:
        given = witness.receive(body, logs)
    except Refused as refused:
        return refused.answer
    await session.execute(_LOCK, {"origin": given.checkpoint.origin})
    try:
        witness.check(given, await _last(session, given), await _same_size(session, given))
    except Refused as refused:
        if refused.evidence:
            await _keep(session, given, refused.answer)
        return refused.answer
    line = who.cosign(given.text)
    await session.execute(
        insert(WitnessCheckpoint)
        .values(
            origin=given.checkpoint.origin, size=given.checkpoint.size, root=given.checkpoint.root, note=given.note,
            cosignature=line,
        )
        .on_conflict_do_nothing()
    )  # fmt: skip
    return Answer(200, line)


async def _last(session: AsyncSession, given: Submission) -> Checkpoint | None:
    row = (
        await session.execute(
            select(WitnessCheckpoint.size, WitnessCheckpoint.root)
            .where(WitnessCheckpoint.origin == given.checkpoint.origin)
            .order_by(WitnessCheckpoint.size.desc())
            .limit(1)
        )
    ).first()
    return Checkpoint(given.checkpoint.origin, row.size, row.root) if row else None


async def _same_size(session: AsyncSession, given: Submission) -> bytes | None:
    found = await session.get(WitnessCheckpoint, (given.checkpoint.origin, given.checkpoint.size))
    return found.root if found else None


async def _keep(session: AsyncSession, given: Submission, answer: Answer) -> None:
    """Once for each root that the log signed: others who send it again and again fill nothing."""
    await session.execute(
        insert(WitnessRefusal)
        .values(
            origin=given.checkpoint.origin, size=given.checkpoint.size, root=given.checkpoint.root, note=given.note,
            old=given.old, proof=given.proof, status=answer.status, reason=answer.text.strip(),
        )
        .on_conflict_do_nothing()
    )  # fmt: skip


async def newest(session: AsyncSession, hashed: str) -> str:
    """The newest checkpoint that was cosigned of the log of this origin hash, with both signatures."""
    origin = WitnessCheckpoint.origin
    found = await session.scalar(
        select(WitnessCheckpoint.note + WitnessCheckpoint.cosignature)
        .where(func.encode(func.sha256(func.convert_to(origin, "UTF8")), "hex") == hashed)
        .order_by(WitnessCheckpoint.size.desc())
        .limit(1)
    )
    if found is None:
        raise NotFound("no checkpoint of this log was cosigned here")
    return found


async def refusals(session: AsyncSession) -> Sequence[WitnessRefusal]:
    """The evidence, newest first: what logs signed that contradicts what was cosigned, or was sent with a bad proof."""
    return (await session.scalars(select(WitnessRefusal).order_by(WitnessRefusal.at.desc()).limit(1000))).all()
