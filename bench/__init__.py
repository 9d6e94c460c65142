"""Ratios of the hot paths, each beside its floor in the same run: `python -m bench.NAME`, or `make bench`."""
