"""Manifests (순회 기록): what one console showed in one hour of walls and tours, sealed.

A tile of a wall is a showing. An hour after it began to be written it is over, and the showings of each duty become
one manifest: their intervals, an index by camera, and the audit entry `manifest.sealed` with the digest of the
canonical document; then the showings go. All of it is one transaction, so there is no moment at which an interval is
in both places or in neither.

- Intervals are clipped to the hour. A showing that runs on is split at the hour: its part is sealed with an empty
  cause and no bytes, which stand where it ends; the rest waits for its own hour.
- An hour is sealed a minute after its end at the earliest, and not while a showing of it stands open whose process
  has not been heard of since the hour was over: it may have ended within it. Another process closes it in seconds.
- What comes later all the same, and what is more than MOST_SHOWINGS, goes into further parts of the same hour.
- A duty is one person's: a manifest names no person, and holds after the person's data were erased.
"""

import asyncio
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Any
from uuid import UUID

import asyncpg
import orjson
from sqlalchemy import RowMapping, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.access import rights
from app.actor import Actor
from app.audit import entries
from app.database import LOST
from app.errors import NotFound, NotPermitted, Refusal
from app.ids import new_id
from app.models import Agency, Appointment, CameraPosition, Duty, Manifest
from app.streams.writer import Writer, unavailable

log = logging.getLogger("gwanje.manifests")

FORMAT = "gwanje manifest v1"
HOUR = timedelta(hours=1)
SETTLE_SECONDS = 60  # after an hour's end: longer than any transaction that may still write into it
MOST_SHOWINGS = 5_000  # of one part: what one short transaction takes, whatever a console does
TICK_SECONDS = 30.0
_DUTIES_AT_ONCE = 200
_MOST_FAILURES = 3

_OVER = """
SELECT duty_id, date_trunc('hour', min(began_at), 'UTC') AS hour FROM showings
WHERE began_at < $1 GROUP BY duty_id ORDER BY 2, 1 LIMIT $2
"""
_ALONE = "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 3))"
# Rows are locked in a statement of their own: the next one sees whatever was closed until then.
_LOCK = """
SELECT count(*) AS found, count(*) FILTER (WHERE unsure) AS unsure FROM (
    SELECT s.ended_at IS NULL AND (n.name IS NULL OR n.seen_at < $2) AS unsure
    FROM showings s LEFT JOIN nodes n ON n.name = s.node
    WHERE s.duty_id = $1 AND s.began_at < $2 ORDER BY s.began_at, s.id LIMIT $3 FOR UPDATE OF s
) locked
"""
_TAKE = """
WITH taken AS MATERIALIZED (
    SELECT id, camera_id, owner_agency_id, protocol, began_at, cause, bytes,
        greatest(least(ended_at, $2), began_at) AS ended_at,  -- least() knows no NULL: open ones end with the hour
        coalesce(ended_at > $2, true) AS goes_on
    FROM showings WHERE duty_id = $1 AND began_at < $2 ORDER BY began_at, id LIMIT $3
), gone AS (
    DELETE FROM showings s USING taken t WHERE s.id = t.id AND NOT t.goes_on
), rest AS (
    UPDATE showings s SET began_at = $2 FROM taken t WHERE s.id = t.id AND t.goes_on
), part AS (
    SELECT *, round(extract(epoch FROM began_at - $4) * 1000)::bigint AS begins,
        round(extract(epoch FROM ended_at - $4) * 1000)::bigint AS ends
    FROM taken
)
SELECT camera_id, count(*) AS intervals, min(began_at) AS began_at, max(ended_at) AS ended_at,
    sum(ends - begins)::bigint AS milliseconds, array_agg(DISTINCT owner_agency_id) AS owners,
    json_agg(json_build_array(begins, ends - begins, protocol,
        CASE WHEN goes_on THEN '' ELSE cause END, CASE WHEN goes_on THEN 0 ELSE bytes END) ORDER BY begins, id)::text
        AS intervals_json
FROM part GROUP BY camera_id ORDER BY camera_id
"""
_DUTY = """
SELECT d.terminal_id, a.body_id, (SELECT count(*) FROM manifests m
    WHERE m.duty_id = d.id AND m.hour >= $2 AND m.hour < $2 + interval '1 hour') AS parts
FROM duties d JOIN agencies a ON a.id = d.agency_id WHERE d.id = $1
"""
_SEAL = """
INSERT INTO manifests (id, terminal_id, duty_id, hour, intervals, digest, entry_id)
VALUES ($1, $2, $3, $4, $5::jsonb, $6, $7)
"""
_INDEX = """
INSERT INTO manifest_cameras (manifest_id, camera_id, began_at, ended_at, seconds)
SELECT $1, * FROM unnest($2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::float8[])
"""


