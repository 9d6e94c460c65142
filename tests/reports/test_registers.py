"""The registers as officials open them: the form's columns, in three writings, within rights, with a reason, audited."""

import csv
import hashlib
import io
from html.parser import HTMLParser
from typing import Any
from uuid import UUID

import httpx
import pytest
from python_calamine import CalamineWorkbook

from app.audit import entries
from app.ids import new_id
from app.reports import exports
from app.reports.exports import Order
from app.reports.forms import ACCESS, FOOTAGE, PROVISION, Heading
from app.reports.pages import Pages
from app.reports.remit import FIRST
from app.routers import registers
from tests import factories
from tests.audit.test_entries import written
from tests.reports.town import EMERGENCY, IN_PURPOSE, TODAY, Town, usb

HOSTILE = "<script>alert(1)</script>"
FORMULAS = ('=HYPERLINK("http://evil")', "+82-2-120", "-1+1", "@SUM(A1)")


def sheet(answer: httpx.Response) -> list[list[Any]]:
    """The first sheet below its two rows of heads."""
    assert answer.status_code == 200, answer.text
    rows = CalamineWorkbook.from_filelike(io.BytesIO(answer.content)).get_sheet_by_index(0).to_python()
    return rows[5:]


def lines(answer: httpx.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    assert answer.content.startswith(b"\xef\xbb\xbf"), "Excel needs it to see Korean"
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))


async def recorded(place: Town, **more: Any) -> str:
    answer = await place.client.post("/v1/provisions", json=usb(**more), headers=await place.headers("admin"))
    assert answer.status_code == 201, answer.text
    made: str = answer.json()["id"]
    return made


# The printed form 별지 제3호, as a center prints it: its columns, and what stands in each.
PRINTED = [
    ("번호", []), ("구분", []), ("일시", []), ("파일명/형태", []), ("담당자", []), ("목적/사유", ["범죄유형", "사유"]),
    ("이용·제공받는 제3자 / 열람등 요구자", [
        "요구자 소속", "요구자 계급", "요구자 성명", "요구자 연락처", "수령자 소속", "수령자 계급", "수령자 성명",
        "수령자 연락처",
    ]),
    ("이용·제공 근거", ["문서번호", "보안서약", "법조항"]), ("이용·제공 형태", ["자료", "매체"]),
    ("기간", ["기록기간", "장소", "보관기간 및 파기예정일", "파기 결과 및 처리일", "안전관리 요청 및 결과"]),
    ("범인검거 여부", []), ("관리책임자 또는 입회자 확인", []),
]  # fmt: skip
# Enforcement Decree art. 15, items 1 to 8, behind a number and which of the two it is.
DECREE = [
    "번호", "구분", "개인정보 또는 개인정보파일의 명칭", "이용기관 또는 제공받는 기관의 명칭", "이용 목적 또는 제공받는 목적",
    "이용 또는 제공의 법적 근거", "이용하거나 제공하는 개인정보의 항목", "이용 또는 제공의 날짜, 주기 또는 기간",
    "이용하거나 제공하는 형태", "법 제18조제5항에 따른 제한 또는 조치 요청의 내용",
]  # fmt: skip


async def test_the_register_has_the_columns_of_the_printed_form(place: Town) -> None:
    answer = await place.export("footage")
    rows = (
        CalamineWorkbook.from_filelike(io.BytesIO(answer.content))
        .get_sheet_by_index(0)
        .to_python(skip_empty_area=False)
    )
    heads: list[tuple[str, list[str]]] = []
    for upper, lower in zip(rows[3], rows[4], strict=True):
        if not lower:
            heads.append((upper, []))
        elif heads[-1][0] == upper:
            heads[-1][1].append(lower)
        else:
            heads.append((upper, [lower]))
    assert heads == PRINTED
    assert rows[0][0] == FOOTAGE.title
    assert rows[0][-3:] == ["담당자", "담당", "과장"], "boxes for signatures"
    rows = (
        CalamineWorkbook.from_filelike(io.BytesIO((await place.export("provision")).content))
        .get_sheet_by_index(0)
        .to_python()
    )
    assert rows[3] == DECREE
    assert [column.head for column in PROVISION.columns] == DECREE


