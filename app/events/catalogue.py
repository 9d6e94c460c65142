"""The kinds of events: what they mean, how urgent they are, what they may carry. `noun.verb`, in the past."""

from dataclasses import dataclass

INFO, NOTICE, WARNING, ALARM, EMERGENCY = range(5)
SEVERITIES = ("info", "notice", "warning", "alarm", "emergency")


@dataclass(frozen=True, slots=True)
class EventKind:
    """A kind of event with its usual severity and its meaning in Korean and English."""

    name: str
    severity: int
    label: str
    meaning: str
    from_outside: bool = True  # whether an integration may report it


_KINDS = (
    EventKind("bell.pressed", EMERGENCY, "비상벨 눌림", "an emergency bell was pressed"),
    EventKind("bell.tested", INFO, "비상벨 점검", "a bell was tested"),
    EventKind("bell.failed", WARNING, "비상벨 고장", "a bell does not answer"),
    EventKind("camera.lost", WARNING, "영상 끊김", "a camera gives no picture"),
    EventKind("camera.restored", NOTICE, "영상 복구", "a camera gives its picture again"),
    EventKind("camera.moved", NOTICE, "카메라 방향 변경", "a camera was turned"),
    EventKind("analytic.loitering", NOTICE, "배회", "somebody stays where one passes"),
    EventKind("analytic.intrusion", WARNING, "침입", "somebody is where nobody may be"),
    EventKind("analytic.abandonment", NOTICE, "유기", "something was left behind"),
    EventKind("analytic.collapse", ALARM, "쓰러짐", "somebody fell down"),
    EventKind("analytic.fight", ALARM, "싸움", "people fight"),
    EventKind("analytic.weapon", EMERGENCY, "흉기 의심", "somebody seems to carry a weapon: a person confirms first"),
    EventKind("analytic.arson", EMERGENCY, "방화", "somebody sets a fire"),
    EventKind("analytic.fire", EMERGENCY, "화재", "fire or smoke"),
    EventKind("analytic.drowning", EMERGENCY, "익수자", "somebody is in the water"),
    EventKind("analytic.missing_person", ALARM, "실종자 발견", "a searched person seems to be seen"),
    EventKind("crowd.caution", NOTICE, "밀집 주의", "2 to 3 people per square metre"),
    EventKind("crowd.alert", ALARM, "밀집 경계", "3 to 4 people per square metre"),
    EventKind("crowd.serious", EMERGENCY, "밀집 심각", "5 and more people per square metre"),
    EventKind("traffic.accident", ALARM, "교통사고", "a traffic accident"),
    EventKind("incident.opened", ALARM, "상황 접수", "an incident was opened"),
    EventKind("incident.updated", NOTICE, "상황 변경", "an incident changed"),
    EventKind("incident.closed", NOTICE, "상황 종료", "an incident was closed"),
    EventKind("unit.dispatched", NOTICE, "출동", "a unit was sent"),
    EventKind("unit.arrived", INFO, "도착", "a unit arrived"),
    EventKind("pole.tilted", WARNING, "스마트폴 기울어짐", "a pole leans"),
    EventKind("grant.given", INFO, "영상 접속 승인", "somebody was permitted to view a camera", from_outside=False),
    EventKind("grant.revoked", INFO, "영상 접속 회수", "a permission ended before its time", from_outside=False),
    EventKind("view.opened", INFO, "영상 조회 시작", "somebody began to view a camera", from_outside=False),
    EventKind("view.closed", INFO, "영상 조회 종료", "somebody stopped viewing a camera", from_outside=False),
)
KINDS = {kind.name: kind for kind in _KINDS}
