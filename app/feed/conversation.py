"""One client's conversation on the feed, without any I/O: text comes in, what is to be done goes out.

    connected --hello--> greeted --subscribe/unsubscribe/ack--> greeted …

Whoever does not say hello within 10 s, says something that is no message, or talks before the greeting, is sent away
with a code that says whether to come back (43xx) or not (44xx).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from app.errors import Malformed, NotSignedIn, Refusal
from app.feed.subscriptions import MOST_SUBSCRIPTIONS, Wish, parse

HELLO_SECONDS = 10
MOST_FRAME_BYTES = 64 * 1024
MOST_REFUSALS = 20


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Find out who this is: by bearer token or by a single-use ticket. `after` is where it left off.

    `wishes` are subscriptions that came with the greeting.
    """

    token: str
    ticket: str
    after: str | None
    wishes: tuple[Wish, ...] = ()


@dataclass(frozen=True, slots=True)
class Subscribe:
    wish: Wish


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    id: str


@dataclass(frozen=True, slots=True)
class Acknowledge:
    event_id: UUID
    room: UUID | None


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer with the refusal and go on."""

    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Leave:
    """Answer with the refusal and close with its code."""

    refusal: Refusal


Action = Authenticate | Subscribe | Unsubscribe | Acknowledge | Refuse | Leave


class Conversation:
    """What a client has said so far, and what its next message means."""

    def __init__(self) -> None:
        self.greeted = False
        self._subscriptions: set[str] = set()
        self._refusals = 0

    def receive(self, frame: str | bytes) -> Action:
        """The action that a frame asks for."""
        try:
            return self._understand(frame)
        except Refusal as refusal:
            self._refusals += 1
            if not self.greeted or self._refusals > MOST_REFUSALS:
                return Leave(refusal)
            return Refuse(refusal)

    def _understand(self, frame: str | bytes) -> Action:
        message = _message(frame)
        kind = message.get("type")
        if kind == "hello":
            return self._hello(message)
        if not self.greeted:
            raise NotSignedIn('say hello first: {"type": "hello", "token": …} or {"type": "hello", "ticket": …}')
        if kind == "subscribe":
            return Subscribe(self._wish(message))
        if kind == "unsubscribe":
            name = message.get("id")
            if not isinstance(name, str) or name not in self._subscriptions:
                raise Malformed("there is no subscription of that id", field="id")
            self._subscriptions.discard(name)
            return Unsubscribe(name)
        if kind == "ack":
            return _acknowledgement(message)
        raise Malformed("type is hello, subscribe, unsubscribe or ack", field="type")

    def _wish(self, message: Mapping[str, Any]) -> Wish:
        wish = parse(message)
        name = wish.subscription.id
        if name not in self._subscriptions and len(self._subscriptions) >= MOST_SUBSCRIPTIONS:
            raise Malformed(f"at most {MOST_SUBSCRIPTIONS} subscriptions; unsubscribe one first", field="id")
        self._subscriptions.add(name)
        return wish

    def _hello(self, message: Mapping[str, Any]) -> Authenticate:
        if self.greeted:
            raise Malformed("hello is said once", field="type")
        token, ticket, after = message.get("token", ""), message.get("ticket", ""), message.get("after")
        if not isinstance(token, str) or not isinstance(ticket, str) or not (token or ticket):
            raise NotSignedIn("hello carries a token or a ticket")
        if after is not None and not isinstance(after, str):
            raise Malformed("after is a position that the feed gave you", field="after")
        wanted = message.get("subscribe") or []
        if not isinstance(wanted, list) or not all(isinstance(one, dict) for one in wanted):
            raise Malformed("subscribe is a list of subscriptions, each as in a `subscribe` message", field="subscribe")
        wishes = tuple(self._wish(one) for one in wanted)
        self.greeted = True
        return Authenticate(token, ticket, after, wishes)


def _message(frame: str | bytes) -> Mapping[str, Any]:
    if len(frame.encode(errors="surrogatepass") if isinstance(frame, str) else frame) > MOST_FRAME_BYTES:
        raise Malformed(f"a frame has at most {MOST_FRAME_BYTES} bytes")
    try:
        message = orjson.loads(frame)
    except orjson.JSONDecodeError:
        raise Malformed("a frame is one JSON object in UTF-8") from None
    if not isinstance(message, dict):
        raise Malformed("a frame is one JSON object in UTF-8")
    return message


def _acknowledgement(message: Mapping[str, Any]) -> Acknowledge:
    room = message.get("room")
    return Acknowledge(_uuid(message.get("event_id"), "event_id"), _uuid(room, "room") if room else None)


def _uuid(value: Any, field: str) -> UUID:
    try:
        return UUID(str(value))
    except ValueError:
        raise Malformed(f"ack is {{event_id, room?}}: {field} holds no id", field=field) from None
