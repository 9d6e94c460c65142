"""What belongs to others: views, walls, tours, showings, manifests, approvals; and everything with a session that is over."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import ARRAY, LargeBinary, Uuid, bindparam, func, select, true
from sqlalchemy.dialects.postgresql import asyncpg

from app.access import approvals, sessions
from app.actor import Actor
from app.ids import new_id
from app.models import Session
from app.streams import manifests, tours, views, walls, writer
from tests import factories
from tests.attacks.attack import Attack, against_the_house, without, without_its_guard
from tests.attacks.town import INVESTIGATION, Town, Visitor, holder_of, token_of


@dataclass
class Room:
    """An operator's wall and tour, and what was shown on it."""

    town: Town
    victim: Visitor
    wall: str
    manifest: UUID
    tour: str
    tour_name: str

    async def others(self) -> dict[str, Visitor]:
        """Who may not know of it: all but the victim, and those who supervise or audit where the victim works."""
        town = self.town
        elsewhere = await factories.agency(town.database)
        return {
            "a colleague": await town.own(),
            "the police": await town.visitor(),
            "a stranger": await town.stranger(),
            "a stranger's shift lead": await town.signed_in(
                await factories.person(town.database, elsewhere, "shift_lead")
            ),
            "a stranger's auditor": await town.signed_in(await factories.person(town.database, elsewhere, "auditor")),
        }


OTHERS = ("a colleague", "the police", "a stranger", "a stranger's shift lead", "a stranger's auditor")


@pytest.fixture(scope="module")
async def room(town: Town) -> Room:
    victim, lead = await town.own(), await town.own("shift_lead")
    name = factories.name("tour")
    steps = [{"camera_ids": [str(town.camera)], "seconds": 30}]
    made = await town.client.post("/v1/tours", json={"name": name, "steps": steps}, headers=lead.headers)
    assert made.status_code == 201, made.text
    wall = await town.client.post("/v1/walls", json={"camera_ids": [str(town.camera)]}, headers=victim.headers)
    assert wall.status_code == 201, wall.text
    shown = wall.json()["cameras"][0]["streams"][0]["url"]
    assert await town.plays(token_of(shown), "live.mp4")
    duty = await town.sql("SELECT duty_id FROM grants WHERE id = $1", UUID(wall.json()["wall_id"]))
    manifest = new_id()
    await town.sql(
        "INSERT INTO manifests (id, duty_id, hour, intervals, digest, entry_id)"
        """ VALUES ($1, $2, date_trunc('hour', now()) - interval '5 hours', '{"cameras": {}}', '\\x00', $3)""",
        manifest, duty, UUID(wall.json()["receipt"]["entry_id"]),
    )  # fmt: skip
    return Room(town, victim, wall.json()["wall_id"], manifest, made.json()["id"], name)


Ask = Callable[[Room, Visitor], Awaitable[bool]]


def by_others(ask: Ask) -> Callable[[Room], Awaitable[list[str]]]:
    async def tries(room: Room) -> list[str]:
        return [name for name, who in (await room.others()).items() if await ask(room, who)]

    return tries


async def get(room: Room, who: Visitor, path: str) -> httpx.Response:
    answer = await room.town.client.get(path, headers=who.headers)
    assert answer.status_code in (200, 401, 403, 404), answer.text
    return answer


# Views


async def views_of_another(room: Room, who: Visitor) -> bool:
    town = room.town
    grant = await town.granted(await town.visitor())
    assert await town.plays(grant.token, "live.mp4")
    answers = [await get(room, who, f"/v1/views?running={running}") for running in ("true", "false")]
    return any(str(grant.id) in answer.text for answer in answers)


