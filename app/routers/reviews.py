"""Reviews of the access log (접속기록 점검): read, assign, answer, sign; and the areas one declares a conflict in."""

import base64
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import RowMapping

from app.reports.calendar import month_of, read_month
from app.reports.patterns import LABELS
from app.reports.reviews import conflicts, deciding, opening, reading
from app.routers.dependencies import (
    NO_NUL,
    NO_STORE,
    Asker,
    Cursor,
    InHouse,
    Limit,
    Transaction,
    answer,
    moment_of,
    problems,
    read_cursor,
    write_cursor,
)

router = APIRouter(prefix="/v1", tags=["reviews"])
STATES = {"open": "점검 중", "overdue": "기한 경과", "signed": "점검 완료"}
KINDS = {"monthly": "월간 점검", "late": "사후 반영 점검"}

Words = Annotated[str, Field(max_length=deciding.MOST_WORDS, pattern=NO_NUL)]


class NewReview(BaseModel):
    model_config = ConfigDict(extra="forbid")

    month: Annotated[str, Field(max_length=7, description="a Korean calendar month that is over, such as 2026-10")]


class Officer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    user_id: UUID


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    answer: Literal["in_order", "misuse", "to_be_clarified"]
    words: Annotated[Words, Field(description="what was found out; only a drawn access in order needs none")] = ""


class Signature(BaseModel):
    model_config = ConfigDict(extra="forbid")

    statement: Annotated[Words, Field(min_length=1, description="what you state by signing")]


class NewConflict(BaseModel):
    model_config = ConfigDict(extra="forbid")

    area_id: UUID
    reason: Literal["home", "family", "workplace", "other"]


def _shape(row: RowMapping) -> dict[str, Any]:
    monthly = row["kind"] == "monthly"
    signature = None
    if row["signed_at"]:
        signature = {
            "at": row["signed_at"], "by": row["signed_by"], "statement": row["statement"],
            "digest": row["signed_digest"].hex(), "entry_id": row["signed_entry_id"],
        }  # fmt: skip
    officer = {"user_id": row["officer_id"], "login": row["officer_login"], "name": row["officer"]}
    return {
        "id": row["id"], "agency": {"id": row["agency_id"], "name": row["agency"]}, "kind": row["kind"],
        "kind_label": KINDS[row["kind"]], "month": str(month_of(row["since"])) if monthly else None,
        "since": row["since"], "until": row["until"], "population": row["population"],
        "seed": row["seed"].hex() if row["seed"] else None, "seed_source": row["seed_source"],
        "opened_at": row["opened_at"], "due_at": row["due_at"], "state": row["state"],
        "state_label": STATES[row["state"]], "officer": officer if row["officer_id"] else None,
        "assigned_at": row["assigned_at"], "reminders": row["reminders"], "findings": row["findings"],
        "unanswered": row["unanswered"], "misuse": row["misuse"], "signature": signature,
    }  # fmt: skip


def _finding(row: RowMapping) -> dict[str, Any]:
    korean, english = LABELS[row["kind"]]
    return {
        "number": row["number"], "kind": row["kind"], "label": korean, "label_en": english,
        "who": {"user_id": row["user_id"], "login": row["login"], "name": row["name"]} if row["user_id"] else None,
        "camera": {"id": row["camera_id"], "name": row["camera"]} if row["camera_id"] else None,
        "korean": row["korean"], "english": row["english"], "numbers": row["numbers"], "entries": row["entries"],
        "answer": row["answer"] or None, "answer_label": deciding.ANSWER_LABELS.get(row["answer"]),
        "words": row["words"], "answered_by": row["answered_by"], "answered_at": row["answered_at"],
    }  # fmt: skip


@router.post("/reviews", status_code=201, responses=problems(401, 403, 404))
async def open_review(body: NewReview, house: InHouse, session: Transaction, actor: Asker) -> Response:
    """Open the review of a past month of your institution now; each month has one, which also opens by itself."""
    review_id = await opening.ask_for(
        session, actor, read_month(body.month), sample=house.settings.review_sample, days=house.settings.review_days
    )  # fmt: skip
    return answer(_shape(await reading.get(session, actor, review_id)), status=201, headers=NO_STORE)


