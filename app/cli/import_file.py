"""`gwanje import file`: a progress bar while it runs, and in the end what came in and what was odd."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from app.database import Database
from app.errors import Malformed
from app.ids import new_id
from app.registry import agencies
from app.registry.imports import bring as importer
from app.registry.imports import undo
from app.registry.imports.bring import Brought
from app.registry.imports.findings import CATALOGUE
from app.registry.imports.owners import Owners
from app.registry.imports.reading import open_file

STEPS = {"read": "reading / 읽는 중", "write": "writing / 저장 중"}
COLOURS = {"error": "red", "warning": "yellow", "note": "dim"}
FINDINGS_SHOWN = 30
EXAMPLES_SHOWN = 5


def mapping_of(said: list[str]) -> dict[str, str]:
    """`--map 위도=#12` or `--map 위도="lat column"` as the mapping of columns; Malformed otherwise."""
    pairs = [each.partition("=") for each in said]
    if any(not field or not column for field, _, column in pairs):
        raise Malformed("--map is FIELD=COLUMN, such as 위도=#12 or 위도=lat", field="mapping")
    return {field.strip(): column.strip() for field, _, column in pairs}


async def take_in(
    database: Database, out: Console, file: Path, *, kind: str, owner: str, within: str, create: bool, preview: bool,
    mapping: list[str], retire_vanished: bool,
) -> None:  # fmt: skip
    """Read, compare, show, and (unless it is a preview) apply a file, in one transaction."""
    opened = await asyncio.to_thread(open_file, file, kind=kind, mapping=mapping_of(mapping))
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=out
    )  # fmt: skip
    with bar:
        tasks = {step: bar.add_task(label, total=None) for step, label in STEPS.items()}

        def progress(step: str, done: int, total: int) -> None:
            bar.update(tasks[step], completed=done, total=max(total, done) or None)

        async with database.begin() as session:
            whole = await agencies.by_name_or_code(session, owner) if owner else None
            above = await agencies.by_name_or_code(session, within) if within else None
            owners = Owners(owner=whole.id if whole else None, within=above.id if above else None, create=create)
            if preview:
                brought = await importer.bring(
                    session, None, opened, owners, new_id(), writes=False, keeps_findings=False, progress=progress
                )
            else:
                brought = await importer.take_in(
                    session, None, opened, owners, retire_vanished=retire_vanished, progress=progress
                )
    show(out, file.name, brought, preview=preview)


def show(out: Console, name: str, brought: Brought, *, preview: bool) -> None:
    """The summary of an import."""
    summary, changes = brought.summary, brought.changes
    out.print(
        f"{name}: [bold]{summary.rows:,} rows, {summary.cameras:,} cameras or assets[/]"
        f" / {summary.rows:,}행, {summary.cameras:,}대; {summary.quarantined:,} rows in quarantine / 보류",
        highlight=False,
    )
    out.print(
        f"{changes.new:,} new, {changes.changed:,} changed, {changes.unchanged:,} unchanged, {changes.vanished:,} not"
        f" in the file; {changes.new_cameras:,} cameras new, {changes.retired_cameras:,} retired, {changes.unlocated:,}"
        f" without a location / 신규 {changes.new:,}, 변경 {changes.changed:,}, 동일 {changes.unchanged:,},"
        f" 파일에 없음 {changes.vanished:,}; 카메라 신규 {changes.new_cameras:,}, 폐지 {changes.retired_cameras:,}",
        highlight=False,
    )
    if brought.unknown_institutions:
        unknown = ", ".join(brought.unknown_institutions[:5])
        out.print(f"[red]not registered / 등록되지 않은 기관[/]: {unknown}", highlight=False)
    if preview:
        out.print("preview: nothing was changed / 미리보기: 변경 없음")
        for of, examples in changes.examples.items():
            for example in examples[:EXAMPLES_SHOWN]:
                what = ", ".join(example.get("differs", ()))
                out.print(f"  {of}: {example['name']} {what}", highlight=False, markup=False)
    else:
        out.print(f"import {brought.import_id}; `gwanje import undo` takes it back / 되돌리기", highlight=False)
    _show_findings(out, brought)


def _show_findings(out: Console, brought: Brought) -> None:
    summary = brought.summary
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


async def take_back(database: Database, out: Console, import_id: UUID) -> None:
    """Undo an import, in one transaction."""
    async with database.begin() as session:
        undone = await undo.undo(session, None, import_id)
    out.print(
        f"undone: {undone.removed:,} removed, {undone.restored:,} as they were before"
        f" / 되돌림: 삭제 {undone.removed:,}, 복원 {undone.restored:,}"
    )
