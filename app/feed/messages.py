"""What the server says on the feed: JSON, with CloudEvents 1.0 inside; `asyncapi.yaml` says the same."""

from collections.abc import Mapping
from typing import Any

import orjson

from app.events import catalogue
from app.events.catalogue import SEVERITIES, TYPE_PREFIX, Sight

SERVER_TYPES = (
    "welcome", "snapshot", "event", "heartbeat", "subscribed", "acknowledged", "view_ended", "behind", "resync",
    "refused", "bye",
)  # fmt: skip
OURS = ("location", "camera_id", "area_ids", "media_ref")  # what we say in `data`, beside what was reported


def cloud_event(row: Mapping[str, Any], sight: Sight) -> dict[str, Any]:
    """A CloudEvents 1.0 event of an event row, with the data that this sight may see; what is empty is left out."""
    told: dict[str, Any] = orjson.loads(row["data"]) if isinstance(row["data"], str | bytes) else dict(row["data"])
    data = catalogue.seen(row["kind"], told, sight)
    for name in OURS:
        data.pop(name, None)  # a source cannot say these in our name
    if row["latitude"] is not None:
        data["location"] = {"lat": row["latitude"], "lon": row["longitude"]}
    if row["camera_id"]:
        data["camera_id"] = str(row["camera_id"])
    if row["area_ids"]:
        data["area_ids"] = [str(area) for area in row["area_ids"]]
    if row["media_ref"] and sight > Sight.PARTNER:
        data["media_ref"] = row["media_ref"]
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(row["id"]),
        "source": row["source"],
        "type": TYPE_PREFIX + row["kind"],
        "time": row["occurred_at"].isoformat(),
        "receivedtime": row["at"].isoformat(),
        "severity": SEVERITIES[row["severity"]],
        "owner": str(row["owner_agency_id"]),
        "datacontenttype": "application/json",
        "data": data,
    }
    if row["subject_id"]:
        event["subject"] = f"{row['subject_kind']}/{row['subject_id']}"
    if row["incident_id"]:
        event["incident"] = str(row["incident_id"])
    if row["regards_id"]:
        event["regards"] = str(row["regards_id"])
    if row["exercise"]:
        event["exercise"] = True
    return event


def encode(message: Mapping[str, Any]) -> bytes:
    """A message as the bytes of one text frame's payload."""
    return orjson.dumps(message)


def event(position: str, row: Mapping[str, Any], sight: Sight) -> bytes:
    return encode({"type": "event", "position": position, "event": cloud_event(row, sight)})
