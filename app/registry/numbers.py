"""The numbers that officials ask for: an area and its parts, counted under rights.

Cameras are counted, never rows of files or sites (a site holds up to a hundred). In place is what is installed, active
or faulty; what is only planned has no density. Square kilometres are geodesic. An oversight body sees numbers of the
areas of its jurisdiction, without being able to locate a single camera.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.access import rights
from app.actor import Actor
from app.database import Arguments, read
from app.errors import NotPermitted
from app.models import Area
from app.registry import areas, misplaced
from app.registry.misplaced import counted

OUTDATED_YEARS, OUTDATED_PIXELS_10K = 7, 200  # what counts as outdated, unless another limit is asked for
IN_PLACE = "('installed', 'active', 'faulty')"
MOST_PARTS = 2_000
DAYS_A_YEAR = 365.2425
SPLIT = "\x1f"  # stands between a programme and a status in a row's value: no name holds it
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Limits:
    """From when on a camera is outdated: older than so many years, or of fewer pixels (in 만, ten thousands)."""

    years: float = OUTDATED_YEARS
    pixels_10k: int = OUTDATED_PIXELS_10K


async def of_area(session: AsyncSession, actor: Actor, name: str, limits: Limits | None = None) -> dict[str, Any]:
    """The numbers of an area (id or code), of its siblings' ranks, and of its parts (children), each with its rank.

    Numbers hold `cameras`, `sites`, `cameras_per_km2`, `bells`, `bells_per_km2`, `intelligent_share`, `outdated`, `by`
    (status, purpose, programme); `rank` is by density among the valid siblings of the same kind. NotPermitted for who
    may see neither cameras nor statistics.
    """
    if not (actor.may("locate") or actor.may("read_statistics")):
        raise NotPermitted(f"the role {actor.role} sees no numbers of cameras; it takes locate or read_statistics")
    limits = limits or Limits()
    area = await areas.get(session, name)
    siblings = await _parts(session, area.parent_id, area) if area.parent_id else []
    parts = await _parts(session, area.id)
    parent = await session.get(Area, area.parent_id) if area.parent_id else None
    wanted = {one.id: one for one in (area, *siblings, *parts, *([parent] if parent else []))}
    told_of = await _count(session, actor, wanted, limits)
    _sum_up(told_of[area.id], [told_of[one.id] for one in parts])
    own = told_of[area.id] | _standing(told_of, area, [area, *siblings], parent)
    told = [told_of[one.id] | _standing(told_of, one, parts, area) for one in parts]
    return {
        "at": clock.now(),
        "outdated_means": {"older_than_years": limits.years, "fewer_pixels_10k": limits.pixels_10k},
        "area": own,
        "parts": sorted(told, key=lambda one: (one["rank"] is None, one["rank"], one["name"])),
        "misplaced": await misplaced.sites(session, actor, area, parts),
    }


async def _parts(session: AsyncSession, parent_id: UUID, besides: Area | None = None) -> list[Area]:
    """The valid areas directly below one; with `besides`, only the others of its kind."""
    query = select(Area).where(Area.parent_id == parent_id, areas.in_force()).order_by(Area.id).limit(MOST_PARTS)
    if besides is not None:
        query = query.where(Area.kind == besides.kind, Area.id != besides.id)
    return list((await session.scalars(query)).all())


async def _count(
    session: AsyncSession, actor: Actor, wanted: Mapping[UUID, Area], limits: Limits
) -> dict[UUID, dict[str, Any]]:
    """What stands in each area; one pass over the cameras, one over the bells."""
    arguments = Arguments()
    ids = arguments.put(list(wanted), "uuid[]")
    before = arguments.put(clock.now().date() - timedelta(days=limits.years * DAYS_A_YEAR), "date")
    pixels = arguments.put(limits.pixels_10k, "int")
    old = f"(p.installed_on < {before} OR p.pixels_10k BETWEEN 1 AND {pixels} - 1)"
    placed = f"p.status IN {IN_PLACE}"
    statement = (
        "WITH found AS MATERIALIZED (SELECT each.area_id, p.site_id, p.status, p.installation_purposes, p.programme,"  # noqa: S608
        f" {placed} AS placed, p.analytics <> '{{}}' AS intelligent, coalesce({old}, false) AS old,"
        " p.installed_on IS NULL AND coalesce(p.pixels_10k, 0) = 0 AS ageless"
        " FROM camera_positions p CROSS JOIN LATERAL unnest(p.area_ids) AS each(area_id)"
        f" WHERE p.retired_at IS NULL AND p.area_ids && {ids} AND each.area_id = ANY({ids})"
        f" AND {counted(actor, arguments, 'p')})"
        " SELECT area_id, '' AS facet, '' AS value, count(*) FILTER (WHERE placed) AS cameras,"
        " count(DISTINCT site_id) FILTER (WHERE placed) AS sites,"
        " count(*) FILTER (WHERE placed AND intelligent) AS intelligent,"
        " count(*) FILTER (WHERE placed AND old) AS outdated, count(*) FILTER (WHERE placed AND ageless) AS ageless"
        " FROM found GROUP BY area_id"
        " UNION ALL SELECT area_id, 'status', status, count(*), 0, 0, 0, 0 FROM found GROUP BY area_id, status"
        " UNION ALL SELECT area_id, 'purpose', purpose, count(*), 0, 0, 0, 0"
        " FROM found CROSS JOIN LATERAL unnest(installation_purposes) AS many(purpose) WHERE placed"
        " GROUP BY area_id, purpose"
        " UNION ALL SELECT area_id, 'programme', programme || chr(31) || coalesce(status, ''), count(*),"
        " count(DISTINCT site_id), 0, 0, 0 FROM found WHERE programme <> ''"
        " GROUP BY GROUPING SETS ((area_id, programme, status), (area_id, programme))"
    )
    told: dict[UUID, dict[str, Any]] = {area_id: _empty(area) for area_id, area in wanted.items()}
    for row in await read(session, statement, arguments):
        _take(told[row["area_id"]], row)
    for area_id, bells in (await _bells(session, actor, wanted)).items():
        told[area_id]["bells"] = bells
    for one in told.values():
        _divide(one)
    return told


def _empty(area: Area) -> dict[str, Any]:
    return {
        "id": area.id, "code": area.code, "name": area.name, "kind": area.kind, "km2": area.area_km2, "cameras": 0,
        "sites": 0, "bells": 0, "intelligent": 0, "outdated": 0, "age_and_pixels_unknown": 0,
        "by": {"status": {}, "purpose": {}, "programme": {}},
    }  # fmt: skip


def _take(one: dict[str, Any], row: Mapping[str, Any]) -> None:
    if not row["facet"]:
        one |= {name: row[name] for name in ("cameras", "sites", "intelligent", "outdated")}
        one["age_and_pixels_unknown"] = row["ageless"]
    elif row["facet"] == "programme":
        programme, _, status = row["value"].partition(SPLIT)
        progress = one["by"]["programme"].setdefault(
            programme, {"cameras": 0, "sites": 0, "planned": 0, "installed": 0, "active": 0, "faulty": 0}
        )
        progress |= {status: row["cameras"]} if status else {"cameras": row["cameras"], "sites": row["sites"]}
    else:
        one["by"][row["facet"]][row["value"]] = row["cameras"]


def _sum_up(one: dict[str, Any], parts: Sequence[Mapping[str, Any]]) -> None:
    """An area without a boundary of its own is as large as its parts together, when all of those are known."""
    if one["km2"] is None and parts and all(part["km2"] is not None for part in parts):
        one["km2"] = sum(part["km2"] for part in parts)
        _divide(one)


def _divide(one: dict[str, Any]) -> None:
    km2, cameras = one["km2"], one["cameras"]
    one["cameras_per_km2"] = round(cameras / km2, 2) if km2 else None
    one["bells_per_km2"] = round(one["bells"] / km2, 2) if km2 else None
    one["intelligent_share"] = round(one["intelligent"] / cameras, 4) if cameras else None
    one["outdated_share"] = round(one["outdated"] / cameras, 4) if cameras else None


async def _bells(session: AsyncSession, actor: Actor, wanted: Mapping[UUID, Area]) -> dict[UUID, int]:
    """Emergency bells in each area. An agreement on cameras of one purpose says nothing of bells."""
    arguments = Arguments()
    ids = arguments.put(list(wanted), "uuid[]")
    if actor.may("read_statistics"):
        may = counted(actor, arguments, "b")
    else:
        own = arguments.put(list(actor.acts_for_ids), "uuid[]")
        in_force = rights.agreement_in_force(verb=arguments.put("locate", "text"), agencies=own)
        may = (
            f"(b.owner_agency_id = ANY({own}) OR EXISTS (SELECT FROM agreements a WHERE {in_force}"
            " AND a.owner_agency_id = b.owner_agency_id AND a.installation_purposes = '{}'"
            " AND (a.area_ids = '{}' OR a.area_ids && b.area_ids)))"
        )
    statement = (
        "SELECT each.area_id, count(*) AS bells FROM assets b CROSS JOIN LATERAL unnest(b.area_ids) AS each(area_id)"  # noqa: S608
        f" WHERE b.kind = 'bell' AND b.status IN {IN_PLACE} AND each.area_id = ANY({ids}) AND {may}"
        " GROUP BY each.area_id"
    )
    return {row["area_id"]: row["bells"] for row in await read(session, statement, arguments)}


def _standing(
    told_of: Mapping[UUID, Mapping[str, Any]], area: Area, among: Sequence[Area], parent: Area | None
) -> dict[str, Any]:
    """Rank by density among those with a boundary and one's kind, and the share of intelligent ones above."""

    def density(one: Area) -> float | None:
        km2 = told_of[one.id]["km2"]
        return told_of[one.id]["cameras"] / km2 if km2 else None

    peers = [dense for one in among if one.kind == area.kind and (dense := density(one)) is not None]
    own = density(area)
    return {
        "rank": 1 + sum(one > own for one in peers) if own is not None else None,
        "ranked_among": len(peers),
        "intelligent_share_of_parent": told_of[parent.id]["intelligent_share"] if parent is not None else None,
    }


