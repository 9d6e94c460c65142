"""Turning cameras (PTZ): one driver at a time, under a lease with a purpose, each command under a turn of its own."""
