"""What all drills share: a home that PostgreSQL can reach, and a way to tell what was measured."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from app.settings import Settings

Tell = Callable[..., None]


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
