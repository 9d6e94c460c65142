"""Settings from the environment, frozen; passed in, never imported as a global."""

import ipaddress
import os
import secrets
import tempfile
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Everything an operator can set; the README's table is held against this class by a test."""

    model_config = SettingsConfigDict(env_prefix="GWANJE_", frozen=True, extra="ignore")

    home: Path = Field(Path("var"), description="folder for the embedded database, keys, run files and demo.json")
    database_url: str = Field("", description="an external PostgreSQL >= 15; empty starts the embedded one")
    pg_bin: Path | None = Field(None, description="folder with postgres and initdb, instead of those found")
    bind: str = Field("127.0.0.1:8000", description="address and port to serve on")
    public_url: str = Field("", description="base of the URLs handed out; empty: http://<bind>")
    workers: int = Field(1, ge=1, le=24, description="service processes")
    gateway: Literal["embedded"] = Field("embedded", description="media gateway")
    secret_key_file: Path | None = Field(None, description="file with the deployment key; default <home>/secret.key")
    session_hours: float = Field(12, gt=0, le=24, description="life of a sign-in, in hours: one shift")
    grant_seconds: int = Field(
        600, ge=10, le=86_400, description="longest life of one grant; renewable while its reason lasts"
    )
    allow_camera_networks: str = Field(
        "", description="comma-separated networks where cameras may live besides public addresses, such as 10.20.0.0/16"
    )
    node: str = Field(
        "gwanje", pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$", description="name of this node in ids and the audit"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is logged")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        host, _, port = self.bind.rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(f"GWANJE_BIND must be address:port, such as 127.0.0.1:8000, not {self.bind!r}")
        for network in filter(None, self.allow_camera_networks.split(",")):
            ipaddress.ip_network(network.strip())
        return self

    @property
    def host(self) -> str:
        return self.bind.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.bind.rpartition(":")[2])

    @property
    def base_url(self) -> str:
        return self.public_url.rstrip("/") or f"http://{self.bind}"

    @property
    def run_dir(self) -> Path:
        """Sockets and locks of the running processes."""
        return self.home.absolute() / "run"

    @cached_property
    def secret_key(self) -> bytes:
        """The deployment key (32 bytes); everything that is signed or encrypted derives from it by name.

        Made on first use below GWANJE_HOME when no file is named. A file that is named must exist and hold at
        least 32 bytes: an empty or short secret is refused on every address.
        """
        if self.secret_key_file is not None:
            key = self.secret_key_file.read_bytes().strip()
            if len(key) < 32:  # noqa: PLR2004 - the length that the message names
                raise ValueError(f"GWANJE_SECRET_KEY_FILE {self.secret_key_file} must hold at least 32 bytes")
            return key
        path = self.home.absolute() / "secret.key"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():  # written whole and then linked: of processes that start at once, all read the same key
            descriptor, fresh = tempfile.mkstemp(dir=path.parent, prefix=".secret-")  # 0600
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_hex(32).encode())
            with suppress(FileExistsError):
                os.link(fresh, path)
            Path(fresh).unlink()
        return path.read_bytes()
