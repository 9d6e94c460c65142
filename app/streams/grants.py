"""Grants: permission to watch, written and audited before it is given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from uuid import UUID

import orjson
from sqlalchemy import Text, cast, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.access import rights
from app.access.codes import BASES, OWN_USE
from app.access.sessions import REVOKED
from app.actor import Actor
from app.announcements import announce
from app.audit import entries
from app.database import Database
from app.errors import Conflict, Malformed, NotFound, NotPermitted, Refusal
from app.ids import new_id
from app.models import CameraPosition, Grant, IdempotencyKey, StreamSource
from app.streams import duties, limits
from app.streams.profiles import CODECS, QUALITIES, Offer, Wanted
from app.streams.reasons import Reasons, no_incidents, restriction_of
from app.streams.writer import Given, Idempotency, Wish, Writer

MOST_CAMERAS = 64  # a wall
MOST_KBPS = 1_000_000
MOST_BEHALF = 100
PROTOCOLS = ("fmp4", "mse", "hls", "snapshot", "whep", "rtsps")
RENEWED = "renewed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for. Without purpose and basis it is about one's own cameras, under the duty.

    An incident brings purpose and basis with it; an alarm of one's own cameras (`event_id`) needs neither.
    """

    camera_ids: Sequence[UUID]
    purpose: str | None = None
    basis: str | None = None
    references: Sequence[Mapping[str, str]] = ()
    incident_id: UUID | None = None
    event_id: UUID | None = None
    urgency: int | None = None
    protocols: Sequence[str] = ()
    """None named means every one that the gateway gives."""
    quality: str = "auto"
    max_kbps: int | None = None
    codecs: Sequence[str] = ()
    exercise: bool = False
    on_behalf_of: str = ""
    """The officer for whom a system asks: institution, rank, name or number, as the register will say it."""
    restriction: str = ""
    """Of the incident or the alarm that it is for; no client names one."""
    idempotency_key: str | None = None
    body: bytes = field(default=b"", repr=False)

    @property
    def is_emergency(self) -> bool:
        """Whether it claims code 0 or 1, or stands on a basis for emergencies; whether it may is another question."""
        claims = self.urgency is not None and self.urgency <= 1
        return claims or (self.basis in BASES and BASES[self.basis].emergency)


def check(request: Request) -> None:
    """Refuse a request that cannot be understood, before anything is asked of the database."""
    if not 1 <= len(request.camera_ids) <= MOST_CAMERAS or len(set(request.camera_ids)) != len(request.camera_ids):
        raise Malformed(f"camera_ids: 1 to {MOST_CAMERAS} different cameras", field="camera_ids")
    for name, given, known in (
        ("protocols", request.protocols, PROTOCOLS),
        ("codecs", request.codecs, tuple(CODECS)),
        ("quality", [request.quality], QUALITIES),
    ):
        if any(one not in known for one in given):
            raise Malformed(f"{name}: any of {', '.join(known)}", field=name, expected=list(known))
    if request.max_kbps is not None and not 1 <= request.max_kbps <= MOST_KBPS:
        raise Malformed(f"max_kbps lies between 1 and {MOST_KBPS}", field="max_kbps")
    if request.urgency is not None and not 0 <= request.urgency <= 4:  # noqa: PLR2004 - said in the text
        raise Malformed("urgency is 0 (code 0, the most urgent) to 4", field="urgency")
    behalf = request.on_behalf_of
    if behalf != behalf.strip() or len(behalf) > MOST_BEHALF or not behalf.isprintable():
        raise Malformed(f"on_behalf_of: the officer, in at most {MOST_BEHALF} characters", field="on_behalf_of")
    texts = [text for reference in request.references for text in reference.values()]
    if not all(text.isprintable() for text in [*texts, request.idempotency_key or ""]):
        raise Malformed("references and the Idempotency-Key hold printable characters only", field="references")
    if request.purpose is not None or request.basis is not None:
        rights.check_reason(request.purpose or "", request.basis or "", request.references)


