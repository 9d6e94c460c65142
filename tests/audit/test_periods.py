"""What age takes away: contents, then whole months; and what remains is proved as before."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from app import database as db
from app.audit import entries, export, retention, verify
from app.audit.erasures import ranges
from app.audit.verify import Wrong
from app.database import Database
from app.errors import Malformed
from app.ids import new_id
from app.keys import Keys
from tests import factories
from tests.audit.house import House
from tests.conftest import Databases

TODAY = datetime.now(UTC).date()
MONTHS = [(TODAY.replace(day=15) - timedelta(days=30 * back)).replace(day=1) for back in (36, 30, 20, 14)]
PARTITION = "CREATE TABLE {parent}_of_{month:%Y%m} PARTITION OF {parent} FOR VALUES FROM ('{month} 00:00+00') TO ('{end} 00:00+00')"
PER_MONTH = 30


class Aged(House):
    """A log whose entries reach back for years."""

    async def spend(self, moment: datetime, count: int = 1) -> list:
        """Entries as they were made then, numbered now."""
        made = [entries.entry(None, "test.done", login=f"of {moment}") for _ in range(count)]
        await self.owner.executemany(
            "WITH stored AS (INSERT INTO audit_entries (id, at, act, outcome, digest, payload, salt)"
            " VALUES ($1, $2, 'test.done', 'done', $3, $4, $5)) INSERT INTO audit_pending (id, at) VALUES ($1, $2)",
            [(one.id, moment, one.digest, one.payload, one.salt) for one in made],
        )
        await self.number()
        return [one.id for one in made]


@pytest.fixture
async def young(databases: Databases, keys: Keys, tmp_path: Path) -> AsyncIterator[Aged]:
    """A log without an entry."""
    name = f"aged_{uuid4().hex[:12]}"
    await databases.create(name)
    owner = await databases.superuser(name)
    async with db.connect(databases.url(name)) as base:
        yield Aged(base, keys, owner, tmp_path, [], [])
    await owner.close()
    await databases.drop(name)


@pytest.fixture
async def aged(young: Aged) -> Aged:
    """Four months of the past and today, a grant and a view in each, one view in the month after its grant."""
    made, base, owner = young, young.database, young.owner
    body = await factories.agency(base)
    person, camera = await factories.person(base, body), await factories.camera(base, body)
    async with base.begin() as session:
        from app.models import Session

        shift = Session(
            id=new_id(), token_digest=b"1", user_id=person.user_id, appointment_id=person.appointment_id,
            expires_at=datetime.now(UTC),
        )  # fmt: skip
        session.add(shift)
    await owner.execute("DELETE FROM audit_pending; DELETE FROM audit_entries")  # of today, before those of the past
    before = None
    for month in MONTHS:
        end = (month + timedelta(days=32)).replace(day=1)
        for parent in ("audit_entries", "grants", "views"):
            await owner.execute(PARTITION.format(parent=parent, month=month, end=end))
            await owner.execute(f"ALTER TABLE {parent}_of_{month:%Y%m} OWNER TO gwanje_owner")
        noon = datetime(month.year, month.month, 5, 12, tzinfo=UTC)
        ids = await made.spend(noon, PER_MONTH)
        made.ids += ids
        grant = new_id()
        await owner.execute(
            "INSERT INTO grants (id, at, entry_id, kind, user_id, appointment_id, agency_id, session_id, owner_agency_id,"
            " basis, expires_at, latest_expires_at) VALUES ($1, $2, $3, 'live', $4, $5, $6, $7, $6, '', $2, $2)",
            grant, noon, ids[0], person.user_id, person.appointment_id, body, shift.id,
        )  # fmt: skip
        for of, moment in ((grant, noon), before or (grant, noon)):
            await owner.execute(
                "INSERT INTO views (id, at, opened_entry_id, grant_id, grant_at, camera_id, owner_agency_id, user_id,"
                " agency_id, protocol, gateway, node) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $7, '', '', '')",
                new_id(), noon, ids[1], of, moment, camera, body, person.user_id,
            )  # fmt: skip
        before = (grant, noon)
    made.ids += await made.spend(datetime.now(UTC), PER_MONTH)
    return made


async def as_owner(databases: Databases, house: House) -> Database:
    return db.connect(databases.url(house.database.url.rpartition("/")[2].partition("?")[0], owner=True), as_owner=True)


async def erase(base: Database, until: date) -> int:
    """As `gwanje audit erase` does it."""
    async with base.begin() as session:
        partitions = await retention.partitions_with_contents(session, until)
        said = await retention.say_erased(session, until) if partitions else None
    erased = 0
    for partition in partitions:
        async with base.begin() as session:
            erased += await retention.erase(session, partition, until, said)
    return erased


async def drop(base: Database, until: date) -> list[str]:
    async with base.begin() as session:
        return await retention.drop(session, until) if await retention.something_to_drop(session, until) else []


async def test_months_go_and_the_rest_is_proved(aged: Aged, databases: Databases) -> None:
    early, receipt = await aged.checkpoint(), aged.receipts
    await aged.append(3)
    await aged.number()
    late = await aged.checkpoint()
    assert receipt == []
    async with await as_owner(databases, aged) as base:
        assert await erase(base, MONTHS[2]) == 2 * PER_MONTH
        await aged.number()
        assert f"the contents of {2 * PER_MONTH} were erased, each by an entry that says so" in await aged.check(early)
        assert await erase(base, MONTHS[2]) == 0, "once"
        done, left = await _rewrite(base)
        assert (done, left) == ([f"audit_entries_of_{month:%Y%m}" for month in MONTHS[:2]], [])
        assert len(await drop(base, MONTHS[1])) == 3
        await aged.number()
        said = await aged.check(early, late)
        assert any(
            one.startswith(f"{PER_MONTH} were dropped with their period") and str(MONTHS[1])[:7] in one for one in said
        )
        assert f"the contents of {PER_MONTH} were erased, each by an entry that says so" in said
        assert len(await drop(base, MONTHS[3])) == 6, "the second time names what was dropped before, too"
        assert await drop(base, MONTHS[3]) == []
        assert await erase(base, (MONTHS[3] + timedelta(days=32)).replace(day=1)) == PER_MONTH
    await aged.number()
    assert await aged.check(early, late)
    counts = [await aged.owner.fetchval(f"SELECT count(*) FROM {table}") for table in ("grants", "views")]
    assert counts == [1, 1], "a view of the month after its dropped grant goes with it"
    await _every_entry_is_proved(aged, late)


async def _rewrite(base: Database) -> tuple[list[str], list[str]]:
    async with base.bare.acquire() as connection:
        return await retention.rewrite(connection)


async def _every_entry_is_proved(aged: Aged, old: str) -> None:
    notary = aged.notary()
    async with aged.database.bare.acquire() as connection:
        newest = verify.open_checkpoint(await notary.publish(connection), notary.key)[0]
        before = verify.open_checkpoint(old, notary.key)[0]
        proof = await notary.consistency(connection, before.size, newest.size)
        verify.check_consistency(before.size, newest.size, proof, before.root, newest.root)
        rows = await connection.fetch("SELECT e.* FROM audit_entries e JOIN audit_leaves l USING (id, at)")
        assert len(rows) > PER_MONTH
        for row in rows:
            index, hashes, note = verify.read_proof(await notary.proof(connection, row["id"]))
            checkpoint, _ = verify.open_checkpoint(note, notary.key)
            leaf = verify.leaf_hash(entries.leaf_data(row))
            verify.check_inclusion(index, checkpoint.size, leaf, hashes, checkpoint.root)


async def test_what_is_too_young_or_not_named_stays(aged: Aged, databases: Databases) -> None:
    async with await as_owner(databases, aged) as base:
        for until in (TODAY, TODAY - timedelta(days=300)):
            with pytest.raises(Malformed):
                await erase(base, until)
            with pytest.raises(Malformed):
                await drop(base, until.replace(day=1) if until == TODAY else until)
        with pytest.raises(Malformed, match="whole months"):
            await drop(base, MONTHS[1] + timedelta(days=3))
        for what, statement in (
            ("kept for a year", "SELECT audit_drop_before(now() - interval '300 days', :said)"),
            ("does not name all", "SELECT audit_drop_before(now() - interval '700 days', :said)"),
            ("kept for a year", "SELECT audit_erase_old('audit_entries_of_rest', now(), :said)"),
        ):
            said = entries.entry(None, verify.DROPPED, ranges=[[0, 3]], until="2020-01-01")
            with pytest.raises(DBAPIError, match=what):
                async with base.begin() as session:
                    await entries.append(session, said)
                    from sqlalchemy import text

                    await session.execute(text(statement), {"said": said.id})
    assert await aged.owner.fetchval("SELECT count(*) FROM audit_entries WHERE act = 'test.done'") == len(aged.ids)


TOO_MUCH: list[tuple[str, dict]] = [
    (verify.DROPPED, {"ranges": [[0, 150]], "until": str(MONTHS[1])}),
    (verify.DROPPED, {"ranges": [[0, 149]], "until": str(MONTHS[1])}),
    (verify.DROPPED, {"ranges": [[0, 149]], "until": str(TODAY)}),
    (verify.DROPPED, {"ranges": [[0, 149]]}),
    (verify.DROPPED, {"ranges": "all"}),
    (verify.DROPPED, {"until": str(MONTHS[1])}),
    (verify.ERASING, {"ranges": [[0, 149]]}),
]


async def test_a_superuser_who_drops_more_than_was_due_is_found(aged: Aged) -> None:
    """Entries of the second month are taken out, under an entry that says what suits."""
    await aged.owner.execute("DELETE FROM views; DELETE FROM grants")
    await aged.remember()
    for act, told in TOO_MUCH:
        await aged.restore()
        assert await aged.check()
        some = aged.ids[PER_MONTH + 5 : PER_MONTH + 20]
        await aged.owner.execute("DELETE FROM audit_entries WHERE id = ANY($1)", some)
        async with aged.database.begin() as session:
            await entries.append(session, entries.entry(None, act, **told))
        await aged.number()
        with pytest.raises(Wrong):
            await aged.check()


@dataclass
class Life:
    """A log that lives through three years in a minute: its clock is set by who may do anything to its tables."""

    log: Aged
    base: Database
    dice: random.Random
    clock: datetime = datetime.now(UTC) - timedelta(days=1100)
    receipts: list[str] = field(default_factory=list)

    async def go_on(self, most: timedelta) -> None:
        """One of the honest things that happen to a log."""
        self.clock += self.dice.random() * most
        ids = await self.log.spend(self.clock, self.dice.randint(1, 12))
        if self.dice.random() < 0.3:
            self.receipts += (await self.log.notary().receipts([(ids[0], self.clock)])).values()
        what, until = self.dice.random(), (self.clock - timedelta(days=self.dice.randint(366, 700))).date()
        if what < 0.15:
            await erase(self.base, until)
        elif what < 0.3:
            await drop(self.base, until.replace(day=1))
        elif what < 0.4:
            said = entries.entry(None, verify.ERASING, ranges=await self._of_order(ids[::2]))
            async with self.base.begin() as session:
                await entries.append(session, said)
            await self.log.owner.execute(
                "UPDATE audit_entries SET payload = NULL, salt = NULL WHERE id = ANY($1)", ids[::2]
            )
        await self.at_its_time()
        await self.log.number()

    async def _of_order(self, ids: list) -> list[list[int]]:
        query = "SELECT position - 1 AS index FROM audit_leaves WHERE id = ANY($1) ORDER BY position"
        return ranges([row["index"] for row in await self.log.owner.fetch(query, ids)])

    async def at_its_time(self) -> None:
        """What was said just now was said by the log's own clock."""
        await self.log.owner.execute(
            "UPDATE audit_entries e SET at = $1 FROM audit_pending p WHERE p.id = e.id", self.clock
        )
        await self.log.owner.execute("UPDATE audit_pending SET at = $1", self.clock)


