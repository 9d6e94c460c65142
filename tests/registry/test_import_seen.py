"""What was seen before in a file is known exactly, in memory that does not grow with the file."""

import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.registry.imports import reading, seen
from app.registry.imports.reading import open_file
from app.registry.imports.seen import FirstSeen
from tests.registry.import_tables import STANDARD_18, csv_text, line, stored


@given(keys=st.lists(st.integers(0, 12).map(lambda number: b"%d" % number), max_size=60), most=st.integers(1, 20))
def test_on_disk_as_in_memory(keys: list[bytes], most: int) -> None:
    here, spilled = FirstSeen(), FirstSeen(most_here=most)
    for row, key in enumerate(keys, 1):
        assert spilled.add(key, row) == here.add(key, row) == (keys.index(key) + 1, Counter(keys[: row - 1])[key])
    for at_least in (2, 3):
        told = {(key, row, rows) for key, row, rows in spilled.repeated(at_least)}
        assert told == {(key, row, rows) for key, row, rows in here.repeated(at_least)}
        assert told == {
            (key, keys.index(key) + 1, rows) for key, rows in Counter(keys).items() if rows >= at_least
        }  # fmt: skip


@pytest.mark.slow
def test_a_whole_import_is_read_in_flat_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MOST_HERE", 1000), ("_BATCH", 1000), ("_BITS", 16), ("_MASK", (1 << 16) - 1)):
        monkeypatch.setattr(seen, name, value)
    monkeypatch.setattr(reading, "ROWS_AT_ONCE", 500)

    def peak(rows: int) -> int:
        table = [line(관리번호=str(number), WGS84위도=f"37.{number:06}7") for number in range(rows)]
        path = stored(csv_text(table, STANDARD_18), tmp_path)
        del table
        opened = open_file(path)
        tracemalloc.start()
        assert sum(len(chunk.rows) for chunk in opened.read()) == rows
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(4_000)  # caches fill
    assert peak(12_000) < 1.3 * peak(4_000)
