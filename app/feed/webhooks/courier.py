"""Carrying one webhook's events to its receiver, one after the other, under the rights of each moment.

An event is sent until it is taken (2xx), its receiver is gone (410), or a day has passed: then it is a dead letter and
the next one's turn. How far this has come is written after each few, so that a crash repeats no more than these.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from app import clock, ledger
from app.audit import entries
from app.database import LOST, Database
from app.errors import Refusal, UnsafeSource
from app.events import record
from app.events.report import Report
from app.feed import history, messages
from app.feed.members import Viewer
from app.feed.positions import Positions
from app.feed.webhooks import addresses, leases, posting, signing
from app.feed.webhooks.addresses import Allowed
from app.feed.webhooks.leases import FREE, IDLE, LeaseLost
from app.feed.webhooks.owners import Lost, Owners
from app.feed.webhooks.posting import GONE, Answer
from app.feed.webhooks.table import subscription_of
from app.ids import new_id
from app.keys import Keys
from app.models import Agency, DeadLetter, Webhook
from app.registry.addresses import Source

log = logging.getLogger("gwanje.webhooks")

SOURCE = "gwanje/webhooks"
CONTENT_TYPE = "application/cloudevents+json"
PAGE = 20
MOST_COMPARED = 20_000  # events of the log that one statement looks at, for who rested for weeks
WRITE_EVERY, WRITE_SECONDS = 8, 0.5
TURN_SECONDS = 5.0  # then others are let in, if any wait
SLOW_MILLISECONDS = 1000


@dataclass(frozen=True, slots=True)
class Means:
    """What all couriers of a process share."""

    database: Database
    keys: Keys
    owners: Owners
    allowed: Allowed
    positions: Positions
    node: str
    reading: asyncio.Semaphore
    """Of the few connections of a process, couriers together use no more than these."""


@dataclass(frozen=True, slots=True)
class Way:
    """Where a webhook's messages go and what signs them, opened."""

    target: Source
    allowed: Allowed
    webhook: Webhook
    keys: Keys

    async def send(self, message_id: str, body: bytes) -> Answer:
        """Send one message, signed now."""
        now = clock.now()
        secrets = signing.secrets_of(self.keys, self.webhook, now)
        headers = {"Content-Type": CONTENT_TYPE} | signing.headers(secrets, message_id, now, body)
        return await posting.post(self.target, self.allowed, headers, body)


def way_to(webhook: Webhook, keys: Keys, allowed: Allowed) -> Way:
    """The way to a receiver. Raises UnsafeSource (no longer allowed) or ValueError (sealed with another key)."""
    return Way(addresses.target(signing.url_of(keys, webhook), allowed), allowed, webhook, keys)


def body_of(row: Mapping[str, Any], viewer: Viewer, positions: Positions) -> bytes:
    """An event as a message: what its owner may see of it, with its position."""
    event = messages.cloud_event(row, viewer.sight(row["owner_agency_id"]))
    return orjson.dumps(event | {"position": positions.write(row["position"])})


