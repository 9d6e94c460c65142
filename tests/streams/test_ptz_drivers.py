"""Two drivers of one head, in two processes: their commands never overlap, and never mix."""

import asyncio
import json
import sys
from itertools import groupby
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text, update

from app.database import Database
from app.keys import Keys
from app.models import CameraPosition
from tests import factories
from tests.streams.fake_onvif import FakeOnvif, onvif

ROOT = Path(__file__).parents[2]
REASON = {"purpose": "emergency_response", "basis": "KR-PIPA-18-2-3"}


async def driver(**said: object) -> dict[str, int]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.streams.ptz_driver", json.dumps(said), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(out)


async def contended(
    client: httpx.AsyncClient, database: Database, keys: Keys, url: str, moves: int, slow: float
) -> tuple[FakeOnvif, list[dict[str, int]], int]:
    """The owner's driver takes the head from the police's again and again; both move it as fast as they can."""
    owner, police = await factories.agency(database), await factories.agency(database, "police")
    camera = await factories.camera(database, owner)
    await factories.agreement(database, owner, police, verbs=("locate", "request", "view", "ptz"))
    async with database.begin() as session:
        await session.execute(update(CameraPosition).where(CameraPosition.id == camera).values(ptz=True))
    async with onvif(FakeOnvif(slow={"AbsoluteMove": slow})) as head:
        admin = await factories.sign_in(client, await factories.person(database, owner, "admin"))
        path = f"/v1/cameras/{camera}/control"
        assert (await client.put(path, json={"url": head.url}, headers=admin)).status_code == 204
        driving = []
        for agency, role, sign, at_once, pause in ((police, "room", 1, 40, 0.0), (owner, "operator", -1, 7, 0.1)):
            headers = await factories.sign_in(client, await factories.person(database, agency, role))
            given = await client.post("/v1/grants", json={"camera_ids": [str(camera)], **REASON}, headers=headers)
            token = headers["Authorization"].removeprefix("Bearer ")
            driving.append(driver(
                url=url, key=keys.secret.hex(), camera=str(camera), grant=given.json()["grants"][0]["grant_id"],
                purpose=REASON["purpose"], token=token, sign=sign, at_once=at_once, pause=pause, moves=moves // 2,
            ))  # fmt: skip
        done = await asyncio.gather(*driving)
    async with database.begin() as session:
        audited = await session.scalar(
            text(
                "SELECT sum((payload ->> 'moves')::int) FROM audit_entries WHERE act = 'ptz.closed' AND camera_id = :id"
            ),
            {"id": camera},
        )
    return head, done, audited


def check(head: FakeOnvif, done: list[dict[str, int]], audited: int, moves: int) -> None:
    marks = [command.pan for command in head.commands]
    runs = [mark for mark, _ in groupby(marks)]
    assert len(marks) >= moves
    assert head.overlaps == 0, "two commands at the same time"
    assert len(runs) == len(set(runs)), "a former driver's command came after the next one's"
    assert done[0]["lost"] > 0, "nobody was pre-empted: nothing is shown by this"
    assert audited == len(marks), "every command is in a track, and no other"


@pytest.mark.slow
async def test_two_drivers_never_interleave(
    client: httpx.AsyncClient, database: Database, keys: Keys, database_url: str
) -> None:
    check(*await contended(client, database, keys, database_url, 60, 0.1), 60)


@pytest.mark.drill
@pytest.mark.timeout(300)
async def test_two_drivers_never_interleave_in_a_thousand_moves(
    client: httpx.AsyncClient, database: Database, keys: Keys, database_url: str
) -> None:
    check(*await contended(client, database, keys, database_url, 1000, 0.02), 1000)
