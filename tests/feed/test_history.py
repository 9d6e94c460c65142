"""What is past: the filter in SQL and the comparison in memory are the same law, whatever is asked for."""

from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app import ledger
from app.database import Database
from app.events.catalogue import KINDS, SEVERITIES, WISHES
from app.feed import history
from app.feed.members import Viewer
from app.feed.positions import Positions
from app.feed.subscriptions import Near, Subscription
from app.keys import Keys
from tests import factories
from tests.feed.test_alarms import viewer

TOLD = ("bell.pressed", "camera.lost", "camera.restored", "analytic.fire", "analytic.loitering")


class Past:
    """A log with events of two agencies, some of them about others, and somebody who may see a part of it."""

    def __init__(self, rows: list[asyncpg.Record], who: Viewer, areas: list[UUID], cameras: list[UUID]) -> None:
        self.rows, self.who, self.areas, self.cameras = rows, who, areas, cameras


@pytest.fixture(scope="module")
async def past(client: httpx.AsyncClient, database: Database) -> Past:
    own, other = await factories.agency(database), await factories.agency(database)
    areas = [await factories.area(database) for _ in range(3)]
    cameras = [await factories.camera(database, own, area_ids=(areas[number % 3],)) for number in range(4)]
    systems = [
        await factories.sign_in(client, await factories.person(database, agency, "integration"))
        for agency in (own, other)
    ]
    for number in range(60):
        mine = number % 4 != 0
        event: dict[str, Any] = {
            "specversion": "1.0",
            "id": uuid4().hex,
            "source": "past",
            "type": f"kr.gwanje.{TOLD[number % len(TOLD)]}",
            "severity": SEVERITIES[number % len(SEVERITIES)],
        }
        if mine and number % 3:
            event["subject"] = f"cameras/{cameras[number % 4]}"
        else:
            event["data"] = {"location": {"lat": 37.5 + number / 1000, "lon": 127.0}}
        answer = await client.post("/v1/events", json=event, headers=systems[0 if mine else 1])
        assert answer.status_code == 202, answer.text
        if mine and number % 7 == 0:
            operator = await factories.sign_in(client, await factories.person(database, own))
            event_id = answer.json()["events"][0]["id"]
            noticed = await client.post(f"/v1/events/{event_id}/acknowledgements", headers=operator)
            assert noticed.status_code == 201
    await ledger.Sequencer(database, ledger.EVENTS).catch_up()
    async with database.bare.acquire() as connection:
        rows = list(await ledger.read(connection, ledger.EVENTS, 0, 100_000))
    return Past(rows, await viewer(database, own), areas, cameras)


subscriptions = st.builds(
    lambda kinds, severity, area, camera, near: (kinds, severity, area, camera, near),
    st.sets(st.sampled_from(sorted(WISHES)), max_size=6) | st.sets(st.sampled_from(TOLD), max_size=2),
    st.integers(0, 4),
    st.none() | st.integers(0, 2),
    st.none() | st.integers(0, 3),
    st.none() | st.builds(Near, st.floats(1, 5000), st.floats(37.49, 37.57), st.just(127.0)),
)


@settings(deadline=None, max_examples=60)
@given(wish=subscriptions, cut=st.integers(0, 80), limit=st.sampled_from([1, 7, 1000]))
async def test_the_database_finds_what_is_wanted_and_permitted(
    database: Database, past: Past, wish: tuple[Any, ...], cut: int, limit: int
) -> None:
    kinds, severity, area, camera, near = wish
    subscription = Subscription(
        "x",
        area_ids=frozenset() if area is None else frozenset([past.areas[area]]),
        kinds=frozenset(kinds),
        min_severity=severity,
        subject_ids=frozenset() if camera is None else frozenset([past.cameras[camera]]),
        near=near,
    )
    after, until = past.rows[-1]["position"] - cut, past.rows[-1]["position"]
    now = past.rows[-1]["at"]
    expected = [
        row["position"]
        for row in past.rows
        if row["position"] > after and subscription.wants(row) and past.who.may_see(row, now)
    ]
    found: list[int] = []
    async with database.bare.acquire() as connection:
        while after < until:
            rows, after = await history.read(connection, past.who, subscription, after, until, limit)
            found += [row["position"] for row in rows]
    assert found == expected


async def test_what_became_of_an_event_is_found_with_it(database: Database, past: Past) -> None:
    now, last = past.rows[-1]["at"], past.rows[-1]["position"]
    about = [row for row in past.rows if row["regards_id"] and past.who.may_see(row, now)]
    for kind in {row["regards_kind"] for row in about}:
        async with database.bare.acquire() as connection:
            found, _ = await history.read(connection, past.who, Subscription("x", kinds=frozenset([kind])), 0, last)
        assert {row["id"] for row in about if row["regards_kind"] == kind} <= {row["id"] for row in found}


def test_there_is_something_to_be_found_and_to_be_left_out(past: Past) -> None:
    now = past.rows[-1]["at"]
    mine = [row for row in past.rows if past.who.may_see(row, now)]
    assert 40 < len(mine) < len(past.rows)
    assert any(row["regards_id"] for row in mine)


def row_of(position: int, size: int = 10) -> dict[str, Any]:
    return {"position": position, "data": "x" * size, "severity": 0}


@given(st.integers(0, 50), st.lists(st.integers(1, 3000), max_size=40), st.integers(0, 100))
def test_what_is_recent_is_gapless_or_not_there(start: int, sizes: list[int], asked: int) -> None:
    recent = history.Recent(start)
    positions = Positions(Keys(b"k" * 32), 1)
    for number, size in enumerate(sizes, start + 1):
        recent.add(history.Told(row_of(number, size), positions))
    found = recent.after(asked)
    if asked < start:
        assert found is None
    else:
        assert found is not None
        assert [told.position for told in found] == list(range(asked + 1, start + len(sizes) + 1))


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_RECENT", 5)
    monkeypatch.setattr(history, "MOST_RECENT_BYTES", 1 << 20)
    recent = history.Recent(0)
    positions = Positions(Keys(b"k" * 32), 1)
    for number in range(1, 11):
        recent.add(history.Told(row_of(number), positions))
    assert recent.after(4) is None
    assert [told.position for told in recent.after(5) or []] == [6, 7, 8, 9, 10]
    recent.add(history.Told(row_of(11, 600_000), positions))
    assert [told.position for told in recent.after(11) or []] == []
    assert recent.after(10) is None, "one that is heavier than everything may be is not kept"


def test_every_kind_is_found_by_its_own_name() -> None:
    assert set(KINDS) <= WISHES
