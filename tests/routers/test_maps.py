"""Maps, shapes, numbers and places over HTTP: tags, pages, tables, and what each may not do."""

from typing import Any
from uuid import UUID

import httpx
import pytest
import shapely
from shapely.geometry import mapping

from app.database import Database
from app.registry import tiles
from tests import factories
from tests.registry import vector_tiles
from tests.registry.test_cameras import scatter
from tests.registry.test_tiles import place
from tests.routers.test_http import check_problem

POINT = (34.7, 127.7)


@pytest.fixture(scope="module")
async def district(database: Database) -> UUID:
    return await factories.agency(database)


@pytest.fixture(scope="module")
async def ids(database: Database, district: UUID) -> list[str]:
    points = [(POINT[0] + number * 0.001, POINT[1]) for number in range(25)]
    return [str(one) for one in await scatter(database, district, points)]


@pytest.fixture(scope="module")
async def admin(client: httpx.AsyncClient, database: Database, district: UUID) -> dict[str, str]:
    return await factories.sign_in(client, await factories.person(database, district, "admin"))


@pytest.fixture(scope="module")
async def stranger(client: httpx.AsyncClient, database: Database) -> dict[str, str]:
    return await factories.sign_in(client, await factories.person(database, await factories.agency(database), "admin"))


async def test_a_tile_is_had_once(
    client: httpx.AsyncClient, database: Database, admin: dict[str, str], stranger: dict[str, str], ids: list[str],
    district: UUID,
) -> None:  # fmt: skip
    described = (await client.get("/v1/tiles", headers=admin)).json()
    assert (described["tilejson"], described["maxzoom"]) == ("3.0.0", 14)
    x, y = (int(one) for one in place(*POINT, 9))
    path = described["tiles"][0].format(z=9, x=x, y=y)
    first = await client.get(path, headers=admin)
    assert (first.status_code, first.headers["content-type"]) == (200, "application/vnd.mapbox-vector-tile")
    assert (first.headers["content-encoding"], first.headers["cache-control"]) == ("gzip", "private, no-cache")
    assert sum(one["cameras"] for one in vector_tiles.points(first.content)) == len(ids)
    plain = await client.get(path, headers=admin | {"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == first.content
    again = await client.get(path, headers=admin | {"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    theirs = await client.get(path, headers=stranger | {"If-None-Match": first.headers["etag"]})
    assert (theirs.status_code, theirs.content) == (200, b"")
    await factories.camera(database, district, latitude=POINT[0], longitude=POINT[1])
    changed = await client.get(path, headers=admin | {"If-None-Match": first.headers["etag"]})
    assert changed.status_code == 200
    assert sum(one["cameras"] for one in vector_tiles.points(changed.content)) == len(ids) + 1
    for wrong in ("15/0/0", "3/8/0", "3/0/99", "a/0/0", "-1/0/0"):
        check_problem(await client.get(f"/v1/tiles/{wrong}.mvt", headers=admin), 422)
    check_problem(await client.get(path), 401)
    assert tiles.MOST_ZOOM == 14


async def test_a_geographic_information_system_walks_the_links(
    client: httpx.AsyncClient, admin: dict[str, str], stranger: dict[str, str], ids: list[str]
) -> None:
    landing = (await client.get("/v1/ogc", headers=admin)).json()
    links = {one["rel"]: one["href"] for one in landing["links"]}
    assert (
        "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core"
        in (await client.get(links["conformance"], headers=admin)).json()["conformsTo"]
    )
    collections = (await client.get(links["data"], headers=admin)).json()["collections"]
    assert [one["id"] for one in collections] == ["cameras", "areas"]
    items = next(one["href"] for one in collections[0]["links"] if one["rel"] == "items")
    box = f"{POINT[1] - 0.1},{POINT[0] - 0.1},{POINT[1] + 0.1},{POINT[0] + 0.0095}"
    seen: list[str] = []
    url: str | None = f"{items}?bbox={box}&limit=4"
    while url:
        page = await client.get(url, headers=admin)
        assert page.headers["content-type"] == "application/geo+json"
        told: dict[str, Any] = page.json()
        assert told["numberReturned"] == len(told["features"]) <= 4
        seen += [one["id"] for one in told["features"]]
        url = next((one["href"] for one in told["links"] if one["rel"] == "next"), None)
    assert {one for one in seen if one in ids} == set(ids[:10])
    assert len(seen) == len(set(seen))
    one = (await client.get(f"{items}/{ids[0]}", headers=admin)).json()
    assert (one["geometry"]["coordinates"], one["properties"]["purposes"]) == ([POINT[1], POINT[0]], "")
    assert (await client.get(f"{items}?bbox={box}", headers=stranger)).json()["numberMatched"] == 0
    check_problem(await client.get(f"{items}/{ids[0]}", headers=stranger), 404)
    check_problem(await client.get("/v1/ogc/collections/people/items", headers=admin), 404)
    for wrong in ("1,2,3", "a,b,c,d", "5,5,4,6", "nan,1,2,3"):
        check_problem(await client.get(f"{items}?bbox={wrong}", headers=admin), 422)


async def test_areas_are_drawn_counted_and_found(
    client: httpx.AsyncClient, admin: dict[str, str], stranger: dict[str, str], ids: list[str]
) -> None:
    y, x = POINT
    body = {
        "kind": "park",
        "name": "=여수공원",
        "boundary": mapping(shapely.box(x - 0.01, y - 0.01, x + 0.01, y + 0.0045)),
    }
    made = await client.post("/v1/areas", json=body, headers=admin)
    assert made.status_code == 201, made.text
    area = made.json()["id"]
    counts = (await client.get(f"/v1/camera-counts?area={area}&by=status,owner", headers=admin)).json()
    assert counts["cameras"] >= 5
    assert (await client.get(f"/v1/camera-counts?area={area}", headers=stranger)).json()["cameras"] == 0
    check_problem(await client.get("/v1/camera-counts?by=name", headers=admin), 422)
    numbers = await client.get(f"/v1/areas/{area}/numbers", headers=admin)
    assert numbers.json()["area"]["cameras"] == counts["cameras"]
    table = await client.get(f"/v1/areas/{area}/numbers?format=csv", headers=admin)
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    assert ",'=여수공원," in table.text
    held = (await client.get(f"/v1/places/competent?lat={y}&lon={x}", headers=admin)).json()
    assert area in [one["id"] for one in held["areas"]]
    drawn = (await client.get(f"/v1/ogc/collections/areas/items?bbox={x},{y},{x},{y}", headers=stranger)).json()
    assert area in [one["id"] for one in drawn["features"]]
    assert (
        await client.post(f"/v1/areas/{area}/end", json={"valid_to": "2020-01-01"}, headers=admin)
    ).status_code == 204
    assert (await client.get(f"/v1/areas/{area}", headers=admin)).json()["valid_to"] == "2020-01-01"
    check_problem(await client.post(f"/v1/areas/{area}/end", json={"valid_to": "2030-01-01"}, headers=stranger), 403)


async def test_shapes_come_in_a_body_and_in_pages(
    client: httpx.AsyncClient, admin: dict[str, str], stranger: dict[str, str], ids: list[str]
) -> None:
    y, x = POINT
    route = {"type": "LineString", "coordinates": [[x, y + 0.0201], [x, y + 0.0099]]}
    seen, cursor = [], ""
    while True:
        answer = await client.post(
            f"/v1/camera-searches?limit=3{cursor}", json={"route": route, "buffer_m": 20}, headers=admin
        )
        page = answer.json()
        seen += [one["id"] for one in page["items"]]
        assert page["found"] == 11
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == ids[20:9:-1]
    body = {"polygon": mapping(shapely.box(x - 1e-4, y + 0.0155, x + 1e-4, y + 0.0185))}
    held = (await client.post("/v1/camera-searches", json=body, headers=admin)).json()
    assert ({one["id"] for one in held["items"]}, held["found"]) == (set(ids[16:19]), 3)
    assert (await client.post("/v1/camera-searches", json=body, headers=stranger)).json()["found"] == 0
    for wrong in (
        {"polygon": route}, {"route": body["polygon"]}, {"buffer_m": 5}, {"route": route, "buffer_m": 5000},
        {"route": route, "near": "34,127"}, {"polygon": {"type": "Polygon", "coordinates": "x"}}, {"shape": 1},
    ):  # fmt: skip
        check_problem(await client.post("/v1/camera-searches", json=wrong, headers=admin), 422)


async def test_the_organisation_over_http(
    client: httpx.AsyncClient, admin: dict[str, str], stranger: dict[str, str], district: UUID
) -> None:
    names = ("관제센터", "영상팀")
    center, team = [
        (
            await client.post(
                "/v1/agencies", json={"name": name, "kind": "division", "parent_id": str(district)}, headers=admin
            )
        ).json()["id"]
        for name in names
    ]
    moved = await client.post(f"/v1/agencies/{team}/moves", json={"parent_id": center}, headers=admin)
    assert moved.status_code == 204
    moves = (await client.get(f"/v1/agencies/{team}/moves", headers=stranger)).json()["items"]
    assert moves[0]["parent"] == "관제센터"
    assert [one["to"] is None for one in moves] == [True, False]
    check_problem(await client.post(f"/v1/agencies/{team}/moves", json={"parent_id": center}, headers=stranger), 403)
    group = (await client.post("/v1/agency-groups", json={"name": "협의회"}, headers=admin)).json()["id"]
    path = f"/v1/agency-groups/{group}/members"
    assert (await client.put(path, json={"agency_ids": [center, team]}, headers=admin)).json() == {"came": 2, "went": 0}
    assert [one["name"] for one in (await client.get(path, headers=stranger)).json()["items"]] == sorted(names)
    check_problem(await client.put(path, json={"agency_ids": []}, headers=stranger), 403)
    jurisdiction = f"/v1/agencies/{team}/jurisdiction"
    assert (await client.put(jurisdiction, json={"area_ids": []}, headers=admin)).json() == {"came": 0, "went": 0}
    assert (await client.get(jurisdiction, headers=admin)).json()["items"] == []
