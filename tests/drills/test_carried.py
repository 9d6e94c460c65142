"""Entries agree with what was carried, over a busy run in which processes are killed and permissions revoked."""

import asyncio
import json
import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from app.database import Database
from app.demo.simulator import SimulatedCamera, Simulator
from app.keys import Keys
from app.settings import Settings
from tests import factories
from tests.drills import carried, town
from tests.drills.carried import Logged, Received
from tests.drills.conftest import Tell
from tests.processes import service

REASON = {"purpose": "emergency_response", "basis": "KR-PIPA-18-2-3"}
WATCHERS = 6
VIEWS = """
SELECT v.grant_id, v.bytes, v.seconds, v.cause, c.payload::text AS closed,
    EXISTS (SELECT FROM audit_entries e WHERE e.id = v.opened_entry_id AND e.act = 'view.opened') AS opened
FROM views v LEFT JOIN audit_entries c ON c.id = v.closed_entry_id AND c.act = 'view.closed'
WHERE v.camera_id = ANY($1)
"""


class Watcher:
    """Watches one camera after the other, each for a moment under a grant of its own, and counts what comes."""

    def __init__(self, client: httpx.AsyncClient, cameras: list[str]) -> None:
        self._client, self._cameras = client, cameras
        self.received: list[Received] = []
        self.endings: Counter[str] = Counter()

    async def run(self, over: asyncio.Event) -> None:
        while not over.is_set():
            with suppress(httpx.HTTPError, asyncio.TimeoutError):
                asked = {"camera_ids": [random.choice(self._cameras)], "protocols": ["fmp4"], **REASON}
                given = await self._client.post("/v1/grants", json=asked)
                if given.status_code == 201:
                    grant = given.json()["grants"][0]
                    await self._watch(grant["grant_id"], grant["streams"][0]["url"])
                    continue
            await asyncio.sleep(0.2)

    async def _watch(self, grant: str, url: str) -> None:
        path = "/v/" + url.split("/v/")[1]
        revoking = asyncio.create_task(self._revoke(grant)) if random.random() < 0.3 else None
        began, count = time.monotonic(), 0
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._client.base_url.port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: drill\r\n\r\n".encode())
                async with asyncio.timeout(random.uniform(0.5, 3)):
                    status = (await reader.readuntil(b"\r\n\r\n")).split()[1]
                    while status == b"200" and (data := await reader.read(1 << 16)):
                        count += len(data)
                self.endings["ended"] += 1
            except TimeoutError:
                self.endings["left"] += 1
            except (OSError, asyncio.IncompleteReadError):
                self.endings["cut"] += 1
            finally:
                writer.transport.abort()
        except OSError:
            self.endings["nobody there"] += 1
        self.received.append(Received(grant, count, time.monotonic() - began))
        if revoking is not None:
            await revoking

    async def _revoke(self, grant: str) -> None:
        await asyncio.sleep(random.uniform(0.2, 1.5))
        with suppress(httpx.HTTPError):
            await self._client.delete(f"/v1/grants/{grant}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kills", "seconds"),
    [
        pytest.param(1, 2.0, marks=pytest.mark.timeout(300)),
        pytest.param(50, 4.0, marks=[pytest.mark.drill, pytest.mark.timeout(3600)]),
    ],
)
async def test_the_log_says_what_was_carried(
    database: Database, database_url: str, kept: Path, settings: Settings, keys: Keys, kills: int, seconds: float,
    tell: Tell,
) -> None:  # fmt: skip
    owner, police = await factories.agency(database), await factories.agency(database, "police")
    await factories.agreement(database, owner, police)
    officer = await factories.person(database, police, "room")
    cameras = [
        SimulatedCamera(f"cam/{n}", f"CAM {n}", login="u", password="p", width=320, height=180) for n in range(3)
    ]
    async with (
        Simulator(cameras) as simulator,
        service(kept, workers=2, GWANJE_DATABASE_URL=database_url, GWANJE_LOG_LEVEL="error") as running,
    ):
        ids = [await factories.camera(database, owner) for _ in cameras]
        for number, camera_id in enumerate(ids):
            await factories.source(database, keys, camera_id, simulator.url(f"cam/{number}", with_credentials=True))
        token = {"Authorization": f"Bearer {await town.token_of(running.base_url, officer)}"}
        async with httpx.AsyncClient(base_url=running.base_url, timeout=12, headers=token) as client:
            over = asyncio.Event()
            watchers = [Watcher(client, [str(one) for one in ids]) for _ in range(WATCHERS)]
            watching = [asyncio.create_task(watcher.run(over)) for watcher in watchers]
            try:
                for _ in range(kills):
                    await asyncio.sleep(seconds)
                    if workers := running.workers():
                        with suppress(ProcessLookupError):
                            os.kill(random.choice(workers), signal.SIGKILL)
                await asyncio.sleep(seconds)
            finally:
                over.set()
                await asyncio.gather(*watching)
            async with asyncio.timeout(30), database.bare.acquire() as connection:
                while await connection.fetchval(  # noqa: ASYNC110 - nothing tells of it
                    "SELECT EXISTS (SELECT FROM views WHERE camera_id = ANY($1) AND closed_at IS NULL)", ids
                ):
                    await asyncio.sleep(0.2)
                rows = await connection.fetch(VIEWS, ids)
    received = [one for watcher in watchers for one in watcher.received]
    logged = [
        Logged(str(row["grant_id"]), row["bytes"], row["seconds"], row["cause"], row["opened"],
               json.loads(row["closed"]) if row["closed"] else None)
        for row in rows
    ]  # fmt: skip
    found = carried.judge(received, logged)
    tell(
        "A8 carried", kills=kills, viewings=len(received), views=len(logged), megabytes=sum(r.bytes for r in received) >> 20,
        causes=dict(Counter(view.cause for view in logged)), wrong=len(found),
    )  # fmt: skip
    assert found == []
    assert {"client", "node_lost"} <= {view.cause for view in logged}
    seen = next(one for one in received if one.bytes)
    missing = [view for view in logged if view.grant != seen.grant]
    assert [finding.what for finding in carried.judge(received, missing)] == [carried.ORPHAN], (
        "a seeded orphan is found"
    )


