"""One URL says everything about a MediaMTX, and from it follows what its own configuration file must say.

    mediamtx+http://user:password@127.0.0.1:9997?name=mtx&zone=default&hls=https://…&webrtc=https://…&rtsps=rtsps://…
        &viewers=500&cameras=300&from=127.0.0.1&door=127.0.0.1:8560&source=door

`hls.police=https://…` gives the base for viewers of the zone `police`; without a zone it is that of the gateway's own.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from types import MappingProxyType
from urllib.parse import parse_qsl, unquote, urlsplit

from app.keys import Keys

API_PORT = 9997
_BASES = {"webrtc": ("whep", ("http", "https")), "hls": ("hls", ("http", "https")), "rtsps": ("rtsps", ("rtsps",))}
_PLAIN = {"name", "zone", "viewers", "cameras", "from", "source", "door", "door.listen"}
_WORD = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
_MOST = 100_000
_LAST_PORT = 65535

Address = tuple[str, int]
Networks = tuple[IPv4Network | IPv6Network, ...]


@dataclass(frozen=True)
class Config:
    """A MediaMTX as an operator describes it; its credentials are in no representation."""

    name: str
    zone: str
    api: str
    """Base of its control API, without credentials."""
    user: str = field(repr=False)
    password: str = field(repr=False)
    bases: Mapping[str, Mapping[str, str]]
    """Public base of each of our protocols, by zone."""
    viewers: int
    cameras: int
    callers: Networks
    """Where its questions, and its pulls at our door, may come from."""
    door: Address | None
    """Where it finds our RTSP door; None where it is given the cameras' own addresses (`source=direct`)."""
    door_listen: Address | None
    """Where the door really stands, when that is another address."""

    @property
    def protocols(self) -> tuple[str, ...]:
        """What it can give, best first."""
        return tuple(protocol for protocol in ("whep", "hls", "rtsps") if protocol in self.bases)

    @property
    def public_urls(self) -> dict[str, str]:
        """One public base for each zone in which viewers reach it, its own zone first."""
        found: dict[str, str] = {}
        for protocol in reversed(self.protocols):
            found |= self.bases[protocol]
        return dict(sorted(found.items(), key=lambda one: (one[0] != self.zone, one[0])))

    @classmethod
    def parse(cls, text: str) -> "Config":
        """Read a gateway's URL. Raises ValueError naming the part that is wrong, never repeating credentials."""
        try:
            url = urlsplit(text)
            host, port = url.hostname or "", url.port or API_PORT
        except ValueError:
            raise ValueError("GWANJE_GATEWAY: the host or the port is not one") from None
        if url.scheme not in ("mediamtx+http", "mediamtx+https"):
            raise ValueError("GWANJE_GATEWAY begins with mediamtx+http:// or mediamtx+https://")
        if not host or url.path not in ("", "/") or url.fragment:
            raise ValueError("GWANJE_GATEWAY: after the host and port of the API comes only ?name=…")
        said = _said(url.query)
        zone = _word(said, "zone", "default")
        direct = _one_of(said, "source", ("door", "direct")) == "direct"
        if direct and {"door", "door.listen"} & said.keys():
            raise ValueError("GWANJE_GATEWAY: door has no meaning with source=direct")
        shown = f"[{host}]" if ":" in host else host
        bases = _bases(said, zone)
        if not bases:
            raise ValueError("GWANJE_GATEWAY: at least one of webrtc, hls, rtsps says where viewers find it")
        return cls(
            name=_word(said, "name", "mediamtx"),
            zone=zone,
            api=f"{url.scheme.removeprefix('mediamtx+')}://{shown}:{port}",
            user=unquote(url.username or ""),
            password=unquote(url.password or ""),
            bases=bases,
            viewers=_number(said, "viewers", 500),
            cameras=_number(said, "cameras", 300),
            callers=_callers(said, host),
            door=None if direct else _address(said, "door", ("127.0.0.1", 8560)),
            door_listen=_address(said, "door.listen", None) if "door.listen" in said else None,
        )

    def may_call(self, peer: str) -> bool:
        """Whether an address is one of this gateway's."""
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        known = getattr(address, "ipv4_mapped", None) or address
        return any(known in network for network in self.callers if network.version == known.version)


def secret_of(keys: Keys, name: str) -> str:
    """What a gateway's questions must carry in their path, so that nobody else asks in its name."""
    return keys.mac("gateway-callback", name.encode(), 24).hex()


