"""Who reports what: an account that is bound speaks as its sources, of their kinds, things and areas, and of no others."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, update

from app.actor import Actor
from app.database import Database
from app.errors import Conflict, Malformed, NotFound, NotPermitted, Refusal
from app.events import record, sources
from app.events.record import Recorded, Report
from app.ids import new_id
from app.models import User
from tests import factories
from tests.actors import actor, actor_of
from tests.registry.test_areas import feature, load, square


@dataclass
class Town:
    database: Database
    agency: UUID
    admin: Actor
    who: factories.Person
    system: Actor

    async def bind(self, name: str = "va/1", *, by: Actor | None = None, **given: Any) -> UUID:
        async with self.database.begin() as session:
            bound = await sources.bind(session, by or self.admin, **({"login": self.who.login, "name": name} | given))
        return bound[0]

    async def end(self, source_id: UUID, by: Actor | None = None) -> None:
        async with self.database.begin() as session:
            await sources.end(session, by or self.admin, source_id)

    async def write(self, source: str = "va/1", *, by: Actor | None = None, **given: Any) -> Recorded:
        report = Report(**({"kind": "analytic.collapse", "source": source, "source_key": factories.name("k")} | given))
        async with self.database.begin() as session:
            return await record.record(session, by or self.system, report)

    async def refused(self, field: str, refusal: type[Refusal] = NotPermitted, **given: Any) -> None:
        with pytest.raises(refusal) as said:
            await self.write(**given)
        assert said.value.extra["field"] == field


@pytest.fixture
async def town(database: Database) -> Town:
    agency = await factories.agency(database)
    who = await factories.person(database, agency, "integration")
    return Town(database, agency, await actor(database, agency, "admin"), who, await actor_of(database, who))


def about(camera: UUID) -> dict[str, Any]:
    return {"subject_kind": "cameras", "subject_id": camera}


async def test_an_account_that_was_never_bound_reports_for_its_agency(town: Town) -> None:
    camera = await factories.camera(town.database, town.agency)
    assert (await town.write("anything", **about(camera))).new
    other = await factories.person(town.database, town.agency, "integration")
    await town.bind(login=other.login)
    assert (await town.write("anything", **about(camera))).new
    await town.refused("source", source="va/1")  # nobody uses up another's keys
    assert (await town.write(by=await actor_of(town.database, other), **about(camera))).new


async def test_a_source_reports_its_kinds_only(town: Town) -> None:
    await town.bind(kinds=["analytic.*", "bell.tested"])
    await town.bind("other", kinds=[])
    assert (await town.write()).new
    assert (await town.write(kind="bell.tested")).new
    assert (await town.write("other", kind="bell.pressed")).new
    await town.refused("type", kind="bell.pressed")
    await town.refused("source", source="third")


async def test_a_source_reports_its_things_and_areas_only(town: Town) -> None:
    database, here, there = town.database, new_id(), new_id()
    (area,) = (await load(database, feature(factories.name("area"), "공원", square(20.0, 20.0)))).ids.values()
    own = await factories.camera(database, town.agency, area_ids=(area, there))
    outside = await factories.camera(database, town.agency, area_ids=(there,))
    foreign = await factories.camera(database, await factories.agency(database))
    await town.bind(subject_ids=[own, outside], area_ids=[area])
    await town.bind("anywhere", subject_ids=[own])
    await town.bind("anything", area_ids=[area])
    assert (await town.write(**about(own))).new
    await town.refused("subject", **about(outside))
    await town.refused("subject", source="anywhere")
    await town.refused("subject", source="anywhere", **about(outside))
    await town.refused("subject", NotFound, source="anywhere", **about(foreign))
    await town.refused("subject", NotFound, source="anywhere", **about(new_id()))
    assert (await town.write("anything", area_ids=[here, area])).new
    await town.refused("data.location", source="anything", area_ids=[here])
    await town.refused("data.location", source="anything")


async def test_the_end_of_a_binding_frees_its_name_and_nobody_else(town: Town) -> None:
    first = await town.bind()
    with pytest.raises(Conflict):
        await town.bind()
    await town.end(first)
    await town.refused("source", source="va/1")
    await town.refused("source", source="anything")
    successor = await factories.person(town.database, town.agency, "integration")
    second = await town.bind(login=successor.login)
    assert second != first
    await town.refused("source", source="va/1")
    assert (await town.write(by=await actor_of(town.database, successor))).new
    with pytest.raises(NotFound):
        await town.end(first)
    async with town.database.begin() as session:
        rows = await sources.listed(session, town.admin)
    assert [(row["id"], row["login"], row["ended_at"] is None) for row in rows] == [
        (first, town.who.login, False), (second, successor.login, True),
    ]  # fmt: skip
    assert (rows[0]["name"], rows[1]["name"]) == (f"va/1 #{first}", "va/1")


async def test_what_the_house_tells_by_an_account_is_no_report_of_a_source(town: Town) -> None:
    await town.bind(kinds=["bell.tested"])
    assert (await town.write("gwanje/webhooks", kind="webhook.failed", data={"attempts": 3})).new


async def test_another_institution_binds_and_sees_and_ends_nothing_here(town: Town) -> None:
    database = town.database
    bound = await town.bind()
    stranger_agency = await factories.agency(database)
    stranger = await actor(database, stranger_agency, "admin")
    own = await factories.person(database, stranger_agency, "integration")
    with pytest.raises(NotFound):
        await town.end(bound, by=stranger)
    with pytest.raises(NotFound) as refused:
        await town.bind(by=stranger)
    assert refused.value.extra["field"] == "login"
    async with database.begin() as session:
        assert await sources.listed(session, stranger) == []
    camera = await factories.camera(database, town.agency)
    for field, ids in (("subject_ids", [camera]), ("subject_ids", [new_id()]), ("area_ids", [new_id()])):
        with pytest.raises(NotFound) as refused:
            await town.bind(by=stranger, login=own.login, **{field: ids})
        assert refused.value.extra["field"] == field
    assert await town.bind(by=stranger, login=own.login), "names are an institution's own"
    assert (await town.write()).new


async def test_accounts_that_are_gone_are_not_bound(town: Town) -> None:
    async with town.database.begin() as session:
        await session.execute(update(User).where(User.id == town.who.user_id).values(disabled_at=func.now()))
    with pytest.raises(NotFound):
        await town.bind()


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "a" * 201}, "name"),
        ({"kinds": ["nothing"]}, "kinds"),
        ({"kinds": ["bell"]}, "kinds"),
        ({"kinds": ["view.opened"]}, "kinds"),
    ],
)
async def test_what_cannot_be_bound_is_refused_by_its_field(town: Town, given: dict[str, Any], field: str) -> None:
    with pytest.raises(Malformed) as refused:
        await town.bind(**given)
    assert refused.value.extra["field"] == field


@pytest.mark.parametrize("role", ["operator", "integration", "agency_head", "auditor"])
async def test_only_an_administrator_keeps_sources(town: Town, role: str) -> None:
    other = await actor(town.database, town.agency, role)
    async with town.database.begin() as session:
        for act in (
            sources.bind(session, other, login=town.who.login, name="x"),
            sources.end(session, other, new_id()),
            sources.listed(session, other),
        ):
            with pytest.raises(NotPermitted):
                await act
