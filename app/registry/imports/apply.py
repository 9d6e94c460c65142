"""An import becomes rows: all of it in one transaction, or none of it. The same file again changes nothing.

Sites and positions go in by COPY into tables that last as long as the transaction, and from there, in one statement
each, into the register: what is new is inserted, what differs is changed, what is the same is left alone. When a
row's camera count drops, the highest ordinals retire; nothing is deleted.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.actor import Actor
from app.audit import entries
from app.errors import UnusableFile
from app.ids import new_id, new_ids
from app.models import Agency, Import
from app.registry import agencies, areas
from app.registry.areas import Locator
from app.registry.imports.cameras import SiteRow, read_sites
from app.registry.imports.findings import Finding, Summary
from app.registry.imports.rows import open_table

MOST_FINDINGS_KEPT = 100_000
Progress = Callable[[str, int, int], None]


@dataclass(slots=True)
class Reading:
    """A file as it was read: its sites, what was odd, and the sum of it. Nothing is stored yet."""

    path: Path
    digest: bytes
    layout: str
    sites: list[SiteRow] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    summary: Summary = field(default_factory=Summary)


@dataclass(frozen=True, slots=True)
class Applied:
    """What an import changed."""

    import_id: UUID
    new_sites: int
    changed_sites: int
    new_cameras: int
    retired_cameras: int
    unlocated_cameras: int


def read(path: Path, progress: Progress = lambda *_: None) -> Reading:
    """Read a camera file whole; UnusableFile when nothing in it can be imported. Blocks: call it in a thread."""
    table = open_table(path)
    reading = Reading(path, _digest(path), ", ".join(table.columns))
    for number, (site, findings) in enumerate(read_sites(table, summary=reading.summary), 1):
        if site is not None and not site.quarantined:
            reading.sites.append(site)
        if findings and len(reading.findings) < MOST_FINDINGS_KEPT:
            reading.findings += findings
        if number % 1000 == 0:
            progress("read", number, table.row_count_estimate)
    progress("read", reading.summary.rows, reading.summary.rows)
    if not reading.sites:
        raise UnusableFile(f"none of the {reading.summary.rows} rows can stand; the findings say why")
    return reading


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def label_of(site: SiteRow) -> str:
    """By what a row names the institution that it belongs to."""
    return site.manager_name or site.district_label or site.authority_code


async def owners(
    session: AsyncSession,
    actor: Actor | None,
    sites: Iterable[SiteRow],
    *,
    owner: Agency | None = None,
    within: Agency | None = None,
    create: bool = False,
) -> dict[str, UUID]:
    """Whose each row is, by its label: `owner` of all, else the agency of that code or name, made if `create`.

    `within` is the agency below which names are looked for and made: every large city has a 중구. UnusableFile names
    the labels that belong to nobody, and what to do.
    """
    codes = {label_of(site): site.authority_code for site in sites}
    if owner is not None:
        return dict.fromkeys(codes, owner.id)
    known = (await session.execute(select(Agency.id, Agency.name, Agency.authority_code, Agency.parent_id))).all()
    by_name = {row.name: row.id for row in known if row.parent_id == (within.id if within else None)}
    by_name |= {row.authority_code: row.id for row in known if row.authority_code}
    found: dict[str, UUID] = {}
    missing: list[str] = []
    for label, code in sorted(codes.items()):
        match = by_name.get(code) or by_name.get(label)
        if match is None and create:
            match = await agencies.add(
                session, actor, name=label or "이름 없는 기관", kind="municipality", authority_code=code or None,
                parent_id=within.id if within else None,
            )  # fmt: skip
            by_name |= {label: match} | ({code: match} if code else {})
        if match is None:
            missing.append(label)
        else:
            found[label] = match
    if missing:
        raise UnusableFile(
            f"{len(missing)} institutions in the file are not registered ({', '.join(missing[:5])} …): add them with "
            "`gwanje agency add`, or import with --agency NAME (all rows are theirs) or --create-agencies"
        )
    return found


def locate(reading: Reading, locator: Locator) -> list[list[UUID]]:
    """The areas of each site; rows whose label and polygon disagree become findings."""
    placed = [number for number, site in enumerate(reading.sites) if site.latitude is not None]
    found = locator.locate(
        [reading.sites[number].longitude or 0.0 for number in placed],
        [reading.sites[number].latitude or 0.0 for number in placed],
    )
    area_ids: list[list[UUID]] = [[] for _ in reading.sites]
    odd: list[Finding] = []
    for number, held in zip(placed, found, strict=True):
        area_ids[number] = held
        site = reading.sites[number]
        if not site.district_label:
            continue
        district = locator.name(held, "sigungu")
        if district is None:
            odd.append(Finding(site.row_number, "outside_all_areas", "coordinates", site.district_label))
        elif district.rsplit(maxsplit=1)[-1] != site.district_label.rsplit(maxsplit=1)[-1]:
            odd.append(
                Finding(site.row_number, "district_differs", "district_label", f"{site.district_label} → {district}")
            )
    if len(odd) > len(placed) / 2:  # the registered districts are those of another city: no ground to judge by
        odd = []
    reading.summary.add(odd)
    reading.findings += odd[: max(0, MOST_FINDINGS_KEPT - len(reading.findings))]
    return area_ids


_TABLES = """
CREATE TEMP TABLE brought_sites (
    id uuid, owner_agency_id uuid, external_key text, name text, road_address text, lot_address text,
    manager_name text, phone text, purpose_label text, direction_text text, data_date date, import_id uuid
) ON COMMIT DROP;
CREATE TEMP TABLE brought_positions (
    id uuid, owner_agency_id uuid, external_key text, ordinal int, name text, latitude float8, longitude float8,
    area_ids uuid[], installation_purposes text[], retention_days int, pixels_10k int, installed_on date
) ON COMMIT DROP;
"""
_SITE_FIELDS = (
    "name", "road_address", "lot_address", "manager_name", "phone", "purpose_label", "direction_text", "data_date",
)  # fmt: skip
_POSITION_FIELDS = (
    "name", "latitude", "longitude", "area_ids", "installation_purposes", "retention_days", "pixels_10k",
    "installed_on",
)  # fmt: skip


def _merge(fields: Sequence[str], table: str) -> str:
    """The SET and WHERE of an upsert that touches only rows that differ."""
    changed = ", ".join(f"{name} = excluded.{name}" for name in fields)
    old = ", ".join(f"{table}.{name}" for name in fields)
    new = ", ".join(f"excluded.{name}" for name in fields)
    return f"{changed} {{also}} WHERE ({old}) IS DISTINCT FROM ({new})"


# A camera that comes back is active again; what else an import does not speak of stays.
_REVIVE = (
    ", changed_at = now(), status = CASE WHEN camera_positions.retired_at IS NULL"
    " THEN camera_positions.status ELSE excluded.status END"
)
_MERGE_SITES = f"""
WITH merged AS (
    INSERT INTO sites (id, owner_agency_id, external_key, {", ".join(_SITE_FIELDS)}, import_id)
    SELECT id, owner_agency_id, external_key, {", ".join(_SITE_FIELDS)}, import_id FROM brought_sites
    ON CONFLICT (owner_agency_id, external_key)
    DO UPDATE SET {_merge(_SITE_FIELDS, "sites").format(also=", import_id = excluded.import_id")}
    RETURNING xmax = 0 AS new
)
SELECT count(*) FILTER (WHERE new) AS new, count(*) FILTER (WHERE NOT new) AS changed FROM merged
"""  # noqa: S608 - our own SQL
_MERGE_POSITIONS = f"""
WITH merged AS (
    INSERT INTO camera_positions (id, site_id, ordinal, owner_agency_id, {", ".join(_POSITION_FIELDS)})
    SELECT b.id, s.id, b.ordinal, b.owner_agency_id, {", ".join("b." + name for name in _POSITION_FIELDS)}
    FROM brought_positions b JOIN sites s USING (owner_agency_id, external_key)
    ON CONFLICT (site_id, ordinal)
    DO UPDATE SET {_merge((*_POSITION_FIELDS, "retired_at"), "camera_positions").format(also=_REVIVE)}
    RETURNING xmax = 0 AS new
)
SELECT count(*) FILTER (WHERE new) AS new, count(*) FILTER (WHERE NOT new) AS changed FROM merged
"""  # noqa: S608 - our own SQL
_RETIRE = """
WITH counts AS (
    SELECT s.id AS site_id, max(b.ordinal) AS highest
    FROM brought_positions b JOIN sites s USING (owner_agency_id, external_key) GROUP BY s.id
), retired AS (
    UPDATE camera_positions p SET status = 'retired', retired_at = now(), changed_at = now() FROM counts c
    WHERE p.site_id = c.site_id AND p.ordinal > c.highest AND p.retired_at IS NULL RETURNING p.id
)
SELECT count(*) FROM retired
"""


async def apply(
    session: AsyncSession,
    actor: Actor | None,
    reading: Reading,
    owner_of: dict[str, UUID],
    progress: Progress = lambda *_: None,
) -> Applied:
    """Write a reading into the register, in the caller's transaction."""
    area_ids = locate(reading, await areas.locator(session))
    import_id = new_id()
    await session.execute(
        insert(Import).values(
            id=import_id,
            agency_id=next(iter(owner_of.values())) if len(set(owner_of.values())) == 1 else None,
            user_id=actor.user_id if actor else None,
            kind="cameras",
            file_name=reading.path.name,
            file_digest=reading.digest,
            layout=reading.layout,
            summary=reading.summary.as_dict(),
            applied_at=text("now()"),
        )
    )
    connection = await _bare(session)
    await connection.execute(_TABLES)
    progress("write", 0, 4)
    await connection.copy_records_to_table("brought_sites", records=_sites(reading, owner_of, import_id))
    await connection.copy_records_to_table("brought_positions", records=_positions(reading, owner_of, area_ids))
    progress("write", 1, 4)
    sites = await connection.fetchrow(_MERGE_SITES, timeout=600)
    progress("write", 2, 4)
    cameras = await connection.fetchrow(_MERGE_POSITIONS, timeout=600)
    retired = await connection.fetchval(_RETIRE, timeout=600)
    progress("write", 3, 4)
    await connection.copy_records_to_table(
        "import_findings",
        columns=["import_id", "number", "row_number", "severity", "code", "field", "value", "message"],
        records=(
            (import_id, number, one.row_number, one.severity, one.code, one.field, one.value, one.message_ko)
            for number, one in enumerate(reading.findings, 1)
        ),
    )
    progress("write", 4, 4)
    applied = Applied(
        import_id,
        sites["new"],
        sites["changed"],
        cameras["new"],
        retired,
        sum(site.camera_count for site in reading.sites if site.latitude is None),
    )
    await entries.append(
        session,
        entries.entry(
            actor, "import.applied", subject=("import", import_id), file=reading.path.name,
            file_sha256=reading.digest.hex(), rows=reading.summary.rows, new_cameras=applied.new_cameras,
            changed_sites=applied.changed_sites, retired_cameras=applied.retired_cameras,
        ),
    )  # fmt: skip
    return applied


