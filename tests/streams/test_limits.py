"""How many may watch at once, and who gives way to an emergency."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import httpx
import pytest

from app.database import Database
from app.errors import CameraFull, GatewayFull, TooManyViews
from app.events import record
from app.events.record import Report
from app.keys import Keys
from app.streams import views
from app.streams.limits import CUT, Limits
from app.streams.urls import Pass
from app.streams.views import Carrier, Ending, Opened
from app.streams.writer import Writer
from tests import actors, factories
from tests.streams.opening import EMERGENCY, MANY, ROUTINE, carrier, granted, opened, writing


@dataclass
class Town:
    """A district's camera, the police room that shares it, and what is needed to open views of it."""

    database: Database
    client: httpx.AsyncClient
    keys: Keys
    writer: Writer
    district: UUID
    police: UUID
    camera: UUID

    async def someone(self, agency: UUID, role: str) -> dict[str, str]:
        return await factories.sign_in(self.client, await factories.person(self.database, agency, role))

    async def a_pass(self, role: str = "room", **asked: object) -> Pass:
        """A grant of one more person: police with a reason, or the district's own people without one."""
        agency = self.district if role == "operator" else self.police
        return await granted(self.client, self.keys, await self.someone(agency, role), self.camera, **asked)

    async def open(self, ticket: Pass, at: Carrier) -> Opened:
        return await opened(self.writer, ticket, at)

    async def row(self, view: Opened) -> asyncpg.Record:
        async with self.database.bare.acquire() as connection:
            return await connection.fetchrow("SELECT * FROM views WHERE id = $1", view.id)


@pytest.fixture
async def town(database: Database, client: httpx.AsyncClient, keys: Keys) -> AsyncIterator[Town]:
    district, police = await factories.agency(database), await factories.agency(database, "police")
    camera = await factories.camera(database, district)
    await factories.agreement(database, district, police)
    async with writing(database) as writer:
        yield Town(database, client, keys, writer, district, police, camera)


def at_most(**limits: int) -> Limits:
    return Limits(**{name: limits.get(name, 1000) for name in Limits.__slots__})


@pytest.mark.parametrize(
    ("limits", "refusal"),
    [({"camera": 2}, CameraFull), ({"gateway": 2}, GatewayFull), ({"agency": 2}, TooManyViews)],
)
async def test_one_more_than_fits_is_refused_and_fits_when_one_left(
    town: Town, limits: dict[str, int], refusal: type[Exception]
) -> None:
    at = await carrier(town.database, at_most(**limits))
    first = await town.open(await town.a_pass(**ROUTINE), at)
    await town.open(await town.a_pass(**ROUTINE), at)
    third = await town.a_pass(**ROUTINE)
    with pytest.raises(refusal):
        await town.open(third, at)
    await views.close(town.writer, first, Ending("client", 1, 1))
    await town.open(third, at)


async def test_a_person_has_a_limit_of_its_own(town: Town) -> None:
    at = await carrier(town.database, at_most(person=1))
    officer = await town.someone(town.police, "room")
    one = await granted(town.client, town.keys, officer, town.camera, **ROUTINE)
    two = await granted(town.client, town.keys, officer, town.camera, **EMERGENCY)
    await town.open(one, at)
    with pytest.raises(TooManyViews):
        await town.open(two, at)
    await town.open(await town.a_pass(**ROUTINE), at)


async def test_a_player_that_is_replaced_does_not_count(town: Town) -> None:
    at = await carrier(town.database, at_most(camera=1))
    ticket = await town.a_pass(**ROUTINE)
    await opened(town.writer, ticket, at, peer="10.9.9.9")
    await opened(town.writer, ticket, at, peer="10.9.9.9")


async def test_many_at_once_are_counted_exactly(town: Town) -> None:
    at = await carrier(town.database, at_most(camera=3))
    passes = [await town.a_pass(**ROUTINE) for _ in range(8)]
    outcomes = await asyncio.gather(*(town.open(one, at) for one in passes), return_exceptions=True)
    assert sum(isinstance(one, Opened) for one in outcomes) == 3
    assert sum(isinstance(one, CameraFull) for one in outcomes) == 5


