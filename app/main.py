"""The composition root: what a serving process consists of, its doors, and how a no becomes an answer."""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any

import orjson
from fastapi import FastAPI, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import Response
from sqlalchemy import text
from starlette.exceptions import HTTPException
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import __version__, clock, database, ids, ledger, logs, metrics, postgres
from app.announcements import Announcements
from app.audit import entries
from app.audit.checkpoints import Notary
from app.errors import DatabaseUnavailable, Refusal
from app.feed.alarms import keep as keep_alarms
from app.feed.live import Feed
from app.feed.webhooks.rounds import Webhooks
from app.keys import Keys
from app.ledger import Sequencer
from app.routers import (
    agencies,
    alarms,
    approvals,
    assets,
    audit,
    cameras,
    event_sources,
    events,
    feed,
    gateways,
    grants,
    health,
    media,
    revocations,
    sessions,
    streams,
    terminals,
    walls,
    webhooks,
)
from app.routers.dependencies import House, bounded
from app.settings import Settings
from app.streams import manifests
from app.streams.embedded.edge import Edge
from app.streams.mediamtx import Config, MediaMtx
from app.streams.placement import Gateways
from app.streams.writer import Writer

log = logging.getLogger("gwanje")

PARTITION_SECONDS = 6 * 3600
AGAIN_SECONDS = 1.0
LOOKS = 5
PATIENCE_SECONDS = 1.8  # without a word from the database, whoever waits for it is told no
SILENCE_SECONDS = 3.0  # without a word from the embedded PostgreSQL, see whether it still lives
CONNECTIONS = 170  # shared by all workers; the embedded server takes 200
PROBLEM = "application/problem+json"
NO_REFERRER = (b"referrer-policy", b"no-referrer")  # addresses of footage are secrets, whatever page they stand in
DOORS = (
    feed, events, sessions, terminals, cameras, agencies, assets, approvals, grants, revocations, walls, gateways,
    media, event_sources, alarms, webhooks, audit, streams, health,
)  # fmt: skip
EDGE_DOORS = (streams, health)
MOST_FIELDS, MOST_SAID = 20, 200  # an answer is not a copy of the question


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service; without arguments it takes its settings from the environment (for uvicorn's factory mode)."""
    settings = settings or Settings()
    logs.configure(settings.log_level)
    ids.speak_for(settings.node)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[dict[str, Any]]:
        async with open_house(settings) as house:
            yield {"house": house}

    app = FastAPI(
        title="Gwanje 관제",
        version=__version__,
        summary="The open control-center backend: cameras, live views, events, and an audit log of who watched.",
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url="/docs",
        redoc_url=None,
    )
    for door in EDGE_DOORS if settings.role == "edge" else DOORS:
        app.include_router(door.router)
    app.add_exception_handler(Refusal, _refuse)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _not_ours)
    app.add_exception_handler(Exception, _unexpected)
    for error in database.LOST:
        app.add_exception_handler(error, _database_lost)
    app.add_middleware(Observed)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


