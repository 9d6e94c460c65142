"""The webhooks of one process: what is new is compared with all of them, and couriers carry those with work.

The log is read once for all; a webhook that no event concerns costs a place in an index. Each live webhook is carried
by one process at a time (`leases`); what a dead one leaves is due as soon as its lease ends.
"""

import asyncio
import logging
from contextlib import suppress
from itertools import islice
from uuid import UUID

from sqlalchemy import select

from app import clock, ledger
from app.access import sessions
from app.announcements import Announcements
from app.database import LOST, Database
from app.errors import Refusal
from app.feed.positions import Positions
from app.feed.webhooks import addresses, leases
from app.feed.webhooks.courier import Courier, Means
from app.feed.webhooks.leases import LIVE, is_idle
from app.feed.webhooks.owners import Lost, Owners
from app.feed.webhooks.table import Entry, Table
from app.keys import Keys
from app.models import Webhook
from app.settings import Settings

log = logging.getLogger("gwanje.webhooks")

TICK_SECONDS = 1.0
MOST_COURIERS = 200
MOST_SLOW = 100  # of these, for receivers that took long the last time
MOST_RESCANNED = 50_000  # events that a fresh process compares again; what lags further is looked at one by one
KEEP_SECONDS = 60.0
IDLE_LAG = 1000  # positions of idle webhooks are written when they lag further than this
SETTLED_SECONDS = 2.0  # after which one who had a webhook when an event was numbered has seen that event
STOP_SECONDS = 2.0
SOON_SECONDS = 5.0  # what is due so soon is not left to the tick
SPREAD_SECONDS = 0.02  # news that comes thicker than this is taken together
BREATH_SECONDS = 0.005


