"""The HTTP contract from outside: every no is a problem+json, whatever is sent, and every page, tag and method is exact."""

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import delete

from app import errors
from app.database import Database
from app.errors import Kind, Refusal
from app.ids import new_id
from app.models import LoginPace
from tests import factories
from tests.factories import PASSWORD, Person

PLACE = {"latitude": 35.1796, "longitude": 129.0756}
NEAR = "35.1796,129.0756"


def check_problem(response: httpx.Response, status: int | None = None, code: str | None = None) -> dict[str, Any]:
    """Hold an answer against RFC 9457 and ours; returns the problem."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    problem: dict[str, Any] = response.json()
    assert {"type", "title", "status", "code", "detail"} <= set(problem)
    assert problem["status"] == response.status_code
    assert problem["type"] == f"urn:gwanje:problem:{problem['code']}"
    assert re.fullmatch("[a-z0-9_]+", problem["code"])
    assert all(isinstance(problem[name], str) and problem[name] for name in ("type", "title", "code", "detail"))
    assert response.status_code < 500
    if status is not None:
        assert response.status_code == status, response.text
    if code is not None:
        assert problem["code"] == code
    return problem


@pytest.fixture(scope="module", autouse=True)
async def _no_pace_is_left(database: Database) -> AsyncIterator[None]:
    """These tests fail many logins from the one address that all tests have."""
    yield
    async with database.begin() as session:
        await session.execute(delete(LoginPace))


@pytest.fixture(scope="module")
async def district(database: Database) -> UUID:
    return await factories.agency(database)


@pytest.fixture(scope="module")
async def admin(database: Database, district: UUID) -> Person:
    return await factories.person(database, district, "admin")


@pytest.fixture(scope="module")
async def as_admin(client: httpx.AsyncClient, admin: Person) -> dict[str, str]:
    return await factories.sign_in(client, admin)


@pytest.fixture(scope="module")
async def as_room(client: httpx.AsyncClient, database: Database, district: UUID) -> dict[str, str]:
    """Who may ask for grants and report events."""
    return await factories.sign_in(client, await factories.person(database, district, "room"))


@pytest.fixture(scope="module")
async def as_auditor(client: httpx.AsyncClient, database: Database, district: UUID) -> dict[str, str]:
    return await factories.sign_in(client, await factories.person(database, district, "auditor"))


@pytest.fixture(scope="module")
async def camera_ids(database: Database, district: UUID) -> list[str]:
    """Twelve cameras of the district: nine on and around one point, some on the very same, three without a location."""
    ids = []
    for number in range(9):
        place = {"latitude": PLACE["latitude"] + 0.0004 * (number // 3), "longitude": PLACE["longitude"]}
        ids.append(await factories.camera(database, district, **place))
    ids += [await factories.camera(database, district, latitude=None, longitude=None) for _ in range(3)]
    return [str(one) for one in ids]


@pytest.fixture(scope="module")
async def openapi(client: httpx.AsyncClient) -> dict[str, Any]:
    schema: dict[str, Any] = (await client.get("/openapi.json")).json()
    return schema


# Refusals


def refusals() -> Iterator[type[Refusal]]:
    waiting = list(Refusal.__subclasses__())
    while waiting:
        each = waiting.pop()
        waiting += each.__subclasses__()
        yield each


def test_every_refusal_has_a_code_of_its_own_and_stands_in_the_tree() -> None:
    found = list(refusals())
    assert len(found) > 15
    codes = [each.code for each in found]
    assert sorted(codes) == sorted(set(codes))
    assert all(re.fullmatch("[a-z_]+", code) for code in codes)
    assert {each.kind for each in found} == set(Kind)
    drawn = str(errors.__doc__)
    for each in found:
        assert re.search(rf"\b{each.__name__}\b", drawn), each
        problem = each("why", owner="x").problem()
        assert list(problem) == ["type", "title", "status", "code", "detail", "owner"]
        assert (problem["status"], problem["title"]) == (each.kind.status, each.kind.title)


def test_close_codes_instruct() -> None:
    again = {Kind.TOO_MANY, Kind.UNAVAILABLE, Kind.NO_PICTURE, Kind.MOVED}
    assert {kind for kind in Kind if 4300 <= kind.close_code < 4400} == again
    assert all(4400 <= kind.close_code < 4500 for kind in set(Kind) - again)
    assert len({kind.close_code for kind in Kind}) == len(Kind)


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v1/", "/v1/nothing", "/v1/cameras/", "/v2/cameras", "/%00", "/..%2f..%2fetc/passwd", "/v1//cameras"],
)
async def test_an_unknown_path_is_a_problem(client: httpx.AsyncClient, path: str) -> None:
    check_problem(await client.get(path), 404, "no_such_path")


METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "PROPFIND")


async def test_a_wrong_method_is_405_and_tells_the_right_ones(
    client: httpx.AsyncClient, openapi: dict[str, Any]
) -> None:
    wrong = {}
    for path, operations in openapi["paths"].items():
        allowed = {method.upper() for method in operations}
        for method in METHODS:
            if method in allowed or path.startswith("/v/"):
                continue
            answer = await client.request(method, re.sub(r"\{[a-z_]+\}", str(new_id()), path))
            told = {one.strip() for one in answer.headers.get("allow", "").split(",")}
            if answer.status_code != 405 or told != allowed:
                wrong[method, path] = (answer.status_code, told)
            elif method != "HEAD":
                check_problem(answer, 405, "method_not_allowed")
    assert wrong == {}


async def test_every_door_but_the_open_ones_asks_who_is_there(
    client: httpx.AsyncClient, openapi: dict[str, Any]
) -> None:
    opened = set()
    for path, operations in openapi["paths"].items():
        for method in operations:
            if path.startswith(("/v/", "/internal/")):  # what stands in the path is what lets one in
                continue
            answer = await client.request(method.upper(), re.sub(r"\{[a-z_]+\}", str(new_id()), path), json={})
            if answer.status_code == 401:
                problem = check_problem(answer, 401, "not_signed_in")
                assert "POST /v1/sessions" in problem["detail"]
                assert answer.headers["www-authenticate"] == 'Bearer realm="gwanje"'
                assert operations[method]["security"] == [{"bearer": []}]
            else:
                opened.add((method, path))
    assert opened == {
        ("post", "/v1/sessions"), ("get", "/v1/events/kinds"), ("get", "/healthz"), ("get", "/readyz"), ("get", "/metrics"),
        ("post", "/v1/witness/add-checkpoint"), ("get", "/v1/witness/key"), ("get", "/v1/witness/{origin_hash}/checkpoint"),
    }  # fmt: skip


POSTS = ("/v1/sessions", "/v1/grants", "/v1/agreements", "/v1/events", "/v1/me/password")
BODIES: dict[str, bytes] = {
    "nothing": b"",
    "half": b'{"login": "a"',
    "no json": b"login=a&password=b",
    "not utf-8": b'{"login": "\xff\xfe"}',
    "utf-16": '{"login": "가"}'.encode("utf-16"),
    "nul": b"\0\0\0",
    "nan": b'{"login": NaN, "camera_ids": NaN, "specversion": NaN}',
    "infinity": b'{"login": Infinity, "password": -Infinity, "grant_seconds": 1e999}',
    "huge number": b'{"grant_seconds": ' + b"9" * 400 + b"}",
    "number beyond python's digits": b'{"grant_seconds": ' + b"9" * 5000 + b"}",
    "lone surrogate": rb'{"login": "\ud800", "password": "\udfff", "title": "\ud800", "id": "\ud800"}',
    "lone surrogate as a name": rb'{"\ud800": 1, "login": "a", "password": "b"}',
    "nul in a text": rb'{"login": "a\u0000b", "password": "\u0000", "title": "\u0000", "id": "\u0000"}',
    "nul as a name": rb'{"\u0000": 1}',
    "array": b"[]",
    "string": b'"text"',
    "null": b"null",
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    "same name twice": b'{"login": "a", "login": ["b"]}',
    "one megabyte": b'{"login": "' + b"a" * 1_000_000 + b'"}',
    "megabyte of names": b"{" + b",".join(b'"k%d":1' % number for number in range(90_000)) + b"}",
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("path", POSTS)
async def test_a_body_that_cannot_be_understood_is_a_problem(
    client: httpx.AsyncClient, as_room: dict[str, str], path: str, body: str
) -> None:
    method = "PUT" if path.endswith("password") else "POST"
    headers = as_room | {"Content-Type": "application/json"}
    answer = await client.request(method, path, content=BODIES[body], headers=headers)
    problem = check_problem(answer)
    assert answer.status_code in (400, 413, 422)
    assert len(answer.content) < 100_000, "an answer is not a copy of the question"
    if answer.status_code == 422:
        assert problem["code"] == "malformed"


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_without_end_is_not_read_to_its_end(
    client: httpx.AsyncClient, as_room: dict[str, str], path: str, *, chunked: bool
) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"[" * 1_000_000

    method = "PUT" if path.endswith("password") else "POST"
    headers = as_room | {"Content-Type": "application/json"} | ({} if chunked else {"Content-Length": "10000000"})
    answer = await client.request(method, path, content=body(), headers=headers)
    check_problem(answer, 413, "too_large")


async def test_one_letter_does_not_fail_the_grants_of_others(
    client: httpx.AsyncClient, database: Database, district: UUID, as_room: dict[str, str]
) -> None:
    camera_id = str(await factories.camera(database, district, latitude=None, longitude=None))
    good = {"camera_ids": [camera_id], "purpose": "emergency_response", "basis": "KR-PIPA-18-2-3"}
    bad = good | {"references": [{"kind": "112", "number": "a\0b"}]}
    asked = [good, bad, good, bad, good, good]
    answers = await asyncio.gather(*(client.post("/v1/grants", json=body, headers=as_room) for body in asked))
    assert [answer.status_code for answer in answers] == [422 if body is bad else 201 for body in asked]


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "\xff"])
async def test_another_content_type_is_no_error_of_ours(client: httpx.AsyncClient, kind: str) -> None:
    body = json.dumps({"login": "a", "password": "b"}).encode()
    answer = await client.post("/v1/sessions", content=body, headers={"Content-Type": kind.encode("latin-1")})
    check_problem(answer)
    assert answer.status_code in (400, 401, 415, 422)


QUERIES = {
    "/v1/cameras": (
        "near", "radius_m", "bbox", "area", "purpose", "status", "q", "streaming", "format", "limit", "cursor",
    ),
    "/v1/agencies": ("kind", "limit", "cursor"),
    "/v1/areas": ("kind", "limit", "cursor"),
    "/v1/assets": ("kind", "limit", "cursor"),
    "/v1/audit/entries": ("act", "camera_id", "subject_id", "user_id", "since", "until", "limit", "cursor"),
    "/v1/views": ("running", "limit", "cursor"),
    "/v1/events": ("after", "area", "kind", "limit"),
}  # fmt: skip
VALUES = {
    "nothing": "", "nul": "%00", "nul inside": "a%00b", "not utf-8": "%ff%fe", "surrogate": "%ed%a0%80", "nan": "nan",
    "nans": "nan,nan", "infinity": "inf", "infinities": "inf,-inf", "large": "1e308", "larges": "1e308,1e308",
    "too large": "1e999", "digits": "9" * 190, "negative": "-1", "zero": "0", "zeros": "0,0,0,0", "sql": "%27%20OR%201=1--",
    "like": "%25%5C", "percent": "%", "braces": "%7B%7D", "long": "a" * 5000, "numbers": "1,2,3,4", "date": "2026-01-01",
    "no offset": "2026-01-01T00:00:00", "first year": "0001-01-01T00:00:00%2B14:00",
    "last year": "9999-12-31T23:59:59-14:00", "seconds": "-99999999999", "id": str(new_id()), "astral": "%F0%9F%8E%A5",
}  # fmt: skip


@pytest.mark.parametrize("path", QUERIES)
async def test_whatever_stands_in_a_query_is_answered(
    client: httpx.AsyncClient, as_room: dict[str, str], as_auditor: dict[str, str], path: str
) -> None:
    headers = as_auditor if "audit" in path else as_room
    for name in QUERIES[path]:
        for what, value in VALUES.items():
            answer = await client.get(f"{path}?{name}={value}", headers=headers)
            if answer.status_code == 200:
                assert answer.json().keys() & {"items", "features"}, (name, what)
                continue
            problem = check_problem(answer)
            assert answer.status_code in (422, 404, 403), (name, what, answer.text)
            if answer.status_code == 422:
                assert problem["field"].partition(".")[0] in (name, "q", "kinds", "near"), (name, what, problem)


@pytest.mark.parametrize("value", ["%00", "a%00", "%ff", "..%2f", "%F0%9F%8E%A5", "0", "nan", "a" * 3000, "%27"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/cameras/{}"), ("GET", "/v1/areas/{}"), ("DELETE", "/v1/grants/{}"), ("POST", "/v1/grants/{}/renewals"),
        ("POST", "/v1/agreements/{}/withdrawal"), ("PUT", "/v1/cameras/{}/source"), ("GET", "/v/{}/live.mp4"),
        ("GET", "/v/aaaaaaaaaaaaaaaaaaaaaaaa/{}.m4s"), ("GET", "/v/{}aaaaaaaaaaaaaaaaa/index.m3u8"),
    ],
)  # fmt: skip
async def test_whatever_stands_in_a_path_is_answered(
    client: httpx.AsyncClient, as_admin: dict[str, str], method: str, path: str, value: str
) -> None:
    body = {"reason": "x", "url": "rtsp://8.8.8.8/1"}
    answer = await client.request(method, path.format(value), headers=as_admin, json=body)
    check_problem(answer)
    assert answer.status_code in (403, 404, 422)


async def test_a_refused_field_is_named_and_what_was_sent_is_not_repeated(client: httpx.AsyncClient) -> None:
    body = {"login": "somebody", "password": ["hunter2-secret"], "more": "hunter2-secret"}
    refused = check_problem(await client.post("/v1/sessions", json=body), 422, "malformed")
    assert {item["field"] for item in refused["fields"]} == {"password", "more"}
    assert refused["field"] in ("password", "more")
    assert "hunter2" not in json.dumps(refused)


async def test_what_is_secret_is_not_kept_by_a_cache(
    client: httpx.AsyncClient, admin: Person, as_admin: dict[str, str]
) -> None:
    answers = [
        await client.post("/v1/sessions", json={"login": admin.login, "password": PASSWORD}),
        await client.get("/v1/me", headers=as_admin),
        await client.get("/v1/audit/entries", headers=as_admin),
        await client.post("/v1/feed/tickets", headers=as_admin),
        await client.get("/v1/me"),
    ]
    assert [answer.headers["cache-control"] for answer in answers] == ["no-store"] * 5
    assert [answer.status_code for answer in answers] == [201, 200, 200, 201, 401]


# Tags


@pytest.mark.parametrize(
    "path", ["/v1/cameras", "/v1/cameras?format=geojson", f"/v1/cameras?near={NEAR}", "/v1/cameras/{id}", "/v1/assets",
             "/v1/agencies?kind=rail", "/v1/areas?kind=none"],
)  # fmt: skip
async def test_who_has_the_answer_already_gets_304(
    client: httpx.AsyncClient, as_admin: dict[str, str], camera_ids: list[str], path: str
) -> None:
    path = path.replace("{id}", camera_ids[0])
    first = await client.get(path, headers=as_admin)
    tag = first.headers["etag"]
    assert re.fullmatch(r'"[0-9a-f]+"', tag)
    assert first.headers["cache-control"] == "private, no-cache"
    for sent in (tag, f"W/{tag}", f'"another", {tag}', "*"):
        again = await client.get(path, headers=as_admin | {"If-None-Match": sent})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag), sent
    other = await client.get(path, headers=as_admin | {"If-None-Match": '"another"'})
    assert (other.status_code, other.content) == (200, first.content)


async def test_a_tag_changes_with_what_it_stands_for(
    client: httpx.AsyncClient, database: Database, as_admin: dict[str, str], district: UUID
) -> None:
    before = await client.get("/v1/cameras?q=CAM&limit=1000", headers=as_admin)
    await factories.camera(database, district, latitude=None, longitude=None)
    after = await client.get(
        "/v1/cameras?q=CAM&limit=1000", headers=as_admin | {"If-None-Match": before.headers["etag"]}
    )
    assert after.status_code == 200
    assert after.headers["etag"] != before.headers["etag"]


# Pages


async def walk(client: httpx.AsyncClient, headers: dict[str, str], path: str, limit: int) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    cursor = ""
    for _ in range(200):
        asked = {"limit": limit} | ({"cursor": cursor} if cursor else {})
        page = await client.get(httpx.URL(path).copy_merge_params(asked), headers=headers)
        assert page.status_code == 200, page.text
        found = page.json()
        items += found.get("items", found.get("features"))
        cursor = found["next_cursor"]
        if not cursor:
            return items
    raise AssertionError("the pages never end")


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 9, 12, 1000])
@pytest.mark.parametrize("path", ["/v1/cameras", f"/v1/cameras?near={NEAR}", "/v1/cameras?format=geojson"])
async def test_pages_of_cameras_show_each_exactly_once(
    client: httpx.AsyncClient,
    database: Database,
    camera_ids: list[str],
    path: str,
    limit: int,
    as_admin: dict[str, str],
) -> None:
    items = await walk(client, as_admin, path, limit)
    ids = [item["id"] for item in items if item["id"] in camera_ids]
    near = "near" in path
    assert sorted(ids) == sorted(camera_ids[:9] if near else camera_ids)
    if near:
        distances = [item["distance_metres"] for item in items]
        assert distances == sorted(distances)
        assert len(set(distances)) == 3
    else:
        assert ids == sorted(ids)


@pytest.mark.parametrize("path", ["/v1/agencies", "/v1/areas", "/v1/assets", "/v1/audit/entries?act=session.opened"])
async def test_other_pages_show_each_exactly_once(
    client: httpx.AsyncClient, as_auditor: dict[str, str], as_admin: dict[str, str], path: str
) -> None:
    headers = as_auditor if "audit" in path else as_admin
    all_at_once = [item["id"] for item in await walk(client, headers, path, 1000)]
    in_pages = [item["id"] for item in await walk(client, headers, path, max(1, len(all_at_once) // 3))]
    assert in_pages == all_at_once
    assert len(set(in_pages)) == len(in_pages)


def forged(*parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


ID = str(new_id())
FORGED = [
    "x", "%%%", "=", "e30=", "é", base64.urlsafe_b64encode(b"\xff\xfe").decode(), base64.urlsafe_b64encode(b"[").decode(),
    base64.urlsafe_b64encode(b"5").decode(), base64.urlsafe_b64encode(b"null").decode(),
    base64.urlsafe_b64encode(b'{"a": 1}').decode(), forged(), forged("x"), forged("x", "y"), forged(5), forged(5, 5),
    forged("0.0", 5), forged(None, None), forged([], []), forged({}, {}), forged("0", "0", ID), forged("nan", ID), forged("-1", ID), forged("inf", ID),
    forged("2026-01-01", ID), forged("2026-01-01T00:00:00", ID), forged("0001-01-01T00:00:00+14:00", ID), forged(ID, ID),
    forged("1_000_000_000_000_000_000_000_000_000_000", "00"),
]  # fmt: skip


@pytest.mark.parametrize("cursor", FORGED, ids=[str(number) for number in range(len(FORGED))])
@pytest.mark.parametrize(
    "path",
    [
        "/v1/cameras",
        f"/v1/cameras?near={NEAR}",
        "/v1/agencies",
        "/v1/areas",
        "/v1/assets",
        "/v1/audit/entries",
        "/v1/views",
    ],
)
async def test_a_forged_cursor_is_refused(
    client: httpx.AsyncClient, as_admin: dict[str, str], path: str, cursor: str
) -> None:
    answer = await client.get(httpx.URL(path).copy_merge_params({"cursor": cursor}), headers=as_admin)
    problem = check_problem(answer, 422, "malformed")
    assert problem["field"] == "cursor"


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "1.5", "x", "9" * 30, "1e2", ""])
async def test_a_page_has_one_to_a_thousand_items(
    client: httpx.AsyncClient, as_admin: dict[str, str], limit: str
) -> None:
    for path in QUERIES:
        answer = await client.get(path, params={"limit": limit}, headers=as_admin)
        assert check_problem(answer, 422, "malformed")["field"] == "limit"


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"near": "37.5"}, "near"),
        ({"near": "37.5,127,1"}, "near"),
        ({"near": "127.0,37.5"}, "near"),
        ({"near": "a,b"}, "near"),
        ({"near": NEAR, "radius_m": "0"}, "radius_m"),
        ({"near": NEAR, "radius_m": "50001"}, "radius_m"),
        ({"near": NEAR, "radius_m": "nan"}, "radius_m"),
        ({"radius_m": "5"}, "radius_m"),
        ({"bbox": "127,37,126,38"}, "bbox"),
        ({"bbox": "126,38,127,37"}, "bbox"),
        ({"bbox": "126,37,127"}, "bbox"),
        ({"bbox": "37,126,38,127"}, "bbox"),
        ({"format": "kml"}, "format"),
        ({"streaming": "perhaps"}, "streaming"),
        ({"area": "a" * 41}, "area"),
        ({"q": "a" * 101}, "q"),
    ],
)
async def test_a_search_that_cannot_be_understood_names_its_field(
    client: httpx.AsyncClient, as_admin: dict[str, str], asked: dict[str, str], field: str
) -> None:
    answer = await client.get("/v1/cameras", params=asked, headers=as_admin)
    assert check_problem(answer, 422, "malformed")["field"] == field


# Shapes


async def test_geojson_is_geojson(
    client: httpx.AsyncClient, as_admin: dict[str, str], camera_ids: list[str], openapi: dict[str, Any]
) -> None:
    answer = await client.get("/v1/cameras?format=geojson&limit=1000", headers=as_admin)
    assert answer.headers["content-type"] == "application/geo+json"
    documented = openapi["paths"]["/v1/cameras"]["get"]["responses"]["200"]["content"]
    assert set(documented) == {"application/json", "application/geo+json"}
    drawn = answer.json()
    assert (drawn["type"], drawn["next_cursor"]) == ("FeatureCollection", None)
    features = {feature["id"]: feature for feature in drawn["features"]}
    placed, nowhere = features[camera_ids[0]], features[camera_ids[-1]]
    assert placed["type"] == "Feature"
    assert placed["geometry"] == {"type": "Point", "coordinates": [PLACE["longitude"], PLACE["latitude"]]}
    assert nowhere["geometry"] is None
    listed = await client.get("/v1/cameras?limit=1000", headers=as_admin)
    items = {item["id"]: item for item in listed.json()["items"]}
    assert set(items) == set(features)
    for camera_id, feature in features.items():
        said = {name: value for name, value in items[camera_id].items() if name not in ("id", "lat", "lon")}
        assert feature["properties"] == said


async def test_one_camera_says_the_same_as_the_list(
    client: httpx.AsyncClient, as_admin: dict[str, str], camera_ids: list[str]
) -> None:
    one = (await client.get(f"/v1/cameras/{camera_ids[0]}", headers=as_admin)).json()
    listed = (await client.get("/v1/cameras?limit=1000", headers=as_admin)).json()["items"]
    assert one == next(item for item in listed if item["id"] == camera_ids[0]) | {"streams": []}
    near = (await client.get(f"/v1/cameras?near={NEAR}&limit=1", headers=as_admin)).json()["items"][0]
    assert (near["distance_metres"], near["owner"]) == (0.0, one["owner"])


# OpenAPI


async def test_openapi_says_what_can_be_refused(openapi: dict[str, Any]) -> None:
    assert openapi["openapi"].startswith("3.1")
    lacking = []
    for path, operations in openapi["paths"].items():
        if path.startswith("/internal/"):
            continue  # a gateway asks there, which reads nothing but the status
        if path == "/v1/witness/add-checkpoint":
            continue  # a log asks there, whose protocol has texts
        for method, operation in operations.items():
            documented = set(operation["responses"])
            if not path.startswith(("/healthz", "/readyz", "/metrics")):
                lacking += [(method, path, status) for status in ("400", "422", "503") if status not in documented]
            if "security" in operation and "401" not in documented:
                lacking.append((method, path, "401"))
            if "{" in path and not documented & {"403", "404"}:
                lacking.append((method, path, "404"))
            for status, response in operation["responses"].items():
                if (
                    status >= "400"
                    and path != "/readyz"
                    and list(response.get("content", {})) != ["application/problem+json"]
                ):
                    lacking.append((method, path, f"{status} as problem+json"))
    assert lacking == []
