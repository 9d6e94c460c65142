"""Duty and the change of shifts: the next person signs in over the running wall, in one transaction or not at all."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import func, select, text, update

from app.access import passwords, people, sessions
from app.access.sessions import Attempt
from app.actor import Actor
from app.audit import entries
from app.database import Database
from app.errors import SessionEnded
from app.ids import new_id
from app.models import Appointment, AuditEntry, Duty, Grant, Session
from app.streams import duties, reconcile
from app.streams.duties import SignedOver
from app.streams.urls import Pass
from app.streams.writer import Writer
from tests import factories
from tests.access.announced import announced
from tests.factories import PASSWORD, Person

REASON = {"purpose": "emergency_response", "basis": "KR-PIPA-18-2-3"}
FIRST_PEER = "203.0.113.40"


@dataclass
class Console:
    """A console on which one person works, with a wall, a duty grant and an emergency grant, and who comes next."""

    district: UUID
    cameras: list[UUID]
    first: Person
    following: Person
    headers: dict[str, str]
    running: Actor
    terminal_id: str
    duty_grant: UUID
    wall: UUID
    emergency: UUID

    def body(self, **changed: Any) -> dict[str, Any]:
        return {"login": self.following.login, "password": PASSWORD, **changed}

    async def sign_over(self, client: httpx.AsyncClient, **changed: Any) -> httpx.Response:
        return await client.post("/v1/sessions/current/sign-over", json=self.body(**changed), headers=self.headers)


async def grant_row(database: Database, grant_id: UUID | str) -> Grant:
    async with database.begin() as session:
        return (await session.scalars(select(Grant).where(Grant.id == grant_id))).one()


async def standing(database: Database, grant_ids: Sequence[UUID | str], camera_id: UUID) -> list[bool]:
    """Whether a player under each of these grants may go on, as the gateways ask it."""
    rows = [await grant_row(database, grant_id) for grant_id in grant_ids]
    tickets = [Pass(row.id, row.at, camera_id, row.expires_at) for row in rows]
    async with database.bare.acquire() as connection:
        return [left is not None for left in await reconcile.still_permitted(connection, tickets)]


async def add_wall(database: Database, actor: Actor, camera_ids: Sequence[UUID]) -> UUID:
    """A wall of these cameras, under the actor's duty."""
    grant_id = new_id()
    entry = entries.entry(actor, "wall.started", subject=("grant", grant_id))

    async def work(connection: Any) -> None:
        await duties.begin(connection, actor)
        await entries.store(connection, [entry])
        await connection.execute(
            "INSERT INTO grants (id, entry_id, kind, user_id, appointment_id, agency_id, session_id, terminal_id,"
            " duty_id, owner_agency_id, camera_ids, basis, urgency, manifested, protocols, quality, bound_address,"
            " expires_at, latest_expires_at) SELECT $2, $3, 'duty', user_id, appointment_id, $4, id, terminal_id,"
            " duty_id, $4, $5, 'KR-PIPA-15-1-3', 4, true, ARRAY['fmp4', 'hls'], 'sub', $6, expires_at, expires_at"
            " FROM sessions WHERE id = $1",
            actor.session_id, grant_id, entry.id, actor.body_id, list(camera_ids), FIRST_PEER,
        )  # fmt: skip

    await Writer(database, lambda: None).transact(work)
    return grant_id


