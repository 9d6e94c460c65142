"""Planted secrets, and everything that could tell one: answers, logs, numbers, the contract, rows, processes."""

import asyncio
import io
import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import make_url
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from app import answers, logs, main, metrics
from app.database import Database
from app.errors import CameraOffline
from app.keys import Keys
from app.routers import streams as door
from app.settings import Settings
from app.streams.embedded import rtsp_proxy
from app.streams.embedded.camera_pull import CameraPull
from app.streams.embedded.channels import Channels
from app.streams.mediamtx import Config
from app.streams.views import Asking, proof_of
from tests import factories
from tests.attacks.attack import Attack, against_the_house, without_its_guard
from tests.attacks.town import CAMERA_PASSWORD, CHILDREN, Town
from tests.processes import free_port
from tests.streams.mediamtx.fake import FakeMediaMtx
from tests.streams.mediamtx.scene import Scene, scene
from tests.streams.watching import children

pytestmark = pytest.mark.slow

PLACES = ("answers", "log", "metrics", "contract", "audit", "rows", "processes")
# The test's own clients live in the same process; what they say is not the house's.
NOT_THE_HOUSE = ("httpx", "httpcore", "websockets.client", "tests")


@dataclass
class Evidence:
    """The secrets that were planted, and what was found in each place."""

    canaries: dict[str, str] = field(default_factory=dict)
    found: dict[str, str] = field(default_factory=dict)

    def told(self, answer: httpx.Response) -> httpx.Response:
        """Keep an answer that has no business to tell a secret."""
        said = f"{answer.status_code} {answer.headers.multi_items()} {answer.text}"
        self.found["answers"] = self.found.get("answers", "") + said
        return answer

    @property
    def leaks(self) -> list[str]:
        """The secrets that are told, each with the place."""
        return [
            f"{place}: {name}"
            for place, text in self.found.items()
            for name, value in self.canaries.items()
            if value in text or quote(value, safe="") in text
        ]


