"""Cameras that are lost: tried again by one process, told once of going and once of coming back."""

import asyncio
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from app.errors import CameraOffline, UnsafeSource
from app.streams.embedded import turns, watched_camera
from app.streams.embedded.pull import Cause
from app.streams.embedded.turns import Standing
from app.streams.embedded.watched import Pulls
from tests.streams.fake_camera import FakeCamera
from tests.streams.watching import LOOPBACK, Notes, Reports, children, processes, until

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
async def ten_times_as_fast(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    monkeypatch.setattr(turns, "_PAUSES_SECONDS", (0, 0.1, 0.2, 0.4, 0.8, 1.5, 3))
    for module, name in (
        (turns, "FLAP_SECONDS"), (turns, "REFUSED_AGAIN_SECONDS"), (watched_camera, "_UNTOLD_SECONDS"),
        (watched_camera, "_BUSY_SECONDS"), (turns, "HOPELESS_AGAIN_SECONDS"), (watched_camera, "STEADY_SECONDS"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, getattr(module, name) / 10)
    yield
    assert _watching_tasks() == set()


def _watching_tasks() -> set[asyncio.Task[object]]:
    """What is tried for cameras here; those of the service that other tests share have longer names."""
    found = set()
    for task in asyncio.all_tasks():
        frame = getattr(task.get_coro(), "cr_frame", None)
        watched = frame.f_locals.get("self") if frame else None
        if isinstance(watched, watched_camera.WatchedCamera) and len(watched._name) < len("a camera's id and profile"):
            found.add(task)
    return found


async def lose(camera: FakeCamera, pulls: Pulls) -> Notes:
    """A watched camera whose cable is pulled, and that is broken from then on."""
    pull = await pulls.open("c", camera.url)
    pull.subscribe(notes := Notes())
    camera.fault = "garbage"
    camera.requests.clear()
    camera.cut()
    await until(lambda: notes.lost)
    return notes


async def test_a_camera_that_is_back_at_once_was_lost_to_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(turns, "FLAP_SECONDS", 2.0)
    reports = Reports()
    async with FakeCamera() as camera, processes(tmp_path, 1, reports=reports) as (pulls,):
        first = await pulls.open("c", camera.url)
        first.subscribe(notes := Notes())
        camera.cut()
        await until(lambda: notes.lost)
        again = await pulls.open("c", camera.url)  # shares the attempt that is under way already
        assert again is not first
        assert camera.plays == 2
        again.subscribe(Notes())
        await asyncio.sleep(turns.FLAP_SECONDS + 0.5)
        assert reports.told == []


async def test_nobody_needs_to_ask_for_a_lost_camera_again(tmp_path: Path):
    reports = Reports()
    async with FakeCamera() as camera, processes(tmp_path, 1, linger_seconds=0.4, reports=reports) as (pulls,):
        await lose(camera, pulls)
        await until(lambda: reports.told)
        assert reports.told == [("lost", "c", "the camera cannot be understood: it does not speak RTSP")]
        await until(lambda: len(camera.requests) >= 4)
        camera.fault = ""
        await until(lambda: len(reports.told) > 1)
        assert reports.told[1:] == [("restored", "c")]
        assert camera.plays == 2
        await until(lambda: camera.ended == ["teardown"] and not pulls._cameras)  # it lingers as usual, and that is all
        await asyncio.sleep(0.3)
        assert camera.plays == 2


async def test_distances_between_attempts_grow(tmp_path: Path):
    async with FakeCamera() as camera, processes(tmp_path, 1) as (pulls,):
        times: list[float] = []
        await lose(camera, pulls)
        for count in range(1, 7):
            await until(lambda count=count: len(camera.requests) >= count)
            times.append(time.monotonic())
        apart = [later - sooner for sooner, later in pairwise(times[1:])]
        assert apart[0] > 0.15
        assert sorted(apart) == apart
        assert apart[-1] > 3 * apart[0]


@pytest.mark.parametrize("count", [1, 3])
async def test_a_first_open_that_fails_is_told_at_once_and_once(tmp_path: Path, count: int):
    reports = Reports()
    async with FakeCamera(fault="garbage") as camera, processes(tmp_path, count, reports=reports) as all_pulls:
        wall = [pulls.open("c", camera.url) for pulls in all_pulls for _ in range(16)]
        outcomes = await asyncio.gather(*wall, return_exceptions=True)
        assert {type(one) for one in outcomes} == {CameraOffline}
        assert {one.detail for one in outcomes} == {"the camera cannot be understood: it does not speak RTSP"}
        assert len(camera.requests) == 1
        assert len(reports.told) == 1
        before = time.monotonic()
        with pytest.raises(CameraOffline, match="does not speak RTSP"):  # by what was found a moment ago
            await all_pulls[-1].open("c", camera.url)
        assert time.monotonic() - before < turns.REFUSED_AGAIN_SECONDS
        await until(lambda: len(camera.requests) > 2)
        camera.fault = ""
        await until(lambda: len(reports.told) == 2)
        assert reports.told[1] == ("restored", "c")
        assert camera.plays == 1
        pull = await all_pulls[-1].open("c", camera.url)
        assert pull.gop
        assert camera.plays == 1


async def test_an_open_is_an_attempt_at_once(tmp_path: Path):
    reports = Reports()
    async with FakeCamera(fault="garbage") as camera, processes(tmp_path, 1, reports=reports) as (pulls,):
        with pytest.raises(CameraOffline):
            await pulls.open("c", camera.url)
        await until(lambda: len(camera.requests) == 5)  # the next comes in 1.5 s
        await asyncio.sleep(turns.REFUSED_AGAIN_SECONDS)
        camera.fault = ""
        async with asyncio.timeout(1):
            assert (await pulls.open("c", camera.url)).gop
        assert [what for what, *_ in reports.told] == ["lost", "restored"]


async def test_of_several_processes_one_tries(tmp_path: Path):
    """With three that want it, the camera is not asked more often than with one, and one of them tells."""
    reports = Reports()
    async with FakeCamera() as camera, processes(tmp_path, 3, reports=reports) as (one, two, three):
        for pulls in (two, three):
            await one.open("c", camera.url)
            (await pulls.open("c", camera.url)).subscribe(Notes())
        await lose(camera, one)
        await asyncio.sleep(2.2)  # attempts at about 0, 0.1, 0.3, 0.7, 1.5
        assert 4 <= len(camera.requests) <= 6
        assert [what for what, *_ in reports.told] == ["lost"]
        camera.fault = ""
        again = await asyncio.gather(*(pulls.open("c", camera.url) for pulls in (one, two, three)))
        assert sorted(type(pull).__name__ for pull in again) == ["CameraPull", "RelayedPull", "RelayedPull"]
        assert [what for what, *_ in reports.told] == ["lost", "restored"]
        assert camera.plays == 2


async def test_another_process_takes_over_trying_and_telling(tmp_path: Path):
    reports = Reports()
    async with FakeCamera() as camera, processes(tmp_path, reports=reports) as (one, two):
        await one.open("c", camera.url)
        (await two.open("c", camera.url)).subscribe(Notes())
        await lose(camera, one)
        await one.close()
        await until(lambda: reports.told)
        camera.fault = ""
        await until(lambda: len(reports.told) == 2)
        assert [what for what, *_ in reports.told] == ["lost", "restored"]


async def test_nothing_is_tried_for_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(watched_camera, "ASKED_SECONDS", 0.5)
    async with FakeCamera() as camera, processes(tmp_path, 1) as (pulls,):
        await lose(camera, pulls)
        await until(lambda: not pulls._cameras)
        count = len(camera.requests)
        assert 2 <= count <= 5
        await asyncio.sleep(1)
        assert len(camera.requests) == count


async def test_wrong_credentials_are_not_tried_again(tmp_path: Path):
    """Cameras lock accounts out."""
    reports = Reports()
    async with FakeCamera() as camera, processes(tmp_path, 1, reports=reports) as (pulls,):
        wrong = camera.url.replace("Pa55", "Pa56")
        for _ in range(3):
            with pytest.raises(CameraOffline, match="credentials"):
                await pulls.open("c", wrong)
        await until(lambda: not pulls._cameras)
        assert sum(one.startswith("DESCRIBE") for one in camera.requests) == 2
        assert len(reports.told) == 1
        await asyncio.sleep(turns.HOPELESS_AGAIN_SECONDS)
        await pulls.open("c", camera.url)
        assert [what for what, *_ in reports.told] == ["lost", "restored"]


async def test_a_camera_that_flaps_is_tried_later_and_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(watched_camera, "STEADY_SECONDS", 60)
    reports = Reports()
    async with FakeCamera() as camera, processes(tmp_path, 1, reports=reports) as (pulls,):
        (await pulls.open("c", camera.url)).subscribe(Notes())
        pauses = []
        for plays in range(2, 6):
            camera.cut()
            lost_at = time.monotonic()
            await until(lambda plays=plays: camera.plays == plays)
            pauses.append(time.monotonic() - lost_at)
            await until(pulls._cameras["c"]._pulling.done)
        assert pauses[0] < pauses[2] < pauses[3]
        assert pauses[3] > 0.3
        assert all(sooner[0] != later[0] for sooner, later in pairwise(reports.told))


async def test_an_unsafe_address_is_no_lost_camera(tmp_path: Path):
    reports = Reports()
    async with processes(tmp_path, 1, reports=reports) as (pulls,):
        for url in ("rtsp://10.0.0.1/live", "rtsp://metadata.invalid:22/", "concat:a|b"):
            with pytest.raises(UnsafeSource):
                await pulls.open("c", url)
        await until(lambda: not pulls._cameras)
        assert reports.told == []


@pytest.mark.parametrize("fault", ["silent", "garbage"])
async def test_closing_ends_all_attempts(tmp_path: Path, fault):
    async with FakeCamera() as camera, processes(tmp_path) as (one, two):
        known = set(children())
        await one.open("c", camera.url)
        (await two.open("c", camera.url)).subscribe(notes := Notes())
        camera.fault = fault
        camera.cut()
        await until(lambda: notes.lost)
        assert notes.lost[0].cause == Cause.CAMERA_LOST
        await until(lambda: len(camera.requests) > 3)
        async with asyncio.timeout(1):
            await one.close()
            await two.close()
        assert set(children()) <= known  # others' may have ended meanwhile
        assert _watching_tasks() == set()


async def test_who_cannot_be_told_harms_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    def fail(*_: str) -> None:
        raise RuntimeError("mine")

    async with FakeCamera(fault="garbage") as camera:
        pulls = Pulls(tmp_path, LOOPBACK, on_lost=fail, on_restored=fail)
        with pytest.raises(CameraOffline):
            await pulls.open("c", camera.url)
        camera.fault = ""
        await until(lambda: camera.plays)
        assert (await pulls.open("c", camera.url)).gop
        await pulls.close()
    assert caplog.text.count("could not be told") == 2


def test_a_standing_is_read_as_it_was_written(tmp_path: Path):
    turn = turns.take(tmp_path / "file")
    assert turn is not None
    assert turn.standing == Standing()
    assert turns.take(tmp_path / "file") is None
    for standing in (
        Standing(lost_at=1.5, told=True, tries=7, failed_at=2.5, reason="카" * 160, hopeless=True),
        Standing(reason="\x01" * 160),
        Standing(),
    ):
        turn.write(standing)
        assert turns.standing(tmp_path / "file") == standing
    turn.give_back()
    again = turns.take(tmp_path / "file")
    assert again is not None
    assert again.standing == Standing()
    again.give_back()
    for odd in (b"", b"{", b"[]", b'{"another": 1}', b"\xff"):
        (tmp_path / "file").write_bytes(odd)
        assert turns.standing(tmp_path / "file") == Standing()
    assert turns.standing(tmp_path / "none") == Standing()


def test_times_of_another_boot_are_long_ago():
    ahead = time.monotonic() + 1e6
    standing = Standing(lost_at=ahead, failed_at=ahead, tries=9)
    assert standing.is_to_be_told()
    assert not standing.refuses()
    assert standing.pause_seconds(0) <= 3
