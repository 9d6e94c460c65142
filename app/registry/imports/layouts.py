"""Which column of a file is which field: by its header, never by its position.

Cities publish the same data under many headers: the CCTV standard with 13 (2019), 14, 15 (2018), 16 (2024) and 18
(2026) columns, the portal's API names, the Seoul 안심이 file, and what an office typed itself. A header is compared
after Unicode NFC, without case, spaces, brackets and other punctuation. A kind of asset is a table of spellings in
`kinds`; which kind a file describes is told by headers that only that kind has.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

from app.errors import Malformed, UnusableFile
from app.registry.imports.kinds import CAMERAS, KINDS, AssetKind, plain
from app.registry.imports.text import shown

_ENOUGH_KNOWN_HEADERS: Final = 3


@dataclass(frozen=True, slots=True)
class Layout:
    """How one file says it: `position[field]` is the index of the field's column, from 0."""

    kind: AssetKind
    columns: tuple[str, ...]
    position: Mapping[str, int]

    @property
    def absent(self) -> tuple[str, ...]:
        """Fields of the kind for which the file has no column."""
        return tuple(field for field in self.kind.headers if field not in self.position)

    @property
    def unused(self) -> tuple[str, ...]:
        """Columns of the file that no field takes."""
        used = set(self.position.values())
        return tuple(column for index, column in enumerate(self.columns) if index not in used)

    def picker(self) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
        """A function from the cells of a row, with one empty cell appended, to its fields in the kind's order.

        A field without a column reads the appended cell.
        """
        return itemgetter(*(self.position.get(field, -1) for field in self.kind.headers))


NOTHING: Final = Layout(CAMERAS, (), {})


@lru_cache(maxsize=4096)
def _without_brackets(header: str) -> str:
    return plain(re.sub(r"[(\[{（].*?[)\]}）]", "", header))


def positions(
    columns: Sequence[str], mapping: Mapping[str, str] | None = None, kind: AssetKind = CAMERAS
) -> dict[str, int]:
    """The column of every field that is recognised; of two that fit, the better spelling and then the first.

    `mapping` is the user's: field (in any known spelling) to column name, or to "#3" for the third column; it
    overrides. Raises Malformed for a field or column that does not exist.
    """
    best: dict[str, tuple[int, int]] = {}
    for index, column in enumerate(columns):
        known = kind.field_of.get(plain(column))
        penalty = 0
        if known is None:
            known, penalty = kind.field_of.get(_without_brackets(column)), 100
        if known is not None:
            field, rank = known
            best[field] = min(best.get(field, (rank + penalty, index)), (rank + penalty, index))
    found = {field: index for field, (_, index) in best.items()}
    for wanted, column in (mapping or {}).items():
        field = _mapped_field(wanted, kind)
        index = _mapped_column(column, columns)
        # The user says what this column is, so nothing else may read it.
        found = {other: at for other, at in found.items() if at != index}
        found[field] = index
    return found


def _mapped_field(wanted: str, kind: AssetKind) -> str:
    known = kind.field_of.get(plain(wanted))
    if known is None:
        fields = ", ".join(headers[0] for headers in kind.headers.values())
        raise Malformed(f"{shown(wanted)!r} is no field of {kind.title}; fields are: {fields}", field="mapping")
    return known[0]


def _mapped_column(column: str, columns: Sequence[str]) -> int:
    if (
        column.startswith("#")
        and column[1:].isascii()
        and column[1:].isdigit()
        and 0 < int(column[1:5]) <= len(columns)
    ):
        return int(column[1:]) - 1
    for index, name in enumerate(columns):
        if plain(name) == plain(column):
            return index
    raise Malformed(f"the file has no column {shown(column)!r}; it has: {_list(columns)}", field="mapping")


def is_header(columns: Sequence[str], mapping: Mapping[str, str] | None = None) -> bool:
    """Does this row name columns, of any kind we know, or those that the user names?"""
    if kind_told_by(columns):
        return True
    if mapping and not any(column.startswith("#") for column in mapping.values()):
        names = {plain(column) for column in columns}
        if all(plain(column) in names for column in mapping.values()):
            return True
    return known_headers(columns) >= _ENOUGH_KNOWN_HEADERS


def known_headers(columns: Sequence[str]) -> int:
    """How many of these headers are known, in the kind that knows the most of them."""
    return max(len(positions(columns, kind=kind)) for kind in KINDS.values())


def kind_told_by(columns: Sequence[str]) -> AssetKind | None:
    """The kind that one of these headers tells, if any does."""
    names = {plain(column) for column in columns}
    for kind in KINDS.values():
        if any(plain(header) in names for header in kind.tell_tales):
            return kind
    return None


def match(columns: Sequence[str], mapping: Mapping[str, str] | None = None, kind: AssetKind | None = None) -> Layout:
    """The layout of a file with these headers, which must be of `kind` if one is given; else its kind is found out.

    Raises UnusableFile that names the essential columns which are missing, or the kind of file that it is instead,
    and Malformed for a wrong `mapping`.
    """
    told = kind_told_by(columns)
    if kind is not None and told not in (None, kind) and not mapping:
        assert told is not None
        raise UnusableFile(f"this is a file of {told.title}, not of {kind.title}", seen=seen(columns))
    kind = kind or told or CAMERAS
    found = positions(columns, mapping, kind)
    missing = [group for group in kind.essential if not any(field in found for field in group)]
    if missing:
        names = "; ".join(" or ".join(kind.headers[field][0] for field in group) for group in missing)
        raise UnusableFile(
            f"the file lacks essential columns: {names}. It has: {_list(columns)}. "
            "If a column says it in other words, name it in the mapping",
            seen=seen(columns),
            missing=[kind.headers[group[0]][0] for group in missing],
        )
    return Layout(kind, tuple(columns), found)


def seen(columns: Sequence[str]) -> list[str]:
    """Headers as they may be shown: a file without a header shows data here, so secrets are scrubbed."""
    return [shown(column) for column in columns[:40]]


def _list(columns: Sequence[str]) -> str:
    return ", ".join(seen(columns)) or "nothing"
