"""The live webhooks as a process knows them, found by (area, kind) of what they want: idle ones cost nothing."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app import clock
from app.feed.members import Viewer
from app.feed.subscriptions import Subscription, names_of
from app.feed.webhooks.leases import is_idle
from app.feed.webhooks.owners import Owners
from app.models import Webhook


def subscription_of(webhook: Webhook) -> Subscription:
    """What a webhook wants."""
    return Subscription(
        str(webhook.id), frozenset(webhook.area_ids), frozenset(webhook.kinds), webhook.min_severity
    )  # fmt: skip


@dataclass(slots=True, eq=False)
class Entry:
    """One webhook. Nothing between `position` and `first_wanted` concerns it."""

    id: UUID
    appointment_id: UUID
    subscription: Subscription
    position: int
    first_wanted: int = 0  # the first and the last event that may concern it; 0: none
    last_wanted: int = 0
    wanted_at: float = 0.0  # when the last one was seen here
    elsewhere: bool = False  # another process was quicker, so it may be again
    not_before: float = 0.0  # when to look again whether that one did it
    slow: bool = False  # its receiver took long the last time

    def want(self, position: int) -> None:
        """An event may concern it."""
        self.first_wanted = self.first_wanted or position
        self.last_wanted = max(self.last_wanted, position)
        self.wanted_at = clock.monotonic()

    def done(self, position: int) -> bool:
        """It has come this far; whether nothing more is known to wait."""
        self.position = max(self.position, position)
        if self.last_wanted > self.position:
            self.first_wanted = self.position + 1
            return False
        self.first_wanted = self.last_wanted = 0
        return True


class Table:
    """All live webhooks; `owed` are those that an event may concern which nobody is known to have delivered."""

    def __init__(self, owners: Owners) -> None:
        self.entries: dict[UUID, Entry] = {}
        self.owed: dict[UUID, Entry] = {}
        self._owners = owners
        self._index: dict[tuple[UUID | None, str | None], dict[Entry, None]] = {}

    def put(self, webhook: Webhook, scanned: int) -> None:
        """Know a webhook as its row says; one that is new here, idle, and behind what was scanned is looked at."""
        known, subscription = self.entries.get(webhook.id), subscription_of(webhook)
        if known and (known.appointment_id, known.subscription) == (webhook.appointment_id, subscription):
            return  # what was scanned was compared with just this; if it is to go back, its row says so by being due
        self.drop(webhook.id)
        entry = Entry(webhook.id, webhook.appointment_id, subscription, webhook.position)
        self.entries[entry.id] = entry
        for place in entry.subscription.index_keys():
            self._index.setdefault(place, {})[entry] = None
        if is_idle(webhook.next_at) and webhook.position < scanned:
            self.owe(entry, webhook.position + 1, scanned)

    def drop(self, webhook_id: UUID) -> None:
        """Forget a webhook that has ended or rests."""
        entry = self.entries.pop(webhook_id, None)
        self.owed.pop(webhook_id, None)
        if entry is None:
            return
        for place in entry.subscription.index_keys():
            here = self._index.get(place, {})
            here.pop(entry, None)
            if not here:
                self._index.pop(place, None)

    def owe(self, entry: Entry, first: int, last: int) -> None:
        """Events from one position to another may concern it."""
        entry.want(first)
        entry.want(last)
        self.owed[entry.id] = entry

    def scan(self, row: Mapping[str, Any], now: datetime) -> None:
        """Note whom the next event of the log may concern. Each owner's rights are compared once."""
        names: Collection[str | None] = (None, *names_of(row["kind"], row["regards_kind"]))
        position, asked = row["position"], dict[UUID, bool]()
        for area in (None, *row["area_ids"]):
            for name in names:
                for entry in self._index.get((area, name), ()):
                    if position <= max(entry.position, entry.last_wanted) or not entry.subscription.wants(row):
                        continue
                    if entry.appointment_id not in asked:
                        viewer = self._owners.known(entry.appointment_id)
                        asked[entry.appointment_id] = not isinstance(viewer, Viewer) or viewer.may_see(row, now)
                    if asked[entry.appointment_id]:
                        entry.want(position)
                        self.owed[entry.id] = entry
