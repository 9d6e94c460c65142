"""Areas: polygons come in as they are published, mended where they must be, and cameras find themselves in them."""

import random
from typing import Any
from uuid import UUID

import pytest
import shapely
from sqlalchemy import func, select

from app import database as db
from app.database import Database
from app.errors import Malformed, NotFound, UnusableFile
from app.ids import new_id
from app.models import Area, Asset, AuditEntry, CameraPosition
from app.registry import areas
from app.registry.areas import Loaded, Locator
from tests import factories

Ring = list[tuple[float, float]]


def square(west: float, south: float, size: float = 1.0) -> Ring:
    east, north = west + size, south + size
    return [(west, south), (east, south), (east, north), (west, north), (west, south)]


def feature(code: str, name: str, *rings: Ring, kind: str = "Polygon", **more: Any) -> dict[str, Any]:
    properties = {"code": code, "name": name} | more
    return {"type": "Feature", "properties": properties, "geometry": {"type": kind, "coordinates": list(rings)}}


async def load(database: Database, *features: Any, kind: str = "") -> Loaded:
    async with database.begin() as session:
        return await areas.load_geojson(
            session, None, {"type": "FeatureCollection", "features": list(features)}, kind=kind
        )


async def stored(database: Database, area_id: UUID) -> Area:
    async with database.begin() as session:
        area = await session.get(Area, area_id)
        assert area is not None
        return area


def local() -> str:
    return factories.name("area")


async def test_a_bow_tie_is_mended_and_said_so(database: Database) -> None:
    code = local()
    bow_tie: Ring = [(127.0, 37.0), (127.2, 37.2), (127.2, 37.0), (127.0, 37.2), (127.0, 37.0)]
    assert not shapely.Polygon(bow_tie).is_valid
    loaded = await load(
        database, feature(code, "나비공원", bow_tie), feature(local(), "네모공원", square(128, 37, 0.1))
    )
    area = await stored(database, loaded.ids[code])
    assert loaded.findings == ["feature 1 (나비공원): polygon mended (Self-intersection[127.1 37.1])"]
    assert area.repaired == "Self-intersection[127.1 37.1]"
    mended = shapely.geometry.shape(area.boundary)
    assert mended.is_valid
    assert mended.area == pytest.approx(2 * 0.2 * 0.1 / 2)
    left, middle_of_top = Locator([(area.id, None, "park", "", area.boundary)]).locate([127.02, 127.1], [37.1, 37.18])
    assert (left, middle_of_top) == ([area.id], [])


@pytest.mark.parametrize(
    ("odd", "finding"),
    [
        ({"type": "Feature", "properties": {"name": "이름뿐"}, "geometry": None}, "no code or name"),
        ({"type": "Feature", "properties": {"code": "x1"}, "geometry": None}, "no code or name"),
        ({"type": "Feature", "properties": None, "geometry": None}, "no code or name"),
        ("not an object", "no code or name"),
        (feature("nul\0", "이름", square(127, 37)), "no code or name"),
        (feature("x2", "긴 이름" * 100, square(127, 37)), "no code or name"),
        ({"type": "Feature", "properties": {"code": "x3", "name": "빈 곳"}, "geometry": None}, "geometry unusable"),
        (feature("x4", "모르는 꼴", kind="Circle"), "geometry unusable"),
        (feature("x5", "글자", [("a", "b")]), "geometry unusable"),  # type: ignore[list-item]
        (feature("x6", "두 점", [(127, 37), (127, 38)]), "geometry unusable"),
        (feature("x7", "점", 127.0, 37.0, kind="Point"), "not a polygon"),  # type: ignore[arg-type]
        (feature("x8", "빈 다각형"), "not a polygon"),
        (feature("x9", "미터", square(953_000, 1_950_000, 500)), "not degrees"),
        (feature("xa", "뒤바뀜", square(37, 127)), "not degrees"),
    ],
)
async def test_a_feature_that_cannot_stand_is_left_out_and_said_so(database: Database, odd: Any, finding: str) -> None:
    good = local()
    loaded = await load(database, odd, feature(good, "좋은 곳", square(127, 37, 0.01)))
    assert set(loaded.ids) == {good}
    assert len(loaded.findings) == 1
    assert loaded.findings[0].startswith("feature 1")
    assert finding in loaded.findings[0]
    assert loaded.findings[0].endswith("left out")


