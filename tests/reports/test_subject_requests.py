"""Data subjects' requests: due in ten Korean days, refused on one of four grounds, masked, and forgotten."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from app import clock
from app.actor import Actor
from app.database import Database
from app.errors import Conflict, Malformed, NotFound, NotPermitted
from app.ids import new_id
from app.keys import Keys
from app.reports.calendar import KOREA
from app.reports.subject_requests import codes, deciding, reading, receiving, upkeep
from app.reports.subject_requests.receiving import Asked
from tests import factories
from tests.actors import actor

SECRET = "홍길순"
NOON = datetime(2026, 11, 1, 3, tzinfo=UTC)


def asked(**more: Any) -> Asked:
    terms: dict[str, Any] = {
        "kind": "access", "channel": "visit", "relation": "self", "name": SECRET, "contact": "010-0000-0000",
        "period_from": NOON, "period_to": NOON + timedelta(hours=1), "place": "별빛공원",
    }  # fmt: skip
    return Asked(**terms | more)


class Office:
    """An institution's officer at work: each act a transaction."""

    def __init__(self, database: Database, keys: Keys, who: Actor) -> None:
        self.database, self.keys, self.who = database, keys, who

    async def receive(self, **more: Any) -> UUID:
        async with self.database.begin() as session:
            return await receiving.receive(session, self.who, self.keys, asked(**more), days=10)

    async def act(self, work: Any, request: UUID, *args: Any, **more: Any) -> None:
        async with self.database.begin() as session:
            await work(session, self.who, request, *args, **more)

    async def get(self, request: UUID, who: Actor | None = None) -> tuple[Any, Any]:
        async with self.database.begin() as session:
            return await reading.get(session, who or self.who, self.keys, request)

    async def due_since(self, request: UUID, days: int) -> None:
        """Let it have been due some days ago."""
        await self.database.bare.execute(
            "UPDATE subject_requests SET due_at = now() - make_interval(days => $2) WHERE id = $1", request, days
        )


@pytest.fixture
async def office(database: Database, keys: Keys) -> Office:
    return Office(database, keys, await actor(database, await factories.agency(database), "agency_head"))


async def test_a_request_goes_its_way(office: Office) -> None:
    first, second = await office.receive(received_at=clock.now() - timedelta(days=2)), await office.receive()
    row, person = await office.get(first)
    received = row["received_at"].astimezone(KOREA)
    due = row["due_at"].astimezone(KOREA)
    assert (due.hour, due.minute, (due.date() - received.date()).days) == (0, 0, 11)
    assert person == {"name": SECRET, "contact": "010-0000-0000"}
    assert {(await office.get(one))[0]["number"] for one in (first, second)} == {1, 2}
    with pytest.raises(Conflict, match="own footage"):
        await office.act(deciding.decide, first, "grant")
    await office.act(deciding.prove, first, "신분증과 당일 옷차림 확인")
    await office.act(deciding.extend, first, days=5, reason="마스킹에 시간이 필요", most_days=10)
    assert (await office.get(first))[0]["due_at"] == row["due_at"] + timedelta(days=5)
    with pytest.raises(Conflict, match="put off"):
        await office.act(deciding.extend, first, days=5, reason="또", most_days=10)
    await office.act(deciding.decide, first, "partial", ground="privacy_of_others", reason="제3자 다수")
    with pytest.raises(Conflict, match="decided"):
        await office.act(deciding.decide, first, "grant")
    with pytest.raises(Conflict, match="masked"):
        await office.act(deciding.close, first, "USB로 제공")
    await office.act(deciding.masked, first, by="담당 주무관", how="얼굴·번호판 모자이크")
    await office.act(deciding.close, first, "USB로 제공")
    with pytest.raises(Conflict, match="closed"):
        await office.act(deciding.prove, first, "x")
    row, _ = await office.get(first)
    assert (row["state"], row["refusal_ground"]) == ("closed", "privacy_of_others")


