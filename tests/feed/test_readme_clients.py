"""The two clients of the README, as they are printed there: whatever becomes of the line, they miss nothing.

They run in `make drill`; `make test` sees that they stand there and can be read.
"""

import asyncio
import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from app.database import Database
from app.settings import Settings
from tests import factories
from tests.conftest import serving
from tests.drills.proxy import Proxy, proxy

README = (Path(__file__).parents[2] / "README.md").read_text()
NODE = shutil.which("node")
UNKNOWN = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
BROWSER = """
globalThis.location = { origin: process.argv[2] };
const really = fetch;
globalThis.fetch = (path, options) => really(location.origin + path, options);
"""


def printed(language: str) -> str:
    """The block of the README in which somebody follows the feed."""
    (block,) = re.findall(rf"^```{language}\n((?:(?!^```).)*\bfollow\(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return str(block)


@dataclass
class Line:
    """What lies between a client and the service, as badly as it is told to."""

    proxy: Proxy
    is_down: bool = False
    """Whether a reverse proxy answers for a service that is not there."""
    heard: list[str] = field(default_factory=list)
    client: asyncio.subprocess.Process | None = None
    reading: asyncio.Task[None] | None = None
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.proxy.port}"

    async def read(self) -> None:
        assert self.client is not None
        assert self.client.stdout is not None
        while line := await self.client.stdout.readline():
            async with self.news:
                self.heard += re.findall(r"note-\d+", line.decode())
                self.news.notify_all()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(30), self.news:
            await self.news.wait_for(lambda: len(self.heard) >= count)

    async def connected(self, count: int) -> None:
        async with asyncio.timeout(30):
            while self.proxy.accepted < count:  # noqa: ASYNC110 - the proxy only counts
                await asyncio.sleep(0.02)


@asynccontextmanager
async def line(port: int) -> AsyncIterator[Line]:
    async def answer_for_it(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer_for_it, "127.0.0.1", 0) as other:
        instead = other.sockets[0].getsockname()[1]
        async with proxy(lambda: asyncio.open_connection("127.0.0.1", instead if made.is_down else port)) as between:
            made = Line(between)
            try:
                yield made
            finally:
                if made.client is not None and made.reading is not None:
                    made.client.kill()
                    await made.client.wait()
                    await made.reading


@dataclass
class Place:
    """A district whose system reports, and an operator of it."""

    client: httpx.AsyncClient
    database: Database
    agency: UUID
    system: dict[str, str]
    officer: factories.Person
    told: int = 0

    async def report(self) -> None:
        self.told += 1
        said = {
            "specversion": "1.0", "id": f"{self.told}", "source": f"{self.agency}", "type": "kr.gwanje.bell.pressed",
            "data": {"note": f"note-{self.told}"},
        }  # fmt: skip
        response = await self.client.post("/v1/events", json=said, headers=self.system)
        assert response.status_code == 202, response.text


@pytest.fixture
async def place(client: httpx.AsyncClient, database: Database) -> Place:
    agency = await factories.agency(database)
    system = await factories.sign_in(client, await factories.person(database, agency, "integration"))
    return Place(client, database, agency, system, await factories.person(database, agency, "operator"))


async def started(language: str, where: Line, place: Place, folder: Path, position: str | None) -> None:
    """Run the client behind the line."""
    if language == "python":
        program = folder / "feed.py"
        program.write_text(printed(language))
        token = (await factories.sign_in(place.client, place.officer))["Authorization"].removeprefix("Bearer ")
        command = [sys.executable, str(program), where.url, token, *([position] if position else [])]
    else:
        if NODE is None:
            pytest.skip("node is not installed")
        program = folder / "feed.cjs"
        text = printed(language).replace('"demo.police", "…"', f'"{place.officer.login}", "{factories.PASSWORD}"')
        if position:
            text = text.replace("position = null", f'position = "{position}"')
        program.write_text(BROWSER + text)
        command = [NODE, "--experimental-websocket", str(program), where.url]
    where.client = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    where.reading = asyncio.create_task(where.read())


@pytest.fixture
async def port(settings: Settings) -> AsyncIterator[int]:
    async with serving(settings) as url:
        yield int(url.rpartition(":")[2])


def test_they_stand_in_the_readme() -> None:
    compile(printed("python"), "feed.py", "exec")
    assert 'follow("demo.police", "…")' in printed("js")


@pytest.mark.drill
@pytest.mark.parametrize("language", ["python", "js"])
async def test_a_line_that_fails_in_every_way(language: str, port: int, place: Place, tmp_path: Path) -> None:
    """Cut, then answered for by somebody else, then cut in the midst of the handshake."""
    async with line(port) as between:
        await started(language, between, place, tmp_path, None)
        while not between.heard:  # it is live from some moment on, which it does not tell
            await place.report()
            await asyncio.sleep(0.3)
        between.is_down = True
        between.proxy.cut_all()
        count = between.proxy.accepted
        await place.report()
        await between.connected(count + 2)
        between.proxy.limit = lambda: 20
        between.is_down = False
        await between.connected(between.proxy.accepted + 2)
        await place.report()
        between.proxy.limit = lambda: None
        first = int(between.heard[0].removeprefix("note-"))
        await between.until(place.told - first + 1)
        assert between.heard == [f"note-{number}" for number in range(first, place.told + 1)]


@pytest.mark.drill
@pytest.mark.parametrize("language", ["python", "js"])
async def test_after_a_restored_ledger_it_goes_on_from_now(
    language: str, port: int, place: Place, tmp_path: Path
) -> None:
    async with line(port) as between:
        await started(language, between, place, tmp_path, UNKNOWN)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as asking:
            while "\ngwanje_feed_members 1" not in (await asking.get("/metrics")).text:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.1)
        await asyncio.sleep(2)  # it is told to resync, and hears nothing of the past
        between.is_down = True
        between.proxy.cut_all()
        await place.report()
        between.is_down = False
        await between.until(1)
        await place.report()
        await between.until(2)
        assert between.heard == ["note-1", "note-2"]