def listing_everybodys_views(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(views, "_known_to", lambda _: true())


# Walls and tours


async def the_wall_of_another(room: Room, who: Visitor) -> bool:
    return (await get(room, who, f"/v1/walls/{room.wall}")).status_code == 200


async def the_wall_of_an_earlier_session(room: Room) -> bool:
    """A stolen session of the same person at another console does not get the URLs of this one."""
    again = await room.town.signed_in(room.victim.person)
    return await the_wall_of_another(room, again)


def showing_any_wall(patch: pytest.MonkeyPatch) -> None:
    whose = "AND g.user_id = $2 AND g.session_id = $3"
    without(patch, walls, "_WALL", whose, instead="AND $2::uuid IS NOT NULL AND $3::uuid IS NOT NULL")


async def a_wall_stopped_by_another(room: Room, who: Visitor) -> bool:
    await room.town.client.delete(f"/v1/walls/{room.wall}", headers=who.headers)
    stopped = (await room.town.row(UUID(room.wall)))["revoked_at"] is not None
    await room.town.sql("UPDATE grants SET revoked_at = NULL WHERE id = $1", UUID(room.wall))
    return stopped


def stopping_any_wall(patch: pytest.MonkeyPatch) -> None:
    real = walls.stop

    async def stop(session: Any, actor: Actor, wall_id: UUID) -> None:
        await real(session, await holder_of(session, wall_id, actor.address), wall_id)

    patch.setattr(walls, "stop", stop)


async def a_camera_of_another_on_a_wall(room: Room) -> list[str]:
    town = room.town
    who = {"the police": await town.visitor(), "a stranger": await town.stranger("operator", "municipality")}
    through = []
    for name, one in who.items():
        body = {"camera_ids": [str(town.camera)]}
        answer = await town.client.post("/v1/walls", json=body, headers=one.headers)
        through += [name] if answer.status_code == 201 else []
    return through


def any_camera_stands_on_a_wall(patch: pytest.MonkeyPatch) -> None:
    without(patch, walls, "_ASKED", "p.owner_agency_id = ANY($2::uuid[]) AS own", instead="true AS own")
    without(patch, walls, "_ASKED", "AND (p.owner_agency_id = ANY", instead="AND (true OR p.owner_agency_id = ANY")
    without(patch, walls, "_START", "p.owner_agency_id = ANY(c.acts_for_ids)", instead="c.id IS NOT NULL")


async def the_tours_of_another(room: Room) -> list[str]:
    town = room.town
    stranger = await town.stranger("shift_lead", "municipality")
    through = []
    listed = await get(room, stranger, f"/v1/tours?name={room.tour_name}")
    through += ["read"] if str(town.camera) in listed.text else []
    run = await town.client.post("/v1/walls", json={"tour_id": room.tour}, headers=stranger.headers)
    through += ["run"] if run.status_code == 201 else []
    body = {"name": "mine", "steps": [{"camera_ids": [str(town.camera)], "seconds": 30}]}
    defined = await town.client.post("/v1/tours", json=body, headers=stranger.headers)
    through += ["defined"] if defined.status_code == 201 else []
    return through


def tours_of_everybody(patch: pytest.MonkeyPatch) -> None:
    async def own(*_: Any) -> None: ...

    patch.setattr(tours, "_known_to", lambda _: true())
    patch.setattr(tours, "_check_own", own)
    without(patch, walls, "_TOUR", "agency_id = ANY($2::uuid[])", instead="$2::uuid[] IS NOT NULL")
    any_camera_stands_on_a_wall(patch)


# What was shown


async def the_manifest_of_another(room: Room, who: Visitor) -> bool:
    return (await get(room, who, f"/v1/manifests/{room.manifest}")).status_code == 200


async def who_saw_the_camera(room: Room, who: Visitor) -> bool:
    return room.victim.person.login in (await get(room, who, f"/v1/cameras/{room.town.camera}/showings")).text


def supervising_everybody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(manifests, "_supervises", lambda *_: True)


async def what_another_saw(room: Room, who: Visitor) -> bool:
    answer = await get(room, who, f"/v1/showings?user_id={room.victim.person.user_id}")
    return str(room.town.camera) in answer.text


def everybody_reads_as_the_person(patch: pytest.MonkeyPatch) -> None:
    real = manifests.seen_by

    async def seen_by(session: Any, actor: Actor, user_id: UUID, span: Any) -> Any:
        return await real(session, replace(actor, user_id=user_id), user_id, span)

    patch.setattr(manifests, "seen_by", seen_by)


# Approvals


async def asked(town: Town, by: Visitor) -> str:
    body = {"camera_ids": [str(town.camera)], **INVESTIGATION}
    made = await town.client.post("/v1/approvals", json=body, headers=by.headers)
    assert made.status_code == 201, made.text
    approval_id: str = made.json()["id"]
    return approval_id


async def decided(town: Town, approval_id: str, by: Visitor, *, approve: bool = True) -> httpx.Response:
    return await town.client.post(
        f"/v1/approvals/{approval_id}/decision", json={"approve": approve}, headers=by.headers
    )  # fmt: skip


async def deciders(room: Room, asker: Visitor) -> dict[str, Visitor]:
    """Who would like to decide and must not: the asking side, strangers, and the owner's people without that office."""
    town = room.town
    others = await room.others()
    return {
        "the asker": asker,
        "the asker's shift lead": await town.colleague(asker, "shift_lead"),
        "the asker's head": await town.colleague(asker, "agency_head"),
        "a colleague": others["a colleague"],
        "a stranger's shift lead": others["a stranger's shift lead"],
    }


DECIDERS = ("the asker", "the asker's shift lead", "the asker's head", "a colleague", "a stranger's shift lead")


async def approvals_decided_by_others(room: Room) -> list[str]:
    asker = await room.town.partner(approval="center")
    approval = await asked(room.town, asker)
    through = []
    for name, who in (await deciders(room, asker)).items():
        await decided(room.town, approval, who)
        if await room.town.sql("SELECT approved FROM approvals WHERE id = $1", UUID(approval)):
            through.append(name)
            await room.town.sql("UPDATE approvals SET approved = NULL, decided_at = NULL WHERE id = $1", UUID(approval))
    return through


async def approvals_read_by_others(room: Room) -> list[str]:
    asker = await room.town.partner(approval="center")
    approval = await asked(room.town, asker)
    return [
        name
        for name, who in (await room.others()).items()
        if approval in (await get(room, who, "/v1/approvals?limit=1000")).text
    ]


async def approvals_ended_by_others(room: Room) -> list[str]:
    asker = await room.town.partner(approval="center")
    approval = await asked(room.town, asker)
    through = []
    for name, who in {**await room.others(), "the asker's colleague": await room.town.colleague(asker)}.items():
        await room.town.client.delete(f"/v1/approvals/{approval}", headers=who.headers)
        if await room.town.sql("SELECT decided_at FROM approvals WHERE id = $1", UUID(approval)):
            through.append(name)
            await room.town.sql("UPDATE approvals SET approved = NULL, decided_at = NULL WHERE id = $1", UUID(approval))
    return through


def deciding_for_everybody(patch: pytest.MonkeyPatch) -> None:
    async def found(session: Any, _actor: Actor, approval_id: UUID) -> Any:
        return await session.get(approvals.Approval, approval_id, populate_existing=True)

    async def nothing(*_: Any) -> None: ...

    real, real_end = approvals.decide, approvals.end

    async def decide(session: Any, actor: Actor, approval_id: UUID, **decision: Any) -> None:
        owner = (await found(session, actor, approval_id)).owner_agency_id
        await real(session, replace(actor, acts_for_ids=(owner,)), approval_id, **decision)

    async def end(session: Any, actor: Actor, approval_id: UUID) -> None:
        owner = (await found(session, actor, approval_id)).owner_agency_id
        await real_end(session, replace(actor, acts_for_ids=(owner,)), approval_id)

    patch.setattr(approvals, "decide", decide)
    patch.setattr(approvals, "end", end)
    patch.setattr(approvals, "_get", found)
    patch.setattr(approvals, "_may_decide", lambda _: True)
    patch.setattr(approvals, "_check_not_own", nothing)
    patch.setattr(approvals, "_known_to", lambda _: true())


async def an_approval_used_for_something_else(room: Room) -> list[str]:
    """Given once to one person, for one camera and one reason, until a moment: and tried with each of them changed."""
    town = room.town
    asker, head = await town.partner(approval="center"), await town.own("agency_head")
    other_camera = await factories.camera(town.database, town.district)
    approval = await asked(town, asker)
    assert (await decided(town, approval, head)).status_code == 200
    tried = {
        "a colleague": (await town.colleague(asker), town.camera, {}),
        "another camera": (asker, other_camera, {}),
        "another purpose": (asker, town.camera, {"purpose": "exercise"}),
        "another basis": (asker, town.camera, {"basis": "KR-PIPA-18-2-10"}),
    }
    through = [name for name, (who, camera, more) in tried.items() if await _granted(town, who, camera, **more)]
    for name, change in {
        "over": "valid_to = now() - interval '1 second'",
        "refused": "approved = false, valid_to = NULL",
        "not decided": "approved = NULL, decided_at = NULL, decided_by = NULL, valid_to = NULL",
    }.items():
        await town.sql(f"UPDATE approvals SET {change} WHERE id = $1", UUID(approval))
        through += [name] if await _granted(town, asker, town.camera) else []
    return through


async def _granted(town: Town, who: Visitor, camera: UUID, **more: str) -> bool:
    body = {"camera_ids": [str(camera)], **INVESTIGATION, **more}
    answer = await town.client.post("/v1/grants", json=body, headers=who.headers)
    assert answer.status_code in (201, 403), answer.text
    return answer.status_code == 201


def any_approval_will_do(patch: pytest.MonkeyPatch) -> None:
    without(
        patch, writer, "_GIVE", " AND v.approved AND v.valid_to > now()", "AND v.user_id = s.user_id",
        " AND wish.camera_id = ANY(v.camera_ids)", " AND v.use_purpose = wish.purpose", "AND v.basis = wish.basis",
    )  # fmt: skip


# A session that is over


async def everything_with_a_session_that_is_over(room: Room) -> list[str]:
    """Every operation of the contract that asks who one is, with the token of a session that was ended."""
    town = room.town
    who = await town.own("shift_lead")
    await town.sql("UPDATE sessions SET ended_at = now() WHERE id = $1", who.session_id)
    through = []
    for method, path in await operations(town):
        answer = await town.client.request(method, path, headers=who.headers)
        if answer.status_code != 401:
            through.append(f"{method} {path}")
    return through


async def operations(town: Town) -> list[tuple[str, str]]:
    """Those behind a session, each with an id that nobody has in place of its parameters."""
    known = (await town.client.get("/openapi.json")).json()["paths"]
    found = []
    for path, methods in known.items():
        for method, said in methods.items():
            if path.startswith("/v1/") and path != "/v1/sessions" and said.get("security"):
                found.append((method.upper(), re.sub(r"\{[a-z_]+\}", str(UUID(int=7)), path)))
    assert len(found) > 30
    return found


def tokens_that_live_for_ever(patch: pytest.MonkeyPatch) -> None:
    known = select(*sessions._ACTOR.selected_columns).select_from(*sessions._ACTOR.get_final_froms())
    of_tokens = known.add_columns(Session.token_digest).where(
        Session.token_digest == func.any(bindparam("sought", type_=ARRAY(LargeBinary())))
    )
    patch.setattr(sessions, "OF_TOKENS", str(of_tokens.compile(dialect=asyncpg.dialect())))
    # Who waits for events is looked at again, by the session.
    patch.setattr(sessions, "_BY_IDS", known.where(Session.id == func.any(bindparam("sought", type_=ARRAY(Uuid())))))


ATTACKS = [
    Attack("views of another", by_others(views_of_another), listing_everybodys_views, OTHERS),
    Attack("the wall of another", by_others(the_wall_of_another), showing_any_wall, OTHERS),
    Attack("the wall of an earlier session", the_wall_of_an_earlier_session, showing_any_wall),
    Attack("a wall stopped by another", by_others(a_wall_stopped_by_another), stopping_any_wall, OTHERS),
    Attack("a camera of another on a wall", a_camera_of_another_on_a_wall, any_camera_stands_on_a_wall,
           ("the police", "a stranger")),
    Attack("the tours of another", the_tours_of_another, tours_of_everybody, ("read", "run", "defined")),
    Attack("the manifest of another", by_others(the_manifest_of_another), supervising_everybody, OTHERS),
    Attack("who saw the camera", by_others(who_saw_the_camera), supervising_everybody, OTHERS),
    Attack("what another saw", by_others(what_another_saw), everybody_reads_as_the_person, OTHERS),
    Attack("approvals decided by others", approvals_decided_by_others, deciding_for_everybody, DECIDERS),
    Attack("approvals read by others", approvals_read_by_others, deciding_for_everybody, OTHERS),
    Attack("approvals ended by others", approvals_ended_by_others, deciding_for_everybody,
           (*OTHERS, "the asker's colleague")),
    Attack("an approval used for something else", an_approval_used_for_something_else, any_approval_will_do,
           ("a colleague", "another camera", "another purpose", "another basis", "over", "refused", "not decided")),
]  # fmt: skip


@against_the_house(ATTACKS)
async def test_the_house_withstands(attack: Attack, room: Room) -> None:
    await attack.withstood(room)


@without_its_guard(ATTACKS)
async def test_without_its_guard_it_falls(attack: Attack, room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    await attack.got_through(room, monkeypatch)


async def test_nothing_is_told_to_a_session_that_is_over(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variants are all operations of the contract, so they are counted here."""
    assert await everything_with_a_session_that_is_over(room) == []
    tokens_that_live_for_ever(monkeypatch)
    assert len(await everything_with_a_session_that_is_over(room)) == len(await operations(room.town))
