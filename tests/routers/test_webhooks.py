"""The doors of webhooks: who keeps which, what is told of them, and that secrets are shown once and nowhere else."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import text

from app.database import Database
from app.feed.webhooks import registry
from app.logs import JsonFormatter
from app.settings import Settings
from tests import factories
from tests.conftest import serving
from tests.feed.webhooks.receiver import OK, Message, Receiver, saying, status, verified


@pytest.fixture(scope="module")
async def doors(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A service whose webhooks may lead to the loopback."""
    lenient = settings.model_copy(update={"allow_webhook_networks": "127.0.0.0/8"})
    async with serving(lenient) as url, httpx.AsyncClient(base_url=url, timeout=15) as client:
        yield client


@dataclass
class Keeper:
    """Somebody signed in who keeps webhooks, or would like to."""

    doors: httpx.AsyncClient
    headers: dict[str, str]

    async def __call__(self, method: str, path: str, **json: Any) -> httpx.Response:
        return await self.doors.request(method, f"/v1{path}", json=json or None, headers=self.headers)

    async def make(self, receiver: Receiver, **wish: Any) -> dict[str, Any]:
        made = await self("POST", "/webhooks", **{"name": factories.name("hook"), "url": receiver.url} | wish)
        assert made.status_code == 201, made.text
        assert made.headers["cache-control"] == "no-store"
        return made.json()

    async def report(self, *keys: str, kind: str = "bell.tested") -> None:
        events = [{"specversion": "1.0", "id": uuid4().hex, "source": key, "type": f"kr.gwanje.{kind}"} for key in keys]
        answer = await self.doors.post("/v1/events", json=events, headers=self.headers)
        assert answer.status_code == 202, answer.text


@pytest.fixture
async def agency(database: Database) -> UUID:
    return await factories.agency(database)


async def keeper(doors: httpx.AsyncClient, database: Database, agency: UUID, role: str = "integration") -> Keeper:
    return Keeper(doors, await factories.sign_in(doors, await factories.person(database, agency, role)))


@pytest.fixture
async def system(doors: httpx.AsyncClient, database: Database, agency: UUID) -> Keeper:
    return await keeper(doors, database, agency)


async def test_a_webhook_from_its_making_to_its_end(system: Keeper) -> None:
    async with Receiver() as receiver:
        made = await system.make(receiver, name="119 상황실", kinds=["bell.*"], min_severity="notice")
        assert set(made) == {"id", "secret"}
        assert made["secret"].startswith("whsec_")
        path = f"/webhooks/{made['id']}"
        one = (await system("GET", path)).json()
        assert (one["name"], one["host"], one["state"]) == ("119 상황실", "127.0.0.1", "active")
        assert (one["kinds"], one["min_severity"], one["waiting"]) == (["bell.*"], "notice", 0)
        await system.report("not wanted", kind="bell.tested")
        await system.report("a", kind="bell.pressed")
        await receiver.got(1)
        assert verified(made["secret"], receiver.messages[0].headers, receiver.messages[0].body)
        changed = await system("PATCH", path, name="다른 이름", kinds=[], min_severity="info", paused=True)
        assert changed.status_code == 200, changed.text
        assert (changed.json()["name"], changed.json()["kinds"], changed.json()["state"]) == ("다른 이름", [], "paused")
        assert changed.json()["paused_because"] == "by_hand"
        await system.report("b", "c")
        await waits_for(system, path, 2)
        assert receiver.keys == ["a"]
        assert (await system("PATCH", path, paused=False)).json()["state"] == "active"
        await receiver.until(lambda me: me.keys[-2:] == ["b", "c"])
        assert (await system("DELETE", path)).status_code == 204
        await system.report("d")
        await asyncio.sleep(0.7)
        assert "d" not in receiver.keys
    assert (await system("GET", path)).json()["state"] == "ended"
    for method, way in (("PATCH", path), ("DELETE", path), ("POST", f"{path}/secret"), ("POST", f"{path}/tests")):
        assert (await system(method, way, **({"paused": False} if method == "PATCH" else {}))).status_code == 404
    assert [item["id"] for item in (await system("GET", "/webhooks")).json()["items"]] == [made["id"]]


async def waits_for(who: Keeper, path: str, count: int) -> None:
    async with asyncio.timeout(5):
        while (await who("GET", path)).json()["waiting"] < count:  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("how", ["pause", "end"])
