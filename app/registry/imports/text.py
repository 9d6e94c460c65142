"""Text of a city's file made fit to be stored: normalised, without control characters, without secrets.

Camera addresses and passwords do get published in address columns. They are removed here, before anything is stored,
logged or shown in a finding.
"""

import re
import unicodedata
from datetime import date, datetime
from functools import lru_cache
from typing import Any, Final

PRIVATE_PLACES: Final = ("private_place_inside", "private_place", "private_place_nearby")
REMOVED: Final = "[삭제됨]"
MAX_TEXT_LETTERS: Final = 500
MAX_SHOWN_LETTERS: Final = 80
EXACT_UP_TO: Final = 2**53  # a whole number beyond it has lost digits in a spreadsheet's cell

_OCTET: Final = r"(?:25[0-5]|2[0-4]\d|1\d\d|\d?\d)"
_DOT: Final = r"\s?\.\s?"
_SECRETS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # Addresses of streams and devices, with or without credentials inside.
        r"\b(?:rtsps?|rtmps?|https?|ftps?|onvif|mms|ws|wss)\s?:\s?//\S+",
        r"[\w.%+-]+:[^\s:@/]+@[\w.-]+(?::\d+)?\S*",
        # A whole IPv4 address with port and path, or three numbers of a private one ("192.168.3.xx").
        rf"(?<![\d.]){_OCTET}(?:{_DOT}{_OCTET}){{3}}(?!\.?\d)(?:\s?:\s?\d{{1,5}})?(?:/[\w./?=&%-]*)?",
        rf"(?<![\d.])(?:192{_DOT}168|172{_DOT}(?:1[6-9]|2\d|3[01]))(?:{_DOT}[\dx*]{{1,3}}){{1,2}}(?![\d.]*\d)",
        r"(?<![0-9a-f:])(?:[0-9a-f]{1,4}:){5,7}[0-9a-f]{1,4}(?![0-9a-f:])",  # IPv6 in full, and MAC addresses
        r"(?<![0-9a-f:])(?:[0-9a-f]{1,4}:){1,6}(?::[0-9a-f]{1,4}){1,6}(?![0-9a-f:])",  # IPv6 with ::
        # admin/1234, id: root pw: 4321, 비밀번호 0000
        r"(?<![a-z0-9])(?:admin(?:istrator)?|root|guest|operator|onvif|service|user(?:name)?|login)\s?[/:=|]\s?\S+",
        r"(?<![a-z0-9])(?:admin|root)\s\d\S{2,}",
        r"(?<![a-z0-9])(?:pass(?:word|wd)?|passcode|pwd?)(?![a-z])\s?(?:[/:=|]\s?\S+|\s\S*\d\S*)",
        r"(?:비밀번호|비번|암호|패스워드)\s?(?:[/:=|은는]\s?\S+|\s?[!-~]*\d[!-~]*)",
        r"(?<![a-z0-9])(?:id|아이디|계정)\s?[:=]\s?\S+",
    )
)
# Cheap tests, over every text, for anything that one of the patterns above or the repairs below could change. The
# first is fast because all its alternatives begin with a literal; the last is asked only where the second finds.
_TELLING_WORD: Final = re.compile(
    r"\.\s?[\dx*]{1,3}\s?\.|비밀번호|비번|암호|패스워드|화장실|목욕|욕실|탈의|샤워|발한실|사우나|찜질방"
    r"|pa|pA|Pa|PA|pw|pW|Pw|PW|ad|aD|Ad|AD|ro|rO|Ro|RO"  # pass, passwd, pw; admin; root
).search
_TELLING_SIGN: Final = re.compile(r"[/:@=|\ufffd\u0300-\u036f\u1100-\u11ff]").search
_TELLING_USE: Final = re.compile(r"[:@=|\ufffd\u0300-\u036f\u1100-\u11ff]|[a-zA-Z]\s?/").search
_PRIVATE_PLACE: Final = re.compile(r"화장실|목욕[실탕]|욕실|탈의[실장]|샤워[실장]|발한실|사우나|찜질방").search
_INSIDE: Final = re.compile(r"\s*\(?\s*(?:내부|안쪽|실내|칸막이|(?:안|내)(?=[\s)\]]|$))").match
_NEARBY: Final = re.compile(
    r"앞|옆|뒤|입구|주변|인근|부근|근처|외부|맞은편|건너|방향|방면|사거리|삼거리|골목|담장|밖|위|진입로|쪽"
).search


