"""A control API that lies, hangs or is gone: every call ends soon, in little memory, as one kind of refusal."""

import time
import tracemalloc
from dataclasses import replace

import pytest

from app.errors import GatewayUnavailable
from app.streams.mediamtx import MediaMtx
from app.streams.mediamtx.api import CALL_SECONDS, Api
from app.streams.mediamtx.config import Config
from tests.streams.mediamtx.fake import FakeMediaMtx, Lie
from tests.streams.mediamtx.scene import CAMERA, Scene, healthy, until, url_of


async def unhealthy(gateway: MediaMtx) -> bool:
    return not await healthy(gateway)


@pytest.fixture
async def api(gate: FakeMediaMtx):
    made = Api(Config.parse(url_of(gate.port, "m")))
    yield made
    await made.close()


async def test_all_pages_are_read(api: Api, gate: FakeMediaMtx) -> None:
    for number in range(2_300):
        gate.ghost(f"p{number % 7}", "whep", sent=number)
    gate.ghost("p", "rtsps", conns=["0193a2c8-0000-7000-8000-000000000001"])
    readers = await api.readers()
    assert len(readers) == 2_301
    assert sum(reader.sent for reader in readers) == sum(range(2_300))
    (rtsp,) = [reader for reader in readers if reader.protocol == "rtsps"]
    assert rtsp.names == (rtsp.id, "0193a2c8-0000-7000-8000-000000000001")


async def test_a_kick_of_what_is_gone_is_a_success(api: Api, gate: FakeMediaMtx) -> None:
    ghost = gate.ghost("p", "hls")
    (reader,) = await api.readers()
    await api.kick(reader)
    await api.kick(reader)
    assert ghost.ended.result() == "kicked"
    assert await api.readers() == []


@pytest.mark.parametrize("lie", ["endless", "drip", "not_json", "wrong_types", "redirect", "gzip", "error", "negative"])
async def test_a_liar_is_refused_soon_and_in_little_memory(api: Api, gate: FakeMediaMtx, lie: Lie) -> None:
    gate.lie(lie)
    tracemalloc.start()
    began = time.monotonic()
    with pytest.raises(GatewayUnavailable) as refused:
        await api.readers()
    took, (_, peak) = time.monotonic() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert took < CALL_SECONDS + 1
    assert peak < 64 << 20, "four lists of at most 8 MiB"
    assert "127.0.0.1" not in refused.value.detail
    assert all(target.startswith("/v3/") for _, target in gate.requests)


async def test_after_failures_no_is_said_at_once_until_it_answers_again(api: Api, gate: FakeMediaMtx) -> None:
    gate.hang()
    for _ in range(2):
        with pytest.raises(GatewayUnavailable):
            await api.source("p")
    assert api.broken
    began = time.monotonic()
    with pytest.raises(GatewayUnavailable):
        await api.readers()
    assert time.monotonic() - began < 0.1
    gate._awake.set()
    await api.info()
    assert await api.readers() == []


async def test_a_gateway_that_is_gone_is_no_connection(api: Api, gate: FakeMediaMtx) -> None:
    await gate.down()
    with pytest.raises(GatewayUnavailable, match="no connection"):
        await api.readers()


async def test_health_is_bounded_and_recovers(at: Scene, gate: FakeMediaMtx) -> None:
    gateway = await at.watching()
    assert (await gateway.health()).ok
    gate.hang()
    began = time.monotonic()
    assert not (await gateway.health()).ok
    assert time.monotonic() - began < CALL_SECONDS + 0.5
    began = time.monotonic()
    for _ in range(50):
        assert not (await gateway.health()).ok
    with pytest.raises(GatewayUnavailable):
        await gateway.ensure(at.camera, "sub", CAMERA) if not gate.confs else await gateway.sessions()
    assert time.monotonic() - began < 1, "nobody waits for it twice"
    gate._awake.set()
    await until(lambda: healthy(gateway), 5)


async def test_one_that_is_full_or_too_old_takes_nobody(at: Scene, gate: FakeMediaMtx) -> None:
    gateway = at.driver(cameras=2)
    for name in ("a", "b"):
        gate.ghost(name, "whep")
    health = await gateway.health()
    assert (health.ok, health.word, health.cameras, health.viewers) == (False, "full", 2, 2)
    gate.version = "v1.19.2"
    old = await at.watching()
    await until(lambda: unhealthy(old), 3)
    assert "too old" in (await old.health()).word


async def test_no_secret_is_in_a_log_or_an_error(
    at: Scene, gate: FakeMediaMtx, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    at.config = replace(at.config, password="canary-api-password")
    gateway = await at.watching()
    token = at.token(await at.ticket())
    await gate.read(at.path(), "rtsps", token)
    await gate.ask(path=at.path(), query=f"token={token}x", id="0193a2c8-0000-7000-8000-000000000001")
    gate.lie("error")
    with pytest.raises(GatewayUnavailable) as refused:
        await gateway.sessions()
    gate.lie("")
    said = caplog.text + str(refused.value) + repr(gateway.config)
    secret = at.callback.rpartition("/")[2]
    own = [record for record in caplog.records if record.name.startswith(("gwanje", "httpx"))]
    assert own
    for canary in ("canary-api-password", token):
        assert canary not in said
    assert all(secret not in record.getMessage() for record in own if record.name.startswith("gwanje"))
