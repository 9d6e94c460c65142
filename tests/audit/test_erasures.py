"""Erasure by order of two officers: what the doors let happen, what the database lets happen, and what is left."""

import random
from pathlib import Path
from uuid import UUID

import asyncpg
import httpx
import pytest

from app.access.roles import ROLES
from app.actor import Actor
from app.audit import entries, erasures, retention, verify
from app.audit.erasures import Selection, ranges
from app.clock import now
from app.database import Database
from app.errors import Conflict, Malformed, NotFound, NotPermitted
from app.ids import new_id
from tests import factories
from tests.audit.house import House
from tests.factories import Person

WHY = {"basis": "개인정보 보호법 제21조", "document_number": "정보-2026-17"}


def actor(person: Person, role: str = "admin", body: UUID | None = None) -> Actor:
    body = body or person.agency_id
    return Actor(
        user_id=person.user_id, login=person.login, role=role, appointment_id=person.appointment_id,
        agency_id=person.agency_id, agency_name="", body_id=body, acts_for_ids=(body,), session_id=new_id(),
        expires_at=now(), capabilities=ROLES[role],
    )  # fmt: skip


async def officers(database: Database, count: int = 2) -> list[Actor]:
    body = await factories.agency(database)
    return [actor(await factories.person(database, body, "admin")) for _ in range(count)]


async def said_by(house: House, who: Actor, count: int, **details: str) -> list[UUID]:
    """Entries of a person, numbered."""
    made = [entries.entry(who, "test.done", owner_agency_id=who.body_id, **details) for _ in range(count)]
    async with house.database.begin() as session:
        for one in made:
            await entries.append(session, one)
    await house.number()
    return [one.id for one in made]


async def contents(house: House, ids: list[UUID]) -> int:
    query = "SELECT count(*) FROM audit_entries WHERE id = ANY($1) AND (payload IS NOT NULL OR salt IS NOT NULL)"
    return await house.owner.fetchval(query, ids)


async def ordered(house: House, who: Actor, selection: Selection) -> UUID:
    async with house.database.begin() as session:
        return await erasures.order(session, who, selection, **WHY)


async def decided(house: House, who: Actor, order_id: UUID, *, approve: bool = True) -> int:
    async with house.database.begin() as session:
        erased = await erasures.decide(session, who, order_id, approve=approve)
    await house.number()
    return erased


async def test_two_officers_erase_what_was_listed_and_the_log_says_so(house: House) -> None:
    first, second = await officers(house.database)
    ids = await said_by(house, first, 5)
    kept = await house.checkpoint()
    order_id = await ordered(house, first, Selection(entry_ids=tuple(ids[1:4])))
    assert await contents(house, ids) == 5, "an order alone erases nothing"
    assert await decided(house, second, order_id) == 3
    assert await contents(house, ids) == 2
    assert "the contents of 3 were erased, each by an entry that says so" in await house.check(kept)
    told = await house.owner.fetchrow("SELECT * FROM audit_entries WHERE act = 'audit.erased'")
    assert first.login not in told["payload"]
    assert str(first.user_id) not in told["payload"]
    assert WHY["document_number"] in told["payload"]
    acts = await house.owner.fetch("SELECT act FROM audit_entries WHERE subject_id = $1 ORDER BY at, id", order_id)
    assert [row["act"] for row in acts] == ["erasure.ordered", "erasure.approved", "audit.erased"]
    with pytest.raises(Conflict):
        await decided(house, second, order_id)


async def test_by_person_and_by_period_and_not_what_concerns_others(house: House) -> None:
    first, second = await officers(house.database)
    other = (await officers(house.database))[0]
    own, shared = await said_by(house, first, 3), entries.entry(first, "test.done", owner_agency_id=other.body_id)
    async with house.database.begin() as session:
        await entries.append(session, shared)
    began = await house.owner.fetchval("SELECT now()")
    later = await said_by(house, second, 2)
    assert await decided(house, second, await ordered(house, first, Selection(user_id=first.user_id))) >= 3
    assert (await contents(house, own), await contents(house, [shared.id, *later])) == (0, 3)
    # the first officer's own order and entries of the erasure come after `began`, too
    assert await decided(house, first, await ordered(house, second, Selection(since=began))) >= 2
    assert await contents(house, later) == 0
    assert await contents(house, [shared.id]) == 1, "another institution's entry, too"
    assert await house.check()


async def test_what_cannot_be_ordered(house: House) -> None:
    first, _ = await officers(house.database)
    other = (await officers(house.database))[0]
    theirs = await said_by(house, other, 1)
    async with house.database.begin() as session:
        reading = entries.entry(first, "audit.read", owner_agency_id=first.body_id)
        await entries.append(session, reading)
    await house.number()
    for wrong, selection in (
        (Malformed, Selection()),
        (NotFound, Selection(entry_ids=(theirs[0],))),
        (NotFound, Selection(entry_ids=(new_id(),))),
        (NotFound, Selection(entry_ids=(reading.id,))),
    ):
        with pytest.raises(wrong):
            await ordered(house, first, selection)
    operator = actor(await factories.person(house.database, first.body_id), "operator")
    with pytest.raises(NotPermitted):
        await ordered(house, operator, Selection(user_id=operator.user_id))


