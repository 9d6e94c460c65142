"""A thousand events a second, for as long as one likes: each is taken and numbered once, or refused and sent again."""

import asyncio
import time
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from app.database import Database
from tests import factories
from tests.drills.conftest import Crew, Tell

pytestmark = pytest.mark.slow
BATCH, LINES, EVERY_SECONDS = 25, 4, 0.1  # 1,000 a second
KINDS = ("analytic.loitering", "camera.lost", "camera.restored", "bell.pressed")


def batch(line: int) -> list[dict[str, Any]]:
    return [
        {"specversion": "1.0", "id": uuid4().hex, "source": f"va/{line}", "type": f"kr.gwanje.{KINDS[number % 4]}"}
        for number in range(BATCH)
    ]


@pytest.mark.parametrize("seconds", [3, pytest.param(60, marks=[pytest.mark.drill, pytest.mark.timeout(600)])])
async def test_a_thousand_a_second_are_all_in_the_log(database: Database, crew: Crew, tell: Tell, seconds: int) -> None:
    running = await crew(2)
    agency = await factories.agency(database)
    taken: list[UUID] = []
    waited: list[float] = []
    refused = 0
    async with httpx.AsyncClient(base_url=running.base_url, timeout=30) as client:
        headers = await factories.sign_in(client, await factories.person(database, agency, "integration"))

        async def send(line: int, events: list[dict[str, Any]]) -> None:
            nonlocal refused
            while True:
                began = time.monotonic()
                answer = await client.post("/v1/events", json=events, headers=headers)
                waited.append(time.monotonic() - began)
                if answer.status_code == httpx.codes.ACCEPTED:
                    taken.extend(UUID(one["id"]) for one in answer.json()["events"])
                    return
                assert answer.status_code == httpx.codes.TOO_MANY_REQUESTS, answer.text
                refused += 1
                await asyncio.sleep(float(answer.headers["Retry-After"]))

        began = time.monotonic()
        async with asyncio.TaskGroup() as sending:
            for turn in range(round(seconds / EVERY_SECONDS)):
                for line in range(LINES):
                    sending.create_task(send(line, batch(line)))
                await asyncio.sleep(max(0.0, began + (turn + 1) * EVERY_SECONDS - time.monotonic()))
        took = time.monotonic() - began
    numbered = "SELECT count(*), count(DISTINCT position) FROM event_positions WHERE id = ANY($1)"
    async with asyncio.timeout(30):
        while tuple(await database.bare.fetchrow(numbered, taken)) != (len(taken), len(taken)):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    caught_up = time.monotonic() - began - took
    waited.sort()
    tell(
        "ingest", events=len(taken), **{"a second": len(taken) / took, "refused": refused},
        **{"answer p50 s": waited[len(waited) // 2], "p99 s": waited[len(waited) * 99 // 100], "behind s": caught_up},
    )  # fmt: skip
    assert len(set(taken)) == round(seconds / EVERY_SECONDS) * LINES * BATCH
