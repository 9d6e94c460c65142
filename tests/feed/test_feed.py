"""The feed from outside: in order, without loss or repetition at any cut, and only as far as one's rights go."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from app import clock
from app.access import agreements, people
from app.database import Database
from app.feed import history
from app.settings import Settings
from tests import factories
from tests.conftest import serving


@pytest.fixture(scope="session", params=["below ASGI", "plain ASGI"])
async def base_url(request: pytest.FixtureRequest, settings: Settings) -> AsyncIterator[str]:
    """A process of its own that tells, whichever way it can: by the transport, or through any server's `send`."""
    plain = {"http": "h11", "ws": "websockets-sansio"} if request.param == "plain ASGI" else {}
    async with serving(settings, **plain) as url:
        yield url


class Told:
    """A connection to the feed that has said hello."""

    def __init__(self, socket: ClientConnection, welcome: dict[str, Any]) -> None:
        self.socket, self.welcome = socket, welcome

    async def say(self, **message: object) -> None:
        await self.socket.send(json.dumps(message))

    async def hear(self, seconds: float = 5) -> dict[str, Any]:
        return json.loads(await asyncio.wait_for(self.socket.recv(), seconds))

    async def subscribe(self, **wish: object) -> list[str]:
        """Subscribe; returns the keys of the events that came before it was live."""
        await self.say(type="subscribe", **{"id": "all"} | wish)
        keys = []
        while (message := await self.hear())["type"] != "subscribed":
            assert message["type"] == "event", message
            keys.append(message["event"]["source"])
        return keys

    async def keys(self, count: int, seconds: float = 5) -> list[str]:
        keys: list[str] = []
        while len(keys) < count:
            message = await self.hear(seconds)
            assert message["type"] in ("event", "heartbeat"), message
            keys += [message["event"]["source"]] if message["type"] == "event" else []
        return keys

    async def silence(self, seconds: float = 0.6) -> None:
        with pytest.raises(TimeoutError):
            raise AssertionError(await self.hear(seconds))


@asynccontextmanager
async def feed(base_url: str, headers: dict[str, str], after: str | None = None) -> AsyncIterator[Told]:
    # Without a bound of its own queue: a full one would let the library wait in vain for the answer to its close.
    async with connect(base_url.replace("http", "ws") + "/v1/feed", max_queue=None) as socket:
        token = headers["Authorization"].removeprefix("Bearer ")
        await socket.send(json.dumps({"type": "hello", "token": token, **({"after": after} if after else {})}))
        yield Told(socket, json.loads(await asyncio.wait_for(socket.recv(), 5)))


class Town:
    """A district with a reporting system, and a way to report."""

    def __init__(self, client: httpx.AsyncClient, agency: UUID, system: dict[str, str]) -> None:
        self.client, self.agency, self.system = client, agency, system

    async def report(self, *keys: str, kind: str = "bell.pressed", **fields: object) -> None:
        events = [
            {
                "specversion": "1.0",
                "id": uuid4().hex,
                "source": key,
                "type": f"kr.gwanje.{kind}",
                **fields,
            }
            for key in keys
        ]
        response = await self.client.post("/v1/events", json=events, headers=self.system)
        assert response.status_code == 202, response.text


@pytest.fixture
async def town(client: httpx.AsyncClient, database: Database) -> Town:
    agency = await factories.agency(database)
    return Town(
        client, agency, await factories.sign_in(client, await factories.person(database, agency, "integration"))
    )


@pytest.fixture
async def operator(client: httpx.AsyncClient, database: Database, town: Town) -> dict[str, str]:
    return await factories.sign_in(client, await factories.person(database, town.agency, "operator"))


async def test_resuming_at_any_cut_gives_every_event_once(base_url: str, town: Town, operator: dict[str, str]) -> None:
    sent = [str(number) for number in range(120)]
    heard: list[str] = []
    position: str | None = None
    generator = random.Random(7)

    async def speak() -> None:
        for start in range(0, len(sent), 5):
            await town.report(*sent[start : start + 5])

    async with feed(base_url, operator) as told:
        position = told.welcome["position"]
    speaking = asyncio.create_task(speak())
    while len(heard) < len(sent):
        async with feed(base_url, operator, position) as told:
            await told.say(type="subscribe", id="all")
            for _ in range(generator.randint(1, 14)):
                if len(heard) >= len(sent):
                    break
                message = await told.hear()
                if message["type"] == "event":
                    heard.append(message["event"]["source"])
                    position = message["position"]
    await speaking
    assert heard == sent


