"""Whose turn it is to read a camera, of all processes on this machine, and how the camera fares.

A file for each camera: who holds its lock (flock) reads the camera, and the kernel frees the lock of a process that
dies. What is written in the file only the holder writes: when the camera was lost, whether that was told, how often
it has been tried since. So loss and return are told once, and a dead camera is not tried by everybody.
"""

import fcntl
import json
import logging
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from app import clock

FLAP_SECONDS = 3.0  # a camera that is back within them was not lost to anybody
REFUSED_AGAIN_SECONDS = 1.0
HOPELESS_AGAIN_SECONDS = 10.0
_PAUSES_SECONDS = (0, 1, 2, 4, 8, 15, 30)
_FILE_BYTES = 2048
_REASON_CHARACTERS = 160

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a camera fares. Times are of the machine's monotonic clock, which all its processes share."""

    lost_at: float | None = None
    """Since when it gives no picture; None: it does, or nobody has asked."""
    told: bool = False
    """Whether its loss was told, so that its return is told as well."""
    tries: int = 0
    """Attempts since it last ran for a while."""
    failed_at: float | None = None
    """When the last attempt failed."""
    reason: str = ""
    hopeless: bool = False
    """Trying again changes nothing until somebody corrects the registration; it may lock the account out."""

    def refuses(self) -> bool:
        """Whether the last attempt failed a moment ago: the next would not fare better."""
        within = HOPELESS_AGAIN_SECONDS if self.hopeless else REFUSED_AGAIN_SECONDS
        return self.failed_at is not None and 0 <= clock.monotonic() - self.failed_at < within

    def pause_seconds(self, jitter: float) -> float:
        """How long from now until it is tried again; `jitter` is between -1 and 1."""
        since = max(self.lost_at or 0.0, self.failed_at or 0.0)
        pause = _PAUSES_SECONDS[min(self.tries, len(_PAUSES_SECONDS) - 1)] * (1 + 0.2 * jitter)
        return min(pause, since + pause - clock.monotonic())  # a time to come was of another boot

    def is_to_be_told(self) -> bool:
        """Whether it has been lost for longer than a flap, and nobody has told."""
        return self.lost_at is not None and not self.told and not 0 <= clock.monotonic() - self.lost_at < FLAP_SECONDS


class Turn:
    """The right to read one camera, until it is given back; with the file where its standing is written."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.standing = _parsed(os.pread(descriptor, _FILE_BYTES, 0))

    def write(self, standing: Standing) -> None:
        """In one write of one size, so that who reads without the lock reads a whole one."""
        self.standing = standing
        text = json.dumps(asdict(standing) | {"reason": standing.reason[:_REASON_CHARACTERS]})
        try:
            os.pwrite(self._descriptor, text.encode().ljust(_FILE_BYTES), 0)
        except OSError:  # a full disk takes nobody's picture away; a loss may be told twice
            log.exception("how a camera fares cannot be written")

    def give_back(self) -> None:
        os.close(self._descriptor)


def take(path: Path) -> Turn | None:
    """The turn to read the camera of this file; None where somebody else has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return Turn(descriptor)


def standing(path: Path) -> Standing:
    """How the camera of this file fares, without having the turn."""
    try:
        return _parsed(path.read_bytes())
    except OSError:
        return Standing()


def _parsed(written: bytes) -> Standing:
    with suppress(ValueError, TypeError):
        return Standing(**json.loads(written))
    return Standing()  # nothing yet, or of another version
