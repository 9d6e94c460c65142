"""Views: what happened. Opened, audited and committed before the first byte; closed with bytes, seconds and a cause.

A wall's tiles are showings: as durable, but told to the log by the hour, in one sealed manifest per console.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import ColumnElement, RowMapping, case, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.rights import agreement_covers
from app.actor import Actor
from app.announcements import CHANNEL
from app.audit import entries, restricted
from app.errors import BoundElsewhere, GrantEnded
from app.ids import new_id
from app.models import Agency, CameraPosition, Grant, User, View
from app.streams import limits
from app.streams.limits import Limits
from app.streams.urls import Pass
from app.streams.writer import Writer, unavailable

TAKEN_OVER = "taken_over"

# Whether a grant lets one see a camera at this moment: alive itself, and so are session, person, office, agreement
# and approval. Its arguments are columns of `pass`.
ALIVE = f"""
JOIN grants g ON g.id = pass.grant_id AND g.at = pass.grant_at AND g.revoked_at IS NULL AND g.expires_at > now()
JOIN camera_positions p ON p.id = pass.camera_id AND p.retired_at IS NULL
    AND (p.id = ANY(g.camera_ids) OR g.selector -> 'owner_agency_ids' ? p.owner_agency_id::text)
JOIN sessions s ON s.id = g.session_id AND s.ended_at IS NULL AND s.expires_at > now()
JOIN users u ON u.id = g.user_id AND u.disabled_at IS NULL
JOIN appointments o ON o.id = g.appointment_id AND o.valid_from <= now() AND (o.valid_to IS NULL OR o.valid_to > now())
JOIN agencies c ON c.id = o.agency_id
LEFT JOIN agreements a ON a.id = g.agreement_id
    AND {agreement_covers(verb="'view'", camera="p", agencies="c.acts_for_ids")}
LEFT JOIN approvals y ON y.id = g.approval_id
"""
ALLOWED = (
    "(p.owner_agency_id = ANY(c.acts_for_ids) OR a.id IS NOT NULL) AND (g.approval_id IS NULL OR y.valid_to > now())"
)
_PERMIT = f"""
SELECT g.kind, g.user_id, g.session_id, g.agreement_id, g.exercise, g.restriction, g.use_purpose, g.basis, g.urgency,
    g.event_id, g.incident_id, g.manifested, g.protocols, g.bound_address, g.duty_id, g.terminal_id, g.appointment_id,
    g.on_behalf_of,
    u.login, o.role, c.id AS agency_id, c.body_id, c.acts_for_ids, p.owner_agency_id, t.kind AS terminal_kind,
    coalesce(t.zone, 'default') AS zone, t.device_key_digest,
    extract(epoch FROM g.expires_at - now())::float8 AS seconds_left,
    (SELECT jsonb_object_agg(profile, encode(address_sealed, 'base64')) FROM stream_sources
     WHERE position_id = p.id AND mode = 'live') AS sources
FROM (SELECT $1::uuid AS grant_id, $2::timestamptz AS grant_at, $3::uuid AS camera_id) pass
{ALIVE}
LEFT JOIN terminals t ON t.id = s.terminal_id
WHERE {ALLOWED}
"""  # noqa: S608 - our own SQL
_BIND = """
UPDATE grants SET bound_address = $3 WHERE id = $1 AND at = $2 AND bound_address IN ('', $3) RETURNING true
"""
_OPEN = """
INSERT INTO views (id, opened_entry_id, grant_id, grant_at, camera_id, owner_agency_id, user_id, agency_id, kind,
    protocol, profile, gateway, node, peer, session_ref, urgency, protected)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) RETURNING at
"""
_SHOW = """
INSERT INTO showings (id, grant_id, grant_at, duty_id, terminal_id, user_id, agency_id, owner_agency_id, camera_id,
    protocol, profile, gateway, node, peer)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) RETURNING began_at
"""
_CLOSE = """
UPDATE views v SET closed_at = greatest(v.at, coalesce($8::timestamptz, now())), cause = $3,
    bytes = greatest(v.bytes, $4), seconds = $5, first_byte_at = coalesce(v.first_byte_at, $6), closed_entry_id = $7
