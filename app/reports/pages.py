"""Registers as a page to print: A4 across, heads repeated on each sheet of paper, nothing but text and one style."""

import base64
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import IO, Any

from app.access.hours import KOREA
from app.errors import TooLarge
from app.reports.forms import NOTICE, Cell, Form, Heading, groups

KINDS = {"use": "목적 외 이용", "provide": "목적 외 제3자 제공"}
MOST_ROWS = 20_000  # a browser lays out no more in reasonable time
_STYLE = """
@page { size: A4 landscape; margin: 10mm 8mm;
  @bottom-center { content: counter(page) " / " counter(pages); font-size: 8pt; } }
body { font: 7.5pt/1.35 "Malgun Gothic", "Apple SD Gothic Neo", "Noto Sans KR", "Noto Sans CJK KR", sans-serif; }
body { margin: 0; }
h1 { font-size: 15pt; margin: 0 0 2mm; } header { overflow: hidden; margin-bottom: 3mm; } header p { margin: 0; }
table { border-collapse: collapse; width: 100%; table-layout: fixed; }
th, td { border: 0.3pt solid #333; padding: 0.8mm 1mm; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
th, td { word-break: keep-all; }
th { background: #e7ecf3; text-align: center; vertical-align: middle; }
th { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
thead { display: table-header-group; } tr { break-inside: avoid; }
td i { color: #555; font-style: normal; } td b { font-weight: normal; display: block; }
.boxes { float: right; width: auto; } .boxes td { height: 12mm; width: 18mm; } .boxes th { width: 18mm; }
"""
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'"
"""The Content-Security-Policy of such a page: it loads nothing and runs nothing, whatever stands in its cells."""


def begin(title: str) -> str:
    """The page up to its body."""
    return (
        '<!doctype html><html lang="ko"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy"'
        f' content="{escape(POLICY)}"><meta name="referrer" content="no-referrer"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body>"
    )


class Pages:
    """One register, being written."""

    def __init__(self, file: IO[bytes], form: Form, heading: Heading) -> None:
        self._file, self._form = file, form
        self._groups = groups(form.columns)
        self._rows = 0
        widths = [sum(column.width for column in form.columns[at : at + n]) ** 0.62 for _, at, n in self._groups]
        boxes = "".join(f"<th>{escape(box)}</th>" for box in form.boxes)
        signed = f'<table class="boxes"><tr>{boxes}</tr><tr>{"<td></td>" * len(form.boxes)}</tr></table>'
        cols = "".join(f'<col width="{width / sum(widths):.2%}">' for width in widths)
        heads = "".join(f'<th scope="col">{escape(head)}</th>' for head, _, _ in self._groups)
        self._put(
            f"{begin(form.title)}<header>{signed if boxes else ''}<h1>{escape(form.title)}</h1>"
            f"<p>{escape(heading.agency)} · {escape(heading.period)}</p><p>{escape(form.law)} · {escape(heading.made)}"
            f"</p></header><table><colgroup>{cols}</colgroup><thead><tr>{heads}</tr></thead><tbody>\n"
        )

    def write(self, rows: Iterable[Sequence[Cell]]) -> None:
        """Append entries. Raises TooLarge beyond what can be printed."""
        parts = [f"<tr>{''.join(self._cell(row, at, n) for _, at, n in self._groups)}</tr>\n" for row in rows]
        self._rows += len(parts)
        if self._rows > MOST_ROWS:
            raise TooLarge(f"more than {MOST_ROWS:,} rows are no page; take fewer days, or xlsx or csv")
        self._put("".join(parts))

    def close(self) -> None:
        """End the page."""
        self._put("</tbody></table></body></html>\n")

    def _cell(self, row: Sequence[Cell], at: int, count: int) -> str:
        columns = self._form.columns[at : at + count]
        if not columns[0].group:
            return f"<td>{escape(str(row[at]))}</td>"
        said = (
            f"<b><i>{escape(column.head)}</i> {escape(str(cell))}</b>"
            for column, cell in zip(columns, row[at : at + count], strict=True)
        )
        return f"<td>{''.join(said)}</td>"

    def _put(self, text: str) -> None:
        self._file.write(text.encode())


def notice(publication: Mapping[Any, Any]) -> bytes:
    """A publication as the page that is posted."""
    file = io.BytesIO()
    heading = Heading(
        publication["agency"], f"{publication['since']} ~ {publication['until']}",
        f"게시기간 {publication['at'].astimezone(KOREA):%Y-%m-%d} ~ {publication['shown_until']}",
    )  # fmt: skip
    page = Pages(file, NOTICE, heading)
    page.write(
        (number, line["day"], KINDS[line["kind"]], line["ground"], line["purpose"], line["items"], line["count"])
        for number, line in enumerate(publication["lines"], 1)
    )
    page.close()
    return file.getvalue()
