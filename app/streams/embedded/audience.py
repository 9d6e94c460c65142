"""Those who watch a channel by the same bytes: each fragment is framed once and written to all of them."""

from collections.abc import Callable
from typing import Any, Protocol

from app.fanout import LiveListener, Transport, broadcast_live
from app.streams.embedded.boxes import Fragment, Init
from app.streams.embedded.pull import Cause, Lost


def cause_of(lost: Lost) -> str:
    """Why a view ends whose pull is lost."""
    return "server_stopped" if lost.cause == Cause.STOPPED else lost.cause.value


class Viewer(Protocol):
    """Who watches; `end` takes it out of its audience."""

    def end(self, cause: str) -> None: ...


class Audience:
    """What all audiences share; they differ in how they are told, and in what becomes of them between two pulls."""

    tell: Callable[[int, float], bytes] | None = None
    """How a listener is told what it missed, where that can be said."""

    def __init__(self) -> None:
        self.listeners: dict[Any, LiveListener] = {}

    def join(self, viewer: Viewer, transport: Transport, on_begin: Callable[[], None], init: Init) -> LiveListener:
        """A listener that begins with the next key frame it is given."""
        listener = LiveListener(transport, lambda: viewer.end("behind"), on_begin=on_begin, tell=self.tell)
        listener.begin(self.opening(init))
        self.listeners[viewer] = listener
        return listener

    def leave(self, viewer: Viewer) -> None:
        self.listeners.pop(viewer, None)

    def give(self, fragment: Fragment, seconds: float, limit: int) -> None:
        """Write a fragment of so many seconds to all; who has more than `limit` bytes unread misses it."""
        frame, entry = self.framed(fragment), fragment.starts_with_key_frame
        broadcast_live(self.listeners.values(), frame, entry=entry, seconds=seconds, limit=limit)

    def opening(self, init: Init) -> bytes:
        """What goes before the first fragment."""
        raise NotImplementedError

    def framed(self, fragment: Fragment) -> bytes:
        raise NotImplementedError

    def interrupt(self, lost: Lost) -> None:
        """The pull is lost; another may follow within seconds."""
        raise NotImplementedError

    def resume(self, lost: Lost, before: Init, init: Init) -> None:
        """Another pull follows, with this init segment; its fragments come next, from a key frame on."""
        raise NotImplementedError
