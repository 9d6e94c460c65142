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
from app.audit import entries, erasures
from app.database import Database
from app.errors import NotPermitted, Refusal
from app.events import record
from app.events.record import Report
from app.ids import new_id
from app.registry import asset_register, camera_register, cameras, controls, life, outages, sources
from app.registry.imports import jobs
from app.reports import provisions, searches
from app.reports.reviews import conflicts
from app.reports.reviews import deciding as reviewing
from app.reports.reviews import reading as reviews
from app.reports.subject_requests import deciding, receiving
from app.reports.subject_requests import reading as requests
from app.streams import grants, manifests, revocations, tours, walls
from app.streams.onvif import probe as probing
from app.streams.ptz import leases
from app.streams.reach import losses
from tests import actors, factories
from tests.attacks.attack import Attack, against_the_house, without_its_guard
from tests.attacks.town import EMERGENCY, INVESTIGATION, Town, Visitor
from tests.registry.import_tables import csv_text, lines
from tests.reports.past import MONTH
from tests.reports.town import usb

STEP = {"seconds": 30}
NOWHERE = "http://127.0.0.1:9/"


@dataclass
class Neighbours:
    """A town next door with one of everything, and people here who have no business there."""

    town: Town
    things: dict[str, UUID]
    people: dict[str, Visitor]

    async def call(self, who: str, method: str, path: str, body: Any = None) -> httpx.Response:
        headers = {**self.people[who].headers, "If-Match": '"1"'}  # for what is amended; elsewhere it is nothing
        return await self.town.client.request(method, path, json=body, headers=headers)


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
    auditor = await town.signed_in(await factories.person(base, there, "auditor"))
    area = await factories.area(base)
    order = new_id()
    await town.sql(
        "INSERT INTO erasure_orders (id, agency_id, user_id, appointment_id, basis, document_number, selection, indexes)"
        " VALUES ($1, $2, $3, $4, 'x', '1', '{}', ARRAY[0])",
        order, there, admin.person.user_id, admin.person.appointment_id,
    )  # fmt: skip
    street = f"/v1/cameras/{camera}"
    for method, path, body in (("PATCH", street, {"ptz": True}), ("PUT", f"{street}/control", {"url": NOWHERE})):
        assert (await client.request(method, path, json=body, headers=admin.headers)).status_code < 300
    turned = {"grant_id": str(wall), "purpose": EMERGENCY["purpose"]}
    sent = await client.post("/v1/imports", content=csv_text(lines(1)).encode(), headers=admin.headers)
    loss = new_id()
    await town.sql("INSERT INTO losses (id, owner_agency_id, event_id) VALUES ($1, $2, $1)", loss, there)
    await town.sql("INSERT INTO loss_members (loss_id, camera_id, lost_at) VALUES ($1, $2, now())", loss, camera)
    things = {
        "assets": await made(admin, "/v1/assets", {"name": "bell", "kind": "bell", "lat": 37.5, "lon": 127.0}, "id"),
        "poles": await made(admin, "/v1/assets", {"name": "pole", "kind": "pole", "lat": 37.5, "lon": 127.0}, "id"),
        "outages": await made(admin, f"{street}/outages", {"kind": "planned"}, "id"),
        "sites": await town.sql("SELECT site_id FROM camera_positions WHERE id = $1", camera),
        "ptz_leases": await made(operator, f"{street}/ptz-leases", turned, "id"),
        "imports": UUID(sent.json()["id"]), "losses": loss,
        "provisions": await made(admin, "/v1/provisions", usb(camera_ids=[str(camera)]), "id"),
        "reviews": await made(auditor, "/v1/reviews", {"month": str(MONTH)}, "id"),
        "subject_requests": await made(admin, "/v1/subject-requests", REQUEST, "id"),
        "conflict_areas": await made(operator, "/v1/conflict-areas", {"area_id": str(area), "reason": "home"}, "id"),
        "erasure_orders": order,
        "audit_entries": await town.sql("SELECT entry_id FROM grants WHERE id = $1", wall),
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

# What officials keep, next door.
REQUEST = {
    "name": "홍길순", "contact": "010", "place": "공원", "period_from": "2026-09-01T12:00:00+09:00",
    "period_to": "2026-09-01T13:00:00+09:00",
}  # fmt: skip
SEARCH = "/v1/reports/accesses/searches"
CASES |= {
    "a camera as a feature": ("operator", "GET", "/v1/ogc/collections/cameras/items/{id}", None, "cameras"),
    "an entry's leaf": ("auditor", "GET", "/v1/audit/entries/{id}/leaf", None, "audit_entries"),
    "a provision": ("admin", "GET", "/v1/provisions/{id}", None, "provisions"),
    "a provision amended": ("admin", "PATCH", "/v1/provisions/{id}", {"note": "xx", "place": "x"}, "provisions"),
    "a live view's provision amended": ("admin", "PATCH", "/v1/provisions/{id}", {"note": "xx", "place": "x"}, "grants"),
    "a provision of a camera": ("admin", "POST", "/v1/provisions", usb(camera_ids=["{id}"]), "cameras"),
    "accesses of a camera": ("shift_lead", "POST", SEARCH, {"camera_id": "{id}", "reason": "x"}, "cameras"),
    "accesses of a person": ("auditor", "POST", SEARCH, {"user_id": "{id}", "reason": "x"}, "users"),
    "a review": ("auditor", "GET", "/v1/reviews/{id}", None, "reviews"),
    "a review's findings": ("auditor", "GET", "/v1/reviews/{id}/findings", None, "reviews"),
    "a review's document": ("auditor", "GET", "/v1/reviews/{id}/document", None, "reviews"),
    "a review assigned": ("admin", "PUT", "/v1/reviews/{id}/officer", {"user_id": "{own}"}, "reviews"),
    "a finding answered": ("auditor", "PUT", "/v1/reviews/{id}/findings/1/answer", {"answer": "in_order"}, "reviews"),
    "a review signed": ("auditor", "POST", "/v1/reviews/{id}/signature", {"statement": "x"}, "reviews"),
    "a conflict ended": ("operator", "DELETE", "/v1/conflict-areas/{id}", None, "conflict_areas"),
    "a request": ("admin", "GET", "/v1/subject-requests/{id}", None, "subject_requests"),
    "a request, audited": ("auditor", "GET", "/v1/subject-requests/{id}", None, "subject_requests"),
    "a request about a camera": (
        "admin", "POST", "/v1/subject-requests", {**REQUEST, "camera_ids": ["{id}"]}, "cameras"
    ),
    "a request proved": ("admin", "PUT", "/v1/subject-requests/{id}/proof", {"how": "x"}, "subject_requests"),
    "a request put off": (
        "admin", "POST", "/v1/subject-requests/{id}/extension", {"days": 1, "reason": "x"}, "subject_requests"
    ),
    "a request decided": (
        "admin", "POST", "/v1/subject-requests/{id}/decision", {"decision": "grant"}, "subject_requests"
    ),
    "a request masked": (
        "admin", "PUT", "/v1/subject-requests/{id}/masked-copy", {"by": "x", "how": "x"}, "subject_requests"
    ),
    "a request closed": ("admin", "POST", "/v1/subject-requests/{id}/closing", {"outcome": "x"}, "subject_requests"),
    "a request forgotten": ("admin", "DELETE", "/v1/subject-requests/{id}/person", None, "subject_requests"),
    "an entry erased": (
        "admin", "POST", "/v1/audit/erasures", {"basis": "xx", "document_number": "1", "entry_ids": ["{id}"]},
        "audit_entries",
    ),
    "a person erased": (
        "admin", "POST", "/v1/audit/erasures", {"basis": "xx", "document_number": "1", "user_id": "{id}"}, "users"
    ),
    "an erasure decided": (
        "admin", "POST", "/v1/audit/erasures/{id}/decision", {"approve": True}, "erasure_orders"
    ),
}  # fmt: skip

# The register by hand, files for it, and cameras as devices.
NOBODY = str(UUID(int=7))
NEW = {"name": "x", "lat": 37.5, "lon": 127.0}
STANDING = {"cameras": "/v1/cameras/{id}", "assets": "/v1/assets/{id}"}
CASES |= {
    f"{things}: {name}": ("admin", method, path + rest, body, things)
    for things, path in STANDING.items()
    for name, method, rest, body in (
        ("changed", "PATCH", "", {"name": "x"}),
        ("its life", "GET", "/life", None),
        ("a step of its life", "POST", "/life", {"status": "installed"}),
        ("its outages", "GET", "/outages", None),
        ("an outage of it", "POST", "/outages", {"kind": "planned"}),
        ("the end of an outage", "POST", f"/outages/{NOBODY}/end", None),
    )
}
CASES |= {
    "all of a camera's record": ("admin", "GET", "/v1/cameras/{id}/record", None, "cameras"),
    "an asset": ("operator", "GET", "/v1/assets/{id}", None, "assets"),
    "a device of a camera": ("admin", "POST", "/v1/cameras/{id}/devices", {"model": "x"}, "cameras"),
    "an outage at a camera of one's own": ("admin", "POST", "/v1/cameras/{own}/outages/{id}/end", None, "outages"),
    "a camera replaced": ("admin", "POST", "/v1/cameras", {**NEW, "replaces_id": "{id}"}, "cameras"),
    "a camera at a site": ("admin", "POST", "/v1/cameras", {**NEW, "site_id": "{id}"}, "sites"),
    "a camera on a pole": ("admin", "POST", "/v1/cameras", {**NEW, "pole_id": "{id}"}, "poles"),
    "an asset replaced": ("admin", "POST", "/v1/assets", {**NEW, "kind": "bell", "replaces_id": "{id}"}, "assets"),
    "an asset at a site": ("admin", "POST", "/v1/assets", {**NEW, "kind": "bell", "site_id": "{id}"}, "sites"),
    "an asset on a pole": ("admin", "POST", "/v1/assets", {**NEW, "kind": "bell", "parent_id": "{id}"}, "poles"),
    "a bell of a camera": ("admin", "POST", "/v1/assets", {**NEW, "kind": "bell", "camera_ids": ["{id}"]}, "cameras"),
    "a control": ("admin", "PUT", "/v1/cameras/{id}/control", {"url": NOWHERE}, "cameras"),
    "an unsafe control": ("admin", "PUT", "/v1/cameras/{id}/control", {"url": "file:///x"}, "cameras"),
    "a control with a bell": (
        "admin", "PUT", "/v1/cameras/{own}/control", {"url": NOWHERE, "bell_id": "{id}"}, "assets"
    ),
    "a camera probed": ("admin", "POST", "/v1/cameras/{id}/probe", None, "cameras"),
    "a proposal taken": ("admin", "POST", "/v1/cameras/{id}/proposals", {"proposal": "x"}, "cameras"),
    "a camera turned": (
        "operator", "POST", "/v1/cameras/{id}/ptz-leases", {"grant_id": NOBODY, "purpose": "emergency_response"},
        "cameras",
    ),
    "a lease's presets": ("operator", "GET", "/v1/ptz-leases/{id}/presets", None, "ptz_leases"),
    "a move under a lease": ("operator", "POST", "/v1/ptz-leases/{id}/moves", {"kind": "stop"}, "ptz_leases"),
    "a lease given back": ("operator", "DELETE", "/v1/ptz-leases/{id}", None, "ptz_leases"),
    "a lease taken back": ("shift_lead", "DELETE", "/v1/ptz-leases/{id}", None, "ptz_leases"),
    "cameras lost together": ("operator", "GET", "/v1/losses/{id}", None, "losses"),
    "an import": ("admin", "GET", "/v1/imports/{id}", None, "imports"),
    "an import's findings": ("admin", "GET", "/v1/imports/{id}/findings", None, "imports"),
    "an import applied": ("admin", "POST", "/v1/imports/{id}/apply", None, "imports"),
    "an import undone": ("admin", "POST", "/v1/imports/{id}/undo", None, "imports"),
    "an import cancelled": ("admin", "POST", "/v1/imports/{id}/cancel", None, "imports"),
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

TABLES = {"cameras": "camera_positions", "walls": "grants", "poles": "assets"}


def _ids(*said: Any) -> set[UUID]:
    found = set()
    for one in said:
        if isinstance(one, UUID):
            found.add(one)
        elif isinstance(one, list | tuple):
            found |= _ids(*one)
        elif isinstance(one, dict):
            found |= _ids(*one.values())
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


LEAKS: dict[str, tuple[tuple[Any, str], ...]] = {
    "/v1/ogc/collections/cameras/items/{id}": ((cameras, "get"),),
    "/v1/audit/entries/{id}/leaf": ((entries, "get"),),
    **{f"{path}/life": ((life, "change"), (life, "told")) for path in STANDING.values()},
    **{f"{path}/outages": ((outages, "begin"), (outages, "told")) for path in STANDING.values()},
    **{f"{path}/outages/{NOBODY}/end": ((outages, "end"),) for path in STANDING.values()},
    "/v1/cameras/{own}/outages/{id}/end": ((outages, "end"),),
    "/v1/cameras/{id}/record": ((camera_register, "record"),),
    "/v1/cameras/{id}/devices": ((camera_register, "mount"),),
    "/v1/cameras": ((camera_register, "add"),),
    "/v1/assets": ((asset_register, "add"),),
    "/v1/assets/{id}": ((asset_register, "record"), (asset_register, "change")),
    "/v1/cameras/{id}/control": ((controls, "put"),),
    "/v1/cameras/{own}/control": ((controls, "put"),),
    "/v1/cameras/{id}/probe": ((controls, "administered"),),
    "/v1/cameras/{id}/proposals": ((probing, "accept"),),
    "/v1/cameras/{id}/ptz-leases": ((leases, "open_lease"),),
    "/v1/ptz-leases/{id}/presets": ((leases, "camera_of"),),
    "/v1/ptz-leases/{id}/moves": ((leases, "camera_of"),),
    "/v1/ptz-leases/{id}": ((leases, "give_back"),),
    "/v1/losses/{id}": ((losses, "members"),),
    "/v1/imports/{id}": ((jobs, "get"),),
    "/v1/imports/{id}/findings": ((jobs, "findings"),),
    "/v1/imports/{id}/apply": ((jobs, "ask_to_apply"),),
    "/v1/imports/{id}/undo": ((jobs, "ask_to_undo"),),
    "/v1/imports/{id}/cancel": ((jobs, "cancel"),),
    "/v1/provisions": ((provisions, "record"),),
    "/v1/provisions/{id}": ((provisions, "_get"),),
    "/v1/reports/accesses/searches": ((searches, "accesses"),),
    "/v1/reviews/{id}": ((reviews, "get"),),
    "/v1/reviews/{id}/findings": ((reviews, "findings"),),
    "/v1/reviews/{id}/document": ((reviews, "signed"),),
    "/v1/reviews/{id}/officer": ((reviewing, "assign"),),
    "/v1/reviews/{id}/findings/1/answer": ((reviewing, "answer"),),
    "/v1/reviews/{id}/signature": ((reviewing, "sign"),),
    "/v1/conflict-areas/{id}": ((conflicts, "end"),),
    "/v1/subject-requests": ((receiving, "receive"),),
    "/v1/subject-requests/{id}": ((requests, "get"),),
    "/v1/subject-requests/{id}/proof": ((deciding, "prove"),),
    "/v1/subject-requests/{id}/extension": ((deciding, "extend"),),
    "/v1/subject-requests/{id}/decision": ((deciding, "decide"),),
    "/v1/subject-requests/{id}/masked-copy": ((deciding, "masked"),),
    "/v1/subject-requests/{id}/closing": ((deciding, "close"),),
    "/v1/subject-requests/{id}/person": ((deciding, "erase"),),
    "/v1/audit/erasures": ((erasures, "order"),),
    "/v1/audit/erasures/{id}/decision": ((erasures, "decide"),),
    "/v1/grants": ((rights, "explain_refusal"),),
    "/v1/cameras/{id}": ((cameras, "get"), (camera_register, "change")),
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


# Doors with an id that are tried elsewhere, or where there is nothing to hide.
NOT_TRIED = {
    "/v1/webhooks/": "test_foreign_webhooks_do_not_exist",
    "/v1/event-sources/": "test_another_institution_binds_and_sees_and_ends_nothing_here",
    "/v1/events/": "test_strangers_learn_nothing_of_an_alarm",
    "/v1/agencies/": "whoever is signed in may know which agencies there are",
    "/v1/agency-groups/": "and which groups of them",
    "/v1/areas/": "and which areas",
    "/v1/reports/publications/": "they are public by law",
}


async def test_every_door_with_an_id_is_tried(neighbours: Neighbours) -> None:
    paths = (await neighbours.town.client.get("/openapi.json")).json()["paths"]
    doors = {(method.upper(), path) for path, said in paths.items() for method in said if "_id}" in path}
    tried = {(method, path.partition("?")[0]) for _, method, path, _, _ in CASES.values()}
    missing = {
        (method, path)
        for method, path in doors
        if not any(way == method and re.fullmatch(re.sub(r"\{[a-z_]+\}", "[^/]+", path), one) for way, one in tried)
    }
    assert {door for door in missing if not door[1].startswith(tuple(NOT_TRIED))} == set()
    assert all(any(path.startswith(room) for _, path in missing) for room in NOT_TRIED)
