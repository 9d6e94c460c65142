"""Positions as clients see them: opaque, the same for all, and revealing nothing.

A position is the AES-128 block of (epoch, number) under a deployment key. It neither tells how many events there are
nor lets one make up another; a position of another epoch (a restored log) or a forged one is told from a real one.
"""

import base64
import binascii
import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from app.keys import Keys

_LAYOUT = struct.Struct(">qq")
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
        block = self._encryptor.update(_LAYOUT.pack(self._epoch, number))
        return base64.urlsafe_b64encode(block).rstrip(b"=").decode()

    def read(self, position: str) -> int | None:
        """The number behind a position; None when it is forged, damaged or of another epoch: resync."""
        try:
            block = base64.b64decode(position.encode("ascii") + b"==", altchars=b"-_", validate=True)
        except (binascii.Error, UnicodeEncodeError, ValueError):
            return None
        if len(block) != _BLOCK:
            return None
        epoch, number = _LAYOUT.unpack(self._decryptor.update(block))
        return number if epoch == self._epoch and number >= 0 else None

    @property
    def epoch(self) -> str:
        """The epoch as clients see it."""
        return self.write(0)[:8]