async def give(
    database: Database, writer: Writer, actor: Actor, request: Request, *, seconds: int, reasons: Reasons = no_incidents
) -> list[Given | Refusal]:
    """A grant or a refusal for each camera asked for, in their order.

    Everything that is given is committed with its audit entry before this returns; refusals are audited too, in a
    transaction of their own. A repeated Idempotency-Key gives the same grants again.
    """
    check(request)
    _check_behalf(actor, request)
    request = await _prefilled(database, actor, request, reasons)
    if request.event_id is not None or (request.incident_id is not None and not request.restriction):
        async with database.begin() as session:
            said = await restriction_of(session, actor, request.event_id, request.incident_id)
        request = replace(request, restriction=request.restriction or said)
    if not actor.may("view"):
        given: list[Given] = []
    elif request.purpose is not None:
        given = await _by_reason(database, writer, actor, request, request.camera_ids, seconds)
    elif request.event_id is not None:
        given = await _by_alarm(database, writer, actor, request, seconds)
    else:
        given = await duties.give(database, writer, actor, request.camera_ids)
    found = {grant.camera_id: grant for grant in given}
    missing = [camera_id for camera_id in request.camera_ids if camera_id not in found]
    refused = await _refuse(database, actor, request, missing) if missing else {}
    return [found.get(camera_id) or refused[camera_id] for camera_id in request.camera_ids]


def wanted_by(actor: Actor, request: Request) -> Wanted:
    """Which stream suits: patrol cars and fire trucks get the sub stream unless they ask for more."""
    return Wanted(request.quality, actor.role == "field", request.max_kbps, tuple(request.codecs))


def _check_behalf(actor: Actor, request: Request) -> None:
    """A person asks in person; a system's footage is for an officer, whom it names."""
    if not actor.is_system:
        if request.on_behalf_of:
            raise Malformed(
                "on_behalf_of is for systems; accounts are personal: sign in as who will watch", field="on_behalf_of"
            )
    elif actor.may("view") and not request.on_behalf_of:
        raise Malformed("a system asks for a named officer: say on_behalf_of", field="on_behalf_of")
    elif actor.may("view") and request.purpose is None and request.event_id is None and request.incident_id is None:
        raise Malformed("a system has no duty of its own: say purpose and basis", field="purpose")


async def _prefilled(database: Database, actor: Actor, request: Request, reasons: Reasons) -> Request:
    """The request with the purpose, basis and references of its incident, where it names none itself."""
    if request.incident_id is None or request.purpose is not None or not actor.may("view"):
        return request
    async with database.begin() as session:
        reason = await reasons(session, actor, request.incident_id)
    if reason is None:
        raise Malformed("this incident gives no reason by itself; say purpose and basis", field="purpose")
    return replace(
        request, purpose=reason.purpose, basis=reason.basis, references=request.references or reason.references,
        urgency=request.urgency if request.urgency is not None else reason.urgency, restriction=reason.restriction,
    )  # fmt: skip


async def _by_alarm(database: Database, writer: Writer, actor: Actor, request: Request, seconds: int) -> list[Given]:
    """The owner's own cameras, to look at an alarm of its own: a view that is never pre-empted."""
    async with database.begin() as session:
        own = await session.scalars(
            select(CameraPosition.id).where(
                CameraPosition.id.in_(request.camera_ids), CameraPosition.owner_agency_id.in_(actor.acts_for_ids)
            )
        )
        camera_ids = set(own)
    asked = replace(request, purpose="", basis=OWN_USE)
    wished = [camera_id for camera_id in request.camera_ids if camera_id in camera_ids]
    return await _by_reason(database, writer, actor, asked, wished, seconds)


def kind_of(request: Request) -> str:
    """What kind of grant a reason makes."""
    if request.basis is not None and BASES[request.basis].emergency:
        return "emergency"
    return "approved" if request.incident_id is None and request.event_id is None else "incident"


