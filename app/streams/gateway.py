"""The gateway protocol: what the rest of the house asks of whatever carries footage.

A gateway asks before it plays (`authorize`), tells what it carries (`sessions`) and cuts when told. Several may serve
at once, each with its zone, capacity and health; `placement` says which of them carries a camera.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from app.streams.urls import Pass
from app.streams.views import Asking, Opened


class Latency(StrEnum):
    """How far behind the street a protocol usually is."""

    REALTIME = "realtime"
    """Under half a second."""
    LOW = "low"
    """About a second."""
    STANDARD = "standard"
    """Several seconds."""
    STILL = "still"
    """One picture, at most one group of pictures old."""


LATENCIES = {
    "whep": Latency.REALTIME,
    "rtsps": Latency.REALTIME,
    "mse": Latency.LOW,
    "fmp4": Latency.LOW,
    "hls": Latency.STANDARD,
    "snapshot": Latency.STILL,
}


@dataclass(frozen=True, slots=True)
class Session:
    """One player that a gateway carries right now, by the gateway's own count.

    `view_id` is None for a session that no view stands for: a ghost, which is to be cut.
    """

    ref: str
    """The gateway's own name for it."""
    view_id: UUID | None
    camera_id: UUID | None
    protocol: str
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a gateway can take more, in a word that an operator understands."""

    ok: bool
    word: str
    cameras: int = 0
    viewers: int = 0


class Gateway(Protocol):
    """One carrier of footage. Raises GatewayUnavailable, within 2 s, when it does not answer."""

    name: str
    """Unique among the gateways; stands in every view that it carries."""
    kind: str
    """embedded | mediamtx"""
    protocols: tuple[str, ...]
    """What it can give, best first."""

    async def ensure(self, camera_id: UUID, profile: str, address: str) -> None:
        """Be ready to be asked for this camera's stream; `address` may hold credentials and is kept secret."""

    def urls(self, ticket: Pass, protocols: Sequence[str], zone: str) -> list[dict[str, str]]:
        """`{"protocol", "url", "latency"}` of a granted camera for a viewer in `zone`, signed here: no network."""

    async def authorize(self, token: str, asking: Asking) -> Opened:
        """May this player play? The view that is opened and committed for it; GrantEnded or another refusal if not."""

    async def sessions(self) -> list[Session]:
        """Who watches what, by this gateway's own count."""

    async def cut(self, view_id: UUID, cause: str) -> bool:
        """End one player; False when it was gone already."""

    async def health(self) -> Health:
        """Whether it can take more."""

    def drain(self, *, on: bool) -> None:
        """Whether it is being drained: then it takes nobody new, and who watches is sent elsewhere (`moved`)."""
