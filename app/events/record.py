"""Writing events down, each once, in the transaction of what caused them.

What one request reports is written by a fixed handful of statements, however many events it holds. Rows are locked
in one order everywhere (keys by their texts, then conditions by theirs), so that two reporters never wait for each
other in a circle.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app import ledger
from app.actor import Actor
from app.database import On, fetch
from app.errors import Malformed, NotFound, Refusal
from app.events import contents, known
from app.events.catalogue import KINDS, SEVERITIES, urgency
from app.events.conditions import Condition
from app.events.known import Found, Request, Subject, Subjects
from app.events.report import Report, check
from app.events.sources import Remit
from app.ids import new_id

__all__ = ["Recorded", "Report", "check", "follow_up", "record", "record_all", "record_many"]

HOUSE = "house"  # the source of what this service tells of itself
_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True)
class Recorded:
    """The event's id; `new` is false when the same report had come before."""

    id: UUID
    new: bool


@dataclass(frozen=True, slots=True)
class _Row:
    """An event as it is written: the columns of `events`, lists as PostgreSQL writes them, and how it is numbered."""

    id: UUID
    occurred_at: datetime | None
    kind: str
    source: str
    severity: int
    gravity: int
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


_Key = tuple[str, str]  # whose source, and its own key


async def record(on: On, actor: Actor | None, report: Report) -> Recorded:
    """Store one event; see `record_many`."""
    try:
        return (await record_many(on, actor, [report]))[0]
    except Refusal as refusal:
        refusal.extra.pop("index", None)
        raise


async def record_many(on: On, actor: Actor | None, reports: Sequence[Report]) -> list[Recorded]:
    """Store events of the actor's own agency and append them to the ledger: all or none.

    Subjects (cameras or assets) must belong to the actor's agency; without one the event is the agency's own. Without
    an actor the house itself reports: of a subject, whose owner's the event is, or it names the owner. Within one
    urgency the ledger keeps the order of `reports`. A report that came before, or twice here, gives the first one's id.

    In a session it is part of the caller's transaction; on a bare connection it is committed on return, and perhaps
    numbered; the caller pokes the sequencer.

    Raises Malformed, NotFound (subject) and NotPermitted (source, type, subject), with the `index` of the report.
    """
    (recorded,), _ = await record_all(on, [(actor, reports)])
    if isinstance(recorded, Refusal):
        raise recorded
    return recorded


async def record_all(
    on: On, requests: Sequence[Request], found: Found | None = None
) -> tuple[list[list[Recorded] | Refusal], ledger.Rows]:
    """As `record_many`, for several reporters at once by the same few statements; who is refused is left out.

    `found` is what is known of all the reports, where the caller has asked for that.

    Beside it those events, with their positions, that were numbered in the same go: only on a bare connection without
    a transaction, and only when nobody else was numbering.
    """
    refused: dict[int, Refusal] = {}

    def of_each(act: Callable[[int], _Made]) -> dict[int, _Made]:
        """What `act` makes of each request that has not been refused."""
        made = {}
        for number in set(range(len(requests))) - set(refused):
            try:
                made[number] = act(number)
            except Refusal as refusal:
                refused[number] = refusal
        return made

    written = of_each(lambda number: _each(requests[number][1], check))
    if found is None:
        found = await known.of_actors(on, [requests[number] for number in written])
    subjects, remits = found.subjects, {number: found.remit(*requests[number]) for number in written}
    of_each(lambda number: _each(requests[number][1], remits[number].check))
    prepared = of_each(lambda number: _prepared(*requests[number], written[number], remits[number], subjects))
    firsts: dict[_Key, tuple[_Row, Condition | None]] = {}
    for _, own in sorted(prepared.items()):
        for key, row, condition in own:
            firsts.setdefault(key, (row, condition))
    ids, numbered = await _write(on, firsts)
    is_new = {key for key, (row, _) in firsts.items() if ids[key] == row.id}
    recorded: list[list[Recorded] | Refusal] = []
    for number in range(len(requests)):
        if number in refused:
            recorded.append(refused[number])
            continue
        made = []
        for key, _, _ in prepared[number]:
            made.append(Recorded(ids[key], new=key in is_new))
            is_new.discard(key)
        recorded.append(made)
    return recorded, numbered


