"""Events: reported as CloudEvents, read after a position by clients without sockets."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response

from app.access import rights
from app.actor import Actor
from app.errors import Malformed, NotPermitted, TooLarge
from app.events import record
from app.events.catalogue import KINDS, SEVERITIES
from app.events.record import Report
from app.feed.messages import TYPE_PREFIX
from app.feed.subscriptions import parse
from app.routers.dependencies import AskerAlone, InHouse, Transaction, answer, problems, require

router = APIRouter(prefix="/v1", tags=["events"])

STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"
MOST_PER_BATCH = 1000
MOST_BODY_BYTES = 4 << 20
_TEXTS = ("id", "source", "type", "time", "subject", "severity", "restriction", "mediaref", "incident")

EVENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "description": "unique within source: a repetition is recognised"},
        "source": {"type": "string"},
        "type": {"type": "string", "enum": [TYPE_PREFIX + kind.name for kind in KINDS.values() if kind.from_outside]},
        "time": {"type": "string", "format": "date-time"},
        "subject": {"type": "string", "description": "cameras/<id> or assets/<id>, of your agency"},
        "severity": {"type": "string"},
        "exercise": {"type": "boolean"},
        "restriction": {"type": "string"},
        "mediaref": {"type": "string"},
        "incident": {"type": "string", "format": "uuid"},
        "data": {"type": "object"},
    },
}


async def read_body(request: Request) -> bytes:
    """The body, refused as soon as it has grown too large."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BODY_BYTES:
            raise TooLarge(f"a request has at most {MOST_BODY_BYTES} bytes; send fewer events at once")
    return bytes(body)


def _uuid(text: str, field: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Malformed(f"{field} holds no id", field=field) from None


def report_of(event: Any) -> Report:
    """The report in a CloudEvents 1.0 JSON object; Malformed names the attribute that is wrong."""
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


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or not 1990 <= moment.year <= 9000:  # noqa: PLR2004 - cameras' clocks
        raise Malformed("time is RFC 3339 with an offset, such as 2026-01-31T09:00:00+09:00", field="time")
    return moment


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


@router.post(
    "/events",
    status_code=202,
    responses=problems(401, 403, 404, 413, 429),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                STRUCTURED: {"schema": EVENT_SCHEMA},
                "application/json": {"schema": EVENT_SCHEMA},
                BATCHED: {"schema": {"type": "array", "items": EVENT_SCHEMA, "maxItems": MOST_PER_BATCH}},
            },
        }
    },
)
async def report(
    request: Request, session: Transaction, actor: Annotated[Actor, Depends(require("ingest"))]
) -> Response:
    """Report what happened: one CloudEvent, or up to 1000 in a batch, all or none. A repetition makes nothing new."""
    try:
        sent = orjson.loads(await read_body(request))
    except orjson.JSONDecodeError:
        raise Malformed("the body is JSON: one CloudEvent, or an array of them") from None
    events = sent if isinstance(sent, list) else [sent]
    if not 1 <= len(events) <= MOST_PER_BATCH:
        raise Malformed(f"a batch has 1 to {MOST_PER_BATCH} events")
    recorded = []
    for number, event in enumerate(events):
        try:
            recorded.append(await record.record(session, actor, report_of(event)))
        except Malformed as refusal:
            if isinstance(sent, list):
                refusal.extra["index"] = number
            raise
    return answer({"events": [{"id": item.id, "new": item.new} for item in recorded]}, status=202)


@router.get("/events", responses=problems(401, 403))
async def read(
    house: InHouse,
    actor: AskerAlone,
    after: Annotated[str | None, Query(max_length=40, description="a position; leave out to begin now")] = None,
    wait: Annotated[float, Query(ge=0, le=25, allow_inf_nan=False, description="seconds to wait for one")] = 0,
    area: Annotated[list[UUID] | None, Query(max_length=200)] = None,
    kind: Annotated[list[str] | None, Query(max_length=50)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """What the feed would have told, in order, after a position. `resync` says that the position is of another log."""
    if not actor.may("feed"):
        raise NotPermitted(f"the role {actor.role} has no feed", missing="feed")
    subscription = parse({"id": "http", "areas": [str(one) for one in area or []], "kinds": kind or []})
    start = house.feed.position if after is None else await house.feed.resume(after)
    if start is None:
        here = house.feed.positions.write(house.feed.position)
        return answer({"items": [], "position": here, "resync": "the position is not of this log; read the state anew"})
    async with house.database.begin() as session:
        scopes = await rights.scopes(session, actor, "locate")
    found, cursor = await house.feed.since(actor, scopes, subscription, start, wait_seconds=wait, limit=limit)
    return answer({"items": found, "position": house.feed.positions.write(cursor)})


@router.get("/events/kinds", responses=problems())
async def kinds() -> Response:
    """The catalogue: every kind of event with its usual severity and its meaning."""
    items = [
        {
            "type": TYPE_PREFIX + kind.name,
            "severity": SEVERITIES[kind.severity],
            "label": kind.label,
            "meaning": kind.meaning,
        }
        for kind in KINDS.values()
    ]
    return answer({"items": items})
