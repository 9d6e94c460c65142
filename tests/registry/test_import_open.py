"""What a file is, is told by its content; what is no table is refused with words that help."""

import struct
import zipfile
from datetime import date
from pathlib import Path

import pytest
import python_calamine

from app.errors import Malformed, TooLarge, UnusableFile
from app.registry.imports import open_table, sniff
from app.registry.imports.kinds import KINDS, plain
from app.registry.imports.layouts import match, positions
from tests.registry.import_tables import (
    GOOD,
    SEOUL,
    STANDARD_13,
    STANDARD_14,
    STANDARD_15,
    STANDARD_16,
    STANDARD_18,
    csv_text,
    line,
    lines,
    read,
    stored,
    xlsx,
    zipped,
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949", "utf-16"])
@pytest.mark.parametrize(("line_end", "delimiter"), [("\r\n", ","), ("\n", ";"), ("\r", "\t")])
def test_any_encoding_delimiter_and_line_end_says_the_same(tmp_path: Path, encoding, line_end, delimiter) -> None:
    text = csv_text(lines(5), lineterminator=line_end, delimiter=delimiter)
    plain_sites, _ = read(csv_text(lines(5)), tmp_path)
    sites, summary = read(text.encode(encoding), tmp_path)
    assert sites == plain_sites
    assert (summary.rows, summary.imported, summary.cameras) == (5, 5, 15)


@pytest.mark.parametrize("columns", [STANDARD_13, STANDARD_14, STANDARD_15, STANDARD_16, STANDARD_18, SEOUL])
def test_every_known_layout_is_read_by_its_headers(tmp_path: Path, columns) -> None:
    (site,), summary = read(csv_text([line(columns)], columns), tmp_path)
    assert (site.latitude, site.longitude) == (37.51297312, 127.02790456)
    assert site.district_label == "새솔구"
    assert site.installation_purposes == ("crime_prevention",)
    if columns is SEOUL:
        assert (site.camera_count, site.name, site.lot_address) == (2, "새솔동 34-5(고정3)", "새솔동 34-5(고정3)")
        assert site.data_date == date(2022, 4, 28)
        assert {"pixels", "retention_days", "installed_on"} <= set(summary.absent)
        assert not summary.counts  # what the layout never has is not missed in every row
    else:
        assert (site.camera_count, site.pixels_10k, site.retention_days) == (3, 200, 30)
        assert site.installed_on == date(2018, 9, 1)
        assert site.data_date == date(2024, 5, 20)
        assert site.name == site.road_address == GOOD["소재지도로명주소"]


def test_headers_may_be_decorated_and_decomposed(tmp_path: Path) -> None:
    decorated = [*STANDARD_18]
    decorated[12:14] = ["* 위도 (WGS84)", "경도\n[도]"]
    decorated[2] = (
        "\u1100\u116a\u11ab\u1105\u1175\u1100\u1175\u1100\u116a\u11ab\u1106\u1167\u11bc"  # 관리기관명 as macOS writes it
    )
    (site,), _ = read(csv_text([line()], decorated), tmp_path)
    assert (site.latitude, site.manager_name) == (37.51297312, GOOD["관리기관명"])


def test_of_two_columns_that_fit_the_standard_one_is_taken() -> None:
    layout = match(["최종수정시점", "데이터기준일자", "위도", "경도", "주소", "카메라대수"])
    assert layout.position["data_date"] == 1
    assert layout.unused == ("최종수정시점",)
    assert "phone" in layout.absent


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_no_header_belongs_to_two_fields(kind) -> None:
    headers = [plain(header) for names in kind.headers.values() for header in set(map(plain, names))]
    assert len(headers) == len(set(headers))


def test_the_users_mapping_overrides(tmp_path: Path) -> None:
    columns = ["y", "x", "where", "how many", "위도"]
    row = ["37.5129", "127.0279", "푸른들로 12", "4", "junk"]
    mapping = {"WGS84 위도": "Y", "경도": "x", "주소": "where", "카메라대수": "how many"}
    (site,), _ = read(csv_text([row], columns), tmp_path, mapping=mapping)
    assert (site.latitude, site.longitude, site.name, site.camera_count) == (37.5129, 127.0279, "푸른들로 12", 4)


def test_a_column_that_the_user_maps_is_read_as_nothing_else(tmp_path: Path) -> None:
    columns = ["위도", "경도", "주소", "수량"]
    content = csv_text([["127.0279", "37.5129", "푸른들로 12", "1"]], columns)
    (site,), summary = read(content, tmp_path, mapping={"위도": "경도", "경도": "위도"})
    assert (site.latitude, site.longitude, summary.counts) == (37.5129, 127.0279, {})
    with pytest.raises(UnusableFile, match="lacks essential columns: WGS84경도"):
        read(content, tmp_path, mapping={"위도": "경도"})


def test_a_file_without_a_header_is_mapped_by_position(tmp_path: Path) -> None:
    content = csv_text(lines(3), None)
    with pytest.raises(UnusableFile, match="no header row") as refusal:
        read(content, tmp_path)
    assert "한빛광역시 새솔구청" in refusal.value.detail
    assert "위도" in refusal.value.detail
    sites, _ = read(content, tmp_path, mapping={"위도": "#13", "경도": "#14", "도로명주소": "#4", "카메라대수": "#7"})
    assert [site.road_address for site in sites] == [f"한빛광역시 새솔구 푸른들로 {index}" for index in range(3)]
    assert [site.row_number for site in sites] == [1, 2, 3]


@pytest.mark.parametrize("mapping", [{"위도": "#19"}, {"위도": "nowhere"}, {"색깔": "위도"}])
def test_a_mapping_that_does_not_fit_is_refused(tmp_path: Path, mapping) -> None:
    with pytest.raises(Malformed) as refusal:
        open_table(stored(csv_text(lines(1)), tmp_path), mapping=mapping)
    assert refusal.value.extra == {"field": "mapping"}


def test_missing_essential_columns_are_named(tmp_path: Path) -> None:
    columns = [column for column in STANDARD_18 if column not in ("WGS84경도", "설치목적구분", "카메라대수")]
    with pytest.raises(UnusableFile, match="WGS84경도; 카메라대수 or 설치목적구분") as refusal:
        open_table(stored(csv_text([], columns), tmp_path))
    assert refusal.value.extra["missing"] == ["WGS84경도", "카메라대수"]


def test_a_file_of_bells_is_called_by_its_name(tmp_path: Path) -> None:
    columns = ["관리번호", "안전비상벨관리번호", "설치목적", "소재지도로명주소", "WGS84위도", "WGS84경도"]
    with pytest.raises(UnusableFile, match="emergency bells"):
        open_table(stored(csv_text([], columns), tmp_path))


def test_titles_above_the_header_are_passed_over(tmp_path: Path) -> None:
    content = "새솔구 CCTV 현황,,,\r\n\r\n(단위: 대),,\r\n" + csv_text(lines(2))
    sites, _ = read(content, tmp_path)
    assert [site.row_number for site in sites] == [5, 6]


# --- workbooks


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("dimension", ["A1", "A1:G2", "A1:XFD1048576"])
def test_a_workbook_is_read_whatever_its_name_and_declared_size(tmp_path: Path, shared, dimension) -> None:
    rows = [
        SEOUL,
        *(
            [f"새솔구{i % 2}", f"새솔동 {i}", "방범", 37.5 + i / 999, 127.01234, i + 1, date(2022, 4, 28)]
            for i in range(4)
        ),
    ]
    sites, summary = read(xlsx(rows, dimension=dimension, shared=shared), tmp_path, "really_a_workbook.csv")
    assert [(site.row_number, site.camera_count) for site in sites] == [(2, 1), (3, 2), (4, 3), (5, 4)]
    assert sites[1].latitude == 37.5 + 1 / 999
    assert sites[0].data_date == date(2022, 4, 28)
    assert summary.cameras == 10


def test_a_workbook_and_a_text_give_the_same_keys(tmp_path: Path) -> None:
    texts = lines(3, SEOUL)
    numbers = [[*row[:3], float(row[3]), float(row[4]), int(row[5]), date(2022, 4, 28)] for row in texts]
    from_text, _ = read(csv_text(texts, SEOUL), tmp_path)
    from_sheet, _ = read(xlsx([SEOUL, *numbers]), tmp_path, "a.xlsx")
    assert from_text == from_sheet


def test_a_sheet_may_begin_anywhere(tmp_path: Path) -> None:
    rows = [["한빛광역시 CCTV 목록"], [], SEOUL, *lines(2, SEOUL)]
    sites, _ = read(xlsx([["", *row] for row in rows], first_row=4), tmp_path, "a.xlsx")
    assert [site.row_number for site in sites] == [7, 8]
    table = open_table(tmp_path / "a.xlsx")
    assert table.row_count_estimate == 2
    assert [number for number, _ in table.rows()] == [7, 8]
    assert next(table.rows())[1]["안심 주소"] == "새솔동 0(고정1)"


def test_rows_are_estimated_for_a_progress_bar(tmp_path: Path) -> None:
    assert open_table(stored(csv_text(lines(30)), tmp_path)).row_count_estimate == 30


# --- what is no table

JUNK = {
    "empty": b"",
    "is empty": b"\xef\xbb\xbf \r\n\r\n",
    "PDF": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj",
    "PNG": b"\x89PNG\r\n\x1a\n" + bytes(200),
    "JPEG": b"\xff\xd8\xff\xe0\x00\x10JFIF",
    "HWP": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
    "web page": "\n<!DOCTYPE html><html><body>세션이 만료되었습니다</body></html>".encode(),
    "JSON": b'{"type": "FeatureCollection", "features": []}',
    "SQL": "INSERT INTO cctv VALUES ('새솔구', 37.5, 127.0);".encode(),
    "nor CP949": bytes(range(128, 256)) * 40,
    "binary": bytes(range(32)) * 64,
    "damaged": b"PK\x03\x04" + bytes(100),
    "zip archive": zipped({"cameras.csv": "위도,경도"}),
    "OpenDocument": zipped({"content.xml": "<x/>"}),
    "document": zipped({"word/document.xml": "<x/>"}),
    "xlsb": zipped({"xl/workbook.bin": b"\x00"}),
    "damaged workbook": zipped({"xl/workbook.xml": "<workbook><sheets><sheet"}),
    "no header": b"a,b,c\r\n1,2,3\r\n",
    "no sheet": xlsx([]),
}


@pytest.mark.parametrize("word", JUNK)
def test_what_is_no_table_is_refused_in_words(tmp_path: Path, word) -> None:
    with pytest.raises(UnusableFile, match=word):
        open_table(stored(JUNK[word], tmp_path))


def test_a_refusal_shows_no_secret_of_a_headerless_file(tmp_path: Path) -> None:
    with pytest.raises(UnusableFile) as refusal:
        open_table(stored("푸른들로 12 (10.11.12.13),rtsp://admin:pw@cam/1,37.5\r\n", tmp_path))
    for shown in (refusal.value.detail, str(refusal.value.problem())):
        assert "10.11" not in shown
        assert "admin" not in shown


def test_too_large_a_file_is_not_even_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sniff, "MAX_FILE_BYTES", 1000)
    with pytest.raises(TooLarge):
        open_table(stored(csv_text(lines(30)), tmp_path))


