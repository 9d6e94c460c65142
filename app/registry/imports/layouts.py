"""Which column of a file is which field: by its header, never by its position.

Cities publish the same data under many headers: the CCTV standard with 13 (2019), 14, 15 (2018), 16 (2024) and 18
(2026) columns, the portal's API names, the Seoul 안심이 file, and what an office typed itself. A header is compared
after Unicode NFC, without case, spaces, brackets and other punctuation. A kind of asset is a table of spellings;
another kind of asset is another table.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from operator import itemgetter
from typing import Any, Final

from app.errors import Malformed, UnusableFile
from app.registry.imports.text import shown


@dataclass(frozen=True)
class AssetKind:
    """What a file may describe: its fields, each with the headers it goes by, the best first.

    `essential` lists groups of fields; of each group a file must have at least one. `tell_tales` are headers that
    only a file of this kind has.
    """

    name: str
    headers: Mapping[str, tuple[str, ...]]
    essential: tuple[tuple[str, ...], ...]
    tell_tales: tuple[str, ...] = ()

    @cached_property
    def field_of(self) -> dict[str, tuple[str, int]]:
        """Plain header to (field, rank); rank 0 is the standard's own spelling."""
        return {
            plain(header): (field, rank)
            for field, headers in self.headers.items()
            for rank, header in enumerate((*headers, field))
        }


CAMERAS: Final = AssetKind(
    name="cameras",
    headers={
        "authority_code": ("개방자치단체코드", "OPN_ATMY_GRP_CD", "자치단체코드"),
        "management_number": ("관리번호", "MNG_NO", "CCTV관리번호", "카메라관리번호"),
        "manager_name": ("관리기관명", "MNG_INST_NM", "관리기관", "관리주체", "운영기관", "운영기관명"),
        "district_label": ("자치구", "자치구명", "시군구", "시군구명", "시군구(자치구)", "구군", "행정구"),
        "name": ("설치지점명", "CCTV명", "카메라명", "설치지점", "설치장소명", "지점명", "시설물명"),
        "road_address": ("소재지도로명주소", "LCTN_ROAD_NM_ADDR", "도로명주소", "주소(도로명)", "설치주소(도로명)"),
        "lot_address": ("소재지지번주소", "LCTN_LOTNO_ADDR", "지번주소", "주소(지번)", "설치주소(지번)"),
        "address": ("안심 주소", "주소", "소재지", "설치주소", "설치장소", "설치위치", "소재지주소", "위치"),
        "purpose": ("설치목적구분", "INSTL_PRPS_SE_NM", "CCTV 용도", "설치목적", "용도", "설치용도", "용도구분"),
        "camera_count": ("카메라대수", "CAM_CNTOM", "CCTV 수량", "설치대수", "카메라수", "CCTV대수", "수량", "대수"),
        "pixels": ("카메라화소수", "CAM_PIXEL_CNT", "화소수", "카메라화소", "화소"),
        "direction_text": ("촬영방면정보", "SHT_ANGLE_INFO", "촬영방면", "촬영방향", "촬영방향정보"),
        "retention_days": ("보관일수", "KPNG_DAY_CNT", "영상보관일수", "보관기간", "보관일"),
        "installed_on": ("설치연월", "INSTL_YM", "설치년월", "설치일자", "설치일", "설치연도", "설치년도", "설치년"),
        "phone": ("관리기관전화번호", "MNG_INST_TELNO", "전화번호", "연락처", "관리기관연락처"),
        "latitude": ("WGS84위도", "위도", "WGS84_LAT", "위도(WGS84)", "위도좌표", "lat"),
        "longitude": ("WGS84경도", "경도", "WGS84_LOT", "경도(WGS84)", "경도좌표", "lon", "lng", "long", "WGS84_LON"),
        "data_date": ("데이터기준일자", "DAT_CRTR_YMD", "데이터기준일", "기준일자", "수정 일시", "최종수정시점"),
        "update_kind": ("데이터갱신구분", "DAT_UPDT_SE"),
    },
    essential=(
        ("latitude",),
        ("longitude",),
        ("road_address", "lot_address", "address", "name"),
        ("camera_count", "purpose"),
    ),
)
OTHER_KINDS: Final = (
    AssetKind("emergency bells", {}, (), ("안전비상벨관리번호", "안전비상벨설치연도", "SFTY_EMRGNCBLL_MNG_NO")),
    AssetKind("smart streetlights", {}, (), ("스마트가로등유형", "스마트가로등형태", "streetLampType")),
    AssetKind("security lights", {}, (), ("보안등위치명",)),
)
_ENOUGH_KNOWN_HEADERS: Final = 3


