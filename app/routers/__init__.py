"""Doors: each turns HTTP or WebSocket into one call of a domain function, and its result into a shape."""
