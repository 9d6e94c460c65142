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

    model_config = SettingsConfigDict(env_prefix="GWANJE_", frozen=True, extra="ignore", hide_input_in_errors=True)

    home: Path = Field(Path("var"), description="folder for the embedded database, keys, run files and demo.json")
    database_url: str = Field("", description="an external PostgreSQL >= 15; empty starts the embedded one")
    pg_bin: Path | None = Field(None, description="folder with postgres and initdb, instead of those found")
    bind: str = Field("127.0.0.1:8000", description="address and port to serve on")
    public_url: str = Field(
        "",
        description="base of the URLs handed out; empty: http://<bind>. Of several network zones:"
        " https://cctv.example,police=https://10.9.0.1",
    )
    trusted_proxies: str = Field(
        "", description="addresses whose X-Forwarded-For is believed, separated by commas; empty: nobody's"
    )
    role: Literal["service", "edge"] = Field(
        "service", description="`edge`: carry footage only, as `gwanje edge` does, for a service that runs elsewhere"
    )
    workers: int = Field(1, ge=1, le=24, description="service processes")
    gateway: str = Field(
        "embedded",
        description="media gateways, separated by spaces: `embedded` (in this service), `edges` (only the processes of"
        " `gwanje edge`), `mediamtx+http://user:password@host:9997?name=…`",
    )
    most_viewers: int = Field(1000, ge=1, le=100_000, description="viewers that this node's embedded gateway carries")
    most_pulls: int = Field(300, ge=1, le=10_000, description="cameras that this node's embedded gateway pulls at once")
    most_viewers_of_camera: int = Field(100, ge=1, le=10_000, description="viewers of one camera at the same time")
    most_views_of_person: int = Field(128, ge=1, le=10_000, description="views that one person has open")
    most_views_of_agency: int = Field(2000, ge=1, le=100_000, description="views that one agency's people have open")
    camera_ca_file: Path | None = Field(
        None, description="PEM file of authorities that sign cameras' certificates, besides the system's own"
    )
    secret_key_file: Path | None = Field(None, description="file with the deployment key; default <home>/secret.key")
    session_hours: float = Field(12, gt=0, le=24, description="life of a sign-in, in hours: one shift")
    grant_seconds: int = Field(
        600, ge=10, le=86_400, description="longest life of one grant; renewable while its reason lasts"
    )
    allow_camera_networks: str = Field(
        "", description="comma-separated networks where cameras may live besides public addresses, such as 10.20.0.0/16"
    )
    allow_webhook_networks: str = Field(
        "", description="comma-separated networks that webhooks may lead to besides public addresses"
    )
    node: str = Field(
        "gwanje", pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$", description="name of this node in ids and the audit"
    )
    audit_origin: str = Field(
        "",
        pattern=r"^[^\s+]{0,200}$",
        description="name of the audit log in signed checkpoints, such as cctv.example/audit; empty: <node>/audit",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is logged")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        host, _, port = self.bind.rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(f"GWANJE_BIND must be address:port, such as 127.0.0.1:8000, not {self.bind!r}")
        for network in filter(None, f"{self.allow_camera_networks},{self.allow_webhook_networks}".split(",")):
            ipaddress.ip_network(network.strip())
        for one in self.gateways:
            if one not in ("embedded", "edges") and not one.startswith(("mediamtx+http://", "mediamtx+https://")):
                raise ValueError("GWANJE_GATEWAY is embedded, edges, or mediamtx+http://host:9997, not what was given")
        _ = self.public_urls
        return self

    @property
    def gateways(self) -> list[str]:
        """What carries footage, in the operator's words."""
        return self.gateway.split()

    @property
    def public_urls(self) -> dict[str, str]:
        """Base of the URLs handed out, by network zone; `default` is always there."""
        found = {"default": f"http://{self.bind}"}
        for part in filter(None, (part.strip() for part in self.public_url.split(","))):
            zone, is_named, url = part.partition("=")
            found["default" if not is_named else zone.strip()] = (url if is_named else part).strip().rstrip("/")
        wrong = [url for url in found.values() if not url.startswith(("http://", "https://"))]
        if wrong:
            raise ValueError("GWANJE_PUBLIC_URL holds http:// or https:// URLs, one for each zone")
        return found

    @property
    def origin(self) -> str:
        """The name of the audit log."""
        return self.audit_origin or f"{self.node}/audit"

    @property
    def host(self) -> str:
        return self.bind.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.bind.rpartition(":")[2])

    @property
    def base_url(self) -> str:
        return self.public_urls["default"]

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
