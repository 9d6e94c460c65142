"""What merging the rows of any kind into the register has in common: a chunk is brought, compared, and then written.

A merge works on the bare connection inside the caller's transaction. Chunks go by COPY into a table that lasts as long
as the transaction, and from there, a few statements each, into the register. What an import changes is kept as it was
before in `import_changes`, so that the import can be undone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, Protocol
from uuid import UUID

import asyncpg

from app.registry.imports.layouts import Layout

EXAMPLES_KEPT: Final = 100
STATEMENT_SECONDS: Final = 600


@dataclass(slots=True)
class Changes:
    """What an import changes, or would change. `new`, `changed`, `unchanged`, `vanished` count rows of the register
    (sites, or assets); the others count cameras. `older` rows are of an earlier date than what stands.
    """

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    vanished: int = 0
    older: int = 0
    new_cameras: int = 0
    retired_cameras: int = 0
    revived_cameras: int = 0
    unlocated: int = 0
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def add_examples(self, of: str, found: Sequence[Any]) -> None:
        """Keep the first of what is new, changed or vanished."""
        kept = self.examples.setdefault(of, [])
        kept += [dict(row) for row in found[: EXAMPLES_KEPT - len(kept)]]

    def room_for(self, of: str) -> int:
        return EXAMPLES_KEPT - len(self.examples.get(of, ()))

    def as_dict(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}


class Merge(Protocol):
    """Rows of one kind on their way into the register."""

    changes: Changes

    async def begin(self) -> None:
        """Make the tables of this transaction."""

    async def bring(self, rows: list[Any], owners: list[UUID | None], area_ids: list[list[UUID]]) -> None:
        """Take a chunk in and compare it with what stands."""

    async def write(self) -> None:
        """Write the chunk into the register."""

    async def finish(self, owners: set[UUID], *, writes: bool, retire_vanished: bool) -> None:
        """After the last chunk: what has vanished from the file, and what hangs together."""


class Compared:
    """Which columns of the register the file speaks of: of what it has no column for, it says nothing."""

    def __init__(self, layout: Layout, columns: dict[str, tuple[str, ...]]) -> None:
        """`columns`: column of the register to the fields of the file, any of which tells it."""
        self.present = [
            column for column, told_by in columns.items() if any(name in layout.position for name in told_by)
        ]

    def __contains__(self, column: str) -> bool:
        return column in self.present

    def of(self, columns: Sequence[str]) -> list[str]:
        return [column for column in columns if column in self.present]


def differ(columns: Sequence[str], old: str, new: str) -> str:
    """The SQL condition that any of these columns differs between two tables; false for no columns."""
    if not columns:
        return "false"
    left, right = (", ".join(f"{table}.{column}" for column in columns) for table in (old, new))
    return f"(({left}) IS DISTINCT FROM ({right}))"


class EmptyOwners:
    """Owners who had nothing in a table when the import began: nothing of theirs needs to be compared."""

    def __init__(self, connection: asyncpg.Connection, question: str) -> None:
        """`question`: SQL that says for an owner ($1) whether there is anything."""
        self._connection, self._question = connection, question
        self._known: dict[UUID, bool] = {}

    @property
    def nothing_stood(self) -> bool:
        """Whether not one owner so far had anything."""
        return all(self._known.values())

    async def all_empty(self, owners: Sequence[UUID | None]) -> bool:
        empty = True
        for owner in dict.fromkeys(owners):
            if owner is not None:
                if owner not in self._known:
                    self._known[owner] = not await self._connection.fetchval(self._question, owner)
                empty = empty and self._known[owner]
        return empty
