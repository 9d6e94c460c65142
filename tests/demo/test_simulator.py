"""The simulated cameras, as their clients meet them: a small RTSP client of our own, PyAV, and the project's ffmpeg."""

import asyncio
import base64
import hashlib
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import av
import imageio_ffmpeg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.demo.simulator import SimulatedCamera, Simulator, counter, encoder, font, read_counter, rtp, rtsp, sound
from app.demo.simulator.authentication import REALM, admits
from app.demo.simulator.encoder import AccessUnit
from app.demo.simulator.picture import KOREA, Picture

KEY_FRAME_SECONDS = 1  # half of what it is outside the tests, which wait for many of them
TOLERANCE_SECONDS = 3  # between filming and decoding, on a busy machine
LOCKED = SimulatedCamera("locked", "LOCKED", login="ad min", password="p@ss:/?")
CAMERAS = [
    SimulatedCamera("cam/0001", "CAM 0001"),
    SimulatedCamera("cam/0002", "CAM 0002", width=320, height=240, frames_per_second=5),
    SimulatedCamera("hear", "MICROPHONE", audio=True),
    LOCKED,
]
AT_ONCE = {"rtsp_transport": "tcp", "analyzeduration": "0", "probesize": "32768"}


@pytest.fixture(scope="module")
async def running() -> AsyncIterator[Simulator]:
    async with Simulator(CAMERAS) as simulator:
        yield simulator


@pytest.fixture
def simulator(running: Simulator, monkeypatch) -> Iterator[Simulator]:
    monkeypatch.setattr(encoder, "KEY_FRAME_SECONDS", KEY_FRAME_SECONDS)
    monkeypatch.setattr(encoder, "LINGER_SECONDS", 0)
    yield running
    for camera in CAMERAS:
        running.bring_back(camera.path)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: str


