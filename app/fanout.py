"""Frame once, write to many: one engine for the event feed and the video edge.

A message is validated, encoded and framed once; the same bytes object is then written straight to the transports of
all its listeners. Every listener is bounded by bytes. There is no task per listener and no await in a broadcast: one
that falls behind is told so, and the others never wait for it. Of events none may be missing, so a `Listener` that
falls behind goes; of what is live only the present counts, so a `LiveListener` skips to it.

Below uvicorn the transport is reached by the protocol classes of `app/transports.py`; behind any other ASGI server
`Pump` gives the same interface through `await send(...)`.

Where nothing waits in a transport, bytes go past it straight to the kernel, and only what the kernel does not take is
given to the transport: its queue, which is walked once more for each pass, would cost a tenth of all.
"""

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Protocol

from app import clock

FEED_LIMIT = 1 << 20
VIDEO_LIMIT = 2 << 20
BEHIND_SECONDS = 10.0
WINDOW_SECONDS = 0.002  # in which a storm is gathered
PASS = 1000  # listeners that are written to before others on the loop have their turn
_LOW_PART = 4  # who skips may begin anew when this part of the limit, or less, still waits


class Transport(Protocol):
    """What is needed of a connection; asyncio's and uvloop's transports have it."""

    def write(self, data: bytes) -> None: ...
    def get_write_buffer_size(self) -> int: ...
    def is_closing(self) -> bool: ...
    def abort(self) -> None: ...


class Listener:
    """One connection that takes messages, of which none may be missing.

    When more than `limit` bytes would wait to be taken, it has fallen behind: `on_behind` is called once, and nothing
    more is written. `delivered` counts the events that were.
    """

    __slots__ = ("delivered", "descriptor", "gone", "is_closing", "limit", "on_behind", "transport", "waiting")

    def __init__(self, transport: Transport, limit: int, on_behind: Callable[[], None]) -> None:
        self.transport = transport
        self.limit = limit
        self.on_behind = on_behind
        self.delivered = 0
        self.gone = False
        self.descriptor = _descriptor(transport)
        self.is_closing, self.waiting = _questions(transport)

    def write(self, frames: bytes, events: int = 0) -> bool:
        """Hand over frames that carry so many events; False when the listener is gone or has fallen behind."""
        return broadcast((self,), frames, events) == 1

    def leave(self, last: bytes = b"") -> None:
        """Nothing more is written, but for a last word; what waits in a pass that has begun is left out, too."""
        if last and not self.transport.is_closing():
            self.transport.write(last)
        self.gone = True


class Group:
    """Listeners that are told the same. Who joins hears what is put from then on, who leaves nothing more."""

    __slots__ = ("listeners", "parcel")

    def __init__(self) -> None:
        self.listeners: dict[Listener, None] = {}
        self.parcel: _Parcel | None = None  # what waits for exactly these listeners

    def join(self, listener: Listener) -> None:
        self._part()
        self.listeners[listener] = None

    def leave(self, listener: Listener) -> None:
        """Of what was put before, the listener is still given everything, unless it has left altogether."""
        self._part()
        self.listeners.pop(listener, None)

    def _part(self) -> None:
        if self.parcel is not None:
            self.listeners, self.parcel = dict(self.listeners), None


class _Parcel:
    """Frames that wait to be written to some listeners, as one write each."""

    __slots__ = ("frames", "group", "listeners")

    def __init__(self, group: Group) -> None:
        self.group = group
        self.listeners = group.listeners
        self.frames: list[bytes] = []


