"""Manifests: whatever is sealed, whenever and by whomever, every interval stands in exactly one place."""

import asyncio
import json
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import make_url, text

from app import database as db
from app.audit import entries
from app.database import Database
from app.errors import AuditUnavailable, NotFound, NotPermitted
from app.ids import new_id
from app.streams import manifests, reconcile, views
from app.streams.manifests import HOUR, Span
from app.streams.writer import Writer
from tests import factories
from tests.actors import actor, actor_of
from tests.conftest import Databases

START = datetime(2026, 3, 1, 15, tzinfo=UTC)
LATER = START + 12 * HOUR
NODE = "tests/alive"


@pytest.fixture(scope="module")
async def base(databases: Databases) -> AsyncIterator[Database]:
    """A database of its own: what is over is sealed for everybody in it."""
    name = f"manifests_{uuid4().hex[:12]}"
    await databases.create(name)
    async with db.connect(databases.url(name)) as made:
        await made.bare.execute("INSERT INTO nodes (name, seen_at) VALUES ($1, '2100-01-01')", NODE)
        yield made
    await databases.drop(name)


@pytest.fixture
def writer(base: Database) -> Writer:
    return Writer(base, lambda: None)


@dataclass(frozen=True)
class Console:
    """One person's shift at a console."""

    base: Database
    agency: UUID
    who: factories.Person
    duty: UUID

    async def show(
        self, camera: UUID, began: float, ended: float | None = None, *, node: str = NODE, cause: str = "client",
        sent: int = 1000, protocol: str = "fmp4",
    ) -> UUID:  # fmt: skip
        """A showing; times are seconds after START."""
        showing = new_id()
        await self.base.bare.execute(
            """INSERT INTO showings (id, grant_id, grant_at, duty_id, user_id, agency_id, owner_agency_id, camera_id,
                protocol, gateway, node, began_at, ended_at, cause, bytes)
            VALUES ($1, $2, $3, $4, $5, $6, $6, $7, $8, 'embedded', $9, $3, $10, $11, $12)""",
            showing, uuid4(), at(began), self.duty, self.who.user_id, self.agency, camera, protocol, node,
            None if ended is None else at(ended), "" if ended is None else cause, 0 if ended is None else sent,
        )  # fmt: skip
        return showing

    async def manifests(self) -> list[dict[str, Any]]:
        rows = await self.base.bare.fetch(
            "SELECT * FROM manifests WHERE duty_id = $1 ORDER BY hour", self.duty
        )  # fmt: skip
        return [{**row, "cameras": json.loads(row["intervals"])["cameras"]} for row in rows]

    async def unsealed(self) -> list[dict[str, Any]]:
        rows = await self.base.bare.fetch("SELECT * FROM showings WHERE duty_id = $1 ORDER BY began_at, id", self.duty)
        return [dict(row) for row in rows]


def at(seconds: float) -> datetime:
    return START + timedelta(microseconds=round(seconds * 1_000_000))


async def console(base: Database) -> Console:
    agency = await factories.agency(base)
    who = await factories.person(base, agency)
    duty = new_id()
    await base.bare.execute(
        "INSERT INTO duties (id, appointment_id, agency_id, ends_at) VALUES ($1, $2, $3, $4)",
        duty, who.appointment_id, agency, LATER,
    )  # fmt: skip
    return Console(base, agency, who, duty)


# The law: the union of what is sealed and what is not is what was shown, whatever the moments of sealing

Piece = tuple[UUID, int, int, str, str, int]  # camera, from, to (milliseconds after START), protocol, cause, bytes
HORIZON = 12 * HOUR
CAMERAS = [uuid4() for _ in range(3)]


def cut(camera: UUID, begins: datetime, ends: datetime | None, protocol: str, cause: str, sent: int) -> list[Piece]:
    """An interval as pieces that cross no hour: whatever was sealed meanwhile, these are the same."""
    pieces: list[Piece] = []
    last = START + HORIZON if ends is None else ends
    while (following := manifests.start_of(begins) + HOUR) < last:
        pieces.append((camera, milliseconds(begins), milliseconds(following), protocol, "", 0))
        begins = following
    ending = ("", 0) if ends is None else (cause, sent)
    return [*pieces, (camera, milliseconds(begins), milliseconds(last), protocol, *ending)]


