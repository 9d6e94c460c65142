"""The local spool: what must not stop is written down here while the database is away, and imported when it is back.

A file holds one record a line: JSON, a tab, an Ed25519 signature (base64) of the JSON. Each record carries the SHA-256
of the whole line before, so none can be changed, dropped or slipped in unnoticed. A record counts once its file is
synced to the disk. Of a line that a crash left half nothing ever left: it is passed over. What is missing at the end,
cut off line by line, cannot be seen in the file itself; see decision 17.
"""

import asyncio
import base64
import fcntl
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app import clock
from app.errors import AuditUnavailable
from app.ids import new_id
from app.keys import Keys

ALGORITHM = "Ed25519"
KEY = "audit-spool"
SUFFIX, REFUSED = ".spool", ".refused"
MOST_LINE = 64 * 1024
KEPT_FOR_ENDS = 4  # a quarter of the room is for how views end: what began can always be ended


class Tampered(Exception):  # noqa: N818 - a finding about a file
    """A spool that is not what was written; the text says what is wrong, and with which record."""


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that happened: `act` as an entry has it, and what the importer needs to know."""

    act: str
    said: Mapping[str, Any]
    at: datetime = field(default_factory=clock.now)
    id: UUID = field(default_factory=new_id)


@dataclass(frozen=True, slots=True)
class Spooled:
    """A spool that was read and found whole. `torn`: its last line was cut off by a crash."""

    id: UUID
    node: str
    began_at: datetime
    records: list[Record]
    torn: bool


class Spool:
    """The spool that a process writes, in files of its own; a file is begun with the first record of an outage."""

    def __init__(self, folder: Path, keys: Keys, node: str, *, hours: float, most_bytes: int) -> None:
        self.folder, self._keys, self._node = folder, keys, node
        self._seconds, self._most_bytes = hours * 3600, most_bytes
        self._file: BinaryIO | None = None
        self._before = b""
        self._began = 0.0
        self._turn = threading.Lock()
        self.records = self.bytes = 0
        self.since: datetime | None = None
        """Since when the process spools; None while it does not."""

    async def write(self, records: Sequence[Record], *, is_end: bool = False) -> None:
        """Return once the records are on the disk. AuditUnavailable when the spool is full, too old or unwritable.

        Only ends (`is_end`) may use the last quarter of its room.
        """
        try:
            await asyncio.shield(asyncio.to_thread(self._write, records, is_end))
        except OSError as error:
            await self.seal()
            raise AuditUnavailable("the local spool cannot be written", retry_after_seconds=2) from error

    def _write(self, records: Sequence[Record], is_end: bool) -> None:
        with self._turn:
            self._add(records, is_end)

    def _add(self, records: Sequence[Record], is_end: bool) -> None:
        if self._file is None:
            self._begin()
        assert self._file is not None
        before, lines = self._before, []
        for record in records:
            said = {"id": record.id, "at": record.at, "act": record.act, "said": record.said, "before": before.hex()}
            lines.append(self._line(said))
            before = sha256(lines[-1]).digest()
        data = b"".join(lines)
        room = self._most_bytes if is_end else self._most_bytes * (KEPT_FOR_ENDS - 1) // KEPT_FOR_ENDS
        if self.bytes + len(data) > room or (not is_end and clock.monotonic() - self._began > self._seconds):
            raise AuditUnavailable("the local spool is full or too old; nothing more begins", retry_after_seconds=10)
        self._file.write(data)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._before = before
        self.bytes += len(data)
        self.records += len(records)

    def _begin(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        now, spool_id = clock.now(), new_id()
        path = self.folder / f"{now:%Y%m%dT%H%M%S%f}-{spool_id.hex[-12:]}{SUFFIX}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        self._file = os.fdopen(descriptor, "wb")
        fcntl.flock(self._file, fcntl.LOCK_EX)  # whoever can take it knows that the writer is gone
        head = self._line(
            {"spool": 1, "id": spool_id, "node": self._node, "at": now, "algorithm": ALGORITHM,
             "key_id": self._keys.key_id}
        )  # fmt: skip
        self._file.write(head)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._before, self.bytes, self.records = sha256(head).digest(), len(head), 0
        self.since, self._began = self.since or now, clock.monotonic()

    def _line(self, said: Mapping[str, Any]) -> bytes:
        text = orjson.dumps(said, default=str, option=orjson.OPT_SORT_KEYS)
        return text + b"\t" + base64.b64encode(_key(self._keys).sign(text)) + b"\n"

    async def seal(self) -> None:
        """End the file that is being written: it can be imported from now on."""
        await asyncio.to_thread(self._let_go)

    def _let_go(self) -> None:
        with self._turn:
            if self._file is not None:
                with suppress(OSError):
                    self._file.close()
            self._file, self.since, self.records, self.bytes = None, None, 0, 0

    def refused(self) -> int:
        """How many files were refused and are kept aside."""
        return len(list(self.folder.glob(f"*{REFUSED}"))) if self.folder.is_dir() else 0


def _key(keys: Keys) -> Ed25519PrivateKey:
    cache: dict[str, Ed25519PrivateKey] = keys.__dict__.setdefault("_spool_key", {})
    if KEY not in cache:
        cache[KEY] = Ed25519PrivateKey.from_private_bytes(keys.derive(KEY, 32))
    return cache[KEY]


def left(folder: Path) -> list[Path]:
    """The files that wait to be imported, or are still being written; the oldest first."""
    return sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []


@contextmanager
def taken(path: Path) -> Iterator[bool]:
    """Whether this process may import the file, for as long as the block lasts: nobody writes or imports it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield path.exists()
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


def read(path: Path, keys: Keys, most_bytes: int) -> Spooled:
    """What a spool says, all of it checked: signatures, chain, form. Tampered if anything is not as it was written."""
    if path.stat().st_size > most_bytes + MOST_LINE:
        raise Tampered("it is larger than a spool can grow")
    lines = path.read_bytes().split(b"\n")
    torn = lines.pop() != b""
    public = _key(keys).public_key()
    before = b""
    head: dict[str, Any] = {}
    records: list[Record] = []
    for number, line in enumerate(lines):
        text, _, signature = line.partition(b"\t")
        try:
            public.verify(base64.b64decode(signature, validate=True), text)
            said = orjson.loads(text)
            if number == 0:
                head = {name: said[name] for name in ("id", "node", "at", "spool")}
            elif said["before"] != before.hex():
                raise Tampered(f"record {number} does not follow the one before it")
            else:
                records.append(
                    Record(said["act"], said["said"], datetime.fromisoformat(said["at"]), UUID(said["id"]))
                )  # fmt: skip
        except (InvalidSignature, ValueError, KeyError, TypeError) as error:
            raise Tampered(f"record {number} was not written by this deployment") from error
        before = sha256(line + b"\n").digest()
    if not head:  # a crash while the file was begun
        return Spooled(new_id(), "", clock.now(), [], torn=True)
    return Spooled(UUID(head["id"]), head["node"], datetime.fromisoformat(head["at"]), records, torn)
