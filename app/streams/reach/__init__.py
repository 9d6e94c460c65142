"""Reachability: which cameras can be reached at all, watched or not; only changes are told, many at once as one."""
