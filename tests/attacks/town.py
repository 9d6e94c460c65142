"""The scene of the attacks: a district whose one camera streams, people of all sides, and clients as attackers have."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import quote
from uuid import UUID

import asyncpg
import httpx
import orjson
from sqlalchemy import func, insert, make_url, select
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from app.access import sessions
from app.database import Database
from app.demo.simulator import SimulatedCamera, Simulator
from app.ids import new_id
from app.keys import Keys
from app.models import Grant, Session, Terminal
from app.routers.dependencies import House
from app.server import config
from app.settings import Settings
from app.streams import urls
from app.streams.urls import Pass
from tests import factories
from tests.conftest import Databases, Quiet
from tests.factories import Person

HERE, ELSEWHERE = "127.0.0.1", "127.0.0.2"
EMERGENCY = {"purpose": "emergency_response", "basis": "KR-PIPA-18-2-3"}
INVESTIGATION = {"purpose": "crime_investigation", "basis": "KR-PIPA-18-2-7"}
CHILDREN = ("live.mp4", "mse", "index.m3u8", "init.mp4", "segment", "snapshot.jpg")
"""Everything below a stream URL that shows footage."""
PROTOCOL = {"live.mp4": "fmp4", "mse": "mse", "snapshot.jpg": "snapshot"}
CAMERA_PASSWORD = "canary-of-the-camera"
REFUSALS = (401, 403, 404, 405, 409, 422, 429)


@dataclass
class Visitor:
    """Somebody signed in."""

    person: Person
    session_id: UUID
    token: str
    agreement: UUID | None = None
    device_key: str = ""
    terminal_id: UUID | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def agency(self) -> UUID:
        return self.person.agency_id


@dataclass(frozen=True)
class Granted:
    """A grant as its holder got it."""

    id: UUID
    token: str
    ticket: Pass
    holder: Visitor
    streams: list[dict[str, Any]]


@dataclass
class Town:
    """One house that serves, one owner with one camera, and whoever visits."""

    base_url: str
    house: House
    database: Database
    keys: Keys
    client: httpx.AsyncClient
    simulator: Simulator
    district: UUID
    police: UUID
    camera: UUID
    superuser: Callable[[], Awaitable[asyncpg.Connection]]
    clients: dict[str, httpx.AsyncClient] = field(default_factory=dict)

    @property
    def host(self) -> str:
        return self.base_url.removeprefix("http://")

    # People

    async def own(self, role: str = "operator") -> Visitor:
        """Somebody of the camera's owner."""
        return await self.signed_in(await factories.person(self.database, self.district, role))

    async def stranger(self, role: str = "room", kind: str = "police") -> Visitor:
        """Somebody of an agency that shares nothing with the owner."""
        return await self.signed_in(
            await factories.person(self.database, await factories.agency(self.database, kind), role)
        )

    async def visitor(self, role: str = "room", *, device_key: str = "") -> Visitor:
        """Somebody of the police agency with which the owner has an agreement."""
        return await self.signed_in(await factories.person(self.database, self.police, role), device_key=device_key)

    async def partner(self, role: str = "room", **terms: Any) -> Visitor:
        """Somebody of a police agency of its own, under an agreement of its own with the owner."""
        police = await factories.agency(self.database, "police")
        agreement = await factories.agreement(self.database, self.district, police, **terms)
        made = await self.signed_in(await factories.person(self.database, police, role))
        made.agreement = agreement
        return made

    async def colleague(self, of: Visitor, role: str = "room") -> Visitor:
        """Somebody else of the same agency."""
        return await self.signed_in(await factories.person(self.database, of.agency, role))

    async def signed_in(self, person: Person, *, device_key: str = "") -> Visitor:
        """A session without the cost of a password; `device_key`: at a tablet that is enrolled with it."""
        session_id, token = new_id(), f"{sessions.TOKEN_PREFIX}{new_id().hex}{new_id().hex}"
        terminal_id = new_id() if device_key else None
        async with self.database.begin() as session:
            if device_key:
                await session.execute(
                    insert(Terminal).values(
                        id=terminal_id, agency_id=person.agency_id, name=factories.name("tablet"), kind="tablet",
                        device_key_digest=sessions.digest(device_key),
                    )
                )  # fmt: skip
            await session.execute(
                insert(Session).values(
                    id=session_id, token_digest=sessions.digest(token), user_id=person.user_id, address=HERE,
                    appointment_id=person.appointment_id, terminal_id=terminal_id,
                    expires_at=func.now() + timedelta(hours=1),
                )
            )  # fmt: skip
        return Visitor(person, session_id, token, device_key=device_key, terminal_id=terminal_id)

    # Grants

    async def granted(self, who: Visitor, camera: UUID | None = None, **asked: Any) -> Granted:
        """A fresh grant; of a visitor with the reason that an emergency gives, if none is said."""
        reason = {} if who.agency == self.district or "purpose" in asked else EMERGENCY
        body = {"camera_ids": [str(camera or self.camera)], **reason, **asked}
        response = await self.client.post("/v1/grants", json=body, headers=who.headers)
        assert response.status_code == 201, response.text
        grant = response.json()["grants"][0]
        token = token_of(grant["streams"][0]["url"])
        return Granted(UUID(grant["grant_id"]), token, urls.read(self.keys, token), who, grant["streams"])

    def signed(self, ticket: Pass) -> str:
        """A token as only this deployment can sign it."""
        return urls.write(self.keys, ticket)

    async def row(self, grant_id: UUID) -> Any:
        async with self.database.bare.acquire(timeout=10) as connection:
            return await connection.fetchrow("SELECT * FROM grants WHERE id = $1", grant_id)

    async def sql(self, statement: str, *values: Any) -> Any:
        """One value out of the database, or whatever an attacker's past has left in it."""
        async with self.database.bare.acquire(timeout=10) as connection:
            return await connection.fetchval(statement, *values, timeout=10)

    # Playing

    def from_address(self, address: str) -> httpx.AsyncClient:
        """A client that comes from another address of the loopback network."""
        if address not in self.clients:
            transport = httpx.AsyncHTTPTransport(local_address=address)
            self.clients[address] = httpx.AsyncClient(base_url=self.base_url, transport=transport, timeout=15)
        return self.clients[address]

    def segment(self) -> int:
        """The newest HLS segment of the camera: what a player under another permission has just been told of."""
        channel = self.house.edge._channels._open[f"{self.camera}/main"]
        return channel.playlist._segments[-1].number

    async def plays(
        self, token: str, child: str, *, peer: str = HERE, proof: str = "", headers: dict[str, str] | None = None
    ) -> bool:
        """Whether as much as one byte of footage comes; a refusal is a refusal, and an accident is a failure."""
        query = {"proof": proof} if proof else {}
        if child == "mse":
            return await self._plays_mse(token, peer, proof)
        name = f"{self.segment()}.m4s" if child == "segment" else child
        path = f"/v/{token}/{name}"
        async with self.from_address(peer).stream("GET", path, params=query, headers=headers) as response:
            if response.status_code in REFUSALS:
                assert response.headers["content-type"] == "application/problem+json"
                return False
            assert response.status_code == 200, (child, response.status_code, await response.aread())
            async for part in response.aiter_raw():
                if part:
                    return True
        return False

    async def _plays_mse(self, token: str, peer: str, proof: str) -> bool:
        url = f"ws://{self.host}/v/{token}/mse" + (f"?proof={quote(proof)}" if proof else "")
        async with connect(url, local_addr=(peer, 0), max_size=None, proxy=None) as socket:
            try:
                while True:
                    said = await asyncio.wait_for(socket.recv(), 10)
                    if isinstance(said, bytes):
                        socket.transport.abort()  # what else it sends is not waited for
                        return True
                    if orjson.loads(said)["type"] == "refused":
                        assert 4400 < orjson.loads(said)["problem"]["status"] + 4000 < 4500
                        return False
            except ConnectionClosed:
                return False

    async def played(self, token: str, children: tuple[str, ...] = CHILDREN, **asking: Any) -> list[str]:
        """The children that play, tried one after the other."""
        return [child for child in children if await self.plays(token, child, **asking)]

    def nobody_plays(self) -> None:
        """End whatever still runs under earlier attempts: what follows has to be opened anew."""
        self.house.edge._running.end_where(lambda _: True, "client")

    async def open_views(self, grant_id: UUID) -> int:
        return int(await self.sql("SELECT count(*) FROM views WHERE grant_id = $1 AND closed_at IS NULL", grant_id))


