"""Cameras near a point among 70,000: `cameras.visible_to` against the very same statements through bare asyncpg."""

import asyncio
from collections.abc import Iterable
from contextlib import contextmanager
from datetime import date
from random import Random
from statistics import median, quantiles
from time import perf_counter
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import event

from app.actor import Actor
from app.database import APP_ROLE, Database, connect, plain_url
from app.ids import new_ids
from app.registry import cameras
from app.registry.cameras import Near, Search
from bench.scene import Scene, conclude, name_of, scene, table, turns
from tests import factories
from tests.actors import actor as signed_in

CAMERAS, DISTRICTS, SEARCHES, ROUNDS, LIMIT = 70_000, 25, 40, 5, 100
RADII = (200.0, 500.0, 2000.0)
CONTENDERS = ("visible_to", "visible_to in its own transaction", "bare")


async def _fill(place: Scene, url: str, owners: list[UUID]) -> None:
    """A city of 70,000 cameras, denser in its middle, in 25 districts' hands."""
    random, fresh = Random(7), new_ids()
    sites: list[tuple[Any, ...]] = []
    positions: list[tuple[Any, ...]] = []
    for number in range(CAMERAS):
        site_id, owner = next(fresh), owners[number % len(owners)]
        latitude = min(max(random.gauss(37.55, 0.05), 37.4), 37.7)
        longitude = min(max(random.gauss(127.0, 0.08), 126.75), 127.2)
        sites.append((site_id, owner, f"bench:{number}", f"별빛로 {number}"))
        purposes = [random.choice(("crime_prevention", "child_protection", "traffic"))]
        positions.append(
            (next(fresh), site_id, 1, f"CAM {number}", owner, latitude, longitude, purposes, 30, date(2020, 1, 1))
        )
    bare = await asyncpg.connect(plain_url(url), server_settings={"role": APP_ROLE})
    await bare.copy_records_to_table(
        "sites", records=sites, columns=["id", "owner_agency_id", "external_key", "road_address"]
    )
    names = (
        "id site_id ordinal name owner_agency_id latitude longitude installation_purposes retention_days installed_on"
    )
    await bare.copy_records_to_table("camera_positions", records=positions, columns=names.split())
    await bare.close()
    superuser = await place.databases.superuser(name_of(url))
    await superuser.execute("VACUUM ANALYZE")
    await superuser.close()


@contextmanager
def _heard(database: Database) -> Iterable[list[tuple[str, tuple[Any, ...]]]]:
    """The statements that go out to the driver, with their arguments."""
    said: list[tuple[str, tuple[Any, ...]]] = []

    def hear(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        said.append((statement, tuple(parameters)))

    event.listen(database.engine.sync_engine, "before_cursor_execute", hear)
    try:
        yield said
    finally:
        event.remove(database.engine.sync_engine, "before_cursor_execute", hear)


async def _search(database: Database, actor: Actor, search: Search) -> int:
    async with database.begin() as session:
        return len(await cameras.visible_to(session, actor, search, limit=LIMIT))


async def _round(
    database: Database, bare: asyncpg.Connection, actor: Actor, contender: str, searches: list[Search]
) -> list[float]:
    """Seconds of each search by one contender."""
    times: list[float] = []
    if contender == "bare":
        with _heard(database) as said:
            found = [await _search(database, actor, search) for search in searches]
        assert len(said) == len(searches)
        for (statement, parameters), count in zip(said, found, strict=True):
            began = perf_counter()
            rows = await bare.fetch(statement, *parameters)
            times.append(perf_counter() - began)
            assert len(rows) == count
    elif contender == "visible_to":
        async with database.begin() as session:
            await session.connection()
            for search in searches:
                began = perf_counter()
                await cameras.visible_to(session, actor, search, limit=LIMIT)
                times.append(perf_counter() - began)
    else:
        for search in searches:
            began = perf_counter()
            await _search(database, actor, search)
            times.append(perf_counter() - began)
    return times


async def _contest(place: Scene, url: str) -> None:
    async with connect(url) as database:
        owners = [await factories.agency(database) for _ in range(DISTRICTS)]
        police = await factories.agency(database, "police")
        for owner in owners:
            await factories.agreement(database, owner, police)
        await _fill(place, url, owners)
        actor = await signed_in(database, police, "room")
        bare = await asyncpg.connect(
            plain_url(url), server_settings={"role": APP_ROLE, "jit": "off", "timezone": "UTC"}
        )
        random, ratios, rows = Random(11), {}, []
        for radius in RADII:
            points = [(random.gauss(37.55, 0.04), random.gauss(127.0, 0.06)) for _ in range(SEARCHES)]
            searches = [Search(near=Near(latitude, longitude, radius)) for latitude, longitude in points]
            found = median([await _search(database, actor, search) for search in searches])
            times: dict[str, list[float]] = {name: [] for name in CONTENDERS}
            for name in CONTENDERS:
                await _round(database, bare, actor, name, searches)
            for order in turns(ROUNDS, CONTENDERS):
                for name in order:
                    times[name] += await _round(database, bare, actor, name, searches)
            floor = median(times["bare"])
            for name in CONTENDERS:
                p50, p95 = median(times[name]), quantiles(times[name], n=20)[-1]
                rows.append([f"{radius:.0f} m", name, int(found), p50 * 1e3, p95 * 1e3, p50 / floor])
            ratios[f"p50_{radius:.0f}m_to_bare"] = median(times["visible_to"]) / floor
            own = median(times["visible_to in its own transaction"])
            ratios[f"p50_{radius:.0f}m_own_transaction_to_bare"] = own / floor
        await bare.close()
    head = ("radius", "contender", "rows", "p50 ms", "p95 ms", "× bare")
    table(f"near a point among {CAMERAS:,} cameras, limit {LIMIT}, {SEARCHES * ROUNDS} searches each", head, rows)
    conclude("near", ratios, CAMERAS)


async def main() -> None:
    with scene() as place:
        async with place.database() as url:
            await _contest(place, url)


if __name__ == "__main__":
    asyncio.run(main())
