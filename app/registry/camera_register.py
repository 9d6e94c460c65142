"""Keeping cameras by hand: adding one, changing what is known of it, replacing it, mounting another device.

Only administrators of the owning agency do that (`life.owned`). What an import says later of the same camera changes
what it changes; what it does not speak of stays.
"""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.actor import Actor
from app.audit import entries
from app.errors import Conflict, Malformed, NotFound, NotPermitted, PreconditionFailed
from app.ids import new_id
from app.models import Agency, Asset, CameraPosition, Device, Site
from app.registry import areas, codes, life, privacy
from app.registry.life import Step

LEGAL_GROUNDS: Final = tuple(f"KR-PIPA-25-1-{item}" for item in range(1, 7))
"""The items of PIPA 25(1) under which a fixed camera may stand."""

SITE_FIELDS: Final = ("road_address", "lot_address", "manager_name", "phone", "direction_text")
FIELDS: Final = (
    "name", "latitude", "longitude", "origin", "installation_purposes", "legal_ground", "hours", "retention_days",
    "pixels_10k", "azimuth_degrees", "field_of_view_degrees", "range_metres", "ptz", "moving", "privacy_mask", "indoor",
    "analytics", "certificates", "operator", "sign_contact", "opinion_contact", "installed_on", "programme",
    "programme_year", "pole_id", "controller_agency_id", "manager_agency_id", "monitoring_agency_id",
    "processor_agency_id",
)  # fmt: skip
_AGENCIES: Final = tuple(name for name in FIELDS if name.endswith("_agency_id"))


def tag(changed_at: Any) -> str:
    """The version of a record, as an ETag."""
    return f'"{int(changed_at.timestamp() * 1_000_000):x}"'


async def record(session: AsyncSession, actor: Actor, camera_id: UUID) -> dict[str, Any]:
    """All that the register knows of a camera, for who may locate it; `version` is its ETag."""
    camera = await life.seen(session, actor, "cameras", camera_id)
    site = await session.get_one(Site, camera.site_id)
    devices = await session.scalars(select(Device).where(Device.position_id == camera_id).order_by(Device.mounted_at))
    told = {name: getattr(camera, name) for name in FIELDS}
    told |= {"legal_grounds": camera.legal_ground.split()}
    del told["legal_ground"]
    return {
        "id": camera.id, "owner_agency_id": camera.owner_agency_id, "status": camera.status,
        **told, **{name: getattr(site, name) for name in SITE_FIELDS}, "purpose_label": site.purpose_label,
        "site_id": site.id, "ordinal": camera.ordinal, "external_key": site.external_key, "area_ids": camera.area_ids,
        "replaces_id": camera.replaces_id, "retired_at": camera.retired_at, "changed_at": camera.changed_at,
        "devices": [
            {name: getattr(one, name) for name in ("maker", "model", "serial", "mounted_at", "removed_at")}
            for one in devices
        ],
        "version": tag(camera.changed_at),
    }  # fmt: skip


async def add(session: AsyncSession, actor: Actor | None, owner: UUID, fields: Mapping[str, Any]) -> UUID:
    """A new camera of an agency: at a site of its (`site_id`), else at a new one. `status` says where its life begins.

    With `replaces_id` it takes the place of another, which retires; both know of it.
    """
    if actor is not None and not (actor.may("register") and owner in actor.acts_for_ids):
        raise NotPermitted("only an administrator of the owning agency keeps its register", missing="register")
    status = fields.get("status", "planned")
    if status not in ("planned", "installed", "active"):
        raise Malformed("a new camera is planned, installed or active", field="status")
    site_id, ordinal = await _site(session, owner, fields)
    values = await _checked(session, owner, fields, None, words=_words(fields))
    replaces_id = fields.get("replaces_id")
    if replaces_id is not None:
        old = await life.owned(session, actor, "cameras", replaces_id)
        if old.retired_at is None:
            await life.change(session, actor, "cameras", replaces_id, Step("retired", note="replaced"))
    camera_id = new_id()
    await session.execute(
        insert(CameraPosition).values(
            id=camera_id, site_id=site_id, ordinal=ordinal, owner_agency_id=owner, status=status,
            replaces_id=replaces_id, **{"name": fields.get("name") or "카메라", **values},
        )
    )  # fmt: skip
    await entries.append(
        session,
        entries.entry(
            actor, "camera.added", camera_id=camera_id, owner_agency_id=owner, status=status, replaces=replaces_id,
            name=fields.get("name"), programme=fields.get("programme"),
        ),
    )  # fmt: skip
    return camera_id


async def _site(session: AsyncSession, owner: UUID, fields: Mapping[str, Any]) -> tuple[UUID, int]:
    if (site_id := fields.get("site_id")) is not None:
        site = await session.scalar(
            select(Site).where(Site.id == site_id, Site.owner_agency_id == owner).with_for_update()
        )
        if site is None:
            raise NotFound("there is no such site of this agency", field="site_id")
        highest = await session.scalar(
            select(func.max(CameraPosition.ordinal)).where(CameraPosition.site_id == site_id)
        )  # fmt: skip
        return site.id, (highest or 0) + 1
    site_id = new_id()
    purposes = fields.get("installation_purposes") or [codes.UNKNOWN]
    told = {name: fields[name] for name in SITE_FIELDS if fields.get(name)}
    await session.execute(
        insert(Site).values(
            id=site_id, owner_agency_id=owner, external_key=f"hand:{site_id}", name=fields.get("name") or "카메라",
            purpose_label="+".join(codes.INSTALLATION_PURPOSES.get(code, code) for code in purposes), **told,
        )
    )  # fmt: skip
    return site_id, 1


