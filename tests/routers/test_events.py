"""POST /v1/events: CloudEvents of all modes, places that find their areas, and every no by its field, never a 500."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from app.access.roles import ROLES
from app.database import Database
from app.errors import Malformed
from app.events import cloudevents
from app.events.catalogue import KINDS, TYPE_PREFIX
from app.ids import new_id
from app.models import Event, EventKey
from tests import factories
from tests.registry.test_areas import feature, load, square

SEOUL = {"lat": 37.5894, "lon": 127.0167}
HOUR_AGO = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)


def cloud(**attributes: Any) -> dict[str, Any]:
    """A CloudEvent as an integration sends it."""
    event = {"specversion": "1.0", "id": factories.name("id"), "source": "va/1", "type": "kr.gwanje.analytic.collapse"}
    return {name: value for name, value in (event | attributes).items() if value is not ...}


async def stored(database: Database, event_id: str) -> Event:
    async with database.begin() as session:
        event = await session.scalar(select(Event).where(Event.id == UUID(event_id)))
    assert event is not None
    return event


async def post(client: httpx.AsyncClient, database: Database, body: Any, role: str = "integration") -> httpx.Response:
    who = await factories.person(database, await factories.agency(database), role)
    return await client.post("/v1/events", json=body, headers=await factories.sign_in(client, who))


@pytest.fixture(scope="module")
async def system(client: httpx.AsyncClient, database: Database) -> dict[str, str]:
    who = await factories.person(database, await factories.agency(database), "integration")
    return await factories.sign_in(client, who)


async def test_a_batch_is_taken_in_its_order_or_not_at_all(client: httpx.AsyncClient, database: Database) -> None:
    told = HOUR_AGO.astimezone().isoformat()
    events = [cloud(data={"location": SEOUL}), cloud(time=told), cloud(type="bell.tested")]
    answer = await post(client, database, [*events, events[0]])
    assert answer.status_code == 202
    items = answer.json()["events"]
    assert [item["new"] for item in items] == [True, True, True, False]
    assert items[0]["id"] == items[3]["id"]
    first, second = [await stored(database, item["id"]) for item in items[:2]]
    assert (first.latitude, first.longitude, first.data) == (SEOUL["lat"], SEOUL["lon"], {})
    assert second.occurred_at == HOUR_AGO
    wrong = [cloud(), cloud(), cloud(type="nonsense")]
    refused = await post(client, database, wrong)
    assert (refused.status_code, refused.json()["index"], refused.json()["field"]) == (422, 2, "type")
    async with database.begin() as session:
        assert await session.scalar(select(EventKey.event_id).where(EventKey.source_key == wrong[0]["id"])) is None
        assert await session.scalar(select(EventKey.event_id).where(EventKey.source_key == events[0]["id"])) is not None


async def test_a_place_is_in_its_areas_as_they_are_now_and_a_subject_in_its_own(
    client: httpx.AsyncClient, database: Database
) -> None:
    agency = await factories.agency(database)
    who = await factories.person(database, agency, "integration")
    headers = await factories.sign_in(client, who)
    at = {"location": {"lat": 10.5, "lon": 10.5}}
    camera = await factories.camera(database, agency, area_ids=(new_id(),))

    async def areas_of(**given: Any) -> list[UUID]:
        answer = await client.post("/v1/events", json=[cloud(), cloud(**given)], headers=headers)
        return (await stored(database, answer.json()["events"][1]["id"])).area_ids

    assert await areas_of(data=at) == []
    code = factories.name("area")
    (area,) = (await load(database, feature(code, "바다", square(10, 10)))).ids.values()
    for _ in range(30):  # it is looked once a second whether areas have changed
        if found := await areas_of(data=at):
            break
        await asyncio.sleep(0.1)
    assert found == [area]
    assert await areas_of(data={"location": {"lat": 12, "lon": 10.5}}) == []
    assert await areas_of(data=at, subject=f"cameras/{camera}") == (await areas_of(subject=f"cameras/{camera}"))
    await load(database, feature(code, "바다", square(40, 10)))
    for _ in range(30):
        if not (found := await areas_of(data=at)):
            break
        await asyncio.sleep(0.1)
    assert found == []


# Modes and media types


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/cloudevents+json", "Application/CloudEvents+JSON; charset=UTF-8",
     'application/json;charset="utf-8"'],
)  # fmt: skip
async def test_structured_mode(client: httpx.AsyncClient, system: dict[str, str], content_type: str) -> None:
    headers = {**system, "Content-Type": content_type}
    answer = await client.post("/v1/events", content=json.dumps(cloud()), headers=headers)
    assert answer.status_code == 202, answer.text


async def test_batched_mode(client: httpx.AsyncClient, system: dict[str, str]) -> None:
    headers = {**system, "Content-Type": cloudevents.BATCHED}
    answer = await client.post("/v1/events", content=json.dumps([cloud(), cloud()]), headers=headers)
    assert [item["new"] for item in answer.json()["events"]] == [True, True]


async def test_binary_mode(client: httpx.AsyncClient, database: Database, system: dict[str, str]) -> None:
    attributes = {
        "specversion": "1.0", "id": factories.name("id"), "source": "va%20%EA%B4%80%EC%A0%9C", "exercise": "true",
        "type": "kr.gwanje.crowd.serious", "time": HOUR_AGO.isoformat(), "severity": "alarm",
    }  # fmt: skip
    headers = {
        **system,
        "Content-Type": "application/json",
        **{f"CE-{name}": text for name, text in attributes.items()},
    }
    body = json.dumps({"people_per_m2": 5.5, "location": SEOUL})
    answer = await client.post("/v1/events", content=body, headers=headers)
    assert answer.status_code == 202, answer.text
    event = await stored(database, answer.json()["events"][0]["id"])
    assert (event.kind, event.source, event.exercise, event.severity) == ("crowd.serious", "va 관제", True, 3)
    assert (event.data, event.latitude, event.occurred_at) == ({"people_per_m2": 5.5}, SEOUL["lat"], HOUR_AGO)
    again = await client.post("/v1/events", content=b"", headers=headers)
    assert again.json()["events"] == [{"id": str(event.id), "new": False}]
    wrong = await client.post("/v1/events", content=body, headers=headers | {"CE-exercise": "yes", "CE-id": "2"})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "exercise")
    image = await client.post("/v1/events", content=body, headers=headers | {"Content-Type": "image/jpeg"})
    assert (image.status_code, image.json()["field"]) == (422, "content-type")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [("text/plain", "{}"), ("image/jpeg", "{}"), ("application/x-www-form-urlencoded", "{}"), ("multipart/form-data", ""),
     ("application/json; charset=euc-kr", "{}"), ("", "{}"), (cloudevents.STRUCTURED, "[{}]"), (cloudevents.BATCHED, "{}")],
)  # fmt: skip
async def test_another_media_type_is_refused(
    client: httpx.AsyncClient, system: dict[str, str], content_type: str, body: str
) -> None:
    refused = await client.post("/v1/events", content=body, headers={**system, "Content-Type": content_type})
    assert (refused.status_code, refused.json()["field"]) == (422, "content-type")


# What cannot be understood


def nested(levels: int) -> Any:
    data: Any = 1
    for _ in range(levels):
        data = {"a": data}
    return data


WRONG: Sequence[tuple[Any, str]] = [
    ({}, "specversion"),
    (cloud(specversion="0.3"), "specversion"),
    (cloud(id=...), "id"),
    (cloud(id=7), "id"),
    (cloud(source=""), "source"),
    (cloud(type=["x"]), "type"),
    (cloud(type="kr.gwanje.view.opened"), "type"),
    (cloud(type="grant.given"), "type"),
    (cloud(type="alarm.acknowledged"), "type"),
    (cloud(time="yesterday"), "time"),
    (cloud(time="2026-01-31T09:00:00"), "time"),
    (cloud(time="0001-01-01T00:00:00+14:00"), "time"),
    (cloud(time="9999-12-31T23:59:59-14:00"), "time"),
    (cloud(time="2999-01-01T00:00:00Z"), "time"),
    (cloud(time=(datetime.now(UTC) - timedelta(days=31)).isoformat()), "time"),
    (cloud(subject="cameras"), "subject"),
    (cloud(subject="cameras/7"), "subject"),
    (cloud(subject=f"people/{new_id()}"), "subject"),
    (cloud(type="camera.lost", subject=f"assets/{new_id()}"), "subject"),
    (cloud(incident="none"), "incident"),
    (cloud(exercise="true"), "exercise"),
    (cloud(exercise=1), "exercise"),
    (cloud(data_base64="AAAA"), "data_base64"),
    (cloud(data=[]), "data"),
    (cloud(data=False), "data"),
    (cloud(data="text"), "data"),
    (cloud(data={"location": "here"}), "data.location"),
    (cloud(data={"location": {"lat": 37.5}}), "data.location"),
    (cloud(data={"location": {"lat": "37.5", "lon": 127}}), "data.location"),
    (cloud(data={"location": {"lat": True, "lon": 127}}), "data.location"),
    (cloud(data={"location": {"lat": None, "lon": None}}), "data.location"),
    (cloud(data={"location": {"lat": 127, "lon": 37.5}}), "data.location"),
    (cloud(data={"location": {"lat": 1e30, "lon": 37.5}}), "data.location"),
    (cloud(data={"confidence": "high"}), "data.confidence"),
    (cloud(data={"confidence": 1.5}), "data.confidence"),
    (cloud(data={"nul\0": "x"}), "data"),
    (cloud(data=nested(300)), "data"),
    (cloud(data={"얼굴": "…"}), "data"),
    (cloud(data={"a": "data:image/png;base64,iVBORw0KGgo="}), "data.a"),
]


@pytest.mark.parametrize(("event", "field"), WRONG, ids=[str(number) for number in range(len(WRONG))])
async def test_an_event_that_cannot_be_understood_names_its_attribute(
    client: httpx.AsyncClient, system: dict[str, str], event: Any, field: str
) -> None:
    refused = await client.post("/v1/events", json=event, headers=system)
    assert (refused.status_code, refused.json()["code"], refused.json()["field"]) == (422, "malformed", field)
    assert "index" not in refused.json()


RAW: dict[str, bytes] = {
    "nothing": b"", "half": b'{"specversion": "1.0"', "nan": b'{"data": {"a": NaN}}', "infinity": b'[{"a": -Infinity}]',
    "lone surrogate": rb'{"id": "\ud800"}', "no utf-8": b'{"id": "\xff"}', "bom": b"\xef\xbb\xbf{}", "comment": b"{} // x",
    "deep": b"[" * 100_000, "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "almost as deep as may be": b"[" * 1020 + b"]" * 1020, "two": b"{}{}", "a name twice": b'{"id": "a", "id": "b"}',
    "a name twice within": b'[{"data": {"a": {"b": 1, "b": 1}}}]', "twice escaped": rb'{"id": "a", "\u0069d": "a"}',
    "huge": b'{"data": {"n": 1' + b"0" * 30 + b"}}", "huger": b'{"data": {"n": -1' + b"0" * 100_000 + b"}}",
    "no batch": b"[]", "too many": b"[" + b"{}," * 1000 + b"{}]", "text": b'"text"', "number": b"7", "null": b"null",
    "array in array": b"[[{}]]", "null in array": b"[null]",
}  # fmt: skip


@pytest.mark.parametrize("body", RAW.values(), ids=RAW)
async def test_a_body_that_is_no_batch_of_events_is_refused(
    client: httpx.AsyncClient, system: dict[str, str], body: bytes
) -> None:
    headers = {**system, "Content-Type": "application/json"}
    refused = await client.post("/v1/events", content=body, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (422, "malformed"), refused.text


GOOD = '{"specversion": "1.0", "id": "%s", "source": "va/1", "type": "bell.tested", "data": {"note": "a", "n": 1}}'


@pytest.mark.parametrize(
    ("good", "wrong", "field"),
    [
        ('"source": "va/1"', '"source": "va/1", "source": "va/1"', "source"),
        ('"note": "a"', r'"note": "a", "n\u006fte": "b"', "note"),
        ('"n": 1', f'"n": 1{"0" * 20}', "data"),
    ],
)
async def test_what_only_some_readers_would_refuse_is_refused(
    client: httpx.AsyncClient, system: dict[str, str], good: str, wrong: str, field: str
) -> None:
    """Names that stand twice and numbers that others round mean one thing here and another there."""
    headers = {**system, "Content-Type": "application/json"}
    body = GOOD % factories.name("id")
    assert good in body
    refused = await client.post("/v1/events", content=body.replace(good, wrong), headers=headers)
    assert (refused.status_code, refused.json()["field"]) == (422, field), refused.text
    assert (await client.post("/v1/events", content=body, headers=headers)).status_code == 202


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
@settings(max_examples=300)
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        events, _ = cloudevents.read(body, {})
        for event in events:
            cloudevents.report_of(event)
    except Malformed:
        pass


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    attribute=st.sampled_from(["id", "source", "type", "time", "subject", "data", "mediaref", "restriction", "x"]),
    value=JSON,
)
async def test_whatever_stands_in_an_attribute_there_is_never_an_error_of_ours(
    client: httpx.AsyncClient, system: dict[str, str], attribute: str, value: Any
) -> None:
    body = json.dumps(cloud(**{attribute: value})).encode()
    headers = {**system, "Content-Type": "application/json"}
    answer = await client.post("/v1/events", content=body, headers=headers)
    assert answer.status_code in (202, 422), answer.text


async def test_numbers_that_fit_are_taken_exactly(
    client: httpx.AsyncClient, database: Database, system: dict[str, str]
) -> None:
    numbers = {"most": 2**64 - 1, "least": -(2**63), "tiny": 1e-320, "large": 1.7e308, "minus zero": -0.0}
    answer = await client.post("/v1/events", json=cloud(data=numbers), headers=system)
    assert answer.status_code == 202, answer.text
    assert (await stored(database, answer.json()["events"][0]["id"])).data == numbers


# Who may, and how much


@pytest.mark.parametrize("role", ROLES)
async def test_only_who_may_report_reports(client: httpx.AsyncClient, database: Database, role: str) -> None:
    answer = await post(client, database, cloud(), role)
    assert answer.status_code == (202 if "ingest" in ROLES[role] else 403)


async def test_nobody_unknown_is_told_what_is_wrong(client: httpx.AsyncClient) -> None:
    for body in (b"", b"{", b"{}", b"[" * 200_000):
        refused = await client.post("/v1/events", content=body, headers={"Content-Type": "application/json"})
        assert (refused.status_code, refused.json()["code"]) == (401, "not_signed_in")


async def test_too_large_a_body_is_refused_before_it_is_read_whole(
    client: httpx.AsyncClient, database: Database, system: dict[str, str]
) -> None:
    events = [cloud(data={"text": "x" * 3900}) for _ in range(1200)]
    refused = await client.post("/v1/events", json=events, headers=system)
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")
    async with database.begin() as session:
        count = select(func.count()).where(EventKey.source_key.in_([event["id"] for event in events]))
        assert await session.scalar(count) == 0


# The catalogue


async def test_the_catalogue_is_told_to_everybody(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/events/kinds")
    assert answer.status_code == 200
    items = {item["type"]: item for item in answer.json()["items"]}
    assert list(items) == [TYPE_PREFIX + name for name in KINDS]
    pressed, cleared = items["kr.gwanje.bell.pressed"], items["kr.gwanje.crowd.cleared"]
    assert (pressed["severity"], pressed["label"], pressed["acknowledge_seconds"]) == ("emergency", "비상벨 눌림", 30)
    assert (cleared["ends"], cleared["family"], cleared["lasts"]) == ("kr.gwanje.crowd.caution", "crowd.caution", False)
    assert pressed["subjects"] == [None, "cameras", "assets"]
    assert pressed["data_schema"]["properties"]["trigger"]["anyOf"][0]["enum"][0] == "button"
    (reporter,) = [field for field in pressed["fields"] if field["name"] == "reporter"]
    assert (reporter["seen_by"], reporter["type"]) == ("owner", "text")
