"""Keeping webhooks: made, changed, ended, their secrets rotated, their events sent again from a position.

Who administers keeps those of the whole institution, who reports those of the own agency; others do not know of them.
Each change takes the webhook from whoever carries it, so that it holds from the next attempt on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app import ledger
from app.actor import Actor
from app.audit import entries
from app.errors import Conflict, Malformed, NotFound, NotPermitted
from app.feed.subscriptions import Subscription, parse
from app.feed.webhooks import addresses, leases, signing
from app.feed.webhooks.addresses import Allowed
from app.feed.webhooks.leases import AS_IS, FREE, IDLE
from app.feed.webhooks.owners import may_keep
from app.ids import new_id
from app.keys import Keys
from app.models import Agency, DeadLetter, Webhook
from app.registry import areas

MOST_OF_AGENCY = 100
BY_HAND = "by_hand"
LOST_OFFICE = ("account_disabled", "office_ended", "role_changed")


@dataclass(frozen=True, slots=True)
class Made:
    """A new webhook, or one with a new secret: the only time the secret is seen."""

    id: UUID
    secret: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to be changed; None leaves it as it is."""

    name: str | None = None
    areas: list[str] | None = None
    kinds: list[str] | None = None
    min_severity: str | None = None
    paused: bool | None = None


def check_keeps(actor: Actor) -> None:
    """Refuse who may keep no webhooks."""
    if not may_keep(actor.capabilities):
        raise NotPermitted(
            f"the role {actor.role} keeps no webhooks; it takes the feed, and administering or reporting",
            missing="ingest",
        )  # fmt: skip


def _within(actor: Actor) -> ColumnElement[bool]:
    """The webhooks that an actor keeps."""
    if actor.may("administer"):
        return Webhook.agency_id.in_(select(Agency.id).where(Agency.body_id == actor.body_id))
    return Webhook.agency_id == actor.agency_id


def _name(text_: str) -> str:
    name = text_.strip()
    if not name or not name.isprintable():
        raise Malformed("a webhook has a name, such as 119 상황실", field="name")
    return name


async def _wish(
    session: AsyncSession, wanted_areas: list[str] | None, kinds: list[str] | None, min_severity: str | None
) -> Subscription:
    asked = {"id": "webhook", "areas": wanted_areas, "kinds": kinds, "min_severity": min_severity or "info"}
    wish = parse(asked)
    known = wish.subscription.area_ids | await areas.by_codes(session, wish.area_codes)
    return Subscription("webhook", known, wish.subscription.kinds, wish.subscription.min_severity)


async def make(
    session: AsyncSession,
    actor: Actor,
    keys: Keys,
    allowed: Allowed,
    *,
    name: str,
    url: str,
    wanted_areas: list[str] | None = None,
    kinds: list[str] | None = None,
    min_severity: str | None = None,
) -> Made:
    """A new webhook of the actor's agency, from now on, under the rights of the actor's appointment.

    Raises NotPermitted, Malformed, UnsafeSource (`url`), NotFound (`areas`), Conflict (the name is taken, or too many).
    """
    check_keeps(actor)
    name, target = _name(name), addresses.target(url, allowed)
    wish = await _wish(session, wanted_areas, kinds, min_severity)
    await session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": f"webhooks of {actor.agency_id}"}
    )
    names = (
        await session.scalars(
            select(Webhook.name).where(Webhook.agency_id == actor.agency_id, Webhook.ended_at.is_(None))
        )
    ).all()
    if name in names:
        raise Conflict(f"your agency has a webhook {name}; give this one another name", field="name")
    if len(names) >= MOST_OF_AGENCY:
        raise Conflict(f"an agency has at most {MOST_OF_AGENCY} webhooks; end one first")
    webhook_id, secret = new_id(), signing.new_secret()
    head = await ledger.head(session, ledger.EVENTS)
    session.add(
        Webhook(
            id=webhook_id, agency_id=actor.agency_id, user_id=actor.user_id, appointment_id=actor.appointment_id,
            name=name, url_sealed=signing.seal_url(keys, webhook_id, url), host=target.host,
            secret_sealed=signing.seal_secret(keys, webhook_id, secret), key_id=keys.key_id,
            area_ids=sorted(wish.area_ids), kinds=sorted(wish.kinds), min_severity=wish.min_severity,
            position=head.position, next_at=IDLE,
        )
    )  # fmt: skip
    await session.flush()
    await _note(session, actor, "webhook.made", webhook_id, name=name, host=target.host, kinds=sorted(wish.kinds))
    return Made(webhook_id, signing.shown(secret))


async def listed(
    session: AsyncSession, actor: Actor, *, after: UUID | None = None, limit: int = 100
) -> Sequence[Webhook]:
    """The webhooks that the actor keeps, ended ones included, in the order of their ids."""
    check_keeps(actor)
    query = select(Webhook).where(_within(actor)).order_by(Webhook.id).limit(limit)
    return (await session.scalars(query.where(Webhook.id > after) if after else query)).all()


