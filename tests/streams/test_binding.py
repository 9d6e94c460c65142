"""A stream URL is of no use to somebody else: consoles are bound to their address, what moves to its device."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import httpx
import pytest
from sqlalchemy import insert

from app.access import sessions
from app.database import Database
from app.errors import BoundElsewhere, GrantEnded
from app.ids import new_id
from app.keys import Keys
from app.models import Terminal
from app.streams import views
from app.streams.urls import Pass
from app.streams.views import Asking
from app.streams.writer import Writer
from tests import factories
from tests.streams.opening import EMERGENCY, carrier, granted, opened, writing


@pytest.fixture
async def writer(database: Database) -> AsyncIterator[Writer]:
    async with writing(database) as running:
        yield running


@pytest.fixture
async def camera(database: Database) -> UUID:
    return await factories.camera(database, await factories.agency(database))


async def police_of(database: Database, camera: UUID) -> UUID:
    async with database.bare.acquire() as connection:
        owner = await connection.fetchval("SELECT owner_agency_id FROM camera_positions WHERE id = $1", camera)
    police = await factories.agency(database, "police")
    await factories.agreement(database, owner, police)
    return police


async def pass_of_role(
    client: httpx.AsyncClient, database: Database, keys: Keys, camera: UUID, role: str, **asked: object
) -> Pass:
    who = await factories.person(database, await police_of(database, camera), role)
    return await granted(client, keys, await factories.sign_in(client, who), camera, **EMERGENCY, **asked)


async def test_a_consoles_url_plays_where_it_first_played(
    client: httpx.AsyncClient, database: Database, keys: Keys, writer: Writer, camera: UUID
) -> None:
    ticket = await pass_of_role(client, database, keys, camera, "room")
    at = await carrier(database)
    await opened(writer, ticket, at, peer="10.1.1.1")
    await opened(writer, ticket, at, peer="10.1.1.1", protocol="hls")
    for protocol in ("fmp4", "mse", "hls", "snapshot", "whep"):
        with pytest.raises(BoundElsewhere):
            await opened(writer, ticket, at, peer="10.1.1.2", protocol=protocol)


async def test_of_two_places_at_once_one_gets_it(
    client: httpx.AsyncClient, database: Database, keys: Keys, writer: Writer, camera: UUID
) -> None:
    ticket = await pass_of_role(client, database, keys, camera, "room")
    at = await carrier(database)
    outcomes = await asyncio.gather(
        *(opened(writer, ticket, at, peer=f"10.2.0.{n}") for n in range(4)), return_exceptions=True
    )
    assert sum(isinstance(one, BoundElsewhere) for one in outcomes) == 3


async def test_a_patrol_car_may_change_its_address(
    client: httpx.AsyncClient, database: Database, keys: Keys, writer: Writer, camera: UUID
) -> None:
    ticket = await pass_of_role(client, database, keys, camera, "field")
    at = await carrier(database)
    await opened(writer, ticket, at, peer="10.3.0.1")
    await opened(writer, ticket, at, peer="172.16.9.9")


async def test_a_tablets_url_needs_the_tablet(
    client: httpx.AsyncClient, database: Database, keys: Keys, writer: Writer, camera: UUID
) -> None:
    police = await police_of(database, camera)
    who, device_key = await factories.person(database, police, "field"), "key-of-a-tablet"
    async with database.begin() as session:
        await session.execute(
            insert(Terminal).values(
                id=new_id(), agency_id=police, name=factories.name("tablet"), kind="tablet",
                device_key_digest=sessions.digest(device_key),
            )
        )  # fmt: skip
    login = {"login": who.login, "password": factories.PASSWORD, "terminal_key": device_key}
    token = (await client.post("/v1/sessions", json=login)).json()["access_token"]
    ticket = await granted(client, keys, {"Authorization": f"Bearer {token}"}, camera, **EMERGENCY)
    other = await granted(client, keys, {"Authorization": f"Bearer {token}"}, camera, **EMERGENCY)
    at = await carrier(database)
    proof = views.proof_of(device_key, ticket.grant_id, ticket.camera_id)
    await opened(writer, ticket, at, peer="10.4.0.1", proof=proof)
    await opened(writer, ticket, at, peer="172.20.0.7", proof=proof)
    wrong = ("", proof[:-1], proof + "A", views.proof_of("another", ticket.grant_id, ticket.camera_id), "é" * 43)
    for each in (*wrong, views.proof_of(device_key, other.grant_id, other.camera_id)):
        with pytest.raises(BoundElsewhere):
            await opened(writer, ticket, at, proof=each)


async def test_a_url_plays_the_protocols_that_were_asked_for(
    client: httpx.AsyncClient, database: Database, keys: Keys, writer: Writer, camera: UUID
) -> None:
    ticket = await pass_of_role(client, database, keys, camera, "room", protocols=["hls"])
    at = await carrier(database)
    await opened(writer, ticket, at, protocol="hls", peer="10.5.0.1")
    with pytest.raises(GrantEnded):
        await opened(writer, ticket, at, protocol="fmp4", peer="10.5.0.1")


async def test_what_is_asked_is_what_is_opened(
    client: httpx.AsyncClient, database: Database, keys: Keys, writer: Writer, camera: UUID
) -> None:
    """The permission itself is looked at without a trace: only opening leaves a view."""
    ticket = await pass_of_role(client, database, keys, camera, "room")
    async with database.bare.acquire() as connection:
        await views.permit(connection, ticket, Asking("fmp4", "10.6.0.1"))
        assert await connection.fetchval("SELECT count(*) FROM views WHERE grant_id = $1", ticket.grant_id) == 0
    view = await opened(writer, ticket, await carrier(database), peer="10.6.0.1")
    async with database.bare.acquire() as connection:
        row = await connection.fetchrow("SELECT * FROM views WHERE id = $1", view.id)
        bound = await connection.fetchval("SELECT bound_address FROM grants WHERE id = $1", ticket.grant_id)
    assert (row["peer"], bound) == ("10.6.0.1", "10.6.0.1")
