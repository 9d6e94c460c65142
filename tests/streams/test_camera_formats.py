"""What cameras send: H.265 as well as H.264, and pictures whose format changes in mid-stream."""

import re
from pathlib import Path

import pytest

from app.streams.embedded.boxes import Fragment, Init
from app.streams.embedded.camera_pull import CameraPull
from app.streams.embedded.containers import Mp4
from app.streams.embedded.not_video import FormatChanged
from app.streams.embedded.parameter_sets import ParameterSets
from app.streams.embedded.pull import Cause
from app.streams.embedded.relay import RelayedPull
from tests.streams.fake_camera import FakeCamera
from tests.streams.fake_http_camera import FakeHttpCamera
from tests.streams.film import GOP_FRAMES, access_units, file
from tests.streams.watching import Notes, decoded, joined, processes, pull_of, until

pytestmark = pytest.mark.slow


def rfc6381(sps: bytes) -> str:
    """Of the profile_tier_level in an H.265 SPS (7.3.3), read apart from the code that is tested: no bytes escaped."""
    bits = "".join(f"{byte:08b}" for byte in sps.replace(b"\0\0\3", b"\0\0")[2:])[8:]  # behind ids and sub-layers
    profile, compatibility, constraints, level = int(bits[3:8], 2), bits[8:40], bits[40:88], int(bits[88:96], 2)
    named = "".join(f".{int(constraints[i : i + 8], 2):x}" for i in range(0, 48, 8))
    named = re.sub(r"(\.0)+$", "", named)
    return f"hvc1.{profile}.{int(compatibility[::-1], 2):x}.{'LH'[int(bits[2])]}{level}{named}"


async def test_h265_passes_through_and_is_named_right():
    async with FakeCamera(codec="h265") as camera:
        pull = pull_of(camera)
        await pull.start()
        pull.subscribe(notes := Notes())
        await until(lambda: len(notes.fragments) > 2 * GOP_FRAMES)
        assert pull.init is not None
        assert (pull.init.width, pull.init.height) == (320, 180)
        assert pull.init.codec == rfc6381(access_units("h265")[0][1])
        assert pull.init.codec.startswith("hvc1.1.6.L")
        first = next(i for i, one in enumerate(notes.fragments) if one.starts_with_key_frame)
        frames = decoded(joined(pull, notes.fragments[first:]))
        assert len(frames) == len(notes.fragments) - first
        assert {(one.width, one.height) for one in frames} == {(320, 180)}
        assert b"hvc1" in pull.init.data
        assert b"hev1" not in pull.init.data
        for nal in access_units("h265")[0][:3]:  # once in the init segment, as hvc1 has it, and in no sample
            assert pull.init.data.count(nal) == 1
            assert not any(nal in one.data for one in notes.fragments)
        assert pull.lost is None  # each GOP repeats its parameter sets, which is no news
        await pull.stop()


@pytest.mark.parametrize("codec", ["h264", "h265"])
async def test_another_resolution_ends_the_pull_and_the_next_has_it(tmp_path: Path, codec):
    async with FakeCamera(codec=codec) as camera, processes(tmp_path) as (one, two):
        pull = await one.open("c", camera.url)
        relayed = await two.open("c", camera.url)
        assert isinstance(relayed, RelayedPull)
        pull.subscribe(notes := Notes())
        relayed.subscribe(far := Notes())
        camera.film = access_units(codec, "640x360")
        await until(lambda: notes.lost and far.lost)
        assert [note.lost[0].cause for note in (notes, far)] == [Cause.CHANGED] * 2
        assert "another format" in far.lost[0].detail
        assert pull.init is not None
        frames = decoded(joined(pull, pull.gop + notes.fragments[len(pull.gop) :]))
        assert {(frame.width, frame.height) for frame in frames} == {(320, 180)}  # not a byte of the new format
        again = await two.open("c", camera.url)
        assert isinstance(again, CameraPull)
        assert again.init is not None
        assert (again.init.width, again.init.height) == (640, 360)
        assert {(frame.width, frame.height) for frame in decoded(joined(again, again.gop))} == {(640, 360)}
        assert camera.plays == 2


@pytest.mark.parametrize("codec", ["h264", "h265"])
async def test_another_resolution_of_an_mp4_over_http_is_found_by_its_index(codec):
    """Only the index tells: its pictures carry no parameter sets. The same index again is no news."""
    before = file("mp4", codec, seconds=2, repeats=False)
    after = file("mp4", codec, size="640x360", repeats=False)
    async with FakeHttpCamera(shows="mp4", films=(before + before + after, after)) as camera:
        pull = pull_of(camera)
        await pull.start()
        pull.subscribe(notes := Notes())
        first = list(pull.gop)
        await until(lambda: notes.lost)
        assert (notes.lost[0].cause, notes.lost[0].detail) == (
            Cause.CHANGED, "the camera's picture has another format now",
        )  # fmt: skip
        frames = decoded(joined(pull, first + notes.fragments))
        assert {(frame.width, frame.height) for frame in frames} == {(320, 180)}
        assert len(frames) > 40, "the second film of the same format was shown, too"
        following = pull_of(camera)
        await following.start()
        assert following.init is not None
        assert (following.init.width, following.init.height) == (640, 360)
        await following.stop()


