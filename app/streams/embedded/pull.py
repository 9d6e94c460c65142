"""A watched camera is pulled once, and every listener is given the same fragments.

`Pull` keeps the init segment and the current group of pictures (GOP), so that who joins has a picture at once, and
tells its listeners synchronously: no task per listener, no await in the broadcast. It ends once and for good,
whatever the reason: camera, ffmpeg, the process that pulled, or nobody watching any more. Who still wants pictures
opens a new one.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from app.clock import now
from app.errors import CameraOffline, Refusal
from app.streams.embedded.boxes import Fragment, Init

START_SECONDS = 9.0  # a camera that is offline is said to be so within 10 s
LINGER_SECONDS = 5.0
GONE_SECONDS = 1.0  # who was told to end has ended by then, or cannot end just now
STALL_SECONDS = 10.0
MAX_GOP_BYTES = 16 * 1024 * 1024
LEAST_SEGMENT_SECONDS = 1.5
_RATE_SECONDS, _BURST_SECONDS = 4.0, 0.5

log = logging.getLogger(__name__)


class Cause(StrEnum):
    """Why a pull ended."""

    CAMERA_LOST = "camera_lost"
    GATEWAY_LOST = "gateway_lost"
    """The process that pulled went away; the camera may be well."""
    CHANGED = "changed"
    """The picture's format changed in mid-stream: the next pull has an init segment of its own."""
    STOPPED = "stopped"
    """Nobody watched any more, or this service stops."""


@dataclass(frozen=True, slots=True)
class Lost:
    cause: Cause
    detail: str
    """For people; holds no address and no credentials."""


class PullerGone(Exception):  # noqa: N818 - it says what happened
    """It ended before the first picture, without saying that the camera is lost: try again.

    Of a relay, the process that pulls went away; of a pull that ended with `changed`, see there.
    """


class Listener(Protocol):
    """Both are called in the event loop and must return at once; one that raises is unsubscribed."""

    def on_fragment(self, fragment: Fragment) -> None:
        """The next fragment, in order and without a gap, from the moment of subscribing."""

    def on_lost(self, lost: Lost) -> None:
        """The last call."""


