"""Searches in what was seen, and statistics as JSON, CSV and charts."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from app import clock
from app.errors import Malformed
from app.reports import searches, statistics
from app.reports.calendar import Month, month_of, read_month
from app.reports.searches import VIEW, WALL, Access, Wanted
from app.reports.statistics import Row, Statistics
from app.routers.dependencies import (
    FIRST_YEAR,
    LAST_YEAR,
    NO_NUL,
    NO_STORE,
    Asker,
    Transaction,
    answer,
    moment_of,
    problems,
    read_cursor,
    write_cursor,
)

router = APIRouter(prefix="/v1/reports", tags=["reports"])
CHART = {**NO_STORE, "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox"}
DAY = timedelta(days=1)


class Search(BaseModel):
    """Whose and which accesses; persons and numbers of cases stand in the body, so that no address shows them."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[
        str, Field(min_length=1, max_length=searches.MOST_REASON, pattern=NO_NUL, description="why you search")
    ]
    camera_id: Annotated[UUID | None, Field(description="who has seen this camera")] = None
    user_id: Annotated[UUID | None, Field(description="what did this person see")] = None
    incident_id: UUID | None = None
    reference: Annotated[
        str | None,
        Field(min_length=1, max_length=searches.MOST_REFERENCE, pattern=NO_NUL, description="a 112 or letter's number"),
    ] = None
    since: Annotated[AwareDatetime | None, Field(description="a day before `until`, if not given")] = None
    until: Annotated[AwareDatetime | None, Field(description="now, if not given")] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 100
    cursor: Annotated[str | None, Field(max_length=200, description="`next_cursor` of the page before")] = None


def _source(text: str) -> str:
    if text not in (VIEW, WALL):
        raise ValueError(text)
    return text


def _access(one: Access) -> dict[str, Any]:
    row = one.row
    shape: dict[str, Any] = {
        "source": one.source, "began_at": one.began_at, "ended_at": row["ended_at"], "seconds": row["seconds"],
        "camera": {"id": one.camera_id, "name": row.get("camera")},
        "agency": {"id": row["agency_id"], "name": row["agency"]}, "restricted": False,
    }  # fmt: skip
    if one.source == VIEW and row["hidden"]:
        return {**shape, "restricted": True, "owner": {"id": row["owner_agency_id"], "name": row["owner"]}}
    shape["who"] = {name: row.get(name) for name in ("user_id", "login", "name", "role")}
    return shape | (_view(row) if one.source == VIEW else _wall(row))


def _view(row: Mapping[str, Any]) -> dict[str, Any]:
    why = {
        "purpose": row["use_purpose"], "basis": row["basis"], "references": row["refs"], "urgency": row["urgency"],
        "incident_id": row["incident_id"], "grant_id": row["grant_id"], "grant_kind": row["grant_kind"],
        "exercise": row["exercise"], "on_behalf_of": row["on_behalf_of"] or None,
    }  # fmt: skip
    return {
        "owner": {"id": row["owner_agency_id"], "name": row["owner"]}, "id": row["id"], "kind": row["kind"],
        "protocol": row["protocol"], "cause": row["cause"], "bytes": row["bytes"], "entry_id": row["entry_id"],
        "why": why,
    }  # fmt: skip


def _wall(row: Mapping[str, Any]) -> dict[str, Any]:
    intervals = []
    for offset, length, *_ in row["intervals"]:
        began_at = row["hour"] + timedelta(milliseconds=offset)
        ended_at = None if length is None else began_at + timedelta(milliseconds=length)
        intervals.append({"began_at": began_at, "ended_at": ended_at})
    return {
        "terminal": row["terminal"], "duty_id": row["duty_id"], "manifest_id": row["manifest_id"],
        "entry_id": row["entry_id"], "intervals": intervals,
    }  # fmt: skip


