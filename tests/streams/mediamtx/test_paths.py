"""Names that tell nothing; paths added once, one after the other, few, never changed, and again after a restart."""

import asyncio
import re
from uuid import uuid4

import pytest

from app.errors import GatewayUnavailable, UnsafeSource
from app.ids import new_id
from app.keys import Keys
from app.streams.mediamtx import paths
from app.streams.mediamtx.api import Api
from app.streams.mediamtx.config import Config
from app.streams.mediamtx.paths import PATTERN, Paths, described, name_of, read_name
from tests.streams.mediamtx.fake import FakeMediaMtx
from tests.streams.mediamtx.scene import CAMERA, Scene, until, url_of

KEYS = Keys(b"k" * 32)


def test_a_name_is_letters_and_digits_and_only_ours_to_read() -> None:
    seen = set()
    for _ in range(200):
        camera = new_id()
        for gateway in ("one", "two"):
            for profile in ("main", "sub"):
                name = name_of(KEYS, gateway, camera, profile)
                assert re.fullmatch(PATTERN[1:], name)
                assert name.isalnum()
                assert camera.hex not in name
                assert read_name(KEYS, gateway, name) == (camera, profile)
                seen.add(name)
    assert len(seen) == 800
    name = name_of(KEYS, "one", camera, "main")
    assert read_name(KEYS, "two", name) is None, "each gateway has names of its own"
    assert read_name(Keys(b"j" * 32), "one", name) is None
    for place in range(2, len(name)):
        other = name[:place] + ("a" if name[place] != "a" else "b") + name[place + 1 :]
        assert read_name(KEYS, "one", other) is None


@pytest.mark.parametrize(
    "name",
    ["", "..", "../x", "%2e%2e", "a/../b", "..%2f", "x\0", "~^.*$", "~all", "all_others", "gw" + "a" * 42 + "\n",
     "gw" + "a" * 41, "GW" + "A" * 42, "gw" + "ａ" * 42, "gw" + "1" * 42, "x" * 10_000],
)  # fmt: skip
def test_other_names_are_nobodys(name: str) -> None:
    assert read_name(KEYS, "one", name) is None


@pytest.fixture
async def told(gate: FakeMediaMtx):
    api = Api(Config.parse(url_of(gate.port, "m")))
    yield Paths(api, most=3)
    await api.close()


async def test_a_path_is_added_once_however_many_ask(told: Paths, gate: FakeMediaMtx) -> None:
    gate.seconds_per_path = 0.005
    bodies = {f"p{number}": described(f"rtsp://127.0.0.1/{number}") for number in range(10)}
    await asyncio.gather(*(told.ensure(name, body) for name, body in bodies.items() for _ in range(20)))
    assert gate.confs == bodies
    assert sum("/add/" in target for _, target in gate.requests) == 10
    assert gate.most_adding == 1, "one after the other"
    assert len(gate.requests) == 20, "each is looked for once and added once"
    before = len(gate.requests)
    await asyncio.gather(*(told.ensure(name, body) for name, body in bodies.items()))
    assert len(gate.requests) == before, "what was seen lately is not asked again"


async def test_what_another_process_added_is_taken_as_it_is(told: Paths, gate: FakeMediaMtx) -> None:
    body = described("rtsp://127.0.0.1/1")
    gate.confs["p"] = body
    await told.ensure("p", body)
    assert not [target for method, target in gate.requests if method != "GET"]


async def test_another_source_takes_the_path_away_and_adds_it(told: Paths, gate: FakeMediaMtx) -> None:
    await told.ensure("p", described("rtsp://127.0.0.1/1"))
    reader = gate.ghost("p", "whep")
    await told.ensure("p", described("rtsp://127.0.0.1/2"))
    assert gate.confs["p"]["source"] == "rtsp://127.0.0.1/2"
    assert reader.ended.result() == "path is closing"
    assert "PATCH" not in {method for method, _ in gate.requests}


