"""The gateway protocol: what the rest of the house asks of whatever carries footage."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from app.streams.urls import Pass


@dataclass(frozen=True, slots=True)
class Session:
    """One player that a gateway carries right now."""

    view_id: UUID
    camera_id: UUID
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
    """One carrier of footage. It asks before it plays, tells what it carries, and cuts when told."""

    name: str
    zone: str

    async def ensure(self, camera_id: UUID, address: str) -> None:
        """Have the camera's pictures ready; CameraOffline within 10 s."""

    def urls(self, ticket: Pass, protocols: Sequence[str]) -> list[dict[str, str]]:
        """The URLs of a granted camera, signed here and now; no network, no database."""

    def sessions(self) -> list[Session]:
        """Who watches what, by this gateway's own count."""

    async def cut(self, view_id: UUID, cause: str) -> bool:
        """End one player; False when it was gone already."""

    def health(self) -> Health: ...
