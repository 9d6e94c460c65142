"""Patterns: each is found where it was put, and not where it was not."""

from datetime import datetime, timedelta
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.database import Database
from app.errors import Malformed
from app.ids import new_id
from app.reports import patterns, shifts
from app.reports.calendar import KOREA, Month, end_of_day_after, month_of, read_month
from app.reports.deviations import deviation
from app.reports.patterns import LABELS, Finding
from tests import factories
from tests.reports.past import MONTH, Past, at

PROVISION = {"basis": "KR-PIPA-18-2-7", "purpose": "crime_investigation"}


async def found(past: Past, kind: str, *, by: str = "") -> list[Finding]:
    """The findings of a kind; every one has its sentences in two languages and names no person."""
    async with past.base.begin() as session:
        all_found = await patterns.found(session, [past.agency], MONTH)
    for one in all_found:
        assert one.entries
        assert all(MONTH.since <= moment < MONTH.until for _, moment in one.entries)
        assert any("가" <= letter <= "힣" for letter in one.korean)
        assert one.english.isascii()
        assert not any(word in one.korean + one.english for word in ("홍길동", "None", "{"))
        assert one.kind in LABELS
    return [one for one in all_found if one.kind == kind]


async def test_a_quiet_month_has_no_findings(database: Database) -> None:
    past = await Past.of(database)
    lead, cameras = await past.person(), [await past.camera() for _ in range(3)]
    await past.duty(lead, at(3, 9), 8)
    for hour, camera in enumerate(cameras):
        await past.view(lead, camera, at(3, 10 + hour))
    async with database.begin() as session:
        assert await patterns.found(session, [past.agency], MONTH) == []


async def test_off_duty_by_duties_and_by_the_roster(database: Database) -> None:
    past = await Past.of(database)
    camera = await past.camera()
    on, off, rostered, never = [await past.person() for _ in range(4)]
    for who in (on, off):
        await past.duty(who, at(5, 9), 9)
    # The duty ran all day, the roster says until noon: half an hour of grace.
    await past.duty(
        rostered, at(5, 8), 12, planned={"from": at(5, 8).isoformat(), "to": at(5, 12).isoformat()}
    )  # fmt: skip
    await past.duty(rostered, at(9, 8), 8, planned=None)
    await past.view(on, camera, at(5, 10))
    await past.view(on, camera, at(5, 9))
    late = await past.view(off, camera, at(5, 18.01))
    await past.view(rostered, camera, at(5, 12.4))
    await past.view(rostered, camera, at(5, 12.6))
    await past.view(rostered, camera, at(9, 9))
    await past.view(never, camera, at(5, 3))  # has no duties: does not work in shifts
    by = {one.user_id: one for one in await found(past, "off_duty")}
    assert set(by) == {off.user_id, rostered.user_id}
    assert by[off.user_id].numbers == {"views": 1, "roster": False}
    assert by[rostered.user_id].numbers == {"views": 2, "roster": True}
    entry = await database.bare.fetchval("SELECT opened_entry_id FROM views WHERE id = $1", late)
    assert by[off.user_id].entries == [(entry, at(5, 18.01))]


async def test_without_incident_or_reference(database: Database) -> None:
    past, police = await Past.of(database), await factories.agency(database, "police")
    camera = await past.camera()
    officer, own = await past.person("room", police), await past.person()
    await past.view(officer, camera, at(4), number="112-1", **PROVISION)
    await past.view(officer, camera, at(5), incident=new_id(), **PROVISION)
    await past.view(officer, camera, at(6), exercise=True, **PROVISION)
    await past.view(own, camera, at(6))  # own use needs none
    assert await found(past, "without_reference") == []
    await past.view(officer, camera, at(7), **PROVISION)
    (one,) = await found(past, "without_reference")
    assert (one.user_id, one.numbers) == (officer.user_id, {"views": 1, "of": 3})


async def test_a_restricted_access_is_for_the_institution_that_acted(database: Database) -> None:
    past, police = await Past.of(database), await factories.agency(database, "police")
    officer = await past.person("room", police)
    await past.view(officer, await past.camera(), at(7), restriction="protected", **PROVISION)
    assert await found(past, "without_reference") == []
    async with database.begin() as session:
        theirs = await patterns.found(session, [police], MONTH)
    assert [one.kind for one in theirs] == ["without_reference"]


async def test_the_same_camera_again_and_again(database: Database) -> None:
    past = await Past.of(database)
    camera, others = await past.camera(), [await past.camera() for _ in range(4)]
    who, busy = await past.person(), await past.person()
    for number in range(12):
        await past.view(who, camera, at(1 + number, 9))
        for other in others:  # the busy one watches all cameras as often
            await past.view(busy, other, at(1 + number, 9))
    for other in others:
        await past.view(who, other, at(3, 11))
    (one,) = await found(past, "same_camera")
    assert (one.user_id, one.camera_id) == (who.user_id, camera)
    assert one.numbers["views"] == 12
    assert one.numbers["days"] == 12
    assert one.numbers["own"]["median"] == 1
    assert "12회" in one.korean
    for number in range(5):  # five peers who look at it as often: the place is busy
        peer = await past.person()
        for day in range(11 + number % 3):
            await past.view(peer, camera, at(1 + day, 10))
    assert who.user_id not in {one.user_id for one in await found(past, "same_camera")}


