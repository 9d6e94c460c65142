"""Places: in which areas a point lies, kept in the process until areas change."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson

from app import clock
from app.database import On, fetch
from app.registry.areas import Locator

LOOK_SECONDS = 1.0  # for how long it is not asked whether areas have changed

_VALID = "(valid_from IS NULL OR valid_from <= current_date) AND (valid_to IS NULL OR valid_to >= current_date)"
# xmin is the transaction that wrote a row: whatever is added, changed or lapses changes the sum.
_MARK = f"SELECT count(*), sum(xmin::text::bigint) FROM areas WHERE {_VALID}"  # noqa: S608 - our own condition
_AREAS = f"SELECT id, parent_id, kind, name, boundary::text, reach_metres FROM areas WHERE {_VALID} ORDER BY id"  # noqa: S608


class Places:
    """The areas that are valid today, by place."""

    def __init__(self) -> None:
        self._locator: Locator | None = None
        self._mark: tuple[Any, ...] = ()
        self._looked_at = float("-inf")

    async def locate(self, on: On, points: Sequence[tuple[float, float]]) -> list[list[UUID]]:
        """For each point (longitude, latitude) the areas that hold it, with those areas' parents."""
        locator = await self._current(on)
        return locator.locate([point[0] for point in points], [point[1] for point in points])

    async def _current(self, on: On) -> Locator:
        now = clock.monotonic()
        if self._locator is not None and now - self._looked_at < LOOK_SECONDS:
            return self._locator
        mark = tuple((await fetch(on, _MARK))[0])
        self._looked_at = now
        if self._locator is None or mark != self._mark:
            rows = [(*row[:4], orjson.loads(row[4]) if row[4] else None, row[5]) for row in await fetch(on, _AREAS)]
            self._locator = await asyncio.to_thread(Locator, rows)  # some hundred polygons take a moment
            self._mark = mark
        return self._locator
