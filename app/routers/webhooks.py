"""Webhooks: events pushed to a system of one's agency, signed, in order, until they are taken."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from app import ledger
from app.errors import Malformed
from app.events.catalogue import SEVERITIES
from app.feed.webhooks import addresses, registry, trials, waiting
from app.feed.webhooks.leases import is_idle
from app.feed.webhooks.registry import Change
from app.models import DeadLetter, Webhook
from app.routers.dependencies import (
    NO_STORE,
    Asker,
    AskerAlone,
    Cursor,
    House,
    InHouse,
    Limit,
    Transaction,
    answer,
    problems,
    read_cursor,
    write_cursor,
)

router = APIRouter(prefix="/v1", tags=["webhooks"])

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00]*$", description="such as 119 상황실")]
Areas = Annotated[
    list[Annotated[str, Field(max_length=40, pattern=r"^[^\x00]*$")]],
    Field(max_length=200, description="ids or codes (법정동코드) of areas; none: everywhere"),
]
Kinds = Annotated[
    list[Annotated[str, Field(max_length=60, pattern=r"^[^\x00]*$")]],
    Field(max_length=200, description="such as bell.pressed or analytic.*; none: every kind"),
]
Severity = Annotated[str, Field(max_length=20, description=f"one of {', '.join(SEVERITIES)}")]


class NewWebhook(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Name
    url: Annotated[str, Field(min_length=1, max_length=2048, description="https://… (or http://…), no credentials")]
    areas: Areas = []
    kinds: Kinds = []
    min_severity: Severity = SEVERITIES[0]


class WebhookChange(BaseModel):
    """What is left out stays as it is. The address cannot be changed: make another webhook."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    areas: Areas | None = None
    kinds: Kinds | None = None
    min_severity: Severity | None = None
    paused: Annotated[bool | None, Field(description="true: rest; false: go on, from where it stopped")] = None


class Replay(BaseModel):
    model_config = ConfigDict(extra="forbid")

    after: Annotated[str, Field(max_length=40, description="a position; everything after it is sent again")]


class WithSecret(BaseModel):
    id: UUID
    secret: Annotated[str, Field(description="whsec_…: shown this once, signs every message")]


class Outcome(BaseModel):
    taken: bool
    status: int | None
    error: str
    milliseconds: int
    said: Annotated[str, Field(description="the beginning of the answer's body, at most 200 printable characters")]


def _shape(house: House, webhook: Webhook) -> dict[str, Any]:
    names = (
        "id", "agency_id", "name", "host", "area_ids", "kinds", "paused_because", "attempts", "first_attempt_at",
        "last_status", "last_error", "last_delivered_at", "previous_until", "created_at", "ended_at",
    )  # fmt: skip
    if webhook.ended_at is not None:
        state = "ended"
    elif webhook.paused_because:
        state = "paused"
    else:
        state = "failing" if webhook.attempts else "active"
    return {
        **{name: getattr(webhook, name) for name in names},
        "state": state,
        "min_severity": SEVERITIES[webhook.min_severity],
        "next_at": webhook.next_at if state == "failing" and not is_idle(webhook.next_at) else None,
        "position": house.feed.positions.mark(webhook.position),
    }


def _letter(house: House, letter: DeadLetter) -> dict[str, Any]:
    names = ("id", "event_id", "attempts", "last_status", "last_error", "at", "delivered_at")
    return {name: getattr(letter, name) for name in names} | {
        "position": house.feed.positions.write(letter.position)
    }  # fmt: skip


@router.post("/webhooks", status_code=201, response_model=WithSecret, responses=problems(401, 403, 404, 409))
async def make(body: NewWebhook, house: InHouse, session: Transaction, actor: Asker) -> Response:
    """Have events posted to a system of your agency from now on, as far as your own rights go, now and then.

    Its secret is shown this once. Messages are CloudEvents, signed as Standard Webhooks says.
    """
    made = await registry.make(
        session, actor, house.keys, addresses.allowed_by(house.settings), name=body.name, url=body.url,
        wanted_areas=body.areas, kinds=body.kinds, min_severity=body.min_severity,
    )  # fmt: skip
    return answer({"id": made.id, "secret": made.secret}, status=201, headers=NO_STORE)


@router.get("/webhooks", responses=problems(401, 403))
async def list_webhooks(
    house: InHouse, session: Transaction, actor: Asker, limit: Limit = 100, cursor: Cursor = None
) -> Response:
    """The webhooks that you keep, ended ones included, and how they are. Neither addresses nor secrets are told."""
    after = read_cursor(cursor, UUID)
    rows = await registry.listed(session, actor, after=after[0] if after else None, limit=limit)
    following = write_cursor(rows[-1].id) if len(rows) == limit else None
    return answer({"items": [_shape(house, row) for row in rows], "next_cursor": following}, headers=NO_STORE)


