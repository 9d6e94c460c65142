"""What an HTTP camera sends: known by its Content-Type and its first bytes, and led to ffmpeg as video alone.

A camera sends MPEG-TS, MP4 or MJPEG. Everything else is refused with a word on what it is; a playlist above all,
since it would make us fetch what somebody else names.
"""

import re
from typing import Protocol

from app.streams.embedded.boxes import NotFragmentedMp4, video_entries
from app.streams.embedded.motion_jpeg import MotionJpeg
from app.streams.embedded.not_video import NotVideo
from app.streams.embedded.transport_stream import PACKET_BYTES, SYNC, TransportStream

_TELLING_BYTES = 3 * PACKET_BYTES
_MOST_INDEX_BYTES = 1024 * 1024
_MOST_BOXES = 16
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
        """What of it ffmpeg shall read. Raises NotVideo."""


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
    """A (fragmented) MP4 whose index comes first: held back until that is whole, then passed on as it is."""

    demuxer = "mov"

    def __init__(self) -> None:
        self.codec = ""
        self._held = bytearray()
        self._boxes = self._at = 0
        """How many boxes are whole, and where the next one begins."""

    def feed(self, data: bytes) -> bytes:
        """Raises NotVideo."""
        if self.codec:
            return data
        self._held += data
        while (end := self._end_of_box()) is not None:
            if self._held[self._at + 4 : self._at + 8] == b"moov":
                self.codec = self._codec(bytes(self._held[self._at : end]))
                whole, self._held = bytes(self._held), bytearray()
                return whole
            self._boxes, self._at = self._boxes + 1, end
        return b""

    def _end_of_box(self) -> int | None:
        """Where the next box ends, None while it is not whole; before the index only padding may stand."""
        header = bytes(self._held[self._at : self._at + 8])
        if len(header) < 8:  # noqa: PLR2004 - size and type
            return None
        size, kind = int.from_bytes(header[:4]), header[4:]
        if kind not in ({b"moov", b"free", b"skip", b"wide", b"uuid"} if self._boxes else {b"ftyp"}):
            raise NotVideo("an MP4 whose index does not come first cannot be watched while it comes")
        end = self._at + size
        if size < 8 or end > _MOST_INDEX_BYTES or self._boxes > _MOST_BOXES:  # noqa: PLR2004
            raise NotVideo("the index of its MP4 is beyond all measure")
        return end if end <= len(self._held) else None

    def _codec(self, moov: bytes) -> str:
        try:
            entries = video_entries(moov)
        except NotFragmentedMp4 as error:
            raise NotVideo("the index of its MP4 cannot be understood") from error
        for entry in entries[:1]:
            if entry in {"avc1", "avc3"}:
                return "H264"
            if entry in {"hvc1", "hev1"}:
                return "H265"
        named = re.sub(r"[^a-zA-Z0-9,]", "", ",".join(entries))[:40]
        raise NotVideo(f"it offers no H.264 or H.265 video ({named or 'no video at all'})")
