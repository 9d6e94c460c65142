"""The composition root: what a serving process consists of, its doors, and how a no becomes an answer."""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException

from app import __version__, answers, database, ids, ledger, logs, postgres, upkeep
from app.announcements import Announcements
from app.audit import entries
from app.audit.checkpoints import Notary
from app.audit.witness import of_house, read_logs
from app.audit.witnesses import Witnesses, read_witnesses
from app.errors import Refusal
from app.feed.alarms import keep as keep_alarms
from app.feed.live import Feed
from app.feed.reporting import Reporting
from app.feed.telling import Footage
from app.feed.webhooks.rounds import Webhooks
from app.keys import Keys
from app.ledger import Sequencer
from app.registry.addresses import camera_networks
from app.registry.imports.running import Importing
from app.routers import (
    agencies,
    alarms,
    approvals,
    assets,
    audit,
    cameras,
    collections,
    devices,
    erasures,
    event_sources,
    events,
    exports,
    feed,
    gateways,
    grants,
    health,
    imports,
    media,
    numbers,
    organisation,
    places,
    provisions,
    ptz,
    register,
    registers,
    reports,
    reviews,
    revocations,
    sessions,
    streams,
    subject_requests,
    terminals,
    tiles,
    walls,
    webhooks,
    witness,
)
from app.routers.dependencies import House
from app.settings import Settings
from app.streams import late, manifests
from app.streams.embedded.edge import Edge
from app.streams.mediamtx import Config, MediaMtx
from app.streams.onvif.listening import Listening
from app.streams.placement import Gateways
from app.streams.ptz.heads import Heads
from app.streams.reach.watch import Reach
from app.streams.writer import Writer

log = logging.getLogger("gwanje")

CONNECTIONS = 170  # shared by all workers; the embedded server takes 200
GATHER_SECONDS = 0.1  # audit entries become leaves together: nobody waits for theirs, checkpoints come by the second
DOORS = (
    feed, events, sessions, terminals, cameras, agencies, assets, approvals, grants, revocations, walls, gateways,
    media, event_sources, alarms, webhooks, audit, provisions, registers, reviews, subject_requests, reports, tiles,
    collections, numbers, places, organisation, erasures, witness, imports, exports, register, devices, ptz,
    streams, health,
)  # fmt: skip
EDGE_DOORS = (streams, health)


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
    app.add_exception_handler(Refusal, answers.refuse)
    app.add_exception_handler(RequestValidationError, answers.malformed)
    app.add_exception_handler(HTTPException, answers.not_ours)
    app.add_exception_handler(Exception, answers.unexpected)
    for error in database.LOST:
        app.add_exception_handler(error, answers.database_lost)
    app.add_middleware(answers.Observed)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


