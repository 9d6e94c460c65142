"""An import becomes rows whole or not at all; the same file again changes nothing; fewer cameras retire the last ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import func, insert, select, update

from app import database as db
from app.actor import Actor
from app.database import Database
from app.errors import UnusableFile
from app.ids import new_id
from app.models import Agency, Area, AuditEntry, CameraPosition, Import, ImportFinding, Site
from app.registry import agencies
from app.registry.imports import bring as importer
from app.registry.imports.bring import Brought
from app.registry.imports.merge_cameras import CameraMerge
from app.registry.imports.owners import Owners
from app.registry.imports.reading import Opened, open_file
from tests import factories
from tests.actors import actor
from tests.registry.import_tables import SEOUL, STANDARD_18, csv_text, line, lines, stored


def reading_of(folder: Path, rows: Sequence[Sequence[Any]], columns: Sequence[str] = STANDARD_18) -> Opened:
    return open_file(stored(csv_text(rows, columns), folder, "새솔구_CCTV.csv"))


async def bring(
    database: Database, opened: Opened, owner_id: UUID, who: Actor | None = None, **options: Any
) -> Brought:
    """One import, of which all rows are the owner's."""
    async with database.begin() as session:
        return await importer.take_in(session, who, opened, Owners(owner=owner_id), **options)


def numbers(brought: Brought) -> tuple[int, int, int, int]:
    changes = brought.changes
    return changes.new, changes.changed, changes.new_cameras, changes.retired_cameras


async def cameras_of(database: Database, owner_id: UUID) -> list[CameraPosition]:
    async with database.begin() as session:
        query = (
            select(CameraPosition)
            .join(Site, Site.id == CameraPosition.site_id)
            .where(CameraPosition.owner_agency_id == owner_id)
            .order_by(Site.external_key, CameraPosition.ordinal)
        )
        return list(await session.scalars(query))


def told(cameras: Sequence[CameraPosition]) -> list[dict[str, Any]]:
    """Everything that is stored of the cameras."""
    return [
        {
            column.name: getattr(camera, column.name)
            for column in CameraPosition.__table__.columns
            if column.name != "location"
        }
        for camera in cameras
    ]


async def test_a_file_becomes_sites_cameras_findings_and_an_entry(database: Database, tmp_path: Path) -> None:
    district = await factories.agency(database)
    admin = await actor(database, district, "admin")
    rows = [
        line(관리번호="202439990000800001", 카메라대수="3"),
        line(관리번호="202439990000800002", 카메라대수="1", WGS84위도="", WGS84경도=""),
        line(관리번호="202439990000800002", 카메라대수="9"),  # the same key again: quarantined
    ]
    reading = reading_of(tmp_path, rows)
    applied = await bring(database, reading, district, admin)
    assert numbers(applied) == (2, 0, 4, 0)
    assert applied.changes.unlocated == 1
    found = await cameras_of(database, district)
    assert [(camera.ordinal, camera.name.rsplit(" ", 1)[-1]) for camera in found] == [
        (1, "1"), (2, "2"), (3, "3"), (1, "12"),
    ]  # fmt: skip
    assert len({camera.site_id for camera in found}) == 2
    first = found[0]
    assert (first.latitude, first.longitude) == (37.51297312, 127.02790456)
    assert (first.installation_purposes, first.retention_days, first.pixels_10k) == (["crime_prevention"], 30, 200)
    assert first.installed_on is not None
    assert first.installed_on.isoformat() == "2018-09-01"
    assert found[3].latitude is None
    async with database.begin() as session:
        record = await session.get(Import, applied.import_id)
        findings = (
            await session.scalars(
                select(ImportFinding).where(ImportFinding.import_id == applied.import_id).order_by(ImportFinding.number)
            )
        ).all()
        entry = await session.scalar(select(AuditEntry).where(AuditEntry.subject_id == applied.import_id))
        keys = (
            await session.scalars(select(Site.external_key).where(Site.owner_agency_id == district))
        ).all()  # fmt: skip
    assert record is not None
    assert (record.agency_id, record.user_id, record.file_name) == (district, admin.user_id, "새솔구_CCTV.csv")
    assert record.summary["rows"] == 3
    assert {finding.code for finding in findings} >= {"coordinates_missing", "key_repeated"}
    assert all(finding.message for finding in findings)
    assert entry is not None
    assert (entry.act, entry.payload["new_cameras"], entry.payload["login"]) == ("import.applied", 4, admin.login)
    assert entry.payload["file_sha256"] == reading.digest.hex()
    assert sorted(keys) == ["3999000:202439990000800001", "3999000:202439990000800002"]


