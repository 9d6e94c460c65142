"""The one place where a no becomes an answer, and where answers are counted."""

import logging
from typing import Any

import orjson
from fastapi import Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import clock, database, metrics
from app.errors import DatabaseUnavailable, Refusal
from app.routers.dependencies import bounded, most_bytes_of

log = logging.getLogger("gwanje")

PROBLEM = "application/problem+json"
NO_REFERRER = (b"referrer-policy", b"no-referrer")  # addresses of footage are secrets, whatever page they stand in
MOST_FIELDS, MOST_SAID = 20, 200  # an answer is not a copy of the question


def problem(refusal: Refusal) -> Response:
    """A refusal as RFC 9457 problem+json."""
    headers = {"Cache-Control": "no-store"}
    if refusal.retry_after_seconds is not None:
        headers["Retry-After"] = str(refusal.retry_after_seconds)
    if refusal.kind.status == 401:  # noqa: PLR2004 - RFC 9110 asks for the challenge with this status
        headers["WWW-Authenticate"] = 'Bearer realm="gwanje"'
    if "location" in refusal.extra:
        headers["Location"] = refusal.extra["location"]
    return Response(orjson.dumps(refusal.problem(), default=str), refusal.kind.status, headers, PROBLEM)


def _plain_problem(status: int, code: str, title: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    body = {"type": f"urn:gwanje:problem:{code}", "title": title, "status": status, "code": code, "detail": detail}
    return Response(orjson.dumps(body), status, headers, PROBLEM)


async def refuse(_: Request | WebSocket, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return problem(error)


async def malformed(_: Request, error: Exception) -> Response:
    """What FastAPI could not parse, in our shape: every field with what was expected, never with what was sent."""
    assert isinstance(error, RequestValidationError)
    fields = [
        {"field": _field(item["loc"]), "expected": item["msg"][:MOST_SAID]} for item in error.errors()[:MOST_FIELDS]
    ]
    if any(item["type"] == "json_invalid" for item in error.errors()):
        return _plain_problem(400, "not_json", "The body is no JSON", "the body is not valid JSON in UTF-8")
    detail = "; ".join(f"{item['field']}: {item['expected']}" for item in fields[:5])
    body = {
        "type": "urn:gwanje:problem:malformed",
        "title": "The request cannot be understood",
        "status": 422,
        "code": "malformed",
        "detail": detail,
        "field": fields[0]["field"] if fields else "",
        "fields": fields,
    }
    return Response(orjson.dumps(body), 422, None, PROBLEM)


def _field(location: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in location[1:] or location)[:MOST_SAID]


async def not_ours(request: Request, error: Exception) -> Response:
    """Refusals of the framework: unknown paths, wrong methods, broken bodies."""
    assert isinstance(error, HTTPException)
    codes = {404: "no_such_path", 405: "method_not_allowed", 400: "bad_request", 413: "too_large"}
    code = codes.get(error.status_code, f"http_{error.status_code}")
    headers = dict(error.headers or {})
    if "Allow" in headers:  # the framework knows the first route of a path only
        headers["Allow"] = ", ".join(_methods(request)) or headers["Allow"]
    return _plain_problem(error.status_code, code, "This request cannot be served", str(error.detail), headers)


def _methods(request: Request) -> list[str]:
    """The methods that this path answers to (RFC 9110 §10.2.1)."""
    paths = request.app.openapi()["paths"]
    path = request.url.path
    return sorted(
        method.upper() for pattern, known in paths.items() if compile_path(pattern)[0].match(path) for method in known
    )


async def database_lost(_: Request, error: Exception) -> Response:
    log.warning("the database does not answer: %s", type(error).__name__)
    return problem(
        DatabaseUnavailable("the database does not answer; try again in a moment", retry_after_seconds=2)
    )  # fmt: skip


async def unexpected(request: Request, error: Exception) -> Response:
    if database.lost(error):
        return await database_lost(request, error)
    log.error("an unexpected error", exc_info=error)
    return _plain_problem(500, "unexpected", "An error of ours", "something went wrong on our side; it was logged")


class Observed:
    """Counts and logs requests by their route, never by their path: paths of streams are secrets. Pure ASGI."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = clock.monotonic()
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message.setdefault("headers", [])
                if not any(name == b"referrer-policy" for name, _ in headers):
                    message["headers"] = [*headers, NO_REFERRER]
                route = getattr(scope.get("route"), "path", "none")
                metrics.REQUESTS.labels(scope["method"], route, status).inc()
                metrics.SECONDS.labels(route).observe(clock.monotonic() - began)
                log.debug(
                    "answered",
                    extra={"method": scope["method"], "route": route, "status": status},
                )
            await send(message)

        await self._app(scope, bounded(receive, most_bytes_of(scope)), watched)
