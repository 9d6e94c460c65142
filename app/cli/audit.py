"""The audit log: its key, its export, its newest entries."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress
from rich.table import Table as Grid
from sqlalchemy import select

from app.audit import entries, export, retention
from app.audit.checkpoints import Notary
from app.cli.running import out, run, run_as_owner
from app.database import Database
from app.errors import Malformed
from app.keys import Keys
from app.models import AuditEntry
from app.settings import Settings

commands = typer.Typer(no_args_is_help=True, help="The audit log / 감사기록")


@commands.command("key")
def audit_key() -> None:
    """The public key of the audit log: give it to whoever is to check the log / 감사기록 검증용 공개키."""

    async def work(base: Database, settings: Settings) -> None:
        out.print(Notary(base, Keys(settings.secret_key), settings.origin).key.vkey, soft_wrap=True)

    run(work)


@commands.command("export")
def export_audit(file: Path) -> None:
    """Write the whole log, for `gwanje-audit export`: every entry, its contents, the signed checkpoint."""

    async def work(base: Database, settings: Settings) -> None:
        notary = Notary(base, Keys(settings.secret_key), settings.origin)
        with file.open("xb") as written, Progress(console=out) as progress:
            file.chmod(0o600)
            async with base.begin() as session:  # what leaves the house is written down before it leaves
                await entries.append(session, entries.entry(None, "audit.exported", file=file.name))
            task = progress.add_task("entries / 기록", total=await export.size(base, notary))
            async for count, part in export.lines(base, notary):
                written.write(part)
                progress.advance(task, count)
        out.print(f"{file}: check it with `gwanje-audit export {file} --key …` / 검증할 수 있습니다")

    run(work)


@commands.command("erase")
def erase_audit(
    rewrite_now: Annotated[
        bool,
        typer.Option("--rewrite-now", help="the current month's file, too: meanwhile nothing is granted"),
    ] = False,
) -> None:
    """Erase what entries say of persons after GWANJE_AUDIT_CONTENTS_DAYS; write files anew where something was erased.

    보존 기간이 지난 감사기록의 내용 파기. Run it each month (cron): the service itself has no right to.
    """

    async def work(base: Database, settings: Settings) -> None:
        until = datetime.now(UTC).date() - timedelta(days=settings.audit_contents_days)
        async with base.begin() as session:
            partitions = await retention.partitions_with_contents(session, until)
            said = await retention.say_erased(session, until) if partitions else None
        for partition in partitions:
            assert said is not None
            async with base.begin() as session:
                erased = await retention.erase(session, partition, until, said)
            out.print(f"{partition}: the contents of {erased} entries older than {until} are erased / 파기")
        async with base.bare.acquire() as connection:
            done, left = await retention.rewrite(connection, even_now=rewrite_now)
        out.print(
            f"files written anew: {', '.join(done) or 'none'}; once the month is over: {', '.join(left) or 'none'}"
        )

    run_as_owner(work)


@commands.command("drop-period")
def drop_period(
    before: Annotated[str, typer.Option(help="the first month that is kept, such as 2024-01")] = "",
) -> None:
    """Drop the months whose time is over (GWANJE_AUDIT_DAYS): entries, grants and views; what remains stays provable.

    보존 기간이 지난 달의 감사기록 폐기.
    """

    async def work(base: Database, settings: Settings) -> None:
        latest = retention.first_of_month(settings.audit_days, datetime.now(UTC).date())
        until = date.fromisoformat(f"{before}-01") if before else latest
        if until > latest:
            raise Malformed(f"months from {latest:%Y-%m} on are kept; GWANJE_AUDIT_DAYS says how long", field="before")
        async with base.begin() as session:
            dropped = await retention.drop(session, until) if await retention.something_to_drop(session, until) else []
        out.print(f"dropped: {', '.join(dropped) or 'nothing'}")

    run_as_owner(work)


@commands.command("tail")
def tail_audit(count: int = 20) -> None:
    """The newest entries of the audit log (whoever runs the servers sees acts and times, not persons)."""

    async def work(base: Database, _: Settings) -> None:
        grid = Grid("at", "act", "outcome", "subject")
        async with base.begin() as session:
            await entries.append(session, entries.entry(None, "audit.read", what="tail", found=count))
            for row in (await session.scalars(select(AuditEntry).order_by(AuditEntry.at.desc()).limit(count))).all():
                subject = f"{row.subject_kind} {row.subject_id}" if row.subject_id else ""
                grid.add_row(row.at.isoformat(timespec="seconds"), row.act, row.outcome, subject)
        out.print(grid)

    run(work)
