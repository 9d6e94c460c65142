"""HLS: segments that decode, a playlist that players accept, the same for all viewers and processes."""

import asyncio
import re
from pathlib import Path

import pytest

from app.errors import CameraOffline
from app.streams.embedded import hls
from app.streams.embedded import pull as pull_module
from app.streams.embedded.hls import Playlist
from app.streams.embedded.watched import Pulls
from tests.streams.fake_camera import FakeCamera
from tests.streams.watching import LOOPBACK, HandPull, decoded, hand_pull, until


def numbers_in(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"^(\d+)\.m4s$", text, re.MULTILINE)]


def value_of(text: str, tag: str) -> int:
    (found,) = re.findall(rf"^#EXT-X-{tag}:(\d+)$", text, re.MULTILINE)
    return int(found)


async def test_playlists_of_two_processes_agree_and_their_segments_decode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pull_module, "LEAST_SEGMENT_SECONDS", 0.5)
    one, two = (Pulls(tmp_path, LOOPBACK) for _ in range(2))
    async with FakeCamera() as camera:
        playlists = [Playlist(await pulls.open("c", camera.url)) for pulls in (one, two)]
        assert playlists[0].text() == ""
        await asyncio.gather(*(playlist.ready() for playlist in playlists))
        await until(lambda: all(len(numbers_in(playlist.text())) >= 2 for playlist in playlists))
        text = playlists[0].text()
        assert numbers_in(text) == numbers_in(playlists[1].text())
        numbers = numbers_in(text)
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert value_of(text, "MEDIA-SEQUENCE") == numbers[0]
        lengths = [float(length) for length in re.findall(r"#EXTINF:([\d.]+),", text)]
        assert max(lengths) <= value_of(text, "TARGETDURATION")
        assert '#EXT-X-MAP:URI="init.mp4"' in text
        assert '#EXT-X-MAP:URI="x/init.mp4"' in playlists[0].text("x/")
        assert f"\nx/{numbers[0]}.m4s\n" in playlists[0].text("x/")
        for number, length in zip(numbers, lengths, strict=True):
            segment = playlists[0].segment(number)
            assert segment is not None
            frames = decoded(playlists[0].init() + segment)
            assert frames[0].key_frame
            assert len(frames) == round(length * 15)
        assert playlists[0].segment(numbers[-1]) == playlists[1].segment(numbers[-1])
        assert playlists[0].segment(numbers[-1] + 1) is None
        for pulls in (one, two):
            await pulls.close()
        assert playlists[0].text().endswith("#EXT-X-ENDLIST\n")


def give(pull: HandPull, gops: range, size: int = 10) -> None:
    """Two seconds each: a key frame and one more."""
    for gop in gops:
        pull.give(gop * 2000, True, size, 1000)
        pull.give(gop * 2000 + 1000, False, size, 1000)


async def test_the_first_segment_is_ready_with_the_second_key_frame():
    pull = await hand_pull()
    playlist = Playlist(pull)
    waiting = asyncio.ensure_future(playlist.ready())
    await asyncio.sleep(0)
    pull.give(100, False)
    await asyncio.sleep(0)
    assert not waiting.done()
    pull.give(2000, True)
    await waiting
    (number,) = numbers_in(playlist.text())
    assert playlist.segment(number) == b"x" * 20  # from the key frame that was there before
    await pull.stop()


async def test_the_window_slides_and_forgets():
    pull = await hand_pull()
    playlist = Playlist(pull)
    waiting = asyncio.ensure_future(playlist.ready())
    await asyncio.sleep(0)
    give(pull, range(1, 31))
    await waiting
    numbers = numbers_in(playlist.text())
    assert len(numbers) == 6
    assert value_of(playlist.text(), "MEDIA-SEQUENCE") == numbers[0] == pull.segment - 6
    assert playlist.segment(numbers[0] - 3) is not None
    assert playlist.segment(numbers[0] - 4) is None
    await pull.stop()


async def test_a_gop_without_end_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hls, "MAX_SEGMENT_BYTES", 1000)
    pull = await hand_pull()
    playlist = Playlist(pull)
    waiting = asyncio.ensure_future(playlist.ready())
    await asyncio.sleep(0)
    give(pull, range(1, 4))
    give(pull, range(4, 5), size=900)
    give(pull, range(5, 7))
    await waiting
    text = playlist.text()
    assert text.count("#EXT-X-DISCONTINUITY\n") == 1
    assert re.search(rf"#EXT-X-DISCONTINUITY\n#EXTINF:2.00000,\n{pull.segment - 1}.m4s\n", text)
    assert value_of(text, "DISCONTINUITY-SEQUENCE") == 0
    give(pull, range(7, 14))
    assert "#EXT-X-DISCONTINUITY\n" not in playlist.text()
    assert value_of(playlist.text(), "DISCONTINUITY-SEQUENCE") == 1
    await pull.stop()


async def test_closed_it_holds_nothing_and_may_be_used_again():
    pull = await hand_pull()
    playlist = Playlist(pull)
    waiting = asyncio.ensure_future(playlist.ready())
    await asyncio.sleep(0)
    playlist.close()
    with pytest.raises(CameraOffline):
        await waiting
    assert pull._listeners == ()
    again = asyncio.ensure_future(playlist.ready())
    await asyncio.sleep(0)
    give(pull, range(1, 3))
    await again
    await pull.stop()
    with pytest.raises(CameraOffline, match="stops"):
        await Playlist(pull).ready()
