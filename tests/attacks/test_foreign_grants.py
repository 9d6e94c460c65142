"""Grants of others: renewed, ended, replayed, signed again, and fields that are the house's to fill in."""

import base64
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from sqlalchemy import select, true

from app import clock
from app.actor import Actor
from app.errors import GrantEnded
from app.keys import Keys
from app.models import Grant
from app.routers import grants as door
from app.streams import grants, limits, reasons, revocations, urls, views
from app.streams.urls import Pass
from app.streams.writer import Given
from tests import factories
from tests.attacks.attack import (
    Attack,
    against_the_house,
    believing_every_signature,
    never_asking_again,
    without,
    without_its_guard,
)
from tests.attacks.town import EMERGENCY, HERE, INVESTIGATION, Town, Visitor, holder_of, token_of

NOBODY = {"Authorization": "Bearer gwj_nobody"}


async def others(town: Town, victim: Visitor) -> dict[str, dict[str, str]]:
    """The headers of everybody who is not the victim and might think of something."""
    return {
        "nobody": NOBODY,
        "a colleague": (await town.colleague(victim)).headers,
        "the owner's operator": (await town.own()).headers,
        "a stranger's shift lead": (await town.stranger("shift_lead")).headers,
        "a stranger's administrator": (await town.stranger("admin")).headers,
    }


# Renewed and ended


async def renewed_by_others(town: Town) -> list[str]:
    victim = await town.visitor()
    through = []
    for who, headers in (await others(town, victim)).items():
        grant = await town.granted(victim)
        answer = await town.client.post(f"/v1/grants/{grant.id}/renewals", headers=headers)
        if answer.status_code == 201 or (await town.row(grant.id))["renewals"]:
            through.append(who)
    return through


def renewing_for_anybody(patch: pytest.MonkeyPatch) -> None:
    real = grants.renew

    async def renew(session: Any, actor: Actor, grant_id: UUID, *, seconds: int) -> Any:
        return await real(session, await holder_of(session, grant_id, actor.address), grant_id, seconds=seconds)

    patch.setattr(grants, "renew", renew)


async def ended_by_others(town: Town) -> list[str]:
    victim = await town.visitor()
    through = []
    for who, headers in (await others(town, victim)).items():
        grant = await town.granted(victim)
        await town.client.delete(f"/v1/grants/{grant.id}", headers=headers)
        if (await town.row(grant.id))["revoked_at"]:
            through.append(who)
    return through


def ending_for_anybody(patch: pytest.MonkeyPatch) -> None:
    async def found(session: Any, _actor: Actor, grant_id: UUID) -> Grant:
        return (await session.scalars(select(Grant).where(Grant.id == grant_id))).one()

    patch.setattr(grants, "_own_or_supervised", found)


async def ended_in_bulk_by_a_stranger(town: Town) -> list[str]:
    victim, stranger = await town.visitor(), await town.stranger("shift_lead")
    through = []
    for name, value in {"user_id": victim.person.user_id, "camera_id": town.camera}.items():
        grant = await town.granted(victim)
        body = {name: str(value), "reason": "because I say so"}
        answer = await town.client.post("/v1/revocations", json=body, headers=stranger.headers)
        assert answer.status_code == 200, answer.text
        if answer.json()["ended"] or (await town.row(grant.id))["revoked_at"]:
            through.append(name)
    return through


def supervising_everybody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(revocations, "_supervised_by", lambda _: true())


# Replayed


async def an_idempotency_key_of_another(town: Town) -> list[str]:
    """The same key and the same body, from a colleague and from another agency."""
    victim, key = await town.visitor(), {"Idempotency-Key": f"key-{uuid4()}"}
    body = orjson.dumps({"camera_ids": [str(town.camera)], **EMERGENCY})
    json = {"Content-Type": "application/json"}
    first = await town.client.post("/v1/grants", content=body, headers=victim.headers | key | json)
    assert first.status_code == 201
    theirs = first.json()["grants"][0]["grant_id"]
    through = []
    for who, headers in (await others(town, victim)).items():
        answer = await town.client.post("/v1/grants", content=body, headers=headers | key | json)
        if theirs in answer.text:
            through.append(who)
    return through


def keys_shared_by_all(patch: pytest.MonkeyPatch) -> None:
    """As though a key were looked up alone, whoever sent it."""
    real, kept = grants.give, dict[str, list[Given]]()

    async def give(database: Any, writer: Any, actor: Actor, request: grants.Request, **more: Any) -> Sequence[Any]:
        key = request.idempotency_key or str(uuid4())
        if key not in kept:
            kept[key] = await real(database, writer, actor, request, **more)  # type: ignore[assignment]
        return kept[key]

    patch.setattr(grants, "give", give)


