"""MediaMTX asks; whoever else asks, or asks for anything else, is told no."""

import asyncio
import time
from dataclasses import replace
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from app.errors import BoundElsewhere, GrantEnded
from app.ids import new_id
from app.streams.mediamtx import Config, admission, callback_path
from app.streams.mediamtx.paths import name_of
from app.streams.views import Asking
from tests import actors, factories
from tests.streams.mediamtx.fake import FakeMediaMtx
from tests.streams.mediamtx.scene import CAMERA, Scene


async def ask(at: Scene, gate: FakeMediaMtx, token: str, /, **said: object) -> int:
    """As a WHEP player's session is asked about."""
    return await gate.ask(
        **{"path": at.path(), "protocol": "webrtc", "id": str(uuid4()), "query": f"token={token}"} | said
    )


async def test_a_yes_is_a_view_that_is_committed(at: Scene, gate: FakeMediaMtx) -> None:
    at.driver()
    ticket, session = await at.ticket(), str(uuid4())
    assert await ask(at, gate, at.token(ticket), id=session, ip="198.51.100.7") == 204
    (row,) = await at.views()
    assert (row["grant_id"], row["camera_id"], row["protocol"]) == (ticket.grant_id, at.camera, "whep")
    assert (row["session_ref"], row["peer"], row["profile"]) == (session, "198.51.100.7", "main")
    assert row["node"] == f"gateway/{at.name}"
    assert row["opened_entry_id"] is not None


async def test_the_token_comes_in_three_ways_and_stays_in_no_row(at: Scene, gate: FakeMediaMtx) -> None:
    at.driver()
    for way in ("token", "password", "query"):
        token = at.token(await at.ticket())
        said = {"query": ""} | {way: token if way != "query" else f"a=b&token={quote(token)}"}
        assert await ask(at, gate, token, **said) == 204
    async with at.database.begin() as session:
        for table in ("views", "audit_entries", "grants"):
            rows = (await session.execute(text(f"SELECT x::text FROM {table} x"))).scalars().all()
            assert not [row for row in rows if token in row or token[:40] in row]


async def test_the_same_session_asks_again_and_is_the_same_view(at: Scene, gate: FakeMediaMtx) -> None:
    at.driver()
    token, session = at.token(await at.ticket()), str(uuid4())
    for _ in range(3):
        assert await ask(at, gate, token, id=session) == 204
    assert len(await at.views()) == 1


async def test_rtsp_pairs_a_connection_with_one_session(at: Scene, gate: FakeMediaMtx) -> None:
    at.driver()
    token = at.token(await at.ticket())
    conn, session, another = str(uuid4()), str(uuid4()), str(uuid4())
    rtsp = {"protocol": "rtsp", "token": token}
    assert await ask(at, gate, token, id=conn, **rtsp) == 204
    assert await ask(at, gate, token, id=session, **rtsp) == 204
    assert await ask(at, gate, token, id=conn, **rtsp) == 204
    assert [row["session_ref"] for row in await at.views()] == [f"{conn} {session}"]
    assert await ask(at, gate, token, id=another, **rtsp) == 204
    assert [row["session_ref"] for row in await at.views()] == [f"{conn} {session}", another]


async def test_a_slash_that_rtsp_clients_add_does_no_harm(at: Scene, gate: FakeMediaMtx) -> None:
    """Its base is the URL with a slash at its end, behind the query."""
    at.driver()
    token = at.token(await at.ticket())
    assert await ask(at, gate, token, protocol="rtsp", token=f"{token}/", query=f"token={token}/") == 204


async def test_another_place_is_not_paired(at: Scene, gate: FakeMediaMtx) -> None:
    at.driver()
    token = at.token(await at.ticket())
    rtsp = {"protocol": "rtsp", "token": token}
    assert await ask(at, gate, token, ip="198.51.100.7", **rtsp) == 204
    assert await ask(at, gate, token, ip="198.51.100.8", **rtsp) == 403
    assert len(await at.views()) == 1


