"""Which addresses may be a camera: an allowlist of structure, then of places, resolved once and pinned.

A camera address is typed in by people and imported from files, so it is the way in for "server-side request forgery"
(OWASP API7): it may name nothing but a camera, whatever tricks of spelling it tries.
"""

import asyncio
import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import unquote_to_bytes, urlsplit

from app.errors import CameraOffline, UnsafeSource
from app.settings import Settings

Networks = Sequence[IPv4Network | IPv6Network]

_MAX_URL = 2048
_RESOLVE_SECONDS = 3
_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
# Where mail, shells, directories and databases listen: no camera, but worth an attacker's knock.
_NEVER_PORTS = frozenset(
    {
        0,
        19,
        21,
        22,
        23,
        25,
        53,
        110,
        111,
        123,
        135,
        139,
        143,
        389,
        445,
        465,
        514,
        587,
        636,
        993,
        995,
        1433,
        2049,
        2375,
        2379,
    }
    | {3306, 3389, 5432, 5900, 6379, 6443, 9200, 10250, 11211, 27017}
)
_URL = re.compile(
    r"(?P<scheme>[A-Za-z]+)://"
    r"(?:(?P<userinfo>(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*)@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(?:[/?](?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?)",
    re.ASCII,
)
_HOST_NAME = re.compile(
    r"(?!.{254})[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", re.ASCII
)
_NUMBER_LIKE = re.compile(r"([0-9]+|0x[0-9a-f]*)", re.ASCII)
# Addresses that carry another address inside: judged by what they lead to, which is not ours to guess.
_TUNNELS = tuple(map(ip_network, ("2002::/16", "2001::/32", "64:ff9b::/96", "64:ff9b:1::/48", "::/96")))


@dataclass(frozen=True, slots=True)
class Source:
    """A camera address that passed; credentials are decoded, and in no representation."""

    scheme: str
    host: str
    port: int
    path: str = field(repr=False)
    """Path and query as given, empty or beginning with / or ?. Some cameras take their password there."""
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def url(self) -> str:
        """The address without credentials, port always named."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def networks_of(text: str) -> Networks:
    """`10.20.0.0/16, 127.0.0.0/8` as networks (the setting `allow_camera_networks`). Raises ValueError."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


def safe_source(url: str, allowed: Networks) -> Source:
    """The parts of a camera address, which is asked nothing and resolved nowhere: for registration.

    `url` must be a plain rtsp, rtsps, http or https URL (RFC 3986) with a host name or a canonical IP address; an IP
    address must be public or inside `allowed`. Raises UnsafeSource saying what is wrong, never repeating the address.
    """
    if len(url) > _MAX_URL:
        raise UnsafeSource(f"a camera address has at most {_MAX_URL} characters")
    match = _URL.fullmatch(url)
    if match is None:
        raise UnsafeSource(
            "a camera address looks like rtsp://user:password@host:554/path, special characters percent-encoded"
        )
    scheme = match["scheme"].lower()
    if scheme not in _PORTS:
        raise UnsafeSource("a camera address begins with rtsp://, rtsps://, http:// or https://")
    port = int(match["port"] or _PORTS[scheme])
    if port in _NEVER_PORTS or port > 65535:  # noqa: PLR2004 - the last port there is
        raise UnsafeSource(f"no camera listens on port {port}")
    user, _, password = (match["userinfo"] or "").partition(":")
    source = Source(scheme, _host(match["host"], allowed), port, match["path"], _decoded(user), _decoded(password))
    _decoded(source.path)
    if _is_address(source.host):
        _check_port(source.host, port, allowed)
    return source


class CameraNetworks(tuple[IPv4Network | IPv6Network, ...]):  # noqa: SLOT001 - a tuple has none that say something
    """Where cameras may live besides public addresses, and where on this machine they do not: at ports of our own."""

    own_ports: frozenset[int] = frozenset()


def camera_networks(settings: Settings) -> CameraNetworks:
    """What the operator allows. Our own ports: the service's, the database's, the gateways' APIs."""
    found = CameraNetworks(networks_of(settings.allow_camera_networks))
    behind = [urlsplit(url).port for url in (settings.database_url, *settings.gateways)]
    found.own_ports = frozenset({settings.port, *filter(None, behind)})
    return found


async def resolve(source: Source, allowed: Networks) -> str:
    """The one IP address to connect to, at once and without asking again: a name that changes its mind gains nothing.

    Every address behind the name must be public or inside `allowed`. Raises UnsafeSource, or CameraOffline where the
    name has no address.
    """
    if _is_address(source.host):
        _check_port(source.host, source.port, allowed)
        return _check_place(source.host, allowed)  # nobody needs to be asked
    try:
        async with asyncio.timeout(_RESOLVE_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(source.host, source.port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError) as error:
        raise CameraOffline("the camera's host name has no address") from error
    addresses = [str(address[0]) for *_, address in found]
    if not addresses:
        raise CameraOffline("the camera's host name has no address")
    for address in addresses:
        _check_place(address, allowed)
        _check_port(address, source.port, allowed)
    return addresses[0]


def _is_address(host: str) -> bool:
    return ":" in host or _NUMBER_LIKE.fullmatch(host.rpartition(".")[2]) is not None


def _check_port(address: str, port: int, allowed: Networks) -> None:
    """Where cameras may live on this machine, too, our own doors are none of them."""
    if not isinstance(allowed, CameraNetworks) or port not in allowed.own_ports:
        return
    with suppress(OSError), socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.bind((address, 0))  # an address of another machine cannot be taken
        raise UnsafeSource("at this address of this machine listens this center itself, and no camera")


def _host(text: str, allowed: Networks) -> str:
    host = text.lower().strip("[]")
    if text.startswith("["):
        return _check_place(host, allowed)
    # An IPv4 address in any notation ends in a number; a host name never does (RFC 3696 2, WHATWG URL 4.5).
    if _NUMBER_LIKE.fullmatch(host.rpartition(".")[2]):
        return _check_place(host, allowed)
    if not _HOST_NAME.fullmatch(host):
        raise UnsafeSource("the host of a camera address is a host name or an IP address")
    return host


def _check_place(text: str, allowed: Networks) -> str:
    try:
        address: IPv4Address | IPv6Address = ip_address(text)
    except ValueError:
        raise UnsafeSource("an IP address is written plainly, such as 192.0.2.10 or [2001:db8::10]") from None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if any(address.version == network.version and address in network for network in allowed):
        inside = True
    else:
        inside = address.is_global and not any(
            address in tunnel for tunnel in _TUNNELS if tunnel.version == address.version
        )
    if not inside or address.is_multicast or address.is_unspecified or getattr(address, "scope_id", None):
        raise UnsafeSource(
            "this address is neither public nor inside a camera network of this center (GWANJE_ALLOW_CAMERA_NETWORKS)"
        )
    return str(address)


def _decoded(text: str) -> str:
    try:
        decoded = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise UnsafeSource("percent-encoding in a camera address is UTF-8") from None
    if not decoded.isprintable():
        raise UnsafeSource("a camera address holds no control characters, encoded or not")
    return decoded
