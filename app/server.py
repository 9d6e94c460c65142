"""Serving: uvicorn with our protocols, one process or several, and an orderly end.

A stopping process first tells its clients (feeds come back elsewhere, streams are cut and closed in the log), then
closes its doors, then its database.
"""

import ctypes
import gc
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing.context import SpawnProcess
from types import FrameType

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from app import clock
from app.settings import Settings

log = logging.getLogger("gwanje.server")

GRACE_SECONDS = 8
LOOK_SECONDS = 0.25
AGAIN_SECONDS = 1.0  # until a replacement that could not start is tried again
_PR_SET_PDEATHSIG = 1
_spawn = multiprocessing.get_context("spawn")


class Server(uvicorn.Server):
    """uvicorn's server, which drains the house before it waits for connections to end."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Told to stop: also while it starts, since a start that waits for its database would wait on for ever."""
        super().handle_exit(sig, frame)
        if not self.started:
            signal.alarm(GRACE_SECONDS)  # which ends the process, unless it has started by then

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.should_exit:  # told meanwhile; any other alarm of this process is not ours
            signal.alarm(0)

    async def main_loop(self) -> None:
        """Look whether to stop, and what day it is, when everything else looks: it would be ten times a second."""
        while not await self.on_tick(0):
            await clock.beat(LOOK_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        house = self.lifespan.state.get("house")
        if house is not None:
            from app.main import drain

            await drain(house)
        await super().shutdown(sockets)


class Worker(Server):
    """One of several: SIGTERM stops it, Ctrl-C is for its parent to handle."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """From here on SIGTERM is an orderly stop; before, while modules load, it ended the process at once."""
        signal.signal(signal.SIGTERM, self.handle_exit)
        yield


def config(settings: Settings) -> uvicorn.Config:
    """How uvicorn runs the service in this process. Loads it: a parent of workers never does."""
    gc.disable()  # modules that load leave no garbage, and looking for it took a fifth of the start
    try:
        from app.main import create_app
    finally:
        gc.enable()
    return uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        http="app.transports:HttpProtocol",
        ws="app.transports:WebSocketProtocol",
        ws_max_size=256 * 1024,
        ws_per_message_deflate=False,
        ws_ping_interval=8,  # with the time-out, half-open connections are noticed within 15 s
        ws_ping_timeout=5,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=GRACE_SECONDS,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
        backlog=1024,
    )


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM; returns when everything that this process started is gone.

    uvicorn raises the signal again once it has stopped, which would end the process before the callers' `finally`;
    the handlers set here catch it.
    """
    stopping = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stopping.set())
    if settings.workers == 1:
        server = Server(config(settings))
        if not stopping.is_set():  # while modules loaded
            server.run()
        return
    listening = _bind(settings)
    try:
        _supervise(settings, listening, stopping)
    finally:
        listening.close()


def _bind(settings: Settings) -> socket.socket:
    """The listening socket that all workers share."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    return socket.create_server((settings.host, settings.port), family=family, backlog=1024)


def _supervise(settings: Settings, listening: socket.socket, stopping: threading.Event) -> None:
    """Keep the workers running until told to stop: one that dies is replaced.

    One of the first that cannot start ends it all: something is configured wrongly. A replacement that cannot start is
    tried again, since the database may be away just now, and the others carry on.
    """
    processes = [_start(settings, listening) for _ in range(settings.workers)]
    first = set(processes)
    try:
        while not stopping.wait(0.2):
            for number, process in enumerate(processes):
                if process.exitcode == STARTUP_FAILURE and process in first:
                    raise RuntimeError("a worker cannot start; its log says why")
                if process.exitcode == STARTUP_FAILURE and stopping.wait(AGAIN_SECONDS):
                    break
                if process.exitcode is not None:
                    log.warning("worker %s ended with %s; it is replaced", process.pid, process.exitcode)
                    processes[number] = _start(settings, listening)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(GRACE_SECONDS + 6)
            if process.exitcode is None:
                log.error("worker %s did not stop in time", process.pid)
                process.kill()
                process.join()


def _start(settings: Settings, listening: socket.socket) -> SpawnProcess:
    process = _spawn.Process(target=_work, args=(settings, listening, os.getpid()), name="gwanje-worker")
    process.start()
    return process


def _work(settings: Settings, listening: socket.socket, parent: int) -> None:
    """A worker's life. It stops when its parent is gone, by whatever signal."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent says when to stop
    Worker(config(settings)).run(sockets=[listening])
