"""What the benches of the event feed share: who listens and reports, servers as processes, and `wsfan-client`.

`wsfan` is a load client and a floor in C. The folder of its binaries is named by the environment variable WSFAN.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import insert

from app.access import sessions
from app.actor import Actor
from app.database import Database, connect
from app.events.record import Report
from app.ids import new_id
from app.models import Area
from bench.scene import Scene
from tests import factories
from tests.processes import Service, free_port

AREA = "77"  # the code of an area is this and a group's number
GROUPS = 25
NOTE = "사람이 카메라 앞을 지나갔습니다. A passer-by was seen near the crossroad; nothing else was noticed. "
_numbers = count(1)


def report(kind: str, mark: str = "") -> Report:
    """A report like any other: about 600 bytes on the feed."""
    key = f"{os.getpid()}-{next(_numbers)}"
    return Report(kind=kind, source="bench", source_key=key, data={"detail": mark or NOTE, "zone": "3"})


@dataclass(frozen=True)
class Parties:
    """An agency with an operator who listens and reports, and areas, in a database of their own."""

    url: str
    database: Database
    officer: factories.Person
    actor: Actor
    token: str


@asynccontextmanager
async def parties(place: Scene) -> AsyncIterator[Parties]:
    async with place.database() as url, connect(url) as database:
        officer = await factories.person(database, await factories.agency(database), "room")
        async with database.begin() as session:
            names = [{"id": new_id(), "code": f"{AREA}{number}", "name": f"{number}동"} for number in range(GROUPS)]
            await session.execute(insert(Area).values(code_system="local", kind="other"), names)
        attempt = sessions.Attempt(officer.login, factories.PASSWORD, "127.0.0.1")
        async with database.begin() as session:
            proof = await sessions.secret_of(session, attempt)
            signed = await sessions.sign_in(session, attempt, proof=proof, hours=12)
        assert isinstance(signed, sessions.SignedIn)
        yield Parties(url, database, officer, signed.actor, signed.access_token)


@asynccontextmanager
async def serving(place: Scene, contender: str, url: str) -> AsyncIterator[Service]:
    """A server of `bench.feed_served`, ready to answer."""
    port, home = free_port(), place.folder / contender
    home.mkdir(exist_ok=True)
    settings = {
        "GWANJE_HOME": str(home), "GWANJE_BIND": f"127.0.0.1:{port}", "GWANJE_DATABASE_URL": url,
        "GWANJE_LOG_LEVEL": "warning",
    }  # fmt: skip
    log = home / "served.log"
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.feed_served", contender,
            env={**os.environ, **settings}, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    running = Service(process, f"http://127.0.0.1:{port}", log)
    try:
        await running.ready()
        yield running
    finally:
        try:
            await running.stop()
        except TimeoutError:
            process.kill()
            await process.wait()


def port_of(running: Service) -> int:
    return int(running.base_url.rpartition(":")[2])


async def door(running: Service, path: str) -> Any:
    """What a door of a server answers, as JSON."""
    async with httpx.AsyncClient(base_url=running.base_url, timeout=10) as client:
        return (await client.get(path)).raise_for_status().json()


@dataclass(frozen=True)
class Wsfan:
    """The C programs."""

    folder: Path

    @asynccontextmanager
    async def floor(self, place: Scene) -> AsyncIterator[Service]:
        """The least that a server can do: one `send()` for each delivery, and nothing else."""
        port = free_port()
        process = await asyncio.create_subprocess_exec(self.folder / "wsfan-floor", str(port))
        try:
            async with asyncio.timeout(5):
                while True:
                    with suppress(OSError):
                        (await asyncio.open_connection("127.0.0.1", port))[1].close()
                        break
                    await asyncio.sleep(0.05)
            yield Service(process, f"http://127.0.0.1:{port}", place.folder / "floor.log")
        finally:
            process.kill()
            await process.wait()

    async def drive(self, running: Service, *arguments: str, seconds: float = 90) -> dict[str, float]:
        """What the client found when it drove a server with these arguments."""
        client = await asyncio.create_subprocess_exec(
            self.folder / "wsfan-client", "--port", str(port_of(running)), "--pid", str(running.process.pid),
            *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            said, complained = await asyncio.wait_for(client.communicate(), seconds)
        except TimeoutError:
            client.kill()
            await client.wait()
            raise
        if client.returncode:
            log = running.log.read_text()[-1500:] if running.log.exists() else ""
            raise RuntimeError(f"{complained.decode()}\n{' '.join(arguments)}\n{log}")
        found: dict[str, float] = json.loads(said)
        return found


def wsfan() -> Wsfan | None:
    """The C programs, where WSFAN names their folder."""
    named = os.environ.get("WSFAN", "")
    folder = Path(named)
    there = named and all((folder / name).is_file() for name in ("wsfan-client", "wsfan-floor"))
    return Wsfan(folder) if there else None


class Listeners:
    """A load of listeners on the feed, in a process of its own (`bench.feed_listeners`)."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._seen: dict[str, dict[int, float]] = {}
        self._news = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    async def seen(self, mark: str, watchers: int = 1, seconds: float = 15) -> dict[int, float]:
        """When each watcher was given the event of a mark, by `perf_counter`."""
        async with asyncio.timeout(seconds), self._news:
            await self._news.wait_for(lambda: len(self._seen.get(mark, {})) >= watchers)
        return self._seen.pop(mark)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            mark, watcher, moment = line.decode().split()
            async with self._news:
                self._seen.setdefault(mark, {})[int(watcher)] = float(moment)
                self._news.notify_all()

    async def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._reading


@asynccontextmanager
async def listeners(running: Service, token: str, number: int, watch: Sequence[int]) -> AsyncIterator[Listeners]:
    """So many listeners who want everything; those whose places are in `watch` tell what they were given."""
    async with AsyncExitStack() as stack:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.feed_listeners",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        load = Listeners(process)
        stack.push_async_callback(load.close)
        assert process.stdin is not None
        asked = {"port": port_of(running), "token": token, "listeners": number, "watch": list(watch)}
        process.stdin.write(json.dumps(asked).encode() + b"\n")
        await load.seen("open", seconds=60)
        yield load