# Signed again


def spoilt(token: str, at: int, value: bytes) -> str:
    raw = bytearray(base64.urlsafe_b64decode(token))
    raw[at : at + len(value)] = value
    return base64.urlsafe_b64encode(raw).decode()


async def tokens_changed_without_the_key(town: Town) -> list[str]:
    """Each field of a good token set to what would please the attacker, its signature left as it was, or guessed."""
    grant = await town.granted(await town.own())  # a duty: it is for every camera of the owner
    other = await factories.camera(town.database, town.district)
    later = int((clock.now() + timedelta(days=30)).timestamp()).to_bytes(4, "big")
    stolen = await town.granted(await town.visitor())
    changed = {
        "camera": spoilt(grant.token, 24, other.bytes),
        "grant": spoilt(grant.token, 0, stolen.id.bytes),
        "expiry": spoilt(grant.token, 40, later),
        "profile": spoilt(grant.token, 44, b"\1"),
        "signature of zeros": spoilt(grant.token, 47, bytes(16)),
        "signature of another deployment": urls.write(Keys(b"somebody else's deployment key"), grant.ticket),
    }
    through = []
    for name, token in changed.items():
        with suppress(GrantEnded):
            urls.read(town.keys, token)
            through.append(name)
    return through


async def a_token_whose_camera_was_exchanged(town: Town) -> bool:
    """Footage of the town's camera with a token for another one, under a duty that is for both."""
    operator = await town.own()
    other = await factories.camera(town.database, town.district)
    grant = await town.granted(operator, other)
    return await town.plays(spoilt(grant.token, 24, town.camera.bytes), "live.mp4")


def signing_all_but_the_camera(patch: pytest.MonkeyPatch) -> None:
    real = Keys.mac

    def mac(keys: Keys, name: str, message: bytes, length: int = 16) -> bytes:
        return real(keys, name, message[:24] + message[40:] if name == "stream-url" else message, length)

    patch.setattr(Keys, "mac", mac)


async def tokens_signed_well_for_what_was_not_granted(town: Town) -> list[str]:
    """Even with the deployment's own signature: the grant's row says which camera, not the token."""
    police = await town.partner()
    foreign_owner = await factories.agency(town.database)
    foreign = await factories.camera(town.database, foreign_owner)
    await factories.agreement(town.database, foreign_owner, police.agency)
    grant, lost = await town.granted(police, foreign), await town.granted(police, foreign)
    tickets = {
        "another camera": replace(grant.ticket, camera_id=town.camera),
        "another grant": Pass(uuid4(), lost.ticket.grant_at, town.camera, lost.ticket.expires_at),
        "another moment": replace(lost.ticket, camera_id=town.camera, grant_at=clock.now()),
    }
    return [name for name, ticket in tickets.items() if await town.plays(town.signed(ticket), "live.mp4")]


_OF_THE_GRANT = (
    "JOIN grants g ON g.id = pass.grant_id AND g.at = pass.grant_at AND g.revoked_at IS NULL AND g.expires_at > now()",
    "AND (p.id = ANY(g.camera_ids) OR g.selector -> 'owner_agency_ids' ? p.owner_agency_id::text)",
)


def believing_the_token(patch: pytest.MonkeyPatch) -> None:
    """Any living grant will do for any camera of an owner who shares with its holder's agency."""
    without(patch, views, "_PERMIT", _OF_THE_GRANT[1])
    without(
        patch, views, "_PERMIT", _OF_THE_GRANT[0],
        instead="JOIN LATERAL (SELECT * FROM grants WHERE revoked_at IS NULL AND expires_at > now() ORDER BY"
        " (id = pass.grant_id) DESC, at DESC LIMIT 1) g ON true",
    )  # fmt: skip
    without(patch, views, "_PERMIT", f"WHERE {views.ALLOWED}", instead="WHERE true")
    real = views.open

    async def open_(writer: Any, ticket: Pass, asking: Any, carrier: Any, **more: Any) -> Any:
        async with writer._database.bare.acquire() as connection:
            row = await connection.fetchrow("SELECT id, at FROM grants WHERE id = $1", ticket.grant_id)
            row = row or await connection.fetchrow("SELECT id, at FROM grants ORDER BY at DESC LIMIT 1")
        return await real(writer, replace(ticket, grant_id=row["id"], grant_at=row["at"]), asking, carrier, **more)

    patch.setattr(views, "open", open_)
    never_asking_again(patch)


