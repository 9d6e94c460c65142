"""What PIPA 18(4) asks to be made public: all of it, once, in time, and nothing more."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from app.access.codes import BASES
from tests import factories
from tests.reports.town import EMERGENCY, IN_PURPOSE, TODAY, Town, usb

YESTERDAY = TODAY - timedelta(days=1)
DAYS = {"from": (TODAY - timedelta(days=60)).isoformat(), "to": YESTERDAY.isoformat()}


async def given(place: Town, basis: str = EMERGENCY["basis"], days_ago: int = 1, **more: Any) -> str:
    """Something provided some days ago, at noon."""
    at = f"{TODAY - timedelta(days=days_ago)}T12:00:00+09:00"
    body = usb(basis=basis, purpose="emergency_response", provided_at=at, **more)
    answer = await place.client.post("/v1/provisions", json=body, headers=await place.headers("admin"))
    assert answer.status_code == 201, answer.text
    made: str = answer.json()["id"]
    return made


async def due(place: Town, role: str = "admin", agency: UUID | None = None) -> list[dict[str, Any]]:
    answer = await place.client.get(
        "/v1/reports/publications/due",
        params={"agency_id": str(place.district)},
        headers=await place.headers(role, agency),
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["publish_within_days"] == 30
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def publish(place: Town, role: str = "admin", agency: UUID | None = None, **more: Any) -> Any:
    body = {**DAYS, "place": "https://district.example/notice", **more}
    return await place.client.post("/v1/reports/publications", json=body, headers=await place.headers(role, agency))


async def published(place: Town, publication_id: str, **query: str) -> Any:
    answer = await place.client.get(
        f"/v1/reports/publications/{publication_id}", params=query, headers=await place.headers("operator")
    )
    assert answer.status_code == 200, answer.text
    return answer


async def test_only_what_the_law_names_is_due(place: Town) -> None:
    for basis in BASES:
        await given(place, basis)
    await given(place, kind="access", destroy_due=None)
    await place.grant(EMERGENCY)
    await place.grant(IN_PURPOSE)
    rows = await due(place)
    # 18(4): items 2, 3, 5, 6, 8, 9 and 10 of 18(2); not consent (1), not the prosecution of crimes (7).
    named = {f"KR-PIPA-18-2-{item}" for item in (2, 3, 5, 6, 8, 9, 10)}
    assert {row["basis"] for row in rows} == named
    assert {row["day"] for row in rows if row["basis"] == EMERGENCY["basis"]} == {str(TODAY), str(YESTERDAY)}, (
        "views too"
    )
    assert all(row["due_on"] == str(TODAY + timedelta(days=30 - (row["day"] == str(YESTERDAY)))) for row in rows)


async def test_thirty_days_are_the_last_day_not_over(place: Town) -> None:
    await given(place, days_ago=30)
    await given(place, days_ago=31)
    assert [(row["due_on"], row["overdue"]) for row in await due(place)] == [
        (str(YESTERDAY), True),
        (str(TODAY), False),
    ]


async def test_what_is_published_tells_four_things_and_no_person(place: Town) -> None:
    for _ in range(3):
        await given(place, requester={"name": "이요구"}, camera_ids=[str(place.camera)])
    await given(place, "KR-PIPA-18-2-2", law="119법 제1조", items="<i>영상</i>")
    made = await publish(place)
    assert made.status_code == 201, made.text
    row = (await published(place, made.json()["id"])).json()
    assert row["shown_until"] == str(TODAY + timedelta(days=10))
    first, second = row["lines"]
    assert (first["day"], first["ground"], first["count"]) == (
        str(YESTERDAY),
        "개인정보 보호법 제18조제2항제2호 (다른 법률의 특별한 규정), 119법 제1조",
        1,
    )
    assert (second["purpose"], second["items"], second["count"]) == (
        "긴급 출동 (112·119 신고 대응)",
        "개인영상정보(녹화 영상)",
        3,
    )
    page = await published(place, made.json()["id"], format="html")
    for text in ("&lt;i&gt;영상&lt;/i&gt;", "긴급 출동", str(YESTERDAY), "제18조제2항제3호"):
        assert text in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for text in (str(row), page.text):
        assert not [
            secret for secret in ("이요구", "형사과-123", "clip.mp4", "CAM-", str(place.camera)) if secret in text
        ]
    entry = (await place.acts("publication.made"))[0]["payload"]
    assert (entry["provisions"], entry["place"]) == (4, "https://district.example/notice")
    assert await due(place) == []


async def test_each_provision_is_published_once_however_many_publish(place: Town) -> None:
    for number in range(4):
        await given(place, days_ago=1 + number % 2)
    answers = await asyncio.gather(*(publish(place) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]
    made = next(answer for answer in answers if answer.status_code == 201).json()["id"]
    assert sum(line["count"] for line in (await published(place, made)).json()["lines"]) == 4
    await given(place)
    later = await publish(place)
    assert [line["count"] for line in (await published(place, later.json()["id"])).json()["lines"]] == [1]


async def test_a_day_that_is_not_over_is_not_published(place: Town) -> None:
    await given(place)
    answer = await publish(place, to=TODAY.isoformat())
    assert (answer.status_code, answer.json()["field"]) == (422, "to")


async def test_restricted_provisions_stay_back_until_somebody_says_otherwise(place: Town) -> None:
    await given(place, restriction="protected", items="비밀")
    await given(place, items="공개")
    own = {row["restricted"]: row for row in await due(place)}
    assert own[True]["items"] == "비밀"
    above = {row["restricted"]: row for row in await due(place, "auditor", place.city)}
    assert set(above[True]) == {"day", "count", "due_on", "overdue", "restricted"}
    made = (await publish(place)).json()["id"]
    assert [line["items"] for line in (await published(place, made)).json()["lines"]] == ["공개"]
    assert [row["restricted"] for row in await due(place)] == [True]
    made = (await publish(place, with_restricted=True)).json()["id"]
    assert [line["items"] for line in (await published(place, made)).json()["lines"]] == ["비밀"]


@pytest.mark.parametrize(("role", "where"), [("operator", "district"), ("auditor", "district"), ("auditor", "city")])
async def test_only_the_owners_officials_publish(place: Town, role: str, where: str) -> None:
    await given(place)
    agency: UUID = getattr(place, where)
    assert (await publish(place, role, agency, agency_id=str(place.district))).status_code == 403
    stranger = await factories.agency(place.database)
    answer = await publish(place, "admin", stranger, agency_id=str(place.district))
    assert answer.status_code == 403
    assert len(await due(place)) == 1
