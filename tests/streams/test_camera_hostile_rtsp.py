"""RTSP cameras that mean harm: what they send is bounded, in bytes and in work, and leads nowhere."""

import asyncio
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from app.errors import CameraOffline, CameraRefuses, UnsafeSource
from app.registry.addresses import networks_of, safe_source
from app.streams.embedded import connection
from app.streams.embedded.camera_pull import CameraPull
from app.streams.embedded.rtsp import BadRtsp, Inbound, authorization, video_track
from tests.streams.fake_camera import FakeCamera
from tests.streams.watching import Notes, children, memory_bytes, pull_of, until

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("silent", "does not answer in time"),
        ("slow_headers", "does not answer in time"),
        ("garbage", "does not speak RTSP"),
        ("endless_headers", "endless headers"),
        ("endless_body", "beyond all measure"),
    ],
)
async def test_what_never_comes_to_an_answer_is_bounded(fault, why: str):
    async with FakeCamera(fault=fault) as camera:
        known, before, pull = set(children()), memory_bytes(), pull_of(camera)
        with pytest.raises(CameraOffline, match=why):
            await pull.start(1)
        assert memory_bytes() - before < 8 << 20
        assert set(children()) <= known
        await until(lambda: not camera.connections)


async def test_more_than_any_camera_sends_is_cut_and_said():
    """Hundreds of Mbit/s: nothing piles up meanwhile."""
    async with FakeCamera() as camera:
        pull, notes = pull_of(camera), Notes()
        await pull.start()
        pull.subscribe(notes)
        before, most = memory_bytes(), 0
        notes.fragments = Nothing()
        camera.fault = "flood"
        while not notes.lost:
            await asyncio.sleep(0.05)
            most = max(most, memory_bytes() - before)
        assert notes.lost[0].detail == "the camera sends more than 80 Mbit/s"
        assert most < 64 << 20
        await pull.stop()
        await until(lambda: not camera.connections)


class Nothing(list):
    """Keeps nothing."""

    def append(self, _: object) -> None:
        pass


@pytest.mark.parametrize("fault", ["tiny_frames", "messages"])
async def test_more_pieces_than_any_video_has_are_cut_and_said(fault, monkeypatch: pytest.MonkeyPatch):
    """They are few bytes and much work: everybody else's pictures would wait for it."""
    monkeypatch.setattr(connection, "MAX_BITS_PER_SECOND", 10**12)
    async with FakeCamera() as camera:
        pull, notes = pull_of(camera), Notes()
        await pull.start()
        pull.subscribe(notes)
        camera.fault = fault
        await until(lambda: notes.lost)
        assert notes.lost[0].detail == "the camera sends more pieces than any video has"
        await pull.stop()


async def test_blank_lines_cost_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection, "MAX_BITS_PER_SECOND", 10**12)
    async with FakeCamera() as camera:
        pull, notes = pull_of(camera), Notes()
        await pull.start()
        pull.subscribe(notes)
        camera.fault = "blank_lines"
        await until(lambda: len(notes.fragments) > 20)
        assert notes.lost == []
        await pull.stop()


@pytest.mark.parametrize("status", ["elsewhere", "itself"])
async def test_a_redirect_is_never_followed(status: str):
    async with FakeCamera() as trap, FakeCamera(fault="redirect") as camera:
        camera.location = trap.url if status == "elsewhere" else camera.url
        with pytest.raises(CameraRefuses, match="answered 302 and leads elsewhere") as refused:
            await pull_of(camera).start()
        assert str(trap.port) not in refused.value.detail
        assert trap.requests == []
        assert len(camera.requests) == 1


async def test_a_name_that_changes_its_mind_gains_nothing(monkeypatch: pytest.MonkeyPatch):
    """It is asked once; the address that was checked is the one that is connected to (DNS rebinding)."""
    loop, answers, asked = asyncio.get_running_loop(), ["127.0.0.1", "127.0.0.2"], []

    async def getaddrinfo(host, port, **_: object):
        asked.append(host)
        return [(2, 1, 6, "", (answers[min(len(asked), len(answers)) - 1], port))]

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    async with FakeCamera() as camera, FakeCamera(host="127.0.0.2", port=camera.port) as trap:
        allowed = networks_of("127.0.0.1/32")
        source = safe_source(camera.url.replace("127.0.0.1", "camera.example"), allowed)
        pull = CameraPull(source, allowed)
        await pull.start()
        assert asked == ["camera.example"]
        assert (camera.plays, trap.requests) == (1, [])
        assert camera.requests[0].startswith("DESCRIBE rtsp://camera.example:")
        await pull.stop()
        with pytest.raises(UnsafeSource):  # by now it leads elsewhere
            await CameraPull(source, allowed).start()
        assert trap.requests == []
        answers[:] = ["10.1.2.3"]
        with pytest.raises(UnsafeSource):
            await CameraPull(source, ()).start()


