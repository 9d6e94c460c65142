"""Frame once, write to many: bounded, never waiting, and the same bytes for all."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame
from websockets.streams import StreamReader

from app import fanout
from app.fanout import (
    Listener,
    LiveListener,
    Pump,
    binary_frame,
    broadcast,
    broadcast_live,
    chunk,
    text_frame,
    unframed,
)
from tests.streams.playing import Wire


def test_a_stalled_listener_is_told_once_and_holds_nobody() -> None:
    told: list[str] = []
    slow = Listener(Wire(stalled=True), 100, lambda: told.append("slow"))
    quick = Listener(Wire(), 100, lambda: told.append("quick"))
    reached = [broadcast([slow, quick], b"x" * 30) for _ in range(5)]
    assert reached == [2, 2, 2, 1, 1]
    assert told == ["slow"]
    assert (quick.delivered, slow.delivered) == (5, 3)


def test_a_closing_listener_is_passed_over() -> None:
    wire = Wire()
    wire.closed = True
    assert broadcast([Listener(wire, 100, lambda: None)], b"x") == 0
    assert wire.written == []


@given(st.binary(max_size=70_000), st.sampled_from([(text_frame, 1), (binary_frame, 2)]))
def test_frames_are_what_a_websocket_library_reads(payload: bytes, kind: tuple[Callable[[bytes], bytes], int]) -> None:
    frame_of, opcode = kind
    reader = StreamReader()
    reader.feed_data(frame_of(payload))
    reader.feed_eof()
    parsing = Frame.parse(reader.read_exact, mask=False)
    try:
        while True:
            next(parsing)
    except StopIteration as done:
        frame = done.value
    assert (frame.opcode, frame.fin, bytes(frame.data)) == (opcode, True, payload)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 70_000)), max_size=4))
def test_frames_can_be_taken_apart_again(messages: list[tuple[bool, int]]) -> None:
    said = [(is_text, b"x" * size) for is_text, size in messages]
    frames = b"".join((text_frame if is_text else binary_frame)(payload) for is_text, payload in said)
    assert list(unframed(frames)) == said


@given(st.binary(min_size=1, max_size=1000))
def test_a_chunk_is_its_size_in_hex_and_itself(payload: bytes) -> None:
    size, _, rest = chunk(payload).partition(b"\r\n")
    assert int(size, 16) == len(payload)
    assert rest == payload + b"\r\n"


async def test_the_pump_hands_on_in_order_and_stops_when_aborted() -> None:
    taken: list[bytes] = []
    gate = asyncio.Event()

    async def send(data: bytes) -> None:
        await gate.wait()
        taken.append(data)

    pump = Pump(send)
    running = asyncio.create_task(pump.run())
    for word in (b"a", b"bb", b"ccc"):
        pump.write(word)
    assert pump.get_write_buffer_size() == 6
    gate.set()
    await asyncio.sleep(0.01)
    assert taken == [b"a", b"bb", b"ccc"]
    assert pump.get_write_buffer_size() == 0
    pump.abort()
    await asyncio.wait_for(running, 1)


# What is live


def told(frames: int, seconds: float) -> bytes:
    return b"<missed %d, %.1f s>" % (frames, seconds)


def give(listeners: list[LiveListener], frames: str, limit: int = 40) -> None:
    """Ten bytes a frame, a tenth of a second each; capitals are entries."""
    for name in frames:
        broadcast_live(listeners, name.encode() * 10, entry=name.isupper(), seconds=0.1, limit=limit)


def shown(wire: Wire) -> str:
    """What a wire was given, each frame by its name."""
    return "".join(chr(data[0]) if len(set(data)) == 1 else data.decode() for data in wire.written)


def live(wire: Wire, sent_away: list[str] | None = None) -> LiveListener:
    away: list[str] = [] if sent_away is None else sent_away
    return LiveListener(wire, lambda: away.append("behind"), tell=told)


def test_who_is_behind_skips_to_the_next_entry_and_is_told_and_the_others_miss_nothing() -> None:
    slow, quick = Wire(stalled=True), Wire()
    listeners = [live(slow), live(quick)]
    give(listeners, "AaaaBbb")
    assert shown(slow) == "Aaaa", "the limit is reached"
    give(listeners, "Cc")
    assert shown(slow) == "Aaaa", "an entry alone is not enough: all of it still waits"
    slow.flow(40)
    give(listeners, "cc")
    assert shown(slow) == "Aaaa", "room alone is not enough: these frames need those before them"
    give(listeners, "Dd")
    assert shown(slow) == "Aaaa<missed 7, 0.7 s>Dd"
    assert shown(quick) == "AaaaBbbCcccDd"
    assert listeners[1].bytes == 130
    assert listeners[0].bytes == len(slow.data)


def test_who_joins_begins_with_an_entry_and_misses_nothing() -> None:
    wire = Wire()
    began: list[int] = []
    listener = LiveListener(wire, lambda: None, on_begin=lambda: began.append(len(wire.written)), tell=told)
    listener.begin(b"open ")
    give([listener], "aa")
    assert (wire.written, listener.begun) == ([], False)
    give([listener], "Bb")
    assert shown(wire) == "open Bb"
    assert began == [2]
    listener.begin(b"again ")
    give([listener], "bCc")
    assert shown(wire) == "open Bbagain Cc"


def test_who_stays_behind_is_sent_away_once_all_have_been_served(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(fanout.clock, "monotonic", lambda: now)
    quick, away = Wire(), list[str]()
    listeners = {0: live(Wire(stalled=True)), 1: live(quick)}
    listeners[0].on_behind = lambda: (away.append("behind"), listeners.pop(0))
    give(list(listeners.values()), "Aaaaa")
    now += fanout.BEHIND_SECONDS
    broadcast_live(listeners.values(), b"B", entry=True, seconds=0.1, limit=40)
    assert away == []
    now += 0.1
    broadcast_live(listeners.values(), b"b", entry=False, seconds=0.1, limit=40)
    assert away == ["behind"]
    assert quick.data.endswith(b"Bb")
    assert list(listeners) == [1]


def test_who_waits_to_begin_is_not_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(fanout.clock, "monotonic", lambda: now)
    away: list[str] = []
    listener = live(Wire(), away)
    for _ in range(10):
        give([listener], "aaa")
        now += 10
    assert away == []


def test_messages_go_between_frames_but_never_to_who_is_behind() -> None:
    wire = Wire(stalled=True)
    listener = live(wire)
    give([listener], "Aa")
    listener.say(b"!")
    give([listener], "aa")
    listener.say(b"?")
    assert shown(wire) == "Aa!a"


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["entry", "frame", "drain", "begin", "say"]), st.integers(1, 60)), max_size=60)
)
def test_whatever_happens_every_run_begins_with_an_entry_and_what_is_missed_is_told(
    steps: list[tuple[str, int]],
) -> None:
    """Laws: bounded memory; a frame is written only if all since the last entry were; the told sum is the missed."""
    limit, wire, missed = 60, Wire(stalled=True), list[int]()
    listener = LiveListener(wire, lambda: None, tell=lambda frames, _seconds: missed.append(frames) or b"")
    offered = since_begin = 0
    runs_whole = False
    has_begun = False
    for step, size in steps:
        if step == "drain":
            wire.waiting = max(0, wire.waiting - size)
        elif step == "begin":
            listener.begin(b"")
            runs_whole = False
        elif step == "say":
            before = wire.waiting
            listener.say(b"m")
            assert wire.waiting <= before + 1
        else:
            before, count = wire.waiting, len(wire.written)
            broadcast_live([listener], b"x" * size, entry=step == "entry", seconds=0, limit=limit)
            written = len(wire.written) > count
            assert not written or before <= limit // 4 or before + size <= limit
            if written:
                assert runs_whole or step == "entry"
            runs_whole = written
            has_begun = has_begun or written
            offered += has_begun
            since_begin += written
    assert since_begin + sum(missed) <= offered
