"""The RTSP door: MediaMTX gets one video track of a camera that somebody may watch, and nothing else of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Self
from uuid import UUID

import av
import pytest

from app.errors import CameraOffline
from app.ids import new_id
from app.keys import Keys
from app.registry.addresses import networks_of
from app.streams.mediamtx import door
from app.streams.mediamtx.config import Config
from app.streams.mediamtx.door import Door
from app.streams.mediamtx.paths import name_of
from app.streams.views import Asking
from tests import actors, factories
from tests.streams.fake_camera import FakeCamera
from tests.streams.mediamtx.fake import FakeMediaMtx
from tests.streams.mediamtx.scene import Scene, until

KEYS = Keys(b"k" * 32)
LOOPBACK = networks_of("127.0.0.0/8")
CAMERA_ID = new_id()
NAME = name_of(KEYS, "m", CAMERA_ID, "main")
CONFIG = Config.parse("mediamtx+http://127.0.0.1?name=m&hls=http://127.0.0.1:8888&door=127.0.0.1:0")


@asynccontextmanager
async def open_door(address: str, config: Config = CONFIG) -> AsyncIterator[Door]:
    async def find(camera_id: UUID, profile: str) -> str:
        if (camera_id, profile) != (CAMERA_ID, "main"):
            raise CameraOffline("no view of this camera stands open at this gateway")
        return address

    made = Door(config, KEYS, find, LOOPBACK)
    await made.open()
    try:
        yield made
    finally:
        made.close()
        await until(lambda: not made.pulls, 3)


class Visitor:
    """An RTSP client that asks as MediaMTX's does (gortsplib 5.6): OPTIONS, DESCRIBE, SETUP, PLAY, one after another."""

    def __init__(self, url: str) -> None:
        self.url, self._cseq = url, 0

    async def __aenter__(self) -> Self:
        host, port = self.url.removeprefix("rtsp://").partition("/")[0].split(":")
        self.reader, self.writer = await asyncio.open_connection(host, int(port))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def ask(self, method: str, more: str = "", url: str = "") -> tuple[int, bytes]:
        self._cseq += 1
        self.writer.write(f"{method} {url or self.url} RTSP/1.0\r\nCSeq: {self._cseq}\r\n{more}\r\n".encode())
        while True:
            first = await asyncio.wait_for(self.reader.readexactly(1), 10)
            if first == b"$":
                await self._frame()
                continue
            head = (first + await self.reader.readuntil(b"\r\n\r\n")).decode()
            length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0] or 0)
            assert f"CSeq: {self._cseq}\r\n" in head
            return int(head.split(" ")[1]), await self.reader.readexactly(length)

    async def _frame(self) -> tuple[int, bytes]:
        channel, high, low = await self.reader.readexactly(3)
        return channel, await self.reader.readexactly(high << 8 | low)

    async def play(self) -> bytes:
        assert (await self.ask("OPTIONS"))[0] == 200
        status, sdp = await self.ask("DESCRIBE", "Accept: application/sdp\r\n")
        assert status == 200
        assert (await self.ask("SETUP", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n", f"{self.url}/video"))[
            0
        ] == 200
        assert (await self.ask("PLAY", "Range: npt=0-\r\n"))[0] == 200
        return sdp

    async def frame(self) -> tuple[int, bytes]:
        async with asyncio.timeout(10):
            assert await self.reader.readexactly(1) == b"$"
            return await self._frame()


async def test_mediamtx_gets_the_video_and_nothing_of_the_camera() -> None:
    async with FakeCamera() as camera, open_door(camera.url) as made:
        async with Visitor(made.url(NAME)) as visitor:
            sdp = await visitor.play()
            channels = {(await visitor.frame())[0] for _ in range(30)}
            assert sdp.count(b"m=") == 1
            assert b"m=video" in sdp
            assert channels <= {0, 1}
            for canary in (camera.user.encode(), camera.password.encode(), b"10.99.99.99", str(camera.port).encode()):
                assert canary not in sdp
            assert [one for one in camera.requests if one.startswith("SETUP")][-1].endswith("trackID=1")
            assert "trackID=2" not in str(camera.requests)
            assert (await visitor.ask("GET_PARAMETER"))[0] == 200
            assert (await visitor.ask("TEARDOWN"))[0] == 200
        await until(lambda: not made.pulls and not camera.connections)
        assert camera.ended == ["teardown"]


async def test_any_rtsp_client_decodes_it() -> None:
    def decoded(url: str) -> int:
        with av.open(url, options={"rtsp_transport": "tcp"}, timeout=10) as container:
            assert [stream.type for stream in container.streams] == ["video"]
            return sum(1 for _, _frame in zip(range(20), container.decode(video=0), strict=False))

    async with FakeCamera() as camera, open_door(camera.url) as made:
        assert await asyncio.to_thread(decoded, made.url(NAME)) == 20
        await until(lambda: not camera.connections)


@pytest.mark.parametrize(
    "spoiled",
    ["{door}/{name}/{secret}0", "{door}/{name}/0{secret}", "{door}/{name}", "{door}/{name}/", "{door}/{other}/{secret}",
     "{door}/x/{secret}", "{door}/../{name}/{secret}", "{door}/{name}/{secret}/../x", "{door}/{name}/{secret}?x=1",
     "{door}/%2e%2e/{secret}", "{door}//{name}/{secret}", "*"],
)  # fmt: skip
async def test_who_does_not_know_the_very_address_gets_nothing(spoiled: str) -> None:
    async with FakeCamera() as camera, open_door(camera.url) as made:
        url = made.url(NAME)
        parts = {"door": url.partition(f"/{NAME}")[0], "name": NAME, "secret": url.rpartition("/")[2]}
        parts["other"] = name_of(KEYS, "other", CAMERA_ID, "main")
        async with Visitor(url) as visitor:
            assert (await visitor.ask("DESCRIBE", url=spoiled.format(**parts)))[0] == 401
            assert await visitor.reader.read() == b""
        assert not camera.requests


async def test_one_connection_is_one_camera() -> None:
    async with FakeCamera() as camera, open_door(camera.url) as made:
        async with Visitor(made.url(NAME)) as visitor:
            await visitor.ask("OPTIONS")
            assert (await visitor.ask("DESCRIBE", url=made.url(name_of(KEYS, "m", new_id(), "main"))))[0] == 401


async def test_only_the_gateway_comes_in() -> None:
    elsewhere = replace(CONFIG, callers=Config.parse("mediamtx+http://10.9.9.9?hls=http://x").callers)
    async with open_door("rtsp://127.0.0.1:1/", elsewhere) as made:
        async with Visitor(made.url(NAME)) as visitor:
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await visitor.ask("OPTIONS")


async def test_a_camera_that_is_not_to_be_had_is_not_found() -> None:
    async with FakeCamera() as camera:
        gone = camera.url
    for address in (gone, "rtsp://169.254.169.254/live", "http://127.0.0.1/x"):
        async with open_door(address) as made:
            async with Visitor(made.url(NAME)) as visitor:
                assert (await visitor.ask("DESCRIBE"))[0] == 404
            async with Visitor(made.url(name_of(KEYS, "m", new_id(), "main"))) as visitor:
                assert (await visitor.ask("DESCRIBE"))[0] == 404


async def test_what_comes_out_of_turn_is_refused() -> None:
    async with FakeCamera() as camera, open_door(camera.url) as made:
        async with Visitor(made.url(NAME)) as visitor:
            for method in ("SETUP", "PLAY", "RECORD", "ANNOUNCE"):
                assert (await visitor.ask(method, "Transport: RTP/AVP/TCP\r\n"))[0] == 455
            assert (await visitor.ask("DESCRIBE"))[0] == 200
            assert (await visitor.ask("SETUP", "Transport: RTP/AVP;client_port=5000-5001\r\n"))[0] == 455
            assert camera.plays == 0


async def test_a_camera_that_is_lost_ends_the_pull() -> None:
    async with FakeCamera() as camera, open_door(camera.url) as made:
        async with Visitor(made.url(NAME)) as visitor:
            await visitor.play()
            await visitor.frame()
            camera.cut()
            async with asyncio.timeout(5):
                while await visitor.reader.read(65536):
                    pass


async def test_a_gateway_that_does_not_read_slows_the_camera_and_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "STUCK_SECONDS", 1.0)
    monkeypatch.setattr(door, "_MOST_UNREAD", 64 * 1024)
    most = 0
    async with FakeCamera(fault="flood") as camera, open_door(camera.url) as made:
        async with Visitor(made.url(NAME)) as visitor:
            await visitor.play()
            (pull,) = made.pulls

            def left() -> bool:
                nonlocal most
                most = max(most, pull._transport.get_write_buffer_size())
                return not made.pulls

            await until(left, 15)
    assert 64 * 1024 < most < 1 << 20, "what waits for it is bounded"


async def test_who_says_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "OPEN_SECONDS", -2.9)
    async with open_door("rtsp://127.0.0.1:1/") as made:
        async with Visitor(made.url(NAME)) as visitor:
            assert await asyncio.wait_for(visitor.reader.read(), 5) == b""


async def test_no_view_no_footage(at: Scene, gate: FakeMediaMtx) -> None:
    """Who learns the door's address, out of MediaMTX's API or its memory, gains nothing by it."""
    async with FakeCamera() as camera:
        gateway = await at.watching()
        await factories.source(at.database, at.keys, at.camera, camera.url)
        await gateway.ensure(at.camera, "main", camera.url)
        (conf,) = gate.confs.values()
        url = conf["source"].replace("$G1", at.path())
        async with Visitor(url) as visitor:
            assert (await visitor.ask("DESCRIBE"))[0] == 404
        view = await gateway.authorize(at.token(await at.ticket()), Asking("whep", actors.ADDRESS, session_ref="x"))
        async with Visitor(url) as visitor:
            await visitor.play()
            await visitor.frame()
        await gateway.cut(view.id, "revoked")
        async with Visitor(url) as visitor:
            assert (await visitor.ask("DESCRIBE"))[0] == 404