@pytest.mark.parametrize("place", ["camera", "gateway"])
async def test_an_emergency_takes_the_place_of_the_least_urgent(town: Town, place: str) -> None:
    at = await carrier(town.database, at_most(**{place: 2}))
    duty = await town.open(await town.a_pass("operator"), at)
    routine = await town.open(await town.a_pass(**ROUTINE), at)
    told: list[str] = []
    async with town.database.bare.acquire() as connection:
        hear = lambda *news: told.append(news[3])  # noqa: E731
        await connection.add_listener("gwanje", hear)
        emergency = await town.open(await town.a_pass(**EMERGENCY), at)
        await connection.execute("SELECT 1")  # what was told before it has been heard by then
        await connection.remove_listener("gwanje", hear)
    assert (await town.row(duty))["preempted_by"] == emergency.id
    assert (await town.row(routine))["preempted_by"] is None
    (cut,) = [one for one in told if one.startswith(f"{CUT} ")]
    assert cut == f"{CUT} {duty.id} pre_empted {duty.permit.facts['session_id']} {town.camera}"
    async with town.database.bare.acquire() as connection:
        entry = await connection.fetchval(
            "SELECT payload::text FROM audit_entries WHERE subject_id = $1 AND act = 'view.opened'", emergency.id
        )
    assert str(duty.id) in entry
    second = await town.open(await town.a_pass(**EMERGENCY), at)
    assert (await town.row(routine))["preempted_by"] == second.id
    with pytest.raises((CameraFull, GatewayFull)):
        await town.open(await town.a_pass(**EMERGENCY), at)


async def test_who_is_not_in_an_emergency_takes_nobodys_place(town: Town) -> None:
    at = await carrier(town.database, at_most(camera=1))
    await town.open(await town.a_pass("operator"), at)
    with pytest.raises(CameraFull):
        await town.open(await town.a_pass(**ROUTINE), at)


async def test_an_owners_view_of_an_alarm_is_never_taken(town: Town) -> None:
    at = await carrier(town.database, at_most(camera=1))
    owner = await factories.person(town.database, town.district, "operator")
    async with town.database.begin() as session:
        rung = await record.record(
            session,
            await actors.actor_of(town.database, owner),
            Report(kind="analytic.fire", source="vms", source_key="1", subject_kind="cameras", subject_id=town.camera),
        )
    headers = await factories.sign_in(town.client, owner)
    ticket = await granted(town.client, town.keys, headers, town.camera, event_id=str(rung.id))
    alarm = await town.open(ticket, at)
    assert (await town.row(alarm))["protected"]
    with pytest.raises(CameraFull):
        await town.open(await town.a_pass(**EMERGENCY), at)


async def test_an_alarm_opens_nothing_that_is_not_the_owners(town: Town) -> None:
    """An alarm of one's own is no reason to see another agency's camera."""
    police = await factories.person(town.database, town.police, "room")
    async with town.database.begin() as session:
        own = await record.record(
            session,
            await actors.actor_of(town.database, police),
            Report(kind="analytic.fire", source="vms", source_key="1"),
        )
    headers = await factories.sign_in(town.client, police)
    asked = {"camera_ids": [str(town.camera)], "event_id": str(own.id)}
    response = await town.client.post("/v1/grants", json=asked, headers=headers)
    assert (response.status_code, response.json()["field"]) == (422, "purpose")


async def test_code_0_is_for_control_rooms_with_an_incident(town: Town) -> None:
    incident = "0192b8a0-0000-7000-8000-000000000001"
    body = {"camera_ids": [str(town.camera)], **ROUTINE, "urgency": 0}
    room = await town.someone(town.police, "room")
    field = await town.someone(town.police, "field")
    assert (await town.client.post("/v1/grants", json=body, headers=room)).status_code == 403
    body["incident_id"] = incident
    assert (await town.client.post("/v1/grants", json=body, headers=field)).status_code == 403
    ticket = await granted(town.client, town.keys, room, town.camera, **ROUTINE, urgency=0, incident_id=incident)
    view = await town.open(ticket, await carrier(town.database, MANY))
    row = await town.row(view)
    assert (row["urgency"], row["protected"]) == (0, True)
