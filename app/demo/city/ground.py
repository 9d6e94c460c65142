"""The ground of the city: a roundish piece of land, cut into municipalities and neighbourhoods without gap or overlap.

It lies on open water (Yellow Sea, 37.0 N 125.4 E), so that a real city's file never mixes with the demo.
"""

import math
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import shapely
from shapely.geometry import LineString, MultiPoint, Point, Polygon

from app.demo.city.shape import Place

ORIGIN: Final[Place] = (37.0, 125.4)
METRES_PER_DEGREE: Final = (110_978.0, 89_012.0)  # of latitude and of longitude, on WGS84 at ORIGIN
RADIUS_METRES: Final = 14_000.0
DECIMALS: Final = 6
_GRID: Final = 10.0**-DECIMALS
_GOLDEN_ANGLE: Final = math.pi * (3 - math.sqrt(5))


def to_place(x: float, y: float) -> Place:
    """The place `x` metres east and `y` metres north of ORIGIN, on the grid of all places."""
    return (
        round(ORIGIN[0] + y / METRES_PER_DEGREE[0], DECIMALS),
        round(ORIGIN[1] + x / METRES_PER_DEGREE[1], DECIMALS),
    )


def to_metres(place: Place) -> tuple[float, float]:
    """East and north of ORIGIN, in metres: exact enough within one city."""
    return (place[1] - ORIGIN[1]) * METRES_PER_DEGREE[1], (place[0] - ORIGIN[0]) * METRES_PER_DEGREE[0]


def in_metres(polygon: Any) -> Any:
    """A polygon of degrees in metres from ORIGIN."""
    scale = [METRES_PER_DEGREE[1], METRES_PER_DEGREE[0]]
    return shapely.transform(polygon, lambda points: (points - [ORIGIN[1], ORIGIN[0]]) * scale)


@dataclass(frozen=True, slots=True)
class Parcel:
    """The land of a municipality: its boundary and those of its neighbourhoods (degrees), and its seed (metres)."""

    boundary: Any
    neighbourhoods: tuple[Any, ...]
    seed: tuple[float, float]


def parcels(dice: Random, count: int) -> tuple[Any, list[Parcel]]:
    """The city's boundary and its municipalities' parcels; the first lies in the middle.

    All edges are laid on one grid and the faces between them are gathered, so that neighbours share their vertices
    exactly: no rounding can open a gap or make two of them overlap.
    """
    shore = _shore(dice)
    seeds = _seeds(dice, count)
    inner = [
        (number, seed)
        for number, cell in enumerate(_cells(shore, seeds))
        for seed in _inner_seeds(dice, cell, dice.randint(3, 6))
    ]
    lines = [shore.exterior]
    for number, cell in enumerate(_cells(shore, seeds)):
        lines += [part.exterior for part in _cells(cell, [seed for owner, seed in inner if owner == number])]
    faces = _faces(lines)
    gathered: dict[tuple[int, int], list[Any]] = {}
    for face in faces:
        middle = face.representative_point()
        x, y = to_metres((middle.y, middle.x))
        owner = _nearest((x, y), seeds)
        own = [index for index, (number, _) in enumerate(inner) if number == owner]
        nearest = own[_nearest((x, y), [inner[index][1] for index in own])]
        gathered.setdefault((owner, nearest), []).append(face)
    found = []
    for number, seed in enumerate(seeds):
        parts = [shapely.union_all(gathered[key]) for key in sorted(gathered) if key[0] == number]
        found.append(Parcel(shapely.union_all(parts), tuple(parts), seed))
    return shapely.union_all([parcel.boundary for parcel in found]), found


def _shore(dice: Random) -> Any:
    """A roundish outline, in metres."""
    waves = [(2, 0.06), (3, 0.05), (5, 0.02), (9, 0.01)]
    phases = [dice.uniform(0, math.tau) for _ in waves]
    points = []
    for step in range(96):
        angle = math.tau * step / 96
        swell = sum(size * math.sin(n * angle + phase) for (n, size), phase in zip(waves, phases, strict=True))
        points.append((RADIUS_METRES * (1 + swell) * math.cos(angle), RADIUS_METRES * (1 + swell) * math.sin(angle)))
    return Polygon(points)


def _seeds(dice: Random, count: int) -> list[tuple[float, float]]:
    """Evenly spread centres on a sunflower's spiral (Vogel), a little disturbed; the first is the middle."""
    spacing = RADIUS_METRES / math.sqrt(count)
    seeds = []
    for number in range(count):
        radius = 0.88 * RADIUS_METRES * math.sqrt(number / (count - 0.5))
        angle = number * _GOLDEN_ANGLE
        shake = 0.0 if number == 0 else 0.22 * spacing
        seeds.append(
            (
                radius * math.cos(angle) + dice.uniform(-shake, shake),
                radius * math.sin(angle) + dice.uniform(-shake, shake),
            )
        )
    return seeds


def _cells(land: Any, seeds: list[tuple[float, float]]) -> list[Any]:
    """The Voronoi cells of seeds within a land, in the order of the seeds; the largest piece of a cell that is cut."""
    cells = list(shapely.voronoi_polygons(MultiPoint(seeds), extend_to=land).geoms)
    ordered = []
    for seed in seeds:
        piece = shapely.intersection(next(cell for cell in cells if cell.contains(Point(seed))), land)
        ordered.append(max(piece.geoms, key=lambda part: part.area) if piece.geom_type == "MultiPolygon" else piece)
    return ordered


def _inner_seeds(dice: Random, cell: Any, count: int) -> list[tuple[float, float]]:
    """Centres of neighbourhoods, kept apart from one another and from the edge."""
    apart = 0.6 * math.sqrt(cell.area / count)
    within = cell.buffer(-0.25 * apart)
    west, south, east, north = within.bounds
    seeds: list[tuple[float, float]] = []
    while len(seeds) < count:
        seed = (dice.uniform(west, east), dice.uniform(south, north))
        apart *= 0.99  # so that it ends, whatever the shape
        if within.contains(Point(seed)) and all(math.dist(seed, other) >= apart for other in seeds):
            seeds.append(seed)
    return seeds


def _faces(lines: list[Any]) -> list[Any]:
    """The pieces of land between lines given in metres, in degrees on the grid."""

    def onto_degrees(points: Any) -> Any:
        return points / [METRES_PER_DEGREE[1], METRES_PER_DEGREE[0]] + [ORIGIN[1], ORIGIN[0]]

    edges = shapely.union_all([shapely.transform(LineString(line), onto_degrees) for line in lines], grid_size=_GRID)
    return list(shapely.polygonize([edges]).geoms)


def _nearest(point: tuple[float, float], seeds: list[tuple[float, float]]) -> int:
    return min(range(len(seeds)), key=lambda index: math.dist(point, seeds[index]))
