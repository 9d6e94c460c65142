"""RTSP without a socket: messages among frames in any cutting, credentials, and the one track that is carried."""

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.streams.embedded import rtsp
from app.streams.embedded.rtsp import BadRtsp, Inbound, Message, authorization, video_track


def frame(channel: int, payload: bytes) -> bytes:
    return struct.pack(">cBH", b"$", channel, len(payload)) + payload


VIDEO = [frame(2, bytes([i]) * (i * 300)) for i in range(6)]
SOUND = frame(4, b"sound" * 9)
STREAM = b"".join(
    [
        b"RTSP/1.0 200 OK\r\nCSeq: 3\r\nContent-Length: 5\r\n\r\n$2345",
        *(VIDEO[0], SOUND, VIDEO[1], VIDEO[2], SOUND),
        b"\r\nRTSP/1.0 401 Unauthorized\r\ncseq:4\r\nWWW-Authenticate: Basic\r\nWWW-Authenticate: Digest\r\n\r\n",
        *(SOUND, VIDEO[3], frame(3, b"report"), VIDEO[4], VIDEO[5]),
    ]
)


def taken(cuts: list[int], channels: dict[int, int]) -> tuple[list[Message], bytes]:
    inbound = Inbound(channels)
    items = [item for a, b in pairwise([0, *sorted(cuts), len(STREAM)]) for item in inbound.feed(STREAM[a:b])]
    return [one for one in items if isinstance(one, Message)], b"".join(one for one in items if isinstance(one, bytes))


@given(st.lists(st.integers(0, len(STREAM)), max_size=60), st.sampled_from([(0, 1), (2, 3), (2, 1)]))
def test_any_cutting_gives_the_messages_and_the_video_frames(cuts: list[int], channels: tuple[int, int]):
    video, reports = channels
    messages, media = taken(cuts, {2: video, 3: reports})
    assert [(one.status, one.body) for one in messages] == [(200, b"$2345"), (401, b"")]
    assert messages[1].headers["www-authenticate"] == ["Basic", "Digest"]
    renumbered = [frame(video, one[4:]) for one in VIDEO]
    assert media == b"".join([*renumbered[:4], frame(reports, b"report"), *renumbered[4:]])


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"\x16\x03\x01\r\n\r\n",
        b"RTSP/1.0 200 OK\r\n" + b"X: y\r\n" * 5000,
        b"A" * 20_000,
        b"RTSP/1.0 200 OK\r\nContent-Length: 70000\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: -1\r\n\r\n",
        "RTSP/1.0 200 OK\r\nContent-Length: ²\r\n\r\n".encode("latin-1"),
    ],
)
def test_what_is_not_rtsp_or_too_much_is_refused(data: bytes):
    with pytest.raises(BadRtsp):
        list(Inbound().feed(data))


def test_digest_as_in_the_standards(monkeypatch: pytest.MonkeyPatch):
    """The examples of RFC 2617 3.5 and RFC 7616 3.9.1."""
    monkeypatch.setattr(rtsp.secrets, "token_hex", lambda _: "0a4f113b")
    old = 'Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    answer = authorization([old], "GET", "/dir/index.html", "Mufasa", "Circle Of Life", 1)
    assert 'response="6629fae49393a05397450978507c4ef1"' in answer
    assert 'opaque="5ccc069c403ebaf9f0171e9517f40e41"' in answer
    assert "nc=00000001" in answer
    monkeypatch.setattr(rtsp.secrets, "token_hex", lambda _: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")
    new = 'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"'
    answer = authorization([old, new, 'Basic realm="x"'], "GET", "/dir/index.html", "Mufasa", "Circle of Life", 1)
    assert 'response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"' in answer
    assert (
        authorization(['Basic realm="x"'], "GET", "/", "Aladdin", "open sesame", 1)
        == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    )
    assert authorization(["Negotiate", "Digest algorithm=MD5-sess"], "GET", "/", "a", "b", 1) == ""


SDP = """v=0
o=- 1 1 IN IP4 10.0.0.9
c=IN IP4 239.1.1.1
a=control:*
m=audio 0 RTP/AVP 0
a=control:trackID=1
m=video 0 RTP/AVP 26 97
a=rtpmap:97 H265/90000
a=fmtp:97 sprop-vps=QAE=; sprop-sps=QgE=; sprop-pps=RAE=
a=x-evil:file:///etc/passwd
a=control:{control}
m=application 0 RTP/AVP 107
a=control:trackID=3
"""


@pytest.mark.parametrize(
    ("control", "base", "url"),
    [
        ("trackID=2", "rtsp://c/live/", "rtsp://c/live/trackID=2"),
        ("trackID=2", "rtsp://c/live?x=1", "rtsp://c/live?x=1/trackID=2"),
        ("rtsp://10.9.9.9/t", "rtsp://c/live/", "rtsp://10.9.9.9/t"),
        ("*", "rtsp://c/live/", "rtsp://c/live/"),
    ],
)
def test_only_the_video_track_is_described(control: str, base: str, url: str):
    track = video_track(SDP.format(control=control).replace("\n", "\r\n").encode(), base)
    assert (track.codec, track.control_url, track.aggregate_url, track.has_parameter_sets) == ("H265", url, base, True)
    assert track.sdp.count(b"m=") == 1
    assert b"a=fmtp:97 sprop-vps=QAE=" in track.sdp
    for foreign in (b"evil", b"239.", b"10.0", b"audio", b"application", b"trackID"):
        assert foreign not in track.sdp


@pytest.mark.parametrize(
    "sdp",
    [
        b"",
        b"v=0\r\nm=audio 0 RTP/AVP 0\r\n",
        b"m=video 0 RTP/AVP 26\r\n",
        b"m=video 0 RTP/AVP x\r\na=rtpmap:x H264/90000\r\n",
        b"m=video\r\n",
    ],
)
def test_no_carried_video_is_said(sdp: bytes):
    with pytest.raises(BadRtsp, match=r"offers no H\.264 or H\.265 video") as refused:
        video_track(sdp, "rtsp://c/")
    assert ("no video at all" in str(refused.value)) == (b"video 0" not in sdp)
