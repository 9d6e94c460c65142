"""What happened while the database was away: spooled, imported once each, amended, and what may begin meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import orjson
import pytest

from app.audit import spool
from app.audit.spool import Record, Spool
from app.database import Database
from app.errors import AuditUnavailable, BoundElsewhere, GrantEnded
from app.keys import Keys
from app.streams import late, reconcile, views
from app.streams.late import Late
from app.streams.urls import Pass
from app.streams.views import Asking, Carrier, Ending, Opened
from app.streams.writer import Writer
from tests import factories
from tests.streams import opening

MOST = 1 << 20
PEER = "10.66.0.1"
SILENCED = "UPDATE nodes SET seen_at = now() - interval '1 hour' WHERE name = $1"
ENDING = Ending("unvouched", 12_345, 6.5)


@dataclass
class Scene:
    """An owner's operator with a duty view, the process that carries it, and its spool."""

    database: Database
    writer: Writer
    keys: Keys
    carrier: Carrier
    ticket: Pass
    view: Opened
    late: Late

    async def bring_in(self) -> int:
        await self.late.spool.seal()
        return await late.bring_in(self.writer, self.late.spool, self.keys, MOST)

    async def row(self, view_id: UUID) -> Any:
        async with self.database.bare.acquire() as connection:
            return await connection.fetchrow("SELECT * FROM views WHERE id = $1", view_id)

    async def entries(self, subject: UUID) -> list[tuple[str, Any, bool]]:
        """Act, payload and whether it came late, of the entries about something, in their order."""
        async with self.database.bare.acquire() as connection:
            rows = await connection.fetch(
                "SELECT act, payload, late_from FROM audit_entries WHERE subject_id = $1 ORDER BY at, id", subject
            )
        return [(row["act"], row["payload"], row["late_from"] is not None) for row in rows]


@pytest.fixture
async def scene(
    client: httpx.AsyncClient, database: Database, keys: Keys, tmp_path: Path
) -> AsyncIterator[Scene]:  # fmt: skip
    owner = await factories.agency(database)
    camera = await factories.camera(database, owner)
    headers = await factories.sign_in(client, await factories.person(database, owner))
    carrier = await opening.carrier(database)
    async with opening.writing(database) as writer:
        ticket = await opening.granted(client, keys, headers, camera)
        view = await opening.opened(writer, ticket, carrier, peer=PEER)
        kept = Late(Spool(tmp_path / "spool", keys, carrier.node, hours=1, most_bytes=MOST), carrier)
        kept.confirmed(view)
        yield Scene(database, writer, keys, carrier, ticket, view, kept)


async def test_a_views_end_is_imported_late_and_once(scene: Scene) -> None:
    await scene.late.closed(scene.view, ENDING)
    (path,) = spool.left(scene.late.spool.folder)
    await scene.late.spool.seal()
    again = path.read_bytes()
    assert await scene.bring_in() == 1
    assert not path.exists()
    closed = await scene.row(scene.view.id)
    assert (closed["cause"], closed["bytes"], closed["seconds"]) == (ENDING.cause, ENDING.bytes, ENDING.seconds)
    assert [(act, is_late) for act, _, is_late in await scene.entries(scene.view.id)] == [
        ("view.opened", False), ("view.closed", True),
    ]  # fmt: skip
    spool_id = spool_of(again, scene.keys, path)
    (told,) = await told_of_spools(scene)
    assert (told["records"], told["views"], told["node"]) == (1, 1, scene.carrier.node)
    assert told["began_at"] <= told["ended_at"]
    path.write_bytes(again)  # as after a crash between the last commit and the file's end
    assert await scene.bring_in() == 1
    assert len(await scene.entries(scene.view.id)) == 2
    assert len(await told_of_spools(scene)) == 1, "the owner hears of it once"
    assert [(act, is_late) for act, _, is_late in await scene.entries(spool_id)] == [("spool.imported", True)]


async def told_of_spools(scene: Scene) -> list[dict[str, Any]]:
    """What the owner of the camera was told of local spools."""
    rows = await scene.database.bare.fetch(
        "SELECT data::text, restriction FROM events WHERE kind = 'audit.spooling' AND owner_agency_id = $1",
        scene.view.permit.facts["owner_agency_id"],
    )
    assert {row["restriction"] for row in rows} <= {"internal"}
    return [orjson.loads(row["data"]) for row in rows]


