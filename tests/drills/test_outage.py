"""The database goes away while people watch: owners watch on and come back, others are cut, and all of it is told late."""

import asyncio
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from app.database import Database
from app.demo.simulator import SimulatedCamera, Simulator
from app.keys import Keys
from tests import factories
from tests.drills import town
from tests.drills.conftest import Tell
from tests.drills.proxy import proxy, to_socket
from tests.drills.test_faults import through
from tests.processes import service

REASON = {"purpose": "emergency_response", "basis": "KR-PIPA-18-2-3"}
LATE = """
SELECT act, count(*) AS count FROM audit_entries WHERE camera_id = $1 AND late_from IS NOT NULL GROUP BY act
"""


class Watching:
    """A player that reads a stream until it is told to leave, or is cut."""

    def __init__(self, port: int, url: str) -> None:
        self.bytes, self.status = 0, 0
        self.over: float | None = None
        self.begun = asyncio.Event()
        self._task = asyncio.create_task(self._read(port, "/v/" + url.split("/v/")[1]))

    async def _read(self, port: int, path: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: drill\r\n\r\n".encode())
            with suppress(OSError, asyncio.IncompleteReadError):
                self.status = int((await reader.readuntil(b"\r\n\r\n")).split()[1])
                while data := await reader.read(1 << 16):
                    self.bytes += len(data)
                    self.begun.set()
        finally:
            self.over = time.monotonic()
            writer.transport.abort()

    async def leave(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@pytest.mark.slow
@pytest.mark.drill
@pytest.mark.timeout(300)
async def test_owners_watch_on_and_everything_is_told_late(
    database: Database, database_url: str, kept: Path, keys: Keys, tell: Tell
) -> None:
    owner, police = await factories.agency(database), await factories.agency(database, "police")
    await factories.agreement(database, owner, police)
    people = [await factories.person(database, owner), await factories.person(database, police, "room")]
    camera = await factories.camera(database, owner)
    folder = parse_qs(urlsplit(database_url).query)["host"][0]
    async with (
        Simulator([SimulatedCamera("cam", "CAM", login="u", password="p", width=320, height=180)]) as simulator,
        proxy(to_socket(f"{folder}/.s.PGSQL.5432")) as link,
        service(kept, GWANJE_DATABASE_URL=through(link, database_url), GWANJE_LOG_LEVEL="warning") as running,
        httpx.AsyncClient(base_url=running.base_url, timeout=12) as client,
    ):
        await factories.source(database, keys, camera, simulator.url("cam", with_credentials=True))
        port = int(running.base_url.rpartition(":")[2])
        urls = []
        for person, reason in zip(people, ({}, REASON), strict=True):
            headers = {"Authorization": f"Bearer {await town.token_of(running.base_url, person)}"}
            asked = {"camera_ids": [str(camera)], "protocols": ["fmp4"], **reason}
            given = await client.post("/v1/grants", json=asked, headers=headers)
            urls.append(given.json()["grants"][0]["streams"][0]["url"])
        duty, other = [Watching(port, url) for url in urls]
        await asyncio.wait_for(asyncio.gather(duty.begun.wait(), other.begun.wait()), 20)
        link.freeze()
        away = time.monotonic()
        await town.until(lambda: other.over is not None, 15)
        cut_after = (other.over or 0) - away
        before = duty.bytes
        await town.until(lambda: duty.bytes > before + 1000, 10)
        assert duty.over is None, "the owner watches on"
        await duty.leave()
        again, stranger = [Watching(port, url) for url in urls]
        await asyncio.wait_for(again.begun.wait(), 15)
        await town.until(lambda: stranger.over is not None, 15)
        assert (again.status, stranger.status) == (200, 503)
        health = (await client.get("/readyz")).json()["parts"]["spool"]
        assert "records since" in health["word"]
        link.thaw()
        async with asyncio.timeout(40), database.bare.acquire() as connection:
            late: dict[str, int] = {}
            while late.get("view.opened", 0) < 1 or late.get("view.closed", 0) < 2:
                await asyncio.sleep(0.2)
                late = {row["act"]: row["count"] for row in await connection.fetch(LATE, camera)}
            assert again.over is None, "who came back plays on when the database is back, too"
            await again.leave()
            while await connection.fetchval(  # noqa: ASYNC110 - nothing tells of it
                "SELECT EXISTS (SELECT FROM views WHERE camera_id = $1 AND closed_at IS NULL)", camera
            ):
                await asyncio.sleep(0.2)
            rows = await connection.fetch("SELECT cause, bytes FROM views WHERE camera_id = $1 ORDER BY at, id", camera)
            imported = await connection.fetchval(
                "SELECT count(*) FROM audit_entries WHERE act = 'spool.imported' AND payload ->> 'node' LIKE 'gwanje/%'"
            )
    tell("outage", **{"cut after": cut_after}, late=late, views=[(row["cause"], row["bytes"]) for row in rows])
    assert sorted(row["cause"] for row in rows) == ["client", "client", "unvouched"]
    assert late["view.continued"] >= 1
    assert imported >= 1
    assert [row["bytes"] > 0 for row in rows] == [True] * 3