def milliseconds(moment: datetime) -> int:
    return ((moment - START) // timedelta(microseconds=1) + 500) // 1000


def counted(pieces: list[Piece]) -> Counter[Piece]:
    """Without what is too short for a millisecond and went on anyway."""
    return Counter(piece for piece in pieces if piece[1] < piece[2] or piece[4])


async def found_at(desk: Console) -> Counter[Piece]:
    pieces: list[Piece] = []
    for manifest in await desk.manifests():
        hour = milliseconds(manifests.start_of(manifest["hour"]))
        for camera, intervals in manifest["cameras"].items():
            for offset, length, protocol, cause, sent in intervals:
                assert 0 <= offset <= offset + length <= 3_600_000, "an interval stays in its hour"
                pieces.append((UUID(camera), hour + offset, hour + offset + length, protocol, cause, sent))
    for row in await desk.unsealed():
        pieces += cut(*(row[name] for name in ("camera_id", "began_at", "ended_at", "protocol", "cause", "bytes")))
    return counted(pieces)


@dataclass(frozen=True)
class Shown:
    camera: int
    began: float
    seconds: float
    protocol: str
    cause: str
    sent: int

    def pieces(self, now: float) -> list[Piece]:
        """What is known of it at a moment, seconds after START."""
        if self.began > now:
            return []
        ends = at(self.began + self.seconds) if self.began + self.seconds <= now else None
        return cut(CAMERAS[self.camera], at(self.began), ends, self.protocol, self.cause, self.sent)


moments = st.one_of(
    st.floats(0, 4 * 3600, width=32), st.sampled_from([0.0, 3599.9997, 3600.0, 3600.0002, 7199.9995, 7200.0, 10800.0])
)
shown = st.builds(
    Shown, st.integers(0, 2), moments, st.one_of(st.floats(0, 90, width=32), moments),
    st.sampled_from(["fmp4", "mse"]), st.sampled_from(["client", "revoked", "node_lost"]), st.integers(0, 1 << 40),
)  # fmt: skip


@given(st.lists(shown, max_size=12), st.lists(st.floats(0, 9 * 3600, width=32), min_size=1, max_size=4))
@settings(max_examples=25, deadline=None, phases=[Phase.generate])  # real rows: shrinking would take minutes
async def test_every_interval_stands_in_exactly_one_place(
    base: Database, showings: list[Shown], sealings: list[float]
) -> None:
    desk, writer, ids = await console(base), Writer(base, lambda: None), {}
    for now in [*sorted(sealings), 11.5 * 3600]:
        for number, one in enumerate(showings):
            if one.began <= now and number not in ids:
                ids[number] = await desk.show(CAMERAS[one.camera], one.began, protocol=one.protocol)
            if one.began + one.seconds <= now:
                await base.bare.execute(
                    "UPDATE showings SET ended_at = $2, cause = $3, bytes = $4 WHERE id = $1 AND ended_at IS NULL",
                    ids[number], at(one.began + one.seconds), one.cause, one.sent,
                )  # fmt: skip
        await manifests.seal(writer, at(now))
        assert await found_at(desk) == counted([piece for one in showings for piece in one.pieces(now)])
    over = manifests.start_of(at(11.5 * 3600))
    assert all(row["ended_at"] is None and row["began_at"] == over for row in await desk.unsealed()), "all is sealed"
    rows = await base.bare.fetch(
        "SELECT i.*, m.hour, m.intervals FROM manifest_cameras i JOIN manifests m ON m.id = i.manifest_id"
        " WHERE m.duty_id = $1", desk.duty,
    )  # fmt: skip
    for row in rows:  # the index says the same as the intervals
        listed = json.loads(row["intervals"])["cameras"][str(row["camera_id"])]
        assert round(row["seconds"] * 1000) == sum(one[1] for one in listed)
        hour = milliseconds(manifests.start_of(row["hour"]))
        assert milliseconds(row["began_at"]) == hour + listed[0][0]
        assert milliseconds(row["ended_at"]) == hour + max(one[0] + one[1] for one in listed)


# The digest


async def test_the_document_fits_the_entry_and_a_changed_interval_does_not(
    base: Database, writer: Writer, databases: Databases
) -> None:
    desk = await console(base)
    camera = uuid4()
    for n in range(5):
        await desk.show(camera, n * 60, n * 60 + 30.5, sent=n)
    await manifests.seal(writer, LATER)
    manifest = (await desk.manifests())[0]
    who = await actor_of(base, desk.who)
    async with base.begin() as session:
        sealed = await manifests.find(session, who, manifest["id"])
    document = json.loads(sealed.document)
    assert document == {
        "format": "gwanje manifest v1", "duty": str(desk.duty), "terminal": None, "hour": "2026-03-01T15:00:00Z",
        "part": 1, "cameras": {str(camera): [[n * 60_000, 30_500, "fmp4", "client", n] for n in range(5)]},
    }  # fmt: skip
    again = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert again == sealed.document, "any program writes the same bytes"
    entry = await base.bare.fetchrow("SELECT * FROM audit_entries WHERE id = $1", sealed.entry_id)
    said = json.loads(entry["payload"])
    assert said["manifest_digest"] == sha256(sealed.document).hexdigest() == sealed.digest.hex()
    assert (entry["act"], entry["subject_id"], entry["agency_id"]) == ("manifest.sealed", sealed.id, desk.agency)
    assert {"user_id", "login"} & set(said) == set(), "no person is named"
    assert (said["cameras"], said["intervals"], said["duty_id"]) == (1, 5, str(desk.duty))
    assert sealed.intact
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await base.bare.execute("UPDATE manifests SET digest = digest")
    owner = await databases.superuser(make_url(str(base.url)).database or "")
    for n, position, value in ((0, 0, "1"), (2, 1, "30501"), (3, 3, '"revoked"'), (4, 4, "3")):
        await owner.execute(
            "UPDATE manifests SET intervals = jsonb_set(intervals, $2::text[], $3::jsonb) WHERE id = $1",
            sealed.id, ["cameras", str(camera), str(n), str(position)], value,
        )  # fmt: skip
        async with base.begin() as session:
            changed = await manifests.find(session, who, sealed.id)
        assert not changed.intact
        await owner.execute(
            "UPDATE manifests SET intervals = $2::jsonb WHERE id = $1", sealed.id, manifest["intervals"]
        )
    await owner.close()


# When


async def test_an_hour_is_sealed_a_minute_after_its_end(base: Database, writer: Writer) -> None:
    desk = await console(base)
    await desk.show(uuid4(), 10, 20)
    await manifests.seal(writer, at(3659))
    assert await desk.manifests() == []
    await manifests.seal(writer, at(3660))
    assert len(await desk.manifests()) == 1
    assert await desk.unsealed() == []


async def test_a_showing_that_goes_on_is_split_and_still_closed_by_its_gateway(base: Database, writer: Writer) -> None:
    desk = await console(base)
    camera = uuid4()
    showing = await desk.show(camera, 1800)
    await manifests.seal(writer, at(2 * 3600 + 100))
    first, second = await desk.manifests()
    assert first["cameras"][str(camera)] == [[1_800_000, 1_800_000, "fmp4", "", 0]]
    assert second["cameras"][str(camera)] == [[0, 3_600_000, "fmp4", "", 0]]
    assert [(row["id"], row["began_at"]) for row in await desk.unsealed()] == [(showing, at(7200))]
    ended = (views.END_SHOWING, showing, "client", 77, at(1800), 10_000.0)
    await writer.transact(lambda connection: connection.execute(*ended))
    (row,) = await desk.unsealed()
    assert (row["cause"], row["bytes"]) == ("client", 77)
    assert row["ended_at"] == at(11_800)
    await base.bare.execute("DELETE FROM showings WHERE id = $1", showing)


async def test_an_hour_waits_for_what_a_dead_process_left_open(base: Database, writer: Writer) -> None:
    desk = await console(base)
    camera, node = uuid4(), f"tests/{uuid4().hex[:8]}"
    await desk.show(camera, 100, node=node)
    await desk.show(camera, 3000, 3030)
    await base.bare.execute("INSERT INTO nodes (name, seen_at) VALUES ($1, $2)", node, at(1600.25))
    await manifests.seal(writer, LATER)
    assert await desk.manifests() == [], "it may have ended within the hour"
    await reconcile.beat(base, writer, f"tests/{uuid4().hex[:8]}")
    await manifests.seal(writer, LATER)
    (manifest,) = await desk.manifests()
    assert manifest["cameras"][str(camera)] == [
        [100_000, 1_500_250, "fmp4", "node_lost", 0],
        [3_000_000, 30_000, "fmp4", "client", 1000],
    ]


async def test_what_comes_late_goes_into_a_further_part(base: Database, writer: Writer) -> None:
    desk = await console(base)
    camera = uuid4()
    for n in range(3):
        await desk.show(camera, 100 + n, 101 + n)
        await manifests.seal(writer, LATER)
    parts = await desk.manifests()
    assert [part["cameras"][str(camera)][0][0] for part in parts] == [100_000, 101_000, 102_000]
    who = await actor_of(base, desk.who)
    async with base.begin() as session:
        documents = [json.loads((await manifests.find(session, who, part["id"])).document) for part in parts]
    assert [(one["hour"], one["part"]) for one in documents] == [("2026-03-01T15:00:00Z", n) for n in (1, 2, 3)]


async def test_more_than_one_transaction_takes_goes_into_parts(
    base: Database, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests, "MOST_SHOWINGS", 10)
    desk = await console(base)
    for n in range(35):
        await desk.show(CAMERAS[n % 3], n, n + 0.5)
    before = await found_at(desk)
    await manifests.seal(writer, LATER)
    assert [sum(map(len, part["cameras"].values())) for part in await desk.manifests()] == [10, 10, 10, 5]
    assert await found_at(desk) == before


# By whom


async def test_many_who_seal_at_once_seal_everything_once(base: Database) -> None:
    desks = [await console(base) for _ in range(6)]
    for desk in desks:
        for n in range(40):
            await desk.show(CAMERAS[n % 3], n * 300, n * 300 + 200)
    before = [await found_at(desk) for desk in desks]
    for _ in range(3):
        await asyncio.gather(*(manifests.seal(Writer(base, lambda: None), LATER) for _ in range(4)))
    for desk, expected in zip(desks, before, strict=True):
        assert [one["hour"] for one in await desk.manifests()] == [START + n * HOUR for n in range(4)]
        assert await desk.unsealed() == []
        assert await found_at(desk) == expected


async def test_a_sealing_that_fails_leaves_everything_as_it_was(
    base: Database, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = await console(base)
    await desk.show(CAMERAS[0], 10, 20)
    before = await found_at(desk)

    async def broken(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(entries, "store", broken)
    with pytest.raises(AuditUnavailable):
        await manifests.seal(writer, LATER)
    monkeypatch.undo()
    assert await desk.manifests() == []
    assert len(await desk.unsealed()) == 1
    await manifests.seal(writer, LATER)
    assert await found_at(desk) == before


async def test_what_cannot_be_sealed_does_not_hold_up_the_others(
    base: Database, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await console(base), await console(base)
    await first.show(CAMERAS[0], 10, 20)
    await second.show(CAMERAS[0], 3610, 3620)
    canonical = manifests.canonical

    def broken(duty_id: UUID, *rest: Any) -> bytes:
        if duty_id == first.duty:
            raise OSError
        return canonical(duty_id, *rest)

    monkeypatch.setattr(manifests, "canonical", broken)
    with pytest.raises(AuditUnavailable):
        await manifests.seal(writer, LATER)
    assert (len(await first.unsealed()), len(await second.manifests())) == (1, 1)
    monkeypatch.undo()
    await manifests.seal(writer, LATER)
    assert len(await first.manifests()) == 1


SEALER = """
import asyncio, datetime, sys
from app import database
from app.streams import manifests
from app.streams.writer import Writer

async def main():
    async with database.connect(sys.argv[1]) as base:
        print("ready", flush=True)
        await manifests.seal(Writer(base, lambda: None), datetime.datetime.fromisoformat(sys.argv[2]))

asyncio.run(main())
"""


@pytest.mark.slow
async def test_a_sealer_may_be_killed_at_any_moment(base: Database, writer: Writer) -> None:
    desks = [await console(base) for _ in range(12)]
    for desk in desks:
        for n in range(30):
            await desk.show(CAMERAS[n % 3], n * 300, n * 300 + 200)
    before = [await found_at(desk) for desk in desks]
    killed = 0
    for delay in (0.0, 0.03, 0.08):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SEALER, base.url, LATER.isoformat(), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        await process.stdout.readline()
        await asyncio.sleep(delay + random.random() * 0.02)
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        killed += await process.wait() == -signal.SIGKILL
        assert [await found_at(desk) for desk in desks] == before
    assert killed, "nobody was killed: the test says nothing"
    await manifests.seal(writer, LATER)
    assert [await found_at(desk) for desk in desks] == before
    assert [await desk.unsealed() for desk in desks] == [[]] * len(desks)


# Reading


async def test_who_saw_reads_sealed_and_unsealed_alike_page_by_page(base: Database, writer: Writer) -> None:
    desk, other = await console(base), await console(base)
    camera = await factories.camera(base, desk.agency)
    lead = await actor(base, desk.agency, "shift_lead")
    for n in range(8):
        await desk.show(camera, n * 1800, n * 1800 + 60)
    await desk.show(uuid4(), 0, 10)
    await other.show(camera, 5000, 5100)
    await desk.show(camera, 4 * 3600 + 30)

    async def pages(since: float, until: float, limit: int) -> list[tuple[UUID, list[list[Any]], UUID | None]]:
        found, before = [], None
        async with base.begin() as session:
            while True:
                rows = await manifests.who_saw(session, lead, camera, Span(at(since), at(until), before, limit))
                for row in rows:
                    found.append((row["duty_id"], row["intervals"], row["manifest_id"]))
                    before = (row["began_at"], row["duty_id"], row["camera_id"])
                if len(rows) < limit:
                    return found

    def plain(found: list[tuple[UUID, list[list[Any]], UUID | None]]) -> list[tuple[UUID, list[list[Any]]]]:
        return [(duty, intervals) for duty, intervals, _ in found]

    whole = await pages(0, 6 * 3600, 100)
    assert len(whole) == 6
    assert whole[0][1] == [[30_000, None, "fmp4", "", 0]]
    assert (other.duty, [[1_400_000, 100_000, "fmp4", "client", 1000]]) in plain(whole)
    assert plain(await pages(0, 6 * 3600, 1)) == plain(whole)
    part = await pages(3600 + 1800 + 30, 3600 + 3599, 100)
    assert plain(part) == [(desk.duty, [[1_800_000, 60_000, "fmp4", "client", 1000]])], "only what touches the span"
    await manifests.seal(writer, at(2 * 3600 + 100))
    mixed = await pages(0, 6 * 3600, 2)
    assert plain(mixed) == plain(whole)
    assert {manifest is None for _, _, manifest in mixed} == {True, False}
    await manifests.seal(writer, at(4 * 3600 + 100))
    assert plain(await pages(0, 6 * 3600, 100)) == plain(whole)
    assert plain(await pages(3600 + 1800 + 30, 3600 + 3599, 100)) == plain(part)
    read = await base.bare.fetchval(
        "SELECT count(*) FROM audit_entries WHERE act = 'audit.read' AND camera_id = $1", camera
    )
    assert read >= 10, "reading is written down"
    await base.bare.execute("DELETE FROM showings WHERE duty_id = $1", desk.duty)


async def test_who_may_read(base: Database, writer: Writer) -> None:
    desk = await console(base)
    camera = await factories.camera(base, desk.agency)
    await desk.show(camera, 10, 20)
    await manifests.seal(writer, LATER)
    (manifest,) = await desk.manifests()
    neighbour = await factories.agency(base)
    span = Span(START, LATER)
    people = {
        "lead": await actor(base, desk.agency, "shift_lead"),
        "auditor": await actor(base, desk.agency, "auditor"),
        "operator": await actor_of(base, desk.who),
        "colleague": await actor(base, desk.agency, "operator"),
        "stranger": await actor(base, neighbour, "shift_lead"),
        "foreign_auditor": await actor(base, neighbour, "auditor"),
    }
    camera_answers: dict[str, Any] = {}
    person_answers: dict[str, Any] = {}
    manifest_answers: dict[str, Any] = {}
    async with base.begin() as session:
        for name, who in people.items():
            for answers, asking in (
                (camera_answers, manifests.who_saw(session, who, camera, span)),
                (person_answers, manifests.seen_by(session, who, desk.who.user_id, span)),
                (manifest_answers, manifests.find(session, who, manifest["id"])),
            ):
                try:
                    answer = await asking
                    answers[name] = len(answer) if isinstance(answer, list) else answer.id
                except (NotFound, NotPermitted) as refusal:
                    answers[name] = type(refusal)
    assert camera_answers == {
        "lead": 1, "auditor": 1, "operator": NotPermitted, "colleague": NotPermitted, "stranger": NotFound,
        "foreign_auditor": NotFound,
    }  # fmt: skip
    assert person_answers == {
        "lead": 1, "auditor": 1, "operator": 1, "colleague": NotPermitted, "stranger": 0, "foreign_auditor": 0,
    }  # fmt: skip
    sealed = manifest["id"]
    assert manifest_answers == {
        "lead": sealed, "auditor": sealed, "operator": sealed, "colleague": NotFound, "stranger": NotFound,
        "foreign_auditor": NotFound,
    }  # fmt: skip


async def test_who_saw_goes_through_the_index(base: Database) -> None:
    desk = await console(base)
    await base.bare.execute(
        "INSERT INTO manifests (id, duty_id, hour, intervals, digest, entry_id)"
        " SELECT gen_random_uuid(), $1, '2025-01-01'::timestamptz + n * interval '1 hour', '{\"cameras\": {}}', '',"
        " gen_random_uuid() FROM generate_series(1, 200) n", desk.duty,
    )  # fmt: skip
    await base.bare.execute(
        "INSERT INTO manifest_cameras (manifest_id, camera_id, began_at, ended_at)"
        " SELECT m.id, md5(n::text)::uuid, m.hour, m.hour + interval '1 minute' FROM manifests m,"
        " generate_series(1, 100) n WHERE m.duty_id = $1", desk.duty,
    )  # fmt: skip
    await base.bare.execute("ANALYZE manifests, manifest_cameras")
    async with base.begin() as session:
        statement = text("EXPLAIN " + manifests._OF_CAMERA.text)
        span = Span(datetime(2025, 1, 2, tzinfo=UTC), datetime(2025, 1, 5, tzinfo=UTC))
        camera = UUID("c4ca4238-a0b9-2382-0dcc-509a6f75849b")
        plan = "\n".join((await session.execute(statement, {**span.binds(), "camera_id": camera})).scalars())
    assert "ix_manifest_cameras_camera_id_began_at" in plan, plan
    assert "Seq Scan on manifest_cameras" not in plan, plan


async def test_an_hour_of_a_console_folds_into_little(base: Database, writer: Writer) -> None:
    """16 tiles that change every 30 s: 1,920 showings become one row, one entry and an index of the cameras."""
    desk = await console(base)
    cameras = [uuid4() for _ in range(160)]
    dice = random.Random(1)
    records = [
        (new_id(), uuid4(), at(n // 16 * 30 + dice.random()), desk.duty, desk.who.user_id, desk.agency,
         cameras[n % 160], at(n // 16 * 30 + 29 + dice.random()), dice.randrange(1 << 22))
        for n in range(1920)
    ]  # fmt: skip
    await base.bare.executemany(
        """INSERT INTO showings (id, grant_id, grant_at, duty_id, user_id, agency_id, owner_agency_id, camera_id,
            protocol, gateway, node, began_at, ended_at, cause, bytes)
        VALUES ($1, $2, $3, $4, $5, $6, $6, $7, 'fmp4', 'embedded', 'n', $3, $8, 'client', $9)""", records,
    )  # fmt: skip
    before = await base.bare.fetchval(
        "SELECT sum(pg_column_size(s.*)) FROM showings s WHERE duty_id = $1", desk.duty
    )  # fmt: skip
    await manifests.seal(writer, LATER)
    (manifest,) = await desk.manifests()
    index, stored = await base.bare.fetchrow(
        "SELECT (SELECT count(*) FROM manifest_cameras WHERE manifest_id = id), pg_column_size(intervals)"
        " FROM manifests WHERE id = $1", manifest["id"],
    )  # fmt: skip
    assert index == 160
    assert stored < before / 4, (stored, before)
