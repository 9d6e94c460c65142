"""Camera addresses as a way into the house's own network, at registration, at the look-up of a name, and by a camera."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import pytest

from app.registry import sources
from app.settings import Settings
from app.streams.embedded import camera_pull, http_camera, rtsp_proxy
from app.streams.embedded.connection import connect
from tests import factories
from tests.attacks.attack import Attack, against_the_house, without_its_guard
from tests.attacks.town import ELSEWHERE, HERE, Town, Visitor, house_of, token_of

OWN = "127.0.0.1"  # not among the camera networks of this house; ELSEWHERE is

ADDRESSES = (
    # places in any spelling
    "rtsp://127.0.0.1/", "rtsp://127.0.0.1:8554/x", "rtsp://127.1/", "rtsp://127.0.1/", "rtsp://2130706433/",
    "rtsp://0x7f000001/", "rtsp://0x7f.0x0.0x0.0x1/", "rtsp://0177.0.0.1/", "rtsp://017700000001/",
    "rtsp://127.0.0.1./", "rtsp://127.000.000.001/", "rtsp://127.0.0.01/", "rtsp://0/", "rtsp://0.0.0.0/",
    "rtsp://[::1]/", "rtsp://[::]/", "rtsp://[0:0:0:0:0:0:0:1]/", "rtsp://[::ffff:127.0.0.1]/",
    "rtsp://[::ffff:7f00:1]/", "rtsp://[::127.0.0.1]/", "rtsp://[64:ff9b::7f00:1]/", "rtsp://[2002:7f00:1::]/",
    "rtsp://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/", "rtsp://[fe80::1]/", "rtsp://[fc00::1]/", "rtsp://[ff02::1]/",
    "rtsp://[::1%25lo]/", "http://169.254.169.254/latest/meta-data/", "http://0xa9fea9fe/", "http://[fd00:ec2::254]/",
    "http://10.0.0.1/", "http://172.16.0.1/", "http://192.168.0.1/", "http://100.64.0.1/", "http://198.18.0.1/",
    "http://192.0.0.1/", "http://240.0.0.1/", "http://255.255.255.255/", "http://224.0.0.1/",
    "rtsp://127.0.0.3/", "rtsp://126.255.255.255.127.0.0.1/", "rtsp://\u2460\u2461\u2466.0.0.1/",
    "rtsp://127\u30020\u30020\u30021/", "rtsp://%31%32%37.0.0.1/", "rtsp://%6c%6f%63%61%6c%68%6f%73%74/",
    # ports of our own, in a network where cameras live
    "rtsp://127.0.0.2:5432/", "http://127.0.0.2:5432/", "rtsp://127.0.0.2:6379/", "rtsp://127.0.0.2:22/",
    "http://127.0.0.2:2375/", "http://127.0.0.2:0/", "rtsp://127.0.0.2:65536/", "rtsp://127.0.0.2:99999999999/",
    # who is the host?
    "rtsp://good@127.0.0.1/", "rtsp://1.1.1.1@127.0.0.1/", "rtsp://1.1.1.1:554@127.0.0.1/", "rtsp://a@b@127.0.0.1/",
    "rtsp://1.1.1.1\\@127.0.0.1/", "rtsp://1.1.1.1%00@127.0.0.1/", "rtsp://1.1.1.1 @127.0.0.1/",
    "rtsp://1.1.1.1%0d%0aHost:x@127.0.0.1/", "rtsp://1.1.1.1\t@127.0.0.1/", "rtsp://127.0.0.1#@1.1.1.1/",
    "rtsp://127.0.0.1\\.1.1.1.1/", "rtsp://127.0.0.1:80:554/", "rtsp://[127.0.0.1]/", "rtsp:///127.0.0.1/",
    # what is no camera's scheme
    "file:///etc/passwd", "FILE:///etc/passwd", "file:/etc/passwd", "concat:rtsp://1.1.1.1/|file:///etc/passwd",
    "subfile,,start,0,end,9,,:/etc/passwd", "exec:/bin/sh -c id", "ExEc:/bin/sh", " exec:/bin/sh", "exec\t:/bin/sh",
    "exec\n:/bin/sh", "%65xec:/bin/sh", "data:video/mp4;base64,AAAA", "gopher://1.1.1.1:70/_", "GOPHER://1.1.1.1/",
    "ffmpeg:rtsp://1.1.1.1/", "echo:x", "pipe:0", "tcp://1.1.1.1:80", "udp://1.1.1.1:80", "unix:/run/x", "tls://1.1.1.1/",
    "crypto+rtsp://1.1.1.1/", "async:rtsp://1.1.1.1/", "cache:rtsp://1.1.1.1/", "rtmp://1.1.1.1/", "srt://1.1.1.1/",
    "rtsp+file:///etc/passwd", "rtsp://1.1.1.1/|file:///etc/passwd", "rtsp://1.1.1.1/ -i file:///etc/passwd",
    "rtsp://1.1.1.1/\nfile:///etc/passwd", "ｒtsp://1.1.1.1/", "rtsp\u2215\u22151.1.1.1", "-i", "",
)  # fmt: skip


@dataclass
class Outpost:
    """A house whose cameras live at 127.0.0.2 and nowhere else, with its administrator and an operator."""

    town: Town
    base_url: str
    client: httpx.AsyncClient
    admin: Visitor
    operator: Visitor

    async def registered(self, url: str) -> UUID:
        """A new camera with this address; AssertionError when it is refused."""
        camera = await factories.camera(self.town.database, self.admin.agency, has_stream=False)
        answer = await self.put(camera, url)
        assert answer.status_code == 204, answer.text
        return camera

    async def put(self, camera: UUID, url: str) -> httpx.Response:
        return await self.client.put(f"/v1/cameras/{camera}/source", json={"url": url}, headers=self.admin.headers)

    async def watch(self, camera: UUID) -> int:
        """The status that somebody gets who wants to see it."""
        asked = await self.client.post("/v1/grants", json={"camera_ids": [str(camera)]}, headers=self.operator.headers)
        token = token_of(asked.json()["grants"][0]["streams"][0]["url"])
        return (await self.client.get(f"/v/{token}/live.mp4")).status_code


@pytest.fixture(scope="module")
async def outpost(town: Town, settings: Settings) -> AsyncIterator[Outpost]:
    strict = settings.model_copy(update={"allow_camera_networks": f"{ELSEWHERE}/32"})
    district = await factories.agency(town.database)
    admin = await town.signed_in(await factories.person(town.database, district, "admin"))
    operator = await town.signed_in(await factories.person(town.database, district))
    async with house_of(strict) as (base_url, _), httpx.AsyncClient(base_url=base_url, timeout=20) as client:
        yield Outpost(town, base_url, client, admin, operator)


# Registered


async def addresses_that_are_no_cameras(outpost: Outpost) -> list[str]:
    camera = await factories.camera(outpost.town.database, outpost.admin.agency, has_stream=False)
    at_once = asyncio.Semaphore(6)

    async def accepted(url: str) -> bool:
        async with at_once:
            answer = await outpost.put(camera, url)
        assert answer.status_code in (204, 422), (url, answer.text)
        return answer.status_code == 204

    answers = await asyncio.gather(*map(accepted, ADDRESSES))
    return [url for url, was in zip(ADDRESSES, answers, strict=True) if was]


def believing_every_address(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sources, "safe_source", lambda *_: None)


async def the_house_itself_as_a_camera(town: Town) -> bool:
    """Where cameras may live on the machine's own address, its own port is no camera's."""
    district = await factories.agency(town.database)
    camera = await factories.camera(town.database, district, has_stream=False)
    admin = await town.signed_in(await factories.person(town.database, district, "admin"))
    own = f"http://{town.house.settings.bind}/v1/events"
    answer = await town.client.put(f"/v1/cameras/{camera}/source", json={"url": own}, headers=admin.headers)
    assert answer.status_code in (204, 422), answer.text
    return answer.status_code == 204


# Looked up


@dataclass
class Listening:
    """Somebody at an address of our own, who notes that a camera was looked for there."""

    port: int = 0
    touched: asyncio.Event = field(default_factory=asyncio.Event)

    async def was_touched(self, seconds: float = 0.4) -> bool:
        try:
            await asyncio.wait_for(self.touched.wait(), seconds)
        except TimeoutError:
            return False
        return True


@asynccontextmanager
async def listening(address: str = OWN, port: int = 0) -> AsyncIterator[Listening]:
    made = Listening()

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.touched.set()
        writer.close()

    async with await asyncio.start_server(serve, address, port) as server:
        made.port = server.sockets[0].getsockname()[1]
        yield made


@asynccontextmanager
async def resolving(*answers: str) -> AsyncIterator[str]:
    """A new name, of which the name server tells one address after the other, the last one for ever."""
    loop, name, left = asyncio.get_running_loop(), f"{factories.name('cam')}.example", list(answers)
    real = loop.getaddrinfo

    async def getaddrinfo(host: Any, port: Any, **more: Any) -> Any:
        if host != name:
            return await real(host, port, **more)
        address = left.pop(0) if len(left) > 1 else left[0]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, port))]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "getaddrinfo", getaddrinfo)
        yield name


async def names_that_lead_inside(outpost: Outpost) -> list[str]:
    through = []
    for scheme in ("rtsp", "http"):
        async with listening() as own, resolving(OWN) as name:
            camera = await outpost.registered(f"{scheme}://{name}:{own.port}/")
            status = await outpost.watch(camera)
            assert status == 504, status
            through += [scheme] if await own.was_touched() else []
    return through


def believing_the_name_server(patch: pytest.MonkeyPatch) -> None:
    async def resolve(source: Any, _allowed: Any) -> str:
        found = await asyncio.get_running_loop().getaddrinfo(source.host, source.port)
        return str(found[0][4][0])

    patch.setattr(camera_pull, "resolve", resolve)


async def names_that_change_their_mind(outpost: Outpost) -> list[str]:
    """Checked, it was a camera's address; used, it is one of ours."""
    through = []
    for scheme in ("rtsp", "http"):
        async with listening() as own, listening(ELSEWHERE, own.port) as camera, resolving(ELSEWHERE, OWN) as name:
            watched = await outpost.registered(f"{scheme}://{name}:{own.port}/")
            assert await outpost.watch(watched) == 504
            through += [scheme] if await own.was_touched(0.1) else []
            assert own.touched.is_set() or camera.touched.is_set(), "it was looked for somewhere"
    return through


