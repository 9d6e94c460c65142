"""How many may watch at once: per person, agency, camera and gateway, and who gives way to an emergency.

A person's and an agency's limit is theirs to keep. Where a camera or a gateway is full, an emergency takes the place
of the least urgent viewer; never of an owner's view of an alarm, nor of another code 0 or 1 incident.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from app.actor import Actor
from app.announcements import CHANNEL
from app.errors import CameraFull, GatewayFull, TooManyViews
from app.settings import Settings

MOST_URGENT_KEPT = 1  # code 0 and 1 of the 112 scale
CUT = "cut"  # the topic on which a single view is told to end: "<view id> <cause> <session id> <camera id>"
_AT_ONCE = 32  # so near to a limit openings that count for the same take turns: the count is exact
_RETRY_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Limits:
    """Views at the same time."""

    person: int
    agency: int
    camera: int
    gateway: int

    @classmethod
    def of(cls, settings: Settings, gateway: int | None = None) -> "Limits":
        return cls(
            settings.most_views_of_person, settings.most_views_of_agency, settings.most_viewers_of_camera,
            gateway or settings.most_viewers,
        )  # fmt: skip


# What is being replaced or has been told to give way no longer counts. A wall's tiles count as any other view.
_OPEN = """
FROM (
    SELECT user_id, agency_id, camera_id, gateway, grant_id, protocol FROM views
    WHERE closed_at IS NULL AND preempted_by IS NULL AND {column} = $1
    UNION ALL
    SELECT user_id, agency_id, camera_id, gateway, grant_id, protocol FROM showings
    WHERE ended_at IS NULL AND cause = '' AND {column} = $1
) v WHERE NOT (v.grant_id = $2 AND v.camera_id = $3 AND v.protocol = $4)
"""
_COUNT = {
    name: "SELECT count(*) " + _OPEN.format(column=name) for name in ("user_id", "agency_id", "camera_id", "gateway")
}
# The least urgent gives way, of equals the one that came last.
_VICTIM = """
SELECT 'views' AS kind, v.id, v.at, v.urgency, g.session_id, v.camera_id FROM views v
JOIN grants g ON g.id = v.grant_id AND g.at = v.grant_at
WHERE v.closed_at IS NULL AND v.preempted_by IS NULL AND NOT v.protected AND v.urgency > $2 AND v.{column} = $1
UNION ALL
SELECT 'showings', s.id, s.began_at, 4, g.session_id, s.camera_id FROM showings s
JOIN grants g ON g.id = s.grant_id AND g.at = s.grant_at
WHERE s.ended_at IS NULL AND s.cause = '' AND s.{column} = $1
ORDER BY 4 DESC, 3 DESC LIMIT 1
"""


def is_protected(facts: Mapping[str, Any]) -> bool:
    """Whether a view under this grant is never pre-empted: code 0 or 1, or the owner watching an alarm of its own."""
    answers_alarm = facts["event_id"] is not None or facts["incident_id"] is not None
    own = facts["owner_agency_id"] in facts["acts_for_ids"]
    return facts["urgency"] <= MOST_URGENT_KEPT or (own and answers_alarm)


def may_pre_empt(facts: Mapping[str, Any]) -> bool:
    return bool(facts["kind"] == "emergency" or facts["urgency"] <= MOST_URGENT_KEPT)


async def admit(
    connection: asyncpg.Connection, facts: Mapping[str, Any], key: tuple[UUID, UUID, str], view_id: UUID,
    gateway: str, limits: Limits,
) -> list[UUID]:  # fmt: skip
    """See that one more view fits, in the transaction that opens it; the views that were told to give way for it.

    `key` is (grant, camera, protocol): a view that is about to be replaced does not count. Raises TooManyViews,
    CameraFull or GatewayFull.
    """
    _, camera_id, _ = key
    for column, value, most, whose in (
        ("user_id", facts["user_id"], limits.person, "you have"),
        ("agency_id", facts["agency_id"], limits.agency, "your agency has"),
    ):
        if await _counted(connection, column, value, key, most) >= most:
            raise TooManyViews(f"{whose} {most} views open, which is the limit; close one first", limit=most)
    gone = []
    for column, place, most in (("camera_id", camera_id, limits.camera), ("gateway", gateway, limits.gateway)):
        if await _counted(connection, column, place, key, most) >= most:
            victim = await _pre_empt(connection, facts, column, place, view_id) if may_pre_empt(facts) else None
            if victim is None:
                raise _full(column, most)
            gone.append(victim)
    return gone


async def _counted(
    connection: asyncpg.Connection, column: str, value: object, key: tuple[UUID, UUID, str], most: int
) -> int:
    """How many views are open; near the limit, whoever else opens one waits until this transaction is over."""
    count: int = await connection.fetchval(_COUNT[column], value, *key)
    if count + _AT_ONCE >= most:
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 1))", f"views/{value}")
        count = await connection.fetchval(_COUNT[column], value, *key)
    return count


async def _pre_empt(
    connection: asyncpg.Connection, facts: Mapping[str, Any], column: str, place: object, by: UUID
) -> UUID | None:
    victim = await connection.fetchrow(_VICTIM.format(column=column), place, facts["urgency"])
    if victim is None:
        return None
    if victim["kind"] == "views":
        await connection.execute(
            "UPDATE views SET preempted_by = $3 WHERE id = $1 AND at = $2", victim["id"], victim["at"], by
        )
    else:
        await connection.execute("UPDATE showings SET cause = 'pre_empted' WHERE id = $1", victim["id"])
    news = f"{CUT} {victim['id']} pre_empted {victim['session_id']} {victim['camera_id']}"
    await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, news)
    found: UUID = victim["id"]
    return found


def _full(column: str, most: int) -> CameraFull | GatewayFull:
    if column == "camera_id":
        return CameraFull(
            f"{most} viewers watch this camera already, all of them as urgent as you; try again in a moment"
            " / 이 카메라의 동시 시청 한도에 도달했습니다",
            retry_after_seconds=_RETRY_SECONDS, limit=most,
        )  # fmt: skip
    return GatewayFull(
        f"the media gateway carries {most} viewers already, all of them as urgent as you; try again in a moment",
        retry_after_seconds=_RETRY_SECONDS, limit=most,
    )  # fmt: skip


def urgency_of(actor: Actor, kind: str, asked: int | None) -> int | None:
    """0…4 of a grant; None when the role may not claim what it asked for."""
    usual = {"emergency": 1, "incident": 2, "approved": 3, "duty": 4}[kind]
    if asked is None or asked >= usual:
        return usual if asked is None else asked
    return asked if kind == "incident" and actor.may("emergency") else None
