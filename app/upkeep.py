"""What a serving process does for itself, for as long as it serves."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from sqlalchemy import text

from app import clock, database, ledger, postgres
from app.announcements import Announcements
from app.audit import entries
from app.errors import Refusal
from app.feed import board
from app.keys import Keys
from app.reports.reviews import late, opening, reminders
from app.reports.subject_requests import upkeep as requests
from app.settings import Settings

log = logging.getLogger("gwanje")

PARTITION_SECONDS = 6 * 3600
AGAIN_SECONDS = 1.0
LOOK_SECONDS, LOOKS = 0.2, 3
REPORT_SECONDS = 300.0
PATIENCE_SECONDS = 1.8  # without a word from the database, whoever waits for it is told no
SILENCE_SECONDS = 3.0  # without a word from the embedded PostgreSQL, see whether it still lives


def release(uses: list[postgres.Use]) -> None:
    for use in uses:
        use.release()


async def keep_postgres(settings: Settings, uses: list[postgres.Use], news: Announcements) -> None:
    """An embedded server that died is started again, by whichever process notices first."""
    while True:
        await clock.beat(1.0)
        if news.silent_seconds() < SILENCE_SECONDS:
            continue
        try:
            uses.append(await asyncio.to_thread(postgres.start, settings))
        except Refusal as refusal:
            log.warning("PostgreSQL cannot be started: %s", refusal.detail)
        else:
            await asyncio.to_thread(release, [uses.pop(0)])
            await asyncio.sleep(SILENCE_SECONDS)


async def lose_patience(base: database.Database, news: Announcements) -> None:
    """When the database falls silent, nobody waits for it any longer: a no within three seconds is better."""
    looks = 0  # one after the other at which it was silent: a loop that stood still hears its news before the third
    while True:
        await asyncio.sleep(max(PATIENCE_SECONDS - news.silent_seconds(), LOOK_SECONDS))
        looks = looks + 1 if news.silent_seconds() > PATIENCE_SECONDS else 0
        if looks == LOOKS:
            log.warning("the database does not answer: what waits for it is given up")
            base.sever()


async def note_key(base: database.Database, keys: Keys, node: str) -> None:
    """Write down that this process uses the deployment key from now on: signs with it, opens sealed addresses."""
    async with base.begin() as session:
        await entries.append(session, entries.entry(None, "key.used", node=node, key_id=keys.key_id))


async def keep_going(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """What a process does for as long as it serves: begun again after an accident, which is told."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("the task %s ended by an error; it begins again", name)
        await asyncio.sleep(AGAIN_SECONDS)


async def keep_partitions(base: database.Database) -> None:
    """Next months' partitions are made long before they are needed, and states of long ago forgotten."""
    while True:
        try:
            async with base.begin() as session:
                await session.execute(text("SELECT make_partitions(3)"))
                await board.forget(session)
        except database.LOST as error:
            log.warning("partitions could not be made: %s", type(error).__name__)
        await asyncio.sleep(PARTITION_SECONDS)


async def keep_reports(base: database.Database, settings: Settings, poke: Callable[[set[str]], None]) -> None:
    """Reviews open by themselves, overdue ones and requests are told of, who had asked is forgotten in time."""
    while True:
        try:
            for name in await look_after_reports(base, settings):
                poke({name})
        except (*database.LOST, Refusal) as error:
            log.warning("reports wait: %s", type(error).__name__)
        await asyncio.sleep(REPORT_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 - so that processes come apart


async def look_after_reports(base: database.Database, settings: Settings) -> set[str]:
    """One round of it, a transaction each; the ledgers that were appended to. Any process may, all at once."""
    appended: set[str] = set()
    async with base.begin() as session:
        await late.gather(session, days=settings.review_days)
    appended |= ledger.appended_to(session)
    async with base.begin() as session:
        due = await opening.due(session)
    for agency_id, month in due:
        async with base.begin() as session:
            await opening.open_month(
                session, agency_id, month, sample=settings.review_sample, days=settings.review_days
            )  # fmt: skip
        appended |= ledger.appended_to(session)
    async with base.begin() as session:
        await reminders.remind(session)
        await requests.remind(session)
        await requests.forget_old(session, days=settings.subject_keep_days)
    return appended | ledger.appended_to(session)
