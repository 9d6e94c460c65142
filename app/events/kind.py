"""What a kind of event is: its meaning, its urgency, its fields and who may see them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any
from uuid import UUID

from app.errors import Malformed

INFO, NOTICE, WARNING, ALARM, EMERGENCY = range(5)
SEVERITIES = ("info", "notice", "warning", "alarm", "emergency")
ANYTHING = ("", "cameras", "assets")  # what an event may be about; "" is nothing that is registered here
MOST_TEXT = 4_000
MOST_ITEMS = 100
LARGEST_INTEGER = 2**53 - 1  # beyond it clients in JavaScript read another number


class Sight(IntEnum):
    """How much of an event's data somebody is told: a redaction class. Who sees more sees all of what others see."""

    PARTNER = 1  # integrations, administrators, other agencies' systems
    RESPONDER = 2  # people of another agency who see footage
    OWNER = 3  # people of the owning agency who see footage or supervise


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_INTEGER


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_time(value: Any) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _is_id(value: Any) -> bool:
    try:
        return isinstance(value, str) and str(UUID(value)) == value.lower()
    except ValueError:
        return False


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _many(is_one: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and len(value) <= MOST_ITEMS and all(is_one(item) for item in value)


_TEXT = {"type": "string", "maxLength": MOST_TEXT}
_ID = {"type": "string", "format": "uuid"}
# What a type is called in an error text, how a value is recognised, and its JSON Schema.
TYPES: dict[str, tuple[str, Callable[[Any], bool], dict[str, Any]]] = {
    "text": ("a text", _is_text, _TEXT),
    "code": ("one of the codes", _is_text, {"type": "string"}),
    "integer": (
        "a whole number", _is_integer, {"type": "integer", "minimum": -LARGEST_INTEGER, "maximum": LARGEST_INTEGER},
    ),
    "number": ("a number", _is_number, {"type": "number"}),
    "boolean": ("true or false", lambda value: isinstance(value, bool), {"type": "boolean"}),
    "time": ("a time of RFC 3339 with an offset", _is_time, {"type": "string", "format": "date-time"}),
    "id": ("an id", _is_id, _ID),
    "ids": (f"a list of at most {MOST_ITEMS} ids", _many(_is_id), {"type": "array", "items": _ID}),
    "texts": (f"a list of at most {MOST_ITEMS} texts", _many(_is_text), {"type": "array", "items": _TEXT}),
    "object": ("an object", lambda value: isinstance(value, Mapping), {"type": "object"}),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Field:
    """A typed field of an event's data; `sight` is the least that somebody must have to be told it."""

    name: str
    type: str  # of TYPES
    meaning: str
    label: str
    sight: Sight = Sight.PARTNER
    codes: tuple[str, ...] = ()
    required: bool = False
    least: float | None = None
    most: float | None = None

    def expected(self) -> str:
        """What the field takes, in words."""
        if self.codes:
            return f"one of {', '.join(self.codes)}"
        words = TYPES[self.type][0]
        if self.least is not None and self.most is not None:
            return f"{words} from {self.least:g} to {self.most:g}"
        return f"{words}, {self.least:g} or more" if self.least is not None else words

    def takes(self, value: Any) -> bool:
        """Whether a value, not None, is of the field's type and within its bounds."""
        if not TYPES[self.type][1](value) or (self.codes and value not in self.codes):
            return False
        return not ((self.least is not None and value < self.least) or (self.most is not None and value > self.most))

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of a value."""
        schema = dict(TYPES[self.type][2])
        if self.codes:
            schema["enum"] = list(self.codes)
        if self.type in ("ids", "texts"):
            schema["maxItems"] = MOST_ITEMS
        bounds = (("minimum", self.least), ("maximum", self.most))
        schema |= {name: bound for name, bound in bounds if bound is not None}
        return schema if self.required else {"anyOf": [schema, {"type": "null"}]}


@dataclass(frozen=True, slots=True)
class EventKind:
    """A kind of event: `noun.verb` in the past, with its usual severity and its meaning in Korean and English.

    A kind that `lasts` begins a condition of its subject, which the kind that `ends` it ends. Kinds of one `family`
    are numbered in the order in which they were written, whatever their severities.
    """

    name: str
    severity: int
    label: str
    meaning: str
    from_outside: bool = True  # whether somebody may report it, or only this service tells it
    subjects: tuple[str, ...] = ANYTHING
    fields: tuple[Field, ...] = ()
    acknowledge_seconds: int = 0  # an alarm that nobody acknowledges for so long is told again; 0: no alarm
    lasts: bool = False
    ends: str = ""  # the kind that began what this one ends
    of_family: str = ""  # the kind that names the family, where it is neither this one nor the one that it ends

    @property
    def noun(self) -> str:
        return self.name.partition(".")[0]

    @property
    def family(self) -> str:
        """The kind that names the conditions to which this one belongs; empty when it belongs to none."""
        return self.of_family or self.ends or (self.name if self.lasts else "")

    def check(self, data: Mapping[str, Any]) -> None:
        """Refuse known fields of a wrong type and required ones that are missing; unknown ones may be anything."""
        for field in self.fields:
            value = data.get(field.name)
            if value is None:
                if field.required:
                    raise Malformed(
                        f"data.{field.name} is required for {self.name}: {field.expected()}",
                        field=f"data.{field.name}", expected=field.expected(),
                    )  # fmt: skip
            elif not field.takes(value):
                raise Malformed(
                    f"data.{field.name} is {field.expected()}", field=f"data.{field.name}", expected=field.expected()
                )

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of `data`."""
        properties = {field.name: {**field.schema(), "description": field.meaning} for field in self.fields}
        required = [field.name for field in self.fields if field.required]
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": True}
