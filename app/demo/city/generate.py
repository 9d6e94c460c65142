"""Making the city from a seed: the same seed gives the same city, to the last id."""

from collections.abc import Sequence
from random import Random
from typing import Final

from app.demo.city import institutions, names
from app.demo.city.ground import Parcel, parcels, to_place
from app.demo.city.shape import City, Municipality, Neighbourhood, Site, Stream
from app.demo.city.streets import METRO, Ids, distance, hang, settle, site_sizes

SEED: Final = 119
CAMERAS: Final = 4_000
LEAST_CAMERAS: Final = 1_000

# No province has the legal-dong prefix 90, no authority a code that begins with 99.
_PROVINCE: Final = "90"
_CITY_AUTHORITY: Final = "9910000"
_FIRST_DISTRICT_AUTHORITY: Final = 9_911_000
_DEMO_WEIGHT: Final = 2.2

STREAMS_OF_DEMO: Final = 32
STREAMS_OF_CITY: Final = 4
STREAMS_OF_OTHERS: Final = 3
_AUDIBLE, _LOCKED, _OFFLINE = 2, (3, 4), STREAMS_OF_DEMO - 1  # which of the demo district's streams, nearest first


def generate(seed: int = SEED, cameras: int = CAMERAS) -> City:
    """A city with `cameras` camera positions on about three quarters as many sites. Pure; the ids name this node.

    Raises ValueError below 1,000 cameras, which would leave too few in the middle.
    """
    if cameras < LEAST_CAMERAS:
        raise ValueError(f"a demo city has at least {LEAST_CAMERAS} cameras, not {cameras}")
    dice = Random(seed)  # noqa: S311 - reproducible is what it has to be, not secret
    made = Ids(dice)
    boundary, land = parcels(dice, len(names.DISTRICTS))
    districts = _districts(dice, land)
    demo, locate_only, closed = districts[:3]

    weights = [_DEMO_WEIGHT, *(dice.uniform(0.6, 1.6) for _ in districts[1:])]
    sizes = site_sizes(dice, cameras)
    places = dice.choices(range(len(districts)), weights, k=len(sizes))
    numbers: dict[str, int] = {}
    sites: list[Site] = []
    bells, poles = [], []
    for number, district in enumerate(districts):
        here = [size for size, place in zip(sizes, places, strict=True) if place == number]
        settled = settle(dice, made, district, here, numbers)
        sites += settled
        share = sum(here) / cameras
        hung = hang(dice, made, district, settled, round(0.075 * cameras * share), 4 if district is demo else 1)
        bells += hung[0]
        poles += hung[1]
    name, name_en = names.CITY
    return City(
        code=f"{_PROVINCE}00000000",
        authority_code=_CITY_AUTHORITY,
        name=name,
        name_en=name_en,
        boundary=boundary,
        place=demo.centre,
        demo_district=demo.code,
        locate_only_district=locate_only.code,
        closed_district=closed.code,
        municipalities=tuple(districts),
        institutions=tuple(institutions.institutions(name, name_en, _CITY_AUTHORITY, districts)),
        sites=tuple(sites),
        bells=tuple(bells),
        poles=tuple(poles),
        streams=tuple(_streams(sites, demo, (locate_only, closed))),
        units=tuple(institutions.units(dice, made, districts)),
        shares=tuple(institutions.shares(name, demo, locate_only)),
        accounts=tuple(institutions.accounts(demo)),
    )


def _districts(dice: Random, land: Sequence[Parcel]) -> list[Municipality]:
    villages = iter(names.neighbourhoods(dice))
    found = []
    for number, (parcel, (name, name_en)) in enumerate(zip(land, names.DISTRICTS, strict=True)):
        prefix = f"{_PROVINCE}{110 + 30 * number:03}"
        neighbourhoods = tuple(
            Neighbourhood(f"{prefix}{100 + part}00", *next(villages), boundary)
            for part, boundary in enumerate(parcel.neighbourhoods, 1)
        )
        authority = str(_FIRST_DISTRICT_AUTHORITY + 10 * number)
        centre = to_place(*parcel.seed)
        found.append(Municipality(f"{prefix}00000", authority, name, name_en, parcel.boundary, centre, neighbourhoods))
    return found


def _streams(sites: Sequence[Site], demo: Municipality, others: Sequence[Municipality]) -> list[Stream]:
    """The cameras that stream: the first of each of the sites nearest to the demo's place, and a few elsewhere."""
    found = []
    for owner, caption, count in (
        (demo.code, demo.name_en, STREAMS_OF_DEMO),
        (METRO, names.CITY[1], STREAMS_OF_CITY),
        *((other.code, other.name_en, STREAMS_OF_OTHERS) for other in others),
    ):
        own = [site for site in sites if site.owner == owner and site.cameras[0].status == "active"]
        own.sort(key=lambda site: distance(site, demo.centre))
        for number, site in enumerate(own[:count]):
            camera = site.cameras[0]
            is_demo = owner == demo.code
            found.append(
                Stream(
                    camera.id, owner, f"{caption.lower()}/{camera.number:04}", f"{caption.upper()} {camera.number:04}",
                    locked=is_demo and number in _LOCKED,
                    audible=is_demo and number == _AUDIBLE,
                    offline=is_demo and number == _OFFLINE,
                )
            )  # fmt: skip
    return found
