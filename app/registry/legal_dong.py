"""The legal-dong code file (법정동코드): every code that ever was, with the days on which it began and ended.

A code has ten digits: two for the sido, three for the sigungu, three for the neighbourhood (읍면동), two for the
village (리). It is none of the other two systems, the seven digits of an authority (개방자치단체코드) and the codes of
Statistics Korea; they look alike and mean different places, so nothing here joins them.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.actor import Actor
from app.audit import entries
from app.errors import UnusableFile
from app.ids import new_ids

DIGITS = 10
MOST_ROWS = 200_000
MOST_BYTES = 64 << 20
CODE, BEGAN, ENDED = "법정동코드", "생성일자", "삭제일자"
NAMES = ("시도명", "시군구명", "읍면동명", "리명")
KINDS = ("sido", "sigungu", "neighbourhood", "village")
ENCODINGS = ("utf-8-sig", "cp949")


@dataclass(frozen=True, slots=True)
class Code:
    """A legal-dong code, and the days on which it was first and last valid (None: since ever, until further notice)."""

    code: str
    kind: str
    name: str
    valid_from: date | None
    valid_to: date | None


@dataclass(slots=True)
class Codes:
    """The codes of a file, and what was odd in it."""

    rows: list[Code] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)


def looks_like_it(path: Path) -> bool:
    """Whether the first line of a file names the column of legal-dong codes; by content, not by name."""
    with path.open("rb") as file:
        first = file.readline(10_000)
    return any(CODE.encode(encoding) in first for encoding in ("utf-8", "cp949"))


def _lines(path: Path) -> Iterator[Mapping[str, str]]:
    if path.stat().st_size > MOST_BYTES:
        raise UnusableFile(f"{path.name} is larger than any list of codes ({MOST_BYTES >> 20} MiB)")
    content = path.read_bytes()
    for encoding in ENCODINGS:
        try:
            said = content.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    else:
        raise UnusableFile(f"{path.name} is neither UTF-8 nor CP949")
    reader = csv.DictReader(said.splitlines())
    missing = [name for name in (CODE, *NAMES[:3]) if name not in (reader.fieldnames or ())]
    if missing:
        raise UnusableFile(f"{path.name} lacks the columns {', '.join(missing)}; expected the legal-dong code file")
    yield from reader


def _day(said: str) -> date | None:
    digits = said.strip().replace("-", "").replace(".", "")
    return date(int(digits[:4]), int(digits[4:6]), int(digits[6:8])) if digits else None


def kind_of(code: str) -> str:
    """What a ten-digit code names, by its trailing zeros."""
    return next(
        kind for kind, zeros in zip(KINDS, ("0" * 8, "0" * 5, "00", ""), strict=True) if code.endswith(zeros)
    )  # fmt: skip


def read(path: Path) -> Codes:
    """The codes of the file; rows that cannot stand are left out, and said. Blocks: call it in a thread."""
    codes, seen = Codes(), set()
    for number, line in enumerate(_lines(path), 2):
        code = (line[CODE] or "").strip()
        if not (code.isascii() and code.isdigit() and len(code) == DIGITS) or code in seen:
            codes.findings.append(f"row {number}: {code[:20]!r} is no code of ten digits, or there twice; left out")
            continue
        names = [(line.get(name) or "").strip() for name in NAMES]
        name = next((one for one in reversed(names) if one), "")
        try:
            began, ended = _day(line.get(BEGAN) or ""), _day(line.get(ENDED) or "")
        except ValueError:
            codes.findings.append(f"row {number}: {code} has a date that is none; left out")
            continue
        if not name or not name.isprintable():
            codes.findings.append(f"row {number}: {code} has no name; left out")
            continue
        # A code is last valid on the day before it ended. Many ended on the day on which they are said to have begun.
        last = ended - timedelta(days=1) if ended else None
        if began and last and began > last:
            began = last
        seen.add(code)
        codes.rows.append(Code(code, kind_of(code), name, began, last))
        if len(codes.rows) > MOST_ROWS:
            raise UnusableFile(f"{path.name} has more than {MOST_ROWS:,} codes")
    if not codes.rows:
        raise UnusableFile("no row is usable: " + "; ".join(codes.findings[:3]))
    return codes


# A shape that was loaded before its code keeps its id (agreements name it): the code brings it dates and kind.
_MERGE = """
WITH brought AS (
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:codes AS text[]), CAST(:kinds AS text[]), CAST(:names AS text[]),
        CAST(:began AS date[]), CAST(:ended AS date[])) AS b(id, code, kind, name, valid_from, valid_to)
), known AS (
    SELECT DISTINCT ON (code) id, code FROM areas WHERE code_system = 'legal_dong'
    ORDER BY code, valid_from DESC NULLS LAST
), changed AS (
    UPDATE areas a SET name = b.name, kind = b.kind, valid_from = b.valid_from, valid_to = b.valid_to
    FROM brought b JOIN known k USING (code) WHERE a.id = k.id
        AND (a.name, a.kind, a.valid_from, a.valid_to) IS DISTINCT FROM (b.name, b.kind, b.valid_from, b.valid_to)
    RETURNING 1
), made AS (
    INSERT INTO areas (id, code_system, code, kind, name, valid_from, valid_to)
    SELECT b.id, 'legal_dong', b.code, b.kind, b.name, b.valid_from, b.valid_to FROM brought b
    WHERE NOT EXISTS (SELECT FROM known k WHERE k.code = b.code) RETURNING 1
)
SELECT (SELECT count(*) FROM made) AS made, (SELECT count(*) FROM changed) AS changed
"""


async def load(session: AsyncSession, actor: Actor | None, codes: Codes) -> tuple[int, int]:
    """Take the codes in; returns how many areas are new and how many were changed. The same file again changes none."""
    fresh = new_ids()
    columns: dict[str, Sequence[UUID | str | date | None]] = {
        "ids": [next(fresh) for _ in codes.rows],
        "codes": [one.code for one in codes.rows],
        "kinds": [one.kind for one in codes.rows],
        "names": [one.name for one in codes.rows],
        "began": [one.valid_from for one in codes.rows],
        "ended": [one.valid_to for one in codes.rows],
    }
    made = (await session.execute(text(_MERGE), columns)).one()
    await join(session)
    if made.made or made.changed:
        entry = entries.entry(actor, "areas.imported", areas=made.made, changed=made.changed, codes="legal_dong")
        await entries.append(session, entry)
    return made.made, made.changed


def _above(code: str, kind: str, name: str, known: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The code of the nearest area above that is known: of a village its neighbourhood, else its sigungu, its sido.

    A district of a city (성남시분당구) belongs to that city, whose name its own begins with, not to the sido at once.
    """
    if kind == "sigungu" and name.endswith("구"):
        for last in "0123456789":
            city = known.get(code[:4] + last + "0" * 5)
            if city and city["code"] != code and city["name"][-1:] == "시" and name.startswith(city["name"]):
                return code[:4] + last + "0" * 5
    cuts = {"village": (8, 5, 2), "neighbourhood": (5, 2), "sigungu": (2,)}.get(kind, ())
    return next((full for cut in cuts if (full := code[:cut].ljust(DIGITS, "0")) in known and full != code), None)


async def join(session: AsyncSession) -> None:
    """Let every legal-dong area know what it belongs to."""
    rows = await session.execute(
        text(
            "SELECT DISTINCT ON (code) id, code, kind, name, parent_id FROM areas WHERE code_system = 'legal_dong'"
            " ORDER BY code, valid_from DESC NULLS LAST"
        )
    )
    known: dict[str, Mapping[str, Any]] = {row["code"]: dict(row) for row in rows.mappings()}
    moved: list[tuple[UUID, UUID]] = []
    for code, row in known.items():
        above = _above(code, row["kind"], row["name"], known)
        if above is not None and known[above]["id"] != row["parent_id"]:
            moved.append((row["id"], known[above]["id"]))
    if moved:
        await session.execute(
            text(
                "UPDATE areas SET parent_id = m.parent_id FROM unnest(CAST(:ids AS uuid[]), CAST(:parents AS uuid[]))"
                " AS m(id, parent_id) WHERE areas.id = m.id"
            ),
            {"ids": [one for one, _ in moved], "parents": [above for _, above in moved]},
        )
