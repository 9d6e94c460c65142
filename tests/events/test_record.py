"""Events: written down once, about things of one's own, without anything that shows a person."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import func, insert, select

from app.access.roles import ROLES
from app.database import Database
from app.errors import Malformed, NotFound
from app.events import record
from app.events.catalogue import KINDS, SEVERITIES
from app.events.record import Recorded, Report
from app.ids import new_id
from app.models import Asset, Event, EventKey, EventPending, EventPosition
from tests import factories
from tests.actors import actor

SEOUL = {"lat": 37.5894, "lon": 127.0167}


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
    happened = datetime(2026, 1, 31, 9, tzinfo=UTC)
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


def nested(levels: int) -> Any:
    data: Any = 1
    for _ in range(levels):
        data = {"a": data}
    return data


def good(**changed: Any) -> Report:
    return Report(**({"kind": "analytic.collapse", "source": "va/1", "source_key": "1"} | changed))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_the_catalogue_can_be_reported(kind: str) -> None:
    record.check(good(kind=kind))


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"a": [1, 2.5, None, True, "말"]},
        {"plates": "of steel", "faceless": 1, "imagery": "", "framework": "x"},
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
        *(({"data": {word: "…"}}, "data") for word in record.FORBIDDEN_FIELDS),
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


# Through the door


def cloud(**attributes: Any) -> dict[str, Any]:
    """A CloudEvent as an integration sends it."""
    event = {"specversion": "1.0", "id": factories.name("id"), "source": "va/1", "type": "kr.gwanje.analytic.collapse"}
    return {name: value for name, value in (event | attributes).items() if value is not ...}


async def post(client: httpx.AsyncClient, database: Database, body: Any, role: str = "integration") -> httpx.Response:
    who = await factories.person(database, await factories.agency(database), role)
    return await client.post("/v1/events", json=body, headers=await factories.sign_in(client, who))


async def test_a_batch_is_taken_in_its_order_or_not_at_all(client: httpx.AsyncClient, database: Database) -> None:
    events = [cloud(data={"location": SEOUL}), cloud(time="2026-01-31T18:00:00+09:00"), cloud(type="bell.tested")]
    answer = await post(client, database, [*events, events[0]])
    assert answer.status_code == 202
    items = answer.json()["events"]
    assert [item["new"] for item in items] == [True, True, True, False]
    assert items[0]["id"] == items[3]["id"]
    first, second = [await stored(database, UUID(item["id"])) for item in items[:2]]
    assert (first.latitude, first.longitude, first.data) == (SEOUL["lat"], SEOUL["lon"], {})
    assert second.occurred_at == datetime(2026, 1, 31, 9, tzinfo=UTC)
    wrong = [cloud(), cloud(), cloud(type="nonsense")]
    refused = await post(client, database, wrong)
    assert (refused.status_code, refused.json()["index"], refused.json()["field"]) == (422, 2, "type")
    async with database.begin() as session:
        assert await session.scalar(select(EventKey.event_id).where(EventKey.source_key == wrong[0]["id"])) is None
        assert await session.scalar(select(EventKey.event_id).where(EventKey.source_key == events[0]["id"])) is not None


WRONG: Sequence[tuple[Any, str]] = [
    ({}, "specversion"),
    (cloud(specversion="0.3"), "specversion"),
    (cloud(id=...), "id"),
    (cloud(id=7), "id"),
    (cloud(source=""), "source"),
    (cloud(type=["x"]), "type"),
    (cloud(type="kr.gwanje.view.opened"), "type"),
    (cloud(type="grant.given"), "type"),
    (cloud(time="yesterday"), "time"),
    (cloud(time="2026-01-31T09:00:00"), "time"),
    (cloud(time="0001-01-01T00:00:00+14:00"), "time"),
    (cloud(time="9999-12-31T23:59:59-14:00"), "time"),
    (cloud(time="2999-01-01T00:00:00Z"), "time"),
    (cloud(subject="cameras"), "subject"),
    (cloud(subject="cameras/7"), "subject"),
    (cloud(subject=f"people/{new_id()}"), "subject"),
    (cloud(incident="none"), "incident"),
    (cloud(exercise="true"), "exercise"),
    (cloud(exercise=1), "exercise"),
    (cloud(data=[]), "data"),
    (cloud(data=False), "data"),
    (cloud(data="text"), "data"),
    (cloud(data={"location": "here"}), "data.location"),
    (cloud(data={"location": {"lat": 37.5}}), "data.location"),
    (cloud(data={"location": {"lat": "37.5", "lon": 127}}), "data.location"),
    (cloud(data={"location": {"lat": True, "lon": 127}}), "data.location"),
    (cloud(data={"location": {"lat": None, "lon": None}}), "data.location"),
    (cloud(data={"location": {"lat": 127, "lon": 37.5}}), "data.location"),
    (cloud(data={"location": {"lat": 10**30, "lon": 37.5}}), "data.location"),
    (cloud(data={"nul\0": "x"}), "data"),
    (cloud(data=nested(300)), "data"),
]


@pytest.mark.parametrize(("event", "field"), WRONG, ids=[str(number) for number in range(len(WRONG))])
async def test_an_event_that_cannot_be_understood_names_its_attribute(
    client: httpx.AsyncClient, database: Database, event: Any, field: str
) -> None:
    refused = await post(client, database, event)
    assert (refused.status_code, refused.json()["code"], refused.json()["field"]) == (422, "malformed", field)


async def test_numbers_of_any_size_are_taken_or_refused_and_never_an_error(
    client: httpx.AsyncClient, database: Database
) -> None:
    big = {"huge": 10**40, "negative": -(2**70), "tiny": 1e-320, "large": 1.7e308, "minus zero": -0.0}
    answer = await post(client, database, cloud(data=big))
    assert answer.status_code == 202
    event = await stored(database, UUID(answer.json()["events"][0]["id"]))
    assert event.data["large"] == 1.7e308


@pytest.mark.parametrize("body", [[], [cloud()] * 1001, "text", 7, None, [[cloud()]], [None]])
async def test_a_body_that_is_no_batch_of_events_is_refused(
    client: httpx.AsyncClient, database: Database, body: Any
) -> None:
    refused = await post(client, database, body)
    assert (refused.status_code, refused.json()["code"]) == (422, "malformed")


@pytest.mark.parametrize("role", ROLES)
async def test_only_who_may_report_reports(client: httpx.AsyncClient, database: Database, role: str) -> None:
    answer = await post(client, database, cloud(), role)
    assert answer.status_code == (202 if "ingest" in ROLES[role] else 403)


async def test_too_large_a_body_is_refused_before_it_is_read_whole(
    client: httpx.AsyncClient, database: Database
) -> None:
    events = [cloud(data={"text": "x" * 3900}) for _ in range(1200)]
    refused = await post(client, database, events)
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")
