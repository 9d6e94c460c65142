"""The batch writer: the one module of this room that commits, and the hot path of granting.

Grants that arrive while a batch is being written wait and go together with the next one: one statement, one commit,
one fsync. Rights are checked again inside the inserting statement, so what was true a moment ago does not count.
A caller is answered only after the commit; a batch that fails fails every waiter, with 503 and no URL.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from app.access.rights import agreement_covers
from app.audit.entries import Entry, leaf_data
from app.audit.verify import leaf_hash
from app.database import Database, lost
from app.errors import AuditUnavailable, Conflict, KeyReused
from app.streams.profiles import Offer, offers_of

log = logging.getLogger("gwanje.writer")

MOST_PER_BATCH = 256
LINES = 2  # batches that are written at the same time
LEAST_SHARE = 8  # fewer wishes than these are not shared among the lines
WAIT_SECONDS = 2.8  # decision 4: refused within 3 s when no entry can be made durable


@dataclass(frozen=True, slots=True)
class Wish:
    """One camera asked for by one session, with the entry that will record it."""

    grant_id: UUID
    entry: Entry
    camera_id: UUID
    session_id: UUID
    kind: str
    purpose: str
    basis: str
    refs: str  # JSON text
    incident_id: UUID | None
    event_id: UUID | None
    urgency: int
    exercise: bool
    protocols: list[str]
    quality: str
    seconds: int
    restriction: str = ""
    on_behalf_of: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """A grant as it was committed."""

    grant_id: UUID
    at: datetime
    camera_id: UUID
    expires_at: datetime
    entry_id: UUID
    offers: tuple[Offer, ...] = ()
    leaf: bytes = b""
    """The hash of its entry's leaf, for the receipt; empty where the entry has to be read again for that."""


# What a camera offers to watch; `c` is the camera's id. Addresses stay out of it.
OFFERS = """(SELECT jsonb_agg(jsonb_build_object('profile', x.profile, 'codec', x.codec, 'width', x.width,
    'height', x.height, 'kbps', x.kbps)) FROM stream_sources x WHERE x.position_id = {camera} AND x.mode = 'live')"""


@dataclass(frozen=True, slots=True)
class Idempotency:
    """Under which key a person asked, and what exactly."""

    principal_id: UUID
    key: str
    body_digest: bytes


@dataclass(slots=True)
class _Waiter:
    wishes: Sequence[Wish]
    idempotency: Idempotency | None
    answer: "asyncio.Future[list[Given]]"


# An `at` shared by entry, grant and view is the transaction's time: all three lie in the same month's partitions.
_GIVE = f"""
WITH wish AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[],
        $9::uuid[], $10::boolean[], $11::text[], $12::text[], $13::int[], $14::bytea[], $15::text[], $16::bytea[],
        $17::uuid[], $18::smallint[], $19::text[], $20::text[])
    AS w (grant_id, entry_id, camera_id, session_id, kind, purpose, basis, refs, incident_id, exercise, protocols,
        quality, seconds, digest, payload, salt, event_id, urgency,
        restriction, on_behalf_of)
), allowed AS (
    SELECT wish.*, p.owner_agency_id, u.login, s.user_id, s.appointment_id, s.terminal_id, s.duty_id,
        o.agency_id, g.body_id, a.id AS agreement_id, a.approval_id,
        least(s.expires_at, o.valid_to, a.closes, a.approved_to) AS latest,
        least(s.expires_at, o.valid_to, a.closes, a.approved_to,
            now() + make_interval(secs => least(wish.seconds, a.grant_seconds))) AS expires
    FROM wish
    JOIN camera_positions p ON p.id = wish.camera_id AND p.has_stream AND p.retired_at IS NULL
    JOIN sessions s ON s.id = wish.session_id AND s.ended_at IS NULL AND s.expires_at > now()
    JOIN users u ON u.id = s.user_id AND u.disabled_at IS NULL
    JOIN appointments o ON o.id = s.appointment_id AND o.valid_from <= now()
        AND (o.valid_to IS NULL OR o.valid_to > now())
    JOIN agencies g ON g.id = o.agency_id
    LEFT JOIN LATERAL (
        SELECT a.id, a.grant_seconds, v.id AS approval_id, v.valid_to AS approved_to,
            least(a.valid_to, CASE WHEN a.hours IS NOT NULL THEN agreement_closes(a.hours, now()) END) AS closes
        FROM agreements a
        LEFT JOIN approvals v ON a.approval = 'center' AND v.agreement_id = a.id AND v.approved AND v.valid_to > now()
            AND v.user_id = s.user_id AND wish.camera_id = ANY(v.camera_ids) AND v.use_purpose = wish.purpose
            AND v.basis = wish.basis
        WHERE NOT p.owner_agency_id = ANY(g.acts_for_ids) AND wish.purpose <> ''
            AND (a.approval = 'auto' OR v.id IS NOT NULL)
            AND (a.use_purposes = '{{}}' OR wish.purpose = ANY(a.use_purposes))
            AND (a.bases = '{{}}' OR wish.basis = ANY(a.bases))
            AND {agreement_covers(verb="'view'", camera="p", agencies="g.acts_for_ids")}
        ORDER BY a.approval, a.valid_to DESC NULLS FIRST, v.valid_to DESC NULLS LAST LIMIT 1
    ) a ON true
    WHERE p.owner_agency_id = ANY(g.acts_for_ids) OR a.id IS NOT NULL
), entry AS (
    INSERT INTO audit_entries (id, act, outcome, agency_id, owner_agency_id, camera_id, subject_kind, subject_id,
        restriction, digest, payload, salt)
    SELECT entry_id, 'grant.given', 'done', body_id, owner_agency_id, camera_id, 'grant', grant_id, restriction, digest,
        payload::json, salt FROM allowed
    RETURNING id AS entry_id, at, act, outcome, agency_id, owner_agency_id, camera_id, area_id, subject_kind,
        subject_id, restriction, late_from, digest
), pending AS (
    INSERT INTO audit_pending (id) SELECT entry_id FROM allowed
), given AS (
    INSERT INTO grants (id, entry_id, kind, user_id, appointment_id, agency_id, session_id, terminal_id, duty_id,
        owner_agency_id, agreement_id, approval_id, camera_ids, use_purpose, basis, refs, incident_id, event_id,
        urgency, exercise, restriction, on_behalf_of, asserted_by, protocols, quality, expires_at, latest_expires_at)
    SELECT grant_id, entry_id, kind, user_id, appointment_id, agency_id, session_id, terminal_id, duty_id,
        owner_agency_id, agreement_id, approval_id, ARRAY[camera_id], purpose, basis, refs::jsonb, incident_id,
        event_id, urgency, exercise, restriction, on_behalf_of, CASE WHEN on_behalf_of <> '' THEN login ELSE '' END,
        string_to_array(protocols, ','), quality, expires, latest FROM allowed
)
SELECT entry.*, entry.entry_id AS id, allowed.grant_id, allowed.expires AS expires_at,
    {OFFERS.format(camera="allowed.camera_id")} AS offers FROM allowed JOIN entry USING (entry_id)
"""  # noqa: S608 - our own SQL


