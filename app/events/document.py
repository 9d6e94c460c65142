"""The catalogue as a document and as data: `python -m app.events.document > docs/EVENTS.md`."""

import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from app.events.catalogue import KINDS, SEVERITIES, TYPE_PREFIX, EventKind, Field
from app.events.cloudevents import MOST_PER_BATCH
from app.events.contents import MOST_BLOB, MOST_DATA_BYTES, MOST_DEPTH, MOST_NUMBERS
from app.events.fields import NOUNS
from app.events.kind import MOST_TEXT
from app.events.report import PAST

_HEAD = f"""# Events

<!-- Made by `python -m app.events.document > docs/EVENTS.md`; a test holds it equal to the catalogue. -->

An event is a CloudEvent 1.0 whose `type` is `{TYPE_PREFIX}` and a kind of this page. `POST /v1/events` takes one
(`application/cloudevents+json`, or binary mode with `ce-…` headers) or up to {MOST_PER_BATCH:,} of them
(`application/cloudevents-batch+json`), all or none; `id` within `source` makes a repetition harmless.
`GET /v1/events/kinds` says the same as this page in JSON.

- **severity** is the kind's usual one, from {" < ".join(SEVERITIES)}; a report may say another.
- **about** says what `subject` may name: a camera, an asset (`assets/<id>`), or nothing (–), then with `data.location`.
- **acknowledged within**: an alarm that nobody acknowledges for so long is told again, twice, then escalated.
- **lasts until**: the state stands until the other kind ends it; of a crowd's levels the newest stands.
- Kinds marked *ours* are told by this service only.
- **seen by**: *all* who may see the event; *responders* are people of other agencies who see footage, *owner* the
  people of the owning agency who see footage or supervise. Other fields than these are taken too, and the owner's.
- `time` is at most {PAST.days} days old and may be left out; when an event was received is the database's to say.
- `data` has at most {MOST_DATA_BYTES:,} bytes, {MOST_DEPTH} levels and {MOST_TEXT:,} characters a text.
- Pictures, number plates and biometric templates are refused: by a field's name in Korean or English, and by shape:
  encoded pictures, `data:` URIs, more than {MOST_BLOB} characters of base64 or hex, lists of more than {MOST_NUMBERS}
  numbers, a text that is a plate. Send `mediaref`, which only a grant opens.
"""
_SEEN_BY = {1: "all", 2: "responders", 3: "owner"}


def markdown() -> str:
    """The whole document."""
    return "\n".join([_HEAD, *_sections(), ""])


def _sections() -> Iterator[str]:
    for noun, kinds in groupby(KINDS.values(), lambda kind: kind.noun):
        known = list(kinds)
        yield f"## {noun}\n"
        yield "| kind | 이름 | meaning | severity | about | acknowledged within | lasts until |"
        yield "|---|---|---|---|---|---|---|"
        yield from (_kind_line(kind) for kind in known)
        yield ""
        shared = NOUNS[noun][1]
        if shared:
            yield from _field_lines("`data`", shared)
        for kind in known:
            own = [field for field in kind.fields if field not in shared]
            if own:
                yield from _field_lines(f"`data` of `{kind.name}`", own)


def _kind_line(kind: EventKind) -> str:
    ends = [other.name for other in KINDS.values() if kind.lasts and other.ends == kind.family]
    cells = (
        f"`{kind.name}`" + ("" if kind.from_outside else " *ours*"),
        kind.label,
        kind.meaning,
        SEVERITIES[kind.severity],
        ", ".join(subject or "–" for subject in kind.subjects),
        f"{kind.acknowledge_seconds} s" if kind.acknowledge_seconds else "",
        ", ".join(f"`{name}`" for name in ends),
    )
    return "| " + " | ".join(cells) + " |"


def _field_lines(title: str, fields: Iterable[Field]) -> Iterator[str]:
    yield f"| {title} | 항목 | meaning | takes | seen by |"
    yield "|---|---|---|---|---|"
    for field in fields:
        takes = field.expected() + (" (required)" if field.required else "")
        yield f"| `{field.name}` | {field.label} | {field.meaning} | {takes} | {_SEEN_BY[field.sight]} |"
    yield ""


def as_data() -> list[dict[str, Any]]:
    """The catalogue for `GET /v1/events/kinds`: the same facts, with the JSON Schema of each kind's `data`."""
    return [
        {
            "type": TYPE_PREFIX + kind.name,
            "severity": SEVERITIES[kind.severity],
            "label": kind.label,
            "meaning": kind.meaning,
            "from_outside": kind.from_outside,
            "subjects": [subject or None for subject in kind.subjects],
            "acknowledge_seconds": kind.acknowledge_seconds,
            "lasts": kind.lasts,
            "ends": TYPE_PREFIX + kind.ends if kind.ends else None,
            "family": kind.family or None,
            "fields": [
                {
                    "name": field.name,
                    "type": field.type,
                    "label": field.label,
                    "meaning": field.meaning,
                    "codes": list(field.codes),
                    "required": field.required,
                    "seen_by": field.sight.name.lower(),
                }
                for field in kind.fields
            ],
            "data_schema": kind.schema(),
        }
        for kind in KINDS.values()
    ]


if __name__ == "__main__":
    sys.stdout.write(markdown())
