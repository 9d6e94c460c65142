"""Real PostgreSQL, through the real migrations: one server for all test processes, one database for each.

Tests do not clean up after themselves: they stand apart by making agencies and people of their own.
"""

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import pytest
from sqlalchemy import make_url

from app import database as db
from app import ids, postgres
from app.database import Database
from app.keys import Keys
from app.server import Server, config
from app.settings import Settings

ids.speak_for("tests")
TEMPLATE = "gwanje_template"


def pytest_configure(config: pytest.Config) -> None:
    """One folder for all processes of this run, where PostgreSQL's own account can reach it (pytest's is 0700)."""
    os.environ.setdefault("GWANJE_REACH_SECONDS", "0")  # nobody knocks at the cameras of other tests
    os.environ["PYTHONDONTWRITEBYTECODE"] = ""  # a hundred processes of the service start: the first compiles for all
    if "GWANJE_TESTS_HOME" not in os.environ:
        home = tempfile.mkdtemp(prefix="gwanje-tests-")
        Path(home).chmod(0o755)
        os.environ["GWANJE_TESTS_HOME"] = home
        config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: at the end no process then waits long for the others."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def shared_home() -> Path:
    """A home that all processes of this test run share."""
    home = Path(os.environ["GWANJE_TESTS_HOME"]) / "home"
    home.mkdir(exist_ok=True)
    return home


@pytest.fixture(scope="session")
def server(shared_home: Path) -> Iterator[postgres.Server]:
    with postgres.start(Settings(home=shared_home)) as use:
        yield use.server


class Databases:
    """Makes databases from a migrated template, as the cluster's superuser.

    `durable`: whether a commit is written to the disk. Tests kill processes, never the machine: nothing of theirs has
    to outlive a loss of power. What is measured has to.
    """

    def __init__(self, home: Path, server: postgres.Server, *, durable: bool) -> None:
        self._durable = durable
        record = json.loads((home / "postgres.json").read_text())
        self._superuser = next(
            value for key, value in record["passwords"].items() if key not in ("gwanje_owner", "gwanje_app")
        )
        self._superuser_name = next(key for key in record["passwords"] if key not in ("gwanje_owner", "gwanje_app"))
        self._server = server

    async def superuser(self, name: str) -> asyncpg.Connection:
        return await asyncpg.connect(self.superuser_url(name))

    def superuser_url(self, name: str) -> str:
        url = make_url(self._server.owner_url).set(
            username=self._superuser_name, password=self._superuser, database=name
        )
        return url.set(drivername="postgresql").render_as_string(hide_password=False)

    def url(self, name: str, *, owner: bool = False) -> str:
        base = self._server.owner_url if owner else self._server.app_url
        return make_url(base).set(database=name).render_as_string(hide_password=False)

    async def create(self, name: str) -> None:
        connection = await self.superuser("postgres")
        try:
            await connection.execute("SELECT pg_advisory_lock(77)")
            if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", TEMPLATE):
                if not self._durable:
                    await connection.execute("ALTER SYSTEM SET fsync = off")
                    await connection.execute("SELECT pg_reload_conf()")
                await connection.execute(f"CREATE DATABASE {TEMPLATE}_making OWNER gwanje_owner")
                await asyncio.to_thread(db.migrate, self.url(f"{TEMPLATE}_making", owner=True))
                await connection.execute(f"ALTER DATABASE {TEMPLATE}_making RENAME TO {TEMPLATE}")
            copying = f"TEMPLATE {TEMPLATE} OWNER gwanje_owner STRATEGY FILE_COPY"
            await connection.execute(f'CREATE DATABASE "{name}" {copying}')
            await connection.execute("SELECT pg_advisory_unlock(77)")
        finally:
            await connection.close()

    async def drop(self, name: str) -> None:
        connection = await self.superuser("postgres")
        await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await connection.close()


@pytest.fixture(scope="session")
def databases(shared_home: Path, server: postgres.Server) -> Databases:
    return Databases(shared_home, server, durable=False)


@pytest.fixture(scope="session")
async def database_url(databases: Databases) -> AsyncIterator[str]:
    """The database of this test process, as the application's role."""
    name = f"tests_{uuid4().hex[:12]}"
    await databases.create(name)
    yield databases.url(name)
    await databases.drop(name)


@pytest.fixture
async def empty_database_url(databases: Databases) -> AsyncIterator[str]:
    """A migrated database with nothing in it, for this test alone."""
    name = f"empty_{uuid4().hex[:12]}"
    await databases.create(name)
    yield databases.url(name)
    await databases.drop(name)


@pytest.fixture(scope="session")
async def database(database_url: str) -> AsyncIterator[Database]:
    async with db.connect(database_url) as base:
        yield base


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory, database_url: str) -> Settings:
    return Settings(
        home=tmp_path_factory.mktemp("gwanje"),
        database_url=database_url,
        allow_camera_networks="127.0.0.0/8",
        allow_webhook_networks="127.0.0.0/8",
        log_level="warning",
    )


@pytest.fixture(scope="session")
def keys(settings: Settings) -> Keys:
    return Keys(settings.secret_key)


@asynccontextmanager
async def serving(settings: Settings, *, http: str | None = None, ws: str | None = None) -> AsyncIterator[str]:
    """The real server in this event loop, on a port of its own; yields its base URL."""
    made = config(settings)
    made.port = 0
    made.http = http or made.http
    made.ws = ws or made.ws
    running = Quiet(made)
    task = asyncio.create_task(running.serve())
    while not running.started:
        await asyncio.sleep(0.01)
        if task.done():
            task.result()
    port = running.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        running.should_exit = True
        await task


class Quiet(Server):
    """A server that leaves the signals to pytest."""

    def capture_signals(self):  # type: ignore[no-untyped-def]
        return nullcontext()


@pytest.fixture(scope="session")
async def base_url(settings: Settings) -> AsyncIterator[str]:
    """The service of this test process, over real sockets."""
    async with serving(settings) as url:
        yield url


@pytest.fixture(scope="session")
async def client(base_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=base_url, timeout=15) as made:
        yield made
