"""Simulated IP cameras: H.264 over RTSP/TCP, with name, running clock and a frame counter that a test can decode."""

from app.demo.simulator.camera import SimulatedCamera
from app.demo.simulator.counter import read_counter
from app.demo.simulator.server import Simulator

__all__ = ["SimulatedCamera", "Simulator", "read_counter"]
