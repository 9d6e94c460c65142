"""What a client wants to hear: parsed once, compared with every event, and said in SQL for what is past."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from app.errors import Malformed
from app.events.catalogue import KINDS, SEVERITIES, WISHES
from app.registry.areas import GEOD

ENDS = frozenset(kind.name for kind in KINDS.values() if kind.ends)  # told however little they weigh
MOST_SUBSCRIPTIONS = 32
MOST_ITEMS = 200
MOST_NAME = 64
MOST_METRES = 100_000
_METRES_PER_DEGREE = 110_500.0  # of latitude, at the least (WGS84)

Whereabouts = Callable[[UUID], tuple[float, float] | None]


def nowhere(_unit_id: UUID) -> tuple[float, float] | None:
    """Where no unit's position is known."""
    return None


@dataclass(frozen=True, slots=True)
class Near:
    """A circle: around a point, or around a unit wherever it is."""

    metres: float
    latitude: float = 0.0
    longitude: float = 0.0
    unit_id: UUID | None = None

    def holds(self, latitude: float | None, longitude: float | None, whereabouts: Whereabouts) -> bool:
        """Whether a point lies within, by the geodesic; nothing lies near a unit that is nowhere."""
        if latitude is None or longitude is None:
            return False
        here = (self.latitude, self.longitude) if self.unit_id is None else whereabouts(self.unit_id)
        if here is None or abs(latitude - here[0]) * _METRES_PER_DEGREE > self.metres:
            return False
        return bool(GEOD.inv(here[1], here[0], longitude, latitude)[2] <= self.metres)


def _gravity(event: Mapping[str, Any]) -> int:
    """Of what lasts the highest severity since it began: who was told of that is told how it goes on."""
    gravity = event["gravity"]
    return int(event["severity"] if gravity is None else gravity)


def names_of(kind: str, regards: str) -> set[str]:
    """By which names an event of a kind is wanted: its own, its noun's, and those of the event that it is about."""
    return {name for one in (kind, regards) if one for name in (one, one.partition(".")[0] + ".*")}


@dataclass(frozen=True, slots=True)
class Subscription:
    """A named wish; empty sets do not narrow. Two are equal when they want the same."""

    id: str = field(compare=False)
    area_ids: frozenset[UUID] = frozenset()
    kinds: frozenset[str] = frozenset()
    min_severity: int = 0
    incident_id: UUID | None = None
    subject_ids: frozenset[UUID] = frozenset()
    near: Near | None = None

    def wants(self, event: Mapping[str, Any], whereabouts: Whereabouts = nowhere) -> bool:
        """Whether an event row is what was asked for; rights are another question."""
        if self.kinds and self.kinds.isdisjoint(names_of(event["kind"], event["regards_kind"])):
            return False
        if self.min_severity and _gravity(event) < self.min_severity and event["kind"] not in ENDS:
            return False
        if self.area_ids and self.area_ids.isdisjoint(event["area_ids"]):
            return False
        if self.incident_id is not None and event["incident_id"] != self.incident_id:
            return False
        if self.subject_ids and self.subject_ids.isdisjoint((event["camera_id"], event["subject_id"])):
            return False
        return self.near is None or self.near.holds(event["latitude"], event["longitude"], whereabouts)

    def condition(self, first: int) -> tuple[str, list[Any]]:
        """The same in SQL over events `r` but for the circle, with parameters from number `first` on."""
        parts: list[str] = []
        values: list[Any] = []

        def narrow(sql: str, value: Any) -> None:
            values.append(value)
            parts.append(sql.format(f"${first + len(values) - 1}"))

        if self.kinds:
            kinds = [kind for kind in KINDS if not self.kinds.isdisjoint(names_of(kind, ""))]
            narrow("(r.kind = ANY({0}::text[]) OR r.regards_kind = ANY({0}::text[]))", kinds)
        if self.min_severity:
            ends = ",".join(sorted(ENDS))  # of the catalogue, and of nobody else
            grave = "coalesce(r.gravity, r.severity) >= {} OR r.kind = ANY('{{" + ends + "}}'::text[])"
            narrow(f"({grave})", self.min_severity)
        if self.area_ids:
            narrow("r.area_ids && {}::uuid[]", list(self.area_ids))
        if self.incident_id is not None:
            narrow("r.incident_id = {}", self.incident_id)
        if self.subject_ids:
            narrow("(r.camera_id = ANY({0}::uuid[]) OR r.subject_id = ANY({0}::uuid[]))", list(self.subject_ids))
        return " AND ".join(parts) or "true", values

    def index_keys(self) -> list[tuple[UUID | None, str | None]]:
        """By which (area, kind) it is found."""
        areas: Iterable[UUID | None] = self.area_ids or (None,)
        kinds: Iterable[str | None] = self.kinds or (None,)
        return [(area, kind) for area in areas for kind in kinds]


