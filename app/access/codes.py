"""The codes that stand on every grant: why (use purpose) and by which right (basis). Free text never replaces one.

Sources: 개인정보 보호법 (PIPA) 15(1), 17(1), 18(2), 25. The labels are what a Korean official reads.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Basis:
    """A ground of the statute, with what follows from it."""

    code: str
    label: str
    emergency: bool = False
    needs_reference: bool = False
    published: bool = False  # PIPA 18(4): the provision is to be made public


BASES = {
    basis.code: basis
    for basis in (
        Basis("KR-PIPA-15-1-3", "공공기관이 법령 등에서 정하는 소관 업무의 수행 (목적 내 이용)"),
        Basis("KR-PIPA-17-1-2", "수집 목적 범위에서의 제공"),
        Basis("KR-PIPA-18-2-1", "정보주체의 별도의 동의"),
        Basis("KR-PIPA-18-2-2", "다른 법률의 특별한 규정", needs_reference=True, published=True),
        Basis("KR-PIPA-18-2-3", "급박한 생명·신체·재산의 이익", emergency=True, published=True),
        Basis("KR-PIPA-18-2-5", "개인정보 보호위원회의 심의·의결", needs_reference=True, published=True),
        Basis("KR-PIPA-18-2-6", "조약, 그 밖의 국제협정의 이행", needs_reference=True, published=True),
        Basis("KR-PIPA-18-2-7", "범죄의 수사와 공소의 제기 및 유지"),
        Basis("KR-PIPA-18-2-8", "법원의 재판업무 수행", needs_reference=True, published=True),
        Basis("KR-PIPA-18-2-9", "형 및 감호, 보호처분의 집행", needs_reference=True, published=True),
        Basis("KR-PIPA-18-2-10", "공공의 안전과 안녕을 위하여 긴급히 필요", emergency=True, published=True),
    )
}

OWN_USE = "KR-PIPA-15-1-3"

USE_PURPOSES = {
    "emergency_response": "긴급 출동 (112·119 신고 대응)",
    "crime_investigation": "범죄 수사",
    "crime_prevention": "범죄 예방",
    "fire_and_rescue": "화재·구조·구급",
    "disaster": "재난 대응",
    "missing_person": "실종자 수색",
    "traffic_accident": "교통사고 처리",
    "public_safety_event": "다중운집·행사 안전",
    "facility": "시설 관리",
    "exercise": "훈련",
}
