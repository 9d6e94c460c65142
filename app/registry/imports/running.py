"""The work on imports: one at a time in a process, under a lease that another takes over when this one is gone.

A step (reading for the preview, applying, undoing) is one transaction. Its last statement asks whether the lease is
still held and the step still wanted; if not, all of it is rolled back. So a step that is begun twice is done once, and
cancelling needs no more than a word in the table.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from sqlalchemy import RowMapping, bindparam, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock, ledger
from app.announcements import Announcements
from app.database import Database, lost
from app.errors import Conflict, Refusal, UnusableFile
from app.events import record
from app.events.report import Report
from app.models import Import
from app.registry.imports import bring as importer
from app.registry.imports import files, jobs, undo
from app.registry.imports.jobs import Order
from app.registry.imports.reading import Opened, open_file

log = logging.getLogger("gwanje.imports")

SOURCE: Final = "gwanje/imports"
LEASE_SECONDS, RENEW_SECONDS, SWEEP_SECONDS = 15, 1.0, 3600.0
MOST_ATTEMPTS: Final = 3
READY_DAYS: Final = 7

_STEPS = "state IN ('reading', 'applying', 'undoing') AND (leased_until IS NULL OR leased_until < now())"
_ANY = f"SELECT EXISTS (SELECT FROM imports WHERE {_STEPS})"  # noqa: S608 - our own SQL
_TAKE = text(
    f"""
    UPDATE imports SET leased_by = :me, leased_until = now() + make_interval(secs => :seconds), attempts = attempts + 1
    WHERE id = (
        SELECT id FROM imports WHERE {_STEPS} AND (node = :node OR state = 'undoing')
        ORDER BY began_at LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    RETURNING id, agency_id, kind, file_name, options, state, attempts
    """  # noqa: S608 - our own SQL
)
_RENEW = text(
    "UPDATE imports SET leased_until = now() + make_interval(secs => :seconds), progress = :progress"
    " WHERE id = :id AND leased_by = :me AND state = :state RETURNING id"
).bindparams(bindparam("progress", type_=JSONB()))
_END = (
    "UPDATE imports SET state = :state, leased_by = '', leased_until = NULL, progress = :progress, problem = :problem"
    "{more} WHERE id = :id AND leased_by = :me AND state = :was RETURNING id"
)
_STILL = text("UPDATE imports SET leased_by = '', leased_until = NULL WHERE id = :id AND leased_by = :me RETURNING id")
_RELEASE = text("UPDATE imports SET leased_until = NULL, leased_by = '' WHERE id = :id AND leased_by = :me")


class _NotOurs(Exception):  # noqa: N818 - no error: the step was cancelled, or another process has it now
    pass


class Importing:
    """What a process does about imports for as long as it serves."""

    def __init__(
        self, database: Database, home: Path, node: str, me: str, news: Announcements,
        poke: Callable[[set[str]], None] = lambda _: None,
    ) -> None:  # fmt: skip
        """`node` is where the files lie, `me` this process; `poke` tells that ledgers were appended to."""
        self._database, self._home, self._node, self._me, self._poke = database, home, node, me, poke
        self._wanted = asyncio.Event()
        news.on(jobs.TOPIC, lambda _: self._wanted.set())
        news.wake(_ANY, self._wanted)

    async def run(self) -> None:
        """Take one import after the other, for ever."""
        swept_at = float("-inf")
        while True:
            self._wanted.clear()
            if clock.monotonic() - swept_at > SWEEP_SECONDS:
                await self._sweep()
                swept_at = clock.monotonic()
            if not await self.once():
                with suppress(TimeoutError):
                    async with asyncio.timeout(SWEEP_SECONDS):
                        await self._wanted.wait()

    async def once(self) -> bool:
        """Work on one import, if any waits; whether there was one."""
        async with self._database.begin() as session:
            taken = (
                await session.execute(_TAKE, {"me": self._me, "node": self._node, "seconds": LEASE_SECONDS})
            ).mappings().first()  # fmt: skip
        if taken is None:
            return False
        step = asyncio.create_task(self._step(taken))
        progress: dict[str, Any] = {}
        self._progress = lambda what, done, total: progress.update(step=what, done=done, total=total)
        try:
            while not step.done():
                await asyncio.wait([step], timeout=RENEW_SECONDS)
                if not step.done() and not await self._renew(taken, progress):
                    step.cancel()
            await step
        except (_NotOurs, asyncio.CancelledError):
            if (task := asyncio.current_task()) is not None and task.cancelling():
                await self._release(taken)
                raise
        finally:
            step.cancel()
        await self._tidy(taken["id"])
        return True

    async def _renew(self, taken: RowMapping, progress: dict[str, Any]) -> bool:
        values = {"id": taken["id"], "me": self._me, "state": taken["state"], "seconds": LEASE_SECONDS}
        try:
            async with self._database.begin() as session:
                return (await session.execute(_RENEW, {**values, "progress": progress})).first() is not None
        except Exception as error:
            if lost(error):
                return True  # the step itself will notice
            raise

    async def _release(self, taken: RowMapping) -> None:
        """This process ends: the next one need not wait for the lease."""
        with suppress(Exception):
            async with self._database.begin() as session:
                await session.execute(_RELEASE, {"id": taken["id"], "me": self._me})

    async def _step(self, taken: RowMapping) -> None:
        if taken["attempts"] > MOST_ATTEMPTS:
            await self._fail(taken, UnusableFile("it was begun three times and never came to an end; see the log"))
            return
        try:
            await {"reading": self._read, "applying": self._apply, "undoing": self._undo}[taken["state"]](taken)
        except _NotOurs:
            raise
        except Refusal as refusal:
            await self._fail(taken, refusal)
        except Exception as error:
            if lost(error):
                log.warning("an import is begun again: %s", type(error).__name__)
                return
            log.exception("an import failed")
            await self._fail(taken, UnusableFile("something went wrong on our side; it was logged"))

    async def _open(self, taken: RowMapping) -> tuple[Opened, Order]:
        order = Order(**taken["options"])
        path = files.path_of(self._home, taken["id"])
        if not path.exists():
            raise UnusableFile("its file is gone; send it again")
        opened = await asyncio.to_thread(open_file, path, kind=order.kind, mapping=order.mapping)
        opened.name = taken["file_name"]
        return opened, order

    async def _read(self, taken: RowMapping) -> None:
        opened, order = await self._open(taken)
        async with self._database.begin() as session:
            brought = await importer.bring(
                session, None, opened, order.owners(taken["agency_id"]), taken["id"], writes=False,
                progress=self._progress,
            )  # fmt: skip
            await self._end(
                session, taken, "ready", summary=brought.summary.as_dict(), preview=brought.as_dict(), read_at=True
            )

    async def _apply(self, taken: RowMapping) -> None:
        opened, order = await self._open(taken)
        async with self._database.begin() as session:
            actor = await jobs.actor_of(session, taken)
            brought = await importer.bring(
                session, actor, opened, order.owners(taken["agency_id"]), taken["id"], writes=True,
                keeps_findings=False, retire_vanished=order.retire_vanished, progress=self._progress,
            )  # fmt: skip
            told = {"rows": brought.summary.rows, "findings": sum(brought.summary.counts.values())}
            await self._tell(session, taken, "import.finished", told, actor.login)
            await self._end(session, taken, "applied", result=brought.as_dict(), applied_at=True)
        self._poke(ledger.appended_to(session))

    async def _undo(self, taken: RowMapping) -> None:
        try:
            async with self._database.begin() as session:
                actor = await jobs.actor_of(session, taken)
                await undo.undo(session, actor, taken["id"])
                if not (await session.execute(_STILL, {"id": taken["id"], "me": self._me})).first():
                    raise _NotOurs
        except Conflict as refusal:
            async with self._database.begin() as session:
                await self._end(session, taken, "applied", problem=refusal.problem())
        self._poke({ledger.AUDIT.name})

    async def _fail(self, taken: RowMapping, refusal: Refusal) -> None:
        async with self._database.begin() as session:
            state = "applied" if taken["state"] == "undoing" else "failed"
            await self._end(session, taken, state, problem=refusal.problem())
            with suppress(Refusal):
                actor = await jobs.actor_of(session, taken)
                await self._tell(session, taken, "import.failed", {"cause": refusal.detail[:200]}, actor.login, actor)
        self._poke(ledger.appended_to(session))

    async def _tell(
        self, session: AsyncSession, taken: RowMapping, kind: str, data: dict[str, Any], by: str, actor: Any = None
    ) -> None:
        """The event of the institution that an import came to an end."""
        actor = actor or await jobs.actor_of(session, taken)
        report = Report(
            kind=kind, source=SOURCE, source_key=f"{taken['id']}/{taken['state']}/{taken['attempts']}",
            data={"import_id": str(taken["id"]), "file_name": taken["file_name"], "by": by, **data},
        )  # fmt: skip
        await record.record(session, actor, report)

    async def _end(self, session: AsyncSession, taken: RowMapping, state: str, **values: Any) -> None:
        """The step's last statement; _NotOurs if it was cancelled or taken over meanwhile."""
        moments = [name for name, value in values.items() if value is True]
        given = {name: value for name, value in values.items() if value is not True and name != "problem"}
        more = "".join(f", {name} = now()" for name in moments) + "".join(f", {name} = :{name}" for name in given)
        statement = text(_END.format(more=more)).bindparams(
            *(bindparam(name, type_=JSONB()) for name in ("progress", "problem", *given))
        )
        found = await session.execute(
            statement,
            {
                "id": taken["id"], "me": self._me, "was": taken["state"], "state": state, "progress": {},
                "problem": values.get("problem", {}), **given,
            },
        )  # fmt: skip
        if found.first() is None:
            raise _NotOurs

    async def _tidy(self, import_id: UUID) -> None:
        """The file goes when it is needed no more."""
        async with self._database.begin() as session:
            state = await session.scalar(select(Import.state).where(Import.id == import_id))
        if state not in ("reading", "ready", "applying"):
            await asyncio.to_thread(files.discard, self._home, import_id)

    async def _sweep(self) -> None:
        """Previews that nobody applied for a week are cancelled; files that belong to no open import go."""
        here = files.waiting(self._home)
        async with self._database.begin() as session:
            await session.execute(
                text("UPDATE imports SET state = 'cancelled' WHERE state = 'ready' AND node = :node"
                     " AND read_at < now() - make_interval(days => :days)"), {"node": self._node, "days": READY_DAYS},
            )  # fmt: skip
            known = (await session.execute(select(Import.id, Import.state).where(Import.id.in_(here)))).all()
        over = {row.id for row in known if row.state not in ("reading", "ready", "applying")}
        await asyncio.to_thread(files.sweep, self._home, here - over)
