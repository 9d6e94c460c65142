"""Registers as workbooks. Printed: A4 across, as wide as the page, heads repeated on each."""

from typing import IO

from app.registry.workbooks import HEAD, MOST_ROWS, SAID, TEXT, TITLE, Layout, Workbook, cell, letters
from app.reports.forms import Form, Heading, groups

HEADS = 5  # rows above the first entry
_PRINTED = (
    '<pageMargins left="0.4" right="0.4" top="0.5" bottom="0.5" header="0.2" footer="0.2"/><pageSetup paperSize="9"'
    ' orientation="landscape" fitToWidth="1" fitToHeight="0"/><headerFooter><oddFooter>&amp;C&amp;P / &amp;N'
    "</oddFooter></headerFooter>"
)


class Sheets(Workbook):
    """One register, being written into a file that can be written to only; rows have a cell for every column."""

    def __init__(self, file: IO[bytes], form: Form, heading: Heading, *, most_rows: int = MOST_ROWS) -> None:
        layout = Layout(
            _before(form), _heads(form, heading), HEADS, _merged(form) + _PRINTED, f"${HEADS - 1}:${HEADS}", TEXT
        )
        super().__init__(file, form.title, layout, most_rows=most_rows)


def _before(form: Form) -> str:
    widths = "".join(
        f'<col min="{at}" max="{at}" width="{column.width}" customWidth="1"/>'
        for at, column in enumerate(form.columns, 1)
    )
    return (
        '<sheetPr><pageSetUpPr fitToPage="1"/></sheetPr><sheetViews><sheetView workbookViewId="0">'
        f'<pane ySplit="{HEADS}" topLeftCell="A{HEADS + 1}" activePane="bottomLeft" state="frozen"/></sheetView>'
        f'</sheetViews><sheetFormatPr defaultRowHeight="15"/><cols>{widths}</cols>'
    )


def _heads(form: Form, heading: Heading) -> str:
    """Title, whose and when, the boxes for signatures, and two rows of heads."""
    names = [letters(at) for at in range(len(form.columns))]
    boxes = list(zip(names[len(names) - len(form.boxes) :], form.boxes, strict=True))
    title = cell("A1", form.title, TITLE) + "".join(cell(f"{at}1", box, HEAD) for at, box in boxes)
    said = cell("A2", f"{heading.agency} · {heading.period}", SAID)
    said += "".join(cell(f"{at}2", "", TEXT) for at, _ in boxes)
    made = cell("A3", f"{form.law} · {heading.made}", SAID)
    pairs = list(zip(names, form.columns, strict=True))
    upper = [cell(f"{name}4", column.group or column.head, HEAD) for name, column in pairs]
    lower = [cell(f"{name}5", column.head if column.group else "", HEAD) for name, column in pairs]
    return (
        f'<row r="1" ht="24" customHeight="1">{title}</row><row r="2" ht="36" customHeight="1">{said}</row>'
        f'<row r="3">{made}</row><row r="4" ht="24" customHeight="1">{"".join(upper)}</row>'
        f'<row r="5" ht="30" customHeight="1">{"".join(lower)}</row>'
    )


def _merged(form: Form) -> str:
    """Heads without a group go over both rows, groups over their columns."""
    merged = [
        f"{letters(at)}4:{letters(at)}5" if not form.columns[at].group else f"{letters(at)}4:{letters(at + n - 1)}4"
        for _, at, n in groups(form.columns)
    ]
    kept = "".join(f'<mergeCell ref="{one}"/>' for one in merged)
    return f'<mergeCells count="{len(merged)}">{kept}</mergeCells>'
