"""Who reports, and what the reports are checked against, by one query.

A round trip to the database is most of what a lone event waits for.
"""

from collections.abc import Collection, Iterable

import asyncpg

from app.access import sessions
from app.actor import Actor
from app.errors import Refusal
from app.events import known
from app.events.known import THINGS, Found
from app.events.report import Report

# The two tables share no row: each row is of one of them.
_KNOWN = f"""
WITH who AS MATERIALIZED ({sessions.OF_TOKENS})
SELECT * FROM (SELECT true AS is_actor, who.* FROM who) AS actor
FULL JOIN (
    SELECT false AS is_actor, thing.*
    FROM ({THINGS.format(bodies="SELECT body_id FROM who", users="SELECT user_id FROM who")}) AS thing
) AS thing USING (is_actor)
"""  # noqa: S608 - our own SQL
_COLUMNS_OF_THINGS = 11


async def of_tokens(
    connection: asyncpg.Connection, tokens: Collection[str], reports: Iterable[Report]
) -> tuple[dict[str, Actor | Refusal], Found]:
    """Who the holders of the tokens are, or why they are refused; and what is known of their reports."""
    rows = await connection.fetch(_KNOWN, sessions.digests(tokens), *known.named(reports))
    actors = sessions.of_tokens(tokens, (row for row in rows if row["is_actor"]))
    return actors, known.found_of(row[-_COLUMNS_OF_THINGS:] for row in rows if not row["is_actor"])
