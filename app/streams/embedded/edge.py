"""The embedded gateway: pulls watched cameras with ffmpeg, fans them out, opens and closes views, and cuts.

It runs inside every service process. What it may show, the database says at the moment of opening; what must end, it
hears by announcement within milliseconds, checks again every few seconds, and cuts by itself when the database has
been silent for 5 s (duty views excepted: the owner keeps watching).
"""

import asyncio
import base64
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from urllib.parse import quote
from uuid import UUID
from weakref import WeakSet

import orjson

from app import clock
from app.announcements import Announcements
from app.database import LOST, Database
from app.errors import CameraOffline, GatewayUnavailable, GrantEnded, Moved, Refusal, UnsafeSource
from app.keys import Keys
from app.registry import sources
from app.registry.addresses import networks_of
from app.settings import Settings
from app.streams import limits, reconcile, urls, views
from app.streams.embedded.channels import Channel, Channels
from app.streams.embedded.outages import Outages
from app.streams.embedded.player import Player
from app.streams.embedded.pull import Pull
from app.streams.embedded.snapshot import Snapshots
from app.streams.embedded.watched import Pulls
from app.streams.gateway import Health, Session
from app.streams.grants import RENEWED
from app.streams.limits import Limits
from app.streams.placement import EDGE_PATHS, edge_urls
from app.streams.urls import Pass
from app.streams.views import Asking, Carrier, Ending, Opened
from app.streams.writer import Writer, unavailable

log = logging.getLogger("gwanje.edge")

