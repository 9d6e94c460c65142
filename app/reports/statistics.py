"""Statistics of grants, refusals and views, by Korean months: what a city publishes, and what an overseer compares.

Drills (훈련) are counted apart. Restricted accesses count only for who reads the log of the institution that acted:
a number of one can tell as much as a name. No person stands in them.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Boolean, DateTime, Uuid, bindparam, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.codes import BASES, USE_PURPOSES
from app.actor import Actor
from app.audit import entries
from app.audit.restricted import grant_is_restricted, incident_is_restricted
from app.errors import Malformed, NotFound, NotPermitted
from app.models import Agency, CameraPosition
from app.registry.imports.text import defused
from app.reports import charts
from app.reports.calendar import Month

READS = ("read_statistics", "read_audit", "supervise", "administer")
MOST_MONTHS = 24
TOP_CAMERAS = 20

_MONTH, _HOUR = "to_char(at AT TIME ZONE 'Asia/Seoul', 'YYYY-MM')", "extract(hour FROM at AT TIME ZONE 'Asia/Seoul')"
_WHOSE = "({row}.agency_id = ANY(:agency_ids) OR {row}.owner_agency_id = ANY(:agency_ids))"
_TOLD = f"(NOT {grant_is_restricted('g')} OR (:restricted AND g.agency_id = ANY(:agency_ids)))"
# A grant lives no longer than a sign-in: which partitions hold those of the period's views.
_NEAR = "g.at >= CAST(:since AS timestamptz) - interval '2 days' AND g.at < :until"
_VIEWS = f"""
WITH seen AS MATERIALIZED (
    SELECT v.at, v.camera_id, v.agency_id, v.seconds::float8 AS seconds, g.use_purpose, g.basis, g.urgency
    FROM views v JOIN grants g ON g.id = v.grant_id AND g.at = v.grant_at AND {_NEAR}
    WHERE v.at >= :since AND v.at < :until AND {_WHOSE.format(row="v")} AND {_TOLD} AND NOT g.exercise
)
SELECT CASE WHEN GROUPING({_MONTH}) = 0 THEN 'month' WHEN GROUPING({_HOUR}) = 0 THEN 'hour'
    WHEN GROUPING(use_purpose) = 0 THEN 'purpose' WHEN GROUPING(basis) = 0 THEN 'basis'
    WHEN GROUPING(urgency) = 0 THEN 'urgency' WHEN GROUPING(agency_id) = 0 THEN 'agency' ELSE 'camera' END AS by,
    coalesce({_MONTH}, {_HOUR}::int::text, use_purpose, basis, urgency::text, agency_id::text, camera_id::text) AS key,
    count(*) AS views, sum(seconds) AS seconds
FROM seen GROUP BY GROUPING SETS (({_MONTH}), ({_HOUR}), (use_purpose), (basis), (urgency), (agency_id), (camera_id))
"""  # noqa: S608 - our own SQL
_GRANTS = f"""
SELECT CASE WHEN GROUPING({_MONTH}) = 0 THEN 'month' WHEN GROUPING(use_purpose) = 0 THEN 'purpose'
    WHEN GROUPING(basis) = 0 THEN 'basis' WHEN GROUPING(urgency) = 0 THEN 'urgency' ELSE 'agency' END AS by,
    coalesce({_MONTH}, use_purpose, basis, urgency::text, agency_id::text) AS key,
    count(*) FILTER (WHERE NOT exercise) AS grants, count(*) FILTER (WHERE exercise) AS exercises
FROM (SELECT * FROM grants g WHERE g.at >= :since AND g.at < :until AND {_WHOSE.format(row="g")}
    AND {_TOLD}) g
GROUP BY GROUPING SETS (({_MONTH}), (use_purpose), (basis), (urgency), (agency_id))
"""  # noqa: S608 - our own SQL
# A refusal's entry names the camera and who asked, as the institution; its owner is the camera's.
_REFUSALS = f"""
SELECT CASE WHEN GROUPING({_MONTH}) = 0 THEN 'month' ELSE 'agency' END AS by,
    coalesce({_MONTH}, agency_id::text) AS key, count(*) AS refusals
FROM (SELECT e.at, e.agency_id FROM audit_entries e LEFT JOIN camera_positions p ON p.id = e.camera_id
    WHERE e.act = 'grant.refused' AND e.at >= :since AND e.at < :until AND e.restriction = ''
    AND NOT {incident_is_restricted("CAST(e.payload ->> 'incident_id' AS uuid)")}
    AND (e.agency_id = ANY(:agency_ids) OR p.owner_agency_id = ANY(:agency_ids))) e
