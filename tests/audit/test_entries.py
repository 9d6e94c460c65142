"""Audit entries: what is hashed is what is stored, who may read which, and that reading is itself an entry."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from sqlalchemy import func, select

from app import database as db
from app import ledger
from app.access.roles import ROLES
from app.actor import Actor
from app.audit import entries, verify
from app.audit.entries import Entry
from app.database import Database
from app.errors import NotPermitted
from app.ids import new_id
from app.models import AuditEntry, AuditLeaf
from tests import factories
from tests.actors import actor
from tests.audit.test_tree import definition
from tests.conftest import Databases

STORED = "SELECT e.*, l.position, l.leaf_hash FROM audit_entries e JOIN audit_leaves l USING (id) ORDER BY position"


async def written(database: Database, *items: Entry) -> list[UUID]:
    async with database.begin() as session:
        return [await entries.append(session, item) for item in items]


async def number_all(database: Database) -> None:
    """Give every entry its position, whoever gets to it first."""
    async with database.bare.acquire() as connection:
        while await ledger.sequence(connection, ledger.AUDIT, entries.grow_tree, limit=7):
            pass


async def test_an_entry_says_who_and_what_and_hashes_just_that(database: Database) -> None:
    district = await factories.agency(database)
    who = await actor(database, district)
    camera_id = new_id()
    item = entries.entry(
        who, "view.opened", camera_id=camera_id, owner_agency_id=district, subject=("grant", camera_id),
        purpose="crime_prevention", nothing=None, empty="", none=[], zero=0, no=False, when=datetime(2026, 1, 2, tzinfo=UTC),
        한글="별빛로 “12”", numbers={1: 2.5},
    )  # fmt: skip
    (entry_id,) = await written(database, item)
    async with database.bare.acquire() as connection:
        row = await connection.fetchrow("SELECT * FROM audit_entries WHERE id = $1", entry_id)
    assert row["digest"] == sha256(row["salt"] + row["payload"].encode()).digest()
    assert len(row["salt"]) == 32
    said = json.loads(row["payload"])
    assert said == {
        "user_id": str(who.user_id), "login": who.login, "role": "operator", "appointment_id": str(who.appointment_id),
        "agency_id": str(district), "session_id": str(who.session_id), "address": who.address,
        "purpose": "crime_prevention", "zero": 0, "no": False, "when": "2026-01-02T00:00:00+00:00",
        "한글": "별빛로 “12”", "numbers": {"1": 2.5},
    }  # fmt: skip
    assert (row["agency_id"], row["owner_agency_id"], row["camera_id"]) == (district, district, camera_id)
    header = entries.leaf_data(row)
    for person in (who.user_id, who.login, who.appointment_id, who.session_id, who.address):
        assert str(person) not in header.decode()


async def test_the_batch_writers_way_stores_the_same(database: Database) -> None:
    item = entries.entry(None, "grant.given", area_id=new_id(), restriction="protected", names=["가", "나"])
    async with database.bare.acquire() as connection, connection.transaction():
        await entries.store(connection, [item])
    async with database.begin() as session:
        row = await session.scalar(select(AuditEntry).where(AuditEntry.id == item.id))
    assert row is not None
    assert (row.act, row.area_id, row.restriction, row.payload) == (
        "grant.given", item.area_id, "protected", {"names": ["가", "나"]},
    )  # fmt: skip
    assert row.digest == item.digest


def test_two_entries_of_the_same_words_have_nothing_in_common() -> None:
    first, second = entries.entry(None, "user.added", login="a"), entries.entry(None, "user.added", login="a")
    assert first.payload == second.payload
    assert first.digest != second.digest
    assert first.salt != second.salt


async def test_every_entry_becomes_a_leaf_of_the_tree_and_erasure_keeps_it(
    databases: Databases, empty_database_url: str
) -> None:
    name = empty_database_url.partition("?")[0].rpartition("/")[2]
    async with db.connect(empty_database_url) as base:
        before = await state(base)
        assert before[:2] == (0, [])
        for count in (1, 2, 20, 9):
            await written(base, *(entries.entry(None, "test.done", number=number) for number in range(count)))
            await number_all(base)
        size, frontier, rows = await state(base)
        assert size == 32
        assert [row["position"] for row in rows] == list(range(1, 33))
        data = [entries.leaf_data(row) for row in rows]
        assert [row["leaf_hash"] for row in rows] == [verify.leaf_hash(one) for one in data]
        assert verify.Tree(len(data), frontier).root() == definition(data)

        superuser = await databases.superuser(name)
        try:
            erased = [
                await superuser.fetchval("SELECT audit_erase($1, $2)", row["id"], row["at"])
                for row in (rows[4], rows[4])
            ]
        finally:
            await superuser.close()
        assert erased == [True, False]
        after_size, after_frontier, after = await state(base)
        assert (after_size, after_frontier) == (size, frontier)
        assert (after[4]["payload"], after[4]["salt"]) == (None, None)
        assert after[4]["digest"] == rows[4]["digest"]
        assert [entries.leaf_data(row) for row in after] == data
        assert after[3] == rows[3]


async def state(database: Database) -> tuple[int, list[bytes], list[asyncpg.Record]]:
    async with database.bare.acquire() as connection:
        head = await connection.fetchrow("SELECT position, frontier FROM ledger_heads WHERE ledger = 'audit'")
        return head["position"], head["frontier"], await connection.fetch(STORED)


@pytest.mark.parametrize(
    "changed",
    [
        {"act": "view.closed"}, {"outcome": "failed"}, {"camera_id": new_id()}, {"camera_id": None}, {"agency_id": new_id()},
        {"owner_agency_id": new_id()}, {"area_id": new_id()}, {"subject_id": new_id()}, {"subject_kind": "user"},
        {"restriction": "x"}, {"digest": b"\0" * 32}, {"id": new_id()}, {"at": datetime(2026, 1, 1, 1, tzinfo=UTC)},
        {"late_from": datetime(2026, 1, 1, tzinfo=UTC)},
    ],
)  # fmt: skip
def test_a_leaf_changes_with_every_field_of_the_header(changed: dict[str, Any]) -> None:
    row = {
        "id": new_id(), "at": datetime(2026, 1, 1, tzinfo=UTC), "act": "view.opened", "outcome": "done",
        "agency_id": None, "owner_agency_id": None, "camera_id": new_id(), "area_id": None, "subject_kind": "grant",
        "subject_id": new_id(), "restriction": "", "late_from": None, "digest": b"1" * 32, "payload": "a",
    }  # fmt: skip
    assert entries.leaf_data(row | changed) != entries.leaf_data(row)
    assert entries.leaf_data(row | {"payload": None}) == entries.leaf_data(row)


async def read(database: Database, who: Actor, **filters: Any) -> Sequence[Any]:
    async with database.begin() as session:
        return await entries.search(session, who, limit=100, **filters)


@pytest.mark.parametrize("role", ROLES)
async def test_an_auditor_reads_the_own_house_and_those_below_and_others_their_own_acts(
    database: Database, role: str
) -> None:
    city = await factories.agency(database, "city")
    district = await factories.agency(database, "municipality", city)
    center = await factories.agency(database, "center", district)
    stranger = await factories.agency(database)
    reader = await actor(database, city, role)
    act = factories.name("act")
    doers = {agency_id: await actor(database, agency_id) for agency_id in (city, district, center, stranger)}
    for doer in (*doers.values(), reader):
        await written(database, entries.entry(doer, act))
    await written(database, entries.entry(doers[stranger], act, owner_agency_id=district))
    await written(database, entries.entry(None, act))
    found = [row["payload"].get("login") for row in await read(database, reader, act=act)]
    own = [reader.login]
    house = [doers[city].login, doers[district].login, doers[center].login, doers[stranger].login, *own]
    assert sorted(found) == sorted(house if "read_audit" in ROLES[role] else own)


async def test_entries_are_found_by_act_camera_subject_person_and_time(database: Database) -> None:
    district = await factories.agency(database)
    auditor, operator = await actor(database, district, "auditor"), await actor(database, district)
    camera_id, grant_id = new_id(), new_id()
    (first,) = await written(
        database, entries.entry(operator, "grant.given", camera_id=camera_id, subject=("grant", grant_id))
    )
    (second,) = await written(database, entries.entry(operator, "view.opened", camera_id=camera_id))
    (third,) = await written(database, entries.entry(auditor, "view.opened"))

    async def found(**filters: Any) -> list[UUID]:
        ids = [row["id"] for row in await read(database, auditor, **filters)]
        return [one for one in ids if one in (first, second, third)]

    async with database.begin() as session:
        at = await session.scalar(select(AuditEntry.at).where(AuditEntry.id == second))
    assert at is not None
    moment = timedelta(microseconds=1)
    assert await found() == [third, second, first]  # newest first
    assert await found(act="grant.given") == [first]
    assert await found(camera_id=camera_id) == [second, first]
    assert await found(subject_id=grant_id) == [first]
    assert await found(user_id=operator.user_id) == [second, first]
    assert await found(since=at) == [third, second]
    assert await found(since=at + moment) == [third]
    assert await found(until=at) == [first]
    assert await found(until=at + moment) == [second, first]
    assert await found(before=(at, second)) == [first]
    with pytest.raises(NotPermitted):
        await read(database, operator, user_id=auditor.user_id)
    assert len(await read(database, operator, user_id=operator.user_id, camera_id=camera_id)) == 2


async def test_reading_is_an_entry_of_its_own(client: httpx.AsyncClient, database: Database) -> None:
    district = await factories.agency(database)
    auditor = await factories.person(database, district, "auditor")
    as_auditor = await factories.sign_in(client, auditor)
    camera_id = str(new_id())
    first = await client.get("/v1/audit/entries", params={"camera_id": camera_id}, headers=as_auditor)
    assert first.json() == {"items": [], "next_cursor": None}
    assert first.headers["cache-control"] == "no-store"
    again = await client.get("/v1/audit/entries", params={"act": "audit.read"}, headers=as_auditor)
    (item,) = again.json()["items"]
    assert item["who_and_why"]["login"] == auditor.login
    assert item["who_and_why"]["by_camera_id"] == camera_id
    assert item["who_and_why"]["found"] == 0
    assert set(item) == {
        "id", "at", "late_from", "position", "act", "outcome", "camera_id", "agency_id", "owner_agency_id", "subject", "who_and_why",
        "digest", "restriction", "withheld",
    }  # fmt: skip


async def test_an_erased_entry_is_still_listed_without_its_person(
    client: httpx.AsyncClient, database: Database, databases: Databases
) -> None:
    district = await factories.agency(database)
    as_auditor = await factories.sign_in(client, await factories.person(database, district, "auditor"))
    (entry_id,) = await written(database, entries.entry(await actor(database, district), "view.opened"))
    async with database.begin() as session:
        name = await session.scalar(select(func.current_database()))
        at = await session.scalar(select(AuditEntry.at).where(AuditEntry.id == entry_id))
    superuser = await databases.superuser(str(name))
    await superuser.execute("SELECT audit_erase($1, $2)", entry_id, at)
    await superuser.close()
    listed = await client.get("/v1/audit/entries", params={"act": "view.opened"}, headers=as_auditor)
    assert [(item["id"], item["who_and_why"]) for item in listed.json()["items"]] == [(str(entry_id), None)]


async def test_an_entry_of_a_transaction_that_failed_does_not_exist(database: Database) -> None:
    item = entries.entry(None, "test.failed")

    async def fail() -> None:
        async with database.begin() as session:
            await entries.append(session, item)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    await number_all(database)
    async with database.begin() as session:
        assert await session.scalar(select(AuditEntry.id).where(AuditEntry.id == item.id)) is None
        assert await session.scalar(select(AuditLeaf.id).where(AuditLeaf.id == item.id)) is None


@pytest.mark.parametrize(
    ("text", "kept"),
    [("a\0b\0\0", "a�b��"), ("\\u0000", "\\u0000"), ("\\\0", "\\�"), ("\\\\\0\\u0000", "\\\\�\\u0000")],
)
async def test_whatever_is_said_the_entry_can_be_stored(database: Database, text: str, kept: str) -> None:
    item = entries.entry(None, "test.done", said=text, **{text: 1})
    await written(database, item)
    async with database.begin() as session:
        row = await session.scalar(select(AuditEntry).where(AuditEntry.id == item.id))
    assert row is not None
    assert row.payload == {"said": kept, kept: 1}
    assert row.digest == sha256(item.salt + item.payload.encode()).digest()


def test_an_act_of_the_system_can_be_put_down_to_a_body() -> None:
    item = entries.entry(None, "view.closed")
    body = new_id()
    assert item.agency_id is None
    assert entries.of_body(item, body).agency_id == body
    assert entries.of_body(item, body).digest == item.digest
