"""`python -m app.demo.simulator`: cameras to try a player on."""

import argparse
import asyncio
import signal
import sys

from app.demo.simulator import SimulatedCamera, Simulator


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m app.demo.simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8554, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--cameras", type=int, default=3, help="how many (default: %(default)s)")
    parser.add_argument("--login", default="", help="demand this login …")
    parser.add_argument("--password", default="", help="… and this password")
    parser.add_argument("--audio", action="store_true", help="offer sound too")
    return parser.parse_args()


async def _run(arguments: argparse.Namespace) -> None:
    cameras = [
        SimulatedCamera(
            f"cam/{number:04}",
            f"CAM {number:04}",
            login=arguments.login,
            password=arguments.password,
            audio=arguments.audio,
        )
        for number in range(1, arguments.cameras + 1)
    ]
    ended = asyncio.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signal_number, ended.set)
    async with Simulator(cameras, arguments.host, arguments.port) as simulator:
        for camera in cameras:
            sys.stdout.write(f"{simulator.url(camera.path, with_credentials=False)}  {camera.name}\n")
        sys.stdout.flush()
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(_run(_arguments()))
