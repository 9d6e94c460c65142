"""The demo: a synthetic city whose cameras really stream."""
