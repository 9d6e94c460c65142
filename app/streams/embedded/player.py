"""Players: those who watch a pull, and the channel that frames each fragment once for all of them."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

from app import clock
from app.fanout import VIDEO_LIMIT, Listener, broadcast, chunk
from app.streams.embedded.boxes import Fragment
from app.streams.embedded.hls import Playlist
from app.streams.embedded.pull import Lost, Pull
from app.streams.views import Opened
from app.transports import cap_send_buffer, cut

CAUSES = {"camera_lost": "camera_lost", "gateway_lost": "gateway_lost", "stopped": "server_stopped"}


class Channel:
    """One pull with everybody who watches it here: a fragment is framed once and written to all."""

    def __init__(self, pull: Pull, on_end: Callable[["Channel"], None]) -> None:
        self.pull = pull
        self.playlist = Playlist(pull)
        self.players: set[Player] = set()
        self._on_end = on_end
        self._chunked: dict[Player, Listener] = {}
        self._plain: dict[Player, Listener] = {}
        self._users = 0

    @contextmanager
    def held(self) -> Generator[None]:
        """The pull goes on within the block, though nobody may watch yet."""
        self._use(1)
        try:
            yield
        finally:
            self._use(-1)

    def add(self, player: "Player") -> None:
        """The pull goes on for as long as it has players."""
        self.players.add(player)
        self._use(1)

    def remove(self, player: "Player") -> None:
        self.players.discard(player)
        self._chunked.pop(player, None)
        self._plain.pop(player, None)
        self._use(-1)

    def _use(self, change: int) -> None:
        """Count who needs the pull: it is subscribed to with the first and let go with the last."""
        if self._users == 0:
            self.pull.subscribe(self)
        self._users += change
        if self._users == 0:
            self.pull.unsubscribe(self)
            self.playlist.close()
            self._on_end(self)

    def attach(self, player: "Player", listener: Listener, *, chunked: bool) -> None:
        """Give a joiner the init segment and the current group of pictures, and from now on every fragment."""
        assert self.pull.init is not None
        start = self.pull.init.data + b"".join(fragment.data for fragment in self.pull.gop)
        listener.write(chunk(start) if chunked else start)
        (self._chunked if chunked else self._plain)[player] = listener

    def on_fragment(self, fragment: Fragment) -> None:
        if self._chunked:
            broadcast(list(self._chunked.values()), chunk(fragment.data))
        if self._plain:
            broadcast(list(self._plain.values()), fragment.data)

    def on_lost(self, lost: Lost) -> None:
        for player in list(self.players):
            player.end(CAUSES.get(lost.cause, "camera_lost"))
        self._on_end(self)


class Player:
    """One viewer of one camera: an opened view, and how it ends. `ended` holds the cause once it is over."""

    def __init__(self, view: Opened, channel: Channel) -> None:
        self.view = view
        self.ticket = view.permit.ticket
        self.channel = channel
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.deadline = clock.monotonic() + view.permit.seconds_left
        self.touched_at = clock.monotonic()
        self.first_byte_at: datetime | None = None
        self._began = clock.monotonic()
        self._carried = 0
        self._listener: Listener | None = None
        channel.add(self)

    @property
    def key(self) -> tuple[Any, ...]:
        """One live player per URL: the same grant, camera and protocol."""
        return (self.ticket.grant_id, self.ticket.camera_id, self.view.protocol)

    @property
    def is_duty(self) -> bool:
        return bool(self.view.permit.facts["kind"] == "duty")

    @property
    def bytes(self) -> int:
        return self._carried + (self._listener.bytes if self._listener else 0)

    @property
    def seconds(self) -> float:
        return clock.monotonic() - self._began

    def play_on(self, transport: Any, *, chunked: bool) -> None:
        """Write to this transport from now on, until the player ends; a reset cuts it."""
        if self.ended.done():
            cut(transport)
            return
        if chunked:
            cap_send_buffer(transport)
        self._listener = Listener(transport, VIDEO_LIMIT, lambda: self.end("behind"))
        self.first_byte_at = clock.now()
        self.channel.attach(self, self._listener, chunked=chunked)

    def count(self, size: int) -> None:
        """Bytes that were answered otherwise than by `play_on`: playlists, segments, a snapshot."""
        self.touched_at = clock.monotonic()
        self.first_byte_at = self.first_byte_at or clock.now()
        self._carried += size

    def end(self, cause: str) -> None:
        """Cut now: nothing is written after this returns."""
        if self.ended.done():
            return
        self.ended.set_result(cause)
        self.channel.remove(self)
        if self._listener is not None and cause != "client":
            with suppress(OSError):
                cut(self._listener.transport)
