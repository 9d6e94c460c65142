"""Webhooks: events posted to a system of an agency, in order, at least once, signed as Standard Webhooks says.

`registry` keeps them, `rounds` finds those with work, `leases` lets one process at a time have each of them, `courier`
delivers, `owners` says what may be told now; `addresses`, `posting` and `signing` are the wire.
"""
