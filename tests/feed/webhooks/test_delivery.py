"""Delivery: in order, at least once, until it is taken, and never to whom it is nobody's business."""

import asyncio
import random
from datetime import timedelta
from typing import Any

import pytest

from app import clock
from app.events.catalogue import TYPE_PREFIX
from app.feed import history
from app.feed.webhooks import courier, leases, posting, rounds, signing
from app.feed.webhooks.registry import Made
from tests.feed.webhooks.conftest import House, once
from tests.feed.webhooks.receiver import OK, Message, Receiver, obey, saying, status, verified


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between attempts of a hundredth of their length."""
    real = signing.pause_seconds
    monkeypatch.setattr(signing, "pause_seconds", lambda attempts, asked=0.0: real(attempts, asked) / 100)


def first_times(keys: list[str]) -> list[str]:
    return list(dict.fromkeys(keys))


async def test_events_arrive_signed_in_order_and_with_their_positions(house: House) -> None:
    sent = [str(number) for number in range(60)]
    async with Receiver() as receiver, house.process():
        made = await house.make(receiver)
        for start in range(0, 60, 20):
            await house.report(*sent[start : start + 20])
        await receiver.got(60)
        row = await house.settled(made)
    assert receiver.keys == sent
    assert receiver.most_at_once == 1
    assert len({message.event["position"] for message in receiver.messages}) == 60
    for message in receiver.messages:
        assert message.start.startswith("POST /hook?token=")
        assert message.headers["content-type"] == "application/cloudevents+json"
        assert message.headers["webhook-id"] == message.event["id"]
        assert abs(int(message.headers["webhook-timestamp"]) - clock.now().timestamp()) < 30
        assert verified(made.secret, message.headers, message.body)
        assert message.event["specversion"] == "1.0"
        assert message.event["type"] == TYPE_PREFIX + "bell.tested"
    assert (row.last_status, row.last_error, row.attempts) == (204, "", 0)
    assert row.last_delivered_at is not None


async def test_only_what_is_wanted_is_told(house: House) -> None:
    async with Receiver() as receiver, Receiver() as urgent, house.process():
        made = await house.make(receiver, kinds=["bell.*"], min_severity="warning")
        await house.make(urgent, min_severity="emergency")
        await house.report("a", kind="bell.tested")
        await house.report("b", kind="bell.failed")
        await house.report("c", kind="camera.covered")
        await house.report("d", kind="bell.pressed")
        await receiver.got(2)
        await urgent.got(1)
        await house.settled(made)
    assert receiver.keys == ["b", "d"]
    assert urgent.keys == ["d"]


async def test_a_webhook_begins_with_what_comes_after_it(house: House) -> None:
    await house.report("before")
    async with Receiver() as receiver, house.process():
        await house.make(receiver)
        await house.report("after")
        await receiver.got(1)
    assert receiver.keys == ["after"]


async def test_what_happened_while_nobody_served_is_told_afterwards(house: House) -> None:
    async with Receiver() as receiver:
        made = await house.make(receiver, kinds=["bell.pressed"])
        await house.report("a", "b", kind="bell.pressed")
        await house.report("not wanted")
        async with house.process():
            await receiver.got(2)
            await house.settled(made)
        await house.report("c", kind="bell.pressed")
        async with house.process():
            await receiver.got(3)
    assert receiver.keys == ["a", "b", "c"]


async def test_who_rested_for_long_compares_the_log_piece_by_piece(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much there is: no statement looks at more than a piece."""
    monkeypatch.setattr(courier, "MOST_COMPARED", 7)
    spans = []
    real = history.read

    async def read(connection: Any, viewer: Any, wish: Any, after: int, until: int, *more: Any) -> Any:
        spans.append(until - after)
        return await real(connection, viewer, wish, after, until, *more)

    monkeypatch.setattr(history, "read", read)
    async with Receiver() as receiver:
        made = await house.make(receiver, kinds=["bell.pressed"])
        for key in ("a", "b"):
            await house.report(*map(str, range(30)))
            await house.report(key, kind="bell.pressed")
        await house.change(made, "next_at = now()")
        async with house.process():
            await receiver.got(2)
            await house.settled(made)
    assert receiver.keys == ["a", "b"]
    assert max(spans) == 7


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("seed", range(4))
async def test_whatever_fails_all_arrive_in_order_and_keep_their_ids(
    house: House, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random failures of every kind, and a process killed in between: first arrivals are exactly the log."""
    monkeypatch.setattr(posting, "WHOLE_SECONDS", 0.3)
    monkeypatch.setattr(leases, "LEASE_SECONDS", 1.5)
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.4)
    chance = random.Random(seed)
    taken: list[str] = []

    async def moody(message: Message, writer: asyncio.StreamWriter) -> None:
        mood = chance.random()
        if mood < 0.5:
            taken.append(message.key)
            writer.write(OK)
        elif mood < 0.6:
            taken.append(message.key)  # taken, and the answer lost
            writer.transport.abort()
        elif mood < 0.7:
            writer.write(status(chance.choice([301, 400, 404, 429, 500, 503])))
        elif mood < 0.8:
            writer.write(b"what?\r\n\r\n")
        elif mood < 0.85:
            await asyncio.sleep(30)
        else:
            writer.transport.abort()

    sent = [str(number) for number in range(40)]
    async with Receiver(moody) as receiver:
        made = await house.make(receiver)
        async with house.process() as one:
            await house.report(*sent[:20])
            await receiver.got(10)
            await one.kill()
        async with house.process():
            await house.report(*sent[20:])
            await once(lambda: len(set(taken)) == 40)
            await house.settled(made)
    assert first_times(taken) == sent
    ids = {(message.key, message.headers["webhook-id"]) for message in receiver.messages}
    assert len(ids) == 40, "an event keeps its id over all attempts"
    order = [int(key) for key in receiver.keys]
    assert all(later >= max(order[:n], default=0) - courier.WRITE_EVERY for n, later in enumerate(order)), (
        "nothing is sent before what comes before it; only a crash goes back, and by a few"
    )
    assert await house.letters(made) == []


@pytest.mark.usefixtures("hurried")
async def test_the_next_waits_for_the_one_before(house: House) -> None:
    async with Receiver(saying(status(500))) as receiver, house.process():
        made = await house.make(receiver)
        await house.report("a", "b")
        await receiver.until(lambda me: len(me.messages) >= 4)
        assert set(receiver.keys) == {"a"}
        row = await house.row(made)
        assert row.last_status == 500
        assert row.last_error == "status_500"
        assert row.attempts >= 3
        receiver.answers = obey
        await receiver.got(2)
        row = await house.settled(made)
    assert receiver.keys[-1] == "b"
    assert (row.attempts, row.first_attempt_at, row.last_error) == (0, None, "")


async def test_how_long_the_receiver_asks_to_wait_is_waited(house: House) -> None:
    async with Receiver(saying(status(503, "Retry-After: 1000"))) as receiver, house.process():
        made = await house.make(receiver)
        await house.report("a")
        row = await house.until(made, attempts=1)
    assert 900 < (row.next_at - clock.now()).total_seconds() < 1010
    assert row.leased_by == ""
    assert len(receiver.messages) == 1


async def fail_for_a_day(house: House, made: Made) -> None:
    """As if the event that comes next had first been tried a day ago."""
    await house.change(
        made, "first_attempt_at = :at, next_at = now(), leased_by = ''", at=clock.now() - timedelta(hours=24)
    )


async def test_after_a_day_an_event_is_a_dead_letter_and_the_next_ones_turn_has_come(house: House) -> None:
    refusing: set[str] = {"a", "c"}

    async def choosy(message: Message, writer: asyncio.StreamWriter) -> None:
        writer.write(status(500) if message.key in refusing else OK)

    async with Receiver(choosy) as receiver, house.process():
        made = await house.make(receiver, kinds=["bell.tested"])
        watching = await house.make(second := await receiver_of_failures(), kinds=["webhook.*"])
        await house.report("a", "b", "c", "d")
        await house.until(made, attempts=1)
        await fail_for_a_day(house, made)
        await receiver.until(lambda me: "b" in me.keys)
        await house.until(made, attempts=1)
        await fail_for_a_day(house, made)
        await receiver.until(lambda me: "d" in me.keys)
        row = await house.settled(made)
        await second.got(1)
        await house.settled(watching)
        await second.__aexit__()
    letters = await house.letters(made)
    assert [letter.last_status for letter in letters] == [500, 500]
    assert [str(letter.event_id) for letter in letters] == [
        next(m.headers["webhook-id"] for m in receiver.messages if m.key == key) for key in ("a", "c")
    ]
    assert row.position > letters[-1].position
    assert first_times(receiver.keys) == ["a", "b", "c", "d"]
    assert len(second.messages) == 1, "the first dead letter is told, not each of them"
    told = second.messages[0].event
    assert told["type"] == TYPE_PREFIX + "webhook.failed"
    assert told["data"]["webhook_id"] == str(made.id)


async def receiver_of_failures() -> Receiver:
    return await Receiver().__aenter__()


async def test_a_receiver_that_is_gone_ends_the_webhook(house: House) -> None:
    async with Receiver(saying(status(410))) as receiver, house.process():
        made = await house.make(receiver)
        await house.report("a", "b")
        row = await house.until(made, last_status=410)
        assert row.ended_at is not None
        await house.report("c")
        await asyncio.sleep(1)
    assert receiver.keys == ["a"]
    assert row.last_status == 410
    assert row.url_sealed == row.secret_sealed == b"", "nothing is kept that could still send or sign"
    (entry,) = await house.entries("webhook.ended")
    assert entry["payload"]["because"] == "gone"
    assert entry["subject_id"] == made.id
    assert entry["agency_id"] == house.agency


async def test_a_slow_receiver_delays_only_itself(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    released = asyncio.Event()

    async def slow(_: Message, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        writer.write(OK)

    async with Receiver(slow) as slow_one, Receiver() as quick, house.process():
        for _ in range(12):
            await house.make(slow_one)
        made = await house.make(quick)
        await house.report(*map(str, range(30)))
        await quick.got(30)
        await house.settled(made)
        assert len(slow_one.messages) == 12
        assert set(slow_one.keys) == {"0"}
        released.set()
        await slow_one.until(lambda me: len(me.messages) == 12 * 30)


async def test_a_turn_ends_when_others_wait(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one courier only, two webhooks with a backlog both get on."""
    monkeypatch.setattr(rounds, "MOST_COURIERS", 1)
    monkeypatch.setattr(courier, "TURN_SECONDS", 0.05)

    async def rather_slow(_: Message, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.03)
        writer.write(OK)

    async with Receiver(rather_slow) as a, Receiver(rather_slow) as b, house.process():
        await house.make(a)
        await house.make(b)
        await house.report(*map(str, range(20)))
        await a.until(lambda me: len(me.messages) >= 10)
        assert b.messages
        assert len(a.messages) + len(b.messages) < 40
        await a.got(20)
        await b.got(20)
    assert a.keys == b.keys == list(map(str, range(20)))
