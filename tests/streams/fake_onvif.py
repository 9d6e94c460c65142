"""A camera that speaks ONVIF as told: presets, a head, events; also badly. It notes every command with its times."""

import asyncio
import base64
import hashlib
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

ENVELOPE = '<?xml version="1.0"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body>{}</s:Body></s:Envelope>'
FAULT = "<s:Fault><s:Reason><s:Text>{}</s:Text></s:Reason></s:Fault>"


@dataclass(frozen=True)
class Command:
    """A command to the head: what it was, where the pan lay, when its bytes came and when it was answered."""

    kind: str
    pan: float
    preset: str
    timeout: str
    began: float
    ended: float


@dataclass
class FakeOnvif:
    """`answers` replaces the body of an operation's answer; raw bytes replace everything. `slow` delays in seconds."""

    user: str = "admin"
    password: str = "p@ss&<word"
    answers: dict[str, str | bytes] = field(default_factory=dict)
    slow: dict[str, float] = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)
    operations: list[str] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    events: "asyncio.Queue[str]" = field(default_factory=asyncio.Queue)
    busy: int = 0
    overlaps: int = 0
    port: int = 0
    host: str = "127.0.0.1"
    _tasks: set[asyncio.Task] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://{self.user}:p%40ss&%3Cword@{self.host}:{self.port}/onvif/device_service".replace("<", "%3C")

    def at(self, path: str) -> str:
        return f"http://{self.host}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(task := asyncio.current_task())
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE)[1])
            body = await reader.readexactly(length)
            began = time.monotonic()
            self.requests.append(head + body)
            text = body.decode()
            operation = re.search(r"<s:Body><(?:\w+:)?(\w+)", text)[1]
            self.operations.append(operation)
            self.busy += 1
            self.overlaps += self.busy > 1 and operation in {"AbsoluteMove", "ContinuousMove", "GotoPreset", "Stop"}
            try:
                await asyncio.sleep(self.slow.get(operation, 0))
                answer = await self.answer(operation, text, began)
            finally:
                self.busy -= 1
            if isinstance(answer, str):
                content = ENVELOPE.format(answer).encode()
                status = "500 Error" if "Fault>" in answer else "200 OK"
                answer = f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content
            writer.write(answer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def hang_up(self) -> None:
        """However slow an answer was going to be: nobody waits for it any more."""
        while tasks := list(self._tasks):
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def answer(self, operation: str, text: str, began: float) -> str | bytes:
        if operation != "GetSystemDateAndTime" and not self.knows(text):
            return FAULT.format("Sender not Authorized")
        if operation in self.answers:
            return self.answers[operation]
        if operation in {"AbsoluteMove", "ContinuousMove", "GotoPreset", "Stop"}:
            pan = re.search(r'PanTilt x="([^"]+)"', text)
            preset = re.search(r"PresetToken>([^<]*)<", text)
            timeout = re.search(r"Timeout>([^<]*)<", text)
            found = [one[1] if one else "" for one in (preset, timeout)]
            self.commands.append(Command(operation, float(pan[1]) if pan else 0.0, *found, began, time.monotonic()))
        if operation == "PullMessages":
            try:
                return await asyncio.wait_for(self.events.get(), 1)
            except TimeoutError:
                return "<x:PullMessagesResponse/>"
        return self.usual(operation)

    def knows(self, text: str) -> bool:
        """Whether the token's digest is of our password."""
        said = {name: re.search(rf"<[wu]:{name}[^>]*>([^<]*)<", text) for name in ("Password", "Nonce", "Created")}
        if not all(said.values()):
            return False
        nonce = base64.b64decode(said["Nonce"][1])
        mixed = hashlib.sha1(nonce + said["Created"][1].encode() + self.password.encode()).digest()
        return base64.b64encode(mixed).decode() == said["Password"][1]

    def usual(self, operation: str) -> str:
        now = time.gmtime()
        return {
            "GetSystemDateAndTime": "<r><UTCDateTime><Time>" + "".join(
                f"<{name}>{value}</{name}>" for name, value in zip(
                    ("Hour", "Minute", "Second", "Year", "Month", "Day"),
                    (now.tm_hour, now.tm_min, now.tm_sec, now.tm_year, now.tm_mon, now.tm_mday), strict=True,
                )
            ) + "</Time></UTCDateTime></r>",
            "GetServices": "<r>" + "".join(
                f"<Service><Namespace>http://www.onvif.org/{name}/wsdl</Namespace><XAddr>{self.at(path)}</XAddr></Service>"
                for name, path in (
                    ("ver10/media", "/onvif/media"), ("ver20/ptz", "/onvif/ptz"), ("ver10/events", "/onvif/events")
                )
            ) + "</r>",
            "GetDeviceInformation": "<r><Manufacturer>별빛</Manufacturer><Model>SPD-1</Model><FirmwareVersion>1.2"
            "</FirmwareVersion><SerialNumber>S1</SerialNumber><HardwareId>H</HardwareId></r>",
            "GetProfiles": '<r><Profiles token="main"><Name>Main</Name><VideoEncoderConfiguration><Encoding>H264'
            "</Encoding><Resolution><Width>1920</Width><Height>1080</Height></Resolution></VideoEncoderConfiguration>"
            '<PTZConfiguration token="p"/></Profiles><Profiles token="sub"><Name>Sub</Name></Profiles></r>',
            "GetStreamUri": f"<r><MediaUri><Uri>rtsp://{self.host}:8554/live?a=1&amp;b=2</Uri></MediaUri></r>",
            "GetSnapshotUri": f"<r><MediaUri><Uri>{self.at('/snap.jpg')}</Uri></MediaUri></r>",
            "GetPresets": '<r><tptz:Preset token="1"><tt:Name>정문</tt:Name></tptz:Preset>'
            '<tptz:Preset token="2"><tt:Name>후문</tt:Name></tptz:Preset></r>',
            "CreatePullPointSubscription": "<r><SubscriptionReference><Address>http://10.9.9.9/onvif/sub/7</Address>"
            "</SubscriptionReference></r>",
        }.get(operation, "<r/>")  # fmt: skip


@asynccontextmanager
async def onvif(camera: FakeOnvif | None = None) -> AsyncIterator[FakeOnvif]:
    """The camera, listening on a port of its own."""
    camera = camera or FakeOnvif()
    server = await asyncio.start_server(camera.serve, camera.host, 0)
    camera.port = server.sockets[0].getsockname()[1]
    try:
        yield camera
    finally:
        server.close()
        await camera.hang_up()


def event(
    topic: str, value: str, *, operation: str = "Changed", name: str = "State", at: str = "2026-01-01T00:00:00Z"
) -> str:
    """A PullMessages answer with one notification."""
    return (
        f"<tev:PullMessagesResponse><wsnt:NotificationMessage><wsnt:Topic Dialect='d'>{topic}</wsnt:Topic><wsnt:Message>"
        f'<tt:Message UtcTime="{at}" PropertyOperation="{operation}"><tt:Source><tt:SimpleItem Name="Source" Value="1"/>'
        f'</tt:Source><tt:Data><tt:SimpleItem Name="{name}" Value="{value}"/></tt:Data></tt:Message></wsnt:Message>'
        "</wsnt:NotificationMessage></tev:PullMessagesResponse>"
    )
