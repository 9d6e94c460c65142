"""A JPEG of the newest key frame: made once for all who ask."""

import asyncio
import io

import av
import pytest

from app.errors import CameraOffline, GatewayUnavailable, GrantEnded
from app.streams.embedded import snapshot
from app.streams.embedded.player import Player
from app.streams.embedded.snapshot import Snapshots
from tests.streams.fake_camera import FakeCamera
from tests.streams.playing import FilmPull, begun, channel_of, film, view
from tests.streams.watching import children, hand_pull, pull_of, until


def picture(jpeg: bytes) -> av.VideoFrame:
    assert jpeg.startswith(b"\xff\xd8")
    with av.open(io.BytesIO(jpeg), format="jpeg_pipe") as container:
        (frame,) = container.decode(video=0)
        return frame


async def test_the_newest_key_frame_once_for_all(monkeypatch: pytest.MonkeyPatch):
    async with FakeCamera() as camera:
        pull, snapshots, known = pull_of(camera), Snapshots(), set(children())
        with pytest.raises(CameraOffline, match="no key frame yet"):
            await snapshots.jpeg(pull)
        await pull.start()
        first, second = await asyncio.gather(snapshots.jpeg(pull), snapshots.jpeg(pull))
        assert first is second
        frame = picture(first)
        assert (frame.width, frame.height) == (320, 180)
        assert frame.to_ndarray(format="gray").std() > 20  # a picture, not a grey plane
        still = await hand_pull()
        still.init, still.gop, seen = pull.init, list(pull.gop), pull.gop[0]
        monkeypatch.setattr(snapshot, "_REUSE_SECONDS", 0)
        await until(lambda: pull.gop[0] is not seen)
        assert picture(await snapshots.jpeg(pull))
        assert await snapshots.jpeg(pull) is not first
        assert await snapshots.jpeg(still) is await snapshots.jpeg(still)
        await still.stop()
        await pull.stop()
        with pytest.raises(CameraOffline, match="stops"):
            await snapshots.jpeg(pull)
        await until(lambda: set(children()) <= known)


async def test_what_cannot_be_decoded_is_said():
    pull = await hand_pull()
    with pytest.raises(CameraOffline, match="no picture"):
        await Snapshots().jpeg(pull)
    await pull.stop()


async def test_a_decoder_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(snapshot, "_DECODE_SECONDS", 0)
    async with FakeCamera() as camera:
        pull = pull_of(camera)
        await pull.start()
        known = set(children())
        with pytest.raises(CameraOffline, match="no picture"):
            await Snapshots().jpeg(pull)
        assert set(children()) <= known
        await pull.stop()


async def test_a_player_has_its_picture_and_none_after_its_end():
    channel = channel_of(await begun(FilmPull()))
    with channel.held():
        snapshots = Snapshots(at_once=1)
        assert picture(await snapshots.of(Player(view("snapshot"), channel))).width == 320
        await snapshots._turn.acquire()  # others are having theirs made
        channel.pull.give(15)
        snapshots._made.clear()
        player = Player(view("snapshot"), channel)
        waiting = asyncio.ensure_future(snapshots.of(player))
        await asyncio.sleep(0.01)
        player.end("revoked")
        with pytest.raises(GrantEnded):
            await waiting
        late = Player(view("snapshot"), channel)
        late.end("revoked")
        with pytest.raises(GrantEnded):
            await snapshots.of(late)
        snapshots._turn.release()


async def test_nobody_waits_for_a_turn_without_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(snapshot, "_WAIT_SECONDS", 0.01)
    pull = await begun(FilmPull())
    snapshots = Snapshots(at_once=1)
    await snapshots._turn.acquire()
    with pytest.raises(GatewayUnavailable) as refused:
        await snapshots.jpeg(pull)
    assert refused.value.retry_after_seconds
    snapshots._turn.release()
    monkeypatch.setattr(snapshot, "_WAIT_SECONDS", 5)
    assert picture(await snapshots.jpeg(pull)), "its turn comes all the same, for who asks again"


async def test_a_picture_larger_than_any_camera_is_not_decoded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(snapshot, "MOST_PIXELS", 320 * 180)
    with pytest.raises(CameraOffline, match="no picture"):
        await Snapshots().jpeg(await begun(FilmPull(film(width=640))))
    monkeypatch.setattr(snapshot, "MOST_PIXELS", 640 * 360)
    assert picture(await Snapshots().jpeg(await begun(FilmPull(film(width=640))))).width == 640
