"""Provisions (목적 외 이용·제3자 제공, 열람, 파기): written down once, amended by appending, never overwritten.

What the register needs often comes later: who received it, when it was destroyed, whether somebody was arrested. Each
amendment is a whole new version with who wrote it, when and why; the former ones stay readable.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, func, select, text
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.codes import BASES, USE_PURPOSES
from app.access.hours import KOREA
from app.actor import Actor
from app.audit import entries
from app.clock import now
from app.errors import Malformed, NotFound, NotPermitted, PreconditionFailed
from app.ids import new_id
from app.models import FORMS, MEDIA, PROVISION_KINDS, CameraPosition, Grant, Provision, User
from app.reports import remit
from app.reports.current import COLUMNS, CURRENT, LIVE_ITEMS, OUT_OF_PURPOSE
from app.reports.remit import Period

Contents = Mapping[str, Any]
"""Fields of a provision by their names (AMENDABLE), as a person says them."""

MOST_CAMERAS = 1000
ITEMS = {"live": LIVE_ITEMS, "video": "개인영상정보(녹화 영상)", "photo": "개인영상정보(사진)"}
_HEAD = {"id", "version", "at", "note", "owner_agency_id", "grant_id", "out_of_purpose"}
AMENDABLE = tuple(name for name in COLUMNS if name not in _HEAD)
_JSON = {name: JSONB() for name in ("requester", "recipient", "approvals")}
# A grant is what it is: when it was given, for which camera, to whom, on which ground.
OF_THE_GRANT = ("provided_at", "kind", "basis", "purpose", "camera_ids", "form", "medium", "requester", "exercise")


async def record(session: AsyncSession, actor: Actor, contents: Contents, agency_id: UUID | None = None) -> UUID:
    """Write down a provision that happened outside (a USB stick, a letter), for the own institution.

    Raises Malformed with the field, NotPermitted, NotFound.
    """
    agency = await remit.agency_of(session, actor, agency_id, remit.KEEP)
    provision_id = new_id()
    row = {"note": "", "grant_id": None, "items": ITEMS.get(contents.get("form", ""), "개인영상정보")} | dict(contents)
    await _check(session, agency.id, row)
    await _append(
        session, actor, row | {"id": provision_id, "version": 1, "owner_agency_id": agency.id}, list(contents)
    )
    return provision_id


async def amend(
    session: AsyncSession, actor: Actor, provision_id: UUID, changes: Contents, *, version: int, note: str
) -> int:
    """Append a version with the changes to the one that was read, and return its number.

    `note` says why. Raises NotFound, NotPermitted, Malformed, and PreconditionFailed when somebody was faster.
    """
    if not changes:
        raise Malformed("name at least one field to amend", field="body")
    row = await _get(session, actor, provision_id, remit.KEEP)
    if row["version"] != version:
        raise PreconditionFailed(f"it stands at version {row['version']} by now; read it again", version=row["version"])
    if row["grant_id"] is not None and (fixed := [name for name in changes if name in OF_THE_GRANT]):
        raise Malformed(f"{fixed[0]} is the grant's own and is not amended", field=fixed[0])
    row |= dict(changes) | {"note": note, "version": version + 1}
    await _check(session, row["owner_agency_id"], row)
    await _append(session, actor, row, list(changes))
    return version + 1


async def _append(session: AsyncSession, actor: Actor, row: dict[str, Any], changed: Sequence[str]) -> None:
    values = {name: row[name] for name in (*AMENDABLE, *_HEAD) if name in row and name not in ("at", "out_of_purpose")}
    values["out_of_purpose"] = row.get("basis", "").startswith(OUT_OF_PURPOSE)
    act = "provision.recorded" if not row.get("grant_id") and row["version"] == 1 else "provision.amended"
    cameras = row.get("camera_ids", ())
    entry = entries.entry(
        actor, act, owner_agency_id=row["owner_agency_id"], subject=("provision", row["id"]),
        camera_id=cameras[0] if len(cameras) == 1 else None, restriction=row.get("restriction", ""),
        version=row["version"], fields=sorted(changed), basis=row.get("basis"), purpose=row.get("purpose"),
        document_number=row.get("document_number"), note=row["note"],
    )  # fmt: skip
    made = await session.scalar(
        insert(Provision)
        .values(**values, user_id=actor.user_id, entry_id=entry.id)
        .on_conflict_do_nothing()
        .returning(Provision.version)
    )
    if made is None:
        raise PreconditionFailed("somebody amended it a moment ago; read it again")
    await entries.append(session, entry)


async def _check(session: AsyncSession, owner_id: UUID, row: Contents) -> None:
    """Refuse what no register can say, with the field."""
    for name, known in (("kind", PROVISION_KINDS), ("form", FORMS), ("medium", MEDIA)):
        if row.get(name, "") not in known:
            raise Malformed(f"{name} is one of: {', '.join(filter(None, known))}", field=name)
    given_away = row["kind"] in ("use", "provide")
    basis, purpose = row.get("basis", ""), row.get("purpose", "")
    if (basis or given_away) and basis not in BASES:
        raise Malformed("basis is required, one of: " + ", ".join(BASES), field="basis", expected=list(BASES))
    if (purpose or given_away) and purpose not in USE_PURPOSES and not row.get("grant_id"):
        raise Malformed("purpose is required, one of: " + ", ".join(USE_PURPOSES), field="purpose")
    if basis and BASES[basis].needs_reference and not (row.get("document_number") or row.get("law")):
        raise Malformed(f"{basis} needs a document number, or the law's article", field="document_number")
    if row["provided_at"] > now() + timedelta(minutes=5):
        raise Malformed("provided_at lies in the future", field="provided_at")
    _in_order(row, "recorded_from", "recorded_to")
    if row.get("destroyed_on") and row["destroyed_on"] < row["provided_at"].astimezone(KOREA).date():
        raise Malformed("destroyed_on lies before provided_at", field="destroyed_on")
    cameras = row.get("camera_ids", ())
    if len(cameras) > MOST_CAMERAS:
        raise Malformed(f"camera_ids: at most {MOST_CAMERAS} cameras", field="camera_ids")
    own = await session.scalar(
        select(func.count()).where(CameraPosition.id.in_(cameras), CameraPosition.owner_agency_id == owner_id)
    )
    if own != len(set(cameras)):
        raise Malformed("camera_ids: cameras of this agency, each named once", field="camera_ids")


def _in_order(row: Contents, first: str, last: str) -> None:
    begins, ends = row.get(first), row.get(last)
    if isinstance(begins, date | datetime) and isinstance(ends, date | datetime) and ends < begins:
        raise Malformed(f"{last} lies before {first}", field=last)


async def _get(session: AsyncSession, actor: Actor, provision_id: UUID, capability: str) -> dict[str, Any]:
    """The version that holds, or what a restriction leaves of it; NotFound outside the actor's remit."""
    actor.must(capability)
    stored = select(Provision.owner_agency_id, Provision.provided_at).where(Provision.id == provision_id)
    known = (await session.execute(stored.order_by(Provision.version.desc()).limit(1))).first() or (
        await session.execute(select(Grant.owner_agency_id, Grant.at).where(Grant.id == provision_id))
    ).first()
    missing = NotFound("there is no such provision in your remit")
    if known is None:
        raise missing
    try:
        agency = await remit.agency_of(session, actor, known[0], capability)
    except NotPermitted:
        raise missing from None
    span = {"since": known[1], "until": known[1] + timedelta(microseconds=1)}
    rows = await session.execute(
        text(f"{CURRENT} SELECT * FROM current WHERE id = :id").columns(**_JSON),  # noqa: S608 - our own SQL
        {"agency_id": known[0], "id": provision_id, **span},
    )
    row = rows.mappings().first()
    if row is None:
        raise missing
    return told(row, remit.reader_of(actor, agency))


