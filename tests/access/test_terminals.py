"""Terminals: enrolled by the administrator of the institution, known by a key that is shown once, retired at once."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import select, text

from app.access import sessions, terminals
from app.access.sessions import Attempt, SignedIn
from app.database import Database
from app.errors import BoundElsewhere, NotFound, NotPermitted, WrongCredentials
from app.models import AuditEntry, Grant, Session, Terminal
from app.streams.urls import Pass
from app.streams.views import Asking, permit, proof_of
from tests import factories
from tests.access.announced import announced
from tests.actors import actor, log_in
from tests.factories import PASSWORD, Person


async def as_admin(client: httpx.AsyncClient, database: Database, agency_id: UUID) -> dict[str, str]:
    return await factories.sign_in(client, await factories.person(database, agency_id, "admin"))


async def enrol(client: httpx.AsyncClient, who: dict[str, str], **fields: Any) -> httpx.Response:
    body = {"name": factories.name("관제석"), "kind": "console", **fields}
    return await client.post("/v1/terminals", json=body, headers=who)


async def sign_in_at(client: httpx.AsyncClient, who: Person, device_key: str) -> httpx.Response:
    body = {"login": who.login, "password": PASSWORD, "terminal_key": device_key}
    return await client.post("/v1/sessions", json=body)


async def test_a_terminal_is_enrolled_with_a_key_that_is_shown_once(
    client: httpx.AsyncClient, database: Database
) -> None:
    district = await factories.agency(database)
    center = await factories.agency(database, "center", district)
    admin = await as_admin(client, database, district)
    made = await enrol(client, admin, name="관제석 3", kind="console", zone="cctv", agency_id=str(center))
    assert made.status_code == 201, made.text
    assert made.headers["cache-control"] == "no-store"
    key = made.json()["device_key"]
    listed = await client.get("/v1/terminals", headers=admin)
    assert key not in listed.text
    (item,) = listed.json()["items"]
    assert (item["id"], item["name"], item["kind"], item["zone"], item["agency_id"], item["retired_at"]) == (
        made.json()["id"], "관제석 3", "console", "cctv", str(center), None,
    )  # fmt: skip
    async with database.begin() as session:
        digest = await session.scalar(select(Terminal.device_key_digest).where(Terminal.id == made.json()["id"]))
        entry = (await session.scalars(select(AuditEntry).where(AuditEntry.subject_id == made.json()["id"]))).one()
    assert digest == sessions.digest(key)
    assert (entry.act, entry.payload["zone"]) == ("terminal.enrolled", "cctv")
    assert key not in str(entry.payload)
    operator = await factories.person(database, center)
    signed_in = await sign_in_at(client, operator, key)
    assert signed_in.status_code == 201
    async with database.begin() as session:
        there = await sessions.authenticate(session, signed_in.json()["access_token"], "")
    assert (str(there.terminal_id), there.zone) == (made.json()["id"], "cctv")


async def test_terminals_are_the_own_administrators_affair(client: httpx.AsyncClient, database: Database) -> None:
    district, other = await factories.agency(database), await factories.agency(database)
    admin, stranger = await as_admin(client, database, district), await as_admin(client, database, other)
    terminal_id = (await enrol(client, admin)).json()["id"]
    for role in ("operator", "shift_lead", "agency_head", "auditor"):
        who = await factories.sign_in(client, await factories.person(database, district, role))
        assert (await enrol(client, who)).status_code == 403
        assert (await client.get("/v1/terminals", headers=who)).status_code == 403
        assert (await client.delete(f"/v1/terminals/{terminal_id}", headers=who)).status_code == 403
    assert (await client.get("/v1/terminals", headers=stranger)).json()["items"] == []
    assert (await client.delete(f"/v1/terminals/{terminal_id}", headers=stranger)).status_code == 404
    assert (await enrol(client, stranger, agency_id=str(district))).status_code == 404
    assert (await enrol(client, {})).status_code == 401
    assert (await client.get("/v1/terminals")).status_code == 401
    assert (await client.delete(f"/v1/terminals/{terminal_id}")).status_code == 401
    again = await enrol(client, admin, name="관제석 1"), await enrol(client, admin, name=" 관제석 1 ")
    assert [answer.status_code for answer in again] == [201, 409]
    assert (await enrol(client, stranger, name="관제석 1")).status_code == 201
    page = (await client.get("/v1/terminals?limit=1", headers=admin)).json()
    rest = (await client.get(f"/v1/terminals?cursor={page['next_cursor']}", headers=admin)).json()
    assert len(page["items"] + rest["items"]) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""}, {"name": "a\0"}, {"name": "a\nb"}, {"name": "  "}, {"name": None}, {"name": "x" * 101},
        {"kind": "phone"}, {"kind": 3}, {"zone": ""}, {"zone": "CCTV"}, {"zone": "a b"}, {"zone": "a" * 41},
        {"zone": "cctv\n"}, {"agency_id": "x"}, {"device_key": "mine"},
    ],
)  # fmt: skip
async def test_a_terminal_that_makes_no_sense_is_refused(
    client: httpx.AsyncClient, database: Database, wrong: dict[str, Any]
) -> None:
    admin = await as_admin(client, database, await factories.agency(database))
    refused = await enrol(client, admin, **wrong)
    assert (refused.status_code, refused.json()["code"]) == (422, "malformed"), refused.text
    assert next(iter(wrong)) in refused.json()["field"]
    assert (await client.delete("/v1/terminals/x", headers=admin)).status_code == 422


async def test_a_retired_terminal_opens_nothing_and_its_sessions_end(
    client: httpx.AsyncClient, database: Database, database_url: str
) -> None:
    district = await factories.agency(database)
    admin = await as_admin(client, database, district)
    lost, kept = (await enrol(client, admin)).json(), (await enrol(client, admin)).json()
    operator = await factories.person(database, district)
    tokens = [(await sign_in_at(client, operator, made["device_key"])).json()["access_token"] for made in (lost, kept)]
    at_lost, at_kept = [{"Authorization": f"Bearer {token}"} for token in tokens]
    session_id = (await client.get("/v1/me", headers=at_lost)).json()["session_id"]
    async with announced(database_url) as heard:
        assert (await client.delete(f"/v1/terminals/{lost['id']}", headers=admin)).status_code == 204
    assert [one for one in heard if one.startswith("revoked")] == [f"revoked session {session_id}"]
    assert (await client.get("/v1/me", headers=at_lost)).status_code == 401
    assert (await client.get("/v1/me", headers=at_kept)).status_code == 200
    assert (await sign_in_at(client, operator, lost["device_key"])).status_code == 401
    assert (await client.delete(f"/v1/terminals/{lost['id']}", headers=admin)).status_code == 404
    assert [item["retired_at"] is None for item in (await client.get("/v1/terminals", headers=admin)).json()["items"]] == [
        False, True,
    ]  # fmt: skip
    async with database.begin() as session:
        cause = await session.scalar(select(Session.ended_cause).where(Session.id == session_id))
        entry = (
            await session.scalars(
                select(AuditEntry).where(AuditEntry.subject_id == lost["id"], AuditEntry.act == "terminal.retired")
            )
        ).one()
    assert cause == "terminal_retired"
    assert entry.payload["ended_sessions"] == 1


async def test_who_signs_in_while_the_terminal_is_retired_does_not_stay(database: Database) -> None:
    """The two transactions come one after the other, whichever is first."""
    district = await factories.agency(database)
    operator = await factories.person(database, district)
    async with database.begin() as session:
        made = await terminals.enrol(session, None, name="태블릿", kind="tablet", agency_id=district)
    attempt = Attempt(operator.login, PASSWORD, factories.name("address"), terminal_key=made.device_key)

    async def retire() -> None:
        async with database.begin() as session:
            await terminals.retire(session, None, made.terminal_id)

    async with database.begin() as session:
        signed_in = await log_in(session, attempt)
        assert isinstance(signed_in, SignedIn)
        retiring = asyncio.create_task(retire())
        async with database.begin() as other, asyncio.timeout(5):
            waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND :holder = ANY(pg_blocking_pids(pid))")
            holder = await session.scalar(text("SELECT pg_backend_pid()"))
            while not await other.scalar(waiting, {"holder": holder}):
                assert not retiring.done(), "it did not wait for who is signing in"
                await asyncio.sleep(0.01)
    await retiring
    async with database.begin() as session:
        cause = await session.scalar(select(Session.ended_cause).where(Session.id == signed_in.actor.session_id))
        assert cause == "terminal_retired"
        assert isinstance(await log_in(session, attempt), WrongCredentials)


async def test_the_operator_at_the_command_line_enrols_anywhere(database: Database) -> None:
    district = await factories.agency(database)
    async with database.begin() as session:
        made = await terminals.enrol(session, None, name="관제석 1", kind="console", agency_id=district)
        assert made.terminal_id in {terminal.id for terminal in await terminals.listed(session, None, limit=10_000)}
        with pytest.raises(NotFound):
            await terminals.enrol(session, None, name="관제석 2", kind="console")
        with pytest.raises(NotFound):
            await terminals.enrol(session, None, name="관제석 2", kind="console", agency_id=uuid4())
        with pytest.raises(NotPermitted):
            await terminals.listed(session, await actor(database, district, "operator"))


async def test_a_tablets_stream_needs_the_proof_of_its_device(client: httpx.AsyncClient, database: Database) -> None:
    """A URL that leaves the tablet is of no use: not at the same address, not with another device's proof."""
    district = await factories.agency(database)
    camera_id, other_camera = await factories.camera(database, district), await factories.camera(database, district)
    admin = await as_admin(client, database, district)
    operator = await factories.person(database, district)
    keys = [(await enrol(client, admin, kind="tablet")).json()["device_key"] for _ in range(2)]
    token = (await sign_in_at(client, operator, keys[0])).json()["access_token"]
    given = await client.post(
        "/v1/grants", json={"camera_ids": [str(camera_id)]}, headers={"Authorization": f"Bearer {token}"}
    )
    assert given.status_code == 201, given.text
    grant_id = UUID(given.json()["grants"][0]["grant_id"])
    async with database.begin() as session:
        at = await session.scalar(select(Grant.at).where(Grant.id == grant_id))
    assert at is not None
    ticket = Pass(grant_id, at, camera_id, at + timedelta(hours=1))
    good = proof_of(keys[0], grant_id, camera_id)
    async with database.bare.acquire() as connection:
        allowed = await permit(connection, ticket, Asking("fmp4", "203.0.113.9", good))
        assert allowed.facts["terminal_kind"] == "tablet"
        # It goes from one cell to another, so it is bound to no address.
        await permit(connection, ticket, Asking("fmp4", "198.51.100.77", good))
        for proof in (
            "", "x", good[:-1], good + "=", proof_of(keys[1], grant_id, camera_id), keys[0],
            proof_of(keys[0], grant_id, other_camera), "증명",
        ):  # fmt: skip
            with pytest.raises(BoundElsewhere):
                await permit(connection, ticket, Asking("fmp4", "203.0.113.9", proof))
