"""The typed fields that events carry in `data`, by noun. What could tell of a person is for responders or the owner."""

from app.events.kind import ANYTHING, Field, Sight

_RESPONDER, _OWNER = Sight.RESPONDER, Sight.OWNER

NOTE = Field("note", "text", "a remark of whoever reports", "비고", _RESPONDER)
_ZONE = Field("zone", "text", "which part of the view or the place, as the source calls it", "구역")
_CAUSE = Field("cause", "text", "why, in the source's words", "원인")
_DETAIL = Field("detail", "text", "what exactly was noticed", "상세", _RESPONDER)
_CAMERA_IDS = Field("camera_ids", "ids", "cameras near it", "주변 카메라")
_STATE = Field("state", "text", "the state now, in the source's words", "상태")
_PEOPLE = Field("people", "integer", "how many people", "인원 수", least=0)
_DENSITY = (
    Field("people_per_m2", "number", "people per square metre", "㎡당 인원", least=0, most=50),
    _PEOPLE,
    Field("area_m2", "number", "square metres that were looked at", "면적(㎡)", least=0),
)
_TREND = Field("trend", "code", "where it goes", "추세", codes=("rising", "steady", "falling"))
_PERSON = Field("person_description", "text", "clothes and other marks of a person, in words", "인상착의", _RESPONDER)