@pytest.mark.parametrize("columns", [STANDARD_18, SEOUL])
async def test_the_same_file_again_changes_nothing(database: Database, tmp_path: Path, columns: Sequence[str]) -> None:
    district = await factories.agency(database)
    rows = lines(30, columns) + lines(2, columns)[:1] * 2  # rows without a key may well be the same
    before = await bring(database, reading_of(tmp_path, rows, columns), district)
    assert before.changes.new_cameras > 30
    stood = told(await cameras_of(database, district))
    for order in (rows, rows):
        assert numbers(await bring(database, reading_of(tmp_path, order, columns), district)) == (0, 0, 0, 0)
    assert told(await cameras_of(database, district)) == stood


async def test_areas_keep_their_order_so_that_an_import_again_changes_nothing(
    empty_database_url: str, tmp_path: Path
) -> None:
    async with db.connect(empty_database_url) as base:
        district = await factories.agency(base)
        reading = reading_of(tmp_path, [line()])
        await bring(base, reading, district)  # and without any areas it works, too
        ids = await squares(base, "새솔구", "별빛동", "공원")
        assert numbers(await bring(base, reading, district)) == (0, 0, 0, 0)
        stood = told(await cameras_of(base, district))
        assert set(stood[0]["area_ids"]) == set(ids)
        async with base.begin() as session:  # an updated row moves to the end of its table
            await session.execute(update(Area).where(Area.id == ids[0]).values(name_en="Saesol"))
        await bring(base, reading, district)
        assert told(await cameras_of(base, district)) == stood


async def squares(database: Database, *names: str, west: float = 127.0, kind: str = "sigungu") -> list[UUID]:
    """Areas of a degree on one and the same place."""
    ids = [new_id() for _ in names]
    ring = [[west, 37.0], [west + 0.5, 37.0], [west + 0.5, 38.0], [west, 38.0], [west, 37.0]]
    async with database.begin() as session:
        for area_id, name in zip(ids, names, strict=True):
            await session.execute(
                insert(Area).values(
                    id=area_id, code_system="local", code=str(area_id), kind=kind, name=name,
                    boundary={"type": "Polygon", "coordinates": [ring]},
                )
            )  # fmt: skip
    return ids


async def test_when_the_count_drops_the_highest_ordinals_retire_and_may_come_back(
    database: Database, tmp_path: Path
) -> None:
    district = await factories.agency(database)

    async def with_count(count: int) -> tuple[int, int, int, int]:
        rows = [line(관리번호="202439990000899999", 카메라대수=str(count)), *lines(2)]
        return numbers(await bring(database, reading_of(tmp_path, rows), district))

    async def states() -> dict[int, str]:
        found = await cameras_of(database, district)
        several = max({camera.site_id for camera in found}, key=lambda site: sum(c.site_id == site for c in found))
        rest = [camera for camera in found if camera.site_id != several]
        assert all(camera.status == "active" for camera in rest)
        assert all((camera.retired_at is None) == (camera.status == "active") for camera in found)
        return {camera.ordinal: camera.status for camera in found if camera.site_id == several}

    assert (await with_count(5))[2:] == (5 + 2 * 3, 0)
    ids = {camera.id for camera in await cameras_of(database, district)}
    assert await with_count(2) == (0, 1, 0, 3)
    assert await states() == {1: "active", 2: "active", 3: "retired", 4: "retired", 5: "retired"}
    assert await with_count(2) == (0, 0, 0, 0)
    assert await with_count(4) == (0, 1, 0, 0)
    assert await states() == {1: "active", 2: "active", 3: "active", 4: "active", 5: "retired"}
    assert await with_count(6) == (0, 1, 1, 0)
    assert set((await states()).values()) == {"active"}
    assert {camera.id for camera in await cameras_of(database, district)} > ids


