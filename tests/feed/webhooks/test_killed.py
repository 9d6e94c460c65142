"""Real processes that carry webhooks, and kill -9."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app import clock
from tests.feed.webhooks.conftest import House
from tests.feed.webhooks.receiver import OK, Message, Receiver

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
PROGRAM = """
import asyncio, json, os, sys
from app import database
from app.announcements import Announcements
from app.feed.webhooks.rounds import Webhooks
from app.keys import Keys
from app.settings import Settings

async def main(said):
    settings = Settings(home=said["home"], allow_webhook_networks="127.0.0.0/8")
    async with database.connect(said["url"]) as base:
        news = Announcements(said["url"])
        webhooks = Webhooks(base, Keys(settings.secret_key), settings, news, f"node/{os.getpid()}")
        print("ready", flush=True)
        await asyncio.gather(news.run(), webhooks.run())

asyncio.run(main(json.loads(sys.stdin.readline())))
"""


@asynccontextmanager
async def process(house: House) -> AsyncIterator[int]:
    """A process of its own; its id."""
    one = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert one.stdin
    assert one.stdout
    one.stdin.write(json.dumps({"home": str(house.settings.home), "url": house.settings.database_url}).encode() + b"\n")
    try:
        assert await asyncio.wait_for(one.stdout.readline(), 20) == b"ready\n"
        yield one.pid
    finally:
        if one.returncode is None:
            one.kill()
        await one.wait()


@pytest.mark.timeout(60)
async def test_what_a_killed_process_carried_goes_on_within_ten_seconds(house: House) -> None:
    sent = [str(number) for number in range(30)]

    async def rather_slow(_: Message, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)
        writer.write(OK)

    async with Receiver(rather_slow) as receiver, process(house) as one, process(house) as two:
        made = await house.make(receiver)
        await house.report(*sent)
        await receiver.got(10)
        carrying = int((await house.row(made)).leased_by.removeprefix("node/"))
        assert carrying in (one, two)
        os.kill(carrying, signal.SIGKILL)
        killed_at, before = clock.monotonic(), len(receiver.messages)
        await receiver.until(lambda me: len(me.messages) > before + 1, 15)
        assert clock.monotonic() - killed_at < 10
        await receiver.got(30)
        await house.settled(made)
    assert list(dict.fromkeys(receiver.keys)) == sent
    assert len(receiver.keys) <= 30 + 9, "a crash repeats no more than a few"
