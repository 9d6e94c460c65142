"""The still part of a simulated picture: a street that differs from camera to camera and is always the same for one."""

from colorsys import hsv_to_rgb
from math import sin
from random import Random

from app.demo.simulator import font
from app.demo.simulator.canvas import Canvas, Colour, yuv
from app.demo.simulator.light import Light

# Heights in a picture whose street is 328 rows high; others are scaled.
DESIGN_ROWS = 328
PAVEMENT_TOP, KERB, CENTRE_LINE = 208, 232, 280

_STONE: list[Colour] = [(196, 186, 170), (168, 120, 98), (204, 200, 194), (150, 158, 166), (182, 160, 128)]
_SIGNS: list[Colour] = [(196, 52, 48), (32, 98, 178), (30, 130, 92), (222, 150, 30), (120, 60, 140)]
_SHOPS = ["CAFE", "BANK", "MART", "BOOKS", "PHARMACY", "BAKERY", "24H", "NOODLES", "HOTEL", "GYM"]
_LIT: Colour = (255, 222, 150)
_GLASS: Colour = (86, 112, 136)


def accent(seed: int) -> Colour:
    """The colour by which a camera's street is told from others: its landmark and the mark beside its name."""
    red, green, blue = hsv_to_rgb(seed % 360 / 360, 0.62, 0.86)
    return int(red * 255), int(green * 255), int(blue * 255)


def paint(canvas: Canvas, seed: int, light: Light, rows: int) -> None:
    """Paint the whole street of camera `seed` into the upper `rows` rows of the canvas."""
    random = Random(seed)  # noqa: S311 - scenery
    scale = rows / DESIGN_ROWS
    ground = int(PAVEMENT_TOP * scale)
    _sky(canvas, random, light, ground)
    _far(canvas, random, light, ground, scale)
    x, landmark = random.randint(-40, 0), random.randint(1, 3)
    number = 0
    while x < canvas.width:
        width = int(random.randint(84, 150) * scale)
        stone = accent(seed) if number == landmark else random.choice(_STONE)
        house = random.choice([_apartments, _offices, _shops])
        house(canvas, random, light, (x, ground, width, scale), stone)
        x += width + int(random.choice([4, 6, 22]) * scale)
        number += 1
    _road(canvas, random, light, rows, scale)
    _furniture(canvas, random, light, scale)


