"""Which process carries which webhook: rows of the database decide.

`next_at` is when somebody must look at a webhook. Idle, it is infinity; while a process has it, the end of that
lease; after a failed attempt, the next one. So one small index tells what is due, whoever has died meanwhile, and a
webhook without work costs nothing. Whoever has a lease writes under it: a write of who has lost it changes nothing.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Select,
    Uuid,
    any_,
    func,
    literal,
    literal_column,
    not_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.announcements import announce
from app.models import Webhook

LEASE_SECONDS = 8.0
RENEW_SECONDS = 2.0
IDLE: ColumnElement[Any] = literal_column("'infinity'::timestamptz")
IDLE_YEAR = 9999  # infinity as it is read
AS_IS: dict[str, Any] = {"synchronize_session": False}
CHANGED = "webhooks"  # the topic on which webhooks are announced that were made, changed, rest or have ended

LIVE: tuple[ColumnElement[bool], ...] = (Webhook.ended_at.is_(None), Webhook.paused_because == "")


def among(column: InstrumentedAttribute[UUID], ids: Collection[UUID]) -> ColumnElement[bool]:
    """Whether a column is one of these, however many: one parameter."""
    return column == any_(literal(list(ids), ARRAY(Uuid())))


class LeaseLost(Exception):  # noqa: N818 - what has happened, not a mistake
    """Another process, or a change, has taken the webhook away: its courier stops."""


def held_seconds() -> float:
    """For how long a lease is trusted without asking: who was stopped for longer sends nothing more under it."""
    return LEASE_SECONDS * 0.875


def _leased() -> dict[str, Any]:
    end = func.now() + timedelta(seconds=LEASE_SECONDS)
    return {"leased_until": end, "next_at": end}


def is_idle(next_at: datetime) -> bool:
    """Whether nothing waits to be delivered, as far as anybody has looked."""
    return next_at.year >= IDLE_YEAR


async def claim_due(session: AsyncSession, node: str, but_not: Collection[UUID], most: int) -> Sequence[Webhook]:
    """Take webhooks that are due for this process, the longest waiting first; others than `but_not`."""
    due = select(Webhook.id).where(*LIVE, Webhook.next_at <= func.now())
    if but_not:
        due = due.where(not_(among(Webhook.id, but_not)))
    return await _claim(session, node, due.order_by(Webhook.next_at).limit(most))


async def claim_idle(session: AsyncSession, node: str, ids: Collection[UUID]) -> Sequence[Webhook]:
    """Take of these webhooks those that nobody has and that wait for nothing: an event may concern them."""
    return await _claim(session, node, select(Webhook.id).where(*LIVE, Webhook.next_at == IDLE, among(Webhook.id, ids)))


async def _claim(session: AsyncSession, node: str, query: Select[UUID]) -> Sequence[Webhook]:
    found = query.with_for_update(skip_locked=True).cte("found")  # materialized, since it locks
    rows = await session.scalars(
        update(Webhook)
        .where(Webhook.id.in_(select(found.c.id)))
        .values(leased_by=node, **_leased())
        .returning(Webhook),
        execution_options=AS_IS,
    )
    return rows.all()


async def renew(session: AsyncSession, node: str, ids: Collection[UUID]) -> set[UUID]:
    """Prolong leases of this process; returns those that it still has."""
    rows = await session.scalars(
        update(Webhook)
        .where(among(Webhook.id, ids), Webhook.leased_by == node, Webhook.leased_until > func.now())
        .values(**_leased())
        .returning(Webhook.id),
        execution_options=AS_IS,
    )
    return set(rows)


async def write(session: AsyncSession, node: str, webhook_id: UUID, **values: Any) -> None:
    """Write down how far a webhook has come, under this process's lease. Raises LeaseLost."""
    written = await session.scalar(
        update(Webhook)
        .where(Webhook.id == webhook_id, *LIVE, Webhook.leased_by == node, Webhook.leased_until > func.now())
        .values(**values)
        .returning(Webhook.id),
        execution_options=AS_IS,
    )
    if written is None:
        raise LeaseLost


# With these a write gives the lease back.
FREE: dict[str, Any] = {"leased_by": "", "leased_until": None}


def end() -> dict[str, Any]:
    """With these a write ends a webhook: nothing is kept that could still send or sign."""
    return {"ended_at": func.now(), "url_sealed": b"", "secret_sealed": b"", "previous_secret_sealed": None}


async def release_all(session: AsyncSession, node: str) -> None:
    """Give back what this process has, for others to take at once: it stops."""
    await session.execute(
        update(Webhook).where(Webhook.leased_by == node, *LIVE).values(**FREE, next_at=func.now()),
        execution_options=AS_IS,
    )


async def advance(session: AsyncSession, ids: Collection[UUID], position: int, lag: int) -> None:
    """Idle webhooks that nothing up to a position concerned need not look there again; those nearer than `lag` wait."""
    await session.execute(
        update(Webhook)
        .where(among(Webhook.id, ids), *LIVE, Webhook.next_at == IDLE, Webhook.position < position - lag)
        .values(position=position),
        execution_options=AS_IS,
    )


async def tell(session: AsyncSession, webhook_id: UUID) -> None:
    """Every process reads this webhook again once this transaction has committed."""
    await announce(session, CHANGED, str(webhook_id))