def callback_path(keys: Keys, name: str) -> str:
    """The path of `authHTTPAddress`, below this service's own address. It is a secret."""
    return f"/internal/gateways/{name}/{secret_of(keys, name)}"


def configuration(config: Config, callback_url: str) -> str:
    """What mediamtx.yml must say (YAML): ask us before every play, and leave everything else closed.

    Addresses of listeners, certificates and trusted proxies are the operator's to add. `authHTTPExclude` lets the
    control API through, whose address must therefore be one that only this service reaches.
    """
    on = {protocol: "yes" if protocol in config.bases else "no" for protocol in ("whep", "hls", "rtsps")}
    return f"""\
logLevel: info
authMethod: http
authHTTPAddress: {callback_url}
authHTTPExclude:
- action: api
readTimeout: 5s
api: yes
apiAddress: {urlsplit(config.api).netloc}
metrics: no
pprof: no
playback: no
rtmp: no
srt: no
moq: no
rtsp: {on["rtsps"]}
rtspTransports: [tcp]  # and for viewers outside: rtspEncryption: strict, rtspServerKey, rtspServerCert
rtspAuthMethods: [basic]
hls: {on["hls"]}
hlsAlwaysRemux: no
hlsVariant: lowLatency
hlsCDNSecret: ""
webrtc: {on["whep"]}
pathDefaults:
  record: no
paths: {{}}
"""


def _said(query: str) -> dict[str, str]:
    said: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        known = name in _PLAIN or name.partition(".")[0] in _BASES
        if not known:
            raise ValueError(f"GWANJE_GATEWAY: there is no {name[:40]!r} to say")
        if name in said or not value:
            raise ValueError(f"GWANJE_GATEWAY: {name} is said once, with a value")
        said[name] = value
    return said


def _bases(said: Mapping[str, str], own_zone: str) -> Mapping[str, Mapping[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for name, value in said.items():
        kind, _, zone = name.partition(".")
        if kind not in _BASES:
            continue
        protocol, schemes = _BASES[kind]
        url = urlsplit(value)
        if url.scheme not in schemes or not url.netloc or "@" in url.netloc or url.query or url.fragment:
            raise ValueError(f"GWANJE_GATEWAY: {name} is a base such as {schemes[-1]}://media.example.org:8889")
        if zone and not _WORD.fullmatch(zone):
            raise ValueError(f"GWANJE_GATEWAY: the zone of {kind} is a word of a-z, 0-9 and -")
        found.setdefault(protocol, {})[zone or own_zone] = value.rstrip("/")
    return MappingProxyType({protocol: MappingProxyType(zones) for protocol, zones in found.items()})


def _callers(said: Mapping[str, str], host: str) -> Networks:
    text = said.get("from", host)
    try:
        return tuple(ip_network(part.strip()) for part in text.split(","))
    except ValueError:
        if "from" in said:
            raise ValueError("GWANJE_GATEWAY: from lists the addresses and networks of the gateway") from None
        raise ValueError("GWANJE_GATEWAY: the API has a host name, so from must list the gateway's addresses") from None


def _word(said: Mapping[str, str], name: str, default: str) -> str:
    value = said.get(name, default)
    if not _WORD.fullmatch(value):
        raise ValueError(f"GWANJE_GATEWAY: {name} is a word of a-z, 0-9 and - of at most 31 characters")
    return value


def _one_of(said: Mapping[str, str], name: str, words: tuple[str, ...]) -> str:
    value = said.get(name, words[0])
    if value not in words:
        raise ValueError(f"GWANJE_GATEWAY: {name} is one of {', '.join(words)}")
    return value


def _number(said: Mapping[str, str], name: str, default: int) -> int:
    value = said.get(name, str(default))
    if not (value.isascii() and value.isdigit() and 0 < int(value[:7]) <= _MOST):
        raise ValueError(f"GWANJE_GATEWAY: {name} is a number from 1 to {_MOST}")
    return int(value)


def _address(said: Mapping[str, str], name: str, default: Address | None) -> Address | None:
    if name not in said:
        return default
    host, _, port = said[name].rpartition(":")
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        raise ValueError(f"GWANJE_GATEWAY: {name} is an IP address and a port, such as 127.0.0.1:8560") from None
    if not (port.isascii() and port.isdigit() and int(port[:6]) <= _LAST_PORT):
        raise ValueError(f"GWANJE_GATEWAY: {name} is an IP address and a port, such as 127.0.0.1:8560")
    return host.strip("[]"), int(port)