class Client:
    """Just enough RTSP to see every byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, url: str) -> None:
        self.reader, self.writer, self.url, self.session = reader, writer, url, ""

    async def ask(self, method: str, *headers: str, track: str = "", raw: bytes = b"") -> Answer:
        url = f"{self.url}/{track}" if track else self.url
        session = [f"Session: {self.session}"] if self.session else []
        self.writer.write(
            raw or "\r\n".join([f"{method} {url} RTSP/1.0", "CSeq: 7", *session, *headers, "", ""]).encode()
        )
        return await self.answer()

    async def answer(self) -> Answer:
        while (first := await self.reader.readexactly(1)) == b"$":
            await self.reader.readexactly(int.from_bytes((await self.reader.readexactly(3))[1:]))
        start, *lines = (first + await self.reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        body = await self.reader.readexactly(int(headers.get("Content-Length", "0")))
        return Answer(int(start.split()[1]), headers, body.decode())

    async def setup(self, track: str, channel: int) -> None:
        transport = f"Transport: RTP/AVP/TCP;unicast;interleaved={channel}-{channel + 1}"
        answer = await self.ask("SETUP", transport, track=track)
        assert answer.status == 200
        self.session = answer.headers["Session"].partition(";")[0]

    async def play(self) -> None:
        await self.setup(rtsp.VIDEO, 0)
        assert (await self.ask("PLAY")).status == 200

    async def packet(self) -> tuple[int, bytes]:
        """(channel, packet)"""
        async with asyncio.timeout(10):
            header = await self.reader.readexactly(4)
            assert header[:1] == b"$"
            return header[1], await self.reader.readexactly(int.from_bytes(header[2:]))

    async def unit(self) -> list[bytes]:
        """The video packets of one access unit."""
        packets = []
        while True:
            channel, packet = await self.packet()
            if channel == 0:
                packets.append(packet)
                if packet[1] & 0x80:
                    return packets

    async def cut(self) -> bool:
        """Whether the server ends the connection soon."""
        try:
            async with asyncio.timeout(5):
                while await self.reader.read(65536):
                    pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True


@asynccontextmanager
async def client(simulator: Simulator, path: str) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port, limit=1 << 20)
    try:
        yield Client(reader, writer, simulator.url(path, with_credentials=False))
    finally:
        writer.close()


async def until(truth, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not truth():  # noqa: ASYNC110 - it asks about other processes
            await asyncio.sleep(0.02)


def alive(process_id: int) -> bool:
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def depacketized(payloads: list[bytes]) -> list[bytes]:
    """The NAL units in RTP payloads (RFC 6184), written apart from what it checks."""
    nals: list[bytes] = []
    for payload in payloads:
        if payload[0] & 0x1F != 28:
            nals.append(payload)
        elif payload[1] & 0x80:
            nals.append(bytes([payload[0] & 0xE0 | payload[1] & 0x1F]) + payload[2:])
        else:
            nals[-1] += payload[2:]
    return nals


def read_text(rows, x: int, y: int, scale: int, length: int) -> str:
    """What the font spelt into luma rows, by the brightness of each dot's middle."""
    names = {columns: character for character, columns in font.GLYPHS.items()}
    text = ""
    for place in range(length):
        left = x + place * font.ADVANCE * scale
        dots = [[rows[y + r * scale + scale // 2][left + c * scale + scale // 2] for r in range(8)] for c in range(5)]
        columns = bytes(sum((int(dot) > 110) << row for row, dot in enumerate(column)) for column in dots)
        text += names.get(columns, "\N{REPLACEMENT CHARACTER}")
    return text


def look(url: str, count: int) -> list:
    """(gray picture, when it was seen) of the first `count` frames."""
    seen = []
    with av.open(url, options=AT_ONCE, timeout=10) as container:
        for frame in container.decode(video=0):
            seen.append((frame.to_ndarray(format="gray"), time.time()))
            if len(seen) == count:
                break
    return seen


@pytest.mark.parametrize("camera", CAMERAS[:2], ids=lambda camera: f"{camera.width}x{camera.height}")
async def test_the_decoded_counter_is_the_wall_clock(simulator: Simulator, camera: SimulatedCamera) -> None:
    seen = await asyncio.to_thread(look, simulator.url(camera.path), 8)
    numbers = [read_counter(picture) for picture, _ in seen]
    assert {picture.shape for picture, _ in seen} == {(camera.height, camera.width)}
    assert numbers == sorted(set(numbers))
    for number, (_, at) in zip(numbers, seen, strict=True):
        assert -0.1 < at - number / camera.frames_per_second < TOLERANCE_SECONDS


async def test_a_human_reads_name_and_running_clock_and_sees_something_move(simulator: Simulator) -> None:
    seen = await asyncio.to_thread(look, simulator.url("cam/0001"), 8)
    first, last = seen[0][0], seen[-1][0]
    assert read_text(first, 18, 5, 2, 8) == "CAM 0001"
    clocks = [read_text(picture, 640 - 25 * 12 - 4, 5, 2, 25) for picture, _ in seen]
    for clock, (picture, _) in zip(clocks, seen, strict=True):
        at = datetime.strptime(clock, "%Y-%m-%d %H:%M:%S.%f KST").replace(tzinfo=KOREA)
        assert int(at.timestamp() * 10 + 0.5) == read_counter(picture)
    assert len(set(clocks)) == len(clocks)
    street = slice(190, 328)
    assert abs(first[street].astype(int) - last[street].astype(int)).max() > 60
    assert abs(first[40:180].astype(int) - last[40:180].astype(int)).mean() < 4  # the houses stand


def test_streets_differ_from_camera_to_camera_and_by_the_light_of_day() -> None:
    def street(picture: Picture, hour: int) -> bytes:
        at = datetime(2026, 11, 22, hour, tzinfo=KOREA).timestamp()
        return bytes(picture.frame(int(at * 10))[640 * 30 : 640 * 320])

    one, other = (Picture(SimulatedCamera(path, "CAM")) for path in ("a", "b"))
    pictures = [street(picture, hour) for picture in (one, other) for hour in (3, 7, 12)]
    assert len(set(pictures)) == len(pictures)
    assert street(Picture(SimulatedCamera("a", "CAM")), 12) == pictures[2]


async def test_media_packets_are_numbered_stamped_and_begin_with_everything_a_decoder_needs(
    simulator: Simulator,
) -> None:
    async with client(simulator, "cam/0001") as viewer:
        description = (await viewer.ask("DESCRIBE")).body
        await viewer.play()
        channel, report = await viewer.packet()
        units = [await viewer.unit() for _ in range(12)]
    sprop = re.search(r"sprop-parameter-sets=(\S+),(\S+)", description)
    nals = depacketized([packet[12:] for packet in units[0]])
    assert [base64.b64decode(text) for text in sprop.groups()] == nals[:2]
    assert [nal[0] & 0x1F for nal in nals] == [7, 8, 5]
    keys = [n for n, unit in enumerate(units) if any(packet[12] & 0x1F == 7 for packet in unit)]
    assert keys == [0, 10 * KEY_FRAME_SECONDS]
    assert f"profile-level-id={nals[0][1:4].hex().upper()};" in description
    assert max(len(packet) for unit in units for packet in unit) <= rtp.PAYLOAD_BYTES + 12

    headers = [packet[:12] for unit in units for packet in unit]
    numbers = [int.from_bytes(header[2:4]) for header in headers]
    assert numbers == [(numbers[0] + n) % 65536 for n in range(len(numbers))]
    assert len({header[8:] for header in headers}) == 1
    stamps = [{packet[4:8] for packet in unit} for unit in units]
    ticks = [int.from_bytes(stamp.pop()) for stamp in stamps]
    assert not any(stamps)  # one stamp a picture
    steps = [(later - earlier) % 2**32 for earlier, later in pairwise(ticks)]
    assert all(step and step % 9000 in {0, 1, 8999} for step in steps)  # ten pictures a second, none or some left out
    behind = (int(time.time() * rtp.VIDEO_CLOCK) - ticks[-1] + 2**31) % 2**32 - 2**31
    assert -rtp.VIDEO_CLOCK < behind < TOLERANCE_SECONDS * rtp.VIDEO_CLOCK

    assert (channel, report[1]) == (1, 200)
    assert len(report) == 4 * (2 + int.from_bytes(report[2:4]) + int.from_bytes(report[30:32]))
    wall = int.from_bytes(report[8:12]) - 2_208_988_800 + int.from_bytes(report[12:16]) / 2**32
    assert int.from_bytes(report[16:20]) == ticks[0]
    assert abs((round(wall * rtp.VIDEO_CLOCK) - ticks[0] + 2**31) % 2**32 - 2**31) <= 1


async def test_two_viewers_share_one_encoder_which_ends_after_the_last(simulator: Simulator, monkeypatch) -> None:
    monkeypatch.setattr(encoder, "LINGER_SECONDS", 0.5)
    path = "cam/0002"
    async with client(simulator, path) as one, client(simulator, path) as two:
        await one.play()
        await one.unit()
        process_id = simulator.encoder_process(path)
        await two.play()
        joined = depacketized([packet[12:] for packet in await two.unit()])
        assert joined[-1][0] & 0x1F == 5  # begins at a key frame
        assert (simulator.viewers(path), simulator.encoder_process(path)) == (2, process_id)
        assert (await two.ask("PAUSE")).status == 200
        assert simulator.viewers(path) == 1
        assert (await two.ask("TEARDOWN")).status == 200
        assert await two.cut()
        await one.unit()
        assert alive(process_id)
    await until(lambda: simulator.viewers(path) == 0)
    assert simulator.encoder_process(path) == process_id  # it lingers for who comes next
    await until(lambda: simulator.encoder_process(path) is None)
    await until(lambda: not alive(process_id))


async def test_a_killed_encoder_is_replaced_and_the_counter_goes_on(simulator: Simulator) -> None:
    watching = asyncio.create_task(asyncio.to_thread(look, simulator.url("cam/0001"), 12))
    await until(lambda: simulator.viewers("cam/0001") == 1 and simulator.encoder_process("cam/0001"))
    await asyncio.sleep(0.3)
    process_id = simulator.encoder_process("cam/0001")
    os.kill(process_id, signal.SIGKILL)
    seen = await watching
    numbers = [read_counter(picture) for picture, _ in seen]
    assert numbers == sorted(set(numbers))
    assert seen[-1][1] - numbers[-1] / 10 < TOLERANCE_SECONDS
    assert simulator.encoder_process("cam/0001") != process_id


async def test_a_lost_camera_cuts_its_viewers_and_comes_back(simulator: Simulator) -> None:
    async with client(simulator, "cam/0001") as viewer, client(simulator, "cam/0002") as other:
        await viewer.play()
        await other.play()
        await viewer.unit()
        simulator.take_offline("cam/0001")
        assert await viewer.cut()
        assert (simulator.viewers("cam/0001"), simulator.viewers("cam/0002")) == (0, 1)
        with pytest.raises(av.FFmpegError):
            await asyncio.to_thread(look, simulator.url("cam/0001"), 1)
        await other.unit()
        simulator.bring_back("cam/0001")
        assert len(await asyncio.to_thread(look, simulator.url("cam/0001"), 1)) == 1


async def test_a_silent_camera_leaves_its_clients_waiting(simulator: Simulator) -> None:
    async with client(simulator, "cam/0001") as viewer, client(simulator, "cam/0001") as late:
        await viewer.play()
        await viewer.unit()
        simulator.take_offline("cam/0001", silently=True)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await late.ask("DESCRIBE")
        units = asyncio.create_task(viewer.unit())
        assert not (await asyncio.wait([units], timeout=0.5))[0]
        simulator.bring_back("cam/0001")
        nals = depacketized([packet[12:] for packet in await units])
        assert nals[-1][0] & 0x1F == 5


async def test_only_the_right_login_opens_a_locked_camera(simulator: Simulator) -> None:
    wrong = simulator.url("locked").replace("p%40ss", "guess")
    for url in (simulator.url("locked", with_credentials=False), wrong):
        with pytest.raises(av.HTTPUnauthorizedError):
            await asyncio.to_thread(look, url, 1)
    assert len(await asyncio.to_thread(look, simulator.url("locked"), 2)) == 2


@pytest.mark.parametrize("qop", [False, True], ids=["plain", "qop"])
async def test_every_way_to_authenticate(simulator: Simulator, qop: bool) -> None:
    def md5(*parts: str) -> str:
        return hashlib.md5(":".join(parts).encode()).hexdigest()

    async with client(simulator, "locked") as viewer:
        refused = await viewer.ask("DESCRIBE")
        assert refused.status == 401
        async with client(simulator, "locked") as asking:
            asking.writer.write(f"DESCRIBE {asking.url} RTSP/1.0\r\nCSeq: 1\r\n\r\n".encode())
            head = (await asking.reader.readuntil(b"\r\n\r\n")).decode()
            nonce = re.search(r'Digest realm="[^"]+", nonce="(\w+)"', head)[1]
            secret, what = md5(LOCKED.login, REALM, LOCKED.password), md5("DESCRIBE", asking.url)
            response = md5(secret, nonce, "00000001", "c", "auth", what) if qop else md5(secret, nonce, what)
            extra = ', qop=auth, nc=00000001, cnonce="c"' if qop else ""
            digest = f'Digest username="{LOCKED.login}", realm="{REALM}", nonce="{nonce}", uri="{asking.url}"'
            header = f'{digest}, response="{response}"{extra}'
            assert (await asking.ask("DESCRIBE", f"Authorization: {header}")).status == 200
            assert (
                await viewer.ask("DESCRIBE", f"Authorization: {header}")
            ).status == 401  # another connection's nonce
            assert not admits(LOCKED, header, "SETUP", nonce)
        basic = base64.b64encode(f"{LOCKED.login}:{LOCKED.password}".encode()).decode()
        assert (await viewer.ask("DESCRIBE", f"Authorization: Basic {basic}")).status == 200
        assert (await viewer.ask("DESCRIBE", f"Authorization: Basic {basic[:-4]}")).status == 401
        assert (await viewer.ask("DESCRIBE", "Authorization: Basic \N{HANGUL SYLLABLE HAN}")).status == 401


async def test_sound_is_offered_only_where_asked_for_and_really_sounds(simulator: Simulator) -> None:
    async with client(simulator, "cam/0001") as deaf:
        assert "m=audio" not in (await deaf.ask("DESCRIBE")).body
        assert (await deaf.ask("SETUP", "Transport: RTP/AVP/TCP;interleaved=2-3", track=rtsp.AUDIO)).status == 404

    def listen() -> list:
        with av.open(simulator.url("hear"), options=AT_ONCE, timeout=10) as container:
            assert [stream.codec_context.name for stream in container.streams] == ["h264", "pcm_mulaw"]
            heard = []
            for frame in container.decode(audio=0):
                heard.append(frame.to_ndarray())
                if len(heard) == sound.BLOCKS_PER_SECOND + 5:
                    return heard
        return heard

    heard = await asyncio.to_thread(listen)
    assert {block.shape for block in heard} == {(1, sound.BLOCK_SAMPLES)}
    loudness = [abs(block.astype(int)).max() for block in heard]
    assert max(loudness) > 8000
    assert min(loudness) == 0


async def test_the_projects_ffmpeg_copies_it_to_a_playable_file_without_sound(
    simulator: Simulator, tmp_path: Path
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", "-rtsp_transport", "tcp"),
        *("-allowed_media_types", "video", "-analyzeduration", "0", "-probesize", "32k", "-i", simulator.url("hear")),
        *(
            "-c",
            "copy",
            "-an",
            "-t",
            "1.5",
            "-f",
            "mp4",
            "-movflags",
            "frag_keyframe+empty_moov",
            tmp_path / "copy.mp4",
        ),
        stderr=asyncio.subprocess.PIPE,
    )
    _, complaints = await process.communicate()
    assert (process.returncode, complaints) == (0, b"")
    with av.open(str(tmp_path / "copy.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        stamps = [frame.pts for frame in container.decode(video=0)]
    assert len(stamps) > 8
    assert stamps == sorted(set(stamps))


async def test_what_a_client_may_not_ask(simulator: Simulator) -> None:
    async with client(simulator, "cam/0001") as asking:
        assert (await asking.ask("OPTIONS")).headers["Public"] == rtsp.METHODS
        udp = "Transport: RTP/AVP;unicast;client_port=5000-5001"
        assert (await asking.ask("SETUP", udp, track=rtsp.VIDEO)).status == 461
        assert (await asking.ask("SETUP", "Transport: RTP/AVP/TCP;interleaved=255-256", track=rtsp.VIDEO)).status == 461
        assert (await asking.ask("SETUP", "Transport: RTP/AVP/TCP")).status == 404
        assert (await asking.ask("PLAY")).status == 454
        assert (await asking.ask("RECORD")).status == 405
        await asking.play()
        assert (await asking.ask("GET_PARAMETER")).status == 200
        assert (await asking.ask("SETUP", f"{udp},RTP/AVP/TCP;interleaved=4-5", track=rtsp.VIDEO)).status == 455
        asking.session = "somebody-elses"
        assert (await asking.ask("TEARDOWN")).status == 454
        assert simulator.viewers("cam/0001") == 1
    for path in ("cam/9999", "cam/0002"):  # an unknown one, and another than it came for
        async with client(simulator, "cam/0001") as asking:
            await asking.ask("OPTIONS")
            asking.url = asking.url.replace("cam/0001", path)
            assert (await asking.ask("DESCRIBE")).status == 404


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"\xff\xfe\x00\r\n\r\n", 400),
        (b"OPTIONS * RTSP/1.0\r\nCSeq: \xd9\xa1\r\n\r\n", 400),
        (b"OPTIONS rtsp://[::1 RTSP/1.0\r\nCSeq: 1\r\n\r\n", 400),
        (b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 413),
    ],
)
async def test_a_malformed_request_ends_its_connection_and_no_other(
    simulator: Simulator, raw: bytes, status: int
) -> None:
    async with client(simulator, "cam/0001") as broken, client(simulator, "cam/0001") as sound_client:
        assert (await broken.ask("", raw=raw)).status == status
        assert await broken.cut()
        assert (await sound_client.ask("DESCRIBE")).status == 200


async def test_an_endless_head_and_an_idle_client_are_dropped(simulator: Simulator, monkeypatch) -> None:
    monkeypatch.setattr(rtsp, "IDLE_SECONDS", 0.3)
    async with client(simulator, "cam/0001") as endless, client(simulator, "cam/0001") as idle:
        endless.writer.write(b"OPTIONS " + b"x" * 100_000)
        assert await endless.cut()
        assert await idle.cut()


async def test_a_client_that_does_not_read_is_cut_and_the_others_are_served(simulator: Simulator) -> None:
    async with client(simulator, "cam/0001") as stuck:
        await stuck.play()
        (connection,) = [known for known in simulator._connections if known.playing]
        async with client(simulator, "cam/0001") as reading:
            await reading.play()
            for _ in range(12):  # far more than the backlog and the kernel's buffers take
                connection.show(AccessUnit((b"\x65" + bytes(2_000_000),), key=True, filmed_at=time.time()))
            assert simulator.viewers("cam/0001") == 1
            assert await stuck.cut()
            await reading.unit()


@pytest.mark.parametrize("stuck", [False, True])
async def test_stopping_leaves_nothing_behind(monkeypatch, stuck: bool) -> None:
    monkeypatch.setattr(encoder, "_END_SECONDS", 0.5)
    camera = SimulatedCamera("a", "A")
    async with Simulator([camera]) as simulator:
        reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
        viewer = Client(reader, writer, simulator.url("a"))
        await viewer.play()
        await viewer.unit()
        process_id = simulator.encoder_process("a")
        assert alive(process_id)
        if stuck:
            os.kill(process_id, signal.SIGSTOP)
    assert not alive(process_id)
    assert await viewer.cut()
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", simulator.port)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
async def test_no_encoder_outlives_the_program(end: signal.Signals) -> None:
    program = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "app.demo.simulator",
            "--port",
            "0",
            "--cameras",
            "2",
            "--login",
            "a",
            "--password",
            "b",
        ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    url, name = (await program.stdout.readline()).decode().strip().split("  ")
    assert (url[-9:], name) == ("/cam/0001", "CAM 0001")
    await asyncio.to_thread(look, url.replace("//", "//a:b@"), 2)  # it lingers after its viewer
    children = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit()
        and alive(int(entry.name))
        and f"\nPPid:\t{program.pid}\n" in (entry / "status").read_text()
    ]
    assert len(children) == 1
    assert os.getpgid(children[0]) != os.getpgid(program.pid)  # a Ctrl-C is not for it
    program.send_signal(end)
    _, complaints = await asyncio.wait_for(program.communicate(), 10)
    assert program.returncode == (-9 if end == signal.SIGKILL else 0)
    assert complaints == b""
    await until(lambda: not alive(children[0]))


@given(st.binary(min_size=1, max_size=6000), st.integers(min_value=8, max_value=1500))
def test_every_nal_unit_survives_packetisation(nal: bytes, limit: int) -> None:
    nal = bytes([nal[0] & 0xE0 | 5]) + nal[1:]
    payloads = list(rtp.payloads(nal, limit))
    assert depacketized(payloads) == [nal]
    assert max(len(payload) for payload in payloads) <= limit
    assert len(payloads) == 1 or [payload[1] & 0xC0 for payload in payloads] == [0x80, *[0] * (len(payloads) - 2), 0x40]


@given(st.integers(0, 2**counter.BITS - 1), st.integers(160, 384).map(lambda half: 2 * half), st.integers(0, 60))
def test_the_counter_is_read_back_at_every_width_and_through_noise(number: int, width: int, noise: int) -> None:
    def blurred(value: int, place: int) -> int:
        return max(0, min(255, value + (place * 37 % (2 * noise + 1)) - noise))

    code = counter.luma_rows(number, width)
    rows = [bytes(width)] * 20
    rows += [bytes(blurred(v, y + x) for x, v in enumerate(row.ljust(width, b"\0"))) for y, row in enumerate(code)]
    assert read_counter(rows) == number
    assert read_counter(b"".join(rows), width) == number


@given(st.integers(0, 2**counter.BITS - 1), st.integers(2, counter.CELLS - 3))
def test_a_damaged_counter_is_never_taken_for_another(number: int, cell: int) -> None:
    rows = [bytearray(row) for row in counter.luma_rows(number, 640)]
    line, column = divmod(cell, counter.columns(640))
    for row in rows[line * 16 : line * 16 + 16]:
        place = slice(column * 16, column * 16 + 16)
        row[place] = bytes(counter.WHITE + counter.BLACK - value for value in row[place])
    with pytest.raises(ValueError, match="damaged"):
        read_counter([bytes(row).ljust(640, b"\0") for row in rows])
    with pytest.raises(ValueError, match="no bar code"):
        read_counter([bytes([128]) * 640] * 32)


@given(st.text(st.sampled_from(sorted(font.GLYPHS)), min_size=1, max_size=20), st.integers(1, 3))
def test_what_the_font_writes_can_be_read(text: str, scale: int) -> None:
    assert read_text(font.luma_rows(text, scale, 220, 26), 0, 0, scale, len(text)) == text


def test_the_font_writes_small_letters_as_capitals_and_marks_what_it_lacks() -> None:
    assert read_text(font.luma_rows("cam{", 1, 220, 26), 0, 0, 1, 4) == "CAM?"


@given(st.integers(-32768, 32767))
def test_mu_law_is_as_g711_has_it(sample: int) -> None:
    code = ~sound.mu_law(sample) & 0xFF
    exponent, mantissa = code >> 4 & 7, code & 0xF
    decoded = ((mantissa << 3) + 0x84 << exponent) - 0x84
    decoded = -decoded if code & 0x80 else decoded
    assert abs(decoded - sample) <= max(4 << exponent, 645 if abs(sample) > 32_000 else 0)
    assert (sound.mu_law(0), sound.mu_law(32767), sound.mu_law(-32768)) == (0xFF, 0x80, 0x00)


@pytest.mark.parametrize(
    "wrong",
    [
        {"path": ""},
        {"path": "/cam"},
        {"path": "a b"},
        {"name": "카메라"},
        {"name": "A\n"},
        {"width": 318},
        {"height": 361},
        {"frames_per_second": 0},
    ],
)
def test_a_camera_that_cannot_be(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"expected|knows"):
        SimulatedCamera(**{"path": "cam/1", "name": "CAM 1"} | wrong)