def test_a_line_without_an_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match="a line of more than"):
        open_table(stored(csv_text([line()]) + "가" * 1_000_000, tmp_path))


# --- workbooks that would take the machine down


def test_a_bomb_that_says_so_is_refused(tmp_path: Path) -> None:
    content = zipped({"xl/workbook.xml": "<x/>", "xl/worksheets/sheet1.xml": b" " * (30 << 20)})
    assert len(content) < 100_000
    with pytest.raises(UnusableFile, match="zip bomb"):
        open_table(stored(content, tmp_path, "bomb.xlsx"))


def test_a_bomb_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    content = bytearray(zipped({"xl/workbook.xml": "<x/>", "xl/worksheets/sheet1.xml": b" " * (30 << 20)}))
    size, small = struct.pack("<I", 30 << 20), struct.pack("<I", 1000)
    assert content.count(size) == 2
    path = stored(bytes(content.replace(size, small)), tmp_path, "bomb.xlsx")
    with zipfile.ZipFile(path) as archive:
        assert sum(part.file_size for part in archive.infolist()) < 2000
    with pytest.raises(UnusableFile, match="more than it declares"):
        open_table(path)


@pytest.mark.parametrize(
    "far_cell",
    [
        '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>',
        "<row r = '1048576'><c r = 'XFD1048576'><v>1</v></c></row>",
        '<row><c\tr\n=\n"XFD1048576"><v>1</v></c></row>',
        '<row r="90000000"><c><v>1</v></c></row>',
        '<row r="90001"><c r="ZZ90001"><v>1</v></c></row>',
    ],
)
def test_a_sheet_that_spans_the_world_is_refused_before_it_is_laid_out(tmp_path: Path, far_cell) -> None:
    content = xlsx([SEOUL, *lines(3, SEOUL)], raw_rows=far_cell)
    assert len(content) < 10_000
    with pytest.raises(UnusableFile, match="as far out as row"):
        open_table(stored(content, tmp_path, "wide.xlsx"))


class PanicException(BaseException):  # the name under which a panic of Rust arrives
    pass


def test_a_panic_of_the_reader_is_a_damaged_workbook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Reader:
        sheet_names = ("자료",)
        trouble: BaseException = PanicException("index out of bounds")

        @classmethod
        def from_object(cls, _file):
            return cls()

        def get_sheet_by_name(self, _name):
            raise self.trouble

    monkeypatch.setattr(python_calamine, "CalamineWorkbook", Reader)
    path = stored(xlsx([SEOUL]), tmp_path, "a.xlsx")
    with pytest.raises(UnusableFile, match="damaged workbook"):
        open_table(path)
    Reader.trouble = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        open_table(path)


def test_a_wide_but_full_sheet_is_no_bomb(tmp_path: Path) -> None:
    wide = [[*SEOUL, *(f"기타{index}" for index in range(40))]] + [[*row, *["x"] * 40] for row in lines(20, SEOUL)]
    sites, _ = read(xlsx(wide), tmp_path, "wide.xlsx")
    assert len(sites) == 20
    assert "latitude" in positions(wide[0])
