"""The synthetic city: laws of its generator, its loading into a real database, and `gwanje demo` as a process."""

import asyncio
import json
import math
import os
import shutil
import signal
import stat
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import shapely
from shapely.geometry import Point
from sqlalchemy import func, select

from app import database as db
from app.access.codes import BASES, USE_PURPOSES
from app.access.roles import ROLES, VERBS
from app.access.sessions import Attempt, SignedIn
from app.database import Database
from app.demo.city import City, generate
from app.demo.city.ground import in_metres, to_metres
from app.demo.city.load import is_empty, load
from app.demo.city.records import Demo, read_rig
from app.demo.city.streets import METRO
from app.demo.simulator import SimulatedCamera
from app.errors import Conflict, UnsafeSource
from app.keys import Keys
from app.models import AGENCY_KINDS, UNIT_KINDS, Agency, Area, Asset, CameraPosition, Site, StreamSource, Unit
from app.registry import cameras, sources
from app.registry.cameras import Near, Search
from app.registry.codes import INSTALLATION_PURPOSES
from app.settings import Settings
from tests import processes
from tests.actors import log_in

KINDS = {
    "admin": "admin", "district_operator": "operator", "shift_lead": "shift_lead", "police_room": "room",
    "fire_room": "room", "patrol_unit": "field", "integration": "integration", "auditor": "auditor",
}  # fmt: skip


@pytest.fixture(scope="module")
def city() -> City:
    return generate()


# The generator


def test_a_seed_makes_one_city_to_the_last_id(city: City) -> None:
    assert generate() == city
    assert generate(seed=1).sites != city.sites


def test_it_is_as_large_as_promised(city: City) -> None:
    assert len(city.municipalities) == 25
    assert all(3 <= len(each.neighbourhoods) <= 6 for each in city.municipalities)
    assert sum(len(site.cameras) for site in city.sites) == 4000
    assert 2900 <= len(city.sites) <= 3100
    assert 290 <= len(city.bells) <= 310
    assert city.poles
    assert len(city.streams) == 42
    with pytest.raises(ValueError, match="1000"):
        generate(cameras=999)


@pytest.mark.parametrize("seed", [119, 0, 1, 2, 3])
def test_polygons_tile_the_city(seed: int) -> None:
    city = generate(seed, cameras=1000)
    parts = [part.boundary for each in city.municipalities for part in each.neighbourhoods]
    wholes = [each.boundary for each in city.municipalities]
    for boundary in (city.boundary, *wholes, *parts):
        assert boundary.geom_type == "Polygon"
        assert boundary.is_valid
        assert not boundary.interiors
    for group in (wholes, parts):
        assert_disjoint(group)
        assert shapely.union_all(group).equals(city.boundary)  # nothing is missing and nothing is too much
    for each in city.municipalities:
        assert shapely.union_all([part.boundary for part in each.neighbourhoods]).equals(each.boundary)


def assert_disjoint(polygons: list[Any]) -> None:
    for one, other in shapely.STRtree(polygons).query(polygons, predicate="intersects").T.tolist():
        assert one == other or polygons[one].touches(polygons[other])


def test_every_camera_and_asset_lies_inside_its_municipality(city: City) -> None:
    boundary = {each.code: each.boundary for each in city.municipalities}
    for site in city.sites:
        for camera in site.cameras:
            assert boundary[site.municipality].contains(Point(camera.longitude, camera.latitude))
    for asset in (*city.bells, *city.poles):
        assert boundary[asset.municipality].contains(Point(asset.longitude, asset.latitude))


def test_sites_crowd_along_streets_and_around_centres(city: City) -> None:
    """The mean distance to the nearest other site, against that of uniform ones (Clark and Evans: about 1)."""
    xy = [to_metres((site.cameras[0].latitude, site.cameras[0].longitude)) for site in city.sites]
    points = shapely.points(xy)
    _, distances = shapely.STRtree(points).query_nearest(
        points, exclusive=True, all_matches=False, return_distance=True
    )
    uniform = 0.5 / math.sqrt(len(xy) / in_metres(city.boundary).area)
    assert distances.mean() < 0.7 * uniform


