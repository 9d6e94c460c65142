"""The change of shifts on a running wall, through the embedded edge over real sockets: not a gap, and two views."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select

from app.access import terminals
from app.database import Database
from app.demo.simulator import SimulatedCamera, Simulator
from app.keys import Keys
from app.models import CameraPosition, View
from app.streams import duties
from app.streams.views import proof_of
from tests import factories
from tests.factories import PASSWORD, Person
from tests.feed.test_feed import feed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
async def simulator() -> AsyncIterator[Simulator]:
    cameras = [SimulatedCamera("cam/wall", "CAM", login="u", password="p", width=320, height=180)]
    async with Simulator(cameras) as running:
        yield running


@dataclass
class Console:
    """An operator who watches a camera of the own district, and who comes next."""

    camera: UUID
    headers: dict[str, str]
    following: Person
    urls: dict[str, str]

    async def sign_over(self, client: httpx.AsyncClient) -> dict[str, str]:
        answer = await client.post(
            "/v1/sessions/current/sign-over",
            json={"login": self.following.login, "password": PASSWORD},
            headers=self.headers,
        )
        assert answer.status_code == 201, answer.text
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}


@pytest.fixture
async def console(client: httpx.AsyncClient, database: Database, keys: Keys, simulator: Simulator) -> Console:
    district = await factories.agency(database)
    camera = await factories.camera(database, district)
    await factories.source(database, keys, camera, simulator.url("cam/wall", with_credentials=True))
    first, following = await factories.person(database, district), await factories.person(database, district)
    headers = await factories.sign_in(client, first)
    given = await client.post("/v1/grants", json={"camera_ids": [str(camera)]}, headers=headers)
    assert given.status_code == 201, given.text
    streams = given.json()["grants"][0]["streams"]
    urls = {stream["protocol"]: "/v/" + stream["url"].split("/v/")[1] for stream in streams}
    return Console(camera, headers, following, urls)


async def views(database: Database, camera: UUID, closed: int) -> list[View]:
    """The camera's views, the oldest first, once so many are closed."""
    async with asyncio.timeout(10):
        while True:
            async with database.begin() as session:
                rows = (
                    await session.scalars(select(View).where(View.camera_id == camera).order_by(View.at, View.id))
                ).all()
            if sum(row.closed_at is not None for row in rows) >= closed:
                return list(rows)
            await asyncio.sleep(0.02)


async def test_the_picture_goes_on_over_the_change_of_shifts(
    client: httpx.AsyncClient, database: Database, console: Console
) -> None:
    async with client.stream("GET", console.urls["fmp4"]) as response:
        assert response.status_code == 200, await response.aread()
        parts = response.aiter_raw()
        await anext(parts)
        as_following = await console.sign_over(client)
        before, after = await views(database, console.camera, closed=1)
        async with asyncio.timeout(15):  # longer than any check that would cut it
            for _ in range(40):
                assert await anext(parts)
        assert (before.cause, before.closed_at is not None, after.closed_at) == ("signed_over", True, None)
        assert before.bytes > 0
        assert after.user_id == console.following.user_id
        assert (await client.delete("/v1/sessions/current", headers=as_following)).status_code == 204
        with pytest.raises(httpx.HTTPError):  # cut, as any view of a session that ended
            async with asyncio.timeout(10):
                async for _ in parts:
                    pass
    rows = await views(database, console.camera, closed=2)
    assert [row.cause for row in rows] == ["signed_over", "revoked"]
    assert rows[1].bytes > 0


async def test_a_playlist_is_answered_on_with_the_url_of_the_shift_before(
    client: httpx.AsyncClient, database: Database, console: Console
) -> None:
    playlist = console.urls["hls"]
    assert (await client.get(playlist)).status_code == 200
    await console.sign_over(client)
    await views(database, console.camera, closed=1)
    for _ in range(3):
        assert (await client.get(playlist)).status_code == 200
    before, after = await views(database, console.camera, closed=1)
    assert (before.cause, after.closed_at, after.user_id) == ("signed_over", None, console.following.user_id)