def _words(fields: Mapping[str, Any]) -> str:
    return " / ".join(str(fields.get(name) or "") for name in ("name", *SITE_FIELDS))


async def change(
    session: AsyncSession,
    actor: Actor | None,
    camera_id: UUID,
    fields: Mapping[str, Any],
    *,
    if_match: str | None = None,
) -> None:
    """Change what is known of a camera; fields that are left out stay. PreconditionFailed if it is not `if_match`."""
    camera = await life.owned(session, actor, "cameras", camera_id)
    if if_match is not None and if_match.strip() not in ("*", tag(camera.changed_at)):
        raise PreconditionFailed("it was changed meanwhile: read the record again")
    if camera.retired_at is not None:
        raise Conflict("the camera is retired")
    site = await session.get_one(Site, camera.site_id)
    merged = {name: getattr(site, name) for name in SITE_FIELDS} | {"name": camera.name} | dict(fields)
    values = await _checked(session, camera.owner_agency_id, fields, camera, words=_words(merged))
    values = {name: value for name, value in values.items() if name in fields or name == "area_ids"}
    if values:
        own = {"own_name": True} if "name" in values else {}
        await session.execute(
            update(CameraPosition)
            .where(CameraPosition.id == camera_id)
            .values(**values, **own, changed_at=text("clock_timestamp()"))
        )  # fmt: skip
    if told := {name: fields[name] for name in SITE_FIELDS if name in fields}:
        await session.execute(
            update(Site).where(Site.id == site.id).values(**told, changed_at=text("clock_timestamp()"))
        )  # fmt: skip
    await entries.append(
        session,
        entries.entry(
            actor, "camera.changed", camera_id=camera_id, owner_agency_id=camera.owner_agency_id, fields=sorted(fields)
        ),
    )
    await session.refresh(camera)


async def _checked(
    session: AsyncSession, owner: UUID, fields: Mapping[str, Any], camera: CameraPosition | None, *, words: str
) -> dict[str, Any]:
    """The columns that these fields mean, with what follows from them."""
    values = {name: fields[name] for name in FIELDS if name in fields}
    _check_codes(values)
    now = {name: values.get(name, getattr(camera, name, None)) for name in ("indoor", "privacy_mask")}
    if camera is None or {"name", "indoor", "privacy_mask", *SITE_FIELDS} & fields.keys():
        privacy.check(indoor=now["indoor"] or "", privacy_mask=bool(now["privacy_mask"]), words=words)
    if ("latitude" in values) != ("longitude" in values):
        raise Malformed("latitude and longitude go together", field="latitude")
    if values.get("latitude") is not None:
        locator = await areas.locator(session)
        (values["area_ids"],) = locator.locate([values["longitude"]], [values["latitude"]])
    elif "latitude" in values:
        values["area_ids"] = []
    for name in _AGENCIES:
        if values.get(name) is not None and await session.get(Agency, values[name]) is None:
            raise NotFound("there is no such agency", field=name)
    if (pole_id := values.get("pole_id")) is not None:
        pole = await session.get(Asset, pole_id)
        if pole is None or pole.kind != "pole" or pole.owner_agency_id != owner:
            raise NotFound("there is no such pole of this agency", field="pole_id")
    return values


def _check_codes(values: dict[str, Any]) -> None:
    for code in values.get("installation_purposes") or ():
        if code not in codes.INSTALLATION_PURPOSES:
            raise Malformed(
                f"installation_purposes: {', '.join(codes.INSTALLATION_PURPOSES)}", field="installation_purposes"
            )
    for ground in (values.get("legal_ground") or "").split():
        if ground not in LEGAL_GROUNDS:
            raise Malformed(f"legal_grounds: {', '.join(LEGAL_GROUNDS)}", field="legal_grounds")
    for code, certificate in (values.get("certificates") or {}).items():
        if code not in codes.ANALYTICS or not isinstance(certificate, Mapping):
            raise Malformed(
                f"certificates: one of {', '.join(codes.ANALYTICS)} to its number and until", field="certificates"
            )
    for code in values.get("analytics") or ():
        if code not in codes.ANALYTICS:
            raise Malformed(f"analytics: {', '.join(codes.ANALYTICS)}", field="analytics")


async def mount(
    session: AsyncSession, actor: Actor | None, camera_id: UUID, *, maker: str, model: str, serial: str
) -> None:
    """Another device takes over at this position: nothing else changes, neither agreements nor history."""
    camera = await life.owned(session, actor, "cameras", camera_id)
    now = clock.now()
    await session.execute(
        update(Device).where(Device.position_id == camera_id, Device.removed_at.is_(None)).values(removed_at=now)
    )
    await session.execute(
        insert(Device).values(
            id=new_id(), position_id=camera_id, maker=maker, model=model, serial=serial, mounted_at=now
        )
    )
    await entries.append(
        session,
        entries.entry(
            actor, "device.mounted", camera_id=camera_id, owner_agency_id=camera.owner_agency_id, maker=maker,
            model=model,
        ),
    )  # fmt: skip