TRICKS = [
    "concat:/etc/passwd|/etc/hostname",
    "file:///etc/passwd",
    "subfile,,start,0,end,9,,:/etc/passwd",
    "exec:sh$IFS-c$IFS'id'",
    "data:video/mp4;base64,AAAA",
    "-i",
    "http://127.0.0.2:1/",
    "rtsp://127.0.0.2:1/x",
    "../../../../etc/passwd",
]


@pytest.mark.parametrize("trick", TRICKS)
async def test_no_address_of_the_cameras_own_reaches_ffmpeg(trick: str):
    """Control and base addresses are told back to the camera and to nobody else."""
    async with FakeCamera(auth="", control=trick, content_base=f"rtsp://{trick}/", location=trick) as camera:
        known, pull = set(children()), pull_of(camera)
        await pull.start()
        (process,) = set(children()) - known
        command = Path(f"/proc/{process}/cmdline").read_bytes().decode().split("\0")
        inputs = [after for option, after in pairwise(command) if option == "-i"]
        assert inputs == [pull._door.url]
        assert pull._door.url.startswith("rtsp://127.0.0.1:")
        assert command[command.index("-protocol_whitelist") + 1] == "tcp"
        assert not any(trick in word for word in command if word not in {"-i", trick})
        assert trick.encode() not in pull._door._track.sdp
        setup = next(one for one in camera.requests if one.startswith("SETUP"))
        assert trick in setup
        await pull.stop()


def seconds(of, *arguments: object) -> float:
    began = time.perf_counter()
    with suppress(BadRtsp):
        of(*arguments)
    return time.perf_counter() - began


def sdp(*lines: str) -> bytes:
    return "\r\n".join(["v=0", "m=video 0 RTP/AVP 96", "a=rtpmap:96 H264/90000", *lines, ""]).encode("latin-1")


HARMLESS = sdp("a=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z0LADA==,aM4PyA==", "a=control:x", "a=y" * 20_000)


@pytest.mark.parametrize(
    "description",
    [
        sdp("a=fmtp:96" + " " * 60_000 + "é"),
        sdp("a=fmtp:96 " + "a" * 60_000 + "é"),
        sdp("a=fmtp:96 " + "a=fmtp:96 é\r\n" * 5000),
        b"m=video 0 RTP/AVP " + b" ".join(b"%d" % i for i in range(12_000)),
        b"".join(b"m=video 0 RTP/AVP %d\r\n" % i for i in range(2500)),
        b"m=\n" * 20_000,
        b"m=video 0 RTP/AVP 96\r\na=rtpmap:96 " + b" " * 60_000 + b"/90000",
        b"m=video 0 RTP/AVP 96\r\na=rtpmap:96 " + b"a" * 60_000,
        sdp("a=control:" + "!" * 60_000),
    ],
)
def test_a_description_cannot_be_made_to_cost_much(description: bytes):
    assert len(description) < 64 * 1024
    floor = min(seconds(video_track, HARMLESS, "rtsp://c/") for _ in range(5))
    assert min(seconds(video_track, description, "rtsp://c/") for _ in range(3)) < 100 * floor


@pytest.mark.parametrize("payload", ["²", "9" * 5000, "", "-1", "٣"])
def test_odd_numbers_of_formats_are_no_format(payload: str):
    description = f"m=video 0 RTP/AVP {payload}\r\na=rtpmap:{payload} H264/90000\r\n".encode("latin-1", "replace")
    with pytest.raises(BadRtsp):
        video_track(description, "rtsp://c/")


@pytest.mark.parametrize("challenge", ["a" * 16_000, "a=" * 8000, 'a="' * 5000, 'a="\\"' * 4000, "a" + " " * 16_000])
def test_a_challenge_cannot_be_made_to_cost_much(challenge: str):
    harmless = ['Digest realm="camera", nonce="1234", qop="auth"']
    floor = min(seconds(authorization, harmless, "GET", "/", "u", "p", 1) for _ in range(5))
    took = min(seconds(authorization, [f"Digest {challenge}"] * 50, "GET", "/", "u", "p", 1) for _ in range(3))
    assert took < 300 * floor


def test_pieces_are_counted():
    inbound = Inbound({9: 0})
    frame = b"$\x09\0\1x"
    assert b"".join(inbound.feed(frame * 7)) == b"$\0\0\1x" * 7
    assert inbound.pieces == 7
    list(inbound.feed(b"\r\n" * 50 + b"RTSP/1.0 200 OK\r\n\r\n"))
    assert inbound.pieces == 7 + 1 + 100
    for sooner, later in pairwise((1, 2, 4)):
        assert list(inbound.feed(frame * sooner)) != list(inbound.feed(frame * later))
