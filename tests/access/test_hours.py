"""Hours of agreements: the law in SQL, in memory and on paper agree at any moment; outside them nothing is given."""

import random
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import orjson
import pytest
from sqlalchemy import ARRAY, DateTime, Text, bindparam, func, select, text, update

from app.access import hours, rights
from app.database import Database
from app.errors import Malformed
from app.models import Agreement, AuditEntry, CameraPosition, Grant
from app.streams.reconcile import still_permitted
from app.streams.urls import Pass
from tests import factories
from tests.actors import actor

SEOUL = ZoneInfo("Asia/Seoul")
REASON = {"purpose": "emergency_response", "basis": "KR-PIPA-18-2-3"}
ALWAYS = {"days": [1, 2, 3, 4, 5, 6, 7], "from": "00:00", "to": "00:00"}


def by_paper(window: dict[str, Any], moment: datetime) -> bool:
    """The rule in plain words: one of the windows that begin on an agreed day, by Seoul's clock, holds the moment."""
    there = moment.astimezone(SEOUL)
    for back in (0, 1):
        day = (there - timedelta(days=back)).date()
        if day.isoweekday() not in window["days"]:
            continue
        begins, ends = time.fromisoformat(window["from"]), time.fromisoformat(window["to"])
        begin, end = datetime.combine(day, begins, SEOUL), datetime.combine(day, ends, SEOUL)
        if begins == ends:
            begin, end = datetime.combine(day, time(), SEOUL), datetime.combine(day, time(), SEOUL) + timedelta(days=1)
        elif end < begin:
            end += timedelta(days=1)
        if begin <= there < end:
            return True
    return False


def closed_now() -> dict[str, Any]:
    """A window that is not open within a day of now."""
    day = (datetime.now(SEOUL) + timedelta(days=3)).isoweekday()
    return {"days": [day], "from": "00:00", "to": "00:00"}


def clock(dice: random.Random) -> str:
    return f"{dice.randint(0, 23):02}:{dice.choice((0, 0, 30, dice.randint(0, 59))):02}"


def some_hours(dice: random.Random) -> dict[str, Any]:
    begins = clock(dice)
    days = sorted(dice.sample(range(1, 8), dice.randint(1, 7)))
    return {"days": days, "from": begins, "to": dice.choice((begins, clock(dice), clock(dice), "00:00"))}


def some_moment(dice: random.Random, window: dict[str, Any]) -> datetime:
    """Any moment, or one at an edge of the window, to the microsecond."""
    day = datetime(1990, 1, 1, tzinfo=SEOUL) + timedelta(days=dice.randint(0, 20_000))
    if dice.random() < 0.3:
        return day + timedelta(seconds=dice.uniform(0, 86_400))
    edge = time.fromisoformat(window[dice.choice(("from", "to"))])
    return day.replace(hour=edge.hour, minute=edge.minute) + timedelta(microseconds=dice.choice((-1, 0, 1)))


@pytest.mark.parametrize("seed", range(4))
async def test_sql_memory_and_paper_agree_at_any_moment(database: Database, seed: int) -> None:
    dice = random.Random(seed)
    windows = [some_hours(dice) for _ in range(800)]
    moments = [some_moment(dice, window).astimezone(UTC) for window in windows]
    query = text(
        "SELECT agreement_open(w.hours::jsonb, w.moment) FROM unnest(:windows, :moments) WITH ORDINALITY"
        " AS w (hours, moment, n) ORDER BY n"
    ).bindparams(
        bindparam("windows", [orjson.dumps(window).decode() for window in windows], ARRAY(Text())),
        bindparam("moments", moments, ARRAY(DateTime(timezone=True))),
    )
    async with database.begin() as session:
        by_sql = list(await session.scalars(query))
    stored = [hours.read(hours.checked(window)) for window in windows]
    by_memory = [known is not None and known.open_at(moment) for known, moment in zip(stored, moments, strict=True)]
    expected = [by_paper(window, moment) for window, moment in zip(windows, moments, strict=True)]
    assert by_sql == expected
    assert by_memory == expected
    assert {True, False} == set(expected)


def edges(window: dict[str, Any], since: datetime, until: datetime) -> list[datetime]:
    """Every moment of a stretch at which a window might begin or end."""
    first = since.astimezone(SEOUL).replace(hour=0, minute=0, second=0, microsecond=0)
    clocks = [time(), time.fromisoformat(window["from"]), time.fromisoformat(window["to"])]
    found = [datetime.combine(first.date() + timedelta(days=n), at, SEOUL) for n in range(9) for at in clocks]
    return [since, *(at for at in found if since <= at < until)]


