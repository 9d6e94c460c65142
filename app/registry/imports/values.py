"""Numbers, dates and places of a city's file: what a cell means, or the code of what is wrong with it.

Every function takes the cell as the file has it (text of a CSV; text, float or date of a workbook) and returns the
value and the code of a finding, "" if there is none. All are cached: columns repeat their values.
"""

import re
from datetime import date
from functools import lru_cache
from typing import Any, Final

from app import clock
from app.registry.imports.text import EXACT_UP_TO, written

MAX_CAMERAS: Final = 200
MAX_QUANTITY: Final = 1000
MANY_CAMERAS: Final = 50  # believable (one row of Busan has 104), and worth a look
MAX_RETENTION_DAYS: Final = 1095
MAX_PIXELS_10K: Final = 20_000
FIRST_YEAR: Final = 1970

# South Korea with Marado, Baengnyeongdo and Dokdo inside.
SOUTH, NORTH, WEST, EAST = 33.0, 38.7, 124.5, 132.0

_NUMBER: Final = re.compile(r"[+-]?\d{1,12}(?:,\d{3})*(?:\.\d*)?")
_UNITS: Final = re.compile(r"\s*(?:대|개|일|개소|ea|만\s*화소|만|화소|mp|m|days?)?\s*", re.IGNORECASE)
_YEAR_FIRST: Final = re.compile(
    r"(\d{4})(?:\s*[-./년]\s*(\d{1,2})(?:\s*[-./월]\s*(\d{1,2})\s*[일.]?)?\s*[월.]?)?\s*년?"
)
_DIGITS_ONLY: Final = re.compile(r"(\d{4})(\d{2})(\d{2})?")
_TIME_OF_DAY: Final = re.compile(r"[T ]\s*\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?\s*Z?$")
# What a spreadsheet shows for a year (2017, 2019) that it took for a count of days since 1899-12-30.
_YEAR_AS_SERIAL: Final = re.compile(r"1905-?0[5-7]")
_FIRST_SERIAL, _LAST_SERIAL = 25_569, 60_000  # 1970-01-01 … 2064-04-08 as days since 1899-12-30
_FIVE_DIGITS: Final = re.compile(r"[0-9]{5}")
_SERIAL_ZERO: Final = date(1899, 12, 30).toordinal()

_ROUNDED: Final = re.compile(r"\d(?:\.\d+)?[eE]\+?\d+")
_DEGREES: Final = re.compile(r"[\s°ºNEne북동위경]+")
_DECIMAL_COMMA: Final = re.compile(r"\d{2,3},\d{3,}")


def place_of(latitude: Any, longitude: Any) -> tuple[float | None, float | None, str]:
    """Two cells as WGS84 degrees inside South Korea, swapped back if they were swapped; else (None, None, code)."""
    try:
        north, east = float(latitude), float(longitude)
    except (TypeError, ValueError):
        return _place_as_text(written(latitude), written(longitude))
    if SOUTH <= north <= NORTH and WEST <= east <= EAST:
        if _two_decimals(north) and _two_decimals(east):
            return north, east, "coordinates_rounded"
        return north, east, ""
    if SOUTH <= east <= NORTH and WEST <= north <= EAST:
        return east, north, "coordinates_swapped"
    return None, None, _what_is_wrong(north, east)


def _two_decimals(degrees: float) -> bool:
    hundredths = degrees * 100
    return abs(hundredths - int(hundredths + 0.5)) < 1e-6  # noqa: PLR2004 - a tenth of a millimetre


def _place_as_text(latitude: str, longitude: str) -> tuple[float | None, float | None, str]:
    if not latitude.strip() or not longitude.strip():
        return None, None, "coordinates_missing"
    plain = []
    for text in (latitude, longitude):
        bare = _DEGREES.sub("", text)
        plain.append(bare.replace(",", ".") if _DECIMAL_COMMA.fullmatch(bare) else bare)
    try:
        numbers = [float(text) for text in plain]
    except ValueError:
        return None, None, "coordinates_unreadable"
    return place_of(*numbers)


def _what_is_wrong(north: float, east: float) -> str:
    if north == 0 or east == 0:
        return "coordinates_zero"
    if not (abs(north) < 1e9 and abs(east) < 1e9):  # noqa: PLR2004 - NaN and infinity, written out
        return "coordinates_unreadable"
    if min(abs(north), abs(east)) > 10_000:  # noqa: PLR2004 - no degree is; metres of a map grid are
        return "coordinates_projected"
    return "coordinates_outside_korea"


@lru_cache(maxsize=4096)
def count_of(cell: Any) -> tuple[int, str]:
    """카메라대수: how many cameras stand behind the row; 1 is assumed where the file does not say."""
    number, flaw = _whole_number(cell)
    if flaw:
        return 1, f"camera_count_{flaw}"
    if number == 0:
        return 1, "camera_count_zero"
    if not 0 < number <= MAX_CAMERAS:
        return 1, "camera_count_implausible"
    return number, "many_cameras" if number >= MANY_CAMERAS else ""


