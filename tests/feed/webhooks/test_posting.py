"""One POST: what is sent, and what the worst of receivers can do about it."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from app import clock
from app.feed.webhooks import posting
from app.feed.webhooks.addresses import Allowed, target
from app.feed.webhooks.posting import Answer, post
from app.registry.addresses import networks_of
from tests.feed.webhooks.receiver import Answers, Message, Receiver, saying, status
from tests.streams.authority import Authority

LOOPBACK = Allowed(networks_of("127.0.0.0/8"))
BODY = b'{"a": 1}'


async def posted(receiver: Receiver, allowed: Allowed = LOOPBACK) -> Answer:
    return await post(target(receiver.url, LOOPBACK), allowed, {"webhook-id": "1"}, BODY)


@asynccontextmanager
async def answering(answers: Answers) -> AsyncIterator[Receiver]:
    async with Receiver(answers) as receiver:
        yield receiver


async def test_what_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address whole, the length, nothing kept from before; proxies of the environment are not asked."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with answering(saying(status(200, "Set-Cookie: a=b"))) as receiver:
        first, second = await posted(receiver), await posted(receiver)
    assert first.taken
    assert second.taken
    assert first.problem == ""
    for message in receiver.messages:
        assert message.start == "POST /hook?token=s3cret-in-the-path HTTP/1.1"
        assert message.headers == {
            "host": f"127.0.0.1:{receiver.port}",
            "user-agent": "Gwanje",
            "content-length": str(len(BODY)),
            "accept-encoding": "identity",
            "connection": "close",
            "webhook-id": "1",
        }
        assert message.body == BODY


@pytest.mark.parametrize(
    ("code", "taken"),
    [(200, True), (202, True), (204, True), (299, True), (301, False), (304, False), (400, False), (410, False),
     (429, False), (500, False), (599, False)],
)  # fmt: skip
async def test_only_2xx_takes_a_message(code: int, taken: bool) -> None:
    async with answering(saying(status(code))) as receiver:
        answer = await posted(receiver)
    assert (answer.status, answer.taken) == (code, taken)
    assert answer.problem == ("" if taken else f"status_{code}")


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(code: int) -> None:
    async with Receiver() as elsewhere:
        async with answering(saying(status(code, f"Location: {elsewhere.url}"))) as receiver:
            answer = await posted(receiver)
        assert answer.status == code
        assert not answer.taken
        assert elsewhere.messages == []


async def test_interim_answers_are_passed_over_but_not_for_ever() -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    async with answering(saying(interim * 3 + status(200))) as receiver:
        assert (await posted(receiver)).taken
    async with answering(saying(interim * 50 + status(200))) as receiver:
        assert (await posted(receiver)).problem == "not_http"


@pytest.mark.parametrize(
    "garbage",
    [b"hello\r\n\r\n", b"\x16\x03\x01" * 100, b"HTTP/1.1 two\r\n\r\n", b"HTTP/1.1 200 OK\r\nA" + b"a" * 100_000,
     b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"],
)  # fmt: skip
async def test_what_is_no_answer(garbage: bytes) -> None:
    async with answering(saying(garbage)) as receiver:
        answer = await posted(receiver)
    assert answer.status is None
    assert answer.problem in ("not_http", "closed")


async def test_a_head_that_never_ends() -> None:
    """It is refused when it is too large, long before the time is over."""
    sent = 0

    async def flood(_: Message, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"A: b\r\n" * 1000)
            sent += 6000
            await writer.drain()

    async with answering(flood) as receiver:
        answer = await posted(receiver)
    assert answer.problem == "not_http"
    assert sent < 20_000_000, "what the system's own buffers hold, and no more"


async def test_receivers_that_close_or_are_not_there() -> None:
    async def close(_: Message, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with answering(saying(b"")) as receiver:
        assert (await posted(receiver)).problem == "closed"
    async with answering(close) as receiver:
        assert (await posted(receiver)).problem == "closed"
    assert (await posted(receiver)).problem == "unreachable"


async def test_the_status_decides_whatever_comes_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that drips, never ends, or is endless: read within bounds, and thrown away."""
    monkeypatch.setattr(posting, "BODY_SECONDS", 0.2)
    sent = 0

    async def drip(_: Message, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            writer.write(b"a")
            await asyncio.sleep(0.02)

    async def flood(_: Message, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"a" * 65536)
            sent += 65536
            await writer.drain()

    async with answering(drip) as receiver:
        answer = await posted(receiver)
        assert answer.taken
        assert 0 < len(answer.said) < 1000
    async with answering(flood) as receiver:
        answer = await posted(receiver)
        assert answer.taken
        assert len(answer.said) == posting.MOST_BODY_BYTES
    assert sent < 20_000_000, "what the system's own buffers hold, and no more"


async def test_a_bomb_is_not_unpacked() -> None:
    async with answering(saying(status(200, "Content-Encoding: gzip", body=b"\x1f\x8b" + b"x" * 100))) as receiver:
        assert (await posted(receiver)).said == b"\x1f\x8b" + b"x" * 100


async def test_nobody_is_waited_for_longer_than_the_whole_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence before the answer, in the middle of its head, and a head that drips."""
    monkeypatch.setattr(posting, "WHOLE_SECONDS", 0.4)

    async def silent(_: Message, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async def half(_: Message, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nA: ")
        await asyncio.sleep(30)

    async def dripping(_: Message, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nA: ")
        while True:
            writer.write(b"a")
            await asyncio.sleep(0.01)

    for bad in (silent, half, dripping):
        async with answering(bad) as receiver:
            answer = await posted(receiver)
            assert answer.problem == "timeout", bad.__name__
            assert 400 <= answer.milliseconds < 4000


async def test_a_connection_that_does_not_come_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "CONNECT_SECONDS", 0.2)

    async def never(*_: object, **__: object) -> None:
        await asyncio.sleep(30)

    monkeypatch.setattr(asyncio, "open_connection", never)
    assert (await post(target("http://127.0.0.1:81/", LOOPBACK), LOOPBACK, {}, BODY)).problem == "connect_timeout"


async def test_an_address_that_is_no_longer_allowed_is_not_connected_to() -> None:
    async with Receiver() as receiver:
        assert (await posted(receiver, Allowed())).problem == "address_refused"
        assert receiver.messages == []


async def test_a_name_that_changes_its_mind_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that was judged is the one that is connected to; the name is asked once for each connection."""
    loop, asked = asyncio.get_running_loop(), 0
    real = loop.getaddrinfo

    async def getaddrinfo(host: object, port: object, **more: object) -> object:
        nonlocal asked
        if host != "rebinding.example":
            return await real(host, port, **more)
        asked += 1
        return await real("127.0.0.1" if asked == 1 else "127.0.0.2", port, **more)

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    allowed = Allowed(networks_of("127.0.0.1/32"))
    async with Receiver() as receiver:
        url = f"http://rebinding.example:{receiver.port}/"
        assert (await post(target(url, allowed), allowed, {}, BODY)).taken
        assert receiver.messages[0].headers["host"] == f"rebinding.example:{receiver.port}"
        assert (await post(target(url, allowed), allowed, {}, BODY)).problem == "address_refused"
        assert len(receiver.messages) == 1


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("120", 120), ("999999999999", 3600), ("0", 0), ("-5", 0), ("1.5", 0), ("\u0661", 0), ("", 0), ("soon", 0),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("Wed, 99 Oct 2015 07:28:00 GMT", 0), ("Fri, 31 Dec 9999 23:59:59 GMT", 3600)],
)  # fmt: skip
async def test_how_long_to_wait_is_believed_within_an_hour(said: str, seconds: int) -> None:
    async with answering(saying(status(503).replace(b"\r\n", f"\r\nRetry-After: {said}\r\n".encode(), 1))) as receiver:
        answer = await posted(receiver)
    assert answer.status == 503 or said == "\u0661"
    assert answer.retry_after_seconds == seconds


