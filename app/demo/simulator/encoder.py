"""The encoder inside a simulated camera: one ffmpeg process while somebody watches, none otherwise.

ffmpeg reads YUV4MPEG2 on its standard input (its `rawvideo` reader holds each frame back until the next one comes) and
writes FLV, which says where an access unit ends (with Annex B one would have to wait for the next one, too). Its input
ends with this process, however that dies, and so does ffmpeg.
"""

import asyncio
import contextlib
import fcntl
import logging
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from math import ceil
from typing import Protocol
from zlib import crc32

import imageio_ffmpeg

from app import clock
from app.demo.simulator import sound
from app.demo.simulator.camera import SimulatedCamera
from app.demo.simulator.picture import Picture

KEY_FRAME_SECONDS = 2
LINGER_SECONDS = 3.0  # a process outlives its last viewer by this: viewers who change over find it running
_RETRY_SECONDS = 0.5
_END_SECONDS = 2.0  # that ffmpeg gets to end by itself
_PIPE_BYTES = 1 << 20  # room for a whole frame, so that one write hands it over; the most that Linux allows everyone
_FLV_HEADER_BYTES, _FLV_VIDEO, _AVC_HEADER, _AVC_UNITS = 13, 9, 0, 1
_SLICE, _IDR = 1, 5  # NAL unit types

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ParameterSets:
    """What a decoder must know before the first picture: the sequence and the picture parameter set, as NAL units."""

    sequence: bytes
    picture: bytes


@dataclass(frozen=True)
class AccessUnit:
    """One encoded picture: NAL units without start codes, whether decoding can begin here, the unix time of filming."""

    nals: tuple[bytes, ...]
    key: bool
    filmed_at: float


class Viewer(Protocol):
    """Whoever receives what a camera films. Must not block."""

    def show(self, unit: AccessUnit) -> None: ...
    def sound(self, block: bytes, at: float) -> None: ...


