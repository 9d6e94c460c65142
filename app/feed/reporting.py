"""Reports of many requests become one transaction: what comes in while one commits goes with the next.

Each request is written whole, or refused with its own refusal. One that cannot be written fails alone.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import asyncpg

from app.actor import Actor
from app.database import Database, lost
from app.errors import Overloaded, Refusal
from app.events import record
from app.events.intake import Intake
from app.events.record import Recorded
from app.events.report import Report
from app.feed import reporters
from app.ledger import Rows
from app.registry.locating import Places

log = logging.getLogger("gwanje.reporting")

TURN_SECONDS = 5.0  # how long a request waits until it is written
MOST_EVENTS = 1000  # in one transaction, unless one request alone has more
TURNS = {False: 2, True: 1}  # transactions at the same time; those of emergencies have their own


@dataclass(slots=True, eq=False)
class _Waiter:
    token: str
    address: str
    reports: Sequence[Report]
    urgent: bool
    answer: "asyncio.Future[list[Recorded]]"
    is_taken: bool = False


class Reporting:
    """What one process is told of, by whoever asks. `wrote` is told after each commit what was numbered with it."""

    def __init__(self, database: Database, wrote: Callable[[Rows], None]) -> None:
        self.intake = Intake()
        self._database, self._wrote = database, wrote
        self._places = Places()
        self._waiting: dict[bool, deque[_Waiter]] = {False: deque(), True: deque()}
        self._writing: dict[bool, set[asyncio.Task[None]]] = {False: set(), True: set()}

    @property
    def is_writing(self) -> bool:
        return any(self._writing.values())

    async def report(
        self, token: str, address: str, reports: Sequence[Report], *, urgent: bool = False
    ) -> list[Recorded]:
        """What was committed, as `record.record_many`, by the holder of a token.

        Raises what refuses the token, NotPermitted, what `record_many` raises, and Overloaded when the turn does not
        come in time: then nothing was written.
        """
        waiter = _Waiter(token, address, reports, urgent, asyncio.get_running_loop().create_future())
        self._waiting[urgent].append(waiter)
        self._begin(urgent=urgent)
        try:
            async with asyncio.timeout(TURN_SECONDS):
                return await asyncio.shield(waiter.answer)
        except TimeoutError:
            if not waiter.is_taken:
                waiter.is_taken = True
                raise Overloaded(
                    "events wait too long to be written; send these again later", retry_after_seconds=3
                ) from None
        return await waiter.answer  # what is being written is bounded by the database's own time-outs

    def _begin(self, *, urgent: bool) -> None:
        writing = self._writing[urgent]
        if len(writing) < TURNS[urgent]:
            writing.add(asyncio.create_task(self._write_all(urgent=urgent), name="reporting"))

    async def _write_all(self, *, urgent: bool) -> None:
        """Until nobody waits; then it ends at once: who comes next must not take it for one that still writes."""
        try:
            while batch := self._take(self._waiting[urgent]):
                await self._write(batch)
        finally:
            self._writing[urgent].discard(asyncio.current_task())

    @staticmethod
    def _take(waiting: deque[_Waiter]) -> list[_Waiter]:
        batch: list[_Waiter] = []
        size = 0
        while waiting and (not batch or size + len(waiting[0].reports) <= MOST_EVENTS):
            waiter = waiting.popleft()
            if not waiter.is_taken:  # else it has given up
                waiter.is_taken = True
                batch.append(waiter)
                size += len(waiter.reports)
        return batch

    async def _write(self, batch: list[_Waiter]) -> None:
        try:
            async with self._database.bare.acquire(timeout=1) as connection:
                await self.intake.look(connection)
                outcomes, numbered = await self._record(connection, batch)
                self._wrote(numbered)
        except Exception as error:  # noqa: BLE001 - whatever it was, nobody is left waiting
            if len(batch) > 1 and not lost(error):
                for waiter in batch:
                    await self._write([waiter])
                return
            outcomes = [error] * len(batch)
        for waiter, outcome in zip(batch, outcomes, strict=True):
            with suppress(asyncio.InvalidStateError):
                if isinstance(outcome, Exception):
                    waiter.answer.set_exception(outcome)
                    waiter.answer.exception()  # who asked may have gone
                else:
                    waiter.answer.set_result(outcome)

    async def _record(
        self, connection: asyncpg.Connection, batch: Sequence[_Waiter]
    ) -> tuple[list[list[Recorded] | Exception], Rows]:
        reports = (report for waiter in batch for report in waiter.reports)
        actors, found = await reporters.of_tokens(connection, {waiter.token for waiter in batch}, reports)
        outcomes: list[list[Recorded] | Exception] = []
        requests: list[tuple[Actor, Sequence[Report]]] = []
        for waiter in batch:
            try:
                actor = self._admitted(waiter, actors[waiter.token])
            except Refusal as refusal:
                outcomes.append(refusal)
            else:
                outcomes.append([])
                requests.append((actor, waiter.reports))
        located = await self._located(connection, [reports for _, reports in requests])
        asked = [(actor, reports) for (actor, _), reports in zip(requests, located, strict=True)]
        written, numbered = await record.record_all(connection, asked, found) if asked else ([], [])
        recorded = iter(written)
        return [next(recorded) if outcome == [] else outcome for outcome in outcomes], numbered

    def _admitted(self, waiter: _Waiter, actor: Actor | Refusal) -> Actor:
        if isinstance(actor, Refusal):
            raise actor
        actor.must("ingest")
        self.intake.check_backlog(urgent=waiter.urgent)
        return replace(actor, address=waiter.address)

    async def _located(self, connection: asyncpg.Connection, asked: list[Sequence[Report]]) -> list[Sequence[Report]]:
        """The reports, those with a place and without a subject in the areas that hold the place."""
        points = [
            (report.longitude, report.latitude)
            for reports in asked
            for report in reports
            if report.subject_id is None and report.longitude is not None and report.latitude is not None
        ]
        if not points:
            return asked
        found = iter(await self._places.locate(connection, points))
        return [
            [
                replace(report, area_ids=next(found))
                if report.subject_id is None and report.longitude is not None and report.latitude is not None
                else report
                for report in reports
            ]
            for reports in asked
        ]
