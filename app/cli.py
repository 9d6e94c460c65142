"""`gwanje …`: a thin door like the routers, for whoever runs the servers and for the city's administrators."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table as Grid
from sqlalchemy.exc import SQLAlchemyError

from app import __version__, database, ids, ledger, logs, postgres
from app.access import passwords, people
from app.access.roles import LABELS
from app.audit import entries, export
from app.audit.checkpoints import Notary
from app.database import Database
from app.errors import NotFound, Refusal, UnusableFile
from app.keys import Keys
from app.ledger import Sequencer
from app.registry import agencies, areas
from app.settings import Settings
from app.streams import mediamtx, placement

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
agency = typer.Typer(no_args_is_help=True, help="Institutions and their units / 기관")
user = typer.Typer(no_args_is_help=True, help="Accounts and appointments / 사용자")
importing = typer.Typer(no_args_is_help=True, help="Bring in a city's files / 자료 가져오기")
audit = typer.Typer(no_args_is_help=True, help="The audit log / 감사기록")
gateway = typer.Typer(no_args_is_help=True, help="Media gateways / 영상 게이트웨이")
for name, group in (
    ("agency", agency), ("user", user), ("import", importing), ("audit", audit), ("gateway", gateway)
):  # fmt: skip
    app.add_typer(group, name=name)

out = Console()
err = Console(stderr=True)


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


@asynccontextmanager
async def at_home(settings: Settings) -> AsyncGenerator[Database]:
    """The migrated database for one command; what was appended is numbered before it ends."""
    ids.speak_for(settings.node)
    with postgres_of(settings) as (owner_url, app_url):
        await asyncio.to_thread(database.migrate, owner_url)
        async with database.connect(app_url, pool_size=2) as base:
            yield base
            await Sequencer(base, ledger.AUDIT, entries.grow_tree).catch_up()
            await Sequencer(base, ledger.EVENTS).catch_up()


@contextmanager
def postgres_of(settings: Settings) -> Generator[tuple[str, str]]:
    """The database's URLs (owner, app): of the external server, or of the embedded one, held for the block."""
    if settings.database_url:
        yield settings.database_url, settings.database_url
    else:
        with postgres.start(settings) as use:
            yield use.server.owner_url, use.server.app_url


def run(work: Callable[[Database, Settings], Coroutine[Any, Any, None]]) -> None:
    """Run a command's work with the database."""
    settings = Settings()

    async def inside() -> None:
        async with at_home(settings) as base:
            await work(base, settings)

    asyncio.run(inside())


# Serving


@app.command()
def serve() -> None:
    """Serve until Ctrl-C or SIGTERM; everything comes from GWANJE_… settings."""
    from app.server import serve as run_server

    settings = Settings()
    logs.configure(settings.log_level)
    with postgres_of(settings) as (owner_url, _):
        database.migrate(owner_url)
        run_server(settings)


@app.command()
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


@app.command()
def demo() -> None:
    """A whole control center with a synthetic city and simulated cameras that really stream."""
    from app.demo import stage

    stage.run(Settings())


@app.command()
def migrate() -> None:
    """Bring the database's schema to this version."""
    settings = Settings()
    with postgres_of(settings) as (owner_url, _):
        database.migrate(owner_url)
    out.print("the schema is up to date / 최신 스키마입니다")


@app.command()
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


@app.command()
def version() -> None:
    """The version of this program."""
    out.print(__version__)


# Agencies and people


@agency.command("add")
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


@agency.command("list")
def list_agencies() -> None:
    """All institutions and units."""

    async def work(base: Database, _: Settings) -> None:
        grid = Grid("name", "kind", "code", "id")
        async with base.begin() as session:
            for row in await agencies.listed(session, limit=10_000):
                grid.add_row(row.name, row.kind, row.authority_code or "", str(row.id))
        out.print(grid)

    run(work)


@user.command("add")
def add_user(
    login: str,
    name: Annotated[str, typer.Option(help="the person's name")],
    agency_name: Annotated[str, typer.Option("--agency", help="name or authority code")],
    role: Annotated[str, typer.Option(help=", ".join(f"{role} {label}" for role, label in LABELS.items()))],
    rank: str = "",
) -> None:
    """Add a person with an appointment. The password is asked for (or read from standard input), never an argument."""
    password = _ask_password()

    async def work(base: Database, _: Settings) -> None:
        secret_hash = await passwords.hashed(password)
        async with base.begin() as session:
            at = await agencies.by_name_or_code(session, agency_name)
            user_id = await people.add(session, None, login=login, name=name, secret_hash=secret_hash, kind="person")
            await people.appoint(session, None, user_id=user_id, agency_id=at.id, role=role, rank=rank)
        out.print(f"added {login} as {role} of {at.name}")

    run(work)


