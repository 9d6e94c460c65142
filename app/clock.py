"""The only place that asks the time, so that a test can move it."""

import asyncio
import random
import time
from datetime import UTC, datetime

_PHASE = random.random()  # noqa: S311 - so that processes do not look around at the same moments


def now() -> datetime:
    """The present moment as an aware UTC datetime."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Seconds that only grow: for durations, deadlines and back-off, never for a date."""
    return time.monotonic()


def until_beat(seconds: float) -> float:
    """Seconds until the running loop's next beat of this period, never less than a tenth of it.

    Beats lie on one grid for the whole process: whatever looks around from time to time wakes it together.
    """
    rest = seconds - (asyncio.get_running_loop().time() + _PHASE) % seconds
    return rest if rest > seconds / 10 else rest + seconds


async def beat(seconds: float) -> None:
    """Sleep until the next beat of this period."""
    await asyncio.sleep(until_beat(seconds))
