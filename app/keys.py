"""Keys derived by name from the deployment key, and sealing of secrets at rest.

Every ciphertext says by which key it was made (`key_id`), so that a later rotation can tell old from new.
"""

import hmac
import secrets
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

ALGORITHM = "AES-256-GCM"
_NONCE = 12


@dataclass(frozen=True)
class Keys:
    """The deployment key and what derives from it; printing it shows nothing."""

    secret: bytes = field(repr=False)

    def derive(self, name: str, length: int = 32) -> bytes:
        """A key of its own for one use (HKDF-SHA256, RFC 5869)."""
        return HKDF(SHA256(), length, salt=b"gwanje", info=name.encode()).derive(self.secret)

    @property
    def key_id(self) -> str:
        """Names the deployment key without telling it."""
        return sha256(b"gwanje key id" + self.derive("key-id")).hexdigest()[:16]

    def seal(self, name: str, plain: bytes, context: bytes = b"") -> bytes:
        """Encrypt with AES-256-GCM; `context` must be given again to open, so a ciphertext fits one row only."""
        nonce = secrets.token_bytes(_NONCE)
        return nonce + AESGCM(self.derive(name)).encrypt(nonce, plain, context)

    def unseal(self, name: str, sealed: bytes, context: bytes = b"") -> bytes:
        """The plain text; ValueError when the key, the context or a bit is another."""
        try:
            return AESGCM(self.derive(name)).decrypt(sealed[:_NONCE], sealed[_NONCE:], context)
        except InvalidTag:
            raise ValueError("this was sealed with another key or belongs to another row") from None

    def mac(self, name: str, message: bytes, length: int = 16) -> bytes:
        """A truncated HMAC-SHA256."""
        return hmac.digest(self.derive_cached(name), message, "sha256")[:length]

    def derive_cached(self, name: str) -> bytes:
        """As `derive`, remembered: for hot paths."""
        cache: dict[str, bytes] = self.__dict__.setdefault("_derived", {})
        if name not in cache:
            cache[name] = self.derive(name)
        return cache[name]