@router.get("/webhooks/{webhook_id}", responses=problems(401, 403, 404))
async def get_webhook(webhook_id: UUID, house: InHouse, actor: AskerAlone) -> Response:
    """One webhook, and how many events wait for it (`waiting`, counted up to 1000)."""
    async with house.database.begin() as session:
        webhook = await registry.one(session, actor, webhook_id)
        counting = await waiting.owner_of(session, webhook)
        head = await ledger.head(session, ledger.EVENTS)
    count = await waiting.count(house.database, webhook, counting, head.position)
    return answer(_shape(house, webhook) | {"waiting": count}, headers=NO_STORE)


@router.patch("/webhooks/{webhook_id}", responses=problems(401, 403, 404))
async def change(
    webhook_id: UUID, body: WebhookChange, house: InHouse, session: Transaction, actor: Asker
) -> Response:  # fmt: skip
    """Change what a webhook tells, or let it rest (`paused`) and go on."""
    wanted = Change(
        name=body.name, areas=body.areas, kinds=body.kinds, min_severity=body.min_severity, paused=body.paused
    )  # fmt: skip
    return answer(_shape(house, await registry.change(session, actor, webhook_id, wanted)), headers=NO_STORE)


@router.delete("/webhooks/{webhook_id}", status_code=204, responses=problems(401, 403, 404))
async def end(webhook_id: UUID, session: Transaction, actor: Asker) -> Response:
    """End a webhook for good."""
    await registry.end(session, actor, webhook_id)
    return Response(status_code=204)


@router.post(
    "/webhooks/{webhook_id}/secret", status_code=201, response_model=WithSecret, responses=problems(401, 403, 404)
)
async def rotate(webhook_id: UUID, house: InHouse, session: Transaction, actor: Asker) -> Response:
    """A new secret. For 24 hours the one before signs too: both signatures stand in the header."""
    made = await registry.rotate(session, actor, house.keys, webhook_id)
    return answer({"id": made.id, "secret": made.secret}, status=201, headers=NO_STORE)


@router.post("/webhooks/{webhook_id}/tests", response_model=Outcome, responses=problems(401, 403, 404, 409, 429))
async def test(webhook_id: UUID, house: InHouse, actor: AskerAlone) -> Response:
    """Send a signed `webhook.tested` now, and learn what came back."""
    allowed = addresses.allowed_by(house.settings)
    outcome = await trials.test(house.database, house.keys, allowed, actor, webhook_id)
    house.poke({ledger.AUDIT.name})
    return answer(trials.told(outcome), headers=NO_STORE)


@router.get("/webhooks/{webhook_id}/dead-letters", responses=problems(401, 403, 404))
async def list_dead_letters(
    webhook_id: UUID, house: InHouse, session: Transaction, actor: Asker, limit: Limit = 100, cursor: Cursor = None
) -> Response:
    """Events that were not taken for a day, in their order; those that were sent again since have `delivered_at`."""
    after = read_cursor(cursor, house.feed.positions.read)
    if after and after[0] is None:
        raise Malformed("cursor is the next_cursor of the page before, unchanged", field="cursor")
    rows = await registry.letters(session, actor, webhook_id, after=after[0] if after else 0, limit=limit)
    items = [_letter(house, row) for row in rows]
    following = write_cursor(items[-1]["position"]) if len(rows) == limit else None
    return answer({"items": items, "next_cursor": following}, headers=NO_STORE)


@router.post(
    "/webhooks/{webhook_id}/dead-letters/{letter_id}/replays",
    response_model=Outcome,
    responses=problems(401, 403, 404, 409, 429),
)
async def send_again(webhook_id: UUID, letter_id: UUID, house: InHouse, actor: AskerAlone) -> Response:
    """Send a dead letter's event once more, now, with the id that it had, and learn what came back."""
    allowed = addresses.allowed_by(house.settings)
    outcome = await trials.send_again(house.database, house.keys, allowed, actor, webhook_id, letter_id)
    house.poke({ledger.AUDIT.name})
    return answer(trials.told(outcome), headers=NO_STORE)


@router.post("/webhooks/{webhook_id}/replays", status_code=202, responses=problems(401, 403, 404))
async def replay(webhook_id: UUID, body: Replay, house: InHouse, session: Transaction, actor: Asker) -> Response:
    """Send everything after a position again, in order; a later position than it has reached skips what is between."""
    after = house.feed.positions.read(body.after)
    if after is None:
        raise Malformed("after is a position that this service gave", field="after")
    await registry.replay(session, actor, webhook_id, after)
    return answer({"id": webhook_id, "after": body.after}, status=202)
