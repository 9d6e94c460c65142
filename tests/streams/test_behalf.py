"""On behalf of whom: a system names the officer for whom it asks, and every record of it says so."""

from typing import Any
from uuid import UUID

import httpx
import orjson
import pytest

from app.database import Database
from tests import factories
from tests.reports.town import EMERGENCY, Town, town

OFFICER = "중부경찰서 경위 홍길순 (2031)"


@pytest.fixture
async def place(client: httpx.AsyncClient, database: Database) -> Town:
    return await town(client, database)


async def asked(place: Town, headers: dict[str, str], **more: Any) -> httpx.Response:
    body = {"camera_ids": [str(place.camera)], **EMERGENCY, **more}
    return await place.client.post(
        "/v1/grants", json={name: value for name, value in body.items() if value is not None}, headers=headers
    )  # fmt: skip


async def said_of(place: Town, act: str) -> list[dict[str, Any]]:
    rows = await place.database.bare.fetch(
        "SELECT payload FROM audit_entries WHERE act = $1 AND camera_id = $2 ORDER BY at, id", act, place.camera
    )
    return [orjson.loads(row["payload"]) for row in rows]


async def test_a_systems_grant_says_for_whom_it_is_everywhere(place: Town) -> None:
    system = await factories.person(place.database, place.police, "room", kind="system")
    headers = await factories.sign_in(place.client, system)
    answer = await asked(place, headers, on_behalf_of=f" {OFFICER} ")
    assert answer.status_code == 201, answer.text
    grant_id = UUID(answer.json()["grants"][0]["grant_id"])
    row = await place.database.bare.fetchrow("SELECT on_behalf_of, asserted_by FROM grants WHERE id = $1", grant_id)
    assert (row["on_behalf_of"], row["asserted_by"]) == (OFFICER, system.login)
    (given,) = await said_of(place, "grant.given")
    assert (given["on_behalf_of"], given["asserted_by"], given["login"]) == (OFFICER, system.login, system.login)
    assert (await place.client.post(f"/v1/grants/{grant_id}/renewals", headers=headers)).status_code == 201
    assert (await place.client.delete(f"/v1/grants/{grant_id}", headers=headers)).status_code == 204
    for act in ("grant.renewed", "grant.revoked"):
        assert [one["on_behalf_of"] for one in await said_of(place, act)] == [OFFICER]
    for register in ("footage", "access"):
        assert OFFICER in (await place.export(register, format="csv")).text


async def test_a_refusal_says_it_too(place: Town) -> None:
    stranger = await factories.person(
        place.database, await factories.agency(place.database, "police"), "room", "system"
    )
    answer = await asked(place, await factories.sign_in(place.client, stranger), on_behalf_of=OFFICER)
    assert answer.status_code in (403, 404)
    assert [one["on_behalf_of"] for one in await said_of(place, "grant.refused")] == [OFFICER]


@pytest.mark.parametrize(
    ("kind", "more", "field"),
    [
        ("person", {"on_behalf_of": OFFICER}, "on_behalf_of"),  # accounts are personal
        ("system", {}, "on_behalf_of"),
        ("system", {"on_behalf_of": "   "}, "on_behalf_of"),
        ("system", {"on_behalf_of": "a\nb"}, "on_behalf_of"),
        ("system", {"on_behalf_of": "경" * 101}, "on_behalf_of"),
        ("system", {"on_behalf_of": OFFICER, "purpose": None, "basis": None}, "purpose"),  # it has no duty
    ],
)
async def test_what_is_not_said_well_is_refused(place: Town, kind: str, more: dict[str, Any], field: str) -> None:
    who = await factories.person(place.database, place.police, "room", kind)
    answer = await asked(place, await factories.sign_in(place.client, who), **more)
    assert (answer.status_code, answer.json()["field"].rpartition(".")[2]) == (422, field), answer.text
    assert await said_of(place, "grant.given") == []
