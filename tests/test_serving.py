"""The service as an operator runs it: stopped by a signal it leaves nothing, killed it comes back, nothing is forgotten."""

import asyncio
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import av
import httpx
import pytest

from app import database as db
from app import postgres
from app.database import Database
from app.demo.simulator import SimulatedCamera, Simulator
from app.keys import Keys
from app.settings import Settings
from tests import factories
from tests.processes import alive, children, command, free_port, service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def family(pid: int) -> list[int]:
    """A process and everything below it."""
    return [pid, *(one for child in children(pid) for one in family(child))]


async def gone(pids: list[int], seconds: float = 10) -> list[str]:
    """The commands of those that still run after a while."""
    for _ in range(int(seconds * 20)):
        if not any(alive(pid) for pid in pids):
            return []
        await asyncio.sleep(0.05)
    return [command(pid) for pid in pids if alive(pid)]


def postmaster(home: Path) -> int:
    record = json.loads((home / "postgres.json").read_text())
    return int((home / record["base"] / "data" / "postmaster.pid").read_text().split()[0])


@pytest.fixture
def home(shared_home: Path) -> Path:
    """A home of its own, where PostgreSQL's account can reach it."""
    place = Path(tempfile.mkdtemp(prefix="home-", dir=shared_home.parent))
    place.chmod(0o755)
    return place


@pytest.mark.parametrize(("workers", "how"), [(1, signal.SIGTERM), (1, signal.SIGINT), (2, signal.SIGTERM)])
async def test_a_signal_leaves_nothing_running_and_a_start_finds_everything(
    home: Path, workers: int, how: signal.Signals
) -> None:
    async with service(home, workers=workers) as running:
        server = postmaster(home)
        everyone = [*family(running.process.pid), server]
        assert len(running.workers()) == (workers if workers > 1 else 0)
        settings = Settings(home=home)
        with postgres.start(settings) as use:
            async with db.connect(use.server.app_url) as base:
                who = await factories.person(base, await factories.agency(base), "admin")
        await running.stop(how)
        assert await gone(everyone) == []
        assert "Traceback" not in running.log.read_text()
    async with service(home, workers=workers) as running, httpx.AsyncClient(base_url=running.base_url) as client:
        await factories.sign_in(client, who)


async def test_a_killed_worker_is_replaced_and_its_views_are_closed(
    database: Database, database_url: str, settings: Settings, home: Path
) -> None:
    district = await factories.agency(database)
    operator = await factories.person(database, district, "operator")
    camera = await factories.camera(database, district)
    (home / "secret.key").write_bytes(settings.secret_key)
    async with (
        Simulator([SimulatedCamera("cam/1", "CAM 1", login="u", password="s3cret-of-the-camera")]) as simulator,
        service(home, workers=2, GWANJE_DATABASE_URL=database_url, GWANJE_LOG_LEVEL="debug") as running,
        httpx.AsyncClient(base_url=running.base_url, timeout=15) as client,
    ):
        await factories.source(database, Keys(settings.secret_key), camera, simulator.url("cam/1"))
        headers = await factories.sign_in(client, operator)
        granted = await client.post("/v1/grants", json={"camera_ids": [str(camera)]}, headers=headers)
        url = granted.json()["grants"][0]["streams"][0]["url"]
        reader = asyncio.create_task(asyncio.to_thread(drain, url))
        async with asyncio.timeout(20):  # the camera is read before the view is written down
            while not await database.bare.fetchval("SELECT count(*) FROM views WHERE camera_id = $1", camera):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        before = running.workers()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        await asyncio.wait([reader], timeout=10)
        await running.ready()
        assert set(running.workers()).isdisjoint(before)
        for _ in range(150):
            async with database.bare.acquire() as connection:
                view = await connection.fetchrow("SELECT * FROM views WHERE camera_id = $1", camera)
            if view["closed_at"] is not None:
                break
            await asyncio.sleep(0.1)
        assert view["cause"] == "node_lost"
        async with database.bare.acquire() as connection:
            acts = await connection.fetch("SELECT act FROM audit_entries WHERE camera_id = $1 ORDER BY at, id", camera)
        assert [row["act"] for row in acts][-2:] == ["view.opened", "view.closed"]
        logged = running.log.read_text()
        token = headers["Authorization"].removeprefix("Bearer ")
        for secret in (token, url.split("/")[4], "s3cret-of-the-camera", factories.PASSWORD):
            assert secret not in logged


