"""HLS with fragmented MP4 (RFC 8216bis): a segment per group of pictures, made once for all viewers of a pull."""

import asyncio
import math
from collections import deque
from dataclasses import dataclass

from app.errors import CameraOffline
from app.streams.embedded.boxes import Fragment
from app.streams.embedded.pull import Lost, Pull

WINDOW_SEGMENTS = 6
KEPT_SEGMENTS = 9  # a player may still fetch what left the playlist a moment ago (6.2.2)
MAX_SEGMENT_BYTES = 16 * 1024 * 1024
INIT_NAME = "init.mp4"
CONTENT_TYPE = "application/vnd.apple.mpegurl"
_LEAST_TARGET_SECONDS = 2
_PREFIX = "\0"


@dataclass(frozen=True, slots=True)
class Segment:
    number: int
    seconds: float
    after_gap: bool
    data: bytes


class Playlist:
    """The segments of a pull. Listens to it from the first `ready()` to `close()`, so it costs nothing while unused.

    Segments are named `<number>.m4s` and the init segment `init.mp4`, both beside the playlist.
    """

    def __init__(self, pull: Pull) -> None:
        self._pull = pull
        self._listening = False
        self._ready = asyncio.Event()
        self._clear()

    async def ready(self) -> None:
        """Return when there is something to play: after one group of pictures at most. Raises CameraOffline."""
        if not self._listening:
            self._listening = True
            for fragment in self._pull.gop:
                self.on_fragment(fragment)
            self._pull.subscribe(self)
        await self._ready.wait()
        if not self._segments:
            raise CameraOffline(self._pull.lost.detail if self._pull.lost else "the stream was closed")

    def text(self, prefix: str = "") -> str:
        """The media playlist of the last six segments, its URIs behind `prefix`; empty before `ready()`."""
        return self._text.replace(_PREFIX, prefix)

    def init(self) -> bytes:
        return self._pull.init.data if self._pull.init else b""

    def segment(self, number: int) -> bytes | None:
        """Bytes of a segment that is in the playlist or has just left it."""
        return next((one.data for one in self._segments if one.number == number), None)

    def close(self) -> None:
        """Nobody reads it any more. It may be made `ready()` again."""
        if self._listening:
            self._pull.unsubscribe(self)
            self._listening = False
        self._clear()
        self._ready.set()
        self._ready = asyncio.Event()

    def _clear(self) -> None:
        self._segments: deque[Segment] = deque(maxlen=KEPT_SEGMENTS)
        self._number = self._gaps_gone = 0
        self._gap = False
        self._longest_seconds = float(_LEAST_TARGET_SECONDS)
        self._text = ""
        self._begin_segment()

    def on_fragment(self, fragment: Fragment) -> None:
        if fragment.starts_with_key_frame and self._number != self._pull.segment:
            self._finish_segment()
            self._number = self._pull.segment
        if not self._number:
            return
        self._fragments.append(fragment.data)
        self._bytes += len(fragment.data)
        self._duration += fragment.duration
        if self._bytes > MAX_SEGMENT_BYTES:
            self._number, self._gap = 0, True  # until the next key frame; without it there is nothing to play
            self._begin_segment()

    def on_lost(self, lost: Lost) -> None:  # noqa: ARG002 - the pull keeps it
        self._text += "#EXT-X-ENDLIST\n" if self._text else ""
        self._ready.set()

    def _begin_segment(self) -> None:
        self._fragments: list[bytes] = []
        self._bytes = self._duration = 0

    def _finish_segment(self) -> None:
        if not self._fragments or self._pull.init is None:
            return
        seconds = self._duration / self._pull.init.timescale
        if len(self._segments) >= WINDOW_SEGMENTS:
            self._gaps_gone += self._segments[-WINDOW_SEGMENTS].after_gap
        self._segments.append(Segment(self._number, seconds, self._gap, b"".join(self._fragments)))
        self._gap = False
        self._begin_segment()
        self._longest_seconds = max(self._longest_seconds, seconds)
        self._text = self._written()
        self._ready.set()

    def _written(self) -> str:
        shown = list(self._segments)[-WINDOW_SEGMENTS:]
        lines = [
            "#EXTM3U",
            "#EXT-X-VERSION:7",
            f"#EXT-X-TARGETDURATION:{math.ceil(self._longest_seconds)}",
            f"#EXT-X-MEDIA-SEQUENCE:{shown[0].number}",
            f"#EXT-X-DISCONTINUITY-SEQUENCE:{self._gaps_gone}",
            "#EXT-X-INDEPENDENT-SEGMENTS",
            f'#EXT-X-MAP:URI="{_PREFIX}{INIT_NAME}"',
        ]
        for one in shown:
            lines += ["#EXT-X-DISCONTINUITY"] if one.after_gap else []
            lines += [f"#EXTINF:{one.seconds:.5f},", f"{_PREFIX}{one.number}.m4s"]
        return "\n".join([*lines, ""])
