"""Crowds: who is of equal rights and wants the same is told together; every other difference parts them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.access.rights import Scope
from app.access.roles import ROLES
from app.actor import Actor
from app.events.catalogue import Sight
from app.feed.members import Crowds, Member, Viewer
from app.feed.subscriptions import Near, Subscription, names_of
from tests.streams.playing import Wire

NOW = datetime(2026, 3, 1, tzinfo=UTC)
AGENCY, OTHER = uuid4(), uuid4()
AREA = uuid4()


def person(role: str = "operator", agency: UUID = AGENCY) -> Actor:
    return Actor(
        uuid4(), "somebody", role, uuid4(), agency, "기관", agency, (agency,), uuid4(), NOW + timedelta(hours=8),
        capabilities=ROLES[role],
    )  # fmt: skip


def member(actor: Actor | None = None, *scopes: Scope) -> Member:
    actor = actor or person()
    return Member(actor, scopes or (Scope(actor.agency_id),), Wire(), 1 << 20)


def row(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "bell.pressed", "regards_kind": "", "severity": 4, "gravity": None, "area_ids": [AREA], "incident_id": None,
        "camera_id": None, "subject_id": None, "latitude": 37.5, "longitude": 127.0, "owner_agency_id": AGENCY,
        "installation_purposes": [], "restriction": "",
    } | changes  # fmt: skip


def subscribe(crowds: Crowds, one: Member, *wishes: Subscription) -> None:
    one.live = {wish.id: wish for wish in wishes}
    crowds.place(one)


def told(crowds: Crowds, event: dict[str, Any]) -> list[Member | Any]:
    found = crowds.found(event["area_ids"], names_of(event["kind"], event["regards_kind"]))
    return [crowd for crowd in found if crowd.concerns(event, NOW, lambda _: None)]


def test_equal_rights_and_wishes_are_one_crowd() -> None:
    crowds, many = Crowds(), [member() for _ in range(5)]
    for number, one in enumerate(many):
        subscribe(crowds, one, Subscription(f"name {number}", kinds=frozenset(["bell.*"])))
    (crowd,) = told(crowds, row())
    assert list(crowd.group.listeners) == [one.listener for one in many]


@pytest.mark.parametrize(
    "other",
    [
        member(person("admin")),  # who is told less of each event
        member(person(agency=OTHER), Scope(AGENCY)),  # who acts for somebody else
        member(None, Scope(AGENCY, frozenset([AREA]))),
        member(None, Scope(AGENCY, expires_at=NOW + timedelta(hours=1))),
    ],
)
def test_other_rights_are_another_crowd(other: Member) -> None:
    crowds, wish = Crowds(), Subscription("x")
    for one in (member(), other):
        subscribe(crowds, one, wish)
    assert len(told(crowds, row())) == 2


def test_who_is_told_more_of_the_own_events_alone_is_another_crowd() -> None:
    crowds, head, keeper = Crowds(), member(person("agency_head")), member(person("admin"))
    assert head.sight(OTHER) == keeper.sight(OTHER)
    for one in (head, keeper):
        subscribe(crowds, one, Subscription("x"))
    assert len(told(crowds, row())) == 2


def test_a_member_of_many_wishes_is_told_once() -> None:
    crowds, one = Crowds(), member()
    subscribe(
        crowds, one, Subscription("a", kinds=frozenset(["bell.*"])), Subscription("b", area_ids=frozenset([AREA]))
    )
    (crowd,) = told(crowds, row())
    assert list(crowd.group.listeners) == [one.listener]


def test_nothing_is_left_of_who_left() -> None:
    crowds, one = Crowds(), member()
    subscribe(crowds, one, Subscription("a", kinds=frozenset(["bell.*"]), area_ids=frozenset([AREA])))
    crowds.leave(one)
    assert told(crowds, row()) == []
    assert vars(crowds) == {"_crowds": {}, "_index": {}}


def test_who_may_see_less_from_now_on_changes_crowds() -> None:
    crowds, stays, changes = Crowds(), member(), member()
    for one in (stays, changes):
        subscribe(crowds, one, Subscription("x"))
    changes.scopes = (Scope(AGENCY, frozenset([uuid4()])),)
    crowds.place(changes)
    (crowd,) = told(crowds, row())
    assert list(crowd.group.listeners) == [stays.listener]


@pytest.mark.parametrize(
    ("wish", "wanted"),
    [
        (Subscription("x", kinds=frozenset(["bell.pressed"])), True),
        (Subscription("x", kinds=frozenset(["camera.*"])), False),
        (Subscription("x", min_severity=4), True),
        (Subscription("x", area_ids=frozenset([uuid4()])), False),
        (Subscription("x", near=Near(100, 37.5, 127.0)), True),
        (Subscription("x", near=Near(100, 37.51, 127.0)), False),
        (Subscription("x", near=Near(1200, 37.51, 127.0)), True),
        (Subscription("x", near=Near(1200, unit_id=uuid4())), False),
    ],
)
def test_a_wish(wish: Subscription, wanted: bool) -> None:
    assert wish.wants(row()) is wanted
    crowds = Crowds()
    subscribe(crowds, member(), wish)
    assert bool(told(crowds, row())) is wanted


def test_a_circle_goes_with_its_unit() -> None:
    car, places = uuid4(), {}
    wish = Subscription("x", near=Near(500, unit_id=car))
    assert not wish.wants(row(), places.get)
    places[car] = (37.5, 127.001)
    assert wish.wants(row(), places.get)
    places[car] = (37.6, 127.001)
    assert not wish.wants(row(), places.get)


def test_what_becomes_of_an_event_is_wanted_where_the_event_is() -> None:
    wish = Subscription("x", kinds=frozenset(["bell.*"]))
    assert wish.wants(row(kind="alarm.judged", regards_kind="bell.pressed"))
    assert not wish.wants(row(kind="alarm.judged", regards_kind="analytic.fire"))


def test_of_a_restricted_event_only_the_owners_people_are_told() -> None:
    own, partner = Viewer(person(), [Scope(AGENCY)]), Viewer(person("room", OTHER), [Scope(AGENCY)])
    assert partner.may_see(row(), NOW)
    assert own.may_see(row(restriction="child"), NOW)
    assert not partner.may_see(row(restriction="child"), NOW)


@pytest.mark.parametrize(
    ("role", "own", "others"),
    [
        ("operator", Sight.OWNER, Sight.RESPONDER),
        ("room", Sight.OWNER, Sight.RESPONDER),
        ("agency_head", Sight.OWNER, Sight.PARTNER),
        ("integration", Sight.OWNER, Sight.PARTNER),
        ("admin", Sight.PARTNER, Sight.PARTNER),
    ],
)
def test_how_much_is_told(role: str, own: Sight, others: Sight) -> None:
    viewer = Viewer(person(role), [])
    assert (viewer.sight(AGENCY), viewer.sight(OTHER)) == (own, others)
