"""Channels: what becomes of viewers when a pull is lost, or the picture changes, and another follows or none."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.errors import CameraOffline
from app.streams.embedded import channels
from app.streams.embedded.channels import Channels
from app.streams.embedded.player import Framing, Player
from app.streams.embedded.progressive import moved
from app.streams.embedded.pull import Pull
from app.streams.embedded.watched import Pulls
from tests.streams.fake_camera import FakeCamera
from tests.streams.playing import FilmPull, HandPulls, Wire, begun, channel_of, film, view
from tests.streams.watching import LOOPBACK, decoded, until


async def opened(pulls: HandPulls | Pulls, url: str = "rtsp://camera/", *wires: Wire) -> list[Player]:
    """Progressive players of one channel, each on its wire."""
    channel = await Channels(pulls).open("c", url)
    players = [Player(view(), channel) for _ in wires]
    for player, wire in zip(players, wires, strict=True):
        player.play_on(wire, Framing.PLAIN)
    return players


async def settle() -> None:
    """Let tasks that are ready run."""
    for _ in range(10):
        await asyncio.sleep(0)


def is_one_time_line(wire: Wire) -> bool:
    """Whether a whole file decodes, one frame following the other without a jump."""
    times = [frame.pts for frame in decoded(wire.data)]
    return all(b - a == times[1] - times[0] for a, b in itertools.pairwise(times))


async def test_a_name_has_one_channel_while_it_lives() -> None:
    pulls = HandPulls([FilmPull(), FilmPull()])
    known = Channels(pulls)
    first = await known.open("c", "rtsp://a/")
    with first.held():
        assert await known.open("c", "rtsp://b/") is first
        assert len(known) == 1
    assert len(known) == 0, "let go by the last who held it, it is forgotten"
    second = await known.open("c", "rtsp://b/")
    assert second is not first
    assert second.pull is first.pull, "the pull lingers"


async def test_the_newest_address_is_opened_again() -> None:
    asked: list[str] = []

    class Noting(HandPulls):
        async def open(self, camera: str, url: str) -> Pull:
            asked.append(url)
            return await super().open(camera, url)

    pulls = Noting([FilmPull(), FilmPull()])
    known = Channels(pulls)
    channel = await known.open("c", "rtsp://old/")
    with channel.held():
        await known.open("c", "rtsp://new/")
        channel.pull.lose()  # type: ignore[attr-defined]
        await settle()
        assert asked == ["rtsp://old/", "rtsp://new/", "rtsp://new/"]
        assert channel.pull is pulls.now


@pytest.mark.parametrize("cause", ["camera_lost", "gateway_lost"])
@pytest.mark.parametrize("later", [0, 31])
async def test_a_lost_pull_is_followed_by_the_next_on_one_time_line(cause: str, later: int) -> None:
    first, second = FilmPull(), FilmPull(at=later // 15 * 15)
    pulls, wire = HandPulls([first, second]), Wire()
    (player,) = await opened(pulls, "", wire)
    first.give(20)
    first.lose(cause)
    await settle()
    assert player.channel.pull is second
    late = Wire()
    second.give(7)
    Player(view(), player.channel).play_on(late, Framing.PLAIN)
    second.give(20)
    assert not player.ended.done()
    assert len(decoded(wire.data)) == 21 + 28
    assert is_one_time_line(wire)
    assert is_one_time_line(late)
    assert wire.data.count(b"moov") == 1


async def test_three_pulls_are_still_one_time_line() -> None:
    films = [FilmPull(at=at) for at in (0, 30, 15)]
    pulls, wire = HandPulls(list(films)), Wire()
    (player,) = await opened(pulls, "", wire)
    for shown in films:
        shown.give(9)
        shown.lose("gateway_lost")
        await settle()
    assert len(decoded(wire.data)) == 30
    assert is_one_time_line(wire)
    player.end("client")


async def test_a_file_ends_where_its_track_is_another() -> None:
    first, second = FilmPull(), FilmPull(film(width=640))
    pulls, wire = HandPulls([first, second]), Wire()
    (player,) = await opened(pulls, "", wire)
    holding = player.channel.held()
    with holding:
        first.give(5)
        first.lose("camera_lost")
        assert not player.ended.done(), "it may come back as it was"
        await settle()
        assert player.ended.result() == "camera_lost"
        late = Wire()
        Player(view(), player.channel).play_on(late, Framing.PLAIN)
        second.give(3)
        assert {frame.width for frame in decoded(late.data)} == {640}


async def test_a_changed_picture_ends_files_at_once() -> None:
    pulls, wire = HandPulls([FilmPull(), FilmPull(film(width=640))]), Wire()
    (player,) = await opened(pulls, "", wire)
    player.channel.pull.lose("changed")  # type: ignore[attr-defined]
    assert player.ended.result() == "changed"
    await settle()
    assert pulls.asked == 1, "nobody is left to open it for"


@pytest.mark.parametrize("cause", ["camera_lost", "gateway_lost"])
async def test_what_does_not_come_back_ends_for_all_with_the_cause(monkeypatch: pytest.MonkeyPatch, cause: str) -> None:
    monkeypatch.setattr(channels, "REOPEN_SECONDS", 0.05)
    pulls = HandPulls([FilmPull(), None])
    players = await opened(pulls, "", Wire(), Wire())
    players[0].channel.pull.lose(cause)  # type: ignore[attr-defined]
    assert not players[0].ended.done()
    assert [await player.ended for player in players] == [cause, cause]
    assert players[0].channel.lost is not None
    assert players[0].channel.lost.cause == cause


async def test_a_camera_that_is_not_ready_yet_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "_PAUSE_SECONDS", 0.01)
    second = FilmPull()
    pulls, wire = HandPulls([FilmPull(), None, None, second]), Wire()
    (player,) = await opened(pulls, "", wire)
    player.channel.pull.lose()  # type: ignore[attr-defined]
    await until(lambda: player.channel.pull is second, 2)
    assert pulls.asked == 4
    assert not player.ended.done()
    player.end("client")


async def test_an_error_of_ours_ends_it_too(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(HandPulls):
        async def open(self, camera: str, url: str) -> Pull:
            if self.asked:
                raise OSError("no file descriptors")
            return await super().open(camera, url)

    (player,) = await opened(Broken([FilmPull()]), "", Wire())
    player.channel.pull.lose()  # type: ignore[attr-defined]
    assert await player.ended == "camera_lost"
    assert "could not be opened again" in caplog.text


async def test_a_camera_that_is_lost_again_and_again_has_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    pulls = HandPulls([FilmPull() for _ in range(20)])
    (player,) = await opened(pulls, "", Wire())
    for _ in range(channels.MOST_LOSSES):
        player.channel.pull.lose()  # type: ignore[attr-defined]
        await settle()
        assert not player.ended.done()
    player.channel.pull.lose()  # type: ignore[attr-defined]
    assert player.ended.result() == "camera_lost"
    assert pulls.asked == 1 + channels.MOST_LOSSES
    now = channels.clock.monotonic()
    again = HandPulls([FilmPull() for _ in range(20)])
    (player,) = await opened(again, "", Wire())
    for minute in range(10):  # seldom enough, it may go on for ever
        monkeypatch.setattr(channels.clock, "monotonic", lambda minute=minute: now + 61 * minute)
        player.channel.pull.lose()  # type: ignore[attr-defined]
        await settle()
    assert not player.ended.done()
    player.end("client")


async def test_the_end_of_the_service_is_no_loss() -> None:
    pulls = HandPulls([FilmPull(), FilmPull()])
    (player,) = await opened(pulls, "", Wire())
    await player.channel.pull.stop()
    assert player.ended.result() == "server_stopped"
    assert pulls.asked == 1


async def test_without_viewers_nothing_is_opened_again() -> None:
    pulls = HandPulls([FilmPull()])
    (player,) = await opened(pulls, "", Wire())
    player.channel.pull.lose()  # type: ignore[attr-defined]
    await settle()
    assert pulls.asked == 2
    waiting = player.channel._reopening
    assert waiting is not None
    player.end("client")
    await settle()
    assert waiting.cancelled()
    assert player.channel.lost is None


async def test_who_comes_while_the_camera_is_lost_is_shown_no_old_picture() -> None:
    gate = asyncio.Event()
    second = FilmPull()
    first = await begun(FilmPull())
    channel = channel_of(first, reopen=lambda: _later(gate, second))
    early, late, wires = Player(view(), channel), Player(view(), channel), (Wire(), Wire())
    early.play_on(wires[0], Framing.PLAIN)
    first.give(5)
    first.lose()
    late.play_on(wires[1], Framing.PLAIN)
    assert wires[1].written == []
    assert late.first_byte_at is None
    gate.set()
    await until(lambda: channel.pull is second, 2)
    second.give(10)
    assert [len(decoded(wire.data)) for wire in wires] == [17, 11]
    assert not early.ended.done()
    assert not late.ended.done()


async def test_who_has_seen_nothing_yet_takes_whatever_track_comes() -> None:
    gate = asyncio.Event()
    second = FilmPull(film(width=640))
    first = await begun(FilmPull())
    channel = channel_of(first, reopen=lambda: _later(gate, second))
    early, late, wire = Player(view(), channel), Player(view(), channel), Wire()
    early.play_on(Wire(), Framing.CHUNKED)
    first.lose()
    late.play_on(wire, Framing.PLAIN)
    gate.set()
    assert await early.ended == "camera_lost"
    second.give(3)
    assert {frame.width for frame in decoded(wire.data)} == {640}


async def _later(gate: asyncio.Event, pull: FilmPull) -> Pull:
    await gate.wait()
    return await begun(pull)


async def test_whoever_opens_the_camera_anew_brings_it_back_for_all() -> None:
    """A joiner's attempt and the channel's own are one; whichever hears first, nobody is left behind."""
    pulls = HandPulls([FilmPull()])
    known = Channels(pulls)
    channel = await known.open("c", "")
    wire = Wire()
    player = Player(view(), channel)
    player.play_on(wire, Framing.PLAIN)
    channel.pull.lose()  # type: ignore[attr-defined]
    await settle()
    second = FilmPull()
    pulls.coming.append(second)
    assert await known.open("c", "") is channel
    assert channel.pull is second
    await settle()
    assert channel._reopening is None
    second.give(4)
    assert len(decoded(wire.data)) == 6
    player.end("client")


async def test_refusals_come_through() -> None:
    with pytest.raises(CameraOffline):
        await Channels(HandPulls([None])).open("c", "")


@pytest.mark.parametrize("by", [0, 1, 15360 * 3600, (1 << 40) + 7])
def test_a_fragment_moves_and_nothing_else_of_it(by: int) -> None:
    shown = film()
    for fragment in shown.fragments[:20]:
        later = moved(fragment.data, by)
        assert len(later) == len(fragment.data)
        assert moved(later, -by) == fragment.data
        different = [i for i in range(len(later)) if later[i] != fragment.data[i]]
        assert not different or different[-1] - different[0] < 8
    pieces = [moved(fragment.data, by) for fragment in shown.fragments]
    assert [frame.pts for frame in decoded(shown.init.data + b"".join(pieces))] == [
        fragment.decode_time + by for fragment in shown.fragments
    ]


# With real cameras and processes


@asynccontextmanager
async def processes(run_dir: Path, count: int) -> AsyncIterator[list[Pulls]]:
    all_pulls = [Pulls(run_dir, LOOPBACK) for _ in range(count)]
    try:
        yield all_pulls
    finally:
        for pulls in all_pulls:
            await pulls.close()


@pytest.mark.slow
async def test_a_camera_whose_line_is_cut_goes_on_in_the_same_file(tmp_path: Path) -> None:
    async with FakeCamera() as camera, processes(tmp_path, 1) as (pulls,):
        wire = Wire()
        (player,) = await opened(pulls, camera.url, wire)
        first = player.channel.pull
        await until(lambda: len(wire.written) > 20)
        camera.cut()
        await until(lambda: player.channel.pull is not first and first.lost)
        seen = len(wire.written)
        await until(lambda: len(wire.written) > seen + 20)
        assert not player.ended.done()
        assert camera.plays == 2
        player.end("client")
    assert is_one_time_line(wire)


@pytest.mark.slow
async def test_when_the_process_that_pulls_goes_the_viewers_of_another_go_on(tmp_path: Path) -> None:
    async with FakeCamera() as camera, processes(tmp_path, 2) as (one, two):
        with (await Channels(one).open("c", camera.url)).held():
            wire = Wire()
            (player,) = await opened(two, camera.url, wire)
            first = player.channel.pull
            await until(lambda: len(wire.written) > 20)
            await one.close()
            await until(lambda: player.channel.pull is not first)
            seen = len(wire.written)
            await until(lambda: len(wire.written) > seen + 20)
            assert not player.ended.done()
            player.end("client")
    assert is_one_time_line(wire)


@pytest.mark.slow
async def test_a_camera_that_stays_away_ends_its_viewers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "REOPEN_SECONDS", 1.0)
    async with FakeCamera() as camera, processes(tmp_path, 1) as (pulls,):
        (player,) = await opened(pulls, camera.url, Wire())
        camera.fault = "silent"
        camera.cut()
        assert await asyncio.wait_for(player.ended, 5) == "camera_lost"
