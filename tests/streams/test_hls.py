"""HLS: segments that decode, playlists that keep to the RFC over any number of pulls, the same for all processes."""

import asyncio
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import CameraOffline, GatewayUnavailable
from app.streams.embedded import hls
from app.streams.embedded import pull as pull_module
from app.streams.embedded.channels import Channel, Channels
from app.streams.embedded.hls import Playlist
from app.streams.embedded.pull import Cause, Lost
from app.streams.embedded.watched import Pulls
from tests.streams.fake_camera import FakeCamera
from tests.streams.playing import FilmPull, begun, film
from tests.streams.watching import LOOPBACK, HandPull, decoded, hand_pull, until

LOST = Lost(Cause.CAMERA_LOST, "by hand")


def numbers_in(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"^(\d+)\.m4s$", text, re.MULTILINE)]


def value_of(text: str, tag: str) -> int:
    (found,) = re.findall(rf"^#EXT-X-{tag}:(\d+)$", text, re.MULTILINE)
    return int(found)


class Reader:
    """A player that holds every playlist against the one before (RFC 8216bis 6.2.1, 6.2.2, 4.4.3.3)."""

    def __init__(self) -> None:
        self.before: list[tuple[str, int, int, str]] = []

    def read(self, text: str) -> list[tuple[str, int, int, str]]:
        """(URI, media sequence number, discontinuity sequence number, its init segment) of each segment."""
        sequence, discontinuity = value_of(text, "MEDIA-SEQUENCE"), value_of(text, "DISCONTINUITY-SEQUENCE")
        found: list[tuple[str, int, int, str]] = []
        target, length, init = value_of(text, "TARGETDURATION"), 0.0, ""
        for line in text.splitlines():
            if line == "#EXT-X-DISCONTINUITY":
                discontinuity += 1
            elif line.startswith("#EXT-X-MAP:"):
                init = line.partition('URI="')[2].rstrip('"')
            elif line.startswith("#EXTINF:"):
                length = float(line[8:].rstrip(","))
                assert round(length) <= target
            elif not line.startswith("#"):
                assert init, "an init segment stands before its segments"
                found.append((line, sequence + len(found), discontinuity, init))
        assert len({one[0] for one in found}) == len(found), "a name means one segment"
        known = dict.fromkeys(self.before)
        if self.before:
            kept = [one for one in found if one in known]
            assert [one[0] for one in kept] == [one[0] for one in found if one[0] in {was[0] for was in self.before}]
            assert self.before[-len(kept) :] == kept if kept else found[0][1] > self.before[-1][1]
            assert found[0][1] >= self.before[0][1]
            assert found[0][2] >= self.before[0][2]
            assert len(found) >= min(len(self.before), 3), "what is played is not taken away"
        self.before = found
        return found


async def playlist_of(pull: HandPull | FilmPull) -> tuple[Playlist, Channel]:
    """The playlist of a channel that goes on until it is told."""
    channel = Channel(pull, lambda _: None)
    channel.reopen = asyncio.Event().wait  # type: ignore[assignment]
    channel._use(1)
    return channel.playlist, channel


async def test_playlists_of_two_processes_agree_and_their_segments_decode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull_module, "LEAST_SEGMENT_SECONDS", 0.5)
    one, two = (Pulls(tmp_path, LOOPBACK) for _ in range(2))
    async with FakeCamera() as camera:
        opened = [await Channels(pulls).open("c", camera.url) for pulls in (one, two)]
        playlists = [channel.playlist for channel in opened]
        assert playlists[0].text() == ""
        with opened[0].held(), opened[1].held():
            await asyncio.gather(*(playlist.ready() for playlist in playlists))
            await until(lambda: all(len(numbers_in(playlist.text())) >= 2 for playlist in playlists))
            text = playlists[0].text()
            assert numbers_in(text) == numbers_in(playlists[1].text())
            numbers = numbers_in(text)
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
            assert value_of(text, "MEDIA-SEQUENCE") == numbers[0]
            lengths = [float(length) for length in re.findall(r"#EXTINF:([\d.]+),", text)]
            (name,) = re.findall(r'#EXT-X-MAP:URI="init-(\w+).mp4"', text)
            assert playlists[0].init(name) == playlists[1].init(name) == playlists[0].init()
            assert f'#EXT-X-MAP:URI="init-{name}.mp4?proof=1"' in playlists[0].text("?proof=1")
            assert f"\n{numbers[0]}.m4s?proof=1\n" in playlists[0].text("?proof=1")
            for number, length in zip(numbers, lengths, strict=True):
                segment = playlists[0].segment(number)
                assert segment is not None
                frames = decoded((playlists[0].init(name) or b"") + segment)
                assert frames[0].key_frame
                assert len(frames) == round(length * 15)
            assert playlists[0].segment(numbers[-1]) == playlists[1].segment(numbers[-1])
            assert playlists[0].segment(numbers[-1] + 1) is None
        for pulls in (one, two):
            await pulls.close()


def give(pull: HandPull, gops: range, size: int = 10) -> None:
    """Two seconds each: a key frame and one more."""
    for gop in gops:
        pull.give(gop * 2000, True, size, 1000)
        pull.give(gop * 2000 + 1000, False, size, 1000)


async def test_the_first_segment_is_ready_with_the_second_key_frame() -> None:
    pull = await hand_pull()
    playlist, _ = await playlist_of(pull)
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


async def test_who_comes_to_a_camera_that_others_watch_need_not_wait() -> None:
    pull = await hand_pull()
    playlist, _ = await playlist_of(pull)
    give(pull, range(1, 20))
    assert len(playlist._segments) == 1, "nobody reads it: only the newest is kept"
    await asyncio.wait_for(playlist.ready(), 0.1)
    (number,) = numbers_in(playlist.text())
    assert number == pull.segment - 1 == value_of(playlist.text(), "MEDIA-SEQUENCE")
    give(pull, range(20, 40))
    assert len(numbers_in(playlist.text())) == 6
    await pull.stop()


