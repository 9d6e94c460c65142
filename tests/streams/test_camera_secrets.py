"""A camera's address and credentials are told to the camera and stand nowhere else, whatever happens."""

import asyncio
import logging
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import pytest

from app.errors import Refusal
from app.streams.embedded.pull import PullerGone
from tests.streams.authority import Authority
from tests.streams.fake_camera import FakeCamera
from tests.streams.fake_http_camera import FakeHttpCamera
from tests.streams.watching import Notes, Reports, children, processes, until

pytestmark = pytest.mark.slow

USER, PASSWORD, PATH = "canary-user", "canary:p@ss/w?rd", "canary-path"
SECRETS = [
    text.encode()
    for word in (USER, PASSWORD, PATH, f"{USER}:{PASSWORD}")
    for text in (word, quote(word, safe=""), b64encode(word.encode()).decode().rstrip("="))
]


class Witness:
    """Everything that others can see while a camera is opened: processes, logs, words, files."""

    def __init__(self, caplog: pytest.LogCaptureFixture, run_dir: Path, port: int) -> None:
        self._caplog, self._run_dir, self._port = caplog, run_dir, port
        self.seen: list[bytes] = []
        self.commands: set[bytes] = set()

    async def watch(self) -> None:
        while True:
            for process in children():
                with suppress(OSError):
                    command = Path(f"/proc/{process}/cmdline").read_bytes()
                    self.commands.add(command)
                    self.seen += [command, Path(f"/proc/{process}/environ").read_bytes()]
            await asyncio.sleep(0.005)

    def say(self, *words: object) -> None:
        self.seen += [repr(word).encode() for word in words]
        for word in words:
            if isinstance(word, BaseException):
                self.say(*word.args, word.__cause__, *vars(word).values())

    def found(self) -> list[bytes]:
        for record in self._caplog.records:
            self.say(record.getMessage(), record.args, *vars(record).values(), record.exc_info)
        self.seen += [path.read_bytes() + path.name.encode() for path in self._run_dir.rglob("*") if path.is_file()]
        everything = b"\n".join(self.seen)
        place = f"127.0.0.1:{self._port}".encode()
        return [secret for secret in (*SECRETS, place) if secret in everything]


@asynccontextmanager
async def witnessed(caplog: pytest.LogCaptureFixture, run_dir: Path, port: int) -> AsyncIterator[Witness]:
    witness = Witness(caplog, run_dir, port)
    with caplog.at_level(logging.DEBUG):
        watching = asyncio.create_task(witness.watch())
        try:
            yield witness
        finally:
            watching.cancel()


def cameras(kind: type, **how: object) -> FakeCamera | FakeHttpCamera:
    camera = kind(user=USER, password=PASSWORD, **how)
    if isinstance(camera, FakeHttpCamera):
        camera.path = f"/{PATH}.cgi?user={USER}"
    return camera


@pytest.mark.parametrize("auth", ["digest", "basic"])
@pytest.mark.parametrize("kind", [FakeCamera, FakeHttpCamera])
@pytest.mark.parametrize("end", ["cut", "killed", "wrong", "nothing", "unreadable", "elsewhere", "untrusted"])
async def test_canaries_are_nowhere(kind, auth, end: str, caplog: pytest.LogCaptureFixture, tmp_path: Path):
    tls = Authority(tmp_path / "tls").server() if end == "untrusted" else None
    reports, run_dir = Reports(), tmp_path / "run"
    async with cameras(kind, auth=auth, tls=tls) as camera, processes(run_dir, 1, reports=reports) as (pulls,):
        async with witnessed(caplog, run_dir, camera.port) as witness:
            url = camera.url
            if end == "wrong":
                camera.password = "another"
                camera.__dict__.get("_knows", camera).password = "another"
            elif end == "nothing":
                camera._server.close()
            elif end == "unreadable":
                camera.fault, camera.answer = "garbage", b"not http\r\n\r\n"
            elif end == "elsewhere":
                camera.fault, camera.answer = "redirect", b"HTTP/1.1 404 Not Found\r\n\r\n"
            elif end == "untrusted":
                url = url.replace("rtsp:", "rtsps:").replace("http:", "https:")
            try:
                pull = await pulls.open("c", url)
            except (Refusal, PullerGone) as refusal:
                assert end not in {"cut", "killed"}
                witness.say(refusal, str(refusal), refusal.problem())
            else:
                assert end in {"cut", "killed"}
                pull.subscribe(notes := Notes())
                await until(lambda: len(notes.fragments) > 3)
                witness.say(pull, vars(pull).get("_source"), pull._camera)
                if end == "cut":
                    camera.cut()
                else:
                    pull._said = f"Error opening {url}: I/O error".encode()
                    pull._process.kill()
                await until(lambda: notes.lost)
                witness.say(notes.lost, pull.init)
                assert any(b"pipe:0" in one or b"rtsp://127.0.0.1:" in one for one in witness.commands)
            witness.say(reports.told, pulls._cameras)
            assert witness.found() == []
            if end == "cut":  # the checker itself
                witness.say(url)
                assert {USER.encode(), quote(PASSWORD, safe="").encode()} <= set(witness.found())
