"""A file sent over HTTP: previewed, applied, taken back; refused early where it must be, and never half done."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import func, select, text

from app.announcements import Announcements
from app.database import Database
from app.errors import TooLarge
from app.ids import new_id
from app.keys import Keys
from app.models import CameraPosition, Import, Site
from app.registry.imports import files, running
from app.registry.imports import sniff as sniffing
from app.registry.imports.running import Importing
from app.settings import Settings
from tests import factories
from tests.registry.import_tables import SEOUL, STANDARD_18, csv_text, line, lines, xlsx, zipped


@dataclass
class Administrator:
    doors: httpx.AsyncClient
    headers: dict[str, str]
    agency: UUID

    async def __call__(self, method: str, path: str, **more: Any) -> httpx.Response:
        return await self.doors.request(method, f"/v1{path}", headers=self.headers | more.pop("headers", {}), **more)

    async def send(self, content: bytes | str, **query: Any) -> httpx.Response:
        body = content.encode() if isinstance(content, str) else content
        return await self("POST", "/imports", content=body, params=query)

    async def until(self, import_id: str, *states: str) -> dict[str, Any]:
        for _ in range(400):
            told = (await self("GET", f"/imports/{import_id}")).json()
            if told["state"] in states:
                return told
            await asyncio.sleep(0.03)
        raise AssertionError(told)

    async def ready(self, content: bytes | str, **query: Any) -> dict[str, Any]:
        sent = await self.send(content, **query)
        assert sent.status_code == 201, sent.text
        assert sent.headers["location"] == f"/v1/imports/{sent.json()['id']}"
        return await self.until(sent.json()["id"], "ready", "failed")

    async def applied(self, content: bytes | str, **query: Any) -> dict[str, Any]:
        told = await self.ready(content, **query)
        answer = await self("POST", f"/imports/{told['id']}/apply")
        assert answer.status_code == 202, answer.text
        return await self.until(told["id"], "applied", "failed")


async def administrator(
    client: httpx.AsyncClient, database: Database, agency: UUID | None = None, role: str = "admin"
) -> Administrator:
    agency = agency or await factories.agency(database)
    return Administrator(
        client, await factories.sign_in(client, await factories.person(database, agency, role)), agency
    )


@pytest.fixture
async def admin(client: httpx.AsyncClient, database: Database) -> Administrator:
    return await administrator(client, database)


async def count(database: Database, agency: UUID) -> int:
    async with database.begin() as session:
        query = select(func.count()).where(
            CameraPosition.owner_agency_id == agency, CameraPosition.retired_at.is_(None)
        )
        return await session.scalar(query) or 0


async def test_a_file_is_previewed_applied_and_taken_back(
    admin: Administrator, database: Database, settings: Settings
) -> None:
    rows = [*lines(5), line(관리번호="202439990000899999", WGS84위도="0", WGS84경도="0")]
    told = await admin.ready(csv_text(rows).encode("cp949"), file_name="C:\\자료\\새솔구.csv")
    assert (told["state"], told["kind"], told["file_name"]) == ("ready", "cameras", "새솔구.csv")
    preview = told["preview"]
    assert (preview["new"], preview["changed"], preview["unchanged"], preview["new_cameras"]) == (6, 0, 0, 18)
    assert preview["examples"]["new"][0]["row_number"] == 2
    assert await count(database, admin.agency) == 0
    assert files.waiting(settings.home) >= {UUID(told["id"])}

    answer = await admin("POST", f"/imports/{told['id']}/apply")
    assert answer.status_code == 202
    told = await admin.until(told["id"], "applied", "failed")
    assert told["result"]["new_cameras"] == 18
    assert told["applied_at"]
    assert await count(database, admin.agency) == 18
    async with asyncio.timeout(5):  # thrown away once that is committed
        while files.path_of(settings.home, UUID(told["id"])).parent.exists():  # noqa: ASYNC110 - a folder
            await asyncio.sleep(0.02)
    again = await admin("POST", f"/imports/{told['id']}/apply")
    assert (again.status_code, again.json()["state"]) == (409, "applied")

    found = (await admin("GET", f"/imports/{told['id']}/findings", params={"code": "coordinates_zero"})).json()
    assert [(item["row_number"], item["severity"]) for item in found["items"]] == [(7, "warning")]
    assert found["items"][0]["message_en"] == "coordinates are zero"

    changed = [*rows[:3], line(관리번호="202439990000877777")]
    changed[0] = [{"30": "60"}.get(cell, cell) for cell in changed[0]]
    second = (await admin.ready(csv_text(changed)))["preview"]
    assert (second["new"], second["changed"], second["unchanged"], second["vanished"]) == (1, 1, 2, 3)
    assert second["examples"]["changed"][0]["differs"] == ["retention_days"]

    answer = await admin("POST", f"/imports/{told['id']}/undo")
    assert answer.status_code == 202, answer.text
    assert (await admin.until(told["id"], "undone", "applied"))["undone_at"]
    assert await count(database, admin.agency) == 0
    listed = (await admin("GET", "/imports")).json()["items"]
    assert {item["state"] for item in listed} == {"undone", "ready"}


async def test_findings_come_as_a_table_without_formulas(admin: Administrator) -> None:
    row = line(설치목적구분='=HYPERLINK("http://x","y")', 카메라화소수="-9")
    told = await admin.ready(csv_text([row]))
    answer = await admin("GET", f"/imports/{told['id']}/findings", params={"format": "csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    cells = [cell for each in answer.text.lstrip("\ufeff").splitlines() for cell in each.split(",")]
    assert any(cell.startswith(("'=", "\"'=")) for cell in cells)
    assert not any(cell.startswith(("=", "+", "-", "@", '"=')) for cell in cells)


async def test_pages_of_findings_hold_each_once(admin: Administrator) -> None:
    told = await admin.ready(csv_text([line(관리번호=str(number), 카메라화소수="0") for number in range(25)]))
    seen, cursor = [], None
    while True:
        page = (
            await admin(
                "GET", f"/imports/{told['id']}/findings", params={"limit": 10} | ({"cursor": cursor} if cursor else {})
            )
        ).json()
        seen += [item["number"] for item in page["items"]]
        if not (cursor := page["next_cursor"]):
            break
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) >= 25


async def test_who_may_not_register_imports_nothing_and_others_do_not_exist(
    admin: Administrator, client: httpx.AsyncClient, database: Database
) -> None:
    told = await admin.ready(csv_text(lines(1)))
    operator = await administrator(client, database, admin.agency, "operator")
    stranger = await administrator(client, database)
    assert (await operator.send(csv_text(lines(1)))).status_code == 403
    assert (await operator("GET", f"/imports/{told['id']}")).status_code == 403
    for method, path in (
        ("GET", ""), ("GET", "/findings"), ("POST", "/apply"), ("POST", "/undo"), ("POST", "/cancel"),
    ):  # fmt: skip
        assert (await stranger(method, f"/imports/{told['id']}{path}")).status_code == 404, path
        assert (await client.request(method, f"/v1/imports/{told['id']}{path}")).status_code == 401
    assert (await stranger("GET", "/imports")).json()["items"] == []
    assert (await client.post("/v1/imports", content=b"x")).status_code == 401


async def test_rows_by_label_go_to_agencies_below_and_to_no_others(
    client: httpx.AsyncClient, database: Database
) -> None:
    city = await factories.agency(database, "city")
    below, other = factories.name("새솔구"), factories.name("너른구")
    async with database.begin() as session:
        district = await factories.agencies.add(session, None, name=below, kind="municipality", parent_id=city)
        await factories.agencies.add(session, None, name=other, kind="municipality")
    admin = await administrator(client, database, city)
    rows = [line(SEOUL, 자치구=below), line(SEOUL, 자치구=other)]
    told = await admin.ready(csv_text(rows, SEOUL), by_label=True)
    assert told["preview"]["unknown_institutions"] == [other]
    answer = await admin("POST", f"/imports/{told['id']}/apply")
    assert answer.status_code == 409
    assert answer.json()["missing_institutions"] == [other]
    assert (await admin.applied(csv_text(rows[:1], SEOUL), by_label=True))["state"] == "applied"
    assert await count(database, district) == 2


async def test_what_is_too_large_or_a_bomb_is_refused_early(
    admin: Administrator, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files.waiting(settings.home)

    assert await _announced(admin, 2 << 30) == 413
    bomb = zipped({"xl/workbook.xml": "<x/>", "xl/worksheets/sheet1.xml": b" " * (30 << 20)})
    answer = await admin.send(bomb)
    assert answer.status_code == 422
    assert "zip bomb" in answer.json()["detail"]
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 1000)
    monkeypatch.setattr(sniffing, "MAX_FILE_BYTES", 1000)

    async def growing() -> Any:
        for _ in range(100):
            yield b"x" * 500

    assert (await admin("POST", "/imports", content=growing())).status_code == 413
    assert files.waiting(settings.home) == before


async def test_a_file_that_grows_too_large_is_not_taken_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 1000)

    async def growing() -> Any:
        for _ in range(3):
            yield b"x" * 500
        raise AssertionError("it was read on")

    with pytest.raises(TooLarge):
        await files.receive(tmp_path, new_id(), growing())
    assert files.waiting(tmp_path) == set()


async def _announced(admin: Administrator, size: int) -> int:
    """The status of an answer to a request that only announces its body."""
    url = admin.doors.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = f"POST /v1/imports HTTP/1.1\r\nHost: x\r\nAuthorization: {admin.headers['Authorization']}\r\n"
    writer.write(f"{head}Content-Length: {size}\r\n\r\n".encode())
    status = await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    return int(status.split()[1])


async def test_columns_are_mapped_by_hand_where_no_header_is_known(admin: Administrator) -> None:
    content = csv_text(lines(3), None)
    refused = (await admin.send(content)).json()
    assert (refused["code"], len(refused["seen"])) == ("unusable_file", 18)
    assert "WGS84위도" in refused["expected"]
    mapping = '{"위도": "#13", "경도": "#14", "도로명주소": "#4", "카메라대수": "#7", "관리번호": "#2"}'
    assert (await admin.ready(content, mapping=mapping))["preview"]["new"] == 3
    for wrong in ("{", "[]", '{"위도": 3}', '{"색깔": "#1"}'):
        assert (await admin.send(content, mapping=wrong)).json()["field"] == "mapping"


async def test_a_cancelled_import_leaves_nothing(admin: Administrator, settings: Settings) -> None:
    told = await admin.ready(csv_text(lines(2)))
    answer = await admin("POST", f"/imports/{told['id']}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert (await admin("POST", f"/imports/{told['id']}/apply")).status_code == 409
    assert (await admin("POST", f"/imports/{told['id']}/cancel")).status_code == 409


async def test_what_depends_on_an_import_keeps_it(admin: Administrator, database: Database, keys: Keys) -> None:
    told = await admin.applied(csv_text(lines(2)))
    async with database.begin() as session:
        camera = await session.scalar(select(CameraPosition.id).where(CameraPosition.owner_agency_id == admin.agency))
    await factories.source(database, keys, camera, "rtsp://127.0.0.1/1")
    answer = await admin("POST", f"/imports/{told['id']}/undo")
    assert answer.status_code == 409
    assert "1 stream sources" in answer.json()["detail"]
    assert await count(database, admin.agency) == 6


async def test_imports_are_undone_one_after_the_other(admin: Administrator, database: Database) -> None:
    first = await admin.applied(csv_text(lines(2)), file_name="first.csv")
    changed = [[str(cell).replace("푸른들로", "새벽길") for cell in row] for row in lines(3)]
    second = await admin.applied(csv_text(changed), file_name="second.csv")
    assert (second["result"]["changed"], second["result"]["new"]) == (2, 1)
    answer = await admin("POST", f"/imports/{first['id']}/undo")
    assert answer.status_code == 409
    assert any("second.csv" in reason for reason in answer.json()["reasons"])
    for one in (second, first):
        assert (await admin("POST", f"/imports/{one['id']}/undo")).status_code == 202
        assert (await admin.until(one["id"], "undone", "applied"))["state"] == "undone"
        async with database.begin() as session:
            roads = set(await session.scalars(select(Site.road_address).where(Site.owner_agency_id == admin.agency)))
        assert all("푸른들로" in road for road in roads)
        assert len(roads) == (2 if one is second else 0)


async def test_no_secret_of_a_file_is_stored(admin: Administrator, database: Database, caplog: Any) -> None:
    secrets = ("10.77.88.99", "hunter2", "rtsp://viewer")
    row = line(소재지도로명주소="푸른들로 12 (10.77.88.99)", 촬영방면정보="rtsp://viewer:hunter2@10.77.88.99/1")
    told = await admin.applied(csv_text([row]), file_name="cams 10.77.88.99.csv")
    assert told["state"] == "applied"
    async with database.begin() as session:
        for table in (
            "sites",
            "camera_positions",
            "imports",
            "import_findings",
            "import_changes",
            "audit_entries",
            "events",
        ):
            stored = (
                await session.execute(text(f"SELECT coalesce(string_agg(t::text, ' '), '') FROM {table} t"))
            ).scalar_one()
            assert not any(secret in stored for secret in secrets), table
    assert not any(secret in str(told) or secret in caplog.text for secret in secrets)


# --- jobs that outlive their process


@pytest.fixture
async def quiet(database: Database, settings: Settings, database_url: str) -> Importing:
    """A process of its own that works on imports when it is told to."""
    return Importing(database, settings.home, "elsewhere", "elsewhere/1", Announcements(database_url))


async def waiting_import(admin: Administrator, database: Database, state: str = "reading") -> UUID:
    """An import whose file waits on the node `elsewhere`, as one that was taken by a process that died."""
    told = await admin.ready(csv_text(lines(4)))
    async with database.begin() as session:
        await session.execute(
            text("UPDATE imports SET state = :state, node = 'elsewhere', leased_by = 'dead/1', attempts = 1,"
                 " leased_until = now() - interval '1 second', preview = '{}' WHERE id = :id"),
            {"id": UUID(told["id"]), "state": state},
        )  # fmt: skip
        await session.execute(text("DELETE FROM import_findings WHERE import_id = :id"), {"id": UUID(told["id"])})
    return UUID(told["id"])


@pytest.mark.parametrize(("state", "after"), [("reading", "ready"), ("applying", "applied")])
async def test_a_step_that_a_dead_process_began_is_done_by_another(
    admin: Administrator, database: Database, quiet: Importing, state: str, after: str
) -> None:
    import_id = await waiting_import(admin, database, state)
    assert await quiet.once()
    async with database.begin() as session:
        row = await session.get_one(Import, import_id)
    assert (row.state, row.leased_by) == (after, "")
    assert await count(database, admin.agency) == (12 if after == "applied" else 0)
    assert not await quiet.once()


@pytest.mark.parametrize("meanwhile", ["leased_by = 'another/1'", "state = 'cancelled'"])
async def test_a_step_that_is_no_longer_ours_leaves_nothing(
    admin: Administrator, database: Database, quiet: Importing, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    import_id = await waiting_import(admin, database, "applying")
    bring = running.importer.bring

    async def slow(*args: Any, **options: Any) -> Any:
        done = await bring(*args, **options)
        async with database.begin() as session:
            await session.execute(text(f"UPDATE imports SET {meanwhile} WHERE id = :id"), {"id": import_id})
        return done

    monkeypatch.setattr(running.importer, "bring", slow)
    assert await quiet.once()
    assert await count(database, admin.agency) == 0


async def test_what_never_comes_to_an_end_fails(admin: Administrator, database: Database, quiet: Importing) -> None:
    import_id = await waiting_import(admin, database)
    async with database.begin() as session:
        await session.execute(text("UPDATE imports SET attempts = 3 WHERE id = :id"), {"id": import_id})
    assert await quiet.once()
    told = await admin.until(str(import_id), "failed")
    assert "begun three times" in told["problem"]["detail"]


async def test_who_lost_the_office_imports_no_more(admin: Administrator, database: Database, quiet: Importing) -> None:
    import_id = await waiting_import(admin, database, "applying")
    async with database.begin() as session:
        await session.execute(
            text("UPDATE appointments SET role = 'operator' WHERE agency_id = :id"), {"id": admin.agency}
        )
    assert await quiet.once()
    async with database.begin() as session:
        row = await session.get_one(Import, import_id)
    assert (row.state, row.problem["code"]) == ("failed", "not_permitted")
    assert await count(database, admin.agency) == 0


async def test_a_workbook_comes_in_too(admin: Administrator) -> None:
    told = await admin.applied(xlsx([SEOUL, *lines(3, SEOUL)]), file_name="a.csv", kind="cameras")
    assert told["result"]["new"] == 3
    assert (await admin.ready(xlsx([SEOUL, *lines(3, SEOUL)])))["preview"]["unchanged"] == 3
    wrong = await admin.send(csv_text(lines(1), STANDARD_18), kind="mirrors")
    assert wrong.json()["field"] == "kind"


async def test_what_a_job_does_is_written_down_as_of_the_request(admin: Administrator, database: Database) -> None:
    """The session and the address of who asked, though the work is done later, by whichever process."""
    told = await admin.applied(csv_text(lines(3)))
    assert (await admin("POST", f"/imports/{told['id']}/undo")).status_code == 202
    await admin.until(told["id"], "undone")
    async with database.begin() as session:
        rows = await session.execute(
            text("SELECT act, payload FROM audit_entries WHERE subject_id = :id"), {"id": UUID(told["id"])}
        )
        said = {row.act: row.payload for row in rows}
    assert {"import.received", "import.applied", "import.undone"} <= set(said)
    asked = said["import.received"]
    for act in ("import.applied", "import.undone"):
        assert (said[act]["session_id"], said[act]["address"]) == (asked["session_id"], asked["address"]), act
    assert asked["address"] not in str(told), "nor is it told with the job"
