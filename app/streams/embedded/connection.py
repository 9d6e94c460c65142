"""A connection to a camera: to the one address that was checked, with trust in its certificate, within a bit rate."""

import asyncio
import ssl
from functools import lru_cache
from pathlib import Path

from app import clock
from app.errors import CameraOffline
from app.registry.addresses import Source

MAX_BITS_PER_SECOND = 80_000_000
_WINDOW_SECONDS = 5


async def connect(protocol: asyncio.Protocol, source: Source, address: str, ca_file: Path | None = None) -> None:
    """Connect to `address`, whatever the source's name means by now. Raises CameraOffline.

    Over rtsps and https the certificate must be for the source's host, signed by an authority of the system or of
    `ca_file`.
    """
    tls = _tls(ca_file) if source.scheme in {"rtsps", "https"} else None
    try:
        await asyncio.get_running_loop().create_connection(
            lambda: protocol, address, source.port, ssl=tls, server_hostname=source.host if tls else None
        )
    except ssl.SSLCertVerificationError as error:
        raise CameraOffline(
            "the camera's certificate is not trusted here; name its authority's file in GWANJE_CAMERA_CA_FILE"
        ) from error
    except ssl.SSLError as error:
        raise CameraOffline("the camera does not speak TLS 1.2 or newer on this port") from error
    except OSError as error:
        raise CameraOffline("the camera refuses the connection, or its line is down") from error


class Rate:
    """How much a camera sends, in windows of five seconds."""

    def __init__(self) -> None:
        self._began, self._bytes, self._pieces = 0.0, 0, 0

    def excess(self, size: int, pieces: int, most_pieces_per_second: int) -> str:
        """What is too much, once these bytes in so many pieces have come; empty while all is well."""
        now = clock.monotonic()
        if now - self._began >= _WINDOW_SECONDS:
            self._began, self._bytes, self._pieces = now, 0, 0
        self._bytes += size
        self._pieces += pieces
        if self._bytes * 8 > MAX_BITS_PER_SECOND * _WINDOW_SECONDS:
            return f"the camera sends more than {MAX_BITS_PER_SECOND // 1_000_000} Mbit/s"
        if self._pieces > most_pieces_per_second * _WINDOW_SECONDS:
            return "the camera sends more pieces than any video has"
        return ""


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return _context(ca_file, ca_file.stat().st_mtime_ns if ca_file else 0)
    except (OSError, ssl.SSLError) as error:
        raise CameraOffline("the file GWANJE_CAMERA_CA_FILE cannot be read as PEM certificates") from error


@lru_cache(maxsize=2)  # reading the system's authorities takes some 20 ms, in which nobody is served
def _context(ca_file: Path | None, _changed_at: int) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(ca_file)
    return context