def told(row: RowMapping, reader: remit.Reader) -> dict[str, Any]:
    """What a reader learns of a provision: all, or of a restricted one that it exists, and when."""
    if not reader.knows(row["restriction"], row["acted_for"]):
        return {name: row[name] for name in ("id", "version", "provided_at", "owner_agency_id")} | {"withheld": True}
    return {str(name): value for name, value in row.items() if name != "acted_for"} | {"withheld": False}


async def get(session: AsyncSession, actor: Actor, provision_id: UUID) -> dict[str, Any]:
    """A provision as it stands, and in `history` who wrote which version when and why, each with what it said then.

    The reading is itself an entry. Raises NotFound, NotPermitted.
    """
    row = await _get(session, actor, provision_id, remit.READ)
    history: list[dict[str, Any]] = []
    if not row["withheld"]:
        versions = await session.execute(
            select(*Provision.__table__.columns, User.login)
            .join(User, User.id == Provision.user_id)
            .where(Provision.id == provision_id)
            .order_by(Provision.version)
        )
        history = [{str(name): value for name, value in version.items()} for version in versions.mappings()]
    await read(session, actor, row["owner_agency_id"], "provision", provision_id=provision_id)
    return row | {"history": history}


async def listed(
    session: AsyncSession,
    actor: Actor,
    period: Period,
    *,
    agency_id: UUID | None = None,
    to_be_destroyed: bool = False,
    before: tuple[datetime, UUID] | None = None,
    limit: int = 100,
) -> list[dict[str, Any]]:
    """The provisions of an agency, newest first; `to_be_destroyed`: what was due by today and has no result yet.

    The reading is itself an entry.
    """
    agency = await remit.agency_of(session, actor, agency_id, remit.READ)
    where = ["true"]
    if to_be_destroyed:
        where.append("destroy_due <= :today AND destroyed_on IS NULL")
    if before is not None:
        where.append("(provided_at, id) < (:before_at, :before_id)")
    rows = await session.execute(
        text(
            f"{CURRENT} SELECT * FROM current WHERE {' AND '.join(where)}"  # noqa: S608 - our own SQL
            " ORDER BY provided_at DESC, id DESC LIMIT :limit"
        ).columns(**_JSON),
        {
            "agency_id": agency.id, "since": period.since, "until": period.until, "limit": limit,
            **({"today": remit.today()} if to_be_destroyed else {}),
            **({"before_at": before[0], "before_id": before[1]} if before else {}),
        },
    )  # fmt: skip
    reader = remit.reader_of(actor, agency)
    found = [told(row, reader) for row in rows.mappings()]
    await read(session, actor, agency.id, "provisions", found=len(found), since=period.first, until=period.last)
    return found


async def read(session: AsyncSession, actor: Actor, agency_id: UUID, what: str, **details: Any) -> None:
    """Write down that a register was read."""
    await entries.append(
        session, entries.entry(actor, "register.read", owner_agency_id=agency_id, what=what, **details)
    )  # fmt: skip
