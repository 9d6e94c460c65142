"""Reviews: opened once by whichever process, drawn so that anybody can draw again, answered and signed by officers."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from app import clock, upkeep
from app import database as db
from app.database import Database
from app.errors import Conflict, Malformed, NotFound, NotPermitted
from app.ids import new_id
from app.models import ReviewFinding
from app.reports.calendar import month_of
from app.reports.reviews import conflicts, deciding, late, officers, opening, reading, reminders
from app.settings import Settings
from tests import factories
from tests.actors import actor, actor_of
from tests.conftest import Databases
from tests.reports.past import MONTH, Past, at

TERMS = {"sample": 5, "days": 15}


@pytest.fixture(scope="module")
async def base(databases: Databases) -> AsyncIterator[Database]:
    """A database of its own: what is due is opened for every institution in it."""
    name = f"reviews_{uuid4().hex[:12]}"
    await databases.create(name)
    async with db.connect(databases.url(name)) as made:
        yield made
    await databases.drop(name)


async def a_month(base: Database, views: int = 12) -> tuple[Past, factories.Person]:
    """An institution whose operator looked at some cameras."""
    past = await Past.of(base)
    who = await past.person()
    for number in range(views):
        await past.view(who, await past.camera(), at(1 + number % 28, 9 + number // 28))
    return past, who


async def opened(past: Past, **terms: Any) -> UUID:
    async with past.base.begin() as session:
        return await opening.open_month(session, past.agency, MONTH, **(TERMS | terms))


async def findings(past: Past, review_id: UUID) -> list[ReviewFinding]:
    async with past.base.begin() as session:
        return list(await deciding.findings_of(session, review_id))


async def test_the_sample_can_be_drawn_again_by_anybody(base: Database) -> None:
    past, _ = await a_month(base)
    root = random.Random(1).randbytes(32)
    await base.bare.execute(
        "INSERT INTO audit_checkpoints (origin, size, root, note, algorithm, key_id, at) VALUES"
        " ('t/audit', 7, '\\x00', '', '', '', $1), ('t/audit', 9, $2, '', '', '', $3), ('t/audit', 10, '\\x01', '', '', '', $4)",
        at(30, 23), root, MONTH.until + timedelta(hours=1), MONTH.until + timedelta(hours=2),
    )  # fmt: skip
    review = await opened(past)
    row = await base.bare.fetchrow("SELECT * FROM reviews WHERE id = $1", review)
    seed = sha256(f"gwanje review v1\n{past.agency}\n{MONTH}\n{root.hex()}\n".encode()).digest()
    assert (row["seed"], row["seed_source"], row["population"]) == (seed, "checkpoint t/audit 9", 12)
    entries = await base.bare.fetch("SELECT opened_entry_id AS id FROM views WHERE agency_id = $1", past.agency)
    by_hand = sorted((entry["id"] for entry in entries), key=lambda entry: sha256(seed + entry.bytes).digest())[:5]
    drawn = [UUID(one.entries[0]["id"]) for one in await findings(past, review) if one.kind == "sample"]
    assert drawn == by_hand
    await base.bare.execute("SELECT 1")  # a month without a checkpoint after it has a seed of its own, written down
    async with base.begin() as session:
        _, source = await opening.seed_of(session, past.agency, MONTH.after(60))
    assert source == "random"


async def test_hours_on_walls_are_drawn_too(base: Database) -> None:
    past = await Past.of(base)
    who, camera = await past.person(), await past.camera()
    await past.wall(who, camera, at(3, 9), (0, 600))
    review = await opened(past)
    (one,) = await findings(past, review)
    assert (one.kind, one.user_id, one.camera_id) == ("sample", who.user_id, None)


async def test_what_is_due_opens_once_however_many_processes_look(base: Database, settings: Settings) -> None:
    past, _ = await a_month(base, 3)
    idle = await Past.of(base)  # cameras and an officer, but nobody watched: that, too, is looked at
    await idle.camera()
    officer = await idle.person("auditor")
    await base.bare.execute("UPDATE appointments SET valid_from = '2025-01-01' WHERE user_id = $1", officer.user_id)
    abroad = await Past.of(base)  # neither
    last = month_of(clock.now()).after(-1)
    rounds = [upkeep.look_after_reports(base, settings) for _ in range(4)]
    told = await asyncio.gather(*rounds)
    assert {"audit", "events"} in told
    assert await upkeep.look_after_reports(base, settings) == set()
    months = "SELECT array_agg(since ORDER BY since) FROM reviews WHERE agency_id = $1 AND kind = 'monthly'"
    wanted = [last.after(-back).since for back in (2, 1, 0)]
    assert await base.bare.fetchval(months, idle.agency) == wanted
    assert MONTH.since in await base.bare.fetchval(months, past.agency)
    assert await base.bare.fetchval(months, abroad.agency) is None
    for act in ("audit_entries", "events"):
        column = "act" if act == "audit_entries" else "kind"
        count = await base.bare.fetchval(
            f"SELECT count(*) FROM {act} WHERE {column} = 'review.opened' AND owner_agency_id = $1", idle.agency
        )
        assert count == 3
    assert await base.bare.fetchval("SELECT officer_id FROM reviews WHERE agency_id = $1 LIMIT 1", idle.agency) == (
        officer.user_id
    )
    # Nobody outside is told, whatever agreement there is.
    assert (
        await base.bare.fetchval("SELECT DISTINCT restriction FROM events WHERE kind = 'review.opened'") == "internal"
    )


async def test_an_officer_is_chosen_about_whom_nothing_was_found(base: Database) -> None:
    past, _ = await a_month(base, 2)
    lead, second = await past.person("shift_lead"), await past.person("shift_lead")
    home = await factories.area(base)
    await base.bare.execute(
        "INSERT INTO conflict_areas (id, user_id, agency_id, area_id, reason, valid_from)"
        " VALUES ($1, $2, $3, $4, 'home', '2026-01-01')", new_id(), lead.user_id, past.agency, home,
    )  # fmt: skip
    await past.view(lead, await past.camera(home), at(8))
    review = await opened(past)
    assert await base.bare.fetchval("SELECT officer_id FROM reviews WHERE id = $1", review) == second.user_id


async def test_a_review_is_answered_and_signed(base: Database) -> None:
    past, _ = await a_month(base)
    auditor, lead = await actor(base, past.agency, "auditor"), await actor(base, past.agency, "shift_lead")
    await past.view(await past.person("room", past.agency), await past.camera(), at(9), basis="KR-PIPA-18-2-7")
    review = await opened(past)

    async def does(work: Any) -> Any:
        async with base.begin() as session:
            return await work(session)

    with pytest.raises(NotPermitted, match="assigned"):
        await does(lambda s: deciding.sign(s, lead, review, "점검 완료"))
    with pytest.raises(Conflict, match="6 findings are unanswered") as refused:
        await does(lambda s: deciding.sign(s, auditor, review, "점검 완료"))
    assert refused.value.extra["findings"] == [1, 2, 3, 4, 5, 6]
    for number in range(1, 6):
        await does(lambda s, number=number: deciding.answer(s, auditor, review, number, "in_order", ""))
    with pytest.raises(Malformed, match="words"):
        await does(lambda s: deciding.answer(s, auditor, review, 6, "misuse", " "))
    with pytest.raises(Malformed, match="answer is one of"):
        await does(lambda s: deciding.answer(s, auditor, review, 6, "fine", "x"))
    await does(lambda s: deciding.answer(s, lead, review, 6, "to_be_clarified", "담당자에게 문의"))
    with pytest.raises(Conflict, match="such as 6"):
        await does(lambda s: deciding.sign(s, auditor, review, "점검 완료"))
    await does(lambda s: deciding.answer(s, auditor, review, 6, "misuse", "공문 없이 열람함"))
    entry_id = await does(lambda s: deciding.sign(s, auditor, review, "2026년 9월 점검 완료"))

    signed = await does(lambda s: reading.signed(s, auditor, review))
    assert signed.intact
    payload = await base.bare.fetchval("SELECT payload FROM audit_entries WHERE id = $1", entry_id)
    assert sha256(signed.document).hexdigest() in payload
    assert "공문 없이 열람함" in signed.document.decode()
    row = (await does(lambda s: reading.listed(s, auditor, review_id=review)))[0]
    assert (row["state"], row["misuse"], row["unanswered"]) == ("signed", 1, 0)
    for work in (
        lambda s: deciding.answer(s, lead, review, 6, "in_order", "doch"),
        lambda s: deciding.assign(s, lead, review, lead.user_id),
        lambda s: deciding.sign(s, auditor, review, "again"),
    ):
        with pytest.raises(Conflict, match="signed"):
            await does(work)
    # The application's role cannot turn what was found; what it can turn no longer fits the digest.
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await base.bare.execute("UPDATE review_findings SET korean = 'x' WHERE review_id = $1", review)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await base.bare.execute("UPDATE reviews SET seed = NULL WHERE id = $1", review)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await base.bare.execute("DELETE FROM review_findings WHERE review_id = $1", review)
    await base.bare.execute(
        "UPDATE review_findings SET answer = 'in_order' WHERE review_id = $1 AND number = 6", review
    )
    assert not (await does(lambda s: reading.signed(s, auditor, review))).intact


async def test_nobody_answers_about_oneself_and_strangers_find_nothing(base: Database) -> None:
    past = await Past.of(base)
    head = await past.person("agency_head")
    lead_person = await past.person("shift_lead")
    await past.view(lead_person, await past.camera(), at(3))
    review = await opened(past)
    lead, chief = await actor_of(base, lead_person), await actor_of(base, head)
    operator, admin = await actor(base, past.agency), await actor(base, past.agency, "admin")
    stranger = await actor(base, await factories.agency(base), "auditor")
    async with base.begin() as session:
        with pytest.raises(NotPermitted, match="about yourself"):
            await deciding.answer(session, lead, review, 1, "in_order", "")
        for who in (stranger, operator):
            assert await reading.listed(session, who) == []
            with pytest.raises(NotFound):
                await reading.findings(session, who, review)
            with pytest.raises(NotFound):
                await deciding.assign(session, who, review, head.user_id)
        with pytest.raises(NotPermitted):
            await deciding.answer(session, admin, review, 1, "in_order", "")
        with pytest.raises(Malformed, match="one of these roles"):
            await deciding.assign(session, admin, review, operator.user_id)
        await deciding.assign(session, admin, review, lead.user_id)
        await deciding.answer(session, chief, review, 1, "in_order", "")
        await deciding.sign(session, lead, review, "ok")


async def test_an_auditor_above_reads_and_does_not_answer(base: Database) -> None:
    city = await factories.agency(base, "city")
    past, _ = await a_month(base, 1)
    await base.bare.execute("UPDATE agencies SET ancestor_ids = $2 WHERE id = $1", past.agency, [city])
    review, above = await opened(past), await actor(base, city, "auditor")
    async with base.begin() as session:
        assert [row["id"] for row in await reading.listed(session, above)] == [review]
        (one,) = await reading.findings(session, above, review)
        with pytest.raises(NotPermitted):
            await deciding.answer(session, above, review, one["number"], "in_order", "")
    read = "SELECT count(*) FROM audit_entries WHERE act = 'audit.read' AND subject_id = $1"
    assert await base.bare.fetchval(read, review) == 1


async def test_unsigned_reviews_are_told_of_until_somebody_signs(base: Database) -> None:
    past, _ = await a_month(base, 1)
    review = await opened(past)

    async def told() -> list[Any]:
        async with base.begin() as session:
            await reminders.remind(session)
        rows = await base.bare.fetch(
            "SELECT data FROM events WHERE kind = 'review.overdue' AND owner_agency_id = $1 ORDER BY at, id",
            past.agency,
        )
        return [row["data"] for row in rows]

    assert await told() == []
    old = await overdue(base, review)
    first = await told()
    assert len(first) == 1
    assert '"assigned": false' in first[0]
    assert await told() == first
    await base.bare.execute("UPDATE reviews SET reminded_at = now() - interval '8 days' WHERE id = $1", old)
    assert len(await told()) == 2
    async with base.begin() as session:
        auditor = await actor(base, past.agency, "auditor")
        assert (await reading.listed(session, auditor))[0]["state"] == "overdue"


async def overdue(base: Database, review: UUID) -> UUID:
    """One like it whose time is over: `due_at` is nothing that the service may change."""
    columns = "agency_id, kind, since, until, seed, seed_source, population"
    copied = new_id()
    await base.bare.execute(
        f"INSERT INTO reviews (id, {columns}, due_at) SELECT $2, agency_id, 'late', since, until, seed, seed_source,"
        " population, now() - interval '1 day' FROM reviews WHERE id = $1", review, copied,
    )  # fmt: skip
    return copied


async def test_what_came_late_is_reviewed_and_stays_open_until_signed(base: Database) -> None:
    past = await Past.of(base)
    who, auditor = await past.person(), await actor(base, past.agency, "auditor")
    now = clock.now()

    async def came(count: int, act: str = "view.closed") -> None:
        for number in range(count):
            await past.entry(act, now, who, late_from=now - timedelta(minutes=5 + number))
        async with base.begin() as session:
            await late.gather(session, days=15)

    async def reviews() -> list[Any]:
        async with base.begin() as session:
            return list(await reading.listed(session, auditor, kind="late"))

    await came(3)
    await came(0)
    (review,) = await reviews()
    assert (review["population"], review["findings"], review["state"]) == (3, 1, "open")
    await came(2)
    (review,) = await reviews()
    assert (review["population"], review["findings"]) == (5, 2)
    async with base.begin() as session:
        found = await reading.findings(session, auditor, review["id"])
        assert [(one["numbers"]["act"], one["numbers"]["entries"]) for one in found] == [
            ("view.closed", 3),
            ("view.closed", 2),
        ]
        assert all(len(one["entries"]) == one["numbers"]["entries"] for one in found)
        for one in found:
            await deciding.answer(session, auditor, review["id"], one["number"], "in_order", "장애 시간과 일치")
        await deciding.sign(session, auditor, review["id"], "확인")
    await came(1, "view.opened")
    assert [row["state"] for row in await reviews()] == ["open", "signed"]


async def test_areas_of_conflict_are_declared_and_ended_by_the_person_alone(base: Database) -> None:
    past = await Past.of(base)
    who, lead, area = (
        await actor(base, past.agency),
        await actor(base, past.agency, "shift_lead"),
        await factories.area(base),
    )
    async with base.begin() as session:
        made = await conflicts.declare(session, who, area, "home")
        with pytest.raises(Conflict):
            await conflicts.declare(session, who, area, "family")
        with pytest.raises(NotFound):
            await conflicts.declare(session, who, new_id(), "home")
        with pytest.raises(Malformed):
            await conflicts.declare(session, who, area, "why")
        assert [row["id"] for row in await conflicts.listed(session, lead)] == [made]
        assert await conflicts.listed(session, await actor(base, past.agency)) == []
        with pytest.raises(NotFound):
            await conflicts.end(session, lead, made)
        await conflicts.end(session, who, made)
        assert (await conflicts.listed(session, who))[0]["valid_to"] is not None
    payload = await base.bare.fetchval("SELECT payload::text FROM audit_entries WHERE subject_id = $1 LIMIT 1", made)
    assert "home" not in payload, "the log does not say why"


def test_officers_are_those_who_may_read_what_they_review() -> None:
    assert officers.OFFICERS == ("auditor", "privacy_officer", "agency_head", "shift_lead")


async def test_over_http(client: httpx.AsyncClient, database: Database) -> None:
    past, _ = await a_month(database, 2)
    auditor = await past.person("auditor")
    headers = await factories.sign_in(client, auditor)
    for month, status in (("2026-13", 422), (str(month_of(clock.now())), 422), (str(MONTH), 201), (str(MONTH), 201)):
        answer = await client.post("/v1/reviews", json={"month": month}, headers=headers)
        assert answer.status_code == status, answer.text
    review = answer.json()
    assert (review["month"], review["state_label"], review["officer"]["login"]) == ("2026-09", "점검 중", auditor.login)
    listed = await client.get("/v1/reviews", headers=headers)
    assert [one["id"] for one in listed.json()["items"]] == [review["id"]]
    path = f"/v1/reviews/{review['id']}"
    first = (await client.get(f"{path}/findings?limit=1", headers=headers)).json()
    rest = (await client.get(f"{path}/findings?cursor={first['next_cursor']}", headers=headers)).json()
    assert [one["number"] for one in first["items"] + rest["items"]] == [1, 2]
    assert first["items"][0]["label"] == "표본 점검"
    for number in (1, 2):
        answer = await client.put(f"{path}/findings/{number}/answer", json={"answer": "in_order"}, headers=headers)
        assert answer.status_code == 204, answer.text
    assert (await client.get(f"{path}/document", headers=headers)).status_code == 409
    signed = await client.post(f"{path}/signature", json={"statement": "이상 없음"}, headers=headers)
    document = await client.get(f"{path}/document", headers=headers)
    assert sha256(document.content).hexdigest() == signed.json()["signature"]["digest"]
    other = await factories.sign_in(
        client, await factories.person(database, await factories.agency(database), "auditor")
    )
    for below in ("", "/findings", "/document"):
        assert (await client.get(path + below, headers=other)).status_code == 404
    operator = await factories.sign_in(client, await past.person())
    assert (await client.post("/v1/reviews", json={"month": str(MONTH)}, headers=operator)).status_code == 403