def looking_up_again(patch: pytest.MonkeyPatch) -> None:
    async def again(protocol: Any, source: Any, _address: str, ca_file: Any = None) -> None:
        found = await asyncio.get_running_loop().getaddrinfo(source.host, source.port)
        await connect(protocol, source, str(found[0][4][0]), ca_file)

    patch.setattr(rtsp_proxy, "connect", again)
    patch.setattr(http_camera, "connect", again)


# Led elsewhere by the camera

SDP = "v=0\r\no=- 0 0 IN IP4 0\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:{}\r\n"


def leading(to: str, how: str) -> Callable[[str], str]:
    """What a camera answers to lead a reader to `to`."""
    described = SDP.replace("{}", f"{to}track" if how == "control" else "track")
    base = to if how == "base" else ""
    answers = {
        "rtsp 302": f"RTSP/1.0 302 Moved\r\nCSeq: 1\r\nLocation: {to}\r\n\r\n",
        "rtsp 305": f"RTSP/1.0 305 Use Proxy\r\nCSeq: 1\r\nLocation: {to}\r\n\r\n",
        "http 302": f"HTTP/1.1 302 Found\r\nLocation: {to.replace('rtsp', 'http')}\r\nContent-Length: 0\r\n\r\n",
        "http 307": f"HTTP/1.1 307 Found\r\nLocation: {to.replace('rtsp', 'http')}\r\nContent-Length: 0\r\n\r\n",
    }

    def answer(request: str) -> str:
        if how in answers:
            return answers[how]
        number = re.search(r"(?i)cseq: (\d+)", request)
        head = f"RTSP/1.0 200 OK\r\nCSeq: {number[1] if number else 1}\r\n"
        if not request.startswith("DESCRIBE"):
            return head + "\r\n"
        said = f"Content-Base: {base}\r\n" if base else ""
        return f"{head}{said}Content-Type: application/sdp\r\nContent-Length: {len(described)}\r\n\r\n{described}"

    return answer