@asynccontextmanager
async def open_house(settings: Settings) -> AsyncGenerator[House]:
    """Everything a process holds while it serves: opened in order, closed in reverse, views closed in the log."""
    async with AsyncExitStack() as stack:
        url = settings.database_url
        if not url:
            uses = [await asyncio.to_thread(postgres.start, settings)]
            stack.push_async_callback(asyncio.to_thread, _release, uses)
            url = uses[0].server.app_url
        pool = max(2, min(10, CONNECTIONS // settings.workers - 5))
        base = await stack.enter_async_context(database.connect(url, pool_size=pool))
        keys = Keys(settings.secret_key)
        node = f"{settings.node}/{secrets.token_hex(4)}"
        news = Announcements(url)
        sequencers = {
            ledger.EVENTS.name: Sequencer(base, ledger.EVENTS),
            ledger.AUDIT.name: Sequencer(base, ledger.AUDIT, entries.grow_tree),
        }
        writer = Writer(base, sequencers[ledger.AUDIT.name].poke)
        edge = Edge(settings, keys, base, writer, news, node)
        placed = Gateways(base, keys, news)
        if settings.role == "edge" or "embedded" in settings.gateways:
            placed.drive(
                edge, public_urls=settings.public_urls, viewers=settings.most_viewers, cameras=settings.most_pulls
            )
        drivers = _mediamtx(settings, keys, base, writer, news) if settings.role == "service" else []
        for driver in drivers:
            placed.drive(
                driver, public_urls=driver.config.public_urls, viewers=driver.config.viewers,
                cameras=driver.config.cameras,
            )  # fmt: skip
        edge.elsewhere = placed.elsewhere
        await placed.refresh()
        live = Feed(base, news, keys)
        notary = Notary(base, keys, settings.origin, news)
        if settings.role == "service":
            await live.start()
        house = House(settings, keys, base, news, sequencers, writer, edge, placed, live, notary, node)
        works: dict[str, Callable[[], Awaitable[None]]] = {
            "news": news.run,
            "events": sequencers[ledger.EVENTS.name].run,
            "audit": sequencers[ledger.AUDIT.name].run,
            "writer": writer.run,
            "edge": edge.watch,
            "gateways": placed.run,
            "manifests": partial(manifests.keep_sealed, writer),
            "partitions": partial(_keep_partitions, base),
            "patience": partial(_lose_patience, base, news),
        }
        works |= {f"gateway {driver.name}": driver.watch for driver in drivers}
        if settings.role == "service":
            webhooks_carried = Webhooks(base, keys, settings, news, node)
            works |= {
                "feed": live.run,
                "notary": notary.run,
                "alarms": partial(keep_alarms, base, house.poke),
                "webhooks": webhooks_carried.run,
            }
        if not settings.database_url:
            works["postgres"] = partial(_keep_postgres, settings, uses, news)
        running = [asyncio.create_task(_keep_going(name, work), name=name) for name, work in works.items()]
        try:
            yield house
        finally:
            await drain(house)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


def _mediamtx(
    settings: Settings, keys: Keys, base: database.Database, writer: Writer, news: Announcements
) -> list[MediaMtx]:
    configs = [Config.parse(each) for each in settings.gateways if each.startswith("mediamtx+")]
    return [MediaMtx(config, settings, keys, base, writer, news) for config in configs]


def _release(uses: list[postgres.Use]) -> None:
    for use in uses:
        use.release()


async def _keep_postgres(settings: Settings, uses: list[postgres.Use], news: Announcements) -> None:
    """An embedded server that died is started again, by whichever process notices first."""
    while True:
        await asyncio.sleep(1)
        if news.silent_seconds() < SILENCE_SECONDS:
            continue
        try:
            uses.append(await asyncio.to_thread(postgres.start, settings))
        except Refusal as refusal:
            log.warning("PostgreSQL cannot be started: %s", refusal.detail)
        else:
            await asyncio.to_thread(_release, [uses.pop(0)])
            await asyncio.sleep(SILENCE_SECONDS)


async def _lose_patience(base: database.Database, news: Announcements) -> None:
    """When the database falls silent, nobody waits for it any longer: a no within three seconds is better."""
    looks = 0  # one after the other at which it was silent: a loop that stood still hears its news before the fifth
    while True:
        await asyncio.sleep(0.1)
        looks = looks + 1 if news.silent_seconds() > PATIENCE_SECONDS else 0
        if looks == LOOKS:
            log.warning("the database does not answer: what waits for it is given up")
            base.sever()


async def drain(house: House) -> None:
    """Before the doors close: tell the feeds to come back, cut the streams, and see every view closed in the log."""
    for member in list(house.feed.members):
        member.end("server_stopped")
    await house.edge.stop()
    with suppress(*database.LOST):
        await house.sequencers[ledger.AUDIT.name].catch_up()
        await house.sequencers[ledger.EVENTS.name].catch_up()


async def _keep_going(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """What a process does for as long as it serves: begun again after an accident, which is told."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("the task %s ended by an error; it begins again", name)
        await asyncio.sleep(AGAIN_SECONDS)


async def _keep_partitions(base: database.Database) -> None:
    """Next months' partitions are made long before they are needed."""
    while True:
        try:
            async with base.begin() as session:
                await session.execute(text("SELECT make_partitions(3)"))
        except database.LOST as error:
            log.warning("partitions could not be made: %s", type(error).__name__)
        await asyncio.sleep(PARTITION_SECONDS)


# The one place where a no becomes an answer


def problem(refusal: Refusal) -> Response:
    """A refusal as RFC 9457 problem+json."""
    headers = {"Cache-Control": "no-store"}
    if refusal.retry_after_seconds is not None:
        headers["Retry-After"] = str(refusal.retry_after_seconds)
    if refusal.kind.status == 401:  # noqa: PLR2004 - RFC 9110 asks for the challenge with this status
        headers["WWW-Authenticate"] = 'Bearer realm="gwanje"'
    if "location" in refusal.extra:
        headers["Location"] = refusal.extra["location"]
    return Response(orjson.dumps(refusal.problem(), default=str), refusal.kind.status, headers, PROBLEM)


def _plain_problem(status: int, code: str, title: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    body = {"type": f"urn:gwanje:problem:{code}", "title": title, "status": status, "code": code, "detail": detail}
    return Response(orjson.dumps(body), status, headers, PROBLEM)


async def _refuse(_: Request | WebSocket, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return problem(error)


async def _malformed(_: Request, error: Exception) -> Response:
    """What FastAPI could not parse, in our shape: every field with what was expected, never with what was sent."""
    assert isinstance(error, RequestValidationError)
    fields = [
        {"field": _field(item["loc"]), "expected": item["msg"][:MOST_SAID]} for item in error.errors()[:MOST_FIELDS]
    ]
    if any(item["type"] == "json_invalid" for item in error.errors()):
        return _plain_problem(400, "not_json", "The body is no JSON", "the body is not valid JSON in UTF-8")
    detail = "; ".join(f"{item['field']}: {item['expected']}" for item in fields[:5])
    body = {
        "type": "urn:gwanje:problem:malformed",
        "title": "The request cannot be understood",
        "status": 422,
        "code": "malformed",
        "detail": detail,
        "field": fields[0]["field"] if fields else "",
        "fields": fields,
    }
    return Response(orjson.dumps(body), 422, None, PROBLEM)


def _field(location: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in location[1:] or location)[:MOST_SAID]


async def _not_ours(request: Request, error: Exception) -> Response:
    """Refusals of the framework: unknown paths, wrong methods, broken bodies."""
    assert isinstance(error, HTTPException)
    codes = {404: "no_such_path", 405: "method_not_allowed", 400: "bad_request", 413: "too_large"}
    code = codes.get(error.status_code, f"http_{error.status_code}")
    headers = dict(error.headers or {})
    if "Allow" in headers:  # the framework knows the first route of a path only
        headers["Allow"] = ", ".join(_methods(request)) or headers["Allow"]
    return _plain_problem(error.status_code, code, "This request cannot be served", str(error.detail), headers)


def _methods(request: Request) -> list[str]:
    """The methods that this path answers to (RFC 9110 §10.2.1)."""
    paths = request.app.openapi()["paths"]
    path = request.url.path
    return sorted(
        method.upper() for pattern, known in paths.items() if compile_path(pattern)[0].match(path) for method in known
    )


async def _database_lost(_: Request, error: Exception) -> Response:
    log.warning("the database does not answer: %s", type(error).__name__)
    return problem(
        DatabaseUnavailable("the database does not answer; try again in a moment", retry_after_seconds=2)
    )  # fmt: skip


async def _unexpected(request: Request, error: Exception) -> Response:
    if database.lost(error):
        return await _database_lost(request, error)
    log.error("an unexpected error", exc_info=error)
    return _plain_problem(500, "unexpected", "An error of ours", "something went wrong on our side; it was logged")


class Observed:
    """Counts and logs requests by their route, never by their path: paths of streams are secrets. Pure ASGI."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = clock.monotonic()
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message.setdefault("headers", [])
                if not any(name == b"referrer-policy" for name, _ in headers):
                    message["headers"] = [*headers, NO_REFERRER]
                route = getattr(scope.get("route"), "path", "none")
                metrics.REQUESTS.labels(scope["method"], route, status).inc()
                metrics.SECONDS.labels(route).observe(clock.monotonic() - began)
                log.debug(
                    "answered",
                    extra={"method": scope["method"], "route": route, "status": status},
                )
            await send(message)

        await self._app(scope, bounded(receive), watched)


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, summary=app.summary, routes=app.routes, openapi_version="3.1.0"
        )
        schema.setdefault("components", {}).setdefault("schemas", {})["Problem"] = {
            "type": "object",
            "required": ["type", "title", "status", "code", "detail"],
            "properties": {
                "type": {"type": "string"},
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "code": {"type": "string"},
                "detail": {"type": "string"},
                "field": {"type": "string"},
            },
        }
        schema["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        for path in schema["paths"].values():
            for operation in path.values():
                for status in ("422",):
                    documented = operation["responses"].get(status)
                    if documented and "HTTPValidationError" in str(documented):
                        operation["responses"][status]["content"] = {
                            PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}
                        }
                if "401" in operation["responses"]:
                    operation["security"] = [{"bearer": []}]
        app.openapi_schema = schema
    return app.openapi_schema
