"""Whoever folds a snapshot and then every later event has the state that a later snapshot gives: a state machine."""

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, ClassVar, TypeVar
from uuid import UUID, uuid4

import httpx
import orjson
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from sqlalchemy import insert, text
from websockets.asyncio.client import ClientConnection, connect

from app.database import Database
from app.events.catalogue import KINDS, TYPE_PREFIX
from app.feed import board
from app.ids import new_id
from app.models import Area
from tests import factories

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

T = TypeVar("T")
Event = Mapping[str, Any]
State = dict[str, dict[Any, Any]]

KINDS_USED = (
    "bell.pressed", "analytic.fight", "camera.lost", "camera.restored", "incident.opened", "incident.closed",
    "incident.updated", "crowd.caution", "crowd.serious", "crowd.cleared",
)  # fmt: skip
HERE, ELSEWHERE = 37.5, 37.6  # degrees of latitude
WISHES: tuple[dict[str, Any], ...] = (
    {}, {}, {"min_severity": "warning"}, {"min_severity": "emergency"},
    {"kinds": ["camera.moved", "camera.lost", "crowd.caution", "bell.pressed"]},
    {"near": {"lat": HERE, "lon": 127.0, "radius_m": 1000}},
)  # fmt: skip
MANY = 100  # examples, of which the ordinary tests take fewer, always the same
CLOSING = ("real", "false", "duplicate")


def empty() -> State:
    return {"alarms": {}, "conditions": {}}


def fold(state: State, event: Event) -> None:
    """One event into the state, as the document of the feed says it."""
    name = event["type"].removeprefix(TYPE_PREFIX)
    kind, data = KINDS[name], event["data"]
    alarms, conditions = state["alarms"], state["conditions"]
    if (alarm := alarms.get(event.get("regards"))) is not None:
        if name == "alarm.acknowledged":
            alarm["rooms"] = sorted({*alarm["rooms"], data["room"]})
        elif name == "alarm.repeated":
            alarm["times"] = data["times"]
        elif name == "alarm.escalated":
            alarm["escalated"] = True
        elif name == "alarm.judged" and data["verdict"] in CLOSING:
            del alarms[event["regards"]]
    if kind.acknowledge_seconds and "regards" not in event:
        alarms[event["id"]] = {"kind": name, "rooms": [], "times": 0, "escalated": False}
    if kind.lasts:
        conditions[kind.family, *subject_of(event)] = event["id"]
    elif kind.ends:
        conditions.pop((kind.family, *subject_of(event)), None)


def subject_of(event: Event) -> tuple[str, ...]:
    """What a condition is of: an owner's incident, a thing, or else an owner's source; of a crowd one zone of it.

    Exercises are a world of their own.
    """
    noun = event["type"].removeprefix(TYPE_PREFIX).partition(".")[0]
    if noun == "incident" and "incident" in event:
        of: tuple[str, ...] = (event["incident"], event["owner"])
    elif "subject" in event:
        of = (event["subject"],)
    else:
        of = (event["owner"], event["source"])
    zone = event["data"].get("zone") or "" if noun == "crowd" else ""
    return (str(event.get("exercise", False)), zone, *of)


def folded(events: Iterable[Event]) -> State:
    state = empty()
    for event in events:
        fold(state, event)
    return state