async def _bare(session: AsyncSession) -> asyncpg.Connection:
    """The driver's connection inside the session's transaction, for COPY."""
    raw = await (await session.connection()).get_raw_connection()
    await session.execute(text("SET LOCAL statement_timeout = '600s'"))
    return raw.driver_connection


def _sites(reading: Reading, owner_of: dict[str, UUID], import_id: UUID) -> Iterable[tuple[Any, ...]]:
    fresh = new_ids()
    return (
        (
            next(fresh), owner_of[label_of(site)], site.external_key, site.name, site.road_address, site.lot_address,
            site.manager_name, site.phone, site.purpose_label, site.direction_text, site.data_date, import_id,
        )
        for site in reading.sites
    )  # fmt: skip


def _positions(reading: Reading, owner_of: dict[str, UUID], area_ids: list[list[UUID]]) -> Iterable[tuple[Any, ...]]:
    fresh = new_ids()
    for site, held in zip(reading.sites, area_ids, strict=True):
        owner, purposes, name = (
            owner_of[label_of(site)],
            list(site.installation_purposes),
            site.name or site.external_key,
        )
        for ordinal in range(1, site.camera_count + 1):
            yield (
                next(fresh), owner, site.external_key, ordinal, f"{name} {ordinal}" if site.camera_count > 1 else name,
                site.latitude, site.longitude, held, purposes, site.retention_days, site.pixels_10k, site.installed_on,
            )  # fmt: skip
