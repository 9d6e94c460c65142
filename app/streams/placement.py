"""Which gateway carries a camera: the living ones, by rendezvous hashing, so that nothing is stored and little moves.

Every process tells once a second how the gateways are that it drives, and reads how all of them are. All processes
rank a camera's gateways alike; when one is drained or lost, only its own cameras move, each to its next in rank.
"""

import asyncio
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any
from uuid import UUID

import asyncpg
import orjson
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.announcements import Announcements, announce
from app.audit import entries
from app.database import LOST, Database
from app.errors import GatewayUnavailable, NotFound, Refusal
from app.keys import Keys
from app.models import GatewayRecord
from app.registry import sources
from app.streams.gateway import LATENCIES, Gateway
from app.streams.profiles import Wanted, choose
from app.streams.urls import Pass, write
from app.streams.writer import Given

log = logging.getLogger("gwanje.gateways")

GATEWAYS = "gateways"  # the topic on which drained and changed gateways are announced
BEAT_SECONDS = 1.0
AGAIN_SECONDS = 0.2
SILENT_SECONDS = 3.0
EDGE_PATHS = {"fmp4": "live.mp4", "mse": "mse", "hls": "index.m3u8", "snapshot": "snapshot.jpg"}

_ALL = """
SELECT g.*, extract(epoch FROM now() - g.seen_at)::float8 AS silent_seconds,
    coalesce(v.viewers, 0) AS viewers, coalesce(v.cameras, 0) AS cameras
FROM gateways g LEFT JOIN (
    SELECT gateway, count(*) AS viewers, count(DISTINCT camera_id) AS cameras FROM (
        SELECT gateway, camera_id FROM views WHERE closed_at IS NULL
        UNION ALL SELECT gateway, camera_id FROM showings WHERE ended_at IS NULL
    ) open GROUP BY gateway
) v ON v.gateway = g.name
ORDER BY g.name
"""
_TELL_AND_READ = f"""
WITH told AS (
    INSERT INTO gateways (name, kind, zone, public_urls, capacity_viewers, capacity_cameras, ok, word)
    SELECT name, kind, zone, urls::jsonb, viewers, cameras, ok, word FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::text[], $5::int[], $6::int[], $7::bool[], $8::text[]
    ) AS own (name, kind, zone, urls, viewers, cameras, ok, word) ORDER BY name
    ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, zone = excluded.zone, public_urls = excluded.public_urls,
        capacity_viewers = excluded.capacity_viewers, capacity_cameras = excluded.capacity_cameras, ok = excluded.ok,
        word = excluded.word, seen_at = now()
    RETURNING *
)
{_ALL.replace("gateways g", "(SELECT * FROM told UNION ALL SELECT * FROM gateways WHERE name <> ALL ($1)) g")}
"""  # noqa: S608 - our own SQL


@dataclass(frozen=True, slots=True)
class Known:
    """A gateway as the table says it is."""

    name: str
    kind: str
    public_urls: Mapping[str, str]
    capacity_viewers: int
    capacity_cameras: int
    draining: bool
    ok: bool
    word: str
    silent_seconds: float
    viewers: int
    cameras: int

    @property
    def usable(self) -> bool:
        return self.ok and not self.draining and self.silent_seconds < SILENT_SECONDS

    @property
    def full(self) -> bool:
        return self.viewers >= self.capacity_viewers or self.cameras >= self.capacity_cameras


def edge_urls(
    keys: Keys, ticket: Pass, protocols: Sequence[str], public_urls: Mapping[str, str], zone: str
) -> list[dict[str, str]]:
    """The URLs of a granted camera at an embedded edge, one a protocol that it gives."""
    base, token = public_urls.get(zone) or public_urls["default"], write(keys, ticket)
    return [
        {"protocol": protocol, "url": _url(base, token, protocol), "latency": LATENCIES[protocol]}
        for protocol in protocols
        if protocol in EDGE_PATHS
    ]


def _url(base: str, token: str, protocol: str) -> str:
    if protocol == "mse":  # a WebSocket
        base = "ws" + base.removeprefix("http")
    return f"{base}/v/{token}/{EDGE_PATHS[protocol]}"


