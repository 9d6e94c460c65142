"""Areas: administrative and other places with polygons, and finding out in which of them a point lies."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import UUID

import shapely
from pyproj import Geod
from shapely.geometry import mapping, shape
from sqlalchemy import func, insert, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.actor import Actor
from app.audit import entries
from app.errors import Malformed, NotFound, UnusableFile
from app.ids import new_id
from app.models import Area
from app.registry import legal_dong
from app.registry.searches import box_around, metres_per_degree

GEOD = Geod(ellps="WGS84")

# Property names under which published shape files carry code and name, in the order of preference.
CODE_PROPERTIES = ("code", "SIG_CD", "EMD_CD", "CTPRVN_CD", "adm_cd", "id")
NAME_PROPERTIES = ("name", "SIG_KOR_NM", "EMD_KOR_NM", "CTP_KOR_NM", "adm_nm")
ENGLISH_PROPERTIES = ("name_en", "SIG_ENG_NM", "EMD_ENG_NM", "CTP_ENG_NM")
MOST_LETTERS = 200
DIGITS = (2, 5, 8, legal_dong.DIGITS)  # to which a legal-dong code may be cut
PATH_METRES = 30.0  # how far beside a line is still on the path, unless it is said
MOST_PATH_METRES = 500.0
ADMINISTRATIVE = legal_dong.KINDS  # they lie within each other, as their codes do
SURFACES, LINES = ("Polygon", "MultiPolygon"), ("LineString", "MultiLineString")


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
    return code.ljust(legal_dong.DIGITS, "0") if _is_legal_dong(code) else code


def _kind_of(code: str) -> str:
    """What a legal-dong code names; `other` for a code of another system."""
    return legal_dong.kind_of(code) if _is_legal_dong(code) else "other"


def in_force() -> Any:
    """The condition that an area is valid today."""
    today = func.current_date()
    return or_(Area.valid_from.is_(None), Area.valid_from <= today) & (
        or_(Area.valid_to.is_(None), Area.valid_to >= today)
    )


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
    await legal_dong.join(session)
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
        geometry, mended = read_shape(feature.get("geometry"))
    except Malformed as refusal:
        loaded.findings.append(f"feature {number} ({name}): {refusal.detail}; left out")
        return
    if mended:
        loaded.findings.append(f"feature {number} ({name}): polygon mended ({mended})")
    system = "legal_dong" if _is_legal_dong(code) else "local"
    reach = PATH_METRES if geometry.geom_type in LINES else None
    values = {"name": name, "name_en": _first(properties, ENGLISH_PROPERTIES)} | shaped(geometry, mended, reach)
    # A shape belongs to the code as it is valid now; a code that is not known yet comes with its shape.
    known = await session.scalar(
        select(Area.id)
        .where(Area.code_system == system, Area.code == code)
        .order_by(in_force().desc(), Area.valid_from.desc().nulls_last())
        .limit(1)
    )
    if known is not None:
        await session.execute(update(Area).where(Area.id == known).values(values))
    else:
        known = new_id()
        kind = kind or _kind_of(code)
        await session.execute(insert(Area).values(id=known, code_system=system, code=code, kind=kind, **values))
    loaded.ids[code] = known


def read_shape(said: Any, *, field: str = "boundary") -> tuple[Any, str]:
    """A valid polygon or line of WGS84 from GeoJSON, and how it was mended if it had to be; Malformed says why not."""
    try:
        geometry, mended = _valid_polygon(shape(said))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, shapely.errors.ShapelyError) as error:
        raise Malformed(f"geometry unusable ({type(error).__name__})", field=field) from None
    if geometry.is_empty or geometry.geom_type not in (*SURFACES, *LINES):
        raise Malformed("not a polygon, nor a line", field=field)
    west, south, east, north = geometry.bounds
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):  # noqa: PLR2004 - degrees
        raise Malformed("not degrees of longitude and latitude (WGS84)", field=field)
    return geometry, mended


def shaped(geometry: Any, mended: str, reach_metres: float | None) -> dict[str, Any]:
    """The columns of an area that come from its shape."""
    west, south, east, north = geometry.bounds
    if reach_metres is not None:
        west, south, east, north = box_around(west, south, east, north, reach_metres)
    return {
        "boundary": mapping(geometry),
        "area_km2": area_km2(geometry) if geometry.geom_type in SURFACES else None,
        "repaired": mended,
        "reach_metres": reach_metres,
        "extent": func.box(func.point(west, south), func.point(east, north)),
    }


def surface(boundary: Any, reach_metres: float | None = None) -> Any:
    """The polygon in which a point lies on the area: of a line all that is within its reach."""
    geometry = shape(boundary)
    if geometry.geom_type in SURFACES:
        return geometry
    high, wide = metres_per_degree(geometry.centroid.y)
    metric = shapely.transform(geometry, lambda corners: corners * (wide, high))
    return shapely.transform(metric.buffer(reach_metres or PATH_METRES), lambda corners: corners / (wide, high))


class Locator:
    """Finds, for many points at once, every area that holds them together with those areas' parents."""

    def __init__(self, rows: Iterable[Sequence[Any]]) -> None:
        """`rows`: id, parent_id, kind, name, boundary (GeoJSON geometry), reach in metres beside a line."""
        known = list(rows)
        self._parents = {row[0]: row[1] for row in known}
        self._names = {row[0]: (row[2], row[3]) for row in known}
        shaped = [(row[0], surface(row[4], *row[5:])) for row in known if row[4]]
        self._ids = [area_id for area_id, _ in shaped]
        self.polygons = [geometry for _, geometry in shaped]
        self._bounded = set(self._ids)

    def locate(self, longitudes: Sequence[float], latitudes: Sequence[float]) -> list[list[UUID]]:
        """For each point its areas; a point outside of all has none."""
        if not self.polygons:
            return [[]] * len(longitudes)
        inside: list[dict[UUID, None]] = [{} for _ in longitudes]
        # A tree of the points, asked by each polygon: polygons are prepared then, ten times faster than the reverse.
        points = shapely.STRtree(shapely.points(longitudes, latitudes))
        for polygon, point in points.query(self.polygons, predicate="intersects").T.tolist():
            inside[point][self._ids[polygon]] = None
        return [self._with_parents(held) for held in inside]

    def _with_parents(self, held: dict[UUID, None]) -> list[UUID]:
        """These areas, and those above that have no boundary of their own to say otherwise.

        Shapes of neighbourhoods are often simplified and reach over the boundary of their district: there the district
        is right, so that no camera lies in two of them.
        """
        found: dict[UUID, None] = {}
        for area in held:
            chain: list[UUID] = []
            above: UUID | None = area
            while above is not None and above not in chain:
                if above in self._bounded and above not in held:
                    if self._names[area][0] in ADMINISTRATIVE:
                        chain = []
                    break
                chain.append(above)
                above = self._parents.get(above)
            found |= dict.fromkeys(chain)
        return list(found)

    def name(self, area_ids: Iterable[UUID], kind: str) -> str | None:
        """The name of the first of these areas that is of a kind."""
        return next((self._names[area][1] for area in area_ids if self._names[area][0] == kind), None)


