"""Rows of a city's file of bells, smart streetlights or security lights as assets, and what was odd about them.

As `cameras.read_sites` does it for cameras: a row is never dropped in silence, texts are scrubbed, a row that cannot
stand is quarantined and the rest goes on.
"""

import re
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any, Final, NamedTuple

from app.registry import asset_kinds
from app.registry.imports.attributes import district_of, plain
from app.registry.imports.cameras import Seen, identifies, key_of, management_number, shifted, text_of
from app.registry.imports.findings import Finding, Summary
from app.registry.imports.rows import Table
from app.registry.imports.text import PRIVATE_PLACES, shown, written
from app.registry.imports.values import authority_of, day_of, place_of, quantity_of

_YES: Final = frozenset(
    ["y", "yes", "true", "1", "o", "유", "예", "가능", "있음", "설치", "양호", "정상", "적합", "합격"]
)  # fmt: skip
_NO: Final = frozenset(
    ["n", "no", "false", "0", "x", "무", "아니오", "불가", "불가능", "없음", "미설치", "불량", "비정상", "부적합"]
)  # fmt: skip
_POLE_FUNCTIONS: Final = ("cctv", "wifi", "gps", "beacon", "dimming", "emergency_report")


class AssetRow(NamedTuple):
    """One asset as a file describes it; `details` hold the fields of its kind (`asset_kinds`). Else as `SiteRow`."""

    row_number: int
    authority_code: str
    management_number: str
    external_key: str
    manager_name: str
    district_label: str
    name: str
    address: str
    quantity: int
    details: dict[str, Any]
    installed_on: date | None
    phone: str
    latitude: float | None
    longitude: float | None
    data_date: date | None
    quarantined: bool
    deleted: bool

    @property
    def camera_count(self) -> int:
        """How many things stand behind the row, under the name by which a summary counts."""
        return self.quantity


class _Named(NamedTuple):
    authority_code: str
    manager_name: str
    district_label: str
    identity: bytes


def read_assets(table: Table, *, summary: Summary | None = None) -> Iterator[tuple[AssetRow | None, list[Finding]]]:
    """The rows of a file in their order, each as an asset (None if it cannot be read as one) and its findings.

    What only the whole file shows comes last, with None. `summary` is filled on the way.
    """
    summary = Summary() if summary is None else summary
    summary.absent = table.layout.absent
    seen, columns = Seen(), table.columns
    if merged := table.merged_cells():
        summary.add([merged])
        yield None, [merged]
    fields = tuple(table.layout.kind.headers)
    pick, width = table.layout.picker(), len(columns)
    kind = table.layout.kind.stands_for
    for row_number, cells, flaw in table.records():
        found = [Finding(row_number, flaw)] if flaw else []
        asset = None
        if len(cells) != width:
            found.append(shifted(row_number, cells, width))
        elif tuple(map(written, cells)) == columns:
            summary.add(found := [Finding(row_number, "header_repeated")])
            yield None, found
            continue
        else:
            cells.append(None)
            row = dict(zip(fields, pick(cells), strict=True))
            asset = _Reader(row_number, row, found).asset(kind, seen)
            found = [each for each in found if each.code not in PRIVATE_PLACES]  # a bell in a toilet is a good thing
        summary.add_row(asset, found)
        yield asset, found
    if last := seen.about_the_whole_file():
        summary.add(last)
        yield None, last