@pytest.mark.parametrize("seed", range(4))
async def test_hours_that_are_open_close_when_paper_says_so(database: Database, seed: int) -> None:
    dice = random.Random(seed)
    windows = [some_hours(dice) for _ in range(1600)]
    pairs = [(window, some_moment(dice, window).astimezone(UTC)) for window in windows]
    pairs = [(window, moment) for window, moment in pairs if by_paper(window, moment)]
    query = text(
        "SELECT agreement_closes(w.hours::jsonb, w.moment) FROM unnest(:windows, :moments) WITH ORDINALITY"
        " AS w (hours, moment, n) ORDER BY n"
    ).bindparams(
        bindparam("windows", [orjson.dumps(window).decode() for window, _ in pairs], ARRAY(Text())),
        bindparam("moments", [moment for _, moment in pairs], ARRAY(DateTime(timezone=True))),
    )
    async with database.begin() as session:
        closes = list(await session.scalars(query))
    assert len(pairs) > 400
    assert any(end is None for end in closes)
    for (window, moment), end in zip(pairs, closes, strict=True):
        stretch = edges(window, moment, end or moment + timedelta(days=8))
        assert all(by_paper(window, at) for at in stretch), (window, moment, end)
        assert end is None or (end > moment and not by_paper(window, end)), (window, moment, end)


async def test_a_grant_says_that_it_ends_with_the_hours(client: httpx.AsyncClient, database: Database) -> None:
    district, police = await factories.agency(database), await factories.agency(database, "police")
    camera_id = await factories.camera(database, district)
    now = datetime.now(SEOUL)
    closes = (now + timedelta(minutes=3)).replace(second=0, microsecond=0)
    window = {"days": [1, 2, 3, 4, 5, 6, 7], "from": f"{now - timedelta(hours=2):%H:%M}", "to": f"{closes:%H:%M}"}
    await factories.agreement(database, district, police, hours=window)
    as_officer = await factories.sign_in(client, await factories.person(database, police, "room"))
    asked = {"camera_ids": [str(camera_id)], **REASON}
    given = await client.post("/v1/grants", json=asked, headers=as_officer)
    assert given.status_code == 201, given.text
    grant = given.json()["grants"][0]
    assert datetime.fromisoformat(grant["expires_at"]) == closes
    renewed = await client.post(f"/v1/grants/{grant['grant_id']}/renewals", headers=as_officer)
    assert renewed.status_code == 201, renewed.text
    assert datetime.fromisoformat(renewed.json()["expires_at"]) == closes


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"days": []}, "hours.days"),
        ({"days": [0]}, "hours.days"),
        ({"days": [8]}, "hours.days"),
        ({"days": [1, 1]}, "hours.days"),
        ({"days": [True]}, "hours.days"),
        ({"days": [1.5]}, "hours.days"),
        ({"days": "135"}, "hours.days"),
        ({"days": None}, "hours.days"),
        ({"from": "24:00"}, "hours.from"),
        ({"from": "9:00"}, "hours.from"),
        ({"to": "09:00\n"}, "hours.to"),
        ({"to": "０９:00"}, "hours.to"),
        ({"to": 900}, "hours.to"),
        ({"to": None}, "hours.to"),
        ({"until": "09:00"}, "hours"),
    ],
)
def test_hours_that_cannot_be_understood_are_refused_by_name(given: dict[str, Any], field: str) -> None:
    with pytest.raises(Malformed) as refused:
        hours.checked(given)
    assert refused.value.extra["field"] == field


def test_what_is_left_out_of_hours_is_said_when_they_are_stored() -> None:
    assert hours.checked(None) is None
    assert hours.read(None) is None
    assert hours.checked({}) == ALWAYS
    assert hours.checked({"days": (5, 1), "from": "22:00"}) == {"days": [1, 5], "from": "22:00", "to": "00:00"}
    assert "22:00-06:00" in hours.said({"days": [1, 2], "from": "22:00", "to": "06:00"})


