"""No audit, no footage: whatever keeps an entry from becoming durable, there is a no in time, and never a URL."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import orjson
import pytest
from sqlalchemy import make_url

from app import database as db
from app import main
from app.ids import new_id
from app.routers.dependencies import House
from app.settings import Settings
from tests import factories
from tests.conftest import Databases, serving
from tests.drills.asking import post
from tests.drills.conftest import Tell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PATIENCE = 4.0  # seconds: a no within three, and what a busy machine adds
AT_ONCE = 64
WAYS, STANDING = 5, 1  # of the ways to ask, this one gives a URL under the duty grant that stands, and needs no entry
REASON = {"purpose": "crime_investigation", "basis": "KR-PIPA-18-2-7"}
EMERGENCY = {"purpose": "crime_investigation", "basis": "KR-PIPA-18-2-3"}
NO_SUCH_ENTRY = """
SELECT count(*) FROM unnest($1::uuid[]) AS told (id) LEFT JOIN audit_entries e ON e.id = told.id WHERE e.id IS NULL
"""


@dataclass
class Place:
    """A service within reach, its database, and who asks it for footage in every way there is."""

    house: House
    client: httpx.AsyncClient
    superuser: asyncpg.Connection
    elsewhere: asyncpg.Connection
    """The superuser's too, in another database."""
    name: str
    operator: dict[str, str]
    officer: dict[str, str]
    camera: str
    grant: str
    urls: list[UUID] = field(default_factory=list)
    """The entries of which a receipt went out together with a URL."""

    async def ask(self, number: int) -> tuple[int, float, str]:
        """One of the ways to a URL, on a connection of its own: status, seconds, and the text of the answer."""
        ways: tuple[tuple[str, dict[str, str], dict[str, Any] | None], ...] = (
            ("/v1/grants", self.officer, {"camera_ids": [self.camera], **REASON}),
            ("/v1/grants", self.operator, {"camera_ids": [self.camera]}),
            ("/v1/walls", self.operator, {"camera_ids": [self.camera]}),
            (f"/v1/grants/{self.grant}/renewals", self.officer, None),
            ("/v1/grants", self.officer | {"Idempotency-Key": new_id().hex}, {"camera_ids": [self.camera], **REASON}),
        )
        path, headers, body = ways[number % WAYS]
        began = time.monotonic()
        status, text = await post(self.client.base_url.port or 0, path, headers, body)
        seconds = time.monotonic() - began
        if status == 201:
            told = orjson.loads(text)
            self.urls += [UUID(one["receipt"]["entry_id"]) for one in told.get("grants", [told])]
        return status, seconds, text

    async def without_entry(self) -> int:
        """How many URLs left without a durable entry."""
        return int(await self.superuser.fetchval(NO_SUCH_ENTRY, self.urls))


@asynccontextmanager
async def place(databases: Databases, url: str, settings: Settings, patch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    name = make_url(url).database or ""
    kept: list[House] = []

    def keep(*parts: Any) -> House:
        kept.append(House(*parts))
        return kept[-1]

    patch.setattr(main, "House", keep)
    async with AsyncExitStack() as stack:
        base = await stack.enter_async_context(db.connect(url))
        owner, police = await factories.agency(base), await factories.agency(base, "police")
        camera = await factories.camera(base, owner)
        await factories.agreement(base, owner, police, use_purposes=(REASON["purpose"],))
        people = [await factories.person(base, owner), await factories.person(base, police, "room")]
        superuser, elsewhere = await databases.superuser(name), await databases.superuser("postgres")
        for connection in (superuser, elsewhere):
            stack.push_async_callback(connection.close)
        served = await stack.enter_async_context(serving(settings.model_copy(update={"database_url": url})))
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=served, timeout=15))
        operator, officer = [await factories.sign_in(client, person) for person in people]
        given = await client.post("/v1/grants", json={"camera_ids": [str(camera)], **REASON}, headers=officer)
        grant = given.json()["grants"][0]["grant_id"]
        yield Place(kept[0], client, superuser, elsewhere, name, operator, officer, str(camera), grant)


# The causes. Each lasts as long as its block.


@asynccontextmanager
async def database_gone(at: Place) -> AsyncIterator[None]:
    """Nobody gets in, and who was in is thrown out."""
    await at.elsewhere.execute(f'ALTER DATABASE "{at.name}" ALLOW_CONNECTIONS false')
    await at.elsewhere.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> $2",
        at.name,
        at.superuser.get_server_pid(),
    )
    try:
        yield
    finally:
        await at.elsewhere.execute(f'ALTER DATABASE "{at.name}" ALLOW_CONNECTIONS true')


