"""One pull of one camera: real ffmpeg, a camera that demands credentials and offers sound, and cameras that misbehave."""

import asyncio
import logging
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from app.errors import CameraOffline, UnsafeSource
from app.registry.addresses import safe_source
from app.streams.embedded import connection, rtsp_proxy
from app.streams.embedded import pull as pull_module
from app.streams.embedded.boxes import Fragment
from app.streams.embedded.camera_pull import CameraPull
from app.streams.embedded.pull import START_SECONDS, Cause, Lost
from tests.streams.fake_camera import GOP_FRAMES, FakeCamera
from tests.streams.watching import LOOPBACK, Notes, alive, children, decoded, hand_pull, joined, pull_of, until


@pytest.mark.parametrize("auth", ["digest", "digest-sha256", "digest-plain", "basic", ""])
async def test_cameras_of_all_credentials_play(auth):
    async with FakeCamera(auth=auth) as camera:
        pull = pull_of(camera)
        await pull.start()
        assert pull.init is not None
        assert (pull.init.width, pull.init.height) == (320, 180)
        assert pull.gop[0].starts_with_key_frame
        await pull.stop()
        await until(lambda: camera.ended)


async def test_pulled_once_and_written_to_all():
    """Three listeners, one of them late: the same fragments, a key frame first, no sound, one camera session."""
    async with FakeCamera() as camera:
        pull = pull_of(camera)
        await pull.start()
        early, also, late = Notes(), Notes(), Notes()
        pull.subscribe(early)
        pull.subscribe(also)
        await until(lambda: len(early.fragments) > GOP_FRAMES + 4)
        before = list(pull.gop)
        pull.subscribe(late)
        await until(lambda: len(late.fragments) > 5)
        assert camera.plays == 1
        assert [id(one) for one in early.fragments] == [id(one) for one in also.fragments]
        assert late.fragments == early.fragments[-len(late.fragments) :]
        assert before[0].starts_with_key_frame
        assert before[-1] is early.fragments[-len(late.fragments) - 1]
        frames = decoded(joined(pull, before + late.fragments))  # asserts that the video is the only track
        assert len(frames) == len(before) + len(late.fragments)
        times = [one.decode_time for one in before + late.fragments]
        assert times == list(range(times[0], times[-1] + 1, 6000))
        assert not any("trackID=2" in request for request in camera.requests)
        pull.unsubscribe(also)
        count = len(also.fragments)
        await until(lambda: len(late.fragments) > 10)
        assert len(also.fragments) == count
        await pull.stop()
        assert [one.lost[0].cause for one in (early, late)] == [Cause.STOPPED] * 2
        assert also.lost == []


async def test_no_child_holds_the_credentials_or_our_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GWANJE_DATABASE_URL", "postgresql://gwanje:canary-db@127.0.0.1/x")
    async with FakeCamera(password="canary-cam") as camera:
        pull = pull_of(camera)
        known = set(children())
        await pull.start()
        (process,) = set(children()) - known
        said = Path(f"/proc/{process}/cmdline").read_bytes() + Path(f"/proc/{process}/environ").read_bytes()
        assert b"rtsp://127.0.0.1:" in said  # it is ffmpeg, and this is where it would show
        for secret in (b"canary", b"viewer", str(camera.port).encode(), b"media/live"):
            assert secret not in said
        await pull.stop()
        assert not alive(process)


async def test_the_door_lets_one_guest_in_who_knows_the_token():
    async with FakeCamera() as camera:
        pull = pull_of(camera)
        await pull.start()
        assert pull._door is not None
        port = int(pull._door.url.split(":")[2].partition("/")[0])
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        await pull.stop()
        url = await (door := rtsp_proxy.Door(pull._camera, pull._camera.track)).open()
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.split(":")[2].partition("/")[0]))
        writer.write(b"DESCRIBE rtsp://127.0.0.1/guess RTSP/1.0\r\nCSeq: 1\r\n\r\n")
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
        door.close()


