"""How much one process takes in at once. Beyond it: 429 with Retry-After, and nothing written; never a silent loss.

Two things are bounded: events and bytes of the requests under way, and how many written events may wait for a position.
A single report of an emergency is let in above each bound, by a reserve of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from app import clock
from app.database import On, fetch
from app.errors import Overloaded

MOST_EVENTS = 10_000
MOST_BYTES = 32 << 20
RESERVED_EVENTS = 500
RESERVED_BYTES = 2 << 20
MOST_WAITING = 20_000  # events without a position: ten batches of the sequencer
LOOK_SECONDS = 1.0  # for how long it is remembered how many events wait

_WAITING = "SELECT count(*) FROM (SELECT FROM event_pending LIMIT $1) AS waiting"


class Intake:
    """What one process is taking in just now."""

    def __init__(self) -> None:
        self.events = 0
        self.bytes = 0
        self._waiting = 0
        self._looked_at = float("-inf")

    @contextmanager
    def holding(self, events: int, size: int, *, urgent: bool = False) -> Iterator[None]:
        """Hold so many events and bytes; Overloaded when that is more than this process takes at once."""
        reserved_events, reserved_bytes = (RESERVED_EVENTS, RESERVED_BYTES) if urgent else (0, 0)
        if self.events + events > MOST_EVENTS + reserved_events or self.bytes + size > MOST_BYTES + reserved_bytes:
            raise Overloaded("too many events are being written; send these again later", retry_after_seconds=1)
        self.events += events
        self.bytes += size
        try:
            yield
        finally:
            self.events -= events
            self.bytes -= size

    def check_backlog(self, *, urgent: bool) -> None:
        """Refuse while more events wait for a position than there may; what was last seen counts for a second."""
        is_fresh = clock.monotonic() - self._looked_at < LOOK_SECONDS
        if is_fresh and self._waiting > MOST_WAITING * (2 if urgent else 1):
            raise Overloaded("too many events wait for their position; send these again later", retry_after_seconds=2)

    async def look(self, on: On) -> None:
        """See how many events wait for a position, if nobody has looked within the last second."""
        if clock.monotonic() - self._looked_at >= LOOK_SECONDS:
            self._waiting = (await fetch(on, _WAITING, 2 * MOST_WAITING + 1))[0][0]
            self._looked_at = clock.monotonic()
