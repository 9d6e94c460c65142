"""Paths that mean one thing raw and another normalised, names that leave their folder, tokens in other spellings."""

import base64
import posixpath
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from app import answers
from app.streams import urls
from app.streams.embedded.hls import Playlist
from tests.attacks import raw
from tests.attacks.attack import Attack, against_the_house, without_its_guard
from tests.attacks.town import Town

FOOTAGE = b"ftyp"
# `{}` is a good token; each is the same stream to somebody who normalises, and no path of ours.
OTHER_PATHS = (
    "/v/./{}/live.mp4", "/v//{}/live.mp4", "//v/{}/live.mp4", "/x/../v/{}/live.mp4", "/v/{}/../{}/live.mp4",
    "/v/{}/./live.mp4", "/v/{}//live.mp4", "/v/{}/live.mp4/", "/v/{}/x/../live.mp4", "/v/x/%2e%2e/{}/live.mp4",
    "/v/x/..%2f{}/live.mp4", "/v/%2e/{}/live.mp4", "/v%2f{}%2flive.mp4%2f", "/v/..%2fv/{}/live.mp4",
    "/public/..%2fv/{}/live.mp4", "/v/{}/x/.%2e/live.mp4", "/../v/{}/live.mp4", "/v/{}/%2e%2e/{}/live.mp4",
)  # fmt: skip
OTHER_SPELLINGS = (
    ".{}", "{}.", "..{}", "~{}", "{}~", "{}!", "%20{}", "{}%20", "{}%0a", "{}%00", "%00{}", "{}%0d%0a", "{}*", "({})",
    "{}%25", "{}@", "{}:", "'{}'",
)  # fmt: skip
HIDDEN = ("-../hidden", "-%2e%2e/hidden", "-..%2fhidden", "-.%2e/hidden", "-x/../../hidden", "-../x/../hidden",
          "-%2e%2e%2fhidden")  # fmt: skip
STRANGE = (
    "..", "%2e%2e", "..%2f..%2f..%2fetc%2fpasswd", "%00", "~", "~root", "%c3%a9", "%ff%fe", "%ef%bc%8e%ef%bc%8e",
    "a" * 5000, "9" * 5000, "-1", "0x10", "1e9", "%0d%0aX-A:%20b", "{{7*7}}", "%24%7b7*7%7d", "'%20or%201=1--", ".",
    "con", "\\..\\..", "%5c..%5c", "*", "%2a", "null", "NaN", "true", "[]", "%5b%5d",
)  # fmt: skip


async def paths_in_other_spellings(town: Town) -> list[str]:
    grant = await town.granted(await town.visitor())
    through = []
    for path in OTHER_PATHS:
        answer = await raw.ask(town.host, path.replace("{}", grant.token))
        assert answer.status < 500, (path, answer)
        through += [path] if FOOTAGE in answer.body else []
    return through


def routing_what_is_normalised(patch: pytest.MonkeyPatch) -> None:
    """As products do that judge one path and serve another (such as CVE-2026-34908)."""
    real = answers.Observed.__call__

    async def call(observed: Any, scope: Any, receive: Any, send: Any) -> None:
        path = posixpath.normpath(unquote(scope["path"])).replace("//", "/")
        await real(observed, {**scope, "path": path}, receive, send)

    patch.setattr(answers.Observed, "__call__", call)


async def tokens_in_other_spellings(town: Town) -> list[str]:
    grant = await town.granted(await town.visitor())
    through = []
    for spelling in OTHER_SPELLINGS:
        answer = await raw.ask(town.host, f"/v/{spelling.replace('{}', grant.token)}/live.mp4")
        assert answer.status < 500, (spelling, answer)
        through += [spelling] if FOOTAGE in answer.body else []
    return through


class Lenient:
    """base64 as it is by default: what is no letter of its alphabet is passed over."""

    @staticmethod
    def b64decode(text: bytes, *, altchars: bytes, **_: bool) -> bytes:
        return base64.b64decode(text, altchars=altchars)

    urlsafe_b64encode = staticmethod(base64.urlsafe_b64encode)


def reading_what_can_be_read(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(urls, "base64", Lenient)
    if hasattr(urls, "_TOKEN"):
        patch.setattr(urls, "_TOKEN", re.compile(r"(?s).*"))


async def a_token_in_the_other_alphabet(town: Town) -> bool:
    """One permission has one URL: another spelling of it is another secret, which no log knows to strike out."""
    who = await town.visitor()
    grant = await town.granted(who)
    while "-" not in grant.token:
        grant = await town.granted(who)
    return await town.plays(grant.token.replace("-", "+"), "live.mp4")


async def names_that_leave_their_folder(town: Town) -> list[str]:
    """Names of init segments, which are looked up by name."""
    grant = await town.granted(await town.visitor())
    assert await town.plays(grant.token, "index.m3u8")
    through = []
    for name in HIDDEN:
        answer = await raw.ask(town.host, f"/v/{grant.token}/init{name}.mp4")
        assert answer.status < 500, (name, answer)
        through += [name] if answer.status == 200 else []
    return through


def looking_up_names_in_a_folder(patch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / "hls" / "x").mkdir(parents=True)
    (folder / "x").mkdir()
    (folder / "hidden.mp4").write_bytes(b"what nobody was to see")

    def init(_playlist: Playlist, name: str = "") -> bytes | None:
        path = folder / "hls" / f"{name}.mp4"
        return path.read_bytes() if path.exists() else None

    patch.setattr(Playlist, "init", init)


ATTACKS = [
    Attack("paths in other spellings", paths_in_other_spellings, routing_what_is_normalised, OTHER_PATHS),
    Attack("tokens in other spellings", tokens_in_other_spellings, reading_what_can_be_read, OTHER_SPELLINGS),
    Attack("a token in the other alphabet", a_token_in_the_other_alphabet, reading_what_can_be_read),
]  # fmt: skip


@against_the_house(ATTACKS)
async def test_the_house_withstands(attack: Attack, town: Town) -> None:
    await attack.withstood(town)


@without_its_guard(ATTACKS)
async def test_without_its_guard_it_falls(attack: Attack, town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    await attack.got_through(town, monkeypatch)


async def test_names_stay_in_their_folder(town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await names_that_leave_their_folder(town) == []
    looking_up_names_in_a_folder(monkeypatch, tmp_path)
    assert set(await names_that_leave_their_folder(town)) == set(HIDDEN)


async def test_nothing_strange_is_found_or_breaks_anything(town: Town) -> None:
    """Every place of a path where something is named, with what names nothing."""
    who = await town.own("shift_lead")
    grant = await town.granted(who)
    told = f"Authorization: Bearer {who.token}\r\n"
    places = [
        ("GET", "/v/{}/live.mp4"), ("GET", "/v/{}/snapshot.jpg"), ("GET", f"/v/{grant.token}/{{}}.m4s"),
        ("GET", f"/v/{grant.token}/init{{}}.mp4"), ("GET", f"/v/{grant.token}/{{}}"), ("DELETE", "/v1/grants/{}"),
        ("POST", "/v1/grants/{}/renewals"), ("GET", "/v1/walls/{}"), ("GET", "/v1/manifests/{}"),
        ("DELETE", "/v1/approvals/{}"), ("POST", "/internal/gateways/{}/secret"), ("POST", "/internal/gateways/x/{}"),
    ]  # fmt: skip
    for method, place in places:
        for name in STRANGE:
            answer = await raw.ask(town.host, place.replace("{}", name), method=method, more=told)
            assert answer.status in (400, 403, 404, 405, 422), (method, place, name[:40], answer.status)
            assert b"root:" not in answer.body