async def a_duty_stretched_to_a_foreign_camera(town: Town) -> bool:
    """The duty of another district's operator, in a well-signed token for this district's camera."""
    district = await factories.agency(town.database)
    stranger = await town.signed_in(await factories.person(town.database, district))
    own = await factories.camera(town.database, district)
    answer = await town.client.post("/v1/grants", json={"camera_ids": [str(own)]}, headers=stranger.headers)
    ticket = urls.read(town.keys, token_of(answer.json()["grants"][0]["streams"][0]["url"]))
    return await town.plays(town.signed(replace(ticket, camera_id=town.camera)), "live.mp4")


def letting_a_duty_see_all(patch: pytest.MonkeyPatch) -> None:
    without(patch, views, "_PERMIT", _OF_THE_GRANT[1], f"WHERE {views.ALLOWED}")
    never_asking_again(patch)


# What only the house fills in

ASSIGNED = {
    "kind": "emergency", "seconds": 80_000, "session_id": "victim", "user_id": "victim", "agency_id": "district",
    "acts_for_ids": ["district"], "role": "shift_lead", "capabilities": ["view", "emergency", "supervise"],
    "expires_at": "2099-01-01T00:00:00Z", "latest_expires_at": "2099-01-01T00:00:00Z", "manifested": True,
    "bound_address": HERE, "owner_agency_id": "district", "restriction": "none", "approval_id": "victim",
    "grants": [{"kind": "duty"}], "__proto__": {}, "selector": {"owner_agency_ids": ["district"]},
}  # fmt: skip


async def fields_that_are_not_asked_for(town: Town) -> list[str]:
    """Each in a body that is otherwise good: it must be refused by name, and nothing be granted."""
    who, victim = await town.visitor(), await town.visitor()
    real = {"victim": str(victim.session_id), "district": str(town.district)}
    through = []
    for name, value in ASSIGNED.items():
        said = real.get(value, value) if isinstance(value, str) else value
        body = {"camera_ids": [str(town.camera)], **INVESTIGATION, name: said}
        answer = await town.client.post("/v1/grants", json=body, headers=who.headers)
        if answer.status_code != 422 or answer.json()["field"] != name:
            through.append(name)
    return through


async def fields_that_change_the_grant(town: Town) -> list[str]:
    """What comes of a few of them in the row."""
    who, victim = await town.visitor(), await town.visitor()
    gained: dict[str, tuple[Any, Callable[[Any], bool]]] = {
        "kind": ("emergency", lambda row: row["kind"] == "emergency"),
        "seconds": (80_000, lambda row: row["expires_at"] > row["at"] + timedelta(hours=0.9)),
        "session_id": (str(victim.session_id), lambda row: row["user_id"] == victim.person.user_id),
    }
    through = []
    for name, (value, shows) in gained.items():
        body = {"camera_ids": [str(town.camera)], **INVESTIGATION, name: value}
        answer = await town.client.post("/v1/grants", json=body, headers=who.headers)
        if answer.status_code == 201 and shows(await town.row(UUID(answer.json()["grants"][0]["grant_id"]))):
            through.append(name)
    return through


def any_field_will_do(patch: pytest.MonkeyPatch) -> None:
    """A door that forbids no field: it drops what it does not know."""
    route = next(one for one in door.footage.routes if getattr(one, "path", "") == "/grants")
    kind = type(route.body_field)  # type: ignore[attr-defined]
    real = kind.validate

    def validate(self: Any, value: Any, *more: Any, **named: Any) -> Any:
        if self.field_info.annotation is door.Asked and isinstance(value, dict):
            value = {name: one for name, one in value.items() if name in door.Asked.model_fields}
        return real(self, value, *more, **named)

    patch.setattr(kind, "validate", validate)


def taking_whatever_the_body_says(patch: pytest.MonkeyPatch) -> None:
    """And a room that copies all that it recognises."""
    any_field_will_do(patch)
    real, real_kind = grants.give, grants.kind_of

    async def give(database: Any, writer: Any, actor: Actor, request: grants.Request, **more: Any) -> Any:
        said = orjson.loads(request.body)
        known = {one.name for one in fields(Actor)} & said.keys()
        actor = replace(actor, **{name: UUID(said[name]) for name in known})
        return await real(database, writer, actor, request, seconds=said.get("seconds", more["seconds"]))

    patch.setattr(grants, "give", give)
    patch.setattr(grants, "kind_of", lambda request: orjson.loads(request.body).get("kind") or real_kind(request))


