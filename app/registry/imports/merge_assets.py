"""Bells, poles and lights into the register: what is new is inserted, what differs is changed, the rest stays."""

from collections.abc import Iterable
from typing import Any, Final
from uuid import UUID

import asyncpg
import orjson

from app.ids import new_ids
from app.registry.imports.layouts import Layout
from app.registry.imports.merge import STATEMENT_SECONDS, Changes, Compared, EmptyOwners, differ
from app.registry.imports.street import AssetRow

LINK_RADIUS_METRES: Final = 30.0

_TABLES: Final = """
CREATE TEMP TABLE brought (
    row_number int, id uuid, owner_agency_id uuid, external_key text, name text, address text, manager_name text,
    phone text, data_date date, quantity int, latitude float8, longitude float8, area_ids uuid[], details jsonb,
    installed_on date, deleted boolean
) ON COMMIT DROP;
CREATE TEMP TABLE standing (brought_id uuid, asset_id uuid, older boolean, moved boolean, retires boolean,
    revives boolean, changed boolean) ON COMMIT DROP;
CREATE TEMP TABLE matched (asset_id uuid) ON COMMIT DROP;
"""
_COLUMNS: Final = {
    "address": ("road_address", "lot_address"), "manager_name": ("manager_name",), "phone": ("phone",),
    "quantity": ("quantity",), "installed_on": ("installed_on",), "name": ("name", "bell_number"),
}  # fmt: skip
_NEW: Final = """
INSERT INTO assets (id, kind, owner_agency_id, external_key, name, address, manager_name, phone, data_date, quantity,
    latitude, longitude, area_ids, details, installed_on, import_id)
SELECT id, $2, owner_agency_id, external_key, coalesce(nullif(name, ''), external_key), address, manager_name, phone,
    data_date, quantity, latitude, longitude, area_ids, details, installed_on, $1
FROM brought b WHERE NOT deleted AND NOT EXISTS (SELECT FROM standing WHERE brought_id = b.id)
"""
_KEEP: Final = """
INSERT INTO import_changes (import_id, relation, row_id, before)
SELECT $1, 'assets', a.id, to_jsonb(a) FROM standing c JOIN assets a ON a.id = c.asset_id WHERE c.changed
"""
_LIVES: Final = """
INSERT INTO life_changes (id, subject_kind, subject_id, from_status, to_status, on_date, import_id)
SELECT gen_random_uuid(), 'assets', a.id, a.status, CASE WHEN c.retires THEN 'retired' ELSE 'active' END,
    current_date, $1
FROM standing c JOIN assets a ON a.id = c.asset_id WHERE c.retires OR c.revives
"""
_VANISHED: Final = """
FROM assets a WHERE a.kind = $3 AND a.owner_agency_id = ANY($1::uuid[]) AND a.import_id IS NOT NULL
    AND a.import_id <> $2 AND a.retired_at IS NULL AND NOT EXISTS (SELECT FROM matched m WHERE m.asset_id = a.id)
"""
# The nearest camera of the same owner; metres by a plane that touches the place, which is exact enough for a street.
_LINK: Final = """
UPDATE assets a SET camera_ids = ARRAY[found.camera_id], camera_link = 'nearest'
FROM (
    SELECT b.id, c.camera_id FROM assets b CROSS JOIN LATERAL (
        SELECT p.id AS camera_id, 111195 * sqrt(power(p.latitude - b.latitude, 2)
            + power((p.longitude - b.longitude) * cos(radians(b.latitude)), 2)) AS metres
        FROM camera_positions p
        WHERE p.owner_agency_id = b.owner_agency_id AND p.retired_at IS NULL
            AND p.location <@ box(point(b.longitude - $3::float8, b.latitude - $3::float8),
                point(b.longitude + $3::float8, b.latitude + $3::float8))
        ORDER BY metres, p.id LIMIT 1
    ) c
    WHERE b.kind = 'bell' AND b.changed_at = now() AND b.retired_at IS NULL AND b.camera_link <> 'declared'
        AND (b.import_id = $1 OR b.id IN (SELECT row_id FROM import_changes WHERE import_id = $1))
        AND c.metres <= $2
) found WHERE a.id = found.id
"""


