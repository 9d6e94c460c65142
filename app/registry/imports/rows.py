"""The rows of a file, whatever it is: `open_table(path)` and then `table.records()` or `table.rows()`.

A text is read line by line and never held whole. A workbook is unpacked by its reader at once (after
`workbook.refuse_hostile_workbook` has looked at it), because that is forty times faster than cell by cell.
"""

import csv
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final, TextIO

import python_calamine

from app.errors import UnusableFile
from app.registry.imports import layouts
from app.registry.imports.findings import Finding
from app.registry.imports.kinds import CAMERAS, AssetKind, plain
from app.registry.imports.sniff import FileKind, sniff
from app.registry.imports.text import shown, written

DELIMITERS: Final = (",", "\t", ";")
HEADER_WITHIN_ROWS: Final = 20
MAX_SHEETS: Final = 10
_BLOCK_HEADERS: Final = 3  # known headers that stand in a row more than once
# A quoted field may go over several lines; a quote that is open for longer was a stray one.
MAX_LINES_IN_QUOTES: Final = 40
MAX_LETTERS_IN_QUOTES: Final = 60_000


Record = tuple[int, list[Any], str]
"""(row number as an editor or a spreadsheet shows it, cells, code of a finding or ""). Where quotes hold line breaks it
is the line on which the record begins."""


@dataclass(frozen=True, slots=True)
class Table(ABC):
    """A file with its header found: where the rows begin and which column is which field."""

    path: Path
    layout: layouts.Layout
    row_count_estimate: int
    header_row: int

    @property
    def columns(self) -> tuple[str, ...]:
        return self.layout.columns

    @abstractmethod
    def records(self) -> Iterator[Record]:
        """Every row below the header that is not blank; may be asked for again."""

    def merged_cells(self) -> Finding | None:
        """What is to be said of cells below the header that a spreadsheet's user merged."""
        return None

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """The rows as text by column name, for people (a preview); `records` is what an import reads."""
        for row_number, cells, _ in self.records():
            yield row_number, dict(zip(self.columns, map(written, cells), strict=False))


@dataclass(frozen=True, slots=True)
class TextTable(Table):
    encoding: str
    delimiter: str

    def records(self) -> Iterator[Record]:
        for record in _text_records(self.path, self.encoding, self.delimiter, len(self.columns)):
            row_number, cells, _ = record
            if row_number > self.header_row and (cells[0] or any(cell.strip("\x00\x1a \t") for cell in cells)):
                yield record


@dataclass(frozen=True, slots=True)
class SheetTable(Table):
    sheet: Any

    def records(self) -> Iterator[Record]:
        rows = islice(self.sheet.iter_rows(), self.header_row, None)
        for row_number, cells in enumerate(rows, self.header_row + 1):
            if cells[0] != "" or any(cell != "" for cell in cells):
                yield row_number, cells, ""

    def merged_cells(self) -> Finding | None:
        merged = [  # (row, column) from 0, of the whole sheet
            (top, left, bottom, right)
            for (top, left), (bottom, right) in self.sheet.merged_cell_ranges or ()
            if top >= self.header_row
        ]
        if not merged:
            return None
        top, left, bottom, right = min(merged)
        where = f"{_letters(left)}{top + 1}:{_letters(right)}{bottom + 1}"
        return Finding(top + 1, "merged_cells", "", f"{where} (× {len(merged)})", rows=len(merged))


def open_table(path: Path, *, mapping: Mapping[str, str] | None = None, kind: AssetKind | None = CAMERAS) -> Table:
    """Find out what the file is, where its header stands and which columns it has.

    `mapping` names columns that no synonym knows: {"위도": "lat column"}, or by position {"위도": "#12"}, also for a
    file without a header (its columns are then called "#1", "#2", …). `kind` is what it must describe; None finds it
    out. Raises UnusableFile, whose `detail` a person can act on; Malformed for a mapping that does not fit; TooLarge.
    """
    found = sniff(path)
    if found.kind is FileKind.XLSX:
        return _open_sheet(path, mapping, kind)
    return _open_text(path, found.encoding, found.lines, mapping, kind)


def _open_text(
    path: Path, encoding: str, lines: int, mapping: Mapping[str, str] | None, kind: AssetKind | None
) -> TextTable:
    tops: dict[str, list[Record]] = {}
    for delimiter in DELIMITERS:
        tops[delimiter] = list(islice(_text_records(path, encoding, delimiter), HEADER_WITHIN_ROWS))
        header = _header(tops[delimiter], mapping)
        if header is not None:
            row_number, cells, _ = header
            _refuse_blocks(path, cells, mapping)
            layout = layouts.match(_names(cells), mapping, kind)
            return TextTable(path, layout, max(0, lines - row_number), row_number, encoding, delimiter)
    if not tops[","]:
        raise UnusableFile(f"{path.name} is empty")
    delimiter = max(DELIMITERS, key=lambda each: max(len(cells) for _, cells, _ in tops[each]))
    return TextTable(
        path, _layout_by_position(path, tops[delimiter], mapping, kind or CAMERAS), lines, 0, encoding, delimiter
    )


def _open_sheet(path: Path, mapping: Mapping[str, str] | None, kind: AssetKind | None) -> SheetTable:
    first: SheetTable | None = None
    top: list[Record] = []
    for sheet in _sheets(path):
        here = [(at, row, "") for at, row in enumerate(islice(sheet.iter_rows(), HEADER_WITHIN_ROWS), 1)]
        header = _header(here, mapping)
        if header is not None:
            row_number, cells, _ = header
            _refuse_blocks(path, cells, mapping)
            layout = layouts.match(_names(cells), mapping, kind)
            return SheetTable(path, layout, sheet.height + sheet.start[0] - row_number, row_number, sheet)
        top = top or here
        first = first or SheetTable(path, layouts.NOTHING, sheet.total_height, 0, sheet)
    if first is None:
        raise UnusableFile(f"{path.name} has no sheet with anything in it")
    return replace(first, layout=_layout_by_position(path, top, mapping, kind or CAMERAS))