async def test_who_may_not_decide(house: House) -> None:
    first, second = await officers(house.database)
    stranger = (await officers(house.database))[0]
    ids = await said_by(house, first, 2)
    order_id = await ordered(house, first, Selection(entry_ids=tuple(ids)))
    with pytest.raises(NotPermitted, match="own order"):
        await decided(house, first, order_id)
    with pytest.raises(NotFound):
        await decided(house, stranger, order_id)
    late = actor(await factories.person(house.database, first.body_id, "admin"))
    with pytest.raises(NotPermitted, match="both in office since before"):
        await decided(house, late, order_id)
    async with house.database.begin() as session:
        told = entries.entry(first, "appointment.made", subject=("appointment", second.appointment_id))
        await entries.append(session, told)
    with pytest.raises(NotPermitted, match="appointed the other"):
        await decided(house, second, order_id)
    assert await contents(house, ids) == 2
    assert await decided(house, second, order_id, approve=False) == 0
    assert await contents(house, ids) == 2


async def test_who_is_not_in_office_any_more(house: House) -> None:
    first, second = await officers(house.database)
    ids = await said_by(house, first, 2)
    order_id = await ordered(house, first, Selection(entry_ids=tuple(ids)))
    await house.owner.execute("UPDATE appointments SET valid_from = now() - interval '2 h', valid_to = now() - interval '1 h' WHERE id = $1", first.appointment_id)  # fmt: skip
    with pytest.raises(NotPermitted):
        await decided(house, second, order_id)
    assert await contents(house, ids) == 2


ORDER = """
INSERT INTO erasure_orders (id, agency_id, user_id, appointment_id, basis, document_number, selection, indexes)
VALUES ($1, $2, $3, $4, '', '', '{}', $5)
"""
DECISION = "INSERT INTO erasure_decisions (order_id, user_id, appointment_id, approved) VALUES ($1, $2, $3, $4)"
ERASE = "SELECT audit_erase_by_order($1, $2)"


