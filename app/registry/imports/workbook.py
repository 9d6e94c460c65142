"""Is it safe to hand this zip to the xlsx reader?

The reader (calamine) is fast because it unpacks a sheet at once and lays its cells out as one rectangle. Two files
of a few kilobytes would take the machine down: one that unpacks to gigabytes, and one with a cell in A1 and another
in XFD1048576. So every part is unpacked here first, in pieces, counted, and searched for cells that lie far out.
Declared sizes are checked and then not believed.
"""

import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from app.errors import UnusableFile

MAX_UNPACKED_BYTES: Final = 600 << 20
MAX_RATIO: Final = 200  # real sheets pack 5 to 50 times; deflate can reach 1,032
RATIO_MATTERS_FROM_BYTES: Final = 20 << 20
MAX_PARTS: Final = 2_000
MAX_CELLS: Final = 25_000_000  # of the rectangle: a million rows of 25 columns
MAX_CELLS_PER_REAL_ONE: Final = 50
_FREE_CELLS: Final = 1_000_000

_CHUNK_BYTES: Final = 1 << 20
_OVERLAP_BYTES: Final = 64
_LOCAL_HEADER_BYTES: Final = 30

# Cheap test, over every byte: a cell or row beyond Z99999, or an `r` attribute in an unusual spelling. If nothing
# matches, the rectangle has at most 26 columns and 99,999 rows. Whatever matches is looked at exactly.
_FAR_OUT: Final = re.compile(rb'r(?:="(?:[A-Za-z]{2,}[0-9]|[A-Za-z]?[0-9]{6})|\s*=\s*[^"\s]|\s+=|=\s)')
_REFERENCE: Final = re.compile(rb"[\s:]r\s*=\s*[\"']([A-Za-z]*)([0-9]+)[\"']")


def refuse_hostile_workbook(path: Path) -> None:
    """Return if the file is an xlsx of bearable size; else raise UnusableFile that says what it is."""
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            parts = archive.infolist()
            _refuse_other_archives(path.name, {part.filename for part in parts})
            _refuse_declared_sizes(path.name, parts)
            unpacked = 0
            for part in parts:
                unpacked += _inspect(path.name, file, part, MAX_UNPACKED_BYTES - unpacked)
    except (zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, OSError, ValueError) as error:
        raise UnusableFile(f"{path.name} is a damaged zip or xlsx file ({error}); save it anew") from error


def _refuse_other_archives(name: str, parts: set[str]) -> None:
    if "xl/workbook.xml" in parts:
        return
    if "xl/workbook.bin" in parts:
        raise UnusableFile(f"{name} is a binary workbook (.xlsb); save it as .xlsx")
    if "content.xml" in parts:
        raise UnusableFile(f"{name} is an OpenDocument file; save it as .xlsx")
    if any(part.startswith(("word/", "ppt/", "Contents/")) for part in parts):
        raise UnusableFile(f"{name} is a document, not a table; save the table as .xlsx or CSV")
    raise UnusableFile(f"{name} is a zip archive, not a workbook; unpack it and send the table inside")


def _refuse_declared_sizes(name: str, parts: list[zipfile.ZipInfo]) -> None:
    unpacked = sum(part.file_size for part in parts)
    packed = sum(part.compress_size for part in parts)
    bomb = unpacked > RATIO_MATTERS_FROM_BYTES and unpacked > packed * MAX_RATIO
    if bomb or unpacked > MAX_UNPACKED_BYTES or len(parts) > MAX_PARTS:
        raise UnusableFile(
            f"{name} would unpack from {packed:,} to {unpacked:,} bytes in {len(parts):,} parts: "
            "refused as a zip bomb; send a CSV if the table is really that long"
        )


def _inspect(name: str, file: IO[bytes], part: zipfile.ZipInfo, allowance: int) -> int:
    """Unpack one part in pieces; returns its true size and refuses lies, bombs and sheets that span too far."""
    if part.flag_bits & 1:
        raise UnusableFile(f"{name} is encrypted; remove the password and send it again")
    size = 0
    rest = b""
    far_out = False
    for piece in _unpacked(file, part):
        size += len(piece)
        if size > part.file_size or size > allowance:
            raise UnusableFile(f"{name} unpacks to more than it declares: refused as a zip bomb")
        if not far_out:
            window = rest + piece
            far_out = _FAR_OUT.search(window) is not None
            rest = window[-_OVERLAP_BYTES:]
    if far_out:
        _refuse_wide_span(name, file, part)
    return size


def _refuse_wide_span(name: str, file: IO[bytes], part: zipfile.ZipInfo) -> None:
    columns = rows = found = 0
    rest = b""
    for piece in _unpacked(file, part):
        window = rest + piece
        end = 0
        for match in _REFERENCE.finditer(window):
            found += 1
            end = match.end()
            columns = max(columns, _column_number(match[1]))
            rows = max(rows, int(match[2][:10]))
        rest = window[max(end, len(window) - _OVERLAP_BYTES) :]
    span = columns * rows
    if span > MAX_CELLS or span > _FREE_CELLS + found * MAX_CELLS_PER_REAL_ONE:
        raise UnusableFile(
            f"{name} has cells as far out as row {rows:,}, column {columns:,}; "
            "delete what stands far from the table, or save it as CSV"
        )


def _column_number(letters: bytes) -> int:
    number = 0
    for letter in letters[:6].upper():
        number = number * 26 + letter - 64
    return number


def _unpacked(file: IO[bytes], part: zipfile.ZipInfo) -> Iterator[bytes]:
    """The part's content in pieces of at most a megabyte, read past its declared size if there is more."""
    file.seek(part.header_offset)
    header = file.read(_LOCAL_HEADER_BYTES)
    name_bytes, extra_bytes = int.from_bytes(header[26:28], "little"), int.from_bytes(header[28:30], "little")
    file.seek(name_bytes + extra_bytes, 1)
    packed_left = part.compress_size
    if part.compress_type == zipfile.ZIP_STORED:
        while packed_left > 0 and (piece := file.read(min(_CHUNK_BYTES, packed_left))):
            packed_left -= len(piece)
            yield piece
        return
    if part.compress_type != zipfile.ZIP_DEFLATED:
        raise NotImplementedError(f"compression method {part.compress_type}")
    inflater = zlib.decompressobj(-15)
    while packed_left > 0 and not inflater.eof and (packed := file.read(min(_CHUNK_BYTES // 4, packed_left))):
        packed_left -= len(packed)
        while packed and (piece := inflater.decompress(packed, _CHUNK_BYTES)):
            packed = inflater.unconsumed_tail
            yield piece