async def locator(session: AsyncSession) -> Locator:
    """A locator over all areas that are valid today."""
    rows = await session.execute(
        select(Area.id, Area.parent_id, Area.kind, Area.name, Area.boundary, Area.reach_metres)
        .where(in_force())
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
    rows = await session.execute(select(Area.code, Area.id).where(Area.code.in_({*full, *full.values()}), in_force()))
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
    order = (in_force().desc(), Area.valid_from.desc().nulls_last())
    area = await session.scalar(select(Area).where(condition).order_by(*order).limit(1))
    if area is None:
        raise NotFound("there is no such area", field="area")
    return area


async def above(session: AsyncSession, area: Area) -> list[Area]:
    """What the area belongs to, nearest first."""
    chain: list[Area] = []
    while area.parent_id is not None and len(chain) < 10:  # noqa: PLR2004 - deeper than any tree of areas
        found = await session.get(Area, area.parent_id)
        if found is None or found in chain:
            break
        chain.append(found)
        area = found
    return chain


async def listed(
    session: AsyncSession,
    *,
    kind: str | None = None,
    parent_id: UUID | None = None,
    words: str | None = None,
    valid_on: date | None = None,
    after: UUID | None = None,
    limit: int = 100,
) -> Sequence[Area]:
    """Areas in the order of their ids; boundaries are public. `valid_on`: those that were valid on this day."""
    query = select(Area).order_by(Area.id).limit(limit)
    if kind:
        query = query.where(Area.kind == kind)
    if parent_id:
        query = query.where(Area.parent_id == parent_id)
    if words:
        query = query.where(Area.name.contains(words, autoescape=True))
    if valid_on:
        query = query.where(
            or_(Area.valid_from.is_(None), Area.valid_from <= valid_on),
            or_(Area.valid_to.is_(None), Area.valid_to >= valid_on),
        )
    if after:
        query = query.where(Area.id > after)
    return (await session.scalars(query)).all()


async def drawn(
    session: AsyncSession,
    box: tuple[float, float, float, float] | None,
    *,
    after: UUID | None = None,
    limit: int = 100,
) -> Sequence[Area]:
    """Areas with a boundary that are valid today, in the order of their ids; `box`: only those that may touch it."""
    query = select(Area).where(Area.boundary.is_not(None), in_force()).order_by(Area.id).limit(limit)
    if box is not None:
        touches = text("areas.extent && box(point(:west, :south), point(:east, :north))")
        query = query.where(touches.bindparams(**dict(zip(("west", "south", "east", "north"), box, strict=True))))
    if after:
        query = query.where(Area.id > after)
    return (await session.scalars(query)).all()
