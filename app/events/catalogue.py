"""The catalogue of events: every kind by its name, the families of what lasts, and who is told which field."""

from collections.abc import Mapping
from typing import Any

from app.events.kind import ALARM, EMERGENCY, INFO, NOTICE, SEVERITIES, WARNING, EventKind, Field, Sight
from app.events.kinds import ALL

__all__ = [
    "ALARM", "EMERGENCY", "INFO", "KINDS", "NOTICE", "SEVERITIES", "TYPE_PREFIX", "WARNING", "WISHES", "EventKind",
    "Field", "Sight", "seen", "urgency",
]  # fmt: skip

TYPE_PREFIX = "kr.gwanje."  # of a CloudEvent's `type`
KINDS = {kind.name: kind for kind in ALL}
WISHES = frozenset(KINDS) | {f"{kind.noun}.*" for kind in ALL}  # what may be named where kinds are chosen

_FAMILIES: dict[str, int] = {}
for _kind in ALL:
    if _kind.family:
        _FAMILIES[_kind.family] = max(_FAMILIES.get(_kind.family, INFO), _kind.severity)
_SIGHTS = {kind.name: {field.name: field.sight for field in kind.fields} for kind in ALL}


def urgency(kind: str, severity: int) -> int:
    """How urgently an event is numbered: its severity, or the highest of its kind's family.

    An end that went before its beginning would leave the condition standing, so all of a family go at one pace.
    """
    known = KINDS.get(kind)
    return _FAMILIES[known.family] if known is not None and known.family else severity


def seen(kind: str, data: Mapping[str, Any], sight: Sight) -> dict[str, Any]:
    """The fields of an event's data that this sight is told; fields that the catalogue does not know: the owner's."""
    if sight is Sight.OWNER:
        return dict(data)
    known = _SIGHTS.get(kind, {})
    return {name: value for name, value in data.items() if known.get(name, Sight.OWNER) <= sight}
