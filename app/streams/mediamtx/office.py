"""One process of all looks after a gateway: whoever holds an advisory lock, on a connection of its own.

With the connection the lock is gone, so a process that dies or is cut off from the database loses the office, and the
next one takes it within a second. What the holder asks of the database it asks over this connection.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

import asyncpg

from app.database import APP_ROLE, LOST, Database, plain_url

log = logging.getLogger("gwanje.mediamtx")

SEEK_SECONDS = 1.0
_SETTINGS = {
    "role": APP_ROLE, "application_name": "gwanje-mediamtx", "statement_timeout": "2500",
    "tcp_keepalives_idle": "3", "tcp_keepalives_interval": "1", "tcp_keepalives_count": "3",
}  # fmt: skip
_TAKE = "SELECT pg_try_advisory_lock(hashtextextended($1, 3))"


async def seek(
    database: Database, name: str, held: Callable[[asyncpg.Connection], Awaitable[None]], lost: Callable[[], None]
) -> None:
    """Seek an office for as long as the process runs; `held` runs while it is held, `lost` says that another has it."""
    while True:
        try:
            await _serve(database, name, held, lost)
        except* LOST as errors:
            log.warning("the office of a gateway is lost: %s", type(errors.exceptions[0]).__name__)
        await asyncio.sleep(SEEK_SECONDS)


async def _serve(
    database: Database, name: str, held: Callable[[asyncpg.Connection], Awaitable[None]], lost: Callable[[], None]
) -> None:
    connection: asyncpg.Connection = await asyncpg.connect(
        plain_url(database.url), timeout=3, command_timeout=4, server_settings=_SETTINGS
    )
    try:
        while True:
            if await connection.fetchval(_TAKE, name):
                await held(connection)
                return
            lost()
            await asyncio.sleep(SEEK_SECONDS)
    finally:
        with suppress(*LOST):
            await connection.close(timeout=1)
