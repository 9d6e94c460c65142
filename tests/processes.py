"""The service as processes: `gwanje serve` as an operator runs it."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

START_SECONDS = 90


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def children(pid: int) -> list[int]:
    """The living child processes of a process."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return []
    return [int(child) for child in text.split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except FileNotFoundError:
        return ""


@dataclass
class Service:
    """A running `gwanje serve`."""

    process: asyncio.subprocess.Process
    base_url: str
    log: Path

    def workers(self) -> list[int]:
        return [pid for pid in children(self.process.pid) if "spawn_main" in command(pid)]

    async def ready(self) -> None:
        async with httpx.AsyncClient(base_url=self.base_url, timeout=3) as client:
            for _ in range(START_SECONDS * 10):
                if self.process.returncode is not None:
                    raise RuntimeError(f"the service ended: {self.log.read_text()[-2000:]}")
                try:
                    if (await client.get("/readyz")).status_code == 200:
                        return
                except httpx.HTTPError:
                    pass
                await asyncio.sleep(0.1)
        raise TimeoutError(self.log.read_text()[-2000:])

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        if self.process.returncode is None:
            self.process.send_signal(how)
        return await asyncio.wait_for(self.process.wait(), 30)


@asynccontextmanager
async def service(home: Path, *, workers: int = 1, **settings: str) -> AsyncIterator[Service]:
    """`gwanje serve` with this home, ready to answer; stopped at the end if it still runs."""
    port = free_port()
    settings = {"GWANJE_BIND": f"127.0.0.1:{port}", "GWANJE_WORKERS": str(workers), **settings}
    async with _running(home, ["serve"], port, settings) as running:
        yield running


@asynccontextmanager
async def edge(home: Path, name: str, **settings: str) -> AsyncIterator[Service]:
    """`gwanje edge` beside a service of this home, ready to carry footage."""
    port = free_port()
    async with _running(home, ["edge", name, "--bind", f"127.0.0.1:{port}"], port, settings) as running:
        yield running


@asynccontextmanager
async def _running(home: Path, command: list[str], port: int, settings: dict[str, str]) -> AsyncIterator[Service]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GWANJE_")},
        "GWANJE_HOME": str(home),
        "GWANJE_ALLOW_CAMERA_NETWORKS": "127.0.0.0/8",
        **settings,
    }
    log = home / f"{'-'.join(command[:2])}.log"
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "app", *command,
            env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    running = Service(process, f"http://127.0.0.1:{port}", log)
    try:
        await running.ready()
        yield running
    finally:
        if process.returncode is None:
            try:
                await running.stop()
            except TimeoutError:
                process.kill()
                await process.wait()
