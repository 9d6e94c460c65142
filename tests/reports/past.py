"""What happened in another month, written straight into the tables as the writer and the edge would have left it."""

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from app.audit import entries
from app.database import Database
from app.ids import new_id
from app.reports.calendar import KOREA, Month
from tests import factories

MONTH = Month(2026, 9)


def at(day: int, hour: float = 12.0) -> datetime:
    """A moment of MONTH, by Korean days and hours."""
    return datetime(2026, 9, 1, tzinfo=KOREA) + timedelta(days=day - 1, hours=hour)


@dataclass
class Past:
    """One institution and what its people did."""

    base: Database
    agency: UUID
    sessions: dict[UUID, UUID] = field(default_factory=dict)

    @classmethod
    async def of(cls, base: Database, kind: str = "municipality") -> "Past":
        agency = await factories.agency(base, kind)
        made = cls(base, agency)
        await base.bare.execute("UPDATE agencies SET created_at = '2025-01-01' WHERE id = $1", agency)
        return made

    async def person(self, role: str = "operator", agency: UUID | None = None) -> factories.Person:
        return await factories.person(self.base, agency or self.agency, role)

    async def camera(self, *area_ids: UUID) -> UUID:
        return await factories.camera(self.base, self.agency, area_ids=area_ids)

    async def _session(self, who: factories.Person) -> UUID:
        if who.user_id not in self.sessions:
            self.sessions[who.user_id] = new_id()
            await self.base.bare.execute(
                "INSERT INTO sessions (id, token_digest, user_id, appointment_id, expires_at)"
                " VALUES ($1, $2, $3, $4, now() - interval '1 hour')",
                self.sessions[who.user_id], self.sessions[who.user_id].bytes, who.user_id, who.appointment_id,
            )  # fmt: skip
        return self.sessions[who.user_id]

    async def duty(
        self, who: factories.Person, began: datetime, hours: float, *, planned: dict[str, str] | None = None
    ) -> UUID:  # fmt: skip
        duty = new_id()
        await self.base.bare.execute(
            "INSERT INTO duties (id, appointment_id, agency_id, began_at, ends_at, ended_at, planned)"
            " VALUES ($1, $2, $3, $4, $5, $5, $6::jsonb)",
            duty, who.appointment_id, who.agency_id, began, began + timedelta(hours=hours),
            json.dumps(planned) if planned else None,
        )  # fmt: skip
        return duty

    async def entry(self, act: str, moment: datetime, who: factories.Person | None = None, **more: Any) -> UUID:
        """An entry of that moment; `late_from` and the fields of `entries.entry` go through."""
        late_from = more.pop("late_from", None)
        agency = more.pop("agency", self.agency)
        if who is not None:
            more["user_id"] = who.user_id
        item = entries.of_body(entries.entry(None, act, more.pop("outcome", "done"), **more), agency)
        await self.base.bare.execute(
            "INSERT INTO audit_entries (id, at, act, outcome, agency_id, owner_agency_id, camera_id, subject_kind,"
            " subject_id, restriction, digest, payload, salt, late_from)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::json, $13, $14)",
            item.id, moment, item.act, item.outcome, item.agency_id, item.owner_agency_id, item.camera_id,
            item.subject_kind, item.subject_id, item.restriction, item.digest, item.payload, item.salt, late_from,
        )  # fmt: skip
        return item.id

    async def refused(self, who: factories.Person, camera: UUID, moment: datetime, **more: Any) -> UUID:
        return await self.entry(
            "grant.refused", moment, who, outcome="refused", camera_id=camera, agency=who.agency_id, **more
        )  # fmt: skip

    async def view(
        self,
        who: factories.Person,
        camera: UUID,
        moment: datetime,
        *,
        purpose: str = "",
        basis: str = "KR-PIPA-15-1-3",
        number: str = "",
        incident: UUID | None = None,
        restriction: str = "",
        exercise: bool = False,
        seconds: float = 30,
        first_byte_after: float | None = None,
    ) -> UUID:
        """A grant and its view, both of that moment; the view's id."""
        session, grant, view = await self._session(who), new_id(), new_id()
        given = await self.entry("grant.given", moment, who, camera_id=camera, agency=who.agency_id)
        opened = await self.entry("view.opened", moment, who, camera_id=camera, agency=who.agency_id)
        refs = json.dumps([{"kind": "112", "number": number}] if number else [])
        async with self.base.bare.acquire() as connection:
            await connection.execute(
                "INSERT INTO grants (id, at, entry_id, kind, user_id, appointment_id, agency_id, session_id,"
                " owner_agency_id, camera_ids, use_purpose, basis, refs, incident_id, exercise, restriction,"
                " expires_at, latest_expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,"
                " $13::jsonb, $14, $15, $16, $2, $2)",
                grant, moment, given, "incident" if incident else "approved", who.user_id, who.appointment_id,
                who.agency_id, session, self.agency, [camera], purpose, basis, refs, incident, exercise, restriction,
            )  # fmt: skip
            await connection.execute(
                "INSERT INTO views (id, at, opened_entry_id, grant_id, grant_at, camera_id, owner_agency_id, user_id,"
                " agency_id, protocol, gateway, node, closed_at, cause, seconds, first_byte_at)"
                " VALUES ($1, $2, $3, $4, $2, $5, $6, $7, $8, 'fmp4', 'embedded', 'tests', $9, 'client', $10, $11)",
                view, moment, opened, grant, camera, self.agency, who.user_id, who.agency_id,
                moment + timedelta(seconds=seconds), seconds,
                moment + timedelta(seconds=first_byte_after) if first_byte_after is not None else None,
            )  # fmt: skip
        return view

    async def wall(self, who: factories.Person, camera: UUID, hour: datetime, *intervals: tuple[int, int]) -> UUID:
        """A sealed hour of a wall: intervals as (second of the hour, seconds); the manifest's id."""
        duty, manifest = await self.duty(who, hour, 8), new_id()
        entry = await self.entry("manifest.sealed", hour + timedelta(minutes=61))
        written = [[begin * 1000, length * 1000, "fmp4", "client", 1] for begin, length in intervals]
        await self.base.bare.execute(
            "INSERT INTO manifests (id, duty_id, hour, intervals, digest, entry_id, sealed_at)"
            " VALUES ($1, $2, $3, $4::jsonb, '', $5, $6)",
            manifest, duty, hour, json.dumps({"cameras": {str(camera): written}}), entry, hour + timedelta(minutes=61),
        )  # fmt: skip
        begins, ends = intervals[0][0], sum(intervals[-1])
        await self.base.bare.execute(
            "INSERT INTO manifest_cameras (manifest_id, camera_id, began_at, ended_at, seconds)"
            " VALUES ($1, $2, $3, $4, $5)",
            manifest, camera, hour + timedelta(seconds=begins), hour + timedelta(seconds=ends),
            float(sum(length for _, length in intervals)),
        )  # fmt: skip
        return manifest
