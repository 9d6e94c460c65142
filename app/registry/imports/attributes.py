"""What a camera row says besides its place and name: cells that repeat from row to row, so their meaning is cached."""

import re
from datetime import date
from functools import lru_cache
from typing import Any, Final, NamedTuple

from app.registry import codes
from app.registry.imports.text import clean, shown, undefused, written
from app.registry.imports.values import authority_of, count_of, day_of, month_of, pixels_of, retention_of

# 구 or 군, or a 시 that is no 광역시, 특별시 or 자치시; "대전광역시 대덕구청" is labelled 대덕구.
_DISTRICT: Final = re.compile(r"(?<!\S)([가-힣]{1,10}(?:[구군]|(?<!광역)(?<!특별)(?<!자치)시))청?(?!\S)")


class Attributes(NamedTuple):
    """`flaws` are (code, field, value as it may be shown); `identity` is this part of a row's fingerprint."""

    authority_code: str
    manager_name: str
    district_label: str
    installation_purposes: tuple[str, ...]
    purpose_label: str
    camera_count: int
    pixels_10k: int | None
    direction_text: str
    retention_days: int | None
    installed_on: date | None
    phone: str
    data_date: date | None
    deleted: bool
    identity: bytes
    flaws: tuple[tuple[str, str, str], ...]


@lru_cache(maxsize=8192)
def attributes_of(
    authority: Any,
    manager: Any,
    district: Any,
    purpose: Any,
    count: Any,
    pixels: Any,
    direction: Any,
    retention: Any,
    installed: Any,
    phone: Any,
    data_date: Any,
    update_kind: Any,
) -> Attributes:
    """The meaning of a row's repeating cells. None is a column that the file does not have: nothing is missed there."""
    flaws: list[tuple[str, str, str]] = []

    def text(cell: Any, field: str) -> str:
        cleaned, found = clean(undefused(written(cell)))
        flaws.extend((code, field, cleaned) for code in found)
        return cleaned

    def value(read: tuple[Any, str], cell: Any, field: str) -> Any:
        meaning, code = read
        if code and cell is not None:
            flaws.append((code, field, shown(cell)))
        return meaning

    manager_name = text(manager, "manager_name")
    label = text(purpose, "purpose")
    purposes = codes.purposes_of(label)
    if codes.UNKNOWN in purposes and purpose is not None:
        flaws.append(("purpose_unknown" if label else "purpose_empty", "purpose", label))
    district_label = text(district, "district_label")
    return Attributes(
        authority_code=value(authority_of(authority), authority, "authority_code"),
        manager_name=manager_name,
        district_label=district_label or district_of(manager_name),
        installation_purposes=purposes,
        purpose_label=label,
        camera_count=value(count_of(count), count, "camera_count"),
        pixels_10k=value(pixels_of(pixels), pixels, "pixels"),
        direction_text=text(direction, "direction_text"),
        retention_days=value(retention_of(retention), retention, "retention_days"),
        installed_on=value(month_of(installed), installed, "installed_on"),
        phone=text(phone, "phone"),
        data_date=value(day_of(data_date), data_date, "data_date"),
        deleted=written(update_kind).strip().upper() == "D",
        identity=plain(f"{manager_name}\n{district_label}\n{label}\n"),
        flaws=tuple(flaws),
    )


def plain(words: str) -> bytes:
    """Text as a fingerprint takes it: without spaces and case."""
    return words.replace(" ", "").casefold().encode()


def district_of(manager_name: str) -> str:
    """The district that an institution's name says: the last one, for provinces come first."""
    return next(iter(reversed(_DISTRICT.findall(manager_name))), "")