class Watcher:
    """A client of the board: a snapshot at some time, and every later event folded into it."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.state = empty()
        self.heard: set[str] = set()
        self.news = asyncio.Condition()
        self.listening: asyncio.Task[None] | None = None

    async def begin(self, token: str, wish: Mapping[str, Any]) -> "Watcher":
        """Say hello with the wish; the state is there, and live, when this returns."""
        hello = {"type": "hello", "token": token, "subscribe": [{"id": "board", "snapshot": True, **wish}]}
        await self.socket.send(orjson.dumps(hello).decode())
        subscribed = False
        while not subscribed:
            message = orjson.loads(await asyncio.wait_for(self.socket.recv(), 10))
            subscribed = message["type"] == "subscribed"
            for event in message["events"] if message["type"] == "snapshot" else ():
                fold(self.state, event)
            await self._take(message)
        self.listening = asyncio.create_task(self._listen())
        return self

    async def _listen(self) -> None:
        async for frame in self.socket:
            await self._take(orjson.loads(frame))

    async def _take(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "event":
            async with self.news:
                fold(self.state, message["event"])
                self.heard.add(message["event"]["id"])
                self.news.notify_all()

    async def until(self, event_id: str) -> None:
        async with asyncio.timeout(10), self.news:
            await self.news.wait_for(lambda: event_id in self.heard)

    async def end(self) -> None:
        if self.listening is not None:
            self.listening.cancel()
        await self.socket.close()


class Scene:
    """A district with two cameras, of which a partner sees one area, and the clients that watch."""

    def __init__(self, database: Database, client: httpx.AsyncClient, base_url: str) -> None:
        self.database, self.client = database, client
        self.feed = base_url.replace("http", "ws") + "/v1/feed"
        self.alarms: list[str] = []
        self.watchers: list[tuple[str, Watcher, Mapping[str, Any]]] = []
        self.incidents = [str(uuid4()), str(uuid4())]
        self.headers: dict[str, dict[str, str]] = {}

    async def set(self) -> "Scene":
        district, police, strangers = [
            await factories.agency(self.database, kind) for kind in ("municipality", "police", "police")
        ]
        area = new_id()
        async with self.database.begin() as session:
            await session.execute(
                insert(Area).values(id=area, code_system="local", code=area.hex, kind="event", name="공원")
            )
        self.cameras = [
            await factories.camera(self.database, district, latitude=HERE, area_ids=(area,)),
            await factories.camera(self.database, district, latitude=ELSEWHERE),
        ]
        await factories.agreement(self.database, district, police, verbs=("locate",), area_ids=[area])
        for who, agency, role in (
            ("system", district, "integration"), ("owner", district, "operator"), ("lead", district, "shift_lead"),
            ("partner", police, "room"), ("partner's system", police, "integration"), ("nobody", strangers, "operator"),
        ):  # fmt: skip
            self.headers[who] = await factories.sign_in(
                self.client, await factories.person(self.database, agency, role)
            )
        return self

    async def report(
        self, kind: str, camera: int | None, incident: int | None = None, zone: str = "", *, exercise: bool = False,
        severity: str | None = None, restriction: str = "", latitude: float = HERE,
    ) -> str:  # fmt: skip
        event: dict[str, Any] = {
            "specversion": "1.0", "id": uuid4().hex, "source": "board", "type": TYPE_PREFIX + kind,
            "exercise": exercise, "restriction": restriction, "data": {"zone": zone} if zone else {},
        }  # fmt: skip
        if severity is not None:
            event["severity"] = severity
        if camera is not None:
            event["subject"] = f"cameras/{self.cameras[camera]}"
        else:
            event["data"]["location"] = {"lat": latitude, "lon": 127.0}
        if incident is not None:
            event["incident"] = self.incidents[incident]
        response = await self.client.post("/v1/events", json=event, headers=self.headers["system"])
        assert response.status_code == 202, response.text
        event_id: str = response.json()["events"][0]["id"]
        if KINDS[kind].acknowledge_seconds:
            self.alarms.append(event_id)
        return event_id

    async def say(self, who: str, path: str, **body: object) -> None:
        response = await self.client.post(f"/v1/events/{path}", json=body, headers=self.headers[who])
        assert response.status_code in (201, 403, 404), response.text

    async def lapse(self, event_id: str) -> None:
        """The time in which somebody should have taken notice of an alarm is over."""
        async with self.database.begin() as session:
            await session.execute(
                text("UPDATE alarms SET due_at = now() WHERE event_id = :id AND due_at IS NOT NULL"),
                {"id": UUID(event_id)},
            )

    async def join(self, who: str, wish: Mapping[str, Any]) -> Watcher:
        token = self.headers[who]["Authorization"].removeprefix("Bearer ")
        return await Watcher(await connect(self.feed)).begin(token, wish)

    async def compare(self, who: str, watcher: Watcher, wish: Mapping[str, Any]) -> None:
        """What the watcher has is what a newcomer is told, once both have heard of the same moment."""
        for _ in range(3):  # alarms are told again in the meantime, by the clock
            if who != "nobody":
                await watcher.until(await self.report("camera.moved", 0, severity="emergency"))
            newcomer = await self.join(who, wish)
            state = newcomer.state
            await newcomer.end()
            if watcher.state == state:
                return
        assert watcher.state == state

    async def leave(self) -> None:
        for _, watcher, _ in self.watchers:
            await watcher.end()


class Board(RuleBasedStateMachine):
    """Random histories; each step runs in the loop of the server."""

    make: ClassVar[Any]
    loop: ClassVar[asyncio.AbstractEventLoop]

    def __init__(self) -> None:
        super().__init__()
        self.scene: Scene = self.do(self.make().set())

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    reports = st.tuples(
        st.sampled_from(KINDS_USED), st.sampled_from([0, 0, 0, 1, None]), st.sampled_from([None, None, None, 0, 1]),
        st.sampled_from(["", "", "", "gate"]), st.sampled_from([None, None, "info", "alarm", "emergency"]),
        st.sampled_from(["", "", "", "sealed"]), st.sampled_from([HERE, ELSEWHERE]),
    )  # fmt: skip

    @rule(several=st.lists(reports, min_size=1, max_size=4), exercise=st.booleans())
    def report_at_once(self, several: list[tuple[Any, ...]], exercise: bool) -> None:
        async def one(
            kind: str, camera: int | None, incident: int | None, zone: str, severity: str | None, restriction: str,
            latitude: float,
        ) -> None:  # fmt: skip
            await self.scene.report(
                kind, camera, incident, zone, exercise=exercise and camera == 1, severity=severity,
                restriction=restriction, latitude=latitude,
            )  # fmt: skip

        async def all_of_them() -> None:
            await asyncio.gather(*(one(*each) for each in several))

        self.do(all_of_them())

    @rule(number=st.integers(0, 30), who=st.sampled_from(["owner", "lead", "partner"]))
    def acknowledge(self, number: int, who: str) -> None:
        if self.scene.alarms:
            alarm = self.scene.alarms[-1 - number % len(self.scene.alarms)]
            self.do(self.scene.say(who, f"{alarm}/acknowledgements"))

    @rule(number=st.integers(0, 30), verdict=st.sampled_from(["real", "false", "duplicate", "escalated"]))
    def judge(self, number: int, verdict: str) -> None:
        if len(self.scene.alarms) > 1:
            alarm, other = (self.scene.alarms[(n + number) % len(self.scene.alarms)] for n in (0, 1))
            also = {"duplicate_of": other} if verdict == "duplicate" else {}
            self.do(self.scene.say("lead", f"{alarm}/verdicts", verdict=verdict, **also))

    @rule(number=st.integers(0, 30))
    def let_time_pass(self, number: int) -> None:
        if self.scene.alarms:
            self.do(self.scene.lapse(self.scene.alarms[number % len(self.scene.alarms)]))

    @rule(who=st.sampled_from(["owner", "partner", "partner's system", "nobody"]), wish=st.sampled_from(WISHES))
    def come(self, who: str, wish: Mapping[str, Any]) -> None:
        if len(self.scene.watchers) < 4:
            self.scene.watchers.append((who, self.do(self.scene.join(who, wish)), wish))

    @rule(number=st.integers(0, 3))
    def look(self, number: int) -> None:
        if self.scene.watchers:
            who, watcher, wish = self.scene.watchers[number % len(self.scene.watchers)]
            self.do(self.scene.compare(who, watcher, wish))

    def teardown(self) -> None:
        try:
            for who, watcher, wish in self.scene.watchers:
                self.do(self.scene.compare(who, watcher, wish))
        finally:
            self.do(self.scene.leave())


@pytest.mark.parametrize(
    ("examples", "steps"),
    [(8, 30), pytest.param(200, 50, marks=[pytest.mark.drill, pytest.mark.timeout(3600)])],
)
async def test_a_snapshot_and_what_came_since_is_the_state_of_now(
    database: Database, client: httpx.AsyncClient, base_url: str, examples: int, steps: int
) -> None:
    board = type(
        "Board",
        (Board,),
        {"make": lambda _: Scene(database, client, base_url), "loop": asyncio.get_running_loop()},
    )
    chosen = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, database=None, print_blob=False,
        derandomize=examples < MANY,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    await asyncio.to_thread(run_state_machine_as_test, board, settings=chosen)


Said = tuple[str, int | None, str | None, dict[str, Any]]  # a kind, of which camera, how grave, and what else


@pytest.mark.parametrize("wish", [*WISHES[2:], {"min_severity": "alarm"}, {"kinds": ["camera.*"]}])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([("camera.lost", 0, None, {})], [("camera.restored", 0, None, {})]),
        ([("incident.opened", 0, None, {"incident": 0})], [("incident.closed", 0, None, {"incident": 0})]),
        ([("crowd.serious", 0, None, {})], [("crowd.caution", 0, None, {}), ("crowd.caution", 0, None, {})]),
        ([("crowd.serious", 0, None, {})], [("crowd.cleared", 0, None, {}), ("crowd.caution", 0, None, {})]),
        ([("camera.lost", 0, "emergency", {})], [("camera.lost", 0, "alarm", {}), ("camera.lost", 0, "info", {})]),
        ([("camera.lost", 0, None, {})], [("camera.lost", 0, None, {"restriction": "sealed"})]),
        (
            [("camera.lost", 0, "emergency", {"restriction": "sealed"})],
            [("camera.restored", 0, None, {}), ("camera.lost", 0, "info", {})],
        ),
        ([("incident.opened", None, None, {"incident": 0})], [("incident.closed", 0, None, {"incident": 0})]),
        (
            [("incident.opened", None, "emergency", {"incident": 0})],
            [("incident.opened", None, "info", {"incident": 0, "latitude": ELSEWHERE})],
        ),
        (
            [("incident.opened", None, "emergency", {"incident": 0})],
            [
                ("incident.closed", None, None, {"incident": 0, "latitude": ELSEWHERE}),
                ("incident.opened", None, "info", {"incident": 0, "latitude": ELSEWHERE}),
            ],
        ),
    ],
)  # fmt: skip
async def test_the_law_holds_for_who_wants_less(
    database: Database, client: httpx.AsyncClient, base_url: str, wish: dict[str, Any], before: list[Said],
    after: list[Said],
) -> None:  # fmt: skip
    """Who was told of a beginning is told how it goes on and ends, however little that weighs or is wanted by itself."""
    scene = await Scene(database, client, base_url).set()

    async def say(all_of_it: list[Said]) -> None:
        for kind, camera, severity, more in all_of_it:
            await scene.report(kind, camera, severity=severity, **more)

    await say(before)
    watchers = {who: await scene.join(who, wish) for who in ("owner", "partner's system")}
    await say(after)
    for who, watcher in watchers.items():
        await scene.compare(who, watcher, wish)
        await watcher.end()


async def test_who_heard_of_an_incident_here_and_not_elsewhere_finds_it_as_a_newcomer(
    database: Database, client: httpx.AsyncClient, base_url: str
) -> None:
    """The partner sees what is reported of one area; what is said of the same incident elsewhere is not for it."""
    scene = await Scene(database, client, base_url).set()
    watchers = {who: await scene.join(who, {}) for who in ("owner", "partner")}
    for kind, camera in (
        ("incident.opened", 0), ("incident.opened", None), ("incident.closed", 1), ("incident.opened", 1),
        ("incident.closed", 0), ("incident.closed", None),
    ):  # fmt: skip
        await scene.report(kind, camera, 0)
        for who, watcher in watchers.items():
            await scene.compare(who, watcher, {})
    assert [bool(watcher.state["conditions"]) for watcher in watchers.values()] == [False, False]
    for watcher in watchers.values():
        await watcher.end()


def test_the_fold_is_what_the_document_says() -> None:
    def event(kind: str, **members: object) -> Event:
        data = members.pop("data", {})
        return {"id": uuid4().hex, "type": TYPE_PREFIX + kind, "owner": "o", "source": "s", "data": data, **members}

    bell = event("bell.pressed", subject="cameras/1")
    lost, again = event("camera.lost", subject="cameras/1"), event("camera.lost", subject="cameras/1")
    state = folded([bell, lost, again])
    assert list(state["alarms"]) == [bell["id"]]
    assert list(state["conditions"].values()) == [again["id"]]
    fold(state, event("alarm.acknowledged", regards=bell["id"], data={"room": "r"}))
    assert state["alarms"][bell["id"]]["rooms"] == ["r"]
    fold(state, event("alarm.judged", regards=bell["id"], data={"verdict": "escalated"}))
    assert state["alarms"]
    fold(state, event("alarm.judged", regards=bell["id"], data={"verdict": "false"}))
    fold(state, event("camera.restored", subject="cameras/1"))
    assert state == empty()


async def test_states_of_long_ago_are_forgotten(database: Database, client: httpx.AsyncClient, base_url: str) -> None:
    scene = await Scene(database, client, base_url).set()
    for camera in (0, 1):
        await scene.report("camera.lost", camera)
    subjects = [f"cameras/{camera}" for camera in scene.cameras]
    async with database.begin() as session:
        await session.execute(
            text("UPDATE conditions SET event_at = now() - CAST('9 days' AS interval) WHERE subject = :subject"),
            {"subject": subjects[0]},
        )
    async with database.begin() as session:
        await board.forget(session)
        left = await session.scalars(
            text("SELECT subject FROM conditions WHERE subject = ANY(:all)"), {"all": subjects}
        )
    assert left.all() == subjects[1:]
