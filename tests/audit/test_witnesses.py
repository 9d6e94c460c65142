"""The log before its witnesses: shown, cosigned, believed; and it goes on without those who are away."""

import asyncio
from pathlib import Path

import asyncpg
import httpx
import pytest

from app.audit import verify
from app.audit.verify import Unusable, Wrong
from app.audit.witness_file import WitnessFile
from app.audit.witnesses import Known, Witnesses, read_witnesses
from app.cli.witness import application
from tests.audit.house import ENTRIES, House
from tests.audit.test_witness import Told


@pytest.fixture
def held(house: House, tmp_path: Path) -> WitnessFile:
    WitnessFile.make(tmp_path / "witness", "witness.example/one")
    return WitnessFile(tmp_path / "witness", [house.notary().key])


def asking(held: WitnessFile) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=application(held)))


def known(held: WitnessFile) -> Known:
    return Known("http://witness", held.witness.key)


async def test_the_newest_checkpoint_is_cosigned_once_and_shown_with_it(house: House, held: WitnessFile) -> None:
    witnesses = Witnesses(house.database, house.notary(), [known(held)])
    async with asking(held) as client:
        assert await witnesses.ask(client, known(held))
        assert not await witnesses.ask(client, known(held)), "it has seen this one"
        first = await house.checkpoint()
        await house.append(30)
        await house.number()
        assert list(verify.open_checkpoint(await house.checkpoint(), house.notary().key, [held.witness.key])[1]) == []
        assert await witnesses.ask(client, known(held))
    second = await house.checkpoint()
    for note, size in ((first, ENTRIES), (second, ENTRIES + 30)):
        checkpoint, signers = verify.open_checkpoint(note, house.notary().key, [held.witness.key])
        assert (checkpoint.size, list(signers)) == (size, ["witness.example/one"])
    async with house.database.bare.acquire() as connection:
        assert await house.notary().witnessed(connection) == second
        _, _, note = verify.read_proof(await house.notary().proof(connection, house.ids[3], witnessed=True))
        assert note == second


async def test_who_has_forgotten_follows_what_the_witness_has_seen(house: House, held: WitnessFile) -> None:
    async with asking(held) as client:
        assert await Witnesses(house.database, house.notary(), []).ask(client, known(held))
        await house.append(30)
        await house.number()
        assert await Witnesses(house.database, house.notary(), []).ask(client, known(held)), "409, and again from there"


async def test_two_services_are_each_others_witnesses(house: House, held: WitnessFile) -> None:
    """An export is believed when the witness has seen what was kept, and not when it has seen nothing."""
    async with asking(held) as client:
        await Witnesses(house.database, house.notary(), []).ask(client, known(held))
    kept = await house.checkpoint()
    await house.append(5)
    await house.number()
    said = await house.check(kept, witnesses=(held.witness.key,))
    assert any(sentence.startswith("witness.example/one has seen this log of 600, at 20") for sentence in said)
    stranger = WitnessFile.make(house.folder / "other", "witness.example/two").witness.key
    with pytest.raises(Unusable, match="two has cosigned none"):
        await house.check(kept, witnesses=(held.witness.key, stranger))


async def test_a_log_that_was_restored_or_rewritten_is_told_so(house: House, held: WitnessFile) -> None:
    from tests.audit.test_tamperings import rebuild

    async with asking(held) as client:
        await Witnesses(house.database, house.notary(), []).ask(client, known(held))
        await rebuild(house, "position <= 400")
        with pytest.raises(Wrong, match="it has seen 600 entries, and now there are 400"):
            await Witnesses(house.database, house.notary(), []).ask(client, known(held))
        await rebuild(house, f"id <> '{house.ids[3]}'")
        await house.append(300)
        await house.number()
        with pytest.raises(Wrong, match="it refused"):
            await Witnesses(house.database, house.notary(), []).ask(client, known(held))
    assert [status for _, _, _, status, _, _ in held.refusals()] == [422]


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (200, ""),
        (200, "— witness.example/one AAAA\n"),
        (200, "— witness.example/one " + "A" * 102 + "==\n"),
        (200, "— somebody.else AAAAAAAA\n"),
        (200, "x" * 100_000),
        (409, "many\n"),
        (409, "7\n"),
        (500, "no"),
        (302, ""),
    ],
)
async def test_whatever_a_witness_answers_only_its_cosignature_is_kept(
    house: House, held: WitnessFile, status: int, text: str
) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(status, text=text, headers={"Location": "http://other"}))
    async with httpx.AsyncClient(transport=transport) as client:
        with pytest.raises(Unusable):
            await Witnesses(house.database, house.notary(), []).ask(client, known(held))
    assert await house.owner.fetchval("SELECT bool_and(cosignatures = '') FROM audit_checkpoints")


async def test_a_witness_that_is_away_is_asked_again(
    house: House, held: WitnessFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.audit.witnesses.EACH_SECONDS", 0.01)
    away, answers, done = application(held), 0, asyncio.Event()

    async def sometimes(scope, receive, send) -> None:
        nonlocal answers
        answers += 1
        if answers < 3:
            raise httpx.ConnectError("away")
        await away(scope, receive, send)
        done.set()

    transport = httpx.ASGITransport(app=sometimes)
    made = httpx.AsyncClient
    monkeypatch.setattr("app.audit.witnesses.httpx.AsyncClient", lambda **_: made(transport=transport))
    task = asyncio.create_task(Witnesses(house.database, house.notary(), [known(held)]).run())
    await asyncio.wait_for(done.wait(), 10)
    async with house.database.bare.acquire() as connection:
        while not await connection.fetchval("SELECT bool_or(cosignatures <> '') FROM audit_checkpoints"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_database_adds_cosignatures_and_changes_none(house: House) -> None:
    await house.checkpoint()
    async with house.database.bare.acquire() as app:
        for line, kept in (("— a.example AAAA\n", True), ("— a.example BBBB\n", False), ("— b.example CCCC\n", True)):
            assert await app.fetchval("SELECT audit_cosign('city.example/audit', 600, $1)", line) is kept
        for line in ("", "x\n", "— a b\n— c d\n", "— a.example AAAA", "— a.example AAAA\nmore\n"):
            with pytest.raises(asyncpg.RaiseError):
                await app.execute("SELECT audit_cosign('city.example/audit', 600, $1)", line)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.execute("UPDATE audit_checkpoints SET cosignatures = ''")
    note = await house.checkpoint()
    assert note.endswith("— a.example AAAA\n— b.example CCCC\n")


def test_witnesses_are_named_by_where_and_by_key(held: WitnessFile) -> None:
    vkey = held.witness.key.vkey
    (one, two) = read_witnesses(f"https://a.example/v1/witness/ {vkey}, http://b.example {vkey},")
    assert (one.url, two.url, one.key) == ("https://a.example/v1/witness", "http://b.example", held.witness.key)
    for wrong in ("https://a.example", f"ftp://a.example {vkey}", f"https://a.example {Told().key.vkey}", vkey):
        with pytest.raises(ValueError, match="a witness is written"):
            read_witnesses(wrong)