async def test_a_playlist_that_begins_with_the_url_of_the_shift_before_is_one_view(
    client: httpx.AsyncClient, database: Database, console: Console
) -> None:
    """As after a change of process, or of gateway: nobody here has heard of the shift before."""
    await console.sign_over(client)
    for _ in range(3):
        assert (await client.get(console.urls["hls"])).status_code == 200
    rows = await views(database, console.camera, closed=0)
    assert [(row.cause, row.user_id) for row in rows] == [("", console.following.user_id)]


async def test_a_console_that_comes_back_with_its_old_url_sees_the_next_shifts_picture(
    client: httpx.AsyncClient, database: Database, console: Console
) -> None:
    async with client.stream("GET", console.urls["fmp4"]) as response:
        parts = response.aiter_raw()
        await anext(parts)
        await console.sign_over(client)
        await views(database, console.camera, closed=1)
    async with client.stream("GET", console.urls["fmp4"]) as again:
        assert again.status_code == 200, await again.aread()
        assert await anext(again.aiter_raw())
    rows = await views(database, console.camera, closed=3)
    assert [row.user_id == console.following.user_id for row in rows] == [False, True, True]


@pytest.mark.parametrize("protocol", ["fmp4", "hls"])
async def test_a_tablets_old_url_goes_on_with_the_proof_that_belongs_to_it(
    client: httpx.AsyncClient, database: Database, console: Console, protocol: str
) -> None:
    async with database.begin() as session:
        district = await session.scalar(
            select(CameraPosition.owner_agency_id).where(CameraPosition.id == console.camera)
        )
        made = await terminals.enrol(session, None, name="순찰 태블릿", kind="tablet", agency_id=district)
    assert district is not None
    first = await factories.person(database, district)
    body = {"login": first.login, "password": PASSWORD, "terminal_key": made.device_key}
    token = (await client.post("/v1/sessions", json=body)).json()["access_token"]
    console.headers = {"Authorization": f"Bearer {token}"}
    asked = {"camera_ids": [str(console.camera)], "protocols": [protocol]}
    grant = (await client.post("/v1/grants", json=asked, headers=console.headers)).json()["grants"][0]
    url = "/v/" + grant["streams"][0]["url"].split("/v/")[1]
    proof = {"proof": proof_of(made.device_key, UUID(grant["grant_id"]), console.camera)}
    await console.sign_over(client)
    for shown, status in (({"proof": "x"}, 403), ({}, 403), (proof, 200), (proof, 200)):
        async with client.stream("GET", url, params=shown) as response:
            assert response.status_code == status, await response.aread()
            assert await anext(response.aiter_raw())


async def test_the_feed_of_who_leaves_ends(base_url: str, client: httpx.AsyncClient, console: Console) -> None:
    async with feed(base_url, console.headers) as told:
        as_following = await console.sign_over(client)
        await asyncio.wait_for(told.socket.wait_closed(), 5)
    async with feed(base_url, as_following) as told:
        assert told.welcome["type"] == "welcome"


async def test_a_wall_does_not_hang_on_the_announcement(
    client: httpx.AsyncClient, database: Database, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is late, or lost with the connection: whoever finds the old grant over asks what carries it on."""

    async def unsaid(*_: object) -> None: ...

    monkeypatch.setattr(duties, "announce", unsaid)
    async with client.stream("GET", console.urls["fmp4"]) as response:
        parts = response.aiter_raw()
        await anext(parts)
        await console.sign_over(client)
        before, after = await views(database, console.camera, closed=1)
        async with asyncio.timeout(15):
            for _ in range(20):
                assert await anext(parts)
    assert (before.cause, after.closed_at, after.user_id) == ("signed_over", None, console.following.user_id)
