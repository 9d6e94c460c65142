"""What a client wants to hear of, and whether an event is it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.errors import Malformed
from app.events.catalogue import KINDS, SEVERITIES
from app.registry.areas import GEOD

MOST_SUBSCRIPTIONS = 32
MOST_ITEMS = 200
MOST_NAME = 64
KNOWN = frozenset(KINDS) | {kind.partition(".")[0] + ".*" for kind in KINDS}


@dataclass(frozen=True, slots=True)
class Subscription:
    """A named wish; empty sets do not narrow."""

    id: str
    area_ids: frozenset[UUID] = frozenset()
    kinds: frozenset[str] = frozenset()
    min_severity: int = 0
    incident_id: UUID | None = None
    camera_ids: frozenset[UUID] = frozenset()
    near: tuple[float, float, float] | None = None  # latitude, longitude, metres

    def wants(self, event: Mapping[str, Any]) -> bool:
        """Whether an event row is what was asked for; rights are another question."""
        if self.kinds and event["kind"] not in self.kinds and event["kind"].partition(".")[0] + ".*" not in self.kinds:
            return False
        if event["severity"] < self.min_severity or (self.area_ids and self.area_ids.isdisjoint(event["area_ids"])):
            return False
        if self.incident_id is not None and event["incident_id"] != self.incident_id:
            return False
        if self.camera_ids and event["camera_id"] not in self.camera_ids:
            return False
        return self.near is None or self._is_near(event, *self.near)

    @staticmethod
    def _is_near(event: Mapping[str, Any], latitude: float, longitude: float, metres: float) -> bool:
        if event["latitude"] is None:
            return False
        return bool(GEOD.inv(longitude, latitude, event["longitude"], event["latitude"])[2] <= metres)


def _uuids(message: Mapping[str, Any], name: str) -> frozenset[UUID]:
    given = message.get(name) or []
    if not isinstance(given, list) or len(given) > MOST_ITEMS:
        raise Malformed(f"{name} is a list of at most {MOST_ITEMS} ids", field=name)
    try:
        return frozenset(UUID(str(item)) for item in given)
    except ValueError:
        raise Malformed(f"{name} holds something that is no id", field=name) from None


def parse(message: Mapping[str, Any]) -> Subscription:
    """The subscription that a client's message describes; Malformed names the field that is wrong."""
    name = message.get("id")
    if not isinstance(name, str) or not 1 <= len(name) <= MOST_NAME:
        raise Malformed(f"id names the subscription with 1 to {MOST_NAME} characters", field="id")
    kinds = message.get("kinds") or []
    if not isinstance(kinds, list) or not all(isinstance(kind, str) and kind in KNOWN for kind in kinds):
        raise Malformed("kinds holds kinds of the catalogue, such as bell.pressed or analytic.*", field="kinds")
    severity = message.get("min_severity", "info")
    if severity not in SEVERITIES:
        raise Malformed(f"min_severity is one of {', '.join(SEVERITIES)}", field="min_severity")
    incidents = _uuids({"incident_id": [message["incident_id"]]} if message.get("incident_id") else {}, "incident_id")
    return Subscription(
        name,
        _uuids(message, "areas"),
        frozenset(kinds),
        SEVERITIES.index(severity),
        next(iter(incidents), None),
        _uuids(message, "cameras"),
        _near(message.get("near")),
    )


def _near(near: Any) -> tuple[float, float, float] | None:
    if near is None:
        return None
    try:
        place = (float(near["lat"]), float(near["lon"]), float(near["radius_m"]))
    except (KeyError, TypeError, ValueError):
        raise Malformed("near is {lat, lon, radius_m}", field="near") from None
    if not (-90 <= place[0] <= 90 and -180 <= place[1] <= 180 and 0 < place[2] <= 100_000):  # noqa: PLR2004 - said
        raise Malformed("near: degrees of latitude and longitude, and at most 100000 metres", field="near")
    return place
