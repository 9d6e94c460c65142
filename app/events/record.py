"""Writing events down, each once, in the transaction of what caused them.

What one request reports is written by a fixed handful of statements, however many events it holds. Rows are locked
in one order everywhere (keys by their texts, then conditions by theirs), so that two reporters never wait for each
other in a circle.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app import ledger
from app.actor import Actor
from app.errors import Malformed, NotFound, Refusal
from app.events import contents, sources
from app.events.catalogue import KINDS, SEVERITIES, urgency
from app.events.report import Report, check
from app.ids import new_id

__all__ = ["Recorded", "Report", "check", "follow_up", "record", "record_many"]

HOUSE = "house"  # the source of what this service tells of itself
MOST_ZONE = 100  # characters of a zone's name in a key
_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True)
class Recorded:
    """The event's id; `new` is false when the same report had come before."""

    id: UUID
    new: bool


@dataclass(frozen=True, slots=True)
class _Subject:
    owner_agency_id: UUID
    area_ids: Sequence[UUID]
    installation_purposes: Sequence[str]
    camera_id: UUID | None
    latitude: float | None
    longitude: float | None


@dataclass(frozen=True, slots=True)
class _Row:
    """An event as it is written: the columns of `events`, lists as PostgreSQL writes them, and how it is numbered."""

    id: UUID
    occurred_at: datetime | None
    kind: str
    source: str
    severity: int
    urgency: int
    subject_kind: str
    subject_id: UUID | None
    camera_id: UUID | None
    incident_id: UUID | None
    owner_agency_id: UUID
    area_ids: str
    installation_purposes: str
    latitude: float | None
    longitude: float | None
    exercise: bool
    restriction: str
    media_ref: str
    regards_id: UUID | None
    regards_kind: str
    data: str
    acknowledge_seconds: int


async def record(session: AsyncSession, actor: Actor | None, report: Report) -> Recorded:
    """Store one event; see `record_many`."""
    try:
        return (await record_many(session, actor, [report]))[0]
    except Refusal as refusal:
        refusal.extra.pop("index", None)
        raise


async def record_many(session: AsyncSession, actor: Actor | None, reports: Sequence[Report]) -> list[Recorded]:
    """Store events of the actor's own agency and append them to the ledger, in the caller's transaction: all or none.

    Subjects (cameras or assets) must belong to the actor's agency; without one the event is the agency's own. Without
    an actor the house itself reports, always of a subject: the event is its owner's. Within one urgency the ledger
    keeps the order of `reports`. A report that came before, or twice here, gives the id of the first.

    Raises Malformed, NotFound (subject) and NotPermitted (source, type, subject), with the `index` of the report.
    """
    written = _each(reports, check)
    remit = await sources.remit(session, actor, {report.source for report in reports})
    _each(reports, remit.check)
    found = await _subjects(session, reports)

    def subject_of(report: Report) -> _Subject:
        subject = _subject(actor, report, found)
        remit.check_place(report, subject.area_ids)
        return subject

    subjects = _each(reports, subject_of)
    # Keys are the reporting institution's own: nobody can use up another's.
    body = str(actor.body_id) if actor else HOUSE
    keys = [(f"{body}/{report.source}", report.source_key) for report in reports]
    ids = await _ids(session, keys)
    rows: dict[UUID, _Row] = {}
    conditions: dict[tuple[str, str], tuple[UUID, bool]] = {}
    recorded = []
    for key, report, data, subject in zip(keys, reports, written, subjects, strict=True):
        event_id, is_new = ids[key]
        recorded.append(Recorded(event_id, new=is_new and event_id not in rows))
        if not recorded[-1].new:
            continue
        rows[event_id] = _row(event_id, report, data, subject)
        kind = KINDS[report.kind]
        if kind.lasts or kind.ends:
            conditions[kind.family, _condition(report, subject, body)] = (event_id, kind.lasts)
    if rows:
        await _write(session, list(rows.values()), conditions)
    return recorded


async def follow_up(
    session: AsyncSession, event: Mapping[str, Any], kind: str, data: Mapping[str, Any], *, actor: Actor | None = None
) -> UUID:
    """Record an event of ours about another one (a row of `events`): who may see that one may see this one.

    It has the severity of the other, and is numbered no earlier. `data` gets `event_id`, and `by`, the actor's login,
    where the kind has such a field.
    """
    told = {**data, "event_id": str(event["id"])}
    if actor is not None and any(field.name == "by" for field in KINDS[kind].fields):
        told.setdefault("by", actor.login)
    KINDS[kind].check(told)
    row = _Row(
        id=new_id(), occurred_at=None, kind=kind, source=HOUSE, severity=event["severity"],
        urgency=urgency(event["kind"], event["severity"]), subject_kind=event["subject_kind"],
        subject_id=event["subject_id"], camera_id=event["camera_id"], incident_id=event["incident_id"],
        owner_agency_id=event["owner_agency_id"], area_ids=_array(event["area_ids"]),
        installation_purposes=_array(event["installation_purposes"]), latitude=event["latitude"],
        longitude=event["longitude"], exercise=event["exercise"], restriction=event["restriction"], media_ref="",
        regards_id=event["id"], regards_kind=event["kind"], data=contents.check(told),
        acknowledge_seconds=KINDS[kind].acknowledge_seconds,
    )  # fmt: skip
    await _write(session, [row], {})
    return row.id