BELL = (
    Field("bell_number", "text", "number on the bell's sign", "비상벨 번호"),
    Field("trigger", "code", "what set it off", "작동 방식", codes=("button", "voice", "scream", "remote", "test")),
    Field("place", "text", "where it hangs, such as a toilet or a park's entrance", "설치 장소"),
    Field("voice_connected", "boolean", "whether somebody speaks with the one who pressed it", "음성 연결"),
    Field("pre_roll_seconds", "integer", "footage kept from before it was pressed", "사전 녹화(초)", least=0, most=600),
    Field("battery_percent", "number", "charge", "배터리(%)", least=0, most=100),
    Field("reporter", "text", "what the one who pressed it says about themself", "신고자", _OWNER),
    _CAUSE,
    _DETAIL,
)
CAMERA = (
    Field("profile", "text", "which of its streams", "스트림"),
    Field("channel", "text", "channel of the recorder", "채널"),
    Field("preset", "text", "the view it was turned to", "프리셋"),
    Field("pan_degrees", "number", "pan", "수평 각도", least=-360, most=360),
    Field("tilt_degrees", "number", "tilt", "수직 각도", least=-180, most=180),
    Field("zoom", "number", "magnification", "배율", least=0),
    Field("down_seconds", "number", "how long there was no picture", "중단 시간(초)", least=0),
    _CAUSE,
    Field("detail", "text", "what the gateway or the recorder noticed", "상세", _OWNER),
)
ANALYTIC = (
    Field("confidence", "number", "how sure the analysis is", "확신도", least=0, most=1),
    _ZONE,
    Field("rule", "text", "the rule that matched", "규칙"),
    Field("engine", "text", "the analysis and its version", "분석기"),
    Field("certificate", "text", "number of its KISA certificate", "KISA 인증번호"),
    Field("objects", "integer", "how many people or things", "객체 수", least=0),
    Field("began_at", "time", "when it began", "시작 시각"),
    Field("lasted_seconds", "number", "for how long so far", "지속 시간(초)", least=0),
    Field("direction_degrees", "number", "whither, clockwise from north", "이동 방향", least=0, most=360),
    Field("track", "text", "the analysis's own number of what it follows", "추적 번호", _RESPONDER),
    _PERSON,
    Field("case_number", "text", "the search that somebody seems to have been found for", "수색 번호", _RESPONDER),
    _CAMERA_IDS,
    *_DENSITY,
    _DETAIL,
)
CROWD = (
    *_DENSITY,
    Field("threshold_per_m2", "number", "the level's threshold at this place", "기준(㎡당 인원)", least=0, most=50),
    _TREND,
    Field("lasted_seconds", "number", "for how long so far", "지속 시간(초)", least=0),
    Field("confidence", "number", "how sure the analysis is", "확신도", least=0, most=1),
    _ZONE,
    _CAMERA_IDS,
    _DETAIL,
)
INCIDENT = (
    Field("number", "text", "number at 112, 119 or the center", "접수번호", _RESPONDER),
    Field("category", "code", "what kind of incident", "사건 종류", _RESPONDER, codes=(
        "theft", "violence", "weapon", "sexual_violence", "stalking", "domestic_violence", "child_safety", "missing",
        "motiveless_attack", "traffic", "fire", "rescue", "medical", "disaster", "crowd", "nuisance", "other",
    )),
    Field("priority", "integer", "112's code, 0 is the most urgent", "긴급도(코드)", least=0, most=4),
    Field("summary", "text", "what is known", "개요", _RESPONDER),
    Field("address", "text", "where, in words", "주소", _RESPONDER),
    Field("caller_name", "text", "who called", "신고자 성명", _OWNER),
    Field("caller_phone", "text", "the caller's number", "신고자 전화", _OWNER),
    Field("reporter", "text", "who reported it, where nobody called", "보고자", _OWNER),
    _PERSON,
    _CAMERA_IDS,
    Field("outcome", "text", "how it ended", "처리 결과", _RESPONDER),
)  # fmt: skip
UNIT = (
    Field("unit_id", "id", "the unit", "출동대"),
    Field("call_sign", "text", "its call sign", "호출부호", _RESPONDER),
    Field("crew_size", "integer", "how many go", "인원", least=0, most=1000),
    Field("eta_seconds", "number", "until it arrives", "도착 예정(초)", least=0),
    Field("status", "text", "what it does now", "상태"),
    _CAUSE,
)
PATROL = (
    Field("route", "text", "the route", "순찰 노선"),
    Field("checkpoint", "text", "the point on it", "순찰지점"),
    Field("group", "text", "who walks it, such as a neighbourhood watch", "순찰 단체"),
    Field("late_seconds", "number", "how late", "지연(초)", least=0),
    Field("reporter", "text", "who walks", "순찰자", _OWNER),
    Field("finding", "text", "what was found", "발견 사항", _RESPONDER),
    _PERSON,
)
TRAFFIC = (
    Field("vehicles", "integer", "how many vehicles", "차량 수", least=0),
    Field("injured", "integer", "how many are hurt", "부상자 수", _RESPONDER, least=0),
    Field("lanes_closed", "integer", "closed lanes", "통제 차로 수", least=0),
    Field("speed_kmh", "number", "speed of the traffic", "속도(km/h)", least=0),
    Field("direction_degrees", "number", "whither, clockwise from north", "진행 방향", least=0, most=360),
    Field("road", "text", "road or crossing", "도로"),
    _CAMERA_IDS,
    _DETAIL,
)
POLE = (
    Field("tilt_degrees", "number", "how far it leans", "기울기(도)", least=0, most=180),
    Field("door_open", "boolean", "whether its door is open", "함체 문 열림"),
    Field("temperature_celsius", "number", "inside", "온도(℃)", least=-100, most=200),
    _CAUSE,
    _DETAIL,
)
LIGHT = (Field("brightness_percent", "number", "brightness", "밝기(%)", least=0, most=100), _STATE, _CAUSE, _DETAIL)
SIGN = (
    Field("text", "text", "what it shows", "표출 문구"),
    Field("until", "time", "until when", "종료 시각"),
    _CAUSE,
    _DETAIL,
)
SPEAKER = (
    Field("text", "text", "what was said", "방송 문구"),
    Field("language", "text", "in which language", "언어"),
    _CAUSE,
    _DETAIL,
)
DEVICE = (
    Field("device_kind", "text", "what it is, such as an analysis server or a wearable", "장치 종류"),
    Field("serial", "text", "its number", "일련번호", _OWNER),
    Field("address", "text", "its place in the network", "네트워크 주소", _OWNER),
    Field("alarm", "code", "what it warns of", "경보 종류", codes=(
        "button", "damaged", "curfew", "exclusion_zone", "approach", "fall", "gas", "water", "smoke", "other",
    )),
    Field("battery_percent", "number", "charge", "배터리(%)", least=0, most=100),
    Field("person_description", "text", "whom it protects, or watches", "대상자", _OWNER),
    _CAUSE,
    _DETAIL,
)  # fmt: skip
ALERT = (
    Field("headline", "text", "the alert in one sentence", "제목", required=True),
    Field("text", "text", "the alert", "내용"),
    Field("alert_id", "text", "its identifier, as in CAP", "경보 식별자"),
    Field("category", "text", "what it warns of", "재난 종류"),
    Field("channel", "text", "where it was issued or delivered", "전달 매체"),
    Field("recipients", "integer", "whom it reached", "수신 대상 수", least=0),
    Field("until", "time", "until when it holds", "유효 시각"),
    Field("cause", "text", "why it was withdrawn", "철회 사유"),
)
SIGNAL = (
    Field("state", "text", "the state now, in the source's words", "신호 상태", required=True),
    Field("crossing", "text", "which crossing", "교차로"),
    Field("unit_id", "id", "the unit that it lets pass", "출동대"),
    Field("extended_seconds", "number", "by how much green was extended", "연장(초)", least=0),
    _CAUSE,
)
IMPORT = (
    Field("import_id", "id", "the import", "가져오기"),
    Field("rows", "integer", "rows of the file", "행 수", least=0),
    Field("findings", "integer", "what was odd", "발견 사항 수", least=0),
    Field("file_name", "text", "the file", "파일", _OWNER),
    Field("by", "text", "login of who did it", "처리자", _OWNER),
    Field("cause", "text", "why it failed", "원인", _OWNER),
)
WEBHOOK = (
    Field("webhook_id", "id", "the subscription", "웹훅"),
    Field("name", "text", "its name", "이름", _OWNER),
    Field("attempts", "integer", "how often it was tried", "시도 횟수", least=0),
    Field("status", "integer", "the last answer's status", "응답 코드"),
    Field("host", "text", "where it leads", "수신 호스트", _OWNER),
    Field("cause", "text", "what went wrong", "원인", _OWNER),
)
REVIEW = (
    Field("review_id", "id", "the review", "점검"),
    Field("kind", "code", "of a month, or of entries that came late", "점검 종류", codes=("monthly", "late")),
    Field("month", "text", "the Korean month, such as 2026-10", "점검 대상 월"),
    Field("findings", "integer", "what is asked about", "점검 항목 수", _OWNER, least=0),
    Field("unanswered", "integer", "of these without an answer", "미답변 항목 수", _OWNER, least=0),
    Field("assigned", "boolean", "whether an officer is named", "담당자 지정 여부", _OWNER),
    Field("days", "integer", "since it was due", "지연 일수", least=0),
    Field("times", "integer", "how often it was told", "통보 횟수", least=0),
)
REQUEST = (
    Field("request_id", "id", "the data subject's request", "열람등 요구"),
    Field("number", "text", "its number in the register", "접수번호", _OWNER),
    Field("due", "time", "when it was due", "처리 기한"),
    Field("days", "integer", "since it was due", "지연 일수", least=0),
    Field("times", "integer", "how often it was told", "통보 횟수", least=0),
)
AUDIT = (
    Field("node", "text", "the process that wrote the spool", "기록한 노드", _OWNER),
    Field("began_at", "time", "since when the database was away", "시작 시각"),
    Field("ended_at", "time", "when the last was written down locally", "마지막 기록 시각"),
    Field("records", "integer", "what was written down locally meanwhile", "현장 기록 수", least=0),
    Field("views", "integer", "of these of your cameras, by views", "귀 기관 카메라의 조회 수", least=0),
)
GRANT = (
    Field("grant_id", "id", "the permission", "승인", _OWNER),
    Field("purpose", "text", "what for", "목적", _OWNER),
    Field("agency_id", "id", "whose people", "이용 기관"),
    Field("by", "text", "login of who asked", "요청자", _OWNER),
    Field("cause", "text", "why it ended", "종료 사유"),
)
APPROVAL = (
    Field("approval_id", "id", "the request", "승인 요청"),
    Field("agency_id", "id", "whose people ask", "요청 기관"),
    Field("by", "text", "login of who asked", "요청자", _OWNER),
    Field("purpose", "text", "what for", "목적", _OWNER),
    Field("cameras", "integer", "how many cameras", "카메라 수", least=0),
    Field("until", "time", "until when it is asked for, or was approved", "요청·승인 기한"),
)
VIEW = (
    Field("view_id", "id", "the view", "조회", _OWNER),
    *GRANT,
    Field("seconds", "number", "how long it lasted", "시간(초)", least=0),
)
PTZ = (
    Field("lease_id", "id", "the driver's lease", "조작 임대", _OWNER),
    Field("purpose", "text", "what for", "목적", _OWNER),
    Field("agency_id", "id", "whose people", "이용 기관"),
    Field("by", "text", "login of who turns it", "조작자", _OWNER),
    Field("urgency", "integer", "0 is the most urgent", "긴급도", least=0, most=4),
    Field("moves", "integer", "how many commands", "조작 횟수", least=0),
    Field("seconds", "number", "how long it lasted", "시간(초)", least=0),
    Field("cause", "text", "why it ended", "종료 사유"),
)
CAMERAS = (
    Field("loss_id", "id", "the loss, whose members GET /v1/losses/{id} lists", "장애"),
    Field("count", "integer", "how many cameras", "카메라 수", least=0),
    Field("network", "text", "the network that they share", "네트워크", _OWNER),
)