async def test_what_is_known_stands_where_the_form_asks_for_it(place: Town) -> None:
    await place.grant(EMERGENCY, references=[{"kind": "112", "number": "7788"}])
    await place.grant(IN_PURPOSE)
    await recorded(
        place, pledged=True, law="형사소송법 제199조제2항", reason="편의점 절도", camera_ids=[str(place.camera)],
        requester={"agency": "별빛경찰서", "rank": "경위", "name": "이요구", "contact": "02-120"},
        recipient={"agency": "별빛경찰서", "rank": "순경", "name": "박수령", "contact": "02-121"},
        recorded_from="2026-01-01T00:00:00+09:00", recorded_to="2026-01-01T01:00:00+09:00", destroy_due="2099-01-31",
        safety_asked="재제공 금지", safety_result="확인", arrest=True, in_charge="김담당", witness="최입회",
    )  # fmt: skip
    by_hand, live, in_purpose = sheet(await place.export("footage"))
    heads = [column.head for column in FOOTAGE.columns]
    said = dict(zip(heads, by_hand, strict=True))
    assert said["번호"] == 1
    assert (said["구분"], said["자료"], said["매체"], said["보안서약"]) == ("제공", "동영상", "USB", "징구")
    assert (said["담당자"], said["범죄유형"], said["사유"]) == ("김담당", "절도", "범죄 수사 · 편의점 절도")
    assert by_hand[7:15] == ["별빛경찰서", "경위", "이요구", "02-120", "별빛경찰서", "순경", "박수령", "02-121"]
    assert said["문서번호"] == "형사과-123"
    assert (
        said["법조항"]
        == "개인정보 보호법 제18조제2항제7호 (범죄의 수사와 공소의 제기 및 유지), 형사소송법 제199조제2항"
    )
    assert said["기록기간"] == "2026-01-01 00:00:00 ~ 2026-01-01 01:00:00", "Korean time"
    assert said["장소"] == "별빛로 12"
    assert said["보관기간 및 파기예정일"] == "파기예정 2099-01-31"
    assert said["안전관리 요청 및 결과"] == "재제공 금지 / 결과: 확인"
    assert (said["범인검거 여부"], said["관리책임자 또는 입회자 확인"]) == ("여", "최입회")
    said = dict(zip(heads, live, strict=True))
    assert (said["번호"], said["구분"], said["자료"], said["문서번호"]) == (2, "제공", "실시간", "7788")
    assert "실시간 (조회 없음)" in said["파일명/형태"], "permitted, and never watched"
    assert said["수령자 성명"] == "홍길동"
    assert in_purpose[0] == 3
    second = sheet(await place.export("provision"))
    assert [row[1] for row in second] == ["목적 외 제3자 제공"] * 2, "provision within the purpose is not in it"
    assert second[0][3] == "별빛경찰서"
    assert second[0][9] == "재제공 금지 / 결과: 확인"


async def test_an_amended_live_view_stands_once_and_as_amended(place: Town) -> None:
    given = await place.grant()
    await place.client.patch(
        f"/v1/provisions/{given}", json={"note": "검거 통보", "arrest": True},
        headers={**await place.headers("admin"), "If-Match": '"0"'},
    )  # fmt: skip
    rows = sheet(await place.export("footage"))
    assert [row[-2] for row in rows] == ["여"]


async def test_the_three_writings_say_the_same(place: Town) -> None:
    for number in range(3):
        await recorded(place, crime=f"절도 {number}", reason="줄\u2028바꿈")
    sheets = sheet(await place.export("footage"))
    table = lines(await place.export("footage", format="csv"))
    sheets = [[str(int(row[0])), *row[1:]] for row in sheets]
    assert sheets == [list(row.values()) for row in table]
    assert list(table[0])[:7] == [
        "번호",
        "구분",
        "일시",
        "파일명/형태",
        "담당자",
        "목적/사유 - 범죄유형",
        "목적/사유 - 사유",
    ]
    page = (await place.export("footage", format="html")).text
    for row in sheets:
        for cell in row:
            assert cell in page
    assert page.count("<tr>") == 2 + 1 + 3, "boxes, heads, entries"


async def test_cells_are_text_and_nothing_more(place: Town) -> None:
    for formula in FORMULAS:
        await recorded(place, crime=formula, reason=HOSTILE, file_name="a&b<c>.mp4 _x0041_")
    rows = sheet(await place.export("footage"))
    assert [row[5] for row in rows] == ["'" + formula for formula in FORMULAS]
    assert HOSTILE in rows[0][6]
    assert rows[0][3].startswith("a&b<c>.mp4 _x0041_")
    table = lines(await place.export("footage", format="csv"))
    assert [row["목적/사유 - 범죄유형"] for row in table] == ["'" + formula for formula in FORMULAS]
    answer = await place.export("footage", format="html")
    assert "<script" not in answer.text
    assert "&lt;script&gt;" in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "table-header-group" in answer.text
    assert "A4 landscape" in answer.text


