"""The numbers that officials ask for, held against a small city that can be counted by hand."""

import csv
import io
from datetime import date
from uuid import UUID

import pytest
import shapely
from shapely.geometry import mapping
from sqlalchemy import insert, update

from app.database import Database
from app.errors import NotPermitted
from app.ids import new_id
from app.models import Agency, Area, Asset, CameraPosition, Site
from app.registry import areas, numbers, places
from tests import factories
from tests.actors import actor


async def draw(database: Database, name: str, kind: str, parent: UUID | None, x: float, wide: float = 0.1) -> Area:
    shape = shapely.box(x, 37, x + wide, 37.1)
    made = Area(
        id=new_id(), code_system="local", code=factories.name("z"), kind=kind, name=name, parent_id=parent,
        boundary=mapping(shape), area_km2=areas.area_km2(shape),
    )  # fmt: skip
    async with database.begin() as session:
        session.add(made)
    return made


async def put(database: Database, owner: UUID, area_ids: list[UUID], *, x: float = 127.05, **more: object) -> UUID:
    """A camera; returns its site."""
    site_id = more.pop("site_id", None) or new_id()
    async with database.begin() as session:
        ordinal = more.pop("ordinal", 1)
        if ordinal == 1:
            await session.execute(insert(Site).values(id=site_id, owner_agency_id=owner, external_key=str(site_id)))
        values = {
            "id": new_id(), "site_id": site_id, "ordinal": ordinal, "name": "CAM", "owner_agency_id": owner,
            "latitude": 37.05, "longitude": x, "area_ids": area_ids, "installation_purposes": ["crime_prevention"],
        }  # fmt: skip
        await session.execute(insert(CameraPosition).values(values | more))
    assert isinstance(site_id, UUID)
    return site_id


class City:
    """한빛시 with three districts; 가구 owns most, and two cameras of it stand where they should not."""

    city: Area
    ga: Area
    na: Area
    da: Area
    ga_gu: UUID
    na_gu: UUID


@pytest.fixture(scope="module")
async def city(database: Database) -> City:
    made = City()
    made.city = await draw(database, "한빛시", "sido", None, 127.0, 0.6)
    made.ga = await draw(database, "가구", "sigungu", made.city.id, 127.0)
    made.na = await draw(database, "나구", "sigungu", made.city.id, 127.1, 0.3)
    made.da = await draw(database, "=1+1다구", "sigungu", made.city.id, 127.4, 0.2)
    made.ga_gu, made.na_gu = await factories.agency(database), await factories.agency(database)
    async with database.begin() as session:
        for agency_id, name in ((made.ga_gu, "가구"), (made.na_gu, "한빛시 나구")):
            await session.execute(update(Agency).where(Agency.id == agency_id).values(name=name))
    ga, na = [made.ga.id, made.city.id], [made.na.id, made.city.id]
    site = await put(database, made.ga_gu, ga, analytics=["intrusion"], installed_on=date(2000, 1, 1))
    await put(database, made.ga_gu, ga, site_id=site, ordinal=2, pixels_10k=130)
    await put(database, made.ga_gu, ga, programme="2026 안심", status="planned")
    await put(database, made.ga_gu, ga, programme="2026 안심", status="active", pixels_10k=200)
    await put(database, made.ga_gu, ga, status="faulty", installation_purposes=["crime_prevention", "child_safety"])
    await put(database, made.ga_gu, ga, status="retired", retired_at=date(2026, 1, 1))
    await put(database, made.ga_gu, na, x=127.2)
    await put(database, made.ga_gu, [], x=129.0)
    await put(database, made.na_gu, na, x=127.2, analytics=["fire_watch"])
    async with database.begin() as session:
        for number, status in enumerate(("active", "active", "retired")):
            await session.execute(
                insert(Asset).values(
                    id=new_id(), kind="bell", owner_agency_id=made.ga_gu, external_key=f"{number}", name="비상벨",
                    area_ids=ga, status=status,
                )
            )  # fmt: skip
    return made


