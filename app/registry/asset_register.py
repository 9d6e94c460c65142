"""Keeping bells, poles, lights, signs, speakers, enforcement cameras, mirrors and sensors by hand."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.access import rights
from app.actor import Actor
from app.audit import entries
from app.errors import Conflict, Malformed, NotFound, NotPermitted, PreconditionFailed
from app.ids import new_id
from app.models import Asset, CameraPosition, Site
from app.registry import areas, asset_kinds, cameras, life
from app.registry.camera_register import tag
from app.registry.cameras import Near, Search
from app.registry.life import Step

FIELDS: Final = (
    "name", "address", "latitude", "longitude", "quantity", "manager_name", "phone", "installed_on", "programme",
    "programme_year", "parent_id", "site_id",
)  # fmt: skip
MOST_LINKED: Final = 20


async def record(session: AsyncSession, actor: Actor, asset_id: UUID) -> dict[str, Any]:
    """All that the register knows of an asset, for who may locate it; `version` is its ETag.

    Of the linked cameras those are told that the actor may locate; `camera_link` says how they were found.
    """
    asset = await life.seen(session, actor, "assets", asset_id)
    linked = await session.scalars(
        select(CameraPosition.id).where(
            CameraPosition.id.in_(asset.camera_ids), rights.permitted(actor, "locate")
        )
    )  # fmt: skip
    seen = set(linked)
    children = await session.execute(
        select(Asset.id, Asset.kind, Asset.status).where(Asset.parent_id == asset_id).order_by(Asset.id)
    )
    carried = await session.execute(
        select(CameraPosition.id, CameraPosition.status).where(
            CameraPosition.pole_id == asset_id, rights.permitted(actor, "locate")
        )
    )  # fmt: skip
    return {
        "id": asset.id, "kind": asset.kind, "owner_agency_id": asset.owner_agency_id, "status": asset.status,
        **{name: getattr(asset, name) for name in FIELDS},
        "details": asset.details, "external_key": asset.external_key, "area_ids": asset.area_ids,
        "camera_ids": [camera_id for camera_id in asset.camera_ids if camera_id in seen],
        "camera_link": asset.camera_link, "replaces_id": asset.replaces_id, "retired_at": asset.retired_at,
        "changed_at": asset.changed_at,
        "children": [
            *({"id": row.id, "kind": row.kind, "status": row.status} for row in children),
            *({"id": row.id, "kind": "camera", "status": row.status} for row in carried),
        ],
        "version": tag(asset.changed_at),
    }  # fmt: skip


async def add(session: AsyncSession, actor: Actor | None, owner: UUID, kind: str, fields: Mapping[str, Any]) -> UUID:
    """A new asset of an agency. With `replaces_id` it takes the place of another of its kind, which retires."""
    if actor is not None and not (actor.may("register") and owner in actor.acts_for_ids):
        raise NotPermitted("only an administrator of the owning agency keeps its register", missing="register")
    asset_kinds.check_kind(kind)
    status = fields.get("status", "planned")
    if status not in ("planned", "installed", "active"):
        raise Malformed("a new asset is planned, installed or active", field="status")
    asset_id = new_id()
    values = await _checked(session, owner, fields)
    if (replaces_id := fields.get("replaces_id")) is not None:
        old = await life.owned(session, actor, "assets", replaces_id)
        if old.kind != kind:
            raise Malformed(f"it is a {old.kind}; a {kind} replaces another {kind}", field="replaces_id")
        if old.retired_at is None:
            await life.change(session, actor, "assets", replaces_id, Step("retired", note="replaced"))
    number = str((fields.get("details") or {}).get("management_number", ""))
    await session.execute(
        insert(Asset).values(
            id=asset_id, kind=kind, owner_agency_id=owner, external_key=f"hand:{number or asset_id}", status=status,
            replaces_id=replaces_id, details=asset_kinds.check_details(kind, fields.get("details") or {}),
            **{"name": asset_kinds.LABELS[kind], **values},
        )
    )  # fmt: skip
    await _link(session, actor, asset_id, fields)
    await entries.append(
        session,
        entries.entry(
            actor, "asset.added", owner_agency_id=owner, subject=("asset", asset_id), kind=kind, status=status,
            replaces=replaces_id, name=fields.get("name"), programme=fields.get("programme"),
        ),
    )  # fmt: skip
    return asset_id


async def change(
    session: AsyncSession,
    actor: Actor | None,
    asset_id: UUID,
    fields: Mapping[str, Any],
    *,
    if_match: str | None = None,
) -> None:
    """Change what is known of an asset; what is left out stays, in `details`, too (null removes a field there).

    `camera_ids` declares the linked cameras; `link_radius_metres` links the nearest one of the owner instead.
    """
    asset = await life.owned(session, actor, "assets", asset_id)
    if if_match is not None and if_match.strip() not in ("*", tag(asset.changed_at)):
        raise PreconditionFailed("it was changed meanwhile: read the record again")
    if asset.retired_at is not None:
        raise Conflict(f"the {asset.kind} is retired")
    values = await _checked(session, asset.owner_agency_id, fields, asset_id)
    if "details" in fields:
        values["details"] = asset_kinds.check_details(asset.kind, {**asset.details, **(fields["details"] or {})})
    if values:
        await session.execute(
            update(Asset).where(Asset.id == asset_id).values(**values, changed_at=text("clock_timestamp()"))
        )
    await _link(session, actor, asset_id, fields)
    await entries.append(
        session,
        entries.entry(
            actor, "asset.changed", owner_agency_id=asset.owner_agency_id, subject=("asset", asset_id),
            fields=sorted(fields),
        ),
    )  # fmt: skip
    await session.refresh(asset)


async def _checked(
    session: AsyncSession, owner: UUID, fields: Mapping[str, Any], asset_id: UUID | None = None
) -> dict[str, Any]:
    values = {name: fields[name] for name in FIELDS if name in fields}
    if ("latitude" in values) != ("longitude" in values):
        raise Malformed("latitude and longitude go together", field="latitude")
    if values.get("latitude") is not None:
        locator = await areas.locator(session)
        (values["area_ids"],) = locator.locate([values["longitude"]], [values["latitude"]])
    elif "latitude" in values:
        values["area_ids"] = []
    if (parent_id := values.get("parent_id")) is not None:
        parent = await session.get(Asset, parent_id)
        if parent is None or parent.kind != "pole" or parent.owner_agency_id != owner or parent_id == asset_id:
            raise NotFound("there is no such pole of this agency", field="parent_id")
    if (site_id := values.get("site_id")) is not None:
        site = await session.get(Site, site_id)
        if site is None or site.owner_agency_id != owner:
            raise NotFound("there is no such site of this agency", field="site_id")
    return values


async def _link(session: AsyncSession, actor: Actor | None, asset_id: UUID, fields: Mapping[str, Any]) -> None:
    if "camera_ids" in fields:
        wanted: Sequence[UUID] = list(dict.fromkeys(fields["camera_ids"] or ()))[:MOST_LINKED]
        query = select(CameraPosition.id).where(CameraPosition.id.in_(wanted))
        if actor is not None:
            query = query.where(rights.permitted(actor, "locate"))
        known = set(await session.scalars(query))
        if missing := [str(one) for one in wanted if one not in known]:
            raise NotFound(f"there is no such camera, or you may not know of it: {missing[0]}", field="camera_ids")
        linked, how = list(wanted), "declared" if wanted else ""
    elif (radius := fields.get("link_radius_metres")) is not None:
        asset = await session.get_one(Asset, asset_id, populate_existing=True)
        if asset.latitude is None or asset.longitude is None or actor is None:
            raise Malformed("it has no place from which a camera could be near", field="link_radius_metres")
        search = Search(
            near=Near(asset.latitude, asset.longitude, radius), owner_agency_id=asset.owner_agency_id
        )  # fmt: skip
        found = await cameras.visible_to(session, actor, search, limit=1)
        linked, how = [row["id"] for row in found], "nearest" if found else ""
    else:
        return
    await session.execute(
        update(Asset)
        .where(Asset.id == asset_id)
        .values(camera_ids=linked, camera_link=how, changed_at=text("clock_timestamp()"))
    )
