"""Which gateway carries a camera, which of its streams, and under which URL."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.announcements import Announcements
from app.database import Database
from app.errors import GatewayUnavailable, NotFound
from app.keys import Keys
from app.streams import placement
from app.streams.gateway import Health
from app.streams.placement import EDGE_PATHS, Gateways, Known
from app.streams.profiles import Offer, Wanted, choose
from app.streams.urls import Pass, read, write
from app.streams.writer import Given
from tests import factories

KEYS = Keys(b"a key for tests that is long enough")
USUAL = Known(
    "a", "embedded", {"default": "http://a"}, 100, 100, draining=False, ok=True, word="", silent_seconds=0, viewers=0,
    cameras=0,
)  # fmt: skip
LATER = datetime(2100, 1, 1, tzinfo=UTC)
CAMERAS = [uuid4() for _ in range(1000)]


def knowing(*known: Known) -> Gateways:
    made = Gateways(None, KEYS, Announcements("postgresql://nowhere/x"))  # type: ignore[arg-type]
    made._known = {one.name: one for one in known}
    return made


def named(name: str, **changes: object) -> Known:
    return replace(USUAL, name=name, public_urls=changes.pop("urls", {"default": f"http://{name}"}), **changes)


def home(gateways: Gateways, camera: UUID, zone: str = "default") -> str:
    return gateways.place(camera, [], zone)[0].name


def test_every_process_places_alike_and_shares_follow_capacity() -> None:
    one = knowing(named("a"), named("b"), named("c", capacity_cameras=200))
    two = knowing(named("c", capacity_cameras=200), named("b"), named("a"))
    assert [home(one, camera) for camera in CAMERAS] == [home(two, camera) for camera in CAMERAS]
    shares = Counter(home(one, camera) for camera in CAMERAS)
    assert 0.40 < shares["c"] / 1000 < 0.60
    assert 0.17 < shares["a"] / 1000 < 0.33


@pytest.mark.parametrize("change", [{"draining": True}, {"ok": False}, {"silent_seconds": 3.5}])
def test_only_the_cameras_of_a_gateway_that_goes_move(change: dict[str, object]) -> None:
    before, after = knowing(named("a"), named("b"), named("c")), knowing(named("a", **change), named("b"), named("c"))
    for camera in CAMERAS:
        was = home(before, camera)
        assert home(after, camera) == (before.place(camera, [], "default")[1].name if was == "a" else was)


def test_a_full_gateway_comes_last_and_is_still_there() -> None:
    gateways = knowing(named("a", viewers=100), named("b", cameras=100), named("c"))
    for camera in CAMERAS[:50]:
        assert home(gateways, camera) == "c"
        assert len(gateways.place(camera, [], "default")) == 3


def test_viewers_get_the_urls_of_their_zone() -> None:
    gateways = knowing(named("a", urls={"default": "http://a", "police": "http://10.1.1.1"}), named("b"))
    camera = CAMERAS[0]
    (chosen, *_) = gateways.place(camera, [], "police")
    assert chosen.name == "a"
    ticket = Pass(uuid4(), LATER, camera, LATER)
    for zone, base in (("police", "http://10.1.1.1"), ("default", "http://a"), ("elsewhere", "http://a")):
        urls = {url["protocol"]: url["url"] for url in chosen.urls(ticket, ["fmp4", "mse"], zone)}
        assert urls["fmp4"].startswith(f"{base}/v/")
        assert urls["mse"].startswith("ws" + base.removeprefix("http"))


def test_a_protocol_that_nobody_gives_finds_nobody() -> None:
    assert knowing(named("a")).place(CAMERAS[0], ["whep"], "default") == []
    assert [one.name for one in knowing(named("a")).place(CAMERAS[0], ["whep", "hls"], "default")] == ["a"]


class Slow:
    """A gateway of another kind, which never answers."""

    kind, protocols = "mediamtx", ("whep", "hls")

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked = 0

    async def ensure(self, camera_id: UUID, profile: str, address: str) -> None:
        self.asked += 1
        raise GatewayUnavailable("it does not answer")

    async def health(self) -> Health:
        return Health(True, "so it says")

    def drain(self, *, on: bool) -> None:
        pass


async def test_when_a_gateway_does_not_answer_the_next_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow("a")
    gateways = knowing(named("a", kind="mediamtx"), named("b"))
    gateways.drive(slow, public_urls={"default": "http://a"}, viewers=1, cameras=1)  # type: ignore[arg-type]

    async def address(*_: object) -> str:
        return "rtsp://192.0.2.1/"

    monkeypatch.setattr(placement.sources, "address", address)
    given = Given(uuid4(), LATER, CAMERAS[0], LATER, uuid4(), (Offer("main", "avc1.4d401f", 1920, 1080),))
    for camera in CAMERAS[:20]:
        streams = await gateways.streams(replace(given, camera_id=camera), Wanted(), ["hls"], "default")
        assert streams[0]["url"].startswith("http://b/v/")
        assert (streams[0]["codec"], streams[0]["width"], streams[0]["latency"]) == ("avc1.4d401f", 1920, "standard")
    assert slow.asked > 0
    with pytest.raises(GatewayUnavailable):
        await gateways.streams(given, Wanted(), ["whep"], "default")


@given(
    st.permutations([Offer("main", "hvc1.1.6.L93.b0", 3840, 2160, 8000), Offer("sub", "avc1.42c01e", 640, 360, 500)])
)
def test_which_stream_suits(offers: list[Offer]) -> None:
    def chosen(**wanted: object) -> str:
        return choose(offers, Wanted(**wanted)).profile  # type: ignore[arg-type]

    assert chosen() == "main"
    assert chosen(mobile=True) == "sub"
    assert chosen(mobile=True, quality="main") == "main"
    assert chosen(quality="sub") == "sub"
    assert chosen(max_kbps=1000) == "sub"
    assert chosen(codecs=("h264",)) == "sub"
    assert chosen(codecs=("h264", "h265")) == "main"
    assert chosen(codecs=("h264",), quality="main") == "sub", "what cannot be played is of no use"


def test_a_camera_that_has_one_stream_gives_it() -> None:
    only = [Offer("main", "hvc1.1.6.L93.b0", 3840, 2160, 8000)]
    assert choose(only, Wanted(mobile=True, max_kbps=100, codecs=("h264",))) is only[0]
    assert choose([], Wanted(mobile=True)) == Offer("main")


def test_the_profile_is_part_of_what_is_signed() -> None:
    ticket = Pass(uuid4(), LATER, CAMERAS[0], LATER, "sub")
    assert read(KEYS, write(KEYS, ticket)) == ticket


async def test_a_gateway_is_drained_by_command_and_comes_back(
    database: Database, database_url: str, keys: Keys
) -> None:
    news = Announcements(database_url)
    listening = asyncio.create_task(news.run())
    gateways = Gateways(database, keys, news)
    name = f"edge-{uuid4().hex[:6]}"

    class Edge(Slow):
        kind, protocols = "embedded", tuple(EDGE_PATHS)
        drained: bool | None = None

        def drain(self, *, on: bool) -> None:
            self.drained = on

    edge = Edge(name)
    gateways.drive(edge, public_urls={"default": "http://edge"}, viewers=5, cameras=5)  # type: ignore[arg-type]
    running = asyncio.create_task(gateways.run())

    async def until(state: bool) -> None:
        async with asyncio.timeout(5):
            while edge.drained is not state:  # noqa: ASYNC110 - another task tells it
                await asyncio.sleep(0.02)

    try:
        await until(False)
        async with database.begin() as session:
            await placement.set_draining(session, name, on=True)
        await until(True)
        assert all(one.name != name for one in gateways.place(CAMERAS[0], [], "default"))
        async with database.begin() as session:
            await placement.set_draining(session, name, on=False)
        await until(False)
        with pytest.raises(NotFound):
            async with database.begin() as session:
                await placement.set_draining(session, "nobody", on=True)
    finally:
        running.cancel()
        listening.cancel()


async def test_administrators_see_the_gateways(client: httpx.AsyncClient, database: Database) -> None:
    admin = await headers_of(client, database, "admin")
    items = (await client.get("/v1/gateways", headers=admin)).json()["items"]
    assert any(item["name"] == "gwanje" and item["usable"] for item in items)
    assert not any("http" in str(item) for item in items)
    officer = await headers_of(client, database, "room")
    assert (await client.get("/v1/gateways", headers=officer)).status_code == 403


async def headers_of(client: httpx.AsyncClient, database: Database, role: str) -> dict[str, str]:
    return await factories.sign_in(
        client, await factories.person(database, await factories.agency(database), role)
    )  # fmt: skip
