"""Tables for spreadsheets: CSV and XLSX in which no cell is a formula, whatever somebody wrote into a name."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from app.registry.imports.text import defused, written
from app.registry.workbooks import Layout, Workbook

MARK = "\ufeff"  # by which spreadsheets know UTF-8


def cell_of(value: Any) -> str:
    """A value as a cell of a CSV: a number as it is, text defused."""
    return written(float(value)) if isinstance(value, int | float) else defused(written(value))


def csv_lines(rows: Iterable[Sequence[Any]], *, encoding: str = "utf-8") -> Iterable[bytes]:
    """The rows as CSV, a few hundred at a time; UTF-8 with a mark, or CP949 ("?" for letters it lacks)."""
    out = io.StringIO()
    out.write(MARK if encoding == "utf-8" else "")
    writer = csv.writer(out, lineterminator="\r\n")
    for number, row in enumerate(rows, 1):
        writer.writerow([cell_of(value) for value in row])
        if number % 500 == 0:
            yield out.getvalue().encode(encoding, "replace")
            out.seek(0)
            out.truncate()
    yield out.getvalue().encode(encoding, "replace")


def csv_bytes(rows: Iterable[Sequence[Any]], *, encoding: str = "utf-8") -> bytes:
    """As `csv_lines`, at once."""
    return b"".join(csv_lines(rows, encoding=encoding))


def xlsx_bytes(rows: Iterable[Sequence[Any]], *, sheet: str) -> bytes:
    """The rows as a workbook of one sheet. Texts are stored as texts, never as formulas or links."""
    out = io.BytesIO()
    book = Workbook(out, sheet, Layout())
    book.write(rows)
    book.close()
    return out.getvalue()