@asynccontextmanager
async def disk_full(at: Place) -> AsyncIterator[None]:
    """Each entry meets what PostgreSQL says when it cannot extend a file."""
    await at.superuser.execute(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;"
        "CREATE TRIGGER full_disk BEFORE INSERT ON audit_entries FOR EACH ROW EXECUTE FUNCTION full_disk()"
    )
    try:
        yield
    finally:
        await at.superuser.execute("DROP TRIGGER full_disk ON audit_entries; DROP FUNCTION full_disk")


@asynccontextmanager
async def connections_taken(at: Place) -> AsyncIterator[None]:
    """All connections of the process are in other hands, and do not come back."""
    base = at.house.database
    async with AsyncExitStack() as stack:
        for _ in range(base.bare.get_max_size()):
            await stack.enter_async_context(base.bare.acquire())
        for _ in range(base.engine.pool.size()):  # type: ignore[attr-defined]
            await stack.enter_async_context(base.engine.connect())
        yield


@asynccontextmanager
async def insert_forbidden(at: Place) -> AsyncIterator[None]:
    """The application's role has lost the right to write entries."""
    await at.superuser.execute("REVOKE INSERT ON audit_entries FROM gwanje_app")
    try:
        yield
    finally:
        await at.superuser.execute("GRANT INSERT ON audit_entries TO gwanje_app")


@asynccontextmanager
async def entries_locked(at: Place) -> AsyncIterator[None]:
    """Somebody holds the whole table."""
    async with at.superuser.transaction():
        await at.superuser.execute("LOCK TABLE audit_entries IN ACCESS EXCLUSIVE MODE")
        yield


@asynccontextmanager
async def sequencer_dead(at: Place) -> AsyncIterator[None]:
    """No entry has been numbered for more than a minute."""
    waiting = new_id()
    await at.superuser.execute("INSERT INTO audit_pending (id, at) VALUES ($1, now() - interval '61 s')", waiting)
    try:
        async with asyncio.timeout(20):
            while at.house.notary.pending_seconds < 60:
                at.house.notary._wanted.set()
                await asyncio.sleep(0.05)
        body = {"camera_ids": [at.camera], **EMERGENCY}
        given = await at.client.post("/v1/grants", json=body, headers=at.officer)
        assert given.status_code == 201, "an emergency is granted all the same"
        at.urls.append(UUID(given.json()["grants"][0]["receipt"]["entry_id"]))
        yield
    finally:
        await at.superuser.execute("DELETE FROM audit_pending WHERE id = $1", waiting)


CAUSES = (database_gone, disk_full, connections_taken, insert_forbidden, entries_locked, sequencer_dead)


async def suffer(at: Place, cause: Callable[[Place], Any], requests: int, tell: Tell) -> None:
    """Ask so often under a cause: only no, and in time; and yes again soon after it is gone."""
    numbers = iter(range(requests))
    answers: list[tuple[int, float, str]] = []
    standing: list[tuple[int, float, str]] = []

    async def asking() -> None:
        for number in numbers:
            (standing if number % WAYS == STANDING else answers).append(await at.ask(number))

    async with cause(at):
        await asyncio.gather(*(asking() for _ in range(min(AT_ONCE, requests))))
    statuses = Counter(status for status, _, _ in answers)
    slowest = max(seconds for _, seconds, _ in [*answers, *standing])
    healed = time.monotonic()
    async with asyncio.timeout(20):
        while (await at.ask(0))[0] != 201:
            at.house.notary._wanted.set()
            await asyncio.sleep(0.1)
    tell(
        f"A4 {cause.__name__}", requests=len(answers), statuses=dict(statuses), slowest=slowest,
        standing=dict(Counter(status for status, _, _ in standing)), back=time.monotonic() - healed, urls=len(at.urls), **{"without entry": await at.without_entry()},
    )  # fmt: skip
    assert statuses == {503: len(answers)}, statuses
    assert {status for status, _, _ in standing} <= {201, 503}
    assert not [text for _, _, text in answers if "/v/" in text], "a URL stands in a no"
    assert slowest <= PATIENCE
    assert await at.without_entry() == 0


@pytest.mark.parametrize(
    "requests", [30, pytest.param(1000, marks=[pytest.mark.drill, pytest.mark.timeout(3600)])]
)  # fmt: skip
async def test_without_an_entry_there_is_no_url(
    databases: Databases, empty_database_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, requests: int,
    tell: Tell,
) -> None:  # fmt: skip
    async with place(databases, empty_database_url, settings, monkeypatch) as at:
        for number in range(10):
            assert (await at.ask(number))[0] == 201
        assert await at.without_entry() == 0
        at.urls.append(new_id())
        assert await at.without_entry() == 1, "a URL without an entry is seen"
        at.urls.pop()
        for cause in CAUSES:
            await suffer(at, cause, requests, tell)
