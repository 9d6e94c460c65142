"""`gwanje demo`: a whole control center on one machine, with a synthetic city whose cameras really stream."""

import asyncio
import errno
import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from app import database, ids, logs, postgres
from app.demo import city
from app.demo.cameras import READY, TAKEN
from app.demo.city import records
from app.demo.city.load import is_empty, load
from app.demo.city.records import Demo, Rig
from app.errors import Conflict
from app.keys import Keys
from app.settings import Settings

Result = TypeVar("Result")

LOOPBACK: Final = "127.0.0.0/8"
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_CAMERAS_READY_SECONDS: Final = 60
_CAMERAS_STOP_SECONDS: Final = 10

out = Console(highlight=False, soft_wrap=True)


def run(settings: Settings) -> None:
    """Everything of the demo until SIGINT or SIGTERM; afterwards nothing of it is left running.

    Raises Conflict if an address is taken or a file of the demo is damaged, DatabaseUnavailable if PostgreSQL cannot
    be had; each says what to do.
    """
    settings = _with_loopback_cameras(settings)
    logs.configure(settings.log_level)
    ids.speak_for(settings.node)
    _check_door(settings)
    departure = _Departure()
    with ExitStack() as stack:
        out.print("PostgreSQL을 시작합니다 / starting PostgreSQL")
        owner_url = app_url = settings.database_url
        if not settings.database_url:
            use = stack.enter_context(postgres.start(settings))
            owner_url, app_url = use.server.owner_url, use.server.app_url
        demo, rig = departure.watch_over(_prepare(settings, owner_url, app_url))
        if rig is not None:
            out.print("모의 카메라를 켭니다 / starting simulated cameras")
            stack.enter_context(_simulated(rig))
        if demo is not None:
            demo.write(settings.home)
        stack.enter_context(_welcoming(settings, demo))
        from app.server import serve

        serve(settings)
    out.print("모두 종료했습니다 / everything has stopped")


def _with_loopback_cameras(settings: Settings) -> Settings:
    """The settings with cameras allowed on this machine; also in the environment, which worker processes read."""
    networks = ",".join(filter(None, (settings.allow_camera_networks, LOOPBACK)))
    os.environ["GWANJE_ALLOW_CAMERA_NETWORKS"] = networks
    return settings.model_copy(update={"allow_camera_networks": networks})


def _check_door(settings: Settings) -> None:
    """Refuse before anything is started if the address to serve on is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind((settings.host, settings.port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise Conflict(
                f"{settings.bind} is taken, perhaps by another Gwanje. Stop that program, or serve elsewhere: "
                f"GWANJE_BIND=127.0.0.1:{settings.port + 1} make run / {settings.bind} 주소를 다른 프로그램이 사용 "
                "중입니다. 그 프로그램을 끄거나 GWANJE_BIND로 다른 주소를 지정하십시오."
            ) from error


class _Departure:
    """Until the server takes over: SIGINT and SIGTERM end the start, and what was started is stopped in order.

    Outside of an event loop the signal becomes a SystemExit on the spot. Inside of one that would break whatever runs
    (drivers swallow it or hang), so there the work is cancelled instead.
    """

    def __init__(self) -> None:
        self._asked: int | None = None
        self._cancel: Callable[[], object] | None = None
        for number in _SIGNALS:
            signal.signal(number, self._ask)

    def _ask(self, number: int, _: object) -> None:
        for each in _SIGNALS:
            signal.signal(each, lambda *_: None)  # not SIG_IGN, which processes that we start would inherit
        self._asked = number
        if self._cancel is None:
            self._leave_if_asked()
        else:
            self._cancel()

    def _leave_if_asked(self) -> None:
        if self._asked is not None:
            raise SystemExit(128 + self._asked)

    def watch_over(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run asynchronous work to its end, or cancel it and leave."""

        async def cancellable() -> Result:
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            assert task is not None
            self._cancel = partial(loop.call_soon_threadsafe, task.cancel)
            try:
                return await work
            finally:
                self._cancel = _nothing  # closing a loop is no place for an exception either

        try:
            result = asyncio.run(cancellable())
        except asyncio.CancelledError:
            self._leave_if_asked()
            raise
        finally:
            self._cancel = None
        self._leave_if_asked()
        return result


