"""Rows of a city's camera file as sites: each row one site with 1…200 cameras, normalised, and what was odd about it.

    table = open_table(path)
    summary = Summary()
    for site, findings in read_sites(table, summary=summary):
        ...

A row is never dropped in silence. Without usable coordinates a site stands without a location; a row that cannot
stand at all (nothing identifying, a repeated key, a wrong number of fields) is quarantined, and the rest goes on.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from hashlib import blake2b
from struct import Struct
from typing import Any, Final, NamedTuple

from app.registry.imports.attributes import Attributes, attributes_of, plain
from app.registry.imports.findings import Finding, Summary
from app.registry.imports.rows import Table
from app.registry.imports.text import clean, is_clean, shown, written
from app.registry.imports.values import management_number_of, place_of

ROWS_THAT_ARE_A_CROWD: Final = 20
MANY_SPELLINGS: Final = 100
_SPELLINGS_COUNTED: Final = 20_000
_TOTALS: Final = frozenset(("합계", "총계", "소계", "계", "총합계", "total"))
# Year (4), authority (7), service (2), serial (5): so it was in 13,150 of 13,150 rows of the portal.
_MANAGEMENT_NUMBER: Final = re.compile(r"\d{4}(\d{7})\d{7}")
_packed: Final = Struct("<dd").pack

Locate = Callable[[float, float], str | None]


class SiteRow(NamedTuple):
    """One site as a file describes it; texts are scrubbed, and "" where the file says nothing.

    `external_key` is `authority:management number`; else `f1:` and a fingerprint of manager, address, purpose and
    place, with `.1`, `.2` … for further rows that say the same. `latitude` and `longitude` are WGS84 degrees inside
    South Korea, or both None. `pixels_10k` counts in 만: 200 is two megapixels. `installed_on` is the first day of its
    month. A site in quarantine is shown to people and not imported. A tuple, because a million of them are made.
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


def read_sites(
    table: Table, *, locate: Locate | None = None, summary: Summary | None = None
) -> Iterator[tuple[SiteRow | None, list[Finding]]]:
    """The rows of a camera file in their order, each as a site (None if it cannot be read as one) and its findings.

    What only the whole file shows comes last, with None: many rows on one point, free text. `locate(latitude,
    longitude)` names the district that holds a point, None if no area does; with it, labels are checked. `summary`
    is filled on the way and is complete after the last row.

    Memory: rows are not kept; keys and points are, a few hundred bytes a row.
    """
    summary = Summary() if summary is None else summary
    summary.absent = table.layout.absent
    seen = _Seen()
    columns = table.columns
    pick = table.layout.picker()
    width = len(columns)
    for row_number, cells, flaw in table.records():
        found = [Finding(row_number, flaw)] if flaw else []
        if len(cells) != width:
            site = None
            found.append(_shifted(row_number, cells, width))
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
class _Seen:
    """What has to be remembered from row to row."""

    row_of_key: dict[str, int] = field(default_factory=dict)
    repeats: Counter[str] = field(default_factory=Counter)
    row_of_point: dict[bytes, int] = field(default_factory=dict)
    crowds: Counter[tuple[int, float, float]] = field(default_factory=Counter)
    spellings: set[str] = field(default_factory=set)

    def about_the_whole_file(self) -> list[Finding]:
        found = []
        for (row_number, latitude, longitude), more in self.crowds.most_common():
            if more + 1 < ROWS_THAT_ARE_A_CROWD:
                break
            value = f"{latitude}, {longitude} × {more + 1}"
            found.append(Finding(row_number, "many_rows_on_one_point", "coordinates", value, rows=more + 1))
        if len(self.spellings) > MANY_SPELLINGS:
            found.append(
                Finding(0, "free_text_spellings", "direction_text", len(self.spellings), rows=len(self.spellings))
            )
        return found


def _shifted(row_number: int, cells: list[Any], width: int) -> Finding:
    return Finding(row_number, "fields_shifted", "", f"{len(cells)} ≠ {width}: {' | '.join(map(written, cells))}")


def _site(row_number: int, cells: tuple[Any, ...], seen: _Seen, locate: Locate | None, found: list[Finding]) -> SiteRow:
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
    road = _text(road, "road_address", row_number, found) if road else ""
    lot = _text(lot, "lot_address", row_number, found) if lot else ""
    address = _text(address, "address", row_number, found) if address else ""
    name = (_text(name, "name", row_number, found) if name else "") or address or road or lot
    number = _management_number(management, attributes, row_number, found) if management else ""

    north, east, flaw = place_of(latitude, longitude)
    if flaw:
        found.append(Finding(row_number, flaw, "coordinates", f"{shown(latitude)}, {shown(longitude)}"))
    if north is None or east is None:
        place = f"{shown(latitude)}|{shown(longitude)}".encode()
    else:
        place = _packed(north, east)
        first = seen.row_of_point.setdefault(place, row_number)
        if first != row_number:
            seen.crowds[first, north, east] += 1
        if locate is not None:
            _check_district(district_label, locate(north, east), row_number, found)

    key, stands = _key(attributes, number, road or lot or name, place, row_number, seen, found)
    if deleted:
        stands = False
        found.append(Finding(row_number, "row_marked_deleted"))
    if north is None and not _identifies(name, row_number, found):
        stands = False
    return SiteRow(
        row_number, authority_code, number, key, manager_name, district_label, name, road, lot or address, purposes,
        purpose_label, camera_count, pixels_10k, direction_text, retention_days, installed_on, phone_text, north, east,
        data_day, not stands,
    )  # fmt: skip


def _text(cell: Any, field_name: str, row_number: int, found: list[Finding]) -> str:
    text = written(cell)
    if is_clean(text):
        return text.strip()
    text, flaws = clean(text)
    found += [Finding(row_number, flaw, field_name, text) for flaw in flaws]
    return text


def _management_number(cell: Any, attributes: Attributes, row_number: int, found: list[Finding]) -> str:
    number, flaw = management_number_of(cell)
    if flaw:
        found.append(Finding(row_number, flaw, "management_number", cell))
        return ""
    number = _text(number, "management_number", row_number, found)
    authority = attributes.authority_code
    if authority and number[4:11] != authority and (match := _MANAGEMENT_NUMBER.fullmatch(number)):
        value = f"{number}: {match[1]} ≠ {authority}"
        found.append(Finding(row_number, "key_inconsistent", "management_number", value))
    return number


def _key(
    attributes: Attributes, number: str, address: str, place: bytes, row_number: int, seen: _Seen, found: list[Finding]
) -> tuple[str, bool]:
    """The row's external key, and whether it may stand with it: of two rows with one management number, the first."""
    if number:
        # Numbers are unique within the institution that gives them, so one without an authority code is told by name.
        key = f"{attributes.authority_code or attributes.manager_name or attributes.district_label}:{number}"
        first = seen.row_of_key.setdefault(key, row_number)
        if first != row_number:
            found.append(Finding(row_number, "key_repeated", "management_number", f"{key} ({first})"))
        return key, first == row_number
    key = "f1:" + blake2b(b"%b%b\n%b" % (attributes.identity, plain(address), place), digest_size=15).hexdigest()
    first = seen.row_of_key.setdefault(key, row_number)
    if first != row_number:
        # Several cameras at one address may well be one row each, so all of them stand, numbered.
        seen.repeats[key] += 1
        found.append(Finding(row_number, "identical_rows", "", first))
        key = f"{key}.{seen.repeats[key]}"
    return key, True


def _identifies(name: str, row_number: int, found: list[Finding]) -> bool:
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
