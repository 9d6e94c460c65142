"""Who may do what with which camera: the law in SQL, the law in memory, and an independent reading of it agree."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import func, insert, null, select

from app.access import agreements, rights
from app.access.agreements import Terms
from app.access.roles import ROLES, VERBS
from app.actor import Actor
from app.database import Arguments, Database
from app.database import read as read_rows
from app.errors import Malformed
from app.ids import new_id
from app.models import Agreement, Area, Asset, CameraPosition, Site
from app.registry import cameras
from app.registry.cameras import Near, Search
from app.routers.dependencies import MOST_PER_PAGE
from tests import factories
from tests.access.test_hours import by_paper, some_hours
from tests.actors import actor

PURPOSES = ("crime_prevention", "child_safety", "disaster", "facility")


@dataclass(frozen=True)
class Camera:
    id: UUID
    owner: UUID
    area_ids: tuple[UUID, ...]
    purposes: tuple[str, ...]


@dataclass(frozen=True)
class Paper:
    """An agreement as it was signed."""

    owner: UUID
    grantee: UUID
    verbs: tuple[str, ...]
    area_ids: tuple[UUID, ...]
    purposes: tuple[str, ...]
    begins: timedelta
    ends: timedelta | None
    withdrawn: bool
    hours: dict[str, Any] | None

    def gives(
        self, acts_for: Sequence[UUID], verb: str, camera: Camera, now: datetime, later: timedelta = timedelta()
    ) -> bool:
        """The rule of the design in plain words, read from the paper as of now, or a little later."""
        if self.withdrawn or self.begins > later or (self.ends is not None and self.ends <= later):
            return False
        if self.hours is not None and not by_paper(self.hours, now + later):
            return False
        if camera.owner != self.owner or self.grantee not in acts_for or verb not in self.verbs:
            return False
        in_area = not self.area_ids or any(area in self.area_ids for area in camera.area_ids)
        return in_area and (not self.purposes or any(purpose in self.purposes for purpose in camera.purposes))


async def area(database: Database) -> UUID:
    area_id = new_id()
    async with database.begin() as session:
        await session.execute(
            insert(Area).values(id=area_id, code_system="local", code=str(area_id), kind="other", name="구역")
        )
    return area_id


def some(dice: random.Random, of: Sequence, most: int) -> tuple:  # type: ignore[type-arg]
    return tuple(dice.sample(list(of), dice.randint(0, most)))


@pytest.mark.parametrize("seed", range(4))
async def test_sql_memory_and_paper_agree_on_random_agreements(database: Database, seed: int) -> None:
    dice = random.Random(seed)
    owners = [await factories.agency(database) for _ in range(3)]
    police = await factories.agency(database, "police")
    station = await factories.agency(database, "police", police)
    box = await factories.agency(database, "box", station)
    fire = await factories.agency(database, "fire")
    areas = [await area(database) for _ in range(5)]
    people = [
        await actor(database, agency_id, role)
        for agency_id, role in (
            (owners[0], "operator"), (police, "room"), (station, "field"), (box, "field"), (fire, "shift_lead"),
            (fire, "admin"), (police, "auditor"),
        )
    ]  # fmt: skip
    hours = [timedelta(hours=hour) for hour in (-400, -30, -1, 1, 2, 700)]
    placed = [
        Camera(new_id(), dice.choice(owners), some(dice, areas, 3), some(dice, PURPOSES, 2)) for _ in range(90)
    ]  # fmt: skip
    papers = []
    for _ in range(40):
        begins = dice.choice(hours)
        papers.append(
            Paper(
                dice.choice(owners), dice.choice((police, station, fire)), some(dice, VERBS, 4), some(dice, areas, 2),
                some(dice, PURPOSES, 2), begins, dice.choice([None, *(hour for hour in hours if hour > begins)]),
                dice.random() < 0.2, some_hours(dice) if dice.random() < 0.6 else None,
            )
        )  # fmt: skip
    await store(database, placed, papers)
    outcomes = set()
    async with database.begin() as session:
        now = await session.scalar(select(func.now()))
        assert isinstance(now, datetime)
        for person in people:
            for verb in VERBS:
                ids = [camera.id for camera in placed]
                scopes = await rights.scopes(session, person, verb)
                for later in (timedelta(), timedelta(minutes=dice.uniform(0, 59))):
                    moment = now + later
                    as_of = f"CAST('{moment.isoformat()}' AS timestamptz)"
                    condition = rights.permitted(person, verb, **({"moment": as_of} if later else {}))
                    by_sql = set(
                        await session.scalars(select(CameraPosition.id).where(CameraPosition.id.in_(ids), condition))
                    )
                    by_memory = {
                        camera.id
                        for camera in placed
                        if any(scope.admits(camera.owner, camera.area_ids, camera.purposes, moment) for scope in scopes)
                    }
                    read = {
                        camera.id
                        for camera in placed
                        if verb in ROLES[person.role]
                        and (
                            camera.owner in person.acts_for_ids
                            or any(paper.gives(person.acts_for_ids, verb, camera, now, later) for paper in papers)
                        )
                    }
                    assert by_sql == read, (person.role, verb)
                    assert by_memory == read, (person.role, verb)
                    if not later:
                        arguments = Arguments()
                        these = arguments.put(ids, "uuid[]")
                        here = rights.permitted_here(person, verb, arguments, camera="c")
                        said = f"SELECT c.id FROM camera_positions c WHERE c.id = ANY({these}) AND {here}"
                        assert {row["id"] for row in await read_rows(session, said, arguments)} == read, (
                            person.role,
                            verb,
                        )
                    outcomes.add(bool(read) and len(read) < len(placed))
    assert outcomes == {True, False}  # some saw a part, some nothing or all


async def store(database: Database, placed: Sequence[Camera], papers: Sequence[Paper]) -> None:
    async with database.begin() as session:
        now = await session.scalar(select(func.now()))
        assert isinstance(now, datetime)
        sites = {camera.id: new_id() for camera in placed}
        await session.execute(
            insert(Site),
            [
                {"id": sites[camera.id], "owner_agency_id": camera.owner, "external_key": str(camera.id)}
                for camera in placed
            ],
        )
        await session.execute(
            insert(CameraPosition),
            [
                {
                    "id": camera.id, "site_id": sites[camera.id], "ordinal": 1, "name": "CAM",
                    "owner_agency_id": camera.owner, "area_ids": list(camera.area_ids),
                    "installation_purposes": list(camera.purposes),
                }
                for camera in placed
            ],
        )  # fmt: skip
        await session.execute(
            insert(Agreement),
            [
                {
                    "id": new_id(), "owner_agency_id": paper.owner, "grantee_agency_id": paper.grantee, "title": "협약",
                    "verbs": list(paper.verbs), "area_ids": list(paper.area_ids),
                    "installation_purposes": list(paper.purposes), "valid_from": now + paper.begins,
                    "valid_to": None if paper.ends is None else now + paper.ends,
                    "withdrawn_at": now if paper.withdrawn else None,
                    "hours": null() if paper.hours is None else paper.hours,
                }
                for paper in papers
            ],
        )  # fmt: skip


async def found(database: Database, person: Actor, search: Search | None = None) -> set[UUID]:
    async with database.begin() as session:
        rows = await cameras.visible_to(session, person, search or Search(), limit=MOST_PER_PAGE)
        assert await cameras.count(session, person, search or Search()) == len(rows)
    return {row["id"] for row in rows}


async def test_a_police_station_acts_for_its_police_agency(database: Database) -> None:
    district, police = await factories.agency(database), await factories.agency(database, "police")
    station = await factories.agency(database, "police", police)
    neighbour = await factories.agency(database, "police", police)
    shared = await factories.camera(database, district)
    await factories.agreement(database, district, police)
    at_station = await actor(database, station, "room")
    assert await found(database, at_station) == {shared}
    # What is agreed with one station holds for it alone: not for the agency above it, and not beside it.
    other_district = await factories.agency(database)
    local = await factories.camera(database, other_district)
    await factories.agreement(database, other_district, station)
    assert await found(database, at_station) == {shared, local}
    assert await found(database, await actor(database, police, "room")) == {shared}
    assert await found(database, await actor(database, neighbour, "room")) == {shared}


@pytest.mark.parametrize(("upper", "lower"), [("city", "municipality"), ("province", "city"), ("police", "fire")])
async def test_an_agency_of_its_own_does_not_act_for_the_one_above_it(
    database: Database, upper: str, lower: str
) -> None:
    above = await factories.agency(database, upper)
    below = await factories.agency(database, lower, above)
    third = await factories.agency(database)
    theirs, own = await factories.camera(database, above), await factories.camera(database, below)
    await factories.camera(database, third)
    await factories.agreement(database, third, above)
    assert await found(database, await actor(database, below)) == {own}
    assert own not in await found(database, await actor(database, above))
    assert theirs in await found(database, await actor(database, above))


async def test_units_act_for_their_body_and_see_its_cameras(database: Database) -> None:
    district = await factories.agency(database)
    center = await factories.agency(database, "center", district)
    camera_id = await factories.camera(database, district)
    assert await found(database, await actor(database, center)) == {camera_id}


@pytest.mark.parametrize("role", [role for role, may in ROLES.items() if "locate" not in may])
async def test_a_role_that_may_not_locate_finds_nothing_of_its_own_agency(database: Database, role: str) -> None:
    district = await factories.agency(database)
    await factories.camera(database, district)
    assert await found(database, await actor(database, district, role)) == set()


async def test_every_way_of_looking_goes_by_the_same_rights(client: httpx.AsyncClient, database: Database) -> None:
    district, other = await factories.agency(database), await factories.agency(database)
    place = await area(database)
    where = {"latitude": 35.1796, "longitude": 129.0756, "area_ids": (place,)}
    own = await factories.camera(database, district, **where)  # type: ignore[arg-type]
    hidden = await factories.camera(database, other, **where)  # type: ignore[arg-type]
    as_operator = await factories.sign_in(client, await factories.person(database, district))
    for asked in (
        {},
        {"near": "35.1796,129.0756", "radius_m": "50"},
        {"bbox": "129.07,35.17,129.08,35.18"},
        {"area": str(place)},
        {"purpose": "crime_prevention"},
        {"q": "별빛로"},
        {"status": "active"},
        {"streaming": "true"},
    ):
        listed = await client.get("/v1/cameras", params=asked, headers=as_operator)
        assert [item["id"] for item in listed.json()["items"]] == [str(own)], asked
        drawn = await client.get("/v1/cameras", params=asked | {"format": "geojson"}, headers=as_operator)
        assert [feature["id"] for feature in drawn.json()["features"]] == [str(own)], asked
        assert str(hidden) not in listed.text + drawn.text
    assert (await client.get(f"/v1/cameras/{own}", headers=as_operator)).status_code == 200
    never = await client.get(f"/v1/cameras/{new_id()}", headers=as_operator)
    others = await client.get(f"/v1/cameras/{hidden}", headers=as_operator)
    assert (others.status_code, others.json()) == (404, never.json())
    operator = await actor(database, district)
    assert await found(database, operator, Search(near=Near(35.1796, 129.0756, 50), area_id=place)) == {own}


async def test_bells_go_by_the_rights_to_their_owners_cameras(client: httpx.AsyncClient, database: Database) -> None:
    district, park, elsewhere = await factories.agency(database), await area(database), await area(database)
    bells = {}
    async with database.begin() as session:
        for number, area_id in enumerate((park, elsewhere)):
            bell = {"kind": "bell", "owner_agency_id": district, "external_key": str(number), "name": "벨"}
            bells[area_id] = str(new_id())
            await session.execute(insert(Asset).values(id=UUID(bells[area_id]), area_ids=[area_id], **bell))
        now = await session.scalar(select(func.now()))
    assert isinstance(now, datetime)
    both = set(bells.values())
    cases: list[tuple[dict[str, object] | None, set[str]]] = [
        (None, set()),
        ({}, both),
        ({"area_ids": (park,)}, {bells[park]}),
        ({"installation_purposes": ("crime_prevention",)}, set()),  # of cameras, which says nothing of bells
        ({"verbs": ("view",)}, set()),
        ({"valid_from": now + timedelta(minutes=30)}, set()),  # not yet, though it is known already
    ]
    for terms, seen in cases:
        police = await factories.agency(database, "police")
        if terms is not None:
            await factories.agreement(database, district, police, **terms)
        as_officer = await factories.sign_in(client, await factories.person(database, police, "room"))
        listed = await client.get("/v1/assets", params={"kind": "bell"}, headers=as_officer)
        assert {item["id"] for item in listed.json()["items"]} == seen, terms
        assert (await client.get("/v1/assets?kind=pole", headers=as_officer)).json()["items"] == []
    as_operator = await factories.sign_in(client, await factories.person(database, district))
    page = (await client.get("/v1/assets?limit=1", headers=as_operator)).json()
    rest = (await client.get(f"/v1/assets?limit=9&cursor={page['next_cursor']}", headers=as_operator)).json()
    assert {item["id"] for item in page["items"] + rest["items"]} == both


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"purpose": ""}, "purpose"),
        ({"purpose": "긴급"}, "purpose"),
        ({"basis": ""}, "basis"),
        ({"basis": "because"}, "basis"),
        ({"basis": "KR-PIPA-18-2-2", "references": []}, "references"),
    ],
)
def test_a_reason_is_made_of_codes(changed: dict[str, object], field: str) -> None:
    reason = {"purpose": "emergency_response", "basis": "KR-PIPA-18-2-3", "references": []}
    rights.check_reason(**reason)  # type: ignore[arg-type]
    rights.check_reason("crime_investigation", "KR-PIPA-18-2-2", [{"kind": "statute", "number": "112법 8조"}])
    with pytest.raises(Malformed) as refused:
        rights.check_reason(**(reason | changed))  # type: ignore[arg-type]
    assert refused.value.extra["field"] == field


async def test_rights_that_lapse_carry_their_time_and_those_to_come_are_known_an_hour_before(
    database: Database,
) -> None:
    district, police = await factories.agency(database), await factories.agency(database, "police")
    officer = await actor(database, police, "room")
    async with database.begin() as session:
        now = await session.scalar(select(func.now()))
        assert isinstance(now, datetime)
        terms = Terms(grantee_agency_id=police, title="협약", verbs=("locate",))
        begin, end = now + timedelta(minutes=30), now + timedelta(minutes=50)
        await agreements.make(session, None, district, replace(terms, valid_from=begin, valid_to=end))
        await agreements.make(session, None, district, replace(terms, valid_from=now + timedelta(hours=2)))
        own, shared = await rights.scopes(session, officer, "locate")
    assert own.owner_agency_id == police
    assert (shared.valid_from, shared.expires_at) == (begin, end)
    admitted = [shared.admits(district, (), (), now + timedelta(minutes=minute)) for minute in (0, 30, 49, 50)]
    assert admitted == [False, True, True, False]
