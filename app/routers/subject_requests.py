"""Data subjects' requests (개인영상정보 열람등 요구): the list with its due dates, and what becomes of each."""

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession

from app.actor import Actor
from app.errors import Malformed
from app.reports.subject_requests import codes, deciding, reading, receiving
from app.routers.dependencies import (
    FIRST_YEAR,
    LAST_YEAR,
    NO_NUL,
    NO_STORE,
    Asker,
    Cursor,
    House,
    InHouse,
    Limit,
    Transaction,
    answer,
    moment_of,
    problems,
    read_cursor,
    write_cursor,
)

router = APIRouter(prefix="/v1/subject-requests", tags=["subject requests"])

Words = Annotated[str, Field(max_length=deciding.MOST_WORDS, pattern=NO_NUL)]


class NewRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Annotated[Literal["access", "existence", "deletion"], Field(description="열람, 존재확인, 삭제")] = "access"
    channel: Literal["visit", "letter", "fax", "email", "online"] = "visit"
    relation: Literal["self", "representative", "urgent"] = "self"
    name: Annotated[str, Field(min_length=1, max_length=receiving.MOST_NAME, pattern=NO_NUL)]
    contact: Annotated[str, Field(min_length=1, max_length=receiving.MOST_CONTACT, pattern=NO_NUL)]
    period_from: AwareDatetime
    period_to: AwareDatetime
    camera_ids: Annotated[list[UUID], Field(max_length=receiving.MOST_CAMERAS)] = []
    place: Annotated[str, Field(max_length=receiving.MOST_PLACE, pattern=NO_NUL)] = ""
    received_at: Annotated[AwareDatetime | None, Field(description="now, if not given")] = None
    others_shown: Annotated[bool, Field(description="then it is closed only with a masked copy")] = True


class Proof(BaseModel):
    model_config = ConfigDict(extra="forbid")

    how: Annotated[Words, Field(min_length=1, description="what was shown; no number of an identity card")]


class Extension(BaseModel):
    model_config = ConfigDict(extra="forbid")

    days: Annotated[int, Field(ge=1, le=90)]
    reason: Annotated[Words, Field(min_length=1)]


class Decision(BaseModel):
    model_config = ConfigDict(extra="forbid")

    decision: Literal["grant", "partial", "refuse"]
    ground: Literal["", "investigation", "retention_over", "privacy_of_others", "other"] = ""
    reason: Words = ""


class MaskedCopy(BaseModel):
    model_config = ConfigDict(extra="forbid")

    by: Annotated[Words, Field(min_length=1, description="who masked the others: a person, or a contractor")]
    how: Annotated[Words, Field(min_length=1)]


class Closing(BaseModel):
    model_config = ConfigDict(extra="forbid")

    outcome: Annotated[Words, Field(min_length=1, description="how the asker was told, in which form it was given")]


def _shape(row: RowMapping) -> dict[str, Any]:
    ground = codes.GROUNDS.get(row["refusal_ground"])
    decision = None
    if row["decided_at"]:
        decision = {
            "decision": row["decision"], "label": codes.DECISIONS[row["decision"]],
            "ground": row["refusal_ground"] or None, "ground_label": ground[0] if ground else None,
            "ground_label_en": ground[1] if ground else None, "reason": row["decision_reason"],
            "at": row["decided_at"], "by": row["decider"], "in_time": row["decided_at"] < row["due_at"],
        }  # fmt: skip
    return {
        "id": row["id"], "number": f"{row['year']}-{row['number']:04}",
        "agency": {"id": row["agency_id"], "name": row["agency"]},
        "state": row["state"], "state_label": codes.STATES[row["state"]], "due_at": row["due_at"],
        "kind": row["kind"], "kind_label": codes.KINDS[row["kind"]], "channel": row["channel"],
        "channel_label": codes.CHANNELS[row["channel"]], "relation": row["relation"],
        "relation_label": codes.RELATIONS[row["relation"]], "received_at": row["received_at"],
        "recorded_at": row["recorded_at"], "recorded_by": row["recorder"], "camera_ids": row["camera_ids"],
        "place": row["place"], "period_from": row["period_from"], "period_to": row["period_to"],
        "others_shown": row["others_shown"],
        "proof": {"how": row["proof"], "at": row["proof_at"]} if row["proof_at"] else None,
        "extension": {"at": row["extended_at"], "reason": row["extension_reason"]} if row["extended_at"] else None,
        "decision": decision,
        "masked_copy": {"at": row["masked_at"], "by": row["masked_by"], "how": row["masked_how"]}
        if row["masked_at"] else None,
        "closing": {"at": row["closed_at"], "by": row["closer"], "outcome": row["outcome"]}
        if row["closed_at"] else None,
        "erased_at": row["erased_at"],
    }  # fmt: skip


