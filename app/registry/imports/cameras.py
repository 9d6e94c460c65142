"""Rows of a city's camera file as sites: each row one site with 1…200 cameras, normalised, and what was odd about it.

    table = open_table(path)
    summary = Summary()
    for site, findings in read_sites(table, summary=summary):
        ...

A row is never dropped in silence. Without usable coordinates a site stands without a location; a row that cannot
stand at all (nothing identifying, a repeated key, a wrong number of fields) is quarantined, and the rest goes on.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from hashlib import blake2b
from itertools import islice
from struct import Struct
from typing import Any, Final, NamedTuple, Protocol

from app.registry.imports.attributes import attributes_of, plain
from app.registry.imports.findings import Finding, Summary
from app.registry.imports.rows import Table
from app.registry.imports.seen import FirstSeen
from app.registry.imports.text import clean, is_clean, shown, undefused, written
from app.registry.imports.values import management_number_of, place_of

ROWS_THAT_ARE_A_CROWD: Final = 20
MOST_CROWDS_TOLD: Final = 10_000
OUR_KEY: Final = "gwanje:"  # before a key of ours, where a file of ours has no number to say
MANY_SPELLINGS: Final = 100
_SPELLINGS_COUNTED: Final = 20_000
_TOTALS: Final = frozenset(("합계", "총계", "소계", "계", "총합계", "total"))
# Year (4), authority (7), service (2), serial (5): so it was in 13,150 of 13,150 rows of the portal.
_MANAGEMENT_NUMBER: Final = re.compile(r"\d{4}(\d{7})\d{7}")
# "A2021 1-1RZ …", "[새솔-281] …", "방범-179.…": an institution's own number of the place, before its name.
_NUMBER_FIRST: Final = re.compile(r"\[[^\]\s]{1,12}-\d+\]|[A-Z]{1,3}\d{3,5}\s|(?:[가-힣]{1,6}-)?\d{2,5}\.(?=\D)").match
_INSTITUTIONS_KEPT: Final = 1_000
_NAMES_KEPT: Final = 20
_packed: Final = Struct("<dd")

Locate = Callable[[float, float], str | None]


class Named(Protocol):
    """How a row names the institution that it belongs to."""

    @property
    def authority_code(self) -> str: ...
    @property
    def manager_name(self) -> str: ...
    @property
    def district_label(self) -> str: ...
    @property
    def identity(self) -> bytes: ...


class SiteRow(NamedTuple):
    """One site as a file describes it; texts are scrubbed, and "" where the file says nothing.

    `external_key` is `authority:management number`; else `f1:` and a fingerprint of manager, address, purpose and
    place, with `.1`, `.2` … for further rows that say the same. `latitude` and `longitude` are WGS84 degrees inside
    South Korea, or both None. `pixels_10k` counts in 만: 200 is two megapixels. `installed_on` is the first day of its
    month. A site in quarantine is shown to people and not imported; one that the source marks as deleted (`deleted`,
    데이터갱신구분 D) retires what was known under its key. A tuple, because a million of them are made.
    """

    row_number: int
    authority_code: str
    management_number: str
    external_key: str
    manager_name: str
    district_label: str
    name: str
    road_address: str
    lot_address: str
    installation_purposes: tuple[str, ...]
    purpose_label: str
    camera_count: int
    pixels_10k: int | None
    direction_text: str
    retention_days: int | None
    installed_on: date | None
    phone: str
    latitude: float | None
    longitude: float | None
    data_date: date | None
    quarantined: bool
    deleted: bool = False


def read_sites(
    table: Table, *, locate: Locate | None = None, summary: Summary | None = None
) -> Iterator[tuple[SiteRow | None, list[Finding]]]:
    """The rows of a camera file in their order, each as a site (None if it cannot be read as one) and its findings.

    What only the whole file shows comes last, with None: many rows on one point, free text. `locate(latitude,
    longitude)` names the district that holds a point, None if no area does; with it, labels are checked. `summary`
    is filled on the way and is complete after the last row.

    Memory is the same however long the file is: rows are not kept, and of keys and points (`seen`) only so many.
    """
    summary = Summary() if summary is None else summary
    summary.absent = table.layout.absent
    seen = Seen()
    if merged := table.merged_cells():
        summary.add([merged])
        yield None, [merged]
    columns = table.columns
    pick = table.layout.picker()
    width = len(columns)
    for row_number, cells, flaw in table.records():
        found = [Finding(row_number, flaw)] if flaw else []
        if len(cells) != width:
            site = None
            found.append(shifted(row_number, cells, width))
        elif cells[0] == columns[0] and tuple(map(written, cells)) == columns:
            summary.add(found := [Finding(row_number, "header_repeated")])
            yield None, found
            continue
        else:
            cells.append(None)  # what a field without a column reads
            site = _site(row_number, pick(cells), seen, locate, found)
        summary.add_row(site, found)
        yield site, found
    if last := seen.about_the_whole_file():
        summary.add(last)
        yield None, last


@dataclass(slots=True)
class Seen:
    """What has to be remembered from row to row."""

    keys: FirstSeen = field(default_factory=FirstSeen)
    points: FirstSeen = field(default_factory=FirstSeen)
    spellings: set[str] = field(default_factory=set)
    institutions: dict[str, dict[str, int]] = field(default_factory=dict)  # names by code, with their first row
    numbered: int = 0
    first_numbered: tuple[int, str] = (0, "")

    def place_of(self, latitude: float | None, longitude: float | None, said: str, row_number: int) -> bytes:
        """The part of a row's fingerprint that is its place, by degrees or else as it was written; noted as seen."""
        if latitude is None or longitude is None:
            return said.encode()
        place = _packed.pack(latitude, longitude)
        self.points.add(place, row_number)
        return place

    def named(self, code: str, institution: str, row_number: int) -> None:
        """Note how a row writes the institution of this authority code."""
        if not code or not institution:
            return
        names = self.institutions.get(code)
        if names is None:
            if len(self.institutions) < _INSTITUTIONS_KEPT:
                self.institutions[code] = {institution: row_number}
        elif institution not in names and len(names) < _NAMES_KEPT:
            names[institution] = row_number

    def called(self, name: str, row_number: int) -> None:
        """Note a row's name, if it begins with a number."""
        if _NUMBER_FIRST(name):
            self.numbered += 1
            if self.numbered == 1:
                self.first_numbered = (row_number, name)

    def about_the_whole_file(self) -> list[Finding]:
        found = []
        for point, row_number, rows in islice(self.points.repeated(ROWS_THAT_ARE_A_CROWD), MOST_CROWDS_TOLD):
            latitude, longitude = _packed.unpack(point)
            value = f"{latitude}, {longitude} × {rows}"
            found.append(Finding(row_number, "many_rows_on_one_point", "coordinates", value, rows=rows))
        if len(self.spellings) > MANY_SPELLINGS:
            found.append(
                Finding(0, "free_text_spellings", "direction_text", len(self.spellings), rows=len(self.spellings))
            )
        if self.numbered:
            row_number, name = self.first_numbered
            found.append(Finding(row_number, "number_in_name", "name", name, rows=self.numbered))
        for code, names in self.institutions.items():
            if len(names) > 1:
                value = f"{code}: {' / '.join(names)}"
                found.append(
                    Finding(max(names.values()), "institution_spellings", "manager_name", value, rows=len(names))
                )
        return found


