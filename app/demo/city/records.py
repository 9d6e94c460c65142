"""What a demo remembers outside its database, below GWANJE_HOME and readable by its owner alone (0600).

demo.json           who can sign in, and what there is to try: for people and programs that try the demo
demo-cameras.json   the simulated cameras with their logins and their port, which the registered sources name
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from app.errors import Conflict
from app.postgres.place import write


@dataclass(frozen=True)
class Rig:
    """The simulated cameras: their port on 127.0.0.1, and of each path, name, login, password, audio and offline."""

    port: int
    cameras: list[dict[str, Any]] = field(repr=False)

    def url(self, camera: dict[str, Any]) -> str:
        """The camera's address with its login; logins and passwords are of characters that need no escape."""
        login = f"{camera['login']}:{camera['password']}@" if camera["login"] else ""
        return f"rtsp://{login}127.0.0.1:{self.port}/{camera['path']}"


@dataclass(frozen=True)
class Demo:
    """The content of demo.json. Ids are strings; a user is `kind`, `name`, `agency`, `login` and `password`.

    `streaming_cameras` and `bells` are the demo district's, nearest to `place` first. `other_streaming_cameras` are
    those of the city (shared), of the district that shares only where its cameras are, and of one that shares nothing.
    """

    base_url: str
    users: list[dict[str, str]] = field(repr=False)
    place: dict[str, float]
    bells: list[str]
    streaming_cameras: list[str]
    offline_camera: str
    locate_only_camera: str
    unshared_camera: str
    other_streaming_cameras: dict[str, list[str]]

    def password(self, kind: str) -> str:
        """The password of the user of a kind."""
        return next(user["password"] for user in self.users if user["kind"] == kind)

    @classmethod
    def read(cls, home: Path) -> Self | None:
        """The demo of this home, or None if it has none."""
        content = _read(home / "demo.json", cls.__dataclass_fields__)
        return cls(**content) if content is not None else None

    def write(self, home: Path) -> None:
        """Replace demo.json, whole and durably."""
        write(home / "demo.json", json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n", 0o600)


def read_rig(home: Path) -> Rig | None:
    """The simulated cameras of this home, or None if it has none."""
    content = _read(home / "demo-cameras.json", Rig.__dataclass_fields__)
    return Rig(**content) if content is not None else None


def write_rig(home: Path, rig: Rig) -> None:
    """Replace demo-cameras.json, whole and durably."""
    write(home / "demo-cameras.json", json.dumps(asdict(rig), indent=1) + "\n", 0o600)


def _read(path: Path, fields: Iterable[str]) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_bytes())
        return {name: content[name] for name in fields}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise Conflict(
            f"{path} is damaged. Restore it from a copy, or remove the whole of {path.parent} for a new demo / "
            f"{path} 파일이 손상되었습니다. 복사본으로 되돌리거나 {path.parent} 폴더를 지우고 다시 시작하십시오."
        ) from error
