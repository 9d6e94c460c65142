"""What the benches share: a PostgreSQL of their own, processor time, interleaved rounds, the table and the line.

Only ratios of one run mean anything: contenders take turns in every round, each round begins with another one, and
medians are compared.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, Self, TypeVar
from uuid import uuid4

from sqlalchemy import make_url

from app import ids, postgres
from app.postgres.cluster import postmaster
from app.settings import Settings
from tests.conftest import Databases
from tests.processes import children

ids.speak_for("bench")
Contender = TypeVar("Contender")


@contextmanager
def home() -> Iterator[Path]:
    """A folder that PostgreSQL's own account can reach, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="gwanje-bench-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Scene:
    """A running PostgreSQL in a home of its own."""

    def __init__(self, folder: Path, server: postgres.Server) -> None:
        self.folder = folder
        self.databases = Databases(folder, server, durable=True)
        self._data = server.data

    @asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """The address of an empty, migrated database, as the application's role."""
        name = f"bench_{uuid4().hex[:12]}"
        await self.databases.create(name)
        try:
            yield self.databases.url(name)
        finally:
            await self.databases.drop(name)

    def postgres_processes(self) -> list[int]:
        """The postmaster and its backends, as they are now."""
        process = postmaster(self._data)
        return [process, *children(process)] if process else []


@contextmanager
def scene() -> Iterator[Scene]:
    with home() as folder, postgres.start(Settings(home=folder)) as use:
        yield Scene(folder, use.server)


def name_of(url: str) -> str:
    """The database's name in its address."""
    return make_url(url).database or ""


class Clock:
    """Wall time, and processor time of an application process and of PostgreSQL, for as long as the block lasts."""

    def __init__(self, place: Scene, process: int | None = None) -> None:
        self._place, self._process = place, process or os.getpid()
        self.seconds = self.app_cpu = self.postgres_cpu = 0.0

    def __enter__(self) -> Self:
        self._app = processor_seconds(self._process)
        self._postgres = {pid: processor_seconds(pid) for pid in self._place.postgres_processes()}
        self._began = perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = perf_counter() - self._began
        self.app_cpu = processor_seconds(self._process) - self._app
        now = {pid: processor_seconds(pid) for pid in self._place.postgres_processes()}
        self.postgres_cpu = sum(seconds - self._postgres.get(pid, 0) for pid, seconds in now.items())


def processor_seconds(pid: int) -> float:
    """Of all threads of a process, from the kernel's own account in nanoseconds; 0 for one that is gone."""
    nanoseconds = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            nanoseconds += int(path.read_text().split()[0])
        except OSError:
            continue
    return nanoseconds / 1e9


def turns(rounds: int, contenders: Sequence[Contender]) -> Iterator[list[Contender]]:
    """In which order they run in each round: each is first as often as the others."""
    for number in range(rounds):
        first = number % len(contenders)
        yield [*contenders[first:], *contenders[:first]]


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table; numbers are shown with three digits that count."""
    lines = [list(head), *([_shown(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    print(f"\n{title}")
    for line in lines:
        first, *rest = (
            cell.ljust(width) if not at else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join([first, *rest]))


def _shown(cell: Any) -> str:
    if isinstance(cell, float):
        return f"{cell:.0f}" if cell >= 100 else f"{cell:.3g}"
    return str(cell)


def conclude(bench: str, ratios: dict[str, float], n: int) -> None:
    """The last line: what machines read."""
    git = shutil.which("git")
    named = [git, "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"] if git else ["true"]
    said = subprocess.run(named, capture_output=True, text=True, check=False)
    rounded = {name: round(ratio, 3) for name, ratio in ratios.items()}
    line = {"bench": bench, "ratios": rounded, "n": n, "commit": said.stdout.strip() or "unknown"}
    print(json.dumps(line, ensure_ascii=False))