async def test_the_window_slides_and_forgets() -> None:
    pull = await hand_pull()
    playlist, _ = await playlist_of(pull)
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


async def test_a_gop_without_end_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hls, "MAX_SEGMENT_BYTES", 1000)
    pull, reader = await hand_pull(), Reader()
    playlist, _ = await playlist_of(pull)
    waiting = asyncio.ensure_future(playlist.ready())
    await asyncio.sleep(0)
    give(pull, range(1, 4))
    give(pull, range(4, 5), size=900)
    give(pull, range(5, 7))
    await waiting
    text = playlist.text()
    reader.read(text)
    assert text.count("#EXT-X-DISCONTINUITY\n") == 1
    assert re.search(rf"#EXT-X-DISCONTINUITY\n#EXTINF:2.00000,\n{pull.segment - 1}.m4s\n", text)
    assert value_of(text, "DISCONTINUITY-SEQUENCE") == 0
    for gop in range(7, 14):
        give(pull, range(gop, gop + 1))
        reader.read(playlist.text())
    assert "#EXT-X-DISCONTINUITY\n" not in playlist.text()
    assert value_of(playlist.text(), "DISCONTINUITY-SEQUENCE") == 1
    await pull.stop()


async def test_over_two_pulls_the_playlist_goes_on_and_everything_decodes() -> None:
    first, reader = await begun(FilmPull()), Reader()
    playlist, channel = await playlist_of(first)
    reading = asyncio.ensure_future(playlist.ready())
    await asyncio.sleep(0)
    first.segment = 1000
    first.give(40)
    await reading
    before = reader.read(playlist.text())
    first.lose()
    interrupted = reader.read(playlist.text())
    assert interrupted[: len(before)] == before
    assert len(interrupted) == len(before) + 1, "what came of the last group of pictures is not thrown away"
    for second, width in ((FilmPull(film(width=640)), 640), (FilmPull(), 320)):
        channel.go_on_with(await begun(second))
        assert reader.read(playlist.text())[-1] == reader.before[-1], "nothing of it is complete yet"
        second.give(46)
        after = reader.read(playlist.text())
        assert after[-1][2] == after[0][2] + len({one[2] for one in after}) - 1
        assert after[-1][3] != interrupted[-1][3] or width == 320
        second.lose("gateway_lost")
        reader.read(playlist.text())
    frames = 0
    for uri, _, discontinuity, init in reader.before:
        segment = playlist.segment(int(uri.removesuffix(".m4s")))
        shown = decoded((playlist.init(init[5:-4]) or b"") + (segment or b""))
        assert {frame.width for frame in shown} == {640 if discontinuity == 1 else 320}
        frames += len(shown)
    assert frames > 90
    assert playlist.init("nothing") is None
    channel._use(-1)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from(["gop", "long gop", "lost", "changed", "idle"]), max_size=40),
    st.integers(0, 12),
)
def test_whatever_happens_playlists_keep_to_the_rfc(steps: list[str], read_from: int) -> None:
    asyncio.run(_play_through(steps, read_from))


async def _play_through(steps: list[str], read_from: int) -> None:
    pulls = [await begun(FilmPull())]
    pulls[0].segment = 100
    playlist, channel = await playlist_of(pulls[0])
    reader = Reader()
    reading = None
    for at, step in enumerate(steps):
        if at == read_from:
            reading = asyncio.ensure_future(playlist.ready())
            await asyncio.sleep(0)
        pull = pulls[-1]
        if step in ("lost", "changed"):
            pull.lose("changed" if step == "changed" else "camera_lost")
            pulls.append(await begun(FilmPull(film(width=640 if len(pulls) % 2 else 320))))
            pulls[-1].segment = max(pulls[-1].segment % 3 + pull.segment, 100)  # near the last, even the same
            channel.go_on_with(pulls[-1])
        elif step != "idle":
            pull.give(15 if step == "gop" else 30)
            if pull.next >= len(pull.film.fragments):
                pull.next = 0
                pull.segment_began = -(1 << 40)
        if reading is not None and playlist.text():
            reader.read(playlist.text())
    if reading is not None:
        reading.cancel()
    channel._use(-1)


async def test_closed_it_holds_nothing_and_may_be_used_again() -> None:
    pull = await hand_pull()
    playlist, channel = await playlist_of(pull)
    waiting = asyncio.ensure_future(playlist.ready())
    await asyncio.sleep(0)
    channel._use(-1)
    with pytest.raises(CameraOffline):
        await waiting
    assert pull._listeners == ()
    assert (playlist.text(), playlist.init(), len(playlist._segments)) == ("", None, 0)
    channel._use(1)
    again = asyncio.ensure_future(playlist.ready())
    await asyncio.sleep(0)
    give(pull, range(1, 3))
    await again


async def test_when_it_is_over_who_waits_is_told_why() -> None:
    pull = await hand_pull()
    playlist, channel = await playlist_of(pull)
    waiting = asyncio.ensure_future(playlist.ready())
    await asyncio.sleep(0)
    await pull.stop()
    assert channel.lost is not None
    with pytest.raises(CameraOffline, match="stops"):
        await waiting


async def test_who_would_wait_too_long_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hls, "READY_SECONDS", 0.01)
    pull = await hand_pull()
    playlist, _ = await playlist_of(pull)
    with pytest.raises(GatewayUnavailable, match="rarely") as refused:
        await playlist.ready()
    assert refused.value.retry_after_seconds
    give(pull, range(1, 3))
    await playlist.ready()
    await pull.stop()
