"""`MediaMtx`: a gateway as the rest of the house knows it."""

import asyncio
import logging
from collections.abc import Sequence
from uuid import UUID

from app import clock
from app.announcements import Announcements
from app.database import LOST, Database
from app.errors import GatewayUnavailable, UnsafeSource
from app.keys import Keys
from app.registry.addresses import camera_networks, safe_source
from app.settings import Settings
from app.streams import reconcile, urls
from app.streams.gateway import LATENCIES, Health, Session
from app.streams.limits import Limits
from app.streams.mediamtx.admission import Admission, node_of
from app.streams.mediamtx.api import CALL_SECONDS, Api, Info
from app.streams.mediamtx.config import Config
from app.streams.mediamtx.door import Door, watched_source
from app.streams.mediamtx.paths import PATTERN, Paths, described, name_of
from app.streams.mediamtx.watch import Watch
from app.streams.urls import Pass
from app.streams.views import Asking, Carrier, Opened
from app.streams.writer import Writer

log = logging.getLogger("gwanje.mediamtx")

BEAT_SECONDS = 1.0
SWEEP_SECONDS = 30.0
_PLACES = {"whep": "{base}/{path}/whep?token={token}", "hls": "{base}/{path}/index.m3u8?token={token}"}
_PLACES["rtsps"] = "{base}/{path}?token={token}"
_WATCHED = "SELECT DISTINCT camera_id, profile FROM views WHERE gateway = $1 AND closed_at IS NULL"


