"""Sending something now, because somebody asks: a test, or a dead letter once more. Beside the order of events."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import func, select, update

from app import clock, ledger
from app.actor import Actor
from app.audit import entries
from app.database import Database
from app.errors import Conflict, NotFound, Overloaded
from app.events.catalogue import TYPE_PREFIX
from app.feed import history
from app.feed.positions import Positions
from app.feed.subscriptions import Subscription
from app.feed.webhooks import owners, registry
from app.feed.webhooks.addresses import Allowed
from app.feed.webhooks.courier import SOURCE, Way, body_of, way_to
from app.feed.webhooks.owners import Lost
from app.feed.webhooks.posting import Answer
from app.ids import new_id
from app.keys import Keys
from app.models import DeadLetter, Webhook

MOST_SAID = 200
_under_way: set[UUID] = set()  # one at a time for each webhook: a test is no tool to knock at doors with


@asynccontextmanager
async def _alone(webhook_id: UUID) -> AsyncGenerator[None]:
    if webhook_id in _under_way:
        raise Overloaded("something is being sent to this webhook for you already", retry_after_seconds=10)
    _under_way.add(webhook_id)
    try:
        yield
    finally:
        _under_way.discard(webhook_id)


def _open(webhook: Webhook, keys: Keys, allowed: Allowed) -> Way:
    try:
        return way_to(webhook, keys, allowed)
    except ValueError:
        raise Conflict("this webhook was made under another deployment key; make it anew") from None


async def test(database: Database, keys: Keys, allowed: Allowed, actor: Actor, webhook_id: UUID) -> Answer:
    """Send a signed `webhook.tested` now and learn what comes back. Holds no transaction meanwhile."""
    async with _alone(webhook_id):
        async with database.begin() as session:
            webhook = await registry.one(session, actor, webhook_id, in_use=True)
            way = _open(webhook, keys, allowed)
            await _note(session, actor, "webhook.tested", webhook)
        message_id = str(new_id())
        event = {
            "specversion": "1.0",
            "id": message_id,
            "source": SOURCE,
            "type": TYPE_PREFIX + "webhook.tested",
            "time": clock.now().isoformat(),
            "subject": f"webhooks/{webhook_id}",
            "datacontenttype": "application/json",
            "data": {"webhook_id": str(webhook_id), "name": webhook.name},
        }
        return await way.send(message_id, orjson.dumps(event))


async def send_again(
    database: Database, keys: Keys, allowed: Allowed, actor: Actor, webhook_id: UUID, letter_id: UUID
) -> Answer:
    """Send a dead letter's event once more, now, as far as the webhook may still tell it. It keeps its id.

    Raises NotFound for a letter that is none, or whose event may not be told any more.
    """
    async with _alone(webhook_id):
        async with database.begin() as session:
            webhook = await registry.one(session, actor, webhook_id, in_use=True)
            way = _open(webhook, keys, allowed)
            letter = await session.scalar(
                select(DeadLetter).where(DeadLetter.id == letter_id, DeadLetter.webhook_id == webhook_id)
            )
            if letter is None:
                raise NotFound("there is no such dead letter of this webhook")
            owner = (await owners.read(session, [webhook.appointment_id]))[webhook.appointment_id]
            if isinstance(owner, Lost):
                raise Conflict(f"this webhook rests ({owner.because}); resume it first")
            head = await ledger.head(session, ledger.EVENTS)
            await _note(session, actor, "webhook.replayed", webhook, event_id=letter.event_id)
        async with database.bare.acquire() as connection:
            everything = Subscription("letter")
            rows, _ = await history.read(connection, owner, everything, letter.position - 1, letter.position, limit=1)
        if not rows:
            raise NotFound("the event of this dead letter may not be told to this webhook any more")
        answer = await way.send(str(letter.event_id), body_of(rows[0], owner, Positions(keys, head.epoch)))
        async with database.begin() as session:
            values: dict[str, Any] = {"last_status": answer.status, "last_error": answer.problem}
            if answer.taken:
                values["delivered_at"] = func.now()
            await session.execute(
                update(DeadLetter).where(DeadLetter.id == letter_id).values(attempts=DeadLetter.attempts + 1, **values)
            )
        return answer


async def _note(session: Any, actor: Actor, act: str, webhook: Webhook, **details: Any) -> None:
    entry = entries.entry(
        actor, act, owner_agency_id=actor.body_id, subject=("webhook", webhook.id), name=webhook.name,
        host=webhook.host, **details,
    )  # fmt: skip
    await entries.append(session, entry)


def told(answer: Answer) -> dict[str, Any]:
    """What somebody who asked learns of an answer: never more than 200 printable characters of its body."""
    said = answer.said[: 4 * MOST_SAID].decode(errors="replace")
    return {
        "taken": answer.taken,
        "status": answer.status,
        "error": answer.problem,
        "milliseconds": answer.milliseconds,
        "said": "".join(letter for letter in said if letter.isprintable())[:MOST_SAID],
    }
