"""RTP over an RTSP connection: H.264 payloads (RFC 6184, single NAL unit and FU-A) and sender reports (RFC 3550)."""

import secrets
import struct
from collections.abc import Iterator

PAYLOAD_BYTES = 1400  # what cameras use, so that a packet also fits an Ethernet frame
VIDEO_TYPE, VIDEO_CLOCK = 96, 90_000  # payload type (dynamic) and ticks per second
AUDIO_TYPE, AUDIO_CLOCK = 0, 8_000  # PCMU
_FU_A = 28
_SEQUENCES, _WORD = 1 << 16, 1 << 32
_UNIX_EPOCH_IN_NTP = 2_208_988_800


def payloads(nal: bytes, limit: int = PAYLOAD_BYTES) -> Iterator[bytes]:
    """One NAL unit (without start code) as RTP payloads of at most `limit` bytes: itself, or FU-A fragments."""
    if len(nal) <= limit:
        yield nal
        return
    indicator, kind = nal[0] & 0xE0 | _FU_A, nal[0] & 0x1F
    step = limit - 2
    for start in range(1, len(nal), step):
        end = start + step
        flags = (0x80 if start == 1 else 0) | (0x40 if end >= len(nal) else 0)
        yield bytes([indicator, flags | kind]) + nal[start:end]


class RtpStream:
    """One track of one session: numbers its packets and frames them for the interleaved channel (RFC 2326, 10.12)."""

    def __init__(self, payload_type: int, clock_rate: int, channel: int) -> None:
        self._type, self._rate, self._channel = payload_type, clock_rate, channel
        self.ssrc = secrets.randbits(32)
        self.sequence = secrets.randbits(15)  # of the next packet
        self._packets = self._octets = 0

    def packet(self, payload: bytes, at: float, *, last: bool) -> bytes:
        """One framed packet sampled `at` (unix seconds); `last` of its access unit sets the marker bit."""
        header = struct.pack(
            ">BBHII", 0x80, self._type | (0x80 if last else 0), self.sequence, self._ticks(at), self.ssrc
        )
        self.sequence = (self.sequence + 1) % _SEQUENCES
        self._packets += 1
        self._octets += len(payload)
        return self._framed(self._channel, header + payload)

    def report(self, at: float) -> bytes:
        """A framed sender report with the mandatory SDES, which ties the track's ticks to the wall clock `at`."""
        seconds = int(at)
        ntp = (seconds + _UNIX_EPOCH_IN_NTP) % _WORD, int((at - seconds) * _WORD)
        counts = self._packets % _WORD, self._octets % _WORD
        sender = struct.pack(">BBHIIIIII", 0x80, 200, 6, self.ssrc, *ntp, self._ticks(at), *counts)
        name = b"\x01\x06camera\x00\x00"  # CNAME, padded to a word with the ending null
        description = (
            struct.pack(">BBHI", 0x81, 202, 1 + (len(name) + 3) // 4, self.ssrc) + name + b"\0" * (-len(name) % 4)
        )
        return self._framed(self._channel + 1, sender + description)

    def _ticks(self, at: float) -> int:
        return round(at * self._rate) % _WORD

    @staticmethod
    def _framed(channel: int, packet: bytes) -> bytes:
        return struct.pack(">cBH", b"$", channel, len(packet)) + packet
