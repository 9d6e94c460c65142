"""A driver in a process of its own: takes the head, moves it, loses it, takes it again. `python -m` with JSON."""

import asyncio
import json
import sys
from uuid import UUID

from app import database as db
from app.access import sessions
from app.announcements import Announcements
from app.errors import CameraOffline, HeadTaken, LeaseEnded
from app.keys import Keys
from app.streams.onvif.device import Move
from app.streams.ptz import leases, moves
from app.streams.ptz.heads import Heads
from app.streams.writer import Writer
from tests.factories import LOOPBACK


async def drive(said: dict) -> dict[str, int]:
    camera, done = UUID(said["camera"]), {"moves": 0, "leases": 0, "lost": 0}
    async with db.connect(said["url"]) as base:
        writer = Writer(base, lambda: None)
        heads = Heads(base, Keys(bytes.fromhex(said["key"])), writer, Announcements(said["url"]), LOOPBACK, None)
        async with base.begin() as session:
            actor = await sessions.authenticate(session, said["token"], "127.0.0.1")
        await heads.prepare(camera)
        while done["moves"] < said["moves"]:
            try:
                lease = await leases.open_lease(
                    writer, actor, camera, grant_id=UUID(said["grant"]), purpose=said["purpose"]
                )
            except HeadTaken:
                await asyncio.sleep(0.01)
                continue
            done["leases"] += 1
            mark = said["sign"] * done["leases"] / 10_000
            try:
                for _ in range(said["at_once"]):
                    await moves.move(writer, heads.drive, actor, lease.id, Move("absolute", pan=mark))
                    done["moves"] += 1
                await leases.give_back(writer, actor, lease.id)
            except (LeaseEnded, CameraOffline):
                done["lost"] += 1
            await asyncio.sleep(said["pause"])
    return done


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(drive(json.loads(sys.argv[1])))))
