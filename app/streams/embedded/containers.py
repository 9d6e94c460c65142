"""What an HTTP camera sends: known by its Content-Type and its first bytes, and led to ffmpeg as video alone.

A camera sends MPEG-TS, MP4 or MJPEG. Everything else is refused with a word on what it is; a playlist above all,
since it would make us fetch what somebody else names.
"""

import re
import sys
from typing import Protocol

from app.streams.embedded.boxes import Described, NotFragmentedMp4, video_tracks
from app.streams.embedded.motion_jpeg import MotionJpeg
from app.streams.embedded.not_video import FormatChanged, NotVideo
from app.streams.embedded.transport_stream import PACKET_BYTES, SYNC, TransportStream

_TELLING_BYTES = 3 * PACKET_BYTES
_MOST_INDEX_BYTES = 1024 * 1024
_MOST_BOXES = 16
_HEADER_BYTES, _LONG_HEADER_BYTES = 8, 16
_CODECS = {"avc1": "H264", "avc3": "H264", "hvc1": "H265", "hev1": "H265"}
_TYPES = re.compile(
    r"(?P<playlist>.*mpegurl|application/dash\+xml|application/smil.*|audio/x-scpls|application/xspf\+xml)"
    r"|(?P<page>text/html|application/xhtml\+xml|application/json)|(?P<picture>image/.*)|(?P<sound>audio/.*)"
)
_BEGINNINGS = re.compile(
    rb"\s*+(?:(?P<playlist>#EXTM3U|ffconcat|<\?xml|<MPD|\[playlist\])|(?P<page><!doctype|<html)|(?P<picture>\xff\xd8))",
    re.IGNORECASE,
)
_NO_CAMERA = {
    "playlist": "a playlist is not a camera",
    "page": "a web page is not a camera; register the address of its video",
    "picture": "a single picture is not video; register the address of the camera's stream",
    "sound": "sound is not video",
}


class Container(Protocol):
    """Bytes of a camera in, bytes for ffmpeg out."""

    codec: str
    """H264, H265 or JPEG; empty while it is not known yet: until then nothing is given to ffmpeg."""
    demuxer: str
    """ffmpeg's name of what comes out."""

    def feed(self, data: bytes) -> bytes:
        """What of it ffmpeg shall read. Raises NotVideo, or FormatChanged: then another connection is needed."""


def container_of(content_type: str, head: bytes) -> Container | None:
    """What begins with `head`; None while more bytes are needed to know. Raises NotVideo."""
    media_type, _, parameters = content_type.partition(";")
    media_type = media_type.strip().lower()
    if unwanted := _TYPES.fullmatch(media_type):
        raise NotVideo(_NO_CAMERA[str(unwanted.lastgroup)])
    if media_type.startswith("multipart/"):
        boundary = re.search(r'boundary="?-*+([!#-:<-~]{1,100})', parameters, re.IGNORECASE)
        if boundary is None:
            raise NotVideo("its parts have no boundary")
        return MotionJpeg(boundary[1].encode())
    if beginning := _BEGINNINGS.match(head.removeprefix(b"\xef\xbb\xbf")):
        raise NotVideo(_NO_CAMERA[str(beginning.lastgroup)])
    if head[4:8] == b"ftyp":
        return Mp4()
    if len(head) < _TELLING_BYTES:
        return None
    if any(head[at] == head[at + PACKET_BYTES] == head[at + 2 * PACKET_BYTES] == SYNC for at in range(PACKET_BYTES)):
        return TransportStream()
    raise NotVideo("what it sends is neither MPEG-TS nor MP4 nor MJPEG")


class Mp4:
    """A (fragmented) MP4 whose index comes first: held back until that is whole, then passed on as it is.

    A camera that is set to another picture may go on behind another index, which ffmpeg would skip. The same once more
    is none.
    """

    demuxer = "mov"

    def __init__(self) -> None:
        self.codec = ""
        self._held = bytearray()
        self._boxes = self._at = 0
        """How many boxes are whole, and where the next one begins."""
        self._described: Described | None = None
        self._passing = 0
        """How much of a box is still to come that is of no interest."""
        self._wanted = _HEADER_BYTES
        """How much of a box has to be held to know what it is."""

    def feed(self, data: bytes) -> bytes:
        """Raises NotVideo and FormatChanged."""
        if self.codec:
            self._walk(data)
            return data
        self._held += data
        while (end := self._end_of_box()) is not None:
            if self._held[self._at + 4 : self._at + 8] == b"moov":
                self._described = self._track(bytes(self._held[self._at : end]))
                self.codec = _CODECS[self._described.entry]
                whole, self._held = bytes(self._held), bytearray()
                self._walk(whole[end:])
                return whole
            self._boxes, self._at = self._boxes + 1, end
        return b""

    def _end_of_box(self) -> int | None:
        """Where the next box ends, None while it is not whole; before the index only padding may stand."""
        header = bytes(self._held[self._at : self._at + 8])
        if len(header) < _HEADER_BYTES:
            return None
        size, kind = int.from_bytes(header[:4]), header[4:]
        if kind not in ({b"moov", b"free", b"skip", b"wide", b"uuid"} if self._boxes else {b"ftyp"}):
            raise NotVideo("an MP4 whose index does not come first cannot be watched while it comes")
        end = self._at + size
        if size < _HEADER_BYTES or end > _MOST_INDEX_BYTES or self._boxes > _MOST_BOXES:
            raise NotVideo("the index of its MP4 is beyond all measure")
        return end if end <= len(self._held) else None

    def _track(self, moov: bytes) -> Described:
        try:
            tracks = video_tracks(moov)
        except NotFragmentedMp4 as error:
            raise NotVideo("the index of its MP4 cannot be understood") from error
        if tracks and tracks[0].entry in _CODECS:
            return tracks[0]
        named = re.sub(r"[^a-zA-Z0-9,]", "", ",".join(one.entry for one in tracks))[:40]
        raise NotVideo(f"it offers no H.264 or H.265 video ({named or 'no video at all'})")

    def _walk(self, data: bytes) -> None:
        """Pass by the boxes behind the index, but for another index."""
        at = 0
        while at < len(data):
            if self._passing:
                step = min(self._passing, len(data) - at)
                self._passing -= step
            else:
                step = min(self._wanted - len(self._held), len(data) - at)
                self._held += data[at : at + step]
                if len(self._held) == self._wanted:
                    self._meet(bytes(self._held))
            at += step

    def _meet(self, begun: bytes) -> None:
        """Decide on a box of which so much is held: to hold more of it, to let the rest pass, or to compare it."""
        size, kind = int.from_bytes(begun[:4]), begun[4:8]
        if size == 1 and len(begun) == _HEADER_BYTES:
            self._wanted = _LONG_HEADER_BYTES
            return
        if kind == b"moov" and len(begun) < size:
            if size > _MOST_INDEX_BYTES:
                raise NotVideo("the index of its MP4 is beyond all measure")
            self._wanted = size
            return
        if kind == b"moov" and len(begun) == size and self._track(begun) != self._described:
            raise FormatChanged
        size = int.from_bytes(begun[8:16]) if size == 1 else size
        # To the end of the file, or nonsense, which is ffmpeg's to find.
        self._passing = size - len(begun) if size >= len(begun) else sys.maxsize
        self._held, self._wanted = bytearray(), _HEADER_BYTES