def test_ids_are_unique_and_everything_refers_to_something(city: City) -> None:
    found = {camera.id: camera for site in city.sites for camera in site.cameras}
    site_ids = {site.id for site in city.sites}
    ids = [*found, *site_ids, *(each.id for each in (*city.bells, *city.poles, *city.units))]
    assert len(set(ids)) == len(ids)
    keys = [each.key for each in city.institutions]
    assert len(set(keys)) == len(keys)
    poles = {pole.id for pole in city.poles}
    for bell in city.bells:
        assert bell.site_id in site_ids
        assert bell.pole_id is None or bell.pole_id in poles
        distances = [
            math.dist((found[each].latitude, found[each].longitude), (bell.latitude, bell.longitude))
            for each in bell.camera_ids
        ]
        assert distances[0] == 0.0, "a bell hangs on a camera's site"
    assert any(bell.pole_id for bell in city.bells)
    assert {stream.camera_id for stream in city.streams} <= set(found)
    seen: set[str] = set()
    for each in city.institutions:
        assert each.kind in (*AGENCY_KINDS, *UNIT_KINDS)
        assert each.parent is None or each.parent in seen, "parents come before their parts"
        seen.add(each.key)
    assert {site.owner for site in city.sites} <= seen
    assert {unit.institution for unit in city.units} <= seen
    assert {account.institution for account in city.accounts} <= seen


def test_numbers_and_names_are_unique_where_they_must_be(city: City) -> None:
    for column in (
        [(site.owner, site.management_number) for site in city.sites],
        [site.address for site in city.sites],
        [(each.owner, each.kind, each.management_number) for each in (*city.bells, *city.poles)],
        [(unit.institution, unit.call_sign) for unit in city.units],
        [stream.path for stream in city.streams],
        [part.name for each in city.municipalities for part in each.neighbourhoods],
    ):
        assert Counter(column).most_common(1)[0][1] == 1


def test_codes_have_the_shape_of_real_ones_and_are_none(city: City) -> None:
    """No Korean province has the legal-dong prefix 90, no local authority a code that begins with 99."""
    codes = [city.code, *(each.code for each in city.municipalities)]
    codes += [part.code for each in city.municipalities for part in each.neighbourhoods]
    assert all(len(code) == 10 and code.startswith("90") for code in codes)
    assert len(set(codes)) == len(codes)
    authorities = [city.authority_code, *(each.authority_code for each in city.municipalities)]
    assert all(len(code) == 7 and code.startswith("99") for code in authorities)
    assert len(set(authorities)) == 26
    for site in city.sites:
        assert set(site.purposes) <= set(INSTALLATION_PURPOSES)
    for share in city.shares:
        assert set(share.verbs) <= set(VERBS)
        assert set(share.use_purposes) <= set(USE_PURPOSES)
        assert set(share.bases) <= set(BASES)
    assert {account.kind: account.role for account in city.accounts} == KINDS
    assert set(KINDS.values()) <= set(ROLES)


def test_most_streams_are_around_the_place(city: City) -> None:
    camera = {each.id: each for site in city.sites for each in site.cameras}
    near = 0
    for stream in city.streams:
        SimulatedCamera(stream.path, stream.caption)  # the simulator takes such a path and caption
        at = camera[stream.camera_id]
        assert at.status == "active"
        metres = math.dist(to_metres((at.latitude, at.longitude)), to_metres(city.place))
        near += stream.owner == city.demo_district and metres < 500
    assert near >= 24
    assert sum(stream.locked for stream in city.streams) == 2
    assert sum(stream.offline for stream in city.streams) == 1
    assert sum(stream.audible for stream in city.streams) == 1


# Loading


