"""A webhook tells what its maker may see, now: not what it could see once, and nothing once the office is lost."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from app import clock
from app.access import agreements, people
from app.feed.webhooks import courier, leases, owners, registry, signing
from app.feed.webhooks.registry import Change
from tests import actors, factories
from tests.feed.webhooks.conftest import House
from tests.feed.webhooks.receiver import OK, Message, Receiver, obey, saying, status


async def of_camera(house: House, key: str, *, kind: str = "camera.covered", **fields: Any) -> UUID:
    """An event on a new camera of the house's agency."""
    camera = await factories.camera(house.database, house.agency)
    await house.report(key, kind=kind, subject_kind="cameras", subject_id=camera, **fields)
    return camera


async def neighbour(house: House, **terms: Any) -> tuple[Any, UUID]:
    """A system of another agency, with an agreement."""
    other = await factories.agency(house.database, "police")
    agreement = await factories.agreement(house.database, house.agency, other, **terms)
    return await actors.actor(house.database, other, "integration"), agreement


async def test_others_are_told_within_their_agreement_only(house: House) -> None:
    partner, _ = await neighbour(house, verbs=("locate",))
    stranger = await actors.actor(house.database, await factories.agency(house.database), "integration")
    async with Receiver() as own, Receiver() as shared, Receiver() as strange, house.process():
        for receiver, actor in ((own, house.actor), (shared, partner), (strange, stranger)):
            await house.make(receiver, actor)
        await of_camera(house, "a")
        await of_camera(house, "secret", restriction="수사")
        await of_camera(house, "b")
        await own.got(3)
        await shared.got(2)
        await house.report("theirs", actor=stranger)
        await strange.got(1)
    assert own.keys == ["a", "secret", "b"]
    assert shared.keys == ["a", "b"]
    assert strange.keys == ["theirs"]


async def test_fields_are_told_as_far_as_the_maker_may_see_them(house: House) -> None:
    """A partner's system is told less than a situation room of the owner, where people see footage."""
    partner, _ = await neighbour(house, verbs=("locate",))
    room = await actors.actor(house.database, house.agency, "room")
    async with Receiver() as plain, Receiver() as seeing, house.process():
        await house.make(plain, partner)
        await house.make(seeing, room)
        await of_camera(house, "a", data={"not_in_the_catalogue": "inner"}, media_ref="cameras/1?at=now")
        await plain.got(1)
        await seeing.got(1)
    assert "not_in_the_catalogue" not in plain.messages[0].event["data"]
    assert "media_ref" not in plain.messages[0].event["data"]
    assert b"inner" not in plain.messages[0].body
    assert seeing.messages[0].event["data"]["not_in_the_catalogue"] == "inner"


