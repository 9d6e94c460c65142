"""Who reviews: named officers of the institution, and never what they did themselves."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, false, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.roles import ROLES
from app.actor import Actor
from app.models import Agency, Review

REVIEWS = ("read_audit", "supervise")  # capabilities, either of which makes a reviewing officer
# Auditors first, then heads, then those who also watch.
OFFICERS = tuple(
    sorted(
        (role for role, may in ROLES.items() if may & set(REVIEWS)),
        key=lambda role: ("read_audit" not in ROLES[role], "view" in ROLES[role], role),
    )
)

_OFFICERS = text(
    "SELECT o.user_id, o.role FROM appointments o JOIN agencies g ON g.id = o.agency_id"
    " JOIN users u ON u.id = o.user_id AND u.disabled_at IS NULL AND u.kind = 'person'"
    " WHERE g.body_id = :agency_id AND o.role = ANY(:roles)"
    " AND o.valid_from <= now() AND (o.valid_to IS NULL OR o.valid_to > now()) ORDER BY o.valid_from, o.id"
)


async def of(session: AsyncSession, agency_id: UUID) -> Sequence[tuple[UUID, str]]:
    """The reviewing officers of an institution now, those appointed longest first: (user id, role)."""
    rows = await session.execute(_OFFICERS, {"agency_id": agency_id, "roles": list(OFFICERS)})
    return [(row.user_id, row.role) for row in rows]


async def choose(session: AsyncSession, agency_id: UUID, reviewed: Iterable[UUID | None]) -> UUID | None:
    """Whom a new review falls to: an officer nothing was found about, who did the last one, else by office.

    None where the institution has no officer: the review waits for its administrator.
    """
    about = set(reviewed)
    last = await session.scalar(
        select(Review.officer_id)
        .where(Review.agency_id == agency_id, Review.officer_id.is_not(None))
        .order_by(Review.opened_at.desc())
        .limit(1)
    )
    known = await of(session, agency_id)
    ranked = sorted(known, key=lambda one: (one[0] in about, one[0] != last, OFFICERS.index(one[1])))
    return ranked[0][0] if ranked else None


def may_know(actor: Actor) -> ColumnElement[bool]:
    """The reviews an actor may read: an auditor those of the own institution and below, its leads its own."""
    if actor.may("read_audit"):
        below = select(Agency.id).where(or_(Agency.id == actor.body_id, Agency.ancestor_ids.contains([actor.body_id])))
        return Review.agency_id.in_(below)
    if actor.may("supervise"):
        return Review.agency_id == actor.body_id
    return false()


def may_review(actor: Actor, agency_id: UUID) -> bool:
    """Whether the actor is a reviewing officer of this institution."""
    return agency_id == actor.body_id and any(actor.may(capability) for capability in REVIEWS)


def may_assign(actor: Actor, agency_id: UUID) -> bool:
    """Whether the actor may say who reviews."""
    return may_review(actor, agency_id) or (agency_id == actor.body_id and actor.may("administer"))
