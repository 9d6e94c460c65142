"""What we rely on in a MediaMTX, held against the fake and, where `MEDIAMTX_BIN` names one, against the real thing."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.database import Database
from app.keys import Keys
from app.settings import Settings
from app.streams.mediamtx import MediaMtx, watch
from tests import factories
from tests.streams.fake_camera import FakeCamera
from tests.streams.mediamtx.fake import FakeMediaMtx, Refused
from tests.streams.mediamtx.real import BINARY, RealMediaMtx
from tests.streams.mediamtx.scene import Scene, healthy, scene, until

REAL = pytest.param(
    "real", marks=[pytest.mark.mediamtx, pytest.mark.skipif(not BINARY, reason="MEDIAMTX_BIN names no MediaMTX")]
)


class Contract:
    """A gateway that is looked after, with a camera that really sends."""

    def __init__(self, at: Scene, side: FakeMediaMtx | RealMediaMtx, gateway: MediaMtx, camera: FakeCamera) -> None:
        self.at, self.side, self.gateway, self.camera = at, side, gateway, camera

    async def read(self, protocol: str, token: str = ""):  # type: ignore[no-untyped-def]
        return await self.side.read(self.at.path(), protocol, token)

    async def leave(self, player) -> None:  # type: ignore[no-untyped-def]
        if isinstance(self.side, FakeMediaMtx):
            self.side.end(player, "left")
        else:
            await player.leave()

    async def sends(self, player) -> None:  # type: ignore[no-untyped-def]
        """The gateway counts bytes of every player, and they are written down."""
        if isinstance(self.side, FakeMediaMtx):
            player.sent = 10_000
        await until(self._counted, 15)

    async def _counted(self) -> bool:
        return all(view["bytes"] > 0 for view in await self.at.views() if view["closed_at"] is None)


@pytest.fixture(params=["fake", REAL])
async def made(
    request: pytest.FixtureRequest,
    settings: Settings,
    keys: Keys,
    database: Database,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Contract]:
    monkeypatch.setattr(watch, "CARRIED_SECONDS", 0.0)
    side: FakeMediaMtx | RealMediaMtx = FakeMediaMtx() if request.param == "fake" else RealMediaMtx(tmp_path)
    async with side, FakeCamera() as camera, scene(settings, keys, database, database_url, side) as at:
        if isinstance(side, RealMediaMtx):
            await side.begin(at.config)
        await factories.source(database, keys, at.camera, camera.url)
        gateway = await at.watching()
        await gateway.ensure(at.camera, "main", camera.url)
        yield Contract(at, side, gateway, camera)


@pytest.mark.parametrize("protocol", ["hls", "rtsps"])
async def test_a_player_with_a_token_plays_is_counted_and_leaves(made: Contract, protocol: str) -> None:
    player = await made.read(protocol, made.at.token(await made.at.ticket()))
    await made.sends(player)
    (view,) = await made.at.views()
    assert (view["protocol"], view["closed_at"], view["peer"]) == (protocol, None, "127.0.0.1")
    if protocol == "rtsps":  # the end of an HLS view is a time-out of MediaMTX, of half a minute
        await made.leave(player)
        (view,) = await made.at.closed()
        assert view["cause"] == "client"
        assert view["bytes"] > 0


@pytest.mark.parametrize("protocol", ["hls", "rtsps"])
async def test_a_revoked_player_is_cut_and_does_not_come_back(made: Contract, protocol: str) -> None:
    ticket = await made.at.ticket()
    player = await made.read(protocol, made.at.token(ticket))
    await made.sends(player)
    await made.at.revoke(ticket)
    assert await asyncio.wait_for(player.ended, 2)
    (view,) = await made.at.closed()
    assert view["cause"] == "revoked"
    with pytest.raises(Refused) as refused:
        await made.read(protocol, made.at.token(ticket))
    assert refused.value.status == 401


@pytest.mark.parametrize("protocol", ["hls", "rtsps"])
async def test_without_a_token_or_with_another_nobody_plays(made: Contract, protocol: str) -> None:
    for token in ("", "x" * 84):
        with pytest.raises(Refused) as refused:
            await made.read(protocol, token)
        assert refused.value.status == 401
    assert await made.at.views() == []


async def test_what_is_no_path_of_ours_is_not_even_asked_about(made: Contract) -> None:
    token = made.at.token(await made.at.ticket())
    for path in ("other", f"{made.at.path()}x", f"x/{made.at.path()}"):
        with pytest.raises(Refused):
            await made.side.read(path, "hls", token)
    assert await made.at.views() == []


async def test_after_a_restart_it_plays_again(made: Contract) -> None:
    first = await made.read("rtsps", made.at.token(await made.at.ticket()))
    await made.sends(first)
    await made.side.restart()
    (view,) = await made.at.closed()
    assert view["cause"] == "gateway_lost"
    await until(lambda: healthy(made.gateway), 10)
    second = await made.read("rtsps", made.at.token(await made.at.ticket()))
    await made.sends(second)
    assert not second.ended.done()


async def test_two_players_of_one_camera_are_two_views(made: Contract) -> None:
    players = []
    for _ in range(2):
        players.append(await made.read("rtsps", made.at.token(await made.at.ticket())))
        await made.sends(players[-1])
    assert len({session.view_id for session in await made.gateway.sessions()}) == 2
    if isinstance(made.side, RealMediaMtx):
        assert made.camera.plays == 1, "one pull, whatever the number of viewers"
    (first, _) = await made.at.views()
    assert await made.gateway.cut(first["id"], "revoked")
    assert await asyncio.wait_for(players[0].ended, 2)
    assert not players[1].ended.done()
