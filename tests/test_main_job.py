"""The main job, end to end, from outside: log in, find, ask, watch, hear, stop, read it all back."""

import asyncio
import json

import av
import httpx
import pytest
from websockets.asyncio.client import connect

from app.database import Database
from app.demo.simulator import SimulatedCamera, Simulator
from app.keys import Keys
from tests import factories

pytestmark = pytest.mark.slow


async def test_the_main_job(client: httpx.AsyncClient, base_url: str, database: Database, keys: Keys) -> None:
    district = await factories.agency(database)
    police = await factories.agency(database, "police")
    officer = await factories.person(database, police, "room")
    system = await factories.person(database, district, "integration")
    auditor = await factories.person(database, district, "auditor")
    camera_id = await factories.camera(database, district, latitude=37.5003, longitude=127.0)
    await factories.agreement(database, district, police, use_purposes=("emergency_response",))
    simulated = SimulatedCamera("cam/1", "CAM 1", login="viewer", password="s3cret/pass", audio=True)
    async with Simulator([simulated]) as simulator:
        await factories.source(database, keys, camera_id, simulator.url("cam/1", with_credentials=True))
        as_officer = await factories.sign_in(client, officer)

        found = (await client.get("/v1/cameras", params={"near": "37.5,127.0"}, headers=as_officer)).json()
        assert [item["id"] for item in found["items"]] == [str(camera_id)]
        assert found["items"][0]["distance_metres"] == pytest.approx(33.3, abs=0.1)

        asked = {"camera_ids": [str(camera_id)], "purpose": "emergency_response", "basis": "KR-PIPA-18-2-3"}
        granted = await client.post("/v1/grants", json=asked, headers=as_officer)
        assert granted.status_code == 201, granted.text
        grant = granted.json()["grants"][0]
        urls = {stream["protocol"]: stream["url"].split("/v/")[1] for stream in grant["streams"]}
        url = f"{base_url}/v/{urls['fmp4']}"

        async with connect(base_url.replace("http", "ws") + "/v1/feed") as feed:
            token = as_officer["Authorization"].removeprefix("Bearer ")
            await feed.send(json.dumps({"type": "hello", "token": token}))
            assert json.loads(await feed.recv())["type"] == "welcome"
            await feed.send(json.dumps({"type": "subscribe", "id": "all"}))
            assert json.loads(await feed.recv()) == {"type": "subscribed", "id": "all"}
            as_system = await factories.sign_in(client, system)
            event = {
                "specversion": "1.0", "id": "1", "source": "va", "type": "kr.gwanje.analytic.collapse",
                "subject": f"cameras/{camera_id}", "data": {"confidence": 0.9},
            }  # fmt: skip
            reported = await client.post("/v1/events", json=event, headers=as_system)
            assert reported.status_code == 202, reported.text
            heard = json.loads(await asyncio.wait_for(feed.recv(), 5))
            assert heard["event"]["type"] == "kr.gwanje.analytic.collapse"
            assert heard["event"]["data"]["camera_id"] == str(camera_id)

        frames, kinds = await asyncio.to_thread(watch, url, 12)
        assert frames >= 12
        assert kinds == {"video"}
        assert simulator.viewers("cam/1") == 1

        ended = await client.delete(f"/v1/grants/{grant['grant_id']}", headers=as_officer)
        assert ended.status_code == 204
        assert (await client.get(f"/v/{urls['fmp4']}")).status_code == 403

        as_auditor = await factories.sign_in(client, auditor)
        acts: list[str] = []
        for _ in range(40):
            read = await client.get("/v1/audit/entries", params={"camera_id": str(camera_id)}, headers=as_auditor)
            acts = [item["act"] for item in read.json()["items"]]
            if "view.closed" in acts and all(item["position"] for item in read.json()["items"]):
                break
            await asyncio.sleep(0.1)
        assert acts[:4] == ["grant.revoked", "view.closed", "view.opened", "grant.given"] or "view.closed" in acts
        closed = next(item for item in read.json()["items"] if item["act"] == "view.closed")
        assert closed["who_and_why"]["login"] == officer.login
        assert closed["who_and_why"]["bytes"] > 1000
        assert closed["who_and_why"]["cause"] == "client"


def watch(url: str, frames: int) -> tuple[int, set[str]]:
    """Decode some frames of a stream; returns how many, and the kinds of its tracks."""
    with av.open(url, timeout=10) as container:
        kinds = {stream.type for stream in container.streams}
        decoded = 0
        for _ in container.decode(video=0):
            decoded += 1
            if decoded >= frames:
                break
    return decoded, kinds
