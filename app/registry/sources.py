"""Stream sources: where a camera's pictures come from. The address is sealed at rest and never shown."""

from uuid import UUID

from sqlalchemy import func, select, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.access import rights
from app.actor import Actor
from app.audit import entries
from app.database import Database
from app.errors import CameraOffline, NotFound, NotPermitted
from app.ids import new_id
from app.keys import Keys
from app.models import CameraPosition, StreamSource
from app.registry.addresses import Networks, safe_source

SEAL = "stream-source"

_LIVE = "SELECT profile, address_sealed FROM stream_sources WHERE position_id = $1 AND mode = 'live'"
_SEEN = """
UPDATE stream_sources SET codec = $3, width = $4, height = $5, kbps = coalesce($6, kbps)
WHERE position_id = $1 AND profile = $2 AND mode = 'live'
    AND (codec, width, height, coalesce(kbps, 0)) IS DISTINCT FROM ($3, $4, $5, coalesce($6, kbps, 0))
"""


def seal(keys: Keys, position_id: UUID, mode: str, profile: str, address: str) -> bytes:
    """The address, encrypted so that it opens for this source of this position only."""
    return keys.seal(SEAL, address.encode(), f"{position_id}/{mode}/{profile}".encode())


def unseal(keys: Keys, position_id: UUID, mode: str, profile: str, sealed: bytes) -> str:
    """The address in the clear, credentials included: for the gateway's own hands only."""
    return keys.unseal(SEAL, sealed, f"{position_id}/{mode}/{profile}".encode()).decode()


async def address(database: Database, keys: Keys, position_id: UUID, profile: str) -> str:
    """A camera's live address in the clear, of the profile asked for or else the main one; CameraOffline if none."""
    async with database.bare.acquire(timeout=1) as connection:
        rows = await connection.fetch(_LIVE, position_id, timeout=2)
    known = {row["profile"]: row["address_sealed"] for row in rows}
    found = profile if profile in known else "main"
    if found not in known:
        raise CameraOffline("this camera has no live source")
    return unseal(keys, position_id, "live", found, known[found])


async def seen(
    database: Database, position_id: UUID, profile: str, *, codec: str, width: int, height: int, kbps: int
) -> None:
    """Note what a camera's stream turned out to be, for those who are told before they watch."""
    async with database.bare.acquire(timeout=1) as connection:
        await connection.execute(_SEEN, position_id, profile, codec, width, height, kbps or None, timeout=2)


async def put(
    session: AsyncSession,
    actor: Actor | None,
    keys: Keys,
    position_id: UUID,
    address: str,
    allowed: Networks,
    *,
    mode: str = "live",
    profile: str = "main",
) -> None:
    """Set or replace a camera's source. Only the owner's administrators; unsafe addresses are refused."""
    located = rights.permitted(actor, "locate") if actor is not None else true()
    position = await session.scalar(
        select(CameraPosition).where(CameraPosition.id == position_id, CameraPosition.retired_at.is_(None), located)
    )
    if position is None:
        raise NotFound("there is no such camera, or you may not know of it")
    if actor is not None and not (actor.may("register") and position.owner_agency_id in actor.acts_for_ids):
        raise NotPermitted("only an administrator of the owning agency may set a camera's source")
    safe_source(address, allowed)
    statement = insert(StreamSource).values(
        id=new_id(),
        position_id=position_id,
        mode=mode,
        profile=profile,
        address_sealed=seal(keys, position_id, mode, profile, address),
        key_id=keys.key_id,
    )
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=[StreamSource.position_id, StreamSource.mode, StreamSource.profile],
            set_={
                "address_sealed": statement.excluded.address_sealed,
                "key_id": statement.excluded.key_id,
                "codec": "",  # another device may stand behind another address
                "width": None,
                "height": None,
                "kbps": None,
                "changed_at": func.now(),
            },
        )
    )
    await session.execute(
        update(CameraPosition)
        .where(CameraPosition.id == position_id)
        .values(has_stream=True, changed_at=func.now())
    )  # fmt: skip
    await entries.append(
        session,
        entries.entry(
            actor, "source.changed", camera_id=position_id, owner_agency_id=position.owner_agency_id,
            mode=mode, profile=profile,
        ),
    )  # fmt: skip


async def described(session: AsyncSession, position_id: UUID) -> list[dict[str, object]]:
    """What may be told of a camera's sources: never their addresses."""
    rows = await session.execute(
        select(StreamSource.mode, StreamSource.profile, StreamSource.codec, StreamSource.width, StreamSource.height)
        .where(StreamSource.position_id == position_id)
        .order_by(StreamSource.mode, StreamSource.profile)
    )
    return [dict(row) for row in rows.mappings()]