def shifted(row_number: int, cells: list[Any], width: int) -> Finding:
    return Finding(row_number, "fields_shifted", "", f"{len(cells)} ≠ {width}: {' | '.join(map(written, cells))}")


def _site(row_number: int, cells: tuple[Any, ...], seen: Seen, locate: Locate | None, found: list[Finding]) -> SiteRow:
    (
        authority, management, manager, district, name, road, lot, address, purpose, count, pixels, direction,
        retention, installed, phone, latitude, longitude, data_date, update_kind,
    ) = cells  # fmt: skip
    attributes = attributes_of(
        authority, manager, district, purpose, count, pixels, direction, retention, installed, phone, data_date,
        update_kind,
    )  # fmt: skip
    (
        authority_code, manager_name, district_label, purposes, purpose_label, camera_count, pixels_10k, direction_text,
        retention_days, installed_on, phone_text, data_day, deleted, _, flaws,
    ) = attributes  # fmt: skip
    if flaws:
        found += [Finding(row_number, *each) for each in flaws]
    if direction_text and len(seen.spellings) < _SPELLINGS_COUNTED:
        seen.spellings.add(direction_text)
    road = text_of(road, "road_address", row_number, found) if road else ""
    lot = text_of(lot, "lot_address", row_number, found) if lot else ""
    address = text_of(address, "address", row_number, found) if address else ""
    name = (text_of(name, "name", row_number, found) if name else "") or address or road or lot
    number = management_number(management, attributes, row_number, found) if management else ""
    seen.named(authority_code, manager_name, row_number)
    seen.called(name, row_number)

    north, east, flaw = place_of(latitude, longitude)
    if flaw:
        found.append(Finding(row_number, flaw, "coordinates", f"{shown(latitude)}, {shown(longitude)}"))
    if north is None or east is None:
        place = f"{shown(latitude)}|{shown(longitude)}".encode()
    else:
        place = _packed.pack(north, east)
        seen.points.add(place, row_number)
        if locate is not None:
            _check_district(district_label, locate(north, east), row_number, found)

    key, stands = key_of(attributes, number, road or lot or name, place, row_number, seen, found)
    known = stands
    if deleted:
        stands = False
        found.append(Finding(row_number, "row_marked_deleted"))
    if found and any(each.code == "private_place_inside" for each in found):
        stands = False
    if north is None and not identifies(name, row_number, found):
        stands = False
    return SiteRow(
        row_number, authority_code, number, key, manager_name, district_label, name, road, lot or address, purposes,
        purpose_label, camera_count, pixels_10k, direction_text, retention_days, installed_on, phone_text, north, east,
        data_day, not stands, deleted and known,
    )  # fmt: skip


