"""What the tests of the media edge share: a listener that notes, child processes, decoding, pulls."""

import asyncio
import io
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import av

from app.registry.addresses import networks_of, safe_source
from app.streams.embedded.boxes import Fragment, Init
from app.streams.embedded.camera_pull import CameraPull
from app.streams.embedded.pull import Lost, Pull
from app.streams.embedded.watched import Pulls
from tests.streams.fake_camera import FakeCamera

LOOPBACK = networks_of("127.0.0.0/8")


class Notes:
    """A listener that keeps everything it is told."""

    def __init__(self) -> None:
        self.fragments: list[Fragment] = []
        self.lost: list[Lost] = []

    def on_fragment(self, fragment: Fragment) -> None:
        self.fragments.append(fragment)

    def on_lost(self, lost: Lost) -> None:
        self.lost.append(lost)


async def until(happened: Callable[[], object], seconds: float = 10) -> None:
    """Wait for something that happens soon."""
    async with asyncio.timeout(seconds):
        while not happened():  # noqa: ASYNC110 - what it waits for happens in another process
            await asyncio.sleep(0.01)


def children(of: int | None = None) -> list[int]:
    """Living child processes, by /proc: this process's or another's."""
    parent, found = of or os.getpid(), []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, ppid = entry.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(ppid) == parent and state != "Z":
            found.append(int(entry.parent.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def decoded(mp4: bytes) -> list[av.VideoFrame]:
    """Every frame; the file must have one track, a video."""
    with av.open(io.BytesIO(mp4)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        return list(container.decode(video=0))


def joined(pull: Pull, fragments: list[Fragment]) -> bytes:
    assert pull.init is not None
    return pull.init.data + b"".join(fragment.data for fragment in fragments)


def pull_of(camera: FakeCamera, linger_seconds: float = 5) -> CameraPull:
    return CameraPull(safe_source(camera.url, LOOPBACK), LOOPBACK, linger_seconds=linger_seconds)


class HandPull(Pull):
    """Fragments by hand."""

    async def _begin(self) -> None:
        self.init = Init(b"init", "avc1.42c00c", 320, 180, 1000, 0, 0)

    def _release(self) -> None:
        pass

    def give(self, at: int, key: bool, size: int = 10, duration: int = 100) -> None:
        self._publish(Fragment(b"x" * size, at, duration, key))


async def hand_pull() -> HandPull:
    pull = HandPull()
    starting = asyncio.ensure_future(pull.start())
    await asyncio.sleep(0)
    pull.give(0, True)
    await starting
    return pull


class Reports:
    """What was told of cameras that are lost and restored, by all processes that it is given to."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []

    def lost(self, camera: str, detail: str) -> None:
        self.told.append(("lost", camera, detail))

    def restored(self, camera: str) -> None:
        self.told.append(("restored", camera))


@asynccontextmanager
async def processes(
    run_dir: Path, count: int = 2, linger_seconds: float = 5, reports: Reports | None = None
) -> AsyncIterator[list[Pulls]]:
    """As many `Pulls` as processes would have; locks and sockets do not know the difference."""
    told = reports or Reports()
    all_pulls = [
        Pulls(run_dir, LOOPBACK, linger_seconds=linger_seconds, on_lost=told.lost, on_restored=told.restored)
        for _ in range(count)
    ]
    try:
        yield all_pulls
    finally:
        for pulls in all_pulls:
            await pulls.close()


def memory_bytes(process: int | str = "self") -> int:
    """What of a process is in memory just now."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
