"""Where no camera may look: PIPA 25(2) forbids the inside of toilets, baths and changing rooms.

A camera says what it looks at (`indoor`). One before the entrance of such a place needs a privacy mask; one whose name
or address speaks of such a place must say where it stands.
"""

from typing import Final

from app.errors import Malformed
from app.registry.imports.text import private_place

FORBIDDEN: Final = ("toilet", "bath", "changing_room")
ENTRANCES: Final = tuple(f"{place}_entrance" for place in FORBIDDEN)
INDOOR: Final = ("", "indoor", *ENTRANCES, *FORBIDDEN)


def check(*, indoor: str, privacy_mask: bool, words: str) -> None:
    """Malformed for a camera that may not stand so; `words` are its name, address and direction."""
    if indoor not in INDOOR:
        raise Malformed(f"indoor is empty (outdoors) or one of: {', '.join(filter(None, INDOOR))}", field="indoor")
    spoken_of = private_place(words)
    if indoor in FORBIDDEN or (spoken_of == "private_place_inside" and not indoor):
        raise Malformed(
            "no camera may look into a toilet, a bath or a changing room (개인정보 보호법 제25조제2항)", field="indoor"
        )
    if indoor in ENTRANCES and not privacy_mask:
        raise Malformed(
            "a camera at the entrance of such a place needs a privacy mask: set it up, then say privacy_mask: true",
            field="privacy_mask",
        )
    if spoken_of == "private_place" and not indoor:
        raise Malformed(
            f"name or address speak of a toilet, bath or changing room: say in indoor what the camera looks at, one of"
            f" {', '.join(('indoor', *ENTRANCES))}",
            field="indoor",
        )
