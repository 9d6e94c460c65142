"""Many events at once: all or none, in their order, each once, and never a deadlock; what lasts ends after it began."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event as sql_event
from sqlalchemy import func, select

from app import ledger
from app.actor import Actor
from app.database import Database
from app.errors import Malformed, NotFound
from app.events import record
from app.events.record import Recorded, Report
from app.ids import new_id
from app.ledger import Sequencer
from app.models import Alarm, Condition, Event, EventKey, EventPending, EventPosition
from tests import factories
from tests.actors import actor


@dataclass
class Town:
    database: Database
    agency: UUID
    system: Actor

    def report(self, kind: str = "analytic.collapse", **given: Any) -> Report:
        return Report(**{"kind": kind, "source": "va/1", "source_key": factories.name("key")} | given)

    async def write(self, *reports: Report) -> list[Recorded]:
        async with self.database.begin() as session:
            return await record.record_many(session, self.system, reports)

    async def numbered(self) -> list[Event]:
        """The town's events in the order of the ledger."""
        await Sequencer(self.database, ledger.EVENTS).catch_up()
        async with self.database.begin() as session:
            query = select(Event).join(EventPosition, EventPosition.id == Event.id).order_by(EventPosition.position)
            return list((await session.scalars(query.where(Event.owner_agency_id == self.agency))).all())

    async def conditions(self, family: str) -> dict[str, tuple[UUID, bool]]:
        async with self.database.begin() as session:
            rows = await session.scalars(
                select(Condition).join(Event, Event.id == Condition.event_id)
                .where(Condition.family == family, Event.owner_agency_id == self.agency)
            )  # fmt: skip
            return {row.subject: (row.event_id, row.lasts) for row in rows}


@pytest.fixture
async def town(database: Database) -> Town:
    agency = await factories.agency(database)
    return Town(database, agency, await actor(database, agency, "integration"))


async def test_a_thousand_are_written_by_a_handful_of_statements(town: Town) -> None:
    cameras = [await factories.camera(town.database, town.agency, area_ids=(new_id(),)) for _ in range(3)]
    reports = [
        town.report(
            "analytic.loitering" if number % 2 else "bell.pressed", subject_kind="cameras",
            subject_id=cameras[number % 3], data={"n": number},
        )
        for number in range(1000)
    ]  # fmt: skip
    said: list[str] = []
    engine = town.database.engine.sync_engine

    def hear(_: Any, __: Any, statement: str, *more: Any) -> None:
        said.append(statement)

    sql_event.listen(engine, "before_cursor_execute", hear)
    try:
        recorded = await town.write(*reports)
    finally:
        sql_event.remove(engine, "before_cursor_execute", hear)
    assert len(said) <= 5, said
    assert all(item.new for item in recorded)
    events = await town.numbered()
    assert [event.data["n"] for event in events] == [*range(0, 1000, 2), *range(1, 1000, 2)], "by urgency, then order"
    assert {event.id: event.data["n"] for event in events} == {item.id: n for n, item in enumerate(recorded)}
    async with town.database.begin() as session:
        alarms = select(func.count()).where(Alarm.owner_agency_id == town.agency)
        assert await session.scalar(alarms) == 500


@pytest.mark.parametrize("wrong", [0, 499, 999])
async def test_all_or_none(town: Town, wrong: int) -> None:
    for fault, refusal in (
        ({"kind": "no.kind"}, Malformed),
        ({"subject_kind": "cameras", "subject_id": new_id()}, NotFound),
    ):
        reports = [town.report() for _ in range(1000)]
        reports[wrong] = town.report(**fault)
        with pytest.raises(refusal) as refused:
            await town.write(*reports)
        assert refused.value.extra["index"] == wrong
    async with town.database.begin() as session:
        assert not (await session.scalars(select(Event.id).where(Event.owner_agency_id == town.agency))).all()
        keys = select(EventKey).where(EventKey.source == f"{town.agency}/va/1")
        assert not (await session.scalars(keys)).all()


