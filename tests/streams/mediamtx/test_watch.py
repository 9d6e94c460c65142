"""What is carried against what may be carried: kicked, counted, closed."""

import asyncio
import time
from uuid import UUID

import pytest
from sqlalchemy import make_url

from app.access import sessions
from app.access.sessions import Attempt
from app.streams import duties, reconcile
from app.streams.mediamtx import ghosts, watch
from app.streams.views import Asking
from tests import actors, factories
from tests.conftest import Databases
from tests.streams.mediamtx.fake import FakeMediaMtx, Reader, Refused
from tests.streams.mediamtx.scene import CAMERA, Scene, free_port, healthy, until

REASON = {"purpose": "emergency_response", "basis": "KR-PIPA-18-2-3"}


async def officer_of(at: Scene) -> object:
    """A police officer who may watch the district's cameras under an agreement."""
    police = await factories.agency(at.database, "police")
    await factories.agreement(
        at.database, at.district, police, use_purposes=("emergency_response",), bases=("KR-PIPA-18-2-3",)
    )
    return await actors.actor(at.database, police, "room")


async def playing(at: Scene, gate: FakeMediaMtx, protocol: str = "whep", sent: int = 5_000) -> Reader:
    """A player under a grant of its own that the office has seen."""
    reader = await gate.read(at.path(), protocol, at.token(await at.ticket()))
    reader.sent = sent

    async def seen() -> bool:
        return any(sent <= row["bytes"] for row in await at.views() if reader.id in row["session_ref"])

    await until(seen, 5)
    return reader


@pytest.fixture(autouse=True)
def _told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "CARRIED_SECONDS", 0.0)


async def test_a_revoked_view_is_kicked_and_closed_within_a_second(at: Scene, gate: FakeMediaMtx) -> None:
    gateway = await at.watching()
    ticket = await at.ticket()
    await gateway.ensure(at.camera, "main", CAMERA)
    for protocol in ("whep", "hls", "rtsps"):
        reader = await gate.read(at.path(), protocol, at.token(ticket))
        assert not reader.ended.done()
    readers = list(gate.readers.values())
    began = time.monotonic()
    await at.revoke(ticket)
    assert await asyncio.gather(*(reader.ended for reader in readers)) == ["kicked"] * 3
    rows = await at.closed(3)
    assert time.monotonic() - began < 1
    assert {row["cause"] for row in rows} == {"revoked"}
    assert all(row["closed_entry_id"] for row in rows)
    for reader in readers:
        with pytest.raises(Refused) as refused:
            await gate.read(at.path(), "whep", reader.query.removeprefix("token="))
        assert refused.value.status == 401


async def test_whoever_loses_the_session_loses_the_picture(at: Scene, gate: FakeMediaMtx) -> None:
    await at.watching()
    who = await actors.actor(at.database, at.district)
    reader = await gate.read(at.path(), "hls", at.token(await at.ticket_of(who)))
    async with at.database.begin() as session:
        await sessions.end(session, None, [who.session_id], cause="signed_out")
    assert await asyncio.wait_for(reader.ended, 1) == "kicked"
    assert (await at.closed())[0]["cause"] == "revoked"


async def test_a_console_that_is_signed_over_plays_on_under_the_next_persons_view(
    at: Scene, gate: FakeMediaMtx
) -> None:
    await at.watching()
    who = await actors.actor(at.database, at.district)
    following = await factories.person(at.database, at.district)
    reader = await gate.read(at.path(), "whep", at.token(await at.ticket_of(who)))
    reader.sent = 5_000

    async def told(*sizes: int) -> bool:
        return sorted(row["bytes"] for row in await at.views()) == sorted(sizes)

    await until(lambda: told(5_000))
    attempt = Attempt(following.login, factories.PASSWORD, "198.51.100.7")
    async with at.database.begin() as session:
        proof = await sessions.secret_of(session, attempt)
        signed = await duties.sign_over(session, who, attempt, proof=proof, hours=8)
    assert isinstance(signed, duties.SignedOver)
    old, new = sorted(await at.closed(), key=lambda row: row["at"])
    assert (old["cause"], old["bytes"], new["closed_at"]) == ("signed_over", 5_000, None)
    assert (new["session_ref"], new["grant_id"]) == (old["session_ref"], signed.grants[0].grant_id)
    assert not reader.ended.done()
    reader.sent = 7_000
    await until(lambda: told(5_000, 2_000))
    gate.end(reader, "closed")
    assert [row["bytes"] for row in sorted(await at.closed(2), key=lambda row: row["at"])] == [5_000, 2_000]


