"""What the tests of players share: films whose frames decode, pulls given by hand, wires, and the doors on a socket."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cache
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import imageio_ffmpeg
import uvicorn
from fastapi import FastAPI

from app.answers import problem
from app.errors import CameraOffline, Refusal
from app.routers import streams
from app.streams.embedded.boxes import Fragment, Init, Splitter
from app.streams.embedded.channels import Channel, Channels
from app.streams.embedded.player import Player
from app.streams.embedded.progressive import moved
from app.streams.embedded.pull import Cause, Pull

FRAMES_PER_SECOND = 15
GOP_FRAMES = 15


@dataclass(frozen=True)
class Film:
    """A camera's picture: its init segment, and one fragment a frame, with a key frame each second."""

    init: Init
    fragments: list[Fragment]


@cache
def film(width: int = 320, seconds: int = 6) -> Film:
    """A moving picture, cut as the gateway's ffmpeg cuts it."""
    data = subprocess.run(
        [
            *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi"),
            *("-i", f"testsrc2=size={width}x{width * 9 // 16 // 2 * 2}:rate={FRAMES_PER_SECOND}", "-t", str(seconds)),
            *("-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency"),
            *("-g", str(GOP_FRAMES), "-x264-params", "scenecut=0", "-map_metadata", "-1", "-f", "mp4"),
            *("-movflags", "empty_moov+default_base_moof+frag_every_frame+skip_trailer", "pipe:1"),
        ],
        check=True,
        capture_output=True,
    ).stdout
    splitter = Splitter()
    fragments = [item for item in splitter.feed(data) if isinstance(item, Fragment)]
    assert splitter.init is not None
    return Film(splitter.init, fragments)


@cache
def endless(turns: int = 60) -> Film:
    """The film again and again, on one time line."""
    shown = film()
    length = shown.fragments[-1].decode_time + shown.fragments[-1].duration
    return Film(
        shown.init,
        [
            replace(one, data=moved(one.data, turn * length), decode_time=one.decode_time + turn * length)
            for turn in range(turns)
            for one in shown.fragments
        ],
    )


class FilmPull(Pull):
    """A film given by hand, from its first key frame on; `lose` ends it."""

    def __init__(self, shown: Film | None = None, at: int = 0) -> None:
        super().__init__()
        self.film = shown or film()
        self.next = at

    async def _begin(self) -> None:
        self.init = self.film.init

    def _release(self) -> None:
        pass

    def give(self, count: int = 1) -> None:
        """The next frames; after the last one the film ends."""
        for fragment in self.film.fragments[self.next : self.next + count]:
            self._publish(fragment)
        self.next += count

    def lose(self, cause: str = "camera_lost") -> None:
        self._end(Cause(cause), "by hand")


async def begun(pull: FilmPull) -> FilmPull:
    """The pull with its first key frame at hand."""
    starting = asyncio.ensure_future(pull.start())
    await asyncio.sleep(0)
    pull.give()
    await starting
    return pull


@dataclass
class HandPulls:
    """Pulls by hand: `coming` are handed out in turn, each as long as it lives; None stands for a camera offline."""

    coming: list[FilmPull | None] = field(default_factory=list)
    asked: int = 0
    now: FilmPull | None = None

    async def open(self, camera: str, url: str) -> Pull:
        self.asked += 1
        if self.now is None or self.now.lost:
            self.now = None
            if not self.coming:
                await asyncio.Event().wait()
            pull = self.coming.pop(0)
            if pull is None:
                raise CameraOffline("the camera does not answer")
            self.now = await begun(pull)
        return self.now


class Wire:
    """A connection that takes what it is given, or holds it."""

    def __init__(self, *, stalled: bool = False) -> None:
        self.written: list[bytes] = []
        self.stalled = stalled
        self.closed = False
        self.waiting = 0

    @property
    def data(self) -> bytes:
        return b"".join(self.written)

    def write(self, data: bytes) -> None:
        assert not self.closed, "nothing is written after the end"
        self.written.append(data)
        if self.stalled:
            self.waiting += len(data)

    def flow(self, size: int | None = None) -> None:
        """The other side reads so many bytes, or again all that comes."""
        self.stalled = size is not None
        self.waiting = max(0, self.waiting - size) if size is not None else 0

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True


def view(protocol: str = "fmp4", seconds_left: float = 600, kind: str = "incident", **ticket: Any) -> Any:
    """An opened view, as far as a player looks at it."""
    ticket = {"grant_id": uuid4(), "camera_id": uuid4()} | ticket
    permit = SimpleNamespace(ticket=SimpleNamespace(**ticket), seconds_left=seconds_left, facts={"kind": kind})
    return SimpleNamespace(id=uuid4(), permit=permit, protocol=protocol, peer="127.0.0.1")


def channel_of(pull: FilmPull, reopen: Callable[[], Awaitable[Pull]] | None = None) -> Channel:
    channel = Channel(pull, lambda _: None)
    channel.reopen = reopen
    return channel


class HandEdge:
    """The doors' edge without a database: every token opens; a Refusal put into `no` is what it says instead."""

    def __init__(self, pulls: Any, address: str = "rtsp://127.0.0.1/") -> None:
        self.channels = Channels(pulls)
        self.address = address
        self.players: list[Player] = []
        self.asked: list[Any] = []
        self.no: Refusal | None = None

    async def open(self, token: str, asking: Any) -> Player:
        self.asked.append(asking)
        if self.no is not None:
            raise self.no
        channel = await self.channels.open(token, self.address)
        with channel.held():
            player = Player(view(asking.protocol), channel)
        self.players.append(player)
        return player

    async def hls(self, token: str, asking: Any) -> Player:
        self.asked.append(asking)
        if self.no is not None:
            raise self.no
        running = [player for player in self.players if player.view.protocol == "hls" and not player.ended.done()]
        return running[0] if running else await self.open(token, asking)

    async def snapshot(self, token: str, asking: Any) -> bytes:
        self.asked.append(asking)
        return b"\xff\xd8"


class _Quiet(uvicorn.Server):
    def capture_signals(self):  # type: ignore[no-untyped-def]
        return nullcontext()


@asynccontextmanager
async def doors(
    edge: Any, *, http: str = "app.transports:HttpProtocol", ws: str = "app.transports:WebSocketProtocol"
) -> AsyncIterator[str]:
    """The doors to footage alone, on a socket, before an edge by hand; yields host and port."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        yield {"house": SimpleNamespace(edge=edge)}

    app = FastAPI(lifespan=lifespan)
    app.include_router(streams.router)
    app.add_exception_handler(Refusal, _refuse)
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, http=http, ws=ws, ws_per_message_deflate=False, log_config=None,
        access_log=False, ws_max_size=256 * 1024, ws_ping_interval=10, ws_ping_timeout=5, timeout_graceful_shutdown=1,
    )  # fmt: skip
    running = _Quiet(config)
    task = asyncio.create_task(running.serve())
    while not running.started:
        await asyncio.sleep(0.01)
        if task.done():
            task.result()
    port = running.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"127.0.0.1:{port}"
    finally:
        for player in edge.players:
            player.end("server_stopped")
        running.should_exit = True
        await task


async def _refuse(_: Any, error: Exception) -> Any:
    assert isinstance(error, Refusal)
    return problem(error)
