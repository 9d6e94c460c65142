"""What moves in a simulated street: cars on two lanes and somebody on the pavement.

Where a thing is follows from the time alone, so a restarted encoder goes on where the last one stood.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random

from app.demo.simulator.canvas import Canvas, Colour, Sprite, sprite
from app.demo.simulator.light import Light
from app.demo.simulator.street import DESIGN_ROWS

_PAINT: list[Colour] = [(206, 44, 44), (236, 236, 232), (40, 44, 52), (46, 92, 178), (232, 178, 40), (150, 158, 166)]
_TYRE: Colour = (24, 24, 26)
_STEP_SECONDS = 0.3  # of a walker
TOP = 190  # nothing of it reaches above this row of a street of `DESIGN_ROWS` rows


@dataclass(frozen=True)
class Mover:
    """Something that crosses the picture again and again; with several sprites it changes between them (a walk)."""

    sprites: tuple[Sprite, ...]
    y: int
    pixels_per_second: float  # negative: to the left
    start: float
    loop: int  # pixels from one appearance to the next

    def draw(self, canvas: Canvas, seconds: float) -> None:
        shape = self.sprites[int(seconds / _STEP_SECONDS) % len(self.sprites)]
        x = (self.start + self.pixels_per_second * seconds) % self.loop - shape.width
        shape.draw(canvas, int(x) & ~1, self.y)


def movers(seed: int, light: Light, width: int, rows: int) -> list[Mover]:
    """The traffic of camera `seed` in a street of `width` x `rows` pixels, the farthest first."""
    random = Random(seed + 1)  # noqa: S311 - scenery
    scale = rows / DESIGN_ROWS
    found = []
    for lane_y, direction in ((196, 0.0), (236, -1.0), (284, 1.0)):
        y = int(lane_y * scale) & ~1
        loop = width + int(random.randint(150, 260) * scale)
        if not direction:
            pace = random.uniform(14, 24) * random.choice([-1, 1]) * scale
            found.append(Mover(_walker(random, light), y, pace, random.random() * loop, loop))
            continue
        pace = random.uniform(52, 96) * direction * scale
        first = random.random() * loop
        for place in (0.0, 0.5):
            shape = _vehicle(
                random.choice([_car, _car, _van, _bus]), random.choice(_PAINT), light, forwards=direction > 0
            )
            found.append(Mover((shape,), y, pace, first + place * loop, loop))
    return found


_Fill = Callable[[int, int, int, int, Colour], None]


def _vehicle(shape: Callable[[_Fill, Colour, Light], None], colour: Colour, light: Light, *, forwards: bool) -> Sprite:
    width, height = 112, 40

    def paint(canvas: Canvas) -> None:
        def fill(x: int, y: int, across: int, down: int, ink: Colour) -> None:
            canvas.fill(x if forwards else width - x - across, y, across, down, ink)

        shape(fill, colour, light)

    return sprite(width, height, paint)


def _wheels(fill: _Fill, light: Light, *places: int) -> None:
    for x in places:
        fill(x, 30, 14, 10, _TYRE)
        fill(x + 2, 28, 10, 2, _TYRE)
        fill(x + 4, 33, 6, 4, light.on((170, 172, 176)))


def _lamps(fill: _Fill, light: Light, rear: int, front: int, y: int) -> None:
    fill(rear, y, 4, 6, (214, 30, 30) if light.lamps else light.on((170, 40, 40)))
    fill(front - 4, y, 4, 6, (255, 250, 214) if light.lamps else light.on((240, 238, 220)))
    if light.lamps:
        fill(front, y + 2, 16, 4, light.on((196, 190, 150)))


def _car(fill: _Fill, colour: Colour, light: Light) -> None:
    glass = light.on((70, 96, 118))
    for row, (left, right) in enumerate([(34, 62), (32, 65), (30, 68), (28, 71), (26, 74), (24, 77)]):
        fill(left, 6 + 2 * row, right - left, 2, light.on(colour))
        if row:
            fill(left + 4, 6 + 2 * row, right - left - 8, 2, glass)
    fill(48, 6, 4, 12, light.on(colour))
    fill(10, 18, 82, 14, light.on(colour))
    fill(8, 22, 88, 10, light.on(colour))
    fill(8, 30, 88, 2, light.on((46, 48, 52)))
    _wheels(fill, light, 20, 70)
    _lamps(fill, light, 8, 96, 22)


def _van(fill: _Fill, colour: Colour, light: Light) -> None:
    fill(8, 2, 70, 30, light.on(colour))
    fill(78, 10, 8, 22, light.on(colour))
    fill(86, 18, 10, 14, light.on(colour))
    fill(62, 8, 20, 10, light.on((70, 96, 118)))
    fill(8, 14, 52, 2, light.on((120, 124, 128)))
    fill(8, 30, 88, 2, light.on((46, 48, 52)))
    _wheels(fill, light, 18, 72)
    _lamps(fill, light, 8, 96, 22)


def _bus(fill: _Fill, colour: Colour, light: Light) -> None:
    fill(0, 0, 96, 32, light.on(colour))
    fill(4, 6, 90, 12, _LIT_BUS if light.lamps else light.on((84, 112, 132)))
    for x in range(18, 92, 16):
        fill(x, 6, 2, 12, light.on(colour))
    fill(0, 22, 96, 2, light.on((236, 236, 232)))
    _wheels(fill, light, 14, 72)
    _lamps(fill, light, 0, 96, 24)


_LIT_BUS: Colour = (250, 226, 170)


def _walker(random: Random, light: Light) -> tuple[Sprite, ...]:
    coat, trousers = light.on(random.choice(_PAINT)), light.on((52, 58, 84))

    def stride(canvas: Canvas, *, apart: bool) -> None:
        canvas.fill(6, 0, 6, 6, light.on((226, 182, 150)))
        canvas.fill(6, 0, 6, 2, light.on((50, 36, 30)))
        canvas.fill(4, 6, 10, 12, coat)
        for x in (4, 10) if apart else (6, 8):
            canvas.fill(x, 18, 4, 12, trousers)

    return tuple(sprite(18, 30, partial(stride, apart=apart)) for apart in (True, False))
