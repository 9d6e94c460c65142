"""The log over HTTP: an auditor's file, checked offline; of others the hashes alone."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx

from app.audit import export, verify
from app.audit.verify import Key
from app.database import Database
from tests import factories

EXPORT = "/v1/audit/export"
REASON = {"reason": "2026년 11월 정기 감사"}


async def numbered(database: Database) -> None:
    """Wait until the service has numbered what was said so far."""
    async with database.bare.acquire() as connection:
        while await connection.fetchval("SELECT EXISTS (SELECT FROM audit_pending)"):  # noqa: ASYNC110 - no news of it
            await asyncio.sleep(0.01)


async def test_an_auditor_takes_the_log_and_checks_it(client: httpx.AsyncClient, database: Database) -> None:
    ours, theirs = await factories.agency(database), await factories.agency(database)
    auditor = await factories.person(database, ours, "auditor")
    stranger = await factories.person(database, theirs, "auditor")
    operator = await factories.person(database, ours, "operator")
    await factories.sign_in(client, stranger)
    await factories.sign_in(client, operator)
    headers = await factories.sign_in(client, auditor)
    await numbered(database)
    key = Key.read((await client.get("/v1/audit/key", headers=headers)).json()["vkey"])
    kept = (await client.get("/v1/audit/checkpoint", headers=headers)).text
    answered = await client.get(EXPORT, params=REASON, headers=headers)
    assert answered.status_code == 200
    assert answered.headers["content-disposition"].startswith("attachment; filename=")
    told = answered.content
    said = verify.check_export(iter(told.splitlines(keepends=True)), key, [kept], [], [])
    assert any("were withheld" in sentence for sentence in said)
    assert operator.login.encode() in told
    assert stranger.login.encode() not in told
    for row in told.split(b"\n")[3:]:
        if row.startswith(b"{"):
            header = json.loads(row.partition(b"\t")[0])
            assert str(ours) in (header.get("agency"), header.get("owner")) or header["act"] in (
                verify.ERASING,
                verify.DROPPED,
            )
    changed = told.replace(operator.login.encode(), b"x" * len(operator.login), 1)
    try:
        verify.check_export(iter(changed.splitlines(keepends=True)), key, [kept], [], [])
    except verify.Wrong:
        pass
    else:
        raise AssertionError("a changed file holds")


async def test_who_asks_says_why_and_is_written_down(client: httpx.AsyncClient, database: Database) -> None:
    body = await factories.agency(database)
    auditor, operator = [await factories.person(database, body, role) for role in ("auditor", "operator")]
    headers = await factories.sign_in(client, auditor)
    assert (await client.get(EXPORT, headers=headers)).status_code == 422
    assert (await client.get(EXPORT, params=REASON)).status_code == 401
    as_operator = await factories.sign_in(client, operator)
    assert (await client.get(EXPORT, params=REASON, headers=as_operator)).status_code == 403
    assert (await client.get(EXPORT, params=REASON, headers=headers)).status_code == 200
    written = await client.get("/v1/audit/entries", params={"act": "audit.exported"}, headers=headers)
    assert [one["who_and_why"]["reason"] for one in written.json()["items"]] == [REASON["reason"]]


async def test_an_export_ends_with_the_session(client: httpx.AsyncClient, database: Database, monkeypatch) -> None:
    body = await factories.agency(database)
    headers = await factories.sign_in(client, await factories.person(database, body, "auditor"))
    monkeypatch.setattr("app.audit.export.LOOK_SECONDS", 0.0)
    whole, ended = export.lines, asyncio.Event()

    async def waiting(*what, **more) -> AsyncIterator[tuple[int, bytes]]:
        async for part in whole(*what, **more):
            yield part
            await ended.wait()

    monkeypatch.setattr("app.audit.export.lines", waiting)
    async with client.stream("GET", EXPORT, params=REASON, headers=headers) as response:
        assert response.status_code == 200
        parts = response.aiter_bytes()
        told = await anext(parts)
        assert (await client.delete("/v1/sessions/current", headers=headers)).status_code == 204
        ended.set()
        async for part in parts:
            told += part
    assert "—".encode() not in told, "no checkpoint: the verifier cannot tell"
