"""A player is one viewer of one camera: an opened view, the connections that it is given pictures on, and its end."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

from app import clock
from app.errors import CameraOffline, GatewayUnavailable, GrantEnded, Overloaded, Refusal
from app.fanout import LiveListener
from app.streams.embedded.audience import cause_of
from app.streams.embedded.channels import Channel, Framing
from app.streams.views import Opened
from app.transports import cap_send_buffer, cut, unsent_bytes

__all__ = ["Channel", "Framing", "Player", "refusal_of"]

MOST_ANSWERS = 16  # at the same time: a player asks for one or two


def refusal_of(cause: str) -> Refusal:
    """What is said to a request whose player has ended meanwhile."""
    if cause in {"camera_lost", "gateway_lost", "changed"}:
        return CameraOffline("the camera was lost; ask again in a moment", retry_after_seconds=2)
    if cause in {"server_stopped", "moved", "unvouched"}:
        return GatewayUnavailable("this gateway cannot go on; ask again in a moment", retry_after_seconds=2)
    return GrantEnded("this permission ended meanwhile; ask for a new grant")


class Player:
    """One viewer of one camera. `ended` holds the cause once it is over."""

    def __init__(self, view: Opened, channel: Channel) -> None:
        self.channel = channel
        self.keys: set[tuple[Any, ...]] = set()
        """Every `key` that it has had: a URL that began it goes on meaning it."""
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.first_byte_at: datetime | None = None
        self._listener: LiveListener | None = None
        self._framing = Framing.PLAIN
        self._answering: dict[Any, int] = {}  # the size of the answer that each connection is taking just now
        self._touched_at = clock.monotonic()
        self._take(view)
        channel.add(self)
        if channel.lost is not None:
            self.end(cause_of(channel.lost))

    def _take(self, view: Opened) -> None:
        self.view = view
        self.ticket = view.permit.ticket
        self.keys.add(self.key)
        self.deadline = clock.monotonic() + view.permit.seconds_left
        self._began = clock.monotonic()
        self._carried = 0
        self._carried_before = self._listener.bytes if self._listener else 0

    def hand_over(self, view: Opened) -> None:
        """Play on under another view: what was carried and how long is counted anew, the picture goes on.

        The caller has read what was counted for the view before.
        """
        self._take(view)
        self.first_byte_at = clock.now() if self._listener is not None and self._listener.begun else None

    @property
    def key(self) -> tuple[Any, ...]:
        """One live player per URL: the same grant, camera and protocol."""
        return (self.ticket.grant_id, self.ticket.camera_id, self.view.protocol)

    @property
    def is_duty(self) -> bool:
        return bool(self.view.permit.facts["kind"] == "duty")

    @property
    def bytes(self) -> int:
        return self._carried + (self._listener.bytes - self._carried_before if self._listener else 0)

    @property
    def seconds(self) -> float:
        return clock.monotonic() - self._began

    @property
    def touched_at(self) -> float:
        """When (monotonic) it last asked for something, or now while it takes an answer."""
        return clock.monotonic() if self._answering else self._touched_at

    def play_on(self, transport: Any, framing: Framing) -> None:
        """Write to this transport from now on, until the player ends."""
        if self.ended.done():
            if framing is not Framing.MESSAGES:  # its door says why
                cut(transport)
            return
        if framing is not Framing.PLAIN:
            cap_send_buffer(transport)
        self._framing = framing
        self._listener = self.channel.attach(self, transport, framing, self._began_to_play)

    def _began_to_play(self) -> None:
        self.first_byte_at = self.first_byte_at or clock.now()

    def may_answer(self) -> None:
        """See that an answer may begin now; raises what is to be said instead."""
        if self.ended.done():
            raise refusal_of(self.ended.result())
        if len(self._answering) >= MOST_ANSWERS:
            raise Overloaded(f"a player takes at most {MOST_ANSWERS} answers at once", retry_after_seconds=1)

    @contextmanager
    def answering(self, transport: Any, size: int) -> Generator[None]:
        """Within the block an answer of `size` bytes is written to this transport; the player's end cuts it.

        Leave the block when nothing of the answer waits any more.
        """
        self._touched_at = clock.monotonic()
        self._began_to_play()
        self._answering[transport] = size
        try:
            yield
        finally:
            if transport in self._answering:
                self._let_go(transport)

    def _let_go(self, transport: Any) -> None:
        waiting = 0 if transport.is_closing() else transport.get_write_buffer_size()
        self._carried += max(0, self._answering.pop(transport) - waiting)
        self._touched_at = clock.monotonic()

    def count(self, size: int) -> None:
        """Bytes that were answered otherwise: without a transport, or by the caller."""
        self._touched_at = clock.monotonic()
        self._began_to_play()
        self._carried += size

    def end(self, cause: str) -> None:
        """Cut now: nothing of the picture leaves after this returns.

        A WebSocket on which nothing waits any more is left to its door, which says good-bye and then cuts it.
        """
        if self.ended.done():
            return
        self.ended.set_result(cause)
        self.channel.remove(self)
        lines = list(self._answering)
        for line in lines:
            self._let_go(line)
        if self._listener is not None and cause != "client":
            line = self._listener.transport
            if self._framing is not Framing.MESSAGES or line.is_closing() or unsent_bytes(line):
                lines.append(line)
        for line in lines:
            with suppress(OSError):
                cut(line)
