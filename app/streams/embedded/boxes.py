"""Bytes of a fragmented MP4, in any cutting, become one init segment and its fragments (ISO/IEC 14496-12).

The writer is our own ffmpeg, but what it wraps comes from a camera: every size is checked before it is believed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct

MAX_BOX_BYTES = 32 * 1024 * 1024
_DROPPED = {b"styp", b"sidx", b"free", b"skip", b"mfra", b"prft", b"emsg"}
_U32, _U64, _HEADER = Struct(">I"), Struct(">Q"), Struct(">I4s")
_HEADER_BYTES, _LONG_HEADER_BYTES = 8, 16
_VISUAL_ENTRY_BYTES = 78  # VisualSampleEntry before its child boxes, 12.1.3
_NON_SYNC = 0x0001_0000  # sample_is_non_sync_sample, 8.8.3.1
# How our ffmpeg writes a frame that is neither a key frame nor out of order, from `moof` to the header of `mdat`: what
# is the same in all of them, duration, size and flags of the frame, when it is decoded, and the size of `mdat`.
_PLAIN = Struct(">20s4x24s3I12sQ16s4xI4s")
_PLAIN_MOOF_BYTES = _PLAIN.size - _HEADER_BYTES
_PLAIN_BOXES = (
    b"\0\0\0\x64moof\0\0\0\x10mfhd\0\0\0\0",
    b"\0\0\0\x4ctraf\0\0\0\x1ctfhd\0\2\0\x38\0\0\0\1",
    b"\0\0\0\x14tfdt\1\0\0\0",
    b"\0\0\0\x14trun\0\0\0\1\0\0\0\1",
    b"mdat",
)


class NotFragmentedMp4(ValueError):  # noqa: N818 - it says what the bytes are
    """The bytes are no fragmented MP4 with one video track, or a box is larger than we take."""


@dataclass(frozen=True, slots=True)
class Init:
    """`ftyp` + `moov`: what a player needs once, before any fragment."""

    data: bytes
    codec: str
    """RFC 6381, such as avc1.42c01e or hvc1.1.6.L93.b0."""
    width: int
    height: int
    timescale: int
    """Units per second of every time in the fragments."""
    default_duration: int
    default_flags: int
    configuration: bytes = b""
    """Body of avcC or hvcC, where the parameter sets stand."""
    entry_at: int = 0
    """Where in `data` the name of the sample entry stands."""
    configuration_at: int = 0


@dataclass(frozen=True, slots=True)
class Fragment:
    """`moof` + `mdat`: one or more frames; the same bytes for every viewer."""

    data: bytes
    decode_time: int
    """When its first frame is decoded, in timescale units since the pull's start (tfdt)."""
    duration: int
    """Sum of its frames' durations, in timescale units."""
    starts_with_key_frame: bool


class Splitter:
    """Feed it bytes as they come; it gives back what is complete. `styp`, `sidx` and the like are dropped."""

    def __init__(self) -> None:
        self.init: Init | None = None
        self._buffer = bytearray()
        self._ftyp = b""
        self._moof = b""

    def feed(self, chunk: bytes) -> list[Init | Fragment]:
        """What became complete with this chunk, in order. Raises NotFragmentedMp4: it is of no use afterwards."""
        buffer = self._buffer
        if buffer:
            buffer += chunk
        elif self.init and not self._moof and (fragment := _plain(chunk)) is not None:
            return [fragment]
        data: bytes | bytearray = buffer or chunk  # mostly a chunk is a whole fragment, and is not copied
        position, complete = 0, []
        while (size := _complete_box(data, position)) is not None:
            kind = bytes(data[position + 4 : position + 8])
            if kind not in _DROPPED and (found := self._take(kind, bytes(data[position : position + size]))):
                complete.append(found)
            position += size
        if data is buffer:
            del buffer[:position]
        else:
            buffer += chunk[position:]
        return complete

    def _take(self, kind: bytes, box: bytes) -> Init | Fragment | None:
        if kind == b"mdat" and self._moof and self.init:
            moof, self._moof = self._moof, b""
            return _fragment(moof, box, self.init)
        if kind == b"moof" and self.init and not self._moof:
            self._moof = box
        elif kind == b"ftyp" and not self._ftyp:
            self._ftyp = box
        elif kind == b"moov" and self._ftyp and self.init is None:
            self.init = _init(self._ftyp, box)
            return self.init
        else:
            raise NotFragmentedMp4(f"a box {kind!r} where none may stand")
        return None


