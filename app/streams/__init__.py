"""Streams: who may see which camera now, and the gateways that carry its pictures."""
