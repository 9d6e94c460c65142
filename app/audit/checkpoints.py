"""Signed checkpoints (서명 체크포인트) of the audit log, proofs against them, and receipts for what has no number yet.

The log signs in the C2SP formats under its origin, with a key that derives from the deployment key and is in no
database. Nothing is signed that contradicts what was signed before.
"""

import asyncio
import base64
import logging
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from uuid import UUID

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app import clock
from app.announcements import Announcements
from app.audit import tree, verify
from app.audit.entries import leaf_data
from app.audit.verify import Checkpoint, Key, Unusable, Wrong, leaf_hash
from app.database import LOST, Database
from app.errors import AuditUnavailable, NotFound
from app.keys import Keys

log = logging.getLogger("gwanje.audit")

EACH_SECONDS = 1.0
MOST_PENDING_SECONDS = 60.0  # when the oldest entry has waited so long for its number, only emergencies are granted
ALGORITHM = "Ed25519"
_HEAD = "SELECT position, frontier FROM ledger_heads WHERE ledger = 'audit'"
_LAST = """
SELECT size, root, note || cosignatures AS note FROM audit_checkpoints WHERE origin = $1 ORDER BY size DESC LIMIT 1
"""
_WITNESSED = """
SELECT note || cosignatures FROM audit_checkpoints WHERE origin = $1 AND cosignatures <> '' ORDER BY size DESC LIMIT 1
"""
_SIGN = """
INSERT INTO audit_checkpoints (origin, size, root, note, algorithm, key_id) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING
"""
_ENTRIES = """
SELECT e.* FROM unnest($1::uuid[], $2::timestamptz[]) AS w (id, at) JOIN audit_entries e ON e.id = w.id AND e.at = w.at
"""
_LEAVES = """
SELECT 0 AS level, l.position - 1 AS index, l.leaf_hash AS hash
FROM unnest($1::bigint[], $2::bigint[]) AS w (first, last)
JOIN audit_leaves l ON l.position BETWEEN w.first + 1 AND w.last + 1
"""
_NODES = """
SELECT n.level, n.index, n.hash FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS w (level, first, last)
JOIN audit_nodes n ON n.level = w.level AND n.index BETWEEN w.first AND w.last
"""


