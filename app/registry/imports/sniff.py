"""What a file really is, told by its content and never by its name.

    sniff(path) -> Sniffed(XLSX) | Sniffed(TEXT, encoding, lines)

Everything else is refused with a sentence that says what the file is and what to send instead. Nothing here holds
more than a few megabytes, whatever the size of the file.
"""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from app.errors import TooLarge, UnusableFile
from app.registry.imports.workbook import refuse_hostile_workbook

MAX_FILE_BYTES: Final = 1 << 30
CHUNK_BYTES: Final = 1 << 20

# First bytes that are no table, with what to tell the person who sent them.
_OTHER_FORMATS: Final = (
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"\xd0\xcf\x11\xe0", "an old Office or HWP document, or a workbook with a password"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90", "a program"),
    (b"SQLite format 3", "an SQLite database"),
)
# First letters of texts that are no table (compared in lower case, after white space).
_OTHER_TEXTS: Final = (
    ("<!doctype html", "a web page, perhaps the error page of a portal"),
    ("<html", "a web page, perhaps the error page of a portal"),
    ("<?xml", "an XML document"),
    ("{", "JSON"),
    ("[{", "JSON"),
    ("insert into", "SQL statements"),
    ("create table", "SQL statements"),
)
_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SEND_INSTEAD: Final = "send the table as .xlsx or as CSV (UTF-8 or CP949)"


class FileKind(Enum):
    XLSX = "xlsx"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Sniffed:
    """`encoding` and `lines` (physical lines, header included) are of a text; a workbook has "" and 0."""

    kind: FileKind
    encoding: str = ""
    lines: int = 0


def sniff(path: Path) -> Sniffed:
    """Tell an xlsx from a text and find the encoding of a text by decoding all of it.

    UTF-8 with and without a mark, CP949 (with EUC-KR inside it) and UTF-16 with a mark are known. A few damaged
    bytes (one in two thousand) are let through: they show as U+FFFD and are found in their rows.

    Raises UnusableFile for what is no table, and TooLarge above MAX_FILE_BYTES.
    """
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise TooLarge(f"{path.name} has {size:,} bytes; {MAX_FILE_BYTES:,} are accepted")
    with path.open("rb") as file:
        head = file.read(64 * 1024)
    if not head.strip(b"\x00 \t\r\n\xef\xbb\xbf"):
        raise UnusableFile(f"{path.name} is empty; {_SEND_INSTEAD}")
    if head.startswith(b"PK"):
        refuse_hostile_workbook(path)
        return Sniffed(FileKind.XLSX)
    for magic, name in _OTHER_FORMATS:
        if head.startswith(magic):
            raise UnusableFile(f"{path.name} is {name}; {_SEND_INSTEAD}")
    encoding = _encoding_of(path, head, size)
    opening = head.decode(encoding, "replace").lstrip("\ufeff \t\r\n").lower()
    for beginning, name in _OTHER_TEXTS:
        if opening.startswith(beginning):
            raise UnusableFile(f"{path.name} is {name}; {_SEND_INSTEAD}")
    if sum(not (letter.isprintable() or letter.isspace()) for letter in opening) * 20 > len(opening):
        raise UnusableFile(f"{path.name} is binary data, not a table; {_SEND_INSTEAD}")
    return Sniffed(FileKind.TEXT, encoding, _count_lines(path))


def _encoding_of(path: Path, head: bytes, size: int) -> str:
    for mark, encoding in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            candidates: tuple[str, ...] = (encoding,)
            break
    else:
        candidates = ("utf-8", "cp949")
    bearable = 1 + size // 2000
    damage: dict[str, int] = {}
    for encoding in candidates:
        damage[encoding] = _damaged_letters(path, encoding, bearable)
        if not damage[encoding]:
            return encoding
    best = min(damage, key=lambda encoding: damage[encoding])
    if damage[best] > bearable:
        raise UnusableFile(f"{path.name} is neither UTF-8 nor CP949 text; {_SEND_INSTEAD}")
    return best


def _damaged_letters(path: Path, encoding: str, enough: int) -> int:
    """How many letters of the text cannot be decoded; counting stops soon after `enough`."""
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    count = 0
    # Pieces are smaller than chunks: a wrong guess is given up after a few thousand bad letters, not a million.
    for chunk in _chunks(path):
        for start in range(0, len(chunk), 8192):
            count += decoder.decode(chunk[start : start + 8192]).count("\ufffd")
            if count > enough:
                return count
    return count + decoder.decode(b"", final=True).count("\ufffd")


def _count_lines(path: Path) -> int:
    line_feeds = returns = 0
    ended = True
    for chunk in _chunks(path):
        feeds_here, returns_here = chunk.count(b"\n"), chunk.count(b"\r")
        if len(chunk) == CHUNK_BYTES and not feeds_here and not returns_here:
            raise UnusableFile(
                f"{path.name} has a line of more than {CHUNK_BYTES:,} bytes: no table has; {_SEND_INSTEAD}"
            )
        line_feeds += feeds_here
        returns += returns_here
        ended = chunk.rstrip(b"\x00")[-1:] in (b"\n", b"\r")
    # A carriage return of its own ends a line only where line feeds are fewer (old Mac texts).
    return max(line_feeds, returns) + (not ended)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