@pytest.fixture
async def console(client: httpx.AsyncClient, database: Database) -> Console:
    district = await factories.agency(database)
    center = await factories.agency(database, "center", district)
    cameras = [await factories.camera(database, district) for _ in range(2)]
    neighbour = await factories.agency(database)
    elsewhere = await factories.camera(database, neighbour)
    await factories.agreement(database, neighbour, district)
    admin = await factories.sign_in(client, await factories.person(database, district, "admin"))
    terminal = await client.post("/v1/terminals", json={"name": "관제석 3", "kind": "console"}, headers=admin)
    first, following = await factories.person(database, center), await factories.person(database, center, "shift_lead")
    signed_in = await client.post(
        "/v1/sessions",
        json={"login": first.login, "password": PASSWORD, "terminal_key": terminal.json()["device_key"]},
    )
    headers = {"Authorization": f"Bearer {signed_in.json()['access_token']}"}
    granted = []
    for camera_id, reason in ((cameras[0], {}), (elsewhere, REASON)):
        answer = await client.post("/v1/grants", json={"camera_ids": [str(camera_id)], **reason}, headers=headers)
        assert answer.status_code == 201, answer.text
        granted.append(UUID(answer.json()["grants"][0]["grant_id"]))
    async with database.begin() as session:
        running = await sessions.authenticate(session, signed_in.json()["access_token"], "")
    wall = await add_wall(database, running, cameras)
    return Console(
        district, cameras, first, following, headers, running, terminal.json()["id"], granted[0], wall, granted[1]
    )


async def test_the_wall_runs_on_under_the_next_persons_duty(
    client: httpx.AsyncClient, database: Database, database_url: str, console: Console
) -> None:
    async with announced(database_url) as heard:
        answer = await console.sign_over(client)
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    taken_over = answer.json()
    headers = {"Authorization": f"Bearer {taken_over['access_token']}"}
    me = (await client.get("/v1/me", headers=headers)).json()
    assert (me["login"], me["role"], me["expires_at"]) == (
        console.following.login, "shift_lead", taken_over["expires_at"],
    )  # fmt: skip
    assert (await client.get("/v1/me", headers=console.headers)).status_code == 401
    new = {UUID(one["old_grant_id"]): UUID(one["grant_id"]) for one in taken_over["grants"]}
    assert new.keys() == {console.duty_grant, console.wall}
    # The old ones are over, the new ones are alive; nothing else of the first person's is.
    wall, duty = await grant_row(database, new[console.wall]), await grant_row(database, new[console.duty_grant])
    before = await grant_row(database, console.wall)
    assert await standing(database, [console.wall, console.duty_grant], console.cameras[0]) == [False, False]
    assert await standing(database, [wall.id, duty.id], console.cameras[0]) == [True, True]
    kept = ("kind", "camera_ids", "selector", "tour_id", "manifested", "protocols", "quality", "basis", "owner_agency_id",
            "bound_address", "urgency", "terminal_id")  # fmt: skip
    assert {name: getattr(wall, name) for name in kept} == {name: getattr(before, name) for name in kept}
    assert (wall.manifested, wall.bound_address, str(wall.terminal_id)) == (True, FIRST_PEER, console.terminal_id)
    async with database.begin() as session:
        old_session = await session.get_one(Session, console.running.session_id)
        new_session = await session.get_one(Session, UUID(me["session_id"]))
        old_duty = await session.get_one(Duty, before.duty_id)
        new_duty = await session.get_one(Duty, UUID(taken_over["duty_id"]))
        written = (
            await session.scalars(
                select(AuditEntry).where(
                    AuditEntry.payload["from_session_id"].as_string() == str(console.running.session_id)
                )
            )
        ).one()
    assert (old_session.ended_cause, new_session.terminal_id, new_session.duty_id) == (
        "signed_over", old_session.terminal_id, new_duty.id,
    )  # fmt: skip
    assert old_session.ended_at == new_session.began_at == old_duty.ended_at == new_duty.began_at
    assert (new_duty.taken_over_from, new_duty.terminal_id, new_duty.appointment_id, new_duty.ended_at) == (
        old_duty.id, old_session.terminal_id, console.following.appointment_id, None,
    )  # fmt: skip
    for row in (wall, duty):
        assert (row.user_id, row.session_id, row.duty_id, row.expires_at) == (
            console.following.user_id, new_session.id, new_duty.id, new_session.expires_at,
        )  # fmt: skip
    for grant_id in (console.wall, console.duty_grant, console.emergency):
        ended = await grant_row(database, grant_id)
        assert (ended.revoked_cause, ended.revoked_by) == ("signed_over", console.following.user_id)
    # The log names both.
    assert (written.act, written.outcome) == ("session.signed_over", "done")
    assert (written.payload["login"], written.payload["from_login"]) == (console.following.login, console.first.login)
    # What is cut hears `revoked`; what runs on does not.
    said = [one for one in heard if one.split(" ")[0] in ("revoked", "signed_over", "signed_off", "rights")]
    assert sorted(said) == sorted(
        [
            f"revoked grant {console.emergency}",
            f"signed_off {console.running.session_id}",
            f"signed_over {console.wall} {wall.id} {wall.at.isoformat()}",
            f"signed_over {console.duty_grant} {duty.id} {duty.at.isoformat()}",
        ]
    )


