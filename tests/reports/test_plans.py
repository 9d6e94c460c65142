"""A year of history is searched by its indexes: no table of accesses is read through, however much stands in it."""

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import bindparam, text

from app import database as db
from app.audit.restricted import circle_of
from app.database import Database
from app.reports import searches
from app.reports.searches import Wanted
from tests.actors import actor
from tests.conftest import Databases
from tests.reports import year

SHORT, LONG = 40_000, 1_000_000
MOST_PAGES = 12_000  # of 8 KiB, for a page of 100 rows out of a million


def read_through(plan: dict[str, Any]) -> list[str]:
    """Tables of accesses of which more rows were read in a sequential scan than a page may hold."""
    found = []
    wasted = plan.get("Rows Removed by Filter", 0) + plan["Actual Rows"]
    is_access = plan.get("Relation Name", "").startswith(("views", "grants", "audit"))
    if plan["Node Type"] == "Seq Scan" and is_access and wasted * plan["Actual Loops"] > 200:
        found.append(plan["Relation Name"])
    for part in plan.get("Plans", ()):
        found += read_through(part)
    return found


async def explained(base: Database, sql: str, binds: dict[str, Any]) -> dict[str, Any]:
    clause = text("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + sql)
    clause = clause.bindparams(*(bindparam(name, type_=searches._TYPES[name]) for name in binds))
    async with base.begin() as session:
        return (await session.execute(clause, binds)).scalar()[0]["Plan"]


@pytest.mark.slow
@pytest.mark.parametrize("views", [SHORT, pytest.param(LONG, marks=[pytest.mark.drill, pytest.mark.timeout(900)])])
async def test_searches_read_no_table_of_accesses_through(databases: Databases, views: int) -> None:
    name = f"plans_{uuid4().hex[:12]}"
    await databases.create(name)
    try:
        async with db.connect(databases.url(name)) as base:
            made = await year.make(base, databases, name, views)
            auditor = await actor(base, made.past.agency, "auditor")
            incident = await base.bare.fetchval("SELECT incident_id FROM grants WHERE incident_id IS NOT NULL LIMIT 1")
            async with base.begin() as session:
                remit, circle = await searches.remit(session, auditor), await circle_of(session, auditor)
            for by in (
                {"camera_id": made.cameras[0]},
                {"camera_id": made.cameras[-1]},
                {"user_id": made.people[3].user_id},
                {"user_id": made.people[2].user_id},
                {"incident_id": incident},
                {"reference": "112-500"},
                {"reference": "112-none"},
                {},
            ):
                wanted = Wanted(reason="x", since=year.SINCE, until=year.UNTIL, **by)
                plan = await explained(base, *searches.statement(auditor, remit, circle, wanted))
                assert read_through(plan) == [], by
                pages = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
                assert pages < MOST_PAGES, (by, pages)
            # The checker sees a scan: the same rows without an index that fits.
            scan = await explained(base, "SELECT * FROM views WHERE bytes = 7 AND at < :until", {"until": year.UNTIL})
            assert len(read_through(scan)) >= 12
    finally:
        await databases.drop(name)
