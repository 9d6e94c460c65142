"""Where pictures come from: only plain camera addresses, sealed at rest, and never told to anybody."""

import httpx
import pytest
from sqlalchemy import insert, select, text, update

from app.database import Database
from app.errors import NotFound, NotPermitted, UnsafeSource
from app.ids import new_id
from app.keys import Keys
from app.models import CameraPosition, Recorder, StreamSource
from app.registry import sources
from tests import factories
from tests.actors import actor
from tests.factories import LOOPBACK

ADDRESS = "rtsp://viewer:kept-s3cret@127.0.0.1:8554/secret-path/1"
SECRETS = ("kept-s3cret", "viewer", "127.0.0.1", "8554", "secret-path", "kept", "s3cret")
UNSAFE = [
    "exec:/bin/sh -c id",
    "exec:ffmpeg -i kept-s3cret -f rtsp {output}",
    "file:///etc/passwd",
    "concat:/etc/passwd|/etc/hosts",
    "subfile,,start,0,end,64,,:/etc/passwd",
    "ffmpeg:rtsp://8.8.8.8/1#video=copy",
    "echo:rtsp://8.8.8.8/",
    "data:text/plain,kept-s3cret",
    "gopher://8.8.8.8:70/_",
    "pipe:0",
    "tcp://8.8.8.8:80",
    "udp://8.8.8.8:80",
    "crypto+rtsp://8.8.8.8/",
    " rtsp://8.8.8.8/1",
    "rtsp ://8.8.8.8/1",
    "RTSP\t://8.8.8.8/1",
    "%65xec:/bin/sh",
    "EXEC:/bin/sh",
    "//8.8.8.8/1",
    "/etc/passwd",
    "rtsp:/8.8.8.8/1",
    "rtsp://u:kept-s3cret@/1",
    "rtsp://u:kept-s3cret@8.8.8.8/1\r\nSET_PARAMETER x",
    "rtsp://u:kept-s3cret@8.8.8.8/%0d%0aTEARDOWN",
    "rtsp://u:kept-s3cret@8.8.8.8/\0",
    "rtsp://u:kept-s3cret@8.8.8.8:99999/",
    "rtsp://u:kept-s3cret@8.8.8.8:22/",
    "rtsp://u:kept-s3cret@169.254.169.254/latest/meta-data",
    "http://10.0.0.1/cgi-bin/snapshot.jpg",
    "http://0x7f000001/",
    "http://[::1]/",
    "rtsp://사진기.example/1",
    "rtsp://8.8.8.8/ -i /etc/passwd",
]


async def administrators(client: httpx.AsyncClient, database: Database, owner: object) -> dict[str, str]:
    return await factories.sign_in(client, await factories.person(database, owner, "admin"))  # type: ignore[arg-type]


@pytest.mark.parametrize("address", UNSAFE)
async def test_what_is_no_plain_camera_address_is_refused_and_not_repeated(
    client: httpx.AsyncClient, database: Database, address: str
) -> None:
    district = await factories.agency(database)
    camera_id = await factories.camera(database, district, has_stream=False)
    as_admin = await administrators(client, database, district)
    refused = await client.put(f"/v1/cameras/{camera_id}/source", json={"url": address}, headers=as_admin)
    assert (refused.status_code, refused.json()["code"]) == (422, "unsafe_source")
    assert "kept-s3cret" not in refused.text
    assert "passwd" not in refused.text
    async with database.begin() as session:
        assert await session.scalar(select(StreamSource.id).where(StreamSource.position_id == camera_id)) is None
        with pytest.raises(UnsafeSource):
            await sources.put(session, None, Keys(b"k" * 32), camera_id, address, LOOPBACK)
    one = await client.get(f"/v1/cameras/{camera_id}", headers=as_admin)
    assert (one.json()["streaming"], one.json()["streams"]) == (False, [])


