"""What an operator says of a gateway, and what of it can go wrong."""

import pytest

from app.keys import Keys
from app.streams.mediamtx import Config, callback_path, configuration

FULL = (
    "mediamtx+http://us%40er:p%3Ass@127.0.0.1:9990?name=mtx-1&zone=police&hls=https://media.example:8888/"
    "&hls.fire=https://fire.example&webrtc=https://media.example:8889&rtsps=rtsps://media.example:8322"
    "&viewers=40&cameras=7&from=10.1.0.0/16,192.0.2.7&door=10.1.0.9:8560&door.listen=0.0.0.0:8560"
)


def test_a_gateway_in_one_url() -> None:
    config = Config.parse(FULL)
    assert (config.name, config.zone, config.api) == ("mtx-1", "police", "http://127.0.0.1:9990")
    assert (config.user, config.password) == ("us@er", "p:ss")
    assert config.bases["hls"] == {"police": "https://media.example:8888", "fire": "https://fire.example"}
    assert config.protocols == ("whep", "hls", "rtsps")
    assert list(config.public_urls) == ["police", "fire"]
    assert (config.viewers, config.cameras) == (40, 7)
    assert (config.door, config.door_listen) == (("10.1.0.9", 8560), ("0.0.0.0", 8560))
    for peer, may in (("10.1.2.3", True), ("::ffff:10.1.2.3", True), ("192.0.2.7", True), ("192.0.2.8", False)):
        assert config.may_call(peer) is may
    assert not config.may_call("")
    assert not config.may_call("testclient")


def test_what_is_not_said_is_loopback() -> None:
    config = Config.parse("mediamtx+https://127.0.0.1?hls=http://127.0.0.1:8888")
    assert (config.name, config.zone, config.api) == ("mediamtx", "default", "https://127.0.0.1:9997")
    assert config.protocols == ("hls",)
    assert config.may_call("127.0.0.1")
    assert not config.may_call("127.0.0.2")
    assert config.door == ("127.0.0.1", 8560)
    assert Config.parse("mediamtx+http://[::1]:1?hls=http://x").api == "http://[::1]:1"


def test_credentials_are_in_no_representation() -> None:
    said = repr(Config.parse(FULL))
    assert "us@er" not in said
    assert "p:ss" not in said


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("http://127.0.0.1?hls=http://x", "mediamtx+http"),
        ("mediamtx+http://?hls=http://x", "host"),
        ("mediamtx+http://127.0.0.1:99999?hls=http://x", "port"),
        ("mediamtx+http://127.0.0.1/v3?hls=http://x", "after the host"),
        ("mediamtx+http://127.0.0.1", "at least one"),
        ("mediamtx+http://127.0.0.1?hls=http://x&name=a/b", "name"),
        ("mediamtx+http://127.0.0.1?hls=http://x&zone=%2e%2e", "zone"),
        ("mediamtx+http://127.0.0.1?hls=ftp://x", "hls"),
        ("mediamtx+http://127.0.0.1?hls=http://user:secret@x", "hls"),
        ("mediamtx+http://127.0.0.1?hls=http://x&hls=http://y", "hls"),
        ("mediamtx+http://127.0.0.1?hls=http://x&hls.A%20b=http://y", "zone"),
        ("mediamtx+http://127.0.0.1?rtsps=rtsp://x", "rtsps"),
        ("mediamtx+http://127.0.0.1?hls=http://x&viewers=0", "viewers"),
        ("mediamtx+http://127.0.0.1?hls=http://x&cameras=many", "cameras"),
        ("mediamtx+http://127.0.0.1?hls=http://x&from=here", "from"),
        ("mediamtx+http://media.example?hls=http://x", "from"),
        ("mediamtx+http://127.0.0.1?hls=http://x&source=pull", "source"),
        ("mediamtx+http://127.0.0.1?hls=http://x&source=direct&door=127.0.0.1:1", "door"),
        ("mediamtx+http://127.0.0.1?hls=http://x&door=media.example:1", "door"),
        ("mediamtx+http://127.0.0.1?hls=http://x&door=127.0.0.1:70000", "door"),
        ("mediamtx+http://127.0.0.1?hls=http://x&pasword=1", "pasword"),
    ],
)
def test_the_wrong_part_is_named(wrong: str, named: str) -> None:
    with pytest.raises(ValueError, match=named.replace("+", r"\+")) as refused:
        Config.parse(wrong)
    assert "secret" not in str(refused.value)


def test_what_mediamtx_is_told_leaves_everything_else_closed() -> None:
    keys = Keys(b"k" * 32)
    config = Config.parse("mediamtx+http://127.0.0.1:9997?name=m&hls=http://127.0.0.1:8888")
    path = callback_path(keys, "m")
    assert path != callback_path(keys, "n").replace("/n/", "/m/"), "each gateway has a secret of its own"
    said = configuration(config, f"http://127.0.0.1:8000{path}").splitlines()
    for line in ("authMethod: http", f"authHTTPAddress: http://127.0.0.1:8000{path}", "apiAddress: 127.0.0.1:9997"):
        assert line in said
    assert {"webrtc: no", "rtsp: no", "rtmp: no", "srt: no", "moq: no", "playback: no", "hls: yes"} <= set(said)
