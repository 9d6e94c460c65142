"""Damaged files in whatever way: the register is as it was, or correctly changed; never half, and never an accident."""

import asyncio
import random
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from app.database import Database
from app.errors import Refusal
from app.models import CameraPosition, Site
from app.registry.imports import bring as importer
from app.registry.imports import undo
from app.registry.imports.owners import Owners
from app.registry.imports.reading import open_file
from tests import factories
from tests.registry.import_tables import SEOUL, csv_text, lines, stored, xlsx
from tests.registry.test_exporting import stands

GOOD_FILES = {
    "csv": csv_text(lines(8)).encode(),
    "cp949": csv_text(lines(8)).encode("cp949"),
    "xlsx": xlsx([SEOUL, *lines(8, SEOUL)]),
}
DAMAGE = st.tuples(st.sampled_from(sorted(GOOD_FILES)), st.integers(0, 2**32), st.integers(1, 40))


def damaged(container: str, seed: int, damages: int) -> bytes:
    chance, content = random.Random(seed), bytearray(GOOD_FILES[container])
    for _ in range(damages):
        at = chance.randrange(len(content))
        match chance.randrange(4):
            case 0:
                del content[at : at + chance.randrange(200)]
            case 1:
                content[at:at] = content[chance.randrange(len(content)) :][: chance.randrange(200)]
            case _:
                content[at] = chance.choice((chance.randrange(256), 0x22, 0x0A, 0x2C, 0x00, 0x39, content[at] ^ 1))
        if not content:
            break
    return bytes(content)


async def one(database: Database, folder: Path, owner: UUID, damage: tuple[str, int, int]) -> None:
    """Import a damaged file: all of it as the result tells, or none of it; and take it back."""
    before = await stands(database, owner)
    path = stored(damaged(*damage), folder, "any")
    try:
        opened = await asyncio.to_thread(open_file, path)
        async with database.begin() as session:
            brought = await importer.take_in(session, None, opened, Owners(owner=owner))
    except Refusal:
        assert await stands(database, owner) == before
        return
    changes, summary = brought.changes, brought.summary
    assert summary.rows == summary.imported + summary.quarantined
    assert changes.new + changes.changed + changes.unchanged >= summary.imported
    async with database.begin() as session:
        sites = await session.scalar(select(func.count()).where(Site.import_id == brought.import_id))
        cameras = await session.scalar(
            select(func.count())
            .select_from(CameraPosition)
            .join(Site, Site.id == CameraPosition.site_id)
            .where(Site.import_id == brought.import_id)
        )
    assert sites == changes.new
    assert (cameras or 0) <= changes.new_cameras
    async with database.begin() as session:
        await undo.undo(session, None, brought.import_id)
    assert await stands(database, owner) == before


@pytest.fixture(scope="module")
async def owner(database: Database, tmp_path_factory: pytest.TempPathFactory) -> UUID:
    """An agency whose register stands already, from the undamaged files."""
    agency = await factories.agency(database)
    for name, content in GOOD_FILES.items():
        opened = open_file(stored(content, tmp_path_factory.mktemp("good"), name))
        async with database.begin() as session:
            await importer.take_in(session, None, opened, Owners(owner=agency))
    return agency


def tried(examples: int) -> Any:
    quiet = list(HealthCheck)
    return settings(deadline=None, max_examples=examples, suppress_health_check=quiet, database=None)


@tried(100)
@given(damage=DAMAGE)
async def test_damaged_files_change_the_register_wholly_or_not(
    database: Database, tmp_path: Path, owner: UUID, damage: Any
) -> None:
    await one(database, tmp_path, owner, damage)


@pytest.mark.drill
@pytest.mark.timeout(3600)
@tried(10_000)
@given(damage=DAMAGE)
async def test_ten_thousand_damaged_files(database: Database, tmp_path: Path, owner: UUID, damage: Any) -> None:
    await one(database, tmp_path, owner, damage)
