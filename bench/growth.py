"""What a grant costs as the house grows: 4,000 against 700,000 cameras, no history against millions of rows.

A grant is `grants.give` through the batch writer, sixteen at once, each for a camera drawn at random; its cost is the
processor time of this process and of PostgreSQL. What comes after it, the numbering of its entry as a leaf of the tree,
is shown apart. History is as many rows in each of audit_entries, audit_leaves and grants, all of them in this month's
partitions, which is the worst that can happen to whoever writes into these partitions now.

`python -m bench.growth --rows 5000000` is the full size: some twenty minutes and 17 GB, nearly all of it filling.
"""

import argparse
import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from random import Random
from statistics import median
from time import perf_counter
from typing import Any
from uuid import UUID

import asyncpg

from app import ledger
from app.actor import Actor
from app.audit import entries
from app.database import Database, connect
from app.ledger import Sequencer
from app.streams import grants
from app.streams.writer import Given, Writer
from bench.scene import Clock, Scene, conclude, name_of, scene, table, turns
from tests import factories
from tests.actors import actor_of

FEW, MANY, DISTRICTS, OFFICERS = 4_000, 700_000, 25, 1_000
GRANTS, AT_ONCE, ROUNDS, CHUNK = 1_000, 16, 5, 500_000
ASKED = {"purpose": "emergency_response", "basis": "KR-PIPA-18-2-3"}

# An id in the form of ours (UUIDv7) for a moment and a text, the same each time.
_ID = """(lpad(to_hex((extract(epoch FROM {at}) * 1000)::bigint), 12, '0') || '7' || substr(md5({text}), 14, 3)
    || '8' || substr(md5({text}), 18, 15))::uuid"""
_CAMERAS = f"""
WITH made AS (
    SELECT i, {_ID.format(at="now()", text="'site' || i")} AS site,
        {_ID.format(at="now()", text="'camera' || i")} AS id,
        ($1::uuid[])[1 + i % cardinality($1::uuid[])] AS owner
    FROM generate_series(1, $2::int) i
), sited AS (
    INSERT INTO sites (id, owner_agency_id, external_key, road_address)
    SELECT site, owner, 'bench:' || i, '별빛로 ' || i FROM made
), placed AS (
    INSERT INTO camera_positions (id, site_id, ordinal, name, owner_agency_id, latitude, longitude,
        installation_purposes, has_stream)
    SELECT id, site, 1, 'CAM ' || i, owner, 37.4 + random() * 0.3, 126.8 + random() * 0.4, '{{crime_prevention}}', true
    FROM made
)
INSERT INTO stream_sources (id, position_id, address_sealed, key_id)
SELECT {_ID.format(at="now()", text="'source' || i")}, id, sha256(id::text::bytea), 'bench' FROM made
"""
# Grant number i of n, as it was given at a moment of this month.
_PAST = f"""
WITH past AS (
    SELECT i, {_ID.format(at="at", text="'entry' || i")} AS entry, {_ID.format(at="at", text="'grant' || i")} AS id, at,
        c.id AS camera, c.owner, md5('officer' || i % {OFFICERS})::uuid AS officer
    FROM (SELECT i, date_trunc('month', now()) + (now() - date_trunc('month', now())) * (i / $3::float) AS at
        FROM generate_series($1::int, $2::int) i) m
    JOIN bench_cameras c ON c.n = i::bigint * 7919 % (SELECT count(*) FROM bench_cameras)
), written AS (
    INSERT INTO audit_entries (id, at, act, outcome, agency_id, owner_agency_id, camera_id, subject_kind, subject_id,
        digest, payload, salt)
    SELECT entry, at, 'grant.given', 'done', $4::uuid, owner, camera, 'grant', id, sha256(entry::text::bytea),
        json_build_object('address', '203.0.113.5', 'agency_id', $4::uuid, 'appointment_id', officer, 'basis', $5::text,
            'kind', 'emergency', 'login', 'officer-' || i % {OFFICERS}, 'purpose', $6::text, 'role', 'room',
            'session_id', officer, 'user_id', officer),
        sha256(id::text::bytea) FROM past
), numbered AS (
    INSERT INTO audit_leaves (position, id, at, leaf_hash) SELECT i, entry, at, sha256(entry::text::bytea) FROM past
)
INSERT INTO grants (id, at, entry_id, kind, user_id, appointment_id, agency_id, session_id, owner_agency_id, camera_ids,
    use_purpose, basis, protocols, expires_at, latest_expires_at)
SELECT id, at, entry, 'emergency', officer, officer, $4::uuid, officer, owner, ARRAY[camera], $6::text, $5::text,
    '{{fmp4,hls}}', at + interval '10 minutes', at + interval '1 hour' FROM past
"""


