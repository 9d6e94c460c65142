"""The control API of a MediaMTX (v3), believed only within bounds.

Every call ends within 2 s, reads at most 8 MiB, follows no redirect, takes no proxy from the environment and no
compressed body; what has the wrong shape is no answer. After two failures in a row, or one that took the whole time,
calls fail at once, until a probe gets through (`info`).
"""

import asyncio
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx
import orjson

from app.errors import GatewayUnavailable
from app.streams.mediamtx.config import Config

LISTS = {"webrtcsessions": "whep", "hlssessions": "hls", "rtspsessions": "rtsps", "rtspssessions": "rtsps"}
CALL_SECONDS = 2.0
OLDEST = (1, 19, 3)  # before it a player over RTSP cannot be told from another of the same connection (#5908)
_MOST_BYTES = 8 << 20
_PER_PAGE, _MOST_PAGES = 1000, 20
_MOST_SENT = 1 << 62
_FAILURES = 2
_OK, _BAD, _UNAUTHORIZED, _MISSING = 200, 400, 401, 404


@dataclass(frozen=True, slots=True)
class Info:
    """Which MediaMTX it is, and since when it runs (by its own clock): another start is another memory."""

    version: str
    started: str

    @property
    def too_old(self) -> bool:
        numbers = re.match(r"v?(\d{1,4})\.(\d{1,4})\.(\d{1,4})", self.version)
        return numbers is not None and tuple(map(int, numbers.groups())) < OLDEST


@dataclass(frozen=True, slots=True)
class Reader:
    """A session as MediaMTX lists it. Its `query` holds the token and is not even read here."""

    kind: str
    """Which list it stands in, which is also how it is kicked."""
    id: str
    conns: tuple[str, ...]
    """RTSP: the connections that it came over; a DESCRIBE asks in their name, before the session exists."""
    path: str
    created: str
    sent: int
    """Bytes."""

    @property
    def protocol(self) -> str:
        return LISTS[self.kind]

    @property
    def names(self) -> tuple[str, ...]:
        """Every id in whose name it may have asked."""
        return (self.id, *self.conns)


@dataclass(frozen=True, slots=True)
class PathState:
    """Whether a path has its camera's picture, and since when (by the gateway's clock)."""

    ready: bool
    since: str


