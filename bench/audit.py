"""What the proof costs: a log verified offline beside a naive loop, an entry appended to a small log and to a large
one, and how many statements a proof takes.

The naive loop splits each line, reads the header's JSON, hashes leaf and contents and then the tree, level by level: it
compares nothing, and no checker can do less. Appending is one transaction for twenty entries and the numbering of
them; its cost is the processor time of this process and of PostgreSQL. The large log is filled by SQL.

`python -m bench.audit --entries 10000000` is the full size: some twenty minutes and 12 GB, nearly all of it filling.
"""

import argparse
import asyncio
import base64
import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any
from uuid import uuid4

import asyncpg

from app import clock, ledger
from app.actor import Actor
from app.audit import entries, verify
from app.audit.checkpoints import Notary
from app.audit.verify import EXPORT, LEAF_PREFIX, Checkpoint, Key
from app.database import Database, connect
from app.keys import Keys
from app.ledger import Sequencer
from bench.scene import Clock, Scene, conclude, home, name_of, scene, table, turns

ROUNDS, APPENDED, TOGETHER, CHUNK = 5, 2000, 20, 500_000
ORIGIN = "bench.example/audit"
KEYS = Keys(b"a key of the bench, 32 bytes long")

_FILL = """
WITH made AS (
    SELECT i, (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint), 12, '0') || '7' || substr(md5(i::text), 14, 3)
        || '8' || substr(md5(i::text), 18, 15))::uuid AS id,
        date_trunc('month', now()) + (now() - date_trunc('month', now())) * (i / $3::float) AS at
    FROM generate_series($1::int, $2::int) i
), written AS (
    INSERT INTO audit_entries (id, at, act, outcome, agency_id, owner_agency_id, camera_id, subject_kind, subject_id,
        digest, payload, salt)
    SELECT id, at, 'grant.given', 'done', md5('agency')::uuid, md5('owner')::uuid, md5((i % 4000)::text)::uuid, 'grant',
        id, sha256(id::text::bytea), json_build_object('address', '203.0.113.5', 'login', 'officer-' || i % 1000,
        'purpose', 'emergency_response', 'basis', 'KR-PIPA-18-2-3', 'user_id', md5('officer' || i % 1000)::uuid),
        sha256(i::text::bytea) FROM made
)
INSERT INTO audit_leaves (position, id, at, leaf_hash) SELECT i, id, at, sha256(id::text::bytea) FROM made
"""
_NODES = """
INSERT INTO audit_nodes SELECT $1::int, i, sha256(i::text::bytea) FROM generate_series(0, ($2::bigint >> $1::int) - 1) i
"""


def made(count: int) -> entries.Entry:
    """An entry as a grant makes it."""
    who = Actor(
        user_id=uuid4(), login=f"officer-{count % 1000}", role="room", appointment_id=uuid4(), agency_id=uuid4(),
        agency_name="", body_id=uuid4(), acts_for_ids=(), session_id=uuid4(), expires_at=clock.now(),
        address="203.0.113.5",
    )  # fmt: skip
    return entries.entry(
        who, "grant.given", camera_id=uuid4(), owner_agency_id=uuid4(), subject=("grant", uuid4()),
        purpose="emergency_response", basis="KR-PIPA-18-2-3", references=[{"kind": "112", "number": "2026-1123"}],
    )  # fmt: skip


# Offline


def write_export(path: Path, count: int) -> Key:
    """A signed export of so many entries, of a thousand different kinds of header."""
    notary = Notary(None, KEYS, ORIGIN)  # type: ignore[arg-type] - it only signs
    rows = [{name: getattr(one, name) for name in entries.Entry.__slots__} for one in map(made, range(1000))]
    tree = verify.Tree()
    with path.open("wb") as file:
        file.write(f"{EXPORT}\n{ORIGIN}\n\n".encode())
        for number in range(count):
            row = rows[number % 1000] | {"at": clock.now(), "late_from": None}
            data = entries.leaf_data(row)
            tree.extend([verify.leaf_hash(data)])
            file.write(
                b"%b\t%b\t%b\n" % (data.removeprefix(LEAF_PREFIX), row["salt"].hex().encode(), row["payload"].encode())
            )
        file.write(b"\n" + notary.sign(Checkpoint(ORIGIN, count, tree.root()).text).encode())
    return notary.key


def naive(lines: Iterator[bytes]) -> bytes:
    """Parse and hash, and nothing else."""
    for _ in range(3):
        next(lines)
    level = []
    for line in lines:
        if line == b"\n":
            break
        header, salt, payload = line.rstrip(b"\n").split(b"\t")
        json.loads(header)
        level.append(sha256(b"\x00" + LEAF_PREFIX + header).digest())
        sha256(bytes.fromhex(salt.decode()) + payload).digest()
    while len(level) > 1:
        above = [sha256(b"\x01" + level[at] + level[at + 1]).digest() for at in range(0, len(level) - 1, 2)]
        level = above if len(level) % 2 == 0 else [*above, level[-1]]
    return level[0]


