"""What was seen before in a file, in memory that stays the same however long the file is.

The first rows' keys are kept in a dict. Beyond `MOST_HERE` they go to a table on disk (SQLite, deleted with its
connection), in front of which a bitmap answers for almost every new key, so that the disk is asked for repeats only.
"""

import sqlite3
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final

MOST_HERE: Final = 150_000
_BATCH: Final = 50_000
_BITS: Final = 27  # 16 MiB; of two million keys one in seventy is looked up in vain
_MASK: Final = (1 << _BITS) - 1


class FirstSeen:
    """In which row each key was first seen, and how often again."""

    def __init__(self, most_here: int | None = None) -> None:
        self._most_here = MOST_HERE if most_here is None else most_here
        self._rows: dict[bytes, int] = {}
        self._again: dict[bytes, int] = {}
        self._disk: _OnDisk | None = None

    def add(self, key: bytes, row_number: int) -> tuple[int, int]:
        """(row where the key was first seen, how often it has been seen since); 0 for a key that is new."""
        if self._disk is None:
            first = self._rows.setdefault(key, row_number)
            if first != row_number:
                again = self._again[key] = self._again.get(key, 0) + 1
                return first, again
            if len(self._rows) > self._most_here:
                self._disk = _OnDisk(self._rows, self._again)
                self._rows, self._again = {}, {}
            return first, 0
        return self._disk.add(blake2b(key, digest_size=16).digest(), key, row_number)

    def repeated(self, at_least: int) -> Iterator[tuple[bytes, int, int]]:
        """(key, first row, how often it was seen in all) of keys seen so often, in the order of how often."""
        if self._disk is not None:
            yield from self._disk.repeated(at_least)
            return
        for key, again in sorted(self._again.items(), key=lambda item: -item[1]):
            if again + 1 >= at_least:
                yield key, self._rows[key], again + 1


class _OnDisk:
    def __init__(self, rows: dict[bytes, int], again: dict[bytes, int]) -> None:
        self._table = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -24000", "locking_mode = EXCLUSIVE"):
            self._table.execute(f"PRAGMA {pragma}")
        self._table.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY, key BLOB, row INT, again INT) WITHOUT ROWID")
        self._table.execute("BEGIN")  # and never committed: it is gone with the connection
        self._bits = bytearray(1 << (_BITS - 3))
        self._waiting: dict[bytes, tuple[bytes, int]] = {}
        for key, row in rows.items():
            self._note(blake2b(key, digest_size=16).digest(), key, row)
        for key, times in again.items():
            self._count(blake2b(key, digest_size=16).digest(), times)

    def add(self, digest: bytes, key: bytes, row_number: int) -> tuple[int, int]:
        bit = int.from_bytes(digest[:8], "little") & _MASK
        if self._bits[bit >> 3] >> (bit & 7) & 1:
            self._write()
            found = self._table.execute("SELECT row, again FROM seen WHERE digest = ?", (digest,)).fetchone()
            if found is not None:
                self._count(digest, found[1] + 1)
                return found[0], found[1] + 1
        self._note(digest, key, row_number)
        return row_number, 0

    def repeated(self, at_least: int) -> Iterator[tuple[bytes, int, int]]:
        self._write()
        yield from self._table.execute(
            "SELECT key, row, again + 1 FROM seen WHERE again >= ? ORDER BY again DESC, row", (at_least - 1,)
        )

    def _note(self, digest: bytes, key: bytes, row_number: int) -> None:
        bit = int.from_bytes(digest[:8], "little") & _MASK
        self._bits[bit >> 3] |= 1 << (bit & 7)
        self._waiting[digest] = (key, row_number)
        if len(self._waiting) >= _BATCH:
            self._write()

    def _count(self, digest: bytes, again: int) -> None:
        self._write()
        self._table.execute("UPDATE seen SET again = ? WHERE digest = ?", (again, digest))

    def _write(self) -> None:
        if self._waiting:
            rows = [(digest, key, row, 0) for digest, (key, row) in sorted(self._waiting.items())]
            self._table.executemany("INSERT INTO seen VALUES (?, ?, ?, ?)", rows)
            self._waiting = {}
