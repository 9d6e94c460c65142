"""Time to the first decodable picture of a camera: through Gwanje's URL, and by ffmpeg that reads the camera directly.

Both by one measure: from the start of the request (of the process) until the init segment and the first key frame's
fragment are complete in hand; that they decode is checked off the clock. ffmpeg runs with the very flags of the
gateway's own. Cold means a camera that nobody watches; running means one that films already, joined at a random
moment, with its newest key frame up to two seconds old. A running camera is joined over a WebSocket, too, where the
service gives that; both are put beside one round trip, a request for `/healthz` on a connection of its own. The grant
is asked for before, and shown apart.
"""

import asyncio
import io
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from random import Random
from statistics import median
from time import perf_counter
from uuid import UUID

import av
import httpx
from websockets.asyncio.client import connect as open_websocket

from app.database import connect
from app.keys import Keys
from app.registry.addresses import networks_of, safe_source
from app.settings import Settings
from app.streams.embedded.boxes import Init, Splitter
from app.streams.embedded.camera_pull import _command
from app.streams.embedded.rtsp import Track
from app.streams.embedded.rtsp_proxy import Camera
from bench.scene import Scene, conclude, scene, table, turns
from tests import factories
from tests.processes import children, service

ROUNDS = 5
CONTENDERS = ("gwanje", "ffmpeg")
MSE, ROUND_TRIP = "gwanje over mse running", "round trip"
ASKED = {"purpose": "emergency_response", "basis": "KR-PIPA-18-2-3"}