def offline(leaves: int, rounds: int) -> float:
    """The verifier's processor time as a multiple of the naive loop's."""
    with home() as folder:
        path = folder / "log.export"
        key = write_export(path, leaves)

        def verified() -> None:
            with path.open("rb") as file:
                verify.check_export(iter(file), key, [], [], [])

        def looped() -> None:
            with path.open("rb") as file:
                root = naive(iter(file))
            assert base64.b64encode(root).decode() in path.open("rb").read()[-400:].decode(errors="replace")

        contenders: dict[str, Callable[[], None]] = {"naive loop": looped, "gwanje-audit": verified}
        took: dict[str, list[float]] = {name: [] for name in contenders}
        for order in turns(rounds, list(contenders)):
            for name in order:
                began = process_time()
                contenders[name]()
                took[name].append(process_time() - began)
    medians = {name: median(seconds) for name, seconds in took.items()}
    table(
        f"{leaves:,} entries verified offline", ("", "µs an entry", "times"),
        [(name, 1e6 * seconds / leaves, seconds / medians["naive loop"]) for name, seconds in medians.items()],
    )  # fmt: skip
    return medians["gwanje-audit"] / medians["naive loop"]


# Appending


async def fill(owner: asyncpg.Connection, count: int) -> None:
    """A log of that size; the hashes are any, which costs the same."""
    for first in range(1, count + 1, CHUNK):
        await owner.execute(_FILL, first, min(count, first + CHUNK - 1), float(count))
    for level in (8, 16, 24):
        await owner.execute(_NODES, level, count)
    frontier = [secrets.token_bytes(32) for _ in range(count.bit_count())]
    await owner.execute("UPDATE ledger_heads SET position = $1, frontier = $2 WHERE ledger = 'audit'", count, frontier)
    await owner.execute("VACUUM (ANALYZE) audit_entries, audit_leaves, audit_nodes")


async def append(place: Scene, base: Database) -> float:
    """Processor seconds for an entry, numbered."""
    items = [made(number) for number in range(APPENDED)]
    with Clock(place) as clocked:
        for first in range(0, APPENDED, TOGETHER):
            async with base.begin() as session:
                for one in items[first : first + TOGETHER]:
                    await entries.append(session, one)
            await Sequencer(base, ledger.AUDIT, entries.grow_tree).catch_up()
    return (clocked.app_cpu + clocked.postgres_cpu) / APPENDED


async def statements(base: Database) -> dict[str, int]:
    """How many statements proofs take, as asyncpg counts them."""
    notary = Notary(base, KEYS, ORIGIN)
    asked: list[str] = []
    found = {}
    async with base.bare.acquire() as connection:
        size = await connection.fetchval("SELECT position FROM ledger_heads WHERE ledger = 'audit'")
        entry_id = await connection.fetchval("SELECT id FROM audit_leaves WHERE position = $1", size // 3 + 1)
        await notary.publish(connection)
        connection.add_query_logger(lambda record: asked.append(record.query))
        await notary.proof(connection, entry_id)
        found["inclusion"] = len(asked)
        asked.clear()
        await notary.consistency(connection, size // 3, size)
        found["consistency"] = len(asked)
    return found


async def online(place: Scene, count: int, rounds: int) -> dict[str, float]:
    async with AsyncExitStack() as stack:
        bases: dict[str, Database] = {}
        for name, size in (("empty", 0), (f"{count:,}", count)):
            url = await stack.enter_async_context(place.database())
            owner = await place.databases.superuser(name_of(url))
            if size:
                await fill(owner, size)
            await owner.close()
            bases[name] = await stack.enter_async_context(connect(url, pool_size=2))
        took: dict[str, list[float]] = {name: [] for name in bases}
        for base in bases.values():
            await append(place, base)  # warm
        for order in turns(rounds, list(bases)):
            for name in order:
                took[name].append(await append(place, bases[name]))
        medians = {name: median(seconds) for name, seconds in took.items()}
        small, large = medians.values()
        table(
            "an entry appended and numbered, to a log of", ("entries", "CPU µs", "times"),
            [(name, 1e6 * seconds, seconds / small) for name, seconds in medians.items()],
        )  # fmt: skip
        counted = {name: await statements(base) for name, base in bases.items()}
        table(
            "statements of a proof, in a log of", ("entries", "inclusion", "consistency"),
            [(name, found["inclusion"], found["consistency"]) for name, found in counted.items()],
        )  # fmt: skip
        few, many = counted.values()
        assert few == many, "a proof takes as many statements however large the log is"
    return {"append, large to empty": large / small, "statements of an inclusion": float(many["inclusion"])}


def main(arguments: Any = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--leaves", type=int, default=1_000_000, help="verified offline")
    parser.add_argument("--entries", type=int, default=1_000_000, help="of the large log")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args(arguments)
    ratios = {"verify to naive": offline(given.leaves, given.rounds)}
    if given.entries:
        with scene() as place:
            ratios |= asyncio.run(online(place, given.entries, given.rounds))
    conclude("audit", ratios, given.rounds)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONHASHSEED", "0")
    main()
