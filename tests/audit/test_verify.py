"""The verifier against published vectors, against the definition, and against everything that was changed a little."""

import base64
import json
import random
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from app.audit import tree, verify
from app.audit.verify import Checkpoint, Key, Unusable, Wrong

# The vectors of the merkle library of transparency-dev (Apache-2.0), as they are.
VECTORS = {
    name: json.loads((Path(__file__).parent / "vectors" / f"{name}.json").read_text())
    for name in ("inclusion", "consistency")
}
# Roots that are no hashes: equal sizes and equal "roots", but not of 32 bytes. We take no such root for one.
STRICTER = {"consistency": {"additional/sizes-are-equal-one-and-proof-is-empty"}, "inclusion": set[str]()}


def decoded(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def verdict(kind: str, vector: dict[str, Any]) -> bool:
    proof = [decoded(one) for one in vector["proof"] or []]
    try:
        if kind == "inclusion":
            verify.check_inclusion(
                vector["leafIdx"], vector["treeSize"], decoded(vector["leafHash"]), proof, decoded(vector["root"])
            )
        else:
            verify.check_consistency(
                vector["size1"], vector["size2"], proof, decoded(vector["root1"]), decoded(vector["root2"])
            )
    except Wrong:
        return False
    return True


@pytest.mark.parametrize("kind", VECTORS)
def test_the_published_vectors(kind: str) -> None:
    assert len(VECTORS[kind]) == 98
    assert {one["wantErr"] for one in VECTORS[kind]} == {True, False}
    disagree = {one["desc"] for one in VECTORS[kind] if verdict(kind, one) == one["wantErr"]}
    assert disagree == STRICTER[kind]


class Log:
    """A log whose every hash is known; roots and proofs straight from the definition (RFC 9162 §2.1)."""

    def __init__(self, size: int, salt: int = 0) -> None:
        self.leaves = [verify.leaf_hash(b"%d/%d" % (salt, number)) for number in range(size)]
        frontier, self.nodes = tree.grow(0, [], self.leaves)
        self.stored = {(node.level, node.index): node.hash for node in self.nodes}
        self.stored |= {(0, number): leaf for number, leaf in enumerate(self.leaves)}
        self.tree = verify.Tree(size, frontier)

    def root(self, start: int, end: int) -> bytes:
        if end == start:
            return sha256(b"").digest()
        if end - start == 1:
            return self.leaves[start]
        half = 1
        while half * 2 < end - start:
            half *= 2
        return verify.node_hash(self.root(start, start + half), self.root(start + half, end))

    def at(self, level: int, index: int) -> bytes:
        return self.stored[level, index]


@settings(deadline=None, max_examples=60)
@given(size=st.integers(1, 1500), data=st.data())
def test_proofs_of_any_tree_hold(size: int, data: st.DataObject) -> None:
    log = Log(size)
    root = log.root(0, size)
    assert log.tree.root() == root
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    needed = {
        key for level, first, last in tree.runs(size, index) for key in ((level, n) for n in range(first, last + 1))
    }
    proof = tree.inclusion(
        index, size, lambda level, number: log.stored[level, number] if (level, number) in needed else b""
    )
    verify.check_inclusion(index, size, log.leaves[index], proof, root)
    consistent = tree.consistency(old, size, log.at)
    verify.check_consistency(old, size, consistent, log.root(0, old), root)


def test_a_tree_of_many_leaves_needs_few_stored_hashes() -> None:
    runs = tree.runs(39_000_000, 12_345_678)
    assert len({level for level, _, _ in runs}) == 4
    assert sum(last - first + 1 for _, first, last in runs) <= 2 * 256 * 4


def test_every_eighth_level_is_stored() -> None:
    log = Log(65_537)
    assert {(node.level, node.index) for node in log.nodes} == {(8, number) for number in range(256)} | {(16, 0)}
    assert next(node.hash for node in log.nodes if node.level == 16) == log.root(0, 65_536)


def test_twenty_thousand_changed_proofs_are_all_refused() -> None:
    dice, refused = random.Random(9162), 0
    while refused < 20_000:
        log = Log(dice.randint(2, 400), dice.randrange(1000))
        size = len(log.leaves)
        root = log.root(0, size)
        for _ in range(100):
            index, old = dice.randrange(size), dice.randrange(1, size)
            inclusion, consistent = tree.inclusion(index, size, log.at), tree.consistency(old, size, log.at)
            for kind, given_ in (
                ("inclusion", [index, log.leaves[index], inclusion, root]),
                ("consistency", [consistent, log.root(0, old), root]),
            ):
                changed = _changed(dice, given_)
                if changed == given_:
                    continue
                # Sizes stand in checkpoints, which are signed: nobody changes them alone.
                with pytest.raises(Wrong):
                    if kind == "inclusion":
                        verify.check_inclusion(changed[0], size, *changed[1:])
                    else:
                        verify.check_consistency(old, size, *changed)
                refused += 1


def _changed(dice: random.Random, given_: list[Any]) -> list[Any]:
    """One bit, one hash or one number is another."""
    changed = [list(one) if isinstance(one, list) else one for one in given_]
    which = dice.randrange(len(changed))
    what = changed[which]
    if isinstance(what, int):
        changed[which] = max(0, what + dice.choice([-2, -1, 1, 2]))
    elif isinstance(what, bytes):
        changed[which] = _flipped(dice, what)
    elif not what or dice.random() < 0.2:
        what.insert(dice.randint(0, len(what)), dice.randbytes(32))
    elif dice.random() < 0.3:
        del what[dice.randrange(len(what))]
    else:
        number = dice.randrange(len(what))
        what[number] = _flipped(dice, what[number])
    return changed


def _flipped(dice: random.Random, some: bytes) -> bytes:
    bit = dice.randrange(8 * len(some))
    return bytes(byte ^ (1 << bit % 8 if number == bit // 8 else 0) for number, byte in enumerate(some))


# Notes

PRIVATE = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
KEY = Key("city.example/audit", verify.ED25519, PRIVATE.public_key().public_bytes_raw())
WITNESS_PRIVATE = Ed25519PrivateKey.from_private_bytes(b"w" * 32)
WITNESS = Key("witness.example", verify.COSIGNATURE, WITNESS_PRIVATE.public_key().public_bytes_raw())


def signed(text: str, private: Ed25519PrivateKey = PRIVATE, key: Key = KEY) -> str:
    signature = base64.b64encode(key.id + private.sign(text.encode())).decode()
    return f"{text}\n— {key.name} {signature}\n"


def cosigned(note: str, seconds: int = 1_790_000_000) -> str:
    text = verify.split_note(note)[0]
    message = f"cosignature/v1\ntime {seconds}\n{text}".encode()
    blob = WITNESS.id + seconds.to_bytes(8, "big") + WITNESS_PRIVATE.sign(message)
    return note + f"— {WITNESS.name} {base64.b64encode(blob).decode()}\n"


CHECKPOINT = Checkpoint(KEY.name, 7, sha256(b"x").digest())


def test_a_key_reads_as_it_is_written() -> None:
    assert Key.read(KEY.vkey + "\n") == KEY
    name, number, material = KEY.vkey.split("+", 2)
    for wrong in ("", "x", f"{name}+00000000+{material}", f"{name}+{number}+x", f"na me+{number}+{material}"):
        with pytest.raises(Unusable):
            Key.read(wrong)


def test_the_published_example_of_a_verifier_key() -> None:
    """From c2sp.org/signed-note: the id is SHA-256(name, newline, kind, key), cut to four bytes."""
    assert KEY.id == sha256(KEY.name.encode() + b"\n\x01" + KEY.public).digest()[:4]


def test_a_checkpoint_with_a_witness() -> None:
    note = cosigned(signed(CHECKPOINT.text))
    checkpoint, signers = verify.open_checkpoint(note, KEY, [WITNESS])
    assert checkpoint == CHECKPOINT
    assert [at.year for at in signers.values() if at] == [2026]
    assert verify.open_checkpoint(note, KEY)[1] == {}, "unknown signatures are passed over"


def test_of_others_or_of_nobody() -> None:
    stranger = Ed25519PrivateKey.generate()
    with pytest.raises(Wrong, match="not theirs"):
        verify.open_checkpoint(signed(CHECKPOINT.text, stranger), KEY)
    other = Key("other.example", verify.ED25519, stranger.public_key().public_bytes_raw())
    with pytest.raises(Wrong, match="has not signed"):
        verify.open_checkpoint(signed(CHECKPOINT.text, stranger, other), KEY)
    with pytest.raises(Wrong, match="checkpoint of other"):
        verify.open_checkpoint(signed(Checkpoint("other.example", 7, CHECKPOINT.root).text), KEY)


@pytest.mark.parametrize(
    "text",
    ["", "a\n", "a\n1\n", "a\n01\nAAAA\n", "a\n-1\nAAAA\n", "a\n1\nAAAA\n", "a\n1\n?\n", "a\n" + "9" * 30 + "\nAAAA\n"],
)
def test_what_is_no_checkpoint(text: str) -> None:
    with pytest.raises(Unusable):
        Checkpoint.of_text(text)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_note_with_one_character_changed_is_never_believed(data: st.DataObject) -> None:
    note = signed(CHECKPOINT.text)
    at = data.draw(st.integers(0, len(note) - 1))
    letter = data.draw(st.characters(codec="utf-8").filter(lambda one: one != note[at]))
    changed = note[:at] + letter + note[at + 1 :]
    try:
        checkpoint, _ = verify.open_checkpoint(changed, KEY)
    except (Wrong, Unusable):
        return
    assert checkpoint == CHECKPOINT, "what is signed is what is read"


@given(st.text())
def test_nonsense_is_said_to_be_nonsense(text: str) -> None:
    for read in (verify.split_note, verify.read_proof, Key.read, Checkpoint.of_text):
        with pytest.raises(Unusable):
            read(text)
