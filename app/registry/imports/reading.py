"""A file being read: in a thread, a few thousand rows at a time, so that memory does not grow with the file.

with open_file(order) as opened:                  # sniffed, its header found; UnusableFile if it is no table
async for chunk in opened.chunks():           # rows that stand (or are marked deleted), and findings
...
opened.summary                                    # complete after the last chunk
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from app.errors import Malformed, UnusableFile
from app.registry.imports.cameras import SiteRow, read_sites
from app.registry.imports.findings import Finding, Summary
from app.registry.imports.kinds import KINDS, AssetKind
from app.registry.imports.rows import Table, open_table
from app.registry.imports.street import AssetRow, read_assets
from app.registry.imports.text import clean

ROWS_AT_ONCE: Final = 5000

Row = SiteRow | AssetRow


@dataclass(slots=True)
class Chunk:
    """Rows that stand or that the source marks as deleted, and what was odd in these and in the others."""

    rows: list[Any] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    rows_read: int = 0


@dataclass
class Opened:
    """A file whose header is found. `summary` fills while it is read."""

    path: Path
    table: Table
    digest: bytes
    size: int
    name: str
    summary: Summary = field(default_factory=Summary)

    @property
    def kind(self) -> AssetKind:
        return self.table.layout.kind

    @property
    def layout(self) -> str:
        """The file's columns, scrubbed: without a header, data might stand there."""
        return clean(", ".join(self.table.columns))[0]

    def read(self) -> Iterator[Chunk]:
        """The file's chunks in their order; blocks."""
        self.summary = Summary()
        read = read_assets(self.table, summary=self.summary) if self.kind.stands_for else None
        rows: Iterator[tuple[Any, list[Finding]]] = read or read_sites(self.table, summary=self.summary)
        chunk = Chunk()
        for row, findings in rows:
            if row is not None and (not row.quarantined or row.deleted):
                chunk.rows.append(row)
            chunk.findings += findings
            if len(chunk.rows) >= ROWS_AT_ONCE or len(chunk.findings) >= 2 * ROWS_AT_ONCE:
                chunk.rows_read = self.summary.rows
                yield chunk
                chunk = Chunk()
        chunk.rows_read = self.summary.rows
        yield chunk

    async def chunks(self) -> AsyncIterator[Chunk]:
        """As `read`, in threads, one chunk ahead of what is made of it."""
        reading = self.read()
        ahead = asyncio.ensure_future(asyncio.to_thread(next, reading, None))
        try:
            while (chunk := await ahead) is not None:
                ahead = asyncio.ensure_future(asyncio.to_thread(next, reading, None))
                yield chunk
        finally:
            await asyncio.wait([ahead])  # a thread cannot be cancelled; it is not far


def kind_named(name: str) -> AssetKind | None:
    """The kind of file of this name, None for "" (it is found out); Malformed when there is none of that name."""
    if name and name not in KINDS:
        raise Malformed(f"kind is one of: {', '.join(KINDS)}", field="kind")
    return KINDS.get(name)


def open_file(path: Path, *, kind: str = "", mapping: Mapping[str, str] | None = None) -> Opened:
    """Look into a file and find its header. Blocks: call it in a thread.

    `kind` is one of `KINDS`, or "" to find it out. Raises UnusableFile, TooLarge or Malformed (`mapping`, `kind`).
    """
    table = open_table(path, mapping=mapping or None, kind=kind_named(kind))
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    return Opened(path, table, digest, path.stat().st_size, path.name)


def refuse_empty(opened: Opened) -> None:
    """UnusableFile if not one row of the file can stand."""
    if not opened.summary.imported and not opened.summary.rows_with("row_marked_deleted"):
        raise UnusableFile(f"none of the {opened.summary.rows} rows can stand; the findings say why")
