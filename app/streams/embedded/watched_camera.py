"""One camera in one process: its pull, and the attempts to have one again when it is lost.

A camera that was lost, or did not answer, is tried again for ten minutes after somebody asked for it last: at once,
then at growing distances. Only who has the camera's turn tries, and only who has the turn tells of loss and return.
"""

import asyncio
import hashlib
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from app import clock
from app.errors import CameraOffline, CameraRefuses, GatewayUnavailable, Refusal
from app.registry.addresses import Networks, Source, safe_source
from app.streams.embedded import turns
from app.streams.embedded.camera_pull import CameraPull
from app.streams.embedded.pull import START_SECONDS, Cause, Pull, PullerGone
from app.streams.embedded.relay import RelayedPull, Share
from app.streams.embedded.turns import Standing, Turn

ASKED_SECONDS = 600.0
STEADY_SECONDS = 10.0  # who has run as long is tried at once when it is lost; who has not, later and later
MOST_REGAINED = 2000
_AT_ONCE = 32  # background attempts of a process, when a whole district is down
_GONE_SECONDS, _BUSY_SECONDS, _UNTOLD_SECONDS, _BROKEN_SECONDS = 0.03, 1.0, 0.5, 30.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for all cameras of a process."""

    run_dir: Path
    allowed: Networks
    linger_seconds: float
    ca_file: Path | None
    on_lost: Callable[[str, str], None]
    on_restored: Callable[[str], None]
    trying: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))
    regaining: set[asyncio.Task[None]] = field(default_factory=set)


class WatchedCamera:
    """`open()` is the way in. `on_idle(name)` is called when there is neither a pull nor a wish for one."""

    def __init__(self, name: str, terms: Terms, on_idle: Callable[[str, None], object]) -> None:
        self._name, self._terms, self._on_idle = name, terms, on_idle
        file = f"pull-{hashlib.sha256(name.encode()).hexdigest()[:24]}"
        self._path, self._socket_name = terms.run_dir / f"{file}.lock", f"{file}.sock"
        self._url, self._asked_at = "", 0.0
        self._pulling: asyncio.Task[Pull] | None = None
        self._turn: Turn | None = None
        self._regaining: asyncio.Task[None] | None = None
        self._telling: asyncio.TimerHandle | None = None
        self._closed = False

    async def open(self, url: str) -> Pull:
        """As `Pulls.open`."""
        self._url, self._asked_at = url, clock.monotonic()
        # Who gives up waiting takes nobody else's picture away.
        return await asyncio.shield(self._pulling or self._attempt())

    async def close(self) -> None:
        """End the pull and all attempts."""
        self._closed = True
        if self._telling:
            self._telling.cancel()
        tasks = [task for task in (self._regaining, self._pulling) if task]
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Pull):
                await outcome.stop()

    # An attempt

    def _attempt(self) -> asyncio.Task[Pull]:
        task = self._pulling = asyncio.create_task(self._start())
        task.add_done_callback(self._attempted)
        return task

    async def _start(self) -> Pull:
        """A pull that has begun: of the camera, if it is our turn, or of the process whose turn it is."""
        source = safe_source(self._url, self._terms.allowed)
        loop = asyncio.get_running_loop()
        deadline, trusts_sdp = loop.time() + START_SECONDS, True
        try:
            while True:
                pull = await self._pull(source, trusts_sdp=trusts_sdp)
                try:
                    await pull.start(deadline - loop.time())
                except PullerGone:  # it was about to come, or about to leave; or the camera describes itself wrongly
                    trusts_sdp = trusts_sdp and not (pull.lost and pull.lost.cause == Cause.CHANGED)
                    await asyncio.sleep(_GONE_SECONDS)
                else:
                    self._began(pull)
                    return pull
        except CameraOffline as refusal:
            if self._turn:
                self._failed(self._turn, refusal)
            raise
        except OSError as error:
            log.exception("a camera cannot be read for want of something in this machine")
            raise GatewayUnavailable("this gateway cannot start reading a camera now; try again in a moment") from error

    async def _pull(self, source: Source, *, trusts_sdp: bool) -> Pull:
        terms = self._terms
        terms.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._turn is None:
            self._turn = turns.take(self._path)
            if self._turn and self._turn.standing.refuses():
                reason = self._turn.standing.reason
                self._give_back()
                raise CameraOffline(reason)
        if self._turn is None:
            return RelayedPull(terms.run_dir, self._socket_name, linger_seconds=terms.linger_seconds)
        pull = CameraPull(
            source, terms.allowed, linger_seconds=terms.linger_seconds, ca_file=terms.ca_file, trusts_sdp=trusts_sdp
        )
        await Share(pull, terms.run_dir, self._socket_name).open()
        return pull

    def _attempted(self, task: asyncio.Task[Pull]) -> None:
        failure = None if task.cancelled() else task.exception()
        if not task.cancelled() and failure is None:
            return
        self._pulling = None
        self._give_back()
        if isinstance(failure, CameraOffline):
            self._regain()
        elif failure and not isinstance(failure, Refusal):
            log.error("a camera cannot be opened", exc_info=failure)
        self._rest()

    def _began(self, pull: Pull) -> None:
        if self._turn:
            before = self._turn.standing
            if before != Standing():
                self._turn.write(Standing(tries=before.tries + 1 if before.lost_at is not None else 0))
            if before.told:
                self._call(self._terms.on_restored, self._name)
        began_at, share_ended = clock.monotonic(), pull.on_end

        def ended() -> None:
            share_ended()
            self._ended(pull, clock.monotonic() - began_at >= STEADY_SECONDS)

        if pull.lost:  # in the very moment in which it began
            self._ended(pull, was_steady=False)
        pull.on_end = ended

    # Loss and return

    def _ended(self, pull: Pull, was_steady: bool) -> None:
        assert pull.lost is not None
        self._pulling = None
        if pull.lost.cause == Cause.CAMERA_LOST and not self._closed:
            if self._turn:
                tries = 0 if was_steady else self._turn.standing.tries
                self._turn.write(Standing(lost_at=clock.monotonic(), tries=tries, reason=pull.lost.detail))
                self._tell_in(turns.FLAP_SECONDS)
            if pull.was_watched:
                self._asked_at = clock.monotonic()
            self._regain()
        self._give_back()
        self._rest()

    def _failed(self, turn: Turn, refusal: CameraOffline) -> None:
        before, now = turn.standing, clock.monotonic()
        turn.write(
            Standing(
                lost_at=now if before.lost_at is None else before.lost_at,
                told=before.told,
                tries=before.tries + 1,
                failed_at=now,
                reason=refusal.detail,
                hopeless=isinstance(refusal, CameraRefuses),
            )
        )
        if before.lost_at is None or turn.standing.is_to_be_told():
            self._tell_of_loss(turn)

    def _tell_in(self, seconds: float) -> None:
        if self._telling:
            self._telling.cancel()
        self._telling = asyncio.get_running_loop().call_later(seconds, self._tell)

    def _tell(self) -> None:
        """Of a loss that was no flap; whoever has the turn just now may be bringing the camera back."""
        self._telling = None
        turn = self._turn or turns.take(self._path)
        if turn and turn.standing.is_to_be_told():
            self._tell_of_loss(turn)
        standing = turn.standing if turn else turns.standing(self._path)
        if turn and turn is not self._turn:
            turn.give_back()
        if standing.lost_at is not None and not standing.told:
            self._tell_in(_UNTOLD_SECONDS)
        self._rest()

    def _tell_of_loss(self, turn: Turn) -> None:
        turn.write(replace(turn.standing, told=True))
        self._call(self._terms.on_lost, self._name, turn.standing.reason)

    def _call(self, tell: Callable[..., None], *what: str) -> None:
        try:
            tell(*what)
        except Exception:
            log.exception("a loss or return could not be told")

    def _regain(self) -> None:
        """Try until it is back, or nobody wants it any more."""
        if self._regaining is None and not self._closed and len(self._terms.regaining) < MOST_REGAINED:
            task = self._regaining = asyncio.create_task(self._keep_trying())
            self._terms.regaining.add(task)
            task.add_done_callback(self._regained)

    def _regained(self, task: asyncio.Task[None]) -> None:
        self._terms.regaining.discard(task)
        self._regaining = None
        if not task.cancelled() and (failure := task.exception()):
            log.error("a lost camera is not tried any more", exc_info=failure)
        self._rest()

    async def _keep_trying(self) -> None:
        while clock.monotonic() - self._asked_at < ASKED_SECONDS:
            known = turns.standing(self._path)
            if known.lost_at is None or known.hopeless:
                return
            jitter = random.uniform(-1, 1)  # noqa: S311 - it keeps cameras apart, not secrets
            await asyncio.sleep(max(0.0, known.pause_seconds(jitter)))
            if self._pulling:
                if self._pulling.done():
                    return
                await asyncio.wait({self._pulling})
            else:
                async with self._terms.trying:
                    pause = await self._try_once_more(known)
                await asyncio.sleep(pause)

    async def _try_once_more(self, known: Standing) -> float:
        """An attempt, unless somebody has tried meanwhile, or is trying; gives the least seconds until the next."""
        if self._pulling:
            return 0
        self._turn = turns.take(self._path)
        if self._turn is None:
            return _BUSY_SECONDS
        if self._turn.standing != known:
            self._give_back()
            return 0
        task = self._attempt()
        await asyncio.wait({task})
        is_usual = task.cancelled() or isinstance(task.exception(), CameraOffline | None)
        return 0 if is_usual else _BROKEN_SECONDS

    def _give_back(self) -> None:
        if self._turn:
            self._turn.give_back()
            self._turn = None

    def _rest(self) -> None:
        if not self._closed and not (self._pulling or self._regaining or self._telling):
            self._on_idle(self._name, None)
