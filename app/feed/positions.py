"""Positions as clients see them: opaque, the same for all, and revealing nothing.

A position is the AES-128 block of (epoch, salt, number) under a deployment key. It neither tells how many events there
are nor lets one make up another; a position of another epoch (a restored log) or a forged one is told from a real one.
That of an event has no salt and is the same for all. One that says how far somebody has been brought has a new salt
each time: else, by changing, it would tell who may see nothing that something happened.
"""

import base64
import binascii
import secrets
import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from app.keys import Keys

_LAYOUT = struct.Struct(">qQ")
_NUMBER_BITS, _SALT_BITS = 48, 16
_BLOCK = 16


class Positions:
    """Writes and reads positions of one epoch of the log."""

    def __init__(self, keys: Keys, epoch: int) -> None:
        # One block is the whole message, and the same position must look the same to all: ECB of one block is a
        # permutation of the pairs, which is just what is wanted. It keeps nothing from one block to the next.
        cipher = Cipher(algorithms.AES(keys.derive("feed-position", _BLOCK)), modes.ECB())  # noqa: S305
        self._encryptor, self._decryptor = cipher.encryptor(), cipher.decryptor()
        self._epoch = epoch

    def write(self, number: int) -> str:
        """The position of an event's number: 22 URL-safe characters."""
        return self._written(number)

    def mark(self, number: int) -> str:
        """A position that says that all up to a number has been brought, whatever that was."""
        return self._written(secrets.randbits(_SALT_BITS) << _NUMBER_BITS | number)

    def _written(self, salted: int) -> str:
        block = self._encryptor.update(_LAYOUT.pack(self._epoch, salted))
        return base64.urlsafe_b64encode(block).rstrip(b"=").decode()

    def read(self, position: str) -> int | None:
        """The number behind a position; None when it is forged, damaged or of another epoch: resync."""
        try:
            block = base64.b64decode(position.encode("ascii") + b"==", altchars=b"-_", validate=True)
        except (binascii.Error, UnicodeEncodeError, ValueError):
            return None
        if len(block) != _BLOCK:
            return None
        epoch, salted = _LAYOUT.unpack(self._decryptor.update(block))
        return salted & (1 << _NUMBER_BITS) - 1 if epoch == self._epoch else None

    @property
    def epoch(self) -> str:
        """The epoch as clients see it."""
        return self.write(0)[:8]
