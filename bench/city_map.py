"""The map of a city of 70,000 cameras: tiles from what is kept, and their first making, against Core rows and orjson.

The whole city is every tile that shows one of its cameras at a zoom: cells at 10, single cameras at 12 and 14.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import orjson
from sqlalchemy import select

from app.actor import Actor
from app.database import Database, connect
from app.models import Agency, CameraPosition, Site
from app.registry import tiles
from app.registry.tiles import Tile, Tiles
from bench.near import CITY, DISTRICTS, fill
from bench.scene import Clock, conclude, scene, table, turns
from tests import factories
from tests.actors import actor as signed_in

ROUNDS, ZOOMS = 7, (10, 12, 14)
WEST, SOUTH, EAST, NORTH = 126.75, 37.39, 127.25, 37.71


def _tiles(zoom: int) -> list[Tile]:
    n = 1 << zoom

    def row(latitude: float) -> int:
        return int((1 - math.asinh(math.tan(math.radians(latitude))) / math.pi) / 2 * n)

    columns = range(int((WEST + 180) / 360 * n), int((EAST + 180) / 360 * n) + 1)
    return [Tile(zoom, x, y) for x in columns for y in range(row(NORTH), row(SOUTH) + 1)]


@dataclass
class City:
    """A filled register, somebody who may locate all of it, and how large each answer was."""

    database: Database
    actor: Actor
    kept: Tiles
    sizes: dict[str, int]

    async def rows(self) -> None:
        """All rows as the list of cameras tells them, as GeoJSON: what a map without tiles would take."""
        p = CameraPosition
        query = (
            select(
                p.id, p.name, Agency.name.label("owner"), p.status, p.latitude, p.longitude, p.installation_purposes,
                p.has_stream, p.ptz, p.pixels_10k, p.retention_days, p.installed_on, Site.road_address,
            )
            .join(Agency, Agency.id == p.owner_agency_id)
            .join(Site, Site.id == p.site_id)
        )  # fmt: skip
        async with self.database.begin() as session:
            rows = (await session.execute(query)).all()
        features = [
            {
                "type": "Feature", "id": row.id,
                "geometry": {"type": "Point", "coordinates": (row.longitude, row.latitude)},
                "properties": {
                    "name": row.name, "owner": row.owner, "status": row.status, "purposes": row.installation_purposes,
                    "streaming": row.has_stream, "ptz": row.ptz, "pixels_10k": row.pixels_10k,
                    "address": row.road_address,
                    "retention_days": row.retention_days, "installed_on": row.installed_on,
                },
            }
            for row in rows
        ]  # fmt: skip
        self.sizes["rows"] = len(orjson.dumps({"type": "FeatureCollection", "features": features}, default=str))

    async def made(self, zoom: int) -> None:
        size = 0
        for tile in _tiles(zoom):
            async with self.database.begin() as session:
                await tiles.state(session, self.actor)
                size += len(await tiles.make(session, self.actor, tile))
        self.sizes[f"made {zoom}"] = size

    async def served(self, zoom: int) -> None:
        for tile in _tiles(zoom):
            async with self.database.begin() as session:
                key = tiles.key_of(await tiles.state(session, self.actor), tile)
                await tiles.packed(session, self.actor, self.kept, tile, key)


async def main() -> None:
    with scene() as place:
        async with place.database() as url, connect(url) as database:
            owners = [await factories.agency(database) for _ in range(DISTRICTS)]
            police = await factories.agency(database, "police")
            for owner in owners:
                await factories.agreement(database, owner, police)
            await fill(place, url, CITY, owners)
            city = City(database, await signed_in(database, police, "room"), Tiles(), {})
            works: dict[str, Callable[[], Awaitable[None]]] = {"rows": city.rows}
            works |= {f"made {zoom}": partial(city.made, zoom) for zoom in ZOOMS}
            works |= {f"kept {zoom}": partial(city.served, zoom) for zoom in ZOOMS}
            for work in works.values():
                await work()
            cost: dict[str, list[float]] = {name: [] for name in works}
            for order in turns(ROUNDS, list(works)):
                for name in order:
                    with Clock(place) as clock:
                        await works[name]()
                    cost[name].append(clock.app_cpu + clock.postgres_cpu)
    floor = median(cost["rows"])
    lines: list[list[Any]] = []
    for name in works:
        count, spent = 1 if name == "rows" else len(_tiles(int(name.split()[1]))), median(cost[name])
        lines.append([name, count, spent * 1e3, spent / floor, city.sizes.get(name, 0) // 1024])
    table(f"the whole city, {CITY:,} cameras", ("what", "tiles", "CPU ms", "× rows", "KiB"), lines)
    conclude("city_map", {name.replace(" ", "_"): median(cost[name]) / floor for name in works if name != "rows"}, CITY)


if __name__ == "__main__":
    asyncio.run(main())
