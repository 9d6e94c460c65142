"""What MediaMTX carries against what may be carried, every second and at once when something is announced.

Of all processes one does this for a gateway (see `office`). The order is always: the database denies, then the session
is kicked, then it is seen to be gone, then the view is closed. A session that no view stands for is a ghost and is
kicked.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import asyncpg

from app import clock
from app.announcements import Announcements
from app.database import LOST, Database
from app.errors import GatewayUnavailable, Refusal
from app.keys import Keys
from app.streams import duties, reconcile, views
from app.streams.grants import RENEWED
from app.streams.limits import CUT
from app.streams.mediamtx import office
from app.streams.mediamtx.admission import node_of
from app.streams.mediamtx.api import Api, PathState, Reader
from app.streams.mediamtx.ghosts import Strangers, kick_all, remember
from app.streams.mediamtx.paths import name_of
from app.streams.placement import GATEWAYS
from app.streams.reconcile import OpenView
from app.streams.views import Asking, Carrier, Ending
from app.streams.writer import Writer

log = logging.getLogger("gwanje.mediamtx")

LOOK_SECONDS = 1.0
APART_SECONDS = 0.05  # however much is announced
UNUSED_SECONDS = 10.0  # a view whose player never came
SILENCE_SECONDS = 5.0
LOST_SECONDS = 15.0  # a gateway that is not heard of for so long carries nothing that can be vouched for
CARRIED_SECONDS = 5.0
_MISSED = 2  # lists are read page by page while they change: one absence proves nothing
_CUT_NOW = ("revoked", "expired", "replaced", "pre_empted", "moved")


_DUTY = """
SELECT v.id FROM views v JOIN grants g ON g.id = v.grant_id AND g.at = v.grant_at
WHERE v.id = ANY($1::uuid[]) AND g.kind = 'duty' AND v.closed_at IS NULL
"""
_WHY = """
SELECT v.id, CASE WHEN v.preempted_by IS NOT NULL THEN 'pre_empted'
    WHEN g.revoked_at IS NULL AND g.expires_at <= now() THEN 'expired' ELSE 'revoked' END AS cause
