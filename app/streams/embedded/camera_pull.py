"""The pull that reads the camera itself, over RTSP or HTTP: one ffmpeg that copies video alone into fragments."""

import asyncio
import logging
import os
import re
import resource
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import ClassVar, cast

import imageio_ffmpeg

from app.errors import GatewayUnavailable
from app.registry.addresses import Networks, Source, resolve
from app.streams.embedded.boxes import Fragment, Init, NotFragmentedMp4, Splitter
from app.streams.embedded.containers import Container
from app.streams.embedded.http_camera import HttpCamera
from app.streams.embedded.motion_jpeg import MOST_PIXELS
from app.streams.embedded.parameter_sets import ParameterSets, as_hvc1
from app.streams.embedded.pull import LINGER_SECONDS, Cause, Pull
from app.streams.embedded.rtsp import Track
from app.streams.embedded.rtsp_proxy import Camera, Door

_STDERR_BYTES = 4096
_MOST_PICTURE = 8192 * 8192
_MOST_MEMORY_BYTES = 1 << 30  # of addresses; it uses some 40 MB of them
_NICE = 10
MOST_TRANSCODED = 4 * (os.cpu_count() or 1)  # of 720p, some 12 % of a core each
_QUIET = "-hide_banner -nostdin -loglevel error"
# Picture size and profile are known at once, so nothing needs to be probed: the init segment comes after 0.1 s
# instead of 2. `-fflags nobuffer` would throw the probed frames away, the first key frame with them.
_AT_ONCE = "-probesize 32 -analyzeduration 1 -fpsprobesize 0"
_FRAGMENTS = (
    "-an -sn -dn -map_metadata -1 -f mp4 "
    "-movflags empty_moov+default_base_moof+frag_every_frame+skip_trailer -flush_packets 1 pipe:1"
)
_TRANSCODED = (
    "-map 0:v:0 -vf scale=w='min(1280,iw)':h='min(720,ih)':force_original_aspect_ratio=decrease:force_divisible_by=2 "
    "-c:v libx264 -preset ultrafast -tune zerolatency -threads 1 -pix_fmt yuv420p -fps_mode vfr -maxrate 3M "
    "-bufsize 3M -g 300 -force_key_frames expr:gte(t,n_forced*2) -video_track_timescale 90000"
)

log = logging.getLogger(__name__)