async def test_a_repetition_within_a_batch_and_after_it_is_the_first(town: Town) -> None:
    one, two = town.report(data={"n": 1}), town.report(data={"n": 2})
    first = await town.write(one, two, one, Report(kind="bell.tested", source="va/1", source_key=two.source_key))
    assert [item.new for item in first] == [True, True, False, False]
    assert [first[0].id, first[1].id] == [first[2].id, first[3].id]
    three = town.report()
    again = await town.write(two, three, one)
    assert [(item.id, item.new) for item in again] == [(first[1].id, False), (again[1].id, True), (first[0].id, False)]
    assert len(await town.numbered()) == 3
    assert await town.write() == []


async def test_the_same_reports_in_any_order_at_once_are_written_once_without_deadlock(town: Town) -> None:
    reports = [
        town.report(kind, subject_kind="cameras", subject_id=camera)
        for camera in [await factories.camera(town.database, town.agency) for _ in range(20)]
        for kind in ("camera.lost", "camera.restored")
    ]
    generator = random.Random(3)
    recorded: list[tuple[Sequence[Report], list[Recorded]]] = []

    async def one() -> None:
        mine = generator.sample(reports, len(reports))
        recorded.append((mine, await town.write(*mine)))

    await asyncio.gather(*(one() for _ in range(8)))
    ids = {}
    for mine, items in recorded:
        for report, item in zip(mine, items, strict=True):
            assert ids.setdefault(report.source_key, item.id) == item.id
    assert sum(item.new for _, items in recorded for item in items) == len(reports)
    assert sorted(event.id for event in await town.numbered()) == sorted(ids.values())


async def blocked(database: Database, many: int) -> None:
    """Until so many wait for a lock."""
    async with database.bare.acquire() as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        while await connection.fetchval(query) < many:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_two_batches_that_wait_for_a_third_never_wait_for_each_other(town: Town) -> None:
    """Both hold what comes before the key that a third writer holds: the same keys, in whatever order they were sent."""
    keys = [f"{letter}/{factories.name('key')}" for letter in "amz"]
    reports = [town.report(source_key=key) for key in keys]
    async with town.database.begin() as third:
        await record.record_many(third, town.system, [reports[1]])
        both = [asyncio.create_task(town.write(*some)) for some in (reports, reports[::-1])]
        await blocked(town.database, 2)
        await third.rollback()
    forth, back = await asyncio.gather(*both)
    assert [item.id for item in forth] == [item.id for item in back[::-1]]
    assert sorted(item.new for item in [*forth, *back]) == [False] * 3 + [True] * 3


# What lasts


async def test_what_lasts_is_the_newest_of_its_family_on_a_subject(town: Town) -> None:
    camera = await factories.camera(town.database, town.agency)
    about = {"subject_kind": "cameras", "subject_id": camera}
    lost, _, back = await town.write(
        town.report("camera.lost", **about),
        town.report("camera.moved", **about),
        town.report("camera.restored", **about),
    )
    assert await town.conditions("camera.lost") == {f"cameras/{camera}": (back.id, False)}
    (lost,) = await town.write(town.report("camera.lost", **about))
    (drill,) = await town.write(town.report("camera.restored", exercise=True, **about))
    assert await town.conditions("camera.lost") == {
        f"cameras/{camera}": (lost.id, True), f"exercise/cameras/{camera}": (drill.id, False),
    }, "a drill ends nothing real"  # fmt: skip
    levels = [town.report(f"crowd.{level}", data={"zone": "성수역 3번"}) for level in ("caution", "serious", "alert")]
    elsewhere = town.report("crowd.cleared", data={"zone": "가" * 4000})
    *_, newest, cleared = await town.write(*levels, elsewhere)
    crowds = await town.conditions("crowd.caution")
    assert crowds[f"{town.agency}/va/1#성수역 3번"] == (newest.id, True)
    assert sorted(crowds.values(), key=str) == sorted([(newest.id, True), (cleared.id, False)], key=str)