@lru_cache(maxsize=8192)
def clean(raw: str) -> tuple[str, tuple[str, ...]]:
    """The text as it may be stored, and the codes of what was wrong with it.

    NFC; white space of any kind, line breaks included, becomes one space; NUL and other control characters go;
    addresses, URLs and credentials of devices become `[삭제됨]`; at most 500 letters.
    """
    flaws: list[str] = []
    if "\n" in raw or "\r" in raw:
        flaws.append("line_break_in_text")
    text = " ".join(raw[: 8 * MAX_TEXT_LETTERS].split())
    visible = "".join(letter for letter in text if unicodedata.category(letter) not in ("Cc", "Cs", "Cf", "Cn", "Co"))
    kept = " ".join(unicodedata.normalize("NFC", visible).split())
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text):
        flaws.append("control_characters")
    if "\ufffd" in kept:
        flaws.append("text_damaged")
    scrubbed = kept
    for secret in _SECRETS:
        scrubbed = secret.sub(REMOVED, scrubbed)
    if scrubbed != kept:
        flaws.append("secret_removed")
    if place := private_place(kept):
        flaws.append(place)
    if len(scrubbed) > MAX_TEXT_LETTERS or len(raw) > 8 * MAX_TEXT_LETTERS:
        flaws.append("text_shortened")
        scrubbed = scrubbed[:MAX_TEXT_LETTERS]
    return scrubbed.strip(), tuple(flaws)


DANGEROUS: Final = "=+-@\t\r\n"
_DEFUSED: Final = re.compile(r"'+[=+\-@\t\r\n]").match


def defused(text: str) -> str:
    """Text as a cell may hold it: an apostrophe goes before what a spreadsheet would take for a formula."""
    return f"'{text}" if (text[:1] in DANGEROUS and text) or _DEFUSED(text) else text


def undefused(text: str) -> str:
    """The text of a cell that `defused` (or a spreadsheet's user) wrote."""
    return text[1:] if text[:1] == "'" and _DEFUSED(text) else text


def is_clean(text: str) -> bool:
    """True if `clean` would find nothing in the text and change nothing but its spaces; costs a tenth of it."""
    return (
        text.isprintable()
        and len(text) <= MAX_TEXT_LETTERS
        and not _TELLING_WORD(text)
        and not (_TELLING_SIGN(text) and _TELLING_USE(text))
        and (text.isascii() or unicodedata.is_normalized("NFC", text))
    )


def private_place(text: str) -> str:
    """Does a place name suggest that a camera looks into a toilet, bath or changing room (PIPA 25(2))?

    "private_place_inside" if it says so, "private_place" if it may be, "private_place_nearby" if the words say that it
    stands before or beside one, else "".
    """
    place = _PRIVATE_PLACE(text)
    if place is None:
        return ""
    if _INSIDE(text, place.end()):
        return "private_place_inside"
    return "private_place_nearby" if _NEARBY(text, max(0, place.start() - 4)) else "private_place"


def written(cell: Any) -> str:
    """A cell as a person would write it: 3.0 is "3", a date is ISO, midnight is no time, an empty cell is ""."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) <= EXACT_UP_TO else repr(cell)
    if isinstance(cell, datetime):
        return cell.date().isoformat() if cell.time() == datetime.min.time() else cell.isoformat(" ")
    if isinstance(cell, date):
        return cell.isoformat()
    return "" if cell is None else str(cell)


def shown(cell: Any) -> str:
    """A cell as a finding or a message may quote it: scrubbed and short."""
    text = clean(written(cell))[0]
    return text if len(text) <= MAX_SHOWN_LETTERS else text[: MAX_SHOWN_LETTERS - 1] + "…"
