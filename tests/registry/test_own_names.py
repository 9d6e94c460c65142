"""A name that is its site's is indexed once, with the site; every camera is found by it all the same."""

from pathlib import Path
from uuid import UUID

from sqlalchemy import text

from app.database import Database
from app.registry import camera_register, cameras
from app.registry.cameras import Search
from tests import factories
from tests.actors import actor
from tests.registry.import_tables import STANDARD_18, lines
from tests.registry.test_import_street import bring

WORDS = ("푸른들로", "푸른들", "로 1", "12", "1", "11", "새이름", "옛길", "정문", "길 13", "10", "3999")
# What the index relies on: a name that is not a camera's own is its site's, with its number or without.
LAW = """
SELECT count(*) FROM camera_positions p JOIN sites s ON s.id = p.site_id
WHERE p.owner_agency_id = :owner AND NOT p.own_name AND (s.name = '' OR p.name NOT IN (s.name, s.name || ' ' || p.ordinal))
"""


async def check(database: Database, owner: UUID) -> int:
    """The searches find what reading every camera finds; how many names are not their cameras' own."""
    operator = await actor(database, owner)
    async with database.begin() as session:
        assert await session.scalar(text(LAW), {"owner": owner}) == 0
        every = (
            await session.execute(
                text(
                    "SELECT p.id, p.name, s.road_address, s.lot_address FROM camera_positions p"
                    " JOIN sites s ON s.id = p.site_id WHERE p.owner_agency_id = :owner AND p.retired_at IS NULL"
                ),
                {"owner": owner},
            )
        ).all()
        for words in WORDS:
            found = await cameras.visible_to(session, operator, Search(words=words), limit=1000)
            expected = {
                row.id for row in every if all(any(word in said for said in row[1:]) for word in words.split())
            }  # fmt: skip
            assert {row["id"] for row in found} == expected, words
        shared = await session.scalar(
            text("SELECT count(*) FROM camera_positions WHERE owner_agency_id = :owner AND NOT own_name"),
            {"owner": owner},
        )
    return int(shared or 0)


async def test_names_are_found_whatever_becomes_of_them(database: Database, tmp_path: Path) -> None:
    owner = await factories.agency(database)

    async def come(rows: list[list[str]]) -> None:
        await bring(database, tmp_path, owner, STANDARD_18, *rows)

    rows = lines(4)
    rows[1][6] = "13"
    rows[2][3], rows[2][4] = "", ""  # without an address its key is its name
    await come(rows)
    assert await check(database, owner) == 3 + 13 + 3

    async with database.begin() as session:
        query = "SELECT p.id FROM camera_positions p WHERE owner_agency_id = :owner AND ordinal = 13"
        named = await session.scalar(text(query), {"owner": owner})
        assert named is not None
        await camera_register.change(session, None, named, {"name": "정문 11"})
    assert await check(database, owner) == 3 + 12 + 3

    rows[1][6] = "2"  # eleven retire
    await come(rows)
    assert await check(database, owner) == 3 + 12 + 3
    rows[1][3] = "옛길 1"  # the site is called otherwise; what is retired keeps its name
    await come(rows)
    assert await check(database, owner) == 3 + 2 + 3
    rows[1][6] = "12"
    await come(rows)
    await check(database, owner)
    rows[1][3], rows[1][4] = "", ""  # an address that is not told any more
    await come(rows)
    await check(database, owner)
