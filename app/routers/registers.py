"""The registers as files, and the publication of out-of-purpose provisions."""

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator
from datetime import date
from pathlib import Path
from typing import IO, Annotated, Any
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from app import ledger
from app.errors import Overloaded
from app.reports import exports, pages, publications, remit
from app.reports.exports import Order
from app.routers.dependencies import (
    NO_STORE,
    Asker,
    AskerAlone,
    InHouse,
    Limit,
    Transaction,
    answer,
    problems,
)

router = APIRouter(prefix="/v1/reports", tags=["registers"])
MEDIA_TYPES = {
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "csv": "text/csv; charset=utf-8",
    "html": "text/html; charset=utf-8",
}
AS_FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "the register", "content": {kind.partition(";")[0]: {} for kind in MEDIA_TYPES.values()}}
}
PART = 1 << 18
# One at a time in each process: whoever watches and whoever is called must not feel it.
_writing = asyncio.Semaphore(1)


class Wanted(BaseModel):
    """A register of whole days in Korean time, and why it is taken out."""

    model_config = ConfigDict(extra="forbid", populate_by_name=False)

    register_: Annotated[
        str,
        Field(alias="register", max_length=20, description="footage 관리대장, provision 목적 외 대장, access 접속기록"),
    ]
    first: Annotated[date, Field(alias="from")]
    last: Annotated[date, Field(alias="to")]
    format: Annotated[str, Field(max_length=10, description="xlsx, csv or html (to print)")] = "xlsx"
    reason: Annotated[str, Field(max_length=1000)]
    agency_id: UUID | None = None


class Publish(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=False)

    first: Annotated[date, Field(alias="from")]
    last: Annotated[date, Field(alias="to")]
    place: Annotated[
        str, Field(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f]*$", description="where it is posted")
    ]
    with_restricted: bool = False
    agency_id: UUID | None = None


@router.post("/registers", responses=problems(401, 403, 404, 413, 429) | AS_FILE)
async def export_register(body: Wanted, house: InHouse, actor: AskerAlone) -> Response:
    """A register as a file: xlsx, csv, or a page to print. The answer leaves when its entry is committed."""
    order = Order(
        register=body.register_, first=body.first, last=body.last, format=body.format, reason=body.reason,
        agency_id=body.agency_id,
    )  # fmt: skip
    exports.check(order)
    if _writing.locked():
        raise Overloaded("another register is being written; ask again in a moment", retry_after_seconds=10)
    # A file without a name: whatever becomes of this process, nothing of it stays behind.
    file = tempfile.TemporaryFile(dir=_folder(house.settings.home))  # noqa: SIM115 - the answer closes it
    try:
        async with _writing, house.database.begin() as session:
            written = await exports.write(session, actor, order, file)
        house.poke(ledger.appended_to(session))
    except BaseException:
        file.close()
        raise
    disposition = "inline" if body.format == "html" else "attachment"
    headers = NO_STORE | {
        "Content-Disposition": f"{disposition}; filename*=UTF-8''{quote(written.name)}",
        "Content-Length": str(os.fstat(file.fileno()).st_size),
        "Content-Security-Policy": pages.POLICY,
        "X-Content-Type-Options": "nosniff",
        "Gwanje-Rows": str(written.rows),
        "Gwanje-SHA256": written.digest,
    }
    return StreamingResponse(_parts(file), media_type=MEDIA_TYPES[body.format], headers=headers)


async def _parts(file: IO[bytes]) -> AsyncGenerator[bytes]:
    with file:
        file.seek(0)
        while part := await asyncio.to_thread(file.read, PART):
            yield part


def _folder(home: Path) -> Path:
    folder = home.absolute() / "run"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@router.get("/publications/due", responses=problems(401, 403, 404))
async def list_due(house: InHouse, session: Transaction, actor: Asker, agency_id: UUID | None = None) -> Response:
    """Out-of-purpose use and provision of the past year that is to be made public and has not been (PIPA 18(4))."""
    within = house.settings.publish_within_days
    rows = await publications.due(session, actor, within_days=within, agency_id=agency_id)
    return answer({"items": rows, "publish_within_days": within}, headers=NO_STORE)


@router.post("/publications", status_code=201, responses=problems(401, 403, 404, 409))
async def publish(body: Publish, house: InHouse, session: Transaction, actor: Asker) -> Response:
    """Make public what is due of these days. What was published stands; each provision is published once."""
    publication_id = await publications.publish(
        session, actor, remit.period(body.first, body.last), place=body.place, with_restricted=body.with_restricted,
        shown_days=house.settings.publish_for_days, agency_id=body.agency_id,
    )  # fmt: skip
    return answer({"id": publication_id}, status=201)


@router.get("/publications", responses=problems(401))
async def list_publications(
    session: Transaction,
    actor: Asker,  # noqa: ARG001 - they are public
    agency_id: UUID | None = None,
    limit: Limit = 100,
) -> Response:
    """What was made public, newest first."""
    rows = await publications.listed(session, agency_id=agency_id, limit=limit)
    return answer({"items": [dict(row) for row in rows]})


PAGE: dict[int | str, dict[str, Any]] = {
    200: {"description": "the publication", "content": {"application/json": {}, "text/html": {}}}
}


@router.get("/publications/{publication_id}", responses=problems(401, 404) | PAGE)
async def one_publication(
    publication_id: UUID,
    session: Transaction,
    actor: Asker,  # noqa: ARG001 - they are public
    format_: Annotated[
        str, Query(alias="format", pattern="^(json|html)$", description="json, or html to post")
    ] = "json",
) -> Response:
    """A publication: for machines, or as the page for the agency's home page."""
    row = await publications.get(session, publication_id)
    if format_ == "json":
        return answer(dict(row))
    headers = {"Content-Security-Policy": pages.POLICY, "X-Content-Type-Options": "nosniff"}
    return Response(pages.notice(row), media_type=MEDIA_TYPES["html"], headers=headers)
