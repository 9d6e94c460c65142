"""The whole service with a MediaMTX: a grant leads to it, its questions are answered, a revoked viewer is cut."""

import asyncio
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from app.database import Database
from app.keys import Keys
from app.settings import Settings
from app.streams.mediamtx import callback_path
from tests import factories
from tests.conftest import serving
from tests.streams.fake_camera import FakeCamera
from tests.streams.mediamtx.fake import FakeMediaMtx
from tests.streams.mediamtx.scene import until, url_of

pytestmark = pytest.mark.slow


async def test_from_the_grant_to_the_cut(
    settings: Settings, keys: Keys, database: Database, gate: FakeMediaMtx
) -> None:
    both = settings.model_copy(update={"gateway": f"embedded {url_of(gate.port, 'city', '&door=127.0.0.1:0')}"})
    district = await factories.agency(database)
    camera_id = await factories.camera(database, district)
    async with FakeCamera() as camera, serving(both) as base, httpx.AsyncClient(base_url=base) as client:
        await factories.source(database, keys, camera_id, camera.url)
        gate.callback = base + callback_path(keys, "city")
        who = await factories.sign_in(client, await factories.person(database, district))
        await until(lambda: gate.confs)
        asked = {"camera_ids": [str(camera_id)], "protocols": ["whep", "hls"]}
        response = await client.post("/v1/grants", json=asked, headers=who)
        assert response.status_code == 201, response.text
        (grant,) = response.json()["grants"]
        url = urlsplit(next(one["url"] for one in grant["streams"] if one["protocol"] == "whep"))
        assert url.netloc == "127.0.0.1:8889"
        path = url.path.removeprefix("/").removesuffix("/whep")
        reader = await gate.read(path, "whep", parse_qs(url.query)["token"][0])
        views = (await client.get("/v1/views?running=true", headers=who)).json()["items"]
        assert [(one["gateway"], one["protocol"]) for one in views] == [("city", "whep")]
        assert (await client.delete(f"/v1/grants/{grant['grant_id']}", headers=who)).status_code == 204
        assert await asyncio.wait_for(reader.ended, 2) == "kicked"
        await gate.down()
        ready = (await client.get("/readyz")).json()
        assert ready["parts"]["database"]["ok"]
        await until(lambda: _embedded_takes_over(client, who, asked | {"protocols": ["hls"]}), 8)


async def _embedded_takes_over(client: httpx.AsyncClient, who: dict[str, str], asked: dict[str, object]) -> bool:
    """With the gateway gone, the next grant leads to the one that is left."""
    response = await client.post("/v1/grants", json=asked, headers=who)
    return response.status_code == 201 and "/v/" in response.json()["grants"][0]["streams"][0]["url"]
