"""A camera's own events become events of the catalogue: motion, analytics, and the bell on its digital input."""

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import insert, text

from app.database import Database
from app.ids import new_id
from app.keys import Keys
from app.models import Asset
from app.streams.onvif import listening, pullpoint, xml
from app.streams.onvif.listening import Listening
from app.streams.onvif.pullpoint import Ear, Noticed, Topic, noticed
from app.streams.writer import Writer
from tests import factories
from tests.factories import LOOPBACK
from tests.streams.fake_onvif import FakeOnvif, event, onvif

MOTION, INPUT = "tns1:VideoSource/MotionAlarm", "tns1:Device/tns1:Trigger/tnshik:DigitalInput"


def kinds(message: str) -> list[str]:
    return [one.meaning.kind for one in noticed(xml.read(message.encode()))]


def test_only_what_has_come_to_be_so_is_an_event() -> None:
    assert kinds(event(MOTION, "true")) == ["analytic.motion"]
    assert kinds(event(MOTION, "false")) == []
    assert kinds(event(MOTION, "true", operation="Initialized")) == []
    assert kinds(event("tns1:RuleEngine/FieldDetector/ObjectsInside", "true", name="IsInside")) == [
        "analytic.intrusion"
    ]
    assert kinds(event("tns1:RuleEngine/LineDetector/Crossed", "17", name="ObjectId")) == ["analytic.intrusion"]
    assert kinds(event(INPUT, "1", name="LogicalState")) == ["bell.pressed"]
    assert kinds(event("tns1:Monitoring/ProcessorUsage", "true")) == []
    assert kinds("<r><NotificationMessage><Topic>VideoSource/MotionAlarm</Topic></NotificationMessage></r>") == []


def test_what_repeats_is_one_and_too_much_is_dropped_but_no_bell(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(pullpoint.clock, "monotonic", lambda: now[0])
    ear = Ear(new_id(), new_id())
    motion = [Noticed("t", Topic("analytic.motion"), "1", "")]
    assert len(ear.reports(motion * 5)) == 1
    now[0] += pullpoint.REPEAT_SECONDS + 1
    assert len(ear.reports(motion)) == 1
    many = [Noticed("t", Topic("analytic.motion"), str(number), "") for number in range(200)]
    assert len(ear.reports(many)) <= pullpoint.MOST_A_MINUTE
    assert ear.dropped > 100
    bell = [Noticed("t", Topic("bell.pressed", of_bell=True), "1", "")]
    assert len(ear.reports(bell)) == 1
    assert Ear(new_id(), None).reports(bell) == [], "no bell hangs there"


async def told(database: Database, ids: list[UUID], count: int) -> list[Any]:
    async with asyncio.timeout(8):
        while True:
            async with database.begin() as session:
                rows = list(await session.execute(
                    text("SELECT kind, subject_id, data FROM events WHERE subject_id = ANY(:ids) ORDER BY id"),
                    {"ids": ids},
                ))  # fmt: skip
            if len(rows) >= count:
                return rows
            await asyncio.sleep(0.05)


async def test_cameras_that_are_configured_for_it_are_listened_to(
    client: httpx.AsyncClient, database: Database, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after a camera was lost: it is subscribed to again. The service of the tests listens, or this one does."""
    monkeypatch.setattr(listening, "AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(listening, "RENEW_SECONDS", 0.2)
    owner = await factories.agency(database)
    camera, deaf, bell = await factories.camera(database, owner), await factories.camera(database, owner), new_id()
    async with database.begin() as session:
        await session.execute(
            insert(Asset).values(id=bell, kind="bell", owner_agency_id=owner, external_key=str(bell), name="벨")
        )
    admin = await factories.sign_in(client, await factories.person(database, owner, "admin"))
    async with onvif() as spoken, onvif(FakeOnvif()) as silent:
        body = {"url": spoken.url, "listens": True, "bell_id": str(bell)}
        for which, said in ((camera, body), (deaf, {"url": silent.url})):
            answer = await client.put(f"/v1/cameras/{which}/control", json=said, headers=admin)
            assert answer.status_code == 204, answer.text
        stranger = await factories.agency(database)
        other = await factories.sign_in(client, await factories.person(database, stranger, "admin"))
        foreign = await factories.camera(database, stranger)
        refused = await client.put(f"/v1/cameras/{foreign}/control", json=body, headers=other)
        assert (refused.status_code, refused.json()["field"]) == (404, "bell_id")
        task = asyncio.create_task(
            Listening(database, keys, Writer(database, lambda: None), "here", LOOPBACK, None).run()
        )
        try:
            spoken.events.put_nowait(event(MOTION, "true"))
            spoken.events.put_nowait("<s:Fault><s:Reason><s:Text>gone</s:Text></s:Reason></s:Fault>")
            spoken.events.put_nowait(event(INPUT, "true", name="LogicalState"))
            rows = await told(database, [camera, bell], 2)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert [(row.kind, row.subject_id) for row in rows] == [("analytic.motion", camera), ("bell.pressed", bell)]
        assert rows[0].data["rule"] == "VideoSource/MotionAlarm"
        assert spoken.operations.count("CreatePullPointSubscription") >= 2
        assert silent.operations == []
