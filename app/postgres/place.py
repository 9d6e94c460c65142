"""Where the server of one GWANJE_HOME lives, the account it runs as, and the small file that remembers both."""

import hashlib
import json
import os
import pwd
import re
import secrets
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import DatabaseUnavailable

FALLBACK = Path("/var/lib/gwanje")
MOUNTS = Path("/proc/self/mounts")
ACCOUNTS = ("postgres", "gwanje", "nobody")
ROLES = ("postgres", "gwanje_owner", "gwanje_app")
SOCKET = ".s.PGSQL.5432"  # the port only names it: the server listens on no address
SOCKET_PATH_LIMIT = 103  # bytes that every system allows in a socket's address (Linux: 107)
# Locks reach one machine only, and a lost server may still write to such a disk.
NETWORK_FILE_SYSTEMS = re.compile(
    r"nfs\d?|cifs|smb\w*|ceph|afs|lustre|gpfs|ocfs2|davfs|fuse\.(sshfs|glusterfs|ceph\S*|s3fs|rclone|juicefs|davfs2?)"
)


@dataclass(frozen=True)
class Account:
    """Who PostgreSQL runs as when we are root, which it refuses to be."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Place:
    """The folder `base` of the server of `home`; `account` None is our own."""

    home: Path
    base: Path
    account: Account | None

    @property
    def data(self) -> Path:
        return self.base / "data"

    def run(
        self, *command: str | Path, lock: int | None = None, text: str = "", output: int = subprocess.PIPE
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as the server's account, holding `lock` if given, with nothing of our environment.

        In a session of its own, so that a terminal's Ctrl-C reaches us alone: we end what we have started.
        """
        account = self.account
        return subprocess.run(
            [str(word) for word in command],
            input=text,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"},
            umask=0o077,
            start_new_session=True,
            pass_fds=() if lock is None else (lock,),
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            check=False,
        )

    def reaches(self, path: Path) -> bool:
        """Whether the server's account may pass through this folder."""
        if self.account is None:
            return True
        try:
            return self.run("/bin/sh", "-c", 'test -x "$1"', "sh", path).returncode == 0
        except PermissionError as error:
            raise DatabaseUnavailable(
                f"PostgreSQL does not run as root, and root may not become {self.account.name} here. Start Gwanje as "
                "an ordinary user, allow the capabilities SETUID and SETGID, or set GWANJE_DATABASE_URL."
            ) from error


@dataclass(frozen=True)
class Record:
    """What `<home>/postgres.json` (0600) keeps once the cluster stands: its folder and the roles' passwords."""

    base: str  # relative to home, so that a home can be moved; absolute outside of it
    passwords: dict[str, str]


def locate(home: Path) -> Place:
    """The place of this home's server: the one on record, else below home, else below FALLBACK.

    The last is for root only, where the server's account cannot reach home or its path is too long for a socket.
    """
    record = read_record(home)
    if record:
        base = home / record.base
        return Place(home, base, _account(base / "data"))
    base = home / "postgres"
    place = Place(home, base, _account(base / "data"))
    nearest = next(path for path in (home, *home.parents) if path.exists())
    if place.account and not (place.reaches(nearest) and fits_socket(base / "run")):
        return Place(home, FALLBACK / hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:16], place.account)
    return place


def check(place: Place) -> None:
    """Refuse a place that would lose data or that the server's account cannot use."""
    kind = _file_system(place.base.resolve())
    if NETWORK_FILE_SYSTEMS.fullmatch(kind):
        raise DatabaseUnavailable(
            f"{place.base} is on a network file system ({kind}), where a database can be lost. "
            "Set GWANJE_HOME to a local disk, or GWANJE_DATABASE_URL to a PostgreSQL server."
        )
    if place.account and not place.reaches(place.base):
        raise DatabaseUnavailable(
            f"The account {place.account.name}, which PostgreSQL runs as, cannot reach {place.base}. "
            "Let it pass through the folders above (chmod o+x), or move GWANJE_HOME."
        )


def fits_socket(folder: Path) -> bool:
    """Whether a socket in this folder can be addressed; a comma separates addresses in PostgreSQL and its URLs."""
    return len(os.fsencode(folder / SOCKET)) <= SOCKET_PATH_LIMIT and "," not in str(folder)


def read_record(home: Path) -> Record | None:
    """The record of this home, or None before its first start."""
    path = home / "postgres.json"
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        return Record(content["base"], {role: content["passwords"][role] for role in ROLES})
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise DatabaseUnavailable(
            f"{path} is damaged. Restore it from a backup, or remove it: the roles then get new passwords."
        ) from error


def new_record(place: Place) -> Record:
    """A record with fresh passwords for all roles."""
    base = place.base.relative_to(place.home) if place.base.is_relative_to(place.home) else place.base
    return Record(str(base), {role: secrets.token_urlsafe(24) for role in ROLES})


def write_record(home: Path, record: Record) -> None:
    """Replace the record of this home."""
    write(home / "postgres.json", json.dumps(vars(record), indent=1), 0o600)


def write(path: Path, text: str, mode: int) -> None:
    """Replace a file durably and whole; never follows a link that somebody may have laid in its way."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    fresh.replace(path)


def make_folder(path: Path, mode: int, account: Account | None = None) -> None:
    """Make a folder with exactly this mode, for this account; somebody else's is left as it is."""
    path.mkdir(parents=True, exist_ok=True)
    if path.lstat().st_uid != os.geteuid():
        return
    path.chmod(mode)
    if account:
        os.chown(path, account.uid, account.gid)


def _account(data: Path) -> Account | None:
    if os.geteuid() != 0:
        return None
    if data.exists() and (owner := data.stat()).st_uid != 0:  # data keep their account, whatever is installed later
        return Account(f"uid {owner.st_uid}", owner.st_uid, owner.st_gid)
    for name in ACCOUNTS:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise DatabaseUnavailable(
        f"PostgreSQL does not run as root, and none of the accounts {', '.join(ACCOUNTS)} exists. Make one "
        "(`useradd --system gwanje`), start Gwanje as an ordinary user, or set GWANJE_DATABASE_URL."
    )


def _file_system(path: Path) -> str:
    """The type of the file system that holds the path; empty where the system does not tell."""
    if not MOUNTS.exists():
        return ""
    found = (0, "")
    for line in MOUNTS.read_text(errors="surrogateescape").splitlines():
        _, point, kind, *_ = line.split(" ")
        point = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), point)  # a space stands as \040
        if path.is_relative_to(point) and len(point) >= found[0]:  # the deepest, and of those the last, is on top
            found = (len(point), kind)
    return found[1]
