"""Approvals (영상 접속 개별 승인): where an agreement says that the owner approves each viewing.

One asks, a named officer of the owning agency decides, once; after that the ordinary request for a grant is met for as
long as was approved. Only an officer of the owner decides, and never about a request of the own agency.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Row,
    RowMapping,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from app.access import rights
from app.access.ending import end_grants
from app.access.roles import DECIDES
from app.actor import Actor
from app.audit import entries
from app.errors import Conflict, Malformed, NotFound, NotPermitted, Overloaded
from app.events import record
from app.events.report import OWNERS_ONLY, Report
from app.ids import new_id
from app.models import Agency, Agreement, Appointment, Approval, CameraPosition, Grant, User

MOST_CAMERAS = 64  # a wall, as of a grant
LEAST_SECONDS, MOST_SECONDS = 60, 7 * 86_400
MOST_WAITING = 50  # of one person

# What each agreement covers of the cameras asked for, with this purpose and basis. The decision may come before the
# hours begin; the grant is held to them.
_COVERING = f"""
SELECT a.id, a.approval, array_agg(p.id) AS camera_ids FROM agreements a
JOIN camera_positions p ON p.id = ANY(:camera_ids) AND p.has_stream AND p.retired_at IS NULL
WHERE (a.use_purposes = '{{}}' OR :purpose = ANY(a.use_purposes)) AND (a.bases = '{{}}' OR :basis = ANY(a.bases))
    AND {rights.agreement_covers(verb="'view'", camera="p", at_any_hour=True)}