@pytest.mark.parametrize("size", [1, 7, 1000, 1 << 20])
@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_an_index_that_differs_is_found_in_any_cutting(codec, size: int):
    same, other = file("mp4", codec, seconds=1), file("mp4", codec, seconds=1, size="640x360")
    long_box = b"\0\0\0\x01mdat" + (16 + 4).to_bytes(8) + b"moov"
    container, whole = Mp4(), same + long_box + same
    fed = b"".join(container.feed(whole[at : at + size]) for at in range(0, len(whole), size))
    assert fed == whole
    with pytest.raises(FormatChanged):
        for at in range(0, len(other), size):
            container.feed(other[at : at + size])


@pytest.mark.parametrize("codec", ["h264", "h265"])
async def test_a_description_that_does_not_fit_the_pictures_is_not_believed(tmp_path: Path, codec):
    """Some cameras go on describing the format that they had when they were switched on."""
    stale = access_units(codec, "160x90")
    async with FakeCamera(codec=codec, described=stale) as camera, processes(tmp_path, 1) as (pulls,):
        pull = await pulls.open("c", camera.url)
        assert pull.init is not None
        assert (pull.init.width, pull.init.height) == (320, 180)
        pull.subscribe(notes := Notes())
        await until(lambda: len(notes.fragments) > 2 * GOP_FRAMES)
        assert notes.lost == []
        assert camera.plays == 2


def lengthed(*units: bytes, size: int = 4) -> bytes:
    return b"".join(len(unit).to_bytes(size) + unit for unit in units)


def key_frame(*units: bytes, size: int = 4) -> Fragment:
    return Fragment((12).to_bytes(4) + b"moof...." + b"\0\0\0\0mdat" + lengthed(*units, size=size), 0, 1, True)


AVCC = bytes([1, 66, 0, 30, 0xFF, 0xE1]) + lengthed(b"\x67sps\0", size=2) + b"\1" + lengthed(b"\x68pps", size=2)
HVCC = bytes(21) + b"\xff\3" + b"".join(
    bytes([0xA0 | kind]) + b"\0\1" + lengthed(bytes([kind << 1, 1]) + b"set", size=2) for kind in (32, 33, 34)
)  # fmt: skip


def sets_of(codec: str, configuration: bytes) -> ParameterSets:
    return ParameterSets(Init(b"", codec, 320, 180, 90_000, 0, 0, configuration))


@pytest.mark.parametrize(
    ("units", "news"),
    [
        ([b"\x67sps", b"\x68pps", b"\x65slice"], []),
        ([b"\x65slice"], []),
        ([b"\x09\xf0", b"\x06sei", b"\x27sps", b"\x65slice"], [b"\x27sps"]),  # another nal_ref_idc is another unit
        ([b"\x67sps\0\0", b"\x68other", b"\x65slice"], [b"\x68other"]),
        ([b"\x65slice", b"\x67behind"], []),
        ([b"\x67sps", b""], []),
        ([], []),
    ],
)
def test_news_are_sets_that_the_init_segment_does_not_hold(units: list[bytes], news: list[bytes]):
    sets = sets_of("avc1.42001e", AVCC)
    assert sets.known == {b"\x67sps", b"\x68pps"}
    assert sets.news(key_frame(*units)) == set(news)
    sets.learn(frozenset(news))
    assert sets.news(key_frame(*units)) == set()


def test_news_of_h265_and_of_short_length_fields():
    known = [bytes([kind << 1, 1]) + b"set" for kind in (32, 33, 34)]
    sets = sets_of("hvc1.1.6.L93.b0", HVCC)
    assert sets.known == set(known)
    assert sets.news(key_frame(b"\x46\1", *known, b"\x26\1slice")) == set()
    assert sets.news(key_frame(known[0], b"\x42\1new", b"\x26\1slice")) == {b"\x42\1new"}
    short = sets_of("avc1.42001e", AVCC[:4] + b"\xfd" + AVCC[5:])
    assert short.news(key_frame(b"\x67sps", b"\x67new", b"\x65slice", size=2)) == {b"\x67new"}


def test_sets_that_only_the_sample_holds_stay_there():
    sets, own = sets_of("hvc1.1.6.L93.b0", HVCC), b"\x44\1own"
    given = key_frame(b"\x46\1", b"\x42\1set", own, b"\x26\1slice")
    moof = bytes.fromhex("000000 14 74666864 00000010 00000001 000000ff 00000014 7472756e 00000001 00000001 00000000")
    sized = (8 + 8 + len(moof)).to_bytes(4) + b"moof" + (8 + len(moof)).to_bytes(4) + b"traf" + moof
    body = given.data[12 + 8 :]
    whole = Fragment(sized + (8 + len(body)).to_bytes(4) + b"mdat" + body, 0, 1, True)
    sets.learn(sets.news(whole))
    less = len(lengthed(b"\x42\1set"))
    kept = lengthed(b"\x46\1", own, b"\x26\1slice")
    cut = sets.without(whole).data
    assert cut.endswith((8 + len(kept)).to_bytes(4) + b"mdat" + kept)
    assert (0xFF - less).to_bytes(4) in cut
    two = whole.data.replace(bytes.fromhex("0000000100000001"), bytes.fromhex("0000000100000002"))
    assert sets.without(Fragment(two, 0, 1, True)).data == two


@pytest.mark.parametrize("cut", range(0, 30, 3))
def test_what_is_cut_short_is_read_as_far_as_it_goes(cut: int):
    for codec, record in (("avc1.42001e", AVCC), ("hvc1.1.6.L93.b0", HVCC)):
        sets = sets_of(codec, record[:cut])
        whole = key_frame(b"\x67sps", b"\x65slice")
        assert len(sets.news(Fragment(whole.data[: 20 + cut], 0, 1, True))) <= 1