class EdgeElsewhere:
    """An embedded gateway of another node, known by its row: enough to send viewers there."""

    kind = "embedded"
    protocols = tuple(EDGE_PATHS)

    def __init__(self, keys: Keys, known: Known) -> None:
        self.name, self._keys, self._urls = known.name, keys, known.public_urls

    async def ensure(self, camera_id: UUID, profile: str, address: str) -> None:
        """It pulls the camera when the first viewer comes."""

    def urls(self, ticket: Pass, protocols: Sequence[str], zone: str) -> list[dict[str, str]]:
        return edge_urls(self._keys, ticket, protocols, self._urls, zone)


@dataclass(frozen=True, slots=True)
class Driven:
    """A gateway that this process drives, and what its row says of it."""

    gateway: Gateway
    public_urls: Mapping[str, str]
    capacity_viewers: int
    capacity_cameras: int


class Gateways:
    """All gateways, as this process knows them."""

    def __init__(self, database: Database, keys: Keys, news: Announcements) -> None:
        self._database, self._keys = database, keys
        self._driven: dict[str, Driven] = {}
        self._known: dict[str, Known] = {}
        self._wake = asyncio.Event()
        news.on(GATEWAYS, lambda _: self._wake.set())

    def drive(self, gateway: Gateway, *, public_urls: Mapping[str, str], viewers: int, cameras: int) -> None:
        """Tell of this gateway from now on."""
        self._driven[gateway.name] = Driven(gateway, public_urls, viewers, cameras)

    def driven(self, name: str) -> Gateway | None:
        """The gateway of this name, if this process drives it."""
        one = self._driven.get(name)
        return one.gateway if one else None

    def all(self) -> list[Known]:
        """All of them, as they were told a second ago."""
        return list(self._known.values())

    async def run(self) -> None:
        """Tell and read, once a second, for as long as the process runs."""
        while True:
            try:
                await self.refresh()
            except LOST as error:
                log.warning("the gateways' table cannot be read: %s", type(error).__name__)
            try:
                async with asyncio.timeout(clock.until_beat(BEAT_SECONDS)):
                    await self._wake.wait()
            except TimeoutError:
                continue
            self._wake.clear()

    async def refresh(self) -> None:
        """Tell how one's own gateways are, and read how all are."""
        told: list[tuple[Any, ...]] = []
        for one in self._driven.values():
            health = await one.gateway.health()
            if not health.ok:  # a loop that stood still hears its news before the second look
                await asyncio.sleep(AGAIN_SECONDS)
                health = await one.gateway.health()
            told.append((
                one.gateway.name, one.gateway.kind, next(iter(one.public_urls), "default"),
                orjson.dumps(dict(one.public_urls)).decode(), one.capacity_viewers, one.capacity_cameras,
                health.ok, health.word,
            ))  # fmt: skip
        columns = [list(column) for column in zip(*told, strict=True)] or [[]] * 8
        async with self._database.bare.acquire(timeout=1) as connection:
            rows = await connection.fetch(_TELL_AND_READ, *columns, timeout=2)
        self._known = {row["name"]: _known(row) for row in rows}
        for name, driven in self._driven.items():
            driven.gateway.drain(on=self._known[name].draining)

    def place(self, camera_id: UUID, protocols: Sequence[str], zone: str) -> list[Gateway | EdgeElsewhere]:
        """The gateways that could carry a camera for a viewer in `zone`, best first; the same in every process.

        First those with room, then those of the viewer's zone, then those that give more of what is asked for.
        """
        ranked = sorted(self._candidates(), key=lambda known: _rank(known, camera_id, protocols, zone, self._offered))
        found = [self._gateway(known) for known in ranked]
        return [gateway for gateway in found if not protocols or set(protocols) & set(gateway.protocols)]

    def _candidates(self) -> Iterable[Known]:
        living = [known for known in self._known.values() if known.usable]
        if living or self._known:
            return living
        return [  # not read yet: one's own, until the table says otherwise
            Known(name, one.gateway.kind, one.public_urls, one.capacity_viewers, one.capacity_cameras,
                  draining=False, ok=True, word="", silent_seconds=0, viewers=0, cameras=0)
            for name, one in self._driven.items()
        ]  # fmt: skip

    def _gateway(self, known: Known) -> Gateway | EdgeElsewhere:
        driven = self._driven.get(known.name)
        return driven.gateway if driven else EdgeElsewhere(self._keys, known)

    def _offered(self, known: Known) -> tuple[str, ...]:
        return self._gateway(known).protocols

    async def streams(
        self, given: Given, wanted: Wanted, protocols: Sequence[str], zone: str, *, kind: str = ""
    ) -> list[dict[str, Any]]:
        """The URLs of a granted camera with codec, size and latency class, from the first gateway that is ready.

        `kind` leaves gateways of other kinds out. GatewayUnavailable when none is ready.
        """
        offer = choose(given.offers, wanted)
        ticket = Pass(given.grant_id, given.at, given.camera_id, given.expires_at, offer.profile)
        why = "no media gateway is at hand; try again in a moment / 영상 게이트웨이를 사용할 수 없습니다"
        for gateway in self.place(given.camera_id, protocols, zone):
            if kind not in ("", gateway.kind):
                continue
            try:
                if gateway.kind != "embedded":
                    address = await sources.address(self._database, self._keys, given.camera_id, offer.profile)
                    await gateway.ensure(given.camera_id, offer.profile, address)
            except Refusal as refusal:
                why = refusal.detail
                continue
            told = {
                "profile": offer.profile,
                "codec": offer.codec or None,
                "width": offer.width,
                "height": offer.height,
            }
            urls = gateway.urls(ticket, protocols or gateway.protocols, zone)
            if not urls:
                continue  # it has no address in that zone
            return [
                {**url, **told} if url["protocol"] != "snapshot" else {**url, **told, "codec": "jpeg"} for url in urls
            ]
        raise GatewayUnavailable(why, camera_id=str(given.camera_id), retry_after_seconds=2)

    def elsewhere(self, name: str, ticket: Pass, protocol: str, zone: str) -> str | None:
        """The same stream's URL at another gateway than `name`, for players that must move; None if there is none."""
        for gateway in self.place(ticket.camera_id, [protocol], zone):
            if gateway.name != name and gateway.kind == "embedded":
                return next((url["url"] for url in gateway.urls(ticket, [protocol], zone)), None)
        return None