class Writer:
    """Writes grants in batches for as long as `run` runs. `wrote` is called after each commit."""

    def __init__(self, database: Database, wrote: Callable[[], None]) -> None:
        self._database = database
        self._wrote = wrote
        self._waiting: list[_Waiter] = []
        self._wanted = asyncio.Event()
        self._writing: set[asyncio.Task[None]] = set()

    async def give(self, wishes: Sequence[Wish], idempotency: Idempotency | None = None) -> list[Given]:
        """The grants that were committed, those refused left out; AuditUnavailable when nothing could be made durable.

        KeyReused or Conflict when the idempotency key is taken: the caller then replays what stands under it.
        """
        waiter = _Waiter(wishes, idempotency, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        self._wanted.set()
        try:
            return await asyncio.wait_for(waiter.answer, WAIT_SECONDS)
        except TimeoutError:
            raise unavailable() from None

    async def run(self) -> None:
        try:
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                while self._waiting:
                    if len(self._writing) == LINES:
                        await asyncio.wait(self._writing, return_when=asyncio.FIRST_COMPLETED)
                    elif batch := self._take():
                        task = asyncio.create_task(self._write(batch))
                        self._writing.add(task)
                        task.add_done_callback(self._writing.discard)
        finally:
            for task in list(self._writing):
                task.cancel()
            for waiter in self._waiting:
                if not waiter.answer.done():
                    waiter.answer.set_exception(unavailable())

    def _take(self) -> list[_Waiter]:
        """The next batch: what waits is shared among the lines that are free, so that one writes while one answers."""
        waiting = [waiter for waiter in self._waiting if not waiter.answer.done()]  # who gave up gets no grant
        size = sum(len(waiter.wishes) for waiter in waiting)
        most = min(MOST_PER_BATCH, max(LEAST_SHARE, -(-size // (LINES - len(self._writing)))))
        batch: list[_Waiter] = []
        size = 0
        while waiting and (not batch or size + len(waiting[0].wishes) <= most):
            batch.append(waiting.pop(0))
            size += len(batch[-1].wishes)
        self._waiting = waiting
        return batch

    async def _write(self, batch: list[_Waiter]) -> None:
        taken: dict[int, Exception] = {}
        try:
            async with self._database.bare.acquire(timeout=1) as connection:
                rows = await _insert(connection, batch, taken)
        except Exception as error:  # noqa: BLE001 - whatever it was, nobody is left waiting and no URL leaves
            if len(batch) > 1 and not lost(error):  # one request that cannot be written must not fail the others
                for waiter in batch:
                    await self._write([waiter])
                return
            log.warning("a batch of %d requests could not be made durable: %s", len(batch), type(error).__name__)
            for waiter in batch:
                with suppress(asyncio.InvalidStateError):
                    waiter.answer.set_exception(unavailable())
            return
        self._wrote()
        given = {row["grant_id"]: _just_given(row) for row in rows}
        for waiter in batch:
            with suppress(asyncio.InvalidStateError):
                if id(waiter) in taken:
                    waiter.answer.set_exception(taken[id(waiter)])
                else:
                    found = [given.get(wish.grant_id) for wish in waiter.wishes]
                    waiter.answer.set_result([grant for grant in found if grant is not None])

    async def transact(self, work: Callable[[asyncpg.Connection], Awaitable[Any]]) -> Any:
        """One short transaction of this room (a view opens or closes); AuditUnavailable when it cannot be committed."""
        try:
            async with (
                asyncio.timeout(WAIT_SECONDS),
                self._database.bare.acquire(timeout=1) as connection,
                connection.transaction(),
            ):
                result = await work(connection)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            log.warning("a view could not be recorded: %s", type(error).__name__)
            raise unavailable() from error
        self._wrote()
        return result


def given_of(row: Mapping[str, Any]) -> Given:
    """A grant out of a row that names its columns as `Given` does; `offers` as the database's JSON."""
    return Given(**{**dict(row), "offers": offers_of(row["offers"])})


def _just_given(row: Mapping[str, Any]) -> Given:
    """Out of a row of `_GIVE`: the header of the entry is in it, as it was stored."""
    return Given(
        row["grant_id"], row["at"], row["camera_id"], row["expires_at"], row["entry_id"], offers_of(row["offers"]),
        leaf_hash(leaf_data(row)),
    )  # fmt: skip


def unavailable() -> AuditUnavailable:
    return AuditUnavailable(
        "the access could not be recorded, so no footage is given; try again in a moment", retry_after_seconds=2
    )  # fmt: skip


async def _insert(
    connection: asyncpg.Connection, batch: Sequence[_Waiter], taken: dict[int, Exception]
) -> Sequence[asyncpg.Record]:
    """The grants of a batch, committed; who cannot have its idempotency key is put into `taken`, with the reason."""
    if not any(waiter.idempotency for waiter in batch):  # one statement is one transaction: nothing else to send
        return await _give(connection, batch)
    async with connection.transaction():
        for waiter in batch:
            if waiter.idempotency is not None and (problem := await _claim(connection, waiter)):
                taken[id(waiter)] = problem
        return await _give(connection, [waiter for waiter in batch if id(waiter) not in taken])


async def _give(connection: asyncpg.Connection, batch: Sequence[_Waiter]) -> Sequence[asyncpg.Record]:
    wishes = [wish for waiter in batch for wish in waiter.wishes]
    return await connection.fetch(_GIVE, *_columns(wishes), timeout=2) if wishes else []


async def _claim(connection: asyncpg.Connection, waiter: _Waiter) -> Exception | None:
    """Take the idempotency key in this transaction, with the ids it will stand for; or say who has it."""
    assert waiter.idempotency is not None
    asked = waiter.idempotency
    ids = orjson.dumps([str(wish.grant_id) for wish in waiter.wishes]).decode()
    claimed = await connection.fetchval(
        "INSERT INTO idempotency_keys (principal_id, key, body_digest, result) VALUES ($1, $2, $3, $4::jsonb)"
        " ON CONFLICT DO NOTHING RETURNING true",
        asked.principal_id,
        asked.key,
        asked.body_digest,
        ids,
    )
    if claimed:
        return None
    digest = await connection.fetchval(
        "SELECT body_digest FROM idempotency_keys WHERE principal_id = $1 AND key = $2", asked.principal_id, asked.key
    )
    if digest != asked.body_digest:
        return KeyReused("this Idempotency-Key was used with another body; take a new one")
    return Conflict("this request was made before", replay=True)


def _columns(wishes: Sequence[Wish]) -> tuple[list[Any], ...]:
    return (
        [w.grant_id for w in wishes],
        [w.entry.id for w in wishes],
        [w.camera_id for w in wishes],
        [w.session_id for w in wishes],
        [w.kind for w in wishes],
        [w.purpose for w in wishes],
        [w.basis for w in wishes],
        [w.refs for w in wishes],
        [w.incident_id for w in wishes],
        [w.exercise for w in wishes],
        [",".join(w.protocols) for w in wishes],
        [w.quality for w in wishes],
        [w.seconds for w in wishes],
        [w.entry.digest for w in wishes],
        [w.entry.payload for w in wishes],
        [w.entry.salt for w in wishes],
        [w.event_id for w in wishes],
        [w.urgency for w in wishes],
        [w.restriction for w in wishes],
        [w.on_behalf_of for w in wishes],
    )
