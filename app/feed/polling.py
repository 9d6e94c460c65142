"""The feed for clients without sockets: ask, wait, go on from the position that was answered."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from app import clock
from app.actor import Actor
from app.feed import messages
from app.feed.live import Feed
from app.feed.members import Member
from app.feed.subscriptions import Subscription

LOOK_SECONDS = 1.0  # how often who waits looks whether it is still there


class _Nowhere:
    """The connection of who has none."""

    def write(self, data: bytes) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None: ...


@asynccontextmanager
async def reader(feed: Feed, actor: Actor) -> AsyncGenerator[Member]:
    """A member without a connection, whose rights are those of now for as long as the block lasts."""
    member = feed.join(actor, (), _Nowhere())
    try:
        await feed.refresh(member)
        yield member
    finally:
        feed.leave(member)


async def since(
    feed: Feed, reader: Member, subscription: Subscription, after: int, *, wait_seconds: float, limit: int
) -> tuple[list[dict[str, Any]], int]:
    """Events after a number that are wanted and permitted, and the number to go on from; waits for one if asked.

    It ends at once, with nothing, when the reader's session does.
    """
    feed.know_unit(subscription.near)
    deadline = clock.monotonic() + wait_seconds
    found: list[dict[str, Any]] = []
    cursor = min(after, feed.position)
    while True:
        while cursor < feed.position and len(found) < limit and reader.over is None:
            rows, cursor = await feed.past(reader, subscription, cursor, limit - len(found))
            found += [
                {
                    "position": feed.positions.write(row["position"]),
                    "event": messages.cloud_event(row, reader.sight(row["owner_agency_id"])),
                }
                for row in rows
            ]
        left = deadline - clock.monotonic()
        if found or left <= 0 or reader.over is not None:
            return (found if reader.over is None else []), cursor
        await feed.more_than(cursor, min(left, LOOK_SECONDS))