def _nothing() -> None:
    pass


async def _prepare(settings: Settings, owner_url: str, app_url: str) -> tuple[Demo | None, Rig | None]:
    """The demo and its cameras, after migrating: loaded if the database is empty, else as they were left."""
    await asyncio.to_thread(database.migrate, owner_url)
    async with database.connect(app_url, pool_size=2) as base:
        if await is_empty(base):
            columns = (
                TextColumn("가상 도시를 만듭니다 / making the city"),
                BarColumn(),
                TextColumn("{task.description}"),
            )
            with Progress(*columns, console=out) as bar:
                task = bar.add_task("", total=1.0)
                made = await asyncio.to_thread(city.generate)
                demo = await load(
                    base, Keys(settings.secret_key), settings, made,
                    progress=lambda what, done: bar.update(task, description=what, completed=done),
                )  # fmt: skip
            return demo, records.read_rig(settings.home)
    kept, rig = Demo.read(settings.home), records.read_rig(settings.home)
    if kept is None:
        out.print(
            f"데이터베이스에 이미 자료가 있고 {settings.home / 'demo.json'} 파일이 없어 가상 도시를 만들지 않습니다.\n"
            f"this database holds data already and there is no {settings.home / 'demo.json'}: no demo city is made. "
            "For one, use another GWANJE_HOME; for a new password, `gwanje user password LOGIN`."
        )
    return (replace(kept, base_url=settings.base_url) if kept else None), rig


@contextmanager
def _simulated(rig: Rig) -> Iterator[None]:
    """The simulated cameras in a child process, which ends with the block and with us."""
    process = subprocess.Popen(
        [sys.executable, "-m", "app.demo.cameras"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],  # where the package lies, whatever folder the demo was started in
        start_new_session=True,  # a terminal's Ctrl-C is for us: the cameras go when nobody watches any more
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(asdict(rig)).encode() + b"\n")
        process.stdin.flush()
        heard, _, _ = select.select([process.stdout], [], [], _CAMERAS_READY_SECONDS)
        word = process.stdout.readline().decode().strip() if heard else "silent"
        if word == TAKEN:
            raise Conflict(
                f"port {rig.port} on 127.0.0.1, where this demo's cameras live, is taken. Stop the program that "
                f"listens there (`ss -ltnp 'sport = :{rig.port}'` names it) / 127.0.0.1의 {rig.port}번 포트를 다른 "
                "프로그램이 사용 중입니다. 그 프로그램을 먼저 종료하십시오."
            )
        if word != READY:
            raise OSError(f"the simulated cameras did not start ({word or 'ended'}) / 모의 카메라를 켜지 못했습니다")
        yield
    finally:
        process.stdin.close()
        try:
            process.wait(_CAMERAS_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@contextmanager
def _welcoming(settings: Settings, demo: Demo | None) -> Iterator[None]:
    """Say welcome once the service answers, from a thread of its own: the main one serves."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            if _answers(settings):
                _welcome(settings, demo)
                return

    threading.Thread(target=watch, name="welcome", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _answers(settings: Settings) -> bool:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - any is reached at home
    connection = http.client.HTTPConnection(host, settings.port, timeout=2)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _welcome(settings: Settings, demo: Demo | None) -> None:
    lines = ["", "[bold]관제가 준비되었습니다 / Gwanje is ready[/]", f"  주소 / address     {settings.base_url}"]
    if demo is not None:
        lines.append(f"  비밀번호 / passwords  {settings.home.absolute() / 'demo.json'}")
        lines.append("  계정 / accounts")
        lines += [f"    {user['login']:<14} {user['kind']:<18} {user['name']}, {user['agency']}" for user in demo.users]
    lines.append("  다음 / next        README.md “The first five minutes”, README.ko.md “처음 5분”")
    lines.append("  끝내기 / stop      Ctrl-C")
    out.print("\n".join(lines))
