"""Who works in the city: agencies, what they share with each other, their units, and the offices one can sign in to."""

from collections.abc import Sequence
from random import Random
from typing import Final

from app.demo.city.ground import to_metres, to_place
from app.demo.city.shape import Account, Institution, Municipality, Share, Unit
from app.demo.city.streets import METRO, Ids

POLICE: Final = "police"
FIRE: Final = "fire"
OVERSIGHT: Final = "oversight"
POLICE_ROOM: Final = "police-room"
FIRE_ROOM: Final = "fire-room"

_MUNICIPALITIES_PER_POLICE_STATION: Final = 2
_MUNICIPALITIES_PER_FIRE_STATION: Final = 3
_EMERGENCY_BASES: Final = ("KR-PIPA-18-2-3", "KR-PIPA-18-2-7", "KR-PIPA-18-2-10")
_POLICE_PURPOSES: Final = (
    "emergency_response", "crime_investigation", "crime_prevention", "missing_person", "traffic_accident",
    "public_safety_event", "exercise",
)  # fmt: skip
_FIRE_PURPOSES: Final = ("emergency_response", "fire_and_rescue", "disaster", "missing_person", "exercise")
_ON_REQUEST: Final = "영상은 공문으로 요청하십시오. / Footage is given on an official letter."


def _stem(municipality: Municipality) -> tuple[str, str]:
    """가람 of 가람구, Garam of Garam-gu."""
    return municipality.name.removesuffix("구"), municipality.name_en.removesuffix("-gu")


def _station(kind: str, number: int) -> str:
    return f"{kind}-station-{number + 1}"


def police_box(municipality: Municipality) -> str:
    """The key of a municipality's police box."""
    return f"box-{municipality.code}"


def center(owner: str) -> str:
    """The key of an owner's control center (관제센터)."""
    return f"center-{owner}"


def institutions(name: str, name_en: str, authority_code: str, districts: Sequence[Municipality]) -> list[Institution]:
    """All agencies, parents before their parts."""
    stem = name.removesuffix("광역시")
    found = [
        Institution(METRO, name, name_en, "city", None, authority_code),
        Institution(center(METRO), f"{stem} 스마트도시통합운영센터", f"{name_en} operations center", "center", METRO),
        Institution(OVERSIGHT, f"{stem} 자치경찰위원회", f"{name_en} police committee", "oversight", METRO),
        Institution(POLICE, f"{stem}경찰청", f"{name_en} police agency", "police"),
        Institution(POLICE_ROOM, "112치안종합상황실", "112 control room", "division", POLICE),
        Institution(FIRE, f"{stem}소방본부", f"{name_en} fire agency", "fire"),
        Institution(FIRE_ROOM, "119종합상황실", "119 control room", "division", FIRE),
    ]
    for number, district in enumerate(districts):
        korean, english = _stem(district)
        found += [
            Institution(
                district.code, district.name, district.name_en, "municipality", METRO, district.authority_code
            ),
            Institution(
                center(district.code), f"{district.name} 통합관제센터", f"{district.name_en} control center", "center",
                district.code,
            ),
        ]  # fmt: skip
        if number % _MUNICIPALITIES_PER_POLICE_STATION == 0:
            key = _station(POLICE, number // _MUNICIPALITIES_PER_POLICE_STATION)
            found.append(Institution(key, f"{korean}경찰서", f"{english} police station", "police", POLICE))
        if number % _MUNICIPALITIES_PER_FIRE_STATION == 0:
            key = _station(FIRE, number // _MUNICIPALITIES_PER_FIRE_STATION)
            found.append(Institution(key, f"{korean}소방서", f"{english} fire station", "fire", FIRE))
        above = _station(POLICE, number // _MUNICIPALITIES_PER_POLICE_STATION)
        found.append(Institution(police_box(district), f"{korean}지구대", f"{english} police box", "box", above))
    return found


def shares(city_name: str, demo: Municipality, locate_only: Municipality) -> list[Share]:
    """The city and the demo district share live views with police and fire; one district only places."""
    found: list[Share] = []
    for grantee, word, purposes in ((POLICE, "경찰", _POLICE_PURPOSES), (FIRE, "소방", _FIRE_PURPOSES)):
        for owner, name in ((METRO, city_name), (demo.code, demo.name)):
            number = f"{name}-연계-2026-{len(found) + 1:02}"
            title = f"{name} 영상정보 {word} 연계 협약"
            verbs = ("locate", "request", "view")
            found.append(Share(owner, grantee, title, number, verbs, purposes, _EMERGENCY_BASES))
        number = f"{locate_only.name}-연계-2026-{len(found) + 1:02}"
        title = f"{locate_only.name} 카메라 위치정보 {word} 공유 협약"
        found.append(Share(locate_only.code, grantee, title, number, ("locate",), condition=_ON_REQUEST))
    return found


def units(dice: Random, made: Ids, districts: Sequence[Municipality]) -> list[Unit]:
    """Two patrol cars at every police box; two engines and an ambulance at every fire station."""
    found = []
    for number, district in enumerate(districts):
        korean, _ = _stem(district)
        crews = [(police_box(district), "patrol_car", f"{korean} 순찰 {n}호", 2) for n in (1, 2)]
        if number % _MUNICIPALITIES_PER_FIRE_STATION == 0:
            station = _station(FIRE, number // _MUNICIPALITIES_PER_FIRE_STATION)
            crews += [(station, "fire_truck", f"{korean} 펌프 {n}호", 4) for n in (1, 2)]
            crews.append((station, "ambulance", f"{korean} 구급 1호", 3))
        x, y = to_metres(district.centre)
        for institution, kind, call_sign, crew in crews:
            place = to_place(x + dice.uniform(-400, 400), y + dice.uniform(-400, 400))
            found.append(Unit(made.next(), institution, kind, call_sign, crew, place))
    return found


def accounts(demo: Municipality) -> list[Account]:
    """One account for every kind of user. They are offices: no person is named."""
    korean, _ = _stem(demo)
    own = center(demo.code)
    return [
        Account("admin", "demo.admin", "영상정보 관리자 1", "admin", demo.code, "주무관"),
        Account("district_operator", "demo.operator", "관제요원 1", "operator", own),
        Account("shift_lead", "demo.lead", "관제 조장 1", "shift_lead", own),
        Account("police_room", "demo.police", "112상황실 근무자 1", "room", POLICE_ROOM, "경위"),
        Account("fire_room", "demo.fire", "119상황실 근무자 1", "room", FIRE_ROOM, "소방위"),
        Account("patrol_unit", "demo.patrol", "순찰요원 1", "field", police_box(demo), "경장", f"{korean} 순찰 1호"),
        Account("integration", "demo.system", "비상벨 연계 시스템", "integration", demo.code),
        Account("auditor", "demo.auditor", "감사담당 1", "auditor", demo.code),
    ]