class Outbox:
    """What is on its way to groups of listeners: at once after a pause, and together in a storm.

    `put` frames, then `send` them. What is sent after a pause goes at once; what comes within the next 2 ms waits for
    their end and then goes as one write to each listener. Urgent things end the wait, together with what waits already:
    nothing overtakes. A pass over more than 1,000 listeners gives the loop to others after each thousand; what is sent
    meanwhile goes when it is over.
    """

    def __init__(self, window_seconds: float = WINDOW_SECONDS) -> None:
        self._window_seconds = window_seconds
        self._parcels: list[_Parcel] = []
        self._window: asyncio.TimerHandle | None = None  # set while something waits for the window's end
        self._flushed_at = float("-inf")
        self._passing: asyncio.Task[None] | None = None

    def put(self, group: Group, frame: bytes) -> None:
        """Add an event's frame to what goes to a group, in order."""
        parcel = group.parcel
        if parcel is None:
            parcel = group.parcel = _Parcel(group)
            self._parcels.append(parcel)
        parcel.frames.append(frame)

    def send(self, *, urgent: bool = False) -> None:
        """Let go what was put: now, or when the window or the pass is over."""
        if not self._parcels or self._passing is not None:
            return
        # A pass is written by the loop after it has been handed over: its time is a part of the storm.
        loop = asyncio.get_running_loop()
        if urgent or loop.time() >= self._flushed_at + 2 * self._window_seconds:
            self._flush()
        elif self._window is None:
            self._window = loop.call_later(self._window_seconds, self._close_window)

    @property
    def busy(self) -> bool:
        """Something that was put has not been written yet."""
        return bool(self._parcels) or self._passing is not None

    async def settled(self) -> None:
        """Everything that was put has been written."""
        while self.busy:
            if self._passing is not None:
                await asyncio.shield(self._passing)
            else:
                self._flush()

    def _flush(self) -> None:
        if self._window is not None:
            self._window.cancel()
            self._window = None
        parcels, self._parcels = self._parcels, []
        passes = []
        for parcel in parcels:
            if parcel.group.parcel is parcel:
                parcel.group.parcel = None  # from here on its listeners may change under it: they are copied
            passes.append((tuple(parcel.listeners), b"".join(parcel.frames), len(parcel.frames)))
        if sum(len(listeners) for listeners, _, _ in passes) <= PASS:
            for listeners, frames, events in passes:
                broadcast(listeners, frames, events)
            self._flushed_at = asyncio.get_running_loop().time()
        else:
            self._passing = asyncio.create_task(self._pass(passes), name="pass")

    async def _pass(self, passes: list[tuple[tuple[Listener, ...], bytes, int]]) -> None:
        written = 0
        for listeners, frames, events in passes:
            for start in range(0, len(listeners), PASS):
                some = listeners[start : start + PASS]
                if written + len(some) > PASS:
                    await asyncio.sleep(0)
                    written = 0
                broadcast(some, frames, events)
                written += len(some)
        self._passing = None
        self._flushed_at = asyncio.get_running_loop().time()
        if self._parcels:
            self._flush()

    def _close_window(self) -> None:
        self._window = None
        self._flush()


def _descriptor(transport: Transport) -> int:
    """Of the socket below a transport, to write to it directly; negative where there is none, or TLS stands between."""
    told = getattr(transport, "get_extra_info", None)
    if told is None or told("ssl_object") is not None or (connection := told("socket")) is None:
        return -1
    return int(connection.fileno())


def _questions(transport: Transport) -> tuple[Callable[[Transport], bool], Callable[[Transport], int]]:
    """`is_closing` and `get_write_buffer_size` of a transport's type, asked for every message of every listener.

    Bound methods would be objects of each listener's own, and what is read from memory is most of what asking costs.
    """
    kind = type(transport)
    return kind.is_closing, kind.get_write_buffer_size


def broadcast(listeners: Iterable[Listener], frames: bytes, events: int = 1) -> int:
    """Write the same frames to each listener; returns to how many. Never waits."""
    size, written, write = len(frames), 0, os.write
    for listener in listeners:  # the hottest loop of the house: nothing is called that need not be
        transport, is_closing, waiting = listener.transport, listener.is_closing, listener.waiting
        if listener.gone or is_closing(transport):  # the descriptor of one that closes may be another's already
            continue
        waits = waiting(transport)
        if waits + size > listener.limit:
            listener.gone = True
            listener.on_behind()
            continue
        descriptor = listener.descriptor
        if waits or descriptor < 0:
            transport.write(frames)
        else:
            try:
                taken = write(descriptor, frames)
            except OSError:  # it takes nothing just now, or never again: the transport sees to both
                taken = 0
            if taken < size:
                transport.write(frames[taken:])
        listener.delivered += events
        written += 1
    return written


