"""Cutting a fragmented MP4: the same whatever the pieces, and nothing unexpected gets through."""

import subprocess
from contextlib import suppress
from functools import cache
from itertools import pairwise

import imageio_ffmpeg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.streams.embedded import boxes
from app.streams.embedded.boxes import Fragment, Init, NotFragmentedMp4, Splitter

FRAGMENTED = "empty_moov+default_base_moof+frag_every_frame"


@cache
def mp4(*options: str, flags: str = FRAGMENTED) -> bytes:
    """Two seconds, 15 frames a second, a key frame each second."""
    inputs = ["-f", "lavfi", "-i", "testsrc2=size=160x90:rate=15"]
    if "-c:a" in options:
        inputs += ["-f", "lavfi", "-i", "sine"]
    codec = [] if "-c:v" in options else ["-c:v", "libx264"]
    return subprocess.run(
        [
            *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *inputs, "-t", "2", *codec, "-preset", "ultrafast"),
            *("-pix_fmt", "yuv420p", "-g", "15", *options, "-f", "mp4", "-movflags", flags, "pipe:1"),
        ],
        check=True,
        capture_output=True,
    ).stdout


def split(data: bytes, cuts: list[int]) -> list[Init | Fragment]:
    splitter = Splitter()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [item for start, end in pairwise(edges) for item in splitter.feed(data[start:end])]


def ready(init: Init) -> Splitter:
    """A splitter that fragments come next."""
    splitter = Splitter()
    splitter.init = init
    return splitter


def test_init_and_fragments_say_what_is_in_them():
    init, *fragments = split(mp4(), [])
    assert isinstance(init, Init)
    assert (init.width, init.height, init.codec[:5]) == (160, 90, "avc1.")
    assert bytes.fromhex(init.codec[5:]) in init.data
    assert len(fragments) == 30
    assert [i for i, one in enumerate(fragments) if one.starts_with_key_frame] == [0, 15]
    frame = init.timescale // 15
    assert [one.decode_time for one in fragments] == [i * frame for i in range(30)]
    assert {one.duration for one in fragments} == {frame}
    assert mp4().startswith(init.data + fragments[0].data + fragments[1].data)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 50_000), max_size=40))
def test_any_cutting_gives_the_same(cuts: list[int]):
    assert split(mp4(), cuts) == split(mp4(), [])


def test_byte_by_byte_gives_the_same():
    assert split(mp4(), list(range(len(mp4())))) == split(mp4(), [])


def test_the_commonest_fragments_are_read_at_a_glance(monkeypatch: pytest.MonkeyPatch):
    init, *fragments = split(mp4(), [])
    assert isinstance(init, Init)
    glanced = [boxes._plain(one.data) for one in fragments]
    assert [one for one in glanced if one] == [one for one in fragments if not one.starts_with_key_frame]
    monkeypatch.setattr(boxes, "_plain", lambda _: None)
    assert [item for one in fragments for item in ready(init).feed(one.data)] == fragments


@settings(max_examples=300, deadline=None)
@given(st.integers(0, boxes._PLAIN.size - 1), st.integers(0, 255))
def test_what_is_read_at_a_glance_is_read_no_otherwise(place: int, value: int):
    init, _, fragment, *_ = split(mp4(), [])
    assert isinstance(init, Init)
    assert isinstance(fragment, Fragment)
    damaged = bytearray(fragment.data)
    damaged[place] = value
    glanced = boxes._plain(bytes(damaged))
    if glanced is not None:
        reader = ready(init)
        assert [*reader.feed(damaged[:50]), *reader.feed(damaged[50:])] == [glanced]


def test_one_fragment_of_many_frames():
    """Sums the durations of a run; `sidx`, `styp` and the like are not passed on."""
    data = mp4("-bf", "2", flags="empty_moov+default_base_moof+frag_keyframe+dash")
    init, *fragments = split(data, [])
    assert b"sidx" in data
    assert [one.starts_with_key_frame for one in fragments] == [True, True]
    assert sum(one.duration for one in fragments) == 2 * init.timescale
    assert not any(b"sidx" in one.data for one in fragments)


def test_h265_is_named():
    init, *_ = split(mp4("-c:v", "libx265", "-x265-params", "log-level=none", "-tag:v", "hvc1"), [])
    assert init.codec.startswith("hvc1.1.6.L")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "bytes"),
        (b"\0\0\0\7ftyp", "7 bytes"),
        (b"\xff\xff\xff\xffmdat", "4294967295 bytes"),
        (b"\0\0\0\1mdat" + (1 << 40).to_bytes(8), "bytes"),
        (b"\0\0\0\x08mdat", "where none may stand"),
        (b"\0\0\0\x08ftyp\0\0\0\x08ftyp", "where none may stand"),
        (b"\0\0\0\x08moov", "where none may stand"),
    ],
)
def test_what_is_no_fragmented_mp4_is_refused(data: bytes, why: str):
    with pytest.raises(NotFragmentedMp4, match=why):
        Splitter().feed(data)


def test_a_second_track_is_refused():
    """It could be sound, which never passes."""
    with pytest.raises(NotFragmentedMp4, match="one track"):
        Splitter().feed(mp4("-c:a", "aac"))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 900), st.binary(min_size=1, max_size=8))
def test_damage_is_told_or_harmless(at: int, damage: bytes):
    """Every size and count is checked: a broken header never raises anything else."""
    data = bytearray(mp4()[:3000])
    data[at : at + len(damage)] = damage
    with suppress(NotFragmentedMp4):
        Splitter().feed(bytes(data))


def test_a_box_that_grows_without_end_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(boxes, "MAX_BOX_BYTES", 1000)
    with pytest.raises(NotFragmentedMp4, match="1001 bytes"):
        Splitter().feed((1001).to_bytes(4) + b"mdat")
