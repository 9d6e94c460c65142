"""What a process knows of webhooks, and whom an event may concern."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import make_transient

from app import clock
from app.access.rights import Scope
from app.actor import Actor
from app.feed.members import Viewer
from app.feed.webhooks import leases
from app.feed.webhooks.owners import FOR_EVER, Lost
from app.feed.webhooks.table import Table
from app.models import Webhook

OWNER, OTHER = uuid4(), uuid4()
AREAS = [uuid4() for _ in range(3)]
KINDS = ["bell.pressed", "bell.tested", "camera.lost", "camera.*", "bell.*"]


class Known:
    """Owners as somebody read them."""

    def __init__(self, owners: dict[UUID, Viewer | Lost]) -> None:
        self._owners = owners

    def known(self, appointment_id: UUID) -> Viewer | Lost | None:
        return self._owners.get(appointment_id)


def viewer(agency: UUID) -> Viewer:
    actor = Actor(
        user_id=uuid4(), login="x", role="integration", appointment_id=uuid4(), agency_id=agency, agency_name="",
        body_id=agency, acts_for_ids=(agency,), session_id=uuid4(), expires_at=FOR_EVER,
    )  # fmt: skip
    return Viewer(actor, [Scope(agency)])


def webhook(**values: Any) -> Webhook:
    made = Webhook(
        **{"id": uuid4(), "appointment_id": uuid4(), "area_ids": [], "kinds": [], "min_severity": 0, "position": 0,
           "next_at": FOR_EVER} | values
    )  # fmt: skip
    make_transient(made)
    return made


def row(position: int, **values: Any) -> dict[str, Any]:
    return {
        "position": position, "kind": "bell.pressed", "regards_kind": "", "severity": 4, "gravity": None, "area_ids": [],
        "owner_agency_id": OWNER, "restriction": "", "installation_purposes": [], "incident_id": None,
        "camera_id": None, "subject_id": None, "latitude": None, "longitude": None,
    } | values  # fmt: skip


@given(st.data())
def test_the_index_finds_exactly_whom_comparing_with_all_finds(data: st.DataObject) -> None:
    wishes = data.draw(
        st.lists(
            st.fixed_dictionaries(
                {"area_ids": st.lists(st.sampled_from(AREAS), unique=True, max_size=2),
                 "kinds": st.lists(st.sampled_from(KINDS), unique=True, max_size=2),
                 "min_severity": st.integers(0, 4)}
            ), max_size=8,
        )
    )  # fmt: skip
    table = Table(Known({}))  # type: ignore[arg-type]
    for wish in wishes:
        table.put(webhook(**wish), 0)
    event = row(
        7, area_ids=data.draw(st.lists(st.sampled_from(AREAS), unique=True)), severity=data.draw(st.integers(0, 4)),
        kind=data.draw(st.sampled_from(KINDS[:3])), regards_kind=data.draw(st.sampled_from(["", "camera.lost"])),
    )  # fmt: skip
    table.scan(event, clock.now())
    assert set(table.owed) == {name for name, entry in table.entries.items() if entry.subscription.wants(event)}
    assert all((entry.first_wanted, entry.last_wanted) == (7, 7) for entry in table.owed.values())
    for name in list(table.entries):
        table.drop(name)
    assert table._index == {}
    assert table.owed == {}


def test_who_may_not_see_an_event_is_not_woken_and_who_has_lost_the_office_is() -> None:
    hooks = {name: webhook() for name in ("own", "foreign", "lost", "unknown")}
    owners: dict[UUID, Viewer | Lost] = {
        hooks["own"].appointment_id: viewer(OWNER), hooks["foreign"].appointment_id: viewer(OTHER),
        hooks["lost"].appointment_id: Lost("office_ended"),
    }  # fmt: skip
    table = Table(Known(owners))  # type: ignore[arg-type]
    for hook in hooks.values():
        table.put(hook, 0)
    table.scan(row(1), clock.now())
    assert set(table.owed) == {hooks[name].id for name in ("own", "lost", "unknown")}
    table.scan(row(2, restriction="수사", owner_agency_id=OTHER), clock.now())
    assert hooks["foreign"].id in table.owed
    assert table.owed[hooks["own"].id].last_wanted == 1


def test_what_was_done_is_forgotten_and_what_came_meanwhile_is_not() -> None:
    table, hook = Table(Known({})), webhook()  # type: ignore[arg-type]
    table.put(hook, 0)
    for position in (3, 5, 9):
        table.scan(row(position), clock.now())
    entry = table.owed[hook.id]
    assert (entry.first_wanted, entry.last_wanted) == (3, 9)
    assert not entry.done(7)
    assert (entry.position, entry.first_wanted, entry.last_wanted) == (7, 8, 9)
    assert entry.done(9)
    assert (entry.first_wanted, entry.last_wanted) == (0, 0)
    table.owed.clear()
    table.scan(row(9), clock.now())
    assert table.owed == {}


@pytest.mark.parametrize("idle", [True, False])
def test_one_that_is_new_and_behind_is_looked_at_if_nobody_else_does(idle: bool) -> None:
    table = Table(Known({}))  # type: ignore[arg-type]
    hook = webhook(position=4, next_at=FOR_EVER if idle else clock.now())
    assert leases.is_idle(hook.next_at) is idle
    table.put(hook, 10)
    assert (hook.id in table.owed) is idle
    table.owed.clear()
    table.put(hook, 10)
    assert table.owed == {}, "known already: what was scanned was compared with it"
    hook.kinds = ["bell.pressed"]
    table.put(hook, 10)
    assert (hook.id in table.owed) is idle, "it wants something else now"