async def test_for_how_long_a_process_spools_is_told_in_numbers(client: httpx.AsyncClient) -> None:
    assert "gwanje_spooling_seconds 0.0" in (await client.get("/metrics")).text


def spool_of(data: bytes, keys: Keys, path: Path) -> UUID:
    path.write_bytes(data)
    found = spool.read(path, keys, MOST)
    path.unlink()
    return found.id


async def test_an_import_that_was_broken_off_goes_on(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late, "AT_ONCE", 1)
    await scene.late.closed(scene.view, ENDING)
    await scene.late.closed(scene.view, replace(ENDING, cause="client"))
    transact, calls = scene.writer.transact, iter(range(100))

    async def breaks(work: Any) -> Any:
        if next(calls) == 1:
            raise AuditUnavailable("away") from ConnectionError()
        return await transact(work)

    with monkeypatch.context() as patch:
        patch.setattr(scene.writer, "transact", breaks)
        with pytest.raises(AuditUnavailable):
            await scene.bring_in()
    assert len(spool.left(scene.late.spool.folder)) == 1, "nothing of it is lost"
    assert await scene.bring_in() == 1
    assert [act for act, _, _ in await scene.entries(scene.view.id)] == ["view.opened", "view.closed"]


async def test_who_brings_the_end_knows_it_better_than_who_found_the_view_left(scene: Scene) -> None:
    await scene.late.closed(scene.view, ENDING)
    async with scene.database.bare.acquire() as connection:
        await connection.execute(SILENCED, scene.carrier.node)
    assert await reconcile.beat(scene.database, scene.writer, f"tests/{scene.view.id}") >= 1
    assert (await scene.row(scene.view.id))["cause"] == "node_lost"
    await scene.bring_in()
    assert (await scene.row(scene.view.id))["cause"] == ENDING.cause
    assert [act for act, _, _ in await scene.entries(scene.view.id)] == ["view.opened", "view.closed", "view.closed"]
    await scene.late.closed(scene.view, replace(ENDING, cause="client"))
    await scene.bring_in()
    assert (await scene.row(scene.view.id))["cause"] == ENDING.cause, "an end that is known stays"


async def test_nobody_is_found_dead_because_the_database_was_away(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "SILENT_SECONDS", 0.4)
    heart = reconcile.Heart(scene.database, scene.writer, f"tests/{scene.view.id}")
    await asyncio.sleep(0.5)  # nobody could say that it lives
    async with scene.database.bare.acquire() as connection:
        await connection.execute(SILENCED, scene.carrier.node)
    await heart.beat()
    assert (await scene.row(scene.view.id))["closed_at"] is None, "it has not had the time to say so"
    async with asyncio.timeout(5):
        while (await scene.row(scene.view.id))["closed_at"] is None:
            await asyncio.sleep(0.1)
            await heart.beat()


async def test_owners_come_back_as_they_were_permitted(scene: Scene) -> None:
    asking = Asking("fmp4", PEER)
    allowed = scene.late.permit(scene.ticket, asking)
    assert allowed is not None
    assert allowed.remembered
    view = await scene.late.opened(allowed, asking)
    with pytest.raises(AuditUnavailable):
        await views.close(scene.writer, view, ENDING)  # its opening is not imported yet
    await scene.late.closed(view, ENDING)
    data = spool.left(scene.late.spool.folder)[0].read_bytes()
    assert b"address_sealed" not in data
    assert b'"sources"' not in data
    await scene.bring_in()
    row = await scene.row(view.id)
    assert (row["cause"], row["bytes"], row["grant_id"]) == (ENDING.cause, ENDING.bytes, scene.ticket.grant_id)
    (first, said, is_late), (second, _, _) = await scene.entries(view.id)
    assert (first, second, is_late) == ("view.opened", "view.closed", True)
    assert PEER in said


