"""Who listens: what a viewer may see and how much of it, and the listeners that are told the same."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from app.access.rights import Scope
from app.actor import Actor
from app.errors import Refusal
from app.events.catalogue import Sight
from app.fanout import Group, Listener, text_frame
from app.feed.subscriptions import Subscription, Whereabouts

Rights = tuple[tuple[UUID, ...], tuple[Scope, ...], Sight, Sight]


class Viewer:
    """A person or system in its office, with the scopes in which it may locate."""

    def __init__(self, actor: Actor, scopes: Iterable[Scope]) -> None:
        self.actor = actor
        self.scopes = tuple(scopes)

    @property
    def rights(self) -> Rights:
        """What decides about every event: viewers of equal rights see the same."""
        return (self.actor.acts_for_ids, self.scopes, self.sight(None), self._sight_of_own())

    def may_see(self, event: Mapping[str, Any], now: datetime) -> bool:
        """Rights to an event row: within one of the scopes; a restricted one only for the owner's people."""
        owner = event["owner_agency_id"]
        if event["restriction"] and owner not in self.actor.acts_for_ids:
            return False
        areas, purposes = event["area_ids"], event["installation_purposes"]
        return any(scope.admits(owner, areas, purposes, now) for scope in self.scopes)

    def sight(self, owner_agency_id: UUID | None) -> Sight:
        """How much of an owner's events is told: the redaction class."""
        if owner_agency_id in self.actor.acts_for_ids:
            return self._sight_of_own()
        return Sight.RESPONDER if self.actor.may("view") else Sight.PARTNER

    def _sight_of_own(self) -> Sight:
        """Who sees footage, leads, or reports for the owner sees everything; who keeps the register does not."""
        informed = any(self.actor.may(what) for what in ("view", "supervise", "ingest"))
        return Sight.OWNER if informed else Sight.PARTNER


class Member(Viewer):
    """One greeted client: who it is, what it wants, and the connection it hears on."""

    def __init__(self, actor: Actor, scopes: Iterable[Scope], transport: Any, limit: int) -> None:
        super().__init__(actor, scopes)
        self.listener = Listener(transport, limit, lambda: self.end("behind"))
        self.subscriptions: dict[str, Subscription] = {}
        self.live: dict[str, Subscription] = {}  # those that have caught up
        self.since: dict[str, int] = {}  # after which position each of them has told everything
        self.crowd: Crowd | None = None
        self.reached: int | None = None  # how far it has been brought up to date; None: as far as the process
        self.over: Refusal | str | None = None
        self.on_end: Callable[[Refusal | str], None] = lambda _: None

    def say(self, payload: bytes) -> bool:
        """Write one message of this member's own."""
        return self.listener.write(text_frame(payload))

    def end(self, why: Refusal | str) -> None:
        """The conversation is over; `on_end` says so to the client."""
        if self.over is None:
            self.over = why
            self.on_end(why)

    @property
    def gone(self) -> bool:
        """Nobody hears what is said to it."""
        return self.over is not None or self.listener.transport.is_closing()


class Crowd:
    """Members of equal rights who want the same: one decision for each event, one write for each member."""

    def __init__(self, viewer: Viewer, wishes: frozenset[Subscription]) -> None:
        self.viewer = Viewer(viewer.actor, viewer.scopes)
        self.wishes = wishes
        self.key = (viewer.rights, wishes)
        self.group = Group()

    def concerns(self, event: Mapping[str, Any], now: datetime, whereabouts: Whereabouts) -> bool:
        """Whether its members want an event and may see it."""
        return any(wish.wants(event, whereabouts) for wish in self.wishes) and self.viewer.may_see(event, now)


class Crowds:
    """All crowds of a process, found by (area, kind) of what they want."""

    def __init__(self) -> None:
        self._crowds: dict[Any, Crowd] = {}
        self._index: dict[tuple[UUID | None, str | None], dict[Crowd, None]] = {}

    def place(self, member: Member) -> None:
        """Put a member where its rights and its live subscriptions belong; nowhere without any."""
        wishes = frozenset(member.live.values())
        if member.crowd is not None:
            if member.crowd.key == (member.rights, wishes):
                return
            self._remove(member)
        if not wishes:
            return
        key = (member.rights, wishes)
        crowd = self._crowds.get(key)
        if crowd is None:
            crowd = self._crowds[key] = Crowd(member, wishes)
            for place in {place for wish in wishes for place in wish.index_keys()}:
                self._index.setdefault(place, {})[crowd] = None
        crowd.group.join(member.listener)
        member.crowd = crowd

    def _remove(self, member: Member) -> None:
        crowd, member.crowd = member.crowd, None
        assert crowd is not None
        crowd.group.leave(member.listener)
        if crowd.group.listeners:
            return
        self._crowds.pop(crowd.key, None)
        for place in {place for wish in crowd.wishes for place in wish.index_keys()}:
            found = self._index.get(place, {})
            found.pop(crowd, None)
            if not found:
                self._index.pop(place, None)

    def leave(self, member: Member) -> None:
        """Not one event more, from this very moment on."""
        member.live.clear()
        if member.crowd is not None:
            self._remove(member)

    def found(self, areas: Sequence[UUID], names: Iterable[str]) -> list[Crowd]:
        """The crowds that an event in these areas, wanted by these names, may concern."""
        wanted = (None, *names)
        found: dict[Crowd, None] = {}
        for area in (None, *areas):
            for name in wanted:
                if here := self._index.get((area, name)):
                    found.update(here)
        return list(found)


async def taken(member: Member, limit: int) -> None:
    """Wait until little waits for a member to take it: who reads of years gone by reads at its own speed."""
    while member.listener.transport.get_write_buffer_size() > limit and not member.gone:  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(0.01)
