"""Commands to a head: each takes its turn in the database before a byte leaves, and gives it back afterwards.

A turn is taken only while no other command can still be on its way: until it is given back, or until `busy_until`,
before which a command has long been given up here. So commands of two drivers never overlap, in however many
processes they are given, and what a former driver asks for is refused. A command that was given up leaves its turn to
run out, since the camera may still be about it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from app import clock
from app.actor import Actor
from app.errors import CameraOffline, CameraRefuses, Malformed, NotFound
from app.streams.onvif.device import Move
from app.streams.ptz.leases import LEASE_SECONDS, STANDING, close, ended, lock
from app.streams.writer import Writer

BUSY_SECONDS = 3.0  # a turn that is not given back is over after so long
_MARGIN_SECONDS = 0.5  # so long before that its command is given up
MOST_CONTINUOUS_SECONDS = 5.0
_MOST_PRESETS = 32  # named in a track
_WAIT_SECONDS, _LOOK_SECONDS = 4.0, 0.03
STOP = Move("stop")
_TAKE = """
UPDATE ptz_heads SET turn = turn + 1, busy_until = clock_timestamp() + make_interval(secs => $2), lease_id = $3,
    moving_until = clock_timestamp() + make_interval(secs => $4), home_after = coalesce(home_after, now())
WHERE camera_id = $1 RETURNING turn
"""
_TRACK = """
UPDATE ptz_leases l SET moves = moves + 1, presets = $2, extent = $3::jsonb,
    expires_at = least(g.expires_at, now() + make_interval(secs => $4))
FROM grants g WHERE l.id = $1 AND g.id = l.grant_id AND g.at = l.grant_at
"""
_GIVE_BACK = "UPDATE ptz_heads SET busy_until = NULL WHERE camera_id = $1 AND turn = $2"

Drive = Callable[[UUID, Move, float], Awaitable[None]]
"""Sends one command to a camera within so many seconds."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The right to send one command, until `until` by our own clock."""

    camera_id: UUID
    number: int
    until: float
    stop_first: bool


def check(move: Move) -> None:
    """Refuse what no head understands, by its field. A continuous move always says when it ends."""
    for name in ("pan", "tilt", "zoom"):
        if not -1 <= getattr(move, name) <= 1:
            raise Malformed(f"{name} lies between -1 and 1", field=name)
    if move.kind == "continuous" and not 0 < move.seconds <= MOST_CONTINUOUS_SECONDS:
        raise Malformed(f"seconds: more than 0, at most {MOST_CONTINUOUS_SECONDS:g}", field="seconds")
    if move.kind == "preset" and not (0 < len(move.preset) <= 64 and move.preset.isprintable()):  # noqa: PLR2004
        raise Malformed("preset is a token that GET …/presets lists", field="preset")


async def move(writer: Writer, drive: Drive, actor: Actor, lease_id: UUID, wanted: Move) -> int:
    """Turn the head as its driver; the turn's number, which grows with every command of this camera.

    The command is counted in the lease's track before it is sent. Raises LeaseEnded, NotFound, Malformed,
    CameraOffline.
    """
    check(wanted)
    deadline = clock.monotonic() + _WAIT_SECONDS
    while True:
        turn: Turn | None = await writer.transact(lambda connection: _take(connection, actor, lease_id, wanted))
        if turn is not None:
            break
        if clock.monotonic() > deadline:
            raise CameraOffline("the camera is still about the command before; try again")
        await asyncio.sleep(_LOOK_SECONDS)
    await _send(writer, drive, turn, wanted)
    return turn.number


async def _take(connection: asyncpg.Connection, actor: Actor, lease_id: UUID, wanted: Move) -> Turn | None:
    """The next turn, or None while another command may still be on its way. Raises LeaseEnded, NotFound."""
    began = clock.monotonic()
    known = await connection.fetchrow("SELECT camera_id, session_id FROM ptz_leases WHERE id = $1", lease_id)
    if known is None or known["session_id"] != actor.session_id:
        raise NotFound("there is no such lease of yours")
    head = await lock(connection, known["camera_id"])
    lease = await connection.fetchrow(STANDING + " l.id = $1", lease_id)  # its own snapshot, after the lock
    if lease is None or lease["over"]:
        raise ended(lease["over"] if lease else await _cause(connection, lease_id))
    if head["busy"]:
        return None
    seconds = wanted.seconds if wanted.kind == "continuous" else None
    number = await connection.fetchval(_TAKE, known["camera_id"], BUSY_SECONDS, lease_id, seconds)
    presets, extent = _track(lease, wanted)
    await connection.execute(_TRACK, lease_id, presets, orjson.dumps(extent).decode(), LEASE_SECONDS)
    others = head["moving"] and head["lease_id"] != lease_id
    return Turn(known["camera_id"], number, began + BUSY_SECONDS - _MARGIN_SECONDS, bool(others))


async def _cause(connection: asyncpg.Connection, lease_id: UUID) -> str:
    return str(await connection.fetchval("SELECT cause FROM ptz_leases WHERE id = $1", lease_id))


