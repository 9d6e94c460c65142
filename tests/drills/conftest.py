"""What all drills share: a home that PostgreSQL can reach, and a way to tell what was measured."""

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from app.settings import Settings
from tests.processes import Service, service

Tell = Callable[..., None]
Crew = Callable[[int], Awaitable[Service]]


@pytest.fixture
def home(shared_home: Path) -> Path:
    """A home of its own, where PostgreSQL's account can reach it; test processes share the folder above."""
    place = Path(tempfile.mkdtemp(prefix="drill-", dir=shared_home.parent))
    place.chmod(0o755)
    return place


@pytest.fixture
def kept(home: Path, settings: Settings) -> Path:
    """A home with the deployment key of this test process, for services on its database."""
    (home / "secret.key").write_bytes(settings.secret_key)
    return home


@pytest.fixture(scope="module")
async def crew(shared_home: Path, settings: Settings, database_url: str) -> AsyncIterator[Crew]:
    """`gwanje serve` with so many workers on the database of this test process; started once for a file's drills."""
    running: dict[int, Service] = {}
    async with AsyncExitStack() as stack:

        async def of(workers: int) -> Service:
            if workers not in running:
                home = Path(tempfile.mkdtemp(prefix="crew-", dir=shared_home.parent))
                (home / "secret.key").write_bytes(settings.secret_key)
                made = service(home, workers=workers, GWANJE_DATABASE_URL=database_url, GWANJE_LOG_LEVEL="warning")
                running[workers] = await stack.enter_async_context(made)
            await running[workers].ready()
            return running[workers]

        yield of


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Tell:
    """Print a line of what a drill measured, past the capture."""

    def line(name: str, **measured: object) -> None:
        words = [
            f"{what} {value:.3g}" if isinstance(value, float) else f"{what} {value}" for what, value in measured.items()
        ]
        with capsys.disabled():
            print(f"\n  {name}: {' · '.join(words)}")  # noqa: T201

    return line
