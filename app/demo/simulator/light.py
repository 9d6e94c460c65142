"""The light of day in the simulated street, by the hour in Korea."""

from dataclasses import dataclass

from app.demo.simulator.canvas import Colour


@dataclass(frozen=True)
class Light:
    """Sky from top to horizon, how much of red, green and blue reaches the ground, and what shines by itself."""

    sky_top: Colour
    sky_low: Colour
    tint: tuple[float, float, float]
    lit_windows: float  # share of them
    lamps: bool
    orb: Colour  # sun or moon

    def on(self, colour: Colour) -> Colour:
        """How a surface of this colour looks in this light."""
        red, green, blue = (min(255, int(value * tint)) for value, tint in zip(colour, self.tint, strict=True))
        return red, green, blue


_DAY = Light((92, 148, 214), (206, 226, 240), (1.0, 1.0, 1.0), 0.04, lamps=False, orb=(255, 246, 214))
_TWILIGHT = Light((74, 78, 132), (246, 170, 120), (0.78, 0.66, 0.66), 0.4, lamps=True, orb=(255, 206, 140))
_NIGHT = Light((10, 14, 34), (42, 50, 84), (0.36, 0.39, 0.50), 0.5, lamps=True, orb=(232, 232, 214))
_DAWN, _MORNING, _EVENING, _DARK = 6, 8, 17, 20


def at_hour(hour: int) -> Light:
    """The light at an hour (0 to 23) of the Korean day; the seasons are left out."""
    if _MORNING <= hour < _EVENING:
        return _DAY
    return _TWILIGHT if _DAWN <= hour < _DARK else _NIGHT