@router.get("/reviews", responses=problems(401))
async def list_reviews(
    session: Transaction,
    actor: Asker,
    state: Annotated[Literal["open", "overdue", "signed"] | None, Query()] = None,
    kind: Annotated[Literal["monthly", "late"] | None, Query()] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Reviews, newest first: your institution's for its officers, those of the remit for auditors."""
    before = read_cursor(cursor, moment_of, UUID)
    rows = await reading.listed(session, actor, state=state, kind=kind, before=before, limit=limit)
    following = write_cursor(rows[-1]["opened_at"].isoformat(), rows[-1]["id"]) if len(rows) == limit else None
    return answer({"items": [_shape(row) for row in rows], "next_cursor": following}, headers=NO_STORE)


@router.get("/reviews/{review_id}", responses=problems(401, 404))
async def show_review(review_id: UUID, session: Transaction, actor: Asker) -> Response:
    """One review: its period, officer, state and signature."""
    return answer(_shape(await reading.get(session, actor, review_id)), headers=NO_STORE)


@router.get("/reviews/{review_id}/findings", responses=problems(401, 404))
async def list_findings(
    review_id: UUID, session: Transaction, actor: Asker, limit: Limit = 100, cursor: Cursor = None
) -> Response:
    """What a review asks about, each with a sentence, its numbers and its entries. Reading it is an entry."""
    (after,) = read_cursor(cursor, _count) or (0,)
    rows = await reading.findings(session, actor, review_id, after=after, limit=limit)
    following = write_cursor(rows[-1]["number"]) if len(rows) == limit else None
    return answer({"items": [_finding(row) for row in rows], "next_cursor": following}, headers=NO_STORE)


def _count(text: str) -> int:
    number = int(text)
    if not 0 <= number < 1 << 31:
        raise ValueError(text)
    return number


@router.put("/reviews/{review_id}/officer", status_code=204, responses=problems(401, 403, 404, 409))
async def assign(review_id: UUID, body: Officer, session: Transaction, actor: Asker) -> Response:
    """Say which officer of the institution does a review."""
    await deciding.assign(session, actor, review_id, body.user_id)
    return Response(status_code=204)


@router.put("/reviews/{review_id}/findings/{number}/answer", status_code=204, responses=problems(401, 403, 404, 409))
async def answer_finding(
    review_id: UUID, number: Annotated[int, Field(ge=1, lt=1 << 31)], body: Answer, session: Transaction, actor: Asker
) -> Response:
    """Answer a finding that is not about yourself: 이상 없음, 오·남용, 확인 중."""
    await deciding.answer(session, actor, review_id, number, body.answer, body.words)
    return Response(status_code=204)


@router.post("/reviews/{review_id}/signature", responses=problems(401, 403, 404, 409))
async def sign(review_id: UUID, body: Signature, session: Transaction, actor: Asker) -> Response:
    """Sign a review off as its officer: an audit entry binds the digest of its findings and answers."""
    await deciding.sign(session, actor, review_id, body.statement)
    return answer(_shape(await reading.get(session, actor, review_id)), headers=NO_STORE)


@router.get("/reviews/{review_id}/document", responses=problems(401, 404, 409))
async def read_signed(review_id: UUID, session: Transaction, actor: Asker) -> Response:
    """What was signed, byte for byte: `sha256sum` of this body is the digest in the audit entry `review.signed`.

    The header `Repr-Digest` (RFC 9530) holds the digest with which it was signed.
    """
    signed = await reading.signed(session, actor, review_id)
    headers = {**NO_STORE, "Repr-Digest": f"sha-256=:{base64.b64encode(signed.digest).decode()}:"}
    return Response(signed.document, headers=headers, media_type="application/json")


# Areas of conflict


@router.post("/conflict-areas", status_code=201, responses=problems(401, 404, 409, 429))
async def declare(body: NewConflict, session: Transaction, actor: Asker) -> Response:
    """Declare an area (such as around your home) where your viewing would be a conflict of interest (이해충돌)."""
    made = await conflicts.declare(session, actor, body.area_id, body.reason)
    return answer({"id": made, "area_id": body.area_id, "reason": body.reason}, status=201, headers=NO_STORE)


@router.get("/conflict-areas", responses=problems(401))
async def list_conflicts(session: Transaction, actor: Asker, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """Areas that you declared; for reviewing officers those of all people of the institution."""
    (after,) = read_cursor(cursor, UUID) or (None,)
    rows = await conflicts.listed(session, actor, after=after, limit=limit)
    items = [{**row, "reason_label": conflicts.REASONS[row["reason"]]} for row in rows]
    following = write_cursor(rows[-1]["id"]) if len(rows) == limit else None
    return answer({"items": items, "next_cursor": following}, headers=NO_STORE)


@router.delete("/conflict-areas/{conflict_id}", status_code=204, responses=problems(401, 404))
async def end_conflict(conflict_id: UUID, session: Transaction, actor: Asker) -> Response:
    """End a declaration of your own; it stays for the time in which it held."""
    await conflicts.end(session, actor, conflict_id)
    return Response(status_code=204)
