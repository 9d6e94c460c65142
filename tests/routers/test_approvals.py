"""Approvals over the public contract: asked for, decided once by an officer of the owner, felt by grants, ended."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import func, select, text, update

from app.access import agreements, approvals, people
from app.database import Database
from app.models import Approval, AuditEntry, Grant
from app.streams.reconcile import still_permitted
from app.streams.urls import Pass
from tests import factories
from tests.access.announced import announced

REASON = {"purpose": "crime_investigation", "basis": "KR-PIPA-18-2-7"}


@dataclass
class Scene:
    """A district that approves each viewing, and a police agency that asks."""

    district: UUID
    police: UUID
    cameras: list[UUID]
    agreement: UUID
    as_officer: dict[str, str]
    as_head: dict[str, str]


@pytest.fixture
async def scene(client: httpx.AsyncClient, database: Database) -> Scene:
    district, police = await factories.agency(database), await factories.agency(database, "police")
    cameras = [await factories.camera(database, district) for _ in range(3)]
    agreement = await factories.agreement(
        database,
        district,
        police,
        approval="center",
        condition="공문 첨부",
        use_purposes=(REASON["purpose"], "exercise"),
    )
    return Scene(
        district, police, cameras, agreement,
        await sign_in(client, database, police, "room"), await sign_in(client, database, district, "agency_head"),
    )  # fmt: skip


async def sign_in(client: httpx.AsyncClient, database: Database, agency_id: UUID, role: str) -> dict[str, str]:
    return await factories.sign_in(client, await factories.person(database, agency_id, role))


async def ask(client: httpx.AsyncClient, who: dict[str, str], cameras: list[UUID], **fields: Any) -> httpx.Response:
    body = {"camera_ids": [str(one) for one in cameras], **REASON, **fields}
    return await client.post("/v1/approvals", json=body, headers=who)


async def asked(client: httpx.AsyncClient, scene: Scene, **fields: Any) -> str:
    made = await ask(client, scene.as_officer, scene.cameras[:1], **fields)
    assert made.status_code == 201, made.text
    approval_id: str = made.json()["id"]
    return approval_id


async def decide(client: httpx.AsyncClient, who: dict[str, str], approval_id: str, **fields: Any) -> httpx.Response:
    return await client.post(
        f"/v1/approvals/{approval_id}/decision", json={"approve": True, **fields}, headers=who
    )  # fmt: skip


async def grant(client: httpx.AsyncClient, who: dict[str, str], camera: UUID, **fields: Any) -> httpx.Response:
    return await client.post("/v1/grants", json={"camera_ids": [str(camera)], **REASON, **fields}, headers=who)


async def acts(database: Database, approval_id: str) -> list[str]:
    async with database.begin() as session:
        query = (
            select(AuditEntry.act).where(AuditEntry.subject_id == approval_id).order_by(AuditEntry.at, AuditEntry.id)
        )
        return list(await session.scalars(query))


async def test_the_owner_approves_and_the_ordinary_request_is_met(
    client: httpx.AsyncClient, database: Database, scene: Scene
) -> None:
    refused = await grant(client, scene.as_officer, scene.cameras[0])
    assert (refused.status_code, refused.json()["missing"]) == (403, "approval")
    assert "POST /v1/approvals" in refused.json()["detail"]
    made = await ask(
        client, scene.as_officer, scene.cameras[:2], seconds=600, note="절도 사건",
        references=[{"kind": "letter", "number": "수사과-1234"}],
    )  # fmt: skip
    assert made.status_code == 201, made.text
    request = made.json()
    assert (request["state"], request["decided_by"], request["valid_to"]) == ("waiting", None, None)
    assert request["camera_ids"] == [str(one) for one in scene.cameras[:2]]
    assert (request["purpose"], request["basis"]) == (REASON["purpose"], REASON["basis"])
    assert request["references"] == [{"kind": "letter", "number": "수사과-1234"}]
    assert (await grant(client, scene.as_officer, scene.cameras[0])).status_code == 403, "asking is not having"
    approved = await decide(client, scene.as_head, request["id"], note="확인함")
    assert approved.status_code == 200, approved.text
    assert (approved.json()["state"], approved.json()["decision_note"]) == ("approved", "확인함")
    given = await grant(client, scene.as_officer, scene.cameras[0])
    assert given.status_code == 201, given.text
    item = given.json()["grants"][0]
    async with database.begin() as session:
        row = (await session.scalars(select(Grant).where(Grant.id == item["grant_id"]))).one()
    assert (row.kind, str(row.approval_id), row.agreement_id) == ("approved", request["id"], scene.agreement)
    assert row.latest_expires_at.isoformat() == approved.json()["valid_to"]
    # It holds for this person, these cameras, this reason, and nothing else.
    other = await sign_in(client, database, scene.police, "room")
    for who, camera, reason in (
        (other, scene.cameras[0], {}),
        (scene.as_officer, scene.cameras[2], {}),
        (scene.as_officer, scene.cameras[0], {"purpose": "exercise"}),
        (scene.as_officer, scene.cameras[0], {"basis": "KR-PIPA-18-2-10"}),
    ):
        answer = await grant(client, who, camera, **reason)
        assert (answer.status_code, answer.json()["missing"]) == (403, "approval"), reason
    assert await acts(database, request["id"]) == ["approval.asked", "approval.given"]


@pytest.mark.parametrize(
    ("role", "where", "status"),
    [
        ("agency_head", "district", 200),
        ("admin", "district", 200),
        ("shift_lead", "center", 200),
        ("operator", "district", 404),
        ("auditor", "district", 404),
        ("agency_head", "elsewhere", 404),
        ("shift_lead", "police", 403),
        ("room", "police", 404),
    ],
)
async def test_only_an_officer_of_the_owner_decides(
    client: httpx.AsyncClient, database: Database, scene: Scene, role: str, where: str, status: int
) -> None:
    approval_id = await asked(client, scene)
    place = {
        "district": scene.district, "police": scene.police,
        "center": await factories.agency(database, "center", scene.district),
        "elsewhere": await factories.agency(database),
    }[where]  # fmt: skip
    who = await sign_in(client, database, place, role)
    answer = await decide(client, who, approval_id)
    assert answer.status_code == status, answer.text
    state = (await client.get("/v1/approvals", headers=scene.as_officer)).json()["items"][0]["state"]
    assert state == ("approved" if status == 200 else "waiting")


@pytest.mark.parametrize(
    ("home", "asker_kind", "status"),
    [
        ("the asking station", "station", 403),
        ("the agency above it", "station", 403),
        ("a sister station", "station", 403),  # both act for the same police agency
        ("another police agency", "station", 200),
        ("unknown", "station", 403),
        ("unknown", "fire", 200),
    ],
)
async def test_nobody_decides_about_a_request_of_the_own_agency(
    client: httpx.AsyncClient, database: Database, home: str, asker_kind: str, status: int
) -> None:
    district, police = await factories.agency(database), await factories.agency(database, "police")
    stations = [await factories.agency(database, "police", police) for _ in range(2)]
    asker_agency = stations[0] if asker_kind == "station" else await factories.agency(database, "fire")
    camera = await factories.camera(database, district)
    await factories.agreement(
        database, district, police if asker_kind == "station" else asker_agency, approval="center"
    )
    officer = await factories.person(database, await factories.agency(database, "center", district), "seconded")
    at_home = {
        "the asking station": stations[0], "the agency above it": police, "a sister station": stations[1],
        "another police agency": await factories.agency(database, "police"), "unknown": None,
    }[home]  # fmt: skip
    if at_home:
        async with database.begin() as session:
            await people.appoint(session, None, user_id=officer.user_id, agency_id=at_home, role="field")
    signed = await client.post(
        "/v1/sessions",
        json={"login": officer.login, "password": factories.PASSWORD, "agency_id": str(officer.agency_id)},
    )
    as_seconded = {"Authorization": f"Bearer {signed.json()['access_token']}"}
    made = await ask(client, await sign_in(client, database, asker_agency, "room"), [camera])
    answer = await decide(client, as_seconded, made.json()["id"])
    assert answer.status_code == status, answer.text


async def test_a_request_is_decided_once(client: httpx.AsyncClient, database: Database, scene: Scene) -> None:
    approval_id = await asked(client, scene)
    second = await sign_in(client, database, scene.district, "shift_lead")
    answers = await asyncio.gather(
        decide(client, scene.as_head, approval_id), decide(client, second, approval_id, approve=False)
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert (await decide(client, scene.as_head, approval_id)).status_code == 409
    assert len(await acts(database, approval_id)) == 2
    refused_id = await asked(client, scene)
    refused = await decide(client, scene.as_head, refused_id, approve=False, note="공문 없음")
    assert (refused.status_code, refused.json()["state"], refused.json()["valid_to"]) == (200, "refused", None)
    assert await acts(database, refused_id) == ["approval.asked", "approval.refused"]


async def test_what_waited_too_long_or_lost_its_agreement_is_not_approved(
    client: httpx.AsyncClient, database: Database, scene: Scene
) -> None:
    late, unfounded = await asked(client, scene), await asked(client, scene)
    async with database.begin() as session:
        await session.execute(
            update(Approval).where(Approval.id == late).values(asked_to=func.now() - text("interval '1 second'"))
        )
    items = (await client.get("/v1/approvals?state=lapsed", headers=scene.as_head)).json()["items"]
    assert [item["id"] for item in items] == [late]
    assert (await decide(client, scene.as_head, late)).status_code == 409
    async with database.begin() as session:
        await agreements.withdraw(session, None, scene.agreement, "끝")
    assert (await decide(client, scene.as_head, unfounded)).status_code == 409
    assert (await decide(client, scene.as_head, unfounded, approve=False)).status_code == 200


async def test_an_officer_shortens_what_was_asked_for_and_never_prolongs_it(
    client: httpx.AsyncClient, scene: Scene
) -> None:
    for asked_for, given, expected in ((3600, 60, 60), (600, 86_400, 600), (600, None, 600)):
        approval_id = await asked(client, scene, seconds=asked_for)
        item = (await decide(client, scene.as_head, approval_id, seconds=given)).json()
        begin = item["decided_at" if given == 60 else "asked_at"]
        lasts = datetime.fromisoformat(item["valid_to"]) - datetime.fromisoformat(begin)
        assert lasts.total_seconds() == expected
    approval_id = await asked(client, scene)
    for seconds in (0, 59, 10**12, "x"):
        assert (await decide(client, scene.as_head, approval_id, seconds=seconds)).status_code == 422


@pytest.mark.parametrize("by", ["asker", "owner"])
async def test_an_approval_that_ends_takes_its_grants_with_it(
    client: httpx.AsyncClient, database: Database, database_url: str, scene: Scene, by: str
) -> None:
    approval_id, other_id = await asked(client, scene), await asked(client, scene, purpose="exercise")
    for one in (approval_id, other_id):
        assert (await decide(client, scene.as_head, one)).status_code == 200
    first, second = [
        (await grant(client, scene.as_officer, scene.cameras[0])).json()["grants"][0]["grant_id"] for _ in range(2)
    ]
    kept = (await grant(client, scene.as_officer, scene.cameras[0], purpose="exercise")).json()["grants"][0]["grant_id"]
    who = scene.as_officer if by == "asker" else await sign_in(client, database, scene.district, "shift_lead")
    stranger = await sign_in(client, database, await factories.agency(database), "agency_head")
    assert (await client.delete(f"/v1/approvals/{approval_id}", headers=stranger)).status_code == 404
    chief = await sign_in(client, database, scene.police, "shift_lead")
    assert (await client.delete(f"/v1/approvals/{approval_id}", headers=chief)).status_code == 403
    async with announced(database_url) as heard:
        assert (await client.delete(f"/v1/approvals/{approval_id}", headers=who)).status_code == 204
    assert {f"revoked grant {first}", f"revoked grant {second}"} <= set(heard)
    assert f"revoked grant {kept}" not in heard
    cause = "approval_withdrawn" if by == "asker" else "approval_ended"
    async with database.begin() as session:
        ended = await session.execute(select(Grant.id, Grant.revoked_cause).where(Grant.approval_id == approval_id))
        causes = {row.id: row.revoked_cause for row in ended}
        written = await session.scalars(
            select(AuditEntry.payload["cause"].as_string()).where(
                AuditEntry.act == "grant.revoked", AuditEntry.subject_id.in_([first, second, kept])
            )
        )
        assert written.all() == [cause, cause]
    assert causes == {UUID(first): cause, UUID(second): cause}
    assert (await grant(client, scene.as_officer, scene.cameras[0])).status_code == 403
    assert (await client.delete(f"/v1/approvals/{approval_id}", headers=who)).status_code == 204, "harmless again"
    act = "approval.withdrawn" if by == "asker" else "approval.ended"
    assert await acts(database, approval_id) == ["approval.asked", "approval.given", act]
    states = {item["id"]: item["state"] for item in (await client.get("/v1/approvals", headers=who)).json()["items"]}
    assert states == {approval_id: "over", other_id: "approved"}


async def test_a_grant_that_was_being_written_while_its_approval_ended_is_over_too(
    client: httpx.AsyncClient, database: Database, scene: Scene
) -> None:
    """Whoever ended it could not see the grant yet: running views are asked about their approval too."""
    approval_id = await asked(client, scene)
    await decide(client, scene.as_head, approval_id)
    given = (await grant(client, scene.as_officer, scene.cameras[0])).json()["grants"][0]
    async with database.begin() as session:
        row = (await session.scalars(select(Grant).where(Grant.id == given["grant_id"]))).one()
    ticket = Pass(row.id, row.at, scene.cameras[0], row.expires_at)
    async with database.bare.acquire() as connection:
        assert await still_permitted(connection, [ticket]) != [None]
        await connection.execute("UPDATE approvals SET valid_to = now() WHERE id = $1", UUID(approval_id))
        assert await still_permitted(connection, [ticket]) == [None]


async def test_a_request_that_is_withdrawn_cannot_be_approved(
    client: httpx.AsyncClient, database: Database, scene: Scene
) -> None:
    approval_id = await asked(client, scene)
    assert (await client.delete(f"/v1/approvals/{approval_id}", headers=scene.as_officer)).status_code == 204
    assert (await decide(client, scene.as_head, approval_id)).status_code == 409
    item = (await client.get("/v1/approvals", headers=scene.as_head)).json()["items"][0]
    assert (item["id"], item["state"]) == (approval_id, "withdrawn")
    assert await acts(database, approval_id) == ["approval.asked", "approval.withdrawn"]


async def test_both_sides_know_a_request_and_nobody_else(
    client: httpx.AsyncClient, database: Database, scene: Scene
) -> None:
    ids = [await asked(client, scene) for _ in range(5)]

    async def known(who: dict[str, str], query: str = "") -> list[str]:
        answer = await client.get(f"/v1/approvals{query}", headers=who)
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["items"]]

    newest_first = ids[::-1]
    assert await known(scene.as_officer) == newest_first
    assert await known(scene.as_head) == newest_first
    assert await known(await sign_in(client, database, scene.police, "shift_lead")) == newest_first
    for agency_id, role in (
        (scene.police, "room"), (scene.police, "admin"), (scene.district, "operator"),
        (await factories.agency(database), "agency_head"),
    ):  # fmt: skip
        who = await sign_in(client, database, agency_id, role)
        assert await known(who) == [], role
        assert (await decide(client, who, ids[0])).status_code == 404
        assert (await client.delete(f"/v1/approvals/{ids[0]}", headers=who)).status_code == 404
    page = (await client.get("/v1/approvals?limit=2", headers=scene.as_head)).json()
    rest = await known(scene.as_head, f"?limit=9&cursor={page['next_cursor']}")
    assert [item["id"] for item in page["items"]] + rest == newest_first
    await decide(client, scene.as_head, ids[1])
    assert await known(scene.as_head, "?state=approved") == [ids[1]]
    assert await known(scene.as_head, "?state=waiting") == [one for one in newest_first if one != ids[1]]
    for wrong in ("?state=any", "?cursor=x", "?limit=0"):
        assert (await client.get(f"/v1/approvals{wrong}", headers=scene.as_head)).status_code == 422
    assert (await client.get("/v1/approvals")).status_code == 401


async def test_only_what_the_owner_approves_can_be_asked_for(
    client: httpx.AsyncClient, database: Database, scene: Scene
) -> None:
    other = await factories.agency(database)
    free, unknown = await factories.camera(database, other), await factories.camera(database, other)
    await factories.agreement(database, other, scene.police, installation_purposes=("disaster",))
    shared_at_once = await factories.camera(database, other, purposes=("disaster",))
    others_center = await factories.camera(database, other, purposes=("child_safety",))
    await factories.agreement(
        database, other, scene.police, approval="center", installation_purposes=("child_safety", "facility")
    )
    second_paper = await factories.camera(database, other, purposes=("traffic_information",))
    await factories.agreement(
        database, other, scene.police, approval="center", installation_purposes=("traffic_information",)
    )
    only_placed = await factories.camera(database, other, purposes=("illegal_dumping",))
    await factories.agreement(
        database, other, scene.police, verbs=("locate",), installation_purposes=("illegal_dumping",)
    )
    own = await factories.camera(database, scene.police)
    first = scene.cameras[0]
    for cameras, changed, status, code in (
        ([free], {}, 404, "not_found"),
        ([first, unknown], {}, 404, "not_found"),
        ([uuid4()], {}, 404, "not_found"),
        ([own], {}, 409, "conflict"),
        ([shared_at_once], {}, 409, "conflict"),
        ([others_center, shared_at_once], {}, 409, "conflict"),
        ([first, others_center], {}, 422, "malformed"),
        ([others_center, second_paper], {}, 422, "malformed"),
        ([only_placed], {}, 403, "camera_not_shared"),
        ([first], {"purpose": "disaster"}, 403, "camera_not_shared"),
        ([first], {"purpose": "curiosity"}, 422, "malformed"),
        ([first], {"basis": "because"}, 422, "malformed"),
        ([first], {"basis": "KR-PIPA-18-2-2"}, 422, "malformed"),  # needs its statute
        ([first, first], {}, 422, "malformed"),
        ([], {}, 422, "malformed"),
        ([uuid4() for _ in range(65)], {}, 422, "malformed"),
        ([first], {"seconds": 59}, 422, "malformed"),
        ([first], {"seconds": 7 * 86_400 + 1}, 422, "malformed"),
        ([first], {"seconds": 2**80}, 422, "malformed"),
        ([first], {"note": "a\0b"}, 422, "malformed"),
        ([first], {"note": "x" * 501}, 422, "malformed"),
        ([first], {"references": [{"kind": "\0", "number": "1"}]}, 422, "malformed"),
        ([first], {"references": "112"}, 422, "malformed"),
        ([first], {"purpose": None}, 422, "malformed"),
        ([first], {"user_id": str(uuid4())}, 422, "malformed"),
    ):
        answer = await ask(client, scene.as_officer, cameras, **changed)
        assert (answer.status_code, answer.json()["code"]) == (status, code), (changed, answer.text)
    for role in ("agency_head", "admin", "auditor", "guardian", "integration"):
        who = await sign_in(client, database, scene.police, role)
        assert (await ask(client, who, [first])).status_code == 403, role
    assert (await ask(client, scene.as_officer, [others_center])).status_code == 201
    assert (await ask(client, {}, [first])).status_code == 401


async def test_a_flood_of_requests_is_bounded(
    client: httpx.AsyncClient, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(approvals, "MOST_WAITING", 2)
    first, _ = await asked(client, scene), await asked(client, scene)
    flooded = await ask(client, scene.as_officer, scene.cameras[:1])
    assert (flooded.status_code, flooded.json()["code"]) == (429, "overloaded")
    assert flooded.headers["retry-after"]
    assert (await client.delete(f"/v1/approvals/{first}", headers=scene.as_officer)).status_code == 204
    await asked(client, scene)


async def test_garbage_is_refused_as_garbage(client: httpx.AsyncClient, scene: Scene) -> None:
    approval_id = await asked(client, scene)
    for body in ({}, {"approve": "perhaps"}, {"approve": None}, [], "x", {"approve": True, "note": "\0"}, None, 1):
        answer = await client.post(f"/v1/approvals/{approval_id}/decision", json=body, headers=scene.as_head)
        assert answer.status_code == 422, body
    assert (await decide(client, scene.as_head, "not-an-id")).status_code == 422
    assert (await decide(client, scene.as_head, str(uuid4()))).status_code == 404
    assert (await client.delete("/v1/approvals/x", headers=scene.as_head)).status_code == 422
    assert (await client.delete(f"/v1/approvals/{uuid4()}", headers=scene.as_head)).status_code == 404
    assert (await client.delete(f"/v1/approvals/{approval_id}")).status_code == 401


async def test_those_concerned_hear_of_it(client: httpx.AsyncClient, database: Database, scene: Scene) -> None:
    """Who decides hears of a request at once, who asked hears the decision, and others nothing."""
    desk = await sign_in(client, database, scene.district, "operator")
    stranger = await sign_in(client, database, await factories.agency(database, "police"), "room")
    begun = (await client.get("/v1/events", headers=desk)).json()["position"]
    approval_id = await asked(client, scene, seconds=600)
    withdrawn_id = await asked(client, scene)
    assert (await client.delete(f"/v1/approvals/{withdrawn_id}", headers=scene.as_officer)).status_code == 204
    assert (await decide(client, scene.as_head, approval_id)).status_code == 200
    assert (await client.delete(f"/v1/approvals/{approval_id}", headers=scene.as_head)).status_code == 204
    refused_id = await asked(client, scene)
    assert (await decide(client, scene.as_head, refused_id, approve=False)).status_code == 200

    async def heard(who: dict[str, str]) -> list[tuple[str, str]]:
        answered = await client.get("/v1/events", params={"kind": "approval.*", "after": begun}, headers=who)
        assert answered.status_code == 200, answered.text
        events = [item["event"] for item in answered.json()["items"]]
        return [(one["type"].removeprefix("kr.gwanje.approval."), one["data"]["approval_id"]) for one in events]

    of_both = [("given", approval_id), ("ended", approval_id), ("refused", refused_id)]
    of_owner = [*(("asked", one) for one in (approval_id, withdrawn_id, refused_id)), ("withdrawn", withdrawn_id)]
    for who, told in ((desk, of_owner + of_both), (scene.as_officer, of_both), (stranger, [])):
        async with asyncio.timeout(5):
            while sorted(found := await heard(who)) != sorted(told):
                assert set(found) <= set(told)
                await asyncio.sleep(0.05)
