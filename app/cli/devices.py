"""Cameras as devices: which of them answer on a network."""

import asyncio
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table as Grid

from app.cli.running import out
from app.streams.onvif import discovery

commands = typer.Typer(no_args_is_help=True, help="Cameras / 카메라 장치")


@commands.callback()
def cameras() -> None:
    """A group, however many commands it has."""


@commands.command("discover")
def discover(
    interface: Annotated[str, typer.Option(help="interface of the camera network (eth1), or its address")],
    seconds: Annotated[float, typer.Option(min=0.5, max=30, help="how long to wait for answers")] = 4.0,
) -> None:
    """Which cameras answer to WS-Discovery on one interface; nothing is registered."""
    found = asyncio.run(discovery.discover(interface, seconds=seconds))
    grid = Grid("address", "name", "hardware")
    for one in found:
        grid.add_row(escape(one.address), escape(one.name), escape(one.hardware))
    out.print(grid)
    out.print(f"{len(found)} cameras answered / 응답한 카메라 {len(found)}대")