async def _one(session: AsyncSession, actor: Actor, house: House, request_id: UUID, status: int = 200) -> Response:
    row, person = await reading.get(session, actor, house.keys, request_id)
    return answer({**_shape(row), "person": person}, status=status, headers=NO_STORE)


@router.post("", status_code=201, responses=problems(401, 403, 404))
async def receive(body: NewRequest, house: InHouse, session: Transaction, actor: Asker) -> Response:
    """Write down a request that came to your institution. It is due ten calendar days later (Korean days)."""
    for name in ("period_from", "period_to", "received_at"):
        moment = getattr(body, name)
        if moment is not None and not FIRST_YEAR <= moment.year <= LAST_YEAR:
            raise Malformed(f"{name} lies between the years {FIRST_YEAR} and {LAST_YEAR}", field=name)
    asked = receiving.Asked(**body.model_dump())
    days = house.settings.subject_request_days
    request_id = await receiving.receive(session, actor, house.keys, asked, days=days)
    return await _one(session, actor, house, request_id, 201)


@router.get("", responses=problems(401))
async def list_requests(
    session: Transaction,
    actor: Asker,
    state: Annotated[Literal["waiting", "overdue", "decided", "closed"] | None, Query()] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Requests, the next due first, without who asks: to your institution, or for an auditor those of the remit."""
    after = read_cursor(cursor, moment_of, UUID)
    rows = await reading.listed(session, actor, state=state, after=after, limit=limit)
    following = write_cursor(rows[-1]["due_at"].isoformat(), rows[-1]["id"]) if len(rows) == limit else None
    return answer({"items": [_shape(row) for row in rows], "next_cursor": following}, headers=NO_STORE)


@router.get("/{request_id}", responses=problems(401, 404))
async def show(request_id: UUID, house: InHouse, session: Transaction, actor: Asker) -> Response:
    """One request; `person` is who asks, for those who handle it, and reading that is an entry."""
    return await _one(session, actor, house, request_id)


@router.put("/{request_id}/proof", responses=problems(401, 403, 404, 409))
async def prove(request_id: UUID, body: Proof, house: InHouse, session: Transaction, actor: Asker) -> Response:
    """Note how it was shown to be the asker's own footage, or the office of who speaks for that person."""
    await deciding.prove(session, actor, request_id, body.how)
    return await _one(session, actor, house, request_id)


@router.post("/{request_id}/extension", responses=problems(401, 403, 404, 409))
async def extend(request_id: UUID, body: Extension, house: InHouse, session: Transaction, actor: Asker) -> Response:
    """Put the answer off, once and with a reason, before it is due (시행령 제42조)."""
    most = house.settings.subject_extension_days
    await deciding.extend(session, actor, request_id, days=body.days, reason=body.reason, most_days=most)
    return await _one(session, actor, house, request_id)


@router.post("/{request_id}/decision", responses=problems(401, 403, 404, 409))
async def decide(request_id: UUID, body: Decision, house: InHouse, session: Transaction, actor: Asker) -> Response:
    """Grant, grant in part, or refuse on one of the four grounds; once."""
    await deciding.decide(session, actor, request_id, body.decision, ground=body.ground, reason=body.reason)
    return await _one(session, actor, house, request_id)


@router.put("/{request_id}/masked-copy", responses=problems(401, 403, 404, 409))
async def note_masked(
    request_id: UUID, body: MaskedCopy, house: InHouse, session: Transaction, actor: Asker
) -> Response:
    """Note who made others unrecognisable in the copy, and how."""
    await deciding.masked(session, actor, request_id, by=body.by, how=body.how)
    return await _one(session, actor, house, request_id)


@router.post("/{request_id}/closing", responses=problems(401, 403, 404, 409))
async def close(request_id: UUID, body: Closing, house: InHouse, session: Transaction, actor: Asker) -> Response:
    """Close a decided request; where others are shown, only with a masked copy."""
    await deciding.close(session, actor, request_id, body.outcome)
    return await _one(session, actor, house, request_id)


@router.delete("/{request_id}/person", status_code=204, responses=problems(401, 403, 404, 409))
async def erase(request_id: UUID, session: Transaction, actor: Asker) -> Response:
    """Forget who had asked, and every free word, of a closed request; codes, times and officers stay."""
    await deciding.erase(session, actor, request_id)
    return Response(status_code=204)