FROM grants g, users u, agencies c, appointments o
WHERE v.id = $1 AND v.at = coalesce($2, (SELECT at FROM views WHERE id = $1))
    AND (v.closed_at IS NULL OR ($8::timestamptz IS NOT NULL AND v.cause = 'node_lost'))
    AND g.id = v.grant_id AND g.at = v.grant_at AND u.id = v.user_id AND c.id = v.agency_id AND o.id = g.appointment_id
RETURNING v.camera_id, v.owner_agency_id, v.grant_id, v.user_id, u.login, v.agency_id, c.body_id, v.protocol,
    v.peer, v.gateway, v.bytes, g.restriction, o.role, g.appointment_id, g.session_id, g.duty_id, g.terminal_id,
    g.use_purpose, g.basis, g.incident_id, g.event_id, g.on_behalf_of
"""
END_SHOWING = """
UPDATE showings SET ended_at = greatest(began_at, least(now(), $4::timestamptz + make_interval(secs => $5))),
    cause = coalesce(nullif(cause, ''), $2), bytes = $3
WHERE id = $1 AND ended_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks a gateway to play."""

    protocol: str
    peer: str
    """The client's address as the gateway saw it."""
    proof: str = ""
    """What an enrolled device shows: see `proof_of`."""
    session_ref: str = ""
    """The gateway's own name of the player's session."""


@dataclass(frozen=True, slots=True)
class Carrier:
    """The gateway, and the process of it, that will carry a view."""

    gateway: str
    node: str
    limits: Limits


@dataclass(frozen=True, slots=True)
class Permit:
    """What the database says of a pass right now; `sources` are sealed addresses by profile, base64."""

    ticket: Pass
    facts: Mapping[str, Any]
    remembered: bool = False
    """Said before the database went away: see `late`."""

    @property
    def seconds_left(self) -> float:
        return float(self.facts["seconds_left"])


@dataclass(frozen=True, slots=True)
class Opened:
    """A view (or a showing) that was opened and committed."""

    id: UUID
    at: datetime
    permit: Permit
    protocol: str
    peer: str
    spooled: bool = False
    """Whether it was opened while the database was away: `at` is then the node's own time."""

    @property
    def manifested(self) -> bool:
        """Whether it is a wall's showing."""
        return bool(self.permit.facts["manifested"])


@dataclass(frozen=True, slots=True)
class Ending:
    """How a view ended: why, what was carried and for how long."""

    cause: str
    bytes: int
    seconds: float
    first_byte_at: datetime | None = None


def proof_of(device_key: str, grant_id: UUID, camera_id: UUID) -> str:
    """What an enrolled tablet adds to its stream URLs as `proof`, so that a URL is of no use to another device.

    HMAC-SHA256 over "<grant id>/<camera id>", keyed by the SHA-256 of the device key; base64url without padding.
    """
    return _proof(hashlib.sha256(device_key.encode()).digest(), grant_id, camera_id)


def _proof(digest: bytes, grant_id: UUID, camera_id: UUID) -> str:
    mac = hmac.digest(digest, f"{grant_id}/{camera_id}".encode(), "sha256")
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


def _binds_address(facts: Mapping[str, Any]) -> bool:
    """A console's grants bind to the first peer's address; what moves binds to its device, never to an address."""
    return bool(facts["terminal_kind"] != "tablet" and facts["role"] != "field")


def check(facts: Mapping[str, Any], ticket: Pass, asking: Asking, *, bound_to: str | None = None) -> None:
    """See that the player is the one that the permission is for: protocol, device, and for a console the address.

    `bound_to` is the address where it plays already. Raises GrantEnded or BoundElsewhere.
    """
    bound = facts["bound_address"] if bound_to is None else bound_to
    if facts["protocols"] and asking.protocol not in facts["protocols"]:
        raise GrantEnded(f"this permission is not for {asking.protocol}; ask for it in `protocols`")
    if facts["terminal_kind"] == "tablet":
        expected = _proof(facts["device_key_digest"] or b"", ticket.grant_id, ticket.camera_id)
        if facts["device_key_digest"] is None or not hmac.compare_digest(expected.encode(), asking.proof.encode()):
            raise BoundElsewhere("this permission belongs to an enrolled device, which adds its `proof` to the URL")
    elif _binds_address(facts) and bound not in ("", asking.peer):
        raise BoundElsewhere("this permission is used at another address; ask for a grant where you are")


