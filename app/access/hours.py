"""Hours of an agreement, in Korean time: such as nights only, or weekdays from nine to six.

The law stands in SQL (`agreement_open` and `agreement_closes`, in the migrations) and here, for comparisons in memory.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta, timezone
from typing import Any

from app.errors import Malformed

KOREA = timezone(timedelta(hours=9))  # no summer time since 1988
EVERY_DAY = (1, 2, 3, 4, 5, 6, 7)
CLOCK = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
_KEYS = {"days", "from", "to"}


@dataclass(frozen=True, slots=True)
class Hours:
    """A daily window on some days (1 is Monday).

    One that ends before it begins goes over midnight and belongs to the day on which it began; equal ends mean the
    whole day.
    """

    days: frozenset[int]
    begins: time
    ends: time

    def open_at(self, moment: datetime) -> bool:
        """Whether an aware moment lies within the hours."""
        there = moment.astimezone(KOREA)
        clock, today = there.time(), there.isoweekday() in self.days
        if self.begins < self.ends:
            return today and self.begins <= clock < self.ends
        if self.begins == self.ends:
            return today
        yesterday = (there - timedelta(days=1)).isoweekday() in self.days
        return (today and clock >= self.begins) or (yesterday and clock < self.ends)


def checked(given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The hours as they are stored, every key said; Malformed (`hours…`) when they cannot be understood.

    Shape: {"days": [1..7, Monday first], "from": "HH:MM", "to": "HH:MM"}. Days left out are all, times midnight.
    """
    if given is None:
        return None
    if unknown := sorted(str(key) for key in given.keys() - _KEYS):
        raise Malformed(f"hours: {', '.join(unknown)} unknown; it has days, from and to", field="hours")
    days = given.get("days", EVERY_DAY)
    if not _are_days(days):
        raise Malformed("hours.days: at least one of 1 (Monday) to 7 (Sunday), each once", field="hours.days")
    found: dict[str, Any] = {"days": sorted(days)}
    for name in ("from", "to"):
        clock = given.get(name, "00:00")
        if not isinstance(clock, str) or not re.fullmatch(CLOCK, clock, re.ASCII):
            raise Malformed(f"hours.{name}: a time of day such as 22:00, in Korean time", field=f"hours.{name}")
        found[name] = clock
    return found


def _are_days(days: object) -> bool:
    if not isinstance(days, Sequence) or isinstance(days, str | bytes) or not 1 <= len(days) <= len(EVERY_DAY):
        return False
    numbers = [day for day in days if isinstance(day, int) and not isinstance(day, bool) and day in EVERY_DAY]
    return len(numbers) == len(days) == len(set(numbers))


def read(stored: Mapping[str, Any] | None) -> Hours | None:
    """Stored hours, ready for comparing; None means always."""
    if stored is None:
        return None
    return Hours(
        frozenset(stored.get("days", EVERY_DAY)),
        time.fromisoformat(stored.get("from", "00:00")),
        time.fromisoformat(stored.get("to", "00:00")),
    )


def said(stored: Mapping[str, Any]) -> str:
    """Hours in words for who is refused, such as `22:00-06:00 (월화수목금)`."""
    days = "".join("월화수목금토일"[day - 1] for day in stored.get("days", EVERY_DAY))
    begins, ends = stored.get("from", "00:00"), stored.get("to", "00:00")
    span = "all day" if begins == ends else f"{begins}-{ends}"
    return f"{span}, Korean time ({days})"
