"""Where a webhook may lead: a public address, or a network that the operator named; asked anew for each connection.

The rules of spelling and of places are those of camera addresses (`app.registry.addresses`); beyond them this machine
itself and the names that the service is known by lead nowhere.
"""

import socket
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from app.errors import CameraOffline, UnsafeSource
from app.registry import addresses
from app.registry.addresses import Networks, Source, networks_of
from app.settings import Settings

PORTS = {"http": 80, "https": 443}
REFUSED = (
    "url is a plain address, such as https://events.example.kr/gwanje, and leads to a public place or into a network"
    " of GWANJE_ALLOW_WEBHOOK_NETWORKS, but not to this service"
)


@dataclass(frozen=True, slots=True)
class Allowed:
    """What may be posted to: networks besides public addresses, and host names that are our own."""

    networks: Networks = ()
    own_names: frozenset[str] = frozenset()


def allowed_by(settings: Settings) -> Allowed:
    """What the operator allows."""
    urls = [settings.base_url, *settings.public_urls.values()]
    names = {(urlsplit(url).hostname or "").rstrip(".") for url in urls}
    return Allowed(networks_of(settings.allow_webhook_networks), frozenset(filter(None, names)))


def target(url: str, allowed: Allowed) -> Source:
    """The parts of an address that may be posted to; nothing is asked or resolved. Raises UnsafeSource (`url`).

    A plain http or https URL without credentials. The address is repeated in no refusal.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise UnsafeSource("url begins with https:// (or http://)", field="url")
    authority = url.split("://", 1)[1].split("/", 1)[0].split("?", 1)[0]
    if "@" in authority:
        raise UnsafeSource("url holds no user name or password; the signature proves who sends", field="url")
    if "#" in url:
        raise UnsafeSource("url has no fragment (#…): it would not be sent", field="url")
    try:
        found = addresses.safe_source(url, allowed.networks)
    except UnsafeSource:
        raise UnsafeSource(REFUSED, field="url") from None  # the same rule, in the words of webhooks
    if found.host.rstrip(".") in allowed.own_names and not _inside(found.host, allowed):
        raise UnsafeSource(REFUSED, field="url")
    return found


async def resolve(found: Source, allowed: Allowed) -> str:
    """The address to connect to now. Raises UnsafeSource, or CameraOffline where the name has none."""
    try:
        address = await addresses.resolve(found, allowed.networks)
    except UnsafeSource:
        raise UnsafeSource(REFUSED, field="url") from None
    except CameraOffline:
        raise CameraOffline("the host name of the webhook has no address") from None
    if not _inside(address, allowed) and is_ours(address):
        raise UnsafeSource(REFUSED, field="url")
    return address


def is_ours(address: str) -> bool:
    """Whether an IP address is one of this machine's: what is sent there would leave from there. Sends nothing."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            return str(probe.getsockname()[0]) == address
    except OSError:
        return False  # no way leads there


def _inside(host: str, allowed: Allowed) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return any(address.version == network.version and address in network for network in allowed.networks)