class MediaMtx:
    """A MediaMTX, seen from one process. `watch` must run for as long as the process serves."""

    kind = "mediamtx"

    def __init__(
        self, config: Config, settings: Settings, keys: Keys, database: Database, writer: Writer, news: Announcements
    ) -> None:
        self.config = config
        self.name, self.zone, self.protocols = config.name, config.zone, config.protocols
        self._keys, self._database = keys, database
        self._allowed = camera_networks(settings)
        self._api = Api(config)
        self._paths = Paths(self._api, config.cameras)
        limits = Limits.of(settings, config.viewers)
        carrier = Carrier(config.name, node_of(config.name), limits)
        self._watch = Watch(carrier, self._api, keys, database, writer, news)
        self._admission = Admission(config, carrier, keys, database, writer)
        self._info: Info | None = None
        self._sick = ""
        self._door: Door | None = None
        if config.door is not None:
            self._door = Door(config, keys, self._find, self._allowed, settings.camera_ca_file)

    # What the rest of the house asks

    async def ensure(self, camera_id: UUID, profile: str, address: str) -> None:
        """Be ready to be asked for this camera's stream. Raises GatewayUnavailable within 2 s, or UnsafeSource.

        With the door one path of MediaMTX stands for all cameras, so that this costs no call; without it the camera's
        own address, credentials included, is told to MediaMTX, which then passes on whatever the camera sends.
        """
        if not safe_source(address, self._allowed).scheme.startswith("rtsp"):
            raise UnsafeSource("this gateway pulls rtsp:// and rtsps:// cameras only")
        try:
            async with asyncio.timeout(CALL_SECONDS):
                if self._door is not None:
                    await self._paths.ensure(PATTERN, described(self._door.url("$G1")), replace=False)
                else:
                    await self._paths.ensure(self._path(camera_id, profile), described(address))
        except TimeoutError:
            raise GatewayUnavailable(
                "the media gateway is slow; try again in a moment", retry_after_seconds=2
            ) from None

    def urls(self, ticket: Pass, protocols: Sequence[str], zone: str) -> list[dict[str, str]]:
        """URLs for a viewer in `zone`; none where the gateway has no address in that zone."""
        token = urls.write(self._keys, ticket)
        path = self._path(ticket.camera_id, ticket.profile)
        return [
            {
                "protocol": protocol,
                "url": _PLACES[protocol].format(base=self.config.bases[protocol][zone], path=path, token=token),
                "latency": LATENCIES[protocol],
            }
            for protocol in protocols
            if zone in self.config.bases.get(protocol, {})
        ]

    async def authorize(self, token: str, asking: Asking) -> Opened:
        """The view of a player that asks with a token: the standing one of its session, or a new one, committed."""
        return await self._admission.open(urls.read(self._keys, token), asking)

    async def answer(self, secret: str, peer: str, body: bytes) -> int:
        """The HTTP status for a question of MediaMTX at our door (see `admission`)."""
        return await self._admission.answer(secret, peer, body)

    async def sessions(self) -> list[Session]:
        """Who watches what, by MediaMTX's own count."""
        readers = await self._api.readers()
        try:
            async with self._database.bare.acquire(timeout=1) as connection:
                opened = await reconcile.of_gateway(connection, self.name)
        except LOST:
            opened = []
        by_name = {name: view for view in opened for name in view.session_ref.split(" ")}
        found = []
        for reader in readers:
            view = next((by_name[name] for name in reader.names if name in by_name), None)
            whose = (view.id, view.ticket.camera_id) if view is not None else (None, None)
            seconds = view.seconds if view is not None else 0.0
            found.append(Session(reader.id, whose[0], whose[1], reader.protocol, reader.sent, seconds))
        return found

    async def cut(self, view_id: UUID, cause: str) -> bool:
        """End one player: kicked, seen to be gone, its view closed. False when it was gone already."""
        return await self._watch.cut(view_id, cause)

    async def health(self) -> Health:
        """Whether it can take more: asked now, within 2 s, unless it failed lately, which is said at once."""
        if self._sick:
            return Health(False, self._sick)
        try:
            readers = await self._api.readers()
        except GatewayUnavailable:
            self._sick = self._api.word
            return Health(False, self._sick)
        viewers, cameras = len(readers), len({reader.path for reader in readers})
        full = viewers >= self.config.viewers or cameras >= self.config.cameras
        return Health(not full, "full" if full else "ready", cameras, viewers)

    def drain(self, *, on: bool) -> None:
        """While it is drained it takes nobody new, and who watches is cut (`moved`): the next grant leads elsewhere."""
        self._admission.draining = self._watch.draining = on

    # While the process serves

    async def watch(self) -> None:
        """Keep the door, see that MediaMTX knows what it must, and look after what it carries."""
        try:
            if self._door is not None:
                try:
                    await self._door.open()
                except OSError as error:  # with several machines, one of which has the address
                    log.warning("the door of a gateway is not here: %s", error.strerror, extra={"gateway": self.name})
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._beat())
                tasks.create_task(self._watch.run())
        finally:
            if self._door is not None:
                self._door.close()
            await self._api.close()

    @property
    def leads(self) -> bool:
        """Whether this process looks after the gateway."""
        return self._watch.leads

    async def _beat(self) -> None:
        """Ask who it is every second: also the probe of one that failed."""
        swept_at = clock.monotonic()
        while True:
            try:
                await self._look_in()
                if swept_at + SWEEP_SECONDS < clock.monotonic():
                    swept_at = clock.monotonic()
                    await self._paths.sweep(await self._watched())
            except GatewayUnavailable as refusal:
                self._sick = self._api.word
                log.warning("%s", refusal.detail, extra={"gateway": self.name})
            except LOST as error:
                log.warning("the paths of a gateway cannot be checked: %s", type(error).__name__)
            await asyncio.sleep(BEAT_SECONDS)

    async def _look_in(self) -> None:
        info = await self._api.info()
        if self._info is not None and self._info.started != info.started:
            log.warning("a gateway was restarted", extra={"gateway": self.name})
            self._paths.forgotten()
        self._info = info
        if self._door is not None:
            body = described(self._door.url("$G1"))
            await self._paths.ensure(PATTERN, body, verify=True, replace=self.leads)
        elif self._paths.has_lost:
            await self._paths.replay(await self._watched())
        if info.too_old:
            self._sick = f"MediaMTX {info.version[:20]} is too old; the oldest that can be used is 1.19.3"
        elif self._sick:
            await self._api.readers()
            self._sick = ""

    async def _watched(self) -> set[str]:
        async with self._database.bare.acquire(timeout=1) as connection:
            rows = await connection.fetch(_WATCHED, self.name)
        return {self._path(row["camera_id"], row["profile"]) for row in rows}

    def _path(self, camera_id: UUID, profile: str) -> str:
        return name_of(self._keys, self.name, camera_id, profile)

    async def _find(self, camera_id: UUID, profile: str) -> str:
        return await watched_source(self._database, self._keys, self.name, camera_id, profile)
