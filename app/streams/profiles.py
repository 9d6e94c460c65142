"""Which of a camera's streams suits a viewer: the main one for a control room, the sub stream for what drives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

QUALITIES = ("auto", "main", "sub")
CODECS = {"h264": ("avc1", "avc3", "h264"), "h265": ("hvc1", "hev1", "h265", "hevc")}


@dataclass(frozen=True, slots=True)
class Offer:
    """One live stream of a camera, as last seen; codec is RFC 6381, empty while nobody has watched it yet."""

    profile: str
    codec: str = ""
    width: int | None = None
    height: int | None = None
    kbps: int | None = None

    def is_of(self, family: str) -> bool:
        return not self.codec or self.codec.startswith(CODECS[family])


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a viewer asks for; the class of client decides where quality is `auto`."""

    quality: str = "auto"
    mobile: bool = False
    max_kbps: int | None = None
    codecs: tuple[str, ...] = ()


def offers_of(found: Any) -> tuple[Offer, ...]:
    """Offers out of the database's JSON (text or parsed); none for None."""
    known = orjson.loads(found) if isinstance(found, str) else found
    return tuple(Offer(**one) for one in known or ())


def choose(offers: Sequence[Offer], wanted: Wanted) -> Offer:
    """The stream that fits best: codec first, then the line's bandwidth, then quality.

    A camera that has nothing of the kind still gives what it has, and the answer names it.
    """
    if not offers:
        return Offer("main")
    profile = wanted.quality if wanted.quality != "auto" else "sub" if wanted.mobile else "main"

    def rank(offer: Offer) -> tuple[bool, bool, bool, bool]:
        plays = not wanted.codecs or any(offer.is_of(family) for family in wanted.codecs)
        fits = wanted.max_kbps is None or (offer.kbps or 0) <= wanted.max_kbps
        return plays, fits, offer.profile == profile, offer.profile == "main"

    return max(offers, key=rank)
