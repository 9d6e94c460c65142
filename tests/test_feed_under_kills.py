"""Workers are killed again and again while events are reported and heard: none is lost, repeated or out of order."""

import asyncio
import json
import os
import random
import signal
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from app.database import Database
from tests import factories
from tests.processes import Service, service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

REPORTERS = 4
LOST = (
    OSError,
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    TimeoutError,
    asyncio.IncompleteReadError,
    EOFError,
)


class Heard:
    """What one subscriber heard, over all its connections."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.position: str | None = None
        self.connections = 0


async def listen(base_url: str, token: str, heard: Heard, ready: asyncio.Event) -> None:
    """Hear everything, and after each lost connection go on where it left off."""
    while True:
        try:
            async with connect(base_url.replace("http", "ws") + "/v1/feed", open_timeout=5) as feed:
                hello = {"type": "hello", "token": token} | ({"after": heard.position} if heard.position else {})
                await feed.send(json.dumps(hello))
                welcome = json.loads(await feed.recv())
                heard.position = heard.position or welcome["position"]
                await feed.send(json.dumps({"type": "subscribe", "id": "all", "kinds": ["bell.*"]}))
                heard.connections += 1
                async for frame in feed:
                    message = json.loads(frame)
                    assert message["type"] not in ("resync", "refused"), message
                    if message["type"] == "subscribed":
                        ready.set()
                    if message["type"] == "event":
                        heard.ids.append(message["event"]["data"]["key"])
                        heard.position = message["position"]
        except LOST:
            await asyncio.sleep(0.05)


async def report(base_url: str, headers: dict[str, str], keys: list[str]) -> None:
    """Report each event until it is acknowledged; a retry has the same id."""
    async with httpx.AsyncClient(base_url=base_url, headers=headers, timeout=5) as client:
        for key in keys:
            event = {
                "specversion": "1.0",
                "id": key,
                "source": "bells",
                "type": "kr.gwanje.bell.pressed",
                "data": {"key": key},
            }
            while True:
                try:
                    response = await client.post("/v1/events", json=event)
                    if response.status_code == 202:
                        break
                    assert response.status_code == 503, response.text
                except httpx.HTTPError:
                    pass
                await asyncio.sleep(0.05)


async def kill_workers(running: Service, times: int) -> None:
    """Kill -9 a worker, again and again, with time for another to take its place."""
    for _ in range(times):
        await asyncio.sleep(random.uniform(0.3, 0.8))
        workers = running.workers()
        if workers:
            os.kill(random.choice(workers), signal.SIGKILL)


@pytest.mark.parametrize(
    ("events", "kills"),
    [(1000, 10), pytest.param(10_000, 50, marks=[pytest.mark.drill, pytest.mark.timeout(1800)])],
)
async def test_nothing_is_lost_when_workers_are_killed(
    database: Database, database_url: str, tmp_path: Path, events: int, kills: int
) -> None:
    agency = await factories.agency(database)
    system = await factories.person(database, agency, "integration")
    keys = [uuid4().hex for _ in range(events)]
    async with service(tmp_path, workers=3, GWANJE_DATABASE_URL=database_url, GWANJE_LOG_LEVEL="warning") as running:
        async with httpx.AsyncClient(base_url=running.base_url, timeout=10) as client:
            headers = await factories.sign_in(client, system)
        token = headers["Authorization"].removeprefix("Bearer ")
        subscribers = [Heard() for _ in range(3)]
        ready = [asyncio.Event() for _ in subscribers]
        listening = [
            asyncio.create_task(listen(running.base_url, token, heard, up))
            for heard, up in zip(subscribers, ready, strict=True)
        ]
        await asyncio.gather(*(up.wait() for up in ready))
        killing = asyncio.create_task(kill_workers(running, kills))
        share = events // REPORTERS
        await asyncio.gather(
            *(report(running.base_url, headers, keys[start : start + share]) for start in range(0, events, share))
        )
        await killing
        for _ in range(200):
            if all(len(heard.ids) >= events for heard in subscribers):
                break
            await asyncio.sleep(0.1)
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)
    async with database.bare.acquire() as connection:
        order = [
            row["key"]
            for row in await connection.fetch(
                "SELECT e.data ->> 'key' AS key FROM event_positions p JOIN events e USING (id, at)"
                " WHERE e.owner_agency_id = $1 ORDER BY p.position",
                agency,
            )
        ]
    assert sorted(order) == sorted(keys), "an acknowledged event is not in the log, or is there twice"
    assert max(heard.connections for heard in subscribers) > 1, "no subscriber was ever cut: the kills did not bite"
    for heard in subscribers:
        assert len(set(keys) - set(heard.ids)) == 0, "lost"
        assert len(heard.ids) - len(set(heard.ids)) == 0, "repeated"
        assert heard.ids == order, "out of order"
