"""A finding: what a review asks about, as a sentence with the numbers and the entries that it rests on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

# The kinds of findings, as officials read them.
LABELS = {
    "sample": ("표본 점검", "drawn sample"),
    "late": ("사후 반영 기록", "entry that came late"),
    "off_duty": ("근무시간 외 조회", "viewing off duty"),
    "without_reference": ("상황·근거번호 없는 조회", "viewing without incident or reference"),
    "same_camera": ("동일 카메라 반복 조회", "the same camera again and again"),
    "volume": ("조회량 이상", "unusual number of views"),
    "conflict_area": ("이해충돌 구역 조회", "viewing in a declared area of conflict"),
    "after_refusal": ("거부 직후 조회", "viewing right after a refusal"),
}
MOST_ENTRIES = 20  # named with a finding; `numbers` counts all of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a review asks about. `entries` are the (id, at) of audit entries, the first ones if there are many."""

    kind: str
    user_id: UUID | None
    numbers: Mapping[str, Any]
    entries: Sequence[tuple[UUID, datetime]]
    korean: str
    english: str
    camera_id: UUID | None = None
