"""The tree of agencies as it changes: a unit or a station is moved with its history, and agencies form groups."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.actor import Actor
from app.announcements import announce
from app.audit import entries
from app.errors import Conflict, Malformed, NotFound, NotPermitted
from app.ids import new_id
from app.models import UNIT_KINDS, Agency, AgencyGroup, AgencyGroupMember, AgencyMove
from app.registry.agencies import acts_for, belong

_TREE_LOCK = 0x6167_656E  # moves take turns: two that cross could close a ring


async def move(
    session: AsyncSession, actor: Actor | None, agency_id: UUID, parent_id: UUID | None, reason: str = ""
) -> None:
    """Put an agency, with everything below it, under another one; where it stood before is kept.

    An administrator moves units within the own institution, the operator everything. In whose name its people act
    changes at once, and with it what they may see.
    """
    if actor is not None:
        actor.must("administer")
    await session.execute(select(func.pg_advisory_xact_lock(_TREE_LOCK)))
    agency = await session.get(Agency, agency_id, populate_existing=True)
    parent = await session.get(Agency, parent_id, populate_existing=True) if parent_id else None
    if agency is None or (parent_id and parent is None):
        raise NotFound("there is no such agency", field=None if agency is None else "parent_id")
    if actor is not None and not (
        agency.kind in UNIT_KINDS and parent is not None and agency.body_id == parent.body_id == actor.body_id
    ):
        raise NotPermitted("an administrator moves units within the own institution only")
    if parent is None and agency.kind in UNIT_KINDS:
        raise Malformed(f"a {agency.kind} belongs to an agency: name its parent", field="parent_id")
    if parent is not None and (parent.id == agency.id or agency.id in parent.ancestor_ids):
        raise Conflict(f"{parent.name} stands below {agency.name}: move it out first", field="parent_id")
    if agency.parent_id == parent_id:
        return
    twin = select(Agency.id).where(Agency.name == agency.name, Agency.parent_id.is_not_distinct_from(parent_id))
    if await session.scalar(twin.limit(1)):
        raise Conflict(f"{agency.name} exists there already", field="parent_id")
    old_parent = agency.parent_id
    await session.execute(
        update(AgencyMove)
        .where(AgencyMove.agency_id == agency_id, AgencyMove.until.is_(None))
        .values(until=func.now())
    )  # fmt: skip
    await session.execute(insert(AgencyMove).values(id=new_id(), agency_id=agency_id, parent_id=parent_id))
    below = await session.scalars(
        select(Agency).where(Agency.ancestor_ids.contains([agency_id])).order_by(func.cardinality(Agency.ancestor_ids))
    )
    placed: dict[UUID, Agency] = {} if parent is None else {parent.id: parent}
    agency.parent_id = parent_id
    for one in (agency, *below.all()):
        above = placed.get(one.parent_id) if one.parent_id else None
        one.ancestor_ids = [above.id, *above.ancestor_ids] if above else []
        one.body_id = above.body_id if above is not None and one.kind in UNIT_KINDS else one.id
        one.acts_for_ids = acts_for(one.id, one.kind, above)
        placed[one.id] = one
    await session.flush()
    await entries.append(
        session,
        entries.entry(
            actor, "agency.moved", subject=("agency", agency_id), owner_agency_id=agency.body_id, name=agency.name,
            old_parent_id=old_parent, parent_id=parent_id, reason=reason,
        ),
    )  # fmt: skip
    await announce(session, "rights")


async def history(session: AsyncSession, agency_id: UUID) -> Sequence[tuple[AgencyMove, str | None]]:
    """Where an agency stood, the newest first, each with the parent's name."""
    rows = await session.execute(
        select(AgencyMove, Agency.name)
        .outerjoin(Agency, Agency.id == AgencyMove.parent_id)
        .where(AgencyMove.agency_id == agency_id)
        .order_by(AgencyMove.moved_at.desc(), AgencyMove.id.desc())
    )
    return [(move_, name) for move_, name in rows]


async def form(session: AsyncSession, actor: Actor | None, keeper_id: UUID, name: str, name_en: str = "") -> UUID:
    """A new group, kept by an agency (the own one, for an administrator)."""
    if actor is not None:
        actor.must("administer")
    if actor is not None and keeper_id != actor.body_id:
        raise NotPermitted("an administrator keeps groups of the own institution")
    name = name.strip()
    if not name or not name.isprintable():
        raise Malformed("a group has a name", field="name")
    if await session.scalar(select(AgencyGroup.id).where(AgencyGroup.agency_id == keeper_id, AgencyGroup.name == name)):
        raise Conflict(f"there is a group {name} already", field="name")
    group_id = new_id()
    await session.execute(insert(AgencyGroup).values(id=group_id, agency_id=keeper_id, name=name, name_en=name_en))
    await entries.append(
        session, entries.entry(actor, "agency_group.formed", subject=("agency_group", group_id), name=name)
    )
    return group_id


async def set_members(
    session: AsyncSession, actor: Actor | None, group_id: UUID, agency_ids: Sequence[UUID]
) -> tuple[int, int]:
    """Say which agencies belong to a group from now on; returns how many came and how many went."""
    if actor is not None:
        actor.must("administer")
    group = await session.get(AgencyGroup, group_id, with_for_update=True)
    if group is None:
        raise NotFound("there is no such group")
    if actor is not None and group.agency_id != actor.body_id:
        raise NotPermitted("only the institution that keeps a group says who belongs to it")
    wanted, member = set(agency_ids), AgencyGroupMember
    came, went = await belong(session, member, member.group_id, group_id, member.agency_id, wanted)
    if came or went:
        entry = entries.entry(
            actor, "agency_group.changed", subject=("agency_group", group_id), members=len(wanted), came=came, went=went
        )
        await entries.append(session, entry)
    return came, went


async def groups(session: AsyncSession, *, after: UUID | None = None, limit: int = 100) -> Sequence[AgencyGroup]:
    """Groups in the order of their ids. That a group exists is public knowledge."""
    query = select(AgencyGroup).where(AgencyGroup.ended_at.is_(None)).order_by(AgencyGroup.id).limit(limit)
    if after:
        query = query.where(AgencyGroup.id > after)
    return (await session.scalars(query)).all()


async def members(session: AsyncSession, group_id: UUID) -> Sequence[tuple[AgencyGroupMember, Agency]]:
    """Who belongs to a group now, in the order of names; same names under two parents are different agencies."""
    if await session.get(AgencyGroup, group_id) is None:
        raise NotFound("there is no such group")
    rows = await session.execute(
        select(AgencyGroupMember, Agency)
        .join(Agency, Agency.id == AgencyGroupMember.agency_id)
        .where(AgencyGroupMember.group_id == group_id, AgencyGroupMember.until.is_(None))
        .order_by(Agency.name, Agency.id)
    )
    return [(member, agency) for member, agency in rows]