@pytest.mark.parametrize("ground", codes.GROUNDS)
async def test_refused_on_one_of_four_grounds_with_a_reason(office: Office, ground: str) -> None:
    request = await office.receive()
    for decision, wrong, reason in (
        ("refuse", "", "x"), ("refuse", "no such", "x"), ("refuse", ground, " "), ("grant", ground, "x"),
        ("partial", "", "x"), ("maybe", "", "x"),
    ):  # fmt: skip
        with pytest.raises(Malformed):
            await office.act(deciding.decide, request, decision, ground=wrong, reason=reason)
    await office.act(deciding.decide, request, "refuse", ground=ground, reason="사유")
    with pytest.raises(Conflict):
        await office.act(deciding.masked, request, by="x", how="y")
    await office.act(deciding.close, request, "서면 통지")
    assert len(codes.GROUNDS) == 4


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"kind": "copy"}, "kind"), ({"channel": "dream"}, "channel"), ({"relation": "neighbour"}, "relation"),
        ({"name": " "}, "name"), ({"contact": "x" * 201}, "contact"), ({"place": ""}, "place"),
        ({"period_to": NOON}, "period_to"), ({"period_to": NOON + timedelta(days=32)}, "period_to"),
        ({"received_at": NOON + timedelta(days=999)}, "received_at"), ({"received_at": NOON - timedelta(days=99)}, "received_at"),
        ({"name": "a\0b"}, "name"),
    ],
)  # fmt: skip
async def test_what_cannot_be_is_refused_by_its_field(office: Office, wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(Malformed) as refused:
        await office.receive(**wrong)
    assert refused.value.extra["field"] == field


async def test_rights_are_the_institutions(office: Office, database: Database) -> None:
    camera = await factories.camera(database, office.who.body_id)
    foreign = await factories.camera(database, await factories.agency(database))
    request = await office.receive(camera_ids=[camera])
    with pytest.raises(NotFound, match="your institution"):
        await office.receive(camera_ids=[camera, foreign])
    auditor, operator = await actor(database, office.who.body_id, "auditor"), await actor(database, office.who.body_id)
    stranger = await actor(database, await factories.agency(database), "agency_head")
    row, person = await office.get(request, auditor)
    assert row["id"] == request
    assert person is None, "an auditor reads what was done, not who asked"
    for who in (operator, stranger):
        async with database.begin() as session:
            assert await reading.listed(session, who) == []
        with pytest.raises(NotFound):
            await office.get(request, who)
    for who, refusal in ((operator, NotPermitted), (auditor, NotPermitted), (stranger, NotFound)):
        other = Office(database, office.keys, who)
        for work, args in ((deciding.prove, ("x",)), (deciding.erase, ()), (deciding.close, ("x",))):
            with pytest.raises(refusal):
                await other.act(work, request, *args)


async def test_overdue_is_told_to_the_own_people_and_again(office: Office, database: Database) -> None:
    request, decided = await office.receive(), await office.receive()
    await office.act(deciding.decide, decided, "refuse", ground="other", reason="x")

    async def told() -> list[Any]:
        async with database.begin() as session:
            await upkeep.remind(session)
        return await database.bare.fetch(
            "SELECT data, restriction FROM events WHERE kind = 'request.overdue' AND owner_agency_id = $1",
            office.who.body_id,
        )

    assert await told() == []
    for one in (request, decided):
        await office.due_since(one, 2)
    (event,) = await told()
    assert event["restriction"] == "internal"
    assert SECRET not in event["data"]
    assert len(await told()) == 1
    await database.bare.execute(
        "UPDATE subject_requests SET reminded_at = now() - interval '4 days' WHERE id = $1", request
    )
    assert len(await told()) == 2
    with pytest.raises(Conflict, match="over"):
        await office.act(deciding.extend, request, days=5, reason="늦음", most_days=10)
    async with database.begin() as session:
        states = {row["id"]: row["state"] for row in await reading.listed(session, office.who)}
    assert states == {request: "overdue", decided: "decided"}


async def everything_said(database: Database, request: UUID) -> str:
    said = [
        *await database.bare.fetch("SELECT to_jsonb(s)::text FROM subject_requests s WHERE id = $1", request),
        *await database.bare.fetch("SELECT payload::text FROM audit_entries WHERE subject_id = $1", request),
    ]
    sealed = await database.bare.fetch("SELECT sealed FROM subject_request_persons WHERE request_id = $1", request)
    return "\n".join(row[0] for row in said) + "".join(row["sealed"].decode("utf-8", "replace") for row in sealed)


async def test_who_asked_is_sealed_and_can_be_forgotten(office: Office, database: Database) -> None:
    words = {"place": "비밀공원"}
    request, young = await office.receive(**words), await office.receive()
    await office.act(deciding.prove, request, f"{SECRET} 신분증")
    assert SECRET not in (await everything_said(database, request)).replace(f"{SECRET} 신분증", "")
    with pytest.raises(Conflict, match="closed before"):
        await office.act(deciding.erase, request)
    for one in (request, young):
        await office.act(deciding.decide, one, "refuse", ground="retention_over", reason="비밀사유")
        await office.act(deciding.close, one, "비밀통지")
    await office.act(deciding.erase, request)
    await office.act(deciding.erase, request)
    said = await everything_said(database, request)
    assert not any(word in said for word in (SECRET, "비밀", "010-0000-0000"))
    row, person = await office.get(request)
    assert person is None
    assert (row["decision"], row["refusal_ground"]) == ("refuse", "retention_over")
    await database.bare.execute(
        "UPDATE subject_requests SET closed_at = now() - interval '400 days' WHERE id = $1", young
    )
    async with database.begin() as session:
        await upkeep.forget_old(session, days=401)
    assert (await office.get(young))[1] is not None
    async with database.begin() as session:
        await upkeep.forget_old(session, days=399)
    assert (await office.get(young))[1] is None


async def test_a_sealed_name_fits_its_own_request_only(office: Office, database: Database) -> None:
    one, other = await office.receive(), await office.receive(name="다른 이")
    sealed = await database.bare.fetchval("SELECT sealed FROM subject_request_persons WHERE request_id = $1", one)
    with pytest.raises(ValueError, match="another row"):
        office.keys.unseal(receiving.SEAL, sealed, other.bytes)


async def test_over_http(client: httpx.AsyncClient, database: Database) -> None:
    district = await factories.agency(database)
    headers = await factories.sign_in(client, await factories.person(database, district, "admin"))
    body = {
        "name": SECRET, "contact": "010", "place": "공원", "period_from": NOON.isoformat(),
        "period_to": (NOON + timedelta(hours=1)).isoformat(),
    }  # fmt: skip
    ids = []
    for _ in range(3):
        made = await client.post("/v1/subject-requests", json=body, headers=headers)
        assert made.status_code == 201, made.text
        ids.append(made.json()["id"])
    assert made.json()["number"] == f"{clock.now().astimezone(KOREA).year}-0003"
    assert made.json()["person"]["name"] == SECRET
    listed, cursor = [], ""
    while cursor is not None:
        page = (await client.get(f"/v1/subject-requests?limit=2{cursor}", headers=headers)).json()
        listed += [one["id"] for one in page["items"]]
        assert SECRET not in str(page)
        cursor = f"&cursor={page['next_cursor']}" if page["next_cursor"] else None
    assert listed == ids
    path = f"/v1/subject-requests/{ids[0]}"
    for method, where, sent, status in (
        ("POST", "/decision", {"decision": "grant"}, 409),
        ("PUT", "/proof", {"how": "신분증"}, 200),
        ("POST", "/extension", {"days": 11, "reason": "x"}, 422),
        ("POST", "/extension", {"days": 10, "reason": "x"}, 200),
        ("POST", "/decision", {"decision": "grant"}, 200),
        ("POST", "/closing", {"outcome": "x"}, 409),
        ("DELETE", "/person", None, 409),
        ("PUT", "/masked-copy", {"by": "x", "how": "y"}, 200),
        ("POST", "/closing", {"outcome": "x"}, 200),
        ("DELETE", "/person", None, 204),
        ("PUT", "/proof", {"how": "신분증"}, 409),
    ):
        answer = await client.request(method, path + where, json=sent, headers=headers)
        assert answer.status_code == status, (where, answer.text)
    shown = (await client.get(path, headers=headers)).json()
    assert (shown["state_label"], shown["person"]) == ("종결", None)
    assert shown["decision"]["in_time"]
    operator = await factories.sign_in(client, await factories.person(database, district))
    assert (await client.get(path, headers=operator)).status_code == 404
    assert (await client.post("/v1/subject-requests", json=body, headers=operator)).status_code == 403
    assert (await client.get(f"/v1/subject-requests/{new_id()}", headers=headers)).status_code == 404
