"""300 viewers of 30 cameras at full rate, while one in ten takes nothing more after its first bytes.

Whoever keeps reading must not notice: no frame is lost, and fragments come as evenly as among 300 viewers who all read.
270 viewers play from beginning to end. In turns, thirty more either read or stall; of those who stall the service must
rid itself, and its memory must stay bounded. Frames are told to be missing by the fragments' sequence numbers and times
for every viewer, and for a few by decoding the frame counters in their pictures and comparing them with those filmed.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import av
from sqlalchemy import text

from app.demo.simulator import read_counter
from bench.cameras import Filming
from bench.readers import Readers, Told, Viewing, readers
from bench.room import Room, room
from bench.scene import Scene, conclude, scene, table, turns

CAMERAS, HEALTHY_EACH, ROUNDS, SECONDS, SAMPLES = 30, 9, 5, 30, 3
# About 850 kbit/s: enough to fill what the service keeps for a stalled viewer (2 MiB and the kernel's) within a window.
FILMING = Filming(CAMERAS, encoders=2, width=1920, height=1080, rate=10)
WITHOUT, WITH = "thirty more read", "thirty more stall"


def _resident(pid: int) -> float:
    """MB of memory that a process holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1e3


async def _most_resident(processes: Sequence[int], seconds: float) -> float:
    """The most that they held at once meanwhile."""
    most, ends = 0.0, asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < ends:
        most = max(most, sum(map(_resident, processes)))
        await asyncio.sleep(0.25)
    return most


class _Window:
    """One window of one kind: how the 270 fared, what became of the thirty, and the service's memory."""

    def __init__(self, healthy: Told, more: Told, least_rate: float, grown: float) -> None:
        self.healthy, self.more, self.least_rate, self.grown = healthy, more, least_rate, grown


async def _window(house: Room, load: Readers, urls: Sequence[str], kind: str) -> _Window:
    before = sum(map(_resident, house.workers()))
    await load.open([Viewing(f"more {n}", "more", url, stalled=kind == WITH) for n, url in enumerate(urls)])
    filmed = [len(numbers) for numbers in await house.cameras.filmed()]
    await load.mark()
    most = await _most_resident(house.workers(), SECONDS)
    healthy, more = await load.tell("healthy"), await load.tell("more")
    due = max(now - then for now, then in zip(map(len, await house.cameras.filmed()), filmed, strict=True))
    await load.close("more")
    await asyncio.sleep(1)
    return _Window(healthy, more, min(healthy.fragments) / due, most - before)


def _missing(kept: Path, filmed: Sequence[int]) -> tuple[int, int]:
    """(frames decoded, frames filmed between the first and the last of them that are not among them)."""
    seen = set()
    with av.open(str(kept)) as container:
        for frame in container.decode(video=0):
            plane = frame.planes[0]
            luma, stride = memoryview(plane), plane.line_size
            seen.add(read_counter([luma[row * stride : row * stride + frame.width] for row in range(frame.height)]))
    return len(seen), sum(min(seen) <= number <= max(seen) and number not in seen for number in filmed)


async def _causes(house: Room) -> dict[str, int]:
    async with house.database.begin() as session:
        rows = await session.execute(text("SELECT cause, count(*) AS n FROM views WHERE cause <> '' GROUP BY cause"))
        return {row.cause: row.n for row in rows}


async def _contest(place: Scene) -> None:
    windows: dict[str, list[_Window]] = {WITHOUT: [], WITH: []}
    async with room(place, FILMING) as house, readers() as load:
        urls = [granted.url for _ in range(HEALTHY_EACH) for granted in await house.grants("fmp4")]
        more = [granted.url for granted in await house.grants("fmp4")]
        kept = [place.folder / f"kept-{number}.mp4" for number in range(SAMPLES)]
        keep = {number: str(path) for number, path in enumerate(kept)}
        await load.open([Viewing(f"{n}", "healthy", url, keep=keep.get(n, "")) for n, url in enumerate(urls)])
        await asyncio.sleep(3)
        for order in turns(ROUNDS, (WITHOUT, WITH)):
            for kind in order:
                windows[kind].append(await _window(house, load, more, kind))
        filmed = await house.cameras.filmed()
        await load.close("healthy")
        causes = await _causes(house)
        samples = [
            await asyncio.to_thread(_missing, path, filmed[number % FILMING.encoders])
            for number, path in enumerate(kept)
        ]
    _report(windows, causes, samples)


def _report(windows: dict[str, list[_Window]], causes: dict[str, int], samples: list[tuple[int, int]]) -> None:
    def of(kind: str, what: str) -> float:
        return median(getattr(window.healthy, what) for window in windows[kind])

    rows: list[list[Any]] = [
        [
            kind,
            *(of(kind, what) * 1e3 for what in ("gap_p50", "gap_p99", "gap_most")),
            of(kind, "gap_p99") / of(WITHOUT, "gap_p99"),
            f"{min(window.least_rate for window in of_kind):.1%}",
            median(window.more.ended for window in of_kind),
            max(window.grown for window in of_kind),
        ]
        for kind, of_kind in windows.items()
    ]
    healthy, everyone = CAMERAS * HEALTHY_EACH, CAMERAS * (HEALTHY_EACH + 1)
    head = (
        "while", "gap p50 ms", "p99 ms", "most ms", "p99 ×", "least of the frames", "of the thirty cut", "most MB more"
    )  # fmt: skip
    table(f"{healthy} of {everyone} viewers, medians of {ROUNDS} windows of {SECONDS} s", head, rows)
    lost = max(window.healthy.lost for of_kind in windows.values() for window in of_kind)
    cut = sum(window.healthy.ended for of_kind in windows.values() for window in of_kind)
    decoded, missing = sum(frames for frames, _ in samples), sum(missing for _, missing in samples)
    print(f"lost by the {healthy} who read: {lost} fragments; {cut} of them cut")
    print(f"decoded of {SAMPLES} of them: {decoded} frames; of those filmed {missing} are missing")
    print(f"causes of ended views: {causes}")
    ratios = {
        "gap_p99_with_stalled_to_without": of(WITH, "gap_p99") / of(WITHOUT, "gap_p99"),
        "lost_frames": float(lost + missing),
        "healthy_cut": float(cut),
        "stalled_cut_of_stalled": median(window.more.ended for window in windows[WITH]) / CAMERAS,
        "least_rate": min(window.least_rate for of_kind in windows.values() for window in of_kind),
        "mb_grown_per_stalled": max(window.grown for window in windows[WITH]) / CAMERAS,
    }
    conclude("viewers", ratios, everyone)


async def main() -> None:
    with scene() as place:
        await _contest(place)


if __name__ == "__main__":
    asyncio.run(main())
