"""The embedded gateway: pulls watched cameras with ffmpeg, fans them out, opens and closes views, and cuts.

It runs inside every service process. What it may show, the database says at the moment of opening; what must end, it
hears by announcement within milliseconds, checks again every few seconds, and cuts by itself when the database has
been silent for 5 s (duty views excepted: the owner keeps watching).
"""

import asyncio
import base64
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from urllib.parse import quote
from uuid import UUID
from weakref import WeakSet

import orjson

from app import clock
from app.announcements import Announcements
from app.audit.spool import Spool
from app.database import LOST, Database
from app.errors import CameraOffline, GatewayUnavailable, GrantEnded, Moved, Refusal, UnsafeSource
from app.keys import Keys
from app.registry import sources
from app.registry.addresses import camera_networks
from app.settings import Settings
from app.streams import duties, urls, views
from app.streams.embedded.channels import Channel, Channels
from app.streams.embedded.outages import Outages
from app.streams.embedded.player import Player
from app.streams.embedded.pull import Pull
from app.streams.embedded.running import SILENCE_SECONDS, Running
from app.streams.embedded.snapshot import Snapshots
from app.streams.embedded.watched import Pulls
from app.streams.gateway import Health, Session
from app.streams.late import AWAY_SECONDS, Late
from app.streams.limits import Limits
from app.streams.placement import EDGE_PATHS, edge_urls
from app.streams.urls import Pass
from app.streams.views import Asking, Carrier, Opened
from app.streams.writer import Writer, unavailable

log = logging.getLogger("gwanje.edge")

NOTE_SECONDS = 2.0


