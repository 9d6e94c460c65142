"""What an event may not carry: pictures, plates, biometric templates. Known by their names and by their shape.

An event points at footage by `media_ref`, which opens by a grant only; what shows or identifies a person without one
does not belong in it. A source that means well is told what to leave out; one that means ill could hide a picture
in any text, so this is a guard against carelessness and not the only one: data is small (MOST_DATA_BYTES).
"""

import base64
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import groupby
from typing import Any

import orjson

from app.errors import Malformed
from app.events.kind import MOST_TEXT

MOST_DATA_BYTES = 16_384
MOST_DEPTH = 8
MOST_NUMBERS = 64  # of a list: coordinates and counts are fewer, embeddings are more
MOST_REMEMBERED = 64  # characters of a field's name
MOST_BLOB = 512  # characters of base64 or hex in a row
INSTEAD = "an event carries no image, plate or biometric data; send media_ref"

FORBIDDEN_FIELDS = (
    "image", "img", "picture", "photo", "photograph", "jpeg", "jpg", "png", "gif", "webp", "bitmap", "snapshot",
    "screenshot", "frame", "thumbnail", "plate", "lpr", "anpr", "face", "facial", "template", "embedding", "biometric",
    "fingerprint", "iris", "voiceprint",
)  # fmt: skip
FORBIDDEN_COMPOUNDS = (  # as they are written without a seam
    "licenseplate", "licenceplate", "numberplate", "platenumber", "plateno", "platetext", "carnumber", "vehiclenumber",
    "vehicleno", "vehicleregistration", "faceid", "faceimage", "facevector", "facecrop", "featurevector", "imagedata",
    "imagebase", "base64image", "imgdata", "photodata", "irisscan",
)  # fmt: skip
FORBIDDEN_KOREAN = (
    "이미지", "사진", "스냅샷", "스냅숏", "썸네일", "캡처", "캡쳐", "정지영상", "번호판", "차량번호", "차번호", "얼굴",
    "안면", "지문", "홍채", "정맥", "생체", "임베딩", "템플릿", "특징점", "특징벡터",
)  # fmt: skip

_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[^\W\d_a-zA-Z]+")
_DATA_URI = re.compile(r"(?i)\bdata:(?:[a-z]+/[a-z0-9.+-]+(?:;[^\s,;]{1,100}){0,9}|(?:;[^\s,;]{1,100}){1,9}),")
_RUN = re.compile(r"[A-Za-z0-9+/_-]{56,}")  # longer than digests, shorter than the least picture
_BLOB = re.compile(r"(?:[A-Za-z0-9+/_-]{40,}={0,2}\s{0,4})+")  # also broken into lines
_URL = re.compile(r"[a-z][a-z0-9+.-]{1,10}://[^\s\"'<>]{1,2000}")
_HEX = re.compile(r"(?:0x)?((?:[0-9A-Fa-f]{2}[\s:-]?){40,})")
_APART = re.compile(r"[\s,;|\[\](){}]+")
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
_DECIMAL = re.compile(r"[-+]?\d*\.\d+(?:[eE][-+]?\d+)?")
# A plate and nothing else: a region, two or three digits, the letter of its use, four digits.
_PLATE = re.compile(
    r"(?:(?:서울|부산|대구|인천|광주|대전|울산|세종|경기|강원|충북|충남|전북|전남|경북|경남|제주)\s?\d|\d\d)\d{0,1}\s?"
    r"[가나다라마거너더러머버서어저고노도로모보소오조구누두루무부수우주아바사자배허하호국합육해공]\s?\d{4}"
)


def check(data: Mapping[str, Any]) -> str:
    """The data as JSON text. Refuses, naming the field, what is too large, too deep, no JSON, or footage."""
    try:
        written = orjson.dumps(data if isinstance(data, dict) else dict(data))
    except TypeError:
        raise Malformed(
            f"data is JSON of at most {MOST_DEPTH} levels; whole numbers have at most 64 bits", field="data"
        ) from None
    if len(written) > MOST_DATA_BYTES:
        raise Malformed(f"data has at most {MOST_DATA_BYTES} bytes", field="data")
    _check(data, "data", 1)
    return written.decode()


