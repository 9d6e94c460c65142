"""Sites and their cameras into the register: what is new is inserted, what differs is changed, the rest is left alone.

A row is compared with its site and with the site's first camera. Of columns that a file does not have, and of places,
numbers and dates that it leaves empty, it says nothing. A value that it changes goes to those cameras
that still have the old one: what somebody set by hand for one camera of several stays. Of a count that drops the
highest ordinals retire; of one that rises, retired ones come back first. Nothing is deleted.
"""

from collections.abc import Iterable
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

import asyncpg

from app.ids import row_ids
from app.registry.imports.cameras import SiteRow
from app.registry.imports.layouts import Layout
from app.registry.imports.merge import STATEMENT_SECONDS, Changes, Compared, EmptyOwners, differ

# What is sent of a row, by the names of `SiteRow`; what the file has no column for is not.
_SENT: Final = (
    "row_number", "external_key", "name", "road_address", "lot_address", "manager_name", "phone", "purpose_label",
    "direction_text", "data_date", "camera_count", "latitude", "longitude", "installation_purposes", "retention_days",
    "pixels_10k", "installed_on",
)  # fmt: skip
_OPTIONAL: Final = frozenset(
    ("road_address", "lot_address", "manager_name", "phone", "purpose_label", "direction_text", "data_date",
     "retention_days", "pixels_10k", "installed_on")
)  # fmt: skip
_TABLES: Final = """
CREATE TEMP TABLE brought (
    row_number int, owner_agency_id uuid,
    id uuid GENERATED ALWAYS AS (('{beginning}' || lpad(to_hex(row_number), 6, '0') || '00' || '{end}')::uuid) STORED,
    external_key text, name text, road_address text DEFAULT '',
    lot_address text DEFAULT '', manager_name text DEFAULT '', phone text DEFAULT '', purpose_label text DEFAULT '',
    direction_text text DEFAULT '', data_date date, camera_count int, latitude float8, longitude float8,
    area_ids uuid[] DEFAULT '{{}}', installation_purposes text[], retention_days int, pixels_10k int, installed_on date
) ON COMMIT DROP;
CREATE TEMP TABLE standing (
    brought_id uuid, site_id uuid, new_name text, texts boolean, place boolean, purposes boolean, retention boolean,
    pixels boolean, installed boolean, old_name text, old_latitude float8, old_longitude float8, old_purposes text[],
    old_retention int, old_pixels int, old_installed date, living int, dead int, highest int, target int, older boolean,
    elsewhere boolean, changed boolean
) ON COMMIT DROP;
CREATE TEMP TABLE touched (id uuid, retires boolean, revives boolean) ON COMMIT DROP;
CREATE TEMP TABLE matched (site_id uuid) ON COMMIT DROP;
"""
# Columns of the register, and the fields of a file that tell them.
_SITE_COLUMNS: Final = {
    "road_address": ("road_address",), "lot_address": ("lot_address", "address"), "manager_name": ("manager_name",),
    "phone": ("phone",), "purpose_label": ("purpose",), "direction_text": ("direction_text",),
}  # fmt: skip
_OTHERS: Final = {
    "name": ("name",), "data_date": ("data_date",), "camera_count": ("camera_count",),
    "place": ("latitude",), "installation_purposes": ("purpose",), "retention_days": ("retention_days",),
    "pixels_10k": ("pixels",), "installed_on": ("installed_on",),
}  # fmt: skip
_POSITION_ID: Final = "(left(b.id::text, 30) || lpad(to_hex(n), 2, '0') || right(b.id::text, 4))::uuid"
_NAMED: Final = "coalesce(nullif({name}, ''), b.external_key)"
_POSITION_COLUMNS: Final = (
    "id, site_id, ordinal, name, own_name, owner_agency_id, latitude, longitude, area_ids, installation_purposes,"
    " retention_days, pixels_10k, installed_on"
)
_VALUES: Final = (
    "b.owner_agency_id, b.latitude, b.longitude, b.area_ids, b.installation_purposes, b.retention_days, b.pixels_10k,"
    " b.installed_on"
)
# A new row's cameras get its id with their number in the place of the last two digits of the row's (`ids.row_ids`).
_NEW: Final = f"""
WITH made AS (
    INSERT INTO sites (id, owner_agency_id, external_key, name, road_address, lot_address, manager_name, phone,
        purpose_label, direction_text, data_date, import_id)
    SELECT id, owner_agency_id, external_key, name, road_address, lot_address, manager_name, phone, purpose_label,
        direction_text, data_date, $1 FROM brought b
    WHERE camera_count > 0 AND NOT EXISTS (SELECT FROM standing WHERE brought_id = b.id)
    RETURNING id
), cameras AS (
    INSERT INTO camera_positions ({_POSITION_COLUMNS})
    SELECT {_POSITION_ID}, b.id, n, {_NAMED.format(name="b.name")}
        || CASE WHEN b.camera_count > 1 THEN ' ' || n ELSE '' END, b.name = '', {_VALUES}
    FROM brought b, generate_series(1, b.camera_count) n
    WHERE NOT EXISTS (SELECT FROM standing WHERE brought_id = b.id)
)
SELECT count(*) FROM made
"""  # noqa: S608 - our own SQL
_COUNT_NEW: Final = """
SELECT count(*) AS sites, coalesce(sum(camera_count), 0) AS cameras FROM brought b
WHERE camera_count > 0 AND NOT EXISTS (SELECT FROM standing WHERE brought_id = b.id)
"""
_KEEP_SITES: Final = """
INSERT INTO import_changes (import_id, relation, row_id, before)
SELECT $1, 'sites', s.id, to_jsonb(s) FROM standing c JOIN sites s ON s.id = c.site_id WHERE c.texts
"""
_TOUCH: Final = """
INSERT INTO touched
SELECT id, retires, revives FROM (
    SELECT p.id, c.living > c.target AND p.retired_at IS NULL AND p.rank > c.target AS retires,
        c.living < c.target AND p.retired_at IS NOT NULL AND p.rank <= c.target - c.living AS revives,
        p.retired_at IS NULL AND (c.place OR c.purposes OR c.retention OR c.pixels OR c.installed
            OR c.new_name IS DISTINCT FROM c.old_name) AS told
    FROM standing c JOIN (
        SELECT p.id, p.site_id, p.retired_at,
            row_number() OVER (PARTITION BY p.site_id, p.retired_at IS NULL ORDER BY p.ordinal) AS rank
        FROM camera_positions p JOIN standing c ON c.site_id = p.site_id WHERE c.changed
    ) p USING (site_id)
) t WHERE retires OR revives OR told
"""
_KEEP_POSITIONS: Final = """
INSERT INTO import_changes (import_id, relation, row_id, before)
SELECT $1, 'camera_positions', p.id, to_jsonb(p) FROM touched t JOIN camera_positions p USING (id)
"""
_LIVES: Final = """
INSERT INTO life_changes (id, subject_kind, subject_id, from_status, to_status, on_date, import_id)
SELECT gen_random_uuid(), 'cameras', p.id, p.status, CASE WHEN t.retires THEN 'retired' ELSE 'active' END,
    current_date, $1
FROM touched t JOIN camera_positions p USING (id) WHERE t.retires OR t.revives
"""
# Where a count rises beyond what once stood there.
_MORE: Final = f"""
WITH more AS (
    INSERT INTO camera_positions ({_POSITION_COLUMNS})
    SELECT {_POSITION_ID}, c.site_id, c.highest + n, {_NAMED.format(name="c.new_name")} || ' ' || (c.highest + n),
        c.new_name = '', {_VALUES}
    FROM standing c JOIN brought b ON b.id = c.brought_id,
        generate_series(1, c.target - (SELECT count(*) FROM camera_positions p
            WHERE p.site_id = c.site_id AND p.retired_at IS NULL)::int) n
    WHERE c.changed AND c.target > c.living
    RETURNING id
)
INSERT INTO import_changes (import_id, relation, row_id) SELECT $1, 'camera_positions', id FROM more
"""  # noqa: S608 - our own SQL
# Areas follow from the place; that they are known better today is no change of the camera.
_AREAS: Final = """
UPDATE camera_positions p SET area_ids = b.area_ids FROM standing c JOIN brought b ON b.id = c.brought_id
WHERE c.elsewhere AND p.site_id = c.site_id AND p.latitude = b.latitude AND p.longitude = b.longitude
    AND p.area_ids <> b.area_ids
"""
# What is retired keeps the name that it had, which is no longer its site's.
_OWN_NAMES: Final = """
UPDATE camera_positions p SET own_name = true FROM standing c
WHERE c.texts AND c.new_name <> c.old_name AND p.site_id = c.site_id AND p.retired_at IS NOT NULL AND NOT p.own_name
"""
_BY_INDEX: Final = ("SET LOCAL enable_hashjoin = off", "SET LOCAL enable_mergejoin = off")
_AS_USUAL: Final = ("SET LOCAL enable_hashjoin = on", "SET LOCAL enable_mergejoin = on")
_MATCHED: Final = "INSERT INTO matched SELECT site_id FROM standing"
_VANISHED: Final = """
FROM sites s WHERE s.owner_agency_id = ANY($1::uuid[]) AND s.import_id IS NOT NULL AND s.import_id <> $2
    AND NOT EXISTS (SELECT FROM matched m WHERE m.site_id = s.id)
    AND EXISTS (SELECT FROM camera_positions p WHERE p.site_id = s.id AND p.retired_at IS NULL)
"""


