"""How long MediaMTX waits for a yes: the question's answer, with the view committed, against one durable insert.

MediaMTX asks one question at a time and holds everybody else's meanwhile, so an answer has to come within 50 ms. The
gateway is the fake of the tests; the door, the permission, the view and its audit entry are the real ones. `again` is
the same session's second question, `no` one with somebody else's token.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from statistics import median, quantiles
from time import perf_counter
from uuid import UUID, uuid4

import asyncpg
import httpx

from app.database import connect, plain_url
from app.keys import Keys
from app.settings import Settings
from bench.scene import conclude, name_of, scene, table
from tests import factories
from tests.streams.mediamtx.fake import FakeMediaMtx
from tests.streams.mediamtx.scene import Scene
from tests.streams.mediamtx.scene import scene as gateway_scene

QUESTIONS, WARMUP = 300, 20
ASKED = {
    "ip": "127.0.0.1", "user": "", "password": "", "token": "", "action": "read", "protocol": "webrtc",
    "userAgent": "bench",
}  # fmt: skip


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    began = perf_counter()
    await work()
    return (perf_counter() - began) * 1e3


async def _questions(at: Scene, floor: asyncpg.Connection) -> dict[str, list[float]]:
    took: dict[str, list[float]] = {"yes": [], "again": [], "no": [], "insert": []}
    known = await at.ticket()
    foreign = at.token(known)[:-6] + "AAAAAA"
    async with httpx.AsyncClient(timeout=5, trust_env=False) as client:

        async def ask(expected: int, camera: UUID, token: str, session: str) -> None:
            said = ASKED | {"path": at.path(camera), "id": session, "query": f"token={token}"}
            answer = await client.post(at.callback, json=said)
            assert answer.status_code == expected, answer.status_code

        for number in range(QUESTIONS + WARMUP):
            camera = await factories.camera(at.database, at.district)  # each takes only so many viewers
            token, session = at.token(await at.ticket(camera)), str(uuid4())
            one = {
                "yes": await _timed(partial(ask, 204, camera, token, session)),
                "again": await _timed(partial(ask, 204, camera, token, session)),
                "no": await _timed(partial(ask, 403, camera, foreign, session)),
                "insert": await _timed(lambda: floor.execute("INSERT INTO asked (said) VALUES ($1)", "x" * 300)),
            }
            if number >= WARMUP:
                for name, milliseconds in one.items():
                    took[name].append(milliseconds)
    return took


async def main() -> None:
    logging.disable(logging.WARNING)
    with scene() as place:
        async with place.database() as url, connect(url) as database, FakeMediaMtx() as gate:
            floor = await asyncpg.connect(plain_url(place.databases.url(name_of(url), owner=True)))
            await floor.execute("CREATE TABLE asked (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, said text)")
            settings = Settings(home=place.folder / "callback", database_url=url)
            keys = Keys(settings.secret_key)
            async with gateway_scene(settings, keys, database, url, gate) as at:
                at.driver()
                took = await _questions(at, floor)
            await floor.close()
    rows = [
        [name, median(each), quantiles(each, n=100)[98], max(each), median(each) / median(took["insert"])]
        for name, each in took.items()
    ]
    table(f"{QUESTIONS} questions, one after the other", ("answer", "p50 ms", "p99 ms", "max ms", "× insert"), rows)
    ratios = {f"{row[0]}_to_insert": float(row[4]) for row in rows[:-1]}
    ratios |= {"yes_p50_ms": float(rows[0][1]), "yes_p99_ms": float(rows[0][2])}
    conclude("callback", ratios, QUESTIONS)


if __name__ == "__main__":
    asyncio.run(main())
