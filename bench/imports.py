"""An xlsx of a city end to end, against its parse by the same reader alone and a bare COPY of the rows that came of it.

The file is synthetic (60,000 rows in the layout of Seoul's), or the one that GWANJE_BENCH_XLSX names. The rows of the
COPY are the camera positions with their site's texts, made before the clock starts, into one table without an index.
"""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from random import Random
from statistics import median
from typing import Any
from uuid import UUID

import asyncpg
import python_calamine

from app.database import Database, connect, plain_url
from app.ids import new_ids
from app.registry.imports import bring as importer
from app.registry.imports.bring import Brought
from app.registry.imports.owners import Owners
from app.registry.imports.reading import Opened, open_file
from bench.scene import Clock, Scene, conclude, name_of, scene, table, turns
from tests import factories
from tests.registry.import_tables import SEOUL, xlsx

ROWS, ROUNDS = 60_000, 5
STEPS = ("open", "import", "the same again", "calamine", "copy")
PURPOSES = ("방범", "어린이보호", "공원·놀이터", "쓰레기단속", "시설안전·화재예방", "교통단속")
_TABLE = """
CREATE TABLE flat (
    id uuid, owner_agency_id uuid, external_key text, ordinal int, name text, latitude float8, longitude float8,
    area_ids uuid[], installation_purposes text[], retention_days int, pixels_10k int, installed_on date,
    road_address text, lot_address text, manager_name text, purpose_label text, direction_text text, data_date date
)
"""


def _synthetic(folder: Path) -> Path:
    """Rows as a city has them: 25 districts, one to five cameras a row, a few without a place."""
    random, rows = Random(7), [list[Any](SEOUL)]
    for number in range(ROWS):
        district = number % 25
        latitude, longitude = 37.45 + random.random() / 5, 126.8 + random.random() / 3
        count = random.choice((1, 1, 1, 1, 1, 1, 2, 2, 3, 5))
        place = (f"{latitude:.7f}", f"{longitude:.7f}") if number % 200 else ("", "")
        address = f"새솔{district}동 {number % 997}-{number % 53}(고정{count}) {number}"
        rows.append([f"새솔{district}구", address, random.choice(PURPOSES), *place, str(count), "2022-04-28"])
    path = folder / "synthetic.xlsx"
    path.write_bytes(xlsx(rows))
    return path


def _flat(opened: Opened, owner: UUID) -> list[tuple[Any, ...]]:
    fresh = new_ids()
    return [
        (
            next(fresh), owner, site.external_key, ordinal, f"{site.name} {ordinal}", site.latitude, site.longitude, [],
            list(site.installation_purposes), site.retention_days, site.pixels_10k, site.installed_on,
            site.road_address, site.lot_address, site.manager_name, site.purpose_label, site.direction_text,
            site.data_date,
        )
        for chunk in opened.read()
        for site in chunk.rows
        for ordinal in range(1, site.camera_count + 1)
    ]  # fmt: skip


async def _take_in(database: Database, opened: Opened, city: UUID) -> Brought:
    async with database.begin() as session:
        return await importer.take_in(session, None, opened, Owners(within=city, create=True))


async def _import(place: Scene, path: Path, clocks: dict[str, Clock]) -> int:
    """The whole way into an empty database, and the same file once more; how many cameras came in."""
    async with place.database() as url, connect(url) as database:
        city = await factories.agency(database, "city")
        with clocks["open"]:
            opened = await asyncio.to_thread(open_file, path)
        with clocks["import"]:
            first = await _take_in(database, opened, city)
        with clocks["the same again"]:
            again = await _take_in(database, opened, city)
        assert not again.changes.new
        assert not again.changes.changed
        return first.changes.new_cameras


async def _floor(place: Scene, path: Path, rows: Sequence[tuple[Any, ...]], clocks: dict[str, Clock]) -> None:
    with clocks["calamine"]:
        sheet = python_calamine.CalamineWorkbook.from_path(path).get_sheet_by_index(0)
        assert sheet.to_python()
    async with place.database() as url:
        owner = place.databases.url(name_of(url), owner=True)  # an ordinary table, written ahead and committed, too
        connection = await asyncpg.connect(plain_url(owner))
        await connection.execute(_TABLE)
        with clocks["copy"]:
            await connection.copy_records_to_table("flat", records=rows)
        await connection.close()


async def _contest(place: Scene, path: Path) -> None:
    opened = open_file(path)
    flat = _flat(opened, next(new_ids()))
    took: list[dict[str, Clock]] = []
    for order in turns(ROUNDS, ("import", "floor")):
        clocks = {name: Clock(place) for name in STEPS}
        for name in order:
            if name == "import":
                cameras = await _import(place, path, clocks)
                assert cameras == len(flat), (cameras, len(flat))
            else:
                await _floor(place, path, flat, clocks)
        took.append(clocks)
    _report(took, opened.summary.rows, len(flat))


def _report(took: list[dict[str, Clock]], sheet_rows: int, cameras: int) -> None:
    def of(*names: str) -> float:
        return median(sum(clocks[name].seconds for name in names) for clocks in took)

    def cpu(*names: str) -> float:
        return median(sum(clocks[name].app_cpu + clocks[name].postgres_cpu for name in names) for clocks in took)

    floor, floor_cpu = of("calamine", "copy"), cpu("calamine", "copy")
    lines = {
        "import end to end": ("open", "import"), "  open": ("open",), "  read, compare and write": ("import",),
        "  the same file again": ("the same again",),
        "floor": ("calamine", "copy"), "  calamine's parse alone": ("calamine",), "  bare COPY": ("copy",),
    }  # fmt: skip
    rows = [
        [line, of(*names), of(*names) / floor, cpu(*names), cpu(*names) / floor_cpu] for line, names in lines.items()
    ]
    title = f"{sheet_rows:,} rows, {cameras:,} cameras, medians of {ROUNDS} rounds"
    table(title, ("step", "seconds", "× floor", "CPU seconds", "× floor"), rows)
    ratios = {
        "import_to_floor": of("open", "import") / floor,
        "import_cpu_to_floor": cpu("open", "import") / floor_cpu,
        "same_again_to_floor": of("open", "the same again") / floor,
    }
    conclude("imports", ratios, sheet_rows)


async def main() -> None:
    with scene() as place:
        named = os.environ.get("GWANJE_BENCH_XLSX")
        await _contest(place, Path(named) if named else _synthetic(place.folder))


if __name__ == "__main__":
    asyncio.run(main())