class Edge:
    """The embedded gateway of one process."""

    kind = "embedded"
    protocols = tuple(EDGE_PATHS)

    def __init__(
        self, settings: Settings, keys: Keys, database: Database, writer: Writer, news: Announcements, node: str
    ) -> None:
        self.name = settings.node
        self._settings = settings
        self._keys = keys
        self._database = database
        self._writer = writer
        self._news = news
        self._outages = Outages(database)
        self._pulls = Pulls(
            settings.run_dir, camera_networks(settings), ca_file=settings.camera_ca_file,
            on_lost=self._outages.lost, on_restored=self._outages.restored,
        )  # fmt: skip
        self._channels = Channels(self._pulls)
        self._snapshots = Snapshots()
        self.spool = Spool(
            settings.spool_folder, keys, node, hours=settings.spool_hours, most_bytes=settings.spool_bytes
        )  # fmt: skip
        carrier = Carrier(self.name, node, Limits.of(settings))
        self._running = Running(database, writer, news, carrier, Late(self.spool, carrier))
        self._openings: dict[tuple[UUID, UUID], asyncio.Lock] = {}
        self._drained = False
        self.elsewhere: Callable[[str, Pass, str, str], str | None] = lambda *_: None
        """Where else a stream is carried, once this gateway is being drained: see `placement`."""
        self._noted: WeakSet[Pull] = WeakSet()
        self._noting: set[asyncio.Task[None]] = set()

    # What the rest of the house asks

    async def ensure(self, camera_id: UUID, profile: str, address: str) -> None:
        """Nothing to prepare: the camera is pulled when the first viewer comes."""

    def urls(self, ticket: Pass, protocols: Sequence[str], zone: str) -> list[dict[str, str]]:
        return edge_urls(self._keys, ticket, protocols, self._settings.public_urls, zone)

    async def authorize(self, token: str, asking: Asking) -> Opened:
        return (await self.open(token, asking)).view

    async def sessions(self) -> list[Session]:
        return [
            Session(str(player.view.id), player.view.id, player.ticket.camera_id, player.view.protocol, player.bytes,
                    player.seconds)
            for player in self._running
        ]  # fmt: skip

    async def cut(self, view_id: UUID, cause: str) -> bool:
        for player in self._running:
            if player.view.id == view_id and not player.ended.done():
                player.end(cause)
                return True
        return False

    async def health(self) -> Health:
        cameras, viewers = len(self._channels), len(self._running)
        if self._running.stopping:
            return Health(False, "stopping", cameras, viewers)
        if (silent := self._news.silent_seconds()) > SILENCE_SECONDS:
            return Health(False, f"no word from the database for {silent:.0f} s", cameras, viewers)
        return Health(True, "ready", cameras, viewers)

    # Opening

    async def open(self, token: str, asking: Asking) -> Player:
        """A player for a stream URL: permitted, the camera's first key frame at hand, the view opened and committed.

        GrantEnded or BoundElsewhere when there is no permission (any more), CameraFull and the like when there is no
        room; CameraOffline within 10 s, with a `view.failed` entry.
        """
        ticket = urls.read(self._keys, token)
        if self._running.stopping:
            raise GatewayUnavailable("this server is stopping; ask again", retry_after_seconds=1)
        allowed = await self._permit(ticket, asking)
        was_signed_over, ticket = allowed.ticket != ticket, allowed.ticket
        if self._drained:
            raise self._moved(ticket, asking, allowed.facts["zone"])
        profile, address = self._source(allowed)
        try:
            channel = await self._channels.open(f"{ticket.camera_id}/{profile}", address)
        except (CameraOffline, GatewayUnavailable, UnsafeSource) as refusal:
            await views.failed(self._writer, allowed, asking, reason=refusal.detail)
            if isinstance(refusal, GatewayUnavailable):
                raise
            raise CameraOffline(
                f"the camera gives no picture: {refusal.detail} / 카메라 영상을 받을 수 없습니다",
                camera_id=str(ticket.camera_id), retry_after_seconds=2,
            ) from refusal  # fmt: skip
        player = await self._running.open(allowed, asking, channel, handed_over=was_signed_over)
        self._note(channel, ticket.camera_id, profile)
        return player

    async def _permit(self, ticket: Pass, asking: Asking) -> views.Permit:
        """What the database says now. A console may come back with a URL of the shift before: the next one's holds."""
        try:
            async with self._database.bare.acquire(timeout=1) as connection:
                try:
                    return await views.permit(connection, ticket, asking)
                except GrantEnded:
                    successor = await duties.following(connection, ticket)
                    if successor is None:
                        raise
                    allowed = await views.permit(connection, successor, asking, handed_over=True)
                    views.check(allowed.facts, ticket, asking)  # a device proves the URL that it has
                    return allowed
        except LOST as error:
            away = self._news.silent_seconds() > AWAY_SECONDS
            if away and (known := self._running.late.permit(ticket, asking)) is not None:
                return known
            raise unavailable() from error

    def _moved(self, ticket: Pass, asking: Asking, zone: str) -> Refusal:
        location = self.elsewhere(self.name, ticket, asking.protocol, zone)
        if location is None:
            return GatewayUnavailable("this media gateway takes nobody new; renew the grant", retry_after_seconds=2)
        if asking.proof:
            location += f"?proof={quote(asking.proof, safe='')}"
        return Moved("another media gateway carries this camera now", location=location)

    def _source(self, allowed: views.Permit) -> tuple[str, str]:
        sealed = allowed.facts["sources"] or "{}"
        known = orjson.loads(sealed) if isinstance(sealed, str) else sealed
        wanted = allowed.ticket.profile
        profile = wanted if wanted in known else "main"
        if profile not in known:
            raise CameraOffline("this camera has no live source")
        camera_id = allowed.ticket.camera_id
        return profile, sources.unseal(self._keys, camera_id, "live", profile, base64.b64decode(known[profile]))

    def _note(self, channel: Channel, camera_id: UUID, profile: str) -> None:
        """Say what the stream turned out to be, once for each pull; whoever asks for a grant is told it."""
        pull, init = channel.pull, channel.pull.init
        if init is None or pull in self._noted:
            return
        self._noted.add(pull)

        async def note() -> None:
            await asyncio.sleep(NOTE_SECONDS)  # for the bit rate
            with suppress(*LOST):
                await sources.seen(
                    self._database, camera_id, profile, codec=init.codec, width=init.width, height=init.height,
                    kbps=pull.kbps,
                )  # fmt: skip

        task = asyncio.create_task(note())
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

    async def hls(self, token: str, asking: Asking) -> Player:
        """The HLS player of a stream URL, opened by its first request; a view ends when requests stop.

        A console's requests all come from one address; those of a car that moves begin a new view at a new one.
        """
        ticket = urls.read(self._keys, token)
        key = (ticket.grant_id, ticket.camera_id)
        lock = self._openings.setdefault(key, asyncio.Lock())
        try:
            async with lock:  # of many first requests at once, one opens the view
                player = self._running.hls(key)
                if player is None or player.view.peer != asking.peer:  # what moves is a new view where it is now
                    player = await self.open(token, asking)
                    self._running.remember(key, player)
                    return player
                if player.deadline < clock.monotonic():
                    raise GrantEnded("this permission is over; renew the grant or ask for a new one")
                views.check(player.view.permit.facts, ticket, asking, bound_to=player.view.peer)
                return player
        finally:
            if not lock.locked():
                self._openings.pop(key, None)

    async def snapshot(self, token: str, asking: Asking) -> bytes:
        """One JPEG, as a view of its own."""
        player = await self.open(token, asking)
        try:
            picture = await self._snapshots.of(player)
            player.count(len(picture))
        except Refusal:
            player.end("camera_lost")
            raise
        finally:
            player.end("client")  # also when whoever asked has gone, or by an accident
        return picture

    # Ending

    async def watch(self) -> None:
        """Cut what is over, for as long as the process runs."""
        await self._running.watch()

    def drain(self, *, on: bool) -> None:
        self._drained = on
        if on:
            self._running.end_where(lambda _: True, "moved")

    async def stop(self) -> None:
        """Take nobody new, cut everybody, and see every view closed in the log."""
        for task in self._noting:
            task.cancel()
        await self._running.stop()
        await self._pulls.close()
