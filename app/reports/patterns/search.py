"""The search for patterns: a statement each, over the month's accesses of an institution."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, RowMapping, Text, TextClause, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.codes import OWN_USE
from app.audit.restricted import grant_is_restricted
from app.reports import shifts
from app.reports.calendar import Month
from app.reports.deviations import deviation
from app.reports.patterns import sentences
from app.reports.patterns.finding import MOST_ENTRIES, Finding

MOST_FINDINGS = 100  # of one pattern: the worst first
LEAST_OF_CAMERA = 10  # views of one camera by one person in a month, before it is asked about
LEAST_DAYS = 2
LEAST_VIEWS = 20  # of a person in a month, before their number is asked about
LEAST_MONTHS, MOST_MONTHS = 3, 12  # of the own history
LEAST_PEERS = 4
AFTER_REFUSAL_MINUTES = 60

# Accesses of an institution: its people's, and others' to its cameras; of these not the restricted ones, which are
# for the institution that acted to review. Drills count: footage was seen.
ACCESS = f"""
SELECT v.id, v.at, v.user_id, v.camera_id, v.grant_id, v.grant_at, v.opened_entry_id AS entry_id, v.agency_id
FROM views v WHERE v.at >= :since AND v.at < :until AND (v.agency_id = ANY(:agency_ids)
    OR (v.owner_agency_id = ANY(:agency_ids) AND NOT EXISTS (
        SELECT FROM grants r WHERE r.id = v.grant_id AND r.at = v.grant_at AND {grant_is_restricted("r")})))
"""  # noqa: S608 - our own SQL
_FIRST = f"(array_agg(jsonb_build_array(a.entry_id, a.at) ORDER BY a.at, a.id))[1:{MOST_ENTRIES}] AS entries"

_OFF_DUTY = f"""
WITH shift AS (
    SELECT * FROM unnest(CAST(:people AS uuid[]), CAST(:began AS timestamptz[]), CAST(:ended AS timestamptz[]))
        AS s (user_id, began, ended)
)
SELECT a.user_id, count(*) AS views, {_FIRST} FROM ({ACCESS}) a
WHERE a.user_id = ANY(:kept) AND a.agency_id = ANY(:agency_ids) AND NOT EXISTS (
    SELECT FROM shift s WHERE s.user_id = a.user_id AND a.at >= s.began AND a.at < s.ended)
GROUP BY a.user_id ORDER BY views DESC, a.user_id LIMIT {MOST_FINDINGS}
"""  # noqa: S608 - our own SQL
_WITHOUT_REFERENCE = f"""
SELECT a.user_id, count(*) FILTER (WHERE bare) AS views, count(*) AS asked,
    (array_agg(jsonb_build_array(a.entry_id, a.at) ORDER BY a.at, a.id) FILTER (WHERE bare))[1:{MOST_ENTRIES}]
    AS entries
FROM (
    SELECT a.*, g.incident_id IS NULL AND g.event_id IS NULL AND g.refs = '[]'::jsonb AS bare
    FROM ({ACCESS}) a JOIN grants g ON g.id = a.grant_id AND g.at = a.grant_at
        AND g.at >= CAST(:since AS timestamptz) - interval '2 days' AND g.at < :until  -- no grant outlives a sign-in
    WHERE g.basis <> :own_use AND NOT g.exercise
) a
GROUP BY a.user_id HAVING count(*) FILTER (WHERE bare) > 0 ORDER BY views DESC, a.user_id LIMIT {MOST_FINDINGS}
"""  # noqa: S608 - our own SQL
_SAME_CAMERA = f"""
WITH a AS MATERIALIZED ({ACCESS}), per AS (
    SELECT user_id, camera_id, count(*) AS views, count(DISTINCT (at AT TIME ZONE 'Asia/Seoul')::date) AS days
    FROM a GROUP BY user_id, camera_id
)
SELECT p.*, (SELECT array_agg(o.views) FROM per o WHERE o.user_id = p.user_id AND o.camera_id <> p.camera_id) AS own,
    (SELECT array_agg(o.views) FROM per o WHERE o.camera_id = p.camera_id AND o.user_id <> p.user_id) AS peers,
    (SELECT array_agg(jsonb_build_array(x.entry_id, x.at)) FROM (
        SELECT entry_id, at FROM a WHERE a.user_id = p.user_id AND a.camera_id = p.camera_id
        ORDER BY at, id LIMIT {MOST_ENTRIES}) x) AS entries
FROM (SELECT * FROM per WHERE views >= {LEAST_OF_CAMERA} AND days >= {LEAST_DAYS}
    ORDER BY views DESC, user_id, camera_id LIMIT {MOST_FINDINGS}) p ORDER BY p.views DESC, p.user_id, p.camera_id
