"""Who may report what: an account that is bound to sources speaks as them and reports nothing else.

An administrator binds a reporting account of the own institution to a source's name, with the kinds, subjects and
areas of which it may speak. An account that was never bound reports for its agency's own devices, but never as a
source that is bound to another account: nobody uses up another's keys. Ending a binding only ever takes away: an
account whose bindings have all ended reports nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import RowMapping, Text, cast, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.actor import Actor
from app.errors import Conflict, Malformed, NotFound, NotPermitted
from app.events.catalogue import KINDS, WISHES
from app.events.report import MOST_NAME, Report
from app.ids import new_id
from app.models import Agency, Appointment, Area, Asset, CameraPosition, EventSource, User


@dataclass(frozen=True, slots=True)
class Binding:
    """Of what a source may report; empty sets do not narrow."""

    kinds: frozenset[str]
    subject_ids: frozenset[UUID]
    area_ids: frozenset[UUID]


@dataclass(frozen=True, slots=True)
class Remit:
    """What an actor may report: its own bindings by source name, and the names that are bound to others."""

    bindings: Mapping[str, Binding]
    taken: Collection[str]
    bound: bool  # whether it reports only as its bindings say

    def check(self, report: Report) -> None:
        """Refuse a source or a kind that is not the actor's to report; what only the house tells is not asked."""
        if not KINDS[report.kind].from_outside:
            return
        if report.source in self.taken or (self.bound and report.source not in self.bindings):
            raise NotPermitted("source: this account does not report as this source", field="source")
        binding = self.bindings.get(report.source)
        if binding and binding.kinds and {report.kind, f"{KINDS[report.kind].noun}.*"}.isdisjoint(binding.kinds):
            raise NotPermitted(f"type: this source does not report {report.kind}", field="type")

    def check_place(self, report: Report, area_ids: Collection[UUID]) -> None:
        """Refuse a subject or a place that is not the source's; a subject has been found to be its agency's."""
        binding = self.bindings.get(report.source)
        if binding is None or not KINDS[report.kind].from_outside:
            return
        if binding.subject_ids and report.subject_id not in binding.subject_ids:
            raise NotPermitted("subject: this source does not report of this thing", field="subject")
        if binding.area_ids and binding.area_ids.isdisjoint(area_ids):
            field = "subject" if report.subject_id else "data.location"
            raise NotPermitted(f"{field}: this source does not report from there", field=field)


FREE = Remit({}, (), bound=False)


class Bound(NamedTuple):
    """A binding as it is written down."""

    agency_id: UUID
    user_id: UUID
    name: str
    kinds: Sequence[str]
    subject_ids: Sequence[UUID]
    area_ids: Sequence[UUID]
    ended_at: datetime | None


def remit_of(actor: Actor | None, names: Collection[str], found: Sequence[Bound]) -> Remit:
    """What an actor may report as the sources that it names, by what is bound; the house (None) reports anything."""
    if actor is None or not found:
        return FREE
    of_body = [row for row in found if row.agency_id == actor.body_id]
    own = [row for row in of_body if row.user_id == actor.user_id]
    bindings = {
        row.name: Binding(frozenset(row.kinds), frozenset(row.subject_ids), frozenset(row.area_ids))
        for row in own
        if row.ended_at is None
    }
    of_others = {row.name for row in of_body if row.user_id != actor.user_id and row.ended_at is None}
    return Remit(bindings, of_others.intersection(names), bound=bool(own))


