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
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

LEAF_PREFIX = b"gwanje audit entry v1\n"
EXPORT = b"gwanje audit export v1"
RECEIPT = "gwanje receipt v1"
PROOF = "c2sp.org/tlog-proof@v1"
CONSISTENCY = "gwanje consistency proof v1"
ERASING = "audit.erased"
WITHHELD = b"-"  # in the place of a salt: the entry is not for the eyes of who was given the export
ED25519, COSIGNATURE = 1, 4
HASH_BYTES = 32
MOST_HASHES = 64
MOST_SIGNATURES = 64
MOST_SIZE = 1 << 63


class Wrong(Exception):  # noqa: N818 - it says what is wrong
    """Something does not hold: evidence."""


class Unusable(Exception):  # noqa: N818 - it says why
    """A file that cannot be read as what it should be: no evidence of anything."""


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

    def append(self, leaf: bytes) -> None:
        """Add a leaf's hash."""
        rest = self.size
        while rest & 1:
            leaf = node_hash(self.frontier.pop(), leaf)
            rest >>= 1
        self.frontier.append(leaf)
        self.size += 1

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
        material = _bytes(encoded, "the key")
        if not _is_name(name) or len(material) != 1 + HASH_BYTES or material[0] not in (ED25519, COSIGNATURE):
            raise Unusable("a key is written name+id+base64, Ed25519")
        key = cls(name, material[0], material[1:])
        if key.id.hex() != written:
            raise Unusable(f"the key of {name} is not the one of its id: a typing error?")
        return key


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(letter.isspace() for letter in name)


def _bytes(encoded: str, what: str) -> bytes:
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
        signature = _bytes(encoded, "a signature")
        if dash != "—" or not _is_name(name) or len(signature) < 5:  # noqa: PLR2004 - 4 bytes of id, and something
            raise Unusable("a signature is written: — name base64")
        signatures.append((name, signature))
    if len(signatures) > MOST_SIGNATURES:
        raise Unusable(f"a note has at most {MOST_SIGNATURES} signatures")
    return text + "\n", signatures


def open_note(note: str, keys: Sequence[Key]) -> tuple[str, dict[str, datetime | None]]:
    """A note's text and who of the keys' holders signed it, witnesses with the time. Wrong when a known one did not."""
    text, signatures = split_note(note)
    known = {(key.name, key.id): key for key in keys}
    signers: dict[str, datetime | None] = {}
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
        root = _bytes(lines[2], "the root hash")
        if len(root) != HASH_BYTES:
            raise Unusable("a root hash has 32 bytes")
        return cls(lines[0], _number(lines[1]), root)


def _number(written: str) -> int:
    """A decimal number without leading zeros."""
    if not (written.isascii() and written.isdigit()) or (written[0] == "0" and written != "0") or len(written) > 19:  # noqa: PLR2004 - below 2^63
        raise Unusable(f"{written[:30]!r} is no number")
    return int(written)


def open_checkpoint(
    note: str, key: Key, witnesses: Sequence[Key] = ()
) -> tuple[Checkpoint, dict[str, datetime | None]]:
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


def write_proof(index: int, proof: Sequence[bytes], note: str) -> str:
    """A tlog-proof file."""
    hashes = "".join(base64.b64encode(one).decode() + "\n" for one in proof)
    return f"{PROOF}\nindex {index}\n{hashes}\n{note}"


def read_proof(written: str) -> tuple[int, list[bytes], str]:
    """Index, hashes and checkpoint of a tlog-proof file."""
    head, blank, note = written.partition("\n\n")
    lines = head.split("\n")
    if not blank or lines[0] != PROOF:
        raise Unusable(f"a proof begins with {PROOF}")
    if len(lines) > 1 and lines[1].startswith("extra "):
        _bytes(lines.pop(1)[6:], "extra")
    if len(lines) < 2 or not lines[1].startswith("index "):  # noqa: PLR2004 - its name and its index
        raise Unusable("a proof names the index of its entry")
    return _number(lines[1][6:]), [_bytes(line, "a hash") for line in lines[2:]], note


@dataclass(frozen=True)
class Receipt:
    """A promise that an entry will be in the log: what suppression before numbering is measured against."""

    origin: str
    entry_id: str
    leaf: bytes
    at: str

    @property
    def text(self) -> str:
        return f"{RECEIPT}\n{self.origin}\n{self.entry_id}\n{base64.b64encode(self.leaf).decode()}\n{self.at}\n"


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
    return Receipt(lines[1], lines[2], _bytes(lines[3], "the entry's hash"), lines[4])


# Exports


@dataclass
class Findings:
    """What checking an export found, to be said in words."""

    entries: int = 0
    erased: dict[str, int] = field(default_factory=dict)
    documented: set[str] = field(default_factory=set)
    withheld: int = 0

    def check_erased(self) -> None:
        """Raise Wrong where contents are gone without an entry that says so."""
        silently = [index for entry_id, index in self.erased.items() if entry_id not in self.documented]
        if silently:
            raise Wrong(f"entry {min(silently)}: its contents are gone, and no entry says that they were erased")

    def holds(self) -> list[str]:
        """What is to be said of contents that are not here."""
        said = []
        if self.erased:
            said.append(f"the contents of {len(self.erased)} were erased, each by an entry that says so")
        if self.withheld:
            said.append(f"the contents of {self.withheld} were withheld; that they are unchanged is not shown")
        return said


