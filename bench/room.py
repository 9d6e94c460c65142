"""A running service with simulated cameras, and a police room that may watch them: where the viewing benches begin."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import httpx

from app.database import Database, connect
from app.keys import Keys
from app.settings import Settings
from bench.cameras import Cameras, Filming, cameras
from bench.scene import Scene
from tests import factories
from tests.processes import Service, children, service

ASKED = {"purpose": "emergency_response", "basis": "KR-PIPA-18-2-3"}
# One officer watches everything, all day: what is measured is not how many may watch.
_UNLIMITED = dict.fromkeys(
    ("MOST_VIEWS_OF_PERSON", "MOST_VIEWS_OF_AGENCY", "MOST_VIEWERS_OF_CAMERA", "MOST_VIEWERS"), "10000"
)


@dataclass(frozen=True)
class Granted:
    """A stream URL, and what it stands on."""

    grant_id: UUID
    camera_id: UUID
    url: str


@dataclass(frozen=True)
class Room:
    """The service, its cameras, and a client that is signed in."""

    running: Service
    cameras: Cameras
    camera_ids: Sequence[UUID]
    client: httpx.AsyncClient
    database: Database

    async def grants(self, protocol: str, camera_ids: Sequence[UUID] | None = None) -> list[Granted]:
        """A fresh URL for each camera, in their order; all of them unless named."""
        wanted = [str(camera_id) for camera_id in camera_ids or self.camera_ids]
        answer = await self.client.post("/v1/grants", json={"camera_ids": wanted, "protocols": [protocol], **ASKED})
        assert answer.status_code == 201, answer.text
        given = answer.json()["grants"]
        assert all("streams" in one for one in given), given
        return [Granted(UUID(one["grant_id"]), UUID(one["camera_id"]), one["streams"][0]["url"]) for one in given]

    async def offers(self, protocol: str) -> bool:
        """Whether this service gives the protocol."""
        wanted = [str(self.camera_ids[0])]
        answer = await self.client.post("/v1/grants", json={"camera_ids": wanted, "protocols": [protocol], **ASKED})
        return answer.status_code == 201 and bool(answer.json()["grants"][0].get("streams"))

    def workers(self) -> list[int]:
        """The processes that serve."""
        return self.running.workers() or [self.running.process.pid]

    def pullers(self) -> list[int]:
        """The ffmpeg processes that read the cameras."""
        return [pid for worker in self.workers() for pid in children(worker)]


@asynccontextmanager
async def room(place: Scene, filming: Filming, *, workers: int = 1) -> AsyncIterator[Room]:
    """Everything up, nobody watching yet."""
    home = place.folder / "service"
    home.mkdir()
    settings = {f"GWANJE_{name}": value for name, value in _UNLIMITED.items()}
    async with (
        place.database() as url,
        connect(url) as database,
        cameras(filming) as filmed,
        service(home, workers=workers, GWANJE_DATABASE_URL=url, GWANJE_GRANT_SECONDS="7200", **settings) as running,
        httpx.AsyncClient(base_url=running.base_url, timeout=30) as client,
    ):
        keys = Keys(Settings(home=home).secret_key)
        owner, police = await factories.agency(database), await factories.agency(database, "police")
        await factories.agreement(database, owner, police)
        officer = await factories.person(database, police, "room")
        client.headers.update(await factories.sign_in(client, officer))
        camera_ids = [await factories.camera(database, owner) for _ in filmed.addresses]
        for camera_id, address in zip(camera_ids, filmed.addresses, strict=True):
            await factories.source(database, keys, camera_id, address)
        yield Room(running, filmed, camera_ids, client, database)
