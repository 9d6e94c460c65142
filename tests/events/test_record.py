"""Events: written down once, about things of one's own, without anything that shows a person."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, insert, select

from app.database import Database
from app.errors import Malformed, NotFound
from app.events import contents, record
from app.events.catalogue import KINDS, SEVERITIES
from app.events.record import Recorded, Report
from app.ids import new_id
from app.models import Alarm, Asset, Event, EventPending, EventPosition
from tests import factories
from tests.actors import actor


async def write(database: Database, agency_id: UUID, **report: Any) -> Recorded:
    system = await actor(database, agency_id, "integration")
    given = {"kind": "analytic.collapse", "source": "va/1", "source_key": factories.name("key")} | report
    async with database.begin() as session:
        return await record.record(session, system, Report(**given))


async def stored(database: Database, event_id: UUID) -> Event:
    async with database.begin() as session:
        event = await session.scalar(select(Event).where(Event.id == event_id))
    assert event is not None
    return event


async def test_an_event_of_a_camera_takes_its_place_owner_and_areas(database: Database) -> None:
    district, area_id = await factories.agency(database), new_id()
    camera_id = await factories.camera(
        database, district, latitude=37.1, longitude=127.1, area_ids=(area_id,), purposes=("child_safety",)
    )
    happened = datetime.now(UTC) - timedelta(days=29)
    recorded = await write(
        database, district, subject_kind="cameras", subject_id=camera_id, occurred_at=happened, latitude=1.0,
        longitude=2.0, data={"확신도": 0.93}, media_ref="clip/1", exercise=True,
    )  # fmt: skip
    assert recorded.new
    event = await stored(database, recorded.id)
    assert (event.owner_agency_id, event.area_ids, event.installation_purposes) == (
        district,
        [area_id],
        ["child_safety"],
    )
    assert (event.camera_id, event.latitude, event.longitude) == (camera_id, 37.1, 127.1)
    assert (event.severity, event.occurred_at, event.exercise) == (SEVERITIES.index("alarm"), happened, True)
    assert event.data == {"확신도": 0.93}
    assert datetime.now(UTC) - event.at < timedelta(minutes=1)


async def test_an_event_of_a_bell_names_its_camera_and_one_of_nothing_is_the_agencys_own(database: Database) -> None:
    district = await factories.agency(database)
    camera_id, bell_id = await factories.camera(database, district), new_id()
    async with database.begin() as session:
        await session.execute(
            insert(Asset).values(
                id=bell_id, kind="bell", owner_agency_id=district, external_key="1", name="벨", latitude=37.2,
                longitude=127.2, camera_ids=[camera_id],
            )
        )  # fmt: skip
    pressed = await write(database, district, kind="bell.pressed", subject_kind="assets", subject_id=bell_id)
    of_bell = await stored(database, pressed.id)
    assert (of_bell.camera_id, of_bell.latitude, of_bell.severity) == (camera_id, 37.2, 4)
    somewhere = await write(database, district, latitude=37.3, longitude=127.3, severity="info")
    of_none = await stored(database, somewhere.id)
    assert (of_none.camera_id, of_none.latitude, of_none.severity) == (None, 37.3, 0)
    assert of_none.owner_agency_id == district


async def test_a_repetition_makes_nothing_new_even_at_once(database: Database) -> None:
    district, other = await factories.agency(database), await factories.agency(database)
    key = factories.name("key")
    recorded = await asyncio.gather(*(write(database, district, source_key=key) for _ in range(8)))
    assert sorted(item.new for item in recorded) == [False] * 7 + [True]
    assert len({item.id for item in recorded}) == 1
    again = await write(database, district, source_key=key, kind="bell.tested")
    assert again == Recorded(recorded[0].id, new=False)
    assert (await write(database, other, source_key=key)).new  # nobody can use up another's keys
    assert (await write(database, district, source_key=key, source="va/2")).new
    async with database.begin() as session:
        events = select(func.count()).where(Event.id == again.id)
        appended = [
            await session.scalar(select(func.count()).where(table.id == again.id))
            for table in (EventPending, EventPosition)
        ]
        assert await session.scalar(events) == 1
    assert sum(one or 0 for one in appended) == 1


async def test_the_subject_must_be_ones_own(database: Database) -> None:
    district, police = await factories.agency(database), await factories.agency(database, "police")
    camera_id = await factories.camera(database, district)
    await factories.agreement(database, district, police)
    center = await factories.agency(database, "center", district)
    assert (await write(database, center, subject_kind="cameras", subject_id=camera_id)).new
    for agency_id, subject in ((police, camera_id), (district, new_id())):
        with pytest.raises(NotFound):
            await write(database, agency_id, subject_kind="cameras", subject_id=subject)
    with pytest.raises(NotFound):
        await write(database, district, subject_kind="assets", subject_id=camera_id)
    with pytest.raises(Malformed):
        await write(database, district, subject_kind="people", subject_id=camera_id)


async def test_an_alarm_must_be_acknowledged_in_its_kinds_time(database: Database) -> None:
    district = await factories.agency(database)
    rung = await write(database, district, kind="bell.pressed", severity="info")
    await write(database, district, kind="bell.tested", severity="emergency")
    event = await stored(database, rung.id)
    async with database.begin() as session:
        alarms = (await session.scalars(select(Alarm).where(Alarm.owner_agency_id == district))).all()
    assert [(alarm.event_id, alarm.event_at, alarm.kind) for alarm in alarms] == [(event.id, event.at, "bell.pressed")]
    due = event.at + timedelta(seconds=KINDS["bell.pressed"].acknowledge_seconds)
    assert (alarms[0].due_at, alarms[0].reminders, alarms[0].acknowledged_at) == (due, 0, None)


async def test_what_is_said_of_an_event_has_its_rights_and_its_urgency(database: Database) -> None:
    district, areas = await factories.agency(database), (new_id(), new_id())
    camera_id = await factories.camera(
        database, district, area_ids=areas, purposes=("child_safety", 'odd "name" \\ {a,b}')
    )
    officer = await actor(database, district)
    lost = await write(
        database, district, kind="camera.lost", subject_kind="cameras", subject_id=camera_id, severity="emergency",
        restriction="수사", exercise=True, incident_id=new_id(), media_ref="clip/1",
    )  # fmt: skip
    async with database.begin() as session:
        row = (await session.execute(select(Event.__table__).where(Event.id == lost.id))).mappings().one()
        said = await record.follow_up(session, row, "alarm.acknowledged", {"room": str(district)}, actor=officer)
        again = await record.follow_up(session, row, "alarm.repeated", {"times": 1})
        with pytest.raises(Malformed):
            await record.follow_up(session, row, "alarm.judged", {"verdict": "nonsense"})
        pending = await session.scalars(
            select(EventPending.urgency).where(EventPending.id.in_([said, again])).order_by(EventPending.arrival)
        )
        assert pending.all() == [2, 2], "as urgent as the alarm itself, and so after it"
    first, second = await stored(database, said), await stored(database, again)
    for name in (
        "severity", "subject_kind", "subject_id", "camera_id", "incident_id", "owner_agency_id", "area_ids",
        "installation_purposes", "latitude", "longitude", "exercise", "restriction",
    ):  # fmt: skip
        assert getattr(first, name) == row[name], name
    assert (first.regards_id, first.regards_kind, first.media_ref) == (lost.id, "camera.lost", "")
    assert first.data == {"event_id": str(lost.id), "room": str(district), "by": officer.login}
    assert second.data == {"event_id": str(lost.id), "times": 1}


def nested(levels: int) -> Any:
    data: Any = 1
    for _ in range(levels):
        data = {"a": data}
    return data


def good(**changed: Any) -> Report:
    return Report(**({"kind": "analytic.collapse", "source": "va/1", "source_key": "1"} | changed))


REQUIRED = {"headline": "호우 경보", "state": "green"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_the_catalogue_can_be_reported_of_what_it_allows(kind: str) -> None:
    for subject in ("", "cameras", "assets", "people"):
        about = good(kind=kind, data=REQUIRED, subject_kind=subject, subject_id=new_id() if subject else None)
        if subject in KINDS[kind].subjects:
            record.check(about)
        else:
            with pytest.raises(Malformed) as refused:
                record.check(about)
            assert refused.value.extra["field"] == "subject"


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"a": [1, 2.5, None, True, "말"]},
        {"plateau": "of steel", "faceless": 1, "imagery": "", "framework": "x"},
        nested(7),
        {"text": "가" * 4000},
    ],
)
def test_harmless_data_is_taken(data: dict[str, Any]) -> None:
    record.check(good(data=data))


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"kind": "bell.rung"}, "type"),
        ({"kind": ""}, "type"),
        ({"severity": "terrible"}, "severity"),
        ({"source": ""}, "source"),
        ({"source": "a\nb"}, "source"),
        ({"source": "a" * 201}, "source"),
        ({"source_key": "nul\0"}, "id"),
        ({"source_key": ""}, "id"),
        ({"occurred_at": datetime.now(UTC) + timedelta(hours=6)}, "time"),
        ({"occurred_at": datetime.now(UTC) - timedelta(days=31)}, "time"),
        ({"kind": "crowd.serious", "data": {"people_per_m2": "5"}}, "data.people_per_m2"),
        ({"kind": "alert.issued"}, "data.headline"),
        ({"media_ref": "data:image/png;base64,iVBORw0KGgo="}, "mediaref"),
        ({"source_key": "12가3456"}, "id"),
        ({"restriction": "nul\0"}, "restriction"),
        ({"restriction": "a" * 501}, "restriction"),
        ({"media_ref": "line\nbreak"}, "mediaref"),
        ({"data": {"text": "nul\0"}}, "data.text"),
        ({"data": {"nul\0": 1}}, "data"),
        ({"data": {"list": [{"deep": "가" * 4001}]}}, "data.list[0].deep"),
        ({"data": {"k" * 4001: 1}}, "data"),
        ({"data": nested(9)}, "data"),
        ({"data": nested(900)}, "data"),
        ({"data": {"many": ["x" * 1000] * 20}}, "data"),
        *(({"data": {word: "…"}}, "data") for word in contents.FORBIDDEN_FIELDS),
        ({"data": {"Face": "…"}}, "data"),
        ({"data": {"front_plate_text": "12가3456"}}, "data"),
        ({"data": {"objects": [{"face_embedding": [0.1]}]}}, "data.objects[0]"),
    ],
)
def test_what_cannot_stand_is_refused_by_name(changed: dict[str, Any], field: str) -> None:
    with pytest.raises(Malformed) as refused:
        record.check(good(**changed))
    assert refused.value.extra["field"] == field
    assert "12가3456" not in refused.value.detail
