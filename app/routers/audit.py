"""Reading the audit log. The reading is itself an entry."""

from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Query, Response
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import AwareDatetime

from app import clock, ledger
from app.audit import entries, export
from app.audit.verify import CONSISTENCY, LEAF_PREFIX, Checkpoint, split_note
from app.errors import Malformed, NotFound, Overloaded
from app.routers.dependencies import (
    FIRST_YEAR,
    LAST_YEAR,
    NO_STORE,
    Asker,
    AskerAlone,
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

router = APIRouter(prefix="/v1/audit", tags=["audit"])
Witnessed = Annotated[bool, Query(description="the newest that a witness has cosigned, instead of the newest")]


def _shape(row: Any) -> dict[str, Any]:
    payload = row["payload"]
    return {
        "id": row["id"],
        "at": row["at"],
        "late_from": row["late_from"],
        "position": row["position"],
        "act": row["act"],
        "outcome": row["outcome"],
        "camera_id": row["camera_id"],
        "agency_id": row["agency_id"],
        "owner_agency_id": row["owner_agency_id"],
        "subject": f"{row['subject_kind']}/{row['subject_id']}" if row["subject_id"] else None,
        "restriction": row["restriction"] or None,
        "withheld": row["withheld"],
        "who_and_why": orjson.loads(payload) if isinstance(payload, str | bytes) else payload,
        "digest": row["digest"].hex(),
    }


@router.get("/key", responses=problems(401))
async def key(house: InHouse, _: AskerAlone) -> Response:
    """The log's name and its public key (a vkey of c2sp.org/signed-note): keep it where nobody can change it."""
    return answer({"origin": house.notary.origin, "vkey": house.notary.key.vkey})


@router.get("/checkpoint", responses=problems(401, 404), response_class=PlainTextResponse)
async def checkpoint(house: InHouse, _: AskerAlone, witnessed: Witnessed = False) -> Response:
    """The newest signed checkpoint (c2sp.org/tlog-checkpoint): who keeps it can show later what was changed."""
    async with house.database.bare.acquire() as connection:
        note = await (house.notary.witnessed(connection) if witnessed else house.notary.publish(connection))
    return PlainTextResponse(note, headers=NO_STORE)


@router.get("/proofs/inclusion", responses=problems(401, 403, 404), response_class=PlainTextResponse)
async def inclusion(
    house: InHouse, session: Transaction, actor: Asker, entry_id: UUID, witnessed: Witnessed = False
) -> Response:
    """That an entry of your remit is in the log: a tlog-proof (c2sp.org/tlog-proof), to be checked offline."""
    await entries.get(session, actor, entry_id)
    async with house.database.bare.acquire() as connection:
        proof = await house.notary.proof(connection, entry_id, witnessed=witnessed)
    return PlainTextResponse(proof, headers=NO_STORE)


@router.get("/proofs/consistency", responses=problems(401, 404), response_class=PlainTextResponse)
async def consistency(
    house: InHouse,
    _: AskerAlone,
    old: Annotated[int, Query(ge=0, lt=1 << 62)],
    new: Annotated[int, Query(ge=0, lt=1 << 62)],
) -> Response:
    """That the log of `new` entries begins with the log of `old`, unchanged: hashes, to be checked offline."""
    async with house.database.bare.acquire() as connection:
        newest = Checkpoint.of_text(split_note(await house.notary.publish(connection))[0]).size
        if not old <= new <= newest:
            raise NotFound(f"old and new are sizes of the log, at most {newest}, the smaller one first", field="new")
        found = await house.notary.consistency(connection, old, new)
    return PlainTextResponse(f"{CONSISTENCY}\n{export.hashes(found)}", headers=NO_STORE)


@router.get("/export", responses=problems(401, 403, 429), response_class=StreamingResponse)
async def whole_log(
    house: InHouse,
    actor: AskerAlone,
    reason: Annotated[str, Query(min_length=4, max_length=300, pattern=r"^[^\x00]*$", description="why, for the log")],
) -> Response:
    """The log as a file for `gwanje-audit export`, streamed: what is in your remit, and of the rest the hashes.

    Of what is restricted, and not your institution's own act, there are headers without contents.
    """
    if house.exporting.locked():
        raise Overloaded("others are being sent the log; try again in a minute", retry_after_seconds=60)
    async with house.database.begin() as session:
        sight = await export.begin(session, actor, reason)
    house.poke({ledger.AUDIT.name})
    name = f"audit-{clock.now():%Y%m%d-%H%M%S}.export"
    headers = NO_STORE | {"Content-Disposition": f'attachment; filename="{name}"'}
    parts = export.to_reader(house.database, house.notary, actor, sight, house.exporting)
    return StreamingResponse(parts, headers=headers, media_type="application/octet-stream")


@router.get("/entries/{entry_id}/leaf", responses=problems(401, 403, 404), response_class=PlainTextResponse)
async def leaf(session: Transaction, actor: Asker, entry_id: UUID) -> Response:
    """What of an entry is hashed into the tree: its header, without a person; for `gwanje-audit proof`."""
    row = await entries.get(session, actor, entry_id)
    header = entries.leaf_data(row).removeprefix(LEAF_PREFIX)
    return PlainTextResponse(header, headers=NO_STORE)


@router.get("/entries", responses=problems(401, 403))
async def list_entries(
    session: Transaction,
    actor: Asker,
    act: Annotated[
        str | None, Query(max_length=60, pattern=r"^[a-z_.]+$", description="such as grant.given or view.closed")
    ] = None,
    camera_id: UUID | None = None,
    subject_id: UUID | None = None,
    user_id: UUID | None = None,
    since: AwareDatetime | None = None,
    until: AwareDatetime | None = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Entries in your remit, newest first: an auditor's institution and those below; for anybody, one's own acts.

    `withheld`: it is restricted, and its contents are for the institution that acted.
    """
    for name, moment in (("since", since), ("until", until)):
        if moment is not None and not FIRST_YEAR <= moment.year <= LAST_YEAR:
            raise Malformed(f"{name} lies between the years {FIRST_YEAR} and {LAST_YEAR}", field=name)
    before = read_cursor(cursor, moment_of, UUID)
    rows = await entries.search(
        session, actor, act=act, camera_id=camera_id, subject_id=subject_id, user_id=user_id, since=since, until=until,
        before=before, limit=limit,
    )  # fmt: skip
    following = write_cursor(rows[-1]["at"].isoformat(), rows[-1]["id"]) if len(rows) == limit else None
    return answer(
        {"items": [_shape(row) for row in rows], "next_cursor": following}, headers={"Cache-Control": "no-store"}
    )  # fmt: skip
