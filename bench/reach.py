"""The health of 20,000 cameras: what their rounds cost, and how soon a cut cable with 4,000 of them is one event.

Each camera has an address of its own on the loopback interface (all of 127/8 is) and speaks RTSP in another process.
The floor is the same number of knocks by asyncio alone: connect, OPTIONS, an answer, gone.
"""

import argparse
import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import perf_counter
from uuid import UUID

from sqlalchemy import insert, text

from app.announcements import Announcements
from app.database import Database, connect
from app.ids import new_id
from app.keys import Keys
from app.models import CameraPosition, Site, StreamSource
from app.registry import sources
from app.settings import Settings
from app.streams.reach.rounds import PERIOD_SECONDS, most_at_once
from app.streams.reach.watch import Reach
from app.streams.writer import Writer
from bench.scene import Clock, Scene, conclude, scene, table
from tests import factories
from tests.factories import LOOPBACK

CAMERAS, ON_ONE_CABLE, FIRST_NETWORK = 20_000, 4_000, 20
MOST_SECONDS = 180.0  # for the cut to be told; a machine without rest for a third of a core may not do it
ANSWER = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n"


def place(number: int) -> str:
    """Those of one cable share the first 16 bits of their address."""
    cable, at = divmod(number, ON_ONE_CABLE)
    return f"127.{FIRST_NETWORK + cable}.{at // 250}.{at % 250 + 1}"


class _Camera(asyncio.Protocol):
    cut = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        if _Camera.cut and transport.get_extra_info("sockname")[0].startswith(f"127.{FIRST_NETWORK}."):
            transport.abort()  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - asyncio's signature
        self._transport.write(ANSWER)  # type: ignore[attr-defined]


async def _answer(listening: socket.socket) -> None:
    """All cameras, in a process of their own, until its standard input ends; a line on it cuts the first cable."""
    server = await asyncio.get_running_loop().create_server(_Camera, sock=listening, backlog=4096)
    async with server:
        while await asyncio.to_thread(sys.stdin.readline):
            _Camera.cut = not _Camera.cut


@asynccontextmanager
async def answering() -> AsyncIterator[tuple[int, asyncio.subprocess.Process]]:
    """The port of the cameras, and the process that is all of them."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
    listening.bind(("0.0.0.0", 0))  # on the loopback device alone
    descriptor = listening.fileno()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.reach", "--answer", str(descriptor), pass_fds=[descriptor],
        stdin=asyncio.subprocess.PIPE,
    )  # fmt: skip
    port: int = listening.getsockname()[1]
    try:
        yield port, process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
        listening.close()


async def _register(base: Database, owner: UUID, keys: Keys, count: int, port: int) -> None:
    site, ids = new_id(), [new_id() for _ in range(count)]
    positions = [
        {"id": one, "site_id": site, "ordinal": at, "name": f"C{at}", "owner_agency_id": owner, "has_stream": True}
        for at, one in enumerate(ids, 1)
    ]
    streams = [
        {
            "id": new_id(), "position_id": one, "key_id": keys.key_id,
            "address_sealed": sources.seal(keys, one, "live", "main", f"rtsp://u:p@{place(at)}:{port}/live"),
        }
        for at, one in enumerate(ids)
    ]  # fmt: skip
    async with base.begin() as session:
        await session.execute(insert(Site).values(id=site, owner_agency_id=owner, external_key=str(site)))
        await session.execute(insert(CameraPosition), positions)
        await session.execute(insert(StreamSource), streams)


async def _bare(numbers: Iterator[int], port: int) -> None:
    """One of those who knock by asyncio alone."""
    for number in numbers:
        reader, writer = await asyncio.open_connection(place(number), port)
        writer.write(f"OPTIONS rtsp://{place(number)}:{port}/ RTSP/1.0\r\nCSeq: 1\r\n\r\n".encode())
        assert (await reader.read(100)).startswith(b"RTSP/")
        writer.transport.abort()


def _resident_mib() -> float:
    return int(Path(f"/proc/{os.getpid()}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


async def _contest(place_: Scene, count: int, seconds: float) -> None:
    keys = Keys(Settings(home=place_.folder).secret_key)
    async with place_.database() as url, connect(url) as base, answering() as (port, process):
        owner = await factories.agency(base)
        await _register(base, owner, keys, count, port)
        before = _resident_mib()
        news = Announcements(base.url)
        hearing = asyncio.create_task(news.run())
        writer = Writer(base, lambda: None)
        reach = Reach(base, keys, writer, "bench", LOOPBACK, None, news, period=PERIOD_SECONDS)
        going = asyncio.create_task(reach.run())
        try:
            with Clock(place_) as loading:
                while len(reach.rounds.known) < count:  # noqa: ASYNC110 - a bench
                    await asyncio.sleep(0.05)
            await asyncio.sleep(PERIOD_SECONDS)  # one round
            knocks = reach.rounds.knocks
            with Clock(place_) as rounds:
                await asyncio.sleep(seconds)
            knocks = reach.rounds.knocks - knocks
            resident = _resident_mib()
            assert process.stdin is not None
            process.stdin.write(b"cut\n")
            cut = perf_counter()
            with Clock(place_) as losing:
                async with asyncio.timeout(MOST_SECONDS):
                    events = await _told(base)
            noticed = perf_counter() - cut
        finally:
            going.cancel()
            hearing.cancel()
            await asyncio.gather(going, hearing, return_exceptions=True)
        process.stdin.write(b"mended\n")
        await asyncio.sleep(0.5)
        numbers = iter(range(count))
        with Clock(place_) as bare:
            await asyncio.gather(*(_bare(numbers, port) for _ in range(most_at_once())))
    cost, floor = rounds.app_cpu / knocks, bare.app_cpu / count
    lines = [
        ["reading the register", loading.seconds, loading.app_cpu, loading.postgres_cpu],
        [f"{knocks:,} knocks", rounds.seconds, rounds.app_cpu, rounds.postgres_cpu],
        [f"{ON_ONE_CABLE:,} cut: {events} event", noticed, losing.app_cpu, losing.postgres_cpu],
        [f"floor: {count:,} knocks at once", bare.seconds, bare.app_cpu, bare.postgres_cpu],
    ]
    table(f"{count:,} cameras, {PERIOD_SECONDS:g} s a round", ("what", "seconds", "CPU s", "PostgreSQL's"), lines)
    print(f"{rounds.app_cpu / rounds.seconds:.1%} of a core; {resident - before:.0f} MiB for {count:,} cameras")
    ratios = {
        "knock_cpu_to_bare": cost / floor, "core_share": rounds.app_cpu / rounds.seconds,
        "kib_a_camera": (resident - before) * 1024 / count, "seconds_to_one_event": noticed,
    }  # fmt: skip
    conclude("reach", ratios, count)


async def _told(base: Database) -> int:
    """Wait until the loss is told; by how many events."""
    while True:
        async with base.begin() as session:
            counted = "SELECT count(*) AS events, coalesce(sum((data ->> 'count')::int), 0) AS cameras FROM events"
            found = (await session.execute(text(counted))).one()
        if found.cameras >= ON_ONE_CABLE * 0.99:
            return int(found.events)
        await asyncio.sleep(0.25)


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.reach")
    parser.add_argument("--cameras", type=int, default=CAMERAS)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--answer", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.answer is not None:
        await _answer(socket.socket(fileno=asked.answer))
        return
    with scene() as place_:
        await _contest(place_, asked.cameras, asked.seconds)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
