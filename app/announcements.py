"""News between processes: one LISTEN connection each, on one channel.

A transaction says `announce(session, "revoked", ids)`; PostgreSQL delivers it after the commit, never after a
rollback. News only wakes: whoever hears it reads the truth from the database.

Once a second the connection asks one statement: the questions of all who would otherwise look each by themselves
whether something waits for them. That is the safety net of lost news, what time brings, and the proof that the
database is there: `silent_seconds` tells how long ago it was last heard of, which is what an edge needs to know before
it goes on showing footage.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.database import APP_ROLE, LOST, plain_url

log = logging.getLogger("gwanje.announcements")

CHANNEL = "gwanje"
CHECK_SECONDS = 1.0
LOCK_MILLISECONDS = "500"  # a question does not wait for a lock: silence would end views
PAYLOAD_LIMIT = 7900  # bytes; PostgreSQL's own limit is 8000

Hearer = Callable[[str], None]
Answered = Callable[[Any], None]


async def announce(session: AsyncSession, topic: str, message: str = "") -> None:
    """Tell every process once this transaction has committed. A message too long for a NOTIFY becomes empty: "all"."""
    payload = f"{topic} {message}".strip()
    if len(payload.encode()) > PAYLOAD_LIMIT:
        payload = topic
    await session.execute(text("SELECT pg_notify(:channel, :payload)"), {"channel": CHANNEL, "payload": payload})


class Announcements:
    """Hears the channel and calls the hearers of a topic; after a lost connection it calls all of them with ""."""

    def __init__(self, url: str) -> None:
        self._url = plain_url(url)
        self._hearers: dict[str, list[Hearer]] = {}
        self._questions: list[tuple[str, Answered]] = []
        self._heard_at = clock.monotonic()

    def on(self, topic: str, hearer: Hearer) -> None:
        """Call `hearer(message)` for each announcement of the topic; it must not block."""
        self._hearers.setdefault(topic, []).append(hearer)

    def ask(self, question: str, answered: Answered) -> None:
        """Call `answered(value)` about once a second with what this SELECT of one value says; it must not block.

        The question has to be cheap, and true of the whole database: every process asks it all the time.
        """
        self._questions.append((question, answered))

    def wake(self, question: str, wanted: asyncio.Event) -> None:
        """Set the event whenever the answer to the question is true."""
        self.ask(question, lambda waits: wanted.set() if waits else None)

    def silent_seconds(self) -> float:
        """How long ago the database last answered on this connection."""
        return clock.monotonic() - self._heard_at

    async def run(self) -> None:
        while True:
            try:
                await self._listen()
            except LOST as error:
                log.warning("no news from the database: %s", type(error).__name__)
            await asyncio.sleep(0.3)

    async def _listen(self) -> None:
        connection: asyncpg.Connection = await asyncpg.connect(
            self._url, timeout=3, server_settings={
                "role": APP_ROLE, "application_name": "gwanje-listen", "lock_timeout": LOCK_MILLISECONDS,
            },
        )  # fmt: skip
        try:
            await connection.add_listener(CHANNEL, self._hear)
            self._everyone()  # whatever was said while nobody listened is read from the tables
            while not connection.is_closed():
                await self._ask(connection)
                await clock.beat(CHECK_SECONDS)
        finally:
            with suppress(*LOST):
                await connection.close(timeout=1)

    async def _ask(self, connection: asyncpg.Connection) -> None:
        questions = self._questions.copy()
        asked = ", ".join(f"({question})" for question, _ in questions)
        try:
            answers = await connection.fetchrow(f"SELECT {asked}", timeout=3)
        except asyncpg.LockNotAvailableError:  # somebody changes a table: the database lives, and is asked again
            answers = ()
        self._heard_at = clock.monotonic()
        for (_, answered), value in zip(questions, answers or (), strict=False):
            _safely(answered, value)

    def _hear(self, _connection: object, _pid: int, _channel: str, payload: str) -> None:
        self._heard_at = clock.monotonic()
        topic, _, message = payload.partition(" ")
        self._tell(topic, message)

    def _everyone(self) -> None:
        for topic in list(self._hearers):
            self._tell(topic, "")

    def _tell(self, topic: str, message: str) -> None:
        for hearer in self._hearers.get(topic, ()):
            _safely(hearer, message)


def _safely(hearer: Callable[[Any], None], word: Any) -> None:
    try:
        hearer(word)
    except Exception:
        log.exception("who heard of something failed")
