"""A channel is one camera's picture as its viewers know it: it outlives the pull that brings it.

When a pull is lost, or the camera's picture changes, the channel opens the next one at once. Who watches over a
WebSocket or by HLS goes on with it, and a progressive file as well where its track is the same; only when no picture
comes back within seconds do all end, with the cause of the loss.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from enum import Enum
from typing import Protocol

from app import clock
from app.errors import Refusal
from app.fanout import VIDEO_LIMIT, LiveListener, Transport, chunk
from app.streams.embedded.audience import Audience, Viewer, cause_of
from app.streams.embedded.boxes import Fragment
from app.streams.embedded.hls import Playlist
from app.streams.embedded.mse import Messages
from app.streams.embedded.progressive import Progressive
from app.streams.embedded.pull import Cause, Lost, Pull

log = logging.getLogger(__name__)

REOPEN_SECONDS = 5.0
MOST_LOSSES = 5
"""Of one channel within a minute; a camera that is lost more often has no picture."""
_LOSSES_SECONDS = 60.0
_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 1.0
_BEHIND_SECONDS = 4.0  # a viewer may leave this much unread, and two groups of pictures in any case
_LEAST_LIMIT = 64 * 1024


class Framing(Enum):
    """How fragments are written to a viewer."""

    PLAIN = "plain"
    CHUNKED = "chunked"
    """HTTP/1.1 chunks."""
    MESSAGES = "messages"
    """WebSocket frames, with what is to be said between them (`mse`)."""


class Opener(Protocol):
    """What a channel needs of `watched.Pulls`."""

    async def open(self, camera: str, url: str) -> Pull: ...


class Channels:
    """One channel for each camera that is watched in this process, by the name that the caller gives it."""

    def __init__(self, pulls: Opener) -> None:
        self._pulls = pulls
        self._open: dict[str, Channel] = {}

    def __len__(self) -> int:
        return len(self._open)

    async def open(self, name: str, address: str) -> "Channel":
        """The channel of this camera, with its first key frame at hand: the same for all, while it lives.

        The caller holds it in the same tick. Raises CameraOffline within 10 s, or UnsafeSource.
        """
        pull = await self._pulls.open(name, address)
        channel = self._open.get(name)
        if channel is None or channel.lost is not None:
            channel = self._open[name] = Channel(pull, lambda ended: self._forget(name, ended))
        elif channel.pull is not pull:
            channel.go_on_with(pull)
        channel.reopen = lambda: self._pulls.open(name, address)  # with the newest address
        return channel

    def _forget(self, name: str, channel: "Channel") -> None:
        if self._open.get(name) is channel:
            del self._open[name]


class Channel:
    """The picture of one camera with everybody who watches it here: a fragment is framed once and written to all."""

    def __init__(self, pull: Pull, on_end: Callable[["Channel"], None]) -> None:
        self.pull = pull
        self.lost: Lost | None = None
        """Why it is over for good."""
        self.playlist = Playlist()
        self.players: set[Viewer] = set()
        self.reopen: Callable[[], Awaitable[Pull]] | None = None
        """Opens the pull that follows one that is lost; without it a lost pull is the end."""
        self._on_end = on_end
        self._audiences: dict[Framing, Audience] = {
            Framing.PLAIN: Progressive(lambda data: data),
            Framing.CHUNKED: Progressive(chunk),
            Framing.MESSAGES: Messages(),
        }
        self._users = 0
        self._losses: deque[float] = deque(maxlen=MOST_LOSSES + 1)
        self._reopening: asyncio.Task[None] | None = None
        self._limit = VIDEO_LIMIT
        self._gop_bytes, self._gop_seconds = 0, 0.0

    @contextmanager
    def held(self) -> Generator[None]:
        """The pull goes on within the block, though nobody may watch yet."""
        self._use(1)
        try:
            yield
        finally:
            self._use(-1)

    def add(self, viewer: Viewer) -> None:
        """The pull goes on for as long as it has viewers."""
        self.players.add(viewer)
        self._use(1)

    def remove(self, viewer: Viewer) -> None:
        self.players.discard(viewer)
        for audience in self._audiences.values():
            audience.leave(viewer)
        self._use(-1)

    def _use(self, change: int) -> None:
        """Count who needs the pull: it is subscribed to with the first and let go with the last."""
        self._users += change
        if self._users == 1 and change > 0 and self.lost is None:
            self._follow()
        if self._users == 0:
            self.pull.unsubscribe(self)
            self._stop_reopening()
            self.playlist.close()
            self._on_end(self)

    def attach(
        self, viewer: Viewer, transport: Transport, framing: Framing, on_begin: Callable[[], None]
    ) -> LiveListener:
        """Give a joiner the init segment and the current group of pictures, and from now on every fragment."""
        init = self.pull.init
        assert init is not None
        audience = self._audiences[framing]
        listener = audience.join(viewer, transport, on_begin, init)
        if self.pull.lost is None:  # an old picture must not pass for the present
            for fragment in self.pull.gop:
                seconds = fragment.duration / init.timescale
                entry = fragment.starts_with_key_frame
                listener.offer(audience.framed(fragment), VIDEO_LIMIT, entry=entry, seconds=seconds)
        return listener

    # What the pull says

    def on_fragment(self, fragment: Fragment) -> None:
        assert self.pull.init is not None
        seconds = fragment.duration / self.pull.init.timescale
        if fragment.starts_with_key_frame:
            self._measure()
        self._gop_bytes += len(fragment.data)
        self._gop_seconds += seconds
        for audience in self._audiences.values():
            if audience.listeners:
                audience.give(fragment, seconds, self._limit)
        if self._users:  # the last of them may just have been sent away
            self.playlist.on_fragment(fragment)

    def _measure(self) -> None:
        """How many bytes a viewer may leave unread, by the group of pictures that has just ended."""
        if self._gop_seconds:
            groups = max(2.0, _BEHIND_SECONDS / self._gop_seconds)
            self._limit = int(min(max(groups * self._gop_bytes, _LEAST_LIMIT), VIDEO_LIMIT))
        self._gop_bytes, self._gop_seconds = 0, 0.0

    def on_lost(self, lost: Lost) -> None:
        self._losses.append(clock.monotonic())
        too_often = len(self._losses) > MOST_LOSSES and self._losses[-1] - self._losses[0] < _LOSSES_SECONDS
        if self.reopen is None or lost.cause == Cause.STOPPED or too_often:
            self._end(lost)
            return
        self.playlist.interrupt()
        for audience in self._audiences.values():
            audience.interrupt(lost)
        if self._users:
            self._reopening = asyncio.create_task(self._reopen(lost))

    # From one pull to the next

    def _follow(self) -> None:
        """Listen to the pull, from its newest key frame on."""
        self.playlist.follow(self.pull)
        self.pull.subscribe(self)
        if self.pull.lost is None:
            for fragment in self.pull.gop:
                self.on_fragment(fragment)

    async def _reopen(self, lost: Lost) -> None:
        """Open the next pull, again and again for some seconds; without one it is over."""
        pause = _PAUSE_SECONDS
        try:
            async with asyncio.timeout(REOPEN_SECONDS):
                while True:
                    assert self.reopen is not None
                    try:
                        pull = await self.reopen()
                    except Refusal:
                        pass
                    else:
                        if pull.lost is None:
                            self.go_on_with(pull)
                            return
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        except TimeoutError:
            self._end(lost)
        except Exception:
            log.exception("a lost camera could not be opened again")
            self._end(lost)

    def go_on_with(self, pull: Pull) -> None:
        """Carry on with another pull, whose first key frame is at hand."""
        self._stop_reopening()
        before, self.pull = self.pull, pull
        before.unsubscribe(self)
        assert before.init is not None
        assert pull.init is not None
        lost = before.lost or Lost(Cause.GATEWAY_LOST, "the camera was opened anew")
        for audience in self._audiences.values():
            audience.resume(lost, before.init, pull.init)
        if self._users:
            self._follow()

    def _stop_reopening(self) -> None:
        task, self._reopening = self._reopening, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    def _end(self, lost: Lost) -> None:
        self.lost = lost
        self.playlist.end(lost)
        for viewer in list(self.players):
            viewer.end(cause_of(lost))
        self._on_end(self)
