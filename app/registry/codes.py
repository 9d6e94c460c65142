"""Code lists of the registry, with the Korean labels that cities write in their files.

Sources: the CCTV standard data set of the Korean public data portal (설치목적구분) and the Seoul 안심이 file
(CCTV 용도), whose uses are mapped to the standard's purposes.
"""

from functools import lru_cache
from typing import Final

UNKNOWN: Final = "unknown"

INSTALLATION_PURPOSES: Final[dict[str, str]] = {
    "crime_prevention": "생활방범",
    "child_safety": "어린이보호",
    "facility": "시설물관리",
    "illegal_dumping": "쓰레기단속",
    "traffic_enforcement": "교통단속",
    "traffic_information": "교통정보수집",
    "disaster": "재난재해",
    "vehicle_crime": "차량방범",
    "multi": "다목적",
    "other": "기타",
    UNKNOWN: "미상",
}
"""Why a camera stands where it stands: code to Korean label. `unknown` is ours, for files that do not say."""

SEOUL_USES: Final[dict[str, str]] = {
    "방범": "crime_prevention",
    "어린이안전": "child_safety",
    "도심공원": "crime_prevention",
    "불법주정차": "traffic_enforcement",
    "쓰레기 무단투기": "illegal_dumping",
    "치수방재": "disaster",
    "시설물 관리": "facility",
    "미세먼지": "other",
    "산불감시": "disaster",
    "자전거보관소": "facility",
    "고정식": UNKNOWN,  # a build (fixed), not a purpose
    "회전식": UNKNOWN,  # a build (turning), not a purpose
}
"""CCTV 용도 of the Seoul 안심이 file to the code of the standard's purpose."""

_SEPARATORS: Final = str.maketrans(dict.fromkeys("+,/·;&|", "\n"))


def _plain(label: str) -> str:
    return "".join(label.split())


_CODES: Final = {
    **{_plain(label): code for code, label in INSTALLATION_PURPOSES.items()},
    **{_plain(label): code for label, code in SEOUL_USES.items()},
}


@lru_cache(maxsize=1024)
def purposes_of(label: str) -> tuple[str, ...]:
    """The codes that a label stands for, in its order: "생활방범+어린이보호" names two.

    Spaces do not matter. What is in no list counts as `unknown`, once; an empty label is `("unknown",)`.
    """
    parts = [_plain(part) for part in label.translate(_SEPARATORS).split("\n")]
    known = [_CODES.get(part) or _CODES.get(part.removesuffix("용"), UNKNOWN) for part in parts if part]
    return tuple(dict.fromkeys(known)) or (UNKNOWN,)


ANALYTICS: Final[dict[str, str]] = {
    "loitering": "배회",
    "intrusion": "침입",
    "abandonment": "유기",
    "collapse": "쓰러짐",
    "fight": "싸움",
    "arson": "방화",
    "marketing": "마케팅",
    "drowning": "익수자",
    "missing_person": "실종자 수색",
    "fire": "화재 감시",
    "stalking": "스토킹 방지",
    "unmanned_store": "무인매장",
    "security_robot": "무인 경비로봇",
    "dementia_search": "치매 어르신 수색",
    "nursing_home": "요양시설",
    "urban_railway": "도시철도",
    "school": "학교생활",
    "drone_fire": "드론 화재",
    "rail": "철도",
    "weapon": "흉기",
    "crowd_density": "밀집도",
    "vehicle": "차량 인식",
}
"""Intelligent functions: the general and safety classes of KISA's performance tests, as the events call them."""