GROUP BY GROUPING SETS (({_MONTH}), (agency_id))
"""  # noqa: S608 - our own SQL
# From the call (the alarm that a grant answers), and from the asking, to the first picture of that grant.
_WAITS = f"""
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY asked) AS from_asking, count(asked) AS asked,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY called) AS from_call, count(called) AS called
FROM (
    SELECT extract(epoch FROM min(v.first_byte_at) - g.at)::float8 AS asked,
        extract(epoch FROM min(v.first_byte_at) - min(e.occurred_at))::float8 AS called
    FROM views v JOIN grants g ON g.id = v.grant_id AND g.at = v.grant_at AND {_NEAR} AND g.kind <> 'duty'
    LEFT JOIN events e ON e.id = g.event_id AND e.at >= g.at - interval '2 days' AND e.at <= g.at
    WHERE v.at >= :since AND v.at < :until AND v.first_byte_at IS NOT NULL
        AND {_WHOSE.format(row="v")} AND {_TOLD} AND NOT g.exercise
    GROUP BY g.id, g.at
) w
"""  # noqa: S608 - our own SQL
_MOMENT = DateTime(timezone=True)
_TYPES: dict[str, Any] = {
    "since": _MOMENT, "until": _MOMENT, "agency_ids": ARRAY(Uuid()), "restricted": Boolean()
}  # fmt: skip

# How each part is headed, in Korean and English.
PARTS = {
    "month": ("월별", "by month"), "hour": ("시간대별", "by hour of the day"), "purpose": ("이용 목적별", "by purpose"),
    "basis": ("법적 근거별", "by legal basis"), "urgency": ("긴급도별", "by urgency"),
    "agency": ("이용 기관별", "by agency"), "camera": ("카메라별(상위)", "top cameras"),
}  # fmt: skip
COUNTS = {
    "grants": ("승인", "grants"), "exercises": ("훈련 승인", "grants of drills"), "refusals": ("거부", "refusals"),
    "views": ("조회", "views"), "seconds": ("조회 시간(초)", "seconds viewed"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One line of one part: a code or id, its name for officials, and the counts that are known of it."""

    key: str
    label: str
    label_en: str
    counts: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of an institution, from `first` to `last` month; `waits` are each month's medians in seconds, None: unknown."""

    agency_id: UUID
    agency: str
    first: Month
    last: Month
    parts: Mapping[str, Sequence[Row]]
    waits: Mapping[str, Mapping[str, float | None]]


async def of_agency(
    session: AsyncSession, actor: Actor, agency_id: UUID | None, first: Month, last: Month
) -> Statistics:
    """The statistics of an institution in the actor's remit (None: the own one). The reading is an entry.

    Raises NotPermitted, NotFound outside the remit, Malformed for a period that is none or too long.
    """
    if not any(actor.may(capability) for capability in READS):
        raise NotPermitted(f"the role {actor.role} reads no statistics; it takes {' or '.join(READS)}")
    if not first.since <= last.since < first.after(MOST_MONTHS).since:
        raise Malformed(f"until_month: at most {MOST_MONTHS} months, none before since_month", field="until_month")
    agency_id = agency_id or actor.body_id
    within = Agency.id == actor.body_id
    if actor.may("read_statistics") or actor.may("read_audit"):
        within = or_(within, Agency.ancestor_ids.contains([actor.body_id]))
    asked = select(Agency.name, Agency.acts_for_ids).where(Agency.id == agency_id, within)
    agency = (await session.execute(asked)).first()
    if agency is None:
        raise NotFound("there is no such institution in your remit", field="agency_id")
    ids = (
        await session.scalars(select(Agency.id).where(or_(Agency.id == agency_id, Agency.body_id == agency_id)))
    ).all()
    restricted = (actor.may("read_audit") or actor.may("supervise")) and actor.body_id in agency.acts_for_ids
    found: dict[str, dict[str, dict[str, float]]] = {part: {} for part in PARTS}
    waits: dict[str, Mapping[str, float | None]] = {}
    count = (last.year - first.year) * 12 + last.month - first.month + 1
    for month in (first.after(index) for index in range(count)):  # no statement is longer than a month takes
        binds = {"since": month.since, "until": month.until, "agency_ids": list(ids), "restricted": restricted}
        for sql in (_VIEWS, _GRANTS, _REFUSALS):
            for row in (await session.execute(_typed(sql), _only(sql, binds))).mappings():
                sums = found[row["by"]].setdefault(row["key"] or "", {})
                for counted in (one for one in COUNTS if one in row):
                    sums[counted] = sums.get(counted, 0.0) + float(row[counted] or 0)
        median = (await session.execute(_typed(_WAITS), binds)).mappings().one()
        waits[str(month)] = {"from_asking": median["from_asking"], "from_call": median["from_call"]}
    found["camera"] = dict(sorted(found["camera"].items(), key=lambda one: (-one[1]["views"], one[0]))[:TOP_CAMERAS])
    names = await _names(session, found)
    made = {part: _rows(part, found[part], names, first, last) for part in PARTS}
    item = entries.entry(
        actor,
        "report.read",
        owner_agency_id=agency_id,
        what="statistics",
        since_month=str(first),
        until_month=str(last),
    )
    await entries.append(session, item)
    return Statistics(agency_id, agency.name, first, last, made, waits)


