"""What publishers reported and subscribers heard, held against the log: nothing lost, repeated, disordered or invented.

`judge` is pure. Positions are compared as numbers; `read` makes a number of what a client was told (None: no position
of this log). The log is the order in which the database numbered the events, read from it when all is quiet.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

ACKED, FAILED, UNKNOWN = "acked", "failed", "unknown"

LOST = "lost"  # acknowledged and not in the log, or in the log and not heard by who wanted it
DUPLICATED = "duplicated"  # twice in the log, or twice on one connection
REPEATED = "repeated"  # older than the position after which a connection was resumed
DISORDERED = "disordered"  # heard in another order than the log's
PHANTOM = "phantom"  # heard or logged, but never reported, or refused, or not wanted
MISCOUNTED = "miscounted"  # a heartbeat tells another number than was counted
AHEAD = "ahead"  # a heartbeat tells a position before everything up to it was brought


@dataclass(slots=True)
class Publication:
    """What became of one report, under its unique key, as its publisher saw it."""

    key: str
    place: str
    outcome: str = UNKNOWN


@dataclass(frozen=True, slots=True)
class Entry:
    """One event of the log."""

    position: int
    id: str
    key: str
    place: str


@dataclass(frozen=True, slots=True)
class Hearing:
    """One event as a subscriber heard it; `connection` is the number of its connection, from 0."""

    connection: int
    position: str
    id: str
    key: str
    at: float


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat: what it told, how many events this connection had brought, and how many hearings there were."""

    connection: int
    position: str
    delivered: int
    counted: int
    hearings: int


@dataclass(slots=True)
class Record:
    """All that one subscriber heard. `wishes` are the places of its subscriptions, in their order; None: everywhere.

    `begun` is the position from which on it must have heard everything; `afters` holds what each connection said.
    """

    name: str
    wishes: tuple[frozenset[str] | None, ...] = (None,)
    begun: str | None = None
    afters: list[str | None] = field(default_factory=list)
    hearings: list[Hearing] = field(default_factory=list)
    beats: list[Beat] = field(default_factory=list)

    def wants(self, place: str) -> bool:
        return any(wish is None or place in wish for wish in self.wishes)


@dataclass(frozen=True, slots=True)
class Finding:
    what: str
    who: str
    detail: str


@dataclass(slots=True)
class Verdict:
    """What was found wrong, and how much was looked at. `again`: events that a resumed connection rightly repeated."""

    findings: list[Finding] = field(default_factory=list)
    logged: int = 0
    heard: int = 0
    again: int = 0
    beats: int = 0
    resumed: int = 0

    def count(self, what: str) -> int:
        return sum(found.what == what for found in self.findings)

    @property
    def clean(self) -> bool:
        return not self.findings

    def __str__(self) -> str:
        """The first findings, for a failing assertion."""
        kinds = Counter(found.what for found in self.findings)
        return f"{dict(kinds)}: " + "; ".join(f"{f.what} {f.who}: {f.detail}" for f in self.findings[:8])


def judge(
    publications: Iterable[Publication],
    log: Sequence[Entry],
    records: Iterable[Record],
    read: Callable[[str], int | None] = int,
) -> Verdict:
    """Everything that contradicts what the feed promises. Call it when all that was reported has had time to arrive."""
    verdict = Verdict(logged=len(log))
    _judge_log({one.key: one for one in publications}, log, verdict)
    for record in records:
        _judge_record(record, log, read, verdict)
    return verdict


