"""A camera to test against: RTSP over TCP, H.264 or H.265 and PCMU, Digest or Basic, and the faults of real ones."""

import asyncio
import base64
import hashlib
import itertools
import secrets
import ssl
import struct
from dataclasses import dataclass, field
from typing import Literal, Self
from urllib.parse import quote

from tests.streams.film import FRAMES_PER_SECOND, GOP_FRAMES, Units, access_units

AUDIO_EVERY_FRAMES = 3
Fault = Literal[
    "",
    "silent",
    "garbage",
    "endless_headers",
    "slow_headers",
    "endless_body",
    "redirect",
    "no_picture",
    "mjpeg",
    "flood",
    "no_sprop",
    "tiny_frames",
    "blank_lines",
    "messages",
]


def _rtp_of(nal: bytes, codec: str, last: bool, sequence: itertools.count, timestamp: int) -> list[bytes]:
    """RFC 6184, RFC 7798: one packet, or fragmentation units of 1,200 bytes."""
    if len(nal) <= 1200:
        payloads = [nal]
    else:
        header = 2 if codec == "h265" else 1
        kind = nal[0] >> 1 & 63 if codec == "h265" else nal[0] & 31
        indicator = bytes([nal[0] & 0x81 | 49 << 1, nal[1]]) if codec == "h265" else bytes([nal[0] & 0xE0 | 28])
        pieces = [nal[header:][i : i + 1200] for i in range(0, len(nal) - header, 1200)]
        payloads = [
            indicator + bytes([(0x80 if i == 0 else 0) | (0x40 if i == len(pieces) - 1 else 0) | kind]) + piece
            for i, piece in enumerate(pieces)
        ]
    return [
        struct.pack(
            ">BBHII", 0x80, 96 | (0x80 if last and i == len(payloads) - 1 else 0), next(sequence) & 0xFFFF, timestamp, 7
        )
        + p
        for i, p in enumerate(payloads)
    ]