async def test_a_grant_that_is_over_ends_its_view(at: Scene, gate: FakeMediaMtx) -> None:
    await at.watching()
    who = await officer_of(at)
    ticket = await at.ticket_of(who, seconds=2, **REASON)
    reader = await gate.read(at.path(), "whep", at.token(ticket))
    assert await asyncio.wait_for(reader.ended, 4) == "kicked"
    (row,) = await at.closed()
    assert row["cause"] == "expired"
    assert abs(row["seconds"] - (ticket.expires_at - row["at"]).total_seconds()) < 1.5


async def test_a_player_that_leaves_closes_its_view_with_its_bytes(at: Scene, gate: FakeMediaMtx) -> None:
    await at.watching()
    reader = await playing(at, gate, sent=123_456)
    gate.end(reader, "closed")
    (row,) = await at.closed()
    assert (row["cause"], row["bytes"]) == ("client", 123_456)
    assert row["first_byte_at"] is not None
    assert ("DELETE", "PATCH") not in {(method, method) for method, _ in gate.requests}


async def test_a_newer_player_of_a_url_replaces_the_older(at: Scene, gate: FakeMediaMtx) -> None:
    await at.watching()
    token = at.token(await at.ticket())
    first = await gate.read(at.path(), "whep", token)
    second = await gate.read(at.path(), "whep", token)
    assert await asyncio.wait_for(first.ended, 2) == "kicked"
    old, new = await at.closed()
    assert (old["cause"], new["closed_at"]) == ("replaced", None)
    assert new["session_ref"] == second.id
    assert not second.ended.done()


async def test_rtsp_asks_twice_and_is_one_view(at: Scene, gate: FakeMediaMtx) -> None:
    await at.watching()
    reader = await playing(at, gate, "rtsps")
    (row,) = await at.views()
    assert row["session_ref"].split(" ") == [reader.conns[0], reader.id]
    gate.end(reader, "teardown")
    assert (await at.closed())[0]["cause"] == "client"


async def test_ghosts_are_cut(at: Scene, gate: FakeMediaMtx, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ghosts, "STRANGER_SECONDS", 0.5)
    await at.watching()
    good = await playing(at, gate)
    uninvited = [gate.ghost(at.path(), protocol) for protocol in ("whep", "hls", "rtsps")]
    uninvited += [gate.ghost("somewhere/else", "whep", state="publish")]
    async with asyncio.timeout(4):
        assert await asyncio.gather(*(ghost.ended for ghost in uninvited)) == ["kicked"] * 4
    assert not good.ended.done()


async def test_a_session_is_no_ghost_while_its_question_is_answered(at: Scene, gate: FakeMediaMtx) -> None:
    await at.watching()
    asking = gate.ghost(at.path(), "whep")
    await asyncio.sleep(watch.LOOK_SECONDS * 2)  # it is looked at meanwhile; a question takes up to 3 s
    assert not asking.ended.done()


async def test_what_plays_on_after_its_view_is_closed_is_cut_at_once(at: Scene, gate: FakeMediaMtx) -> None:
    await at.watching()
    reader = await playing(at, gate)
    async with at.database.bare.acquire() as connection:
        await connection.execute(
            "UPDATE views SET closed_at = now(), cause = 'client' WHERE session_ref = $1", reader.id
        )
    assert await asyncio.wait_for(reader.ended, 2) == "kicked"


