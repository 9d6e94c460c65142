"""Camera addresses: an allowlist of structure and places; every trick of spelling is refused."""

import asyncio
import re
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import CameraOffline, UnsafeSource
from app.registry.addresses import camera_networks, networks_of, resolve, safe_source
from app.settings import Settings

CITY = networks_of("10.20.0.0/16, 127.0.0.0/8, fd00:20::/64")


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("rtsp://cam1.example.go.kr/live", "cam1.example.go.kr", 554, "/live"),
        ("RTSPS://Cam1.Example.go.kr:8322/a/b?x=1&y=%2F", "cam1.example.go.kr", 8322, "/a/b?x=1&y=%2F"),
        ("rtsp://10.20.3.4", "10.20.3.4", 554, ""),
        ("http://1.1.1.1:8080/video", "1.1.1.1", 8080, "/video"),
        ("https://[2606:4700::1111]/video", "2606:4700::1111", 443, "/video"),
        ("rtsp://[fd00:20::7]:554/", "fd00:20::7", 554, "/"),
        ("rtsp://[::ffff:10.20.3.4]/", "10.20.3.4", 554, "/"),
        ("rtsp://127.0.0.1:18554/cam", "127.0.0.1", 18554, "/cam"),
    ],
)
def test_plain_addresses_pass(url: str, host: str, port: int, path: str):
    source = safe_source(url, CITY)
    assert (source.host, source.port, source.path) == (host, port, path)


def test_credentials_are_decoded_and_never_shown():
    source = safe_source("rtsp://관리자:x@1.1.1.1/".replace("관리자", "%EA%B4%80%EB%A6%AC"), CITY)
    assert (source.user, source.password) == ("관리", "x")
    source = safe_source("rtsp://admin:p%40ss%3Aw%2Frd@1.1.1.1/live", CITY)
    assert (source.user, source.password) == ("admin", "p@ss:w/rd")
    assert source.url == "rtsp://1.1.1.1:554/live"
    assert "p@ss" not in repr(source)
    assert "admin" not in repr(source)


REFUSED = """
exec:sh -c id
EXEC:/bin/sh
file:///etc/passwd
FILE:/etc/passwd
fi%6ce:///etc/passwd
ffmpeg:rtsp://1.1.1.1/
echo:hello
concat:rtsp://1.1.1.1/|file:/etc/passwd
subfile,,start,0,end,9,,:/etc/passwd
data:video/mp4;base64,AAAA
pipe:0
gopher://1.1.1.1/
udp://1.1.1.1:554
rtmp://1.1.1.1/live
unix:/run/x.sock
rtsp:1.1.1.1/live
rtsp:/1.1.1.1/live
rtsp:///live
rtsp+file://1.1.1.1/
//1.1.1.1/live
-i
rtsp://1.1.1.1/live -f null
rtsp://1.1.1.1\\@10.20.0.1/live
rtsp://1.1.1.1/live|file:/etc/passwd
rtsp://1.1.1.1/live#x
rtsp://a@b@1.1.1.1/
rtsp://1.1.1.1:0/
rtsp://1.1.1.1:99999/
rtsp://1.1.1.1:-1/
rtsp://1.1.1.1:22/
rtsp://1.1.1.1:5432/
rtsp://1.1.1.1:6379/
rtsp://192.168.0.10/live
rtsp://10.21.0.1/live
rtsp://172.16.0.1/live
rtsp://169.254.169.254/latest
rtsp://100.64.0.1/
rtsp://0.0.0.0/
rtsp://224.0.0.1/
rtsp://255.255.255.255/
rtsp://[::1]/
rtsp://[::]/
rtsp://[::ffff:192.168.0.1]/
rtsp://[::192.168.0.1]/
rtsp://[64:ff9b::c0a8:1]/
rtsp://[2002:c0a8:1::]/
rtsp://[fe80::1%25eth0]/
rtsp://[fe80::1]/
rtsp://[fd00:21::1]/
rtsp://[ff02::1]/
rtsp://2130706433/
rtsp://0x7f000001/
rtsp://0x7f.0.0.1/
rtsp://0177.0.0.1/
rtsp://127.1/
rtsp://192.168.257/
rtsp://1.1.1.1./
rtsp://1.1.1/
rtsp://cam..example/
rtsp://-cam.example/
rtsp://cam_1.example/
rtsp://카메라.한국/
rtsp://①②⑦.⓪.⓪.①/
rtsp://127。0。0。1/
rtsp://%31%32%37.0.0.1/
rtsp://1.1.1.1/%00
rtsp://1.1.1.1/a%0d%0aX:%201
rtsp://1.1.1.1/%zz
rtsp://1.1.1.1/%ff
rtsp://u%0a:p@1.1.1.1/
""".strip().splitlines()


