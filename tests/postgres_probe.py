"""A process that uses the embedded PostgreSQL of a home until SIGTERM: `python postgres_probe.py HOME FALLBACK`.

It says its server, or the refusal, as one line of JSON.
"""

import json
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from app import postgres
from app.errors import Refusal
from app.postgres import place
from app.settings import Settings


def say(**content: object) -> None:
    sys.stdout.write(json.dumps(content, default=str) + "\n")
    sys.stdout.flush()


def main(home: str, fallback: str) -> None:
    place.FALLBACK = Path(fallback)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with postgres.start(Settings(home=Path(home))) as use:
            say(**vars(use.server))
            signal.pause()
    except Refusal as refusal:
        say(refusal=refusal.detail)


main(*sys.argv[1:])
