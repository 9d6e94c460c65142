"""Scrubbing, and the meaning of dates as people write them."""

from datetime import date, datetime

import pytest

from app.registry.imports.text import clean, is_clean, private_place, shown, written
from app.registry.imports.values import day_of, month_of

SECRETS = {
    "10.0.0.1": "[삭제됨]",
    "카메라 172.28.119.58:554/live 앞": "카메라 [삭제됨] 앞",
    "203.0.113.9)": "[삭제됨])",
    "역전길 1 (192. 168. 0. 17)": "역전길 1 ([삭제됨])",
    "1번 192.168.3.x": "1번 [삭제됨]",
    "172.20.5": "[삭제됨]",
    "rtsp://cam.example/stream1": "[삭제됨]",
    "보조 HTTP://root:pass@cam/ 2": "보조 [삭제됨] 2",
    "viewer:hunter2@cam-3.lan": "[삭제됨]",
    "admin/1234": "[삭제됨]",
    "ADMIN : qwer!": "[삭제됨]",
    "root 12345": "[삭제됨]",
    "pw=abcd": "[삭제됨]",
    "PassWord 9876": "[삭제됨]",
    "비밀번호는 hello": "[삭제됨]",
    "비번1234 확인": "[삭제됨] 확인",
    "id: kim pw: lee1": "[삭제됨] [삭제됨]",
    "00:1A:2b:3C:4d:5E": "[삭제됨]",
    "fe80::1ff:fe23:4567:890a": "[삭제됨]",
    "2001:db8:0:0:0:0:0:1": "[삭제됨]",
    "10\u200b.1.2.3": "[삭제됨]",
    "10.1.2\x00.3": "[삭제됨]",
}
HARMLESS = [
    "새솔동 34-5(고정3)",
    "푸른들로 12 (새솔동, 햇살마을아파트 203동)",
    "1228.새솔1동 693-2 /4",
    "D2091 1-4RXXC 청림동",
    "[새솔-281] (4) 507-3 / 푸른들로162길 18_1",
    "2018.4.1 이설, 2018. 4. 1.",
    "02-000-0000",
    "A/S 센터 앞",
    "Pagoda 학원, Road 카페, Admiral 빌딩",
    "12:30:45",
    "암호동 12번지",
    "1.2.3",
    "37.51297312",
]


@pytest.mark.parametrize("raw", SECRETS)
def test_secrets_are_removed(raw) -> None:
    text, flaws = clean(raw)
    assert text == SECRETS[raw]
    assert "secret_removed" in flaws
    assert not is_clean(raw)
    assert shown(raw) == SECRETS[raw]


@pytest.mark.parametrize("raw", HARMLESS)
def test_what_only_looks_like_one_is_kept(raw) -> None:
    assert clean(raw) == (raw, ())


def test_text_is_made_one_line_of_composed_letters() -> None:
    assert clean("  새솔동\r\n\t 3\u30004 ") == ("새솔동 3 4", ("line_break_in_text",))
    assert clean("\u1109\u1162\u1109\u1169\u11af") == ("새솔", ())
    assert not is_clean("\u1109\u1162")
    assert clean("가" * 501) == ("가" * 500, ("text_shortened",))
    assert len(shown("가" * 300)) == 80
    assert clean("a\x00b\x07c") == ("abc", ("control_characters",))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("햇살공원 화장실", "private_place"),
        ("햇살공원 탈의실 내부", "private_place_inside"),
        ("새솔동 화장실 안", "private_place_inside"),
        ("새솔동 화장실 안내판", "private_place"),
        ("햇살공원 화장실 앞", "private_place_nearby"),
        ("입구 화장실", "private_place_nearby"),
        ("햇살공원", ""),
    ],
)
def test_private_places(text, code) -> None:
    assert private_place(text) == code
    assert (code in clean(text)[1]) == bool(code)


NINE = datetime(2019, 3, 12, 9, 5)  # noqa: DTZ001 - a workbook's dates know no zone
MIDNIGHT = datetime(2019, 3, 12)  # noqa: DTZ001


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("x", "x"),
        (3.0, "3"),
        (37.5, "37.5"),
        (2.0**60, repr(2.0**60)),
        (float("inf"), "inf"),
        (date(2019, 3, 12), "2019-03-12"),
        (MIDNIGHT, "2019-03-12"),
        (NINE, "2019-03-12 09:05:00"),
        (None, ""),
    ],
)
def test_cells_are_written_as_a_person_would(cell, text) -> None:
    assert written(cell) == text


@pytest.mark.parametrize(
    "spelling",
    [
        "2019-03-12",
        "2019.3.12",
        "2019. 3. 12.",
        "2019/03/12",
        "20190312",
        "2019년 3월 12일",
        "2019-03-12 10:20:30",
        "2019-03-12T00:00:00Z",
        "43536",
        43536.0,
        20190312.0,
        date(2019, 3, 12),
        NINE,
    ],
)
def test_spellings_of_a_day(spelling) -> None:
    assert day_of(spelling) == (date(2019, 3, 12), "")
    assert month_of(spelling) == (date(2019, 3, 1), "")


@pytest.mark.parametrize("spelling", ["201809", "2018-09", "2018.9", "2018. 9.", "2018년 9월", 201809.0])
def test_spellings_of_a_month(spelling) -> None:
    assert month_of(spelling) == (date(2018, 9, 1), "")


def test_a_year_is_its_first_month() -> None:
    assert month_of("2018") == month_of("2018년") == month_of(2018.0) == (date(2018, 1, 1), "")


@pytest.mark.parametrize(
    ("spelling", "code"),
    [
        ("", "date_missing"),
        (" ", "date_missing"),
        ("1905-07", "date_spreadsheet_damage"),
        ("190507", "date_spreadsheet_damage"),
        (date(1905, 7, 9), "date_spreadsheet_damage"),
        ("2018-13", "date_unreadable"),
        ("2018-02-30", "date_unreadable"),
        ("0000-00-00", "date_unreadable"),
        ("작년", "date_unreadable"),
        (2018.1, "date_unreadable"),
        ("99999999", "date_unreadable"),
        ("0000435360000000", "date_unreadable"),
        ("1899-12-31", "date_implausible"),
        ("2091-01", "date_implausible"),
    ],
)
def test_what_is_no_date(spelling, code) -> None:
    assert day_of(spelling) == (None, code)