async def test_a_lost_camera_is_told_from_a_player_that_left(at: Scene, gate: FakeMediaMtx) -> None:
    await at.watching()
    await playing(at, gate)
    gate.lose_camera(at.path())
    assert (await at.closed())[0]["cause"] == "camera_lost"


async def test_a_camera_that_comes_back_at_once_was_still_lost(at: Scene, gate: FakeMediaMtx) -> None:
    await at.watching()
    await playing(at, gate)
    gate.lose_camera(at.path())
    await gate.read(at.path(), "whep", at.token(await at.ticket()))
    assert (await at.closed())[0]["cause"] == "camera_lost"


async def test_a_view_whose_player_never_comes_is_closed(
    at: Scene, gate: FakeMediaMtx, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "UNUSED_SECONDS", 0.5)
    await at.watching()
    gate.no_picture.add(at.path())
    with pytest.raises(Refused):
        await gate.read(at.path(), "hls", at.token(await at.ticket()))
    (row,) = await at.closed()
    assert (row["cause"], row["bytes"]) == ("camera_lost", 0)
    gate.no_picture.clear()
    gone = await gate.read(at.path(), "hls", at.token(await at.ticket()))
    gate.end(gone, "closed before anybody looked")
    assert {row["cause"] for row in await at.closed(2)} == {"camera_lost", "client"}


async def test_a_restart_loses_the_views_and_is_told_again_what_it_must_know(at: Scene, gate: FakeMediaMtx) -> None:
    gateway = await at.watching()
    await playing(at, gate)
    assert len(gate.confs) == 1, "one path stands for all cameras"
    await gate.restart()
    assert not gate.confs
    (row,) = await at.closed()
    assert row["cause"] == "gateway_lost"
    await until(lambda: gate.confs, 4)
    await until(lambda: healthy(gateway), 4)
    assert not (await playing(at, gate)).ended.done()


async def test_a_touched_configuration_file_is_noticed(at: Scene, gate: FakeMediaMtx) -> None:
    await at.watching()
    gate.reload_file()
    await until(lambda: gate.confs, 3)