@contextmanager
def logged() -> Iterator[io.StringIO]:
    """Every record of the house at DEBUG, as it is written, whatever other servers of this process have quietened."""
    written, handler = io.StringIO(), logging.StreamHandler()
    handler.setStream(written)
    handler.setFormatter(logs.JsonFormatter())
    handler.addFilter(lambda record: not record.name.startswith(NOT_THE_HOUSE))
    loggers = [logging.getLogger(name) for name in (None, "uvicorn", "uvicorn.error")]
    before = [(logger, logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
        logger.propagate = True
    loggers[0].addHandler(handler)
    try:
        yield written
    finally:
        loggers[0].removeHandler(handler)
        for logger, level, propagate in before:
            logger.setLevel(level)
            logger.propagate = propagate


async def listened(town: Town, evidence: Evidence, token: str, proof: str = "") -> None:
    """A socket that is refused: all that it is told."""
    query = f"?proof={quote(proof)}" if proof else ""
    with suppress(WebSocketException):
        async with (
            asyncio.timeout(15),
            connect(f"ws://{town.host}/v/{token}/mse{query}", proxy=None, close_timeout=0.2) as socket,
        ):
            async for said in socket:
                if isinstance(said, bytes):
                    socket.transport.abort()
                    return
                evidence.found["answers"] += said


async def exercised(town: Town, gate: Scene) -> Evidence:
    """Everything that goes well, and everything that goes wrong, with a secret in it wherever one can be."""
    evidence, began = Evidence(), await town.sql("SELECT now()")
    with logged() as written:
        await signing_in(town, evidence)
        await playing(town, evidence)
        await failing_cameras(town, evidence)
        await accidents(town, evidence)
        await gateways(gate, evidence)
        evidence.found["log"] = written.getvalue()
    assert "< GET" in evidence.found["log"], "the server tells its WebSockets' requests at this level"
    evidence.found["metrics"] = (await town.client.get("/metrics")).text
    evidence.found["contract"] = (await town.client.get("/openapi.json")).text
    evidence.found["audit"] = str(
        await town.sql("SELECT array_agg(x::text) FROM audit_entries x WHERE at >= $1", began)
    )
    rows = [
        await town.sql(f"SELECT array_agg(x::text) FROM {table} x")
        for table in ("views", "grants", "showings", "gateways", "sessions", "terminals", "stream_sources")
    ]
    evidence.found["rows"] = str(rows)
    settings = town.house.settings
    evidence.canaries |= {
        "camera password": CAMERA_PASSWORD, "login password": factories.PASSWORD,
        "database password": make_url(settings.database_url).password or "no password", "deployment key":
        settings.secret_key.decode("latin-1"), "gateway password": gate.config.password,
        "callback secret": gate.callback.rpartition("/")[2],
    }  # fmt: skip
    return evidence


async def signing_in(town: Town, evidence: Evidence) -> None:
    person, key = await factories.person(town.database, town.police, "field"), f"gwt_{uuid4().hex}{uuid4().hex}"
    tablet = await town.signed_in(person, device_key=key)
    login = {"login": person.login, "password": factories.PASSWORD, "terminal_key": key}
    token = (await town.client.post("/v1/sessions", json=login)).json()["access_token"]
    evidence.canaries |= {"device key": key, "bearer token": token, "first bearer token": tablet.token}
    for wrong in ({"password": "canary-of-a-typo"}, {"terminal_key": key[:-1]}, {"terminal_key": 7}, {"login": "\0"}):
        evidence.told(await town.client.post("/v1/sessions", json=login | wrong))
    evidence.told(await town.client.get("/v1/me", headers={"Authorization": f"Bearer {token}"}))
    evidence.told(await town.client.get("/v1/me", headers={"Authorization": f"Basic {token}"}))
    evidence.told(await town.client.get(f"/v1/me?access_token={token}"))
    evidence.canaries["mistyped password"] = "canary-of-a-typo"


async def playing(town: Town, evidence: Evidence) -> None:
    """At a tablet, with its proof and without; by a good token and by ones that are almost good."""
    tablet = await town.visitor("field", device_key=f"gwt_{uuid4().hex}")
    grant = await town.granted(tablet)
    proof = proof_of(tablet.device_key, grant.id, town.camera)
    evidence.canaries |= {"stream token": grant.token, "proof": proof, "tablet's key": tablet.device_key}
    for child in CHILDREN:
        assert await town.plays(grant.token, child, proof=proof), child
    for child in ("live.mp4", "index.m3u8", "init.mp4", "1.m4s", "snapshot.jpg", "nothing"):
        evidence.told(await town.client.get(f"/v/{grant.token}/{child}"))
        evidence.told(await town.client.get(f"/v/{grant.token[:-4]}AAAA/{child}?proof={proof}"))
    await listened(town, evidence, grant.token)
    await listened(town, evidence, grant.token[:-4] + "AAAA", proof)
    evidence.told(await town.client.get(f"/v/{grant.token}/live.mp4", params={"proof": proof * 9}))
    evidence.told(await town.client.get("/v1/views", headers=tablet.headers))
    evidence.told(await town.client.delete(f"/v1/grants/{grant.id}", headers=tablet.headers))
    evidence.told(await town.client.get(f"/v/{grant.token}/live.mp4", params={"proof": proof}))


async def failing_cameras(town: Town, evidence: Evidence) -> None:
    """One that plays, one offline, one with wrong credentials, one that is none; and an address that is refused."""
    operator, admin = await town.own(), await town.own("admin")
    good = town.simulator.url("cam/1")
    wrong = good.replace(CAMERA_PASSWORD, "canary-that-does-not-fit")
    evidence.canaries["wrong camera password"] = "canary-that-does-not-fit"
    addresses = {
        "plays": good, "offline": f"rtsp://viewer:{CAMERA_PASSWORD}@127.0.0.1:{free_port()}/cam", "wrong": wrong,
        "none": f"rtsp://viewer:{CAMERA_PASSWORD}@{town.host}/cam",
        "http": f"http://viewer:{CAMERA_PASSWORD}@{town.host}/healthz",
    }  # fmt: skip
    for name, address in addresses.items():
        camera = await factories.camera(town.database, town.district)
        put = await town.client.put(f"/v1/cameras/{camera}/source", json={"url": address}, headers=admin.headers)
        assert evidence.told(put).status_code == 204
        grant = await town.granted(operator, camera)
        evidence.canaries[f"token of {name}"] = grant.token
        if name == "plays":
            assert await town.plays(grant.token, "live.mp4")
            evidence.found["processes"] = _processes()
        else:
            evidence.told(await town.client.get(f"/v/{grant.token}/live.mp4"))
            await listened(town, evidence, grant.token)
        evidence.told(await town.client.get(f"/v1/cameras/{camera}", headers=operator.headers))
    unsafe = f"rtsp://viewer:{CAMERA_PASSWORD}@127.0.0.1:22/"
    body = {"url": unsafe, "profile": unsafe}
    for said in (body, {"url": unsafe}, {"url": [unsafe]}, unsafe):
        evidence.told(
            await town.client.put(f"/v1/cameras/{town.camera}/source", json=said, headers=admin.headers)
        )  # fmt: skip


def _processes() -> str:
    """Command line and environment of every child of this process."""
    said = ""
    for pid in children(os.getpid()):
        for name in ("cmdline", "environ"):
            with suppress(OSError):
                said += Path(f"/proc/{pid}/{name}").read_bytes().decode("utf-8", "replace").replace("\0", " ")
    assert "ffmpeg" in said
    return said


async def accidents(town: Town, evidence: Evidence) -> None:
    """An error of ours whose text knows everything; and a gateway that is being drained."""
    grant = await town.granted(await town.own())
    evidence.canaries["token of an accident"] = grant.token
    real = Channels.open

    async def broken(channels: Channels, name: str, address: str) -> Any:
        raise RuntimeError(f"cannot pull {address} for /v/{grant.token}/live.mp4 (Bearer {grant.holder.token})")

    evidence.canaries["bearer of an accident"] = grant.holder.token
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Channels, "open", broken)
        answer = evidence.told(await town.client.get(f"/v/{grant.token}/snapshot.jpg"))
        assert answer.status_code == 500
        await listened(town, evidence, grant.token)
        patch.setattr(Channels, "open", real)
        patch.setattr(town.house.edge, "_drained", True)
        patch.setattr(town.house.edge, "drain", lambda *, on: None)  # noqa: ARG005 - what the table says of it, each beat
        answer = evidence.told(await town.client.get(f"/v/{grant.token}/live.mp4"))
        assert answer.status_code == 503
        await listened(town, evidence, grant.token)


async def gateways(gate: Scene, evidence: Evidence) -> None:
    """Questions that are answered by yes and no, a gateway that is gone, and one that is described wrongly."""
    driver = gate.driver()
    ticket = await gate.ticket()
    token = gate.token(ticket)
    evidence.canaries["token at a gateway"] = token
    said = {
        "ip": "203.0.113.5", "action": "read", "protocol": "webrtc", "id": str(uuid4()), "path": gate.path(),
        "query": f"token={token}", "password": token,
    }  # fmt: skip
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.post(gate.callback, json=said)).status_code == 204
        for more in ({"action": "publish"}, {"path": token}, {"ip": token}, {"id": token}, {"password": "another"}):
            evidence.told(await client.post(gate.callback, json=said | more))
        evidence.told(await client.post(gate.callback[:-1] + "0", json=said))
    with suppress(Exception):
        await driver.sessions()
    for text in ("mediamtx+http://u:{}@h?door=x", "mediamtx+http://u:{}@h:99999", "mediamtx+ftp://u:{}@h?hls=http://x"):
        try:
            Config.parse(text.format(gate.config.password))
        except ValueError as error:
            evidence.found["answers"] += str(error)


