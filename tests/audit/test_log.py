"""The log as an outsider checks it: exported, signed, promised; and whatever a database's owner changes is found."""

from pathlib import Path

import asyncpg
import pytest

from app.audit import entries, export, verify
from app.audit.verify import Wrong
from tests.audit.house import ENTRIES, House
from tests.audit.test_tamperings import rebuild


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


async def test_the_service_itself_signs_nothing_that_contradicts_what_it_signed(house: House) -> None:
    notary = house.notary()
    async with house.database.bare.acquire() as connection:
        await notary.publish(connection)
        await rebuild(house, f"id <> '{house.ids[3]}'")
        with pytest.raises(Wrong):
            await notary.publish(connection)


async def test_nor_what_has_grown_since_it_was_rewritten(house: House) -> None:
    notary = house.notary()
    async with house.database.bare.acquire() as connection:
        await notary.publish(connection)
        await rebuild(house, f"id <> '{house.ids[3]}'")
        await house.append(10)
        await house.number()
        with pytest.raises(Wrong):
            await notary.publish(connection)


async def test_contents_are_erased_by_an_entry_that_says_so(house: House) -> None:
    kept = await house.checkpoint()
    row = await house.owner.fetchrow("SELECT id, at FROM audit_entries WHERE id = $1", house.ids[20])
    await house.owner.execute("SELECT audit_erase($1, $2)", row["id"], row["at"])
    async with house.database.begin() as session:
        await entries.append(session, entries.entry(None, verify.ERASING, ranges=[[20, 20]], basis="a statute"))
    await house.number()
    assert "the contents of 1 were erased, each by an entry that says so" in await house.check(kept)


async def test_what_is_withheld_is_said_to_be(house: House) -> None:
    told = b""
    async for _, part in export.lines(
        house.database, house.notary(), export.Sight(lambda row: row["id"] != house.ids[7])
    ):
        told += part
    said = verify.check_export(iter(told.splitlines(keepends=True)), house.notary().key, (), (), ())
    assert "1 were withheld; only their hashes were looked at" in said


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
