"""What a process counts, for Prometheus."""

from prometheus_client import Counter, Gauge, Histogram, Info

PROCESS = Info("gwanje_process", "which process answers: with several workers, each scrape reaches one of them")
REQUESTS = Counter("gwanje_requests_total", "HTTP requests by route and status", ("method", "route", "status"))
SECONDS = Histogram("gwanje_request_seconds", "seconds until the answer began", ("route",))
VIEWERS = Gauge("gwanje_viewers", "players watching here")
CAMERAS_WATCHED = Gauge("gwanje_cameras_watched", "cameras pulled or relayed here")
FEED_MEMBERS = Gauge("gwanje_feed_members", "clients on the feed here")
TASKS = Gauge("gwanje_tasks", "asyncio tasks of this process")
FEED_POSITION = Gauge("gwanje_feed_position", "the last event handed out here")
SPOOLED = Gauge("gwanje_spooled_records", "records in this process's local spool, while the database is away")
SPOOLING = Gauge("gwanje_spooling_seconds", "for how long this process has used its local spool; 0 when it does not")
SPOOLS = Counter("gwanje_spools_total", "local spools imported, or refused since they were tampered with", ("outcome",))
