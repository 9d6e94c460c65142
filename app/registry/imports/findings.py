"""What is odd in a file, row by row, in words that a person can act on, and the sum of it.

`CATALOGUE` is the list of everything the importer can find; a finding is a row, a code of this list, and the value
that was seen. Values are scrubbed and shortened on the way in, so that a finding can never carry a secret.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, Protocol

from app.registry.imports.text import shown

Severity = Literal["error", "warning", "note"]
EXAMPLES_KEPT: Final = 5


class Entry(NamedTuple):
    """`error`: the row cannot stand; `warning`: it stands, something was repaired or is lost; `note`: good to know."""

    severity: Severity
    korean: str
    english: str


CATALOGUE: Final[dict[str, Entry]] = {
    # The row as a whole
    "fields_shifted": Entry(
        "error", "항목 수가 머리글과 다릅니다 ({value})", "not as many fields as the header has: {value}"
    ),
    "key_repeated": Entry(
        "error", "같은 관리번호가 앞에 또 있습니다: {value}", "this key stands in an earlier row: {value}"
    ),
    "nothing_identifying": Entry("error", "주소도 좌표도 없습니다", "neither an address nor coordinates"),
    "total_row": Entry("error", "합계 행입니다: {value}", "a row of totals, not a site: {value}"),
    "row_marked_deleted": Entry(
        "error", "원본에서 삭제로 표시되어 폐지됩니다", "the source marks this row as deleted: what it names retires"
    ),
    "quote_unclosed": Entry(
        "warning", "닫히지 않은 따옴표를 글자로 읽었습니다", "an unclosed quote was read as a letter"
    ),
    "header_repeated": Entry("note", "머리글이 중간에 반복됩니다", "the header is repeated inside the file"),
    "identical_rows": Entry("note", "{value}행과 내용이 같습니다", "says the same as row {value}"),
    # Keys
    "key_damaged": Entry(
        "warning",
        "관리번호가 엑셀에서 반올림되었습니다: {value}",
        "a spreadsheet has rounded the management number: {value}",
    ),
    "key_inconsistent": Entry(
        "warning",
        "관리번호 안의 기관코드가 개방자치단체코드와 다릅니다: {value}",
        "the management number names another authority than the row: {value}",
    ),
    "authority_code_unreadable": Entry(
        "warning",
        "개방자치단체코드가 7자리 숫자가 아닙니다: {value}",
        "the authority code is not seven digits: {value}",
    ),
    # Place
    "coordinates_missing": Entry("warning", "좌표가 없습니다", "no coordinates"),
    "coordinates_zero": Entry("warning", "좌표가 0입니다", "coordinates are zero"),
    "coordinates_swapped": Entry(
        "warning",
        "위도와 경도가 바뀌어 바로잡았습니다: {value}",
        "latitude and longitude were swapped; put right: {value}",
    ),
    "coordinates_outside_korea": Entry("warning", "좌표가 대한민국 밖입니다: {value}", "outside South Korea: {value}"),
    "coordinates_projected": Entry(
        "warning",
        "위경도가 아니라 평면좌표(m)로 보입니다: {value}",
        "these look like metres of a map grid, not like degrees: {value}",
    ),
    "coordinates_unreadable": Entry(
        "warning", "좌표를 읽을 수 없습니다: {value}", "coordinates cannot be read: {value}"
    ),
    "coordinates_rounded": Entry(
        "warning",
        "좌표가 소수 둘째 자리 이하로 반올림되었습니다 (오차 1km 이상 가능): {value}",
        "rounded to two decimals or fewer, so a kilometre off or more: {value}",
    ),
    "many_rows_on_one_point": Entry(
        "warning",
        "한 좌표에 여러 행이 있습니다 (반올림되었거나 센터 주소일 수 있음): {value}",
        "many rows on one point (rounded, or the center's own address): {value}",
    ),
    "district_differs": Entry(
        "warning", "표기된 자치구와 좌표의 위치가 다릅니다: {value}", "lies in another district than labelled: {value}"
    ),
    "outside_all_areas": Entry(
        "warning", "등록된 행정구역 밖입니다: {value}", "outside every registered area: {value}"
    ),
    # What stands there
    "camera_count_missing": Entry("warning", "카메라대수가 없어 1대로 봅니다", "no camera count; 1 assumed"),
    "camera_count_zero": Entry("warning", "카메라대수가 0이어서 1대로 봅니다", "camera count is 0; 1 assumed"),
    "camera_count_unreadable": Entry(
        "warning", "카메라대수가 숫자가 아니어서 1대로 봅니다: {value}", "camera count is no number; 1 assumed: {value}"
    ),
    "camera_count_implausible": Entry(
        "warning",
        "카메라대수를 믿기 어려워 1대로 봅니다: {value}",
        "camera count is hard to believe; 1 assumed: {value}",
    ),
    "many_cameras": Entry("note", "한 행에 카메라가 많습니다: {value}", "many cameras in one row: {value}"),
    "purpose_empty": Entry("warning", "설치목적이 비어 있습니다", "no installation purpose"),
    "purpose_unknown": Entry("warning", "알 수 없는 설치목적입니다: {value}", "unknown installation purpose: {value}"),
    "quantity_unreadable": Entry(
        "warning", "설치개수를 읽을 수 없어 1개로 봅니다: {value}", "quantity cannot be read; 1 assumed: {value}"
    ),
    "flag_unreadable": Entry("warning", "예·아니오로 읽을 수 없습니다: {value}", "neither yes nor no: {value}"),
    "code_unknown": Entry("note", "표준에 없는 값입니다: {value}", "a value that the standard does not know: {value}"),
    "pixels_missing": Entry("note", "화소수가 없습니다", "no pixel count"),
    "pixels_zero": Entry("warning", "화소수가 0입니다", "pixel count is 0"),
    "pixels_unreadable": Entry("warning", "화소수를 읽을 수 없습니다: {value}", "pixel count cannot be read: {value}"),
    "retention_missing": Entry("note", "보관일수가 없습니다", "no retention period"),
    "retention_zero": Entry("warning", "보관일수가 0입니다", "retention period is 0 days"),
    "retention_unreadable": Entry(
        "warning", "보관일수를 읽을 수 없습니다: {value}", "retention cannot be read: {value}"
    ),
    "private_place_inside": Entry(
        "error",
        "화장실·목욕실·탈의실 내부에는 설치할 수 없습니다 (개인정보 보호법 제25조제2항): {value}",
        "no camera may stand inside a toilet, bath or changing room (PIPA 25(2)): {value}",
    ),
    "private_place": Entry(
        "warning",
        "화장실·목욕실·탈의실 내부로 보입니다 (개인정보 보호법 제25조제2항): {value}",
        "may look into a toilet, bath or changing room (PIPA 25(2)): {value}",
    ),
    "private_place_nearby": Entry(
        "note",
        "화장실·목욕실 부근입니다 (가림 처리 확인): {value}",
        "beside a toilet or bath (check its privacy mask): {value}",
    ),
    "number_in_name": Entry(
        "note",
        "이름이나 주소가 관리용 번호로 시작합니다: {value}",
        "names or addresses begin with a number of the institution's own: {value}",
    ),
    "institution_spellings": Entry(
        "note",
        "한 기관의 이름이 여러 가지로 적혀 있습니다: {value}",
        "one institution is written in several ways: {value}",
    ),
    "merged_cells": Entry(
        "warning",
        "병합된 셀은 첫 칸만 값이 있습니다. 나머지는 비어 있는 것으로 읽었습니다: {value}",
        "of merged cells only the first has the value; the others were read as empty: {value}",
    ),
    "free_text_spellings": Entry(
        "note", "자유 입력 항목의 표기가 다양합니다: {value}가지", "spellings of a field that is free text: {value}"
    ),
    # Dates
    "date_missing": Entry("note", "날짜가 없습니다", "no date"),
    "date_spreadsheet_damage": Entry(
        "warning",
        "엑셀이 연도(2017, 2019 등)를 날짜로 바꾼 값입니다. 비워 둡니다: {value}",
        "a spreadsheet made this of a bare year such as 2017 or 2019; left empty: {value}",
    ),
    "date_implausible": Entry(
        "warning", "믿기 어려운 날짜입니다. 비워 둡니다: {value}", "implausible date; left empty: {value}"
    ),
    "date_unreadable": Entry(
        "warning", "날짜를 읽을 수 없습니다. 비워 둡니다: {value}", "no date; left empty: {value}"
    ),
    # Text
    "secret_removed": Entry(
        "warning",
        "IP 주소나 접속 정보를 지웠습니다: {value}",
        "an address or credential of a device was removed: {value}",
    ),
    "control_characters": Entry(
        "warning", "제어 문자를 지웠습니다: {value}", "control characters were removed: {value}"
    ),
    "text_damaged": Entry("warning", "깨진 글자가 있습니다: {value}", "damaged letters: {value}"),
    "text_shortened": Entry("warning", "너무 긴 글을 줄였습니다: {value}", "text too long, cut: {value}"),
    "line_break_in_text": Entry(
        "note", "줄바꿈을 빈칸으로 바꾸었습니다: {value}", "a line break became a space: {value}"
    ),
}


@dataclass(slots=True)
class Finding:
    """One oddity. `row_number` is the row as a person sees it in the file, 0 for the file as a whole.

    `value` may be given raw: it is scrubbed here. `rows` says how many rows it is about.
    """

    row_number: int
    code: str
    field: str = ""
    value: Any = ""
    rows: int = 1

    def __post_init__(self) -> None:
        self.value = shown(self.value)

    @property
    def severity(self) -> Severity:
        return CATALOGUE[self.code].severity

    @property
    def message_ko(self) -> str:
        return CATALOGUE[self.code].korean.format(value=self.value)

    @property
    def message_en(self) -> str:
        return CATALOGUE[self.code].english.format(value=self.value)

    def as_dict(self) -> dict[str, Any]:
        names = ("row_number", "severity", "code", "field", "value", "rows", "message_ko", "message_en")
        return {name: getattr(self, name) for name in names}


class _Row(Protocol):
    @property
    def camera_count(self) -> int: ...
    @property
    def quarantined(self) -> bool: ...


@dataclass(slots=True)
class Summary:
    """An import in a few lines; bounded, however long the file. `rows` = `imported` + `quarantined`.

    `cameras` sums the camera counts of imported rows. `counts` is rows per (code, field).
    """

    rows: int = 0
    imported: int = 0
    quarantined: int = 0
    cameras: int = 0
    absent: tuple[str, ...] = ()
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], list[Finding]] = field(default_factory=dict)

    def add_row(self, row: _Row | None, findings: Iterable[Finding]) -> None:
        """Count a row of the file; None is one that could not be read at all."""
        self.rows += 1
        if row is None or row.quarantined:
            self.quarantined += 1
        else:
            self.imported += 1
            self.cameras += row.camera_count
        if findings:
            self.add(findings)

    def add(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            key = (finding.code, finding.field)
            self.counts[key] += finding.rows
            kept = self.examples.setdefault(key, [])
            if len(kept) < EXAMPLES_KEPT:
                kept.append(finding)

    def rows_with(self, code: str, field_name: str | None = None) -> int:
        """Rows with this finding, in any field or in one."""
        return sum(
            rows for (found, where), rows in self.counts.items() if found == code and field_name in (None, where)
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the worst first."""
        return {
            "rows": self.rows,
            "imported": self.imported,
            "quarantined": self.quarantined,
            "cameras": self.cameras,
            "absent_fields": list(self.absent),
            "findings": [
                {
                    "code": code,
                    "field": where,
                    "severity": CATALOGUE[code].severity,
                    "rows": rows,
                    "examples": [finding.as_dict() for finding in self.examples[code, where]],
                }
                for (code, where), rows in sorted(self.counts.items(), key=_worst_first)
            ],
        }


def _worst_first(item: tuple[tuple[str, str], int]) -> tuple[int, int, str, str]:
    (code, where), rows = item
    return ("error", "warning", "note").index(CATALOGUE[code].severity), -rows, code, where
