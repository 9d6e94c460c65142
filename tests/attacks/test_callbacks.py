"""Whoever asks in the name of a media gateway, or comes to the door at which it pulls: refused, and without a view."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import orjson
import pytest

from app.database import Database
from app.keys import Keys
from app.routers import media
from app.settings import Settings
from app.streams import views
from app.streams.mediamtx import MediaMtx, admission, callback_path, door
from app.streams.mediamtx.admission import Admission, Question
from app.streams.mediamtx.config import Config
from app.streams.mediamtx.paths import name_of, read_name
from app.streams.urls import Pass
from tests import actors, factories
from tests.attacks.attack import (
    Attack,
    Through,
    against_the_house,
    believing_every_signature,
    without,
    without_its_guard,
)
from tests.attacks.town import ELSEWHERE, HERE, Town
from tests.streams.mediamtx.fake import FakeMediaMtx
from tests.streams.mediamtx.scene import Scene, scene

FORWARDED = {"X-Forwarded-For": HERE, "X-Real-IP": HERE, "Forwarded": f"for={HERE}"}
PLAYERS = ("webrtc", "hls", "rtsp")


@dataclass
class Gate:
    """A gateway that is driven here, and a way to ask in its name."""

    at: Scene
    driver: MediaMtx
    town: Town

    async def ask(
        self, ticket: Pass, *, url: str = "", peer: str = HERE, headers: dict[str, str] | None = None, **said: Any
    ) -> int:
        """The status that a question gets; one with a yes must have its view."""
        said = {"id": str(uuid4()), "path": self.at.path(ticket.camera_id, ticket.profile)} | said
        body = {
            "ip": actors.ADDRESS, "user": "", "password": "", "token": self.at.token(ticket), "action": "read",
            "protocol": "webrtc", "query": f"token={self.at.token(ticket)}", "userAgent": "attack",
        } | said  # fmt: skip
        return await self.post(orjson.dumps(body), url=url, peer=peer, headers=headers)

    async def post(self, body: bytes, *, url: str = "", peer: str = HERE, headers: dict[str, str] | None = None) -> int:
        answer = await self.town.from_address(peer).post(url or self.at.callback, content=body, headers=headers)
        assert answer.status_code < 500, answer.text
        assert answer.content == b"" or answer.status_code in (404, 405, 422)
        return answer.status_code

    async def views(self) -> int:
        return len(await self.at.views())


@pytest.fixture(scope="module")
async def gate(
    settings: Settings, keys: Keys, database: Database, database_url: str, town: Town
) -> AsyncIterator[Gate]:
    async with FakeMediaMtx() as fake, scene(settings, keys, database, database_url, fake) as at:
        driver = at.driver(callers=Config.parse(f"mediamtx+http://{HERE}?hls=http://x").callers)
        await driver._door.open()  # type: ignore[union-attr]
        yield Gate(at, driver, town)
        driver._door.close()  # type: ignore[union-attr]


def in_variants(tried: Callable[[Gate], Awaitable[dict[str, Callable[[], Awaitable[int]]]]]) -> Any:
    """What is answered by a yes, or leaves a view."""

    async def tries(gate: Gate) -> list[str]:
        through = []
        for name, ask in (await tried(gate)).items():
            before = await gate.views()
            if 200 <= await ask() < 300 or await gate.views() != before:
                through.append(name)
        return through

    return tries


# Who asks


async def secrets_of_others(gate: Gate) -> dict[str, Callable[[], Awaitable[int]]]:
    ticket, name = await gate.at.ticket(), gate.at.name
    base = gate.at.callback.partition("/internal")[0]
    good = gate.at.callback.rpartition("/")[2]
    other = callback_path(gate.at.keys, "another").rpartition("/")[2]
    foreign = callback_path(Keys(b"the key of another deployment.."), name).rpartition("/")[2]
    said = {
        "one letter wrong": good[:-1] + ("0" if good[-1] != "0" else "1"), "of another gateway": other,
        "of another deployment": foreign, "cut short": good[:-2], "too long": good + "00", "in capitals": good.upper(),
        "a wildcard": "*", "none": "none", "NUL": good + "%00",
    }  # fmt: skip
    return {what: _asking(gate, ticket, f"{base}/internal/gateways/{name}/{secret}") for what, secret in said.items()}


def _asking(gate: Gate, ticket: Pass, url: str = "", **said: Any) -> Callable[[], Awaitable[int]]:
    return lambda: gate.ask(ticket, url=url, **said)


SECRETS = ("one letter wrong", "of another gateway", "of another deployment", "cut short", "too long", "in capitals",
           "a wildcard", "none", "NUL")  # fmt: skip


async def without_any_secret(gate: Gate) -> dict[str, Callable[[], Awaitable[int]]]:
    ticket, base = await gate.at.ticket(), gate.at.callback.rpartition("/")[0]
    good = gate.at.callback.rpartition("/")[2]
    return {
        "left out": _asking(gate, ticket, base),
        "empty": _asking(gate, ticket, base + "/"),
        "in the query": _asking(gate, ticket, f"{base}/x?secret={good}"),
        "in a header": _asking(gate, ticket, f"{base}/x", headers={"Authorization": f"Bearer {good}"}),
    }


async def from_another_address(gate: Gate) -> dict[str, Callable[[], Awaitable[int]]]:
    ticket = await gate.at.ticket()
    return {"plainly": _asking(gate, ticket, peer=ELSEWHERE)}


async def from_another_address_in_disguise(gate: Gate) -> dict[str, Callable[[], Awaitable[int]]]:
    ticket = await gate.at.ticket()
    return {
        name: _asking(gate, ticket, peer=ELSEWHERE, headers={name: value}) for name, value in FORWARDED.items()
    }  # fmt: skip


def believing_every_address(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Config, "may_call", lambda *_: True)


def believing_headers(patch: pytest.MonkeyPatch) -> None:
    def address(request: Any) -> str:
        said = next((request.headers[name] for name in FORWARDED if name in request.headers), request.client.host)
        return str(said).removeprefix("for=")

    patch.setattr(media, "client_address", address)


# What is asked

ACTIONS = ("publish", "playback", "api", "metrics", "pprof", "", "READ", " read", "read ", "read\0", "read,publish")
PROTOCOLS = ("rtmp", "srt", "moq", "", "WEBRTC", "webrtc ", "whep", "rtsps", "file")
NAMES = (
    "../{}", "{}/../{}", "{}/..", "%2e%2e%2f{}", "{}%2f", "..%2f{}", "{}\\", "{}\0", "~{}", "~^{}$", "{}/", "/{}",
    "{}.", "{} ", "{}?token=x", "./{}", "{}\n", "\u202e{}", "{}é", "{}" * 2, "{}#", "x/{}", "{};x",
)  # fmt: skip


async def other_actions(gate: Gate) -> dict[str, Callable[[], Awaitable[int]]]:
    ticket = await gate.at.ticket()
    return {action: _asking(gate, ticket, action=action) for action in ACTIONS}


async def other_protocols(gate: Gate) -> dict[str, Callable[[], Awaitable[int]]]:
    ticket = await gate.at.ticket()
    return {protocol: _asking(gate, ticket, protocol=protocol) for protocol in PROTOCOLS}


async def other_names(gate: Gate) -> dict[str, Callable[[], Awaitable[int]]]:
    ticket, path = await gate.at.ticket(), gate.at.path()
    return {name: _asking(gate, ticket, path=name.replace("{}", path)) for name in NAMES}


async def other_cameras(gate: Gate) -> dict[str, Callable[[], Awaitable[int]]]:
    """Good names, good tokens, of different things."""
    at, ticket = gate.at, await gate.at.ticket()
    other = await factories.camera(at.database, at.district)
    return {
        "camera": _asking(gate, ticket, path=at.path(other)),
        "profile": _asking(gate, ticket, path=at.path(profile="sub")),
        "gateway": _asking(gate, ticket, path=name_of(at.keys, "elsewhere", at.camera, "main")),
    }


def asking_always_to_read(patch: pytest.MonkeyPatch) -> None:
    real = Question.read
    patch.setattr(Question, "read", lambda body: replace(real(body), action="read", protocol="whep"))


def finding_the_name_in_it(patch: pytest.MonkeyPatch) -> None:
    def lenient(keys: Keys, gateway: str, name: str) -> Any:
        found = re.search(r"gw[a-z2-7]{42}", unquote(name))
        return read_name(keys, gateway, found[0]) if found else None

    patch.setattr(admission, "read_name", lenient)


def believing_the_token_about_the_path(patch: pytest.MonkeyPatch) -> None:
    real = Admission._answer

    async def answer(self: Admission, question: Question) -> int:
        ticket = admission.urls.read(self._keys, question.token)
        meant = name_of(self._keys, self._config.name, ticket.camera_id, ticket.profile)
        return await real(self, replace(question, path=meant))

    patch.setattr(Admission, "_answer", answer)


# Again, and afterwards


async def an_answer_used_for_another_session(gate: Gate) -> bool:
    """A question that was answered by a yes, again in the name of another session: that one has no view."""
    ticket, first, second = await gate.at.ticket(), str(uuid4()), str(uuid4())
    assert await gate.ask(ticket, id=first) == 204
    answer = await gate.ask(ticket, id=second)
    refs = [row["session_ref"] for row in await gate.at.views()]
    return answer == 204 and not any(second in ref.split(" ") for ref in refs)


def any_session_is_that_session(patch: pytest.MonkeyPatch) -> None:
    async def is_of(*_: Any) -> bool:
        return True

    patch.setattr(Admission, "_is_of", is_of)
    mine = "($6 = ANY(string_to_array(session_ref, ' '))"
    without(patch, admission, "_ABOUT", mine, instead="($6::text IS NOT NULL")


async def a_walls_url(gate: Gate) -> dict[str, Callable[[], Awaitable[int]]]:
    """What stands on a wall is written down by the hour, which only the embedded gateway does."""
    found = {}
    for protocol in PLAYERS:
        ticket = await gate.at.ticket()
        await gate.town.sql("UPDATE grants SET manifested = true WHERE id = $1", ticket.grant_id)
        found[f"{protocol}, new session"] = _asking(gate, ticket, protocol=protocol)
        found[f"{protocol}, no session"] = _asking(gate, ticket, protocol=protocol, id=None)
    return found


def showing_walls(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(admission, "_refuse_walls", lambda _: None)


async def from_another_place(gate: Gate) -> dict[str, Callable[[], Awaitable[int]]]:
    """A console's token, at another player's address."""
    found = {}
    for protocol in PLAYERS:
        ticket = await gate.at.ticket()
        assert await gate.ask(ticket, protocol=protocol) == 204
        found[protocol] = _asking(gate, ticket, protocol=protocol, ip="198.51.100.77")
    return found


def playing_for_everybody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(views, "check", lambda *_, **__: None)


async def after_the_end(gate: Gate) -> dict[str, Callable[[], Awaitable[int]]]:
    """The same session once more, a new one, and one that only looks; after the permission was taken back."""
    found = {}
    for protocol in PLAYERS:
        ticket, session = await gate.at.ticket(), str(uuid4())
        assert await gate.ask(ticket, protocol=protocol, id=session) == 204
        await gate.at.revoke(ticket)
        found[f"{protocol}, same session"] = _asking(gate, ticket, protocol=protocol, id=session)
        found[f"{protocol}, new session"] = _asking(gate, ticket, protocol=protocol)
        found[f"{protocol}, no session"] = _asking(gate, ticket, protocol=protocol, id=None)
    return found


AFTER = tuple(f"{protocol}, {which} session" for protocol in PLAYERS for which in ("same", "new", "no"))


def never_looking_whether_it_was_revoked(patch: pytest.MonkeyPatch) -> None:
    without(patch, views, "_PERMIT", " AND g.revoked_at IS NULL")


# What is sent


async def large_bodies(gate: Gate) -> dict[str, Callable[[], Awaitable[int]]]:
    """A good question with much more beside it."""
    ticket = await gate.at.ticket()
    return {
        f"{size} bytes": _asking(gate, ticket, userAgent="x" * size) for size in (20_000, 200_000, 10_000_000)
    }  # fmt: skip


def reading_everything(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(media, "MOST_BYTES", 1 << 30)
    patch.setattr(admission, "MOST_BYTES", 1 << 30)


async def test_nonsense_is_refused_without_an_accident(gate: Gate) -> None:
    good = orjson.dumps({"action": "read", "protocol": "webrtc", "id": str(uuid4()), "path": gate.at.path()})
    nonsense = [
        b"", b"\0", b"null", b"[]", b"7", b'"read"', b"{", good + good, good[:-1], b"[" * 12_000, b'{"a":' * 5_000,
        b'{"action": ["read"]}', b'{"action": "read", "ip": "1.2.3"}', b'{"action": "read", "ip": 1}', b"\xff" * 100,
        b'{"action": "read", "query": "' + b"token=x&" * 1_000 + b'"}', b'{"id": "' + b"0" * 9_000 + b'"}',
        b'{"ip": "::1%eth0", "action": "read"}', b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///'>]>",
    ]  # fmt: skip
    before = await gate.views()
    assert {await gate.post(body) for body in nonsense} == {403}
    assert await gate.views() == before


# The door at which cameras are pulled


async def describe(gate: Gate, path: str, *, peer: str = HERE) -> bool:
    """Whether the door describes the camera's picture."""
    url = gate.driver._door.url(path)  # type: ignore[union-attr]
    return await describe_at(url, peer)