@asynccontextmanager
async def simulator(count: int) -> AsyncIterator[tuple[int, list[str]]]:
    """A process of simulated cameras: its id, and their addresses."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.demo.simulator", "--port", "0", "--cameras", str(count),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield process.pid, [(await process.stdout.readline()).split()[0].decode() for _ in range(count)]
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


async def _track(url: str) -> Track:
    """What a camera says of its video; nothing is played."""
    allowed = networks_of("127.0.0.0/8")
    camera = Camera(safe_source(url, allowed))
    track = await camera.open("127.0.0.1")
    camera.leave()
    return track


async def _first_key_frame(pieces: AsyncIterator[bytes], began: float) -> float:
    """Milliseconds until the init segment and the first key frame are at hand."""
    splitter, picture = Splitter(), b""
    async for piece in pieces:
        for item in splitter.feed(piece):
            picture += item.data
            if not isinstance(item, Init) and item.starts_with_key_frame:
                took = perf_counter() - began
                with av.open(io.BytesIO(picture)) as container:
                    assert next(container.decode(video=0)).width
                return took * 1e3
    raise RuntimeError("the stream ended before its first key frame")


async def _by_ffmpeg(url: str, track: Track) -> float:
    began = perf_counter()
    process = await asyncio.create_subprocess_exec(
        *_command(url, track), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, env={}
    )
    stdout = process.stdout
    assert stdout is not None

    async def pieces() -> AsyncIterator[bytes]:
        while piece := await stdout.read(1 << 16):
            yield piece

    try:
        return await asyncio.wait_for(_first_key_frame(pieces(), began), 15)
    finally:
        process.kill()
        await process.communicate()


@asynccontextmanager
async def _by_gwanje(url: str) -> AsyncIterator[float]:
    """The time it took; the view goes on for as long as the block lasts."""
    async with httpx.AsyncClient(timeout=15) as client:
        began = perf_counter()
        async with client.stream("GET", url) as answer:
            assert answer.status_code == 200, await answer.aread()
            pieces = answer.aiter_raw()
            async with aclosing(pieces):
                yield await _first_key_frame(pieces, began)


async def _by_mse(url: str) -> float:
    """Over a WebSocket, whose binary messages are the same boxes."""
    began = perf_counter()
    async with open_websocket(url.replace("http", "ws", 1), compression=None) as socket:

        async def pieces() -> AsyncIterator[bytes]:
            async for said in socket:
                if isinstance(said, bytes):
                    yield said

        return await asyncio.wait_for(_first_key_frame(pieces(), began), 15)


async def _round_trip(base_url: str) -> float:
    """A new connection, a request that needs nothing, and its answer."""
    async with httpx.AsyncClient(timeout=15) as client:
        began = perf_counter()
        answer = await client.get(f"{base_url}/healthz")
        took = perf_counter() - began
    assert answer.status_code == 200
    return took * 1e3


async def _grant(client: httpx.AsyncClient, camera_id: UUID, protocol: str = "fmp4") -> tuple[str, float]:
    """A fresh URL, empty where the protocol is not given, and the milliseconds until it was in hand."""
    began = perf_counter()
    answer = await client.post("/v1/grants", json={"camera_ids": [str(camera_id)], "protocols": [protocol], **ASKED})
    took = perf_counter() - began
    if protocol != "fmp4" and answer.status_code != 201:
        return "", 0.0
    assert answer.status_code == 201, answer.text
    streams = answer.json()["grants"][0]["streams"]
    return streams[0]["url"] if streams else "", took * 1e3


async def _quiet(simulating: int) -> None:
    """Until no camera films any more: the gateway and the simulator linger some seconds."""
    async with asyncio.timeout(30):
        while children(simulating):  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.05)


async def _contest(place: Scene, url: str) -> None:
    took: dict[str, list[float]] = defaultdict(list)
    random = Random(7)
    keys = Keys(Settings(home=place.folder / "service").secret_key)
    async with (
        connect(url) as database,
        simulator(2 * ROUNDS + 2) as (simulating, addresses),
        service(place.folder / "service", GWANJE_DATABASE_URL=url) as running,
        httpx.AsyncClient(base_url=running.base_url, timeout=15) as client,
    ):
        owner, police = await factories.agency(database), await factories.agency(database, "police")
        await factories.agreement(database, owner, police)
        client.headers.update(await factories.sign_in(client, await factories.person(database, police, "room")))
        cameras = [await factories.camera(database, owner) for _ in addresses]
        for camera_id, address in zip(cameras, addresses, strict=True):
            await factories.source(database, keys, camera_id, address)
        known = list(zip(cameras, addresses, strict=True))
        track = await _track(addresses[0])
        for number, order in enumerate(turns(ROUNDS + 1, CONTENDERS)):
            for name in order:
                await _quiet(simulating)
                camera_id, address = known.pop()
                if name == "ffmpeg":
                    found = {"ffmpeg cold": await _by_ffmpeg(address, track)}
                else:
                    found = await _through_gwanje(client, camera_id, address, track, random)
                if number:  # the first round only warms up
                    for what, milliseconds in found.items():
                        took[what].append(milliseconds)
    _report(took)


async def _through_gwanje(
    client: httpx.AsyncClient, camera_id: UUID, address: str, track: Track, random: Random
) -> dict[str, float]:
    """Cold, and then, while that view runs, both join the running camera at random moments of its group of pictures."""
    found = {}
    url, found["grant"] = await _grant(client, camera_id)
    async with _by_gwanje(url) as found["gwanje cold"]:
        other, _ = await _grant(client, camera_id)
        await asyncio.sleep(random.uniform(0.2, 2.2))
        async with _by_gwanje(other) as found["gwanje running"]:
            pass
        found[ROUND_TRIP] = await _round_trip(str(client.base_url).rstrip("/"))
        over_mse, _ = await _grant(client, camera_id, "mse")
        await asyncio.sleep(random.uniform(0.2, 2.2))
        if over_mse:
            found[MSE] = await _by_mse(over_mse)
        await asyncio.sleep(random.uniform(0.2, 2.2))
        found["ffmpeg running"] = await _by_ffmpeg(address, track)
    return found


def _report(took: dict[str, list[float]]) -> None:
    middle = {name: median(times) for name, times in took.items()}
    trip = middle[ROUND_TRIP]
    rows = []
    for name in ("gwanje cold", "ffmpeg cold", "gwanje running", MSE, "ffmpeg running", ROUND_TRIP, "grant"):
        if name not in took:
            continue
        times, own = took[name], middle[name]
        direct = middle.get(f"ffmpeg {name.rpartition(' ')[2]}")
        beside = [own - direct, own / direct] if direct else ["", ""]
        rows.append([name, own, min(times), max(times), *beside, own / trip])
    head = ("contender, camera", "ms", "least", "most", "− ffmpeg, ms", "× ffmpeg", "× round trip")
    table(f"time to the first decodable picture, medians of {ROUNDS} rounds", head, rows)
    ratios = {
        "cold_to_ffmpeg": middle["gwanje cold"] / middle["ffmpeg cold"],
        "running_to_ffmpeg": middle["gwanje running"] / middle["ffmpeg running"],
        "running_to_round_trip": middle["gwanje running"] / trip,
        "cold_with_grant_to_ffmpeg": (middle["gwanje cold"] + middle["grant"]) / middle["ffmpeg cold"],
    }
    if MSE in took:
        ratios["mse_running_to_ffmpeg"] = middle[MSE] / middle["ffmpeg running"]
        ratios["mse_running_to_round_trip"] = middle[MSE] / trip
    conclude("first_frame", ratios, ROUNDS)


async def main() -> None:
    with scene() as place:
        (place.folder / "service").mkdir()
        async with place.database() as url:
            await _contest(place, url)


if __name__ == "__main__":
    asyncio.run(main())