async def test_hours_are_agreed_on_and_shown(client: httpx.AsyncClient, database: Database) -> None:
    district, police = await factories.agency(database), await factories.agency(database, "police")
    as_head = await factories.sign_in(client, await factories.person(database, district, "agency_head"))
    body = {"grantee_agency_id": str(police), "title": "야간 연계", "verbs": ["locate", "view"]}
    nights = {"days": [5, 6], "from": "22:00", "to": "06:00"}
    made = await client.post("/v1/agreements", json=body | {"hours": nights}, headers=as_head)
    always = await client.post("/v1/agreements", json=body, headers=as_head)
    assert (made.status_code, always.status_code) == (201, 201), made.text
    listed = (await client.get("/v1/agreements", headers=as_head)).json()["items"]
    shown = {item["id"]: item["hours"] for item in listed}
    assert shown == {made.json()["id"]: nights, always.json()["id"]: None}
    async with database.begin() as session:
        # A JSON null would do, but costs a function call for every camera.
        assert await session.scalar(select(Agreement.hours.is_(None)).where(Agreement.id == always.json()["id"]))
        entry = await session.scalar(select(AuditEntry.payload).where(AuditEntry.subject_id == made.json()["id"]))
    assert entry["hours"] == nights
    for wrong in (
        {"days": [0]}, {"days": []}, {"days": [1, 1]}, {"from": "25:00"}, {"to": "x"}, {"at": "22:00"}, [], "nights", 5,
        {"from": None}, {"days": [2**70]}, {"from": "22:00\u0000"},
    ):  # fmt: skip
        refused = await client.post("/v1/agreements", json=body | {"hours": wrong}, headers=as_head)
        assert (refused.status_code, refused.json()["code"]) == (422, "malformed"), (wrong, refused.text)
        assert refused.json()["field"].startswith("hours"), wrong


async def test_outside_the_hours_nothing_is_given_and_the_refusal_says_when(
    client: httpx.AsyncClient, database: Database
) -> None:
    district, police = await factories.agency(database), await factories.agency(database, "police")
    camera_id = await factories.camera(database, district)
    agreement_id = await factories.agreement(database, district, police, hours=ALWAYS)
    as_officer = await factories.sign_in(client, await factories.person(database, police, "room"))

    async def ask() -> httpx.Response:
        return await client.post("/v1/grants", json={"camera_ids": [str(camera_id)], **REASON}, headers=as_officer)

    async def listed() -> int:
        return len((await client.get("/v1/cameras", headers=as_officer)).json()["items"])

    given = await ask()
    assert (given.status_code, await listed()) == (201, 1)
    async with database.begin() as session:
        await session.execute(update(Agreement).where(Agreement.id == agreement_id).values(hours=closed_now()))
    refused = await ask()
    assert (refused.status_code, refused.json()["code"], refused.json()["missing"]) == (
        403, "camera_not_shared", "hours",
    )  # fmt: skip
    assert "outside the agreed hours" in refused.json()["detail"]
    assert await listed() == 0
    # What runs is over too: the edge asks this for its running views.
    grant = given.json()["grants"][0]
    async with database.begin() as session:
        at = await session.scalar(select(Grant.at).where(Grant.id == grant["grant_id"]))
    assert at is not None
    ticket = Pass(grant["grant_id"], at, camera_id, at + timedelta(hours=1))
    async with database.bare.acquire() as connection:
        assert await still_permitted(connection, [ticket]) == [None]
        await connection.execute("UPDATE agreements SET hours = NULL WHERE id = $1", agreement_id)
        assert await still_permitted(connection, [ticket]) != [None]


async def test_a_refusal_names_what_is_nearest_of_several_agreements(
    client: httpx.AsyncClient, database: Database
) -> None:
    district, police = await factories.agency(database), await factories.agency(database, "police")
    camera_id = await factories.camera(database, district)
    as_officer = await factories.sign_in(client, await factories.person(database, police, "room"))
    missing = []
    for terms in (
        {"verbs": ("locate",)},
        {"use_purposes": ("fire_and_rescue",)},
        {"bases": ("KR-PIPA-18-2-7",)},
        {"hours": closed_now()},
        {"approval": "center"},
        {"hours": closed_now(), "use_purposes": ("fire_and_rescue",)},
    ):
        await factories.agreement(database, district, police, **terms)
        refused = await client.post(
            "/v1/grants", json={"camera_ids": [str(camera_id)], **REASON}, headers=as_officer
        )  # fmt: skip
        missing.append(refused.json()["missing"])
    assert missing == ["agreement", "purpose", "basis", "hours", "approval", "approval"]
    assert "POST /v1/approvals" in refused.json()["detail"]


async def test_a_scope_outside_its_hours_is_known_and_admits_nothing(database: Database) -> None:
    district, police = await factories.agency(database), await factories.agency(database, "police")
    officer = await actor(database, police, "room")
    await factories.agreement(database, district, police, hours=closed_now())
    async with database.begin() as session:
        now = await session.scalar(select(func.now()))
        assert isinstance(now, datetime)
        _, shared = await rights.scopes(session, officer, "locate")
        seen = await session.scalars(select(CameraPosition.id).where(rights.permitted(officer, "locate")))
        assert seen.all() == []
    admitted = {shared.admits(district, (), (), now + timedelta(days=days)) for days in range(8)}
    assert not shared.admits(district, (), (), now)
    assert admitted == {True, False}
