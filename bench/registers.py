"""A month's access log as a register: beside a bare COPY of the same query, and how far memory grows with its length.

What COPY does not do: number the rows, put codes into words, keep restricted rows back, defuse cells, compress (xlsx),
count what comes (for the bar), hash the file, write the entry. `--rows 1000000` is the full size.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from datetime import date
from pathlib import Path
from statistics import median
from time import perf_counter
from uuid import UUID

import asyncpg

from app.access.hours import KOREA
from app.clock import now
from app.database import Database, connect
from app.reports import exports, remit
from app.reports.exports import Order
from app.reports.registers import REGISTERS
from bench.scene import conclude, name_of, scene, table, turns
from tests import factories

ROUNDS, CAMERAS, OFFICERS, CHUNK = 3, 500, 200, 200_000
FORMATS = ("xlsx", "csv")
# One grant in ten entries, the others open and close views: what an access log of a busy center consists of.
_FILL = """
INSERT INTO audit_entries (id, at, act, outcome, agency_id, owner_agency_id, camera_id, subject_kind, subject_id,
    digest, payload, salt)
SELECT gen_random_uuid(), date_trunc('month', now()) + (now() - date_trunc('month', now())) * (i / $3::float),
    CASE i % 10 WHEN 0 THEN 'grant.given' ELSE CASE i % 2 WHEN 0 THEN 'view.opened' ELSE 'view.closed' END END, 'done',
    $4::uuid, $5::uuid, ($6::uuid[])[1 + i % cardinality($6::uuid[])],
    CASE i % 10 WHEN 0 THEN 'grant' ELSE 'view' END, gen_random_uuid(), sha256(i::text::bytea),
    json_build_object('address', '203.0.113.' || i % 250, 'agency_id', $4::uuid, 'appointment_id', gen_random_uuid(),
        'basis', 'KR-PIPA-18-2-3', 'grant_id', gen_random_uuid(), 'login', 'officer-' || i % $7::int,
        'purpose', 'emergency_response', 'references', json_build_array(json_build_object('kind', '112', 'number', i)),
        'role', 'room', 'session_id', gen_random_uuid(), 'user_id', gen_random_uuid()),
    sha256(i::text::bytea)
FROM generate_series($1::int, $2::int) i
"""


async def _fill(bare: asyncpg.Connection, rows: int, police: UUID, district: UUID, cameras: list[UUID]) -> None:
    await bare.execute("SET session_replication_role = replica; SET synchronous_commit = off; SET jit = off")
    for start in range(1, rows + 1, CHUNK):
        await bare.execute(_FILL, start, min(start + CHUNK - 1, rows), rows, police, district, cameras, OFFICERS)
        print(f"  {min(start + CHUNK - 1, rows):,} entries", flush=True)
    await bare.execute("VACUUM (ANALYZE)")


def resident() -> float:
    """This process's memory in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / (1 << 20)


async def _watched(work: Awaitable[int]) -> tuple[float, float, int]:
    """Seconds, the most memory meanwhile beyond what there was before, and the rows."""
    task, before, most = asyncio.ensure_future(work), resident(), 0.0
    began = perf_counter()
    while not task.done():
        await asyncio.wait([task], timeout=0.02)
        most = max(most, resident())
    return perf_counter() - began, most - before, task.result()


def _month() -> tuple[date, date]:
    today = now().astimezone(KOREA).date()
    return now().date().replace(day=1), today


async def _copied(bare: asyncpg.Connection, district: UUID) -> int:
    """The register's own query as CSV, by the database itself."""
    period = remit.period(*_month())
    query = REGISTERS["access"].query
    for name, value in (("since", period.since), ("until", period.until)):
        query = query.replace(f":{name}", f"'{value.isoformat()}'::timestamptz")
    query = query.replace(":agency_id", f"'{district}'::uuid")
    with tempfile.TemporaryFile() as file:
        said = await bare.copy_from_query(query, output=file, format="csv", timeout=600)
    return int(said.split()[1])


async def _written(database: Database, district: UUID, form: str) -> int:
    first, last = _month()
    order = Order(register="access", first=first, last=last, format=form, reason="bench", agency_id=district)
    with tempfile.TemporaryFile() as file:
        async with database.begin() as session:
            written = await exports.write(session, None, order, file, progress=lambda _rows, _total: None)
    return written.rows


async def main(rows: int) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in ("copy", *FORMATS)}
    growth: dict[tuple[str, int], float] = {}
    with scene() as place:
        for size in (rows // 10, rows):
            async with place.database() as url, connect(url) as database:
                district, police = await factories.agency(database), await factories.agency(database, "police")
                cameras = [await factories.camera(database, district) for _ in range(CAMERAS)]
                bare = await place.databases.superuser(name_of(url))
                await _fill(bare, size, police, district, cameras)
                contenders: dict[str, Callable[[], Awaitable[int]]] = {
                    "copy": lambda b=bare, d=district: _copied(b, d),
                    **{form: lambda f=form, base=database, d=district: _written(base, d, f) for form in FORMATS},
                }
                for order in turns(ROUNDS if size == rows else 1, list(contenders)):
                    for name in order:
                        took, grown, found = await _watched(contenders[name]())
                        assert found >= size, (name, found)
                        if size == rows:
                            seconds[name].append(took)
                        growth[name, size] = max(growth.get((name, size), 0.0), grown)
                await bare.close()
    table(
        f"an access log of {rows:,} rows",
        ("written by", "seconds", "rows/s", "MiB beyond, at a tenth", "MiB beyond"),
        [
            (name, median(took), rows / median(took), growth[name, rows // 10], growth[name, rows])
            for name, took in seconds.items()
        ],
    )
    floor = median(seconds["copy"])
    ratios = {f"{name}_to_copy": median(seconds[name]) / floor for name in FORMATS}
    ratios |= {f"{name}_mib_beyond": growth[name, rows] for name in FORMATS}
    conclude("registers", ratios, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    asyncio.run(main(parser.parse_args().rows))
