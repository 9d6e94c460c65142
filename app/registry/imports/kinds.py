"""What a file may describe, and the headers under which cities write it: one table of spellings for each kind.

Sources: the standard data sets of the Korean public data portal for cameras (CCTV), emergency bells
(안전비상벨위치정보), smart streetlights (스마트가로등) and security lights (보안등정보), with the names of its API,
the Seoul 안심이 file, and what offices typed themselves. A header is compared after Unicode NFC, without case, spaces,
brackets and punctuation.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final


@lru_cache(maxsize=4096)
def plain(header: str) -> str:
    """A header without what people write differently: NFC, no case, only letters and digits."""
    return "".join(letter for letter in unicodedata.normalize("NFC", header).casefold() if letter.isalnum())


@dataclass(frozen=True)
class AssetKind:
    """What a file may describe: its fields, each with the headers it goes by, the best first.

    `essential` lists groups of fields; of each group a file must have at least one. `tell_tales` are headers that
    only a file of this kind has. `stands_for` is the kind of asset that its rows become; cameras are none.
    """

    name: str
    title: str
    headers: Mapping[str, tuple[str, ...]]
    essential: tuple[tuple[str, ...], ...]
    tell_tales: tuple[str, ...] = ()
    stands_for: str = ""

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
    title="cameras",
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

# What the files of all other kinds share.
_KEYS: Final = {
    "authority_code": ("개방자치단체코드", "OPN_ATMY_GRP_CD", "자치단체코드"),
    "management_number": ("관리번호", "MNG_NO"),
    "manager_name": ("관리기관명", "MNG_INST_NM", "institutionNm", "관리기관", "관리주체", "운영기관"),
    "district_label": ("시군구명", "signguNm", "자치구", "자치구명", "시군구", "구군"),
}
_PLACE: Final = {
    "road_address": ("소재지도로명주소", "LCTN_ROAD_NM_ADDR", "rdnmadr", "도로명주소"),
    "lot_address": ("소재지지번주소", "LCTN_LOTNO_ADDR", "lnmadr", "지번주소"),
    "latitude": ("WGS84위도", "위도", "WGS84_LAT", "위도(WGS84)", "위도좌표", "lat"),
    "longitude": ("WGS84경도", "경도", "WGS84_LOT", "경도(WGS84)", "경도좌표", "lon", "lng", "WGS84_LON", "hardness"),
}
_ORIGIN: Final = {
    "phone": ("관리기관전화번호", "MNG_INST_TELNO", "phoneNumber", "전화번호", "연락처"),
    "data_date": ("데이터기준일자", "DAT_CRTR_YMD", "referenceDate", "데이터기준일", "기준일자", "최종수정시점"),
    "update_kind": ("데이터갱신구분", "DAT_UPDT_SE"),
}
_INSTALLED: Final = ("설치연도", "installationYear", "설치년도", "설치연월", "설치년월", "설치일자", "설치일")

BELLS: Final = AssetKind(
    name="bells",
    title="emergency bells",
    headers={
        **_KEYS,
        "bell_number": ("안전비상벨관리번호", "SFTY_EMRGNCBLL_MNG_NO", "비상벨관리번호", "비상벨번호"),
        "name": ("설치위치", "INSTL_PSTN", "설치장소", "설치장소명", "위치"),
        **_PLACE,
        "purpose": ("설치목적", "INSTL_PRPS"),
        "place_type": ("설치장소유형", "INSTL_PLC_TYPE", "장소유형"),
        "link_kind": ("연계방식", "LINK_MTH"),
        "police_link": ("경찰연계유무", "POLC_LINK_EN"),
        "security_company_link": ("경비업체연계유무", "SECCO_LINK_EN"),
        "office_link": ("관리사무소연계유무", "MNGOFC_LINK_EN"),
        "extra_functions": ("부가기능", "EXTRA_FWK"),
        "installed_on": ("안전비상벨설치연도", "SFTY_EMRGNCBLL_INSTL_YR", *_INSTALLED),
        "inspected_on": ("최종점검일자", "LAST_CHCK_YMD", "최종점검일"),
        "inspection_result": ("최종점검결과구분", "LAST_CHCK_RSLT_SE", "최종점검결과"),
        **_ORIGIN,
    },
    essential=(("latitude",), ("longitude",), ("road_address", "lot_address", "name")),
    tell_tales=("안전비상벨관리번호", "안전비상벨설치연도", "SFTY_EMRGNCBLL_MNG_NO", "비상벨관리번호", "경찰연계유무"),
    stands_for="bell",
)
STREETLIGHTS: Final = AssetKind(
    name="streetlights",
    title="smart streetlights",
    headers={
        **_KEYS,
        "light_type": ("스마트가로등유형", "streetLampType"),
        "province": ("시도명", "ctprvnNm"),
        "name": ("설치위치", "스마트가로등명", "위치"),
        "road_name": ("도로명", "roadNm"),
        **_PLACE,
        "shape": ("스마트가로등형태", "streetLampStle"),
        "lit": ("점등상태여부", "lghtYn"),
        "sensors": ("센서종류", "sensorKnd"),
        "sensing_services": ("센싱정보서비스", "sensingInfoSvc"),
        "cctv": ("CCTV유무", "cctvYn"),
        "wifi": ("WiFi유무", "wifiYn"),
        "gps": ("GPS수신기유무", "gpsYn"),
        "beacon": ("비콘유무", "beaconYn"),
        "dimming": ("조명제어여부", "lghtCtrlYn"),
        "emergency_report": ("위급상황신고가능여부", "emrgncSttemntPosblYn"),
        "app_name": ("앱서비스명", "appSvcNm"),
        "app_content": ("앱서비스제공내용", "appSvcCn"),
        "other_services": ("기타서비스", "etcSvc"),
        "installed_on": _INSTALLED,
        **_ORIGIN,
    },
    essential=(("latitude",), ("longitude",), ("road_address", "lot_address", "name", "road_name")),
    tell_tales=("스마트가로등유형", "스마트가로등형태", "streetLampType", "emrgncSttemntPosblYn"),
    stands_for="pole",
)
SECURITY_LIGHTS: Final = AssetKind(
    name="security_lights",
    title="security lights",
    headers={
        **_KEYS,
        "name": ("보안등위치명", "lmpLcNm", "설치위치", "위치"),
        "quantity": ("설치개수", "installationCo", "설치수량", "수량"),
        **_PLACE,
        "installed_on": _INSTALLED,
        "mount": ("설치형태", "installationType"),
        **_ORIGIN,
    },
    essential=(("latitude",), ("longitude",), ("road_address", "lot_address", "name")),
    tell_tales=("보안등위치명", "lmpLcNm"),
    stands_for="light",
)
KINDS: Final = {kind.name: kind for kind in (CAMERAS, BELLS, STREETLIGHTS, SECURITY_LIGHTS)}
