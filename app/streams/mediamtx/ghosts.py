"""Who must go: sessions that no view stands for, told from those that are just being let in; and how one goes."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import TypeVar

from app import clock
from app.streams.mediamtx.api import Api, Reader

log = logging.getLogger("gwanje.mediamtx")

STRANGER_SECONDS = 3.5  # a session is listed before its question is answered, which takes at most 3 s
_MOST_KNOWN = 20_000
_MOST_AT_ONCE = 16
K = TypeVar("K")
V = TypeVar("V")


class Strangers:
    """Sessions without a view. One whose view was known is a ghost at once; another after the time of a question."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, None] = OrderedDict()
        self._since: dict[str, float] = {}

    def introduce(self, names: Iterable[str]) -> None:
        """These are, or were, in views."""
        for name in names:
            remember(self._known, name, None)

    def ghosts(self, strangers: Sequence[Reader]) -> list[Reader]:
        """Those of all the strangers there are now who must go."""
        now = clock.monotonic()
        self._since = {reader.id: self._since.get(reader.id, now) for reader in strangers}
        return [
            reader
            for reader in strangers
            if any(name in self._known for name in reader.names) or self._since[reader.id] + STRANGER_SECONDS < now
        ]


async def kick_all(api: Api, readers: Sequence[Reader]) -> set[str]:
    """Kick, and look again until they are gone; the ids of those that are not. Raises GatewayUnavailable."""
    left = {reader.id: reader for reader in readers}
    for pause in (0.0, 0.05, 0.2):
        if not left:
            break
        await asyncio.sleep(pause)
        batch = list(left.values())
        for start in range(0, len(batch), _MOST_AT_ONCE):
            kicks = (api.kick(reader) for reader in batch[start : start + _MOST_AT_ONCE])
            await asyncio.gather(*kicks, return_exceptions=True)  # the list tells whether it helped
        listed = {reader.id for reader in await api.readers()}
        left = {ident: reader for ident, reader in left.items() if ident in listed}
    if left:
        log.warning("sessions are still there after being kicked", extra={"count": len(left)})
    return set(left)


def remember(known: OrderedDict[K, V], name: K, value: V) -> None:
    """Keep the newest twenty thousand."""
    known[name] = value
    known.move_to_end(name)
    while len(known) > _MOST_KNOWN:
        known.popitem(last=False)
