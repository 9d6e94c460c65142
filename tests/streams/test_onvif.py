"""Speaking ONVIF with a camera that answers well, badly, slowly, endlessly and with malice; probing through the door."""

import asyncio
import re
from typing import Any

import httpx
import pytest

from app.database import Database
from app.errors import CameraOffline, UnsafeSource
from app.keys import Keys
from app.registry.addresses import networks_of, safe_source
from app.streams.onvif import discovery, soap, xml
from app.streams.onvif.device import Device, Move
from app.streams.onvif.xml import BadXml
from tests import factories
from tests.factories import LOOPBACK
from tests.streams.fake_onvif import ENVELOPE, FakeOnvif, onvif

LAUGHS = '<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><l>&b;</l>'
SECRET = '<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/hostname">]><r><Manufacturer>&x;</Manufacturer></r>'


async def opened(camera: FakeOnvif) -> Device:
    device = await Device.open(safe_source(camera.url, LOOPBACK), LOOPBACK)
    await device.begin()
    return device


@pytest.mark.parametrize(
    "document",
    [
        LAUGHS,
        SECRET,
        "<a>" * 100,
        "<r>" + "<x/>" * xml.MOST_ELEMENTS + "</r>",
        "",
        "<a",
        "no xml",
        "<a></b>",
        "<a>\0</a>",
    ],
    ids=["laughs", "external", "deep", "many", "empty", "cut", "text", "crossed", "nul"],
)
def test_xml_that_is_none_or_too_much_is_refused(document: str) -> None:
    with pytest.raises(BadXml):
        xml.read(document.encode())


def test_prefixes_need_not_be_declared() -> None:
    root = xml.read(b'<tptz:r><tptz:Preset token="1"><x:Name>A</x:Name></tptz:Preset></tptz:r>')
    assert root.said("r", "Preset", "Name") == "A"


async def test_what_a_camera_says_of_itself() -> None:
    async with onvif() as camera:
        device = await opened(camera)
        assert (await device.information())["maker"] == "별빛"
        main, sub = await device.profiles()
        assert (main.token, main.codec, main.width, main.turns, sub.turns) == ("main", "H264", 1920, True, False)
        assert [preset.name for preset in await device.presets("main")] == ["정문", "후문"]
        stream = await device.stream_address("main")
        assert (stream.port, stream.path, stream.password) == (8554, "/live?a=1&b=2", camera.password)
        await device.move("main", Move("continuous", pan=-1, zoom=0.5, seconds=1.5))
        assert (camera.commands[0].pan, camera.commands[0].timeout) == (-1.0, "PT1.5S")
        said = b"".join(camera.requests)
        assert camera.password.encode() not in said
        assert b"p%40ss" not in said
        await device.move("main", Move("preset", preset='"><x>&'))
        assert b"&quot;" not in camera.requests[-1]
        assert b'PresetToken>"&gt;&lt;x&gt;&amp;<' in camera.requests[-1]


async def test_no_password_goes_to_who_must_not_have_it() -> None:
    """A wrong digest is a refusal, not a Basic header."""
    basic = b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n"
    async with onvif(FakeOnvif(answers={"GetDeviceInformation": basic})) as camera:
        device = await opened(camera)
        with pytest.raises(CameraOffline, match="credentials"):
            await device.information()
        assert b"Authorization: Basic" not in b"".join(camera.requests)


async def test_a_camera_may_keep_its_time_to_itself() -> None:
    refused = b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"
    async with onvif(FakeOnvif(answers={"GetSystemDateAndTime": refused})) as camera:
        assert len(await (await opened(camera)).profiles()) == 2


async def test_a_camera_that_wants_http_digest_gets_it() -> None:
    challenge = (
        b'HTTP/1.1 401 No\r\nWWW-Authenticate: Digest realm="cam", nonce="n1", qop="auth"\r\nContent-Length: 0\r\n\r\n'
    )
    async with onvif(FakeOnvif(answers={"GetDeviceInformation": challenge})) as camera:
        device = await opened(camera)
        with pytest.raises(CameraOffline):
            await device.information()
        assert re.search(rb'Authorization: Digest username="admin".*response="[0-9a-f]{32}"', camera.requests[-1])


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + b"x" * 900_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 40_000 + b"\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort",
        b"RTSP/1.0 200 OK\r\n\r\n",
        ENVELOPE.format("<s:Fault><s:Reason><s:Text>no\x07 way</s:Text></s:Reason></s:Fault>").encode(),
        b"",
        SECRET,
        "<r>" + "<x>" * 60 + "</r>",
    ],
    ids=["huge", "headers", "redirect", "short", "not-http", "bare", "nothing", "entity", "deep"],
)
async def test_a_bad_answer_is_a_sentence_and_spoils_no_other(answer: str | bytes) -> None:
    async with onvif(FakeOnvif(answers={"GetDeviceInformation": answer})) as camera:
        device = await opened(camera)
        with pytest.raises(CameraOffline) as refused:
            await device.information()
        assert len(refused.value.detail) < 250
        assert len(await device.profiles()) == 2


async def test_a_slow_camera_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async with onvif(FakeOnvif(slow={"GetProfiles": 30})) as camera:
        device = await opened(camera)
        with pytest.raises(CameraOffline, match="does not answer"):
            await device.ask("media", "<trt:GetProfiles/>", seconds=0.1)