@router.post("/accesses/searches", responses=problems(401, 403))
async def search(body: Search, session: Transaction, actor: Asker) -> Response:
    """Who has seen this camera, what did this person see, what was seen for this incident: newest first.

    Single views and walls (`intervals` say when exactly) of your remit: an auditor's institution and those below, a
    supervisor's own, for anybody the own acts. By period alone, and for an incident, single views only. The search is
    an entry, with its reason.
    """
    for name, moment in (("since", body.since), ("until", body.until)):
        if moment is not None and not FIRST_YEAR <= moment.year <= LAST_YEAR:
            raise Malformed(f"{name} lies between the years {FIRST_YEAR} and {LAST_YEAR}", field=name)
    until: datetime = body.until or clock.now()
    wanted = Wanted(
        reason=body.reason, since=body.since or until - DAY, until=until, camera_id=body.camera_id,
        user_id=body.user_id, incident_id=body.incident_id, reference=body.reference, limit=body.limit,
        before=read_cursor(body.cursor, moment_of, _source, UUID, UUID),
    )  # fmt: skip
    found = await searches.accesses(session, actor, wanted)
    following = None
    if len(found) == body.limit:
        at, source, last_id, camera_id = found[-1].key
        following = write_cursor(at.isoformat(), source, last_id, camera_id)
    return answer({"items": [_access(one) for one in found], "next_cursor": following}, headers=NO_STORE)


# Statistics

MonthText = Annotated[str | None, Query(max_length=7, description="a Korean month such as 2026-10; default: this one")]
AgencyId = Annotated[UUID | None, Query(description="an institution of your remit; default: your own")]
Part = Literal["month", "hour", "purpose", "basis", "urgency", "agency", "camera"]
Count = Literal["grants", "exercises", "refusals", "views", "seconds"]


def _kinds(*media_types: str) -> dict[str, Any]:
    """What a good answer is documented to be."""
    return {"content": {media_type: {} for media_type in media_types}}


def _months(since_month: str | None, until_month: str | None) -> tuple[Month, Month]:
    last = read_month(until_month, "until_month") if until_month else month_of(clock.now())
    return (read_month(since_month, "since_month") if since_month else last), last


def _row(row: Row) -> dict[str, Any]:
    return {"key": row.key, "label": row.label, "label_en": row.label_en, **row.counts}


def _statistics(made: Statistics) -> dict[str, Any]:
    return {
        "agency": {"id": made.agency_id, "name": made.agency}, "since_month": str(made.first),
        "until_month": str(made.last), "by": {part: [_row(row) for row in rows] for part, rows in made.parts.items()},
        "median_seconds_to_first_picture": made.waits,
    }  # fmt: skip


@router.get("/statistics", responses={200: _kinds("application/json", "text/csv"), **problems(401, 403, 404)})
async def show_statistics(
    session: Transaction,
    actor: Asker,
    agency_id: AgencyId = None,
    since_month: MonthText = None,
    until_month: MonthText = None,
    format: Annotated[Literal["json", "csv"], Query()] = "json",  # noqa: A002 - the parameter's public name
) -> Response:
    """Grants, refusals, views and seconds by month, hour, purpose, basis, urgency, agency and camera; no person."""
    made = await statistics.of_agency(session, actor, agency_id, *_months(since_month, until_month))
    if format == "csv":
        headers = {**NO_STORE, "Content-Disposition": f'attachment; filename="statistics-{made.first}-{made.last}.csv"'}
        return Response(statistics.as_csv(made), headers=headers, media_type="text/csv; charset=utf-8")
    return answer(_statistics(made), headers=NO_STORE)


@router.get(
    "/statistics/charts/{part}",
    response_class=Response,
    responses={200: _kinds("image/svg+xml"), **problems(401, 403, 404)},
)
async def show_chart(
    part: Part,
    session: Transaction,
    actor: Asker,
    count: Annotated[Count, Query(description="what is counted")] = "views",
    agency_id: AgencyId = None,
    since_month: MonthText = None,
    until_month: MonthText = None,
) -> Response:
    """One part of the statistics as an SVG picture, to be put into a report."""
    made = await statistics.of_agency(session, actor, agency_id, *_months(since_month, until_month))
    return Response(statistics.chart(made, part, count), headers=CHART, media_type="image/svg+xml")
