"""Accounts and appointments."""

import sys
from typing import Annotated

import typer

from app.access import passwords, people
from app.access.roles import LABELS
from app.cli.running import out, run
from app.database import Database
from app.registry import agencies
from app.settings import Settings

commands = typer.Typer(no_args_is_help=True, help="Accounts and appointments / 사용자")


@commands.command("add")
def add_user(
    login: str,
    name: Annotated[str, typer.Option(help="the person's name")],
    agency_name: Annotated[str, typer.Option("--agency", help="name or authority code")],
    role: Annotated[str, typer.Option(help=", ".join(f"{role} {label}" for role, label in LABELS.items()))],
    rank: str = "",
    system: Annotated[
        bool, typer.Option("--system", help="a machine's account, which asks on behalf of officers")
    ] = False,
) -> None:
    """Add a person (or a system) with an appointment.

    The password is asked for (or read from standard input), never an argument.
    """
    password = _ask_password()

    async def work(base: Database, _: Settings) -> None:
        secret_hash = await passwords.hashed(password)
        async with base.begin() as session:
            at = await agencies.by_name_or_code(session, agency_name)
            user_id = await people.add(
                session, None, login=login, name=name, secret_hash=secret_hash, kind="system" if system else "person"
            )
            await people.appoint(session, None, user_id=user_id, agency_id=at.id, role=role, rank=rank)
        out.print(f"added {login} as {role} of {at.name}")

    run(work)


@commands.command("password")
def set_password(login: str) -> None:
    """Set a new password; all sessions of the person end at once."""
    password = _ask_password()

    async def work(base: Database, _: Settings) -> None:
        async with base.begin() as session:
            found = await people.by_login(session, login)
            await people.change_password(session, None, found.id, password)
        out.print("the password is changed, all sessions have ended")

    run(work)


@commands.command("disable")
def disable_user(login: str, reason: Annotated[str, typer.Option(help="why, for the audit log")]) -> None:
    """Disable an account: sessions end and running views are cut at once."""

    async def work(base: Database, _: Settings) -> None:
        async with base.begin() as session:
            found = await people.by_login(session, login)
            await people.disable(session, None, found.id, reason)
        out.print(f"{login} is disabled")

    run(work)


def _ask_password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    given: str = typer.prompt("password", hide_input=True, confirmation_prompt=True)
    return given
