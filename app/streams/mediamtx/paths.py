"""Names of paths that tell nothing, and the paths that a MediaMTX has been told of.

A name is made by us alone: the camera's id, encrypted and authenticated (a synthetic IV, as RFC 5297 makes one), in
letters and digits. So it can be read back by every process without asking anybody, says nothing to who sees it, differs
from gateway to gateway, and has no room for dots, slashes or percent signs.
"""

import asyncio
import base64
import hmac
import logging
import re
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app import clock
from app.keys import Keys
from app.streams.mediamtx.api import Api
from app.streams.urls import PROFILES

log = logging.getLogger("gwanje.mediamtx")

IDLE_SECONDS = 600.0  # a path that was not asked for so long, and that nobody reads, may be forgotten
VERIFY_SECONDS = 30.0  # another process may have taken it away meanwhile
_PREFIX = "gw"
_NAME = re.compile(rf"{_PREFIX}[a-z2-7]{{42}}")
PATTERN = rf"~^({_PREFIX}[a-z2-7]{{42}})$"
"""One path of MediaMTX for all cameras: a regular expression whose match ($1) goes into the source's address."""
_MAC_BYTES = 10


def name_of(keys: Keys, gateway: str, camera_id: UUID, profile: str) -> str:
    """The path of a camera's stream at a gateway: 44 characters of a-z and 2-7, always the same."""
    mac = keys.mac("mediamtx-path", f"{gateway}/{profile}/".encode() + camera_id.bytes, _MAC_BYTES)
    body = _masked(keys, mac, camera_id.bytes)
    return _PREFIX + base64.b32encode(mac + body).decode().rstrip("=").lower()


def read_name(keys: Keys, gateway: str, name: str) -> tuple[UUID, str] | None:
    """The camera and the profile of a path; None for a name that this center did not make for this gateway."""
    if not _NAME.fullmatch(name):
        return None
    raw = base64.b32decode(name.removeprefix(_PREFIX).upper() + "======")
    camera_id = UUID(bytes=_masked(keys, raw[:_MAC_BYTES], raw[_MAC_BYTES:]))
    for profile in PROFILES:
        if hmac.compare_digest(name_of(keys, gateway, camera_id, profile), name):
            return camera_id, profile
    return None


def _masked(keys: Keys, mac: bytes, body: bytes) -> bytes:
    mask = keys.mac("mediamtx-path-mask", mac, 16)
    return bytes(one ^ other for one, other in zip(body, mask, strict=True))


def described(source: str) -> dict[str, Any]:
    """A path that pulls `source` over TCP when somebody wants to watch, and gives it up ten seconds later."""
    return {
        "source": source,
        "sourceOnDemand": True,
        "sourceOnDemandStartTimeout": "8s",
        "sourceOnDemandCloseAfter": "10s",
        "rtspTransport": "tcp",
        "record": False,
    }


@dataclass(slots=True)
class _Told:
    body: Mapping[str, Any]
    asked_at: float
    verified_at: float | None
    """None while the gateway does not have it, as far as is known."""


class Paths:
    """What this process has told a MediaMTX of, most recently asked last; told again when its memory is lost.

    Adding a path makes MediaMTX load its whole configuration anew (5 ms with none, 135 ms with a thousand), so paths
    are added one after the other, the same one once, and few are kept. They are never changed, which would cut who
    watches: a path whose source is another is taken away and added.
    """

    def __init__(self, api: Api, most: int) -> None:
        self._api = api
        self._most = most
        self._told: OrderedDict[str, _Told] = OrderedDict()
        self._adding: dict[str, asyncio.Task[None]] = {}
        self._turn = asyncio.Lock()

    async def ensure(self, name: str, body: Mapping[str, Any], *, verify: bool = False, replace: bool = True) -> None:
        """See that the gateway has this path; no call when that was seen lately. Raises GatewayUnavailable.

        One with another source is left as it is where it is another's to `replace`.
        """
        now = clock.monotonic()
        told = self._told.get(name)
        if told is None or told.body != body:
            told = self._told[name] = _Told(body, now, None)
        told.asked_at = now
        self._told.move_to_end(name)
        if verify or told.verified_at is None or told.verified_at + VERIFY_SECONDS < now:
            await self._add(name, told, replace=replace)

    async def _add(self, name: str, told: _Told, *, replace: bool = True) -> None:
        task = self._adding.get(name)
        if task is None:
            task = self._adding[name] = asyncio.create_task(self._add_in_turn(name, told, replace=replace))
            task.add_done_callback(lambda done: self._added(name, done))
        await asyncio.shield(task)

    def _added(self, name: str, done: asyncio.Task[None]) -> None:
        self._adding.pop(name, None)
        if not done.cancelled() and done.exception() is not None:  # whoever asked may have given up waiting
            log.warning("a path could not be added: %s", self._api.word)

    async def _add_in_turn(self, name: str, told: _Told, *, replace: bool) -> None:
        async with self._turn:
            standing = await self._api.source(name)
            if replace and standing is not None and standing != told.body["source"]:
                await self._api.delete(name)
                standing = None
            if standing is None:
                await self._api.add(name, told.body)  # another process that was faster said the same
            told.verified_at = clock.monotonic()

    def forgotten(self) -> None:
        """The gateway has lost its memory."""
        for told in self._told.values():
            told.verified_at = None

    @property
    def has_lost(self) -> bool:
        """Whether there is something to tell again."""
        return any(told.verified_at is None for told in self._told.values())

    async def replay(self, watched: Collection[str]) -> int:
        """Tell it again what it has lost and somebody may still come for; how many paths that were."""
        now = clock.monotonic()
        lost = [
            (name, told)
            for name, told in self._told.items()
            if told.verified_at is None and (name in watched or told.asked_at + IDLE_SECONDS > now)
        ]
        for name, told in lost:
            await self._add(name, told)
        return len(lost)

    async def sweep(self, watched: Collection[str]) -> int:
        """Beyond what is to be kept, take away what was asked for longest ago and nobody watches; how many."""
        now = clock.monotonic()
        excess = len(self._told) - self._most
        idle = [
            name
            for name, told in self._told.items()
            if told.asked_at + IDLE_SECONDS < now and name not in watched and name not in self._adding
        ][: max(0, excess)]
        for name in idle:
            async with self._turn:
                await self._api.delete(name)
                del self._told[name]
        return len(idle)

    def __len__(self) -> int:
        return len(self._told)