async def test_an_old_url_leads_to_what_runs_now_through_several_shifts(
    client: httpx.AsyncClient, database: Database, console: Console
) -> None:
    other_wall = await add_wall(database, console.running, console.cameras)  # of the very same cameras
    ran = {}
    async with database.bare.acquire() as connection:
        for old in (console.wall, other_wall, console.duty_grant, console.emergency):
            assert await duties.successor(connection, old, (await grant_row(database, old)).at) is None
    for _ in range(3):
        answer = await console.sign_over(client)
        assert answer.status_code == 201, answer.text
        pairs = {one["old_grant_id"]: one["grant_id"] for one in answer.json()["grants"]}
        ran = {old: pairs[new] for old, new in ran.items()} if ran else pairs
        console.headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    assert len(ran) == 3
    async with database.bare.acquire() as connection:
        for old, now in ran.items():
            found = await duties.successor(connection, UUID(old), (await grant_row(database, old)).at)
            assert found == (UUID(now), (await grant_row(database, now)).at)
            assert await duties.successor(connection, *found) is None
        row = await grant_row(database, console.emergency)
        assert await duties.successor(connection, row.id, row.at) is None, "its person has gone, and so has its reason"
    assert await standing(database, list(ran.values()), console.cameras[1]) == [True, True, True]


async def untouched(client: httpx.AsyncClient, database: Database, console: Console) -> None:
    assert (await client.get("/v1/me", headers=console.headers)).json()["login"] == console.first.login
    assert await standing(database, [console.wall, console.duty_grant], console.cameras[0]) == [True, True]
    async with database.begin() as session:
        duty = await session.scalar(
            select(Duty).join(Session, Session.duty_id == Duty.id).where(Session.id == console.running.session_id)
        )
        made = await session.scalar(
            select(func.count()).where(Session.user_id == console.following.user_id, Session.ended_at.is_(None))
        )
    assert duty is not None
    assert (duty.ended_at, made) == (None, 0)


async def test_a_wrong_password_changes_nothing_and_counts(
    client: httpx.AsyncClient, database: Database, database_url: str, console: Console
) -> None:
    async with announced(database_url) as heard:
        for changed in (
            {"password": PASSWORD + "!"},
            {"login": "nobody-at-all"},
            {"agency_id": str(console.running.body_id)},
        ):
            refused = await console.sign_over(client, **changed)
            assert (refused.status_code, refused.json()["code"]) == (401, "wrong_credentials"), refused.text
    assert not [one for one in heard if one.startswith(("revoked", "signed"))]
    await untouched(client, database, console)
    async with database.begin() as session:
        counted = await session.scalar(
            select(func.count()).where(
                AuditEntry.act == "session.refused",
                AuditEntry.payload["login_tried"].as_string() == console.following.login,
            )
        )
        await people.disable(session, None, console.following.user_id, "휴직")
    assert counted == 2
    assert (await console.sign_over(client)).status_code == 401
    tried = [await console.sign_over(client, login="always-wrong") for _ in range(6)]
    assert tried[-1].status_code == 429, "paced like signing in"
    async with database.begin() as session:
        await session.execute(text("DELETE FROM login_paces"))