async def test_who_only_looks_has_no_view(at: Scene, gate: FakeMediaMtx) -> None:
    """A WHEP preflight, MediaMTX's own pages: a yes or a no, but nothing plays."""
    at.driver()
    ticket = await at.ticket()
    assert await ask(at, gate, at.token(ticket), id=None) == 204
    await at.revoke(ticket)
    assert await ask(at, gate, at.token(ticket), id=None) == 403
    assert await at.views() == []


async def test_without_a_token_the_player_is_asked_for_one(at: Scene, gate: FakeMediaMtx) -> None:
    at.driver()
    assert await ask(at, gate, "") == 401
    assert await ask(at, gate, "", query="") == 401
    assert await ask(at, gate, "", query="token=one&token=two") == 401, "two different ones are none"


@pytest.mark.parametrize("action", ["publish", "playback", "api", "metrics", "pprof", "", "READ"])
async def test_nothing_but_reading_is_ever_allowed(at: Scene, gate: FakeMediaMtx, action: str) -> None:
    at.driver()
    assert await ask(at, gate, at.token(await at.ticket()), action=action) == 403
    assert await at.views() == []


@pytest.mark.parametrize("protocol", ["rtmp", "srt", "moq", "", "whep"])
async def test_only_what_we_can_count_and_cut(at: Scene, gate: FakeMediaMtx, protocol: str) -> None:
    at.driver()
    assert await ask(at, gate, at.token(await at.ticket()), protocol=protocol) == 403


@pytest.mark.parametrize(
    "spoil",
    ["", "..", "../{}", "{}/../{}", "{}/..", "%2e%2e%2f{}", "{}%2f", "..%2f{}", "{}\\", "{}\0", "\0", "~{}", "~.*",
     "~^gw.*$", "{}/", "/{}", "{}.", "{} ", "{}?token=x", "./{}", "ｇw{}", "{}\n", "all_others", "{}{}"],
)  # fmt: skip
async def test_no_name_but_the_very_one(at: Scene, gate: FakeMediaMtx, spoil: str) -> None:
    at.driver()
    assert await ask(at, gate, at.token(await at.ticket()), path=spoil.replace("{}", at.path())) == 403
    assert await at.views() == []


async def test_a_token_fits_its_camera_its_profile_its_protocols_and_its_time(at: Scene, gate: FakeMediaMtx) -> None:
    at.driver()
    ticket = await at.ticket()
    other = await factories.camera(at.database, at.district)
    for path in (at.path(other), at.path(profile="sub"), name_of(at.keys, "elsewhere", at.camera, "main")):
        assert await ask(at, gate, at.token(ticket), path=path) == 403
    narrow = await at.ticket(protocols=("hls",), purpose="emergency_response", basis="KR-PIPA-18-2-3")
    assert await ask(at, gate, at.token(narrow)) == 403
    assert await ask(at, gate, at.token(ticket)[:-4] + "AAAA") == 403
    past = replace(ticket, expires_at=ticket.grant_at)
    assert await ask(at, gate, at.token(past)) == 403
    unknown = replace(ticket, grant_id=new_id())
    assert await ask(at, gate, at.token(unknown)) == 403
    assert await at.views() == []


async def test_a_wall_is_not_shown_here(at: Scene, gate: FakeMediaMtx) -> None:
    at.driver()
    ticket = await at.ticket()
    async with at.database.bare.acquire() as connection:
        await connection.execute("UPDATE grants SET manifested = true WHERE id = $1", ticket.grant_id)
    assert await ask(at, gate, at.token(ticket)) == 403
    assert await ask(at, gate, at.token(ticket), id=None) == 403


# Whoever else asks


