"""Frame once, write to many: bounded, never waiting, and the same bytes for all."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import cast

import pytest
import uvloop
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


# Past the transport


@dataclass
class Ends:
    """Both ends of connections through one loop: what was accepted, and blocking sockets that read."""

    address: tuple[str, int]
    accepted: asyncio.Queue[asyncio.Transport]
    heard: list[bytes]

    async def connection(self) -> tuple[asyncio.Transport, socket.socket]:
        reader = socket.create_connection(self.address)
        reader.setblocking(False)
        return await self.accepted.get(), reader


def by_each_loop(scene: Callable[[Ends], Awaitable[None]]) -> None:
    """Play a scene on the loop that serves, and on asyncio's own."""

    async def play() -> None:
        accepted, transports, heard = asyncio.Queue[asyncio.Transport](), list[asyncio.Transport](), list[bytes]()

        class Accepting(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                transports.append(cast("asyncio.Transport", transport))
                accepted.put_nowait(transports[-1])

            def data_received(self, data: bytes) -> None:
                heard.append(data)

        server = await asyncio.get_running_loop().create_server(Accepting, "127.0.0.1", 0)
        try:
            async with asyncio.timeout(20):
                await scene(Ends(server.sockets[0].getsockname(), accepted, heard))
        finally:
            server.close()
            for transport in transports:
                if not transport.is_closing():
                    transport.abort()
            await asyncio.sleep(0.05)

    for factory in (uvloop.new_event_loop, asyncio.new_event_loop):
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(play())


def taken(reader: socket.socket, most: int) -> bytes:
    """What is there to be read."""
    try:
        return reader.recv(most)
    except BlockingIOError:
        return b""


async def rest(reader: socket.socket) -> bytes:
    """All up to the end."""
    data = b""
    while piece := await asyncio.get_running_loop().sock_recv(reader, 65_536):
        data += piece
    return data


def test_bytes_come_in_order_whether_the_kernel_takes_them_or_not() -> None:
    async def scene(ends: Ends) -> None:
        transport, reader = await ends.connection()
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        listener, live = Listener(transport, 1 << 30, lambda: None), LiveListener(transport, lambda: None)
        assert listener.descriptor == live.descriptor == transport.get_extra_info("socket").fileno()
        dice, sent, heard, waited = Random(7), b"", b"", 0
        for number in range(900):
            frame = b"%d " % number * dice.choice((1, 50, 5000))
            if number % 3 == 0:
                broadcast_live([live], frame, entry=True, seconds=0.1, limit=1 << 30)
            elif number % 3 == 1:
                assert broadcast([listener], frame) == 1
            else:
                transport.write(frame)  # somebody else's, such as a ping
            sent += frame
            waited += transport.get_write_buffer_size() > 0
            heard += taken(reader, dice.choice((1000, 1 << 20)))
            if dice.random() < 0.3:
                await asyncio.sleep(0)
        transport.close()
        assert heard + await rest(reader) == sent
        assert 0 < waited < 900, "both ways were gone"
        reader.close()

    by_each_loop(scene)


def test_nothing_is_written_to_whoever_has_the_descriptor_next() -> None:
    async def scene(ends: Ends) -> None:
        for end in (lambda transport, _: transport.abort(), lambda _, reader: reader.close()):
            transport, reader = await ends.connection()
            listener, live = Listener(transport, 1 << 20, lambda: None), LiveListener(transport, lambda: None)
            broadcast_live([live], b"entry", entry=True, seconds=0.1)
            assert live.begun
            end(transport, reader)
            await asyncio.sleep(0.05)
            others = [await ends.connection() for _ in range(3)]
            now = {end.fileno() for other, its in others for end in (other.get_extra_info("socket"), its)}
            assert listener.descriptor in now, "it was reused"
            assert broadcast([listener], b"secret") == 0
            broadcast_live([live], b"secret", entry=True, seconds=0.1)
            for other, other_reader in others:
                other.close()
                assert await rest(other_reader) == b""
                other_reader.close()
            assert ends.heard == []
            reader.close()

    by_each_loop(scene)


def test_a_line_that_broke_is_seen_to_by_its_transport() -> None:
    async def scene(ends: Ends) -> None:
        transport, reader = await ends.connection()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        reader.close()  # a reset, which the loop has not read yet
        listener = Listener(transport, 1 << 20, lambda: None)
        for _ in range(3):
            broadcast([listener], b"x")
        await asyncio.sleep(0.05)
        assert transport.is_closing()

    by_each_loop(scene)


class Tls(Wire):
    """What TLS stands before."""

    def get_extra_info(self, name: str) -> object:
        return {"ssl_object": object()}.get(name, 1)


def test_behind_tls_nothing_goes_past_the_transport() -> None:
    wire = Tls()
    assert broadcast([Listener(wire, 100, lambda: None)], b"x") == 1
    broadcast_live([live(wire)], b"y", entry=True, seconds=0.1)
    assert wire.written == [b"x", b"y"]


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
