"""Names of a city that does not exist: none of its districts is a district of Korea, and nobody in it is a person."""

from random import Random
from typing import Final

CITY: Final = ("한빛광역시", "Hanbit")

DISTRICTS: Final = (
    ("가람구", "Garam-gu"), ("나래구", "Narae-gu"), ("다온구", "Daon-gu"), ("라온구", "Raon-gu"), ("마루구", "Maru-gu"),
    ("미르구", "Mireu-gu"), ("벼리구", "Byeori-gu"), ("보라구", "Bora-gu"), ("새론구", "Saeron-gu"),
    ("소담구", "Sodam-gu"), ("슬기구", "Seulgi-gu"), ("아라구", "Ara-gu"), ("아름구", "Areum-gu"),
    ("여울구", "Yeoul-gu"), ("예나구", "Yena-gu"), ("온새구", "Onsae-gu"), ("윤슬구", "Yunseul-gu"),
    ("이든구", "Ideun-gu"), ("하람구", "Haram-gu"), ("하늘구", "Haneul-gu"), ("한울구", "Hanul-gu"),
    ("해솔구", "Haesol-gu"), ("푸름구", "Pureum-gu"), ("단비구", "Danbi-gu"), ("은가비구", "Eungabi-gu"),
)  # fmt: skip

_VILLAGES: Final = (
    ("솔", "Sol"), ("달", "Dal"), ("별", "Byeol"), ("꽃", "Kkot"), ("물", "Mul"), ("은", "Eun"), ("참", "Cham"),
    ("새", "Sae"), ("너른", "Neoreun"), ("높은", "Nopeun"), ("맑은", "Malgeun"), ("큰", "Keun"), ("작은", "Jageun"),
    ("밤", "Bam"), ("감", "Gam"), ("배", "Bae"), ("한", "Han"), ("늘", "Neul"),
)  # fmt: skip
_GROUNDS: Final = (
    ("내", "nae"), ("들", "deul"), ("재", "jae"), ("골", "gol"), ("마루", "maru"), ("샘", "saem"), ("못", "mot"),
    ("터", "teo"), ("숲", "sup"),
)  # fmt: skip

_ROADS: Final = (
    "별빛", "달빛", "은하수", "솔바람", "강바람", "물안개", "햇살", "노을", "단풍", "벚나무", "느티나무", "은행잎",
    "들꽃", "산들", "샘터", "돌담", "나루터", "방앗간", "장터", "서당골", "대장간", "물레방아", "오솔", "징검다리",
    "무지개", "가온", "누리", "새벽", "아침", "보름달", "반딧불", "다람쥐", "고라니", "두루미", "참새", "제비",
)  # fmt: skip


def neighbourhoods(dice: Random) -> list[tuple[str, str]]:
    """All names of neighbourhoods (동) there are, Korean and English, each once, shuffled."""
    names = [(f"{a}{b}동", f"{x}{y}-dong") for a, x in _VILLAGES for b, y in _GROUNDS]
    dice.shuffle(names)
    return names


def avenues(dice: Random, count: int) -> list[str]:
    """Names of wide roads (대로) of one municipality."""
    return [f"{road}대로" for road in dice.sample(_ROADS, count)]


def streets(dice: Random, count: int) -> list[str]:
    """Names of the other roads (로, 길) of one municipality."""
    return dice.sample([f"{road}{kind}" for road in _ROADS for kind in ("로", "길")], count)
