"""Erasure (파기) of what entries say of persons, by a documented order of two officers (개인정보 보호법 §21).

One officer orders, naming statute and document; another of the institution decides, once, about exactly what was
listed. Headers, digests and leaves stay, so every proof holds; an entry that names no person says what was erased.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, and_, case, func, insert, or_, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from app.actor import Actor
from app.audit import entries
from app.audit.verify import ERASING
from app.errors import Conflict, Malformed, NotFound, NotPermitted
from app.ids import new_id
from app.models import Agency, AuditEntry, AuditLeaf, ErasureDecision, ErasureOrder, User

MOST_ENTRIES = 20_000  # of one order, as the database has it, too


@dataclass(frozen=True)
class Selection:
    """Which entries: those named, or those of a period, of a person's acts, or both."""

    entry_ids: tuple[UUID, ...] = ()
    user_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None

    def told(self) -> dict[str, Any]:
        """As it is kept with the order; a list of ids is told by its length, since the order holds the entries."""
        found = {"entries": len(self.entry_ids), "user_id": self.user_id, "since": self.since, "until": self.until}
        return {name: str(value) for name, value in found.items() if value}


def ranges(indexes: Sequence[int]) -> list[list[int]]:
    """Ascending indexes as runs [first, last], the way erasing entries name them."""
    found: list[list[int]] = []
    for index in indexes:
        if found and found[-1][1] == index - 1:
            found[-1][1] = index
        else:
            found.append([index, index])
    return found


def _check_officer(actor: Actor) -> None:
    if not actor.may("erase"):
        raise NotPermitted(
            f"the role {actor.role} orders no erasure; an officer of the institution does", missing="erase"
        )


async def order(
    session: AsyncSession, actor: Actor, selection: Selection, *, basis: str, document_number: str, note: str = ""
) -> UUID:
    """Order that the contents of entries be erased; nothing happens until another officer has decided.

    Only entries that concern the own institution (and those below it) alone. Raises Malformed, NotPermitted, NotFound.
    """
    _check_officer(actor)
    if not (selection.entry_ids or selection.user_id or selection.since or selection.until):
        raise Malformed("name entries, a person or a period", field="entry_ids")
    indexes = (await session.scalars(_selected(actor, selection).limit(MOST_ENTRIES + 1))).all()
    if len(indexes) > MOST_ENTRIES:
        raise Malformed(f"an order is about at most {MOST_ENTRIES} entries; narrow the period", field="since")
    if not indexes or (selection.entry_ids and len(indexes) < len(set(selection.entry_ids))):
        raise NotFound(
            "no such entries, or not all: they concern your institution alone, are numbered, hold contents, and are not"
            " of the log about itself", field="entry_ids",
        )  # fmt: skip
    order_id = new_id()
    await session.execute(
        insert(ErasureOrder).values(
            id=order_id, agency_id=actor.body_id, user_id=actor.user_id, appointment_id=actor.appointment_id,
            basis=basis, document_number=document_number, note=note, selection=selection.told(), indexes=list(indexes),
        )
    )  # fmt: skip
    await entries.append(
        session,
        entries.entry(
            actor, "erasure.ordered", owner_agency_id=actor.body_id, subject=("erasure", order_id), basis=basis,
            document_number=document_number, entries=len(indexes), note=note,
        ),
    )  # fmt: skip
    return order_id


def _selected(actor: Actor, selection: Selection) -> Any:
    bodies = select(Agency.id).where(or_(Agency.id == actor.body_id, Agency.ancestor_ids.contains([actor.body_id])))
    ours = and_(
        or_(AuditEntry.agency_id.in_(bodies), AuditEntry.owner_agency_id.in_(bodies)),
        or_(AuditEntry.agency_id.is_(None), AuditEntry.agency_id.in_(bodies)),
        or_(AuditEntry.owner_agency_id.is_(None), AuditEntry.owner_agency_id.in_(bodies)),
    )
    query = (
        select(AuditLeaf.position - 1)
        .join(AuditEntry, and_(AuditEntry.id == AuditLeaf.id, AuditEntry.at == AuditLeaf.at))
        .where(ours, AuditEntry.payload.is_not(None), AuditEntry.act.not_like("audit.%"))
        .order_by(AuditLeaf.position)
    )
    if selection.entry_ids:
        query = query.where(AuditEntry.id.in_(selection.entry_ids))
    if selection.user_id:
        person = text("audit_entries.payload ->> 'user_id' = :person").bindparams(person=str(selection.user_id))
        query = query.where(person)
    if selection.since:
        query = query.where(AuditEntry.at >= selection.since)
    if selection.until:
        query = query.where(AuditEntry.at < selection.until)
    return query


