"""Files that wait to be imported, below GWANJE_HOME, readable by the service's account alone.

A city's file may hold what must not be kept (addresses and passwords of cameras). It lies here only until its import
is applied, cancelled or failed; then it goes. Nothing of it but scrubbed values is written anywhere else.
"""

import os
import shutil
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from pathlib import Path
from typing import Final
from uuid import UUID

from app.errors import StorageFull, TooLarge
from app.registry.imports.sniff import MAX_FILE_BYTES
from app.registry.imports.text import clean

LEFT_FREE_BYTES: Final = 512 << 20
MOST_NAME_LETTERS: Final = 200


def path_of(home: Path, import_id: UUID) -> Path:
    """Where the file of an import lies; it is called `file`, whatever its sender called it."""
    return home.absolute() / "imports" / str(import_id) / "file"


def name_of(said: str) -> str:
    """What a file may be called in lists and logs: its last part, scrubbed and short."""
    return clean(said.replace("\\", "/").rpartition("/")[2])[0][:MOST_NAME_LETTERS] or "file"


def refuse_too_large(size: int | None) -> None:
    """TooLarge for what is announced as more than is accepted."""
    if size is not None and size > MAX_FILE_BYTES:
        raise TooLarge(f"the file has {size:,} bytes; {MAX_FILE_BYTES:,} are accepted")


async def receive(home: Path, import_id: UUID, pieces: AsyncIterator[bytes]) -> Path:
    """Store a file as it comes, piece by piece. TooLarge as soon as it is; StorageFull before the disk is.

    Whatever goes wrong, nothing of it is left.
    """
    path = path_of(home, import_id)
    path.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.mkdir(mode=0o700)
    size = 0
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            async for piece in pieces:
                size += len(piece)
                refuse_too_large(size)
                if size % (16 << 20) < len(piece):
                    _refuse_without_room(path)
                file.write(piece)
    except BaseException:
        discard(home, import_id)
        raise
    return path


def _refuse_without_room(path: Path) -> None:
    if shutil.disk_usage(path).free < LEFT_FREE_BYTES:
        raise StorageFull("there is no room for the file; tell whoever runs the server", retry_after_seconds=60)


def discard(home: Path, import_id: UUID) -> None:
    """Delete the file of an import, if it is still there."""
    shutil.rmtree(path_of(home, import_id).parent, ignore_errors=True)


def waiting(home: Path) -> set[UUID]:
    """The imports whose files lie here."""
    found = set()
    with suppress(FileNotFoundError):
        for folder in (home.absolute() / "imports").iterdir():
            with suppress(ValueError):
                found.add(UUID(folder.name))
    return found


def sweep(home: Path, wanted: Collection[UUID]) -> None:
    """Delete the files of all imports but these."""
    for import_id in waiting(home) - set(wanted):
        discard(home, import_id)
