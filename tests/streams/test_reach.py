"""Reachability: knocks within bounds, changes told once, a cut cable told as one event with its members."""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import insert, text

from app import database as db
from app.announcements import Announcements
from app.database import Database
from app.ids import new_id
from app.keys import Keys
from app.models import CameraPosition, Site, StreamSource
from app.registry import sources
from app.streams.embedded.outages import Outages
from app.streams.reach import rounds, shards, telling
from app.streams.reach.knock import Door, knock
from app.streams.reach.rounds import Rounds
from app.streams.reach.watch import Reach
from app.streams.writer import Writer
from tests import factories
from tests.factories import LOOPBACK
from tests.streams.watching import until

MANY = 4000


def place(number: int) -> str:
    return f"127.20.{number // 250}.{number % 250 + 1}"


async def cameras(base: Database, owner: UUID, keys: Keys, count: int, port: int = 554) -> list[UUID]:
    """Cameras at addresses of their own on the loopback interface."""
    site, ids = new_id(), [new_id() for _ in range(count)]
    positions, streams = [], []
    for number, camera in enumerate(ids):
        positions.append({
            "id": camera, "site_id": site, "ordinal": number + 1, "name": f"C{number}", "owner_agency_id": owner,
            "has_stream": True,
        })  # fmt: skip
        sealed = sources.seal(keys, camera, "live", "main", f"rtsp://u:p@{place(number)}:{port}/live")
        streams.append({"id": new_id(), "position_id": camera, "address_sealed": sealed, "key_id": keys.key_id})
    async with base.begin() as session:
        await session.execute(insert(Site).values(id=site, owner_agency_id=owner, external_key=str(site)))
        await session.execute(insert(CameraPosition), positions)
        await session.execute(insert(StreamSource), streams)
    return ids


async def told(base: Database, owner: UUID) -> list[Any]:
    async with base.begin() as session:
        rows = await session.execute(
            text("SELECT kind, data, camera_id FROM events WHERE owner_agency_id = :owner ORDER BY id"),
            {"owner": owner},
        )
        return list(rows)


async def statuses(base: Database, owner: UUID) -> Counter[str]:
    async with base.begin() as session:
        return Counter(
            await session.scalars(
                text("SELECT status FROM camera_positions WHERE owner_agency_id = :owner"), {"owner": owner}
            )
        )


@pytest.fixture
def writer(database: Database) -> Writer:
    return Writer(database, lambda: None)


async def change(writer: Writer, ids: list[UUID], *, lost: bool) -> None:
    changes = [(camera, lost, place(number)) for number, camera in enumerate(ids)]
    await writer.transact(lambda connection: shards.write(connection, changes))