async def one(session: AsyncSession, actor: Actor, webhook_id: UUID, *, in_use: bool = False) -> Webhook:
    """A webhook that the actor keeps; NotFound for any other. `in_use`: also for one that has ended; it is locked."""
    check_keeps(actor)
    query = select(Webhook).where(Webhook.id == webhook_id, _within(actor))
    if in_use:
        query = query.where(Webhook.ended_at.is_(None)).with_for_update(key_share=True)
    webhook = await session.scalar(query)
    if webhook is None:
        raise NotFound("there is no such webhook of your agency" + (" in use" if in_use else ""))
    return webhook


async def change(session: AsyncSession, actor: Actor, webhook_id: UUID, wanted: Change) -> Webhook:
    """Change a webhook, or let it rest and go on: then it tells everything since, as far as it may still be seen.

    One that rests because its maker has lost the office goes on in the name of who resumes it.
    """
    webhook = await one(session, actor, webhook_id, in_use=True)
    values: dict[str, Any] = {}
    if wanted.name is not None:
        values["name"] = _name(wanted.name)
    wish = await _wish(session, wanted.areas, wanted.kinds, wanted.min_severity)
    if wanted.areas is not None:
        values["area_ids"] = sorted(wish.area_ids)
    if wanted.kinds is not None:
        values["kinds"] = sorted(wish.kinds)
    if wanted.min_severity is not None:
        values["min_severity"] = wish.min_severity
    if values:
        said = {key: [str(one) for one in value] if isinstance(value, list) else value for key, value in values.items()}
        await _note(session, actor, "webhook.changed", webhook_id, **said)
    if wanted.paused is True and not webhook.paused_because:
        values["paused_because"] = BY_HAND
        await _note(session, actor, "webhook.paused", webhook_id, because=BY_HAND)
    if wanted.paused is False and webhook.paused_because:
        if webhook.paused_because in LOST_OFFICE:
            values |= {"user_id": actor.user_id, "appointment_id": actor.appointment_id}
        values["paused_because"] = ""
        await _note(session, actor, "webhook.resumed", webhook_id, rested_because=webhook.paused_because)
    await _put(session, webhook_id, **values)
    await session.refresh(webhook)
    return webhook


async def end(session: AsyncSession, actor: Actor, webhook_id: UUID) -> None:
    """Nothing more is sent, for good."""
    webhook = await one(session, actor, webhook_id, in_use=True)
    await _put(session, webhook_id, **leases.end())
    await _note(session, actor, "webhook.ended", webhook_id, name=webhook.name, because="by_hand")


async def rotate(session: AsyncSession, actor: Actor, keys: Keys, webhook_id: UUID) -> Made:
    """A new secret; for a day the one before signs too, so that the receiver can change over."""
    webhook = await one(session, actor, webhook_id, in_use=True)
    secret = signing.new_secret()
    await _put(
        session, webhook_id, secret_sealed=signing.seal_secret(keys, webhook_id, secret),
        previous_secret_sealed=webhook.secret_sealed, previous_until=func.now() + signing.ROTATION,
    )  # fmt: skip
    await _note(session, actor, "webhook.rotated", webhook_id)
    return Made(webhook_id, signing.shown(secret))


async def replay(session: AsyncSession, actor: Actor, webhook_id: UUID, after: int) -> None:
    """Go on from another position: everything after it is sent (again), in order, under the rights of now."""
    await one(session, actor, webhook_id, in_use=True)
    head = await ledger.head(session, ledger.EVENTS)
    if after > head.position:
        raise Malformed("after is a position that this service gave", field="after")
    await _put(session, webhook_id, position=after, attempts=0, first_attempt_at=None)
    await _note(session, actor, "webhook.replayed", webhook_id, after=after)


async def letters(
    session: AsyncSession, actor: Actor, webhook_id: UUID, *, after: int = 0, limit: int = 100
) -> Sequence[DeadLetter]:
    """The dead letters of a webhook, also those that were sent again, in the order of the events."""
    await one(session, actor, webhook_id)
    query = select(DeadLetter).where(DeadLetter.webhook_id == webhook_id, DeadLetter.position > after)
    return (await session.scalars(query.order_by(DeadLetter.position).limit(limit))).all()


async def _put(session: AsyncSession, webhook_id: UUID, **values: Any) -> None:
    """Write a change, take the webhook from whoever carries it, and have it looked at."""
    await session.execute(
        update(Webhook).where(Webhook.id == webhook_id).values(**values, **FREE, next_at=func.now()),
        execution_options=AS_IS,
    )
    await leases.tell(session, webhook_id)


async def _note(session: AsyncSession, actor: Actor, act: str, webhook_id: UUID, **details: Any) -> None:
    item = entries.entry(actor, act, owner_agency_id=actor.body_id, subject=("webhook", webhook_id), **details)
    await entries.append(session, item)
    await leases.tell(session, webhook_id)