def _sheets(path: Path) -> Iterator[Any]:
    """The sheets with content, of the first ten. What the reader cannot bear is an UnusableFile."""
    try:
        with path.open("rb") as file:  # an open file, for by its name the reader would judge the format
            workbook = python_calamine.CalamineWorkbook.from_object(file)
            for name in workbook.sheet_names[:MAX_SHEETS]:
                sheet = workbook.get_sheet_by_name(name)
                if sheet.start is not None:
                    yield sheet
    except (python_calamine.CalamineError, OSError, ValueError) as error:
        raise UnusableFile(f"{path.name} is a damaged workbook ({shown(error)}); save it anew") from error
    except BaseException as error:
        # The reader is written in Rust: where it trips over damage, its panic is no Exception to Python.
        if type(error).__name__ != "PanicException":
            raise
        raise UnusableFile(f"{path.name} is a damaged workbook; save it anew") from error


def _names(cells: list[Any]) -> list[str]:
    """Column names of a header row; a nameless column is called by its position, a second one of a name too."""
    names: list[str] = []
    for index, cell in enumerate(cells, 1):
        name = " ".join(written(cell).replace("\ufeff", "").split())
        names.append(name if name and name not in names else f"#{index}")
    return names


def _refuse_blocks(path: Path, cells: list[Any], mapping: Mapping[str, str] | None) -> None:
    """A page set in several columns, each a table of its own: the second would be lost, so none is read."""
    names = [plain(written(cell)) for cell in cells]
    again = [name for name in dict.fromkeys(names) if name and names.count(name) > 1]
    if not mapping and layouts.known_headers(again) >= _BLOCK_HEADERS:
        raise UnusableFile(
            f"{path.name} holds {names.count(again[0])} tables side by side ({', '.join(map(shown, again[:5]))} are"
            " there more than once): put them below each other and send it again"
        )


def _letters(column: int) -> str:
    return chr(65 + column) if column < 26 else _letters(column // 26 - 1) + chr(65 + column % 26)  # noqa: PLR2004


def _header(top: list[Record], mapping: Mapping[str, str] | None) -> Record | None:
    """The row that names the columns: of the first twenty, the first with the most names that are known."""
    headers = [record for record in top if layouts.is_header(_names(record[1]), mapping)]
    return max(headers, key=lambda record: layouts.known_headers(_names(record[1])), default=None)


def _layout_by_position(
    path: Path, top: list[Record], mapping: Mapping[str, str] | None, kind: AssetKind
) -> layouts.Layout:
    """For a file without a header: what the user's mapping says by position; without one, a refusal that helps."""
    if mapping and all(column.startswith("#") for column in mapping.values()):
        width = max(len(cells) for _, cells, _ in top)
        return layouts.match([f"#{index}" for index in range(1, width + 1)], mapping, kind)
    first = next((cells for _, cells, _ in top if any(map(written, cells))), [])
    headers = layouts.seen([written(cell) for cell in first])
    expected = [names[0] for names in kind.headers.values()]
    raise UnusableFile(
        f"{path.name} has no header row that is known. Its first row reads: {', '.join(headers)}. "
        f"Expected are headers such as {', '.join(expected)}; "
        "or map the columns by hand, by name or by position (#1, #2, …)",
        seen=headers,
        expected=expected,
    )


def _text_records(path: Path, encoding: str, delimiter: str, width: int | None = None) -> Iterator[Record]:
    """The records of a text, blank ones and the header included; `width` is the number of columns, once known.

    A line without a quote is split, which is all that CSV says about it. With quotes, lines are joined until their
    quotes are even; if that does not happen soon, or not with the right number of fields, the quote is a letter.
    """
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        ahead: deque[str] = deque()
        row_number = 1
        while line := ahead.popleft() if ahead else file.readline():
            lines_used, flaw = 1, ""
            if '"' not in line:
                cells = line.rstrip("\r\n").split(delimiter)
            else:
                cells, lines_used, flaw = _quoted(line, file, ahead, delimiter, width)
            if width is not None and len(cells) > width:
                _drop_empty_end(cells, width)
            yield row_number, cells, flaw
            row_number += lines_used


def _quoted(
    line: str, file: TextIO, ahead: deque[str], delimiter: str, width: int | None
) -> tuple[list[str], int, str]:
    """(cells, lines they took, flaw) of a record that begins with this line; what it does not take goes to `ahead`."""
    lines = [line]
    letters, is_open = len(line), line.count('"') % 2
    while is_open and len(lines) < MAX_LINES_IN_QUOTES and letters < MAX_LETTERS_IN_QUOTES:
        following = ahead.popleft() if ahead else file.readline()
        if not following:
            break
        lines.append(following)
        letters += len(following)
        is_open ^= following.count('"') % 2
    if not is_open:
        with suppress(csv.Error):
            cells = next(csv.reader(["".join(lines)], delimiter=delimiter))
            if width is not None:
                _drop_empty_end(cells, width)
            if len(lines) == 1 or width in (None, len(cells)):
                return cells, len(lines), ""
    ahead.extendleft(reversed(lines[1:]))
    return [cell.strip().strip('"') for cell in line.rstrip("\r\n").split(delimiter)], 1, "quote_unclosed"


def _drop_empty_end(cells: list[str], width: int) -> None:
    while len(cells) > width and not cells[-1].strip():
        cells.pop()
