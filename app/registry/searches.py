"""What is looked for, as conditions of SQL: places, purposes, words. Rights are added by who asks, never here."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import shapely
from shapely.geometry import shape

from app.database import Arguments
from app.errors import Malformed

DEFAULT_RADIUS_METRES = 500.0
MOST_RADIUS_METRES = 50_000.0
MOST_LATITUDE, MOST_LONGITUDE = 90, 180
MOST_WORDS, MOST_CORNERS = 5, 5_000
_FINE = 1e6  # degrees to millionths of them
_EQUATOR_METRES, _ECCENTRICITY_2 = 6_378_137.0, 0.006_694_379_990_14  # WGS84
_SECOND_ECCENTRICITY_2 = _ECCENTRICITY_2 / (1 - _ECCENTRICITY_2)
_SQL_WILD = re.compile(r"([\\%_])")


@dataclass(frozen=True, slots=True)
class Near:
    """A circle around a point; degrees and metres."""

    latitude: float
    longitude: float
    radius_metres: float = DEFAULT_RADIUS_METRES


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for. `bbox` is west, south, east, north in degrees, `polygon` a GeoJSON geometry."""

    near: Near | None = None
    bbox: tuple[float, float, float, float] | None = None
    polygon: Any = None
    area_id: UUID | None = None
    purpose: str | None = None
    status: str | None = None
    words: str | None = None
    owner_agency_id: UUID | None = None
    with_stream: bool | None = None


def check_point(latitude: float, longitude: float, field: str) -> None:
    """Refuse what is no point on Earth, NaN and infinities included."""
    if not (abs(latitude) <= MOST_LATITUDE and abs(longitude) <= MOST_LONGITUDE):  # so NaN fails, too
        raise Malformed(f"{field}: latitude is -90…90 and longitude -180…180 degrees, in this order", field=field)


def metres_per_degree(latitude: float) -> tuple[float, float]:
    """Metres in a degree of latitude and in one of longitude at this latitude."""
    w2 = 1 - _ECCENTRICITY_2 * math.sin(math.radians(latitude)) ** 2
    meridian = _EQUATOR_METRES * (1 - _ECCENTRICITY_2) / w2**1.5
    prime_vertical = _EQUATOR_METRES / math.sqrt(w2)
    return math.radians(1) * meridian, math.radians(1) * prime_vertical * math.cos(math.radians(latitude))


def box_around(west: float, south: float, east: float, north: float, metres: float) -> tuple[float, ...]:
    """The box made wider by so many metres (a little more) on each side, in degrees."""
    reach = metres * 1.01 + 1
    high = reach / metres_per_degree(max(abs(south), abs(north)) / 2)[0] * 1.01
    edge = min(max(abs(south), abs(north)) + high, 89.9)
    wide = reach / metres_per_degree(edge)[1]
    return west - wide, south - high, east + wide, north + high


def distance(near: Near, arguments: Arguments) -> str:
    """Metres on the ellipsoid from a point, as SQL: within 0.1 mm of the geodesic up to 50 km (B. R. Bowring, 1981).

    (Ordering by degrees would be wrong in two of three cases: a degree of longitude is shorter than one of latitude.)
    """
    latitude = math.radians(near.latitude)
    cosine, sine = math.cos(latitude), math.sin(latitude)
    a = math.sqrt(1 + _SECOND_ECCENTRICITY_2 * cosine**4)
    b = math.sqrt(1 + _SECOND_ECCENTRICITY_2 * cosine**2)
    metres = 2 * _EQUATOR_METRES * math.sqrt(1 + _SECOND_ECCENTRICITY_2) / b**2
    given = {
        "lat": near.latitude, "lon": near.longitude, "phi": latitude, "a": a, "b": b, "bc": b * cosine, "s": sine,
        "k": 0.75 * _SECOND_ECCENTRICITY_2 / b**2, "metres": metres,
    }  # fmt: skip
    put = {name: arguments.put(value, "float8") for name, value in given.items()}
    north = f"radians(p.latitude - {put['lat']})"
    east = f"radians(p.longitude - {put['lon']})"
    return (  # noqa: S608 - our own SQL
        "(SELECT {metres} * asin(least(1, sqrt(power(sin(d) * cos(w), 2)"
        " + power(sin(w) / {a} * ({bc} * cos(d) - {s} * sin(d)), 2))))"
        " FROM (SELECT {north} / (2 * {b}) * (1 + {k} * {north} * sin(2 * {phi} + {north} * 2 / 3)) AS d,"
        " {a} * {east} / 2 AS w OFFSET 0) turn)"
    ).format(**put, north=north, east=east)


def _box(box: Sequence[float], arguments: Arguments) -> str:
    """Inside a box of degrees, by the GiST index."""
    west, south, east, north = (arguments.put(float(side), "float8") for side in box)
    return f"p.location <@ box(point({west}, {south}), point({east}, {north}))"


