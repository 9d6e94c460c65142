"""What officials owe: the registers as files."""

from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from app.cli.running import out, run
from app.database import Database
from app.errors import Malformed
from app.registry import agencies
from app.reports import exports
from app.reports.exports import Order
from app.settings import Settings

commands = typer.Typer(no_args_is_help=True, help="Registers / 관리대장")


def _day(text: str, field: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 - a day, not a moment
    except ValueError:
        raise Malformed(f"--{field} is a day such as 2027-03-01", field=field) from None


@commands.command("register")
def write_register(
    file: Annotated[Path, typer.Argument(help="FILE.xlsx, FILE.csv or FILE.html; it must not exist")],
    agency: Annotated[str, typer.Option(help="whose register: name or authority code / 기관")],
    first: Annotated[str, typer.Option("--from", help="the first day, such as 2027-03-01 / 시작일")],
    last: Annotated[str, typer.Option("--to", help="the last day / 종료일")],
    reason: Annotated[str, typer.Option(help="why it is taken out; it stands in the audit log / 다운로드 사유")],
    kind: Annotated[
        str, typer.Option(help="footage 개인영상정보 관리대장, provision 목적 외 이용·제공 대장, access 접속기록")
    ] = "footage",
) -> None:
    """Write a register into a file; restricted entries are withheld from whoever runs the servers."""

    async def work(base: Database, _: Settings) -> None:
        order = Order(
            register=kind, first=_day(first, "from"), last=_day(last, "to"), format=file.suffix[1:].lower(),
            reason=reason,
        )  # fmt: skip
        exports.check(order)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        try:
            with (
                file.open("xb+") as written,
                Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=out) as bar,
            ):
                file.chmod(0o600)
                task = bar.add_task("rows / 건", total=None)
                async with base.begin() as session:
                    whose = await agencies.by_name_or_code(session, agency)
                    done = await exports.write(
                        session,
                        None,
                        replace(order, agency_id=whose.id),
                        written,
                        progress=lambda rows, total: bar.update(task, completed=rows, total=max(rows, total)),
                    )
        except FileExistsError:
            raise
        except BaseException:
            with suppress(OSError):
                file.unlink()
            raise
        out.print(f"{file}: {done.rows:,} rows / {done.rows:,}건, SHA-256 {done.digest}", soft_wrap=True)

    run(work)
