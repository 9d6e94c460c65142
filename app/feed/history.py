"""What is past: events read again from the log, under the rights of now."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from app import clock
from app.events.catalogue import EMERGENCY, Sight
from app.fanout import text_frame
from app.feed import messages
from app.feed.members import Viewer
from app.feed.positions import Positions
from app.feed.subscriptions import Subscription, Whereabouts, nowhere

BATCH = 1000
MOST_RECENT = 4096  # events that a process remembers, for clients that were away for a moment
MOST_RECENT_BYTES = 16 << 20

_PAST = """
SELECT p.position, r.* FROM event_positions p JOIN events r ON r.id = p.id AND r.at = p.at
WHERE p.position > $1 AND p.position <= $2 AND r.owner_agency_id = ANY($3::uuid[]) AND {wanted}
ORDER BY p.position LIMIT $4
"""


class Told:
    """One event as it is told: encoded and framed once for each redaction class."""

    __slots__ = ("_frames", "_positions", "position", "row")

    def __init__(self, row: Mapping[str, Any], positions: Positions) -> None:
        self.row = row
        self.position: int = row["position"]
        self._positions = positions
        self._frames: dict[Sight, bytes] = {}

    def frame(self, sight: Sight) -> bytes:
        """The WebSocket frame for listeners of that sight."""
        frame = self._frames.get(sight)
        if frame is None:
            payload = messages.event(self._positions.write(self.position), self.row, sight)
            frame = self._frames[sight] = text_frame(payload)
        return frame

    @property
    def urgent(self) -> bool:
        """An emergency does not wait for others."""
        return bool(self.row["severity"] >= EMERGENCY)


class Recent:
    """The newest events of a process, gapless up to where it has come; what they weigh is bounded."""

    def __init__(self, position: int) -> None:
        self.first = position + 1  # the oldest position that is remembered, or the next one
        self._told: deque[Told] = deque()
        self._bytes = 0

    def add(self, told: Told) -> None:
        """The next event."""
        self._told.append(told)
        self._bytes += 2 * weight(told.row)
        while len(self._told) > MOST_RECENT or self._bytes > MOST_RECENT_BYTES:
            self._bytes -= 2 * weight(self._told.popleft().row)
            self.first += 1

    def after(self, position: int) -> list[Told] | None:
        """All events after a position; None when they are not all remembered."""
        if position < self.first - 1:
            return None
        return [self._told[number] for number in range(position + 1 - self.first, len(self._told))]


def weight(row: Mapping[str, Any]) -> int:
    """About how many bytes an event is as a message."""
    data = row["data"]
    return 700 + (len(data) if isinstance(data, str | bytes) else 0)


async def read(
    connection: asyncpg.Connection,
    viewer: Viewer,
    subscription: Subscription,
    after: int,
    until: int,
    limit: int = BATCH,
    whereabouts: Whereabouts = nowhere,
) -> tuple[list[Mapping[str, Any]], int]:
    """Events after a position up to another that are wanted and permitted, in order, and how far this has come.

    Owners and most of the wish are compared in SQL; agreements' times, areas and purposes, and circles, here.
    """
    owners = list({scope.owner_agency_id for scope in viewer.scopes})
    wanted, values = subscription.condition(5)
    rows: Sequence[asyncpg.Record] = await connection.fetch(
        _PAST.format(wanted=wanted), after, until, owners, limit, *values
    )
    now = clock.now()
    found = [row for row in rows if subscription.wants(row, whereabouts) and viewer.may_see(row, now)]
    return found, rows[-1]["position"] if len(rows) == limit else until
