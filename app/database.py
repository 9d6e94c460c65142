"""Connections and the edges of transactions; the only file that knows either.

Everything runs as the role `gwanje_app`, which owns nothing: `role` is set on every connection, whoever logs in.
"""

import asyncio
import os
from collections import namedtuple
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast
from weakref import WeakSet

import asyncpg
import orjson
from alembic import command
from alembic.config import Config
from sqlalchemy import event, make_url, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

APP_ROLE = "gwanje_app"

# Whatever PostgreSQL or the way to it can raise, below SQLAlchemy and above.
FAILED = (OSError, asyncio.TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, DBAPIError, PoolTimeoutError)
# What a connection that is lost, refused or too slow raises, below SQLAlchemy and above.
LOST = (
    OSError,
    asyncio.TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a statement met a connection that was just being cut
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.QueryCanceledError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InsufficientResourcesError,  # no disk, no memory, no connection left
    asyncpg.ObjectNotInPrerequisiteStateError,  # the database takes no connections now
    OperationalError,
    InterfaceError,
    PoolTimeoutError,
)


def driver_url(url: str) -> str:
    """The same address with the asyncpg driver named; a bare `postgresql://` means psycopg to SQLAlchemy 2.1."""
    return make_url(url).set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)


def plain_url(url: str) -> str:
    """The same address as asyncpg itself takes it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


class Bare(asyncpg.Connection):  # type: ignore[misc]
    """A connection whose users leave nothing behind in its session: no lock, no listener, no setting.

    So it need not be asked to forget when it is given back, which would be a round trip after each use; a transaction
    that was left open is rolled back all the same.
    """

    def get_reset_query(self) -> str:
        return ""


@dataclass(frozen=True)
class Database:
    """An engine for requests and a small pool of bare connections for the ledgers and the batch writer."""

    engine: AsyncEngine
    sessions: async_sessionmaker[AsyncSession]
    bare: asyncpg.Pool
    url: str
    opened: "WeakSet[asyncpg.Connection]"

    def sever(self) -> None:
        """Give up every connection: who waits for an answer that does not come is told so now."""
        for connection in list(self.opened):
            connection.terminate()

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[AsyncSession]:
        """A session whose transaction commits on leaving, and rolls back on an exception."""
        async with self.sessions.begin() as session:
            yield session


On: TypeAlias = AsyncSession | asyncpg.Connection


async def fetch(on: On, statement: str, *values: Any) -> Sequence[Any]:
    """The rows of a statement with `$1`, `$2` …: in a session's transaction, or at once on a bare connection."""
    if not isinstance(on, AsyncSession):
        return await on.fetch(statement, *values)  # type: ignore[no-any-return]
    result = await (await on.connection()).exec_driver_sql(statement, values)
    return result.all() if result.returns_rows else []


async def parts(
    session: AsyncSession, statement: str, binds: Mapping[str, Any], at_once: int
) -> AsyncGenerator[list[Any]]:
    """The rows of a long statement with `:names`, so many at a time, by a cursor in the session's transaction.

    Rows are tuples with the columns' names. They come as the driver has them: SQLAlchemy's own rows cost a long
    register more than all of its words.
    """
    compiled = text(statement).compile(dialect=postgresql.asyncpg.dialect())  # type: ignore[no-untyped-call]
    values = [binds[name] for name in compiled.positiontup or ()]
    held = (await (await session.connection()).get_raw_connection()).driver_connection
    cursor = await cast("asyncpg.Connection", held).cursor(str(compiled), *values)
    following = asyncio.ensure_future(cursor.fetch(at_once))
    try:
        row: Any = None
        while found := await following:
            row = row or namedtuple("row", found[0].keys())  # noqa: PYI024 - their names come with them
            following = asyncio.ensure_future(cursor.fetch(at_once))  # while these are written
            yield [row._make(one) for one in found]
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