def _each(items: Iterable[_Item], act: Callable[[_Item], _Made]) -> list[_Made]:
    """What `act` makes of each item; a refusal says of which."""
    made = []
    for index, item in enumerate(items):
        try:
            made.append(act(item))
        except Refusal as refusal:
            refusal.extra["index"] = index
            raise
    return made


_SUBJECTS = text(
    "SELECT 'cameras', id, owner_agency_id, area_ids, installation_purposes, id AS camera_id, latitude, longitude"
    " FROM camera_positions WHERE id = ANY(CAST(:cameras AS uuid[]))"
    " UNION ALL SELECT 'assets', id, owner_agency_id, area_ids, '{}', camera_ids[1], latitude, longitude"
    " FROM assets WHERE id = ANY(CAST(:assets AS uuid[]))"
)


async def _subjects(session: AsyncSession, reports: Sequence[Report]) -> dict[tuple[str, UUID], _Subject]:
    wanted: dict[str, set[UUID]] = {"cameras": set(), "assets": set()}
    for report in reports:
        if report.subject_id is not None:
            wanted[report.subject_kind].add(report.subject_id)
    if not any(wanted.values()):
        return {}
    rows = await session.execute(_SUBJECTS, {kind: list(ids) for kind, ids in wanted.items()})
    return {(row[0], row[1]): _Subject(*row[2:]) for row in rows}


def _subject(actor: Actor | None, report: Report, found: Mapping[tuple[str, UUID], _Subject]) -> _Subject:
    if report.subject_id is None:
        if actor is None:
            raise Malformed("subject: what the house reports is about a thing", field="subject")
        return _Subject(actor.body_id, report.area_ids, (), None, report.latitude, report.longitude)
    subject = found.get((report.subject_kind, report.subject_id))
    if subject is None or (actor is not None and subject.owner_agency_id not in actor.acts_for_ids):
        raise NotFound("subject: there is no such thing of your agency", field="subject")
    return subject


_KEYS = text(
    "INSERT INTO event_keys (source, source_key, event_id) SELECT source, source_key, event_id"
    " FROM unnest(CAST(:sources AS text[]), CAST(:keys AS text[]), CAST(:ids AS uuid[]))"
    " WITH ORDINALITY AS given (source, source_key, event_id, number) ORDER BY number"
    " ON CONFLICT DO NOTHING RETURNING event_id"
)
_KNOWN = text(
    "SELECT source, source_key, event_id FROM event_keys JOIN unnest(CAST(:sources AS text[]), CAST(:keys AS text[]))"
    " AS given (source, source_key) USING (source, source_key)"
)


async def _ids(session: AsyncSession, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], tuple[UUID, bool]]:
    """For each key the id of its event, and whether it is new. Keys are taken in one order, lest two batches lock."""
    offered = {key: new_id() for key in sorted(set(keys))}
    columns = {"sources": [key[0] for key in offered], "keys": [key[1] for key in offered]}
    taken = set((await session.scalars(_KEYS, {**columns, "ids": list(offered.values())})).all())
    ids = {key: (event_id, event_id in taken) for key, event_id in offered.items()}
    if len(taken) < len(offered):  # a statement of its own sees what others committed while the first one waited
        known = await session.execute(_KNOWN, columns)
        ids |= {(row.source, row.source_key): (row.event_id, row.event_id in taken) for row in known}
    return ids


def _row(event_id: UUID, report: Report, data: str, subject: _Subject) -> _Row:
    kind = KINDS[report.kind]
    severity = SEVERITIES.index(report.severity) if report.severity else kind.severity
    return _Row(
        id=event_id, occurred_at=report.occurred_at, kind=report.kind, source=report.source, severity=severity,
        urgency=urgency(report.kind, severity), subject_kind=report.subject_kind if report.subject_id else "",
        subject_id=report.subject_id, camera_id=subject.camera_id, incident_id=report.incident_id,
        owner_agency_id=subject.owner_agency_id, area_ids=_array(subject.area_ids),
        installation_purposes=_array(subject.installation_purposes), latitude=subject.latitude,
        longitude=subject.longitude, exercise=report.exercise, restriction=report.restriction,
        media_ref=report.media_ref, regards_id=None, regards_kind="", data=data,
        acknowledge_seconds=kind.acknowledge_seconds,
    )  # fmt: skip


