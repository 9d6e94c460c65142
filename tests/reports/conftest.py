"""What the tests of registers share."""

import httpx
import pytest

from app.database import Database
from tests.reports.town import Town, town


@pytest.fixture
async def place(client: httpx.AsyncClient, database: Database) -> Town:
    return await town(client, database)
