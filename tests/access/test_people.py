"""Persons and their offices: who may make, change and end them, and that an administrator's hand ends at the house."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.access import passwords, people, sessions
from app.access.sessions import Attempt, SignedIn
from app.actor import Actor
from app.database import Database
from app.errors import Conflict, Malformed, NotFound, NotPermitted, SessionEnded
from app.ids import new_id
from app.models import Appointment, AuditEntry, Credential, User
from tests import factories
from tests.actors import actor, actor_of, log_in
from tests.factories import PASSWORD, Person


@pytest.mark.parametrize(
    "login", ["", "a", ".dot", "-dash", "홍길동", "two words", "a" * 65, "null\0", "new\nline", "a;b"]
)
async def test_a_login_is_plain(database: Database, login: str) -> None:
    async with database.begin() as session:
        with pytest.raises(Malformed) as refused:
            await people.add(session, None, login=login, name="", secret_hash="", kind="person")
    assert refused.value.extra["field"] == "login"


async def test_a_login_is_taken_once_in_whatever_case(database: Database) -> None:
    who = await factories.person(database, await factories.agency(database))
    async with database.begin() as session:
        with pytest.raises(Conflict):
            await people.add(session, None, login=f" {who.login.upper()}", name="x", secret_hash="", kind="person")
        assert (await people.by_login(session, who.login.upper())).id == who.user_id
        with pytest.raises(NotFound):
            await people.by_login(session, "nobody-is-called-so")


@pytest.mark.parametrize("password", ["", "short", "a" * 30, "abc" * 10, "abcd" * 60])
async def test_a_weak_or_absurd_password_is_refused(password: str) -> None:
    with pytest.raises(Malformed):
        await passwords.hashed(password)


async def test_a_password_stands_as_argon2id_only(database: Database) -> None:
    who = await factories.person(database, await factories.agency(database))
    async with database.begin() as session:
        stored = await session.scalar(select(Credential.secret_hash).where(Credential.user_id == who.user_id))
    assert stored is not None
    assert stored.startswith("$argon2id$")
    assert await passwords.matches(PASSWORD, stored)
    assert not await passwords.matches(PASSWORD + " ", stored)
    assert not await passwords.matches("nobody has this password", None)


async def add(session: AsyncSession, by: Actor, whom: Person) -> None:
    await people.add(session, by, login=factories.name("new").lower(), name="신입", secret_hash="", kind="person")


async def appoint(session: AsyncSession, by: Actor, whom: Person) -> None:
    await people.appoint(session, by, user_id=whom.user_id, agency_id=whom.agency_id, role="field")


async def change_password(session: AsyncSession, by: Actor, whom: Person) -> None:
    await people.change_password(session, by, whom.user_id, "a password by somebody else")


async def disable(session: AsyncSession, by: Actor, whom: Person) -> None:
    await people.disable(session, by, whom.user_id, "because")


async def end_appointment(session: AsyncSession, by: Actor, whom: Person) -> None:
    await people.end_appointment(session, by, whom.appointment_id)


Deed = Callable[[AsyncSession, Actor, Person], Awaitable[None]]
DEEDS: list[Deed] = [appoint, change_password, disable, end_appointment]


@pytest.mark.parametrize("deed", [add, *DEEDS])
@pytest.mark.parametrize("role", ["operator", "shift_lead", "agency_head", "auditor", "integration"])
async def test_only_an_administrator_changes_people(database: Database, deed: Deed, role: str) -> None:
    district = await factories.agency(database)
    by, whom = await actor(database, district, role), await factories.person(database, district)
    async with database.begin() as session:
        with pytest.raises(NotPermitted):
            await deed(session, by, whom)


@pytest.mark.parametrize("deed", DEEDS)
async def test_an_administrator_changes_the_own_institutions_people_only(database: Database, deed: Deed) -> None:
    district = await factories.agency(database)
    center = await factories.agency(database, "center", district)
    by = await actor(database, district, "admin")
    stranger = await factories.person(database, await factories.agency(database))
    async with database.begin() as session:
        await deed(session, by, await factories.person(database, center))
    async with database.begin() as session:
        with pytest.raises(NotFound):
            await deed(session, by, stranger)


@pytest.mark.parametrize("deed", [change_password, disable])
async def test_who_left_the_institution_is_out_of_its_administrators_hands(database: Database, deed: Deed) -> None:
    district, police = await factories.agency(database), await factories.agency(database, "police")
    by = await actor(database, district, "admin")
    whom = await factories.person(database, district)
    async with database.begin() as session:
        await people.appoint(session, None, user_id=whom.user_id, agency_id=police, role="room")
        with pytest.raises(NotPermitted):  # while the person serves at both: nobody's alone
            await deed(session, by, whom)
        await people.end_appointment(session, by, whom.appointment_id)
    async with database.begin() as session:
        with pytest.raises(NotFound):
            await deed(session, by, whom)


async def test_an_administrator_ends_no_office_elsewhere(database: Database) -> None:
    district, police = await factories.agency(database), await factories.agency(database, "police")
    by = await actor(database, district, "admin")
    whom = await factories.person(database, district)
    async with database.begin() as session:
        elsewhere = await people.appoint(session, None, user_id=whom.user_id, agency_id=police, role="room")
    async with database.begin() as session:
        with pytest.raises(NotFound):
            await people.end_appointment(session, by, elsewhere)
        with pytest.raises(NotFound):
            await people.end_appointment(session, by, new_id())


async def test_a_new_password_replaces_the_old_and_ends_all_sessions(database: Database) -> None:
    who = await factories.person(database, await factories.agency(database))
    own, other = await actor_of(database, who), await actor_of(database, who)
    async with database.begin() as session:
        await people.change_password(session, own, who.user_id, "the new password 1")
    async with database.begin() as session:
        for signed_in in (own, other):
            with pytest.raises(SessionEnded):
                await sessions.of_session(session, signed_in.session_id, "")
        opened = await log_in(session, Attempt(who.login, "the new password 1", "192.0.2.9"))
        stale = await log_in(session, Attempt(who.login, PASSWORD, "192.0.2.9"))
        kept = await session.scalar(select(func.count()).where(Credential.user_id == who.user_id))
        entries = select(AuditEntry).where(AuditEntry.subject_id == who.user_id).order_by(AuditEntry.at, AuditEntry.id)
        written = (await session.scalars(entries)).all()
    assert isinstance(opened, SignedIn)
    assert not isinstance(stale, SignedIn)
    assert kept == 1
    assert [entry.act for entry in written] == ["user.added", "credential.changed"]
    assert "new password" not in str([entry.payload for entry in written])


async def test_an_office_that_has_not_begun_can_be_ended(database: Database) -> None:
    who = await factories.person(database, await factories.agency(database))
    async with database.begin() as session:
        later = func.now() + timedelta(days=30)
        await session.execute(update(Appointment).where(Appointment.id == who.appointment_id).values(valid_from=later))
    async with database.begin() as session:
        await people.end_appointment(session, None, who.appointment_id)
        ended = await session.scalar(select(Appointment).where(Appointment.id == who.appointment_id))
    assert ended is not None
    assert ended.valid_to is not None
    assert ended.valid_to - ended.valid_from < timedelta(seconds=1)


async def test_an_account_is_disabled_once_and_says_why(database: Database) -> None:
    who = await factories.person(database, await factories.agency(database))
    async with database.begin() as session:
        await people.disable(session, None, who.user_id, "오남용")
        with pytest.raises(NotFound):
            await people.disable(session, None, who.user_id, "again")
        user = await session.get(User, who.user_id)
    assert user is not None
    assert user.disabled_reason == "오남용"


async def test_a_role_must_exist(database: Database) -> None:
    who = await factories.person(database, await factories.agency(database))
    async with database.begin() as session:
        with pytest.raises(Malformed):
            await people.appoint(session, None, user_id=who.user_id, agency_id=who.agency_id, role="king")
