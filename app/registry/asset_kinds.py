"""The kinds of assets and what is kept of each: the fields of `details`, checked the same from a file and from a door.

Bells: the standard data set of emergency bells (안전비상벨위치정보). Poles: that of smart streetlights (스마트가로등).
"""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, Final

from app.errors import Malformed
from app.models import ASSET_KINDS

MOST_LETTERS: Final = 500
MOST_ITEMS: Final = 30

LABELS: Final = {
    "bell": "비상벨",
    "pole": "스마트폴",
    "light": "보안등",
    "sign": "LED 안내판",
    "speaker": "스피커",
    "enforcement": "교통단속 카메라",
    "mirror": "반사경",
    "sensor": "센서",
}
BELL_PURPOSES: Final = {"crime_prevention": "방범용", "protection": "약자보호", "other": "기타"}
BELL_PLACES: Final = {
    "park": "공원", "car_park": "주차장", "toilet": "화장실", "roadside": "가로변", "building": "건물",
    "single_person_store": "1인점포", "other": "기타",
}  # fmt: skip
BELL_LINKS: Final = {"two_way": "양방향", "one_way": "단방향", "none": "미연계"}
BELL_FUNCTIONS: Final = {
    "cctv": "CCTV", "warning_light": "경보등", "warning_sound": "경보음", "voice_recognition": "음성인식",
    "siren": "사이렌",
}  # fmt: skip

Check = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MOST_LETTERS and (value == "" or value.isprintable())


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_day(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(date.fromisoformat(value))
    except ValueError:
        return False


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 1_000_000  # noqa: PLR2004 - enough


def _one_of(codes: Mapping[str, str]) -> Check:
    return lambda value: isinstance(value, str) and value in codes


def _texts(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= MOST_ITEMS and all(map(_is_text, value))


# By kind of asset: field to (what it must be, and how a refusal says so).
_FIELDS: Final[dict[str, dict[str, tuple[Check, str]]]] = {
    "bell": {
        "management_number": (_is_text, "a text"),
        "purpose": (_one_of(BELL_PURPOSES), "one of " + ", ".join(BELL_PURPOSES)),
        "place_type": (_one_of(BELL_PLACES), "one of " + ", ".join(BELL_PLACES)),
        "link_kind": (_one_of(BELL_LINKS), "one of " + ", ".join(BELL_LINKS)),
        "police_link": (_is_flag, "true or false"),
        "security_company_link": (_is_flag, "true or false"),
        "office_link": (_is_flag, "true or false"),
        "extra_functions": (_texts, "a list of texts"),
        "inspected_on": (_is_day, "a date, such as 2026-05-30"),
        "inspection_passed": (_is_flag, "true or false"),
    },
    "pole": {
        "light_type": (_is_text, "a text"),
        "shape": (_is_text, "a text"),
        "lit": (_is_flag, "true or false"),
        "sensors": (_is_text, "a text"),
        "sensing_services": (_is_text, "a text"),
        "functions": (_texts, "a list of texts, such as cctv, wifi, emergency_report"),
        "app_name": (_is_text, "a text"),
        "app_content": (_is_text, "a text"),
        "other_services": (_is_text, "a text"),
    },
    "light": {"mount": (_is_text, "a text")},
    "sign": {"text": (_is_text, "a text"), "size": (_is_text, "a text")},
    "speaker": {"watts": (_is_count, "a number")},
    "enforcement": {
        "offences": (_texts, "a list of texts, such as speed, signal, helmet"),
        "two_wheeler": (_is_flag, "true or false"),
        "speed_limit_kmh": (_is_count, "a number"),
    },
    "mirror": {"diameter_mm": (_is_count, "a number")},
    "sensor": {"measures": (_texts, "a list of texts, such as pm10, noise")},
}


def check_kind(kind: str) -> str:
    """The kind; Malformed when there is none of that name."""
    if kind not in ASSET_KINDS:
        raise Malformed(f"kind is one of: {', '.join(ASSET_KINDS)}", field="kind")
    return kind


def check_details(kind: str, details: Mapping[str, Any]) -> dict[str, Any]:
    """The details of an asset of this kind; Malformed names the field that is none of its, or wrong."""
    fields = _FIELDS[check_kind(kind)]
    for name, value in details.items():
        if name not in fields:
            raise Malformed(
                f"details.{str(name)[:40]}: a {kind} has {', '.join(fields) or 'no fields of its own'}",
                field=f"details.{str(name)[:40]}",
            )
        is_right, expected = fields[name]
        if value is not None and not is_right(value):
            raise Malformed(f"details.{name} is {expected}", field=f"details.{name}")
    return {name: value for name, value in details.items() if value is not None}


def code_of(codes: Mapping[str, str], label: str) -> str:
    """The code of a Korean label as cities write it, "" if there is none."""
    bare = "".join(label.split())
    return next((code for code, known in codes.items() if known == bare), "")