def _complete_box(buffer: bytes | bytearray, position: int) -> int | None:
    """Size of the whole box at `position`, or None while bytes are missing."""
    available = len(buffer) - position
    if available < _HEADER_BYTES:
        return None
    size, kind = _HEADER.unpack_from(buffer, position)
    least = _HEADER_BYTES
    if size == 1:
        least = _LONG_HEADER_BYTES
        if available < least:
            return None
        (size,) = _U64.unpack_from(buffer, position + _HEADER_BYTES)
    if not least <= size <= MAX_BOX_BYTES or not kind.isalnum():
        raise NotFragmentedMp4(f"a box {bytes(kind)!r} of {size} bytes")
    return int(size) if size <= available else None


def _children(box: bytes, start: int = _HEADER_BYTES, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """(type, start of the body, end) of every box within."""
    end = len(box) if end is None else end
    while start + _HEADER_BYTES <= end:
        size, kind = _HEADER.unpack_from(box, start)
        if size < _HEADER_BYTES or start + size > end:
            raise NotFragmentedMp4(f"a box {kind!r} of {size} bytes runs over its parent")
        yield kind, start + _HEADER_BYTES, start + size
        start += size


def _find(box: bytes, *path: bytes) -> tuple[int, int]:
    """(start of the body, end) of the box at `path`, whose parents are plain containers."""
    start, end = _HEADER_BYTES, len(box)
    for step in path:
        start, end = next(((s, e) for kind, s, e in _children(box, start, end) if kind == step), (-1, -1))
        if start < 0:
            raise NotFragmentedMp4(f"no box {step!r} in {box[4:8]!r}")
    return start, end


def _u32(box: bytes, at: int, end: int) -> int:
    if at + 4 > end:
        raise NotFragmentedMp4(f"a box in {box[4:8]!r} is cut short")
    return int(_U32.unpack_from(box, at)[0])


@dataclass(frozen=True, slots=True)
class Described:
    """How a `moov` describes a video track: what may not change under a player."""

    entry: str
    """avc1, hvc1, mp4v, …"""
    timescale: int
    samples: bytes
    """Body of its `stsd`, 8.5.2."""


def video_tracks(moov: bytes) -> list[Described]:
    """The video tracks in a `moov` of anybody's. Raises NotFragmentedMp4."""
    found = []
    for kind, start, end in _children(moov):
        if kind == b"trak":
            track = _HEADER.pack(end - start + _HEADER_BYTES, kind) + moov[start:end]
            at, _ = _find(track, b"mdia", b"hdlr")
            if track[at + 8 : at + 12] == b"vide":
                samples = track[slice(*_find(track, b"mdia", b"minf", b"stbl", b"stsd"))]
                found.append(Described(samples[12:16].decode("ascii", "replace"), _timescale(track), samples))
    return found


def _timescale(box: bytes, *path: bytes) -> int:
    """Units per second of the track at `path`, 8.4.2."""
    start, end = _find(box, *path, b"mdia", b"mdhd")
    return _u32(box, start + (20 if box[start] == 1 else 12), end)


def _init(ftyp: bytes, moov: bytes) -> Init:
    if sum(kind == b"trak" for kind, _, _ in _children(moov)) != 1:
        raise NotFragmentedMp4("not exactly one track")  # a second track could be sound, which never passes
    start, end = _find(moov, b"trak", b"mdia", b"hdlr")
    if moov[start + 8 : start + 12] != b"vide":
        raise NotFragmentedMp4("the track is no video")
    timescale = _timescale(moov, b"trak")
    start, end = _find(moov, b"trak", b"mdia", b"minf", b"stbl", b"stsd")
    kind, start, end = next(_children(moov, start + 8, end), (b"", 0, 0))
    if end - start < _VISUAL_ENTRY_BYTES or not timescale:
        raise NotFragmentedMp4("no usable sample entry")
    size = _u32(moov, start + 24, end)
    places = {k: (s, e) for k, s, e in _children(moov, start + _VISUAL_ENTRY_BYTES, end)}
    settings = {k: moov[s:e] for k, (s, e) in places.items()}
    configuration = places.get(b"avcC") or places.get(b"hvcC") or (0, 0)
    trex, trex_end = _find(moov, b"mvex", b"trex")
    return Init(
        data=ftyp + moov,
        codec=_codec(kind.decode("ascii", "replace"), settings),
        width=size >> 16,
        height=size & 0xFFFF,
        timescale=timescale,
        default_duration=_u32(moov, trex + 12, trex_end),
        default_flags=_u32(moov, trex + 20, trex_end),
        configuration=moov[slice(*configuration)],
        entry_at=len(ftyp) + start - 4,
        configuration_at=len(ftyp) + configuration[0],
    )


def _codec(entry: str, settings: dict[bytes, bytes]) -> str:
    """RFC 6381: avc1.PPCCLL, hvc1.profile.compatibility.tier-level.constraints (ISO/IEC 14496-15 annex E.3)."""
    avc, hevc = settings.get(b"avcC", b""), settings.get(b"hvcC", b"")
    if entry in {"avc1", "avc3"} and len(avc) >= 4:  # noqa: PLR2004 - the bytes read below
        return f"{entry}.{avc[1:4].hex()}"
    if entry in {"hvc1", "hev1"} and len(hevc) >= 13:  # noqa: PLR2004
        space, tier, profile = hevc[1] >> 6, "H" if hevc[1] & 0x20 else "L", hevc[1] & 0x1F
        compatibility = int(f"{int.from_bytes(hevc[2:6]):032b}"[::-1], 2)
        constraints = "".join(f".{byte:x}" for byte in hevc[6:12].rstrip(b"\0"))
        return f"{entry}.{'ABC'[space - 1] if space else ''}{profile}.{compatibility:x}.{tier}{hevc[12]}{constraints}"
    return entry


def _fragment(moof: bytes, mdat: bytes, init: Init) -> Fragment:
    duration_each, flags_each, decode_time = init.default_duration, init.default_flags, 0
    duration, first_flags = 0, None
    traf = _find(moof, b"traf")
    for kind, start, end in _children(moof, *traf):
        flags = _u32(moof, start, end) & 0xFF_FFFF
        if kind == b"tfhd":  # 8.8.7: track id, then what the flags announce
            at = start + 8 + 8 * (flags & 1) + 4 * (flags >> 1 & 1)
            if flags & 0x08:
                duration_each, at = _u32(moof, at, end), at + 4
            at += 4 * (flags >> 4 & 1)
            if flags & 0x20:
                flags_each = _u32(moof, at, end)
        elif kind == b"tfdt":  # 8.8.12
            decode_time = _u32(moof, start + 4, end)
            if moof[start] == 1:
                decode_time = decode_time << 32 | _u32(moof, start + 8, end)
        elif kind == b"trun":  # 8.8.8
            run_duration, run_flags = _run(moof, start, end, flags, duration_each, flags_each)
            duration += run_duration
            first_flags = run_flags if first_flags is None else first_flags
    if first_flags is None:
        raise NotFragmentedMp4("a fragment without a frame")
    return Fragment(moof + mdat, decode_time, duration, not first_flags & _NON_SYNC)


def _plain(chunk: bytes) -> Fragment | None:
    """What `_fragment` makes of the commonest of chunks, for a fifth of its price; None of any other."""
    if len(chunk) < _PLAIN.size:
        return None
    head, track, duration, _, flags, time, decode_time, run, size, kind = _PLAIN.unpack_from(chunk)
    if (head, track, time, run, kind) != _PLAIN_BOXES or _PLAIN_MOOF_BYTES + size != len(chunk):
        return None
    return Fragment(chunk, decode_time, duration, not flags & _NON_SYNC)


def sample_size_at(fragment: bytes) -> int | None:
    """Where in a fragment the size of its only sample is written; None where it has several."""
    moof = fragment[: _u32(fragment, 0, len(fragment))]
    default_at, own_at = None, None
    for kind, start, end in _children(moof, *_find(moof, b"traf")):
        flags = _u32(moof, start, end) & 0xFF_FFFF
        if kind == b"tfhd" and flags & 0x10:
            default_at = start + 8 + 8 * (flags & 1) + 4 * (flags >> 1 & 1) + 4 * (flags >> 3 & 1)
        elif kind == b"trun":
            if own_at is not None or _u32(moof, start + 4, end) != 1:
                return None
            before = 8 + 4 * (flags & 1) + 4 * (flags >> 2 & 1) + 4 * (flags >> 8 & 1)
            own_at = start + before if flags & 0x200 else default_at
    return own_at


def _run(moof: bytes, start: int, end: int, flags: int, duration_each: int, flags_each: int) -> tuple[int, int]:
    """(duration, flags of the first sample) of one `trun`."""
    samples, at = _u32(moof, start + 4, end), start + 8 + 4 * (flags & 1)
    first_flags = flags_each
    if flags & 0x04:
        first_flags, at = _u32(moof, at, end), at + 4
    has_duration, has_size, has_flags, has_offset = (flags >> bit & 1 for bit in (8, 9, 10, 11))
    row = 4 * (has_duration + has_size + has_flags + has_offset)
    if not samples or at + row * samples > end:
        raise NotFragmentedMp4(f"a run of {samples} samples does not fit into its box")
    if has_flags and not flags & 0x04:
        first_flags = _u32(moof, at + 4 * (has_duration + has_size), end)
    if not has_duration:
        return samples * duration_each, first_flags
    return sum(_u32(moof, at + row * i, end) for i in range(samples)), first_flags
