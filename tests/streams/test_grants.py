"""Grants over the public contract: given with their entry, refused with a reason, replayed, renewed, ended."""

import asyncio
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from app.audit import entries
from app.database import Database
from app.ids import new_id
from app.streams.writer import Wish, Writer
from tests import actors, factories

REASON = {"purpose": "emergency_response", "basis": "KR-PIPA-18-2-3"}


class House:
    """A district with cameras, its operator, a police room, and an agreement between them."""

    def __init__(self, district: UUID, police: UUID, cameras: list[UUID], agreement: UUID) -> None:
        self.district, self.police, self.cameras, self.agreement = district, police, cameras, agreement
        self.operator: dict[str, str] = {}
        self.lead: dict[str, str] = {}
        self.officer: dict[str, str] = {}
        self.officer_login = ""


@pytest.fixture
async def house(database: Database, client: httpx.AsyncClient) -> House:
    district = await factories.agency(database)
    police = await factories.agency(database, "police")
    cameras = [await factories.camera(database, district) for _ in range(3)]
    agreement = await factories.agreement(
        database, district, police, use_purposes=("emergency_response",), bases=("KR-PIPA-18-2-3",), grant_seconds=300
    )
    made = House(district, police, cameras, agreement)
    made.operator = await factories.sign_in(client, await factories.person(database, district, "operator"))
    made.lead = await factories.sign_in(client, await factories.person(database, district, "shift_lead"))
    officer = await factories.person(database, police, "room")
    made.officer, made.officer_login = await factories.sign_in(client, officer), officer.login
    return made


async def ask(client: httpx.AsyncClient, who: dict[str, str], cameras: list[UUID], **fields: object) -> httpx.Response:
    headers = {**who, **({"Idempotency-Key": str(fields.pop("key"))} if "key" in fields else {})}
    return await client.post(
        "/v1/grants", json={"camera_ids": [str(one) for one in cameras], **fields}, headers=headers
    )


async def entries_of(database: Database, camera: UUID) -> list[asyncpg.Record]:
    async with database.bare.acquire() as connection:
        return await connection.fetch("SELECT * FROM audit_entries WHERE camera_id = $1 ORDER BY at, id", camera)


async def test_a_grant_is_never_without_its_entry(client: httpx.AsyncClient, database: Database, house: House) -> None:
    response = await ask(client, house.officer, house.cameras[:1], **REASON)
    assert response.status_code == 201
    grant = response.json()["grants"][0]
    assert response.headers["cache-control"] == "no-store"
    assert {stream["protocol"] for stream in grant["streams"]} == {"fmp4", "mse", "hls", "snapshot"}
    (entry,) = await entries_of(database, house.cameras[0])
    assert str(entry["id"]) == grant["receipt"]["entry_id"]
    assert (entry["act"], entry["outcome"], entry["owner_agency_id"]) == ("grant.given", "done", house.district)
    async with database.bare.acquire() as connection:
        row = await connection.fetchrow("SELECT * FROM grants WHERE id = $1", UUID(grant["grant_id"]))
        assert (row["kind"], row["entry_id"], row["at"]) == ("emergency", entry["id"], entry["at"])
        assert 290 <= (row["expires_at"] - row["at"]).total_seconds() <= 300, "the agreement's cap holds"
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await connection.execute(
                "INSERT INTO grants (id, entry_id, kind, user_id, appointment_id, agency_id, session_id, owner_agency_id,"
                " basis, expires_at, latest_expires_at) SELECT $1, $2, kind, user_id, appointment_id, agency_id, session_id,"
                " owner_agency_id, basis, expires_at, latest_expires_at FROM grants WHERE id = $3",
                new_id(), new_id(), row["id"],
            )  # fmt: skip


async def test_own_cameras_need_no_dialog_but_a_duty(
    client: httpx.AsyncClient, database: Database, house: House
) -> None:
    first = (await ask(client, house.operator, house.cameras[:2])).json()["grants"]
    again = (await ask(client, house.operator, house.cameras[1:])).json()["grants"]
    assert len({grant["grant_id"] for grant in first + again}) == 1, "one duty grant a shift and console"
    async with database.bare.acquire() as connection:
        row = await connection.fetchrow("SELECT * FROM grants WHERE id = $1", UUID(first[0]["grant_id"]))
        assert row["kind"] == "duty"
        assert row["duty_id"] is not None
    foreign = await factories.camera(database, await factories.agency(database))
    assert (await ask(client, house.operator, [foreign])).status_code == 404


