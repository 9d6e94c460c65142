"""Who loses a right hears nothing more from a second after: by socket, by long poll and by replay, on every node.

Events flow all the time, and somebody whose rights stay hears them: silence is the loss of the right, not of events.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import orjson
import pytest
from sqlalchemy import text
from websockets.asyncio.client import connect

from app import clock
from app.access import agreements, people
from app.access.hours import KOREA
from app.database import Database
from app.settings import Settings
from tests import factories
from tests.drills import town
from tests.drills.client import BROKEN, Resuming, listen
from tests.drills.conftest import Tell
from tests.drills.reporters import Reporter
from tests.drills.town import Town
from tests.factories import Person
from tests.processes import service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

GRACE_SECONDS = 1.0
AWAITED = 4.0  # seconds from the beginning until the rights that lapse by themselves do
ENDS_SESSION = {"expired", "signed_out", "appointment_ended", "appointment_lapsed", "disabled"}


@dataclass
class Victim:
    """Somebody who will lose a right, listening everywhere in every way. `heard` are the moments of all events."""

    cause: str
    person: Person
    token: str
    agreement: UUID | None = None
    start: str = ""
    lost_at: float = 0.0
    sockets: list[Resuming] = field(default_factory=list)
    polled: list[float] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)

    def heard(self) -> dict[str, list[float]]:
        return {
            **{f"socket {number}": [h.at for h in one.record.hearings] for number, one in enumerate(self.sockets)},
            "long poll": self.polled,
        }


async def poll(base_url: str, victim: Victim) -> None:
    """Ask again and again for what comes next, until told that there is no more for this session."""
    async with httpx.AsyncClient(
        base_url=base_url, timeout=15, headers={"Authorization": f"Bearer {victim.token}"}
    ) as client:
        position = victim.start
        while True:
            response = await client.get("/v1/events", params={"after": position, "wait": 2})
            if response.status_code != 200:
                victim.refused.append(response.status_code)
                return
            answer = response.json()
            position = answer["position"]
            victim.polled += [time.monotonic()] * len(answer["items"])


async def replayed(base_url: str, victim: Victim) -> int:
    """How many past events a new connection is sent that says it was here from the beginning, and asks for all."""
    events = 0
    with suppress(*BROKEN):
        async with connect(base_url.replace("http", "ws") + "/v1/feed") as socket:
            await socket.send(orjson.dumps({"type": "hello", "token": victim.token, "after": victim.start}).decode())
            await socket.send(orjson.dumps({"type": "subscribe", "id": "all"}).decode())
            async with asyncio.timeout(5):
                while (message := orjson.loads(await socket.recv()))["type"] != "subscribed":
                    events += message["type"] == "event"
    async with httpx.AsyncClient(base_url=base_url, headers={"Authorization": f"Bearer {victim.token}"}) as client:
        answer = (await client.get("/v1/events", params={"after": victim.start, "limit": 1000})).json()
        return events + len(answer.get("items", []))


class Causes:
    """Each way to lose the right; they return when it is lost. The owner is the town, the others are police."""

    def __init__(self, database: Database, base_url: str) -> None:
        self.database, self.base_url = database, base_url

    async def signed_out(self, victim: Victim) -> None:
        async with httpx.AsyncClient(base_url=self.base_url) as client:
            headers = {"Authorization": f"Bearer {victim.token}"}
            assert (await client.delete("/v1/sessions/current", headers=headers)).is_success

    async def disabled(self, victim: Victim) -> None:
        async with self.database.begin() as session:
            await people.disable(session, None, victim.person.user_id, "drill")

    async def appointment_ended(self, victim: Victim) -> None:
        async with self.database.begin() as session:
            await people.end_appointment(session, None, victim.person.appointment_id)

    async def withdrawn(self, victim: Victim) -> None:
        assert victim.agreement
        async with self.database.begin() as session:
            await agreements.withdraw(session, None, victim.agreement, "drill")


async def victims(
    database: Database, base_url: str, place: Town
) -> tuple[list[Victim], dict[str, Callable[[Victim], Awaitable[None]]], float]:
    """One victim for each cause, signed in; how each loses its right (none: by itself); when the latter do."""
    causes = Causes(database, base_url)
    how = {name: getattr(causes, name) for name in ("signed_out", "disabled", "appointment_ended", "withdrawn")}
    made = []
    for cause in ("expired", "appointment_lapsed", "lapsed", "outside_hours", *how):
        agency, agreement = place.agency, None
        if cause not in ENDS_SESSION:
            agency = await factories.agency(database, "police")
            agreement = await factories.agreement(database, place.agency, agency, verbs=("locate",))
        person = await factories.person(database, agency, "operator")
        made.append(Victim(cause, person, await town.token_of(base_url, person), agreement))
    moment, at = clock.now() + timedelta(seconds=AWAITED), time.monotonic() + AWAITED
    by_cause = {victim.cause: victim for victim in made}
    there = moment.astimezone(KOREA)
    hours = {
        "days": [1, 2, 3, 4, 5, 6, 7],
        "from": (there - timedelta(hours=1)).strftime("%H:%M"),
        "to": there.strftime("%H:%M:%S.%f"),
    }
    statements: list[tuple[str, dict[str, Any]]] = [
        ("UPDATE sessions SET expires_at = :m WHERE user_id = :i", {"i": by_cause["expired"].person.user_id}),
        (
            "UPDATE appointments SET valid_to = :m WHERE id = :i",
            {"i": by_cause["appointment_lapsed"].person.appointment_id},
        ),
        ("UPDATE agreements SET valid_to = :m WHERE id = :i", {"i": by_cause["lapsed"].agreement}),
        (
            "UPDATE agreements SET hours = CAST(:h AS jsonb) WHERE id = :i",
            {"i": by_cause["outside_hours"].agreement, "h": orjson.dumps(hours).decode()},
        ),
    ]
    async with database.begin() as session:
        for statement, values in statements:
            wanted = {"m": moment} if ":m" in statement else {}
            await session.execute(text(statement), {**wanted, **values})
    return made, how, at


@asynccontextmanager
async def attending(nodes: list[str], victim: Victim, each: int) -> AsyncIterator[None]:
    """The victim listens on every node, `each` times, and polls on every node."""
    victim.sockets = [Resuming(f"{victim.cause} {n}", victim.token, [{"id": "all"}]) for n in range(each * len(nodes))]
    tasks = [asyncio.create_task(listen(nodes[number % len(nodes)], one)) for number, one in enumerate(victim.sockets)]
    tasks += [asyncio.create_task(poll(node, victim)) for node in nodes]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(
    ("workers", "each", "seconds"),
    [(1, 1, 3.0), pytest.param(4, 12, 30.0, marks=[pytest.mark.drill, pytest.mark.timeout(600)])],
)
async def test_who_loses_a_right_hears_nothing_a_second_later(
    database: Database, database_url: str, kept: Path, settings: Settings, tmp_path: Path, workers: int, each: int,
    seconds: float, tell: Tell,
) -> None:  # fmt: skip
    place = await town.found(database, places=4)
    (tmp_path / "secret.key").write_bytes(settings.secret_key)
    common = {"GWANJE_DATABASE_URL": database_url, "GWANJE_LOG_LEVEL": "warning"}
    async with (
        service(kept, workers=workers, **common) as here,
        service(tmp_path, workers=workers, GWANJE_NODE="other", **common) as there,
    ):
        nodes = [here.base_url, there.base_url]
        reporter: Reporter = (await town.reporters(here.base_url, place, 1))[0]
        stays = Resuming("stays", await town.token_of(here.base_url, place.operators[0]), [{"id": "all"}])
        over = asyncio.Event()
        made, how, lapse_at = await victims(database, here.base_url, place)
        async with httpx.AsyncClient(base_url=here.base_url) as client:
            headers = {"Authorization": f"Bearer {stays.token}"}
            start = (await client.get("/v1/events", headers=headers)).json()["position"]
        for victim in made:
            victim.start = start
        async with town.listening(there.base_url, [stays]):
            reporting = asyncio.create_task(reporter.run(10, over, pace=0.02))
            async with asyncio.TaskGroup() as group:
                for victim in made:
                    group.create_task(_suffer(nodes, victim, each, how.get(victim.cause), lapse_at, seconds))
            over.set()
            await reporting
        again = {victim.cause: [await replayed(node, victim) for node in nodes] for victim in made}
    _judge(made, stays, again, seconds, tell)


async def _suffer(
    nodes: list[str],
    victim: Victim,
    each: int,
    how: Callable[[Victim], Awaitable[None]] | None,
    lapse_at: float,
    seconds: float,
) -> None:
    """Listen; lose the right (by itself: at that moment); go on listening for a while."""
    async with attending(nodes, victim, each):
        if how is None:
            await asyncio.sleep(max(0.0, lapse_at - time.monotonic()))
            victim.lost_at = lapse_at
        else:
            await town.until(lambda: all(any(moments) for moments in victim.heard().values()), 20)
            await how(victim)
            victim.lost_at = time.monotonic()
        await asyncio.sleep(GRACE_SECONDS + seconds)


def _judge(made: list[Victim], stays: Resuming, again: dict[str, list[int]], seconds: float, tell: Tell) -> None:
    for victim in made:
        lasted = max(at - victim.lost_at for moments in victim.heard().values() for at in [*moments, -1e9])
        late = {
            where: sum(at > victim.lost_at + GRACE_SECONDS for at in moments)
            for where, moments in victim.heard().items()
        }
        flowed = sum(victim.lost_at + GRACE_SECONDS < hearing.at for hearing in stays.record.hearings)
        before = {where: len(moments) - late[where] for where, moments in victim.heard().items()}
        tell(
            f"rights: {victim.cause}", before=min(before.values()), late=sum(late.values()), last=lasted,
            replayed=again[victim.cause], others=flowed,
        )  # fmt: skip
        assert all(before.values()), f"{victim.cause}: heard nothing before, so silence proves nothing: {before}"
        assert flowed > seconds, "events did not flow: silence proves nothing"
        assert not any(late.values()), f"{victim.cause}: heard events after the loss: {late}"
        assert not any(again[victim.cause]), f"{victim.cause}: the past was told after the loss: {again}"
        if victim.cause in ENDS_SESSION:
            assert all(one.sent_away == 4401 for one in victim.sockets)
            assert set(victim.refused) == {401}
