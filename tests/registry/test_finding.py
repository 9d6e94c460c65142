"""Cameras in a polygon, along a route, by letters, and counted: held against brute force, under rights everywhere."""

import random
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
import shapely
from pyproj import Geod
from shapely.geometry import mapping
from sqlalchemy import text, update

from app.database import Database
from app.errors import Malformed
from app.ids import new_id
from app.models import CameraPosition, Site
from app.registry import along, cameras, searches
from app.registry.cameras import Near, Search
from tests import factories
from tests.actors import actor
from tests.registry.test_cameras import CENTER, around, scatter

WGS84 = Geod(ellps="WGS84")


async def test_far_away_the_order_is_the_geodesic_to_a_millimetre(database: Database) -> None:
    dice = random.Random(5)
    district = await factories.agency(database)
    operator = await actor(database, district)
    # A ring at nearly the same distance, 45 km out: the mid-latitude formula would be wrong by decimetres there.
    ring = [WGS84.fwd(CENTER[1], CENTER[0], dice.uniform(0, 360), 45_000 + dice.uniform(0, 2)) for _ in range(400)]
    await scatter(database, district, [(place[1], place[0]) for place in ring])
    async with database.begin() as session:
        rows = await cameras.visible_to(session, operator, Search(near=Near(*CENTER, 50_000)), limit=1000)
    metres = [WGS84.inv(CENTER[1], CENTER[0], row["longitude"], row["latitude"])[2] for row in rows]
    assert len(rows) == 400
    assert all(after - before > -0.001 for before, after in pairwise(metres))


async def test_a_polygon_with_a_hole_and_an_island_holds_what_shapely_says(database: Database) -> None:
    dice = random.Random(6)
    district = await factories.agency(database)
    operator = await actor(database, district)
    points = around(dice, 3_000, 800)
    ids = await scatter(database, district, points)
    x, y = CENTER[1], CENTER[0]
    lake = shapely.Polygon([(x - 0.008, y - 0.01), (x + 0.01, y - 0.004), (x, y + 0.012)])
    shore = shapely.Polygon([(x - 0.02, y - 0.015), (x + 0.018, y - 0.02), (x + 0.02, y + 0.01), (x - 0.01, y + 0.02)])
    geometry = shapely.MultiPolygon([shore.difference(lake), lake.buffer(-0.003)])
    search = Search(polygon=searches.read_polygon(mapping(geometry)))
    expected = {
        one for one, (lat, lon) in zip(ids, points, strict=True) if geometry.intersects(shapely.Point(lon, lat))
    }  # fmt: skip
    async with database.begin() as session:
        rows = await cameras.visible_to(session, operator, search, limit=1000)
        assert await cameras.count(session, operator, search) == len(expected)
    assert {row["id"] for row in rows} == expected
    assert 50 < len(expected) < 750


@pytest.mark.parametrize(
    "said",
    [
        None, {}, {"type": "Point", "coordinates": [127, 37]}, {"type": "Polygon", "coordinates": []},
        {"type": "Polygon", "coordinates": [[[127, 37], [128, 38], [128, 37], [127, 38], [127, 37]]]},
        {"type": "Polygon", "coordinates": [[[37, 127], [38, 127], [38, 128], [37, 127]]]},
        {"type": "Polygon", "coordinates": [[["a", 1], [1, 2], [3, 4], ["a", 1]]]},
    ],
)  # fmt: skip
def test_a_polygon_that_is_none_is_refused_by_its_field(said: Any) -> None:
    with pytest.raises(Malformed) as refused:
        searches.read_polygon(said)
    assert refused.value.extra["field"] == "polygon"


