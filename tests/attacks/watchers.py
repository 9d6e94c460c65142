"""Players that go on: each tells whether footage still comes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.attacks.town import Town


class Watcher:
    """Something that plays: `pieces` grows for as long as footage comes."""

    def __init__(self, town: Town, token: str, child: str) -> None:
        self.pieces = 0
        self.over = False
        self.begun = asyncio.Event()
        play = {"live.mp4": self._file, "mse": self._socket, "segment": self._segments}[child]
        self.task = asyncio.create_task(self._until_over(play(town, token)))

    async def _until_over(self, playing: AsyncIterator[bytes]) -> None:
        with suppress(httpx.HTTPError, WebSocketException, OSError):
            async for piece in playing:
                if piece:
                    self.pieces += 1
                    self.begun.set()
        self.over = True

    async def _file(self, town: Town, token: str) -> AsyncIterator[bytes]:
        async with town.client.stream("GET", f"/v/{token}/live.mp4") as response:
            assert response.status_code == 200, await response.aread()
            async for piece in response.aiter_raw():
                yield piece

    async def _socket(self, town: Town, token: str) -> AsyncIterator[bytes]:
        async with connect(f"ws://{town.host}/v/{token}/mse", max_size=None, proxy=None, close_timeout=0.1) as socket:
            async for said in socket:
                yield said if isinstance(said, bytes) else b""

    async def _segments(self, town: Town, token: str) -> AsyncIterator[bytes]:
        """HLS, as impatient as may be: the newest segment again and again."""
        while True:
            answer = await town.client.get(f"/v/{token}/{town.segment()}.m4s")
            if answer.status_code in (401, 403):
                return
            assert answer.status_code in (200, 404), answer.text
            yield answer.content if answer.status_code == 200 else b""
            await asyncio.sleep(0.1)

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@asynccontextmanager
async def watching(town: Town, token: str, *children: str) -> AsyncIterator[dict[str, Watcher]]:
    """Players of the same URL by these protocols, all of which have footage; they leave at the end."""
    watchers = {child: Watcher(town, token, child) for child in children}
    try:
        async with asyncio.timeout(10):
            await asyncio.gather(*(one.begun.wait() for one in watchers.values()))
        yield watchers
    finally:
        await asyncio.gather(*(one.leave() for one in watchers.values()))


async def still_fed(watchers: dict[str, Watcher], seconds: float = 3.0) -> list[str]:
    """Those to whom footage still comes when so much time has gone by; known early when all are over."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(*(asyncio.shield(one.task) for one in watchers.values()))
    before = {name: one.pieces for name, one in watchers.items()}
    if not all(one.over for one in watchers.values()):
        await asyncio.sleep(0.5)
    return [name for name, one in watchers.items() if one.pieces > before[name]]
