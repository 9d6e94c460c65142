"""One POST to a receiver that may be slow, broken or hostile: everything about it is bounded.

No redirect is followed, no proxy asked, no cookie kept, nothing unpacked. The name is resolved for this connection, the
address judged, and the connection made to that very address; the certificate must be the name's.
"""

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache

import h11

from app import clock
from app.errors import CameraOffline, UnsafeSource
from app.feed.webhooks import addresses
from app.feed.webhooks.addresses import PORTS, Allowed
from app.registry.addresses import Source

CONNECT_SECONDS = 3.0
WHOLE_SECONDS = 10.0
BODY_SECONDS = 1.0  # for what comes after the status, which has decided already
MOST_HEAD_BYTES = 16 * 1024
MOST_BODY_BYTES = 64 * 1024
MOST_INTERIM_ANSWERS = 4
MOST_ASKED_SECONDS = 3600
GONE = 410


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a POST. Without a status `error` says why none came, in one word."""

    status: int | None = None
    error: str = ""
    retry_after_seconds: int = 0
    milliseconds: int = 0
    said: bytes = b""
    """The beginning of the answer's body."""

    @property
    def taken(self) -> bool:
        """Whether the receiver has the message."""
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004 - RFC 9110 15.3

    @property
    def problem(self) -> str:
        """Why it was not taken, in one word; empty when it was."""
        if self.taken:
            return ""
        return self.error or f"status_{self.status}"


class _Failed(Exception):  # noqa: N818 - an outcome, and never seen outside
    """No answer; the argument is the word for it."""


async def post(target: Source, allowed: Allowed, headers: Mapping[str, str], body: bytes) -> Answer:
    """Post a body and learn the status; never raises for what a receiver does. Takes at most 10 s."""
    began = clock.monotonic()
    answer = Answer()
    try:
        async with asyncio.timeout(WHOLE_SECONDS):
            answer = await _exchange(target, allowed, headers, body)
    except TimeoutError:
        answer = Answer(error="timeout")
    except _Failed as failed:
        answer = Answer(error=str(failed))
    except UnsafeSource:
        answer = Answer(error="address_refused")
    except CameraOffline:
        answer = Answer(error="no_address")
    taken = int((clock.monotonic() - began) * 1000)
    return Answer(answer.status, answer.error, answer.retry_after_seconds, taken, answer.said)


async def _exchange(target: Source, allowed: Allowed, headers: Mapping[str, str], body: bytes) -> Answer:
    address = await addresses.resolve(target, allowed)
    reader, writer = await _connect(target, address)
    try:
        http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_HEAD_BYTES)
        writer.write(_request(http, target, headers, body))
        response = await _response(http, reader)
        said = await _beginning(http, reader)
        return Answer(response.status_code, "", _retry_after(response), 0, said)
    except h11.RemoteProtocolError:
        raise _Failed("not_http") from None
    except OSError:
        raise _Failed("closed") from None
    finally:
        writer.transport.abort()


async def _connect(target: Source, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    tls = trusted() if target.scheme == "https" else None
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            return await asyncio.open_connection(
                address, target.port, ssl=tls, server_hostname=target.host if tls else None, limit=MOST_BODY_BYTES
            )
    except TimeoutError:
        raise _Failed("connect_timeout") from None
    except ssl.SSLCertVerificationError:
        raise _Failed("certificate_refused") from None
    except ssl.SSLError:
        raise _Failed("no_tls") from None
    except OSError:
        raise _Failed("unreachable") from None


@lru_cache(maxsize=1)  # reading the system's authorities takes some 20 ms, in which nobody is served
def trusted() -> ssl.SSLContext:
    """What certificates are trusted: those of the system's authorities (or of SSL_CERT_FILE)."""
    return ssl.create_default_context()


def _request(http: h11.Connection, target: Source, headers: Mapping[str, str], body: bytes) -> bytes:
    host = f"[{target.host}]" if ":" in target.host else target.host
    path = target.path if target.path.startswith("/") else "/" + target.path
    fields = {
        "Host": host if target.port == PORTS[target.scheme] else f"{host}:{target.port}",
        "User-Agent": "Gwanje",
        "Content-Length": str(len(body)),
        "Accept-Encoding": "identity",
        "Connection": "close",
        **headers,
    }
    request = h11.Request(method="POST", target=path, headers=list(fields.items()))
    return (
        (http.send(request) or b"") + (http.send(h11.Data(data=body)) or b"") + (http.send(h11.EndOfMessage()) or b"")
    )


async def _response(http: h11.Connection, reader: asyncio.StreamReader) -> h11.Response:
    interim = 0
    while True:
        event = http.next_event()
        if isinstance(event, h11.Response):
            return event
        if event is h11.NEED_DATA:
            data = await reader.read(MOST_HEAD_BYTES)
            if not data:
                raise _Failed("closed")
            http.receive_data(data)
            continue
        interim += 1
        if not isinstance(event, h11.InformationalResponse) or interim > MOST_INTERIM_ANSWERS:
            raise _Failed("not_http")


async def _beginning(http: h11.Connection, reader: asyncio.StreamReader) -> bytes:
    """What the body begins with; the rest is not waited for, since the status has said it all."""
    said = bytearray()
    with suppress(TimeoutError, OSError, h11.RemoteProtocolError):
        async with asyncio.timeout(BODY_SECONDS):
            while len(said) < MOST_BODY_BYTES:
                event = http.next_event()
                if isinstance(event, h11.Data):
                    said += event.data
                elif event is h11.NEED_DATA:
                    http.receive_data(await reader.read(MOST_HEAD_BYTES))
                else:
                    break
    return bytes(said[:MOST_BODY_BYTES])


def _retry_after(response: h11.Response) -> int:
    """Seconds that the receiver asks for, at most an hour; 0 when it asks for none (RFC 9110 10.2.3)."""
    text = next((value.decode("latin-1").strip() for name, value in response.headers if name == b"retry-after"), "")
    if text.isascii() and text.isdigit():
        return min(int(text[:9]), MOST_ASKED_SECONDS)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return 0
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0, min(int((moment - clock.now()).total_seconds()), MOST_ASKED_SECONDS))