def _track(lease: Mapping[str, Any], wanted: Move) -> tuple[list[str], dict[str, Any]]:
    """Which presets, and between which positions and speeds, a lease's commands lay."""
    presets = list(lease["presets"])
    if wanted.kind == "preset" and wanted.preset not in presets and len(presets) < _MOST_PRESETS:
        presets.append(wanted.preset)
    extent: dict[str, Any] = orjson.loads(lease["extent"])
    if wanted.kind in {"absolute", "continuous"}:
        known = extent.setdefault(wanted.kind, {})
        for name in ("pan", "tilt", "zoom"):
            value = asdict(wanted)[name]
            least, most = known.get(name, (value, value))
            known[name] = [min(least, value), max(most, value)]
    return presets, extent


async def _send(writer: Writer, drive: Drive, turn: Turn, *commands: Move) -> None:
    """Send commands under a turn; it is given back only when the camera has answered."""
    answered = False
    try:
        for command in (STOP, *commands) if turn.stop_first else commands:
            left = turn.until - clock.monotonic()
            if left <= 0:
                raise CameraOffline("the command was given up: this service was held up for too long")
            await drive(turn.camera_id, command, left)
        answered = True
    except CameraRefuses:
        answered = True  # with a no: nothing is on its way any more
        raise
    finally:
        if answered:
            await writer.transact(lambda c: c.execute(_GIVE_BACK, turn.camera_id, turn.number))


# What the house does by itself: stop what should have stopped, bring home what nobody drives, end what is over.

_NEEDED = """
SELECT h.camera_id FROM ptz_heads h WHERE h.moving_until <= now()
UNION SELECT h.camera_id FROM ptz_heads h WHERE h.home_after <= now()
    AND NOT EXISTS (SELECT FROM ptz_leases l WHERE l.camera_id = h.camera_id AND l.closed_at IS NULL)
"""
ANYTHING = f"SELECT EXISTS (SELECT FROM ptz_leases WHERE closed_at IS NULL) OR EXISTS ({_NEEDED})"  # noqa: S608
_TAKE_HOME = """
UPDATE ptz_heads SET turn = turn + 1, busy_until = clock_timestamp() + make_interval(secs => $2), moving_until = NULL
WHERE camera_id = $1 RETURNING turn
"""
_AWAY = "UPDATE ptz_heads SET home_after = CASE WHEN $2::float8 > 0 THEN now() + make_interval(secs => $2) END"
AGAIN_SECONDS = 30.0  # until a head that could not be brought home is tried again


async def end_those_over(connection: asyncpg.Connection) -> int:
    """Close every lease whose permission, view or time is over; returns how many still stand."""
    standing = 0
    for camera_id, lease_id in [
        tuple(row) for row in await connection.fetch("SELECT camera_id, id FROM ptz_leases WHERE closed_at IS NULL")
    ]:
        row = await connection.fetchrow(STANDING + " l.id = $1", lease_id)
        if row is None:
            continue
        if not row["over"]:
            standing += 1
            continue
        await lock(connection, camera_id)
        row = await connection.fetchrow(STANDING + " l.id = $1", lease_id)
        if row is not None and row["over"]:
            await close(connection, row, row["over"])
    return standing


async def heads_in_need(connection: asyncpg.Connection) -> list[UUID]:
    """Cameras whose head has to be stopped or brought home."""
    return [row["camera_id"] for row in await connection.fetch(_NEEDED)]


async def settle(writer: Writer, drive: Drive, camera_id: UUID) -> None:
    """Stop a head whose move has run out; bring it home where nobody drives. Nothing, while a command is on its way."""

    async def take(connection: asyncpg.Connection) -> tuple[Turn, str] | None:
        began = clock.monotonic()
        head = await lock(connection, camera_id)
        driven = await connection.fetchval(
            "SELECT true FROM ptz_leases WHERE camera_id = $1 AND closed_at IS NULL", camera_id
        )
        is_late = head["moving_until"] is not None and not head["moving"]
        if head["busy"] or (driven and not is_late) or (not driven and not head["is_away"] and not is_late):
            return None
        home = await connection.fetchval("SELECT home_preset FROM camera_controls WHERE camera_id = $1", camera_id)
        number = await connection.fetchval(_TAKE_HOME, camera_id, BUSY_SECONDS)
        stops = head["moving_until"] is not None
        goes = "" if driven else (home or "")
        if not driven:
            await connection.execute(f"{_AWAY} WHERE camera_id = $1", camera_id, AGAIN_SECONDS if stops or goes else 0)
        return Turn(camera_id, number, began + BUSY_SECONDS - _MARGIN_SECONDS, stops), goes

    taken: tuple[Turn, str] | None = await writer.transact(take)
    if taken is None:
        return
    turn, goes = taken
    await _send(writer, drive, turn, *([replace(STOP, kind="preset", preset=goes)] if goes else []))
    if goes or turn.stop_first:
        await writer.transact(
            lambda c: c.execute(
                f"{_AWAY} WHERE camera_id = $1 AND turn = $3"
                " AND NOT EXISTS (SELECT FROM ptz_leases l WHERE l.camera_id = $1 AND l.closed_at IS NULL)",
                camera_id,
                0.0,
                turn.number,
            )
        )
