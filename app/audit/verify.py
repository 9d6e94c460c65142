"""gwanje-audit: check what a Gwanje says of its audit log, offline, without believing any server.

It stands alone: Python's standard library and `cryptography`. What it needs is on paper beforehand: the log's public
key (a *vkey*), perhaps those of witnesses, and checkpoints that were kept since the last time.

    gwanje-audit export     EXPORT --key VKEY [--checkpoint FILE]… [--receipt FILE]… [--witness VKEY]…
    gwanje-audit proof      PROOF.tlog-proof LEAF --key VKEY [--witness VKEY]…
    gwanje-audit receipt    RECEIPT --key VKEY
    gwanje-audit consistent OLD NEW [PROOF] --key VKEY

It ends with 0: everything that it names holds; 1: something was changed, and it says what; 2: it cannot tell.

Hashes: RFC 9162 §2.1 over SHA-256. Checkpoints: c2sp.org/tlog-checkpoint in c2sp.org/signed-note, Ed25519;
cosignatures: c2sp.org/tlog-cosignature; proofs: c2sp.org/tlog-proof.
"""

import argparse
import base64
import binascii
import bisect
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

LEAF_PREFIX = b"gwanje audit entry v1\n"
LEAF_START = b"\x00" + LEAF_PREFIX
EXPORT = "gwanje audit export v1"
RECEIPT = "gwanje receipt v1"
PROOF = "c2sp.org/tlog-proof@v1"
CONSISTENCY = "gwanje consistency proof v1"
ERASING = "audit.erased"
DROPPED = "audit.dropped"
# In the place of a header, with the entry's hash alone: its period is over, or it is not for whoever has the export.
GONE, WITHHELD = b"dropped", b"withheld"
LEAST_DAYS = 365  # no contents and no period are erased for their age before (안전성 확보조치 기준 §8)
ED25519, COSIGNATURE = 1, 4
HASH_BYTES = 32
MOST_HASHES = MOST_SIGNATURES = 64
MOST_SIZE = 1 << 63
BLOCK = 256  # leaves whose subtree is computed at once


class Wrong(Exception):  # noqa: N818 - it says what is wrong
    """Something does not hold: evidence."""


class Unusable(Exception):  # noqa: N818 - it says why
    """A file that cannot be read as what it should be: no evidence of anything."""


Signers = dict[str, Any]  # who has signed; witnesses with the time, where it can be told

# The tree


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 || data)."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


class Tree:
    """A tree of which only the roots of its full subtrees are kept, largest first."""

    def __init__(self, size: int = 0, frontier: Iterable[bytes] = ()) -> None:
        self.size, self.frontier = size, list(frontier)
        if len(self.frontier) != size.bit_count():
            raise Unusable(f"a tree of {size} leaves has {size.bit_count()} full subtrees, not {len(self.frontier)}")

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Add leaves' hashes, where it can be a whole subtree at once: a log has millions of them."""
        start = 0
        while start < len(leaves):
            count = BLOCK if self.size % BLOCK == 0 and len(leaves) - start >= BLOCK else 1
            level, start = list(leaves[start : start + count]), start + count
            while len(level) > 1:
                level = [sha256(b"\x01" + left + right).digest() for left, right in zip(level[::2], level[1::2])]  # noqa: B905
            node, rest = level[0], self.size // count
            while rest & 1:
                node, rest = node_hash(self.frontier.pop(), node), rest >> 1
            self.frontier.append(node)
            self.size += count

    def root(self) -> bytes:
        """The root hash; of no leaves it is SHA-256 of nothing."""
        if not self.frontier:
            return sha256(b"").digest()
        root = self.frontier[-1]
        for subtree in reversed(self.frontier[:-1]):
            root = node_hash(subtree, root)
        return root


def _check_hashes(*hashes: bytes) -> None:
    if len(hashes) > MOST_HASHES + 2 or any(len(one) != HASH_BYTES for one in hashes):
        raise Wrong("a hash has 32 bytes, and a proof at most 64 of them")


