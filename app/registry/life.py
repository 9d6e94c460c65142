"""The life of what stands in the street: planned → installed → active ⇄ faulty → retired.

Every step is dated and told once, in `life_changes`, and audited. When a pole fails, what it carries fails with it, and
comes back with it; what was faulty of itself stays so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final
from uuid import UUID

from sqlalchemy import insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.access import rights
from app.actor import Actor
from app.audit import entries
from app.errors import Conflict, Malformed, NotFound, NotPermitted
from app.ids import new_id
from app.models import STATUSES, Asset, CameraPosition, LifeChange

NEXT: Final = {
    "planned": ("installed", "retired"),
    "installed": ("active", "retired"),
    "active": ("faulty", "retired"),
    "faulty": ("active", "retired"),
    "retired": (),
}
_ACTS: Final = {
    "cameras": {
        "installed": "camera.installed", "active": "camera.active", "faulty": "camera.faulty",
        "retired": "camera.retired",
    },
    "assets": {
        "installed": "asset.installed", "active": "asset.active", "faulty": "asset.faulty", "retired": "asset.retired",
    },
}  # fmt: skip
TABLES: Final[dict[str, Any]] = {"cameras": CameraPosition, "assets": Asset}


@dataclass(frozen=True, slots=True)
class Step:
    """One step: to which status, when it happened, under which ticket."""

    to_status: str
    on_date: date | None = None
    ticket: str = ""
    note: str = ""


async def owned(session: AsyncSession, actor: Actor | None, things: str, thing_id: UUID, *, locked: bool = True) -> Any:
    """A camera or an asset (`things`) that the actor keeps the register of.

    NotFound for what the actor may not even locate, NotPermitted for what is another's or another role's.
    """
    table = TABLES[things]
    query = select(table).where(table.id == thing_id)
    if actor is not None and things == "cameras":
        query = query.where(rights.permitted(actor, "locate"))
    found = await session.scalar(query.with_for_update() if locked else query)
    known = found is not None and (
        actor is None or things == "cameras" or await _located(session, actor, found)
    )  # fmt: skip
    if not known:
        raise NotFound(f"there is no such {things[:-1]}, or you may not know of it")
    assert found is not None
    if actor is not None and not (actor.may("register") and found.owner_agency_id in actor.acts_for_ids):
        raise NotPermitted("only an administrator of the owning agency keeps its register", missing="register")
    return found


async def _located(session: AsyncSession, actor: Actor, asset: Asset) -> bool:
    now = clock.now()
    return any(
        not scope.installation_purposes and scope.admits(asset.owner_agency_id, asset.area_ids, (), now)
        for scope in await rights.scopes(session, actor, "locate")
    )


async def change(session: AsyncSession, actor: Actor | None, things: str, thing_id: UUID, step: Step) -> None:
    """Take one step in the life of a camera or an asset (`things`), and of what it carries.

    Conflict for a step that the life does not have; Malformed for a date that is to come or before the step before.
    """
    thing = await owned(session, actor, things, thing_id)
    if step.to_status not in STATUSES:
        raise Malformed(f"status is one of: {', '.join(STATUSES)}", field="status")
    if step.to_status not in NEXT[thing.status]:
        after = ", ".join(NEXT[thing.status]) or "nothing"
        raise Conflict(f"it is {thing.status}; after that comes {after}", status_now=thing.status)
    on_date = await _date(session, thing_id, step.on_date)
    if isinstance(thing, Asset) and thing.kind == "pole":
        await _carry(session, actor, thing, step, on_date)
    await _tell(session, actor, things, [(thing.id, thing.status)], step, on_date)
    await _set(session, things, [thing.id], step.to_status, on_date)
    await entries.append(
        session,
        entries.entry(
            actor, _ACTS[things][step.to_status], owner_agency_id=thing.owner_agency_id,
            camera_id=thing.id if things == "cameras" else None,
            subject=("asset", thing.id) if things == "assets" else None,
            was=thing.status, on=on_date, ticket=step.ticket, note=step.note,
        ),
    )  # fmt: skip
    await session.refresh(thing)


async def _date(session: AsyncSession, thing_id: UUID, said: date | None) -> date:
    today = clock.now().date()
    on_date = said or today
    if on_date > today:
        raise Malformed("on_date is not in the future: say it when it has happened", field="on_date")
    last = await session.scalar(
        select(LifeChange.on_date).where(LifeChange.subject_id == thing_id).order_by(LifeChange.recorded_at.desc())
    )  # fmt: skip
    if last is not None and on_date < last:
        raise Malformed(f"on_date is not before the step before, {last}", field="on_date")
    return on_date


async def _carry(session: AsyncSession, actor: Actor | None, pole: Asset, step: Step, on_date: date) -> None:
    """What a pole's failure and its end do to what it carries."""
    for things, table, column in (
        ("assets", Asset, Asset.parent_id), ("cameras", CameraPosition, CameraPosition.pole_id),
    ):  # fmt: skip
        carried = (
            await session.execute(
                select(table.id, table.status).where(column == pole.id, table.retired_at.is_(None)).with_for_update()
            )
        ).all()
        if step.to_status == "retired" and carried:
            raise Conflict(f"{len(carried)} {things} still stand on this pole: retire or move them first")
        if step.to_status == "faulty":
            touched = [(row.id, row.status) for row in carried if row.status == "active"]
        elif step.to_status == "active":
            fell = await _fell_with(session, pole.id, [row.id for row in carried if row.status == "faulty"])
            touched = [(row.id, row.status) for row in carried if row.id in fell]
        else:
            continue
        if touched:
            await _tell(session, actor, things, touched, step, on_date, cause_id=pole.id)
            await _set(session, things, [thing_id for thing_id, _ in touched], step.to_status, on_date)


