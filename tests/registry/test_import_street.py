"""Bells, smart streetlights and security lights come in from any layout; what is odd in them is found."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from app.database import Database
from app.errors import UnusableFile
from app.models import Asset
from app.registry.imports import bring as importer
from app.registry.imports.bring import Brought
from app.registry.imports.findings import Summary
from app.registry.imports.kinds import KINDS
from app.registry.imports.owners import Owners
from app.registry.imports.reading import open_file
from app.registry.imports.rows import open_table
from app.registry.imports.street import AssetRow, read_assets
from tests import factories
from tests.registry.import_tables import STANDARD_18, csv_text, lines, stored

BELLS_24 = (
    "개방자치단체코드", "관리번호", "안전비상벨관리번호", "설치목적", "설치장소유형", "설치위치", "소재지도로명주소",
    "소재지지번주소", "WGS84위도", "WGS84경도", "연계방식", "경찰연계유무", "경비업체연계유무", "관리사무소연계유무",
    "부가기능", "안전비상벨설치연도", "최종점검일자", "최종점검결과구분", "관리기관명", "관리기관전화번호",
    "데이터기준일자", "데이터갱신구분", "데이터갱신시점", "최종수정시점",
)  # fmt: skip
BELLS_23 = BELLS_24[:21] + BELLS_24[22:]
BELLS_20 = ("번호", *BELLS_24[2:21])
STREETLIGHTS = (
    "스마트가로등유형", "시도명", "시군구명", "도로명", "소재지도로명주소", "소재지지번주소", "위도", "경도",
    "스마트가로등형태", "점등상태여부", "센서종류", "센싱정보서비스", "CCTV유무", "WiFi유무", "GPS수신기유무",
    "비콘유무", "조명제어여부", "위급상황신고가능여부", "앱서비스명", "앱서비스제공내용", "기타서비스", "설치연도",
    "관리기관명", "관리기관전화번호", "데이터기준일자", "제공기관코드", "제공기관명",
)  # fmt: skip
LIGHTS = (
    "보안등위치명", "설치개수", "소재지도로명주소", "소재지지번주소", "위도", "경도", "설치연도", "설치형태",
    "관리기관전화번호", "관리기관명", "데이터기준일자",
)  # fmt: skip
GOOD = {
    "개방자치단체코드": "3999000", "관리번호": "202639990000900001", "안전비상벨관리번호": "B-1", "설치목적": "방범용",
    "설치장소유형": "공원", "설치위치": "햇살공원 정문", "소재지도로명주소": "한빛광역시 새솔구 푸른들로 12",
    "소재지지번주소": "새솔동 34", "WGS84위도": "37.51297", "WGS84경도": "127.02790", "위도": "37.51297",
    "경도": "127.02790", "연계방식": "양방향", "경찰연계유무": "Y", "경비업체연계유무": "N", "관리사무소연계유무": "",
    "부가기능": "경보등+경보음+CCTV", "안전비상벨설치연도": "2022", "최종점검일자": "2026-05-30",
    "최종점검결과구분": "Y", "관리기관명": "한빛광역시 새솔구청", "관리기관전화번호": "02-000-0000",
    "데이터기준일자": "2026-05-30", "데이터갱신구분": "I", "스마트가로등유형": "스마트폴", "시군구명": "새솔구",
    "도로명": "푸른들로", "스마트가로등형태": "기둥형", "점등상태여부": "Y", "센서종류": "미세먼지", "CCTV유무": "Y",
    "WiFi유무": "Y", "GPS수신기유무": "N", "비콘유무": "N", "조명제어여부": "Y", "위급상황신고가능여부": "Y",
    "설치연도": "2021", "보안등위치명": "푸른들로-7", "설치개수": "3", "설치형태": "한전주",
}  # fmt: skip


def row(columns: tuple[str, ...], **changed: str) -> list[str]:
    return [changed.get(column, GOOD.get(column, "")) for column in columns]


def read(folder: Path, columns: tuple[str, ...], *rows: list[str]) -> tuple[list[AssetRow], Summary]:
    table = open_table(stored(csv_text(rows, columns), folder), kind=None)
    summary = Summary()
    found = [asset for asset, _ in read_assets(table, summary=summary) if asset is not None]
    return found, summary


@pytest.mark.parametrize("columns", [BELLS_24, BELLS_23, BELLS_20], ids=["24", "23", "20"])
def test_bells_of_every_layout(tmp_path: Path, columns: tuple[str, ...]) -> None:
    (bell,), summary = read(tmp_path, columns, row(columns))
    assert bell.details == {
        "management_number": "B-1", "purpose": "crime_prevention", "place_type": "park", "link_kind": "two_way",
        "police_link": True, "security_company_link": False, "inspected_on": "2026-05-30", "inspection_passed": True,
        "extra_functions": ["warning_light", "warning_sound", "cctv"],
    }  # fmt: skip
    assert bell.external_key == ("한빛광역시 새솔구청:B-1" if columns is BELLS_20 else "3999000:202639990000900001")
    assert (bell.name, str(bell.installed_on), bell.latitude) == ("햇살공원 정문", "2022-01-01", 37.51297)
    assert not summary.counts


def test_streetlights_become_poles(tmp_path: Path) -> None:
    (pole,), summary = read(tmp_path, STREETLIGHTS, row(STREETLIGHTS))
    assert pole.details["functions"] == ["cctv", "wifi", "dimming", "emergency_report"]
    assert (pole.district_label, pole.details["lit"], pole.external_key[:3]) == ("새솔구", True, "f1:")
    assert summary.cameras == 1


def test_security_lights_count_what_stands_there(tmp_path: Path) -> None:
    found, summary = read(tmp_path, LIGHTS, row(LIGHTS), row(LIGHTS, 설치개수="많음", 보안등위치명="푸른들로-8"))
    assert [light.quantity for light in found] == [3, 1]
    assert summary.cameras == 4
    assert summary.rows_with("quantity_unreadable") == 1


def test_what_is_odd_is_found(tmp_path: Path) -> None:
    rows = [
        row(BELLS_24, 설치목적="별보기", 경찰연계유무="아마도", 설치장소유형="화장실"),
        row(BELLS_24, 설치위치="공원\r\n정문 10.1.2.3"),  # the same key again
        row(BELLS_24, 관리번호="2", WGS84위도="0", WGS84경도="0"),
        row(BELLS_24, 관리번호="3", 데이터갱신구분="D"),
        [*row(BELLS_24), "more"],
    ]
    found, summary = read(tmp_path, BELLS_24, *rows)
    assert {code for code, _ in summary.counts} == {
        "code_unknown", "flag_unreadable", "key_repeated", "line_break_in_text", "secret_removed", "coordinates_zero",
        "row_marked_deleted", "fields_shifted",
    }  # fmt: skip
    assert [(bell.quarantined, bell.deleted) for bell in found] == [
        (False, False), (True, False), (False, False), (True, True),
    ]  # fmt: skip
    assert found[0].details["purpose"] == "other"
    assert found[0].details["place_type"] == "toilet"  # a bell there is a good thing, and no camera


def test_a_kind_that_was_asked_for_must_be_it(tmp_path: Path) -> None:
    bells = stored(csv_text([row(BELLS_24)], BELLS_24), tmp_path)
    with pytest.raises(UnusableFile, match="a file of emergency bells, not of cameras"):
        open_file(bells, kind="cameras")
    assert open_file(bells).kind is KINDS["bells"]


async def bring(
    database: Database, folder: Path, owner: UUID, columns: tuple[str, ...], *rows: list[str], **how: Any
) -> Brought:
    opened = open_file(stored(csv_text(rows, columns), folder))
    async with database.begin() as session:
        return await importer.take_in(session, None, opened, Owners(owner=owner), **how)


async def assets(database: Database, owner: UUID) -> list[Asset]:
    async with database.begin() as session:
        return list(
            await session.scalars(select(Asset).where(Asset.owner_agency_id == owner).order_by(Asset.external_key))
        )


async def test_bells_come_in_change_vanish_and_find_their_camera(database: Database, tmp_path: Path) -> None:
    owner = await factories.agency(database)
    near = await factories.camera(database, owner, latitude=37.51298, longitude=127.02791)
    await factories.camera(database, owner, latitude=37.5131, longitude=127.02791)
    rows = [row(BELLS_24), row(BELLS_24, 관리번호="3", WGS84위도="37.6")]
    assert (await bring(database, tmp_path, owner, BELLS_24, *rows)).changes.new == 2
    first, second = await assets(database, owner)
    assert (first.camera_ids, first.camera_link, first.kind) == ([near], "nearest", "bell")
    assert (second.camera_ids, second.camera_link) == ([], "")

    again = (await bring(database, tmp_path, owner, BELLS_24, *rows)).changes
    assert (again.new, again.changed, again.unchanged) == (0, 0, 2)
    changed = [row(BELLS_24, 최종점검일자="2026-06-30")]
    told = (await bring(database, tmp_path, owner, BELLS_24, *changed, retire_vanished=True)).changes
    assert (told.changed, told.vanished) == (1, 1)
    first, second = await assets(database, owner)
    assert first.details["inspected_on"] == "2026-06-30"
    assert (second.status, second.retired_at is None) == ("retired", False)

    gone = (await bring(database, tmp_path, owner, BELLS_24, row(BELLS_24, 데이터갱신구분="D"), rows[1])).changes
    assert gone.changed == 2
    first, second = await assets(database, owner)
    assert (first.status, second.status) == ("retired", "active")


async def test_a_column_that_a_file_lacks_says_nothing(database: Database, tmp_path: Path) -> None:
    owner = await factories.agency(database)
    await bring(database, tmp_path, owner, BELLS_24, row(BELLS_24))
    fewer = tuple(column for column in BELLS_24 if column not in ("관리기관전화번호", "부가기능", "안전비상벨설치연도"))
    assert (await bring(database, tmp_path, owner, fewer, row(fewer))).changes.unchanged == 1
    (bell,) = await assets(database, owner)
    assert (bell.phone, "extra_functions" in bell.details, bell.installed_on is None) == ("02-000-0000", True, False)


async def test_cameras_marked_as_deleted_retire(database: Database, tmp_path: Path) -> None:
    owner = await factories.agency(database)
    await bring(database, tmp_path, owner, STANDARD_18, *lines(3))
    rows = lines(3)
    rows[1][15] = "D"
    changes = (await bring(database, tmp_path, owner, STANDARD_18, *rows)).changes
    assert (changes.changed, changes.unchanged, changes.retired_cameras) == (1, 2, 3)
    assert (await bring(database, tmp_path, owner, STANDARD_18, *rows)).changes.changed == 0
    assert (await bring(database, tmp_path, owner, STANDARD_18, *lines(3))).changes.revived_cameras == 3
