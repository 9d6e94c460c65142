"""The pull that reads the camera itself: RTSP through the proxy, one ffmpeg that copies video alone into fragments."""

import asyncio
import logging
import re
from collections.abc import Callable
from functools import cache
from typing import cast

import imageio_ffmpeg

from app.errors import CameraOffline
from app.registry.addresses import Networks, Source, resolve
from app.streams.embedded.boxes import Init, NotFragmentedMp4, Splitter
from app.streams.embedded.pull import LINGER_SECONDS, Cause, Pull
from app.streams.embedded.rtsp import Track
from app.streams.embedded.rtsp_proxy import Camera, Door

_STDERR_BYTES = 4096

log = logging.getLogger(__name__)


class CameraPull(Pull, asyncio.SubprocessProtocol):
    """One camera, one connection to it, one ffmpeg."""

    def __init__(
        self,
        source: Source,
        allowed: Networks,
        *,
        linger_seconds: float = LINGER_SECONDS,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(linger_seconds=linger_seconds, on_end=on_end)
        self._source, self._allowed = source, allowed
        self._camera = Camera(source)
        self._door: Door | None = None
        self._splitter = Splitter()
        self._said = b""
        self._process: asyncio.SubprocessTransport | None = None
        self._exited = asyncio.Event()

    async def _begin(self) -> None:
        if self._source.scheme not in {"rtsp", "rtsps"}:
            raise CameraOffline("this gateway reads cameras over rtsp:// and rtsps:// only")
        track = await self._camera.open(await resolve(self._source, self._allowed))
        self._camera.on_lost = lambda reason: self._end(Cause.CAMERA_LOST, reason)
        self._door = Door(self._camera, track)
        self._too_late = "the camera answers but sends no key frame"
        command = _command(await self._door.open(), track)
        # An empty environment: ours may hold a database password. A session of its own: Ctrl-C is for us to handle.
        # Should we be killed, its RTSP connection ends with us, and so does it.
        await asyncio.get_running_loop().subprocess_exec(
            lambda: self,
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={},
            start_new_session=True,
        )

    def _release(self) -> None:
        self._camera.leave()
        if self._door:
            self._door.close()
        if self._process and self._process.get_returncode() is None:
            self._process.kill()  # it holds nothing worth saving

    async def _gone(self) -> None:
        if self._process:
            await self._exited.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._process = cast("asyncio.SubprocessTransport", transport)
        if self.lost:
            self._process.kill()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if self.lost:
            return
        if fd != 1:
            self._said = (self._said + data)[-_STDERR_BYTES:]
            return
        try:
            for item in self._splitter.feed(data):
                if isinstance(item, Init):
                    self.init = item
                else:
                    self._publish(item)
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


@cache
def ffmpeg() -> str:
    """Path of the ffmpeg that is installed with us."""
    return str(imageio_ffmpeg.get_ffmpeg_exe())


def _command(url: str, track: Track) -> list[str]:
    # Picture size and profile are in the SDP of most cameras, so nothing needs to be probed: the init segment comes
    # after 0.1 s instead of 2. `-fflags nobuffer` would throw the probed frames away, the first key frame with them.
    probe = "-probesize 32 -analyzeduration 1" if track.has_parameter_sets else "-probesize 5M -analyzeduration 8M"
    tag = "-tag:v hvc1" if track.codec == "H265" else ""  # as hev1 it is not played by Apple's players
    before = (
        "-hide_banner -nostdin -loglevel error -protocol_whitelist tcp -rtsp_transport tcp "
        f"-allowed_media_types video -timeout 12000000 {probe} -fpsprobesize 0 -f rtsp"
    )
    after = (
        f"-map 0:v:0 -c:v copy {tag} -an -sn -dn -map_metadata -1 -f mp4 "
        "-movflags empty_moov+default_base_moof+frag_every_frame+skip_trailer -flush_packets 1 pipe:1"
    )
    return [ffmpeg(), *before.split(), "-i", url, *after.split()]
