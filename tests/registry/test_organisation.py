"""Agencies move with all below them and with their history, and form groups."""

import pytest
from sqlalchemy import select

from app.database import Database
from app.errors import Conflict, NotFound, NotPermitted
from app.models import Agency, AgencyMove, AuditEntry
from app.registry import agencies, cameras, organisation
from app.registry.cameras import Search
from tests import factories
from tests.actors import actor, actor_of


async def test_a_station_that_moves_acts_for_its_new_agency_at_once(database: Database) -> None:
    old, new = [await factories.agency(database, "police") for _ in range(2)]
    station = await factories.agency(database, "police", parent=old)
    division = await factories.agency(database, "division", parent=station)
    box = await factories.agency(database, "box", parent=division)
    district = await factories.agency(database)
    camera = await factories.camera(database, district)
    await factories.agreement(database, district, new)
    person = await factories.person(database, box, "room")
    before = await actor_of(database, person)
    async with database.begin() as session:
        assert await cameras.visible_to(session, before, Search(), limit=9) == []
        await organisation.move(session, None, station, new, "관할 조정")
    after = await actor_of(database, person)
    assert set(after.acts_for_ids) == {box, division, station, new}
    assert after.body_id == station
    async with database.begin() as session:
        assert [row["id"] for row in await cameras.visible_to(session, after, Search(), limit=9)] == [camera]
        lowest = await session.get(Agency, box)
        assert lowest is not None
        assert lowest.ancestor_ids == [division, station, new]
        history = await organisation.history(session, station)
        assert [(one.parent_id, one.until is None) for one, _ in history] == [(new, True), (old, False)]
        assert history[0][0].moved_at == history[1][0].until
        entry = await session.scalar(
            select(AuditEntry).where(AuditEntry.subject_id == station, AuditEntry.act == "agency.moved")
        )
        assert entry is not None
        # Moving there again changes nothing.
        await organisation.move(session, None, station, new)
        moves = await session.scalars(select(AgencyMove).where(AgencyMove.agency_id == station))
        assert len(moves.all()) == 2


async def test_no_ring_no_twin_no_foreign_tree(database: Database) -> None:
    city = await factories.agency(database, "city")
    center = await factories.agency(database, "center", parent=city)
    first, second = [await factories.agency(database, "division", parent=center) for _ in range(2)]
    other = await factories.agency(database, "city")
    admin, operator, stranger = (
        await actor(database, city, "admin"), await actor(database, city), await actor(database, other, "admin"),
    )  # fmt: skip
    async with database.begin() as session:
        name = (await agencies.get(session, second)).name
        twin = await agencies.add(
            session, None, name=name, kind="division", parent_id=city
        )  # another one: other parent
        assert twin != second
        with pytest.raises(Conflict, match="exists there already"):
            await organisation.move(session, admin, second, city)
        with pytest.raises(Conflict, match="move it out first"):
            await organisation.move(session, admin, center, first)
        with pytest.raises(Conflict, match="move it out first"):
            await organisation.move(session, admin, center, center)
        for who, agency_id, parent_id in (
            (operator, first, city), (stranger, first, city), (admin, first, other), (admin, city, other),
        ):  # fmt: skip
            with pytest.raises(NotPermitted):
                await organisation.move(session, who, agency_id, parent_id)
        with pytest.raises(NotFound):
            await organisation.move(session, None, first, admin.user_id)
        await organisation.move(session, admin, first, city)
        assert (await agencies.get(session, first)).acts_for_ids == [first, city]


async def test_a_council_of_institutions_and_groups(database: Database) -> None:
    district = await factories.agency(database)
    admin = await actor(database, district, "admin")
    institutions = [
        await factories.agency(database, kind) for kind in ("police", "fire", "education", "health_response")
    ]
    parents = [await factories.agency(database, "city") for _ in range(2)]
    async with database.begin() as session:
        twins = [
            await agencies.add(session, None, name="자율방범대", kind="civil_group", parent_id=parent)
            for parent in parents
        ]
        council = await organisation.form(session, admin, district, "지역치안협의회")
        with pytest.raises(Conflict):
            await organisation.form(session, admin, district, "지역치안협의회")
        assert await organisation.set_members(session, admin, council, [*institutions, *twins]) == (6, 0)
        assert await organisation.set_members(session, admin, council, [*institutions[1:], *twins]) == (0, 1)
        names = [agency.name for _, agency in await organisation.members(session, council)]
        assert (len(names), names.count("자율방범대")) == (5, 2)
        assert council in [one.id for one in await organisation.groups(session, limit=1000)]
        stranger = await actor(database, parents[0], "admin")
        with pytest.raises(NotPermitted):
            await organisation.set_members(session, stranger, council, [])
        with pytest.raises(NotPermitted):
            await organisation.form(session, stranger, district, "다른 모임")
        with pytest.raises(NotFound):
            await organisation.members(session, district)