class CameraMerge:
    """See `merge.Merge`."""

    def __init__(self, connection: asyncpg.Connection, import_id: UUID, layout: Layout) -> None:
        self.changes = Changes()
        self._connection, self._import_id = connection, import_id
        self._told = Compared(layout, _SITE_COLUMNS | _OTHERS)
        self._sent = tuple(name for name in _SENT if name not in _OPTIONAL or name in self._told)
        self._pick = itemgetter(*(SiteRow._fields.index(name) for name in self._sent))
        self._empty = EmptyOwners(connection, "SELECT EXISTS (SELECT FROM sites WHERE owner_agency_id = $1)")
        self._changed, self._elsewhere, self._stands = 0, 0, False
        self._compare, self._update_sites, self._update_positions = self._statements()

    def _statements(self) -> tuple[str, str, str]:
        """Compare, and update what differs, in the columns that the file tells."""
        told = self._told
        texts = told.of(tuple(_SITE_COLUMNS))
        name = "b.name" if "name" in told else (
            # Without a column of its own a name is an address and goes with it, unless it was given by hand.
            "CASE WHEN s.name = coalesce(nullif(s.road_address, ''), s.lot_address) THEN b.name ELSE s.name END"
        )  # fmt: skip
        flags = {
            "purposes": "installation_purposes", "retention": "retention_days", "pixels": "pixels_10k",
            "installed": "installed_on",
        }  # fmt: skip
        compared = ", ".join(
            f"b.{column} IS NOT NULL AND p.{column} IS DISTINCT FROM b.{column} AS {flag}"
            if column in told
            else f"false AS {flag}"
            for flag, column in flags.items()
        )
        target = "b.camera_count" if "camera_count" in told else (
            "CASE WHEN b.camera_count > 0 AND n.living > 0 THEN n.living ELSE b.camera_count END"
        )  # fmt: skip
        # A row marked as deleted (a count of 0) says nothing but that.
        compare = f"""
        INSERT INTO standing
        SELECT *, target <> living OR target > 0 AND (texts OR place OR purposes OR retention OR pixels OR installed)
        FROM (
            SELECT b.id, s.id AS site_id, {name} AS new_name,
                b.camera_count > 0 AND ({differ(texts, "s", "b")} OR s.name IS DISTINCT FROM {name}) AS texts,
                b.latitude IS NOT NULL
                    AND (p.latitude IS DISTINCT FROM b.latitude OR p.longitude IS DISTINCT FROM b.longitude) AS place,
                {compared}, s.name AS old_name, p.latitude, p.longitude, p.installation_purposes, p.retention_days,
                p.pixels_10k, p.installed_on, coalesce(n.living, 0)::int AS living,
                coalesce(n.stood - n.living, 0)::int AS dead, coalesce(n.highest, 0) AS highest, {target} AS target,
                b.data_date < s.data_date AS older, p.area_ids <> b.area_ids AS elsewhere
            FROM brought b JOIN sites s USING (owner_agency_id, external_key)
            LEFT JOIN LATERAL (
                SELECT count(*) FILTER (WHERE p.retired_at IS NULL) AS living, count(*) AS stood,
                    max(p.ordinal) AS highest,
                    coalesce(min(p.ordinal) FILTER (WHERE p.retired_at IS NULL), min(p.ordinal)) AS first
                FROM camera_positions p WHERE p.site_id = s.id
            ) n ON true
            LEFT JOIN camera_positions p ON p.site_id = s.id AND p.ordinal = n.first
        ) c
        """  # noqa: S608 - our own SQL
        sets = ", ".join(f"{column} = b.{column}" for column in (*texts, *told.of(("data_date",))))
        sites = f"""
        UPDATE sites s SET name = c.new_name, changed_at = now(){", " + sets if sets else ""}
        FROM standing c JOIN brought b ON b.id = c.brought_id WHERE s.id = c.site_id AND c.texts
        """  # noqa: S608

        def kept(column: str, flag: str, old: str) -> str:
            return (
                f"{column} = CASE WHEN t.revives AND b.{column} IS NOT NULL"
                f" OR c.{flag} AND p.{column} IS NOT DISTINCT FROM c.{old} THEN b.{column} ELSE p.{column} END"
            )

        moves = (
            "t.revives OR c.place AND (p.latitude, p.longitude) IS NOT DISTINCT FROM (c.old_latitude, c.old_longitude)"
        )
        values = [
            *(f"{column} = CASE WHEN {moves} THEN b.{column} ELSE p.{column} END"
              for column in ("latitude", "longitude", "area_ids")),
            *(kept(column, flag, f"old_{flag}") for flag, column in flags.items() if column in told),
        ]  # fmt: skip
        old_name, new_name = (_NAMED.format(name=f"c.{which}_name") for which in ("old", "new"))
        positions = f"""
        UPDATE camera_positions p SET changed_at = now(), {", ".join(values)},
            name = CASE p.name WHEN {old_name} THEN {new_name}
                WHEN {old_name} || ' ' || p.ordinal THEN {new_name} || ' ' || p.ordinal ELSE p.name END,
            own_name = p.own_name OR c.new_name = '',
            status = CASE WHEN t.retires THEN 'retired' WHEN t.revives THEN 'active' ELSE p.status END,
            retired_at = CASE WHEN t.retires THEN now() WHEN t.revives THEN NULL ELSE p.retired_at END
        FROM touched t, standing c JOIN brought b ON b.id = c.brought_id WHERE p.id = t.id AND c.site_id = p.site_id
        """  # noqa: S608 - our own SQL
        return compare, sites, positions

    async def begin(self) -> None:
        beginning, end = row_ids()
        await self._connection.execute(_TABLES.format(beginning=beginning, end=end))

    async def bring(self, rows: list[SiteRow], owners: list[UUID | None], area_ids: list[list[UUID]]) -> None:
        await self._connection.execute("TRUNCATE brought, standing, touched")
        located = any(area_ids)
        columns = ["owner_agency_id", *self._sent, *(["area_ids"] if located else [])]
        records = self._records(rows, owners, area_ids if located else None)
        await self._connection.copy_records_to_table("brought", columns=columns, records=records)
        self._changed, self._elsewhere, self._stands = 0, 0, not await self._empty.all_empty(owners)
        self.changes.unlocated += sum(row.camera_count for row in rows if row.latitude is None and not row.deleted)
        if self._stands:
            await self._compare_with_what_stands()
        else:
            living = [row.camera_count for row in rows if not row.deleted]
            self.changes.new += len(living)
            self.changes.new_cameras += sum(living)
        await self._keep_examples()

    async def _compare_with_what_stands(self) -> None:
        # The planner knows nothing of tables that are a second old: left alone, it may read all cameras to find a few.
        await self._run("; ".join((*_BY_INDEX, self._compare, *_AS_USUAL, _MATCHED)))
        counts = await self._connection.fetchrow(
            "SELECT count(*) AS all, count(*) FILTER (WHERE changed) AS changed,"
            " count(*) FILTER (WHERE older) AS older, count(*) FILTER (WHERE elsewhere) AS elsewhere,"
            " coalesce(sum(living - target) FILTER (WHERE living > target), 0) AS retired,"
            " coalesce(sum(least(target - living, dead)) FILTER (WHERE living < target), 0) AS revived,"
            " coalesce(sum(target - living - dead) FILTER (WHERE living + dead < target), 0) AS more FROM standing"
        )
        fresh = await self._connection.fetchrow(_COUNT_NEW)
        self._changed, self._elsewhere = counts["changed"], counts["elsewhere"]
        self.changes.new += fresh["sites"]
        self.changes.changed += counts["changed"]
        self.changes.unchanged += counts["all"] - counts["changed"]
        self.changes.older += counts["older"]
        self.changes.new_cameras += fresh["cameras"] + counts["more"]
        self.changes.retired_cameras += counts["retired"]
        self.changes.revived_cameras += counts["revived"]

    async def _keep_examples(self) -> None:
        if room := self.changes.room_for("new"):
            found = await self._connection.fetch(
                "SELECT row_number, external_key, name, camera_count FROM brought b WHERE camera_count > 0"
                " AND NOT EXISTS (SELECT FROM standing WHERE brought_id = b.id) ORDER BY row_number LIMIT $1", room,
            )  # fmt: skip
            self.changes.add_examples("new", found)
        if self._changed and (room := self.changes.room_for("changed")):
            found = await self._connection.fetch(
                "SELECT b.row_number, b.external_key, c.old_name AS name, c.site_id::text, c.living AS cameras_before,"
                " c.target AS cameras_after, array_remove(ARRAY[CASE WHEN texts THEN 'texts' END,"
                " CASE WHEN place THEN 'place' END, CASE WHEN purposes THEN 'purposes' END,"
                " CASE WHEN retention THEN 'retention_days' END, CASE WHEN pixels THEN 'pixels_10k' END,"
                " CASE WHEN installed THEN 'installed_on' END,"
                " CASE WHEN living <> target THEN 'camera_count' END], NULL)"
                " AS differs FROM standing c JOIN brought b ON b.id = c.brought_id WHERE c.changed"
                " ORDER BY b.row_number LIMIT $1", room,
            )  # fmt: skip
            self.changes.add_examples("changed", found)

    def _records(
        self, rows: list[SiteRow], owners: list[UUID | None], area_ids: list[list[UUID]] | None
    ) -> Iterable[tuple[Any, ...]]:
        if any(row.deleted for row in rows):
            rows = [row._replace(camera_count=0) if row.deleted else row for row in rows]
        picked = map(self._pick, rows)
        if area_ids is None:
            return ((owner, *cells) for owner, cells in zip(owners, picked, strict=True))
        return ((owner, *cells, held) for owner, cells, held in zip(owners, picked, area_ids, strict=True))

    async def write(self) -> None:
        if self._changed:
            await self._run(_KEEP_SITES, self._import_id)
            await self._run(self._update_sites)
            await self._run(_TOUCH)
            await self._run(_KEEP_POSITIONS, self._import_id)
            await self._run(_LIVES, self._import_id)
            await self._run(self._update_positions)
            await self._run(_OWN_NAMES)
            await self._run(_MORE, self._import_id)
        if self._elsewhere:
            await self._run(_AREAS)
        await self._run(_NEW, self._import_id)

    async def finish(self, owners: set[UUID], *, writes: bool, retire_vanished: bool) -> None:
        if self._empty.nothing_stood:
            return
        ours = (list(owners), self._import_id)
        await self._run("ANALYZE matched")
        found = await self._connection.fetch(
            f"SELECT count(*) OVER () AS all, s.id::text AS site_id, s.external_key, s.name {_VANISHED} LIMIT 100",
            *ours, timeout=STATEMENT_SECONDS,
        )  # fmt: skip
        self.changes.vanished = found[0]["all"] if found else 0
        self.changes.add_examples(
            "vanished", [{name: row[name] for name in ("site_id", "external_key", "name")} for row in found]
        )
        if writes and retire_vanished and self.changes.vanished:
            await self._run("TRUNCATE touched")
            await self._run(
                "INSERT INTO touched SELECT p.id, true, false FROM camera_positions p WHERE p.retired_at IS NULL"  # noqa: S608
                f" AND p.site_id IN (SELECT s.id {_VANISHED})", *ours,
            )  # fmt: skip
            await self._run(_KEEP_POSITIONS, self._import_id)
            await self._run(_LIVES, self._import_id)
            retired = await self._run(
                "UPDATE camera_positions p SET status = 'retired', retired_at = now(), changed_at = now()"
                " FROM touched t WHERE p.id = t.id"
            )
            self.changes.retired_cameras += int(retired.rpartition(" ")[2])

    async def _run(self, statement: str, *values: Any) -> str:
        return str(await self._connection.execute(statement, *values, timeout=STATEMENT_SECONDS))
