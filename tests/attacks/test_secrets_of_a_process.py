"""A real `gwanje serve` at its most talkative: what it writes, and what its children are started with."""

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import make_url

from app.settings import Settings
from app.streams.views import proof_of
from tests import factories
from tests.attacks.town import CAMERA_PASSWORD, HERE, Town
from tests.processes import children, command, free_port, service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
GATEWAY_PASSWORD = "canary-of-the-gateway"
# Python runs this before anything else, in every process that finds it.
CHATTERING = "import app.logs\napp.logs.without_secrets = lambda text: text\n"


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> Path:
    place = tmp_path_factory.mktemp("house")
    (place / "secret.key").write_bytes(settings.secret_key)
    return place


async def told(town: Town, home: Path, database_url: str, **environment: str) -> list[str]:
    """The names of the secrets that the service's log tells, or the start of a child."""
    key = f"key of a tablet {uuid4().hex}"
    tablet = await town.visitor("field", device_key=key)
    gateway = f"embedded mediamtx+http://user:{GATEWAY_PASSWORD}@127.0.0.1:{free_port()}?hls=http://x&source=direct"
    canaries = {
        "camera password": CAMERA_PASSWORD, "gateway password": GATEWAY_PASSWORD, "device key": key,
        "database password": make_url(database_url).password or "no password", "login password": factories.PASSWORD,
    }  # fmt: skip
    settings = {"GWANJE_DATABASE_URL": database_url, "GWANJE_LOG_LEVEL": "debug", "GWANJE_GATEWAY": gateway}
    async with service(home, **settings, **environment) as running:
        async with httpx.AsyncClient(base_url=running.base_url, timeout=15) as client:
            there = replace(town, base_url=running.base_url, client=client, clients={HERE: client})
            login = {"login": tablet.person.login, "password": factories.PASSWORD, "terminal_key": key}
            signed_in = await client.post("/v1/sessions", json=login)
            canaries["bearer token"] = signed_in.json()["access_token"]
            await client.post("/v1/sessions", json=login | {"terminal_key": key[:-1]})
            camera = await factories.camera(town.database, town.district)
            await factories.source(town.database, town.keys, camera, town.simulator.url("cam/1"))
            grant = await there.granted(replace(tablet, token=canaries["bearer token"]), camera)
            proof = proof_of(key, grant.id, camera)
            canaries["stream token"] = grant.token
            for child in ("live.mp4", "mse", "index.m3u8", "init.mp4", "snapshot.jpg"):
                assert await there.plays(grant.token, child, proof=proof), child
                assert not await there.plays(grant.token, child)
                assert not await there.plays(grant.token[:-4] + "AAAA", child, proof=proof)
            started = [pid for pid in children(running.process.pid) if "ffmpeg" in command(pid)]
            assert started
            said = "".join(
                Path(f"/proc/{pid}/{name}").read_bytes().decode("utf-8", "replace")
                for pid in started
                for name in ("cmdline", "environ")
            )
            assert "GWANJE" not in said, "a child knows nothing of our settings"
            said += (await client.get("/metrics")).text + (await client.get("/openapi.json")).text
        await running.stop()
        said += running.log.read_text()
    assert "answered" in said
    return [name for name, value in canaries.items() if value in said]


async def test_a_service_at_its_most_talkative_tells_no_secret(town: Town, home: Path, database_url: str) -> None:
    assert await told(town, home, database_url) == []


async def test_without_striking_out_it_would(town: Town, home: Path, database_url: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(CHATTERING)
    assert "stream token" in await told(town, home, database_url, PYTHONPATH=str(tmp_path))