def _array(items: Iterable[object]) -> str:
    """A list as PostgreSQL reads it from text: lists of different lengths do not fit into one array of arrays."""
    quoted = (str(item).replace("\\", "\\\\").replace('"', '\\"') for item in items)
    return "{" + ",".join(f'"{item}"' for item in quoted) + "}"


def _condition(report: Report, subject: _Subject, body: str) -> str:
    """What a condition is of: a thing, an incident, else a source; of a crowd one zone of it.

    Nobody ends the condition of another owner's incident, and no drill ends a real condition.
    """
    noun = KINDS[report.kind].noun
    if noun == "incident" and report.incident_id is not None:
        of = f"incident/{report.incident_id}/{subject.owner_agency_id}"
    elif report.subject_id is not None:
        of = f"{report.subject_kind}/{report.subject_id}"
    else:
        of = f"{body}/{report.source}"
    if noun == "crowd" and (zone := report.data.get("zone")):
        of += "#" + (zone if len(zone) <= MOST_ZONE else sha256(zone.encode()).hexdigest())
    return f"exercise/{of}" if report.exercise else of


# One statement. Pending rows are inserted after the conditions, whose locks put writers of the same condition in
# order: an end gets its turn after the beginning that was committed before it. (They come of `held`, so they wait.)
_COLUMNS = (
    ("id", "uuid"), ("occurred_at", "timestamptz"), ("kind", "text"), ("source", "text"), ("severity", "int2"),
    ("urgency", "int2"), ("subject_kind", "text"), ("subject_id", "uuid"), ("camera_id", "uuid"),
    ("incident_id", "uuid"), ("owner_agency_id", "uuid"), ("area_ids", "text"), ("installation_purposes", "text"),
    ("latitude", "float8"), ("longitude", "float8"), ("exercise", "bool"), ("restriction", "text"),
    ("media_ref", "text"), ("regards_id", "uuid"), ("regards_kind", "text"), ("data", "text"),
    ("acknowledge_seconds", "int4"),
)  # fmt: skip
_NAMES = tuple(name for name, _ in _COLUMNS)
_WRITE = text(
    f"""
WITH given AS (
    SELECT * FROM unnest({", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in _COLUMNS)})
    WITH ORDINALITY AS row ({", ".join(_NAMES)}, number)
), stored AS (
    INSERT INTO events (id, occurred_at, kind, source, severity, subject_kind, subject_id, camera_id, incident_id,
        owner_agency_id, area_ids, installation_purposes, latitude, longitude, exercise, restriction, media_ref,
        regards_id, regards_kind, data)
    SELECT id, coalesce(occurred_at, now()), kind, source, severity, subject_kind, subject_id, camera_id, incident_id,
        owner_agency_id, CAST(area_ids AS uuid[]), CAST(installation_purposes AS text[]), latitude, longitude,
        exercise, restriction, media_ref, regards_id, regards_kind, CAST(data AS jsonb)
    FROM given
), rung AS (
    INSERT INTO alarms (event_id, event_at, kind, owner_agency_id, due_at)
    SELECT id, now(), kind, owner_agency_id, now() + make_interval(secs => acknowledge_seconds)
    FROM given WHERE acknowledge_seconds > 0
), held AS (
    INSERT INTO conditions (family, subject, event_id, event_at, lasts)
    SELECT family, subject, event_id, now(), lasts
    FROM unnest(CAST(:families AS text[]), CAST(:subjects AS text[]), CAST(:condition_ids AS uuid[]),
        CAST(:lasting AS bool[])) WITH ORDINALITY AS condition (family, subject, event_id, lasts, number)
    ORDER BY number
    ON CONFLICT (family, subject)
    DO UPDATE SET event_id = excluded.event_id, event_at = excluded.event_at, lasts = excluded.lasts
    RETURNING 1
)
INSERT INTO event_pending (id, urgency)
SELECT id, urgency FROM given CROSS JOIN (SELECT count(*) AS conditions FROM held) AS locked
WHERE locked.conditions >= 0 ORDER BY number
"""  # noqa: S608 - names of our own columns
)


async def _write(
    session: AsyncSession, rows: Sequence[_Row], conditions: Mapping[tuple[str, str], tuple[UUID, bool]]
) -> None:
    """Insert events with their alarms and conditions, and ask for their positions."""
    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows] for name in _NAMES}
    held = sorted(conditions.items())
    columns["families"] = [key[0] for key, _ in held]
    columns["subjects"] = [key[1] for key, _ in held]
    columns["condition_ids"] = [value[0] for _, value in held]
    columns["lasting"] = [value[1] for _, value in held]
    await session.execute(_WRITE, columns)
    ledger.mark(session, ledger.EVENTS)
