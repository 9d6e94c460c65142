"""The log as an outsider checks it: exported, signed, promised; and whatever a database's owner changes is found."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import make_url

from app import database as db
from app import ledger
from app.audit import entries, export, verify
from app.audit.checkpoints import Notary
from app.audit.verify import Wrong
from app.database import Database
from app.keys import Keys
from app.ledger import Sequencer
from tests.conftest import Databases

ENTRIES = 600


@dataclass
class House:
    """A log of its own with some hundred entries, and who may do anything to its tables."""

    database: Database
    keys: Keys
    owner: asyncpg.Connection
    folder: Path
    ids: list[UUID]
    receipts: list[str]

    def notary(self, keys: Keys | None = None) -> Notary:
        return Notary(self.database, keys or self.keys, "city.example/audit")

    async def append(self, count: int) -> list[tuple[UUID, str]]:
        """Entries, committed and promised, perhaps not numbered yet."""
        made = [entries.entry(None, "test.done", login=f"person {number}") for number in range(count)]
        async with self.database.begin() as session:
            for one in made:
                await entries.append(session, one)
        rows = await self.owner.fetch("SELECT id, at FROM audit_entries WHERE id = ANY($1)", [one.id for one in made])
        notes = await self.notary().receipts([(row["id"], row["at"]) for row in rows])
        return list(notes.items())

    async def number(self) -> None:
        await Sequencer(self.database, ledger.AUDIT, entries.grow_tree).catch_up()

    async def checkpoint(self) -> str:
        async with self.database.bare.acquire() as connection:
            return await self.notary().publish(connection)

    async def check(self, *checkpoints: str, receipts: tuple[str, ...] = (), notary: Notary | None = None) -> list[str]:
        """What the verifier says of a fresh export."""
        told = self.folder / "log.export"
        with told.open("wb") as file:
            async with self.database.bare.acquire() as connection:
                async for _, part in export.lines(connection, notary or self.notary()):
                    file.write(part)
        with told.open("rb") as file:
            return verify.check_export(iter(file), self.notary().key, checkpoints, receipts, ())


@pytest.fixture
async def house(empty_database_url: str, databases: Databases, keys: Keys, tmp_path: Path) -> AsyncIterator[House]:
    owner = await databases.superuser(make_url(empty_database_url).database or "")
    async with db.connect(empty_database_url) as base:
        made = House(base, keys, owner, tmp_path, [], [])
        for id_and_note in await made.append(ENTRIES):
            made.ids.append(id_and_note[0])
            made.receipts.append(id_and_note[1])
        await made.number()
        yield made
    await owner.close()


async def test_an_honest_log_holds(house: House) -> None:
    kept = await house.checkpoint()
    await house.append(30)
    await house.number()
    said = await house.check(kept, receipts=(house.receipts[0], house.receipts[-1]))
    assert f"the first {ENTRIES} are those of the checkpoint that was kept" in said
    assert any("630 entries, 0 to 629" in sentence for sentence in said)
    assert "all 2 entries that were promised are here" in said


async def test_proofs_of_the_service_hold_and_take_two_queries(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    notary = house.notary()
    async with house.database.bare.acquire() as connection:
        old = verify.Checkpoint.of_text(verify.split_note(await notary.publish(connection))[0])
        for entry_id in (house.ids[0], house.ids[299], house.ids[-1]):
            index, proof, note = verify.read_proof(await notary.proof(connection, entry_id))
            checkpoint, _ = verify.open_checkpoint(note, notary.key)
            row = await connection.fetchrow("SELECT * FROM audit_entries WHERE id = $1", entry_id)
            leaf = verify.leaf_hash(entries.leaf_data(row))
            verify.check_inclusion(index, checkpoint.size, leaf, proof, checkpoint.root)
        await house.append(5000)
        await house.number()
        new = verify.Checkpoint.of_text(verify.split_note(await notary.publish(connection))[0])
        asked: list[str] = []
        fetch = asyncpg.Connection.fetch

        async def counted(self: asyncpg.Connection, query: str, *values: object, **more: object) -> object:
            asked.append(query)
            return await fetch(self, query, *values, **more)

        monkeypatch.setattr(asyncpg.Connection, "fetch", counted)
        found = await notary.consistency(connection, old.size, new.size)
        verify.check_consistency(old.size, new.size, found, old.root, new.root)
        assert len(asked) == 2


Tampering = Callable[[House], Awaitable[object]]


async def _edit(house: House) -> None:
    await house.owner.execute(
        'UPDATE audit_entries SET payload = \'{"login": "somebody else"}\' WHERE id = $1', house.ids[10]
    )


async def _edit_the_header(house: House) -> None:
    await house.owner.execute("UPDATE audit_entries SET act = 'grant.given' WHERE id = $1", house.ids[10])


async def _edit_with_its_digest(house: House) -> None:
    """Everything about one entry is made anew: contents, digest and leaf; what grew of it is not."""
    new = entries.entry(None, "test.done", login="somebody else")
    await house.owner.execute(
        "UPDATE audit_entries SET payload = $2::json, salt = $3, digest = $4 WHERE id = $1",
        house.ids[10], new.payload, new.salt, new.digest,
    )  # fmt: skip
    row = await house.owner.fetchrow("SELECT * FROM audit_entries WHERE id = $1", house.ids[10])
    leaf = verify.leaf_hash(entries.leaf_data(row))
    await house.owner.execute("UPDATE audit_leaves SET leaf_hash = $2 WHERE id = $1", house.ids[10], leaf)


async def _delete(house: House) -> None:
    await house.owner.execute("DELETE FROM audit_leaves WHERE id = $1", house.ids[300])


async def _swap(house: House) -> None:
    for old, new in ((5, 1_000_005), (6, 5), (1_000_005, 6)):
        await house.owner.execute("UPDATE audit_leaves SET position = $2 WHERE position = $1", old, new)


async def _erase_in_silence(house: House) -> None:
    await house.owner.execute("UPDATE audit_entries SET payload = NULL, salt = NULL WHERE id = $1", house.ids[20])


async def _slip_in(house: House) -> None:
    """An entry that was never made, put in the place of another with the positions after it moved."""
    await house.owner.execute("UPDATE audit_leaves SET position = position + 1000000 WHERE position > 100")
    await house.owner.execute("UPDATE audit_leaves SET position = position - 999999 WHERE position > 1000000")
    await house.owner.execute(
        "INSERT INTO audit_entries (id, act, outcome, digest, payload, salt)"
        " SELECT gen_random_uuid(), act, outcome, digest, payload, salt FROM audit_entries WHERE id = $1",
        house.ids[0],
    )
    await house.owner.execute(
        "INSERT INTO audit_leaves SELECT 101, id, at, leaf_hash FROM audit_entries e, LATERAL"
        " (SELECT leaf_hash FROM audit_leaves LIMIT 1) l WHERE e.id NOT IN (SELECT id FROM audit_leaves)"
    )
    await house.owner.execute("UPDATE ledger_heads SET position = position + 1 WHERE ledger = 'audit'")


async def _cut_off_the_end(house: House) -> None:
    """The newest entries never were; the head, the nodes and the checkpoints are made to fit."""
    await _rebuild(house, "position <= 400")


async def _rewrite(house: House) -> None:
    """All of history is made anew without one entry, by who has the key, too."""
    await _rebuild(house, f"id <> '{house.ids[3]}'")


async def _rebuild(house: House, kept: str) -> None:
    rows = await house.owner.fetch(
        f"SELECT e.* FROM audit_leaves l JOIN audit_entries e USING (id, at) WHERE l.{kept} ORDER BY l.position"
    )
    await house.owner.execute("TRUNCATE audit_leaves, audit_nodes, audit_checkpoints")
    grown = entries.grow_tree(0, [], rows)
    await house.owner.executemany(
        "INSERT INTO audit_leaves VALUES ($1, $2, $3, $4)",
        [
            (number, row["id"], row["at"], leaf)
            for number, (row, leaf) in enumerate(zip(rows, grown.leaves, strict=True), 1)
        ],
    )
    await house.owner.execute(
        "UPDATE ledger_heads SET position = $1, frontier = $2 WHERE ledger = 'audit'", len(rows), grown.frontier
    )
    if grown.beside:
        await house.owner.execute(grown.beside[0], *grown.beside[1])


@pytest.mark.parametrize(
    "tampering",
    [
        _edit,
        _edit_the_header,
        _edit_with_its_digest,
        _delete,
        _swap,
        _erase_in_silence,
        _slip_in,
        _cut_off_the_end,
        _rewrite,
    ],
)
async def test_what_a_superuser_changes_is_found(house: House, tampering: Tampering) -> None:
    kept = await house.checkpoint()
    assert await house.check(kept)
    await tampering(house)
    with pytest.raises(Wrong):
        await house.check(kept)


async def test_what_is_gone_before_it_was_numbered_is_missed_by_who_was_promised_it(house: House) -> None:
    ((_, first), (suppressed, receipt)) = await house.append(2)
    await house.owner.execute("DELETE FROM audit_pending WHERE id = $1", suppressed)
    await house.owner.execute("DELETE FROM audit_entries WHERE id = $1", suppressed)
    await house.number()
    assert await house.check(receipts=(first,))
    with pytest.raises(Wrong, match="promised is not here"):
        await house.check(receipts=(first, receipt))


async def test_another_key_signs_for_nobody(house: House) -> None:
    kept = await house.checkpoint()
    await house.owner.execute("TRUNCATE audit_checkpoints")
    with pytest.raises(Wrong, match="has not signed"):
        await house.check(kept, notary=house.notary(Keys(b"another key, thirty-two bytes!!!")))


async def test_the_service_itself_signs_nothing_that_contradicts_what_it_signed(house: House) -> None:
    notary = house.notary()
    async with house.database.bare.acquire() as connection:
        await notary.publish(connection)
        await _rewrite(house)
        with pytest.raises(Wrong):
            await notary.publish(connection)


async def test_nor_what_has_grown_since_it_was_rewritten(house: House) -> None:
    notary = house.notary()
    async with house.database.bare.acquire() as connection:
        await notary.publish(connection)
        await _rewrite(house)
        await house.append(10)
        await house.number()
        with pytest.raises(Wrong):
            await notary.publish(connection)


async def test_contents_are_erased_by_an_entry_that_says_so(house: House) -> None:
    kept = await house.checkpoint()
    row = await house.owner.fetchrow("SELECT id, at FROM audit_entries WHERE id = $1", house.ids[20])
    await house.owner.execute("SELECT audit_erase($1, $2)", row["id"], row["at"])
    async with house.database.begin() as session:
        await entries.append(
            session, entries.entry(None, verify.ERASING, entry_ids=[house.ids[20]], ground="retention")
        )
    await house.number()
    assert "the contents of 1 were erased, each by an entry that says so" in await house.check(kept)


async def test_what_is_withheld_is_said_to_be(house: House) -> None:
    told = b""
    async with house.database.bare.acquire() as connection:
        async for _, part in export.lines(connection, house.notary(), may_see=lambda row: row["id"] != house.ids[7]):
            told += part
    said = verify.check_export(iter(told.splitlines(keepends=True)), house.notary().key, (), (), ())
    assert "the contents of 1 were withheld; that they are unchanged is not shown" in said


async def test_the_command_says_in_words_and_by_its_status(
    house: House, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    kept, log = tmp_path / "kept", tmp_path / "log.export"
    kept.write_text(await house.checkpoint())
    await house.check()
    vkey = house.notary().key.vkey
    assert verify.main(["export", str(log), "--key", vkey, "--checkpoint", str(kept)]) == 0
    assert "holds: 600 entries" in capsys.readouterr().out
    text = log.read_bytes()
    log.write_bytes(text.replace(b'person 5"', b'person 6"', 1))
    assert verify.main(["export", str(log), "--key", vkey]) == 1
    assert capsys.readouterr().out.startswith("WRONG: entry 5 (")
    log.write_bytes(text[: len(text) // 2])
    assert verify.main(["export", str(log), "--key", vkey]) in (1, 2)
    log.write_bytes(b"nothing")
    assert verify.main(["export", str(log), "--key", vkey]) == 2
    receipt = tmp_path / "receipt"
    receipt.write_text(house.receipts[0] + "\n")  # as a shell writes it
    assert verify.main(["receipt", str(receipt), "--key", vkey]) == 0
    receipt.write_text(house.receipts[0].replace("T", "t", 1))
    assert verify.main(["receipt", str(receipt), "--key", vkey]) == 1
