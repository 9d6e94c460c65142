"""How much one process takes in at once. Beyond it: 429 with Retry-After, and nothing written; never a silent loss.

Three things are bounded: events and bytes of the requests under way, how many of them write at the same time (other
doors need connections too), and how many written events may wait for a position. A single report of an emergency is
let in above each bound, by a reserve of its own.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.errors import Overloaded

MOST_EVENTS = 10_000
MOST_BYTES = 32 << 20
RESERVED_EVENTS = 500
RESERVED_BYTES = 2 << 20
MOST_WAITING = 20_000  # events without a position: ten batches of the sequencer
TURN_SECONDS = 5.0  # how long a request waits until it may write
LOOK_SECONDS = 1.0  # for how long it is remembered how many events wait
URGENT_TURNS = 2

_WAITING = text("SELECT count(*) FROM (SELECT FROM event_pending LIMIT :most) AS waiting")


class Intake:
    """What one process is taking in just now; `turns` requests write at the same time, and emergencies beside them."""

    def __init__(self, turns: int) -> None:
        self.events = 0
        self.bytes = 0
        self._turns = {False: asyncio.Semaphore(max(1, turns)), True: asyncio.Semaphore(URGENT_TURNS)}
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

    @asynccontextmanager
    async def turn(self, *, urgent: bool) -> AsyncGenerator[None]:
        """Wait for one's turn to write; Overloaded when it does not come in time."""
        turns = self._turns[urgent]
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await turns.acquire()
        except TimeoutError:
            raise Overloaded(
                "events wait too long to be written; send these again later", retry_after_seconds=3
            ) from None
        try:
            yield
        finally:
            turns.release()

    def check_backlog(self, *, urgent: bool) -> None:
        """Refuse while more events wait for a position than there may; what was last seen counts for a second."""
        is_fresh = clock.monotonic() - self._looked_at < LOOK_SECONDS
        if is_fresh and self._waiting > MOST_WAITING * (2 if urgent else 1):
            raise Overloaded("too many events wait for their position; send these again later", retry_after_seconds=2)

    async def look(self, session: AsyncSession) -> None:
        """See how many events wait for a position, if nobody has looked within the last second."""
        now = clock.monotonic()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            self._waiting = await session.scalar(_WAITING, {"most": 2 * MOST_WAITING + 1}) or 0
