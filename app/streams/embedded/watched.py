"""The cameras that this process watches; of several processes on a machine, one pulls a camera for all.

Whoever holds the lock of a camera's file pulls, and shares on a unix socket beside it; who does not get the lock reads
there. When the puller dies, the kernel frees the lock: the first that opens the camera anew becomes the puller.
"""

import asyncio
import fcntl
import hashlib
import os
from pathlib import Path

from app.registry.addresses import Networks, safe_source
from app.streams.embedded.camera_pull import CameraPull
from app.streams.embedded.pull import LINGER_SECONDS, START_SECONDS, Pull, PullerGone
from app.streams.embedded.relay import RelayedPull, Share

_RETRY_SECONDS = 0.03


class Pulls:
    """One pull for each camera, by the name that the caller gives it."""

    def __init__(self, run_dir: Path, allowed: Networks, *, linger_seconds: float = LINGER_SECONDS) -> None:
        self._run_dir, self._allowed, self._linger_seconds = run_dir, allowed, linger_seconds
        self._open: dict[str, asyncio.Task[Pull]] = {}

    async def open(self, camera: str, url: str) -> Pull:
        """The pull of this camera, with its first key frame at hand; started if nobody here watches it yet.

        `url` may hold credentials; they stay in this process. The caller subscribes in the same tick. Raises
        CameraOffline within 10 s, or UnsafeSource.
        """
        task = self._open.get(camera)
        if task is None:
            task = self._open[camera] = asyncio.create_task(self._start(camera, url))
            task.add_done_callback(lambda done: self._forget_failed(camera, done))
        return await asyncio.shield(task)  # who gives up waiting takes nobody else's picture away

    async def close(self) -> None:
        """End every pull and wait until nothing of them is left."""
        tasks, self._open = list(self._open.values()), {}
        for task in tasks:
            if not task.done():
                task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Pull):
                await outcome.stop()

    def _forget_failed(self, camera: str, task: asyncio.Task[Pull]) -> None:
        if (task.cancelled() or task.exception()) and self._open.get(camera) is task:
            del self._open[camera]

    async def _start(self, camera: str, url: str) -> Pull:
        source = safe_source(url, self._allowed)
        name = hashlib.sha256(camera.encode()).hexdigest()[:24]
        self._run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_SECONDS
        while True:
            pull: Pull
            if (lock := _try_lock(self._run_dir / f"pull-{name}.lock")) is not None:
                pull = CameraPull(source, self._allowed, linger_seconds=self._linger_seconds)
                await Share(pull, self._run_dir, f"pull-{name}.sock", lock).open()
            else:
                pull = RelayedPull(self._run_dir, f"pull-{name}.sock", linger_seconds=self._linger_seconds)
            try:
                await pull.start(deadline - loop.time())
            except PullerGone:  # it was about to come, or about to leave
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                self._forget_when_ended(camera, pull)
                return pull

    def _forget_when_ended(self, camera: str, pull: Pull) -> None:
        task, before = self._open.get(camera), pull.on_end

        def ended() -> None:
            before()
            if self._open.get(camera) is task:
                self._open.pop(camera, None)

        pull.on_end = ended


def _try_lock(path: Path) -> int | None:
    """Descriptor that holds the lock until it is closed, by us or by our death; None where somebody else holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
