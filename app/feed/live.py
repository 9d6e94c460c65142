"""The live feed of one process: each batch is read once, each event framed once, and written to whom it concerns.

A member listens first and is then brought up to date from the log, under today's rights, until it has caught up with
the process; the switch to live happens between two awaits, so nothing is missed, repeated or out of order.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from app import clock, ledger
from app.access import rights, sessions
from app.access.rights import Scope
from app.actor import Actor
from app.announcements import Announcements
from app.database import LOST, Database
from app.errors import NotFound
from app.fanout import FEED_LIMIT, Outbox
from app.feed import board, history, messages
from app.feed.history import BATCH, Recent, Told
from app.feed.members import Crowds, Member, Viewer, taken
from app.feed.positions import Positions
from app.feed.subscriptions import Near, Subscription, Whereabouts, names_of, nowhere
from app.keys import Keys

log = logging.getLogger("gwanje.feed")

ABREAST_SECONDS = 5.0  # how long a process may lag behind another, from which a client comes
CATCH_UP_BYTES = 256 * 1024  # while catching up, wait for the socket beyond this
KEEP_SECONDS = 0.25
HEARTBEAT_SECONDS = 10
SILENT_SECONDS = 1.5  # without news from the database, rights are read again and again
TAKEN_SECONDS = 0.002  # what was written here is announced before or after that is known here
REREAD_SECONDS = 60.0  # rights are read anew, whatever was or was not announced
PER_SNAPSHOT = 200  # events in one message
MOST_AT_ONCE = 256 * 1024  # bytes of events that are written in one go, a part of what may wait for a listener


class Feed:
    """All members of this process. `whereabouts` tells where a unit is; until somebody knows, nowhere."""

    def __init__(self, database: Database, news: Announcements, keys: Keys) -> None:
        self._database = database
        self._news = news
        self._keys = keys
        self._wanted = asyncio.Event()
        self._rights_changed = asyncio.Event()
        self._reread_at = clock.monotonic()
        self._arrived = asyncio.Condition()
        self._crowds = Crowds()
        self._outbox = Outbox()
        self._recent = Recent(0)
        self._beats: dict[Member, float] = {}
        self.whereabouts: Whereabouts = nowhere
        self.is_written_to: Callable[[], bool] = lambda: False
        """Whether this process is writing events that it will be given to `take`."""
        self.members: set[Member] = set()
        self._end = 0  # of the log, as last heard of
        self._numbered: ledger.Rows = []
        self.position = 0  # of the last event that was handed out
        self.written = 0  # everything up to here has been written; what comes after may still be on its way
        self.positions = Positions(keys, 0)
        news.on("ledger", self._hear_ledger)
        news.ask(ledger.EVENTS.end, self._hear_end)
        news.on("rights", lambda _: self._hear_rights())
        news.on("revoked", self._hear_revoked)
        news.on(
            sessions.SIGNED_OFF, lambda session_id: self._hear_revoked(f"session {session_id}" if session_id else "")
        )
        news.on("cut", self._hear_cut)

    async def start(self) -> None:
        """Begin at the end of the log."""
        async with self._database.begin() as session:
            head = await ledger.head(session, ledger.EVENTS)
        self.position = self.written = head.position
        self.positions = Positions(self._keys, head.epoch)
        self._recent = Recent(head.position)

    async def run(self) -> None:
        """Read what is new, once, and hand it on."""
        keeping = asyncio.create_task(self._keep(), name="feed-keep")
        try:
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                try:
                    await self._reread_rights()
                    while self.position < self._end and await self._bring():
                        pass
                except LOST as error:
                    self._rights_changed.set()
                    self.look()
                    log.warning("the feed waits for the database: %s", type(error).__name__)
                    await asyncio.sleep(0.5)
        finally:
            keeping.cancel()

    async def _bring(self) -> bool:
        """Hand out what comes next, from the log unless it was numbered here just now; False when there is nothing."""
        rows, self._numbered = self._numbered, []
        if not rows or any(row["position"] != next_one for next_one, row in enumerate(rows, self.position + 1)):
            async with self._database.bare.acquire() as connection:
                rows = await ledger.read(connection, ledger.EVENTS, self.position, BATCH)
        for some in _slices(rows):
            self.hand_out(some)
            if len(some) < len(rows):
                await self._outbox.settled()
                await asyncio.sleep(0)  # whoever reads has read by then; who does not falls behind as ever
        if rows:
            async with self._arrived:
                self._arrived.notify_all()
        return bool(rows)

    def hand_out(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Give the next events of the log, in their order, to everybody whom they concern."""
        now, urgent = clock.now(), False
        if not self._outbox.busy:
            self.written = self.position
        for row in rows:
            told = Told(row, self.positions)
            urgent = urgent or told.urgent
            for crowd in self._crowds.found(row["area_ids"], names_of(row["kind"], row["regards_kind"])):
                if crowd.concerns(row, now, self.whereabouts):
                    self._outbox.put(crowd.group, told.frame(crowd.viewer.sight(row["owner_agency_id"])))
            self._recent.add(told)
            self.position = told.position
        self._outbox.send(urgent=urgent)

    async def _keep(self) -> None:
        """What time brings: sessions end, hearts beat. It does not wait for the database."""
        while True:
            await clock.beat(KEEP_SECONDS)
            self._expire()
            if self._news.silent_seconds() > SILENT_SECONDS or clock.monotonic() > self._reread_at + REREAD_SECONDS:
                self._hear_rights()
            await self._outbox.settled()
            if self._beats:
                self._beat()

    def _beat(self) -> None:
        """Tell members how far they were brought and how many events were delivered: proof that nothing was missed."""
        now, here = clock.monotonic(), self.positions.mark(self.position)
        for member, due in list(self._beats.items()):
            if due <= now:
                self._beats[member] = now + HEARTBEAT_SECONDS
                reached = here if member.reached is None else self.positions.mark(member.reached)
                member.say(
                    messages.encode({"type": "heartbeat", "position": reached, "delivered": member.listener.delivered})
                )

    # Joining and leaving

    def join(self, actor: Actor, scopes: Sequence[Scope], transport: Any) -> Member:
        """Take a greeted client in. It hears nothing before it subscribes."""
        member = Member(actor, scopes, transport, FEED_LIMIT)
        self.members.add(member)
        return member

    def welcome(self, member: Member) -> None:
        """From here on its heart beats."""
        self._beats[member] = clock.monotonic() + HEARTBEAT_SECONDS

    def leave(self, member: Member, last: bytes = b"") -> None:
        """Not one event more; `last` is a frame that is still written."""
        self._crowds.leave(member)
        self._beats.pop(member, None)
        self.members.discard(member)
        member.listener.leave(last)

    async def resume(self, position: str) -> tuple[int | None, str]:
        """The number that a client's position stands for, once this process has come as far; None and why: resync.

        Another process may have handed out a position that this one has not read yet; the log itself decides.
        """
        number = self.positions.read(position)
        if number is None:
            return None, "unknown_position"
        if number > self.position:
            async with self._database.begin() as session:
                head = await ledger.head(session, ledger.EVENTS)
            if number > head.position:
                return None, "unknown_position"
            self._wanted.set()
            await self.more_than(number - 1, ABREAST_SECONDS)
        elif self._recent.after(number) is None:
            async with self._database.bare.acquire() as connection:
                first = await connection.fetchval("SELECT min(position) FROM event_positions")
            if first is None or number < first - 1:
                return None, "too_old"
        return number, ""

    async def subscribe(
        self, member: Member, subscription: Subscription, after: int | None, *, snapshot: bool = False
    ) -> None:
        """From `after` (None: from now) on, everything that is wanted and permitted, then live without a gap.

        With a snapshot the state comes first, and what is later than it afterwards. What another live subscription of
        this member has already brought is not sent a second time.
        """
        self.know_unit(subscription.near)
        self.unsubscribe(member, subscription.id)
        member.subscriptions[subscription.id] = subscription
        cursor = self.position if after is None or snapshot else min(after, self.position)
        if snapshot:
            await self._tell_state(member, subscription, cursor)
        brought = [(other, member.since[name]) for name, other in member.live.items()]
        member.since[subscription.id] = cursor
        while cursor < self.position and not member.gone:
            member.reached = cursor
            cursor = await self._catch_up(member, subscription, cursor, brought)
        if member.gone or subscription.id not in member.subscriptions:
            return
        # No await between the last comparison and this: from here on the subscription is live.
        member.reached = None
        member.live[subscription.id] = subscription
        self._crowds.place(member)

    def know_unit(self, near: Near | None) -> None:
        """Refuse a circle around a unit that is nowhere."""
        if near is not None and near.unit_id is not None and self.whereabouts(near.unit_id) is None:
            raise NotFound("near.unit: the position of this unit is not known", field="near")

    async def _tell_state(self, member: Member, subscription: Subscription, until: int) -> None:
        async with self._database.bare.acquire() as connection:
            rows = list(await board.standing(connection, member, subscription, until, self.whereabouts))
        parts = [rows[start : start + PER_SNAPSHOT] for start in range(0, len(rows), PER_SNAPSHOT)] or [[]]
        position = self.positions.mark(until)
        for number, part in enumerate(parts, 1):
            await taken(member, CATCH_UP_BYTES)
            member.say(
                messages.encode(
                    {
                        "type": "snapshot",
                        "id": subscription.id,
                        "position": position,
                        "events": [messages.cloud_event(row, member.sight(row["owner_agency_id"])) for row in part],
                        "more": number < len(parts),
                    }
                )
            )

    async def _catch_up(
        self, member: Member, subscription: Subscription, cursor: int, brought: Sequence[tuple[Subscription, int]]
    ) -> int:
        """Send what is past from `cursor` on, from memory if it is recent; returns how far this has come."""
        until = self.position
        recent = self._recent.after(cursor)
        if recent is not None:
            now = clock.now()
            found = [
                told
                for told in recent
                if subscription.wants(told.row, self.whereabouts) and member.may_see(told.row, now)
            ]
        else:
            async with self._database.bare.acquire() as connection:
                rows, until = await history.read(
                    connection, member, subscription, cursor, until, whereabouts=self.whereabouts
                )
            found = [Told(row, self.positions) for row in rows]
        for told in found:
            if not any(told.position > since and other.wants(told.row, self.whereabouts) for other, since in brought):
                if member.listener.transport.get_write_buffer_size() > CATCH_UP_BYTES:
                    await taken(member, CATCH_UP_BYTES)
                if member.gone or not member.may_see(told.row, clock.now()):
                    continue
                member.listener.write(told.frame(member.sight(told.row["owner_agency_id"])), 1)
            member.reached = told.position
        return until

    def unsubscribe(self, member: Member, name: str) -> None:
        """Take a subscription back; nothing happens when there is none of that name."""
        member.subscriptions.pop(name, None)
        if member.live.pop(name, None) is not None:
            self._crowds.place(member)

    # Rights that change while somebody listens

    def take(self, rows: ledger.Rows) -> None:
        """These have been numbered here just now: what follows on what was handed out need not be read."""
        if rows:
            self._numbered = rows
            self._hear_end(rows[-1]["position"])

    def look(self) -> None:
        """There may be something new."""
        self._hear_end(self.position + 1)

    def _hear_ledger(self, message: str) -> None:
        name, _, end = message.partition(" ")
        if not name:
            self.look()
        elif name == ledger.EVENTS.name and not self.is_written_to():
            self._hear_end(int(end))
        elif name == ledger.EVENTS.name:  # perhaps of what is about to be taken
            asyncio.get_running_loop().call_later(TAKEN_SECONDS, self._hear_end, int(end))

    def _hear_end(self, end: int) -> None:
        if end > self.position:
            self._end = max(self._end, end)
            self._wanted.set()

    def _hear_rights(self) -> None:
        self._rights_changed.set()
        self._wanted.set()

    def _hear_revoked(self, message: str) -> None:
        what, _, name = message.partition(" ")
        for member in list(self.members):
            actor = member.actor
            if (what == "session" and str(actor.session_id) == name) or (what == "user" and str(actor.user_id) == name):
                self._dismiss(member, "session_ended")
        if not what:
            self._hear_rights()

    def _hear_cut(self, message: str) -> None:
        """A view had to end: who watched is told why, on the feed of the same session."""
        if not message:
            return
        view_id, cause, session_id, camera_id = message.split(" ")
        said = messages.encode({"type": "view_ended", "view_id": view_id, "camera_id": camera_id, "cause": cause})
        for member in list(self.members):
            if str(member.actor.session_id) == session_id:
                member.say(said)

    def _expire(self) -> None:
        now = clock.now()
        for member in list(self.members):
            if member.actor.expires_at <= now:
                self._dismiss(member, "session_ended")

    def _dismiss(self, member: Member, why: str) -> None:
        """Out of every crowd in this very tick: not one event more."""
        self.leave(member)
        member.end(why)

    async def _reread_rights(self) -> None:
        """Who everybody is and what they may see as of now, by two queries for all."""
        if not self._rights_changed.is_set():
            return
        self._rights_changed.clear()
        self._reread_at = clock.monotonic()
        await self._refresh(list(self.members))

    async def refresh(self, member: Member) -> None:
        """Read who a member is and what it may see as of now; its conversation ends when its session is over."""
        await self._refresh([member])

    async def _refresh(self, members: Sequence[Member]) -> None:
        async with self._database.begin() as session:
            actors = await sessions.as_they_stand(session, [member.actor for member in members])
            scopes = await rights.scopes_of(session, list(actors.values()), "locate")
        for member in members:
            actor = actors.get(member.actor.session_id)
            if actor is None or not actor.may("feed"):
                self._dismiss(member, "session_ended")
            else:
                member.actor, member.scopes = actor, scopes[actor.session_id]
                self._crowds.place(member)

    async def past(
        self, viewer: Viewer, subscription: Subscription, cursor: int, limit: int
    ) -> tuple[list[Mapping[str, Any]], int]:
        """Some events after a number that are wanted and permitted, and how far this has come."""
        recent = self._recent.after(cursor)
        if recent is None:
            async with self._database.bare.acquire() as connection:
                return await history.read(
                    connection, viewer, subscription, cursor, self.position, limit, self.whereabouts
                )
        now = clock.now()
        rows: list[Mapping[str, Any]] = []
        for told in recent:
            cursor = told.position
            if subscription.wants(told.row, self.whereabouts) and viewer.may_see(told.row, now):
                rows.append(told.row)
                if len(rows) == limit:
                    break
        return rows, cursor

    async def more_than(self, position: int, seconds: float) -> None:
        """Wait until there is something after a position, or the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._arrived:
                await self._arrived.wait_for(lambda: self.position > position)


def _slices(rows: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    """The rows in parts that weigh little enough to be written at once."""
    start, weight = 0, 0
    for number, row in enumerate(rows):
        weight += history.weight(row)
        if weight > MOST_AT_ONCE:
            yield rows[start : number + 1]
            start, weight = number + 1, 0
    if start < len(rows):
        yield rows[start:]