async def describe_at(url: str, peer: str = HERE) -> bool:
    port = int(url.split(":")[2].split("/", maxsplit=1)[0])
    reader, writer = await asyncio.open_connection(HERE, port, local_addr=(peer, 0))
    try:
        writer.write(f"DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\n\r\n".encode())
        said = await asyncio.wait_for(reader.read(4096), 10)
    except ConnectionError:
        return False
    finally:
        writer.transport.abort()
    return b"RTSP/1.0 200" in said and b"m=video" in said


async def with_a_camera(gate: Gate) -> None:
    at = gate.at
    await factories.source(at.database, at.keys, at.camera, gate.town.simulator.url("cam/1"))


async def pulling_without_a_view(gate: Gate) -> bool:
    await with_a_camera(gate)
    async with gate.at.database.bare.acquire() as connection:
        await connection.execute("UPDATE views SET closed_at = now() WHERE gateway = $1", gate.at.name)
    return await describe(gate, gate.at.path())


def finding_every_camera(patch: pytest.MonkeyPatch) -> None:
    without(
        patch, door, "_STANDS_OPEN",
        "SELECT EXISTS (SELECT FROM views\n    WHERE gateway = $1 AND camera_id = $2 AND profile = $3"
        " AND closed_at IS NULL AND preempted_by IS NULL)",
        instead="SELECT $1::text <> '' AND $2::uuid IS NOT NULL AND $3::text <> ''",
    )  # fmt: skip


