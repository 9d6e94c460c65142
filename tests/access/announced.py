"""What is announced while something happens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg

from app.announcements import CHANNEL
from app.database import plain_url


@asynccontextmanager
async def announced(database_url: str) -> AsyncIterator[list[str]]:
    """Everything announced until the block ends, in the order of the commits."""
    heard: list[str] = []
    mark, marked = f"mark {uuid4()}", asyncio.Event()

    def hear(_connection: object, _pid: int, _channel: str, message: str) -> None:
        heard.append(message)
        if message == mark:
            marked.set()

    connection = await asyncpg.connect(plain_url(database_url))
    try:
        await connection.add_listener(CHANNEL, hear)
        yield heard
        await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, mark)  # after all that was committed before
        await asyncio.wait_for(marked.wait(), 5)
        heard.remove(mark)
    finally:
        await connection.close()