@dataclass(frozen=True)
class Stage:
    town: Town
    gate: Scene


@pytest.fixture(scope="module")
async def stage(
    settings: Settings, keys: Keys, database: Database, database_url: str, town: Town
) -> AsyncIterator[Stage]:
    async with FakeMediaMtx() as fake, scene(settings, keys, database, database_url, fake) as gate:
        yield Stage(town, gate)


async def secrets_told(stage: Stage) -> list[str]:
    evidence = await exercised(stage.town, stage.gate)
    assert set(evidence.found) == set(PLACES)
    assert all(evidence.found.values()), "every place was looked into"
    return evidence.leaks


def a_house_that_chatters(patch: pytest.MonkeyPatch) -> None:
    """Each place tells what it should not: no striking out in logs, addresses in refusals, paths in numbers, …"""
    patch.setattr(logs, "without_secrets", lambda text: text)

    async def unreachable(_protocol: Any, source: Any, *_: Any) -> None:
        raise CameraOffline(f"no way to {source.user}:{source.password}@{source.host}")

    real_connect = rtsp_proxy.connect

    async def connecting(protocol: Any, source: Any, address: str, ca_file: Any = None) -> None:
        try:
            await real_connect(protocol, source, address, ca_file)
        except CameraOffline:
            await unreachable(protocol, source)

    patch.setattr(rtsp_proxy, "connect", connecting)
    real_call = answers.Observed.__call__

    async def counting_paths(observed: Any, scope: Any, receive: Any, send: Any) -> None:
        await real_call(observed, scope, receive, send)
        if scope["type"] == "http":
            metrics.REQUESTS.labels(scope["method"], scope["path"], 0).inc()

    patch.setattr(answers.Observed, "__call__", counting_paths)
    example = {"example": f"rtsp://viewer:{CAMERA_PASSWORD}@10.20.0.7/1"}
    real_contract = main._openapi
    patch.setattr(main, "_openapi", lambda app: {**real_contract(app), "x-source": example})
    patch.setattr(door, "Asking", lambda protocol, peer, proof: Asking(protocol, peer, proof, session_ref=proof))
    real_command = CameraPull._by_rtsp

    async def telling(pull: CameraPull, address: str) -> list[str]:
        command = await real_command(pull, address)
        return [*command[:-1], "-metadata", f"comment={pull._source.password}", command[-1]]

    patch.setattr(CameraPull, "_by_rtsp", telling)