async def _fell_with(session: AsyncSession, pole_id: UUID, ids: Sequence[UUID]) -> set[UUID]:
    """Which of these are faulty because their pole is."""
    rows = await session.execute(
        select(LifeChange.subject_id, LifeChange.cause_id)
        .where(LifeChange.subject_id.in_(ids))
        .order_by(LifeChange.recorded_at, LifeChange.id)
    )
    last = {row.subject_id: row.cause_id for row in rows}
    return {thing_id for thing_id, cause_id in last.items() if cause_id == pole_id}


async def _tell(
    session: AsyncSession, actor: Actor | None, things: str, subjects: Sequence[tuple[UUID, str]], step: Step,
    on_date: date, *, cause_id: UUID | None = None,
) -> None:  # fmt: skip
    await session.execute(
        insert(LifeChange),
        [
            {
                "id": new_id(), "subject_kind": things, "subject_id": thing_id, "from_status": was,
                "to_status": step.to_status, "on_date": on_date, "user_id": actor.user_id if actor else None,
                "ticket": step.ticket, "note": step.note, "cause_id": cause_id,
            }
            for thing_id, was in subjects
        ],
    )  # fmt: skip


async def _set(session: AsyncSession, things: str, ids: Sequence[UUID], status: str, on_date: date) -> None:
    table = TABLES[things]
    values: dict[str, Any] = {"status": status, "changed_at": text("now()")}
    if status == "retired":
        values["retired_at"] = text("now()")
    await session.execute(update(table).where(table.id.in_(ids)).values(**values))
    if status == "installed":
        await session.execute(
            update(table).where(table.id.in_(ids), table.installed_on.is_(None)).values(installed_on=on_date)
        )


async def told(session: AsyncSession, actor: Actor, things: str, thing_id: UUID) -> list[dict[str, Any]]:
    """The steps of a life, the first one first, for who may locate it."""
    await seen(session, actor, things, thing_id)
    rows = await session.scalars(
        select(LifeChange)
        .where(LifeChange.subject_id == thing_id)
        .order_by(LifeChange.recorded_at, LifeChange.id)
    )  # fmt: skip
    names = ("from_status", "to_status", "on_date", "recorded_at", "ticket", "note", "import_id", "cause_id")
    return [{name: getattr(row, name) for name in names} for row in rows]


async def seen(session: AsyncSession, actor: Actor, things: str, thing_id: UUID) -> Any:
    """A camera or an asset that the actor may locate; NotFound otherwise."""
    try:
        return await owned(session, actor, things, thing_id, locked=False)
    except NotPermitted:
        return await session.get(TABLES[things], thing_id)
