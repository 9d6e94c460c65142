"""The event feed over WebSocket: a conversation without I/O (feed/conversation.py) given a connection."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from app import database, ledger
from app.access import sessions
from app.errors import DatabaseUnavailable, NotPermitted, NotSignedIn, Refusal, SessionEnded
from app.fanout import Pump, text_frame, unframed
from app.feed import alarms, messages
from app.feed.conversation import (
    HELLO_SECONDS,
    Acknowledge,
    Action,
    Authenticate,
    Conversation,
    Leave,
    Refuse,
    Subscribe,
    Unsubscribe,
)
from app.feed.live import HEARTBEAT_SECONDS
from app.feed.members import Member
from app.feed.subscriptions import Wish
from app.registry import areas
from app.routers.dependencies import House
from app.transports import transport_of

router = APIRouter()
log = logging.getLogger("gwanje.feed")

BEHIND = 4310
RESTART = 4312
UNEXPECTED = 1011  # RFC 6455 §7.4.1
FAREWELL_SECONDS = 5  # for a client that does not read what waits for it
DATABASE_LOST = DatabaseUnavailable("the database does not answer; reconnect in a moment")


class _Gone(Exception):  # noqa: N818 - the client is gone, which is no error
    """The client closed the connection."""


async def _receive(socket: WebSocket) -> str | bytes:
    message: Mapping[str, Any] = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise _Gone
    return message.get("text") or message.get("bytes") or ""


async def _say(socket: WebSocket, **message: Any) -> None:
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        await socket.send_text(messages.encode(message).decode())


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        await socket.close(code, reason[:120].encode()[:120].decode(errors="ignore"))


@router.websocket("/v1/feed")
async def feed(socket: WebSocket) -> None:
    """Events in order, without loss, as far as one's rights go. See asyncapi.yaml."""
    house: House = socket.state.house
    await socket.accept()
    conversation = Conversation()
    try:
        line = await _greet(socket, house, conversation)
    except _Gone:
        return
    except Refusal as refusal:
        await _send_away(socket, refusal)
        return
    except database.LOST:
        await _send_away(socket, DATABASE_LOST)
        return
    try:
        await _talk(socket, house, conversation, line)
    except _Gone:
        pass
    except Exception as error:  # noqa: BLE001 - whatever it is, the client is told to come back
        line.member.end(_failure(error))
    finally:
        house.feed.leave(line.member)
        if line.pumping is not None:
            line.pumping.cancel()
            await asyncio.gather(line.pumping, return_exceptions=True)
        if line.parting is not None:
            await line.parting


class Line:
    """A greeted client's connection: who it is, where it goes on, and how it is told that it is over.

    A connection that is idle is one task, which waits for what the client says; the end comes from elsewhere.
    """

    def __init__(self, socket: WebSocket, house: House, member: Member, pump: Pump | None) -> None:
        self.socket, self.house, self.member = socket, house, member
        self.after: int | None = None
        self.wishes: Sequence[Wish] = ()
        self.pumping = asyncio.create_task(_pump(pump, member)) if pump else None
        self.parting: asyncio.Task[None] | None = None
        member.on_end = self._part

    def _part(self, why: Refusal | str) -> None:
        feed, member = self.house.feed, self.member
        last = b""
        if why == "behind":
            reached = feed.written if member.reached is None else member.reached
            last = text_frame(messages.encode({"type": "behind", "resume_after": feed.positions.mark(reached)}))
        feed.leave(member, last)
        self.parting = asyncio.create_task(self._farewell(why))

    async def _farewell(self, why: Refusal | str) -> None:
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                await _farewell(self.socket, why)
        except TimeoutError:
            self.member.listener.transport.abort()


async def _pump(pump: Pump, member: Member) -> None:
    """Hand on what is written, behind a server whose transport cannot be reached; a client that is gone ends it."""
    try:
        await pump.run()
    except (RuntimeError, WebSocketDisconnect, OSError):
        member.listener.leave()