async def tell(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(telling, "QUIET_SECONDS", 0.0)
    for _ in range(20):
        if not await writer.transact(telling.tell):
            return 0
    return 1


# Telling


async def test_four_thousand_at_once_are_one_event_with_its_members(
    database: Database, keys: Keys, writer: Writer, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await factories.agency(database)
    ids = await cameras(database, owner, keys, MANY)
    await change(writer, ids[:-50], lost=True)
    assert await writer.transact(telling.tell) >= MANY - 50, "not while more of them may follow"
    assert await told(database, owner) == []
    await tell(writer, monkeypatch)
    await change(writer, ids, lost=True)
    await tell(writer, monkeypatch)
    (event,) = await told(database, owner)
    assert (event.kind, event.data["count"], event.data["network"]) == ("cameras.lost", MANY - 50, "127.20.0.0/20")
    assert await statuses(database, owner) == {"faulty": MANY}
    as_operator = await factories.sign_in(client, await factories.person(database, owner))
    path, found, cursor = f"/v1/losses/{event.data['loss_id']}", set(), None
    while cursor is not None or not found:
        page = (await client.get(path, params={"cursor": cursor} if cursor else {}, headers=as_operator)).json()
        found |= {item["camera_id"] for item in page["items"]}
        cursor = page["next_cursor"]
    assert found == {str(camera) for camera in ids}, "those that followed within the minute have joined"
    stranger = await factories.sign_in(client, await factories.person(database, await factories.agency(database)))
    assert (await client.get(path, headers=stranger)).status_code == 404
    await change(writer, ids, lost=False)
    await tell(writer, monkeypatch)
    _, back = await told(database, owner)
    assert (back.kind, back.data["count"]) == ("cameras.restored", MANY)
    assert back.data["loss_id"] == event.data["loss_id"]
    assert await statuses(database, owner) == {"active": MANY}
    members = (await client.get(path, headers=as_operator)).json()["items"]
    assert all(member["restored_at"] for member in members)


async def test_a_few_are_told_by_themselves_and_a_flicker_not_at_all(
    database: Database, keys: Keys, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await factories.agency(database)
    ids = await cameras(database, owner, keys, 4)
    await change(writer, ids[:3], lost=True)
    await change(writer, ids[:1], lost=False)
    await tell(writer, monkeypatch)
    await tell(writer, monkeypatch)
    assert sorted((event.kind, event.camera_id) for event in await told(database, owner)) == [
        ("camera.lost", camera) for camera in sorted(ids[1:3])
    ]
    await change(writer, ids, lost=False)
    await tell(writer, monkeypatch)
    assert Counter(event.kind for event in await told(database, owner)) == {"camera.lost": 2, "camera.restored": 2}
    assert await statuses(database, owner) == {"active": 4}


async def test_what_the_gateway_told_is_not_told_again_nor_a_fault_healed(
    database: Database, keys: Keys, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await factories.agency(database)
    watched, broken = await cameras(database, owner, keys, 2)
    async with database.begin() as session:
        await session.execute(text("UPDATE camera_positions SET status = 'faulty' WHERE id = :id"), {"id": broken})
    losses = Outages(database)
    losses.lost(f"{watched}/main", "no picture")
    await asyncio.gather(*losses._telling)
    await change(writer, [watched, broken], lost=True)
    await tell(writer, monkeypatch)
    assert [event.camera_id for event in await told(database, owner)] == [watched, broken]
    losses.restored(f"{watched}/main")
    await asyncio.gather(*losses._telling)
    await change(writer, [watched, broken], lost=False)
    await tell(writer, monkeypatch)
    kinds = [(event.kind, event.camera_id) for event in await told(database, owner)]
    assert kinds[2:] == [("camera.restored", watched), ("camera.restored", broken)]
    assert await statuses(database, owner) == {"active": 1, "faulty": 1}, "whoever called it faulty calls it well"


def test_a_shared_network_is_named_while_it_says_something() -> None:
    assert telling.shared_network(["10.1.0.1", "10.1.3.9"]) == "10.1.0.0/22"
    assert telling.shared_network(["10.1.0.1", "192.168.0.1"]) == ""
    assert telling.shared_network(["10.1.0.1", "camera.example"]) == ""
    assert telling.shared_network([]) == ""


# Sharing


async def test_processes_share_and_inherit(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with db.connect(empty_database_url) as base:
        writer = Writer(base, lambda: None)

        async def hold(node: str) -> set[int]:
            return await writer.transact(lambda connection: shards.hold(connection, node))

        assert len(await hold("a")) == shards.SHARDS
        for _ in range(4):
            shares = {node: await hold(node) for node in ("b", "c", "a")}
        shares = {node: await hold(node) for node in ("a", "b", "c")}
        assert set().union(*shares.values()) == set(range(shards.SHARDS))
        assert sum(map(len, shares.values())) == shards.SHARDS, "nothing twice"
        assert min(map(len, shares.values())) >= 4
        await writer.transact(lambda connection: shards.give_up(connection, "c"))
        for _ in range(3):
            shares = {node: await hold(node) for node in ("a", "b")}
        assert sum(map(len, shares.values())) == shards.SHARDS


# Rounds


class City:
    """Doors in memory: which are shut, and how many knock at the same time."""

    def __init__(self) -> None:
        self.shut: set[Door] = set()
        self.now = self.most = 0

    async def knock(self, door: Door) -> tuple[bool, str]:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.002)
        self.now -= 1
        return door not in self.shut, door.host


@asynccontextmanager
async def going(
    city: City, doors: list[Door], *, period: float, at_once: int
) -> AsyncIterator[tuple[Rounds, list[Any]]]:
    changes: list[Any] = []
    made = Rounds(city.knock, lambda door, known: changes.append((door, known.lost)), period=period, at_once=at_once)
    made.look_after((new_id(), door, False) for door in doors)
    task = asyncio.create_task(made.run())
    try:
        yield made, changes
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_rounds_are_bounded_and_tell_each_change_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "DOUBT_SECONDS", 0.05)
    city, doors = City(), [Door("rtsp", place(number), 554) for number in range(300)]
    async with going(city, doors, period=0.5, at_once=16) as (made, changes):
        await until(lambda: made.knocks > 600)
        assert changes == []
        city.shut = set(doors[:200])
        await until(lambda: len(changes) == 200)
        assert set(changes) == {(door, True) for door in doors[:200]}
        city.shut = set()
        await until(lambda: len(changes) == 400)
        assert set(changes[200:]) == {(door, False) for door in doors[:200]}
        assert city.most <= 16


async def test_neighbours_of_what_is_lost_are_looked_at_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The period is a minute, and still a cut cable is noticed within seconds; another network is left in peace."""
    monkeypatch.setattr(rounds, "DOUBT_SECONDS", 0.05)
    monkeypatch.setattr(rounds.random, "random", lambda: 0.001)
    city, doors = City(), [Door("rtsp", place(number), 554) for number in range(100)]
    city.shut = set(doors)
    others = [Door("rtsp", f"127.99.0.{number}", 554) for number in range(1, 50)]
    async with going(city, [], period=60, at_once=64) as (made, changes):
        made.look_after((new_id(), door, False) for door in doors + others)
        for number, door in enumerate(doors + others):
            made._plan(door, time.monotonic() + (0 if number < 5 else 60))
        await until(lambda: len(changes) == 100)
        assert made.knocks < 100 * 3 + 10


async def test_one_miss_is_no_loss_and_cameras_behind_one_door_are_knocked_at_once() -> None:
    answers = iter([False, False, True] * 100)

    async def knocked(_: Door) -> tuple[bool, str]:
        return next(answers), "127.0.0.1"

    changes: list[Any] = []
    made = Rounds(knocked, lambda _, known: changes.append(known.lost), period=0.01, at_once=4)
    door = Door("rtsp", "recorder.example", 554)
    made.look_after((new_id(), door, False) for _ in range(64))
    entry = made.known[door]
    assert (len(made.known), len(entry.cameras)) == (1, 64)
    for _ in range(30):
        await made._visit(door, entry)
    assert changes == []


# Knocking


@asynccontextmanager
async def rtsp(say: Callable[[], bytes | None]) -> AsyncIterator[int]:
    """Something that listens on the whole loopback interface, and nowhere else."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = say()
        if said is not None:
            writer.write(said)
        await reader.read(1000)
        writer.close()

    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
    listening.bind(("0.0.0.0", 0))
    server = await asyncio.start_server(serve, sock=listening, backlog=4096)
    try:
        yield listening.getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize(
    ("said", "answers"),
    [(b"RTSP/1.0 401 No\r\n\r\n", True), (b"HTTP/1.1 200 OK\r\n\r\n", False), (b"R" * 9000, False), (None, False)],
    ids=["rtsp", "http", "nonsense", "silent"],
)
async def test_who_speaks_rtsp_is_there(said: bytes | None, answers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.streams.reach.knock.KNOCK_SECONDS", 0.3)
    async with rtsp(lambda: said) as port:
        assert await knock(Door("rtsp", "127.20.0.1", port), LOOPBACK) == (answers, "127.20.0.1")
        assert await knock(Door("rtsp", "127.20.0.1", port), ()) == (False, ""), "no camera network"


async def cut(url: str, keys: Keys, count: int, seconds: float) -> None:
    """A cable with `count` cameras is cut and mended, under the whole of it: one event each way."""
    async with db.connect(url) as base:
        writer = Writer(base, lambda: None)
        owner = await factories.agency(base)
        whole = [True]
        async with rtsp(lambda: b"RTSP/1.0 200 OK\r\n\r\n" if whole[0] else b"closed") as port:
            await cameras(base, owner, keys, count, port)
            news = Announcements(url)
            reach = Reach(base, keys, writer, "here", LOOPBACK, None, news, period=max(3, count / 400))
            tasks = [asyncio.create_task(reach.run()), asyncio.create_task(news.run())]
            try:
                await until(lambda: len(reach.rounds.known) == count and reach.rounds.knocks > count, seconds)
                for state, lost in ((False, count), (True, 0)):
                    whole[0] = state
                    async with asyncio.timeout(seconds):
                        while (await statuses(base, owner))["faulty"] != lost:  # noqa: ASYNC110 - the database's
                            await asyncio.sleep(0.2)
                assert [event.kind for event in await told(base, owner)] == ["cameras.lost", "cameras.restored"]
                async with base.begin() as session:
                    assert await session.scalar(text("SELECT count(*) FROM loss_members")) == count
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.slow
async def test_a_cut_cable_on_the_wire(empty_database_url: str, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "DOUBT_SECONDS", 0.2)
    monkeypatch.setattr(telling, "QUIET_SECONDS", 1.5)
    await cut(empty_database_url, keys, 200, 25)


@pytest.mark.drill
@pytest.mark.timeout(300)
async def test_a_cut_cable_with_four_thousand_cameras(empty_database_url: str, keys: Keys) -> None:
    await cut(empty_database_url, keys, MANY, 120)
