"""Twelve things that a database's owner can do to the log, each found offline; and what evidence it takes.

Where evidence is needed (a checkpoint that was kept, a receipt, the key on paper), nothing is found without it: so it
stands in the README, and so these tests say it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from app.audit import entries, verify
from app.audit.verify import Wrong
from app.keys import Keys
from tests.audit.house import House


@dataclass
class Kept:
    """What somebody outside has kept since before the tampering."""

    checkpoints: list[str] = field(default_factory=list)
    receipts: list[str] = field(default_factory=list)


async def rebuild(house: House, kept: str, order: str = "l.position") -> None:
    """All of history is made anew, by who may do anything to the tables and has the signing key, too."""
    rows = await house.owner.fetch(
        f"SELECT e.* FROM audit_leaves l JOIN audit_entries e USING (id, at) WHERE l.{kept} ORDER BY {order}"
    )
    await renumber(house, rows)


async def renumber(house: House, rows: list) -> None:
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


async def edit_payload(house: House, _: Kept) -> None:
    await house.owner.execute(
        'UPDATE audit_entries SET payload = \'{"login": "somebody else"}\' WHERE id = $1', house.ids[10]
    )


async def edit_header(house: House, _: Kept) -> None:
    await house.owner.execute("UPDATE audit_entries SET act = 'grant.given' WHERE id = $1", house.ids[10])


async def edit_payload_and_leaf_hash(house: House, _: Kept) -> None:
    """Everything about one entry is made anew: contents, digest and leaf; what grew of it is not."""
    new = entries.entry(None, "test.done", login="somebody else")
    await house.owner.execute(
        "UPDATE audit_entries SET payload = $2::json, salt = $3, digest = $4 WHERE id = $1",
        house.ids[10], new.payload, new.salt, new.digest,
    )  # fmt: skip
    row = await house.owner.fetchrow("SELECT * FROM audit_entries WHERE id = $1", house.ids[10])
    leaf = verify.leaf_hash(entries.leaf_data(row))
    await house.owner.execute("UPDATE audit_leaves SET leaf_hash = $2 WHERE id = $1", house.ids[10], leaf)


async def delete_leaf(house: House, _: Kept) -> None:
    await house.owner.execute("DELETE FROM audit_leaves WHERE id = $1", house.ids[300])


async def delete_entry(house: House, _: Kept) -> None:
    await house.owner.execute("DELETE FROM audit_entries WHERE id = $1", house.ids[300])


async def delete_tail_and_sign_again(house: House, kept: Kept) -> None:
    kept.checkpoints.append(await house.checkpoint())
    await rebuild(house, "position <= 400")


async def swap_two(house: House, _: Kept) -> None:
    for old, new in ((5, 1_000_005), (6, 5), (1_000_005, 6)):
        await house.owner.execute("UPDATE audit_leaves SET position = $2 WHERE position = $1", old, new)


async def insert_backdated(house: House, _: Kept) -> None:
    """An entry that was never made, put in the place of another with the positions after it moved."""
    await house.owner.execute("UPDATE audit_leaves SET position = position + 1000000 WHERE position > 100")
    await house.owner.execute("UPDATE audit_leaves SET position = position - 999999 WHERE position > 1000000")
    await house.owner.execute(
        "INSERT INTO audit_entries (id, at, act, outcome, digest, payload, salt)"
        " SELECT gen_random_uuid(), at, act, outcome, digest, payload, salt FROM audit_entries WHERE id = $1",
        house.ids[0],
    )
    await house.owner.execute(
        "INSERT INTO audit_leaves SELECT 101, id, at, leaf_hash FROM audit_entries e, LATERAL"
        " (SELECT leaf_hash FROM audit_leaves LIMIT 1) l WHERE e.id NOT IN (SELECT id FROM audit_leaves)"
    )
    await house.owner.execute("UPDATE ledger_heads SET position = position + 1 WHERE ledger = 'audit'")


async def insert_backdated_and_sign_again(house: House, kept: Kept) -> None:
    kept.checkpoints.append(await house.checkpoint())
    new = entries.entry(None, "test.done", login="never here")
    await house.owner.execute(
        "INSERT INTO audit_entries (id, at, act, outcome, digest, payload, salt)"
        " SELECT $1, at, act, outcome, $3, $4, $5 FROM audit_entries WHERE id = $2",
        new.id, house.ids[100], new.digest, new.payload, new.salt,
    )  # fmt: skip
    rows = await house.owner.fetch(
        "SELECT e.* FROM audit_entries e LEFT JOIN audit_leaves l USING (id, at) ORDER BY COALESCE(l.position, 101)"
    )
    await renumber(house, rows)


async def duplicate_index(house: House, _: Kept) -> None:
    await house.owner.execute("ALTER TABLE audit_leaves DROP CONSTRAINT pk_audit_leaves")
    await house.owner.execute("UPDATE audit_leaves SET position = 7 WHERE position = 300")


async def number_again(house: House, kept: Kept) -> None:
    kept.checkpoints.append(await house.checkpoint())
    await rebuild(house, "position > 0", "l.position % 7, l.position")


async def restore_yesterdays_backup(house: House, kept: Kept) -> None:
    """Today never was; and life goes on from there, signed."""
    made = await house.append(20)
    await house.number()
    kept.receipts += [receipt for _, receipt in made]
    await rebuild(house, "position <= 600")
    await house.owner.execute("DELETE FROM audit_entries WHERE id = ANY($1)", [entry_id for entry_id, _ in made])
    await house.append(50)
    await house.number()


async def split_view(house: House, kept: Kept) -> None:
    """The log shows the witness one history of this size and the auditor another."""
    before = await house.checkpoint()
    await rebuild(house, f"id <> '{house.ids[3]}'")
    await house.append(1)
    await house.number()
    kept.checkpoints.append(before)


async def delete_before_it_was_numbered(house: House, kept: Kept) -> None:
    ((_, first), (suppressed, receipt)) = await house.append(2)
    await house.owner.execute("DELETE FROM audit_pending WHERE id = $1", suppressed)
    await house.owner.execute("DELETE FROM audit_entries WHERE id = $1", suppressed)
    await house.number()
    kept.receipts += [first, receipt]


async def swap_the_key(house: House, _: Kept) -> None:
    await house.owner.execute("TRUNCATE audit_checkpoints")


async def erase_in_silence(house: House, _: Kept) -> None:
    await house.owner.execute("UPDATE audit_entries SET payload = NULL, salt = NULL WHERE id = $1", house.ids[20])


async def erase_what_is_young_as_old(house: House, _: Kept) -> None:
    """An entry says that contents were erased for their age, which they do not have."""
    await erase_in_silence(house, Kept())
    async with house.database.begin() as session:
        told = entries.entry(None, verify.ERASING, ranges=[[20, 20]], until="2020-01-01T00:00:00+00:00")
        await entries.append(session, told)
    await house.number()


async def drop_what_is_young(house: House, _: Kept) -> None:
    """Entries of today are taken out under an entry which says that their period is over."""
    await house.owner.execute("DELETE FROM audit_entries WHERE id = ANY($1)", house.ids[20:30])
    async with house.database.begin() as session:
        told = entries.entry(None, verify.DROPPED, ranges=[[20, 29]], until="2020-01-01T00:00:00+00:00")
        await entries.append(session, told)
    await house.number()


Tampering = Callable[[House, Kept], Awaitable[None]]
FOUND_BY_THE_EXPORT_ALONE: dict[str, Tampering] = {
    "1 edit the payload": edit_payload,
    "1 edit the header": edit_header,
    "2 edit the payload and its leaf hash": edit_payload_and_leaf_hash,
    "3 delete a row of the leaves": delete_leaf,
    "3 delete a row of the entries": delete_entry,
    "5 swap two": swap_two,
    "6 insert a backdated entry": insert_backdated,
    "7 duplicate an index": duplicate_index,
    "erase in silence": erase_in_silence,
    "erase what is young as old": erase_what_is_young_as_old,
    "drop what is young": drop_what_is_young,
}
FOUND_BY_WHAT_WAS_KEPT: dict[str, Tampering] = {
    "4 delete the tail and sign again": delete_tail_and_sign_again,
    "6 insert a backdated entry and sign again": insert_backdated_and_sign_again,
    "8 number again and sign again": number_again,
    "9 restore yesterday's backup": restore_yesterdays_backup,
    "10 split view": split_view,
    "11 delete before it was numbered": delete_before_it_was_numbered,
}
FOUND_BY_THE_KEY: dict[str, Tampering] = {"12 swap the signing key": swap_the_key}


@pytest.mark.parametrize("tampering", FOUND_BY_THE_EXPORT_ALONE.values(), ids=list(FOUND_BY_THE_EXPORT_ALONE))
async def test_found_by_the_export_alone(house: House, tampering: Tampering) -> None:
    assert await house.check()
    await tampering(house, Kept())
    with pytest.raises(Wrong):
        await house.check()


@pytest.mark.parametrize("tampering", FOUND_BY_WHAT_WAS_KEPT.values(), ids=list(FOUND_BY_WHAT_WAS_KEPT))
async def test_found_by_what_was_kept(house: House, tampering: Tampering) -> None:
    kept = Kept()
    await tampering(house, kept)
    assert await house.check(), "whoever kept nothing finds nothing"
    with pytest.raises(Wrong):
        await house.check(*kept.checkpoints, receipts=tuple(kept.receipts))


async def test_found_by_the_key(house: House) -> None:
    kept = await house.checkpoint()
    await swap_the_key(house, Kept())
    other = house.notary(Keys(b"another key, thirty-two bytes!!!"))
    with pytest.raises(Wrong, match="has not signed"):
        await house.check(kept, notary=other)


async def test_a_split_view_is_found_by_the_two_checkpoints(house: House) -> None:
    kept = Kept()
    await split_view(house, kept)
    one, other = (
        verify.open_checkpoint(note, house.notary().key)[0] for note in (kept.checkpoints[0], await house.checkpoint())
    )
    assert (one.size, one.origin) == (other.size, other.origin)
    with pytest.raises(Wrong, match="two different logs of 600"):
        verify.check_consistency(one.size, other.size, [], one.root, other.root)


def test_they_are_twelve() -> None:
    names = [*FOUND_BY_THE_EXPORT_ALONE, *FOUND_BY_WHAT_WAS_KEPT, *FOUND_BY_THE_KEY]
    assert {int(name.split()[0]) for name in names if name[0].isdigit()} == set(range(1, 13))