def token_of(url: str) -> str:
    return url.partition("/v/")[2].partition("/")[0]


async def holder_of(session: Any, grant_id: UUID, address: str) -> Any:
    """Who holds a grant, as the house knows its people: for seeds that take everybody for the holder."""
    held = (await session.scalars(select(Grant.session_id).where(Grant.id == grant_id))).one()
    return await sessions.of_session(session, held, address)


@asynccontextmanager
async def house_of(settings: Settings) -> AsyncIterator[tuple[str, House]]:
    """The real server in this event loop, and what it holds."""
    made = config(settings)
    made.port = 0
    running = Quiet(made)
    task = asyncio.create_task(running.serve())
    while not running.started:
        await asyncio.sleep(0.01)
        if task.done():
            task.result()
    port = running.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}", running.lifespan.state["house"]
    finally:
        running.should_exit = True
        await task


@asynccontextmanager
async def town(settings: Settings, database: Database, keys: Keys, databases: Databases) -> AsyncIterator[Town]:
    """A town whose camera is being watched all the time, so that every attack finds footage at hand."""
    watched = SimulatedCamera("cam/1", "CAM 1", login="viewer", password=CAMERA_PASSWORD, width=320, height=180)
    async with Simulator([watched]) as simulator, house_of(settings) as (base_url, house):
        district, police = await factories.agency(database), await factories.agency(database, "police")
        await factories.agreement(database, district, police)
        camera = await factories.camera(database, district)
        await factories.source(database, keys, camera, simulator.url("cam/1"))
        async with httpx.AsyncClient(base_url=base_url, timeout=15) as client:
            superuser = partial(databases.superuser, make_url(settings.database_url).database or "")
            made = Town(
                base_url, house, database, keys, client, simulator, district, police, camera, superuser, {HERE: client}
            )  # fmt: skip
            channel = await house.edge._channels.open(f"{camera}/main", simulator.url("cam/1"))
            with channel.held():
                await channel.playlist.ready()
                yield made
            for other in made.clients.values():
                await other.aclose()