async def decide(session: AsyncSession, actor: Actor, order_id: UUID, *, approve: bool, note: str = "") -> int:
    """Approve or refuse an order, once, as another officer; returns how many entries lost their contents.

    Raises NotFound, NotPermitted (one's own order; one of the two appointed the other; not in office since before the
    order), Conflict (decided before). The database holds the same rules, whoever asks it.
    """
    _check_officer(actor)
    asked = await session.scalar(
        select(ErasureOrder).where(ErasureOrder.id == order_id, ErasureOrder.agency_id == actor.body_id)
    )
    if asked is None:
        raise NotFound("there is no such order at your institution")
    if asked.user_id == actor.user_id:
        raise NotPermitted("nobody decides about the own order; another officer has to")
    await session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended('gwanje.erasure ' || :id, 0))"), {"id": str(order_id)}
    )
    if await session.get(ErasureDecision, order_id) is not None:
        raise Conflict("this order was decided before")
    await session.execute(
        insert(ErasureDecision).values(
            order_id=order_id, user_id=actor.user_id, appointment_id=actor.appointment_id, approved=approve, note=note
        )
    )
    await entries.append(
        session,
        entries.entry(
            actor, "erasure.approved" if approve else "erasure.refused", owner_agency_id=actor.body_id,
            subject=("erasure", order_id), ordered_by_user_id=asked.user_id, entries=len(asked.indexes), note=note,
        ),
    )  # fmt: skip
    return await _carry_out(session, asked) if approve else 0


async def _carry_out(session: AsyncSession, asked: ErasureOrder) -> int:
    """The entry that tells what is erased names no person, so that whoever checks the log may read it."""
    told = entries.entry(
        None, ERASING, owner_agency_id=asked.agency_id, subject=("erasure", asked.id), ranges=ranges(asked.indexes),
        basis=asked.basis, document_number=asked.document_number,
    )  # fmt: skip
    said = await entries.append(session, told)
    try:
        erased = await session.scalar(
            text("SELECT audit_erase_by_order(:which, :said)"), {"which": asked.id, "said": said}
        )
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", "") == "42501":
            reason = str(getattr(error.orig, "__cause__", None) or error.orig)
            raise NotPermitted(f"{reason}; another officer has to decide") from None
        raise
    return int(erased or 0)


async def known_to(
    session: AsyncSession, actor: Actor, *, order_id: UUID | None = None, before: tuple[datetime, UUID] | None = None,
    limit: int = 100,
) -> Sequence[RowMapping]:  # fmt: skip
    """The institution's orders, newest first, each with its `state` (waiting, carried_out, refused); for its officers
    and auditors.
    """
    if not (actor.may("erase") or actor.may("read_audit")):
        raise NotPermitted(f"the role {actor.role} reads no orders of erasure", missing="erase")
    decider = User.__table__.alias("decider")
    state = case((ErasureDecision.approved.is_(True), "carried_out"), (ErasureDecision.approved.is_(False), "refused"))
    query = (
        select(
            ErasureOrder.id, ErasureOrder.asked_at, ErasureOrder.basis, ErasureOrder.document_number, ErasureOrder.note,
            ErasureOrder.selection, func.cardinality(ErasureOrder.indexes).label("entries"), User.login, User.name,
            ErasureDecision.decided_at, ErasureDecision.note.label("decision_note"),
            decider.c.login.label("decided_by"), func.coalesce(state, "waiting").label("state"),
        )
        .join(User, User.id == ErasureOrder.user_id)
        .outerjoin(ErasureDecision, ErasureDecision.order_id == ErasureOrder.id)
        .outerjoin(decider, decider.c.id == ErasureDecision.user_id)
        .where(ErasureOrder.agency_id == actor.body_id)
        .order_by(ErasureOrder.asked_at.desc(), ErasureOrder.id.desc())
        .limit(limit)
    )  # fmt: skip
    if order_id is not None:
        query = query.where(ErasureOrder.id == order_id)
    if before is not None:
        older = and_(ErasureOrder.asked_at == before[0], ErasureOrder.id < before[1])
        query = query.where(or_(ErasureOrder.asked_at < before[0], older))
    return (await session.execute(query)).mappings().all()
