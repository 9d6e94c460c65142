"""MPEG-TS of a camera (ISO/IEC 13818-1): the packets of its video alone, from a key frame on.

ffmpeg then has a picture with the first frame that it reads, and needs not look for seconds at what else may come;
sound never reaches it.
"""

import re

from app.streams.embedded.not_video import NotVideo

PACKET_BYTES = 188
SYNC = 0x47
_CODECS = {0x1B: "H264", 0x24: "H265"}
_SPS = {"H264": re.compile(rb"\x00\x00\x01[\x07\x27\x47\x67]"), "H265": re.compile(rb"\x00\x00\x01[\x40\x42]\x01")}
_MOST_TABLE_BYTES = 16 * PACKET_BYTES  # a section has 1,024 bytes at most
_PAT_PID = 0


class TransportStream:
    """Bytes in, whole packets of the tables and of the first H.264 or H.265 stream out."""

    demuxer = "mpegts"

    def __init__(self) -> None:
        self.codec = ""
        self._buffer = bytearray()
        self._tables: dict[int, _Table] = {_PAT_PID: _Table()}
        self._pmt_pid = -1
        self._video_pid = self._clock_pid = -1
        self._kept: frozenset[int] = frozenset()
        self._is_begun = False

    def feed(self, data: bytes) -> bytes:
        """Raises NotVideo."""
        buffer, out = self._buffer, bytearray()
        buffer += data
        at, end = 0, len(buffer) - PACKET_BYTES
        while at <= end:
            if buffer[at] != SYNC or (at < end and buffer[at + PACKET_BYTES] != SYNC):
                at = buffer.find(SYNC, at + 1)
                if at < 0:
                    at = len(buffer)
                continue
            pid = (buffer[at + 1] & 0x1F) << 8 | buffer[at + 2]
            if pid in self._kept:
                out += buffer[at : at + PACKET_BYTES]
            elif not self._is_begun and (pid in self._tables or pid == self._video_pid):
                out += self._before_the_picture(pid, bytes(buffer[at : at + PACKET_BYTES]))
            at += PACKET_BYTES
        del buffer[:at]
        return bytes(out)

    def _before_the_picture(self, pid: int, packet: bytes) -> bytes:
        """The tables, then the packet with which a key frame begins; nothing before."""
        if pid == self._video_pid:
            if not self._begins_key_frame(packet):
                return b""
            self._is_begun = True
            self._kept = frozenset({_PAT_PID, self._pmt_pid, self._clock_pid, pid})
            return b"".join(self._tables[table].packets for table in (_PAT_PID, self._pmt_pid)) + packet
        section = self._tables[pid].taken(packet)
        if section and pid == _PAT_PID and self._pmt_pid < 0:
            self._read_programmes(section)
        elif section and pid == self._pmt_pid and not self.codec:
            self._read_streams(section)
        return b""

    def _read_programmes(self, section: bytes) -> None:
        """Programme association, 2.4.4.3: the first programme's map."""
        for at in range(8, len(section) - 4 - 3, 4):
            if section[at : at + 2] != b"\0\0":  # programme 0 is network information
                self._pmt_pid = (section[at + 2] & 0x1F) << 8 | section[at + 3]
                self._tables[self._pmt_pid] = _Table()
                return

    def _read_streams(self, section: bytes) -> None:
        """Programme map, 2.4.4.8: the first stream that can be carried, and whose packets hold the clock."""
        if len(section) < 16:  # noqa: PLR2004 - an empty map
            return
        self._clock_pid = (section[8] & 0x1F) << 8 | section[9]
        at, seen = 12 + ((section[10] & 0x0F) << 8 | section[11]), []
        while at + 5 <= len(section) - 4:
            kind = section[at]
            seen.append(kind)
            if kind in _CODECS:
                self._video_pid = (section[at + 1] & 0x1F) << 8 | section[at + 2]
                self.codec = _CODECS[kind]
                return
            at += 5 + ((section[at + 3] & 0x0F) << 8 | section[at + 4])
        raise NotVideo(f"it offers no H.264 or H.265 video (stream types {bytes(seen[:8]).hex(' ')})")

    def _begins_key_frame(self, packet: bytes) -> bool:
        """By the flag that says so (random_access_indicator, 2.4.3.5), or by parameter sets in sight."""
        if not packet[1] & 0x40:
            return False
        has_adaptation = packet[3] & 0x20 and packet[4]
        return bool(has_adaptation and packet[5] & 0x40) or bool(_SPS[self.codec].search(packet))


class _Table:
    """A table's newest section (2.4.4), with the packets that brought it."""

    def __init__(self) -> None:
        self.packets = b""
        self._coming = b""
        self._section = b""

    def taken(self, packet: bytes) -> bytes:
        """The section, when this packet completes it."""
        start = 4 + (1 + packet[4] if packet[3] & 0x20 else 0)
        payload = packet[start:] if packet[3] & 0x10 else b""
        if packet[1] & 0x40:
            if not payload:
                return b""
            payload = payload[1 + payload[0] :]  # behind the end of the section before
            self._coming, self._section = packet, payload
        elif self._coming and len(self._coming) < _MOST_TABLE_BYTES:
            self._coming += packet
            self._section += payload
        if len(self._section) < 3:  # noqa: PLR2004 - table id and length
            return b""
        end = 3 + ((self._section[1] & 0x0F) << 8 | self._section[2])
        if not self._coming or len(self._section) < end:
            return b""
        self.packets, self._coming = self._coming, b""
        return self._section[:end]
