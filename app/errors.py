"""Every way in which Gwanje says no.

    Refusal
    ├── MALFORMED     422 · 4422   the request cannot be understood: a field is named with what was expected
    │   └── Malformed, UnusableFile, UnsafeSource
    ├── ANONYMOUS     401 · 4401   nobody known is asking
    │   └── NotSignedIn, WrongCredentials, SessionEnded
    ├── FORBIDDEN     403 · 4403   somebody known may not do this
    │   └── NotPermitted, CameraNotShared, GrantEnded, BoundElsewhere
    ├── MISSING       404 · 4404   it does not exist, or not for you
    │   └── NotFound
    ├── CONFLICT      409 · 4409   it contradicts what stands
    │   └── Conflict, KeyReused, HeadTaken, LeaseEnded
    ├── STALE         412 · 4412   it was changed by someone else meanwhile
    │   └── PreconditionFailed
    ├── TOO_LARGE     413 · 4413   more than is accepted in one piece
    │   └── TooLarge
    ├── TOO_MANY      429 · 4329   too often: come back later
    │   └── TooManyAttempts, TooManyViews, Overloaded
    ├── MOVED         307 · 4322   another gateway carries it now: `location` says where
    │   └── Moved
    ├── UNAVAILABLE   503 · 4353   we cannot do it safely now: come back soon
    │   └── AuditUnavailable, DatabaseUnavailable, GatewayUnavailable, GatewayFull, CameraFull, StorageFull
    └── NO_PICTURE    504 · 4354   the camera or its line does not answer
        └── CameraOffline, CameraRefuses

A close code of a WebSocket instructs its client: 43xx reconnect, 44xx do not.
"""

from enum import Enum
from typing import Any, ClassVar


class Kind(Enum):
    """What a refusal means, as (HTTP status, WebSocket close code, title)."""

    MALFORMED = (422, 4422, "The request cannot be understood")
    ANONYMOUS = (401, 4401, "Sign in first")
    FORBIDDEN = (403, 4403, "This is not permitted")
    MISSING = (404, 4404, "There is no such thing")
    CONFLICT = (409, 4409, "This contradicts what stands")
    STALE = (412, 4412, "It was changed meanwhile")
    TOO_LARGE = (413, 4413, "This is too large")
    TOO_MANY = (429, 4329, "Too often")
    MOVED = (307, 4322, "It is carried elsewhere now")
    UNAVAILABLE = (503, 4353, "Not possible at the moment")
    NO_PICTURE = (504, 4354, "The camera does not answer")

    @property
    def status(self) -> int:
        return self.value[0]

    @property
    def close_code(self) -> int:
        return self.value[1]

    @property
    def title(self) -> str:
        return self.value[2]


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not an accident
    """A no with a stable `code`; `detail` says what to do next, `extra` carries machine-readable members."""

    kind: ClassVar[Kind]
    code: ClassVar[str]

    def __init__(self, detail: str, *, retry_after_seconds: int | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra
        self.retry_after_seconds = retry_after_seconds

    def problem(self) -> dict[str, Any]:
        """The RFC 9457 members of this refusal."""
        return {
            "type": f"urn:gwanje:problem:{self.code}",
            "title": self.kind.title,
            "status": self.kind.status,
            "code": self.code,
            "detail": self.detail,
            **self.extra,
        }


class Malformed(Refusal):
    """A field is missing or wrong; `field` names it."""

    kind, code = Kind.MALFORMED, "malformed"


class UnusableFile(Refusal):
    """Nothing in the file can be imported; `detail` says why and what was expected."""

    kind, code = Kind.MALFORMED, "unusable_file"


class UnsafeSource(Refusal):
    """A camera address that is not a plain rtsp/rtsps/http/https URL of an allowed host."""

    kind, code = Kind.MALFORMED, "unsafe_source"


class NotSignedIn(Refusal):
    kind, code = Kind.ANONYMOUS, "not_signed_in"


class WrongCredentials(Refusal):
    kind, code = Kind.ANONYMOUS, "wrong_credentials"


class SessionEnded(Refusal):
    kind, code = Kind.ANONYMOUS, "session_ended"


class NotPermitted(Refusal):
    kind, code = Kind.FORBIDDEN, "not_permitted"


class CameraNotShared(Refusal):
    """The camera may be located but not viewed: names the owner, the missing condition and how to request."""

    kind, code = Kind.FORBIDDEN, "camera_not_shared"


class GrantEnded(Refusal):
    """A stream URL whose grant is over or revoked."""

    kind, code = Kind.FORBIDDEN, "grant_ended"


class BoundElsewhere(Refusal):
    """A stream URL that another place or device uses."""

    kind, code = Kind.FORBIDDEN, "bound_elsewhere"


class NotFound(Refusal):
    kind, code = Kind.MISSING, "not_found"


class Conflict(Refusal):
    kind, code = Kind.CONFLICT, "conflict"


class KeyReused(Refusal):
    """The same Idempotency-Key came with another body."""

    kind, code = Kind.CONFLICT, "idempotency_key_reused"


class HeadTaken(Refusal):
    """Somebody else turns this camera, and is as urgent."""

    kind, code = Kind.CONFLICT, "head_taken"


class LeaseEnded(Refusal):
    """A command under a lease that is over; `cause` says why."""

    kind, code = Kind.CONFLICT, "lease_ended"


class PreconditionFailed(Refusal):
    kind, code = Kind.STALE, "precondition_failed"


class TooLarge(Refusal):
    kind, code = Kind.TOO_LARGE, "too_large"


class TooManyAttempts(Refusal):
    kind, code = Kind.TOO_MANY, "too_many_attempts"


class TooManyViews(Refusal):
    """A person or an agency watches as much as it may."""

    kind, code = Kind.TOO_MANY, "too_many_views"


class Overloaded(Refusal):
    kind, code = Kind.TOO_MANY, "overloaded"


class Moved(Refusal):
    """A stream whose gateway is being drained; the same permission holds at `location`."""

    kind, code = Kind.MOVED, "moved"


class AuditUnavailable(Refusal):
    """No entry can be made durable, so no footage is given (decision 4: no audit, no footage)."""

    kind, code = Kind.UNAVAILABLE, "audit_unavailable"


class DatabaseUnavailable(Refusal):
    kind, code = Kind.UNAVAILABLE, "database_unavailable"


class GatewayUnavailable(Refusal):
    kind, code = Kind.UNAVAILABLE, "gateway_unavailable"


class GatewayFull(Refusal):
    kind, code = Kind.UNAVAILABLE, "gateway_full"


class CameraFull(Refusal):
    kind, code = Kind.UNAVAILABLE, "camera_full"


class StorageFull(Refusal):
    kind, code = Kind.UNAVAILABLE, "storage_full"


class CameraOffline(Refusal):
    kind, code = Kind.NO_PICTURE, "camera_offline"


class CameraRefuses(CameraOffline):
    """The camera answers, but trying again changes nothing until somebody corrects what is registered for it."""

    code = "camera_refuses"
