"""What a simulated microphone hears: a short tone every second, as PCMU (G.711 mu-law, 8 kHz, mono)."""

from functools import cache
from math import pi, sin

SAMPLES_PER_SECOND = 8_000
BLOCK_SAMPLES = 320
BLOCKS_PER_SECOND = SAMPLES_PER_SECOND // BLOCK_SAMPLES
_TONE_HERTZ, _TONE_SECONDS, _AMPLITUDE = 880, 0.2, 9_000
_BIAS, _SIGN, _LARGEST = 0x84, 0x80, 32_635


def mu_law(sample: int) -> int:
    """One 16-bit sample as G.711 mu-law."""
    sign, magnitude = (_SIGN, -sample) if sample < 0 else (0, sample)
    magnitude = min(magnitude, _LARGEST) + _BIAS
    exponent = magnitude.bit_length() - 8
    return ~(sign | exponent << 4 | magnitude >> (exponent + 3) & 0x0F) & 0xFF


@cache
def _second() -> bytes:
    tone = (
        int(_AMPLITUDE * sin(2 * pi * _TONE_HERTZ * n / SAMPLES_PER_SECOND))
        if n < _TONE_SECONDS * SAMPLES_PER_SECOND
        else 0
        for n in range(SAMPLES_PER_SECOND)
    )
    return bytes(mu_law(sample) for sample in tone)


def block(number: int) -> bytes:
    """Block `number` = floor(unix time * BLOCKS_PER_SECOND) of the sound."""
    start = number % BLOCKS_PER_SECOND * BLOCK_SAMPLES
    return _second()[start : start + BLOCK_SAMPLES]
