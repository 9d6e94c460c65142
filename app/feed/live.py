"""The live feed of one process: each batch is read once, each event framed once, and written to whom it concerns.

A member listens first and is then brought up to date from the log, under today's rights, until it has caught up with
the process; the switch to live happens between two awaits, so nothing is missed, repeated or out of order.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID

from app import clock, ledger
from app.access import rights, sessions
from app.access.rights import Scope
from app.actor import Actor
from app.announcements import Announcements
from app.database import LOST, Database
from app.errors import Refusal
from app.fanout import FEED_LIMIT, Listener, text_frame
from app.feed import messages
from app.feed.positions import Positions
from app.feed.subscriptions import Subscription
from app.keys import Keys

log = logging.getLogger("gwanje.feed")

BATCH = 1000
ABREAST_SECONDS = 5.0  # how long a process may lag behind another, from which a client comes
CATCH_UP_BYTES = 256 * 1024  # while catching up, wait for the socket beyond this
EVERYWHERE: Any = None


class Member:
    """One greeted client: who it is, what it may see, what it wants, and the connection it hears on."""

    def __init__(self, actor: Actor, scopes: Sequence[Scope], listener: Listener, *, framed: bool) -> None:
        self.actor = actor
        self.scopes = tuple(scopes)
        self.listener = listener
        self.subscriptions: dict[str, Subscription] = {}
        self.live: set[str] = set()  # subscriptions that have caught up
        self.delivered = 0
        self.reached: int | None = None  # how far it has been brought up to date; None: as far as the process
        self.refreshing = asyncio.Lock()
        self.ended: asyncio.Future[Refusal | str] = asyncio.get_running_loop().create_future()
        self._framed = framed

    def say(self, payload: bytes) -> bool:
        """Write one message of this member's own."""
        return self.listener.write(text_frame(payload) if self._framed else payload)

    def hand(self, frame: bytes, payload: bytes) -> None:
        """Write an event that was framed once for all."""
        if self.listener.write(frame if self._framed else payload):
            self.delivered += 1

    def may_see(self, event: Mapping[str, Any], now: datetime) -> bool:
        """The member's rights to an event: within one of its scopes; a restricted one only for the owner's people."""
        owner = event["owner_agency_id"]
        if event["restriction"] and owner not in self.actor.acts_for_ids:
            return False
        areas, purposes = event["area_ids"], event["installation_purposes"]
        return any(scope.admits(owner, areas, purposes, now) for scope in self.scopes)

    def end(self, why: Refusal | str) -> None:
        """The conversation is over; nothing more is written."""
        if not self.ended.done():
            self.ended.set_result(why)