def check_export(
    lines: Iterator[bytes], key: Key, checkpoints: Sequence[str], receipts: Sequence[str], witnesses: Sequence[Key]
) -> list[str]:
    """Recompute an export from its first entry to its last; returns what holds, in words. Raises Wrong at the first
    entry that does not.

    `lines`: `gwanje audit export v1`, the origin, `first N` and the hashes of the tree before it, an empty line; for
    each entry its header (JSON), salt (hex) and payload (JSON) with tabs between; an empty line; the checkpoint.
    """
    tree = _head(lines, key)
    kept = sorted((open_checkpoint(note, key, witnesses)[0] for note in checkpoints), key=lambda one: one.size)
    promised = {receipt.entry_id: receipt for receipt in (open_receipt(note, key) for note in receipts)}
    first, findings, due = tree.size, Findings(), [one for one in kept if one.size >= tree.size]
    holds: list[str] = []
    for line in lines:
        if line in (b"\n", b"\r\n"):
            break
        _compare(tree, due, holds)
        _entry(line, tree, promised, findings)
    else:
        raise Unusable("the export breaks off: its checkpoint is missing")
    note = b"".join(lines).decode()
    checkpoint, signers = open_checkpoint(note, key, witnesses)
    _compare(tree, due, holds)
    if (checkpoint.size, checkpoint.root) != (tree.size, tree.root()):
        raise Wrong(
            f"the {tree.size} entries here are not the {checkpoint.size} that were signed:"
            " one was left out, added or changed"
        )
    if due:
        raise Wrong(f"a checkpoint of {due[0].size} entries was signed before, and now there are only {tree.size}")
    if promised:
        raise Wrong(f"an entry that was promised is not here: {next(iter(promised))}")
    findings.check_erased()
    holds.append(f"{findings.entries} entries, {first} to {tree.size - 1}, are those that {key.name} signed")
    if first:
        holds.append(f"of the {first} before them only their hashes were looked at")
    if receipts:
        holds.append(f"all {len(receipts)} entries that were promised are here")
    seen = [f"{name} has seen this log, at {at or 'a time not told'}" for name, at in signers.items()]
    return [*holds, *findings.holds(), *seen]


def _head(lines: Iterator[bytes], key: Key) -> Tree:
    name, origin, first = (next(lines, b"").rstrip(b"\n") for _ in range(3))
    if name != EXPORT or not first.startswith(b"first "):
        raise Unusable(f"an export begins with {EXPORT.decode()}")
    if origin.decode(errors="replace") != key.name:
        raise Wrong(f"this is an export of {origin.decode(errors='replace')}, not of {key.name}")
    frontier: list[bytes] = []
    for line in lines:
        if line == b"\n":
            return Tree(_number(first[6:].decode(errors="replace")), frontier)
        frontier.append(_bytes(line.decode(errors="replace").strip(), "a hash"))
    raise Unusable("the export breaks off")


def _compare(tree: Tree, due: list[Checkpoint], holds: list[str]) -> None:
    """Compare the tree with the checkpoints that were kept of its size."""
    while due and due[0].size == tree.size:
        checkpoint = due.pop(0)
        if checkpoint.root != tree.root():
            raise Wrong(
                f"the first {tree.size} entries are others than those that were signed before: history was rewritten"
            )
        holds.append(f"the first {checkpoint.size} are those of the checkpoint that was kept")


def _entry(line: bytes, tree: Tree, promised: dict[str, Receipt], findings: Findings) -> None:
    """Add one entry to the tree; Wrong when its contents are not those of its header."""
    header, _, rest = line.rstrip(b"\n").partition(b"\t")
    salt, _, payload = rest.partition(b"\t")
    leaf = leaf_hash(LEAF_PREFIX + header)
    index = tree.size
    tree.append(leaf)
    findings.entries += 1
    try:
        told = json.loads(header)
        entry_id, digest = told["id"], told["digest"]
    except (ValueError, TypeError, KeyError):
        raise Wrong(f"entry {index}: its header cannot be read") from None
    if salt == WITHHELD:
        findings.withheld += 1
    elif not salt:
        findings.erased[entry_id] = index
    else:
        try:
            own = sha256(bytes.fromhex(salt.decode()) + payload).digest()
        except ValueError:
            raise Wrong(f"entry {index} ({entry_id}): its salt cannot be read") from None
        if base64.b64encode(own).decode() != digest:
            raise Wrong(f"entry {index} ({entry_id}): its contents are not those that were logged")
        if told.get("act") == ERASING:
            findings.documented |= set(json.loads(payload).get("entry_ids", []))
    if promised and (receipt := promised.pop(entry_id, None)) is not None and receipt.leaf != leaf:
        raise Wrong(f"entry {index} ({entry_id}): it is another than the one that was promised")


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
    return [holds, *(f"{name} has seen this log" for name in signers)]


def _receipt(given: argparse.Namespace, key: Key, _: Sequence[Key]) -> list[str]:
    receipt = open_receipt(_read(given.file), key)
    return [f"{key.name} promised on {receipt.at} that entry {receipt.entry_id} will be in the log: see an export"]


def _consistent(given: argparse.Namespace, key: Key, witnesses: Sequence[Key]) -> list[str]:
    old, new = (open_checkpoint(_read(one), key, witnesses)[0] for one in (given.file, given.new))
    name, *hashes = _read(given.proof).rstrip("\n").split("\n") if given.proof else [CONSISTENCY]
    if name != CONSISTENCY:
        raise Unusable(f"a consistency proof begins with {CONSISTENCY}")
    check_consistency(old.size, new.size, [_bytes(line, "a hash") for line in hashes], old.root, new.root)
    return [f"the log of {new.size} entries begins with the log of {old.size}, unchanged"]


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
