"""In which areas the rows of a file lie, and where a row's label names another district than its place does."""

from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from app.registry.areas import Locator
from app.registry.imports.findings import Finding

MOST_KEPT: Final = 50_000


@dataclass
class Places:
    """Locates rows, chunk by chunk; whether the odd ones are told is known at the end only."""

    locator: Locator
    _placed: int = 0
    _odd: int = 0
    _found: list[tuple[int, str, str, str]] = field(default_factory=list)

    def locate(self, rows: list[Any]) -> list[list[UUID]]:
        """The areas of each row."""
        if not self.locator.polygons:
            return [[]] * len(rows)
        placed = [number for number, row in enumerate(rows) if row.latitude is not None]
        area_ids: list[list[UUID]] = [[] for _ in rows]
        found = self.locator.locate(
            [rows[number].longitude for number in placed], [rows[number].latitude for number in placed]
        )
        self._placed += len(placed)
        for number, held in zip(placed, found, strict=True):
            area_ids[number] = held
            if label := rows[number].district_label:
                self._compare(rows[number].row_number, label, held)
        return area_ids

    def _compare(self, row_number: int, label: str, held: list[UUID]) -> None:
        district = self.locator.name(held, "sigungu")
        if district is None:
            odd = (row_number, "outside_all_areas", "coordinates", label)
        elif district.rsplit(maxsplit=1)[-1] != label.rsplit(maxsplit=1)[-1]:
            odd = (row_number, "district_differs", "district_label", f"{label} → {district}")
        else:
            return
        self._odd += 1
        if len(self._found) < MOST_KEPT:
            self._found.append(odd)

    def findings(self) -> list[Finding]:
        """The odd ones; none if they are most: then the registered districts are those of another city."""
        return [] if self._odd > self._placed / 2 else [Finding(*odd) for odd in self._found]