async def _by_reason(
    database: Database, writer: Writer, actor: Actor, request: Request, camera_ids: Sequence[UUID], seconds: int
) -> list[Given]:
    purpose, basis = request.purpose or "", request.basis or ""
    kind = kind_of(request)
    urgency = limits.urgency_of(actor, kind, request.urgency)
    if urgency is None:
        raise NotPermitted("only a control room may claim code 0 or 1, for an incident; leave urgency out")
    references = [dict(reference) for reference in request.references]
    wishes = []
    for camera_id in camera_ids:
        grant_id = new_id()
        entry = entries.entry(
            actor, "grant.given", camera_id=camera_id, subject=("grant", grant_id),
            kind=kind, purpose=purpose, basis=basis, references=references, incident_id=request.incident_id,
            event_id=request.event_id, urgency=urgency, exercise=request.exercise,
            on_behalf_of=request.on_behalf_of, asserted_by=actor.login if request.on_behalf_of else None,
        )  # fmt: skip
        wishes.append(
            Wish(
                grant_id, entry, camera_id, actor.session_id, kind, purpose, basis, orjson.dumps(references).decode(),
                request.incident_id, request.event_id, urgency, request.exercise, list(request.protocols),
                request.quality, seconds, request.restriction, request.on_behalf_of,
            )
        )  # fmt: skip
    if request.idempotency_key is None:
        return await writer.give(wishes)
    key = Idempotency(actor.user_id, request.idempotency_key, sha256(request.body).digest())
    try:
        return await writer.give(wishes, key)
    except Conflict:
        return await _replayed(database, actor, request.idempotency_key)


async def _replayed(database: Database, actor: Actor, key: str) -> list[Given]:
    """The grants that stand under a key; those that ended since are gone from it."""
    async with database.begin() as session:
        rows = await session.execute(
            select(Grant.id, Grant.at, Grant.camera_ids, Grant.expires_at, Grant.entry_id)
            .join(
                IdempotencyKey,
                (IdempotencyKey.principal_id == actor.user_id)
                & (IdempotencyKey.key == key)
                & IdempotencyKey.result.op("?")(cast(Grant.id, Text)),
            )
            .where(Grant.user_id == actor.user_id, Grant.revoked_at.is_(None), Grant.expires_at > func.now())
        )
        found = [Given(row.id, row.at, row.camera_ids[0], row.expires_at, row.entry_id) for row in rows]
        offers = await _offers(session, [grant.camera_id for grant in found])
    return [replace(grant, offers=offers.get(grant.camera_id, ())) for grant in found]


async def _offers(session: AsyncSession, camera_ids: Sequence[UUID]) -> dict[UUID, tuple[Offer, ...]]:
    rows = await session.execute(
        select(
            StreamSource.position_id, StreamSource.profile, StreamSource.codec, StreamSource.width,
            StreamSource.height, StreamSource.kbps,
        ).where(StreamSource.position_id.in_(camera_ids), StreamSource.mode == "live")
    )  # fmt: skip
    found: dict[UUID, tuple[Offer, ...]] = {}
    for row in rows:
        offer = Offer(row.profile, row.codec, row.width, row.height, row.kbps)
        found[row.position_id] = (*found.get(row.position_id, ()), offer)
    return found


async def _refuse(
    database: Database, actor: Actor, request: Request, camera_ids: Sequence[UUID]
) -> dict[UUID, Refusal]:
    """Why each camera was not given, each written down."""
    refusals: dict[UUID, Refusal] = {}
    async with database.begin() as session:
        for camera_id in camera_ids:
            refusal = await rights.explain_refusal(
                session, actor, camera_id, purpose=request.purpose or "", basis=request.basis or ""
            )
            if not request.purpose and refusal.extra.get("missing") not in (None, "stream"):
                refusal = Malformed(
                    "purpose and basis are required for another agency's camera", field="purpose",
                    camera_id=str(camera_id),
                )  # fmt: skip
            refusals[camera_id] = refusal
            await entries.append(
                session,
                entries.entry(
                    actor, "grant.refused", "refused", camera_id=camera_id, restriction=request.restriction,
                    reason=refusal.code, on_behalf_of=request.on_behalf_of, event_id=request.event_id,
                    missing=refusal.extra.get("missing"), purpose=request.purpose, basis=request.basis,
                    references=[dict(reference) for reference in request.references], incident_id=request.incident_id,
                ),
            )  # fmt: skip
    return refusals


