"""Controls: where a camera itself is spoken with (ONVIF). The address is sealed at rest and never shown."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.access import rights
from app.actor import Actor
from app.audit import entries
from app.database import Database
from app.errors import CameraOffline, Malformed, NotFound, NotPermitted
from app.keys import Keys
from app.models import Asset, CameraControl, CameraPosition
from app.registry import sources
from app.registry.addresses import Networks, safe_source

SEAL = "camera-control"
MOST_TOKEN = 64


@dataclass(frozen=True, slots=True)
class Control:
    """A camera's control in the clear: for the gateway's own hands only."""

    address: str
    services: dict[str, str]
    profile: str
    changed_at: Any

    def __repr__(self) -> str:
        return "Control(…)"


async def administered(session: AsyncSession, actor: Actor, camera_id: UUID) -> UUID:
    """The owner of a camera that the actor administers. Raises NotFound, NotPermitted."""
    owner: UUID | None = await session.scalar(
        select(CameraPosition.owner_agency_id).where(
            CameraPosition.id == camera_id, CameraPosition.retired_at.is_(None), rights.permitted(actor, "locate")
        )
    )
    if owner is None:
        raise NotFound("there is no such camera, or you may not know of it")
    if not (actor.may("register") and owner in actor.acts_for_ids):
        raise NotPermitted("only an administrator of the owning agency may set up and probe a camera")
    return owner


async def put(
    session: AsyncSession,
    actor: Actor,
    keys: Keys,
    camera_id: UUID,
    address: str,
    allowed: Networks,
    *,
    home_preset: str = "",
    listens: bool = False,
    bell_id: UUID | None = None,
) -> None:
    """Set or replace where a camera is spoken with: http(s)://user:password@host/onvif/device_service.

    `home_preset` is the view it is brought back to, `listens` whether its own events are taken, `bell_id` the bell of
    the same owner on its digital input. Raises UnsafeSource, NotFound, NotPermitted, Malformed.
    """
    owner = await administered(session, actor, camera_id)
    source = safe_source(address, allowed)
    if source.scheme not in {"http", "https"}:
        raise Malformed("url begins with http:// or https://, such as http://user:password@host/onvif/device_service",
                        field="url")  # fmt: skip
    if len(home_preset) > MOST_TOKEN or not home_preset.isprintable():
        raise Malformed("home_preset is the token of a preset", field="home_preset")
    if bell_id is not None:
        of = select(Asset.id).where(Asset.id == bell_id, Asset.kind == "bell", Asset.owner_agency_id == owner)
        if await session.scalar(of) is None:
            raise NotFound("there is no such bell of this camera's owner", field="bell_id")
    values = {
        "address_sealed": keys.seal(SEAL, address.encode(), str(camera_id).encode()), "key_id": keys.key_id,
        "home_preset": home_preset, "listens": listens, "bell_id": bell_id,
    }  # fmt: skip
    statement = insert(CameraControl).values(camera_id=camera_id, **values)
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=[CameraControl.camera_id],
            set_={**values, "services": {}, "profile": "", "changed_at": func.clock_timestamp(), "leased_until": None},
        )
    )
    await entries.append(
        session,
        entries.entry(
            actor, "control.changed", camera_id=camera_id, owner_agency_id=owner, home_preset=home_preset,
            listens=listens, bell_id=bell_id,
        ),
    )  # fmt: skip


_OF = "SELECT address_sealed, services, profile, changed_at FROM camera_controls WHERE camera_id = $1"
_LEARN = """
UPDATE camera_controls SET services = $2::jsonb, profile = $3 WHERE camera_id = $1 AND changed_at = $4
"""


async def of(database: Database, keys: Keys, camera_id: UUID) -> Control:
    """A camera's control in the clear; without one of its own, at the host and with the credentials of its source."""
    async with database.bare.acquire(timeout=1) as connection:
        row = await connection.fetchrow(_OF, camera_id, timeout=2)
    if row is not None:
        address = keys.unseal(SEAL, row["address_sealed"], str(camera_id).encode()).decode()
        return Control(address, orjson.loads(row["services"]), row["profile"], row["changed_at"])
    live = await sources.address(database, keys, camera_id, "main")
    scheme, _, rest = live.partition("://")
    if scheme not in {"rtsp", "rtsps"}:
        raise CameraOffline("this camera has no control; set one with PUT /v1/cameras/{id}/control")
    place = rest.partition("/")[0].partition("?")[0]
    userinfo, at, host = place.rpartition("@")
    host = host if host.endswith("]") else host.rpartition(":")[0] or host
    return Control(f"http://{userinfo}{at}{host}/onvif/device_service", {}, "", None)


async def learnt(database: Database, camera_id: UUID, services: dict[str, str], profile: str, changed_at: Any) -> None:
    """Note what a camera offers, for the next time; nothing, when its control was changed meanwhile."""
    async with database.bare.acquire(timeout=1) as connection:
        await connection.execute(_LEARN, camera_id, orjson.dumps(services).decode(), profile, changed_at, timeout=2)