class Notary:
    """Signs what the log is, for as long as `run` runs; of several processes any may, and they never disagree."""

    def __init__(self, database: Database, keys: Keys, origin: str, news: Announcements | None = None) -> None:
        self._database, self._keys = database, keys
        self.origin = origin
        self._wanted = asyncio.Event()
        self._signed: Checkpoint | None = None
        self.pending_seconds = 0.0  # how old the oldest entry is that has no position yet, when last looked at
        if news is not None:
            news.on("ledger", self._hear)

    def _hear(self, message: str) -> None:
        if message.partition(" ")[0] in ("", "audit"):
            self._wanted.set()

    @cached_property
    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self._keys.derive("audit-log", 32))

    @cached_property
    def key(self) -> Key:
        """The public key by which everybody can check what was signed."""
        return Key(self.origin, verify.ED25519, self._private.public_key().public_bytes_raw())

    def sign(self, text: str) -> str:
        """A text as a signed note (c2sp.org/signed-note)."""
        signature = base64.b64encode(self.key.id + self._private.sign(text.encode())).decode()
        return f"{text}\n— {self.origin} {signature}\n"

    def receipt(self, entry_id: UUID, at: datetime, leaf: bytes) -> str:
        """The promise that an entry, committed at that time, is in the tree within 10 s (감사기록 확인증)."""
        moment = at.isoformat(timespec="microseconds")
        encoded = base64.b64encode(leaf).decode()
        return self.sign(f"{verify.RECEIPT}\n{self.origin}\n{entry_id}\n{encoded}\n{moment}\n")

    def check_pending(self, *, urgent: bool) -> None:
        """Refuse (503) what is no emergency while entries wait too long for their number: nothing would prove it."""
        if self.pending_seconds > MOST_PENDING_SECONDS and not urgent:
            raise AuditUnavailable(
                "the audit log is not being numbered; only emergencies are granted until it is", retry_after_seconds=10
            )

    async def receipts(self, made: Collection[tuple[UUID, datetime]]) -> dict[UUID, str]:
        """Receipts for committed entries (id, at), by their ids; one query for all."""
        ids, times = [entry_id for entry_id, _ in made], [at for _, at in made]
        async with self._database.bare.acquire(timeout=1) as connection:
            rows = await connection.fetch(_ENTRIES, ids, times, timeout=2)
        return {row["id"]: self.receipt(row["id"], row["at"], leaf_hash(leaf_data(row))) for row in rows}

    async def run(self) -> None:
        """Sign at most once a second, when there is something new."""
        while True:
            await asyncio.sleep(EACH_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await self._wanted.wait()
            self._wanted.clear()
            try:
                async with self._database.bare.acquire() as connection:
                    oldest = await connection.fetchval("SELECT min(at) FROM audit_pending")
                    self.pending_seconds = (clock.now() - oldest).total_seconds() if oldest else 0.0
                    await self.publish(connection)
            except LOST as error:
                log.warning("no checkpoint: the database does not answer: %s", type(error).__name__)
            except Wrong as wrong:
                log.critical("NO CHECKPOINT: the log contradicts what was signed before: %s", wrong)

    async def publish(self, connection: asyncpg.Connection) -> str:
        """The newest checkpoint's note, signed now if the log has grown. Wrong when the log was rewritten."""
        last = await connection.fetchrow(_LAST, self.origin)
        head = await connection.fetchrow(_HEAD)
        before = Checkpoint(self.origin, last["size"], last["root"]) if last else None
        if self._signed and (before is None or self._signed.size > before.size):
            before = self._signed  # what this process has signed counts, whatever has become of the table
        try:
            root = verify.Tree(head["position"], head["frontier"]).root()
        except Unusable as error:
            raise Wrong(f"the head of the log was changed: {error}") from error
        now = Checkpoint(self.origin, head["position"], root)
        if before is not None:
            if now.size == before.size and last and now.root == before.root:
                self._signed = before
                return str(last["note"])
            if now.size < before.size:
                raise Wrong(f"{before.size} entries were signed, and now there are {now.size}")
            proof = await self.consistency(connection, before.size, now.size)
            verify.check_consistency(before.size, now.size, proof, before.root, now.root)
        note = self.sign(now.text)
        await connection.execute(_SIGN, self.origin, now.size, now.root, note, ALGORITHM, self.key.id.hex())
        self._signed = now
        return note

    async def witnessed(self, connection: asyncpg.Connection) -> str:
        """The newest checkpoint that a witness has cosigned; NotFound while there is none."""
        note: str | None = await connection.fetchval(_WITNESSED, self.origin)
        if note is None:
            raise NotFound("no witness has cosigned this log yet; leave witnessed out")
        return note

    async def proof(self, connection: asyncpg.Connection, entry_id: UUID, *, witnessed: bool = False) -> str:
        """A tlog-proof file for an entry, against the newest checkpoint, or the newest that a witness has cosigned.

        NotFound while the entry is not in it.
        """
        position = await connection.fetchval("SELECT position FROM audit_leaves WHERE id = $1", entry_id)
        if position is None:
            raise NotFound("this entry is not in the tree yet; try again in some seconds")
        note = await (self.witnessed(connection) if witnessed else self.publish(connection))
        size = Checkpoint.of_text(verify.split_note(note)[0]).size
        if position > size:
            raise NotFound("no witness has seen this entry yet; try again in a minute")
        hashes = tree.inclusion(position - 1, size, await _stored(connection, size, position - 1))
        return write_proof(position - 1, hashes, note)

    async def consistency(self, connection: asyncpg.Connection, old: int, new: int) -> list[bytes]:
        """The hashes which prove that the log of `new` entries begins with that of `old`."""
        if old in (0, new):
            return []
        return tree.consistency(old, new, await _stored(connection, new, old - 1, old))


def write_proof(index: int, proof: Sequence[bytes], note: str) -> str:
    """A tlog-proof file (c2sp.org/tlog-proof)."""
    hashes = "".join(base64.b64encode(one).decode() + "\n" for one in proof)
    return f"{verify.PROOF}\nindex {index}\n{hashes}\n{note}"


async def _stored(connection: asyncpg.Connection, size: int, *edges: int) -> tree.Stored:
    """What proofs about these indexes need, by two queries however large the log is."""
    runs = tree.runs(size, *(edge for edge in edges if edge < size))
    leaves = [(first, last) for level, first, last in runs if level == 0]
    nodes = [run for run in runs if run[0] > 0]
    rows: list[asyncpg.Record] = [*await connection.fetch(_LEAVES, *_columns(leaves, 2))]
    rows += await connection.fetch(_NODES, *_columns(nodes, 3))
    known = {(row["level"], row["index"]): row["hash"] for row in rows}

    def stored(level: int, index: int) -> bytes:
        try:
            found: bytes = known[level, index]
        except KeyError:
            raise Wrong(f"hash {index} of level {level} is missing") from None
        return found

    return stored


def _columns(rows: Sequence[tuple[int, ...]], count: int) -> list[list[int]]:
    return [[row[number] for row in rows] for number in range(count)]
