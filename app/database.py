"""Connections and the edges of transactions; the only file that knows either.

Everything runs as the role `gwanje_app`, which owns nothing: `role` is set on every connection, whoever logs in.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakSet

import asyncpg
import orjson
from alembic import command
from alembic.config import Config
from sqlalchemy import event, make_url
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

APP_ROLE = "gwanje_app"

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
    asyncpg.InsufficientResourcesError,
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


@asynccontextmanager
async def connect(url: str, *, pool_size: int = 10) -> AsyncGenerator[Database]:
    """Open the database at `url` for as long as the block lasts."""
    guards = {
        "role": APP_ROLE,
        "statement_timeout": "20000",
        "idle_in_transaction_session_timeout": "15000",
        "timezone": "UTC",
        "jit": "off",
    }
    engine = create_async_engine(
        driver_url(url),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=3,
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
        max_size=4,
        timeout=3,
        command_timeout=10,
        init=remember,
        server_settings={**guards, "statement_timeout": "2500"},
    )
    try:
        yield Database(engine, async_sessionmaker(engine, expire_on_commit=False), bare, url, opened)
    finally:
        await engine.dispose()
        try:
            await asyncio.wait_for(bare.close(), 5)
        except TimeoutError:
            bare.terminate()


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
