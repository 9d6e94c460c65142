"""Ids: in the order in which a process made them, and each once."""

import threading
import time
from itertools import pairwise
from uuid import UUID

import pytest

from app import ids


def test_ids_sort_as_they_were_made_and_name_their_moment() -> None:
    before = time.time_ns() // 1_000_000
    made = [ids.new_id() for _ in range(20_000)]
    after = time.time_ns() // 1_000_000
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert {one.version for one in made} == {7}
    assert all(before <= one.int >> 80 <= after for one in made)


def test_ids_do_not_follow_from_each_other() -> None:
    made = [ids.new_id().int >> 16 for _ in range(1000)]
    steps = {after - before for before, after in pairwise(made)}
    assert len(steps) == len(made) - 1


def test_a_clock_that_goes_back_repeats_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    first, now = ids.new_id(), time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now - 3_600_000_000_000)
    made = [first, *(ids.new_id() for _ in range(100))]
    assert made == sorted(set(made))


def test_threads_get_ids_of_their_own() -> None:
    made: list[list[UUID]] = [[] for _ in range(4)]

    def work(mine: list[UUID]) -> None:
        mine.extend(ids.new_id() for _ in range(5000))

    threads = [threading.Thread(target=work, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one for mine in made for one in mine}) == 20_000
    assert all(mine == sorted(mine) for mine in made)