_ALARM = {
    field.name: field
    for field in (
        Field("event_id", "id", "the alarm; `regards` says the same", "경보"),
        Field("room", "id", "the agency or unit for which it was done", "상황실"),
        Field("by", "text", "login of who did it", "처리자", _OWNER),
        Field("verdict", "code", "what a person made of it", "판정", codes=("real", "false", "duplicate", "escalated")),
        Field("duplicate_of", "id", "the event that it repeats", "중복 대상"),
        Field("note", "text", "a remark on the verdict", "판정 의견", _OWNER),
        Field("times", "integer", "how often it was told again", "재통보 횟수", least=0),
        Field("target", "object", "to whom it went: agency_id, role", "이관 대상"),
    )
}


def about_alarm(*names: str) -> tuple[Field, ...]:
    """The fields of an event about an alarm."""
    return tuple(_ALARM[name] for name in ("event_id", *names))


# Of each noun: what its events may be about, and the fields that all of them have.
NOUNS: dict[str, tuple[tuple[str, ...], tuple[Field, ...]]] = {
    "bell": (ANYTHING, (*BELL, NOTE)),
    "camera": (("", "cameras"), (*CAMERA, NOTE)),
    "analytic": (ANYTHING, (*ANALYTIC, NOTE)),
    "crowd": (ANYTHING, (*CROWD, NOTE)),
    "incident": (ANYTHING, (*INCIDENT, NOTE)),
    "unit": (ANYTHING, (*UNIT, NOTE)),
    "patrol": (ANYTHING, (*PATROL, NOTE)),
    "traffic": (ANYTHING, (*TRAFFIC, NOTE)),
    "pole": (("", "assets"), (*POLE, NOTE)),
    "light": (("", "assets"), (*LIGHT, NOTE)),
    "sign": (("", "assets"), (*SIGN, NOTE)),
    "speaker": (("", "assets"), (*SPEAKER, NOTE)),
    "device": (ANYTHING, (*DEVICE, NOTE)),
    "signal": (("", "assets"), (*SIGNAL, NOTE)),
    "alert": (ANYTHING, (*ALERT, NOTE)),
    "alarm": (ANYTHING, ()),
    "grant": (ANYTHING, GRANT),
    "approval": (("",), APPROVAL),
    "view": (ANYTHING, VIEW),
    "ptz": (ANYTHING, PTZ),
    "cameras": (("",), CAMERAS),
    "import": (("",), IMPORT),
    "review": (("",), REVIEW),
    "audit": (("",), AUDIT),
    "request": (("",), REQUEST),
    "webhook": (("",), WEBHOOK),
}