@dataclass(frozen=True, slots=True)
class Wish:
    """A subscription as a client words it: areas may still be codes, to be looked up."""

    subscription: Subscription
    area_codes: frozenset[str] = frozenset()
    snapshot: bool = False


def _ids(message: Mapping[str, Any], name: str) -> frozenset[UUID]:
    try:
        return frozenset(UUID(str(item)) for item in _items(message, name))
    except ValueError:
        raise Malformed(f"{name} holds something that is no id", field=name) from None


def _items(message: Mapping[str, Any], name: str) -> list[Any]:
    given = message.get(name) or []
    if not isinstance(given, list) or len(given) > MOST_ITEMS:
        raise Malformed(f"{name} is a list of at most {MOST_ITEMS} ids", field=name)
    return given


def _areas(message: Mapping[str, Any]) -> tuple[frozenset[UUID], frozenset[str]]:
    """Areas by id and by code (법정동코드, digits only)."""
    given = _items(message, "areas")
    codes = {item for item in given if isinstance(item, str) and item.isascii() and item.isdigit() and len(item) <= 10}  # noqa: PLR2004 - 법정동코드
    return _ids({"areas": [item for item in given if item not in codes]}, "areas"), frozenset(codes)


def parse(message: Mapping[str, Any]) -> Wish:
    """The subscription that a client's message describes; Malformed names the field that is wrong."""
    name = message.get("id")
    if not isinstance(name, str) or not 1 <= len(name) <= MOST_NAME:
        raise Malformed(f"id names the subscription with 1 to {MOST_NAME} characters", field="id")
    kinds = message.get("kinds") or []
    if not isinstance(kinds, list) or not all(isinstance(kind, str) and kind in WISHES for kind in kinds):
        raise Malformed("kinds holds kinds of the catalogue, such as bell.pressed or analytic.*", field="kinds")
    severity = message.get("min_severity", "info")
    if severity not in SEVERITIES:
        raise Malformed(f"min_severity is one of {', '.join(SEVERITIES)}", field="min_severity")
    snapshot = message.get("snapshot", False)
    if not isinstance(snapshot, bool):
        raise Malformed("snapshot is true or false", field="snapshot")
    incidents = _ids({"incident_id": [message["incident_id"]]} if message.get("incident_id") else {}, "incident_id")
    area_ids, codes = _areas(message)
    subscription = Subscription(
        name,
        area_ids,
        _with_families(kinds) if snapshot else frozenset(kinds),
        SEVERITIES.index(severity),
        next(iter(incidents), None),
        _ids(message, "cameras") | _ids(message, "assets"),
        _near(message.get("near")),
    )
    return Wish(subscription, codes, snapshot)


def _with_families(kinds: Iterable[str]) -> frozenset[str]:
    """To a state of something that lasts belongs what takes its place, and what ends it."""
    families = {KINDS[kind].family for kind in kinds if kind in KINDS} - {""}
    return frozenset(kinds) | {kind.name for kind in KINDS.values() if kind.family in families}


def _near(near: Any) -> Near | None:
    if near is None:
        return None
    try:
        metres = float(near["radius_m"])
        if "unit" in near:
            place = Near(metres, unit_id=UUID(str(near["unit"])))
        else:
            place = Near(metres, float(near["lat"]), float(near["lon"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise Malformed("near is {lat, lon, radius_m} or {unit, radius_m}", field="near") from None
    on_earth = -90 <= place.latitude <= 90 and -180 <= place.longitude <= 180  # noqa: PLR2004 - said below
    if not (on_earth and 0 < metres <= MOST_METRES):
        raise Malformed(f"near: degrees of latitude and longitude, and at most {MOST_METRES} metres", field="near")
    return place
