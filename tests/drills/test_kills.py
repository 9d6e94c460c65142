"""Processes are killed while grants are given: every URL that left has its entry and its leaf, and no log forks."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import make_url

from app import database as db
from app import postgres
from app.settings import Settings
from tests import factories
from tests.conftest import Databases
from tests.drills import promises, town
from tests.drills.asking import Asker
from tests.drills.conftest import Tell
from tests.drills.promises import Leaf, Promise, Signed
from tests.drills.test_faults import postmaster
from tests.processes import Service, service

WRITERS = 8
SEQUENCING = """
SELECT application_name FROM pg_stat_activity
WHERE datname = current_database() AND query LIKE '%ledger_lock%' AND wait_event_type = 'Lock' LIMIT 1
"""

Log = tuple[list[str], list[Leaf], list[Signed]]


async def log_of(connection: asyncpg.Connection) -> Log:
    """Entries, leaves and checkpoints as they stand."""
    entries = await connection.fetch("SELECT id FROM audit_entries")
    leaves = await connection.fetch("SELECT position, id, leaf_hash FROM audit_leaves ORDER BY position")
    signed = await connection.fetch("SELECT size, root FROM audit_checkpoints ORDER BY size")
    return (
        [str(row["id"]) for row in entries],
        [Leaf(row["position"], str(row["id"]), row["leaf_hash"]) for row in leaves],
        [Signed(row["size"], row["root"]) for row in signed],
    )


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class Killing:
    """Ways to kill, each in the midst of the work."""

    def __init__(self, running: Service, home: Path, superuser: Callable[[], Awaitable[asyncpg.Connection]]) -> None:
        self._running, self._home, self._superuser = running, home, superuser
        self.killed: Counter[str] = Counter()

    async def worker(self) -> None:
        if workers := self._running.workers():
            kill(random.choice(workers))
            self.killed["worker"] += 1

    async def sequencer(self) -> None:
        """The process that is about to number, the moment after it got the head's lock."""
        connection = await self._superuser()
        try:
            async with asyncio.timeout(20), connection.transaction():
                await connection.execute("SELECT FROM ledger_heads WHERE ledger = 'audit' FOR UPDATE")
                while (name := await connection.fetchval(SEQUENCING)) is None:
                    await asyncio.sleep(0.01)
                    await connection.execute("SELECT pg_stat_clear_snapshot()")
            await asyncio.sleep(random.uniform(0, 0.004))
            kill(int(name.rpartition("-")[2]))
            self.killed["sequencer"] += 1
        finally:
            await connection.close()

    async def database(self) -> None:
        kill(postmaster(self._home))
        self.killed["PostgreSQL"] += 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(1, marks=pytest.mark.timeout(300)),
        pytest.param(50, marks=[pytest.mark.drill, pytest.mark.timeout(3600)]),
    ],
)
async def test_every_url_that_left_has_its_leaf(home: Path, kills: int, tell: Tell) -> None:
    async with service(home, workers=2, GWANJE_LOG_LEVEL="error") as running:
        with postgres.start(Settings(home=home)) as use:
            server = use.server
            async with db.connect(server.app_url) as base:
                owner, police = await factories.agency(base), await factories.agency(base, "police")
                cameras = [await factories.camera(base, owner) for _ in range(8)]
                await factories.agreement(base, owner, police)
                officer = await factories.person(base, police, "room")
        databases = Databases(home, server, durable=True)
        name = make_url(server.app_url).database or ""

        async def superuser() -> asyncpg.Connection:
            return await databases.superuser(name)

        headers = {"Authorization": f"Bearer {await town.token_of(running.base_url, officer)}"}
        port = int(running.base_url.rpartition(":")[2])
        askers = [Asker(port, headers, cameras) for _ in range(WRITERS)]
        over = asyncio.Event()
        asking = [asyncio.create_task(asker.run(over)) for asker in askers]
        killing = Killing(running, home, superuser)
        try:
            for one in [way for _ in range(kills) for way in (killing.worker, killing.sequencer, killing.database)]:
                await asyncio.sleep(random.uniform(0.2, 0.6))
                await one()
                await running.ready()
        finally:
            over.set()
            await asyncio.gather(*asking)
        began = time.monotonic()
        connection = await superuser()
        try:
            async with asyncio.timeout(30):
                while await connection.fetchval("SELECT EXISTS (SELECT FROM audit_pending)"):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            caught_up = time.monotonic() - began
            entries, leaves, signed = await log_of(connection)
        finally:
            await connection.close()
    told = [promise for asker in askers for promise in asker.promises]
    found = promises.judge(told, entries, leaves, signed)
    answers = sum((asker.answers for asker in askers), Counter())
    tell(
        "A5 kills", killed=dict(killing.killed), urls=len(told), answers=dict(answers), leaves=len(leaves),
        checkpoints=len(signed), catch_up=caught_up, wrong=len(found),
    )  # fmt: skip
    assert found == []
    assert set(killing.killed.values()) == {kills}
    assert len(told) > kills
    assert len(signed) > 1
    assert caught_up <= 10, "numbering lags behind"
    assert set(answers) <= {201, 503, "ConnectionRefusedError", "ConnectionResetError", "IndexError", "TimeoutError"}


# The checker itself

LEAVES = [Leaf(number, f"e{number}", bytes([number]) * 32) for number in range(1, 12)]
TOLD = [Promise(leaf.entry_id, leaf.hash) for leaf in LEAVES]
IDS = [leaf.entry_id for leaf in LEAVES]
SIGNED = [Signed(size, promises.root_of([leaf.hash for leaf in LEAVES[:size]])) for size in (1, 5, 11)]


@pytest.mark.parametrize(
    ("what", "told", "ids", "leaves", "signed"),
    [
        (None, TOLD, IDS, LEAVES, SIGNED),
        (promises.UNRECORDED, TOLD, IDS[1:], LEAVES, SIGNED),
        (promises.MISSING, TOLD, IDS, LEAVES[:-1], SIGNED[:-1]),
        (promises.OTHER, [replace(TOLD[0], leaf=b"x" * 32), *TOLD[1:]], IDS, LEAVES, SIGNED),
        (promises.GAP, TOLD[:-1], IDS, [*LEAVES[:-1], replace(LEAVES[-1], position=13, entry_id="e99")], SIGNED[:-1]),
        (promises.TWICE, TOLD, IDS, [*LEAVES, replace(LEAVES[0], position=12)], SIGNED),
        (promises.FORKED, TOLD, IDS, LEAVES, [*SIGNED, Signed(5, b"x" * 32)]),
        (promises.FORKED, TOLD, IDS, LEAVES, [*SIGNED, Signed(12, b"x" * 32)]),
    ],
)
def test_a_seeded_fault_is_found(
    what: str | None, told: list[Promise], ids: list[str], leaves: list[Leaf], signed: list[Signed]
) -> None:
    assert {finding.what for finding in promises.judge(told, ids, leaves, signed)} == ({what} if what else set())
