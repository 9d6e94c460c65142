"""Cameras near a point and in a box: `cameras.visible_to` against its very statements through bare asyncpg.

And what it costs as the register grows: one city of 70,000, ten (the nation's control centers) and 1.8 million, cities
as dense as the first lying side by side. `python -m bench.near --sizes 70000` is the quick form.
"""

import argparse
import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from random import Random
from statistics import median, quantiles
from time import perf_counter
from typing import Any
from uuid import UUID

import asyncpg

from app import database as db
from app.actor import Actor
from app.database import APP_ROLE, Arguments, Database, connect, plain_url
from app.ids import new_ids
from app.registry import cameras
from app.registry.cameras import Near, Search
from bench.scene import Scene, conclude, name_of, scene, table, turns
from tests import factories
from tests.actors import actor as signed_in

CITY, DISTRICTS, SEARCHES, ROUNDS, LIMIT = 70_000, 25, 40, 5, 100
SIZES = (70_000, 700_000, 1_800_000)
CONTENDERS = ("visible_to", "visible_to in its own transaction", "bare")
KINDS = ("near 200 m", "near 500 m", "near 2000 m", "bbox 1 km", "bbox 4 km")


@dataclass(frozen=True)
class House:
    """A register of some size, and somebody who may locate all of it."""

    size: int
    database: Database
    bare: asyncpg.Connection
    actor: Actor