async def permit(connection: asyncpg.Connection, ticket: Pass, asking: Asking, *, handed_over: bool = False) -> Permit:
    """Ask whether the grant behind a pass lets this player see its camera; GrantEnded or BoundElsewhere if not.

    A player that is `handed_over` has shown its device already.
    """
    row = await connection.fetchrow(_PERMIT, ticket.grant_id, ticket.grant_at, ticket.camera_id)
    if row is None:
        raise GrantEnded("this permission is over or was revoked; ask for a new grant")
    facts = dict(row)
    if not handed_over:
        check(facts, ticket, asking)
    return Permit(ticket, facts)


def _viewer(facts: Mapping[str, Any], peer: str) -> dict[str, Any]:
    return {
        "user_id": facts["user_id"], "login": facts["login"], "role": facts["role"],
        "appointment_id": facts["appointment_id"], "agency_id": facts["agency_id"], "session_id": facts["session_id"],
        "duty_id": facts["duty_id"], "terminal_id": facts["terminal_id"], "address": peer,
        "purpose": facts["use_purpose"], "basis": facts["basis"], "incident_id": facts["incident_id"],
        "event_id": facts["event_id"], "on_behalf_of": facts.get("on_behalf_of"),
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
    writer: Writer, ticket: Pass, asking: Asking, carrier: Carrier, *, handed_over: bool = False
) -> Opened:
    """Open a view: asked again, admitted, written with its entry and committed. Only then may the first byte leave.

    An older player of the same URL is told to go (it was taken over) when this commits, as is who gives way to an
    emergency. Raises GrantEnded, BoundElsewhere, TooManyViews, CameraFull, GatewayFull, or AuditUnavailable.
    """

    async def work(connection: asyncpg.Connection) -> Opened:
        allowed = await permit(connection, ticket, asking, handed_over=handed_over)
        facts, view_id = allowed.facts, new_id()
        key = (ticket.grant_id, ticket.camera_id, asking.protocol)
        gone = await limits.admit(connection, facts, key, view_id, carrier.gateway, carrier.limits)
        if _binds_address(facts) and not facts["bound_address"]:
            bound = await connection.fetchval(_BIND, ticket.grant_id, ticket.grant_at, asking.peer)
            if not bound:
                raise BoundElsewhere("this permission is used at another address; ask for a grant where you are")
        if facts["manifested"]:
            at = await _show(connection, allowed, view_id, asking, carrier)
        else:
            at = await record(connection, allowed, view_id, asking, carrier, pre_empted=gone)
        if asking.protocol != "snapshot":
            news = f"{TAKEN_OVER} {ticket.grant_id} {ticket.camera_id} {asking.protocol} {view_id} {at.isoformat()}"
            await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, news)
        return Opened(view_id, at, allowed, asking.protocol, asking.peer)

    result: Opened = await writer.transact(work)
    return result


async def record(
    connection: asyncpg.Connection, allowed: Permit, view_id: UUID, asking: Asking, carrier: Carrier,
    *, pre_empted: Sequence[UUID] = (), late_from: datetime | None = None,
) -> datetime:  # fmt: skip
    """A view with its entry, in the caller's transaction; of one that came late, `late_from` is when it was opened."""
    facts, ticket = allowed.facts, allowed.ticket
    more = {"pre_empted_view_ids": list(pre_empted)} if pre_empted else {}
    entry = _entry(
        allowed, "view.opened", "done", asking.peer, view_id, protocol=asking.protocol, gateway=carrier.gateway, **more
    )  # fmt: skip
    await entries.store(connection, [entries.late(entry, late_from) if late_from else entry])
    kind = "snapshot" if asking.protocol == "snapshot" else "live"
    at: datetime = await connection.fetchval(
        _OPEN, view_id, entry.id, ticket.grant_id, ticket.grant_at, ticket.camera_id, facts["owner_agency_id"],
        facts["user_id"], facts["agency_id"], kind, asking.protocol, ticket.profile, carrier.gateway, carrier.node,
        asking.peer, asking.session_ref, facts["urgency"], limits.is_protected(facts),
    )  # fmt: skip
    return at