async def all_known(database: Database) -> list[Known]:
    """All gateways, as the table says they are."""
    async with database.bare.acquire(timeout=1) as connection:
        return [_known(row) for row in await connection.fetch(_ALL, timeout=2)]


async def set_draining(session: AsyncSession, name: str, *, on: bool) -> None:
    """Drain a gateway, or let it take viewers again: felt everywhere within a second. NotFound for an unknown name."""
    found = await session.scalar(
        update(GatewayRecord).where(GatewayRecord.name == name).values(draining=on).returning(GatewayRecord.name)
    )
    if found is None:
        raise NotFound(f"there is no gateway named {name}; `gwanje gateway list` shows all")
    act = "gateway.drained" if on else "gateway.resumed"
    await entries.append(session, entries.entry(None, act, gateway=name))
    await announce(session, GATEWAYS, name)


def _known(row: asyncpg.Record) -> Known:
    fields = {name: row[name] for name in Known.__slots__}
    fields["public_urls"] = orjson.loads(row["public_urls"])
    return Known(**fields)


def _rank(known: Known, camera_id: UUID, protocols: Sequence[str], zone: str, offered: Any) -> tuple[Any, ...]:
    missing = len(set(protocols) - set(offered(known)))
    return known.full, zone not in known.public_urls, missing, _distance(known, camera_id)


def _distance(known: Known, camera_id: UUID) -> float:
    """Weighted rendezvous hashing (Schindelhauer and Schomaker 2005): the least wins, shares follow capacity."""
    digest = blake2b(camera_id.bytes + known.name.encode(), digest_size=8).digest()
    uniform = (int.from_bytes(digest, "big") + 1) / (2**64 + 1)
    return -math.log(uniform) / max(1, known.capacity_cameras)
