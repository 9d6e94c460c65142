"""Logs as one JSON object a line, without secrets.

Tokens stand in no log because nobody writes them there; what slips through in an exception's text or a URL is struck
out here, as the last line of defence.
"""

import json
import logging
import re
import sys
from typing import Any

from app import clock

_SECRETS = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)[^/\s@\"']*@"  # user:password@ in any URL
    r"|(?P<view>/v/)[A-Za-z0-9_=-]{20,}"  # stream tokens
    r"|gwj_[A-Za-z0-9_-]+|whsec_[A-Za-z0-9+/=]+"  # bearer tokens
    r"|(?P<field>(?i:authorization|password|token|ticket|secret|proof)[\"']?\s*[=:]\s*[\"']?(?:Bearer\s+)?)[^\s\"',}&]+"
)
_OWN = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}


def without_secrets(text: str) -> str:
    """The text with credentials, stream tokens and bearer tokens struck out."""

    def strike(match: re.Match[str]) -> str:
        return (match["scheme"] or match["view"] or match["field"] or "") + ("***@" if match["scheme"] else "***")

    return _SECRETS.sub(strike, text)


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON; line breaks in messages cannot forge a second one."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": clock.now().isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": without_secrets(record.getMessage()),
        }
        for name, value in record.__dict__.items():
            if name not in _OWN and not name.startswith("_"):
                line[name] = without_secrets(str(value)) if not isinstance(value, int | float) else value
        if record.exc_info:
            line["exception"] = without_secrets(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(level: str) -> None:
    """Send every log to standard error as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "alembic"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.access").disabled = True  # it would log stream URLs; `main` logs requests itself