async def test_what_differs_is_changed_and_what_the_file_does_not_say_stays(database: Database, tmp_path: Path) -> None:
    district = await factories.agency(database)
    await bring(database, reading_of(tmp_path, lines(3)), district)
    before = await cameras_of(database, district)
    async with database.begin() as session:
        await session.execute(
            update(CameraPosition)
            .where(CameraPosition.owner_agency_id == district)
            .values(status="faulty", ptz=True, has_stream=True, legal_ground="25-1-2")
        )
    changed = lines(3)
    changed[1] = [{"37.500019": "37.6", "30": "60"}.get(cell, cell) for cell in changed[1]]
    assert changed[1] != lines(3)[1]
    applied = await bring(database, reading_of(tmp_path, changed), district)
    assert numbers(applied) == (0, 1, 0, 0)
    after = await cameras_of(database, district)
    assert [camera.id for camera in after] == [camera.id for camera in before]
    moved = [camera for camera in after if camera.retention_days == 60]
    assert {camera.latitude for camera in moved} == {37.6}
    assert len(moved) == 3
    assert {(camera.status, camera.ptz, camera.has_stream, camera.legal_ground) for camera in after} == {
        ("faulty", True, True, "25-1-2")
    }
    addresses = [[str(cell).replace("푸른들로", "새벽길") for cell in row] for row in changed]
    assert numbers(await bring(database, reading_of(tmp_path, addresses), district)) == (0, 3, 0, 0)


@pytest.mark.parametrize("fails_at", ["read", "write"])
async def test_an_import_that_fails_midway_leaves_nothing(database: Database, tmp_path: Path, fails_at: str) -> None:
    city = await factories.agency(database, "city")
    label = factories.name("관리청")
    reading = reading_of(tmp_path, [line(관리기관명=label, 개방자치단체코드="")])

    def progress(step: str, done: int, total: int) -> None:
        if step == fails_at and done:
            raise RuntimeError("the power is gone")

    async def all_of_it() -> None:
        async with database.begin() as session:
            await importer.take_in(session, None, reading, Owners(within=city, create=True), progress=progress)

    with pytest.raises(RuntimeError):
        await all_of_it()
    assert await left_of(database, label, reading) == (0, 0, 0, 0)
    fails_at = ""
    await all_of_it()
    assert await left_of(database, label, reading) == (1, 1, 1, 1)


async def left_of(database: Database, label: str, reading: Opened) -> tuple[int, ...]:
    """How many agencies, sites, imports and entries there are of an import."""
    async with database.begin() as session:
        counted = [
            await session.scalar(select(func.count()).where(Agency.name == label)),
            await session.scalar(select(func.count()).where(Site.manager_name == label)),
            await session.scalar(select(func.count()).where(Import.file_digest == reading.digest)),
            await session.scalar(
                select(func.count()).where(AuditEntry.payload["file_sha256"].as_string() == reading.digest.hex())
            ),
        ]
    return tuple(number or 0 for number in counted)