class LiveListener:
    """One connection that watches something live, from an entry on: a frame that can be understood by itself.

    When more than the limit would wait for it, it misses whole frames, until an entry comes and most of what waited
    has been taken. `tell(frames, seconds)` makes the frame that says what it missed, for a protocol that has one;
    `on_begin` is called whenever it begins (anew), `on_behind` once, when it has been behind for 10 s. `begun` while it
    is given every frame, as it comes; `bytes` are those that it was given.
    """

    __slots__ = (
        "_behind_since", "_missed_frames", "_missed_seconds", "_opening", "begun", "bytes", "descriptor", "is_closing",
        "on_begin", "on_behind", "tell", "transport", "waiting",
    )  # fmt: skip

    def __init__(
        self,
        transport: Transport,
        on_behind: Callable[[], None],
        *,
        on_begin: Callable[[], None] = lambda: None,
        tell: Callable[[int, float], bytes] | None = None,
    ) -> None:
        self.transport = transport
        self.on_behind, self.on_begin, self.tell = on_behind, on_begin, tell
        self.bytes = 0
        self.descriptor = _descriptor(transport)
        self._opening = b""
        self.begun = False
        self._behind_since: float | None = None
        self._missed_frames, self._missed_seconds = 0, 0.0
        self.is_closing, self.waiting = _questions(transport)

    def begin(self, opening: bytes) -> None:
        """Begin (anew) with the next entry; `opening` goes before it."""
        self._opening, self.begun = opening, False

    def say(self, frame: bytes) -> None:
        """Write a small message now, between frames; who is behind is not told."""
        if self._behind_since is None and not self.transport.is_closing():
            self._put(frame)

    def offer(self, frame: bytes, limit: int, *, entry: bool, seconds: float) -> bool:
        """Write one frame, or miss it; False when it has been behind for too long. `seconds` is what is missed."""
        if self.transport.is_closing():
            return True
        if self.begun and self.transport.get_write_buffer_size() + len(frame) <= limit:
            self.transport.write(frame)
            self.bytes += len(frame)
            return True
        if not self.begun and entry and self.transport.get_write_buffer_size() <= limit // _LOW_PART:
            self._enter(frame)
            return True
        if self.begun or self._behind_since is not None:
            self._missed_frames += 1
            self._missed_seconds += seconds
        if self.begun:
            self.begun, self._behind_since = False, clock.monotonic()
        return self._behind_since is None or clock.monotonic() - self._behind_since <= BEHIND_SECONDS

    def _enter(self, frame: bytes) -> None:
        if self._missed_frames and self.tell:
            self._put(self.tell(self._missed_frames, self._missed_seconds))
        if self._opening:
            self._put(self._opening)
        self._put(frame)
        self._opening, self.begun, self._behind_since = b"", True, None
        self._missed_frames, self._missed_seconds = 0, 0.0
        self.on_begin()

    def _put(self, frame: bytes) -> None:
        self.transport.write(frame)
        self.bytes += len(frame)


def broadcast_live(
    listeners: Iterable[LiveListener], frame: bytes, *, entry: bool, seconds: float, limit: int = VIDEO_LIMIT
) -> None:
    """Offer one frame to each listener. Never waits; who is sent away is told so when all have been served."""
    size, lagging, write = len(frame), [], os.write  # `on_behind` may change what `listeners` iterates over
    fits = size <= limit
    for listener in listeners:  # the hottest loop of the edge: most have begun, and nothing waits for them
        transport, is_closing, waiting = listener.transport, listener.is_closing, listener.waiting
        descriptor = listener.descriptor
        if fits and listener.begun and descriptor >= 0 and not (is_closing(transport) or waiting(transport)):
            try:
                taken = write(descriptor, frame)
            except OSError:  # as in `broadcast`
                taken = 0
            if taken < size:
                transport.write(frame[taken:])
            listener.bytes += size
        elif not listener.offer(frame, limit, entry=entry, seconds=seconds):
            lagging.append(listener)
    for listener in lagging:
        listener.on_behind()


class Pump:
    """A transport over an ASGI `send`: frames wait here, and one task hands them on. The plain fallback."""

    def __init__(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        self._send = send
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._wake = asyncio.Event()
        self._closing = False

    def write(self, data: bytes) -> None:
        self._waiting.append(data)
        self._size += len(data)
        self._wake.set()

    def get_write_buffer_size(self) -> int:
        return self._size

    def is_closing(self) -> bool:
        return self._closing

    def abort(self) -> None:
        """Drop what waits and end `run`."""
        self._closing = True
        self._waiting.clear()
        self._wake.set()

    async def run(self) -> None:
        """Hand frames on until `abort`."""
        while not self._closing:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting and not self._closing:
                data = self._waiting.popleft()
                await self._send(data)
                self._size -= len(data)


def text_frame(payload: bytes) -> bytes:
    """One unmasked, final WebSocket text frame (RFC 6455 §5.2) around UTF-8 bytes."""
    return _frame(b"\x81", payload)


def binary_frame(payload: bytes) -> bytes:
    """One unmasked, final WebSocket binary frame (RFC 6455 §5.2)."""
    return _frame(b"\x82", payload)


def _frame(head: bytes, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:  # noqa: PLR2004 - the RFC's own limits
        return b"%b%c%b" % (head, size, payload)
    if size < 1 << 16:
        return b"%b\x7e%b%b" % (head, size.to_bytes(2, "big"), payload)
    return b"%b\x7f%b%b" % (head, size.to_bytes(8, "big"), payload)


def unframed(frames: bytes) -> Iterator[tuple[bool, bytes]]:
    """(whether it is text, payload) of each frame that `text_frame` or `binary_frame` made: for servers that frame."""
    at = 0
    while at < len(frames):
        is_text, size = frames[at] == 0x81, frames[at + 1]  # noqa: PLR2004 - FIN and the opcode of text
        at += 2
        if longer := {126: 2, 127: 8}.get(size, 0):
            size, at = int.from_bytes(frames[at : at + longer], "big"), at + longer
        yield is_text, frames[at : at + size]
        at += size


def chunk(payload: bytes) -> bytes:
    """One chunk of HTTP/1.1 chunked transfer coding (RFC 9112 §7.1)."""
    return b"%x\r\n%b\r\n" % (len(payload), payload)