"""  # noqa: S608 - our own SQL
_VOLUME = f"""
WITH counted AS (
    SELECT user_id, to_char(at AT TIME ZONE 'Asia/Seoul', 'YYYY-MM') AS month, count(*) AS views
    FROM views WHERE agency_id = ANY(:agency_ids) AND at >= :history_since AND at < :until GROUP BY 1, 2
), now AS (
    SELECT c.user_id, c.views, (SELECT o.role FROM appointments o WHERE o.user_id = c.user_id
        AND o.agency_id = ANY(:agency_ids) ORDER BY o.valid_from DESC LIMIT 1) AS role
    FROM counted c WHERE c.month = :month
)
SELECT n.*, (SELECT array_agg(c.views ORDER BY c.month) FROM counted c
        WHERE c.user_id = n.user_id AND c.month <> :month) AS own,
    (SELECT array_agg(p.views) FROM now p WHERE p.role = n.role AND p.user_id <> n.user_id) AS peers,
    (SELECT array_agg(jsonb_build_array(x.opened_entry_id, x.at)) FROM (
        SELECT v.opened_entry_id, v.at FROM views v WHERE v.user_id = n.user_id AND v.at >= :since AND v.at < :until
        AND v.agency_id = ANY(:agency_ids) ORDER BY v.at, v.id LIMIT {MOST_ENTRIES}) x) AS entries
FROM now n WHERE n.views >= {LEAST_VIEWS} ORDER BY n.views DESC, n.user_id
"""  # noqa: S608 - our own SQL
_CONFLICT = f"""
SELECT c.user_id, c.area_id, c.reason, count(*) AS views, count(DISTINCT a.camera_id) AS cameras,
    (array_agg(jsonb_build_array(a.opened_entry_id, a.at) ORDER BY a.at, a.id))[1:{MOST_ENTRIES}] AS entries
FROM conflict_areas c JOIN views a ON a.user_id = c.user_id AND a.at >= :since AND a.at < :until
    AND a.at >= c.valid_from AND (c.valid_to IS NULL OR a.at < c.valid_to) AND a.agency_id = ANY(:agency_ids)
JOIN camera_positions p ON p.id = a.camera_id AND c.area_id = ANY(p.area_ids)
WHERE c.agency_id = ANY(:agency_ids)
GROUP BY c.id ORDER BY views DESC, c.user_id, c.area_id LIMIT {MOST_FINDINGS}
"""  # noqa: S608 - our own SQL
_AFTER_REFUSAL = f"""
SELECT r.user_id, r.camera_id, r.at AS refused_at, r.id AS refused_id, r.reason, r.purpose AS refused_purpose,
    r.basis AS refused_basis, a.at, a.opened_entry_id AS entry_id, g.use_purpose AS purpose, g.basis
