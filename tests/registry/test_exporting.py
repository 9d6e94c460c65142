"""What is exported and imported again changes nothing, whatever the register holds; and no cell of it is a formula."""

import csv
import io
import zipfile
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from app.database import Database
from app.errors import UnusableFile
from app.models import CameraPosition, Site
from app.registry import exporting, sheets
from app.registry.imports import bring as importer
from app.registry.imports.bring import Brought
from app.registry.imports.owners import Owners
from app.registry.imports.reading import open_file
from app.registry.imports.text import defused, undefused
from tests import factories
from tests.registry.import_tables import SEOUL, STANDARD_14, STANDARD_18, csv_text, line, lines, stored

CELL = st.one_of(
    st.text(st.sampled_from("가나다라길로 0123456789-()[]_.,/\"'\t;|#=+@"), max_size=20),
    st.sampled_from(["", "0", "=1+1", "'=1", "''-", "@x", "-", "2.02E+17", "1905-07", "10.1.2.3", "화장실 앞", "gwanje:x", "3"]),
)  # fmt: skip
DIRTY = (
    "관리번호", "관리기관명", "소재지도로명주소", "소재지지번주소", "설치목적구분", "카메라대수", "카메라화소수",
    "촬영방면정보", "보관일수", "설치연월", "관리기관전화번호", "데이터기준일자", "개방자치단체코드", "WGS84위도",
)  # fmt: skip
ROW = st.fixed_dictionaries({}, optional=dict.fromkeys(DIRTY, CELL))


async def bring(database: Database, content: bytes | str, folder: Path, owner: UUID) -> Brought:
    opened = open_file(stored(content, folder))
    async with database.begin() as session:
        return await importer.take_in(session, None, opened, Owners(owner=owner))


async def exported(database: Database, owner: UUID) -> list[list[Any]]:
    async with database.begin() as session:
        return [row async for row in exporting.standard_18(session, [owner])]


async def stands(database: Database, owner: UUID) -> list[Any]:
    async with database.begin() as session:
        rows = await session.execute(
            select(Site.external_key, Site.name, Site.road_address, Site.lot_address, Site.purpose_label,
                   CameraPosition.id, CameraPosition.name, CameraPosition.latitude, CameraPosition.pixels_10k,
                   CameraPosition.installation_purposes, CameraPosition.status, CameraPosition.changed_at)
            .join(CameraPosition, CameraPosition.site_id == Site.id)
            .where(Site.owner_agency_id == owner).order_by(CameraPosition.id)
        )  # fmt: skip
        return [tuple(map(str, row)) for row in rows]


async def changes_nothing(database: Database, folder: Path, owner: UUID) -> None:
    before, rows = await stands(database, owner), await exported(database, owner)
    if len(rows) == 1:
        return
    for content in (sheets.csv_bytes(rows), sheets.xlsx_bytes(rows, sheet="CCTV")):
        changes = (await bring(database, content, folder, owner)).changes
        assert (changes.new, changes.changed, changes.unchanged) == (0, 0, len(rows) - 1), changes.examples
        assert await stands(database, owner) == before


async def test_an_export_changes_nothing_whatever_layout_it_came_from(database: Database, tmp_path: Path) -> None:
    for columns in (STANDARD_18, STANDARD_14, SEOUL):
        owner = await factories.agency(database)
        content = csv_text([*lines(6, columns), *lines(2, columns)[:1]], columns)
        await bring(database, content, tmp_path, owner)
        await changes_nothing(database, tmp_path, owner)


@settings(deadline=None, max_examples=12, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(ROW, min_size=1, max_size=6))
async def test_an_export_of_any_dirt_changes_nothing(database: Database, tmp_path: Path, rows: Any) -> None:
    owner = await factories.agency(database)
    content = csv_text([line(**({"관리번호": str(number)} | row)) for number, row in enumerate(rows)])
    try:
        await bring(database, content, tmp_path, owner)
    except UnusableFile:
        return
    await changes_nothing(database, tmp_path, owner)


async def test_what_was_changed_by_hand_stays_so(database: Database, tmp_path: Path) -> None:
    owner = await factories.agency(database)
    await bring(database, csv_text(lines(4)), tmp_path, owner)
    async with database.begin() as session:
        for statement in (
            "UPDATE camera_positions SET pixels_10k = 800 WHERE owner_agency_id = :o AND ordinal = 1",
            "UPDATE camera_positions SET latitude = 37.9, longitude = 127.9 WHERE owner_agency_id = :o AND ordinal = 2",
            "UPDATE camera_positions SET status = 'retired', retired_at = now() WHERE owner_agency_id = :o AND ordinal = 3",
            "UPDATE camera_positions SET installation_purposes = '{disaster,multi}' WHERE owner_agency_id = :o",
            "UPDATE sites SET name = '이름을 지은 곳' WHERE owner_agency_id = :o",
        ):
            await session.execute(text(statement), {"o": owner})
    rows = await exported(database, owner)
    assert rows[1][5:8] == ["재난재해+다목적", 2, 800]
    # The label of the purposes follows what was set by hand, once; then nothing changes any more.
    await bring(database, sheets.csv_bytes(rows), tmp_path, owner)
    await changes_nothing(database, tmp_path, owner)
    async with database.begin() as session:
        living = await session.execute(
            select(CameraPosition.ordinal, CameraPosition.latitude, Site.name)
            .join(Site, Site.id == CameraPosition.site_id)
            .where(CameraPosition.owner_agency_id == owner, CameraPosition.retired_at.is_(None))
        )
        assert {(row.ordinal, row.latitude == 37.9, row.name) for row in living} == {
            (1, False, "이름을 지은 곳"), (2, True, "이름을 지은 곳"),
        }  # fmt: skip


@given(st.text(max_size=20))
def test_defusing_can_be_taken_back(words: str) -> None:
    assert undefused(defused(words)) == words
    assert not defused(words).startswith(("=", "+", "-", "@", "\t", "\r"))


def test_no_cell_is_a_formula() -> None:
    rows = [["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "http://x", -1.5, 3, None]]
    (cells,) = csv.reader(io.StringIO(sheets.csv_bytes(rows).decode("utf-8-sig")))
    assert [cell[:1] for cell in cells[:6]] == ["'"] * 6
    assert cells[7:] == ["-1.5", "3", ""]
    with zipfile.ZipFile(io.BytesIO(sheets.xlsx_bytes(rows, sheet="x"))) as book:
        sheet = book.read("xl/worksheets/sheet1.xml").decode()
    assert "<f>" not in sheet
    assert "hyperlink" not in sheet


def test_letters_that_an_encoding_lacks_are_marked() -> None:
    assert b"?" in sheets.csv_bytes([["똠\U0001f600"]], encoding="cp949")


@pytest.mark.parametrize("key", ["hand:1", "f1:00", "3999000:2.02E+17", "누구:1", "gwanje:x"])
def test_a_key_that_the_standard_cannot_say_is_said_by_ours(key: str) -> None:
    assert exporting._key(key, "")[1] == f"gwanje:{key}"