def _sky(canvas: Canvas, random: Random, light: Light, ground: int) -> None:
    for y in range(0, ground, 2):
        share = y / ground
        red, green, blue = (
            int(top + (low - top) * share) for top, low in zip(light.sky_top, light.sky_low, strict=True)
        )
        canvas.fill(0, y, canvas.width, 2, (red, green, blue))
    canvas.disc(random.randint(60, canvas.width - 60), ground // 4, ground // 14, light.orb)


def _far(canvas: Canvas, random: Random, light: Light, ground: int, scale: float) -> None:
    """A mountain ridge and the city before it, both in the haze of the horizon."""
    phase = random.random() * 7
    haze = light.on((120, 146, 150))
    for x in range(0, canvas.width, 4):
        ridge = int((78 + 26 * sin(x / 97 + phase) + 9 * sin(x / 31 + 2 * phase)) * scale)
        canvas.fill(x, ground - ridge, 4, ridge, haze)
    haze, x = light.on((142, 158, 172)), 0
    while x < canvas.width:
        width, height = int(random.randint(24, 60) * scale), int(random.randint(40, 100) * scale)
        canvas.fill(x, ground - height, width, height, haze)
        x += width + int(random.randint(0, 16) * scale)


def _windows(
    canvas: Canvas, random: Random, light: Light, field: tuple[int, int, int, int], pane: tuple[int, int, int, int]
) -> None:
    """Rows of panes (width, height, step across, step down) over a field (x, y, width, height)."""
    left, top, width, height = field
    pane_width, pane_height, across, down = pane
    glass = light.on(_GLASS)
    for y in range(top, top + height - pane_height + 1, down):
        for x in range(left, left + width - pane_width + 1, across):
            canvas.fill(x, y, pane_width, pane_height, _LIT if random.random() < light.lit_windows else glass)


def _sign(canvas: Canvas, text: str, x: int, y: int, colour: Colour) -> None:
    canvas.fill(x, y, len(text) * font.ADVANCE + 6, font.ROWS + 4, colour)
    canvas.paste_luma(max(0, x) + 4, y + 3, font.luma_rows(text, 1, 232, yuv(colour)[0]) if x >= 0 else [])


def _apartments(
    canvas: Canvas, random: Random, light: Light, place: tuple[int, int, int, float], stone: Colour
) -> None:
    x, ground, width, scale = place
    height = int(random.randint(120, 168) * scale)
    top = ground - height
    canvas.fill(x, top, width, height, light.on(stone))
    canvas.fill(x, top, int(width * 0.16), height, light.on((232, 230, 224)))
    canvas.fill(x + width // 3, top - int(6 * scale), width // 3, int(6 * scale), light.on((120, 120, 124)))
    block, wall = str(random.randint(101, 119)), light.on((232, 230, 224))
    if x >= 0:
        canvas.paste_luma(x + 2, top + 8, font.luma_rows(block, 1, max(16, yuv(wall)[0] - 90), yuv(wall)[0]))
    step = max(8, int(14 * scale))
    for y in range(top + 8, ground - 16, step):  # balconies
        canvas.fill(x + int(width * 0.16), y + step - 4, width - int(width * 0.16), 2, light.on((236, 234, 228)))
    field = (x + int(width * 0.16) + 6, top + 8, width - int(width * 0.16) - 8, height - 24)
    _windows(canvas, random, light, field, (int(14 * scale), int(8 * scale), int(20 * scale), step))


def _offices(canvas: Canvas, random: Random, light: Light, place: tuple[int, int, int, float], stone: Colour) -> None:
    x, ground, width, scale = place
    height = int(random.randint(100, 164) * scale)
    top = ground - height
    canvas.fill(x, top, width, height, light.on(stone))
    canvas.fill(x + 2, top, width - 4, 4, light.on((90, 94, 100)))
    field = (x + 8, top + 10, width - 14, height - int(38 * scale))
    _windows(canvas, random, light, field, (int(18 * scale), int(10 * scale), int(20 * scale), int(16 * scale)))
    lobby = int(22 * scale)
    canvas.fill(x + 8, ground - lobby, width - 16, lobby, _LIT if light.lamps else light.on((120, 150, 170)))
    for column in range(x + 8, x + width - 8, max(6, int(18 * scale))):
        canvas.fill(column, ground - lobby, 4, lobby, light.on(stone))


def _shops(canvas: Canvas, random: Random, light: Light, place: tuple[int, int, int, float], stone: Colour) -> None:
    x, ground, width, scale = place
    height = int(random.randint(64, 108) * scale)
    top = ground - height
    canvas.fill(x, top, width, height, light.on(stone))
    canvas.fill(x - 2, top, width + 4, 4, light.on((110, 100, 92)))
    shop = int(30 * scale)
    _windows(canvas, random, light, (x + 8, top + 12, width - 12, height - shop - 22), (14, 12, 24, 22))
    canvas.fill(x + 4, ground - shop, width - 8, shop, _LIT if light.lamps else light.on((104, 122, 130)))
    canvas.fill(x + width // 2, ground - shop, 4, shop, light.on((70, 66, 64)))
    awning = random.choice(_SIGNS)
    for stripe, column in enumerate(range(x, x + width, 8)):
        canvas.fill(column, ground - shop, 8, 6, light.on(awning if stripe % 2 else (238, 234, 226)))
    sign = random.choice(_SIGNS)
    _sign(canvas, random.choice(_SHOPS), x + 8, ground - shop - 14, sign if light.lamps else light.on(sign))


def _road(canvas: Canvas, random: Random, light: Light, rows: int, scale: float) -> None:
    pavement, kerb, centre = int(PAVEMENT_TOP * scale), int(KERB * scale), int(CENTRE_LINE * scale)
    canvas.fill(0, pavement, canvas.width, kerb - pavement, light.on((172, 166, 158)))
    for x in range(0, canvas.width, 24):
        canvas.fill(x, pavement, 2, kerb - pavement, light.on((158, 152, 146)))
    canvas.fill(0, kerb - 4, canvas.width, 4, light.on((206, 204, 198)))
    canvas.fill(0, kerb, canvas.width, rows - kerb, light.on((70, 73, 78)))
    canvas.fill(0, centre - 4, canvas.width, 2, light.on((232, 186, 60)))
    canvas.fill(0, centre, canvas.width, 2, light.on((232, 186, 60)))
    crossing = random.randint(canvas.width // 4, 3 * canvas.width // 4 - 90)
    canvas.fill(crossing - 10, kerb, 108, rows - kerb, light.on((70, 73, 78)))
    for y in range(kerb + 6, rows - 6, 12):
        canvas.fill(crossing, y, 88, 6, light.on((226, 226, 222)))


def _furniture(canvas: Canvas, random: Random, light: Light, scale: float) -> None:
    """Trees, lamps and an emergency bell along the kerb."""
    foot = int((KERB - 6) * scale)
    for x in range(random.randint(10, 80), canvas.width, 150):
        height = int(58 * scale)
        canvas.fill(x, foot - height, 4, height, light.on((112, 84, 60)))
        for dx, dy, radius in ((-8, 4, 14), (10, 2, 14), (2, -8, 16)):
            canvas.disc(
                x + int(dx * scale), foot - height + int(dy * scale), int(radius * scale), light.on((62, 122, 66))
            )
        for dx, dy, radius in ((-6, 0, 8), (8, -8, 8)):
            canvas.disc(
                x + int(dx * scale), foot - height + int(dy * scale), int(radius * scale), light.on((88, 150, 82))
            )
    for x in range(random.randint(90, 140), canvas.width, 230):
        height = int(104 * scale)
        canvas.fill(x, foot - height, 4, height, light.on((84, 88, 92)))
        canvas.fill(x, foot - height, int(26 * scale), 2, light.on((84, 88, 92)))
        lamp = (255, 240, 190) if light.lamps else light.on((220, 220, 214))
        canvas.fill(x + int(16 * scale), foot - height + 2, int(12 * scale), 4, lamp)
    x = random.randint(canvas.width // 5, 4 * canvas.width // 5)  # the bell post: yellow, with a blue light
    canvas.fill(x, foot - int(44 * scale), 8, int(44 * scale), light.on((244, 196, 40)))
    canvas.fill(x - 2, foot - int(50 * scale), 12, 6, (64, 128, 255))
    canvas.fill(x + 2, foot - int(30 * scale), 4, 4, (224, 40, 40))
