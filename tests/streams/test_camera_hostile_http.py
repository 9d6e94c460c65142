"""HTTP cameras that mean harm: playlists, redirects, bodies without end; nothing is followed, nothing piles up."""

import asyncio
import re
import struct
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from app.errors import CameraOffline, CameraRefuses
from app.registry.addresses import networks_of, safe_source
from app.streams.embedded import connection
from app.streams.embedded.camera_pull import CameraPull, ffmpeg
from app.streams.embedded.containers import container_of
from app.streams.embedded.http_camera import HttpCamera
from app.streams.embedded.motion_jpeg import MotionJpeg, check
from app.streams.embedded.not_video import NotVideo
from app.streams.embedded.transport_stream import TransportStream
from tests.streams.fake_http_camera import FakeHttpCamera
from tests.streams.film import file, jpegs
from tests.streams.watching import Notes, children, memory_bytes, pull_of, until

pytestmark = pytest.mark.slow

OK = b"HTTP/1.1 200 OK\r\n"
TS = OK + b"Content-Type: video/mp2t\r\n"
PARTS = OK + b"Content-Type: multipart/x-mixed-replace; boundary=b\r\n\r\n"


async def refused(camera: FakeHttpCamera, within_seconds: float = 5) -> str:
    """Why a camera is not shown; nothing of the attempt is left."""
    known, before, pull = set(children()), memory_bytes(), pull_of(camera)
    with pytest.raises(CameraOffline) as raised:
        await pull.start(within_seconds)
    assert memory_bytes() - before < 32 << 20
    assert set(children()) <= known
    await until(lambda: not camera.connections)
    assert camera.password not in raised.value.detail
    return str(raised.value.detail)


