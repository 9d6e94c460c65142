"""Gwanje (관제): the open control-center backend for a city's cameras."""

__version__ = "0.1.0"
