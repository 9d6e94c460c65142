"""The edges that all doors share: the session with its transaction, the actor, paging, answers."""

import asyncio
import base64
import binascii
import hashlib
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import Depends, HTTPException, Query, Request, Response
from fastapi.routing import APIRoute
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.types import Message, Receive, Scope

from app import ledger
from app.access import sessions
from app.actor import Actor
from app.announcements import Announcements
from app.audit.checkpoints import Notary
from app.audit.verify import Key
from app.audit.witness import Witness
from app.database import FAILED, Database
from app.errors import Malformed
from app.feed.live import Feed
from app.feed.reporting import Reporting
from app.keys import Keys
from app.ledger import Sequencer
from app.registry.tiles import Tiles
from app.settings import Settings
from app.streams.embedded.edge import Edge
from app.streams.placement import Gateways
from app.streams.ptz.heads import Heads
from app.streams.writer import Writer, unavailable

log = logging.getLogger("gwanje")

MOST_PER_PAGE = 1000
NO_STORE = {"Cache-Control": "no-store"}
NO_NUL = r"^[^\x00]*$"  # PostgreSQL stores every letter but this
FOOTAGE_SECONDS = 2.5  # decision 4: a URL, or a no within three seconds, a busy machine included
GREETINGS = 6  # clients of the feed who are greeted at once: a herd leaves connections for others
ASKING = 3  # who are looked up at once, at doors whose work has transactions of its own
EXPORTS = 2  # of the audit log that are sent at once by a process
MOST_BODY_BYTES = 4 << 20
MOST_FILE_BYTES = 2 << 30
FIRST_YEAR, LAST_YEAR = 1900, 9000  # whatever the offset, such a time can be told in UTC
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": description,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status, description in {
        307: "another gateway carries it now",
        400: "not HTTP or JSON as it should be",
        401: "not signed in",
        403: "not permitted",
        404: "no such thing, or not for you",
        409: "contradicts what stands",
        412: "changed meanwhile",
        413: "too large",
        422: "a field is missing or wrong; `field` names it",
        429: "too often; see Retry-After",
        503: "not possible at the moment; see Retry-After",
        504: "the camera does not answer",
    }.items()
}


@dataclass(frozen=True)
class House:
    """What a process holds for as long as it serves."""

    settings: Settings
    keys: Keys
    database: Database
    news: Announcements
    sequencers: Mapping[str, Sequencer]
    writer: Writer
    edge: Edge
    gateways: Gateways
    feed: Feed
    reporting: Reporting
    notary: Notary
    witness_of: tuple[Witness, Sequence[Key]]  # as whom it cosigns, and whose logs
    node: str
    heads: Heads
    tiles: Tiles = field(default_factory=Tiles)
    greeting: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(GREETINGS))
    asking: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(ASKING))
    """Of the few bare connections, those who ask to come in leave some to the logs."""
    exporting: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(EXPORTS))

    def poke(self, ledgers: Sequence[str] | set[str]) -> None:
        """Something was appended and committed: number it now."""
        for name in ledgers:
            self.sequencers[name].poke()


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route documents of its refusals; every route can also answer 400, 422 and 503."""
    return {status: PROBLEMS[status] for status in sorted({400, 422, 503, *statuses})}


async def house_of(request: Request) -> House:
    """The process's house; async, since a plain function would cost every request a thread."""
    house: House = request.state.house
    return house


def client_address(request: Request) -> str:
    """The peer's address; forwarded headers count only where uvicorn was told which proxies to trust."""
    return request.client.host if request.client else ""


async def session_of(house: Annotated[House, Depends(house_of)]) -> AsyncGenerator[AsyncSession]:
    """One request is one transaction: it commits before the answer leaves, or nothing has happened."""
    async with house.database.begin() as session:
        yield session
    house.poke(ledger.appended_to(session))


Transaction = Annotated[AsyncSession, Depends(session_of, scope="function")]
InHouse = Annotated[House, Depends(house_of)]


