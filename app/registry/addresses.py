from app.streams.embedded.source import Networks, Source, networks_of, resolve, safe_source

__all__ = ["Networks", "Source", "networks_of", "resolve", "safe_source"]
