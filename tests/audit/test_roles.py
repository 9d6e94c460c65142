"""What the application's role may do to the ledgers: append. The owner's functions are the only other way."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import uuid4

import asyncpg
import pytest

from app import database as db
from app.database import APP_ROLE
from app.ids import new_id
from tests.conftest import Databases

INSERT_ENTRY = (
    "INSERT INTO audit_entries (id, act, outcome, digest) VALUES ($1, 'test.done', 'done', '\\x00') RETURNING at"
)
INSERT_EVENT = (
    "INSERT INTO events (id, occurred_at, kind, source, severity, owner_agency_id)"
    " VALUES ($1, now(), 'bell.tested', 'test', 0, $1) RETURNING at"
)
LEDGERS = (
    "audit_entries",
    "audit_leaves",
    "audit_pending",
    "audit_checkpoints",
    "events",
    "event_positions",
    "ledger_heads",
)


async def fill(app: asyncpg.Connection) -> str:
    """One row in everything; returns the month of the partitions that hold them."""
    entry_id = new_id()
    at: datetime = await app.fetchval(INSERT_ENTRY, entry_id)
    await app.execute("INSERT INTO audit_pending (id) VALUES ($1)", entry_id)
    await app.fetchval("SELECT ledger_number('audit', $1, $2, $2)", [entry_id], [b"1" * 32])
    event_id = new_id()
    await app.execute(INSERT_EVENT, event_id)
    await app.execute("INSERT INTO event_pending (id) VALUES ($1)", event_id)
    await app.fetchval("SELECT ledger_number('events', $1, '{}', '{}')", [event_id])
    await app.execute("INSERT INTO audit_pending (id) VALUES ($1)", new_id())
    await app.execute(
        "INSERT INTO audit_checkpoints (origin, size, root, note, algorithm, key_id) VALUES ('o', 1, '\\x00', '', '', '')"
    )
    return at.astimezone(UTC).strftime("%Y%m")


@pytest.fixture(scope="module")
async def name(databases: Databases) -> AsyncIterator[str]:
    """A database for the tests of this file, which change nothing in it."""
    made = f"roles_{uuid4().hex[:12]}"
    await databases.create(made)
    yield made
    await databases.drop(made)


@pytest.fixture(scope="module")
async def app(databases: Databases, name: str) -> AsyncIterator[asyncpg.Connection]:
    """As the service itself is connected: its pool sets the role."""
    async with db.connect(databases.url(name)) as base, base.bare.acquire() as connection:
        assert await connection.fetchval("SELECT current_user") == APP_ROLE
        yield connection


@pytest.fixture(scope="module")
async def filled(app: asyncpg.Connection) -> str:
    return await fill(app)


@pytest.mark.parametrize(
    "statement",
    [
        *(f"TRUNCATE {table}" for table in LEDGERS),
        *(f"DELETE FROM {table}" for table in LEDGERS),
        "UPDATE audit_entries SET act = 'test.undone'",
        "UPDATE audit_entries SET payload = NULL, salt = NULL",
        "UPDATE audit_entries SET at = at - interval '1 day'",
        "UPDATE audit_leaves SET leaf_hash = '\\x00'",
        "UPDATE audit_leaves SET position = position + 1",
        "UPDATE audit_pending SET urgency = 4",
        "UPDATE audit_checkpoints SET note = 'another'",
        "UPDATE ledger_heads SET position = 0",
        "UPDATE ledger_heads SET epoch = epoch + 1",
        "UPDATE events SET severity = 0",
        "UPDATE event_positions SET position = 7",
        "UPDATE event_verdicts SET note = ''",
        "UPDATE event_keys SET event_id = gen_random_uuid()",
        "INSERT INTO audit_leaves (position, id, at, leaf_hash) VALUES (9, gen_random_uuid(), now(), '\\x00')",
        "INSERT INTO event_positions (position, id, at) VALUES (9, gen_random_uuid(), now())",
        "INSERT INTO ledger_heads (ledger, epoch) VALUES ('third', 1)",
        "SELECT * FROM ledger_heads FOR UPDATE",
        "SELECT * FROM audit_entries_of_{month}",
        "INSERT INTO audit_entries_of_{month} (id, act, outcome, digest) VALUES (gen_random_uuid(), '', '', '\\x00')",
        "UPDATE audit_entries_of_{month} SET act = 'test.undone'",
        "DELETE FROM audit_entries_of_{month}",
        "TRUNCATE audit_entries_of_{month}",
        "DROP TABLE audit_entries_of_{month}",
        "ALTER TABLE audit_entries DETACH PARTITION audit_entries_of_{month}",
        "UPDATE events_of_{month} SET severity = 0",
        "DELETE FROM events_of_{month}",
        "DELETE FROM grants_of_{month}",
        "UPDATE grants_of_{month} SET user_id = gen_random_uuid()",
        "DELETE FROM views_of_{month}",
        "DELETE FROM audit_entries_of_rest",
        "DELETE FROM grants",
        "DELETE FROM views",
        "DELETE FROM users",
        "DELETE FROM sessions",
        "SELECT audit_erase(id, at) FROM audit_entries",
        "ALTER TABLE audit_entries ADD COLUMN more text",
        "ALTER TABLE audit_entries DISABLE TRIGGER ALL",
        "ALTER TABLE audit_entries OWNER TO gwanje_app",
        "DROP TABLE audit_entries",
        "DROP FUNCTION audit_erase",
        "CREATE OR REPLACE FUNCTION ledger_lock(which text) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TABLE public.own (id int)",
        "CREATE RULE quiet AS ON INSERT TO audit_entries DO INSTEAD NOTHING",
        "SET session_replication_role = replica",
        "COPY audit_entries TO PROGRAM 'cat'",
    ],
)
async def test_the_applications_role_is_refused(app: asyncpg.Connection, filled: str, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with app.transaction():
            await app.execute(statement.format(month=filled))


async def test_it_appends_and_reads_and_numbers(app: asyncpg.Connection, filled: str) -> None:
    for table in LEDGERS:
        assert await app.fetchval(f"SELECT count(*) FROM {table}") >= 1
    assert await app.fetchval("SELECT position FROM ledger_heads WHERE ledger = 'audit'") == 1
    assert await app.fetchval("SELECT make_partitions(3)") == 0


async def test_what_was_never_appended_gets_no_number(app: asyncpg.Connection, filled: str) -> None:
    for which in ("audit", "events"):
        with pytest.raises(asyncpg.RaiseError, match="0 of 1 rows were pending"):
            await app.execute("SELECT ledger_number($1, $2, $3, $3)", which, [new_id()], [b"1" * 32])
    with pytest.raises(asyncpg.NoDataFoundError):
        await app.execute("SELECT ledger_number('third', $1, $2, $2)", [new_id()], [b"1" * 32])


async def test_the_superuser_can_so_the_refusals_come_from_the_rights(
    databases: Databases, empty_database_url: str
) -> None:
    """The positive control: each of these statements works for who may."""
    superuser = await databases.superuser(empty_database_url.partition("?")[0].rpartition("/")[2])
    async with db.connect(empty_database_url) as base, base.bare.acquire() as app:
        month = await fill(app)
        for statement in (
            "SELECT audit_erase(id, at) FROM audit_entries",
            f"UPDATE audit_entries_of_{month} SET act = 'test.undone'",
            "UPDATE ledger_heads SET position = 0",
            "UPDATE audit_leaves SET leaf_hash = '\\x00'",
            "DELETE FROM audit_leaves",
            f"DELETE FROM events_of_{month}",
            "TRUNCATE audit_entries CASCADE",
            "CREATE RULE quiet AS ON INSERT TO audit_entries DO INSTEAD NOTHING",
        ):
            await superuser.execute(statement)
        await superuser.close()
        assert await app.fetchval("SELECT count(*) FROM audit_entries") == 0


async def test_every_month_to_come_has_its_partitions_closed_to_the_application(
    databases: Databases, empty_database_url: str
) -> None:
    superuser = await databases.superuser(empty_database_url.partition("?")[0].rpartition("/")[2])
    async with db.connect(empty_database_url) as base, base.bare.acquire() as app:
        assert await app.fetchval("SELECT make_partitions(6)") == 4 * 3
    partitions = await superuser.fetch(
        "SELECT c.relname AS name, has_table_privilege('gwanje_app', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE') AS open"
        " FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE c.relkind = 'r'"
    )
    references = await superuser.fetch(
        "SELECT k.conrelid::regclass::text AS of, k.confrelid::regclass::text AS to, k.convalidated AS holds"
        " FROM pg_constraint k JOIN pg_inherits i ON i.inhrelid = k.confrelid"
        " WHERE k.contype = 'f' AND i.inhparent = 'audit_entries'::regclass"
    )
    await superuser.close()
    assert len(partitions) == 4 * (7 + 1)
    assert [row["name"] for row in partitions if row["open"]] == []
    for table in ("grants", "views"):  # none stands without its entry, which is of the same month
        months = {row["name"].removeprefix(table) for row in partitions if row["name"].startswith(table)}
        found = {(row["of"], row["to"], row["holds"]) for row in references if row["of"].startswith(table)}
        assert found == {(table + month, f"audit_entries{month}", True) for month in months}
