"""Registers as CSV (RFC 4180) in UTF-8 with the mark that Excel needs to see Korean."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import IO

from app.reports.forms import Cell, Form, Heading, defused

MARK = b"\xef\xbb\xbf"


class Lines:
    """One register, being written."""

    def __init__(self, file: IO[bytes], form: Form, _heading: Heading) -> None:
        self._file = file
        self._file.write(MARK)
        self.write([[f"{column.group} - {column.head}" if column.group else column.head for column in form.columns]])

    def write(self, rows: Iterable[Sequence[Cell]]) -> None:
        """Append entries."""
        text = io.StringIO(newline="")
        csv.writer(text).writerows([defused(cell) for cell in row] for row in rows)
        self._file.write(text.getvalue().encode())

    def close(self) -> None:
        """Nothing comes after the last line."""
