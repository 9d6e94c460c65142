"""A real MediaMTX (`MEDIAMTX_BIN`), on loopback, with the configuration that we tell operators to write, and players.

Players speak HLS and RTSP only: WHEP needs DTLS. RTSP is not encrypted here, since that takes a certificate.
"""

import asyncio
import os
import re
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Self

import httpx

from app.streams.mediamtx import Config, configuration
from tests.streams.mediamtx.fake import Refused

BINARY = os.environ.get("MEDIAMTX_BIN", "")


def _free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Player:
    """Plays until it is told, or told by the gateway, to end."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task.add_done_callback(lambda _: self.ended.done() or self.ended.set_result("ended"))

    async def leave(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


class RealMediaMtx:
    """The same to a test as the fake, as far as the contract goes."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.callback = folder, ""
        self.port, self._hls, self._rtsp = _free(), _free(), _free()
        self._process: subprocess.Popen[bytes] | None = None
        self._players: list[Player] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for player in self._players:
            await player.leave()
        self._stop()

    async def begin(self, config: Config) -> None:
        """With the callback known, it can start."""
        listeners = f"hlsAddress: 127.0.0.1:{self._hls}\nrtspAddress: 127.0.0.1:{self._rtsp}\nwebrtc: no\n"
        said = configuration(config, self.callback).replace("webrtc: yes\n", "") + listeners
        (self._folder / "mediamtx.yml").write_text(said)
        await self._start()

    async def _start(self) -> None:
        log = (self._folder / "log").open("ab")
        self._process = subprocess.Popen([BINARY, str(self._folder / "mediamtx.yml")], stdout=log, stderr=log)  # noqa: ASYNC220
        log.close()
        async with asyncio.timeout(10), httpx.AsyncClient(trust_env=False) as client:
            while True:
                with suppress(httpx.HTTPError):
                    if (await client.get(f"http://127.0.0.1:{self.port}/v3/info")).status_code == 200:
                        return
                await asyncio.sleep(0.05)

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def restart(self) -> None:
        self._stop()
        await self._start()

    async def read(self, path: str, protocol: str, token: str = "") -> Player:
        play = self._read_hls if protocol == "hls" else self._read_rtsp
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(play(path, token, ready))
        await asyncio.wait({ready, task}, return_when=asyncio.FIRST_COMPLETED, timeout=15)
        if not ready.done():
            await task  # raises Refused
            raise Refused(500)
        player = Player(task)
        self._players.append(player)
        return player

    async def _read_hls(self, path: str, token: str, ready: asyncio.Future[None]) -> None:
        base = f"http://127.0.0.1:{self._hls}/{path}"
        async with httpx.AsyncClient(trust_env=False, follow_redirects=True, timeout=15) as client:
            response = await client.get(f"{base}/index.m3u8", params={"token": token})
            if response.status_code != 200:
                raise Refused(response.status_code)
            media = re.search(r"^[^#\s].*m3u8.*$", response.text, re.MULTILINE)
            assert media is not None, response.text
            while True:
                response = await client.get(f"{base}/{media[0]}")
                if response.status_code != 200:
                    return
                if not ready.done():
                    ready.set_result(None)
                await asyncio.sleep(0.1)

    async def _read_rtsp(self, path: str, token: str, ready: asyncio.Future[None]) -> None:
        url = f"rtsp://127.0.0.1:{self._rtsp}/{path}?token={token}"
        reader, writer = await asyncio.open_connection("127.0.0.1", self._rtsp)
        try:
            sdp = await _ask(reader, writer, f"DESCRIBE {url}", "Accept: application/sdp\r\n")
            control = re.search(r"(?m)^m=video(?:.|\n)*?^a=control:(\S+)", sdp.replace("\r", ""))
            assert control is not None
            track = control[1] if control[1].startswith("rtsp") else f"{url}/{control[1]}"
            said = await _ask(reader, writer, f"SETUP {track}", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n")
            session = re.search(r"(?im)^session: ([^;\s]+)", said)
            assert session is not None
            await _ask(reader, writer, f"PLAY {url}", f"Session: {session[1]}\r\n")
            while await reader.read(65536):
                if not ready.done():
                    ready.set_result(None)
        finally:
            writer.close()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, what: str, more: str) -> str:
    writer.write(f"{what} RTSP/1.0\r\nCSeq: 1\r\n{more}\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0] or 0)
    body = (await reader.readexactly(length)).decode()
    if int(head.split(" ")[1]) != 200:
        raise Refused(int(head.split(" ")[1]))
    return head + body
