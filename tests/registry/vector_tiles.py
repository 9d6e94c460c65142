"""Reads vector tiles back, after the specification and not after our encoder."""

from typing import Any


def varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at


def fields(data: bytes) -> list[tuple[int, Any]]:
    found, at = [], 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        else:
            assert key & 7 == 2, key
            size, at = varint(data, at)
            value, at = data[at : at + size], at + size
            assert len(value) == size
        found.append((key >> 3, value))
    return found


def numbers(data: bytes) -> list[int]:
    found, at = [], 0
    while at < len(data):
        number, at = varint(data, at)
        found.append(number)
    return found


def value_of(data: bytes) -> Any:
    ((kind, value),) = fields(data)
    if kind == 1:
        return value.decode()
    return bool(value) if kind == 7 else (value >> 1) ^ -(value & 1)


def points(tile: bytes, layer: str = "cameras") -> list[dict[str, Any]]:
    """The points of the one layer: x and y within the tile, and properties."""
    if not tile:
        return []
    ((three, content),) = fields(tile)
    assert three == 3
    parts = fields(content)
    single = {key: value for key, value in parts if key in (1, 5, 15)}
    assert single == {1: layer.encode(), 5: 4096, 15: 2}
    keys = [value.decode() for key, value in parts if key == 3]
    values = [value_of(value) for key, value in parts if key == 4]
    found = []
    for key, feature in parts:
        if key != 2:
            continue
        said = dict(fields(feature))
        assert said[3] == 1
        command, x, y = numbers(said[4])
        assert command == 9
        tags = numbers(said[2])
        told = {keys[tag]: values[value] for tag, value in zip(tags[::2], tags[1::2], strict=True)}
        found.append({"x": (x >> 1) ^ -(x & 1), "y": (y >> 1) ^ -(y & 1), **told})
    return found
