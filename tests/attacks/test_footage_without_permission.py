"""Everything below a stream URL (file, socket, playlist, init segment, media segment, snapshot) without permission."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from uuid import UUID

import pytest

from app import clock
from app.keys import Keys
from app.streams import urls, views
from app.streams.views import proof_of
from tests.attacks.attack import (
    Attack,
    Seed,
    against_the_house,
    believing_every_signature,
    never_asking_again,
    without,
    without_its_guard,
)
from tests.attacks.town import CHILDREN, ELSEWHERE, PROTOCOL, Granted, Town, Visitor

pytestmark = pytest.mark.slow


@dataclass
class Standing:
    """One grant under which everything may be seen, until something is over."""

    visitor: Visitor
    grant: Granted


@pytest.fixture(scope="module")
async def standing(town: Town) -> Standing:
    visitor = await town.partner()
    grant = await town.granted(visitor)
    assert await town.played(grant.token) == list(CHILDREN), "what is attacked is there"
    return Standing(visitor, grant)


@dataclass(frozen=True)
class Scene:
    town: Town
    standing: Standing


@pytest.fixture
def scene(town: Town, standing: Standing) -> Scene:
    town.nobody_plays()
    return Scene(town, standing)


# Something that the permission stands on is over


@asynccontextmanager
async def changed(town: Town, table: str, row: UUID, column: str, value: str) -> AsyncIterator[None]:
    """A column set to an SQL expression, within the block."""
    before = await town.sql(f"SELECT {column} FROM {table} WHERE id = $1", row)
    await town.sql(f"UPDATE {table} SET {column} = {value} WHERE id = $1", row)
    try:
        yield
    finally:
        await town.sql(f"UPDATE {table} SET {column} = $2 WHERE id = $1", row, before)


def over(table: str, column: str, value: str) -> Callable[[Scene], Awaitable[list[str]]]:
    """Every child, while a row on which the permission stands says that it is over."""

    async def tries(scene: Scene) -> list[str]:
        visitor, grant = scene.standing.visitor, scene.standing.grant
        rows = {
            "grants": grant.id, "sessions": visitor.session_id, "users": visitor.person.user_id,
            "appointments": visitor.person.appointment_id, "agreements": visitor.agreement,
            "camera_positions": scene.town.camera,
        }  # fmt: skip
        async with changed(scene.town, table, rows[table], column, value):
            return await scene.town.played(grant.token)

    return tries


def without_clause(clause: str, instead: str = "") -> Seed:
    def seed(patch: pytest.MonkeyPatch) -> None:
        without(patch, views, "_PERMIT", clause, instead=instead)
        never_asking_again(patch)

    return seed


without_agreement = without_clause(f"WHERE {views.ALLOWED}", "WHERE true")


PAST = "now() - interval '1 second'"
CLOSED = """jsonb_build_object('days', jsonb_build_array(extract(isodow FROM now() AT TIME ZONE '+09')::int % 7 + 1),
    'from', '12:00', 'to', '12:01')"""
OVER = {
    "a revoked grant": (("grants", "revoked_at", PAST), without_clause(" AND g.revoked_at IS NULL")),
    "an expired grant": (("grants", "expires_at", PAST), without_clause(" AND g.expires_at > now()")),
    "a session that was ended": (("sessions", "ended_at", PAST), without_clause(" AND s.ended_at IS NULL")),
    "a session that expired": (("sessions", "expires_at", PAST), without_clause(" AND s.expires_at > now()")),
    "a disabled account": (("users", "disabled_at", PAST), without_clause(" AND u.disabled_at IS NULL")),
    "an office that ended": (
        ("appointments", "valid_to", "valid_from + interval '1 microsecond'"),
        without_clause(" AND (o.valid_to IS NULL OR o.valid_to > now())"),
    ),
    "an office that has not begun": (
        ("appointments", "valid_from", "now() + interval '1 day'"), without_clause(" AND o.valid_from <= now()"),
    ),
    "a withdrawn agreement": (("agreements", "withdrawn_at", PAST), without_agreement),
    "an agreement that ended": (
        ("agreements", "valid_to", "valid_from + interval '1 microsecond'"), without_agreement
    ),
    "an agreement outside its hours": (("agreements", "hours", CLOSED), without_agreement),
    "an agreement without viewing": (("agreements", "verbs", "'{locate,request}'"), without_agreement),
    "an agreement for other cameras": (
        ("agreements", "installation_purposes", "'{traffic_enforcement}'"), without_agreement
    ),
    "a retired camera": (
        ("camera_positions", "retired_at", PAST), without_clause(" AND p.retired_at IS NULL"),
    ),
}  # fmt: skip


# The permission is another's, or for something else


async def a_url_that_is_over(scene: Scene) -> list[str]:
    """The grant was prolonged, this URL was not."""
    ticket = replace(scene.standing.grant.ticket, expires_at=clock.now() - timedelta(seconds=2))
    return await scene.town.played(scene.town.signed(ticket))


def urls_that_last_for_ever(patch: pytest.MonkeyPatch) -> None:
    began = clock.now() - timedelta(days=1)
    patch.setattr(urls, "clock", SimpleNamespace(now=lambda: began))


async def a_url_of_another_deployment(scene: Scene) -> list[str]:
    forged = urls.write(Keys(b"another deployment's key, no less"), scene.standing.grant.ticket)
    return await scene.town.played(forged)


async def a_consoles_url_at_another_address(scene: Scene) -> list[str]:
    """It has played at the console; the request says that it comes from there."""
    said = {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1", "Forwarded": "for=127.0.0.1"}
    return await scene.town.played(scene.standing.grant.token, peer=ELSEWHERE, headers=said)


def playing_for_everybody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(views, "check", lambda *_, **__: None)


async def protocols_that_were_not_asked_for(scene: Scene) -> list[str]:
    """One of file, socket, HLS and snapshot was granted: each other one is tried."""
    town, visitor = scene.town, scene.standing.visitor
    through = []
    for asked in ("fmp4", "mse", "hls", "snapshot"):
        grant = await town.granted(visitor, protocols=[asked])
        other = tuple(child for child in CHILDREN if PROTOCOL.get(child, "hls") != asked)
        through += [f"{asked}: {child}" for child in await town.played(grant.token, other)]
    return through


NOT_ASKED_FOR = tuple(
    f"{asked}: {child}"
    for asked in ("fmp4", "mse", "hls", "snapshot")
    for child in CHILDREN
    if PROTOCOL.get(child, "hls") != asked
)
PROOFS: dict[str, Callable[[Granted, Granted], str]] = {
    "none": lambda _grant, _other: "",
    "of another device": lambda grant, _other: proof_of("another key", grant.id, grant.ticket.camera_id),
    "of another grant": lambda _grant, other: proof_of(other.holder.device_key, other.id, other.ticket.camera_id),
    "of another camera": lambda grant, _other: proof_of(grant.holder.device_key, grant.id, grant.id),
    "the device key itself": lambda grant, _other: grant.holder.device_key,
    "cut short": lambda grant, _other: proof_of(grant.holder.device_key, grant.id, grant.ticket.camera_id)[:-1],
}


def a_tablets_url_with_proof(kind: str) -> Callable[[Scene], Awaitable[list[str]]]:
    async def tries(scene: Scene) -> list[str]:
        town = scene.town
        tablet = await town.visitor("field", device_key=f"key of a tablet {kind} {clock.now()}")
        grant, other = await town.granted(tablet), await town.granted(tablet)
        return await town.played(grant.token, proof=PROOFS[kind](grant, other))

    return tries


ATTACKS = [
    *(Attack(name, over(*how), seed, CHILDREN) for name, (how, seed) in OVER.items()),
    Attack("a url that is over", a_url_that_is_over, urls_that_last_for_ever, CHILDREN),
    Attack("a url of another deployment", a_url_of_another_deployment, partial(believing_every_signature, module=urls), CHILDREN),
    Attack("a console's url at another address", a_consoles_url_at_another_address, playing_for_everybody, CHILDREN),
    Attack("protocols that were not asked for", protocols_that_were_not_asked_for, playing_for_everybody,
           NOT_ASKED_FOR),
    *(Attack(f"a tablet's url, proof {kind}", a_tablets_url_with_proof(kind), playing_for_everybody, CHILDREN)
      for kind in PROOFS),
]  # fmt: skip


@against_the_house(ATTACKS)
async def test_the_house_withstands(attack: Attack, scene: Scene) -> None:
    await attack.withstood(scene)


@without_its_guard(ATTACKS)
async def test_without_its_guard_it_falls(attack: Attack, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await attack.got_through(scene, monkeypatch)