def _prepared(
    actor: Actor | None,
    reports: Sequence[Report],
    written: Sequence[str],
    remit: Remit,
    found: Subjects,
) -> list[tuple[_Key, _Row, Condition | None]]:
    """What would be written of each report. Keys are the reporting institution's own: nobody uses up another's."""

    def subject_of(report: Report) -> Subject:
        subject = _subject(actor, report, found)
        remit.check_place(report, subject.area_ids)
        return subject

    body = str(actor.body_id) if actor else HOUSE
    prepared = []
    for report, data, subject in zip(reports, written, _each(reports, subject_of), strict=True):
        key = (f"{body}/{report.source}", report.source_key)
        row = _row(new_id(), report, data, subject)
        prepared.append((key, row, Condition.told_by(report, subject, body)))
    return prepared


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
        gravity=event["severity"] if event["gravity"] is None else event["gravity"],
        urgency=urgency(event["kind"], event["severity"]), subject_kind=event["subject_kind"],
        subject_id=event["subject_id"], camera_id=event["camera_id"], incident_id=event["incident_id"],
        owner_agency_id=event["owner_agency_id"], area_ids=_array(event["area_ids"]),
        installation_purposes=_array(event["installation_purposes"]), latitude=event["latitude"],
        longitude=event["longitude"], exercise=event["exercise"], restriction=event["restriction"], media_ref="",
        regards_id=event["id"], regards_kind=event["kind"], data=contents.check(told),
        acknowledge_seconds=KINDS[kind].acknowledge_seconds,
    )  # fmt: skip
    await fetch(session, _WRITE_OWN, *_values([row]))
    ledger.mark(session, ledger.EVENTS)
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


def _subject(actor: Actor | None, report: Report, found: Subjects) -> Subject:
    if report.subject_id is None:
        owner = actor.body_id if actor else report.owner_agency_id
        if owner is None:
            raise Malformed("subject: what the house reports is about a thing, or an agency's", field="subject")
        return Subject(owner, report.area_ids, (), None, report.latitude, report.longitude)
    subject = found.get((report.subject_kind, report.subject_id))
    if subject is None or (actor is not None and subject.owner_agency_id not in actor.acts_for_ids):
        raise NotFound("subject: there is no such thing of your agency", field="subject")
    return subject