SWEEP_SECONDS = 0.25
RECHECK_SECONDS = 1.0
SILENCE_SECONDS = 5.0
HLS_IDLE_SECONDS = 12.0
NOTE_SECONDS = 2.0
SIGNED_OVER = "signed_over"


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
        self._node = node
        self._carrier = Carrier(self.name, node, Limits.of(settings))
        self._outages = Outages(database)
        self._pulls = Pulls(
            settings.run_dir, networks_of(settings.allow_camera_networks), ca_file=settings.camera_ca_file,
            on_lost=self._outages.lost, on_restored=self._outages.restored,
        )  # fmt: skip
        self._channels = Channels(self._pulls)
        self._snapshots = Snapshots()
        self._players: set[Player] = set()
        self._openings: dict[tuple[UUID, UUID], asyncio.Lock] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._recheck_now = asyncio.Event()
        self._stopping = self._drained = False
        self.elsewhere: Callable[[str, Pass, str, str], str | None] = lambda *_: None
        """Where else a stream is carried, once this gateway is being drained: see `placement`."""
        self._formerly: dict[tuple[UUID, UUID], Player] = {}
        self._noted: WeakSet[Pull] = WeakSet()
        news.on("revoked", self._hear_revoked)
        news.on("rights", lambda _: self._recheck_now.set())
        news.on(RENEWED, lambda _: self._recheck_now.set())
        news.on(views.TAKEN_OVER, self._hear_taken_over)
        news.on(limits.CUT, self._hear_cut)
        news.on(SIGNED_OVER, self._hear_signed_over)

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
            for player in self._players
        ]  # fmt: skip

    async def cut(self, view_id: UUID, cause: str) -> bool:
        for player in self._players:
            if player.view.id == view_id and not player.ended.done():
                player.end(cause)
                return True
        return False

    async def health(self) -> Health:
        cameras, viewers = len(self._channels), len(self._players)
        if self._stopping:
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
        if self._stopping:
            raise GatewayUnavailable("this server is stopping; ask again", retry_after_seconds=1)
        allowed = await self._permit(ticket, asking)
        if self._drained:
            raise self._moved(ticket, asking, allowed.facts["zone"])
        profile, address = self._source(allowed)
        try:
            channel = await self._channels.open(f"{ticket.camera_id}/{profile}", address)
        except (CameraOffline, UnsafeSource) as refusal:
            await views.failed(self._writer, allowed, asking, reason=refusal.detail)
            raise CameraOffline(
                f"the camera gives no picture: {refusal.detail} / 카메라 영상을 받을 수 없습니다",
                camera_id=str(ticket.camera_id), retry_after_seconds=2,
            ) from refusal  # fmt: skip
        with channel.held():  # the pull must not linger away while the view is being opened
            view = await views.open(self._writer, ticket, asking, self._carrier)
            player = Player(view, channel)
        self._players.add(player)
        player.ended.add_done_callback(lambda ended: self._close(player.view, player, ended.result()))
        if channel.lost:
            player.end("camera_lost")
        if self._stopping:
            player.end("server_stopped")
        self._note(channel, ticket.camera_id, profile)
        return player

    async def _permit(self, ticket: Pass, asking: Asking) -> views.Permit:
        try:
            async with self._database.bare.acquire(timeout=1) as connection:
                return await views.permit(connection, ticket, asking)
        except LOST as error:
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

        self._later(note())

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def hls(self, token: str, asking: Asking) -> Player:
        """The HLS player of a stream URL, opened by its first request; a view ends when requests stop.

        Later requests must come from where the first came from.
        """
        ticket = urls.read(self._keys, token)
        key = (ticket.grant_id, ticket.camera_id)
        lock = self._openings.setdefault(key, asyncio.Lock())
        try:
            async with lock:  # of many first requests at once, one opens the view
                player = self._hls_player(key)
                if player is None:
                    return await self.open(token, asking)
                if player.deadline < clock.monotonic():
                    raise GrantEnded("this permission is over; renew the grant or ask for a new one")
                views.check(player.view.permit.facts, player.ticket, asking, bound_to=player.view.peer)
                return player
        finally:
            if not lock.locked():
                self._openings.pop(key, None)

    def _hls_player(self, key: tuple[UUID, UUID]) -> Player | None:
        """Who plays HLS under this grant and camera, or played under it before the console was signed over."""
        found = self._formerly.get(key) or next(
            (player for player in self._players if player.key == (*key, "hls")), None
        )
        return found if found is not None and not found.ended.done() else None

    async def snapshot(self, token: str, asking: Asking) -> bytes:
        """One JPEG, as a view of its own."""
        player = await self.open(token, asking)
        try:
            picture = await self._snapshots.jpeg(player.channel.pull)
            if player.ended.done():
                raise GrantEnded("this permission ended while the picture was made")
            player.count(len(picture))
        except Refusal:
            player.end("camera_lost")
            raise
        else:
            player.end("client")
            return picture

    # Ending

    def _close(self, view: Opened, player: Player, cause: str) -> None:
        self._players.discard(player)
        self._formerly = {key: one for key, one in self._formerly.items() if one is not player}
        self._later(self._record_close(view, Ending(cause, player.bytes, player.seconds, player.first_byte_at)))

    async def _record_close(self, view: Opened, ending: Ending) -> None:
        """Closing must reach the log: tried again until the database answers."""
        for attempt in range(60):
            with suppress(Refusal):
                await views.close(self._writer, view, ending)
                return
            await asyncio.sleep(min(0.5 * 2**attempt, 10))
        log.error("a view could not be closed in the log", extra={"view_id": str(view.id)})

    def _end_where(self, condition: Callable[[Player], bool], cause: str) -> None:
        for player in [player for player in self._players if condition(player)]:
            player.end(cause)

    def _hear_revoked(self, message: str) -> None:
        what, _, name = message.partition(" ")
        field = {"session": "session_id", "user": "user_id", "agreement": "agreement_id"}.get(what)
        if what == "grant":
            self._end_where(lambda player: str(player.ticket.grant_id) == name, "revoked")
        elif field is not None:
            self._end_where(lambda player: str(player.view.permit.facts[field]) == name, "revoked")
        else:
            self._recheck_now.set()

    def _hear_cut(self, message: str) -> None:
        view_id, _, rest = message.partition(" ")
        cause = rest.partition(" ")[0]
        if cause:
            self._end_where(lambda player: str(player.view.id) == view_id, cause)
        else:
            self._recheck_now.set()

    def _hear_taken_over(self, message: str) -> None:
        if not message:
            return
        grant_id, camera_id, protocol, view_id = message.split(" ")
        self._end_where(
            lambda player: (
                tuple(map(str, player.key)) == (grant_id, camera_id, protocol) and str(player.view.id) != view_id
            ),
            "replaced",
        )

    def _hear_signed_over(self, message: str) -> None:
        """The next person took the console over: what runs there goes on, under the new duty and as a new view."""
        if not message:
            return
        old_id, new_id, at = message.split(" ")
        for player in [player for player in self._players if str(player.ticket.grant_id) == old_id]:
            ticket = replace(player.ticket, grant_id=UUID(new_id), grant_at=datetime.fromisoformat(at))
            self._later(self._hand_over(player, ticket))

    async def _hand_over(self, player: Player, ticket: Pass) -> None:
        asking = Asking(player.view.protocol, player.view.peer)
        try:
            view = await views.open(self._writer, ticket, asking, self._carrier, handed_over=True)
        except Refusal:
            player.end("signed_over")
            return
        if player.ended.done():
            await self._record_close(view, Ending("client", 0, 0))
            return
        before = Ending("signed_over", player.bytes, player.seconds, player.first_byte_at)
        old = player.view
        player.hand_over(view)
        self._formerly[(old.permit.ticket.grant_id, old.permit.ticket.camera_id)] = player
        await self._record_close(old, before)

    async def watch(self) -> None:
        """Cut what is over, for as long as the process runs."""
        checked_at = clock.monotonic()
        beating = asyncio.create_task(self._beat())
        try:
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._recheck_now.wait(), SWEEP_SECONDS)
                now = clock.monotonic()
                self._sweep(now)
                if self._recheck_now.is_set() or checked_at + RECHECK_SECONDS < now:
                    self._recheck_now.clear()
                    checked_at = now
                    try:
                        await self._recheck()
                    except (*LOST, Refusal) as error:
                        log.warning("running views could not be checked: %s", type(error).__name__)
        finally:
            beating.cancel()

    def _sweep(self, now: float) -> None:
        """What ends by itself: time that is over, HLS players that ask no more, footage nobody vouches for."""
        self._end_where(lambda player: player.deadline < now, "expired")
        self._end_where(
            lambda player: player.view.protocol == "hls" and player.touched_at + HLS_IDLE_SECONDS < now, "client"
        )
        if self._news.silent_seconds() > SILENCE_SECONDS:
            self._end_where(lambda player: not player.is_duty, "unvouched")

    async def _recheck(self) -> None:
        """Ask for every running view whether it may go on."""
        players = list(self._players)
        if not players:
            return
        asked_of = [player.ticket for player in players]
        async with self._database.bare.acquire(timeout=1) as connection:
            left = await reconcile.still_permitted(connection, asked_of)
        for player, ticket, seconds in zip(players, asked_of, left, strict=True):
            if player.ticket != ticket:
                continue  # handed over meanwhile
            if seconds is None:
                player.end("expired" if player.deadline < clock.monotonic() + 1 else "revoked")
            else:
                player.deadline = clock.monotonic() + seconds

    async def _beat(self) -> None:
        """Say that this process lives, and close the views of those that died."""
        while True:
            try:
                if orphans := await reconcile.beat(self._writer, self._node):
                    log.warning("closed %d views of processes that died", orphans)
            except (*LOST, Refusal) as error:
                log.warning("no sign of life could be given: %s", type(error).__name__)
            await asyncio.sleep(reconcile.BEAT_SECONDS)

    def drain(self, *, on: bool) -> None:
        self._drained = on
        if on:
            self._end_where(lambda _: True, "moved")

    async def stop(self) -> None:
        """Take nobody new, cut everybody, and see every view closed in the log."""
        self._stopping = True
        self._end_where(lambda _: True, "server_stopped")
        if self._closing:
            await asyncio.wait(set(self._closing), timeout=4)
        await self._pulls.close()
