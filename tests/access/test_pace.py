"""How often a login may fail, and that an attacker elsewhere cannot keep the one on duty out."""

from datetime import timedelta
from uuid import UUID

import httpx
import pytest
from sqlalchemy import func, update

from app.access import pace
from app.database import Database
from app.errors import TooManyAttempts
from app.models import KnownAddress, LoginPace
from tests import factories
from tests.factories import PASSWORD

CONSOLE = "198.51.100.20"


async def fail(database: Database, login: str, user_id: UUID | None, *addresses: str) -> None:
    async with database.begin() as session:
        for address in addresses:
            await pace.failed(session, login, user_id, address)


async def wait_told(database: Database, login: str, user_id: UUID | None, address: str) -> int:
    """The seconds to wait before the next try from this address; 0 when it may be tried now."""
    async with database.begin() as session:
        try:
            await pace.check(session, login, user_id, address)
        except TooManyAttempts as refusal:
            return refusal.retry_after_seconds or -1
    return 0


async def pass_time(database: Database, **time: float) -> None:
    """As if so much time had gone by."""
    async with database.begin() as session:
        await session.execute(update(LoginPace).values(free_at=LoginPace.free_at - timedelta(**time)))
        await session.execute(
            update(KnownAddress).values(last_used_at=KnownAddress.last_used_at - timedelta(**time))
        )  # fmt: skip


def address() -> str:
    return factories.name("address")


async def on_duty(database: Database) -> factories.Person:
    """Somebody who has signed in at the console before."""
    who = await factories.person(database, await factories.agency(database))
    async with database.begin() as session:
        await pace.succeeded(session, who.user_id, CONSOLE)
    return who


async def test_five_bad_ones_are_limited_and_time_heals(database: Database) -> None:
    login, here = factories.name("login"), address()
    await fail(database, login, None, *[here] * 4)
    assert await wait_told(database, login, None, here) == 0
    await fail(database, login, None, here)
    assert 1 <= await wait_told(database, login, None, here) <= 12
    await pass_time(database, seconds=12)
    assert await wait_told(database, login, None, here) == 0
    await fail(database, login, None, here)
    assert 1 <= await wait_told(database, login, None, here) <= 12
    await pass_time(database, seconds=60)
    await fail(database, login, None, *[here] * 4)
    assert await wait_told(database, login, None, here) == 0


async def test_however_many_fail_at_once_the_wait_stays_short(database: Database) -> None:
    login, here = factories.name("login"), address()
    await fail(database, login, None, *[here] * 80)
    assert 1 <= await wait_told(database, login, None, here) <= 60


async def test_an_attacker_elsewhere_does_not_lock_out_the_one_on_duty(database: Database) -> None:
    who = await on_duty(database)
    await fail(database, who.login, who.user_id, *[address() for _ in range(60)], *["192.0.2.66"] * 60)
    assert await wait_told(database, who.login, who.user_id, CONSOLE) == 0
    assert await wait_told(database, who.login, who.user_id, address()) > 0  # from anywhere unknown: later
    assert await wait_told(database, who.login, who.user_id, "192.0.2.66") > 0


async def test_a_known_address_is_limited_by_its_own_failures(database: Database) -> None:
    who = await on_duty(database)
    await fail(database, who.login, who.user_id, *[CONSOLE] * 5)
    assert await wait_told(database, who.login, who.user_id, CONSOLE) > 0


async def test_an_address_that_was_not_used_for_long_is_strange_again(database: Database) -> None:
    who = await on_duty(database)
    await pass_time(database, days=91)
    await fail(database, who.login, who.user_id, *[address() for _ in range(25)])
    assert await wait_told(database, who.login, who.user_id, CONSOLE) > 0


async def test_one_address_cannot_try_many_accounts(database: Database) -> None:
    here = address()
    async with database.begin() as session:
        for _ in range(30):
            await pace.failed(session, factories.name("login"), None, here)
    assert 1 <= await wait_told(database, factories.name("login"), None, here) <= 2
    assert await wait_told(database, factories.name("login"), None, address()) == 0


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("2001:db8:7:8::1", "2001:db8:7:8:ffff::2", True),  # one customer has a whole /64
        ("2001:db8:7:9::1", "2001:db8:7:a::1", False),
        ("::ffff:192.0.2.131", "192.0.2.131", True),
        ("192.0.2.132", "192.0.2.133", False),
    ],
)
async def test_who_changes_the_address_within_one_network_stays_the_same(
    database: Database, first: str, second: str, *, same: bool
) -> None:
    login = factories.name("login")
    await fail(database, login, None, *[first] * 5)
    assert (await wait_told(database, login, None, second) > 0) is same


async def test_the_door_answers_429_with_retry_after_even_to_the_right_password(
    client: httpx.AsyncClient, database: Database
) -> None:
    who = await factories.person(database, await factories.agency(database))
    for _ in range(5):
        wrong = await client.post("/v1/sessions", json={"login": who.login, "password": "wrong password"})
        assert wrong.status_code == 401
    limited = await client.post("/v1/sessions", json={"login": who.login, "password": PASSWORD})
    assert (limited.status_code, limited.json()["code"]) == (429, "too_many_attempts")
    assert 1 <= int(limited.headers["retry-after"]) <= 12
    await factories.sign_in(client, await factories.person(database, who.agency_id))  # the colleague is not concerned


async def test_a_success_makes_the_address_known(database: Database) -> None:
    who = await on_duty(database)
    async with database.begin() as session:
        await pace.succeeded(session, who.user_id, CONSOLE)
        age = func.now() - KnownAddress.last_used_at
        fresh = await session.scalar(
            update(KnownAddress)
            .where(KnownAddress.user_id == who.user_id, age < timedelta(minutes=1))
            .values(last_used_at=KnownAddress.last_used_at)
            .returning(KnownAddress.address)
        )
    assert fresh == CONSOLE
