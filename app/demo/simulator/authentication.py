"""Who may watch a simulated camera: Digest (RFC 2617, MD5) as cameras demand it, and Basic.

The challenge offers no `qop`, like most cameras; a client that answers with one is understood all the same.
"""

import base64
import binascii
import hashlib
import hmac
import re

from app.demo.simulator.camera import SimulatedCamera

REALM = "IP Camera"
_PARAMETER = re.compile(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s,]+))')


def challenges(nonce: str) -> list[str]:
    """The WWW-Authenticate values of a 401."""
    return [f'Digest realm="{REALM}", nonce="{nonce}"', f'Basic realm="{REALM}"']


def admits(camera: SimulatedCamera, authorization: str, method: str, nonce: str) -> bool:
    """Whether an Authorization header ("" if none came) opens `camera` for `method` on the connection of `nonce`."""
    if not camera.login:
        return True
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "basic":
        return _basic(camera, rest)
    if scheme.lower() == "digest":
        given = {name.lower(): quoted or bare for name, quoted, bare in _PARAMETER.findall(rest)}
        return _digest(camera, given, method, nonce)
    return False


def _basic(camera: SimulatedCamera, encoded: str) -> bool:
    try:
        given = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(given, f"{camera.login}:{camera.password}".encode())


def _digest(camera: SimulatedCamera, given: dict[str, str], method: str, nonce: str) -> bool:
    if given.get("username") != camera.login:
        return False
    secret = _md5(f"{camera.login}:{REALM}:{camera.password}")
    request = _md5(f"{method}:{given.get('uri', '')}")
    middle = [given.get(name, "") for name in ("nc", "cnonce", "qop")] if "qop" in given else []
    expected = _md5(":".join([secret, nonce, *middle, request]))
    return hmac.compare_digest(expected.encode(), given.get("response", "").lower().encode())


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
