"""Alarms: noticed by name, judged, told again, escalated; and what of it reaches whom."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import text

from app.access import rights
from app.database import Database
from app.errors import Malformed, NotFound, NotPermitted
from app.events.catalogue import KINDS
from app.feed import alarms
from app.feed.members import Viewer
from tests import factories
from tests.actors import actor


async def viewer(database: Database, agency: UUID, role: str = "operator") -> Viewer:
    who = await actor(database, agency, role)
    async with database.begin() as session:
        return Viewer(who, await rights.scopes(session, who, "locate"))


class Bell:
    """A district whose bell was pressed, and what the log says of it."""

    def __init__(self, database: Database, agency: UUID, event_id: UUID) -> None:
        self.database, self.agency, self.event_id = database, agency, event_id

    async def told(self) -> list[tuple[str, dict[str, Any]]]:
        """What the log has about the alarm, in the order of writing."""
        async with self.database.begin() as session:
            rows = await session.execute(
                text("SELECT kind, data FROM events WHERE regards_id = :id ORDER BY at, id"), {"id": self.event_id}
            )
            return [(row.kind, row.data) for row in rows]

    async def clock(self) -> Any:
        async with self.database.begin() as session:
            return (
                await session.execute(text("SELECT * FROM alarms WHERE event_id = :id"), {"id": self.event_id})
            ).one()

    async def wait(self, seconds: float) -> int:
        """As if so much time had passed for this alarm; returns how many of what is due was told."""
        async with self.database.begin() as session:
            await session.execute(
                text("UPDATE alarms SET due_at = due_at - CAST(:by AS interval) WHERE event_id = :id"),
                {"by": timedelta(seconds=seconds), "id": self.event_id},
            )
        async with self.database.begin() as session:
            return await alarms.remind(session)

    async def acknowledge(self, who: Viewer, room: UUID | None = None) -> None:
        async with self.database.begin() as session:
            await alarms.acknowledge(session, who, self.event_id, room)

    async def judge(self, who: Viewer, verdict: str, **more: Any) -> None:
        async with self.database.begin() as session:
            await alarms.judge(session, who, self.event_id, verdict, **more)


async def pressed(client: httpx.AsyncClient, database: Database, agency: UUID, **more: object) -> UUID:
    system = await factories.sign_in(client, await factories.person(database, agency, "integration"))
    event = {"specversion": "1.0", "id": uuid4().hex, "source": "bells", "type": "kr.gwanje.bell.pressed"} | more
    answer = await client.post("/v1/events", json=event, headers=system)
    assert answer.status_code == 202, answer.text
    return UUID(answer.json()["events"][0]["id"])


@pytest.fixture
async def bell(client: httpx.AsyncClient, database: Database) -> Bell:
    agency = await factories.agency(database)
    return Bell(database, agency, await pressed(client, database, agency))


PATIENCE = KINDS["bell.pressed"].acknowledge_seconds


async def test_an_alarm_that_nobody_notices_is_told_again_twice_and_then_escalated_once(bell: Bell) -> None:
    assert PATIENCE > 0
    assert (await bell.clock()).due_at is not None
    await bell.wait(PATIENCE / 2)
    assert await bell.told() == []
    for _ in range(5):
        await bell.wait(PATIENCE + 1)
    said = await bell.told()
    assert [kind for kind, _ in said] == ["alarm.repeated", "alarm.repeated", "alarm.escalated"]
    assert said[2][1]["target"] == {"agency_id": str(bell.agency), "role": "shift_lead"}
    assert (await bell.clock()).due_at is None


async def test_who_notices_stops_the_clock_by_name_and_once(bell: Bell) -> None:
    who = await viewer(bell.database, bell.agency)
    await bell.acknowledge(who)
    await bell.acknowledge(who)
    await bell.wait(PATIENCE + 1)
    ((kind, data),) = await bell.told()
    assert (kind, data["by"], data["room"]) == ("alarm.acknowledged", who.actor.login, str(bell.agency))
    assert (await bell.clock()).acknowledged_at is not None
    another = await viewer(bell.database, bell.agency)
    await bell.acknowledge(another)
    assert [data["by"] for _, data in await bell.told()] == [who.actor.login, another.actor.login]


async def test_one_notices_for_a_room_of_ones_own_only(bell: Bell) -> None:
    who = await viewer(bell.database, bell.agency)
    with pytest.raises(NotPermitted) as refused:
        await bell.acknowledge(who, await factories.agency(bell.database))
    assert refused.value.extra["field"] == "room"
    assert await bell.told() == []


async def test_strangers_learn_nothing_of_an_alarm(bell: Bell) -> None:
    stranger = await viewer(bell.database, await factories.agency(bell.database))
    for act in (bell.acknowledge(stranger), bell.judge(stranger, "false")):
        with pytest.raises(NotFound):
            await act
    async with bell.database.begin() as session:
        assert await alarms.standing(session, stranger, 10) == []
        with pytest.raises(NotFound):
            await alarms.history(session, stranger, bell.event_id)


@pytest.mark.parametrize("verdict", ["real", "false"])
async def test_a_verdict_closes_an_alarm(bell: Bell, verdict: str) -> None:
    who = await viewer(bell.database, bell.agency)
    async with bell.database.begin() as session:
        assert [row["id"] for row in await alarms.standing(session, who, 10)] == [bell.event_id]
    await bell.judge(who, verdict, note="장난")
    await bell.wait(PATIENCE + 1)
    ((kind, data),) = await bell.told()
    assert (kind, data["verdict"], data["note"]) == ("alarm.judged", verdict, "장난")
    async with bell.database.begin() as session:
        assert await alarms.standing(session, who, 10) == []


async def test_a_duplicate_names_the_event_that_it_repeats(client: httpx.AsyncClient, bell: Bell) -> None:
    who = await viewer(bell.database, bell.agency)
    elsewhere = await pressed(client, bell.database, await factories.agency(bell.database))
    for wrong in ({}, {"duplicate_of": bell.event_id}):
        with pytest.raises(Malformed):
            await bell.judge(who, "duplicate", **wrong)
    with pytest.raises(NotFound):
        await bell.judge(who, "duplicate", duplicate_of=elsewhere)
    first = await pressed(client, bell.database, bell.agency)
    await bell.judge(who, "duplicate", duplicate_of=first)
    assert (await bell.told())[0][1]["duplicate_of"] == str(first)


async def test_escalated_by_a_person_it_is_told_above_at_once(bell: Bell) -> None:
    who = await viewer(bell.database, bell.agency)
    await bell.judge(who, "escalated")
    await bell.wait(1)
    assert [kind for kind, _ in await bell.told()] == ["alarm.judged", "alarm.escalated"]
    await bell.judge(who, "escalated")  # it is there already
    await bell.wait(PATIENCE + 1)
    assert [kind for kind, _ in await bell.told()].count("alarm.escalated") == 1


async def test_who_sees_no_footage_judges_nothing(bell: Bell) -> None:
    with pytest.raises(NotPermitted):
        await bell.judge(await viewer(bell.database, bell.agency, "admin"), "false")


async def test_the_doors_say_the_same(client: httpx.AsyncClient, database: Database, bell: Bell) -> None:
    person = await factories.person(database, bell.agency)
    operator = await factories.sign_in(client, person)
    listed = (await client.get("/v1/alarms", headers=operator)).json()["items"]
    assert [item["event"]["id"] for item in listed] == [str(bell.event_id)]
    assert listed[0]["acknowledged_at"] is None
    base = f"/v1/events/{bell.event_id}"
    assert (await client.post(f"{base}/acknowledgements", headers=operator)).status_code == 201
    answer = await client.post(f"{base}/verdicts", json={"verdict": "wrong"}, headers=operator)
    assert (answer.status_code, answer.json()["field"]) == (422, "verdict")
    assert (await client.post(f"{base}/verdicts", json={"verdict": "real"}, headers=operator)).status_code == 201
    kinds = [item["kind"] for item in (await client.get(f"{base}/verdicts", headers=operator)).json()["items"]]
    assert kinds == ["acknowledged", "real"]
    assert (await client.get("/v1/alarms", headers=operator)).json()["items"] == []
    stranger = await factories.sign_in(client, await factories.person(database, await factories.agency(database)))
    for method, path in (("POST", "acknowledgements"), ("GET", "verdicts")):
        assert (await client.request(method, f"{base}/{path}", headers=stranger)).status_code == 404


async def test_of_a_restricted_alarm_others_hear_nothing(client: httpx.AsyncClient, database: Database) -> None:
    agency, police = await factories.agency(database), await factories.agency(database, "police")
    await factories.agreement(database, agency, police)
    event_id = await pressed(client, database, agency, restriction="protected person")
    own, other = await viewer(database, agency), await viewer(database, police, "room")
    bell = Bell(database, agency, event_id)
    with pytest.raises(NotFound):
        await bell.acknowledge(other)
    await bell.acknowledge(own)
    async with database.begin() as session:
        rows = await session.execute(text("SELECT restriction FROM events WHERE regards_id = :id"), {"id": event_id})
        assert list(rows.scalars()) == ["protected person"]
