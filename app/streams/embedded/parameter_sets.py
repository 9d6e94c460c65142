"""Whether a key frame is still of the format that the init segment promises.

A camera that is set to another resolution or profile goes on in the same stream: its next key frame is led by other
parameter sets (ITU-T H.264 7.3.2.1, H.265 7.3.2.1), while the init segment keeps the old ones. Cameras that lead
every key frame with the same sets are the usual case. ffmpeg leaves the sets in the sample of `avc1` and `hev1`, and
drops them from `hvc1`: so it writes `hev1`, and what players are given as `hvc1` is made of that here.
"""

from dataclasses import replace

from app.streams.embedded.boxes import Fragment, Init, sample_size_at

_MOST_UNITS = 64  # before the first slice; what follows is not looked at
_LENGTH_BYTES = 4  # ffmpeg makes length fields of 4 bytes of what comes from a camera, and keeps those of an MP4
_HEVC_ARRAYS_AT = 22
# NAL unit types: (video,) sequence and picture parameter sets with the extension of the SPS, and slices.
_AVC_SETS, _AVC_SLICES = frozenset({7, 8, 13}), range(1, 6)
_HEVC_SETS, _HEVC_SLICES = frozenset({32, 33, 34}), range(32)


class ParameterSets:
    """The sets that an init segment holds (avcC, hvcC: ISO/IEC 14496-15 5.3.3.1, 8.3.3.1)."""

    def __init__(self, init: Init) -> None:
        self.is_hevc = init.codec.startswith("h")
        record = init.configuration
        size_at = 21 if self.is_hevc else 4
        self._length_bytes = (record[size_at] & 3) + 1 if len(record) > size_at else _LENGTH_BYTES
        self._written = self.known = frozenset(_of_hevc(record) if self.is_hevc else _of_avc(record))

    def news(self, key_frame: Fragment) -> frozenset[bytes]:
        """The sets at the head of its first sample that are not known."""
        return frozenset(unit for unit, _, _ in self._leading(key_frame.data)) - self.known

    def learn(self, sets: frozenset[bytes]) -> None:
        self.known |= sets

    def without(self, key_frame: Fragment) -> Fragment:
        """The fragment without those sets in its only sample that the init segment holds, as `hvc1` has it.

        A fragment of several samples is given back as it is.
        """
        data = key_frame.data
        spans = [(start, end) for unit, start, end in self._leading(data) if unit in self._written]
        size_at = sample_size_at(data) if spans else None
        if size_at is None:
            return key_frame
        mdat, less = int.from_bytes(data[:4]), sum(end - start for start, end in spans)
        pieces, at = [bytearray(data[: mdat + 8])], mdat + 8
        for where in (size_at, mdat):
            pieces[0][where : where + 4] = (int.from_bytes(data[where : where + 4]) - less).to_bytes(4)
        for start, end in spans:
            pieces.append(bytearray(data[at:start]))
            at = end
        return replace(key_frame, data=b"".join([*pieces, data[at:]]))

    def _leading(self, data: bytes) -> list[tuple[bytes, int, int]]:
        """The sets before the first slice, and where each stands with its length field."""
        at = int.from_bytes(data[:4]) + 8  # behind `moof` and the header of `mdat`
        found = []
        for _ in range(_MOST_UNITS):
            unit = at + self._length_bytes
            if unit >= len(data):
                break
            kind = data[unit] >> 1 & 63 if self.is_hevc else data[unit] & 31
            if kind in (_HEVC_SLICES if self.is_hevc else _AVC_SLICES):
                break
            end = unit + int.from_bytes(data[at:unit])
            if kind in (_HEVC_SETS if self.is_hevc else _AVC_SETS) and end <= len(data):
                found.append((data[unit:end].rstrip(b"\0"), at, end))
            at = end
        return found


def as_hvc1(init: Init) -> Init:
    """An init segment of `hev1` as one of `hvc1`: all sets stand in it, and in it alone (8.3.3.1.3).

    As hev1 it is not played by Apple's players. Any other is given back as it is.
    """
    if not init.codec.startswith("hev1"):
        return init
    record, start = bytearray(init.configuration), init.configuration_at
    at = _HEVC_ARRAYS_AT + 1
    for _ in range(record[_HEVC_ARRAYS_AT] if len(record) > _HEVC_ARRAYS_AT else 0):
        if at < len(record):
            record[at] |= 0x80  # array_completeness
        at = _take(record, at + 3, int.from_bytes(record[at + 1 : at + 3]), [])
    data = bytearray(init.data)
    data[init.entry_at : init.entry_at + 4] = b"hvc1"
    data[start : start + len(record)] = record
    return replace(init, data=bytes(data), codec="hvc1" + init.codec[4:], configuration=bytes(record))


def _of_avc(record: bytes) -> list[bytes]:
    """SPS and PPS; the extension that high profiles append is not of use here."""
    found: list[bytes] = []
    at = 5
    for mask in (31, 255):
        if at >= len(record):
            break
        at = _take(record, at + 1, record[at] & mask, found)
    return found


def _of_hevc(record: bytes) -> list[bytes]:
    found: list[bytes] = []
    at = _HEVC_ARRAYS_AT + 1
    for _ in range(record[_HEVC_ARRAYS_AT] if len(record) > _HEVC_ARRAYS_AT else 0):
        at = _take(record, at + 3, int.from_bytes(record[at + 1 : at + 3]), found)
    return found


def _take(record: bytes | bytearray, at: int, count: int, found: list[bytes]) -> int:
    """`count` units, each behind its length of 2 bytes, into `found`; gives where they end."""
    for _ in range(count):
        if at + 2 > len(record):
            break
        end = at + 2 + int.from_bytes(record[at : at + 2])
        found.append(bytes(record[at + 2 : end]).rstrip(b"\0"))
        at = end
    return at
