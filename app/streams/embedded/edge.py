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
from uuid import UUID

import orjson

from app import clock
from app.announcements import Announcements
from app.database import LOST, Database
from app.errors import CameraOffline, GrantEnded, Refusal, UnsafeSource
from app.keys import Keys
from app.registry import sources
from app.registry.addresses import networks_of
from app.settings import Settings
from app.streams import urls, views
from app.streams.embedded.player import Channel, Player
from app.streams.embedded.snapshot import Snapshots
from app.streams.embedded.watched import Pulls
from app.streams.gateway import Health, Session
from app.streams.grants import RENEWED
from app.streams.urls import Pass
from app.streams.writer import Writer, unavailable

log = logging.getLogger("gwanje.edge")

SWEEP_SECONDS = 0.25
RECHECK_SECONDS = 3.0
SILENCE_SECONDS = 5.0
HLS_IDLE_SECONDS = 12.0
LIVE_PROTOCOLS = ("fmp4", "hls")


class Edge:
    """The embedded gateway of one process."""

    name = "embedded"
    zone = "default"

    def __init__(
        self, settings: Settings, keys: Keys, database: Database, writer: Writer, news: Announcements, node: str
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._database = database
        self._writer = writer
        self._news = news
        self._node = node
        self._pulls = Pulls(settings.run_dir, networks_of(settings.allow_camera_networks))
        self._snapshots = Snapshots()
        self._channels: dict[str, Channel] = {}
        self._players: set[Player] = set()
        self._openings: dict[tuple[UUID, UUID], asyncio.Lock] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._recheck_now = asyncio.Event()
        self._draining = False
        news.on("revoked", self._hear_revoked)
        news.on("rights", lambda _: self._recheck_now.set())
        news.on(RENEWED, lambda _: self._recheck_now.set())
        news.on(views.TAKEN_OVER, self._hear_taken_over)

    # What the rest of the house asks

    def urls(self, ticket: Pass, protocols: Sequence[str]) -> list[dict[str, str]]:
        return urls.of_grant(self._keys, self._settings.base_url, ticket, list(protocols))

    def sessions(self) -> list[Session]:
        return [
            Session(player.view.id, player.ticket.camera_id, player.view.protocol, player.bytes, player.seconds)
            for player in self._players
        ]

    async def cut(self, view_id: UUID, cause: str) -> bool:
        for player in self._players:
            if player.view.id == view_id and not player.ended.done():
                player.end(cause)
                return True
        return False

    def health(self) -> Health:
        silent = self._news.silent_seconds()
        if silent > SILENCE_SECONDS:
            return Health(
                False, f"no word from the database for {silent:.0f} s", len(self._channels), len(self._players)
            )
        return Health(
            not self._draining, "draining" if self._draining else "ready", len(self._channels), len(self._players)
        )

    async def ensure(self, camera_id: UUID, address: str) -> None:
        await self._pulls.open(f"{camera_id}/main", address)

    # Opening

    async def open(self, token: str, *, protocol: str, peer: str) -> Player:
        """A player for a stream URL: permitted, the camera's first key frame at hand, the view opened and committed.

        GrantEnded when there is no permission (any more); CameraOffline within 10 s, with a `view.failed` entry.
        """
        ticket = urls.read(self._keys, token)
        if self._draining:
            raise GrantEnded("this server is stopping; ask again")
        try:
            async with self._database.bare.acquire(timeout=1) as connection:
                allowed = await views.permit(connection, ticket)
        except LOST as error:
            raise unavailable() from error
        profile, address = self._source(allowed)
        try:
            pull = await self._pulls.open(f"{ticket.camera_id}/{profile}", address)
        except (CameraOffline, UnsafeSource) as refusal:
            await views.failed(self._writer, allowed, protocol=protocol, peer=peer, reason=refusal.detail)
            raise CameraOffline(
                f"the camera gives no picture: {refusal.detail} / 카메라 영상을 받을 수 없습니다",
                camera_id=str(ticket.camera_id),
            ) from refusal
        channel = self._channels.get(f"{ticket.camera_id}/{profile}")
        if channel is None or channel.pull is not pull:
            channel = self._channels[f"{ticket.camera_id}/{profile}"] = Channel(pull, self._forget)
        with channel.held():  # the pull must not linger away while the view is being opened
            view = await views.open(
                self._writer, ticket, protocol=protocol, profile=profile, gateway=self.name, node=self._node, peer=peer
            )
            player = Player(view, channel)
        self._players.add(player)
        player.ended.add_done_callback(lambda ended: self._close(player, ended.result()))
        if channel.pull.lost:
            player.end("camera_lost")
        if self._draining:
            player.end("server_stopped")
        return player

    def _source(self, allowed: views.Permit) -> tuple[str, str]:
        sealed = allowed.facts["sources"] or "{}"
        known = orjson.loads(sealed) if isinstance(sealed, str) else sealed
        wanted = allowed.facts["quality"]
        profile = wanted if wanted in known else "main"
        if profile not in known:
            raise CameraOffline("this camera has no live source")
        camera_id = allowed.ticket.camera_id
        return profile, sources.unseal(self._keys, camera_id, "live", profile, base64.b64decode(known[profile]))

    async def hls(self, token: str, *, peer: str) -> Player:
        """The HLS player of a stream URL, opened by its first request; a view ends when requests stop."""
        ticket = urls.read(self._keys, token)
        key = (ticket.grant_id, ticket.camera_id)
        lock = self._openings.setdefault(key, asyncio.Lock())
        try:
            async with lock:  # of many first requests at once, one opens the view
                for player in self._players:
                    if player.key == (*key, "hls") and not player.ended.done():
                        if player.deadline < clock.monotonic():
                            raise GrantEnded("this permission is over; renew the grant or ask for a new one")
                        return player
                return await self.open(token, protocol="hls", peer=peer)
        finally:
            if not lock.locked():
                self._openings.pop(key, None)

    async def snapshot(self, token: str, *, peer: str) -> bytes:
        """One JPEG, as a view of its own."""
        player = await self.open(token, protocol="snapshot", peer=peer)
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

    def _close(self, player: Player, cause: str) -> None:
        self._players.discard(player)
        task = asyncio.create_task(self._record_close(player, cause))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _record_close(self, player: Player, cause: str) -> None:
        """Closing must reach the log: tried again until the database answers."""
        for attempt in range(60):
            with suppress(Refusal):
                await views.close(
                    self._writer, player.view, cause=cause, sent_bytes=player.bytes, seconds=player.seconds,
                    first_byte_at=player.first_byte_at,
                )  # fmt: skip
                return
            await asyncio.sleep(min(0.5 * 2**attempt, 10))
        log.error("a view could not be closed in the log", extra={"view_id": str(player.view.id)})

    def _forget(self, channel: Channel) -> None:
        for key, known in list(self._channels.items()):
            if known is channel:
                del self._channels[key]

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

    async def watch(self) -> None:
        """Cut what is over, for as long as the process runs."""
        checked_at = clock.monotonic()
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

    def _sweep(self, now: float) -> None:
        """What ends by itself: time that is over, HLS players that ask no more, footage nobody vouches for."""
        self._end_where(lambda player: player.deadline < now, "expired")
        self._end_where(
            lambda player: player.view.protocol == "hls" and player.touched_at + HLS_IDLE_SECONDS < now, "client"
        )
        if self._news.silent_seconds() > SILENCE_SECONDS:
            self._end_where(lambda player: not player.is_duty, "unvouched")

    async def _recheck(self) -> None:
        """Ask for every running view whether it may go on, and close the views of nodes that died."""
        players = list(self._players)
        if players:
            async with self._database.bare.acquire(timeout=1) as connection:
                left = await views.still_permitted(connection, [player.ticket for player in players])
            for player, seconds in zip(players, left, strict=True):
                if seconds is None:
                    player.end("expired" if player.deadline < clock.monotonic() + 1 else "revoked")
                else:
                    player.deadline = clock.monotonic() + seconds
        orphans = await views.close_orphans(self._writer, self._node)
        if orphans:
            log.warning("closed %d views of processes that died", orphans)

    async def drain(self) -> None:
        """Take nobody new, cut everybody, and see every view closed in the log."""
        self._draining = True
        self._end_where(lambda _: True, "server_stopped")
        if self._closing:
            await asyncio.wait(set(self._closing), timeout=4)
        await self._pulls.close()
