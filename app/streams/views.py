"""Views: what happened. Opened, audited and committed before the first byte; closed with bytes, seconds and a cause."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import ColumnElement, RowMapping, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.rights import agreement_covers
from app.actor import Actor
from app.announcements import CHANNEL
from app.audit import entries
from app.errors import GrantEnded
from app.ids import new_id
from app.models import Agency, CameraPosition, User, View
from app.streams.urls import Pass
from app.streams.writer import Writer

TAKEN_OVER = "taken_over"
NODE_SILENT_SECONDS = 6

# Whether a grant lets one see a camera at this moment: alive itself, and so are session, person, office and agreement.
_ALIVE = f"""
FROM grants g
JOIN camera_positions p ON p.id = $3 AND p.retired_at IS NULL
    AND (p.id = ANY(g.camera_ids) OR g.selector -> 'owner_agency_ids' ? p.owner_agency_id::text)
JOIN sessions s ON s.id = g.session_id AND s.ended_at IS NULL AND s.expires_at > now()
JOIN users u ON u.id = g.user_id AND u.disabled_at IS NULL
JOIN appointments o ON o.id = g.appointment_id AND o.valid_from <= now() AND (o.valid_to IS NULL OR o.valid_to > now())
JOIN agencies c ON c.id = o.agency_id
LEFT JOIN agreements a ON a.id = g.agreement_id
    AND {agreement_covers(verb="'view'", camera="p", agencies="c.acts_for_ids")}
WHERE g.id = $1 AND g.at = $2 AND g.revoked_at IS NULL AND g.expires_at > now()
    AND (p.owner_agency_id = ANY(c.acts_for_ids) OR a.id IS NOT NULL)
"""
_PERMIT = f"""
SELECT g.kind, g.user_id, g.session_id, g.agreement_id, g.quality, g.exercise, g.restriction, g.use_purpose, g.basis,
    g.duty_id, g.terminal_id, g.appointment_id, u.login, o.role, c.id AS agency_id, c.body_id, p.owner_agency_id,
    extract(epoch FROM g.expires_at - now())::float8 AS seconds_left,
    (SELECT jsonb_object_agg(profile, encode(address_sealed, 'base64')) FROM stream_sources
     WHERE position_id = p.id AND mode = 'live') AS sources
{_ALIVE}
"""  # noqa: S608 - our own SQL
_OPEN = """
INSERT INTO views (id, opened_entry_id, grant_id, grant_at, camera_id, owner_agency_id, user_id, agency_id, kind,
    protocol, profile, gateway, node, peer)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) RETURNING at
"""
_CLOSE = """
UPDATE views SET closed_at = now(), cause = $3, bytes = $4, seconds = $5, first_byte_at = coalesce(first_byte_at, $6),
    closed_entry_id = $7
