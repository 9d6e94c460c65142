"""Signing in, being recognised, signing out: no answer tells accounts apart, and what ended is dead at once."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import func, insert, select, text, update

from app.access import passwords, people, sessions
from app.access.sessions import Attempt, SignedIn
from app.actor import Actor
from app.database import Database
from app.errors import NotSignedIn, SessionEnded, WrongCredentials
from app.ids import new_id
from app.models import Appointment, AuditEntry, KnownAddress, Session, Terminal, Ticket, User
from tests import factories
from tests.actors import actor_of, log_in
from tests.factories import PASSWORD, Person

HOME = "198.51.100.7"


async def attempt(database: Database, login: str, password: str = PASSWORD, **more: object) -> object:
    """What signing in gives, from an address that no other test uses unless one is named."""
    address = str(more.pop("address", "")) or factories.name("address")
    async with database.begin() as session:
        tried = Attempt(login, password, address, **more)  # type: ignore[arg-type]
        return await log_in(session, tried)


async def person(database: Database, role: str = "operator") -> Person:
    return await factories.person(database, await factories.agency(database), role)


async def nobody(database: Database) -> tuple[str, str]:
    return "nobody-has-this-login", PASSWORD


async def wrong_password(database: Database) -> tuple[str, str]:
    return (await person(database)).login, PASSWORD + "!"


async def disabled(database: Database) -> tuple[str, str]:
    who = await person(database)
    async with database.begin() as session:
        await people.disable(session, None, who.user_id, "left")
    return who.login, PASSWORD


async def dismissed(database: Database) -> tuple[str, str]:
    who = await person(database)
    async with database.begin() as session:
        await people.end_appointment(session, None, who.appointment_id)
    return who.login, PASSWORD


async def not_yet_in_office(database: Database) -> tuple[str, str]:
    who = await person(database)
    async with database.begin() as session:
        later = func.now() + timedelta(days=1)
        await session.execute(update(Appointment).where(Appointment.id == who.appointment_id).values(valid_from=later))
    return who.login, PASSWORD


REFUSED = [nobody, wrong_password, disabled, dismissed, not_yet_in_office]


@pytest.mark.parametrize("who", REFUSED)
async def test_every_failed_login_gets_the_same_answer(
    client: httpx.AsyncClient, database: Database, who: Callable[[Database], Awaitable[tuple[str, str]]]
) -> None:
    login, password = await who(database)
    refused = await client.post("/v1/sessions", json={"login": login, "password": password})
    assert refused.status_code == 401
    assert refused.json() == {
        "type": "urn:gwanje:problem:wrong_credentials",
        "title": "Sign in first",
        "status": 401,
        "code": "wrong_credentials",
        "detail": "login or password is wrong / 아이디 또는 비밀번호가 올바르지 않습니다",
    }
    assert refused.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("who", REFUSED)
async def test_every_failed_login_costs_one_verification_of_the_same_strength(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    who: Callable[[Database], Awaitable[tuple[str, str]]],
) -> None:
    monkeypatch.setattr(factories, "_hash", passwords.hash_now(PASSWORD))
    login, password = await who(database)
    verify, hashes = passwords._hasher.verify, []

    def counted(given: str, secret_hash: str) -> bool:
        hashes.append(secret_hash)
        return verify(given, secret_hash)

    monkeypatch.setattr(passwords._hasher, "verify", counted)
    assert isinstance(await attempt(database, login, password), WrongCredentials)
    assert [known.rsplit("$", 2)[0] for known in hashes] == ["$argon2id$v=19$m=19456,t=2,p=1"]


async def test_a_sign_in_opens_a_session_and_is_audited_without_the_password(database: Database) -> None:
    who = await person(database)
    assert isinstance(await attempt(database, who.login, "quite another secret"), WrongCredentials)
    signed_in = await attempt(database, f"  {who.login.upper()} ", address=HOME)
    assert isinstance(signed_in, SignedIn)
    assert (signed_in.actor.login, signed_in.actor.role, signed_in.actor.agency_id) == (
        who.login, "operator", who.agency_id,
    )  # fmt: skip
    async with database.begin() as session:
        by_token = await sessions.authenticate(session, signed_in.access_token, HOME)
        written = (await session.scalars(select(AuditEntry.payload).where(AuditEntry.payload.is_not(None)))).all()
        opened = await session.scalar(
            select(AuditEntry.act).where(AuditEntry.subject_id == signed_in.actor.session_id)
        )  # fmt: skip
        tried = [entry for entry in written if entry.get("login_tried") == who.login]
    assert by_token == signed_in.actor
    assert opened == "session.opened"
    assert [entry["tried_user_id"] for entry in tried] == [str(who.user_id)]
    assert "quite another secret" not in str(written)
    assert PASSWORD not in str(written)


async def test_the_token_stands_nowhere_in_the_database(database: Database) -> None:
    who = await person(database)
    signed_in = await attempt(database, who.login, address=HOME)
    assert isinstance(signed_in, SignedIn)
    async with database.begin() as session:
        ticket = await sessions.ticket(session, signed_in.actor)
        tables = (
            await session.scalars(
                text(
                    "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
                    " AND NOT relispartition"
                )
            )
        ).all()

        async def found(secret: str) -> set[str]:
            """The tables of which a row, written out whole, holds the secret; bytes are written in hex."""
            return {
                table
                for table in tables
                if await session.scalar(
                    text(f"SELECT EXISTS (SELECT FROM {table} t WHERE t::text LIKE :secret)"), {"secret": f"%{secret}%"}
                )
            }

        assert len(tables) > 30
        for secret in (signed_in.access_token, ticket, PASSWORD):
            assert await found(secret) == set()
            assert await found(secret.encode().hex()) == set()
        assert await found(sessions.digest(signed_in.access_token).hex()) == {"sessions"}  # so the search can find
        assert await found(sessions.digest(ticket).hex()) == {"tickets"}
        assert await found(who.login) >= {"users", "audit_entries"}


async def signed_out(database: Database, who: Person, actor: Actor) -> None:
    async with database.begin() as session:
        await sessions.sign_out(session, actor)


async def account_disabled(database: Database, who: Person, actor: Actor) -> None:
    async with database.begin() as session:
        await people.disable(session, None, who.user_id, "misuse")


async def account_disabled_elsewhere(database: Database, who: Person, actor: Actor) -> None:
    async with database.begin() as session:  # such as by a restored table: nobody ended the session
        await session.execute(update(User).where(User.id == who.user_id).values(disabled_at=func.now()))


async def appointment_ended(database: Database, who: Person, actor: Actor) -> None:
    async with database.begin() as session:
        await people.end_appointment(session, None, who.appointment_id)


async def appointment_ran_out(database: Database, who: Person, actor: Actor) -> None:
    async with database.begin() as session:
        await session.execute(
            update(Appointment)
            .where(Appointment.id == who.appointment_id)
            .values(valid_from=func.now() - timedelta(days=2), valid_to=func.now() - timedelta(seconds=1))
        )


async def password_changed(database: Database, who: Person, actor: Actor) -> None:
    async with database.begin() as session:
        await people.change_password(session, actor, who.user_id, "another good password")


async def session_ran_out(database: Database, who: Person, actor: Actor) -> None:
    async with database.begin() as session:
        await session.execute(
            update(Session).where(Session.id == actor.session_id).values(expires_at=func.now() - timedelta(seconds=1))
        )


@pytest.mark.parametrize(
    "ended",
    [
        signed_out,
        account_disabled,
        account_disabled_elsewhere,
        appointment_ended,
        appointment_ran_out,
        password_changed,
        session_ran_out,
    ],
)
async def test_a_session_that_ended_is_dead_at_once(
    client: httpx.AsyncClient,
    database: Database,
    ended: Callable[[Database, Person, Actor], Awaitable[None]],
) -> None:
    who = await person(database)
    headers = await factories.sign_in(client, who)
    token = headers["Authorization"].removeprefix("Bearer ")
    async with database.begin() as session:
        actor = await sessions.authenticate(session, token, HOME)
        ticket = await sessions.ticket(session, actor)
    assert (await client.get("/v1/me", headers=headers)).json()["login"] == who.login
    await ended(database, who, actor)
    after = await client.get("/v1/me", headers=headers)
    assert (after.status_code, after.json()["code"]) == (401, "session_ended")
    async with database.begin() as session:
        with pytest.raises(SessionEnded):
            await sessions.redeem(session, ticket, HOME)


async def test_signing_out_ends_this_session_only(client: httpx.AsyncClient, database: Database) -> None:
    who = await person(database)
    here, there = await factories.sign_in(client, who), await factories.sign_in(client, who)
    assert (await client.delete("/v1/sessions/current", headers=here)).status_code == 204
    assert (await client.delete("/v1/sessions/current", headers=here)).status_code == 401
    assert (await client.get("/v1/me", headers=there)).status_code == 200


async def test_of_several_offices_the_newest_counts_or_that_which_is_asked_for(database: Database) -> None:
    who = await person(database)
    other = await factories.agency(database, "police")
    async with database.begin() as session:
        await people.appoint(session, None, user_id=who.user_id, agency_id=other, role="field")
    newest = await attempt(database, who.login, address=HOME)
    asked = await attempt(database, who.login, agency_id=who.agency_id, address=HOME)
    none = await attempt(database, who.login, agency_id=await factories.agency(database))
    assert isinstance(newest, SignedIn)
    assert isinstance(asked, SignedIn)
    assert (newest.actor.agency_id, newest.actor.role) == (other, "field")
    assert (asked.actor.agency_id, asked.actor.role) == (who.agency_id, "operator")
    assert isinstance(none, WrongCredentials)


async def test_a_session_ends_with_the_office_at_the_latest(database: Database) -> None:
    who = await person(database)
    async with database.begin() as session:
        soon = func.now() + timedelta(minutes=5)
        await session.execute(update(Appointment).where(Appointment.id == who.appointment_id).values(valid_to=soon))
        valid_to = await session.scalar(select(Appointment.valid_to).where(Appointment.id == who.appointment_id))
    signed_in = await attempt(database, who.login, address=HOME)
    assert isinstance(signed_in, SignedIn)
    assert signed_in.expires_at == valid_to


async def test_an_enrolled_terminal_gives_its_zone_and_any_other_key_is_refused_and_audited(database: Database) -> None:
    who = await person(database)
    elsewhere = await factories.agency(database)
    keys = {
        word: (factories.name("key"), agency_id, retired)
        for word, agency_id, retired in (
            ("own", who.agency_id, None),
            ("other", elsewhere, None),
            ("retired", who.agency_id, func.now()),
        )
    }
    async with database.begin() as session:
        for word, (key, agency_id, retired) in keys.items():
            await session.execute(
                insert(Terminal).values(
                    id=new_id(), agency_id=agency_id, name=word, kind="console", zone="cctv",
                    device_key_digest=sessions.digest(key), retired_at=retired,
                )
            )  # fmt: skip
    own = await attempt(database, who.login, terminal_key=keys["own"][0], address=HOME)
    assert isinstance(own, SignedIn)
    assert own.actor.zone == "cctv"
    assert own.actor.terminal_id is not None
    wrong = [
        await attempt(database, who.login, terminal_key=key)
        for key in ("made up", keys["other"][0], keys["retired"][0])
    ]
    assert all(isinstance(refusal, WrongCredentials) for refusal in wrong)
    async with database.begin() as session:
        refused = await session.scalar(
            select(func.count()).where(
                AuditEntry.act == "session.refused", AuditEntry.payload["login_tried"].as_string() == who.login
            )
        )
        known = await session.scalar(select(func.count()).where(KnownAddress.user_id == who.user_id))
    assert refused == 3
    assert known == 1


async def test_a_ticket_works_once_and_for_thirty_seconds(database: Database) -> None:
    actor = await actor_of(database, await person(database))
    async with database.begin() as session:
        first, second = await sessions.ticket(session, actor), await sessions.ticket(session, actor)
        assert (await sessions.redeem(session, first, HOME)).session_id == actor.session_id
        with pytest.raises(NotSignedIn):
            await sessions.redeem(session, first, HOME)
        age = func.now() - timedelta(seconds=1)
        await session.execute(update(Ticket).where(Ticket.digest == sessions.digest(second)).values(expires_at=age))
        with pytest.raises(NotSignedIn):
            await sessions.redeem(session, second, HOME)


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "not_signed_in"),
        ("", "not_signed_in"),
        ("Bearer", "not_signed_in"),
        ("Basic dXNlcjpwYXNz", "not_signed_in"),
        ("Bearer gwj_made_up", "session_ended"),
        ("bearer gwj_made_up", "session_ended"),
        ("Bearer " + "x" * 5000, "session_ended"),
    ],
)
async def test_who_shows_no_good_token_is_asked_to_sign_in(
    client: httpx.AsyncClient, header: str | None, code: str
) -> None:
    refused = await client.get("/v1/me", headers={} if header is None else {"Authorization": header})
    assert (refused.status_code, refused.json()["code"]) == (401, code)
    assert refused.headers["www-authenticate"] == 'Bearer realm="gwanje"'
