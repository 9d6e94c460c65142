"""The register is written down as files."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.running import out, run
from app.database import Database
from app.errors import Malformed
from app.registry import agencies, exporting, sheets
from app.settings import Settings

commands = typer.Typer(no_args_is_help=True, help="Write the register down / 자료 내보내기")


@commands.command("cameras")
def export_cameras(
    file: Annotated[Path, typer.Argument(help="cameras.csv or cameras.xlsx; must not exist")],
    agency: Annotated[str, typer.Option("--agency", help="whose cameras, by name or authority code")],
    encoding: Annotated[str, typer.Option(help="of a CSV: utf-8 or cp949")] = "utf-8",
) -> None:
    """Write an agency's cameras in the 18 columns of the national standard."""
    if encoding not in ("utf-8", "cp949"):
        raise Malformed("--encoding is utf-8 or cp949", field="encoding")

    async def work(base: Database, _: Settings) -> None:
        async with base.begin() as session:
            owner = await agencies.by_name_or_code(session, agency)
            rows = [row async for row in exporting.standard_18(session, [owner.id])]
        is_book = file.suffix.lower() == ".xlsx"
        content = sheets.xlsx_bytes(rows, sheet="CCTV") if is_book else sheets.csv_bytes(rows, encoding=encoding)
        with file.open("xb") as stream:
            stream.write(content)
        out.print(f"{len(rows) - 1:,} sites / 설치지점 {len(rows) - 1:,}곳: {file}", highlight=False)

    run(work)


@commands.callback()
def _several() -> None:
    """Keeps the name of the command while it is the only one."""
