"""A district whose camera another agency watches, and the people who answer for its registers."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import text

from app.access.hours import KOREA
from app.clock import now
from app.database import Database
from app.events.record import record
from app.events.report import Report
from app.ids import new_id
from tests import factories

EMERGENCY = {"purpose": "emergency_response", "basis": "KR-PIPA-18-2-3"}
CRIME = {"purpose": "crime_investigation", "basis": "KR-PIPA-18-2-7"}
IN_PURPOSE = {"purpose": "crime_prevention", "basis": "KR-PIPA-17-1-2"}
TODAY = now().astimezone(KOREA).date()
PERIOD = {"from": TODAY.isoformat(), "to": TODAY.isoformat()}


@dataclass
class Town:
    client: httpx.AsyncClient
    database: Database
    city: UUID
    district: UUID
    police: UUID
    camera: UUID
    officer: factories.Person
    signed_in: dict[str, dict[str, str]] = field(default_factory=dict)

    async def headers(self, role: str, agency: UUID | None = None) -> dict[str, str]:
        """Of a person in this role at the district, unless another agency is named."""
        key = f"{role} {agency}"
        if key not in self.signed_in:
            who = await factories.person(self.database, agency or self.district, role)
            self.signed_in[key] = await factories.sign_in(self.client, who)
        return self.signed_in[key]

    async def grant(self, reason: dict[str, Any] = EMERGENCY, who: dict[str, str] | None = None, **more: Any) -> UUID:
        """A grant of the district's camera: to the police officer, unless somebody else asks."""
        if who is None:
            if "officer" not in self.signed_in:
                self.signed_in["officer"] = await factories.sign_in(self.client, self.officer)
            who = self.signed_in["officer"]
        body = {"camera_ids": [str(self.camera)], **reason, **more}
        answer = await self.client.post("/v1/grants", json=body, headers=who)
        assert answer.status_code == 201, answer.text
        return UUID(answer.json()["grants"][0]["grant_id"])

    async def event(self, *, restriction: str, incident_id: UUID | None = None) -> UUID:
        report = Report(
            kind="bell.pressed", source="tests", source_key=str(new_id()), owner_agency_id=self.district,
            restriction=restriction, incident_id=incident_id,
        )  # fmt: skip
        async with self.database.begin() as session:
            return (await record(session, None, report)).id

    async def acts(self, act: str) -> list[Any]:
        async with self.database.begin() as session:
            rows = await session.execute(
                text("SELECT * FROM audit_entries WHERE act = :act AND owner_agency_id = :owner ORDER BY at, id"),
                {"act": act, "owner": self.district},
            )
            return list(rows.mappings())

    async def export(self, register: str, /, role: str = "admin", agency: UUID | None = None, **more: Any) -> Any:
        """The answer with a register of today."""
        body = {"register": register} | {**PERIOD, "reason": "월간 점검", "agency_id": str(self.district), **more}
        return await self.client.post(
            "/v1/reports/registers", json=body, headers=await self.headers(role, agency)
        )  # fmt: skip


async def town(client: httpx.AsyncClient, database: Database) -> Town:
    city = await factories.agency(database, "city")
    district = await factories.agency(database, "municipality", city)
    police = await factories.agency(database, "police")
    camera = await factories.camera(database, district)
    await factories.agreement(database, district, police, condition="제3자 재제공 금지")
    officer = await factories.person(database, police, "room")
    return Town(client, database, city, district, police, camera, officer)


def usb(**more: Any) -> dict[str, Any]:
    """Something that left on a stick, a moment ago: an hour ago may be yesterday."""
    return {
        "kind": "provide", "form": "video", "medium": "usb", "provided_at": (now() - timedelta(seconds=1)).isoformat(),
        "document_number": "형사과-123", "file_name": "clip.mp4", "crime": "절도", **CRIME, **more,
    }  # fmt: skip
