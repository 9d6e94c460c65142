"""A witness of other agencies' logs, as a process of its own: no database, one folder."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table as Grid

from app.audit import witness, witnessed
from app.audit.witness import MOST_BYTES, Answer
from app.audit.witness_file import WitnessFile
from app.cli.running import out, run
from app.database import Database
from app.keys import Keys
from app.settings import Settings

commands = typer.Typer(no_args_is_help=True, help="A witness of others' logs / 증인")

BODY_SECONDS = 10
Folder = Annotated[Path, typer.Argument(help="where the witness keeps its key and what it has cosigned")]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@commands.command("make")
def make_witness(folder: Folder, name: Annotated[str, typer.Argument(help="such as witness.example/seoul")]) -> None:
    """Make a witness: a key of its own and an empty memory; prints the public key / 증인을 새로 만들기."""
    out.print(WitnessFile.make(folder, name).witness.key.vkey, soft_wrap=True)


@commands.command("serve")
def serve_witness(
    folder: Folder,
    log: Annotated[list[str], typer.Option(help="the vkey of a log to witness; once for each")],
    bind: Annotated[str, typer.Option(help="address and port to serve on")] = "127.0.0.1:8600",
) -> None:
    """Cosign the logs' checkpoints until Ctrl-C or SIGTERM; never two histories of one log."""
    import uvicorn

    held = WitnessFile(folder, witness.read_logs(" ".join(log)))
    host, _, port = bind.rpartition(":")
    served = uvicorn.Config(
        application(held), host=host.strip("[]"), port=int(port), lifespan="off", access_log=False,
        log_level="warning", server_header=False, limit_concurrency=64, timeout_keep_alive=75,
    )  # fmt: skip
    listening = served.bind_socket()
    listening.listen(served.backlog)  # before anybody is told where: who comes at once waits, and is not refused
    out.print(f"{held.witness.key.vkey}\nserves on {listening.getsockname()[1]}", soft_wrap=True)
    uvicorn.Server(served).run(sockets=[listening])


@commands.command("key")
def witness_key() -> None:
    """The public key of the service itself as a witness (GWANJE_WITNESS_LOGS) / 증인 공개키."""

    async def work(_: Database, settings: Settings) -> None:
        out.print(witness.of_house(Keys(settings.secret_key), settings.witness_name).key.vkey, soft_wrap=True)

    run(work)


@commands.command("evidence")
def evidence(
    folder: Annotated[Path | None, typer.Argument(help="of a witness; none: the service's own")] = None,
) -> None:
    """What logs signed and the witness refused: perhaps a split view / 거부한 증거."""
    grid = Grid("at", "log", "size", "status", "reason")
    if folder is not None:
        for at, origin, size, status, reason, note in WitnessFile(folder).refusals():
            grid.add_row(at, origin, str(size), str(status), f"{reason}\n{note}")
        out.print(grid)
        return

    async def work(base: Database, _: Settings) -> None:
        async with base.begin() as session:
            for one in await witnessed.refusals(session):
                grid.add_row(
                    one.at.isoformat(), one.origin, str(one.size), str(one.status), f"{one.reason}\n{one.note}"
                )
        out.print(grid)

    run(work)


def application(held: WitnessFile) -> Callable[..., Awaitable[None]]:
    """The protocol as an ASGI application."""

    async def application(scope: MutableMapping[str, Any], receive: Any, send: Send) -> None:
        if scope["type"] != "http":
            return
        method, path = scope["method"], scope["path"].strip("/").split("/")
        if method == "POST" and path == ["add-checkpoint"]:
            said = await _add(held, receive)
        elif method == "GET" and len(path) == 2 and path[1] == "checkpoint":  # noqa: PLR2004 - hash and word
            said = await asyncio.to_thread(held.newest, path[0])
        else:
            said = Answer(404, "POST /add-checkpoint, GET /<sha-256 of the origin>/checkpoint\n")
        headers = [(b"content-type", said.media_type.encode()), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": said.status, "headers": headers})
        await send({"type": "http.response.body", "body": said.text.encode()})

    return application


async def _add(held: WitnessFile, receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> Answer:
    body, more = b"", True
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while more and len(body) <= MOST_BYTES:
                message = await receive()
                body += message.get("body", b"")
                more = message.get("more_body", False)
    except TimeoutError:
        return Answer(400, f"a request arrives within {BODY_SECONDS} s\n")
    return await asyncio.to_thread(held.add_checkpoint, body)
