"""asyncapi.yaml says what the feed does: well-formed, held against the code, and against what is really spoken."""

import ast
import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest
import yaml
from fastapi import WebSocket
from jsonschema_rs import Draft7Validator
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from app import __version__, fanout, ledger
from app.access import sessions
from app.announcements import Announcements
from app.database import Database
from app.errors import Kind
from app.events import catalogue
from app.events.catalogue import KINDS, SEVERITIES
from app.feed import conversation, messages, subscriptions
from app.feed import live as live_feed
from app.feed.conversation import Conversation, Leave, Refuse
from app.feed.live import Feed
from app.keys import Keys
from app.ledger import Sequencer
from app.routers import feed as door
from app.server import config
from app.settings import Settings
from app.transports import transport_of
from tests import factories
from tests.conftest import serving

DOCUMENT: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "asyncapi.yaml").read_text())
MESSAGES: dict[str, dict[str, Any]] = DOCUMENT["components"]["messages"]
SCHEMAS: dict[str, dict[str, Any]] = DOCUMENT["components"]["schemas"]
POSITION = "A" * 22
SOME_ID = "01a20504-ecef-73b2-a8ea-a7711cdc3fc8"


def resolve(reference: str) -> Any:
    """What a local reference points to; KeyError when there is nothing."""
    found: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        found = found[part.replace("~1", "/").replace("~0", "~")]
    return found