@pytest.mark.parametrize(
    "url",
    [
        *REFUSED,
        "",
        " rtsp://1.1.1.1/",
        "rtsp://1.1.1.1/ ",
        "rtsp://1.1.1.1/\n",
        "rtsp://1.1.1.1/\0",
        "rtsp://1.1.1.1/\r\nA: b",
        "rt\tsp://1.1.1.1/",
        "rtsp://1.1.1.1/" + "a" * 2048,
    ],
)
def test_everything_else_is_refused(url: str):
    with pytest.raises(UnsafeSource) as refused:
        safe_source(url, CITY)
    assert not url or len(url) < 4 or url not in refused.value.detail


def test_no_private_place_without_a_network():
    for host in ("10.20.3.4", "127.0.0.1", "[fd00:20::7]"):
        with pytest.raises(UnsafeSource, match="GWANJE_ALLOW_CAMERA_NETWORKS"):
            safe_source(f"rtsp://{host}/", ())


@given(st.text(max_size=60), st.sampled_from(["", "rtsp://", "rtsp://1.1.1.1/", "rtsp://u:p@", "http://127.0.0.1"]))
def test_what_passes_is_plain(text: str, before: str):
    try:
        source = safe_source(before + text, CITY)
    except UnsafeSource:
        return
    assert source.scheme in {"rtsp", "rtsps", "http", "https"}
    assert re.fullmatch(r"[!-~]+", source.url)
    assert (source.user + source.password).isprintable()


async def test_names_are_resolved_once_and_checked(monkeypatch: pytest.MonkeyPatch):
    source = safe_source("rtsp://localhost/", ())
    with pytest.raises(UnsafeSource):
        await resolve(source, ())
    assert await resolve(safe_source("rtsp://1.1.1.1/", ()), ()) == "1.1.1.1"
    answers = ["127.0.0.1"]

    async def getaddrinfo(*_: object, **__: object) -> list:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answer, 554)) for answer in answers]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    assert await resolve(source, CITY) == "127.0.0.1"
    answers = ["1.1.1.1", "192.168.0.1"]
    with pytest.raises(UnsafeSource):  # one harmless answer does not vouch for the others
        await resolve(source, CITY)
    answers = []
    with pytest.raises(CameraOffline):
        await resolve(source, CITY)


async def test_a_name_without_an_address_is_a_camera_offline(monkeypatch: pytest.MonkeyPatch):
    async def getaddrinfo(*_: object, **__: object) -> list:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    with pytest.raises(CameraOffline):
        await resolve(safe_source("rtsp://nowhere.example/", ()), ())


async def test_our_own_ports_on_this_machine_are_no_cameras():
    house = Settings(
        bind="127.0.0.1:18000",
        database_url="postgresql://u:p@127.0.0.1:15432/g",
        gateway="embedded mediamtx+http://127.0.0.1:19997?name=m",
        allow_camera_networks="127.0.0.0/8, 198.51.100.0/24",
    )
    allowed = camera_networks(house)
    assert list(allowed) == list(networks_of(house.allow_camera_networks))
    for port in (18000, 15432, 19997):
        for here in ("127.0.0.1", "127.3.2.1", "[::ffff:127.0.0.1]"):
            with pytest.raises(UnsafeSource):
                safe_source(f"http://{here}:{port}/", allowed)
        assert safe_source(f"http://198.51.100.7:{port}/", allowed).port == port, "another machine's"
        with pytest.raises(UnsafeSource):
            await resolve(safe_source(f"http://localhost:{port}/", allowed), allowed)
    assert safe_source("http://127.0.0.1:18001/", allowed).port == 18001
    assert await resolve(safe_source("http://localhost:18001/", networks_of("127.0.0.0/8, ::1/128")), allowed)


def test_networks():
    assert networks_of("") == ()
    assert [str(one) for one in networks_of(" 10.0.0.0/8 ,::1/128,")] == ["10.0.0.0/8", "::1/128"]
    with pytest.raises(ValueError):
        networks_of("10.0.0.1/8")