async def test_what_explains_is_dropped_in_its_turn(young: Aged, databases: Databases) -> None:
    """The last entry about dropped months explains all of them, since the one before goes with its own month."""
    now = datetime.now(UTC)
    async with await as_owner(databases, young) as base:
        life = Life(young, base, random.Random(1), clock=now - timedelta(days=1200))
        await young.spend(life.clock, 10)
        early = await young.checkpoint()
        for days in (720, 0):
            life.clock = now - timedelta(days=days)
            await young.spend(life.clock, 10)
            await drop(base, (life.clock - timedelta(days=366)).date().replace(day=1))
            await life.at_its_time()
            await young.number()
            assert await young.check(early)
        assert await young.owner.fetchval("SELECT count(*) FROM audit_entries WHERE act = 'audit.dropped'") == 1


async def honest_exports(aged: Aged, databases: Databases, count: int) -> None:
    dice, kept = random.Random(count), list[str]()
    async with await as_owner(databases, aged) as base:
        life = Life(aged, base, dice)
        for number in range(count):
            await life.go_on(timedelta(days=2000 / count))
            if dice.random() < 0.3:
                kept.append(await aged.checkpoint())
            seen = dice.sample(kept, min(len(kept), 3))
            promised = tuple(dice.sample(life.receipts, min(len(life.receipts), 3)))
            hidden = dice.random() * 0.5 if number % 3 == 0 else 0.0
            sight = export.Sight(lambda _, share=hidden: dice.random() >= share, lambda _: dice.random() >= hidden)  # noqa: B023
            said = await aged.check(*seen, receipts=promised, sight=sight)
            assert said, "no false alarm"
        erased = [one for one in said if "erased" in one]
        assert len(erased) == 1, "and there was something that could have alarmed"


