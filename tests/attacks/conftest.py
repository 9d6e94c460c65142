from collections.abc import AsyncIterator

import pytest

from app.database import Database
from app.keys import Keys
from app.settings import Settings
from tests.attacks.town import Town
from tests.attacks.town import town as standing
from tests.conftest import Databases


@pytest.fixture(scope="session")
async def town(settings: Settings, database: Database, keys: Keys, databases: Databases) -> AsyncIterator[Town]:
    async with standing(settings, database, keys, databases) as made:
        yield made