async def test_a_route_meets_its_cameras_in_order(database: Database) -> None:
    dice = random.Random(8)
    district = await factories.agency(database)
    operator = await actor(database, district)
    line = [(127.0, 37.55), (127.03, 37.56), (127.03, 37.60), (126.98, 37.61)]  # bends, some kilometres
    points = [(dice.uniform(37.54, 37.62), dice.uniform(126.97, 127.04)) for _ in range(1500)]
    ids = await scatter(database, district, points)
    route = along.read_route({"type": "LineString", "coordinates": line}, 150.0)
    # Brute force: the route walked in steps of two metres.
    steps, walked = [], 0.0
    for (x, y), (x2, y2) in pairwise(line):
        _, _, metres = WGS84.inv(x, y, x2, y2)
        azimuth = WGS84.inv(x, y, x2, y2)[0]
        for far in range(0, int(metres), 2):
            place = WGS84.fwd(x, y, azimuth, far)
            steps.append((place[0], place[1], walked + far))
        walked += metres
    tree = shapely.STRtree(shapely.points([(x * 0.793, y) for x, y, _ in steps]))
    expected: dict[UUID, tuple[float, float]] = {}
    for one, (lat, lon) in zip(ids, points, strict=True):
        step = steps[int(tree.nearest(shapely.Point(lon * 0.793, lat)))]
        aside = WGS84.inv(step[0], step[1], lon, lat)[2]
        if aside <= 150:
            expected[one] = (step[2], aside)
    seen: list[dict[Any, Any]] = []
    async with database.begin() as session:
        after = None
        while True:
            page, found = await along.visible_to(session, operator, route, Search(), limit=40, after=after)
            seen += page
            if len(page) < 40:
                break
            after = (page[-1]["along_metres"], page[-1]["id"])
    edge = {one for one, (_, aside) in expected.items() if aside > 149.9}
    assert {row["id"] for row in seen} - edge == expected.keys() - edge
    assert found == len(seen) == len({row["id"] for row in seen}) > 50
    for row in seen:
        walked, aside = expected.get(row["id"], (row["along_metres"], row["aside_metres"]))
        assert row["aside_metres"] == pytest.approx(aside, abs=0.1 if aside > 10 else 1.1)  # of steps two metres apart
        assert row["along_metres"] == pytest.approx(walked, abs=6)  # where it bends, two places are as near
    assert [row["along_metres"] for row in seen] == sorted(row["along_metres"] for row in seen)


@pytest.mark.parametrize(
    "said",
    [
        None, {"type": "LineString", "coordinates": [[127, 37]]}, {"type": "Point", "coordinates": [127, 37]},
        {"type": "LineString", "coordinates": [[127, 37], [127, 37]]},
        {"type": "LineString", "coordinates": [[37, 127], [38, 127]]},
        {"type": "LineString", "coordinates": [[120, 33], [130, 38]]},
    ],
)  # fmt: skip
def test_a_route_that_is_none_is_refused(said: Any) -> None:
    with pytest.raises(Malformed):
        along.read_route(said)


async def put(database: Database, owner: UUID, name: str, road: str = "", lot: str = "") -> UUID:
    camera_id = await factories.camera(database, owner)
    async with database.begin() as session:
        position = await session.get(CameraPosition, camera_id)
        assert position is not None
        position.name = name
        await session.execute(
            update(Site).where(Site.id == position.site_id).values(road_address=road, lot_address=lot)
        )  # fmt: skip
    return camera_id


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("보문로", {"a"}), ("문로", {"a"}), ("삼선", {"a"}), ("삼선 정문", {"a"}), ("정문 삼선 없음", set()),
        ("문", {"a", "b"}), ("공원 후문", {"b"}), ("168-2", {"a"}), ("CCTV", {"b"}), ("cctv-7", {"b"}), ("보문 로", {"a"}),
        ("로1", set()),
    ],
)  # fmt: skip
async def test_any_part_of_a_korean_address_is_found(database: Database, words: str, found: set[str]) -> None:
    district = await factories.agency(database)
    operator = await actor(database, district)
    ids = {
        "a": await put(database, district, "정문", "서울특별시 성북구 보문로 168-2", "삼선동5가 411"),
        "b": await put(database, district, "개운산공원 후문 CCTV-7", "", "돈암동 산 3"),
        "c": await put(database, district, "다른 곳", "종암로 1", ""),
    }
    async with database.begin() as session:
        rows = await cameras.visible_to(session, operator, Search(words=words), limit=10)
    assert {row["id"] for row in rows} == {ids[one] for one in found}