class Courier:
    """One process's turn with one webhook. `held_until` is when its lease ends unless it is renewed."""

    def __init__(self, means: Means, webhook: Webhook, start: int, until: int) -> None:
        self.webhook = webhook
        self.held_until = clock.monotonic() + leases.held_seconds()
        self.position = max(webhook.position, start)
        self.is_slow = False
        self.wait_seconds: float | None = None  # until the next attempt, after one that failed
        self._means, self._until = means, until
        self._attempts, self._first_at = webhook.attempts, webhook.first_attempt_at
        self._unwritten, self._written_at = 0, clock.monotonic()
        self._last: dict[str, Any] = {}

    async def run(self, crowded: Callable[[], bool]) -> int | None:
        """Deliver until nothing is left, an attempt fails, or (when `crowded`) the turn is over.

        Returns the position up to which everything is done, or None where somebody must look again. Raises LOST
        errors of the database: the lease then ends by itself.
        """
        try:
            return await self._run(crowded)
        except LeaseLost:
            return None
        except asyncio.CancelledError:
            await self._leave()
            raise

    async def _run(self, crowded: Callable[[], bool]) -> int | None:
        try:
            way = way_to(self.webhook, self._means.keys, self._means.allowed)
        except UnsafeSource:
            await self._pause("address_refused")
            return None
        except ValueError:
            await self._pause("sealed_with_another_key")
            return None
        ends = clock.monotonic() + TURN_SECONDS
        while True:
            owner = await self._means.owners.now(self.webhook.appointment_id)
            if isinstance(owner, Lost):
                await self._pause(owner.because)
                return None
            until = max(min(self._until, self.position + MOST_COMPARED), self.position)
            async with self._means.reading, self._means.database.bare.acquire() as connection:
                rows, reached = await history.read(
                    connection, owner, subscription_of(self.webhook), self.position, until, PAGE
                )
            for row in rows:
                if not await self._deliver(way, row):
                    return None
                if crowded() and clock.monotonic() > ends:
                    await self._write(**FREE, next_at=func.now())
                    self.wait_seconds = 0.0
                    return None
            self._pass_to(reached)
            if self.position >= self._until and await self._rest():
                return self.position
            if clock.monotonic() - self._written_at > WRITE_SECONDS:
                await self._write()

    async def _deliver(self, way: Way, row: Mapping[str, Any]) -> bool:
        """Bring one event as far as it can be brought now; False when the turn ends with it."""
        owner = await self._means.owners.now(self.webhook.appointment_id)
        if isinstance(owner, Lost):
            await self._pause(owner.because)
            return False
        if not owner.may_see(row, clock.now()):
            self._pass_to(row["position"])
            return True
        if clock.monotonic() >= self.held_until:
            raise LeaseLost
        answer = await way.send(str(row["id"]), body_of(row, owner, self._means.positions))
        self.is_slow = answer.milliseconds > SLOW_MILLISECONDS
        self._last = {"last_status": answer.status, "last_error": answer.problem}
        if answer.taken:
            self._pass_to(row["position"])
            self._last["last_delivered_at"] = clock.now()
            self._unwritten += 1
            if self._unwritten >= WRITE_EVERY or clock.monotonic() - self._written_at > WRITE_SECONDS:
                await self._write()
            return True
        if answer.status == GONE:
            await self._end()
            return False
        return await self._failed(row, answer)

    def _pass_to(self, position: int) -> None:
        if position > self.position:
            self.position, self._attempts, self._first_at = position, 0, None

    async def _failed(self, row: Mapping[str, Any], answer: Answer) -> bool:
        now = clock.now()
        self._attempts += 1
        self._first_at = self._first_at or now
        over = self._first_at + signing.GIVEN_UP_AFTER
        if now >= over:
            await self._give_up(row, answer)
            return True
        seconds = signing.pause_seconds(self._attempts, answer.retry_after_seconds)
        wait = min(timedelta(seconds=seconds), max(over - now, timedelta(seconds=1)))
        await self._write(**FREE, next_at=func.now() + wait)
        self.wait_seconds = wait.total_seconds()
        return False

    # What is written down

    def _come_to(self) -> dict[str, Any]:
        self._unwritten, self._written_at = 0, clock.monotonic()
        return {
            "position": self.position,
            "attempts": self._attempts,
            "first_attempt_at": self._first_at,
            **self._last,
        }

    async def _write(self, **more: Any) -> None:
        async with self._means.reading, self._means.database.begin() as session:
            await leases.write(session, self._means.node, self.webhook.id, **self._come_to(), **more)

    async def _leave(self) -> None:
        """The process stops: what was taken already is not to be sent again by the next one.

        Always, since it may have been stopped in the midst of writing just that.
        """
        with suppress(LeaseLost, *LOST):
            async with asyncio.timeout(1):
                await self._write(**FREE, next_at=func.now())

    async def _rest(self) -> bool:
        """Give the webhook back as idle, unless the log has grown beyond what was looked at: then go on."""
        async with self._means.reading, self._means.database.begin() as session:
            self._until = (await ledger.head(session, ledger.EVENTS)).position
            if self._until > self.position:
                return False
            await leases.write(
                session, self._means.node, self.webhook.id, **self._come_to(), **FREE, next_at=IDLE
            )  # fmt: skip
        return True

    async def _pause(self, because: str) -> None:
        """Nothing more is sent until somebody resumes it."""
        log.warning("a webhook rests: %s", because, extra={"webhook": str(self.webhook.id)})
        await self._close("webhook.paused", because, paused_because=because)

    async def _end(self) -> None:
        """The receiver says that it is gone, for good."""
        await self._close("webhook.ended", "gone", **leases.end())

    async def _close(self, act: str, because: str, **values: Any) -> None:
        async with self._means.reading, self._means.database.begin() as session:
            webhook = self.webhook
            await leases.write(
                session, self._means.node, webhook.id, **self._come_to(), **FREE, next_at=func.now(), **values
            )
            body_id = await session.scalar(select(Agency.body_id).where(Agency.id == webhook.agency_id))
            assert body_id is not None
            entry = entries.entry(
                None, act, owner_agency_id=body_id, subject=("webhook", webhook.id), name=webhook.name,
                because=because,
            )  # fmt: skip
            await entries.append(session, entries.of_body(entry, body_id))
            await leases.tell(session, webhook.id)

    async def _give_up(self, row: Mapping[str, Any], answer: Answer) -> None:
        """A day has passed: the event becomes a dead letter, and the next one's turn has come."""
        attempts, webhook = self._attempts, self.webhook
        self._pass_to(row["position"])
        letter = {"attempts": attempts, "last_status": answer.status, "last_error": answer.problem}
        owner = await self._means.owners.now(self.webhook.appointment_id)
        async with self._means.reading, self._means.database.begin() as session:
            await leases.write(session, self._means.node, webhook.id, **self._come_to())
            is_first = not await session.scalar(
                select(DeadLetter.id)
                .where(DeadLetter.webhook_id == webhook.id, DeadLetter.delivered_at.is_(None))
                .limit(1)
            )
            await session.execute(
                insert(DeadLetter)
                .values(
                    id=new_id(), webhook_id=webhook.id, position=row["position"], event_id=row["id"], **letter
                )
                .on_conflict_do_update(
                    index_elements=[DeadLetter.webhook_id, DeadLetter.position],
                    set_={**letter, "at": func.now(), "delivered_at": None},
                )
            )  # fmt: skip
        if is_first and isinstance(owner, Viewer):
            await self._tell(owner, _failure(webhook, row["id"], letter))

    async def _tell(self, owner: Viewer, report: Report) -> None:
        """An event of the owner's agency. What goes wrong with it does not hold up the others."""
        try:
            async with self._means.reading, self._means.database.begin() as session:
                await record.record(session, owner.actor, report)
        except (Refusal, *LOST) as error:
            log.warning("%s could not be told: %s", report.kind, type(error).__name__)


def _failure(webhook: Webhook, event_id: UUID, letter: Mapping[str, Any]) -> Report:
    """That a webhook has its first dead letter, as an event of its agency."""
    data = {"webhook_id": str(webhook.id), "attempts": letter["attempts"], "host": webhook.host}
    status = {} if letter["last_status"] is None else {"status": letter["last_status"]}
    return Report(
        kind="webhook.failed", source=SOURCE, source_key=f"{webhook.id}/{event_id}/{new_id()}",
        data={**data, **status, "cause": letter["last_error"]},
    )  # fmt: skip
