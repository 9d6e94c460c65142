"""A camera's own events, pulled from it (PullPoint), as events of the catalogue.

Only changes to "on" are events: what the camera says of its state when one begins to listen is not. What repeats
within ten seconds is one, and no camera tells more than so many a minute.
"""

from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app import clock
from app.errors import CameraOffline, Refusal
from app.events.report import Report
from app.streams.onvif.device import Device
from app.streams.onvif.xml import Element, element

SOURCE = "gwanje/onvif"
PULL_SECONDS, TERM_SECONDS = 15.0, 60
MOST_MESSAGES, MOST_A_MINUTE = 64, 30
REPEAT_SECONDS = 10.0
_MOST_SOURCES = 64
_ACTION = "http://www.onvif.org/ver10/events/wsdl/"
_ON = {"true", "1"}


@dataclass(frozen=True, slots=True)
class Topic:
    """What a topic of a camera means: a kind of the catalogue, and whether it is of the bell on the digital input."""

    kind: str
    of_bell: bool = False


# By the end of a topic's path, the longest first: makers differ in what stands before (ONVIF Topic Namespace,
# Imaging and Analytics specifications).
TOPICS = {
    "VideoSource/MotionAlarm": Topic("analytic.motion"),
    "CellMotionDetector/Motion": Topic("analytic.motion"),
    "FieldDetector/ObjectsInside": Topic("analytic.intrusion"),
    "LineDetector/Crossed": Topic("analytic.intrusion"),
    "LoiteringDetector/ObjectIsLoitering": Topic("analytic.loitering"),
    "GlobalSceneChange/ImagingService": Topic("camera.covered"),
    "GlobalSceneChange/AnalyticsService": Topic("camera.covered"),
    "ImageTooDark/ImagingService": Topic("camera.covered"),
    "TamperDetector/Tamper": Topic("camera.covered"),
    "Trigger/DigitalInput": Topic("bell.pressed", of_bell=True),
}


@dataclass(frozen=True, slots=True)
class Noticed:
    """One message of a camera, as far as it means something here."""

    topic: str
    meaning: Topic
    source: str
    at: str


async def subscribe(device: Device) -> str:
    """Begin to listen; the address of the subscription as the camera names it (of which only the path counts)."""
    body = element("tev:CreatePullPointSubscription", element("tev:InitialTerminationTime", f"PT{TERM_SECONDS}S"))
    answer = await device.ask("events", body, f"{_ACTION}EventPortType/CreatePullPointSubscriptionRequest")
    address = answer.said("SubscriptionReference", "Address")
    if not address:
        raise CameraOffline("the camera cannot be understood: it names no subscription")
    return address


async def pull(device: Device, subscription: str, seconds: float = PULL_SECONDS) -> list[Noticed]:
    """Wait for messages at most so long, and keep the subscription alive."""
    body = element(
        "tev:PullMessages", element("tev:Timeout", f"PT{seconds:g}S"), element("tev:MessageLimit", str(MOST_MESSAGES))
    )
    action = f"{_ACTION}PullPointSubscription/PullMessagesRequest"
    answer = await device.at(subscription, body, action, seconds + 5)
    found = noticed(answer)
    renewal = element("n:Renew", element("n:TerminationTime", f"PT{TERM_SECONDS}S"))
    renew = "http://docs.oasis-open.org/wsn/bw-2/SubscriptionManager/RenewRequest"
    try:
        await device.at(subscription, renewal, renew)
    except CameraOffline:
        return found  # many renew by the pull itself; if not, the next pull fails and one subscribes again
    return found


def noticed(answer: Element) -> list[Noticed]:
    """What of a camera's messages has just come to be so."""
    found = []
    for message in list(answer.all("NotificationMessage"))[:MOST_MESSAGES]:
        topic = "/".join(part.rpartition(":")[2] for part in message.said("Topic").split("/"))
        meaning = next((one for end, one in TOPICS.items() if topic.endswith(end)), None)
        body = message.find("Message", "Message") or message.find("Message")
        if meaning is None or body is None or body.attributes.get("PropertyOperation") in {"Initialized", "Deleted"}:
            continue
        source, data = (body.find(part) for part in ("Source", "Data"))
        values = [one.attributes.get("Value", "") for one in data.all("SimpleItem")] if data is not None else []
        states = [value.lower() for value in values if value.lower() in {"true", "false", "1", "0"}]
        if states and not _ON & set(states):
            continue
        names = [one.attributes.get("Value", "") for one in source.all("SimpleItem")] if source is not None else []
        at = body.attributes.get("UtcTime", "")
        found.append(Noticed(_short(topic), meaning, _short("/".join(names)), _short(at)))
    return found


def _short(said: str) -> str:
    return "".join(letter for letter in said[:60] if letter.isprintable())


Tell = Callable[[Sequence[Report]], Awaitable[None]]


class Ear:
    """What has been heard of one camera: what repeats, and what is too much."""

    def __init__(self, camera_id: UUID, bell_id: UUID | None) -> None:
        self.dropped = 0
        self._camera_id, self._bell_id = camera_id, bell_id
        self._heard: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._told: deque[float] = deque(maxlen=MOST_A_MINUTE)

    def reports(self, messages: Sequence[Noticed]) -> list[Report]:
        """The events to be told of these messages; the rest repeats, is too much, or has no bell."""
        return [report for message in messages if (report := self._report(message)) is not None]

    def _report(self, message: Noticed) -> Report | None:
        if message.meaning.of_bell and self._bell_id is None:
            return None
        now, key = clock.monotonic(), (message.meaning.kind, message.source)
        last = self._heard.pop(key, None)
        self._heard[key] = now
        while len(self._heard) > _MOST_SOURCES:
            self._heard.popitem(last=False)
        if last is not None and now - last < REPEAT_SECONDS:
            return None
        # A bell is told however much its camera has said: nobody's call is lost to the leaves in the wind.
        if len(self._told) == MOST_A_MINUTE and now - self._told[0] < 60 and not message.meaning.of_bell:  # noqa: PLR2004
            self.dropped += 1
            return None
        self._told.append(now)
        data: dict[str, Any] = {"rule": message.topic} if message.meaning.kind.startswith("analytic.") else {}
        if message.meaning.kind.startswith("analytic.") and message.source:
            data["zone"] = message.source
        if message.meaning.kind == "camera.covered":
            data["cause"] = message.topic
        if message.meaning.of_bell:
            data["trigger"] = "button"
        subject = ("assets", self._bell_id) if message.meaning.of_bell else ("cameras", self._camera_id)
        stamp = clock.now().isoformat()
        return Report(
            kind=message.meaning.kind, source=SOURCE,
            source_key=f"{self._camera_id}/{message.meaning.kind}/{stamp}", occurred_at=clock.now(),
            subject_kind=subject[0], subject_id=subject[1], data=data,
        )  # fmt: skip


async def listen(device: Device, ear: Ear, tell: Tell, seconds: float = PULL_SECONDS) -> None:
    """Listen to one camera until it is lost, giving reports to `tell`. Raises CameraOffline and other refusals."""
    subscription = await subscribe(device)
    while True:
        reports = ear.reports(await pull(device, subscription, seconds))
        if reports:
            try:
                await tell(reports)
            except Refusal:
                await tell(reports)  # once more: what the database did not take, it may take now
