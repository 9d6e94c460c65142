"""A MediaMTX to test against: its control API over real HTTP, its questions, and readers without pictures.

It has the shape of 1.20.1 as its source shows it: paths in RAM, which an add reloads one by one; a question before
every read, one at a time; an id for each session, which for RTSP differs from the connection that asked at DESCRIBE;
lists in pages; kicks that are 404 once the session is gone. What it does not do is carry media: tests say how much was
sent. `hang`, `lie`, `down` and `restart` are the ways in which real ones fail.
"""

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Self
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import UUID, uuid4

import httpx

LISTS = {"whep": "webrtcsessions", "hls": "hlssessions", "rtsps": "rtspssessions"}
ASKED_AS = {"whep": "webrtc", "hls": "hls", "rtsps": "rtsp"}
KNOWN_FIELDS = {
    "source", "sourceOnDemand", "sourceOnDemandStartTimeout", "sourceOnDemandCloseAfter", "rtspTransport", "record",
    "maxReaders", "overridePublisher",
}  # fmt: skip
Lie = Literal["", "endless", "drip", "not_json", "wrong_types", "redirect", "gzip", "error", "negative"]


class Refused(Exception):  # noqa: N818 - a refusal is an answer
    """The player is turned away with this HTTP status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass
class Reader:
    """A player as the gateway has it; `ended` says why it is no more."""

    kind: str
    path: str
    query: str
    ip: str
    id: str = field(default_factory=lambda: str(uuid4()))
    conns: list[str] = field(default_factory=list)
    state: str = "read"
    sent: int = 0
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat())
    ended: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def as_json(self) -> dict[str, Any]:
        said = {
            "id": self.id, "created": self.created, "remoteAddr": f"{self.ip}:50123", "path": self.path,
            "query": self.query, "user": "", "userAgent": "tests", "inboundBytes": 0, "outboundBytes": self.sent,
        }  # fmt: skip
        if self.kind == "hlssessions":
            return {**said, "isCDN": False}
        if self.kind == "webrtcsessions":
            return {
                **said,
                "state": self.state,
                "peerConnectionEstablished": True,
                "localCandidate": "",
                "remoteCandidate": "",
            }
        return {**said, "state": self.state, "transport": "TCP", "profile": "AVP", "conns": self.conns}


@dataclass
class Path:
    ready: bool = False
    ready_time: str | None = None


class FakeMediaMtx:
    """`async with FakeMediaMtx() as gate`; `gate.callback` is its authHTTPAddress."""

    def __init__(self, callback: str = "", *, seconds_per_path: float = 0.0, version: str = "v1.20.1") -> None:
        self.callback, self.seconds_per_path, self.version = callback, seconds_per_path, version
        self.port = 0
        self.confs: dict[str, dict[str, Any]] = {}
        self.paths: dict[str, Path] = {}
        self.readers: dict[str, Reader] = {}
        self.requests: list[tuple[str, str]] = []
        self.questions: list[dict[str, Any]] = []
        self.no_picture: set[str] = set()
        self.started = datetime.now(UTC).isoformat()
        self.most_adding = self._adding = 0
        self._lie: Lie = ""
        self._awake = asyncio.Event()
        self._awake.set()
        self._path_manager = asyncio.Lock()  # one question at a time, and no path is added meanwhile
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._awake.set()
        await self.down()

    # What tests do to it

    async def up(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """The process is gone; what it carried is, too."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        self._forget("terminated")

    async def restart(self) -> None:
        """Same port, no memory."""
        await self.down()
        await self.up()

    def _forget(self, why: str) -> None:
        for reader in list(self.readers.values()):
            self.end(reader, why)
        self.confs.clear()
        self.paths.clear()
        self.started = datetime.now(UTC).isoformat()

    def reload_file(self) -> None:
        """Somebody touched mediamtx.yml: what came over the API is gone, with its readers; the process lives on."""
        for reader in list(self.readers.values()):
            self.end(reader, "path is closing")
        self.confs.clear()
        self.paths.clear()

    def hang(self) -> None:
        self._awake.clear()

    def lie(self, lie: Lie) -> None:
        self._lie = lie

    def end(self, reader: Reader, why: str) -> None:
        """The player left, or was made to."""
        self.readers.pop(reader.id, None)
        if not reader.ended.done():
            reader.ended.set_result(why)

    def lose_camera(self, name: str) -> None:
        """The source of a path is gone: everybody who reads it, too."""
        self.paths[name] = Path()
        for reader in [one for one in self.readers.values() if one.path == name]:
            self.end(reader, "path is not available")

    async def read(self, path: str, protocol: str, token: str = "", *, ip: str = "127.0.0.1", more: str = "") -> Reader:
        """A player comes: Refused, or a reader whose camera sends."""
        if protocol == "rtsps":
            conn = str(uuid4())
            await self._admit(path, protocol, conn, token, ip, more)  # DESCRIBE
            reader = self._made(path, protocol, token, ip, more)
            reader.conns = [conn]
        else:
            reader = self._made(path, protocol, token, ip, more)
        if protocol != "hls":
            self.readers[reader.id] = reader  # listed before its question is answered
        try:
            await self._admit(path, protocol, reader.id, token, ip, more)
        except Refused:
            self.end(reader, "refused")
            raise
        self.readers[reader.id] = reader
        return reader

    def ghost(self, path: str, protocol: str, **more: Any) -> Reader:
        """A session that nobody was asked about."""
        reader = Reader(LISTS[protocol], path, "token=forgotten", "127.0.0.1", **more)
        self.readers[reader.id] = reader
        return reader

    def _made(self, path: str, protocol: str, token: str, ip: str, more: str) -> Reader:
        return Reader(LISTS[protocol], path, f"token={token}{more}", ip)

    async def ask(self, **said: Any) -> int:
        """A question as MediaMTX puts it; the status of the answer, 500 for none in time."""
        body = {
            "ip": "127.0.0.1", "user": "", "password": "", "token": "", "action": "read", "path": "", "protocol": "webrtc",
            "id": None, "query": "", "userAgent": "tests",
        }  # fmt: skip
        self.questions.append(body | said)
        async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
            try:
                return (await client.post(self.callback, json=body | said)).status_code
            except httpx.HTTPError:
                return 500

    async def _admit(self, path: str, protocol: str, ident: str, token: str, ip: str, more: str) -> None:
        async with self._path_manager:
            if self._conf_of(path) is None:
                raise Refused(404)
            asked = token if protocol == "rtsps" else ""  # of HTTP players the token stands in the query alone
            status = await self.ask(
                ip=ip, token=asked, path=path, protocol=ASKED_AS[protocol], id=ident, query=f"token={token}{more}"
            )
        if not 200 <= status < 300:
            raise Refused(401)
        known = self.paths.setdefault(path, Path())
        if path in self.no_picture:
            raise Refused(404)
        if not known.ready:
            known.ready, known.ready_time = True, datetime.now(UTC).isoformat()

    def _conf_of(self, path: str) -> dict[str, Any] | None:
        if path in self.confs:
            return self.confs[path]
        if not valid(path):
            return None
        found = (conf for name, conf in self.confs.items() if name.startswith("~") and re.match(name[1:], path))
        return next(found, None)

    # Its control API

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                method, target, _ = head.split("\r\n")[0].split(" ")
                length = re.search(r"(?im)^content-length: (\d+)", head)
                body = await reader.readexactly(int(length[1])) if length else b""
                self.requests.append((method, target))
                await self._awake.wait()
                if self._lie:
                    await self._mislead(writer)
                    continue
                status, said = await self._answer(method, target, body)
                text = json.dumps(said).encode()
                writer.write(
                    f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n".encode()
                    + text
                )
                await writer.drain()
        self._writers.discard(writer)
        writer.close()

    async def _answer(self, method: str, target: str, body: bytes) -> tuple[int, Any]:
        url = urlsplit(target)
        path = unquote(url.path)
        lists = re.fullmatch(r"/v3/(webrtcsessions|hlssessions|rtspsessions|rtspssessions)/(list|kick/(.+))", path)
        if (method, path) == ("GET", "/v3/info"):
            return 200, {"version": self.version, "started": self.started}
        if method == "GET" and lists and lists[2] == "list":
            return self._page([one.as_json() for one in self.readers.values() if one.kind == lists[1]], url.query)
        if method == "POST" and lists and lists[3]:
            return self._kick(lists[1], lists[3])
        for verb, prefix, work in (
            ("GET", "/v3/paths/get/", self._get_path),
            ("GET", "/v3/config/paths/get/", self._get_conf),
            ("DELETE", "/v3/config/paths/delete/", self._delete),
        ):
            if method == verb and path.startswith(prefix):
                return await work(path.removeprefix(prefix))
        changes: dict[str, Callable[[str, dict[str, Any]], Awaitable[tuple[int, Any]]]] = {
            "POST /v3/config/paths/add/": self._add, "PATCH /v3/config/paths/patch/": self._patch,
        }  # fmt: skip
        for prefix, change in changes.items():
            if f"{method} {path}".startswith(prefix):
                return await change(f"{method} {path}".removeprefix(prefix), json.loads(body))
        return 404, "404 page not found"

    def _page(self, items: list[Any], query: str) -> tuple[int, Any]:
        said = parse_qs(query)
        per_page, page = int(said.get("itemsPerPage", ["100"])[0]), int(said.get("page", ["0"])[0])
        items.sort(key=lambda one: one["created"])
        count = -(-len(items) // per_page)
        return 200, {"itemCount": len(items), "pageCount": count, "items": items[page * per_page :][:per_page]}

    def _kick(self, kind: str, ident: str) -> tuple[int, Any]:
        reader = self.readers.get(str(UUID(ident)))
        if reader is None or reader.kind != kind:
            return 404, {"status": "error", "error": "session not found"}
        self.end(reader, "kicked")
        return 200, {"status": "ok"}

    async def _get_path(self, name: str) -> tuple[int, Any]:
        async with self._path_manager:
            known = self.paths.get(name)
        if known is None:
            return 404, {"status": "error", "error": "path not found"}
        readers = [{"type": "webRTCSession", "id": one.id} for one in self.readers.values() if one.path == name]
        return 200, {"name": name, "ready": known.ready, "readyTime": known.ready_time, "readers": readers}

    async def _get_conf(self, name: str) -> tuple[int, Any]:
        conf = self.confs.get(name)
        return (
            (200, {"name": name, **conf})
            if conf
            else (404, {"status": "error", "error": "path configuration not found"})
        )

    async def _add(self, name: str, conf: dict[str, Any]) -> tuple[int, Any]:
        if name in self.confs:
            return 400, {"status": "error", "error": "path already exists"}
        if set(conf) - KNOWN_FIELDS or not (name.startswith("~") or valid(name)):
            return 400, {"status": "error", "error": f"invalid path name '{name}', or unknown field"}
        if name.startswith("~") and not conf.get("sourceOnDemand"):
            return 400, {"status": "error", "error": "must have 'sourceOnDemand' set to true"}
        self._adding += 1
        self.most_adding = max(self.most_adding, self._adding)
        async with self._path_manager:
            await asyncio.sleep(self.seconds_per_path * len(self.confs))
            self._adding -= 1
            self.confs[name] = conf
            if not name.startswith("~"):
                self.paths[name] = Path()
        return 200, {"status": "ok"}

    async def _patch(self, name: str, conf: dict[str, Any]) -> tuple[int, Any]:
        if name not in self.confs:
            return 404, {"status": "error", "error": "path not found"}
        self.confs[name] |= conf
        self._close_path(name)
        return 200, {"status": "ok"}

    async def _delete(self, name: str) -> tuple[int, Any]:
        if self.confs.pop(name, None) is None:
            return 404, {"status": "error", "error": "path not found"}
        self._close_path(name)
        return 200, {"status": "ok"}

    def _close_path(self, name: str) -> None:
        for path in [one for one in self.paths if one == name or (name.startswith("~") and re.match(name[1:], one))]:
            for reader in [one for one in self.readers.values() if one.path == path]:
                self.end(reader, "path is closing")
            del self.paths[path]

    # Its lies

    async def _mislead(self, writer: asyncio.StreamWriter) -> None:
        def whole(text: bytes, status: str = "200 OK", more: str = "") -> bytes:
            return f"HTTP/1.1 {status}\r\n{more}Content-Length: {len(text)}\r\n\r\n".encode() + text

        answers = {
            "not_json": whole(b"<html>"), "error": whole(b"{}", "500 X"), "gzip": whole(b"x", more="Content-Encoding: gzip\r\n"),
            "wrong_types": whole(b'{"version": 1, "started": null, "pageCount": "7", "items": [{"id": 4}], "ready": 1}'),
            "redirect": whole(b"", "302 Found", f"Location: http://127.0.0.1:{self.port}/elsewhere\r\n"),
            "negative": whole(json.dumps({"version": "v1.20.1", "started": "x", "pageCount": 1, "items": [
                {"id": str(uuid4()), "path": "x", "created": "x", "outboundBytes": -1}]}).encode()),
        }  # fmt: skip
        if self._lie in answers:
            writer.write(answers[self._lie])
            await writer.drain()
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        piece, until = (b" " * 65536, 60.0) if self._lie == "endless" else (b" ", 60.0)
        began = time.monotonic()
        while self._lie and time.monotonic() - began < until:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0 if self._lie == "endless" else 0.2)


def valid(name: str) -> bool:
    """As MediaMTX judges the name of a path (internal/conf/path.go)."""
    fits = re.fullmatch(r"[0-9a-zA-Z_\-/.]+", name) and not name.startswith("/") and not name.endswith("/")
    return bool(fits) and not {".", ".."} & set(name.split("/"))