async def test_nothing_more_is_sent_in_the_middle_of_a_backlog(system: Keeper, how: str) -> None:
    """What is on its way arrives; of what had been read already nothing follows it."""

    async def rather_slow(_: Message, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        writer.write(OK)

    async with Receiver(rather_slow) as receiver:
        path = f"/webhooks/{(await system.make(receiver))['id']}"
        await system.report(*map(str, range(20)))
        await receiver.got(2)
        await (system("PATCH", path, paused=True) if how == "pause" else system("DELETE", path))
        sent = len(receiver.messages)
        await asyncio.sleep(1.2)
        assert len(receiver.messages) <= sent + 1


@pytest.mark.parametrize("role", ["operator", "shift_lead", "agency_head", "field", "seconded", "auditor", "guardian"])
async def test_other_roles_keep_no_webhooks(
    doors: httpx.AsyncClient, database: Database, agency: UUID, system: Keeper, role: str
) -> None:
    other = await keeper(doors, database, agency, role)
    async with Receiver() as receiver:
        made = await system.make(receiver)
        refused = await other("POST", "/webhooks", name="x", url=receiver.url)
    assert refused.status_code == 403
    assert refused.json()["code"] == "not_permitted"
    for method, way, body in EVERYTHING:
        answer = await other(method, way.format(id=made["id"]), **body)
        assert answer.status_code == 403, (method, way)


EVERYTHING: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("GET", "/webhooks/{id}", {}), ("PATCH", "/webhooks/{id}", {"name": "x"}), ("POST", "/webhooks/{id}/secret", {}),
    ("POST", "/webhooks/{id}/tests", {}), ("GET", "/webhooks/{id}/dead-letters", {}),
    ("POST", "/webhooks/{id}/dead-letters/00000000-0000-7000-8000-000000000000/replays", {}),
    ("DELETE", "/webhooks/{id}", {}),
)  # fmt: skip


async def test_foreign_webhooks_do_not_exist(
    doors: httpx.AsyncClient, database: Database, agency: UUID, system: Keeper
) -> None:
    stranger = await keeper(doors, database, await factories.agency(database))
    async with Receiver() as receiver:
        made = await system.make(receiver)
        position = (await system("GET", f"/webhooks/{made['id']}")).json()["position"]
        for method, way, body in (*EVERYTHING, ("POST", "/webhooks/{id}/replays", {"after": position})):
            theirs = await stranger(method, way.format(id=made["id"]), **body)
            none = await stranger(method, way.format(id=uuid4()), **body)
            assert theirs.status_code == none.status_code == 404, (method, way)
            assert theirs.json() == none.json()
        assert (await stranger("GET", "/webhooks")).json()["items"] == []
        assert receiver.messages == []
    assert (await system("GET", f"/webhooks/{made['id']}")).json()["state"] == "active"


async def test_an_administrator_keeps_those_of_the_whole_institution_and_a_system_its_agencys(
    doors: httpx.AsyncClient, database: Database, agency: UUID, system: Keeper
) -> None:
    unit = await factories.agency(database, "center", agency)
    of_unit, admin = await keeper(doors, database, unit), await keeper(doors, database, agency, "admin")
    async with Receiver() as receiver:
        first, second = await system.make(receiver), await of_unit.make(receiver)
    ids = [item["id"] for item in (await admin("GET", "/webhooks")).json()["items"]]
    assert ids == [first["id"], second["id"]]
    assert (await system("GET", f"/webhooks/{second['id']}")).status_code == 404
    assert (await of_unit("GET", f"/webhooks/{first['id']}")).status_code == 404
    page = (await admin("GET", "/webhooks?limit=1")).json()
    rest = (await admin("GET", f"/webhooks?limit=1&cursor={page['next_cursor']}")).json()
    assert [page["items"][0]["id"], rest["items"][0]["id"]] == ids


