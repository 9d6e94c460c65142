"""Walls and tours over the public contract: one grant and one entry, tiles that are showings, an end within a second."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from app.announcements import CHANNEL
from app.database import Database, plain_url
from app.demo.simulator import SimulatedCamera, Simulator
from app.keys import Keys
from app.streams import manifests, reconcile
from app.streams.urls import read
from app.streams.writer import Writer
from tests import factories
from tests.streams.watching import until


@dataclass
class Center:
    """A district with cameras and its people, and a neighbour whose cameras it may locate."""

    district: UUID
    cameras: list[UUID]
    neighbours: UUID
    operator: dict[str, str]
    lead: dict[str, str]
    auditor: dict[str, str]


@pytest.fixture
async def center(database: Database, client: httpx.AsyncClient) -> Center:
    district, neighbour = await factories.agency(database), await factories.agency(database)
    cameras = [await factories.camera(database, district) for _ in range(4)]
    await factories.agreement(database, neighbour, district, verbs=("locate", "request"))
    people = [
        await factories.sign_in(client, await factories.person(database, district, role))
        for role in ("operator", "shift_lead", "auditor")
    ]
    return Center(district, cameras, await factories.camera(database, neighbour), *people)


def texts(ids: list[UUID]) -> list[str]:
    return [str(one) for one in ids]


async def define(
    client: httpx.AsyncClient, who: dict[str, str], steps: list[list[UUID]], name: str = "야간 순회", **step: Any
) -> httpx.Response:
    body = {"name": name, "steps": [{"camera_ids": texts(cameras), "seconds": 30, **step} for cameras in steps]}
    return await client.post("/v1/tours", json=body, headers=who)


async def begin(client: httpx.AsyncClient, who: dict[str, str], *, key: str = "", **body: Any) -> httpx.Response:
    headers = {**who, "Idempotency-Key": key} if key else who
    return await client.post("/v1/walls", json=body, headers=headers)


async def entries_about(database: Database, subject: str) -> list[tuple[asyncpg.Record, dict[str, Any]]]:
    rows = await database.bare.fetch("SELECT * FROM audit_entries WHERE subject_id = $1 ORDER BY at, id", UUID(subject))
    return [(row, json.loads(row["payload"])) for row in rows]


# Tours


async def test_a_tour_is_versioned_and_audited(client: httpx.AsyncClient, database: Database, center: Center) -> None:
    first = await define(client, center.lead, [center.cameras[:2], center.cameras[2:]])
    second = await define(client, center.lead, [center.cameras[:1]])
    assert (first.status_code, second.status_code) == (201, 201), first.text
    assert [one.json()["version"] for one in (first, second)] == [1, 2]
    ((_, said),) = await entries_about(database, first.json()["id"])
    assert (said["name"], said["version"], said["steps"], said["cameras"]) == ("야간 순회", 1, 2, 4)
    listed = (await client.get("/v1/tours", headers=center.operator)).json()
    assert [(one["name"], one["version"], one["camera_count"]) for one in listed["items"]] == [("야간 순회", 2, 1)]
    assert "steps" not in listed["items"][0]
    older = await client.get("/v1/tours", params={"name": "야간 순회", "version": 1}, headers=center.operator)
    (tour,) = older.json()["items"]
    assert tour["steps"] == [
        {"camera_ids": texts(center.cameras[:2]), "seconds": 30},
        {"camera_ids": texts(center.cameras[2:]), "seconds": 30},
    ]
    canonical = json.dumps(tour["steps"], sort_keys=True, separators=(",", ":")).encode()
    assert sha256(canonical).hexdigest() == said["steps_sha256"]


async def test_versions_made_at_once_follow_each_other(client: httpx.AsyncClient, center: Center) -> None:
    made = await asyncio.gather(*(define(client, center.lead, [center.cameras[:1]]) for _ in range(5)))
    assert sorted(one.json()["version"] for one in made) == [1, 2, 3, 4, 5]


async def test_tours_are_listed_page_by_page(client: httpx.AsyncClient, center: Center) -> None:
    for n in range(5):
        await define(client, center.lead, [center.cameras[:1]], name=f"순회 {n}")
    names: list[str] = []
    cursor = None
    while True:
        params = {"limit": "2", **({"cursor": cursor} if cursor else {})}
        page = (await client.get("/v1/tours", params=params, headers=center.operator)).json()
        names += [one["name"] for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert names == [f"순회 {n}" for n in range(5)]


async def test_who_defines_and_who_knows_tours(client: httpx.AsyncClient, database: Database, center: Center) -> None:
    refused = await define(client, center.operator, [center.cameras[:1]])
    assert (refused.status_code, refused.json()["code"]) == (403, "not_permitted")
    tour = (await define(client, center.lead, [center.cameras[:1]])).json()["id"]
    stranger = await factories.agency(database)
    elsewhere = await factories.sign_in(client, await factories.person(database, stranger, "shift_lead"))
    assert (await client.get("/v1/tours", headers=elsewhere)).json()["items"] == []
    assert (await begin(client, elsewhere, tour_id=tour)).status_code == 404
    assert len((await client.get("/v1/tours", headers=center.auditor)).json()["items"]) == 1


@pytest.mark.parametrize(
    ("steps", "field"),
    [
        ([], "steps"),
        ([{"camera_ids": ["own"], "seconds": 30}] * 201, "steps"),
        ([{"camera_ids": ["own"], "seconds": 30}, {"camera_ids": [], "seconds": 30}], "steps.1.camera_ids"),
        ([{"camera_ids": ["own"] * 2, "seconds": 30}], "steps.0.camera_ids"),
        ([{"camera_ids": ["new"] * 65, "seconds": 30}], "steps.0.camera_ids"),
        ([{"camera_ids": ["own"], "seconds": 4}], "steps.0.seconds"),
        ([{"camera_ids": ["own"], "seconds": 3601}], "steps.0.seconds"),
        ([{"camera_ids": ["own"], "seconds": 30}, {"camera_ids": ["own", "foreign"], "seconds": 30}],
         "steps.1.camera_ids"),
        ([{"camera_ids": ["new"], "seconds": 30}], "steps.0.camera_ids"),
    ],
)  # fmt: skip
async def test_a_wrong_tour_is_refused_with_its_field(
    client: httpx.AsyncClient, center: Center, steps: list[dict[str, Any]], field: str
) -> None:
    known = {"own": str(center.cameras[0]), "foreign": str(center.neighbours)}
    body = [{**step, "camera_ids": [known.get(one, str(uuid4())) for one in step["camera_ids"]]} for step in steps]
    response = await client.post("/v1/tours", json={"name": "틀린 순회", "steps": body}, headers=center.lead)
    assert (response.status_code, response.json()["field"]) == (422, field), response.text


# Walls


async def test_a_wall_is_one_grant_and_one_entry(client: httpx.AsyncClient, database: Database, center: Center) -> None:
    response = await begin(client, center.operator, camera_ids=texts(center.cameras))
    assert response.status_code == 201, response.text
    wall = response.json()
    assert [tile["camera_id"] for tile in wall["cameras"]] == texts(center.cameras)
    assert all({stream["protocol"] for stream in tile["streams"]} >= {"fmp4", "hls"} for tile in wall["cameras"])
    assert wall["steps"] == [{"camera_ids": texts(center.cameras), "seconds": None}]
    assert (wall["tour"], wall["next_step"], wall["left_out"]) == (None, None, [])
    (grant,) = await database.bare.fetch("SELECT * FROM grants WHERE id = $1", UUID(wall["wall_id"]))
    assert (grant["kind"], grant["manifested"], grant["urgency"]) == ("duty", True, 4)
    assert (texts(grant["camera_ids"]), grant["duty_id"] is None) == (texts(center.cameras), False)
    session = await database.bare.fetchrow("SELECT * FROM sessions WHERE id = $1", grant["session_id"])
    assert (grant["duty_id"], grant["expires_at"]) == (session["duty_id"], session["expires_at"])
    ((entry, said),) = await entries_about(database, wall["wall_id"])
    assert (entry["id"], entry["act"], entry["at"]) == (grant["entry_id"], "wall.started", grant["at"])
    assert (said["cameras"], said["camera_ids"], said["duty_id"]) == (4, texts(center.cameras), str(grant["duty_id"]))
    kinds = await database.bare.fetch("SELECT kind, manifested FROM grants WHERE session_id = $1", grant["session_id"])
    assert sorted(map(tuple, kinds)) == [("duty", False), ("duty", True)], "the duty began with it, once"


async def test_a_tour_runs_as_a_wall_that_names_it(
    client: httpx.AsyncClient, database: Database, center: Center
) -> None:
    tour = (await define(client, center.lead, [center.cameras[:2], center.cameras[1:]])).json()
    wall = (await begin(client, center.operator, tour_id=tour["id"], protocols=["fmp4"])).json()
    assert wall["tour"] == {"id": tour["id"], "name": tour["name"], "version": 1}
    assert [step["camera_ids"] for step in wall["steps"]] == [texts(center.cameras[:2]), texts(center.cameras[1:])]
    assert [tile["camera_id"] for tile in wall["cameras"]] == texts(center.cameras)
    assert {stream["protocol"] for tile in wall["cameras"] for stream in tile["streams"]} == {"fmp4"}
    ((_, said),) = await entries_about(database, wall["wall_id"])
    assert (said["tour"], said["version"], said["tour_id"], said["cameras"]) == ("야간 순회", 1, tour["id"], 4)
    assert "camera_ids" not in said


async def test_what_a_tour_can_no_longer_show_is_left_out(
    client: httpx.AsyncClient, database: Database, center: Center
) -> None:
    tour = (await define(client, center.lead, [center.cameras[:1], center.cameras[1:]])).json()
    gone, dark, given_away, left = center.cameras
    await database.bare.execute("UPDATE camera_positions SET retired_at = now() WHERE id = $1", gone)
    await database.bare.execute("UPDATE camera_positions SET has_stream = false WHERE id = $1", dark)
    await database.bare.execute(
        "UPDATE camera_positions SET owner_agency_id = $2 WHERE id = $1", given_away, await factories.agency(database)
    )
    wall = (await begin(client, center.operator, tour_id=tour["id"])).json()
    assert wall["steps"] == [{"camera_ids": [str(left)], "seconds": 30}]
    assert wall["left_out"] == texts([gone, dark, given_away])
    await database.bare.execute("UPDATE camera_positions SET has_stream = false WHERE id = $1", left)
    refused = await begin(client, center.operator, tour_id=tour["id"])
    assert (refused.status_code, refused.json()["missing"]) == (403, "stream")


async def test_others_cameras_never_stand_on_a_wall(
    client: httpx.AsyncClient, database: Database, center: Center
) -> None:
    own = str(center.cameras[0])
    foreign = await begin(client, center.operator, camera_ids=[own, str(center.neighbours)])
    assert (foreign.status_code, foreign.json()["camera_id"]) == (403, str(center.neighbours))
    assert "POST /v1/grants" in foreign.json()["detail"]
    unknown = await begin(client, center.operator, camera_ids=[own, str(uuid4())])
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    auditor = await begin(client, center.auditor, camera_ids=[own])
    assert (auditor.status_code, auditor.json()["missing"]) == (403, "view")
    refused = await database.bare.fetch(
        "SELECT payload FROM audit_entries WHERE act = 'wall.refused' AND agency_id = $1", center.district
    )
    assert len(refused) == 3, "refusals are written down"
    assert await database.bare.fetchval(
        "SELECT count(*) FROM grants WHERE agency_id = $1", center.district
    ) == 0, "and no duty began"  # fmt: skip


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "camera_ids"),
        ({"camera_ids": ["own"], "tour_id": str(uuid4())}, "camera_ids"),
        ({"camera_ids": []}, "camera_ids"),
        ({"camera_ids": ["own", "own"]}, "camera_ids"),
        ({"camera_ids": ["new"] * 65}, "camera_ids"),
        ({"camera_ids": ["own"], "protocols": ["rtsps"]}, "protocols"),
        ({"camera_ids": ["own"], "quality": "8k"}, "quality"),
    ],
)
async def test_a_wrong_wall_is_refused_with_its_field(
    client: httpx.AsyncClient, center: Center, body: dict[str, Any], field: str
) -> None:
    if "camera_ids" in body:
        own = str(center.cameras[0])
        body = {**body, "camera_ids": [own if one == "own" else str(uuid4()) for one in body["camera_ids"]]}
    response = await begin(client, center.operator, **body)
    assert (response.status_code, response.json()["field"]) == (422, field), response.text


async def test_a_long_tour_gives_its_urls_in_several_answers(
    client: httpx.AsyncClient, database: Database, center: Center
) -> None:
    cameras = [await factories.camera(database, center.district) for _ in range(150)]
    tour = await define(client, center.lead, [cameras[n : n + 30] for n in range(0, 150, 30)])
    wall = (await begin(client, center.operator, tour_id=tour.json()["id"], protocols=["fmp4"])).json()
    assert [tile["camera_id"] for tile in wall["cameras"]] == texts(cameras[:120])
    assert (wall["next_step"], len(wall["steps"])) == (4, 5)
    path = f"/v1/walls/{wall['wall_id']}"
    rest = (await client.get(path, params={"step": 4}, headers=center.operator)).json()
    assert [tile["camera_id"] for tile in rest["cameras"]] == texts(cameras[120:])
    assert rest["next_step"] is None
    again = (await client.get(path, headers=center.operator)).json()
    assert {**again, "cameras": None} == {**wall, "cameras": None}
    assert (await client.get(path, headers=center.lead)).status_code == 404, "its URLs are its console's"


async def test_a_repeated_request_gives_the_same_wall(
    client: httpx.AsyncClient, database: Database, center: Center
) -> None:
    cameras = texts(center.cameras)
    made = await asyncio.gather(*(begin(client, center.operator, key="k1", camera_ids=cameras) for _ in range(4)))
    assert [one.status_code for one in made] == [201] * 4, made[0].text
    assert len({one.json()["wall_id"] for one in made}) == 1
    other = await begin(client, center.operator, key="k1", camera_ids=cameras[:1])
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    assert await database.bare.fetchval(
        "SELECT count(*) FROM grants WHERE manifested AND agency_id = $1", center.district
    ) == 1  # fmt: skip


async def test_a_session_has_a_bounded_number_of_walls(client: httpx.AsyncClient, center: Center) -> None:
    made = [await begin(client, center.operator, camera_ids=texts(center.cameras[:1])) for _ in range(17)]
    assert [one.status_code for one in made] == [201] * 16 + [409]
    assert (
        await client.delete(f"/v1/walls/{made[0].json()['wall_id']}", headers=center.operator)
    ).status_code == 204  # fmt: skip
    assert (await begin(client, center.operator, camera_ids=texts(center.cameras[:1]))).status_code == 201


async def test_a_wall_is_stopped_by_its_operator_or_supervisor(
    client: httpx.AsyncClient, database: Database, center: Center
) -> None:
    colleague = await factories.sign_in(client, await factories.person(database, center.district, "operator"))
    said_aloud: set[str] = set()
    listening = await asyncpg.connect(plain_url(database.url))
    await listening.add_listener(CHANNEL, lambda *news: said_aloud.add(news[-1]))
    for who, cause in ((center.operator, "ended_by_user"), (center.lead, "revoked")):
        wall = (await begin(client, center.operator, camera_ids=texts(center.cameras))).json()["wall_id"]
        for stranger in (colleague, center.auditor):
            assert (await client.delete(f"/v1/walls/{wall}", headers=stranger)).status_code == 404
        for _ in range(2):  # and once more is harmless
            assert (await client.delete(f"/v1/walls/{wall}", headers=who)).status_code == 204
        assert (await client.get(f"/v1/walls/{wall}", headers=center.operator)).status_code == 404
        _, (entry, said) = await entries_about(database, wall)
        assert (entry["act"], said["cause"]) == ("wall.stopped", cause)
        await until(lambda wall=wall: f"revoked grant {wall}" in said_aloud, 2)
    await listening.close()
    assert (await client.delete(f"/v1/walls/{uuid4()}", headers=center.operator)).status_code == 404


# What walls showed, at the doors


async def test_the_doors_tell_who_saw_and_the_digest_can_be_recomputed(
    client: httpx.AsyncClient, database: Database, center: Center
) -> None:
    wall = (await begin(client, center.operator, camera_ids=texts(center.cameras))).json()["wall_id"]
    camera = center.cameras[0]
    await database.bare.execute(
        """INSERT INTO showings (id, grant_id, grant_at, duty_id, user_id, agency_id, owner_agency_id, camera_id,
            protocol, gateway, node, began_at, ended_at, cause, bytes)
        SELECT gen_random_uuid(), id, at, duty_id, user_id, agency_id, agency_id, $2, 'fmp4', 'embedded', 'n',
            date_trunc('hour', at) - interval '290 minutes',
            date_trunc('hour', at) - interval '290 minutes' + interval '42.5 seconds', 'client', 1234
        FROM grants WHERE id = $1""", UUID(wall), camera,
    )  # fmt: skip
    async with asyncio.timeout(5):
        while await database.bare.fetchval("SELECT count(*) FROM showings WHERE grant_id = $1", UUID(wall)):
            await manifests.seal(Writer(database, lambda: None))  # or the service does it at this moment
    (item,) = (await client.get(f"/v1/cameras/{camera}/showings", headers=center.auditor)).json()["items"]
    assert item["seconds"] == pytest.approx(42.5, abs=0.001)
    assert [(one["protocol"], one["cause"], one["bytes"]) for one in item["intervals"]] == [("fmp4", "client", 1234)]
    assert item["who"]["role"] == "operator"
    mine = (await client.get("/v1/showings", headers=center.operator)).json()["items"]
    assert mine == [item]
    params = {"user_id": item["who"]["user_id"]}
    assert (await client.get("/v1/showings", params=params, headers=center.lead)).json()["items"] == [item]
    manifest = await client.get(f"/v1/manifests/{item['manifest']['id']}", headers=center.auditor)
    assert sha256(manifest.content).hexdigest() == item["manifest"]["digest"]
    told = await client.get(
        "/v1/audit/entries", params={"subject_id": item["manifest"]["id"]}, headers=center.auditor
    )  # fmt: skip
    acts = {one["act"]: one for one in told.json()["items"]}
    assert acts["manifest.sealed"]["who_and_why"]["manifest_digest"] == item["manifest"]["digest"]
    assert "audit.read" in acts
    later = await client.get(
        f"/v1/cameras/{camera}/showings", params={"since": item["ended_at"].replace("+00:00", "Z")}, headers=center.lead
    )
    assert [one["camera_id"] for one in later.json()["items"]] in ([], [str(camera)])
    wrong = await client.get(
        f"/v1/cameras/{camera}/showings",
        params={"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, headers=center.lead,
    )  # fmt: skip
    assert (wrong.status_code, wrong.json()["field"]) == (422, "since")
    assert (await client.get(f"/v1/cameras/{camera}/showings", headers=center.operator)).status_code == 403
    assert (await client.get(f"/v1/cameras/{uuid4()}/showings", headers=center.auditor)).status_code == 404
    assert (await client.get(f"/v1/manifests/{uuid4()}", headers=center.auditor)).status_code == 404


# A wall that plays


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    cameras = [
        SimulatedCamera(f"wall/{n}", f"WALL {n}", login="u", password="p", width=320, height=180) for n in range(2)
    ]
    async with Simulator(cameras) as running:
        yield running


class Tile:
    """A player of one tile."""

    def __init__(self, base_url: str, tile: dict[str, Any]) -> None:
        (self.path,) = ("/v/" + one["url"].split("/v/")[1] for one in tile["streams"] if one["protocol"] == "fmp4")
        self.camera = UUID(tile["camera_id"])
        self.bytes = 0
        self.begun = asyncio.Event()
        self.task = asyncio.create_task(self._read(base_url + self.path))

    async def _read(self, url: str) -> float:
        try:
            async with httpx.AsyncClient(timeout=15) as client, client.stream("GET", url) as response:
                assert response.status_code == 200, await response.aread()
                async for part in response.aiter_raw():
                    self.bytes += len(part)
                    self.begun.set()
        except httpx.HTTPError:
            pass
        return time.monotonic()


@pytest.mark.slow
async def test_a_wall_plays_as_showings_and_is_cut_in_time(
    client: httpx.AsyncClient, base_url: str, database: Database, keys: Keys, center: Center, simulator: Simulator
) -> None:
    for n in range(2):
        url = simulator.url(f"wall/{n}", with_credentials=True)
        await factories.source(database, keys, center.cameras[n], url)
    body = {"camera_ids": texts(center.cameras[:2]), "protocols": ["fmp4"]}
    wall = (await begin(client, center.operator, **body)).json()
    tiles = [Tile(base_url, tile) for tile in wall["cameras"]]
    async with asyncio.timeout(12):
        await asyncio.gather(*(tile.begun.wait() for tile in tiles))
    of_wall = "SELECT * FROM showings WHERE grant_id = $1 ORDER BY began_at, id"
    rows = await database.bare.fetch(of_wall, UUID(wall["wall_id"]))
    assert [(row["camera_id"] in center.cameras[:2], row["ended_at"]) for row in rows] == [(True, None)] * 2
    stopped = time.monotonic()
    assert (await client.delete(f"/v1/walls/{wall['wall_id']}", headers=center.operator)).status_code == 204
    ends = await asyncio.wait_for(asyncio.gather(*(tile.task for tile in tiles)), 5)
    assert max(ends) - stopped < 1.5
    closed: list[asyncpg.Record] = []

    async def all_closed() -> bool:
        closed[:] = await database.bare.fetch(of_wall, UUID(wall["wall_id"]))
        return all(row["ended_at"] for row in closed)

    async with asyncio.timeout(5):
        while not await all_closed():  # noqa: ASYNC110 - the closing is a row that the service writes
            await asyncio.sleep(0.02)
    sent = {tile.camera: tile.bytes for tile in tiles}
    assert [row["cause"] for row in closed] == ["revoked"] * 2
    assert all(row["bytes"] >= sent[row["camera_id"]] > 1000 for row in closed)
    assert await database.bare.fetchval("SELECT count(*) FROM views WHERE camera_id = ANY($1)", center.cameras) == 0
    acts = await database.bare.fetch(
        "SELECT act FROM audit_entries WHERE agency_id = $1 AND act ~ '^(wall|view|grant)' ORDER BY at, id",
        center.district,
    )
    assert [row["act"] for row in acts] == ["grant.given", "wall.started", "wall.stopped"], "no entry a tile"
    again = await client.get(tiles[0].path)
    assert again.status_code == 403, "denied first, then cut"


async def test_the_showings_of_a_dead_process_are_closed(
    client: httpx.AsyncClient, database: Database, keys: Keys, center: Center
) -> None:
    wall = (await begin(client, center.operator, camera_ids=texts(center.cameras[:1]))).json()
    (path,) = (one["url"] for one in wall["cameras"][0]["streams"] if one["protocol"] == "fmp4")
    ticket = read(keys, path.split("/v/")[1].split("/")[0])
    assert (str(ticket.grant_id), ticket.camera_id) == (wall["wall_id"], center.cameras[0])
    node = f"tests/{uuid4().hex[:8]}"
    await database.bare.execute("INSERT INTO nodes (name, seen_at) VALUES ($1, now() - interval '10 s')", node)
    showing = await database.bare.fetchval(
        """INSERT INTO showings (id, grant_id, grant_at, duty_id, user_id, agency_id, owner_agency_id, camera_id,
            protocol, gateway, node, began_at)
        SELECT $2, id, at, duty_id, user_id, agency_id, agency_id, camera_ids[1], 'fmp4', 'embedded', $3,
            now() - interval '60 s'
        FROM grants WHERE id = $1 RETURNING id""", ticket.grant_id, uuid4(), node,
    )  # fmt: skip
    await reconcile.beat(database, Writer(database, lambda: None), f"tests/{uuid4().hex[:8]}")
    row = await database.bare.fetchrow(
        "SELECT cause, extract(epoch FROM ended_at - began_at) AS seconds FROM showings WHERE id = $1", showing
    )
    assert row["cause"] == "node_lost"
    assert float(row["seconds"]) == pytest.approx(50, abs=2), "as long as the process is known to have lived"