FROM (
    SELECT e.id, e.at, e.camera_id, CAST(e.payload ->> 'user_id' AS uuid) AS user_id, e.payload ->> 'reason' AS reason,
        e.payload ->> 'purpose' AS purpose, e.payload ->> 'basis' AS basis
    FROM audit_entries e WHERE e.act = 'grant.refused' AND e.at >= :since AND e.at < :until AND e.payload IS NOT NULL
) r
JOIN LATERAL (
    SELECT v.* FROM views v WHERE v.camera_id = r.camera_id AND v.user_id = r.user_id AND v.at > r.at
        AND v.at <= r.at + make_interval(mins => {AFTER_REFUSAL_MINUTES})
        AND (v.agency_id = ANY(:agency_ids) OR v.owner_agency_id = ANY(:agency_ids))
    ORDER BY v.at LIMIT 1
) a ON true
JOIN grants g ON g.id = a.grant_id AND g.at = a.grant_at
WHERE NOT {grant_is_restricted("g")} OR a.agency_id = ANY(:agency_ids)
ORDER BY r.at, r.id LIMIT {MOST_FINDINGS}
"""  # noqa: S608 - our own SQL
_MOMENT = DateTime(timezone=True)
_TYPES: dict[str, Any] = {
    "agency_ids": ARRAY(Uuid()), "since": _MOMENT, "until": _MOMENT, "history_since": _MOMENT, "month": Text(),
    "people": ARRAY(Uuid()), "began": ARRAY(_MOMENT), "ended": ARRAY(_MOMENT), "kept": ARRAY(Uuid()), "own_use": Text(),
}  # fmt: skip


def typed(sql: str) -> TextClause:
    """The statement with the types of the parameters that it names."""
    return text(sql).bindparams(*(bindparam(name, type_=_TYPES[name]) for name in named_in(sql) if name in _TYPES))


def named_in(sql: str) -> set[str]:
    """The parameters that a statement names."""
    return set(re.findall(r"(?<![:\w]):([a-z_]+)", sql))


class _Search:
    """One institution's month."""

    def __init__(self, session: AsyncSession, agency_ids: Sequence[UUID], month: Month) -> None:
        self._session = session
        self.agency_ids, self.month = list(agency_ids), month
        self._binds: dict[str, Any] = {
            "agency_ids": self.agency_ids, "since": month.since, "until": month.until, "month": str(month),
            "history_since": month.after(-MOST_MONTHS).since, "own_use": OWN_USE,
        }  # fmt: skip

    async def rows(self, sql: str, **more: Any) -> Sequence[RowMapping]:
        names = named_in(sql)
        binds = {name: value for name, value in (self._binds | more).items() if name in names}
        return (await self._session.execute(typed(sql), binds)).mappings().all()

    async def off_duty(self) -> list[Finding]:
        """Views of people who work in shifts, when none of their shifts ran."""
        known = await shifts.of(self._session, self.agency_ids, self.month.since, self.month.until)
        if not known.people:
            return []
        rows = await self.rows(
            _OFF_DUTY, kept=list(known.people), people=[one[0] for one in known.windows],
            began=[one[1] for one in known.windows], ended=[one[2] for one in known.windows],
        )  # fmt: skip
        return [
            _finding("off_duty", row, {"views": row["views"], "roster": row["user_id"] in known.rostered})
            for row in rows
        ]

    async def without_reference(self) -> list[Finding]:
        """Views of others' footage (any basis but own use) that name no incident, alarm or number."""
        rows = await self.rows(_WITHOUT_REFERENCE)
        return [
            _finding("without_reference", row, {"views": row["views"], "of": row["asked"]}) for row in rows
        ]  # fmt: skip

    async def same_camera(self) -> list[Finding]:
        """One camera that one person opened far more often than the others it watches, and than others watch it."""
        findings = []
        for row in await self.rows(_SAME_CAMERA):
            own = deviation(row["views"], row["own"]) if row["own"] else None
            peers = deviation(row["views"], row["peers"]) if len(row["peers"] or ()) >= LEAST_PEERS else None
            if all(one.is_high for one in (own, peers) if one is not None):
                numbers = {"views": row["views"], "days": row["days"]}
                numbers |= {"own": own.numbers()} if own else {}
                numbers |= {"peers": peers.numbers()} if peers else {}
                findings.append(_finding("same_camera", row, numbers, camera_id=row["camera_id"]))
        return findings

    async def volume(self) -> list[Finding]:
        """People of the institution who viewed far more than in their own months before, or than their peers."""
        findings = []
        for row in await self.rows(_VOLUME):
            own = deviation(row["views"], row["own"]) if len(row["own"] or ()) >= LEAST_MONTHS else None
            peers = deviation(row["views"], row["peers"]) if len(row["peers"] or ()) >= LEAST_PEERS else None
            numbers = {"views": row["views"], "role": row["role"]}
            numbers |= {"own": own.numbers()} if own and own.is_high else {}
            numbers |= {"peers": peers.numbers()} if peers and peers.is_high else {}
            if "own" in numbers or "peers" in numbers:
                findings.append(_finding("volume", row, numbers))
        return findings[:MOST_FINDINGS]

    async def conflict_area(self) -> list[Finding]:
        """Views of cameras in an area that the person itself has declared."""
        rows = await self.rows(_CONFLICT)
        return [
            _finding(
                "conflict_area", row,
                {name: row[name] for name in ("views", "cameras", "reason")} | {"area_id": str(row["area_id"])},
            )
            for row in rows
        ]  # fmt: skip

    async def after_refusal(self) -> list[Finding]:
        """A camera seen within the hour after it was refused to the same person."""
        findings = []
        for row in await self.rows(_AFTER_REFUSAL):
            numbers = {
                "seconds": round((row["at"] - row["refused_at"]).total_seconds()), "refused_because": row["reason"],
                "refused_purpose": row["refused_purpose"] or "", "refused_basis": row["refused_basis"] or "",
                "purpose": row["purpose"], "basis": row["basis"],
            }  # fmt: skip
            entries = [[row["refused_id"], row["refused_at"]], [row["entry_id"], row["at"]]]
            findings.append(_finding("after_refusal", {**row, "entries": entries}, numbers, camera_id=row["camera_id"]))
        return findings


def _finding(kind: str, row: Any, numbers: dict[str, Any], *, camera_id: UUID | None = None) -> Finding:
    korean, english = sentences.of(kind, numbers)
    return Finding(
        kind=kind, user_id=row["user_id"], camera_id=camera_id, numbers=numbers, korean=korean, english=english,
        entries=[(_id(one[0]), _moment(one[1])) for one in row["entries"]],
    )  # fmt: skip


def _id(value: Any) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)


def _moment(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


async def found(session: AsyncSession, agency_ids: Sequence[UUID], month: Month) -> list[Finding]:
    """Everything unusual in a month of an institution (its id and those of its units), pattern by pattern."""
    search = _Search(session, agency_ids, month)
    return [
        *await search.off_duty(), *await search.conflict_area(), *await search.after_refusal(),
        *await search.without_reference(), *await search.same_camera(), *await search.volume(),
    ]  # fmt: skip