@lru_cache(maxsize=4096)
def quantity_of(cell: Any) -> tuple[int, str]:
    """설치개수: how many lights stand behind the row; 1 is assumed where the file does not say."""
    number, flaw = _whole_number(cell)
    if flaw == "missing":
        return 1, ""
    return (number, "") if not flaw and 0 < number <= MAX_QUANTITY else (1, "quantity_unreadable")


@lru_cache(maxsize=4096)
def pixels_of(cell: Any) -> tuple[int | None, str]:
    """카메라화소수 in units of ten thousand (만): "200", "200만", "2MP" and 2000000 are all 200."""
    text = written(cell).strip().casefold()
    megapixels = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)\s*(?:mp|m|메가|메가픽셀|백만)", text)
    if megapixels:
        number, flaw = round(float(megapixels[1]) * 100), ""
    else:
        number, flaw = _whole_number(cell)
    if flaw:
        return None, f"pixels_{flaw}"
    if number >= 100_000:  # noqa: PLR2004 - nobody has 1,000 megapixels, so these are single pixels
        number //= 10_000
    if number == 0:
        return None, "pixels_zero"
    return (number, "") if 0 < number <= MAX_PIXELS_10K else (None, "pixels_unreadable")


@lru_cache(maxsize=4096)
def retention_of(cell: Any) -> tuple[int | None, str]:
    """보관일수: days that pictures are kept; 0 means that nobody filled it in."""
    number, flaw = _whole_number(cell)
    if flaw:
        return None, f"retention_{flaw}"
    if number == 0:
        return None, "retention_zero"
    return (number, "") if 0 < number <= MAX_RETENTION_DAYS else (None, "retention_unreadable")


def _whole_number(cell: Any) -> tuple[int, str]:
    text = written(cell).strip()
    if not text:
        return 0, "missing"
    match = _NUMBER.match(text)
    if match is None or _UNITS.fullmatch(text, match.end()) is None:
        return 0, "unreadable"
    number = float(match[0].replace(",", ""))
    return (int(number), "") if number.is_integer() else (0, "unreadable")


@lru_cache(maxsize=4096)
def month_of(cell: Any) -> tuple[date | None, str]:
    """설치연월 as the first day of its month (of its January, if only a year is given)."""
    day, flaw = day_of(cell)
    return (day.replace(day=1) if day else None), flaw


@lru_cache(maxsize=4096)
def day_of(cell: Any) -> tuple[date | None, str]:
    """A date in any spelling seen: 2019-03-12, 2018-09, 201910, 2018.4.1, 2019년 3월, 20190312, a spreadsheet's 43536.

    What is left out is 1: 2018-09 is its first day. The code says "missing", or what is wrong with it.
    """
    if isinstance(cell, date):
        return _plausible(cell.year, cell.month, cell.day)
    return _day_as_text(cell)


def _day_as_text(cell: Any) -> tuple[date | None, str]:
    text = _TIME_OF_DAY.sub("", written(cell).strip())
    if not text:
        return None, "date_missing"
    if _YEAR_AS_SERIAL.match(text):
        return None, "date_spreadsheet_damage"
    if isinstance(cell, float) and re.fullmatch(r"\d{4}\.\d", text):
        return None, "date_unreadable"  # a number 2018.1 may have been January or, as 2018.10, October
    match = _DIGITS_ONLY.fullmatch(text) or _YEAR_FIRST.fullmatch(text)
    if match:
        year, month, day = (int(part) if part else 1 for part in match.groups())
        return _plausible(year, month, day)
    if _FIVE_DIGITS.fullmatch(text) and _FIRST_SERIAL <= int(text) <= _LAST_SERIAL:
        return _plausible(*date.fromordinal(_SERIAL_ZERO + int(text)).timetuple()[:3])
    return None, "date_unreadable"


def _plausible(year: int, month: int, day: int) -> tuple[date | None, str]:
    try:
        found = date(year, month, day)
    except ValueError:
        return None, "date_unreadable"
    if _YEAR_AS_SERIAL.match(found.isoformat()):
        return None, "date_spreadsheet_damage"
    if not FIRST_YEAR <= year <= clock.now().year + 1:
        return None, "date_implausible"
    return found, ""


@lru_cache(maxsize=4096)
def authority_of(cell: Any) -> tuple[str, str]:
    """개방자치단체코드: seven digits, or "" and a code."""
    text = written(cell).strip()
    if len(text) == 7 and text.isascii() and text.isdigit():  # noqa: PLR2004 - the form of the code
        return text, ""
    return "", "authority_code_unreadable" if text else ""


def management_number_of(cell: Any) -> tuple[str, str]:
    """관리번호 as text; "" if a spreadsheet has rounded its 18 digits (2.02636E+17), for then it is no key any more."""
    if isinstance(cell, float) and abs(cell) > EXACT_UP_TO:
        return "", "key_damaged"
    text = written(cell).strip()
    return ("", "key_damaged") if _ROUNDED.fullmatch(text) else (text, "")
