"""Bulk ends: by camera, person, agency or incident; one's own people anywhere, others on one's own cameras only."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import func, select, update

from app.database import Database
from app.errors import Malformed
from app.models import AuditEntry, Grant
from app.streams import revocations
from tests import factories
from tests.access.announced import announced
from tests.factories import Person

REASON = {"purpose": "emergency_response", "basis": "KR-PIPA-18-2-3"}


@dataclass
class Scene:
    """Two districts that share with the police; a police officer and an operator who watch."""

    district: UUID
    other: UUID
    police: UUID
    camera: UUID
    second: UUID
    others: UUID
    officer: Person
    as_officer: dict[str, str]
    operator: Person
    as_operator: dict[str, str]
    grants: dict[str, str]
    """By a word: the officer's on each camera, and the operator's duty."""


async def ask(client: httpx.AsyncClient, who: dict[str, str], camera: UUID, **reason: Any) -> str:
    given = await client.post("/v1/grants", json={"camera_ids": [str(camera)], **reason}, headers=who)
    assert given.status_code == 201, given.text
    grant_id: str = given.json()["grants"][0]["grant_id"]
    return grant_id


@pytest.fixture
async def scene(client: httpx.AsyncClient, database: Database) -> Scene:
    district, other = await factories.agency(database), await factories.agency(database)
    police = await factories.agency(database, "police")
    room = await factories.agency(database, "division", police)
    camera, second = await factories.camera(database, district), await factories.camera(database, district)
    others = await factories.camera(database, other)
    for owner in (district, other):
        await factories.agreement(database, owner, police)
    officer = await factories.person(database, room, "room")
    operator = await factories.person(database, await factories.agency(database, "center", district))
    as_officer, as_operator = await factories.sign_in(client, officer), await factories.sign_in(client, operator)
    grants = {
        "camera": await ask(client, as_officer, camera, **REASON),
        "second": await ask(client, as_officer, second, **REASON),
        "others": await ask(client, as_officer, others, **REASON),
        "duty": await ask(client, as_operator, camera),
    }
    return Scene(
        district, other, police, camera, second, others, officer, as_officer, operator, as_operator, grants
    )  # fmt: skip


async def lead(client: httpx.AsyncClient, database: Database, agency_id: UUID) -> dict[str, str]:
    return await factories.sign_in(client, await factories.person(database, agency_id, "shift_lead"))


async def revoke(client: httpx.AsyncClient, who: dict[str, str], **by: Any) -> httpx.Response:
    return await client.post("/v1/revocations", json={"reason": "오남용", **by}, headers=who)


async def over(database: Database, scene: Scene) -> set[str]:
    async with database.begin() as session:
        ids = await session.scalars(
            select(Grant.id).where(Grant.id.in_(scene.grants.values()), Grant.revoked_at.is_not(None))
        )
        ended = {str(one) for one in ids}
    return {word for word, grant_id in scene.grants.items() if grant_id in ended}


@pytest.mark.parametrize(
    ("by", "of", "ended"),
    [
        # The owner's shift lead: everybody on the own cameras, nobody on others'.
        ({"camera_id": "camera"}, "district", {"camera"}),
        ({"user_id": "officer"}, "district", {"camera", "second"}),
        ({"user_id": "operator"}, "district", {"duty"}),
        ({"agency_id": "police"}, "district", {"camera", "second"}),
        ({"agency_id": "district"}, "district", {"duty"}),
        ({"camera_id": "others"}, "district", set()),
        # The agency of the people: wherever they watch.
        ({"user_id": "officer"}, "police", {"camera", "second", "others"}),
        ({"agency_id": "police"}, "police", {"camera", "second", "others"}),
        ({"camera_id": "others"}, "police", {"others"}),
        ({"user_id": "operator"}, "police", set()),
        ({"agency_id": "district"}, "police", set()),
        # A third one: nothing.
        ({"camera_id": "camera"}, "other", set()),
        ({"user_id": "officer"}, "other", {"others"}),
        ({"user_id": "operator"}, "other", set()),
        ({"incident_id": "incident"}, "district", set()),
    ],
)
async def test_who_supervises_ends_the_own_people_and_what_runs_on_the_own_cameras(
    client: httpx.AsyncClient, database: Database, database_url: str, scene: Scene, by: dict[str, str], of: str,
    ended: set[str],
) -> None:  # fmt: skip
    named = {
        "camera": scene.camera, "others": scene.others, "officer": scene.officer.user_id,
        "operator": scene.operator.user_id, "police": scene.police, "district": scene.district, "other": scene.other,
        "incident": uuid4(),
    }  # fmt: skip
    who = await lead(client, database, named[of])
    asked = {name: str(named[word]) for name, word in by.items()}
    async with announced(database_url) as heard:
        answer = await revoke(client, who, **asked)
    assert (answer.status_code, answer.json()) == (200, {"ended": len(ended)}), answer.text
    assert await over(database, scene) == ended
    said = {one for one in heard if one.startswith("revoked")}
    assert said == {f"revoked grant {scene.grants[word]}" for word in ended}
    async with database.begin() as session:
        written = (
            await session.scalars(
                select(AuditEntry).where(
                    AuditEntry.act == "grant.revoked", AuditEntry.subject_id.in_(scene.grants.values())
                )
            )
        ).all()
        login = (await client.get("/v1/me", headers=who)).json()["login"]
        made = await session.scalars(
            select(AuditEntry.payload).where(
                AuditEntry.act == "revocation.made", AuditEntry.payload["login"].as_string() == login
            )
        )
        (decision,) = made.all()
    assert {str(entry.subject_id) for entry in written} == {scene.grants[word] for word in ended}
    assert all((entry.payload["reason"], entry.payload["login"]) == ("오남용", login) for entry in written)
    assert (decision["ended"], decision["reason"]) == (len(ended), "오남용")
    again = await revoke(client, who, **asked)
    assert again.json() == {"ended": 0}


async def test_a_station_stands_within_its_police_agency(
    client: httpx.AsyncClient, database: Database, scene: Scene
) -> None:
    station = await factories.agency(database, "police", scene.police)
    as_patrol = await factories.sign_in(client, await factories.person(database, station, "field"))
    grant_id = await ask(client, as_patrol, scene.camera, **REASON)
    owner = await lead(client, database, scene.district)
    assert (await revoke(client, owner, agency_id=str(scene.police))).json() == {"ended": 3}
    assert (await revoke(client, await lead(client, database, station), agency_id=str(station))).json() == {"ended": 0}
    async with database.begin() as session:
        assert await session.scalar(select(Grant.revoked_cause).where(Grant.id == grant_id)) == "revoked"


async def test_others_end_nothing(client: httpx.AsyncClient, database: Database, scene: Scene) -> None:
    by = {"camera_id": str(scene.camera)}
    for agency_id, role in (
        (scene.district, "operator"), (scene.district, "admin"), (scene.police, "room"), (scene.district, "auditor"),
    ):  # fmt: skip
        who = await factories.sign_in(client, await factories.person(database, agency_id, role))
        refused = await revoke(client, who, **by)
        assert (refused.status_code, refused.json()["code"]) == (403, "not_permitted"), role
    assert (await revoke(client, {}, **by)).status_code == 401
    assert await over(database, scene) == set()


async def test_a_wall_of_the_owner_is_not_ended_by_one_of_its_cameras(
    client: httpx.AsyncClient, database: Database, scene: Scene
) -> None:
    async with database.begin() as session:  # as a wall's grant stands: many cameras, manifested
        await session.execute(
            update(Grant).where(Grant.id == scene.grants["duty"]).values(
                camera_ids=[scene.camera, scene.second], selector=None, manifested=True
            )
        )  # fmt: skip
    who = await lead(client, database, scene.district)
    assert (await revoke(client, who, camera_id=str(scene.camera))).json() == {"ended": 1}
    assert await over(database, scene) == {"camera"}
    assert (await revoke(client, who, user_id=str(scene.operator.user_id))).json() == {"ended": 1}
    assert await over(database, scene) == {"camera", "duty"}


@pytest.mark.parametrize(
    "body",
    [
        {}, {"reason": ""}, {"camera_id": "x"}, {"camera_id": None}, {"camera_id": 5}, {"reason": "a\0b"},
        {"reason": "x" * 501}, {"reason": None}, {"camera_id": str(uuid4()), "user_id": str(uuid4())},
        {"grant_id": str(uuid4())}, [], "all",
    ],
)  # fmt: skip
async def test_a_revocation_that_makes_no_sense_is_refused(
    client: httpx.AsyncClient, database: Database, body: object
) -> None:
    who = await lead(client, database, await factories.agency(database))
    sent = {"reason": "오남용", "camera_id": str(uuid4())} | body if isinstance(body, dict) and body else body
    if sent == {"reason": "오남용", "camera_id": None}:
        sent = {"reason": "오남용"}
    refused = await client.post("/v1/revocations", json=sent, headers=who)
    assert (refused.status_code, refused.json()["code"]) == (422, "malformed"), refused.text


async def test_an_incident_that_closes_ends_its_grants_after_a_grace_or_at_once(
    client: httpx.AsyncClient, database: Database, database_url: str, scene: Scene
) -> None:
    incident_id = uuid4()
    mine = [scene.grants["camera"], scene.grants["others"]]
    async with database.begin() as session:
        await session.execute(update(Grant).where(Grant.id.in_(mine)).values(incident_id=incident_id))
    async with announced(database_url) as heard:
        async with database.begin() as session:
            assert await revocations.end_of_incident(session, incident_id, grace_seconds=120) == 2
            assert await revocations.end_of_incident(session, uuid4(), grace_seconds=120) == 0
    assert heard.count("renewed") == 1
    assert not [one for one in heard if one.startswith("revoked")]
    async with database.begin() as session:
        left = select(Grant.expires_at - func.now(), Grant.latest_expires_at - func.now()).where(Grant.id.in_(mine))
        for expires, latest in await session.execute(left):
            assert timedelta(seconds=110) < expires <= timedelta(seconds=120)
            assert timedelta(seconds=110) < latest <= timedelta(seconds=120)
    assert (await client.post(f"/v1/grants/{mine[0]}/renewals", headers=scene.as_officer)).status_code == 201
    async with database.begin() as session:
        assert (await session.execute(left.limit(1))).one()[0] <= timedelta(seconds=120), "no renewal goes beyond"
        assert await revocations.end_of_incident(session, incident_id) == 2
        assert await revocations.end_of_incident(session, incident_id) == 0
        for wrong in (-1, 10**9):
            with pytest.raises(Malformed):
                await revocations.end_of_incident(session, incident_id, grace_seconds=wrong)
    assert await over(database, scene) == {"camera", "others"}
    async with database.begin() as session:
        acts = await session.scalars(
            select(AuditEntry.act)
            .where(AuditEntry.subject_id == mine[0], AuditEntry.act.like("grant.%"))
            .order_by(AuditEntry.at, AuditEntry.id)
        )
        assert acts.all() == ["grant.given", "grant.shortened", "grant.renewed", "grant.revoked"]


async def test_an_incident_is_ended_by_who_supervises_its_cameras(
    client: httpx.AsyncClient, database: Database, scene: Scene
) -> None:
    incident_id = uuid4()
    async with database.begin() as session:
        await session.execute(
            update(Grant).where(Grant.user_id == scene.officer.user_id).values(incident_id=incident_id)
        )
    who = await lead(client, database, scene.district)
    assert (await revoke(client, who, incident_id=str(incident_id))).json() == {"ended": 2}
    assert await over(database, scene) == {"camera", "second"}
