"""HLS with fragmented MP4 (RFC 8216bis): a segment per group of pictures, made once for all viewers of a channel."""

import asyncio
import hashlib
import math
from collections import deque
from dataclasses import dataclass

from app.errors import CameraOffline, GatewayUnavailable
from app.streams.embedded.boxes import Fragment
from app.streams.embedded.pull import Lost, Pull

WINDOW_SEGMENTS = 6
KEPT_SEGMENTS = 9  # a player may still fetch what left the playlist a moment ago (6.2.2)
MAX_SEGMENT_BYTES = 16 * 1024 * 1024
READY_SECONDS = 8.0
CONTENT_TYPE = "application/vnd.apple.mpegurl"
_LEAST_TARGET_SECONDS = 2
_QUERY = "\0"


@dataclass(frozen=True, slots=True)
class Segment:
    """One or more groups of pictures of one pull. It is named `<number>.m4s`."""

    number: int
    sequence: int
    """Its media sequence number: one more than that of the segment before, even where a number is missing."""
    seconds: float
    discontinuous: bool
    """It does not go on where the segment before ended."""
    init: str
    data: bytes


class Playlist:
    """The segments of a channel, over as many pulls as it has. Kept from the channel's beginning, though only the last
    one while nobody reads them, so that the first reader finds one.

    Beside the playlist stand its segments, `<number>.m4s`, and the init segments that they need, `init-<name>.mp4`.
    Both are named by the pull alone, so all processes that share it agree.
    """

    _pull: Pull | None
    _segments: deque[Segment]
    _inits: dict[str, bytes]
    _read: bool
    """Whether somebody reads it."""
    _break: bool
    """Whether the segment that comes next is on another time line."""
    _fragments: list[bytes]

    def __init__(self) -> None:
        self._ready = asyncio.Event()
        self._over = ""
        self._clear()

    async def ready(self) -> None:
        """Return when there is something to play: after one group of pictures at most.

        CameraOffline where none comes any more; GatewayUnavailable where it is too long to be waited for.
        """
        if not self._read:
            self._read = True
            self._segments = deque(self._segments, KEPT_SEGMENTS)
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._ready.wait()
        except TimeoutError:
            raise GatewayUnavailable(
                "the first segment is not complete yet: this camera sends key frames rarely; ask again",
                retry_after_seconds=2,
            ) from None
        if not self._segments:
            raise CameraOffline(self._over or "the stream was closed")

    def text(self, query: str = "") -> str:
        """The media playlist of the last six segments, `query` (with its question mark) behind each URI."""
        return self._text.replace(_QUERY, query)

    def init(self, name: str = "") -> bytes | None:
        """An init segment by its name, the newest without one; None where no segment needs it any more."""
        return self._inits.get(name or self._init)

    def segment(self, number: int) -> bytes | None:
        """Bytes of a segment that is in the playlist or has just left it."""
        return next((one.data for one in self._segments if one.number == number), None)

    def close(self) -> None:
        """Nobody needs it any more: all is forgotten, and who waits is told."""
        self._ready.set()
        self._ready = asyncio.Event()
        self._clear()

    def _clear(self) -> None:
        self._pull = None
        self._segments, self._inits, self._init = deque(maxlen=1), {}, ""
        self._read = self._break = False
        self._number = self._discontinuities_gone = 0
        self._longest_seconds = float(_LEAST_TARGET_SECONDS)
        self._text = ""
        self._begin_segment()

    # What the channel says

    def follow(self, pull: Pull) -> None:
        """From now on the fragments are those of this pull, from a key frame on."""
        assert pull.init is not None
        self._pull, self._over = pull, ""
        self._init = hashlib.sha256(pull.init.data).hexdigest()[:12]
        self._inits[self._init] = pull.init.data

    def on_fragment(self, fragment: Fragment) -> None:
        assert self._pull is not None
        if fragment.starts_with_key_frame and self._number != self._pull.segment:
            self._finish_segment()
            self._number = self._pull.segment
        if not self._number:
            return
        self._fragments.append(fragment.data)
        self._bytes += len(fragment.data)
        self._duration += fragment.duration
        if self._bytes > MAX_SEGMENT_BYTES:
            self._leave_out()  # until the next key frame; without it there is nothing to play

    def interrupt(self) -> None:
        """The pull is lost: what it brought is played to its end; what follows is another time line."""
        self._finish_segment()
        self._leave_out()

    def end(self, lost: Lost) -> None:
        """No other pull follows."""
        self._over = lost.detail
        self._ready.set()

    def _leave_out(self) -> None:
        self._number, self._break = 0, bool(self._segments)
        self._begin_segment()

    def _begin_segment(self) -> None:
        self._fragments = []
        self._bytes = self._duration = 0

    def _finish_segment(self) -> None:
        if not self._fragments or self._pull is None or self._pull.init is None:
            return
        seconds = self._duration / self._pull.init.timescale
        before = self._segments[-1] if self._segments else None
        number = max(self._number, before.number + 1) if before else self._number
        sequence = before.sequence + 1 if before and self._read else number
        if len(self._segments) >= WINDOW_SEGMENTS:  # a tag that leaves the playlist is counted (6.2.2)
            self._discontinuities_gone += self._segments[-WINDOW_SEGMENTS].discontinuous
        self._segments.append(
            Segment(number, sequence, seconds, self._break and self._read, self._init, b"".join(self._fragments)),
        )
        self._break = False
        self._begin_segment()
        self._longest_seconds = max(self._longest_seconds, seconds)
        needed = {self._init, *(one.init for one in self._segments)}
        self._inits = {name: data for name, data in self._inits.items() if name in needed}
        self._text = self._written()
        self._ready.set()

    def _written(self) -> str:
        shown = list(self._segments)[-WINDOW_SEGMENTS:]
        lines = [
            "#EXTM3U",
            "#EXT-X-VERSION:7",
            f"#EXT-X-TARGETDURATION:{math.ceil(self._longest_seconds)}",
            f"#EXT-X-MEDIA-SEQUENCE:{shown[0].sequence}",
            f"#EXT-X-DISCONTINUITY-SEQUENCE:{self._discontinuities_gone}",
            "#EXT-X-INDEPENDENT-SEGMENTS",
        ]
        init = ""
        for one in shown:
            lines += ["#EXT-X-DISCONTINUITY"] if one.discontinuous else []
            lines += [f'#EXT-X-MAP:URI="init-{one.init}.mp4{_QUERY}"'] if one.init != init else []
            lines += [f"#EXTINF:{one.seconds:.5f},", f"{one.number}.m4s{_QUERY}"]
            init = one.init
        return "\n".join([*lines, ""])
