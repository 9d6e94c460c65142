"""Planned outages and faults of cameras and assets, each with the ticket under which it is dealt with."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.actor import Actor
from app.audit import entries
from app.errors import Conflict, Malformed, NotFound
from app.ids import new_id
from app.models import Outage
from app.registry import life
from app.registry.life import Step

KINDS: Final = ("planned", "fault")


@dataclass(frozen=True, slots=True)
class Announced:
    """An outage as it is told: from when, until when as expected."""

    kind: str
    ticket: str = ""
    reason: str = ""
    starts_at: datetime | None = None
    ends_at: datetime | None = None


async def begin(session: AsyncSession, actor: Actor | None, things: str, thing_id: UUID, outage: Announced) -> UUID:
    """Tell of an outage. A fault makes an active thing faulty; a planned outage changes nothing by itself."""
    thing = await life.owned(session, actor, things, thing_id)
    if outage.kind not in KINDS:
        raise Malformed(f"kind is one of: {', '.join(KINDS)}", field="kind")
    starts_at = outage.starts_at or clock.now()
    if outage.ends_at is not None and outage.ends_at <= starts_at:
        raise Malformed("ends_at is after starts_at", field="ends_at")
    if thing.retired_at is not None:
        raise Conflict("it is retired")
    outage_id = new_id()
    await session.execute(
        insert(Outage).values(
            id=outage_id, subject_kind=things, subject_id=thing_id, kind=outage.kind, ticket=outage.ticket,
            reason=outage.reason, starts_at=starts_at, ends_at=outage.ends_at,
            user_id=actor.user_id if actor else None,
        )
    )  # fmt: skip
    await _write(session, actor, things, thing, "outage.began", outage_id, outage.ticket)
    if outage.kind == "fault" and thing.status == "active":
        await life.change(session, actor, things, thing_id, Step("faulty", ticket=outage.ticket, note=outage.reason))
    return outage_id


async def end(session: AsyncSession, actor: Actor | None, things: str, thing_id: UUID, outage_id: UUID) -> None:
    """An outage is over. With its last fault mended a faulty thing is active again."""
    thing = await life.owned(session, actor, things, thing_id)
    found = await session.scalar(
        select(Outage).where(Outage.id == outage_id, Outage.subject_id == thing_id).with_for_update()
    )
    if found is None:
        raise NotFound("there is no such outage")
    if found.ended_at is not None:
        raise Conflict("this outage is over already")
    await session.execute(update(Outage).where(Outage.id == outage_id).values(ended_at=func.now()))
    await _write(session, actor, things, thing, "outage.ended", outage_id, found.ticket)
    others = await session.scalar(
        select(func.count()).where(
            Outage.subject_id == thing_id, Outage.kind == "fault", Outage.ended_at.is_(None)
        )
    )  # fmt: skip
    if found.kind == "fault" and not others and thing.status == "faulty":
        await life.change(session, actor, things, thing_id, Step("active", ticket=found.ticket))


async def _write(
    session: AsyncSession, actor: Actor | None, things: str, thing: Any, act: str, outage_id: UUID, ticket: str
) -> None:
    await entries.append(
        session,
        entries.entry(
            actor, act, owner_agency_id=thing.owner_agency_id, subject=("outage", outage_id),
            camera_id=thing.id if things == "cameras" else None, of=f"{things}/{thing.id}", ticket=ticket,
        ),
    )  # fmt: skip


async def told(session: AsyncSession, actor: Actor, things: str, thing_id: UUID) -> Sequence[dict[str, Any]]:
    """The outages of a camera or an asset, the newest first, for who may locate it."""
    await life.seen(session, actor, things, thing_id)
    rows = await session.scalars(
        select(Outage).where(Outage.subject_id == thing_id).order_by(Outage.starts_at.desc(), Outage.id).limit(1000)
    )
    names = ("id", "kind", "ticket", "reason", "starts_at", "ends_at", "ended_at")
    return [{name: getattr(row, name) for name in names} for row in rows]
