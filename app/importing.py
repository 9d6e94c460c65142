"""`gwanje import cameras`: a progress bar while it runs, and in the end what came in and what was odd."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from app.database import Database
from app.registry import agencies
from app.registry.imports import apply as importer
from app.registry.imports.apply import Applied, Reading
from app.registry.imports.findings import CATALOGUE

STEPS = {"read": "reading / 읽는 중", "write": "writing / 저장 중"}
COLOURS = {"error": "red", "warning": "yellow", "note": "dim"}
FINDINGS_SHOWN = 30


async def cameras(
    database: Database, out: Console, file: Path, *, owner: str, within: str, create: bool, preview: bool
) -> None:
    """Read, show, and (unless it is a preview) apply a camera file, in one transaction."""
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=out
    )  # fmt: skip
    applied: Applied | None = None
    with bar:
        tasks = {step: bar.add_task(label, total=None) for step, label in STEPS.items()}

        def progress(step: str, done: int, total: int) -> None:
            bar.update(tasks[step], completed=done, total=max(total, done) or None)

        reading = await asyncio.to_thread(importer.read, file, progress)
        if not preview:
            async with database.begin() as session:
                whole = await agencies.by_name_or_code(session, owner) if owner else None
                above = await agencies.by_name_or_code(session, within) if within else None
                owner_of = await importer.owners(session, None, reading.sites, owner=whole, within=above, create=create)
                applied = await importer.apply(session, None, reading, owner_of, progress)
    show(out, reading, applied)


def show(out: Console, reading: Reading, applied: Applied | None) -> None:
    """The summary of an import."""
    summary = reading.summary
    out.print(
        f"{reading.path.name}: [bold]{summary.rows:,} rows, {summary.cameras:,} cameras[/]"
        f" / {summary.rows:,}행, 카메라 {summary.cameras:,}대; {summary.quarantined:,} rows in quarantine / 보류",
        highlight=False,
    )
    if applied is None:
        out.print("preview: nothing was changed / 미리보기: 변경 없음")
    else:
        out.print(
            f"{applied.new_cameras:,} cameras new, {applied.changed_sites:,} sites changed,"
            f" {applied.retired_cameras:,} cameras retired, {applied.unlocated_cameras:,} without a location"
            f" / 신규 {applied.new_cameras:,}, 변경 {applied.changed_sites:,}, 폐지 {applied.retired_cameras:,}",
            highlight=False,
        )
    worst_first: Callable[[tuple[tuple[str, str], int]], tuple[int, int]] = lambda item: (  # noqa: E731 - local order
        list(COLOURS).index(CATALOGUE[item[0][0]].severity),
        -item[1],
    )
    grid = Table("rows", "finding", "field", "what / 내용", "example row", box=None)
    for (code, where), rows in sorted(summary.counts.items(), key=worst_first)[:FINDINGS_SHOWN]:
        example = summary.examples[code, where][0]
        colour = COLOURS[CATALOGUE[code].severity]
        grid.add_row(
            f"{rows:,}", f"[{colour}]{code}[/]", where, f"{example.message_ko} / {example.message_en}",
            str(example.row_number or "-"),
        )  # fmt: skip
    out.print(grid)