@pytest.mark.parametrize(
    "document", [None, [], {}, {"features": {}}, {"features": []}, {"features": [1, 2]}, "FeatureCollection"]
)
async def test_what_is_no_collection_of_areas_is_refused_whole(database: Database, document: Any) -> None:
    async with database.begin() as session:
        before = await session.scalar(select(func.count()).select_from(Area))
        with pytest.raises(UnusableFile):
            await areas.load_geojson(session, None, document)
        assert await session.scalar(select(func.count()).select_from(Area)) == before


async def test_codes_of_any_length_say_what_they_name_and_who_is_above(database: Database) -> None:
    sido, gu, dong = f"{random.randrange(60, 99)}", "110", "103"
    loaded = await load(
        database,
        feature(sido + gu + dong + "00", "별빛동", square(127, 37, 0.1)),
        feature(sido + gu + "00000", "한빛구", square(127, 37, 0.2)),
        {
            "type": "Feature",
            "properties": {"CTPRVN_CD": sido, "CTP_KOR_NM": "새솔특별시", "CTP_ENG_NM": "Saesol"},
            "geometry": {"type": "MultiPolygon", "coordinates": [[square(127, 37, 0.3)], [square(128, 37, 0.3)]]},
        },
    )
    assert list(loaded.ids) == [sido + gu + dong + "00", sido + gu + "00000", sido + "00000000"]
    neighbourhood, district, province = [await stored(database, area_id) for area_id in loaded.ids.values()]
    assert [area.kind for area in (neighbourhood, district, province)] == ["neighbourhood", "sigungu", "sido"]
    assert (neighbourhood.parent_id, district.parent_id, province.parent_id) == (district.id, province.id, None)
    assert province.name_en == "Saesol"
    async with database.begin() as session:
        for name in (sido + gu, sido + gu + "00000", str(district.id)):
            assert (await areas.get(session, name)).id == district.id
        assert (await areas.get(session, sido)).id == province.id


async def test_the_same_code_again_replaces_the_shape_and_keeps_the_id(database: Database) -> None:
    code = local()
    first = (await load(database, feature(code, "옛 이름", square(127, 37, 0.1)), kind="park")).ids[code]
    again = (await load(database, feature(code, "새 이름", square(127, 37, 0.2)), kind="park")).ids[code]
    area = await stored(database, first)
    assert first == again
    assert (area.name, area.kind) == ("새 이름", "park")
    assert area.area_km2 == pytest.approx(393.9, rel=0.01)
    async with database.begin() as session:
        written = await session.scalar(select(func.count()).where(AuditEntry.act == "areas.imported"))
    assert written is not None
    assert written >= 2


@pytest.mark.parametrize("name", ["", "   ", "\0", "a" * 41])
async def test_an_area_is_asked_for_by_id_or_code(database: Database, name: str) -> None:
    async with database.begin() as session:
        with pytest.raises(Malformed):
            await areas.get(session, name)
        with pytest.raises(NotFound):
            await areas.get(session, "no-such-code")
        with pytest.raises(NotFound):
            await areas.get(session, str(new_id()))