async def test_letters_are_found_by_their_index(database: Database) -> None:
    async with database.begin() as session:
        await session.execute(text("SET LOCAL enable_seqscan = off"))
        plan = await session.execute(
            text(
                "EXPLAIN SELECT id FROM sites WHERE letter_runs(name, road_address, lot_address) @> letter_pairs('보문로')"
            )
        )
        assert "ix_sites_letters" in "\n".join(row[0] for row in plan)
        pairs = await session.scalar(text("SELECT letter_pairs('가나 다라 Ab')"))
    assert sorted(pairs) == ["ab", "가나", "다라"]


async def test_facets_count_cameras_not_sites_and_only_what_may_be_located(database: Database) -> None:
    district, other, police = [await factories.agency(database, kind) for kind in ("city", "city", "police")]
    await factories.agreement(database, district, police, installation_purposes=("child_safety",))
    site_id = new_id()
    async with database.begin() as session:
        session.add(Site(id=site_id, owner_agency_id=district, external_key="whole"))
        await session.flush()
        for ordinal, (purposes, status) in enumerate(
            [(["child_safety"], "active"), (["child_safety", "multi"], "faulty"), (["crime_prevention"], "active")], 1
        ):
            session.add(
                CameraPosition(
                    id=new_id(), site_id=site_id, ordinal=ordinal, name=f"{ordinal}", owner_agency_id=district,
                    installation_purposes=purposes, status=status, latitude=37.5, longitude=127.0,
                )
            )  # fmt: skip
    await factories.camera(database, other)
    by = ["status", "purpose", "owner", "streaming"]
    near = Search(near=Near(37.5, 127.0, 10), owner_agency_id=district)
    operator, officer = await actor(database, district), await actor(database, police, "room")
    stranger = await actor(database, await factories.agency(database))
    async with database.begin() as session:
        own = await cameras.facets(session, operator, near, by)
        shared = await cameras.facets(session, officer, Search(), by)
        none = await cameras.facets(session, stranger, near, by)
    assert (own["cameras"], own["sites"]) == (3, 1)
    assert own["by"]["purpose"] == [
        {"value": "child_safety", "cameras": 2}, {"value": "crime_prevention", "cameras": 1},
        {"value": "multi", "cameras": 1},
    ]  # fmt: skip
    assert own["by"]["status"] == [{"value": "active", "cameras": 2}, {"value": "faulty", "cameras": 1}]
    assert (shared["cameras"], shared["by"]["owner"]) == (2, [{"value": str(district), "cameras": 2}])
    assert none == {"cameras": 0, "sites": 0, "by": {name: [] for name in by}}


async def test_shapes_and_routes_show_nothing_that_may_not_be_located(database: Database) -> None:
    district, police = await factories.agency(database), await factories.agency(database, "police")
    await factories.agreement(database, district, police, installation_purposes=("child_safety",))
    shared = await factories.camera(database, district, latitude=35.2, longitude=129.1, purposes=("child_safety",))
    await factories.camera(database, district, latitude=35.2, longitude=129.1)
    officer = await actor(database, police, "room")
    auditor = await actor(database, district, "auditor")
    box = Search(polygon=shapely.box(129.0, 35.1, 129.2, 35.3))
    route = along.read_route({"type": "LineString", "coordinates": [[129.09, 35.2], [129.11, 35.2]]})
    async with database.begin() as session:
        assert [row["id"] for row in await cameras.visible_to(session, officer, box, limit=9)] == [shared]
        passed, found = await along.visible_to(session, officer, route, Search(), limit=9)
        assert ([row["id"] for row in passed], found) == ([shared], 1)
        assert await cameras.visible_to(session, auditor, box, limit=9) == []
        assert await along.visible_to(session, auditor, route, Search(), limit=9) == ([], 0)
