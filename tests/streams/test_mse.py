"""MSE over WebSocket, spoken with an independent client: what is joined decodes, and every end is said."""

import asyncio
import itertools
import json
import socket as sockets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from app.errors import BoundElsewhere, CameraFull, CameraOffline, GrantEnded, Kind, Moved, Refusal
from app.fanout import VIDEO_LIMIT
from app.routers import streams as door
from app.streams.embedded import channels, mse
from app.streams.embedded.pull import Cause
from app.streams.embedded.watched import Pulls
from tests.streams.fake_camera import FakeCamera
from tests.streams.playing import GOP_FRAMES, FilmPull, HandEdge, HandPulls, doors, endless, film
from tests.streams.watching import LOOPBACK, decoded, until

TOKEN = "t" * 80
CHANNEL: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "asyncapi.yaml").read_text())["channels"]["mse"]
PLAIN_WS = "uvicorn.protocols.websockets.websockets_sansio_impl:WebSocketsSansIOProtocol"


class Watching:
    """A page: it joins what came after each `init` to a file of its own."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.said: list[dict[str, Any]] = []
        self.files: list[bytes] = []
        self.messages = 0

    @property
    def kinds(self) -> list[str]:
        return [message["type"] for message in self.said]

    async def hear(self) -> str | bytes:
        data = await asyncio.wait_for(self.socket.recv(), 5)
        if isinstance(data, str):
            message = json.loads(data)
            check(message)
            self.said.append(message)
            if message["type"] == "init":
                self.files.append(b"")
        else:
            self.files[-1] += data
            self.messages += 1
        return data

    async def until(self, messages: int = 0, kind: str = "") -> None:
        while self.messages < messages or (kind and kind not in self.kinds):
            await self.hear()

    async def closed(self) -> int:
        """Read to the end; the close code."""
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                await self.hear()
        return closed.value.rcvd.code if closed.value.rcvd else 1006


def check(message: dict[str, Any]) -> None:
    """Raise unless asyncapi.yaml knows the message with these members."""
    schema = CHANNEL["messages"][message["type"]]["payload"]
    assert set(schema["required"]) <= set(message) <= set(schema["properties"]), message


@asynccontextmanager
async def watching(host: str, path: str = f"/v/{TOKEN}/mse", **how: Any) -> AsyncIterator[Watching]:
    async with connect(f"ws://{host}{path}", compression=None, **how) as socket:
        yield Watching(socket)


class Scene:
    def __init__(self, host: str, edge: HandEdge, pulls: HandPulls) -> None:
        self.host, self.edge, self.pulls = host, edge, pulls

    @property
    def pull(self) -> FilmPull:
        assert self.pulls.now is not None
        return self.pulls.now

    async def shown(self) -> None:
        """Return when the door plays."""
        await until(lambda: self.edge.players and self.edge.players[-1].bytes)


@pytest.fixture(params=["below ASGI", "through ASGI"])
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    """A camera by hand before our own protocol, and before a server that shows no transport."""
    pulls = HandPulls([FilmPull(), FilmPull(film(width=640)), FilmPull()])
    edge = HandEdge(pulls)
    ws = "app.transports:WebSocketProtocol" if request.param == "below ASGI" else PLAIN_WS
    async with doors(edge, ws=ws) as host:
        yield Scene(host, edge, pulls)


async def test_the_group_of_pictures_at_once_and_then_every_frame(scene: Scene) -> None:
    async with watching(scene.host) as told:
        await told.until(messages=2)
        scene.pull.give(20)
        await told.until(messages=22)
        async with watching(scene.host) as late:
            await late.until(messages=2 + 20 % GOP_FRAMES)
            scene.pull.give(30)
            await told.until(messages=52)
            await late.until(messages=2 + 20 % GOP_FRAMES + 30)
            assert len(decoded(late.files[0])) == 1 + 20 % GOP_FRAMES + 30
        assert len(decoded(told.files[0])) == 51
        init = film().init
        assert told.said == [
            {"type": "init", "mime": f'video/mp4; codecs="{init.codec}"', "width": 320, "height": 180, "latency": "low"}
        ]
        assert told.files[0].startswith(init.data)
        watched = scene.edge.players[0]
        assert (watched.view.protocol, watched.ended.done()) == ("mse", False)
        assert watched.bytes > len(told.files[0])
        assert watched.first_byte_at is not None
    assert await watched.ended == "client"


async def test_a_change_of_the_picture_is_told_and_played_on(scene: Scene) -> None:
    async with watching(scene.host) as told:
        scene_shown = scene.shown()
        await scene_shown
        scene.pull.give(5)
        await told.until(messages=7)
        scene.pull.lose("changed")
        await until(lambda: scene.pulls.asked == 2)
        scene.pull.give(20)
        await told.until(messages=7 + 22)
        assert told.kinds == ["init", "lost", "init"]
        assert told.said[1] == {"type": "lost", "cause": "changed"}
        assert told.said[2]["width"] == 640
        assert [{frame.width for frame in decoded(file)} for file in told.files] == [{320}, {640}]
        assert len(decoded(told.files[1])) == 21
        assert not scene.edge.players[0].ended.done()


async def test_what_does_not_come_back_is_said_with_a_code_that_instructs(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "REOPEN_SECONDS", 0.05)
    async with watching(scene.host) as told:
        await scene.shown()
        scene.pulls.coming = []
        scene.pull.lose("gateway_lost")
        assert await told.closed() == 4321
        assert told.kinds == ["init", "lost", "bye"]
        assert told.said[-1] == {"type": "bye", "cause": "gateway_lost"}


@pytest.mark.parametrize("cause", sorted(mse.CLOSE_CODES))
async def test_every_end_has_its_code_and_nothing_comes_after_it(scene: Scene, cause: str) -> None:
    async with watching(scene.host) as told:
        await told.until(messages=2)
        await asyncio.sleep(0.02)
        scene.edge.players[0].end(cause)
        scene.pull.give(30)
        assert await told.closed() == mse.CLOSE_CODES[cause][0]
        assert told.messages == 2
        assert told.said[-1] == {"type": "bye", "cause": cause}
        assert told.socket.close_reason == mse.CLOSE_CODES[cause][1]


@pytest.mark.parametrize(
    "refusal",
    [
        GrantEnded("this permission is over"),
        BoundElsewhere("it is used elsewhere"),
        CameraFull("full", retry_after_seconds=10),
        Moved("another media gateway carries this camera now", location="ws://elsewhere/v/t/mse"),
        CameraOffline("the camera gives no picture / 카메라 영상을 받을 수 없습니다" * 3),
    ],
)
async def test_refusals_are_said_and_instruct(scene: Scene, refusal: Refusal) -> None:
    scene.edge.no = refusal
    async with watching(scene.host) as told:
        assert await told.closed() == refusal.kind.close_code
        assert told.said == [{"type": "refused", "problem": refusal.problem()}]


async def test_what_ended_before_it_began_is_said_too(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    real = scene.edge.open

    async def ending(token: str, asking: Any) -> Any:
        player = await real(token, asking)
        player.end("replaced")
        return player

    monkeypatch.setattr(scene.edge, "open", ending)
    async with watching(scene.host) as told:
        assert await told.closed() == 4409
        assert told.kinds == ["bye"]


async def test_the_proof_is_passed_on_and_bounded(scene: Scene) -> None:
    async with watching(scene.host, f"/v/{TOKEN}/mse?proof=abc&more=1"):
        await scene.shown()
    assert [(asking.protocol, asking.proof, asking.peer) for asking in scene.edge.asked] == [
        ("mse", "abc", "127.0.0.1")
    ]
    async with watching(scene.host, f"/v/{TOKEN}/mse?proof={'x' * 201}") as told:
        assert await told.closed() == Kind.MALFORMED.close_code
        assert told.said[0]["problem"]["field"] == "proof"
    assert len(scene.edge.asked) == 1


async def test_an_error_of_ours_is_no_silence(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any) -> None:
        raise KeyError("x")

    monkeypatch.setattr(scene.edge, "open", broken)
    async with watching(scene.host) as told:
        assert await told.closed() == mse.UNEXPECTED[0]


async def test_what_the_client_says_is_neither_kept_nor_unbounded(scene: Scene) -> None:
    async with watching(scene.host) as told:
        await told.until(messages=2)
        await told.socket.send("hello")
        await told.socket.send(b"x" * door.MOST_SAID_BYTES)
        await asyncio.wait_for(await told.socket.ping(), 5)
        scene.pull.give(3)
        await told.until(messages=5)
        await told.socket.send(b"x" * (door.MOST_SAID_BYTES + 1))
        assert await told.closed() == Kind.TOO_LARGE.close_code
        assert told.said[-1]["problem"]["code"] == "too_large"
    assert await scene.edge.players[0].ended == "client"


async def test_a_slow_client_is_told_what_it_missed_and_plays_on(scene: Scene) -> None:
    scene.pulls.coming[0] = FilmPull(endless())
    receiving = sockets.socket()
    receiving.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 65536)
    receiving.connect(("127.0.0.1", int(scene.host.split(":")[1])))
    async with watching(scene.host, sock=receiving, max_queue=1) as told, watching(scene.host) as quick:
        await told.until(messages=2)
        await until(lambda: len(scene.edge.players) == 2 and scene.edge.players[1].bytes)
        slow = scene.edge.players[0]
        told.socket.transport.pause_reading()
        while slow._listener is not None and slow._listener.begun:
            scene.pull.give(30)
            await quick.until(messages=quick.messages + 25)
            assert scene.pull.next < 5000
        assert slow._listener is not None
        assert slow._listener.transport.get_write_buffer_size() <= VIDEO_LIMIT + 10_000
        missed_from = scene.pull.next
        scene.pull.give(15)
        told.socket.transport.resume_reading()
        while "skipped" not in told.kinds:
            scene.pull.give(15)
            await quick.until(messages=quick.messages + 10)
            with suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    while "skipped" not in told.kinds:
                        await told.hear()
        skipped = told.said[-1]
        scene.pull.give(15)
        await quick.until(messages=scene.pull.next + 1)
        await told.until(messages=scene.pull.next + 1 - skipped["frames"])
        assert skipped["frames"] >= 15
        assert skipped["seconds"] == pytest.approx(skipped["frames"] / 15, abs=0.01)
        assert missed_from < scene.pull.next
        assert len(decoded(quick.files[0])) == scene.pull.next, "who is quick misses nothing"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(told.socket.recv(), 0.2)
        frames = decoded(told.files[0])
        assert len(frames) == scene.pull.next - skipped["frames"]
        steps = {b.pts - a.pts for a, b in itertools.pairwise(frames)}
        assert len(steps) == 2, "one hole, and no more"
        assert not slow.ended.done()


async def test_a_picture_that_still_waits_is_thrown_away_with_the_connection() -> None:
    """A cut while more waits than has left: no word any more, but a reset."""
    pulls = HandPulls([FilmPull(endless())])
    edge = HandEdge(pulls)
    async with doors(edge) as host:
        receiving = sockets.socket()
        receiving.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 8192)
        receiving.connect(("127.0.0.1", int(host.split(":")[1])))
        async with watching(host, sock=receiving) as told:
            await told.until(messages=2)
            told.socket.transport.pause_reading()
            player = edge.players[0]
            assert pulls.now is not None
            listener = player._listener
            assert listener is not None
            while listener.transport.get_write_buffer_size() < 100_000:
                pulls.now.give(5)
                await asyncio.sleep(0)
            player.end("revoked")
            assert listener.transport.is_closing()
            told.socket.transport.resume_reading()
            assert await told.closed() == 1006
            assert sum(map(len, told.files)) < player.bytes
            assert "bye" not in told.kinds


async def test_a_client_that_does_not_answer_the_good_bye_is_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "FAREWELL_SECONDS", 0.05)
    edge = HandEdge(HandPulls([FilmPull()]))
    async with doors(edge) as host:
        reader, writer = await asyncio.open_connection(*host.split(":"))
        writer.write(
            f"GET /v/{TOKEN}/mse HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        await reader.readuntil(b"moov")
        await asyncio.sleep(0.02)
        edge.players[0].end("revoked")
        rest = b""
        with pytest.raises(ConnectionResetError):
            while data := await asyncio.wait_for(reader.read(1 << 16), 3):
                rest += data
        assert b'{"type":"bye","cause":"revoked"}' in rest
        writer.close()


def test_the_document_says_the_codes_and_the_messages_of_the_code() -> None:
    rows = [line for line in CHANNEL["description"].splitlines() if line.startswith(("| 4", "| 1"))]
    told = {int(row.split("|")[1]): row.split("|")[2].strip() for row in rows}
    used = {code for code, _ in mse.CLOSE_CODES.values()} | {mse.UNEXPECTED[0]}
    kinds = set(Kind) - {Kind.ANONYMOUS, Kind.MISSING, Kind.CONFLICT, Kind.STALE}
    assert set(told) == used | {kind.close_code for kind in kinds}
    for code, again in told.items():
        assert again == {43: "yes", 44: "no", 10: "yes"}[code // 100], code
    for cause, (code, reason) in mse.CLOSE_CODES.items():
        assert len(reason.encode()) <= 123, cause
        assert any(f"`{cause}`" in row for row in rows if f"| {code} |" in row), cause
    assert set(mse.CLOSE_CODES) >= set(Cause) - {"stopped"}
    assert set(CHANNEL["messages"]) == {"init", "lost", "skipped", "refused", "bye", "picture"}
    with pytest.raises(AssertionError):
        check({"type": "lost", "cause": "changed", "more": 1})


@pytest.mark.slow
async def test_a_real_camera_over_a_lost_line(tmp_path: Path) -> None:
    pulls = Pulls(tmp_path, LOOPBACK)
    async with FakeCamera() as camera:
        async with doors(HandEdge(pulls, camera.url)) as host, watching(host) as told:
            await told.until(messages=20)
            camera.cut()
            await told.until(messages=40)
            assert told.kinds == ["init", "lost", "init"]
            assert [frame.width for frame in decoded(told.files[1])][:1] == [320]
            assert sum(len(decoded(file)) for file in told.files) == 40 - 2
        await pulls.close()