async def test_the_session_is_kept_alive_and_said_goodbye():
    async with FakeCamera() as camera:  # its sessions end after 2 s
        pull = pull_of(camera)
        await pull.start()
        camera.nonce = "another"  # a nonce does not live as long as a view
        await until(lambda: sum(one.startswith("GET_PARAMETER") for one in camera.requests) >= 2)
        await pull.stop()
        await until(lambda: camera.ended == ["teardown"] and not camera.connections)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("silent", "does not answer in time"),
        ("garbage", "does not speak RTSP"),
        ("endless_headers", "endless headers"),
        ("endless_body", "beyond all measure"),
        ("redirect", "answered 302"),
        ("no_picture", "sends no key frame"),
        ("mjpeg", "payload type 26"),
    ],
)
async def test_a_camera_that_does_not_play_is_said_so(fault, why: str):
    assert START_SECONDS < 10
    async with FakeCamera(fault=fault) as camera:
        known, pull = set(children()), pull_of(camera)
        with pytest.raises(CameraOffline, match=why) as refused:
            await pull.start(1.5)
        assert camera.password not in refused.value.detail
        await pull.stop()
        assert set(children()) <= known
        assert pull.lost is not None
        await until(lambda: not camera.connections)


async def test_a_camera_that_is_not_there_or_not_ours():
    async with FakeCamera() as camera:
        wrong = CameraPull(safe_source(camera.url.replace("Pa55", "Pa56"), LOOPBACK), LOOPBACK)
        with pytest.raises(CameraOffline, match="credentials"):
            await wrong.start()
        assert sum(one.startswith("DESCRIBE") for one in camera.requests) == 2  # cameras lock accounts out
        inside = CameraPull(safe_source(camera.url.replace("127.0.0.1", "localhost"), ()), ())
        with pytest.raises(UnsafeSource):
            await inside.start()
    known, pull = set(children()), pull_of(camera)
    with pytest.raises(CameraOffline, match="refuses the connection"):
        await pull.start()
    assert set(children()) <= known


async def test_a_camera_without_parameter_sets_in_its_description():
    async with FakeCamera(fault="no_sprop") as camera:
        pull = pull_of(camera)
        await pull.start()
        assert decoded(joined(pull, pull.gop))
        await pull.stop()


async def test_listeners_are_told_when_the_camera_is_lost():
    async with FakeCamera() as camera:
        pull, notes, ended = pull_of(camera), Notes(), []
        pull.on_end = lambda: ended.append(True)
        before = set(children())
        await pull.start()
        pull.subscribe(notes)
        (process,) = [pid for pid in set(children()) - before if b"ffmpeg" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        camera.cut()
        await until(lambda: notes.lost, 2)
        assert notes.lost == [Lost(Cause.CAMERA_LOST, "the camera closed the connection")]
        assert ended == [True]
        await pull.stop()
        assert not alive(process)
        pull.subscribe(late := Notes())
        assert late.lost == notes.lost


async def test_a_camera_that_falls_silent_is_lost(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pull_module, "STALL_SECONDS", 0.8)
    async with FakeCamera() as camera:
        pull, notes = pull_of(camera), Notes()
        await pull.start()
        pull.subscribe(notes)
        camera.fault = "no_picture"
        await until(lambda: notes.lost)
        assert "sent no picture" in notes.lost[0].detail
        await pull.stop()


async def test_a_flood_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection, "MAX_BITS_PER_SECOND", 8_000_000)
    async with FakeCamera() as camera:
        pull, notes = pull_of(camera), Notes()
        await pull.start()
        pull.subscribe(notes)
        camera.fault = "flood"
        await until(lambda: notes.lost)
        assert "more than 8 Mbit/s" in notes.lost[0].detail
        await pull.stop()