async def watched(gate: Gate) -> None:
    await with_a_camera(gate)
    assert await gate.ask(await gate.at.ticket()) == 204
    assert await describe(gate, gate.at.path()), "with a view the door opens"


async def pulling_without_the_secret(gate: Gate) -> list[str]:
    await watched(gate)
    url = gate.driver._door.url(gate.at.path())  # type: ignore[union-attr]
    base, _, secret = url.rpartition("/")
    wrong = {"wrong": "0" * len(secret), "short": secret[:-1], "of the callback": gate.at.callback.rpartition("/")[2]}
    return [name for name, one in wrong.items() if await describe_at(f"{base}/{one}")]


async def pulling_from_another_address(gate: Gate) -> bool:
    await watched(gate)
    return await describe(gate, gate.at.path(), peer=ELSEWHERE)


Tries = Callable[[Gate], Awaitable[Through]]
ATTACKS = [
    Attack("secrets of others", in_variants(secrets_of_others),
           lambda patch: believing_every_signature(patch, admission), SECRETS),
    Attack("from another address", in_variants(from_another_address), believing_every_address, ("plainly",)),
    Attack("from another address in disguise", in_variants(from_another_address_in_disguise), believing_headers,
           tuple(FORWARDED)),
    Attack("other actions than to read", in_variants(other_actions), asking_always_to_read, ACTIONS),
    Attack("other protocols", in_variants(other_protocols), asking_always_to_read, PROTOCOLS),
    Attack("names around the name", in_variants(other_names), finding_the_name_in_it, NAMES),
    Attack("another camera's name", in_variants(other_cameras), believing_the_token_about_the_path,
           ("camera", "profile", "gateway")),
    Attack("an answer used for another session", an_answer_used_for_another_session, any_session_is_that_session),
    Attack("a wall's url", in_variants(a_walls_url), showing_walls, tuple(
        f"{protocol}, {which} session" for protocol in PLAYERS for which in ("new", "no")
    )),
    Attack("a console's token at another place", in_variants(from_another_place), playing_for_everybody, PLAYERS),
    Attack("after the end", in_variants(after_the_end), never_looking_whether_it_was_revoked, AFTER),
    Attack("large bodies", in_variants(large_bodies), reading_everything,
           ("20000 bytes", "200000 bytes", "10000000 bytes")),
    Attack("a camera pulled without a view", pulling_without_a_view, finding_every_camera),
    Attack("a camera pulled without the secret", pulling_without_the_secret,
           lambda patch: believing_every_signature(patch, door), ("wrong", "short", "of the callback")),
    Attack("a camera pulled from another address", pulling_from_another_address, believing_every_address),
]  # fmt: skip


@against_the_house(ATTACKS)
async def test_the_house_withstands(attack: Attack, gate: Gate) -> None:
    await attack.withstood(gate)


@without_its_guard(ATTACKS)
async def test_without_its_guard_it_falls(attack: Attack, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    await attack.got_through(gate, monkeypatch)


async def test_without_any_secret_there_is_no_such_door(gate: Gate) -> None:
    assert await in_variants(without_any_secret)(gate) == []


async def test_the_embedded_gateway_is_asked_by_nobody(town: Town) -> None:
    """The house's own gateway has a name too, and a secret would fit it."""
    body = {"action": "read", "protocol": "webrtc", "id": str(uuid4()), "ip": HERE, "path": "x"}
    for name in (town.house.edge.name, "..", "%2e%2e", "%2f", "x"):
        answer = await town.client.post(callback_path(town.keys, name), json=body)
        assert answer.status_code in (403, 404), name
