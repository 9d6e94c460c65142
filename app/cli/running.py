"""What every command needs: the settings, the migrated database for as long as it works, and where it speaks."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from rich.console import Console

from app import database, ids, ledger, postgres
from app.audit import entries
from app.database import Database
from app.ledger import Sequencer
from app.settings import Settings

out = Console()
err = Console(stderr=True)


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


def run_as_owner(work: Callable[[Database, Settings], Coroutine[Any, Any, None]]) -> None:
    """Run a command's work with the rights of the tables' owner: what age takes away, no service can."""
    settings = Settings()

    async def inside() -> None:
        async with at_home(settings):
            with postgres_of(settings) as (owner_url, _):
                async with database.connect(owner_url, pool_size=2, as_owner=True) as base:
                    await work(base, settings)

    asyncio.run(inside())


def run(work: Callable[[Database, Settings], Coroutine[Any, Any, None]]) -> None:
    """Run a command's work with the database."""
    settings = Settings()

    async def inside() -> None:
        async with at_home(settings) as base:
            await work(base, settings)

    asyncio.run(inside())
