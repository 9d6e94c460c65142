"""Rights: which cameras an actor may locate, view, … Stated once, in SQL, and used in every WHERE.

The owner's people have every verb that their role has. Others have what a live sharing agreement gives them. Without
`locate` a camera does not exist; with it, a refusal names the owner, what is missing and how to request.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Text, Uuid, bindparam, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.access import hours
from app.access.codes import BASES, USE_PURPOSES
from app.access.hours import Hours
from app.actor import Actor
from app.database import Arguments
from app.errors import CameraNotShared, Malformed, NotFound, NotPermitted, Refusal
from app.models import Agency, Agreement, CameraPosition

HOW_TO_REQUEST = "ask the owner to extend the agreement, or request the footage by official letter (공문)"


# To which cameras of its owner an agreement may be narrowed; empty ones do not narrow.
_NARROWED_BY = ("area_ids", "installation_purposes")


def agreement_covers(
    *,
    verb: str,
    camera: str = "camera_positions",
    agencies: str = ":acts_for_ids",
    agreement: str = "a",
    moment: str = "now()",
    at_any_hour: bool = False,
) -> str:
    """The SQL condition that an agreement gives `verb` on a camera to who acts for `agencies` (an SQL uuid[]), now.

    All arguments are SQL; none may come from outside. `at_any_hour`: also outside the agreed hours.
    """
    a, p = agreement, camera
    in_force = agreement_in_force(verb=verb, agencies=agencies, agreement=a, moment=moment, at_any_hour=at_any_hour)
    narrowed = "".join(f" AND ({a}.{name} = '{{}}' OR {a}.{name} && {p}.{name})" for name in _NARROWED_BY)
    return f"{a}.owner_agency_id = {p}.owner_agency_id AND {in_force}{narrowed}"


def agreement_in_force(
    *, verb: str, agencies: str, agreement: str = "a", moment: str = "now()", at_any_hour: bool = False
) -> str:
    """The SQL condition that an agreement gives `verb` to who acts for `agencies` now, whichever its cameras are."""
    a = agreement
    in_hours = "" if at_any_hour else f" AND ({a}.hours IS NULL OR agreement_open({a}.hours, {moment}))"
    return (
        f"{a}.grantee_agency_id = ANY({agencies})"
        f" AND {a}.withdrawn_at IS NULL AND {a}.valid_from <= {moment}"
        f" AND ({a}.valid_to IS NULL OR {a}.valid_to > {moment}){in_hours}"
        f" AND {verb} = ANY({a}.verbs)"
    )


def permitted_here(actor: Actor, verb: str, arguments: Arguments, *, camera: str = "camera_positions") -> str:
    """As `permitted`, for a statement that goes to the driver itself; `camera` names the cameras in it."""
    if not actor.may(verb):
        return "false"
    own, wanted = arguments.put(list(actor.acts_for_ids), "uuid[]"), arguments.put(verb, "text")
    covers = agreement_covers(verb=wanted, camera=camera, agencies=own)
    # Most agreements share all that their owner has: those owners are looked up once, not for every camera.
    whole = " AND ".join(
        [agreement_in_force(verb=wanted, agencies=own), *(f"a.{name} = '{{}}'" for name in _NARROWED_BY)]
    )
    return (
        f"({camera}.owner_agency_id = ANY({own})"  # noqa: S608 - our own SQL
        f" OR {camera}.owner_agency_id = ANY(ARRAY(SELECT a.owner_agency_id FROM agreements a WHERE {whole}))"
        f" OR EXISTS (SELECT FROM agreements a WHERE {covers}))"
    )


def permitted(actor: Actor, verb: str, *, moment: str = "now()", at_any_hour: bool = False) -> ColumnElement[bool]:
    """The condition on `CameraPosition` that the actor has the verb; false for every camera if the role lacks it.

    `moment` is SQL; `at_any_hour`: also outside the hours of the agreement that gives it.
    """
    if not actor.may(verb):
        return text("false")  # type: ignore[return-value]
    covers = agreement_covers(verb=":verb", moment=moment, at_any_hour=at_any_hour)
    shared = f"EXISTS (SELECT FROM agreements a WHERE {covers})"
    return text(f"(camera_positions.owner_agency_id = ANY(:acts_for_ids) OR {shared})").bindparams(
        bindparam("acts_for_ids", list(actor.acts_for_ids), ARRAY(Uuid())), bindparam("verb", verb, Text())
    )  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Scope:
    """Cameras of one owner, compiled for comparison in memory; empty sets mean no narrowing. Lapses by itself."""

    owner_agency_id: UUID
    area_ids: frozenset[UUID] = frozenset()
    installation_purposes: frozenset[str] = frozenset()
    valid_from: datetime | None = None
    expires_at: datetime | None = None
    hours: Hours | None = None

    def open_at(self, now: datetime) -> bool:
        """Whether the scope has begun, has not lapsed, and lies within its hours."""
        begun = self.valid_from is None or self.valid_from <= now
        lasts = self.expires_at is None or now < self.expires_at
        return begun and lasts and (self.hours is None or self.hours.open_at(now))

    def admits(self, owner: UUID, area_ids: Iterable[UUID], purposes: Iterable[str], now: datetime) -> bool:
        """Whether something of `owner`, in these areas and of these installation purposes, lies within the scope."""
        return (
            owner == self.owner_agency_id
            and self.open_at(now)
            and (not self.area_ids or not self.area_ids.isdisjoint(area_ids))
            and (not self.installation_purposes or not self.installation_purposes.isdisjoint(purposes))
        )


async def scopes(session: AsyncSession, actor: Actor, verb: str) -> tuple[Scope, ...]:
    """The actor's rights to a verb as scopes: the same law as `permitted`, for feeds that test many events a second.

    Agreements that begin within the hour are already in, as are those outside their hours: each scope has its times.
    """
    return (await scopes_of(session, [actor], verb))[actor.session_id]


async def scopes_of(session: AsyncSession, actors: Sequence[Actor], verb: str) -> dict[UUID, tuple[Scope, ...]]:
    """As `scopes`, for many actors by one query: by their session ids."""
    asking = [actor for actor in actors if actor.may(verb)]
    rows = await session.execute(
        select(Agreement)
        .where(
            Agreement.grantee_agency_id.in_({agency_id for actor in asking for agency_id in actor.acts_for_ids}),
            Agreement.withdrawn_at.is_(None),
            Agreement.valid_from <= func.now() + text("interval '1 hour'"),
            (Agreement.valid_to.is_(None)) | (Agreement.valid_to > func.now()),
            Agreement.verbs.contains([verb]),
        )
        .order_by(Agreement.id)
    )
    shared: dict[UUID, list[Scope]] = {}
    for row in rows.scalars():
        scope = Scope(
            row.owner_agency_id,
            frozenset(row.area_ids),
            frozenset(row.installation_purposes),
            row.valid_from,
            row.valid_to,
            hours.read(row.hours),
        )
        shared.setdefault(row.grantee_agency_id, []).append(scope)
    found: dict[UUID, tuple[Scope, ...]] = {actor.session_id: () for actor in actors}
    for actor in asking:
        given = [scope for agency_id in actor.acts_for_ids for scope in shared.get(agency_id, ())]
        found[actor.session_id] = (*(Scope(agency_id) for agency_id in actor.acts_for_ids), *given)
    return found


def check_reason(purpose: str, basis: str, references: Iterable[Any]) -> None:
    """Refuse a use purpose or basis that is missing or not a code, and a basis without the reference it needs."""
    if purpose not in USE_PURPOSES:
        raise Malformed(
            "purpose is required, one of: " + ", ".join(USE_PURPOSES), field="purpose", expected=list(USE_PURPOSES)
        )
    if basis not in BASES:
        raise Malformed("basis is required, one of: " + ", ".join(BASES), field="basis", expected=list(BASES))
    if BASES[basis].needs_reference and not list(references):
        raise Malformed(
            f"{basis} ({BASES[basis].label}) needs a reference, such as the statute or the official letter's number",
            field="references",
        )


# What an agreement may lack for a viewing, the more, the nearer it comes: the nearest one is what a refusal names.
_LACKS = ("agreement", "purpose", "basis", "hours", "approval")


async def explain_refusal(session: AsyncSession, actor: Actor, camera_id: UUID, *, purpose: str, basis: str) -> Refusal:
    """Why the actor gets no view of a camera: 404 unless it may be located, else 403 that says what is missing.

    An agreement outside its hours is in force and known to both, so its cameras are no secret: 403, not 404.
    """
    if not actor.may("view"):
        return NotPermitted(f"the role {actor.role} sees no footage; ask for an appointment that does")
    found = (
        await session.execute(
            select(CameraPosition.owner_agency_id, CameraPosition.has_stream, CameraPosition.retired_at, Agency.name)
            .join(Agency, Agency.id == CameraPosition.owner_agency_id)
            .where(CameraPosition.id == camera_id, permitted(actor, "locate", at_any_hour=True))
        )
    ).first()
    if found is None:
        return NotFound("there is no such camera, or you may not know of it", camera_id=str(camera_id))
    if found.retired_at is not None or not found.has_stream:
        return CameraNotShared(
            "this camera has no live stream registered; its owner can add one",
            camera_id=str(camera_id), owner=found.name, missing="stream",
        )  # fmt: skip
    agreements = await session.execute(
        text(
            "SELECT a.use_purposes, a.bases, a.approval, a.condition, a.hours,"  # noqa: S608 - our own SQL
            " a.hours IS NULL OR agreement_open(a.hours, now()) AS open FROM agreements a, camera_positions"
            f" WHERE camera_positions.id = :camera_id AND {agreement_covers(verb=':verb', at_any_hour=True)}"
        ).bindparams(
            bindparam("acts_for_ids", list(actor.acts_for_ids), ARRAY(Uuid())),
            bindparam("verb", "view", Text()),
            bindparam("camera_id", camera_id, Uuid()),
        )
    )
    lacking = [("agreement", f"no agreement with {found.name} lets you view this camera")]
    lacking += [_lacks(agreement, found.name, purpose, basis) for agreement in agreements]
    missing, sentence = max(lacking, key=lambda one: _LACKS.index(one[0]))
    return CameraNotShared(
        f"{sentence}; {HOW_TO_REQUEST}", camera_id=str(camera_id), owner=found.name, missing=missing
    )  # fmt: skip


def _lacks(agreement: Any, owner: str, purpose: str, basis: str) -> tuple[str, str]:
    """What an agreement that covers a camera still lacks for a viewing, and the sentence that says so."""
    if agreement.use_purposes and purpose not in agreement.use_purposes:
        return "purpose", f"the agreement allows only: {', '.join(agreement.use_purposes)}"
    if agreement.bases and basis not in agreement.bases:
        return "basis", f"the agreement allows only: {', '.join(agreement.bases)}"
    if not agreement.open:
        return "hours", f"this is outside the agreed hours: {hours.said(agreement.hours)}"
    if agreement.approval == "center":
        how = "ask for it with POST /v1/approvals, then ask for the grant again"
        return "approval", f"{owner} approves each viewing: {how}. {agreement.condition}".rstrip(". ")
    if agreement.approval == "none":
        return "approval", f"{owner} gives no live view by itself. {agreement.condition}".rstrip(". ")
    return "agreement", f"the agreement with {owner} did not hold a moment ago; ask again"