@dataclass(frozen=True)
class House:
    """A database of some size, with somebody who asks for its cameras."""

    title: str
    database: Database
    superuser: asyncpg.Connection
    writer: Writer
    sequencer: Sequencer
    actor: Actor
    cameras: Sequence[UUID]

    async def give(self, camera_id: UUID) -> None:
        request = grants.Request(camera_ids=[camera_id], **ASKED)
        given = await grants.give(self.database, self.writer, self.actor, request, seconds=600)
        assert isinstance(given[0], Given), given


@dataclass(frozen=True)
class Cost:
    """Microseconds of processor time for each grant."""

    app: float
    postgres: float
    numbering: float
    """Of both together, for the leaf of its entry."""
    seconds: float

    @property
    def grant(self) -> float:
        return self.app + self.postgres


async def _fill_cameras(bare: asyncpg.Connection, owners: Sequence[UUID], count: int) -> None:
    await bare.execute(_CAMERAS, list(owners), count)
    await bare.execute(
        "CREATE TABLE bench_cameras AS SELECT row_number() OVER (ORDER BY id) - 1 AS n, id, owner_agency_id AS owner"
        " FROM camera_positions"
    )
    await bare.execute("ALTER TABLE bench_cameras ADD PRIMARY KEY (n)")


async def _fill_past(bare: asyncpg.Connection, police: UUID, rows: int) -> None:
    """Entries, leaves and grants; the ledger's head stands behind the last of them."""
    if not rows:
        return
    for start in range(1, rows + 1, CHUNK):
        last = min(start + CHUNK - 1, rows)
        await bare.execute(_PAST, start, last, rows, police, ASKED["basis"], ASKED["purpose"])
        print(f"  {last:,} rows of history", flush=True)
    frontier = [secrets.token_bytes(32) for _ in range(rows.bit_count())]  # a root for each full subtree
    await bare.execute("UPDATE ledger_heads SET position = $1, frontier = $2 WHERE ledger = 'audit'", rows, frontier)


async def _filled(place: Scene, stack: AsyncExitStack, title: str, cameras: int, rows: int) -> House:
    began = perf_counter()
    url = await stack.enter_async_context(place.database())
    database = await stack.enter_async_context(connect(url))
    owners = [await factories.agency(database) for _ in range(DISTRICTS)]
    police = await factories.agency(database, "police")
    for owner in owners:
        await factories.agreement(database, owner, police, use_purposes=(ASKED["purpose"],))
    officer = await factories.person(database, police, "room")
    bare = await place.databases.superuser(name_of(url))
    stack.push_async_callback(bare.close)
    # The past's officers exist in their numbers only: what refers to them is not checked while it is filled in.
    await bare.execute("SET session_replication_role = replica; SET synchronous_commit = off; SET jit = off")
    await _fill_cameras(bare, owners, cameras)
    await _fill_past(bare, police, rows)
    await bare.execute("VACUUM (ANALYZE)")
    await bare.execute("CHECKPOINT")
    size = await bare.fetchval("SELECT pg_size_pretty(pg_database_size(current_database()))")
    print(f"{title}: filled in {perf_counter() - began:.0f} s, {size}", flush=True)
    known = [row["id"] for row in await bare.fetch("SELECT id FROM bench_cameras ORDER BY n")]
    writer = Writer(database, lambda: None)
    stack.callback(asyncio.create_task(writer.run()).cancel)
    sequencer = Sequencer(database, ledger.AUDIT, entries.grow_tree)
    return House(title, database, bare, writer, sequencer, await actor_of(database, officer), known)