async def test_a_date_to_wait_for() -> None:
    date = format_datetime(clock.now() + timedelta(minutes=5), usegmt=True)
    async with answering(saying(status(503, f"Retry-After: {date}"))) as receiver:
        assert 290 <= (await posted(receiver)).retry_after_seconds <= 300


async def test_the_certificate_must_be_trusted_and_for_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    context = ssl.create_default_context(cafile=str(authority.file))
    async with Receiver(tls=authority.server("127.0.0.1")) as receiver:
        assert (await posted(receiver)).problem == "certificate_refused"
        monkeypatch.setattr(posting, "trusted", lambda: context)
        assert (await posted(receiver)).taken
    async with Receiver(tls=authority.server("other.example")) as receiver:
        assert (await posted(receiver)).problem == "certificate_refused"
        assert receiver.messages == []


async def test_the_certificate_is_compared_with_the_name_and_not_with_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    context = ssl.create_default_context(cafile=str(authority.file))
    monkeypatch.setattr(posting, "trusted", lambda: context)
    loop = asyncio.get_running_loop()
    real = loop.getaddrinfo

    async def getaddrinfo(host: object, port: object, **more: object) -> object:
        return await real("127.0.0.1" if host == "tls.example" else host, port, **more)

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    for shown, problem in (("tls.example", ""), ("127.0.0.1", "certificate_refused")):
        async with Receiver(tls=authority.server(shown)) as receiver:
            url = f"https://tls.example:{receiver.port}/"
            assert (await post(target(url, LOOPBACK), LOOPBACK, {}, BODY)).problem == problem


async def test_a_receiver_that_speaks_no_tls() -> None:
    def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(status(200))
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        answer = await post(target(f"https://127.0.0.1:{port}/", LOOPBACK), LOOPBACK, {}, BODY)
    assert answer.problem in ("no_tls", "unreachable")
