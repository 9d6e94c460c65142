"""The door to footage: progressive fragmented MP4, MSE over WebSocket, HLS and snapshots behind signed URLs."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request, Response, WebSocket, WebSocketDisconnect
from starlette.types import Receive, Scope, Send

from app.errors import Malformed, NotFound, Refusal, TooLarge
from app.fanout import Pump, unframed
from app.routers.dependencies import House, InHouse, client_address, problems
from app.streams.embedded.mse import CLOSE_CODES, UNEXPECTED, message
from app.streams.embedded.player import Framing, Player
from app.streams.views import Asking
from app.transports import cap_send_buffer, cut, transport_of

router = APIRouter(prefix="/v", tags=["streams"])
log = logging.getLogger("gwanje.streams")

MOST_PROOF = 200
ANSWER_SECONDS = 30  # for who takes a segment slower than that, it is no live picture
MOST_SAID_BYTES = 64 * 1024  # of one message of an MSE client, which has nothing to say
FAREWELL_SECONDS = 0.5
_SAID_PAUSE_SECONDS = 0.05
_PIECE_BYTES = 64 * 1024

Token = Annotated[str, Path(min_length=10, max_length=200)]
Proof = Annotated[str, Query(max_length=MOST_PROOF, description="what an enrolled device proves itself with")]
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
                player.play_on(below, Framing.CHUNKED)  # as uvicorn has said, also to HTTP/1.0 (which proxies speak)
            else:
                pump = Pump(lambda data: send({"type": "http.response.body", "body": data, "more_body": True}))
                pumping = asyncio.create_task(pump.run())
                player.play_on(pump, Framing.PLAIN)
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


class PlayerResponse(Response):
    """An answer to a player that asks again and again: its end cuts also an answer that is being taken."""

    def __init__(self, player: Player, body: bytes, kind: type[Response]) -> None:
        super().__init__(body, headers=HEADERS, media_type=kind.media_type)
        self._player = player

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - nothing is read
        self._player.may_answer()
        below = transport_of(scope)
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await (self._in_pieces(send) if below is None else self._whole(below, send))
        except TimeoutError:
            if below is not None:
                cut(below)

    async def _whole(self, below: Any, send: Send) -> None:
        """Write it at once, and return when nothing of it waits here any more."""
        cap_send_buffer(below)
        with self._player.answering(below, len(self.body)), _drained_by_send(below):
            await send({"type": "http.response.body", "body": self.body, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

    async def _in_pieces(self, send: Send) -> None:
        """Behind another server: at least the pieces that were not yet handed over are held back by an end."""
        for at in range(0, len(self.body), _PIECE_BYTES):
            if self._player.ended.done():
                return  # an answer that is not complete makes the server close the connection
            piece = self.body[at : at + _PIECE_BYTES]
            self._player.count(len(piece))
            await send({"type": "http.response.body", "body": piece, "more_body": at + _PIECE_BYTES < len(self.body)})


@contextlib.contextmanager
def _drained_by_send(transport: Any) -> Iterator[None]:
    """Within the block the server's `send` first waits until all that was sent before is with the kernel."""
    transport.set_write_buffer_limits(0)
    try:
        yield
    finally:
        if not transport.is_closing():
            transport.set_write_buffer_limits()


@router.get("/{token}/live.mp4", response_class=Mp4, responses=problems(307, 403, 429, 504))
async def live(token: Token, request: Request, house: InHouse, proof: Proof = "") -> Response:
    """Progressive fragmented MP4, for <video>, VLC and ffprobe: the newest key frame at once, then live."""
    return LiveResponse(await house.edge.open(token, Asking("fmp4", client_address(request), proof)))


@router.get("/{token}/index.m3u8", response_class=Playlist, responses=problems(307, 403, 429, 504))
async def playlist(token: Token, request: Request, house: InHouse, proof: Proof = "") -> Response:
    """HLS with fragmented MP4 segments of one group of pictures each."""
    player = await house.edge.hls(token, Asking("hls", client_address(request), proof))
    listed = player.channel.playlist
    await listed.ready()
    query = f"?proof={quote(proof, safe='')}" if proof else ""  # relative URIs do not inherit it
    return PlayerResponse(player, listed.text(query).encode(), Playlist)


@router.get("/{token}/{part}.m4s", response_class=Segment, responses=problems(307, 403, 404, 429, 504))
async def segment(
    token: Token, part: Annotated[int, Path(ge=0)], request: Request, house: InHouse, proof: Proof = ""
) -> Response:
    """A segment that is in the playlist, or has just left it."""
    player = await house.edge.hls(token, Asking("hls", client_address(request), proof))
    data = player.channel.playlist.segment(part)
    if data is None:
        raise NotFound("this segment is gone; read the playlist again")
    return PlayerResponse(player, data, Segment)


