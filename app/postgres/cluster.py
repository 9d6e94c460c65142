"""Creates the database cluster of a place and launches PostgreSQL on it."""

import hashlib
import logging
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from app.errors import DatabaseUnavailable
from app.postgres import binaries, place
from app.postgres.binaries import Binaries
from app.postgres.place import Place
from app.settings import Settings

LOCALE = "C.UTF-8" if sys.platform == "linux" else "en_US.UTF-8"
LOG_DAYS = 6

logger = logging.getLogger("gwanje.postgres")

CONFIGURATION = """\
# Written at every start. What an operator changes stays: ALTER SYSTEM SET … as the role postgres.
listen_addresses = ''
port = 5432
unix_socket_directories = {sockets}
unix_socket_permissions = 0700
hba_file = {hba}
password_encryption = 'scram-sha-256'
max_connections = 200
shared_buffers = '256MB'
wal_compression = on
# Short queries in plenty: compiling or parallelising one costs more than it saves.
jit = off
max_parallel_workers_per_gather = 0
max_parallel_maintenance_workers = 0
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
# A file per weekday. Neither statements nor row contents: they hold persons' data.
logging_collector = on
log_directory = {log}
log_filename = 'postgresql-%a.log'
log_truncate_on_rotation = on
log_rotation_age = '1d'
log_rotation_size = 0
log_checkpoints = off
log_error_verbosity = terse
log_min_error_statement = 'panic'
"""
HBA = "local all all scram-sha-256\n"

CREATE = (
    "CREATE ROLE gwanje_owner LOGIN",
    "CREATE ROLE gwanje_app LOGIN",
    "CREATE DATABASE gwanje OWNER gwanje_owner",
)


