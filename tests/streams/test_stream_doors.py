"""The doors to footage: what they pass on, what must not be kept, and ends that reach an answer in flight."""

import asyncio
import socket as sockets
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.errors import BoundElsewhere, CameraOffline
from app.routers import streams as door
from app.streams.embedded import hls
from app.streams.embedded.boxes import Fragment
from tests.streams.playing import FilmPull, HandEdge, HandPulls, doors, film
from tests.streams.watching import decoded, until

TOKEN = "t" * 80
OURS, PLAIN = "app.transports:HttpProtocol", "uvicorn.protocols.http.h11_impl:H11Protocol"
LARGE = 8 << 20


class Scene:
    def __init__(self, host: str, edge: HandEdge, pulls: HandPulls, *, below: bool) -> None:
        self.host, self.edge, self.pulls, self.below = host, edge, pulls, below

    @property
    def pull(self) -> FilmPull:
        assert self.pulls.now is not None
        return self.pulls.now

    async def playlist(self, client: httpx.AsyncClient, **query: str) -> str:
        """The playlist once it has two segments."""
        asking = asyncio.create_task(client.get(f"/v/{TOKEN}/index.m3u8", params=query))
        await until(lambda: self.edge.players)
        self.pull.give(60)
        return (await asking).text


@pytest.fixture(params=["below ASGI", "through ASGI"])
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    pulls = HandPulls([FilmPull()])
    edge = HandEdge(pulls)
    below = request.param == "below ASGI"
    async with doors(edge, http=OURS if below else PLAIN) as host:
        yield Scene(host, edge, pulls, below=below)


@pytest.fixture
async def client(scene: Scene) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{scene.host}", timeout=5) as made:
        yield made


async def test_a_progressive_file_plays_and_is_cut(scene: Scene, client: httpx.AsyncClient) -> None:
    data = b""
    with pytest.raises(httpx.HTTPError):
        async with client.stream("GET", f"/v/{TOKEN}/live.mp4") as response:
            assert response.headers["content-type"] == "video/mp4"
            assert response.headers["cache-control"] == "no-store"
            async for part in response.aiter_raw():
                data += part
                if scene.pull.next < 40:
                    scene.pull.give(3)
                elif len(data) >= scene.edge.players[0].bytes - 8 * 60:
                    scene.edge.players[0].end("revoked")
    assert len(decoded(data)) >= 40
    assert await scene.edge.players[0].ended == "revoked"


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_the_body_is_framed_as_the_head_says(scene: Scene, version: str) -> None:
    """Proxies ask with HTTP/1.0 unless they are told otherwise."""
    reader, writer = await asyncio.open_connection(*scene.host.split(":"))
    writer.write(f"GET /v/{TOKEN}/live.mp4 HTTP/{version}\r\nHost: x\r\n\r\n".encode())
    head, opening = await reader.readuntil(b"\r\n\r\n"), film().init.data
    if b"transfer-encoding: chunked" in head.lower():
        assert await reader.readline() == b"%x\r\n" % len(opening)
    assert await reader.readexactly(len(opening)) == opening
    scene.edge.players[0].end("revoked")
    writer.close()


async def test_hls_plays_by_its_playlist_alone(scene: Scene, client: httpx.AsyncClient) -> None:
    text = await scene.playlist(client)
    (init,) = [line.partition('"')[2].rstrip('"') for line in text.splitlines() if "EXT-X-MAP" in line]
    names = [line for line in text.splitlines() if line.endswith(".m4s")]
    base = f"/v/{TOKEN}"
    frames = 0
    for name in names:
        answers = [await client.get(f"{base}/{part}") for part in (init, name)]
        assert [answer.headers["content-type"] for answer in answers] == ["video/mp4", "video/iso.segment"]
        frames += len(decoded(b"".join(answer.content for answer in answers)))
    assert frames >= 30
    player = scene.edge.players[0]
    assert player.bytes >= sum(len(player.channel.playlist.segment(int(name[:-4])) or b"") for name in names)
    assert player.first_byte_at is not None
    assert (await client.get(f"{base}/init.mp4")).content == film().init.data
    for gone in ("init-000000000000.mp4", "12.m4s", "init-x/../../y.mp4"):
        assert (await client.get(f"{base}/{gone}")).status_code == 404
    assert len(scene.edge.players) == 1


@pytest.mark.parametrize("name", ["live.mp4", "index.m3u8", "1.m4s", "init.mp4", "snapshot.jpg"])
async def test_nothing_of_a_stream_may_be_kept_and_the_proof_is_passed_on(
    scene: Scene, client: httpx.AsyncClient, name: str
) -> None:
    await scene.playlist(client)
    scene.edge.asked.clear()
    number = scene.edge.players[0].channel.playlist._segments[-1].number
    path = f"/v/{TOKEN}/{name.replace('1.m4s', f'{number}.m4s')}"
    async with client.stream("GET", path, params={"proof": "p+/=", "token": "x", "more": "y"}) as response:
        assert response.status_code == 200
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert "etag" not in response.headers
        assert "last-modified" not in response.headers
    (asking,) = scene.edge.asked
    assert (asking.proof, asking.peer) == ("p+/=", "127.0.0.1")
    assert asking.protocol == {"live.mp4": "fmp4", "snapshot.jpg": "snapshot"}.get(name, "hls")
    assert (await client.get(path, params={"proof": "x" * 201})).status_code == 422
    refused = await client.head(path)
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET")
    for refusal in (BoundElsewhere("elsewhere"), CameraOffline("no picture", retry_after_seconds=2)):
        scene.edge.no = refusal
        if name != "snapshot.jpg":
            refused = await client.get(path)
            assert (refused.status_code, refused.json()["code"]) == (refusal.kind.status, refusal.code)
            assert refused.headers["cache-control"] == "no-store"