def around(near: Near, arguments: Arguments) -> str:
    """In the box around a circle: a little more than needed, the distance narrows it."""
    place = (near.longitude, near.latitude)
    return _box(box_around(*place, *place, near.radius_metres), arguments)


def read_polygon(said: Any, field: str = "polygon") -> Any:
    """A valid polygon or multipolygon of WGS84 degrees from GeoJSON; Malformed says what is wrong with it."""
    try:
        geometry = shape(said)
        usable = geometry.geom_type in ("Polygon", "MultiPolygon") and not geometry.is_empty
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, shapely.errors.ShapelyError):
        usable = False
    if not usable:
        raise Malformed(f"{field} is a GeoJSON Polygon or MultiPolygon of [longitude, latitude]", field=field)
    if shapely.get_num_coordinates(geometry) > MOST_CORNERS:
        raise Malformed(f"{field} has more than {MOST_CORNERS} corners: simplify it", field=field)
    west, south, east, north = geometry.bounds
    check_point(south, west, field)
    check_point(north, east, field)
    if not geometry.is_valid:
        raise Malformed(f"{field} is no valid polygon: {shapely.is_valid_reason(geometry)}", field=field)
    return geometry


def _rings(geometry: Any) -> Iterator[tuple[str, list[str]]]:
    """Each polygon's outer ring and holes, as PostgreSQL writes polygons."""

    def written(ring: Any) -> str:
        return "(" + ",".join(f"({x * _FINE!r},{y * _FINE!r})" for x, y, *_ in ring.coords[:-1]) + ")"

    for polygon in getattr(geometry, "geoms", [geometry]):
        yield written(polygon.exterior), [written(hole) for hole in polygon.interiors]


def _within(geometry: Any, arguments: Arguments) -> str:
    # PostgreSQL takes products of differences below 1e-6 for none: in degrees, that would be metres beside an edge.
    place, parts = f"p.location * point({_FINE:.0f}, 0)", []
    for outer, holes in _rings(geometry):
        inside = f"{place} <@ {arguments.put(outer, 'text')}::polygon"
        outside = [f" AND NOT {place} <@ {arguments.put(hole, 'text')}::polygon" for hole in holes]
        parts.append(f"({inside}{''.join(outside)})")
    return f"{_box(geometry.bounds, arguments)} AND ({' OR '.join(parts)})"


def _said(word: str, arguments: Arguments) -> str:
    """The cameras with a word anywhere in their name or address; two letters or more are found by their pairs."""
    like = arguments.put("%" + _SQL_WILD.sub(r"\\\1", word) + "%", "text")
    named = f"n.name ILIKE {like}"
    addressed = f"s.road_address ILIKE {like} OR s.lot_address ILIKE {like}"
    if len(word) == 1:
        return (
            f"(SELECT n.id FROM camera_positions n WHERE {named}"  # noqa: S608 - our own SQL
            f" UNION SELECT n.id FROM sites s JOIN camera_positions n ON n.site_id = s.id WHERE {addressed})"
        )
    pairs = f"letter_pairs({arguments.put(word, 'text')})"
    found = (
        "SELECT n.id FROM camera_positions n"  # noqa: S608 - our own SQL
        f" WHERE n.own_name AND {named} AND letter_runs(n.name, '', '') @> {pairs}"
        " UNION SELECT n.id FROM sites s JOIN camera_positions n ON n.site_id = s.id"
        f" WHERE letter_runs(s.name, s.road_address, s.lot_address) @> {pairs}"
        f" AND ({addressed} OR s.name ILIKE {like} AND NOT n.own_name)"
    )
    if word.isdecimal():  # the number that tells a camera from others of its site, which has no such letters
        found += f" UNION SELECT n.id FROM camera_positions n WHERE n.ordinal >= 10 AND {named}"  # noqa: S608
    return f"({found})"


def conditions(search: Search, arguments: Arguments) -> list[str]:
    """The conditions on a camera `p`, the circle left out: that one needs its distance."""
    found = []
    if search.bbox is not None:
        found.append(_box(search.bbox, arguments))
    if search.polygon is not None:
        found.append(_within(search.polygon, arguments))
    if search.area_id is not None:
        found.append(f"p.area_ids @> ARRAY[{arguments.put(search.area_id, 'uuid')}]")
    if search.purpose is not None:
        found.append(f"p.installation_purposes @> ARRAY[{arguments.put(search.purpose, 'text')}]")
    if search.status is not None:
        found.append(f"p.status = {arguments.put(search.status, 'text')}")
    if search.owner_agency_id is not None:
        found.append(f"p.owner_agency_id = {arguments.put(search.owner_agency_id, 'uuid')}")
    if search.with_stream is not None:
        found.append(f"p.has_stream = {arguments.put(search.with_stream, 'boolean')}")
    words = (search.words or "").split()[:MOST_WORDS]
    if words:
        found.append(f"p.id IN ({' INTERSECT '.join(_said(word, arguments) for word in words)})")
    return found
