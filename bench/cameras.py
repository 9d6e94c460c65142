"""Simulated cameras for the benches, in a process of their own: many addresses, few encoders.

Addresses that share an encoder show the same picture, each over RTSP connections of its own, so that a gateway pulls
every one of them; what is saved is the encoding alone. The encoders film from the start, watched or not, and the
process tells which frames they filmed: whatever of them does not arrive was lost on the way.

`python -m bench.cameras --count 30 --encoders 3` prints the addresses; each line on its standard input is answered with
one line of JSON: the frame counters of each encoder so far. It ends with its standard input.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import floor

from app.demo.simulator import SimulatedCamera, Simulator
from app.demo.simulator.encoder import AccessUnit
from app.demo.simulator.rtsp import Mount


@dataclass(frozen=True)
class Filming:
    """What the cameras of a bench are like: 640x360 at 25 pictures a second is about 390 kbit/s here."""

    count: int
    encoders: int
    width: int = 640
    height: int = 360
    rate: int = 25


class _Shared(Simulator):
    """A simulator whose paths beyond the first few are further names of those."""

    def mount(self, path: str) -> Mount | None:
        number = path.removeprefix("cam/")
        return super().mount(f"cam/{int(number) % len(self.cameras):04}") if number.isdigit() else None


class _Notes:
    """A viewer that notes which frames were filmed."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self.numbers: list[int] = []

    def show(self, unit: AccessUnit) -> None:
        self.numbers.append(floor(unit.filmed_at * self._rate + 1e-6))

    def sound(self, block: bytes, at: float) -> None:
        pass


async def _film(filming: Filming) -> None:
    size = {"width": filming.width, "height": filming.height, "frames_per_second": filming.rate}
    cameras = [SimulatedCamera(f"cam/{number:04}", f"CAM {number:04}", **size) for number in range(filming.encoders)]
    loop, commands = asyncio.get_running_loop(), asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    async with _Shared(cameras) as simulator:
        notes = [_Notes(filming.rate) for _ in cameras]
        for camera, viewer in zip(cameras, notes, strict=True):
            mount = simulator.mount(camera.path)
            assert mount is not None
            mount.encoder.join(viewer)
        base = simulator.url(cameras[0].path).rpartition("/")[0]
        print(*(f"{base}/{number:04}" for number in range(filming.count)), sep="\n", flush=True)
        while await commands.readline():
            print(json.dumps([viewer.numbers for viewer in notes]), flush=True)


@dataclass(frozen=True)
class Cameras:
    """Running cameras."""

    process: asyncio.subprocess.Process
    filming: Filming
    addresses: list[str]

    async def filmed(self) -> list[list[int]]:
        """The frame counters that each encoder filmed so far; address `n` shows encoder `n % encoders`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"\n")
        said: list[list[int]] = json.loads(await self.process.stdout.readline())
        return said


@asynccontextmanager
async def cameras(filming: Filming) -> AsyncIterator[Cameras]:
    """Cameras for as long as the block lasts."""
    said = {"count": filming.count, "encoders": filming.encoders, "width": filming.width, "height": filming.height}
    options = [text for name, value in (said | {"rate": filming.rate}).items() for text in (f"--{name}", str(value))]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.cameras", *options,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 24,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        addresses = [(await process.stdout.readline()).decode().strip() for _ in range(filming.count)]
        yield Cameras(process, filming, addresses)
    finally:
        process.stdin.close()
        await process.wait()


def _asked() -> Filming:
    parser = argparse.ArgumentParser(prog="python -m bench.cameras")
    for name in ("count", "encoders", "width", "height", "rate"):
        parser.add_argument(f"--{name}", type=int, required=True)
    return Filming(**vars(parser.parse_args()))


if __name__ == "__main__":
    asyncio.run(_film(_asked()))
