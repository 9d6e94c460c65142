"""The event feed over WebSocket: a conversation without I/O (feed/conversation.py) given a connection."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from sqlalchemy import insert

from app import clock, database
from app.access import sessions
from app.errors import DatabaseUnavailable, Malformed, NotPermitted, NotSignedIn, Refusal, SessionEnded
from app.fanout import Pump
from app.feed import messages
from app.feed.conversation import (
    HEARTBEAT_SECONDS,
    HELLO_SECONDS,
    Acknowledge,
    Authenticate,
    Conversation,
    Leave,
    Refuse,
    Subscribe,
    Unsubscribe,
)
from app.feed.live import Member
from app.models import EventVerdict
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
        member, after, pump = await _greet(socket, house, conversation)
    except _Gone:
        return
    except Refusal as refusal:
        await _send_away(socket, refusal)
        return
    except database.LOST:
        await _send_away(socket, DATABASE_LOST)
        return
    talking = asyncio.create_task(_talk(socket, house, conversation, member, after))
    beating = asyncio.create_task(_beat(house, member))
    pumping = asyncio.create_task(pump.run()) if pump else None
    tasks = [task for task in (talking, beating, pumping) if task is not None]
    try:
        over: set[asyncio.Future[Any]] = {talking, member.ended}
        await asyncio.wait(over, return_when=asyncio.FIRST_COMPLETED)
        if talking.done() and (error := talking.exception()) is not None:
            member.end(_failure(error))
    finally:
        house.feed.leave(member)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if member.ended.done():
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                await _farewell(socket, member.ended.result())
        except TimeoutError:
            member.listener.transport.abort()


async def _greet(socket: WebSocket, house: House, conversation: Conversation) -> tuple[Member, int | None, Pump | None]:
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
    async with house.database.begin() as session:
        if action.token:
            actor = await sessions.authenticate(session, action.token, address)
        else:
            actor = await sessions.redeem(session, action.ticket, address)
        if not actor.may("feed"):
            raise NotPermitted(f"the role {actor.role} has no feed", missing="feed")
    below = transport_of(socket.scope)
    pump = None if below is not None else Pump(lambda data: socket.send_text(data.decode()))
    # It listens before its rights are read: what is withdrawn from here on is heard, what was withdrawn before is seen.
    member = house.feed.join(actor, (), below if below is not None else pump, framed=below is not None)
    try:
        await house.feed.refresh(member)
        member.reached = await _welcome(socket, house, action.after)
    except BaseException:
        house.feed.leave(member)
        raise
    return member, member.reached, pump


async def _welcome(socket: WebSocket, house: House, position: str | None) -> int | None:
    """Say welcome; the number after which it goes on, None for now: nothing was said of it, or no such log is known."""
    after = None if position is None else await house.feed.resume(position)
    positions = house.feed.positions
    await _say(
        socket, type="welcome", epoch=positions.epoch, position=positions.write(house.feed.position),
        heartbeat_seconds=HEARTBEAT_SECONDS,
    )  # fmt: skip
    if position is not None and after is None:
        await _say(socket, type="resync", reason="the position is not of this log; read the state anew")
    return after


async def _talk(socket: WebSocket, house: House, conversation: Conversation, member: Member, after: int | None) -> None:
    """Do what the client asks, until it goes or is sent away."""
    while True:
        try:
            action = conversation.receive(await _receive(socket))
            match action:
                case Subscribe(subscription):
                    await house.feed.subscribe(member, subscription, after)
                    member.say(messages.encode({"type": "subscribed", "id": subscription.id}))
                case Unsubscribe(name):
                    house.feed.unsubscribe(member, name)
                case Acknowledge(event_id, room):
                    await _acknowledge(house, member, event_id, room)
                case Refuse(refusal):
                    member.say(messages.encode({"type": "refused", "problem": refusal.problem()}))
                case Leave(refusal):
                    member.end(refusal)
                    return
                case Authenticate():
                    raise Malformed("hello is said once", field="type")
        except _Gone:
            return
        except Refusal as refusal:
            member.say(messages.encode({"type": "refused", "problem": refusal.problem()}))


async def _acknowledge(house: House, member: Member, event_id: Any, room: Any) -> None:
    """Write down that this person acknowledged an event that it may see."""
    async with house.database.bare.acquire() as connection:
        row = await connection.fetchrow("SELECT * FROM events WHERE id = $1", event_id)
    if row is None or not member.may_see(row, clock.now()):
        raise Malformed("there is no such event for you", field="event_id")
    if room is not None and room not in member.actor.acts_for_ids:
        raise NotPermitted("room: acknowledge for a room of your own agency", field="room")
    async with house.database.begin() as session:
        await session.execute(
            insert(EventVerdict).values(
                event_id=event_id, event_at=row["at"], kind="acknowledged",
                room_agency_id=room or member.actor.agency_id,
                user_id=member.actor.user_id, restriction=row["restriction"],
            )
        )  # fmt: skip
    member.say(messages.encode({"type": "acknowledged", "event_id": str(event_id), "by": member.actor.login}))


async def _beat(house: House, member: Member) -> None:
    """Tell how far the client was brought and how many events were delivered: proof that nothing was missed."""
    while True:
        await asyncio.sleep(HEARTBEAT_SECONDS)
        reached = house.feed.position if member.reached is None else member.reached
        position = house.feed.positions.write(reached)
        member.say(messages.encode({"type": "heartbeat", "position": position, "delivered": member.delivered}))


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
        # What waits in the connection cannot be taken back; the position of the last heartbeat or event counts.
        await _close(socket, BEHIND, "behind: reconnect and resume after your last position")
    elif why == "server_stopped":
        await _say(socket, type="bye")
        await _close(socket, RESTART, "restarting: reconnect and resume after your last position")
    elif why == "unexpected":
        await _close(socket, UNEXPECTED, "an error of ours; it was logged")
    else:
        await _send_away(socket, SessionEnded("this session is over; sign in again"))