async def test_a_view_that_began_meanwhile_ends_as_any_other(scene: Scene) -> None:
    asking = Asking("fmp4", PEER)
    allowed = scene.late.permit(scene.ticket, asking)
    assert allowed is not None
    view = await scene.late.opened(allowed, asking)
    await scene.bring_in()
    await views.close(scene.writer, view, ENDING)
    assert (await scene.row(view.id))["cause"] == ENDING.cause


async def test_nobody_else_comes_in_while_the_database_is_away(
    scene: Scene, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = Asking("fmp4", PEER)
    with pytest.raises(BoundElsewhere):
        scene.late.permit(scene.ticket, Asking("fmp4", "10.66.0.2"))
    assert scene.late.permit(replace(scene.ticket, camera_id=scene.view.id), asking) is None
    facts = {**scene.view.permit.facts, "kind": "emergency"}
    other = replace(scene.view, permit=replace(scene.view.permit, facts=facts))
    fresh = Late(scene.late.spool, scene.carrier)
    fresh.confirmed(other)
    assert fresh.permit(scene.ticket, asking) is None, "only the owner's duty"
    over = replace(scene.view.permit, facts={**scene.view.permit.facts, "seconds_left": -1.0})
    fresh.confirmed(replace(scene.view, permit=over))
    with pytest.raises(GrantEnded):
        fresh.permit(scene.ticket, asking)
    scene.late.over(lambda permit: permit.ticket.grant_id == scene.ticket.grant_id)
    assert scene.late.permit(scene.ticket, asking) is None, "it was revoked"


async def test_that_owners_watch_on_is_written_down(scene: Scene) -> None:
    await scene.late.going_on([(scene.view, 1000)])
    await scene.late.going_on([(scene.view, 2000)])
    (path,) = spool.left(scene.late.spool.folder)
    await scene.late.spool.seal()
    again = path.read_bytes()
    await scene.bring_in()
    path.write_bytes(again)  # whoever imports it again adds nothing
    await scene.bring_in()
    assert (await scene.row(scene.view.id))["bytes"] == 2000
    assert [act for act, _, _ in await scene.entries(scene.view.id)] == ["view.opened", "view.continued"]


async def test_a_tampered_spool_is_kept_aside_and_told(scene: Scene) -> None:
    await scene.late.closed(scene.view, ENDING)
    await scene.late.spool.seal()
    (path,) = spool.left(scene.late.spool.folder)
    path.write_bytes(path.read_bytes().replace(b"12345", b"00001"))
    assert await scene.bring_in() == 1
    assert scene.late.spool.refused() == 1
    assert spool.left(scene.late.spool.folder) == []
    assert (await scene.row(scene.view.id))["closed_at"] is None
    async with scene.database.bare.acquire() as connection:
        told = await connection.fetchval(
            "SELECT payload FROM audit_entries WHERE act = 'spool.refused' AND payload ->> 'file' = $1",
            path.with_suffix(spool.REFUSED).name,
        )
    assert "record 1" in told


async def test_one_record_that_cannot_be_imported_does_not_hold_up_the_others(scene: Scene) -> None:
    bad = Record("view.closed", {"view_id": "no id", "view_at": None})
    unknown = Record("view.vanished", {})
    orphan = Record("view.opened", {**said_of_nobody(scene), "grant_id": str(scene.view.id)})
    await scene.late.spool.write([bad, unknown, orphan])
    await scene.late.closed(scene.view, ENDING)
    (path,) = spool.left(scene.late.spool.folder)
    spool_id = spool.read(path, scene.keys, MOST).id
    await scene.bring_in()
    assert (await scene.row(scene.view.id))["cause"] == ENDING.cause
    ((act, said, _),) = await scene.entries(spool_id)
    assert act == "spool.imported"
    assert [str(record.id) in said for record in (bad, unknown, orphan)] == [True] * 3


def said_of_nobody(scene: Scene) -> dict[str, Any]:
    facts = {
        name: value for name, value in scene.view.permit.facts.items() if name not in ("sources", "device_key_digest")
    }
    return {
        "view_id": str(scene.ticket.camera_id), "grant_at": scene.ticket.grant_at.isoformat(),
        "camera_id": str(scene.ticket.camera_id), "profile": "main", "protocol": "fmp4", "peer": PEER, "facts": facts,
        "gateway": scene.carrier.gateway, "node": scene.carrier.node,
    }  # fmt: skip