class CameraPull(Pull, asyncio.SubprocessProtocol):
    """One camera, one connection to it, one ffmpeg.

    `trusts_sdp`: whether the parameter sets in an RTSP camera's description are believed. Where they do not fit the
    first key frame, the pull ends with `changed` before it has begun.
    """

    transcoding: ClassVar[set["CameraPull"]] = set()

    def __init__(
        self,
        source: Source,
        allowed: Networks,
        *,
        linger_seconds: float = LINGER_SECONDS,
        ca_file: Path | None = None,
        trusts_sdp: bool = True,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(linger_seconds=linger_seconds, on_end=on_end)
        self._source, self._allowed, self._trusts_sdp = source, allowed, trusts_sdp
        is_rtsp = source.scheme in {"rtsp", "rtsps"}
        self._camera: Camera | HttpCamera = Camera(source, ca_file) if is_rtsp else HttpCamera(source, ca_file)
        self._door: Door | None = None
        self._splitter = Splitter()
        self._parameter_sets: ParameterSets | None = None
        self._said = b""
        self._process: asyncio.SubprocessTransport | None = None
        self._exited = asyncio.Event()

    async def _begin(self) -> None:
        address = await resolve(self._source, self._allowed)
        command = await (self._by_rtsp if isinstance(self._camera, Camera) else self._by_http)(address)
        self._camera.on_lost = lambda reason: self._end(Cause.CAMERA_LOST, reason)
        self._too_late = "the camera answers but sends no key frame"
        # An empty environment: ours may hold a database password. A session of its own: Ctrl-C is for us to handle.
        # Should we be killed, its input ends with us, and so does it.
        await asyncio.get_running_loop().subprocess_exec(
            lambda: self,
            *command,
            stdin=asyncio.subprocess.DEVNULL if self._door else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={},
            start_new_session=True,
        )

    async def _by_rtsp(self, address: str) -> list[str]:
        assert isinstance(self._camera, Camera)
        track = await self._camera.open(address)
        if not self._trusts_sdp:
            track = track.without_parameter_sets()
        self._trusts_sdp = track.has_parameter_sets
        self._door = Door(self._camera, track)
        return _command(await self._door.open(), track)

    async def _by_http(self, address: str) -> list[str]:
        assert isinstance(self._camera, HttpCamera)
        self._camera.on_changed = self._change
        container = await self._camera.open(address)
        self._trusts_sdp = False
        if container.codec == "JPEG":
            if len(self.transcoding) >= MOST_TRANSCODED:
                raise GatewayUnavailable("this gateway encodes as many MJPEG cameras as it can; close another first")
            self.transcoding.add(self)
        return _piped(container)

    def _release(self) -> None:
        self.transcoding.discard(self)
        self._camera.leave()
        if self._door:
            self._door.close()
        if self._process and self._process.get_returncode() is None:
            self._process.kill()  # it holds nothing worth saving

    async def _gone(self) -> None:
        if self._process:
            await self._exited.wait()

    # The process

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._process = cast("asyncio.SubprocessTransport", transport)
        if self.lost:
            self._process.kill()
            return
        _confine(self._process.get_pid(), is_busy=self in self.transcoding)
        if isinstance(self._camera, HttpCamera):
            self._camera.give_to(cast("asyncio.WriteTransport", self._process.get_pipe_transport(0)))

    def pause_writing(self) -> None:
        if isinstance(self._camera, HttpCamera):  # to an RTSP camera's pace the door sees
            self._camera.pace(go=False)

    def resume_writing(self) -> None:
        if isinstance(self._camera, HttpCamera):
            self._camera.pace(go=True)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if self.lost:
            return
        if fd != 1:
            self._said = (self._said + data)[-_STDERR_BYTES:]
            return
        try:
            for item in self._splitter.feed(data):
                if isinstance(item, Init):
                    self._promise(item)
                else:
                    self._carry(item)
        except NotFragmentedMp4 as error:
            self._end(Cause.CAMERA_LOST, f"the camera's video cannot be carried: {error}")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if self._process:
            self._process.close()
        self._exited.set()
        if self.lost is None:
            said = re.sub(r"[a-z]+://\S+", "(address)", self._said.decode("utf-8", "replace")).strip()
            log.warning("ffmpeg ended by itself", extra={"said": said})
            self._end(Cause.CAMERA_LOST, "the camera's video ended or cannot be carried")

    # The picture

    def _promise(self, init: Init) -> None:
        """What players are told of the video before it comes."""
        if not init.codec.startswith(("avc1.", "avc3.", "hvc1.", "hev1.")):
            raise NotFragmentedMp4("it is neither H.264 nor H.265")
        if init.width * init.height > _MOST_PICTURE:
            raise NotFragmentedMp4(f"a picture of {init.width} x {init.height}")
        self._parameter_sets, self.init = ParameterSets(init), as_hvc1(init)

    def _carry(self, fragment: Fragment) -> None:
        if fragment.starts_with_key_frame and self._parameter_sets:
            news = self._parameter_sets.news(fragment)
            if news and self._first_picture.done():
                self._change()
            elif news and self._trusts_sdp:
                self._end(Cause.CHANGED, "the camera's description does not fit its pictures")
            else:
                self._parameter_sets.learn(news)
            if self._parameter_sets.is_hevc:
                fragment = self._parameter_sets.without(fragment)
        self._publish(fragment)

    def _change(self) -> None:
        self._end(Cause.CHANGED, "the camera's picture has another format now")


@cache
def ffmpeg() -> str:
    """Path of the ffmpeg that is installed with us."""
    return str(imageio_ffmpeg.get_ffmpeg_exe())


def _command(url: str, track: Track) -> list[str]:
    probe = _AT_ONCE if track.has_parameter_sets else "-probesize 5M -analyzeduration 8M -fpsprobesize 0"
    before = (
        f"{_QUIET} -protocol_whitelist tcp -rtsp_transport tcp "
        f"-allowed_media_types video -timeout 12000000 {probe} -f rtsp"
    )
    return [ffmpeg(), *before.split(), "-i", url, *_copied(track.codec).split()]


def _piped(container: Container) -> list[str]:
    before = f"{_QUIET} -protocol_whitelist pipe {_AT_ONCE}"
    if container.codec == "JPEG":
        before += f" -use_wallclock_as_timestamps 1 -threads 1 -filter_threads 1 -max_pixels {MOST_PIXELS}"
        after = f"{_TRANSCODED} {_FRAGMENTS}"
    else:
        after = _copied(container.codec)
    return [ffmpeg(), *before.split(), "-f", container.demuxer, "-i", "pipe:0", *after.split()]


def _copied(codec: str) -> str:
    tag = "-tag:v hev1" if codec == "H265" else ""  # as hvc1 the parameter sets would be gone before we see them
    return f"-map 0:v:0 -c:v copy {tag} {_FRAGMENTS}"


def _confine(process: int, *, is_busy: bool) -> None:
    """What it reads was made by strangers: it gets no more memory than it needs, and can write no file."""
    with suppress(OSError):  # it may be gone already
        resource.prlimit(process, resource.RLIMIT_AS, (_MOST_MEMORY_BYTES, _MOST_MEMORY_BYTES))
        resource.prlimit(process, resource.RLIMIT_FSIZE, (0, 0))
        resource.prlimit(process, resource.RLIMIT_CORE, (0, 0))
        if is_busy:
            os.setpriority(os.PRIO_PROCESS, process, _NICE)