async def code_zero_by_a_patrol_car(town: Town) -> list[str]:
    """The most urgent claim, which takes others' places, by those who may not make it."""
    car, operator = await town.visitor("field"), await town.own()
    asked = {
        "car, emergency": (car, EMERGENCY),
        "car, investigation": (car, INVESTIGATION),
        "car, invented incident": (car, {**INVESTIGATION, "incident_id": str(uuid4())}),
        "operator, invented incident": (operator, {**INVESTIGATION, "incident_id": str(uuid4())}),
    }
    through = []
    for name, (who, reason) in asked.items():
        body = {"camera_ids": [str(town.camera)], **reason, "urgency": 0}
        answer = await town.client.post("/v1/grants", json=body, headers=who.headers)
        if answer.status_code == 201:
            through.append(name)
    return through


def believing_every_urgency(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(limits, "urgency_of", lambda _actor, _kind, asked: asked)


async def an_alarm_that_was_invented(town: Town) -> list[str]:
    """A view that answers an alarm of the owner's own is never pre-empted; so the alarm must exist, and be theirs."""
    operator = await town.own()
    stood = {"without a reason": {}, "with a reason": INVESTIGATION}
    through = []
    for name, reason in stood.items():
        body = {"camera_ids": [str(town.camera)], **reason, "event_id": str(uuid4())}
        answer = await town.client.post("/v1/grants", json=body, headers=operator.headers)
        if answer.status_code == 201:
            row = await town.row(UUID(answer.json()["grants"][0]["grant_id"]))
            facts = dict(row) | {"acts_for_ids": [town.district]}
            through += [name] if limits.is_protected(facts) else []
    return through


def believing_in_every_alarm(patch: pytest.MonkeyPatch) -> None:
    async def by_alarm(
        database: Any, writer: Any, actor: Actor, request: grants.Request, seconds: int
    ) -> Sequence[Given]:
        asked = replace(request, purpose="", basis=grants.OWN_USE)
        return await grants._by_reason(database, writer, actor, asked, request.camera_ids, seconds)

    async def check_alarm(*_: Any) -> str:
        return ""

    patch.setattr(grants, "_by_alarm", by_alarm)
    patch.setattr(reasons, "_alarm", check_alarm)


OTHERS = (
    "nobody", "a colleague", "the owner's operator", "a stranger's shift lead", "a stranger's administrator",
)  # fmt: skip
ATTACKS = [
    Attack("a grant renewed by others", renewed_by_others, renewing_for_anybody, OTHERS[1:]),
    Attack("a grant ended by others", ended_by_others, ending_for_anybody, OTHERS[1:]),
    Attack("grants ended in bulk by a stranger", ended_in_bulk_by_a_stranger, supervising_everybody,
           ("user_id", "camera_id")),
    Attack("an Idempotency-Key of another", an_idempotency_key_of_another, keys_shared_by_all, OTHERS[1:]),
    Attack("tokens changed without the key", tokens_changed_without_the_key,
           partial(believing_every_signature, module=urls),
           ("camera", "grant", "expiry", "profile", "signature of zeros", "signature of another deployment")),
    Attack("a token whose camera was exchanged", a_token_whose_camera_was_exchanged, signing_all_but_the_camera),
    Attack("tokens signed well for what was not granted", tokens_signed_well_for_what_was_not_granted,
           believing_the_token, ("another camera", "another grant", "another moment")),
    Attack("a duty stretched to a foreign camera", a_duty_stretched_to_a_foreign_camera, letting_a_duty_see_all),
    Attack("fields that are not asked for", fields_that_are_not_asked_for, any_field_will_do, tuple(ASSIGNED)),
    Attack("fields that change the grant", fields_that_change_the_grant, taking_whatever_the_body_says,
           ("kind", "seconds", "session_id")),
    Attack("code 0 by a patrol car", code_zero_by_a_patrol_car, believing_every_urgency,
           ("car, emergency", "car, investigation", "car, invented incident", "operator, invented incident")),
    Attack("an alarm that was invented", an_alarm_that_was_invented, believing_in_every_alarm,
           ("without a reason", "with a reason")),
]  # fmt: skip


@against_the_house(ATTACKS)
async def test_the_house_withstands(attack: Attack, town: Town) -> None:
    await attack.withstood(town)


@without_its_guard(ATTACKS)
async def test_without_its_guard_it_falls(attack: Attack, town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    await attack.got_through(town, monkeypatch)
