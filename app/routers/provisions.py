"""Provisions: what was used, provided, shown and destroyed, with everything that is learned later."""

from datetime import date
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from app.errors import Malformed
from app.reports import provisions, remit
from app.routers.dependencies import (
    FIRST_YEAR,
    LAST_YEAR,
    NO_STORE,
    Asker,
    Cursor,
    Limit,
    Transaction,
    answer,
    moment_of,
    problems,
    read_cursor,
    write_cursor,
)

router = APIRouter(prefix="/v1", tags=["registers"])
PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
Short = Annotated[str, Field(max_length=200, pattern=PRINTABLE)]
Long = Annotated[str, Field(max_length=1000, pattern=PRINTABLE)]
Code = Annotated[str, Field(max_length=40, pattern="^[A-Za-z0-9_-]*$")]
Version = Annotated[str, Header(alias="If-Match", max_length=40, description='the ETag that was read, such as "3"')]


class Party(BaseModel):
    """Who asked for it, or who received it."""

    model_config = ConfigDict(extra="forbid")

    agency: Short = ""
    rank: Short = ""
    name: Short = ""
    contact: Short = ""


class Signature(BaseModel):
    """One box of the approval line (결재)."""

    model_config = ConfigDict(extra="forbid")

    office: Short
    name: Short
    on: date | None = None


class Later(BaseModel):
    """What may be amended; whatever is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    provided_at: AwareDatetime = None  # type: ignore[assignment]
    kind: Code = ""
    basis: Code = ""
    purpose: Code = ""
    form: Code = ""
    medium: Code = ""
    law: Short = ""
    document_number: Short = ""
    crime: Short = ""
    reason: Long = ""
    camera_ids: Annotated[list[UUID], Field(max_length=provisions.MOST_CAMERAS)] = []
    place: Short = ""
    recorded_from: AwareDatetime | None = None
    recorded_to: AwareDatetime | None = None
    file_name: Short = ""
    items: Short = ""
    pledged: bool | None = None
    requester: Party = Party()
    recipient: Party = Party()
    kept_until: date | None = None
    destroy_due: date | None = None
    destroyed_on: date | None = None
    destruction: Long = ""
    safety_asked: Long = ""
    safety_result: Long = ""
    arrest: bool | None = None
    in_charge: Short = ""
    witness: Short = ""
    approvals: Annotated[list[Signature], Field(max_length=10)] = []
    restriction: Code = ""

    def said(self) -> dict[str, Any]:
        """The fields that were named."""
        found = self.model_dump(exclude_unset=True, exclude={"note", "agency_id"})
        for name, value in found.items():
            if name in ("provided_at", "recorded_from", "recorded_to") and value is not None:
                if not FIRST_YEAR <= value.year <= LAST_YEAR:
                    raise Malformed(f"{name} lies between the years {FIRST_YEAR} and {LAST_YEAR}", field=name)
            elif name == "approvals":
                found[name] = [{**one, "on": one["on"].isoformat() if one.get("on") else None} for one in value]
        return found


class NewProvision(Later):
    """Something that happened outside of the live views, which are there by themselves."""

    kind: Annotated[str, Field(max_length=20, pattern="^[a-z]+$", description="use, provide, access or destroy")]
    form: Annotated[str, Field(max_length=20, pattern="^[a-z]+$", description="live, video, photo, excel or other")]
    provided_at: AwareDatetime
    agency_id: Annotated[UUID | None, Field(description="the own institution, unless named")] = None


class Amendment(Later):
    note: Annotated[str, Field(min_length=2, max_length=500, pattern=PRINTABLE, description="why it is amended")]


Day = Annotated[date, Query()]


@router.get("/provisions", responses=problems(401, 403, 404))
async def list_provisions(
    session: Transaction,
    actor: Asker,
    first: Annotated[date, Query(alias="from", description="the first day, in Korean time")],
    last: Annotated[date, Query(alias="to", description="the last day")],
    agency_id: UUID | None = None,
    to_be_destroyed: Annotated[bool, Query(description="only copies that were to be destroyed by today")] = False,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """The provisions of an agency in a period, newest first; live views of other agencies among them."""
    rows = await provisions.listed(
        session, actor, remit.period(first, last), agency_id=agency_id, to_be_destroyed=to_be_destroyed,
        before=read_cursor(cursor, moment_of, UUID), limit=limit,
    )  # fmt: skip
    following = write_cursor(rows[-1]["provided_at"].isoformat(), rows[-1]["id"]) if len(rows) == limit else None
    return answer({"items": rows, "next_cursor": following}, headers=NO_STORE)


@router.post("/provisions", status_code=201, responses=problems(401, 403, 404))
async def record_provision(body: NewProvision, session: Transaction, actor: Asker) -> Response:
    """Write down what was given on a USB stick, by letter, at a visit."""
    provision_id = await provisions.record(session, actor, body.said(), body.agency_id)
    return answer({"id": provision_id, "version": 1}, status=201, headers={"ETag": '"1"'})


@router.get("/provisions/{provision_id}", responses=problems(401, 403, 404))
async def one_provision(provision_id: UUID, session: Transaction, actor: Asker) -> Response:
    """A provision as it stands, with all its versions: who wrote each, when and why. Its ETag is its version."""
    row = await provisions.get(session, actor, provision_id)
    return answer(row, headers=NO_STORE | {"ETag": f'"{row["version"]}"'})


@router.patch("/provisions/{provision_id}", responses=problems(401, 403, 404, 412))
async def amend_provision(
    provision_id: UUID, body: Amendment, session: Transaction, actor: Asker, if_match: Version
) -> Response:
    """Append a version; the former ones stay readable. A live view has its grant's id, and version 0 at first."""
    said = if_match.strip().removeprefix("W/").strip('"')
    if not (said.isascii() and said.isdigit() and len(said) < 9):  # noqa: PLR2004 - an integer of the database
        raise Malformed("If-Match is the ETag of the version that was read", field="If-Match")
    version = await provisions.amend(session, actor, provision_id, body.said(), version=int(said), note=body.note)
    return answer({"id": provision_id, "version": version}, headers={"ETag": f'"{version}"'})