def references(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        if "$ref" in tree:
            yield tree["$ref"]
        for value in tree.values():
            yield from references(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from references(value)


def of(operation: str) -> set[str]:
    """The names of an operation's messages."""
    return {item["$ref"].rpartition("/")[2] for item in DOCUMENT["operations"][operation]["messages"]}


VALIDATORS = {
    name: Draft7Validator({"allOf": [message["payload"]], "components": DOCUMENT["components"]}, validate_formats=True)
    for name, message in MESSAGES.items()
}


def check(message: Any, operation: str) -> None:
    """Raise unless the message is one of the operation's, as its schema says."""
    assert message["type"] in of(operation), message
    VALIDATORS[message["type"]].validate(message)


def table(heading: str) -> list[list[str]]:
    """The rows of the table below a heading of the description."""
    section = DOCUMENT["info"]["description"].partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")
    ]
    return rows[2:]


# The file by itself


def test_the_file_is_asyncapi_3() -> None:
    assert DOCUMENT["asyncapi"].startswith("3.")
    assert DOCUMENT["info"]["version"] == __version__
    assert set(DOCUMENT) <= {
        "asyncapi",
        "id",
        "info",
        "servers",
        "defaultContentType",
        "channels",
        "operations",
        "components",
    }
    assert [server["host"] for server in DOCUMENT["servers"].values()] == ["127.0.0.1:8000"]
    assert {name: operation["action"] for name, operation in DOCUMENT["operations"].items()} == {
        "send": "send",
        "receive": "receive",
    }


def test_every_reference_leads_somewhere() -> None:
    found = list(references(DOCUMENT))
    assert len(found) > 50
    for reference in found:
        assert resolve(reference) is not None
    with pytest.raises(KeyError):
        resolve("#/components/schemas/nothing")


def test_every_message_has_a_schema_and_belongs_to_one_direction() -> None:
    channel = DOCUMENT["channels"]["feed"]
    assert channel["address"] == "/v1/feed"
    assert of("send").isdisjoint(of("receive"))
    assert of("send") | of("receive") == set(channel["messages"]) == set(MESSAGES)
    for name, message in MESSAGES.items():
        schema = resolve(message["payload"]["$ref"])
        assert schema["type"] == "object"
        assert schema["properties"]["type"] == {"const": name}
        assert (schema.get("additionalProperties") is False) == (name in of("send")), name
        Draft7Validator(schema | {"components": DOCUMENT["components"]})
        assert message["examples"], name
        for example in message["examples"]:
            VALIDATORS[name].validate(example["payload"])
    used = {reference.rpartition("/")[2] for reference in references(DOCUMENT) if "/schemas/" in reference}
    assert used == set(SCHEMAS)


# The file against the code


def test_the_messages_are_those_of_the_code() -> None:
    assert of("send") == set(messages.SERVER_TYPES)
    tree = ast.parse(inspect.getsource(conversation))
    understood = {
        node.comparators[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        and ast.unparse(node.left) == "kind"
        and isinstance(node.comparators[0], ast.Constant)
    }
    assert of("receive") == understood


def test_kinds_and_severities_are_the_catalogue() -> None:
    assert SCHEMAS["event_type"]["enum"] == [catalogue.TYPE_PREFIX + kind for kind in KINDS]
    assert set(SCHEMAS["wanted_kind"]["enum"]) == set(catalogue.WISHES)
    assert tuple(SCHEMAS["severity"]["enum"]) == SEVERITIES


def test_limits_are_the_constants(settings: Settings) -> None:
    assert {name: int(value) for name, value, _ in table("Limits")} == {
        "hello_seconds": conversation.HELLO_SECONDS,
        "heartbeat_seconds": live_feed.HEARTBEAT_SECONDS,
        "ticket_seconds": sessions.TICKET_SECONDS,
        "frame_bytes": conversation.MOST_FRAME_BYTES,
        "connection_frame_bytes": config(settings).ws_max_size,
        "subscriptions": subscriptions.MOST_SUBSCRIPTIONS,
        "subscription_items": subscriptions.MOST_ITEMS,
        "subscription_id_characters": subscriptions.MOST_NAME,
        "mistakes": conversation.MOST_REFUSALS,
        "waiting_bytes": fanout.FEED_LIMIT,
    }
    assert SCHEMAS["ids"]["maxItems"] == subscriptions.MOST_ITEMS
    for name in ("wish", "unsubscribe", "subscribed", "snapshot"):
        assert SCHEMAS[name]["properties"]["id"]["maxLength"] == subscriptions.MOST_NAME


def test_close_codes_are_those_of_the_code_and_instruct() -> None:
    rows = {int(code): (reconnect, meaning) for code, reconnect, meaning in table("Close codes")}
    assert len(rows) == len(table("Close codes"))
    assert set(rows) == {kind.close_code for kind in Kind} | {door.BEHIND, door.RESTART}
    for code, (reconnect, _) in rows.items():
        assert reconnect == {43: "yes", 44: "no"}[code // 100], code
    for kind in Kind:
        assert rows[kind.close_code][1].startswith(kind.title), kind
    used = [kind for kind in Kind if "not used on this channel" not in rows[kind.close_code][1]]
    assert {kind.status for kind in used} == set(SCHEMAS["problem"]["properties"]["status"]["enum"])


@pytest.mark.parametrize(
    ("frame", "right"),
    [
        ({"type": "subscribe", "id": "a"}, True),
        ({"type": "subscribe", "id": "a", "something": "else"}, True),
        (
            {"type": "subscribe", "id": "a", "areas": None, "cameras": [SOME_ID], "kinds": ["bell.*"], "near": None},
            True,
        ),
        ({"type": "subscribe", "id": "a", "near": {"lat": 37, "lon": 127, "radius_m": 100_000}}, True),
        ({"type": "subscribe", "id": "a", "near": {"lat": 37, "lon": 127, "radius_m": 100_001}}, False),
        ({"type": "subscribe", "id": "a", "near": {"lat": 91, "lon": 127, "radius_m": 5}}, False),
        ({"type": "subscribe", "id": "a", "near": {"lat": 37, "lon": 127, "radius_m": 0}}, False),
        ({"type": "subscribe", "id": "a", "near": {"lat": 37, "lon": 127}}, False),
        ({"type": "subscribe", "id": "a" * 64}, True),
        ({"type": "subscribe", "id": "a" * 65}, False),
        ({"type": "subscribe", "id": ""}, False),
        ({"type": "subscribe"}, False),
        ({"type": "subscribe", "id": "a", "areas": [SOME_ID] * 200}, True),
        ({"type": "subscribe", "id": "a", "areas": [SOME_ID] * 201}, False),
        ({"type": "subscribe", "id": "a", "areas": ["no id"]}, False),
        ({"type": "subscribe", "id": "a", "kinds": ["bell.eaten"]}, False),
        ({"type": "subscribe", "id": "a", "min_severity": "loud"}, False),
        ({"type": "subscribe", "id": "a", "min_severity": None}, False),
        ({"type": "subscribe", "id": "a", "incident_id": None}, True),
        ({"type": "subscribe", "id": "a", "incident_id": "7"}, False),
        ({"type": "ack", "event_id": SOME_ID, "room": SOME_ID.upper()}, True),
        ({"type": "ack", "event_id": SOME_ID, "room": "here"}, False),
        ({"type": "ack"}, False),
        ({"type": "unsubscribe"}, False),
        ({"type": "subscribe", "id": "a", "areas": ["1120000000", SOME_ID]}, True),
        ({"type": "subscribe", "id": "a", "areas": ["11200000001"]}, False),
        ({"type": "subscribe", "id": "a", "assets": [SOME_ID], "snapshot": True}, True),
        ({"type": "subscribe", "id": "a", "snapshot": "yes"}, False),
        ({"type": "subscribe", "id": "a", "near": {"unit": SOME_ID, "radius_m": 300}}, True),
        ({"type": "subscribe", "id": "a", "near": {"unit": "car 1", "radius_m": 300}}, False),
    ],
)
def test_the_schemas_and_the_conversation_agree(frame: dict[str, Any], right: bool) -> None:
    talk = Conversation()
    talk.receive('{"type": "hello", "token": "t"}')
    assert VALIDATORS[frame["type"]].is_valid(frame) is right
    assert isinstance(talk.receive(orjson.dumps(frame)), Refuse) is not right


@pytest.mark.parametrize(
    ("frame", "right"),
    [
        ({"token": "t"}, True),
        ({"ticket": "t", "token": "", "after": None}, True),
        ({"token": "t", "after": POSITION}, True),
        ({"token": "t", "after": 7}, False),
        ({"token": "", "ticket": ""}, False),
        ({"token": 7}, False),
        ({}, False),
    ],
)
def test_the_schemas_and_the_greeting_agree(frame: dict[str, Any], right: bool) -> None:
    hello = {"type": "hello", **frame}
    assert VALIDATORS["hello"].is_valid(hello) is right
    assert isinstance(Conversation().receive(orjson.dumps(hello)), Leave) is not right


def test_a_frame_is_measured_in_bytes() -> None:
    talk = Conversation()
    talk.receive('{"type": "hello", "token": "t"}')
    frame = json.dumps({"type": "subscribe", "id": "a", "said": "가" * 30_000}, ensure_ascii=False)
    assert len(frame) < conversation.MOST_FRAME_BYTES < len(frame.encode())
    assert isinstance(talk.receive(frame), Refuse)


# The file against a real feed


def _is_of_an_alarm(message: dict[str, Any]) -> bool:
    """What becomes of alarms comes when it comes."""
    return message["type"] == "event" and message["event"]["type"].startswith("kr.gwanje.alarm.")


class Spoken:
    """A connection whose every frame is held against the file."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.heard: list[dict[str, Any]] = []

    async def say(self, **message: object) -> None:
        check(message, "receive")
        await self.socket.send(json.dumps(message))

    async def hear(self, kind: str) -> dict[str, Any]:
        """The next message, which is of this type; heartbeats come when they come."""
        while True:
            message = json.loads(await asyncio.wait_for(self.socket.recv(), 5))
            check(message, "send")
            self.heard.append(message)
            if message["type"] == kind:
                return message
            assert message["type"] == "heartbeat" or _is_of_an_alarm(message), message

    async def closed(self) -> int:
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(self.socket.recv(), 5)
        assert closed.value.rcvd is not None
        return closed.value.rcvd.code


@asynccontextmanager
async def spoken(base_url: str) -> AsyncIterator[Spoken]:
    async with connect(base_url.replace("http", "ws") + DOCUMENT["channels"]["feed"]["address"]) as socket:
        yield Spoken(socket)


async def report(client: httpx.AsyncClient, system: dict[str, str], *kinds: str, **fields: object) -> list[str]:
    events = [
        {"specversion": "1.0", "id": uuid4().hex, "source": "test", "type": f"kr.gwanje.{kind}", **fields}
        for kind in kinds
    ]
    response = await client.post("/v1/events", json=events, headers=system)
    assert response.status_code == 202, response.text
    return [event["id"] for event in response.json()["events"]]


async def test_what_is_spoken_is_what_is_written(
    client: httpx.AsyncClient, database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    agency = await factories.agency(database)
    camera = await factories.camera(database, agency)
    system = await factories.sign_in(client, await factories.person(database, agency, "integration"))
    operator = await factories.sign_in(client, await factories.person(database, agency))
    monkeypatch.setattr(live_feed, "HEARTBEAT_SECONDS", 1)
    async with AsyncExitStack() as server, spoken(await server.enter_async_context(serving(settings))) as told:
        await told.say(type="hello", token=operator["Authorization"].removeprefix("Bearer "), after=POSITION)
        await told.hear("welcome")
        await told.hear("resync")
        await told.say(
            type="subscribe", id="all", kinds=["bell.*", "analytic.fire"], min_severity="alarm", snapshot=True
        )
        assert (await told.hear("snapshot"))["more"] is False
        assert (await told.hear("subscribed"))["id"] == "all"
        reported = {"location": {"lat": 35.1, "lon": 129.0}, "camera_id": "not ours to say", "area_ids": 7, "key": "k"}
        await report(
            client, system, "bell.pressed", data=reported, mediaref="nvr/1", exercise=True, incident=str(uuid4())
        )
        await report(client, system, "analytic.fire", subject=f"cameras/{camera}", severity="alarm")
        bell, fire = (await told.hear("event"))["event"], (await told.hear("event"))["event"]
        assert bell["data"] == {"location": {"lat": 35.1, "lon": 129.0}, "media_ref": "nvr/1", "key": "k"}
        assert fire["data"]["camera_id"] == str(camera)
        await told.say(type="ack", event_id=bell["id"])
        assert (await told.hear("acknowledged"))["event_id"] == bell["id"]
        await told.say(type="ack", event_id=fire["id"], room=str(agency))
        await told.hear("acknowledged")
        for room in (str(await factories.agency(database)), str(uuid4())):
            await told.say(type="ack", event_id=bell["id"], room=room)
            assert (await told.hear("refused"))["problem"]["field"] == "room"
        await told.say(type="unsubscribe", id="never")
        await told.hear("refused")
        await told.say(type="unsubscribe", id="all")
        while (await told.hear("heartbeat"))["delivered"] < 4:
            pass
        about = [message["event"]["regards"] for message in told.heard if _is_of_an_alarm(message)]
        assert sorted(about) == sorted([bell["id"], fire["id"]])
        mine = (await client.get("/v1/me", headers=operator)).json()["session_id"]
        async with database.bare.acquire() as connection:
            for session_id in (uuid4(), mine):  # another's is not told here
                cut = f"cut {SOME_ID} pre_empted {session_id} {camera}"
                await connection.execute("SELECT pg_notify('gwanje', $1)", cut)
        assert (await told.hear("view_ended"))["camera_id"] == str(camera)
        stopping = asyncio.create_task(server.aclose())
        await told.hear("bye")
        assert await told.closed() == door.RESTART
        await stopping
        heard = {message["type"] for message in told.heard}
        assert heard == set(messages.SERVER_TYPES) - {"behind"}, "everything else was heard"


async def test_who_falls_behind_is_told_where_to_go_on(
    base_url: str, client: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_feed, "FEED_LIMIT", 3000)
    agency = await factories.agency(database)
    system = await factories.sign_in(client, await factories.person(database, agency, "integration"))
    operator = await factories.sign_in(client, await factories.person(database, agency))
    token = operator["Authorization"].removeprefix("Bearer ")
    async with spoken(base_url) as told:
        await told.say(type="hello", token=token, subscribe=[{"id": "all"}])
        await told.hear("welcome")
        await told.hear("subscribed")
        await report(client, system, *["bell.tested"] * 20, data={"remark": "x " * 500})
        resume_after = (await told.hear("behind"))["resume_after"]
        assert await told.closed() == door.BEHIND
    monkeypatch.undo()
    async with spoken(base_url) as told:
        await told.say(type="hello", token=token, after=resume_after, subscribe=[{"id": "all"}])
        await told.hear("welcome")
        assert len([await told.hear("event") for _ in range(20)]) == 20


async def test_resuming_is_as_written(base_url: str, client: httpx.AsyncClient, database: Database) -> None:
    agency = await factories.agency(database)
    system = await factories.sign_in(client, await factories.person(database, agency, "integration"))
    operator = await factories.sign_in(client, await factories.person(database, agency))
    ticket = (await client.post("/v1/feed/tickets", headers=operator)).json()["ticket"]
    async with spoken(base_url) as told:
        await told.say(type="hello", ticket=ticket)
        position = (await told.hear("welcome"))["position"]
    await report(client, system, "bell.pressed", "camera.lost", "bell.failed")
    await asyncio.sleep(0.5)  # numbered and read by now, so that all of it is of the past
    async with spoken(base_url) as told:
        await told.say(type="hello", token=operator["Authorization"].removeprefix("Bearer "), after=position)
        await told.hear("welcome")
        await told.say(type="subscribe", id="bells", kinds=["bell.*"])
        kinds = [(await told.hear("event"))["event"]["type"] for _ in range(2)]
        assert sorted(kinds) == ["kr.gwanje.bell.failed", "kr.gwanje.bell.pressed"]
        await told.hear("subscribed")


async def test_a_heartbeat_never_tells_a_position_that_was_not_reached(
    base_url: str, client: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever resumes after it would miss what lies between."""
    agency = await factories.agency(database)
    system = await factories.sign_in(client, await factories.person(database, agency, "integration"))
    operator = await factories.sign_in(client, await factories.person(database, agency))
    token = operator["Authorization"].removeprefix("Bearer ")
    async with spoken(base_url) as told:
        await told.say(type="hello", token=token)
        start = (await told.hear("welcome"))["position"]
    (first,) = await report(client, system, "bell.pressed")
    await asyncio.sleep(0.3)
    monkeypatch.setattr(live_feed, "HEARTBEAT_SECONDS", 1)
    async with spoken(base_url) as told:
        await told.say(type="hello", token=token, after=start)
        await told.hear("welcome")
        before = [(await told.hear("heartbeat"))["position"] for _ in range(2)]
        assert len({start, *before}) == 3, "they change, whether or not anything happened"
        await told.say(type="subscribe", id="all")
        await told.hear("event")
        await told.hear("subscribed")
        reached = (await told.hear("heartbeat"))["position"]  # what nobody here may see may have moved it on
    async with spoken(base_url) as told:
        await told.say(type="hello", token=token, after=before[1])
        await told.hear("welcome")
        await told.say(type="subscribe", id="all")
        assert (await told.hear("event"))["event"]["id"] == first
    (second,) = await report(client, system, "bell.failed")
    async with spoken(base_url) as told:
        await told.say(type="hello", token=token, after=reached)
        await told.hear("welcome")
        await told.say(type="subscribe", id="all")
        assert (await told.hear("event"))["event"]["id"] == second


async def broken(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "code"), [(ConnectionRefusedError(), Kind.UNAVAILABLE.close_code), (KeyError("x"), door.UNEXPECTED)]
)
async def test_what_breaks_off_on_our_side_ends_with_a_code(
    base_url: str,
    client: httpx.AsyncClient,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    code: int,
) -> None:
    operator = await factories.sign_in(client, await factories.person(database, await factories.agency(database)))
    monkeypatch.setattr(door, "_acknowledge", lambda *_: broken(error))
    async with spoken(base_url) as told:
        await told.say(type="hello", token=operator["Authorization"].removeprefix("Bearer "))
        await told.hear("welcome")
        await told.say(type="ack", event_id=SOME_ID)
        if code == Kind.UNAVAILABLE.close_code:
            await told.hear("refused")
        assert await told.closed() == code


async def test_whoever_does_not_hear_the_farewell_is_cut(
    base_url: str, client: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for a client that does not read is thrown away, and not kept for as long as it likes."""
    operator = await factories.sign_in(client, await factories.person(database, await factories.agency(database)))
    frame = fanout.text_frame(b"x" * 500_000)

    async def unheard(socket: WebSocket, why: object) -> None:
        for _ in range(60):
            transport_of(socket.scope).write(frame)
        await asyncio.sleep(60)

    monkeypatch.setattr(door, "FAREWELL_SECONDS", 0.1)
    monkeypatch.setattr(door, "_farewell", unheard)
    async with spoken(base_url) as told:
        await told.say(type="hello", token=operator["Authorization"].removeprefix("Bearer "))
        await told.hear("welcome")
        told.socket.transport.pause_reading()
        await client.delete("/v1/sessions/current", headers=operator)
        await asyncio.sleep(0.6)
        told.socket.transport.resume_reading()
        came = 0
        with pytest.raises(ConnectionClosed):
            while True:
                await asyncio.wait_for(told.socket.recv(), 5)
                came += 1
        assert came < 60


async def test_a_position_of_a_process_that_is_ahead_is_waited_for(
    client: httpx.AsyncClient, database: Database, database_url: str, keys: Keys
) -> None:
    news = Announcements(database_url)
    live = Feed(database, news, keys)
    await live.start()
    system = await factories.sign_in(
        client, await factories.person(database, await factories.agency(database), "integration")
    )
    await report(client, system, "bell.pressed")
    ahead = live.position + 1
    await Sequencer(database, ledger.EVENTS).catch_up()
    coming = asyncio.create_task(live.resume(live.positions.write(ahead)))
    await asyncio.sleep(0.1)
    assert not coming.done()
    running = [asyncio.create_task(live.run()), asyncio.create_task(news.run())]
    assert await coming == (ahead, "")
    assert ahead <= live.position
    gone_too_far = await live.resume(live.positions.write(live.position + 1000))
    assert gone_too_far == (None, "unknown_position"), "no log goes as far"
    for task in running:
        task.cancel()


async def test_strangers_are_refused_as_written(base_url: str, client: httpx.AsyncClient, database: Database) -> None:
    auditor = await factories.sign_in(
        client, await factories.person(database, await factories.agency(database), "auditor")
    )
    for token, kind in (("wrong", Kind.ANONYMOUS), (auditor["Authorization"].removeprefix("Bearer "), Kind.FORBIDDEN)):
        async with spoken(base_url) as told:
            await told.say(type="hello", token=token)
            assert (await told.hear("refused"))["problem"]["status"] == kind.status
            assert await told.closed() == kind.close_code


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("welcome", {"more": 1}),
        ("welcome", {"position": "7"}),
        ("heartbeat", {"delivered": "12"}),
        ("event", {"event": {"specversion": "1.0", "id": SOME_ID}}),
        ("refused", {"problem": {"status": 418}}),
        ("bye", {"type": "good-bye"}),
    ],
)
def test_a_wrong_frame_is_found(name: str, change: dict[str, Any]) -> None:
    right = MESSAGES[name]["examples"][0]["payload"]
    assert VALIDATORS[name].is_valid(right)
    assert not VALIDATORS[name].is_valid(right | change)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("type", "kr.gwanje.bell.eaten"),
        ("time", "yesterday"),
        ("severity", 4),
        ("plate", "12가3456"),
        ("data", []),
        ("id", None),
    ],
)
def test_a_wrong_event_is_found(attribute: str, value: object) -> None:
    right = MESSAGES["event"]["examples"][0]["payload"]
    assert not VALIDATORS["event"].is_valid(right | {"event": right["event"] | {attribute: value}})