def launch(at: Place, settings: Settings, lock: int) -> None:
    """Create the cluster if there is none, and start PostgreSQL on it in the background, holding `lock` for life.

    The caller holds `lock`: no process of a former server is left.
    """
    found = binaries.runnable(binaries.find(settings), at)
    if at.base != at.home / "postgres":
        logger.warning("PostgreSQL's account cannot use %s: its data are in %s", at.home, at.data)
    if not (at.data / "PG_VERSION").exists():
        _create(at, found, lock)
    _refuse_other_major(at, found)
    _clear_traces(at)
    if place.read_record(at.home) is None:  # new, or lost, or we were killed right here
        record = place.new_record(at)
        changes = [f"ALTER ROLE {role} PASSWORD '{password}'" for role, password in record.passwords.items()]
        _command(at, found, at.data, changes, lock)
        place.write_record(at.home, record)
    for name in ("run", "log"):
        place.make_folder(at.base / name, 0o700, at.account)
    for old in (at.base / "log").glob("*.log"):  # PostgreSQL empties a weekday's file only when it lives past midnight
        if time.time() - old.lstat().st_mtime > LOG_DAYS * 86_400:
            old.unlink()
    hba, configuration = at.base / "pg_hba.conf", at.base / "postgresql.conf"
    # These two are ours, not the server account's: who breaks into the server cannot open it for others.
    place.write(hba, HBA, 0o644)
    values = {"sockets": _socket_folder(at), "hba": hba, "log": at.base / "log"}
    place.write(configuration, CONFIGURATION.format_map({key: _quoted(path) for key, path in values.items()}), 0o644)
    output = os.open(at.base / "start.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        # Through a shell that leaves it at once: a child of ours would stay behind as a zombie.
        command = (found.folder / "postgres", "-D", at.data, "-c", f"config_file={configuration}")
        at.run("/bin/sh", "-c", 'exec "$@" </dev/null &', "sh", *command, lock=lock, output=output)
    finally:
        os.close(output)


def _create(at: Place, found: Binaries, lock: int) -> None:
    """Create the cluster under another name and rename it when it is whole, so that a kill leaves nothing half."""
    if place.read_record(at.home):
        raise DatabaseUnavailable(
            f"The database of {at.home} was in {at.data}, which is gone. Bring it back from a backup, or remove "
            f"{at.home / 'postgres.json'} to begin with an empty one."
        )
    fresh = at.base / "data.new"
    shutil.rmtree(fresh, ignore_errors=True)
    place.make_folder(fresh, 0o700, at.account)
    # `reject`: started by hand, without our configuration, the cluster lets nobody in.
    options = ("--auth=reject", "--username=postgres", "--encoding=UTF8", f"--locale={LOCALE}", "--data-checksums")
    made = at.run(found.folder / "initdb", "-D", fresh, *options, "--no-instructions", lock=lock)
    if made.returncode:
        raise DatabaseUnavailable(f"initdb could not create {at.data}: {made.stdout[-1000:].strip()}")
    _command(at, found, fresh, CREATE, lock)
    fresh.rename(at.data)


def _command(at: Place, found: Binaries, data: Path, commands: Sequence[str], lock: int) -> None:
    """Run commands in PostgreSQL's single-user mode, before it ever listens; passwords go over standard input only."""
    text = "".join(f"{command}\n" for command in commands)
    options = ("-c", "exit_on_error=on", "-c", "log_min_error_statement=panic", "-c", "log_checkpoints=off")
    done = at.run(found.folder / "postgres", "--single", "-D", data, *options, "postgres", lock=lock, text=text)
    if done.returncode:
        raise DatabaseUnavailable(f"PostgreSQL could not make its roles in {data}: {done.stdout[-1000:].strip()}")


def _refuse_other_major(at: Place, found: Binaries) -> None:
    stored = (at.data / "PG_VERSION").read_text().strip()
    if stored != str(found.major):
        raise DatabaseUnavailable(
            f"The data in {at.data} are PostgreSQL {stored}'s, but the binaries in {found.folder} are {found.version}. "
            f"Set GWANJE_PG_BIN to the binaries of PostgreSQL {stored}; to move on, dump with them and restore."
        )


def _clear_traces(at: Place) -> None:
    """Remove what a killed server left and the next one would take for a running server.

    PostgreSQL refuses to start where its pid file names any live process or zombie of the same account, or nothing
    readable. Our lock proves that none of *our* servers is left; one that somebody started by hand is refused. The
    file of a process that is gone stays: PostgreSQL then looks for survivors in the shared memory that it names.
    """
    if other := postmaster(at.data):
        raise DatabaseUnavailable(f"Process {other} runs on {at.data}, and Gwanje did not start it. Stop it first.")
    process = _named_process(at.data)
    if process is None or _exists(process):
        (at.data / "postmaster.pid").unlink(missing_ok=True)
    (_socket_folder(at) / f"{place.SOCKET}.lock").unlink(missing_ok=True)


def postmaster(data: Path) -> int | None:
    """The process that postmaster.pid names, if it really runs on these data: alive, and working in that folder."""
    process = _named_process(data)
    if process is None or sys.platform != "linux":
        return process if process and _exists(process) else None
    try:  # a zombie has no working directory, a reused id another one
        return process if Path(f"/proc/{process}/cwd").samefile(data) else None
    except OSError:
        return None


def pid_file(data: Path) -> list[str]:
    """Process id, data, start time, port, socket folder, address, shared memory, state; fewer while it starts."""
    try:
        return (data / "postmaster.pid").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _named_process(data: Path) -> int | None:
    first = "".join(pid_file(data)[:1]).strip().removeprefix("-")  # in single-user mode it is written as -PID
    return int(first) if first.isdigit() and int(first) > 0 else None


def _exists(process: int) -> bool:
    """Whether the process lives, or lies as a zombie."""
    with suppress(PermissionError):  # somebody else's
        try:
            os.kill(process, 0)
        except (ProcessLookupError, OverflowError):
            return False
    return True


def _socket_folder(at: Place) -> Path:
    """`run` below the place, or where that path is too long, a private folder with a short one."""
    if place.fits_socket(at.base / "run"):
        return at.base / "run"
    ours = None if at.account else os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(ours or tempfile.gettempdir()) / f"gwanje-{hashlib.sha256(os.fsencode(at.base)).hexdigest()[:16]}"
    place.make_folder(folder, 0o700, at.account)
    state, owner = folder.lstat(), at.account.uid if at.account else os.geteuid()
    private = stat.S_ISDIR(state.st_mode) and state.st_uid == owner and not state.st_mode & 0o077
    if not (private and place.fits_socket(folder)):  # somebody else may have made it first
        raise DatabaseUnavailable(
            f"The path of {at.base} is too long for a socket, and {folder} cannot hold it safely. "
            "Set GWANJE_HOME to a shorter path."
        )
    return folder


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("\\", r"\\").replace("'", "''") + "'"