async def test_a_second_subscription_brings_only_what_is_new(
    base_url: str, town: Town, operator: dict[str, str]
) -> None:
    async with feed(base_url, operator) as told:
        start = told.welcome["position"]
    await town.report("a")
    await town.report("b", kind="camera.lost")
    async with feed(base_url, operator, start) as told:
        assert await told.subscribe(id="bells", kinds=["bell.*"]) == ["a"]
        assert await told.subscribe(id="all") == ["b"]
        await town.report("c")
        assert await told.keys(1) == ["c"], "one event once, though two subscriptions want it"
        await told.say(type="unsubscribe", id="all")
        await town.report("d", kind="camera.lost")
        await town.report("e")
        assert await told.keys(1) == ["e"]


async def test_one_hears_only_what_one_may_see(
    base_url: str, client: httpx.AsyncClient, database: Database, town: Town
) -> None:
    police = await factories.agency(database, "police")
    officer = await factories.sign_in(client, await factories.person(database, police, "room"))
    park = await factories.camera(database, town.agency, purposes=("facility",))
    street = await factories.camera(database, town.agency)
    async with feed(base_url, officer) as told:
        start = told.welcome["position"]
        await told.subscribe()
        await town.report("nothing yet")
        agreement = await factories.agreement(
            database, town.agency, police, verbs=("locate",), installation_purposes=("crime_prevention",)
        )
        await asyncio.sleep(1.2)  # rights that change are felt within a second
        await town.report("park", subject=f"cameras/{park}")
        await town.report("street", subject=f"cameras/{street}")
        await town.report("restricted", subject=f"cameras/{street}", restriction="child")
        assert await told.keys(1) == ["street"]
        async with database.begin() as session:
            await agreements.withdraw(session, None, agreement, "test")
        await asyncio.sleep(1.2)
        await town.report("after", subject=f"cameras/{street}")
        await told.silence()
    async with feed(base_url, officer, start) as told:
        assert await told.subscribe() == [], "a replay is judged by today's rights"
    answer = (await client.get("/v1/events", params={"after": start}, headers=officer)).json()
    assert answer["items"] == []


async def test_an_agreement_that_lapses_by_time_lapses_by_itself(
    base_url: str, client: httpx.AsyncClient, database: Database, town: Town
) -> None:
    police = await factories.agency(database, "police")
    officer = await factories.sign_in(client, await factories.person(database, police, "room"))
    street = await factories.camera(database, town.agency)
    await factories.agreement(
        database, town.agency, police, verbs=("locate",), valid_to=clock.now() + timedelta(seconds=1.5)
    )
    async with feed(base_url, officer) as told:
        await told.subscribe()
        await town.report("before", subject=f"cameras/{street}")
        assert await told.keys(1) == ["before"]
        await asyncio.sleep(1.6)
        await town.report("after", subject=f"cameras/{street}")
        await told.silence()


@pytest.mark.parametrize("how", ["sign_out", "disable", "end_appointment"])
async def test_who_is_gone_hears_nothing_more_on_any_process(
    base_url: str, client: httpx.AsyncClient, database: Database, settings: Settings, town: Town, how: str
) -> None:
    person = await factories.person(database, town.agency, "operator")
    headers = await factories.sign_in(client, person)
    async with serving(settings) as other_url, feed(base_url, headers) as here, feed(other_url, headers) as there:
        for told in (here, there):
            await told.subscribe()
        if how == "sign_out":
            await client.delete("/v1/sessions/current", headers=headers)
        else:
            async with database.begin() as session:
                if how == "disable":
                    await people.disable(session, None, person.user_id, "test")
                else:
                    await people.end_appointment(session, None, person.appointment_id)
        for told in (here, there):
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    assert (await told.hear(2))["type"] == "refused"
            assert closed.value.rcvd.code == 4401
        await town.report("after")


async def test_positions_that_are_not_of_this_log_resync(base_url: str, operator: dict[str, str]) -> None:
    async with feed(base_url, operator, "AAAAAAAAAAAAAAAAAAAAAA") as told:
        assert told.welcome["type"] == "welcome"
        assert (await told.hear())["type"] == "resync"


@pytest.mark.parametrize(
    ("hello", "code"),
    [
        ({"type": "hello", "token": "wrong"}, 4401),
        ({"type": "hello"}, 4401),
        ({"type": "subscribe", "id": "x"}, 4401),
        ({"type": "hello", "ticket": "wrong"}, 4401),
        (["no object"], 4422),
    ],
)
async def test_strangers_are_sent_away(base_url: str, hello: object, code: int) -> None:
    async with connect(base_url.replace("http", "ws") + "/v1/feed") as socket:
        await socket.send(json.dumps(hello))
        assert json.loads(await socket.recv())["type"] == "refused"
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd.code == code


async def test_a_frame_of_a_megabyte_ends_the_conversation(base_url: str, operator: dict[str, str]) -> None:
    async with feed(base_url, operator) as told:
        await told.socket.send("x" * (1 << 20))
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                await told.hear()
        assert closed.value.rcvd.code in (1009, 4422)


