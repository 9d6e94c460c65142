"""Events: reported as CloudEvents, read after a position by clients without sockets."""

import asyncio
from contextlib import ExitStack
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.requests import ClientDisconnect

from app.errors import Malformed, NotPermitted, Refusal, SessionEnded, TooLarge
from app.events import cloudevents, document
from app.events.catalogue import SEVERITIES
from app.events.intake import Intake
from app.events.report import Report
from app.feed import polling
from app.feed.subscriptions import parse
from app.registry import areas
from app.routers.dependencies import AskerAlone, House, InHouse, answer, bearer, client_address, problems, recognised

router = APIRouter(prefix="/v1", tags=["events"])

MOST_BODY_BYTES = 4 << 20
SMALL_BYTES = 64 << 10  # read before it is known who sends it: a single event, in the first packets
BODY_SECONDS = 10.0


async def read_body(request: Request, house: House, intake: Intake, held: ExitStack) -> tuple[bytes, int]:
    """The body, refused as soon as it has grown too large, and how many of its bytes are not yet held.

    A large one is read only of somebody known, and held from then on.
    """
    body, known = bytearray(), False
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > MOST_BODY_BYTES:
                    raise TooLarge(f"a request has at most {MOST_BODY_BYTES} bytes; send fewer events at once")
                if len(body) > SMALL_BYTES and not known:
                    await recognised(request, house)
                    said = request.headers.get("content-length", "")
                    most = int(said) if said.isdecimal() and len(said) < 10 else MOST_BODY_BYTES  # noqa: PLR2004
                    held.enter_context(intake.holding(0, min(most, MOST_BODY_BYTES)))
                    known = True
    except TimeoutError:
        raise Malformed(f"the body did not come within {BODY_SECONDS:.0f} seconds") from None
    except ClientDisconnect:
        raise Malformed("the body ended before its time") from None
    return bytes(body), 0 if known else len(body)


@router.post(
    "/events",
    status_code=202,
    responses=problems(401, 403, 404, 413, 429),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                cloudevents.STRUCTURED: {"schema": cloudevents.SCHEMA},
                cloudevents.PLAIN: {"schema": cloudevents.SCHEMA},
                cloudevents.BATCHED: {
                    "schema": {"type": "array", "items": cloudevents.SCHEMA, "maxItems": cloudevents.MOST_PER_BATCH}
                },
            },
        }
    },
)
async def report(request: Request, house: InHouse) -> Response:
    """Report what happened: one CloudEvent, or up to 1000 in a batch, all or none. A repetition makes nothing new.

    202 with the ids comes after the commit. After any other answer nothing was written (after 503: perhaps; repeat it).
    """
    intake = house.reporting.intake
    with ExitStack() as held:
        body, size = await read_body(request, house, intake, held)
        try:
            events, is_batch = cloudevents.read(body, request.headers)
            urgent = not is_batch and cloudevents.is_emergency(events)
            held.enter_context(intake.holding(len(events), size, urgent=urgent))
            reports = _reports(events, is_batch=is_batch)
        except Malformed:  # said to somebody known only
            (await recognised(request, house)).must("ingest")
            raise
        intake.check_backlog(urgent=urgent)
        try:
            recorded = await house.reporting.report(bearer(request), client_address(request), reports, urgent=urgent)
        except Refusal as refusal:
            if not is_batch:
                refusal.extra.pop("index", None)
            raise
    return answer({"events": [{"id": item.id, "new": item.new} for item in recorded]}, status=202)


def _reports(events: list[Any], *, is_batch: bool) -> list[Report]:
    reports = []
    for index, event in enumerate(events):
        try:
            reports.append(cloudevents.report_of(event))
        except Malformed as refusal:
            if is_batch:
                refusal.extra["index"] = index
            raise
    return reports


@router.get("/events", responses=problems(401, 403, 404))
async def read(
    house: InHouse,
    actor: AskerAlone,
    after: Annotated[str | None, Query(max_length=40, description="a position; leave out to begin now")] = None,
    wait: Annotated[float, Query(ge=0, le=25, allow_inf_nan=False, description="seconds to wait for one")] = 0,
    area: Annotated[list[str] | None, Query(max_length=200, description="ids or codes (법정동코드)")] = None,
    kind: Annotated[list[str] | None, Query(max_length=50)] = None,
    min_severity: Annotated[str, Query(max_length=20)] = SEVERITIES[0],
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """What the feed would have told, in order, after a position. `resync` says why there is no going on from it."""
    if not actor.may("feed"):
        raise NotPermitted(f"the role {actor.role} has no feed", missing="feed")
    feed = house.feed
    try:
        wish = parse({"id": "http", "areas": area or [], "kinds": kind or [], "min_severity": min_severity})
        subscription = wish.subscription
        if wish.area_codes:
            async with house.database.begin() as session:
                known = await areas.by_codes(session, wish.area_codes)
            subscription = replace(subscription, area_ids=subscription.area_ids | known)
    except Refusal as refusal:  # it names the member of a subscription; here it is a parameter
        refusal.extra["field"] = {"areas": "area", "kinds": "kind"}.get(refusal.extra["field"], refusal.extra["field"])
        raise
    start, reason = (feed.position, "") if after is None else await feed.resume(after)
    if start is None:
        return answer({"items": [], "position": feed.positions.mark(feed.position), "resync": reason})
    async with polling.reader(feed, actor) as reader:
        found, cursor = await polling.since(feed, reader, subscription, start, wait_seconds=wait, limit=limit)
        if reader.over == "session_ended":
            raise SessionEnded("this session is over; sign in again / 세션이 종료되었습니다. 다시 로그인하십시오")
    return answer({"items": found, "position": feed.positions.mark(cursor)})


_KINDS = {"items": document.as_data()}


@router.get("/events/kinds", responses=problems())
async def kinds() -> Response:
    """The catalogue: every kind with its severity, its meaning, and the JSON Schema of its data; see docs/EVENTS.md."""
    return answer(_KINDS)
