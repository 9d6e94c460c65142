"""The outbox: at once after a pause, together in a storm, in order always, and never to who has left."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app import fanout
from app.fanout import Group, Listener, Outbox
from tests.streams.playing import Wire


def group_of(size: int) -> tuple[Group, list[Wire]]:
    wires = [Wire() for _ in range(size)]
    group = Group()
    for wire in wires:
        group.join(Listener(wire, 1 << 20, lambda: None))
    return group, wires


def writes(wire: Wire) -> list[bytes]:
    return [bytes(one) for one in wire.written]


async def test_the_first_goes_at_once_and_the_rest_of_a_storm_together() -> None:
    outbox = Outbox(0.05)
    group, (wire,) = group_of(1)
    for number in range(5):
        outbox.put(group, b"%d" % number)
        outbox.send()
    assert writes(wire) == [b"0"]
    await outbox.settled()
    assert writes(wire) == [b"0", b"1234"]


async def test_what_comes_within_the_window_goes_at_its_end_by_itself() -> None:
    outbox = Outbox(0.02)
    group, (wire,) = group_of(1)
    for frame in (b"a", b"b"):
        outbox.put(group, frame)
        outbox.send()
    async with asyncio.timeout(2):
        while outbox.busy:  # noqa: ASYNC110 - by itself is what is tested
            await asyncio.sleep(0.005)
    assert writes(wire) == [b"a", b"b"]


async def test_an_emergency_ends_the_wait_and_overtakes_nothing() -> None:
    outbox = Outbox(5)
    group, (wire,) = group_of(1)
    for frame, urgent in ((b"a", False), (b"b", False), (b"!", True)):
        outbox.put(group, frame)
        outbox.send(urgent=urgent)
    assert writes(wire) == [b"a", b"b!"]


async def test_events_are_counted_one_by_one_though_written_together() -> None:
    outbox = Outbox(5)
    group, _ = group_of(1)
    for _ in range(3):
        outbox.put(group, b"x")
    outbox.send()
    assert [listener.delivered for listener in group.listeners] == [3]


async def test_who_joins_is_not_given_what_was_put_before() -> None:
    outbox = Outbox(5)
    group, (old,) = group_of(1)
    outbox.put(group, b"a")
    outbox.send()
    outbox.put(group, b"b")
    late = Wire()
    group.join(Listener(late, 100, lambda: None))
    outbox.put(group, b"c")
    await outbox.settled()
    assert b"".join(writes(old)) == b"abc"
    assert b"".join(writes(late)) == b"c"


async def test_who_leaves_altogether_is_given_nothing_that_waits() -> None:
    outbox = Outbox(5)
    group, (stays, goes) = group_of(2)
    leaving = list(group.listeners)[1]
    outbox.put(group, b"a")
    outbox.send()
    outbox.put(group, b"b")
    group.leave(leaving)
    leaving.leave(b"bye")
    await outbox.settled()
    assert (b"".join(writes(stays)), b"".join(writes(goes))) == (b"ab", b"abye")


async def test_a_long_pass_gives_others_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "PASS", 10)
    outbox = Outbox(5)
    group, wires = group_of(35)
    outbox.put(group, b"a")
    outbox.send()
    reached = []
    while outbox.busy:
        reached.append(sum(bool(wire.written) for wire in wires))
        await asyncio.sleep(0)
    assert len(set(reached)) >= 3, reached
    assert all(writes(wire) == [b"a"] for wire in wires)


async def test_an_emergency_waits_for_the_pass_that_has_begun_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "PASS", 10)
    outbox = Outbox(5)
    group, wires = group_of(35)
    outbox.put(group, b"a")
    outbox.send()
    await asyncio.sleep(0)
    outbox.put(group, b"!")
    outbox.send(urgent=True)
    await outbox.settled()
    assert all(writes(wire) == [b"a", b"!"] for wire in wires)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.sampled_from(["put", "send", "urgent", "join", "leave", "move", "turn"]), max_size=60), st.data())
async def test_everybody_hears_what_was_put_while_a_member_in_order(steps: Sequence[str], data: st.DataObject) -> None:
    """Against a model: each listener hears exactly the frames put to the group it was in at that moment."""
    outbox, groups = Outbox(0.001), [Group(), Group()]
    homes: dict[Listener, Group] = {}
    wires: dict[Listener, Wire] = {}
    due: dict[Listener, list[bytes]] = {}
    gone: set[Listener] = set()
    for number, step in enumerate(steps):
        if step == "put":
            group = data.draw(st.sampled_from(groups))
            frame = b"<%d>" % number
            outbox.put(group, frame)
            for listener, home in homes.items():
                if home is group:
                    due[listener].append(frame)
        elif step in ("send", "urgent"):
            outbox.send(urgent=step == "urgent")
        elif step == "join":
            wire = Wire()
            listener = Listener(wire, 1 << 20, lambda: None)
            homes[listener], wires[listener], due[listener] = groups[0], wire, []
            groups[0].join(listener)
        elif step == "turn":
            await asyncio.sleep(0)
        elif homes:
            listener = data.draw(st.sampled_from(sorted(homes, key=list(wires).index)))
            homes[listener].leave(listener)
            if step == "leave":
                del homes[listener]
                gone.add(listener)
                listener.leave()
            else:
                homes[listener] = groups[1] if homes[listener] is groups[0] else groups[0]
                homes[listener].join(listener)
    await outbox.settled()
    for listener, wire in wires.items():
        heard, expected = b"".join(writes(wire)), b"".join(due[listener])
        assert expected.startswith(heard) if listener in gone else heard == expected
