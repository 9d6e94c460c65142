"""The embedded PostgreSQL: starts, shares and stops the server of one GWANJE_HOME, with binaries found by `binaries`.

    <home>/postgres.json   0600: passwords of the three roles, and where the server lives
    <home>/postgres/       or, for root, /var/lib/gwanje/<digest of home>, where the server's account cannot reach home
        data/ run/ log/    belong to the account that PostgreSQL runs as; everything else here belongs to us
        boot.lock          held while somebody starts or stops the server: one at a time
        use.lock           held shared, for life, by every process that uses the server: the last one out stops it
        server.lock        inherited by PostgreSQL and all its processes: free means that not one of them is left

The kernel drops a lock with its last holder, so `kill -9` leaves no count to repair, and neither a zombie nor a
reused process id nor a server in another container is misjudged, as they are by the id in postmaster.pid.
"""

import fcntl
import logging
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote

from app.errors import DatabaseUnavailable
from app.postgres import binaries
from app.postgres.cluster import launch, pid_file, postmaster
from app.postgres.place import Place, check, locate, make_folder, read_record
from app.settings import Settings

START_SECONDS = 600  # recovery of 1 GB of WAL took 7.8 s on a fast disk; a slow one deserves patience
STOP_SECONDS = 60

logger = logging.getLogger("gwanje.postgres")


@dataclass(frozen=True)
class Server:
    """A running server: its data, and the URLs of its two login roles for asyncpg (or SQLAlchemy, with its scheme)."""

    owner_url: str
    app_url: str
    data: Path


