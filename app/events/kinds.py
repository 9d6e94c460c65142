"""The kinds of events. `docs/EVENTS.md` is made of them (`python -m app.events.document`).

The classes of `analytic` are those for which KISA tests intelligent CCTV (general and safety classes, crowd density);
the levels of `crowd` are those of Seoul's crowd sensing.
"""

from dataclasses import replace

from app.events.fields import NOUNS, about_alarm
from app.events.kind import ALARM, EMERGENCY, INFO, NOTICE, WARNING, EventKind

_CROWD = "crowd.caution"
_KINDS = (
    EventKind("bell.pressed", EMERGENCY, "비상벨 눌림", "an emergency bell was pressed", acknowledge_seconds=30),
    EventKind("bell.tested", INFO, "비상벨 점검", "a bell was tested"),
    EventKind("bell.failed", WARNING, "비상벨 고장", "a bell does not answer", lasts=True),
    EventKind("bell.restored", NOTICE, "비상벨 복구", "a bell answers again", ends="bell.failed"),
    EventKind("camera.lost", WARNING, "영상 끊김", "a camera gives no picture", lasts=True),
    EventKind("camera.restored", NOTICE, "영상 복구", "a camera gives its picture again", ends="camera.lost"),
    EventKind("cameras.lost", ALARM, "영상 동시 끊김", "many cameras were lost together", from_outside=False),
    EventKind("cameras.restored", NOTICE, "영상 동시 복구", "many cameras are back together", from_outside=False),
    EventKind("camera.moved", NOTICE, "카메라 방향 변경", "a camera was turned"),
    EventKind("camera.covered", WARNING, "카메라 가림", "a camera sees nothing: covered, dazzled or sprayed"),
    EventKind("analytic.motion", INFO, "움직임", "something moved where nothing should, as the camera sees it"),
    EventKind("analytic.loitering", NOTICE, "배회", "somebody stays where one passes"),
    EventKind("analytic.intrusion", WARNING, "침입", "somebody is where nobody may be"),
    EventKind("analytic.abandonment", NOTICE, "유기", "something was left behind"),
    EventKind("analytic.collapse", ALARM, "쓰러짐", "somebody fell down", acknowledge_seconds=60),
    EventKind("analytic.fight", ALARM, "싸움", "people fight", acknowledge_seconds=60),
    EventKind(
        "analytic.weapon", EMERGENCY, "흉기 의심", "somebody seems to carry a weapon: a person confirms first",
        acknowledge_seconds=30,
    ),
    EventKind("analytic.arson", EMERGENCY, "방화", "somebody sets a fire", acknowledge_seconds=30),
    EventKind("analytic.fire", EMERGENCY, "화재", "fire or smoke", acknowledge_seconds=30),
    EventKind("analytic.drowning", EMERGENCY, "익수자", "somebody is in the water", acknowledge_seconds=30),
    EventKind(
        "analytic.missing_person", ALARM, "실종자 발견", "a searched person seems to be seen", acknowledge_seconds=120
    ),
    EventKind("analytic.marketing", INFO, "마케팅", "people who pass or stay were counted"),
    EventKind("analytic.stalking", ALARM, "스토킹 의심", "somebody seems to follow another", acknowledge_seconds=60),
    EventKind("analytic.unmanned_store", WARNING, "무인매장 이상행동", "damage or theft in a shop without staff"),
    EventKind("analytic.security_robot", WARNING, "무인 경비로봇 감지", "a patrolling robot noticed something"),
    EventKind(
        "analytic.dementia_search", ALARM, "치매 어르신 발견", "a searched person with dementia seems to be seen",
        acknowledge_seconds=120,
    ),
    EventKind(
        "analytic.nursing_home", ALARM, "요양시설 이상행동", "a fall or violence in a nursing home",
        acknowledge_seconds=60,
    ),
    EventKind(
        "analytic.urban_railway", ALARM, "도시철도 이상행동", "danger at a platform or in a station",
        acknowledge_seconds=60,
    ),
    EventKind(
        "analytic.school", ALARM, "학교 이상행동", "violence or a stranger at a school", acknowledge_seconds=60
    ),
    EventKind("analytic.drone_fire", EMERGENCY, "드론 화재 감지", "fire seen from a drone", acknowledge_seconds=30),
    EventKind("analytic.rail", ALARM, "철도 이상행동", "somebody or something on a railway", acknowledge_seconds=60),
    EventKind("analytic.crowd_density", INFO, "밀집도 측정", "people per square metre were measured"),
    EventKind("crowd.caution", NOTICE, "밀집 주의", "2 to 3 people per square metre", lasts=True),
    EventKind(
        "crowd.alert", ALARM, "밀집 경계", "3 to 4 people per square metre", acknowledge_seconds=120, lasts=True,
        of_family=_CROWD,
    ),
    EventKind(
        "crowd.serious", EMERGENCY, "밀집 심각", "5 and more people per square metre", acknowledge_seconds=60,
        lasts=True, of_family=_CROWD,
    ),
    EventKind("crowd.cleared", NOTICE, "밀집 해소", "a crowd has loosened", ends=_CROWD),
    EventKind("traffic.accident", ALARM, "교통사고", "a traffic accident", acknowledge_seconds=120),
    EventKind("traffic.congestion", NOTICE, "교통 정체", "traffic hardly moves"),
    EventKind("traffic.wrong_way", ALARM, "역주행", "a vehicle goes the wrong way", acknowledge_seconds=60),
    EventKind("traffic.obstacle", WARNING, "도로 장애물", "something lies on the road"),
    EventKind(
        "incident.opened", ALARM, "상황 접수", "an incident was opened", acknowledge_seconds=120, lasts=True
    ),
    EventKind("incident.updated", NOTICE, "상황 변경", "an incident changed", of_family="incident.opened"),
    EventKind("incident.closed", NOTICE, "상황 종료", "an incident was closed", ends="incident.opened"),
    EventKind("unit.dispatched", NOTICE, "출동", "a unit was sent"),
    EventKind("unit.arrived", INFO, "도착", "a unit arrived"),
    EventKind("unit.returned", INFO, "복귀", "a unit is available again"),
    EventKind("unit.endangered", EMERGENCY, "출동대 위급", "a unit calls for help", acknowledge_seconds=30),
    EventKind("patrol.started", INFO, "순찰 시작", "a patrol began"),
    EventKind("patrol.passed", INFO, "순찰지점 통과", "a patrol passed a point"),
    EventKind("patrol.missed", WARNING, "순찰지점 미통과", "a patrol did not pass a point in time"),
    EventKind("patrol.reported", NOTICE, "순찰 특이사항", "a patrol found something"),
    EventKind("patrol.finished", INFO, "순찰 종료", "a patrol ended"),
    EventKind("pole.tilted", WARNING, "스마트폴 기울어짐", "a pole leans", lasts=True),
    EventKind("pole.righted", NOTICE, "스마트폴 복구", "a pole stands upright again", ends="pole.tilted"),
    EventKind("pole.opened", WARNING, "스마트폴 함체 열림", "a pole's door was opened"),
    EventKind("light.failed", WARNING, "보안등 고장", "a security light is out", lasts=True),
    EventKind("light.restored", NOTICE, "보안등 복구", "a security light works again", ends="light.failed"),
    EventKind("light.changed", INFO, "보안등 상태 변경", "a light was switched or dimmed"),
    EventKind("sign.changed", INFO, "전광판 표출 변경", "a board shows another text"),
    EventKind("sign.failed", WARNING, "전광판 고장", "a board does not answer", lasts=True),
    EventKind("sign.restored", NOTICE, "전광판 복구", "a board answers again", ends="sign.failed"),
    EventKind("speaker.played", INFO, "안내 방송", "a speaker said something"),
    EventKind("speaker.failed", WARNING, "스피커 고장", "a speaker does not answer", lasts=True),
    EventKind("speaker.restored", NOTICE, "스피커 복구", "a speaker answers again", ends="speaker.failed"),
    EventKind(
        "device.alarmed", EMERGENCY, "보호장치 경보", "a wearable or a sensor warns of danger", acknowledge_seconds=30
    ),
    EventKind("device.tampered", WARNING, "장치 훼손", "a device was opened or damaged"),
    EventKind("device.failed", WARNING, "장치 고장", "a device does not answer", lasts=True),
    EventKind("device.restored", NOTICE, "장치 복구", "a device answers again", ends="device.failed"),
    EventKind("signal.changed", INFO, "교통신호 변경", "a traffic signal changed"),
    EventKind("signal.prioritised", NOTICE, "우선신호 부여", "a traffic signal lets a unit pass"),
    EventKind("signal.failed", WARNING, "교통신호 고장", "a traffic signal does not work", lasts=True),
    EventKind("signal.restored", NOTICE, "교통신호 복구", "a traffic signal works again", ends="signal.failed"),
    EventKind("alert.issued", ALARM, "경보 발령", "the public is warned"),
    EventKind("alert.delivered", INFO, "경보 전달", "an alert reached those it was for"),
    EventKind("alert.withdrawn", NOTICE, "경보 해제", "an alert holds no longer"),
    EventKind(
        "alarm.acknowledged", NOTICE, "경보 확인", "somebody takes care of an alarm", from_outside=False,
        fields=about_alarm("room", "by"),
    ),
    EventKind(
        "alarm.judged", NOTICE, "경보 판정", "somebody said what an alarm was", from_outside=False,
        fields=about_alarm("verdict", "room", "by", "note", "duplicate_of"),
    ),
    EventKind(
        "alarm.repeated", NOTICE, "경보 재통보", "an alarm that nobody took is told again", from_outside=False,
        fields=about_alarm("times"),
    ),
    EventKind(
        "alarm.escalated", ALARM, "경보 상향", "an alarm that nobody took goes to somebody above", from_outside=False,
        fields=about_alarm("target", "times", "room", "by"),
    ),
    EventKind("grant.given", INFO, "영상 접속 승인", "somebody was permitted to view a camera", from_outside=False),
    EventKind("grant.revoked", INFO, "영상 접속 회수", "a permission ended before its time", from_outside=False),
    EventKind("view.opened", INFO, "영상 조회 시작", "somebody began to view a camera", from_outside=False),
    EventKind("view.closed", INFO, "영상 조회 종료", "somebody stopped viewing a camera", from_outside=False),
    EventKind(
        "approval.asked", WARNING, "영상 접속 승인 요청", "somebody asks the owner to let cameras be viewed",
        from_outside=False,
    ),
    EventKind(
        "approval.withdrawn", NOTICE, "영상 접속 승인 요청 철회", "who had asked withdrew it", from_outside=False
    ),
    EventKind("approval.given", NOTICE, "영상 접속 승인 결정", "the owner approved a viewing", from_outside=False),
    EventKind("approval.refused", NOTICE, "영상 접속 승인 거부", "the owner refused a viewing", from_outside=False),
    EventKind(
        "approval.ended", NOTICE, "영상 접속 승인 종료", "the owner ended a request or its approval",
        from_outside=False,
    ),
    EventKind("ptz.opened", INFO, "카메라 조작 시작", "somebody began to turn a camera", from_outside=False),
    EventKind("ptz.closed", INFO, "카메라 조작 종료", "somebody stopped turning a camera", from_outside=False),
    EventKind("import.finished", INFO, "가져오기 완료", "a file was taken into the register", from_outside=False),
    EventKind("import.failed", WARNING, "가져오기 실패", "a file was not taken", from_outside=False),
    EventKind("review.opened", NOTICE, "접속기록 점검 시작", "a review of the log was opened", from_outside=False),
    EventKind(
        "review.overdue", WARNING, "접속기록 점검 지연", "nobody signed a review of the access log in time",
        from_outside=False,
    ),
    EventKind(
        "request.overdue", WARNING, "열람등 요구 처리 지연", "a data subject's request was not answered in time",
        from_outside=False,
    ),
    EventKind(
        "audit.spooling", WARNING, "감사기록 현장 보관",
        "the database was away, and what went on was written down late", from_outside=False,
    ),
    EventKind("webhook.failed", WARNING, "웹훅 전달 실패", "a receiver takes nothing any more", from_outside=False),
)  # fmt: skip

ALL = tuple(replace(kind, subjects=NOUNS[kind.noun][0], fields=(*kind.fields, *NOUNS[kind.noun][1])) for kind in _KINDS)