FROM views v JOIN grants g ON g.id = v.grant_id AND g.at = v.grant_at
WHERE v.id = ANY($1::uuid[]) AND v.closed_at IS NULL
"""


@dataclass(slots=True)
class Carried:
    """An open view as it was last seen."""

    view: OpenView
    started: str
    """Which life of the gateway it was first seen in."""
    is_duty: bool
    readers: list[Reader] = field(default_factory=list)
    path: PathState | None = None
    """Of its path, when a reader was first seen."""
    sent: int = 0
    told: int = 0
    seconds: float = 0.0
    """How long it had stood open when a reader was last seen."""
    first_byte_at: datetime | None = None
    missed: int = 0
    before: int = 0
    """What its session had been sent under the view that this one carries on."""

    @property
    def gone(self) -> bool:
        """Whether its player left, or never came."""
        if self.readers:
            return self.missed >= _MISSED
        return self.missed > 0 and self.view.seconds >= UNUSED_SECONDS


class Watch:
    """The office of cutting, counting and closing, for one gateway."""

    def __init__(
        self, carrier: Carrier, api: Api, keys: Keys, database: Database, writer: Writer, news: Announcements
    ) -> None:
        self._carrier, self._gateway, self._api, self._keys = carrier, carrier.gateway, api, keys
        self._database, self._writer, self._news = database, writer, news
        self._carried: dict[UUID, Carried] = {}
        self._causes: OrderedDict[UUID, str] = OrderedDict()
        self._handed: dict[str, int] = {}  # what sessions had been sent when they were handed over
        self._strangers = Strangers()
        self._heard_at = clock.monotonic()
        self._told_at = 0.0
        self._wake = asyncio.Event()
        self._settling: asyncio.Task[None] | None = None
        self.leads = False
        self.draining = False
        for topic in ("rights", RENEWED, GATEWAYS, duties.SIGNED_OVER):
            news.on(topic, lambda _: self._wake.set())
        news.on(views.TAKEN_OVER, self._hear_taken_over)
        news.on("revoked", self._hear_revoked)
        news.on(CUT, self._hear_cut)

    def _hear_revoked(self, message: str) -> None:
        what, _, name = message.partition(" ")
        if what == "view":
            self._condemn(name, "revoked")
        self._wake.set()

    def _hear_taken_over(self, message: str) -> None:
        """Every opening is told; it matters where it replaces somebody here."""
        key = message.split(" ")[:3]
        if not message or any(key == _key_of(one.view) for one in self._carried.values()):
            self._wake.set()

    def _hear_cut(self, message: str) -> None:
        name, _, rest = message.partition(" ")
        self._condemn(name, rest.partition(" ")[0])
        self._wake.set()

    def _condemn(self, name: str, cause: str) -> None:
        with suppress(ValueError):
            remember(self._causes, UUID(name), cause or "revoked")

    async def run(self) -> None:
        """Seek the office, hold it, seek it again; and cut whom nobody vouches for, in office or out of it."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_silence())
            tasks.create_task(
                office.seek(self._database, f"mediamtx/{self._gateway}", self._serve, lost=self._carried.clear)
            )

    async def _serve(self, connection: asyncpg.Connection) -> None:
        log.info("this process looks after a gateway", extra={"gateway": self._gateway})
        self._heard_at = clock.monotonic()
        self.leads = True
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._live())
                tasks.create_task(self._reconcile(connection))
        finally:
            self.leads = False
            if self._settling is not None:
                self._settling.cancel()

    async def _live(self) -> None:
        """Views of this gateway outlive the processes that opened them, as long as somebody holds the office."""
        heart = reconcile.Heart(self._database, self._writer, node_of(self._gateway))
        while True:
            try:
                await heart.beat()
            except Refusal as refusal:
                log.warning("a gateway's views cannot be kept: %s", refusal.code)
            await asyncio.sleep(reconcile.BEAT_SECONDS)

    async def _reconcile(self, connection: asyncpg.Connection) -> None:
        while True:
            self._wake.clear()
            try:
                async with asyncio.timeout(8):
                    await self._look(connection)
                self._heard_at = clock.monotonic()
            except GatewayUnavailable as refusal:
                log.warning("%s", refusal.detail, extra={"gateway": self._gateway})
                if self._heard_at + LOST_SECONDS < clock.monotonic():
                    await self._give_up(connection)
            except Refusal as refusal:
                log.warning("a view could not be closed: %s", refusal.code)
            except LOST:
                raise
            except Exception:
                log.exception("a mistake of ours; a gateway is looked at again in a moment")
            await asyncio.sleep(APART_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._until_next()):
                    await self._wake.wait()

    def _until_next(self) -> float:
        left = [one.view.seconds_left for one in self._carried.values() if one.view.seconds_left is not None]
        return max(APART_SECONDS, min(LOOK_SECONDS, *left)) if left else LOOK_SECONDS

    async def _look(self, connection: asyncpg.Connection) -> None:
        """One comparison. What is asked of the gateway comes first: whoever it lists has its view committed."""
        readers = await self._api.readers()
        opened = await reconcile.of_gateway(connection, self._gateway)
        await self._adopt(connection, opened)
        by_name = {name: view.id for view in opened for name in view.session_ref.split(" ")}
        strangers, playing = [], dict[UUID, list[Reader]]()
        for reader in sorted(readers, key=lambda one: one.created, reverse=True):
            view_id = next((by_name[name] for name in reader.names if name in by_name), None)
            if view_id is None:
                strangers.append(reader)
            else:
                playing.setdefault(view_id, []).append(reader)
        self._note(playing)
        doomed = await self._doomed(connection, opened)
        await self._hand_over(connection, doomed, playing)
        spare = [reader for view_id, many in playing.items() if view_id not in doomed for reader in many[1:]]
        over = [reader for view_id in doomed for reader in playing.get(view_id, [])]
        ghosts = self._strangers.ghosts(strangers)
        if ghosts:
            log.warning("sessions without a view are cut", extra={"gateway": self._gateway, "count": len(ghosts)})
        left = await kick_all(self._api, [*over, *spare, *ghosts])
        if left:
            self._wake.set()
        for view_id, cause in doomed.items():
            if not any(reader.id in left for reader in playing.get(view_id, [])):
                await self._close(self._carried[view_id], cause)
        for view in opened:
            if view.id in self._carried and view.id not in playing:
                self._carried[view.id].missed += 1
        if self._settling is None or self._settling.done():
            self._settling = asyncio.create_task(self._settle())
        await self._tell(connection)

    async def _adopt(self, connection: asyncpg.Connection, opened: Sequence[OpenView]) -> None:
        standing = {view.id: view for view in opened}
        for view_id in self._carried.keys() - standing.keys():
            del self._carried[view_id]
            self._causes.pop(view_id, None)
        fresh = [view.id for view in opened if view.id not in self._carried]
        if fresh:
            started = (await self._api.info()).started
            on_duty = {row["id"] for row in await connection.fetch(_DUTY, fresh)}
            for view_id in fresh:
                view = standing[view_id]
                before = self._handed.pop(view.session_ref, 0)
                self._carried[view_id] = Carried(
                    view, started, view_id in on_duty, sent=view.bytes, told=view.bytes, before=before
                )
        for view in opened:
            self._carried[view.id].view = view
            self._strangers.introduce(view.session_ref.split(" "))

    def _note(self, playing: dict[UUID, list[Reader]]) -> None:
        for view_id, readers in playing.items():
            one = self._carried[view_id]
            one.readers, one.missed, one.seconds = readers, 0, one.view.seconds
            self._strangers.introduce(name for reader in readers for name in reader.names)
            one.sent = max(one.sent, *(reader.sent - one.before for reader in readers))
            if one.sent and one.first_byte_at is None:
                one.first_byte_at = clock.now()

    async def _doomed(self, connection: asyncpg.Connection, opened: Sequence[OpenView]) -> dict[UUID, str]:
        """The views that are over, and why."""
        newest: dict[tuple[UUID, UUID, str], OpenView] = {}
        for view in sorted(opened, key=lambda one: (one.at, one.id)):
            newest[view.ticket.grant_id, view.ticket.camera_id, view.protocol] = view
        current = {view.id for view in newest.values()}
        asked = [view.id for view in opened if view.seconds_left is None]
        why = {row["id"]: row["cause"] for row in await connection.fetch(_WHY, asked)} if asked else {}
        doomed: dict[UUID, str] = {}
        for view in opened:
            if view.id in self._causes:
                doomed[view.id] = self._causes[view.id]
            elif view.seconds_left is None:
                doomed[view.id] = why.get(view.id, "revoked")
            elif view.id not in current:
                doomed[view.id] = "replaced"
            elif self.draining:
                doomed[view.id] = "moved"
        return doomed

    async def _hand_over(
        self, connection: asyncpg.Connection, doomed: dict[UUID, str], playing: dict[UUID, list[Reader]]
    ) -> None:
        """Who plays on a console that was signed over plays on, under a view of the next person's; nobody is kicked."""
        for view_id in [view_id for view_id, cause in doomed.items() if cause == "revoked" and view_id in playing]:
            one = self._carried[view_id]
            ticket = await duties.following(connection, one.view.ticket)
            if ticket is None:
                continue
            asking = Asking(one.view.protocol, one.view.peer, session_ref=one.view.session_ref)
            try:
                await views.open(self._writer, ticket, asking, self._carrier, handed_over=True)
            except Refusal as refusal:
                log.info("a console's player was not handed over: %s", refusal.code)
            else:
                del doomed[view_id]
                self._handed[one.view.session_ref] = one.before + one.sent
                await self._close(one, duties.SIGNED_OVER)
            self._wake.set()

    async def _settle(self) -> None:
        """Ask about paths, which may wait for the gateway: beside the looking, so that nobody is cut later for it."""
        try:
            for one in list(self._carried.values()):
                if not one.missed and not (one.path and one.path.ready):
                    one.path = await self._api.path(self._path(one.view))
                elif one.gone:
                    cause = await self._why_gone(one)
                    if one.gone:  # still
                        await self._close(one, cause)
        except Refusal as refusal:
            log.warning("%s", refusal.detail, extra={"gateway": self._gateway})
        except Exception:
            log.exception("a mistake of ours; a gateway is looked at again in a moment")

    async def _why_gone(self, one: Carried) -> str:
        path = await self._api.path(self._path(one.view))
        if (await self._api.info()).started != one.started:
            return "gateway_lost"
        if not path.ready or (one.path is not None and one.path.ready and path.since != one.path.since):
            return "camera_lost"
        return "client"

    async def _close(self, one: Carried, cause: str) -> None:
        cause = self._causes.get(one.view.id, cause)
        seconds = one.view.seconds if cause in _CUT_NOW else one.seconds
        sent = one.sent if one.readers else one.view.bytes
        await reconcile.close(self._writer, one.view, Ending(cause, sent, seconds, one.first_byte_at))

    async def _tell(self, connection: asyncpg.Connection) -> None:
        """Write down now and then how much was sent, so that whoever closes a view after us knows it."""
        now = clock.monotonic()
        if self._told_at + CARRIED_SECONDS > now:
            return
        self._told_at = now
        grown = [one for one in self._carried.values() if one.sent > one.told]
        await reconcile.carried(connection, {(one.view.id, one.view.at): one.sent for one in grown})
        for one in grown:
            one.told = one.sent

    async def _give_up(self, connection: asyncpg.Connection) -> None:
        for view in await reconcile.of_gateway(connection, self._gateway):
            one = self._carried.get(view.id) or Carried(view, "", is_duty=False, seconds=view.seconds)
            with suppress(Refusal):
                await self._close(one, "gateway_lost")

    async def _watch_silence(self) -> None:
        """A database that is silent vouches for nobody: cut whom this process knows, the owner's duty excepted."""
        while True:
            await asyncio.sleep(LOOK_SECONDS / 2)
            if self._news.silent_seconds() <= SILENCE_SECONDS:
                continue
            unvouched = [one for one in self._carried.values() if one.readers and not one.is_duty]
            for one in unvouched:
                remember(self._causes, one.view.id, "unvouched")
                with suppress(GatewayUnavailable):
                    await asyncio.gather(*(self._api.kick(reader) for reader in one.readers))
                    one.readers = []

    async def cut(self, view_id: UUID, cause: str) -> bool:
        """End one player, in whichever process; False when it was gone already. Raises GatewayUnavailable."""
        remember(self._causes, view_id, cause)
        async with self._database.bare.acquire(timeout=1) as connection:
            opened = await reconcile.of_gateway(connection, self._gateway)
        view = next((one for one in opened if one.id == view_id), None)
        if view is None:
            return False
        refs = set(view.session_ref.split(" "))
        readers = [reader for reader in await self._api.readers() if refs & set(reader.names)]
        if await kick_all(self._api, readers):
            return True  # whoever holds the office goes on trying
        one = self._carried.get(view_id) or Carried(view, "", is_duty=False, seconds=view.seconds)
        one.readers, one.sent = readers, max([one.sent, *(reader.sent for reader in readers)])
        await self._close(one, cause)
        return bool(readers)

    def _path(self, view: OpenView) -> str:
        return name_of(self._keys, self._gateway, view.ticket.camera_id, view.ticket.profile)


def _key_of(view: OpenView) -> list[str]:
    return [str(view.ticket.grant_id), str(view.ticket.camera_id), view.protocol]