_COLUMNS = {
    "code": "법정동코드", "name": "구역", "kind": "구분", "km2": "면적(㎢)", "cameras": "카메라", "sites": "설치지점",
    "cameras_per_km2": "㎢당 카메라", "rank": "순위", "bells": "비상벨", "bells_per_km2": "㎢당 비상벨",
    "intelligent": "지능형", "intelligent_share": "지능형 비율", "intelligent_share_of_parent": "상위 지능형 비율",
    "outdated": "노후", "outdated_share": "노후 비율", "age_and_pixels_unknown": "설치연월·화소 미상",
}  # fmt: skip


def _cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return round(value, 4) if isinstance(value, float) else value


def as_csv(told: Mapping[str, Any]) -> bytes:
    """The numbers as CSV for a spreadsheet (UTF-8 with a BOM): the area first, then its parts, a column a number."""
    rows = [told["area"], *told["parts"]]
    kinds: dict[tuple[str, str], None] = {}
    for row in rows:
        for facet in ("status", "purpose"):
            kinds |= dict.fromkeys((facet, value) for value in sorted(row["by"][facet]))
        for programme in sorted(row["by"]["programme"]):
            kinds |= dict.fromkeys(
                ("programme", f"{programme}{SPLIT}{state}") for state in ("planned", "installed", "active")
            )
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    labels = [f"{name} {label}" for name, label in _COLUMNS.items()]
    writer.writerow(
        [_cell(one) for one in (*labels, *(f"{facet}:{value}".replace(SPLIT, " ") for facet, value in kinds))]
    )
    for row in rows:
        cells = [row.get(name) for name in _COLUMNS]
        for facet, value in kinds:
            programme, _, state = value.partition(SPLIT)
            by = row["by"][facet]
            cells.append(by.get(programme, {}).get(state, 0) if facet == "programme" else by.get(value, 0))
        writer.writerow([_cell(one) for one in cells])
    return b"\xef\xbb\xbf" + out.getvalue().encode()
