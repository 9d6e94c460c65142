"""Workbooks as XLSX (ECMA-376), written row by row: memory does not grow with them.

Cells are text in place (no table of shared strings, which would have to be held), except numbers; what a spreadsheet
would take for a formula is defused. A sheet that is full goes on in the next one.
"""

import re
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import IO, Any
from xml.sax.saxutils import escape

from app.registry.imports.text import defused, written

MOST_ROWS = 1_048_576  # of a sheet: the format's own limit
MOST_LETTERS = 32_767  # of a cell: likewise
PLAIN, TEXT, HEAD, TITLE, SAID = range(5)  # styles of cells: as the file's default, boxed, …
_SPECIAL = re.compile("[\x00-\x1f\ud800-\udfff\ufffe\uffff<>&_]")  # most cells have nothing of these
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
# Excel reads _xHHHH_ in a text as that letter; an underscore so escaped stays one.
_LIKE_ESCAPE = re.compile("_(?=x[0-9A-Fa-f]{4}_)")
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_STYLES = f"""{_XML}<styleSheet xmlns="{_MAIN}"><fonts count="3"><font><sz val="9"/><name val="맑은 고딕"/></font>\
<font><b/><sz val="9"/><name val="맑은 고딕"/></font><font><b/><sz val="16"/><name val="맑은 고딕"/></font></fonts>\
<fills count="3"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill>\
<fill><patternFill patternType="solid"><fgColor rgb="FFE7ECF3"/></patternFill></fill></fills>\
<borders count="2"><border><left/><right/><top/><bottom/><diagonal/></border><border><left style="thin"/>\
<right style="thin"/><top style="thin"/><bottom style="thin"/><diagonal/></border></borders><cellStyleXfs count="1">\
<xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs><cellXfs count="5"><xf xfId="0"/>\
<xf borderId="1" applyBorder="1" applyAlignment="1"><alignment vertical="center" wrapText="1"/></xf>\
<xf fontId="1" fillId="2" borderId="1" applyFont="1" applyFill="1" applyBorder="1" applyAlignment="1">\
<alignment horizontal="center" vertical="center" wrapText="1"/></xf>\
<xf fontId="2" applyFont="1" applyAlignment="1"><alignment vertical="center"/></xf>\
<xf applyAlignment="1"><alignment vertical="center"/></xf></cellXfs>\
<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>"""


@dataclass(frozen=True, slots=True)
class Layout:
    """What every sheet has around its rows, as parts of a worksheet."""

    before: str = ""
    """Before the rows: views, widths."""
    heads: str = ""
    """The first rows themselves."""
    head_rows: int = 0
    after: str = ""
    """After the rows: merged cells, printing."""
    repeated: str = ""
    """Which rows head each printed page, as in $4:$5."""
    style: int = PLAIN


@cache
def letters(column: int) -> str:
    """The name of a column by its index: 0 is A, 26 is AA."""
    name = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        name = chr(65 + rest) + name
    return name


def cell(at: str, value: Any, style: int = PLAIN) -> str:
    """A cell by its place (A1): numbers as such, all else as the text that a person would write."""
    if isinstance(value, int | float):
        return f'<c r="{at}" s="{style}"><v>{value}</v></c>'
    text = defused(written(value))[:MOST_LETTERS]
    if not text:
        return f'<c r="{at}" s="{style}"/>'
    if _SPECIAL.search(text):
        text = escape(_LIKE_ESCAPE.sub("_x005F_", _NOT_XML.sub("", text)))
    return f'<c r="{at}" s="{style}" t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'


class Workbook:
    """One table, being written into a file that can be written to only; its title names the sheets."""

    def __init__(self, file: IO[bytes], title: str, layout: Layout, *, most_rows: int = MOST_ROWS) -> None:
        self._archive = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
        self._title, self._layout, self._most_rows = title, layout, most_rows
        self._sheets = self._row = 0
        self._begin()

    def write(self, rows: Iterable[Sequence[Any]]) -> None:
        """Append rows below the heads."""
        parts: list[str] = []
        style = self._layout.style
        for row in rows:
            if self._row >= self._most_rows:
                self._put("".join(parts))
                parts = []
                self._end()
                self._begin()
            self._row += 1
            number = str(self._row)
            cells = [cell(letters(at) + number, value, style) for at, value in enumerate(row)]
            parts.append(f'<row r="{number}">{"".join(cells)}</row>')
        self._put("".join(parts))

    def close(self) -> None:
        """Write what holds the sheets together. Without it the file is none."""
        self._end()
        count = range(1, self._sheets + 1)
        repeated = "".join(
            f'<definedName name="_xlnm.Print_Titles" localSheetId="{number - 1}">'
            f"'{self._name(number)}'!{self._layout.repeated}</definedName>"
            for number in count
            if self._layout.repeated
        )
        files = {
            "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types"><Default Extension="rels" ContentType='
            '"application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType='
            '"application/xml"/>'
            + _part("/xl/workbook.xml", "sheet.main")
            + _part("/xl/styles.xml", "styles")
            + "".join(_part(f"/xl/worksheets/sheet{number}.xml", "worksheet") for number in count)
            + "</Types>",
            "_rels/.rels": _related({"rId1": ("officeDocument", "xl/workbook.xml")}),
            "xl/_rels/workbook.xml.rels": _related(
                {f"rId{number}": ("worksheet", f"worksheets/sheet{number}.xml") for number in count}
                | {f"rId{self._sheets + 1}": ("styles", "styles.xml")}
            ),
            "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>'
            + "".join(f'<sheet name="{self._name(one)}" sheetId="{one}" r:id="rId{one}"/>' for one in count)
            + "</sheets>"
            + (f"<definedNames>{repeated}</definedNames>" if repeated else "")
            + "</workbook>",
        }
        self._archive.writestr("xl/styles.xml", _STYLES)
        for name, content in files.items():
            self._archive.writestr(name, _XML + content)
        self._archive.close()

    def _name(self, number: int) -> str:
        """A sheet's name: at most 31 letters, and no brackets, colons or slashes."""
        return f"{self._title[:24]} {number}"

    def _put(self, part: str) -> None:
        self._sheet.write(part.encode())

    def _begin(self) -> None:
        self._sheets += 1
        self._row = self._layout.head_rows
        self._sheet = self._archive.open(f"xl/worksheets/sheet{self._sheets}.xml", "w", force_zip64=True)
        self._put(f'{_XML}<worksheet xmlns="{_MAIN}">{self._layout.before}<sheetData>{self._layout.heads}')

    def _end(self) -> None:
        self._put(f"</sheetData>{self._layout.after}</worksheet>")
        self._sheet.close()


def _part(name: str, kind: str) -> str:
    mime = f"application/vnd.openxmlformats-officedocument.spreadsheetml.{kind}+xml"
    return f'<Override PartName="{name}" ContentType="{mime}"/>'


def _related(targets: dict[str, tuple[str, str]]) -> str:
    links = "".join(
        f'<Relationship Id="{name}" Type="{_OFFICE}/{kind}" Target="{target}"/>'
        for name, (kind, target) in targets.items()
    )
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{links}</Relationships>'