@pytest.mark.parametrize(
    "uri",
    [
        "rtsp://10.0.0.9/live",
        "rtsp://127.0.0.2/live",
        "file:///etc/passwd",
        "rtsp://127.0.0.1:22/x",
        "rtsp://",
        "",
        "x" * 5000,
    ],
)
async def test_a_stream_elsewhere_is_not_taken(uri: str) -> None:
    answer = f"<r><MediaUri><Uri>{uri}</Uri></MediaUri></r>"
    async with onvif(FakeOnvif(answers={"GetStreamUri": answer})) as camera:
        device = await opened(camera)
        with pytest.raises(CameraOffline):
            await device.stream_address("main")


async def test_services_elsewhere_are_asked_at_the_camera_itself() -> None:
    where = "<r><Service><Namespace>ver10/media</Namespace><XAddr>http://10.1.2.3:99/onvif/media</XAddr></Service></r>"
    async with onvif(FakeOnvif(answers={"GetServices": where})) as camera:
        device = await opened(camera)
        assert len(await device.profiles()) == 2
        assert device.services == {"media": "/onvif/media"}


async def test_only_camera_networks_are_spoken_with() -> None:
    with pytest.raises(UnsafeSource):
        safe_source("http://127.0.0.1/onvif/device_service", networks_of("10.0.0.0/8"))


async def probed(client: httpx.AsyncClient, database: Database, camera: FakeOnvif) -> tuple[Any, str, dict[str, str]]:
    owner = await factories.agency(database)
    camera_id = await factories.camera(database, owner, has_stream=False)
    admin = await factories.sign_in(client, await factories.person(database, owner, "admin"))
    set_up = await client.put(f"/v1/cameras/{camera_id}/control", json={"url": camera.url}, headers=admin)
    assert set_up.status_code == 204
    response = await client.post(f"/v1/cameras/{camera_id}/probe", headers=admin)
    assert response.status_code == 200, response.text
    return response.json(), f"/v1/cameras/{camera_id}", admin


async def test_a_probe_proposes_and_the_administrator_disposes(
    client: httpx.AsyncClient, database: Database, keys: Keys
) -> None:
    async with onvif() as camera:
        found, path, admin = await probed(client, database, camera)
        assert found["problems"] == {}
        assert found["information"]["model"] == "SPD-1"
        main = found["profiles"][0]
        assert main["snapshot"] is True
        assert "8554" not in str(found), "no address is told"
        assert camera.password not in str(found)
        assert (await client.get(path, headers=admin)).json()["streams"] == [], "nothing is changed by asking"
        taken = await client.post(path + "/proposals", json={"proposal": main["proposal"]}, headers=admin)
        assert taken.status_code == 204, taken.text
        assert len((await client.get(path, headers=admin)).json()["streams"]) == 1
        _, other, as_other = await probed(client, database, camera)
        for proposal in (main["proposal"], "x" * 40, main["proposal"][:-8] + "AAAAAAA="):
            stolen = await client.post(other + "/proposals", json={"proposal": proposal}, headers=as_other)
            assert (stolen.status_code, stolen.json()["field"]) == (422, "proposal")
        operator = await factories.sign_in(client, await factories.person(database, await factories.agency(database)))
        assert (await client.post(path + "/probe", headers=operator)).status_code == 404


async def test_a_probe_tells_what_could_not_be_learnt(client: httpx.AsyncClient, database: Database) -> None:
    bad = FakeOnvif(answers={"GetPresets": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n<a>", "GetStreamUri": SECRET})
    async with onvif(bad) as camera:
        found, _, _ = await probed(client, database, camera)
        assert sorted(found["problems"]) == ["presets", "stream main", "stream sub"]
        assert found["profiles"][0]["proposal"] is None
        assert found["profiles"][0]["snapshot"] is True


async def test_discovery_takes_what_answers_and_no_more() -> None:
    """A camera answers a probe; nonsense, another's answer and too many of them are passed over."""
    asked: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    class Camera(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
            text = data.decode()
            asked.set_result(text)
            number = re.search(r"MessageID>([^<]+)<", text)[1]
            match = (
                "<Envelope><Header><RelatesTo>{}</RelatesTo></Header><Body><ProbeMatch><XAddrs>{}</XAddrs><Scopes>"
                "onvif://www.onvif.org/name/Cam%201 onvif://www.onvif.org/hardware/X</Scopes></ProbeMatch></Body></Envelope>"
            )
            good = "http://127.0.0.1:8080/onvif/device_service http://10.0.0.1/onvif/device_service"
            for said in (match.format("urn:other", good), "nonsense", LAUGHS, match.format(number, good)):
                self.transport.sendto(said.encode(), address)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Camera, local_addr=("127.0.0.1", 0))
    try:
        found = await discovery.discover(
            "127.0.0.1", seconds=0.5, target=transport.get_extra_info("sockname")[:2], loopback=True
        )
    finally:
        transport.close()
    assert [(one.address, one.name, one.hardware) for one in found] == [
        ("http://127.0.0.1:8080/onvif/device_service", "Cam 1", "X")
    ]


def test_a_call_has_bounds() -> None:
    assert soap.CALL_SECONDS <= 5
    assert soap.MOST_ANSWER_BYTES <= 1 << 20
