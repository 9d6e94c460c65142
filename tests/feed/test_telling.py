"""What others do with a camera's footage is told to its owner: in the log's order, once, and to nobody else."""

import asyncio
from dataclasses import dataclass
from uuid import UUID

import httpx
import pytest

from app import ledger
from app.announcements import Announcements
from app.audit import entries
from app.database import Database
from app.feed.telling import Footage
from app.keys import Keys
from app.ledger import Sequencer
from app.streams import views
from app.streams.views import Ending
from tests import factories
from tests.streams import opening


@dataclass(frozen=True)
class Town:
    """A camera, its owner's operator, a police officer who may view it, and firefighters who may, too."""

    camera: UUID
    owner: dict[str, str]
    police: dict[str, str]
    fire: dict[str, str]


@pytest.fixture
async def town(client: httpx.AsyncClient, database: Database, keys: Keys) -> Town:
    district = await factories.agency(database)
    camera = await factories.camera(database, district)
    await factories.source(database, keys, camera, "rtsp://127.0.0.1:9/1")
    headers = [await factories.sign_in(client, await factories.person(database, district))]
    for kind in ("police", "fire"):
        agency = await factories.agency(database, kind)
        await factories.agreement(database, district, agency)
        headers.append(await factories.sign_in(client, await factories.person(database, agency, "room")))
    return Town(camera, *headers)


async def told(client: httpx.AsyncClient, headers: dict[str, str], camera: UUID, start: str) -> list[dict]:
    asked = {"after": start, "wait": "0", "limit": "1000", "kind": ["grant.*", "view.*"]}
    answer = (await client.get("/v1/events", params=asked, headers=headers)).json()
    return [item["event"] for item in answer["items"] if item["event"].get("subject") == f"cameras/{camera}"]


async def test_the_owner_is_told_and_nobody_else(
    client: httpx.AsyncClient, database: Database, keys: Keys, town: Town
) -> None:
    start = (await client.get("/v1/events", headers=town.owner)).json()["position"]
    for reason in ({}, opening.EMERGENCY):  # one's own: nobody else's business, nor news
        await opening.granted(client, keys, town.owner, town.camera, **reason)
    ticket = await opening.granted(client, keys, town.police, town.camera, **opening.EMERGENCY)
    async with opening.writing(database) as writer:
        view = await opening.opened(writer, ticket, await opening.carrier(database))
        await views.close(writer, view, Ending("client", 4096, 1.5))
        await Sequencer(database, ledger.AUDIT, entries.grow_tree).catch_up()
    async with asyncio.timeout(15):
        while len(heard := await told(client, town.owner, town.camera, start)) < 3:  # noqa: ASYNC110 - asked over HTTP
            await asyncio.sleep(0.05)
    kinds = [event["type"].removeprefix("kr.gwanje.") for event in heard]
    assert kinds == ["grant.given", "view.opened", "view.closed"]
    given, _, closed = (event["data"] for event in heard)
    assert given["grant_id"] == closed["grant_id"] == str(ticket.grant_id)
    assert given["purpose"] == "emergency_response"
    assert (closed["cause"], closed["seconds"]) == ("client", 1.5)
    assert await told(client, town.fire, town.camera, start) == []
    assert await told(client, town.police, town.camera, start) == []


async def test_told_once_by_however_many(client: httpx.AsyncClient, database: Database, keys: Keys, town: Town) -> None:
    start = (await client.get("/v1/events", headers=town.owner)).json()["position"]
    for _ in range(5):
        await opening.granted(client, keys, town.police, town.camera, **opening.EMERGENCY)
    await Sequencer(database, ledger.AUDIT, entries.grow_tree).catch_up()
    tellers = [Footage(database, Announcements(database.url), lambda: None) for _ in range(4)]
    async with asyncio.timeout(15):
        while sum(await asyncio.gather(*(teller.tell() for teller in tellers))):
            pass
        while len(heard := await told(client, town.owner, town.camera, start)) < 5:  # noqa: ASYNC110 - asked over HTTP
            await asyncio.sleep(0.05)
    assert len({event["id"] for event in heard}) == len(heard) == 5