class Feed:
    """All members of this process, found by (area, kind) of what they want."""

    def __init__(self, database: Database, news: Announcements, keys: Keys) -> None:
        self._database = database
        self._keys = keys
        self._wanted = asyncio.Event()
        self._rights_changed = asyncio.Event()
        self._index: dict[tuple[UUID | None, str | None], dict[Member, int]] = {}
        self._arrived = asyncio.Condition()
        self.members: set[Member] = set()
        self.position = 0
        self.positions = Positions(keys, 0)
        news.on("ledger", lambda _: self._wanted.set())
        news.on("rights", lambda _: self._rights_changed.set())
        news.on("revoked", self._hear_revoked)
        news.on(
            sessions.SIGNED_OFF, lambda session_id: self._hear_revoked(f"session {session_id}" if session_id else "")
        )
        news.on("cut", self._hear_cut)

    async def start(self) -> None:
        """Begin at the end of the log."""
        async with self._database.begin() as session:
            head = await ledger.head(session, ledger.EVENTS)
        self.position, self.positions = head.position, Positions(self._keys, head.epoch)

    async def run(self) -> None:
        """Read what is new, once, and hand it on; a tick of a second is the safety net of a lost announcement."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), 1.0)
            self._wanted.clear()
            try:
                while await self._read_batch() == BATCH:
                    pass
                if self._rights_changed.is_set():
                    self._rights_changed.clear()
                    await self._refresh_rights()
            except LOST as error:
                self._rights_changed.set()
                log.warning("the feed waits for the database: %s", type(error).__name__)
                await asyncio.sleep(0.5)
            self._expire()

    async def _read_batch(self) -> int:
        async with self._database.bare.acquire() as connection:
            rows = await ledger.read(connection, ledger.EVENTS, self.position, BATCH)
        now = clock.now()
        for row in rows:
            self._hand_out(row, now)
            self.position = row["position"]
        if rows:
            async with self._arrived:
                self._arrived.notify_all()
        return len(rows)

    def _hand_out(self, row: Mapping[str, Any], now: datetime) -> None:
        members = self._concerned(row)
        if not members:
            return
        payload = messages.event(self.positions.write(row["position"]), row)
        frame = text_frame(payload)
        for member in members:
            if any(member.subscriptions[name].wants(row) for name in member.live) and member.may_see(row, now):
                member.hand(frame, payload)

    def _concerned(self, row: Mapping[str, Any]) -> list[Member]:
        kind = row["kind"]
        kinds = (None, kind, kind.partition(".")[0] + ".*")
        found: dict[Member, None] = {}
        for area in (None, *row["area_ids"]):
            for name in kinds:
                found.update(dict.fromkeys(self._index.get((area, name), ())))
        return list(found)

    # Joining and leaving

    def join(self, actor: Actor, scopes: Sequence[Scope], transport: Any, *, framed: bool) -> Member:
        """Take a greeted client in. It hears nothing before it subscribes."""
        listener = Listener(transport, FEED_LIMIT, lambda: member.end("behind"))
        member = Member(actor, scopes, listener, framed=framed)
        self.members.add(member)
        return member

    def leave(self, member: Member) -> None:
        for subscription in list(member.subscriptions.values()):
            self.unsubscribe(member, subscription.id)
        self.members.discard(member)

    async def resume(self, position: str) -> int | None:
        """The number that a client's position stands for, once this process has come as far; None: resync.

        Another process may have handed out a position that this one has not read yet; the log itself decides.
        """
        number = self.positions.read(position)
        if number is not None and number > self.position:
            async with self._database.begin() as session:
                head = await ledger.head(session, ledger.EVENTS)
            if number > head.position:
                return None
            self._wanted.set()
            await self._more_than(number - 1, ABREAST_SECONDS)
        return number

    async def subscribe(self, member: Member, subscription: Subscription, after: int | None) -> None:
        """From `after` (None: from now) on, everything that is wanted and permitted, then live without a gap.

        What another live subscription of this member has already brought is not sent a second time.
        """
        self.unsubscribe(member, subscription.id)
        member.subscriptions[subscription.id] = subscription
        cursor = self.position if after is None else min(after, self.position)
        brought = [member.subscriptions[name] for name in member.live]
        while cursor < self.position and not member.ended.done():
            member.reached = cursor
            cursor = await self._catch_up(member, subscription, cursor, brought)
        if member.ended.done():
            return
        # No await between the last comparison and this: from here on the subscription is live.
        member.reached = None
        member.live.add(subscription.id)
        for key in _index_keys(subscription):
            wishes = self._index.setdefault(key, {})
            wishes[member] = wishes.get(member, 0) + 1

    async def _catch_up(
        self, member: Member, subscription: Subscription, cursor: int, brought: Sequence[Subscription]
    ) -> int:
        until = self.position
        async with self._database.bare.acquire() as connection:
            rows = await ledger.read(connection, ledger.EVENTS, cursor, BATCH)
        now = clock.now()
        for row in rows:
            if row["position"] > until:
                return until
            cursor = row["position"]
            if (
                subscription.wants(row)
                and not any(other.wants(row) for other in brought)
                and member.may_see(row, now)
            ):  # fmt: skip
                while member.listener.transport.get_write_buffer_size() > CATCH_UP_BYTES and not member.ended.done():  # noqa: ASYNC110 - no event tells
                    await asyncio.sleep(0.01)  # a reader of years gone by reads at its own speed
                payload = messages.event(self.positions.write(cursor), row)
                member.hand(text_frame(payload), payload)
            member.reached = cursor
        return cursor if rows else until

    def unsubscribe(self, member: Member, name: str) -> None:
        subscription = member.subscriptions.pop(name, None)
        if subscription is None or name not in member.live:
            return
        member.live.discard(name)
        for key in _index_keys(subscription):
            wishes = self._index.get(key, {})
            wishes[member] = wishes.get(member, 1) - 1
            if wishes[member] <= 0:
                wishes.pop(member)
            if not wishes:
                self._index.pop(key, None)

    # Rights that change while somebody listens

    def _hear_revoked(self, message: str) -> None:
        what, _, name = message.partition(" ")
        for member in list(self.members):
            actor = member.actor
            if (what == "session" and str(actor.session_id) == name) or (what == "user" and str(actor.user_id) == name):
                self._dismiss(member, "session_ended")
        if not what:
            self._rights_changed.set()
        self._wanted.set()

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
        """Out of the index in this very tick: not one event more."""
        self.leave(member)
        member.end(why)

    async def _refresh_rights(self) -> None:
        for member in list(self.members):
            try:
                await self.refresh(member)
            except Refusal:
                self._dismiss(member, "session_ended")

    async def refresh(self, member: Member) -> None:
        """Read who a member is and what it may see as of now; refuses when its session is over."""
        async with member.refreshing, self._database.begin() as session:
            member.actor = await sessions.of_session(session, member.actor.session_id, member.actor.address)
            member.scopes = tuple(await rights.scopes(session, member.actor, "locate"))

    # For clients without sockets

    async def since(
        self,
        actor: Actor,
        scopes: Sequence[Scope],
        subscription: Subscription,
        after: int,
        *,
        wait_seconds: float,
        limit: int,
    ) -> tuple[list[dict[str, Any]], int]:
        """Events after a number that are wanted and permitted, and the number to go on from; waits for one if asked."""
        deadline = clock.monotonic() + wait_seconds
        viewer = Member(actor, scopes, Listener(_NOWHERE, 0, lambda: None), framed=False)
        found: list[dict[str, Any]] = []
        cursor = min(after, self.position)
        while True:
            while cursor < self.position and len(found) < limit:
                async with self._database.bare.acquire() as connection:
                    rows = await ledger.read(connection, ledger.EVENTS, cursor, BATCH)
                now = clock.now()
                for row in rows:
                    cursor = row["position"]
                    if subscription.wants(row) and viewer.may_see(row, now):
                        found.append({"position": self.positions.write(cursor), "event": messages.cloud_event(row)})
                        if len(found) >= limit:
                            break
                if not rows:
                    break
            left = deadline - clock.monotonic()
            if found or left <= 0:
                return found, cursor
            await self._more_than(cursor, left)

    async def _more_than(self, position: int, seconds: float) -> None:
        """Wait until there is something after a position, or the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._arrived:
                await self._arrived.wait_for(lambda: self.position > position)


def _index_keys(subscription: Subscription) -> list[tuple[UUID | None, str | None]]:
    areas: Sequence[UUID | None] = list(subscription.area_ids) or [EVERYWHERE]
    kinds: Sequence[str | None] = list(subscription.kinds) or [None]
    return [(area, kind) for area in areas for kind in kinds]


class _Nowhere:
    def write(self, data: bytes) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return True

    def abort(self) -> None: ...


_NOWHERE = _Nowhere()
