"""Processor time of a server for each delivery of an event, beside a floor in C, and memory of an idle listener.

The floor (`wsfan-floor`) frames an event once and makes one `send()` for each listener. `gwanje` is the service with
its feed: the real door, greeting and rights, and from the rows of the log on everything that an event passes; only the
database is left out, for all alike. `plain` is the same behind uvicorn's own protocols, where the feed cannot reach the
transports; `naive` is a Starlette loop of `await send_text`. The client is `wsfan-client`, which needs a core for
itself. The service's other work is counted in; pings are off for all, since the client answers none while it connects.

A ratio is the median of the ratios of the rounds: within one, both had the same minute of a machine that others use.
"""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import orjson

from bench.feed_house import AREA, GROUPS, Parties, Wsfan, parties, serving, wsfan
from bench.scene import Scene, conclude, scene, table, turns
from tests.processes import Service

ROUNDS, FRESH = 7, 3
EVENT_BYTES, LEAST_BYTES = 600, 450  # of an event as it is delivered; what is shorter is none
ALL, STORM, FEW = "2,000 sockets, all match", "500 sockets, storm of 16", f"2,000 sockets, 1 of {GROUPS} matches"
EVENT = '{"district":{g},"seq":{seq},"note":"{pad}"}'


@dataclass(frozen=True)
class Case:
    sockets: int
    groups: int
    events: int
    burst: int
    contenders: Sequence[str]


CASES = {
    ALL: Case(2000, 1, 60, 1, ("floor", "gwanje", "naive", "plain")),
    STORM: Case(500, 1, 320, 16, ("floor", "gwanje")),
    FEW: Case(2000, GROUPS, 400, 1, ("floor", "gwanje")),
}


class Contest:
    """The servers, and what the client is to say to each."""

    def __init__(self, program: Wsfan, folder: Path, servers: dict[str, Service], token: str) -> None:
        self._program, self._folder, self._servers = program, folder, servers
        self._payload = dict.fromkeys(servers, EVENT_BYTES)
        hello = {"type": "hello", "token": token}
        self._write("event", EVENT)
        self._write("hello", orjson.dumps({**hello, "subscribe": [{"id": "all"}]}).decode())
        areas = {"id": "area", "areas": [f"{AREA}{{g}}"]}
        self._write("hello-area", orjson.dumps({**hello, "subscribe": [areas]}).decode())

    def _write(self, name: str, text: str) -> None:
        path = self._folder / name
        path.touch(0o600)
        path.write_text(text)

    async def run(self, contender: str, case: Case) -> dict[str, float]:
        arguments = {
            "conns": case.sockets, "groups": case.groups, "events": case.events, "burst": case.burst,
            "warmup": max(4, case.events // 10), "payload": self._payload[contender], "min-bytes": LEAST_BYTES,
            "event": self._folder / "event",
        }  # fmt: skip
        if contender != "floor":
            arguments["ctl-path"] = f"/ctl?n={case.sockets}"
        if contender in ("gwanje", "plain"):
            arguments |= {"path": "/v1/feed", "hello": self._folder / ("hello-area" if case.groups > 1 else "hello")}
        words = [word for name, value in arguments.items() for word in (f"--{name}", str(value))]
        return await self._program.drive(self._servers[contender], *words)

    async def calibrate(self, contender: str) -> None:
        """Publish as much less as the contender wraps around it, so that all deliver events of the same size."""
        said = await self.run(contender, Case(4, 1, 40, 1, ()))
        self._payload[contender] -= round(said["bytes"] - EVENT_BYTES)


async def _servers(
    stack: AsyncExitStack, place: Scene, program: Wsfan, house: Parties, names: Sequence[str]
) -> dict[str, Service]:
    made = {}
    for name in names:
        server = program.floor(place) if name == "floor" else serving(place, name, house.url)
        made[name] = await stack.enter_async_context(server)
    return made


async def _memory(place: Scene, program: Wsfan, house: Parties, names: Sequence[str]) -> dict[str, float]:
    """KB (PSS) that a connection takes, of servers that have just started."""
    took: dict[str, list[float]] = {name: [] for name in names}
    for order in turns(FRESH, names):
        for name in order:
            async with AsyncExitStack() as stack:
                servers = await _servers(stack, place, program, house, [name])
                contest = Contest(program, place.folder, servers, house.token)
                took[name].append((await contest.run(name, Case(2000, 1, 1, 1, ())))["kb_per_conn"])
    return {name: median(each) for name, each in took.items()}


async def _contest(place: Scene, program: Wsfan) -> None:
    took: dict[tuple[str, str], list[dict[str, float]]] = {}
    async with parties(place) as house:
        memory = await _memory(place, program, house, ("gwanje", "naive"))
        async with AsyncExitStack() as stack:
            servers = await _servers(stack, place, program, house, CASES[ALL].contenders)
            contest = Contest(program, place.folder, servers, house.token)
            for name in servers:
                if name != "floor":
                    await contest.calibrate(name)
            for number in range(ROUNDS):
                for title, case in CASES.items():
                    for name in list(turns(ROUNDS, case.contenders))[number]:
                        took.setdefault((title, name), []).append(await contest.run(name, case))
    _report(took, memory)


def _report(took: dict[tuple[str, str], list[dict[str, float]]], memory: dict[str, float]) -> None:
    def of(title: str, name: str, what: str) -> float:
        return median(each[what] for each in took[title, name])

    def ratio(title: str, name: str, other: str = "floor") -> float:
        rounds = zip(took[title, name], took[title, other], strict=True)
        return median(mine["cpu_us"] / theirs["cpu_us"] for mine, theirs in rounds)

    for title, case in CASES.items():
        rows = [
            [name, of(title, name, "cpu_us"), ratio(title, name),
             *(of(title, name, what) for what in ("cpu_ms_per_event", "p50_ms", "p99_ms", "bytes"))]
            for name in case.contenders
        ]  # fmt: skip
        head = ("server", "CPU µs/delivery", "× floor", "CPU ms/event", "p50 ms", "p99 ms", "bytes")
        table(f"{title}; medians of {ROUNDS} rounds", head, rows)
    table("an idle connection, on a fresh server", ("server", "KB"), memory.items())
    ratios = {
        "all_to_floor": ratio(ALL, "gwanje"),
        "all_to_naive": ratio(ALL, "gwanje", "naive"),
        "all_plain_to_floor": ratio(ALL, "plain"),
        "storm_to_floor": ratio(STORM, "gwanje"),
        "few_to_floor": ratio(FEW, "gwanje"),
        "idle_kb": memory["gwanje"],
        "idle_to_naive": memory["gwanje"] / memory["naive"],
    }
    conclude("fanout", ratios, CASES[ALL].sockets)


async def main() -> None:
    program = wsfan()
    if program is None:
        print("WSFAN names no folder with wsfan-client and wsfan-floor; build them: WSFAN=… python -m bench.fanout")
        print('{"bench": "fanout", "skipped": "WSFAN is not set"}')
        sys.exit(0)
    with scene() as place:
        await _contest(place, program)


if __name__ == "__main__":
    asyncio.run(main())