def text_of(cell: Any, field_name: str, row_number: int, found: list[Finding]) -> str:
    """A cell's text as it may be stored; what was wrong with it goes to `found`."""
    text = undefused(written(cell))
    if is_clean(text):
        return text.strip()
    text, flaws = clean(text)
    found += [Finding(row_number, flaw, field_name, text) for flaw in flaws]
    return text


def management_number(cell: Any, attributes: Named, row_number: int, found: list[Finding]) -> str:
    number, flaw = management_number_of(cell)
    if flaw:
        found.append(Finding(row_number, flaw, "management_number", cell))
        return ""
    if (ours := undefused(number)).startswith(OUR_KEY) and clean(key := ours.removeprefix(OUR_KEY)) == (key, ()):
        return ours
    number = text_of(number, "management_number", row_number, found)
    authority = attributes.authority_code
    if authority and number[4:11] != authority and (match := _MANAGEMENT_NUMBER.fullmatch(number)):
        value = f"{number}: {match[1]} ≠ {authority}"
        found.append(Finding(row_number, "key_inconsistent", "management_number", value))
    return number


def key_of(
    attributes: Named, number: str, address: str, place: bytes, row_number: int, seen: Seen, found: list[Finding]
) -> tuple[str, bool]:
    """The row's external key, and whether it may stand with it: of two rows with one management number, the first."""
    if number:
        # Numbers are unique within the institution that gives them, so one without an authority code is told by name.
        key = f"{attributes.authority_code or attributes.manager_name or attributes.district_label}:{number}"
        if number.startswith(OUR_KEY):
            key = number.removeprefix(OUR_KEY)
        first, again = seen.keys.add(key.encode(), row_number)
        if again:
            found.append(Finding(row_number, "key_repeated", "management_number", f"{key} ({first})"))
        return key, not again
    key = "f1:" + blake2b(b"%b%b\n%b" % (attributes.identity, plain(address), place), digest_size=15).hexdigest()
    first, again = seen.keys.add(key.encode(), row_number)
    if again:
        # Several cameras at one address may well be one row each, so all of them stand, numbered.
        found.append(Finding(row_number, "identical_rows", "", first))
        key = f"{key}.{again}"
    return key, True


def identifies(name: str, row_number: int, found: list[Finding]) -> bool:
    """Can a row without a location stand by its name or address?"""
    if not name:
        found.append(Finding(row_number, "nothing_identifying"))
    elif name.replace(" ", "").casefold() in _TOTALS:
        found.append(Finding(row_number, "total_row", "", name))
    else:
        return True
    return False


def _check_district(label: str, area: str | None, row_number: int, found: list[Finding]) -> None:
    if area is None:
        found.append(Finding(row_number, "outside_all_areas", "coordinates", label))
    elif label and label.rsplit(maxsplit=1)[-1] != area.rsplit(maxsplit=1)[-1]:
        found.append(Finding(row_number, "district_differs", "district_label", f"{label} → {area}"))