def drain(url: str) -> int:
    """Read a stream until it ends; returns how many frames came."""
    frames = 0
    try:
        with av.open(url, timeout=10) as container:
            for _ in container.demux(video=0):
                frames += 1
    except av.FFmpegError:
        pass
    return frames


async def test_when_the_whole_service_is_killed_its_workers_go_too_and_a_start_finds_everything(home: Path) -> None:
    async with service(home, workers=2) as running:
        workers = running.workers()
        running.process.kill()
        await running.process.wait()
        assert await gone(workers) == []
    async with service(home, workers=1) as running, httpx.AsyncClient(base_url=running.base_url) as client:
        assert (await client.get("/readyz")).json()["status"] == "ready"
        server = postmaster(home)
    assert await gone([server]) == []


@pytest.mark.parametrize("seconds", [0.0, 0.4, 0.8, 1.2, 1.6])
async def test_killed_while_it_starts_it_leaves_nobody(
    home: Path, settings: Settings, database_url: str, seconds: float
) -> None:
    """A worker that is told to stop while its modules load, or while it starts, stops."""
    (home / "secret.key").write_bytes(settings.secret_key)
    environment = {**os.environ, "GWANJE_HOME": str(home), "GWANJE_DATABASE_URL": database_url, "GWANJE_WORKERS": "2",
                   "GWANJE_BIND": f"127.0.0.1:{free_port()}"}  # fmt: skip
    starting = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app", "serve", env=environment, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(30):
            while len(family(starting.pid)) < 3:  # noqa: ASYNC110 - nobody tells that both workers are there
                await asyncio.sleep(0.01)
        await asyncio.sleep(seconds)
        everybody = family(starting.pid)
    finally:
        starting.kill()
        await starting.wait()
    assert await gone(everybody, 15) == []


async def test_a_start_that_never_ends_can_be_stopped() -> None:
    program = """
import asyncio, uvicorn, app.server
app.server.GRACE_SECONDS = 1
async def waits_for_ever(scope, receive, send):
    print("starting", flush=True)
    await asyncio.Event().wait()
app.server.Server(uvicorn.Config(waits_for_ever, port=0, log_config=None)).run()
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"starting\n"
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15):
            assert await process.wait() == -signal.SIGALRM
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_without_its_database_the_service_says_so_and_comes_back(home: Path) -> None:
    """No hang and no accident: 503 while PostgreSQL is away, and ready again after it is back."""
    with postgres.start(Settings(home=home)) as use:
        db_url = use.server.app_url
        await asyncio.to_thread(db.migrate, use.server.owner_url)
        async with service(home, GWANJE_DATABASE_URL=db_url) as running:
            async with httpx.AsyncClient(base_url=running.base_url, timeout=10) as client:
                server = postmaster(home)
                os.kill(server, signal.SIGKILL)
                await asyncio.sleep(0.3)
                began = asyncio.get_running_loop().time()
                answer = await client.post("/v1/sessions", json={"login": "nobody", "password": "none at all"})
                assert asyncio.get_running_loop().time() - began < 5
                assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
                assert (await client.get("/healthz")).status_code == 200
                assert (await client.get("/readyz")).status_code == 503
                with postgres.start(Settings(home=home)):
                    for _ in range(100):
                        answer = await client.post("/v1/sessions", json={"login": "nobody", "password": "none at all"})
                        if answer.status_code == 401:
                            break
                        await asyncio.sleep(0.1)
                    assert answer.status_code == 401
                    await running.stop()


async def test_an_embedded_database_that_dies_is_started_again(home: Path) -> None:
    async with service(home) as running, httpx.AsyncClient(base_url=running.base_url, timeout=10) as client:
        before = postmaster(home)
        os.kill(before, signal.SIGKILL)
        await asyncio.sleep(0.5)
        assert (await client.get("/readyz")).status_code == 503
        await running.ready()
        assert postmaster(home) != before
        server = postmaster(home)
        await running.stop()
    assert await gone([server]) == []
