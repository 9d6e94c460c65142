"""The checker can see: perfect histories pass, and each kind of damage to one is found under its name."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.drills import checker
from tests.drills.checker import Beat, Entry, Hearing, Publication, Record, judge

PLACES = ("a", "b", "c")
History = tuple[list[Publication], list[Entry], list[Record]]


def perfect(seed: int, events: int, subscribers: int) -> History:
    """A history as it should be: some reports refused or unknown, connections cut anywhere and rightly resumed."""
    draw = random.Random(seed)
    publications, log, position = [], [], 0
    for number in range(events):
        outcome = draw.choices((checker.ACKED, checker.FAILED, checker.UNKNOWN), (12, 1, 2))[0]
        publication = Publication(f"k{number}", draw.choice(PLACES), outcome)
        publications.append(publication)
        if outcome == checker.ACKED or (outcome == checker.UNKNOWN and draw.random() < 0.5):
            position += draw.randint(1, 3)  # others' events lie between
            log.append(Entry(position, f"id{number}", publication.key, publication.place))
    records = [_hears(draw, f"s{number}", log) for number in range(subscribers)]
    return publications, log, records


def _hears(draw: random.Random, name: str, log: list[Entry]) -> Record:
    wishes = draw.choice([(None,), (frozenset("ab"),), (frozenset("a"), frozenset("ab")), (frozenset("c"), None)])
    record = Record(name, wishes, begun="0", afters=[None])
    counted, safe = 0, 0
    wanted = [entry for entry in log if record.wants(entry.place)]
    at = 0
    while at < len(wanted):
        entry = wanted[at]
        record.hearings.append(Hearing(len(record.afters) - 1, str(entry.position), entry.id, entry.key, float(at)))
        counted, at = counted + 1, at + 1
        if draw.random() < 0.2:
            record.beats.append(
                Beat(len(record.afters) - 1, str(entry.position), counted, counted, len(record.hearings))
            )
            safe = at
        if draw.random() < 0.15:  # cut: resumed after the newest event, or after the newest heartbeat
            at = draw.choice((at, safe))
            record.afters.append(str(wanted[at - 1].position) if at else "0")
            counted = 0
    return record


def drop(record: Record, number: int) -> None:
    gone = record.hearings[number].id
    record.hearings = [hearing for hearing in record.hearings if hearing.id != gone]
    record.beats.clear()


def repeat(record: Record, number: int) -> None:
    record.hearings.insert(number, record.hearings[number])


def invent(record: Record, number: int) -> None:
    record.hearings.insert(number, replace(record.hearings[number], id="nobody's", key="nobody's"))


def mislabel(record: Record, number: int) -> None:
    hearing = record.hearings[number]
    record.hearings[number] = replace(hearing, position=str(int(hearing.position) + 1000))


def resend(record: Record, number: int) -> None:
    """A resumed connection brings something that is not after what it was resumed after."""
    hearing = record.hearings[number]
    record.afters.append(hearing.position)
    record.hearings.append(replace(hearing, connection=len(record.afters) - 1))


def miscount(record: Record, number: int) -> None:
    record.beats.append(Beat(len(record.afters) - 1, record.hearings[-1].position, 2, 1, len(record.hearings)))


def hurry(record: Record, number: int) -> None:
    """A heartbeat tells the position of an event that comes only after it."""
    first = next(n for n, hearing in enumerate(record.hearings) if hearing.id == record.hearings[number].id)
    record.beats.insert(0, Beat(0, record.hearings[first].position, 0, 0, first))


def swap(record: Record, number: int) -> None:
    """Two neighbours of a record that never resumed change places."""
    record.hearings[number - 1], record.hearings[number] = record.hearings[number], record.hearings[number - 1]
    record.beats.clear()


@given(st.integers(), st.integers(0, 60), st.integers(0, 4))
@settings(max_examples=200, deadline=None, database=None)
def test_a_perfect_history_passes(seed: int, events: int, subscribers: int) -> None:
    verdict = judge(*perfect(seed, events, subscribers))
    assert verdict.clean, verdict


@pytest.mark.parametrize(
    ("damage", "what"),
    [(drop, checker.LOST), (repeat, checker.DUPLICATED), (invent, checker.PHANTOM), (mislabel, checker.PHANTOM),
     (resend, checker.REPEATED), (miscount, checker.MISCOUNTED), (hurry, checker.AHEAD)],
)  # fmt: skip
@given(seed=st.integers(), data=st.data())
@settings(max_examples=60, deadline=None, database=None)
def test_damage_to_what_was_heard_is_found(
    damage: Callable[[Record, int], None], what: str, seed: int, data: st.DataObject
) -> None:
    publications, log, records = perfect(seed, 60, 3)
    record = data.draw(st.sampled_from([record for record in records if record.hearings] or [None]))
    if record is None:
        return
    damage(record, data.draw(st.integers(0, len(record.hearings) - 1)))
    assert judge(publications, log, records).count(what) > 0


@given(seed=st.integers(), data=st.data())
@settings(max_examples=60, deadline=None, database=None)
def test_two_that_change_places_are_found(seed: int, data: st.DataObject) -> None:
    publications, log, _ = perfect(seed, 60, 0)
    hearings = [Hearing(0, str(entry.position), entry.id, entry.key, 0.0) for entry in log]
    record = Record("s", (None,), "0", [None], hearings)
    assert judge(publications, log, [record]).clean
    swap(record, data.draw(st.integers(1, len(hearings) - 1)))
    assert judge(publications, log, [record]).count(checker.DISORDERED) > 0


@given(seed=st.integers(), data=st.data())
@settings(max_examples=60, deadline=None, database=None)
def test_damage_to_the_log_is_found(seed: int, data: st.DataObject) -> None:
    publications, log, records = perfect(seed, 60, 2)
    number = data.draw(st.integers(0, len(log) - 1))
    by_key = {publication.key: publication for publication in publications}
    by_key[log[number].key].outcome = checker.ACKED
    assert judge(publications, log[:number] + log[number + 1 :], []).count(checker.LOST) == 1
    twice = [*log, replace(log[number], position=log[-1].position + 1, id="another")]
    assert judge(publications, twice, []).count(checker.DUPLICATED) == 1
    assert judge(publications, twice, records).count(checker.LOST) == sum(
        record.wants(log[number].place) for record in records
    )
    by_key[log[number].key].outcome = checker.FAILED
    assert judge(publications, log, []).count(checker.PHANTOM) == 1
    unknown = [p for p in publications if p.key != log[number].key]
    assert judge(unknown, log, []).count(checker.PHANTOM) == 1