async def test_what_the_playlist_names_is_asked_for_with_the_proof(scene: Scene, client: httpx.AsyncClient) -> None:
    text = await scene.playlist(client, proof="a b&c")
    uris = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert uris
    assert all(uri.endswith(".m4s?proof=a%20b%26c") for uri in uris)
    assert '.mp4?proof=a%20b%26c"' in text
    assert (await client.get(f"/v/{TOKEN}/{uris[0]}")).status_code == 200
    assert {asking.proof for asking in scene.edge.asked} == {"a b&c"}


class Slow:
    """A client that asks for something and does not read it."""

    def __init__(self, host: str) -> None:
        self.socket = sockets.socket()
        self.socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 8192)
        self.socket.connect(("127.0.0.1", int(host.split(":")[1])))

    def ask(self, path: str) -> None:
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    async def read(self) -> tuple[int, str]:
        """All that still comes, and how it ended."""
        self.socket.setblocking(False)
        loop, came = asyncio.get_running_loop(), 0
        try:
            while data := await asyncio.wait_for(loop.sock_recv(self.socket, 1 << 16), 5):
                came += len(data)
        except ConnectionResetError:
            return came, "reset"
        finally:
            self.socket.close()
        return came, "closed"


async def large_segment(scene: Scene, client: httpx.AsyncClient) -> int:
    """The number of a segment that no buffer holds; it is answered, not decoded."""
    await scene.playlist(client)
    pull = scene.pull
    frame = film().fragments[0]
    for number in range(2):
        pull.segment_began = -(1 << 40)
        pull._publish(Fragment(b"x" * LARGE, frame.decode_time, frame.duration, True))
        pull.segment += number
    return scene.edge.players[0].channel.playlist._segments[-1].number


async def test_an_end_reaches_a_segment_that_is_being_taken(scene: Scene, client: httpx.AsyncClient) -> None:
    number = await large_segment(scene, client)
    player, before = scene.edge.players[0], scene.edge.players[0].bytes
    slow = Slow(scene.host)
    slow.ask(f"/v/{TOKEN}/{number}.m4s")
    await until(lambda: player._answering or player.bytes > before)
    await asyncio.sleep(0.1)
    player.end("revoked")
    if scene.below:
        assert not player._answering
        counted = player.bytes - before
    came, ended = await slow.read()
    assert came < LARGE / 2
    if scene.below:
        assert ended == "reset"
        assert came <= counted + 300 < LARGE / 2, "what never left is not counted as carried"
    assert (await client.get(f"/v/{TOKEN}/{number}.m4s")).status_code in (404, 200), "another player, if at all"


async def test_who_takes_a_segment_too_slowly_loses_the_connection(
    scene: Scene, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = await large_segment(scene, client)
    monkeypatch.setattr(door, "ANSWER_SECONDS", 0.1)
    slow = Slow(scene.host)
    slow.ask(f"/v/{TOKEN}/{number}.m4s")
    await asyncio.sleep(0.4)
    came, _ = await slow.read()
    assert came < LARGE
    assert not scene.edge.players[0].ended.done(), "the view goes on: the next segment may fare better"


async def test_a_connection_serves_one_answer_after_the_other(scene: Scene, client: httpx.AsyncClient) -> None:
    """The limits that an answer set on its connection do not outlive it."""
    number, used = await large_segment(scene, client), list[Any]()
    player = scene.edge.players[0]
    answering = player.answering
    player.answering = lambda transport, size: (used.append(transport), answering(transport, size))[1]  # type: ignore[method-assign]
    for _ in range(3):
        assert len((await client.get(f"/v/{TOKEN}/{number}.m4s")).content) == LARGE
        assert (await client.get(f"/v/{TOKEN}/index.m3u8")).status_code == 200
    assert not player._answering
    assert player.bytes > 3 * LARGE
    assert len(used) == (6 if scene.below else 0)
    assert all(transport.get_write_buffer_limits() > (0, 0) for transport in used)


async def test_an_answer_never_begins_after_the_end(scene: Scene, client: httpx.AsyncClient) -> None:
    await scene.playlist(client)
    real = scene.edge.hls

    async def ending(token: str, asking: Any) -> Any:
        player = await real(token, asking)
        player.end("revoked")
        return player

    scene.edge.hls = ending  # type: ignore[method-assign]
    held = scene.edge.players[0].channel.held()
    with held:
        for name in ("index.m3u8", "init.mp4"):
            refused = await client.get(f"/v/{TOKEN}/{name}")
            assert (refused.status_code, refused.json()["code"]) == (403, "grant_ended")


async def test_a_playlist_that_takes_too_long_is_an_instruction(
    scene: Scene, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hls, "READY_SECONDS", 0.05)
    refused = await client.get(f"/v/{TOKEN}/index.m3u8")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