async def test_the_idle_and_unwatched_go_beyond_what_is_to_be_kept(
    told: Paths, gate: FakeMediaMtx, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        await told.ensure(f"p{number}", described(f"rtsp://127.0.0.1/{number}"))
    assert await told.sweep({"p0"}) == 0, "asked for lately"
    monkeypatch.setattr(paths, "IDLE_SECONDS", 0.0)
    await asyncio.sleep(0.01)
    assert await told.sweep({"p0"}) == 3
    assert set(gate.confs) == {"p0", "p4", "p5"}
    assert await told.sweep(set()) == 0


async def test_what_is_lost_is_told_again_if_somebody_may_come(
    told: Paths, gate: FakeMediaMtx, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        await told.ensure(f"p{number}", described(f"rtsp://127.0.0.1/{number}"))
    await gate.restart()
    told.forgotten()
    monkeypatch.setattr(paths, "IDLE_SECONDS", 0.0)
    await asyncio.sleep(0.01)
    assert await told.replay({"p1"}) == 1
    assert set(gate.confs) == {"p1"}
    await told.ensure("p0", described("rtsp://127.0.0.1/0"))
    assert set(gate.confs) == {"p0", "p1"}


async def test_a_path_that_is_not_taken_is_a_refusal(told: Paths) -> None:
    with pytest.raises(GatewayUnavailable, match="does not take"):
        await told.ensure("a path?", described("rtsp://127.0.0.1/1"))


async def test_with_the_door_one_path_stands_for_all_cameras(at: Scene, gate: FakeMediaMtx) -> None:
    gateway = await at.watching()
    await asyncio.gather(*(gateway.ensure(uuid4(), "main", CAMERA) for _ in range(64)))
    ((name, conf),) = gate.confs.items()
    assert name == PATTERN
    assert "canary" not in str(gate.confs)
    with pytest.raises(UnsafeSource):
        await gateway.ensure(at.camera, "main", "http://127.0.0.1/snapshot")
    assert conf["sourceOnDemand"] is True
    assert conf["rtspTransport"] == "tcp"


async def test_without_the_door_each_camera_has_a_path_told_again_after_a_restart(
    at: Scene, gate: FakeMediaMtx
) -> None:
    gateway = await at.watching(door=None)
    assert not gate.confs
    await gateway.ensure(at.camera, "main", CAMERA)
    assert gate.confs[at.path()]["source"] == CAMERA
    with pytest.raises(UnsafeSource):
        await gateway.ensure(at.camera, "sub", "http://127.0.0.1/snapshot")
    with pytest.raises(UnsafeSource):
        await gateway.ensure(at.camera, "sub", "rtsp://169.254.169.254/live")
    reader = await gate.read(at.path(), "whep", at.token(await at.ticket()))
    await gate.restart()
    assert reader.ended.done()
    await until(lambda: at.path() in gate.confs, 4)
    assert "PATCH" not in {method for method, _ in gate.requests}


async def test_urls_are_signed_here_for_the_viewers_zone(at: Scene, gate: FakeMediaMtx) -> None:
    gateway = at.driver()
    ticket = await at.ticket(profile="sub")
    token, path = at.token(ticket), at.path(profile="sub")
    told = {one["protocol"]: one for one in gateway.urls(ticket, ["fmp4", "rtsps", "hls", "whep"], "default")}
    assert {protocol: one["url"] for protocol, one in told.items()} == {
        "whep": f"http://127.0.0.1:8889/{path}/whep?token={token}",
        "hls": f"http://127.0.0.1:8888/{path}/index.m3u8?token={token}",
        "rtsps": f"rtsps://127.0.0.1:8322/{path}?token={token}",
    }
    assert [told[protocol]["latency"] for protocol in ("whep", "hls", "rtsps")] == ["realtime", "standard", "realtime"]
    assert gateway.urls(ticket, ["whep"], "police") == []
    assert not gate.requests