async def test_the_access_log_has_the_five_legal_fields_and_reasons(place: Town) -> None:
    await place.grant(EMERGENCY, references=[{"kind": "112", "number": "7788"}])
    first = await place.export("access", format="csv", reason="8월 점검")
    assert list(lines(first)[0]) == [column.head for column in ACCESS.columns]
    rows = lines(await place.export("access", format="csv"))
    given = next(row for row in rows if row["수행업무"] == "영상 접속 승인")
    assert given["계정"] == place.officer.login
    assert given["접속일시"].startswith(TODAY.isoformat())
    assert len(given["접속일시"]) == len("2026-01-01 00:00:00"), "to the second"
    assert given["접속지 정보"] == "127.0.0.1"
    assert given["처리한 정보주체 정보"].startswith("카메라 CAM-")
    assert "7788" in given["사유"]
    downloads = [row for row in rows if row["수행업무"] == "관리대장 다운로드"]
    assert [row["사유"] for row in downloads] == ["8월 점검"], "whoever took it out said why"
    assert [row["번호"] for row in rows] == [str(number) for number in range(1, len(rows) + 1)]
    assert {"로그인"} <= {row["수행업무"] for row in rows}


async def test_what_was_erased_is_told_as_erased(place: Town, databases: Any, database_url: str) -> None:
    await place.grant()
    entry = (await place.acts("grant.given"))[0]
    superuser = await databases.superuser(database_url.partition("?")[0].rpartition("/")[2])
    await superuser.fetchval("SELECT audit_erase($1, $2)", entry["id"], entry["at"])
    await superuser.close()
    rows = lines(await place.export("access", format="csv"))
    assert [row["계정"] for row in rows if row["수행업무"] == "영상 접속 승인"] == ["파기됨"]
    assert place.officer.login not in str(rows)


async def test_a_long_register_is_read_in_parts(place: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "AT_ONCE", 3)
    for number in range(8):
        await recorded(place, crime=f"건 {number}")
    order = Order(
        register="footage", first=TODAY, last=TODAY, format="csv", reason="점검", agency_id=place.district
    )  # fmt: skip
    told: list[tuple[int, int]] = []
    async with place.database.begin() as session:
        file = io.BytesIO()
        written_down = await exports.write(session, None, order, file, progress=lambda *bar: told.append(bar))
    rows = list(csv.DictReader(io.StringIO(file.getvalue().decode("utf-8-sig"), newline="")))
    assert [row["번호"] for row in rows] == [str(number) for number in range(1, 9)]
    assert {row["목적/사유 - 범죄유형"] for row in rows} == {f"건 {number}" for number in range(8)}
    assert (written_down.rows, told) == (8, [(3, 8), (6, 8), (8, 8), (8, 8)])

    def breaks(*_: int) -> None:
        raise OSError("no room on the disk")

    async with place.database.begin() as session:
        with pytest.raises(OSError, match="no room"):  # the part that was being read meanwhile holds nothing up
            await exports.write(session, None, order, io.BytesIO(), progress=breaks)
        await session.rollback()
    assert len(await place.acts("register.exported")) == 1


@pytest.mark.parametrize("register", ["footage", "provision", "access"])
async def test_restricted_rows_are_for_who_keeps_the_register_and_who_acted(place: Town, register: str) -> None:
    await recorded(place, restriction="protected", file_name="secret.mp4", basis="KR-PIPA-18-2-3")
    incident = new_id()
    await place.event(restriction="protected", incident_id=incident)
    await place.event(restriction="victim", incident_id=incident)
    await place.grant(incident_id=str(incident))
    full = lines(await place.export(register, "admin", format="csv"))
    part = lines(await place.export(register, "auditor", format="csv"))
    assert len([row for row in part if "열람 제한" in row.values()]) == 1, "what the own people did is theirs to audit"
    told = lines(await place.export(register, "privacy_officer", place.city, format="csv"))  # keeps another's register
    hidden = [row for row in told if "열람 제한" in row.values()]
    assert len(hidden) == 2, "once each, however many events are restricted"
    for row in hidden:
        said = [value for value in row.values() if value]
        assert len(said) == 3, "its number, its time, and that it is withheld"
        assert said[0].isdigit()
        assert any(value.startswith(TODAY.isoformat()) for value in said)
    assert not [row for row in full if "열람 제한" in row.values()]
    secret = place.officer.login if register == "access" else "별빛로" if register == "provision" else "홍길동"
    known = place.officer.login if register == "access" else "police-"
    assert known in str(full)
    assert secret not in str(hidden)


