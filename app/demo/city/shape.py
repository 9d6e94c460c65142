"""What a synthetic city consists of, in memory. Degrees are WGS84; boundaries are shapely polygons of (lon, lat)."""

from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

Place = tuple[float, float]
"""Latitude and longitude, in degrees with six decimals (0.1 m)."""


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """A 동; `code` has the shape of a legal-dong code (법정동코드), of a province that does not exist."""

    code: str
    name: str
    name_en: str
    boundary: Any


@dataclass(frozen=True, slots=True)
class Municipality:
    """A 구 with its neighbourhoods, which tile it as the municipalities tile the city."""

    code: str
    authority_code: str
    name: str
    name_en: str
    boundary: Any
    centre: Place
    neighbourhoods: tuple[Neighbourhood, ...]


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera position. `number` counts all cameras of its owner."""

    id: UUID
    ordinal: int
    number: int
    name: str
    latitude: float
    longitude: float
    azimuth_degrees: float
    status: str
    pixels_10k: int
    ptz: bool
    installed_on: date


@dataclass(frozen=True, slots=True)
class Site:
    """An installation site (설치지점) of `owner`, the key of an institution, in the municipality with that code.

    `management_number` (관리번호) is unique within its owner, as an asset's is within its owner and kind.
    """

    id: UUID
    owner: str
    municipality: str
    management_number: str
    address: str
    purposes: tuple[str, ...]
    cameras: tuple[Camera, ...]


@dataclass(frozen=True, slots=True)
class Asset:
    """A bell or a smart pole; `camera_ids` are the nearest cameras, the nearest first; a bell may hang on a pole."""

    id: UUID
    kind: str
    owner: str
    municipality: str
    site_id: UUID
    pole_id: UUID | None
    management_number: str
    name: str
    address: str
    latitude: float
    longitude: float
    camera_ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class Stream:
    """A camera that really streams: its path at the simulator and the ASCII caption burnt into its picture.

    `locked` demands login and password; `audible` offers sound, which no gateway may pass on; `offline` is registered
    and does not answer.
    """

    camera_id: UUID
    owner: str
    path: str
    caption: str
    locked: bool = False
    audible: bool = False
    offline: bool = False


@dataclass(frozen=True, slots=True)
class Institution:
    """An agency or a part of one; `key` names it within the city, `parent` by its key."""

    key: str
    name: str
    name_en: str
    kind: str
    parent: str | None = None
    authority_code: str | None = None


@dataclass(frozen=True, slots=True)
class Unit:
    """A response unit (출동대) of an institution, standing at a place."""

    id: UUID
    institution: str
    kind: str
    call_sign: str
    crew_size: int
    place: Place


@dataclass(frozen=True, slots=True)
class Share:
    """A sharing agreement (연계 협약) between two institutions, by their keys; `verbs`, `bases`, … as in Terms."""

    owner: str
    grantee: str
    title: str
    document_number: str
    verbs: tuple[str, ...]
    use_purposes: tuple[str, ...] = ()
    bases: tuple[str, ...] = ()
    condition: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who can sign in: an office, not a person. `kind` is the key in demo.json."""

    kind: str
    login: str
    name: str
    role: str
    institution: str
    rank: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class City:
    """The whole city. One district shares its cameras (`demo_district`), one their places, the closed one nothing."""

    code: str
    authority_code: str
    name: str
    name_en: str
    boundary: Any
    place: Place
    demo_district: str
    locate_only_district: str
    closed_district: str
    municipalities: tuple[Municipality, ...]
    institutions: tuple[Institution, ...]
    sites: tuple[Site, ...]
    bells: tuple[Asset, ...]
    poles: tuple[Asset, ...]
    streams: tuple[Stream, ...]
    units: tuple[Unit, ...]
    shares: tuple[Share, ...]
    accounts: tuple[Account, ...]
