"""WS-Discovery: which cameras answer on one chosen interface. What they say is shown, and used for nothing.

A probe goes to the multicast group of WS-Discovery (239.255.255.250, UDP 3702) with a time to live of one: it stays on
the interface's own network.
"""

import asyncio
import fcntl
import socket
import struct
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from app.errors import Malformed
from app.streams.onvif import xml
from app.streams.onvif.xml import BadXml

GROUP = ("239.255.255.250", 3702)
MOST_FOUND, MOST_DATAGRAM = 1000, 16_384
_MOST_HEARD = 10_000
_SIOCGIFADDR = 0x8915
_MOST_WORDS = 100
_PROBE = (
    '<?xml version="1.0" encoding="UTF-8"?><e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope"'
    ' xmlns:w="http://schemas.xmlsoap.org/ws/2004/08/addressing"'
    ' xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery"'
    ' xmlns:dn="http://www.onvif.org/ver10/network/wsdl"><e:Header><w:MessageID>{number}</w:MessageID>'
    "<w:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</w:To>"
    "<w:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</w:Action></e:Header>"
    "<e:Body><d:Probe><d:Types>dn:NetworkVideoTransmitter</d:Types></d:Probe></e:Body></e:Envelope>"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A camera that answered: the address of its service on the very host that sent the answer."""

    address: str
    name: str
    hardware: str


def address_of(interface: str) -> str:
    """The IPv4 address of an interface by its name, or the address itself. Raises Malformed."""
    try:
        return str(ip_address(interface))
    except ValueError:
        pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            name = struct.pack("256s", interface.encode()[:15])
            return socket.inet_ntoa(fcntl.ioctl(asking.fileno(), _SIOCGIFADDR, name)[20:24])
        except OSError:
            raise Malformed(
                f"there is no interface {interface!r} with an IPv4 address; `ip -brief address` lists them",
                field="interface",
            ) from None


async def discover(
    interface: str, *, seconds: float = 4.0, target: tuple[str, int] = GROUP, loopback: bool = False
) -> list[Answer]:
    """Ask on an interface (name or address) who is a camera, and collect answers for so long."""
    own = address_of(interface)
    loop = asyncio.get_running_loop()
    number = f"urn:uuid:{uuid4()}"
    asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asking.setblocking(False)
    asking.bind((own, 0))
    asking.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own))
    asking.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
    asking.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, int(loopback))
    listener = _Listener(number)
    transport, _ = await loop.create_datagram_endpoint(lambda: listener, sock=asking)
    try:
        transport.sendto(_PROBE.format(number=number).encode(), target)
        await asyncio.sleep(seconds)
    finally:
        transport.close()
    return sorted(listener.found.values(), key=lambda one: one.address)


class _Listener(asyncio.DatagramProtocol):
    def __init__(self, number: str) -> None:
        self.found: dict[str, Answer] = {}
        self._number, self._heard = number, 0

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._heard += 1
        if self._heard > _MOST_HEARD or len(data) > MOST_DATAGRAM or len(self.found) >= MOST_FOUND:
            return
        try:
            root = xml.read(data)
        except BadXml:
            return
        if root.said("RelatesTo") != self._number:
            return
        for match in root.all("ProbeMatch"):
            scopes = match.said("Scopes").split()
            for address in match.said("XAddrs").split():
                if _is_own(address, addr[0]):
                    self.found.setdefault(addr[0], Answer(address, _scope(scopes, "name"), _scope(scopes, "hardware")))


def _is_own(address: str, sender: str) -> bool:
    try:
        parts = urlsplit(address)
        return parts.scheme in {"http", "https"} and parts.hostname == sender and address.isprintable()
    except ValueError:
        return False


def _scope(scopes: list[str], name: str) -> str:
    for scope in scopes:
        _, found, value = scope.partition(f"onvif://www.onvif.org/{name}/")
        if found:
            return "".join(letter for letter in unquote(value)[:_MOST_WORDS] if letter.isprintable())
    return ""
