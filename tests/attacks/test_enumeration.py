"""What exists and is not yours answers as what does not exist: same status, same words, same headers."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from app.access import agreements, approvals, rights, terminals
from app.database import Database
from app.errors import NotPermitted, Refusal
from app.events import record
from app.events.record import Report
from app.ids import new_id
from app.registry import cameras, sources
from app.streams import grants, manifests, revocations, tours, walls
from tests import actors, factories
from tests.attacks.attack import Attack, against_the_house, without_its_guard
from tests.attacks.town import EMERGENCY, INVESTIGATION, Town, Visitor

STEP = {"seconds": 30}


@dataclass
class Neighbours:
    """A town next door with one of everything, and people here who have no business there."""

    town: Town
    things: dict[str, UUID]
    people: dict[str, Visitor]

    async def call(self, who: str, method: str, path: str, body: Any = None) -> httpx.Response:
        return await self.town.client.request(method, path, json=body, headers=self.people[who].headers)


@pytest.fixture(scope="module")
async def neighbours(town: Town) -> Neighbours:
    base, client = town.database, town.client
    there, partner = await factories.agency(base), await factories.agency(base, "police")
    camera = await factories.camera(base, there)
    await factories.source(base, town.keys, camera, town.simulator.url("cam/1"))
    agreement = await factories.agreement(base, there, partner)
    await factories.agreement(base, there, partner, approval="center", use_purposes=("crime_investigation",))
    operator = await town.signed_in(await factories.person(base, there))
    lead = await town.signed_in(await factories.person(base, there, "shift_lead"))
    admin = await town.signed_in(await factories.person(base, there, "admin"))
    room = await town.signed_in(await factories.person(base, partner, "room"))

    async def made(who: Visitor, path: str, body: Any, name: str) -> UUID:
        answer = await client.post(path, json=body, headers=who.headers)
        assert answer.status_code == 201, answer.text
        return UUID(answer.json()[name])

    asked = {"camera_ids": [str(camera)]}
    only_by_approval = await factories.agreement(
        base, there, await factories.agency(base, "fire"), approval="center"
    )  # fmt: skip
    fire = await town.sql("SELECT grantee_agency_id FROM agreements WHERE id = $1", only_by_approval)
    officer = await town.signed_in(await factories.person(base, fire, "room"))
    wall = await made(operator, "/v1/walls", asked, "wall_id")
    duty = await town.sql("SELECT duty_id FROM grants WHERE id = $1", wall)
    manifest = new_id()
    await town.sql(
        "INSERT INTO manifests (id, duty_id, hour, intervals, digest, entry_id)"
        """ VALUES ($1, $2, date_trunc('hour', now()) - interval '7 hours', '{"cameras": {}}', '\\x00', $1)""",
        manifest, duty,
    )  # fmt: skip
    async with base.begin() as session:
        rung = await record.record(
            session,
            await actors.actor_of(base, operator.person),
            Report(kind="analytic.fire", source="vms", source_key="1", subject_kind="cameras", subject_id=camera),
        )
    things = {
        "cameras": camera, "agencies": there, "users": operator.person.user_id, "agreements": agreement,
        "grants": (await town.granted(room, camera)).id, "walls": wall, "manifests": manifest, "events": rung.id,
        "tours": await made(lead, "/v1/tours", {"name": "t", "steps": [asked | STEP]}, "id"),
        "approvals": await made(officer, "/v1/approvals", {**asked, **INVESTIGATION}, "id"),
        "terminals": await made(admin, "/v1/terminals", {"name": "console", "kind": "console"}, "id"),
    }  # fmt: skip
    people = {role: await town.own(role) for role in ("operator", "shift_lead", "agency_head", "admin", "auditor")}
    return Neighbours(town, things, people | {"police": await town.visitor()})


# Who asks for what; {id} is the thing's id, and the table where such things stand.
Case = tuple[str, str, str, Any, str]
CASES: dict[str, Case] = {
    "a camera, with a reason": ("police", "POST", "/v1/grants", {"camera_ids": ["{id}"], **EMERGENCY}, "cameras"),
    "a camera, under the duty": ("operator", "POST", "/v1/grants", {"camera_ids": ["{id}"]}, "cameras"),
    "a camera's record": ("operator", "GET", "/v1/cameras/{id}", None, "cameras"),
    "a camera's source": ("admin", "PUT", "/v1/cameras/{id}/source", {"url": "rtsp://1.1.1.1/"}, "cameras"),
    "a camera's unsafe source": ("admin", "PUT", "/v1/cameras/{id}/source", {"url": "file:///x"}, "cameras"),
    "who saw a camera": ("shift_lead", "GET", "/v1/cameras/{id}/showings", None, "cameras"),
    "who saw a camera, audited": ("auditor", "GET", "/v1/cameras/{id}/showings", None, "cameras"),
    "an approval for a camera": (
        "police", "POST", "/v1/approvals", {"camera_ids": ["{id}"], **INVESTIGATION}, "cameras"
    ),
    "a wall with a camera": ("operator", "POST", "/v1/walls", {"camera_ids": ["{id}"]}, "cameras"),
    "a tour with a camera": (
        "shift_lead", "POST", "/v1/tours", {"name": "x", "steps": [{"camera_ids": ["{id}"], **STEP}]}, "cameras"
    ),
    "a grant renewed": ("police", "POST", "/v1/grants/{id}/renewals", None, "grants"),
    "a grant ended": ("police", "DELETE", "/v1/grants/{id}", None, "grants"),
    "a grant ended by a lead": ("shift_lead", "DELETE", "/v1/grants/{id}", None, "grants"),
    "a wall": ("operator", "GET", "/v1/walls/{id}", None, "walls"),
    "a wall stopped": ("shift_lead", "DELETE", "/v1/walls/{id}", None, "walls"),
    "a wall of a tour": ("operator", "POST", "/v1/walls", {"tour_id": "{id}"}, "tours"),
    "an approval decided": ("agency_head", "POST", "/v1/approvals/{id}/decision", {"approve": True}, "approvals"),
    "an approval ended": ("agency_head", "DELETE", "/v1/approvals/{id}", None, "approvals"),
    "a manifest": ("shift_lead", "GET", "/v1/manifests/{id}", None, "manifests"),
    "a manifest, audited": ("auditor", "GET", "/v1/manifests/{id}", None, "manifests"),
    "a terminal retired": ("admin", "DELETE", "/v1/terminals/{id}", None, "terminals"),
    "a terminal at an agency": (
        "admin", "POST", "/v1/terminals", {"name": "x", "kind": "console", "agency_id": "{id}"}, "agencies"
    ),
    "an alarm": ("operator", "POST", "/v1/grants", {"camera_ids": ["{own}"], "event_id": "{id}"}, "events"),
    "what a person saw": ("shift_lead", "GET", "/v1/showings?user_id={id}", None, "users"),
    "a person's grants": ("shift_lead", "POST", "/v1/revocations", {"user_id": "{id}", "reason": "x"}, "users"),
    "an agency's grants": ("shift_lead", "POST", "/v1/revocations", {"agency_id": "{id}", "reason": "x"}, "agencies"),
    "a camera's grants": ("shift_lead", "POST", "/v1/revocations", {"camera_id": "{id}", "reason": "x"}, "cameras"),
    "an agreement withdrawn": ("agency_head", "POST", "/v1/agreements/{id}/withdrawal", {"reason": "x"}, "agreements"),
}  # fmt: skip


def _filled(value: Any, **names: Any) -> Any:
    if isinstance(value, str):
        return value.format(**names) if "{" in value else value
    if isinstance(value, list):
        return [_filled(one, **names) for one in value]
    return {name: _filled(one, **names) for name, one in value.items()} if isinstance(value, dict) else value


async def answered(neighbours: Neighbours, case: Case, thing: UUID) -> tuple[int, dict[str, str], str]:
    """An answer without what names the thing, or the moment."""
    who, method, path, body, _ = case
    names = {"id": str(thing), "own": str(neighbours.town.camera)}
    answer = await neighbours.call(who, method, _filled(path, **names), _filled(body, **names))
    assert answer.status_code < 500, answer.text
    headers = {name: value for name, value in answer.headers.items() if name != "date"}
    return answer.status_code, headers, re.sub(str(thing), "<id>", answer.text)


def telling_apart(case: Case) -> Callable[[Neighbours], Awaitable[bool]]:
    async def tries(neighbours: Neighbours) -> bool:
        nothing = await answered(neighbours, case, new_id())
        something = await answered(neighbours, case, neighbours.things[case[4]])
        return nothing != something

    return tries


# A house that says "not yours" of what exists

TABLES = {"cameras": "camera_positions", "walls": "grants"}


def _ids(*said: Any) -> set[UUID]:
    found = set()
    for one in said:
        if isinstance(one, UUID):
            found.add(one)
        elif isinstance(one, list | tuple):
            found |= _ids(*one)
        elif hasattr(one, "__dataclass_fields__") and not hasattr(one, "capabilities"):
            found |= _ids(*(getattr(one, name) for name in one.__dataclass_fields__))
    return found


async def _stands(where: Any, table: str, ids: set[UUID]) -> bool:
    query = f"SELECT EXISTS (SELECT FROM {TABLES.get(table, table)} WHERE id = ANY($1))"
    base = where if isinstance(where, Database) else getattr(where, "_database", None) or where
    if isinstance(base, Database):
        async with base.bare.acquire() as connection:
            return bool(await connection.fetchval(query, list(ids)))
    return bool(await base.scalar(text(query.replace("$1", ":ids")), {"ids": list(ids)}))


def telling_of(table: str, *functions: tuple[Any, str]) -> Callable[[pytest.MonkeyPatch], None]:
    """Each of these functions says 403 where it would have said 404 of something that exists."""

    def wrapped(real: Any) -> Any:
        async def told(where: Any, *said: Any, **more: Any) -> Any:
            refusal, result = None, None
            try:
                result = await real(where, *said, **more)
            except Refusal as error:
                refusal = error
            told_nothing = refusal is not None or isinstance(result, Refusal) or result in (0, [])
            if told_nothing and await _stands(where, table, _ids(*said, *more.values())):
                refusal = NotPermitted("this is not yours")
                if isinstance(result, Refusal):  # of a function that returns them
                    return refusal
            if refusal is not None:
                raise refusal
            return result

        return told

    def seed(patch: pytest.MonkeyPatch) -> None:
        for module, name in functions:
            patch.setattr(module, name, wrapped(getattr(module, name)))

    return seed


LEAKS = {
    "/v1/grants": ((rights, "explain_refusal"),),
    "/v1/cameras/{id}": ((cameras, "get"),),
    "/v1/cameras/{id}/source": ((sources, "put"),),
    "/v1/cameras/{id}/showings": ((manifests, "who_saw"),),
    "/v1/approvals": ((approvals, "ask"),),
    "/v1/walls": ((walls, "start"),),
    "/v1/tours": ((tours, "define"),),
    "/v1/grants/{id}/renewals": ((grants, "renew"),),
    "/v1/grants/{id}": ((grants, "revoke"),),
    "/v1/walls/{id}": ((walls, "find"), (walls, "stop")),
    "/v1/approvals/{id}/decision": ((approvals, "decide"),),
    "/v1/approvals/{id}": ((approvals, "end"),),
    "/v1/manifests/{id}": ((manifests, "find"),),
    "/v1/terminals/{id}": ((terminals, "retire"),),
    "/v1/terminals": ((terminals, "enrol"),),
    "/v1/showings?user_id={id}": ((manifests, "seen_by"),),
    "/v1/revocations": ((revocations, "end_where"),),
    "/v1/agreements/{id}/withdrawal": ((agreements, "withdraw"),),
}


def leak_of(case: Case) -> Callable[[pytest.MonkeyPatch], None]:
    functions = ((grants, "give"),) if case[4] == "events" else LEAKS[case[2]]
    return telling_of(case[4], *functions)


ATTACKS = [Attack(name, telling_apart(case), leak_of(case)) for name, case in CASES.items()]


@against_the_house(ATTACKS)
async def test_the_house_withstands(attack: Attack, neighbours: Neighbours) -> None:
    await attack.withstood(neighbours)


@without_its_guard(ATTACKS)
async def test_without_its_guard_it_falls(
    attack: Attack, neighbours: Neighbours, monkeypatch: pytest.MonkeyPatch
) -> None:
    await attack.got_through(neighbours, monkeypatch)
