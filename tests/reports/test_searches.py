"""Searches: everything that was seen is found once, by whoever may know of it, and nothing is found by others."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.actor import Actor
from app.database import Database
from app.errors import Malformed
from app.ids import new_id
from app.reports import searches
from app.reports.searches import VIEW, WALL, Access, Wanted
from tests import factories
from tests.actors import actor, actor_of
from tests.reports.past import MONTH, Past, at

PROVISION = {"basis": "KR-PIPA-18-2-7", "purpose": "crime_investigation"}


async def search(database: Database, who: Actor, **more: Any) -> list[Access]:
    terms: dict[str, Any] = {"reason": "민원 확인", "since": MONTH.since, "until": MONTH.until}
    async with database.begin() as session:
        return await searches.accesses(session, who, Wanted(**terms | more))


async def paged(database: Database, who: Actor, limit: int, **more: Any) -> list[Access]:
    """All pages, one after the other."""
    found: list[Access] = []
    while page := await search(database, who, limit=limit, before=found[-1].key if found else None, **more):
        found += page
    return found


def ids(found: Sequence[Access]) -> list[UUID]:
    return [one.id for one in found]


async def test_who_has_seen_this_camera_views_and_walls(database: Database) -> None:
    past, police = await Past.of(database), await factories.agency(database, "police")
    camera, other = await past.camera(), await past.camera()
    own, officer = await past.person(), await past.person("room", police)
    views = [await past.view(own, camera, at(3, 9)), await past.view(officer, camera, at(3, 11), **PROVISION)]
    await past.view(own, other, at(3, 10))
    await past.wall(own, camera, at(3, 10), (0, 600), (1800, 60))
    auditor = await actor(database, past.agency, "auditor")
    found = await search(database, auditor, camera_id=camera)
    assert [one.source for one in found] == [VIEW, WALL, VIEW]
    assert ids(found)[::2] == views[::-1]
    assert found[1].row["user_id"] == own.user_id
    # At the very minute: the wall showed it until 10:10, and again for a minute at 10:30.
    for minute, seen in ((5, True), (20, False), (30.5, True), (45, False)):
        since = at(3, 10) + timedelta(minutes=minute)
        within = await search(database, auditor, camera_id=camera, since=since, until=since + timedelta(seconds=10))
        assert [one.source for one in within] == [WALL] * seen, minute


async def test_pages_hold_everything_once_also_at_one_moment(database: Database) -> None:
    past = await Past.of(database)
    camera, who = await past.camera(), await past.person()
    for hour in (9, 10, 11):
        await past.view(who, camera, at(4, hour))
        await past.wall(who, camera, at(4, hour), (0, 60))  # its id lies between those of the views
        for _ in range(2):
            await past.view(who, camera, at(4, hour))
    auditor = await actor(database, past.agency, "auditor")
    whole = await search(database, auditor, camera_id=camera)
    assert len(whole) == 12
    assert [one.began_at for one in whole] == sorted((one.began_at for one in whole), reverse=True)
    for limit in (1, 5):
        for by in ({"camera_id": camera}, {"user_id": who.user_id}, {"camera_id": camera, "user_id": who.user_id}):
            assert [one.key for one in await paged(database, auditor, limit, **by)] == [one.key for one in whole]
    assert len(await paged(database, auditor, 4)) == 9, "by period alone: single views"


async def test_what_did_this_person_see_for_whom_it_is(database: Database) -> None:
    past, police = await Past.of(database), await factories.agency(database, "police")
    camera, officer = await past.camera(), await past.person("room", police)
    here = await past.view(officer, camera, at(5), **PROVISION)
    elsewhere = await Past.of(database)
    elsewhere.sessions = past.sessions
    there = await elsewhere.view(officer, await elsewhere.camera(), at(6), **PROVISION)
    everything = [there, here]
    for who, expected in (
        (await actor(database, past.agency, "auditor"), [here]),
        (await actor(database, past.agency, "shift_lead"), [here]),
        (await actor(database, police, "auditor"), everything),
        (await actor_of(database, officer), everything),
        (await actor(database, past.agency), []),
        (await actor(database, police, "room"), []),
        (await actor(database, await factories.agency(database), "auditor"), []),
    ):
        assert ids(await search(database, who, user_id=officer.user_id)) == expected, who.role


async def test_by_incident_reference_and_period(database: Database) -> None:
    past, police = await Past.of(database), await factories.agency(database, "police")
    camera, officer, incident = await past.camera(), await past.person("room", police), new_id()
    number = f"112-{incident.hex[:8]}"
    first = await past.view(officer, camera, at(5), incident=incident, number=number, **PROVISION)
    second = await past.view(officer, camera, at(6), number=number, **PROVISION)
    third = await past.view(officer, camera, at(7), number=number + "9", **PROVISION)
    auditor = await actor(database, past.agency, "auditor")
    assert ids(await search(database, auditor, incident_id=incident)) == [first]
    assert ids(await search(database, auditor, reference=number)) == [second, first]
    assert ids(await search(database, auditor, reference=number, incident_id=incident)) == [first]
    assert ids(await search(database, auditor, reference=number, user_id=new_id())) == []
    assert ids(await search(database, auditor)) == [third, second, first]
    assert ids(await search(database, auditor, since=at(6), until=at(6, 13))) == [second]
    # A view that began before the period and lasted into it was seen in it.
    long = await past.view(officer, camera, at(8, 9), seconds=7200, **PROVISION)
    assert ids(await search(database, auditor, since=at(8, 10), until=at(8, 10.1))) == [long]
    assert ids(await search(database, auditor, since=at(8, 11.1), until=at(8, 12))) == []


async def test_restricted_accesses_stay_restricted(database: Database, client: httpx.AsyncClient) -> None:
    past, police = await Past.of(database), await factories.agency(database, "police")
    camera, officer, incident = await past.camera(), await past.person("room", police), new_id()
    number = f"112-{incident.hex[:8]}"
    view = await past.view(
        officer, camera, at(5), incident=incident, number=number, restriction="protected", **PROVISION
    )
    owner = await past.person("auditor")
    theirs, own = await actor_of(database, owner), await actor(database, police, "auditor")
    for by in ({"user_id": officer.user_id}, {"incident_id": incident}, {"reference": number}):
        assert await search(database, theirs, **by) == []
        assert ids(await search(database, own, **by)) == [view]
    body = {
        "reason": "민원",
        "camera_id": str(camera),
        "since": MONTH.since.isoformat(),
        "until": MONTH.until.isoformat(),
    }
    headers = await factories.sign_in(client, owner)
    answer = await client.post("/v1/reports/accesses/searches", json=body, headers=headers)
    (one,) = answer.json()["items"]
    assert one["restricted"] is True
    for secret in (officer.login, officer.user_id, number, incident, view, "crime_investigation"):
        assert str(secret) not in answer.text
    assert one["agency"]["id"] == str(police)


async def test_a_reason_is_asked_for_and_written_down(database: Database, client: httpx.AsyncClient) -> None:
    past = await Past.of(database)
    camera = await past.camera()
    who = await past.person("auditor")
    me = await actor_of(database, who)
    for wrong in ({"reason": " "}, {"reason": "x" * 201}, {"since": MONTH.until}, {"until": MONTH.after(14).until}):
        with pytest.raises(Malformed):
            await search(database, me, **wrong)
    headers = await factories.sign_in(client, who)
    path = "/v1/reports/accesses/searches"
    assert (await client.post(path, json={"camera_id": str(camera)}, headers=headers)).status_code == 422
    answer = await client.post(path, json={"camera_id": str(camera), "reason": "감사 3호"}, headers=headers)
    assert answer.json() == {"items": [], "next_cursor": None}
    said = await database.bare.fetchval(
        "SELECT payload::text FROM audit_entries WHERE act = 'audit.read' AND camera_id = $1", camera
    )
    assert "감사 3호" in said
    assert str(who.user_id) in said
    for cursor in ("x", "WyIxIl0="):
        wrong = await client.post(path, json={"reason": "x", "cursor": cursor}, headers=headers)
        assert wrong.status_code == 422


async def test_over_http_page_by_page(database: Database, client: httpx.AsyncClient) -> None:
    past = await Past.of(database)
    camera, who = await past.camera(), await past.person()
    for hour in range(5):
        await past.view(who, camera, at(2, 9 + hour))
    await past.wall(who, camera, at(2, 9), (60, 60))
    headers = await factories.sign_in(client, await past.person("shift_lead"))
    body: dict[str, Any] = {
        "reason": "점검", "camera_id": str(camera), "since": MONTH.since.isoformat(), "until": MONTH.until.isoformat(),
        "limit": 2,
    }  # fmt: skip
    found, cursor = [], "first"
    while cursor:
        answer = await client.post("/v1/reports/accesses/searches", json=body, headers=headers)
        page = answer.json()
        found += page["items"]
        cursor = body["cursor"] = page["next_cursor"]
    assert [one["source"] for one in found] == [VIEW] * 4 + [WALL, VIEW]
    (interval,) = found[4]["intervals"]
    assert datetime.fromisoformat(interval["began_at"]) == at(2, 9) + timedelta(seconds=60)
    assert found[0]["who"]["login"] == who.login
    assert found[0]["why"]["basis"] == "KR-PIPA-15-1-3"
