from collections.abc import AsyncIterator

import pytest

from app.database import Database
from app.keys import Keys
from app.settings import Settings
from tests.streams.mediamtx.fake import FakeMediaMtx
from tests.streams.mediamtx.scene import Scene, scene


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "mediamtx: against a real MediaMTX, where MEDIAMTX_BIN names one")


@pytest.fixture
async def gate() -> AsyncIterator[FakeMediaMtx]:
    async with FakeMediaMtx() as made:
        yield made


@pytest.fixture
async def at(
    settings: Settings, keys: Keys, database: Database, database_url: str, gate: FakeMediaMtx
) -> AsyncIterator[Scene]:
    """The scene around the fake."""
    async with scene(settings, keys, database, database_url, gate) as made:
        yield made
