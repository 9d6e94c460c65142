"""Agencies: a tree with history, in which units act for their body."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.actor import Actor
from app.audit import entries
from app.errors import Conflict, Malformed, NotFound, NotPermitted
from app.ids import new_id
from app.models import AGENCY_KINDS, UNIT_KINDS, Agency, AgencyGroupMember, AgencyMove, Area, Jurisdiction

# A station acts in the name of the agency above it, so an agreement with the police agency holds for its stations.
CHAINED_KINDS = ("police", "fire")


def acts_for(agency_id: UUID, kind: str, parent: Agency | None) -> list[UUID]:
    """In whose name an agency acts: itself, for a unit its body, for a station the agency above it."""
    if parent is not None and (kind in UNIT_KINDS or (kind in CHAINED_KINDS and kind == parent.kind)):
        return [agency_id, *parent.acts_for_ids]
    return [agency_id]


async def add(
    session: AsyncSession,
    actor: Actor | None,
    *,
    name: str,
    kind: str,
    parent_id: UUID | None = None,
    name_en: str = "",
    authority_code: str | None = None,
) -> UUID:
    """A new agency or a unit of one. An administrator adds units of the own institution, the operator adds bodies."""
    if kind not in (*AGENCY_KINDS, *UNIT_KINDS):
        raise Malformed(f"kind is one of: {', '.join((*AGENCY_KINDS, *UNIT_KINDS))}", field="kind")
    name = name.strip()
    if not name or not name.isprintable():
        raise Malformed("an agency has a name", field="name")
    parent = await session.get(Agency, parent_id) if parent_id else None
    if parent_id and parent is None:
        raise NotFound("there is no such parent agency", field="parent_id")
    if kind in UNIT_KINDS and parent is None:
        raise Malformed(f"a {kind} belongs to an agency: name its parent", field="parent_id")
    if actor is not None and not (
        actor.may("administer") and kind in UNIT_KINDS and parent is not None and parent.body_id == actor.body_id
    ):
        raise NotPermitted("an administrator adds units within the own institution only")
    if await session.scalar(
        select(Agency.id).where(Agency.name == name, Agency.parent_id.is_not_distinct_from(parent_id))
    ):
        raise Conflict(f"{name} exists there already", field="name")
    agency_id = new_id()
    await session.execute(
        insert(Agency).values(
            id=agency_id,
            name=name,
            name_en=name_en,
            kind=kind,
            parent_id=parent_id,
            body_id=parent.body_id if parent is not None and kind in UNIT_KINDS else agency_id,
            acts_for_ids=acts_for(agency_id, kind, parent),
            ancestor_ids=[parent.id, *parent.ancestor_ids] if parent else [],
            authority_code=authority_code,
        )
    )
    await session.execute(insert(AgencyMove).values(id=new_id(), agency_id=agency_id, parent_id=parent_id))
    await entries.append(session, entries.entry(actor, "agency.added", subject=("agency", agency_id), name=name))
    return agency_id


async def listed(
    session: AsyncSession, *, kind: str | None = None, after: UUID | None = None, limit: int = 100
) -> Sequence[Agency]:
    """Agencies in the order of their ids. That an agency exists is public knowledge."""
    query = select(Agency).order_by(Agency.id).limit(limit)
    if kind:
        query = query.where(Agency.kind == kind)
    if after:
        query = query.where(Agency.id > after)
    return (await session.scalars(query)).all()


async def get(session: AsyncSession, agency_id: UUID) -> Agency:
    agency = await session.get(Agency, agency_id)
    if agency is None:
        raise NotFound("there is no such agency")
    return agency


async def by_name_or_code(session: AsyncSession, text: str) -> Agency:
    """The one agency with this name or authority code, as an operator types it at the command line."""
    found = (await session.scalars(select(Agency).where((Agency.name == text) | (Agency.authority_code == text)))).all()
    if len(found) != 1:
        raise NotFound(
            f"{len(found)} agencies are called {text!r}; `gwanje agency list` shows all, `gwanje agency add` makes one"
        )
    return found[0]


async def belong(
    session: AsyncSession,
    kept: type[AgencyGroupMember | Jurisdiction],
    to: InstrumentedAttribute[UUID],
    to_id: UUID,
    each: InstrumentedAttribute[UUID],
    wanted: set[UUID],
) -> tuple[int, int]:
    """Let exactly these belong to something from now on; returns how many came and how many went.

    `kept` is the table with `since` and `until`, `each` its column of what belongs: agencies or areas. Raises NotFound.
    """
    things = Agency if each.key == "agency_id" else Area
    known = set((await session.scalars(select(things.id).where(things.id.in_(wanted)))).all())
    if wanted - known:
        raise NotFound(f"there is no {things.__name__.lower()} {next(iter(wanted - known))}", field=f"{each.key}s")
    ended = update(kept).where(to == to_id, kept.until.is_(None), each.not_in(wanted)).values(until=func.now())
    went = len((await session.scalars(ended.returning(kept.id))).all())
    came = 0
    for one in sorted(wanted):
        begun = postgresql.insert(kept).values({"id": new_id(), to.key: to_id, each.key: one}).on_conflict_do_nothing()
        came += len((await session.execute(begun.returning(kept.id))).all())
    return came, went
