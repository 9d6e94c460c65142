"""What the tests of the audit log share."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from app import database as db
from app.keys import Keys
from tests.audit.house import ENTRIES, House
from tests.conftest import Databases


@pytest.fixture(scope="session")
async def one_house(databases: Databases, keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """A database with a log of some hundred entries; whoever changes it does so through `house`."""
    name = f"house_{uuid4().hex[:12]}"
    await databases.create(name)
    owner = await databases.superuser(name)
    async with db.connect(databases.url(name)) as base:
        made = House(base, keys, owner, tmp_path_factory.mktemp("house"), [], [])
        for entry_id, receipt in await made.append(ENTRIES):
            made.ids.append(entry_id)
            made.receipts.append(receipt)
        await made.number()
        await made.remember()
        yield made
    await owner.close()
    await databases.drop(name)


@pytest.fixture
async def house(one_house: House, tmp_path: Path) -> House:
    """The log as it was made, whatever the test before has done to its tables."""
    await one_house.restore()
    one_house.folder = tmp_path
    return one_house