async def test_a_ticket_is_good_once(base_url: str, client: httpx.AsyncClient, operator: dict[str, str]) -> None:
    ticket = (await client.post("/v1/feed/tickets", headers=operator)).json()["ticket"]
    kinds = []
    for _ in range(2):
        async with connect(base_url.replace("http", "ws") + "/v1/feed") as socket:
            await socket.send(json.dumps({"type": "hello", "ticket": ticket}))
            kinds.append(json.loads(await socket.recv())["type"])
    assert kinds == ["welcome", "refused"]


async def test_long_polling_waits_and_goes_on(client: httpx.AsyncClient, town: Town, operator: dict[str, str]) -> None:
    start = (await client.get("/v1/events", headers=operator)).json()["position"]
    waiting = asyncio.create_task(client.get("/v1/events", params={"after": start, "wait": 8}, headers=operator))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await town.report("x", "y", "z")
    first = (await asyncio.wait_for(waiting, 5)).json()
    rest = (await client.get("/v1/events", params={"after": first["position"]}, headers=operator)).json()
    assert [item["event"]["source"] for item in first["items"] + rest["items"]] == ["x", "y", "z"]
    by_one = (await client.get("/v1/events", params={"after": start, "limit": 1}, headers=operator)).json()
    assert [item["event"]["source"] for item in by_one["items"]] == ["x"]


async def test_a_listener_that_never_reads_holds_nobody(base_url: str, town: Town, operator: dict[str, str]) -> None:
    async with (
        connect(base_url.replace("http", "ws") + "/v1/feed", max_queue=1, close_timeout=0) as stalled,
        feed(base_url, operator) as quick,
    ):
        token = operator["Authorization"].removeprefix("Bearer ")
        await stalled.send(json.dumps({"type": "hello", "token": token}))
        await stalled.send(json.dumps({"type": "subscribe", "id": "all"}))
        await quick.subscribe()
        stalled.transport.pause_reading()
        sent = [str(number) for number in range(600)]
        began = asyncio.get_running_loop().time()
        for start in range(0, 600, 100):
            await town.report(*sent[start : start + 100], data={"remark": "y " * 1900})
        assert await quick.keys(600) == sent
        assert asyncio.get_running_loop().time() - began < 20


async def test_an_acknowledgement_is_written_down_in_the_persons_name(
    base_url: str, client: httpx.AsyncClient, database: Database, town: Town, operator: dict[str, str]
) -> None:
    async with feed(base_url, operator) as told:
        await told.subscribe()
        await town.report("alarm")
        event_id = (await told.hear())["event"]["id"]
        await told.say(type="ack", event_id=event_id)
        said = {(message := await told.hear())["type"]: message for _ in range(2)}
        assert said["acknowledged"] == {"type": "acknowledged", "event_id": event_id, "by": said["acknowledged"]["by"]}
        event = said["event"]["event"]
        assert (event["type"], event["regards"]) == ("kr.gwanje.alarm.acknowledged", event_id)
        assert event["data"]["by"] == said["acknowledged"]["by"]
        await told.say(type="ack", event_id=event_id)  # once more changes nothing
        assert (await told.hear())["type"] == "acknowledged"
        await told.say(type="ack", event_id=str(uuid4()))
        assert (await told.hear())["type"] == "refused"
    async with database.bare.acquire() as connection:
        rows = await connection.fetch("SELECT kind FROM event_verdicts WHERE event_id = $1", UUID(event_id))
    assert [row["kind"] for row in rows] == ["acknowledged"]


async def test_areas_are_named_by_their_codes(
    base_url: str, database: Database, town: Town, operator: dict[str, str]
) -> None:
    code = f"99{random.randrange(10**8):08d}"
    here = await factories.area(database, code)
    camera = await factories.camera(database, town.agency, area_ids=(here,))
    async with feed(base_url, operator) as told:
        await told.say(type="subscribe", id="x", areas=["9" * 10])
        refused = await told.hear()
        assert (refused["type"], refused["problem"]["field"]) == ("refused", "areas")
        await told.subscribe(areas=[code])
        await town.report("elsewhere")
        await town.report("here", subject=f"cameras/{camera}")
        assert await told.keys(1) == ["here"]


async def test_a_herd_that_comes_back_is_served_from_memory(
    base_url: str, town: Town, operator: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with feed(base_url, operator) as told:
        start = told.welcome["position"]
    await town.report(*map(str, range(50)))
    await asyncio.sleep(0.5)

    async def read(*_: object, **__: object) -> None:
        raise AssertionError("the log was read")

    monkeypatch.setattr(history, "read", read)

    async def back() -> list[str]:
        async with feed(base_url, operator, start) as told:
            return await told.subscribe()

    for heard in await asyncio.gather(*(back() for _ in range(20))):
        assert heard == list(map(str, range(50)))
