"""The door to footage: progressive fragmented MP4, HLS and snapshots behind signed URLs."""

import asyncio
import contextlib
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from starlette.types import Receive, Scope, Send

from app.errors import NotFound
from app.fanout import Pump
from app.routers.dependencies import InHouse, client_address, problems
from app.streams.embedded.player import Player
from app.transports import transport_of

router = APIRouter(prefix="/v", tags=["streams"])

Token = Annotated[str, Path(min_length=10, max_length=200)]
# A stream is for the player that asked, not for a cache, a frame or a referrer.
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Access-Control-Allow-Origin": "*",  # the URL itself is the permission; no cookie goes with it
}


class Mp4(Response):
    media_type = "video/mp4"


class Segment(Response):
    media_type = "video/iso.segment"


class Jpeg(Response):
    media_type = "image/jpeg"


class Playlist(Response):
    media_type = "application/vnd.apple.mpegurl"


class LiveResponse(Mp4):
    """A response without an end: its bytes are written below ASGI, by the channel, until the player ends."""

    def __init__(self, player: Player) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self._player = player

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        player = self._player
        below = transport_of(scope)
        waiting = asyncio.create_task(_disconnected(receive))
        pumping: asyncio.Task[None] | None = None
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": b"", "more_body": True})
            if below is not None:
                player.play_on(below, chunked=scope["http_version"] == "1.1")
            else:
                pump = Pump(lambda data: send({"type": "http.response.body", "body": data, "more_body": True}))
                pumping = asyncio.create_task(pump.run())
                player.play_on(pump, chunked=False)
            over: set[asyncio.Future[Any]] = {waiting, player.ended}
            await asyncio.wait(over, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not waiting.done() and player.ended.done() and below is not None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(waiting), 1)  # let the server see that the line is cut
            player.end("client")
            for task in (waiting, pumping):
                if task is not None:
                    task.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@router.get("/{token}/live.mp4", response_class=Mp4, responses=problems(403, 504))
async def live(token: Token, request: Request, house: InHouse) -> Response:
    """Progressive fragmented MP4, for <video>, VLC and ffprobe: the newest key frame at once, then live."""
    return LiveResponse(await house.edge.open(token, protocol="fmp4", peer=client_address(request)))


@router.get("/{token}/index.m3u8", response_class=Playlist, responses=problems(403, 504))
async def playlist(token: Token, request: Request, house: InHouse) -> Response:
    """HLS with fragmented MP4 segments of one group of pictures each."""
    player = await house.edge.hls(token, peer=client_address(request))
    listed = player.channel.playlist
    async with asyncio.timeout(10):
        await listed.ready()
    body = listed.text().encode()
    player.count(len(body))
    return Playlist(body, headers=HEADERS)


@router.get("/{token}/{part}.m4s", response_class=Segment, responses=problems(403, 404, 504))
async def segment(token: Token, part: Annotated[int, Path(ge=0)], request: Request, house: InHouse) -> Response:
    """A segment that is in the playlist, or has just left it."""
    player = await house.edge.hls(token, peer=client_address(request))
    data = player.channel.playlist.segment(part)
    if data is None:
        raise NotFound("this segment is gone; read the playlist again")
    player.count(len(data))
    return Segment(data, headers=HEADERS)


@router.get("/{token}/init.mp4", response_class=Mp4, responses=problems(403, 504))
async def init(token: Token, request: Request, house: InHouse) -> Response:
    """The initialisation segment of the HLS playlist."""
    player = await house.edge.hls(token, peer=client_address(request))
    data = player.channel.playlist.init()
    player.count(len(data))
    return Mp4(data, headers=HEADERS)


@router.get("/{token}/snapshot.jpg", response_class=Jpeg, responses=problems(403, 504))
async def snapshot(token: Token, request: Request, house: InHouse) -> Response:
    """The newest key frame as a JPEG: a view of its own."""
    picture = await house.edge.snapshot(token, peer=client_address(request))
    return Jpeg(picture, headers=HEADERS)
