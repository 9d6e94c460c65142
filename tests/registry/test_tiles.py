"""The map: every camera in one tile only and at its place, never one too many for anybody, and never an old one."""

import asyncio
import gzip
import math
import random
from typing import Any

import pytest
from sqlalchemy import update

from app.access import agreements
from app.actor import Actor
from app.database import Database
from app.errors import Malformed
from app.models import CameraPosition
from app.registry import tiles, vector_tile
from app.registry.tiles import Tile, Tiles
from tests import factories
from tests.actors import actor
from tests.registry import vector_tiles
from tests.registry.test_cameras import CENTER, around, scatter


def place(latitude: float, longitude: float, zoom: int) -> tuple[float, float]:
    """Where a point lies on the map of a zoom, in tiles."""
    n = 2**zoom
    y = (1 - math.log(math.tan(math.radians(latitude)) + 1 / math.cos(math.radians(latitude))) / math.pi) / 2 * n
    return (longitude + 180) / 360 * n, y


async def shown(database: Database, who: Actor, kept: Tiles, tile: Tile) -> list[dict[str, Any]]:
    async with database.begin() as session:
        key = tiles.key_of(await tiles.state(session, who), tile)
        return vector_tiles.points(gzip.decompress(await tiles.packed(session, who, kept, tile, key)))


@pytest.mark.parametrize("zoom", [12, 14])
async def test_each_camera_stands_in_one_tile_at_its_place(database: Database, zoom: int) -> None:
    district = await factories.agency(database)
    operator = await actor(database, district)
    column, row = (int(one) for one in place(*CENTER, zoom))
    west, south, east, north = Tile(zoom, column, row).box()
    points = around(random.Random(zoom), 6_000, 300)
    points += [(south, west), (north, east), (north, west), (CENTER[0], west), (CENTER[0], east)]  # on the edges
    ids = [str(one) for one in await scatter(database, district, points)]
    kept, seen = Tiles(), {}
    for x in range(column - 4, column + 5):
        for y in range(row - 4, row + 5):
            for one in await shown(database, operator, kept, Tile(zoom, x, y)):
                assert one["id"] not in seen
                assert (one["status"], one["streaming"]) == ("active", False)
                assert ("name" in one) == (zoom == 14)
                seen[one["id"]] = (x + one["x"] / 4096, y + one["y"] / 4096)
    inside = 0
    for one, point in zip(ids, points, strict=True):
        x, y = place(*point, zoom)
        if one in seen:
            assert seen[one] == pytest.approx((x, y), abs=1.01 / 4096)
            inside += 1
        else:
            assert not (column - 4 < x < column + 4 and row - 4 < y < row + 4)
    assert inside > 50


@pytest.mark.parametrize("zoom", [0, 6, 11])
async def test_cells_count_every_camera_once(database: Database, zoom: int) -> None:
    district = await factories.agency(database)
    operator = await actor(database, district)
    await scatter(database, district, around(random.Random(9), 9_000, 400) + [CENTER] * 9 + [(35.1, 129.0)])
    kept, total = Tiles(), 0
    corners = [place(37.7, 126.9, zoom), place(35.0, 129.2, zoom)]
    for x in range(int(corners[0][0]), int(corners[1][0]) + 1):
        for y in range(int(corners[0][1]), int(corners[1][1]) + 1):
            for cell in await shown(database, operator, kept, Tile(zoom, x, y)):
                assert (cell["cameras"] == 1) == ("id" in cell)
                total += cell["cameras"]
    assert total == 410