class _Reader:
    """One row being read: what is odd in it gathers in `found`."""

    def __init__(self, row_number: int, row: dict[str, Any], found: list[Finding]) -> None:
        self.row_number, self.row, self.found = row_number, row, found

    def text(self, field: str) -> str:
        cell = self.row.get(field)
        return text_of(cell, field, self.row_number, self.found) if cell not in (None, "") else ""

    def value(self, field: str, read: Callable[[Any], tuple[Any, str]]) -> Any:
        cell = self.row.get(field)
        if cell is None:
            return None
        meaning, flaw = read(cell)
        if flaw:
            self.found.append(Finding(self.row_number, flaw, field, shown(cell)))
        return meaning

    def flag(self, field: str) -> bool | None:
        """Y and N in any spelling; None where the cell is empty or says something else, which is found."""
        said = self.text(field)
        if not said:
            return None
        bare = said.replace(" ", "").casefold()
        if bare in _YES or bare in _NO:
            return bare in _YES
        self.found.append(Finding(self.row_number, "flag_unreadable", field, said))
        return None

    def code(self, field: str, codes: dict[str, str]) -> str | None:
        said = self.text(field)
        if not said:
            return None
        found = asset_kinds.code_of(codes, said) or asset_kinds.code_of(codes, said.removesuffix("용"))
        if not found:
            self.found.append(Finding(self.row_number, "code_unknown", field, said))
        return found or ("other" if "other" in codes else None)

    def asset(self, kind: str, seen: Seen) -> AssetRow:
        manager, district = self.text("manager_name"), self.text("district_label")
        authority = self.value("authority_code", authority_of) or ""
        road, lot = self.text("road_address"), self.text("lot_address")
        seen.named(authority, manager, self.row_number)
        name = self.text("name") or self.text("bell_number") or road or lot or self.text("road_name")
        details = {"bell": self._bell, "pole": self._pole, "light": self._light}[kind]()
        named = _Named(authority, manager, district or district_of(manager), plain(f"{kind}\n{manager}\n{district}\n"))
        number = self.row.get("management_number")
        number = management_number(number, named, self.row_number, self.found) if number else ""
        number = number or self._own_number(details)

        latitude, longitude = self.row["latitude"], self.row["longitude"]
        north, east, flaw = place_of(latitude, longitude)
        if flaw:
            value = f"{shown(latitude)}, {shown(longitude)}"
            self.found.append(Finding(self.row_number, flaw, "coordinates", value))
        place = seen.place_of(north, east, f"{shown(latitude)}|{shown(longitude)}", self.row_number)
        identity = f"{road or lot}\n{name}\n{details.get('place_type', '')}"
        key, stands = key_of(named, number, identity, place, self.row_number, seen, self.found)
        known = stands
        deleted = written(self.row.get("update_kind")).strip().upper() == "D"
        if deleted:
            stands = False
            self.found.append(Finding(self.row_number, "row_marked_deleted"))
        if north is None and not identifies(name, self.row_number, self.found):
            stands = False
        return AssetRow(
            self.row_number, authority, number, key, manager, named.district_label, name, road or lot,
            self.value("quantity", quantity_of) or 1, details, self.value("installed_on", day_of), self.text("phone"),
            north, east, self.value("data_date", day_of), not stands, deleted and known,
        )  # fmt: skip

    def _own_number(self, details: dict[str, Any]) -> str:
        """Where the portal's number is missing, the one that the institution itself gave."""
        return str(details.get("management_number", ""))

    def _bell(self) -> dict[str, Any]:
        inspected = self.value("inspected_on", day_of)
        said = re.split(r"\s*[+,/]\s*", self.text("extra_functions"))
        functions = [asset_kinds.code_of(asset_kinds.BELL_FUNCTIONS, each) or each for each in said if each]
        return _kept(
            management_number=self.text("bell_number"),
            purpose=self.code("purpose", asset_kinds.BELL_PURPOSES),
            place_type=self.code("place_type", asset_kinds.BELL_PLACES),
            link_kind=self.code("link_kind", asset_kinds.BELL_LINKS),
            police_link=self.flag("police_link"),
            security_company_link=self.flag("security_company_link"),
            office_link=self.flag("office_link"),
            extra_functions=list(dict.fromkeys(functions)) or None,
            inspected_on=inspected.isoformat() if inspected else None,
            inspection_passed=self.flag("inspection_result"),
        )

    def _pole(self) -> dict[str, Any]:
        functions = [name for name in _POLE_FUNCTIONS if self.flag(name)]
        return _kept(
            light_type=self.text("light_type"),
            shape=self.text("shape"),
            lit=self.flag("lit"),
            sensors=self.text("sensors"),
            sensing_services=self.text("sensing_services"),
            functions=functions or None,
            app_name=self.text("app_name"),
            app_content=self.text("app_content"),
            other_services=self.text("other_services"),
        )

    def _light(self) -> dict[str, Any]:
        return _kept(mount=self.text("mount"))


def _kept(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, "")}
