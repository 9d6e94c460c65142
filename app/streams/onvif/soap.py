"""One SOAP call to a camera: one bounded exchange with the one address that was checked.

Redirects are not followed, proxies not asked. Credentials go as a digest only: WS-Security's (of the password, a nonce
and the camera's own time), or HTTP's where the camera asks for that.
"""

import asyncio
import base64
import hashlib
import secrets
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import h11

from app import clock
from app.errors import CameraOffline, CameraRefuses
from app.registry.addresses import Source
from app.streams.embedded.connection import connect
from app.streams.embedded.rtsp import authorization
from app.streams.onvif import xml
from app.streams.onvif.xml import BadXml, Element

MOST_ANSWER_BYTES = 512 * 1024
CALL_SECONDS = 4.0
_MOST_HEADER_BYTES = 16 * 1024
_OK, _UNAUTHORIZED = 200, 401
_PORTS = {"http": 80, "https": 443}
_ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://www.w3.org/2005/08/addressing"'
    ' xmlns:tt="http://www.onvif.org/ver10/schema" xmlns:tds="http://www.onvif.org/ver10/device/wsdl"'
    ' xmlns:trt="http://www.onvif.org/ver10/media/wsdl" xmlns:tptz="http://www.onvif.org/ver20/ptz/wsdl"'
    ' xmlns:tev="http://www.onvif.org/ver10/events/wsdl" xmlns:n="http://docs.oasis-open.org/wsn/b-2">'
    "<s:Header>{header}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
)
_WSS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"


async def call(
    source: Source, address: str, body: str, *, action: str = "", ahead: timedelta | None = None,
    seconds: float = CALL_SECONDS, ca_file: Path | None = None,
) -> Element:  # fmt: skip
    """The body of the camera's answer to `body`, sent to `source` at its pinned `address`.

    `ahead` is how far the camera's clock is ahead of ours; without it no WS-Security token is sent. Raises
    CameraRefuses where it says no, else CameraOffline, within `seconds`.
    """
    header = _addressing(source, action) + (_token(source, ahead) if ahead is not None and source.user else "")
    content = _ENVELOPE.format(header=header, body=body).encode()
    try:
        async with asyncio.timeout(seconds):
            status, challenges, answer = await _exchange(source, address, content, action, "", ca_file)
            if status == _UNAUTHORIZED and challenges and source.user:
                proof = authorization(challenges, "POST", source.path or "/", source.user, source.password, 1)
                if proof and "\n" not in proof and "\r" not in proof and not proof.startswith("Basic"):
                    status, _, answer = await _exchange(source, address, content, action, proof, ca_file)
    except TimeoutError as error:
        raise CameraOffline(f"the camera does not answer within {seconds:g} s") from error
    if status == _UNAUTHORIZED:
        raise CameraRefuses("the camera does not accept the credentials that are registered for it")
    try:
        root = xml.read(answer)
    except BadXml as error:
        raise CameraOffline(f"the camera cannot be understood: {error}") from error
    fault = root.find("Fault")
    if fault is not None:
        words = fault.said("Reason", "Text") or fault.said("faultstring") or fault.said("Code", "Subcode", "Value")
        raise CameraRefuses(f"the camera refuses: {_plain(words) or 'without a reason'}")
    found = root.find("Envelope", "Body")
    if status != _OK or found is None:
        raise CameraOffline(f"the camera cannot be understood: it answered {status} without a SOAP body")
    return found


def _plain(words: str) -> str:
    return "".join(letter for letter in words[:120] if letter.isprintable())


def _addressing(source: Source, action: str) -> str:
    if not action:
        return ""
    return xml.element("a:Action", xml.text(action)) + xml.element("a:To", xml.text(source.url))


