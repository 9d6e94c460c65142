"""Where a webhook may lead, whatever its address looks like and whatever its name means by now."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.errors import CameraOffline, UnsafeSource
from app.feed.webhooks import addresses
from app.feed.webhooks.addresses import Allowed, allowed_by, resolve, target
from app.registry.addresses import networks_of
from app.settings import Settings

NOWHERE = Allowed()
LOOPBACK = Allowed(networks_of("127.0.0.0/8"))
PUBLIC = "8.8.8.8"

INSIDE = (
    "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "127.0.0.1.", "127.000.000.001", "0",
    "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "169.254.169.254", "0xa9fea9fe", "192.0.0.1",
    "198.18.0.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "[::1]", "[::]", "[fe80::1]",
    "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]",
    "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[2001:0:4136:e378:8000:63bf:3fff:fdd2]", "[::1%25lo]",
)  # fmt: skip
MISSPELT = (
    "", "example.kr", "//example.kr/", "ftp://example.kr/", "file:///etc/passwd", "gopher://8.8.8.8/", "rtsp://8.8.8.8/",
    "javascript:alert(1)", "https:example.kr", "https:///example.kr", "https://", "https://@8.8.8.8/", "https://u@8.8.8.8/",
    "https://u:p@8.8.8.8/", "https://8.8.8.8@127.0.0.1/", "https://8.8.8.8\\@127.0.0.1/", "https://8.8.8.8/#part",
    "https://8.8.8.8#@127.0.0.1/", "https://exa mple.kr/", "https://8.8.8.8/\r\nHost: x", "https://8.8.8.8/\n", " https://8.8.8.8/",
    "https://8.8.8.8:0/", "https://8.8.8.8:65536/", "https://8.8.8.8:22/", "http://8.8.8.8:6379/", "https://8.8.8.8:80:80/",
    "https://%38.8.8.8/", "https://127\u30020\u30020\u30021/", "https://\u2460\u2461\u2466.0.0.1/", "https://8.8.8.8/%00",
    "https://8.8.8.8/" + "a" * 2048, "https://example..kr/", "https://-a.kr/",
)  # fmt: skip


@pytest.mark.parametrize("host", INSIDE)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_spelling_of_a_place_inside_passes(scheme: str, host: str) -> None:
    with pytest.raises(UnsafeSource) as refused:
        target(f"{scheme}://{host}/hook", NOWHERE)
    assert refused.value.extra["field"] == "url"
    assert host.strip("[]") not in refused.value.detail or len(host) < 3


@pytest.mark.parametrize("url", MISSPELT)
def test_what_is_no_plain_address_is_refused(url: str) -> None:
    with pytest.raises(UnsafeSource) as refused:
        target(url, LOOPBACK)
    assert refused.value.extra["field"] == "url"


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("https://events.example.kr/hook?key=1", "events.example.kr", 443, "/hook?key=1"),
        ("HTTP://Events.Example.KR:8080", "events.example.kr", 8080, ""),
        (f"https://{PUBLIC}/a", PUBLIC, 443, "/a"),
        ("https://[2001:4860:4860::8888]:8443/a", "2001:4860:4860::8888", 8443, "/a"),
    ],
)
def test_plain_addresses_pass(url: str, host: str, port: int, path: str) -> None:
    found = target(url, NOWHERE)
    assert (found.host, found.port, found.path) == (host, port, path)
    assert path not in repr(found) or not path


def test_what_the_operator_allows_passes_and_nothing_beside_it() -> None:
    assert target("http://127.0.0.1:8080/", LOOPBACK).port == 8080
    with pytest.raises(UnsafeSource):
        target("http://10.0.0.1/", LOOPBACK)


def test_the_names_of_this_service_lead_nowhere(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, public_url="https://cctv.example.kr,police=https://inner.example.kr:8443")
    for url in ("https://cctv.example.kr/v1/events", "http://CCTV.example.kr:9000/", "https://inner.example.kr/"):
        with pytest.raises(UnsafeSource):
            target(url, allowed_by(settings))
    assert target("https://other.example.kr/", allowed_by(settings)).host == "other.example.kr"


# Names


@contextmanager
def names(**answers: list[str]) -> Iterator[None]:
    """A name server of ours: `a_example` is a.example."""
    loop = asyncio.get_running_loop()

    async def getaddrinfo(host: Any, port: Any, **_: Any) -> Any:
        found = answers.get(str(host).replace(".", "_"))
        if found is None:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in found
        ]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "getaddrinfo", getaddrinfo)
        yield


@pytest.mark.parametrize(
    "answers",
    [["127.0.0.1"], [PUBLIC, "127.0.0.1"], ["::1"], ["::ffff:10.0.0.1"], ["169.254.169.254"], ["64:ff9b::a00:1"],
     ["fe80::1%2"], ["0.0.0.0"], ["224.0.0.1"]],
)  # fmt: skip
async def test_names_that_lead_inside_are_refused_when_they_are_looked_up(answers: list[str]) -> None:
    found = target("https://a.example/", NOWHERE)
    with names(a_example=answers), pytest.raises(UnsafeSource):
        await resolve(found, NOWHERE)


async def test_names_without_an_address_and_names_that_lead_outside() -> None:
    found = target("https://a.example/", NOWHERE)
    with names(), pytest.raises(CameraOffline):
        await resolve(found, NOWHERE)
    with names(a_example=[]), pytest.raises(CameraOffline):
        await resolve(found, NOWHERE)
    with names(a_example=[PUBLIC]):
        assert await resolve(found, NOWHERE) == PUBLIC
    with names(a_example=["127.0.0.7"]):
        assert await resolve(found, LOOPBACK) == "127.0.0.7"


async def test_a_public_address_of_this_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert addresses.is_ours("127.0.0.1")
    assert not addresses.is_ours("192.0.2.1")
    monkeypatch.setattr(addresses, "is_ours", lambda address: address == PUBLIC)
    with pytest.raises(UnsafeSource):
        await resolve(target(f"https://{PUBLIC}/", NOWHERE), NOWHERE)
    allowed = Allowed(networks_of(f"{PUBLIC}/32"))
    assert await resolve(target(f"https://{PUBLIC}/", allowed), allowed) == PUBLIC
