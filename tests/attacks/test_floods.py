"""More of everything: cameras, references, bodies, headers, openings at once, readers who do not read."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from app import answers, fanout, transports
from app.fanout import LiveListener
from app.routers import grants as door
from app.streams import grants, limits, views
from app.streams.embedded.edge import Edge
from app.streams.embedded.snapshot import Snapshots
from app.streams.views import Asking
from tests.attacks import raw
from tests.attacks.attack import Attack, against_the_house, without_its_guard
from tests.attacks.town import EMERGENCY, HERE, INVESTIGATION, Town
from tests.streams.opening import MANY, carrier, opened
from tests.streams.playing import Film, FilmPull, HandEdge, HandPulls, doors, film
from tests.streams.watching import until

MIB = 1 << 20

# Requests that are too large


async def more_than_a_wall(town: Town) -> list[str]:
    """More cameras, or more of a reason, than one request has: nothing of it is granted."""
    who, one = await town.visitor(), str(town.camera)
    long = {"kind": "letter", "number": "1" * 101}
    asked: dict[str, Any] = {
        "65 cameras": {"camera_ids": [one, *(str(uuid4()) for _ in range(64))]},
        "a camera twice": {"camera_ids": [one, one]},
        "a camera 64 times": {"camera_ids": [one] * 64},
        "11 references": {"camera_ids": [one], "references": [{"kind": "112", "number": "1"}] * 11},
        "a long reference": {"camera_ids": [one], "references": [long]},
        "a reference with line breaks": {"camera_ids": [one], "references": [{"kind": "x", "number": "1\r\n2"}]},
    }
    through = []
    for name, body in asked.items():
        answer = await town.client.post("/v1/grants", json={**EMERGENCY, **body}, headers=who.headers)
        assert answer.status_code in (201, 422), (name, answer.text)
        through += [name] if answer.status_code == 201 else []
    return through


TOO_MUCH = (
    "65 cameras", "a camera twice", "a camera 64 times", "11 references", "a long reference",
    "a reference with line breaks",
)  # fmt: skip


def taking_as_much_as_comes(patch: pytest.MonkeyPatch) -> None:
    route = next(one for one in door.footage.routes if getattr(one, "path", "") == "/grants")
    kind = type(route.body_field)  # type: ignore[attr-defined]
    real = kind.validate

    def validate(self: Any, value: Any, *more: Any, **named: Any) -> Any:
        if self.field_info.annotation is not door.Asked:
            return real(self, value, *more, **named)
        said = {**value, "camera_ids": list(dict.fromkeys(map(UUID, value["camera_ids"])))}
        said["references"] = [door.Reference.model_construct(**one) for one in value.get("references", [])]
        return door.Asked.model_construct(**said), []

    patch.setattr(kind, "validate", validate)
    patch.setattr(grants, "check", lambda _: None)


async def bodies_without_end(town: Town) -> list[str]:
    """Five mebibytes, said to be so, and in chunks of which nobody says how many they are."""
    who = await town.visitor()
    body = b'{"camera_ids": [], "x": "' + b"y" * (5 * MIB) + b'"}'

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 64 * 1024):
            yield body[at : at + 64 * 1024]

    through = []
    for name, content in (("in one piece", body), ("in chunks", chunks())):
        answer = await town.client.post("/v1/grants", content=content, headers=who.headers)
        through += [name] if answer.status_code != 413 else []
    return through


def reading_all_of_it(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(answers, "bounded", lambda receive, _most: receive)


async def heads_without_end(town: Town) -> list[str]:
    """A head of eight mebibytes that does not end; nobody has to be anybody for that."""
    begun = b"GET /v/x/live.mp4 HTTP/1.1\r\nHost: x\r\n"
    line = b"X-%06d: " + b"a" * 1000 + b"\r\n"
    pieces = {
        "many headers": (begun, lambda n: b"".join(line % (n * 64 + m) for m in range(64))),
        "one long header": (begun + b"X: ", lambda _: b"a" * 65_536),
        "a long target": (b"GET /v/", lambda _: b"a" * 65_536),
    }
    return [name for name, (head, piece) in pieces.items() if await _is_read(town.host, head, piece, 8 * MIB)]


async def _is_read(host: str, head: bytes, piece: Callable[[int], bytes], size: int) -> bool:
    """Whether the house goes on reading, without a word, until so much was sent."""
    reader, writer = await asyncio.open_connection(*host.split(":"))
    sent = 0
    try:
        writer.write(head)
        while sent < size:
            writer.write(data := piece(sent))
            sent += len(data)
            await asyncio.wait_for(writer.drain(), 5)
            if reader.at_eof() or reader._buffer:  # type: ignore[attr-defined]
                return False
    except (ConnectionError, TimeoutError):
        return False
    finally:
        writer.transport.abort()
    return True


def heads_of_any_size(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transports, "MOST_HEAD_BYTES", 1 << 40)


IMPATIENT_SECONDS = 0.3


async def half_a_head(town: Town) -> bool:
    """A request that is never finished must not hold its connection for ever: some thousands of them hold them all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transports, "HEAD_SECONDS", IMPATIENT_SECONDS)
        reader, writer = await asyncio.open_connection(*town.host.split(":"))
        try:
            writer.write(b"GET /v/x/live.mp4 HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            await asyncio.wait_for(reader.read(), 1.5)
        except ConnectionError:
            return False
        except TimeoutError:
            return True
        finally:
            writer.transport.abort()
    return False


def waiting_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(globals(), "IMPATIENT_SECONDS", 600.0)


async def test_ten_thousand_cameras_and_nested_nonsense_are_refused_at_once(town: Town) -> None:
    who = await town.own("shift_lead")
    many = [str(uuid4()) for _ in range(10_000)]
    for path, body in {
        "/v1/grants": {"camera_ids": many, **EMERGENCY},
        "/v1/walls": {"camera_ids": many},
        "/v1/approvals": {"camera_ids": many, **INVESTIGATION},
        "/v1/tours": {"name": "x", "steps": [{"camera_ids": many, "seconds": 30}]},
    }.items():
        answer = await town.client.post(path, json=body, headers=who.headers)
        assert answer.status_code == 422, (path, answer.text)
        assert len(answer.content) < 20_000, "an answer is not a copy of the question"
        for deep in (b"[" * 100_000, b'{"a":' * 100_000, b'{"camera_ids":' + b"[" * 50_000):
            answer = await town.client.post(path, content=deep, headers=who.headers)
            assert answer.status_code in (400, 422), (path, answer.text)


# Openings at once


async def openings_at_once(town: Town, count: int = 60) -> bool:
    """One URL, opened so often at the same time: one player may remain. True when more do, or a view stays open."""
    grant = await town.granted(await town.visitor())
    remaining = await _remaining(town, grant.token, count)
    for _ in range(200):
        if await town.open_views(grant.id) == 0:
            break
        await asyncio.sleep(0.1)
    left = await town.open_views(grant.id)
    assert left == 0 or remaining > 1, f"{left} views stay open though nobody watches"
    return remaining > 1


async def _remaining(town: Town, token: str, count: int) -> int:
    async def opening() -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        reader, writer = await asyncio.open_connection(*town.host.split(":"))
        writer.write(f"GET /v/{token}/live.mp4 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        except (ConnectionError, asyncio.IncompleteReadError):
            return None
        status = int(head.split(b" ", 2)[1])
        assert status in (200, 403, 429, 503), head
        if status == 200:
            return reader, writer
        writer.transport.abort()
        return None

    lines = [one for one in await asyncio.gather(*(opening() for _ in range(count))) if one is not None]
    assert lines, "somebody gets in"
    fed = await asyncio.gather(*(_is_fed(reader) for reader, _ in lines))
    for _, writer in lines:
        writer.transport.abort()
    return sum(fed)


async def _is_fed(reader: asyncio.StreamReader, seconds: float = 1.5) -> bool:
    """Whether pictures still come when so much time has gone by."""
    until_then = asyncio.get_running_loop().time() + seconds
    try:
        while asyncio.get_running_loop().time() < until_then:
            if not await asyncio.wait_for(reader.read(65_536), 5):
                return False
    except (ConnectionError, TimeoutError):
        return False
    return True


def taking_nobodys_place(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(views, "TAKEN_OVER", "said_to_nobody")


@pytest.mark.slow
async def test_a_thousand_openings_at_once(town: Town) -> None:
    assert not await openings_at_once(town, 1000)


async def test_of_two_openings_at_once_one_goes_on(town: Town) -> None:
    """Who can make two requests must not be able to end both: the one that was committed last goes on."""
    for _ in range(3):
        grant = await town.granted(await town.visitor())
        assert await _remaining(town, grant.token, 2) == 1


async def more_views_than_a_person_may(town: Town) -> bool:
    """Different URLs of one person, opened at the same moment: all are counted before the first is committed."""
    who = await town.visitor()
    tickets = [(await town.granted(who)).ticket for _ in range(4)]
    at = await carrier(town.database, replace(MANY, person=2))
    real, counted, all_counted = limits.admit, 0, asyncio.Event()

    async def admit(*said: Any) -> list[UUID]:
        nonlocal counted
        found = await real(*said)
        counted += 1
        if counted == len(tickets):
            all_counted.set()
        with suppress(TimeoutError):  # where they take turns, the others do not come so far
            await asyncio.wait_for(all_counted.wait(), 0.5)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "admit", admit)
        outcomes = await asyncio.gather(
            *(opened(town.house.writer, ticket, at, peer=HERE) for ticket in tickets), return_exceptions=True
        )
    return sum(not isinstance(one, BaseException) for one in outcomes) > 2


def counting_nobody(patch: pytest.MonkeyPatch) -> None:
    async def admit(*_: Any) -> list[UUID]:
        return []

    patch.setattr(limits, "admit", admit)


async def pictures_that_break(town: Town) -> bool:
    """An accident while a picture is made must not leave its view open: views are counted, so places would run out."""
    grant = await town.granted(await town.visitor())

    async def broken(*_: Any) -> bytes:
        raise RuntimeError("an accident")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Snapshots, "jpeg", broken)
        answer = await raw.ask(town.host, f"/v/{grant.token}/snapshot.jpg")
    assert answer.status == 500
    for _ in range(20):
        if await town.open_views(grant.id) == 0:
            return False
        await asyncio.sleep(0.05)
    return True


def leaving_an_accidents_view_open(patch: pytest.MonkeyPatch) -> None:
    async def snapshot(self: Edge, token: str, asking: Asking) -> bytes:
        player = await self.open(token, asking)
        picture = await self._snapshots.of(player)
        player.end("client")
        return picture

    patch.setattr(Edge, "snapshot", snapshot)


# Readers who do not read


def asking_and_not_reading(host: str) -> socket.socket:
    """A client that asks for the channel and then reads nothing."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect((HERE, int(host.split(":")[1])))
    made.sendall(f"GET /v/{'t' * 80}/live.mp4 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return made


async def readers_who_do_not_read(_: Town) -> list[str]:
    """Twenty of them, at a channel of large pictures: what waits for each is bounded, and in the end they have to go."""
    shown = film()
    large = [replace(one, data=one.data + bytes(200_000)) for one in shown.fragments]
    pulls = HandPulls([FilmPull(Film(shown.init, large * 3))])
    edge, most = HandEdge(pulls), 0
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setattr(fanout, "BEHIND_SECONDS", 0.2)
        async with doors(edge) as host:
            for count in range(1, 21):
                stack.enter_context(closing(asking_and_not_reading(host)))
                await until(lambda count=count: len(edge.players) == count)
            await until(lambda: all(player._listener for player in edge.players))
            lines = [player._listener.transport for player in edge.players if player._listener]
            assert pulls.now is not None
            for _ in range(100):
                pulls.now.give(1)
                await asyncio.sleep(0.005)
                most = max(most, *(line.get_write_buffer_size() for line in lines if not line.is_closing()), 0)
            patient = [player for player in edge.players if not player.ended.done()]
    return [*(["memory"] if most > 4 * MIB else []), *(["patience"] if patient else [])]


def writing_to_everybody(patch: pytest.MonkeyPatch) -> None:
    def offer(listener: LiveListener, frame: bytes, _limit: int, **_: Any) -> bool:
        listener._put(frame)
        return True

    patch.setattr(LiveListener, "offer", offer)


ATTACKS = [
    Attack("more than a wall", more_than_a_wall, taking_as_much_as_comes, TOO_MUCH),
    Attack("bodies without end", bodies_without_end, reading_all_of_it, ("in one piece", "in chunks")),
    Attack("heads without end", heads_without_end, heads_of_any_size,
           ("many headers", "one long header", "a long target")),
    Attack("half a head", half_a_head, waiting_for_ever),
    Attack("openings at once", openings_at_once, taking_nobodys_place),
    Attack("more views than a person may", more_views_than_a_person_may, counting_nobody),
    Attack("pictures that break", pictures_that_break, leaving_an_accidents_view_open),
    Attack("readers who do not read", readers_who_do_not_read, writing_to_everybody, ("memory", "patience")),
]  # fmt: skip


@against_the_house(ATTACKS)
async def test_the_house_withstands(attack: Attack, town: Town) -> None:
    await attack.withstood(town)


@without_its_guard(ATTACKS)
async def test_without_its_guard_it_falls(attack: Attack, town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    await attack.got_through(town, monkeypatch)
