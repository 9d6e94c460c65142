"""The map of cameras in vector tiles, under rights, kept as bytes for each state of the register and scope of rights.

A tile's key names what it shows exactly: the state of the register (every transaction that changed cameras), and what
the actor may locate at this moment (for whom it acts, and the agreements that are in force within their hours). So a
tile that is kept is never wrong and need not be told of any change, and people of equal rights share it.
"""

import asyncio
import gzip
import hashlib
import math
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from app.access import rights
from app.actor import Actor
from app.database import Arguments, read
from app.errors import Malformed
from app.registry import cameras, vector_tile
from app.registry.vector_tile import EXTENT, Value

MOST_ZOOM = 14
NAMED_ZOOM = 14  # from here on cameras carry their names
SINGLE_ZOOM = 12  # from here on each camera is told; further out they are counted in cells
CELLS = 32  # along each side of a tile
MOST_SINGLE = 50_000  # a tile with more is told in cells, however near
MOST_KEPT_BYTES = 64 << 20
LAYER = "cameras"


@dataclass(frozen=True, slots=True)
class Tile:
    """Which tile: zoom, column from the west, row from the north."""

    zoom: int
    x: int
    y: int

    def __post_init__(self) -> None:
        if not 0 <= self.zoom <= MOST_ZOOM:
            raise Malformed(f"tiles go from zoom 0 to {MOST_ZOOM}; enlarge those of {MOST_ZOOM} beyond", field="z")
        for name, number in (("x", self.x), ("y", self.y)):
            if not 0 <= number < 1 << self.zoom:
                raise Malformed(f"{name} is 0…{(1 << self.zoom) - 1} at zoom {self.zoom}", field=name)

    def box(self) -> tuple[float, float, float, float]:
        """West, south, east, north in degrees."""
        n = 1 << self.zoom
        north, south = (math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * row / n)))) for row in (self.y, self.y + 1))
        return self.x / n * 360 - 180, south, (self.x + 1) / n * 360 - 180, north


@dataclass
class Tiles:
    """The tiles that a process keeps, the least recently asked for go first; bounded in bytes, packed (gzip)."""

    kept: OrderedDict[str, bytes] = field(default_factory=OrderedDict)
    size: int = 0
    built: int = 0
    making: dict[str, asyncio.Lock] = field(default_factory=dict)

    def keep(self, key: str, packed: bytes) -> None:
        """Keep a tile, and forget others if it gets too much."""
        self.built += 1
        self.size += len(packed) - len(self.kept.pop(key, b""))
        self.kept[key] = packed
        while self.size > MOST_KEPT_BYTES:
            _, oldest = self.kept.popitem(last=False)
            self.size -= len(oldest)


async def state(session: AsyncSession, actor: Actor) -> str:
    """What the register holds and what the actor may locate in it now, as a digest: equal only when both are."""
    arguments = Arguments()
    if not actor.may("locate"):
        return "nothing"
    agencies = arguments.put(list(actor.acts_for_ids), "uuid[]")
    in_force = rights.agreement_in_force(verb=arguments.put("locate", "text"), agencies=agencies)
    statement = (
        "SELECT (SELECT concat(count(*), ' ', bit_xor(uuid_hash_extended(id, 0))) FROM register_changes) AS register,"  # noqa: S608
        " (SELECT string_agg(a.id::text || a.xmin, ' ' ORDER BY a.id)"
        f" FROM agreements a WHERE {in_force}) AS shared"
    )
    row = (await read(session, statement, arguments))[0]
    told = (row["register"], row["shared"], sorted(actor.acts_for_ids))
    return hashlib.blake2b(repr(told).encode(), digest_size=12).hexdigest()


def key_of(state_now: str, tile: Tile) -> str:
    """What names a tile's bytes; also its ETag."""
    return f"{state_now}-{tile.zoom}-{tile.x}-{tile.y}"


async def packed(session: AsyncSession, actor: Actor, tiles: Tiles, tile: Tile, key: str) -> bytes:
    """The tile's bytes (gzip), from what is kept or made now; whoever asks meanwhile waits for the one who makes it."""
    known = tiles.kept.get(key)
    if known is None:
        lock = tiles.making.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                known = tiles.kept.get(key)
                if known is None:
                    known = await make(session, actor, tile)
                    tiles.keep(key, known)
        finally:
            tiles.making.pop(key, None)
    if key in tiles.kept:
        tiles.kept.move_to_end(key)
    return known