def check_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Raise Wrong unless the leaf's hash stands at the index in the tree of that size and root (RFC 9162 §2.1.3.2)."""
    _check_hashes(leaf, root, *proof)
    if not 0 <= index < size <= MOST_SIZE:
        raise Wrong(f"there is no entry {index} in a log of {size}")
    first, last, node = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise Wrong("the proof is longer than the tree is high")
        if first & 1 or first == last:
            node = node_hash(sibling, node)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        first, last = first >> 1, last >> 1
    if last or node != root:
        raise Wrong(f"the entry is not at {index} in the log of {size} that was signed")


def check_consistency(  # noqa: C901 - the algorithm as it stands in the RFC
    old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Raise Wrong unless the new tree begins with all of the old one (RFC 9162 §2.1.4.2)."""
    _check_hashes(old_root, new_root, *proof)
    if not 0 <= old <= new <= MOST_SIZE:
        raise Wrong(f"a log of {old} does not become one of {new}")
    if old in (0, new):
        if proof or (old == new and old_root != new_root) or (old == 0 and old_root != sha256(b"").digest()):
            raise Wrong(f"two different logs of {old} entries" if old == new else "what was nothing before was not")
        return
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise Wrong("the proof is too short")
    first, last = old - 1, new - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    before = after = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise Wrong("the proof is longer than the tree is high")
        if first & 1 or first == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            after = node_hash(after, sibling)
        first, last = first >> 1, last >> 1
    if last or before != old_root or after != new_root:
        raise Wrong(f"the log of {new} does not begin with the log of {old} that was signed before")


# Signatures


@dataclass(frozen=True)
class Key:
    """Somebody's public key under a name; `kind` says what it signs: notes (1), or checkpoints with the time (4)."""

    name: str
    kind: int
    public: bytes

    @property
    def id(self) -> bytes:
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    @property
    def vkey(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(bytes([self.kind]) + self.public).decode()}"

    @classmethod
    def read(cls, vkey: str) -> "Key":
        """`name+id+base64(kind || public key)`; Unusable for anything else."""
        name, _, rest = vkey.strip().partition("+")
        written, _, encoded = rest.partition("+")
        material = decoded(encoded, "the key")
        if not _is_name(name) or len(material) != 1 + HASH_BYTES or material[0] not in (ED25519, COSIGNATURE):
            raise Unusable("a key is written name+id+base64, Ed25519")
        key = cls(name, material[0], material[1:])
        if key.id.hex() != written:
            raise Unusable(f"the key of {name} is not the one of its id: a typing error?")
        return key


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(letter.isspace() for letter in name)


def decoded(encoded: str, what: str) -> bytes:
    try:
        return base64.b64decode(encoded.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise Unusable(f"{what} is no base64") from None


def split_note(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """A signed note's text, and its signatures (name, key id || signature). Unusable when it is none."""
    if any(letter < " " and letter != "\n" for letter in note):
        raise Unusable("a note has no control characters")
    text, blank, signed = note.rpartition("\n\n")
    if not blank or not signed.endswith("\n"):
        raise Unusable("a note is a text, an empty line, and signatures")
    signatures = []
    for line in signed[:-1].split("\n"):
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        signature = decoded(encoded, "a signature")
        if dash != "—" or not _is_name(name) or len(signature) < 5:  # noqa: PLR2004 - 4 bytes of id, and something
            raise Unusable("a signature is written: — name base64")
        signatures.append((name, signature))
    if len(signatures) > MOST_SIGNATURES:
        raise Unusable(f"a note has at most {MOST_SIGNATURES} signatures")
    return text + "\n", signatures


def open_note(note: str, keys: Sequence[Key]) -> tuple[str, Signers]:
    """A note's text and who of the keys' holders signed it, witnesses with the time. Wrong when a known one did not."""
    text, signatures = split_note(note)
    known = {(key.name, key.id): key for key in keys}
    signers: Signers = {}
    for name, signature in signatures:
        key = known.get((name, signature[:4]))
        if key is None:
            continue
        signed, at = signature[4:], None
        message = text.encode()
        if key.kind == COSIGNATURE:
            seconds = int.from_bytes(signed[:8], "big")
            signed = signed[8:]
            message = f"cosignature/v1\ntime {seconds}\n".encode() + message
            at = datetime.fromtimestamp(seconds, UTC) if seconds < 1 << 37 else None
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(signed, message)
        except (InvalidSignature, ValueError):
            raise Wrong(f"the signature of {name} is not theirs") from None
        signers[name] = at
    return text, signers


@dataclass(frozen=True)
class Checkpoint:
    """What a log of that name was, at that size."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def of_text(cls, text: str) -> "Checkpoint":
        lines = text.split("\n")
        if len(lines) < 4 or "" in lines[:-1]:  # noqa: PLR2004 - origin, size, root, and the last line's end
            raise Unusable("a checkpoint is an origin, a size and a root hash")
        root = decoded(lines[2], "the root hash")
        if len(root) != HASH_BYTES:
            raise Unusable("a root hash has 32 bytes")
        return cls(lines[0], number(lines[1]), root)


def number(written: str) -> int:
    """A decimal number without leading zeros."""
    if not (written.isascii() and written.isdigit()) or (written[0] == "0" and written != "0") or len(written) > 19:  # noqa: PLR2004 - below 2^63
        raise Unusable(f"{written[:30]!r} is no number")
    return int(written)


def open_checkpoint(note: str, key: Key, witnesses: Sequence[Key] = ()) -> tuple[Checkpoint, Signers]:
    """A checkpoint that the log's key signed, and which witnesses did, too. Wrong when the log did not."""
    text, signers = open_note(note, [key, *witnesses])
    if key.name not in signers:
        raise Wrong(f"{key.name} has not signed this checkpoint")
    checkpoint = Checkpoint.of_text(text)
    if checkpoint.origin != key.name:
        raise Wrong(f"this is a checkpoint of {checkpoint.origin}, signed by {key.name}")
    del signers[key.name]
    return checkpoint, signers


# Proofs and receipts


def read_proof(written: str) -> tuple[int, list[bytes], str]:
    """Index, hashes and checkpoint of a tlog-proof file."""
    head, blank, note = written.partition("\n\n")
    lines = head.split("\n")
    if not blank or lines[0] != PROOF:
        raise Unusable(f"a proof begins with {PROOF}")
    if len(lines) > 1 and lines[1].startswith("extra "):
        decoded(lines.pop(1)[6:], "extra")
    if len(lines) < 2 or not lines[1].startswith("index "):  # noqa: PLR2004 - its name and its index
        raise Unusable("a proof names the index of its entry")
    return number(lines[1][6:]), [decoded(line, "a hash") for line in lines[2:]], note


@dataclass(frozen=True)
class Receipt:
    """A promise that an entry will be in the log: what suppression before numbering is measured against."""

    origin: str
    entry_id: str
    leaf: bytes
    at: str


def open_receipt(note: str, key: Key) -> Receipt:
    """A receipt that the log's key signed."""
    text, signers = open_note(note, [key])
    if key.name not in signers:
        raise Wrong(f"{key.name} has not signed this receipt")
    lines = text.split("\n")
    if len(lines) != 6 or lines[0] != RECEIPT:  # noqa: PLR2004 - its five lines, and the last one's end
        raise Unusable(f"a receipt begins with {RECEIPT}")
    if lines[1] != key.name:
        raise Wrong(f"this is a receipt of {lines[1]}, signed by {key.name}")
    return Receipt(lines[1], lines[2], decoded(lines[3], "the entry's hash"), lines[4])


# Exports

Runs = list[list[Any]]  # of what is missing: first index, last index, a day


def _miss(runs: Runs, index: int, day: str) -> None:
    if runs and runs[-1][1] == index - 1 and runs[-1][2] == day:
        runs[-1][1] = index
    else:
        runs.append([index, index, day])


@dataclass
class Document:
    """What one entry says of others: these contents were erased, these entries dropped; by order, or for their age."""

    ranges: list[tuple[int, int]]
    before: str = "~"  # the day from which on it explains nothing; by order: none

    def reach(self, index: int, day: str) -> int:
        """Up to which index, from this one on, it explains what is missing; less than that when it does not."""
        at = bisect.bisect_right(self.ranges, (index, MOST_SIZE)) - 1
        return self.ranges[at][1] if at >= 0 and day < self.before else -1

    @classmethod
    def read(cls, index: int, at: str, payload: bytes, *, dropping: bool) -> "Document":
        """From the contents of an entry of that index and time; Wrong where it cannot be true."""
        try:
            told = json.loads(payload)
            ranges = sorted((int(first), int(last)) for first, last in told["ranges"])
            until = date.fromisoformat(told["until"]) if dropping or "until" in told else None
            age = date.fromisoformat(at[:10]) - until if until else None
        except (ValueError, TypeError, KeyError, RecursionError):
            raise Wrong(f"entry {index}: what it says was erased cannot be read") from None
        if age is not None and age.days < LEAST_DAYS:
            raise Wrong(f"entry {index}: what was erased for its age was not {LEAST_DAYS} days old")
        if any(not 0 <= first <= last < index for first, last in ranges):
            raise Wrong(f"entry {index}: it speaks of entries that were not there before it")
        # Numbers follow the commits, times the beginnings of transactions: around a midnight they may be mixed.
        return cls(ranges, (until + timedelta(days=int(dropping))).isoformat()) if until else cls(ranges)


def _explain(runs: Runs, documents: Sequence[Document], what: str) -> None:
    """Raise Wrong at the first that is missing and that no entry explains."""
    for first, last, day in runs:
        index = first
        while index <= last:
            reached = max((one.reach(index, day) for one in documents), default=-1)
            if reached < index:
                raise Wrong(f"entry {index}: {what}, and no entry says why")
            index = reached + 1


@dataclass
class Findings:
    """What checking an export finds."""

    promised: dict[str, bytes]  # entries' ids, and their hashes
    erased: Runs = field(default_factory=list)
    dropped: Runs = field(default_factory=list)
    erasing: list[Document] = field(default_factory=list)
    dropping: list[Document] = field(default_factory=list)
    withheld: int = 0
    restricted: int = 0  # withheld contents; the header is here
    oldest: str = ""
    newest: str = ""

    def check_missing(self) -> list[str]:
        """Raise Wrong where contents or entries are gone without an entry that says so; else say what is not here."""
        _explain(self.erased, self.erasing, "its contents are gone")
        _explain(self.dropped, self.dropping, "it is gone")
        dropped, erased = (sum(last - first + 1 for first, last, _ in runs) for runs in (self.dropped, self.erased))
        oldest = f"the oldest that is here is of {self.oldest[:10]}"
        said = {
            f"{dropped} were dropped with their period, by an entry that says so; {oldest}": dropped,
            f"the contents of {erased} were erased, each by an entry that says so": erased,
            f"{self.withheld} were withheld; only their hashes were looked at": self.withheld,
            f"the contents of {self.restricted} were withheld; only their headers were looked at": self.restricted,
        }
        return [words for words, count in said.items() if count]

    def entry(self, line: bytes, index: int) -> bytes:
        """The leaf's hash of one entry; Wrong when its contents are not those of its header."""
        header, _, rest = line.rstrip(b"\n").partition(b"\t")
        salt, _, payload = rest.partition(b"\t")
        if header in (GONE, WITHHELD):
            return self._hidden(header, salt, index)
        leaf = sha256(LEAF_START + header).digest()
        try:
            told = json.loads(header)
            entry_id, digest, at, act = str(told["id"]), told["digest"], told["at"], told["act"]
            self.oldest, self.newest = self.oldest or at, max(self.newest, at)
            own = sha256(bytes.fromhex(salt.decode()) + payload).digest() if salt else b""
        except (ValueError, TypeError, KeyError, RecursionError):
            raise Wrong(f"entry {index}: its header or its salt cannot be read") from None
        if not salt and payload == WITHHELD:
            self.restricted += 1
        elif not salt:
            _miss(self.erased, index, at[:10])
        elif binascii.b2a_base64(own, newline=False).decode() != digest:
            raise Wrong(f"entry {index} ({entry_id}): its contents are not those that were logged")
        elif act in (ERASING, DROPPED):
            told_of = self.dropping if act == DROPPED else self.erasing
            told_of.append(Document.read(index, at, payload, dropping=act == DROPPED))
        if self.promised and self.promised.pop(entry_id, leaf) != leaf:
            raise Wrong(f"entry {index} ({entry_id}): it is another than the one that was promised")
        return leaf

    def _hidden(self, why: bytes, encoded: bytes, index: int) -> bytes:
        leaf = decoded(encoded.decode(errors="replace"), "an entry's hash")
        if len(leaf) != HASH_BYTES:
            raise Wrong(f"entry {index}: an entry's hash has 32 bytes")
        if why == GONE:
            _miss(self.dropped, index, self.newest[:10])
        else:
            self.withheld += 1
        if leaf in self.promised.values():
            self.promised = {entry_id: other for entry_id, other in self.promised.items() if other != leaf}
        return leaf


def check_export(
    lines: Iterator[bytes], key: Key, checkpoints: Sequence[str], receipts: Sequence[str], witnesses: Sequence[Key]
) -> list[str]:
    """Recompute an export from its first entry on; returns what holds, in words. Wrong at the first that does not.

    `lines`: `gwanje audit export v1`, the origin, an empty line; for each entry its header (JSON), salt (hex) and
    payload (JSON) with tabs between, the latter two empty where they were erased, `withheld` for a payload that is for
    others; or `dropped` or `withheld` and its hash (base64); an empty line; the checkpoint.
    """
    name, origin, blank = (next(lines, b"").decode(errors="replace").rstrip("\r\n") for _ in range(3))
    if name != EXPORT or blank:
        raise Unusable(f"an export begins with {EXPORT}")
    if origin != key.name:
        raise Wrong(f"this is an export of {origin}, not of {key.name}")
    opened = [open_checkpoint(note, key, witnesses) for note in checkpoints]
    due = sorted((checkpoint for checkpoint, _ in opened), key=lambda one: one.size)
    findings = Findings({receipt.entry_id: receipt.leaf for receipt in (open_receipt(note, key) for note in receipts)})
    tree, leaves, holds = Tree(), list[bytes](), list[str]()
    stop = _compare(tree, due, holds)
    for index, line in enumerate(lines):
        if line in (b"\n", b"\r\n"):
            break
        leaves.append(findings.entry(line, index))
        if index + 1 == stop or len(leaves) == 16 * BLOCK:
            tree.extend(leaves)
            leaves.clear()
            stop = _compare(tree, due, holds)
    else:
        raise Unusable("the export breaks off: its checkpoint is missing")
    tree.extend(leaves)
    checkpoint, signers = open_checkpoint(b"".join(lines).decode(errors="replace"), key, witnesses)
    if (checkpoint.size, checkpoint.root) != (tree.size, tree.root()):
        other = "one was left out, added or changed"
        raise Wrong(f"the {tree.size} entries here are not the {checkpoint.size} that were signed: {other}")
    if due:
        raise Wrong(f"a checkpoint of {due[0].size} entries was signed before, and now there are only {tree.size}")
    if findings.promised:
        raise Wrong(f"an entry that was promised is not here: {next(iter(findings.promised))}")
    holds.append(f"{tree.size} entries, 0 to {tree.size - 1}, are those that {key.name} signed")
    holds += [f"all {len(receipts)} entries that were promised are here"] if receipts else []
    return [*holds, *findings.check_missing(), *_seen(witnesses, [*opened, (checkpoint, signers)])]


def _seen(witnesses: Sequence[Key], opened: Sequence[tuple[Checkpoint, Signers]]) -> list[str]:
    """Which checkpoints the witnesses have seen, the largest of each; Unusable for one who has seen none."""
    said = []
    for witness in witnesses:
        seen = {one.size: by[witness.name] or "a time not told" for one, by in opened if witness.name in by}
        if not seen:
            raise Unusable(f"{witness.name} has cosigned none of these checkpoints; ask for one that it has")
        said.append(f"{witness.name} has seen this log of {max(seen)}, at {seen[max(seen)]}")
    return said


def _compare(tree: Tree, due: list[Checkpoint], holds: list[str]) -> int:
    """Compare the tree with the checkpoints that were kept of its size; returns the next size to stop at."""
    while due and due[0].size == tree.size:
        checkpoint = due.pop(0)
        if checkpoint.root != tree.root():
            raise Wrong(f"the first {tree.size} entries are not those that were signed before: history was rewritten")
        holds.append(f"the first {checkpoint.size} are those of the checkpoint that was kept")
    return due[0].size if due else -1


# The command


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8").rstrip("\n") + "\n"  # whatever wrote it down may have added one
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable(f"{path} cannot be read: {type(error).__name__}") from None


def _export(given: argparse.Namespace, key: Key, witnesses: Sequence[Key]) -> list[str]:
    checkpoints, receipts = map(_read, given.checkpoint), map(_read, given.receipt)
    try:
        with Path(given.file).open("rb") as file:
            return check_export(iter(file), key, [*checkpoints], [*receipts], witnesses)
    except OSError as error:
        raise Unusable(f"{given.file} cannot be read: {type(error).__name__}") from None


def _proof(given: argparse.Namespace, key: Key, witnesses: Sequence[Key]) -> list[str]:
    index, proof, note = read_proof(_read(given.file))
    checkpoint, signers = open_checkpoint(note, key, witnesses)
    header = _read(given.leaf).strip("\n").partition("\t")[0]
    check_inclusion(index, checkpoint.size, leaf_hash(LEAF_PREFIX + header.encode()), proof, checkpoint.root)
    holds = f"the entry is number {index} of the {checkpoint.size} that {key.name} signed"
    return [holds, *_seen(witnesses, [(checkpoint, signers)])]


def _receipt(given: argparse.Namespace, key: Key, _: Sequence[Key]) -> list[str]:
    receipt = open_receipt(_read(given.file), key)
    return [f"{key.name} promised on {receipt.at} that entry {receipt.entry_id} will be in the log: see an export"]


def _consistent(given: argparse.Namespace, key: Key, witnesses: Sequence[Key]) -> list[str]:
    opened = [open_checkpoint(_read(one), key, witnesses) for one in (given.file, given.new)]
    old, new = (checkpoint for checkpoint, _ in opened)
    name, *hashes = _read(given.proof).rstrip("\n").split("\n") if given.proof else [CONSISTENCY]
    if name != CONSISTENCY:
        raise Unusable(f"a consistency proof begins with {CONSISTENCY}")
    check_consistency(old.size, new.size, [decoded(line, "a hash") for line in hashes], old.root, new.root)
    holds = f"the log of {new.size} entries begins with the log of {old.size}, unchanged"
    return [holds, *_seen(witnesses, opened)]


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="gwanje-audit", description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(required=True)
    for name, work, files in (
        ("export", _export, ["file"]), ("proof", _proof, ["file", "leaf"]),
        ("receipt", _receipt, ["file"]), ("consistent", _consistent, ["file", "new"]),
    ):  # fmt: skip
        command = commands.add_parser(name)
        for one in files:
            command.add_argument(one)
        if name == "consistent":
            command.add_argument("proof", nargs="?")
        command.add_argument("--key", required=True, help="the log's vkey, or a file that holds it")
        command.add_argument("--witness", action="append", default=[], help="a witness's vkey, or a file")
        command.add_argument("--checkpoint", action="append", default=[], help="one that was kept before")
        command.add_argument("--receipt", action="append", default=[], help="one that was given with a grant")
        command.set_defaults(work=work)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    given = _asked(arguments)
    try:
        key, *witnesses = (Key.read(one if "+" in one else _read(one)) for one in (given.key, *given.witness))
        for sentence in given.work(given, key, witnesses):
            sys.stdout.write(f"holds: {sentence}\n")
    except Wrong as wrong:
        sys.stdout.write(f"WRONG: {wrong}\n")
        return 1
    except Unusable as unusable:
        sys.stderr.write(f"cannot tell: {unusable}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
