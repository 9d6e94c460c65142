"""Cameras over http:// and https://: MPEG-TS, MP4 and MJPEG, with credentials and a city's own authority."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from app.errors import CameraOffline, CameraRefuses, GatewayUnavailable
from app.registry.addresses import safe_source
from app.streams.embedded import camera_pull, motion_jpeg
from app.streams.embedded.camera_pull import CameraPull
from app.streams.embedded.pull import Cause
from app.streams.embedded.transport_stream import TransportStream
from tests.streams.authority import Authority
from tests.streams.fake_camera import FakeCamera
from tests.streams.fake_http_camera import FakeHttpCamera
from tests.streams.film import file, jpegs
from tests.streams.watching import LOOPBACK, Notes, alive, children, decoded, joined, pull_of, until

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("shows", "codec"), [("mpegts", "h264"), ("mpegts", "h265"), ("mp4", "h264"), ("mp4", "h265")])
async def test_video_is_copied_without_its_sound(shows, codec, chunked: bool):
    async with FakeHttpCamera(shows=shows, codec=codec, chunked=chunked) as camera:
        pull = pull_of(camera)
        await pull.start()
        pull.subscribe(notes := Notes())
        before = list(pull.gop)
        await until(lambda: len(notes.fragments) > 25)
        assert pull.init is not None
        assert (pull.init.width, pull.init.height) == (320, 180)
        assert pull.init.codec.startswith("hvc1.1.6.L" if codec == "h265" else "avc1.42c0")
        assert before[0].starts_with_key_frame
        frames = decoded(joined(pull, before + notes.fragments))  # asserts that the video is the only track
        assert len(frames) == len(before + notes.fragments)
        assert camera.plays == 1
        await pull.stop()
        await until(lambda: not camera.connections)


@pytest.mark.parametrize("lengths", [False, True])
async def test_motion_jpeg_is_encoded_anew_within_bounds(lengths: bool):
    async with FakeHttpCamera(shows="mjpeg", size="1920x1080", lengths=lengths) as camera:
        known, pull = set(children()), pull_of(camera)
        await pull.start()
        (process,) = set(children()) - known
        assert os.getpriority(os.PRIO_PROCESS, process) == 10
        pull.subscribe(notes := Notes())
        began = asyncio.get_running_loop().time()
        await until(lambda: len(notes.fragments) > 24)
        took = asyncio.get_running_loop().time() - began
        assert len(notes.fragments) / took < 13  # of fifteen a second that come
        assert pull.init is not None
        assert (pull.init.width, pull.init.height) == (1280, 720)
        assert pull.init.codec.startswith("avc1.")
        assert any(one.starts_with_key_frame for one in notes.fragments)  # every two seconds
        first = next(i for i, one in enumerate(notes.fragments) if one.starts_with_key_frame)
        assert len(decoded(joined(pull, notes.fragments[first:]))) == len(notes.fragments) - first
        await pull.stop()
        assert not alive(process)
        assert CameraPull.transcoding == set()


async def test_only_so_many_are_encoded_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(camera_pull, "MOST_TRANSCODED", 1)
    async with FakeHttpCamera(shows="mjpeg") as camera:
        pull, next_one = pull_of(camera), pull_of(camera)
        await pull.start()
        with pytest.raises(GatewayUnavailable):
            await next_one.start()
        await pull.stop()
        await (after := pull_of(camera)).start()
        await after.stop()


@pytest.mark.parametrize("shows", ["mpegts", "mp4", "mjpeg"])
async def test_under_the_event_loop_that_production_uses(tmp_path: Path, shows):
    async with FakeHttpCamera(shows=shows) as camera:
        puller = await asyncio.create_subprocess_exec(
            *(sys.executable, str(Path(__file__).with_name("puller.py")), str(tmp_path), camera.url),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert await puller.stdout.readline() == b"CameraPull\n"
        (process,) = children(puller.pid)
        await asyncio.sleep(1)
        puller.stdin.write(b"\n")
        assert int(await puller.stdout.readline()) > 5
        assert await puller.wait() == 0
        assert not alive(process)


@pytest.mark.parametrize("kind", [FakeCamera, FakeHttpCamera])
async def test_ffmpeg_has_little_memory_and_can_write_no_file(kind):
    async with kind() as camera:
        known, pull = set(children()), pull_of(camera)
        await pull.start()
        (process,) = set(children()) - known
        limits = {
            line[:26].strip(): line[26:].split()[:2]
            for line in Path(f"/proc/{process}/limits").read_text().splitlines()
        }
        assert limits["Max address space"] == [str(1 << 30)] * 2
        assert limits["Max file size"] == ["0", "0"]
        assert limits["Max core file size"] == ["0", "0"]
        await pull.stop()


@pytest.mark.parametrize("auth", ["", "basic", "digest", "digest-sha256", "digest-plain"])
async def test_credentials_are_told_to_who_asks_and_in_no_other_way(auth):
    async with FakeHttpCamera(auth=auth) as camera:
        pull = pull_of(camera)
        await pull.start()
        (first, headers), *more = camera.requests
        assert first == "GET /video.cgi?channel=1 HTTP/1.1"
        assert headers["host"] == f"127.0.0.1:{camera.port}"
        assert "authorization" not in headers
        assert len(more) == (1 if auth else 0)
        await pull.stop()


async def test_wrong_credentials_are_tried_once():
    async with FakeHttpCamera() as camera:
        wrong = safe_source(camera.url.replace("Pa55", "Pa56"), LOOPBACK)
        with pytest.raises(CameraRefuses, match="credentials"):
            await CameraPull(wrong, LOOPBACK).start()
        assert len(camera.requests) == 2
        nobody = safe_source(f"http://127.0.0.1:{camera.port}/video.cgi", LOOPBACK)
        with pytest.raises(CameraRefuses, match="credentials"):
            await CameraPull(nobody, LOOPBACK).start()


@pytest.mark.parametrize(("path", "target"), [("", "/"), ("?a=1", "/?a=1"), ("/a%20b?c=%2F", "/a%20b?c=%2F")])
async def test_the_path_is_asked_for_as_it_is_registered(path: str, target: str):
    async with FakeHttpCamera(path=path, auth="") as camera:
        await (pull := pull_of(camera)).start()
        assert camera.requests[0][0] == f"GET {target} HTTP/1.1"
        await pull.stop()


async def test_the_end_of_the_video_is_the_end_of_the_pull():
    async with FakeHttpCamera() as camera:
        known, pull = set(children()), pull_of(camera)
        await pull.start()
        pull.subscribe(notes := Notes())
        camera.cut()
        await until(lambda: notes.lost, 2)
        assert notes.lost[0].cause == Cause.CAMERA_LOST
        await pull.stop()
        assert set(children()) <= known


async def test_pictures_are_dropped_and_video_is_waited_for_while_ffmpeg_is_busy():
    async with FakeHttpCamera(shows="mjpeg", size="1920x1080") as camera:
        pull = pull_of(camera)
        await pull.start()
        pull.subscribe(notes := Notes())
        pull.pause_writing()
        await asyncio.sleep(0.5)
        count = len(notes.fragments)
        await asyncio.sleep(0.5)
        assert len(notes.fragments) == count
        pull.resume_writing()
        await until(lambda: len(notes.fragments) > count + 3)
        await pull.stop()
    async with FakeHttpCamera() as camera:
        pull = pull_of(camera)
        await pull.start()
        pull.pause_writing()
        assert not pull._camera._answer._transport.is_reading()
        pull.resume_writing()
        assert pull._camera._answer._transport.is_reading()
        await pull.stop()


@pytest.mark.parametrize("kind", [FakeCamera, FakeHttpCamera])
async def test_an_authority_of_the_citys_own_is_trusted_where_it_is_named(tmp_path: Path, kind):
    authority, other = Authority(tmp_path / "city"), Authority(tmp_path / "other")
    async with kind(tls=authority.server()) as camera:
        for untrusted in (None, other.file):
            with pytest.raises(CameraOffline, match="certificate is not trusted"):
                await CameraPull(safe_source(camera.url, LOOPBACK), LOOPBACK, ca_file=untrusted).start()
        with pytest.raises(CameraOffline, match="GWANJE_CAMERA_CA_FILE cannot be read"):
            await CameraPull(safe_source(camera.url, LOOPBACK), LOOPBACK, ca_file=tmp_path / "none").start()
        assert camera.requests == []
        pull = CameraPull(safe_source(camera.url, LOOPBACK), LOOPBACK, ca_file=authority.file)
        await pull.start()
        assert decoded(joined(pull, pull.gop))
        await pull.stop()
        await until(lambda: not camera.connections)
    async with kind(tls=authority.server("camera.example")) as camera:
        with pytest.raises(CameraOffline, match="certificate is not trusted"):  # it is another camera's
            await CameraPull(safe_source(camera.url, LOOPBACK), LOOPBACK, ca_file=authority.file).start()


@pytest.mark.parametrize("kind", [FakeCamera, FakeHttpCamera])
async def test_a_certificate_is_for_the_name_that_is_registered(tmp_path: Path, kind, monkeypatch: pytest.MonkeyPatch):
    async def getaddrinfo(host, port, **_: object):
        return [(2, 1, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    authority, names = Authority(tmp_path), []
    server = authority.server("camera.example")
    server.sni_callback = lambda _socket, name, _context: names.append(name)
    async with kind(tls=server) as camera:
        source = safe_source(camera.url.replace("127.0.0.1", "camera.example"), LOOPBACK)
        pull = CameraPull(source, LOOPBACK, ca_file=authority.file)
        await pull.start()
        assert set(names) == {"camera.example"}
        await pull.stop()


def cuts(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 187, 1000, 100_000])
async def test_pictures_come_out_whole_in_any_cutting(monkeypatch: pytest.MonkeyPatch, size: int):
    monkeypatch.setattr(motion_jpeg, "PICTURES_PER_SECOND", 1e9)
    pictures = jpegs(count=30)[:3]
    for head in ("", "Content-Length: {}\r\n"):
        body = b"preamble\r\n" + b"".join(
            b"--frame\r\nContent-Type: image/jpeg\r\n%s\r\n%s\r\n" % (head.format(len(one)).encode(), one)
            for one in pictures
        )
        container = motion_jpeg.MotionJpeg(b"frame")
        out = b"".join(container.feed(piece) for piece in cuts(body + b"--frame--\r\n", size))
        parts = out.split(b"--gwanje\r\n")[1:]
        assert [part.partition(b"\r\n\r\n")[2].rstrip(b"\r\n") for part in parts] == [
            p.rstrip(b"\r\n") for p in pictures
        ]


@pytest.mark.parametrize("size", [1, 188, 1316, 100_000])
async def test_a_transport_stream_begins_with_a_key_frame_and_holds_the_video_alone(size: int):
    data = file("mpegts")
    one, other = TransportStream(), TransportStream()
    whole = one.feed(data[100_001:])
    assert b"".join(other.feed(piece) for piece in cuts(data[100_001:], size)) == whole
    packets = cuts(whole, 188)
    pids = [(packet[1] & 31) << 8 | packet[2] for packet in packets]
    assert set(pids) == {0, 0x1000, 0x100}  # the sound is 0x101
    assert pids[:3] == [0, 0x1000, 0x100]
    assert b"\0\0\1\x67" in packets[2]
    assert len(whole) > 100_000