async def test_another_secret_another_name_another_place_are_all_the_same_no(at: Scene, gate: FakeMediaMtx) -> None:
    at.driver()
    token, good = at.token(await at.ticket()), gate.callback
    base = good.partition("/internal")[0]
    wrong = [
        good[:-1] + ("0" if good[-1] != "0" else "1"),
        base + callback_path(at.keys, "another"),
        base + callback_path(at.keys, "another").replace("/another/", f"/{at.name}/"),
        f"{base}/internal/gateways/{at.name}/%C3%A9",
    ]
    for gate.callback in wrong:
        assert await ask(at, gate, token) == 403
    gate.callback = good
    at.driver(callers=Config.parse("mediamtx+http://10.9.9.9?hls=http://x").callers)
    assert await ask(at, gate, token) == 403
    assert await at.views() == []


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"{", b"\xff\xfe", b'{"action": 7}', b'{"ip": "here"}', b'{"id": "x"}', b"[" * 10_000,
     b'{"action": "read", "x": "' + b"y" * 20_000 + b'"}', b'{"query": "' + b"a&" * 200 + b'"}'],
)  # fmt: skip
async def test_nonsense_is_refused_without_a_word(at: Scene, gate: FakeMediaMtx, body: bytes) -> None:
    at.driver()
    async with httpx.AsyncClient(trust_env=False) as client:
        response = await client.post(gate.callback, content=body)
    assert (response.status_code, response.content) == (403, b"")


async def test_answers_have_no_body(at: Scene, gate: FakeMediaMtx) -> None:
    at.driver()
    async with httpx.AsyncClient(trust_env=False) as client:
        for query, status in ((f"token={at.token(await at.ticket())}", 204), ("", 401), ("token=x", 403)):
            body = {"action": "read", "ip": "127.0.0.1", "protocol": "hls", "path": at.path(), "query": query}
            response = await client.post(gate.callback, json=body | {"id": str(uuid4())})
            assert (response.status_code, response.content) == (status, b"")
        assert (await client.get(gate.callback)).status_code == 405


async def test_when_nothing_can_be_recorded_nothing_plays(at: Scene, gate: FakeMediaMtx) -> None:
    ticket = await at.ticket()
    async with at.database.bare.acquire() as held:  # the table is locked: every statement waits and is cancelled
        await held.execute("BEGIN")
        await held.execute("LOCK TABLE views IN ACCESS EXCLUSIVE MODE")
        at.driver()
        began = time.monotonic()
        assert await ask(at, gate, at.token(ticket)) == 503
        assert time.monotonic() - began < 3.2
        await held.execute("ROLLBACK")
    assert await at.views() == []


async def test_when_the_database_is_gone_nothing_plays(at: Scene, gate: FakeMediaMtx) -> None:
    ticket = await at.ticket()
    gone = at.database.bare
    held = [await gone.acquire() for _ in range(gone.get_max_size())]  # nobody gets a connection
    try:
        at.driver()
        began = time.monotonic()
        assert await ask(at, gate, at.token(ticket)) == 503
        assert await ask(at, gate, at.token(ticket), id=None) == 503
        assert time.monotonic() - began < 6
    finally:
        for connection in held:
            await gone.release(connection)
    assert await at.views() == []


async def test_an_answer_that_takes_too_long_is_no(
    at: Scene, gate: FakeMediaMtx, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(admission.views, "open", lambda *_: asyncio.sleep(30))
    at.driver()
    assert await ask(at, gate, at.token(await at.ticket())) == 503


async def test_the_gateway_protocol_authorizes_as_the_door_does(at: Scene, gate: FakeMediaMtx) -> None:
    gateway = at.driver()
    ticket = await at.ticket()
    asking = Asking("whep", actors.ADDRESS, session_ref=str(uuid4()))
    view = await gateway.authorize(at.token(ticket), asking)
    assert (await gateway.authorize(at.token(ticket), asking)).id == view.id
    with pytest.raises(BoundElsewhere):
        await gateway.authorize(at.token(ticket), replace(asking, peer="192.0.2.200", session_ref=str(uuid4())))
    await at.revoke(ticket)
    with pytest.raises(GrantEnded):
        await gateway.authorize(at.token(ticket), asking)


async def test_a_wall_of_questions_is_answered_one_after_the_other_fast(at: Scene, gate: FakeMediaMtx) -> None:
    """MediaMTX waits for each answer before it puts the next question."""
    gateway = await at.watching()
    who = await actors.actor(at.database, at.district)
    cameras = [await factories.camera(at.database, at.district) for _ in range(16)]
    tokens = [(camera, at.token(await at.ticket_of(who, camera))) for camera in cameras]
    await gateway.ensure(cameras[0], "main", CAMERA)
    await asyncio.gather(*(gate.read(at.path(camera), "whep", token) for camera, token in tokens))
    assert len(await at.views()) == 16
