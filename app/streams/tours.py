"""Tours (순회 화면): versioned walls of an owner's own cameras; each step is a wall that stands for some seconds.

Who supervises defines them, operators run them. A version never changes: another definition under the same name is
the next version, and an entry in the log holds the digest of what was defined.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import ARRAY, ColumnElement, RowMapping, Uuid, false, func, insert, literal, or_, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.actor import Actor
from app.audit import entries
from app.errors import Malformed, NotPermitted
from app.ids import new_id
from app.models import Agency, CameraPosition, Tour

MOST_STEPS = 200
MOST_CAMERAS = 64  # of a step, which is a wall
LEAST_SECONDS, MOST_SECONDS = 5, 3600


@dataclass(frozen=True, slots=True)
class Step:
    """A wall of a tour: which cameras together, and for how many seconds (None: until the wall is stopped)."""

    camera_ids: tuple[UUID, ...]
    seconds: int | None


@dataclass(frozen=True, slots=True)
class Defined:
    """A version of a tour as it was stored."""

    id: UUID
    name: str
    version: int
    created_at: datetime


def steps_of(stored: Mapping[str, Any]) -> tuple[Step, ...]:
    """The steps out of the column `steps`."""
    return tuple(Step(tuple(map(UUID, step["camera_ids"])), step["seconds"]) for step in stored["steps"])


def digest_of(steps: Sequence[Mapping[str, Any]]) -> str:
    """SHA-256, in hex, of the steps as stored: JSON without spaces, keys sorted; it stands in the tour's entry."""
    return sha256(orjson.dumps(steps, option=orjson.OPT_SORT_KEYS)).hexdigest()


def check(name: str, steps: Sequence[Step]) -> None:
    """Refuse a tour that cannot be run, naming the field (`steps.<number from 0>.camera_ids`)."""
    if not name.strip() or not name.isprintable():
        raise Malformed("a tour has a name of printable characters", field="name")
    if not 1 <= len(steps) <= MOST_STEPS:
        raise Malformed(f"a tour has 1 to {MOST_STEPS} steps", field="steps")
    for number, step in enumerate(steps):
        if not 1 <= len(step.camera_ids) <= MOST_CAMERAS or len(set(step.camera_ids)) != len(step.camera_ids):
            raise Malformed(f"a step has 1 to {MOST_CAMERAS} different cameras", field=f"steps.{number}.camera_ids")
        if step.seconds is None or not LEAST_SECONDS <= step.seconds <= MOST_SECONDS:
            raise Malformed(
                f"a step stands for {LEAST_SECONDS} to {MOST_SECONDS} seconds", field=f"steps.{number}.seconds"
            )


async def define(session: AsyncSession, actor: Actor, *, name: str, steps: Sequence[Step]) -> Defined:
    """Store the first or the next version of a tour of the actor's institution; it holds its own cameras only."""
    if not actor.may("supervise"):
        raise NotPermitted(f"the role {actor.role} runs tours; who supervises defines them", missing="supervise")
    check(name, steps)
    await _check_own(session, actor, steps)
    # Versions of one name are counted one after the other.
    lock = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 2))")
    await session.execute(lock, {"name": f"tour/{actor.body_id}/{name}"})
    newest = await session.scalar(
        select(func.max(Tour.version)).where(Tour.agency_id == actor.body_id, Tour.name == name)
    )
    listed = [{"camera_ids": list(map(str, step.camera_ids)), "seconds": step.seconds} for step in steps]
    cameras = len({camera_id for step in steps for camera_id in step.camera_ids})
    tour_id, version = new_id(), (newest or 0) + 1
    created_at = await session.scalar(
        insert(Tour)
        .values(
            id=tour_id, agency_id=actor.body_id, name=name, version=version,
            steps={"steps": listed, "cameras": cameras},
        )
        .returning(Tour.created_at)
    )  # fmt: skip
    assert created_at is not None
    await entries.append(
        session,
        entries.entry(
            actor, "tour.defined", owner_agency_id=actor.body_id, subject=("tour", tour_id), name=name,
            version=version, steps=len(steps), cameras=cameras, steps_sha256=digest_of(listed),
        ),
    )  # fmt: skip
    return Defined(tour_id, name, version, created_at)


async def _check_own(session: AsyncSession, actor: Actor, steps: Sequence[Step]) -> None:
    wanted = {camera_id for step in steps for camera_id in step.camera_ids}
    own = set(
        await session.scalars(
            select(CameraPosition.id).where(
                CameraPosition.id == func.any(literal(list(wanted), ARRAY(Uuid()))),
                CameraPosition.owner_agency_id.in_(actor.acts_for_ids),
                CameraPosition.retired_at.is_(None),
            )
        )
    )
    for number, step in enumerate(steps):
        for camera_id in step.camera_ids:
            if camera_id not in own:  # another's or nobody's: the answer is the same
                raise Malformed(
                    "a tour shows your own agency's cameras; this is none of them",
                    field=f"steps.{number}.camera_ids", camera_id=str(camera_id),
                )  # fmt: skip


def _known_to(actor: Actor) -> ColumnElement[bool]:
    known: list[ColumnElement[bool]] = [false()]
    if actor.may("view") or actor.may("supervise"):
        known.append(Tour.agency_id.in_(actor.acts_for_ids))
    if actor.may("read_audit"):
        known.append(
            Tour.agency_id.in_(
                select(Agency.id).where(or_(Agency.id == actor.body_id, Agency.ancestor_ids.contains([actor.body_id])))
            )
        )
    return or_(*known)


async def listed(
    session: AsyncSession, actor: Actor, *, name: str | None, version: int | None,
    after: tuple[str, UUID] | None, limit: int,
) -> Sequence[RowMapping]:  # fmt: skip
    """The newest version of each tour that the actor may run, define or audit, by name; or those of one name.

    A row has its `steps` only where one name was asked for: a list stays short.
    """
    query = (
        select(
            Tour.id, Tour.agency_id, Tour.name, Tour.version, Tour.created_at,
            func.jsonb_array_length(Tour.steps["steps"]).label("step_count"),
            Tour.steps["cameras"].as_integer().label("camera_count"),
        )
        .where(_known_to(actor))
        .order_by(Tour.name, Tour.agency_id)
        .limit(limit)
    )  # fmt: skip
    if name is not None:
        query = query.add_columns(Tour.steps).where(Tour.name == name)
    if version is not None:
        query = query.where(Tour.version == version)
    else:
        newer = aliased(Tour)
        query = query.where(
            ~select(newer.id)
            .where(newer.agency_id == Tour.agency_id, newer.name == Tour.name, newer.version > Tour.version)
            .exists()
        )
    if after is not None:
        query = query.where(tuple_(Tour.name, Tour.agency_id) > tuple_(*after))
    return (await session.execute(query)).mappings().all()