async def test_nobody_ends_the_condition_of_anothers_incident(town: Town, database: Database) -> None:
    other_agency = await factories.agency(database, "police")
    other = Town(database, other_agency, await actor(database, other_agency, "room"))
    incident = new_id()
    (opened,) = await town.write(town.report("incident.opened", incident_id=incident))
    await other.write(other.report("incident.closed", incident_id=incident))
    await other.write(other.report("incident.closed"))
    held = await town.conditions("incident.opened")
    assert held == {f"incident/{incident}/{town.agency}": (opened.id, True)}
    await town.write(town.report("incident.updated", incident_id=incident))
    assert await town.conditions("incident.opened") == held, "an update neither begins nor ends"
    await town.write(town.report("incident.closed", incident_id=incident))
    assert [lasts for _, lasts in (await town.conditions("incident.opened")).values()] == [False]


@pytest.mark.parametrize(("begins", "ends"), [("crowd.serious", "crowd.cleared"), ("crowd.caution", "crowd.serious")])
async def test_an_end_is_numbered_after_its_beginning(town: Town, begins: str, ends: str) -> None:
    async with town.database.begin() as slow:
        await slow.execute(select(1))  # it began first, and has to wait
        async with town.database.begin() as quick:
            (begun,) = await record.record_many(quick, town.system, [town.report(begins)])
            ending = asyncio.create_task(record.record_many(slow, town.system, [town.report(ends)]))
            await blocked(town.database, 1)
        (ended,) = await ending
    assert [event.id for event in await town.numbered()] == [begun.id, ended.id]
    assert [held[0] for held in (await town.conditions("crowd.caution")).values()] == [ended.id]


async def test_a_writer_joins_the_ledger_only_when_it_holds_all_its_conditions(town: Town) -> None:
    """One writes of two cameras and waits for the first; meanwhile another writes of the second, and goes first."""
    first, second = sorted([await factories.camera(town.database, town.agency) for _ in range(2)])

    def report(kind: str, camera: UUID) -> Report:
        return town.report(kind, subject_kind="cameras", subject_id=camera)

    async with town.database.begin() as holder:
        (held,) = await record.record_many(holder, town.system, [report("camera.lost", first)])
        waiting = asyncio.create_task(town.write(report("camera.restored", first), report("camera.restored", second)))
        await blocked(town.database, 1)
        (lost,) = await town.write(report("camera.lost", second))
    restored = await waiting
    order = [event.id for event in await town.numbered()]
    assert order == [held.id, lost.id, *(item.id for item in restored)]
    assert {lasts for _, lasts in (await town.conditions("camera.lost")).values()} == {False}


async def test_the_ledger_and_the_conditions_agree_after_any_storm(town: Town) -> None:
    """Folding the ledger gives what the conditions say, whoever wrote what at the same time."""
    cameras = [await factories.camera(town.database, town.agency) for _ in range(4)]
    generator = random.Random(5)

    async def writer() -> None:
        for _ in range(12):
            some = [
                town.report(
                    generator.choice(("camera.lost", "camera.restored")), subject_kind="cameras",
                    subject_id=generator.choice(cameras),
                )
                for _ in range(generator.randint(1, 6))
            ]  # fmt: skip
            await town.write(*some)
            sequencer.poke()
            await asyncio.sleep(0)

    sequencer = Sequencer(town.database, ledger.EVENTS)
    numbering = asyncio.create_task(sequencer.run())
    await asyncio.gather(*(writer() for _ in range(6)))
    numbering.cancel()
    folded = {f"cameras/{event.subject_id}": (event.id, event.kind == "camera.lost") for event in await town.numbered()}
    assert await town.conditions("camera.lost") == folded
    async with town.database.begin() as session:
        assert await session.scalar(select(func.count()).select_from(EventPending)) == 0
