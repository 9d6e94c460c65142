"""`gwanje …`: a thin door like the routers, for whoever runs the servers and for the city's administrators."""

import sys

import asyncpg
import typer
from sqlalchemy.exc import SQLAlchemyError

from app import logs
from app.cli import agencies, audit, devices, exporting, gateways, importing, reports, serving, users, witness
from app.cli.running import err
from app.errors import Refusal

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(serving.commands)
for name, group in (
    ("agency", agencies.commands), ("user", users.commands), ("import", importing.commands),
    ("export", exporting.commands), ("audit", audit.commands), ("gateway", gateways.commands),
    ("camera", devices.commands), ("report", reports.commands), ("witness", witness.commands),
):  # fmt: skip
    app.add_typer(group, name=name)


def main() -> None:
    """The program's entry: a refusal is told in a sentence, not in a traceback."""
    try:
        app()
    except Refusal as refusal:
        err.print(f"[red]{refusal.code}[/]: {refusal.detail}", highlight=False)
        sys.exit(1)
    except SQLAlchemyError as error:
        err.print(f"[red]database[/]: {logs.without_secrets(str(error.args[0]))}", highlight=False)
        err.print("README, “For whoever runs the servers”, tells which roles and rights are needed", highlight=False)
        sys.exit(1)
    except asyncpg.PostgresError as error:
        err.print(f"[red]database[/]: {logs.without_secrets(str(error))}", highlight=False)
        sys.exit(1)
    except (OSError, ValueError) as error:
        err.print(f"[red]error[/]: {logs.without_secrets(str(error))}", highlight=False)
        sys.exit(1)
