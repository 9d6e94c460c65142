"""Whose each row of a file is: the importing agency's, or by the row's label an agency below one."""

from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.actor import Actor
from app.errors import Refusal, UnusableFile
from app.ids import new_id
from app.models import Agency
from app.registry import agencies
from app.registry.imports.reading import Row


def label_of(row: Any) -> str:
    """By what a row names the institution that it belongs to."""
    return str(row.manager_name or row.district_label or row.authority_code)


class Owners:
    """Finds the owner of each row.

    `owner` is the agency of all rows; else the label of a row is looked up, as authority code or name, among the
    agencies directly `within` one (every large city has a 중구), or among all. What is not known is made if `create`,
    and is otherwise told by `refuse_missing`. `only_below` narrows it all to that agency and those below it: an
    administrator imports for the own institution only. A preview makes nothing: it gives unknown labels new ids.
    """

    def __init__(
        self,
        *,
        owner: UUID | None = None,
        within: UUID | None = None,
        create: bool = False,
        only_below: UUID | None = None,
    ) -> None:
        self.owner, self._within, self._create, self._only_below = owner, within, create, only_below
        self._by_label: dict[str, UUID | None] = {}
        self._by_name: dict[str, UUID] | None = None
        self._makes = True
        self._session: AsyncSession | None = None
        self._actor: Actor | None = None

    async def begin(self, session: AsyncSession, actor: Actor | None, *, makes: bool) -> None:
        """Begin anew within this transaction; `makes`: unknown agencies may be made."""
        self._session, self._actor, self._makes = session, actor, makes
        self._by_label, self._by_name = {}, None

    @property
    def ids(self) -> set[UUID]:
        """The owners of the rows so far."""
        return {self.owner} if self.owner else {found for found in self._by_label.values() if found}

    async def of(self, rows: list[Row]) -> list[UUID | None]:
        """The owner of each row; None where it is not known."""
        if self.owner is not None:
            return [self.owner] * len(rows)
        labels = [label_of(row) for row in rows]
        for label, row in zip(labels, rows, strict=True):
            if label not in self._by_label:
                self._by_label[label] = await self._find(label, row.authority_code)
        return [self._by_label[label] for label in labels]

    async def _find(self, label: str, code: str) -> UUID | None:
        assert self._session is not None
        if self._by_name is None:
            self._by_name = await self._known()
        match = self._by_name.get(code) or self._by_name.get(label)
        if match is None and self._create:
            match = new_id()
            if self._makes:
                match = await agencies.add(
                    self._session, self._actor, name=label or "이름 없는 기관", kind="municipality",
                    authority_code=code or None, parent_id=self._within,
                )  # fmt: skip
            self._by_name |= {label: match} | ({code: match} if code else {})
        return match

    async def _known(self) -> dict[str, UUID]:
        assert self._session is not None
        query = select(Agency.id, Agency.name, Agency.authority_code, Agency.parent_id)
        if self._only_below is not None:
            below = Agency.ancestor_ids.contains([self._only_below])
            query = query.where((Agency.id == self._only_below) | below)
        known = (await self._session.execute(query)).all()
        by_name = {row.name: row.id for row in known if row.parent_id == self._within}
        return by_name | {row.authority_code: row.id for row in known if row.authority_code}

    def missing(self) -> list[str]:
        """The labels that belong to nobody."""
        return sorted(label for label, owner in self._by_label.items() if owner is None)

    def refuse_missing(self) -> None:
        """UnusableFile that names the labels that belong to nobody, and what to do."""
        if missing := self.missing():
            raise unknown(missing)


def unknown(labels: list[str]) -> Refusal:
    return UnusableFile(
        f"{len(labels)} institutions in the file are not registered ({', '.join(labels[:5])} …): add them with "
        "`gwanje agency add`, or import with --agency NAME (all rows are theirs) or --create-agencies",
        missing_institutions=labels[:100],
    )
