"""What an attack is, and how a list of them becomes tests."""

import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from app.streams import reconcile, views
from app.streams.urls import Pass

Through = bool | list[str]
"""Whether it got through; or, of an attack in several variants, those that did."""
Seed = Callable[[pytest.MonkeyPatch], None]


class GotThrough(AssertionError):  # noqa: N818 - it says what happened
    """The house did not withstand: nothing else may pass for a known hole."""


@dataclass(frozen=True)
class Attack:
    """`tries` attacks the scene it is given; `seed` takes away the guard that stops it, for the test's time."""

    name: str
    tries: Callable[[Any], Awaitable[Through]]
    seed: Seed
    variants: tuple[str, ...] = ()
    """All that must get through when the guard is gone."""
    hole: str = ""
    """Why it gets through for now."""

    async def withstood(self, scene: Any) -> None:
        through = await self.tries(scene)
        if through:
            raise GotThrough(f"got through: {through}")

    async def got_through(self, scene: Any, patch: pytest.MonkeyPatch) -> None:
        self.seed(patch)
        through = await self.tries(scene)
        if isinstance(through, bool):
            assert through, "without its guard the house must fall: this attack proves nothing"
        else:
            assert self.variants, "an attack in variants says which there are"
            assert set(through) == set(self.variants)


def against_the_house(attacks: Sequence[Attack]) -> pytest.MarkDecorator:
    """Each attack as a parameter; one through a known hole is expected to get through."""
    return pytest.mark.parametrize(
        "attack",
        [
            pytest.param(
                one, id=one.name, marks=[pytest.mark.xfail(strict=True, raises=GotThrough, reason=one.hole)] if one.hole else []
            )
            for one in attacks
        ],
    )  # fmt: skip


def without_its_guard(attacks: Sequence[Attack]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("attack", [pytest.param(one, id=one.name) for one in attacks])


def without(patch: pytest.MonkeyPatch, module: Any, name: str, *guards: str, instead: str = "") -> None:
    """Take clauses out of a module's SQL; fails when they stand there no more, so that no seed goes stale."""
    text: str = getattr(module, name)
    for guard in guards:
        assert guard in text, f"{name} says no {guard!r} any more: seed the fault where the guard stands now"
        text = text.replace(guard, instead)
    patch.setattr(module, name, text)


def believing_every_signature(patch: pytest.MonkeyPatch, module: Any) -> None:
    """Whatever this module compares in constant time is the same."""
    patch.setattr(module, "hmac", SimpleNamespace(compare_digest=lambda *_: True, digest=hmac.digest))


def never_asking_again(patch: pytest.MonkeyPatch) -> None:
    """What was let in is not looked at again: these attacks are about being let in."""

    async def still(_connection: Any, tickets: Sequence[Pass]) -> list[float | None]:
        return [600.0 for _ in tickets]

    patch.setattr(reconcile, "still_permitted", still)
    patch.setattr(views.Permit, "seconds_left", property(lambda _: 600.0))