def center(city: int) -> tuple[float, float]:
    """Where a city lies: the first one is Seoul, the others stand apart from it and from each other."""
    return (37.55 - 0.6 * (city // 6), 127.0 + 0.9 * (city % 6))


def _rows(size: int, owners: Sequence[UUID]) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    random, fresh = Random(7), new_ids()
    for number in range(size):
        city = number // CITY
        latitude, longitude = center(city)
        site_id, owner = next(fresh), owners[number % len(owners)]
        north, east = random.gauss(0, 0.05), random.gauss(0, 0.08)
        yield (
            (site_id, owner, f"bench:{number}", f"별빛로 {number}"),
            (
                next(fresh), site_id, 1, f"CAM {number}", owner, latitude + max(min(north, 0.15), -0.15),
                longitude + max(min(east, 0.22), -0.22), [random.choice(("crime_prevention", "child_safety"))], 30,
                date(2020, 1, 1),
            ),
        )  # fmt: skip


async def fill(place: Scene, url: str, size: int, owners: Sequence[UUID]) -> None:
    superuser = await place.databases.superuser(name_of(url))
    # Letters are another question: their indexes would take most of the time of filling.
    await superuser.execute("DROP INDEX ix_sites_letters, ix_camera_positions_letters; SET synchronous_commit = off")
    names = [
        "id", "site_id", "ordinal", "name", "owner_agency_id", "latitude", "longitude", "installation_purposes",
        "retention_days", "installed_on",
    ]  # fmt: skip
    chunk: list[tuple[tuple[Any, ...], tuple[Any, ...]]] = []

    async def write() -> None:
        await superuser.copy_records_to_table(
            "sites",
            records=[one for one, _ in chunk],
            columns=["id", "owner_agency_id", "external_key", "road_address"],
        )
        await superuser.copy_records_to_table("camera_positions", records=[one for _, one in chunk], columns=names)
        chunk.clear()

    for pair in _rows(size, owners):
        chunk.append(pair)
        if len(chunk) == 50_000:
            await write()
    await write()
    await superuser.execute("VACUUM ANALYZE")
    await superuser.close()


async def _house(place: Scene, stack: AsyncExitStack, size: int) -> House:
    began = perf_counter()
    url = await stack.enter_async_context(place.database())
    database = await stack.enter_async_context(connect(url))
    owners = [await factories.agency(database) for _ in range(DISTRICTS)]
    police = await factories.agency(database, "police")
    for owner in owners:
        await factories.agreement(database, owner, police)
    await fill(place, url, size, owners)
    bare = await asyncpg.connect(plain_url(url), server_settings={"role": APP_ROLE, "jit": "off", "timezone": "UTC"})
    stack.push_async_callback(bare.close)
    print(f"{size:,} cameras: filled in {perf_counter() - began:.0f} s", flush=True)
    return House(size, database, bare, await signed_in(database, police, "room"))


@contextmanager
def _heard() -> Iterator[list[tuple[str, list[Any]]]]:
    """The statements that go out to the driver, with their arguments."""
    said: list[tuple[str, list[Any]]] = []

    async def hear(session: Any, statement: str, arguments: Arguments) -> Any:
        said.append((statement, list(arguments.values)))
        return await db.read(session, statement, arguments)

    cameras.read = hear  # type: ignore[attr-defined]
    try:
        yield said
    finally:
        cameras.read = db.read  # type: ignore[attr-defined]


async def _search(house: House, search: Search) -> int:
    async with house.database.begin() as session:
        return len(await cameras.visible_to(session, house.actor, search, limit=LIMIT))


async def _round(house: House, contender: str, searches: Sequence[Search]) -> list[float]:
    """Seconds of each search by one contender."""
    times: list[float] = []
    if contender == "bare":
        with _heard() as said:
            found = [await _search(house, search) for search in searches]
        assert len(said) == len(searches)
        for (statement, values), count in zip(said, found, strict=True):
            began = perf_counter()
            rows = await house.bare.fetch(statement, *values)
            times.append(perf_counter() - began)
            assert len(rows) == count
    elif contender == "visible_to":
        async with house.database.begin() as session:
            await session.connection()
            for search in searches:
                began = perf_counter()
                await cameras.visible_to(session, house.actor, search, limit=LIMIT)
                times.append(perf_counter() - began)
    else:
        for search in searches:
            began = perf_counter()
            await _search(house, search)
            times.append(perf_counter() - began)
    return times


def _searches(kind: str) -> list[Search]:
    """The same ones in every house: all within the first city."""
    random = Random(11)
    points = [(random.gauss(37.55, 0.04), random.gauss(127.0, 0.06)) for _ in range(SEARCHES)]
    word, size, unit = kind.split()
    if word == "near":
        return [Search(near=Near(latitude, longitude, float(size))) for latitude, longitude in points]
    high, wide = float(size) / 222, float(size) / 176
    return [Search(bbox=(x - wide, y - high, x + wide, y + high)) for y, x in points] if unit == "km" else []


async def _contest(houses: Sequence[House]) -> dict[str, float]:
    ratios: dict[str, float] = {}
    rows: list[list[Any]] = []
    for kind in KINDS:
        searches = _searches(kind)
        turn: list[tuple[House, str]] = [(house, name) for house in houses for name in CONTENDERS]
        times: dict[tuple[int, str], list[float]] = {(house.size, name): [] for house, name in turn}
        found = {house.size: median([await _search(house, one) for one in searches]) for house in houses}
        for house, name in turn:
            await _round(house, name, searches)
        for order in turns(ROUNDS, turn):
            for house, name in order:
                times[house.size, name] += await _round(house, name, searches)
        first = houses[0].size
        slug = kind.replace(" ", "_")
        for house in houses:
            floor = median(times[house.size, "bare"])
            for name in CONTENDERS:
                p50, p95 = median(times[house.size, name]), quantiles(times[house.size, name], n=20)[-1]
                grown = p50 / median(times[first, name])
                rows.append([kind, house.size, name, int(found[house.size]), p50 * 1e3, p95 * 1e3, p50 / floor, grown])
            ratios[f"{slug}_{house.size}_to_bare"] = median(times[house.size, "visible_to"]) / floor
            if house.size != first:
                grown = median(times[house.size, "visible_to"]) / median(times[first, "visible_to"])
                ratios[f"{slug}_{house.size}_to_{first}"] = grown
    head = ("what", "cameras", "contender", "rows", "p50 ms", "p95 ms", "× bare", "× smallest")
    table(f"limit {LIMIT}, {SEARCHES * ROUNDS} searches each, interleaved", head, rows)
    return ratios


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.near")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    sizes = parser.parse_args().sizes
    with scene() as place:
        async with AsyncExitStack() as stack:
            houses = [await _house(place, stack, size) for size in sizes]
            ratios = await _contest(houses)
    conclude("near", ratios, max(sizes))


if __name__ == "__main__":
    asyncio.run(main())
