"""Keeping cameras and assets by hand: who may, what is refused, and the life that each of them has."""

from typing import Any

import httpx
import pytest

from app.database import Database
from tests import factories
from tests.routers.test_imports import Administrator, administrator

PLACE = {"lat": 37.51, "lon": 127.02}


@pytest.fixture
async def admin(client: httpx.AsyncClient, database: Database) -> Administrator:
    return await administrator(client, database)


async def made(admin: Administrator, things: str = "cameras", **fields: Any) -> dict[str, Any]:
    body = {"name": factories.name("새솔"), **PLACE} | ({"kind": "bell"} if things == "assets" else {}) | fields
    answer = await admin("POST", f"/{things}", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_a_camera_is_added_changed_and_replaced(admin: Administrator) -> None:
    camera = await made(
        admin, installation_purposes=["crime_prevention", "child_safety"],
        legal_grounds=["KR-PIPA-25-1-2", "KR-PIPA-25-1-4"], pixels_10k=200, azimuth_degrees=90,
        analytics=["loitering"], certificates={"loitering": {"number": "KISA-1", "until": "2027-01-01"}},
        programme="방범 확충", programme_year=2025, hours={"always": True}, sign_contact="02-000-0000",
    )  # fmt: skip
    assert (camera["status"], camera["legal_grounds"]) == ("planned", ["KR-PIPA-25-1-2", "KR-PIPA-25-1-4"])
    path = f"/cameras/{camera['id']}"
    first = await admin("GET", f"{path}/record")
    assert first.headers["etag"] == camera["version"]
    assert (await admin("GET", f"{path}/record", headers={"If-None-Match": first.headers["etag"]})).status_code == 304
    patched = await admin("PATCH", path, json={"ptz": True, "pixels_10k": 400}, headers={"If-Match": camera["version"]})
    assert (patched.status_code, patched.json()["pixels_10k"], patched.json()["azimuth_degrees"]) == (200, 400, 90)
    stale = await admin("PATCH", path, json={"ptz": False}, headers={"If-Match": camera["version"]})
    assert stale.status_code == 412

    new = await made(admin, replaces_id=camera["id"], site_id=camera["site_id"], status="active")
    assert (new["replaces_id"], new["ordinal"]) == (camera["id"], 2)
    old = (await admin("GET", f"{path}/record")).json()
    assert old["status"] == "retired"
    assert (await admin("PATCH", path, json={"ptz": True})).status_code == 409
    counted = (await admin("GET", "/programmes")).json()["items"]
    assert counted == [
        {"name": "방범 확충", "year": 2025, "kind": "camera", "number": 1, "sites": 1, "planned": 0, "installed": 0,
         "active": 0, "retired": 1, "replacing": 0}
    ]  # fmt: skip


async def test_another_device_changes_nothing_else(admin: Administrator) -> None:
    camera = await made(admin, status="active")
    for model in ("A", "B"):
        answer = await admin("POST", f"/cameras/{camera['id']}/devices", json={"maker": "새솔전자", "model": model})
        assert answer.status_code == 204
    devices = (await admin("GET", f"/cameras/{camera['id']}/record")).json()["devices"]
    assert [(one["model"], one["removed_at"] is None) for one in devices] == [("A", False), ("B", True)]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"indoor": "toilet"}, "indoor"),
        ({"indoor": "changing_room", "privacy_mask": True}, "indoor"),
        ({"name": "새솔공원 화장실 내부"}, "indoor"),
        ({"name": "새솔공원 화장실"}, "indoor"),
        ({"indoor": "bath_entrance"}, "privacy_mask"),
        ({"indoor": "cellar"}, "indoor"),
        ({"installation_purposes": ["fun"]}, "installation_purposes"),
        ({"legal_grounds": ["KR-PIPA-25-1-9"]}, "legal_grounds"),
        ({"analytics": ["mind_reading"]}, "analytics"),
        ({"certificates": {"mind_reading": {}}}, "certificates"),
        ({"pole_id": "00000000-0000-7000-8000-000000000000"}, "pole_id"),
        ({"lat": None}, "latitude"),
    ],
)
async def test_what_may_not_stand_is_refused(admin: Administrator, fields: dict[str, Any], field: str) -> None:
    body = {"name": "새솔 1", **PLACE} | fields
    if body["lat"] is None:
        del body["lat"]
    answer = await admin("POST", "/cameras", json=body)
    assert answer.status_code in (404, 422), answer.text
    assert answer.json()["field"] == field


