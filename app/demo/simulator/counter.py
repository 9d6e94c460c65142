"""The frame counter as a bar code in the picture: whoever decodes a frame can tell when it was filmed.

Forty-eight cells of 16 pixels a side: white, black, forty bits of the counter (highest first), four check bits, black,
white. They stand at the lower left, in as many lines as the width demands. The counter is floor(unix time * frames per
second), so it never repeats, survives a restarted encoder, and its age is the picture's latency.
"""

from typing import Any

CELL_PIXELS = 16
BITS, CHECK_BITS = 40, 4
WHITE, BLACK = 208, 24  # luma: far apart, and no glare in a night scene
CELLS = 2 + BITS + CHECK_BITS + 2
# The guards that must be read at these places, and serve as the measure of white and black.
_GUARDS = {0: 1, 1: 0, CELLS - 2: 0, CELLS - 1: 1}


def columns(width: int) -> int:
    """How many cells stand side by side in a picture of this width; two lines of them from 384 pixels on."""
    return min(CELLS // 2, width // CELL_PIXELS)


def lines(width: int) -> int:
    """How many lines of cells a picture of this width needs."""
    return -(-CELLS // columns(width))


def _check(counter: int) -> int:
    check = 0b0101  # so that an all-black strip is not a valid counter
    while counter:
        check ^= counter & 0xF
        counter >>= 4
    return check


def luma_rows(counter: int, width: int) -> list[bytes]:
    """The bar code of 0 <= `counter` < 2**40: rows of luma bytes for the lower left corner of a picture."""
    bits = f"10{counter:0{BITS}b}{_check(counter):0{CHECK_BITS}b}01"
    cells = {"1": bytes([WHITE]) * CELL_PIXELS, "0": bytes([BLACK]) * CELL_PIXELS}
    across = columns(width)
    return [
        row
        for line in range(lines(width))
        for row in [b"".join(cells[bit] for bit in bits[line * across : (line + 1) * across])] * CELL_PIXELS
    ]


def read_counter(luma: Any, width: int = 0) -> int:
    """The counter burnt into a decoded frame of the simulator, at the size at which it was filmed.

    `luma` is the frame's gray plane, either two-dimensional (rows of pixel values, such as an array) or, when `width`
    is given, flat. Raises ValueError if there is no readable bar code.
    """
    if width:
        flat = memoryview(luma)
        luma = [flat[start : start + width] for start in range(0, len(flat) - width + 1, width)]
    height, width = len(luma), len(luma[0])
    across, top = columns(width), height - lines(width) * CELL_PIXELS
    inner = range(CELL_PIXELS // 4, CELL_PIXELS - CELL_PIXELS // 4, 2)  # the rim may bleed

    def brightness(cell: int) -> float:
        line, column = divmod(cell, across)
        y, x = top + line * CELL_PIXELS, column * CELL_PIXELS
        total = sum(int(luma[y + dy][x + dx]) for dy in inner for dx in inner)
        return total / len(inner) ** 2

    white = min(brightness(cell) for cell, bit in _GUARDS.items() if bit)
    black = max(brightness(cell) for cell, bit in _GUARDS.items() if not bit)
    if white - black < (WHITE - BLACK) / 3:
        raise ValueError("no bar code: its guard cells are missing")
    threshold = (white + black) / 2
    value = 0
    for cell in range(2, 2 + BITS + CHECK_BITS):
        value = value << 1 | (brightness(cell) > threshold)
    counter, check = value >> CHECK_BITS, value & (1 << CHECK_BITS) - 1
    if check != _check(counter):
        raise ValueError("the bar code is damaged: its check bits do not fit")
    return counter
