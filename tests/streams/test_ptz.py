"""Turning cameras, through the doors: the right, the lease, who gives way, and how it ends."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text, update

from app.database import Database
from app.keys import Keys
from app.models import CameraPosition
from app.streams.ptz import moves
from app.streams.ptz.moves import Move
from app.streams.writer import Writer
from tests import factories
from tests.streams.fake_onvif import FakeOnvif, onvif
from tests.streams.watching import until

REASON = {"purpose": "emergency_response", "basis": "KR-PIPA-18-2-3"}
ROUTINE = {
    "purpose": "crime_investigation",
    "basis": "KR-PIPA-18-2-7",
    "references": [{"kind": "letter", "number": "1"}],
}
PURPOSE = REASON["purpose"]


@dataclass
class Scene:
    """A camera with a head, its owner's people, and the police with whom it is shared."""

    client: httpx.AsyncClient
    database: Database
    camera: UUID
    head: FakeOnvif
    owner: UUID
    police: UUID
    agreement: UUID

    async def person(self, agency: UUID, role: str) -> dict[str, str]:
        return await factories.sign_in(self.client, await factories.person(self.database, agency, role))

    async def grant(self, headers: dict[str, str], **more: Any) -> str:
        response = await self.client.post(
            "/v1/grants", json={"camera_ids": [str(self.camera)], **REASON, **more}, headers=headers
        )
        assert response.status_code == 201, response.text
        return response.json()["grants"][0]["grant_id"]

    async def take(self, headers: dict[str, str], grant: str | None = None, purpose: str = PURPOSE) -> httpx.Response:
        grant = grant or await self.grant(headers)
        return await self.client.post(
            f"/v1/cameras/{self.camera}/ptz-leases", json={"grant_id": grant, "purpose": purpose}, headers=headers
        )

    async def lease(self, headers: dict[str, str], **more: Any) -> str:
        response = await self.take(headers, await self.grant(headers, **more), more.get("purpose", PURPOSE))
        assert response.status_code == 201, response.text
        return response.json()["id"]

    async def move(self, headers: dict[str, str], lease: str, **move: Any) -> httpx.Response:
        body = {"kind": "absolute", "pan": 0.5} | move
        return await self.client.post(f"/v1/ptz-leases/{lease}/moves", json=body, headers=headers)

    async def entries(self, act: str) -> list[Any]:
        async with self.database.begin() as session:
            rows = await session.execute(
                text("SELECT outcome, agency_id, payload FROM audit_entries WHERE act = :act AND camera_id = :camera"
                     " ORDER BY at, id"),
                {"act": act, "camera": self.camera},
            )  # fmt: skip
            return list(rows)

    async def cause(self, lease: str) -> str | None:
        async with self.database.begin() as session:
            row = (
                await session.execute(text("SELECT cause, closed_at FROM ptz_leases WHERE id = :id"), {"id": lease})
            ).one()
        return row.cause if row.closed_at else None

    async def ends(self, lease: str, cause: str, seconds: float = 5) -> None:
        async with asyncio.timeout(seconds):
            while await self.cause(lease) is None:  # noqa: ASYNC110 - another task ends it
                await asyncio.sleep(0.02)
        assert await self.cause(lease) == cause


@pytest.fixture
async def scene(client: httpx.AsyncClient, database: Database, keys: Keys) -> AsyncIterator[Scene]:
    owner, police = await factories.agency(database), await factories.agency(database, "police")
    camera = await factories.camera(database, owner)
    agreement = await factories.agreement(database, owner, police, verbs=("locate", "request", "view", "ptz"))
    async with database.begin() as session:
        await session.execute(update(CameraPosition).where(CameraPosition.id == camera).values(ptz=True))
    async with onvif() as head:
        made = Scene(client, database, camera, head, owner, police, agreement)
        await factories.source(database, keys, camera, f"rtsp://127.0.0.1:{head.port}/x")
        admin = await made.person(owner, "admin")
        body = {"url": head.url, "home_preset": "1"}
        response = await client.put(f"/v1/cameras/{camera}/control", json=body, headers=admin)
        assert response.status_code == 204, response.text
        yield made


