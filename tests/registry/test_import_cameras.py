"""Every kind of dirt seen in real camera files is found, said, repaired or quarantined, and the rest is imported."""

from datetime import date
from pathlib import Path

import pytest

from app.registry.imports.findings import CATALOGUE, Finding
from tests.registry.import_tables import (
    GOOD,
    SEOUL,
    STANDARD_14,
    STANDARD_18,
    csv_text,
    everything,
    line,
    lines,
    read,
    xlsx,
)


def one(folder: Path, columns=STANDARD_18, **changed):
    """(site, {code: finding}) of a file with one row."""
    (site, *_), findings, _ = everything(csv_text([line(columns, **changed)], columns), folder)
    return site, {finding.code: finding for finding in findings}


def test_a_good_row_has_no_findings(tmp_path: Path) -> None:
    site, found = one(tmp_path)
    assert not found
    assert site._asdict() == {
        "row_number": 2,
        "authority_code": "3999000",
        "management_number": "202439990000800001",
        "external_key": "3999000:202439990000800001",
        "manager_name": "한빛광역시 새솔구청",
        "district_label": "새솔구",
        "name": "한빛광역시 새솔구 푸른들로 12",
        "road_address": "한빛광역시 새솔구 푸른들로 12",
        "lot_address": "한빛광역시 새솔구 새솔동 34-5",
        "installation_purposes": ("crime_prevention",),
        "purpose_label": "생활방범",
        "camera_count": 3,
        "pixels_10k": 200,
        "direction_text": "360도 전방면",
        "retention_days": 30,
        "installed_on": date(2018, 9, 1),
        "phone": "02-000-0000",
        "latitude": 37.51297312,
        "longitude": 127.02790456,
        "data_date": date(2024, 5, 20),
        "quarantined": False,
        "deleted": False,
    }


@pytest.mark.parametrize(
    ("latitude", "longitude", "code", "place"),
    [
        ("", "", "coordinates_missing", None),
        ("37.5123", "  ", "coordinates_missing", None),
        ("0", "0", "coordinates_zero", None),
        ("0.0", "127.0279", "coordinates_zero", None),
        ("127.0279", "37.5123", "coordinates_swapped", (37.5123, 127.0279)),
        ("30.07274", "129.07068", "coordinates_outside_korea", None),
        ("39.59123", "127.0279", "coordinates_outside_korea", None),
        ("37.5123", "227.0279", "coordinates_outside_korea", None),
        ("452817.31", "203841.77", "coordinates_projected", None),
        ("37.5.123", "127.0279", "coordinates_unreadable", None),
        ("북쪽", "동쪽", "coordinates_unreadable", None),
        ("nan", "127.0279", "coordinates_unreadable", None),
        ("inf", "1e400", "coordinates_unreadable", None),
        ("36.1", "127.1", "coordinates_rounded", (36.1, 127.1)),
        (" 37.51234 ", "127.02795°E", None, (37.51234, 127.02795)),
        ("37,51234", "127,02795", None, (37.51234, 127.02795)),
        ("33.1132", "126.2672", None, (33.1132, 126.2672)),
        ("37.2391", "131.8695", None, (37.2391, 131.8695)),
    ],
)
def test_coordinates(tmp_path: Path, latitude, longitude, code, place) -> None:
    site, found = one(tmp_path, WGS84위도=latitude, WGS84경도=longitude)
    assert set(found) == ({code} if code else set())
    assert (site.latitude, site.longitude) == (place or (None, None))
    assert not site.quarantined  # it has an address, so it stands


def test_many_rows_on_one_point_are_one_finding(tmp_path: Path) -> None:
    crowd = [line(관리번호=f"{index}", WGS84위도="36.1", WGS84경도="127.1") for index in range(20)]
    few = [line(관리번호=f"few{index}", WGS84위도="36.2345", WGS84경도="127.1") for index in range(19)]
    sites, summary = read(csv_text([*few, *crowd]), tmp_path)
    assert summary.rows == 39
    assert sites[-1] is None
    (finding,) = summary.examples["many_rows_on_one_point", "coordinates"]
    assert (finding.row_number, finding.rows, finding.value) == (21, 20, "36.1, 127.1 × 20")
    assert summary.rows_with("many_rows_on_one_point") == 20


