"""Areas: administrative and other places with polygons, and finding out in which of them a point lies."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import shapely
from pyproj import Geod
from shapely.geometry import mapping, shape
from sqlalchemy import func, or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.actor import Actor
from app.audit import entries
from app.errors import Malformed, NotFound, UnusableFile
from app.ids import new_id
from app.models import Area

GEOD = Geod(ellps="WGS84")

# Property names under which published shape files carry code and name, in the order of preference.
CODE_PROPERTIES = ("code", "SIG_CD", "EMD_CD", "CTPRVN_CD", "adm_cd", "id")
NAME_PROPERTIES = ("name", "SIG_KOR_NM", "EMD_KOR_NM", "CTP_KOR_NM", "adm_nm")
ENGLISH_PROPERTIES = ("name_en", "SIG_ENG_NM", "EMD_ENG_NM", "CTP_ENG_NM")
LEGAL_DONG_DIGITS = 10
MOST_LETTERS = 200
DIGITS = (2, 5, 8, 10)  # to which a legal-dong code may be cut


@dataclass(slots=True)
class Loaded:
    """What an import of areas did: ids by code, and what was odd, in words."""

    ids: dict[str, UUID] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)


def _first(properties: dict[str, Any], names: Sequence[str]) -> str:
    found = next((str(properties[name]).strip() for name in names if properties.get(name) not in (None, "")), "")
    return found if found.isprintable() and len(found) <= MOST_LETTERS else ""


def _valid_polygon(geometry: Any) -> tuple[Any, str]:
    """A valid polygon or multipolygon of the same place, and how it was mended if it had to be."""
    if geometry.is_valid:
        return geometry, ""
    reason = shapely.is_valid_reason(geometry)
    mended = shapely.make_valid(geometry)
    if mended.geom_type == "GeometryCollection":
        mended = shapely.union_all([part for part in mended.geoms if part.geom_type in ("Polygon", "MultiPolygon")])
    return mended, reason


def _is_legal_dong(code: str) -> bool:
    return code.isascii() and code.isdigit() and len(code) in DIGITS


def _full_code(code: str) -> str:
    """A legal-dong code at its full ten digits: 11290 is 1129000000."""
    return code.ljust(LEGAL_DONG_DIGITS, "0") if _is_legal_dong(code) else code


def _kind_of(code: str) -> str:
    """What a legal-dong code names, by its trailing zeros; `other` for a code of another system."""
    if not _is_legal_dong(code):
        return "other"
    if code.endswith("0" * 8):
        return "sido"
    return "sigungu" if code.endswith("0" * 5) else "neighbourhood"


def area_km2(geometry: Any) -> float:
    """The geodesic area of a polygon in WGS84, in square kilometres."""
    return abs(GEOD.geometry_area_perimeter(geometry)[0]) / 1e6


async def load_geojson(session: AsyncSession, actor: Actor | None, document: Any, *, kind: str = "") -> Loaded:
    """Take in a GeoJSON FeatureCollection of polygons with codes and names; the same code again replaces the shape.

    Invalid polygons are mended (and said so); features without a code, a name or a polygon are left out (and said so).
    A document that is not a FeatureCollection of anything usable is refused whole.
    """
    features = document.get("features") if isinstance(document, dict) else None
    if not isinstance(features, list) or not features:
        raise UnusableFile("expected a GeoJSON FeatureCollection with at least one feature")
    loaded = Loaded()
    for number, feature in enumerate(features, 1):
        await _load_feature(session, feature, number, kind, loaded)
    if not loaded.ids:
        raise UnusableFile("no feature is usable: " + "; ".join(loaded.findings[:3]))
    await session.execute(
        text(
            "UPDATE areas child SET parent_id = parent.id FROM areas parent WHERE child.code_system = 'legal_dong'"
            " AND parent.code_system = 'legal_dong' AND child.id <> parent.id AND child.parent_id IS NULL AND ("
            " (child.kind = 'neighbourhood' AND parent.code = left(child.code, 5) || '00000') OR"
            " (child.kind = 'sigungu' AND parent.code = left(child.code, 2) || '00000000'))"
        )
    )
    await entries.append(
        session, entries.entry(actor, "areas.imported", areas=len(loaded.ids), findings=len(loaded.findings))
    )
    return loaded


async def _load_feature(session: AsyncSession, feature: Any, number: int, kind: str, loaded: Loaded) -> None:
    properties = feature.get("properties") if isinstance(feature, dict) else None
    properties = properties if isinstance(properties, dict) else {}
    code, name = _full_code(_first(properties, CODE_PROPERTIES)), _first(properties, NAME_PROPERTIES)
    if not code or not name:
        loaded.findings.append(f"feature {number}: no code or name in its properties; left out")
        return
    try:
        geometry, mended = _valid_polygon(shape(feature["geometry"]))
    except (KeyError, TypeError, ValueError, AttributeError, shapely.errors.ShapelyError) as error:
        loaded.findings.append(f"feature {number} ({name}): geometry unusable ({type(error).__name__}); left out")
        return
    if geometry.is_empty or geometry.geom_type not in ("Polygon", "MultiPolygon"):
        loaded.findings.append(f"feature {number} ({name}): not a polygon; left out")
        return
    west, south, east, north = geometry.bounds
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):  # noqa: PLR2004 - degrees
        loaded.findings.append(f"feature {number} ({name}): not degrees of longitude and latitude (WGS84); left out")
        return
    if mended:
        loaded.findings.append(f"feature {number} ({name}): polygon mended ({mended})")
    statement = insert(Area).values(
        id=new_id(),
        code_system="legal_dong" if _is_legal_dong(code) else "local",
        code=code,
        kind=kind or _kind_of(code),
        name=name,
        name_en=_first(properties, ENGLISH_PROPERTIES),
        boundary=mapping(geometry),
        area_km2=area_km2(geometry),
        repaired=mended,
    )
    new = statement.excluded
    loaded.ids[code] = (
        await session.execute(
            statement.on_conflict_do_update(
                index_elements=[Area.code_system, Area.code, Area.valid_from],
                set_={
                    "name": new.name, "name_en": new.name_en, "boundary": new.boundary,
                    "area_km2": new.area_km2, "repaired": new.repaired,
                },
            ).returning(Area.id)
        )
    ).scalar_one()  # fmt: skip


class Locator:
    """Finds, for many points at once, every area that holds them together with those areas' parents."""

    def __init__(self, rows: Iterable[tuple[UUID, UUID | None, str, str, dict[str, Any] | None]]) -> None:
        """`rows`: id, parent_id, kind, name, boundary (GeoJSON geometry)."""
        known = list(rows)
        self._parents = {row[0]: row[1] for row in known}
        self._names = {row[0]: (row[2], row[3]) for row in known}
        shaped = [(row[0], shape(row[4])) for row in known if row[4]]
        self._ids = [area_id for area_id, _ in shaped]
        self._polygons = [geometry for _, geometry in shaped]

    def locate(self, longitudes: Sequence[float], latitudes: Sequence[float]) -> list[list[UUID]]:
        """For each point its areas; a point outside of all has none."""
        found: list[dict[UUID, None]] = [{} for _ in longitudes]
        if not self._polygons:
            return [[] for _ in longitudes]
        # A tree of the points, asked by each polygon: polygons are prepared then, ten times faster than the reverse.
        points = shapely.STRtree(shapely.points(longitudes, latitudes))
        for polygon, point in points.query(self._polygons, predicate="intersects").T.tolist():
            area: UUID | None = self._ids[polygon]
            while area is not None:
                found[point][area] = None
                area = self._parents.get(area)
        return [list(areas) for areas in found]

    def name(self, area_ids: Iterable[UUID], kind: str) -> str | None:
        """The name of the first of these areas that is of a kind."""
        return next((self._names[area][1] for area in area_ids if self._names[area][0] == kind), None)


