"""Stream URLs: a signed, short-lived token per viewer and camera. Worth nothing without the grant it names.

The token is signed locally (no database, no network) and never stored; what it opens is decided by the grant's row at
the moment of opening.
"""

import base64
import binascii
import hmac
import re
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from app import clock
from app.errors import GrantEnded
from app.keys import Keys

_LAYOUT = struct.Struct(">16sQ16sIB2x")  # grant id, its time in microseconds, camera id, expiry in seconds, profile
_MAC_BYTES = 16
_KEY = "stream-url"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{84}")  # one permission, one spelling
PROFILES = ("main", "sub")


@dataclass(frozen=True, slots=True)
class Pass:
    """What a stream URL says: whose grant, which camera in which profile, until when the URL itself holds."""

    grant_id: UUID
    grant_at: datetime
    camera_id: UUID
    expires_at: datetime
    profile: str = "main"


def write(keys: Keys, ticket: Pass) -> str:
    """The URL-safe token of a pass (84 characters)."""
    body = _LAYOUT.pack(
        ticket.grant_id.bytes,
        round(ticket.grant_at.timestamp() * 1_000_000),
        ticket.camera_id.bytes,
        int(ticket.expires_at.timestamp()),
        PROFILES.index(ticket.profile),
    )
    return base64.urlsafe_b64encode(body + keys.mac(_KEY, body, _MAC_BYTES)).decode()


def read(keys: Keys, token: str) -> Pass:
    """The pass that a token carries; GrantEnded when it is forged, damaged or over."""
    try:
        raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True) if _TOKEN.fullmatch(token) else b""
    except (ValueError, binascii.Error, UnicodeEncodeError):
        raw = b""
    body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
    if len(body) != _LAYOUT.size or not hmac.compare_digest(mac, keys.mac(_KEY, body, _MAC_BYTES)):
        raise GrantEnded("this stream URL is not valid; ask for a new grant")
    grant_id, micros, camera_id, expires, profile = _LAYOUT.unpack(body)
    if expires < clock.now().timestamp():
        raise GrantEnded("this stream URL is over; renew the grant or ask for a new one")
    at = datetime.fromtimestamp(micros // 1_000_000, UTC).replace(microsecond=micros % 1_000_000)
    until = datetime.fromtimestamp(expires, UTC)
    return Pass(UUID(bytes=grant_id), at, UUID(bytes=camera_id), until, PROFILES[profile])