@pytest.mark.parametrize(
    ("written", "count", "code"),
    [
        ("1", 1, None),
        ("3대", 3, None),
        ("2.0", 2, None),
        ("49", 49, None),
        ("104", 104, "many_cameras"),
        ("", 1, "camera_count_missing"),
        ("0", 1, "camera_count_zero"),
        ("여러 대", 1, "camera_count_unreadable"),
        ("2.5", 1, "camera_count_unreadable"),
        ("-1", 1, "camera_count_implausible"),
        ("201", 1, "camera_count_implausible"),
        ("9" * 30, 1, "camera_count_unreadable"),
    ],
)
def test_camera_counts(tmp_path: Path, written, count, code) -> None:
    site, found = one(tmp_path, 카메라대수=written)
    assert (site.camera_count, set(found)) == (count, {code} if code else set())


@pytest.mark.parametrize(
    ("written", "pixels", "code"),
    [
        ("200", 200, None),
        ("200만", 200, None),
        ("130만화소", 130, None),
        ("2MP", 200, None),
        ("2,000,000", 200, None),
        ("41", 41, None),
        ("0", None, "pixels_zero"),
        ("", None, "pixels_missing"),
        ("고화질", None, "pixels_unreadable"),
    ],
)
def test_pixels_count_in_ten_thousands(tmp_path: Path, written, pixels, code) -> None:
    site, found = one(tmp_path, 카메라화소수=written)
    assert (site.pixels_10k, set(found)) == (pixels, {code} if code else set())


@pytest.mark.parametrize(
    ("written", "days", "code"),
    [
        ("7", 7, None),
        ("30일", 30, None),
        ("0", None, "retention_zero"),
        ("", None, "retention_missing"),
        ("9999", None, "retention_unreadable"),
        ("한달", None, "retention_unreadable"),
    ],
)
def test_retention(tmp_path: Path, written, days, code) -> None:
    site, found = one(tmp_path, 보관일수=written)
    assert (site.retention_days, set(found)) == (days, {code} if code else set())


@pytest.mark.parametrize(
    ("label", "purposes", "code"),
    [
        ("시설물 관리", ("facility",), None),
        ("생활방범+어린이보호", ("crime_prevention", "child_safety"), None),
        ("방범용", ("crime_prevention",), None),
        ("", ("unknown",), "purpose_empty"),
        ("고정식", ("unknown",), "purpose_unknown"),
        ("별빛 관측", ("unknown",), "purpose_unknown"),
    ],
)
def test_purposes(tmp_path: Path, label, purposes, code) -> None:
    site, found = one(tmp_path, 설치목적구분=label)
    assert (site.installation_purposes, site.purpose_label) == (purposes, label)
    assert set(found) == ({code} if code else set())


def test_a_damaged_date_is_said_and_left_empty(tmp_path: Path) -> None:
    site, found = one(tmp_path, 설치연월="1905-07", 데이터기준일자="2091-01-01")
    assert (site.installed_on, site.data_date) == (None, None)
    assert {code: finding.value for code, finding in found.items()} == {
        "date_spreadsheet_damage": "1905-07",
        "date_implausible": "2091-01-01",
    }
    assert "2017" in found["date_spreadsheet_damage"].message_ko


# --- keys


def test_of_two_rows_with_one_key_the_first_stands(tmp_path: Path) -> None:
    rows = [line(), line(관리번호="202439990000800002"), line(소재지도로명주소="다른길 1")]
    sites, summary = read(csv_text(rows), tmp_path)
    assert [site.quarantined for site in sites] == [False, False, True]
    (finding,) = summary.examples["key_repeated", "management_number"]
    assert (finding.severity, finding.row_number) == ("error", 4)
    assert finding.value.endswith("(2)")
    assert (summary.rows, summary.imported, summary.quarantined, summary.cameras) == (3, 2, 1, 6)


def test_a_key_that_a_spreadsheet_rounded_is_no_key(tmp_path: Path) -> None:
    for number in ("2.02436E+17", 202439990000800001.0):
        row = line(관리번호=number)
        content = csv_text([row]) if isinstance(number, str) else xlsx([STANDARD_18, row])
        (site,), summary = read(content, tmp_path)
        assert summary.rows_with("key_damaged") == 1
        assert site.management_number == ""
        assert site.external_key.startswith("f1:")


def test_a_key_of_another_authority_is_said(tmp_path: Path) -> None:
    site, found = one(tmp_path, 개방자치단체코드="3998000")
    assert set(found) == {"key_inconsistent"}
    assert site.external_key == "3998000:202439990000800001"
    site, found = one(tmp_path, 개방자치단체코드="새솔구")
    assert set(found) == {"authority_code_unreadable"}
    assert site.external_key == "한빛광역시 새솔구청:202439990000800001"


