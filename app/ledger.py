"""Ordered logs: append now, sequence after.

A transaction appends rows without a position. A *sequencer* (whichever process holds the lock of the ledger's head)
gives batches of committed rows gapless numbers in one transaction and announces the batch with one NOTIFY. Order is a
property of the log: an id tells nothing about it, because transactions commit in another order than they begin.

The events can be numbered by the very transaction that writes them, if nobody else numbers just then (`AT_ONCE`).
Otherwise a process that has just committed pokes its own sequencer; what a dead process left is asked for once a second
(`Ledger.waits`).
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.database import LOST, Database
from app.models import AuditEntry, AuditLeaf, AuditPending, Event, EventPending, EventPosition, LedgerHead

log = logging.getLogger("gwanje.ledger")

BATCH = 2000
AT_ONCE = 100  # as many events, its own and others', a transaction that writes some also numbers; more it leaves
AGAIN_SECONDS = 1.0
_APPENDED = "ledgers_appended_to"


@dataclass(frozen=True)
class Grown:
    """What a batch made of a ledger's tree: the rows' leaves, the new frontier, a statement of the same transaction."""

    leaves: list[bytes]
    frontier: list[bytes]
    beside: tuple[str, list[Any]] | None = None


Rows = Sequence[Mapping[str, Any]]

# What a ledger does with a batch in the transaction that numbers it: from the size so far, the tree's frontier and
# the rows in their order.
OnBatch = Callable[[int, list[bytes], Sequence[asyncpg.Record]], Grown]


@dataclass(frozen=True)
class Ledger:
    """The tables of one ordered log."""

    name: str
    rows: Any
    pending: Any
    positions: Any
    numbered_by: str = "r.*"
    """The columns of a row that `OnBatch` is given."""

    @property
    def end(self) -> str:
        """The question for the last position."""
        return f"SELECT position FROM ledger_heads WHERE ledger = '{self.name}'"  # noqa: S608 - our own name

    @property
    def waits(self) -> str:
        """The question whether rows wait for a position."""
        return f"SELECT EXISTS (SELECT FROM {self.pending.__tablename__})"  # noqa: S608 - our own table


EVENTS = Ledger("events", Event, EventPending, EventPosition)
AUDIT = Ledger(
    "audit", AuditEntry, AuditPending, AuditLeaf,
    ", ".join(f"r.{column.name}" for column in AuditEntry.__table__.columns if column.name not in ("payload", "salt")),
)  # fmt: skip


@dataclass(frozen=True)
class Head:
    """Where a ledger ends. `epoch` changes when the log was remade: an old position cannot pass for a new one."""

    epoch: int
    position: int


async def append(session: AsyncSession, ledger: Ledger, row_id: UUID, *, urgency: int = 0) -> None:
    """Ask for a position for a row that this transaction inserted; within a batch the urgent are numbered first."""
    await session.execute(insert(ledger.pending).values(id=row_id, urgency=urgency))
    mark(session, ledger)


def mark(session: AsyncSession, ledger: Ledger) -> None:
    """Remember that this session appended to a ledger, by whatever statement."""
    session.info.setdefault(_APPENDED, set()).add(ledger.name)


def appended_to(session: AsyncSession) -> set[str]:
    """The names of the ledgers that the session appended to: whom to poke once it has committed."""
    return session.info.pop(_APPENDED, set())  # type: ignore[no-any-return]


async def head(session: AsyncSession, ledger: Ledger) -> Head:
    """Where the ledger ends now."""
    row = (await session.execute(select(LedgerHead).where(LedgerHead.ledger == ledger.name))).scalar_one()
    return Head(row.epoch, row.position)


async def lag_seconds(session: AsyncSession, ledger: Ledger) -> float:
    """The age of the oldest row that has no position yet; 0 when there is none."""
    oldest = await session.scalar(select(func.extract("epoch", func.now() - func.min(ledger.pending.at))))
    return max(0.0, float(oldest or 0.0))


async def sequence(connection: asyncpg.Connection, ledger: Ledger, on_batch: OnBatch | None, limit: int = BATCH) -> int:
    """Number one batch of committed rows in one transaction; returns how many.

    The head's lock is taken in a statement of its own, so that the next statement's snapshot sees every row that was
    committed before; READ COMMITTED is what makes this right. A ledger without a tree does all of it in one call of a
    function of the database's, where statements follow each other alike.
    """
    if on_batch is None:
        return int(await connection.fetchval("SELECT ledger_sequence($1, $2)", ledger.name, limit))
    async with connection.transaction(isolation="read_committed"):
        locked = await connection.fetchrow("SELECT head, frontier FROM ledger_lock($1)", ledger.name)
        pending = await connection.fetch(
            f"SELECT {ledger.numbered_by} FROM {ledger.pending.__tablename__} p "  # noqa: S608 - our own names
            f"JOIN {ledger.rows.__tablename__} r ON r.id = p.id AND r.at = p.at "
            "ORDER BY p.urgency DESC, p.arrival LIMIT $1",
            limit,
        )
        if not pending:
            return 0
        grown = on_batch(locked["head"], locked["frontier"], pending)
        ids = [row["id"] for row in pending]
        await connection.execute("SELECT ledger_number($1, $2, $3, $4)", ledger.name, ids, grown.leaves, grown.frontier)
        if grown.beside is not None:
            statement, values = grown.beside
            await connection.execute(statement, *values)
        return len(pending)


class Sequencer:
    """Numbers one ledger for as long as `run` runs and somebody pokes."""

    def __init__(
        self, database: Database, ledger: Ledger, on_batch: OnBatch | None = None, *, gather_seconds: float = 0.0
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._on_batch = on_batch
        self._gather_seconds = gather_seconds
        self.numbered: Callable[[], None] = lambda: None
        """Called when rows have got their positions here, before the announcement of it comes round."""
        self.wanted = asyncio.Event()

    def poke(self) -> None:
        self.wanted.set()

    async def run(self) -> None:
        while True:
            await self.wanted.wait()
            self.wanted.clear()
            try:
                await self.catch_up()
                await asyncio.sleep(self._gather_seconds)  # what comes meanwhile is numbered together
            except LOST as error:
                log.warning("ledger %s waits for the database: %s", self._ledger.name, type(error).__name__)
                self.wanted.set()
                await asyncio.sleep(AGAIN_SECONDS)

    async def catch_up(self) -> int:
        """Number everything that is committed; returns how many rows."""
        total = 0
        async with self._database.bare.acquire() as connection:
            while numbered := await sequence(connection, self._ledger, self._on_batch):
                total += numbered
                self.numbered()
                if numbered < BATCH:
                    break
        return total


async def read(connection: asyncpg.Connection, ledger: Ledger, after: int, limit: int = BATCH) -> Rows:
    """Rows after a position, in order, each with its `position`."""
    return await connection.fetch(  # type: ignore[no-any-return]
        f"SELECT p.position, r.* FROM {ledger.positions.__tablename__} p "  # noqa: S608 - names of our own tables
        f"JOIN {ledger.rows.__tablename__} r ON r.id = p.id AND r.at = p.at "
        "WHERE p.position > $1 ORDER BY p.position LIMIT $2",
        after,
        limit,
    )