@dataclass
class FakeCamera:
    """`async with FakeCamera() as camera: camera.url`; `plays` counts the times that somebody started the stream."""

    user: str = "viewer"
    password: str = "s3cret-Pa55"
    auth: Literal["", "basic", "digest", "digest-sha256", "digest-plain"] = "digest"
    fault: Fault = ""
    host: str = "127.0.0.1"
    port: int = 0
    tls: ssl.SSLContext | None = None
    codec: Literal["h264", "h265"] = "h264"
    film: Units | None = None
    """What it shows; another one is shown from the next GOP on."""
    described: Units | None = None
    """What its description speaks of, where that is not what it shows."""
    control: str = "trackID=1"
    content_base: str = ""
    location: str = "rtsp://169.254.169.254/x"
    plays: int = 0
    requests: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task] = field(default_factory=set)

    _torrent = {  # noqa: RUF012 - of one frame's time
        "tiny_frames": struct.pack(">cBH12s", b"$", 9, 12, b"x") * 20_000,
        "blank_lines": b"\r\n" * 200_000,
        "messages": b"RTSP/1.0 200 OK\r\n\r\n" * 5000,
    }

    @property
    def url(self) -> str:
        credentials = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        return f"rtsp{'s' if self.tls else ''}://{credentials}@{self.host}:{self.port}/media/live?channel=1"

    async def __aenter__(self) -> Self:
        self.nonce = secrets.token_hex(8)
        self.film = self.film or access_units(self.codec)
        self._server = await asyncio.start_server(self._serve, self.host, self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        while tasks := [task for task in self._tasks if not task.done()]:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def cut(self) -> None:
        """The cable is pulled."""
        for writer in self._writers:
            writer.transport.abort()

    @property
    def connections(self) -> int:
        return len(self._writers)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self._tasks.add(task := asyncio.current_task())
        players: list[asyncio.Task] = []
        try:
            await self._converse(reader, writer, players)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            for player in players:
                player.cancel()
            self._tasks.update(players)
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.close()

    async def _converse(self, reader, writer, players) -> None:
        tracks: dict[str, int] = {}
        while True:
            first = await reader.readexactly(1)
            if first == b"$":
                _, size = struct.unpack(">BH", await reader.readexactly(3))
                await reader.readexactly(size)
                continue
            lines = (first + await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, uri, _ = lines[0].split(" ")
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
            self.requests.append(f"{method} {uri}")
            if self.fault in {"silent", "garbage", "endless_headers", "slow_headers", "endless_body"}:
                await self._misbehave(reader, writer)
            if self.fault == "redirect":
                writer.write(
                    f"RTSP/1.0 302 Moved\r\nCSeq: {headers['cseq']}\r\nLocation: {self.location}\r\n\r\n".encode()
                )
                continue
            if self.auth and method != "OPTIONS" and not self._knows(method, uri, headers.get("authorization", "")):
                self._answer(writer, headers, "401 Unauthorized", f"WWW-Authenticate: {self._challenge()}\r\n")
                continue
            if method == "DESCRIBE":
                # behind address translation: not where it was reached
                base = self.content_base or f"rtsp://10.99.99.99/media/live/{self.port}/"
                self._answer(
                    writer, headers, "200 OK", f"Content-Base: {base}\r\nContent-Type: application/sdp\r\n", self._sdp()
                )
            elif method == "SETUP":
                channel = headers["transport"].partition("interleaved=")[2].split("-")[0]
                tracks[uri] = int(channel)
                self._answer(
                    writer,
                    headers,
                    "200 OK",
                    f"Transport: RTP/AVP/TCP;unicast;interleaved={channel}-{int(channel) + 1}\r\nSession: 42;timeout=2\r\n",
                )
            elif method == "PLAY":
                self.plays += 1
                self._answer(
                    writer, headers, "200 OK", f"Session: 42\r\nRTP-Info: url={uri}/trackID=1;seq=1;rtptime=0\r\n"
                )
                players.append(asyncio.create_task(self._play(writer, tracks)))
            elif method == "TEARDOWN":
                self.ended.append("teardown")
                self._answer(writer, headers, "200 OK")
                await writer.drain()
                return
            else:
                self._answer(
                    writer, headers, "200 OK", "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER\r\n"
                )

    def _answer(self, writer, headers, status: str, more: str = "", body: bytes = b"") -> None:
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        writer.write(f"RTSP/1.0 {status}\r\nCSeq: {headers['cseq']}\r\n{more}{length}\r\n".encode() + body)

    def _challenge(self) -> str:
        if self.auth == "basic":
            return 'Basic realm="cam, one"'
        algorithm = ', algorithm="SHA-256"' if self.auth == "digest-sha256" else ""
        qop = "" if self.auth == "digest-plain" else ', qop="auth"'
        return f'Digest realm="cam, one", nonce="{self.nonce}"{algorithm}{qop}'

    def _knows(self, method: str, uri: str, authorization: str) -> bool:
        kind, _, rest = authorization.partition(" ")
        if self.auth == "basic":
            return kind == "Basic" and base64.b64decode(rest).decode() == f"{self.user}:{self.password}"
        said = {
            k.strip(): v.strip(' "')
            for k, _, v in (p.partition("=") for p in rest.replace('"cam, one"', '"cam; one"').split(","))
        }
        digest = hashlib.sha256 if self.auth == "digest-sha256" else hashlib.md5

        def h(text: str) -> str:
            return digest(text.encode()).hexdigest()

        middle = (
            self.nonce if self.auth == "digest-plain" else f"{self.nonce}:{said.get('nc')}:{said.get('cnonce')}:auth"
        )
        expected = h(f"{h(f'{self.user}:cam, one:{self.password}')}:{middle}:{h(f'{method}:{uri}')}")
        return kind == "Digest" and said.get("uri") == uri and said.get("response") == expected

    def _sdp(self) -> bytes:
        first = (self.described or self.film)[0]
        sets = [base64.b64encode(nal).decode() for nal in first]
        if self.codec == "h265":
            sprop = f";sprop-vps={sets[0]};sprop-sps={sets[1]};sprop-pps={sets[2]}"
        else:
            sprop = f";sprop-parameter-sets={sets[0]},{sets[1]}"
        sprop = "" if self.fault == "no_sprop" else sprop
        carried = f"96\r\na=rtpmap:96 {self.codec.upper()}/90000\r\na=fmtp:96 packetization-mode=1{sprop}\r\n"
        jpeg = "26\r\n"
        video = f"m=video 0 RTP/AVP {jpeg if self.fault == 'mjpeg' else carried}a=control:{self.control}\r\n"
        return (
            "v=0\r\no=- 1 1 IN IP4 10.99.99.99\r\ns=fake\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\n"
            f"m=audio 0 RTP/AVP 0\r\na=control:trackID=2\r\n{video}"
        ).encode()

    async def _misbehave(self, reader, writer) -> None:
        pieces = {
            "garbage": b"\x16\x03 not rtsp\r\n\r\n",
            "endless_headers": b"X-Padding: " + b"x" * 1000 + b"\r\n",
            "endless_body": b"z" * 1000,
            "slow_headers": b"x",
        }
        if self.fault in {"endless_headers", "slow_headers"}:
            writer.write(b"RTSP/1.0 200 OK\r\n")
        if self.fault == "endless_body":
            writer.write(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 10000000000\r\n\r\n")
        while self.fault and not reader.at_eof():
            writer.write(pieces.get(self.fault, b""))
            await writer.drain()
            await asyncio.sleep(0.1 if self.fault in {"silent", "slow_headers"} else 0.001)

    async def _play(self, writer, tracks: dict[str, int]) -> None:
        """Live: whoever comes joins in the middle of a GOP. Timestamps go on over the loop's seam."""
        video = next(channel for uri, channel in tracks.items() if "trackID=2" not in uri)
        audio = next((channel for uri, channel in tracks.items() if "trackID=2" in uri), None)
        sequence, audio_sequence, units = itertools.count(1), itertools.count(1), self.film
        loop = asyncio.get_running_loop()
        start = loop.time()
        for number in itertools.count(GOP_FRAMES - 2):
            if self.fault == "no_picture":
                await asyncio.sleep(0.2)
                continue
            if number % GOP_FRAMES == 0:
                units = self.film
            unit = units[number % len(units)]
            packets = [
                p
                for i, nal in enumerate(unit)
                for p in _rtp_of(
                    nal, self.codec, i == len(unit) - 1, sequence, number * 90_000 // FRAMES_PER_SECOND & 0xFFFFFFFF
                )
            ]
            data = b"".join(struct.pack(">cBH", b"$", video, len(p)) + p for p in packets)
            if audio is not None and number % AUDIO_EVERY_FRAMES == 0:
                p = (
                    struct.pack(">BBHII", 0x80, 0, next(audio_sequence) & 0xFFFF, number * 8000 // FRAMES_PER_SECOND, 8)
                    + b"\xff" * 1600
                )
                data += struct.pack(">cBH", b"$", audio, len(p)) + p
            writer.write(self._torrent.get(self.fault, b"") + data * (400 if self.fault == "flood" else 1))
            await writer.drain()
            await asyncio.sleep(max(0, start + (number - GOP_FRAMES + 3) / FRAMES_PER_SECOND - loop.time()))
