"""Bar and line charts as SVG, made of text: no script, no font, no picture from elsewhere.

A chart says in `title` and `desc` what it shows, for screen readers and for whoever prints it; every bar and point has
its value in words. Numbers are also in the JSON and the CSV: a chart is never the only place.
"""

from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10

WIDTH = 760
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 36, 56, 44
_BAR, _GAP, _LABEL, _LETTER = 22, 10, 190, 9
_FONT = "'Noto Sans KR','Malgun Gothic','Apple SD Gothic Neo','NanumGothic',sans-serif"
_INK, _PALE, _MAIN = "#1b1f24", "#d5dae1", "#1f5fa8"
_TICKS = 5
_MOST_LETTERS = 18  # of a label; a wide letter counts two
_LAST_ASCII = 0x2E7F  # what comes after is as wide as it is high


def bars(title: str, description: str, values: Sequence[tuple[str, float]], unit: str = "") -> str:
    """Horizontal bars, one a (label, value), in the given order, with the value at its end."""
    height = _TOP + max(1, len(values)) * (_BAR + _GAP) + 16
    top = nice_top(max((value for _, value in values), default=0))
    room = WIDTH - _LABEL - _LETTER * max((len(_said(value, unit)) + 2 for _, value in values), default=0)
    parts = []
    for row, (label, value) in enumerate(values):
        y = _TOP + row * (_BAR + _GAP)
        width = max(0.0, value / top * room)
        middle = y + _BAR * 0.72
        parts.append(
            f"<g><title>{_text(label)}: {_text(_said(value, unit))}</title>"
            f'<text x="{_LABEL - 8}" y="{middle:.1f}" text-anchor="end">{_text(_short(label))}</text>'
            f'<rect x="{_LABEL}" y="{y}" width="{width:.1f}" height="{_BAR}" fill="{_MAIN}"/>'
            f'<text x="{_LABEL + width + 6:.1f}" y="{middle:.1f}">{_text(_said(value, unit))}</text></g>'
        )
    if not values:
        parts.append(f'<text x="{WIDTH / 2}" y="{_TOP + 20}" text-anchor="middle">자료 없음 · no data</text>')
    parts.append(f'<line x1="{_LABEL}" y1="{_TOP - 4}" x2="{_LABEL}" y2="{height - 14}" stroke="{_INK}"/>')
    return _svg(title, description, height, parts)


def line(title: str, description: str, values: Sequence[tuple[str, float]], unit: str = "", height: int = 320) -> str:
    """One line through (label, value) from left to right; the axis begins at 0 and ends at a round number."""
    top = nice_top(max((value for _, value in values), default=0))
    right, floor_y = WIDTH - _RIGHT, height - _BOTTOM
    parts = []
    for tick in range(_TICKS + 1):
        y = floor_y - tick / _TICKS * (floor_y - _TOP)
        parts.append(
            f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="{_PALE}"/>'
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_text(_said(top * tick / _TICKS))}</text>'
        )
    step = (right - _LEFT) / max(1, len(values) - 1)
    points = [
        (_LEFT + index * step, floor_y - value / top * (floor_y - _TOP)) for index, (_, value) in enumerate(values)
    ]
    every = max(1, ceil(len(values) / 13))
    if points:
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{_MAIN}" stroke-width="2.5"/>')
    for index, ((x, y), (label, value)) in enumerate(zip(points, values, strict=True)):
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{_MAIN}">'
            f"<title>{_text(label)}: {_text(_said(value, unit))}</title></circle>"
        )
        if index % every == 0:
            parts.append(f'<text x="{x:.1f}" y="{floor_y + 20}" text-anchor="middle">{_text(_short(label))}</text>')
    if unit:
        parts.append(f'<text x="{_LEFT - 8}" y="{_TOP - 12}" text-anchor="end">({_text(unit)})</text>')
    if not values:
        parts.append(f'<text x="{WIDTH / 2}" y="{height / 2}" text-anchor="middle">자료 없음 · no data</text>')
    return _svg(title, description, height, parts)


def nice_top(most: float) -> float:
    """The round number (1, 2 or 5 with zeros) at or above the highest value; at least the number of ticks."""
    if most <= _TICKS:
        return float(_TICKS)
    power = 10.0 ** floor(log10(most))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= most)


def _svg(title: str, description: str, height: int, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="title desc" lang="ko"'
        f' width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">'
        f'<title id="title">{_text(title)}</title><desc id="desc">{_text(description)}</desc>'
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>'
        f'<g font-family="{_FONT}" font-size="13" fill="{_INK}">'
        f'<text x="16" y="28" font-size="17" font-weight="bold">{_text(title)}</text>{"".join(parts)}</g></svg>\n'
    )


def _text(words: str) -> str:
    """Words as they may stand in XML: escaped, without control characters, which no XML allows."""
    return escape("".join(letter for letter in words if letter.isprintable()))


def _said(value: float, unit: str = "") -> str:
    number = f"{value:,.1f}".removesuffix(".0")
    return number + unit


def _short(label: str) -> str:
    """A label cut to its room."""
    room, kept = _MOST_LETTERS * 1.3, ""
    for letter in label:
        room -= 2 if ord(letter) > _LAST_ASCII else 1
        if room < 0:
            return kept + "…"
        kept += letter
    return kept
