"""The only place that asks the time, so that a test can move it."""

import time
from datetime import UTC, datetime


def now() -> datetime:
    """The present moment as an aware UTC datetime."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Seconds that only grow: for durations, deadlines and back-off, never for a date."""
    return time.monotonic()