async def test_a_gateway_that_stays_away_carries_nothing_that_is_vouched_for(
    at: Scene, gate: FakeMediaMtx, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LOST_SECONDS", 1.0)
    gateway = await at.watching()
    reader = await playing(at, gate, sent=777)
    gate.hang()
    (row,) = await at.closed(seconds=10)
    assert (row["cause"], row["bytes"]) == ("gateway_lost", 777)
    assert not (await gateway.health()).ok
    assert not reader.ended.done(), "it plays on behind our back"
    gate._awake.set()
    assert await asyncio.wait_for(reader.ended, 5) == "kicked"


async def test_a_silent_database_vouches_for_duty_only(
    at: Scene, gate: FakeMediaMtx, monkeypatch: pytest.MonkeyPatch
) -> None:
    await at.watching()
    duty = await playing(at, gate)
    guest = await gate.read(at.path(), "whep", at.token(await at.ticket_of(await officer_of(at), **REASON)))
    guest.sent = 99

    async def both() -> bool:
        return sum(row["bytes"] > 0 for row in await at.views()) == 2

    await until(both, 5)
    monkeypatch.setattr(at.news, "silent_seconds", lambda: 6.0)
    assert await asyncio.wait_for(guest.ended, 2) == "kicked"
    assert not duty.ended.done()
    rows = await at.closed()
    assert [row["cause"] for row in rows if row["closed_at"]] == ["unvouched"]


async def test_an_emergency_takes_the_place_of_the_least_urgent(at: Scene, gate: FakeMediaMtx) -> None:
    await at.watching(viewers=1)
    first = await playing(at, gate)
    second = await gate.read(at.path(), "whep", at.token(await at.ticket_of(await officer_of(at), **REASON)))
    assert await asyncio.wait_for(first.ended, 1) == "kicked"
    rows = await at.closed()
    assert [row["cause"] for row in rows] == ["pre_empted", ""]
    assert not second.ended.done()


async def test_nobody_is_cut_later_because_mediamtx_waits_for_an_answer(at: Scene, gate: FakeMediaMtx) -> None:
    gateway = await at.watching()
    reader = await playing(at, gate)
    async with gate._path_manager:  # it has put a question, and answers nothing about paths meanwhile
        fresh = gate.ghost(at.path(), "whep")
        await gateway.authorize(at.token(await at.ticket()), Asking("whep", "127.0.0.1", session_ref=fresh.id))
        await asyncio.sleep(watch.LOOK_SECONDS)
        await at.revoke(at.tickets[0])
        assert await asyncio.wait_for(reader.ended, 1) == "kicked"
        assert (await at.closed(seconds=1))[0]["cause"] == "revoked"
        assert (await gateway.health()).ok
    assert not fresh.ended.done()


async def test_a_drained_gateway_takes_nobody_and_sends_everybody_elsewhere(at: Scene, gate: FakeMediaMtx) -> None:
    gateway = await at.watching()
    reader = await playing(at, gate)
    gateway.drain(on=True)
    assert await asyncio.wait_for(reader.ended, 2) == "kicked"
    assert (await at.closed())[0]["cause"] == "moved"
    with pytest.raises(Refused):
        await gate.read(at.path(), "whep", at.token(await at.ticket()))
    gateway.drain(on=False)
    assert not (await playing(at, gate)).ended.done()


async def test_one_player_is_cut_by_any_process(at: Scene, gate: FakeMediaMtx) -> None:
    await at.watching()
    follower = at.driver()
    reader = await playing(at, gate, sent=4_321)
    (session,) = await follower.sessions()
    (row,) = await at.views()
    assert (session.ref, session.view_id, session.camera_id) == (reader.id, row["id"], at.camera)
    assert (session.protocol, session.bytes) == ("whep", 4_321)
    assert await follower.cut(row["id"], "revoked")
    assert reader.ended.result() == "kicked"
    (row,) = await at.closed()
    assert (row["cause"], row["bytes"]) == ("revoked", 4_321)
    assert not await follower.cut(row["id"], "revoked")
    assert not await follower.cut(UUID(int=7), "revoked")


async def test_when_the_holder_of_the_office_dies_the_next_one_takes_it(at: Scene, gate: FakeMediaMtx) -> None:
    door = ("127.0.0.1", free_port())
    first = await at.watching(door=door)
    second = at.driver(door=door)
    at.running.append(asyncio.create_task(second.watch()))
    reader = await playing(at, gate)
    assert (first.leads, second.leads) == (True, False)
    at.running[0].cancel()
    await asyncio.gather(at.running[0], return_exceptions=True)
    await until(lambda: second.leads, 4)
    assert not first.leads
    (row,) = await at.views()
    assert row["closed_at"] is None, "views outlive the process that looked after them"
    assert not reader.ended.done()
    await at.revoke(next(iter(at.tickets)))
    assert await asyncio.wait_for(reader.ended, 1) == "kicked"
    assert (await at.closed())[0]["cause"] == "revoked"


async def test_views_live_as_long_as_somebody_looks_after_them(
    at: Scene, gate: FakeMediaMtx, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "SILENT_SECONDS", 1.5)
    await at.watching()
    await playing(at, gate)
    await asyncio.sleep(2)
    await reconcile.beat(at.database, at.writer, "tests/another-process")
    assert (await at.views())[0]["closed_at"] is None
    at.running[0].cancel()
    await asyncio.sleep(2)
    await reconcile.beat(at.database, at.writer, "tests/another-process")
    assert (await at.closed())[0]["cause"] == "node_lost"


async def test_a_holder_that_is_cut_off_from_the_database_loses_the_office(
    at: Scene, gate: FakeMediaMtx, databases: Databases, database_url: str
) -> None:
    first = await at.watching()
    superuser = await databases.superuser(make_url(database_url).database or "")
    try:
        await superuser.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'gwanje-mediamtx'"
            " AND datname = current_database()"
        )
    finally:
        await superuser.close()
    await until(lambda: not first.leads, 3)
    await until(lambda: first.leads, 4)
    assert not (await playing(at, gate)).ended.done()