CLIENT = Received("g", 1000, 5.0)
VIEW = Logged("g", 1000, 5.0, "client", opened=True, closed={"bytes": 1000, "seconds": 5.0, "cause": "client"})


def told(**changed: object) -> Logged:
    """The view and its entry, both changed alike."""
    assert VIEW.closed is not None
    return replace(VIEW, closed=VIEW.closed | changed, **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("what", "received", "logged"),
    [
        (None, [CLIENT], [VIEW]),
        (None, [CLIENT], [told(bytes=0, cause="node_lost")]),
        (None, [replace(CLIENT, bytes=0)], []),
        (carried.ORPHAN, [CLIENT], []),
        (carried.ORPHAN, [CLIENT], [replace(VIEW, opened=False)]),
        (carried.EMPTY, [], [VIEW]),
        (carried.OPEN, [CLIENT], [replace(VIEW, closed=None)]),
        (carried.UNTRUE, [CLIENT], [replace(VIEW, bytes=1001)]),
        (carried.UNTRUE, [CLIENT], [replace(VIEW, seconds=5.5)]),
        (carried.LESS, [CLIENT], [told(bytes=999)]),
        (carried.MORE, [CLIENT], [told(bytes=8 << 20)]),
        (carried.LONGER, [CLIENT], [told(seconds=9.0)]),
    ],
)
def test_a_seeded_fault_is_found(what: str | None, received: list[Received], logged: list[Logged]) -> None:
    assert [finding.what for finding in carried.judge(received, logged)] == ([what] if what else [])