@pytest.fixture(scope="module")
async def loaded(databases: Any, city: City, keys: Keys) -> AsyncIterator[tuple[Database, Settings, Demo]]:
    name = f"city_{uuid4().hex[:12]}"
    await databases.create(name)
    home = Path(tempfile.mkdtemp())
    settings = Settings(home=home, allow_camera_networks="127.0.0.0/8")
    try:
        async with db.connect(databases.url(name)) as base:
            assert await is_empty(base)
            said: list[float] = []
            demo = await load(base, keys, settings, city, progress=lambda _, done: said.append(done))
            assert said == sorted(said)
            assert said[-1] == 1.0
            yield base, settings, demo
    finally:
        await databases.drop(name)
        shutil.rmtree(home)


async def signed_in(base: Database, demo: Demo, kind: str) -> SignedIn:
    login = next(user["login"] for user in demo.users if user["kind"] == kind)
    async with base.begin() as session:
        found = await log_in(session, Attempt(login, demo.password(kind), "127.0.0.1"))
    assert isinstance(found, SignedIn)
    return found


async def test_everything_arrives(loaded: Any, city: City) -> None:
    base, _, _ = loaded
    expected = {
        Agency: len(city.institutions), Site: len(city.sites), CameraPosition: 4000, StreamSource: len(city.streams),
        Asset: len(city.bells) + len(city.poles), Unit: len(city.units),
        Area: 1 + 25 + sum(len(each.neighbourhoods) for each in city.municipalities),
    }  # fmt: skip
    async with base.begin() as session:
        for table, count in expected.items():
            assert await session.scalar(select(func.count()).select_from(table)) == count, table
        camera = city.sites[0].cameras[0]
        row = (await session.scalars(select(CameraPosition).where(CameraPosition.id == camera.id))).one()
        areas = (await session.execute(select(Area.code, Area.kind).where(Area.id.in_(row.area_ids)))).all()
    assert (row.latitude, row.longitude, row.name) == (camera.latitude, camera.longitude, camera.name)
    assert sorted(kind for _, kind in areas) == ["neighbourhood", "sido", "sigungu"]
    assert (city.sites[0].municipality, "sigungu") in [tuple(area) for area in areas]
    assert not await is_empty(base)


async def test_rights_are_as_agreed(loaded: Any, city: City) -> None:
    base, _, demo = loaded
    owned = Counter(site.owner for site in city.sites for _ in site.cameras)
    operator, police = await signed_in(base, demo, "district_operator"), await signed_in(base, demo, "police_room")
    patrol = await signed_in(base, demo, "patrol_unit")
    async with base.begin() as session:
        assert await cameras.count(session, operator.actor, Search()) == owned[city.demo_district]
        shared = owned[city.demo_district] + owned[METRO] + owned[city.locate_only_district]
        assert await cameras.count(session, police.actor, Search()) == shared
        assert await cameras.count(session, patrol.actor, Search()) == shared
        around = Near(demo.place["lat"], demo.place["lon"])
        found = await cameras.visible_to(session, police.actor, Search(near=around), limit=100)
    streaming = [str(row["id"]) for row in found if row["has_stream"]]
    assert set(demo.streaming_cameras) <= set(streaming)
    assert demo.offline_camera in streaming
    assert demo.offline_camera not in demo.streaming_cameras
    for kind, role in KINDS.items():
        assert (await signed_in(base, demo, kind)).actor.role == role


async def test_what_it_remembers_is_for_its_owner_alone(loaded: Any, city: City, keys: Keys) -> None:
    base, settings, demo = loaded
    for name in ("demo.json", "demo-cameras.json"):
        assert stat.S_IMODE((settings.home / name).stat().st_mode) == 0o600
    assert Demo.read(settings.home) == demo
    assert len({user["password"] for user in demo.users}) == len(KINDS)
    assert not any(user["password"] in repr(demo) for user in demo.users)
    rig = read_rig(settings.home)
    assert rig is not None
    assert sum(bool(camera["password"]) for camera in rig.cameras) == 2
    async with base.begin() as session:
        for stream, camera in zip(city.streams, rig.cameras, strict=True):
            sealed = await session.scalar(
                select(StreamSource.address_sealed).where(StreamSource.position_id == stream.camera_id)
            )
            assert sources.unseal(keys, stream.camera_id, "live", "main", sealed) == rig.url(camera)


