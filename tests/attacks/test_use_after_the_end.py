"""Footage after the permission ended: running players, a second player, and ends in the middle of an opening."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import httpx
import pytest
from fastapi import Response

from app.access import agreements, people, terminals
from app.routers import streams as door
from app.streams import urls, views
from app.streams.embedded.channels import Channels
from app.streams.embedded.edge import Edge
from app.streams.embedded.hls import Playlist
from app.streams.embedded.player import Player
from app.streams.embedded.running import Running
from app.streams.embedded.snapshot import Snapshots
from app.streams.urls import Pass
from app.streams.views import Asking, Permit, proof_of
from tests import factories
from tests.attacks.attack import Attack, against_the_house, never_asking_again, without, without_its_guard
from tests.attacks.test_child_objects import asked, decided
from tests.attacks.town import ELSEWHERE, INVESTIGATION, Granted, Town, token_of
from tests.attacks.watchers import still_fed, watching

pytestmark = pytest.mark.slow

# Players that run when it ends

RUNNING = ("live.mp4", "mse", "segment")


async def deleted(town: Town, grant: Granted) -> None:
    assert (await town.client.delete(f"/v1/grants/{grant.id}", headers=grant.holder.headers)).status_code == 204


async def revoked_in_bulk(town: Town, grant: Granted) -> None:
    lead = await town.own("shift_lead")
    body = {"user_id": str(grant.holder.person.user_id), "reason": "ended"}
    answer = await town.client.post("/v1/revocations", json=body, headers=lead.headers)
    assert answer.json()["ended"] >= 1


async def signed_out(town: Town, grant: Granted) -> None:
    assert (await town.client.delete("/v1/sessions/current", headers=grant.holder.headers)).status_code == 204


async def password_changed(town: Town, grant: Granted) -> None:
    async with town.database.begin() as session:
        await people.change_password(session, None, grant.holder.person.user_id, "another password")


async def account_disabled(town: Town, grant: Granted) -> None:
    async with town.database.begin() as session:
        await people.disable(session, None, grant.holder.person.user_id, "ended")


async def office_ended(town: Town, grant: Granted) -> None:
    async with town.database.begin() as session:
        await people.end_appointment(session, None, grant.holder.person.appointment_id)


async def agreement_withdrawn(town: Town, grant: Granted) -> None:
    assert grant.holder.agreement is not None
    async with town.database.begin() as session:
        await agreements.withdraw(session, None, grant.holder.agreement, "ended")


async def tablet_lost(town: Town, grant: Granted) -> None:
    assert grant.holder.terminal_id is not None
    async with town.database.begin() as session:
        await terminals.retire(session, None, grant.holder.terminal_id)


async def by_itself(town: Town, grant: Granted) -> None:
    await town.sql("UPDATE grants SET expires_at = now() WHERE id = $1", grant.id)


async def hours_over(town: Town, grant: Granted) -> None:
    """Nothing is announced: the clock goes on."""
    await town.sql(
        """UPDATE agreements SET hours = '{"days": [], "from": "00:00", "to": "00:01"}' WHERE id = $1""",
        grant.holder.agreement,
    )


ENDS: dict[str, Callable[[Town, Granted], Awaitable[None]]] = {
    "deleted": deleted, "revoked in bulk": revoked_in_bulk, "signed out": signed_out,
    "password changed": password_changed, "account disabled": account_disabled, "office ended": office_ended,
    "agreement withdrawn": agreement_withdrawn, "expired": by_itself, "hours over": hours_over,
}  # fmt: skip


async def players_that_go_on(town: Town) -> list[str]:
    """File, socket and HLS of one grant each for every way in which it ends, all at the same time."""
    grants = {}
    for name in ENDS:
        own_agreement = name in ("agreement withdrawn", "hours over")
        grants[name] = await town.granted(await (town.partner() if own_agreement else town.visitor()))
    async with AsyncExitStack() as stack:
        watchers = {}
        for name, grant in grants.items():
            players = await stack.enter_async_context(watching(town, grant.token, *RUNNING))
            watchers |= {f"{name}: {child}": one for child, one in players.items()}
        await asyncio.gather(*(end(town, grants[name]) for name, end in ENDS.items()))
        return await still_fed(watchers)


def hearing_and_asking_nothing(patch: pytest.MonkeyPatch) -> None:
    """A house that asks at the opening and never again."""
    never_asking_again(patch)
    patch.setattr(Running, "end_where", lambda *_: None)


# A second player


async def two_players_of_one_url(town: Town) -> list[str]:
    """The older goes on beside the newer."""
    grant, both = await town.granted(await town.visitor()), ("live.mp4", "mse")
    async with watching(town, grant.token, *both) as older, watching(town, grant.token, *both):
        return await still_fed(older, 2)


def taking_nobodys_place(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(views, "TAKEN_OVER", "said_to_nobody")


HLS = ("index.m3u8", "init.mp4", "segment")


async def hls_of_a_console_elsewhere(town: Town) -> list[str]:
    grant = await town.granted(await town.visitor())
    assert await town.plays(grant.token, "index.m3u8")
    return await town.played(grant.token, HLS, peer=ELSEWHERE)


async def hls_of_a_tablet_without_it(town: Town) -> list[str]:
    tablet = await town.visitor("field", device_key=f"key of {factories.name('tablet')}")
    grant = await town.granted(tablet)
    proof = proof_of(tablet.device_key, grant.id, town.camera)
    assert await town.plays(grant.token, "index.m3u8", proof=proof)
    return await town.played(grant.token, HLS, peer=ELSEWHERE)


def hls_that_looks_once(patch: pytest.MonkeyPatch) -> None:
    """Who has a player is let in, whoever asks."""
    real = Edge.hls

    async def hls(edge: Edge, token: str, asking: Asking) -> Any:
        ticket = urls.read(edge._keys, token)
        return edge._running.hls((ticket.grant_id, ticket.camera_id)) or await real(edge, token, asking)

    patch.setattr(Edge, "hls", hls)


async def hls_shared_by_a_patrol_car(town: Town) -> bool:
    """Without an enrolled tablet a car is bound to no address; but one URL has one live player, not two places."""
    grant = await town.granted(await town.visitor("field"))
    assert await town.plays(grant.token, "index.m3u8")
    async with watching(town, grant.token, "segment") as mine:
        before = await town.open_views(grant.id)
        both = 0
        for _ in range(5):
            both += await town.plays(grant.token, "segment", peer=ELSEWHERE) and not mine["segment"].over
            await asyncio.sleep(0.1)
        opened = await town.sql("SELECT count(*) FROM views WHERE grant_id = $1", grant.id)
        return both == 5 and opened == before  # two places, and the log knows of one


def hls_for_who_comes_from_anywhere(patch: pytest.MonkeyPatch) -> None:
    async def hls(self: Edge, token: str, asking: Asking) -> Player:
        ticket = urls.read(self._keys, token)
        return self._running.hls((ticket.grant_id, ticket.camera_id)) or await self.open(token, asking)

    patch.setattr(Edge, "hls", hls)


async def the_url_of_the_shift_before(town: Town) -> list[str]:
    """Signed over, the person before still has URL and token, and is somewhere else."""
    before, following = await town.own(), await factories.person(town.database, town.district)
    grant = await town.granted(before)
    assert await town.plays(grant.token, "live.mp4")
    body = {"login": following.login, "password": factories.PASSWORD}
    answer = await town.client.post("/v1/sessions/current/sign-over", json=body, headers=before.headers)
    assert answer.status_code == 201, answer.text
    return await town.played(grant.token, ("live.mp4", "mse", *HLS), peer=ELSEWHERE)


def playing_for_everybody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(views, "check", lambda *_, **__: None)


# In the middle of an opening


class Pause:
    """Holds whatever passes, until let go."""

    def __init__(self) -> None:
        self.reached, self.go = asyncio.Event(), asyncio.Event()

    async def __call__(self) -> None:
        self.reached.set()
        await self.go.wait()


@asynccontextmanager
async def paused(where: Any, name: str, *, before: bool) -> AsyncIterator[Pause]:
    """A coroutine function that stops before, or after, it does what it does."""
    pause, real = Pause(), getattr(where, name)

    async def stopping(*args: Any, **named: Any) -> Any:
        if before:
            await pause()
            return await real(*args, **named)
        done = await real(*args, **named)
        await pause()
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(where, name, stopping)
        try:
            yield pause
        finally:
            pause.go.set()


async def revoked_while(
    town: Town, where: Any, name: str, children: tuple[str, ...], *, before: bool = True
) -> list[str]:
    """Each child, whose permission is revoked while its opening stands still there."""
    through = []
    for child in children:
        grant = await town.granted(await town.visitor())
        async with paused(where, name, before=before) as pause:
            asking = asyncio.create_task(town.plays(grant.token, child))
            await asyncio.wait_for(pause.reached.wait(), 10)
            await deleted(town, grant)
            await asyncio.wait_for(_heard(town), 10)
            pause.go.set()
            through += [child] if await _plays_or_is_cut(asking) else []
        town.nobody_plays()
    return through


async def _heard(town: Town) -> None:
    """Return when this process has heard everything that was announced until now."""
    heard = asyncio.Event()
    mark = factories.name("mark")
    town.house.news.on(mark, lambda _: heard.set())
    await town.sql("SELECT pg_notify('gwanje', $1)", mark)
    await heard.wait()


async def _plays_or_is_cut(asking: asyncio.Task[bool]) -> bool:
    try:
        return await asking
    except (httpx.RemoteProtocolError, httpx.ReadError):  # cut before the first byte
        return False


def asking_once(patch: pytest.MonkeyPatch) -> None:
    """A permission that was looked at is not looked at again when the view is opened."""
    real, looked_at = views.permit, dict[tuple[Pass, str], Permit]()

    async def permit(connection: Any, ticket: Pass, asking: Asking, **more: Any) -> Permit:
        key = (ticket, asking.protocol)
        if key not in looked_at:
            looked_at[key] = await real(connection, ticket, asking, **more)
        return looked_at[key]

    patch.setattr(views, "permit", permit)
    never_asking_again(patch)


def not_hearing_what_was_said_meanwhile(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Running, "_hear_again", lambda *_: None)
    never_asking_again(patch)


def answering_all_the_same(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(door.PlayerResponse, "__call__", Response.__call__)


def picturing_all_the_same(patch: pytest.MonkeyPatch) -> None:
    async def snapshot(edge: Edge, token: str, asking: Asking) -> bytes:
        player = await edge.open(token, asking)
        return await edge._snapshots.jpeg(player.channel.pull)

    patch.setattr(Edge, "snapshot", snapshot)


async def an_approval_withdrawn_while_the_grant_is_written(town: Town) -> bool:
    """The owner withdraws it after the inserting statement has begun, and before the grant is there to be ended.

    A lock on the month's grants stands for whatever makes that statement slow: it is met when the row goes in.
    """
    asker, head = await town.partner(approval="center"), await town.own("agency_head")
    approval = await asked(town, asker)
    assert (await decided(town, approval, head)).status_code == 200
    body = {"camera_ids": [str(town.camera)], **INVESTIGATION}
    month = await town.sql("SELECT tableoid::regclass::text FROM grants ORDER BY at DESC LIMIT 1")
    waits = f"SELECT EXISTS (SELECT FROM pg_locks WHERE relation = '{month}'::regclass AND NOT granted)"
    connection = await town.superuser()
    try:
        await connection.execute("BEGIN")
        await connection.execute(f"LOCK TABLE {month} IN SHARE MODE")
        asking = asyncio.create_task(town.client.post("/v1/grants", json=body, headers=asker.headers))
        async with asyncio.timeout(2):
            while not await connection.fetchval(waits):  # noqa: ASYNC110 - it waits in the database
                await asyncio.sleep(0.02)
        ended = await town.client.delete(f"/v1/approvals/{approval}", headers=head.headers)
        assert ended.status_code == 204
    finally:
        await connection.close()
    answer = await asking
    assert answer.status_code in (201, 403), answer.text
    if answer.status_code == 403:
        return False
    return await town.plays(token_of(answer.json()["grants"][0]["streams"][0]["url"]), "live.mp4")


def never_asking_for_the_approval(patch: pytest.MonkeyPatch) -> None:
    without(patch, views, "_PERMIT", " AND (g.approval_id IS NULL OR y.valid_to > now())")
    never_asking_again(patch)


ATTACKS = [
    Attack("players that go on", players_that_go_on, hearing_and_asking_nothing,
           tuple(f"{name}: {child}" for name in ENDS for child in RUNNING)),
    Attack("two players of one url", two_players_of_one_url, taking_nobodys_place, ("live.mp4", "mse")),
    Attack("hls of a console elsewhere", hls_of_a_console_elsewhere, hls_that_looks_once, HLS),
    Attack("hls of a tablet without it", hls_of_a_tablet_without_it, hls_that_looks_once, HLS),
    Attack("hls shared by a patrol car", hls_shared_by_a_patrol_car, hls_for_who_comes_from_anywhere),
    Attack("the url of the shift before", the_url_of_the_shift_before, playing_for_everybody,
           ("live.mp4", "mse", *HLS)),
    Attack("revoked before the camera is reached", partial(
        revoked_while, where=Channels, name="open", children=("live.mp4", "mse", *HLS, "snapshot.jpg")
    ), asking_once, ("live.mp4", "mse", *HLS, "snapshot.jpg")),
    Attack("revoked as the view is opened", partial(
        revoked_while, where=views, name="open", children=("live.mp4", "mse", *HLS, "snapshot.jpg"), before=False
    ), not_hearing_what_was_said_meanwhile, ("live.mp4", "mse", *HLS, "snapshot.jpg")),
    Attack("revoked while the playlist is made", partial(
        revoked_while, where=Playlist, name="ready", children=("index.m3u8",)
    ), answering_all_the_same, ("index.m3u8",)),
    Attack("revoked while the picture is made", partial(
        revoked_while, where=Snapshots, name="jpeg", children=("snapshot.jpg",)
    ), picturing_all_the_same, ("snapshot.jpg",)),
    Attack("an approval withdrawn while the grant is written", an_approval_withdrawn_while_the_grant_is_written,
           never_asking_for_the_approval),
]  # fmt: skip


@pytest.fixture
def scene(town: Town) -> Town:
    town.nobody_plays()
    return town


@against_the_house(ATTACKS)
async def test_the_house_withstands(attack: Attack, scene: Town) -> None:
    await attack.withstood(scene)


@without_its_guard(ATTACKS)
async def test_without_its_guard_it_falls(attack: Attack, scene: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    await attack.got_through(scene, monkeypatch)