@asynccontextmanager
async def connect(url: str, *, pool_size: int = 10, as_owner: bool = False) -> AsyncGenerator[Database]:
    """Open the database at `url` for as long as the block lasts.

    `as_owner` keeps the rights of who logs in, without limits of time: for a command that only the owner may run.
    """
    guards = {
        "role": "none" if as_owner else APP_ROLE,
        "statement_timeout": "0" if as_owner else "20000",
        "idle_in_transaction_session_timeout": "0" if as_owner else "15000",
        "timezone": "UTC",
        "jit": "off",
        "application_name": f"gwanje-{os.getpid()}",
    }
    engine = create_async_engine(
        driver_url(url),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=2,  # with what the request does then, within three seconds
        pool_pre_ping=False,
        connect_args={"server_settings": guards, "timeout": 3},
        json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=orjson.loads,
    )
    opened: WeakSet[asyncpg.Connection] = WeakSet()
    event.listen(engine.sync_engine, "handle_error", _name_a_loss)
    event.listen(engine.sync_engine, "connect", lambda made, _: opened.add(made.driver_connection))

    async def remember(connection: asyncpg.Connection) -> None:
        opened.add(connection)

    # Footage must be answered or refused within 3 s: whatever the bare pool does is bounded by that.
    bare = await asyncpg.create_pool(
        plain_url(url),
        min_size=1,
        max_size=6,
        timeout=3,
        command_timeout=10,
        connection_class=Bare,
        init=remember,
        server_settings=guards if as_owner else {**guards, "statement_timeout": "2500"},
    )
    try:
        yield Database(engine, async_sessionmaker(engine, expire_on_commit=False), bare, url, opened)
    finally:
        await engine.dispose()
        try:
            await asyncio.wait_for(bare.close(), 5)
        except TimeoutError:
            bare.terminate()


class Arguments:
    """The arguments of a statement that goes to the driver itself, in the order of their `$n`.

    The same wishes give the same text each time, so that the driver prepares it once for each connection.
    """

    def __init__(self) -> None:
        self.values: list[Any] = []

    def put(self, value: Any, kind: str) -> str:
        """What stands for the value in the statement; `kind` is an SQL type of ours."""
        self.values.append(value)
        return f"${len(self.values)}::{kind}"


async def read(session: AsyncSession, statement: str, arguments: Arguments) -> list[asyncpg.Record]:
    """The rows of a reading statement, by the driver itself on the session's connection: half a short query's time.

    For what is asked many times a second, where a bench shows that it pays. The statement's text holds nothing from
    outside: values are `arguments`.
    """
    held = (await session.connection()).sync_connection
    if held is None:
        raise RuntimeError("a session without a connection")
    driver: asyncpg.Connection = held.connection.driver_connection
    rows: list[asyncpg.Record] = await driver.fetch(statement, *arguments.values)
    return rows


def _name_a_loss(context: ExceptionContext) -> None:
    """SQLAlchemy has no name for some losses (a server that starts up): whoever waits for it must know them too."""
    error, cause = context.sqlalchemy_exception, context.original_exception.__cause__
    if isinstance(error, DBAPIError) and not isinstance(error, LOST) and isinstance(cause, LOST):
        raise OperationalError(error.statement, error.params, error.orig or context.original_exception) from cause


def lost(error: BaseException) -> bool:
    """Whether an exception means that the database cannot be reached, rather than a mistake of ours."""
    if isinstance(error, DBAPIError):
        cause = error.orig.__cause__ if error.orig is not None else None
        return error.connection_invalidated or isinstance(error, LOST) or isinstance(cause, LOST)
    return isinstance(error, LOST)


def migrations_folder() -> Path:
    """Where the migrations lie: beside the package in the repository, inside it in a wheel."""
    inside = Path(__file__).parent / "migrations"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "migrations"


def migration_config(owner_url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    config.attributes["owner_url"] = owner_url
    return config


def migrate(owner_url: str) -> None:
    """Bring the schema to its newest version, as the owner; blocks, runs its own event loop."""
    command.upgrade(migration_config(owner_url), "head")
