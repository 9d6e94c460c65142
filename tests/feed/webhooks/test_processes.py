"""Several processes: each webhook is carried by one at a time, taken over when that one dies, and idle ones by none."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import event, text

from app import clock
from app.feed.positions import Positions
from app.feed.webhooks import addresses, leases, posting, rounds
from app.feed.webhooks.courier import Courier, Means
from app.feed.webhooks.leases import LeaseLost
from app.feed.webhooks.owners import Owners
from app.feed.webhooks.rounds import Webhooks
from tests.feed.webhooks.conftest import House, once
from tests.feed.webhooks.receiver import OK, Message, Receiver, obey


@pytest.fixture
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LEASE_SECONDS", 1.5)
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.3)


async def test_three_processes_tell_everything_once_and_in_order(house: House) -> None:
    sent = [str(number) for number in range(60)]
    async with Receiver() as a, Receiver() as b, house.process(), house.process(), house.process():
        for receiver in (a, b):
            await house.make(receiver)
        for start in range(0, 60, 3):
            await house.report(*sent[start : start + 3])
        await a.got(60)
        await b.got(60)
        await asyncio.sleep(1)
    assert a.keys == b.keys == sent
    assert a.most_at_once == b.most_at_once == 1


def test_a_dead_process_is_followed_within_ten_seconds() -> None:
    assert leases.LEASE_SECONDS + rounds.TICK_SECONDS <= 10
    assert leases.LEASE_SECONDS > posting.WHOLE_SECONDS - 3 > leases.RENEW_SECONDS * 2, "two renewals may be lost"


@pytest.mark.usefixtures("short_leases")
async def test_another_takes_over_what_a_killed_process_had(house: House) -> None:
    """It was killed while its receiver had not answered yet: the same event is sent again, with the same id."""
    stuck, hangs = asyncio.Event(), True

    async def hang(_: Message, writer: asyncio.StreamWriter) -> None:
        if hangs:
            stuck.set()
            await asyncio.sleep(30)
        writer.write(OK)

    async with Receiver(hang) as receiver:
        made = await house.make(receiver)
        async with house.process() as first:
            await house.report("a", "b")
            await stuck.wait()
            assert (await house.row(made)).leased_by == first.webhooks._node
            async with house.process():
                await asyncio.sleep(2.5)
                assert len(receiver.messages) == 1, "as long as it lives and renews, nobody else sends"
                hangs = False
                await first.kill()
                killed_at = clock.monotonic()
                await receiver.got(2)
                assert clock.monotonic() - killed_at > 0.5, "not before the lease has ended"
                row = await house.settled(made)
    assert receiver.keys == ["a", "a", "b"]
    assert len({message.headers["webhook-id"] for message in receiver.messages}) == 2
    assert row.leased_by == ""


async def test_a_process_that_stops_gives_everything_back_at_once(house: House) -> None:
    stuck = asyncio.Event()

    async def hang(_: Message, _writer: asyncio.StreamWriter) -> None:
        stuck.set()
        await asyncio.sleep(30)

    async with Receiver(hang) as receiver:
        made = await house.make(receiver)
        async with house.process():
            await house.report("a")
            await stuck.wait()
        row = await house.row(made)
        assert row.leased_by == ""
        assert row.next_at <= clock.now()
        receiver.answers = obey
        async with house.process():
            await receiver.until(lambda me: len(me.messages) == 2)


async def test_a_process_stops_even_when_news_comes_in_the_same_moment(house: House) -> None:
    """Whatever it waits for may come just when it is told to stop."""
    async with house.process() as process:
        for _ in range(20):
            webhooks = Webhooks(house.database, house.keys, house.settings, house.news, "node/stopping")
            running = asyncio.create_task(webhooks.run())
            await once(lambda one=webhooks: bool(one._wanted._waiters))
            webhooks._wanted.set()
            await asyncio.sleep(0)
            running.cancel()
            done, _ = await asyncio.wait([running], timeout=5)
            assert done
    assert process.webhooks._couriers == {}


async def test_a_restart_repeats_no_more_than_what_was_on_its_way(house: House) -> None:
    async with Receiver() as receiver:
        made = await house.make(receiver)
        await house.report(*map(str, range(60)))
        for part in (1, 2, 3):
            async with house.process():
                await receiver.got(part * 18)
        async with house.process():
            await house.settled(made)
    assert list(dict.fromkeys(receiver.keys)) == list(map(str, range(60)))
    assert len(receiver.keys) <= 60 + 3


@pytest.mark.usefixtures("short_leases")
async def test_who_was_stopped_for_long_sends_nothing_more(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """As SIGSTOP and SIGCONT: its lease has ended meanwhile, whoever has it now."""
    allowed = asyncio.Event()

    async def wait(_: Message, writer: asyncio.StreamWriter) -> None:
        await allowed.wait()
        writer.write(OK)

    async with Receiver(wait) as receiver:
        await house.make(receiver)
        async with house.process() as process:
            await house.report("a", "b")
            await receiver.got(1)
            (courier, task), *_ = process.webhooks._couriers.values()
            courier.held_until = clock.monotonic() - 1  # its renewals came too late
            for task_ in process.tasks:
                task_.cancel()
            allowed.set()
            await asyncio.wait([task], timeout=5)
    assert receiver.keys == ["a"]


async def test_who_has_lost_the_lease_writes_nothing(house: House) -> None:
    async with Receiver() as receiver:
        made = await house.make(receiver)
    async with house.database.begin() as session:
        (row,) = await leases.claim_idle(session, "one", [made.id])
        assert await leases.claim_idle(session, "two", [made.id]) == []
        assert await leases.claim_due(session, "two", [], 10) == []
    async with house.database.begin() as session:
        await leases.write(session, "one", made.id, attempts=1)
        with pytest.raises(LeaseLost):
            await leases.write(session, "two", made.id, attempts=2)
        assert await leases.renew(session, "two", [made.id]) == set()
        assert await leases.renew(session, "one", [made.id]) == {made.id}
    await house.change(made, "leased_until = now(), next_at = now()")
    async with house.database.begin() as session:
        with pytest.raises(LeaseLost):
            await leases.write(session, "one", made.id, attempts=3)
        assert await leases.renew(session, "one", [made.id]) == set()
        (row,) = await leases.claim_due(session, "two", [], 10)
    assert (row.leased_by, row.attempts) == ("two", 1)


async def test_who_gives_a_webhook_back_has_looked_at_everything_that_is_numbered(house: House) -> None:
    """Another process may have seen newer events, and left them to who had the webhook."""
    async with Receiver() as receiver:
        made = await house.make(receiver)
        await house.report("a", "b", "c")
        async with house.database.begin() as session:
            (row,) = await leases.claim_idle(session, "one", [made.id])
        reading = asyncio.Semaphore(2)
        means = Means(
            house.database, house.keys, Owners(house.database, reading), addresses.allowed_by(house.settings),
            Positions(house.keys, 1), "one", reading,
        )  # fmt: skip
        assert await Courier(means, row, 0, until=1).run(lambda: False) == 3
        assert leases.is_idle((await house.row(made)).next_at)
    assert receiver.keys == ["a", "b", "c"]


async def test_a_lost_announcement_delays_and_loses_nothing(house: House) -> None:
    async with Receiver() as receiver, house.process() as process:
        await house.make(receiver)
        await house.report("a")
        await receiver.got(1)
        process.tasks[0].cancel()  # it hears nothing any more
        await house.report("b")
        await receiver.got(2)
    assert receiver.keys == ["a", "b"]


async def test_idle_webhooks_cost_nothing(house: House) -> None:
    """Ten thousand of them: no task, no lease, and of all statements none for each of them."""
    async with Receiver() as receiver:
        made = await house.make(receiver, kinds=["bell.tested"])
        await clone(house, made.id, 10_000)
        async with house.process() as process:
            await once(lambda: len(process.webhooks._table.entries) > 10_000)
            tasks, statements = len(asyncio.all_tasks()), counted(house)
            for number in range(20):
                await house.report(str(number), kind="bell.pressed")
            await once(lambda: process.webhooks._scanned >= 20)
            assert len(asyncio.all_tasks()) < tasks + 10
            assert process.webhooks._couriers == {}
            assert sum("UPDATE webhooks" in one for one in statements) <= 20, "looking for what is due, by an index"
            await house.report("wanted", kind="bell.tested")
            await receiver.got(1)
            await house.settled(made)
    assert receiver.keys == ["wanted"]


async def clone(house: House, webhook_id: Any, count: int) -> None:
    async with house.database.begin() as session:
        await session.execute(
            text(
                "INSERT INTO webhooks (id, agency_id, user_id, appointment_id, name, url_sealed, host, secret_sealed,"
                " key_id, kinds, position, next_at) SELECT gen_random_uuid(), agency_id, user_id, appointment_id,"
                " name || number, url_sealed, host, secret_sealed, key_id, '{bell.restored}', position, next_at FROM webhooks,"
                " generate_series(1, :count) AS number WHERE id = :id"
            ),
            {"id": webhook_id, "count": count},
        )


def counted(house: House) -> list[str]:
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(house.database.engine.sync_engine, "before_cursor_execute", note)
    return statements


async def test_positions_of_idle_webhooks_follow_the_log(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no process has to compare the whole log again, and nobody who gains rights is told of long ago."""
    monkeypatch.setattr(rounds, "IDLE_LAG", 3)
    monkeypatch.setattr(rounds, "KEEP_SECONDS", 0.2)
    async with Receiver() as receiver:
        made = await house.make(receiver, kinds=["bell.pressed"])
        resting = await house.make(receiver, kinds=["bell.pressed"])
        await house.change(resting, "paused_because = 'by_hand'")
        async with house.process():
            await house.report(*map(str, range(10)))
            await house.until(made, position=10)
        assert (await house.row(resting)).position == 0
