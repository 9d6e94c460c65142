"""The workbook as a file: whole, readable by others, going on in a next sheet, and no larger in memory for its length."""

import io
import tracemalloc
import zipfile
from collections.abc import Iterator
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from python_calamine import CalamineWorkbook

from app.reports.forms import ACCESS, FOOTAGE, Cell, Form, Heading, defused
from app.reports.sheets import HEADS, Sheets, letters

HEADING = Heading("별빛구", "2026-01-01 ~ 2026-01-31", "출력 2026-02-01")


def made(rows: list[list[Cell]], form: Form = ACCESS, most_rows: int = 100) -> io.BytesIO:
    file = io.BytesIO()
    sheets = Sheets(file, form, HEADING, most_rows=most_rows)
    sheets.write(rows)
    sheets.close()
    file.seek(0)
    return file


def row(number: int, text: str = "ㄱ") -> list[Cell]:
    return [number, *[text] * (len(ACCESS.columns) - 1)]


@pytest.mark.parametrize(("count", "sheets"), [(0, 1), (95, 1), (96, 2), (190, 2), (191, 3)])
def test_a_full_sheet_goes_on_in_the_next_one_under_the_same_heads(count: int, sheets: int) -> None:
    book = CalamineWorkbook.from_filelike(made([row(number) for number in range(count)]))
    found = [book.get_sheet_by_index(at).to_python() for at in range(len(book.sheet_names))]
    assert len(found) == sheets
    assert len(set(book.sheet_names)) == sheets
    assert all(len(name) <= 31 for name in book.sheet_names)
    assert [line[0] for sheet in found for line in sheet[HEADS:]] == list(range(count))
    assert all(sheet[3][:9] == [column.head for column in ACCESS.columns] for sheet in found)


def test_every_part_is_there_well_formed_and_named() -> None:
    for form in (ACCESS, FOOTAGE):
        with zipfile.ZipFile(made([["x" for _ in form.columns] for _ in range(150)], form)) as archive:
            assert archive.testzip() is None
            parts = {name: ET.fromstring(archive.read(name)) for name in archive.namelist()}
        types = {node.get("PartName") for node in parts["[Content_Types].xml"]} - {None}
        assert types == {f"/{name}" for name in parts if name.startswith("xl/") and not name.endswith(".rels")}
        sheet = parts["xl/worksheets/sheet2.xml"]
        space = {"m": sheet.tag.partition("}")[0][1:]}
        setup = sheet.find("m:pageSetup", space)
        assert setup is not None
        assert (setup.get("paperSize"), setup.get("orientation")) == ("9", "landscape")
        titles = parts["xl/workbook.xml"].findall("m:definedNames/m:definedName", space)
        assert [title.text for title in titles] == [f"'{form.title[:24]} {number}'!$4:$5" for number in (1, 2)]


def test_names_of_columns() -> None:
    assert [letters(at) for at in (0, 25, 26, 51, 52, 701, 702)] == ["A", "Z", "AA", "AZ", "BA", "ZZ", "AAA"]


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=40)


@given(st.lists(TEXTS, min_size=1, max_size=5))
@hypothesis_settings(max_examples=60, deadline=None)
def test_any_text_comes_back_as_it_was_but_for_what_xml_cannot_say(texts: list[str]) -> None:
    book = CalamineWorkbook.from_filelike(made([row(1, text) for text in texts]))
    found = [line[1] for line in book.get_sheet_by_index(0).to_python()[HEADS:]]
    unsayable = {chr(code) for code in range(32)} - {"\t", "\n"} | {"\ufffe", "\uffff"}
    expected = ["".join(letter for letter in str(defused(text)) if letter not in unsayable) for text in texts]
    assert found == expected


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\t=1", "\r=1", "\n=1"])
def test_what_a_spreadsheet_would_compute_is_defused(text: str) -> None:
    assert defused(text) == "'" + text
    assert defused("a" + text) == "a" + text


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows() -> None:
    def peak(count: int) -> int:
        class Nowhere(io.RawIOBase):
            def writable(self) -> bool:
                return True

            def write(self, part: object) -> int:
                return len(part)  # type: ignore[arg-type]

        def rows() -> Iterator[list[Cell]]:
            for number in range(500):
                yield row(number, f"{number:x}" * 5)

        tracemalloc.start()
        sheets = Sheets(Nowhere(), ACCESS, HEADING)  # type: ignore[arg-type]
        for _ in range(count):
            sheets.write(rows())
        sheets.close()
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1)
    assert peak(20) < peak(4) * 1.2