class Api:
    """One process's way to the control API; `close` when done."""

    def __init__(self, config: Config) -> None:
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it says every request, several a second
        auth = httpx.BasicAuth(config.user, config.password) if config.user or config.password else None
        self._client = httpx.AsyncClient(
            base_url=config.api,
            auth=auth,
            timeout=CALL_SECONDS,
            trust_env=False,
            follow_redirects=False,
            headers={"Accept-Encoding": "identity", "User-Agent": "Gwanje"},
            limits=httpx.Limits(max_connections=16, max_keepalive_connections=4),
        )
        self._failures = 0
        self.word = "not asked yet"

    @property
    def broken(self) -> bool:
        """Whether calls fail at once."""
        return self._failures >= _FAILURES

    async def close(self) -> None:
        await self._client.aclose()

    async def info(self) -> Info:
        """Who it is: also the probe, which asks even where other calls fail at once."""
        found = await self._json("GET", "/v3/info", probe=True)
        try:
            return Info(_text(found, "version", 40), _text(found, "started", 64))
        except TypeError as error:
            raise self._failed("its answer cannot be understood") from error

    async def readers(self) -> list[Reader]:
        """Everybody who reads or publishes by the protocols that we let in. A protocol that is off has none."""
        found: dict[str, Reader] = {}
        for listed in await asyncio.gather(*(self._readers(kind) for kind in LISTS)):
            found |= {reader.id: reader for reader in listed}
        return list(found.values())

    async def kick(self, reader: Reader) -> None:
        """End a session; one that is gone already is just as well."""
        await self._json("POST", f"/v3/{reader.kind}/kick/{reader.id}", fine=(_OK, _MISSING))

    async def path(self, name: str) -> PathState:
        """A path that nobody has asked for yet is not ready. Waits while a question of MediaMTX is being answered."""
        found = await self._json("GET", f"/v3/paths/get/{quote(name, safe='')}", fine=(_OK, _MISSING), counts=False)
        return PathState(found.get("ready") is True, str(found.get("readyTime") or "")[:64])

    async def source(self, name: str) -> str | None:
        """From where a configured path pulls; None where there is no such path."""
        found = await self._json("GET", f"/v3/config/paths/get/{quote(name, safe='')}", fine=(_OK, _MISSING))
        return str(found["source"]) if "source" in found else None

    async def add(self, name: str, body: Mapping[str, Any]) -> bool:
        """Add a path to its memory; False when it has one of that name."""
        url = f"/v3/config/paths/add/{quote(name, safe='')}"
        said = await self._json("POST", url, orjson.dumps(body), fine=(_OK, _BAD), counts=False)
        if "error" in said and "already exists" not in str(said["error"]):
            raise self._failed("it does not take a path as we describe it", weight=0)
        return "error" not in said

    async def delete(self, name: str) -> None:
        """Take a path away, and with it everybody who reads it."""
        await self._json(
            "DELETE", f"/v3/config/paths/delete/{quote(name, safe='')}", fine=(_OK, _MISSING), counts=False
        )

    async def _readers(self, kind: str) -> list[Reader]:
        found: list[Reader] = []
        for page in range(_MOST_PAGES):
            url = f"/v3/{kind}/list?itemsPerPage={_PER_PAGE}&page={page}"
            listed = await self._json("GET", url, fine=(_OK, _MISSING))
            items, pages = listed.get("items", []), listed.get("pageCount", 0)
            if not isinstance(items, list) or not isinstance(pages, int):
                raise self._failed("its answer cannot be understood")
            found += [self._reader(kind, item) for item in items[:_PER_PAGE]]
            if page + 1 >= pages:
                return found
        raise self._failed("it lists more sessions than any gateway has")

    def _reader(self, kind: str, item: Any) -> Reader:
        try:
            return _read(kind, item)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self._failed("its answer cannot be understood") from error

    async def _json(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        *,
        fine: tuple[int, ...] = (_OK,),
        probe: bool = False,
        counts: bool = True,
    ) -> dict[str, Any]:
        """One call; what it answered, an empty object for a 404 that is fine. Raises GatewayUnavailable.

        What waits for MediaMTX's path manager, and so perhaps for an answer of ours, does not count as a failure.
        """
        if self.broken and not probe:
            raise GatewayUnavailable(f"the media gateway does not answer: {self.word}", retry_after_seconds=2)
        try:
            async with asyncio.timeout(CALL_SECONDS):
                status, said = await self._bounded(method, url, body)
        except (TimeoutError, httpx.TimeoutException) as error:  # nobody else shall wait as long
            raise self._failed("no answer in time", weight=_FAILURES * counts) from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise self._failed("no connection", weight=int(counts)) from error
        if status == _MISSING and status in fine:
            self._succeeded()
            return {}
        if status not in fine:
            known = {_UNAUTHORIZED: "it does not accept our credentials"}
            raise self._failed(known.get(status, f"it answered {status}"))
        try:
            answer = orjson.loads(said)
        except orjson.JSONDecodeError as error:
            raise self._failed("its answer cannot be understood") from error
        if not isinstance(answer, dict):
            raise self._failed("its answer cannot be understood")
        self._succeeded()
        return answer

    async def _bounded(self, method: str, url: str, body: bytes | None) -> tuple[int, bytes]:
        said = bytearray()
        headers = {"Content-Type": "application/json"} if body is not None else {}
        async with self._client.stream(method, url, content=body, headers=headers) as response:
            if response.headers.get("content-encoding", "identity") != "identity":
                raise httpx.DecodingError("compressed though we asked for plain")
            async for chunk in response.aiter_raw():
                said += chunk
                if len(said) > _MOST_BYTES:
                    raise httpx.DecodingError("more than any list of sessions has")
            return response.status_code, bytes(said)

    def _succeeded(self) -> None:
        self._failures, self.word = 0, "ready"

    def _failed(self, word: str, *, weight: int = 1) -> GatewayUnavailable:
        self._failures += weight
        self.word = word
        return GatewayUnavailable(f"the media gateway does not answer: {word}", retry_after_seconds=2)


def _read(kind: str, item: Any) -> Reader:
    conns, sent = item.get("conns") or [], item["outboundBytes"]
    if not isinstance(sent, int) or not 0 <= sent < _MOST_SENT:
        raise TypeError(sent)
    return Reader(
        kind=kind,
        id=str(UUID(item["id"])),
        conns=tuple(str(UUID(conn)) for conn in conns[:16]),
        path=_text(item, "path", 256),
        created=_text(item, "created", 64),
        sent=sent,
    )


def _text(found: Mapping[str, Any], name: str, most: int) -> str:
    value = found.get(name)
    if not isinstance(value, str) or len(value) > most:
        raise TypeError(name)
    return value
