"""How a finding reads, in Korean and in English: what was seen, against what, and what it may mean. No person in it."""

from collections.abc import Mapping
from typing import Any

from app.access.codes import BASES, USE_PURPOSES
from app.access.roles import LABELS as ROLES

_REASONS = {
    "home": ("자택 인근", "around the own home"),
    "family": ("가족 관련", "of family"),
    "workplace": ("겸직·이전 근무지 관련", "of another or former workplace"),
    "other": ("기타", "for another reason"),
}


def of(kind: str, numbers: Mapping[str, Any]) -> tuple[str, str]:
    """The Korean and the English sentence of a finding with these numbers."""
    return _SENTENCES[kind](numbers)


def _number(value: float) -> str:
    return f"{value:,.1f}".removesuffix(".0")


def _compared(words: tuple[str, str], it: Mapping[str, Any]) -> tuple[str, str]:
    """A deviation in words: the usual (median), the spread (MAD), the score."""
    usual, spread, score, count = _number(it["median"]), _number(it["mad"]), _number(it["score"]), it["compared"]
    return (
        (
            f"{words[0]} {count}건의 중앙값 {usual}회(중앙값절대편차 {spread})보다 크게 높습니다"
            f"(수정 z-점수 {score}, 기준 3.5)"
        ),
        (
            f"far above {words[1]} (median of {count}: {usual}, median absolute deviation {spread};"
            f" modified z-score {score}, threshold 3.5)"
        ),
    )


def _off_duty(it: Mapping[str, Any]) -> tuple[str, str]:
    by = ("근무표의 근무시간", "the roster") if it["roster"] else ("근무 기록", "the record of duties")
    return (
        (
            f"{by[0]}에 따르면 근무 중이 아닌 시간에 영상을 {it['views']}회 조회하였습니다."
            " 초과근무·긴급 호출 등 사유를 확인하십시오."
        ),
        (
            f"Footage was viewed {it['views']} times outside any shift, by {by[1]}."
            " Ask whether it was overtime or a call-out."
        ),
    )


def _without_reference(it: Mapping[str, Any]) -> tuple[str, str]:
    return (
        (
            f"목적 외 이용·제공 근거로 조회한 {it['of']}건 중 {it['views']}건에 상황(사건), 경보 또는"
            " 접수·공문 번호가 없습니다."
            " 근거 자료를 확인하십시오."
        ),
        (
            f"Of {it['of']} views on a ground other than own use, {it['views']} name no incident, alarm or number of a"
            " report or letter. Ask for what they were based on."
        ),
    )


def _same_camera(it: Mapping[str, Any]) -> tuple[str, str]:
    korean = [f"같은 카메라를 {it['days']}일에 걸쳐 {it['views']}회 조회하였습니다."]
    english = [f"The same camera was viewed {it['views']} times on {it['days']} days."]
    for name, words, alone in (
        (
            "own", ("본인이 조회한 다른 카메라", "the person's other cameras"),
            ("이 달에 본인이 조회한 유일한 카메라입니다.", "It is the person's only camera of the month."),
        ),
        (
            "peers", ("같은 카메라를 조회한 다른 사람", "others at that camera"),
            ("조회한 사람이 적어 동료와는 비교하지 않았습니다.", "Too few others viewed it to compare."),
        ),
    ):  # fmt: skip
        compared = _compared(words, it[name]) if name in it else None
        korean.append(f"{compared[0]}." if compared else alone[0])
        english.append(f"This is {compared[1]}." if compared else alone[1])
    return " ".join(korean), " ".join(english)


def _volume(it: Mapping[str, Any]) -> tuple[str, str]:
    korean, english = [f"이 달에 영상을 {it['views']}회 조회하였습니다."], [f"{it['views']} views in the month:"]
    if "own" in it:
        own = _compared(("본인의 지난 달", "the person's months before"), it["own"])
        korean.append(f"{own[0]}.")
        english.append(own[1] + ("; and" if "peers" in it else "."))
    if "peers" in it:
        role = it["role"] or ""
        peers = _compared((f"같은 직무({ROLES.get(role, role)}) 동료", f"peers in the same role ({role})"), it["peers"])
        korean.append(f"{peers[0]}.")
        english.append(peers[1] + ".")
    return " ".join(korean), " ".join(english)


def _conflict_area(it: Mapping[str, Any]) -> tuple[str, str]:
    reason = _REASONS.get(it["reason"], _REASONS["other"])
    return (
        (
            f"본인이 신고한 이해충돌 구역({reason[0]})의 카메라 {it['cameras']}대를 {it['views']}회 조회하였습니다."
            " 직무상 필요를 확인하십시오."
        ),
        (
            f"{it['cameras']} cameras in an area that the person declared as a conflict of interest ({reason[1]}) were"
            f" viewed {it['views']} times. Ask whether the work required it."
        ),
    )


def _after_refusal(it: Mapping[str, Any]) -> tuple[str, str]:
    minutes, seconds = divmod(it["seconds"], 60)
    korean = f"접속이 거부된 지 {minutes}분 {seconds}초 뒤 같은 카메라를 조회하였습니다."
    english = f"The camera was viewed {minutes} min {seconds} s after it had been refused to the same person"
    before, after = (it["refused_purpose"], it["refused_basis"]), (it["purpose"], it["basis"])
    if before == after:
        return korean, english + ", with the same purpose and basis."
    return (
        (f"{korean} 거부 당시: {_reason(*before)}, 승인 당시: {_reason(*after)}."
        " 사유를 바꾸어 다시 신청한 경위를 확인하십시오."),
        f"{english}: asked first with {_codes(*before)}, then with {_codes(*after)}. Ask why the reason was changed.",
    )  # fmt: skip


def _reason(purpose: str, basis: str) -> str:
    named = [USE_PURPOSES.get(purpose, purpose), BASES[basis].label if basis in BASES else basis]
    return " / ".join(filter(None, named)) or "목적·근거 없음"


def _codes(purpose: str, basis: str) -> str:
    return " / ".join(filter(None, (purpose, basis))) or "no purpose and basis"


def _sample(it: Mapping[str, Any]) -> tuple[str, str]:
    return (
        (
            f"접속기록 {it['population']:,}건 중 무작위로 뽑은 표본 {it['of']}건의 {it['number']}번째입니다."
            " 조회 목적과 근거가 실제 업무와 맞는지 확인하십시오."
        ),
        (
            f"Number {it['number']} of {it['of']} drawn at random from {it['population']:,} accesses."
            " See whether purpose and ground fit the work that was done."
        ),
    )


def _late(it: Mapping[str, Any]) -> tuple[str, str]:
    return (
        (
            f"데이터베이스에 기록할 수 없던 동안 일어난 행위({it['act']}) {it['entries']}건이"
            " 나중에 감사기록에 반영되었습니다."
            " 장애 시간과 맞는지 확인하십시오."
        ),
        (
            f"{it['entries']} acts ({it['act']}) were done while the log could not be written, and entered it later."
            " See whether they fit the outage."
        ),
    )


_SENTENCES = {
    "off_duty": _off_duty, "without_reference": _without_reference, "same_camera": _same_camera, "volume": _volume,
    "conflict_area": _conflict_area, "after_refusal": _after_refusal, "sample": _sample, "late": _late,
}  # fmt: skip
