"""Cameras by place: exact metres in exact order, in boxes, areas and pages, held against the geodesic itself."""

import random
from collections.abc import Sequence
from itertools import pairwise
from uuid import UUID

import numpy as np
import pytest
from pyproj import Geod
from sqlalchemy import insert, update

from app.actor import Actor
from app.database import Database
from app.errors import Malformed, NotFound
from app.ids import new_id
from app.models import CameraPosition, Site
from app.registry import cameras
from app.registry.cameras import Near, Search
from tests import factories
from tests.actors import actor

WGS84 = Geod(ellps="WGS84")
CENTER = (37.5894, 127.0167)
SAME_METRES = 0.001  # nobody can say which of two cameras is nearer by less than a millimetre


async def scatter(database: Database, owner: UUID, points: Sequence[tuple[float, float]]) -> list[UUID]:
    """Many cameras at once; returns their ids in the order of the points."""
    ids = [new_id() for _ in points]
    async with database.begin() as session:
        await session.execute(
            insert(Site), [{"id": one, "owner_agency_id": owner, "external_key": str(one)} for one in ids]
        )
        await session.execute(
            insert(CameraPosition),
            [
                {
                    "id": one, "site_id": one, "ordinal": 1, "name": "CAM", "owner_agency_id": owner,
                    "latitude": latitude, "longitude": longitude,
                }
                for one, (latitude, longitude) in zip(ids, points, strict=True)
            ],
        )  # fmt: skip
    return ids


def around(dice: random.Random, metres: float, count: int) -> list[tuple[float, float]]:
    """Random points within so many metres of the centre, as latitude and longitude."""
    points = []
    for _ in range(count):
        place = WGS84.fwd(CENTER[1], CENTER[0], dice.uniform(0, 360), dice.uniform(0, metres))
        points.append((place[1], place[0]))
    return points


async def test_a_thousand_random_queries_find_what_brute_force_finds(database: Database) -> None:
    dice = random.Random(20260101)
    district = await factories.agency(database)
    operator = await actor(database, district)
    # A whole district, the dense middle of a crowd, a wall of cameras on one point, and far ones.
    points = around(dice, 6_000, 700) + around(dice, 60, 200) + [CENTER] * 12 + around(dice, 45_000, 300)
    ids = await scatter(database, district, points)
    of_id = {one: number for number, one in enumerate(ids)}
    latitudes, longitudes = np.array([p[0] for p in points]), np.array([p[1] for p in points])
    compared = 0
    async with database.begin() as session:
        for _ in range(1_000):
            latitude, longitude = around(dice, dice.choice((50, 500, 8_000)), 1)[0]
            near = Near(latitude, longitude, dice.choice((20.0, 120.0, 500.0, 3_000.0)))
            limit = dice.choice((1, 5, 20))
            rows = await cameras.visible_to(session, operator, Search(near=near), limit=limit)
            _, _, metres = WGS84.inv(
                np.full(len(points), longitude), np.full(len(points), latitude), longitudes, latitudes
            )
            order = np.argsort(metres, kind="stable")
            expected = [float(metres[n]) for n in order[:limit] if metres[n] <= near.radius_metres]
            found = [float(metres[of_id[row["id"]]]) for row in rows]
            assert found == pytest.approx(expected, abs=SAME_METRES)
            assert len({row["id"] for row in rows}) == len(rows)
            assert [row["distance_metres"] for row in rows] == [round(one, 2) for one in found]
            compared += len(rows)
    assert compared > 4_000


@pytest.mark.parametrize("metres", [5_000, 45_000])
async def test_far_away_the_order_is_that_of_the_geodesic(database: Database, metres: float) -> None:
    dice = random.Random(metres)
    district = await factories.agency(database)
    operator = await actor(database, district)
    await scatter(database, district, around(dice, metres, 600))
    async with database.begin() as session:
        rows = await cameras.visible_to(session, operator, Search(near=Near(*CENTER, 50_000)), limit=1000)
        assert await cameras.count(session, operator, Search(near=Near(*CENTER, 50_000))) == 600
    assert len(rows) == 600
    shown = [row["distance_metres"] for row in rows]
    bearable = 0.01 + 0.25 * (metres / 50_000) ** 3
    assert all(after - before > -bearable for before, after in pairwise(shown))


@pytest.mark.parametrize(("azimuth", "bearing"), [(0, 0.0), (90, 90.0), (180, 180.0), (-90, 270.0), (37.5, 37.5)])
async def test_distance_and_bearing_point_from_the_place_to_the_camera(
    database: Database, azimuth: float, bearing: float
) -> None:
    district = await factories.agency(database)
    longitude, latitude, _ = WGS84.fwd(CENTER[1], CENTER[0], azimuth, 123.45)
    await scatter(database, district, [(latitude, longitude)])
    operator = await actor(database, district)
    async with database.begin() as session:
        for radius, count in ((123.44, 0), (123.46, 1)):
            rows = await cameras.visible_to(session, operator, Search(near=Near(*CENTER, radius)), limit=5)
            assert len(rows) == count
    assert rows[0]["distance_metres"] == 123.45
    assert rows[0]["bearing_degrees"] == pytest.approx(bearing, abs=0.05)


async def pages(database: Database, who: Actor, search: Search, limit: int) -> list[UUID]:
    seen: list[UUID] = []
    after: tuple[float, UUID] | None = None
    async with database.begin() as session:
        while True:
            rows = await cameras.visible_to(session, who, search, limit=limit, after=after)
            seen += [row["id"] for row in rows]
            if len(rows) < limit:
                return seen
            after = (rows[-1].get("order_metres", 0.0), rows[-1]["id"])


