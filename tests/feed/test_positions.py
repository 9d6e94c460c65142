"""Positions: opaque, telling nothing even by changing, told from forged ones and from those of another log."""

import base64

from hypothesis import given
from hypothesis import strategies as st

from app.feed.positions import Positions
from app.keys import Keys

numbers = st.integers(0, 2**48 - 1)
epochs = st.integers(-(2**63), 2**63 - 1)
KEYS = Keys(b"k" * 32)


@given(epochs, numbers)
def test_what_is_written_is_read(epoch: int, number: int) -> None:
    assert Positions(KEYS, epoch).read(Positions(KEYS, epoch).write(number)) == number


@given(epochs, epochs, numbers)
def test_another_epoch_is_told(one: int, other: int, number: int) -> None:
    read = Positions(KEYS, other).read(Positions(KEYS, one).write(number))
    assert read == (number if one == other else None)


@given(st.text(max_size=40))
def test_what_was_made_up_is_no_position(text: str) -> None:
    assert Positions(KEYS, 5).read(text) is None


@given(numbers, st.integers(0, 127))
def test_a_changed_bit_makes_it_worthless(number: int, bit: int) -> None:
    written = Positions(KEYS, 5).write(number)
    block = bytearray(base64.urlsafe_b64decode(written + "=="))
    block[bit // 8] ^= 1 << bit % 8
    assert Positions(KEYS, 5).read(base64.urlsafe_b64encode(block).decode().rstrip("=")) is None


@given(epochs, numbers)
def test_how_far_one_was_brought_is_written_anew_each_time(epoch: int, number: int) -> None:
    positions = Positions(KEYS, epoch)
    marks = {positions.mark(number) for _ in range(20)}
    assert len(marks) > 15, "who sees that it changes learns nothing"
    assert {positions.read(mark) for mark in marks} == {number}


def test_neighbours_have_nothing_in_common() -> None:
    one, two = Positions(KEYS, 5).write(1000), Positions(KEYS, 5).write(1001)
    assert sum(a == b for a, b in zip(one, two, strict=True)) < 8


def test_another_deployment_reads_nothing() -> None:
    assert Positions(Keys(b"x" * 32), 5).read(Positions(KEYS, 5).write(7)) is None