class Pull:
    """The fan-out that all kinds of pulls share; they differ in where fragments come from."""

    def __init__(self, *, linger_seconds: float = LINGER_SECONDS, on_end: Callable[[], None] = lambda: None) -> None:
        self.init: Init | None = None
        self.gop: list[Fragment] = []
        """From the newest key frame on; empty while none is at hand: then a joiner waits for the next key frame."""
        self.segment = 0
        """Number of the HLS segment that the current GOP belongs to: the same in all processes that share the pull.

        It begins with the clock's seconds, and no segment is that short: a later pull's numbers never go back.
        """
        self.segment_began = 0
        self.lost: Lost | None = None
        self.was_watched = False
        """Of a pull that is lost: whether anybody was listening."""
        self.kbps = 0
        """Measured over the last seconds, in kbit/s; 0 while it is not known yet."""
        self.on_end = on_end
        self._linger_seconds = linger_seconds
        self._too_late = "the camera does not answer in time"
        self._listeners: tuple[Listener, ...] = ()
        self._gop_bytes = 0
        self._seen_at = 0.0
        self._rate_bytes, self._rate_from = 0, 0.0
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._first_picture: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self, within_seconds: float = START_SECONDS) -> None:
        """Return when the first key frame is at hand. Raises CameraOffline or PullerGone, leaving nothing behind."""
        try:
            await self._open(within_seconds)
        except BaseException:
            with suppress(TimeoutError):
                async with asyncio.timeout(GONE_SECONDS):
                    await self._gone()
            raise
        self._rate_bytes, self._rate_from = 0, self._seen_at + _BURST_SECONDS  # what was kept comes at once
        self._watch_for_stall()
        self._linger()

    async def _open(self, within_seconds: float) -> None:
        try:
            async with asyncio.timeout(within_seconds):
                await self._begin()
                await self._first_picture
        except TimeoutError:
            self._end(Cause.CAMERA_LOST, self._too_late)
            raise CameraOffline(self._too_late) from None
        except Refusal as refusal:
            self._end(Cause.CAMERA_LOST, refusal.detail)
            raise
        except BaseException:
            self._end(Cause.STOPPED, "the camera is not opened after all")
            raise

    def subscribe(self, listener: Listener) -> None:
        """From now on it is told of every fragment; `init` and `gop`, read in the same tick, are what came before."""
        if self.lost:
            listener.on_lost(self.lost)
            return
        self._listeners += (listener,)
        if timer := self._timers.pop("linger", None):
            timer.cancel()

    def unsubscribe(self, listener: Listener) -> None:
        """It is told no more. With the last one gone the pull ends after a few seconds, unless somebody comes."""
        self._listeners = tuple(one for one in self._listeners if one is not listener)
        self._linger()

    async def stop(self) -> None:
        """End now, telling the listeners, and return when nothing of it is left."""
        self._end(Cause.STOPPED, "the service stops")
        await self._gone()

    async def _begin(self) -> None:
        """Make fragments come. Raises CameraOffline."""
        raise NotImplementedError

    def _release(self) -> None:
        """Let go of everything; called once."""
        raise NotImplementedError

    async def _gone(self) -> None:
        """Wait until what was let go of is gone."""

    def _publish(self, fragment: Fragment) -> None:
        if self.lost or self.init is None:
            return
        if fragment.duration > STALL_SECONDS * self.init.timescale:
            self._end(Cause.CAMERA_LOST, "the camera's clock jumped")  # no player gets over such a hole
            return
        self._keep(fragment, self.init.timescale)
        self._seen_at = asyncio.get_running_loop().time()
        self._measure(len(fragment.data))
        for listener in self._listeners:
            try:
                listener.on_fragment(fragment)
            except Exception:  # one listener's fault must not reach the others
                log.exception("a listener failed")
                self.unsubscribe(listener)

    def _measure(self, size: int) -> None:
        seconds = self._seen_at - self._rate_from
        if seconds < 0:
            return
        self._rate_bytes += size
        if seconds >= _RATE_SECONDS:
            self.kbps = round(self._rate_bytes * 8 / 1000 / seconds)
            self._rate_bytes, self._rate_from = 0, self._seen_at

    def _keep(self, fragment: Fragment, timescale: int) -> None:
        if fragment.starts_with_key_frame:
            age = fragment.decode_time - self.segment_began
            if not self.segment:
                self.segment, self.segment_began = int(now().timestamp()), fragment.decode_time
            elif age >= LEAST_SEGMENT_SECONDS * timescale:
                self.segment, self.segment_began = self.segment + 1, fragment.decode_time
            self.gop, self._gop_bytes = [], 0
            if not self._first_picture.done():
                self._first_picture.set_result(None)
        if fragment.starts_with_key_frame or self.gop:
            self.gop.append(fragment)
            self._gop_bytes += len(fragment.data)
            if self._gop_bytes > MAX_GOP_BYTES:
                self.gop = []

    def _end(self, cause: Cause, detail: str) -> None:
        if self.lost:
            return
        self.lost = Lost(cause, detail)
        for timer in self._timers.values():
            timer.cancel()
        self._release()
        if not self._first_picture.done():
            refusal = CameraOffline(detail) if cause is Cause.CAMERA_LOST else PullerGone(detail)
            self._first_picture.set_exception(refusal)
            self._first_picture.exception()  # who starts may have given up already
        listeners, self._listeners = self._listeners, ()
        self.was_watched = bool(listeners)
        for listener in listeners:
            try:
                listener.on_lost(self.lost)
            except Exception:
                log.exception("a listener failed")
        self.on_end()

    def _linger(self) -> None:
        if not self._listeners and not self.lost and "linger" not in self._timers and self._first_picture.done():
            self._timers["linger"] = asyncio.get_running_loop().call_later(
                self._linger_seconds, self._end, Cause.STOPPED, "nobody watches any more"
            )

    def _watch_for_stall(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() - self._seen_at > STALL_SECONDS:
            self._end(Cause.CAMERA_LOST, f"the camera sent no picture for {STALL_SECONDS:.0f} s")
        if not self.lost:
            self._timers["stall"] = loop.call_later(STALL_SECONDS / 4, self._watch_for_stall)