def test_a_fingerprint_is_stable_and_numbers_identical_rows(tmp_path: Path) -> None:
    row = line(STANDARD_14)
    spaced = line(
        STANDARD_14,
        번호="2",
        소재지도로명주소="한빛광역시  새솔구 푸른들로12",
        카메라대수="1",
        WGS84위도="37.512973120",
    )
    moved = line(STANDARD_14, WGS84위도="37.51297313")
    (first, second, third), summary = read(csv_text([row, spaced, moved], STANDARD_14), tmp_path)
    assert second.external_key == f"{first.external_key}.1"
    assert third.external_key.partition(".")[0] != first.external_key
    assert [finding.value for finding in summary.examples["identical_rows", ""]] == ["2"]
    assert summary.imported == 3
    # Written down: whoever changes how fingerprints are made gives every city new sites at its next import.
    assert first.external_key == "f1:4d43bae261f76d6928d9e2e8af1938"


# --- rows that cannot stand


def test_a_row_of_another_width_is_quarantined_and_the_rest_goes_on(tmp_path: Path) -> None:
    shifted = ",".join(line()).replace("새솔구 푸른들로 12", "새솔구 푸른들로 12(새솔동, 햇살마을)")
    content = csv_text(lines(3)[::2]) + shifted + "\r\n" + "a,b\r\n" + ",".join(line()) + ",, ,\r\n"
    sites, summary = read(content, tmp_path)
    assert [site is None for site in sites] == [False, False, True, True, False]
    assert [finding.value[:7] for finding in summary.examples["fields_shifted", ""]] == ["19 ≠ 18", "2 ≠ 18:"]
    assert (summary.rows, summary.imported, summary.quarantined) == (5, 3, 2)


def test_a_row_with_neither_address_nor_place_is_quarantined(tmp_path: Path) -> None:
    nothing = {"소재지도로명주소": "", "소재지지번주소": " ", "WGS84위도": "0", "WGS84경도": "0"}
    site, found = one(tmp_path, **nothing)
    assert site.quarantined
    assert set(found) == {"nothing_identifying", "coordinates_zero"}
    site, found = one(tmp_path, **nothing | {"WGS84위도": "37.5123", "WGS84경도": "127.0279"})
    assert (site.quarantined, found) == (False, {})


def test_totals_headers_inside_and_deleted_rows_are_no_sites(tmp_path: Path) -> None:
    rows = [
        line(),
        list(STANDARD_18),
        line(관리번호="2", 데이터갱신구분="D"),
        line(관리번호="3", 소재지도로명주소="합 계", WGS84위도="", WGS84경도=""),
    ]
    sites, summary = read(csv_text(rows), tmp_path)
    assert [site and site.quarantined for site in sites] == [False, None, True, True]
    assert (summary.rows, summary.imported) == (3, 1)
    assert {"header_repeated", "row_marked_deleted", "total_row"} <= {code for code, _ in summary.counts}


# --- text


def test_secrets_never_leave_the_reader(tmp_path: Path) -> None:
    site, found = one(
        tmp_path,
        소재지도로명주소="푸른들로 12 햇살마을 2동 사이_0 ( 172.28.119.58 )",
        소재지지번주소="새솔동 34 rtsp://viewer:hunter2@10.9.8.7:554/ch1",
        촬영방면정보="정면 admin/1234",
        관리기관전화번호="02-000-0000 비번 4321!",
        관리번호="CAM-192.168.0.17",
        카메라화소수="http://10.1.2.3/",
        설치연월="10.20.30.40",
    )
    assert site.road_address == "푸른들로 12 햇살마을 2동 사이_0 ( [삭제됨] )"
    assert site.lot_address == "새솔동 34 [삭제됨]"
    assert (site.direction_text, site.management_number) == ("정면 [삭제됨]", "CAM-[삭제됨]")
    assert found["secret_removed"].severity == "warning"
    said = repr(site) + "".join(map(str, found.values()))
    for secret in ("172.28", "hunter2", "1234", "4321", "192.168", "10.1.2", "10.20"):
        assert secret not in said


def test_a_finding_cannot_carry_a_secret(tmp_path: Path) -> None:
    assert Finding(1, "pixels_unreadable", "pixels", "http://a:b@10.1.2.3/ 200").value == "[삭제됨] 200"
    _, summary = read(csv_text([["새솔동 10.1.2.3", "admin/1234"]]), tmp_path)
    (finding,) = summary.examples["fields_shifted", ""]
    assert finding.value == "2 ≠ 18: 새솔동 [삭제됨] | [삭제됨]"
    assert "1234" not in str(finding.as_dict())