async def test_a_lease_is_one_entry_when_it_begins_and_one_with_its_track_when_it_ends(scene: Scene) -> None:
    operator = await scene.person(scene.owner, "operator")
    lease = await scene.lease(operator)
    turns = [
        (await scene.move(operator, lease, **move)).json()["turn"]
        for move in ({"pan": -0.25}, {"pan": 0.75, "tilt": 0.5}, {"kind": "preset", "preset": "2"})
    ]
    assert turns == sorted(set(turns))
    assert (await scene.client.delete(f"/v1/ptz-leases/{lease}", headers=operator)).status_code == 204
    opened, closed = await scene.entries("ptz.opened"), await scene.entries("ptz.closed")
    assert (len(opened), len(closed)) == (1, 1)
    assert opened[0].payload["purpose"] == PURPOSE
    track = closed[0].payload
    assert (track["moves"], track["presets"], track["cause"]) == (3, ["2"], "ended")
    assert track["extent"] == {"absolute": {"pan": [-0.25, 0.75], "tilt": [0.0, 0.5], "zoom": [0.0, 0.0]}}
    assert closed[0].agency_id == scene.owner
    await until(lambda: scene.head.commands[-1].preset == "1", 3)  # brought home
    assert [command.kind for command in scene.head.commands] == ["AbsoluteMove"] * 2 + ["GotoPreset"] * 2
    assert (await scene.move(operator, lease)).json()["code"] == "lease_ended"
    async with scene.database.begin() as session:
        told = await session.scalars(
            text("SELECT kind FROM events WHERE camera_id = :id AND kind LIKE 'ptz.%' ORDER BY id"),
            {"id": scene.camera},
        )
        assert list(told) == ["ptz.opened", "ptz.closed"]


async def test_the_right_is_of_its_own(scene: Scene) -> None:
    """Stationed police and patrol cars never steer; a room of another agency only where the agreement says so."""
    for agency, role in ((scene.owner, "seconded"), (scene.police, "field")):
        headers = await scene.person(agency, role)
        refused = await scene.take(headers)
        assert (refused.status_code, refused.json()["missing"]) == (403, "ptz")
    room = await scene.person(scene.police, "room")
    assert (await scene.take(room)).status_code == 201
    async with scene.database.begin() as session:
        await session.execute(
            text("UPDATE agreements SET verbs = '{locate,request,view}' WHERE id = :id"), {"id": scene.agreement}
        )
    refused = await scene.take(await scene.person(scene.police, "room"))
    assert (refused.status_code, refused.json()["code"], refused.json()["missing"]) == (403, "camera_not_shared", "ptz")
    assert [entry.outcome for entry in await scene.entries("ptz.opened")] == ["refused", "refused", "done", "refused"]
    stranger = await scene.person(await factories.agency(scene.database, "police"), "room")
    assert (await scene.take(stranger, str(scene.camera))).status_code == 404


async def test_a_lease_stands_on_a_grant_and_its_purpose(scene: Scene) -> None:
    operator, other = await scene.person(scene.owner, "operator"), await scene.person(scene.owner, "operator")
    grant = await scene.grant(operator)
    assert (await scene.take(other, grant)).json()["code"] == "grant_ended", "another's grant"
    assert (await scene.take(operator, grant, "facility_management")).status_code == 422
    assert (await scene.take(operator, grant)).status_code == 201
    lease = (await scene.take(operator, grant)).json()["id"]
    assert (await scene.move(other, lease)).status_code == 404, "another's lease"
    assert (await scene.move(operator, lease, pan=1.5)).status_code == 422
    assert (await scene.move(operator, lease, kind="continuous", seconds=60)).status_code == 422
    assert (await scene.move(operator, lease, kind="continuous", seconds=0)).status_code == 422