async def test_before_such_a_place_a_camera_stands_with_a_mask(admin: Administrator) -> None:
    camera = await made(admin, name="새솔공원 화장실", indoor="toilet_entrance", privacy_mask=True)
    answer = await admin("PATCH", f"/cameras/{camera['id']}", json={"privacy_mask": False})
    assert (answer.status_code, answer.json()["field"]) == (422, "privacy_mask")
    await made(admin, name="새솔공원 화장실 앞")


async def test_a_life_goes_one_way(admin: Administrator) -> None:
    camera = await made(admin)
    path = f"/cameras/{camera['id']}/life"
    for status, on_date in (("installed", "2025-03-01"), ("active", "2025-03-05"), ("faulty", None), ("active", None)):
        answer = await admin("POST", path, json={"status": status, "on_date": on_date, "ticket": "T-1"})
        assert answer.status_code == 201, answer.text
    assert (await admin("POST", path, json={"status": "installed"})).status_code == 409
    early = await admin("POST", path, json={"status": "faulty", "on_date": "2025-03-04"})
    assert (early.status_code, early.json()["field"]) == (422, "on_date")
    late = await admin("POST", path, json={"status": "faulty", "on_date": "2190-01-01"})
    assert (late.status_code, late.json()["field"]) == (422, "on_date")
    assert (await admin("POST", path, json={"status": "retired"})).status_code == 201
    assert (await admin("POST", path, json={"status": "active"})).status_code == 409
    steps = (await admin("GET", path)).json()["items"]
    assert [step["to_status"] for step in steps] == ["installed", "active", "faulty", "active", "retired"]
    assert steps[0]["on_date"] == "2025-03-01"
    assert (await admin("GET", f"/cameras/{camera['id']}/record")).json()["installed_on"] == "2025-03-01"


async def test_a_pole_takes_what_it_carries_with_it(admin: Administrator) -> None:
    pole = await made(admin, "assets", kind="pole", status="active")
    bell = await made(admin, "assets", parent_id=pole["id"], status="active")
    light = await made(admin, "assets", kind="light", parent_id=pole["id"], status="active")
    camera = await made(admin, pole_id=pole["id"], status="active")
    assert (await admin("POST", f"/assets/{light['id']}/life", json={"status": "faulty"})).status_code == 201

    async def states() -> dict[str, str]:
        children = (await admin("GET", f"/assets/{pole['id']}")).json()["children"]
        return {child["id"]: child["status"] for child in children}

    assert (await admin("POST", f"/assets/{pole['id']}/life", json={"status": "faulty"})).status_code == 201
    assert set((await states()).values()) == {"faulty"}
    assert (await admin("POST", f"/assets/{pole['id']}/life", json={"status": "active"})).status_code == 201
    assert await states() == {bell["id"]: "active", camera["id"]: "active", light["id"]: "faulty"}
    refused = await admin("POST", f"/assets/{pole['id']}/life", json={"status": "retired"})
    assert refused.status_code == 409