async def _greet(socket: WebSocket, house: House, conversation: Conversation) -> Line:
    """Hear the hello within 10 s, find out who it is, say welcome."""
    try:
        async with asyncio.timeout(HELLO_SECONDS):
            action = conversation.receive(await _receive(socket))
    except TimeoutError:
        raise NotSignedIn(f"no hello within {HELLO_SECONDS} s") from None
    if isinstance(action, Leave):
        raise action.refusal
    assert isinstance(action, Authenticate)
    address = socket.client.host if socket.client else ""
    async with house.greeting, house.database.begin() as session:
        if action.token:
            actor = await sessions.authenticate(session, action.token, address)
        else:
            actor = await sessions.redeem(session, action.ticket, address)
    if not actor.may("feed"):
        raise NotPermitted(f"the role {actor.role} has no feed", missing="feed")
    below = transport_of(socket.scope)
    pump = None if below is not None else Pump(lambda frames: _hand_on(socket, frames))
    # It listens before its rights are read: what is withdrawn from here on is heard, what was withdrawn before is seen.
    member = house.feed.join(actor, (), below if below is not None else pump)
    try:
        await _learn_rights(house, member)
        after = await _welcome(socket, house, action.after)
    except BaseException:
        house.feed.leave(member)
        raise
    line = Line(socket, house, member, pump)
    line.after = member.reached = after
    line.wishes = action.wishes
    house.feed.welcome(member)
    return line


async def _learn_rights(house: House, member: Member) -> None:
    async with house.greeting:
        await house.feed.refresh(member)
    if member.over is not None:
        raise SessionEnded("this session is over; sign in again")


async def _hand_on(socket: WebSocket, frames: bytes) -> None:
    for _, payload in unframed(frames):
        await socket.send_text(payload.decode())


async def _welcome(socket: WebSocket, house: House, position: str | None) -> int | None:
    """Say welcome; the number after which it goes on, None for now: nothing was said of it, or no such log is known."""
    after, reason = (None, "") if position is None else await house.feed.resume(position)
    positions = house.feed.positions
    await _say(
        socket, type="welcome", epoch=positions.epoch, position=positions.mark(house.feed.position),
        heartbeat_seconds=HEARTBEAT_SECONDS,
    )  # fmt: skip
    if reason:
        await _say(socket, type="resync", reason=reason)
    return after


async def _talk(socket: WebSocket, house: House, conversation: Conversation, line: Line) -> None:
    """Do what the client asks, until it goes or is sent away."""
    for wish in line.wishes:
        await _do(house, line, Subscribe(wish))
    while True:
        await _do(house, line, conversation.receive(await _receive(socket)))


async def _do(house: House, line: Line, action: Action) -> None:
    member = line.member
    try:
        match action:
            case Subscribe(wish):
                await _subscribe(house, line, wish)
            case Unsubscribe(name):
                house.feed.unsubscribe(member, name)
            case Acknowledge(event_id, room):
                await _acknowledge(house, member, event_id, room)
            case Refuse(refusal):
                _refuse(member, refusal)
            case Leave(refusal):
                member.end(refusal)
                raise _Gone
            case Authenticate():
                pass  # hello is said once; the conversation refuses another
    except Refusal as refusal:
        _refuse(member, refusal)


def _refuse(member: Member, refusal: Refusal) -> None:
    member.say(messages.encode({"type": "refused", "problem": refusal.problem()}))


async def _subscribe(house: House, line: Line, wish: Wish) -> None:
    subscription = wish.subscription
    if wish.area_codes:
        async with house.database.begin() as session:
            known = await areas.by_codes(session, wish.area_codes)
        subscription = replace(subscription, area_ids=subscription.area_ids | known)
    await house.feed.subscribe(line.member, subscription, line.after, snapshot=wish.snapshot)
    line.member.say(messages.encode({"type": "subscribed", "id": subscription.id}))


async def _acknowledge(house: House, member: Member, event_id: UUID, room: UUID | None) -> None:
    """Write down that this person acknowledged an event that it may see."""
    async with house.database.begin() as session:
        await alarms.acknowledge(session, member, event_id, room)
    house.poke(ledger.appended_to(session))
    member.say(messages.encode({"type": "acknowledged", "event_id": str(event_id), "by": member.actor.login}))


def _failure(error: BaseException) -> Refusal | str:
    """What a conversation ends with that broke off on our side."""
    if database.lost(error):
        return DATABASE_LOST
    log.error("an unexpected error on the feed", exc_info=error)
    return "unexpected"


async def _send_away(socket: WebSocket, refusal: Refusal) -> None:
    await _say(socket, type="refused", problem=refusal.problem())
    await _close(socket, refusal.kind.close_code, refusal.detail)


async def _farewell(socket: WebSocket, why: Refusal | str) -> None:
    if isinstance(why, Refusal):
        await _send_away(socket, why)
    elif why == "behind":
        await _close(socket, BEHIND, "behind: reconnect and resume after your last position")
    elif why == "server_stopped":
        await _say(socket, type="bye")
        await _close(socket, RESTART, "restarting: reconnect and resume after your last position")
    elif why == "unexpected":
        await _close(socket, UNEXPECTED, "an error of ours; it was logged")
    else:
        await _send_away(socket, SessionEnded("this session is over; sign in again"))
