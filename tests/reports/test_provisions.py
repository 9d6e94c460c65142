"""Provisions: made by themselves of grants, by hand of what happened outside; amended by appending."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text

from app.ids import new_id
from tests import factories
from tests.reports.town import CRIME, EMERGENCY, IN_PURPOSE, PERIOD, TODAY, Town, usb


async def listed(place: Town, role: str = "admin", agency: UUID | None = None, **query: Any) -> list[dict[str, Any]]:
    asked = {**PERIOD, "agency_id": str(place.district), **query}
    answer = await place.client.get("/v1/provisions", params=asked, headers=await place.headers(role, agency))
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def recorded(place: Town, **more: Any) -> str:
    answer = await place.client.post("/v1/provisions", json=usb(**more), headers=await place.headers("admin"))
    assert answer.status_code == 201, answer.text
    made: str = answer.json()["id"]
    return made


async def amend(place: Town, provision_id: Any, version: int, role: str = "admin", **changes: Any) -> Any:
    return await place.client.patch(
        f"/v1/provisions/{provision_id}", json={"note": "나중에 확인", **changes},
        headers={**await place.headers(role), "If-Match": f'"{version}"'},
    )  # fmt: skip


async def one(place: Town, provision_id: Any, role: str = "admin", agency: UUID | None = None) -> Any:
    return await place.client.get(f"/v1/provisions/{provision_id}", headers=await place.headers(role, agency))


async def test_a_grant_to_another_agency_is_a_provision_and_own_use_is_none(place: Town) -> None:
    given = await place.grant(EMERGENCY, references=[{"kind": "112", "number": "7788"}])
    in_purpose = await place.grant(IN_PURPOSE)
    operator = await place.headers("operator")
    await place.grant({}, operator)  # under the duty: the camera's own purpose
    beyond = await place.grant(CRIME, operator)
    rows = {UUID(row["id"]): row for row in await listed(place)}
    assert {key: (row["kind"], row["out_of_purpose"]) for key, row in rows.items()} == {
        given: ("provide", True), in_purpose: ("provide", False), beyond: ("use", True),
    }  # fmt: skip
    row = rows[given]
    assert (row["version"], row["form"], row["basis"], row["document_number"]) == (
        0,
        "live",
        EMERGENCY["basis"],
        "7788",
    )
    assert row["camera_ids"] == [str(place.camera)]
    assert (row["recipient"]["name"], row["safety_asked"]) == ("홍길동", "제3자 재제공 금지")
    assert row["grant_id"] == str(given)


async def test_an_approval_box_may_have_no_day_yet(place: Town) -> None:
    provision_id = await recorded(place, approvals=[{"office": "담당", "name": "한별"}])
    told = (await one(place, provision_id)).json()
    assert [(box["office"], box["name"], box["on"]) for box in told["approvals"]] == [("담당", "한별", None)]


async def test_amendments_are_appended_and_what_stood_before_stays_readable(place: Town) -> None:
    given = await place.grant()
    first = await amend(place, given, 0, arrest=True, crime="절도", in_charge="김담당")
    assert (first.status_code, first.json()["version"], first.headers["etag"]) == (200, 1, '"1"')
    second = await amend(place, given, 1, destroyed_on=TODAY.isoformat(), destruction="완전삭제")
    assert second.json()["version"] == 2
    read = await one(place, given)
    assert read.headers["etag"] == '"2"'
    row = read.json()
    assert (row["arrest"], row["crime"], row["destruction"]) == (True, "절도", "완전삭제")
    assert [(old["version"], old["arrest"], old["destruction"]) for old in row["history"]] == [
        (1, True, ""),
        (2, True, "완전삭제"),
    ]
    assert {old["note"] for old in row["history"]} == {"나중에 확인"}
    assert [row["version"] for row in await listed(place)] == [2], "one row, the one that holds"
    entries = await place.acts("provision.amended")
    assert [entry["payload"]["fields"] for entry in entries] == [
        ["arrest", "crime", "in_charge"],
        ["destroyed_on", "destruction"],
    ]
    refused = await amend(place, given, 2, basis="KR-PIPA-18-2-7")
    assert (refused.status_code, refused.json()["field"]) == (422, "basis")


async def test_whoever_read_an_older_version_amends_nothing(place: Town) -> None:
    made = await recorded(place)
    answers = await asyncio.gather(*(amend(place, made, 1, witness=f"입회자 {number}") for number in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200, *[412] * 5]
    row = (await one(place, made)).json()
    assert [old["version"] for old in row["history"]] == [1, 2]
    assert (await amend(place, made, 7, witness="앞선 판")).status_code == 412, "a version that is still to come"
    without = await place.client.patch(
        f"/v1/provisions/{made}", json={"note": "없음"}, headers=await place.headers("admin")
    )
    assert without.status_code == 422


async def test_the_services_role_can_neither_change_nor_delete_what_was_written(place: Town) -> None:
    await recorded(place)
    for table in ("provisions", "publications", "published_provisions"):
        for statement in (
            f"DELETE FROM {table}",
            f"TRUNCATE {table}",
            f"UPDATE {table} SET {'version = 9' if table == 'provisions' else 'publication_id = publication_id' if table.startswith('published') else 'place = place'}",
        ):
            async with place.database.bare.acquire() as connection:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"basis": ""}, "basis"), ({"basis": "KR-PIPA-99"}, "basis"), ({"purpose": "curiosity"}, "purpose"),
        ({"kind": "sell"}, "kind"), ({"form": "hologram"}, "form"), ({"medium": "cloud"}, "medium"),
        ({"basis": "KR-PIPA-18-2-2", "document_number": ""}, "document_number"),
        ({"provided_at": "2999-01-01T00:00:00Z"}, "provided_at"), ({"provided_at": "0001-01-01T00:00:00Z"}, "provided_at"),
        ({"recorded_from": "2026-01-02T00:00:00Z", "recorded_to": "2026-01-01T00:00:00Z"}, "recorded_to"),
        ({"destroyed_on": "2001-01-01"}, "destroyed_on"), ({"camera_ids": [str(new_id())]}, "camera_ids"),
    ],
)  # fmt: skip
async def test_what_no_register_can_say_is_refused_with_the_field(
    place: Town, fields: dict[str, Any], field: str
) -> None:
    answer = await place.client.post("/v1/provisions", json=usb(**fields), headers=await place.headers("admin"))
    assert (answer.status_code, answer.json().get("field")) == (422, field), answer.text


async def test_who_may_read_and_who_may_keep(place: Town) -> None:
    made = await recorded(place)
    stranger = await factories.agency(place.database)
    for role, agency, reads, keeps in (
        ("admin", None, 200, 200), ("agency_head", None, 200, 200), ("privacy_officer", None, 200, 200),
        ("auditor", None, 200, 403), ("auditor", place.city, 200, 403), ("operator", None, 403, 403),
        ("room", place.police, 403, 403), ("admin", place.city, 404, 404), ("admin", stranger, 404, 404),
        ("auditor", stranger, 404, 403), ("auditor", place.police, 404, 403),
    ):  # fmt: skip
        assert (await one(place, made, role, agency)).status_code == reads, (role, agency)
        version = (await one(place, made)).json()["version"]
        headers = {**await place.headers(role, agency), "If-Match": f'"{version}"'}
        answer = await place.client.patch(
            f"/v1/provisions/{made}", json={"note": "누구", "arrest": True}, headers=headers
        )
        assert answer.status_code == keeps, (role, agency, answer.text)
        asked = {**PERIOD, "agency_id": str(place.district)}
        answer = await place.client.get("/v1/provisions", params=asked, headers=await place.headers(role, agency))
        assert answer.status_code == (200 if reads == 200 else 403), (role, agency)
    assert {entry["payload"]["what"] for entry in await place.acts("register.read")} == {"provision", "provisions"}


async def test_of_a_restricted_provision_others_learn_that_it_exists(place: Town) -> None:
    made = await recorded(place, restriction="protected", crime="스토킹", file_name="secret.mp4")
    incident = new_id()
    await place.event(restriction="protected", incident_id=incident)
    given = str(await place.grant(incident_id=str(incident)))
    for role, agency, full in (("admin", None, True), ("auditor", place.city, False)):
        rows = {row["id"]: row for row in await listed(place, role, agency)}
        assert set(rows) == {made, given}
        assert {row["withheld"] for row in rows.values()} == {not full}
        said = (await one(place, made, role, agency)).text + (await one(place, given, role, agency)).text + str(rows)
        assert ("스토킹" in said, "secret.mp4" in said, "홍길동" in said) == (full, full, full)
    # The owner's auditor may know what the own people did, and not to whom the police did what.
    rows = {row["id"]: row["withheld"] for row in await listed(place, "auditor")}
    assert rows == {made: False, given: True}
    assert (await amend(place, given, 0, destruction="파기 확인")).status_code == 200
    assert "홍길동" not in (await one(place, given, "auditor")).text
    assert {entry["restriction"] for entry in await place.acts("provision.recorded")} == {"protected"}


async def test_copies_that_were_to_be_destroyed_are_found(place: Town) -> None:
    yesterday = (TODAY - timedelta(days=1)).isoformat()
    late = await recorded(place, destroy_due=yesterday)
    await recorded(place, destroy_due=(TODAY + timedelta(days=9)).isoformat())
    done = await recorded(place, destroy_due=yesterday)
    assert (await amend(place, done, 1, destroyed_on=TODAY.isoformat())).status_code == 200
    assert [row["id"] for row in await listed(place, to_be_destroyed=True)] == [late]


async def test_pages_follow_each_other_without_a_gap(place: Town) -> None:
    made = {str(await place.grant()) for _ in range(3)} | {await recorded(place) for _ in range(4)}
    found: list[str] = []
    cursor = None
    while True:
        asked = {**PERIOD, "agency_id": str(place.district), "limit": 3} | ({"cursor": cursor} if cursor else {})
        page = (await place.client.get("/v1/provisions", params=asked, headers=await place.headers("admin"))).json()
        found += [row["id"] for row in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(found) == 7
    assert set(found) == made


async def test_granting_knows_nothing_of_registers(place: Town) -> None:
    await place.grant()
    async with place.database.begin() as session:
        assert (
            await session.scalar(
                text("SELECT count(*) FROM provisions WHERE owner_agency_id = :id"), {"id": place.district}
            )
            == 0
        )