async def _own_or_supervised(session: AsyncSession, actor: Actor, grant_id: UUID) -> Grant:
    """A grant that the actor holds, or may end: its own person, the shift lead of that agency, the camera's owner."""
    grant = await session.scalar(select(Grant).where(Grant.id == grant_id).with_for_update())
    if grant is not None and (
        grant.user_id == actor.user_id
        or (actor.may("supervise") and {grant.agency_id, grant.owner_agency_id} & set(actor.acts_for_ids))
    ):
        return grant
    raise NotFound("there is no such grant of yours")


async def revoke(session: AsyncSession, actor: Actor, grant_id: UUID, *, cause: str = "") -> None:
    """End a grant now: its URLs are dead when this commits, its views are cut within a second, on every node."""
    grant = await _own_or_supervised(session, actor, grant_id)
    if grant.revoked_at is not None:
        return
    said = cause or ("ended_by_user" if grant.user_id == actor.user_id else "revoked")
    await session.execute(
        update(Grant)
        .where(Grant.id == grant_id, Grant.at == grant.at)
        .values(revoked_at=func.now(), revoked_by=actor.user_id, revoked_cause=said)
    )
    await entries.append(
        session,
        entries.entry(
            actor, "grant.revoked", owner_agency_id=grant.owner_agency_id,
            camera_id=grant.camera_ids[0] if grant.camera_ids else None, subject=("grant", grant_id),
            restriction=grant.restriction, cause=said, on_behalf_of=grant.on_behalf_of, incident_id=grant.incident_id,
        ),
    )  # fmt: skip
    await announce(session, REVOKED, f"grant {grant_id}")


async def take_back(session: AsyncSession, actor: Actor, given: Given) -> None:
    """End a grant of which nobody ever got a URL, because no gateway was ready; a duty's stays, for other cameras."""
    grant = await session.scalar(select(Grant).where(Grant.id == given.grant_id, Grant.at == given.at))
    if grant is not None and grant.kind != "duty":
        await revoke(session, actor, given.grant_id, cause="gateway_unavailable")


@dataclass(frozen=True, slots=True)
class Renewed:
    """A grant as it stands after its renewal, and as it was asked for."""

    given: Given
    request: Request


async def renew(session: AsyncSession, actor: Actor, grant_id: UUID, *, seconds: int) -> Renewed:
    """Prolong a grant that is still alive, if its reason still holds: rights and agreement are asked again."""
    grant = await session.scalar(
        select(Grant).where(Grant.id == grant_id, Grant.user_id == actor.user_id).with_for_update()
    )
    if grant is None:
        raise NotFound("there is no such grant of yours")
    if grant.revoked_at is not None or grant.kind == "duty":
        raise NotPermitted("this grant is over or lasts as long as the duty; ask for a new one")
    alive = await session.scalar(
        select(CameraPosition.id).where(CameraPosition.id == grant.camera_ids[0], rights.permitted(actor, "view"))
    )
    if alive is None:
        raise NotPermitted("the agreement that this grant stood on no longer covers it")
    row = (
        await session.execute(
            text(
                "UPDATE grants SET renewals = renewals + 1, expires_at ="
                " least(latest_expires_at, now() + make_interval(secs => least(:seconds,"
                " (SELECT grant_seconds FROM agreements WHERE id = grants.agreement_id))))"
                " WHERE id = :id AND at = :at AND expires_at > now() RETURNING expires_at"
            ),
            {"id": grant.id, "at": grant.at, "seconds": seconds},
        )
    ).first()
    if row is None:
        raise NotPermitted("this grant is over; ask for a new one")
    await entries.append(
        session,
        entries.entry(
            actor, "grant.renewed", owner_agency_id=grant.owner_agency_id, camera_id=grant.camera_ids[0],
            subject=("grant", grant_id), restriction=grant.restriction, on_behalf_of=grant.on_behalf_of,
        ),
    )  # fmt: skip
    await announce(session, RENEWED, str(grant_id))
    offers = await _offers(session, grant.camera_ids)
    camera_id = grant.camera_ids[0]
    given = Given(grant.id, grant.at, camera_id, row.expires_at, grant.entry_id, offers.get(camera_id, ()))
    asked = Request(
        camera_ids=[camera_id], protocols=grant.protocols, quality=grant.quality, urgency=grant.urgency
    )  # fmt: skip
    return Renewed(given, asked)