class AssetMerge:
    """See `merge.Merge`. `cameras` of the changes stay 0: these are none."""

    def __init__(self, connection: asyncpg.Connection, import_id: UUID, layout: Layout) -> None:
        self.changes = Changes()
        self._connection, self._import_id, self._kind = connection, import_id, layout.kind.stands_for
        self._told = Compared(layout, _COLUMNS)
        self._ids = new_ids()
        question = "SELECT EXISTS (SELECT FROM assets WHERE owner_agency_id = $1 AND kind = '{}')"
        self._empty = EmptyOwners(connection, question.format(self._kind))
        self._changed = 0
        told = self._told.of(tuple(_COLUMNS))
        differs = differ([column for column in told if column != "installed_on"], "a", "b")
        if "installed_on" in self._told:
            differs += " OR b.installed_on IS NOT NULL AND a.installed_on IS DISTINCT FROM b.installed_on"
        self._compare = f"""
        INSERT INTO standing
        SELECT brought_id, asset_id, older, moved, retires, revives, retires OR revives OR moved OR differs FROM (
            SELECT b.id, a.id AS asset_id, b.data_date < a.data_date AS older,
                NOT b.deleted AND b.latitude IS NOT NULL
                    AND (a.latitude, a.longitude) IS DISTINCT FROM (b.latitude, b.longitude) AS moved,
                b.deleted AND a.retired_at IS NULL AS retires, NOT b.deleted AND a.retired_at IS NOT NULL AS revives,
                NOT b.deleted AND ({differs} OR a.details || b.details <> a.details) AS differs
            FROM brought b JOIN assets a USING (owner_agency_id, external_key) WHERE a.kind = '{self._kind}'
        ) c (brought_id, asset_id, older, moved, retires, revives, differs)
        """  # noqa: S608 - our own SQL
        sets = ", ".join(
            f"{column} = CASE WHEN c.retires THEN a.{column} ELSE coalesce(b.{column}, a.{column}) END"
            for column in (*told, "data_date")
        )
        moves = ", ".join(
            f"{column} = CASE WHEN c.moved THEN b.{column} ELSE a.{column} END"
            for column in ("latitude", "longitude", "area_ids")
        )
        self._update = f"""
        UPDATE assets a SET {sets}, {moves}, changed_at = now(),
            details = CASE WHEN c.retires THEN a.details ELSE a.details || b.details END,
            status = CASE WHEN c.retires THEN 'retired' WHEN c.revives THEN 'active' ELSE a.status END,
            retired_at = CASE WHEN c.retires THEN now() WHEN c.revives THEN NULL ELSE a.retired_at END
        FROM standing c JOIN brought b ON b.id = c.brought_id WHERE a.id = c.asset_id AND c.changed
        """  # noqa: S608

    async def begin(self) -> None:
        await self._connection.execute(_TABLES)

    async def bring(self, rows: list[AssetRow], owners: list[UUID | None], area_ids: list[list[UUID]]) -> None:
        await self._connection.execute("TRUNCATE brought, standing")
        await self._connection.copy_records_to_table("brought", records=self._records(rows, owners, area_ids))
        if not await self._empty.all_empty(owners):
            await self._run(self._compare)
            await self._run("INSERT INTO matched SELECT asset_id FROM standing")
        counts = await self._connection.fetchrow(
            "SELECT count(*) AS all, count(*) FILTER (WHERE changed) AS changed,"
            " count(*) FILTER (WHERE older) AS older, (SELECT count(*) FROM brought b WHERE NOT deleted"
            " AND NOT EXISTS (SELECT FROM standing WHERE brought_id = b.id)) AS new FROM standing"
        )
        self._changed = counts["changed"]
        self.changes.new += counts["new"]
        self.changes.changed += counts["changed"]
        self.changes.unchanged += counts["all"] - counts["changed"]
        self.changes.older += counts["older"]
        self.changes.unlocated += sum(row.latitude is None and not row.deleted for row in rows)
        for of, condition in (
            ("new", "NOT deleted AND NOT EXISTS (SELECT FROM standing WHERE brought_id = b.id)"),
            ("changed", "EXISTS (SELECT FROM standing c WHERE c.brought_id = b.id AND c.changed)"),
        ):
            if room := self.changes.room_for(of):
                found = await self._connection.fetch(
                    f"SELECT row_number, external_key, name FROM brought b WHERE {condition}"  # noqa: S608
                    f" ORDER BY row_number LIMIT {room}"
                )
                self.changes.add_examples(of, found)

    def _records(
        self, rows: list[AssetRow], owners: list[UUID | None], area_ids: list[list[UUID]]
    ) -> Iterable[tuple[Any, ...]]:
        fresh = self._ids
        return (
            (
                row.row_number, next(fresh), owner, row.external_key, row.name, row.address, row.manager_name,
                row.phone, row.data_date, row.quantity, row.latitude, row.longitude, held,
                orjson.dumps(row.details).decode(), row.installed_on, row.deleted,
            )
            for row, owner, held in zip(rows, owners, area_ids, strict=True)
        )  # fmt: skip

    async def write(self) -> None:
        if self._changed:
            await self._run(_KEEP, self._import_id)
            await self._run(_LIVES, self._import_id)
            await self._run(self._update)
        await self._run(_NEW, self._import_id, self._kind)

    async def finish(self, owners: set[UUID], *, writes: bool, retire_vanished: bool) -> None:
        ours = (list(owners), self._import_id, self._kind)
        await self._run("ANALYZE matched")
        found = await self._connection.fetch(
            f"SELECT count(*) OVER () AS all, a.id::text AS asset_id, a.external_key, a.name {_VANISHED} LIMIT 100",
            *ours, timeout=STATEMENT_SECONDS,
        )  # fmt: skip
        self.changes.vanished = found[0]["all"] if found else 0
        self.changes.add_examples(
            "vanished", [{name: row[name] for name in ("asset_id", "external_key", "name")} for row in found]
        )
        if writes and retire_vanished and self.changes.vanished:
            await self._run("TRUNCATE standing")
            await self._run(
                "INSERT INTO standing (asset_id, retires, revives, changed)"
                f" SELECT a.id, true, false, true {_VANISHED}", *ours,
            )  # fmt: skip
            await self._run(_KEEP, self._import_id)
            await self._run(_LIVES, self._import_id)
            await self._run(
                "UPDATE assets a SET status = 'retired', retired_at = now(), changed_at = now() FROM standing c"
                " WHERE a.id = c.asset_id"
            )
        if writes and self._kind == "bell":
            reach = LINK_RADIUS_METRES / 111_195 * 1.4  # of a degree, enough in both directions
            await self._run(_LINK, self._import_id, LINK_RADIUS_METRES, reach)

    async def _run(self, statement: str, *values: Any) -> str:
        return str(await self._connection.execute(statement, *values, timeout=STATEMENT_SECONDS))