async def locator(session: AsyncSession) -> Locator:
    """A locator over all areas that are valid today."""
    rows = await session.execute(
        select(Area.id, Area.parent_id, Area.kind, Area.name, Area.boundary)
        .where(or_(Area.valid_to.is_(None), Area.valid_to >= func.current_date()))
        .order_by(Area.id)  # a point's areas come in the same order each time, so nothing seems changed
    )
    return Locator(rows.all())


async def assign(session: AsyncSession, table: str = "camera_positions") -> int:
    """Work out anew in which areas every camera (or asset) lies; returns how many rows changed."""
    if table not in ("camera_positions", "assets"):
        raise ValueError(table)
    rows = (
        await session.execute(text(f"SELECT id, longitude, latitude FROM {table} WHERE longitude IS NOT NULL"))  # noqa: S608
    ).all()
    if not rows:
        return 0
    found = (await locator(session)).locate([row.longitude for row in rows], [row.latitude for row in rows])
    changed = 0
    groups: dict[tuple[UUID, ...], list[UUID]] = {}
    for row, area_ids in zip(rows, found, strict=True):
        groups.setdefault(tuple(area_ids), []).append(row.id)
    for chain, ids in groups.items():
        result = await session.execute(
            text(
                f"UPDATE {table} SET area_ids = CAST(:areas AS uuid[]) WHERE id = ANY(CAST(:ids AS uuid[]))"  # noqa: S608
                " AND area_ids <> CAST(:areas AS uuid[])"
            ),
            {"areas": list(chain), "ids": ids},
        )
        changed += result.rowcount  # type: ignore[attr-defined]
    return changed


async def by_codes(session: AsyncSession, codes: Collection[str]) -> frozenset[UUID]:
    """The areas of legal-dong codes (법정동코드, trailing zeros may be left out); NotFound names the unknown ones."""
    if not codes:
        return frozenset()
    full = {code: _full_code(code) for code in codes}
    rows = await session.execute(
        select(Area.code, Area.id).where(Area.code.in_({*full, *full.values()}), Area.valid_to.is_(None))
    )
    found = {row.code: row.id for row in rows}
    unknown = sorted(code for code, padded in full.items() if code not in found and padded not in found)
    if unknown:
        raise NotFound(f"areas: there is no area of the code {', '.join(unknown[:5])}", field="areas")
    return frozenset(found.get(code) or found[padded] for code, padded in full.items())


async def get(session: AsyncSession, name: str) -> Area:
    """An area by its id or its code."""
    condition: Any = Area.code == _full_code(name)
    try:
        condition = Area.id == UUID(name)
    except ValueError:
        if not name.strip() or len(name) > 40 or "\0" in name:  # noqa: PLR2004 - no code is longer
            raise Malformed("area is an id or a code, such as 1129000000", field="area") from None
    area = await session.scalar(select(Area).where(condition).order_by(Area.valid_from.desc().nulls_last()).limit(1))
    if area is None:
        raise NotFound("there is no such area", field="area")
    return area


async def listed(
    session: AsyncSession, *, kind: str | None = None, after: UUID | None = None, limit: int = 100
) -> Sequence[Area]:
    """Areas in the order of their ids; boundaries are public."""
    query = select(Area).order_by(Area.id).limit(limit)
    if kind:
        query = query.where(Area.kind == kind)
    if after:
        query = query.where(Area.id > after)
    return (await session.scalars(query)).all()