async def test_a_fault_and_its_ticket(admin: Administrator) -> None:
    bell = await made(admin, "assets", status="active")
    path = f"/assets/{bell['id']}/outages"
    planned = await admin("POST", path, json={"kind": "planned", "starts_at": "2026-12-01T00:00:00+09:00"})
    first, second = [(await admin("POST", path, json={"kind": "fault", "ticket": f"T-{n}"})).json() for n in (1, 2)]
    assert planned.status_code == 201

    async def status() -> str:
        return str((await admin("GET", f"/assets/{bell['id']}")).json()["status"])

    assert await status() == "faulty"
    assert (await admin("POST", f"{path}/{first['id']}/end")).status_code == 204
    assert await status() == "faulty"
    assert (await admin("POST", f"{path}/{second['id']}/end")).status_code == 204
    assert await status() == "active"
    assert (await admin("POST", f"{path}/{second['id']}/end")).status_code == 409
    told = (await admin("GET", path)).json()["items"]
    assert {(one["kind"], one["ticket"], one["ended_at"] is None) for one in told} == {
        ("planned", "", True), ("fault", "T-1", False), ("fault", "T-2", False),
    }  # fmt: skip


async def test_a_bell_says_how_it_found_its_camera(admin: Administrator) -> None:
    near = await made(admin, lat=37.5101, lon=127.02, status="active")
    await made(admin, lat=37.5105, lon=127.02, status="active")
    bell = await made(admin, "assets", details={"link_kind": "two_way", "police_link": True}, link_radius_metres=50)
    assert (bell["camera_ids"], bell["camera_link"]) == ([near["id"]], "nearest")
    store = await made(admin, "assets", details={"place_type": "single_person_store", "police_link": True})
    assert (store["camera_ids"], store["camera_link"]) == ([], "")
    declared = await admin("PATCH", f"/assets/{store['id']}", json={"camera_ids": [near["id"]]})
    assert (declared.json()["camera_ids"], declared.json()["camera_link"]) == ([near["id"]], "declared")
    unknown = await admin("PATCH", f"/assets/{store['id']}", json={"camera_ids": [bell["id"]]})
    assert (unknown.status_code, unknown.json()["field"]) == (404, "camera_ids")
    for details, field in (({"colour": "red"}, "details.colour"), ({"link_kind": "maybe"}, "details.link_kind")):
        answer = await admin("PATCH", f"/assets/{bell['id']}", json={"details": details})
        assert (answer.status_code, answer.json()["field"]) == (422, field)
    kept = await admin("PATCH", f"/assets/{bell['id']}", json={"details": {"inspected_on": "2026-05-30"}})
    assert kept.json()["details"] == {"link_kind": "two_way", "police_link": True, "inspected_on": "2026-05-30"}


@pytest.mark.parametrize("things", ["cameras", "assets"])
async def test_others_change_nothing_and_strangers_find_nothing(
    admin: Administrator, client: httpx.AsyncClient, database: Database, things: str
) -> None:
    thing = await made(admin, things, status="active")
    operator = await administrator(client, database, admin.agency, "operator")
    stranger = await administrator(client, database)
    partner = await administrator(client, database)
    await factories.agreement(database, admin.agency, partner.agency, verbs=("locate",))
    path = f"/{things}/{thing['id']}"
    record = f"{path}/record" if things == "cameras" else path
    tries = [
        ("PATCH", path, {"name": "x"}), ("POST", f"{path}/life", {"status": "retired"}),
        ("POST", f"{path}/outages", {"kind": "fault"}),
    ]  # fmt: skip
    for method, where, body in tries:
        assert (await operator(method, where, json=body)).status_code == 403, where
        assert (await partner(method, where, json=body)).status_code == 403, where
        assert (await stranger(method, where, json=body)).status_code == 404, where
    for where in (record, f"{path}/life", f"{path}/outages"):
        assert (await operator("GET", where)).status_code == 200, where
        assert (await partner("GET", where)).status_code == 200, where
        assert (await stranger("GET", where)).status_code == 404, where
    body = {"name": "x", **PLACE, "owner_agency_id": str(admin.agency)} | (
        {"kind": "bell"} if things == "assets" else {}
    )
    assert (await stranger("POST", f"/{things}", json=body)).status_code == 403
    assert (await operator("POST", f"/{things}", json=body)).status_code == 403