class Webhooks:
    """Delivers for as long as `run` runs. `node` names this process, and no other that lives."""

    def __init__(self, database: Database, keys: Keys, settings: Settings, news: Announcements, node: str) -> None:
        self._database, self._keys, self._node = database, keys, node
        self._allowed = addresses.allowed_by(settings)
        self._reading = asyncio.Semaphore(2)
        self._owners = Owners(database, self._reading)
        self._table = Table(self._owners)
        self._couriers: dict[UUID, tuple[Courier, asyncio.Task[None]]] = {}
        self._scanned = 0
        self._kept_at = self._due_at = float("-inf")
        self._means: Means | None = None
        self._wanted = asyncio.Event()
        self._rights_changed = self._fresh_first = False
        self._changed: set[UUID] = set()
        self._all_changed = True
        news.on("ledger", self._hear_ledger)
        news.on("rights", self._hear_rights)
        news.on(sessions.REVOKED, self._hear_revoked)
        news.on(leases.CHANGED, self._hear_changed)

    async def run(self) -> None:
        """Until cancelled; then what this process has is given back, so that others go on at once."""
        renewing = asyncio.create_task(self._renew(), name="webhooks-renew")
        try:
            while True:
                try:
                    await self._round()
                except LOST as error:
                    self._all_changed = True
                    self._wanted.set()
                    log.warning("webhooks wait for the database: %s", type(error).__name__)
                    await asyncio.sleep(0.5)
                except Exception:
                    self._all_changed = True
                    self._wanted.set()
                    log.exception("a round of webhooks failed")
                    await asyncio.sleep(TICK_SECONDS)
                await asyncio.sleep(SPREAD_SECONDS)
                with suppress(TimeoutError):
                    async with asyncio.timeout(
                        TICK_SECONDS if self._table.entries else None
                    ):  # `wait_for` of Python 3.11 may lose a cancellation
                        await self._wanted.wait()
                self._wanted.clear()
        finally:
            renewing.cancel()
            await self._stop()

    async def _stop(self) -> None:
        tasks = [task for _, task in self._couriers.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_SECONDS)
        with suppress(TimeoutError, *LOST):
            async with asyncio.timeout(STOP_SECONDS):
                async with self._database.begin() as session:
                    await leases.release_all(session, self._node)
                    await leases.advance(session, self._at_rest(), self._scanned, 0)

    # What is heard: it only wakes

    def _hear_ledger(self, message: str) -> None:
        if message.partition(" ")[0] in ("", ledger.EVENTS.name) and self._table.entries:
            self._wanted.set()

    def _hear_rights(self, _message: str) -> None:
        self._rights_changed = True
        self._owners.doubt()
        self._wanted.set()

    def _hear_revoked(self, message: str) -> None:
        if message.partition(" ")[0] in ("", "user"):  # ended sessions and grants are not a webhook's concern
            self._hear_rights(message)

    def _hear_changed(self, message: str) -> None:
        self._wanted.set()
        try:
            changed = UUID(message)
        except ValueError:
            self._all_changed = True
            return
        self._changed.add(changed)
        if changed in self._couriers:  # whoever changed it has taken its lease away
            self._couriers[changed][0].held_until = float("-inf")

    # One round

    async def _round(self) -> None:
        await self._read_changed()
        if not self._table.entries:
            return
        await self._keep()
        await self._scan()
        await self._settle()
        await self._claim()

    async def _read_changed(self) -> None:
        changed, everything = self._changed, self._all_changed
        if not changed and not everything:
            return
        self._changed, self._all_changed = set(), False
        try:
            query = select(Webhook).where(*LIVE)
            async with self._database.begin() as session:
                head = await ledger.head(session, ledger.EVENTS)
                rows = (
                    await session.scalars(query if everything else query.where(leases.among(Webhook.id, changed)))
                ).all()
        except BaseException:
            self._all_changed = True
            raise
        if not self._table.entries:
            idle = [row.position for row in rows if is_idle(row.next_at)]
            self._scanned = max(min(idle, default=head.position), head.position - MOST_RESCANNED)
        self._means = Means(
            self._database, self._keys, self._owners, self._allowed, Positions(self._keys, head.epoch), self._node,
            self._reading,
        )  # fmt: skip
        for gone in (set(self._table.entries) if everything else changed) - {row.id for row in rows}:
            self._table.drop(gone)
        for row in rows:
            self._table.put(row, self._scanned)
        self._rights_changed = True

    async def _keep(self) -> None:
        """Read everybody's rights again when they have changed, and now and then; and write how far the idle are."""
        is_due = clock.monotonic() > self._kept_at + KEEP_SECONDS
        if not is_due and not self._rights_changed:
            return
        self._rights_changed = False
        entries = self._table.entries.values()
        try:
            await self._owners.refresh({entry.appointment_id for entry in entries})
            if is_due:
                async with self._database.begin() as session:
                    await leases.advance(session, self._at_rest(), self._scanned, IDLE_LAG)
                self._kept_at = clock.monotonic()
        except BaseException:
            self._rights_changed = True
            raise
        for entry in entries:
            self._owe_the_lost(entry)

    def _owe_the_lost(self, entry: Entry) -> None:
        """A webhook in whose name nothing may be told gets a courier, who finds out and says so."""
        if isinstance(self._owners.known(entry.appointment_id), Lost):
            self._table.owe(entry, entry.position + 1, entry.position + 1)

    def _at_rest(self) -> list[UUID]:
        return [name for name in self._table.entries if name not in self._table.owed and name not in self._couriers]

    async def _scan(self) -> None:
        """Compare what is new in the log with everybody's wishes."""
        while True:
            async with self._reading, self._database.bare.acquire() as connection:
                rows = await ledger.read(connection, ledger.EVENTS, self._scanned)
            now, breath = clock.now(), clock.monotonic() + BREATH_SECONDS
            for row in rows:
                self._table.scan(row, now)
                self._scanned = row["position"]
                if clock.monotonic() > breath:
                    await asyncio.sleep(0)
                    breath = clock.monotonic() + BREATH_SECONDS
            if len(rows) < ledger.BATCH:
                return

    async def _settle(self) -> None:
        """Of the webhooks that another process was quicker to take: is everything done, or must we?"""
        now = clock.monotonic()
        doubtful = {
            entry.id: entry for entry in self._table.owed.values() if entry.elsewhere and entry.not_before <= now
        }
        if not doubtful:
            return
        async with self._reading, self._database.begin() as session:
            rows = (
                await session.execute(
                    select(Webhook.id, Webhook.position, Webhook.next_at).where(leases.among(Webhook.id, doubtful))
                )
            ).all()
        for row in rows:
            entry = doubtful[row.id]
            entry.not_before = now + TICK_SECONDS
            if row.position >= entry.last_wanted:
                entry.done(row.position)
                self._table.owed.pop(entry.id, None)
            elif is_idle(row.next_at):
                entry.elsewhere = False
            elif now - entry.wanted_at > SETTLED_SECONDS:
                # Whoever has it now, or takes it when it is due, has the event before its eyes.
                self._table.owed.pop(entry.id, None)

    async def _claim(self) -> None:
        """Take what is owed and what is due. Where there is not room for all, neither kind starves the other."""
        self._fresh_first = not self._fresh_first
        for take in (self._take_owed, self._take_due) if self._fresh_first else (self._take_due, self._take_owed):
            if (room := MOST_COURIERS - len(self._couriers)) > 0:
                await take(room)

    async def _take_owed(self, room: int) -> None:
        held_back = self._held_back()
        going = (entry for entry in self._table.owed.values() if not entry.elsewhere and entry.id not in held_back)
        owed = list(islice(going, room))
        if not owed:
            return
        async with self._reading, self._database.begin() as session:
            found = await leases.claim_idle(session, self._node, [entry.id for entry in owed])
        for webhook in found:
            entry = self._table.entries.get(webhook.id)
            self._send(webhook, entry.first_wanted - 1 if entry else 0)
        for entry in owed:
            if entry.id not in self._couriers:
                entry.elsewhere, entry.not_before = True, clock.monotonic() + TICK_SECONDS

    async def _take_due(self, room: int) -> None:
        now = clock.monotonic()
        if now < self._due_at:
            return
        async with self._reading, self._database.begin() as session:
            found = await leases.claim_due(session, self._node, self._held_back(), room)
        self._due_at = now + TICK_SECONDS if len(found) < room else now
        for webhook in found:
            self._send(webhook, 0)

    def _held_back(self) -> set[UUID]:
        """Those whose turn it is not: carried here already, or slow while enough of the slow are."""
        names = set(self._couriers)
        slow = sum((entry := self._table.entries.get(name)) is not None and entry.slow for name in names)
        if slow >= MOST_SLOW:
            names |= {entry.id for entry in self._table.entries.values() if entry.slow}
        return names

    def _send(self, webhook: Webhook, start: int) -> None:
        assert self._means is not None
        courier = Courier(self._means, webhook, start, self._scanned)
        self._couriers[webhook.id] = (courier, asyncio.create_task(self._carry(courier), name="webhook"))
        if (entry := self._table.entries.get(webhook.id)) is not None:
            entry.elsewhere = False

    async def _carry(self, courier: Courier) -> None:
        """One turn of one webhook. Whatever goes wrong, the lease ends and somebody takes it up again."""
        name, done = courier.webhook.id, None
        try:
            done = await courier.run(lambda: len(self._couriers) >= MOST_COURIERS)
        except (*LOST, Refusal) as error:
            log.warning("a webhook waits: %s", type(error).__name__, extra={"webhook": str(name)})
        except Exception:
            log.exception("a webhook's courier failed", extra={"webhook": str(name)})
        finally:
            del self._couriers[name]
        if (entry := self._table.entries.get(name)) is None:
            return
        entry.slow = courier.is_slow
        if done is None:
            entry.elsewhere, entry.not_before = True, clock.monotonic() + TICK_SECONDS
            if courier.wait_seconds is not None and courier.wait_seconds < SOON_SECONDS:
                asyncio.get_running_loop().call_later(courier.wait_seconds, self._look_for_due)
            return
        if entry.done(done):
            self._table.owed.pop(name, None)
        else:
            self._table.owed[name] = entry
        self._owe_the_lost(entry)  # it may have lost its rights when its courier had already asked for them
        if name in self._table.owed:
            self._wanted.set()

    def _look_for_due(self) -> None:
        self._due_at = float("-inf")
        self._wanted.set()

    async def _renew(self) -> None:
        """Prolong the leases of those that are being carried; whose lease is lost sends nothing more."""
        while True:
            await asyncio.sleep(leases.RENEW_SECONDS)
            couriers = {name: courier for name, (courier, _) in self._couriers.items()}
            if not couriers:
                continue
            asked_at = clock.monotonic()
            try:
                async with self._database.begin() as session:
                    held = await leases.renew(session, self._node, couriers)
            except LOST as error:
                log.warning("leases of webhooks could not be renewed: %s", type(error).__name__)
                continue
            for name, courier in couriers.items():
                courier.held_until = asked_at + leases.held_seconds() if name in held else float("-inf")