def _check(value: Any, path: str, depth: int) -> None:
    if depth > MOST_DEPTH:
        raise Malformed(f"data: at most {MOST_DEPTH} levels, one inside the other", field="data")
    if isinstance(value, str):
        check_text(value, path)
    elif isinstance(value, Mapping):
        for name, held in value.items():
            check_text(name, path)
            if _is_forbidden(name) if len(name) <= MOST_REMEMBERED else is_forbidden(name):
                raise Malformed(f"{path}.{name}: {INSTEAD}", field=path)
            _check(held, f"{path}.{name}", depth + 1)
    elif isinstance(value, list | tuple):
        if sum(1 for _ in _numbers(value)) > MOST_NUMBERS:
            raise Malformed(f"{path}: more than {MOST_NUMBERS} numbers look like a template; {INSTEAD}", field=path)
        for number, held in enumerate(value):
            _check(held, f"{path}[{number}]", depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise Malformed(f"{path} is no number", field=path)


def check_text(text: str, path: str) -> None:
    """Refuse a text that is too long, holds a NUL, or is a picture, a template or a plate."""
    if len(text) > MOST_TEXT or "\0" in text:
        raise Malformed(f"{path}: texts have at most {MOST_TEXT} characters and no NUL", field=path)
    if found := footage_in(text):
        raise Malformed(f"{path}: this is {found}; {INSTEAD}", field=path)


def is_forbidden(name: str) -> bool:
    """Whether a field's name says that it holds footage, in Korean or English, however it is written."""
    name = unicodedata.normalize("NFKC", name)
    if any(word in name for word in FORBIDDEN_KOREAN):
        return True
    words = [word.lower() for word in _WORDS.findall(name)]
    joined = "".join(words)
    return any(word in _FORBIDDEN or word.removesuffix("s") in _FORBIDDEN for word in words) or any(
        compound in joined for compound in FORBIDDEN_COMPOUNDS
    )


_FORBIDDEN = frozenset(FORBIDDEN_FIELDS)
_is_forbidden = lru_cache(4096)(is_forbidden)  # sources use the same few names over and over


def footage_in(text: str) -> str:
    """What kind of footage a text is, in words; empty for a text that is one."""
    if len(text) <= 20:  # noqa: PLR2004 - a plate with its region and blanks
        return "a number plate" if _PLATE.fullmatch(text.strip()) else ""
    if _DATA_URI.search(text):
        return "a data: URI"
    if len(text) >= 32 and (  # noqa: PLR2004 - no picture is smaller
        _is_picture(_latin(text))
        or any(_is_picture(_unbased(run[0])) for run in _RUN.finditer(text))
        or any(_is_picture(_unhexed(run[1])) for run in _HEX.finditer(text))
    ):
        return "an encoded picture"
    if len(text) > MOST_BLOB and any(len(run[0]) > MOST_BLOB for run in _BLOB.finditer(_URL.sub(" ", text))):
        return "a long block of encoded bytes"
    if len(text) > 2 * MOST_NUMBERS and any(
        is_number and sum(1 for _ in tokens) > MOST_NUMBERS
        for is_number, tokens in groupby(_APART.split(text), lambda token: bool(_NUMBER.fullmatch(token)))
    ):
        return "a row of numbers like a template"
    return ""


def _numbers(values: Any) -> Iterator[float]:
    """The numbers of a list and of the lists in it, decimals written as texts included."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from _numbers(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield value
        elif isinstance(value, str) and len(value) < 40 and _DECIMAL.fullmatch(value):  # noqa: PLR2004 - a double
            yield float(value)


def _latin(text: str) -> bytes:
    return text[:16].encode("latin-1", "replace") if text[0] > "\x7f" else b""


def _unbased(text: str) -> bytes:
    return base64.b64decode(text[:32].replace("-", "+").replace("_", "/"))


def _unhexed(text: str) -> bytes:
    return bytes.fromhex(re.sub(r"[^0-9A-Fa-f]", "", text[:48])[:24])


def _is_picture(start: bytes) -> bool:
    """Whether bytes begin as files of pictures do: JPEG, PNG, GIF, WebP, BMP, TIFF, HEIF and AVIF."""
    return (
        (start[:3] == b"\xff\xd8\xff" and start[3:4] >= b"\xc0")
        or start.startswith((b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*"))
        or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")
        or (start[:2] == b"BM" and start[6:10] == b"\0\0\0\0")
        or (start[4:8] == b"ftyp" and start[8:10].isalpha())
    )
