"""The cameras that this process watches; of several processes on a machine, one pulls a camera for all.

Whose turn it is (`turns`) pulls, and shares on a unix socket; the others read there. When the puller dies, the first
that opens the camera anew has the turn. A camera that is lost is tried again and again (`watched_camera`).
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from app.registry.addresses import Networks
from app.streams.embedded.pull import LINGER_SECONDS, Pull
from app.streams.embedded.watched_camera import Terms, WatchedCamera


class Pulls:
    """One pull for each camera, by the name that the caller gives it.

    `on_lost(camera, detail)` and `on_restored(camera)` are called in the event loop, once a transition, by the one
    process of the machine that reads the camera. `ca_file`: PEM of authorities that sign cameras' certificates,
    besides the system's own.
    """

    def __init__(
        self,
        run_dir: Path,
        allowed: Networks,
        *,
        linger_seconds: float = LINGER_SECONDS,
        ca_file: Path | None = None,
        on_lost: Callable[[str, str], None] = lambda _camera, _detail: None,
        on_restored: Callable[[str], None] = lambda _camera: None,
    ) -> None:
        self._terms = Terms(run_dir, allowed, linger_seconds, ca_file, on_lost, on_restored)
        self._cameras: dict[str, WatchedCamera] = {}

    async def open(self, camera: str, url: str) -> Pull:
        """The pull of this camera, with its first key frame at hand; started if nobody here watches it yet.

        `url` may hold credentials; they stay in this process. The caller subscribes in the same tick. Who asks while
        an attempt is under way shares it; who asks within a second after one that failed gets its answer at once, on
        all of this machine. Raises CameraOffline within 10 s, UnsafeSource, or GatewayUnavailable.
        """
        known = self._cameras.get(camera)
        if known is None:
            known = self._cameras[camera] = WatchedCamera(camera, self._terms, self._cameras.pop)
        return await known.open(url)

    async def close(self) -> None:
        """End every pull and every attempt, and wait until nothing of them is left."""
        cameras, self._cameras = list(self._cameras.values()), {}
        await asyncio.gather(*(camera.close() for camera in cameras))
