"""Streets, and the sites, cameras, bells and poles along them: dense around centres, thin at the edges."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random
from typing import Any, Final, TypeVar
from uuid import UUID

import shapely
from shapely.geometry import LineString, Point

from app import ids
from app.demo.city import names
from app.demo.city.ground import in_metres, to_metres, to_place
from app.demo.city.shape import Asset, Camera, Municipality, Site
from app.registry.codes import INSTALLATION_PURPOSES

Kind = TypeVar("Kind")

METRO: Final = "city"
"""The city's own key as an owner; the others are the municipalities' codes."""
_BORN: Final = 1_767_225_600_000  # 2026-01-01 in milliseconds: the moment that all ids of the city name
_METRES_PER_NUMBER_PAIR: Final = (
    20  # 도로명주소법: a pair of building numbers every 20 m, odd on the left, even on the right
)

# How often each purpose stands on a site of a district, and of the city.
_DISTRICT_PURPOSES: Final[dict[tuple[str, ...], int]] = {
    ("crime_prevention",): 58, ("child_safety",): 13, ("traffic_enforcement",): 8, ("illegal_dumping",): 6,
    ("facility",): 5, ("disaster",): 3, ("multi",): 3, ("vehicle_crime",): 2, ("crime_prevention", "child_safety"): 1,
    ("other",): 1,
}  # fmt: skip
_CITY_PURPOSES: Final[dict[tuple[str, ...], int]] = {("traffic_information",): 70, ("disaster",): 20, ("facility",): 10}
_CAMERAS_ON_A_SITE: Final = {1: 78, 2: 14, 3: 5, 4: 3}
_CITY_SHARE: Final = 0.05
_STATUSES: Final = {"active": 96, "faulty": 2, "installed": 1, "planned": 1}
_PIXELS: Final = {200: 60, 400: 20, 130: 12, 800: 5, 41: 3}
_BELL_PURPOSES: Final = frozenset({"crime_prevention", "child_safety", "multi"})


@dataclass(frozen=True, slots=True)
class Street:
    """A straight street in metres; `crowding` says how closely its sites keep to `centre` metres along it."""

    name: str
    line: Any
    centre: float
    crowding: float
    weight: float


class Ids:
    """Reproducible ids in the order of their making."""

    def __init__(self, dice: Random) -> None:
        self._dice, self._made = dice, 0

    def next(self) -> UUID:
        self._made += 1
        return ids.from_parts(_BORN + self._made, self._dice.getrandbits(58))


def one_of(dice: Random, weights: Mapping[Kind, int]) -> Kind:
    """One of the keys, as often as its weight says."""
    return dice.choices(list(weights), list(weights.values()))[0]


def _longest(geometry: Any) -> Any:
    return max(geometry.geoms, key=lambda part: part.length) if geometry.geom_type == "MultiLineString" else geometry


def _street(name: str, through: tuple[float, float], angle: float, half: float, land: Any) -> Street | None:
    """A street of at most twice `half` metres through a point, as far as the land reaches."""
    east, north = half * math.cos(angle), half * math.sin(angle)
    whole = LineString([(through[0] - east, through[1] - north), (through[0] + east, through[1] + north)])
    line = _longest(shapely.intersection(whole, land))
    if line.is_empty or line.length < 4 * _METRES_PER_NUMBER_PAIR:
        return None
    centre = line.project(Point(through))
    return Street(name, line, centre, max(120.0, 0.22 * line.length), math.sqrt(line.length))


def lay(dice: Random, municipality: Municipality) -> list[Street]:
    """Three avenues through the centre and a handful of streets in every neighbourhood."""
    land = in_metres(municipality.boundary).buffer(-25)
    centre = to_metres(municipality.centre)
    turn = dice.uniform(0, math.pi)
    avenues = names.avenues(dice, 3)
    found = [_street(name, centre, turn + math.pi * n / 3, 6_000, land) for n, name in enumerate(avenues)]
    per_neighbourhood = 6
    streets = names.streets(dice, per_neighbourhood * len(municipality.neighbourhoods))
    for number, name in enumerate(streets):
        part = in_metres(municipality.neighbourhoods[number // per_neighbourhood].boundary).buffer(-25)
        heart = part.representative_point()
        through = (heart.x + dice.gauss(0, 350), heart.y + dice.gauss(0, 350))
        angle = turn + dice.choice((0, math.pi / 2)) + dice.gauss(0, 0.08)
        found.append(_street(name, through, angle, dice.uniform(250, 900), part))
    return [street for street in found if street is not None]


def _spots(dice: Random, streets: Sequence[Street], land: Any, count: int) -> list[tuple[str, float, float]]:
    """Places for sites: "별빛로 12" with metres, each address once."""
    weights = [street.weight for street in streets]
    spots: dict[str, tuple[float, float]] = {}
    while len(spots) < count:
        street = dice.choices(streets, weights)[0]
        along = dice.gauss(street.centre, street.crowding)
        if not 0 <= along <= street.line.length:
            continue
        right = dice.random() < 0.5  # noqa: PLR2004 - heads or tails
        address = f"{street.name} {2 * int(along / _METRES_PER_NUMBER_PAIR) + (2 if right else 1)}"
        here, ahead = street.line.interpolate(along), street.line.interpolate(along + 1)
        angle = math.atan2(ahead.y - here.y, ahead.x - here.x) + (-math.pi / 2 if right else math.pi / 2)
        aside = dice.uniform(3, 8)
        x, y = here.x + aside * math.cos(angle), here.y + aside * math.sin(angle)
        if address not in spots and land.contains(Point(x, y)):
            spots[address] = (x, y)
    return [(address, x, y) for address, (x, y) in spots.items()]


def site_sizes(dice: Random, cameras: int) -> list[int]:
    """How many cameras stand on each site, `cameras` in all."""
    sizes: list[int] = []
    while (left := cameras - sum(sizes)) > 0:
        sizes.append(min(left, one_of(dice, _CAMERAS_ON_A_SITE)))
    return sizes


def settle(
    dice: Random, made: Ids, municipality: Municipality, sizes: Sequence[int], numbers: dict[str, int]
) -> list[Site]:
    """The sites of one municipality, the district's and the city's; `numbers` counts the cameras of each owner on."""
    land = in_metres(municipality.boundary).buffer(-1)
    sites = []
    for (street, x, y), size in zip(_spots(dice, lay(dice, municipality), land, len(sizes)), sizes, strict=True):
        owner = METRO if dice.random() < _CITY_SHARE else municipality.code
        purposes: tuple[str, ...] = one_of(dice, _CITY_PURPOSES if owner == METRO else _DISTRICT_PURPOSES)
        label = "+".join(INSTALLATION_PURPOSES[code] for code in purposes)
        installed_on = date(2012, 1, 1) + timedelta(days=dice.randrange(5_000))
        pixels, turn = one_of(dice, _PIXELS), dice.uniform(0, 360)
        latitude, longitude = to_place(x, y)
        first = numbers.get(owner, 0) + 1
        numbers[owner] = first + size - 1
        site_id = made.next()
        cameras = tuple(
            Camera(
                id=made.next(),
                ordinal=ordinal,
                number=first + ordinal - 1,
                name=f"{street} {label}" + (f" {ordinal}번" if size > 1 else ""),
                latitude=latitude,
                longitude=longitude,
                azimuth_degrees=round((turn + 360 * (ordinal - 1) / size) % 360, 1),
                status=one_of(dice, _STATUSES),
                pixels_10k=pixels,
                ptz=ordinal == 1 and dice.random() < 0.15,  # noqa: PLR2004 - 15 %
                installed_on=installed_on,
            )
            for ordinal in range(1, size + 1)
        )
        address = f"{municipality.name} {street}"
        sites.append(Site(site_id, owner, municipality.code, f"CCTV-{first:05}", address, purposes, cameras))
    return sites


def distance(site: Site, place: tuple[float, float]) -> float:
    """Metres from a site to a place (degrees)."""
    camera = site.cameras[0]
    return math.dist(to_metres((camera.latitude, camera.longitude)), to_metres(place))


def hang(
    dice: Random, made: Ids, municipality: Municipality, sites: Sequence[Site], bells: int, poles: int
) -> tuple[list[Asset], list[Asset]]:
    """Bells and poles on some of a municipality's sites; the first bells hang nearest to its centre, for trying them.

    Every bell is linked to the cameras of its own site and then the nearest ones, four in all.
    """
    fit = [site for site in sites if site.owner != METRO and _BELL_PURPOSES.intersection(site.purposes)]
    fit.sort(key=lambda site: distance(site, municipality.centre))
    central, others = fit[: bells // 3], fit[bells // 3 :]
    chosen = central + dice.sample(others, min(len(others), bells - len(central)))
    made_bells, made_poles = [], []
    for number, site in enumerate(chosen, 1):
        camera = site.cameras[0]
        near = sorted(sites, key=lambda other: distance(other, (camera.latitude, camera.longitude)))
        linked = tuple(other.id for each in near[:4] for other in each.cameras)[:4]

        def asset(
            kind: str,
            word: str,
            number: int,
            pole_id: UUID | None,
            site: Site = site,
            linked: tuple[UUID, ...] = linked,
        ) -> Asset:
            at = site.cameras[0]
            return Asset(
                made.next(), kind, site.owner, site.municipality, site.id, pole_id,
                f"{kind.upper()}-{number:04}", f"{site.address} {word}", site.address,
                at.latitude, at.longitude, linked,
            )  # fmt: skip

        pole = asset("pole", "스마트폴", number, None) if number <= poles else None
        if pole is not None:
            made_poles.append(pole)
        made_bells.append(asset("bell", "비상벨", number, pole.id if pole else None))
    return made_bells, made_poles