async def test_a_city_is_loaded_once(loaded: Any, city: City, keys: Keys) -> None:
    base, settings, demo = loaded
    with pytest.raises(Conflict):
        await load(base, keys, settings, city)
    assert Demo.read(settings.home) == demo, "the passwords of the loaded city are still there"


@pytest.mark.parametrize(
    ("stage", "turns"), [("agencies", 10), ("cameras", 2), ("cameras", 6), ("cameras", 12), ("users", 4)]
)
async def test_a_cancelled_load_ends_at_once_and_leaves_nothing(
    empty_database_url: str, keys: Keys, tmp_path: Path, city: City, stage: str, turns: int
) -> None:
    """Cancelled some turns of the event loop after a stage has begun."""
    settings, loop = Settings(home=tmp_path, allow_camera_networks="127.0.0.0/8"), asyncio.get_running_loop()
    async with db.connect(empty_database_url) as base:
        work: asyncio.Task[Demo]

        def cancel_after(turns: int) -> None:
            loop.call_soon(cancel_after, turns - 1) if turns else work.cancel()

        work = loop.create_task(
            load(base, keys, settings, city, progress=lambda what, _: cancel_after(turns) if stage in what else None)
        )
        done, _ = await asyncio.wait([work], timeout=10)
        assert done, "asyncpg waits for ever when many statements in one pipeline are cancelled"
        assert work.cancelled()
        assert await is_empty(base)
    assert not (tmp_path / "demo.json").exists()


async def test_a_camera_network_that_is_not_allowed_stops_the_load(
    empty_database_url: str, keys: Keys, tmp_path: Path
) -> None:
    async with db.connect(empty_database_url) as base:
        with pytest.raises(UnsafeSource):
            await load(base, keys, Settings(home=tmp_path, allow_camera_networks=""), generate(cameras=1000))
        assert await is_empty(base)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_text("{}")
    with pytest.raises(Conflict, match=r"demo\.json"):
        Demo.read(tmp_path)


# The whole, as a process