def _typed(sql: str) -> Any:
    return text(sql).bindparams(*(bindparam(name, type_=_TYPES[name]) for name in _TYPES if f":{name}" in sql))


def _only(sql: str, binds: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in binds.items() if f":{name}" in sql}


async def _names(session: AsyncSession, found: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, str]]:
    """Names of the agencies and cameras that were found, in Korean and English."""
    agency_ids = [UUID(key) for key in found["agency"] if key]
    rows = await session.execute(select(Agency.id, Agency.name, Agency.name_en).where(Agency.id.in_(agency_ids)))
    names = {str(row.id): (row.name, row.name_en or row.name) for row in rows}
    camera_ids = [UUID(key) for key in found["camera"] if key]
    cameras = await session.execute(
        select(CameraPosition.id, CameraPosition.name).where(CameraPosition.id.in_(camera_ids))
    )
    return names | {str(row.id): (row.name, row.name) for row in cameras}


def _rows(
    part: str, found: Mapping[str, Mapping[str, float]], names: Mapping[str, tuple[str, str]], first: Month, last: Month
) -> list[Row]:
    """The lines of a part in its natural order: every month and hour, codes as they are listed, else the most first."""
    if part == "month":
        count = (last.year - first.year) * 12 + last.month - first.month + 1
        keys = [str(first.after(index)) for index in range(count)]
    elif part == "hour":
        keys = [str(hour) for hour in range(24)]
    elif part == "urgency":
        keys = sorted(found)
    else:
        keys = sorted(found, key=lambda key: (-found[key].get("views", 0), -found[key].get("grants", 0), key))
    return [Row(key, *_label(part, key, names), found.get(key, {})) for key in keys]


def _label(part: str, key: str, names: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    if part == "hour":
        return f"{int(key):02}시", f"{int(key):02}:00"
    if part == "urgency":
        return f"코드 {key}", f"code {key}"
    if part == "purpose":
        return USE_PURPOSES.get(key, "카메라 설치목적"), key or "installation purpose"
    if part == "basis":
        return (BASES[key].label if key in BASES else key), key
    return names.get(key, (key, key))


# How it is told


def table(made: Statistics) -> Iterator[list[str]]:
    """The lines of the CSV: part, code, name, and the counts; cells that a spreadsheet would run are defused."""
    yield ["구분", "코드", "이름", *(korean for korean, _ in COUNTS.values())]
    for part, rows in made.parts.items():
        for row in rows:
            counts = [f"{row.counts[name]:.0f}" if name in row.counts else "" for name in COUNTS]
            yield [PARTS[part][0], defused(row.key), defused(row.label), *counts]
    for month, medians in made.waits.items():
        for name, label in (("from_asking", "요청→첫 영상 중앙값(초)"), ("from_call", "신고→첫 영상 중앙값(초)")):
            seconds = medians[name]
            yield ["대기 시간", month, label, "" if seconds is None else f"{seconds:.1f}"]


def as_csv(made: Statistics) -> str:
    """The table as Excel opens it by a double click: UTF-8 with a mark, CRLF."""
    out = io.StringIO()
    csv.writer(out).writerows(table(made))
    return "\ufeff" + out.getvalue()


def chart(made: Statistics, part: str, count: str) -> str:
    """One part of the statistics as SVG; a line for months and hours, else bars."""
    if part not in PARTS or count not in COUNTS:
        raise NotFound(f"there is no such chart; parts: {', '.join(PARTS)}, counts: {', '.join(COUNTS)}")
    korean, english = f"{PARTS[part][0]} {COUNTS[count][0]}", f"{COUNTS[count][1]} {PARTS[part][1]}"
    period = f"{made.first} – {made.last}" if made.first != made.last else str(made.first)
    values = [(row.label, row.counts.get(count, 0.0)) for row in made.parts[part]]
    title = f"{made.agency} {korean} ({period})"
    most = max(values, key=lambda one: one[1], default=("", 0.0))
    described = f"{english}, {period}. 최대 {most[0]} {most[1]:,.0f}. 합계 {sum(value for _, value in values):,.0f}."
    unit = "초" if count == "seconds" else "건"
    return (charts.line if part in ("month", "hour") else charts.bars)(title, described, values, unit)