@asynccontextmanager
async def _houses(place: Scene, rows: int) -> AsyncIterator[list[House]]:
    async with AsyncExitStack() as stack:
        superuser = await place.databases.superuser("postgres")
        # What autovacuum does meanwhile would be counted for whoever runs at that moment.
        await superuser.execute("ALTER SYSTEM SET autovacuum = off")
        await superuser.execute("SELECT pg_reload_conf()")
        await superuser.close()
        plans = [(FEW, 0), (MANY, 0), (FEW, rows), (MANY, rows)]
        yield [await _filled(place, stack, f"{few:,} cameras, {past:,} rows", few, past) for few, past in plans]


async def _at_once(count: int, one: Callable[[int], Awaitable[None]]) -> None:
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await one(number)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


async def _cost(place: Scene, house: House, random: Random) -> Cost:
    asked = [random.choice(house.cameras) for _ in range(GRANTS)]
    with Clock(place) as giving:
        await _at_once(GRANTS, lambda number: house.give(asked[number]))
    with Clock(place) as numbering:
        numbered = await house.sequencer.catch_up()
    assert numbered >= GRANTS, numbered
    await house.superuser.execute("VACUUM audit_pending")
    per_grant = 1e6 / GRANTS
    return Cost(
        giving.app_cpu * per_grant, giving.postgres_cpu * per_grant,
        (numbering.app_cpu + numbering.postgres_cpu) * 1e6 / numbered, giving.seconds,
    )  # fmt: skip


def _report(took: dict[str, list[Cost]], rows: int) -> None:
    def of(title: str, what: Callable[[Cost], float]) -> float:
        return median(what(cost) for cost in took[title])

    first, many, past, both = took
    grant = {title: of(title, lambda cost: cost.grant) for title in took}
    numbering = {title: of(title, lambda cost: cost.numbering) for title in took}
    lines: list[list[Any]] = [
        [title, of(title, lambda cost: cost.app), of(title, lambda cost: cost.postgres), grant[title],
         grant[title] / grant[first], GRANTS / of(title, lambda cost: cost.seconds), numbering[title],
         numbering[title] / numbering[first]]
        for title in took
    ]  # fmt: skip
    head = ("house", "app µs", "PostgreSQL µs", "a grant", "× first", "grants/s", "numbering µs", "× first")
    table(f"processor time of a grant, {AT_ONCE} at once, medians of {ROUNDS} rounds", head, lines)
    ratios = {
        "cameras_700k_to_4k": grant[many] / grant[first],
        "history_to_none": grant[past] / grant[first],
        "both_to_neither": grant[both] / grant[first],
        "postgres_both_to_neither": of(both, lambda c: c.postgres) / of(first, lambda c: c.postgres),
        "numbering_both_to_neither": numbering[both] / numbering[first],
    }
    conclude("growth", ratios, rows)


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.growth")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of history (default: %(default)s)")
    rows = parser.parse_args().rows
    random = Random(7)
    with scene() as place:
        async with _houses(place, rows) as houses:
            known = {house.title: house for house in houses}
            took: dict[str, list[Cost]] = {title: [] for title in known}
            for house in houses:
                await _cost(place, house, random)  # caches and statements are warm
                await house.superuser.execute("ANALYZE")
            for order in turns(ROUNDS, list(known)):
                for title in order:
                    took[title].append(await _cost(place, known[title], random))
    _report(took, rows)


if __name__ == "__main__":
    asyncio.run(main())
