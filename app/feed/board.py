"""What is going on: open alarms with what became of them, and conditions that last. The state that a client keeps.

The state is a fold of events, so it can be sent as events: those that make it up. Whoever folds a snapshot's events,
and then every later event, has what a later snapshot says.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.database import fetch
from app.events.catalogue import KINDS
from app.feed.members import Viewer
from app.feed.subscriptions import Subscription, Whereabouts, nowhere

SPAN = timedelta(days=7)  # an alarm or a condition of longer ago is no news; it is found in the log
MOST = 5000
# Their beginning is an alarm, too, which may be open when the condition is over: then the end belongs to the state. So
# does an end that not everybody hears who heard of the beginning, as long as that stands elsewhere. The times are those
# at which transactions began, so that what came later may be some seconds older.
_ENDS_TOLD = sorted({kind.family for kind in KINDS.values() if kind.lasts and kind.acknowledge_seconds})
_OPEN = """
WITH standing AS (
    SELECT event_id AS id, event_at AS at FROM alarms WHERE closed_at IS NULL AND event_at > now() - $2::interval
    UNION ALL SELECT event_id, event_at FROM conditions WHERE lasts AND event_at > now() - $2::interval
), ended AS (
    SELECT ended_id AS id, ended_at AS at FROM conditions
    WHERE family = ANY($5::text[]) AND ended_at > now() - $2::interval AND ended_at >= (
        SELECT min(event_at) - interval '1 minute' FROM alarms
        WHERE closed_at IS NULL AND event_at > now() - $2::interval
    )
    UNION ALL SELECT e.ended_id, e.ended_at FROM conditions c JOIN conditions e USING (family, subject)
    WHERE c.lasts AND c.event_at > now() - $2::interval AND e.place <> c.place AND e.ended_at > now() - $2::interval
), about AS (
    SELECT id, at FROM ended UNION
    SELECT id, at FROM standing
    UNION SELECT f.id, f.at FROM standing s JOIN events f ON f.regards_id = s.id AND f.at > s.at - interval '1 minute'
)
SELECT p.position, r.* FROM about a JOIN events r ON r.id = a.id AND r.at = a.at JOIN event_positions p ON p.id = a.id
WHERE p.position <= $1 AND r.owner_agency_id = ANY($3::uuid[]) AND {wanted} ORDER BY p.position LIMIT $4
"""


_FORGET = """
DELETE FROM conditions WHERE (family, subject, place) IN (
    SELECT family, subject, place FROM conditions WHERE event_at < now() - $1::interval
    ORDER BY family, subject, place FOR UPDATE SKIP LOCKED
)
"""


async def forget(session: AsyncSession) -> None:
    """Lose the conditions of which nobody is told any more; what happened stays in the log."""
    await fetch(session, _FORGET, SPAN + timedelta(days=1))


async def standing(
    connection: asyncpg.Connection,
    viewer: Viewer,
    subscription: Subscription,
    until: int,
    whereabouts: Whereabouts = nowhere,
) -> Sequence[Mapping[str, Any]]:
    """The events up to a position that make up the state, as far as they are wanted and permitted, in order."""
    owners = list({scope.owner_agency_id for scope in viewer.scopes})
    wanted, values = subscription.condition(6)
    rows = await connection.fetch(_OPEN.format(wanted=wanted), until, SPAN, owners, MOST, _ENDS_TOLD, *values)
    now = clock.now()
    return [row for row in rows if subscription.wants(row, whereabouts) and viewer.may_see(row, now)]