LEADS = ("rtsp 302", "rtsp 305", "http 302", "http 307", "base", "control")


async def cameras_that_lead_inside(outpost: Outpost) -> list[str]:
    touched = await asyncio.gather(*(_led_inside(outpost, how) for how in LEADS))
    return [how for how, was in zip(LEADS, touched, strict=True) if was]


async def _led_inside(outpost: Outpost, how: str) -> bool:
    async with listening() as own:
        answer = leading(f"rtsp://{OWN}:{own.port}/", how)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                request = (await reader.readuntil(b"\r\n\r\n")).decode()
                writer.write(answer(request).encode())
                if request.startswith("DESCRIBE"):
                    await reader.read(4096)  # what it asks next, and where
            writer.close()

        async with await asyncio.start_server(serve, ELSEWHERE, 0) as server:
            port = server.sockets[0].getsockname()[1]
            camera = await outpost.registered(f"{how[:4] if how[:4] == 'http' else 'rtsp'}://{ELSEWHERE}:{port}/")
            assert await outpost.watch(camera) == 504
            return await own.was_touched()


def going_where_it_leads(patch: pytest.MonkeyPatch) -> None:
    going = set[asyncio.Task[Any]]()

    async def visit(url: str) -> None:
        _, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
        writer.close()

    def go(url: str) -> None:
        going.add(asyncio.ensure_future(visit(url)))

    answered, sent, checked = rtsp_proxy.Camera._answered, rtsp_proxy.Camera._send, http_camera.HttpCamera._check

    def on_answer(camera: Any, response: Any) -> None:
        if response.status in range(300, 400):
            go(response.header("location"))
        answered(camera, response)

    def send(camera: Any, method: str, url: str, *headers: str) -> int:
        if OWN in url:
            go(url)
        return sent(camera, method, url, *headers)

    def check(camera: Any, response: Any) -> None:
        if response.status_code in range(300, 400):
            go(dict(response.headers)[b"location"].decode())
        checked(camera, response)

    patch.setattr(rtsp_proxy.Camera, "_answered", on_answer)
    patch.setattr(rtsp_proxy.Camera, "_send", send)
    patch.setattr(http_camera.HttpCamera, "_check", check)