async def _show(
    connection: asyncpg.Connection, allowed: Permit, view_id: UUID, asking: Asking, carrier: Carrier
) -> datetime:
    facts, ticket = allowed.facts, allowed.ticket
    at: datetime = await connection.fetchval(
        _SHOW, view_id, ticket.grant_id, ticket.grant_at, facts["duty_id"], facts["terminal_id"], facts["user_id"],
        facts["agency_id"], facts["owner_agency_id"], ticket.camera_id, asking.protocol, ticket.profile,
        carrier.gateway, carrier.node, asking.peer,
    )  # fmt: skip
    return at


async def failed(writer: Writer, allowed: Permit, asking: Asking, *, reason: str) -> None:
    """Write down that a permitted view could not begin, because the camera or its line did not answer."""
    entry = _entry(allowed, "view.failed", "failed", asking.peer, None, protocol=asking.protocol, reason=reason)
    await writer.transact(lambda connection: entries.store(connection, [entry]))


async def close(writer: Writer, view: Opened, ending: Ending) -> None:
    """Close a view with what was carried and why it ended; harmless when it is closed already."""
    if view.spooled:
        await writer.transact(lambda connection: _close_spooled(connection, view, ending))
    elif view.manifested:
        ended = (view.id, ending.cause, ending.bytes, view.at, ending.seconds)
        await writer.transact(lambda connection: connection.execute(END_SHOWING, *ended))
    else:
        await writer.transact(lambda connection: write_close(connection, view.id, view.at, ending))


async def _close_spooled(connection: asyncpg.Connection, view: Opened, ending: Ending) -> None:
    """AuditUnavailable while its opening has not been imported yet."""
    if await connection.fetchval("SELECT true FROM views WHERE id = $1", view.id) is None:
        raise unavailable()
    await write_close(connection, view.id, None, ending)


async def write_close(
    connection: asyncpg.Connection, view_id: UUID, at: datetime | None, ending: Ending,
    *, late_from: datetime | None = None,
) -> bool:  # fmt: skip
    """Close a view with its entry, in the caller's transaction; False when it was closed already.

    `at` is None for a view that was opened while the database was away. What comes late (`late_from`: when it ended)
    is known better by who brings it than by who found the view left behind (`node_lost`), and amends that.
    """
    entry_id = new_id()
    seconds = round(ending.seconds, 3)
    row = await connection.fetchrow(
        _CLOSE, view_id, at, ending.cause, ending.bytes, seconds, ending.first_byte_at, entry_id, late_from
    )
    if row is None:
        return False
    made = entries.entry(
        None, "view.closed", camera_id=row["camera_id"], owner_agency_id=row["owner_agency_id"],
        subject=("view", view_id), restriction=row["restriction"], grant_id=row["grant_id"],
        **_viewer(row, row["peer"]), protocol=row["protocol"],
        gateway=row["gateway"], cause=ending.cause, bytes=row["bytes"], seconds=seconds,
    )  # fmt: skip
    made = replace(entries.of_body(made, row["body_id"]), id=entry_id, late_from=late_from)
    await entries.store(connection, [made])
    return True


def _known_to(actor: Actor) -> ColumnElement[bool]:
    own = View.user_id == actor.user_id
    if actor.may("supervise"):
        return or_(own, View.agency_id.in_(actor.acts_for_ids), View.owner_agency_id.in_(actor.acts_for_ids))
    return own


def _told_of(actor: Actor) -> ColumnElement[bool]:
    return restricted.known_to(
        actor, restriction=Grant.restriction, incident_id=Grant.incident_id,
        user_id=View.user_id == actor.user_id, agency_id=View.agency_id, owner_agency_id=View.owner_agency_id,
    )  # fmt: skip


async def listed(
    session: AsyncSession, actor: Actor, *, running: bool, before: tuple[datetime, UUID] | None, limit: int
) -> Sequence[RowMapping]:
    """Views that the actor may know of, newest first: one's own; for who supervises, those of and on the own agency.

    `login` is None where the view is restricted and the actor may not know whose it is.
    """
    query = (
        select(
            View.id, View.at, View.camera_id, CameraPosition.name.label("camera"), View.grant_id, View.protocol,
            View.profile, View.gateway, View.kind, View.urgency, View.closed_at, View.cause, View.bytes, View.seconds,
            case((_told_of(actor), User.login)).label("login"), Agency.name.label("agency"),
        )
        .join(Grant, (Grant.id == View.grant_id) & (Grant.at == View.grant_at))
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