async def test_ffmpeg_killed_is_told_without_addresses(caplog: pytest.LogCaptureFixture):
    async with FakeCamera() as camera:
        known, pull, notes = set(children()), pull_of(camera), Notes()
        await pull.start()
        pull.subscribe(notes)
        (process,) = set(children()) - known
        with caplog.at_level(logging.WARNING):
            pull._said = b"Error opening rtsp://127.0.0.1:1/secret-token: x"
            assert pull._process is not None
            pull._process.kill()
            await until(lambda: notes.lost)
        assert notes.lost[0].cause == Cause.CAMERA_LOST
        assert "(address)" in caplog.records[-1].said
        assert "secret-token" not in caplog.records[-1].said
        assert not alive(process)


async def test_an_ffmpeg_that_hangs_is_ended():
    async with FakeCamera() as camera:
        known, pull = set(children()), pull_of(camera)
        await pull.start()
        (process,) = set(children()) - known
        os.kill(process, signal.SIGSTOP)
        try:
            await asyncio.wait_for(pull.stop(), 3)
            assert not alive(process)
        finally:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


async def test_the_last_listener_gone_the_pull_lingers_then_ends():
    async with FakeCamera() as camera:
        pull, notes = pull_of(camera, linger_seconds=0.3), Notes()
        await pull.start()
        pull.subscribe(notes)
        await asyncio.sleep(0.6)
        pull.unsubscribe(notes)
        pull.subscribe(notes)
        await asyncio.sleep(0.6)
        assert pull.lost is None
        pull.unsubscribe(notes)
        left_at = time.monotonic()
        await until(lambda: pull.lost)
        assert time.monotonic() - left_at > 0.25
        assert notes.lost == []
        await until(lambda: camera.ended and not camera.connections)
        await pull.stop()


async def test_a_gop_that_never_ends_is_not_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pull_module, "MAX_GOP_BYTES", 1000)
    pull, notes = await hand_pull(), Notes()
    pull.subscribe(notes)
    for at in range(100, 20_000, 100):
        pull.give(at, False)
        assert sum(len(one.data) for one in pull.gop) <= 1000
    assert pull.gop == []
    assert len(notes.fragments) == 199
    pull.give(20_000, True)
    assert [one.decode_time for one in pull.gop] == [20_000]
    await pull.stop()


async def test_segments_are_numbered_by_key_frames_at_least_a_second_and_a_half_apart():
    pull, numbers = await hand_pull(), []
    for at in range(0, 6000, 500):
        pull.give(at, at % 1000 == 0)
        numbers.append(pull.segment - numbers[0] if numbers else pull.segment)
    assert numbers[1:] == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    assert abs(numbers[0] - time.time()) < 60
    await pull.stop()


async def test_one_failing_listener_harms_nobody(caplog: pytest.LogCaptureFixture):
    class Failing(Notes):
        def on_fragment(self, fragment: Fragment) -> None:
            super().on_fragment(fragment)
            raise RuntimeError("mine")

    pull, failing, notes = await hand_pull(), Failing(), Notes()
    pull.subscribe(failing)
    pull.subscribe(notes)
    pull.give(100, False)
    pull.give(200, False)
    assert (len(failing.fragments), len(notes.fragments)) == (1, 2)
    assert "a listener failed" in caplog.text
    await pull.stop()


async def test_a_jump_of_the_cameras_clock_ends_the_pull():
    pull, notes = await hand_pull(), Notes()
    pull.subscribe(notes)
    pull.give(100, False, duration=3_600_000)
    assert "clock" in notes.lost[0].detail
    assert notes.fragments == []


async def test_the_rate_is_measured_of_the_last_seconds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pull_module, "_RATE_SECONDS", 0.3)
    monkeypatch.setattr(pull_module, "_BURST_SECONDS", 0.2)
    pull = await hand_pull()
    assert pull.kbps == 0
    pull.give(1, True, size=10_000_000)  # what a relay is given at once to begin with
    began, given = time.monotonic(), 0
    while time.monotonic() - began < 1:
        pull.give(given + 2, False, size=5000)
        given += 1
        await asyncio.sleep(0.02)
    expected = given * 5000 * 8 / 1000 / (time.monotonic() - began)
    assert 0.6 * expected < pull.kbps < 1.6 * expected
    await pull.stop()
