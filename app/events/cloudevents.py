"""CloudEvents 1.0 in JSON, structured, batched and binary: from bytes to reports."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import orjson

from app.errors import Malformed
from app.events.catalogue import EMERGENCY, KINDS, TYPE_PREFIX
from app.events.report import Report

STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"
PLAIN = "application/json"
MOST_PER_BATCH = 1000
FIRST_YEAR, LAST_YEAR = 1990, 9000  # whatever the offset, such a time can be told in UTC
MOST_DIGITS = 20  # of a whole number: 64 bits and a sign
_EMERGENCIES = frozenset(kind.name for kind in KINDS.values() if kind.severity == EMERGENCY)
_TEXTS = ("id", "source", "type", "time", "subject", "severity", "restriction", "mediaref", "incident")

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "description": "unique within source: a repetition is recognised"},
        "source": {"type": "string"},
        "type": {"type": "string", "enum": [TYPE_PREFIX + kind.name for kind in KINDS.values() if kind.from_outside]},
        "time": {"type": "string", "format": "date-time", "description": "when it happened: at most 30 days ago"},
        "subject": {"type": "string", "description": "cameras/<id> or assets/<id>, of your agency"},
        "severity": {"type": "string", "description": "left out: the kind's usual one"},
        "exercise": {"type": "boolean"},
        "restriction": {"type": "string"},
        "mediaref": {"type": "string"},
        "incident": {"type": "string", "format": "uuid"},
        "data": {
            "type": "object",
            "description": "`location` {lat, lon} where there is no subject, and the fields of the kind",
        },
    },
}


def read(body: bytes, headers: Mapping[str, str]) -> tuple[list[Any], bool]:
    """The events of a request as JSON objects, and whether it is a batch; `headers` has lower-case names.

    Raises Malformed for another media type, for what is no JSON in UTF-8 and for a name that stands twice.
    """
    media_type, _, parameters = headers.get("content-type", PLAIN).lower().partition(";")
    media_type = media_type.strip()
    charset = parameters.partition("charset=")[2].strip(' ";')
    if charset not in ("", "utf-8", "utf8"):
        raise Malformed("content-type: JSON is UTF-8", field="content-type")
    if "ce-specversion" in headers:
        if media_type != PLAIN:
            raise Malformed(f"content-type: in binary mode data is {PLAIN}", field="content-type", expected=[PLAIN])
        return [_binary(body, headers)], False
    if media_type not in (STRUCTURED, BATCHED, PLAIN):
        expected = [STRUCTURED, BATCHED, PLAIN]
        raise Malformed(f"content-type is one of {', '.join(expected)}", field="content-type", expected=expected)
    sent = read_json(body)
    is_batch = isinstance(sent, list)
    if (media_type == STRUCTURED and is_batch) or (media_type == BATCHED and not is_batch):
        raise Malformed(f"{STRUCTURED} is one event, {BATCHED} is an array of them", field="content-type")
    events = sent if is_batch else [sent]
    if not 1 <= len(events) <= MOST_PER_BATCH:
        raise Malformed(f"a batch has 1 to {MOST_PER_BATCH} events")
    return events, is_batch


def _binary(body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """A binary-mode event as a structured one: attributes are percent-encoded headers `ce-…`, the body is its data."""
    event: dict[str, Any] = {name[3:]: unquote(value) for name, value in headers.items() if name.startswith("ce-")}
    if event.get("exercise") in ("true", "false"):
        event["exercise"] = event["exercise"] == "true"
    if body.strip():
        event["data"] = read_json(body)
    return event


def read_json(body: bytes) -> Any:
    """What JSON says, if it says it once and exactly: RFC 8259 in UTF-8, no name twice, whole numbers of 64 bits."""
    try:
        sent = orjson.loads(body)  # refuses NaN, lone surrogates and what is no UTF-8
        json.loads(body, object_pairs_hook=_once, parse_int=_integer)
    except Malformed:
        raise
    except (ValueError, RecursionError):
        raise Malformed("the body is JSON in UTF-8: one CloudEvent, or an array of them") from None
    return sent


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Malformed(f"{twice[:100]!r} stands twice in one object; say it once", field=twice[:100])


def _integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise Malformed("whole numbers have at most 64 bits; send larger ones as texts", field="data")
    return 0


def report_of(event: Any) -> Report:
    """The report in a CloudEvents 1.0 JSON object; Malformed names the attribute that is wrong."""
    _check_attributes(event)
    kind = KINDS.get(event["type"].removeprefix(TYPE_PREFIX))
    if kind is not None and not kind.from_outside:
        raise Malformed(f"type: {event['type']} is told by this service and by nobody else", field="type")
    data = _object(event.get("data"), "data")
    place = _object(data.get("location"), "data.location")
    if ("lat" in place) != ("lon" in place):
        raise Malformed("data.location has lat and lon", field="data.location")
    subject_kind, _, subject_id = (event.get("subject") or "").partition("/")
    return Report(
        kind=event["type"].removeprefix(TYPE_PREFIX),
        source=event["source"],
        source_key=event["id"],
        occurred_at=_time(event.get("time")),
        severity=event.get("severity"),
        subject_kind=subject_kind,
        subject_id=_uuid(subject_id, "subject") if subject_kind else None,
        latitude=_degrees(place, "lat", 90),
        longitude=_degrees(place, "lon", 180),
        incident_id=_uuid(event["incident"], "incident") if event.get("incident") else None,
        exercise=event.get("exercise") is True,
        restriction=event.get("restriction") or "",
        media_ref=event.get("mediaref") or "",
        data={name: value for name, value in data.items() if name != "location"},
    )


def _check_attributes(event: Any) -> None:
    """Refuse what is no CloudEvent, or whose attributes are of another type."""
    if not isinstance(event, dict):
        raise Malformed("an event is a JSON object (CloudEvents 1.0, structured mode)")
    for name in _TEXTS:
        if event.get(name) is not None and not isinstance(event[name], str):
            raise Malformed(f"{name} is a text", field=name)
    if event.get("specversion") != "1.0":
        raise Malformed('specversion is "1.0"', field="specversion")
    for name in ("id", "source", "type"):
        if not event.get(name):
            raise Malformed(f"{name} is required", field=name)
    if not isinstance(event.get("exercise"), bool | None):
        raise Malformed("exercise is true or false", field="exercise")
    if "data_base64" in event:
        raise Malformed("data_base64: data is JSON, never bytes", field="data_base64")


def is_emergency(events: list[Any]) -> bool:
    """Whether a request is one report of a kind that is always an emergency."""
    if len(events) != 1 or not isinstance(events[0], dict):
        return False
    name = events[0].get("type")
    return isinstance(name, str) and name.removeprefix(TYPE_PREFIX) in _EMERGENCIES


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise Malformed("time is RFC 3339 with an offset, such as 2026-01-31T09:00:00+09:00", field="time")
    return moment


def _uuid(text: str, field: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Malformed(f"{field} holds no id", field=field) from None


def _object(value: Any, field: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Malformed(f"{field} is a JSON object", field=field)
    return value


def _degrees(place: dict[str, Any], name: str, most: float) -> float | None:
    value = place.get(name)
    if name not in place:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not -most <= value <= most:
        raise Malformed(f"data.location.{name} is a number of degrees", field="data.location")
    return float(value)
