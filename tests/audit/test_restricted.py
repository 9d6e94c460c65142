"""Restricted acts: who did what for whom is for few; that it is in the log can be proved to every auditor concerned."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from app import clock
from app.audit import verify
from app.audit.verify import Key
from app.database import Database
from app.ids import new_id
from app.streams import views
from app.streams.limits import Limits
from app.streams.urls import Pass
from app.streams.views import Asking, Carrier, Ending
from app.streams.writer import Writer
from tests import factories
from tests.audit.test_export import EXPORT, REASON, numbered
from tests.reports.town import EMERGENCY, Town, town

NUMBER = "112-20261123-4711"
FREE = Limits(100, 100, 100, 100)


@pytest.fixture
async def place(client: httpx.AsyncClient, database: Database) -> Town:
    return await town(client, database)


async def restricted_grant(place: Town, **more: Any) -> UUID:
    incident = new_id()
    await place.event(restriction="protected", incident_id=incident)
    return await place.grant(incident_id=str(incident), references=[{"kind": "112", "number": NUMBER}], **more)


async def watched(place: Town, grant_id: UUID) -> UUID:
    """A view under a grant, opened and closed."""
    async with place.database.bare.acquire() as connection:
        at = await connection.fetchval("SELECT at FROM grants WHERE id = $1", grant_id)
    writer = Writer(place.database, lambda: None)
    ticket = Pass(grant_id, at, place.camera, at, "main")
    opened = await views.open(writer, ticket, Asking("fmp4", "203.0.113.7"), Carrier("embedded", "tests", FREE))
    await views.close(writer, opened, Ending("ended", 1000, 2.0))
    return opened.id


async def listed(place: Town, role: str, agency: UUID, **asked: Any) -> httpx.Response:
    headers = await place.headers(role, agency)
    return await place.client.get("/v1/audit/entries", params={"limit": 200, **asked}, headers=headers)


async def test_a_grant_of_a_restricted_incident_is_restricted_with_all_that_follows(place: Town) -> None:
    grant_id = await restricted_grant(place)
    view_id = await watched(place, grant_id)
    who = place.signed_in["officer"]
    assert (await place.client.post(f"/v1/grants/{grant_id}/renewals", headers=who)).status_code == 201
    assert (await place.client.delete(f"/v1/grants/{grant_id}", headers=who)).status_code == 204
    stored = await place.database.bare.fetchval("SELECT restriction FROM grants WHERE id = $1", grant_id)
    assert stored == "protected"
    rows = await place.database.bare.fetch(
        "SELECT act, restriction FROM audit_entries WHERE subject_id = ANY($1)", [grant_id, view_id]
    )
    acts = {"grant.given", "grant.renewed", "grant.revoked", "view.opened", "view.closed"}
    assert {(row["act"], row["restriction"]) for row in rows} == {(act, "protected") for act in acts}
    plain = await place.grant()
    said = await place.database.bare.fetchval("SELECT restriction FROM audit_entries WHERE subject_id = $1", plain)
    assert said == ""


async def test_an_incident_that_is_restricted_later_restricts_what_was_written_before(place: Town) -> None:
    incident = new_id()
    await place.event(restriction="", incident_id=incident)
    grant_id = await place.grant(incident_id=str(incident), references=[{"kind": "112", "number": NUMBER}])
    await watched(place, grant_id)
    readers = (("auditor", place.district, False), ("auditor", place.police, True))
    secrets = (place.officer.login, NUMBER)

    async def said(role: str, agency: UUID) -> str:
        entries = await listed(place, role, agency, camera_id=str(place.camera))
        headers = await place.headers(role, agency)
        since, until = (clock.now() + timedelta(hours=hours) for hours in (-1, 1))
        period = {"since": since.isoformat(), "until": until.isoformat()}
        asked = {"camera_id": str(place.camera), "reason": "점검", **period}
        export = await place.client.get(EXPORT, params=REASON, headers=headers)
        views = await place.client.post("/v1/reports/accesses/searches", json=asked, headers=headers)
        assert (entries.status_code, export.status_code, views.status_code) == (200, 200, 200)
        assert str(place.camera) in entries.text
        of_camera = [line for line in export.text.splitlines() if str(place.camera) in line]
        assert len(of_camera) >= 3
        return entries.text + "".join(of_camera) + views.text

    await numbered(place.database)
    for role, agency, _ in readers:
        told = await said(role, agency)
        assert {secret in told for secret in secrets} == {True}
    await place.event(restriction="protected", incident_id=incident)
    await numbered(place.database)
    for role, agency, knows in readers:
        told = await said(role, agency)
        assert {secret in told for secret in secrets} == {knows}, role
    views = await place.client.get("/v1/views", headers=await place.headers("shift_lead", place.district))
    (one,) = [row for row in views.json()["items"] if row["camera_id"] == str(place.camera)]
    assert one["login"] is None


async def test_a_refusal_for_a_restricted_incident_is_restricted(place: Town) -> None:
    incident = new_id()
    await place.event(restriction="protected", incident_id=incident)
    stranger = await place.headers("room", await factories.agency(place.database, "police"))
    body = {"camera_ids": [str(place.camera)], **EMERGENCY, "incident_id": str(incident)}
    assert (await place.client.post("/v1/grants", json=body, headers=stranger)).status_code in (403, 404)
    said = await place.database.bare.fetchval(
        "SELECT restriction FROM audit_entries WHERE act = 'grant.refused' AND camera_id = $1", place.camera
    )
    assert said == "protected"


async def test_the_owners_auditor_reads_that_it_was_and_can_prove_it(place: Town, tmp_path: Path) -> None:
    grant_id = await restricted_grant(place)
    await watched(place, grant_id)
    secrets = (place.officer.login, str(place.officer.user_id), NUMBER, EMERGENCY["purpose"])
    for role, agency, knows in (
        ("auditor", place.district, False), ("auditor", place.city, False), ("auditor", place.police, True),
        ("privacy_officer", place.district, True),  # keeps the register, which has to say to whom and why
        ("privacy_officer", place.city, False),
    ):  # fmt: skip
        answer = await listed(place, role, agency, camera_id=str(place.camera))
        acts = {one["act"]: one for one in answer.json()["items"] if one["act"] != "audit.read"}
        assert set(acts) == {"grant.given", "view.opened", "view.closed"}, (role, agency)
        for one in acts.values():
            assert one["withheld"] is not knows
            assert (one["who_and_why"] is not None) is knows
            assert (one["restriction"], one["agency_id"]) == ("protected", str(place.police))
        for secret in secrets:
            assert (secret in answer.text) is knows, (role, secret)
        by_person = await listed(place, role, agency, user_id=str(place.officer.user_id), camera_id=str(place.camera))
        assert len(by_person.json()["items"]) == (3 if knows else 0), "nor is it found by person"
    headers = await place.headers("auditor", place.district)
    await numbered(place.database)
    entry_id = acts["grant.given"]["id"]
    vkey = (await place.client.get("/v1/audit/key", headers=headers)).json()["vkey"]
    leaf = await place.client.get(f"/v1/audit/entries/{entry_id}/leaf", headers=headers)
    proof = await place.client.get("/v1/audit/proofs/inclusion", params={"entry_id": entry_id}, headers=headers)
    assert (leaf.status_code, proof.status_code) == (200, 200)
    assert not [secret for secret in secrets if secret in leaf.text + proof.text]
    (tmp_path / "proof").write_text(proof.text)
    (tmp_path / "leaf").write_bytes(leaf.content)
    assert verify.main(["proof", str(tmp_path / "proof"), str(tmp_path / "leaf"), "--key", vkey]) == 0
    own = await place.client.get("/v1/audit/entries", params={"act": "grant.given"}, headers=place.signed_in["officer"])
    assert [one["who_and_why"]["references"][0]["number"] for one in own.json()["items"]] == [NUMBER]


async def test_the_owners_auditor_takes_headers_away_and_the_file_holds(place: Town) -> None:
    await restricted_grant(place)
    await numbered(place.database)
    for agency, knows in ((place.district, False), (place.police, True)):
        headers = await place.headers("auditor", agency)
        await numbered(place.database)
        key = Key.read((await place.client.get("/v1/audit/key", headers=headers)).json()["vkey"])
        told = (await place.client.get(EXPORT, params=REASON, headers=headers)).content
        ours = [line for line in told.split(b"\n") if str(place.camera).encode() in line]
        assert len(ours) == 1
        assert ours[0].endswith(b"\t\twithheld") is not knows
        assert (NUMBER.encode() in told, place.officer.login.encode() in ours[0]) == (knows, knows)
        said = verify.check_export(iter(told.splitlines(keepends=True)), key, [], [], [])
        headers_only = [one for one in said if "only their headers" in one]
        assert bool(headers_only) or knows
        changed = told.replace(b'"restriction":"protected"', b'"restriction":"none"', 1)
        with pytest.raises(verify.Wrong):
            verify.check_export(iter(changed.splitlines(keepends=True)), key, [], [], [])
        emptied = told.replace(b"\t\twithheld", b"\t\t", 1)
        if not knows:  # what is merely left out is not what is withheld
            with pytest.raises(verify.Wrong, match="its contents are gone"):
                verify.check_export(iter(emptied.splitlines(keepends=True)), key, [], [], [])


async def test_whose_restricted_view_it_is_the_owners_supervisor_is_not_told(place: Town) -> None:
    grant_id = await restricted_grant(place)
    await watched(place, grant_id)
    for role, agency, knows in (
        ("shift_lead", place.district, False), ("agency_head", place.district, True), ("agency_head", place.police, True),
    ):  # fmt: skip
        answer = await place.client.get("/v1/views", headers=await place.headers(role, agency))
        (one,) = [row for row in answer.json()["items"] if row["camera_id"] == str(place.camera)]
        assert one["login"] == (place.officer.login if knows else None), (role, agency)


async def test_the_owner_is_told_of_a_restricted_view_without_a_person(place: Town) -> None:
    hidden, plain = await restricted_grant(place), await place.grant()
    told: dict[str, Any] = {}
    while len(told) < 2:
        rows = await place.database.bare.fetch(
            "SELECT data ->> 'grant_id' AS grant_id, data ->> 'by' AS by, data ->> 'purpose' AS purpose, restriction"
            " FROM events WHERE kind = 'grant.given' AND subject_id = $1",
            place.camera,
        )
        told = {row["grant_id"]: (row["by"], row["purpose"], row["restriction"]) for row in rows}
        await asyncio.sleep(0.02)  # the service tells it when it has numbered the entries
    assert told[str(hidden)] == (None, None, "protected")
    assert told[str(plain)] == (place.officer.login, EMERGENCY["purpose"], "owner")


async def test_a_views_end_says_all_that_its_beginning_said(place: Town) -> None:
    view_id = await watched(place, await restricted_grant(place))
    rows = await place.database.bare.fetch(
        "SELECT act, payload::jsonb - '{protocol,gateway,cause,bytes,seconds}'::text[] AS said FROM audit_entries"
        " WHERE subject_id = $1 ORDER BY at, id",
        view_id,
    )
    said = {row["act"]: row["said"] for row in rows}
    assert said["view.closed"] == said["view.opened"]
    for word in ("role", "appointment_id", "session_id", "incident_id", "purpose", "basis", "address", "login"):
        assert f'"{word}"' in said["view.closed"], word