async def test_a_source_is_sealed_and_no_answer_and_no_row_tells_it(
    client: httpx.AsyncClient, database: Database, keys: Keys
) -> None:
    district = await factories.agency(database)
    camera_id = await factories.camera(database, district, has_stream=False)
    as_admin = await administrators(client, database, district)
    for profile in ("main", "sub"):
        body = {"url": ADDRESS, "profile": profile}
        answer = await client.put(f"/v1/cameras/{camera_id}/source", json=body, headers=as_admin)
        assert (answer.status_code, answer.content) == (204, b"")
    async with database.begin() as session:
        rows = (
            await session.scalars(select(StreamSource).where(StreamSource.position_id == camera_id))
        ).all()  # fmt: skip
        written = "".join(
            await session.scalars(text("SELECT e::text FROM audit_entries e WHERE camera_id = :id"), {"id": camera_id})
        )
        whole = "".join(
            await session.scalars(
                text("SELECT s::text FROM stream_sources s WHERE position_id = :id"), {"id": camera_id}
            )
        )
    assert {row.profile for row in rows} == {"main", "sub"}
    assert "source.changed" in written
    answers = [
        await client.get(path, headers=as_admin)
        for path in (
            f"/v1/cameras/{camera_id}", "/v1/cameras", "/v1/cameras?format=geojson", "/v1/cameras?streaming=true",
            f"/v1/audit/entries?camera_id={camera_id}",
        )
    ]  # fmt: skip
    assert answers[0].json()["streaming"] is True
    assert [stream["profile"] for stream in answers[0].json()["streams"]] == ["main", "sub"]
    told = written + whole + "".join(answer.text for answer in answers)
    for row in rows:
        assert row.address_sealed is not None
        assert row.key_id == keys.key_id
        assert sources.unseal(keys, camera_id, "live", row.profile, row.address_sealed) == ADDRESS
        for secret in SECRETS:
            assert secret.encode() not in row.address_sealed
    for secret in SECRETS[:1] + SECRETS[4:]:
        assert secret not in told
        assert secret.encode().hex() not in whole


def test_a_ciphertext_opens_in_its_own_row_with_its_own_key_only(keys: Keys) -> None:
    position_id = new_id()
    sealed = sources.seal(keys, position_id, "live", "main", ADDRESS)
    assert sources.unseal(keys, position_id, "live", "main", sealed) == ADDRESS
    for other in ((new_id(), "live", "main"), (position_id, "playback", "main"), (position_id, "live", "sub")):
        with pytest.raises(ValueError, match="another row"):
            sources.unseal(keys, *other, sealed)
    with pytest.raises(ValueError, match="another key"):
        sources.unseal(Keys(b"another deployment key, 32 bytes."), position_id, "live", "main", sealed)
    for damaged in (sealed[:-1], sealed[:20] + bytes([sealed[20] ^ 1]) + sealed[21:], b"", sealed[:11]):
        with pytest.raises(ValueError):
            sources.unseal(keys, position_id, "live", "main", damaged)
    assert sources.seal(keys, position_id, "live", "main", ADDRESS) != sealed  # a nonce of its own each time


async def test_only_the_owners_administrator_sets_a_source(
    client: httpx.AsyncClient, database: Database, keys: Keys
) -> None:
    district, police = await factories.agency(database), await factories.agency(database, "police")
    camera_id = await factories.camera(database, district)
    await factories.agreement(database, district, police)
    cases = [
        (district, "admin", None),
        (district, "operator", NotPermitted),
        (district, "shift_lead", NotPermitted),
        (police, "admin", NotPermitted),  # who may locate it is told that it is another's
        (await factories.agency(database), "admin", NotFound),
        (district, "auditor", NotFound),
    ]
    for agency_id, role, error in cases:
        who = await actor(database, agency_id, role)
        async with database.begin() as session:
            if error is None:
                await sources.put(session, who, keys, camera_id, ADDRESS, LOOPBACK)
                continue
            for address in (ADDRESS, "exec:id"):
                with pytest.raises(error):
                    await sources.put(session, who, keys, camera_id, address, LOOPBACK)
    async with database.begin() as session:
        with pytest.raises(NotFound):
            await sources.put(session, None, keys, new_id(), ADDRESS, LOOPBACK)


async def test_a_source_is_replaced_in_place(database: Database, keys: Keys) -> None:
    camera_id = await factories.camera(database, await factories.agency(database))
    for address in (ADDRESS, "rtsps://127.0.0.1/new"):
        await factories.source(database, keys, camera_id, address)
    async with database.begin() as session:
        row = (await session.scalars(select(StreamSource).where(StreamSource.position_id == camera_id))).one()
    assert row.address_sealed is not None
    assert sources.unseal(keys, camera_id, "live", "main", row.address_sealed) == "rtsps://127.0.0.1/new"


async def test_what_is_told_of_a_source_names_no_address_and_no_recorder(database: Database, keys: Keys) -> None:
    district = await factories.agency(database)
    camera_id = await factories.camera(database, district)
    await factories.source(database, keys, camera_id, ADDRESS)
    async with database.begin() as session:
        recorder_id = new_id()
        await session.execute(insert(Recorder).values(id=recorder_id, owner_agency_id=district, name="NVR 1"))
        await session.execute(
            update(StreamSource)
            .where(StreamSource.position_id == camera_id)
            .values(recorder_id=recorder_id, codec="h264", width=1920, height=1080)
        )
        told = await sources.described(session, camera_id)
        streaming = await session.scalar(select(CameraPosition.has_stream).where(CameraPosition.id == camera_id))
    assert told == [{"mode": "live", "profile": "main", "codec": "h264", "width": 1920, "height": 1080}]
    assert streaming is True