class Use:
    """A process's share in the server: `release` it before the process ends, or use it in a `with`."""

    def __init__(self, server: Server, place: Place, lock: int) -> None:
        self.server = server
        self._place = place
        self._lock: int | None = lock

    def release(self) -> None:
        """Give up the share; the last one out stops the server and returns when it has stopped. Harmless twice."""
        lock, self._lock = self._lock, None
        if lock is None:
            return
        try:
            with _turn(self._place):
                _leave(self._place, lock)
        except FileNotFoundError:  # the home was removed under a running server, which ends by itself within a minute
            os.close(lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def start(settings: Settings) -> Use:
    """Start the server of this home, or join the one that runs; many processes may do so at once.

    Blocks, for up to ten minutes when it recovers after a crash: asynchronous code calls it in a thread. Raises
    DatabaseUnavailable, whose detail says what to do.
    """
    home = settings.home.absolute()
    try:
        home.mkdir(parents=True, exist_ok=True)
        place = locate(home)
        if not place.base.is_relative_to(home):
            make_folder(place.base.parent, 0o711)
        make_folder(place.base, 0o711 if place.account else 0o700)
        check(place)
        with _turn(place):
            use = _lock(place.base / "use.lock", fcntl.LOCK_SH, START_SECONDS)
            assert use is not None  # who holds it alone holds the turn as well
            try:
                return Use(_join(place, settings), place, use)
            except BaseException:  # also an interrupt: what we have started must not stay behind
                _leave(place, use)
                raise
    except OSError as error:
        problem = f"GWANJE_HOME {home} cannot be used: {error.strerror or error}: {error.filename or home}"
        raise DatabaseUnavailable(f"{problem}. Choose a folder on this machine that this account may write.") from error


def describe(settings: Settings) -> str:
    """One line for `gwanje doctor`: version, binaries, data, and whether the server runs. Changes nothing."""
    if settings.database_url:
        return "external PostgreSQL, named by GWANJE_DATABASE_URL"
    try:
        found = binaries.find(settings)
        place = locate(settings.home.absolute())
        process = postmaster(place.data)
        exists = (place.data / "PG_VERSION").exists()
    except DatabaseUnavailable as refusal:
        return f"not usable: {refusal.detail}"
    except OSError as error:
        return f"not usable: {error}"
    state = f"running (process {process})" if process else "not running" if exists else "not created yet"
    return f"PostgreSQL {found.version} from {found.folder}, data in {place.data}, {state}"


def _lock(path: Path, mode: int, wait_seconds: float = 0) -> int | None:
    """A descriptor that holds the lock, or None when it could not be had in time."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return None
            time.sleep(0.02)
        else:
            return descriptor


@contextmanager
def _turn(place: Place) -> Iterator[None]:
    lock = _lock(place.base / "boot.lock", fcntl.LOCK_EX, START_SECONDS + STOP_SECONDS)
    if lock is None:
        raise DatabaseUnavailable(f"Another process has been starting or stopping {place.data} for ten minutes.")
    try:
        yield
    finally:
        os.close(lock)


def _join(place: Place, settings: Settings) -> Server:
    """Wait until the server answers; launch it, once, when none of its processes is left."""
    deadline = time.monotonic() + START_SECONDS
    launched = False
    while True:
        lock = _lock(place.base / "server.lock", fcntl.LOCK_EX)
        if lock is not None:
            try:
                if launched:
                    raise DatabaseUnavailable(f"PostgreSQL did not start on {place.data}: {_last_words(place)}")
                launch(place, settings, lock)
                launched = True
            finally:
                os.close(lock)  # from here on only PostgreSQL holds it
        elif sockets := _answering(place.data):
            return _server(place, sockets)
        elif time.monotonic() > deadline:
            raise DatabaseUnavailable(f"PostgreSQL on {place.data} does not answer: {_last_words(place)}")
        else:
            time.sleep(0.02)


def _leave(place: Place, use: int) -> None:
    fcntl.flock(use, fcntl.LOCK_UN)  # a forked child may hold a copy of the descriptor: closing would not do
    os.close(use)
    last = _lock(place.base / "use.lock", fcntl.LOCK_EX)
    if last is not None:
        try:
            _stop(place)
        finally:
            os.close(last)


def _stop(place: Place) -> None:
    asked, since = None, time.monotonic()
    while (lock := _lock(place.base / "server.lock", fcntl.LOCK_SH)) is None:
        process = postmaster(place.data)
        if process is not None and process != asked:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGINT)  # fast: connections are cut, nothing committed is lost
            asked = process
        # One that we cannot see runs in another container: it is not ours to stop.
        if time.monotonic() - since > (STOP_SECONDS if asked else 5):
            logger.warning("PostgreSQL on %s is still stopping; the next start waits for it", place.data)
            return
        time.sleep(0.02)
    os.close(lock)


def _answering(data: Path) -> str | None:
    """The folder of the server's socket, once it accepts connections."""
    lines = pid_file(data)
    if len(lines) < 8 or not lines[7].startswith("ready"):  # noqa: PLR2004 - lines as pid_file names them
        return None
    with socket.socket(socket.AF_UNIX) as knock:
        knock.settimeout(1)
        try:
            knock.connect(f"{lines[4]}/.s.PGSQL.{lines[3]}")
        except OSError:
            return None
    return lines[4]


def _server(place: Place, sockets: str) -> Server:
    record = read_record(place.home)
    if record is None:
        raise DatabaseUnavailable(
            f"{place.home / 'postgres.json'} is gone while the server runs. Stop every Gwanje process of this home: "
            "the next start gives the roles new passwords."
        )

    def url(role: str) -> str:
        return f"postgresql://{role}:{record.passwords[role]}@/gwanje?host={quote(sockets)}&port=5432"

    return Server(url("gwanje_owner"), url("gwanje_app"), place.data)


def _last_words(place: Place) -> str:
    logs = sorted((place.base / "log").glob("*.log"), key=lambda path: path.lstat().st_mtime)[-1:]
    words: list[str] = []
    for path in (place.base / "start.log", *logs):
        with suppress(OSError), os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), errors="replace") as file:
            words += file.read().splitlines()[-5:]
    return " | ".join(words) or "it said nothing"
