"""Passwords: argon2id, hashed and checked off the event loop, two at a time."""

import asyncio

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from app.errors import Malformed

LEAST_LENGTH = 10
MOST_LENGTH = 200

_hasher = PasswordHash((Argon2Hasher(time_cost=2, memory_cost=19_456, parallelism=1),))  # OWASP's least for argon2id
_room = asyncio.Semaphore(2)  # each takes 19 MiB and a core for tens of milliseconds
_nobodys = _hasher.hash("nobody has this password")


def check_strength(password: str) -> None:
    """Refuse what is too short, absurdly long or all of one character."""
    if not LEAST_LENGTH <= len(password) <= MOST_LENGTH or len(set(password)) < 4:  # noqa: PLR2004 - said in the text
        raise Malformed(
            f"a password has {LEAST_LENGTH} to {MOST_LENGTH} characters, at least four of them different",
            field="password",
        )


def hash_now(password: str) -> str:
    """The argon2id hash; blocks for tens of milliseconds."""
    return _hasher.hash(password)


async def hashed(password: str) -> str:
    """The argon2id hash of a password of sufficient strength."""
    check_strength(password)
    async with _room:
        return await asyncio.to_thread(_hasher.hash, password)


async def matches(password: str, secret_hash: str | None) -> bool:
    """Whether the password fits. Without a hash (no such account) it takes as long, and does not."""
    async with _room:
        fits = await asyncio.to_thread(_hasher.verify, password[:MOST_LENGTH], secret_hash or _nobodys)
    return fits and secret_hash is not None