@router.get("/{token}/init{name:path}.mp4", response_class=Mp4, responses=problems(307, 403, 404, 429, 504))
async def init(
    token: Token, name: Annotated[str, Path(max_length=40)], request: Request, house: InHouse, proof: Proof = ""
) -> Response:
    """An initialisation segment of the HLS playlist, which names it; without a name the newest."""
    player = await house.edge.hls(token, Asking("hls", client_address(request), proof))
    data = player.channel.playlist.init(name.removeprefix("-"))
    if data is None:
        raise NotFound("no segment needs this initialisation any more; read the playlist again")
    return PlayerResponse(player, data, Mp4)


@router.get("/{token}/snapshot.jpg", response_class=Jpeg, responses=problems(307, 403, 429, 504))
async def snapshot(token: Token, request: Request, house: InHouse, proof: Proof = "") -> Response:
    """The newest key frame as a JPEG: a view of its own."""
    picture = await house.edge.snapshot(token, Asking("snapshot", client_address(request), proof))
    return Jpeg(picture, headers=HEADERS)


@router.websocket("/{token}/mse")
async def mse(socket: WebSocket, token: str, proof: str = "") -> None:
    """Fragments for a page's MediaSource, with what is to be said of them. See asyncapi.yaml."""
    await socket.accept()
    try:
        player = await _open(socket, token, proof)
    except Refusal as refusal:
        await _send_away(socket, refusal)
    except Exception:
        log.exception("an unexpected error at the opening of a picture")
        await _close(socket, *UNEXPECTED)
    else:
        await _play(socket, player)


async def _open(socket: WebSocket, token: str, proof: str) -> Player:
    if len(proof) > MOST_PROOF:
        raise Malformed(f"proof has at most {MOST_PROOF} characters", field="proof")
    house: House = socket.state.house
    return await house.edge.open(token, Asking("mse", socket.client.host if socket.client else "", proof))


async def _play(socket: WebSocket, player: Player) -> None:
    """Have the channel write to the connection, until the player ends or the client goes."""
    below = transport_of(socket.scope)
    pump = Pump(lambda frames: _hand_on(socket, frames))
    listening = asyncio.create_task(_listen(socket))
    pumping = asyncio.create_task(pump.run()) if below is None else None
    refusal = None
    try:
        player.play_on(pump if below is None else below, Framing.MESSAGES)
        over: set[asyncio.Future[Any]] = {listening, player.ended}
        await asyncio.wait(over, return_when=asyncio.FIRST_COMPLETED)
        refusal = listening.result() if listening.done() and not player.ended.done() else None
    finally:
        player.end("client")
        pump.abort()
        tasks = [task for task in (listening, pumping) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if below is not None and below.is_closing():
        return  # gone, or cut because something of the picture still waited
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FAREWELL_SECONDS):
            if refusal is not None:
                await _send_away(socket, refusal)
            elif (cause := player.ended.result()) != "client":
                await _say(socket, "bye", cause=cause)
                await _close(socket, *CLOSE_CODES.get(cause, UNEXPECTED))
    if below is not None:
        asyncio.get_running_loop().call_later(FAREWELL_SECONDS, _cut_if_open, below)


def _cut_if_open(transport: Any) -> None:
    if not transport.is_closing():
        with contextlib.suppress(OSError):
            cut(transport)


async def _listen(socket: WebSocket) -> Refusal | None:
    """Read what the client says, and keep nothing of it; returns when it goes, or says more than it may."""
    while True:
        said = await socket.receive()
        if said["type"] == "websocket.disconnect":
            return None
        if len((said.get("text") or "").encode()) + len(said.get("bytes") or b"") > MOST_SAID_BYTES:
            return TooLarge(f"a message has at most {MOST_SAID_BYTES} bytes; nothing needs to be said here")
        await asyncio.sleep(_SAID_PAUSE_SECONDS)  # who talks all the time is not listened to all the time


async def _hand_on(socket: WebSocket, frames: bytes) -> None:
    """The plain fallback: the server does the framing."""
    for is_text, payload in unframed(frames):
        await (socket.send_text(payload.decode()) if is_text else socket.send_bytes(payload))


async def _say(socket: WebSocket, kind: str, **members: Any) -> None:
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        await socket.send_text(message(kind, **members).decode())


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        await socket.close(code, reason.encode()[:120].decode(errors="ignore"))


async def _send_away(socket: WebSocket, refusal: Refusal) -> None:
    await _say(socket, "refused", problem=refusal.problem())
    await _close(socket, refusal.kind.close_code, refusal.detail)