async def parameter_sets(camera: SimulatedCamera) -> ParameterSets:
    """The parameter sets of every camera of this size and rate, from encoding one grey frame."""
    process = await _start_ffmpeg(camera)
    try:
        stdin, stdout = _pipes(process)
        _hand_over(stdin, bytes([128]) * (camera.width * camera.height * 3 // 2))
        stdin.close()
        async for body in _video_tags(stdout):
            if body[1] == _AVC_HEADER:
                return _avc_configuration(body[5:])
        raise RuntimeError("ffmpeg gave no parameter sets: does it contain libx264?")
    finally:
        await _end(process)


class Encoder:
    """Films `camera` for its viewers."""

    def __init__(self, camera: SimulatedCamera) -> None:
        self._camera = camera
        self._phase = crc32(camera.path.encode()) % 997 / 997  # cameras do not all film at the same instant
        self._viewers: set[Viewer] = set()
        self._filming: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._idle: asyncio.TimerHandle | None = None
        self.process_id: int | None = None  # of ffmpeg, while it runs

    def join(self, viewer: Viewer) -> None:
        """From now on `viewer` gets every access unit; decoding can begin at the first key unit."""
        self._viewers.add(viewer)
        if self._idle:
            self._idle.cancel()
            self._idle = None
        if self._filming is None:
            self._filming = asyncio.create_task(self._film_until_cancelled())

    def leave(self, viewer: Viewer) -> None:
        """`viewer` gets nothing more; without viewers the process ends after LINGER_SECONDS."""
        self._viewers.discard(viewer)
        if not self._viewers and self._filming and not self._idle:
            self._idle = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._end_filming)

    async def stop(self) -> None:
        """End the process and wait until it is gone."""
        self._viewers.clear()
        if self._idle:
            self._idle.cancel()
        self._end_filming()
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _end_filming(self) -> None:
        self._idle = None
        if self._filming:
            self._filming.cancel()
            self._ending.add(self._filming)
            self._filming.add_done_callback(self._ending.discard)
            self._filming = None

    async def _film_until_cancelled(self) -> None:
        picture = None
        while True:
            try:
                process = await _start_ffmpeg(self._camera)
                try:
                    picture = picture or Picture(self._camera)  # painted while ffmpeg starts
                    await self._film(process, picture)
                finally:
                    await _end(process)
            except Exception:
                logger.exception("the encoder of %s failed", self._camera.path)
            await asyncio.sleep(_RETRY_SECONDS)  # ffmpeg was killed: film on with a new one

    async def _film(self, process: asyncio.subprocess.Process, picture: Picture) -> None:
        """Until ffmpeg ends or the task is cancelled."""
        stdin, stdout = _pipes(process)
        numbers: deque[int] = deque()  # of frames handed over and not yet encoded; nothing is reordered or dropped
        self.process_id = process.pid
        try:
            async with asyncio.TaskGroup() as tasks:
                others = [tasks.create_task(self._feed(stdin, picture, numbers))]
                if self._camera.audio:
                    others.append(tasks.create_task(self._listen()))
                async for body in _video_tags(stdout):
                    if body[1] == _AVC_UNITS:
                        self._show(_nals(body[5:]), numbers.popleft())
                for task in others:
                    task.cancel()
        finally:
            self.process_id = None

    async def _feed(self, stdin: asyncio.StreamWriter, picture: Picture, numbers: deque[int]) -> None:
        rate = self._camera.frames_per_second
        wall = clock.now().timestamp() - clock.monotonic()  # a step of the wall clock must not repeat a number
        number = int((wall + clock.monotonic()) * rate)
        while True:
            if stdin.transport.get_write_buffer_size() == 0:  # otherwise the encoder is behind: leave this frame out
                _hand_over(stdin, picture.frame(number))
                numbers.append(number)
            number = max(number + 1, ceil((wall + clock.monotonic()) * rate - self._phase))
            await asyncio.sleep((number + self._phase) / rate - wall - clock.monotonic())

    async def _listen(self) -> None:
        wall = clock.now().timestamp() - clock.monotonic()
        number = int((wall + clock.monotonic()) * sound.BLOCKS_PER_SECOND)
        while True:
            for viewer in tuple(self._viewers):
                viewer.sound(sound.block(number), number / sound.BLOCKS_PER_SECOND)
            oldest = int((wall + clock.monotonic() - 1) * sound.BLOCKS_PER_SECOND)
            number = max(number + 1, oldest)  # sound is made up for, but never by more than a second
            await asyncio.sleep(number / sound.BLOCKS_PER_SECOND - wall - clock.monotonic())

    def _show(self, nals: list[bytes], number: int) -> None:
        slices = tuple(nal for nal in nals if nal[0] & 0x1F in {_SLICE, _IDR})
        key = any(nal[0] & 0x1F == _IDR for nal in slices)
        unit = AccessUnit(slices, key, (number + self._phase) / self._camera.frames_per_second)
        for viewer in tuple(self._viewers):
            viewer.show(unit)


async def _start_ffmpeg(camera: SimulatedCamera) -> asyncio.subprocess.Process:
    interval = str(camera.frames_per_second * KEY_FRAME_SECONDS)
    process = await asyncio.create_subprocess_exec(
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-loglevel", "quiet"),
        *("-probesize", "32", "-analyzeduration", "0", "-f", "yuv4mpegpipe", "-i", "pipe:0"),
        *("-c:v", "libx264", "-profile:v", "baseline", "-preset", "ultrafast", "-tune", "zerolatency"),
        *("-threads", "1", "-crf", "24", "-g", interval, "-keyint_min", interval, "-sc_threshold", "0"),
        *("-x264-params", "colorprim=smpte170m:transfer=smpte170m:colormatrix=smpte170m"),
        *("-fps_mode", "passthrough", "-f", "flv", "-flush_packets", "1", "pipe:1"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C in the terminal is for the simulator, which ends its encoders itself
    )
    stdin, _ = _pipes(process)
    # Under some event loops it is no pipe, and only Linux lets one choose its size: then a frame takes a few writes.
    with contextlib.suppress(AttributeError, OSError, TypeError):
        fcntl.fcntl(stdin.transport.get_extra_info("pipe"), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    size = f"W{camera.width} H{camera.height} F{camera.frames_per_second}:1"
    stdin.write(f"YUV4MPEG2 {size} Ip A1:1 C420mpeg2\n".encode())
    return process


def _hand_over(stdin: asyncio.StreamWriter, frame: bytes | bytearray) -> None:
    stdin.write(b"FRAME\n")
    stdin.write(frame)


async def _end(process: asyncio.subprocess.Process) -> None:
    stdin, _ = _pipes(process)
    stdin.close()  # the end of its input is the end of ffmpeg
    try:
        async with asyncio.timeout(_END_SECONDS):
            await process.communicate()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


def _pipes(process: asyncio.subprocess.Process) -> tuple[asyncio.StreamWriter, asyncio.StreamReader]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


async def _video_tags(flv: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The bodies of the video tags of an FLV stream until it ends (Adobe FLV 10.1, annex E.4)."""
    try:
        await flv.readexactly(_FLV_HEADER_BYTES)
        while True:
            kind, *_ = header = await flv.readexactly(11)
            body = await flv.readexactly(int.from_bytes(header[1:4]) + 4)
            if kind == _FLV_VIDEO:
                yield body[:-4]
    except asyncio.IncompleteReadError:
        return


def _avc_configuration(record: bytes) -> ParameterSets:
    """Out of an AVCDecoderConfigurationRecord (ISO 14496-15, 5.2.4.1) with one set of each kind."""
    length = int.from_bytes(record[6:8])
    sequence, rest = record[8 : 8 + length], record[8 + length :]
    return ParameterSets(sequence, rest[3 : 3 + int.from_bytes(rest[1:3])])


def _nals(data: bytes) -> list[bytes]:
    """NAL units that each stand behind their length in four bytes."""
    found, start = [], 0
    while start < len(data):
        end = start + 4 + int.from_bytes(data[start : start + 4])
        found.append(data[start + 4 : end])
        start = end
    return found