async def test_the_applications_role_erases_nothing_without_the_two(house: House) -> None:
    """Whoever has taken over the service itself, and speaks SQL as it does."""
    first, second = await officers(house.database)
    ids = await said_by(house, first, 3)
    at = await house.owner.fetchval("SELECT position - 1 FROM audit_leaves WHERE id = $1", ids[0])
    told = entries.entry(None, verify.ERASING, ranges=[[at, at + 2]])
    other = entries.entry(None, verify.ERASING, ranges=[[at, at + 1]])
    plain = entries.entry(None, "test.done", ranges=[[at, at + 2]])
    async with house.database.begin() as session:
        for one in (told, other, plain):
            await entries.append(session, one)
    indexes = [at, at + 1, at + 2]

    async with house.database.bare.acquire() as app:

        async def attempt(by: Actor, decider: Actor | None, said: UUID, *, approved: bool = True) -> int:
            order_id = new_id()
            await app.execute(ORDER, order_id, by.body_id, by.user_id, by.appointment_id, indexes)
            if decider:
                await app.execute(DECISION, order_id, decider.user_id, decider.appointment_id, approved)
            return await app.fetchval(ERASE, order_id, said)

        for refused in (
            (first, None, told.id),
            (first, first, told.id),
            (first, second, other.id),
            (first, second, plain.id),
            (first, second, new_id()),
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await attempt(*refused)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await attempt(first, second, told.id, approved=False)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.execute(ERASE, new_id(), told.id)
        for statement in (
            "UPDATE erasure_orders SET indexes = '{1}'",
            "DELETE FROM erasure_orders",
            "UPDATE erasure_decisions SET approved = true",
            "DELETE FROM erasure_decisions",
            "SELECT audit_erase_old('audit_entries_of_rest', now() - interval '2 years', gen_random_uuid())",
            "SELECT audit_drop_before(now() - interval '2 years', gen_random_uuid())",
            "SELECT audit_told(gen_random_uuid(), 'audit.erased')",
            "INSERT INTO audit_rewrites (partition) VALUES ('x')",
            "UPDATE witness_checkpoints SET root = ''",
            "DELETE FROM witness_checkpoints",
            "DELETE FROM witness_refusals",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await app.execute(statement)
        assert await contents(house, ids) == 3
        assert await attempt(first, second, told.id) == 3, "the positive control"
    assert await contents(house, ids) == 0


async def test_over_the_doors(client: httpx.AsyncClient, database: Database) -> None:
    body = await factories.agency(database)
    head, admin = await factories.person(database, body, "agency_head"), await factories.person(database, body, "admin")
    auditor = await factories.person(database, body, "auditor")
    as_head, as_admin, as_auditor = [await factories.sign_in(client, one) for one in (head, admin, auditor)]
    while True:  # what is not numbered yet is not found
        asked = await client.post("/v1/audit/erasures", json=WHY | {"user_id": str(head.user_id)}, headers=as_head)
        if asked.status_code == 201:
            break
        assert asked.status_code == 404, asked.text
    order = asked.json()
    assert (order["state"], order["ordered_by"]["login"]) == ("waiting", head.login)
    decision = f"/v1/audit/erasures/{order['id']}/decision"
    for headers, status in ((as_head, 403), (as_auditor, 403), ({}, 401)):
        said = await client.post(decision, json={"approve": True}, headers=headers)
        assert said.status_code == status, said.text
    said = await client.post(decision, json={"approve": True, "note": "확인"}, headers=as_admin)
    assert (said.status_code, said.json()["state"], said.json()["decided_by"]) == (200, "carried_out", admin.login)
    listed = await client.get("/v1/audit/erasures", headers=as_auditor)
    assert [one["id"] for one in listed.json()["items"]] == [order["id"]]
    assert (await client.post(decision, json={"approve": True}, headers=as_admin)).status_code == 409
    wrong = await client.post("/v1/audit/erasures", json=WHY, headers=as_head)
    assert (wrong.status_code, wrong.json()["field"]) == (422, "entry_ids")


def test_indexes_as_runs() -> None:
    assert ranges([]) == []
    assert ranges([0, 1, 2, 5, 7, 8]) == [[0, 2], [5, 5], [7, 8]]


# What is left


async def files_of(owner: asyncpg.Connection, needle: bytes) -> list[str]:
    """Which files of the entries' partitions, their indexes and overflow tables hold these bytes."""
    await owner.execute("CHECKPOINT")
    folder = Path(await owner.fetchval("SHOW data_directory"))
    rows = await owner.fetch(
        "WITH parts AS (SELECT c.oid, c.reltoastrelid AS toast FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = 'audit_entries'::regclass), files AS (SELECT oid FROM parts UNION SELECT toast FROM parts"
        " UNION SELECT indexrelid FROM pg_index WHERE indrelid IN (SELECT oid FROM parts))"
        " SELECT oid::regclass::text AS name, pg_relation_filepath(oid) AS path FROM files WHERE oid <> 0"
    )
    return sorted(row["name"] for row in rows if row["path"] and needle in (folder / row["path"]).read_bytes())


async def redact(house: House, count: int, erased: int) -> None:
    first, second = await officers(house.database)
    dice, mark = random.Random(count), f"나잊힐 {new_id().hex}"
    ids: list[UUID] = []
    for _ in range(count // 500):
        ids += await said_by(house, first, 500, reason=mark)
    chosen = dice.sample(ids, erased)
    kept = await house.checkpoint()
    encoded = mark.encode()
    assert await files_of(house.owner, encoded), "the positive control: it was there"
    for start in range(0, erased, 5000):
        order_id = await ordered(house, first, Selection(entry_ids=tuple(chosen[start : start + 5000])))
        assert await decided(house, second, order_id) == min(5000, erased - start)
    # The rest of them is erased, too, so that no honest row holds the mark; by person, as officers would.
    rest = set(ids) - set(chosen)
    assert (await contents(house, chosen), await contents(house, list(rest))) == (0, len(rest))
    said = await house.check(kept)
    assert f"the contents of {erased} were erased, each by an entry that says so" in said
    await _proofs_hold(house, dice.sample(chosen, 20) + dice.sample(sorted(rest), 20))
    told = [
        row["text"]
        for row in await house.owner.fetch("SELECT e::text AS text FROM audit_entries e WHERE id = ANY($1)", chosen)
    ]
    assert len(told) == erased
    assert not [row for row in told if mark in row or first.login in row]
    dumped = house.folder / "dump"
    await house.owner.copy_from_query("SELECT * FROM audit_entries WHERE id = ANY($1)", chosen, output=dumped)
    assert encoded not in dumped.read_bytes()
    while rest:
        some = [rest.pop() for _ in range(min(5000, len(rest)))]
        await decided(house, second, await ordered(house, first, Selection(entry_ids=tuple(some))))
    done, left = await retention.rewrite(house.owner)
    assert done == []
    assert len(left) == 1, "the current month waits"
    assert await retention.rewrite(house.owner, even_now=True) == (left, [])
    assert await files_of(house.owner, encoded) == []
    assert await retention.rewrite(house.owner, even_now=True) == ([], []), "once is enough"
    await _proofs_hold(house, dice.sample(chosen, 5))


async def _proofs_hold(house: House, ids: list[UUID]) -> None:
    notary = house.notary()
    async with house.database.bare.acquire() as connection:
        for entry_id in ids:
            index, proof, note = verify.read_proof(await notary.proof(connection, entry_id))
            checkpoint, _ = verify.open_checkpoint(note, notary.key)
            row = await connection.fetchrow("SELECT * FROM audit_entries WHERE id = $1", entry_id)
            leaf = verify.leaf_hash(entries.leaf_data(row))
            verify.check_inclusion(index, checkpoint.size, leaf, proof, checkpoint.root)


@pytest.mark.slow
async def test_two_hundred_of_two_thousand_are_gone_from_table_copy_and_file(house: House) -> None:
    await redact(house, 2000, 200)


@pytest.mark.drill
@pytest.mark.timeout(1800)
async def test_ten_thousand_of_a_hundred_thousand(house: House) -> None:
    await redact(house, 100_000, 10_000)