@pytest.mark.parametrize(
    ("wrong", "code", "field"),
    [({"url": "http://10.0.0.1/"}, "unsafe_source", "url"), ({"url": "https://u:p@a.example/"}, "unsafe_source", "url"),
     ({"url": "ftp://a.example/"}, "unsafe_source", "url"), ({"kinds": ["bell.rung"]}, "malformed", "kinds"),
     ({"min_severity": "loud"}, "malformed", "min_severity"), ({"areas": ["nowhere"]}, "malformed", "areas"),
     ({"areas": ["9999999999"]}, "not_found", "areas"), ({"name": "\n"}, "malformed", "name"),
     ({"name": ""}, "malformed", "name"), ({"strange": 1}, "malformed", "strange")],
)  # fmt: skip
async def test_what_cannot_stand_is_refused_by_its_field(
    system: Keeper, wrong: dict[str, Any], code: str, field: str
) -> None:
    answer = await system("POST", "/webhooks", **{"name": "x", "url": "https://a.example/"} | wrong)
    assert answer.status_code == (404 if code == "not_found" else 422), answer.text
    assert (answer.json()["code"], answer.json()["field"]) == (code, field)
    assert "u:p" not in answer.text
    assert (await system("GET", "/webhooks")).json()["items"] == []


async def test_a_retried_making_makes_no_second_one(system: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"name": "hook", "url": "https://a.example/"}
    answers = await asyncio.gather(*(system("POST", "/webhooks", **body) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    monkeypatch.setattr(registry, "MOST_OF_AGENCY", 1)
    assert (await system("POST", "/webhooks", **body | {"name": "second"})).status_code == 409
    (item,) = (await system("GET", "/webhooks")).json()["items"]
    assert (await system("DELETE", f"/webhooks/{item['id']}")).status_code == 204
    assert (await system("POST", "/webhooks", **body)).status_code == 201, "the name is free again"


async def test_both_secrets_sign_for_a_day_after_a_rotation(system: Keeper, database: Database) -> None:
    async with Receiver() as receiver:
        made = await system.make(receiver)
        rotated = await system("POST", f"/webhooks/{made['id']}/secret")
        assert rotated.status_code == 201
        secrets = made["secret"], rotated.json()["secret"]
        assert secrets[0] != secrets[1]
        await system.report("a")
        await receiver.got(1)
        message = receiver.messages[-1]
        assert len(message.headers["webhook-signature"].split(" ")) == 2
        assert all(verified(secret, message.headers, message.body) for secret in secrets)
        async with database.begin() as session:
            await session.execute(
                text("UPDATE webhooks SET previous_until = now() WHERE id = :id"), {"id": UUID(made["id"])}
            )
        await system.report("b")
        await receiver.got(2)
        message = receiver.messages[-1]
        assert [verified(secret, message.headers, message.body) for secret in secrets] == [False, True]


async def test_a_test_tells_what_came_back_and_not_too_much_of_it(system: Keeper) -> None:
    body = b"\x1b[31m\x00" + "반갑습니다 ".encode() * 100
    async with Receiver(saying(status(500, body=body))) as receiver:
        made = await system.make(receiver)
        answer = await system("POST", f"/webhooks/{made['id']}/tests")
        message = receiver.messages[0]
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["taken"], told["status"], told["error"]) == (False, 500, "status_500")
    assert told["milliseconds"] >= 0
    assert len(told["said"]) == 200
    assert told["said"].isprintable()
    assert "반갑습니다" in told["said"]
    assert verified(made["secret"], message.headers, message.body)
    assert message.event["type"] == "kr.gwanje.webhook.tested"
    assert message.headers["webhook-id"] == message.event["id"]
    gone = await system("POST", f"/webhooks/{made['id']}/tests")
    assert (gone.json()["taken"], gone.json()["status"], gone.json()["error"]) == (False, None, "unreachable")


async def test_one_test_at_a_time(system: Keeper) -> None:
    begun, released = asyncio.Event(), asyncio.Event()

    async def wait(_: Message, writer: asyncio.StreamWriter) -> None:
        begun.set()
        await released.wait()
        writer.write(OK)

    async with Receiver(wait) as receiver:
        made = await system.make(receiver)
        first = asyncio.create_task(system("POST", f"/webhooks/{made['id']}/tests"))
        await begun.wait()
        second = await system("POST", f"/webhooks/{made['id']}/tests")
        released.set()
        assert second.status_code == 429
        assert int(second.headers["retry-after"]) > 0
        assert (await first).json()["taken"]
        assert (await system("POST", f"/webhooks/{made['id']}/tests")).json()["taken"]


async def test_dead_letters_are_listed_and_sent_again(system: Keeper, database: Database) -> None:
    async with Receiver() as receiver:
        made = await system.make(receiver)
        await system.report("a", "b", "c")
        await receiver.got(3)
        ids = [message.headers["webhook-id"] for message in receiver.messages]
        async with database.begin() as session:
            await session.execute(
                text(
                    "INSERT INTO webhook_dead_letters (id, webhook_id, position, event_id, attempts, last_status)"
                    " SELECT gen_random_uuid(), :id, position, id, 40, 500 FROM event_positions WHERE id = ANY(:ids)"
                ),
                {"id": UUID(made["id"]), "ids": [UUID(one) for one in ids]},
            )
        path = f"/webhooks/{made['id']}/dead-letters"
        page = (await system("GET", f"{path}?limit=2")).json()
        rest = (await system("GET", f"{path}?limit=2&cursor={page['next_cursor']}")).json()
        letters = page["items"] + rest["items"]
        assert [letter["event_id"] for letter in letters] == ids
        assert (letters[0]["attempts"], letters[0]["last_status"], letters[0]["delivered_at"]) == (40, 500, None)
        assert rest["next_cursor"] is None
        assert (await system("GET", f"{path}?cursor=x")).status_code == 422
        again = await system("POST", f"{path}/{letters[1]['id']}/replays")
        assert again.status_code == 200, again.text
        assert again.json()["taken"]
        assert receiver.messages[-1].headers["webhook-id"] == ids[1]
        assert receiver.messages[-1].event == receiver.messages[1].event
        receiver.answers = saying(status(500))
        assert not (await system("POST", f"{path}/{letters[2]['id']}/replays")).json()["taken"]
        told = (await system("GET", path)).json()["items"]
        assert [letter["delivered_at"] is None for letter in told] == [True, False, True]
        assert [letter["attempts"] for letter in told] == [40, 41, 41]
        other = await system.make(receiver)
        assert (
            await system("POST", f"/webhooks/{other['id']}/dead-letters/{letters[0]['id']}/replays")
        ).status_code == 404


async def test_everything_after_a_position_is_sent_again(system: Keeper) -> None:
    async with Receiver() as receiver:
        made = await system.make(receiver)
        await system.report("a")
        await system.report("b")
        await system.report("c")
        await receiver.got(3)
        position = receiver.messages[0].event["position"]
        path = f"/webhooks/{made['id']}/replays"
        assert (await system("POST", path, after=position)).status_code == 202
        await receiver.until(lambda me: len(me.messages) == 5)
        assert receiver.keys == ["a", "b", "c", "b", "c"]
        assert receiver.messages[1].headers["webhook-id"] == receiver.messages[3].headers["webhook-id"]
        for wrong in ("", "x", "A" * 22, position[:-2] + ("AA" if position[-2:] != "AA" else "BB")):
            assert (await system("POST", path, after=wrong)).status_code == 422
        await system.report("d")
        await receiver.until(lambda me: len(me.messages) == 6)


async def test_secrets_stand_nowhere(system: Keeper, database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """Not in answers but the first, not in a column, not in the audit, not in a log, however it goes."""
    caplog.set_level(logging.DEBUG)
    answers: list[str] = []

    async with Receiver(saying(status(500))) as receiver:
        made = await system.make(receiver)
        path = f"/webhooks/{made['id']}"
        secret = (await system("POST", f"{path}/secret")).json()["secret"]
        await system.report("a")
        await receiver.got(1)
        answers.append((await system("POST", f"{path}/tests")).text)
    for method, way in (
        ("GET", path),
        ("GET", "/webhooks"),
        ("POST", f"{path}/tests"),
        ("GET", f"{path}/dead-letters"),
    ):
        answers.append((await system(method, way)).text)
    answers.append((await system("PATCH", path, name="new")).text)
    answers.append((await system("POST", "/webhooks", name="new", url=receiver.url)).text)
    async with database.begin() as session:
        rows = (await session.execute(text("SELECT * FROM webhooks WHERE id = :id"), {"id": UUID(made["id"])})).all()
        entries = (
            await session.execute(text("SELECT * FROM audit_entries WHERE subject_id = :id"), {"id": UUID(made["id"])})
        ).all()
        acts = {entry.act for entry in entries}
    assert {"webhook.made", "webhook.rotated", "webhook.tested", "webhook.changed"} <= acts
    logged = "\n".join(JsonFormatter().format(record) for record in caplog.records)
    for word in (made["secret"], secret, receiver.path, "s3cret-in-the-path"):
        bare = word.removeprefix("whsec_")
        for where in (*answers, str(rows), str(entries), logged):
            assert bare not in where