async def make(session: AsyncSession, actor: Actor, tile: Tile) -> bytes:
    """The tile's bytes, made now, packed."""
    if tile.zoom >= SINGLE_ZOOM:
        rows = await _singles(session, actor, tile)
        if len(rows) <= MOST_SINGLE:
            return await asyncio.to_thread(_written, rows, tile)
    return await _cells(session, actor, tile)


async def _singles(session: AsyncSession, actor: Actor, tile: Tile) -> list[asyncpg.Record]:
    arguments = Arguments()
    west, south, east, north = (arguments.put(side, "float8") for side in tile.box())
    named = ", p.name, p.ptz, p.owner_agency_id::text AS owner_id" if tile.zoom >= NAMED_ZOOM else ""
    may = cameras.permitted(actor, arguments)
    statement = (
        "SELECT p.id::text AS id, p.status, p.has_stream, p.installation_purposes[1] AS purpose"  # noqa: S608
        f"{named}, p.longitude, p.latitude FROM camera_positions p"
        f" WHERE p.location <@ box(point({west}, {south}), point({east}, {north})) AND {may} LIMIT {MOST_SINGLE + 1}"
    )
    return await read(session, statement, arguments)


def _written(rows: list[asyncpg.Record], tile: Tile) -> bytes:
    """Blocks for some milliseconds in a full tile: call it in a thread."""
    if not rows:
        return gzip.compress(b"", 1)
    *names, _, _ = rows[0].keys()
    *told, longitudes, latitudes = zip(*rows, strict=True)
    n = 1 << tile.zoom
    x = np.floor(((np.array(longitudes) + 180) / 360 * n - tile.x) * EXTENT)
    angle = np.radians(np.array(latitudes))
    y = np.floor(((1 - np.arcsinh(np.tan(angle)) / np.pi) / 2 * n - tile.y) * EXTENT)
    inside = (x >= 0) & (x < EXTENT) & (y >= 0) & (y < EXTENT)  # on an edge it belongs to one tile only
    columns: dict[str, Any] = dict(zip(names, told, strict=True))
    if not inside.all():
        chosen = inside.nonzero()[0].tolist()
        columns = {name: [column[at] for at in chosen] for name, column in columns.items()}
    at = (x[inside].astype(int).tolist(), y[inside].astype(int).tolist())
    return gzip.compress(vector_tile.layer(LAYER, *at, _public(columns)), 1)


def _public(columns: dict[str, Any]) -> dict[str, Any]:
    """The names that the wire has for cameras elsewhere."""
    return {"streaming" if name == "has_stream" else name: column for name, column in columns.items()}


async def _cells(session: AsyncSession, actor: Actor, tile: Tile) -> bytes:
    """A tile of cells: each tells how many cameras (not sites) it holds, at their middle; a single one also its id."""
    arguments = Arguments()
    west, south, east, north = (arguments.put(side, "float8") for side in tile.box())
    n, column, row = (arguments.put(float(one), "float8") for one in (1 << tile.zoom, tile.x, tile.y))
    may = cameras.permitted(actor, arguments)
    statement = (
        "SELECT least(floor(avg(x)), 4095)::int AS x, least(floor(avg(y)), 4095)::int AS y,"  # noqa: S608
        " count(*)::int AS cameras, (count(*) FILTER (WHERE has_stream))::int AS streaming,"
        " CASE WHEN count(*) = 1 THEN min(id::text) END AS id FROM (SELECT p.id, p.has_stream,"
        f" ((p.longitude + 180) / 360 * {n} - {column}) * {EXTENT} AS x,"
        f" ((1 - asinh(tan(radians(p.latitude))) / pi()) / 2 * {n} - {row}) * {EXTENT} AS y FROM camera_positions p"
        f" WHERE p.location <@ box(point({west}, {south}), point({east}, {north})) AND {may}) placed"
        f" WHERE x >= 0 AND x < {EXTENT} AND y >= 0 AND y < {EXTENT}"
        f" GROUP BY floor(x / {EXTENT // CELLS}), floor(y / {EXTENT // CELLS})"
        " ORDER BY 2, 1"
    )
    rows = await read(session, statement, arguments)
    columns: dict[str, list[Value]] = {
        name: [one[name] for one in rows] for name in ("cameras", "streaming", "id")
    }  # fmt: skip
    written = vector_tile.layer(LAYER, [one["x"] for one in rows], [one["y"] for one in rows], columns)
    return gzip.compress(written, 1)
