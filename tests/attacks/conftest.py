from collections.abc import AsyncIterator

import pytest

from app.database import Database
from app.keys import Keys
from app.settings import Settings
from tests.attacks.town import Town
from tests.attacks.town import town as standing


@pytest.fixture(scope="session")
async def town(settings: Settings, database: Database, keys: Keys) -> AsyncIterator[Town]:
    async with standing(settings, database, keys) as made:
        yield made
