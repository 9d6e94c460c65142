"""What every process asks the database once a second, whatever happens there."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from app import clock
from app.announcements import Announcements
from app.database import plain_url


@pytest.fixture
async def told(database_url: str) -> AsyncIterator[list[object]]:
    """What was answered to three who asked, of whom the second fails."""
    news, answers = Announcements(database_url), []
    wanted, unwanted = asyncio.Event(), asyncio.Event()

    def fail(_: object) -> None:
        raise RuntimeError("who asked cannot bear the answer")

    news.wake("SELECT EXISTS (SELECT FROM pg_class)", wanted)
    news.ask("SELECT 1", fail)
    news.ask("SELECT count(*) FROM alarms", lambda count: answers.append((count, news.silent_seconds)))
    news.wake("SELECT false", unwanted)
    running = asyncio.create_task(news.run())
    async with asyncio.timeout(10):
        await wanted.wait()
    yield answers
    assert not unwanted.is_set()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_all_are_answered_though_one_fails(told: list[object]) -> None:
    async with asyncio.timeout(10):
        while len(told) < 3:  # noqa: ASYNC110 - another task tells
            await asyncio.sleep(0.05)


async def test_a_locked_table_is_no_silence(database_url: str, told: list[tuple[int, object]]) -> None:
    """A change of a table must not look like a lost database, at which views end."""
    async with asyncio.timeout(10):
        while not told:  # noqa: ASYNC110 - another task tells
            await asyncio.sleep(0.05)
    silent_seconds = told[-1][1]
    connection = await asyncpg.connect(plain_url(database_url))
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE alarms IN ACCESS EXCLUSIVE MODE")
            before, most = len(told), 0.0
            until = clock.monotonic() + 4
            while clock.monotonic() < until:
                most = max(most, silent_seconds())
                await asyncio.sleep(0.05)
            assert len(told) <= before + 1, "the lock did not hold"
            assert most < 2.4, "silent for longer than patience lasts"
    finally:
        await connection.close()
    async with asyncio.timeout(10):
        while len(told) <= before + 1:  # noqa: ASYNC110 - another task tells
            await asyncio.sleep(0.05)


async def test_beats_of_one_period_lie_on_one_grid() -> None:
    """Whoever sleeps until a beat wakes with the others, whenever it went to sleep; nobody wakes at once."""
    loop, period = asyncio.get_running_loop(), 0.2
    first = loop.time() + clock.until_beat(period)
    for number in range(40):
        await asyncio.sleep(number / 1000)
        before = loop.time()
        rest = clock.until_beat(period)
        took = loop.time() - before
        assert period / 10 - 1e-6 <= rest <= period * 1.1 + 1e-6
        beats = (before + rest - first) / period
        assert abs(beats - round(beats)) * period <= took + 1e-3 or took > period / 10