@dataclass(frozen=True, slots=True)
class Layout:
    """How one file says it: `position[field]` is the index of the field's column, from 0."""

    kind: AssetKind
    columns: tuple[str, ...]
    position: Mapping[str, int]

    @property
    def absent(self) -> tuple[str, ...]:
        """Fields of the kind for which the file has no column."""
        return tuple(field for field in self.kind.headers if field not in self.position)

    @property
    def unused(self) -> tuple[str, ...]:
        """Columns of the file that no field takes."""
        used = set(self.position.values())
        return tuple(column for index, column in enumerate(self.columns) if index not in used)

    def picker(self) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
        """A function from the cells of a row, with one empty cell appended, to its fields in the kind's order.

        A field without a column reads the appended cell.
        """
        return itemgetter(*(self.position.get(field, -1) for field in self.kind.headers))


NOTHING: Final = Layout(CAMERAS, (), {})


@lru_cache(maxsize=4096)
def plain(header: str) -> str:
    """A header without what people write differently: NFC, no case, only letters and digits."""
    return "".join(letter for letter in unicodedata.normalize("NFC", header).casefold() if letter.isalnum())


@lru_cache(maxsize=4096)
def _without_brackets(header: str) -> str:
    return plain(re.sub(r"[(\[{（].*?[)\]}）]", "", header))


def positions(
    columns: Sequence[str], mapping: Mapping[str, str] | None = None, kind: AssetKind = CAMERAS
) -> dict[str, int]:
    """The column of every field that is recognised; of two that fit, the better spelling and then the first.

    `mapping` is the user's: field (in any known spelling) to column name, or to "#3" for the third column; it
    overrides. Raises Malformed for a field or column that does not exist.
    """
    best: dict[str, tuple[int, int]] = {}
    for index, column in enumerate(columns):
        known = kind.field_of.get(plain(column))
        penalty = 0
        if known is None:
            known, penalty = kind.field_of.get(_without_brackets(column)), 100
        if known is not None:
            field, rank = known
            best[field] = min(best.get(field, (rank + penalty, index)), (rank + penalty, index))
    found = {field: index for field, (_, index) in best.items()}
    for wanted, column in (mapping or {}).items():
        field = _mapped_field(wanted, kind)
        index = _mapped_column(column, columns)
        # The user says what this column is, so nothing else may read it.
        found = {other: at for other, at in found.items() if at != index}
        found[field] = index
    return found


def _mapped_field(wanted: str, kind: AssetKind) -> str:
    known = kind.field_of.get(plain(wanted))
    if known is None:
        fields = ", ".join(headers[0] for headers in kind.headers.values())
        raise Malformed(f"{shown(wanted)!r} is no field of {kind.name}; fields are: {fields}", field="mapping")
    return known[0]


def _mapped_column(column: str, columns: Sequence[str]) -> int:
    if (
        column.startswith("#")
        and column[1:].isascii()
        and column[1:].isdigit()
        and 0 < int(column[1:5]) <= len(columns)
    ):
        return int(column[1:]) - 1
    for index, name in enumerate(columns):
        if plain(name) == plain(column):
            return index
    raise Malformed(f"the file has no column {shown(column)!r}; it has: {_list(columns)}", field="mapping")


def is_header(columns: Sequence[str], mapping: Mapping[str, str] | None = None) -> bool:
    """Does this row name columns, of cameras or of another kind we know, or those that the user names?"""
    if any(other_kind(columns)):
        return True
    if mapping and not any(column.startswith("#") for column in mapping.values()):
        names = {plain(column) for column in columns}
        if all(plain(column) in names for column in mapping.values()):
            return True
    return len(positions(columns)) >= _ENOUGH_KNOWN_HEADERS


def other_kind(columns: Sequence[str]) -> str:
    """The name of the kind, if the headers are those of another kind of asset than cameras; else ""."""
    names = {plain(column) for column in columns}
    for kind in OTHER_KINDS:
        if any(plain(header) in names for header in kind.tell_tales):
            return kind.name
    return ""


def match(columns: Sequence[str], mapping: Mapping[str, str] | None = None, kind: AssetKind = CAMERAS) -> Layout:
    """The layout of a file of cameras with these headers.

    Raises UnusableFile that names the essential columns which are missing, or the kind of file that it is instead,
    and Malformed for a wrong `mapping`.
    """
    if (other := other_kind(columns)) and not mapping:
        raise UnusableFile(f"this is a file of {other}, not of {kind.name}", seen=seen(columns))
    found = positions(columns, mapping, kind)
    missing = [group for group in kind.essential if not any(field in found for field in group)]
    if missing:
        names = "; ".join(" or ".join(kind.headers[field][0] for field in group) for group in missing)
        raise UnusableFile(
            f"the file lacks essential columns: {names}. It has: {_list(columns)}. "
            "If a column says it in other words, name it in the mapping",
            seen=seen(columns),
            missing=[kind.headers[group[0]][0] for group in missing],
        )
    return Layout(kind, tuple(columns), found)


def seen(columns: Sequence[str]) -> list[str]:
    """Headers as they may be shown: a file without a header shows data here, so secrets are scrubbed."""
    return [shown(column) for column in columns[:40]]


def _list(columns: Sequence[str]) -> str:
    return ", ".join(seen(columns)) or "nothing"
