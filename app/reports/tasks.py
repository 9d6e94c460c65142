"""What a person did, in an access log's words (수행업무): acts are called as the catalogue of entries calls them."""

from app.audit.acts import ACTS

OUTCOMES = {"done": "성공", "refused": "거절", "failed": "실패"}
SUBJECTS = {
    "user": "사용자",
    "grant": "승인",
    "view": "조회",
    "session": "로그인",
    "agency": "기관",
    "agreement": "협약",
    "approval": "승인 요청",
    "terminal": "단말",
    "provision": "제공",
    "publication": "공고",
    "manifest": "조회 목록",
    "webhook": "웹훅",
    "review": "점검",
    "request": "정보주체 요구",
    "conflict": "이해충돌 구역 신고",
    "erasure": "파기 지시",
    "agency_group": "기관 그룹",
    "appointment": "보직",
}


def task(act: str) -> str:
    """The Korean word for an act; one that is no longer in the catalogue stands as it is."""
    return ACTS[act].label if act in ACTS else act
