"""Views through the embedded edge, over real sockets: opened before the first byte, closed with a cause, cut in time."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from io import BytesIO
from uuid import UUID

import av
import httpx
import pytest
from sqlalchemy import text

from app.access import agreements, people
from app.database import Database
from app.demo.simulator import SimulatedCamera, Simulator
from app.keys import Keys
from app.settings import Settings
from app.streams.urls import Pass, read, write
from tests import factories
from tests.conftest import serving
from tests.factories import Person

pytestmark = pytest.mark.slow
REASON = {"purpose": "emergency_response", "basis": "KR-PIPA-18-2-3"}


@dataclass
class Scene:
    """A camera that streams, who may watch it, and how to ask."""

    camera: UUID
    agreement: UUID
    officer: Person
    as_officer: dict[str, str]
    simulator: Simulator
    path: str

    async def url(self, client: httpx.AsyncClient, protocol: str = "fmp4") -> tuple[str, str]:
        """A fresh grant: its id and the path of its stream."""
        response = await client.post(
            "/v1/grants", json={"camera_ids": [str(self.camera)], **REASON}, headers=self.as_officer
        )
        assert response.status_code == 201, response.text
        grant = response.json()["grants"][0]
        urls = {stream["protocol"]: "/v/" + stream["url"].split("/v/")[1] for stream in grant["streams"]}
        return grant["grant_id"], urls[protocol]


@pytest.fixture(scope="module")
async def simulator() -> AsyncIterator[Simulator]:
    cameras = [
        SimulatedCamera(f"cam/{n}", f"CAM {n}", login="u", password="p@ss/word", width=320, height=180)
        for n in range(24)
    ]
    async with Simulator(cameras) as running:
        yield running


_paths = iter(f"cam/{n}" for n in range(24))


@pytest.fixture
async def scene(client: httpx.AsyncClient, database: Database, keys: Keys, simulator: Simulator) -> Scene:
    district, police = await factories.agency(database), await factories.agency(database, "police")
    camera = await factories.camera(database, district)
    path = next(_paths)
    await factories.source(database, keys, camera, simulator.url(path, with_credentials=True))
    agreement = await factories.agreement(database, district, police)
    officer = await factories.person(database, police, "room")
    return Scene(camera, agreement, officer, await factories.sign_in(client, officer), simulator, path)


class Watching:
    """A client that reads a stream and notes when bytes came and how it ended."""

    def __init__(self, base_url: str, path: str) -> None:
        self.bytes = 0
        self.last_at = 0.0
        self.ended_at: float | None = None
        self.error = ""
        self.begun = asyncio.Event()
        self._task = asyncio.create_task(self._read(base_url + path))

    async def _read(self, url: str) -> None:
        try:
            async with httpx.AsyncClient(timeout=15) as client, client.stream("GET", url) as response:
                assert response.status_code == 200, await response.aread()
                async for part in response.aiter_raw():
                    self.bytes += len(part)
                    self.last_at = time.monotonic()
                    self.begun.set()
        except httpx.HTTPError as error:
            self.error = type(error).__name__
        finally:
            self.ended_at = time.monotonic()

    async def over(self, seconds: float = 5) -> None:
        await asyncio.wait_for(asyncio.shield(self._task), seconds)

    async def leave(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def view_of(database: Database, camera: UUID, *, closed: bool = True) -> dict[str, object]:
    """The newest view of a camera, once it is (or is not) closed."""
    for _ in range(60):
        async with database.bare.acquire() as connection:
            row = await connection.fetchrow("SELECT * FROM views WHERE camera_id = $1 ORDER BY at DESC LIMIT 1", camera)
        if row is not None and (row["closed_at"] is not None) == closed:
            return dict(row)
        await asyncio.sleep(0.05)
    raise AssertionError("no such view")


async def revoke(client: httpx.AsyncClient, database: Database, scene: Scene, grant_id: str) -> None:
    assert (await client.delete(f"/v1/grants/{grant_id}", headers=scene.as_officer)).status_code == 204


async def sign_out(client: httpx.AsyncClient, database: Database, scene: Scene, grant_id: str) -> None:
    assert (await client.delete("/v1/sessions/current", headers=scene.as_officer)).status_code == 204


async def withdraw(client: httpx.AsyncClient, database: Database, scene: Scene, grant_id: str) -> None:
    async with database.begin() as session:
        await agreements.withdraw(session, None, scene.agreement, "test")


async def disable(client: httpx.AsyncClient, database: Database, scene: Scene, grant_id: str) -> None:
    async with database.begin() as session:
        await people.disable(session, None, scene.officer.user_id, "test")


async def end_office(client: httpx.AsyncClient, database: Database, scene: Scene, grant_id: str) -> None:
    async with database.begin() as session:
        await people.end_appointment(session, None, scene.officer.appointment_id)


@pytest.mark.parametrize("end", [revoke, sign_out, withdraw, disable, end_office])
async def test_a_running_view_is_cut(
    client: httpx.AsyncClient, base_url: str, database: Database, scene: Scene, end
) -> None:
    grant_id, path = await scene.url(client)
    watching = Watching(base_url, path)
    await asyncio.wait_for(watching.begun.wait(), 10)
    opened = await view_of(database, scene.camera, closed=False)
    assert opened["opened_entry_id"] is not None
    await asyncio.sleep(0.5)
    cut_at = time.monotonic()
    await end(client, database, scene, grant_id)
    await watching.over()
    assert watching.ended_at - cut_at < 1.5, "cut within a second of the commit (and the request's own time)"
    assert watching.last_at - cut_at < 1.5
    assert watching.error == "ReadError", "the line was reset: what waited in the kernel is thrown away"
    view = await view_of(database, scene.camera)
    assert view["cause"] == "revoked"
    assert view["bytes"] > 1000
    assert view["seconds"] > 0.4
    assert (await client.get(path)).status_code == 403


async def test_a_view_ends_when_its_time_is_over(
    client: httpx.AsyncClient, base_url: str, database: Database, scene: Scene
) -> None:
    grant_id, path = await scene.url(client)
    watching = Watching(base_url, path)
    await asyncio.wait_for(watching.begun.wait(), 10)
    async with database.begin() as session:
        await session.execute(
            text("UPDATE grants SET expires_at = now() + interval '700 ms' WHERE id = :id"), {"id": UUID(grant_id)}
        )
        await session.execute(text("SELECT pg_notify('gwanje', 'renewed')"))
    await watching.over()
    assert (await view_of(database, scene.camera))["cause"] == "expired"


async def test_a_newer_player_of_the_same_url_replaces_the_older(
    client: httpx.AsyncClient, base_url: str, database: Database, scene: Scene
) -> None:
    _, path = await scene.url(client)
    first = Watching(base_url, path)
    await asyncio.wait_for(first.begun.wait(), 10)
    second = Watching(base_url, path)
    await asyncio.wait_for(second.begun.wait(), 10)
    await first.over()
    await second.leave()
    async with database.bare.acquire() as connection:
        for _ in range(60):
            rows = await connection.fetch("SELECT cause FROM views WHERE camera_id = $1 ORDER BY at, id", scene.camera)
            if all(row["cause"] for row in rows):
                break
            await asyncio.sleep(0.05)
    assert [row["cause"] for row in rows] == ["replaced", "client"]
    assert scene.simulator.viewers(scene.path) == 1


async def test_two_processes_pull_once_and_both_are_cut(
    client: httpx.AsyncClient, base_url: str, settings: Settings, database: Database, scene: Scene
) -> None:
    async with serving(settings) as other_url:
        grant_a, path_a = await scene.url(client)
        grant_b, path_b = await scene.url(client)
        here, there = Watching(base_url, path_a), Watching(other_url, path_b)
        await asyncio.wait_for(here.begun.wait(), 10)
        await asyncio.wait_for(there.begun.wait(), 10)
        await asyncio.sleep(0.5)
        assert scene.simulator.viewers(scene.path) == 1
        cut_at = time.monotonic()
        await revoke(client, database, scene, grant_b)  # said at one process, felt at the other
        await there.over()
        assert there.ended_at - cut_at < 1.5
        assert here.ended_at is None, "the other view goes on"
        await here.leave()
        assert grant_a != grant_b


async def test_hls_plays_and_stops(client: httpx.AsyncClient, database: Database, scene: Scene) -> None:
    grant_id, path = await scene.url(client, "hls")
    playlist = (await client.get(path)).text
    assert playlist.startswith("#EXTM3U")
    base = path.rpartition("/")[0]
    init = (await client.get(f"{base}/init.mp4")).content
    names = [line for line in playlist.splitlines() if line.endswith(".m4s")]
    segment = (await client.get(f"{base}/{names[-1]}")).content
    with av.open(BytesIO(init + segment)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        assert sum(1 for _ in container.decode(video=0)) >= 15, "a segment is a group of pictures"
    assert (await client.get(f"{base}/999999999999.m4s")).status_code == 404
    assert (await view_of(database, scene.camera, closed=False))["protocol"] == "hls"
    await revoke(client, database, scene, grant_id)
    for name in ("index.m3u8", "init.mp4", names[-1]):
        assert (await client.get(f"{base}/{name}")).status_code == 403
    view = await view_of(database, scene.camera)
    assert view["cause"] == "revoked"
    assert view["bytes"] >= len(init) + len(segment)


async def test_a_snapshot_is_a_view_of_its_own(client: httpx.AsyncClient, database: Database, scene: Scene) -> None:
    _, path = await scene.url(client, "snapshot")
    response = await client.get(path)
    assert response.headers["content-type"] == "image/jpeg"
    with av.open(BytesIO(response.content)) as container:
        frame = next(container.decode(video=0))
        assert (frame.width, frame.height) == (320, 180)
    view = await view_of(database, scene.camera)
    assert (view["kind"], view["cause"], view["bytes"]) == ("snapshot", "client", len(response.content))


async def test_a_camera_that_is_offline_says_so_within_ten_seconds(
    client: httpx.AsyncClient, database: Database, scene: Scene
) -> None:
    scene.simulator.take_offline(scene.path)
    _, path = await scene.url(client)
    began = time.monotonic()
    response = await client.get(path)
    assert time.monotonic() - began < 10
    assert (response.status_code, response.json()["code"]) == (504, "camera_offline")
    assert "p@ss" not in response.text
    assert "127.0.0.1" not in response.text
    async with database.bare.acquire() as connection:
        row = await connection.fetchrow(
            "SELECT * FROM audit_entries WHERE camera_id = $1 AND act = 'view.failed'", scene.camera
        )
        assert row["outcome"] == "failed"
        assert await connection.fetchval("SELECT count(*) FROM views WHERE camera_id = $1", scene.camera) == 0


async def test_a_camera_that_is_lost_ends_the_view(
    client: httpx.AsyncClient, base_url: str, database: Database, scene: Scene
) -> None:
    _, path = await scene.url(client)
    watching = Watching(base_url, path)
    await asyncio.wait_for(watching.begun.wait(), 10)
    scene.simulator.take_offline(scene.path)
    await watching.over(12)
    assert (await view_of(database, scene.camera))["cause"] == "camera_lost"


async def test_urls_that_were_tampered_with_open_nothing(
    client: httpx.AsyncClient, database: Database, keys: Keys, scene: Scene
) -> None:
    _, path = await scene.url(client)
    token = path.split("/")[2]
    ticket = read(keys, token)
    async with database.bare.acquire() as connection:
        owner = await connection.fetchval("SELECT owner_agency_id FROM camera_positions WHERE id = $1", scene.camera)
    other = await factories.camera(database, owner)  # the agreement covers it as well, but this grant does not
    await factories.source(database, keys, other, scene.simulator.url(scene.path, with_credentials=True))
    elsewhere = write(keys, Pass(ticket.grant_id, ticket.grant_at, other, ticket.expires_at))
    flipped = ("A" if token[0] != "A" else "B") + token[1:]
    foreign_key = write(Keys(b"another deployment's key, no less"), ticket)
    for name in ("live.mp4", "index.m3u8", "init.mp4", "1.m4s", "snapshot.jpg"):
        for wrong in (
            elsewhere,
            flipped,
            foreign_key,
            token[:-4],
            token + "AAAA",
            "x" * 80,
            "..%2f..%2fetc",
            "~root~root~root",
        ):
            response = await client.get(f"/v/{wrong}/{name}")
            assert response.status_code in (403, 404, 422), (name, wrong, response.status_code)
            assert response.headers["content-type"] == "application/problem+json"


async def test_behind_another_server_the_plain_way_serves_the_same(
    client: httpx.AsyncClient, settings: Settings, database: Database, scene: Scene
) -> None:
    """Without a transport below ASGI the bytes go through `send`, and a cut is a cut all the same."""
    async with serving(settings, http="h11") as plain_url:
        grant_id, path = await scene.url(client)
        watching = Watching(plain_url, path)
        await asyncio.wait_for(watching.begun.wait(), 10)
        await asyncio.sleep(0.4)
        await revoke(client, database, scene, grant_id)
        await watching.over()
        assert watching.bytes > 1000
        assert (await view_of(database, scene.camera))["cause"] == "revoked"


async def test_who_watches_now_is_known_to_who_may_know(
    client: httpx.AsyncClient, base_url: str, database: Database, scene: Scene
) -> None:
    _, path = await scene.url(client)
    watching = Watching(base_url, path)
    await asyncio.wait_for(watching.begun.wait(), 10)
    running = (await client.get("/v1/views?running=true", headers=scene.as_officer)).json()["items"]
    assert [item["camera_id"] for item in running] == [str(scene.camera)]
    stranger = await factories.sign_in(
        client, await factories.person(database, await factories.agency(database), "shift_lead")
    )
    assert (await client.get("/v1/views?running=true", headers=stranger)).json()["items"] == []
    await watching.leave()