def _row(event_id: UUID, report: Report, data: str, subject: Subject) -> _Row:
    kind = KINDS[report.kind]
    severity = SEVERITIES.index(report.severity) if report.severity else kind.severity
    return _Row(
        id=event_id, occurred_at=report.occurred_at, kind=report.kind, source=report.source, severity=severity,
        gravity=severity, urgency=urgency(report.kind, severity),
        subject_kind=report.subject_kind if report.subject_id else "", subject_id=report.subject_id,
        camera_id=subject.camera_id, incident_id=report.incident_id,
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


_COLUMNS = (
    ("id", "uuid"), ("occurred_at", "timestamptz"), ("kind", "text"), ("source", "text"), ("severity", "int2"),
    ("gravity", "int2"), ("urgency", "int2"), ("subject_kind", "text"), ("subject_id", "uuid"), ("camera_id", "uuid"),
    ("incident_id", "uuid"), ("owner_agency_id", "uuid"), ("area_ids", "text"), ("installation_purposes", "text"),
    ("latitude", "float8"), ("longitude", "float8"), ("exercise", "bool"), ("restriction", "text"),
    ("media_ref", "text"), ("regards_id", "uuid"), ("regards_kind", "text"), ("data", "text"),
    ("acknowledge_seconds", "int4"),
)  # fmt: skip
_NAMES = tuple(name for name, _ in _COLUMNS)
_GIVEN = ", ".join(f"${number}::{kind}[]" for number, (_, kind) in enumerate(_COLUMNS, 1))
# One statement, and so one transaction on a bare connection. Of each key one event is taken; keys are locked in one
# order, and after them conditions in theirs: each is sorted as a whole before its first row is locked. Pending rows
# come last (of `held`, so they wait): the locks of conditions put their writers in order, and an end gets its turn
# after the beginning that was committed before it. What lasts is as grave as it has ever been since it began.
_HELD = """, spoken AS (
    SELECT condition.*, fresh.gravity, fresh.number
    FROM unnest(${0}::text[], ${1}::text[], ${2}::text[], ${3}::bool[], ${4}::uuid[])
        AS condition (family, subject, place, lasts, id) JOIN fresh USING (id)
), held AS (
    INSERT INTO conditions AS c (family, subject, place, event_id, event_at, lasts, gravity, ended_id, ended_at)
    SELECT family, subject, place, newest[1], now(), ended IS NULL OR newest[1] <> ended[1], gravity, ended[1],
        CASE WHEN ended IS NOT NULL THEN now() END
    FROM (
        SELECT family, subject, place, array_agg(id ORDER BY number DESC) AS newest, max(gravity) AS gravity,
            array_agg(id ORDER BY number DESC) FILTER (WHERE NOT lasts) AS ended
        FROM spoken GROUP BY family, subject, place
    ) AS each ORDER BY family, subject, place
    ON CONFLICT (family, subject, place) DO UPDATE SET event_id = excluded.event_id, event_at = excluded.event_at,
        lasts = excluded.lasts, ended_id = coalesce(excluded.ended_id, c.ended_id),
        ended_at = coalesce(excluded.ended_at, c.ended_at),
        gravity = CASE WHEN c.lasts THEN greatest(c.gravity, excluded.gravity) ELSE excluded.gravity END
    RETURNING family, subject, place, gravity
)"""
_GRAVER = (
    "LEFT JOIN (SELECT spoken.id, held.gravity FROM spoken JOIN held USING (family, subject, place)) AS c USING (id)"
)
_LOCKED = "CROSS JOIN (SELECT count(*) AS conditions FROM held) AS locked WHERE locked.conditions >= 0"
_WRITE = """
WITH given AS (
    SELECT * FROM unnest({given}) WITH ORDINALITY AS row ({names}, number)
), taken AS (
    {taken}
), fresh AS (
    SELECT given.* FROM given JOIN taken USING (id)
){held}, stored AS (
    INSERT INTO events (id, occurred_at, kind, source, severity, gravity, subject_kind, subject_id, camera_id,
        incident_id, owner_agency_id, area_ids, installation_purposes, latitude, longitude, exercise, restriction,
        media_ref, regards_id, regards_kind, data)
    SELECT id, coalesce(occurred_at, now()), kind, source, severity, {gravity}, subject_kind, subject_id, camera_id,
        incident_id, owner_agency_id, CAST(area_ids AS uuid[]), CAST(installation_purposes AS text[]), latitude,
        longitude, exercise, restriction, media_ref, regards_id, regards_kind, CAST(data AS jsonb)
    FROM fresh {graver}
    RETURNING *
), sealed AS (
    INSERT INTO restricted_incidents (incident_id, restriction)
    SELECT incident_id, max(restriction) FROM fresh
    WHERE incident_id IS NOT NULL AND restriction <> '' AND NOT exercise GROUP BY incident_id ORDER BY incident_id
    ON CONFLICT DO NOTHING
), rung AS (
    INSERT INTO alarms (event_id, event_at, kind, owner_agency_id, due_at)
    SELECT id, now(), kind, owner_agency_id, now() + make_interval(secs => acknowledge_seconds)
    FROM fresh WHERE acknowledge_seconds > 0
), queued AS (
    INSERT INTO event_pending (id, urgency) SELECT id, urgency FROM fresh {locked} ORDER BY number
    RETURNING 1
)
"""
_TAKEN = "SELECT id AS taken FROM taken"
# The function's statements see what this one has written so far: everything, since it is not called before.
_NUMBERED = f""", numbered AS (
    SELECT each.* FROM (
        SELECT (SELECT count(*) FROM queued) + (SELECT count(*) FROM stored) AS rows
    ) AS written, LATERAL events_number_at_once(CASE WHEN rows > 0 THEN {ledger.AT_ONCE} ELSE 0 END) AS each
)
SELECT taken.id AS taken, numbered.position, stored.*
FROM taken FULL JOIN numbered USING (id) LEFT JOIN stored USING (id) ORDER BY position
"""  # noqa: S608 - our own SQL
_KEYS, _CONDITIONS = len(_COLUMNS) + 1, len(_COLUMNS) + 3  # the first parameters of each
_BY_KEYS = f"""INSERT INTO event_keys (source, source_key, event_id)
    SELECT source, source_key, id
    FROM unnest(${_KEYS}::text[], ${_KEYS + 1}::text[], $1::uuid[]) AS key (source, source_key, id)
    ORDER BY source, source_key
    ON CONFLICT DO NOTHING RETURNING event_id AS id"""  # noqa: S608 - our own SQL
_WITHOUT = {"given": _GIVEN, "names": ", ".join(_NAMES), "held": "", "gravity": "gravity", "graver": "", "locked": ""}
_WITH = {
    **_WITHOUT, "held": _HELD.format(*range(_CONDITIONS, _CONDITIONS + 5)),
    "gravity": "coalesce(c.gravity, fresh.gravity)", "graver": _GRAVER, "locked": _LOCKED,
}  # fmt: skip
_WRITE_OWN = _WRITE.format(taken="SELECT id FROM given", **_WITHOUT) + _TAKEN
# By whether any event is of a condition (without, it is faster), and whether the statement may number.
_WRITES = {
    (is_of_conditions, may_number): _WRITE.format(taken=_BY_KEYS, **parts) + (_NUMBERED if may_number else _TAKEN)
    for is_of_conditions, parts in ((False, _WITHOUT), (True, _WITH))
    for may_number in (False, True)
}
_KNOWN = """
SELECT source, source_key, event_id FROM event_keys JOIN unnest($1::text[], $2::text[])
    AS given (source, source_key) USING (source, source_key)
"""


async def _write(on: On, written: Mapping[_Key, tuple[_Row, Condition | None]]) -> tuple[dict[_Key, UUID], ledger.Rows]:
    """Insert those events whose keys are new, and give every key the id of its event; and what was numbered with it.

    A transaction that goes on must not number: until it ends nobody else could.
    """
    if not written:
        return {}, []
    of_keys = [key[0] for key in written], [key[1] for key in written]
    ends = not isinstance(on, AsyncSession) and not on.is_in_transaction()
    conditions = [(*condition, row.id) for row, condition in written.values() if condition is not None]
    values = (*_values([row for row, _ in written.values()]), *of_keys, *map(list, zip(*conditions, strict=True)))
    rows = await fetch(on, _WRITES[bool(conditions), ends], *values)
    if isinstance(on, AsyncSession):
        ledger.mark(on, ledger.EVENTS)
    ids = {key: row.id for key, (row, _) in written.items()}
    taken = {row[0] for row in rows if row[0] is not None}
    if len(taken) < len(ids):  # a statement of its own sees what others committed while the first one waited
        ids |= {(row[0], row[1]): row[2] for row in await fetch(on, _KNOWN, *of_keys)}
    return ids, [row for row in rows if row["position"] is not None and row["taken"] is not None] if ends else []


def _values(rows: Sequence[_Row]) -> list[list[Any]]:
    return [[getattr(row, name) for row in rows] for name in _NAMES]
