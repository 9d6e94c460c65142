"""What these tests stand on: a district with a camera, its operator's grants, the question's door, a gateway to ask."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from uuid import UUID, uuid4

import asyncpg
import uvicorn
from fastapi import FastAPI
from sqlalchemy import select

from app.access import sessions
from app.announcements import Announcements
from app.database import Database
from app.errors import Refusal
from app.keys import Keys
from app.models import Grant
from app.routers import media
from app.settings import Settings
from app.streams import grants, urls
from app.streams.mediamtx import Config, MediaMtx, callback_path
from app.streams.mediamtx.paths import name_of
from app.streams.urls import Pass
from app.streams.writer import Writer
from tests import actors, factories
from tests.streams.mediamtx.fake import FakeMediaMtx

CAMERA = "rtsp://user:canary-camera-password@127.0.0.1:8554/live"


class Quiet(uvicorn.Server):
    def capture_signals(self):  # type: ignore[no-untyped-def]
        return nullcontext()


@asynccontextmanager
async def question_door() -> AsyncIterator[tuple[str, dict[str, MediaMtx]]]:
    """The real router on a socket; its base URL, and the gateways that it knows."""
    known: dict[str, MediaMtx] = {}

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, object]]:
        yield {"house": SimpleNamespace(gateways=SimpleNamespace(driven=known.get))}

    app = FastAPI(lifespan=lifespan)
    app.include_router(media.router)
    server = Quiet(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", ws="none"))
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started or task.done())
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", known
    finally:
        server.should_exit = True
        await task


async def until(happened: Callable[[], object], seconds: float = 10) -> None:
    """Wait for something that happens soon, elsewhere: behind a socket, in the database."""
    async with asyncio.timeout(seconds):
        while True:
            answer = happened()
            if await answer if isinstance(answer, Awaitable) else answer:
                return
            await asyncio.sleep(0.01)


# A gateway that nobody looks after is dead to whoever else serves from this database, and its views are closed.
_ALIVE = "INSERT INTO nodes (name, seen_at) VALUES ($1, now() + interval '15 seconds') ON CONFLICT DO NOTHING"


async def healthy(gateway: MediaMtx) -> bool:
    return (await gateway.health()).ok


def free_port() -> int:
    """For a door that two processes keep: it cannot be 0 then."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Scene:
    """One gateway, one camera, one operator who watches it under the duty."""

    settings: Settings
    keys: Keys
    database: Database
    writer: Writer
    news: Announcements
    config: Config
    callback: str
    known: dict[str, MediaMtx]
    district: UUID
    camera: UUID
    running: list[asyncio.Task[None]] = field(default_factory=list)
    tickets: list[Pass] = field(default_factory=list)
    drivers: list[MediaMtx] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.config.name

    def driver(self, **changes: object) -> MediaMtx:
        """One process's gateway; the last one made answers the questions."""
        made = MediaMtx(
            replace(self.config, **changes), self.settings, self.keys, self.database, self.writer, self.news
        )  # type: ignore[arg-type]
        self.known[self.name] = made
        self.drivers.append(made)
        return made

    async def watching(self, **changes: object) -> MediaMtx:
        """A gateway that is looked after."""
        made = self.driver(**changes)
        self.running.append(asyncio.create_task(made.watch()))
        await until(lambda: made.leads)
        return made

    async def ticket(self, camera: UUID | None = None, profile: str = "main", **more: object) -> Pass:
        """A fresh grant of an operator of the camera's district: a person of its own, so that nothing is replaced."""
        who = await actors.actor(self.database, self.district)
        return await self.ticket_of(who, camera, profile, **more)

    async def ticket_of(self, who: object, camera: UUID | None = None, profile: str = "main", **more: object) -> Pass:
        seconds = int(str(more.pop("seconds", 600)))
        asked = grants.Request(camera_ids=[camera or self.camera], **more)  # type: ignore[arg-type]
        async with self.database.bare.acquire() as connection:
            await connection.execute(_ALIVE, f"gateway/{self.name}")
        (given,) = await grants.give(self.database, self.writer, who, asked, seconds=seconds)  # type: ignore[arg-type]
        assert not isinstance(given, Refusal), given
        self.tickets.append(Pass(given.grant_id, given.at, given.camera_id, given.expires_at, profile))
        return self.tickets[-1]

    def token(self, ticket: Pass) -> str:
        return urls.write(self.keys, ticket)

    def path(self, camera: UUID | None = None, profile: str = "main") -> str:
        return name_of(self.keys, self.name, camera or self.camera, profile)

    async def views(self) -> list[asyncpg.Record]:
        """Of this gateway, oldest first."""
        async with self.database.bare.acquire() as connection:
            return await connection.fetch("SELECT * FROM views WHERE gateway = $1 ORDER BY at, id", self.name)

    async def closed(self, count: int = 1, seconds: float = 10) -> list[asyncpg.Record]:
        """The views, once `count` of them are closed."""
        async with asyncio.timeout(seconds):
            while True:
                rows = await self.views()
                if sum(row["closed_at"] is not None for row in rows) >= count:
                    return rows
                await asyncio.sleep(0.02)

    async def revoke(self, ticket: Pass) -> None:
        """As the grant's person ends it."""
        async with self.database.begin() as session:
            held = select(Grant.session_id).where(Grant.id == ticket.grant_id)
            holder = await sessions.of_session(session, (await session.scalars(held)).one(), actors.ADDRESS)
            await grants.revoke(session, holder, ticket.grant_id)


def url_of(gate_port: int, name: str, more: str = "") -> str:
    places = "hls=http://127.0.0.1:8888&webrtc=http://127.0.0.1:8889&rtsps=rtsps://127.0.0.1:8322"
    return f"mediamtx+http://api-user:api-password@127.0.0.1:{gate_port}?name={name}&{places}{more}"


@asynccontextmanager
async def scene(
    settings: Settings,
    keys: Keys,
    database: Database,
    database_url: str,
    gate: FakeMediaMtx,
    more: str = "&door=127.0.0.1:0",
) -> AsyncIterator[Scene]:
    writer, news = Writer(database, lambda: None), Announcements(database_url)
    district = await factories.agency(database)
    camera = await factories.camera(database, district)
    name = f"mtx-{uuid4().hex[:8]}"
    background = [asyncio.create_task(writer.run()), asyncio.create_task(news.run())]
    async with question_door() as (base, known):
        config = Config.parse(url_of(gate.port, name, more))
        gate.callback = base + callback_path(keys, name)
        made = Scene(settings, keys, database, writer, news, config, gate.callback, known, district, camera)
        try:
            yield made
        finally:
            for task in [*made.running, *background]:
                task.cancel()
            await asyncio.gather(*made.running, *background, return_exceptions=True)
            for driver in made.drivers:
                await driver._api.close()