@pytest.mark.slow
async def test_twenty_honest_exports_alarm_nobody(young: Aged, databases: Databases) -> None:
    await honest_exports(young, databases, 20)


@pytest.mark.drill
@pytest.mark.timeout(3600)
async def test_a_thousand_honest_exports_alarm_nobody(young: Aged, databases: Databases) -> None:
    await honest_exports(young, databases, 1000)


def test_a_period_ends_with_a_month() -> None:
    assert retention.first_of_month(1825, date(2026, 11, 23)) == date(2021, 11, 1)
    assert retention.first_of_month(730, date(2026, 1, 31)) == date(2024, 2, 1)


async def test_the_commands(aged: Aged, databases: Databases, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`gwanje audit erase` and `drop-period`, with the owner's rights."""
    from typer.testing import CliRunner

    from app.cli import app as commands

    url = databases.superuser_url(aged.database.url.rpartition("/")[2].partition("?")[0])  # a login that may do both
    monkeypatch.setenv("GWANJE_DATABASE_URL", url)
    monkeypatch.setenv("GWANJE_HOME", str(tmp_path))
    monkeypatch.setenv("GWANJE_AUDIT_DAYS", "1000")

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(commands, ["audit", *arguments])
        return result.exit_code, result.output + str(result.exception or "")

    for arguments, told in (
        (["erase"], f"the contents of {PER_MONTH} entries older than"),
        (["drop-period"], f"audit_entries_of_{MONTHS[0]:%Y%m}"),
        (["drop-period"], "dropped: nothing"),
    ):
        status, output = await asyncio.to_thread(run, *arguments)
        assert status == 0, output
        assert told in output.replace("\n", " ")
    status, output = await asyncio.to_thread(run, "drop-period", "--before", "2026-01")
    assert status == 1
    assert "are kept" in output
    assert await aged.check()
    assert isinstance(aged.owner, asyncpg.Connection)
