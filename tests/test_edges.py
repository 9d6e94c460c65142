"""Edges of their own, as an operator runs them: `gwanje edge` carries, is drained, is lost; the service places anew."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx
import pytest

from app import database as db
from app.database import Database
from app.demo.simulator import SimulatedCamera, Simulator
from app.keys import Keys
from app.settings import Settings
from app.streams import placement
from tests import factories
from tests.processes import Service, edge, service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@dataclass
class Town:
    """A service that carries nothing itself, two edges, and an operator with a camera that streams."""

    database: Database
    client: httpx.AsyncClient
    edges: dict[str, Service]
    operator: dict[str, str]
    camera: str

    async def url(self, protocol: str = "fmp4") -> str:
        for _ in range(100):
            response = await self.client.post("/v1/grants", json={"camera_ids": [self.camera]}, headers=self.operator)
            if response.status_code == 201:
                break
            await asyncio.sleep(0.1)
        streams = response.json()["grants"][0]["streams"]
        return next(stream["url"] for stream in streams if stream["protocol"] == protocol)

    def edge_of(self, url: str) -> str:
        return next(name for name, one in self.edges.items() if url.startswith(one.base_url + "/"))

    async def views(self) -> list[asyncpg.Record]:
        async with self.database.bare.acquire() as connection:
            return await connection.fetch("SELECT * FROM views WHERE camera_id = $1 ORDER BY at, id", self.camera)

    async def closed(self, seconds: float) -> list[asyncpg.Record]:
        """The views, once none is open."""
        async with asyncio.timeout(seconds):
            while any(row["closed_at"] is None for row in await self.views()):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        return await self.views()


@pytest.fixture
async def town(
    empty_database_url: str, settings: Settings, shared_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    home = shared_home.parent / tmp_path_factory.mktemp("edges").name
    home.mkdir(exist_ok=True)
    (home / "secret.key").write_bytes(settings.secret_key)
    external = {"GWANJE_DATABASE_URL": empty_database_url}
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(db.connect(empty_database_url))
        district = await factories.agency(database)
        camera = await factories.camera(database, district)
        operator = await factories.person(database, district, "operator")
        simulator = await stack.enter_async_context(Simulator([SimulatedCamera("cam/1", "CAM 1")]))
        await factories.source(database, Keys(settings.secret_key), camera, simulator.url("cam/1"))
        edges = {name: await stack.enter_async_context(edge(home, name, **external)) for name in ("edge-1", "edge-2")}
        running = await stack.enter_async_context(service(home, GWANJE_GATEWAY="edges", **external))
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=running.base_url, timeout=15))
        headers = await factories.sign_in(client, operator)
        yield Town(database, client, edges, headers, str(camera))


class Watching:
    """A client that reads a stream until it ends."""

    def __init__(self, url: str) -> None:
        self.begun = asyncio.Event()
        self.task = asyncio.create_task(self._read(url))

    async def _read(self, url: str) -> None:
        try:
            async with httpx.AsyncClient(timeout=15) as client, client.stream("GET", url) as response:
                assert response.status_code == 200, await response.aread()
                async for _ in response.aiter_raw():
                    self.begun.set()
        except httpx.HTTPError:
            pass


async def test_edges_carry_and_are_drained_and_lost(town: Town) -> None:
    url = await town.url()
    first = town.edge_of(url)
    (second,) = set(town.edges) - {first}
    assert {town.edge_of(await town.url()) for _ in range(3)} == {first}, "a camera has one home"
    watching = Watching(url)
    await asyncio.wait_for(watching.begun.wait(), 15)

    async with town.database.begin() as session:
        await placement.set_draining(session, first, on=True)
    await asyncio.wait_for(watching.task, 5)
    assert [(row["gateway"], row["cause"]) for row in await town.closed(5)] == [(first, "moved")]
    async with httpx.AsyncClient(timeout=15) as client:
        moved = await client.get(url)
    assert moved.status_code == 307
    assert town.edge_of(moved.headers["location"]) == second
    assert town.edge_of(await town.url()) == second
    watching = Watching(moved.headers["location"])
    await asyncio.wait_for(watching.begun.wait(), 15)

    async with town.database.begin() as session:
        await placement.set_draining(session, first, on=False)
    os.kill(town.edges[second].process.pid, signal.SIGKILL)
    killed_at = time.monotonic()
    await asyncio.wait_for(watching.task, 5)
    rows = await town.closed(6)
    assert time.monotonic() - killed_at < 6
    assert [(row["gateway"], row["cause"]) for row in rows] == [(first, "moved"), (second, "node_lost")]
    assert town.edge_of(await town.url()) == first, "what was lost is placed anew"
    async with town.database.bare.acquire() as connection:
        acts = [
            row["act"]
            for row in await connection.fetch(
                "SELECT act FROM audit_entries WHERE camera_id = $1 AND act LIKE 'view.%' ORDER BY at, id", town.camera
            )
        ]
    assert acts == ["view.opened", "view.closed"] * 2, "none is missing, none stays open"