def test_line_breaks_inside_quotes_do_not_cost_a_row(tmp_path: Path) -> None:
    rows = lines(4)
    rows[1][8] = "햇살마을\r\n입구 \n(나루터 쪽)"
    content = csv_text(rows, lineterminator="\n").replace("나루터", "나루터\t")
    sites, summary = read(content, tmp_path)
    assert [site.row_number for site in sites] == [2, 3, 6, 7]
    assert sites[1].direction_text == "햇살마을 입구 (나루터 쪽)"
    assert summary.rows_with("line_break_in_text", "direction_text") == 1


def test_a_quote_that_never_closes_costs_nothing(tmp_path: Path) -> None:
    rows = csv_text(lines(60)).split("\r\n")
    rows[3] = rows[3].replace("360도", '"360도')
    rows[50] = rows[50].replace("360도", '360"도')
    sites, summary = read("\r\n".join(rows), tmp_path)
    assert (summary.rows, summary.imported) == (60, 60)
    assert [finding.row_number for finding in summary.examples["quote_unclosed", ""]] == [4, 51]
    assert sites[2].direction_text == "360도 전방면"


def test_control_characters_and_damaged_letters_are_said(tmp_path: Path) -> None:
    content = csv_text([line(소재지지번주소="새솔동\x00 34\x07-5", 촬영방면정보="가나"), *lines(202)[3:]]).encode()
    content = content.replace("가나".encode(), "가나".encode()[:5])
    (site, *_), summary = read(content, tmp_path)
    assert site.lot_address == "새솔동 34-5"
    assert site.direction_text == "가\ufffd"
    assert summary.rows_with("control_characters", "lot_address") == 1
    assert summary.rows_with("text_damaged", "direction_text") == 1
    assert summary.imported == 200


def test_places_where_nobody_may_look_are_warned_of(tmp_path: Path) -> None:
    _, found = one(tmp_path, 소재지지번주소="새솔동 34 (햇살공원-화장실)")
    assert found["private_place"].severity == "warning"
    _, found = one(tmp_path, 소재지지번주소="새솔동 34 (햇살공원 화장실 앞)")
    assert {code: finding.severity for code, finding in found.items()} == {"private_place_nearby": "note"}


# --- with areas, and as a whole


def test_labels_are_checked_where_areas_are_known(tmp_path: Path) -> None:
    def locate(latitude: float, longitude: float) -> str | None:
        assert 33 < latitude < 39
        assert 124 < longitude < 132
        return None if latitude > 38 else "한빛광역시 새솔구" if latitude > 37 else "너른구"

    changes = [{}, {"위도": "36.51234"}, {"위도": "38.51234"}, {"위도": ""}, {"위도": "36.54321", "자치구": "너른구"}]
    rows = [line(SEOUL, **change) for change in changes]
    _, summary = read(csv_text(rows, SEOUL), tmp_path, locate=locate)
    (differs,) = summary.examples["district_differs", "district_label"]
    assert (differs.row_number, differs.value) == (3, "새솔구 → 너른구")
    assert [finding.row_number for finding in summary.examples["outside_all_areas", "coordinates"]] == [4]


def test_free_text_where_a_code_belongs_is_counted(tmp_path: Path) -> None:
    rows = [[*row[:8], f"{index}도 방향", *row[9:]] for index, row in enumerate(lines(101))]
    _, summary = read(csv_text(rows), tmp_path)
    (finding,) = summary.examples["free_text_spellings", "direction_text"]
    assert (finding.row_number, finding.value) == (0, "101")


def test_a_summary_stays_small_and_says_the_worst_first(tmp_path: Path) -> None:
    content = csv_text([line(관리번호=f"{index}", 카메라화소수="0") for index in range(50)] + [line(관리번호="7")])
    *_, summary = everything(content, tmp_path)
    said = summary.as_dict()
    assert next((entry["code"], entry["rows"]) for entry in said["findings"]) == ("key_repeated", 1)
    assert {entry["code"]: len(entry["examples"]) for entry in said["findings"]}["pixels_zero"] == 5
    assert said["quarantined"] == 1


def test_every_finding_can_be_said_in_both_languages() -> None:
    for entry in CATALOGUE.values():
        for message in (entry.korean, entry.english):
            assert "{" not in message.format(value="x")
    assert GOOD["관리기관명"] not in str(CATALOGUE)
