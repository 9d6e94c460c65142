"""The scene of the drills: a district with many places, who reports there, who listens, and what the log says at last."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import httpx
from sqlalchemy import insert

from app.database import Database, plain_url
from app.feed.positions import Positions
from app.ids import new_id
from app.keys import Keys
from app.models import Area
from tests import factories
from tests.drills.checker import Entry, Verdict, judge
from tests.drills.client import Resuming, listen
from tests.drills.reporters import Reporter, wrong_answers
from tests.drills.sockets import Socket
from tests.factories import Person

_LOG = (
    "SELECT p.position, e.id, e.data ->> 'bell_number' AS key, e.data ->> 'place' AS place"
    " FROM event_positions p JOIN events e ON e.id = p.id AND e.at = p.at"
    " WHERE e.owner_agency_id = $1 AND e.kind = 'bell.tested' ORDER BY p.position"
)


@dataclass
class Town:
    """An agency whose cameras stand one in each place; a place is an area."""

    database_url: str
    agency: UUID
    places: list[tuple[str, UUID]]
    areas: dict[str, UUID]
    system: Person
    operators: list[Person]

    async def pending(self) -> int:
        """How many events have been written down and not yet numbered."""
        return int((await self._fetch("SELECT count(*) AS waiting FROM event_pending"))[0]["waiting"])

    async def processes(self) -> int:
        """How many processes of the service hear the database's news: those that are up."""
        rows = await self._fetch(
            "SELECT count(*) AS up FROM pg_stat_activity"
            " WHERE application_name = 'gwanje-listen' AND datname = current_database()"
        )
        return int(rows[0]["up"])

    async def log(self) -> list[Entry]:
        """The events of this town as the database numbered them."""
        rows = await self._fetch(_LOG, self.agency)
        return [Entry(row["position"], str(row["id"]), row["key"], row["place"]) for row in rows]

    async def positions(self, secret_key: bytes) -> Positions:
        """What makes numbers of the positions that clients are told."""
        rows = await self._fetch("SELECT epoch FROM ledger_heads WHERE ledger = 'events'")
        return Positions(Keys(secret_key), rows[0]["epoch"])

    async def _fetch(self, query: str, *values: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(plain_url(self.database_url))
        try:
            return list(await connection.fetch(query, *values))
        finally:
            await connection.close()

    def wishes(self, number: int) -> tuple[list[dict[str, Any]], list[frozenset[str] | None]]:
        """What the subscriber of this number wants: everything, some places, or two overlapping things."""
        draw = random.Random(number)
        names = sorted(self.areas)
        if number % 20 == 0:
            return [{"id": "all"}], [None]
        few = draw.sample(names, min(5, len(names)))
        kinds = draw.choice(([], ["bell.*"], ["bell.tested", "camera.*"]))
        first = {"id": "few", "areas": [str(self.areas[name]) for name in few], "kinds": kinds}
        if number % 4:
            return [first], [frozenset(few)]
        others = draw.sample(names, min(4, len(names))) + few[:1]
        second = {"id": "others", "areas": [str(self.areas[name]) for name in others]}
        return [first, second], [frozenset(few), frozenset(others)]


async def found(database: Database, *, places: int, operators: int = 3) -> Town:
    """A new town with so many places."""
    agency = await factories.agency(database)
    areas = {f"place {number}": new_id() for number in range(places)}
    async with database.begin() as session:
        await session.execute(
            insert(Area),
            [
                {"id": area_id, "code_system": "local", "code": area_id.hex, "kind": "event", "name": name}
                for name, area_id in areas.items()
            ],
        )
    cameras = [(name, await factories.camera(database, agency, area_ids=(area_id,))) for name, area_id in areas.items()]
    return Town(
        database.url,
        agency,
        cameras,
        areas,
        await factories.person(database, agency, "integration"),
        [await factories.person(database, agency, "operator") for _ in range(operators)],
    )


async def token_of(base_url: str, person: Person) -> str:
    async with httpx.AsyncClient(base_url=base_url, timeout=15) as client:
        return (await factories.sign_in(client, person))["Authorization"].removeprefix("Bearer ")


async def reporters(base_url: str, town: Town, count: int) -> list[Reporter]:
    headers = {"Authorization": f"Bearer {await token_of(base_url, town.system)}"}
    return [Reporter(base_url, headers, town.places, seed=number) for number in range(count)]


async def clients(base_url: str, town: Town, count: int) -> list[Resuming]:
    """So many clients of the town's operators, each with its own wishes; half subscribe with their hello."""
    tokens = [await token_of(base_url, operator) for operator in town.operators]
    made = []
    for number in range(count):
        wishes, places = town.wishes(number)
        made.append(
            Resuming(f"s{number}", tokens[number % len(tokens)], wishes, places, with_hello=number % 2 == 0)
        )  # fmt: skip
    return made


@asynccontextmanager
async def listening(base_url: str, listeners: Sequence[Resuming], *, bare: bool = False) -> AsyncIterator[list[Socket]]:
    """All of them connected, and live before the block begins; over the `websockets` library, or bare sockets."""
    sockets = [Socket(base_url, one) for one in listeners] if bare else []
    works = [one.run() for one in sockets] if bare else [listen(base_url, one) for one in listeners]
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await all_live(listeners, 60)
        yield sockets
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    broken = [end for end in ends if isinstance(end, Exception)]
    assert not broken, broken[0]


async def until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait for something of which no event tells."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - as said
            await asyncio.sleep(0.05)


async def all_live(listeners: Sequence[Resuming], seconds: float) -> float:
    """Wait until each of them is connected and live; returns how long that took."""
    began = time.monotonic()
    async with asyncio.timeout(seconds):
        for one in listeners:
            await one.live.wait()
    return time.monotonic() - began


async def heard_all(town: Town, listeners: Sequence[Resuming], seconds: float, *, beats: bool = False) -> None:
    """Wait until everybody is live and has heard the newest event for them, or the time is over: the checker then says
    what is missing. With `beats`, also until each had a heartbeat on its last connection after its last event."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        behind = await town.pending() > 0
        log = await town.log()
        for one in listeners:
            newest = next((entry.id for entry in reversed(log) if one.record.wants(entry.place)), None)
            last = one.record.beats[-1] if one.record.beats else None
            beaten = last is not None and last.hearings == len(one.record.hearings)
            heard = newest is None or any(hearing.id == newest for hearing in reversed(one.record.hearings[-500:]))
            behind = behind or not heard or not one.live.is_set() or (beats and not beaten)
        if not behind:
            return
        await asyncio.sleep(0.2)


async def verdict(
    town: Town,
    secret_key: bytes,
    reporting: Sequence[Reporter],
    listeners: Sequence[Resuming],
) -> Verdict:
    """The judgement on a drill, after it has come to rest."""
    positions = await town.positions(secret_key)
    known: dict[str, int | None] = {}

    def read(position: str) -> int | None:
        if position not in known:
            known[position] = positions.read(position)
        return known[position]

    publications = [publication for one in reporting for publication in one.publications]
    return judge(publications, await town.log(), [one.record for one in listeners], read)


def measures(found: Verdict, reporting: Sequence[Reporter], listeners: Sequence[Resuming]) -> dict[str, object]:
    """What every drill tells: how much, how often cut, how long away, and what was wrong."""
    absences = sorted(second for one in listeners for second in one.absences)
    outcomes = [publication.outcome for one in reporting for publication in one.publications]
    return {
        "reported": len(outcomes),
        "unknown": outcomes.count("unknown"),
        "logged": found.logged,
        "subscribers": len(listeners),
        "heard": found.heard,
        "again": found.again,
        "resumed": found.resumed,
        "beats": found.beats,
        "wrong": len(found.findings),
        **({"back p50": absences[len(absences) // 2], "back max": absences[-1]} if absences else {}),
    }


def assert_sound(found: Verdict, reporting: Sequence[Reporter], listeners: Sequence[Resuming]) -> None:
    """Nothing that contradicts the contract: in what was heard, in answers, in how conversations ended."""
    assert found.clean, found
    assert wrong_answers(reporting) == {}
    assert not [one.resyncs for one in listeners if one.resyncs], "a position of this log was not known"
    assert not [one.sent_away for one in listeners if one.sent_away], "sent away for good"
    assert not [one.refusals for one in listeners if any(r["status"] != 503 for r in one.refusals)], "refused"
    answers = {code for one in listeners for code in one.codes if code is not None and 400 <= code < 1000}
    assert answers <= {503}, f"answers to an upgrade: {answers}"
