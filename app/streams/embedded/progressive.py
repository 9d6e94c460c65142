"""Progressive fragmented MP4: one file without an end, on one time line, whatever happens to the pull behind it."""

from collections.abc import Callable

from app.streams.embedded.audience import Audience, cause_of
from app.streams.embedded.boxes import Fragment, Init
from app.streams.embedded.pull import Cause, Lost


class Progressive(Audience):
    """Those who read one file each, framed by `frame` (a chunk of HTTP/1.1, or nothing).

    A file's track cannot change: a new pull continues it only with the very same init segment. Its fragments, whose
    clock begins anew, are then moved to where the file has got to.
    """

    def __init__(self, frame: Callable[[bytes], bytes]) -> None:
        super().__init__()
        self._frame = frame
        self._shift = 0
        self._reached = 0
        self._at_seam = False

    def opening(self, init: Init) -> bytes:
        return self._frame(init.data)

    def framed(self, fragment: Fragment) -> bytes:
        if self._at_seam:
            self._at_seam, self._shift = False, self._reached - fragment.decode_time
        time = fragment.decode_time + self._shift
        self._reached = time + fragment.duration
        return self._frame(moved(fragment.data, self._shift) if self._shift else fragment.data)

    def interrupt(self, lost: Lost) -> None:
        if lost.cause == Cause.CHANGED:
            for viewer in list(self.listeners):
                viewer.end(cause_of(lost))

    def resume(self, lost: Lost, before: Init, init: Init) -> None:
        for viewer, listener in list(self.listeners.items()):
            if not listener.bytes:
                listener.begin(self.opening(init))
            elif before.data != init.data:
                viewer.end(cause_of(lost))
        self._at_seam = bool(self.listeners)
        if not self.listeners:
            self._shift = 0


def moved(fragment: bytes, by: int) -> bytes:
    """The same fragment, `by` units of its timescale later (tfdt, ISO/IEC 14496-12 §8.8.12)."""
    at = _inside(fragment, 0, b"traf")
    at = _inside(fragment, at, b"tfdt") if at is not None else None
    if at is None:
        return fragment
    width = 8 if fragment[at + 8] == 1 else 4
    time = int.from_bytes(fragment[at + 12 : at + 12 + width], "big") + by
    return b"".join(
        (fragment[: at + 12], (time % (1 << 8 * width)).to_bytes(width, "big"), fragment[at + 12 + width :])
    )


def _inside(data: bytes, box: int, kind: bytes) -> int | None:
    """Where the first box of a kind begins within the box that begins at `box`; its sizes were judged on arrival."""
    at, end = box + 8, box + int.from_bytes(data[box : box + 4], "big")
    while at < end:
        if data[at + 4 : at + 8] == kind:
            return at
        at += int.from_bytes(data[at : at + 4], "big")
    return None
