"""Players: the same picture to all who watch, nothing after the end, and no one waits for who is slow."""

import socket as sockets
from contextlib import ExitStack
from typing import Any

import pytest

from app import fanout
from app.errors import CameraOffline, GatewayUnavailable, GrantEnded, Overloaded, Refusal
from app.streams.embedded import channels
from app.streams.embedded.player import MOST_ANSWERS, Framing, Player
from app.streams.embedded.pull import Cause, Lost
from app.transports import cap_send_buffer, cut, unsent_bytes
from tests.streams.playing import GOP_FRAMES, FilmPull, Wire, begun, channel_of, film, view
from tests.streams.watching import decoded


async def playing(pull: FilmPull, wire: Wire, framing: Framing = Framing.PLAIN, **about: Any) -> Player:
    player = Player(view(**about), channel_of(pull))
    player.play_on(wire, framing)
    return player


def together(pull: FilmPull, *wires: Wire, framing: Framing = Framing.PLAIN) -> list[Player]:
    """Players of one channel, each on its wire."""
    channel = channel_of(pull)
    players = [Player(view(), channel) for _ in wires]
    for player, wire in zip(players, wires, strict=True):
        player.play_on(wire, framing)
    return players


async def test_who_joins_has_the_group_of_pictures_and_then_every_frame() -> None:
    pull = await begun(FilmPull())
    pull.give(6)
    early, late = Wire(), Wire()
    channel = channel_of(pull)
    Player(view(), channel).play_on(early, Framing.PLAIN)
    assert len(decoded(early.data)) == 7
    pull.give(20)
    Player(view(), channel).play_on(late, Framing.PLAIN)
    pull.give(20)
    assert len(decoded(early.data)) == 47
    assert len(decoded(late.data)) == 47 - GOP_FRAMES
    assert late.data.endswith(early.data[-5000:])


async def test_without_a_key_frame_at_hand_a_joiner_waits_for_the_next() -> None:
    pull = await begun(FilmPull())
    pull.give(3)
    pull.gop = []  # it grew too large
    wire = Wire()
    player = await playing(pull, wire)
    pull.give(5)
    assert wire.written == []
    assert player.first_byte_at is None
    pull.give(10)
    frames = decoded(wire.data)
    assert frames[0].key_frame
    assert len(frames) == 4
    assert player.first_byte_at is not None


async def test_a_stalled_viewer_misses_frames_the_others_none_and_goes_on_with_a_key_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channels, "_LEAST_LIMIT", 1)
    monkeypatch.setattr(channels, "_BEHIND_SECONDS", 1)
    pull = await begun(FilmPull())
    slow, quick = Wire(), Wire()
    players = together(pull, slow, quick)
    pull.give(GOP_FRAMES)
    slow.stalled = True
    pull.give(3 * GOP_FRAMES)
    held = len(slow.written)
    assert held < len(quick.written)
    slow.flow()
    pull.give(GOP_FRAMES - 1)
    assert len(slow.written) == held, "there is room, but no key frame yet"
    pull.give(5)
    groups = [sum(len(one.data) for one in film().fragments[i : i + GOP_FRAMES]) for i in range(0, 90, GOP_FRAMES)]
    assert 2 * min(groups) <= players[0].channel._limit <= 2 * max(groups), "two groups of pictures may be unread"
    assert quick.data == pull.film.init.data + b"".join(one.data for one in pull.film.fragments[: pull.next])
    frames = decoded(slow.data)
    assert len(frames) < len(decoded(quick.data))
    seam = next(i for i in range(1, len(frames)) if frames[i].pts - frames[i - 1].pts > frames[1].pts)
    assert frames[seam].key_frame
    assert [player.ended.done() for player in players] == [False, False]


async def test_who_does_not_recover_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "BEHIND_SECONDS", -1)
    monkeypatch.setattr(channels, "_LEAST_LIMIT", 1)
    pull = await begun(FilmPull())
    slow, quick = Wire(stalled=True), Wire()
    players = together(pull, slow, quick)
    pull.give(80)
    assert players[0].ended.result() == "behind"
    assert slow.closed
    assert not players[1].ended.done()
    assert len(decoded(quick.data)) == 81


async def test_when_the_last_viewer_is_sent_away_the_camera_is_let_go(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fanout, "BEHIND_SECONDS", -1)
    monkeypatch.setattr(channels, "_LEAST_LIMIT", 1)
    pull = await begun(FilmPull())
    player = await playing(pull, Wire(stalled=True))
    pull.give(80)
    assert player.ended.result() == "behind"
    assert pull._listeners == ()
    assert caplog.text == ""


async def test_the_limit_is_bounded_whatever_the_camera_sends() -> None:
    pull = await begun(FilmPull())
    wire = Wire(stalled=True)
    await playing(pull, wire)
    largest = max(len(one.data) for one in pull.film.fragments)
    pull.give(89)
    assert wire.waiting <= fanout.VIDEO_LIMIT + largest


@pytest.mark.parametrize("framing", list(Framing))
@pytest.mark.parametrize("cause", ["revoked", "client", "expired"])
async def test_nothing_is_written_after_the_end(framing: Framing, cause: str) -> None:
    pull = await begun(FilmPull())
    wire = Wire(stalled=True)
    player = await playing(pull, wire, framing)
    pull.give(5)
    before = len(wire.written)
    player.end(cause)
    assert player.ended.result() == cause
    assert wire.closed == (cause != "client")
    pull.give(20)
    assert len(wire.written) == before
    assert player.bytes == len(wire.data)
    player.end("again")
    assert player.ended.result() == cause