GROUP BY a.id ORDER BY a.valid_to DESC NULLS FIRST, a.id
"""  # noqa: S608 - our own SQL


async def ask(
    session: AsyncSession,
    actor: Actor,
    camera_ids: Sequence[UUID],
    *,
    purpose: str,
    basis: str,
    references: Sequence[Mapping[str, str]] = (),
    seconds: int,
    note: str = "",
) -> UUID:
    """Ask the owner of up to 64 cameras to let one view them, from the decision until `seconds` from now.

    All stand under one agreement with approval by the center. Raises Malformed, NotPermitted, NotFound for a camera
    that may not be located, CameraNotShared, Conflict where nothing is to be approved, Overloaded.
    """
    if not (actor.may("request") and actor.may("view")):
        raise NotPermitted(f"the role {actor.role} sees no footage, so there is nothing to approve", missing="request")
    if not 1 <= len(camera_ids) <= MOST_CAMERAS or len(set(camera_ids)) != len(camera_ids):
        raise Malformed(f"camera_ids: 1 to {MOST_CAMERAS} different cameras", field="camera_ids")
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise Malformed(f"seconds: {LEAST_SECONDS} to {MOST_SECONDS}", field="seconds")
    rights.check_reason(purpose, basis, references)
    owner_id = await _owner(session, actor, camera_ids)
    agreement_id = await _agreement(session, actor, camera_ids, purpose, basis)
    waiting = await session.scalar(
        select(func.count()).where(
            Approval.user_id == actor.user_id, Approval.agency_id == actor.agency_id, Approval.decided_at.is_(None),
            Approval.asked_to > func.now(),
        )
    )  # fmt: skip
    if waiting is not None and waiting >= MOST_WAITING:
        raise Overloaded(f"{waiting} of your requests wait for a decision; withdraw some", retry_after_seconds=60)
    approval_id = new_id()
    refs = [dict(reference) for reference in references]
    await session.execute(
        insert(Approval).values(
            id=approval_id, user_id=actor.user_id, agency_id=actor.agency_id, owner_agency_id=owner_id,
            agreement_id=agreement_id, camera_ids=list(camera_ids), use_purpose=purpose, basis=basis, refs=refs,
            note=note, asked_to=func.now() + timedelta(seconds=seconds),
        )
    )  # fmt: skip
    await _note(
        session, actor, "approval.asked", owner_id, approval_id, camera_ids=list(camera_ids), purpose=purpose,
        basis=basis, references=refs, seconds=seconds, note=note,
    )  # fmt: skip
    return approval_id


async def _owner(session: AsyncSession, actor: Actor, camera_ids: Sequence[UUID]) -> UUID:
    """The one owner of cameras that may be located, which is another agency."""
    rows = await session.execute(
        select(CameraPosition.id, CameraPosition.owner_agency_id).where(
            CameraPosition.id.in_(camera_ids), rights.permitted(actor, "locate", at_any_hour=True)
        )
    )
    owners = {row.id: row.owner_agency_id for row in rows}
    for camera_id in camera_ids:
        if camera_id not in owners:
            raise NotFound(
                "there is no such camera, or you may not know of it", field="camera_ids", camera_id=str(camera_id)
            )
    if len(set(owners.values())) > 1:
        raise Malformed("camera_ids: cameras of one owner; ask each owner by itself", field="camera_ids")
    owner_id: UUID = owners[camera_ids[0]]
    if owner_id in actor.acts_for_ids:
        raise Conflict("these are your own agency's cameras, which need no approval; POST /v1/grants gives them")
    return owner_id


async def _agreement(session: AsyncSession, actor: Actor, camera_ids: Sequence[UUID], purpose: str, basis: str) -> UUID:
    """The agreement under which the center approves the viewing of all of these cameras."""
    rows = (
        await session.execute(
            text(_COVERING).bindparams(
                bindparam("camera_ids", list(camera_ids), ARRAY(Uuid())),
                bindparam("acts_for_ids", list(actor.acts_for_ids), ARRAY(Uuid())),
                bindparam("purpose", purpose, Text()),
                bindparam("basis", basis, Text()),
            )
        )
    ).all()
    by_center = [row for row in rows if row.approval == "center"]
    for row in by_center:
        if set(row.camera_ids) == set(camera_ids):
            found: UUID = row.id
            return found
    to_approve = {camera_id for row in by_center for camera_id in row.camera_ids}
    at_once = {camera_id for row in rows if row.approval == "auto" for camera_id in row.camera_ids}
    for camera_id in camera_ids:
        if camera_id in to_approve:
            continue
        if camera_id in at_once:
            raise Conflict("this camera needs no approval; POST /v1/grants gives it", camera_id=str(camera_id))
        raise await rights.explain_refusal(session, actor, camera_id, purpose=purpose, basis=basis)
    raise Malformed("camera_ids: cameras of one agreement; ask for the others by themselves", field="camera_ids")


def _may_decide(actor: Actor) -> bool:
    return any(actor.may(capability) for capability in DECIDES)


def _known_to(actor: Actor) -> ColumnElement[bool]:
    """One's own requests, those of the agency's people for who supervises, those to the owner for who decides."""
    known = [Approval.user_id == actor.user_id]
    if actor.may("supervise"):
        known.append(Approval.agency_id.in_(select(Agency.id).where(Agency.body_id == actor.body_id)))
    if _may_decide(actor):
        known.append(Approval.owner_agency_id.in_(actor.acts_for_ids))
    return or_(*known)


async def _get(session: AsyncSession, actor: Actor, approval_id: UUID) -> Approval:
    """A request that the actor may know of, locked."""
    found = await session.scalar(
        select(Approval).where(Approval.id == approval_id, _known_to(actor)).with_for_update(key_share=True)
    )
    if found is None:
        raise NotFound("there is no such request for approval, or you may not know of it")
    return found


async def decide(
    session: AsyncSession, actor: Actor, approval_id: UUID, *, approve: bool, note: str = "", seconds: int | None = None
) -> None:
    """Approve or refuse a request, once, as a named officer of the owning agency.

    `seconds` from now shortens what was asked for, and never prolongs it. Raises NotFound, NotPermitted (not of the
    owner, or the request is of one's own agency), Conflict (decided before, withdrawn, lapsed, agreement over).
    """
    if seconds is not None and not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise Malformed(f"seconds: {LEAST_SECONDS} to {MOST_SECONDS}", field="seconds")
    asked = await _get(session, actor, approval_id)
    if not _may_decide(actor) or asked.owner_agency_id not in actor.acts_for_ids:
        raise NotPermitted("only a named officer of the owning agency decides", missing="approve")
    await _check_not_own(session, actor, asked)
    if asked.decided_at is not None:
        raise Conflict("this request was decided or withdrawn before")
    row = await _standing(session, asked)
    if not row.waits:
        raise Conflict("the time that was asked for is over; the asker can ask again")
    if approve and not row.agreed:
        raise Conflict("the agreement that this request stands on is over")
    until = func.least(Approval.asked_to, func.now() + timedelta(seconds=seconds or MOST_SECONDS))
    await session.execute(
        update(Approval)
        .where(Approval.id == approval_id)
        .values(
            decided_at=func.now(), decided_by=actor.user_id, approved=approve, decision_note=note,
            valid_to=until if approve else None,
        )
    )  # fmt: skip
    await _note(
        session, actor, "approval.given" if approve else "approval.refused", asked.owner_agency_id, approval_id,
        camera_ids=asked.camera_ids, asker_user_id=asked.user_id, asker_agency_id=asked.agency_id, note=note,
        purpose=asked.use_purpose, basis=asked.basis, seconds=seconds,
    )  # fmt: skip


async def _standing(session: AsyncSession, asked: Approval) -> Row[bool, bool]:
    """Whether a request still waits, and whether its agreement still holds, by the database's clock."""
    return (
        await session.execute(
            select(
                (literal(asked.asked_to) > func.now()).label("waits"),
                and_(
                    Agreement.withdrawn_at.is_(None), Agreement.approval == "center",
                    or_(Agreement.valid_to.is_(None), Agreement.valid_to > func.now()),
                ).label("agreed"),
            ).where(Agreement.id == asked.agreement_id)
        )
    ).one()  # fmt: skip


async def _check_not_own(session: AsyncSession, actor: Actor, asked: Approval) -> None:
    """Refuse who holds an office at the agency that asks, or at one in whose name it acts: seconded officers."""
    asker = await session.get_one(Agency, asked.agency_id)
    offices = (
        await session.execute(
            select(Agency.body_id, Agency.acts_for_ids)
            .join(Appointment, Appointment.agency_id == Agency.id)
            .where(
                Appointment.user_id == actor.user_id,
                or_(Appointment.valid_to.is_(None), Appointment.valid_to > func.now()),
            )
        )
    ).all()
    if asked.user_id == actor.user_id or any(set(office.acts_for_ids) & set(asker.acts_for_ids) for office in offices):
        raise NotPermitted("nobody decides about a request of the own agency; another officer of the owner has to")
    body = await session.get_one(Agency, asker.body_id)
    at_home = {office.body_id for office in offices} - {actor.body_id}
    if actor.role == "seconded" and body.kind == "police" and not at_home:
        raise NotPermitted(
            "it is not known from which police agency you are seconded, so you decide about no request of the police;"
            " your administrator can record your appointment there"
        )


async def end(session: AsyncSession, actor: Actor, approval_id: UUID, *, reason: str = "") -> None:
    """Withdraw a request of one's own, or end one as the owner; an approval ends now, with the grants that stand on it.

    Harmless when it is over already.
    """
    asked = await _get(session, actor, approval_id)
    is_own = asked.user_id == actor.user_id
    if not is_own and not (_may_decide(actor) and asked.owner_agency_id in actor.acts_for_ids):
        raise NotPermitted("only the asker withdraws a request, and only a named officer of the owner ends it")
    act = "approval.withdrawn" if is_own else "approval.ended"
    changed = await session.scalar(
        update(Approval)
        .where(
            Approval.id == approval_id,
            or_(Approval.decided_at.is_(None), and_(Approval.approved.is_(True), Approval.valid_to > func.now())),
        )
        .values(
            decided_at=func.coalesce(Approval.decided_at, func.now()),
            decided_by=func.coalesce(Approval.decided_by, literal(actor.user_id)),
            approved=func.coalesce(Approval.approved, False),
            valid_to=case((Approval.approved.is_(True), func.now())),
        )
        .returning(Approval.id)
    )
    if changed is None:
        return
    await _note(
        session, actor, act, asked.owner_agency_id, approval_id, camera_ids=asked.camera_ids,
        asker_user_id=asked.user_id, reason=reason,
    )  # fmt: skip
    await end_grants(
        session, actor, Grant.approval_id == approval_id, Grant.user_id == asked.user_id, Grant.at >= asked.asked_at,
        cause=act.replace(".", "_"), approval_id=approval_id,
    )  # fmt: skip


_FACTS = """
SELECT r.owner_agency_id, r.agency_id, body.body_id, u.login, r.use_purpose, cardinality(r.camera_ids) AS cameras,
    coalesce(r.valid_to, r.asked_to) AS until, ARRAY(
        SELECT DISTINCT area FROM camera_positions p, unnest(p.area_ids) AS area WHERE p.id = ANY(r.camera_ids)
    ) AS area_ids
FROM approvals r JOIN users u ON u.id = r.user_id JOIN agencies body ON body.id = r.agency_id WHERE r.id = :id
"""
_TOLD_TO_OWNER_ALONE = {"approval.asked", "approval.withdrawn"}


async def _tell(session: AsyncSession, act: str, approval_id: UUID) -> None:
    """Whose it is to decide hears of it, and whoever has asked hears what was decided; nobody else does."""
    facts = (await session.execute(text(_FACTS), {"id": approval_id})).one()
    told = [facts.owner_agency_id] if act in _TOLD_TO_OWNER_ALONE else [facts.owner_agency_id, facts.body_id]
    data = {
        "approval_id": str(approval_id), "agency_id": str(facts.agency_id), "by": facts.login,
        "purpose": facts.use_purpose, "cameras": facts.cameras, "until": facts.until.isoformat(),
    }  # fmt: skip
    await record.record_many(
        session, None,
        [
            Report(
                kind=act, source="gwanje/approvals", source_key=f"{approval_id}/{act}/{whose}",
                owner_agency_id=whose, area_ids=facts.area_ids, restriction=OWNERS_ONLY, data=data,
            )
            for whose in told
        ],
    )  # fmt: skip


async def _note(
    session: AsyncSession, actor: Actor, act: str, owner_id: UUID, approval_id: UUID, **details: Any
) -> None:
    await _tell(session, act, approval_id)
    camera_ids = details["camera_ids"]
    await entries.append(
        session,
        entries.entry(
            actor, act, owner_agency_id=owner_id, subject=("approval", approval_id),
            camera_id=camera_ids[0] if len(camera_ids) == 1 else None, **details,
        ),
    )  # fmt: skip


_STATE = case(
    (Approval.decided_at.is_(None) & (Approval.asked_to > func.now()), "waiting"),
    (Approval.decided_at.is_(None), "lapsed"),
    (Approval.approved.is_(True) & (Approval.valid_to > func.now()), "approved"),
    (Approval.approved.is_(True), "over"),
    (Approval.decided_by == Approval.user_id, "withdrawn"),
    else_="refused",
)


async def known_to(
    session: AsyncSession,
    actor: Actor,
    *,
    state: str | None = None,
    approval_id: UUID | None = None,
    before: tuple[datetime, UUID] | None = None,
    limit: int = 100,
) -> Sequence[RowMapping]:
    """Requests that the actor may know of, newest first, each with who asked and its `state`.

    That is waiting, lapsed (nobody decided in time), approved, over, refused or withdrawn.
    """
    owner, decider = Agency.__table__.alias("owner"), User.__table__.alias("decider")
    query = (
        select(
            Approval.id, Approval.asked_at, Approval.camera_ids, Approval.use_purpose, Approval.basis, Approval.refs,
            Approval.note, Approval.asked_to, Approval.decided_at, Approval.decision_note, Approval.valid_to,
            Approval.owner_agency_id, owner.c.name.label("owner"), Approval.agency_id, Agency.name.label("agency"),
            Approval.agreement_id, User.login, User.name, decider.c.login.label("decided_by"), _STATE.label("state"),
        )
        .join(owner, owner.c.id == Approval.owner_agency_id)
        .join(Agency, Agency.id == Approval.agency_id)
        .join(User, User.id == Approval.user_id)
        .outerjoin(decider, decider.c.id == Approval.decided_by)
        .where(_known_to(actor))
        .order_by(Approval.asked_at.desc(), Approval.id.desc())
        .limit(limit)
    )  # fmt: skip
    if state is not None:
        query = query.where(_STATE.in_([state]))
    if approval_id is not None:
        query = query.where(Approval.id == approval_id)
    if before is not None:
        query = query.where(
            or_(Approval.asked_at < before[0], (Approval.asked_at == before[0]) & (Approval.id < before[1]))
        )
    return (await session.execute(query)).mappings().all()