async def test_two_first_requests_at_once_make_one_duty(client: httpx.AsyncClient, house: House) -> None:
    answers = await asyncio.gather(*(ask(client, house.operator, house.cameras[:1]) for _ in range(6)))
    assert len({answer.json()["grants"][0]["grant_id"] for answer in answers}) == 1


async def test_refusals_say_what_is_missing_and_are_written_down(
    client: httpx.AsyncClient, database: Database, house: House
) -> None:
    wrong_purpose = await ask(
        client, house.officer, house.cameras[:1], purpose="crime_prevention", basis="KR-PIPA-18-2-3"
    )
    assert wrong_purpose.status_code == 403
    assert wrong_purpose.json()["missing"] == "purpose"
    wrong_basis = await ask(
        client, house.officer, house.cameras[:1], purpose="emergency_response", basis="KR-PIPA-18-2-7"
    )
    assert wrong_basis.json()["missing"] == "basis"
    nothing = await ask(client, house.officer, house.cameras[:1])
    assert nothing.status_code == 422
    assert nothing.json()["field"] == "purpose"
    unknown = await ask(client, house.officer, [uuid4()], **REASON)
    hidden = await ask(
        client, house.officer, [await factories.camera(database, await factories.agency(database))], **REASON
    )
    assert unknown.status_code == hidden.status_code == 404
    strip = {"camera_id": "", "grants": ""}
    assert unknown.json() | strip == hidden.json() | strip, "what one may not know of looks like what is not there"
    acts = [(row["act"], row["outcome"]) for row in await entries_of(database, house.cameras[0])]
    assert acts == [("grant.refused", "refused")] * 3


async def test_a_wall_answers_per_camera(client: httpx.AsyncClient, database: Database, house: House) -> None:
    hidden = await factories.camera(database, await factories.agency(database))
    response = await ask(client, house.officer, [house.cameras[0], hidden, house.cameras[1]], **REASON)
    assert response.status_code == 201
    kinds = ["refusal" if "refusal" in item else "grant" for item in response.json()["grants"]]
    assert kinds == ["grant", "refusal", "grant"]
    assert response.json()["grants"][1]["refusal"]["status"] == 404
    too_many = await ask(client, house.officer, [uuid4() for _ in range(65)], **REASON)
    assert too_many.status_code == 422


async def test_a_repetition_gives_the_same_grant(client: httpx.AsyncClient, database: Database, house: House) -> None:
    key = uuid4().hex
    answers = await asyncio.gather(
        *(ask(client, house.officer, house.cameras[:2], **REASON, key=key) for _ in range(5))
    )
    assert [answer.status_code for answer in answers] == [201] * 5
    assert len({tuple(grant["grant_id"] for grant in answer.json()["grants"]) for answer in answers}) == 1
    assert len(await entries_of(database, house.cameras[0])) == 1
    other = await ask(client, house.officer, house.cameras[2:], **REASON, key=key)
    assert other.status_code == 409
    assert other.json()["code"] == "idempotency_key_reused"
    foreign = await ask(client, house.lead, house.cameras[:1], **REASON, key=key)
    assert foreign.status_code == 201, "keys are each person's own"


async def test_rights_are_asked_again_in_the_inserting_statement(
    client: httpx.AsyncClient, database: Database, house: House
) -> None:
    """What the session could a moment ago does not count."""
    async with database.bare.acquire() as connection:
        await connection.execute("UPDATE agreements SET withdrawn_at = now() WHERE id = $1", house.agreement)
    assert (await ask(client, house.officer, house.cameras[:1], **REASON)).status_code == 404
    async with database.bare.acquire() as connection:
        await connection.execute(
            "UPDATE agreements SET withdrawn_at = NULL, approval = 'center' WHERE id = $1", house.agreement
        )
    response = await ask(client, house.officer, house.cameras[:1], **REASON)
    assert (response.status_code, response.json()["missing"]) == (403, "approval")


