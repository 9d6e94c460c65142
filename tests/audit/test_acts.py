"""What is logged: every mutating door leaves an entry, which says who acted from where; the document says what."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.access.roles import ROLES
from app.audit import document
from app.audit.acts import ACTS
from app.database import Database
from tests import factories
from tests.factories import PASSWORD, Person
from tests.registry.import_tables import csv_text, lines
from tests.reports.past import MONTH, Past, at
from tests.reports.town import EMERGENCY, TODAY, usb
from tests.routers.test_imports import Administrator
from tests.streams.fake_onvif import onvif

REASON = {"purpose": "emergency_response", "basis": "KR-PIPA-18-2-3"}
OF_THE_ACTOR = {"user_id", "login", "role", "appointment_id", "agency_id", "session_id", "address"}
# Mutating doors whose record is elsewhere.
ELSEWHERE = {
    ("POST", "/v1/events"): "an event is in the events' own ledger, with its source",
    ("POST", "/v1/events/{event_id}/acknowledgements"): "an event of its own (alarm.acknowledged), by name",
    ("POST", "/v1/events/{event_id}/verdicts"): "an event of its own (alarm.judged), by name",
    (
        "POST",
        "/v1/camera-searches",
    ): "a search whose shape is too long for an address; like GET /v1/cameras it is no act",
    ("POST", "/v1/witness/add-checkpoint"): "nobody signs in; the table of what was cosigned (test_witness.py)",
    ("POST", "/v1/feed/tickets"): "a way for the session's own token, gone after 30 s",
    ("POST", "/internal/gateways/{name}/{secret}"): "a gateway asks; the view that it opens is the entry",
    ("POST", "/v1/imports/{import_id}/apply"): "a job applies it, in the name of who asked (below)",
    ("POST", "/v1/imports/{import_id}/undo"): "a job takes it back, in the name of who asked (below)",
    (
        "POST",
        "/v1/ptz-leases/{lease_id}/moves",
    ): "all moves are summed up in the entry that ends the lease (test_ptz.py)",
    ("POST", "/v1/webhooks/{webhook_id}/dead-letters/{letter_id}/replays"): "held by the tests of dead letters",
}


@dataclass
class Story:
    """Requests one after the other, each with the entries of its person that came of it."""

    client: httpx.AsyncClient
    database: Database
    left: dict[tuple[str, str], list[tuple[str, dict[str, Any]]]] = field(default_factory=dict)

    async def __call__(
        self, who: Person, headers: Mapping[str, str], method: str, template: str, body: Any = None, **names: object
    ) -> Any:
        seen = {entry_id for entry_id, _, _ in await self.entries(who)}
        sent: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
        response = await self.client.request(method, template.format(**names), headers=dict(headers), **sent)
        assert response.status_code < 300, (method, template, response.text)
        new = [(act, said) for entry_id, act, said in await self.entries(who) if entry_id not in seen]
        self.left.setdefault((method, template), []).extend(new)
        return response.json() if "json" in response.headers.get("content-type", "") else None

    async def entries(self, who: Person) -> list[tuple[UUID, str, dict[str, Any]]]:
        async with self.database.bare.acquire() as connection:
            await connection.set_type_codec("json", encoder=str, decoder=__import__("json").loads, schema="pg_catalog")
            rows = await connection.fetch(
                "SELECT id, act, payload FROM audit_entries WHERE payload ->> 'user_id' = $1", str(who.user_id)
            )
            await connection.reset_type_codec("json", schema="pg_catalog")
        return [(row["id"], row["act"], row["payload"]) for row in rows]


async def tell(tale: Story) -> None:  # every door once, in an order in which each succeeds
    database, client = tale.database, tale.client
    owner, police = await factories.agency(database), await factories.agency(database, "police")
    camera = await factories.camera(database, owner)
    head, admin, lead, operator, following = [
        await factories.person(database, owner, role)
        for role in ("agency_head", "admin", "shift_lead", "operator", "operator")
    ]
    officer = await factories.person(database, police, "room")
    station = await factories.agency(database, "police")
    await factories.agreement(database, owner, station, approval="center")
    asker = await factories.person(database, station, "room")
    system = await factories.person(database, owner, "integration")
    signed = {
        one.login: await factories.sign_in(client, one) for one in (head, admin, lead, operator, officer, asker, system)
    }

    async def by(who: Person, *what: Any, **names: object) -> Any:
        return await tale(who, signed[who.login], *what, **names)

    await tale(following, {}, "POST", "/v1/sessions", {"login": following.login, "password": PASSWORD})
    terms = {"title": "협약", "verbs": ["locate", "request", "view"], "grantee_agency_id": str(police)}
    agreement = (await by(head, "POST", "/v1/agreements", terms))["id"]
    await by(admin, "PUT", "/v1/cameras/{camera_id}/source", {"url": "rtsp://127.0.0.1/1"},
             camera_id=camera)  # fmt: skip
    terminal = (await by(admin, "POST", "/v1/terminals", {"name": "관제석 1", "kind": "console"}))["id"]
    await by(admin, "DELETE", "/v1/terminals/{terminal_id}", terminal_id=terminal)
    bound = (await by(admin, "POST", "/v1/event-sources", {"login": system.login, "name": factories.name("src")}))["id"]
    await by(admin, "DELETE", "/v1/event-sources/{source_id}", source_id=bound)
    hook = (await by(system, "POST", "/v1/webhooks", {"name": "h", "url": "http://127.0.0.1:9/"}))["id"]
    await by(system, "PATCH", "/v1/webhooks/{webhook_id}", {"name": "h2"}, webhook_id=hook)
    await by(system, "POST", "/v1/webhooks/{webhook_id}/secret", webhook_id=hook)
    await by(system, "POST", "/v1/webhooks/{webhook_id}/tests", webhook_id=hook)
    position = (await client.get("/v1/events", headers=signed[system.login])).json()["position"]
    await by(system, "POST", "/v1/webhooks/{webhook_id}/replays", {"after": position}, webhook_id=hook)
    await by(system, "DELETE", "/v1/webhooks/{webhook_id}", webhook_id=hook)
    for final in ("decision", "withdrawal"):
        asked = {"camera_ids": [str(camera)], **REASON}
        one = (await by(asker, "POST", "/v1/approvals", asked))["id"]
        if final == "decision":
            await by(head, "POST", "/v1/approvals/{approval_id}/decision", {"approve": True}, approval_id=one)
        await by(asker, "DELETE", "/v1/approvals/{approval_id}", approval_id=one)
    given = (await by(officer, "POST", "/v1/grants", {"camera_ids": [str(camera)], **REASON}))["grants"][0]["grant_id"]
    await by(officer, "POST", "/v1/grants/{grant_id}/renewals", grant_id=given)
    await by(officer, "DELETE", "/v1/grants/{grant_id}", grant_id=given)
    steps = [{"camera_ids": [str(camera)], "seconds": 10}]
    await by(lead, "POST", "/v1/tours", {"name": "순회", "steps": steps})
    wall = (await by(operator, "POST", "/v1/walls", {"camera_ids": [str(camera)]}))["wall_id"]
    await by(operator, "DELETE", "/v1/walls/{wall_id}", wall_id=wall)
    await by(lead, "POST", "/v1/revocations", {"camera_id": str(camera), "reason": "점검"})
    await by(head, "POST", "/v1/agreements/{agreement_id}/withdrawal", {"reason": "종료"}, agreement_id=agreement)
    taken = {"login": following.login, "password": PASSWORD}
    await tale(following, signed[operator.login], "POST", "/v1/sessions/current/sign-over", taken)
    await by(lead, "PUT", "/v1/me/password", {"current_password": PASSWORD, "password": "another good password 1"})
    await by(officer, "DELETE", "/v1/sessions/current")


async def tell_of_the_office(tale: Story) -> None:  # the doors of the organisation, of registers, requests and reviews
    database, client = tale.database, tale.client
    owner = await factories.agency(database)
    camera = await factories.camera(database, owner)
    roles = ("agency_head", "admin", "auditor", "operator")
    people = {role: await factories.person(database, owner, role) for role in roles}
    signed = {role: await factories.sign_in(client, one) for role, one in people.items()}
    view_id = await Past(database, owner).view(people["operator"], camera, at(8))

    async def by(role: str, *what: Any, headers: Mapping[str, str] = MappingProxyType({}), **names: object) -> Any:
        return await tale(people[role], {**signed[role], **headers}, *what, **names)

    unit = {"kind": "center", "parent_id": str(owner)}
    unit_id, other_id = [
        (await by("admin", "POST", "/v1/agencies", unit | {"name": factories.name("center")}))["id"] for _ in range(2)
    ]
    await by("admin", "POST", "/v1/agencies/{agency_id}/moves", {"parent_id": other_id}, agency_id=unit_id)
    group = (await by("admin", "POST", "/v1/agency-groups", {"name": factories.name("council")}))["id"]
    members = {"agency_ids": [str(owner)]}
    await by("admin", "PUT", "/v1/agency-groups/{group_id}/members", members, group_id=group)
    corners = [[128.0, 36.0], [128.001, 36.0], [128.001, 36.001], [128.0, 36.0]]
    drawn = {"kind": "park", "name": "공원", "boundary": {"type": "Polygon", "coordinates": [corners]}}
    area = (await by("admin", "POST", "/v1/areas", drawn))["id"]
    await by("admin", "PUT", "/v1/agencies/{agency_id}/jurisdiction", {"area_ids": [area]}, agency_id=owner)
    declared = (await by("operator", "POST", "/v1/conflict-areas", {"area_id": area, "reason": "home"}))["id"]
    await by("operator", "DELETE", "/v1/conflict-areas/{conflict_id}", conflict_id=declared)
    await by("admin", "POST", "/v1/areas/{area_id}/end", {"valid_to": TODAY.isoformat()}, area_id=area)

    yesterday = TODAY - timedelta(days=1)
    provided = usb(**EMERGENCY, provided_at=f"{yesterday}T12:00:00+09:00")
    made = (await by("admin", "POST", "/v1/provisions", provided))["id"]
    await by("admin", "PATCH", "/v1/provisions/{provision_id}", {"note": "회신", "safety_result": "파기함"},
             headers={"If-Match": '"1"'}, provision_id=made)  # fmt: skip
    days = {"from": yesterday.isoformat(), "to": yesterday.isoformat()}
    await by("admin", "POST", "/v1/reports/publications", {**days, "place": "누리집"})
    await by("admin", "POST", "/v1/reports/registers", {**days, "register": "access", "reason": "월간 점검"})
    await by("auditor", "POST", "/v1/reports/accesses/searches", {"camera_id": str(camera), "reason": "감사"})

    asked = {"name": "홍길순", "contact": "010", "place": "공원", "period_from": f"{yesterday}T12:00:00+09:00"}
    asked |= {"period_to": f"{yesterday}T13:00:00+09:00"}
    request = {"request_id": (await by("admin", "POST", "/v1/subject-requests", asked))["id"]}
    path = "/v1/subject-requests/{request_id}"
    await by("admin", "PUT", path + "/proof", {"how": "신분증"}, **request)
    await by("admin", "POST", path + "/extension", {"days": 5, "reason": "마스킹"}, **request)
    await by("admin", "POST", path + "/decision", {"decision": "grant"}, **request)
    await by("admin", "PUT", path + "/masked-copy", {"by": "주무관", "how": "모자이크"}, **request)
    await by("admin", "POST", path + "/closing", {"outcome": "제공"}, **request)
    await by("admin", "DELETE", path + "/person", **request)

    review = {"review_id": (await by("auditor", "POST", "/v1/reviews", {"month": str(MONTH)}))["id"]}
    path = "/v1/reviews/{review_id}"
    await by("auditor", "PUT", path + "/officer", {"user_id": str(people["auditor"].user_id)}, **review)
    found = (await client.get(path.format(**review) + "/findings", headers=signed["auditor"])).json()["items"]
    assert found, f"view {view_id} is drawn"
    for one in found:
        said = {"answer": "in_order", "words": "확인함"}
        await by("auditor", "PUT", path + "/findings/{number}/answer", said, number=one["number"], **review)
    await by("auditor", "POST", path + "/signature", {"statement": "점검 완료"}, **review)

    order = {"basis": "개인정보 보호법 제21조", "document_number": "1", "user_id": str(people["operator"].user_id)}
    while (await client.post("/v1/audit/erasures", json=order, headers=signed["agency_head"])).status_code == 404:
        pass  # what is not numbered yet is not found
    erasure = (await by("agency_head", "POST", "/v1/audit/erasures", order))["id"]
    await by("admin", "POST", "/v1/audit/erasures/{order_id}/decision", {"approve": True}, order_id=erasure)


async def tell_of_the_street(tale: Story) -> None:  # the doors of the register, of files for it, and of devices
    owner = await factories.agency(tale.database)
    roles = ("admin", "shift_lead", "operator")
    people = {role: await factories.person(tale.database, owner, role) for role in roles}
    signed = {role: await factories.sign_in(tale.client, one) for role, one in people.items()}

    async def by(role: str, *what: Any, **names: object) -> Any:
        return await tale(people[role], signed[role], *what, **names)

    place = {"name": factories.name("새솔"), "lat": 37.51, "lon": 127.02}
    camera = {"camera_id": (await by("admin", "POST", "/v1/cameras", place))["id"]}
    await by("admin", "PATCH", "/v1/cameras/{camera_id}", {"ptz": True}, **camera)
    await by("admin", "POST", "/v1/cameras/{camera_id}/devices", {"maker": "새솔전자", "model": "A"}, **camera)
    asset = {"asset_id": (await by("admin", "POST", "/v1/assets", place | {"kind": "bell"}))["id"]}
    await by("admin", "PATCH", "/v1/assets/{asset_id}", {"quantity": 2}, **asset)
    for thing in ({"things": "cameras", "thing_id": camera["camera_id"]},
                  {"things": "assets", "thing_id": asset["asset_id"]}):  # fmt: skip
        for status in ("installed", "active"):
            await by("admin", "POST", "/v1/{things}/{thing_id}/life", {"status": status}, **thing)
        path = "/v1/{things}/{thing_id}/outages"
        outage = (await by("admin", "POST", path, {"kind": "fault", "ticket": "T-1"}, **thing))["id"]
        await by("admin", "POST", path + "/{outage_id}/end", outage_id=outage, **thing)
    await by("admin", "POST", "/v1/{things}/{thing_id}/life", {"status": "retired"}, **thing)

    async with onvif() as head:
        await by("admin", "PUT", "/v1/cameras/{camera_id}/control", {"url": head.url}, **camera)
        found = (await by("admin", "POST", "/v1/cameras/{camera_id}/probe", **camera))["profiles"][0]
        await by("admin", "POST", "/v1/cameras/{camera_id}/proposals", {"proposal": found["proposal"]}, **camera)
        grant = await by("operator", "POST", "/v1/grants", {"camera_ids": [camera["camera_id"]], **REASON})
        asked = {"grant_id": grant["grants"][0]["grant_id"], "purpose": REASON["purpose"]}
        lease = (await by("operator", "POST", "/v1/cameras/{camera_id}/ptz-leases", asked, **camera))["id"]
        await by("shift_lead", "DELETE", "/v1/ptz-leases/{lease_id}", lease_id=lease)

    sent = (await by("admin", "POST", "/v1/imports", csv_text(lines(2)).encode()))["id"]
    await by("admin", "POST", "/v1/imports/{import_id}/cancel", import_id=sent)


async def test_every_mutating_door_leaves_an_entry_that_says_who_and_from_where(
    client: httpx.AsyncClient, database: Database
) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    mutating = {
        (method.upper(), path) for path, known in paths.items() for method in known if method not in ("get", "head")
    }
    tale = Story(client, database)
    await tell(tale)
    await tell_of_the_office(tale)
    await tell_of_the_street(tale)
    assert mutating - set(tale.left) - set(ELSEWHERE) == set(), "doors that nobody opened here"
    assert (set(tale.left) | set(ELSEWHERE)) - mutating == set(), "doors that are none"
    silent = [door for door, left in tale.left.items() if not left]
    assert silent == []
    for door, left in tale.left.items():
        for act, said in left:
            assert act in ACTS, (door, act)
            assert set(said) >= OF_THE_ACTOR, (door, act, OF_THE_ACTOR - set(said))
            assert said["role"] in ROLES


async def test_what_a_job_applies_and_takes_back_is_an_act_of_who_asked(
    client: httpx.AsyncClient, database: Database
) -> None:
    owner, tale = await factories.agency(database), Story(client, database)
    sender, asker = [await factories.person(database, owner, "admin") for _ in range(2)]
    send, ask = [Administrator(client, await factories.sign_in(client, one), owner) for one in (sender, asker)]
    sent = (await send.ready(csv_text(lines(2))))["id"]
    for what, state, act in (("apply", "applied", "import.applied"), ("undo", "undone", "import.undone")):
        assert (await ask("POST", f"/imports/{sent}/{what}")).status_code == 202
        await ask.until(sent, state, "failed")
        [said] = [said for _, written, said in await tale.entries(asker) if written == act]
        assert set(said) >= OF_THE_ACTOR - {"address", "session_id"}, "nobody is signed in when the job is done"
    assert {act for _, act, _ in await tale.entries(sender)} == {"session.opened", "import.received"}


def test_what_is_written_and_what_is_documented_are_the_same() -> None:
    assert set(document.written()) == set(ACTS)


def test_the_document_is_of_this_code() -> None:
    page = (Path(__file__).parents[2] / "docs/AUDIT.md").read_text()
    assert page == document.markdown(), "python -m app.audit.document > docs/AUDIT.md"


@pytest.mark.parametrize(
    ("source", "acts", "said"),
    [
        ('entries.entry(actor, "door.opened", camera_id=1, cause=2)', {"door.opened"}, {"camera_id", "cause"}),
        ('_note(s, "a.b" if x else "c.d", **more)', {"a.b", "c.d"}, {"…"}),
        ('act = "view.opened"\nentries.entry(actor, act, subject=1)', {"view.opened"}, {"subject"}),
        ('say("door.opened", camera_id=1)', set(), set()),
    ],
    ids=["plain", "either", "passed on", "no entry"],
)
def test_what_an_entry_says_is_read_off_the_code(source: str, acts: set[str], said: set[str]) -> None:
    found = [call for call in document.calls(source) if call.acts]
    assert {act for call in found for act in call.acts} == acts
    assert {word for call in found for word in call.said} == said
