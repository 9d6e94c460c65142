"""What a witness without a database has cosigned, remembered in a folder: its key, and a file of SQLite.

SQLite writes the file to the disk (synchronous=FULL) before a cosignature leaves, and locks it against other processes.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.audit import witness
from app.audit.verify import Checkpoint, Key
from app.audit.witness import Answer, Refused, Submission, Witness
from app.errors import Conflict

_TABLES = """
CREATE TABLE IF NOT EXISTS checkpoints (
    origin TEXT, size INTEGER, root BLOB, note TEXT, cosignature TEXT, hashed TEXT, PRIMARY KEY (origin, size)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refusals (
    origin TEXT, size INTEGER, root BLOB, note TEXT, old INTEGER, proof BLOB, status INTEGER, reason TEXT,
    at TEXT DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (origin, size, root)
) WITHOUT ROWID;
"""


class WitnessFile:
    """A witness in a folder; `make` it once. Calls may come from several threads and processes."""

    def __init__(self, folder: Path, logs: Sequence[Key] = ()) -> None:
        self._path, key = folder / "witness.sqlite", folder / "witness.key"
        if not key.exists() or not self._path.exists():
            raise Conflict(
                f"{folder} holds no witness: `gwanje witness make` makes one. A witness that has lost what it cosigned"
                " must not go on under its old key"
            )
        name, _, secret = key.read_text().strip().partition(" ")
        self.witness = Witness(name, Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret)))
        self.logs = list(logs)

    @classmethod
    def make(cls, folder: Path, name: str) -> "WitnessFile":
        """A new witness: its key (0600) and an empty memory. Conflict where there is one."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = folder / "witness.key"
        try:
            descriptor = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise Conflict(f"{key} exists: there is a witness already") from None
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{name} {Ed25519PrivateKey.generate().private_bytes_raw().hex()}\n")
            file.flush()
            os.fsync(file.fileno())
        with closing(sqlite3.connect(folder / "witness.sqlite")) as made:
            made.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;" + _TABLES)
        return cls(folder)

    @contextmanager
    def _locked(self) -> Iterator[sqlite3.Connection]:
        """A transaction that nobody else's can overlap, on the disk when it ends."""
        with closing(sqlite3.connect(self._path, timeout=10, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def add_checkpoint(self, body: bytes) -> Answer:
        """Cosign a log's checkpoint if it goes on from the last one; blocks until it is on the disk."""
        try:
            given = witness.receive(body, self.logs)
        except Refused as refused:
            return refused.answer
        with self._locked() as connection:
            try:
                witness.check(given, *_before(connection, given))
            except Refused as refused:
                if refused.evidence:
                    _keep(connection, given, refused.answer)
                return refused.answer
            line, one = self.witness.cosign(given.text), given.checkpoint
            connection.execute(
                "INSERT OR IGNORE INTO checkpoints VALUES (?, ?, ?, ?, ?, ?)",
                (one.origin, one.size, one.root, given.note, line, witness.origin_hash(one.origin)),
            )
        return Answer(200, line)

    def newest(self, hashed: str) -> Answer:
        """The newest checkpoint that was cosigned of the log of this origin hash, with both signatures."""
        with closing(sqlite3.connect(self._path, timeout=10)) as connection:
            found = connection.execute(
                "SELECT note || cosignature FROM checkpoints WHERE hashed = ? ORDER BY size DESC LIMIT 1", (hashed,)
            ).fetchone()
        return Answer(200, found[0]) if found else Answer(404, "no checkpoint of this log was cosigned here\n")

    def refusals(self) -> list[tuple[str, str, int, int, str, str]]:
        """The evidence, newest first: time, origin, size, status, reason, note."""
        with closing(sqlite3.connect(self._path, timeout=10)) as connection:
            return connection.execute(
                "SELECT at, origin, size, status, reason, note FROM refusals ORDER BY at DESC LIMIT 1000"
            ).fetchall()


def _before(connection: sqlite3.Connection, given: Submission) -> tuple[Checkpoint | None, bytes | None]:
    origin = given.checkpoint.origin
    last = connection.execute(
        "SELECT size, root FROM checkpoints WHERE origin = ? ORDER BY size DESC LIMIT 1", (origin,)
    ).fetchone()
    same = connection.execute(
        "SELECT root FROM checkpoints WHERE origin = ? AND size = ?", (origin, given.checkpoint.size)
    ).fetchone()
    return (Checkpoint(origin, *last) if last else None), (same[0] if same else None)


def _keep(connection: sqlite3.Connection, given: Submission, answer: Answer) -> None:
    one = given.checkpoint
    connection.execute(
        "INSERT OR IGNORE INTO refusals (origin, size, root, note, old, proof, status, reason)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (one.origin, one.size, one.root, given.note, given.old, b"".join(given.proof), answer.status,
         answer.text.strip()),
    )  # fmt: skip