@pytest.mark.parametrize(
    ("role", "at", "missing"),
    [("operator", "elsewhere", "institution"), ("admin", "here", "view"), ("auditor", "here", "view")],
)
async def test_who_may_not_work_here_takes_nothing_over(
    client: httpx.AsyncClient, database: Database, console: Console, role: str, at: str, missing: str
) -> None:
    place = console.district if at == "here" else await factories.agency(database)
    console.following = await factories.person(database, place, role)
    refused = await console.sign_over(client)
    assert (refused.status_code, refused.json()["code"], refused.json()["missing"]) == (403, "not_permitted", missing)
    await untouched(client, database, console)
    async with database.begin() as session:
        entry = (
            await session.scalars(
                select(AuditEntry).where(
                    AuditEntry.act == "session.signed_over", AuditEntry.subject_id == console.running.session_id
                )
            )
        ).one()
    assert (entry.outcome, entry.payload["login"], entry.payload["tried_login"]) == (
        "refused", console.first.login, console.following.login,
    )  # fmt: skip


async def test_of_two_who_sign_over_at_once_one_wins(
    client: httpx.AsyncClient, database: Database, console: Console
) -> None:
    third = await factories.person(database, console.running.agency_id)
    answers = await asyncio.gather(console.sign_over(client), console.sign_over(client, login=third.login))
    assert sorted(answer.status_code for answer in answers) == [201, 401]
    lost = next(answer for answer in answers if answer.status_code == 401)
    assert lost.json()["code"] == "session_ended"
    async with database.begin() as session:
        taken = select(func.count()).where(Duty.taken_over_from == (await grant_row(database, console.wall)).duty_id)
        assert await session.scalar(taken) == 1
        open_sessions = select(func.count()).where(
            Session.user_id.in_([third.user_id, console.following.user_id]), Session.ended_at.is_(None)
        )
        assert await session.scalar(open_sessions) == 1
        walls = select(func.count()).where(
            Grant.owner_agency_id == console.district, Grant.manifested, Grant.revoked_at.is_(None)
        )
        assert await session.scalar(walls) == 1


async def attempt(database: Database, console: Console) -> tuple[Attempt, str]:
    tried = Attempt(console.following.login, PASSWORD, factories.name("address"))
    async with database.begin() as session:
        proof = await sessions.secret_of(session, tried)
    assert proof is not None
    assert await passwords.matches(PASSWORD, proof)
    return tried, proof