def bearer(request: Request) -> str:
    """The bearer token of a request, or an empty text."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def actor_of(request: Request, session: Transaction) -> Actor:
    """Who is asking, in the request's own transaction."""
    return await sessions.authenticate(session, bearer(request), client_address(request))


Asker = Annotated[Actor, Depends(actor_of)]


async def recognised(request: Request, house: InHouse) -> Actor:
    """Who is asking, for doors whose work has transactions of its own: none is held open meanwhile."""
    async with house.asking, house.database.bare.acquire(timeout=1) as connection:
        return await sessions.authenticate(connection, bearer(request), client_address(request))


AskerAlone = Annotated[Actor, Depends(recognised)]


def require(capability: str) -> Callable[[Actor], Actor]:
    """A dependency that refuses who lacks a capability."""

    def check(actor: Asker) -> Actor:
        actor.must(capability)
        return actor

    return check


def most_bytes_of(scope: Scope) -> int:
    """How large a request may be: files that are to be imported are streamed, and bounded by their door."""
    return MOST_FILE_BYTES if scope["path"] == "/v1/imports" else MOST_BODY_BYTES


def bounded(receive: Receive, most: int = MOST_BODY_BYTES) -> Receive:
    """The same `receive`, which refuses (413) a body as soon as it has grown too large, whatever its length said."""
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > most:
            raise HTTPException(413, f"a request has at most {most} bytes")
        return message

    return counted


class ToFootage(APIRoute):
    """A route that answers with URLs of footage: in time, or with 503, whatever the database does or does not do."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def in_time(request: Request) -> Response:
            try:
                async with asyncio.timeout(FOOTAGE_SECONDS):
                    return await handler(request)
            except FAILED as error:
                log.warning("footage is refused, since nothing can be recorded: %s", type(error).__name__)
                raise unavailable() from None

        return in_time


# Paging

Limit = Annotated[int, Query(ge=1, le=MOST_PER_PAGE, description="how many items at most")]
Cursor = Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before")]


def write_cursor(*parts: object) -> str:
    """An opaque cursor of what the last item was ordered by."""
    return base64.urlsafe_b64encode(orjson.dumps([str(part) for part in parts])).decode()


def moment_of(text: str) -> datetime:
    """The aware moment that a text (of a cursor, a CloudEvent) means; ValueError for one that no calendar shares."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None or not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise ValueError(text)
    return moment


def read_cursor(cursor: str | None, *kinds: Callable[[str], Any]) -> tuple[Any, ...] | None:
    """The parts of a cursor; Malformed when it is not one of ours."""
    if cursor is None:
        return None
    try:
        parts = orjson.loads(base64.urlsafe_b64decode(cursor.encode("ascii")))
        return tuple(kind(str(part)) for kind, part in zip(kinds, parts, strict=True))
    except (binascii.Error, UnicodeEncodeError, orjson.JSONDecodeError, ValueError, TypeError):
        raise Malformed("cursor is the next_cursor of the page before, unchanged", field="cursor") from None


# Answers


def _plain(value: object) -> object:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(type(value))


def answer(
    content: Any, *, status: int = 200, headers: Mapping[str, str] | None = None, media_type: str = "application/json"
) -> Response:
    """JSON straight from plain values, without a second validation."""
    body = orjson.dumps(content, default=_plain, option=orjson.OPT_NON_STR_KEYS)
    return Response(body, status, dict(headers or {}), media_type)


def tagged(request: Request, content: Any, *, media_type: str = "application/json") -> Response:
    """As `answer`, with an ETag over the bytes; 304 when the client has them already."""
    response = answer(content, media_type=media_type, headers={"Cache-Control": "private, no-cache"})
    tag = '"' + hashlib.blake2b(response.body, digest_size=12).hexdigest() + '"'
    known = {one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")}
    if known & {tag, "*"}:
        return Response(status_code=304, headers={"ETag": tag, "Cache-Control": "private, no-cache"})
    response.headers["ETag"] = tag
    return response
