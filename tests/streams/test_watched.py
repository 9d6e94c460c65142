"""Several processes of a machine pull a camera once; when the puller goes, the others know and one takes over."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from app.errors import CameraOffline, UnsafeSource
from app.streams.embedded import relay, turns, watched_camera
from app.streams.embedded.camera_pull import CameraPull
from app.streams.embedded.pull import Cause
from app.streams.embedded.relay import RelayedPull
from tests.streams.fake_camera import FakeCamera
from tests.streams.watching import Notes, alive, children, decoded, joined, processes, until


@pytest.fixture(params=["short", "a-folder-whose-name-is-so-long-that-no-unix-socket-path-could-hold-it/" * 2])
def run_dir(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return tmp_path / request.param / "run"


async def test_one_process_watches_once(tmp_path: Path):
    async with FakeCamera() as camera, processes(tmp_path, 1) as (pulls,):
        first, second = await asyncio.gather(pulls.open("c", camera.url), pulls.open("c", camera.url))
        assert first is second is await pulls.open("c", camera.url)
        assert await pulls.open("another", camera.url) is not first
        assert camera.plays == 2


async def test_the_second_process_reads_from_the_first(run_dir: Path):
    async with FakeCamera() as camera, processes(run_dir, 3) as (one, two, three):
        owner = await one.open("c", camera.url)
        assert isinstance(owner, CameraPull)
        owner.segment += 1000  # as if it had run for half an hour
        await until(lambda: len(owner.gop) == 2)
        before = list(owner.gop)
        owner.subscribe(direct := Notes())
        followers = await asyncio.gather(two.open("c", camera.url), three.open("c", camera.url))
        relayed = Notes()
        for follower in followers:
            assert isinstance(follower, RelayedPull)
            assert follower.init == owner.init
            assert follower.gop[:2] == before  # who joins does not wait for the next key frame
            assert (follower.segment, follower.segment_began) == (owner.segment, owner.segment_began)
        followers[0].subscribe(relayed)
        head = list(followers[0].gop)
        await until(lambda: len(relayed.fragments) > 20)
        assert camera.plays == 1
        both, everything = head + relayed.fragments, before + direct.fragments
        first = everything.index(head[0])
        assert everything[first : first + len(both)] == both
        assert len(decoded(joined(followers[0], both))) == len(both)
        assert followers[0].segment == owner.segment


async def test_followers_keep_the_owner_pulling_and_all_end_when_nobody_watches(tmp_path: Path):
    async with FakeCamera() as camera, processes(tmp_path, 2, linger_seconds=0.3) as (one, two):
        owner = await one.open("c", camera.url)
        follower = await two.open("c", camera.url)
        follower.subscribe(notes := Notes())
        await asyncio.sleep(0.8)
        assert owner.lost is None
        follower.unsubscribe(notes)
        await until(lambda: owner.lost and follower.lost)
        assert owner.lost.cause == follower.lost.cause == Cause.STOPPED
        again = await two.open("c", camera.url)
        assert isinstance(again, CameraPull)
        assert camera.plays == 2


async def test_the_owner_stops_and_another_takes_over(tmp_path: Path):
    async with FakeCamera() as camera, processes(tmp_path, 3) as (one, two, three):
        await one.open("c", camera.url)
        lost = []
        for pulls in (two, three):
            (await pulls.open("c", camera.url)).subscribe(notes := Notes())
            lost.append(notes)
        await one.close()
        await until(lambda: all(notes.lost for notes in lost), 1)
        assert {notes.lost[0].cause for notes in lost} == {Cause.GATEWAY_LOST}
        again = await asyncio.gather(two.open("c", camera.url), three.open("c", camera.url))
        assert sorted(type(pull).__name__ for pull in again) == ["CameraPull", "RelayedPull"]
        assert camera.plays == 2


async def test_a_lost_camera_is_said_to_be_the_camera_everywhere(tmp_path: Path):
    async with FakeCamera() as camera, processes(tmp_path) as (one, two):
        await one.open("c", camera.url)
        (await two.open("c", camera.url)).subscribe(notes := Notes())
        camera.cut()
        await until(lambda: notes.lost, 2)
        assert notes.lost[0].cause == Cause.CAMERA_LOST


async def test_an_offline_camera_is_asked_once_and_refused_to_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(watched_camera, "START_SECONDS", 1.0)
    async with FakeCamera(fault="silent") as camera, processes(tmp_path) as (one, two):
        known = set(children())
        outcomes = await asyncio.gather(
            *(pulls.open("c", camera.url) for pulls in (one, one, two)), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [CameraOffline] * 3
        assert len(camera.requests) == 1
        with pytest.raises(CameraOffline, match="in time"):  # by what was found a moment ago
            await two.open("c", camera.url)
        assert len(camera.requests) == 1
        camera.fault = ""
        monkeypatch.setattr(turns, "REFUSED_AGAIN_SECONDS", 0)
        assert (await two.open("c", camera.url)).gop
        with pytest.raises(UnsafeSource):
            await one.open("d", "file:///etc/passwd")
        await two.close()
        assert set(children()) <= known


async def test_a_puller_that_is_about_to_come_or_to_leave_is_waited_for(tmp_path: Path):
    async with FakeCamera() as camera, processes(tmp_path, 1) as (pulls,):
        await (await pulls.open("c", camera.url)).stop()
        (path,) = tmp_path.glob("pull-*.lock")
        turn = turns.take(path)
        assert turn is not None
        opening = asyncio.ensure_future(pulls.open("c", camera.url))
        await asyncio.sleep(0.2)
        assert not opening.done()
        turn.give_back()
        assert isinstance(await opening, CameraPull)


async def test_who_gives_up_takes_nobody_elses_picture_away(tmp_path: Path):
    async with FakeCamera() as camera, processes(tmp_path, 1) as (pulls,):
        hasty = asyncio.ensure_future(pulls.open("c", camera.url))
        patient = asyncio.ensure_future(pulls.open("c", camera.url))
        await asyncio.sleep(0.05)
        hasty.cancel()
        assert (await patient).gop


async def test_closing_while_a_camera_is_being_opened_leaves_nothing(tmp_path: Path):
    async with FakeCamera(fault="no_picture") as camera, processes(tmp_path, 1) as (pulls,):
        known = set(children())
        opening = asyncio.ensure_future(pulls.open("c", camera.url))
        await until(lambda: camera.plays)
        await pulls.close()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await until(lambda: set(children()) <= known)


async def test_a_process_that_does_not_read_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(relay, "_BACKLOG_BYTES", 100_000)
    async with FakeCamera() as camera, processes(tmp_path) as (one, two):
        owner = await one.open("c", camera.url)
        follower = await two.open("c", camera.url)
        follower.subscribe(notes := Notes())
        owner.subscribe(direct := Notes())
        assert isinstance(follower, RelayedPull)
        assert follower._transport is not None
        follower._transport.pause_reading()
        camera.fault = "flood"
        await until(lambda: sum(len(one.data) for one in direct.fragments) > 1_500_000)
        camera.fault = ""
        follower._transport.resume_reading()
        await until(lambda: notes.lost)
        assert owner.lost is None


@pytest.mark.parametrize("end", ["killed", "asked"])
async def test_two_real_processes(tmp_path: Path, end: str):
    """kill -9 of the puller: the other is told within a second, no ffmpeg is left, and it takes over."""
    async with FakeCamera() as camera, processes(tmp_path, 1) as (pulls,):
        puller = await asyncio.create_subprocess_exec(
            *(sys.executable, str(Path(__file__).with_name("puller.py")), str(tmp_path), camera.url),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert puller.stdin is not None and puller.stdout is not None  # noqa: PT018
        assert await puller.stdout.readline() == b"CameraPull\n"
        (ffmpeg,) = children(puller.pid)
        pull = await pulls.open("camera", camera.url)
        assert isinstance(pull, RelayedPull)
        pull.subscribe(notes := Notes())
        await until(lambda: len(notes.fragments) > 3)
        assert camera.plays == 1
        if end == "killed":
            puller.send_signal(signal.SIGKILL)
        else:
            puller.stdin.write(b"\n")
        await until(lambda: notes.lost, 2)
        assert notes.lost[0].cause == Cause.GATEWAY_LOST
        assert isinstance(await pulls.open("camera", camera.url), CameraPull)
        await puller.wait()
        await until(lambda: not alive(ffmpeg), 3)
        assert camera.plays == 2
        if end == "asked":
            assert int(await puller.stdout.readline()) > 3