async def test_the_more_urgent_takes_the_place_and_of_equals_the_owner(scene: Scene) -> None:
    room, operator = await scene.person(scene.police, "room"), await scene.person(scene.owner, "operator")
    usual = await scene.lease(room)
    owners = await scene.lease(operator)
    assert await scene.cause(usual) == "pre_empted"
    colleague = await scene.person(scene.owner, "operator")
    taken = await scene.take(colleague)
    assert (taken.status_code, taken.json()["code"]) == (409, "head_taken")
    assert int(taken.headers["retry-after"]) >= 1
    urgent = await scene.lease(room, **ROUTINE, incident_id=str(scene.camera), urgency=0)
    assert await scene.cause(owners) == "pre_empted"
    assert (await scene.move(operator, owners)).json()["cause"] == "pre_empted"
    assert (await scene.move(room, urgent)).status_code == 200
    assert (await scene.take(operator)).json()["code"] == "head_taken"
    lead = await scene.person(scene.owner, "shift_lead")
    assert (await scene.client.delete(f"/v1/ptz-leases/{urgent}", headers=lead)).status_code == 204
    assert await scene.cause(urgent) == "taken_back"
    assert (await scene.client.delete(f"/v1/ptz-leases/{urgent}", headers=operator)).status_code == 404


async def test_a_revoked_permission_ends_the_lease_within_a_second(scene: Scene) -> None:
    room = await scene.person(scene.police, "room")
    for end in ("grant", "agreement"):
        grant = await scene.grant(room)
        lease = (await scene.take(room, grant)).json()["id"]
        assert (await scene.move(room, lease)).status_code == 200
        if end == "grant":
            assert (await scene.client.delete(f"/v1/grants/{grant}", headers=room)).status_code == 204
        else:
            head = await scene.person(scene.owner, "agency_head")
            ended = await scene.client.post(
                f"/v1/agreements/{scene.agreement}/withdrawal", json={"reason": "끝"}, headers=head
            )
            assert ended.status_code == 204, ended.text
        assert (await scene.move(room, lease)).json()["code"] == "lease_ended", "at once"
        await scene.ends(lease, "revoked", 1.5)


async def test_a_lease_is_looked_at_with_every_command(scene: Scene) -> None:
    """Not only when somebody has announced its end: nobody has, here."""
    operator = await scene.person(scene.owner, "operator")
    for end in (
        "UPDATE ptz_leases SET expires_at = now() WHERE id = :lease",
        "UPDATE grants g SET revoked_at = now() FROM ptz_leases l WHERE l.id = :lease AND g.id = l.grant_id",
    ):
        lease = await scene.lease(operator)
        assert (await scene.move(operator, lease)).status_code == 200
        sent = len(scene.head.commands)
        async with scene.database.begin() as session:
            await session.execute(text(end), {"lease": lease})
        assert (await scene.move(operator, lease)).json()["code"] == "lease_ended"
        await scene.ends(lease, "expired" if "expires" in end else "revoked")
        assert "AbsoluteMove" not in [command.kind for command in scene.head.commands[sent:]]


async def test_a_closed_player_ends_the_lease(scene: Scene) -> None:
    operator = await scene.person(scene.owner, "operator")
    lease = await scene.lease(operator)
    async with scene.database.begin() as session:
        await session.execute(
            text(
                "INSERT INTO views (id, opened_entry_id, grant_id, grant_at, at, camera_id, owner_agency_id, user_id,"
                " agency_id, protocol, gateway, node, closed_at) SELECT gen_random_uuid(), g.entry_id, g.id, g.at, g.at,"
                " l.camera_id, l.owner_agency_id, l.user_id, l.agency_id, 'mse', 'x', 'x', now()"
                " FROM ptz_leases l JOIN grants g ON g.id = l.grant_id WHERE l.id = :lease"
            ),
            {"lease": lease},
        )
    await scene.ends(lease, "view_ended", 8)


async def test_a_lost_client_does_not_leave_the_head_turning(scene: Scene) -> None:
    operator = await scene.person(scene.owner, "operator")
    lease = await scene.lease(operator)
    assert (await scene.move(operator, lease, kind="continuous", pan=0.3, seconds=0.3)).status_code == 200
    await until(lambda: scene.head.commands[-1].kind == "Stop", 3)
    assert scene.head.commands[0].timeout == "PT0.3S"
    async with scene.database.begin() as session:
        await session.execute(text("UPDATE ptz_leases SET expires_at = now() WHERE id = :id"), {"id": lease})
    await scene.ends(lease, "expired", 3)
    await until(lambda: scene.head.commands[-1].preset == "1", 3)