async def waits_for_lock(database: Database) -> None:
    async with asyncio.timeout(5):
        async with database.begin() as session:
            waiting = text(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            while not await session.scalar(waiting):  # noqa: ASYNC110 - the database does not tell
                await asyncio.sleep(0.01)


async def test_a_wall_that_begins_at_that_moment_moves_too_or_not_at_all(database: Database, console: Console) -> None:
    """Whatever changes the duty of a session comes before its sign-over, and moves, or after it, and is refused."""
    tried, proof = await attempt(database, console)

    async def sign_over() -> Any:
        async with database.begin() as session:
            return await duties.sign_over(session, console.running, tried, proof=proof, hours=8)

    late: list[asyncio.Task[Any]] = []

    async def slowly(connection: Any) -> None:
        await duties.begin(connection, console.running)
        late.append(asyncio.create_task(sign_over()))
        await waits_for_lock(database)
        await connection.execute("UPDATE grants SET quality = 'main' WHERE id = $1", console.wall)

    await Writer(database, lambda: None).transact(slowly)
    result = await late[0]
    assert isinstance(result, SignedOver)
    assert len(result.grants) == 2
    moved = next(one.grant_id for one in result.grants if one.old_grant_id == console.wall)
    assert (await grant_row(database, moved)).quality == "main"
    with pytest.raises(SessionEnded):
        await add_wall(database, console.running, console.cameras)
    with pytest.raises(SessionEnded):
        await duties.give(database, Writer(database, lambda: None), console.running, console.cameras)


async def test_signing_over_while_grants_are_asked_for_leaves_nothing_of_the_old_session(
    client: httpx.AsyncClient, database: Database, console: Console
) -> None:
    async def ask(n: int) -> int:
        await asyncio.sleep(n * 0.004)
        body = {"camera_ids": [str(one) for one in console.cameras]}
        return (await client.post("/v1/grants", json=body, headers=console.headers)).status_code

    *asked, answer = await asyncio.gather(*(ask(n) for n in range(24)), console.sign_over(client))
    assert answer.status_code == 201
    assert set(asked) <= {201, 401}
    async with database.begin() as session:
        rows = await session.scalars(select(Grant.id).where(Grant.session_id == console.running.session_id))
        old = rows.all()
    assert not any(await standing(database, old, console.cameras[0]))
    assert await standing(database, [one["grant_id"] for one in answer.json()["grants"]], console.cameras[0]) == [
        True, True,
    ]  # fmt: skip


async def test_a_session_that_never_watched_is_signed_over_too(client: httpx.AsyncClient, database: Database) -> None:
    district = await factories.agency(database)
    first, following = await factories.person(database, district), await factories.person(database, district)
    headers = await factories.sign_in(client, first)
    body = {"login": following.login, "password": PASSWORD}
    answer = await client.post("/v1/sessions/current/sign-over", json=body, headers=headers)
    assert (answer.status_code, answer.json()["grants"]) == (201, [])
    async with database.begin() as session:
        duty = await session.get_one(Duty, UUID(answer.json()["duty_id"]))
    assert duty.taken_over_from is None
    assert (await client.post("/v1/sessions/current/sign-over", json=body, headers=headers)).status_code == 401
    assert (await client.post("/v1/sessions/current/sign-over", json=body)).status_code == 401


async def test_the_new_session_ends_with_the_office_as_any_other(
    client: httpx.AsyncClient, database: Database, console: Console
) -> None:
    async with database.begin() as session:
        soon = func.now() + timedelta(minutes=5)
        await session.execute(
            update(Appointment).where(Appointment.id == console.following.appointment_id).values(valid_to=soon)
        )
    answer = (await console.sign_over(client)).json()
    wall = next(one["grant_id"] for one in answer["grants"] if one["old_grant_id"] == str(console.wall))
    row = await grant_row(database, wall)
    assert row.expires_at == row.latest_expires_at == datetime.fromisoformat(answer["expires_at"])
    assert row.expires_at - row.at <= timedelta(minutes=5)


@pytest.mark.parametrize(
    "changed",
    [
        {"login": ""}, {"login": "a\0b"}, {"login": 5}, {"login": "x" * 201}, {"password": ""}, {"password": None},
        {"agency_id": "x"}, {"terminal_key": "gwd_x"},
    ],
)  # fmt: skip
async def test_a_sign_over_that_makes_no_sense_is_refused(
    client: httpx.AsyncClient, database: Database, console: Console, changed: dict[str, Any]
) -> None:
    refused = await console.sign_over(client, **changed)
    assert (refused.status_code, refused.json()["code"]) == (422, "malformed")
    assert next(iter(changed)) in refused.json()["field"]
    await untouched(client, database, console)


async def test_a_duty_ends_with_its_session(client: httpx.AsyncClient, database: Database, console: Console) -> None:
    duty_id = (await grant_row(database, console.wall)).duty_id
    assert (await client.delete("/v1/sessions/current", headers=console.headers)).status_code == 204
    async with database.begin() as session:
        assert (await session.get_one(Duty, duty_id)).ended_at is not None


async def test_a_duty_lasts_when_its_grant_was_revoked(
    client: httpx.AsyncClient, database: Database, console: Console
) -> None:
    body = {"camera_ids": [str(console.cameras[0])]}
    assert (await client.delete(f"/v1/grants/{console.duty_grant}", headers=console.headers)).status_code == 204
    again = (await client.post("/v1/grants", json=body, headers=console.headers)).json()["grants"][0]["grant_id"]
    first, second = await grant_row(database, console.duty_grant), await grant_row(database, again)
    assert first.id != second.id
    assert first.duty_id == second.duty_id