async def test_rights_and_their_ends_are_seen_at_once(database: Database) -> None:
    district, police = await factories.agency(database), await factories.agency(database, "police")
    theirs = await factories.camera(database, district, purposes=("child_safety",), latitude=33.5, longitude=126.5)
    await factories.camera(database, district, latitude=33.5, longitude=126.5)
    operator, officer = await actor(database, district), await actor(database, police, "room")
    colleague = await actor(database, police, "room")
    auditor = await actor(database, district, "auditor")
    near, far = (
        Tile(zoom, *(int(one) for one in place(33.5, 126.5, zoom))) for zoom in (14, 9)
    )  # fmt: skip
    kept = Tiles()

    async def counted() -> tuple[int, int]:
        cells = await shown(database, officer, kept, far)
        return len(await shown(database, officer, kept, near)), sum(one["cameras"] for one in cells)

    assert await counted() == (0, 0)
    agreement_id = await factories.agreement(database, district, police, installation_purposes=("child_safety",))
    assert await counted() == (1, 1)
    assert [one["id"] for one in await shown(database, officer, kept, near)] == [str(theirs)]
    assert len(await shown(database, operator, kept, near)) == 2
    assert await shown(database, auditor, kept, near) == []
    built = kept.built
    assert len(await shown(database, colleague, kept, near)) == 1
    assert kept.built == built  # people of equal rights share
    async with database.begin() as session:
        admin = await actor(database, district, "admin")
        await agreements.withdraw(session, admin, agreement_id, "끝")
    assert await counted() == (0, 0)


async def test_a_change_of_the_register_makes_new_tiles_and_nothing_else_does(database: Database) -> None:
    district = await factories.agency(database)
    camera = await factories.camera(database, district, latitude=34.0, longitude=126.1)
    operator = await actor(database, district)
    tile, kept = Tile(13, *(int(one) for one in place(34.0, 126.1, 13))), Tiles()
    assert [one["status"] for one in await shown(database, operator, kept, tile)] == ["active"]
    await factories.person(database, district)
    built = kept.built
    assert [one["status"] for one in await shown(database, operator, kept, tile)] == ["active"]
    assert kept.built == built
    # Two changes overlap, and the one that began first commits last: both must be seen.
    slow = database.sessions()
    await slow.begin()
    await slow.execute(update(CameraPosition).where(CameraPosition.id == camera).values(status="faulty"))
    await factories.camera(database, district, latitude=34.0, longitude=126.1)
    assert sorted(one["status"] for one in await shown(database, operator, kept, tile)) == ["active", "active"]
    await slow.commit()
    await slow.close()
    assert sorted(one["status"] for one in await shown(database, operator, kept, tile)) == ["active", "faulty"]


async def test_many_who_ask_at_once_have_it_made_once(database: Database) -> None:
    district = await factories.agency(database)
    await scatter(database, district, around(random.Random(1), 500, 50))
    operator = await actor(database, district)
    kept, tile = Tiles(), Tile(13, *(int(one) for one in place(*CENTER, 13)))
    answers = await asyncio.gather(*(shown(database, operator, kept, tile) for _ in range(8)))
    assert kept.built == 1
    assert all(one == answers[0] for one in answers)
    assert kept.making == {}


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "MOST_KEPT_BYTES", 1000)
    kept = Tiles()
    for number in range(50):
        kept.keep(str(number), b"x" * 90)
        kept.keep(str(number), b"x" * 100)
    assert list(kept.kept) == [str(number) for number in range(40, 50)]
    assert kept.size == 1000


@pytest.mark.parametrize("wrong", [(-1, 0, 0), (15, 0, 0), (3, 8, 0), (3, 0, 8), (3, -1, 0)])
def test_a_tile_that_is_none_is_refused(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(Malformed):
        Tile(*wrong)


def test_every_kind_of_value_is_written() -> None:
    columns: dict[str, Any] = {
        "text": ["한글", "", "한글"], "number": [0, -3, 1 << 40], "flag": [True, False, True], "none": [None, 1, None]
    }  # fmt: skip
    read = vector_tiles.points(vector_tile.layer("cameras", [0, 4095, 7], [4095, 0, 200], columns))
    assert read == [
        {"x": 0, "y": 4095, "text": "한글", "number": 0, "flag": True},
        {"x": 4095, "y": 0, "text": "", "number": -3, "flag": False, "none": 1},
        {"x": 7, "y": 200, "text": "한글", "number": 1 << 40, "flag": True},
    ]
    assert vector_tile.layer("cameras", [], [], {}) == b""
    many = [f"{number}" for number in range(20_000)]  # beyond the numbers that are written in advance
    read = vector_tiles.points(vector_tile.layer("cameras", [5] * 20_000, [6] * 20_000, {"id": many}))
    assert [one["id"] for one in read] == many
