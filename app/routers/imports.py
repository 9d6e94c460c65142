"""Imports: a city's file is sent, previewed, applied, and can be taken back."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app.errors import Malformed, Overloaded
from app.ids import new_id
from app.models import Import
from app.registry.imports import files, jobs
from app.registry.imports.jobs import Order
from app.registry.imports.kinds import KINDS
from app.registry.imports.reading import kind_named, open_file
from app.registry.sheets import csv_bytes
from app.routers.dependencies import (
    NO_STORE,
    Asker,
    AskerAlone,
    Cursor,
    InHouse,
    Limit,
    Transaction,
    answer,
    problems,
    read_cursor,
    tagged,
    write_cursor,
)  # fmt: skip

router = APIRouter(prefix="/v1", tags=["imports"])
UPLOADS_AT_ONCE, STALLED_SECONDS, MOST_MAPPED = 4, 30, 60
MOST_FINDINGS = 100_000
FILE = {
    "requestBody": {
        "required": True,
        "description": "the file itself, CSV (UTF-8, CP949) or xlsx, whatever its Content-Type says",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_uploading = asyncio.Semaphore(UPLOADS_AT_ONCE)

Severity = Annotated[str | None, Query(pattern="^(error|warning|note)$")]
Code = Annotated[str | None, Query(max_length=40, pattern="^[a-z_]+$", description="such as coordinates_zero")]


class Application(BaseModel):
    model_config = ConfigDict(extra="forbid")

    retire_vanished: Annotated[bool, Field(description="retire what earlier imports brought and this file lacks")] = (
        False
    )


def shape(row: Import, *, whole: bool = True) -> dict[str, Any]:
    """An import on the wire."""
    names = (
        "id", "agency_id", "user_id", "kind", "file_name", "file_bytes", "state", "progress", "problem", "began_at",
        "read_at", "applied_at", "undone_at",
    )  # fmt: skip
    item = {name: getattr(row, name) for name in names} | {
        "file_sha256": row.file_digest.hex(),
        "rows": row.summary.get("rows"),
        "quarantined": row.summary.get("quarantined"),
    }
    if whole:
        item |= {"layout": row.layout, "summary": row.summary, "preview": row.preview, "result": row.result}
    return item


def _mapping(said: str | None) -> dict[str, str]:
    if said is None:
        return {}
    try:
        mapping = orjson.loads(said)
    except orjson.JSONDecodeError:
        mapping = None
    if not isinstance(mapping, dict) or len(mapping) > MOST_MAPPED or not all(
        isinstance(column, str) and column for column in mapping.values()
    ):  # fmt: skip
        raise Malformed('mapping is a JSON object of field and column, such as {"위도": "#12"}', field="mapping")
    return mapping


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    stream = request.stream().__aiter__()
    while True:
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                piece = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise Malformed(f"nothing of the file came for {STALLED_SECONDS} s; send it again", field="body") from None
        yield piece


@router.post("/imports", status_code=201, openapi_extra=FILE, responses=problems(401, 403, 413, 429))
async def send(
    request: Request,
    house: InHouse,
    actor: AskerAlone,
    kind: Annotated[str, Query(max_length=20, description=f"{', '.join(KINDS)}; left out, it is found out")] = "",
    file_name: Annotated[str, Query(max_length=400, description="what the file is called, for lists")] = "file",
    mapping: Annotated[
        str | None, Query(max_length=8000, description='JSON: field to column, by name or position: {"위도": "#12"}')
    ] = None,
    by_label: Annotated[
        bool, Query(description="rows are of the agencies below yours that they name; else all are your own")
    ] = False,
) -> Response:
    """Send a file as the body. It is looked into at once (422 says what is wrong, with the columns that were seen,
    `seen`, so that you can map them), then read for a preview: follow `GET /v1/imports/{id}` until it is `ready`.
    """
    announced = request.headers.get("content-length", "")
    files.refuse_too_large(int(announced) if announced.isdigit() else None)
    order = Order(kind, _mapping(mapping), by_label)
    kind_named(kind)
    async with house.database.begin() as session:
        await jobs.refuse_more(session, actor)
    if _uploading.locked():
        raise Overloaded("several files are being sent already; send yours in a minute", retry_after_seconds=30)
    import_id, home = new_id(), house.settings.home
    async with _uploading:
        path = await files.receive(home, import_id, _pieces(request))
        try:
            opened = await asyncio.to_thread(open_file, path, kind=kind, mapping=order.mapping)
            opened.name = files.name_of(file_name)
            async with house.database.begin() as session:
                await jobs.receive(session, actor, import_id, opened, order, node=house.settings.node)
                row = await jobs.get(session, actor, import_id)
        except BaseException:
            files.discard(home, import_id)
            raise
    house.poke({"audit"})
    return answer(shape(row), status=201, headers={**NO_STORE, "Location": f"/v1/imports/{import_id}"})


@router.get("/imports", responses=problems(401, 403))
async def list_imports(session: Transaction, actor: Asker, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """The imports of your institution, the newest first."""
    after = read_cursor(cursor, UUID)
    rows = await jobs.listed(session, actor, after=after[0] if after else None, limit=limit)
    following = write_cursor(rows[-1].id) if len(rows) == limit else None
    return answer({"items": [shape(row, whole=False) for row in rows], "next_cursor": following}, headers=NO_STORE)


@router.get("/imports/{import_id}", responses=problems(401, 403, 404) | {304: {"description": "you have it already"}})
async def get_import(import_id: UUID, request: Request, session: Transaction, actor: Asker) -> Response:
    """One import: how far it has come (`state`, `progress`), what was odd (`summary`), what it would change
    (`preview`: new, changed, unchanged, vanished, with examples) and what it changed (`result`).
    """
    return tagged(request, shape(await jobs.get(session, actor, import_id)))


@router.get(
    "/imports/{import_id}/findings",
    responses=problems(401, 403, 404)
    | {200: {"content": {"text/csv": {"schema": {"type": "string"}}, "application/json": {}}}},
)
async def get_findings(
    import_id: UUID, session: Transaction, actor: Asker, severity: Severity = None, code: Code = None,
    format: Annotated[str, Query(pattern="^(json|csv)$")] = "json",  # noqa: A002 - the public name
    limit: Limit = 100, cursor: Cursor = None,
) -> Response:  # fmt: skip
    """What was odd, row by row: at most 100,000 are kept. `format=csv` gives all of them, to open in a spreadsheet."""
    wanted: dict[str, Any] = {"severity": severity, "code": code}
    if format == "csv":
        found = await jobs.findings(session, actor, import_id, **wanted, limit=MOST_FINDINGS)
        head = ("row_number", "severity", "code", "field", "value", "message_ko", "message_en")
        body = csv_bytes([head, *([item[name] for name in head] for item in found)])
        named = {"Content-Disposition": f'attachment; filename="findings-{import_id}.csv"'}
        return Response(body, 200, {**NO_STORE, **named}, "text/csv; charset=utf-8")
    after = read_cursor(cursor, int)
    found = await jobs.findings(session, actor, import_id, **wanted, after=after[0] if after else 0, limit=limit)
    following = write_cursor(found[-1]["number"]) if len(found) == limit else None
    return answer({"items": found, "next_cursor": following}, headers=NO_STORE)


@router.post("/imports/{import_id}/apply", status_code=202, responses=problems(401, 403, 404, 409))
async def apply(
    import_id: UUID, session: Transaction, actor: Asker, body: Application | None = None
) -> Response:  # fmt: skip
    """Have what the preview told written into the register, in one transaction."""
    wanted = body or Application()
    row = await jobs.ask_to_apply(session, actor, import_id, retire_vanished=wanted.retire_vanished)
    return answer(shape(row), status=202, headers=NO_STORE)


@router.post("/imports/{import_id}/undo", status_code=202, responses=problems(401, 403, 404, 409))
async def undo(import_id: UUID, session: Transaction, actor: Asker) -> Response:
    """Have an import taken back, whole. 409 with `reasons` when something depends on it by now."""
    return answer(shape(await jobs.ask_to_undo(session, actor, import_id)), status=202, headers=NO_STORE)


@router.post("/imports/{import_id}/cancel", responses=problems(401, 403, 404, 409))
async def cancel(import_id: UUID, session: Transaction, actor: Asker) -> Response:
    """Give up an import that is not applied yet; if it is being worked on, that stops and leaves nothing."""
    return answer(shape(await jobs.cancel(session, actor, import_id)), headers=NO_STORE)
