"""Frame once, write to many: bounded, never waiting, and the same bytes for all."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame
from websockets.streams import StreamReader

from app.fanout import Listener, Pump, broadcast, chunk, text_frame


class Wire:
    """A connection that takes what it is given, or holds it."""

    def __init__(self, *, stalled: bool = False) -> None:
        self.written: list[bytes] = []
        self.stalled = stalled
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self.written)) if self.stalled else 0

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True


def test_a_stalled_listener_is_told_once_and_holds_nobody() -> None:
    told: list[str] = []
    slow = Listener(Wire(stalled=True), 100, lambda: told.append("slow"))
    quick = Listener(Wire(), 100, lambda: told.append("quick"))
    reached = [broadcast([slow, quick], b"x" * 30) for _ in range(5)]
    assert reached == [2, 2, 2, 1, 1]
    assert told == ["slow"]
    assert quick.bytes == 150
    assert slow.bytes == 90


def test_a_closing_listener_is_passed_over() -> None:
    wire = Wire()
    wire.closed = True
    assert broadcast([Listener(wire, 100, lambda: None)], b"x") == 0
    assert wire.written == []


@given(st.binary(max_size=70_000))
def test_text_frames_are_what_a_websocket_library_reads(payload: bytes) -> None:
    reader = StreamReader()
    reader.feed_data(text_frame(payload))
    reader.feed_eof()
    parsing = Frame.parse(reader.read_exact, mask=False)
    try:
        while True:
            next(parsing)
    except StopIteration as done:
        frame = done.value
    assert (frame.opcode, frame.fin, bytes(frame.data)) == (1, True, payload)


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