async def bind(
    session: AsyncSession,
    actor: Actor,
    *,
    login: str,
    name: str,
    kinds: Sequence[str] = (),
    subject_ids: Sequence[UUID] = (),
    area_ids: Sequence[UUID] = (),
) -> tuple[UUID, UUID]:
    """Bind an account of the actor's institution to a source; returns the ids of the binding and of the account.

    Empty kinds, subjects or areas do not narrow. A name that was freed may be bound again.
    Raises NotPermitted, Malformed (name, kinds), NotFound (login, subject_ids, area_ids), Conflict (name).
    """
    _check_administers(actor)
    if not 1 <= len(name) <= MOST_NAME or not name.isprintable():
        raise Malformed(f"name is the source of its CloudEvents: 1 to {MOST_NAME} printable characters", field="name")
    wrong = [kind for kind in kinds if kind not in WISHES or (kind in KINDS and not KINDS[kind].from_outside)]
    if wrong:
        raise Malformed("kinds holds kinds that come from outside, such as bell.pressed or analytic.*", field="kinds")
    user_id = await session.scalar(
        select(User.id)
        .join(Appointment, Appointment.user_id == User.id)
        .join(Agency, Agency.id == Appointment.agency_id)
        .where(
            User.login == login,
            User.disabled_at.is_(None),
            Agency.body_id == actor.body_id,
            or_(Appointment.valid_to.is_(None), Appointment.valid_to > func.now()),
        )
        .limit(1)
    )
    if user_id is None:
        raise NotFound("login: there is no such account at your institution", field="login")
    await _check_things(session, actor, set(subject_ids), set(area_ids))
    # Of a name that was freed the ended binding gives way: each binding stays a row of its own.
    await session.execute(
        update(EventSource)
        .where(EventSource.agency_id == actor.body_id, EventSource.name == name, EventSource.ended_at.is_not(None))
        .values(name=EventSource.name + " #" + cast(EventSource.id, Text))
    )
    bound = await session.scalar(
        insert(EventSource)
        .values(
            id=new_id(), agency_id=actor.body_id, user_id=user_id, name=name, kinds=sorted(set(kinds)),
            subject_ids=sorted(set(subject_ids)), area_ids=sorted(set(area_ids)),
        )
        .on_conflict_do_nothing(index_elements=[EventSource.agency_id, EventSource.name])
        .returning(EventSource.id)
    )  # fmt: skip
    if bound is None:
        raise Conflict("name: this source is bound already; end that binding first", field="name")
    return bound, user_id


async def _check_things(session: AsyncSession, actor: Actor, subject_ids: set[UUID], area_ids: set[UUID]) -> None:
    """Refuse things that are not of the actor's institution, and areas that do not exist: as one, both unknown."""
    own = list(actor.acts_for_ids)
    known: set[UUID] = set()
    for table in (CameraPosition, Asset) if subject_ids else ():
        query = select(table.id).where(table.id.in_(subject_ids), table.owner_agency_id.in_(own))
        known |= set((await session.scalars(query)).all())
    if subject_ids - known:
        raise NotFound("subject_ids: there is no such camera or asset of your agency", field="subject_ids")
    if area_ids - set((await session.scalars(select(Area.id).where(Area.id.in_(area_ids)))).all()):
        raise NotFound("area_ids: there is no such area", field="area_ids")


async def listed(
    session: AsyncSession, actor: Actor, *, after: UUID | None = None, limit: int = 100
) -> Sequence[RowMapping]:
    """The bindings at the actor's institution, ended ones included, in the order of their ids, with the logins."""
    _check_administers(actor)
    query = (
        select(*EventSource.__table__.columns, User.login)
        .join(User, User.id == EventSource.user_id)
        .where(EventSource.agency_id == actor.body_id)
        .order_by(EventSource.id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(EventSource.id > after)
    return (await session.execute(query)).mappings().all()


async def end(session: AsyncSession, actor: Actor, source_id: UUID) -> dict[str, Any]:
    """End a binding: its account no longer reports as this source; returns what was bound, for the audit."""
    _check_administers(actor)
    ended = (
        await session.execute(
            update(EventSource)
            .where(EventSource.id == source_id, EventSource.agency_id == actor.body_id, EventSource.ended_at.is_(None))
            .values(ended_at=func.now())
            .returning(EventSource.name, EventSource.user_id)
        )
    ).first()
    if ended is None:
        raise NotFound("there is no such source of your institution in use")
    return {"name": ended.name, "bound_user_id": ended.user_id}


def _check_administers(actor: Actor) -> None:
    if not actor.may("administer"):
        raise NotPermitted("only an administrator binds the sources of events", missing="administer")