@pytest.mark.parametrize(
    ("role", "where", "status"),
    [
        ("admin", "district", 200), ("agency_head", "district", 200), ("privacy_officer", "district", 200),
        ("auditor", "district", 200), ("auditor", "city", 200), ("operator", "district", 403),
        ("shift_lead", "district", 403), ("admin", "city", 403), ("auditor", "police", 403), ("room", "police", 403),
    ],
)  # fmt: skip
async def test_who_may_take_a_register_out(place: Town, role: str, where: str, status: int) -> None:
    agency: UUID = getattr(place, where)
    answer = await place.export("access", role, agency)
    assert answer.status_code == status, answer.text
    assert len(await place.acts("register.exported")) == (status == 200)


async def test_taking_a_register_out_is_written_down_with_reason_and_digest(place: Town) -> None:
    await place.grant()
    answer = await place.export("footage", reason="  9월 정기 점검 ")
    entry = (await place.acts("register.exported"))[0]["payload"]
    digest = hashlib.sha256(answer.content).hexdigest()
    assert (entry["sha256"], answer.headers["gwanje-sha256"]) == (digest, digest)
    assert (entry["rows"], entry["reason"], entry["register"]) == (1, "9월 정기 점검", "footage")
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert f"{TODAY}.xlsx" in answer.headers["content-disposition"]
    assert answer.headers["cache-control"] == "no-store"


async def test_one_register_is_written_at_a_time(place: Town) -> None:
    async with registers._writing:
        answer = await place.export("footage")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "10")
    assert (await place.export("footage")).status_code == 200


async def test_a_refused_request_of_a_restricted_incident_is_withheld(place: Town) -> None:
    incident = new_id()
    await place.event(restriction="protected", incident_id=incident)
    stranger = await place.headers("room", await factories.agency(place.database, "police"))
    body = {"camera_ids": [str(place.camera)], **EMERGENCY, "incident_id": str(incident)}
    refused = await place.client.post("/v1/grants", json=body, headers=stranger)
    assert refused.status_code in (403, 404)
    await written(
        place.database,
        entries.entry(
            None, "grant.refused", "refused", owner_agency_id=place.district, login="p-secret", incident_id=incident
        ),
    )
    for role, agency, known in (("admin", None, True), ("auditor", None, False), ("auditor", place.city, False)):
        assert ("p-secret" in (await place.export("access", role, agency, format="csv")).text) == known


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"reason": "   "}, "reason"), ({"reason": ""}, "reason"), ({"reason": "a\u0000b"}, "reason"),
        ({"register": "all"}, "register"), ({"format": "docx"}, "format"), ({"to": "2000-01-01"}, "to"),
        ({"from": "2020-01-01", "to": "2021-01-01"}, "to"), ({"from": "0001-01-01"}, "to"),
    ],
)  # fmt: skip
async def test_an_order_that_cannot_be_understood_is_refused(place: Town, fields: dict[str, Any], field: str) -> None:
    answer = await place.export("access", **fields)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert await place.acts("register.exported") == []


async def test_a_register_of_days_without_anything_is_empty(place: Town) -> None:
    await place.grant()
    assert sheet(await place.export("access", **{"from": FIRST.isoformat(), "to": FIRST.isoformat()})) == []


async def test_days_are_korean_days(place: Town) -> None:
    await recorded(place, provided_at="2026-03-01T14:59:59Z", crime="하루 전")
    await recorded(place, provided_at="2026-03-01T15:00:00Z", crime="자정")
    rows = lines(await place.export("footage", format="csv", **{"from": "2026-03-02", "to": "2026-03-02"}))
    assert [row["목적/사유 - 범죄유형"] for row in rows] == ["자정"]
    assert rows[0]["일시"] == "2026-03-02 00:00:00"


async def test_an_unknown_act_stands_as_it_is(place: Town) -> None:
    act = factories.name("act.done")
    await written(
        place.database, entries.entry(None, act, owner_agency_id=place.district, login="누군가", address="::1")
    )
    rows = lines(await place.export("access", format="csv"))
    assert [(row["계정"], row["접속지 정보"]) for row in rows if row["수행업무"] == act] == [("누군가", "::1")]


class Nesting(HTMLParser):
    """Which tags are open, and what was written within them."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)
        if tag not in ("meta", "col"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_page_holds_no_tag_but_its_own() -> None:
    file = io.BytesIO()
    page = Pages(file, FOOTAGE, Heading(HOSTILE, f"{HOSTILE} & b", '"'))
    page.write([[1, *[HOSTILE] * (len(FOOTAGE.columns) - 1)]])
    page.close()
    read = Nesting()
    read.feed(file.getvalue().decode())
    assert read.open == []
    assert "script" not in read.seen
