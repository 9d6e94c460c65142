"""Sharing agreements: made by the owner, felt at once, and a refusal says what is missing and whom to ask."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import func, insert, select, update

from app.access import agreements
from app.access.agreements import Terms
from app.database import Database
from app.errors import Malformed, NotFound, NotPermitted
from app.ids import new_id
from app.models import Agency, Agreement, Area, AuditEntry
from tests import factories
from tests.actors import actor

REASON = {"purpose": "emergency_response", "basis": "KR-PIPA-18-2-3"}
NOW = datetime.now(UTC)


async def area(database: Database) -> UUID:
    area_id = new_id()
    async with database.begin() as session:
        await session.execute(
            insert(Area).values(id=area_id, code_system="local", code=str(area_id), kind="park", name="별빛공원")
        )
    return area_id


async def ask(client: httpx.AsyncClient, headers: dict[str, str], camera_id: UUID, **reason: Any) -> httpx.Response:
    return await client.post("/v1/grants", json={"camera_ids": [str(camera_id)]} | REASON | reason, headers=headers)


async def shifted(database: Database, agreement_id: UUID, **times: timedelta) -> None:
    """Let an agreement begin or end at another time than it can be made with."""
    async with database.begin() as session:
        await session.execute(
            update(Agreement)
            .where(Agreement.id == agreement_id)
            .values({name: func.now() + offset for name, offset in times.items()})
        )


@pytest.mark.parametrize(
    ("terms", "asked", "missing"),
    [
        ({"verbs": ("locate",)}, {}, "agreement"),
        ({"verbs": ("locate", "request", "playback")}, {}, "agreement"),
        ({"use_purposes": ("fire_and_rescue",)}, {}, "purpose"),
        ({"bases": ("KR-PIPA-18-2-7", "KR-PIPA-18-2-10")}, {}, "basis"),
        ({"approval": "center", "condition": "관제센터 승인"}, {}, "approval"),
        ({"approval": "none"}, {}, "approval"),
    ],
)
async def test_a_refusal_names_the_owner_and_what_is_missing(
    client: httpx.AsyncClient, database: Database, terms: dict[str, Any], asked: dict[str, Any], missing: str
) -> None:
    district, police = await factories.agency(database), await factories.agency(database, "police")
    camera_id = await factories.camera(database, district)
    await factories.agreement(database, district, police, **terms)
    as_officer = await factories.sign_in(client, await factories.person(database, police, "room"))
    assert (await client.get(f"/v1/cameras/{camera_id}", headers=as_officer)).status_code == 200
    refused = await ask(client, as_officer, camera_id, **asked)
    problem = refused.json()
    async with database.begin() as session:
        owner = await session.scalar(select(Agency.name).where(Agency.id == district))
    assert (refused.status_code, problem["code"], problem["missing"]) == (403, "camera_not_shared", missing)
    assert problem["owner"] == owner
    assert problem["camera_id"] == str(camera_id)
    assert "official letter" in problem["detail"]
    async with database.begin() as session:
        entry = await session.scalar(
            select(AuditEntry.payload).where(AuditEntry.camera_id == camera_id, AuditEntry.act == "grant.refused")
        )
    assert entry["missing"] == missing


async def test_without_locate_a_camera_does_not_exist(client: httpx.AsyncClient, database: Database) -> None:
    district, police = await factories.agency(database), await factories.agency(database, "police")
    camera_id = await factories.camera(database, district)
    await factories.agreement(database, district, police, verbs=("view",))
    as_officer = await factories.sign_in(client, await factories.person(database, police, "auditor"))
    assert (await client.get(f"/v1/cameras/{camera_id}", headers=as_officer)).status_code == 404
    as_stranger = await factories.sign_in(client, await factories.person(database, await factories.agency(database)))
    there, nowhere = await ask(client, as_stranger, camera_id), await ask(client, as_stranger, new_id())
    assert there.status_code == nowhere.status_code == 404
    assert there.json()["detail"] == nowhere.json()["detail"]


@pytest.mark.parametrize(
    ("narrowed", "seen"),
    [
        ("by area", {"in the park"}),
        ("by purpose", {"for children"}),
        ("by both", set()),
        ("by another purpose", set()),
        ("not at all", {"in the park", "for children"}),
    ],
)
async def test_an_agreement_holds_for_its_areas_and_installation_purposes(
    client: httpx.AsyncClient, database: Database, narrowed: str, seen: set[str]
) -> None:
    district, police, park = (
        await factories.agency(database), await factories.agency(database, "police"), await area(database),
    )  # fmt: skip
    placed = {
        "in the park": await factories.camera(database, district, area_ids=(park,)),
        "for children": await factories.camera(database, district, purposes=("child_safety", "facility")),
    }
    terms = {
        "by area": {"area_ids": (park,)},
        "by purpose": {"installation_purposes": ("child_safety",)},
        "by both": {"area_ids": (park,), "installation_purposes": ("child_safety",)},
        "by another purpose": {"installation_purposes": ("disaster",)},
        "not at all": {},
    }[narrowed]
    await factories.agreement(database, district, police, **terms)
    as_officer = await factories.sign_in(client, await factories.person(database, police, "room"))
    listed = (await client.get("/v1/cameras", headers=as_officer)).json()["items"]
    assert {item["id"] for item in listed} == {str(placed[word]) for word in seen}
    answers = {word: (await ask(client, as_officer, camera_id)).status_code for word, camera_id in placed.items()}
    assert answers == {word: 201 if word in seen else 404 for word in placed}


async def test_an_agreement_holds_from_its_beginning_to_its_end(client: httpx.AsyncClient, database: Database) -> None:
    district, police = await factories.agency(database), await factories.agency(database, "police")
    camera_id = await factories.camera(database, district)
    as_officer = await factories.sign_in(client, await factories.person(database, police, "room"))
    day, moment = timedelta(days=1), timedelta(milliseconds=1)
    agreement_id = await factories.agreement(database, district, police)

    async def answer() -> tuple[int, int]:
        seen = await client.get(f"/v1/cameras/{camera_id}", headers=as_officer)
        return seen.status_code, (await ask(client, as_officer, camera_id)).status_code

    for begin, end, expected in (
        (-day, day, (200, 201)),
        (day, 2 * day, (404, 404)),  # not yet
        (-2 * day, -moment, (404, 404)),  # no more
    ):
        await shifted(database, agreement_id, valid_from=begin, valid_to=end)
        assert await answer() == expected, (begin, end)


async def test_withdrawing_is_felt_at_once(client: httpx.AsyncClient, database: Database) -> None:
    district, police = await factories.agency(database), await factories.agency(database, "police")
    camera_id = await factories.camera(database, district)
    as_officer = await factories.sign_in(client, await factories.person(database, police, "room"))
    as_head = await factories.sign_in(client, await factories.person(database, district, "agency_head"))
    made = await client.post(
        "/v1/agreements",
        json={"grantee_agency_id": str(police), "title": "112 연계", "verbs": ["locate", "view"]},
        headers=as_head,
    )
    assert made.status_code == 201
    assert (await ask(client, as_officer, camera_id)).status_code == 201
    path = f"/v1/agreements/{made.json()['id']}/withdrawal"
    for role in ("room", "agency_head"):
        as_grantee = await factories.sign_in(client, await factories.person(database, police, role))
        assert (await client.post(path, json={"reason": "…"}, headers=as_grantee)).status_code == 403
    assert (await ask(client, as_officer, camera_id)).status_code == 201
    assert (await client.post(path, json={"reason": "목적 외 이용"}, headers=as_head)).status_code == 204
    assert (await ask(client, as_officer, camera_id)).status_code == 404
    assert (await client.get("/v1/cameras", headers=as_officer)).json()["items"] == []
    assert (await client.post(path, json={"reason": "again"}, headers=as_head)).status_code == 404
    known = (await client.get("/v1/agreements", headers=as_officer)).json()["items"]
    assert [item["withdrawn_at"] is None for item in known] == [False]


async def test_agreements_are_known_to_their_parties_only(database: Database) -> None:
    district, police = await factories.agency(database), await factories.agency(database, "police")
    station = await factories.agency(database, "police", police)
    agreement_id = await factories.agreement(database, district, police)
    await factories.agreement(database, await factories.agency(database), await factories.agency(database))
    parties = [await actor(database, agency_id) for agency_id in (district, police, station)]
    stranger = await actor(database, await factories.agency(database), "admin")
    async with database.begin() as session:
        for party in parties:
            assert [one.id for one in await agreements.known_to(session, party)] == [agreement_id]
        assert await agreements.known_to(session, stranger) == []
        with pytest.raises(NotFound):
            await agreements.withdraw(session, stranger, agreement_id, "not mine")


@pytest.mark.parametrize(("role", "own", "allowed"), [
    ("admin", True, True), ("agency_head", True, True), ("admin", False, False), ("operator", True, False),
    ("shift_lead", True, False), ("seconded", True, False),
])  # fmt: skip
async def test_only_the_owners_officers_share_its_cameras(
    database: Database, role: str, *, own: bool, allowed: bool
) -> None:
    district, police = await factories.agency(database), await factories.agency(database, "police")
    officer = await actor(database, district if own else police, role)
    terms = Terms(
        grantee_agency_id=police if own else await factories.agency(database), title="협약", verbs=("locate",)
    )
    async with database.begin() as session:
        if not allowed:
            with pytest.raises(NotPermitted):
                await agreements.make(session, officer, district, terms)
            return
        agreement_id = await agreements.make(session, officer, district, terms)
        entry = await session.scalar(select(AuditEntry).where(AuditEntry.subject_id == agreement_id))
        assert entry is not None
        assert (entry.act, entry.owner_agency_id, entry.payload["verbs"]) == ("agreement.made", district, ["locate"])


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"verbs": ()}, "verbs"),
        ({"verbs": ("locate", "watch")}, "verbs"),
        ({"use_purposes": ("curiosity",)}, "use_purposes"),
        ({"bases": ("KR-PIPA-99",)}, "bases"),
        ({"approval": "later"}, "approval"),
        ({"valid_to": NOW - timedelta(days=1)}, "valid_to"),
        ({"valid_from": NOW + timedelta(days=2), "valid_to": NOW + timedelta(days=2)}, "valid_to"),
        ({"valid_from": NOW.replace(tzinfo=None)}, "valid_from"),
        ({"valid_to": datetime.max.replace(tzinfo=UTC)}, "valid_to"),
    ],
)
async def test_terms_that_cannot_stand_are_refused_by_name(
    database: Database, changed: dict[str, Any], field: str
) -> None:
    district, police = await factories.agency(database), await factories.agency(database, "police")
    with pytest.raises(Malformed) as refused:
        await factories.agreement(database, district, police, **changed)
    assert refused.value.extra["field"] == field


async def test_an_agreement_is_with_another_agency_about_areas_that_exist(database: Database) -> None:
    district, police = await factories.agency(database), await factories.agency(database, "police")
    with pytest.raises(Malformed):
        await factories.agreement(database, district, district)
    with pytest.raises(NotFound):
        await factories.agreement(database, district, new_id())
    park = await area(database)
    with pytest.raises(NotFound):
        await factories.agreement(database, district, police, area_ids=(park, new_id()))
    await factories.agreement(database, district, police, area_ids=(park, park))


@pytest.mark.parametrize(
    "changed",
    [
        {"valid_from": "2026-01-01T00:00:00"},
        {"valid_to": "2001-01-01T00:00:00Z"},
        {"valid_to": "0001-01-01T00:00:00+14:00"},
        {"valid_to": "9999-12-31T23:59:59-14:00"},
        {"title": "a\0b"},
        {"condition": "a\0b"},
        {"document_number": "\0"},
        {"installation_purposes": ["\0"]},
        {"installation_purposes": ["x" * 1000]},
        {"verbs": ["\0"]},
        {"owner_agency_id": str(new_id())},
    ],
)
async def test_the_door_refuses_what_cannot_be_stored(
    client: httpx.AsyncClient, database: Database, changed: dict[str, Any]
) -> None:
    district, police = await factories.agency(database), await factories.agency(database, "police")
    as_head = await factories.sign_in(client, await factories.person(database, district, "agency_head"))
    body = {"grantee_agency_id": str(police), "title": "협약", "verbs": ["locate"]}
    refused = await client.post("/v1/agreements", json=body | changed, headers=as_head)
    assert (refused.status_code, refused.json()["code"]) == (422, "malformed"), refused.text
    assert next(iter(changed)) in refused.json()["field"]
    reason = {"reason": "a\0b"}
    path = f"/v1/agreements/{await factories.agreement(database, district, police)}/withdrawal"
    assert (await client.post(path, json=reason, headers=as_head)).status_code == 422
