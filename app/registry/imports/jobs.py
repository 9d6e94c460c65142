"""Imports as jobs: received, read for a preview, and applied or undone when somebody says so; cancelled at any time.

    reading ─> ready ─> applying ─> applied ─> undoing ─> undone
       └──────── cancelled, failed ────┘ └<── something depends on it

Who may `register` sees and moves the imports of the own institution. The work itself is done by `running`, in whichever
process takes it; whatever happens to that process, another begins the step again, since a step is one transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final
from uuid import UUID

from sqlalchemy import RowMapping, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app import announcements
from app.access.roles import ROLES
from app.actor import Actor
from app.audit import entries
from app.errors import Conflict, NotFound, NotPermitted, TooManyAttempts
from app.models import Agency, Appointment, Import, ImportFinding, User
from app.registry.imports import undo
from app.registry.imports.findings import CATALOGUE
from app.registry.imports.owners import Owners
from app.registry.imports.reading import Opened

TOPIC: Final = "imports"
MOST_OPEN: Final = 20
WORKING: Final = ("reading", "applying", "undoing")
OPEN: Final = (*WORKING, "ready")


@dataclass(frozen=True, slots=True)
class Order:
    """How a file is to be imported. `by_label`: rows belong to the agencies that they name, at or below the own one."""

    kind: str = ""
    mapping: Mapping[str, str] = field(default_factory=dict)
    by_label: bool = False
    retire_vanished: bool = False
    appointment_id: str = ""
    asked_from: Mapping[str, str] = field(default_factory=dict)
    """The session, address, terminal and duty of the request: what is done later is done in its name."""

    def owners(self, body_id: UUID) -> Owners:
        """Whose rows are, for an import of this institution."""
        if self.by_label:
            return Owners(within=body_id, only_below=body_id)
        return Owners(owner=body_id)


def _asked_by(actor: Actor) -> dict[str, Any]:
    known = {name: getattr(actor, name) for name in ("session_id", "address", "terminal_id", "duty_id")}
    asked_from = {name: str(value) for name, value in known.items() if value}
    return {"appointment_id": str(actor.appointment_id), "asked_from": asked_from}


def _check(actor: Actor) -> None:
    if not actor.may("register"):
        raise NotPermitted("only an administrator imports files", missing="register")


async def refuse_more(session: AsyncSession, actor: Actor) -> None:
    """NotPermitted, or TooManyAttempts while too many imports of the institution are open."""
    _check(actor)
    number = await session.scalar(
        select(func.count()).where(Import.agency_id == actor.body_id, Import.state.in_(OPEN))
    )  # fmt: skip
    if (number or 0) >= MOST_OPEN:
        raise TooManyAttempts(
            f"{number} imports of your institution are open; apply or cancel some first", retry_after_seconds=60
        )


async def receive(
    session: AsyncSession, actor: Actor, import_id: UUID, opened: Opened, order: Order, *, node: str
) -> None:
    """A file has come whole and is a table: it will be read."""
    _check(actor)
    order = Order(opened.kind.name, order.mapping, order.by_label, order.retire_vanished, **_asked_by(actor))
    await session.execute(
        insert(Import).values(
            id=import_id, agency_id=actor.body_id, user_id=actor.user_id, kind=order.kind, file_name=opened.name,
            file_digest=opened.digest, file_bytes=opened.size, layout=opened.layout, options=asdict(order),
            state="reading", node=node,
        )
    )  # fmt: skip
    await entries.append(
        session,
        entries.entry(
            actor, "import.received", subject=("import", import_id), owner_agency_id=actor.body_id, kind=order.kind,
            file=opened.name, file_sha256=opened.digest.hex(), bytes=opened.size,
        ),
    )  # fmt: skip
    await announcements.announce(session, TOPIC)


async def listed(
    session: AsyncSession, actor: Actor, *, after: UUID | None = None, limit: int = 100
) -> Sequence[Import]:
    """The imports of the own institution, the newest first."""
    _check(actor)
    query = select(Import).where(Import.agency_id.in_(actor.acts_for_ids)).order_by(Import.id.desc()).limit(limit)
    if after is not None:
        query = query.where(Import.id < after)
    return (await session.scalars(query)).all()


async def get(session: AsyncSession, actor: Actor, import_id: UUID, *, locked: bool = False) -> Import:
    """An import of the own institution; it does not exist for others. `locked`: until the end of the transaction."""
    _check(actor)
    query = select(Import).where(Import.id == import_id, Import.agency_id.in_(actor.acts_for_ids))
    found = await session.scalar(query.with_for_update() if locked else query)
    if found is None:
        raise NotFound("there is no such import, or you may not know of it")
    return found


async def findings(
    session: AsyncSession,
    actor: Actor,
    import_id: UUID,
    *,
    severity: str | None = None,
    code: str | None = None,
    after: int = 0,
    limit: int = 100,
) -> list[dict[str, Any]]:
    """What was odd in the file, in the order of its rows as they were read; messages in both languages."""
    await get(session, actor, import_id)
    query = (
        select(ImportFinding)
        .where(ImportFinding.import_id == import_id, ImportFinding.number > after)
        .order_by(ImportFinding.number)
        .limit(limit)
    )
    if severity is not None:
        query = query.where(ImportFinding.severity == severity)
    if code is not None:
        query = query.where(ImportFinding.code == code)
    return [_told(row) for row in await session.scalars(query)]


def _told(row: ImportFinding) -> dict[str, Any]:
    names = ("number", "row_number", "severity", "code", "field", "value")
    english = CATALOGUE[row.code].english.format(value=row.value) if row.code in CATALOGUE else row.message
    return {name: getattr(row, name) for name in names} | {"message_ko": row.message, "message_en": english}


async def ask_to_apply(session: AsyncSession, actor: Actor, import_id: UUID, *, retire_vanished: bool) -> Import:
    """Have a previewed file written into the register."""
    found = await get(session, actor, import_id, locked=True)
    if found.state != "ready":
        raise Conflict(f"the import is {found.state}; one that is ready can be applied", state=found.state)
    if unknown := found.preview.get("unknown_institutions"):
        raise Conflict(
            f"{len(unknown)} institutions in the file are not registered below yours: {', '.join(unknown[:5])}",
            missing_institutions=unknown,
        )
    options = {**found.options, "retire_vanished": retire_vanished, **_asked_by(actor)}
    await _move(session, found, "applying", options=options, user_id=actor.user_id)
    return found


async def ask_to_undo(session: AsyncSession, actor: Actor, import_id: UUID) -> Import:
    """Have an import taken back; Conflict that says what depends on it."""
    found = await get(session, actor, import_id, locked=True)
    if found.state != "applied":
        raise Conflict(f"the import is {found.state}; one that was applied can be undone", state=found.state)
    await undo.dependents(session, import_id)
    options = {**found.options, **_asked_by(actor)}
    await _move(session, found, "undoing", options=options)
    return found


async def cancel(session: AsyncSession, actor: Actor, import_id: UUID) -> Import:
    """Give up an import that is not applied yet. One that is being worked on stops, and leaves nothing."""
    found = await get(session, actor, import_id, locked=True)
    if found.state not in ("reading", "ready", "applying"):
        raise Conflict(f"the import is {found.state}; there is nothing to cancel", state=found.state)
    await _move(session, found, "cancelled")
    await entries.append(
        session,
        entries.entry(actor, "import.cancelled", subject=("import", import_id), owner_agency_id=found.agency_id),
    )
    return found


async def _move(session: AsyncSession, found: Import, state: str, **values: Any) -> None:
    await session.execute(
        update(Import)
        .where(Import.id == found.id)
        .values(
            state=state, leased_by="", leased_until=None, attempts=0, progress={}, problem={}, **values,
        )
    )  # fmt: skip
    await session.refresh(found)
    await announcements.announce(session, TOPIC)


_ACTORS = (
    select(
        User.id.label("user_id"), User.login, Appointment.id.label("appointment_id"), Appointment.role,
        Agency.id.label("agency_id"), Agency.name.label("agency_name"), Agency.body_id, Agency.acts_for_ids,
    )
    .join(Appointment, Appointment.user_id == User.id)
    .join(Agency, Agency.id == Appointment.agency_id)
    .where(
        User.disabled_at.is_(None), Appointment.valid_from <= func.now(),
        (Appointment.valid_to.is_(None)) | (Appointment.valid_to > func.now()),
    )
)  # fmt: skip


async def actor_of(session: AsyncSession, found: RowMapping) -> Actor:
    """In whose name an import is worked on: who asked for it, if that office still lets them."""
    row = (
        await session.execute(_ACTORS.where(Appointment.id == UUID(found["options"].get("appointment_id", ""))))
    ).first()
    capabilities = ROLES.get(row.role, frozenset()) if row is not None else frozenset()
    if row is None or "register" not in capabilities or row.body_id != found["agency_id"]:
        raise NotPermitted("who asked for this import may not import any more; ask for it anew", missing="register")
    asked = found["options"].get("asked_from", {})  # of one that an older version received, nothing is known
    terminal, duty = (UUID(asked[name]) if name in asked else None for name in ("terminal_id", "duty_id"))
    return Actor(
        user_id=row.user_id, login=row.login, role=row.role, appointment_id=row.appointment_id,
        agency_id=row.agency_id, agency_name=row.agency_name, body_id=row.body_id,
        acts_for_ids=tuple(row.acts_for_ids), session_id=UUID(asked.get("session_id", row.appointment_id.hex)),
        terminal_id=terminal, duty_id=duty, address=asked.get("address", ""),
        expires_at=(await session.execute(text("SELECT now() + interval '1 hour'"))).scalar_one(),
        capabilities=capabilities,
    )  # fmt: skip
