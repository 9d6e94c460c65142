"""Serving, and looking after what serves."""

from typing import Annotated

import typer
from rich.table import Table as Grid

from app import __version__, database, ledger, logs, postgres
from app.cli.running import out, postgres_of, run
from app.database import Database
from app.settings import Settings

commands = typer.Typer()


@commands.command()
def serve() -> None:
    """Serve until Ctrl-C or SIGTERM; everything comes from GWANJE_… settings."""
    from app.server import serve as run_server

    settings = Settings()
    logs.configure(settings.log_level)
    with postgres_of(settings) as (owner_url, _):
        database.migrate(owner_url)
        run_server(settings)


@commands.command()
def edge(
    name: Annotated[str, typer.Argument(help="this gateway's name, such as edge-1")],
    bind: Annotated[str, typer.Option(help="address and port to serve footage on")],
    public_url: Annotated[str, typer.Option(help="base of the URLs that viewers get; default http://<bind>")] = "",
) -> None:
    """Carry footage only: an edge of its own, beside a service on the same database / 영상 중계 전용 프로세스."""
    from app.server import serve as run_server

    settings = Settings(role="edge", node=name, bind=bind, public_url=public_url)
    logs.configure(settings.log_level)
    with postgres_of(settings):
        run_server(settings)


@commands.command()
def demo() -> None:
    """A whole control center with a synthetic city and simulated cameras that really stream."""
    from app.demo import stage

    stage.run(Settings())


@commands.command()
def migrate() -> None:
    """Bring the database's schema to this version."""
    settings = Settings()
    with postgres_of(settings) as (owner_url, _):
        database.migrate(owner_url)
    out.print("the schema is up to date / 최신 스키마입니다")


@commands.command()
def doctor() -> None:
    """Say what is here and what is wrong with it."""
    settings = Settings()
    grid = Grid(show_header=False, box=None)
    grid.add_row("gwanje", __version__)
    grid.add_row("home", str(settings.home.absolute()))
    grid.add_row("serves on", settings.base_url)
    grid.add_row("database", "external" if settings.database_url else postgres.describe(settings))
    out.print(grid)

    async def look(base: Database, _: Settings) -> None:
        async with base.begin() as session:
            for log in (ledger.EVENTS, ledger.AUDIT):
                head = await ledger.head(session, log)
                lag = await ledger.lag_seconds(session, log)
                out.print(f"ledger {log.name}: {head.position} entries, oldest waiting {lag:.0f} s")

    run(look)


@commands.command()
def version() -> None:
    """The version of this program."""
    out.print(__version__)