async def test_a_row_that_the_database_refuses_takes_everything_with_it(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    district = await factories.agency(database)
    await bring(database, reading_of(tmp_path, lines(2)), district)
    stood = told(await cameras_of(database, district))
    changed = reading_of(tmp_path, [[str(cell).replace("푸른들로", "새벽길") for cell in row] for row in lines(50)])
    read = CameraMerge._records

    def with_a_longitude_alone(self: CameraMerge, rows: Any, *others: Any) -> Any:
        return read(self, [*rows[:-1], rows[-1]._replace(latitude=None)], *others)

    monkeypatch.setattr(CameraMerge, "_records", with_a_longitude_alone)
    with pytest.raises(asyncpg.CheckViolationError):
        await bring(database, changed, district)
    assert told(await cameras_of(database, district)) == stood
    async with database.begin() as session:
        addresses = await session.scalars(select(Site.road_address).where(Site.owner_agency_id == district))
    assert not any("새벽길" in address for address in addresses)


async def test_institutions_that_nobody_knows_are_named(database: Database, tmp_path: Path) -> None:
    known, unknown = factories.name("아는청"), factories.name("모르는청")
    rows = [
        line(관리번호=f"20243999000080000{number}", 관리기관명=name, 개방자치단체코드="")
        for number, name in enumerate((known, unknown, known), 1)
    ]
    reading = reading_of(tmp_path, rows)
    async with database.begin() as session:
        known_id = await agencies.add(session, None, name=known, kind="municipality")
    with pytest.raises(UnusableFile) as refused:
        await owners_of(database, reading)
    assert unknown in refused.value.detail
    assert known not in refused.value.detail
    assert "--create-agencies" in refused.value.detail
    async with database.begin() as session:
        assert await session.scalar(select(Agency.id).where(Agency.name == unknown)) is None
    made = await owners_of(database, reading, create=True)
    assert known_id in made
    assert await owners_of(database, reading) == made
    assert len(made) == 2


async def owners_of(database: Database, reading: Opened, **how: Any) -> set[UUID]:
    """Whose the rows are when the file is imported."""
    async with database.begin() as session:
        return (await importer.take_in(session, None, reading, Owners(**how))).owners


async def test_an_institution_is_known_by_its_code_under_whatever_name(database: Database, tmp_path: Path) -> None:
    code = f"{int(new_id()) % 10_000_000:07}"
    rows = [
        line(관리번호=f"2024{code}080000{number}", 개방자치단체코드=code, 관리기관명=name)
        for number, name in enumerate(("한빛광역시 새솔구청", "새솔구청 안전과"), 1)
    ]
    reading = reading_of(tmp_path, rows)
    async with database.begin() as session:
        owner = await agencies.add(
            session, None, name=factories.name("새솔구"), kind="municipality", authority_code=code
        )  # fmt: skip
    assert await owners_of(database, reading) == {owner}


async def test_every_large_city_has_a_jung_gu(database: Database, tmp_path: Path) -> None:
    reading = reading_of(tmp_path, [line(SEOUL, 자치구="중구")], SEOUL)
    cities = [await factories.agency(database, "city") for _ in range(3)]
    async with database.begin() as session:
        below = [
            await agencies.add(session, None, name="중구", kind="municipality", parent_id=city) for city in cities[:2]
        ]
    for city, district in zip(cities, below, strict=False):
        assert await owners_of(database, reading, within=city) == {district}
    for how in ({}, {"within": cities[2]}):
        with pytest.raises(UnusableFile, match="중구"):
            await owners_of(database, reading, **how)
    (third,) = await owners_of(database, reading, within=cities[2], create=True)
    async with database.begin() as session:
        assert (await agencies.get(session, third)).parent_id == cities[2]


async def test_labels_that_disagree_with_the_polygon_become_findings(empty_database_url: str, tmp_path: Path) -> None:
    async with db.connect(empty_database_url) as base:
        own, other = (
            (await squares(base, "한빛광역시 새솔구"))[0], (await squares(base, "한빛광역시 달빛구", west=127.5))[0],
        )  # fmt: skip
        district = await factories.agency(base)
        rows = [
            line(SEOUL, **{"안심 주소": f"별빛로 {number}", "자치구": label, "위도": "37.2", "경도": longitude})
            for number, (label, longitude) in enumerate(
                [("새솔구", "127.2")] * 6 + [("새솔구", "127.7"), ("달빛구", "128.7"), ("달빛구", "127.8")]
            )
        ]
        reading = reading_of(tmp_path, rows, SEOUL)
        applied = await bring(base, reading, district)
        cameras = await cameras_of(base, district)
        async with base.begin() as session:
            findings = (
                await session.scalars(select(ImportFinding).where(ImportFinding.import_id == applied.import_id))
            ).all()
            record = await session.get(Import, applied.import_id)
        odd = {(finding.row_number, finding.code): finding for finding in findings if "district" in finding.field}
        outside = {finding.row_number for finding in findings if finding.code == "outside_all_areas"}
        assert set(odd) == {(8, "district_differs")}
        assert "달빛구" in odd[8, "district_differs"].value
        assert odd[8, "district_differs"].severity == "warning"
        assert outside == {9}
        assert record is not None
        assert "district_differs" in str(record.summary)
        held = {tuple(camera.area_ids) for camera in cameras}
        assert held == {(own,), (other,), ()}

        # Where most disagree, the registered areas are those of another city, and there is no ground to judge by.
        elsewhere = [line(SEOUL, **{"안심 주소": f"별빛로 {number}", "자치구": "먼구"}) for number in range(5)]
        far = reading_of(tmp_path, elsewhere, SEOUL)
        applied = await bring(base, far, district)
        assert {code for code, _ in applied.summary.counts} & {"district_differs", "outside_all_areas"} == set()


async def test_a_file_of_which_no_row_can_stand_is_refused(database: Database, tmp_path: Path) -> None:
    district = await factories.agency(database)
    rows = [
        line(카메라대수="합계", 소재지도로명주소="합계", 소재지지번주소="", WGS84위도="", WGS84경도="", 관리번호="")
    ]
    with pytest.raises(UnusableFile, match="none of the 1 rows"):
        await bring(database, reading_of(tmp_path, rows), district)
