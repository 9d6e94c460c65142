"""Areas of one's own, codes with their days, and who is competent where."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import shapely
from shapely.geometry import mapping
from sqlalchemy import select

from app.database import Database
from app.errors import Conflict, Malformed, NotFound, NotPermitted, UnusableFile
from app.models import Area, AuditEntry, CameraPosition
from app.registry import areas, legal_dong, places
from app.registry.places import NewArea
from tests import factories
from tests.actors import actor

SQUARE = mapping(shapely.box(127.0, 37.0, 127.01, 37.01))
LINE = {"type": "LineString", "coordinates": [[127.0, 36.5], [127.01, 36.5]]}


async def test_a_new_area_knows_its_cameras_at_once_and_is_written_down(database: Database) -> None:
    district = await factories.agency(database)
    admin = await actor(database, district, "admin")
    inside = await factories.camera(database, district, latitude=37.005, longitude=127.005)
    outside = await factories.camera(database, district, latitude=37.02, longitude=127.005)
    async with database.begin() as session:
        area_id, repaired = await places.add(session, admin, NewArea("vulnerable", "먹자골목", SQUARE, subkind="night"))
    async with database.begin() as session:
        held = dict(
            (
                await session.execute(
                    select(CameraPosition.id, CameraPosition.area_ids).where(CameraPosition.owner_agency_id == district)
                )
            ).all()
        )
        entry = await session.scalar(select(AuditEntry).where(AuditEntry.area_id == area_id))
        assert await areas.assign(session) == 0 or area_id in (await session.get(CameraPosition, inside)).area_ids
    assert (held[inside], held[outside], repaired) == ([area_id], [], "")
    assert entry is not None
    assert (entry.act, entry.agency_id) == ("area.added", district)


async def test_a_path_reaches_beside_its_line(database: Database) -> None:
    district = await factories.agency(database)
    admin = await actor(database, district, "admin")
    metre = 1 / 110_950  # of latitude, here
    near = await factories.camera(database, district, latitude=36.5 + 39 * metre, longitude=127.005)
    far = await factories.camera(database, district, latitude=36.5 + 41 * metre, longitude=127.005)
    path = NewArea("safe_return_path", "안심귀갓길", LINE, reach_metres=40)
    async with database.begin() as session:
        area_id, _ = await places.add(session, admin, path)
        held = [await session.get(CameraPosition, one) for one in (near, far)]
        assert [one.area_ids for one in held if one] == [[area_id], []]
        assert area_id in [one.id for one in await places.holding(session, 36.5 + 39 * metre, 127.005)]
        assert area_id not in [one.id for one in await places.holding(session, 36.5 + 41 * metre, 127.005)]
        located = await areas.locator(session)
    assert located.locate([127.005] * 2, [36.5 + 39 * metre, 36.5 + 41 * metre]) == [[area_id], []]


@pytest.mark.parametrize(
    ("new", "field"),
    [
        (NewArea("sigungu", "구", SQUARE), "kind"),
        (NewArea("park", " ", SQUARE), "name"),
        (NewArea("event", "축제", SQUARE), "valid_to"),
        (NewArea("event", "축제", SQUARE, valid_from=date(2026, 5, 2), valid_to=date(2026, 5, 1)), "valid_to"),
        (NewArea("vulnerable", "골목", SQUARE), "subkind"),
        (NewArea("park", "공원", LINE), "boundary"),
        (NewArea("safe_return_path", "길", SQUARE), "boundary"),
        (NewArea("park", "공원", {"type": "Polygon", "coordinates": [[[37, 127], [38, 127], [37, 128]]]}), "boundary"),
        (NewArea("trail", "길", LINE, reach_metres=501.0), "reach_metres"),
    ],
)
async def test_an_area_that_cannot_stand_is_refused_by_its_field(database: Database, new: NewArea, field: str) -> None:
    admin = await actor(database, await factories.agency(database), "admin")
    async with database.begin() as session:
        with pytest.raises(Malformed) as refused:
            await places.add(session, admin, new)
    assert refused.value.extra["field"] == field


async def test_only_its_owner_ends_an_area_and_only_administrators_draw(database: Database) -> None:
    district, other = await factories.agency(database), await factories.agency(database)
    admin, stranger, operator = (
        await actor(database, district, "admin"), await actor(database, other, "admin"), await actor(database, district)
    )  # fmt: skip
    day = date.today()
    async with database.begin() as session:
        area_id, _ = await places.add(session, admin, NewArea("event", "불꽃축제", SQUARE, valid_to=day, code="x-1"))
        for who, problem in ((operator, NotPermitted), (stranger, NotPermitted)):
            with pytest.raises(problem):
                await places.end(session, who, area_id, day)
        with pytest.raises(NotPermitted):
            await places.add(session, operator, NewArea("park", "공원", SQUARE))
        with pytest.raises(Conflict):
            await places.add(session, stranger, NewArea("park", "공원", SQUARE, code="x-1"))
        with pytest.raises(NotPermitted):
            await places.end(session, admin, await factories.area(database), day)
        assert area_id in [one.id for one in await places.holding(session, 37.005, 127.005)]
        await places.end(session, admin, area_id, day - timedelta(days=1))
        assert area_id not in [one.id for one in await places.holding(session, 37.005, 127.005)]


async def test_the_smaller_jurisdiction_is_competent(database: Database) -> None:
    agency = await factories.agency(database, "police")
    first, second = [await factories.agency(database, "police", parent=agency) for _ in range(2)]
    box = await factories.agency(database, "box", parent=second)
    fire = await factories.agency(database, "fire")
    admin = await actor(database, agency, "admin")
    x, y = 126.2, 35.2

    def square(size: float) -> dict[str, Any]:
        return mapping(shapely.box(x, y, x + size, y + size))

    async with database.begin() as session:
        whole, half = [
            (await places.add(session, admin, NewArea("jurisdiction", name, square(size))))[0]
            for name, size in (("관할", 0.1), ("작은 관할", 0.05))
        ]
        await places.set_jurisdiction(session, None, first, [whole])
        await places.set_jurisdiction(session, None, second, [half])
        await places.set_jurisdiction(session, None, fire, [whole, half])
        _, found = await places.competent(session, y + 0.01, x + 0.01)
        assert {kind: one.id for kind, one in found.items()} == {"police": second, "fire": fire}
        _, found = await places.competent(session, y + 0.07, x + 0.01)
        assert {kind: one.id for kind, one in found.items()} == {"police": first, "fire": fire}
        assert await places.competent(session, y - 1, x) == ([], {})
        # A box answers for the police to which it belongs; what was said before ends.
        assert await places.set_jurisdiction(session, None, second, []) == (0, 1)
        assert await places.set_jurisdiction(session, None, box, [half]) == (1, 0)
        assert await places.set_jurisdiction(session, None, box, [half]) == (0, 0)
        _, found = await places.competent(session, y + 0.01, x + 0.01)
        assert found["police"].id == box
        with pytest.raises(NotPermitted):
            await places.set_jurisdiction(session, admin, fire, [])
        with pytest.raises(NotFound):
            await places.set_jurisdiction(session, None, fire, [fire])


CODES = """법정동코드,시도명,시군구명,읍면동명,리명,순위,생성일자,삭제일자,과거법정동코드
9900000000,한빛도,,,,1,1988-04-23,,
9911000000,한빛도,가람시,,,2,1988-04-23,,
9911100000,한빛도,가람시나루구,,,3,1991-09-16,,
9911110100,한빛도,가람시나루구,달빛동,,4,1991-09-16,,
9912000000,한빛도,다온군,,,5,1988-04-23,,
9912031000,한빛도,다온군,별면,,6,1988-04-23,,
9912031021,한빛도,다온군,별면,솔리,7,1988-04-23,,
9912031022,한빛도,다온군,별면,옛리,8,1988-04-23,2014-07-01,
9912031023,한빛도,다온군,별면,한날리,9,2014-07-01,2014-07-01,
991203102,한빛도,다온군,별면,짧은리,10,1988-04-23,,
9912031021,한빛도,다온군,별면,두번리,11,1988-04-23,,
9912031024,한빛도,다온군,별면,틀린리,12,1988-13-23,,
"""


async def test_codes_come_with_their_days_and_their_tree(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "codes.txt"
    file.write_bytes(CODES.encode("cp949"))
    # One shape was here before its code, with an id that agreements name.
    feature = {"type": "Feature", "properties": {"SIG_CD": "99111", "SIG_KOR_NM": "나루구"}, "geometry": SQUARE}
    async with database.begin() as session:
        loaded = await areas.load_geojson(session, None, {"features": [feature]})
    assert legal_dong.looks_like_it(file)
    codes = legal_dong.read(file)
    assert [finding.partition(":")[0] for finding in codes.findings] == ["row 11", "row 12", "row 13"]
    async with database.begin() as session:
        assert await legal_dong.load(session, None, codes) == (8, 1)
        assert await legal_dong.load(session, None, codes) == (0, 0)
        rows = (
            await session.scalars(select(Area).where(Area.code.startswith("99"), ~Area.name.startswith("공원-")))
        ).all()
        known, names = {row.code: row for row in rows}, {row.id: row.name for row in rows}
        above = {row.name: names.get(row.parent_id) for row in rows}
        assert above == {
            "한빛도": None, "가람시": "한빛도", "가람시나루구": "가람시", "달빛동": "가람시나루구", "다온군": "한빛도",
            "별면": "다온군", "솔리": "별면", "옛리": "별면", "한날리": "별면",
        }  # fmt: skip
        assert known["9911100000"].id == loaded.ids["9911100000"]
        assert known["9911100000"].boundary
        assert [known[code].kind for code in ("9900000000", "9912000000", "9912031000", "9912031021")] == [
            "sido", "sigungu", "neighbourhood", "village",
        ]  # fmt: skip
        gone, same_day = known["9912031022"], known["9912031023"]
        assert (gone.valid_from, gone.valid_to) == (date(1988, 4, 23), date(2014, 6, 30))
        assert same_day.valid_from == same_day.valid_to == date(2014, 6, 30)
        # A shape that comes later belongs to the code as it is.
        feature["properties"] = {"EMD_CD": "99111101", "EMD_KOR_NM": "달빛동"}
        loaded = await areas.load_geojson(session, None, {"features": [feature]})
        assert list(loaded.ids.values()) == [known["9911110100"].id]
        on_old_day = await areas.listed(
            session, parent_id=known["9912031000"].id, valid_on=date(2000, 1, 1), limit=9
        )  # fmt: skip
        assert {one.name for one in on_old_day} == {"솔리", "옛리"}
        assert [one.name for one in await areas.above(session, known["9912031021"])] == ["별면", "다온군", "한빛도"]
        with pytest.raises(NotFound):
            await areas.by_codes(session, ["9912031022"])


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00", "법정동코드,이름\n1,2\n".encode(), CODES.splitlines()[0].encode()]
)
def test_a_file_that_is_no_list_of_codes_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "codes.csv"
    file.write_bytes(content)
    with pytest.raises(UnusableFile):
        legal_dong.read(file)
