"""MJPEG over HTTP: the pictures of a multipart body (RFC 2046 5.1), ten a second at most, told in one clear form.

Browsers' players know no MJPEG, so it is encoded anew; what comes too fast is dropped before anybody decodes it.
"""

import asyncio
import re

from app.streams.embedded.not_video import NotVideo

PICTURES_PER_SECOND = 10
MOST_PIXELS = 3840 * 2160
_MOST_PICTURE_BYTES = 4 * 1024 * 1024
_MOST_HEADER_BYTES = 4096
_MOST_DROPPED = 1000  # between two pictures that are taken: 10,000 a second
_OVERLAP_BYTES = 256
_BOUNDARY = b"gwanje"
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HEADER_END = re.compile(rb"\r?\n\r?\n")


class MotionJpeg:
    """Bytes of the body in, parts with their lengths out, as ffmpeg's `mpjpeg` reads them without waiting."""

    demuxer = "mpjpeg"

    def __init__(self, boundary: bytes) -> None:
        self.codec = "JPEG"
        delimiter = rb"(?<!-)-{2,64}+" + re.escape(boundary)
        self._delimiter, self._end = re.compile(delimiter), re.compile(rb"\r?\n" + delimiter)
        self._buffer = bytearray()
        self._length: int | None = None
        """Of the picture that is coming: None before its header, -1 where the header does not say."""
        self._searched = 0
        self._next_at = 0.0
        self._dropped = 0

    def feed(self, data: bytes) -> bytes:
        """Raises NotVideo."""
        self._buffer += data
        out = bytearray()
        while (picture := self._picture()) is not None:
            if self._is_due() and picture:
                check(picture)
                out += b"--%s\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % (_BOUNDARY, len(picture))
                out += picture + b"\r\n"
        return bytes(out)

    def _is_due(self) -> bool:
        now, apart = asyncio.get_running_loop().time(), 1 / PICTURES_PER_SECOND
        if now < self._next_at:
            self._dropped += 1
            if self._dropped > _MOST_DROPPED:
                raise NotVideo("it sends more pictures than any camera takes")
            return False
        self._dropped = 0
        self._next_at = max(self._next_at + apart, now - apart)  # a picture that came late takes nothing from the next
        return True

    def _picture(self) -> bytes | None:
        """The next whole picture; None while it is not whole."""
        buffer = self._buffer
        if self._length is None and not self._header():
            return None
        if self._length is not None and self._length >= 0:
            end = self._length
            if len(buffer) < end:
                return None
        else:
            delimiter = self._end.search(buffer, max(0, self._searched - _OVERLAP_BYTES))
            self._searched = len(buffer)
            if delimiter is None:
                if len(buffer) > _MOST_PICTURE_BYTES:
                    raise NotVideo("its pictures are larger than 4 MiB")
                return None
            end = delimiter.start()
        picture = bytes(buffer[:end])
        del buffer[:end]
        self._length, self._searched = None, 0
        return picture

    def _header(self) -> bool:
        """Whether the header of the next part is whole; then it is read and gone."""
        buffer = self._buffer
        delimiter = self._delimiter.search(buffer, 0, _MOST_HEADER_BYTES)
        end = delimiter and _HEADER_END.search(buffer, delimiter.end(), _MOST_HEADER_BYTES)
        if not delimiter or not end:
            if len(buffer) >= _MOST_HEADER_BYTES:
                raise NotVideo("its parts do not follow each other as they should")
            return False
        lines = bytes(buffer[delimiter.end() : end.end()]).decode("latin-1").lower().splitlines()[1:]
        headers = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if not headers.get("content-type", "image/jpeg").startswith(("image/jpeg", "image/jpg")):
            raise NotVideo("its parts are no JPEG pictures")
        length = headers.get("content-length", "")
        if length and not (re.fullmatch(r"[0-9]{1,9}", length) and int(length) <= _MOST_PICTURE_BYTES):
            raise NotVideo("its pictures are larger than 4 MiB")
        self._length = int(length) if length else -1
        del buffer[: end.end()]
        return True


def check(picture: bytes) -> None:
    """Refuse what is no JPEG, or one of more pixels than 4K has (ITU-T T.81 B.2). Raises NotVideo."""
    if not picture.startswith(b"\xff\xd8"):
        raise NotVideo("its parts are no JPEG pictures")
    at = 2
    while at + 9 <= len(picture) and picture[at] == 0xFF:  # noqa: PLR2004 - a marker
        kind = picture[at + 1]
        if kind in _FRAME_HEADERS:
            if int.from_bytes(picture[at + 5 : at + 7]) * int.from_bytes(picture[at + 7 : at + 9]) > MOST_PIXELS:
                raise NotVideo("its pictures have more pixels than 4K")
            return
        if kind == 0xFF:  # noqa: PLR2004 - a fill byte
            at += 1
        else:
            at += 2 + int.from_bytes(picture[at + 2 : at + 4])
    raise NotVideo("its parts are no JPEG pictures")
