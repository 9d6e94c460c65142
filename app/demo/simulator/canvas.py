"""A picture as ffmpeg's rawvideo wants it (yuv420p), and the few strokes that the simulator paints with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import sqrt

Colour = tuple[int, int, int]  # red, green, blue, 0 to 255 each


@cache
def yuv(colour: Colour) -> tuple[int, int, int]:
    """Luma and the two chroma values of a colour: BT.601, limited range, as the encoder declares it."""
    red, green, blue = colour
    return (
        round(16 + 0.257 * red + 0.504 * green + 0.098 * blue),
        round(128 - 0.148 * red - 0.291 * green + 0.439 * blue),
        round(128 + 0.439 * red - 0.368 * green - 0.071 * blue),
    )


class Canvas:
    """`pixels` holds the three planes one after another: luma, then U and V at half the width and height."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        luma, chroma = width * height, (width // 2) * (height // 2)
        self.pixels = bytearray(luma + 2 * chroma)
        # (offset, stride, rows, subsampling) of each plane
        self.planes = (
            (0, width, height, 1),
            (luma, width // 2, height // 2, 2),
            (luma + chroma, width // 2, height // 2, 2),
        )

    def fill(self, x: int, y: int, width: int, height: int, colour: Colour) -> None:
        """Paint a rectangle; what lies outside the picture is left out."""
        left, right = max(0, x), min(self.width, x + width)
        top, bottom = max(0, y), min(self.height, y + height)
        if left >= right or top >= bottom:
            return
        for (offset, stride, _, step), value in zip(self.planes, yuv(colour), strict=True):
            begin, end = left // step, (right + step - 1) // step
            run = bytes([value]) * (end - begin)
            for row in range(top // step, (bottom + step - 1) // step):
                start = offset + row * stride + begin
                self.pixels[start : start + len(run)] = run

    def disc(self, x: int, y: int, radius: int, colour: Colour) -> None:
        """Paint a disc around (x, y)."""
        for row in range(-radius, radius, 2):  # two rows at a time: one row of chroma
            half = int(sqrt(radius * radius - row * row))
            self.fill(x - half, y + row, 2 * half, 2, colour)

    def paste_luma(self, x: int, y: int, rows: Sequence[bytes]) -> None:
        """Put rows of luma bytes at (x, y), cut at the right and lower edges; the colour beneath stays."""
        for row, run in enumerate(rows[: self.height - y], start=y):
            cut = run[: self.width - x]
            start = row * self.width + x
            self.pixels[start : start + len(cut)] = cut

    def restore(self, original: "Canvas", top: int, bottom: int) -> None:
        """Take the rows from `top` (inclusive) to `bottom` (exclusive), both even, from a canvas of the same size."""
        for offset, stride, _, step in self.planes:
            begin, end = offset + top // step * stride, offset + bottom // step * stride
            self.pixels[begin:end] = original.pixels[begin:end]


@dataclass(frozen=True)
class Sprite:
    """A small opaque shape that moves: runs of bytes (plane, row, column, bytes)."""

    width: int
    runs: tuple[tuple[int, int, int, bytes], ...]

    def draw(self, canvas: Canvas, x: int, y: int) -> None:
        """Put the sprite's upper left corner at (x, y), both taken as even; parts beyond the sides are cut off."""
        for plane, row, column, run in self.runs:
            offset, stride, _, step = canvas.planes[plane]
            begin = x // step + column
            start = offset + (y // step + row) * stride
            if begin >= 0 and begin + len(run) <= stride:
                canvas.pixels[start + begin : start + begin + len(run)] = run
            else:
                visible = run[max(0, -begin) : max(0, stride - begin)]
                at = start + max(0, begin)
                canvas.pixels[at : at + len(visible)] = visible


def sprite(width: int, height: int, paint: Callable[[Canvas], None]) -> Sprite:
    """What `paint` draws on an empty canvas of this even size, cut out along its outline."""
    # Painted over two grounds: a byte that differs was not painted.
    dark, light = Canvas(width, height), Canvas(width, height)
    light.pixels[:] = b"\xff" * len(light.pixels)
    paint(dark)
    paint(light)
    runs = []
    for plane, (offset, stride, rows, _) in enumerate(dark.planes):
        for row in range(rows):
            start = offset + row * stride
            line, other = dark.pixels[start : start + stride], light.pixels[start : start + stride]
            column = 0
            while column < stride:
                end = column
                while end < stride and line[end] == other[end]:
                    end += 1
                if end > column:
                    runs.append((plane, row, column, bytes(line[column:end])))
                column = end + 1
    return Sprite(width, tuple(runs))
