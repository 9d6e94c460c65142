"""Laws that hold for every file: columns may come in any order, encodings say the same, junk is refused and no more."""

import csv
import io
import random
import tempfile
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.errors import UnusableFile
from app.registry.imports import open_table, read_sites
from app.registry.imports.text import clean, is_clean, undefused
from tests.registry.import_tables import SEOUL, STANDARD_18, csv_text, everything, line, lines, stored, xlsx, zipped

# Letters that CP949 has, too.
HANGUL = st.text(st.sampled_from("가나다라마바사동길로 0123456789-()[]_.,/\"'\t;|#"), max_size=30)
DIRTY_CELL = st.one_of(
    HANGUL,
    st.sampled_from(
        ["", "0", "37.5123", "127.0279", "1905-07", "10.1.2.3", "화장실", "2018.4.1", "#N/A", "1e999", "합계"]
    ),
)
ROW = st.fixed_dictionaries({}, optional=dict.fromkeys(STANDARD_18, DIRTY_CELL))


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(ROW, min_size=1, max_size=6), order=st.permutations(STANDARD_18))
def test_columns_may_come_in_any_order(folder: Path, rows, order) -> None:
    usual = everything(csv_text([line(**row) for row in rows]), folder)
    shuffled = everything(csv_text([line(order, **row) for row in rows], order), folder)
    assert shuffled[0] == usual[0]
    assert sorted(map(str, shuffled[1])) == sorted(map(str, usual[1]))


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(ROW, min_size=1, max_size=6), quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]))
def test_encodings_and_quoting_say_the_same(folder: Path, rows, quoting) -> None:
    table = [line(**row) for row in rows]
    usual = everything(csv_text(table), folder)
    for encoding in ("cp949", "utf-8-sig", "utf-16"):
        assert everything(csv_text(table, quoting=quoting).encode(encoding), folder) == usual


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(ROW, min_size=1, max_size=8))
def test_every_row_is_counted_once(folder: Path, rows) -> None:
    table = [line(**row) for row in rows]
    sites, findings, summary = everything(csv_text(table), folder)
    assert summary.rows == len(table)
    assert summary.imported + summary.quarantined == summary.rows
    standing = [site for site in sites if site and not site.quarantined]
    assert summary.imported == len(standing)
    assert summary.cameras == sum(site.camera_count for site in standing)
    keys = [site.external_key for site in standing]
    assert len(set(keys)) == len(keys)
    broken = {finding.row_number for finding in findings if finding.severity == "error"}
    assert broken == {site.row_number for site in sites if site and site.quarantined}


@settings(deadline=None, max_examples=60)
@given(words=st.lists(st.tuples(HANGUL, st.sampled_from(["\n", "\r\n", "\r"]), HANGUL), min_size=1, max_size=8))
@example(words=[("'", "\n", "")])  # an apostrophe before a line break is the mark of a defused cell, not its text
def test_line_breaks_inside_quotes_keep_the_rows(folder: Path, words) -> None:
    table = [line(관리번호=str(index), 촬영방면정보="".join(each)) for index, each in enumerate(words)]
    sites, *_ = everything(csv_text(table), folder)
    assert [site.management_number for site in sites if site] == [str(index) for index in range(len(words))]
    assert [site.direction_text for site in sites if site] == [clean(undefused("".join(each)))[0] for each in words]


@settings(deadline=None, max_examples=300)
@given(
    content=st.binary(max_size=400),
    head=st.sampled_from([b"", b"PK\x03\x04", b"\xef\xbb\xbf", b"\xff\xfe", "위도,경도,주소,수량\n".encode()]),
)
def test_random_bytes_are_refused_and_no_more(folder: Path, content, head) -> None:
    _tolerated(head + content, folder)


@settings(deadline=None, max_examples=200)
@given(seed=st.integers(0, 2**32), damages=st.integers(1, 30))
@pytest.mark.parametrize("container", ["csv", "cp949", "xlsx"])
def test_damaged_files_are_read_or_refused(folder: Path, container, seed, damages) -> None:
    _tolerated(_damaged(GOOD_FILES[container], random.Random(seed), damages), folder)


@settings(deadline=None, max_examples=200)
@given(seed=st.integers(0, 2**32), damages=st.integers(1, 6))
def test_workbooks_with_damage_inside_are_read_or_refused(folder: Path, seed, damages) -> None:
    chance = random.Random(seed)
    with zipfile.ZipFile(io.BytesIO(GOOD_FILES["xlsx"])) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = chance.choice([name for name in parts if "xl/" in name])
    _tolerated(zipped(parts | {name: _damaged(parts[name], chance, damages)}), folder)


def _damaged(good: bytes, chance: random.Random, damages: int) -> bytes:
    content = bytearray(good)
    for _ in range(damages):
        at = chance.randrange(len(content))
        if chance.random() < 0.3:
            del content[at : at + chance.randrange(40)]
        else:
            content[at] = chance.choice((chance.randrange(256), 0x22, 0x0A, 0x2C, 0x00, 0x39, content[at] ^ 1))
    return bytes(content)


GOOD_FILES = {
    "csv": csv_text(lines(12)).encode(),
    "cp949": csv_text(lines(12), quoting=csv.QUOTE_ALL).encode("cp949"),
    "xlsx": xlsx([SEOUL, *lines(12, SEOUL)]),
}


def _tolerated(content: bytes, folder: Path) -> None:
    """Reading gives sites of sound values, or one UnusableFile; anything else fails the test."""
    with suppress(UnusableFile):
        for site, findings in read_sites(open_table(stored(content, folder, "any"))):
            for finding in findings:
                assert finding.message_ko
                assert finding.message_en
            if site:
                assert 1 <= site.camera_count <= 200
                assert (site.latitude is None) == (site.longitude is None)
                assert site.latitude is None or (33 <= site.latitude <= 38.7 and 124.5 <= site.longitude <= 132)
                assert "\x00" not in "".join(part for part in site if isinstance(part, str))


@settings(deadline=None, max_examples=300)
@given(
    st.text(max_size=60)
    | st.from_regex(r"\D{0,5}\d{1,3}([.]\d{1,3}){3}\D{0,5}", fullmatch=True, alphabet="0123456789.가 (")
)
@example("\uf900")  # a compatibility ideograph, which NFC replaces by another letter
def test_the_cheap_test_misses_nothing_and_cleaning_is_final(text) -> None:
    cleaned, flaws = clean(text)
    if is_clean(text):
        assert not flaws
        assert cleaned == " ".join(text.split())
    again, more = clean(cleaned)
    assert again == cleaned
    assert "secret_removed" not in more


def test_an_import_reads_a_text_in_flat_memory(folder: Path) -> None:
    def peak(rows: int) -> int:
        out = io.StringIO(csv_text([]))
        out.seek(0, io.SEEK_END)
        writer = csv.writer(out)
        for index in range(rows):
            writer.writerow(line(관리번호=str(index)))
        table = open_table(stored(out.getvalue(), folder))
        del out
        tracemalloc.start()
        assert sum(1 for _ in table.records()) == rows
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    assert peak(20_000) < 2 * peak(2_000)
