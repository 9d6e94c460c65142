"""RTSP 1.0 without a socket (RFC 2326): messages and interleaved frames, Digest and Basic, the video track of an SDP.

Everything here comes from a camera and is believed only within bounds.
"""

import base64
import hashlib
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

MAX_HEADER_BYTES = 16 * 1024
MAX_BODY_BYTES = 64 * 1024
_MOST_TRACKS, _MOST_FORMATS = 32, 16
_MOST_CHALLENGE_BYTES = 2048
MESSAGE_PIECES = 100
_DOLLAR = 0x24
_FRAME_HEADER = 4
_START = re.compile(rb"RTSP/1\.[0-9] [0-9]{3}(?: |$)|[A-Z_]{3,20} [!-~]+ RTSP/1\.[0-9]$")
# Patterns over what a camera sends never try the same character in two ways: it chooses the worst case.
_PARAMETER = re.compile(r'(?<![A-Za-z])([A-Za-z]++)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


class BadRtsp(ValueError):  # noqa: N818 - it says what came
    """What came is not RTSP, or more of it than a camera has reason to send."""


@dataclass(frozen=True, slots=True)
class Message:
    """A request or a response. `headers` has lower-case names; a repeated one keeps all its values."""

    start: str
    headers: dict[str, list[str]]
    body: bytes = b""

    @property
    def status(self) -> int:
        """Status of a response; 0 of a request."""
        return int(self.start[9:12]) if self.start.startswith("RTSP/") else 0

    def header(self, name: str) -> str:
        return self.headers.get(name, [""])[0]


@dataclass(slots=True)
class Inbound:
    """Bytes in, messages and blocks of whole interleaved frames out. Frames of channels not named are dropped."""

    channels: dict[int, int] = field(default_factory=dict)
    """Channel on this connection -> channel that the block shall say."""
    pieces: int = 0
    """How many frames have come, a message counted as a hundred: work, which bytes alone do not measure."""
    _buffer: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> Iterator[Message | bytes]:
        """What became complete. Raises BadRtsp."""
        if not self._buffer and data[:1] == b"$":  # mostly whole frames come, and nothing needs to be copied
            block, used = self._frames(data)
            if block:
                yield block
            data = data[used:]
        buffer = self._buffer
        buffer += data
        while buffer:
            if buffer[0] == _DOLLAR:
                block, used = self._frames(buffer)
                del buffer[:used]
                if block:
                    yield block
                if not used:
                    return
            elif buffer[0] in b"\r\n":
                del buffer[: len(buffer) - len(buffer.lstrip(b"\r\n"))]
                self.pieces += 1
            elif (message := self._message()) is not None:
                yield message
            else:
                return

    def _frames(self, data: bytes | bytearray) -> tuple[bytes, int]:
        """The whole frames at the beginning, by their new channels, and how many bytes they took."""
        position, end, channels = 0, len(data), self.channels
        kept, kept_from = [], 0
        while position + _FRAME_HEADER <= end and data[position] == _DOLLAR:
            after = position + _FRAME_HEADER + (data[position + 2] << 8 | data[position + 3])
            if after > end:
                break
            said = data[position + 1]
            channel = channels.get(said)
            if channel is None:
                kept.append(data[kept_from:position])
                kept_from = after
            elif channel != said:
                kept += (data[kept_from : position + 1], bytes((channel,)))
                kept_from = position + 2
            position = after
            self.pieces += 1
        if not kept:
            return bytes(data[:position]), position
        return b"".join((*kept, data[kept_from:position])), position

    def _message(self) -> Message | None:
        buffer = self._buffer
        head_end = buffer.find(b"\r\n\r\n", 0, MAX_HEADER_BYTES)
        start_end = buffer.find(b"\r\n", 0, MAX_HEADER_BYTES)
        if start_end >= 0 and not _START.match(buffer[:start_end]):
            raise BadRtsp("it does not speak RTSP")
        if head_end < 0:
            if len(buffer) >= MAX_HEADER_BYTES:
                raise BadRtsp("it sends endless headers")
            return None
        start, *lines = buffer[:head_end].decode("latin-1").split("\r\n")
        headers: dict[str, list[str]] = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers.setdefault(name.strip().lower(), []).append(value.strip())
        length = headers.get("content-length", ["0"])[0]
        if not length.isascii() or not length.isdigit() or int(length) > MAX_BODY_BYTES:
            raise BadRtsp("it announces a body beyond all measure")
        end = head_end + 4 + int(length)
        if len(buffer) < end:
            return None
        body = bytes(buffer[head_end + 4 : end])
        del buffer[:end]
        self.pieces += MESSAGE_PIECES
        return Message(start, headers, body)


def authorization(challenges: list[str], method: str, uri: str, user: str, password: str, count: int) -> str:
    """The Authorization header that answers the best of the challenges (RFC 7616, RFC 7617), empty if none is known.

    `count` says how often this nonce has been used, from 1.
    """
    offers: list[tuple[int, dict[str, str]]] = []
    for challenge in challenges[:8]:
        scheme, _, rest = challenge.strip()[:_MOST_CHALLENGE_BYTES].partition(" ")
        said = {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(rest)}
        if scheme.lower() == "basic":
            offers.append((0, said))
        elif scheme.lower() == "digest" and said.get("algorithm", "MD5").upper() in {"MD5", "SHA-256"}:
            offers.append((2 if "256" in said.get("algorithm", "") else 1, said))
    if not offers:
        return ""
    strength, said = max(offers, key=lambda offer: offer[0])
    if strength == 0:
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    realm, nonce = said.get("realm", ""), said.get("nonce", "")

    def hashed(*parts: str) -> str:
        # MD5 is what most cameras ask for; there is no choice here.
        algorithm = "sha256" if strength > 1 else "md5"
        return hashlib.new(algorithm, ":".join(parts).encode(), usedforsecurity=False).hexdigest()

    quoted_user = user.replace("\\", "\\\\").replace('"', '\\"')
    answer = f'Digest username="{quoted_user}", realm="{realm}", nonce="{nonce}", uri="{uri}"'
    one, two = hashed(user, realm, password), hashed(method, uri)
    if "auth" in re.split(r"[,\s]+", said.get("qop", "")):
        cnonce, nc = secrets.token_hex(8), f"{count:08x}"
        answer += f', response="{hashed(one, nonce, nc, cnonce, "auth", two)}", qop=auth, nc={nc}, cnonce="{cnonce}"'
    else:
        answer += f', response="{hashed(one, nonce, two)}"'
    if "algorithm" in said:
        answer += f", algorithm={said['algorithm']}"
    return answer + (f', opaque="{said["opaque"]}"' if "opaque" in said else "")


class Track(NamedTuple):
    """The one video track that is carried."""

    codec: str
    """H264 or H265."""
    control_url: str
    aggregate_url: str
    has_parameter_sets: bool
    """Whether the SDP says picture size and profile, so that nobody needs to wait for a key frame to know them."""
    sdp: bytes
    """A description of this track alone, with nothing of the camera's own but what was checked."""

    def without_parameter_sets(self) -> "Track":
        """For a camera whose description does not fit its pictures."""
        sets = rb"sprop-(?:parameter-sets|[vsp]ps)=[A-Za-z0-9+/=,._-]*(?:; *)?"
        return self._replace(has_parameter_sets=False, sdp=re.sub(sets, b"", self.sdp))


def video_track(sdp: bytes, base_url: str) -> Track:
    """The first H.264 or H.265 track. Controls resolve against `base_url` as all clients do. Raises BadRtsp."""
    session, *media = re.split(r"^(?=m=)", sdp.decode("latin-1").replace("\r", ""), flags=re.MULTILINE)
    offered = []
    for section in media[:_MOST_TRACKS]:
        kind, *formats = section.partition("\n")[0][2:].split(" ")
        if kind != "video":
            continue
        for payload in formats[2 : 2 + _MOST_FORMATS]:
            codec = re.search(rf"^a=rtpmap:{re.escape(payload)} ++([A-Za-z0-9-]+)/90000", section, re.MULTILINE)
            is_number = re.fullmatch(r"[0-9]{1,3}", payload)
            name = codec[1].upper() if codec else f"payload type {payload}" if is_number else "unknown"
            offered.append(name)
            if name in {"H264", "H265"} and is_number:
                return _track(name, int(payload), session, section, base_url)
    raise BadRtsp(f"it offers no H.264 or H.265 video ({', '.join(offered)[:80] or 'no video at all'})")


def _track(codec: str, payload: int, session: str, section: str, base_url: str) -> Track:
    parameters = re.search(rf"^a=fmtp:{payload} ++([A-Za-z0-9 =;,+/._-]{{0,8192}})$", section, re.MULTILINE)
    fmtp = parameters[1] if parameters else ""
    lines = [
        "v=0",
        "o=- 0 0 IN IP4 127.0.0.1",
        "s=-",
        "c=IN IP4 0.0.0.0",
        "t=0 0",
        "a=control:*",
        f"m=video 0 RTP/AVP {payload}",
    ]
    lines += [f"a=rtpmap:{payload} {codec}/90000", *([f"a=fmtp:{payload} {fmtp}"] if fmtp else []), "a=control:video"]
    return Track(
        codec,
        _control(section, base_url),
        _control(session, base_url),
        "sprop-parameter-sets=" in fmtp or "sprop-sps=" in fmtp,
        "\r\n".join([*lines, ""]).encode(),
    )


def _control(section: str, base_url: str) -> str:
    found = re.search(r"^a=control:([!-~]{1,1024})$", section, re.MULTILINE)
    if found is None or found[1] == "*":
        return base_url
    if found[1].lower().startswith(("rtsp://", "rtsps://")):
        return found[1]
    return base_url + ("" if base_url.endswith("/") else "/") + found[1]
