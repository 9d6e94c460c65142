"""Keeping the register by hand: cameras and assets added and changed, their lives, their outages, programmes."""

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Header, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from app.errors import Malformed
from app.registry import asset_register, camera_register, life, outages, programmes
from app.registry.life import Step
from app.registry.outages import Announced
from app.routers.dependencies import NO_STORE, Asker, Transaction, answer, problems

router = APIRouter(prefix="/v1", tags=["register"])

Text = Annotated[str, Field(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
Latitude = Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
Longitude = Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]
Degrees = Annotated[float, Field(ge=0, le=360, allow_inf_nan=False)]
Year = Annotated[int, Field(ge=1970, le=2100)]
Codes = Annotated[list[Annotated[str, Field(max_length=40)]], Field(max_length=30)]
Things = Literal["cameras", "assets"]
IfMatch = Annotated[str | None, Header(max_length=100, description="`version` of the record that was read")]
RECORD = problems(401, 404) | {304: {"description": "you have it already"}}


class Certificate(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: Text = ""
    until: date | None = None


class CameraFields(BaseModel):
    """What is left out stays as it is; `lat` and `lon` go together."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    lat: Latitude | None = None
    lon: Longitude | None = None
    road_address: Text | None = None
    lot_address: Text | None = None
    manager_name: Text | None = None
    phone: Text | None = None
    direction_text: Text | None = None
    origin: Annotated[Literal["own", "linked"] | None, Field(description="whose register it comes from")] = None
    installation_purposes: Codes | None = None
    legal_grounds: Annotated[Codes | None, Field(description="items of PIPA 25(1): KR-PIPA-25-1-2, …")] = None
    hours: Annotated[dict[str, Any] | None, Field(max_length=20)] = None
    retention_days: Annotated[int | None, Field(ge=1, le=1095)] = None
    pixels_10k: Annotated[int | None, Field(ge=1, le=20_000, description="만 화소: 200 is two megapixels")] = None
    azimuth_degrees: Degrees | None = None
    field_of_view_degrees: Degrees | None = None
    range_metres: Annotated[float | None, Field(gt=0, le=20_000, allow_inf_nan=False)] = None
    ptz: bool | None = None
    moving: Annotated[bool | None, Field(description="이동형 (PIPA 25-2)")] = None
    privacy_mask: bool | None = None
    indoor: Annotated[str | None, Field(max_length=40, description="empty: outdoors; indoor, bath_entrance, …")] = None
    analytics: Annotated[Codes | None, Field(description="intelligent functions")] = None
    certificates: Annotated[
        dict[Annotated[str, Field(max_length=40)], Certificate] | None, Field(max_length=30)
    ] = None  # fmt: skip
    operator: Text | None = None
    sign_contact: Text | None = None
    opinion_contact: Text | None = None
    installed_on: date | None = None
    programme: Text | None = None
    programme_year: Year | None = None
    pole_id: UUID | None = None
    controller_agency_id: UUID | None = None
    manager_agency_id: UUID | None = None
    monitoring_agency_id: UUID | None = None
    processor_agency_id: UUID | None = None


class NewCamera(CameraFields):
    name: Name
    owner_agency_id: Annotated[UUID | None, Field(description="left out, your institution")] = None
    status: Literal["planned", "installed", "active"] = "planned"
    site_id: UUID | None = None
    replaces_id: Annotated[UUID | None, Field(description="the camera whose place it takes; that one retires")] = None


class AssetFields(BaseModel):
    """What is left out stays as it is; `details` are the fields of its kind."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    address: Text | None = None
    lat: Latitude | None = None
    lon: Longitude | None = None
    quantity: Annotated[int | None, Field(ge=1, le=1000)] = None
    manager_name: Text | None = None
    phone: Text | None = None
    installed_on: date | None = None
    programme: Text | None = None
    programme_year: Year | None = None
    parent_id: Annotated[UUID | None, Field(description="the pole that carries it")] = None
    site_id: UUID | None = None
    details: Annotated[dict[Annotated[str, Field(max_length=40)], Any] | None, Field(max_length=30)] = None
    camera_ids: Annotated[list[UUID] | None, Field(max_length=20, description="declares the linked cameras")] = None
    link_radius_metres: Annotated[
        float | None, Field(gt=0, le=500, allow_inf_nan=False, description="links the nearest camera within it")
    ] = None


class NewAsset(AssetFields):
    kind: Annotated[
        str, Field(max_length=20, description="bell, pole, light, sign, speaker, enforcement, mirror, sensor")
    ]
    name: Name
    owner_agency_id: UUID | None = None
    status: Literal["planned", "installed", "active"] = "planned"
    replaces_id: UUID | None = None


class NewStep(BaseModel):
    model_config = ConfigDict(extra="forbid")

    status: Literal["installed", "active", "faulty", "retired"]
    on_date: Annotated[date | None, Field(description="when it happened; left out, today")] = None
    ticket: Text = ""
    note: Text = ""


class NewOutage(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["planned", "fault"]
    ticket: Text = ""
    reason: Text = ""
    starts_at: AwareDatetime | None = None
    ends_at: AwareDatetime | None = None


class NewDevice(BaseModel):
    model_config = ConfigDict(extra="forbid")

    maker: Text = ""
    model: Text = ""
    serial: Text = ""


NOT_NULL = {
    "name", "origin", "installation_purposes", "ptz", "moving", "privacy_mask", "quantity", "road_address",
    "lot_address", "manager_name", "phone", "direction_text", "address",
}  # fmt: skip
EMPTIED: dict[str, Any] = {
    "indoor": "", "operator": "", "sign_contact": "", "opinion_contact": "", "programme": "", "analytics": [],
    "certificates": {},
}  # fmt: skip


def _fields(body: BaseModel) -> dict[str, Any]:
    """What was said, under the register's names; a null where there must be something is refused."""
    said = body.model_dump(exclude_unset=True)
    for name in NOT_NULL & said.keys():
        if said[name] is None:
            raise Malformed(f"{name} cannot be null; leave it out to keep it", field=name)
    for wire, name in (("lat", "latitude"), ("lon", "longitude")):
        if wire in said:
            said[name] = said.pop(wire)
    said |= {name: said[name] or empty for name, empty in EMPTIED.items() if name in said}
    if "legal_grounds" in said:
        said["legal_ground"] = " ".join(said.pop("legal_grounds") or ())
    for certificate in (said.get("certificates") or {}).values():
        until = certificate.get("until")
        certificate["until"] = until.isoformat() if until else None
    return said


def _answer(request: Request, told: dict[str, Any], status: int = 200) -> Response:
    version = told["version"]
    headers = {"ETag": version, "Cache-Control": "private, no-cache"}
    if status == 200 and version in request.headers.get("if-none-match", ""):  # noqa: PLR2004 - HTTP's own number
        return Response(status_code=304, headers=headers)
    told = {"lat" if key == "latitude" else "lon" if key == "longitude" else key: told[key] for key in told}
    return answer(told, status=status, headers=headers)


@router.post("/cameras", status_code=201, responses=problems(401, 403, 404, 409))
async def add_camera(body: NewCamera, request: Request, session: Transaction, actor: Asker) -> Response:
    """Add a camera to your institution's register; with `replaces_id` it takes the place of another."""
    camera_id = await camera_register.add(session, actor, body.owner_agency_id or actor.body_id, _fields(body))
    return _answer(request, await camera_register.record(session, actor, camera_id), 201)


@router.get("/cameras/{camera_id}/record", responses=RECORD)
async def camera_record(camera_id: UUID, request: Request, session: Transaction, actor: Asker) -> Response:
    """All that the register knows of a camera."""
    return _answer(request, await camera_register.record(session, actor, camera_id))


@router.patch("/cameras/{camera_id}", responses=problems(401, 403, 404, 409, 412))
async def change_camera(
    camera_id: UUID, body: CameraFields, request: Request, session: Transaction, actor: Asker, if_match: IfMatch = None
) -> Response:
    """Change what is known of a camera of your own. With `If-Match` only if nobody changed it since you read it."""
    await camera_register.change(session, actor, camera_id, _fields(body), if_match=if_match)
    return _answer(request, await camera_register.record(session, actor, camera_id))


@router.post("/cameras/{camera_id}/devices", status_code=204, responses=problems(401, 403, 404))
async def mount_device(camera_id: UUID, body: NewDevice, session: Transaction, actor: Asker) -> Response:
    """Another device takes over here. The camera keeps its id, its agreements and its history."""
    await camera_register.mount(session, actor, camera_id, **body.model_dump())
    return Response(status_code=204)


@router.post("/assets", status_code=201, responses=problems(401, 403, 404, 409))
async def add_asset(body: NewAsset, request: Request, session: Transaction, actor: Asker) -> Response:
    """Add a bell, a pole, a light, … to your institution's register."""
    fields = _fields(body)
    owner, kind = body.owner_agency_id or actor.body_id, fields.pop("kind")
    asset_id = await asset_register.add(session, actor, owner, kind, fields)
    return _answer(request, await asset_register.record(session, actor, asset_id), 201)


@router.get("/assets/{asset_id}", responses=RECORD)
async def asset_record(asset_id: UUID, request: Request, session: Transaction, actor: Asker) -> Response:
    """All that the register knows of an asset; for a pole with what it carries (`children`)."""
    return _answer(request, await asset_register.record(session, actor, asset_id))


@router.patch("/assets/{asset_id}", responses=problems(401, 403, 404, 409, 412))
async def change_asset(
    asset_id: UUID, body: AssetFields, request: Request, session: Transaction, actor: Asker, if_match: IfMatch = None
) -> Response:
    """Change what is known of an asset of your own. `camera_ids` declares its cameras, `link_radius_metres` finds."""
    await asset_register.change(session, actor, asset_id, _fields(body), if_match=if_match)
    return _answer(request, await asset_register.record(session, actor, asset_id))


@router.get("/{things}/{thing_id}/life", responses=problems(401, 404))
async def get_life(things: Things, thing_id: UUID, session: Transaction, actor: Asker) -> Response:
    """The steps of its life, the first one first: planned, installed, active, faulty, retired."""
    return answer({"items": await life.told(session, actor, things, thing_id)}, headers=NO_STORE)


@router.post("/{things}/{thing_id}/life", status_code=201, responses=problems(401, 403, 404, 409))
async def take_step(things: Things, thing_id: UUID, body: NewStep, session: Transaction, actor: Asker) -> Response:
    """One step: planned → installed → active ⇄ faulty → retired. A pole takes what it carries with it."""
    await life.change(session, actor, things, thing_id, Step(body.status, body.on_date, body.ticket, body.note))
    return answer({"items": await life.told(session, actor, things, thing_id)}, status=201, headers=NO_STORE)


@router.get("/{things}/{thing_id}/outages", responses=problems(401, 404))
async def get_outages(things: Things, thing_id: UUID, session: Transaction, actor: Asker) -> Response:
    """Its planned outages and faults, the newest first."""
    return answer({"items": await outages.told(session, actor, things, thing_id)}, headers=NO_STORE)


@router.post("/{things}/{thing_id}/outages", status_code=201, responses=problems(401, 403, 404, 409))
async def begin_outage(things: Things, thing_id: UUID, body: NewOutage, session: Transaction, actor: Asker) -> Response:
    """Tell of a planned outage or a fault with its ticket. A fault makes an active thing faulty."""
    for moment in (body.starts_at, body.ends_at):
        _check_moment(moment)
    outage_id = await outages.begin(session, actor, things, thing_id, Announced(**body.model_dump()))
    return answer({"id": outage_id}, status=201, headers=NO_STORE)


@router.post("/{things}/{thing_id}/outages/{outage_id}/end", status_code=204, responses=problems(401, 403, 404, 409))
async def end_outage(
    things: Things, thing_id: UUID, outage_id: UUID, session: Transaction, actor: Asker
) -> Response:  # fmt: skip
    """It is over; with its last fault mended a faulty thing is active again."""
    await outages.end(session, actor, things, thing_id, outage_id)
    return Response(status_code=204)


def _check_moment(moment: datetime | None) -> None:
    if moment is not None and not 1970 <= moment.year <= 2200:  # noqa: PLR2004 - what a calendar of ours holds
        raise Malformed("a time is of the years 1970 to 2200", field="starts_at")


@router.get("/programmes", responses=problems(401))
async def list_programmes(session: Transaction, actor: Asker) -> Response:
    """Your institution's installation programmes by kind: how many, at how many sites, and how far they have come."""
    return answer({"items": await programmes.counted(session, actor)}, headers=NO_STORE)