async def test_a_websocket_on_which_nothing_waits_is_left_to_its_door() -> None:
    pull = await begun(FilmPull())
    wire = Wire()
    player = await playing(pull, wire, Framing.MESSAGES)
    player.end("revoked")
    assert not wire.closed


async def test_who_comes_when_all_is_over_ends_with_the_cause() -> None:
    pull = await begun(FilmPull())
    channel = channel_of(pull)
    with channel.held():
        pull.lose("camera_lost")
        late = Player(view(), channel)
        assert late.ended.result() == "camera_lost"
        wire, socket = Wire(), Wire()
        late.play_on(wire, Framing.PLAIN)
        late.play_on(socket, Framing.MESSAGES)
        assert (wire.closed, wire.written) == (True, [])
        assert (socket.closed, socket.written) == (False, []), "its door says good-bye"
    assert channel.lost == Lost(Cause.CAMERA_LOST, "by hand")


async def test_an_answer_in_flight_is_cut_and_counted_by_what_left() -> None:
    pull = await begun(FilmPull())
    player = Player(view("hls"), channel_of(pull))
    wire, done = Wire(stalled=True), Wire()
    with player.answering(done, 300):
        done.write(b"x" * 300)
        assert player.touched_at == pytest.approx(player.touched_at, abs=0.1)
    assert player.bytes == 300
    with player.answering(wire, 1000):
        wire.write(b"x" * 1000)
        wire.waiting = 400
        player.end("revoked")
        assert wire.closed
        assert not done.closed, "a connection that took its answer is not the player's any more"
    assert player.bytes == 900


@pytest.mark.parametrize(
    ("cause", "refusal"),
    [("revoked", GrantEnded), ("camera_lost", CameraOffline), ("server_stopped", GatewayUnavailable)],
)
async def test_whether_an_answer_may_begin(cause: str, refusal: type[Refusal]) -> None:
    pull = await begun(FilmPull())
    player = Player(view("hls"), channel_of(pull))
    with ExitStack() as taking:
        for _ in range(MOST_ANSWERS):
            player.may_answer()
            taking.enter_context(player.answering(Wire(), 1))
        with pytest.raises(Overloaded):
            player.may_answer()
    player.may_answer()
    player.end(cause)
    with pytest.raises(refusal):
        player.may_answer()


async def test_while_an_answer_is_taken_the_player_is_not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 50.0
    monkeypatch.setattr("app.streams.embedded.player.clock.monotonic", lambda: now)
    pull = await begun(FilmPull())
    player = Player(view("hls"), channel_of(pull))
    with player.answering(Wire(), 10):
        now = 90.0
        assert player.touched_at == 90
    now = 95.0
    assert player.touched_at == 90
    player.count(1)
    assert player.touched_at == 95


async def test_handed_over_it_counts_anew_and_the_picture_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 50.0
    monkeypatch.setattr("app.streams.embedded.player.clock.monotonic", lambda: now)
    pull = await begun(FilmPull())
    wire = Wire()
    player = await playing(pull, wire)
    first, key, first_byte_at = player.view, player.key, player.first_byte_at
    pull.give(10)
    now = 60.0
    assert (player.bytes, player.seconds) == (len(wire.data), 10)
    before = len(wire.data)
    second = view(seconds_left=30)
    player.hand_over(second)
    assert (player.bytes, player.seconds) == (0, 0)
    assert player.first_byte_at is not None
    assert player.first_byte_at > first_byte_at
    assert (player.view, player.ticket, player.deadline) == (second, second.permit.ticket, 90)
    assert player.keys == {key, player.key}
    assert player.key[0] == second.permit.ticket.grant_id != first.permit.ticket.grant_id
    pull.give(10)
    assert player.bytes == len(wire.data) - before
    assert len(decoded(wire.data)) == 21
    assert not player.ended.done()


async def test_handed_over_between_pictures_the_first_byte_is_still_to_come() -> None:
    pull = await begun(FilmPull())
    pull.gop = []
    player = await playing(pull, Wire())
    player.hand_over(view())
    assert player.first_byte_at is None
    pull.give(15)
    assert player.first_byte_at is not None


@pytest.fixture
def loop_transport(request: pytest.FixtureRequest) -> Any:
    class Plain:
        """A transport over a socket whose buffer is the kernel's alone."""

        def __init__(self, connection: sockets.socket) -> None:
            self.connection, self.closed = connection, False

        def get_extra_info(self, name: str) -> sockets.socket:
            return self.connection

        def get_write_buffer_size(self) -> int:
            return 0

        def abort(self) -> None:
            self.connection.close()

    return Plain


def test_what_waits_in_the_kernel_is_seen_and_thrown_away_by_a_cut(loop_transport: Any) -> None:
    with sockets.create_server(("127.0.0.1", 0)) as listening:
        reader = sockets.create_connection(listening.getsockname())
        writer, _ = listening.accept()
    transport = loop_transport(writer)
    cap_send_buffer(transport)
    assert unsent_bytes(transport) == 0
    writer.setblocking(False)
    written = 0
    with pytest.raises(BlockingIOError):
        while True:
            written += writer.send(b"x" * 8192)
    assert 0 < unsent_bytes(transport) < 256 * 1024
    cut(transport)
    came = 0
    with pytest.raises(ConnectionResetError):
        while data := reader.recv(1 << 16):
            came += len(data)
    assert came < written
    reader.close()
