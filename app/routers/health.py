"""For whoever runs the servers: alive, ready, and in numbers."""

import asyncio
import os

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text

from app import clock, ledger, metrics
from app.database import LOST
from app.routers.dependencies import InHouse, answer

router = APIRouter(tags=["operation"])

LAG_SECONDS = 10.0


@router.get("/healthz")
async def alive() -> Response:
    """The process answers."""
    return answer({"status": "ok"})


@router.get("/readyz", responses={503: {"description": "not ready: the parts say why"}})
async def ready(house: InHouse) -> Response:
    """Whether footage can be given now: database, sequencers and gateway, each with a word."""
    parts: dict[str, dict[str, object]] = {}
    try:
        async with house.database.begin() as session:
            await session.execute(text("SELECT 1"))
            for name, log in (("events", ledger.EVENTS), ("audit", ledger.AUDIT)):
                lag = await ledger.lag_seconds(session, log)
                parts[f"sequencer_{name}"] = {"ok": lag < LAG_SECONDS, "lag_seconds": round(lag, 3)}
        parts["database"] = {"ok": True}
    except LOST as error:
        parts["database"] = {"ok": False, "why": type(error).__name__}
    kept = house.edge.spool
    refused = await asyncio.to_thread(kept.refused)
    since = f"the database was away: {kept.records} records since {kept.since:%Y-%m-%dT%H:%M:%SZ}" if kept.since else ""
    aside = f"{refused} files were tampered with and are kept aside" if refused else ""
    parts["spool"] = {"ok": not refused, "word": "; ".join(filter(None, (since, aside))) or "empty"}
    usable = [known.name for known in house.gateways.all() if known.usable]
    word = f"usable: {', '.join(usable)}" if usable else "no media gateway is usable"
    parts["gateway"] = {"ok": bool(usable), "word": word}
    ok = all(part["ok"] for part in parts.values())
    return answer({"status": "ready" if ok else "not ready", "parts": parts}, status=200 if ok else 503)


@router.get("/metrics", response_class=PlainTextResponse)
async def numbers(house: InHouse) -> Response:
    """Prometheus metrics of this process. No label names a person, a camera or a token."""
    health = await house.edge.health()
    metrics.PROCESS.info({"pid": str(os.getpid())})
    metrics.VIEWERS.set(health.viewers)
    metrics.CAMERAS_WATCHED.set(health.cameras)
    metrics.FEED_MEMBERS.set(len(house.feed.members))
    metrics.TASKS.set(len(asyncio.all_tasks()))
    metrics.SPOOLED.set(house.edge.spool.records)
    since = house.edge.spool.since
    metrics.SPOOLING.set((clock.now() - since).total_seconds() if since else 0)
    metrics.FEED_POSITION.set(house.feed.position)
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
