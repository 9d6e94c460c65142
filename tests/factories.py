"""Small makers of what tests need. Everything is new and named apart, so tests never meet."""

from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import httpx
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import insert

from app.access import agreements, people
from app.access.agreements import Terms
from app.database import Database
from app.ids import new_id
from app.keys import Keys
from app.models import Area, CameraPosition, Site
from app.registry import agencies, sources
from app.registry.addresses import networks_of

PASSWORD = "a password for tests"
LOOPBACK = networks_of("127.0.0.0/8")
# A hash says itself what checking it costs: thousands of sign-ins need not cost what they do in a city.
_hash = Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
_numbers = count(1)


def name(word: str) -> str:
    return f"{word}-{next(_numbers)}-{uuid4().hex[:6]}"


async def agency(database: Database, kind: str = "municipality", parent: UUID | None = None) -> UUID:
    async with database.begin() as session:
        return await agencies.add(session, None, name=name(kind), kind=kind, parent_id=parent)


@dataclass(frozen=True)
class Person:
    user_id: UUID
    login: str
    agency_id: UUID
    appointment_id: UUID


async def person(database: Database, agency_id: UUID, role: str = "operator", kind: str = "person") -> Person:
    login = name("p").lower()
    async with database.begin() as session:
        user_id = await people.add(session, None, login=login, name="홍길동", secret_hash=_hash, kind=kind)
        appointment_id = await people.appoint(session, None, user_id=user_id, agency_id=agency_id, role=role)
    return Person(user_id, login, agency_id, appointment_id)


async def area(database: Database, code: str = "") -> UUID:
    """An area without a boundary; `code` is a legal-dong code, else one of its own."""
    system = "legal_dong" if code else "local"
    made = Area(id=new_id(), code_system=system, code=code or name("area"), kind="park", name=name("공원"))
    async with database.begin() as session:
        session.add(made)
    return made.id


async def camera(
    database: Database,
    owner: UUID,
    *,
    latitude: float | None = 37.5,
    longitude: float | None = 127.0,
    purposes: tuple[str, ...] = ("crime_prevention",),
    area_ids: tuple[UUID, ...] = (),
    has_stream: bool = True,
) -> UUID:
    site_id, position_id = new_id(), new_id()
    async with database.begin() as session:
        await session.execute(
            insert(Site).values(id=site_id, owner_agency_id=owner, external_key=str(site_id), road_address="별빛로 12")
        )
        await session.execute(
            insert(CameraPosition).values(
                id=position_id, site_id=site_id, ordinal=1, name=name("CAM"), owner_agency_id=owner, latitude=latitude,
                longitude=longitude, installation_purposes=list(purposes), area_ids=list(area_ids), has_stream=has_stream,
            )
        )  # fmt: skip
    return position_id


async def source(database: Database, keys: Keys, camera_id: UUID, url: str, profile: str = "main") -> None:
    async with database.begin() as session:
        await sources.put(session, None, keys, camera_id, url, LOOPBACK, profile=profile)


async def agreement(database: Database, owner: UUID, grantee: UUID, **terms: Any) -> UUID:
    terms = {"verbs": ("locate", "request", "view"), "title": name("협약")} | terms
    async with database.begin() as session:
        return await agreements.make(session, None, owner, Terms(grantee_agency_id=grantee, **terms))


async def sign_in(client: httpx.AsyncClient, who: Person) -> dict[str, str]:
    """The headers of a fresh session."""
    response = await client.post("/v1/sessions", json={"login": who.login, "password": PASSWORD})
    assert response.status_code == 201, response.text
    return {"Authorization": f"Bearer {response.json()['access_token']}"}