def _token(source: Source, ahead: timedelta) -> str:
    """A UsernameToken with a digest of the password (OASIS WSS UsernameToken Profile 1.0, 3.1)."""
    nonce = secrets.token_bytes(16)
    created = _stamp(clock.now() + ahead)
    mixed = hashlib.sha1(nonce + created.encode() + source.password.encode(), usedforsecurity=False).digest()
    kind, encoding = f"{_WSS}username-token-profile-1.0#PasswordDigest", f"{_WSS}soap-message-security-1.0#Base64Binary"
    token = xml.element(
        "w:UsernameToken",
        xml.element("w:Username", xml.text(source.user)),
        xml.element("w:Password", base64.b64encode(mixed).decode(), Type=kind),
        xml.element("w:Nonce", base64.b64encode(nonce).decode(), EncodingType=encoding),
        xml.element("u:Created", created),
    )
    return (
        f'<w:Security s:mustUnderstand="1" xmlns:w="{_WSS}wssecurity-secext-1.0.xsd"'
        f' xmlns:u="{_WSS}wssecurity-utility-1.0.xsd">{token}</w:Security>'
    )


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


async def _exchange(
    source: Source, address: str, content: bytes, action: str, proof: str, ca_file: Path | None
) -> tuple[int, list[str], bytes]:
    """Status, challenges and body of the answer to one POST on a connection of its own."""
    host = f"[{source.host}]" if ":" in source.host else source.host
    kind = "application/soap+xml; charset=utf-8" + (f'; action="{action}"' if action else "")
    headers = [
        ("Host", host if source.port == _PORTS[source.scheme] else f"{host}:{source.port}"),
        ("User-Agent", "Gwanje"), ("Content-Type", kind), ("Content-Length", str(len(content))),
        ("Accept-Encoding", "identity"), ("Connection", "close"), *([("Authorization", proof)] if proof else []),
    ]  # fmt: skip
    request = h11.Request(method="POST", target=source.path or "/", headers=headers)
    exchange = _Exchange(request, content)
    try:
        await connect(exchange, source, address, ca_file)
        return await exchange.answered
    finally:
        exchange.leave()


class _Exchange(asyncio.Protocol):
    """One request and its whole answer, within bounds."""

    def __init__(self, request: h11.Request, content: bytes) -> None:
        self.answered: asyncio.Future[tuple[int, list[str], bytes]] = asyncio.get_running_loop().create_future()
        self._request, self._content = request, content
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MOST_HEADER_BYTES)
        self._response: h11.Response | None = None
        self._body = bytearray()
        self._came = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        parts = (self._request, h11.Data(data=self._content), h11.EndOfMessage())
        self._transport.write(b"".join(self._http.send(part) or b"" for part in parts))

    def data_received(self, data: bytes) -> None:
        self._came += len(data)  # chunk headers too: nobody sends a megabyte of them
        if self._came > MOST_ANSWER_BYTES + _MOST_HEADER_BYTES:
            self._fail("the camera cannot be understood: it sends more than any answer has")
            return
        self._read(data)

    def eof_received(self) -> None:
        self._read(b"")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._fail("the camera closed the connection")

    def leave(self) -> None:
        """Close, without waiting for anything."""
        if self._transport:
            self._transport.abort()
        if self.answered.done():
            if not self.answered.cancelled():
                self.answered.exception()
        else:
            self.answered.cancel()

    def _read(self, data: bytes) -> None:
        try:
            self._http.receive_data(data)
            while not self.answered.done():
                event = self._http.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    return
                if isinstance(event, h11.Response):
                    self._response = event
                elif isinstance(event, h11.Data):
                    self._body += event.data
                elif isinstance(event, h11.EndOfMessage) and self._response is not None:
                    self._answer(self._response)
                elif isinstance(event, h11.ConnectionClosed):
                    self._fail("the camera closed the connection")
        except h11.RemoteProtocolError:
            self._fail("the camera cannot be understood: it does not speak HTTP, or sends endless headers")

    def _answer(self, response: h11.Response) -> None:
        asked = [value.decode("latin-1") for name, value in response.headers if name == b"www-authenticate"]
        self.answered.set_result((response.status_code, asked, bytes(self._body)))

    def _fail(self, reason: str) -> None:
        if not self.answered.done():
            self.answered.set_exception(CameraOffline(reason))
        self.leave()
