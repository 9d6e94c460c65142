"""Agencies: units act for their body, stations for their police agency, and a district for nobody but itself."""

import pytest
from sqlalchemy import select

from app.access.roles import ROLES
from app.database import Database
from app.errors import Conflict, Malformed, NotFound, NotPermitted
from app.ids import new_id
from app.models import Agency, AgencyMove, AuditEntry
from app.registry import agencies
from tests import factories
from tests.actors import actor


async def test_in_whose_name_an_agency_acts(database: Database) -> None:
    city = await factories.agency(database, "city")
    district = await factories.agency(database, "municipality", city)
    center = await factories.agency(database, "center", district)
    police = await factories.agency(database, "police", city)
    station = await factories.agency(database, "police", police)
    box = await factories.agency(database, "box", station)
    fire = await factories.agency(database, "fire", police)
    async with database.begin() as session:
        rows = {
            row.id: row for row in await session.scalars(select(Agency).where(Agency.ancestor_ids.contains([city])))
        }
        moved = set(await session.scalars(select(AgencyMove.agency_id).where(AgencyMove.agency_id.in_(rows))))
    acts_for = {agency_id: row.acts_for_ids for agency_id, row in rows.items()}
    assert acts_for == {
        district: [district],
        center: [center, district],
        police: [police],
        station: [station, police],
        box: [box, station, police],
        fire: [fire],
    }
    bodies = {agency_id: row.body_id for agency_id, row in rows.items()}
    assert bodies == {
        district: district, center: district, police: police, station: station, box: station, fire: fire,
    }  # fmt: skip
    assert rows[box].ancestor_ids == [station, police, city]
    assert moved == set(rows)


async def test_two_agencies_below_one_parent_have_different_names(database: Database) -> None:
    city, other = await factories.agency(database, "city"), await factories.agency(database, "city")
    name = factories.name("중구")
    async with database.begin() as session:
        first = await agencies.add(session, None, name=name, kind="municipality", parent_id=city)
        await agencies.add(session, None, name=name, kind="municipality", parent_id=other)
    for same in (name, f"  {name} "):
        async with database.begin() as session:
            with pytest.raises(Conflict):
                await agencies.add(session, None, name=same, kind="municipality", parent_id=city)
    async with database.begin() as session:
        assert (await agencies.get(session, first)).name == name
        with pytest.raises(NotFound):  # which of the two?
            await agencies.by_name_or_code(session, name)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"kind": "kingdom"}, Malformed),
        ({"name": "  "}, Malformed),
        ({"name": "a\0b"}, Malformed),
        ({"kind": "center"}, Malformed),
        ({"parent_id": new_id()}, NotFound),
    ],
)
async def test_an_agency_that_cannot_stand_is_refused(
    database: Database, given: dict[str, object], error: type[Exception]
) -> None:
    async with database.begin() as session:
        with pytest.raises(error):
            await agencies.add(session, None, **({"name": factories.name("x"), "kind": "police"} | given))  # type: ignore[arg-type]


@pytest.mark.parametrize("role", ["admin", *(role for role, may in ROLES.items() if "administer" not in may)])
async def test_an_administrator_adds_units_of_the_own_house_only(database: Database, role: str) -> None:
    district, other = await factories.agency(database), await factories.agency(database)
    who = await actor(database, district, role)
    async with database.begin() as session:
        if role == "admin":
            unit = await agencies.add(session, who, name="관제센터", kind="center", parent_id=district)
            entry = await session.scalar(select(AuditEntry).where(AuditEntry.subject_id == unit))
            assert entry is not None
            assert (entry.act, entry.agency_id, entry.payload["name"]) == ("agency.added", district, "관제센터")
        for kind, parent in (("center", other), ("municipality", district), ("municipality", None)) + (
            () if role == "admin" else (("center", district),)
        ):
            with pytest.raises(NotPermitted):
                await agencies.add(session, who, name=factories.name("x"), kind=kind, parent_id=parent)


async def test_agencies_are_listed_in_pages_and_found_by_code(database: Database) -> None:
    made = [await factories.agency(database, "rail") for _ in range(5)]
    code = factories.name("code")
    async with database.begin() as session:
        made.append(await agencies.add(session, None, name=factories.name("철도"), kind="rail", authority_code=code))
        seen, after = [], None
        while rows := await agencies.listed(session, kind="rail", after=after, limit=2):
            seen += [row.id for row in rows]
            after = rows[-1].id
        assert seen == sorted(made)
        assert (await agencies.by_name_or_code(session, code)).id == made[-1]
        for nobody in (new_id(), new_id()):
            with pytest.raises(NotFound):
                await agencies.get(session, nobody)