async def test_cameras_and_assets_are_put_into_their_areas_and_the_areas_above(
    database: Database, empty_database_url: str
) -> None:
    async with db.connect(empty_database_url) as base:
        district = await factories.agency(base)
        inside = await factories.camera(base, district, latitude=37.05, longitude=127.05, area_ids=(new_id(),))
        beside = await factories.camera(base, district, latitude=37.15, longitude=127.15)
        outside = await factories.camera(base, district, latitude=35.0, longitude=129.0, area_ids=(new_id(),))
        nowhere = await factories.camera(base, district, latitude=None, longitude=None)
        async with base.begin() as session:
            bell = Asset(
                kind="bell", owner_agency_id=district, external_key="1", name="벨", latitude=37.05, longitude=127.05
            )
            session.add(bell)
            assert await areas.assign(session) == 2  # there are no areas: what stood there was wrong
        loaded = await load(
            base,
            feature("1111010300", "별빛동", square(127, 37, 0.1)),
            feature("11110", "한빛구", square(127, 37, 0.2)),
            feature("park", "별빛공원", square(127.04, 37.04, 0.02)),
        )
        dong, gu, park = loaded.ids["1111010300"], loaded.ids["1111000000"], loaded.ids["park"]
        async with base.begin() as session:
            assert await areas.assign(session) == 2
            assert await areas.assign(session) == 0  # nothing changes by asking again
            assert await areas.assign(session, "assets") == 1
            rows = await session.execute(select(CameraPosition.id, CameraPosition.area_ids))
            held = {row.id: row.area_ids for row in rows}
            bell_held = await session.scalar(select(Asset.area_ids))
            with pytest.raises(ValueError, match="users"):
                await areas.assign(session, "users")
    assert {camera_id: set(area_ids) for camera_id, area_ids in held.items()} == {
        inside: {dong, gu, park}, beside: {gu}, outside: set(), nowhere: set(),
    }  # fmt: skip
    assert set(bell_held or ()) == {dong, gu, park}


def test_the_locator_agrees_with_asking_every_polygon() -> None:
    dice = random.Random(5)
    rows: list[tuple[UUID, UUID | None, str, str, dict[str, Any] | None]] = []
    for number in range(30):
        ring = shapely.Point(dice.uniform(127, 128), dice.uniform(37, 38)).buffer(dice.uniform(0.01, 0.2))
        parent = dice.choice(rows)[0] if rows and dice.random() < 0.5 else None
        boundary = shapely.geometry.mapping(ring) if number else None  # the first has no polygon
        rows.append((new_id(), parent, "park", f"{number}", boundary))
    parents, bounded = {row[0]: row[1] for row in rows}, {row[0] for row in rows if row[4]}
    places = [(dice.uniform(126.9, 128.1), dice.uniform(36.9, 38.1)) for _ in range(500)]
    locator = Locator(rows)
    held = locator.locate([place[0] for place in places], [place[1] for place in places])
    for place, found in zip(places, held, strict=True):
        holding = {
            row[0] for row in rows if row[4] and shapely.geometry.shape(row[4]).intersects(shapely.Point(place))
        }  # fmt: skip
        expected: set[UUID | None] = set()
        for area_id in holding:
            above: UUID | None = area_id
            while above is not None and (above in holding or above not in bounded):
                expected.add(above)
                above = parents[above]
        assert set(found) == expected
        assert len(found) == len(set(found))
    assert Locator([]).locate([127.0, 128.0], [37.0, 37.0]) == [[], []]
    assert locator.locate([], []) == []
    assert locator.name([rows[3][0]], "park") == "3"
    assert locator.name([rows[3][0]], "sigungu") is None


def test_a_simplified_neighbourhood_does_not_put_a_camera_into_two_districts() -> None:
    east, west, dong = new_id(), new_id(), new_id()
    locator = Locator(
        [
            (east, None, "sigungu", "동구", shapely.geometry.mapping(shapely.box(127.1, 37, 127.2, 37.1))),
            (west, None, "sigungu", "서구", shapely.geometry.mapping(shapely.box(127.0, 37, 127.1, 37.1))),
            (dong, east, "neighbourhood", "동동", shapely.geometry.mapping(shapely.box(127.09, 37, 127.15, 37.1))),
        ]
    )
    beside, within = locator.locate([127.095, 127.12], [37.05, 37.05])
    assert (beside, set(within)) == ([west], {dong, east})