async def test_who_may_end_a_grant(client: httpx.AsyncClient, database: Database, house: House) -> None:
    grant_id = (await ask(client, house.officer, house.cameras[:1], **REASON)).json()["grants"][0]["grant_id"]
    stranger = await factories.sign_in(
        client, await factories.person(database, await factories.agency(database, "police"), "room")
    )
    assert (await client.delete(f"/v1/grants/{grant_id}", headers=stranger)).status_code == 404
    assert (await client.delete(f"/v1/grants/{grant_id}", headers=house.operator)).status_code == 404
    assert (await client.delete(f"/v1/grants/{grant_id}", headers=house.lead)).status_code == 204, (
        "the owner's shift lead"
    )
    assert (await client.post(f"/v1/grants/{grant_id}/renewals", headers=house.officer)).status_code == 403


async def test_a_renewal_asks_the_reason_again(client: httpx.AsyncClient, database: Database, house: House) -> None:
    grant = (await ask(client, house.officer, house.cameras[:1], **REASON)).json()["grants"][0]
    renewed = await client.post(f"/v1/grants/{grant['grant_id']}/renewals", headers=house.officer)
    assert renewed.status_code == 201
    assert renewed.json()["expires_at"] >= grant["expires_at"]
    assert (await client.post(f"/v1/grants/{grant['grant_id']}/renewals", headers=house.lead)).status_code == 404
    async with database.bare.acquire() as connection:
        await connection.execute("UPDATE agreements SET withdrawn_at = now() WHERE id = $1", house.agreement)
    assert (await client.post(f"/v1/grants/{grant['grant_id']}/renewals", headers=house.officer)).status_code == 403


async def test_roles_without_footage_get_none(client: httpx.AsyncClient, database: Database, house: House) -> None:
    for role in ("admin", "auditor", "guardian", "integration", "oversight", "agency_head"):
        who = await factories.sign_in(client, await factories.person(database, house.district, role))
        response = await ask(client, who, house.cameras[:1], **REASON)
        assert (role, response.status_code) == (role, 403)


async def test_no_entry_no_url(
    client: httpx.AsyncClient, database: Database, databases: object, database_url: str, house: House
) -> None:
    """While the log cannot be written there is no grant: 503 within three seconds, and no URL."""
    owner = await databases.superuser(database_url.rpartition("/")[2].partition("?")[0])  # type: ignore[attr-defined]
    try:
        await owner.execute("BEGIN")
        await owner.execute("LOCK TABLE audit_pending IN ACCESS EXCLUSIVE MODE")
        began = asyncio.get_running_loop().time()
        response = await ask(client, house.officer, house.cameras[:1], **REASON)
        assert asyncio.get_running_loop().time() - began < 4
        assert response.status_code == 503
        assert "/v/" not in response.text
        assert response.headers["retry-after"]
    finally:
        await owner.execute("ROLLBACK")
        await owner.close()
    assert (await ask(client, house.officer, house.cameras[:1], **REASON)).status_code == 201


@pytest.mark.parametrize(
    "end",
    [
        "UPDATE sessions SET ended_at = now() WHERE id = $1",
        "UPDATE sessions SET expires_at = now() WHERE id = $1",
        "UPDATE users SET disabled_at = now() FROM sessions s WHERE s.id = $1 AND users.id = s.user_id",
        "UPDATE appointments SET valid_to = now() FROM sessions s WHERE s.id = $1 AND appointments.id = s.appointment_id",
    ],
)
async def test_who_is_gone_when_the_batch_is_written_gets_nothing(database: Database, house: House, end: str) -> None:
    """The last word has the inserting statement, whatever the request was told a moment before."""
    actor = await actors.actor(database, house.police, "room")
    writer = Writer(database, lambda: None)
    running = asyncio.create_task(writer.run())

    def wish() -> Wish:
        entry = entries.entry(actor, "grant.given", camera_id=house.cameras[0])
        return Wish(
            new_id(), entry, house.cameras[0], actor.session_id, "emergency", REASON["purpose"], REASON["basis"], "[]",
            None, None, 1, False, ["fmp4"], "main", 60,
        )  # fmt: skip

    assert len(await writer.give([wish()])) == 1
    async with database.bare.acquire() as connection:
        await connection.execute(end, actor.session_id)
    assert await writer.give([wish()]) == []
    running.cancel()
