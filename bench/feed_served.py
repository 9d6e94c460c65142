"""The servers of the event feed's benches, each a process: `python -m bench.feed_served gwanje|plain|naive|timed`.

`gwanje` is the service as it is served, with one door more: what is said on `/ctl` is handed to its feed as the next
events of the log, without a database. `plain` is the same behind uvicorn's own protocols, where transports cannot be
reached. `naive` is what everybody writes first: a loop of `await send_text` over all clients. `timed` is the service
with a door that records events (`/append`), and with a clock at its passes and readings (`/times`).
"""

import asyncio
import pickle
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from time import perf_counter
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import uvicorn
from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import Response
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute

from app import fanout, ledger
from app.access import rights, sessions
from app.fanout import Listener
from app.feed.live import Feed
from app.ids import new_id
from app.ledger import Ledger, OnBatch
from app.registry import areas
from app.routers.dependencies import House
from app.server import Server, config
from app.settings import Settings
from bench.feed_house import AREA, report

LOOK_SECONDS = 0.05
NO_PING_SECONDS = 600.0  # the clients answer none while they connect


async def _when(ready: Callable[[], bool]) -> None:
    """The publisher is let in when all listen: what is measured begins with its first event."""
    while not ready():  # noqa: ASYNC110 - nothing tells, and nothing is measured yet
        await asyncio.sleep(LOOK_SECONDS)


