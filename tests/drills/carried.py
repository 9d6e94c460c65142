"""What clients received held against what the log says was carried: every picture has its view, and every number fits.

`judge` is pure. Each viewing has a grant of its own, so a grant names it on both sides.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

ORPHAN = "orphan"  # a client got pictures, and no opened view says so
EMPTY = "empty"  # a view that no client had
OPEN = "open"  # a view of which nobody wrote how it ended
UNTRUE = "untrue"  # the entry says something else than the view
LESS, MORE = "less", "more"  # the view says fewer bytes than arrived, or more than could be under way
LONGER = "longer"  # the view says that it lasted longer than the client was there

UNDER_WAY = 6 << 20  # bytes that kernels hold between the edge and a client that leaves
APART_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Received:
    """What one client got under one grant."""

    grant: str
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Logged:
    """A view as the database has it, with what its entries say: `opened` and `closed` (None: there is no such entry)."""

    grant: str
    bytes: int
    seconds: float
    cause: str
    opened: bool
    closed: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Finding:
    what: str
    grant: str
    detail: str


def judge(received: Iterable[Received], logged: Iterable[Logged]) -> list[Finding]:
    """Everything in which the two sides do not agree. Of a lost node (`node_lost`) the bytes are not known."""
    found: list[Finding] = []
    clients = {one.grant: one for one in received}
    views = {one.grant: one for one in logged}
    for grant, client in clients.items():
        if client.bytes and (grant not in views or not views[grant].opened):
            found.append(Finding(ORPHAN, grant, f"{client.bytes} bytes"))
    for grant, view in views.items():
        client = clients.get(grant)
        if client is None:
            found.append(Finding(EMPTY, grant, view.cause))
            continue
        if view.closed is None:
            found.append(Finding(OPEN, grant, view.cause))
            continue
        said = {name: view.closed.get(name, 0) for name in ("bytes", "seconds", "cause")}
        if said != {"bytes": view.bytes, "seconds": view.seconds, "cause": view.cause}:
            found.append(Finding(UNTRUE, grant, f"{said} is not {view}"))
        if view.bytes > client.bytes + UNDER_WAY:
            found.append(Finding(MORE, grant, f"{view.bytes} of {client.bytes}"))
        if view.bytes < client.bytes and view.cause != "node_lost":
            found.append(Finding(LESS, grant, f"{view.bytes} of {client.bytes}"))
        if view.seconds > client.seconds + APART_SECONDS:
            found.append(Finding(LONGER, grant, f"{view.seconds} s of {client.seconds} s"))
    return found