def canonical(
    duty_id: UUID, terminal_id: UUID | None, hour: datetime, cameras: Mapping[str, Sequence[Sequence[Any]]]
) -> bytes:
    """The document that a manifest's digest is made of: UTF-8 JSON without spaces, keys sorted.

    `{"cameras": {camera id: [[offset, length, protocol, cause, bytes], …]}, "duty", "format", "hour", "part",
    "terminal"}`. Offset (from the hour, which is UTC) and length are whole milliseconds, so that every program writes
    the same numbers; intervals are in the order of their beginning. An empty cause means that it went on into the
    next hour. `hour` is the row's: its microseconds count the parts before this one.
    """
    document = {
        "format": FORMAT,
        "duty": str(duty_id),
        "terminal": str(terminal_id) if terminal_id else None,
        "hour": start_of(hour).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "part": hour.microsecond + 1,
        "cameras": cameras,
    }
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def start_of(moment: datetime) -> datetime:
    """The hour that a moment lies in, in UTC."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


async def seal(writer: Writer, now: datetime | None = None) -> int:
    """Seal every hour that is over at `now` (None: the database's clock); how many manifests were made.

    Safe with other processes doing the same, and whenever it is killed. What cannot be sealed does not hold up the
    others; AuditUnavailable when they are done, or at once when the database seems to be away.
    """
    sealed = 0
    while True:
        before, failures = sealed, 0
        for row in await writer.transact(lambda connection: _over(connection, now)):
            try:
                sealed += await writer.transact(partial(_seal, duty_id=row["duty_id"], hour=row["hour"]))
            except Refusal:
                failures += 1
                if failures == _MOST_FAILURES:
                    raise
        if sealed == before:
            if failures:
                raise unavailable()
            return sealed


async def keep_sealed(writer: Writer) -> None:
    """Seal what is over, for as long as the process runs."""
    while True:
        try:
            if made := await seal(writer):
                log.info("sealed %d manifests", made)
        except (*LOST, Refusal) as error:
            log.warning("manifests could not be sealed: %s", type(error).__name__)
        await asyncio.sleep(TICK_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 - so that processes come apart


async def _over(connection: asyncpg.Connection, now: datetime | None) -> list[asyncpg.Record]:
    at = now or await connection.fetchval("SELECT now()")
    rows: list[asyncpg.Record] = await connection.fetch(
        _OVER, start_of(at - timedelta(seconds=SETTLE_SECONDS)), _DUTIES_AT_ONCE
    )
    return rows


async def _seal(connection: asyncpg.Connection, duty_id: UUID, hour: datetime) -> int:
    """One part of one duty's hour, in the caller's transaction; 0 when another has it, or it cannot be sealed yet."""
    if not await connection.fetchval(_ALONE, f"manifest/{duty_id}"):
        return 0
    end = hour + HOUR
    locked = await connection.fetchrow(_LOCK, duty_id, end, MOST_SHOWINGS)
    if not locked["found"] or locked["unsure"]:
        return 0
    rows = await connection.fetch(_TAKE, duty_id, end, MOST_SHOWINGS, hour)
    duty = await connection.fetchrow(_DUTY, duty_id, hour)
    # The key is (duty, hour): further parts of an hour stand microseconds after it.
    at = hour + timedelta(microseconds=duty["parts"])
    cameras = {str(row["camera_id"]): orjson.loads(row["intervals_json"]) for row in rows}
    document = canonical(duty_id, duty["terminal_id"], at, cameras)
    digest, manifest_id = sha256(document).digest(), new_id()
    owners = {owner for row in rows for owner in row["owners"]}
    entry = entries.entry(
        None, "manifest.sealed", owner_agency_id=owners.pop() if len(owners) == 1 else None,
        subject=("manifest", manifest_id), duty_id=duty_id, terminal_id=duty["terminal_id"], hour=hour.isoformat(),
        part=duty["parts"] + 1, cameras=len(rows), intervals=sum(row["intervals"] for row in rows),
        format=FORMAT, algorithm="sha-256", manifest_digest=digest.hex(),
    )  # fmt: skip
    await entries.store(connection, [entries.of_body(entry, duty["body_id"])])
    await connection.execute(
        _SEAL, manifest_id, duty["terminal_id"], duty_id, at, orjson.dumps({"cameras": cameras}).decode(), digest,
        entry.id,
    )  # fmt: skip
    await connection.execute(
        _INDEX, manifest_id, [row["camera_id"] for row in rows], [row["began_at"] for row in rows],
        [row["ended_at"] for row in rows], [row["milliseconds"] / 1000 for row in rows],
    )  # fmt: skip
    return 1


# Reading: who saw a camera, what a person saw

MOST_INTERVALS = 500  # of one row; the manifest itself has all of them
# Sealed and unsealed alike: a row for each camera, duty and hour (or part of one), newest first.
_STRETCHES = """
SELECT x.*, u.id AS user_id, u.login, o.role, a.id AS agency_id, a.name AS agency, t.name AS terminal
FROM (
    (SELECT i.camera_id, m.duty_id, date_trunc('hour', m.hour, 'UTC') AS hour, m.id AS manifest_id, m.entry_id,
        m.digest, i.began_at, i.ended_at, i.seconds,
        jsonb_path_query_array(jsonb_path_query_array(m.intervals -> 'cameras' -> i.camera_id::text,
            'strict $[*] ? (@[0] < $until && @[0] + @[1] >= $since)', jsonb_build_object(
                'since', extract(epoch FROM :since - date_trunc('hour', m.hour, 'UTC')) * 1000,
                'until', extract(epoch FROM :until - date_trunc('hour', m.hour, 'UTC')) * 1000)),
            '$[0 to {last}]') AS intervals
    FROM manifest_cameras i JOIN manifests m ON m.id = i.manifest_id JOIN duties d ON d.id = m.duty_id
    WHERE {whose} AND i.began_at < :until AND i.began_at >= date_trunc('hour', :since, 'UTC') AND i.ended_at >= :since
        AND m.hour < :until AND m.hour >= date_trunc('hour', :since, 'UTC')
        AND (i.began_at, m.duty_id, i.camera_id) < (:at, :duty_id, :last_camera_id)
    ORDER BY i.began_at DESC, m.duty_id DESC, i.camera_id DESC LIMIT :limit)
    UNION ALL
    (SELECT i.camera_id, i.duty_id, date_trunc('hour', i.began_at, 'UTC'), NULL, NULL, NULL,
        min(i.began_at), CASE WHEN bool_and(i.ended_at IS NOT NULL) THEN max(i.ended_at) END,
        sum(extract(epoch FROM coalesce(i.ended_at, now()) - i.began_at))::float8,
        to_jsonb((array_agg(jsonb_build_array(i.begins, i.ends - i.begins, i.protocol,
            CASE WHEN i.ended_at IS NULL THEN '' ELSE i.cause END, i.bytes) ORDER BY i.began_at))[1 : {last} + 1])
    FROM (
        SELECT *, round(extract(epoch FROM began_at - date_trunc('hour', began_at, 'UTC')) * 1000)::bigint AS begins,
            round(extract(epoch FROM ended_at - date_trunc('hour', began_at, 'UTC')) * 1000)::bigint AS ends
        FROM showings
    ) i JOIN duties d ON d.id = i.duty_id
    WHERE {whose} AND i.began_at < :until AND coalesce(i.ended_at, now()) >= :since
    GROUP BY 1, 2, 3
    HAVING (min(i.began_at), i.duty_id, i.camera_id) < (:at, :duty_id, :last_camera_id)
    ORDER BY min(i.began_at) DESC, i.duty_id DESC, i.camera_id DESC LIMIT :limit)
) x
JOIN duties d ON d.id = x.duty_id JOIN appointments o ON o.id = d.appointment_id JOIN users u ON u.id = o.user_id
JOIN agencies a ON a.id = d.agency_id LEFT JOIN terminals t ON t.id = d.terminal_id
ORDER BY x.began_at DESC, x.duty_id DESC, x.camera_id DESC LIMIT :limit
"""
_AT_AGENCIES = """(:anywhere OR d.agency_id = ANY(:agency_ids) OR d.agency_id IN
    (SELECT id FROM agencies WHERE :audited_id IN (id, body_id) OR :audited_id = ANY(ancestor_ids)))"""
_BY_CAMERA = "i.camera_id = :camera_id"
_BY_PERSON = "d.appointment_id IN (SELECT id FROM appointments WHERE user_id = :user_id) AND " + _AT_AGENCIES  # noqa: S608
_OF_CAMERA, _OF_CAMERA_AT, _OF_PERSON, _OF_BOTH = (
    text(_STRETCHES.format(last=MOST_INTERVALS - 1, whose=whose))
    for whose in (_BY_CAMERA, f"{_BY_CAMERA} AND {_AT_AGENCIES}", _BY_PERSON, f"{_BY_CAMERA} AND {_BY_PERSON}")
)
_LAST = UUID(int=(1 << 128) - 1)


@dataclass(frozen=True, slots=True)
class Span:
    """Which stretches are asked for: those that touch [since, until), newest first, after `before` where it is given.

    `before` is (began_at, duty id, camera id) of the last one that is known.
    """

    since: datetime
    until: datetime
    before: tuple[datetime, UUID, UUID] | None = None
    limit: int = 100

    def binds(self) -> dict[str, Any]:
        at, duty_id, camera_id = self.before or (self.until, _LAST, _LAST)
        return {
            "since": self.since, "until": self.until, "at": at, "duty_id": duty_id, "last_camera_id": camera_id,
            "limit": self.limit,
        }  # fmt: skip


async def stretches(
    session: AsyncSession,
    span: Span,
    *,
    camera_id: UUID | None = None,
    user_id: UUID | None = None,
    anywhere: bool = False,
    agency_ids: Sequence[UUID] = (),
    audited_id: UUID | None = None,
) -> Sequence[RowMapping]:
    """Stretches of a camera, a person or both, as `who_saw` gives them: at these agencies, or below the audited one.

    Whoever calls has asked for the right, and writes the reading down.
    """
    whose: dict[str, Any] = {"camera_id": camera_id} if camera_id else {}
    whose |= {"user_id": user_id} if user_id else {}
    if user_id is None and anywhere:
        query = _OF_CAMERA
    else:
        query = _OF_CAMERA_AT if user_id is None else _OF_PERSON if camera_id is None else _OF_BOTH
        whose |= {"anywhere": anywhere, "agency_ids": list(agency_ids), "audited_id": audited_id}
    return (await session.execute(query, {**span.binds(), **whose})).mappings().all()


async def who_saw(session: AsyncSession, actor: Actor, camera_id: UUID, span: Span) -> Sequence[RowMapping]:
    """Who had a camera on a wall, and when: for the owner's supervisors and its auditors.

    A row is a camera at one console in one hour: `intervals` as in `canonical` (at most MOST_INTERVALS of them, a
    length of None where it runs), `seconds` of all of them, and the manifest once it is sealed. Views are not in it.
    The reading is itself an entry. Raises NotFound and NotPermitted.
    """
    owner = (
        await session.execute(
            select(Agency.id, Agency.body_id, Agency.ancestor_ids)
            .join(CameraPosition, CameraPosition.owner_agency_id == Agency.id)
            .where(CameraPosition.id == camera_id)
        )
    ).first()
    if owner is None or not (_supervises(actor, owner.id) or _audits(actor, owner)):
        located = select(CameraPosition.id).where(CameraPosition.id == camera_id, rights.permitted(actor, "locate"))
        if await session.scalar(located) is None:
            raise NotFound("there is no such camera, or you may not know of it", camera_id=str(camera_id))
        raise NotPermitted("who saw a camera is for its owner's supervisors and auditors; ask the owner")
    rows = await stretches(session, span, camera_id=camera_id, anywhere=True)
    await _read(session, actor, "showings", found=len(rows), owner_agency_id=owner.id, camera_id=camera_id, span=span)
    return rows


async def seen_by(session: AsyncSession, actor: Actor, user_id: UUID, span: Span) -> Sequence[RowMapping]:
    """What a person had on walls, and when, as `who_saw`: one's own; others' for supervisors and auditors."""
    own = user_id == actor.user_id
    if not own and not (actor.may("supervise") or actor.may("read_audit")):
        raise NotPermitted("what another person saw is for supervisors and auditors; leave user_id out to see your own")
    rows = await stretches(
        session, span, user_id=user_id, anywhere=own, agency_ids=actor.acts_for_ids if actor.may("supervise") else (),
        audited_id=actor.body_id if actor.may("read_audit") else None,
    )  # fmt: skip
    await _read(session, actor, "showings", found=len(rows), by_user_id=user_id, span=span)
    return rows


@dataclass(frozen=True, slots=True)
class Sealed:
    """A manifest: its document made anew from what is stored, and the digest with which it was sealed.

    They fit (SHA-256 of the document is the digest) as long as nobody has changed a stored interval.
    """

    id: UUID
    entry_id: UUID
    sealed_at: datetime
    document: bytes
    digest: bytes

    @property
    def intact(self) -> bool:
        return sha256(self.document).digest() == self.digest


async def find(session: AsyncSession, actor: Actor, manifest_id: UUID) -> Sealed:
    """A manifest, for the person whose duty it was, its supervisors and auditors; NotFound for all others."""
    found = (
        await session.execute(
            select(Manifest, Appointment.user_id, Agency.id, Agency.body_id, Agency.ancestor_ids)
            .join(Duty, Duty.id == Manifest.duty_id)
            .join(Appointment, Appointment.id == Duty.appointment_id)
            .join(Agency, Agency.id == Duty.agency_id)
            .where(Manifest.id == manifest_id)
        )
    ).first()
    if found is None or not (found.user_id == actor.user_id or _supervises(actor, found.id) or _audits(actor, found)):
        raise NotFound("there is no such manifest in your remit")
    row: Manifest = found.Manifest
    document = canonical(row.duty_id, row.terminal_id, row.hour, row.intervals["cameras"])
    sealed = Sealed(row.id, row.entry_id, row.sealed_at, document, row.digest)
    if not sealed.intact:
        log.error("a manifest does not fit its digest any more", extra={"manifest_id": str(row.id)})
    await _read(session, actor, "manifest", subject=("manifest", manifest_id), intact=sealed.intact)
    return sealed


def _supervises(actor: Actor, agency_id: UUID) -> bool:
    return actor.may("supervise") and agency_id in actor.acts_for_ids


def _audits(actor: Actor, agency: Any) -> bool:
    return actor.may("read_audit") and actor.body_id in (agency.id, agency.body_id, *agency.ancestor_ids)


async def _read(session: AsyncSession, actor: Actor, what: str, *, span: Span | None = None, **details: Any) -> None:
    if span is not None:
        details |= {"since": span.since.isoformat(), "until": span.until.isoformat()}
    await entries.append(session, entries.entry(actor, "audit.read", what=what, **details))