@pytest.fixture
def home() -> Iterator[Path]:
    """A home that the account of PostgreSQL reaches too, when the tests run as root."""
    path = Path(tempfile.mkdtemp(prefix="gwanje-demo-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@asynccontextmanager
async def running(home: Path, port: int, **settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GWANJE_")}
    environment |= {"GWANJE_HOME": str(home), "GWANJE_BIND": f"127.0.0.1:{port}", **settings}
    with (home / "said.log").open("wb") as said:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "app", "demo", env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=said,
            stderr=said, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.wait(), 40)


async def until(condition: Callable[[], Any], home: Path, process: asyncio.subprocess.Process | None = None) -> Any:
    deadline = time.monotonic() + 50
    while not (value := condition()):
        said = (home / "said.log").read_text()
        assert time.monotonic() < deadline, said
        assert process is None or process.returncode is None, said
        await asyncio.sleep(0.1)
    return value


@asynccontextmanager
async def answering(home: Path, port: int, process: asyncio.subprocess.Process) -> AsyncIterator[httpx.AsyncClient]:
    await until(lambda: "Gwanje is ready" in (home / "said.log").read_text(), home, process)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        assert (await client.get("/readyz")).status_code == 200
        yield client


def family(pid: int, home: Path) -> set[int]:
    """The process, its descendants, and the database server with its children."""
    found, waiting = set(), [pid, int((home / "postgres/data/postmaster.pid").read_text().split()[0])]
    while waiting:
        found.add(each := waiting.pop())
        waiting += processes.children(each)
    return found


async def token(client: httpx.AsyncClient, demo: dict[str, Any], kind: str) -> dict[str, str]:
    user = next(user for user in demo["users"] if user["kind"] == kind)
    answer = await client.post("/v1/sessions", json={"login": user["login"], "password": user["password"]})
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


async def granted(client: httpx.AsyncClient, headers: dict[str, str], camera: str) -> httpx.Response:
    asked = {"camera_ids": [camera], "purpose": "emergency_response", "basis": "KR-PIPA-18-2-3"}
    return await client.post("/v1/grants", json=asked, headers=headers)


async def shown(client: httpx.AsyncClient, headers: dict[str, str], camera: str) -> int:
    """The status of a snapshot of a camera that is granted."""
    answer = await granted(client, headers, camera)
    assert answer.status_code == 201, answer.text
    streams = {stream["protocol"]: stream["url"] for stream in answer.json()["grants"][0]["streams"]}
    return (await client.get(streams["snapshot"])).status_code


async def check_demo(client: httpx.AsyncClient, demo: dict[str, Any], home: Path, port: int) -> None:
    assert stat.S_IMODE((home / "demo.json").stat().st_mode) == 0o600
    assert demo["base_url"] == f"http://127.0.0.1:{port}"
    assert [user["kind"] for user in demo["users"]] == list(KINDS)
    assert all({"kind", "agency", "login", "password"} <= set(user) for user in demo["users"])
    assert set(demo["place"]) == {"lat", "lon"}
    assert len(demo["streaming_cameras"]) >= 24
    for kind in KINDS:
        await token(client, demo, kind)
    as_police = await token(client, demo, "police_room")
    assert await shown(client, as_police, demo["streaming_cameras"][0]) == 200
    assert await shown(client, as_police, demo["offline_camera"]) == 504
    assert (await granted(client, as_police, demo["locate_only_camera"])).status_code == 403
    assert (await granted(client, as_police, demo["unshared_camera"])).status_code == 404
    bells = (await client.get("/v1/assets", params={"kind": "bell", "limit": 500}, headers=as_police)).json()["items"]
    assert set(demo["bells"]) <= {bell["id"] for bell in bells}
    near = next(bell for bell in bells if bell["id"] == demo["bells"][0])
    assert set(near["camera_ids"]) & set(demo["streaming_cameras"]), "the first bell has pictures"


@pytest.mark.slow
@pytest.mark.timeout(170)
async def test_gwanje_demo_from_nothing_to_nothing(home: Path) -> None:
    """Interrupted while loading, started, stopped, started with three workers, killed: each time nothing is left."""
    port = processes.free_port()
    async with running(home, port, FORCE_COLOR="1") as process:
        await until(lambda: "agencies" in (home / "said.log").read_text(), home, process)
        everyone = family(process.pid, home)
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 30) == 130
    assert [processes.command(pid) for pid in everyone if processes.alive(pid)] == []
    assert not (home / "demo.json").exists()

    async with running(home, port) as process:
        async with answering(home, port, process) as client:
            first = json.loads((home / "demo.json").read_text())
            await check_demo(client, first, home, port)
        everyone = family(process.pid, home)
        assert any("app.demo.cameras" in processes.command(pid) for pid in everyone)
        secrets = [user["password"] for user in first["users"]] + [each["password"] for each in rig_of(home)]
        assert not [pid for pid in everyone if any(word in processes.command(pid) for word in secrets if word)]
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 30) == 0
    assert [processes.command(pid) for pid in everyone if processes.alive(pid)] == []

    async with running(home, port, GWANJE_WORKERS="3") as process:
        async with answering(home, port, process) as client:
            assert json.loads((home / "demo.json").read_text()) == first
            as_police = await token(client, first, "police_room")
            assert await shown(client, as_police, first["streaming_cameras"][3]) == 200, "a camera with a login"
        elsewhere = home / "elsewhere"
        elsewhere.mkdir()
        async with running(elsewhere, port) as second:
            assert await asyncio.wait_for(second.wait(), 30) == 1
        assert "GWANJE_BIND" in (elsewhere / "said.log").read_text()
        everyone = family(process.pid, home)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        await until(lambda: not any(map(processes.alive, everyone)), home)


def rig_of(home: Path) -> list[dict[str, Any]]:
    rig = read_rig(home)
    assert rig is not None
    return rig.cameras