async def test_a_head_that_a_dead_process_left_turning_is_stopped(scene: Scene) -> None:
    """Nobody drives any more and nobody tells: it is asked for."""
    operator = await scene.person(scene.owner, "operator")
    lease = await scene.lease(operator)
    assert (await scene.move(operator, lease)).status_code == 200
    assert (await scene.client.delete(f"/v1/ptz-leases/{lease}", headers=operator)).status_code == 204
    await until(lambda: scene.head.commands[-1].preset == "1", 10)
    sent = len(scene.head.commands)
    async with scene.database.begin() as session:
        left = text("UPDATE ptz_heads SET moving_until = now() - interval '1 second' WHERE camera_id = :id RETURNING 1")
        assert await session.scalar(left, {"id": scene.camera}) == 1
    await until(lambda: len(scene.head.commands) > sent, 5)
    assert scene.head.commands[sent].kind == "Stop"


async def test_who_takes_over_stops_what_the_former_began(scene: Scene) -> None:
    operator, lead = await scene.person(scene.police, "room"), await scene.person(scene.owner, "operator")
    former = await scene.lease(operator)
    assert (await scene.move(operator, former, kind="continuous", pan=0.1, seconds=5)).status_code == 200
    lease = await scene.lease(lead)
    assert (await scene.move(lead, lease, pan=0.9)).status_code == 200
    assert [command.kind for command in scene.head.commands] == ["ContinuousMove", "Stop", "AbsoluteMove"]


async def test_a_command_without_an_answer_keeps_its_turn(scene: Scene) -> None:
    """Nobody knows whether the camera is still about it: the next command waits until it cannot be."""
    operator = await scene.person(scene.owner, "operator")
    lease = await scene.lease(operator)
    assert (await scene.move(operator, lease)).status_code == 200
    scene.head.slow["AbsoluteMove"] = 60
    assert (await scene.move(operator, lease)).status_code == 504
    scene.head.slow.clear()
    async with scene.database.begin() as session:
        left = await session.scalar(
            text("SELECT busy_until > clock_timestamp() FROM ptz_heads WHERE camera_id = :id"), {"id": scene.camera}
        )
    assert left
    assert (await scene.move(operator, lease)).status_code == 200


async def test_presets_are_told_to_the_driver(scene: Scene) -> None:
    operator = await scene.person(scene.owner, "operator")
    lease = await scene.lease(operator)
    found = (await scene.client.get(f"/v1/ptz-leases/{lease}/presets", headers=operator)).json()
    assert found == {"items": [{"token": "1", "name": "정문"}, {"token": "2", "name": "후문"}]}


async def test_a_head_is_not_brought_home_by_each_who_saw_it_away(scene: Scene) -> None:
    """Of two that looked at the same time the second finds it done, or being done."""
    sent: list[Move] = []

    async def drive(_camera: UUID, move: Move, _seconds: float) -> None:
        sent.append(move)

    writer = Writer(scene.database, lambda: None)

    async def away(since: timedelta) -> None:
        async with scene.database.begin() as session:
            await session.execute(
                text(
                    "INSERT INTO ptz_heads (camera_id, home_after) VALUES (:id, now() + CAST(:since AS interval))"
                    " ON CONFLICT (camera_id) DO UPDATE SET home_after = excluded.home_after, busy_until = NULL"
                ),
                {"id": scene.camera, "since": since},
            )

    await away(timedelta(seconds=30))  # as the first leaves it until the camera has answered
    await moves.settle(writer, drive, scene.camera)
    assert sent == []
    await away(timedelta(seconds=-1))
    await moves.settle(writer, drive, scene.camera)
    # The service may have been as quick.
    await until(lambda: [move.preset for move in (*sent, *scene.head.commands)] == ["1"], 10)
