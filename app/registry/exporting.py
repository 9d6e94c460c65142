"""The register's cameras as a file of the national standard with 18 columns; an import of it changes nothing.

What a file of the standard cannot say (a site whose key is no pair of authority code and number) is said in the column
관리번호 with a prefix of ours, which only our importer reads (`imports.cameras.OUR_KEY`).
"""

import re
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from app.registry import codes
from app.registry.imports.cameras import OUR_KEY
from app.registry.imports.kinds import CAMERAS

COLUMNS: Final = (
    "개방자치단체코드", "관리번호", "관리기관명", "소재지도로명주소", "소재지지번주소", "설치목적구분", "카메라대수",
    "카메라화소수", "촬영방면정보", "보관일수", "설치연월", "관리기관전화번호", "WGS84위도", "WGS84경도",
    "데이터기준일자", "데이터갱신구분", "데이터갱신시점", "최종수정시점",
)  # fmt: skip
ROWS_AT_ONCE: Final = 5000
_AUTHORITY_AND_NUMBER: Final = re.compile(r"(\d{7}):(.+)", re.DOTALL)
_EXCEL_ROUNDS: Final = re.compile(r"\d(?:\.\d+)?[eE]\+?\d+")

# A site's row says what its first living camera is: by that camera an import compares (`imports.merge_cameras`).
_ROWS: Final = text("""
SELECT s.id, s.external_key, s.manager_name, s.road_address, s.lot_address, s.purpose_label, n.living, p.pixels_10k,
    s.direction_text, p.retention_days, p.installed_on, s.phone, p.latitude, p.longitude, s.data_date,
    p.installation_purposes, greatest(s.changed_at, p.changed_at) AS changed_at
FROM sites s
CROSS JOIN LATERAL (
    SELECT count(*) AS living, min(ordinal) AS first FROM camera_positions
    WHERE site_id = s.id AND retired_at IS NULL
) n
JOIN camera_positions p ON p.site_id = s.id AND p.ordinal = n.first
WHERE s.owner_agency_id = ANY(:agencies) AND (CAST(:after AS uuid) IS NULL OR s.id > :after)
ORDER BY s.id LIMIT :most
""").bindparams(bindparam("agencies", type_=ARRAY(Uuid())), bindparam("after", type_=Uuid()))


async def standard_18(session: AsyncSession, owners: Sequence[UUID]) -> AsyncIterator[list[Any]]:
    """The sites of these agencies that have a camera left, as rows of the standard, below its header."""
    yield list(COLUMNS)
    after: UUID | None = None
    while True:
        found = (
            await session.execute(_ROWS, {"agencies": list(owners), "after": after, "most": ROWS_AT_ONCE})
        ).all()  # fmt: skip
        for row in found:
            yield _row(row)
        if len(found) < ROWS_AT_ONCE:
            return
        after = found[-1].id


def _row(row: Any) -> list[Any]:
    authority, number = _key(row.external_key, row.manager_name)
    day = row.data_date.isoformat() if row.data_date else ""
    changed = row.changed_at.strftime("%Y-%m-%d %H:%M:%S")
    return [
        authority, number, row.manager_name, row.road_address, row.lot_address, _purpose(row), row.living,
        row.pixels_10k, row.direction_text, row.retention_days,
        row.installed_on.strftime("%Y-%m") if row.installed_on else "", row.phone, row.latitude, row.longitude, day,
        "I", changed, changed,
    ]  # fmt: skip


def _key(external_key: str, manager: str) -> tuple[str, str]:
    """Authority code and management number, so that an import finds the same key in them."""
    match = _AUTHORITY_AND_NUMBER.fullmatch(external_key)
    if match and not _misread(match[2]):
        return match[1], match[2]
    if manager and external_key.startswith(f"{manager}:"):
        number = external_key.removeprefix(f"{manager}:")
        if not _misread(number):
            return "", number
    return "", OUR_KEY + external_key


def _misread(number: str) -> bool:
    """Whether an import would take the number for something else."""
    return number.startswith(OUR_KEY) or _EXCEL_ROUNDS.fullmatch(number) is not None or number != number.strip()


def _purpose(row: Any) -> str:
    """The label as the file said it, as long as it still says the camera's purposes."""
    if row.purpose_label and list(codes.purposes_of(row.purpose_label)) == list(row.installation_purposes):
        return str(row.purpose_label)
    if list(row.installation_purposes) in ([], [codes.UNKNOWN]):
        return str(row.purpose_label)
    return "+".join(codes.INSTALLATION_PURPOSES.get(code, code) for code in row.installation_purposes)


assert CAMERAS.headers["authority_code"][0] == COLUMNS[0]  # both are the standard's own spelling
