"""How often a login may fail: a leaky bucket (GCRA) per account and address, kept in the database for all workers.

An attacker elsewhere cannot lock out the one on duty: the bucket of an account across all addresses holds only for
addresses from which this account has never signed in.
"""

import ipaddress
import math
from datetime import timedelta
from hashlib import sha256
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import TooManyAttempts
from app.models import KnownAddress, LoginPace

# (failures at once, seconds until one more is tolerated)
PER_ACCOUNT_AND_ADDRESS = (5, 12)
PER_ADDRESS = (30, 2)
PER_ACCOUNT_FROM_STRANGERS = (20, 30)
KNOWN_FOR_DAYS = 90


def _key(*parts: str) -> bytes:
    return sha256("\n".join(parts).encode()).digest()


def _place(address: str) -> str:
    """The address as a place: of IPv6 the /64, of which one customer has every address."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:  # no address at all, such as that of a UNIX socket
        return address
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    return str(ip.ipv4_mapped or ipaddress.ip_network((int(ip), 64), strict=False))


async def _buckets(
    session: AsyncSession, login: str, user_id: UUID | None, address: str
) -> list[tuple[bytes, int, int]]:
    address = _place(address)
    buckets = [
        (_key("both", login, address), *PER_ACCOUNT_AND_ADDRESS),
        (_key("address", address), *PER_ADDRESS),
    ]
    known = user_id is not None and await session.scalar(
        select(KnownAddress.address).where(
            KnownAddress.user_id == user_id,
            KnownAddress.address == address,
            KnownAddress.last_used_at > func.now() - timedelta(days=KNOWN_FOR_DAYS),
        )
    )
    if not known:
        buckets.append((_key("account", login), *PER_ACCOUNT_FROM_STRANGERS))
    return buckets


async def check(session: AsyncSession, login: str, user_id: UUID | None, address: str) -> None:
    """Refuse (429) when the login has failed too often lately; the answer says how many seconds to wait."""
    for key, burst, seconds in await _buckets(session, login, user_id, address):
        ahead = await session.scalar(
            select(func.extract("epoch", LoginPace.free_at - func.now())).where(LoginPace.key == key)
        )
        excess = float(ahead or 0) - (burst - 1) * seconds
        if excess > 0:
            raise TooManyAttempts(
                "too many failed logins; wait and try again / 로그인 실패가 많습니다. 잠시 후 다시 시도하십시오",
                retry_after_seconds=math.ceil(excess),
            )


async def failed(session: AsyncSession, login: str, user_id: UUID | None, address: str) -> None:
    """Count one failure in every bucket it belongs to."""
    for key, burst, seconds in await _buckets(session, login, user_id, address):
        step = text(f"interval '{seconds} seconds'")
        statement = insert(LoginPace).values(key=key, free_at=func.now() + step)
        await session.execute(
            statement.on_conflict_do_update(
                index_elements=[LoginPace.key],
                set_={
                    "free_at": func.least(
                        func.greatest(LoginPace.free_at, func.now()) + step,
                        func.now() + text(f"interval '{seconds * burst} seconds'"),
                    )
                },
            )
        )


async def succeeded(session: AsyncSession, user_id: UUID, address: str) -> None:
    """From now on the account is known at this address."""
    statement = insert(KnownAddress).values(user_id=user_id, address=_place(address))
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=[KnownAddress.user_id, KnownAddress.address], set_={"last_used_at": func.now()}
        )
    )