ATTACKS = [
    Attack("addresses that are no cameras", addresses_that_are_no_cameras, believing_every_address, ADDRESSES[:-1]),
    Attack("names that lead inside", names_that_lead_inside, believing_the_name_server, ("rtsp", "http")),
    Attack("names that change their mind", names_that_change_their_mind, looking_up_again, ("rtsp", "http")),
    Attack("cameras that lead inside", cameras_that_lead_inside, going_where_it_leads, LEADS),
]  # fmt: skip
AT_HOME = [
    Attack("the house itself as a camera", the_house_itself_as_a_camera, believing_every_address),
]  # fmt: skip


@against_the_house(ATTACKS)
async def test_the_house_withstands(attack: Attack, outpost: Outpost) -> None:
    await attack.withstood(outpost)


@without_its_guard(ATTACKS)
async def test_without_its_guard_it_falls(attack: Attack, outpost: Outpost, monkeypatch: pytest.MonkeyPatch) -> None:
    await attack.got_through(outpost, monkeypatch)


@against_the_house(AT_HOME)
async def test_the_house_at_home_withstands(attack: Attack, town: Town) -> None:
    await attack.withstood(town)


@without_its_guard(AT_HOME)
async def test_at_home_without_its_guard_it_falls(attack: Attack, town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    await attack.got_through(town, monkeypatch)


async def test_the_setting_is_the_only_way_in(outpost: Outpost) -> None:
    """What the networks name is let in, the very next address is not; nothing in the process's environment helps."""
    camera = await factories.camera(outpost.town.database, outpost.admin.agency, has_stream=False)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "no_proxy"):
            patch.setenv(name, f"http://{OWN}:9")
        patch.setenv("GWANJE_ALLOW_CAMERA_NETWORKS", "0.0.0.0/0")  # of another process, or too late
        assert (await outpost.put(camera, f"rtsp://{ELSEWHERE}/")).status_code == 204
        assert (await outpost.put(camera, "rtsp://127.0.0.3/")).status_code == 422
        assert (await outpost.put(camera, f"rtsp://{HERE}/")).status_code == 422