async def test_volume_against_the_own_months_and_against_peers(database: Database) -> None:
    past = await Past.of(database)
    camera = await past.camera()
    grown, peers = await past.person(), [await past.person() for _ in range(4)]
    before = [MONTH.after(-back).since + timedelta(days=3) for back in (1, 2, 3)]
    for moment in before:
        for number in range(5):
            await past.view(grown, camera, moment + timedelta(minutes=number))
    for number in range(40):
        await past.view(grown, camera, at(1 + number % 28, 9 + number // 28))
    for peer in peers:
        for number in range(20):
            await past.view(peer, camera, at(1 + number, 9))
    (one,) = await found(past, "volume")
    assert one.user_id == grown.user_id
    assert one.numbers["own"]["median"] == 5
    assert one.numbers["own"]["compared"] == 3
    assert one.numbers["peers"]["median"] == 20
    assert one.numbers["role"] == "operator"
    assert "본인의 지난 달" in one.korean
    assert "관제요원" in one.korean


async def test_declared_areas_of_conflict(database: Database) -> None:
    past = await Past.of(database)
    home, elsewhere = await factories.area(database), await factories.area(database)
    camera, other = await past.camera(home), await past.camera(elsewhere)
    who, neighbour = await past.person(), await past.person()
    await database.bare.execute(
        "INSERT INTO conflict_areas (id, user_id, agency_id, area_id, reason, valid_from, valid_to)"
        " VALUES ($1, $2, $3, $4, 'home', $5, $6)",
        new_id(), who.user_id, past.agency, home, at(10), at(20),
    )  # fmt: skip
    for person, seen, day in ((who, camera, 9), (who, camera, 21), (who, other, 12), (neighbour, camera, 12)):
        await past.view(person, seen, at(day))
    assert await found(past, "conflict_area") == []
    await past.view(who, camera, at(12))
    (one,) = await found(past, "conflict_area")
    assert one.user_id == who.user_id
    assert one.numbers == {"views": 1, "cameras": 1, "area_id": str(home), "reason": "home"}
    assert "자택" in one.korean


async def test_seen_right_after_a_refusal(database: Database) -> None:
    past, police = await Past.of(database), await factories.agency(database, "police")
    camera, other = await past.camera(), await past.camera()
    who, colleague = await past.person("room", police), await past.person("room", police)
    asked = {"reason": "camera_not_shared", "purpose": "traffic_accident", "basis": "KR-PIPA-18-2-7"}
    refused = await past.refused(who, camera, at(4, 10), **asked)
    await past.view(who, camera, at(4, 9.9), number="1", **PROVISION)
    await past.view(who, other, at(4, 10.1), number="1", **PROVISION)
    await past.view(colleague, camera, at(4, 10.1), number="1", **PROVISION)
    await past.view(who, camera, at(4, 11.1), number="1", **PROVISION)
    assert await found(past, "after_refusal") == []
    await past.view(who, camera, at(4, 10.05), number="1", **PROVISION)
    (one,) = await found(past, "after_refusal")
    assert (one.user_id, one.camera_id, one.numbers["seconds"]) == (who.user_id, camera, 180)
    assert one.entries[0] == (refused, at(4, 10))
    assert "교통사고 처리" in one.korean
    assert "범죄 수사" in one.korean


def test_a_roster_that_nobody_can_read_is_none() -> None:
    who, since = new_id(), MONTH.since
    for said in (
        None,
        {},
        [],
        "x",
        {"from": "x", "to": "y"},
        {"from": 1, "to": 2},
        {"from": "0001-01-01T00:00:00+00:00"},
    ):
        row = {"user_id": who, "began_at": at(2), "ended_at": at(2, 20), "planned": said}
        known = shifts.read([row], since)
        assert known.rostered == frozenset()
        assert list(known.windows) == [(who, at(2), at(2, 20))]


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=60), st.integers(0, 10_000))
def test_a_deviation_is_of_the_median_and_bears_wild_values(others: list[int], value: int) -> None:
    made = deviation(value, others)
    assert made.median == median(others)
    assert (made.score > 0) == (value > made.median)
    assert not deviation(others[0], [others[0]] * 5).is_high


def test_a_heavy_user_does_not_hide_another() -> None:
    """By mean and standard deviation 900 beside 1,000 would be 1.4 deviations off; here both stand out."""
    quiet = [20, 22, 19, 25, 21, 18]
    assert deviation(1000, [*quiet, 900]).is_high
    assert deviation(900, [*quiet, 1000]).is_high


def test_a_plain_example_by_hand() -> None:
    made = deviation(50, [10, 12, 11, 9, 13, 10])  # median 10.5, deviations 0.5 1.5 0.5 1.5 2.5 0.5: MAD 1
    assert (made.median, made.mad, made.count) == (10.5, 1.0, 6)
    assert made.score == pytest.approx(0.6745 * 39.5 / 1.05)
    assert made.is_high
    assert not deviation(14, [10, 12, 11, 9, 13, 10]).is_high


def test_days_and_months_are_korean() -> None:
    midnight = datetime(2026, 10, 1, tzinfo=KOREA)
    assert str(month_of(midnight)) == "2026-10"
    assert str(month_of(midnight - timedelta(seconds=1))) == "2026-09"
    assert Month(2026, 1).after(-1) == Month(2025, 12)
    # Received on 30 December: the 31st is the first day, 9 January the tenth, and it ends at midnight.
    for hour in (0, 23):
        due = end_of_day_after(datetime(2026, 12, 30, hour, 59, tzinfo=KOREA), 10)
        assert due == datetime(2027, 1, 10, tzinfo=KOREA)
    for wrong in ("2026-13", "2026-1", "26-01-01", "2026/01", "", "２０２６-01", "1999-01", "2026-00"):
        with pytest.raises(Malformed):
            read_month(wrong)
