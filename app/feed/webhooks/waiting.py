"""How much waits for a webhook: events that it wants and may tell, not yet taken."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.database import Database
from app.feed import history
from app.feed.members import Viewer
from app.feed.webhooks import owners
from app.feed.webhooks.owners import Lost
from app.feed.webhooks.table import subscription_of
from app.models import Webhook

MOST_COUNTED = 1000
MOST_COMPARED = 50_000  # events of the log: who rested for weeks is told of the first of them


async def owner_of(session: AsyncSession, webhook: Webhook) -> Viewer | Lost:
    """In whose name it is told, now."""
    return (await owners.read(session, [webhook.appointment_id]))[webhook.appointment_id]


async def count(database: Database, webhook: Webhook, owner: Viewer | Lost, until: int) -> int:
    """Events that wait, counted up to 1000 and 50,000 positions; none once its owner has lost the office."""
    if isinstance(owner, Lost):
        return 0
    until = min(until, webhook.position + MOST_COMPARED)
    async with database.bare.acquire() as connection:
        rows, _ = await history.read(
            connection, owner, subscription_of(webhook), webhook.position, until, MOST_COUNTED
        )  # fmt: skip
    return len(rows)
