"""The register as files: cameras in the national standard with 18 columns, as CSV or XLSX."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.audit import entries
from app.errors import NotPermitted
from app.registry import exporting, sheets
from app.routers.dependencies import Asker, Transaction, problems

router = APIRouter(prefix="/v1", tags=["exports"])
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@router.get(
    "/exports/cameras",
    responses=problems(401, 403)
    | {200: {"content": {"text/csv": {"schema": {"type": "string"}}, XLSX: {"schema": {"type": "string"}}}}},
)
async def cameras(
    session: Transaction,
    actor: Asker,
    format: Annotated[str, Query(pattern="^(csv|xlsx)$")] = "csv",  # noqa: A002 - the public name
    encoding: Annotated[str, Query(pattern="^(utf-8|cp949)$", description="of a CSV")] = "utf-8",
) -> Response:
    """Your institution's cameras, a site a row, in the 18 columns of the standard: importing it changes nothing.
    No cell is a formula: an apostrophe stands before what a spreadsheet would take for one.
    """
    if not actor.may("register"):
        raise NotPermitted("only an administrator exports the register", missing="register")
    rows = [row async for row in exporting.standard_18(session, actor.acts_for_ids)]
    await entries.append(
        session, entries.entry(actor, "register.exported", owner_agency_id=actor.body_id, rows=len(rows) - 1)
    )
    if format == "xlsx":
        body, media, name = sheets.xlsx_bytes(rows, sheet="CCTV"), XLSX, "cameras.xlsx"
    else:
        body, media, name = sheets.csv_bytes(rows, encoding=encoding), f"text/csv; charset={encoding}", "cameras.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(body, 200, headers, media)