@user.command("password")
def set_password(login: str) -> None:
    """Set a new password; all sessions of the person end at once."""
    password = _ask_password()

    async def work(base: Database, _: Settings) -> None:
        async with base.begin() as session:
            found = await people.by_login(session, login)
            await people.change_password(session, None, found.id, password)
        out.print("the password is changed, all sessions have ended")

    run(work)


@user.command("disable")
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


# Imports


@importing.command("areas")
def import_areas(
    file: Path, kind: Annotated[str, typer.Option(help="sigungu, neighbourhood, park, …; guessed from the codes")] = ""
) -> None:
    """Take in areas with polygons from GeoJSON; cameras are assigned to them anew."""
    try:
        document = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        raise UnusableFile(f"{file.name} is no JSON; expected GeoJSON (a FeatureCollection of polygons)") from None

    async def work(base: Database, _: Settings) -> None:
        async with base.begin() as session:
            loaded = await areas.load_geojson(session, None, document, kind=kind)
            moved = await areas.assign(session) + await areas.assign(session, "assets")
        for finding in loaded.findings[:20]:
            out.print(f"  [yellow]{finding}[/]")
        out.print(f"{len(loaded.ids)} areas; {moved} cameras and assets assigned / 구역 {len(loaded.ids)}개")

    run(work)


@importing.command("cameras")
def import_cameras(
    file: Path,
    owner: Annotated[str, typer.Option("--agency", help="whose cameras all rows are; else by code or name")] = "",
    within: Annotated[str, typer.Option("--within", help="the agency below which institutions are looked for")] = "",
    create: Annotated[bool, typer.Option("--create-agencies", help="make institutions that are not known")] = False,
    preview: Annotated[bool, typer.Option("--preview", help="read and report, change nothing")] = False,
) -> None:
    """Take in a camera file as cities have them: CSV (CP949, UTF-8) or xlsx, in any of the known layouts."""
    from app import importing as door

    run(lambda base, _: door.cameras(base, out, file, owner=owner, within=within, create=create, preview=preview))


# Gateways


@gateway.command("list")
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


@gateway.command("config")
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


@gateway.command("drain")
def drain_gateway(name: str, back: Annotated[bool, typer.Option("--back", help="take viewers again")] = False) -> None:
    """Send a gateway's viewers elsewhere and give it no new ones, before it is stopped."""

    async def work(base: Database, _: Settings) -> None:
        async with base.begin() as session:
            await placement.set_draining(session, name, on=not back)
        out.print(f"{name} takes viewers again" if back else f"{name} is being drained / 신규 접속을 받지 않습니다")

    run(work)


@audit.command("key")
def audit_key() -> None:
    """The public key of the audit log: give it to whoever is to check the log / 감사기록 검증용 공개키."""

    async def work(base: Database, settings: Settings) -> None:
        out.print(Notary(base, Keys(settings.secret_key), settings.origin).key.vkey, soft_wrap=True)

    run(work)


@audit.command("export")
def export_audit(file: Path) -> None:
    """Write the whole log, for `gwanje-audit export`: every entry, its contents, the signed checkpoint."""

    async def work(base: Database, settings: Settings) -> None:
        notary = Notary(base, Keys(settings.secret_key), settings.origin)
        with file.open("xb") as written, Progress(console=out) as progress:
            file.chmod(0o600)
            async with base.bare.acquire() as connection:
                task = progress.add_task("entries / 기록", total=await export.size(connection, notary))
                async for count, part in export.lines(connection, notary):
                    written.write(part)
                    progress.advance(task, count)
        out.print(f"{file}: check it with `gwanje-audit export {file} --key …` / 검증할 수 있습니다")

    run(work)


@audit.command("tail")
def tail_audit(count: int = 20) -> None:
    """The newest entries of the audit log (whoever runs the servers sees acts and times, not persons)."""

    async def work(base: Database, _: Settings) -> None:
        from sqlalchemy import select

        from app.models import AuditEntry

        grid = Grid("at", "act", "outcome", "subject")
        async with base.begin() as session:
            for row in (await session.scalars(select(AuditEntry).order_by(AuditEntry.at.desc()).limit(count))).all():
                subject = f"{row.subject_kind} {row.subject_id}" if row.subject_id else ""
                grid.add_row(row.at.isoformat(timespec="seconds"), row.act, row.outcome, subject)
        out.print(grid)

    run(work)
