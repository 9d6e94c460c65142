"""The simulator: many cameras behind one RTSP address."""

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Self
from urllib.parse import quote

from app.demo.simulator.camera import SimulatedCamera
from app.demo.simulator.encoder import Encoder, ParameterSets, parameter_sets
from app.demo.simulator.rtsp import REQUEST_BYTES, Connection, Mount


class Simulator:
    """An RTSP server of simulated cameras: `async with Simulator(cameras) as simulator: … simulator.url("cam/0001")`.

    Port 0 takes a free one. Thousands of cameras cost next to nothing until they are watched.
    """

    def __init__(self, cameras: Iterable[SimulatedCamera], host: str = "127.0.0.1", port: int = 0) -> None:
        self._cameras = {camera.path: camera for camera in cameras}
        self._host, self._port = host, port
        self._mounts: dict[str, Mount] = {}
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        self._server: asyncio.Server | None = None
        self._stopping = False

    async def start(self) -> None:
        """Listen. OSError if the port is taken."""
        known: dict[tuple[int, int, int], ParameterSets] = {}
        for camera in self._cameras.values():
            shape = (camera.width, camera.height, camera.frames_per_second)
            if shape not in known:
                known[shape] = await parameter_sets(camera)
            self._mounts[camera.path] = Mount(camera, Encoder(camera), known[shape])
        self._server = await asyncio.start_server(self._serve, self._host, self._port, limit=REQUEST_BYTES)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cut every client and end every encoder; nothing is left running."""
        self._stopping = True
        if self._server:
            self._server.close()
        for connection in tuple(self._connections):
            connection.cut()
        await asyncio.gather(*self._connections.values(), return_exceptions=True)
        await asyncio.gather(*(mount.encoder.stop() for mount in self._mounts.values()))
        if self._server:
            await self._server.wait_closed()
            self._server = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def port(self) -> int:
        """The TCP port, known after start()."""
        return self._port

    @property
    def cameras(self) -> tuple[SimulatedCamera, ...]:
        return tuple(self._cameras.values())

    def url(self, path: str, *, with_credentials: bool = True) -> str:
        """The camera's rtsp:// address, with its login if it has one. KeyError for an unknown path."""
        camera, login = self._cameras[path], ""
        if with_credentials and camera.login:
            login = f"{quote(camera.login, safe='')}:{quote(camera.password, safe='')}@"
        return f"rtsp://{login}{self._host}:{self._port}/{camera.path}"

    def take_offline(self, path: str, *, silently: bool = False) -> None:
        """The camera is lost: its sessions are cut, and whoever asks for it is cut off.

        `silently` like a dead line: connections stay open, but nothing comes any more, neither answers nor pictures.
        """
        mount = self._mounts[path]
        mount.offline, mount.silent = True, silently
        if not silently:
            for connection in [known for known in self._connections if known.mount is mount]:
                connection.cut()

    def bring_back(self, path: str) -> None:
        """The camera answers again; sessions that were silent go on at the next key frame."""
        mount = self._mounts[path]
        mount.offline = mount.silent = False

    def viewers(self, path: str) -> int:
        """How many RTSP sessions play this camera now."""
        mount = self._mounts[path]
        return sum(connection.playing and connection.mount is mount for connection in self._connections)

    def encoder_process(self, path: str) -> int | None:
        """The process id of the camera's ffmpeg; None while nobody watches."""
        return self._mounts[path].encoder.process_id

    def mount(self, path: str) -> Mount | None:
        """The camera behind a path, for a connection."""
        return self._mounts.get(path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._stopping:
            writer.transport.abort()
            return
        connection = Connection(self, reader, writer)
        self._connections[connection] = task
        try:
            await connection.serve()
        finally:
            del self._connections[connection]