def _judge_log(published: dict[str, Publication], log: Sequence[Entry], verdict: Verdict) -> None:
    blame = verdict.findings.append
    logged = Counter(entry.key for entry in log)
    for key, publication in published.items():
        if publication.outcome == ACKED and key not in logged:
            blame(Finding(LOST, "log", f"{key} was acknowledged and is not in the log"))
        if publication.outcome == FAILED and key in logged:
            blame(Finding(PHANTOM, "log", f"{key} was refused and is in the log"))
    for key, times in logged.items():
        if times > 1:
            blame(Finding(DUPLICATED, "log", f"{key} is there {times} times"))
        if key not in published:
            blame(Finding(PHANTOM, "log", f"{key} was never reported"))
    for before, after in pairwise(log):
        if before.position >= after.position:
            blame(Finding(DISORDERED, "log", f"{after.position} follows {before.position}"))


def _judge_record(record: Record, log: Sequence[Entry], read: Callable[[str], int | None], verdict: Verdict) -> None:
    by_id = {entry.id: entry for entry in log}
    afters = [None if after is None else read(after) for after in record.afters]
    on_connection: set[tuple[int, str]] = set()
    firsts: list[Entry] = []
    heard: set[str] = set()

    def blame(what: str, detail: str) -> None:
        verdict.findings.append(Finding(what, record.name, detail))

    for hearing in record.hearings:
        entry, position = by_id.get(hearing.id), read(hearing.position)
        if entry is None or entry.key != hearing.key or entry.position != position:
            blame(PHANTOM, f"{hearing.key} at {position} is not so in the log: {entry}")
            continue
        if not record.wants(entry.place):
            blame(PHANTOM, f"{entry.key} of {entry.place} was not wanted")
        after = afters[hearing.connection]
        if after is not None and position <= after:
            blame(REPEATED, f"{entry.key} at {position} on connection {hearing.connection}, resumed after {after}")
        if (hearing.connection, entry.id) in on_connection:
            blame(DUPLICATED, f"{entry.key} twice on connection {hearing.connection}")
        elif entry.id in heard:
            verdict.again += 1
        on_connection.add((hearing.connection, entry.id))
        if entry.id not in heard:
            heard.add(entry.id)
            firsts.append(entry)
    for before, later in _disordered(record, firsts):
        blame(DISORDERED, f"{later.key} at {later.position} came after {before.position}")
    begun = 0 if record.begun is None else read(record.begun) or 0
    wanted = [entry for entry in log if entry.position > begun and record.wants(entry.place)]
    for entry in wanted:
        if entry.id not in heard:
            blame(LOST, f"{entry.key} at {entry.position} of {entry.place}")
    _judge_beats(record, wanted, read, blame)
    verdict.heard += len(heard)
    verdict.beats += len(record.beats)
    verdict.resumed += max(0, len(record.afters) - 1)


def _disordered(record: Record, firsts: Sequence[Entry]) -> Iterable[tuple[Entry, Entry]]:
    """Pairs that came the wrong way round: each subscription brings what no earlier one wants, in order."""
    newest: dict[int, Entry] = {}
    for entry in firsts:
        wish = next((n for n, places in enumerate(record.wishes) if places is None or entry.place in places), -1)
        before = newest.get(wish)
        if before is not None and entry.position < before.position:
            yield before, entry
        else:
            newest[wish] = entry


def _judge_beats(
    record: Record, wanted: Sequence[Entry], read: Callable[[str], int | None], blame: Callable[[str, str], None]
) -> None:
    heard: set[str] = set()
    hearings, entries, missing = 0, 0, 0
    for beat in record.beats:
        if beat.delivered != beat.counted:
            blame(MISCOUNTED, f"{beat.delivered} told, {beat.counted} counted on connection {beat.connection}")
        for hearing in record.hearings[hearings : beat.hearings]:
            heard.add(hearing.id)
        hearings = max(hearings, beat.hearings)
        reached = read(beat.position)
        if reached is None:
            blame(PHANTOM, f"the position {beat.position} is of no log")
            continue
        while entries < len(wanted) and wanted[entries].position <= reached:
            missing += wanted[entries].id not in heard
            entries += 1
        if missing:
            blame(AHEAD, f"position {reached} told with {missing} not brought, on connection {beat.connection}")
            missing = 0
