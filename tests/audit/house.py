"""A log of its own with some hundred entries, and who may do anything to its tables."""

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg

from app import ledger
from app.audit import entries, export, verify
from app.audit.checkpoints import Notary
from app.audit.verify import Key
from app.database import Database
from app.keys import Keys
from app.ledger import Sequencer

ENTRIES = 600
TABLES = ("audit_entries", "audit_leaves", "audit_nodes", "audit_checkpoints", "ledger_heads")


@dataclass
class House:
    """A log of its own with some hundred entries, and who may do anything to its tables."""

    database: Database
    keys: Keys
    owner: asyncpg.Connection
    folder: Path
    ids: list[UUID]
    receipts: list[str]

    async def remember(self) -> None:
        """Keep the tables as they are, for `restore`."""
        for table in TABLES:
            await self.owner.execute(f"CREATE TABLE kept_{table} AS TABLE {table}")

    async def restore(self) -> None:
        """The tables as they were kept."""
        await self.owner.execute("ALTER TABLE audit_leaves DROP CONSTRAINT IF EXISTS pk_audit_leaves")
        async with self.owner.transaction():
            await self.owner.execute(
                f"TRUNCATE audit_pending, erasure_orders, audit_rewrites, {', '.join(TABLES)} CASCADE"
            )
            for table in TABLES:
                await self.owner.execute(f"INSERT INTO {table} SELECT * FROM kept_{table}")
        await self.owner.execute("ALTER TABLE audit_leaves ADD CONSTRAINT pk_audit_leaves PRIMARY KEY (position)")

    def notary(self, keys: Keys | None = None) -> Notary:
        return Notary(self.database, keys or self.keys, "city.example/audit")

    async def append(self, count: int) -> list[tuple[UUID, str]]:
        """Entries, committed and promised, perhaps not numbered yet."""
        made = [entries.entry(None, "test.done", login=f"person {number}") for number in range(count)]
        async with self.database.begin() as session:
            for one in made:
                await entries.append(session, one)
        rows = await self.owner.fetch("SELECT id, at FROM audit_entries WHERE id = ANY($1)", [one.id for one in made])
        notes = await self.notary().receipts([(row["id"], row["at"]) for row in rows])
        return list(notes.items())

    async def number(self) -> None:
        await Sequencer(self.database, ledger.AUDIT, entries.grow_tree).catch_up()

    async def checkpoint(self) -> str:
        async with self.database.bare.acquire() as connection:
            return await self.notary().publish(connection)

    async def check(
        self,
        *checkpoints: str,
        receipts: tuple[str, ...] = (),
        notary: Notary | None = None,
        witnesses: tuple[Key, ...] = (),
        sight: export.Sight = export.ALL,
    ) -> list[str]:
        """What the verifier says of a fresh export."""
        told = self.folder / "log.export"
        with told.open("wb") as file:
            async for _, part in export.lines(self.database, notary or self.notary(), sight):
                file.write(part)
        with told.open("rb") as file:
            return verify.check_export(iter(file), self.notary().key, checkpoints, receipts, witnesses)
