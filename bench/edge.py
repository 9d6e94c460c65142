"""Processor time of a viewer: our edge against nginx with `auth_request` and `proxy_pass` (no buffering, HTTP/1.1).

Both carry the same cameras to the same number of viewers, who play the same URLs. nginx needs somebody who gives each
of its viewers the stream, which is our edge: of that pair nginx alone is counted, and its permission costs it a 204 of
its own. Ours is the whole service's process: it reads the cameras, asks the database every few seconds whether each
view may go on, cuts, and does all that has nothing to do with footage. So it is measured with nobody watching, too, and
with one viewer of each camera: what all the others add is the price of one more viewer. What PostgreSQL and the ffmpeg
processes take is shown apart.
"""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from bench.cameras import Filming
from bench.readers import Readers, Viewing, readers
from bench.room import Room, room
from bench.scene import Clock, Scene, conclude, processor_seconds, scene, table, turns
from tests.processes import children, free_port

CAMERAS, VIEWERS_EACH, ROUNDS, SECONDS = 10, 20, 5, 8
FILMING = Filming(CAMERAS, encoders=2, rate=15)
PROTOCOLS = ("fmp4", "mse")
CARRIERS = ("gwanje", "nginx")
ALONE = ("fmp4", "gwanje, one of each")
_CONFIGURATION = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr warn;
events {{ worker_connections 4096; use epoll; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    map $http_upgrade $hop {{ default upgrade; '' ''; }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location = /permission {{ internal; return 204; }}
        location /v/ {{
            auth_request /permission;
            proxy_pass {upstream}; proxy_http_version 1.1; proxy_buffering off;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $hop;
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Nginx:
    """A running nginx in front of our edge."""

    process: asyncio.subprocess.Process
    netloc: str

    def processes(self) -> list[int]:
        return [self.process.pid, *children(self.process.pid)]


@asynccontextmanager
async def _nginx(program: str, folder: Path, upstream: str) -> AsyncIterator[Nginx]:
    folder.mkdir()
    port = free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(folder=folder, port=port, upstream=upstream))
    process = await asyncio.create_subprocess_exec(
        program, "-p", str(folder), "-c", str(configuration), "-e", "stderr", stdin=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(5):
            while True:
                with suppress(OSError):
                    (await asyncio.open_connection("127.0.0.1", port))[1].close()
                    break
                await asyncio.sleep(0.05)
        yield Nginx(process, f"127.0.0.1:{port}")
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@dataclass(frozen=True)
class Run:
    """One carrier's window; milliseconds of processor time per viewer and second."""

    carrier: float
    edge: float
    postgres: float
    pullers: float
    kilobytes: float
    least_rate: float
    """Of the viewer that got fewest: fragments received for each that was filmed."""
    lost: int


def _total(processes: Sequence[int]) -> float:
    return sum(processor_seconds(pid) for pid in processes)


async def _run(place: Scene, house: Room, load: Readers, urls: Sequence[str], carrying: Sequence[int] | None) -> Run:
    """What it costs to carry these URLs; `carrying` are the carrier's processes, none for our edge itself."""
    await load.open([Viewing(f"{number}", "all", url) for number, url in enumerate(urls)])
    await asyncio.sleep(1)
    edge, pullers = house.workers(), house.pullers()
    filmed = [len(numbers) for numbers in await house.cameras.filmed()]
    before = [_total(processes) for processes in (carrying or edge, edge, pullers)]
    await load.mark()
    with Clock(place) as clock:
        await asyncio.sleep(SECONDS)
    after = [_total(processes) for processes in (carrying or edge, edge, pullers)]
    told = await load.tell("all")
    most = max(now - then for now, then in zip(map(len, await house.cameras.filmed()), filmed, strict=True))
    await load.close("all")
    each = [(now - then) * 1e3 / len(urls) / clock.seconds for now, then in zip(after, before, strict=True)]
    assert not told.ended, "a viewer was cut"
    return Run(
        each[0], each[1], clock.postgres_cpu * 1e3 / len(urls) / clock.seconds, each[2],
        sum(told.bytes) / 1e3 / len(urls) / clock.seconds, min(told.fragments) / most, told.lost,
    )  # fmt: skip


async def _nobody(house: Room) -> float:
    """Milliseconds of processor time per second of the service while nobody watches."""
    await asyncio.sleep(3)
    before = _total(house.workers())
    await asyncio.sleep(SECONDS)
    return (_total(house.workers()) - before) * 1e3 / SECONDS


async def _contest(place: Scene, program: str) -> None:
    async with (
        room(place, FILMING) as house,
        readers() as load,
        _nginx(program, place.folder / "nginx", house.running.base_url) as nginx,
    ):
        nobody = await _nobody(house)
        protocols = [protocol for protocol in PROTOCOLS if await house.offers(protocol)]
        urls = {
            protocol: [granted.url for _ in range(VIEWERS_EACH) for granted in await house.grants(protocol)]
            for protocol in protocols
        }
        contenders = [*((protocol, carrier) for protocol in protocols for carrier in CARRIERS), ALONE]
        took: dict[tuple[str, str], list[Run]] = {contender: [] for contender in contenders}
        for number, order in enumerate(turns(ROUNDS + 1, contenders)):
            for protocol, carrier in order:
                if carrier == "nginx":
                    through = [urlsplit(url)._replace(netloc=nginx.netloc).geturl() for url in urls[protocol]]
                    run = await _run(place, house, load, through, nginx.processes())
                else:
                    alone = (protocol, carrier) == ALONE
                    run = await _run(place, house, load, urls[protocol][: CAMERAS if alone else None], None)
                if number:  # the first round only warms up
                    took[protocol, carrier].append(run)
    _report(took, nobody)


def _report(took: dict[tuple[str, str], list[Run]], nobody: float) -> None:
    cost = {of: median(run.carrier for run in runs) for of, runs in took.items()}
    rows = []
    for (protocol, carrier), runs in took.items():
        apart = [median(getattr(run, name) for run in runs) for name in ("edge", "postgres", "pullers", "kilobytes")]
        if carrier != "nginx":
            apart[0] = 0.0
        own, least = cost[protocol, carrier], min(run.least_rate for run in runs)
        beside = own / cost[protocol, "nginx"]
        rows.append([f"{carrier}, {protocol}", own, beside, *apart, f"{least:.1%}", sum(run.lost for run in runs)])
        if least < 0.97:
            print(f"NOT at full rate: {carrier}, {protocol}: the machine is too busy for these figures")
    viewers = CAMERAS * VIEWERS_EACH
    one_more = (cost["fmp4", "gwanje"] * viewers - cost[ALONE] * CAMERAS) / (viewers - CAMERAS)
    nginx, without = cost["fmp4", "nginx"], cost["fmp4", "gwanje"] - nobody / viewers
    rows.append(["gwanje, fmp4, less what it takes with nobody", without, without / nginx, *[""] * 6])
    rows.append(["gwanje, fmp4, one more viewer", one_more, one_more / nginx, *[""] * 6])
    head = (
        "carrier", "ms CPU", "× nginx", "upstream edge", "PostgreSQL", "ffmpeg", "kB", "least of the frames", "lost"
    )  # fmt: skip
    table(f"per viewer and second; {viewers} viewers of {CAMERAS} cameras, medians of {ROUNDS} rounds", head, rows)
    protocols = dict.fromkeys(protocol for protocol, _ in took)
    ratios = {f"{p}_cpu_to_nginx": cost[p, "gwanje"] / cost[p, "nginx"] for p in protocols}
    ratios |= {"fmp4_cpu_less_nobody_to_nginx": without / nginx, "fmp4_one_more_cpu_to_nginx": one_more / nginx}
    if "mse" in protocols:
        ratios["mse_cpu_to_fmp4"] = cost["mse", "gwanje"] / cost["fmp4", "gwanje"]
    ratios["least_rate"] = min(run.least_rate for runs in took.values() for run in runs)
    conclude("edge", ratios, viewers)


async def main() -> None:
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        print("nginx is not installed; on Debian: apt-get install --no-install-recommends nginx-light")
        print('{"bench": "edge", "skipped": "nginx is not installed"}')
        sys.exit(0)
    with scene() as place:
        await _contest(place, program)


if __name__ == "__main__":
    asyncio.run(main())
