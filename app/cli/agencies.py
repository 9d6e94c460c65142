"""Institutions and their units."""

from typing import Annotated

import typer
from rich.table import Table as Grid

from app.cli.running import out, run
from app.database import Database
from app.registry import agencies
from app.settings import Settings

commands = typer.Typer(no_args_is_help=True, help="Institutions and their units / 기관")


@commands.command("add")
def add_agency(
    name: str,
    kind: Annotated[str, typer.Option(help="municipality, city, police, fire, center, station, …")],
    parent: Annotated[str, typer.Option(help="name or authority code of the parent")] = "",
    code: Annotated[str, typer.Option(help="authority code, 7 digits (개방자치단체코드)")] = "",
) -> None:
    """Add an institution, or a unit of one."""

    async def work(base: Database, _: Settings) -> None:
        async with base.begin() as session:
            above = await agencies.by_name_or_code(session, parent) if parent else None
            made = await agencies.add(
                session, None, name=name, kind=kind, parent_id=above.id if above else None, authority_code=code or None
            )
        out.print(f"added {name}: {made}")

    run(work)


@commands.command("list")
def list_agencies() -> None:
    """All institutions and units."""

    async def work(base: Database, _: Settings) -> None:
        grid = Grid("name", "kind", "code", "id")
        async with base.begin() as session:
            for row in await agencies.listed(session, limit=10_000):
                grid.add_row(row.name, row.kind, row.authority_code or "", str(row.id))
        out.print(grid)

    run(work)
