"""Our tree, proofs and notes before two others, who share no code with us: tlog-scales and scitt-cose."""

import math
import random
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from scitt_cose import merkle
from tlog_scales.signing import Vkey
from tlog_scales.tlog import Checkpoint as Theirs
from tlog_scales.tlog import ConsistencyProof, ConsistencyProofInvalid, InclusionProof, InclusionProofInvalid

from app.audit import tree, verify
from app.audit.verify import Wrong
from app.audit.witness import Witness
from tests.audit.test_witness import Told


def grown(leaves: list[bytes], dice: random.Random) -> tuple[list[bytes], dict[tuple[int, int], bytes]]:
    """Frontier and stored nodes of a tree that grew in batches."""
    frontier: list[bytes] = []
    stored = {(0, number): leaf for number, leaf in enumerate(leaves)}
    size = 0
    while size < len(leaves):
        batch = leaves[size : size + dice.randint(1, 700)]
        frontier, nodes = tree.grow(size, frontier, batch)
        stored |= {(node.level, node.index): node.hash for node in nodes}
        size += len(batch)
    return frontier, stored


def changed(dice: random.Random, proof: list[bytes]) -> list[bytes]:
    other = list(proof)
    if other and dice.random() < 0.8:
        number = dice.randrange(len(other))
        other[number] = bytes([other[number][0] ^ 1]) + other[number][1:]
    else:
        other.append(dice.randbytes(32))
    return other


def agree(dice: random.Random, most: int) -> None:
    """One random tree, one inclusion, one consistency: all three alike, and none takes what was changed."""
    size = min(most, int(math.exp(dice.uniform(0, math.log(most + 1)))))
    entries = [dice.randbytes(dice.randrange(1, 40)) for _ in range(size)]
    as_hex = [entry.hex() for entry in entries]
    leaves = [verify.leaf_hash(entry) for entry in entries]
    frontier, stored = grown(leaves, dice)
    root = verify.Tree(size, frontier).root()
    whole = verify.Tree()
    whole.extend(leaves)
    assert root.hex() == whole.root().hex() == merkle.merkle_root(as_hex)

    index, old = dice.randrange(size), dice.randint(1, size)
    proof = tree.inclusion(index, size, lambda *at: stored[at])
    assert [one.hex() for one in proof] == merkle.inclusion_proof(as_hex, index)
    InclusionProof(index, size, proof).check(leaves[index], root)
    verify.check_inclusion(index, size, leaves[index], proof, root)
    wrong = changed(dice, proof)
    with pytest.raises(Wrong):
        verify.check_inclusion(index, size, leaves[index], wrong, root)
    with pytest.raises(InclusionProofInvalid):
        InclusionProof(index, size, wrong).check(leaves[index], root)

    before = bytes.fromhex(merkle.merkle_root(as_hex[:old]))
    proof = tree.consistency(old, size, lambda *at: stored[at])
    assert [one.hex() for one in proof] == merkle.consistency_proof(as_hex, old, size)
    ConsistencyProof(old, size, proof).check(before, root)
    assert merkle.verify_consistency(before.hex(), root.hex(), old, size, [one.hex() for one in proof])
    verify.check_consistency(old, size, proof, before, root)
    wrong = changed(dice, proof)
    with pytest.raises(Wrong):
        verify.check_consistency(old, size, wrong, before, root)
    with pytest.raises(ConsistencyProofInvalid):
        ConsistencyProof(old, size, wrong).check(before, root)


def test_three_hundred_random_trees() -> None:
    dice = random.Random(6962)
    for _ in range(300):
        agree(dice, 1500)


@pytest.mark.drill
@pytest.mark.timeout(3600)
def test_ten_thousand_random_trees() -> None:
    dice = random.Random(9162)
    for _ in range(10_000):
        agree(dice, 5000)


def test_they_believe_our_signatures_and_cosignatures() -> None:
    log = Told("city.example/audit")
    who = Witness("witness.example/one", Ed25519PrivateKey.generate())
    note = log.note(123)
    theirs = Theirs.from_text(note + who.cosign(verify.split_note(note)[0]))
    assert (theirs.origin, theirs.size, theirs.root_hash) == (log.key.name, 123, log.root(123))
    for key in (log.key, who.key):
        vkey = Vkey.from_string(key.vkey)
        (signature,) = [one for one in theirs.signatures if vkey.match(one)]
        vkey.get_verifier().verify_note(signature, theirs)
    other = Theirs.from_text(log.note(123, 1) + who.cosign(verify.split_note(note)[0]))
    vkey = Vkey.from_string(who.key.vkey)
    (signature,) = [one for one in other.signatures if vkey.match(one)]
    with pytest.raises(InvalidSignature):
        vkey.get_verifier().verify_note(signature, other)


def test_they_are_not_part_of_the_product() -> None:
    root = Path(__file__).parent.parent.parent
    assert not [
        path
        for path in (root / "app").rglob("*.py")
        if "tlog_scales" in path.read_text() or "scitt_cose" in path.read_text()
    ]
