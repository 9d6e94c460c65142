"""Another process that watches a camera: `python puller.py RUN_DIR URL`, under the event loop that production uses."""

import asyncio
import sys
from pathlib import Path

import uvloop

from app.streams.embedded.watched import Pulls
from tests.streams.watching import LOOPBACK, Notes


async def watch(run_dir: str, url: str) -> None:
    pulls = Pulls(Path(run_dir), LOOPBACK)
    pull = await pulls.open("camera", url)
    pull.subscribe(notes := Notes())
    print(type(pull).__name__, flush=True)  # noqa: T201 - the test reads it
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    await pulls.close()
    print(len(notes.fragments), flush=True)  # noqa: T201


uvloop.run(watch(*sys.argv[1:]))
