"""The players that run in this process: opened as views, asked again, cut when they are over, closed in the log.

What must end is heard by announcement within milliseconds, and looked for every second; what nobody vouches for, the
database having been silent for 5 s, is cut (duty views excepted: the owner keeps watching).
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from uuid import UUID

from app import clock
from app.announcements import Announcements
from app.database import LOST, Database
from app.errors import Refusal
from app.streams import duties, limits, reconcile, views
from app.streams.embedded.channels import Channel
from app.streams.embedded.player import Player
from app.streams.grants import RENEWED
from app.streams.late import AWAY_SECONDS, Late
from app.streams.reconcile import Heart
from app.streams.urls import Pass
from app.streams.views import Asking, Carrier, Ending, Opened, Permit
from app.streams.writer import Writer

log = logging.getLogger("gwanje.edge")

SWEEP_SECONDS = 0.25
RECHECK_SECONDS = 1.0
SILENCE_SECONDS = 5.0
MARK_SECONDS = 30.0  # so often it is spooled that duty views go on
HLS_IDLE_SECONDS = 12.0
MOST_HEARD = 1000


class Running:
    """Who plays here."""

    def __init__(
        self, database: Database, writer: Writer, news: Announcements, carrier: Carrier, late: Late
    ) -> None:  # fmt: skip
        self._database, self._writer, self._news, self._carrier, self.late = database, writer, news, carrier, late
        self._heart = Heart(database, writer, carrier.node)
        self._marked_at = 0.0
        self._players: set[Player] = set()
        self._handed: set[Player] = set()
        self._formerly: dict[tuple[UUID, UUID], Player] = {}
        self._working: set[asyncio.Task[None]] = set()
        self._recheck_now = asyncio.Event()
        self._heard: deque[Callable[[], None]] = deque(maxlen=MOST_HEARD)
        self._heard_count = 0
        self.stopping = False
        for topic, hear in (
            ("revoked", self._hear_revoked),
            (limits.CUT, self._hear_cut),
            (views.TAKEN_OVER, self._hear_taken_over),
            (duties.SIGNED_OVER, self._hear_signed_over),
        ):
            news.on(topic, partial(self._hear, hear))
        news.on("rights", lambda _: self._rights_changed())
        news.on(RENEWED, lambda _: self._recheck_now.set())

    def __len__(self) -> int:
        return len(self._players)

    def __iter__(self) -> Iterator[Player]:
        return iter(list(self._players))

    async def open(self, allowed: Permit, asking: Asking, channel: Channel, *, handed_over: bool = False) -> Player:
        """A player of the channel, its view opened and committed; it may have ended already when it comes back."""
        heard_before = self._heard_count
        with channel.held():  # the pull must not linger away while the view is being opened
            if allowed.remembered:
                view = await self.late.opened(allowed, asking)
            else:
                view = await views.open(
                    self._writer, allowed.ticket, asking, self._carrier, handed_over=handed_over
                )  # fmt: skip
            player = Player(view, channel)
        self.late.confirmed(view)
        if view.spooled:  # what a newer player of the same URL announces otherwise
            self.end_where(lambda other: other.key == player.key, "replaced")
        self._players.add(player)
        player.ended.add_done_callback(lambda ended: self._close(player, ended.result()))
        self._hear_again(heard_before)
        if channel.lost:
            player.end("camera_lost")
        if self.stopping:
            player.end("server_stopped")
        return player

    def remember(self, key: tuple[UUID, UUID], player: Player) -> None:
        """A URL of the shift before led to this player: its next request finds it again."""
        if player.key[:2] != key:
            self._formerly[key] = player

    def hls(self, key: tuple[UUID, UUID]) -> Player | None:
        """Who plays HLS under this grant and camera, or played under it before the console was signed over."""
        found = self._formerly.get(key) or next(
            (player for player in self._players if player.key == (*key, "hls")), None
        )
        return found if found is not None and not found.ended.done() else None

    def end_where(self, condition: Callable[[Player], bool], cause: str) -> None:
        for player in self:
            if condition(player):
                player.end(cause)

    def later(self, work: Coroutine[None, None, None]) -> None:
        """Have it done beside what is being answered; a stop waits for it a little."""
        task = asyncio.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def stop(self) -> None:
        """Cut everybody, and see every view closed in the log."""
        self.stopping = True
        self.end_where(lambda _: True, "server_stopped")
        if self._working:
            await asyncio.wait(set(self._working), timeout=4)

    # Closing

    def _close(self, player: Player, cause: str) -> None:
        self._players.discard(player)
        self._formerly = {key: one for key, one in self._formerly.items() if one is not player}
        self.later(self._record_close(player.view, Ending(cause, player.bytes, player.seconds, player.first_byte_at)))

    async def _record_close(self, view: Opened, ending: Ending) -> None:
        """Closing must reach the log: when the database does not answer, the local spool; both again until one does."""
        for attempt in range(60):
            away = self.stopping or attempt > 0 or self._news.silent_seconds() > AWAY_SECONDS
            for close in (
                (partial(views.close, self._writer), self.late.closed)
                if away
                else (partial(views.close, self._writer),)
            ):
                with suppress(Refusal):
                    await close(view, ending)
                    return
            await asyncio.sleep(min(0.5 * 2**attempt, 10))
        log.error("a view could not be closed in the log", extra={"view_id": str(view.id)})

    # What is heard

    def _hear(self, hearer: Callable[[str], None], message: str) -> None:
        self._heard.append(partial(hearer, message))
        self._heard_count += 1
        hearer(message)

    def _hear_again(self, since: int) -> None:
        """What was said while a view was being opened concerns its player as well."""
        missed = self._heard_count - since
        if missed > MOST_HEARD:
            self._recheck_now.set()
        for hear in list(self._heard)[len(self._heard) - min(missed, len(self._heard)) :]:
            hear()

    def _hear_revoked(self, message: str) -> None:
        what, _, name = message.partition(" ")
        field = {"session": "session_id", "user": "user_id", "agreement": "agreement_id"}.get(what)
        if what == "grant":
            self.end_where(lambda player: str(player.ticket.grant_id) == name, "revoked")
            self.late.over(lambda permit: str(permit.ticket.grant_id) == name)
        elif field is not None:
            self.end_where(lambda player: str(player.view.permit.facts[field]) == name, "revoked")
            self.late.over(lambda permit: str(permit.facts[field]) == name)
        else:
            self.late.over(lambda _: True)
            self._recheck_now.set()

    def _hear_cut(self, message: str) -> None:
        view_id, _, rest = message.partition(" ")
        cause = rest.partition(" ")[0]
        if cause:
            self.end_where(lambda player: str(player.view.id) == view_id, cause)
        else:
            self._recheck_now.set()

    def _hear_taken_over(self, message: str) -> None:
        if not message:
            return
        *key, view_id, at = message.split(" ")
        newer = (datetime.fromisoformat(at), UUID(view_id))  # of two that were opened at once, one goes on
        self.end_where(
            lambda player: list(map(str, player.key)) == key and (player.view.at, player.view.id) < newer, "replaced"
        )

    def _hear_signed_over(self, message: str) -> None:
        """The next person took the console over: what runs there goes on, under the new duty and as a new view."""
        if not message:
            self._recheck_now.set()
            return
        old_id, new_id, at = message.split(" ")
        self.late.over(lambda permit: str(permit.ticket.grant_id) == old_id)
        for player in [player for player in self if str(player.ticket.grant_id) == old_id]:
            ticket = replace(player.ticket, grant_id=UUID(new_id), grant_at=datetime.fromisoformat(at))
            self.later(self._hand_over(player, ticket))

    async def _hand_over(self, player: Player, ticket: Pass) -> None:
        if player in self._handed:
            return
        self._handed.add(player)
        try:
            await self._hand_over_once(player, ticket)
        finally:
            self._handed.discard(player)

    async def _hand_over_once(self, player: Player, ticket: Pass) -> None:
        if player.ticket.grant_id == ticket.grant_id:
            return
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
        self.late.confirmed(view)
        self._formerly[(old.permit.ticket.grant_id, old.permit.ticket.camera_id)] = player
        await self._record_close(old, before)

    def _rights_changed(self) -> None:
        self.late.over(lambda _: True)
        self._recheck_now.set()

    # What is looked for

    async def watch(self) -> None:
        """Cut what is over, for as long as the process runs."""
        checked_at = clock.monotonic()
        beating = asyncio.create_task(self._beat())
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(clock.until_beat(SWEEP_SECONDS)):
                        await self._recheck_now.wait()
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
        for player in self:
            if player.deadline < now:
                player.end("expired")
            elif player.view.protocol == "hls" and player.touched_at + HLS_IDLE_SECONDS < now:
                player.end("client")
        if self._news.silent_seconds() > SILENCE_SECONDS:
            self.end_where(lambda player: not player.is_duty, "unvouched")
            if now - self._marked_at >= MARK_SECONDS:
                self._marked_at = now
                self.later(self._mark())
        elif self._marked_at:
            self._marked_at = 0.0
            self.late.back()

    async def _mark(self) -> None:
        """Owners watch on, as long as that can be written down at least here."""
        going_on = [player for player in self._players if not player.ended.done()]
        try:
            if going_on:
                await self.late.going_on((player.view, player.bytes) for player in going_on)
        except Refusal as refusal:
            log.warning("%s: duty views end", refusal.detail)
            self.end_where(lambda player: player in going_on, "unvouched")

    async def _recheck(self) -> None:
        """Ask for every running view whether it may go on."""
        players = list(self._players)
        if not players:
            return
        asked_of = [player.ticket for player in players]
        async with self._database.bare.acquire(timeout=1) as connection:
            left = await reconcile.still_permitted(connection, asked_of)
            over = [
                player.ticket for player, seconds in zip(players, left, strict=True)
                if seconds is None and player.is_duty
            ]  # fmt: skip
            followed = {ticket: await duties.following(connection, ticket) for ticket in over}
        for player, ticket, seconds in zip(players, asked_of, left, strict=True):
            if player.ticket is not ticket or player.ended.done():
                continue  # handed over, or gone, meanwhile
            if seconds is None and (next_pass := followed.get(ticket)) is not None:
                self.later(self._hand_over(player, next_pass))
            elif seconds is None:
                player.end("expired" if player.deadline < clock.monotonic() + 1 else "revoked")
            else:
                player.deadline = clock.monotonic() + seconds

    async def _beat(self) -> None:
        """Say that this process lives, and close the views of those that died."""
        while True:
            try:
                if orphans := await self._heart.beat():
                    log.warning("closed %d views of processes that died", orphans)
            except (*LOST, Refusal) as error:
                log.warning("no sign of life could be given: %s", type(error).__name__)
            await clock.beat(reconcile.BEAT_SECONDS)
