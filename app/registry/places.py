"""Areas of an agency's own (parks, paths, vulnerable areas, planned events), and who is competent where.

The shape of an area never changes once it is made, and only its owner ends it: agreements narrow by areas, so whoever
could stretch one could give himself another's cameras.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

import shapely
from sqlalchemy import insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.actor import Actor
from app.audit import entries
from app.errors import Conflict, Malformed, NotFound, NotPermitted
from app.ids import new_id
from app.models import Agency, Area, Jurisdiction
from app.registry import agencies, areas, cameras
from app.registry.areas import LINES, MOST_LETTERS, MOST_PATH_METRES, PATH_METRES, SURFACES

# Kinds of areas that agencies draw themselves, with the shapes that they may have.
OWN_KINDS: dict[str, tuple[str, ...]] = {
    "vulnerable": SURFACES,
    "park": SURFACES,
    "trail": (*LINES, *SURFACES),
    "safe_return_path": LINES,
    "safe_alley": (*LINES, *SURFACES),
    "event": SURFACES,
    "jurisdiction": SURFACES,
    "other": (*LINES, *SURFACES),
}
MOST_CORNERS = 20_000
COMPETENT_KINDS = ("police", "fire", "municipality", "health_response", "education")


@dataclass(frozen=True)
class NewArea:
    """An area as its owner describes it. `subkind` says of what type a vulnerable area is; `boundary` is GeoJSON."""

    kind: str
    name: str
    boundary: Any
    code: str = ""
    name_en: str = ""
    subkind: str = ""
    reach_metres: float | None = None
    parent_id: UUID | None = None
    valid_from: date | None = None
    valid_to: date | None = None


async def add(session: AsyncSession, actor: Actor, new: NewArea) -> tuple[UUID, str]:
    """Draw an area of the own agency; returns its id and how its shape was mended, if it was. An event has an end."""
    actor.must("administer")
    name = _described(new)
    geometry, mended = await asyncio.to_thread(areas.read_shape, new.boundary)
    reach = _reach(new, geometry)
    if new.parent_id is not None and await session.get(Area, new.parent_id) is None:
        raise NotFound("there is no such area above", field="parent_id")
    area_id = new_id()
    code = new.code.strip() or str(area_id)
    if await session.scalar(select(Area.id).where(Area.code_system == "local", Area.code == code).limit(1)):
        raise Conflict(f"there is an area of the code {code} already", field="code")
    await session.execute(
        insert(Area).values(
            id=area_id, code_system="local", code=code, kind=new.kind, subkind=new.subkind, name=name,
            name_en=new.name_en, owner_agency_id=actor.body_id, parent_id=new.parent_id, valid_from=new.valid_from,
            valid_to=new.valid_to, **areas.shaped(geometry, mended, reach),
        )
    )  # fmt: skip
    await _place(session, area_id, areas.surface(geometry.__geo_interface__, reach))
    await entries.append(
        session,
        entries.entry(
            actor, "area.added", area_id=area_id, owner_agency_id=actor.body_id, name=name, kind=new.kind, code=code
        ),
    )
    return area_id, mended


def _described(new: NewArea) -> str:
    """The name of a new area, when its kind, name and dates can stand."""
    if new.kind not in OWN_KINDS:
        raise Malformed(f"kind is one of: {', '.join(OWN_KINDS)}; others come with official files", field="kind")
    name = new.name.strip()
    if not name or not name.isprintable() or len(name) > MOST_LETTERS:
        raise Malformed("an area has a name", field="name")
    if new.kind == "event" and new.valid_to is None:
        raise Malformed("a planned event has a last day: valid_to", field="valid_to")
    if new.valid_from and new.valid_to and new.valid_to < new.valid_from:
        raise Malformed("valid_to is not before valid_from", field="valid_to")
    if new.kind == "vulnerable" and not new.subkind:
        raise Malformed("a vulnerable area has a type: subkind, such as night_entertainment", field="subkind")
    return name


def _reach(new: NewArea, geometry: Any) -> float | None:
    """How far beside a line is still on the path; None for a surface. Malformed for a shape that the kind has not."""
    if shapely.get_num_coordinates(geometry) > MOST_CORNERS:
        raise Malformed(f"boundary has more than {MOST_CORNERS:,} corners: simplify it", field="boundary")
    if geometry.geom_type not in OWN_KINDS[new.kind]:
        raise Malformed(f"the boundary of a {new.kind} is one of: {', '.join(OWN_KINDS[new.kind])}", field="boundary")
    if geometry.geom_type in SURFACES:
        return None
    reach = PATH_METRES if new.reach_metres is None else new.reach_metres
    if not 0 < reach <= MOST_PATH_METRES:
        raise Malformed(f"reach_metres is more than 0, at most {MOST_PATH_METRES:.0f}", field="reach_metres")
    return reach


async def _place(session: AsyncSession, area_id: UUID, surface: Any) -> None:
    """Tell all cameras and assets within a new area that they are."""
    west, south, east, north = surface.bounds
    shapely.prepare(surface)
    for table in ("camera_positions", "assets"):
        rows = await session.execute(
            text(
                f"SELECT id, longitude, latitude FROM {table}"  # noqa: S608 - our own names
                " WHERE location <@ box(point(:west, :south), point(:east, :north))"
            ),
            {"west": west, "south": south, "east": east, "north": north},
        )
        near = rows.all()
        held = shapely.intersects_xy(surface, [row.longitude for row in near], [row.latitude for row in near])
        ids = [row.id for row, inside in zip(near, held, strict=True) if inside]
        if ids:
            await session.execute(
                text(
                    f"UPDATE {table} SET area_ids = area_ids || CAST(:area AS uuid)"  # noqa: S608
                    " WHERE id = ANY(CAST(:ids AS uuid[])) AND NOT area_ids @> ARRAY[CAST(:area AS uuid)]"
                ),
                {"area": area_id, "ids": ids},
            )


async def end(session: AsyncSession, actor: Actor, area_id: UUID, last_day: date) -> None:
    """Say on which day an area of the own agency is valid for the last time."""
    actor.must("administer")
    area = await session.get(Area, area_id, with_for_update=True)
    if area is None:
        raise NotFound("there is no such area")
    if area.owner_agency_id not in actor.acts_for_ids:
        raise NotPermitted("only the agency that made an area ends it; official ones follow the files")
    if area.valid_from and last_day < area.valid_from:
        raise Malformed("valid_to is not before valid_from", field="valid_to")
    await session.execute(update(Area).where(Area.id == area_id).values(valid_to=last_day))
    entry = entries.entry(actor, "area.ended", area_id=area_id, owner_agency_id=actor.body_id, valid_to=last_day)
    await entries.append(session, entry)


async def holding(session: AsyncSession, latitude: float, longitude: float) -> list[Area]:
    """The areas valid today that hold a point, and those above them; the smallest first."""
    cameras.check_point(latitude, longitude, "lat")
    rows = await session.scalars(
        select(Area).where(
            text("areas.extent @> point(:longitude, :latitude)").bindparams(longitude=longitude, latitude=latitude),
            areas.in_force(),
        )
    )
    found: dict[UUID, Area] = {}
    for area in rows.all():
        if shapely.intersects_xy(areas.surface(area.boundary, area.reach_metres), longitude, latitude):
            found |= {one.id: one for one in (area, *await areas.above(session, area))}
    return sorted(found.values(), key=lambda area: (area.area_km2 is None, area.area_km2 or 0.0, str(area.id)))


async def competent(session: AsyncSession, latitude: float, longitude: float) -> tuple[list[Area], dict[str, Agency]]:
    """The areas of a point, and for each kind of agency the one competent there: that of the smallest area wins."""
    held = await holding(session, latitude, longitude)
    rows = await session.execute(
        select(Jurisdiction.area_id, Agency)
        .join(Agency, Agency.id == Jurisdiction.agency_id)
        .where(Jurisdiction.area_id.in_([area.id for area in held]), Jurisdiction.until.is_(None))
        .where(Agency.ended_at.is_(None))
        .order_by(Agency.id)
    )
    by_area: dict[UUID, list[Agency]] = {}
    for area_id, agency in rows:
        by_area.setdefault(area_id, []).append(agency)
    bodies = {
        agency.body_id for agencies in by_area.values() for agency in agencies if agency.kind not in COMPETENT_KINDS
    }
    known_bodies = await session.execute(select(Agency.id, Agency.kind).where(Agency.id.in_(bodies)))
    kinds = {row.id: row.kind for row in known_bodies}
    found: dict[str, Agency] = {}
    for area in held:
        for agency in by_area.get(area.id, ()):
            # A box or a station (unit kinds) answers for the kind of its body.
            kind = agency.kind if agency.kind in COMPETENT_KINDS else kinds.get(agency.body_id, agency.kind)
            found.setdefault(kind, agency)
    return held, found


async def set_jurisdiction(
    session: AsyncSession, actor: Actor | None, agency_id: UUID, area_ids: Iterable[UUID]
) -> tuple[int, int]:
    """Say in which areas an agency is competent from now on; returns how many came and how many went.

    An administrator says it of the own institution and its units, the operator of everyone. No right to cameras comes
    of it, only which station a call belongs to, and over which areas an oversight body sees statistics; those are for
    the operator to say.
    """
    agency = await session.get(Agency, agency_id)
    if agency is None:
        raise NotFound("there is no such agency")
    if actor is not None:
        actor.must("administer")
        if not {agency.id, agency.body_id} & {*actor.acts_for_ids} or agency.kind == "oversight":
            raise NotPermitted("an administrator says this of the own institution only, and not of an oversight body")
    wanted, held = set(area_ids), Jurisdiction
    came, went = await agencies.belong(session, held, held.agency_id, agency_id, held.area_id, wanted)
    if came or went:
        entry = entries.entry(
            actor, "jurisdiction.changed", subject=("agency", agency_id), areas=len(wanted), came=came, went=went
        )
        await entries.append(session, entry)
    return came, went


async def jurisdiction(session: AsyncSession, agency_id: UUID) -> Sequence[Area]:
    """The areas in which an agency is competent now."""
    rows = await session.scalars(
        select(Area)
        .join(Jurisdiction, Jurisdiction.area_id == Area.id)
        .where(Jurisdiction.agency_id == agency_id, Jurisdiction.until.is_(None))
        .order_by(Area.id)
    )
    return rows.all()
