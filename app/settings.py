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
    reach_seconds: float = Field(
        30, ge=0, le=3600, description="how often each camera is knocked at to see whether it can be reached; 0: never"
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
    publish_within_days: int = Field(
        30, ge=1, le=365, description="days within which out-of-purpose provisions are to be made public (PIPA 18(4))"
    )
    publish_for_days: int = Field(10, ge=1, le=3650, description="days for which such a publication stays posted")
    node: str = Field(
        "gwanje", pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$", description="name of this node in ids and the audit"
    )
    audit_origin: str = Field(
        "",
        pattern=r"^[^\s+]{0,200}$",
        description="name of the audit log in signed checkpoints, such as cctv.example/audit; empty: <node>/audit",
    )
    review_sample: int = Field(30, ge=1, le=500, description="accesses drawn at random for each month's review")
    review_days: int = Field(15, ge=1, le=365, description="days in which a review is to be signed")
    subject_request_days: int = Field(
        10, ge=1, le=90, description="calendar days in which a data subject's request is to be answered"
    )
    subject_extension_days: int = Field(
        10, ge=1, le=90, description="calendar days by which that may be put off, with its reason"
    )
    subject_keep_days: int = Field(
        365, ge=1, le=3660, description="days after which it is erased who had asked, once a request is closed"
    )
    audit_contents_days: int = Field(
        730, ge=365, le=36_500, description="how long entries keep what they say of persons; then `gwanje audit erase`"
    )
    audit_days: int = Field(
        1825, ge=365, le=36_500, description="how long entries themselves are kept; then `gwanje audit drop-period`"
    )
    witnesses: str = Field(
        "", description="witnesses that cosign this log once a minute: `URL VKEY`, separated by commas"
    )
    witness_logs: str = Field(
        "", description="vkeys of other agencies' logs that this service cosigns as their witness, separated by spaces"
    )
    spool_hours: float = Field(
        4, gt=0, le=72, description="how long owners watch on while the database is away, their views spooled locally"
    )
    spool_megabytes: int = Field(64, ge=1, le=4096, description="room for what is spooled in one such time")
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
        if self.audit_days < self.audit_contents_days:
            raise ValueError("GWANJE_AUDIT_DAYS is not shorter than GWANJE_AUDIT_CONTENTS_DAYS")
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
    def witness_name(self) -> str:
        """The name under which this service is a witness of others' logs."""
        return f"{self.origin}/witness"

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

    @property
    def spool_folder(self) -> Path:
        """What is to be written down while the database is away."""
        return self.home.absolute() / "spool"

    @property
    def spool_bytes(self) -> int:
        return self.spool_megabytes << 20

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
