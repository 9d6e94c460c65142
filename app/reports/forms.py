"""The printed forms: which columns a register has, in which order, under which heads.

A column's `group` is the printed form's own column where that one holds several entries: sheets write them side by side
below it, pages one below the other.
"""

from dataclasses import dataclass

from app.registry.imports import text


@dataclass(frozen=True, slots=True)
class Column:
    head: str
    width: int
    """Characters."""
    group: str = ""


@dataclass(frozen=True, slots=True)
class Form:
    """A register as it is printed; `law` says by which rule it is kept."""

    name: str
    title: str
    law: str
    columns: tuple[Column, ...]
    boxes: tuple[str, ...] = ()
    """Who signs it: empty boxes at the top (결재)."""


@dataclass(frozen=True, slots=True)
class Heading:
    """What stands above one written register."""

    agency: str
    period: str
    made: str


_PARTY = (("소속", 16), ("계급", 8), ("성명", 9), ("연락처", 14))
_THIRD = "이용·제공받는 제3자 / 열람등 요구자"

FOOTAGE = Form(
    "footage",
    "개인영상정보 관리대장",
    "표준 개인정보 보호지침 제42조, 별지 제3호서식",
    (
        Column("번호", 7),
        Column("구분", 8),
        Column("일시", 19),
        Column("파일명/형태", 24),
        Column("담당자", 10),
        Column("범죄유형", 12, "목적/사유"),
        Column("사유", 26, "목적/사유"),
        *(Column(f"요구자 {name}", width, _THIRD) for name, width in _PARTY),
        *(Column(f"수령자 {name}", width, _THIRD) for name, width in _PARTY),
        Column("문서번호", 18, "이용·제공 근거"),
        Column("보안서약", 8, "이용·제공 근거"),
        Column("법조항", 28, "이용·제공 근거"),
        Column("자료", 8, "이용·제공 형태"),
        Column("매체", 8, "이용·제공 형태"),
        Column("기록기간", 38, "기간"),
        Column("장소", 24, "기간"),
        Column("보관기간 및 파기예정일", 22, "기간"),
        Column("파기 결과 및 처리일", 22, "기간"),
        Column("안전관리 요청 및 결과", 26, "기간"),
        Column("범인검거 여부", 8),
        Column("관리책임자 또는 입회자 확인", 14),
    ),
    ("담당자", "담당", "과장"),
)
PROVISION = Form(
    "provision",
    "개인정보의 목적 외 이용 및 제3자 제공 대장",
    "개인정보 보호법 시행령 제15조",
    (
        Column("번호", 7),
        Column("구분", 14),
        Column("개인정보 또는 개인정보파일의 명칭", 28),
        Column("이용기관 또는 제공받는 기관의 명칭", 22),
        Column("이용 목적 또는 제공받는 목적", 24),
        Column("이용 또는 제공의 법적 근거", 30),
        Column("이용하거나 제공하는 개인정보의 항목", 24),
        Column("이용 또는 제공의 날짜, 주기 또는 기간", 38),
        Column("이용하거나 제공하는 형태", 14),
        Column("법 제18조제5항에 따른 제한 또는 조치 요청의 내용", 30),
    ),
    ("담당자", "담당", "과장"),
)
ACCESS = Form(
    "access",
    "개인정보처리시스템 접속기록",
    "개인정보의 안전성 확보조치 기준 제8조",
    (
        Column("번호", 8),
        Column("계정", 18),
        Column("소속", 18),
        Column("접속일시", 19),
        Column("접속지 정보", 16),
        Column("처리한 정보주체 정보", 30),
        Column("수행업무", 22),
        Column("결과", 7),
        Column("사유", 34),
    ),
)
NOTICE = Form(
    "notice",
    "개인정보의 목적 외 이용 및 제3자 제공 공고",
    "개인정보 보호법 제18조제4항, 같은 법 시행규칙 제2조",
    (
        Column("번호", 7),
        Column("날짜", 12),
        Column("구분", 14),
        Column("법적 근거", 44),
        Column("목적", 28),
        Column("개인정보의 항목", 30),
        Column("건수", 8),
    ),
)
FORMS = {form.name: form for form in (FOOTAGE, PROVISION, ACCESS)}


def groups(columns: tuple[Column, ...]) -> list[tuple[str, int, int]]:
    """The printed form's own columns: (head, first, how many)."""
    found: list[tuple[str, int, int]] = []
    for at, column in enumerate(columns):
        if column.group and found and found[-1][0] == column.group:
            head, first, count = found[-1]
            found[-1] = (head, first, count + 1)
        else:
            found.append((column.group or column.head, at, 1))
    return found


Cell = str | int


def defused(cell: Cell) -> Cell:
    """The same, without meaning to a spreadsheet: what begins like a formula begins with an apostrophe instead."""
    return text.defused(cell) if isinstance(cell, str) else cell
