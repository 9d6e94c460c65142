"""The newest key frame of a pull as a JPEG."""

import asyncio
from contextlib import suppress
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from app.errors import CameraOffline, GatewayUnavailable
from app.streams.embedded.boxes import Fragment
from app.streams.embedded.camera_pull import ffmpeg
from app.streams.embedded.player import Player, refusal_of
from app.streams.embedded.pull import Pull

CONTENT_TYPE = "image/jpeg"
MOST_PIXELS = 8192 * 4320  # of a picture that is decoded: what a camera says of its size is not believed
_DECODE_SECONDS = 5
_WAIT_SECONDS = 8
_REUSE_SECONDS = 1


class _Made(NamedTuple):
    key_frame: Fragment
    at: float
    jpeg: asyncio.Task[bytes]


class Snapshots:
    """Makes each picture once, however many ask for it, and only a few at the same time."""

    def __init__(self, at_once: int = 2) -> None:
        self._turn = asyncio.Semaphore(at_once)
        self._made: WeakKeyDictionary[Pull, _Made] = WeakKeyDictionary()

    async def of(self, player: Player) -> bytes:
        """The picture that a player came for. A refusal as soon as the player has ended; else as `jpeg`."""
        making = asyncio.create_task(self.jpeg(player.channel.pull))
        over: set[asyncio.Future[Any]] = {making, player.ended}
        await asyncio.wait(over, return_when=asyncio.FIRST_COMPLETED)
        if player.ended.done():
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)
            raise refusal_of(player.ended.result())
        return making.result()

    async def jpeg(self, pull: Pull) -> bytes:
        """The newest key frame, at most one group of pictures old.

        Raises CameraOffline where there is none, GatewayUnavailable after 8 s in which others had their turn.
        """
        if pull.lost:  # its last picture must not pass for the present
            raise CameraOffline(pull.lost.detail)
        if pull.init is None or not pull.gop:
            raise CameraOffline("the camera has sent no key frame yet")
        now, newest = asyncio.get_running_loop().time(), pull.gop[0]
        made = self._made.get(pull)
        if made is None or (made.key_frame is not newest and now - made.at >= _REUSE_SECONDS):
            made = _Made(newest, now, asyncio.create_task(self._decoded(pull.init.data + newest.data)))
            self._made[pull] = made
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                return await asyncio.shield(made.jpeg)
        except TimeoutError:
            raise GatewayUnavailable(
                "too many pictures are being made; ask again in a moment", retry_after_seconds=2
            ) from None

    async def _decoded(self, mp4: bytes) -> bytes:
        async with self._turn:
            process = await asyncio.create_subprocess_exec(
                ffmpeg(),
                *("-hide_banner", "-loglevel", "error", "-protocol_whitelist", "pipe", "-threads", "1"),
                *("-max_pixels", str(MOST_PIXELS), "-f", "mp4", "-i", "pipe:0"),
                *("-frames:v", "1", "-threads", "1", "-q:v", "4", "-f", "mjpeg", "pipe:1"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={},
                start_new_session=True,
            )
            try:
                async with asyncio.timeout(_DECODE_SECONDS):
                    jpeg, _ = await process.communicate(mp4)
            except TimeoutError:
                jpeg = b""
            finally:
                if process.returncode is None:
                    with suppress(ProcessLookupError):
                        process.kill()
                    await process.wait()
        if not jpeg:
            raise CameraOffline("no picture can be made of what the camera sends")
        return jpeg
