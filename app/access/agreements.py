"""Sharing agreements (연계 협약): made and withdrawn by the owner, felt everywhere at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, insert, null, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.access import hours
from app.access.codes import BASES, USE_PURPOSES
from app.access.roles import VERBS
from app.access.sessions import REVOKED
from app.actor import Actor
from app.announcements import announce
from app.audit import entries
from app.errors import Malformed, NotFound, NotPermitted
from app.ids import new_id
from app.models import Agency, Agreement, Area

FIRST_YEAR, LAST_YEAR = 1900, 9000  # in which an agreement may begin and end


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is agreed. Empty lists do not narrow: all areas, all installation purposes, all use purposes, all bases.

    `hours` are those of `app.access.hours.checked`; None means always.
    """

    grantee_agency_id: UUID
    title: str
    verbs: Sequence[str]
    area_ids: Sequence[UUID] = ()
    installation_purposes: Sequence[str] = ()
    use_purposes: Sequence[str] = ()
    bases: Sequence[str] = ()
    approval: str = "auto"
    condition: str = ""
    document_number: str = ""
    grant_seconds: int | None = None
    hours: Mapping[str, Any] | None = None
    valid_from: datetime | None = None
    valid_to: datetime | None = None


def _check_codes(name: str, given: Sequence[str], known: Sequence[str]) -> None:
    wrong = [code for code in given if code not in known]
    if wrong:
        raise Malformed(f"{name}: {', '.join(wrong)} unknown; one of {', '.join(known)}", field=name)


async def _check_times(session: AsyncSession, terms: Terms) -> None:
    for name, moment in (("valid_from", terms.valid_from), ("valid_to", terms.valid_to)):
        if moment is not None and (moment.tzinfo is None or not FIRST_YEAR <= moment.year <= LAST_YEAR):
            raise Malformed(f"{name} is a time with an offset, such as 2026-01-31T09:00:00+09:00", field=name)
    begin = terms.valid_from or await session.scalar(select(func.now()))
    if terms.valid_to is not None and begin is not None and terms.valid_to <= begin:
        raise Malformed("valid_to lies after valid_from, and after now if that is left out", field="valid_to")


async def make(session: AsyncSession, actor: Actor | None, owner_agency_id: UUID, terms: Terms) -> UUID:
    """Share the owner's cameras with another agency. Only the owner's own officers may (`agree`)."""
    if actor is not None and (not actor.may("agree") or owner_agency_id != actor.body_id):
        raise NotPermitted("only an officer of the owning agency may share its cameras")
    if not terms.verbs:
        raise Malformed(f"verbs: at least one of {', '.join(VERBS)}", field="verbs")
    _check_codes("verbs", terms.verbs, VERBS)
    _check_codes("use_purposes", terms.use_purposes, list(USE_PURPOSES))
    _check_codes("bases", terms.bases, list(BASES))
    _check_codes("approval", [terms.approval], ["auto", "center", "none"])
    within = hours.checked(terms.hours)
    await _check_times(session, terms)
    if terms.grantee_agency_id == owner_agency_id:
        raise Malformed("an agency needs no agreement with itself", field="grantee_agency_id")
    if await session.get(Agency, terms.grantee_agency_id) is None:
        raise NotFound("there is no such agency", field="grantee_agency_id")
    known = set(await session.scalars(select(Area.id).where(Area.id.in_(terms.area_ids)))) if terms.area_ids else set()
    if len(known) != len(set(terms.area_ids)):
        raise NotFound("one of the areas does not exist", field="area_ids")
    agreement_id = new_id()
    await session.execute(
        insert(Agreement).values(
            id=agreement_id,
            owner_agency_id=owner_agency_id,
            grantee_agency_id=terms.grantee_agency_id,
            title=terms.title,
            verbs=list(terms.verbs),
            area_ids=list(terms.area_ids),
            installation_purposes=list(terms.installation_purposes),
            use_purposes=list(terms.use_purposes),
            bases=list(terms.bases),
            approval=terms.approval,
            condition=terms.condition,
            document_number=terms.document_number,
            grant_seconds=terms.grant_seconds,
            hours=null() if within is None else within,  # None would be stored as the JSON `null`
            valid_from=terms.valid_from or func.now(),
            valid_to=terms.valid_to,
        )
    )
    await entries.append(
        session,
        entries.entry(
            actor, "agreement.made", owner_agency_id=owner_agency_id, subject=("agreement", agreement_id),
            grantee_agency_id=terms.grantee_agency_id, verbs=list(terms.verbs), hours=within,
        ),
    )  # fmt: skip
    await announce(session, "rights")
    return agreement_id


async def withdraw(session: AsyncSession, actor: Actor | None, agreement_id: UUID, reason: str) -> None:
    """End an agreement now: views that stand on it are cut, feeds narrowed."""
    agreement = await session.scalar(
        select(Agreement).where(Agreement.id == agreement_id, *_party_to(actor)).with_for_update()
    )
    if agreement is None or agreement.withdrawn_at is not None:
        raise NotFound("there is no such agreement in force")
    if actor is not None and (not actor.may("agree") or agreement.owner_agency_id != actor.body_id):
        raise NotPermitted("only an officer of the owning agency may withdraw its agreement")
    await session.execute(
        update(Agreement)
        .where(Agreement.id == agreement_id)
        .values(withdrawn_at=func.now(), withdrawn_reason=reason)
    )  # fmt: skip
    await entries.append(
        session,
        entries.entry(
            actor, "agreement.withdrawn", owner_agency_id=agreement.owner_agency_id,
            subject=("agreement", agreement_id), reason=reason,
        ),
    )  # fmt: skip
    await announce(session, REVOKED, f"agreement {agreement_id}")
    await announce(session, "rights")


def _party_to(actor: Actor | None) -> list[ColumnElement[bool]]:
    if actor is None:
        return []
    return [
        or_(
            Agreement.owner_agency_id.in_(actor.acts_for_ids),
            Agreement.grantee_agency_id.in_(actor.acts_for_ids),
        )
    ]  # fmt: skip


async def known_to(session: AsyncSession, actor: Actor) -> Sequence[Agreement]:
    """The agreements to which the actor's agency is a party, newest first."""
    query = select(Agreement).where(*_party_to(actor)).order_by(Agreement.created_at.desc(), Agreement.id.desc())
    return (await session.scalars(query.limit(500))).all()
