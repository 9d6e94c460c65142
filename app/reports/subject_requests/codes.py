"""The codes of a data subject's request, with what an official reads."""

KINDS = {"access": "열람", "existence": "존재확인", "deletion": "삭제"}
CHANNELS = {"visit": "방문", "letter": "우편", "fax": "팩스", "email": "전자우편", "online": "온라인"}
RELATIONS = {
    "self": "본인",
    "representative": "법정대리인·위임받은 자",
    "urgent": "급박한 생명·신체·재산의 이익",
}
DECISIONS = {"grant": "허용", "partial": "일부 허용", "refuse": "거부"}
GROUNDS = {
    "investigation": (
        "범죄수사·공소유지·재판수행에 중대한 지장",
        "an investigation, prosecution or trial would suffer",
    ),
    "retention_over": ("보관기간 경과로 파기", "its retention is over and it was destroyed"),
    "privacy_of_others": ("타인의 사생활권 침해 우려", "the privacy of others would be violated"),
    "other": ("그 밖의 정당한 사유", "another just reason"),
}
STATES = {"waiting": "처리 중", "overdue": "기한 경과", "decided": "결정", "closed": "종결"}