def _remembered(answer: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """The same question to the database is asked once; every answer is made anew, as it is when it is read."""
    known: dict[str, bytes] = {}

    async def remembered(session: AsyncSession, *asked: Any) -> Any:
        of = repr([what if isinstance(what, str) else sorted(map(str, what)) for what in asked[:1]])
        if of not in known:
            known[of] = pickle.dumps(await answer(session, *asked))
        return pickle.loads(known[of])

    return remembered


def _greet_quickly() -> None:
    """Thousands are greeted again and again: who they are is looked up once, or that would take most of the time."""
    sessions.authenticate = _remembered(sessions.authenticate)
    sessions.as_they_stand = _remembered(sessions.as_they_stand)
    rights.scopes_of = _remembered(rights.scopes_of)
    areas.by_codes = _remembered(areas.by_codes)


# The service, whose feed is told of events by a door


class _Log:
    """What comes on `/ctl` as rows of the log, as `ledger.read` would give them."""

    def __init__(self, feed: Feed, area_ids: dict[str, UUID]) -> None:
        self._feed, self._area_ids = feed, area_ids
        self._owner = next(iter(feed.members)).actor.body_id

    def next(self, text: str) -> dict[str, Any]:
        told, now = orjson.loads(text), datetime.now(UTC)
        return {
            "position": self._feed.position + 1, "id": new_id(), "at": now, "occurred_at": now,
            "kind": "camera.moved", "source": "bench", "severity": 1, "gravity": None, "subject_kind": "",
            "subject_id": None,
            "camera_id": None, "incident_id": None, "owner_agency_id": self._owner,
            "area_ids": [self._area_ids[f"{AREA}{told['district']}"]], "installation_purposes": [], "latitude": None,
            "longitude": None, "exercise": False, "restriction": "", "media_ref": "", "regards_id": None,
            "regards_kind": "", "data": orjson.dumps({"detail": told["note"]}).decode(),
        }  # fmt: skip


async def _ctl(socket: WebSocket) -> None:
    """Each message is the next event of the log."""
    house: House = socket.state.house
    viewers = int(socket.query_params["n"])
    await _when(lambda: sum(bool(member.live) for member in house.feed.members) == viewers)
    known = await house.database.bare.fetch("SELECT code, id FROM areas")
    log = _Log(house.feed, {row["code"]: row["id"] for row in known})
    await socket.accept()
    try:
        while True:
            house.feed.hand_out([log.next(await socket.receive_text())])
    except WebSocketDisconnect:
        pass


# The service, whose clock is read


class _Times:
    """How long passes over listeners took, readings of the log, and numberings of it."""

    def __init__(self) -> None:
        self.passes: list[tuple[int, int, float]] = []  # listeners, bytes to each, seconds
        self.reads: list[tuple[int, float]] = []  # rows, seconds
        self.numberings: list[tuple[int, float]] = []

    def watch(self) -> None:
        broadcast, read, number = fanout.broadcast, ledger.read, ledger.sequence

        def timed_broadcast(listeners: Iterable[Listener], frames: bytes, events: int = 1) -> int:
            began = perf_counter()
            written = broadcast(listeners, frames, events)
            self.passes.append((written, len(frames), perf_counter() - began))
            return written

        async def timed_read(
            connection: asyncpg.Connection, of: Ledger, after: int, limit: int = ledger.BATCH
        ) -> ledger.Rows:
            began = perf_counter()
            rows = await read(connection, of, after, limit)
            self.reads.append((len(rows), perf_counter() - began))
            return rows

        async def timed_number(
            connection: asyncpg.Connection, of: Ledger, on_batch: OnBatch | None, limit: int = ledger.BATCH
        ) -> int:
            began = perf_counter()
            numbered = await number(connection, of, on_batch, limit)
            if of is ledger.EVENTS:
                self.numberings.append((numbered, perf_counter() - began))
            return numbered

        fanout.broadcast, ledger.read, ledger.sequence = timed_broadcast, timed_read, timed_number

    async def tell(self, _: Request) -> Response:
        said = {"passes": self.passes, "reads": self.reads, "numberings": self.numberings}
        self.passes, self.reads, self.numberings = [], [], []
        return Response(orjson.dumps(said), media_type="application/json")


async def _append(socket: WebSocket) -> None:
    """First the token of who reports; then each message is a mark, which an event of its own carries."""
    house: House = socket.state.house
    await socket.accept()
    try:
        token = await socket.receive_text()
        await socket.send_json({})
        while True:
            asked = orjson.loads(await socket.receive_text())
            began = perf_counter()
            await house.reporting.report(token, "127.0.0.1", [report(asked["kind"], asked["mark"])])
            await socket.send_json({"began": began})
    except WebSocketDisconnect:
        pass


# The loop that everybody writes first


def _naive() -> Starlette:
    clients: dict[WebSocket, int] = {}

    async def listen(socket: WebSocket) -> None:
        await socket.accept()
        clients[socket] = int(socket.query_params["d"])
        try:
            while True:
                await socket.receive_text()
        except WebSocketDisconnect:
            del clients[socket]

    async def ctl(socket: WebSocket) -> None:
        viewers = int(socket.query_params["n"])
        await _when(lambda: len(clients) == viewers)
        await socket.accept()
        try:
            while True:
                text = await socket.receive_text()
                district = orjson.loads(text)["district"]
                for client, of in list(clients.items()):
                    if of == district:
                        await client.send_text(text)
        except WebSocketDisconnect:
            pass

    async def ready(_: Request) -> Response:
        return PlainTextResponse("ready")

    return Starlette(routes=[WebSocketRoute("/ws", listen), WebSocketRoute("/ctl", ctl), Route("/readyz", ready)])


def _configured(contender: str) -> uvicorn.Config:
    made = config(Settings())
    assert isinstance(made.app, FastAPI)
    made.ws_ping_interval = NO_PING_SECONDS
    if contender in ("plain", "naive"):
        made.http, made.ws = "httptools", "websockets-sansio"
    if contender == "naive":
        made.app = _naive()
        return made
    made.app.add_api_websocket_route("/ctl", _ctl)
    if contender != "timed":
        _greet_quickly()
    else:
        times = _Times()
        times.watch()
        made.app.add_api_websocket_route("/append", _append)
        made.app.add_route("/times", times.tell)
    return made


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it again once it has stopped
    Server(_configured(sys.argv[1])).run()