@pytest.mark.parametrize("limit", [1, 7, 50, 1000])
@pytest.mark.parametrize("search", [Search(), Search(near=Near(*CENTER, 5_000)), Search(bbox=(126, 37, 128, 38))])
async def test_pages_show_everything_exactly_once(database: Database, search: Search, limit: int) -> None:
    dice = random.Random(3)
    district = await factories.agency(database)
    points = around(dice, 4_000, 40) + [CENTER] * 15  # many at the same distance
    ids = await scatter(database, district, points)
    seen = await pages(database, await actor(database, district), search, limit)
    assert sorted(seen) == sorted(ids)


async def test_a_box_holds_its_edges_and_nothing_else(database: Database) -> None:
    district = await factories.agency(database)
    inside = await scatter(database, district, [(37.0, 127.0), (37.5, 127.5), (37.25, 127.25)])
    await scatter(database, district, [(36.9999, 127.2), (37.5001, 127.2), (37.2, 126.9999), (37.2, 127.5001)])
    operator = await actor(database, district)
    async with database.begin() as session:
        rows = await cameras.visible_to(session, operator, Search(bbox=(127.0, 37.0, 127.5, 37.5)), limit=10)
    assert {row["id"] for row in rows} == set(inside)


async def test_wishes_narrow_together(database: Database) -> None:
    district = await factories.agency(database)
    park = new_id()
    wanted = await factories.camera(database, district, purposes=("child_safety", "multi"), area_ids=(park,))
    await factories.camera(database, district, purposes=("child_safety",), area_ids=(park,), has_stream=False)
    await factories.camera(database, district, area_ids=(park,))
    await factories.camera(database, district, purposes=("child_safety",))
    await factories.camera(database, district, purposes=("child_safety",), area_ids=(park,), latitude=35.0)
    nowhere = await factories.camera(database, district, latitude=None, longitude=None)
    operator = await actor(database, district)
    search = Search(
        near=Near(37.5, 127.0), bbox=(126.9, 37.4, 127.1, 37.6), area_id=park, purpose="child_safety", status="active",
        words="별빛로", owner_agency_id=district, with_stream=True,
    )  # fmt: skip
    async with database.begin() as session:
        assert [row["id"] for row in await cameras.visible_to(session, operator, search, limit=9)] == [wanted]
        assert await cameras.count(session, operator, search) == 1
        assert await cameras.count(session, operator, Search()) == 6
        assert (await cameras.get(session, operator, nowhere))["latitude"] is None
        assert await cameras.count(session, operator, Search(status="faulty")) == 0


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("100%", {"정문 100%_A"}),
        ("_", {"정문 100%_A"}),
        ("%", {"정문 100%_A"}),
        ("\\", {"후문 C:\\cam"}),
        ("문 별빛", {"정문 100%_A", "후문 C:\\cam"}),
        ("cam", {"후문 C:\\cam"}),
        ("CAM", {"후문 C:\\cam"}),
        ("' OR 1=1 --", set()),
        ("   ", {"정문 100%_A", "후문 C:\\cam"}),
    ],
)
async def test_words_mean_themselves(database: Database, words: str, found: set[str]) -> None:
    district = await factories.agency(database)
    operator = await actor(database, district)
    async with database.begin() as session:
        for name in ("정문 100%_A", "후문 C:\\cam"):
            site_id = new_id()
            site = {"id": site_id, "owner_agency_id": district, "external_key": str(site_id), "lot_address": "별빛동 1"}
            await session.execute(insert(Site).values(site))
            await session.execute(
                insert(CameraPosition).values(
                    id=new_id(), site_id=site_id, ordinal=1, name=name, owner_agency_id=district
                )
            )
        rows = await cameras.visible_to(session, operator, Search(words=words), limit=10)
    assert {row["name"] for row in rows} == found


async def test_a_retired_camera_is_found_no_more(database: Database) -> None:
    district = await factories.agency(database)
    camera_id = await factories.camera(database, district)
    operator = await actor(database, district)
    async with database.begin() as session:
        await session.execute(
            update(CameraPosition)
            .where(CameraPosition.id == camera_id)
            .values(status="retired", retired_at=CameraPosition.changed_at)
        )
        assert await cameras.visible_to(session, operator, Search(), limit=5) == []
        with pytest.raises(NotFound):
            await cameras.get(session, operator, camera_id)


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [(90.1, 0), (-91, 0), (0, 181), (0, -180.5), (float("nan"), 0), (0, float("inf")), (1e308, 1)],
)
def test_what_is_no_point_on_earth_is_refused(latitude: float, longitude: float) -> None:
    cameras.check_point(-90, 180, "near")
    with pytest.raises(Malformed) as refused:
        cameras.check_point(latitude, longitude, "near")
    assert refused.value.extra["field"] == "near"


@pytest.mark.parametrize(("latitude", "longitude"), [(90, 0), (-90, 180), (0, 180), (0, -180), (89.99, 12)])
async def test_the_ends_of_the_earth_are_empty_and_no_error(
    database: Database, latitude: float, longitude: float
) -> None:
    operator = await actor(database, await factories.agency(database))
    async with database.begin() as session:
        assert await cameras.count(session, operator, Search(near=Near(latitude, longitude, 50_000))) == 0
