"""A bitmap font for what a camera burns into its picture: the usual 5x7 dot matrix, ASCII, capitals only."""

from functools import cache

ROWS = 8  # seven and a descender
ADVANCE = 6  # five columns and a gap

# Five columns a glyph, from the left; the lowest bit is the top row.
_COLUMNS = {
    " ": "0000000000", "!": "00005f0000", '"': "0007000700", "#": "147f147f14", "$": "242a7f2a12", "%": "2313086462",
    "&": "3649562050", "'": "0008070300", "(": "001c224100", ")": "0041221c00", "*": "2a1c7f1c2a", "+": "08083e0808",
    ",": "0080703000", "-": "0808080808", ".": "0000606000", "/": "2010080402", "0": "3e5149453e", "1": "00427f4000",
    "2": "7249494946", "3": "2141494d33", "4": "1814127f10", "5": "2745454539", "6": "3c4a494931", "7": "4121110907",
    "8": "3649494936", "9": "464949291e", ":": "0000240000", ";": "0040340000", "<": "0008142241", "=": "1414141414",
    ">": "0041221408", "?": "0201590906", "@": "3e415d594e", "A": "7c1211127c", "B": "7f49494936", "C": "3e41414122",
    "D": "7f4141413e", "E": "7f49494941", "F": "7f09090901", "G": "3e41415173", "H": "7f0808087f", "I": "00417f4100",
    "J": "2040413f01", "K": "7f08142241", "L": "7f40404040", "M": "7f021c027f", "N": "7f0408107f", "O": "3e4141413e",
    "P": "7f09090906", "Q": "3e4151215e", "R": "7f09192946", "S": "2649494932", "T": "03017f0103", "U": "3f4040403f",
    "V": "1f2040201f", "W": "3f4038403f", "X": "6314081463", "Y": "0304780403", "Z": "6159494d43", "[": "007f414141",
    "\\": "0204081020", "]": "004141417f", "^": "0402010204", "_": "4040404040",
}  # fmt: skip
GLYPHS = {character: bytes.fromhex(columns) for character, columns in _COLUMNS.items()}


@cache
def _glyph(character: str, scale: int, ink: int, paper: int) -> tuple[bytes, ...]:
    columns = GLYPHS.get(character.upper(), GLYPHS["?"]) + b"\0"
    return tuple(
        b"".join(bytes([ink if column >> row & 1 else paper]) * scale for column in columns) for row in range(ROWS)
    )


def luma_rows(text: str, scale: int, ink: int, paper: int) -> list[bytes]:
    """The `text` as `ROWS * scale` rows of `len(text) * ADVANCE * scale` luma bytes; else `?`."""
    glyphs = [_glyph(character, scale, ink, paper) for character in text]
    return [row for line in zip(*glyphs, strict=True) for row in [b"".join(line)] * scale]