@asynccontextmanager
async def open_house(settings: Settings) -> AsyncGenerator[House]:
    """Everything a process holds while it serves: opened in order, closed in reverse, views closed in the log."""
    async with AsyncExitStack() as stack:
        url = settings.database_url
        if not url:
            uses = [await asyncio.to_thread(postgres.start, settings)]
            stack.push_async_callback(asyncio.to_thread, upkeep.release, uses)
            url = uses[0].server.app_url
        pool = max(2, min(10, CONNECTIONS // settings.workers - 7))
        base = await stack.enter_async_context(database.connect(url, pool_size=pool))
        keys = Keys(settings.secret_key)
        node = f"{settings.node}/{secrets.token_hex(4)}"
        news = Announcements(url)
        sequencers = {
            ledger.EVENTS.name: Sequencer(base, ledger.EVENTS),
            ledger.AUDIT.name: Sequencer(base, ledger.AUDIT, entries.grow_tree, gather_seconds=GATHER_SECONDS),
        }
        for each in (ledger.EVENTS, ledger.AUDIT):
            news.wake(each.waits, sequencers[each.name].wanted)
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
        reporting = Reporting(base, partial(_follow, live, sequencers[ledger.EVENTS.name]))
        live.is_written_to = lambda: reporting.is_writing
        notary = Notary(base, keys, settings.origin, news)
        if settings.role == "service":
            await live.start()
            sequencers[ledger.EVENTS.name].numbered = live.look
        witness_of = (of_house(keys, settings.witness_name), read_logs(settings.witness_logs))
        await upkeep.note_key(base, keys, node)
        heads = Heads(
            base, keys, writer, news, camera_networks(settings), settings.camera_ca_file
        )  # fmt: skip
        house = House(
            settings, keys, base, news, sequencers, writer, edge, placed, live, reporting, notary, witness_of, node,
            heads,
        )  # fmt: skip
        works: dict[str, Callable[[], Awaitable[None]]] = {
            "news": news.run,
            "events": sequencers[ledger.EVENTS.name].run,
            "audit": sequencers[ledger.AUDIT.name].run,
            "writer": writer.run,
            "edge": edge.watch,
            "gateways": placed.run,
            "spool": partial(late.keep_imported, writer, edge.spool, keys, news, settings.spool_bytes),
            "manifests": partial(manifests.keep_sealed, writer),
            "partitions": partial(upkeep.keep_partitions, base),
            "patience": partial(upkeep.lose_patience, base, news),
        }
        works |= {f"gateway {driver.name}": driver.watch for driver in drivers}
        if settings.role == "service":
            works |= _works_of_service(house)
        if not settings.database_url:
            works["postgres"] = partial(upkeep.keep_postgres, settings, uses, news)
        running = [asyncio.create_task(upkeep.keep_going(name, work), name=name) for name, work in works.items()]
        try:
            yield house
        finally:
            await drain(house)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


def _works_of_service(house: House) -> dict[str, Callable[[], Awaitable[None]]]:
    """What an edge of its own does not do."""
    settings, keys, base, news, node = house.settings, house.keys, house.database, house.news, house.node
    at_cameras = (base, keys, house.writer, node, camera_networks(settings), settings.camera_ca_file)
    works: dict[str, Callable[[], Awaitable[None]]] = {
        "feed": house.feed.run,
        "notary": house.notary.run,
        "alarms": partial(keep_alarms, base, news, house.poke),
        "reports": partial(upkeep.keep_reports, base, settings, house.poke),
        "webhooks": Webhooks(base, keys, settings, news, node).run,
        "footage": Footage(base, news, house.sequencers[ledger.EVENTS.name].poke).run,
        "imports": Importing(base, settings.home, settings.node, node, news, house.poke).run,
        "heads": house.heads.run,
        "listening": Listening(*at_cameras).run,
    }
    if known := read_witnesses(settings.witnesses):
        works["witnesses"] = Witnesses(base, house.notary, known).run
    if settings.reach_seconds:
        works["reach"] = Reach(*at_cameras, news, period=settings.reach_seconds).run
    return works


def _mediamtx(
    settings: Settings, keys: Keys, base: database.Database, writer: Writer, news: Announcements
) -> list[MediaMtx]:
    configs = [Config.parse(each) for each in settings.gateways if each.startswith("mediamtx+")]
    return [MediaMtx(config, settings, keys, base, writer, news) for config in configs]


def _follow(live: Feed, sequencer: Sequencer, numbered: ledger.Rows) -> None:
    """Events were written: they are handed on if they were numbered, all of them, else they are numbered next."""
    live.take(numbered)
    if not numbered:
        sequencer.poke()


async def drain(house: House) -> None:
    """Before the doors close: tell the feeds to come back, cut the streams, and see every view closed in the log."""
    for member in list(house.feed.members):
        member.end("server_stopped")
    await house.edge.stop()
    with suppress(*database.LOST):
        await house.sequencers[ledger.AUDIT.name].catch_up()
        await house.sequencers[ledger.EVENTS.name].catch_up()


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
                            answers.PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}
                        }
                if "401" in operation["responses"]:
                    operation["security"] = [{"bearer": []}]
        app.openapi_schema = schema
    return app.openapi_schema
