"""What the tests of opening views share: grants as passes, a writer, a carrier that is never found dead."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import httpx

from app.database import Database
from app.keys import Keys
from app.streams import views
from app.streams.limits import Limits
from app.streams.urls import Pass, read
from app.streams.views import Asking, Carrier, Opened
from app.streams.writer import Writer

EMERGENCY = {"purpose": "emergency_response", "basis": "KR-PIPA-18-2-3"}
ROUTINE = {"purpose": "crime_prevention", "basis": "KR-PIPA-17-1-2"}
MANY = Limits(person=1000, agency=1000, camera=1000, gateway=1000)
_addresses: Iterator[str] = (f"10.0.{n // 250}.{n % 250 + 1}" for n in range(60_000))


@asynccontextmanager
async def writing(database: Database) -> AsyncIterator[Writer]:
    writer = Writer(database, lambda: None)
    running = asyncio.create_task(writer.run())
    try:
        yield writer
    finally:
        running.cancel()


async def carrier(database: Database, limits: Limits = MANY, gateway: str = "") -> Carrier:
    """A gateway of its own, with a process whose life is vouched for."""
    name = gateway or f"gateway-{uuid4().hex[:8]}"
    async with database.bare.acquire() as connection:
        await connection.execute(
            "INSERT INTO nodes (name, seen_at) VALUES ($1, now() + interval '1 day') ON CONFLICT DO NOTHING", name
        )
    return Carrier(name, name, limits)


async def granted(
    client: httpx.AsyncClient, keys: Keys, headers: dict[str, str], camera: UUID, **asked: object
) -> Pass:
    """The pass of a fresh grant."""
    response = await client.post("/v1/grants", json={"camera_ids": [str(camera)], **asked}, headers=headers)
    assert response.status_code == 201, response.text
    return pass_of(keys, response.json()["grants"][0])


def pass_of(keys: Keys, grant: dict) -> Pass:
    return read(keys, grant["streams"][0]["url"].split("/v/")[1].split("/")[0])


async def opened(writer: Writer, ticket: Pass, at: Carrier, *, peer: str = "", **asking: str) -> Opened:
    """The view of a player that asks from an address of its own."""
    protocol = asking.pop("protocol", "fmp4")
    return await views.open(writer, ticket, Asking(protocol, peer or next(_addresses), **asking), at)
