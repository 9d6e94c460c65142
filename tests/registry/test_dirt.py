"""The page of dirt tells every finding and names tests that exist; and the kinds that only a whole file shows."""

import io
import re
import zipfile
from pathlib import Path

import pytest

from app.errors import UnusableFile
from app.registry.imports import open_table
from app.registry.imports.findings import CATALOGUE
from app.registry.imports.reading import open_file
from tests.registry.import_tables import STANDARD_18, csv_text, line, lines, read, stored, xlsx, zipped
from tests.registry.test_import_street import BELLS_24
from tests.registry.test_import_street import row as bell

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "DIRT.md"
LINE = re.compile(
    r"\| (?P<kind>[^|]+) \| (?:`(?P<code>\w+)`)? ?\| (?P<severity>\w+) \| `(?P<file>\w+)::(?P<test>\w+)` \|"
)


def test_the_page_of_dirt_tells_every_finding_and_names_tests_that_exist() -> None:
    rows = [text for text in PAGE.read_text().splitlines() if text.startswith("| ") and "`test_" in text]
    said = [LINE.fullmatch(text) for text in rows]
    assert all(said), [text for text, match in zip(rows, said, strict=True) if not match]
    told = {match["code"]: match["severity"] for match in said if match and match["code"]}
    assert told == {code: entry.severity for code, entry in CATALOGUE.items()}
    for match in said:
        assert match is not None
        assert match["code"] or match["severity"] in ("read", "refused"), match["kind"]
        assert f"def {match['test']}(" in (HERE / f"{match['file']}.py").read_text(), match["test"]
        if match["code"] and match["file"] == "test_dirt":
            assert f'"{match["code"]}"' in Path(__file__).read_text()


def test_numbers_in_names_are_one_note(tmp_path: Path) -> None:
    names = [
        "A2021 1-1RZ 새솔동", "[새솔-281] (4) 507-3", "방범-179.새솔동 279-170(보조1)", "95.새솔2동 436",
        "새솔동 34-5", "2018.4.1 이설", "CCTV 12", "1.2.3", "푸른들로12길 3",
    ]  # fmt: skip
    rows = [line(관리번호=f"{at}", 소재지도로명주소=name) for at, name in enumerate(names)]
    sites, summary = read(csv_text(rows), tmp_path)
    (found,) = summary.examples["number_in_name", "name"]
    assert (found.row_number, found.rows, found.value) == (2, 4, names[0])
    assert [site.name for site in sites if site] == names  # the number is part of how people call the place


def test_spellings_of_one_institution_are_told(tmp_path: Path) -> None:
    spellings = ["한빛광역시 새솔구청", "새솔구청 공원과", "한빛광역시 새솔구청", "새솔구청 환경과"]
    rows = [line(관리번호=f"{at}", 관리기관명=name) for at, name in enumerate(spellings)]
    rows.append(line(관리번호="9", 개방자치단체코드="3998000", 관리기관명="너른구청"))
    _, summary = read(csv_text(rows), tmp_path)
    (found,) = summary.examples["institution_spellings", "manager_name"]
    assert found.value == "3999000: 한빛광역시 새솔구청 / 새솔구청 공원과 / 새솔구청 환경과"
    assert (found.row_number, found.rows) == (5, 3)
    bells = [bell(BELLS_24, 관리번호=f"{at}", 관리기관명=name) for at, name in enumerate(spellings)]
    opened = open_file(stored(csv_text(bells, BELLS_24), tmp_path))
    assert len(list(opened.read())) == 1
    assert opened.summary.rows_with("institution_spellings") == 3


def merged(content: bytes, *references: str) -> bytes:
    """The workbook with these cells merged."""
    archive = zipfile.ZipFile(io.BytesIO(content))
    parts = {name: archive.read(name) for name in archive.namelist()}
    cells = "".join(f'<mergeCell ref="{reference}"/>' for reference in references)
    sheet = "xl/worksheets/sheet1.xml"
    parts[sheet] = parts[sheet].replace(b"</sheetData>", f"</sheetData><mergeCells>{cells}</mergeCells>".encode())
    return zipped(parts)


def test_merged_cells_are_told(tmp_path: Path) -> None:
    rows = lines(4)
    for row in rows[1:3]:
        row[2] = ""
    content = xlsx([["카메라 현황"], STANDARD_18, *rows], first_row=3)
    sites, summary = read(merged(content, "A3:R3", "C5:C7", "AB8:AC8"), tmp_path, "cameras.xlsx")
    (found,) = summary.examples["merged_cells", ""]
    assert (found.row_number, found.rows, found.value) == (5, 2, "C5:C7 (× 2)")
    assert [site.manager_name for site in sites if site] == [rows[0][2], "", "", rows[3][2]]  # not filled in by guess
    _, summary = read(merged(content, "A3:R3"), tmp_path, "cameras.xlsx")  # a title
    assert not summary.rows_with("merged_cells")


@pytest.mark.parametrize("as_sheet", [False, True])
def test_tables_side_by_side_are_refused(tmp_path: Path, as_sheet: bool) -> None:
    columns = (*STANDARD_18, "", *STANDARD_18)
    rows = [[*row, "", *row] for row in lines(3)]
    content = xlsx([columns, *rows]) if as_sheet else csv_text(rows, columns)
    with pytest.raises(UnusableFile, match="2 tables side by side"):
        open_table(stored(content, tmp_path))
    twice = (*STANDARD_18, "비고", "비고", "관리기관명")  # no second table
    assert open_table(stored(csv_text([[*lines(1)[0], "", "", "x"]], twice), tmp_path)).columns[-1] == "#21"


def test_a_camera_inside_a_private_place_is_kept_out(tmp_path: Path) -> None:
    (site,), summary = read(csv_text([line(소재지도로명주소="햇살공원 화장실 내부")]), tmp_path)
    assert site is not None
    assert site.quarantined
    assert [found.severity for found in summary.examples["private_place_inside", "road_address"]] == ["error"]
