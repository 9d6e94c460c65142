"""The doors of event sources: bound by administrators, audited, and held at POST /v1/events."""

from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select

from app.database import Database
from app.ids import new_id
from app.models import AuditEntry
from tests import factories
from tests.factories import Person, sign_in


@pytest.fixture
async def agency(database: Database) -> UUID:
    return await factories.agency(database)


@pytest.fixture
async def as_admin(client: httpx.AsyncClient, database: Database, agency: UUID) -> dict[str, str]:
    return await sign_in(client, await factories.person(database, agency, "admin"))


@pytest.fixture
async def system(database: Database, agency: UUID) -> Person:
    return await factories.person(database, agency, "integration")


def event(**given: Any) -> dict[str, Any]:
    base = {"specversion": "1.0", "id": factories.name("id"), "source": "va/1", "type": "kr.gwanje.analytic.fire"}
    return base | given


async def test_a_binding_is_made_held_listed_and_ended(
    client: httpx.AsyncClient, database: Database, agency: UUID, as_admin: dict[str, str], system: Person
) -> None:
    camera = await factories.camera(database, agency)
    body = {"login": system.login, "name": "va/1", "kinds": ["analytic.*"], "subject_ids": [str(camera)]}
    made = await client.post("/v1/event-sources", json=body, headers=as_admin)
    assert made.status_code == 201, made.text
    source_id = made.json()["id"]
    as_system = await sign_in(client, system)
    subject = f"cameras/{camera}"
    assert (await client.post("/v1/events", json=event(subject=subject), headers=as_system)).status_code == 202
    for wrong, field in (
        (event(source="va/2", subject=subject), "source"),
        (event(type="bell.pressed", subject=subject), "type"),
        (event(), "subject"),
    ):
        refused = await client.post("/v1/events", json=wrong, headers=as_system)
        assert (refused.status_code, refused.json()["field"]) == (403, field)
        assert "index" not in refused.json()
        batch = await client.post("/v1/events", json=[event(subject=subject), wrong], headers=as_system)
        assert (batch.status_code, batch.json()["field"], batch.json()["index"]) == (403, field, 1)
    again = await client.post("/v1/event-sources", json=body, headers=as_admin)
    assert (again.status_code, again.json()["field"]) == (409, "name")

    page = (await client.get("/v1/event-sources", params={"limit": 1}, headers=as_admin)).json()
    (item,) = page["items"]
    assert {name: item[name] for name in ("id", "login", "name", "kinds", "subject_ids", "area_ids", "ended_at")} == {
        "id": source_id, "login": system.login, "name": "va/1", "kinds": ["analytic.*"], "subject_ids": [str(camera)],
        "area_ids": [], "ended_at": None,
    }  # fmt: skip
    rest = await client.get("/v1/event-sources", params={"cursor": page["next_cursor"]}, headers=as_admin)
    assert rest.json() == {"items": [], "next_cursor": None}

    assert (await client.delete(f"/v1/event-sources/{source_id}", headers=as_admin)).status_code == 204
    assert (await client.delete(f"/v1/event-sources/{source_id}", headers=as_admin)).status_code == 404
    assert (await client.post("/v1/events", json=event(subject=subject), headers=as_system)).status_code == 403
    async with database.begin() as session:
        entries = (
            await session.scalars(
                select(AuditEntry)
                .where(AuditEntry.subject_id == UUID(source_id))
                .order_by(AuditEntry.at, AuditEntry.id)
            )
        ).all()
    assert [(entry.act, entry.owner_agency_id) for entry in entries] == [
        ("event_source.bound", agency), ("event_source.ended", agency),
    ]  # fmt: skip
    assert entries[0].payload["bound_user_id"] == entries[1].payload["bound_user_id"] == str(system.user_id)


async def test_what_is_anothers_or_nowhere_is_not_found(
    client: httpx.AsyncClient, database: Database, as_admin: dict[str, str], system: Person
) -> None:
    there = await factories.agency(database)
    stranger = await factories.person(database, there, "integration")
    as_other = await sign_in(client, await factories.person(database, there, "admin"))
    camera = await factories.camera(database, there)
    made = await client.post("/v1/event-sources", json={"login": system.login, "name": "x"}, headers=as_admin)
    for field, body in (
        ("login", {"login": stranger.login}),
        ("login", {"login": "nobody.at.all"}),
        ("subject_ids", {"login": system.login, "subject_ids": [str(camera)]}),
        ("subject_ids", {"login": system.login, "subject_ids": [str(new_id())]}),
        ("area_ids", {"login": system.login, "area_ids": [str(new_id())]}),
    ):
        refused = await client.post("/v1/event-sources", json={"name": "y", **body}, headers=as_admin)
        assert (refused.status_code, refused.json()["field"]) == (404, field)
    answers = [
        await client.delete(f"/v1/event-sources/{one}", headers=as_other) for one in (made.json()["id"], new_id())
    ]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].json() == answers[1].json()
    assert (await client.get("/v1/event-sources", headers=as_other)).json()["items"] == []


@pytest.mark.parametrize(
    "body",
    [{}, {"login": "a"}, {"login": "a", "name": ""}, {"login": "a", "name": "nul\0"}, {"login": "nul\0", "name": "a"},
     {"login": "a", "name": "a", "kinds": "bell.*"}, {"login": "a", "name": "a", "kinds": ["x"]},
     {"login": "a", "name": "a", "subject_ids": ["7"]}, {"login": "a", "name": "a", "more": 1}],
)  # fmt: skip
async def test_a_body_that_cannot_be_understood_is_refused(
    client: httpx.AsyncClient, as_admin: dict[str, str], body: Any
) -> None:
    refused = await client.post("/v1/event-sources", json=body, headers=as_admin)
    assert (refused.status_code, refused.json()["code"]) == (422, "malformed")


@pytest.mark.parametrize("role", ["operator", "shift_lead", "integration", "auditor"])
async def test_only_an_administrator_comes_in(
    client: httpx.AsyncClient, database: Database, agency: UUID, system: Person, role: str
) -> None:
    headers = await sign_in(client, await factories.person(database, agency, role))
    body = {"login": system.login, "name": "a"}
    assert (await client.post("/v1/event-sources", json=body, headers=headers)).status_code == 403
    assert (await client.get("/v1/event-sources", headers=headers)).status_code == 403
    assert (await client.delete(f"/v1/event-sources/{new_id()}", headers=headers)).status_code == 403
