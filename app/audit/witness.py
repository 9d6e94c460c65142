"""A witness (증인) of others' logs by c2sp.org/tlog-witness: it cosigns what a log has become, and never two histories.

Here is what every witness does alike, without a place to remember: `witnessed` remembers in the database of a service,
`witness_file` in a file of its own. Whoever remembers holds a lock from `last` to the commit, and only then answers.
"""

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.audit import verify
from app.audit.verify import COSIGNATURE, ED25519, Checkpoint, Key, Unusable, Wrong
from app.keys import Keys

MOST_BYTES = 128 << 10
MOST_HASHES = 63
SIZE_TYPE = "text/x.tlog.size"
EMPTY = sha256(b"").digest()


@dataclass(frozen=True)
class Answer:
    """What a witness answers, as HTTP has it."""

    status: int
    text: str
    media_type: str = "text/plain; charset=utf-8"


class Refused(Exception):  # noqa: N818 - it carries the answer
    """A checkpoint that is not cosigned. `evidence`: the log signed it, and it contradicts what was cosigned."""

    def __init__(self, status: int, text: str, *, media_type: str = "", evidence: bool = False) -> None:
        super().__init__(text)
        self.answer = Answer(status, text + "\n", media_type or Answer.media_type)
        self.evidence = evidence


@dataclass(frozen=True)
class Submission:
    """A checkpoint that a known log signed, and the proof that it begins with the log of `old`."""

    old: int
    proof: list[bytes]
    checkpoint: Checkpoint
    text: str
    note: str  # with the signatures of the log's known keys alone


@dataclass(frozen=True)
class Witness:
    """Who cosigns."""

    name: str
    private: Ed25519PrivateKey

    @property
    def key(self) -> Key:
        """The public key, for whoever is to believe this witness."""
        return Key(self.name, COSIGNATURE, self.private.public_key().public_bytes_raw())

    def cosign(self, text: str, seconds: int | None = None) -> str:
        """The signature line: as of now, this is the largest tree of the log that this witness has seen."""
        seconds = int(time.time()) if seconds is None else seconds
        signature = self.private.sign(f"cosignature/v1\ntime {seconds}\n{text}".encode())
        blob = base64.b64encode(self.key.id + seconds.to_bytes(8, "big") + signature).decode()
        return f"— {self.name} {blob}\n"


def of_house(keys: Keys, name: str) -> Witness:
    """A service as a witness; its key derives from the deployment key and is another than that of its own log."""
    return Witness(name, Ed25519PrivateKey.from_private_bytes(keys.derive("audit-witness", 32)))


def read_logs(vkeys: str) -> list[Key]:
    """The logs that a witness knows, from their vkeys with spaces between; ValueError for what is none."""
    try:
        keys = [Key.read(one) for one in vkeys.split()]
    except Unusable as error:
        raise ValueError(f"a log that is to be witnessed is named by its vkey: {error}") from None
    if any(key.kind != ED25519 for key in keys):
        raise ValueError("a log signs notes (kind 1); this is the key of a witness")
    return keys


def receive(body: bytes, logs: Sequence[Key]) -> Submission:
    """Read a request to cosign; Refused: 400 (malformed, old > new), 404 (unknown log), 403 (not its signature)."""
    try:
        old, proof, note = _read(body)
        text, signatures = verify.split_note(note)
        checkpoint = Checkpoint.of_text(text)
    except (Unusable, UnicodeDecodeError) as error:
        raise Refused(400, str(error)) from None
    keys = [key for key in logs if key.name == checkpoint.origin]
    if not keys:
        raise Refused(404, "this log is not known here; the operator names the logs that are witnessed")
    try:
        signers = verify.open_note(note, keys)[1]
    except Wrong as wrong:
        raise Refused(403, str(wrong)) from None
    if not signers:
        raise Refused(403, f"{checkpoint.origin} has not signed this checkpoint")
    if old > checkpoint.size:
        raise Refused(400, f"old {old} is more than the checkpoint's {checkpoint.size}")
    known = {(key.name, key.id) for key in keys}
    kept = [(name, signed) for name, signed in signatures if (name, signed[:4]) in known]
    signed_by = "".join(f"— {name} {base64.b64encode(signed).decode()}\n" for name, signed in kept)
    return Submission(old, proof, checkpoint, text, f"{text}\n{signed_by}")


def _read(body: bytes) -> tuple[int, list[bytes], str]:
    head, blank, note = body.decode().partition("\n\n")
    first, *lines = head.split("\n")
    if len(body) > MOST_BYTES or not blank or not first.startswith("old ") or len(lines) > MOST_HASHES:
        raise Unusable(
            f"a request is: old N, at most {MOST_HASHES} hashes, an empty line, a checkpoint; {MOST_BYTES} bytes"
        )
    proof = [verify.decoded(line, "a hash") for line in lines]
    if any(len(one) != verify.HASH_BYTES for one in proof):
        raise Unusable("a hash has 32 bytes")
    return verify.number(first[4:]), proof, note


def check(given: Submission, last: Checkpoint | None, same_size: bytes | None) -> None:
    """Refused (409, 422) unless the checkpoint goes on from the last one that was cosigned.

    `same_size` is the root of what was once cosigned at this very size, where something was.
    """
    last = last or Checkpoint(given.checkpoint.origin, 0, EMPTY)
    contradicts = same_size is not None and same_size != given.checkpoint.root
    if given.old != last.size:
        raise Refused(409, str(last.size), media_type=SIZE_TYPE, evidence=contradicts)
    try:
        verify.check_consistency(given.old, given.checkpoint.size, given.proof, last.root, given.checkpoint.root)
    except Wrong as wrong:
        raise Refused(422, str(wrong), evidence=True) from None


def origin_hash(origin: str) -> str:
    """How a log is named in the address where its newest cosigned checkpoint is read."""
    return sha256(origin.encode()).hexdigest()