@pytest.mark.parametrize(
    ("answer", "torrent", "why"),
    [
        (b"", b"", "in time"),
        (b"\x16\x03\x01 garbage\r\n\r\n", b"", "does not speak HTTP"),
        (b"RTSP/1.0 200 OK\r\n\r\n", b"", "does not speak HTTP"),
        (OK, b"X-Padding: " + b"x" * 1000 + b"\r\n", "endless headers"),
        (b"HTTP/1.1 200 ", b"O", "endless headers"),
        (b"", b"HTTP/1.1 102 Processing\r\n\r\n", "never comes to its answer"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 1000, "does not speak HTTP"),
        (TS + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nG\r\n" * 5000, "more pieces"),
        (TS + b"Content-Length: 10000000000\r\n\r\n", b"\0" * 65536, "neither MPEG-TS nor MP4"),
        (TS + b"Content-Length: 10000000000\r\n\r\n", (b"G" + bytes(187)) * 300, "more than 8 Mbit/s"),
        (TS + b"Content-Length: 0\r\n\r\n", b"", "ended its video"),
        (TS + b"\r\n", b"", "closed the connection|ended its video"),
        (TS + b"Content-Encoding: gzip\r\n\r\n", b"\x1f\x8b", "compressed"),
        (OK + b"Content-Type: text/html\r\n\r\n<html>", b"", "a web page is not a camera"),
        (OK + b"Content-Type: video/mp4\r\n\r\n\r\n <!DOCTYPE html>", b"", "a web page is not a camera"),
        (OK + b"Content-Type: image/jpeg\r\n\r\n\xff\xd8", b"", "a single picture"),
        (OK + b"\r\n\xff\xd8\xff\xe0", b"", "a single picture"),
        (OK + b"Content-Type: audio/mpeg\r\n\r\nID3", b"", "sound is not video"),
        (OK + b"Content-Type: multipart/x-mixed-replace\r\n\r\n", b"x", "no boundary"),
        (PARTS, b"x" * 1000, "do not follow each other"),
        (PARTS + b"--b\r\nContent-Type: text/plain\r\n\r\n", b"x", "no JPEG"),
        (PARTS + b"--b\r\nContent-Length: 10000000000\r\n\r\n", b"x", "larger than 4 MiB"),
        (PARTS + b"--b\r\nContent-Length: 000000000010000000000\r\n\r\n", b"x", "larger than 4 MiB"),
        (PARTS + b"--b\r\nContent-Length: 999999999\r\n\r\n", b"x", "larger than 4 MiB"),
        (PARTS + b"--b\r\n\r\n", b"x" * 65536, "larger than 4 MiB|more than 8 Mbit/s"),
        (PARTS, b"--b\r\nContent-Length: 1\r\n\r\nx" * 3000, "no JPEG|more pictures"),
        (PARTS, b"--b\r\nContent-Length: 0\r\n\r\n" * 3000, "more pictures"),
        (OK + b"\r\n" + struct.pack(">I4s", 1 << 30, b"ftyp"), b"x" * 1000, "beyond all measure"),
        (OK + b"\r\n" + struct.pack(">I4s4sI4s", 12, b"ftyp", b"isom", 1 << 30, b"moov"), b"x", "beyond all measure"),
        (OK + b"\r\n" + struct.pack(">I4s4sI4s", 12, b"ftyp", b"isom", 1 << 30, b"mdat"), b"x", "does not come first"),
        (OK + b"\r\n" + struct.pack(">I4s4s", 12, b"ftyp", b"isom"), struct.pack(">I4s", 8, b"free") * 999, "beyond all"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", b"", "answered 404"),
        (b"HTTP/1.1 500 concat:/etc/passwd\r\n\r\n", b"", "answered 500"),
    ],
)  # fmt: skip
async def test_what_is_no_video_is_said_to_be_so(answer: bytes, torrent: bytes, why: str, monkeypatch):
    monkeypatch.setattr(connection, "MAX_BITS_PER_SECOND", 8_000_000)
    in_time = why != "in time"
    async with FakeHttpCamera(answer=answer, torrent=torrent, pause_seconds=0 if in_time else 1) as camera:
        if not in_time:
            camera.torrent, camera.answer = b"H", b""  # a byte a second
        said = await refused(camera, 5 if in_time else 1)
        assert re.search(why, said), said


async def test_more_than_any_camera_sends_is_cut_and_said():
    """Hundreds of Mbit/s of well-made packets: nothing piles up meanwhile, here or in ffmpeg."""
    async with FakeHttpCamera() as camera:
        known, pull = set(children()), pull_of(camera)
        await pull.start()
        (process,) = set(children()) - known
        pull.subscribe(notes := Notes())
        before, most, most_of_ffmpeg = memory_bytes(), 0, 0
        data = pull._camera._answer
        sending = file("mpegts") * 4
        while not notes.lost:
            data.data_received(sending[: 256 * 1024])  # as if it had been read from the socket
            most = max(most, memory_bytes() - before)
            with suppress(FileNotFoundError):  # by now it may be gone
                most_of_ffmpeg = max(most_of_ffmpeg, memory_bytes(process))
            await asyncio.sleep(0.01)
        assert notes.lost[0].detail == "the camera sends more than 80 Mbit/s"
        assert most < 64 << 20
        assert most_of_ffmpeg < 256 << 20
        await pull.stop()


PLAYLISTS = [
    "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{}\n",
    "\ufeff#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{}\n",
    "\n\n  #extm3u\n" + "{}\n" * 5000,
    "ffconcat version 1.0\nfile '{}'\n",
    "<?xml version='1.0'?><MPD><BaseURL>{}</BaseURL></MPD>",
    "<MPD><BaseURL>{}</BaseURL></MPD>",
    "[playlist]\nFile1={}\n",
]


@pytest.mark.parametrize(
    "kind", ["", "application/vnd.apple.mpegurl", "audio/x-mpegurl", "application/dash+xml", "video/mp4"]
)
@pytest.mark.parametrize("playlist", PLAYLISTS)
async def test_a_playlist_is_not_a_camera(playlist: str, kind: str):
    """Neither what it names nor what is nested in it is fetched: by us, or by ffmpeg."""
    async with FakeHttpCamera() as trap, FakeHttpCamera() as camera:
        for named in (trap.url, "file:///etc/passwd", f"concat:{trap.url}|file:/etc/passwd"):
            camera.answer = OK + f"Content-Type: {kind}\r\n\r\n".encode() + playlist.format(*[named] * 5000).encode()
            assert "a playlist is not a camera" in await refused(camera)
        assert trap.requests == []


@pytest.mark.parametrize("begun", [file("mpegts")[:376_000], file("mp4")[:100_000], b""])
@pytest.mark.parametrize("demuxer", ["mpegts", "mov", "mpjpeg"])
def test_ffmpeg_itself_opens_nothing_but_its_input(demuxer: str, begun: bytes, tmp_path: Path):
    """Were a playlist to get that far: as it runs for us it knows no protocol but the pipe."""
    canary = tmp_path / "canary.ts"
    canary.write_bytes(file("mpegts"))
    for playlist in (f"#EXTM3U\n#EXTINF:2,\n{canary}\n", f"ffconcat version 1.0\nfile '{canary}'\n"):
        for forced in (["-f", demuxer], []):  # the second as if we had let it guess
            run = subprocess.run(
                [ffmpeg(), "-v", "error", "-protocol_whitelist", "pipe", *forced, "-i", "pipe:0", "-c", "copy", "-f", "null", "-"],
                input=playlist.encode(), capture_output=True, timeout=15, check=False,
            )  # fmt: skip
            assert run.returncode != 0
    assert subprocess.run(
        [ffmpeg(), "-v", "error", "-i", str(canary), "-f", "null", "-"], check=True, capture_output=True
    )


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("where", ["elsewhere", "itself", "file:///etc/passwd", "concat:a|b", "rtsp://127.0.0.1/x"])
async def test_a_redirect_is_never_followed(status: int, where: str):
    async with FakeHttpCamera() as trap, FakeHttpCamera() as camera:
        location = {"elsewhere": trap.url, "itself": camera.url}.get(where, where)
        camera.answer = f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
        said = await refused(camera)
        assert said == f"the camera answered {status} and leads elsewhere; register the address that it leads to"
        assert trap.requests == []
        assert len(camera.requests) == 1


async def test_a_name_that_changes_its_mind_gains_nothing(monkeypatch: pytest.MonkeyPatch):
    """It is asked once, though two connections are made: the second one, with the password, goes to the same place."""
    loop, asked = asyncio.get_running_loop(), []

    async def getaddrinfo(host, port, **_: object):
        asked.append(host)
        return [(2, 1, 6, "", ("127.0.0.1" if len(asked) == 1 else "127.0.0.2", port))]

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.2:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.2:9")
    async with FakeHttpCamera() as camera, FakeHttpCamera(host="127.0.0.2", port=camera.port) as trap:
        source = safe_source(camera.url.replace("127.0.0.1", "camera.example"), networks_of("127.0.0.1/32"))
        pull = CameraPull(source, networks_of("127.0.0.1/32"))
        await pull.start()
        assert asked == ["camera.example"]
        assert [headers["host"] for _, headers in camera.requests] == [f"camera.example:{camera.port}"] * 2
        assert trap.requests == []
        await pull.stop()


@pytest.mark.parametrize(
    "challenge",
    ['Digest realm="x\r\nEvil: 1", nonce="1"', 'Digest realm="\x01", nonce="\x7f"', "Negotiate", "Digest", ""],
)
async def test_an_odd_challenge_is_answered_or_refused(challenge: str):
    async with FakeHttpCamera() as camera:
        camera.answer = f"HTTP/1.1 401 No\r\nWWW-Authenticate: {challenge}\r\nContent-Length: 0\r\n\r\n".encode()
        said = await refused(camera)
        assert "credentials" in said or "understood" in said
        assert len(camera.requests) <= 2
        assert not any("evil" in headers for _, headers in camera.requests)


def bomb(width: int, height: int) -> bytes:
    picture = bytearray(jpegs()[0])
    at = picture.index(b"\xff\xc0")
    picture[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(picture)


async def test_a_picture_of_more_pixels_than_4k_reaches_no_decoder():
    async with FakeHttpCamera(shows="mjpeg") as camera:
        picture = bomb(65_500, 65_500)
        camera.answer = PARTS
        camera.torrent = b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (
            len(picture),
            picture,
        )
        camera.pause_seconds = 0.05
        assert "more pixels than 4K" in await refused(camera)
    check(jpegs()[0])
    check(bomb(3840, 2160))
    for odd in (
        b"\xff\xd8",
        b"\xff\xd8\xff",
        b"\xff\xd8" + b"\xff\xe0\0\0" * 3,
        b"\xff\xd8\xff\xe0\xff\xff",
        b"\xff\xd8" + b"\xff" * 99,
    ):
        with pytest.raises(NotVideo):
            check(odd)


def test_a_transport_stream_of_anything_is_read_within_bounds():
    """Damaged in every place: it is refused, or what comes out is whole packets of what it may be."""
    data = file("mpegts")[: 188 * 400]
    for at in range(188 * 6):
        for damage in (b"\0", b"\xff", b"G"):
            stream = TransportStream()
            try:
                out = stream.feed(data[:at] + damage + data[at + 1 :])
            except NotVideo:
                continue
            assert len(out) % 188 == 0
            assert len(stream._buffer) < 188
            assert sum(len(table.packets) + len(table._coming) for table in stream._tables.values()) < 4096


@pytest.mark.parametrize("more", [b"G\0\0\x20\xb7" + b"\xff" * 183, b"G\0\0\x30\xb6" + b"\xff" * 183])
def test_a_table_without_end_is_not_kept(more: bytes):
    """It goes on in packets that bring nothing, or a byte each."""
    stream = TransportStream()
    stream.feed(b"G\x40\0\x10\0\0\xbf\xff" + b"\xff" * 180 + more * 500)
    assert all(len(table.packets) + len(table._coming) < 4096 for table in stream._tables.values())


async def test_a_picture_without_end_is_not_kept():
    container = MotionJpeg(b"b")
    container.feed(b"--b\r\n\r\n\xff\xd8")
    with pytest.raises(NotVideo, match="larger than 4 MiB"):
        for _ in range(80):
            container.feed(bytes(65536))
    assert len(container._buffer) < 5 << 20


@pytest.mark.parametrize("kind", [2, 0x10, 0x0F, 0xFF])
def test_other_codecs_are_named(kind: int):
    data = bytearray(file("mpegts", sound=False))
    at = next(i for i in range(0, len(data), 188) if data[i + 1 : i + 3] == b"\x50\x00")
    data[data.index(b"\x1b\xe1\0", at)] = kind
    with pytest.raises(NotVideo, match=f"stream types {kind:02x}"):
        TransportStream().feed(bytes(data))


@pytest.mark.parametrize("boundary", [".*", '"--(((a"', "-x", "a" * 100])
def test_a_boundary_of_odd_characters_is_taken_literally(boundary: str):
    container = container_of(f"multipart/x-mixed-replace;boundary={boundary}", b"")
    assert isinstance(container, MotionJpeg)
    with pytest.raises(NotVideo, match="do not follow each other"):
        container.feed(b"-" * 5000)
    with pytest.raises(NotVideo, match="no boundary"):
        container_of("multipart/mixed; boundary=----", b"")


async def test_what_is_not_opened_after_all_leaves_no_trace():
    source = safe_source("http://127.0.0.1:1/", networks_of("127.0.0.0/8"))
    camera = HttpCamera(source)
    camera.leave()
    with pytest.raises(CameraOffline):
        await HttpCamera(source).open("127.0.0.1")
    async with FakeHttpCamera(answer=b"HTTP/1.1 200 OK\r\n\r\n", torrent=b"G", pause_seconds=1) as slow:
        pull = pull_of(slow)
        starting = asyncio.ensure_future(pull.start())
        await until(lambda: slow.requests)
        await pull.stop()
        with pytest.raises((CameraOffline, CameraRefuses)):
            await starting
        await until(lambda: not slow.connections)