async def test_a_city_is_counted(database: Database, city: City) -> None:
    police = await factories.agency(database, "police")
    for owner in (city.ga_gu, city.na_gu):
        await factories.agreement(database, owner, police)
    officer = await actor(database, police, "room")
    async with database.begin() as session:
        told = await numbers.of_area(session, officer, str(city.city.id))
        lower = await numbers.of_area(session, officer, str(city.ga.id), numbers.Limits(years=7, pixels_10k=100))
    whole, (ga, na, da) = told["area"], told["parts"]
    assert (whole["cameras"], whole["sites"], whole["bells"]) == (6, 5, 2)
    assert [one["name"] for one in told["parts"]] == ["가구", "나구", "=1+1다구"]  # by density, not by name or number
    assert [(one["rank"], one["ranked_among"]) for one in (ga, na, da)] == [(1, 3), (2, 3), (3, 3)]
    assert (ga["cameras"], ga["sites"], ga["intelligent"], ga["bells"]) == (4, 3, 1, 2)
    assert ga["cameras_per_km2"] == round(4 / ga["km2"], 2)
    assert ga["km2"] == pytest.approx(98.6, abs=0.5)  # geodesic: 8.88 km by 11.1 km
    assert (ga["intelligent_share"], ga["intelligent_share_of_parent"]) == (0.25, round(2 / 6, 4))
    assert (ga["outdated"], ga["age_and_pixels_unknown"]) == (2, 1)
    assert lower["area"]["outdated"] == 1
    assert (lower["area"]["rank"], lower["area"]["ranked_among"]) == (1, 3)
    assert ga["by"]["status"] == {"active": 3, "faulty": 1, "planned": 1}
    assert ga["by"]["purpose"] == {"crime_prevention": 4, "child_safety": 1}
    assert ga["by"]["programme"] == {
        "2026 안심": {"cameras": 2, "sites": 2, "planned": 1, "installed": 0, "active": 1, "faulty": 0}
    }
    assert (da["cameras"], da["cameras_per_km2"], da["intelligent_share"]) == (0, 0.0, None)
    assert told["misplaced"] == {
        "in_another_part": 1, "outside_the_area": 1, "sites_checked": 7,
        "agencies": [
            {"id": city.ga_gu, "name": "가구", "area_id": city.ga.id, "in_another_part": 1, "outside_the_area": 1}
        ],
    }  # fmt: skip


async def test_each_counts_what_it_may_know_of(database: Database, city: City) -> None:
    stranger = await actor(database, await factories.agency(database))
    owner = await actor(database, city.na_gu)
    auditor = await actor(database, city.na_gu, "auditor")
    committee = await factories.agency(database, "oversight")
    oversight = await actor(database, committee, "oversight")
    async with database.begin() as session:
        none = await numbers.of_area(session, stranger, str(city.city.id))
        own = await numbers.of_area(session, owner, str(city.city.id))
        before = await numbers.of_area(session, oversight, str(city.city.id))
        with pytest.raises(NotPermitted):
            await numbers.of_area(session, auditor, str(city.city.id))
    assert (none["area"]["cameras"], none["area"]["bells"], none["misplaced"]["sites_checked"]) == (0, 0, 0)
    assert [one["cameras"] for one in (own["area"], *own["parts"])] == [1, 1, 0, 0]
    assert before["area"]["cameras"] == 0
    async with database.begin() as session:
        await places.set_jurisdiction(session, None, committee, [city.ga.id])
        after = await numbers.of_area(session, oversight, str(city.city.id))
    assert (after["area"]["cameras"], after["area"]["bells"]) == (4, 2)  # what stands in its jurisdiction


async def test_the_table_is_no_program(database: Database, city: City) -> None:
    owner = await actor(database, city.ga_gu)
    async with database.begin() as session:
        await session.execute(
            update(CameraPosition)
            .where(CameraPosition.owner_agency_id == city.ga_gu, CameraPosition.programme != "")
            .values(programme='@SUM(1,"2")')
        )
        table = numbers.as_csv(await numbers.of_area(session, owner, str(city.city.id)))
        await session.rollback()
    assert table.startswith(b"\xef\xbb\xbf")
    rows = list(csv.reader(io.StringIO(table.decode("utf-8-sig"))))
    assert len({len(row) for row in rows}) == 1
    assert rows[0][:2] == ["code 법정동코드", "name 구역"]
    assert [row[1] for row in rows[1:]] == ["한빛시", "가구", "나구", "'=1+1다구"]
    column = rows[0].index('programme:@SUM(1,"2") planned')
    assert [row[column] for row in rows[1:]] == ["1", "1", "0", "0"]
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "@", "\t", "\r"))]


async def test_an_area_without_a_boundary_is_as_large_as_its_parts(database: Database) -> None:
    above = await factories.area(database)
    parts = [await draw(database, f"{n}동", "neighbourhood", above, 127 + n / 10) for n in range(2)]
    who = await actor(database, await factories.agency(database))
    async with database.begin() as session:
        told = await numbers.of_area(session, who, str(above))
    assert told["area"]["km2"] == pytest.approx(sum(one.area_km2 or 0 for one in parts))
    assert told["area"]["cameras_per_km2"] == 0.0