async def test_no_secret_is_told(stage: Stage) -> None:
    assert await secrets_told(stage) == []


async def test_every_place_would_have_told(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    a_house_that_chatters(monkeypatch)
    told = await secrets_told(stage)
    assert {one.partition(":")[0] for one in told} == set(PLACES)


async def a_proof_in_the_log(town: Town) -> bool:
    """The server tells each WebSocket's request at DEBUG; the token is struck out of it, and what goes with it?"""
    tablet = await town.visitor("field", device_key=f"key of {factories.name('tablet')}")
    grant = await town.granted(tablet)
    proof = proof_of(tablet.device_key, grant.id, town.camera)
    with logged() as written:
        assert await town.plays(grant.token, "mse", proof=proof)
    assert "< GET" in written.getvalue()
    return proof in written.getvalue()


async def settings_that_are_wrong(_: Town) -> bool:
    """What the program says when it cannot start: of a gateway's password not a part."""
    password = "".join(f"{n:x}secret" for n in range(16))
    gateway = f"mediamtx+http://user:{password}@127.0.0.1"
    try:
        Settings(gateway=gateway, bind="nowhere")
    except ValueError as error:
        said = logs.without_secrets(str(error))
    return any(password[at : at + 8] in said for at in range(len(password) - 7))


# Where a URL goes by itself


async def footage_that_names_its_url(town: Town) -> list[str]:
    """Answers with footage whose URL a page, a cache or the next server would be told of."""
    grant = await town.granted(await town.visitor())
    through = []
    for child in (child for child in CHILDREN if child != "mse"):
        name = f"{town.segment()}.m4s" if child == "segment" else child
        async with town.client.stream("GET", f"/v/{grant.token}/{name}") as answer:
            assert answer.status_code == 200
            kept = answer.headers.get("cache-control") != "no-store"
            through += [child] if kept or answer.headers.get("referrer-policy") != "no-referrer" else []
    return through


def saying_nothing_of_referrers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(answers, "NO_REFERRER", (b"x-nothing", b""))
    patch.delitem(door.HEADERS, "Referrer-Policy")


async def refusals_that_name_their_url(town: Town) -> list[str]:
    grant = await town.granted(await town.visitor())
    asked = {
        "403": f"/v/{grant.token[:-4]}AAAA/live.mp4", "404": f"/v/{grant.token}/nothing",
        "422": f"/v/{grant.token}/{'9' * 5000}.m4s", "404 segment": f"/v/{grant.token}/1.m4s", "page": "/docs",
    }  # fmt: skip
    through = []
    for name, path in asked.items():
        answer = await town.client.get(path)
        assert str(answer.status_code) == {"page": "200"}.get(name, name[:3])
        through += [name] if answer.headers.get("referrer-policy") != "no-referrer" else []
    return through


def saying_all_in_the_log(patch: pytest.MonkeyPatch) -> None:
    real = logs.without_secrets
    patch.setattr(logs, "without_secrets", lambda text: text if "proof=" in text else real(text))


def showing_what_was_set(patch: pytest.MonkeyPatch) -> None:
    """As it is; once the settings hide it, shown by another way."""
    patch.setattr(logs, "without_secrets", lambda text: text)
    if Settings.model_config.get("hide_input_in_errors"):
        patch.setattr(Settings, "__init__", _telling)


def _telling(_self: Settings, **said: Any) -> None:
    raise ValueError(str(said))


def answering_without_a_word_on_referrers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(answers, "NO_REFERRER", (b"x-nothing", b""))


ATTACKS = [
    Attack("a proof in the log", a_proof_in_the_log, saying_all_in_the_log),
    Attack("settings that are wrong", settings_that_are_wrong, showing_what_was_set),
    Attack("footage that names its url", footage_that_names_its_url, saying_nothing_of_referrers,
           tuple(child for child in CHILDREN if child != "mse")),
    Attack("refusals that name their url", refusals_that_name_their_url, answering_without_a_word_on_referrers,
           ("403", "404", "422", "404 segment", "page")),
]  # fmt: skip


@against_the_house(ATTACKS)
async def test_the_house_withstands(attack: Attack, town: Town) -> None:
    await attack.withstood(town)


@without_its_guard(ATTACKS)
async def test_without_its_guard_it_falls(attack: Attack, town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    await attack.got_through(town, monkeypatch)