WHERE id = $1 AND at = $2 AND closed_at IS NULL
RETURNING camera_id, owner_agency_id
"""


@dataclass(frozen=True, slots=True)
class Permit:
    """What the database says of a pass right now; `sources` are sealed addresses by profile, base64."""

    ticket: Pass
    facts: Mapping[str, Any]

    @property
    def seconds_left(self) -> float:
        return float(self.facts["seconds_left"])


@dataclass(frozen=True, slots=True)
class Opened:
    """A view that was opened and committed."""

    id: UUID
    at: datetime
    permit: Permit
    protocol: str
    peer: str


async def permit(connection: asyncpg.Connection, ticket: Pass) -> Permit:
    """Ask whether the grant behind a pass still lets one see its camera; GrantEnded if not."""
    row = await connection.fetchrow(_PERMIT, ticket.grant_id, ticket.grant_at, ticket.camera_id)
    if row is None:
        raise GrantEnded("this permission is over or was revoked; ask for a new grant")
    return Permit(ticket, dict(row))


def _viewer(facts: Mapping[str, Any], peer: str) -> dict[str, Any]:
    return {
        "user_id": facts["user_id"], "login": facts["login"], "role": facts["role"],
        "appointment_id": facts["appointment_id"], "agency_id": facts["agency_id"], "session_id": facts["session_id"],
        "duty_id": facts["duty_id"], "terminal_id": facts["terminal_id"], "address": peer,
        "purpose": facts["use_purpose"], "basis": facts["basis"],
    }  # fmt: skip


def _entry(allowed: Permit, act: str, outcome: str, peer: str, subject: UUID | None, **details: Any) -> entries.Entry:
    facts = allowed.facts
    made = entries.entry(
        None, act, outcome, camera_id=allowed.ticket.camera_id, owner_agency_id=facts["owner_agency_id"],
        subject=("view", subject) if subject else ("grant", allowed.ticket.grant_id),
        restriction=facts["restriction"], grant_id=allowed.ticket.grant_id, **_viewer(facts, peer), **details,
    )  # fmt: skip
    return entries.of_body(made, facts["body_id"])


async def open(  # noqa: A001 - views.open(…) reads as what it does
    writer: Writer, ticket: Pass, *, protocol: str, profile: str, gateway: str, node: str, peer: str
) -> Opened:
    """Open a view: asked again, written with its entry and committed. Only then may the first byte leave.

    An older player of the same URL is told to go (it was taken over) when this commits.
    """

    async def work(connection: asyncpg.Connection) -> Opened:
        allowed = await permit(connection, ticket)
        facts = allowed.facts
        view_id = new_id()
        kind = "snapshot" if protocol == "snapshot" else "live"
        entry = _entry(allowed, "view.opened", "done", peer, view_id, protocol=protocol, gateway=gateway)
        await entries.store(connection, [entry])
        at = await connection.fetchval(
            _OPEN, view_id, entry.id, ticket.grant_id, ticket.grant_at, ticket.camera_id, facts["owner_agency_id"],
            facts["user_id"], facts["agency_id"], kind, protocol, profile, gateway, node, peer,
        )  # fmt: skip
        if kind == "live":
            news = f"{TAKEN_OVER} {ticket.grant_id} {ticket.camera_id} {protocol} {view_id}"
            await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, news)
        return Opened(view_id, at, allowed, protocol, peer)

    result: Opened = await writer.transact(work)
    return result


async def failed(writer: Writer, allowed: Permit, *, protocol: str, peer: str, reason: str) -> None:
    """Write down that a permitted view could not begin, because the camera or its line did not answer."""
    entry = _entry(allowed, "view.failed", "failed", peer, None, protocol=protocol, reason=reason)
    await writer.transact(lambda connection: entries.store(connection, [entry]))


async def close(
    writer: Writer, view: Opened, *, cause: str, sent_bytes: int, seconds: float, first_byte_at: datetime | None
) -> None:
    """Close a view with what was carried and why it ended; harmless when it is closed already."""

    async def work(connection: asyncpg.Connection) -> None:
        entry = _entry(
            view.permit, "view.closed", "done", view.peer, view.id,
            cause=cause, bytes=sent_bytes, seconds=round(seconds, 3), protocol=view.protocol,
        )  # fmt: skip
        closed = await connection.fetchrow(
            _CLOSE, view.id, view.at, cause, sent_bytes, round(seconds, 3), first_byte_at, entry.id
        )
        if closed is not None:
            await entries.store(connection, [entry])

    await writer.transact(work)


async def still_permitted(connection: asyncpg.Connection, tickets: Sequence[Pass]) -> list[float | None]:
    """For each pass the seconds it still has, or None when it is over: what a running view is checked against."""
    found: list[float | None] = []
    for ticket in tickets:
        row = await connection.fetchrow(
            f"SELECT extract(epoch FROM g.expires_at - now())::float8 AS seconds_left {_ALIVE}",  # noqa: S608 - our own SQL
            ticket.grant_id,
            ticket.grant_at,
            ticket.camera_id,
        )
        found.append(row["seconds_left"] if row else None)
    return found


async def close_orphans(writer: Writer, node: str) -> int:
    """Say that this node lives, and close the views of nodes that have been silent: their process died.

    How much they carried after their last word is not known; the entry says so by its cause.
    """

    async def work(connection: asyncpg.Connection) -> int:
        await connection.execute(
            "INSERT INTO nodes (name) VALUES ($1) ON CONFLICT (name) DO UPDATE SET seen_at = now()", node
        )
        rows = await connection.fetch(
            "SELECT v.id, v.at, v.camera_id, v.owner_agency_id, v.grant_id, v.user_id, v.protocol FROM views v"
            " LEFT JOIN nodes n ON n.name = v.node"
            " WHERE v.closed_at IS NULL AND (n.name IS NULL OR n.seen_at < now() - make_interval(secs => $1))"
            " FOR UPDATE OF v SKIP LOCKED LIMIT 200",
            float(NODE_SILENT_SECONDS),
        )
        for row in rows:
            entry = entries.entry(
                None, "view.closed", camera_id=row["camera_id"], owner_agency_id=row["owner_agency_id"],
                subject=("view", row["id"]), cause="node_lost", grant_id=row["grant_id"], user_id=row["user_id"],
                protocol=row["protocol"],
            )  # fmt: skip
            await connection.execute(
                "UPDATE views SET closed_at = now(), cause = 'node_lost', closed_entry_id = $3,"
                " seconds = extract(epoch FROM now() - at) WHERE id = $1 AND at = $2",
                row["id"], row["at"], entry.id,
            )  # fmt: skip
            await entries.store(connection, [entry])
        return len(rows)

    closed: int = await writer.transact(work)
    return closed


def _known_to(actor: Actor) -> ColumnElement[bool]:
    own = View.user_id == actor.user_id
    if actor.may("supervise"):
        return or_(own, View.agency_id.in_(actor.acts_for_ids), View.owner_agency_id.in_(actor.acts_for_ids))
    return own


async def listed(
    session: AsyncSession, actor: Actor, *, running: bool, before: tuple[datetime, UUID] | None, limit: int
) -> Sequence[RowMapping]:
    """Views that the actor may know of, newest first: one's own; for who supervises, those of and on the own agency."""
    query = (
        select(
            View.id, View.at, View.camera_id, CameraPosition.name.label("camera"), View.grant_id, View.protocol,
            View.kind, View.closed_at, View.cause, View.bytes, View.seconds, User.login, Agency.name.label("agency"),
        )
        .join(CameraPosition, CameraPosition.id == View.camera_id)
        .join(User, User.id == View.user_id)
        .join(Agency, Agency.id == View.agency_id)
        .where(_known_to(actor))
        .order_by(View.at.desc(), View.id.desc())
        .limit(limit)
    )  # fmt: skip
    if running:
        query = query.where(View.closed_at.is_(None))
    if before is not None:
        query = query.where(or_(View.at < before[0], (View.at == before[0]) & (View.id < before[1])))
    return (await session.execute(query)).mappings().all()
