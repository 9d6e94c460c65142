"""Media gateways: what they carry, how they are set up, how they are emptied."""

from typing import Annotated

import typer
from rich.table import Table as Grid

from app.cli.running import out, run
from app.database import Database
from app.errors import NotFound
from app.keys import Keys
from app.settings import Settings
from app.streams import mediamtx, placement

commands = typer.Typer(no_args_is_help=True, help="Media gateways / 영상 게이트웨이")


@commands.command("list")
def list_gateways() -> None:
    """Every media gateway with its load and health."""

    async def work(base: Database, _: Settings) -> None:
        grid = Grid("name", "kind", "zones", "viewers", "cameras", "state")
        for known in await placement.all_known(base):
            state = "draining" if known.draining else known.word if known.usable else f"[red]{known.word or 'lost'}[/]"
            grid.add_row(
                known.name, known.kind, " ".join(sorted(known.public_urls)),
                f"{known.viewers}/{known.capacity_viewers}", f"{known.cameras}/{known.capacity_cameras}", state,
            )  # fmt: skip
        out.print(grid)

    run(work)


@commands.command("config")
def configure_gateway(
    name: str, callback: Annotated[str, typer.Option(help="this service, as MediaMTX reaches it")]
) -> None:
    """What MediaMTX's own configuration file must say; it holds a secret, so keep it like one."""
    settings = Settings()
    for each in settings.gateways:
        if each.startswith("mediamtx+") and (config := mediamtx.Config.parse(each)).name == name:
            path = mediamtx.callback_path(Keys(settings.secret_key), name)
            print(mediamtx.configuration(config, callback.rstrip("/") + path))  # noqa: T201 - a file's content
            return
    raise NotFound(f"GWANJE_GATEWAY names no MediaMTX {name}")


@commands.command("drain")
def drain_gateway(name: str, back: Annotated[bool, typer.Option("--back", help="take viewers again")] = False) -> None:
    """Send a gateway's viewers elsewhere and give it no new ones, before it is stopped."""

    async def work(base: Database, _: Settings) -> None:
        async with base.begin() as session:
            await placement.set_draining(session, name, on=not back)
        out.print(f"{name} takes viewers again" if back else f"{name} is being drained / 신규 접속을 받지 않습니다")

    run(work)