async def test_rights_withdrawn_while_an_event_waits(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """It failed when it might be told; when it is tried again it may not be any more, and is passed over."""
    monkeypatch.setattr(signing, "pause_seconds", lambda *_: 1.5)
    partner, agreement = await neighbour(house, verbs=("locate",))
    async with Receiver(saying(status(500))) as receiver, house.process():
        made = await house.make(receiver, partner)
        await of_camera(house, "a")
        await house.until(made, attempts=1)
        async with house.database.begin() as session:
            await agreements.withdraw(session, None, agreement, "끝")
        receiver.answers = obey
        await house.report("own", actor=partner)
        await receiver.until(lambda me: "own" in me.keys)
        row = await house.settled(made)
    assert receiver.keys == ["a", "own"]
    assert (row.attempts, row.first_attempt_at, row.paused_because) == (0, None, "")


async def test_rights_withdrawn_in_the_middle_of_a_backlog(house: House) -> None:
    """Of what had been read already nothing is sent more than a second after the withdrawal."""
    partner, agreement = await neighbour(house, verbs=("locate",))
    withdrawn_at, arrived_at = float("inf"), list[float]()

    async def rather_slow(_: Message, writer: asyncio.StreamWriter) -> None:
        arrived_at.append(clock.monotonic())
        await asyncio.sleep(0.15)
        writer.write(OK)

    async with Receiver(rather_slow) as receiver:
        made = await house.make(receiver, partner)
        camera = await of_camera(house, "0")
        await house.report(
            *map(str, range(1, courier.PAGE)), kind="camera.covered", subject_kind="cameras", subject_id=camera
        )
        async with house.process():
            await receiver.got(2)
            async with house.database.begin() as session:
                await agreements.withdraw(session, None, agreement, "끝")
            withdrawn_at = clock.monotonic()
            await house.settled(made)
    assert 2 <= len(arrived_at) < courier.PAGE
    assert max(arrived_at) < withdrawn_at + 1 + 0.5, "half a second for a slow machine"


async def test_the_office_lost_in_the_middle_of_a_backlog(house: House) -> None:
    """Of what had been read already nothing is sent more than a second later; the webhook rests at once."""

    async def rather_slow(_: Message, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.15)
        writer.write(OK)

    async with Receiver(rather_slow) as receiver:
        made = await house.make(receiver)
        await house.report(*map(str, range(courier.PAGE)))
        async with house.process():
            await receiver.got(2)
            await lose_office(house)
            async with asyncio.timeout(leases.LEASE_SECONDS / 2):
                row = await house.until(made, paused_because="office_ended")
        told = len(receiver.messages)
    assert 2 <= told < courier.PAGE
    assert row.position >= told - 1, "what was taken is not sent again when somebody resumes it"


async def lose_office(house: House) -> str:
    async with house.database.begin() as session:
        await people.end_appointment(session, None, house.actor.appointment_id)
    return "office_ended"


async def lose_account(house: House) -> str:
    async with house.database.begin() as session:
        await people.disable(session, None, house.actor.user_id, "left")
    return "account_disabled"


async def outlive_office(house: House) -> str:
    async with house.database.begin() as session:
        await session.execute(
            text("UPDATE appointments SET valid_to = now() + interval '0.2 seconds' WHERE id = :id"),
            {"id": house.actor.appointment_id},
        )
    await asyncio.sleep(0.3)
    return "office_ended"


async def change_role(house: House) -> str:
    async with house.database.begin() as session:
        await session.execute(
            text("UPDATE appointments SET role = 'operator' WHERE id = :id"), {"id": house.actor.appointment_id}
        )
    return "role_changed"


@pytest.mark.parametrize("lose", [lose_office, lose_account, outlive_office, change_role])
async def test_a_webhook_rests_when_its_maker_has_lost_the_office(house: House, lose: Any) -> None:
    admin = await actors.actor(house.database, house.agency, "admin")
    colleague = await actors.actor(house.database, house.agency, "integration")
    async with Receiver() as receiver, house.process():
        made = await house.make(receiver)
        await house.report("a")
        await receiver.got(1)
        because = await lose(house)
        await asyncio.sleep(owners.FRESH_SECONDS)
        await house.report("b", actor=colleague)
        row = await house.until(made, paused_because=because)
        assert row.leased_by == ""
        assert receiver.keys == ["a"]
        (entry,) = await house.entries("webhook.paused")
        assert entry["payload"]["because"] == because
        assert entry["agency_id"] == house.agency
        async with house.database.begin() as session:
            await registry.change(session, admin, made.id, Change(paused=False))
        await receiver.got(2)
        row = await house.row(made)
    assert receiver.keys == ["a", "b"], "nothing is lost: it goes on in the name of who resumed it"
    assert row.appointment_id == admin.appointment_id


async def test_a_disabled_account_is_noticed_without_any_event(house: House) -> None:
    async with Receiver() as receiver, house.process():
        made = await house.make(receiver)
        await house.report("a")
        await receiver.got(1)
        await lose_account(house)
        await house.until(made, paused_because="account_disabled")


async def test_a_disabled_account_is_noticed_in_the_midst_of_a_delivery(house: House) -> None:
    """Its courier had asked before; nothing more comes that would make it ask again."""

    async def slow(_: Message, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(1)
        writer.write(OK)

    async with Receiver(slow) as receiver, house.process():
        made = await house.make(receiver)
        await house.report("a")
        await receiver.got(1)
        await lose_account(house)
        await house.until(made, paused_because="account_disabled")
        assert receiver.keys == ["a"]


async def test_who_gains_rights_is_told_from_then_on(house: House) -> None:
    other = await factories.agency(house.database, "police")
    partner = await actors.actor(house.database, other, "integration")
    async with Receiver() as receiver, house.process():
        await house.make(receiver, partner)
        await of_camera(house, "before")
        await asyncio.sleep(0.5)
        await factories.agreement(house.database, house.agency, other, verbs=("locate",))
        await of_camera(house, "after")
        await receiver.got(1)
    assert receiver.keys == ["after"]


async def test_an_agreement_that_lapses_by_itself(house: House) -> None:
    partner, _ = await neighbour(house, verbs=("locate",), valid_to=clock.now() + timedelta(seconds=2.5))
    async with Receiver() as receiver, house.process():
        made = await house.make(receiver, partner)
        await of_camera(house, "a")
        await receiver.got(1)
        await asyncio.sleep(2.5)
        await of_camera(house, "b")
        await house.report("own", actor=partner)
        await receiver.got(2)
        await house.settled(made)
    assert receiver.keys == ["a", "own"]


async def test_an_address_that_is_no_longer_allowed_lets_the_webhook_rest(house: House) -> None:
    async with Receiver() as receiver:
        made = await house.make(receiver)
        await house.report("a")
        house.settings = house.settings.model_copy(update={"allow_webhook_networks": "10.0.0.0/8"})
        async with house.process():
            await house.until(made, paused_because="address_refused")
    assert receiver.messages == []
