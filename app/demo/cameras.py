"""The demo's simulated cameras, in a process of their own so that encoding does not disturb serving.

`python -m app.demo.cameras` reads one line of JSON from standard input, the content of demo-cameras.json: passwords
stand in no command line. It answers `ready` or `taken` (the port), and ends when its standard input does: with the
process that started it, however that ends.
"""

import asyncio
import errno
import json
import signal
import sys

from app import logs
from app.demo.city.records import Rig
from app.demo.simulator import SimulatedCamera, Simulator

READY, TAKEN = "ready", "taken"
_LINE_BYTES = 1 << 20
_PORT_SECONDS = 5  # a predecessor that was killed a moment ago still holds the port


async def run() -> int:
    """Simulate cameras until standard input ends or SIGTERM comes; returns the exit code."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    orders = asyncio.StreamReader(limit=_LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    rig = Rig(**json.loads(await orders.readline()))
    cameras = [
        SimulatedCamera(each["path"], each["name"], each["login"], each["password"], audio=each["audio"])
        for each in rig.cameras
    ]
    simulator = await _listening(Simulator(cameras, port=rig.port))
    if simulator is None:
        _say(TAKEN)
        return 1
    try:
        for each in rig.cameras:
            if each["offline"]:
                simulator.take_offline(each["path"])
        _say(READY)
        waiting = [asyncio.create_task(orders.read()), asyncio.create_task(ended.wait())]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await simulator.stop()
    return 0


async def _listening(simulator: Simulator) -> Simulator | None:
    """The simulator, started; None if its port stays taken."""
    deadline = asyncio.get_running_loop().time() + _PORT_SECONDS
    while True:
        try:
            await simulator.start()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            if asyncio.get_running_loop().time() > deadline:
                return None
            await asyncio.sleep(0.2)
        else:
            return simulator


def _say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    logs.configure("warning")
    sys.exit(asyncio.run(run()))
